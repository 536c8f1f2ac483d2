"""The stream against a loopback exchange in its own process: what it keeps, and what it admits."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chainwatch.exchanges.venues import binance, bybit, okx
from chainwatch.exchanges.venues.aster import ASTER
from chainwatch.tables.exchange import Coverage
from chainwatch.tables.log import Reject
from tests.venues.client import FAST, HEARTBEAT_SECONDS, OTHERS, Collecting, Loopback, quick, until
from tests.venues.discovery import ALL
from tests.venues.protocols import BASE_MS, dump

USDM = quick(binance.USDM)
LINEAR = quick(bybit.LINEAR)
SWAPS = quick(okx.OKX)
LARGE = [USDM, LINEAR, SWAPS]
CHANNELS = [*LARGE, *(quick(channel) for channel in OTHERS)]
THREE_PERIODS = 3 * HEARTBEAT_SECONDS


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


@pytest.fixture
async def exchange(server: Loopback) -> Loopback:
    """The exchange, behaving."""
    await at_once(server, "fault")
    for channel in LARGE:
        await server.control("list", channel.source, symbols=ALL[channel.source].symbols)
    return server


async def at_once(exchange: Loopback, do: str, **order: Any) -> None:
    """Tell it for all channels."""
    await asyncio.gather(*(exchange.control(do, c.source, **order) for c in CHANNELS))


def states(spans: list[Coverage]) -> list[str]:
    """The states in their order up to the stop, spans of the same state as one."""
    assert spans[-1].reason.startswith("stopped")
    distinct = [state for state, _ in itertools.groupby(span.state for span in spans)]
    return distinct[:-1] if distinct[-1] == "off" else distinct


def check_spans(spans: list[Coverage]) -> None:
    """Spans of one source adjoin and never overlap."""
    for span, following in itertools.pairwise(spans):
        assert span.from_time < span.to_time == following.from_time


# --- nothing lost, nothing doubled ----------------------------------------------------------


@pytest.mark.full
async def test_every_frame_of_a_burst_becomes_a_row(exchange: Loopback, tmp_path: Path) -> None:
    """The catalog is read meanwhile."""
    from chainwatch.lake import query

    async with Collecting(exchange, tmp_path, *LARGE) as running:
        await running.alive()
        counts = []

        def count() -> int:
            with query.open_catalog(running.store) as catalog:
                result = catalog.run(
                    "SELECT count(*), count(DISTINCT event) FROM exchange_liquidations"
                )
            assert result.rows[0][0] == result.rows[0][1]
            counts.append(result.rows[0][0])
            return counts[-1]

        await at_once(exchange, "burst", count=1_000)
        await at_once(exchange, "burst", count=400, rate=200, start=1_000)

        async def complete() -> bool:
            return await asyncio.to_thread(count) == 1_400 * len(LARGE)

        await until(complete)
        assert counts == sorted(counts)
    for channel in LARGE:
        rows = running.liquidations(channel)
        assert [r.time.timestamp() * 1000 - BASE_MS for r in rows] == list(range(1_400))
        assert [r.side for r in rows] == ["long", "short"] * 700


@pytest.mark.full
async def test_what_is_sent_again_after_a_reconnect_counts_once(
    exchange: Loopback, tmp_path: Path
) -> None:
    async with Collecting(exchange, tmp_path, *CHANNELS) as running:
        for again in range(4):
            await running.alive()
            await at_once(exchange, "burst", count=50)
            await running.counted(rows=50, duplicates=50 * again)
            if again < 3:
                await at_once(exchange, "drop")
    for channel in CHANNELS:
        spans = running.coverage(channel)
        check_spans(spans)
        assert len(running.liquidations(channel)) == 50, channel.source
        assert sum(s.rows for s in spans) == 50
        assert sum(s.duplicates for s in spans) == 150
        assert states(spans) == ["down", "up"] * 4, channel.source
        reasons = {s.reason for s in spans if s.state == "down"}
        assert reasons == {"connecting", "the connection broke"}


@pytest.mark.full
async def test_an_id_tells_apart_what_happened_to_one_contract_only(
    exchange: Loopback, tmp_path: Path
) -> None:
    """Deribit numbers trades by currency, Hyperliquid's numbers repeat on other coins."""
    several = [c for c in CHANNELS if len(ALL[c.source].symbols) > 1]
    assert len(several) > 10
    async with Collecting(exchange, tmp_path, *several) as running:
        await running.alive()
        for channel in several:
            protocol = ALL[channel.source]
            texts = [text for _, text in protocol.frames(0, 0)]
            texts += [protocol.of_second(text) for text in texts]
            again = [{"text": text} for text in (*texts, *texts)]
            await exchange.control("send", channel.source, frames=again)
        await running.counted(rows=2, duplicates=2)
    for channel in several:
        rows = running.liquidations(channel)
        assert len({r.symbol for r in rows}) == 2, channel.source
        assert len(rows) == 2 * len({r.kind for r in rows}), channel.source


