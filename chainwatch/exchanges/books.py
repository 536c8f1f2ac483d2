"""What ccxt is good for: contracts, order books, open interest, candles and funding, over REST.

    async with Venues(settings) as venues:
        book = await venues.book("okx", "BTC/USDT:USDT", depth=400)

Symbols are ccxt's (BTC/USDT:USDT); venues go by our names or by ccxt's. ccxt is imported with the
first call, one client serves all calls of a venue, and the list of its contracts is kept for an
hour. Each call ends within the time-out of the settings.

Raises UsageError for a venue, a symbol or a kind of data that there is none of, and NetworkError
for everything that the venue or the way there did: `binance does not answer within 30 s`.

Liquidations are read without ccxt: its streams lose frames in bursts. `spot_candles` reads a long
past of candles page by page, each page with the document it came in; `spot_books` reads order books
with what is traded in a day; `contract_bars` a past of open interest with prices. Nobody else
imports ccxt.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from chainwatch import numbers
from chainwatch.disclosures.indicators import INTERVALS, Prices
from chainwatch.errors import ChainwatchError, NetworkError, UsageError
from chainwatch.exchanges.contracts import contract_size
from chainwatch.net.http import AGENT
from chainwatch.net.urls import mask
from chainwatch.settings import Settings
from chainwatch.text import suggest, visible

T = TypeVar("T")

# Our names where ccxt's differ; of Binance its USD-M futures are meant.
NAMES = {
    "binance": "binanceusdm",
    "binance-usdm": "binanceusdm",
    "binance-coinm": "binancecoinm",
    "kraken": "krakenfutures",
    "kraken-futures": "krakenfutures",
    "dydx-v4": "dydx",
}
# Contracts only: listing spot and options as well takes minutes on some venues.
CONTRACT_TYPES = {"bybit": ["linear", "inverse"], "okx": ["swap", "future"], "gate": ["swap"]}
MARKETS_SECONDS = 3_600.0
_HOST = re.compile(r"^https?://[^/]+")


class Market(msgspec.Struct, frozen=True):
    """One contract (or spot pair). `contract_size` is in base (linear) or in quote (inverse)."""

    symbol: str
    raw_symbol: str
    base: str
    quote: str
    settle: str | None
    kind: str
    contract_size: float | None
    active: bool | None


class Book(msgspec.Struct, frozen=True):
    """Best levels first: price in quote per base, amount as the venue counts (see `Market`)."""

    symbol: str
    time: datetime | None
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]


class OpenInterest(msgspec.Struct, frozen=True):
    """Positions that are open. Venues differ in what they count: null is what one does not say.

    `amount` is in contracts or in base, `value_quote` in quote; `raw` is the answer to tell by.
    """

    symbol: str
    time: datetime | None
    amount: float | None
    value_quote: float | None
    raw: dict[str, Any]


class Candle(msgspec.Struct, frozen=True):
    """Prices of one span that begins at `time`; one that is not `closed` still changes."""

    time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float | None
    closed: bool


class Funding(msgspec.Struct, frozen=True):
    """The share of a position's value that longs pay to shorts at `time`."""

    symbol: str
    rate: float
    time: datetime | None
    mark_price: float | None
    raw: dict[str, Any]


