"""Depth of order books through ccxt: what each venue would take at once around the mid price.

A venue shows so many levels and no more: what lies beyond them is not known, and is not counted.
"""

from __future__ import annotations

import asyncio
import bisect
import math
from collections.abc import AsyncIterator
from datetime import datetime
from itertools import accumulate

from chainwatch.collect.selection import names_in, select
from chainwatch.collect.source import Batch, Feed, source
from chainwatch.errors import ChainwatchError, NetworkError, PartialError
from chainwatch.exchanges import books
from chainwatch.exchanges.books import SpotBook
from chainwatch.tables.exchange import Depth

# Where sales of what is most used as collateral would go.
BOOKS = {
    "binance": ("BTC/USDT", "ETH/USDT", "LINK/USDT", "AAVE/USDT"),
    "bybit": ("BTC/USDT", "ETH/USDT"),
    "coinbaseexchange": ("BTC/USD", "ETH/USD", "LINK/USD", "AAVE/USD"),
    "kraken": ("BTC/USD", "ETH/USD"),
    "okx": ("BTC/USDT", "ETH/USDT"),
}
DISTANCES = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1)
# What --only takes.
LISTED = (
    f"{', '.join(BOOKS)}, a base such as BTC, a pair such as BTC/USDT, "
    'or any pair of any venue as "binance SOL/USDT"'
)
# Quoted in one of these, a pair is the factor of its base; else it is the ratio of the two.
DOLLARS = frozenset(("USD", "USDT", "USDC", "FDUSD", "USDS", "DAI", "TUSD", "PYUSD"))
# Further away from the last trade, the mid price is that of another pair.
NEAR_LAST = 0.2


@source(
    "depth",
    tables=(Depth,),
    docs="https://docs.ccxt.com/#/?id=order-book",
)
async def depth(feed: Feed) -> AsyncIterator[Batch]:
    """Depth of spot order books within 10 % of the mid price, from five venues through ccxt."""
    pairs = select_pairs(feed.options.get("only", ""))
    failures: list[ChainwatchError] = []
    by_venue = await asyncio.gather(
        *(_venue(feed, venue, symbols, failures) for venue, symbols in pairs.items())
    )
    rows = [row for venue_rows in by_venue for row in venue_rows]
    if rows:
        yield Batch(rows)
    if failures:
        reasons = "; ".join(map(str, failures))
        if rows:
            raise PartialError(f"some books are missing: {reasons}")
        raise failures[0] if len(failures) == 1 else NetworkError(reasons)


def select_pairs(only: str) -> dict[str, tuple[str, ...]]:
    """Pairs per venue: all of BOOKS, or those that name a venue, a base, or "venue PAIR".

    Raises UsageError for a name that is none of these.
    """
    names = names_in(only)
    by_venue: dict[str, list[str]] = {}
    for venue, pair, symbol in (name.partition(" ") for name in names):
        if pair:
            by_venue.setdefault(venue.lower(), []).append(symbol.strip().upper())
    words = {
        f"{venue} {symbol}": (venue, symbol.split("/")[0], symbol)
        for venue, symbols in BOOKS.items()
        for symbol in symbols
    }
    of_books = [name for name in names if " " not in name]
    if of_books or not names:
        for item in select("depth", ",".join(of_books), words, LISTED):
            venue, _, symbol = item.partition(" ")
            by_venue.setdefault(venue, []).append(symbol)
    return {venue: tuple(dict.fromkeys(symbols)) for venue, symbols in by_venue.items()}


async def _venue(
    feed: Feed, venue: str, symbols: tuple[str, ...], failures: list[ChainwatchError]
) -> list[Depth]:
    rows: list[Depth] = []
    try:
        async for book in books.spot_books(venue, symbols, base=feed.venue_base(venue)):
            try:
                rows += parse(book, feed.now(), feed.provenance)
            except ValueError as failure:
                reason = f"{venue} {book.symbol}: {failure}"
                feed.reject(str((book.bids[:5], book.asks[:5], book.last)), reason)
                failures.append(NetworkError(reason))
    except ChainwatchError as failure:
        failures.append(failure)
    return rows


def parse(book: SpotBook, received: datetime, provenance: str = "live") -> list[Depth]:
    """Both sides of a book, added up at each of DISTANCES as far as it was shown.

    The last row of a side is at its reach. Raises ValueError for a book that cannot be: empty, of
    one side, crossed, out of order, with amounts that are none, or far from its own last trade.
    """
    for side, levels, sign in (("bids", book.bids, -1), ("asks", book.asks, 1)):
        if not levels:
            other = "asks" if side == "bids" else "bids"
            empty = not (book.bids or book.asks)
            raise ValueError("the book is empty" if empty else f"the book has {other} only")
        for price, units in levels:
            if not (math.isfinite(price) and price > 0 and math.isfinite(units) and units >= 0):
                raise ValueError(
                    f"expected a price above 0 and an amount, got {units!r} at {price!r}"
                )
        steps = [sign * price for price, _ in levels]
        if steps != sorted(steps):
            raise ValueError(f"its {side} are out of order")
    best_bid, best_ask = book.bids[0][0], book.asks[0][0]
    if best_bid >= best_ask:
        raise ValueError(f"the book is crossed: {best_bid:g} bid, {best_ask:g} asked")
    mid_price = (best_bid + best_ask) / 2
    if book.last is not None and abs(mid_price / book.last - 1) > NEAR_LAST:
        raise ValueError(
            f"expected a mid price near the last trade at {book.last:g}, got {mid_price:g}: "
            "the book of another pair?"
        )
    return [
        Depth(
            factor=book.base if book.quote in DOLLARS else f"{book.base}/{book.quote}",
            venue=book.venue,
            symbol=book.symbol,
            kind="spot",
            side=side,
            distance=distance,
            units=units,
            quote_amount=amount,
            mid_price=mid_price,
            best_bid=best_bid,
            best_ask=best_ask,
            reach=reach,
            volume_24h=book.volume_24h,
            time=book.time or received,
            received_at=received,
            provenance=provenance,
        )
        for side, levels in (("bid", book.bids), ("ask", book.asks))
        for reach in [min(DISTANCES[-1], _away(levels[-1][0], mid_price))]
        for distance, units, amount in _added_up(levels, mid_price, reach)
    ]


def _added_up(
    levels: list[tuple[float, float]], mid_price: float, reach: float
) -> list[tuple[float, float, float]]:
    """(distance, units, quote amount) up to each distance, the last at the reach."""
    away = [_away(price, mid_price) for price, _ in levels]
    units = [0.0, *accumulate(amount for _, amount in levels)]
    quote = [0.0, *accumulate(price * amount for price, amount in levels)]
    steps = []
    for distance in (*(d for d in DISTANCES if d < reach), reach):
        n = bisect.bisect_right(away, distance)
        steps.append((distance, units[n], quote[n]))
    return steps


def _away(price: float, mid_price: float) -> float:
    """Distance from the mid price, without the last bits in which quotients differ."""
    return round(abs(price / mid_price - 1), 12)
