"""Signed reserve reports as PDF, from a file: Tether quarterly, Circle and First Digital monthly.

The tables come out of a PDF as loose words, and no two reports break them alike, so nothing is
believed for where it stands. What makes a report acceptable is that its own sums hold to the unit:
lines and subtotals against totals, totals against the sentences around them. The labels must be
known, the amounts between the first label and the total must all be used up. Where a table has
sections, a line is of the class of its section, whatever its own words.
"""

from __future__ import annotations

import calendar
import re
import unicodedata
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date
from decimal import Decimal

from chainwatch.collect.document import Raw, SchemaChanged
from chainwatch.collect.source import Batch, Feed, source
from chainwatch.disclosures import documents, pdf
from chainwatch.disclosures.documents import BY_SOURCE
from chainwatch.disclosures.formats import day, end_of, exact
from chainwatch.disclosures.reserves import (
    ATTESTED,
    BITCOIN,
    CASH,
    COMMERCIAL_PAPER,
    CORPORATE_BONDS,
    EQUITIES,
    FOREIGN_BILLS,
    LOANS,
    MIXED,
    MONEY_MARKET,
    OTHER,
    PRECIOUS_METALS,
    REPO,
    SETTLEMENT,
    TREASURY_BILLS,
    Line,
    require_sum,
    statement,
    supply,
)
from chainwatch.numbers import GROUPED
from chainwatch.tables.base import Row
from chainwatch.tables.disclosure import Document, ReserveItem, Statement, Supply
from chainwatch.text import visible

TETHER_KIND = "quarterly report"
MONTHLY_KIND = "monthly report"
PARSER = 2
# Label without blanks and footnote → class; the longest that ends the words before an amount.
TETHER_LABELS = {
    "u.s.treasurybills": ("U.S. Treasury Bills", TREASURY_BILLS),
    "commercialpaperandcertificatesofdeposit": ("Commercial Paper", COMMERCIAL_PAPER),
    "commercialpaperandcertificatesofdeposits": ("Commercial Paper", COMMERCIAL_PAPER),
    "moneymarketfunds": ("Money Market Funds", MONEY_MARKET),
    "cash&bankdeposits": ("Cash & Bank Deposits", CASH),
    "reverserepurchaseagreements": ("Reverse Repurchase Agreements", REPO),
    "overnightreverserepurchaseagreements": ("Overnight Reverse Repurchase Agreements", REPO),
    "termreverserepurchaseagreements": ("Term Reverse Repurchase Agreements", REPO),
    "non-u.s.treasurybills": ("Non-U.S. Treasury Bills", FOREIGN_BILLS),
    "corporatebonds,funds&preciousmetals": ("Corporate Bonds, Funds & Precious Metals", MIXED),
    "corporatebonds": ("Corporate Bonds", CORPORATE_BONDS),
    "preciousmetals": ("Precious Metals", PRECIOUS_METALS),
    "bitcoin": ("Bitcoin", BITCOIN),
    "bitcoins": ("Bitcoin", BITCOIN),
    "publicequities": ("Public Equities", EQUITIES),
    "otherinvestments": ("Other Investments", OTHER),
    "securedloans": ("Secured Loans", LOANS),
}
_AMOUNT = r"\d{1,3}(?:, ?\d{3})+"
_WHOLE = re.compile(rf"(?<![\d,.$]){_AMOUNT}(?![\d,])")
_DATE = r"(\d{1,2})\s*([A-Za-z]{3,9})\s*(\d{4})"


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
    """The rows of a report, by whoever it is of."""
    return parse_text(raw, pdf.pages(raw.body))


def parse_text(raw: Raw, pages: Sequence[str]) -> list[Row]:
    """The rows of a report from the text of its pages."""
    texts = [" ".join(unicodedata.normalize("NFKC", page).split()) for page in pages]
    whole = " ".join(texts)
    for mark, read in _READERS.items():
        if re.search(mark, whole, re.IGNORECASE):
            return read(raw, whole)
    raise SchemaChanged("not a report that is known: Tether, Circle (USDC) or First Digital")