class Venues:
    """Clients for as many venues as are asked; leave the context to close their connections."""

    def __init__(
        self,
        settings: Settings,
        *,
        seconds: float | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._seconds = settings.timeout if seconds is None else seconds
        self._now = now
        self._clients: dict[str, Any] = {}
        self._loaded: dict[str, float] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for client in self._clients.values():
            await client.close()
        self._clients.clear()
        self._loaded.clear()

    async def markets(self, venue: str) -> list[Market]:
        """The contracts a venue lists."""
        client = await self._listed(venue)
        return [_market(found) for found in client.markets.values()]

    async def book(self, venue: str, symbol: str, depth: int | None = None) -> Book:
        """The order book; `depth` levels of each side, or what the venue gives unasked."""

        def read(found: Any) -> Book:
            return Book(
                symbol=symbol,
                time=_time(found.get("timestamp")),
                bids=_levels(found["bids"]),
                asks=_levels(found["asks"]),
            )

        return await self._ask(
            venue, symbol, "fetchOrderBook", lambda c: c.fetch_order_book(symbol, depth), read
        )

    async def open_interest(self, venue: str, symbol: str) -> OpenInterest:
        """The open interest now."""

        def read(found: Any) -> OpenInterest:
            return OpenInterest(
                symbol=symbol,
                time=_time(found.get("timestamp")),
                amount=_number(found.get("openInterestAmount")),
                value_quote=_number(found.get("openInterestValue")),
                raw=found["info"],
            )

        return await self._ask(
            venue, symbol, "fetchOpenInterest", lambda c: c.fetch_open_interest(symbol), read
        )

    async def candles(
        self,
        venue: str,
        symbol: str,
        span: str = "1h",
        since: datetime | None = None,
        limit: int | None = None,
    ) -> list[Candle]:
        """Candles of 1m, 5m, 1h, 1d …, oldest first; the last one may not be closed."""
        start = None if since is None else round(since.timestamp() * 1000)
        client = await self._listed(venue)
        if span not in (client.timeframes or {}):
            known = ", ".join(client.timeframes or {}) or "none"
            raise UsageError(f"{venue} has no candles of {span!r}; it has {known}")
        seconds = client.parse_timeframe(span)
        now = self._now()

        def read(found: Any) -> list[Candle]:
            rows = [_prices(row, now) for row in found]
            return [Candle(*row, row[0].timestamp() + seconds <= now.timestamp()) for row in rows]

        return await self._ask(
            venue, symbol, "fetchOHLCV", lambda c: c.fetch_ohlcv(symbol, span, start, limit), read
        )

    async def funding(self, venue: str, symbol: str) -> Funding:
        """The funding rate of the span that runs."""

        def read(found: Any) -> Funding:
            rate = _number(found.get("fundingRate"))
            if rate is None:
                raise NetworkError(f"{venue} tells no funding rate of {symbol}")
            return Funding(
                symbol=symbol,
                rate=rate,
                time=_time(found.get("fundingTimestamp")),
                mark_price=_number(found.get("markPrice")),
                raw=found["info"],
            )

        return await self._ask(
            venue, symbol, "fetchFundingRate", lambda c: c.fetch_funding_rate(symbol), read
        )

    # --- asking --------------------------------------------------------------------------

    async def _ask(
        self,
        venue: str,
        symbol: str,
        what: str,
        call: Callable[[Any], Awaitable[Any]],
        read: Callable[[Any], T],
    ) -> T:
        client = await self._listed(venue)
        if not client.has.get(what):
            raise UsageError(f"{venue} has no {_WORDS[what]}")
        if symbol not in client.markets:
            raise UsageError(
                f"{venue} lists no {symbol!r}; {suggest(symbol, client.markets)}"
                "its documentation lists its markets"
            )
        found = await self._within(venue, call(client))
        try:
            if "bids" in found and not (found["bids"] or found["asks"]):
                raise ValueError("a book without a level")
            return read(found)
        except NetworkError:
            raise
        except Exception:
            # ccxt passes on what it could not read.
            raise NetworkError(f"{venue} answers no {_WORDS[what]} that can be read") from None

    async def _listed(self, venue: str) -> Any:
        """The venue's client, its contracts not older than an hour."""
        client = self._client(venue)
        lock = self._locks.setdefault(client.id, asyncio.Lock())
        async with lock:
            loaded = self._loaded.get(client.id)
            if loaded is None or time.monotonic() - loaded > MARKETS_SECONDS:
                await self._within(venue, client.load_markets(loaded is not None))
                self._loaded[client.id] = time.monotonic()
        return client

    async def _within(self, venue: str, call: Awaitable[T]) -> T:
        """The call's answer, within the time-out and with our errors."""
        import ccxt

        try:
            async with asyncio.timeout(self._seconds):
                return await call
        except (TimeoutError, ccxt.RequestTimeout):
            raise NetworkError(f"{venue} does not answer within {self._seconds:g} s") from None
        except (ccxt.BadSymbol, ccxt.NotSupported, ccxt.ArgumentsRequired) as failure:
            raise UsageError(f"{venue}: {_said(failure)}") from None
        except ccxt.NetworkError as failure:
            raise NetworkError(f"{venue} cannot be asked: {_said(failure)}") from None
        except ccxt.BaseError as failure:
            raise NetworkError(f"{venue} refuses: {_said(failure)}") from None
        except Exception as failure:
            # What ccxt stumbles over in an answer of another shape.
            raise NetworkError(
                f"{venue} answers what cannot be read ({type(failure).__name__})"
            ) from None

    def _client(self, venue: str) -> Any:
        import ccxt.async_support as ccxt

        name = NAMES.get(venue, venue)
        if name in self._clients:
            return self._clients[name]
        if name not in ccxt.exchanges:
            names = [*NAMES, *ccxt.exchanges]
            raise UsageError(
                f"no venue is called {venue!r}; {suggest(venue, names)}"
                "the documentation of ccxt lists them"
            )
        client = getattr(ccxt, name)({"timeout": round(self._seconds * 1000)})
        if name in CONTRACT_TYPES:
            client.options["fetchMarkets"] = {"types": CONTRACT_TYPES[name]}
        configured = self._settings.ccxt_url(venue)
        if configured is not None:
            client.urls["api"] = _elsewhere(client.urls["api"], configured.value)
        self._clients[name] = client
        return client


PAGE = 1000
# Levels asked for per side, as many as the venue gives without a key; 100 elsewhere.
LEVELS = {"binance": 5000, "binanceus": 5000, "bybit": 200, "kraken": 500, "okx": 400}


class Page(msgspec.Struct, frozen=True):
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
    timeout: float = 30.0,  # noqa: ASYNC109 - ccxt's own, per request
) -> AsyncIterator[Page]:
    """Spot candles of a pair from a time on, page by page up to now; the last may be open.

    `base` replaces the scheme and host of the venue's endpoints. Raises UsageError for a venue or
    pair that does not exist, NetworkError where the venue does not answer, refuses or has none.
    """
    async with _open(venue, base, timeout) as exchange:
        begin = since
        while True:
            with _plain_errors(venue, symbol):
                found = await exchange.fetch_ohlcv(
                    symbol, interval, since=int(begin.timestamp() * 1000), limit=PAGE
                )
                rows = [_prices(entry) for entry in found]
            if not rows and begin == since:
                raise NetworkError(f"{venue} has no candles of {symbol} from {since:%Y-%m-%d} on")
            if not rows:
                return
            body = exchange.last_http_response or ""
            yield Page(rows, body.encode(), str(exchange.last_request_url or venue))
            after = rows[-1][0] + INTERVALS[interval]
            if len(rows) < PAGE or after <= begin:
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
    timeout: float = 30.0,  # noqa: ASYNC109 - ccxt's own, per request
) -> AsyncIterator[SpotBook]:
    """The order books of some spot pairs of a venue, with what was traded there in 24 hours.

    Raises as `spot_candles` does; NetworkError also where an answer is of another pair.
    """
    async with _open(venue, base, timeout) as exchange:
        for symbol in symbols:
            with _plain_errors(venue, symbol):
                market = (await exchange.load_markets()).get(symbol)
                if market is None or not market.get("spot"):
                    raise UsageError(f"{venue} has no spot pair {symbol}")
                found = await exchange.fetch_order_book(symbol, LEVELS.get(venue, 100))
                ticker = await exchange.fetch_ticker(symbol)
                if {found.get("symbol", symbol), ticker.get("symbol", symbol)} != {symbol}:
                    raise NetworkError(f"{venue} answered for another pair than {symbol}")
                book = SpotBook(
                    venue=venue,
                    symbol=symbol,
                    base=str(market["base"]),
                    quote=str(market["quote"]),
                    bids=_levels(found["bids"]),
                    asks=_levels(found["asks"]),
                    time=_time(found.get("timestamp")),
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

    market: Market
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
    timeout: float = 30.0,  # noqa: ASYNC109 - ccxt's own, per request
) -> AsyncIterator[ContractBars]:
    """Open interest of a contract from a time on, page by page, each with its bar's prices.

    A reading without a bar that ended then is left out. Raises as `spot_candles` does, but nothing
    where there are no readings.
    """
    async with _open(venue, base, timeout, "swap") as exchange:
        with _plain_errors(venue, symbol):
            listed = (await exchange.load_markets()).get(symbol)
            if listed is None or not listed.get("contract"):
                raise UsageError(f"{venue} has no contract {symbol}")
            market = _market(listed)
            step = timedelta(seconds=exchange.parse_timeframe(interval))
        begin = since
        while begin <= until:
            with _plain_errors(venue, symbol):
                readings = await exchange.fetch_open_interest_history(
                    symbol, interval, since=_millis(begin), limit=INTEREST_PAGE
                )
                # A reading stands at the end of a bar, a bar at its begin.
                entries = readings and await exchange.fetch_ohlcv(
                    symbol, interval, since=_millis(begin - step), limit=INTEREST_PAGE + 1
                )
                ended = {found[0] + step: found for found in map(_prices, entries)}
                bars = []
                for reading in readings:
                    at = _time(reading.get("timestamp"))
                    if at is not None and at in ended and at <= until:
                        amount = _number(reading.get("openInterestAmount"))
                        value = _number(reading.get("openInterestValue"))
                        bars.append(ContractBar(at, amount, value, ended[at]))
            if bars:
                yield ContractBars(market, bars)
            begin += step * INTEREST_PAGE


