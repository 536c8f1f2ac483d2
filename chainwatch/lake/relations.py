"""Tables as SQL: the rows of finished loads, each key once, and their views.

A table that names a module in `stated_by` holds what the program itself says, for example since
when a venue publishes what. Its rows stand in the SQL of its view, and not in segments: so they are
there before any load, no reader sees those of another version of the program, and nothing is left
to write, to merge or to lose. The catalog is made anew where they change, as with any other change
of a view. The module is named and not imported: it lies above the lake.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from datetime import datetime

from chainwatch.lake.layout import SUFFIX, Layout, in_period, is_seed
from chainwatch.lake.segments import parquet_columns, quoted
from chainwatch.tables.base import Row, columns
from chainwatch.tables.log import Load
from chainwatch.tables.registry import tables


def table_query(layout: Layout, row: type[Row]) -> str:
    """Rows of finished loads, each key once, or those that are stated: what a table means to all
    who read it."""
    if row.stated_by:
        return stated_query(row)
    names = ", ".join(name for name, _ in parquet_columns(row))
    if row is Load:
        text = _current_loads(layout, f"{names}, day")
    else:
        text = (
            f"SELECT {names}, day FROM {_segments(layout, row)} "
            f"WHERE load IN ({_current_loads(layout, 'load')})"
        )
    return text + _each_once(row)


def bound_query(layout: Layout, row: type[Row], places: Sequence[str]) -> str:
    """The same of segments that are listed: those of the loads that count, and an empty one."""
    if row.stated_by:
        return stated_query(row)
    names = ", ".join(name for name, _ in parquet_columns(row))
    periods = [place for place in places if in_period(place)]
    days = [place for place in places if not in_period(place)]

    def listed(part: Sequence[str]) -> str:
        return f"[{', '.join(quoted(f'{layout.lake}/{place}') for place in part)}]"

    text = f"SELECT {names}, day FROM {_reading_days(listed(days))}"
    if not all(map(is_seed, periods)):
        text = (
            f"SELECT {names}, day FROM (SELECT {names}, day FROM "
            f"{_reading_periods(listed(periods))} UNION ALL {text})"
        )
    return text + _each_once(row)


def _each_once(row: type[Row]) -> str:
    """Of rows of equal key the first that was stored."""
    if not row.repeats:
        return ""
    return f" QUALIFY row_number() OVER (PARTITION BY {', '.join(row.key)} ORDER BY load) = 1"


def stated_rows(row: type[Row]) -> Sequence[Row]:
    """The rows of a table that the program states."""
    rows: Sequence[Row] = importlib.import_module(row.stated_by).rows()
    return rows


def stated_query(row: type[Row]) -> str:
    """The same as SQL of every engine, with the columns of a table that is stored."""
    names = [column.name for column in columns(row)]
    lines = ", ".join(
        f"({', '.join(_literal(getattr(stated, name)) for name in names)})"
        for stated in stated_rows(row)
    )
    selected = ", ".join(f"CAST({c.name} AS {c.type}) AS {c.name}" for c in columns(row))
    return (
        f"SELECT {selected}, CAST(NULL AS VARCHAR) AS load, CAST(NULL AS DATE) AS day "
        f"FROM (VALUES {lines}) AS stated({', '.join(names)})"
    )


def _literal(value: object) -> str:
    """A value as text, which the column's type reads."""
    if value is None:
        return "NULL"
    return quoted(value.isoformat() if isinstance(value, datetime) else str(value))


def _current_loads(layout: Layout, names: str) -> str:
    """Loads that no other replaces. The files are listed once, so that the two parts agree."""
    return (
        f"WITH stored AS MATERIALIZED (SELECT {names}, replaces AS others "
        f"FROM {_segments(layout, Load)}) SELECT {names} FROM stored WHERE load NOT IN ("
        "SELECT unnest(string_split(others, ' ')) FROM stored WHERE others IS NOT NULL)"
    )


def _segments(layout: Layout, row: type[Row]) -> str:
    """All segments of a table. Those of periods are older: they come first.

    A condition on `day` leaves out files of other days, and row groups of periods.
    """
    names = ", ".join(name for name, _ in parquet_columns(row))
    folder = layout.lake / row.table
    periods = _reading_periods(quoted(str(folder / "period=*" / f"*{SUFFIX}")))
    days = _reading_days(quoted(str(folder / "day=*" / f"*{SUFFIX}")))
    return f"(SELECT {names}, day FROM {periods} UNION ALL SELECT {names}, day FROM {days})"


def _reading_days(files: str) -> str:
    return (
        f"read_parquet({files}, "
        "union_by_name = true, hive_partitioning = true, hive_types = {'day': DATE})"
    )


def _reading_periods(files: str) -> str:
    return f"read_parquet({files}, union_by_name = true, hive_partitioning = false)"


def empty_views() -> Iterator[str]:
    """Statements: views without rows that have the columns of the tables."""
    for name, row in tables().items():
        shape = ", ".join(f"CAST(NULL AS {kind}) AS {c}" for c, kind in parquet_columns(row))
        yield f"CREATE VIEW {name} AS SELECT {shape}, CAST(NULL AS DATE) AS day WHERE false"


def table_views(layout: Layout) -> Iterator[str]:
    """Statements: the view of each table, with the meaning of the table and of its columns."""
    for name, row in tables().items():
        yield f"CREATE OR REPLACE VIEW {name} AS {table_query(layout, row)}"
        yield f"COMMENT ON VIEW {name} IS {quoted((row.__doc__ or '').strip())}"
        for column, _, meaning in described_columns(row):
            yield f"COMMENT ON COLUMN {name}.{column} IS {quoted(meaning)}"


def described_columns(row: type[Row]) -> Iterator[tuple[str, str, str]]:
    """(name, DuckDB type, meaning) of each column of a table's view, in their order."""
    for column in columns(row):
        exact = " (exact integer)" * (column.type == "UINT")
        (name, kind), *texts = column.stored
        yield name, kind, column.meaning + exact
        for text, text_kind in texts:
            yield text, text_kind, f"{name} where it has more than 38 digits"
    none = "; null: stated by the program" * bool(row.stated_by)
    yield "load", "VARCHAR", f"load that brought the row, see loads{none}"
    yield "day", "DATE", f"UTC day on which the row was stored{none}"


def snapshot_copy(
    layout: Layout,
    row: type[Row],
    places: Sequence[str],
    snapshots: Sequence[str],
    left_out: str = "",
) -> str:
    """The statement that copies the rows of some snapshots, in the order of their key.

    Rows for which `left_out`, as SQL, is true are not among them.
    """
    ids = ", ".join(map(quoted, snapshots)) or "NULL"
    stored = bound_query(layout, row, places)
    return (
        f"CREATE OR REPLACE TABLE {row.table} AS SELECT * FROM ({stored}) "
        f"WHERE snapshot IN ({ids}){f' AND ({left_out}) IS NOT TRUE' * bool(left_out)} "
        f"ORDER BY {', '.join(row.key)}"
    )
