"""Lines in the header of a query's file: a parameter, an output column, columns of another.

Each is read to a frozen value; ValueError says where a line does not fit, and what does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from chainwatch import numbers
from chainwatch.text import suggest
from chainwatch.units import UNITS, OutputColumn

_PARAM = re.compile(
    r"^(p_\w+)\s+(\S+)\s*=\s*((?:(?:DATE|TIMESTAMPTZ)\s+)?'(?:[^']|'')*'|[^\s']+)(?:\s+(.*))?$"
)
_COLUMN = re.compile(r"^(\w+)\s+(\S+)\s+(\S.*)$")
_TEXT = re.compile(r"(?:(DATE|TIMESTAMPTZ)\s+)?'((?:[^']|'')*)'")


class Param(msgspec.Struct, frozen=True):
    """One parameter of a query: name with its p_, one of TYPES, default as a literal, meaning."""

    name: str
    type: str
    default: str
    meaning: str

    @property
    def value(self) -> object:
        """The default as a value; NotReadable where it is no literal of the type."""
        if self.default.upper() == "NULL":
            return None
        return _DEFAULTS[self.type](self.default)


def _text(literal: str, kind: str = "") -> str:
    """What stands between the quotes of a literal, which may name its kind before them."""
    match = _TEXT.fullmatch(literal)
    if match is None or (match[1] or kind) != kind:
        raise numbers.NotReadable(f"not a literal: write {f'{kind} ' * bool(kind)}'…' or NULL")
    return match[2].replace("''", "'")


def _flag(literal: str) -> bool:
    if literal.lower() not in ("true", "false"):
        raise numbers.NotReadable("not true, false or NULL")
    return literal.lower() == "true"


def _time(literal: str) -> datetime:
    """A time with any year, as an end of all times is written so."""
    try:
        time = datetime.fromisoformat(_text(literal, "TIMESTAMPTZ"))
    except ValueError as failure:
        if isinstance(failure, numbers.NotReadable):
            raise
        raise numbers.NotReadable("not a time written like '2026-01-29T02:00Z'") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


_DEFAULTS: dict[str, Callable[[str], object]] = {
    "TEXT": _text,
    "DOUBLE": numbers.real,
    "BIGINT": numbers.integer,
    "BOOLEAN": _flag,
    "DATE": lambda literal: numbers.day(_text(literal, "DATE")),
    "TIMESTAMPTZ": _time,
}
TYPES = tuple(_DEFAULTS)


class Passed(msgspec.Struct, frozen=True):
    """Columns that are returned as a query `name()` or a table has them; without names all.

    All of a table are those of its class: `load` and `day` are named where they are returned.
    """

    source: str
    names: tuple[str, ...]
    where: str


def read_param(line: str, where: str) -> Param:
    """One parameter; ValueError says where its type or default is none.

    A default becomes part of a macro's text, so it is a literal and nothing else.
    """
    match = _PARAM.match(line)
    if not match:
        raise ValueError(f"{where}: not `p_name TYPE = literal  meaning`: {line}")
    param = Param(match[1], match[2], match[3], match[4] or "")
    if param.type not in TYPES:
        raise ValueError(f"{where}: {param.name} has the type {param.type}: use {', '.join(TYPES)}")
    try:
        _ = param.value
    except numbers.NotReadable as refusal:
        raise ValueError(
            f"{where}: the default of {param.name} {param.type} is {param.default[:40]}, {refusal}"
        ) from None
    return param


def read_column(line: str, where: str) -> OutputColumn:
    """One output column; ValueError says where its unit is none or its meaning is missing."""
    match = _COLUMN.match(line)
    if not match:
        raise ValueError(f"{where}: expected `-- column: name unit meaning`, got {line!r}")
    name, unit, meaning = match.groups()
    if unit not in UNITS:
        raise ValueError(
            f"{where}: expected a unit of {name}, got {unit!r}; {suggest(unit, UNITS)}"
            f"use one of {', '.join(UNITS)}"
        )
    return OutputColumn(name, UNITS[unit], meaning)


def read_passed(line: str, text: str, where: str) -> Passed:
    """Columns of another; ValueError where the query does not read it."""
    source, *names = line.split() or [""]
    body = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    is_query = source.endswith("()")
    read = rf"\b{re.escape(source.removesuffix('()'))}\b" + (r"\(" if is_query else r"(?!\()")
    if not source or not re.search(read, body):
        raise ValueError(
            f"{where}: expected a query `name()` or a table that is read here, got {source!r}"
        )
    return Passed(source, tuple(names), where)