def _millis(at: datetime) -> int:
    return round(at.timestamp() * 1000)


@contextlib.asynccontextmanager
async def _open(venue: str, base: str, seconds: float, kind: str = "spot") -> AsyncIterator[Any]:
    import ccxt.async_support as ccxt

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
        exchange.urls["api"] = _elsewhere(exchange.urls["api"], base.rstrip("/"))
    try:
        yield exchange
    finally:
        await exchange.close()


@contextlib.contextmanager
def _plain_errors(venue: str, symbol: str) -> Any:
    import ccxt

    try:
        yield
    except ccxt.BadSymbol:
        raise UsageError(f"{venue} has no pair {symbol}") from None
    except ccxt.NetworkError as failure:
        raise NetworkError(f"{venue} did not answer: {_said(failure)}") from None
    except ChainwatchError:
        raise
    except Exception as failure:
        raise NetworkError(f"{venue} answered something unusable: {_said(failure)}") from None


def _prices(entry: Any, now: datetime | None = None) -> Prices:
    at, first, high, low, last, volume = entry
    return (
        numbers.instant(at, "ms", now or datetime.now(UTC)),
        numbers.real(first),
        numbers.real(high),
        numbers.real(low),
        numbers.real(last),
        None if volume is None else numbers.real(volume),
    )


