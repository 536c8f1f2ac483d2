"""Coverage of a history that its venue documents as complete: what was read, and had signs of life.

A window of time is covered where one run read it for all scopes, nothing in it was rejected, and
the answers of the canary, a scope that is never quiet for so long, hold something. A window that an
interrupted run left in part is not covered: request it again with the option `since`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from chainwatch.tables.exchange import Coverage, ExchangeLiquidation

if TYPE_CHECKING:
    from chainwatch.collect.source import Feed
    from chainwatch.exchanges.channel import VenueMarket

# From a time to another, which is not part of it.
Span = tuple[datetime, datetime]


class WindowRead(msgspec.Struct, kw_only=True):
    """What the answers about one scope and window held; `heartbeats` are answers that show life."""

    rows: list[ExchangeLiquidation] = []
    rejects: list[tuple[str, str]] = []
    answers: int = 0
    heartbeats: int = 0


class PolledCoverage:
    """Adds windows up, scope by scope, to spans that are covered; `stored` were covered before.

    `source` is the history's name, `canary` that of its scopes which is never quiet.
    """

    def __init__(
        self,
        feed: Feed,
        source: str,
        channel: VenueMarket,
        canary: str,
        scopes: Sequence[str],
        stored: Sequence[Coverage],
    ) -> None:
        self._feed = feed
        self._source = source
        self._channel = channel
        self._canary = canary
        self._scopes = frozenset(scopes)
        self._run = secrets.token_hex(6)
        self._covered: list[Span] = [(span.from_time, span.to_time) for span in stored]
        self._reads: dict[str, WindowRead] = {}
        self._since = self._until = 0

    def add(self, scope: str, start_ms: int, stop_ms: int, read: WindowRead) -> list[Coverage]:
        """The spans that this window completes: none, or those not covered before."""
        if stop_ms != self._until:
            self._reads.clear()
            self._since, self._until = start_ms, stop_ms
        self._since = max(self._since, start_ms)
        self._reads[scope] = read
        canary = self._reads.get(self._canary)
        if (
            self._reads.keys() != self._scopes
            or canary is None
            or not canary.heartbeats
            or any(other.rejects for other in self._reads.values())
        ):
            return []
        spans = uncovered((_time(self._since), _time(self._until)), self._covered)
        self._covered += spans
        return [self._row(span) for span in spans]

    def _row(self, span: Span) -> Coverage:
        reads, channel = self._reads.values(), self._channel
        rows = [row for read in reads for row in read.rows if span[0] <= row.time < span[1]]
        return Coverage(
            source=self._source,
            venue=channel.venue,
            market=channel.market,
            run=self._run,
            from_time=span[0],
            to_time=span[1],
            state="up",
            reason="read over REST",
            subscribed=len(self._scopes),
            listed=len(self._scopes),
            connections=0,
            frames=sum(read.answers for read in reads),
            rows=len(rows),
            duplicates=0,
            rejects=0,
            heartbeats=sum(read.heartbeats for read in reads),
            sampling_class=channel.sampling_class,
            sampling_rule=channel.sampling_rule,
            last_event=max((row.time for row in rows), default=None),
            provenance=self._feed.provenance,
        )


def uncovered(span: Span, covered: Sequence[Span]) -> list[Span]:
    """The parts of a span that lie in none of the others, in the order of time."""
    parts: list[Span] = []
    since, until = span
    for begin, end in sorted(covered):
        if begin > since:
            parts.append((since, min(begin, until)))
        since = max(since, end)
        if since >= until:
            return [part for part in parts if part[0] < part[1]]
    return [part for part in [*parts, (since, until)] if part[0] < part[1]]


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
