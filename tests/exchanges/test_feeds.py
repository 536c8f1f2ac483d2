"""Exchange feeds on the command line: collect, watch, record, replay, and how each one ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chainwatch.errors import Exit
from chainwatch.exchanges import frames
from chainwatch.lake.store import Store
from chainwatch.tables.exchange import Coverage, ExchangeLiquidation
from chainwatch.tables.log import Load, Reject
from tests import shell, terminal
from tests.venues.client import Loopback, until
from tests.venues.protocols import BASE_MS

USDM, COINM, OKX, GATE = "binance-usdm", "binance-coinm", "okx", "gate-usdt"
SOURCES = (USDM, COINM, "bybit-linear", "bybit-inverse", OKX)


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


@pytest.fixture
async def exchange(server: Loopback) -> Loopback:
    for source in SOURCES:
        await server.control("fault", source)
    return server


async def ended(process: subprocess.Popen[bytes]) -> shell.Done:
    return await asyncio.to_thread(shell.ended, process)


async def subscribed(exchange: Loopback, *sources: str) -> None:
    """Wait until a collector listens to all of these and has heard a heartbeat."""
    for source in sources:

        async def listening(source: str = source) -> bool:
            state = await exchange.control("state", source)
            return bool(state["connections"]) and all(state["topics"])

        await until(listening)
    await asyncio.sleep(0.4)


async def quickest(attempt: Callable[[int], Awaitable[float]]) -> float:
    """The least of up to three times: a machine that does other things may delay one of them."""
    seconds = await attempt(0)
    for n in (1, 2):
        if seconds >= 1.0:
            seconds = min(seconds, await attempt(n))
    return seconds


async def test_venues_are_collected_by_name_for_as_long_as_asked(
    exchange: Loopback, tmp_path: Path
) -> None:
    env = exchange.environment(*SOURCES)
    process = shell.start(
        "collect", "binance", "bybit", "okx", "--for", "5s", "--json", home=tmp_path, env=env
    )
    await subscribed(exchange, *SOURCES)
    for source in SOURCES:
        await exchange.control("burst", source, count=10)
    done = await ended(process)
    assert done.code == 0, done.err
    states = {row["source"]: row["state"] for row in shell.rows_of(done.out, "--json")}
    assert states == dict.fromkeys(SOURCES, "ok")
    rows = Store(tmp_path).rows(ExchangeLiquidation)
    assert len(rows) == 50
    notes = [line for line in done.lines if "listening to" in line]
    assert len(notes) == 5
    assert all("/ws/" not in line for line in notes)  # a path may be a key


@pytest.mark.full
async def test_the_reports_of_what_was_collected(exchange: Loopback, tmp_path: Path) -> None:
    env = exchange.environment(USDM, OKX)
    process = shell.start("collect", USDM, OKX, "--for", "4s", home=tmp_path, env=env)
    await subscribed(exchange, USDM, OKX)
    now = int(time.time() * 1000)
    for source in (USDM, OKX):
        await exchange.control("burst", source, count=20, at_ms=now)
    assert (await ended(process)).code == 0
    for by in ("hour", "venue", "symbol", "side"):
        done = shell.run("liquidations", "--by", by, home=tmp_path)
        assert done.code == 0, done.err
        assert "≥ " in done.out
        assert "okx (sampled: at the most one order per contract and second): covered" in done.out
    done = shell.run("liquidations", "--largest", "--limit", "3", "--csv", home=tmp_path)
    largest = shell.rows_of(done.out, "--csv")
    assert [row["venue"] for row in largest] == ["okx"] * 3
    assert "only the first 3 rows are shown" in done.err
    done = shell.run("liquidations", "--model", home=tmp_path)
    assert done.out.startswith("MODEL: ")
    done = shell.run("feeds", "--json", home=tmp_path)
    assert {row["source"]: row["state"] for row in shell.rows_of(done.out, "--json")} == {
        USDM: "off",
        OKX: "off",
    }
    done = shell.run("status", home=tmp_path)
    assert len(re.findall(r"^feed +(?:binance-usdm|okx) .* off \(stopped\)", done.out, re.M)) == 2
    done = shell.run("checks", home=tmp_path)
    assert done.code == 0, done.out


@pytest.mark.full
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["collect", "binanc"], "did you mean binance?"),
        (["collect", "okxx"], "did you mean okx?"),
        (["watch", "nowhere"], "`chainwatch sources` lists them"),
        (["watch", "aave-v3"], "needs --market"),
        (["record", "binance", "--for", "soon"], "--for: expected a time"),
        (["liquidations", "--by", "coin"], "--by: expected minute, hour, venue, symbol"),
        (["liquidations", "--since", "yesterday"], "--since: expected a time"),
        (["liquidations", "--largest", "--model"], "choose one of --largest and --model"),
        (["liquidations", "--by", "hour", "--largest"], "choose one of --by and --largest"),
        (["replay", "nothing.jsonl"], "nothing.jsonl cannot be read: No such file"),
    ],
)
def test_a_wrong_name_or_value_is_exit_2_and_says_what_fits(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    done = shell.run(*arguments, home=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert words in done.lines[-1]


@pytest.mark.full
async def test_an_unreachable_feed_is_exit_3_and_one_of_two_exit_4(
    exchange: Loopback, tmp_path: Path
) -> None:
    env = exchange.environment(USDM, OKX)
    await exchange.control("fault", OKX, faults={"refuse": 1_000})
    some, none = (
        shell.start("collect", *names, "--for", "2s", home=tmp_path / names[0], env=env)
        for names in ((USDM, OKX), (OKX,))
    )
    for process, code in ((some, 4), (none, 3)):
        done = await ended(process)
        assert done.code == code, done.err
        assert "okx was not alive at the end: refuses the socket with HTTP 503" in done.lines[-1]


@pytest.mark.full
async def test_a_silent_feed_is_exit_3_although_it_acknowledges_everything(
    exchange: Loopback, tmp_path: Path
) -> None:
    await exchange.control("fault", USDM, faults={"mute": True})
    process = shell.start(
        "collect", USDM, "--for", "12s", home=tmp_path, env=exchange.environment(USDM)
    )
    done = await ended(process)
    assert done.code == 3
    assert re.search(
        r"silent: no mark price for [78]\.\d s", done.lines[-1]
    )  # within 3 periods of 3 s
    assert {s.state for s in Store(tmp_path).rows(Coverage)} == {"down"}


@pytest.mark.full
async def test_a_feed_that_rejects_is_exit_4_and_shown_in_reports(
    exchange: Loopback, tmp_path: Path
) -> None:
    """A venue changes its frames while it is listened to."""
    env = exchange.environment(GATE)
    await exchange.control("fault", GATE, faults={"spoil": True})
    process = shell.start("collect", GATE, "--for", "8s", home=tmp_path, env=env)
    await subscribed(exchange, GATE)
    await asyncio.sleep(0.6)
    await exchange.control("burst", GATE, count=3, at_ms=int(time.time() * 1000))
    done = await ended(process)
    assert done.code == 4, done.err
    notes = [line for line in done.lines if "a frame or row cannot be parsed: " in line]
    assert notes[0].startswith(f"{GATE}: a frame or row cannot be parsed: ")
    assert "not covered until a liquidation can be parsed" in notes[0]
    assert re.match(rf"chainwatch: {GATE} was not covered for \d\.\d s: 3 frames ", done.lines[-1])
    for command in ("feeds", "liquidations"):
        shown = shell.run(command, home=tmp_path)
        assert shown.code == 0
        assert "REJECTING for a while: a frame or row cannot be parsed: " in shown.out + shown.err
    checks = shell.run("checks", home=tmp_path)
    assert checks.code == 1
    assert "feed_rejects found rows" in checks.err
    await exchange.control("fault", GATE)


async def test_doctor_says_of_a_venue_what_works(exchange: Loopback, tmp_path: Path) -> None:
    """Ten lines a stream at the most; a stream that is mute is exit 3, and nothing is stored."""

    async def doctor(seconds: str) -> shell.Done:
        process = shell.start(
            *("doctor", "okx", "--for", seconds, "--json"),
            home=tmp_path / "new",
            env=exchange.environment("okx"),
        )
        return await asyncio.to_thread(shell.ended, process)

    done = await doctor("3s")
    assert done.code == 0, done.err
    rows = [row for row in json.loads(done.out)["rows"] if row["subject"] == "okx"]
    by_item = {row["item"]: row for row in rows}
    assert len(rows) <= 10
    assert {row["state"] for row in rows} == {"ok"}
    assert by_item["subscribed"]["value"] == "yes"
    assert int(by_item["contracts"]["value"]) > 0
    assert by_item["heartbeat"]["value"].endswith(" of mark price")
    assert by_item["clock"]["value"].endswith(" s against the venue's")
    assert by_item["rule"]["means"].endswith("Liquidation orders channel, 2026-11-29")
    assert "/ws/okx" not in done.out, "what is set may hold a key"
    assert not (tmp_path / "new").exists()
    await exchange.control("fault", "okx", faults={"mute": True})
    done = await doctor("2s")
    assert done.code == 3
    rows = [row for row in json.loads(done.out)["rows"] if row["item"] == "subscribed"]
    assert [row["state"] for row in rows] == ["fault"]


def test_a_recording_that_cannot_be_parsed_is_exit_4(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    lines = [
        {"source": GATE, "received_at": "2026-02-03T04:05:06Z", "frame": frame}
        for frame in ('{"channel":"futures.tickers"}', "\x1b[31m{", '{"channel":1}')
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = shell.run("replay", str(path), "--json", home=tmp_path)
    assert done.code == 4
    assert [r["rejects"] for r in shell.rows_of(done.out, "--json")] == [2]
    notes = [line for line in done.lines if line.startswith(f"{GATE}: a frame or row cannot be ")]
    assert len(notes) == 1
    assert f"chainwatch: some frames or rows cannot be parsed: {notes[0]}" == done.lines[-1]
    assert "\x1b" not in done.err


async def test_a_collector_killed_while_rejecting_claims_no_coverage(
    exchange: Loopback, tmp_path: Path
) -> None:
    await exchange.control("fault", GATE)
    process = shell.start("collect", GATE, home=tmp_path, env=exchange.environment(GATE))
    await subscribed(exchange, GATE)
    await exchange.control("burst", GATE, count=3)
    await exchange.control("fault", GATE, faults={"spoil": True})
    before = datetime.now(UTC)
    await exchange.control("burst", GATE, count=3, start=3)
    store = Store(tmp_path)

    async def stored() -> bool:
        return await asyncio.to_thread(
            lambda: store.exists and bool(store.rows(Coverage, "state = 'rejecting'"))
        )

    await until(stored)
    os.kill(process.pid, signal.SIGKILL)
    await ended(process)
    await exchange.control("fault", GATE)
    spans = store.rows(Coverage, "true ORDER BY from_time")
    assert spans[-1].state == "rejecting"
    assert all(s.to_time <= before + timedelta(seconds=0.5) for s in spans if s.state == "up")
    (reject, *_) = store.rows(Reject, "true ORDER BY received_at")
    assert all(s.to_time <= reject.received_at for s in spans if s.state == "up")


async def test_ctrl_c_ends_a_collector_within_a_second_and_stores_what_came(
    exchange: Loopback, tmp_path: Path
) -> None:
    async def seconds(home: Path) -> float:
        process = shell.start("collect", *SOURCES, home=home, env=exchange.environment(*SOURCES))
        await subscribed(exchange, *SOURCES)
        for source in SOURCES:
            await exchange.control("burst", source, count=100)
        await asyncio.sleep(0.5)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        done = await ended(process)
        took = time.monotonic() - begun
        assert done.code == 130
        assert len(Store(home).rows(ExchangeLiquidation)) == 500
        reasons = {s.reason for s in Store(home).rows(Coverage) if s.state == "off"}
        assert reasons == {"stopped"}
        return took

    assert await quickest(lambda n: seconds(tmp_path / f"{n}")) < 1.0


@pytest.mark.full
async def test_a_collector_killed_in_a_burst_loses_nothing_acknowledged(
    exchange: Loopback, tmp_path: Path
) -> None:
    process = shell.start("collect", USDM, "--jsonl", home=tmp_path, env=exchange.environment(USDM))
    await subscribed(exchange, USDM)
    assert process.stdout is not None
    burst = asyncio.create_task(exchange.control("burst", USDM, count=2_000, rate=400))
    acknowledged = 0
    for _ in range(2):
        line = json.loads(await asyncio.to_thread(process.stdout.readline))
        acknowledged += line["tables"].get("exchange_liquidations", 0)
    os.kill(process.pid, signal.SIGKILL)
    await ended(process)
    await burst
    store = Store(tmp_path)
    rows = store.rows(ExchangeLiquidation, "true ORDER BY time")
    assert len(rows) >= acknowledged > 500
    # What was stored is the burst from its beginning, without a hole.
    assert [r.time.timestamp() * 1000 - BASE_MS for r in rows] == list(range(len(rows)))
    # Coverage claims no more than what is stored.
    claimed = max(s.to_time for s in store.rows(Coverage))
    assert claimed <= max(load.stored_at for load in store.rows(Load))
    done = await ended(
        shell.start("collect", USDM, "--for", "5s", home=tmp_path, env=exchange.environment(USDM))
    )
    assert done.code == 0, done.err
    reasons = [s.reason for s in store.rows(Coverage, "state = 'off' ORDER BY from_time")]
    assert reasons == ["crash: the last run did not record its end", "stopped"]


async def test_a_recording_on_a_full_disk_ends_with_one_line(exchange: Loopback) -> None:
    env = exchange.environment(USDM)
    process = shell.start("--quiet", "record", USDM, "--for", "60s", "-o", "/dev/full", env=env)
    await subscribed(exchange, USDM)
    await exchange.control("burst", USDM, count=500)
    done = await ended(process)
    assert done.code == Exit.STORE
    assert done.lines == ["chainwatch: /dev/full cannot be written: No space left on device"]


@pytest.mark.full
async def test_recorded_frames_replay_to_the_same_rows(exchange: Loopback, tmp_path: Path) -> None:
    env = exchange.environment(*SOURCES)
    path = tmp_path / "frames.jsonl"
    live = shell.start("collect", *SOURCES, "--for", "6s", home=tmp_path / "live", env=env)
    kept = shell.start("record", *SOURCES, "--for", "6s", "--out", str(path), env=env)

    async def both() -> bool:
        states = [await exchange.control("state", source) for source in SOURCES]
        return all(s["connections"] == 2 and all(s["topics"]) for s in states)

    await until(both)
    await asyncio.sleep(0.4)
    for source in SOURCES:
        await exchange.control("burst", source, count=40)
    assert [(await ended(p)).code for p in (live, kept)] == [0, 0]
    done = shell.run("replay", str(path), "--json", home=tmp_path / "again")
    assert done.code == 0, done.err
    counts = {row["source"]: row["liquidations"] for row in shell.rows_of(done.out, "--json")}
    assert counts == dict.fromkeys(SOURCES, 40)
    collected, replayed = (
        {
            (r.source, r.event, r.symbol, r.side, r.price, r.notional_usd, r.raw)
            for r in Store(tmp_path / home).rows(ExchangeLiquidation)
        }
        for home in ("live", "again")
    )
    assert collected == replayed
    again = shell.run("replay", str(path), home=tmp_path / "again")
    assert again.code == 0
    stored = Store(tmp_path / "again").rows(ExchangeLiquidation)
    assert len(stored) == 200
    assert {r.delivery for r in stored} == {"replay"}
    assert Store(tmp_path / "again").rows(Coverage) == []


def test_a_time_of_a_recording_that_names_no_zone_is_utc(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    path.write_text('{"source":"okx","received_at":"2026-02-03T04:05:06","frame":"pong"}\n')
    (line,) = frames.read(path)
    assert line.received_at == datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    done = shell.run("replay", str(path), home=tmp_path)
    assert done.code == 0, done.err


def test_a_file_that_is_no_recording_is_exit_2_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    path.write_text('{"source":"okx","frame":"pong"}\n{"source":1}\n')
    done = shell.run("replay", str(path), home=tmp_path)
    assert done.code == 2
    assert f"{path} line 2: expected a recorded frame" in done.lines[-1]
    path.write_text('{"source":"aave-v3","frame":"x"}\n')
    done = shell.run("replay", str(path), home=tmp_path)
    assert done.code == 2
    assert "aave-v3 is not a stream" in done.lines[-1]


@pytest.mark.full
async def test_watch_without_a_terminal_writes_a_line_per_liquidation(
    exchange: Loopback, tmp_path: Path
) -> None:
    env = exchange.environment(USDM)
    for options, start in (((), 0), (("--jsonl",), 3)):
        process = shell.start("watch", USDM, "--for", "4s", *options, home=tmp_path, env=env)
        await subscribed(exchange, USDM)
        await exchange.control("burst", USDM, count=3, start=start)
        done = await ended(process)
        assert done.code == 0, done.err
        lines = done.out.splitlines()
        assert len(lines) == 3
        if options:
            assert [json.loads(line)["side"] for line in lines] == ["short", "long", "short"]
        else:
            assert lines[1] == (
                "2025-10-09 08:53:20.001Z binance usdm ETHUSDT short 40.00 USD "
                "(0.002 ETH at 20,001.50, fill)"
            )
    assert len(Store(tmp_path).rows(ExchangeLiquidation)) == 6


@pytest.mark.full
async def test_watch_shows_what_is_asked_for_and_stores_all(
    exchange: Loopback, tmp_path: Path
) -> None:
    env = exchange.environment(USDM)
    for options, wanted, start in (
        (("--side", "long"), {"long"}, 0),
        (("--symbol", "btc"), {"BTC"}, 6),
        (("--min-usd", "300"), set(), 12),
    ):
        process = shell.start(
            "watch", USDM, "--for", "4s", "--jsonl", *options, home=tmp_path, env=env
        )
        await subscribed(exchange, USDM)
        await exchange.control("burst", USDM, count=6, start=start)
        done = await ended(process)
        assert done.code == 0, done.err
        printed = [json.loads(line) for line in done.out.splitlines()]
        name = "base" if "--symbol" in options else "side"
        assert 0 < len(printed) < 6
        if wanted:
            assert {row[name] for row in printed} == wanted
        else:
            assert min(row["notional_usd"] for row in printed) >= 300
    assert len(Store(tmp_path).rows(ExchangeLiquidation)) == 18


@pytest.mark.full
async def test_watch_follows_what_another_process_collects(
    exchange: Loopback, tmp_path: Path
) -> None:
    env = exchange.environment(USDM)
    collector = shell.start("collect", USDM, home=tmp_path, env=env)
    await subscribed(exchange, USDM)
    watcher = shell.start("watch", USDM, "--for", "6s", home=tmp_path, env=env)
    assert watcher.stderr is not None
    first_line = await asyncio.to_thread(watcher.stderr.readline)
    assert b"binance-usdm is being collected: following what is stored" in first_line
    await asyncio.sleep(0.5)
    await exchange.control("burst", USDM, count=4)
    done = await ended(watcher)
    collector.send_signal(signal.SIGINT)
    assert (await ended(collector)).code == 130
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 4


async def test_watch_draws_tables_and_ctrl_c_ends_it_within_a_second(
    exchange: Loopback, tmp_path: Path
) -> None:
    terminal.require()
    env = exchange.environment(USDM, OKX)

    async def seconds(home: Path) -> float:
        pressing = asyncio.create_task(
            asyncio.to_thread(
                shell.on_terminal,
                "watch",
                USDM,
                OKX,
                home=home,
                env=env,
                columns=120,
                press=b"\x03",
                when="BTC-USDT-SWAP",
            )
        )
        await subscribed(exchange, USDM, OKX)
        for source in (USDM, OKX):
            await exchange.control("burst", source, count=4)
        code, text, took = await pressing
        assert code == 130
        for words in ("Last liquidations", "lower bounds", "Feeds", "≥ ", "quiet for", "sampled: "):
            assert words in text
        assert len(Store(home).rows(ExchangeLiquidation)) == 8
        return took

    assert await quickest(lambda n: seconds(tmp_path / f"{n}")) < 1.0
