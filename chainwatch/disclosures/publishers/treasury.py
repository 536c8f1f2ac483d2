"""The US Treasury's par yield curve, one XML feed per year.

    <entry><content><m:properties>
      <d:NEW_DATE m:type="Edm.DateTime">2026-08-05T00:00:00</d:NEW_DATE>
      <d:BC_10YEAR m:type="Edm.Double">4.63</d:BC_10YEAR> …

A missing yield is an empty element or `m:null`. New maturities appear from time to time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import time
from xml.etree import ElementTree

from chainwatch.collect.document import Raw, SchemaChanged
from chainwatch.collect.source import Batch, Feed, source
from chainwatch.disclosures import documents, indicators
from chainwatch.disclosures.documents import DocumentRequest
from chainwatch.disclosures.indicators import Lag
from chainwatch.tables.disclosure import Document, IndicatorValue

LAG = Lag("next value", time(21, 15))
DATA = "{http://schemas.microsoft.com/ado/2007/08/dataservices}"
FIELDS = {"dgs10": "BC_10YEAR", "dgs30": "BC_30YEAR"}


@source(
    "treasury",
    tables=(Document, IndicatorValue),
    docs="https://home.treasury.gov/treasury-daily-interest-rate-xml-feed",
    base="https://home.treasury.gov",
)
async def yields(feed: Feed) -> AsyncIterator[Batch]:
    """Treasury yields of 10 and 30 years, this year and the last, from the Treasury."""
    now = feed.now()
    requests = [
        DocumentRequest(
            name=str(year),
            path="/resource-center/data-chart-center/interest-rates/pages/xml"
            f"?data=daily_treasury_yield_curve&field_tdr_date_value={year}",
            parse=parse,
            max_age_days=6 if year == now.year and now.timetuple().tm_yday > 6 else None,
        )
        for year in (now.year - 1, now.year)
    ]
    async for batch in documents.read(feed, requests):
        yield batch


def parse(raw: Raw) -> list[IndicatorValue]:
    """Both yields, in percent."""
    text = raw.text()
    if "<!" in text.replace("<!--", ""):
        raise SchemaChanged("the feed has a document type or entities")
    try:
        root = ElementTree.fromstring(raw.body)
    except (ElementTree.ParseError, ValueError) as failure:
        raise SchemaChanged(f"not XML: {failure}") from None
    rows: list[IndicatorValue] = []
    days = [
        (indicators.iso_day((stamp.text or "")[:10]), properties)
        for properties in root.iter()
        if (stamp := properties.find(f"{DATA}NEW_DATE")) is not None
    ]
    if not days:
        raise SchemaChanged("the feed has no NEW_DATE")
    for series, field in FIELDS.items():
        cells = [(day, properties.find(DATA + field)) for day, properties in days]
        if all(cell is None for _, cell in cells):
            raise SchemaChanged(f"the feed has no {field}")
        pairs = [(day, "" if cell is None else cell.text or "") for day, cell in cells]
        rows += indicators.rows(raw, series, indicators.values_by_day(pairs, field), LAG)
    return rows