async def test_a_second_run_continues_the_coverage_of_the_first(
    exchange: Loopback, tmp_path: Path
) -> None:
    """Rows of the first run count once, and the time between is off."""
    for _ in range(2):
        async with Collecting(exchange, tmp_path, USDM) as running:
            await running.alive()
            await exchange.control("burst", USDM.source, count=30)
            await running.counted(rows=30)
    assert len(running.liquidations(USDM)) == 30
    spans = running.coverage(USDM)
    check_spans(spans)
    assert states(spans) == ["down", "up", "off", "down", "up"]
    reasons = [s.reason for s in spans if s.state == "off"]
    assert reasons == ["stopped", "not collecting", "stopped"]
    assert len({s.run for s in spans}) == 2


async def test_identical_rows_in_one_frame_are_separate_events(
    exchange: Loopback, tmp_path: Path
) -> None:
    """Also when the frame is sent again."""
    detail = {"T": BASE_MS, "s": "BTCUSDT", "S": "Buy", "v": "0.5", "p": "20001.5"}
    topic = "allLiquidation.BTCUSDT"
    frame = {"topic": topic, "type": "snapshot", "ts": BASE_MS + 5}
    twins = dump({**frame, "data": [detail, detail, {**detail, "S": "Sell"}]})
    async with Collecting(exchange, tmp_path, LINEAR) as running:
        await running.alive()
        await exchange.control("send", LINEAR.source, frames=[{"text": twins}, {"text": twins}])
        await running.counted(rows=3, duplicates=3)
    rows = running.liquidations(LINEAR)
    assert sorted(r.side for r in rows) == ["long", "long", "short"]
    assert sum(s.duplicates for s in running.coverage(LINEAR)) == 3
    for row in rows:  # each keeps its own element in the frame's envelope
        assert len(json.loads(row.raw)["data"]) == 1
        assert json.loads(row.raw)["ts"] == BASE_MS + 5


async def test_a_message_in_many_pieces_is_one_frame(exchange: Loopback, tmp_path: Path) -> None:
    text = dump(ALL["binance-usdm"].order(7, 0))  # type: ignore[attr-defined]
    pieces = [text[i : i + 40] for i in range(0, len(text), 40)]
    async with Collecting(exchange, tmp_path, USDM) as running:
        await running.alive()
        await exchange.control("send", USDM.source, frames=[{"pieces": pieces}])
        await running.counted(rows=1)
    (row,) = running.liquidations(USDM)
    assert row.raw == text


# --- faults: what the reader does, what coverage says, how long it takes ----------------------


