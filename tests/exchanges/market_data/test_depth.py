"""Depth through unmodified ccxt, from an exchange on loopback; books that cannot be are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from math import inf, nan
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chainwatch.collect import runner
from chainwatch.collect.feed import Job, Outcome
from chainwatch.collect.registry import find
from chainwatch.demo.books import Offer, SpotVenue
from chainwatch.errors import NetworkError, PartialError, UsageError
from chainwatch.exchanges.books import SpotBook
from chainwatch.exchanges.market_data.depth import BOOKS, DISTANCES, parse, select_pairs
from chainwatch.lake.store import Store
from chainwatch.settings import Settings
from chainwatch.tables.exchange import Depth
from chainwatch.tables.log import Reject
from tests.builders import Silent

NOW = datetime(2026, 1, 29, 12, tzinfo=UTC)
BTC = Offer("BTC", "USDT", 90_000.0, 10.0, 1_234.5)
ETH = Offer("ETH", "USDT", 3_000.0, 100.0, 9_876.0)


@pytest.fixture
def exchange() -> Iterator[SpotVenue]:
    with SpotVenue([BTC, ETH], lambda: int(NOW.timestamp() * 1000)) as running:
        yield running


def gather(
    home: Path, url: str, only: str, setting: str = "CHAINWATCH_URL_DEPTH"
) -> tuple[Store, Outcome]:
    environ = {"CHAINWATCH_HOME": str(home), setting: url}
    settings = Settings(environ=environ, dotenv=home / ".env")
    store = Store(home)
    job = Job(find("depth"), options={"only": only})
    (outcome,) = asyncio.run(runner.collect(store, settings, [job], Silent()))
    return store, outcome


def book(**changes: Any) -> SpotBook:
    values: dict[str, Any] = {
        "venue": "x",
        "symbol": "BTC/USDT",
        "base": "BTC",
        "quote": "USDT",
        "bids": [(99.95, 1.0), (99.5, 2.0), (97.0, 4.0)],
        "asks": [(100.05, 0.5), (101.0, 3.0), (120.0, 9.0)],
        "time": NOW,
        "volume_24h": 50.0,
        "last": 100.0,
    }
    return SpotBook(**values | changes)


# --- from the wire ------------------------------------------------------------------------------


def test_books_of_a_venue_are_stored_with_time_volume_and_reach(
    tmp_path: Path, exchange: SpotVenue
) -> None:
    store, outcome = gather(tmp_path, exchange.url, "binance BTC/USDT,binance ETH/USDT")
    runner.raise_failures([outcome])
    rows = store.rows(Depth, "side = 'bid' ORDER BY factor, distance")
    assert {row.factor for row in rows} == {"BTC", "ETH"}
    btc = [row for row in rows if row.factor == "BTC"]
    assert {(r.time, r.volume_24h, r.venue, r.symbol) for r in btc} == {
        (NOW, 1_234.5, "binance", "BTC/USDT")
    }
    assert [r.distance for r in btc] == pytest.approx([d for d in DISTANCES if d < 0.06] + [0.06])
    assert {round(r.reach, 9) for r in btc} == {0.06}
    # Added up from the levels that were sent.
    _, sent = exchange.answer("/api/v3/depth", "BTCUSDT")
    for row in btc:
        within = [(float(p), float(u)) for p, u in sent["bids"]]
        within = [(p, u) for p, u in within if p >= 90_000 * (1 - row.distance) - 1e-6]
        assert row.units == pytest.approx(sum(u for _, u in within))
        assert row.quote_amount == pytest.approx(sum(p * u for p, u in within))
    asks = store.rows(Depth, "side = 'ask' AND factor = 'BTC'")
    assert len(asks) == len(btc)


def test_the_address_set_for_a_venue_is_asked(tmp_path: Path, exchange: SpotVenue) -> None:
    """CHAINWATCH_CCXT_<VENUE> alone is enough."""
    setting = "CHAINWATCH_CCXT_BINANCE"
    store, outcome = gather(tmp_path, exchange.url, "binance BTC/USDT", setting)
    runner.raise_failures([outcome])
    assert {row.venue for row in store.rows(Depth)} == {"binance"}


def test_two_venues_that_speak_alike_are_two_books(tmp_path: Path, exchange: SpotVenue) -> None:
    store, outcome = gather(tmp_path, exchange.url, "binance BTC/USDT,binanceus BTC/USDT")
    runner.raise_failures([outcome])
    assert {row.venue for row in store.rows(Depth)} == {"binance", "binanceus"}


def test_a_missing_pair_is_reported_and_the_others_are_stored(
    tmp_path: Path, exchange: SpotVenue
) -> None:
    store, outcome = gather(tmp_path, exchange.url, "binance BTC/USDT,binanceus SOL/USDT")
    assert isinstance(outcome.failure, PartialError)
    assert "binanceus has no spot pair SOL/USDT" in str(outcome.failure)
    assert {row.venue for row in store.rows(Depth)} == {"binance"}


def test_a_venue_that_does_not_answer_ends_in_one_plain_error(tmp_path: Path) -> None:
    store, outcome = gather(tmp_path, "http://127.0.0.1:9", "binance BTC/USDT")
    assert isinstance(outcome.failure, NetworkError)
    assert "binance did not answer" in str(outcome.failure)
    assert not store.rows(Depth)


def test_a_book_of_another_pair_is_rejected_and_kept_to_be_looked_at(
    tmp_path: Path, exchange: SpotVenue
) -> None:
    sound = exchange.answer

    def swapped(path: str, symbol: str) -> tuple[int, Any]:
        return sound(path, "ETHUSDT" if path == "/api/v3/depth" else symbol)

    exchange.answer = swapped  # type: ignore[method-assign]
    store, outcome = gather(tmp_path, exchange.url, "binance BTC/USDT")
    assert isinstance(outcome.failure, NetworkError)
    assert "another pair" in str(outcome.failure)
    assert not store.rows(Depth)
    (reject,) = store.rows(Reject)
    assert "expected a mid price near the last trade at 90000" in reject.reason


# --- books in, rows out -------------------------------------------------------------------------


def test_a_book_is_added_up_at_each_distance_as_far_as_it_was_shown() -> None:
    rows = parse(book(), NOW)
    bids = {r.distance: (r.units, r.quote_amount) for r in rows if r.side == "bid"}
    assert [*bids] == [d for d in DISTANCES if d <= 0.03]
    assert bids[0.001] == (1.0, pytest.approx(99.95))
    assert bids[0.005] == (3.0, pytest.approx(99.95 + 199))
    assert bids[0.03] == (7.0, pytest.approx(99.95 + 199 + 388))
    asks = {r.distance: r.units for r in rows if r.side == "ask"}
    assert [*asks] == list(DISTANCES)
    assert asks[0.1] == 3.5  # what is offered 20 % away is out of reach
    assert {r.reach for r in rows if r.side == "ask"} == {0.1}


def test_a_pair_in_dollars_is_its_base_and_any_other_a_ratio() -> None:
    assert {r.factor for r in parse(book(quote="USD"), NOW)} == {"BTC"}
    ratio = book(symbol="wstETH/ETH", base="wstETH", quote="ETH")
    assert {r.factor for r in parse(ratio, NOW)} == {"wstETH/ETH"}


def test_without_a_time_of_the_venue_it_is_when_the_book_arrived() -> None:
    (first, *_) = parse(book(time=None), NOW)
    assert (first.time, first.received_at) == (NOW, NOW)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bids": [], "asks": []}, "the book is empty"),
        ({"bids": []}, "the book has asks only"),
        ({"asks": []}, "the book has bids only"),
        ({"asks": [(99.0, 1.0)]}, "crossed: 99.95 bid, 99 asked"),
        ({"asks": [(99.95, 1.0)]}, "crossed"),
        ({"bids": [(99.0, 1.0), (99.5, 1.0)]}, "its bids are out of order"),
        ({"bids": [(99.0, nan)]}, "expected a price above 0"),
        ({"bids": [(99.0, -1.0)]}, "expected a price above 0"),
        ({"asks": [(inf, 1.0)]}, "expected a price above 0"),
        ({"asks": [(0.0, 1.0)]}, "expected a price above 0"),
        ({"last": 3.0}, "the book of another pair"),
    ],
)
def test_a_book_that_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(msgspec.structs.replace(book(), **changes), NOW)


def test_books_are_chosen_by_venue_base_or_pair() -> None:
    assert select_pairs("") == BOOKS
    assert select_pairs("kraken") == {"kraken": BOOKS["kraken"]}
    assert all(s.startswith("ETH/") for symbols in select_pairs("eth").values() for s in symbols)
    assert select_pairs("binance SOL/USDT,btc")["binance"] == ("SOL/USDT", "BTC/USDT")
    with pytest.raises(UsageError, match="depth has no 'DOGE'; it has binance, bybit"):
        select_pairs("DOGE")
