"""Balances in the lines of a file of any other source.

Two shapes of CSV or Parquet are understood; other column names are mapped onto these.

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

A column may also be one value for all lines (`constants`).

How a number is written: chainwatch.numbers; `form` is the file's. Every error names the line (the
first after the header is line 2) and the column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from chainwatch import numbers
from chainwatch.errors import UsageError
from chainwatch.numbers import LEAST, MOST, PLAIN, Form, NotReadable, OutOfRange
from chainwatch.text import visible

BALANCE_COLUMNS = ("account", "asset", "side", "amount", "price")
ACCOUNT_COLUMNS = ("account", "collateral", "debt")
OPTIONAL_COLUMNS = (
    "liquidation_threshold",
    "liquidation_threshold_bps",
    "bonus",
    "bonus_bps",
    "factor",
    "factor_price",
    "collateral_asset",
    "debt_asset",
    "health_factor",
)
KNOWN_COLUMNS = (*dict.fromkeys((*BALANCE_COLUMNS, *ACCOUNT_COLUMNS, *OPTIONAL_COLUMNS)),)
# What accounts hold and owe where their file does not name it.
COLLATERAL, DEBT = "collateral", "debt"
NAME_LENGTH = 80
# Thresholds and bonuses above this are not fractions.
MAX_FRACTION = 1.5
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


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
    places = _positions(header, mapping)
    if constants:
        places, lines = _with_constants(places, len(header), lines, constants)
    columns = _Columns(places, form)
    if all(c in columns for c in BALANCE_COLUMNS):
        read_line = _from_balance
    elif all(c in columns for c in ACCOUNT_COLUMNS):
        read_line = _from_account
    else:
        raise UsageError(
            f"it needs the columns {', '.join(BALANCE_COLUMNS)} (a row per balance) or "
            f"{', '.join(ACCOUNT_COLUMNS)} (a row per account); it has "
            f"{', '.join(visible(c, 40) for c in header) or 'none'}: "
            "name them with --map OURS=THEIRS"
        )
    balances = [b for number, line in _numbered(lines) for b in read_line(columns, line, number)]
    if not balances:
        raise UsageError("it has no positions: expected at least one row below the header")
    return balances


def _positions(header: Sequence[str], mapping: Mapping[str, str]) -> dict[str, int]:
    for ours, theirs in mapping.items():
        if ours not in KNOWN_COLUMNS:
            raise UsageError(
                f"--map: expected one of {', '.join(KNOWN_COLUMNS)} before the =, got {ours!r}"
            )
        if theirs not in header:
            raise UsageError(f"--map {ours}={theirs}: the file has no column {visible(theirs)!r}")
    places = {c: header.index(c) for c in KNOWN_COLUMNS if c in header}
    for fraction in ("liquidation_threshold", "bonus"):
        both = {fraction, f"{fraction}_bps"}
        named = both & mapping.keys()
        if both <= (named or places.keys()):
            raise UsageError(f"it has {fraction} and {fraction}_bps: choose one of them with --map")
        if named:
            places = {c: place for c, place in places.items() if c not in both}
    return places | {ours: header.index(theirs) for ours, theirs in mapping.items()}


def _with_constants(
    places: Mapping[str, int],
    width: int,
    lines: Sequence[Sequence[Any]],
    constants: Mapping[str, str],
) -> tuple[dict[str, int], list[list[Any]]]:
    """The constants as columns to the right of the file's."""
    for name in constants:
        if name not in KNOWN_COLUMNS:
            raise UsageError(
                f"--set: expected one of {', '.join(KNOWN_COLUMNS)} before the =, got {name!r}"
            )
        if name in places:
            raise UsageError(f"--set {name}: the file has that column")
    added = {name: width + i for i, name in enumerate(constants)}
    values = list(constants.values())
    wide = [[*line, *[None] * (width - len(line)), *values] if line else [] for line in lines]
    return {**places, **added}, wide


def _numbered(lines: Sequence[Sequence[Any]]) -> Iterator[tuple[int, Sequence[Any]]]:
    yield from ((n, line) for n, line in enumerate(lines, start=2) if line)


class _Columns(dict[str, int]):
    """Where each column is, and how its file writes numbers."""

    def __init__(self, places: Mapping[str, int], form: Form) -> None:
        super().__init__(places)
        self.form = form


