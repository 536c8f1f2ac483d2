"""Disclosures of reserves: classes of assets, statements with their lines, and supplies.

A statement is accepted only where its own sums hold (its lines add up to the total it states); the
identity that was checked is stored with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from chainwatch.collect.document import Irreconcilable, Raw
from chainwatch.disclosures import formats
from chainwatch.disclosures.vintages import BY_OBSERVATION, provenance_columns
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


class ReserveLine(msgspec.Struct, frozen=True):
    """One line of a composition: label as stated, class, USD, and the price it was valued at."""

    label: str
    asset_class: str
    usd: Decimal
    unit_price: Decimal | None = None
    unit: str | None = None


class Disclosure(msgspec.Struct, frozen=True, kw_only=True):
    """What a document discloses of one token and day; its statement and supplies become rows.

    `published` is None where the document does not say when it was published.
    """

    raw: Raw
    token: str
    issuer: str
    kind: str
    evidence: str
    as_of: date
    published: datetime | None = None
    basis: str = BY_OBSERVATION

    def statement(
        self,
        *,
        assets: Decimal | None,
        gate: str,
        lines: Sequence[ReserveLine] = (),
        liabilities: Decimal | None = None,
        equity: Decimal | None = None,
        unit: str = "USD",
        citation: str = "",
    ) -> list[Row]:
        """A statement with its lines as rows. The sums are the caller's to check.

        `gate` names the identities that were checked.
        """
        figures = [assets, liabilities, equity, *((x.label, x.usd, x.unit_price) for x in lines)]
        mark = formats.digest(figures)
        name = f"{self.token}:{self.kind.replace(' ', '-')}:{self.as_of}:{mark}"
        items = [
            ReserveItem(
                statement=name,
                line=number,
                token=self.token,
                as_of=self.as_of,
                label=x.label,
                asset_class=x.asset_class,
                usd=x.usd,
                quantity=None if not x.unit_price else ratio(x.usd, x.unit_price),
                quantity_unit=x.unit if x.unit_price else None,
                unit_price=x.unit_price,
            )
            for number, x in enumerate(lines, start=1)
        ]
        statement = Statement(
            statement=name,
            token=self.token,
            issuer=self.issuer,
            kind=self.kind,
            evidence=self.evidence,
            as_of=self.as_of,
            unit=unit,
            assets=assets,
            liabilities=liabilities,
            equity=equity,
            gate=gate,
            citation=citation or f"{self.raw.name}, {self.raw.url}",
            **provenance_columns(self.raw, self.published, self.basis),
        )
        return [*items, statement]

    def supply(
        self,
        *,
        circulating: Decimal | None,
        chain: str = "all",
        unit: str = "tokens",
        authorized: Decimal | None = None,
        not_issued: Decimal | None = None,
        quarantined: Decimal | None = None,
        held: Decimal | None = None,
        listed: bool = True,
    ) -> Supply:
        """Tokens of one chain, or of all, as a row."""
        return Supply(
            token=self.token,
            chain=chain,
            kind=self.kind,
            evidence=self.evidence,
            as_of=self.as_of,
            unit=unit,
            authorized=authorized,
            not_issued=not_issued,
            quarantined=quarantined,
            held=held,
            circulating=circulating,
            listed=listed,
            **provenance_columns(self.raw, self.published, self.basis),
        )


def ratio(above: Decimal, below: Decimal) -> Decimal:
    """A quotient with as many decimals as are stored."""
    return (above / below).quantize(Decimal(10) ** -8)


def require_sum(
    parts: Iterable[Decimal], stated: Decimal, what: str, tolerance: Decimal = Decimal(0)
) -> None:
    """Raise Irreconcilable with both sums where parts do not add up to the stated sum."""
    total = formats.total(parts)
    if abs(total - stated) > tolerance:
        raise Irreconcilable(
            f"{what}: the parts add up to {total:,f}, stated are {stated:,f} "
            f"(difference {total - stated:,f})"
        )
