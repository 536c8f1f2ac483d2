"""Segments: rows as immutable Parquet files, exact to the last digit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainwatch.errors import UsageError
from chainwatch.lake.engine import connect
from chainwatch.tables.base import DECIMAL_TYPE, UINT_LIMIT, Column, Row, columns, fits_decimal
from chainwatch.tables.columns import HALF_BITS, Columns, Words

if TYPE_CHECKING:
    import duckdb
    import numpy as np


def parquet_shape(path: Path) -> tuple[int, tuple[tuple[str, str], ...], dict[str, str]]:
    """Rows, (column, DuckDB type) and key-value metadata of one Parquet file.

    Raises UsageError where it cannot be read.
    """
    import duckdb

    name = quoted(str(path))
    source = f"read_parquet({name}, hive_partitioning = false)"
    with connect() as engine:
        try:
            rows = engine.execute(f"SELECT count(*) FROM {source}").fetchall()[0][0]
            shape = engine.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
            notes = engine.execute(
                f"SELECT decode(key), decode(value) FROM parquet_kv_metadata({name})"
            ).fetchall()
        except duckdb.Error as failure:
            raise UsageError(f"{path} cannot be read: {one_line(str(failure))}") from None
    return rows, tuple((column[0], str(column[1])) for column in shape), dict(notes)


def parquet_columns(row: type[Row]) -> tuple[tuple[str, str], ...]:
    stored = tuple(pair for column in columns(row) for pair in column.stored)
    return (*stored, ("load", "VARCHAR"))


Part = Sequence[Row] | Columns

ROW_GROUP = 122_880
"""Rows of a group in a Parquet file that DuckDB writes."""


def count_of(part: Part) -> int:
    """How many rows a part has."""
    return part.count if isinstance(part, Columns) else len(part)


def write_segment(
    engine: duckdb.DuckDBPyConnection,
    path: Path,
    row: type[Row],
    batch: Sequence[Row],
    load: str,
    day: str = "",
) -> None:
    """Write one Parquet file and flush it to disk; with a `day` as a column where it is given."""
    write_parts(engine, path, row, [batch], load, day)


def write_parts(
    engine: duckdb.DuckDBPyConnection,
    path: Path,
    row: type[Row],
    parts: Sequence[Part],
    load: str,
    day: str = "",
) -> None:
    """The same of rows in several parts, one after another.

    What fits in one row group is in that order, so that sums over it are the same each time.
    """
    names: list[str] = []
    statements: list[str] = []
    try:
        for number, part in enumerate(parts):
            name = f"part{number}"
            arrays, expressions = (
                _of_columns(row, part) if isinstance(part, Columns) else (_of_rows(row, part))
            )
            selected = [
                f"({expressions.get(column, 'NULL')})::{kind} AS {column}"
                for column, kind in parquet_columns(row)[:-1]
            ]
            selected.append(f"{quoted(load)}::VARCHAR AS load")
            if day:
                selected.append(f"{quoted(day)}::DATE AS day")
            engine.register(name, arrays)
            names.append(name)
            statements.append(f"SELECT {', '.join(selected)} FROM {name}")
        if sum(map(count_of, parts)) > ROW_GROUP:
            # Order kept, it takes half as much time again, and all rows in memory.
            engine.execute("SET SESSION preserve_insertion_order = false").fetchall()
        engine.execute(
            f"COPY ({' UNION ALL '.join(statements)}) TO {quoted(str(path))} "
            "(FORMAT parquet, COMPRESSION zstd)"
        )
    finally:
        for name in names:
            engine.unregister(name)
    flush_file(path)


_Arrays = dict[str, "np.ndarray[Any, Any]"]


def _of_rows(row: type[Row], batch: Sequence[Row]) -> tuple[_Arrays, dict[str, str]]:
    """The arrays that hold rows, and how each stored column that is not null is read from them."""
    arrays: _Arrays = {}
    expressions: dict[str, str] = {}
    for column in columns(row):
        values = list(map(attrgetter(column.name), batch))
        literal = _literal(values) if arrays else None
        if literal is None:
            _add_arrays(column, values, arrays, expressions)
        else:
            expressions[column.name] = literal
    return arrays, expressions


def _of_columns(row: type[Row], part: Columns) -> tuple[_Arrays, dict[str, str]]:
    """The same of columns. A text that all rows have is one that is printable ASCII."""
    import numpy as np

    # One at least is read, that there are as many rows.
    arrays: _Arrays = {"place": np.zeros(part.count, dtype="int8")}
    expressions: dict[str, str] = {}

    def masked(values: Any, missing: Any) -> Any:
        return values if missing is None else np.ma.masked_array(values, mask=missing)

    for column in columns(row):
        name, value = column.name, part.values[column.name]
        if isinstance(value, Words):
            arrays[f"{name}_low"] = masked(value.low, value.missing)
            expressions[name] = f"{name}_low"
            if value.high is not None:
                arrays[f"{name}_high"] = value.high
                expressions[name] = f"{name}_high::HUGEINT * {2**HALF_BITS}::HUGEINT + {name}_low"
        elif isinstance(value, np.ndarray):
            arrays[name] = value
            expressions[name] = name
        elif isinstance(value, list):
            _add_arrays(column, value, arrays, expressions)
        elif value is not None:
            is_text = isinstance(value, str)
            expressions[name] = quoted(value) if is_text else repr(value)
    return arrays, expressions


def _add_arrays(
    column: Column, values: list[Any], arrays: _Arrays, expressions: dict[str, str]
) -> None:
    own = _arrays(column, values)
    arrays.update(own)
    is_time = column.type == "TIMESTAMPTZ"
    expressions.update({name: f"make_timestamptz({name})" if is_time else name for name in own})


def _literal(values: Sequence[Any]) -> str | None:
    """SQL of the one text, or of the null, that a column has in all rows; None where it has more.

    The rows of a snapshot have the same text in many columns, and text is the slowest to hand over.
    """
    first = values[0] if values else 0
    if first is None:
        return "NULL" if values.count(None) == len(values) else None
    if type(first) is not str or not (first.isascii() and first.isprintable()):
        return None
    return quoted(first) if values.count(first) == len(values) else None


def _arrays(column: Column, values: list[Any]) -> dict[str, np.ndarray[Any, Any]]:
    """The values of one column as what DuckDB reads without Arrow: NumPy, masked where null.

    A stored column that is not among them is null in all rows.
    """
    import numpy as np

    def text(strings: list[str | None]) -> np.ndarray[Any, Any]:
        return np.array(strings, dtype=object)

    def masked(numbers: list[Any], dtype: str) -> np.ndarray[Any, Any]:
        if None not in numbers:
            return np.ma.masked_array(
                np.array(numbers, dtype=dtype), mask=np.zeros(len(numbers), dtype=bool)
            )
        missing = [v is None for v in numbers]
        filled = np.array([0 if v is None else v for v in numbers], dtype=dtype)
        return np.ma.masked_array(filled, mask=missing)

    match column.type:
        case "VARCHAR":
            storable = [v if v is None or v.isascii() else _storable(v) for v in values]
            return {column.name: text(storable)}
        case "DOUBLE":
            return {column.name: masked(values, "float64")}
        case "BIGINT":
            return {column.name: masked(values, "int64")}
        case "BOOLEAN":
            return {column.name: masked(values, "bool")}
        case "TIMESTAMPTZ":
            return {column.name: masked([_microseconds(v) for v in values], "int64")}
        case "DATE":
            return {column.name: text([None if v is None else v.isoformat() for v in values])}
        case kind if kind == DECIMAL_TYPE:
            return {column.name: text([_digits(v) for v in values])}
        case "UINT":
            digits = [None if v is None else str(v) for v in values]
            large = [v is not None and not -UINT_LIMIT < v < UINT_LIMIT for v in values]
            if True not in large:
                return {column.name: text(digits)}
            pairs = list(zip(digits, large, strict=True))
            return {
                column.name: text([None if is_large else d for d, is_large in pairs]),
                f"{column.name}_text": text([d if is_large else None for d, is_large in pairs]),
            }
    raise TypeError(f"no way to store {column.name} as {column.type}")


def _storable(value: str) -> str:
    """Text that DuckDB takes: a lone surrogate is no UTF-8 and becomes U+FFFD."""
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _digits(value: Decimal | None) -> str | None:
    """A decimal as the digits that are stored; ValueError where storing would round it."""
    if value is None:
        return None
    if not fits_decimal(value):
        raise ValueError(f"{value} does not fit {DECIMAL_TYPE}")
    return f"{value:f}"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _microseconds(value: datetime | None) -> int | None:
    if value is None:
        return None
    if value.tzinfo is None:
        raise TypeError("a time without a zone cannot be stored")
    delta = value - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def read_back(column: Column) -> str:
    if column.type == "UINT":
        return f"coalesce({column.name}_text, {column.name}::VARCHAR)"
    return column.name


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def one_line(text: str) -> str:
    """The engine's message up to the quoted statement, on one line."""
    head = text.split("\n\nLINE ", 1)[0]
    return " ".join(head.split())


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(path: Path) -> None:
    flush_file(path)
