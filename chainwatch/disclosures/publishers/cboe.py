"""Cboe's file of its volatility index: `DATE,OPEN,HIGH,LOW,CLOSE`, MM/DD/YYYY, whole history."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import time

from chainwatch.collect.document import Raw
from chainwatch.collect.source import Batch, Feed, source
from chainwatch.disclosures import documents, indicators
from chainwatch.disclosures.documents import DocumentRequest
from chainwatch.disclosures.formats import day
from chainwatch.disclosures.indicators import Lag
from chainwatch.tables.disclosure import Document, IndicatorValue

LAG = Lag("next day", time(2))  # the evening of New York


@source(
    "cboe",
    tables=(Document, IndicatorValue),
    docs="https://www.cboe.com/tradable_products/vix/vix_historical_data/",
    base="https://cdn.cboe.com",
)
async def vix(feed: Feed) -> AsyncIterator[Batch]:
    """VIX closes from the exchange that computes the index."""
    path = "/api/global/us_indices/daily_prices/VIX_History.csv"
    async for batch in documents.read(
        feed, [DocumentRequest(name="VIX", path=path, parse=parse, max_age_days=5)]
    ):
        yield batch


def parse(raw: Raw) -> list[IndicatorValue]:
    """The closes."""
    pairs = (
        (day(row[0], "%m/%d/%Y"), row[4]) for row in raw.csv("DATE", "OPEN", "HIGH", "LOW", "CLOSE")
    )
    return indicators.rows(raw, "vix", indicators.values_by_day(pairs, "VIX"), LAG)