@pytest.mark.full
async def test_silence_is_noticed_within_three_heartbeat_periods(
    exchange: Loopback, tmp_path: Path
) -> None:
    """Also where subscriptions are still acknowledged."""
    async with Collecting(exchange, tmp_path, *CHANNELS) as running:
        await running.alive()
        await at_once(exchange, "burst", count=10)
        await running.counted(rows=10)
        await at_once(exchange, "fault", faults={"mute": True})
        await running.noted("silent: no ")
        await running.subscribed()  # the new socket is acknowledged, and as silent
        await at_once(exchange, "fault")
        await running.noted("alive again after ")
        await running.alive()
    for channel in CHANNELS:
        spans = running.coverage(channel)
        check_spans(spans)
        assert states(spans) == ["down", "up", "down", "up"], channel.source
        noticed = next(s for s in spans if s.state == "down" and s.reason.startswith("silent"))
        assert f"no {channel.heartbeat} for" in noticed.reason
        seconds = float(noticed.reason.removesuffix(" s").rpartition(" ")[2])
        assert seconds <= THREE_PERIODS
        # What was not heard is not covered: the span of being up ends at the last heartbeat.
        before = spans[: spans.index(noticed)]
        assert sum(s.rows for s in before if s.state == "up") == 10
        notes = [line for line in running.voice.lines if line.startswith(channel.source)]
        assert any("silent" in line for line in notes)
        assert any("alive again" in line for line in notes)


@pytest.mark.full
async def test_where_an_address_stays_silent_the_other_is_tried(
    exchange: Loopback, tmp_path: Path
) -> None:
    """It opens and acknowledges, and no heartbeat comes; the one that answers is named."""
    mute = exchange.environment("aster")["CHAINWATCH_WS_ASTER"]
    other = exchange.environment("binance-usdm")["CHAINWATCH_WS_BINANCE_USDM"]
    channel = msgspec.structs.replace(quick(ASTER), ws=mute, other_ws=(other,))
    await exchange.control("fault", "aster", faults={"mute": True})
    async with Collecting(exchange, tmp_path, channel) as running:
        await running.noted("silent: no mark price")
        await running.noted(f"alive at {other}")
        await exchange.control("burst", USDM.source, count=2)
        await running.counted(rows=2)


async def test_a_stalled_socket_is_left_within_three_heartbeat_periods(
    exchange: Loopback, tmp_path: Path
) -> None:
    async with Collecting(exchange, tmp_path, *CHANNELS) as running:
        await running.alive()
        await at_once(exchange, "stall")
        await running.noted("silent: no ")
        await running.alive()
    for channel in CHANNELS:
        spans = running.coverage(channel)
        check_spans(spans)
        assert states(spans) == ["down", "up", "down", "up"], channel.source
        lost = [s for s in spans if s.state == "down" and s.reason.startswith("silent")]
        assert {s.connections for s in lost} == {0}
        # Until the new subscription is alive, closing the stalled socket included.
        away = (lost[-1].to_time - lost[0].from_time).total_seconds()
        assert away <= THREE_PERIODS + 1.5


async def test_a_socket_that_is_closed_is_opened_again_whatever_the_code(
    exchange: Loopback, tmp_path: Path
) -> None:
    codes = [1000, 1001, 1002, 1008, 1011, 1012, 1013, 4000]
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
        closings = [reason for reason, _ in itertools.groupby(reasons)]
        assert closings == [f"the server closed it ({code})" for code in codes], channel.source
        assert len(running.liquidations(channel)) == len(codes), channel.source


@pytest.mark.full
async def test_a_subscription_without_acknowledgement_is_given_up(
    exchange: Loopback, tmp_path: Path
) -> None:
    await at_once(exchange, "fault", faults={"no_ack": True})
    async with Collecting(exchange, tmp_path, *CHANNELS) as running:
        await running.noted("no acknowledgement of ")
        await at_once(exchange, "fault")
        await running.alive()
    for channel in CHANNELS:
        spans = running.coverage(channel)
        assert states(spans) == ["down", "up"], channel.source
        assert any(s.reason.startswith("no acknowledgement of ") for s in spans)


async def test_a_refused_socket_is_retried_after_the_venues_wait(
    exchange: Loopback, tmp_path: Path
) -> None:
    before = (await exchange.control("state", USDM.source))["opened"]
    await exchange.control("fault", USDM.source, faults={"refuse": 3, "retry_after": 1})
    async with Collecting(exchange, tmp_path, USDM) as running:
        await running.alive()
    opened = (await exchange.control("state", USDM.source))["opened"] - before
    assert opened == 4
    spans = running.coverage(USDM)
    assert "refuses the socket with HTTP 503" in {s.reason for s in spans if s.state == "down"}
    # Three waits, each as long as asked for, up to the cap.
    down = sum((s.to_time - s.from_time for s in spans if s.state == "down"), timedelta())
    assert down.total_seconds() >= 3 * FAST.backoff_cap


