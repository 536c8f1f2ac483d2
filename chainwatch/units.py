"""Units: what the figures of an output column are in, and how people read them.

Every query says the unit of each column that it returns (`-- column: name unit meaning`). A unit
decides three things: how a figure is written for people, whether its column is aligned at the
right, and which ending of the column's name goes from the heading, because each cell says it.
Machine formats carry every figure unrounded, whatever its unit.

A result that nobody described (`chainwatch sql`, tables computed in Python) has the units of the
naming convention: `derive` reads them from a column's name and type. A described column whose name
has an ending of the convention has the unit of that ending; a test holds the queries to it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fnmatch import fnmatchcase

import msgspec

_TYPES = {
    "text": r"VARCHAR",
    "flag": r"BOOLEAN",
    "time": r"TIMESTAMP.*",
    "date": r"DATE",
    "integer": r"U?(?:BIG|SMALL|TINY|HUGE)INT|U?INTEGER",
    "decimal": r"DECIMAL\(\d+,\d+\)",
    "real": r"DOUBLE|FLOAT",
    "list": r".*\[\d*\]",
}
_NUMBERS = ("integer", "decimal", "real")


def kind_of(sql_type: str) -> str:
    """text, flag, time, date, integer, decimal, real, list or other: the kind of a DuckDB type."""
    kinds = (kind for kind, pattern in _TYPES.items() if re.fullmatch(pattern, sql_type))
    return next(kinds, "other")


# --- figures as people read them ----------------------------------------------------------------


def figure_text(value: float) -> str:
    """A figure with four digits, or to the hundredth from 100 on, or whole from a million on."""
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4g}"


def usd_text(value: float) -> str:
    """An amount of USD: whole from 100 on, else with cents."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:,.2f}"


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


def _coverage_text(value: float) -> str:
    """A share rounded down: less than all is never shown as 100 %."""
    return f"{math.floor(1000 * value) / 10:.1f} %" if not 0 < value < 1e-3 else "< 0.1 %"


def _hf_text(value: float) -> str:
    return f"{value:.4f}" if value < 1000 else f"{value:.3g}"


def _grouped(value: int) -> str:
    return f"{value:,}"


# --- the units ----------------------------------------------------------------------------------


class Unit(msgspec.Struct, frozen=True):
    """A unit: its name, what it means, and the kinds of DuckDB types that hold it.

    `real_text` and `integer_text` write a finite float and an integer for people. `ending` goes
    from a heading, because every cell says it.
    """

    name: str
    meaning: str
    kinds: tuple[str, ...]
    real_text: Callable[[float], str] = figure_text
    integer_text: Callable[[int], str] = _grouped
    ending: str = ""

    @property
    def is_number(self) -> bool:
        """Whether its column is aligned at the right."""
        return self.kinds[0] in _NUMBERS


def _hundredths(value: float) -> str:
    return f"{value:,.2f}"


UNITS = {
    unit.name: unit
    for unit in (
        Unit("text", "a name or words", ("text",)),
        Unit("list", "several names, with commas between them or as a list", ("text", "list")),
        Unit("address", "an account or a contract, on chain 0x…", ("text",)),
        Unit("id", "identifies a row, snapshot, load, document or transaction", ("text",)),
        Unit("flag", "yes or no", ("flag",)),
        Unit("time", "a moment in UTC, to the second", ("time",)),
        Unit("date", "a UTC day", ("date",)),
        Unit("seconds", "a span, in its largest fitting unit", _NUMBERS, integer_text=duration,
             ending="_seconds"),
        Unit("days", "a span in days", _NUMBERS),
        Unit("count", "how many", _NUMBERS),
        Unit("index", "a place in an order", ("integer",)),
        Unit("block", "a block's number, digits only", _NUMBERS, str, str),
        Unit("code", "a number that stands for something, digits only", ("integer",), str, str),
        Unit("usd", "US dollars: whole from 100 on, else with cents", _NUMBERS, usd_text),
        Unit("usd-at-least", "US dollars, a lower bound: with ≥", _NUMBERS,
             lambda value: f"≥ {usd_text(value)}"),
        Unit("usd-bn", "billions of US dollars, to the hundredth", _NUMBERS, _hundredths),
        Unit("price", "USD for one unit, or one asset in units of another", _NUMBERS, price_text),
        Unit("amount", "units of an asset, not of USD", _NUMBERS),
        Unit("raw", "an integer as the contract has it, in its smallest unit", _NUMBERS),
        Unit("share", "a part of a whole or a relative move, 0.05 = 5 %", _NUMBERS,
             lambda value: f"{100 * value:.1f} %", ending="_share"),
        Unit("coverage", "a share of time that was covered, rounded down", _NUMBERS,
             _coverage_text, ending="_share"),
        Unit("fraction", "a share that may be tiny, as a number: 0.05 = 5 %", _NUMBERS),
        Unit("percent", "a rate in percent, to the hundredth", _NUMBERS, _hundredths),
        Unit("points", "a difference in percentage points, to the hundredth", _NUMBERS,
             _hundredths),
        Unit("bps", "basis points, 100 = 1 %, to the hundredth", _NUMBERS, _hundredths),
        Unit("hf", "a health factor: below 1 is liquidatable", ("real",), _hf_text),
        Unit("multiple", "how many times: 1 is as much", _NUMBERS),
        Unit("figure", "a figure whose unit the row or its meaning says", _NUMBERS),
    )
}  # fmt: skip

# The naming convention: names that give a column its unit, the first that fits, where the type can
# hold it. A star stands for any words.
CONVENTION = (
    ("block *_block block_number *_block_number", "block"),
    ("*_id emode category revision config_key parser status", "code"),
    ("rank line log_index position", "index"),
    ("days *_days", "days"),
    ("at_least_usd at_least_*_usd", "usd-at-least"),
    ("covered_share", "coverage"),
    ("*_share", "share"),
    ("*_seconds", "seconds"),
    ("price_usd *_price_usd", "price"),
    ("usd *_usd", "usd"),
    ("*_bn", "usd-bn"),
    ("*_bps *_bp", "bps"),
    ("*_pct", "percent"),
    ("points *_points", "points"),
    ("price *_price price_* *_price_* open high low close best_bid best_ask", "price"),
    ("hf hf_* *_hf", "hf"),
    ("x *_x beta *_beta", "multiple"),
    ("units *_units amount *_amount quantity *_quantity quantity_* volume volume_*", "amount"),
    ("account liquidator feed oracle price_source address *_address *_asset", "address"),
    ("snapshot based_on statement document load run sha256 *_hash", "id"),
)
# What other names have, by the kind of their type.
_OTHERS = {
    "flag": "flag",
    "time": "time",
    "date": "date",
    "list": "list",
    "integer": "count",
    "decimal": "figure",
    "real": "figure",
}


def derive(column: str, sql_type: str) -> Unit:
    """The unit that the naming convention gives a column of a DuckDB type."""
    kind = kind_of(sql_type)
    for names, unit in CONVENTION:
        if kind in UNITS[unit].kinds and any(fnmatchcase(column, n) for n in names.split()):
            return UNITS[unit]
    if kind == "decimal" and sql_type.endswith(",0)"):
        return UNITS["raw"]
    return UNITS[_OTHERS.get(kind, "text")]


class OutputColumn(msgspec.Struct, frozen=True):
    """A column that a query or a report returns: its name, unit and meaning."""

    name: str
    unit: Unit
    meaning: str
