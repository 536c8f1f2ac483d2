"""Single values as people read them, and as machines do."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from chainwatch.lake.engine import Result
from chainwatch.show.document import NOT_AVAILABLE
from chainwatch.text import visible
from chainwatch.units import OutputColumn, Unit, derive

# --- machine formats ----------------------------------------------------------------------------


def plain_value(value: Any) -> Any:
    """A value without loss: JSON's own types, else text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, datetime):
        return _iso(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list | tuple):
        return [plain_value(v) for v in value]
    if isinstance(value, dict):
        return {visible(str(k)): plain_value(v) for k, v in value.items()}
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if value is None or isinstance(value, bool | int):
        return value
    return visible(str(value))


def _decimal(value: Decimal) -> str | float:
    """A number where a double holds it exactly; integers and the others as their digits."""
    exponent, rounded = value.as_tuple().exponent, float(value)
    if isinstance(exponent, int) and exponent < 0 and Decimal(repr(rounded)) == value:
        return rounded
    return f"{value:f}"


def _iso(value: datetime) -> str:
    if value.tzinfo is None:
        return value.isoformat()
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def fill_notes(
    notes: Sequence[str], result: Result, columns: Sequence[OutputColumn] = ()
) -> list[str]:
    """Notes with each {column} replaced by the first row's value as people read it."""
    first = result.dicts()[0] if result.rows else {}
    units = dict(zip(result.columns, units_of(result, columns), strict=True))

    def quoted(match: re.Match[str]) -> str:
        name = match[1]
        return cell_text(units[name], first[name]) if name in first else match[0]

    return [re.sub(r"\{(\w+)\}", quoted, note) for note in notes if first or "{" not in note]


# --- for people ---------------------------------------------------------------------------------


def units_of(result: Result, columns: Sequence[OutputColumn]) -> list[Unit]:
    """The unit of each column of a result: that of `columns`, else that of its name and type."""
    described = {column.name: column.unit for column in columns}
    return [
        described.get(name) or derive(name, kind)
        for name, kind in zip(result.columns, result.types, strict=True)
    ]


def cell_text(unit: Unit, value: Any) -> str:
    """A value of a unit as people read it."""
    if value is None:
        return NOT_AVAILABLE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return str(value)
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "seconds") + "Z"
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Decimal):
        return f"{value:,}"
    if isinstance(value, int):
        return unit.integer_text(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return NOT_AVAILABLE if math.isnan(value) else str(value)
        return unit.real_text(value)
    plain = plain_value(value)
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, list | dict) else plain


def heading(column: str, unit: Unit) -> str:
    """A column's name as a table head."""
    name = visible(column)
    if unit.ending and name != unit.ending:
        name = name.removesuffix(unit.ending)
    return name.replace("cum_", "cumulative_").replace("_usd", "_USD").replace("_", " ")