async def test_waits_grow_until_a_connection_has_lived(exchange: Loopback, tmp_path: Path) -> None:
    before = (await exchange.control("state", USDM.source))["opened"]
    await exchange.control("fault", USDM.source, faults={"refuse": 1_000})

    async def opened_ten_times() -> bool:
        return (await exchange.control("state", USDM.source))["opened"] - before >= 10

    async with Collecting(exchange, tmp_path, USDM):
        begun = time.monotonic()
        await until(opened_ten_times)
        seconds = time.monotonic() - begun
    # Nine waits of 0.05 · 2^n, capped at 0.4, each at least half of it, however lucky.
    assert seconds >= sum(min(0.05 * 2**n, FAST.backoff_cap) for n in range(9)) / 2


async def test_a_refused_topic_costs_no_other_topic(exchange: Loopback, tmp_path: Path) -> None:
    """The count of subscribed topics shows it."""
    await exchange.control("fault", LINEAR.source, faults={"deny": ["allLiquidation.XRPUSDT"]})
    async with Collecting(exchange, tmp_path, LINEAR) as running:
        await running.alive()
        await exchange.control("burst", LINEAR.source, count=10)
        await running.counted(rows=8)
    spans = [s for s in running.coverage(LINEAR) if s.state == "up"]
    assert {(s.subscribed, s.listed) for s in spans} == {(4, 5)}
    assert len(running.liquidations(LINEAR)) == 8
    refusals = [line for line in running.voice.lines if "refuses" in line]
    assert len(refusals) == 1
    assert "handler not found,topic:allLiquidation.XRPUSDT" in refusals[0]


async def test_a_venue_that_refuses_the_feed_itself_is_down_with_its_reason(
    exchange: Loopback, tmp_path: Path
) -> None:
    await exchange.control("fault", USDM.source, faults={"deny": ["!forceOrder@arr"]})
    async with Collecting(exchange, tmp_path, USDM) as running:
        await running.noted("refused: ")
    spans = running.coverage(USDM)
    assert states(spans) == ["down"]
    assert any(
        "refused" in s.reason and "unknown stream !forceOrder@arr" in s.reason for s in spans
    )


async def test_a_feed_with_heartbeats_and_no_liquidation_is_stale(
    exchange: Loopback, tmp_path: Path
) -> None:
    quiet = quick(binance.USDM, max_quiet_seconds=2.0)
    async with Collecting(exchange, tmp_path, quiet) as running:
        await running.alive()
        await exchange.control("burst", quiet.source, count=2)
        await running.stands(quiet, lambda span: span.state == "stale")
        await exchange.control("burst", quiet.source, count=2, start=2)
        await running.stands(quiet, lambda span: span.state == "up")
    spans = running.coverage(quiet)
    check_spans(spans)
    assert states(spans) == ["down", "up", "stale", "up"]
    assert len(running.liquidations(quiet)) == 4


