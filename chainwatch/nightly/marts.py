"""Marts: SQL files of queries/marts, each of which gives one file per UTC day.

A mart is one SQL file, `mart_walls.sql` for the file `walls`. It describes its columns like every
query, and may have a header of its own:

    -- each: p_factor = SELECT DISTINCT factor FROM …   run once per value, rows one below another
    -- ordered: market, price_from   run once for all values; rows by the value and then by this

A mart gets the day through p_since (its beginning), p_until (its end, exclusive), p_as_of and
p_known_at (the last microsecond of it).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import msgspec

from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import Result
from chainwatch.lake.query import Query
from chainwatch.reports import cascade_rows

_PARAMETER_SETS = re.compile(r"^--\s*each:\s*(p_\w+)\s*=\s*(SELECT\b.*)$", re.MULTILINE)
_ORDER = re.compile(r"^--\s*ordered:\s*(.*)$", re.MULTILINE)

# Computes a mart's rows for one set of parameters where DuckDB does not.
Runner = Callable[[Query, Mapping[str, object]], Result]
# Marts whose rows are computed in columns; their queries say the same, slower.
IN_COLUMNS: Mapping[str, Callable[[Catalog, Mapping[str, Any]], Result]] = {
    "mart_break_levels": cascade_rows.mart_break_levels,
}


class Mart(msgspec.Struct, frozen=True):
    """One file of an export.

    `run_for` is the parameter whose values the query is run for, and the SELECT that lists them.
    With an `order` of the rows of a value, one statement runs it for all of them: planning one
    takes longer than computing the rows of most factors.
    """

    query: Query
    run_for: tuple[str, str] | None
    order: str = ""

    @property
    def name(self) -> str:
        return self.query.name.removeprefix("mart_")


@cache
def load_marts() -> tuple[Mart, ...]:
    """Every mart by name. Raises ValueError where a file is not called so."""
    marts = []
    for definition in query.load_all().values():
        if definition.group != "marts":
            continue
        match = _PARAMETER_SETS.search(definition.text)
        if not definition.name.startswith("mart_"):
            raise ValueError(f"{definition.path}: expected a name mart_…, got {definition.name}")
        order = _ORDER.search(definition.text)
        marts.append(
            Mart(
                definition,
                (match[1], match[2]) if match else None,
                order[1].strip() if order else "",
            )
        )
    return tuple(sorted(marts, key=lambda mart: mart.name))


def begin_of(day: date) -> datetime:
    """Midnight UTC at which a day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def parameters_of(day: date) -> dict[str, object]:
    """A UTC day as the parameters of a mart."""
    begin = begin_of(day)
    end = begin + timedelta(days=1)
    last = end - timedelta(microseconds=1)
    return {"p_since": begin, "p_until": end, "p_as_of": last, "p_known_at": last}


def fill(
    catalog: Catalog,
    mart: Mart,
    table: str,
    limits: Mapping[str, object],
    runner: Runner | None,
) -> None:
    """Keep the mart's rows as a table of the catalog; `limits`: see parameters_of."""
    names = {p.name for p in mart.query.params}
    fixed = {k: v for k, v in limits.items() if k in names}
    if runner is not None and not mart.query.portable:
        runner = None
    if mart.run_for is not None and mart.order and runner is None:
        _fill_at_once(catalog, mart, table, limits, fixed)
        return
    runs = [fixed]
    if mart.run_for is not None:
        name, text = mart.run_for
        used = {k: v for k, v in limits.items() if f"${k}" in text}
        runs = [fixed | {name: row[0]} for row in catalog.run(text, used).rows]
    # Without any run the table still has its columns.
    bound = query.bind(catalog, mart.query.params, fixed)
    catalog.keep(table, f"FROM (\n{mart.query.body}\n) LIMIT 0", bound)
    in_columns = IN_COLUMNS.get(mart.query.name)
    for values in runs:
        if in_columns is not None:
            defaults = {p.name: p.value for p in mart.query.params}
            catalog.add(table, in_columns(catalog, defaults | values))
            continue
        if runner is not None:
            catalog.add(table, runner(mart.query, values))
            continue
        bound = query.bind(catalog, mart.query.params, values)
        catalog.keep(table, mart.query.body, bound, append=True)


def _fill_at_once(
    catalog: Catalog,
    mart: Mart,
    table: str,
    limits: Mapping[str, object],
    fixed: Mapping[str, object],
) -> None:
    """Keep the rows of all values of the parameter, by one statement."""
    assert mart.run_for is not None
    name, values = mart.run_for
    others = [p for p in mart.query.params if p.name != name]
    bound = query.bind(catalog, others, fixed)
    bound |= {k: v for k, v in limits.items() if f"${k}" in values}
    arguments = ", ".join([f"{name} := run.{name}", *(f"{p.name} := ${p.name}" for p in others)])
    catalog.keep(
        table,
        f"SELECT mart.* FROM ({values}) AS run({name}) "
        f"CROSS JOIN LATERAL (FROM unbound.{mart.query.name}({arguments})) AS mart "
        f"ORDER BY run.{name}, {mart.order}",
        bound,
    )
