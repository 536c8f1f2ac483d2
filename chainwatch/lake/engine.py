"""A connection to the engine (the only owner of duckdb), and the rows of a statement."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import duckdb


class Result(msgspec.Struct, frozen=True):
    """What a query returns: column names, DuckDB types, rows."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def dicts(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def engine_version() -> str:
    """The version of the engine that computes and writes."""
    import duckdb

    return duckdb.__version__


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Makes the engine's own error for Ctrl-C, in the main thread, the KeyboardInterrupt it was."""
    try:
        yield
    except RuntimeError as failure:
        if str(failure) == "Query interrupted":
            raise KeyboardInterrupt from None
        raise


@contextlib.contextmanager
def connect() -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb

    with interruptible(), duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
