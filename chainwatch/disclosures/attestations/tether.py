"""Tether's quarterly report: the table of reserves against the sentences around it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import msgspec

from chainwatch.collect.document import Raw, SchemaChanged
from chainwatch.disclosures.attestations.text import AMOUNT, DATE, date_of, money
from chainwatch.disclosures.formats import end_of, exact
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
    TREASURY_BILLS,
    Disclosure,
    ReserveLine,
    require_sum,
)
from chainwatch.disclosures.vintages import BY_SOURCE
from chainwatch.numbers import GROUPED
from chainwatch.tables.base import Row
from chainwatch.text import visible

KIND = "quarterly report"
# Label without blanks and footnote → class; the longest that ends the words before an amount.
LABELS = {
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
_TABLE_AMOUNT = re.compile(rf"(?<![\d,.$]){AMOUNT}(?![\d,])")


class StatedTotals(msgspec.Struct, frozen=True):
    """What the sentences state beside the table, and the identities that were checked."""

    gate: str
    liabilities: Decimal | None = None
    token_liabilities: Decimal | None = None
    equity: Decimal | None = None


def parse(raw: Raw, text: str) -> list[Row]:
    """The rows of a report from its text."""
    table = re.search(rf"Asset ?Category ?Amount ?in ?USD(.*?)Total ?\([\d+ ]+\) ?({AMOUNT})", text)
    if table is None:
        raise SchemaChanged("there is no table from `Asset Category` to `Total (1+2…)`")
    total = money(table[2])
    lines, subtotal = _lines(table[1])
    require_sum([x.usd for x in lines[: subtotal[0]]], subtotal[1], "lines up to the subtotal")
    require_sum([subtotal[1], *(x.usd for x in lines[subtotal[0] :])], total, "the whole table")
    squeezed = text.replace(" ", "")
    lines = _with_bitcoin_price(lines, squeezed)
    totals = _totals(squeezed, total)
    as_of = date_of(re.search(rf"as\s?of\s?{DATE}", text), "the reporting date")
    signed = date_of(
        re.search(rf"Authori[sz]ed ?& ?approved ?(?:on)? ?{DATE}", text, re.IGNORECASE),
        "the date of approval",
    )
    disclosure = _disclosure(raw, as_of, signed)
    rows = disclosure.statement(
        assets=total,
        liabilities=totals.liabilities,
        equity=totals.equity,
        lines=lines,
        gate=totals.gate,
        citation=f"report as of {as_of}, approved {signed}, {raw.name}",
    )
    gross = re.search(rf"redemptionvalue[^$]{{0,90}}US\$\.?({AMOUNT})", squeezed)
    held = re.search(rf"treasurywalletisequaltoUS\$\.?({AMOUNT})", squeezed)
    if gross and held and totals.token_liabilities is not None:
        rows.append(
            disclosure.supply(
                unit="USD at redemption",
                authorized=money(gross[1]),
                held=money(held[1]),
                circulating=totals.token_liabilities,
            )
        )
    return rows


def _disclosure(raw: Raw, as_of: date, signed: date) -> Disclosure:
    return Disclosure(
        raw=raw,
        token="USDT",
        issuer="Tether",
        kind=KIND,
        evidence=ATTESTED,
        as_of=as_of,
        published=end_of(signed),
        basis=BY_SOURCE,
    )


def _totals(squeezed: str, total: Decimal) -> StatedTotals:
    """Liabilities and excess as the sentences state them; `squeezed` is the text without blanks.

    Raises Irreconcilable where they do not fit the table's total.
    """
    gate = "lines = subtotal and subtotal + rest = total, to the dollar"
    liabilities = token_liabilities = equity = None
    owed = re.search(
        rf"liabilities[^.$]{{0,60}}amounttoUS\$({AMOUNT}),?ofwhichUS\$({AMOUNT})", squeezed
    )
    if owed:
        liabilities, token_liabilities = money(owed[1]), money(owed[2])
        gate += "; the liabilities are as stated"
        if excess := re.search(rf"exceed[^$]{{0,90}}byUS\$({AMOUNT})", squeezed):
            equity = money(excess[1])
            require_sum([total, -liabilities], equity, "reserves less liabilities")
            gate += ", reserves - liabilities = excess"
    stated = re.search(
        rf"amounttoatleastUS\$({AMOUNT})|circulationamounttoUS\$({AMOUNT})", squeezed
    )
    if stated:
        require_sum([total], money(stated[1] or stated[2]), "the table against the text")
    return StatedTotals(gate, liabilities, token_liabilities, equity)


def _lines(table: str) -> tuple[list[ReserveLine], tuple[int, Decimal]]:
    """The lines, and how many of them come before the subtotal, with its amount."""
    lines: list[ReserveLine] = []
    subtotal = None
    begin = 0
    for amount in _TABLE_AMOUNT.finditer(table):
        label = re.sub(r"\s", "", table[begin : amount.start()]).lower()
        label = label.rstrip("0123456789").rstrip(":")
        begin = amount.end()
        if label.endswith("subtotal"):
            subtotal = (len(lines), money(amount[0]))
            continue
        key = max((k for k in LABELS if label.endswith(k)), key=len, default=None)
        if key is None:
            raise SchemaChanged(f"no class is known for the line {visible(label, 60)!r}")
        lines.append(ReserveLine(*LABELS[key], money(amount[0])))
    if subtotal is None:
        raise SchemaChanged("the table has no subtotal")
    return lines, subtotal


def _with_bitcoin_price(lines: Sequence[ReserveLine], squeezed: str) -> list[ReserveLine]:
    """The lines; bitcoin's with the price at which it was valued, from a footnote."""
    price_note = re.search(r"BTCpriceUSD([\d,]+(?:\.\d+)?)", squeezed)
    if price_note is None:
        return list(lines)
    price = exact(price_note[1], "the bitcoin price", GROUPED)
    return [
        ReserveLine(x.label, x.asset_class, x.usd, price, "BTC") if x.asset_class == BITCOIN else x
        for x in lines
    ]
