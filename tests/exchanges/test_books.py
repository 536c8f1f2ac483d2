"""ccxt, unmodified, against the loopback exchange: contracts, requests, time-outs, plain errors."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chainwatch.collect import runner
from chainwatch.collect.feed import Job
from chainwatch.collect.registry import find
from chainwatch.errors import ConfigError, NetworkError, UsageError
from chainwatch.exchanges import books
from chainwatch.exchanges.books import ContractBars, ContractMarket, contract_market
from chainwatch.lake.store import Store
from chainwatch.settings import Settings
from chainwatch.tables.exchange import OpenInterest
from tests import shell
from tests.builders import Silent
from tests.venues.client import Loopback
from tests.venues.rest import BAR_MS, BEGIN_MS

BEGIN = datetime.fromtimestamp(BEGIN_MS / 1000, UTC)
BAR = timedelta(milliseconds=BAR_MS)
LINEAR, INVERSE = "BTC/USDT:USDT", "BTC/USD:BTC"


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


@pytest.fixture
async def exchange(server: Loopback) -> Loopback:
    await server.treat_ccxt()
    return server


def address(exchange: Loopback) -> str:
    return f"http://127.0.0.1:{exchange.port}"


def pages_of(
    exchange: Loopback, symbol: str = LINEAR, venue: str = "bybit", bars: int = 300, **more: float
) -> AsyncIterator[ContractBars]:
    until = BEGIN + bars * BAR
    return books.contract_bars(
        venue, symbol, "5m", BEGIN - BAR, until, base=address(exchange), **more
    )


async def test_contracts_have_size_kind_and_settlement(exchange: Loopback) -> None:
    markets = [
        page.market
        for symbol in (LINEAR, INVERSE)
        async for page in pages_of(exchange, symbol, bars=9)
    ]
    assert markets == [
        ContractMarket(LINEAR, "BTCUSDT", "BTC", "USDT", "USDT", "linear", 1.0, True),
        ContractMarket(INVERSE, "BTCUSD", "BTC", "USD", "BTC", "inverse", 1.0, True),
    ]


async def test_open_interest_comes_with_prices_of_its_bar(exchange: Loopback) -> None:
    (page,) = [page async for page in pages_of(exchange, bars=2)]
    assert [bar.time for bar in page.bars] == [BEGIN, BEGIN + BAR, BEGIN + 2 * BAR]
    assert [bar.amount for bar in page.bars] == [50_000.0, 50_001.0, 50_002.0]
    assert page.bars[0].prices == (BEGIN - BAR, 70_000.0, 70_100.0, 69_900.0, 70_050.0, 12.5)


async def test_the_list_of_contracts_is_requested_once(exchange: Loopback) -> None:
    """Once per category and status of contracts, however many pages follow."""
    assert len([page async for page in pages_of(exchange)]) == 2
    requests = [
        path
        for path in await exchange.treat_ccxt()
        if path.startswith("/v5/market/instruments-info")
    ]
    assert len(requests) == len(set(requests)) == 4


async def test_a_wrong_venue_or_symbol_is_named(exchange: Loopback) -> None:
    with pytest.raises(UsageError, match=r"no venue 'binanse'; did you mean binance\?"):
        await anext(pages_of(exchange, venue="binanse"))
    with pytest.raises(UsageError, match="bybit has no contract BTC/USDT:USD"):
        await anext(pages_of(exchange, "BTC/USDT:USD"))


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"status": 503, "body": "away"}, "did not answer: .*503"),
        ({"status": 429, "body": "{}"}, "bybit answered something that cannot be parsed"),
        ({"body": '{"retCode":10001,"retMsg":"Invalid symbol."}'}, "Invalid symbol"),
        ({"body": '{"retCode":0,"result":{"b":[["x","1"]],"a":[]}}'}, "cannot be parsed"),
        ({"body": '{"retCode":0,"result":{"b":[["NaN","1"]],"a":[]}}'}, "cannot be parsed"),
        ({"body": "[]"}, "cannot be parsed"),
    ],
)
async def test_an_answer_that_cannot_be_parsed_is_one_line(
    exchange: Loopback, faults: dict[str, object], words: str
) -> None:
    """An answer that is not JSON is an empty book, which the source of depth rejects."""
    order_books = books.spot_books("bybit", ["BTC/USD", "BTC/USD"], base=address(exchange))
    book = await anext(order_books)
    assert (book.bids, book.asks) == ([(69_999.5, 1.0)], [(70_000.5, 2.0)])
    assert (book.last, book.time) == (70_000.0, BEGIN)
    await exchange.treat_ccxt(**faults)
    with pytest.raises((NetworkError, UsageError), match=words) as caught:
        await anext(order_books)
    assert "\n" not in str(caught.value)
    # The next call is a new one.
    await exchange.treat_ccxt()
    order_books = books.spot_books("bybit", ["BTC/USD"], base=address(exchange))
    assert (await anext(order_books)).bids


async def test_a_venue_that_does_not_answer_is_given_up_in_time(exchange: Loopback) -> None:
    await exchange.treat_ccxt(delay=3)
    begun = time.monotonic()
    with pytest.raises(NetworkError, match="bybit did not answer: "):
        await anext(pages_of(exchange, timeout=0.5))
    assert time.monotonic() - begun < 1.5


async def test_an_address_that_is_not_http_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected an http:// or https:// URL, got"):
        await anext(books.spot_books("binance", ["BTC/USDT"], base="ftp://nowhere"))


async def test_a_configured_venue_address_is_used(exchange: Loopback, tmp_path: Path) -> None:
    """CHAINWATCH_CCXT_<VENUE> is enough for each source that ccxt reads of that venue."""
    environ = {"CHAINWATCH_CCXT_BYBIT": address(exchange)}
    settings = Settings({"home": str(tmp_path)}, environ=environ, dotenv=tmp_path / "no.env")
    store = Store(tmp_path)
    job = Job(find("open-interest"), options={"only": LINEAR})
    until = BEGIN + 3 * BAR
    outcomes = await runner.collect(store, settings, [job], Silent(), clock=lambda: until)
    runner.raise_failures(outcomes)
    assert len(store.rows(OpenInterest)) == 4


def test_ccxt_is_loaded_by_the_first_request_only() -> None:
    script = (
        "import sys, chainwatch.exchanges.books as v;"
        "v.spot_books('binance', ['BTC/USDT']); assert 'ccxt' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=shell.environment(),
        cwd=shell.NOWHERE,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("listed", "size"),
    [(0.01, 0.01), ("10", 10.0), (-1, None), (1e-40, None), (0, None), ("x", None)],
)
def test_a_contract_size_that_cannot_be_is_unknown(listed: object, size: float | None) -> None:
    entry = {"symbol": "A/B:B", "id": "AB", "base": "A", "quote": "B", "linear": True}
    assert contract_market({**entry, "contractSize": listed}).contract_size == size
