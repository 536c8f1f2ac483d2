"""Whether all debt was found: what the accounts of a snapshot owe, beside the contract's own sums.

An endpoint that leaves out event logs loses accounts, and nothing that is read of the others shows
it. The contracts keep sums over all accounts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from chainwatch.lending.integers import unit_of
from chainwatch.lending.protocol import DebtTotal, LegValue, MarketView
from chainwatch.lending.snapshots import Stamp
from chainwatch.tables.lending import DebtCoverage

# Rounding of single accounts and sums that contracts round at each accrual leave no more than this.
LEAST_SHARE = 0.999
_ROUNDING = 1_000  # token units


def debt_coverage(
    stamp: Stamp,
    view: MarketView,
    totals: Sequence[DebtTotal],
    legs: Iterable[Iterable[LegValue]],
    others: Mapping[tuple[str, str], int] = {},
) -> list[DebtCoverage]:
    """A row per sum; `legs` are those of each account, `others` the sums of further accounts."""
    columns: dict[str, set[str]] = {}
    for total in totals:
        columns.setdefault(total.asset, set()).add(total.column)
    sums = dict(others)
    for own in legs:
        for leg in own:
            if leg.side != "debt":
                continue
            for column in columns.get(leg.asset, ()):
                amount = leg.scaled if column == "scaled" else leg.stored.get(column) or 0
                sums[leg.asset, column] = sums.get((leg.asset, column), 0) + amount
    prices = {r.asset: (r.price_usd, r.decimals) for r in view.reserves}
    rows = []
    for total in totals:
        price, decimals = prices.get(total.asset, (None, 0))
        rows.append(
            DebtCoverage(
                **stamp.reading.row | {"snapshot": stamp.snapshot},
                asset=total.asset,
                measure=total.measure,
                account_sum=sums.get((total.asset, total.column), 0),
                contract_total=total.total,
                total_usd=None if price is None else total.raw / unit_of(decimals) * price,
            )
        )
    return rows


def incomplete(rows: Iterable[DebtCoverage]) -> list[DebtCoverage]:
    """The sums of which so much is missing that accounts were not found.

    A few token units may be missing: contracts round in favour of themselves.
    """
    return [
        row
        for row in rows
        if row.account_sum < row.contract_total * LEAST_SHARE
        and row.contract_total - row.account_sum > _ROUNDING
    ]


def missing_debt(row: DebtCoverage, symbols: Mapping[str, str]) -> str:
    """What a sum lacks, in words."""
    owed = "" if row.total_usd is None else f" (worth {row.total_usd:,.0f} USD)"
    share = row.account_sum / row.contract_total
    return f"{share:.2%} of the {row.measure} of {symbols.get(row.asset, row.asset)}{owed}"
