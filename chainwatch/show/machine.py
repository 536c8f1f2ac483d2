"""Machine formats: JSON, JSON lines and CSV, unrounded, safe for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from chainwatch.lake.engine import Result
from chainwatch.show.document import Report
from chainwatch.show.values import plain_value
from chainwatch.text import visible

# What a spreadsheet takes for a formula; some take the full-width signs as well.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def plain_rows(result: Result) -> list[dict[str, Any]]:
    names = _distinct(result.columns)
    return [{c: plain_value(v) for c, v in zip(names, row, strict=True)} for row in result.rows]


def _distinct(columns: Sequence[str]) -> list[str]:
    """Names for an object's members: a second "a" is "a_1", as DuckDB calls it in a subquery."""
    names: dict[str, None] = {}
    for column in map(visible, columns):
        name, n = column, 0
        while name in names:
            n += 1
            name = f"{column}_{n}"
        names[name] = None
    return list(names)


def json_text(report: Report) -> str:
    body = {
        "report": report.name,
        **{k: plain_value(v) for k, v in report.meta.items()},
        "header": plain_value(list(report.header)),
        "notes": plain_value(list(report.notes)),
        **_described(report),
        "rows": plain_rows(report.result),
        **{part.name: plain_rows(part.result) for part in report.parts},
    }
    return json.dumps(body, ensure_ascii=False, indent=1) + "\n"


def _described(report: Report) -> dict[str, Any]:
    """Unit and meaning of the columns that are described, by name, where any is."""
    described = {c.name: {"unit": c.unit.name, "meaning": c.meaning} for c in report.columns}
    return {"columns": described} if described else {}


def csv_text(result: Result) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_no_formula(visible(c)) for c in result.columns])
    for row in result.rows:
        writer.writerow([_csv_cell(v) for v in row])
    return out.getvalue()


def _csv_cell(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float):
        return repr(value)
    plain = plain_value(value)
    if plain is None:
        return ""
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, list | dict):
        plain = json.dumps(plain, ensure_ascii=False)
    return str(plain) if isinstance(plain, int) else _no_formula(plain)


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
