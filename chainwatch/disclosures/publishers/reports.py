"""Signed reserve reports as PDF, from a file: Tether quarterly, Circle and First Digital monthly.

The tables come out of a PDF as separate words, and no two reports break them in the same places,
so a position in the text is no evidence. A report is accepted where its own sums hold to the unit:
lines and subtotals against totals, totals against the sentences around them. The labels must be
known, and all amounts between the first label and the total must be used. Where a table has
sections, a line is of the class of its section, whatever its text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncIterator, Callable, Sequence

from chainwatch.collect.document import Raw, SchemaChanged
from chainwatch.collect.source import Batch, Feed, source
from chainwatch.disclosures import documents, pdf
from chainwatch.disclosures.attestations import circle, first_digital, tether
from chainwatch.tables.base import Row
from chainwatch.tables.disclosure import Document, ReserveItem, Statement, Supply

PARSER = 2
# A pattern that only the reports of one issuer match, and their parser.
PARSERS: dict[str, Callable[[Raw, str], list[Row]]] = {
    r"USDC\s*Reserve\s*Report": circle.parse,
    r"FDUSD": first_digital.parse,
    r"Tether": tether.parse,
}


@source(
    "reserve-report",
    mode="file",
    provenance="imported",
    tables=(Document, Statement, ReserveItem, Supply),
    docs="https://tether.to/en/transparency/?tab=reports",
)
async def report(feed: Feed) -> AsyncIterator[Batch]:
    """Signed reserve reports (PDF) of Tether, Circle and First Digital, from a file."""
    async for batch in documents.read_file(feed, parse, parser=PARSER):
        yield batch


def parse(raw: Raw) -> list[Row]:
    """The rows of a report of any of the issuers."""
    return parse_text(raw, pdf.pages(raw.body))


def parse_text(raw: Raw, pages: Sequence[str]) -> list[Row]:
    """The rows of a report from the text of its pages."""
    texts = [" ".join(unicodedata.normalize("NFKC", page).split()) for page in pages]
    report = " ".join(texts)
    for pattern, parse_report in PARSERS.items():
        if re.search(pattern, report, re.IGNORECASE):
            return parse_report(raw, report)
    raise SchemaChanged("expected a report of Tether, Circle (USDC) or First Digital, got another")
