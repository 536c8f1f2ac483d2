"""SOFR from the Federal Reserve Bank of New York, which publishes it.

    {"refRates": [{"effectiveDate": "2026-10-01", "type": "SOFR", "percentRate": 3.87,
                   "volumeInBillions": 3067, "revisionIndicator": ""}]}

A rate is published on the next business day about 08:00 in New York and may be revised once,
about 14:30 of that day.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import time

from chainwatch.collect.document import Raw, SchemaChanged
from chainwatch.collect.source import Batch, Feed, source
from chainwatch.disclosures import documents, indicators
from chainwatch.disclosures.documents import DocumentRequest
from chainwatch.disclosures.indicators import Lag
from chainwatch.tables.disclosure import Document, IndicatorValue

LAG = Lag("next value", time(13))
FIRST_DAY = "2018-04-02"


@source(
    "nyfed",
    tables=(Document, IndicatorValue),
    docs="https://markets.newyorkfed.org/static/docs/markets-api.html",
    base="https://markets.newyorkfed.org",
)
async def sofr(feed: Feed) -> AsyncIterator[Batch]:
    """SOFR from its publisher, since its first day."""
    path = (
        f"/api/rates/secured/sofr/search.json?startDate={FIRST_DAY}&endDate={feed.now():%Y-%m-%d}"
    )
    async for batch in documents.read(
        feed, [DocumentRequest(name="SOFR", path=path, parse=parse, max_age_days=6)]
    ):
        yield batch


def parse(raw: Raw) -> list[IndicatorValue]:
    """The rates, in percent."""
    body = raw.json()
    if not isinstance(body, dict) or not isinstance(body.get("refRates"), list):
        raise SchemaChanged("there is no list `refRates`")
    pairs = []
    for entry in body["refRates"]:
        if not isinstance(entry, dict) or not {"effectiveDate", "type"} <= set(entry):
            raise SchemaChanged("a rate has no effectiveDate and type")
        if entry["type"] == "SOFR":
            rate = entry.get("percentRate")
            pairs.append(
                (indicators.iso_day(str(entry["effectiveDate"])), "" if rate is None else str(rate))
            )
    return indicators.rows(raw, "sofr", indicators.values_by_day(pairs, "SOFR"), LAG)
