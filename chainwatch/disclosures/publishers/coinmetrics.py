"""Coin Metrics' community API: bitcoin's market value over realised value (MVRV).

    {"data": [{"asset": "btc", "time": "2026-08-26T00:00:00.000000000Z", "CapMVRVCur": "1.42",
               "AssetEODCompletionTime": "1787793000"}], "next_page_url": "https://…"}

Free for non-commercial use (CC BY-NC); a single metric that is not free makes the whole request
fail with 403. The completion time says when the day's figures were ready.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import time
from typing import Any
from urllib.parse import urlsplit

from chainwatch.collect.document import Raw, SchemaChanged
from chainwatch.collect.source import Batch, Feed, source
from chainwatch.disclosures import documents, formats, indicators
from chainwatch.disclosures.documents import DocumentRequest
from chainwatch.disclosures.indicators import Lag
from chainwatch.tables.disclosure import Document, IndicatorValue

LAG = Lag("next day", time(12))
FOLDER = "/v4/timeseries/asset-metrics"


@source(
    "coinmetrics",
    tables=(Document, IndicatorValue),
    docs="https://docs.coinmetrics.io/api-reference/timeseries/timeseries-rest/asset-metrics",
    base="https://community-api.coinmetrics.io",
    spacing=0.7,
)
async def mvrv(feed: Feed) -> AsyncIterator[Batch]:
    """Bitcoin's MVRV, daily since 2010."""
    path = (
        f"{FOLDER}?assets=btc&metrics=CapMVRVCur,AssetEODCompletionTime"
        "&frequency=1d&page_size=10000&paging_from=start"
    )
    request = DocumentRequest(name="MVRV", path=path, parse=parse, max_age_days=3, follow=next_page)
    async for batch in documents.read(feed, [request]):
        yield batch


def parse(raw: Raw) -> list[IndicatorValue]:
    """The ratios."""
    pairs = []
    published = {}
    for entry in _entries(raw.json()):
        as_of = indicators.iso_day(str(entry["time"])[:10])
        value = entry["CapMVRVCur"]
        pairs.append((as_of, "" if value is None else str(value)))
        if done := entry.get("AssetEODCompletionTime"):
            what = f"AssetEODCompletionTime of {as_of}"
            published[as_of] = formats.instant(done, "s", what, raw.fetched_at)
    values = indicators.values_by_day(pairs, "CapMVRVCur")
    return indicators.rows(raw, "btc_mvrv", values, LAG, published)


def next_page(raw: Raw) -> str | None:
    """The next page's path: its query only, so that it is asked of the same host."""
    body = raw.json()
    url = body.get("next_page_url") if isinstance(body, dict) else None
    return f"{FOLDER}?{urlsplit(str(url)).query}" if url else None


def _entries(body: Any) -> list[dict[str, Any]]:
    if not isinstance(body, dict) or not isinstance(body.get("data"), list):
        raise SchemaChanged("there is no list `data`")
    for entry in body["data"]:
        if not isinstance(entry, dict) or not {"time", "CapMVRVCur"} <= set(entry):
            raise SchemaChanged("an entry has no time and CapMVRVCur")
    entries: list[dict[str, Any]] = body["data"]
    return entries
