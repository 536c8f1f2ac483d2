"""Balances in the lines of a file of any other source.

Three shapes of CSV or Parquet are understood; other column names are mapped onto these.

balances, one row per balance:
    account                    any text of up to 80 characters that names the account
    asset                      any such text that names the asset
    side                       collateral or debt
    amount                     whole tokens
    price                      of one token, in the quote currency
    liquidation_threshold      collateral: fraction (0.83) …
    liquidation_threshold_bps  … or basis points (8300); one of the two; 0 for no collateral
    bonus, bonus_bps           collateral, optional: 0.05 or 500; one of the two
                               (thresholds and bonuses are at most 1.5)
    factor                     optional: what moves the price; without it the asset itself
    factor_price               optional: the price of the factor; without it the price of the
                               asset of its name, or the only price of the assets it moves

accounts, one row per account with what its protocol reports:
    account, collateral, debt  values in the quote currency
    liquidation_threshold(_bps), bonus(_bps)  as above, of all collateral
    health_factor                             in place of the threshold: that is health factor times
                                              debt over collateral, as far as both are above 0
    collateral_asset, debt_asset              optional; without them "collateral" and "debt"

wide, one row per account with a column per asset and side:
    account
    collateral:WETH, debt:USDC …              whole tokens; empty or 0 where there are none
    price:WETH …                              of one token; 1 where the columns are values
    liquidation_threshold(_bps):WETH, bonus(_bps):WETH, factor:WETH, factor_price:WETH
                                              as above; threshold and bonus without :WETH are those
                                              of all assets that have none of their own
    health_factor                             in place of the threshold, in lines with one
                                              collateral and at most one debt

A column may also be one value for all lines (`constants`). The values in a line:
chainwatch.lending.imported_columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.errors import UsageError
from chainwatch.lending.imported_columns import (
    ACCOUNT_COLUMNS,
    ASSET_TERMS,
    BALANCE_COLUMNS,
    MAX_FRACTION,
    NAME_LENGTH,
    SIDES,
    Columns,
    asset_of,
    fraction,
    number,
    numbered,
    positions,
    text,
    with_constants,
)
from chainwatch.numbers import Form
from chainwatch.text import visible

# What accounts hold and owe where their file does not name it.
COLLATERAL, DEBT = "collateral", "debt"
# One account's value in every asset of a side.
_Amounts = list[tuple["_WideAsset", float]]


class ImportedBalance(msgspec.Struct, frozen=True):
    """What an account has in one asset, in whole tokens; `lt` and `bonus` are fractions."""

    account: str
    asset: str
    side: str
    amount: float
    price: float
    lt: float
    bonus: float
    factor: str
    factor_price: float | None = None


def read_balances(
    header: Sequence[str],
    lines: Sequence[Sequence[Any]],
    mapping: Mapping[str, str],
    form: Form,
    constants: Mapping[str, str] | None = None,
) -> list[ImportedBalance]:
    """The balances of all lines below a header.

    `mapping` is our column → the file's, `constants` our column → its value in every line. Raises
    UsageError for the first line or column that does not fit.
    """
    places = positions(header, mapping)
    if constants:
        places, lines = with_constants(places, len(header), lines, constants)
    columns = Columns(places, form)
    if any(asset_of(c) is not None and c.startswith(SIDES) for c in places):
        read_line = _wide_reader(columns)
    elif all(c in columns for c in BALANCE_COLUMNS):
        read_line = _from_balance
    elif all(c in columns for c in ACCOUNT_COLUMNS):
        read_line = _from_account
    else:
        raise UsageError(
            f"it needs the columns {', '.join(BALANCE_COLUMNS)} (a row per balance), or "
            f"{', '.join(ACCOUNT_COLUMNS)} (a row per account), or account and columns such as "
            "collateral:WETH and debt:USDC; it has "
            f"{', '.join(visible(c, 40) for c in header) or 'none'}: "
            "name them with --map OURS=THEIRS"
        )
    balances = [b for number, line in numbered(lines) for b in read_line(columns, line, number)]
    if not balances:
        raise UsageError("it has no positions: expected at least one row below the header")
    return balances


def _factor_price(columns: Columns, line: Sequence[Any], at: int) -> float | None:
    return number(columns, line, "factor_price", at, default=0.0) or None


def _threshold(columns: Columns, line: Sequence[Any], at: int, held: float) -> float:
    """The liquidation threshold of collateral; it may be missing only where nothing is held."""
    return fraction(columns, line, "liquidation_threshold", at, default=None if held else 0.0)


def _threshold_of_account(
    columns: Columns, line: Sequence[Any], at: int, held: float, owed: float
) -> float:
    """The threshold as given, or as the health factor gives it."""
    given = {"liquidation_threshold", "liquidation_threshold_bps"} & columns.keys()
    if given or "health_factor" not in columns:
        return _threshold(columns, line, at, held)
    return _threshold_by_health_factor(columns, line, at, held, owed)


def _threshold_by_health_factor(
    columns: Columns, line: Sequence[Any], at: int, held: float, owed: float
) -> float:
    """Health factor × debt / collateral; 0 where either is 0 and it cannot be told."""
    if not held or not owed:
        return 0.0
    threshold = number(columns, line, "health_factor", at) * owed / held
    if threshold > MAX_FRACTION:
        raise UsageError(
            f"line {at}: health_factor: with this debt and collateral it gives a liquidation "
            f"threshold of {threshold:.4g}, expected at most {MAX_FRACTION}"
        )
    return threshold


def _from_balance(columns: Columns, line: Sequence[Any], at: int) -> Iterator[ImportedBalance]:
    side = text(columns, line, "side", at, "").lower()
    if side not in ("collateral", "debt"):
        raise UsageError(f"line {at}: side: expected collateral or debt, got {side!r}")
    asset = text(columns, line, "asset", at, "")
    debt = side == "debt"
    amount = number(columns, line, "amount", at)
    yield ImportedBalance(
        account=text(columns, line, "account", at, ""),
        asset=asset,
        side=side,
        amount=amount,
        price=number(columns, line, "price", at),
        lt=0.0 if debt else _threshold(columns, line, at, amount),
        bonus=0.0 if debt else fraction(columns, line, "bonus", at),
        factor=text(columns, line, "factor", at, asset),
        factor_price=_factor_price(columns, line, at),
    )


def _from_account(columns: Columns, line: Sequence[Any], at: int) -> Iterator[ImportedBalance]:
    account = text(columns, line, "account", at, "")
    collateral = text(columns, line, "collateral_asset", at, COLLATERAL)
    debt = text(columns, line, "debt_asset", at, DEBT)
    held = number(columns, line, "collateral", at)
    owed = number(columns, line, "debt", at)
    yield ImportedBalance(
        account=account,
        asset=collateral,
        side="collateral",
        amount=held,
        price=1.0,
        lt=_threshold_of_account(columns, line, at, held, owed),
        bonus=fraction(columns, line, "bonus", at),
        factor=text(columns, line, "factor", at, collateral),
        factor_price=_factor_price(columns, line, at),
    )
    if owed:
        yield ImportedBalance(account, debt, "debt", owed, 1.0, 0.0, 0.0, debt)


class _WideAsset(msgspec.Struct, frozen=True):
    """One asset on one side of a wide file: its columns by the names that they have elsewhere."""

    asset: str
    side: str
    columns: Columns


def _wide_reader(
    columns: Columns,
) -> Callable[[Columns, Sequence[Any], int], Iterator[ImportedBalance]]:
    """Reads the lines of a file with a column per asset and side."""
    assets = [_wide_asset(columns, name) for name in columns if name.split(":")[0] in SIDES]

    def read_line(columns: Columns, line: Sequence[Any], at: int) -> Iterator[ImportedBalance]:
        account = text(columns, line, "account", at, "")
        held: _Amounts = []
        for asset in assets:
            amount = number(asset.columns, line, "amount", at, default=0.0)
            if amount:
                held.append((asset, amount))
        for asset, amount in held:
            own = asset.columns
            debt = asset.side == "debt"
            yield ImportedBalance(
                account=account,
                asset=asset.asset,
                side=asset.side,
                amount=amount,
                price=number(own, line, "price", at),
                lt=0.0 if debt else _threshold_in_line(columns, asset, held, line, at),
                bonus=0.0 if debt else fraction(own, line, "bonus", at),
                factor=text(own, line, "factor", at, asset.asset),
                factor_price=_factor_price(own, line, at),
            )

    return read_line


def _wide_asset(columns: Columns, name: str) -> _WideAsset:
    side, _, written = name.partition(":")
    asset = visible(written.strip())
    if len(asset) > NAME_LENGTH:
        raise UsageError(
            f"column {visible(name, 40)!r}: expected an asset of at most {NAME_LENGTH} characters"
        )
    own = {"amount": name}
    for term in ASSET_TERMS:
        fractions = {term, f"{term}_bps", term.removesuffix("_bps")}
        if f"{term}:{written}" in columns:
            own[term] = f"{term}:{written}"
        elif term in columns and not any(f"{t}:{written}" in columns for t in fractions):
            own[term] = term
    shown = {"price": f"price:{asset}", "liquidation_threshold": f"liquidation_threshold:{asset}"}
    places = {ours: columns[theirs] for ours, theirs in own.items()}
    return _WideAsset(asset, side, Columns(places, columns.form, shown | own))


def _threshold_in_line(
    columns: Columns, asset: _WideAsset, held: _Amounts, line: Sequence[Any], at: int
) -> float:
    """The threshold of one asset as given, or as the account's health factor gives it."""
    own = asset.columns
    if {"liquidation_threshold", "liquidation_threshold_bps"} & own.keys() or (
        "health_factor" not in columns
    ):
        return _threshold(own, line, at, 1.0)
    sides = [a.side for a, _ in held]
    if sides.count("collateral") > 1 or sides.count("debt") > 1:
        raise UsageError(
            f"line {at}: health_factor gives the threshold of one collateral and one debt, and the "
            f"account has {sides.count('collateral')} and {sides.count('debt')}: give "
            f"{own.name('liquidation_threshold')}"
        )
    worth = {a.side: amount * number(a.columns, line, "price", at) for a, amount in held}
    return _threshold_by_health_factor(columns, line, at, worth["collateral"], worth.get("debt", 0))
