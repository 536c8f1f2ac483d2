"""Circle's monthly report on the reserve of USDC: one section per reporting date."""

from __future__ import annotations

import calendar
import re
from datetime import date
from decimal import Decimal

from chainwatch.collect.document import Raw, SchemaChanged
from chainwatch.disclosures.attestations.text import AMOUNT, MONTHLY_KIND, money
from chainwatch.disclosures.formats import day, end_of
from chainwatch.disclosures.reserves import (
    ATTESTED,
    CASH,
    REPO,
    SETTLEMENT,
    TREASURY_BILLS,
    Disclosure,
    ReserveLine,
    require_sum,
)
from chainwatch.disclosures.vintages import BY_SOURCE
from chainwatch.tables.base import Row

_SECTION = re.compile(
    r"CIRCLE RESERVE FUND ASSETS AS OF ([A-Z]+ \d{1,2}, \d{4})(.*?)"
    rf"TOTAL USDC RESERVE ASSETS AS OF \1 \$? ?({AMOUNT})"
)
_LINES = (
    # label pattern, label, class; TOTAL lines are checked, not kept
    (r"U\.S\. Treasury Repurchase Agreements ?\d?", "US Treasury repo", REPO),
    (r"Cash held in Circle Reserve Fund", "Cash in the fund", CASH),
    (
        r"Cash due to/\(owed by\) Circle Reserve Fund due to timing and settlement differences, "
        r"net ?\d?",
        "Fund settlement differences",
        SETTLEMENT,
    ),
    (r"TOTAL CIRCLE RESERVE FUND ASSETS", "", ""),
    (r"Cash held at regulated financial institutions ?\d?", "Cash at banks", CASH),
    (
        r"Cash due to/\(owed by\) Circle due to timing and settlement differences, net ?\d?",
        "Bank settlement differences",
        SETTLEMENT,
    ),
    (r"TOTAL OTHER USDC RESERVE ASSETS", "", ""),
)


def parse(raw: Raw, text: str) -> list[Row]:
    """The rows of a report from its text."""
    sections = list(_SECTION.finditer(text))
    if not sections:
        raise SchemaChanged("there is no section `CIRCLE RESERVE FUND ASSETS AS OF`")
    days = [day(s[1].title(), "%B %d, %Y", "a report date") for s in sections]
    signed = _signed(text, max(days))
    circulating = _circulation(text, len(days))
    rows: list[Row] = []
    for n, (as_of, section) in enumerate(zip(days, sections, strict=True)):
        stated = money(section[3])
        lines = _lines(section[2], stated, as_of)
        disclosure = Disclosure(
            raw=raw,
            token="USDC",
            issuer="Circle",
            kind=MONTHLY_KIND,
            evidence=ATTESTED,
            as_of=as_of,
            published=end_of(signed),
            basis=BY_SOURCE,
        )
        rows += disclosure.statement(
            assets=stated,
            liabilities=circulating[n] if circulating else None,
            lines=lines,
            gate="lines = fund, lines = other, fund + other = total, to the dollar",
            citation=f"report of {as_of}, signed {signed}, {raw.name}",
        )
    return rows


def _lines(section: str, stated: Decimal, as_of: date) -> list[ReserveLine]:
    head = re.match(rf".*?TOTAL U\.S\. TREASURY SECURITIES \$? ?({AMOUNT})", section)
    if head is None:
        raise SchemaChanged(f"{as_of}: there is no TOTAL U.S. TREASURY SECURITIES")
    treasuries = money(head[1])
    positions = re.findall(rf"\d\d/\d\d/\d\d \$? ?({AMOUNT})", head[0])
    # Each position is rounded to the dollar.
    slack = Decimal(len(positions)) / 2
    require_sum(map(money, positions), treasuries, f"{as_of}: treasuries by position", slack)
    rest = section[head.end() :]
    lines = [ReserveLine("US Treasury securities", TREASURY_BILLS, treasuries)]
    group, totals = [treasuries], []
    at = 0
    for pattern, label, asset_class in _LINES:
        match = re.compile(rf"{pattern} \$? ?(\(?{AMOUNT}\)?|\(?\d{{1,3}}\)?|-)(?= |$)").search(
            rest, at
        )
        if match is None:
            # Lines come and go; a total that is missing lets the next sum fail.
            continue
        at = match.end()
        amount = money(match[1])
        if label:
            lines.append(ReserveLine(label, asset_class, amount))
            group.append(amount)
        else:
            require_sum(group, amount, f"{as_of}: {pattern.lower()}")
            totals.append(amount)
            group = []
    require_sum(totals, stated, f"{as_of}: fund + other")
    return lines


def _signed(text: str, newest: date) -> date:
    """The date beside the signature: the last one after the report dates."""
    dates = [
        day(f"{m[1]} {m[2]} {m[3]}", "%B %d %Y")
        for m in re.finditer(r"\b([A-Z][a-z]{2,8}) (\d{1,2}) ?, ?(\d{4})", text)
        if m[1] in calendar.month_name
    ]
    later = [d for d in dates if d > newest]
    if not later:
        raise SchemaChanged("there is no date of signature after the report dates")
    return later[-1]


def _circulation(text: str, sections: int) -> list[Decimal] | None:
    row = re.search(
        r"USDC in Circulation \(as defined in the criteria below\)(?: \d)?"
        rf"((?: \$? ?{AMOUNT}){{{sections}}})",
        text,
    )
    return None if row is None else [money(a) for a in re.findall(AMOUNT, row[1])]
