"""Closed candles of BTC and ETH from Binance's spot market, through ccxt.

Prices are in USDT, which stands for the dollar here; days and hours are UTC. The market-data host
https://data-api.binance.vision serves the same without the trading API (CHAINWATCH_URL_CANDLES).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

from chainwatch.collect.selection import select
from chainwatch.collect.source import Batch, Feed, source
from chainwatch.disclosures import documents, indicators
from chainwatch.disclosures.documents import DocumentRequest
from chainwatch.exchanges import books
from chainwatch.tables.disclosure import Document
from chainwatch.tables.exchange import Candle

VENUE = "binance"
# asset, interval → where history begins; hours before 2020 are of no event that is looked at
BEGINS = {
    ("BTC", "1d"): datetime(2017, 8, 17, tzinfo=UTC),
    ("BTC", "1h"): datetime(2020, 1, 1, tzinfo=UTC),
    ("ETH", "1d"): datetime(2017, 8, 17, tzinfo=UTC),
    ("ETH", "1h"): datetime(2020, 1, 1, tzinfo=UTC),
}


@source(
    "candles",
    tables=(Document, Candle),
    docs="https://docs.ccxt.com/#/?id=ohlcv-candlestick-charts",
    base="https://api.binance.com",
)
async def candles(feed: Feed) -> AsyncIterator[Batch]:
    """Hourly and daily candles of BTC and ETH from Binance spot, since 2020 and 2017."""
    series = {f"{asset} {interval}": (asset, interval) for asset, interval in BEGINS}
    cursor: dict[str, Any] = dict(feed.cursor or {})
    done = []
    for name in select(feed.source, feed.options.get("only", ""), series):
        asset, interval = series[name]
        begin = BEGINS[asset, interval]
        # The newest candle is read again: a correction shows as another version of it.
        since = datetime.fromtimestamp(cursor[name], UTC) if name in cursor else begin
        symbol = f"{asset}/USDT"
        pages = books.spot_candles(VENUE, symbol, interval, since, base=feed.venue_base(VENUE))
        async for page in pages:
            first = page.candles[0][0]
            feed.progress(name, first.timestamp() - begin.timestamp())
            raw = feed.keep(page.body, name=f"{name} from {first:%Y-%m-%d %H:%M}", url=page.url)
            read = partial(
                indicators.candles,
                prices=page.candles,
                asset=asset,
                symbol=symbol,
                venue=VENUE,
                interval=interval,
            )
            entry = await documents.read_kept(
                feed, DocumentRequest(name=raw.name, path="", parse=read), raw
            )
            done.append(entry.document)
            cursor[name] = max(
                (row.time.timestamp() for row in entry.rows if isinstance(row, Candle)),
                default=cursor.get(name, since.timestamp()),
            )
            yield Batch(entry.batch.rows, cursor=dict(cursor))
    documents.raise_failures(done)
