"""Segments: rows as immutable Parquet files, exact to the last digit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainwatch.errors import UsageError
from chainwatch.lake.engine import connect
from chainwatch.tables.base import DECIMAL_TYPE, UINT_LIMIT, Column, Row, columns, fits_decimal

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


def write_segment(
    engine: duckdb.DuckDBPyConnection,
    path: Path,
    row: type[Row],
    batch: Sequence[Row],
    load: str,
) -> None:
    """Write one Parquet file and flush it to disk."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for column in columns(row):
        arrays.update(_arrays(column, [getattr(r, column.name) for r in batch]))
    selected = []
    for name, kind in parquet_columns(row)[:-1]:
        stamp = kind == "TIMESTAMPTZ"
        selected.append(f"{f'make_timestamptz({name})' if stamp else name}::{kind} AS {name}")
    selected.append(f"{quoted(load)}::VARCHAR AS load")
    engine.register("batch", arrays)
    try:
        engine.execute(
            f"COPY (SELECT {', '.join(selected)} FROM batch) TO {quoted(str(path))} "
            "(FORMAT parquet, COMPRESSION zstd)"
        )
    finally:
        engine.unregister("batch")
    flush_file(path)


def _arrays(column: Column, values: list[Any]) -> dict[str, np.ndarray[Any, Any]]:
    """The values of one column as what DuckDB reads without Arrow: NumPy, masked where null."""
    import numpy as np

    def text(strings: list[str | None]) -> np.ndarray[Any, Any]:
        return np.array(strings, dtype=object)

    def masked(numbers: list[Any], dtype: str) -> np.ndarray[Any, Any]:
        missing = [v is None for v in numbers]
        filled = np.array([0 if v is None else v for v in numbers], dtype=dtype)
        return np.ma.masked_array(filled, mask=missing)

    match column.type:
        case "VARCHAR":
            return {column.name: text([_storable(v) for v in values])}
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
            fits = [v is None or -UINT_LIMIT < v < UINT_LIMIT for v in values]
            pairs = list(zip(values, fits, strict=True))
            return {
                column.name: text([str(v) if ok and v is not None else None for v, ok in pairs]),
                f"{column.name}_text": text([None if ok else str(v) for v, ok in pairs]),
            }
    raise TypeError(f"no way to store {column.name} as {column.type}")


def _storable(value: str | None) -> str | None:
    """Text that DuckDB takes: a lone surrogate is no UTF-8 and becomes U+FFFD."""
    if value is None or value.isascii():
        return value
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