def _number(
    columns: _Columns,
    line: Sequence[Any],
    name: str,
    at: int,
    *,
    default: float | None = None,
) -> float:
    text = line[columns[name]] if name in columns else None
    if text is None or str(text).strip() == "":
        if default is not None:
            return default
        raise UsageError(f"line {at}: {name} is missing")
    try:
        value = numbers.real(text, columns.form)
    except OutOfRange:
        value = -1.0
    except NotReadable:
        message = f"line {at}: {name}: expected a number, got {visible(str(text), 40)!r}"
        if isinstance(text, str) and "," in text and columns.form is PLAIN:
            message += "; if the file has decimal commas, add --decimal-comma"
        raise UsageError(message) from None
    if value < 0:
        raise UsageError(
            f"line {at}: {name}: expected 0 or a number between {LEAST:g} and {MOST:g}, "
            f"got {visible(str(text), 40)}"
        )
    return value


def _factor_price(columns: _Columns, line: Sequence[Any], at: int) -> float | None:
    return _number(columns, line, "factor_price", at, default=0.0) or None


def _fraction(
    columns: _Columns,
    line: Sequence[Any],
    name: str,
    at: int,
    *,
    default: float | None = 0.0,
) -> float:
    """A fraction given as such or in basis points."""
    if f"{name}_bps" in columns:
        points = _number(columns, line, f"{name}_bps", at, default=default)
        if points > MAX_FRACTION * 10_000:
            raise UsageError(
                f"line {at}: {name}_bps: expected at most {MAX_FRACTION * 10_000:.0f} "
                f"(8300 is 83 %), got {points:g}"
            )
        return points / 10_000
    value = _number(columns, line, name, at, default=default)
    if value > MAX_FRACTION:
        raise UsageError(
            f"line {at}: {name}: expected a fraction such as 0.83, got {value:g}; if it is in "
            f"basis points, map it to {name}_bps"
        )
    return value


def _threshold(columns: _Columns, line: Sequence[Any], at: int, held: float) -> float:
    """The liquidation threshold of collateral; it may be missing only where nothing is held."""
    return _fraction(columns, line, "liquidation_threshold", at, default=None if held else 0.0)


def _threshold_of_account(
    columns: _Columns, line: Sequence[Any], at: int, held: float, owed: float
) -> float:
    """The threshold as given, or as the health factor gives it."""
    given = {"liquidation_threshold", "liquidation_threshold_bps"} & columns.keys()
    if given or "health_factor" not in columns:
        return _threshold(columns, line, at, held)
    if not held or not owed:
        return 0.0
    threshold = _number(columns, line, "health_factor", at) * owed / held
    if threshold > MAX_FRACTION:
        raise UsageError(
            f"line {at}: health_factor: with this debt and collateral it gives a liquidation "
            f"threshold of {threshold:.4g}, expected at most {MAX_FRACTION}"
        )
    return threshold


def _text(columns: _Columns, line: Sequence[Any], name: str, at: int, default: str) -> str:
    value = line[columns[name]] if name in columns else None
    text = visible(str(value).strip()) if value is not None else ""
    if len(text) > NAME_LENGTH:
        raise UsageError(
            f"line {at}: {name}: expected at most {NAME_LENGTH} characters, got {len(text)}: "
            f"{visible(text, 40)!r}"
        )
    if not text and not default:
        raise UsageError(f"line {at}: {name} is missing")
    return text.lower() if _ADDRESS.fullmatch(text) else text or default


def _from_balance(columns: _Columns, line: Sequence[Any], at: int) -> Iterator[ImportedBalance]:
    side = _text(columns, line, "side", at, "").lower()
    if side not in ("collateral", "debt"):
        raise UsageError(f"line {at}: side: expected collateral or debt, got {side!r}")
    asset = _text(columns, line, "asset", at, "")
    debt = side == "debt"
    amount = _number(columns, line, "amount", at)
    yield ImportedBalance(
        account=_text(columns, line, "account", at, ""),
        asset=asset,
        side=side,
        amount=amount,
        price=_number(columns, line, "price", at),
        lt=0.0 if debt else _threshold(columns, line, at, amount),
        bonus=0.0 if debt else _fraction(columns, line, "bonus", at),
        factor=_text(columns, line, "factor", at, asset),
        factor_price=_factor_price(columns, line, at),
    )


def _from_account(columns: _Columns, line: Sequence[Any], at: int) -> Iterator[ImportedBalance]:
    account = _text(columns, line, "account", at, "")
    collateral = _text(columns, line, "collateral_asset", at, COLLATERAL)
    debt = _text(columns, line, "debt_asset", at, DEBT)
    held = _number(columns, line, "collateral", at)
    owed = _number(columns, line, "debt", at)
    yield ImportedBalance(
        account=account,
        asset=collateral,
        side="collateral",
        amount=held,
        price=1.0,
        lt=_threshold_of_account(columns, line, at, held, owed),
        bonus=_fraction(columns, line, "bonus", at),
        factor=_text(columns, line, "factor", at, collateral),
        factor_price=_factor_price(columns, line, at),
    )
    if owed:
        yield ImportedBalance(account, debt, "debt", owed, 1.0, 0.0, 0.0, debt)
