"""Circle's weekly page (four buckets of USDC's reserve) and its reserve fund's daily file.

The page carries billions with two decimals in attributes whose names mislead:

    <p>As of Sep 24, 2026</p>
    <span id="usdc-in-circulation" data-point="75.24"></span>
    <canvas id="usdc_chartjs_canvas" data-usdc-months="26.8" data-usdc-us-treasuries="37.6"
            data-usdc-cash="9.4" data-usdc-in-circulation="1.5"></canvas>

`months` are treasuries, `us-treasuries` repo, `cash` deposits at systemic banks and
`in-circulation` deposits at other banks; circulation is the span's. The fund (USDXX, BlackRock)
publishes each business day what it holds, one position per line; it holds most of the reserve, but
not the bank deposits.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from decimal import Decimal
from html.parser import HTMLParser

from chainwatch.collect.document import Irreconcilable, Raw, SchemaChanged
from chainwatch.collect.source import Batch, Feed, source
from chainwatch.disclosures import documents, formats
from chainwatch.disclosures.documents import DocumentRequest
from chainwatch.disclosures.formats import day, exact
from chainwatch.disclosures.reserves import (
    CASH,
    FUND,
    PAGE,
    REPO,
    TREASURY_BILLS,
    UNCLASSIFIED,
    Disclosure,
    ReserveLine,
)
from chainwatch.numbers import GROUPED
from chainwatch.tables.base import Row
from chainwatch.tables.disclosure import Document, ReserveItem, Statement, Supply
from chainwatch.text import visible

BILLION = Decimal(10) ** 9
BUCKETS = {
    "data-usdc-months": ("US Treasuries", TREASURY_BILLS),
    "data-usdc-us-treasuries": ("US Treasury repo", REPO),
    "data-usdc-cash": ("Deposits at systemic banks", CASH),
    "data-usdc-in-circulation": ("Deposits at other banks", CASH),
}
# Bounds of buckets / circulation: the page rounds, and counts at its own hours.
LEAST, MOST = Decimal("0.98"), Decimal("1.05")
FUND_TYPES = {
    "U.S. Treasury Debt": TREASURY_BILLS,
    "U.S. Treasury Repurchase Agreement": REPO,
    "Treasury Repurchase Agreement": REPO,
    "Cash": CASH,
}
FUND_COLUMNS = (
    "Position Description",
    "Asset Type",
    "%Par",
    "Par",
    "Market Value",
    "Final Maturity",
    "Maturity/Reset",
)


@source(
    "circle",
    tables=(Document, Statement, ReserveItem, Supply),
    docs="https://www.circle.com/transparency",
    base="https://www.circle.com",
)
async def weekly_page(feed: Feed) -> AsyncIterator[Batch]:
    """Circle's weekly page: USDC in circulation and the four buckets of its reserve."""
    request = DocumentRequest(
        name="transparency", path="/transparency", parse=parse_page, max_age_days=12
    )
    async for batch in documents.read(feed, [request]):
        yield batch


@source(
    "circle-fund",
    tables=(Document, Statement, ReserveItem),
    docs="https://www.blackrock.com/cash/en-us/products/329365/circle-reserve-fund",
    base="https://www.blackrock.com",
)
async def fund(feed: Feed) -> AsyncIterator[Batch]:
    """The Circle Reserve Fund's holdings, position by position, each business day."""
    path = (
        "/cash/en-us/products/329365/circle-reserve-fund/1464253357814.ajax"
        "?fileType=csv&fileName=USDXX_holdings&dataType=fund"
    )
    request = DocumentRequest(name="USDXX", path=path, parse=parse_fund, max_age_days=6)
    async for batch in documents.read(feed, [request]):
        yield batch


