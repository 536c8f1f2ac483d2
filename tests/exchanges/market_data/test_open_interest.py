"""Open interest through unmodified ccxt, from the loopback exchange; readings that cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from chainwatch.collect import runner
from chainwatch.collect.feed import Job, Outcome
from chainwatch.collect.registry import find
from chainwatch.collect.selection import select
from chainwatch.errors import NetworkError, PartialError, UsageError
from chainwatch.exchanges.books import ContractBar, ContractMarket
from chainwatch.exchanges.market_data.open_interest import SYMBOLS, WORDS, parse
from chainwatch.lake.store import Store
from chainwatch.settings import Settings
from chainwatch.tables.exchange import OpenInterest
from tests.builders import Silent
from tests.venues.client import Loopback
from tests.venues.rest import BAR_MS, BARS, BEGIN_MS

BEGIN = datetime.fromtimestamp(BEGIN_MS / 1000, UTC)
STEP = timedelta(milliseconds=BAR_MS)
END = BEGIN + (BARS - 1) * STEP
LINEAR = ContractMarket("BTC/USDT:USDT", "BTCUSDT", "BTC", "USDT", "USDT", "linear", 1.0, True)
INVERSE = ContractMarket("BTC/USD:BTC", "BTCUSD", "BTC", "USD", "BTC", "inverse", 1.0, True)
BAR = ContractBar(BEGIN, 50.0, None, (BEGIN - STEP, 99.0, 110.0, 90.0, 100.0, 7.0))


@pytest.fixture(scope="module")
def exchange() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


def gather(home: Path, url: str, only: str, now: datetime) -> tuple[Store, Outcome]:
    environ = {"CHAINWATCH_HOME": str(home), "CHAINWATCH_URL_OPEN_INTEREST": url}
    settings = Settings(environ=environ, dotenv=home / ".env")
    store = Store(home)
    job = Job(find("open-interest"), options={"only": only})
    (outcome,) = asyncio.run(runner.collect(store, settings, [job], Silent(), clock=lambda: now))
    return store, outcome


def address(exchange: Loopback) -> str:
    return f"http://127.0.0.1:{exchange.port}"


def test_a_series_is_stored_page_by_page_in_base_and_in_usd(
    tmp_path: Path, exchange: Loopback
) -> None:
    store, outcome = gather(tmp_path, address(exchange), "BTC", END)
    runner.raise_failures([outcome])
    linear = store.rows(OpenInterest, "market = 'linear' ORDER BY time")
    assert [row.time for row in linear] == [BEGIN + n * STEP for n in range(BARS)]
    assert [row.contracts for row in linear] == [50_000.0 + n for n in range(BARS)]
    for row in linear:
        assert (row.venue, row.symbol, row.interval, row.base) == ("bybit", "BTCUSDT", "5m", "BTC")
        assert (row.units, row.usd) == (row.contracts, row.contracts * 70_050)
        assert (row.low, row.high, row.volume) == (69_900, 70_100, 12.5)
    inverse = store.rows(OpenInterest, "market = 'inverse' ORDER BY time")
    assert len(inverse) == BARS
    assert {row.symbol for row in inverse} == {"BTCUSD"}
    assert inverse[3].usd == inverse[3].contracts == 400_000_003.0
    assert inverse[3].units == pytest.approx(400_000_003.0 / 70_050)


def test_the_next_reading_goes_on_where_the_last_one_ended(
    tmp_path: Path, exchange: Loopback
) -> None:
    half = BEGIN + 100 * STEP
    store, outcome = gather(tmp_path, address(exchange), "BTC/USDT:USDT", half)
    assert (outcome.failure, len(store.rows(OpenInterest))) == (None, 101)
    store, outcome = gather(tmp_path, address(exchange), "BTC/USDT:USDT", END)
    assert outcome.failure is None
    assert len(store.rows(OpenInterest)) == BARS


def test_an_unlisted_contract_is_reported_and_others_are_stored(
    tmp_path: Path, exchange: Loopback
) -> None:
    store, outcome = gather(
        tmp_path, address(exchange), "BTC/USDT:USDT,ETH/USDT:USDT", BEGIN + 5 * STEP
    )
    assert isinstance(outcome.failure, PartialError)
    assert "bybit has no contract ETH/USDT:USDT" in str(outcome.failure)
    assert {row.symbol for row in store.rows(OpenInterest)} == {"BTCUSDT"}


def test_a_venue_that_does_not_answer_ends_in_one_plain_error(tmp_path: Path) -> None:
    store, outcome = gather(tmp_path, "http://127.0.0.1:9", "BTC/USDT:USDT", END)
    assert isinstance(outcome.failure, NetworkError)
    assert "bybit did not answer" in str(outcome.failure)
    assert not store.rows(OpenInterest)


@pytest.mark.parametrize(
    ("market", "changes", "words"),
    [
        (LINEAR, {"amount": None, "value": 5.0}, "0 or more, got None"),
        (INVERSE, {}, "0 or more, got None"),
        (LINEAR, {"amount": -1.0}, "0 or more, got -1.0"),
        (
            LINEAR,
            {"prices": (BEGIN, 99.0, 98.0, 90.0, 97.0, 1.0)},
            "expected a close between low and high",
        ),
        (
            LINEAR,
            {"prices": (BEGIN, 99.0, 110.0, 0.0, 97.0, 1.0)},
            "expected a close between low and high",
        ),
    ],
)
def test_a_reading_that_cannot_be_is_refused(
    market: ContractMarket, changes: dict[str, object], words: str
) -> None:
    assert parse(LINEAR, BAR, BEGIN).usd == 5_000
    with pytest.raises(ValueError, match=words):
        parse(market, msgspec.structs.replace(BAR, **changes), BEGIN)


def test_contracts_are_chosen_by_base_or_symbol() -> None:
    assert select("open-interest", "", WORDS) == list(SYMBOLS)
    assert select("open-interest", "eth", WORDS) == ["ETH/USDT:USDT", "ETH/USD:ETH"]
    assert select("open-interest", "btc/usd:btc", WORDS) == ["BTC/USD:BTC"]
    with pytest.raises(UsageError, match="open-interest has no 'DOGE'; it has BTC, ETH"):
        select("open-interest", "DOGE", WORDS)
