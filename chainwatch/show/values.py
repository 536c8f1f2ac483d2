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


def fill_notes(notes: Sequence[str], result: Result) -> list[str]:
    """Notes with each {column} replaced by the first row's value as people read it."""
    first = result.dicts()[0] if result.rows else {}
    return [
        re.sub(
            r"\{(\w+)\}", lambda m: cell_text(m[1], first[m[1]]) if m[1] in first else m[0], note
        )
        for note in notes
        if first or "{" not in note
    ]


# --- for people ---------------------------------------------------------------------------------


def cell_text(column: str, value: Any) -> str:
    """A value as people read it; the column's suffix gives its unit."""
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
    if column.endswith(("block", "block_number", "chain_id")):
        return str(value)
    if isinstance(value, int):
        if column.endswith("_seconds"):
            return duration(value)
        return f"{value:,}"
    if isinstance(value, float):
        return _number(column, value)
    plain = plain_value(value)
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, list | dict) else plain


def _number(column: str, value: float) -> str:
    if not math.isfinite(value):
        return NOT_AVAILABLE if math.isnan(value) else str(value)
    if column.startswith("at_least_"):
        return f"≥ {_number(column.removeprefix('at_least_'), value)}"
    if column == "covered_share":  # less than all is never shown as 100 %
        return f"{math.floor(1000 * value) / 10:.1f} %" if not 0 < value < 1e-3 else "< 0.1 %"
    if column.endswith("_share"):
        return f"{100 * value:.1f} %"
    if column == "usd" or (column.endswith("_usd") and column != "price_usd"):
        return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:,.2f}"
    if column.endswith(("_bn", "_bp", "_pct", "points")):
        return f"{value:,.2f}"
    if "price" in column:
        return price_text(value)
    if column == "hf" or column.startswith("hf_"):
        return f"{value:.4f}" if value < 1000 else f"{value:.3g}"
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4g}"


def price_text(value: float) -> str:
    """A price with as many digits as it needs."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.2f}"
    return f"{value:.5g}" if abs(value) >= 1e-4 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """A span of time in its largest fitting unit."""
    seconds = abs(int(seconds))
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}s"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


def is_number(kind: str) -> bool:
    return kind.startswith(("DECIMAL", "DOUBLE", "FLOAT", "HUGEINT", "UBIGINT", "UINTEGER")) or (
        kind in ("BIGINT", "INTEGER", "SMALLINT", "TINYINT")
    )


def heading(column: str) -> str:
    """A column's name as a table head."""
    return (
        visible(column)
        .replace("cum_", "cumulative_")
        .replace("_usd", "_USD")
        .replace("_share", "")
        .replace("_seconds", "")
        .replace("_", " ")
    )
