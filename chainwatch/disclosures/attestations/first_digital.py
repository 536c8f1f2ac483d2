"""First Digital's monthly report on the reserve of FDUSD: sections, each with lines and a sum."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

from chainwatch.collect.document import Raw, SchemaChanged
from chainwatch.disclosures.attestations.text import DATE, MONTHLY_KIND, date_of
from chainwatch.disclosures.formats import day, exact
from chainwatch.disclosures.reserves import (
    ATTESTED,
    CASH,
    REPO,
    TREASURY_BILLS,
    Disclosure,
    ReserveLine,
    require_sum,
)
from chainwatch.numbers import GROUPED
from chainwatch.tables.base import Row
from chainwatch.text import visible

_CLASSES = (
    (r"repurchase|reverse repo", REPO),
    (r"treasury", TREASURY_BILLS),
    (r"deposit|cash|custody|dollars held", CASH),
)
# Heading → name, class, and the classes that its lines may name: a repurchase agreement is listed
# by its collateral.
_HEADING = re.compile(
    r"(?P<repo>Held Pursuant to (?:[A-Z]\w+ ){0,2}Repurchase Agreements?)"
    r"|(?P<deposits>Fixed Deposits)\b"
)
_SECTIONS = {
    "repo": ("Repurchase agreements", REPO, frozenset({REPO, TREASURY_BILLS})),
    "deposits": ("Fixed deposits", CASH, frozenset({CASH})),
}
# Stated as one sum, without lines.
_ALONE = re.compile(r"dollars held|held in custody", re.IGNORECASE)
_CENTS = re.compile(r"(?:US)?\$? ?((?:\d{1,3}(?:,\d{3})+|\d{1,3})\.\d\d)(?![\d.])")


def parse(raw: Raw, text: str) -> list[Row]:
    """The rows of a report from its text."""
    table = re.search(
        r"Description (.*?Total (?:assets held in )?Reserve Accounts:? ?(?:US)?\$? ?"
        r"(?:\d{1,3}(?:,\d{3})+)\.\d\d)",
        text,
        re.IGNORECASE,
    )
    if table is None:
        raise SchemaChanged("there is no table from `Description` to `Total Reserve Accounts`")
    lines, stated = _lines(table[1])
    require_sum([x.usd for x in lines], stated, "all lines")
    as_of = _day(text)
    disclosure = Disclosure(
        raw=raw,
        token="FDUSD",
        issuer="First Digital",
        kind=MONTHLY_KIND,
        evidence=ATTESTED,
        as_of=as_of,
    )
    rows = disclosure.statement(
        assets=stated,
        lines=lines,
        gate="lines = sum of their section and all lines = total, to the cent",
        citation=f"report of {as_of}, {raw.name}",
    )
    issued = re.search(r"in circulation .{0,40}?((?:\d{1,3},)+\d{3}\.\d\d)", text)
    if issued:
        rows.append(
            disclosure.supply(circulating=exact(issued[1], "tokens in circulation", GROUPED))
        )
    return rows


def _lines(table: str) -> tuple[list[ReserveLine], Decimal]:
    """The lines of all sections, and the total that is stated for them."""
    sections = _Sections()
    begin = 0
    for amount in _CENTS.finditer(table):
        words = table[begin : amount.start()].strip(" :$")
        begin = amount.end()
        usd = exact(amount[1], "an amount", GROUPED)
        total = re.search(r"(?:\(\w\) )?\b(?:sub-?)?total\b(?!.*\btotal\b)", words, re.IGNORECASE)
        label = words[total.start() :] if total else words
        ahead = words[: total.start()] if total else words
        for heading in _HEADING.finditer(ahead):
            if heading.end() < len(words):  # else it is the line itself
                sections.begin(*_SECTIONS[heading.lastgroup or ""])
                label = label if total else words[heading.end() :].strip(" :")
        if total and re.search(r"total (?:assets held in )?reserve accounts", label, re.IGNORECASE):
            sections.finish()
            return sections.lines, usd
        if total and not _ALONE.search(label):
            sections.add_sum(label, usd)
        else:
            sections.add_line(label, usd)
    raise SchemaChanged("the table has no lines")


class _Sections:
    """The lines of a table whose sections have a heading, lines and a sum each.

    A line is of its section's class. The first section has no heading, and an amount that is
    stated as one sum is in no section: both are of the class that their text names.
    """

    def __init__(self) -> None:
        self.lines: list[ReserveLine] = []
        self._summed = 0  # lines that are in a sum of their own
        self._name, self._class, self._like = "", "", frozenset[str]()
        self._first = True

    def begin(self, name: str, asset_class: str, like: frozenset[str]) -> None:
        """Begin a section. Raises SchemaChanged where the one before it has no sum yet."""
        if self._summed < len(self.lines):
            raise SchemaChanged(f"the section of {self.lines[-1].label!r} has no sum")
        self._name, self._class, self._like, self._first = name, asset_class, like, False

    def add_line(self, label: str, usd: Decimal) -> None:
        """Add a line. Raises SchemaChanged where its text and its section do not give one class."""
        alone = _ALONE.search(label) is not None
        if alone and not self._first:
            self.begin("", "", frozenset())
        classes, text = _classes(label), visible(label[-60:], 60)
        if self._name:
            if classes - self._like:
                raise SchemaChanged(
                    f"the section {self._name} has a line of another class: {text!r}"
                )
            classes, text = {self._class}, visible(f"{self._name}: {label}", 60)
        elif len(classes) != 1:
            count = "several classes are" if classes else "no class is"
            raise SchemaChanged(f"{count} known for the line {text!r}")
        elif not self._first and not alone:
            raise SchemaChanged(f"the line {text!r} is under no known heading")
        self.lines.append(ReserveLine(text, classes.pop(), usd))
        if alone and not self._first:
            self._summed = len(self.lines)

    def add_sum(self, label: str, usd: Decimal) -> None:
        """Check the section's sum. Raises Irreconcilable where its lines do not add up to it."""
        waiting = self.lines[self._summed :]
        classes = {x.asset_class for x in waiting} or {self._class}
        if len(classes) > 1 or _classes(label) - classes:
            raise SchemaChanged(f"{visible(label[-60:], 60)!r} is the sum of another class")
        require_sum([x.usd for x in waiting], usd, f"lines up to {label[-40:]!r}")
        self._summed = len(self.lines)
        self.begin("", "", frozenset())

    def finish(self) -> None:
        """End the table; one without any section has no sum but its total."""
        if not self._first:
            self.begin("", "", frozenset())


def _classes(words: str) -> set[str]:
    return {c for pattern, c in _CLASSES if re.search(pattern, words, re.IGNORECASE)}


def _day(text: str) -> date:
    at = r"(?: at|, recorded at)? ?\d{1,2}:\d\d ?[ap]m"
    if m := re.search(rf"([A-Z][a-z]+ \d{{1,2}}, \d{{4}}){at}", text, re.IGNORECASE):
        return day(m[1], "%B %d, %Y", "the report date")
    return date_of(re.search(rf"as of {DATE}", text, re.IGNORECASE), "the report date")