_WORDS = {
    "fetchOrderBook": "order book",
    "fetchOpenInterest": "open interest",
    "fetchOHLCV": "candles",
    "fetchFundingRate": "funding rate",
}


def _elsewhere(urls: Any, host: str) -> Any:
    """ccxt's addresses with another scheme and host."""
    if isinstance(urls, str):
        return _HOST.sub(host, urls)
    if isinstance(urls, dict):
        return {name: _elsewhere(url, host) for name, url in urls.items()}
    return urls


def _market(found: dict[str, Any]) -> Market:
    kind = "linear" if found.get("linear") else "inverse" if found.get("inverse") else "spot"
    return Market(
        symbol=found["symbol"],
        raw_symbol=found["id"],
        base=found["base"],
        quote=found["quote"],
        settle=found.get("settle"),
        kind=kind,
        contract_size=contract_size(found.get("contractSize")),
        active=found.get("active"),
    )


def _said(failure: Exception) -> str:
    """What ccxt says, in one short line; it begins with the exchange and may hold addresses."""
    text = re.sub(r"https?://\S+", lambda found: mask(found[0]), str(failure))
    return visible(" ".join(text.split()), 200)


def _time(value: object) -> datetime | None:
    return None if value is None else numbers.instant(value, "ms", datetime.now(UTC))


def _levels(found: Any) -> list[tuple[float, float]]:
    """Levels of a book; some venues put more beside price and amount."""
    return [(numbers.real(level[0]), numbers.real(level[1])) for level in found]


def _number(value: object) -> float | None:
    """A figure that not every venue states; None where it is none."""
    try:
        return numbers.real(value)
    except numbers.NotReadable:
        return None
