"""Open interest of Bybit's BTC and ETH perpetuals with the prices of each bar, through ccxt.

Bybit counts linear contracts in base and inverse ones in USD: other venues count in contracts of
their own, and none of them is read before its rule is known. Bybit publishes every liquidation, so
that what the series is for, the estimate of leverage, can be fitted there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from chainwatch.collect.selection import select
from chainwatch.collect.source import Batch, Feed, source
from chainwatch.errors import ChainwatchError, NetworkError, PartialError
from chainwatch.exchanges import books
from chainwatch.exchanges.books import ContractBar, ContractMarket
from chainwatch.tables.exchange import OpenInterest

VENUE = "bybit"
SYMBOLS = ("BTC/USDT:USDT", "BTC/USD:BTC", "ETH/USDT:USDT", "ETH/USD:ETH")
WORDS = {symbol: (symbol.split("/")[0],) for symbol in SYMBOLS}
INTERVAL = "5m"
# How far back a first reading goes.
FIRST = timedelta(days=30)


@source(
    "open-interest",
    tables=(OpenInterest,),
    docs="https://bybit-exchange.github.io/docs/v5/market/open-interest",
    base="https://api.bybit.com",
)
async def open_interest(feed: Feed) -> AsyncIterator[Batch]:
    """Open interest of Bybit's BTC and ETH perpetuals per 5 minutes, with prices, for 30 days."""
    cursor: dict[str, Any] = dict(feed.cursor or {})
    now = feed.now()
    failures: list[ChainwatchError] = []
    done = 0
    for symbol in select(feed.source, feed.options.get("only", ""), WORDS):
        # The newest reading is asked for again: the venue may have corrected it.
        since = datetime.fromtimestamp(cursor[symbol], UTC) if symbol in cursor else now - FIRST
        try:
            pages = books.contract_bars(
                VENUE, symbol, INTERVAL, since, now, base=feed.venue_base(VENUE)
            )
            async for page in pages:
                rows = []
                for bar in page.bars:
                    try:
                        rows.append(parse(page.market, bar, now, feed.provenance))
                    except ValueError as failure:
                        feed.reject(str(bar), f"{symbol}: {failure}")
                feed.progress(symbol, (page.bars[-1].time - since) / (now - since))
                if rows:
                    done += len(rows)
                    cursor[symbol] = rows[-1].time.timestamp()
                    yield Batch(rows, cursor=dict(cursor))
        except ChainwatchError as failure:
            failures.append(failure)
    if failures:
        reasons = "; ".join(map(str, failures))
        if done:
            raise PartialError(f"some open interest is missing: {reasons}")
        raise failures[0] if len(failures) == 1 else NetworkError(reasons)


def parse(
    market: ContractMarket, bar: ContractBar, received: datetime, provenance: str = "live"
) -> OpenInterest:
    """One reading in base and in USD; ValueError for one that cannot be."""
    _, first, high, low, close, volume = bar.prices
    if not 0 < low <= min(first, close) <= max(first, close) <= high:
        raise ValueError(
            f"expected a close between low and high, got {close!r} in {low!r} to {high!r}"
        )
    contracts = bar.amount if market.kind == "linear" else bar.value
    if contracts is None or contracts < 0:
        raise ValueError(f"expected an open interest of 0 or more, got {contracts!r}")
    return OpenInterest(
        base=market.base,
        venue=VENUE,
        market=market.kind,
        symbol=market.raw_symbol,
        interval=INTERVAL,
        time=bar.time,
        contracts=contracts,
        units=contracts if market.kind == "linear" else contracts / close,
        usd=contracts * close if market.kind == "linear" else contracts,
        open=first,
        high=high,
        low=low,
        close=close,
        volume=volume,
        received_at=received,
        provenance=provenance,
    )
