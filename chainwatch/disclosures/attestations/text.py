"""Amounts and dates in the text of a report."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

from chainwatch.collect.document import SchemaChanged
from chainwatch.disclosures.formats import day, exact
from chainwatch.numbers import GROUPED

MONTHLY_KIND = "monthly report"
AMOUNT = r"\d{1,3}(?:, ?\d{3})+"
DATE = r"(\d{1,2})\s*([A-Za-z]{3,9})\s*(\d{4})"


def money(text: str) -> Decimal:
    """ "1,234" as 1234, "(1,234)" as -1234, "-" as 0."""
    if text == "-":
        return Decimal(0)
    sign = -1 if text.startswith("(") else 1
    return sign * exact(text.strip("()").replace(" ", ""), "an amount", GROUPED)


def date_of(match: re.Match[str] | None, what: str) -> date:
    """The date of a match of DATE. Raises SchemaChanged where there is none."""
    if match is None:
        raise SchemaChanged(f"{what} is not in the text")
    return day(f"{match[1]} {match[2].title()} {match[3]}", "%d %B %Y", what)
