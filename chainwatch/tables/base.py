"""Rows as frozen classes, and the columns and SQL types that they declare."""

from __future__ import annotations

import types
from datetime import date, datetime
from decimal import Context, Decimal
from functools import cache
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin, get_type_hints

import msgspec


class SqlType(msgspec.Struct, frozen=True):
    """The DuckDB type a Python annotation is stored as."""

    name: str


Uint = Annotated[int, SqlType("UINT")]

UINT_DIGITS = 38
UINT_LIMIT = 10**UINT_DIGITS

DECIMAL_SCALE = 18
DECIMAL_TYPE = f"DECIMAL(38,{DECIMAL_SCALE})"
_DECIMAL_LIMIT = Decimal(10) ** (38 - DECIMAL_SCALE)
_WIDE = Context(prec=200)

_PYTHON_TYPES = {
    str: "VARCHAR",
    float: "DOUBLE",
    bool: "BOOLEAN",
    int: "BIGINT",
    date: "DATE",
    datetime: "TIMESTAMPTZ",
    Decimal: DECIMAL_TYPE,
}


def fits_decimal(value: Decimal) -> bool:
    """Whether a decimal can be stored without rounding."""
    exponent = value.normalize(_WIDE).as_tuple().exponent
    return (
        isinstance(exponent, int)
        and exponent >= -DECIMAL_SCALE
        and value.copy_abs() < _DECIMAL_LIMIT
    )


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all rows. Its fields refer to nothing that could refer back: no collector's work."""

    table: ClassVar[str] = ""
    key: ClassVar[tuple[str, ...]] = ()
    # False where a row is written only once (all that belongs to a snapshot): reading then needs
    # no de-duplication.
    repeats: ClassVar[bool] = True
    # Of figures that are published repeatedly: the columns that identify a figure, the columns of
    # which a change makes a new version, and the column that orders the figures.
    identity: ClassVar[tuple[str, ...]] = ()
    figures: ClassVar[tuple[str, ...]] = ()
    order: ClassVar[str] = "as_of"
    # Of a table that no load fills: the module of which `rows()` states all its rows.
    stated_by: ClassVar[str] = ""


class Column(msgspec.Struct, frozen=True):
    """One column of a table."""

    name: str
    type: str
    nullable: bool
    meaning: str

    @property
    def stored(self) -> tuple[tuple[str, str], ...]:
        """The Parquet columns (name, type) that hold it."""
        if self.type == "UINT":
            return (
                (self.name, f"DECIMAL({UINT_DIGITS},0)"),
                (f"{self.name}_text", "VARCHAR"),
            )
        return ((self.name, self.type),)


@cache
def columns(row: type[Row]) -> tuple[Column, ...]:
    """The columns of a table in the order of its class.

    Raises TypeError where a field has no SQL type or no meaning: a table that cannot explain
    itself is a programming error. Most starts read all tables: one in a module without
    `annotations` from `__future__` takes half as long, since its types are no text.
    """
    described = []
    hints = get_type_hints(row, include_extras=True)
    for name in row.__struct_fields__:
        kind, meaning, nullable = _read_annotation(hints[name])
        if not kind or not meaning:
            raise TypeError(f"{row.__name__}.{name} needs a known type and a meaning")
        described.append(Column(name=name, type=kind, nullable=nullable, meaning=meaning))
    return tuple(described)


def _read_annotation(hint: Any) -> tuple[str, str, bool]:
    kind, meaning, nullable = "", "", False
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        for extra in extras:
            if isinstance(extra, SqlType):
                kind = extra.name
            elif isinstance(extra, str):
                meaning = extra
    if get_origin(hint) in (Union, types.UnionType):
        inner = [a for a in get_args(hint) if a is not type(None)]
        nullable = len(inner) < len(get_args(hint))
        hint = inner[0]
        if get_origin(hint) is Annotated:
            inner_kind, _, _ = _read_annotation(hint)
            kind = kind or inner_kind
            hint = get_args(hint)[0]
    if not kind:
        kind = _PYTHON_TYPES.get(hint, "")
    return kind, meaning, nullable
