"""ccxt, unmodified, against the loopback exchange: figures, the cache, time-outs, plain errors."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chainwatch.errors import NetworkError, UsageError
from chainwatch.exchanges.books import Market, Venues, _market
from chainwatch.settings import Settings
from tests import shell
from tests.venues.client import Loopback
from tests.venues.rest import BEGIN_MS

BEGIN = datetime.fromtimestamp(BEGIN_MS / 1000, UTC)
SWAP = "BTC/USDT:USDT"


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


@pytest.fixture
async def exchange(server: Loopback) -> Loopback:
    await server.treat_ccxt()
    return server


def settings(exchange: Loopback, home: Path) -> Settings:
    url = f"http://127.0.0.1:{exchange.port}"
    names = ("BINANCE", "BYBIT", "OKX", "GATE")
    environ = {f"CHAINWATCH_CCXT_{name}": url for name in names}
    return Settings({"home": str(home)}, environ=environ, dotenv=home / "no.env")


@pytest.fixture
async def venues(exchange: Loopback, tmp_path: Path) -> AsyncIterator[Venues]:
    now = BEGIN + timedelta(hours=2, minutes=30)
    async with Venues(settings(exchange, tmp_path), seconds=2.0, now=lambda: now) as found:
        yield found


async def test_contracts_have_their_size_kind_and_currency_of_settlement(venues: Venues) -> None:
    assert await venues.markets("okx") == [
        Market(SWAP, "BTC-USDT-SWAP", "BTC", "USDT", "USDT", "linear", 0.01, True),
        Market("BTC/USD:BTC", "BTC-USD-SWAP", "BTC", "USD", "BTC", "inverse", 100.0, True),
    ]
    bybit = {m.symbol: (m.kind, m.contract_size, m.settle) for m in await venues.markets("bybit")}
    assert bybit == {SWAP: ("linear", 1.0, "USDT"), "BTC/USD:BTC": ("inverse", 1.0, "BTC")}


async def test_order_books_open_interest_candles_and_funding(venues: Venues) -> None:
    book = await venues.book("binance", SWAP, depth=100)
    assert (book.bids[0], book.asks[0]) == ((70_000.1, 1.5), (70_000.2, 0.25))
    assert (await venues.book("bybit", SWAP)).bids == [(69_999.5, 1.0)]
    interest = await venues.open_interest("binance", SWAP)
    assert (interest.amount, interest.time) == (81_234.5, BEGIN)
    assert interest.raw["openInterest"] == "81234.5"
    assert (await venues.open_interest("okx", SWAP)).raw["oiCcy"] == "50"
    candles = await venues.candles("binance", SWAP, "1h", since=BEGIN, limit=3)
    assert [c.time for c in candles] == [BEGIN + timedelta(hours=n) for n in range(3)]
    assert [c.close for c in candles] == [70_010.0, 70_011.0, 70_012.0]
    assert [c.closed for c in candles] == [True, True, False]
    funding = await venues.funding("binance", SWAP)
    assert (funding.rate, funding.mark_price) == (0.0001, 70_005.5)
    assert funding.time == BEGIN + timedelta(hours=8)


async def test_the_list_of_contracts_is_asked_for_once(exchange: Loopback, venues: Venues) -> None:
    for _ in range(3):
        await venues.book("binance", SWAP)
        await venues.markets("binance")
    asked = await exchange.treat_ccxt()
    assert [path.partition("?")[0] for path in asked] == [
        "/fapi/v1/exchangeInfo",
        *["/fapi/v1/depth"] * 3,
    ]


async def test_what_there_is_not_is_told_with_what_there_is(venues: Venues) -> None:
    with pytest.raises(UsageError, match=r"no venue is called 'binanse'; did you mean binance\?"):
        await venues.markets("binanse")
    with pytest.raises(UsageError, match=r"lists no 'BTC/USDT:USD'; did you mean BTC/USDT:USDT\?"):
        await venues.book("binance", "BTC/USDT:USD")
    with pytest.raises(UsageError, match=r"binance has no candles of '7m'; it has .*1h"):
        await venues.candles("binance", SWAP, "7m")


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"status": 503, "body": "away"}, "cannot be asked: .*503"),
        ({"status": 429, "body": "{}"}, "cannot be asked: .*429"),
        ({"body": '{"code":-1121,"msg":"Invalid symbol."}'}, "Invalid symbol"),
        ({"body": "<html>"}, "no order book that can be read"),
        ({"body": '{"bids":[["x","1"]],"asks":[]}'}, "no order book that can be read"),
        ({"body": '{"bids":[["NaN","1"]],"asks":[]}'}, "no order book that can be read"),
        ({"body": "[]"}, "no order book that can be read"),
    ],
)
async def test_an_answer_that_is_none_is_one_plain_line(
    exchange: Loopback, venues: Venues, faults: dict[str, object], words: str
) -> None:
    await venues.markets("binance")
    await exchange.treat_ccxt(**faults)
    with pytest.raises((NetworkError, UsageError), match=words) as told:
        await venues.book("binance", SWAP)
    assert "\n" not in str(told.value)
    # The next call is a new one.
    await exchange.treat_ccxt()
    assert (await venues.book("binance", SWAP)).bids


async def test_a_venue_that_does_not_answer_is_given_up_in_time(
    exchange: Loopback, tmp_path: Path
) -> None:
    async with Venues(settings(exchange, tmp_path), seconds=0.5) as venues:
        await venues.markets("binance")
        await exchange.treat_ccxt(delay=3)
        begun = time.monotonic()
        with pytest.raises(NetworkError, match=r"binance does not answer within 0\.5 s"):
            await venues.book("binance", SWAP)
        assert time.monotonic() - begun < 1.5


async def test_a_venue_without_a_kind_of_data_says_so(exchange: Loopback, tmp_path: Path) -> None:
    environ = {"CHAINWATCH_CCXT_BYBIT": "ftp://nowhere"}
    wrong = Settings({"home": str(tmp_path)}, environ=environ, dotenv=tmp_path / "no.env")
    async with Venues(wrong) as venues:
        with pytest.raises(UsageError, match="the URL of bybit: expected an http://"):
            await venues.markets("bybit")


def test_ccxt_is_loaded_by_the_first_call_only() -> None:
    script = (
        "import sys, chainwatch.exchanges.books as v; from chainwatch.settings import Settings;"
        "v.Venues(Settings()); assert 'ccxt' not in sys.modules"
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
    ("told", "size"),
    [(0.01, 0.01), ("10", 10.0), (-1, None), (1e-40, None), (0, None), ("x", None)],
)
def test_a_contract_size_that_cannot_be_is_unknown(told: object, size: float | None) -> None:
    found = {"symbol": "A/B:B", "id": "AB", "base": "A", "quote": "B", "linear": True}
    assert _market({**found, "contractSize": told}).contract_size == size
