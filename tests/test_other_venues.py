"""The other venues against the loopback exchange: the same promises as the three large ones."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chainwatch.exchange import Contract
from chainwatch.rows import Reject
from tests.test_stream import THREE_PERIODS, check_spans, states
from tests.venues.client import OTHERS, Collecting, Loopback, quick
from tests.venues.others import ALL
from tests.venues.protocols import BASE_MS

CHANNELS = [quick(channel) for channel in OTHERS]
SOME = Contract(symbol="", base="", quote="", settle="", kind="linear", size=1.0)


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


@pytest.fixture
async def exchange(server: Loopback) -> Loopback:
    await at_once(server, "fault")
    return server


async def at_once(exchange: Loopback, do: str, **order: Any) -> None:
    await asyncio.gather(*(exchange.tell(do, c.source, **order) for c in CHANNELS))


async def test_every_frame_of_a_burst_becomes_a_row_with_its_side_and_value(
    exchange: Loopback, tmp_path: Path
) -> None:
    async with Collecting(exchange, tmp_path, *CHANNELS) as running:
        await running.alive()
        await at_once(exchange, "burst", count=500)
        await at_once(exchange, "burst", count=100, rate=200, start=500)
        await running.counted(rows=600)
    for channel in CHANNELS:
        rows = running.liquidations(channel)
        assert [r.time.timestamp() * 1000 - BASE_MS for r in rows] == list(range(600)), channel
        assert [r.side for r in rows] == ["long", "short"] * 300, channel.source
        for row in rows:
            assert None not in (row.quantity_base, row.contracts, row.notional_usd), row
            assert row.notional_usd == pytest.approx((row.quantity_base or 0) * row.price)
        assert sum(s.rejects for s in running.coverage(channel)) == 0


async def test_what_is_sent_again_after_a_reconnect_counts_once(
    exchange: Loopback, tmp_path: Path
) -> None:
    async with Collecting(exchange, tmp_path, *CHANNELS) as running:
        for again in range(2):
            await running.alive()
            await at_once(exchange, "burst", count=40)
            await running.counted(rows=40, duplicates=40 * again)
            if not again:
                await at_once(exchange, "drop")
    for channel in CHANNELS:
        spans = running.coverage(channel)
        check_spans(spans)
        assert len(running.liquidations(channel)) == 40, channel.source
        assert sum(s.duplicates for s in spans) == 40, channel.source
        assert states(spans) == ["down", "up"] * 2, channel.source


async def test_silence_is_noticed_within_three_canary_periods(
    exchange: Loopback, tmp_path: Path
) -> None:
    async with Collecting(exchange, tmp_path, *CHANNELS) as running:
        await running.alive()
        await at_once(exchange, "fault", faults={"mute": True})
        await running.told("silent: no ")
        await at_once(exchange, "fault")
        await running.alive()
    for channel in CHANNELS:
        spans = running.coverage(channel)
        assert states(spans)[:4] == ["down", "up", "down", "up"], channel.source
        noticed = next(s for s in spans if s.state == "down" and s.reason.startswith("silent"))
        seconds = float(noticed.reason.removesuffix(" s").rpartition(" ")[2])
        assert seconds <= THREE_PERIODS, channel.source


async def test_a_refused_feed_is_down_with_the_venues_words(
    exchange: Loopback, tmp_path: Path
) -> None:
    for channel in CHANNELS:
        topics = channel.topics(dict.fromkeys(ALL[channel.source].symbols, SOME))
        await exchange.tell("fault", channel.source, faults={"deny": topics})
    async with Collecting(exchange, tmp_path, *CHANNELS) as running:
        await running.told("refused: ")
    for channel in CHANNELS:
        spans = running.coverage(channel)
        assert states(spans) == ["down"], channel.source
        assert any("refused: " in s.reason for s in spans), channel.source


async def test_a_subscription_without_acknowledgement_is_given_up(
    exchange: Loopback, tmp_path: Path
) -> None:
    await at_once(exchange, "fault", faults={"no_ack": True})
    async with Collecting(exchange, tmp_path, *CHANNELS) as running:
        await running.told("no acknowledgement of ")
    for channel in CHANNELS:
        reasons = [s.reason for s in running.coverage(channel)]
        assert any("no acknowledgement of " in reason for reason in reasons), channel.source


async def test_a_stalled_socket_is_left_within_three_canary_periods(
    exchange: Loopback, tmp_path: Path
) -> None:
    async with Collecting(exchange, tmp_path, *CHANNELS) as running:
        await running.alive()
        await at_once(exchange, "stall")
        await running.told("silent: no ")
        await running.alive()
    for channel in CHANNELS:
        spans = running.coverage(channel)
        check_spans(spans)
        assert states(spans) == ["down", "up", "down", "up"], channel.source
        lost = [s for s in spans if s.state == "down" and s.reason.startswith("silent")]
        seconds = float(lost[0].reason.removesuffix(" s").rpartition(" ")[2])
        assert seconds <= THREE_PERIODS, channel.source


async def test_a_socket_that_is_closed_is_opened_again_whatever_the_code(
    exchange: Loopback, tmp_path: Path
) -> None:
    codes = [1000, 1001, 1008, 1011, 1013, 4000]
    async with Collecting(exchange, tmp_path, *CHANNELS) as running:
        for n, code in enumerate(codes):
            await running.alive()
            await at_once(exchange, "close", code=code)
            await running.alive()
            await at_once(exchange, "burst", count=1, start=n)
            await running.counted(rows=n + 1)
    for channel in CHANNELS:
        spans = running.coverage(channel)
        check_spans(spans)
        assert states(spans) == ["down", "up"] * (len(codes) + 1), channel.source
        reasons = [s.reason for s in spans if s.state == "down" and s.reason != "connecting"]
        told_codes = [reason for reason, _ in itertools.groupby(reasons)]
        assert told_codes == [f"the server closed it ({code})" for code in codes], channel.source
        assert len(running.liquidations(channel)) == len(codes), channel.source


async def test_a_refused_socket_is_tried_again_until_it_opens(
    exchange: Loopback, tmp_path: Path
) -> None:
    await at_once(exchange, "fault", faults={"refuse": 3})
    async with Collecting(exchange, tmp_path, *CHANNELS) as running:
        await running.told("HTTP 503")
        await running.alive()
        await at_once(exchange, "burst", count=3)
        await running.counted(rows=3)
    for channel in CHANNELS:
        spans = running.coverage(channel)
        assert states(spans) == ["down", "up"], channel.source
        reasons = {s.reason for s in spans if s.state == "down"}
        assert "refuses the socket with HTTP 503" in reasons, channel.source
        assert len(running.liquidations(channel)) == 3, channel.source


GARBAGE: list[dict[str, Any]] = [
    {"text": "not json"},
    {"text": '{"a":'},
    {"text": "[" * 200_000},
    {"text": '{"a":' * 200_000},
    {"text": "x" * 1_000_000},
    {"hex": "1f8b0800deadbeef"},  # gzip that is none, or binary where text is documented
    {"raw_text": b"\xff\xfe{}".hex()},
]


async def test_garbage_goes_to_rejects_and_the_stream_lives_on(
    exchange: Loopback, tmp_path: Path
) -> None:
    async with Collecting(exchange, tmp_path, *CHANNELS) as running:
        await running.alive()
        for n, frame in enumerate(GARBAGE):
            await at_once(exchange, "send", frames=[frame])
            await at_once(exchange, "burst", count=1, start=n)
        await running.counted(rows=len(GARBAGE), rejects=len(GARBAGE))
    for channel in CHANNELS:
        spans = running.coverage(channel)
        assert states(spans) == ["down", "up"], channel.source
        assert sum(s.rejects for s in spans) == len(GARBAGE), channel.source
        rejects = running.store.rows(Reject, "source = $s", {"s": channel.source})
        assert len(rejects) == len(GARBAGE), channel.source
        assert all(r.reason and "\n" not in r.reason and len(r.raw) <= 10_000 for r in rejects)
