"""Japan's Ministry of Finance: yields of Japanese government bonds, as CSV.

A decorative line, then `Date,1Y,…,40Y`, days as 2026/10/1, `-` for no yield, and a footer in
words. The history and the current month are two files. Days are those of Tokyo.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import time

from chainwatch.collect.document import Raw, SchemaChanged
from chainwatch.collect.source import Batch, Feed, source
from chainwatch.disclosures import documents, indicators
from chainwatch.disclosures.documents import DocumentRequest
from chainwatch.disclosures.formats import day
from chainwatch.disclosures.indicators import Lag
from chainwatch.tables.disclosure import Document, IndicatorValue

LAG = Lag("next value", time(1))  # the next morning of Tokyo
COLUMNS = {"jgb10": "10Y", "jgb40": "40Y"}
FOLDER = "/english/policy/jgbs/reference/interest_rate"


@source(
    "mof",
    tables=(Document, IndicatorValue),
    docs="https://www.mof.go.jp/english/policy/jgbs/reference/interest_rate/index.htm",
    base="https://www.mof.go.jp",
)
async def yields(feed: Feed) -> AsyncIterator[Batch]:
    """Yields of Japanese government bonds of 10 and 40 years."""
    requests = [
        DocumentRequest(name="history", path=f"{FOLDER}/historical/jgbcme_all.csv", parse=parse),
        DocumentRequest(name="month", path=f"{FOLDER}/jgbcme.csv", parse=parse, max_age_days=11),
    ]
    async for batch in documents.read(feed, requests):
        yield batch


def parse(raw: Raw) -> list[IndicatorValue]:
    """Both yields, in percent."""
    table = raw.rows("cp932")
    head = next((row for row in table if row and row[0].strip() == "Date"), None)
    if head is None:
        raise SchemaChanged("there is no line that begins with `Date`")
    names = [cell.strip() for cell in head]
    if missing := set(COLUMNS.values()) - set(names):
        raise SchemaChanged(f"there is no column {', '.join(sorted(missing))}")
    cells = []
    for row in table:
        if sum(bool(cell.strip()) for cell in row) <= 1:  # blank lines and the footer
            continue
        if len(row) != len(names):
            raise SchemaChanged(f"a line has {len(row)} fields, not {len(names)}")
        cells.append((day(row[0], "%Y/%m/%d"), row))
    rows: list[IndicatorValue] = []
    for series, column in COLUMNS.items():
        at = names.index(column)
        pairs = [(as_of, row[at]) for as_of, row in cells]
        rows += indicators.rows(raw, series, indicators.values_by_day(pairs, column), LAG)
    return rows
