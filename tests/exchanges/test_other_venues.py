"""The other venues against the loopback exchange: what is not tried on all streams at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chainwatch.exchanges.contracts import Contract
from chainwatch.exchanges.feeds import channels, histories
from chainwatch.exchanges.reader import Reader
from chainwatch.exchanges.venues.hyperliquid import HYPERLIQUID
from chainwatch.tables.log import Reject
from tests.exchanges.test_stream import states
from tests.exchanges.venues.test_hyperliquid import ADDRESSES
from tests.places import FIXTURES
from tests.venues.client import OTHERS, Collecting, Loopback, discovered, quick
from tests.venues.discovery import ALL
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
    await asyncio.gather(*(exchange.control(do, c.source, **order) for c in CHANNELS))


def test_the_loopback_exchange_plays_every_venue() -> None:
    """A venue without a protocol fails here, and with it every test of faults."""
    of_histories = {history.channel.source for history in histories.values()}
    assert {c.source for c in discovered()} | of_histories == ALL.keys()


def test_every_stream_has_a_fixture_of_frames() -> None:
    missing = [name for name in channels if not (FIXTURES / name / "frames.jsonl").exists()]
    assert missing == []


@pytest.mark.full
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


UNKNOWN_TOPICS = {
    "okx": {"arg": {"channel": "tickers", "instId": "X"}, "data": [{"last": "1"}]},
    "bybit-linear": {"topic": "orderbook.1.X", "type": "snapshot", "data": {}},
    "deribit": {
        "jsonrpc": "2.0",
        "method": "subscription",
        "params": {"channel": "quote.X", "data": {}},
    },
    "gate-usdt": {"channel": "futures.order_book", "event": "update", "result": {}},
    "bitget": {"arg": {"topic": "books", "instType": "x"}, "data": []},
    "binance-usdm": {"e": "aggTrade", "s": "X"},
    "kraken-futures": {"feed": "ticker", "product_id": "X"},
    "dydx-v4": {"type": "channel_data", "channel": "v4_markets", "contents": {}},
    "hyperliquid": {"channel": "trades", "data": []},
}


@pytest.mark.parametrize("source", sorted(UNKNOWN_TOPICS))
def test_an_unknown_topic_is_no_heartbeat(source: str) -> None:
    """Only the topic that was subscribed to as the heartbeat proves life."""
    channel = channels[source]
    reader = Reader(channel.source, channel.venue, channel.market)
    parsed = channel.parse(json.dumps(UNKNOWN_TOPICS[source]).encode(), reader)
    assert not parsed.heartbeat


async def test_a_refused_feed_is_down_with_the_venues_words(
    exchange: Loopback, tmp_path: Path
) -> None:
    for channel in CHANNELS:
        topics = channel.topics(dict.fromkeys(ALL[channel.source].symbols, SOME))
        if channel.accounts is not None:
            topics += map(channel.account_topic, ADDRESSES)
        await exchange.control("fault", channel.source, faults={"deny": topics})
    async with Collecting(exchange, tmp_path, *CHANNELS) as running:
        await running.noted("refused: ")
    for channel in CHANNELS:
        spans = running.coverage(channel)
        assert states(spans) == ["down"], channel.source
        assert any("refused: " in s.reason for s in spans), channel.source


async def test_addresses_are_read_from_the_vault_and_named(
    exchange: Loopback, tmp_path: Path
) -> None:
    """All children of the vault are subscribed to, also one that the program does not know."""
    async with Collecting(exchange, tmp_path, quick(HYPERLIQUID)) as running:
        await running.alive()
        await running.noted(f"hyperliquid: fills of 3 addresses: {', '.join(ADDRESSES)}")
        (topics,) = (await exchange.control("state", HYPERLIQUID.source))["topics"]
    assert topics == ["allMids", *(f"userFills {address}" for address in ADDRESSES)]


@pytest.mark.full
async def test_a_refused_socket_is_tried_again_until_it_opens(
    exchange: Loopback, tmp_path: Path
) -> None:
    await at_once(exchange, "fault", faults={"refuse": 3})
    async with Collecting(exchange, tmp_path, *CHANNELS) as running:
        await running.noted("HTTP 503")
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


@pytest.mark.full
async def test_garbage_goes_to_rejects_and_the_stream_lives_on(
    exchange: Loopback, tmp_path: Path
) -> None:
    async with Collecting(exchange, tmp_path, *CHANNELS) as running:
        await running.alive()
        for n, frame in enumerate(GARBAGE):
            await at_once(exchange, "send", frames=[frame])
            await at_once(exchange, "burst", count=1, start=n)
        await running.counted(rows=len(GARBAGE), rejects=len(GARBAGE))
        await running.alive()
    for channel in CHANNELS:
        spans = running.coverage(channel)
        assert states(spans)[:3] == ["down", "up", "rejecting"], channel.source
        assert states(spans)[-1] == "up", channel.source
        assert {s.state for s in spans if s.rejects} == {"rejecting"}, channel.source
        assert sum(s.rejects for s in spans) == len(GARBAGE), channel.source
        rejects = running.store.rows(Reject, "source = $s", {"s": channel.source})
        assert len(rejects) == len(GARBAGE), channel.source
        assert all(r.reason and "\n" not in r.reason and len(r.raw) <= 10_000 for r in rejects)