# --- Tether ---------------------------------------------------------------------------------


def _tether(raw: Raw, text: str) -> list[Row]:
    table = re.search(
        rf"Asset ?Category ?Amount ?in ?USD(.*?)Total ?\([\d+ ]+\) ?({_AMOUNT})", text
    )
    if table is None:
        raise SchemaChanged("there is no table from `Asset Category` to `Total (1+2…)`")
    total = _money(table[2])
    lines, subtotal = _tether_lines(table[1])
    require_sum([x.usd for x in lines[: subtotal[0]]], subtotal[1], "lines up to the subtotal")
    require_sum([subtotal[1], *(x.usd for x in lines[subtotal[0] :])], total, "the whole table")
    squeezed = text.replace(" ", "")
    lines = _with_bitcoin_price(lines, squeezed)
    gate = "lines = subtotal and subtotal + rest = total, to the dollar"

    liabilities = token_liabilities = equity = None
    said = re.search(
        rf"liabilities[^.$]{{0,60}}amounttoUS\$({_AMOUNT}),?ofwhichUS\$({_AMOUNT})", squeezed
    )
    if said:
        liabilities, token_liabilities = _money(said[1]), _money(said[2])
        gate += "; the liabilities are as stated"
    if said and (more := re.search(rf"exceed[^$]{{0,90}}byUS\$({_AMOUNT})", squeezed)):
        equity = _money(more[1])
        require_sum([total, -_money(said[1])], equity, "reserves less liabilities")
        gate += ", reserves - liabilities = excess"
    stated = re.search(
        rf"amounttoatleastUS\$({_AMOUNT})|circulationamounttoUS\$({_AMOUNT})", squeezed
    )
    if stated:
        require_sum([total], _money(stated[1] or stated[2]), "the table against the text")
    as_of = _date(re.search(rf"as\s?of\s?{_DATE}", text), "the reporting date")
    signed = _date(
        re.search(rf"Authori[sz]ed ?& ?approved ?(?:on)? ?{_DATE}", text, re.IGNORECASE),
        "the date of approval",
    )
    published = end_of(signed)
    rows = statement(
        raw,
        token="USDT",
        issuer="Tether",
        kind=TETHER_KIND,
        evidence=ATTESTED,
        as_of=as_of,
        assets=total,
        liabilities=liabilities,
        equity=equity,
        lines=lines,
        gate=gate,
        citation=f"report as of {as_of}, approved {signed}, {raw.name}",
        published=published,
        basis=BY_SOURCE,
    )
    gross = re.search(rf"redemptionvalue[^$]{{0,90}}US\$\.?({_AMOUNT})", squeezed)
    held = re.search(rf"treasurywalletisequaltoUS\$\.?({_AMOUNT})", squeezed)
    if gross and held and token_liabilities is not None:
        rows.append(
            supply(
                raw,
                token="USDT",
                chain="all",
                kind=TETHER_KIND,
                evidence=ATTESTED,
                as_of=as_of,
                unit="USD at redemption",
                authorized=_money(gross[1]),
                held=_money(held[1]),
                circulating=token_liabilities,
                published=published,
                basis=BY_SOURCE,
            )
        )
    return rows


def _tether_lines(table: str) -> tuple[list[Line], tuple[int, Decimal]]:
    """The lines, and how many of them come before the subtotal, with its amount."""
    lines: list[Line] = []
    subtotal = None
    begin = 0
    for amount in _WHOLE.finditer(table):
        label = re.sub(r"\s", "", table[begin : amount.start()]).lower()
        label = label.rstrip("0123456789").rstrip(":")
        begin = amount.end()
        if label.endswith("subtotal"):
            subtotal = (len(lines), _money(amount[0]))
            continue
        key = max((k for k in TETHER_LABELS if label.endswith(k)), key=len, default=None)
        if key is None:
            raise SchemaChanged(f"no class is known for the line {visible(label, 60)!r}")
        lines.append(Line(*TETHER_LABELS[key], _money(amount[0])))
    if subtotal is None:
        raise SchemaChanged("the table has no subtotal")
    return lines, subtotal