@pytest.mark.full
async def test_what_a_feed_rejects_is_not_covered_until_it_is_read(
    exchange: Loopback, tmp_path: Path
) -> None:
    async with Collecting(exchange, tmp_path, *CHANNELS) as running:
        await running.alive()
        await at_once(exchange, "burst", count=5)
        await running.counted(rows=5)
        await running.alive()
        await at_once(exchange, "fault", faults={"spoil": True})
        await at_once(exchange, "burst", count=5, start=5)
        await running.counted(rows=5, rejects=5)
        await running.noted("cannot be parsed")
        for channel in CHANNELS:  # the heartbeat goes on, which proves nothing now
            await running.stands(
                channel, lambda span: span.state == "rejecting" and span.rejects == 0
            )
        await at_once(exchange, "fault")
        await at_once(exchange, "burst", count=1, start=10)
        await running.counted(rows=6)
        await running.alive()
    for channel in CHANNELS:
        spans = running.coverage(channel)
        check_spans(spans)
        assert states(spans) == ["down", "up", "rejecting", "up"], channel.source
        for span in spans:
            assert bool(span.rejects) <= (span.state == "rejecting"), channel.source
        bad = [s for s in spans if s.state == "rejecting"]
        assert sum(s.rejects for s in bad) >= 5
        assert all("cannot be parsed: " in s.reason for s in bad)
        # It begins with the last proof before the first reject, not with the reject,
        rejected = running.store.rows(Reject, "source = $s", {"s": channel.source})
        rows = running.liquidations(channel)
        assert bad[0].from_time < min(r.received_at for r in rejected)
        assert bad[0].from_time >= max(r.received_at for r in rows[:5])
        # and ends with the next liquidation that is read.
        assert bad[-1].to_time == min(r.received_at for r in rows if r not in rows[:5])
        notes = [line for line in running.voice.lines if line.startswith(f"{channel.source}: a fr")]
        assert len(notes) == 1
        assert "it begins" in notes[0]
        assert len(notes[0]) < 700


async def test_a_feed_rejects_through_a_reconnect_and_to_the_end(
    exchange: Loopback, tmp_path: Path
) -> None:
    async with Collecting(exchange, tmp_path, USDM) as running:
        await running.alive()
        await exchange.control("fault", USDM.source, faults={"spoil": True})
        await exchange.control("burst", USDM.source, count=1)
        await running.counted(rejects=1)
        await exchange.control("drop", USDM.source)
        await running.noted("the connection broke")
        await running.stands(USDM, lambda span: span.state == "rejecting" and span.frames > 2)
    spans = running.coverage(USDM)
    check_spans(spans)
    assert states(spans) == ["down", "up", "rejecting", "down", "rejecting"]


async def test_a_frame_of_which_a_part_is_read_ends_what_it_begins(
    exchange: Loopback, tmp_path: Path
) -> None:
    topic = "allLiquidation.BTCUSDT"
    good = {"T": BASE_MS, "s": "BTCUSDT", "S": "Buy", "v": "0.5", "p": "20001.5"}
    frame = {"topic": topic, "type": "snapshot", "ts": BASE_MS + 5}
    mixed = dump({**frame, "data": [good, {**good, "p": "none"}]})
    async with Collecting(exchange, tmp_path, LINEAR) as running:
        await running.alive()
        await exchange.control("send", LINEAR.source, frames=[{"text": mixed}])
        await running.counted(rows=1, rejects=1)
        await running.alive()
    spans = running.coverage(LINEAR)
    check_spans(spans)
    assert states(spans) == ["down", "up", "rejecting", "up"]
    (bad,) = [s for s in spans if s.state == "rejecting"]
    (row,) = running.liquidations(LINEAR)
    assert (bad.rejects, bad.to_time) == (1, row.received_at)
    assert bad.to_time - bad.from_time < timedelta(seconds=HEARTBEAT_SECONDS * 2.5)


# --- many contracts ---------------------------------------------------------------------------


async def test_contracts_are_spread_over_sockets_within_the_limits(
    exchange: Loopback, tmp_path: Path
) -> None:
    symbols = [f"C{i:03}USDT" for i in range(130)]
    await exchange.control("list", LINEAR.source, symbols=["BTCUSDT", *symbols])
    small = quick(bybit.LINEAR, topics_per_connection=60)
    async with Collecting(exchange, tmp_path, small) as running:
        await running.alive(connections=3)
        state = await exchange.control("state", small.source)
        sizes = sorted(sum(t.startswith("allLiq") for t in topics) for topics in state["topics"])
        assert sizes == [11, 60, 60]
        assert all("tickers.BTCUSDT" in topics for topics in state["topics"])
        requests = [
            json.loads(text)["args"]
            for received in state["received"]
            for text in received
            if "subscribe" in text
        ]
        assert max(map(len, requests)) == small.topics_per_message
        await exchange.control("burst", small.source, count=262)
        await running.counted(rows=262)
    assert len(running.liquidations(small)) == 262
    last = running.coverage(small)[-2]
    assert (last.state, last.subscribed, last.listed, last.connections) == ("up", 131, 131, 3)


