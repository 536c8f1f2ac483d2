"""What ccxt reads over REST: spot candles, spot order books, and the open interest of contracts.

Symbols and venues go by ccxt's names (BTC/USDT:USDT, binance). Each function is an async generator
that asks page by page with one client, and loads the venue's list of markets once. `base` replaces
the scheme and host of the venue's endpoints; `timeout` counts per request, in seconds. ccxt is
imported with the first request, and by this module only.

They raise UsageError for a venue or symbol that does not exist, NetworkError where the venue does
not answer, refuses, or answers something else than what was asked for.

Liquidations are read without ccxt: its streams lose frames in bursts.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from chainwatch import numbers
from chainwatch.disclosures.indicators import INTERVALS, Prices
from chainwatch.errors import ChainwatchError, NetworkError, UsageError
from chainwatch.exchanges.contracts import contract_size
from chainwatch.net.http import AGENT
from chainwatch.text import suggest, visible
from chainwatch.urls import mask, require_http

# Contracts only: listing spot and options as well takes minutes on some venues.
CONTRACT_TYPES = {"bybit": ["linear", "inverse"], "okx": ["swap", "future"], "gate": ["swap"]}
TIMEOUT = 30.0
_HOST = re.compile(r"^https?://[^/]+")


class ContractMarket(msgspec.Struct, frozen=True):
    """One contract (or spot pair). `contract_size` is in base (linear) or in quote (inverse)."""

    symbol: str
    raw_symbol: str
    base: str
    quote: str
    settle: str | None
    kind: str
    contract_size: float | None
    active: bool | None


# Candles of one request.
PAGE = 1000
# Levels asked for per side, as many as the venue gives without a key; 100 elsewhere.
LEVELS = {"binance": 5000, "binanceus": 5000, "bybit": 200, "kraken": 500, "okx": 400}


class CandlePage(msgspec.Struct, frozen=True):
    """Candles of one request: (begin, open, high, low, close, volume), and what they came in."""

    candles: list[Prices]
    body: bytes
    url: str


async def spot_candles(
    venue: str,
    symbol: str,
    interval: str,
    since: datetime,
    *,
    base: str = "",
    timeout: float = TIMEOUT,  # noqa: ASYNC109 - ccxt's own, per request
) -> AsyncIterator[CandlePage]:
    """Spot candles of a pair from a time on, page by page up to now; the last may be open."""
    async with _open(venue, base, timeout) as exchange:
        begin = since
        while True:
            with _translated_errors(venue, symbol):
                entries = await exchange.fetch_ohlcv(
                    symbol, interval, since=int(begin.timestamp() * 1000), limit=PAGE
                )
                candles = [_prices(entry) for entry in entries]
            if not candles and begin == since:
                raise NetworkError(f"{venue} has no candles of {symbol} from {since:%Y-%m-%d} on")
            if not candles:
                return
            body = exchange.last_http_response or ""
            yield CandlePage(candles, body.encode(), str(exchange.last_request_url or venue))
            after = candles[-1][0] + INTERVALS[interval]
            if len(candles) < PAGE or after <= begin:
                return
            begin = after


class SpotBook(msgspec.Struct, frozen=True):
    """An order book as a venue shows it: (price, units) per level, best first.

    `units` are of `base`, prices in `quote`; `volume_24h` in units, None where not stated.
    """

    venue: str
    symbol: str
    base: str
    quote: str
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]
    time: datetime | None
    volume_24h: float | None
    last: float | None


async def spot_books(
    venue: str,
    symbols: Sequence[str],
    *,
    base: str = "",
    timeout: float = TIMEOUT,  # noqa: ASYNC109 - ccxt's own, per request
) -> AsyncIterator[SpotBook]:
    """The order books of some spot pairs of a venue, with the volume of 24 hours."""
    async with _open(venue, base, timeout) as exchange:
        for symbol in symbols:
            with _translated_errors(venue, symbol):
                market = (await exchange.load_markets()).get(symbol)
                if market is None or not market.get("spot"):
                    raise UsageError(f"{venue} has no spot pair {symbol}")
                order_book = await exchange.fetch_order_book(symbol, LEVELS.get(venue, 100))
                ticker = await exchange.fetch_ticker(symbol)
                if {order_book.get("symbol", symbol), ticker.get("symbol", symbol)} != {symbol}:
                    raise NetworkError(
                        f"expected an answer for {symbol} from {venue}, got one for another pair"
                    )
                book = SpotBook(
                    venue=venue,
                    symbol=symbol,
                    base=str(market["base"]),
                    quote=str(market["quote"]),
                    bids=_levels(order_book["bids"]),
                    asks=_levels(order_book["asks"]),
                    time=_time(order_book.get("timestamp")),
                    volume_24h=_number(ticker.get("baseVolume")),
                    last=_number(ticker.get("last")),
                )
            yield book


class ContractBar(msgspec.Struct, frozen=True):
    """Open interest at the end of a bar, and the bar's prices in quote per base.

    `amount` is what ccxt passes on in base (linear), `value` in quote (inverse), `time` the end.
    """

    time: datetime
    amount: float | None
    value: float | None
    prices: Prices


class ContractBars(msgspec.Struct, frozen=True):
    """Bars of one request, oldest first, and the contract that they are of."""

    market: ContractMarket
    bars: list[ContractBar]


# Readings of open interest that a venue gives at once.
INTEREST_PAGE = 200


async def contract_bars(
    venue: str,
    symbol: str,
    interval: str,
    since: datetime,
    until: datetime,
    *,
    base: str = "",
    timeout: float = TIMEOUT,  # noqa: ASYNC109 - ccxt's own, per request
) -> AsyncIterator[ContractBars]:
    """Open interest of a contract from a time on, page by page, each with its bar's prices.

    A reading without a bar that ended then is left out; a contract without readings has no page.
    """
    async with _open(venue, base, timeout, "swap") as exchange:
        with _translated_errors(venue, symbol):
            entry = (await exchange.load_markets()).get(symbol)
            if entry is None or not entry.get("contract"):
                raise UsageError(f"{venue} has no contract {symbol}")
            market = contract_market(entry)
            step = timedelta(seconds=exchange.parse_timeframe(interval))
        begin = since
        while begin <= until:
            with _translated_errors(venue, symbol):
                readings = await exchange.fetch_open_interest_history(
                    symbol, interval, since=_millis(begin), limit=INTEREST_PAGE
                )
                # A reading stands at the end of a bar, a bar at its begin.
                entries = readings and await exchange.fetch_ohlcv(
                    symbol, interval, since=_millis(begin - step), limit=INTEREST_PAGE + 1
                )
                bars_by_end = {bar[0] + step: bar for bar in map(_prices, entries)}
                bars = []
                for reading in readings:
                    at = _time(reading.get("timestamp"))
                    if at is not None and at in bars_by_end and at <= until:
                        amount = _number(reading.get("openInterestAmount"))
                        value = _number(reading.get("openInterestValue"))
                        bars.append(ContractBar(at, amount, value, bars_by_end[at]))
            if bars:
                yield ContractBars(market, bars)
            begin += step * INTEREST_PAGE


def _millis(at: datetime) -> int:
    return round(at.timestamp() * 1000)


@contextlib.asynccontextmanager
async def _open(venue: str, base: str, seconds: float, kind: str = "spot") -> AsyncIterator[Any]:
    """A client of ccxt for one venue, its connections closed at the end."""
    import ccxt.async_support as ccxt

    if base:
        require_http(base)
    if venue not in ccxt.exchanges:
        raise UsageError(
            f"ccxt has no venue {venue!r}; {suggest(venue, ccxt.exchanges)}"
            "the documentation of ccxt lists them"
        )
    exchange = getattr(ccxt, venue)(
        {
            "timeout": int(seconds * 1000),
            "enableRateLimit": True,
            "userAgent": AGENT,
            # Only the markets that are wanted, few requests instead of many.
            "options": {
                "defaultType": kind,
                "fetchMarkets": {
                    "types": ["spot"] if kind == "spot" else CONTRACT_TYPES.get(venue, [kind])
                },
            },
        }
    )
    exchange.has["fetchCurrencies"] = False
    if base:
        exchange.urls["api"] = _moved(exchange.urls["api"], base.rstrip("/"))
    try:
        yield exchange
    finally:
        await exchange.close()


@contextlib.contextmanager
def _translated_errors(venue: str, symbol: str) -> Iterator[None]:
    """Failures of ccxt as errors of ours."""
    import ccxt

    try:
        yield
    except ccxt.BadSymbol:
        raise UsageError(f"{venue} has no pair {symbol}") from None
    except ccxt.NetworkError as failure:
        raise NetworkError(f"{venue} did not answer: {_short_reason(failure)}") from None
    except ChainwatchError:
        raise
    except Exception as failure:
        raise NetworkError(
            f"{venue} answered something that cannot be parsed: {_short_reason(failure)}"
        ) from None


def _prices(entry: Any) -> Prices:
    at, first, high, low, last, volume = entry
    return (
        numbers.instant(at, "ms", datetime.now(UTC)),
        numbers.real(first),
        numbers.real(high),
        numbers.real(low),
        numbers.real(last),
        None if volume is None else numbers.real(volume),
    )


def _moved(urls: Any, host: str) -> Any:
    """ccxt's addresses with another scheme and host."""
    if isinstance(urls, str):
        return _HOST.sub(host, urls)
    if isinstance(urls, dict):
        return {name: _moved(url, host) for name, url in urls.items()}
    return urls


def contract_market(entry: dict[str, Any]) -> ContractMarket:
    """A contract as ccxt lists it."""
    kind = "linear" if entry.get("linear") else "inverse" if entry.get("inverse") else "spot"
    return ContractMarket(
        symbol=entry["symbol"],
        raw_symbol=entry["id"],
        base=entry["base"],
        quote=entry["quote"],
        settle=entry.get("settle"),
        kind=kind,
        contract_size=contract_size(entry.get("contractSize")),
        active=entry.get("active"),
    )


def _short_reason(failure: Exception) -> str:
    """The message of ccxt in one short line, without what a key may be in."""
    text = re.sub(r"https?://\S+", lambda url: mask(url[0]), str(failure))
    return visible(" ".join(text.split()), 200)


def _time(value: object) -> datetime | None:
    return None if value is None else numbers.instant(value, "ms", datetime.now(UTC))


def _levels(levels: Any) -> list[tuple[float, float]]:
    """Levels of a book; some venues put more beside price and amount."""
    return [(numbers.real(level[0]), numbers.real(level[1])) for level in levels]


def _number(value: object) -> float | None:
    """A figure that not every venue states; None where it is not a number."""
    try:
        return numbers.real(value)
    except numbers.NotReadable:
        return None
