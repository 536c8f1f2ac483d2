"""Alert rules: SQL files whose rows are what is wrong.

A rule returns

    subject   what the alert is about; a rule and a subject make one alert
    state     raise, or hold: an active alert stays active, an inactive one is not raised
    message   one line for people
    value     the figure behind it, or null

so that the distance between `raise` and the rows that are no longer returned is its hysteresis.
`-- once: yes` says that the end of an alert is not notified. A parameter `p_now` gets the time of
the run. A rule is one SELECT: it can read the lake and nothing else, and it is stopped after a
time limit. Rules lie in queries/alerts and in <home>/alerts; one of the same name there replaces
the one that ships.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from chainwatch import numbers
from chainwatch.errors import ChainwatchError, ConfigError, UsageError
from chainwatch.lake import query, readonly
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.query import Query

COLUMNS = ("subject", "state", "message", "value")
STATES = ("raise", "hold")
NOW = "p_now"  # a rule that has this parameter gets the time of the run
RULE_SECONDS = 60.0
_ONCE = re.compile(r"^--\s*once:\s*yes\s*$", re.MULTILINE)


class Finding(msgspec.Struct, frozen=True):
    """One row of a rule."""

    rule: str
    subject: str
    state: str
    message: str
    value: float | None


def load_rules(home: Path) -> tuple[dict[str, Query], dict[str, ChainwatchError]]:
    """Every rule by name (the user's replace those that ship), and why a file is not a rule.

    Each failure names its file, and the line where the header does not fit.
    """
    rules = {q.name: q for q in query.load_all().values() if q.group == "alerts"}
    failures: dict[str, ChainwatchError] = {}
    for path in sorted((home / "alerts").glob("*.sql")):
        rules.pop(path.stem, None)
        try:
            rules[path.stem] = query.read(path, group="alerts")
        except UnicodeDecodeError:
            failures[path.stem] = ConfigError(f"{path} is not UTF-8 text: save it as UTF-8")
        except OSError as failure:
            failures[path.stem] = ConfigError(f"{path} cannot be read: {failure.strerror}")
        except ValueError as failure:
            failures[path.stem] = ConfigError(f"{failure}")
    return dict(sorted(rules.items())), failures


def evaluate(catalog: Catalog, rule: Query, now: datetime, seconds: float) -> list[Finding]:
    """The rows of a rule, on a catalog that is enclosed (lake.readonly).

    Raises UsageError that names its file, and the line where its SQL is wrong; LeftBehind where
    the catalog cannot be used any more.
    """
    try:
        if not catalog.statement_kinds(rule.text):
            raise UsageError("expected a SELECT below the header, got nothing")
        times = {p.name: now for p in rule.params if p.name == NOW}
        bound = readonly.within(seconds, catalog, lambda: query.bind(catalog, rule.params, times))
        result = readonly.rows(catalog, rule.text, bound, seconds, "a rule")
    except readonly.LeftBehind as failure:
        raise readonly.LeftBehind(f"{rule.path}: {failure}") from None
    except (UsageError, OverflowError) as failure:
        line = _faulty_line(catalog, rule, seconds)
        where = f"{rule.path} line {line}" if line else f"{rule.path}"
        raise UsageError(f"{where}: {failure}") from None
    missing = [c for c in COLUMNS if c not in result.columns]
    if missing:
        raise UsageError(f"{rule.path}: a rule returns {', '.join(COLUMNS)}; missing: {missing[0]}")
    return [_finding(rule, row) for row in result.dicts()]


def _faulty_line(catalog: Catalog, rule: Query, seconds: float) -> int | None:
    def find_line() -> int | None:
        return catalog.faulty_line(rule.text, query.bind(catalog, rule.params, {}))

    try:
        return readonly.within(seconds, catalog, find_line)
    except UsageError:  # a default that cannot be read: the fault is in the header
        return None


def _finding(rule: Query, row: Mapping[str, Any]) -> Finding:
    """A row as a finding. Raises UsageError that names the column that does not fit."""
    for column in ("subject", "state", "message"):
        if row[column] is None:
            raise UsageError(f"{rule.path}: {column} is NULL in a row: only value may be")
    where = f"{rule.path}: the row about {str(row['subject'])!r}"
    if row["state"] not in STATES:
        raise UsageError(f"{where} has the state {row['state']!r}: it must be raise or hold")
    return Finding(
        rule.name,
        str(row["subject"]),
        row["state"],
        str(row["message"]),
        _value(row["value"], where),
    )


def _value(cell: Any, where: str) -> float | None:
    """The figure of a row, None where it is infinite or NaN; text is read strictly."""
    if cell is None:
        return None
    try:
        if isinstance(cell, str):
            return numbers.real(cell)
        if isinstance(cell, bool) or not isinstance(cell, int | float | Decimal):
            raise numbers.NotReadable("not a number")
    except numbers.NotReadable as refusal:
        shown = f"{cell[:40]!r}, {refusal}" if isinstance(cell, str) else f"{cell!r}"
        raise UsageError(f"{where} has the value {shown}: it must be a number or NULL") from None
    value = float(cell)
    return value if math.isfinite(value) else None


def once(rule: Query) -> bool:
    """Whether the end of the rule's alerts is not notified."""
    return _ONCE.search(rule.text) is not None
