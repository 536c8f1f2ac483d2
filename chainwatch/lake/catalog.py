"""The catalog: views and macros over the segments, for every reader; replaced as a whole."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from chainwatch.errors import UsageError
from chainwatch.lake.engine import Result, interruptible
from chainwatch.lake.segments import flush_file, one_line, quoted

if TYPE_CHECKING:
    import duckdb


T = TypeVar("T")
_ADDED_AT_ONCE = 200
# A query whose files were removed while it ran is asked again after these pauses, in seconds.
READ_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


class Choice(msgspec.Struct, frozen=True):
    """Snapshots: each market's newest one up to a time, as `snapshots_at` selects them."""

    p_market: object
    p_as_of: object


class Catalog:
    """A read-only connection to the views and macros.

    `refuse` raises StoreError for failures of storage, and `require` for a statement that reads
    tables of which segments are lost. `bind` gives a statement its tables before it runs, or
    raises StoreError where a segment has other rows than were stored, and `renew` lists their
    files anew where some of them were removed; False where no file of theirs is gone. One
    thread reads, in the order of the segments' names: threads add floating-point numbers in any
    order, and the same question to the same lake has the same bytes as its answer.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        path: Path,
        refuse: Callable[[Exception], None] = lambda failure: None,
        require: Callable[[str], None] = lambda text: None,
        bind: Callable[[str, Choice | frozenset[str] | None], None] = lambda text, choice: None,
        renew: Callable[[], bool] = lambda: False,
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._refuse = refuse
        self.require = require
        self._bind = bind
        self._renew = renew
        self._refresh = refresh
        self.path = path
        self._left = False
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET threads = 1")

    def run(
        self,
        text: str,
        parameters: Mapping[str, object] | None = None,
        *,
        inner: str = "",
        choice: Choice | frozenset[str] | None = None,
    ) -> Result:
        """Run one SELECT; UsageError carries the engine's own message in one line.

        `inner` is SQL that the parameters bring; with a `choice`, or ids, the statement reads rows
        of these snapshots only. Raises StoreError where a segment cannot be read, is lost or has
        other rows than were stored, or the disk is full.
        """
        description, rows = self._ask(text, parameters, f"{text}\n{inner}", choice, "fetchall")
        return Result(
            columns=tuple(c[0] for c in description),
            types=tuple(str(c[1]) for c in description),
            rows=rows,
        )

    def columns(
        self,
        text: str,
        parameters: Mapping[str, object] | None = None,
        *,
        choice: Choice | frozenset[str] | None = None,
    ) -> dict[str, Any]:
        """The columns of one SELECT as numpy arrays by name; none of them may hold a null.

        Errors as of `run`.
        """
        import numpy as np

        _, arrays = self._ask(text, parameters, text, choice, "fetchnumpy")
        return {name: np.ma.getdata(array) for name, array in arrays.items()}

    def _ask(
        self,
        text: str,
        parameters: Mapping[str, object] | None,
        named: str,
        choice: Choice | frozenset[str] | None,
        fetch: str,
    ) -> tuple[list[Any], Any]:
        """What the engine says of the columns of a statement, and what it returns."""
        import duckdb

        self.require(named)

        def ask() -> tuple[list[Any], Any]:
            self._bind(named, choice)
            cursor = self._connection.execute(text, dict(parameters) if parameters else None)
            return cursor.description or [], getattr(cursor, fetch)()

        try:
            with interruptible():
                return read_statement(ask, self._renew)
        except duckdb.Error as failure:
            self._refuse(failure)
            raise UsageError(one_line(str(failure))) from None

    def refresh(self) -> None:
        """Let the statements from now on see what has been stored since. Raises StoreError."""
        import duckdb

        try:
            with interruptible():
                self._refresh()
        except duckdb.Error as failure:
            self._refuse(failure)
            raise UsageError(one_line(str(failure))) from None

    def keep(
        self,
        table: str,
        text: str,
        parameters: Mapping[str, object] | None = None,
        *,
        append: bool = False,
        choice: Choice | frozenset[str] | None = None,
    ) -> None:
        """Keep what a SELECT returns as a temporary table, or add it to the one that is there.

        `choice` as of `run`.
        """
        head = (
            f"INSERT INTO {table} BY NAME" if append else f"CREATE OR REPLACE TEMP TABLE {table} AS"
        )
        self.run(f"{head}\n{text}", parameters, choice=choice)

    def drop(self, table: str) -> None:
        """Drop a kept table, and free its memory."""
        self.run(f"DROP TABLE {table}")

    def add(self, table: str, result: Result) -> None:
        """Add rows that came from elsewhere to a kept table, by position."""
        marks = ", ".join(["?"] * len(result.columns))
        for start in range(0, len(result.rows), _ADDED_AT_ONCE):
            rows = result.rows[start : start + _ADDED_AT_ONCE]
            values = ", ".join([f"({marks})"] * len(rows))
            flat = [value for row in rows for value in row]
            self._connection.execute(f"INSERT INTO {table} VALUES {values}", flat)

    def write_parquet(self, table: str, path: Path, meanings: Mapping[str, str]) -> None:
        """Write a table as one zstd Parquet file and flush it to disk.

        `meanings` goes into the file's key-value metadata, as text by name. Raises UsageError.
        """
        notes = ", ".join(f"{quoted(k)}: {quoted(v)}" for k, v in meanings.items())
        self.run(
            f"COPY (FROM {table}) TO {quoted(str(path))} "
            f"(FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{notes}}})"
        )
        flush_file(path)

    def faulty_line(self, text: str, parameters: Mapping[str, object]) -> int | None:
        """The line of a statement at which the engine fails, from 1; None where it names none."""
        import duckdb

        try:
            # Of several statements EXPLAIN would run all but the first.
            if len(self._connection.extract_statements(text)) < 2:
                self._connection.execute(f"EXPLAIN {text}", dict(parameters) or None)
        except duckdb.Error as failure:
            position = re.search(r"^LINE (\d+):", str(failure), re.MULTILINE)
            return int(position[1]) if position else None
        return None

    def statement_kinds(self, text: str) -> list[str]:
        """The kinds of the statements in a text (SELECT, INSERT, …), without running them."""
        import duckdb

        try:
            return [s.type.name for s in self._connection.extract_statements(text)]
        except duckdb.Error as failure:
            raise UsageError(one_line(str(failure))) from None

    def interrupt(self) -> None:
        """Stop the running query (from another thread)."""
        self._connection.interrupt()

    def leave(self) -> None:
        """Give up a statement that does not stop: closing would have to wait for it."""
        self._left = True

    def close(self) -> None:
        if not self._left:
            self._connection.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_statement(ask: Callable[[], T], renew: Callable[[], bool] = lambda: False) -> T:
    """The answer; asked again where a file was removed between being listed and being opened.

    Each time the files are listed anew, by the statement itself or by `renew`, so that a removed
    file is named once: where thousands are being removed, another one is named each time, and the
    pauses begin again.
    """
    import duckdb

    named: set[str] = set()
    pauses = iter(READ_PAUSES)
    while True:
        try:
            return ask()
        except duckdb.IOException as failure:
            text = str(failure)
            # Of a list, a file that is gone matches nothing; who names one of their own meant that.
            listed = "No files found that match the pattern" in text
            if not (listed or "No such file" in text) or (not renew() and listed):
                raise
            if text not in named:
                named.add(text)
                pauses = iter(READ_PAUSES)
            pause = next(pauses, None)
            if pause is None:
                raise
        time.sleep(pause)
