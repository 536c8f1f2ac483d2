"""Columns of an imported file: where each is, and the values in its lines.

How a number is written: chainwatch.numbers; `form` is the file's. Every error names the line (the
first after the header is line 2) and the column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
# Sides, and terms of one asset, that a column of a wide file gives for the asset after the colon.
SIDES = ("collateral", "debt")
ASSET_TERMS = (
    *("price", "liquidation_threshold", "liquidation_threshold_bps", "bonus", "bonus_bps"),
    *("factor", "factor_price"),
)
NAME_LENGTH = 80
# Thresholds and bonuses above this are not fractions.
MAX_FRACTION = 1.5
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


class Columns(dict[str, int]):
    """Where each column is, how its file writes numbers, and the file's own name of a column."""

    def __init__(
        self, places: Mapping[str, int], form: Form, shown: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(places)
        self.form = form
        self.shown = shown or {}

    def name(self, column: str) -> str:
        return self.shown.get(column, column)


def asset_of(column: str) -> str | None:
    """The asset of a wide file's column such as "debt:USDC"; None for any other column."""
    term, colon, asset = column.partition(":")
    return asset.strip() or None if colon and term in (*SIDES, *ASSET_TERMS) else None


def _is_column(column: str) -> bool:
    return column in KNOWN_COLUMNS or asset_of(column) is not None


def positions(header: Sequence[str], mapping: Mapping[str, str]) -> dict[str, int]:
    """Where each known column is; UsageError for a mapping that does not fit the header."""
    for ours, theirs in mapping.items():
        if not _is_column(ours):
            raise UsageError(
                f"--map: expected one of {', '.join(KNOWN_COLUMNS)} before the =, got {ours!r}"
            )
        if theirs not in header:
            raise UsageError(f"--map {ours}={theirs}: the file has no column {visible(theirs)!r}")
    places = {c: header.index(c) for c in header if _is_column(c)}
    for fraction in _fractions({*places, *mapping}):
        both = {fraction, _in_bps(fraction)}
        named = both & mapping.keys()
        if both <= (named or places.keys()):
            raise UsageError(
                f"it has {fraction} and {_in_bps(fraction)}: choose one of them with --map"
            )
        if named:
            places = {c: place for c, place in places.items() if c not in both}
    return places | {ours: header.index(theirs) for ours, theirs in mapping.items()}


def _fractions(columns: set[str]) -> list[str]:
    """The columns that may also be in basis points, of all assets and of each."""
    assets = sorted({asset for c in columns if (asset := asset_of(c)) is not None})
    names = ("liquidation_threshold", "bonus")
    return [*names, *(f"{name}:{asset}" for asset in assets for name in names)]


def _in_bps(fraction: str) -> str:
    name, colon, asset = fraction.partition(":")
    return f"{name}_bps{colon}{asset}"


def with_constants(
    places: Mapping[str, int],
    width: int,
    lines: Sequence[Sequence[Any]],
    constants: Mapping[str, str],
) -> tuple[dict[str, int], list[list[Any]]]:
    """The constants as columns to the right of the file's."""
    for name in constants:
        if not _is_column(name):
            raise UsageError(
                f"--set: expected one of {', '.join(KNOWN_COLUMNS)} before the =, got {name!r}"
            )
        if name in places:
            raise UsageError(f"--set {name}: the file has that column")
    added = {name: width + i for i, name in enumerate(constants)}
    values = list(constants.values())
    wide = [[*line, *[None] * (width - len(line)), *values] if line else [] for line in lines]
    return {**places, **added}, wide


def numbered(lines: Sequence[Sequence[Any]]) -> Iterator[tuple[int, Sequence[Any]]]:
    """The lines that hold something, with their numbers."""
    yield from ((n, line) for n, line in enumerate(lines, start=2) if line)


def number(
    columns: Columns,
    line: Sequence[Any],
    name: str,
    at: int,
    *,
    default: float | None = None,
) -> float:
    """A number of 0 or more; UsageError where there is none, nor a default."""
    shown = columns.name(name)
    text = line[columns[name]] if name in columns else None
    if text is None or str(text).strip() == "":
        if default is not None:
            return default
        raise UsageError(f"line {at}: {shown} is missing")
    try:
        value = numbers.real(text, columns.form)
    except OutOfRange:
        value = -1.0
    except NotReadable:
        message = f"line {at}: {shown}: expected a number, got {visible(str(text), 40)!r}"
        if isinstance(text, str) and "," in text and columns.form is PLAIN:
            message += "; if the file has decimal commas, add --decimal-comma"
        raise UsageError(message) from None
    if value < 0:
        raise UsageError(
            f"line {at}: {shown}: expected 0 or a number between {LEAST:g} and {MOST:g}, "
            f"got {visible(str(text), 40)}"
        )
    return value


def fraction(
    columns: Columns,
    line: Sequence[Any],
    name: str,
    at: int,
    *,
    default: float | None = 0.0,
) -> float:
    """A fraction given as such or in basis points."""
    if f"{name}_bps" in columns:
        shown = columns.name(f"{name}_bps")
        points = number(columns, line, f"{name}_bps", at, default=default)
        if points > MAX_FRACTION * 10_000:
            raise UsageError(
                f"line {at}: {shown}: expected at most {MAX_FRACTION * 10_000:.0f} "
                f"(8300 is 83 %), got {points:g}"
            )
        return points / 10_000
    value = number(columns, line, name, at, default=default)
    if value > MAX_FRACTION:
        shown = columns.name(name)
        raise UsageError(
            f"line {at}: {shown}: expected a fraction such as 0.83, got {value:g}; if it is in "
            f"basis points, map it to {_in_bps(shown)}"
        )
    return value


def text(columns: Columns, line: Sequence[Any], name: str, at: int, default: str) -> str:
    """A name; UsageError where there is none, nor a default, and where it is too long."""
    shown = columns.name(name)
    value = line[columns[name]] if name in columns else None
    written = visible(str(value).strip()) if value is not None else ""
    if len(written) > NAME_LENGTH:
        raise UsageError(
            f"line {at}: {shown}: expected at most {NAME_LENGTH} characters, got {len(written)}: "
            f"{visible(written, 40)!r}"
        )
    if not written and not default:
        raise UsageError(f"line {at}: {shown} is missing")
    return written.lower() if _ADDRESS.fullmatch(written) else written or default