def parse_page(raw: Raw) -> list[Row]:
    """The page's statement. Raises Irreconcilable unless the buckets add up to the circulation."""
    page = _Page()
    try:
        page.feed(raw.body.decode("utf-8"))
    except UnicodeDecodeError:
        raise SchemaChanged("the page is not utf-8 text") from None
    if "data-point" not in page.span:
        raise SchemaChanged("expected <span id=usdc-in-circulation data-point=…>, got none")
    if set(BUCKETS) - set(page.canvas):
        missing = ", ".join(sorted(set(BUCKETS) - set(page.canvas)))
        raise SchemaChanged(f"<canvas id=usdc_chartjs_canvas> has no {missing}")
    if unknown := {a for a in page.canvas if a.startswith("data-usdc-")} - set(BUCKETS):
        raise SchemaChanged(f"<canvas id=usdc_chartjs_canvas> has a new {', '.join(unknown)}")
    stamp = re.search(r"As of\s+([A-Z][a-z]{2})[a-z]*\.?\s+(\d{1,2}),\s+(\d{4})", page.words)
    if stamp is None:
        raise SchemaChanged("there is no `As of Mon D, YYYY`")
    as_of = day(" ".join(stamp.groups()), "%b %d %Y", "the page's date")
    circulating = exact(page.span["data-point"], "USDC in circulation") * BILLION
    lines = [
        ReserveLine(label, asset_class, exact(page.canvas[name], label) * BILLION)
        for name, (label, asset_class) in BUCKETS.items()
    ]
    assets = formats.total(x.usd for x in lines)
    if not circulating or not LEAST < assets / circulating < MOST:
        raise Irreconcilable(
            f"the buckets add up to {assets:,f}, in circulation are {circulating:,f}: "
            f"not within {LEAST} … {MOST}"
        )
    disclosure = Disclosure(
        raw=raw, token="USDC", issuer="Circle", kind="weekly page", evidence=PAGE, as_of=as_of
    )
    return [
        *disclosure.statement(
            assets=assets,
            lines=lines,
            gate=f"{LEAST} < buckets / circulation < {MOST}; figures rounded to 10 million",
        ),
        disclosure.supply(circulating=circulating),
    ]


class _Page(HTMLParser):
    """The attributes of the two elements with figures, and the page's text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.span: dict[str, str] = {}
        self.canvas: dict[str, str] = {}
        self._words: list[str] = []

    @property
    def words(self) -> str:
        return " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = {k: v or "" for k, v in attributes}
        if named.get("id") == "usdc-in-circulation":
            self.span = named
        elif named.get("id") == "usdc_chartjs_canvas":
            self.canvas = named

    def handle_data(self, data: str) -> None:
        self._words.append(data)


def parse_fund(raw: Raw) -> list[Row]:
    """The fund's statement. Raises Irreconcilable unless the positions' shares add up to 100 %."""
    rows = (row for row in raw.rows() if any(cell.strip() for cell in row))
    head = next(rows, [])
    if len(head) != 2 or not head[0].startswith("Fund Holdings as of"):
        raise SchemaChanged("the first line is not `Fund Holdings as of`")
    as_of = day(head[1], "%d-%b-%Y", "the fund's date")
    columns = next(rows, [])
    if tuple(columns) != FUND_COLUMNS:
        raise SchemaChanged(f"the columns are {visible(','.join(columns), 80) or 'missing'}")
    lines = []
    shares = Decimal(0)
    for row in rows:
        if len(row) != len(FUND_COLUMNS):
            raise SchemaChanged(f"a line has {len(row)} fields, not {len(FUND_COLUMNS)}")
        asset_class = FUND_TYPES.get(row[1].strip(), UNCLASSIFIED)
        label = row[0] if asset_class != UNCLASSIFIED else f"{row[0]} ({row[1]})"
        lines.append(
            ReserveLine(
                visible(label, 80), asset_class, exact(row[4], f"value of {row[0]}", GROUPED)
            )
        )
        shares += exact(row[2], f"share of {row[0]}", GROUPED)
    if not lines:
        raise SchemaChanged("there are no positions")
    # Each share is rounded to a hundredth of a point.
    if abs(shares - 100) > Decimal("0.01") * len(lines):
        raise Irreconcilable(f"the positions' shares of par add up to {shares} %, not to 100 %")
    disclosure = Disclosure(
        raw=raw,
        token="USDC",
        issuer="BlackRock for Circle",
        kind="fund file",
        evidence=FUND,
        as_of=as_of,
    )
    return disclosure.statement(
        assets=formats.total(x.usd for x in lines),
        lines=lines,
        gate="shares of par add up to 100 %",
    )