async def test_a_lost_socket_of_several_makes_coverage_partial(
    exchange: Loopback, tmp_path: Path
) -> None:
    await exchange.control("list", LINEAR.source, symbols=[f"C{i}USDT" for i in range(10)])
    small = quick(bybit.LINEAR, topics_per_connection=5)
    async with Collecting(exchange, tmp_path, small) as running:
        await running.alive(connections=2)
        await exchange.control("fault", small.source, faults={"refuse": 1_000})
        await exchange.control("drop", small.source, which=1)
        await running.stands(small, lambda span: span.state == "partial")
        await exchange.control("fault", small.source)
        await running.alive(connections=2)
    spans = running.coverage(small)
    check_spans(spans)
    partial = [s for s in spans if s.state == "partial"]
    assert partial
    assert {s.subscribed for s in partial} == {5}
    assert {s.connections for s in partial} == {1}
    assert any(re.search(r"connection [12]: ", s.reason) for s in partial)


async def test_a_contract_listed_later_is_subscribed_to(exchange: Loopback, tmp_path: Path) -> None:
    often = FAST.__class__(
        **{f: getattr(FAST, f) for f in FAST.__struct_fields__} | {"relist": 0.4}
    )
    async with Collecting(exchange, tmp_path, LINEAR, timing=often) as running:
        await running.alive()
        await exchange.control(
            "list", LINEAR.source, symbols=[*ALL[LINEAR.source].symbols, "NEWUSDT"]
        )
        await running.stands(LINEAR, lambda span: span.subscribed == 6)
        await exchange.control("burst", LINEAR.source, count=6)
        await running.counted(rows=6)
    rows = running.liquidations(LINEAR)
    assert [r.symbol for r in rows][-1] == "NEWUSDT"
    assert rows[-1].notional_usd is not None
    assert [(s.subscribed, s.listed) for s in running.coverage(LINEAR) if s.state == "up"][-1] == (
        6,
        6,
    )


async def test_without_a_list_the_contracts_of_the_last_run_are_used(
    exchange: Loopback, tmp_path: Path
) -> None:
    async with Collecting(exchange, tmp_path, LINEAR) as running:
        await running.alive()
    await exchange.control("rest", LINEAR.source, statuses=[404] * 50)
    async with Collecting(exchange, tmp_path, LINEAR) as running:
        await running.alive()
        await exchange.control("burst", LINEAR.source, count=5)
        await running.counted(rows=5)
    await exchange.control("rest", LINEAR.source, statuses=[])
    assert len(running.liquidations(LINEAR)) == 5
    assert any("using the 5 contracts of the last run" in line for line in running.voice.lines)


async def test_a_feed_by_contract_without_any_list_is_down_and_says_so(
    exchange: Loopback, tmp_path: Path
) -> None:
    await exchange.control("rest", LINEAR.source, statuses=[404] * 50)
    async with Collecting(exchange, tmp_path, LINEAR) as running:
        await running.noted("no list of contracts")
    await exchange.control("rest", LINEAR.source, statuses=[])
    spans = running.coverage(LINEAR)
    assert states(spans) == ["down"]
    assert "no list of contracts" in spans[-1].reason
    assert "HTTP 404" in spans[-1].reason


# --- bad input ----------------------------------------------------------------------------------