def _with_bitcoin_price(lines: Sequence[Line], squeezed: str) -> list[Line]:
    """The lines, bitcoin's with the price a footnote says it was valued at."""
    said = re.search(r"BTCpriceUSD([\d,]+(?:\.\d+)?)", squeezed)
    if said is None:
        return list(lines)
    price = exact(said[1], "the bitcoin price", GROUPED)
    return [
        Line(x.label, x.asset_class, x.usd, price, "BTC") if x.asset_class == BITCOIN else x
        for x in lines
    ]


# --- Circle ---------------------------------------------------------------------------------

_CIRCLE_SECTION = re.compile(
    r"CIRCLE RESERVE FUND ASSETS AS OF ([A-Z]+ \d{1,2}, \d{4})(.*?)"
    rf"TOTAL USDC RESERVE ASSETS AS OF \1 \$? ?({_AMOUNT})"
)
_CIRCLE_LINES = (
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


def _circle(raw: Raw, text: str) -> list[Row]:
    sections = list(_CIRCLE_SECTION.finditer(text))
    if not sections:
        raise SchemaChanged("there is no section `CIRCLE RESERVE FUND ASSETS AS OF`")
    days = [day(s[1].title(), "%B %d, %Y", "a report date") for s in sections]
    signed = _circle_signed(text, max(days))
    circulating = _circle_circulation(text, len(days))
    rows: list[Row] = []
    for n, (as_of, section) in enumerate(zip(days, sections, strict=True)):
        stated = _money(section[3])
        lines = _circle_lines(section[2], stated, as_of)
        rows += statement(
            raw,
            token="USDC",
            issuer="Circle",
            kind=MONTHLY_KIND,
            evidence=ATTESTED,
            as_of=as_of,
            assets=stated,
            liabilities=circulating[n] if circulating else None,
            lines=lines,
            gate="lines = fund, lines = other, fund + other = total, to the dollar",
            citation=f"report of {as_of}, signed {signed}, {raw.name}",
            published=end_of(signed),
            basis=BY_SOURCE,
        )
    return rows


def _circle_lines(section: str, stated: Decimal, as_of: date) -> list[Line]:
    head = re.match(rf".*?TOTAL U\.S\. TREASURY SECURITIES \$? ?({_AMOUNT})", section)
    if head is None:
        raise SchemaChanged(f"{as_of}: there is no TOTAL U.S. TREASURY SECURITIES")
    treasuries = _money(head[1])
    positions = re.findall(rf"\d\d/\d\d/\d\d \$? ?({_AMOUNT})", head[0])
    # Each position is rounded to the dollar.
    slack = Decimal(len(positions)) / 2
    require_sum(map(_money, positions), treasuries, f"{as_of}: treasuries by position", slack)
    rest = section[head.end() :]
    lines = [Line("US Treasury securities", TREASURY_BILLS, treasuries)]
    group, totals = [treasuries], []
    at = 0
    for pattern, label, asset_class in _CIRCLE_LINES:
        found = re.compile(rf"{pattern} \$? ?(\(?{_AMOUNT}\)?|\(?\d{{1,3}}\)?|-)(?= |$)").search(
            rest, at
        )
        if found is None:
            # Lines come and go; a total that is missing lets the next sum fail.
            continue
        at = found.end()
        amount = _money(found[1])
        if label:
            lines.append(Line(label, asset_class, amount))
            group.append(amount)
        else:
            require_sum(group, amount, f"{as_of}: {pattern.lower()}")
            totals.append(amount)
            group = []
    require_sum(totals, stated, f"{as_of}: fund + other")
    return lines


def _circle_signed(text: str, newest: date) -> date:
    """The date beside the signature: the last one after the report dates."""
    found = [
        day(f"{m[1]} {m[2]} {m[3]}", "%B %d %Y")
        for m in re.finditer(r"\b([A-Z][a-z]{2,8}) (\d{1,2}) ?, ?(\d{4})", text)
        if m[1] in calendar.month_name
    ]
    later = [d for d in found if d > newest]
    if not later:
        raise SchemaChanged("there is no date of signature after the report dates")
    return later[-1]


def _circle_circulation(text: str, sections: int) -> list[Decimal] | None:
    said = re.search(
        r"USDC in Circulation \(as defined in the criteria below\)(?: \d)?"
        rf"((?: \$? ?{_AMOUNT}){{{sections}}})",
        text,
    )
    return None if said is None else [_money(a) for a in re.findall(_AMOUNT, said[1])]


# --- First Digital --------------------------------------------------------------------------

_FIRST_DIGITAL_CLASSES = (
    (r"repurchase|reverse repo", REPO),
    (r"treasury", TREASURY_BILLS),
    (r"deposit|cash|custody|dollars held", CASH),
)
# Heading → name, class, and what its lines may read like: a repurchase agreement is listed by its
# collateral.
_FIRST_DIGITAL_HEADING = re.compile(
    r"(?P<repo>Held Pursuant to (?:[A-Z]\w+ ){0,2}Repurchase Agreements?)"
    r"|(?P<deposits>Fixed Deposits)\b"
)
_FIRST_DIGITAL_SECTIONS = {
    "repo": ("Repurchase agreements", REPO, frozenset({REPO, TREASURY_BILLS})),
    "deposits": ("Fixed deposits", CASH, frozenset({CASH})),
}
# Stated as one sum, without lines.
_FIRST_DIGITAL_ALONE = re.compile(r"dollars held|held in custody", re.IGNORECASE)
_CENTS = re.compile(r"(?:US)?\$? ?((?:\d{1,3}(?:,\d{3})+|\d{1,3})\.\d\d)(?![\d.])")


def _first_digital(raw: Raw, text: str) -> list[Row]:
    table = re.search(
        r"Description (.*?Total (?:assets held in )?Reserve Accounts:? ?(?:US)?\$? ?"
        r"(?:\d{1,3}(?:,\d{3})+)\.\d\d)",
        text,
        re.IGNORECASE,
    )
    if table is None:
        raise SchemaChanged("there is no table from `Description` to `Total Reserve Accounts`")
    lines, stated = _first_digital_lines(table[1])
    require_sum([x.usd for x in lines], stated, "all lines")
    as_of = _first_digital_day(text)
    rows = statement(
        raw,
        token="FDUSD",
        issuer="First Digital",
        kind=MONTHLY_KIND,
        evidence=ATTESTED,
        as_of=as_of,
        assets=stated,
        lines=lines,
        gate="lines = sum of their section and all lines = total, to the cent",
        citation=f"report of {as_of}, {raw.name}",
    )
    issued = re.search(r"in circulation .{0,40}?((?:\d{1,3},)+\d{3}\.\d\d)", text)
    if issued:
        rows.append(
            supply(
                raw,
                token="FDUSD",
                chain="all",
                kind=MONTHLY_KIND,
                evidence=ATTESTED,
                as_of=as_of,
                circulating=exact(issued[1], "tokens in circulation", GROUPED),
            )
        )
    return rows


def _first_digital_lines(table: str) -> tuple[list[Line], Decimal]:
    """The lines of all sections, and the total that is stated for them."""
    found = _Sections()
    begin = 0
    for amount in _CENTS.finditer(table):
        words = table[begin : amount.start()].strip(" :$")
        begin = amount.end()
        usd = exact(amount[1], "an amount", GROUPED)
        total = re.search(r"(?:\(\w\) )?\b(?:sub-?)?total\b(?!.*\btotal\b)", words, re.IGNORECASE)
        label = words[total.start() :] if total else words
        ahead = words[: total.start()] if total else words
        for heading in _FIRST_DIGITAL_HEADING.finditer(ahead):
            if heading.end() < len(words):  # else it is the line itself
                found.head(*_FIRST_DIGITAL_SECTIONS[heading.lastgroup or ""])
                label = label if total else words[heading.end() :].strip(" :")
        if total and re.search(r"total (?:assets held in )?reserve accounts", label, re.IGNORECASE):
            found.end()
            return found.lines, usd
        if total and not _FIRST_DIGITAL_ALONE.search(label):
            found.sum(label, usd)
        else:
            found.line(label, usd)
    raise SchemaChanged("the table has no lines")


class _Sections:
    """The lines of a table whose sections have a heading, lines and a sum each.

    A line is of its section's class. The first section has no heading of its own, and what is
    stated as one sum stands in none: both are of the class that their words name.
    """

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._summed = 0  # lines that are in a sum of their own
        self._name, self._class, self._like = "", "", frozenset[str]()
        self._first = True

    def head(self, name: str, asset_class: str, like: frozenset[str]) -> None:
        """A section begins; SchemaChanged where the one before it waits for its sum."""
        if self._summed < len(self.lines):
            raise SchemaChanged(f"the section of {self.lines[-1].label!r} has no sum")
        self._name, self._class, self._like, self._first = name, asset_class, like, False

    def line(self, label: str, usd: Decimal) -> None:
        """A line; SchemaChanged where its words and its section do not make one class."""
        alone = _FIRST_DIGITAL_ALONE.search(label) is not None
        if alone and not self._first:
            self.head("", "", frozenset())
        found, said = _first_digital_classes(label), visible(label[-60:], 60)
        if self._name:
            if found - self._like:
                raise SchemaChanged(f"under {self._name} stands a line of another class: {said!r}")
            found, said = {self._class}, visible(f"{self._name}: {label}", 60)
        elif len(found) != 1:
            known = "several classes are" if found else "no class is"
            raise SchemaChanged(f"{known} known for the line {said!r}")
        elif not self._first and not alone:
            raise SchemaChanged(f"the line {said!r} stands under no heading that is known")
        self.lines.append(Line(said, found.pop(), usd))
        if alone and not self._first:
            self._summed = len(self.lines)

    def sum(self, label: str, usd: Decimal) -> None:
        """The sum of the section; refused where its lines do not make it up."""
        waiting = self.lines[self._summed :]
        classes = {x.asset_class for x in waiting} or {self._class}
        if len(classes) > 1 or _first_digital_classes(label) - classes:
            raise SchemaChanged(f"{visible(label[-60:], 60)!r} is the sum of another class")
        require_sum([x.usd for x in waiting], usd, f"lines up to {label[-40:]!r}")
        self._summed = len(self.lines)
        self.head("", "", frozenset())

    def end(self) -> None:
        """The table ends; one without any section has no sum but its total."""
        if not self._first:
            self.head("", "", frozenset())


def _first_digital_classes(words: str) -> set[str]:
    return {c for pattern, c in _FIRST_DIGITAL_CLASSES if re.search(pattern, words, re.IGNORECASE)}


def _first_digital_day(text: str) -> date:
    at = r"(?: at|, recorded at)? ?\d{1,2}:\d\d ?[ap]m"
    if m := re.search(rf"([A-Z][a-z]+ \d{{1,2}}, \d{{4}}){at}", text, re.IGNORECASE):
        return day(m[1], "%B %d, %Y", "the report date")
    return _date(re.search(rf"as of {_DATE}", text, re.IGNORECASE), "the report date")


# --- words and numbers ----------------------------------------------------------------------

_READERS: dict[str, Callable[[Raw, str], list[Row]]] = {
    r"USDC\s*Reserve\s*Report": _circle,
    r"FDUSD": _first_digital,
    r"Tether": _tether,
}


def _money(text: str) -> Decimal:
    """ "1,234" as 1234, "(1,234)" as -1234, "-" as 0."""
    if text == "-":
        return Decimal(0)
    sign = -1 if text.startswith("(") else 1
    return sign * exact(text.strip("()").replace(" ", ""), "an amount", GROUPED)


def _date(found: re.Match[str] | None, what: str) -> date:
    if found is None:
        raise SchemaChanged(f"{what} is not in the text")
    return day(f"{found[1]} {found[2].title()} {found[3]}", "%d %B %Y", what)
