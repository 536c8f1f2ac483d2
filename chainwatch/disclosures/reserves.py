"""What disclosures of reserves have in common: classes of assets, and statements with their lines.

A statement is accepted only where its own sums hold (`Line`s add up to the total it states); the
identity that was checked is stored with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from chainwatch.collect.document import Irreconcilable, Raw
from chainwatch.disclosures import documents, formats
from chainwatch.disclosures.documents import BY_OBSERVATION
from chainwatch.tables.base import Row
from chainwatch.tables.disclosure import ReserveItem, Statement, Supply

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE, FUND, ATTESTED, CHAIN = "issuer page", "fund file", "attestation", "on chain"

TREASURY_BILLS = "US treasuries"
REPO = "treasury repo"
MONEY_MARKET = "money market funds"
CASH = "cash and deposits"
FOREIGN_BILLS = "foreign treasuries"
COMMERCIAL_PAPER = "commercial paper"
CORPORATE_BONDS = "corporate bonds"
PRECIOUS_METALS = "precious metals"
BITCOIN = "bitcoin"
OTHER_CRYPTO = "other crypto"
EQUITIES = "public equities"
LOANS = "secured loans"
OTHER = "other investments"
MIXED = "bonds and metals"  # one line of 2022, never split
SETTLEMENT = "settlement"
UNCLASSIFIED = "unclassified"

CLASSES = (
    TREASURY_BILLS,
    REPO,
    MONEY_MARKET,
    CASH,
    FOREIGN_BILLS,
    COMMERCIAL_PAPER,
    CORPORATE_BONDS,
    PRECIOUS_METALS,
    BITCOIN,
    OTHER_CRYPTO,
    EQUITIES,
    LOANS,
    OTHER,
    MIXED,
    SETTLEMENT,
    UNCLASSIFIED,
)


class Line(msgspec.Struct, frozen=True):
    """One line of a composition: label as stated, class, USD, and the price it was valued at."""

    label: str
    asset_class: str
    usd: Decimal
    unit_price: Decimal | None = None
    unit: str | None = None


def statement(
    raw: Raw,
    *,
    token: str,
    issuer: str,
    kind: str,
    evidence: str,
    as_of: date,
    assets: Decimal | None,
    gate: str,
    lines: Sequence[Line] = (),
    liabilities: Decimal | None = None,
    equity: Decimal | None = None,
    unit: str = "USD",
    citation: str = "",
    published: datetime | None = None,
    basis: str = BY_OBSERVATION,
) -> list[Row]:
    """A statement with its lines as rows. The sums are the caller's to check."""
    figures = [assets, liabilities, equity, *((x.label, x.usd, x.unit_price) for x in lines)]
    mark = formats.digest(figures)
    name = f"{token}:{kind.replace(' ', '-')}:{as_of}:{mark}"
    items = [
        ReserveItem(
            statement=name,
            line=number,
            token=token,
            as_of=as_of,
            label=x.label,
            asset_class=x.asset_class,
            usd=x.usd,
            quantity=None if not x.unit_price else ratio(x.usd, x.unit_price),
            quantity_unit=x.unit if x.unit_price else None,
            unit_price=x.unit_price,
        )
        for number, x in enumerate(lines, start=1)
    ]
    whole = Statement(
        statement=name,
        token=token,
        issuer=issuer,
        kind=kind,
        evidence=evidence,
        as_of=as_of,
        unit=unit,
        assets=assets,
        liabilities=liabilities,
        equity=equity,
        gate=gate,
        citation=citation or f"{raw.name}, {raw.url}",
        **documents.seen(raw, published, basis),
    )
    return [*items, whole]


def supply(
    raw: Raw,
    *,
    token: str,
    chain: str,
    kind: str,
    evidence: str,
    as_of: date,
    circulating: Decimal | None,
    unit: str = "tokens",
    authorized: Decimal | None = None,
    not_issued: Decimal | None = None,
    quarantined: Decimal | None = None,
    held: Decimal | None = None,
    other: Decimal | None = None,
    listed: bool = True,
    published: datetime | None = None,
    basis: str = BY_OBSERVATION,
) -> Supply:
    """Tokens of one chain, or of all, as a row."""
    return Supply(
        token=token,
        chain=chain,
        kind=kind,
        evidence=evidence,
        as_of=as_of,
        unit=unit,
        authorized=authorized,
        not_issued=not_issued,
        quarantined=quarantined,
        held=held,
        other=other,
        circulating=circulating,
        listed=listed,
        **documents.seen(raw, published, basis),
    )


def ratio(above: Decimal, below: Decimal) -> Decimal:
    """A quotient with as many decimals as are stored."""
    return (above / below).quantize(Decimal(10) ** -8)


def require_sum(
    parts: Iterable[Decimal], stated: Decimal, what: str, tolerance: Decimal = Decimal(0)
) -> None:
    """Raise Irreconcilable with both sums where parts do not add up to what is stated."""
    found = formats.total(parts)
    if abs(found - stated) > tolerance:
        raise Irreconcilable(
            f"{what}: the parts add up to {found:,f}, stated are {stated:,f} "
            f"(difference {found - stated:,f})"
        )
