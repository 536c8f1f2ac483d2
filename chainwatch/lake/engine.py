"""A connection to the engine (the only owner of duckdb), and the rows of a statement."""

from __future__ import annotations

import contextlib
import os
import threading
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
    """A connection of its own to the engine in memory that this process has."""
    with interruptible(), _ENGINE.connect() as connection:
        yield connection


class _Engine:
    """One engine in memory for a process: to make one takes longer than most statements."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: duckdb.DuckDBPyConnection | None = None
        self._process = 0
        # Of the process that this one was forked from: to close them would wait for its threads.
        self._foreign: list[duckdb.DuckDBPyConnection | None] = []

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A connection to it; after a fatal error of the engine to a new one."""
        import duckdb

        with self._lock:
            # The threads of an engine do not come along into a process that is forked.
            if self._first is None or self._process != os.getpid():
                self._foreign.append(self._first)
                self._first, self._process = self._made(), os.getpid()
            try:
                return self._opened(self._first)
            except duckdb.FatalException:
                self._first = self._made()
                return self._opened(self._first)

    def _made(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        first = duckdb.connect()
        # Files are read once; kept, they would only take memory.
        first.execute("SET enable_external_file_cache = false")
        return first

    def _opened(self, first: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
        connection = first.cursor()
        connection.execute("SET TimeZone = 'UTC'")
        return connection


_ENGINE = _Engine()
