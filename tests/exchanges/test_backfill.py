"""Past liquidations over REST: all pages, resumed where it stopped, second to the streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chainwatch.collect import runner
from chainwatch.collect.feed import Job, Outcome
from chainwatch.collect.registry import discover, find
from chainwatch.collect.source import Source
from chainwatch.errors import Exit, NetworkError
from chainwatch.exchanges import backfill
from chainwatch.exchanges.feeds import histories
from chainwatch.exchanges.venues import gate
from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.settings import Settings
from chainwatch.tables.exchange import Coverage, ExchangeLiquidation
from chainwatch.tables.log import Reject
from tests import shell
from tests.venues.client import Collecting, Loopback, Notes, quick
from tests.venues.discovery import ALL

HISTORIES = [s for s in discover().values() if s.name.endswith("-history")]
NOW = datetime(2026, 2, 3, 12, 0, 30, tzinfo=UTC)
BEGIN = NOW - timedelta(hours=3)


def named(source: Source) -> str:
    return source.name


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


class Reading:
    """Reads one history into a store, as often as wanted."""

    def __init__(self, exchange: Loopback, source: Source, home: Path) -> None:
        self.exchange = exchange
        self.stream = source.name.removesuffix("-history")
        self.store = Store(home)
        address = exchange.environment(self.stream)[f"CHAINWATCH_URL_{self._name(self.stream)}"]
        self.settings = Settings(
            {"home": str(home)},
            environ={f"CHAINWATCH_URL_{self._name(source.name)}": address},
            dotenv=home / "no.env",
        )
        self.source = source

    @staticmethod
    def _name(source: str) -> str:
        return source.upper().replace("-", "_")

    async def run(self, now: datetime = NOW, since: datetime | None = BEGIN) -> Outcome:
        options = {} if since is None else {"since": since.isoformat()}
        job = Job(self.source, options=options)
        (outcome,) = await runner.collect(
            self.store, self.settings, [job], Notes(), clock=lambda: now
        )
        return outcome

    async def requests(self) -> list[str]:
        """The requests since the last call."""
        state = await self.exchange.control("state", self.stream)
        await self.exchange.control("rest", self.stream, requests=[])
        return [str(path) for path in state["requests"]]

    def rows(self) -> list[ExchangeLiquidation]:
        return self.store.rows(ExchangeLiquidation, "true ORDER BY time")


def past(count: int, begin: datetime = BEGIN, seconds: float = 30.0) -> list[tuple[int, int]]:
    """Liquidations by number and time in milliseconds, on whole seconds."""
    first = int(begin.timestamp() * 1000)
    return [(n, first + int(n * seconds) * 1000) for n in range(count)]


@pytest.mark.full
@pytest.mark.parametrize("source", HISTORIES, ids=named)
async def test_a_history_is_read_once_and_resumed_where_it_stopped(
    server: Loopback, tmp_path: Path, source: Source
) -> None:
    # Bitfinex allows three requests a minute; the tests do not wait for that.
    quick = _unpaced(source)
    reading = Reading(server, quick, tmp_path)
    # The last three are younger than what is asked for: they may be on their way to the stream.
    await server.control("rest", reading.stream, history=past(361), statuses=[])
    assert (await reading.run()).failure is None
    first = await reading.requests()
    assert len(first) > 1
    rows = reading.rows()
    assert len(rows) == 358
    assert [row.side for row in rows] == ["long", "short"] * 179
    assert {row.delivery for row in rows} == {"history"}
    assert all(row.notional_usd for row in rows)
    # The next run asks for what came since.
    assert (await reading.run(NOW + timedelta(minutes=2), since=None)).failure is None
    again = await reading.requests()
    assert len(again) <= len(first)
    assert len(reading.rows()) == 361
    # Only a history that is documented as complete says that it watched.
    assert bool(reading.store.rows(Coverage)) == bool(histories[source.name].canary)


def _unpaced(source: Source) -> Source:
    registered: backfill.History | None = histories.get(source.name)
    assert registered is not None
    plain = msgspec.structs.replace(registered, pace=0.0)
    return msgspec.structs.replace(source, run=lambda feed: backfill.run(feed, plain))


async def test_a_history_that_is_interrupted_goes_on_where_it_was(
    server: Loopback, tmp_path: Path
) -> None:
    reading = Reading(server, find("gate-usdt-history"), tmp_path)
    await server.control("rest", "gate-usdt", history=past(300))
    await reading.requests()
    # The list of contracts and one window are answered, then the venue has enough.
    await server.control("rest", "gate-usdt", statuses=[200, 200, 403])
    outcome = await reading.run()
    assert isinstance(outcome.failure, NetworkError)
    assert "HTTP 403" in str(outcome.failure)
    assert 0 < len(reading.rows()) < 300
    done = len(await reading.requests())
    await server.control("rest", "gate-usdt", statuses=[])
    assert (await reading.run(since=None)).failure is None
    assert len(reading.rows()) == 300
    windows = [path for path in await reading.requests() if "liq_orders" in path]
    assert done == 3
    assert len(windows) == 3  # of four windows of 59 minutes the first is not asked for again


async def test_requests_that_fail_for_a_moment_are_asked_again(
    server: Loopback, tmp_path: Path
) -> None:
    reading = Reading(server, find("okx-history"), tmp_path)
    await server.control("rest", "okx", history=past(50), statuses=[200, 200, 429, 503])
    assert (await reading.run()).failure is None
    assert len(reading.rows()) == 50


async def test_a_full_page_of_one_millisecond_ends(server: Loopback, tmp_path: Path) -> None:
    at = int(BEGIN.timestamp() * 1000)
    for name in ("okx-history", "deribit-history", "kraken-futures-history", "dydx-v4-history"):
        reading = Reading(server, find(name), tmp_path / name)
        same = [(n * 12, at + 60_000) for n in range(1_200)]
        await server.control("rest", reading.stream, history=same, statuses=[])
        async with asyncio.timeout(10):
            assert (await reading.run()).failure is None
        assert len(reading.rows()) >= 100


async def test_an_answer_that_cannot_be_parsed_is_a_reject(
    server: Loopback, tmp_path: Path
) -> None:
    """Its window stays to be requested again."""
    reading = Reading(server, find("gate-usdt-history"), tmp_path)
    await server.control("rest", "gate-usdt", history=past(10), statuses=[200], garbage=1)
    outcome = await reading.run()
    assert isinstance(outcome.failure, NetworkError)
    assert "cannot be parsed" in str(outcome.failure)
    assert reading.store.cursor("gate-usdt-history") is None
    await server.control("rest", "gate-usdt", statuses=[])
    assert (await reading.run()).failure is None
    assert len(reading.rows()) == 10
    assert [r.source for r in reading.store.rows(Reject)] == ["gate-usdt-history"]


@pytest.mark.full
@pytest.mark.parametrize("source", HISTORIES, ids=named)
async def test_a_window_that_cannot_be_read_stays_to_be_done(
    server: Loopback, tmp_path: Path, source: Source
) -> None:
    reading = Reading(server, _unpaced(source), tmp_path)
    await server.control("rest", reading.stream, history=past(300), statuses=[])
    await server.control("fault", reading.stream, faults={"spoil": True})
    failure = (await reading.run()).failure
    assert failure is not None
    assert "cannot be parsed" in str(failure)
    assert reading.rows() == []
    assert reading.store.rows(Reject)
    await server.control("fault", reading.stream)
    assert (await reading.run(since=None)).failure is None
    assert len(reading.rows()) == 300


async def test_a_row_that_cannot_be_parsed_is_requested_again(
    server: Loopback, tmp_path: Path
) -> None:
    """It does not cost the other rows of its answer."""
    reading = Reading(server, find("gate-usdt-history"), tmp_path)
    await server.control("rest", "gate-usdt", history=past(300), statuses=[])
    await server.control("fault", "gate-usdt", faults={"spoil_one": True})
    failure = (await reading.run()).failure
    assert failure is not None
    assert failure.code == Exit.PARTIAL
    assert "windows hold such; the next run requests them again" in str(failure)
    some = len(reading.rows())
    assert 290 < some < 300
    left = (reading.store.cursor("gate-usdt-history") or {})["unread"]
    assert len(left) == 300 - some
    await reading.requests()
    # As long as that is so, only these windows are asked for again, and history of.
    again = (await reading.run(since=None)).failure
    assert again is not None
    assert again.code == Exit.PARTIAL
    assert len(await reading.requests()) == len(left) + 1
    assert (reading.store.cursor("gate-usdt-history") or {})["unread"] == left
    await server.control("fault", "gate-usdt")
    assert (await reading.run(since=None)).failure is None
    assert len(reading.rows()) == 300
    assert "unread" not in (reading.store.cursor("gate-usdt-history") or {})


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        (r'"bkPx":"[^"]*"', '"bkPx":null'),
        (r'"sz":"[^"]*"', '"sz":5'),
        (r'"ts":"[^"]*"', '"was":"1"'),
        (r'"ts":"[^"]*"', '"ts":"2"'),
        (r'"ts":"[^"]*"', '"ts":"99999999999999"'),
    ],
)
async def test_a_detail_of_the_wrong_shape_costs_only_itself(
    server: Loopback, tmp_path: Path, field: str, wrong: str
) -> None:
    reading = Reading(server, find("okx-history"), tmp_path)
    since = NOW - timedelta(hours=30)
    history = [(0, int(since.timestamp() * 1000) + 60_000), *[(n * 5, ms) for n, ms in past(2)]]
    await server.control("rest", "okx", history=history, statuses=[])
    await server.control("fault", "okx", faults={"rewrite": [field, wrong, 1]})
    failure = (await reading.run(since=since)).failure
    await server.control("fault", "okx")
    assert failure is not None
    assert failure.code == Exit.PARTIAL
    assert len(reading.rows()) >= 1
    assert reading.store.rows(Reject)
    cursor = reading.store.cursor("okx-history") or {}
    assert cursor["unread"]
    assert set(cursor["until_ms"].values()) == {int((NOW - backfill.YOUNGEST).timestamp() * 1000)}
    assert (await reading.run(since=None)).failure is None
    assert {row.time for row in reading.rows()} == {
        datetime.fromtimestamp(ms / 1000, UTC) for _, ms in history
    }


# One element of each page tells no time (nor number), or one far outside what was asked for.
_TIME = r'"(ts|created_at|timestamp|time|createdAt|query_id)":("[^"]*"|\d+)|(?<=,)(\d{13})(?=,null)'


@pytest.mark.full
@pytest.mark.parametrize("wrong", ["null", "99999999999999", "1300000000000", "5"])
@pytest.mark.parametrize("source", HISTORIES, ids=named)
async def test_paging_goes_on_past_an_element_whose_time_is_wrong(
    server: Loopback, tmp_path: Path, source: Source, wrong: str
) -> None:
    reading = Reading(server, _unpaced(source), tmp_path)
    count = 300 if source.venue == "htx" else 3_600
    history = past(count, seconds=3.0)
    await server.control("rest", reading.stream, history=history, statuses=[])
    put = wrong if source.venue == "bitfinex" else rf'"\1":{wrong}'
    await server.control("fault", reading.stream, faults={"rewrite": [_TIME, put, 1]})
    async with asyncio.timeout(60):
        failure = (await reading.run()).failure
    await server.control("fault", reading.stream)
    if wrong != "1300000000000":  # a time that may be, of long before
        assert failure is not None
        assert failure.code == Exit.PARTIAL
        assert (reading.store.cursor(source.name) or {})["unread"]
    assert len(reading.rows()) > 0.4 * count
    async with asyncio.timeout(60):
        assert (await reading.run()).failure is None
    assert len({row.event for row in reading.rows()}) >= count - 50


async def test_a_full_page_without_a_time_cannot_be_read(server: Loopback, tmp_path: Path) -> None:
    reading = Reading(server, find("okx-history"), tmp_path)
    await server.control("rest", "okx", history=[(n * 5, ms) for n, ms in past(100)], statuses=[])
    await server.control("fault", "okx", faults={"rewrite": [r'"ts":"[^"]*"', '"ts":null', 0]})
    failure = (await reading.run()).failure
    await server.control("fault", "okx")
    assert isinstance(failure, NetworkError)
    assert "a full page without one that can be parsed" in str(failure)
    assert reading.store.cursor("okx-history") is None


@pytest.mark.parametrize("page", [backfill.next_start, backfill.next_end])
def test_paging_ends_or_is_refused_where_a_page_is_of_another_time(page: Any) -> None:
    def time_of(element: msgspec.Raw) -> int:
        return int(bytes(element))

    def full(*times: int) -> list[msgspec.Raw]:
        return [msgspec.Raw(str(time).encode()) for time in times]

    first = 1_770_000_000_000
    start, end = first, first + 1_000
    assert page(full(first + 5, first + 7, 2), time_of, start, end) in (first + 7, first + 6)
    stray = full(first - 9, first + 5, first + 7)
    assert page(stray, time_of, start, end) in (first + 7, first + 6)
    assert page(full(first + 5), time_of, first + 5, first + 6) is None
    if page is backfill.next_start:
        assert page(full(first + 2_000), time_of, start, end) is None
        with pytest.raises(ValueError, match="a full page of older ones"):
            page(full(first - 5), time_of, start, end)
    else:
        assert page(full(first - 5), time_of, start, end) is None
        assert page(full(first + 5, first - 5, first - 6), time_of, start, end) is None
        with pytest.raises(ValueError, match="a full page of newer ones"):
            page(full(first + 2_000), time_of, start, end)


async def test_a_history_counts_where_its_stream_was_mute(server: Loopback, tmp_path: Path) -> None:
    reading = Reading(server, find("gate-usdt-history"), tmp_path)
    await server.control("rest", "gate-usdt", history=past(300), statuses=[])
    await reading.run()
    span = Coverage(
        source="gate-usdt",
        venue="gate",
        market="usdt",
        run="r1",
        from_time=BEGIN,
        to_time=BEGIN + timedelta(hours=1),
        state="up",
        reason="",
        subscribed=None,
        listed=2,
        connections=1,
        frames=0,
        rows=0,
        duplicates=0,
        rejects=0,
        heartbeats=1,
        sampling_class="sampled",
        sampling_rule="some",
        last_event=None,
        provenance="live",
    )
    reading.store.append([span], source="gate-usdt")
    with query.open_catalog(reading.store) as catalog:
        counted = catalog.run("SELECT min(time), count(*) FROM liquidation_events()").rows[0]
        mute = query.run(catalog, query.find("feed_mute"), {}).dicts()
    assert counted == (BEGIN, 300)
    assert [(span["source"], span["missing"]) for span in mute] == [("gate-usdt", 120)]


async def test_a_history_fills_in_what_its_stream_rejected(
    server: Loopback, tmp_path: Path
) -> None:
    def second() -> int:
        return int(time.time()) * 1000

    async with Collecting(server, tmp_path, quick(gate.USDT)) as running:
        await server.control("fault", "gate-usdt")
        await running.alive()
        read = second()
        await server.control("burst", "gate-usdt", count=6, at_ms=read)
        await running.counted(rows=6)
        await asyncio.sleep(1.1)
        await server.control("fault", "gate-usdt", faults={"spoil": True})
        rejected = second()
        await server.control("burst", "gate-usdt", count=6, start=6, at_ms=rejected)
        await running.counted(rows=6, rejects=6)
    await server.control("fault", "gate-usdt")
    history = [(n, read if n < 6 else rejected) for n in range(12)]
    await server.control("rest", "gate-usdt", history=history, statuses=[])
    reading = Reading(server, find("gate-usdt-history"), tmp_path)
    now = datetime.now(UTC)
    outcome = await reading.run(now + timedelta(minutes=2), since=now - timedelta(minutes=5))
    assert outcome.failure is None
    with query.open_catalog(reading.store) as catalog:
        counted = catalog.run(
            "SELECT delivery, count(*) FROM counted_liquidations() GROUP BY 1 ORDER BY 1"
        ).rows
        stored = catalog.run("SELECT count(*) FROM exchange_liquidations").rows
    assert counted == [("history", 6), ("stream", 6)]
    assert stored == [(18,)]


def test_since_in_the_future_and_a_history_to_watch_are_exit_2(tmp_path: Path) -> None:
    ahead = f"{datetime.fromtimestamp(time.time() + 3_600, UTC):%Y-%m-%dT%H:%M:%SZ}"
    done = shell.run("collect", "okx-history", "--since", ahead, home=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.lines[-1] == (
        "chainwatch: --since: expected a time from 2009 on that is not in the future, "
        f"got '{ahead}'"
    )
    done = shell.run("watch", "okx-history", home=tmp_path)
    assert done.code == 2
    assert "okx-history is no stream: `chainwatch collect` reads it" in done.lines[-1]


async def test_a_history_from_the_command_line(server: Loopback, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    begin = (now - timedelta(hours=2)).replace(microsecond=0)
    await server.control("rest", "htx-linear", history=past(100, begin), statuses=[])
    url = server.environment("htx-linear")["CHAINWATCH_URL_HTX_LINEAR"]
    process = shell.start(
        "collect",
        "htx-linear-history",
        "--since",
        f"{begin:%Y-%m-%dT%H:%M:%SZ}",
        "--csv",
        home=tmp_path,
        env={"CHAINWATCH_URL_HTX_LINEAR_HISTORY": url},
    )
    done = await asyncio.to_thread(shell.ended, process)
    assert done.code == 0, done.err
    assert shell.rows_of(done.out, "--csv")[0]["rows"] == "100"


@pytest.mark.full
def test_every_stream_with_a_history_is_one_of_the_loopback_exchange() -> None:
    assert {s.name.removesuffix("-history") for s in HISTORIES} <= ALL.keys()