def bad_frames() -> list[tuple[dict[str, Any], str]]:
    """Frames that cannot be read, each with a word of the reason."""
    good: dict[str, Any] = ALL["binance-usdm"].order(1, 0)  # type: ignore[attr-defined]

    def order(**changes: Any) -> dict[str, Any]:
        return {"text": dump({**good, "o": {**good["o"], **changes}})}

    return [
        ({"text": '{"e":"forceOrder","E":1'}, "truncated"),
        ({"text": "[]"}, "Expected `object`"),
        ({"text": "not json"}, "invalid"),
        ({"text": '{"e":"forceOrder","E":1,"o":{}}'}, "missing required field"),
        ({"text": '{"e":"forceOrder"}'}, "truncated"),
        (order(z="NaN"), "got 'NaN'"),
        (order(z="-0.5"), "got '-0.5'"),
        (order(z="0"), "got '0'"),
        (order(ap="1e400"), "got '1e400'"),
        (order(ap="inf"), "got 'inf'"),
        (order(S="HOLD"), "expected side SELL or BUY, got 'HOLD'"),
        (order(T=BASE_MS * 2), "not a time in ms: in the future"),
        (order(T=1_700_000_000), "not a time in ms: before 2009"),
        (order(T=10**30), "expected a time, got '1000"),
        (order(s="x" * 100), "expected a symbol"),
        (order(s="BTC\x1b[31mUSDT"), "expected a symbol"),
        (order(s="NOSUCHUSDT"), "not in the venue's list"),
        ({"text": "[" * 200_000}, "expected `object`"),
        ({"text": '{"a":' * 200_000}, "nested"),
        ({"text": "x" * 1_000_000}, "invalid"),
        ({"hex": "1f8b0800deadbeef"}, "expected a text frame, got a binary frame"),
        ({"raw_text": b'{"e":"\xff\xfe"}'.hex()}, "utf-8"),
    ]


async def test_what_cannot_be_parsed_is_rejected_with_a_reason(
    exchange: Loopback, tmp_path: Path
) -> None:
    """The socket stays open."""
    bad = bad_frames()
    async with Collecting(exchange, tmp_path, USDM) as running:
        await running.alive()
        opened = (await exchange.control("state", USDM.source))["opened"]
        for n, (frame, _) in enumerate(bad):
            await exchange.control("send", USDM.source, frames=[frame])
            await exchange.control("burst", USDM.source, count=1, start=10 + n)
        await running.counted(rows=len(bad) + 1, rejects=len(bad) - 1)
        assert (await exchange.control("state", USDM.source))["opened"] == opened
        await running.alive()
    rejects = running.store.rows(
        Reject, "source = $source ORDER BY received_at", {"source": USDM.source}
    )
    for (_, word), reject in zip(bad, rejects, strict=True):
        assert word.lower() in reject.reason.lower()
        assert len(reject.raw) <= 10_000
    rows = running.liquidations(USDM)
    unlisted = [r for r in rows if r.symbol == "NOSUCHUSDT"]
    assert len(rows) == len(bad) + 1
    # A contract the list does not know is kept, without what the list is needed for.
    assert [(r.base, r.notional_usd, r.usd_rule) for r in unlisted] == [
        (None, None, "n/a (contract not listed)")
    ]
    assert unlisted[0].notional_quote == pytest.approx(0.002 * 20_001.5)
    spans = running.coverage(USDM)
    check_spans(spans)
    assert states(spans)[:3] == ["down", "up", "rejecting"]
    assert states(spans)[-1] == "up"
    # That of the contract that is not listed is a note: its row was read.
    assert sum(s.rejects for s in spans) == len(bad) - 1
    assert {s.state for s in spans if s.rejects} == {"rejecting"}


async def test_a_flood_of_garbage_is_counted_in_full_and_kept_in_part(
    exchange: Loopback, tmp_path: Path
) -> None:
    async with Collecting(exchange, tmp_path, USDM) as running:
        await running.alive()
        await exchange.control(
            "send", USDM.source, frames=[{"text": f"garbage {n}"} for n in range(300)]
        )
        await exchange.control("burst", USDM.source, count=5)
        await running.counted(rows=5, rejects=300)
    assert sum(s.rejects for s in running.coverage(USDM)) == 300
    assert 100 <= len(running.store.rows(Reject)) <= 200  # the minute may turn
    assert len(running.liquidations(USDM)) == 5


@pytest.mark.full
async def test_a_frame_above_the_cap_ends_the_socket(exchange: Loopback, tmp_path: Path) -> None:
    async with Collecting(exchange, tmp_path, USDM) as running:
        await running.alive()
        await exchange.control("send", USDM.source, frames=[{"text": "x" * (17 * 2**20)}])
        await running.noted("a frame is larger than the cap")
        await running.alive()
    assert any(s.reason == "a frame is larger than the cap" for s in running.coverage(USDM))
