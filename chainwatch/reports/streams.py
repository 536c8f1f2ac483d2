"""Findings about streams of venues: each is run for some seconds, and nothing is stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime

import msgspec

from chainwatch.collect import runner
from chainwatch.collect.feed import Job, Outcome, Progress
from chainwatch.errors import ChainwatchError, NetworkError, Unparsed
from chainwatch.exchanges.channel import Channel
from chainwatch.exchanges.feeds import channels
from chainwatch.net.http import Http
from chainwatch.reports.doctor import FAULT, LIMITED, OK, Finding
from chainwatch.settings import Settings
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Coverage, ExchangeLiquidation, Instrument
from chainwatch.urls import mask

# A clock that is wrong by more misplaces liquidations among each other.
SKEW_SECONDS = 5.0
# The covered spans of a stream that works.
_ALIVE = ("up", "partial", "stale")


class StreamProbe(msgspec.Struct):
    """What one stream gave while it ran: `skew_seconds` is this clock less the venue's."""

    channel: Channel
    socket: str
    rest: str
    spans: list[Coverage] = []
    contracts: int = 0
    liquidations: int = 0
    frames: int = 0
    skew_seconds: float | None = None
    failure: ChainwatchError | None = None


class Witness:
    """Counts what the streams of a run give (chainwatch.collect.feed.Listener)."""

    def __init__(self, probes: dict[str, StreamProbe]) -> None:
        self._probes = probes

    def rows(self, source: str, rows: Sequence[Row]) -> None:
        probe = self._probes[source]
        for row in rows:
            if isinstance(row, Coverage):
                probe.spans.append(row)
            probe.contracts += isinstance(row, Instrument)
            probe.liquidations += isinstance(row, ExchangeLiquidation)

    def frame(self, source: str, frame: bytes, received: datetime) -> None:
        self._probes[source].frames += 1


async def examine_streams(
    settings: Settings, jobs: Sequence[Job], progress: Progress, seconds: float
) -> list[StreamProbe]:
    """Run these streams for some seconds, and compare this clock with their servers'."""
    probes = {job.source.name: _probe(settings, job) for job in jobs}
    async with Http(authorities=settings.ca_file) as http:
        skews = asyncio.gather(*(_skew(http, probe.rest) for probe in probes.values()))
        outcomes: list[Outcome] = await runner.record(
            settings, jobs, progress, Witness(probes), seconds=seconds
        )
        for probe, skew in zip(probes.values(), await skews, strict=True):
            probe.skew_seconds = skew
    for outcome in outcomes:
        probes[outcome.job.source.name].failure = outcome.failure
    return list(probes.values())


def stream_findings(probes: Sequence[StreamProbe]) -> list[Finding]:
    """What there is to say of each stream, in their order."""
    return [finding for probe in probes for finding in _of_stream(probe)]


def _probe(settings: Settings, job: Job) -> StreamProbe:
    channel = channels[job.source.name]
    socket, rest = settings.feed_url("ws", channel.source), settings.feed_url("url", channel.source)
    return StreamProbe(
        channel,
        socket.value if socket else channel.ws,
        rest.value if rest else channel.rest,
    )


async def _skew(http: Http, url: str) -> float | None:
    """This clock less the one of a server's answer, to a second; None where it tells none."""
    begun = time.time()
    try:
        response = await http.request("GET", url, timeout=10.0)
        told_at = parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
    except (ChainwatchError, ValueError, TypeError):
        return None
    # The header is in whole seconds, cut off.
    return (begun + time.time()) / 2 - (told_at + 0.5)


def _of_stream(probe: StreamProbe) -> Iterator[Finding]:
    channel, subject = probe.channel, probe.channel.source
    alive = [span for span in probe.spans if span.state in _ALIVE]
    heartbeats = sum(span.heartbeats for span in probe.spans)
    rejects = sum(span.rejects for span in probe.spans)
    own = "" if probe.socket == channel.ws else "set, in place of the venue's"
    yield Finding(subject, "address", _shown(probe.socket, channel.ws), OK, own)
    yield _contracts(subject, probe)
    yield _subscribed(subject, probe, alive)
    yield _heartbeat(subject, channel, heartbeats)
    if rejects:
        failure = Unparsed(f"{subject}: {rejects:,} frames or rows cannot be parsed")
        means = next((s.reason for s in probe.spans if s.state == "rejecting"), "")
        yield Finding(subject, "parsed", f"{rejects:,} rejects", FAULT, means, failure)
    else:
        yield Finding(subject, "parsed", f"{probe.frames:,} frames")
    means = "" if probe.liquidations else "none came in this time, which proves nothing"
    yield Finding(subject, "liquidations", f"{probe.liquidations:,}", OK, means)
    yield _clock(subject, probe.skew_seconds)
    era = channel.eras[-1]
    rule = f"{era.sampling_class}: {era.sampling_rule}"
    yield Finding(subject, "rule", rule, OK, f"since {era.begins}; {era.cited}".removesuffix("; "))


def _shown(url: str, own: str) -> str:
    """An address as it may be shown: one that was set may hold a key."""
    return url if url == own else mask(url)


def _contracts(subject: str, probe: StreamProbe) -> Finding:
    if probe.contracts:
        return Finding(subject, "contracts", f"{probe.contracts:,}")
    means = "values in USD are n/a where a size is in contracts"
    return Finding(subject, "contracts", "n/a (no list)", LIMITED, means)


def _subscribed(subject: str, probe: StreamProbe, alive: Sequence[Coverage]) -> Finding:
    if alive:
        last = alive[-1]
        first = min(span.from_time for span in alive)
        wait = (first - min(span.from_time for span in probe.spans)).total_seconds()
        count = "" if last.subscribed is None else f", {last.subscribed:,} of {last.listed:,}"
        means = f"{last.state} after {wait:.1f} s over {last.connections} connections"
        return Finding(subject, "subscribed", f"yes{count}", OK, means)
    rejecting = any(span.state == "rejecting" for span in probe.spans)
    reason = next((span.reason for span in reversed(probe.spans) if span.reason), "")
    if rejecting:
        return Finding(subject, "subscribed", "yes", LIMITED, f"rejecting: {reason}")
    failure = probe.failure or NetworkError(f"{subject} is not alive: {reason or 'no proof came'}")
    return Finding(subject, "subscribed", "no", FAULT, str(failure), failure)


def _heartbeat(subject: str, channel: Channel, count: int) -> Finding:
    value = f"{count:,} of {channel.heartbeat}"
    means = f"expected each {channel.heartbeat_seconds:g} s at the latest"
    return Finding(subject, "heartbeat", value, OK if count else LIMITED, means)


def _clock(subject: str, skew: float | None) -> Finding:
    if skew is None:
        return Finding(subject, "clock", "n/a (no answer with a date)", LIMITED)
    wrong = abs(skew) > SKEW_SECONDS
    means = "times of arrival are wrong by this: set the clock" if wrong else ""
    value = f"{skew:+.0f} s against the venue's"
    return Finding(subject, "clock", value, LIMITED if wrong else OK, means)
