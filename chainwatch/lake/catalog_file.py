"""The catalog's file: a cache of views and macros, opened read-only and replaced as a whole."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chainwatch.lake.engine import interruptible
from chainwatch.lake.layout import Layout
from chainwatch.lake.segments import flush_file, flush_folder, quoted

if TYPE_CHECKING:
    import duckdb

CATALOG_FORMAT = "v1.0.0"  # older clients of the duckdb shell can open it


def open_current(
    path: Path, fingerprint: str, *, read_only: bool = True
) -> duckdb.DuckDBPyConnection | None:
    """A connection, or None where the file is missing or of another state."""
    import duckdb

    if not path.exists():
        return None
    try:
        connection = duckdb.connect(str(path), read_only=read_only)
    except duckdb.Error as failure:
        if "set lock on file" in str(failure):  # another process opened it for writing
            raise
        return None  # damaged, or of another duckdb: it is a cache, so it is made anew
    try:
        state = connection.execute("SELECT fingerprint FROM catalog_state").fetchone()
    except duckdb.Error:
        state = None
    if state == (fingerprint,):
        return connection
    connection.close()
    return None


def copy_current(source: Path, fingerprint: str, path: Path) -> duckdb.DuckDBPyConnection | None:
    """A connection to a new copy of the file, or None where that is missing or of another state.

    The engine takes more than a second to define what is in it. Raises duckdb.Error.
    """
    connection = None
    try:
        path.write_bytes(source.read_bytes())
        connection = open_current(path, fingerprint, read_only=False)
    except OSError:  # whoever makes the file at `path` says why
        pass
    if connection is None:
        path.unlink(missing_ok=True)
    return connection


# Files of definitions that this process made: a night makes a catalog for each day that it exports.
_made: dict[bytes, bytes] = {}
KEPT = 4


def create(path: Path, statements: Sequence[str]) -> None:
    """Make a new database file with what the statements define. Raises duckdb.Error.

    The second file of the same statements in a process is a copy of the first: the engine takes
    more than a second for them.
    """
    digest = hashlib.sha256("\0".join(statements).encode()).digest()
    if digest in _made:
        try:
            path.write_bytes(_made[digest])
            return
        except OSError:  # the engine says why, as for the first
            path.unlink(missing_ok=True)
    define(path, statements)
    if len(_made) < KEPT:
        _made[digest] = path.read_bytes()


def define(path: Path, statements: Sequence[str]) -> None:
    """Run the statements in a new database file. Raises duckdb.Error."""
    import duckdb

    with interruptible(), duckdb.connect() as builder:
        builder.execute(f"ATTACH {quoted(str(path))} AS made (STORAGE_VERSION '{CATALOG_FORMAT}')")
        builder.execute("USE made")
        builder.execute("BEGIN")  # one commit for some hundred statements
        for statement in statements:
            builder.execute(statement)
        builder.execute("COMMIT")
        builder.execute("USE memory")
        builder.execute("DETACH made")


def build(
    layout: Layout, fingerprint: str, definitions: Sequence[str], views: Sequence[str]
) -> None:
    """Make a new file of the definitions and the lake's views; put it in the place of the old."""
    import duckdb

    draft = layout.new_draft("catalog.duckdb")
    try:
        create(draft, definitions)
        with interruptible(), duckdb.connect() as builder:
            builder.execute(f"ATTACH {quoted(str(draft))} AS draft")
            builder.execute("USE draft")
            builder.execute("BEGIN")
            builder.execute(
                "CREATE TABLE catalog_state AS SELECT $fingerprint AS fingerprint, $home AS home",
                {"fingerprint": fingerprint, "home": str(layout.home)},
            )
            for view in views:
                builder.execute(view)
            builder.execute("COMMIT")
            builder.execute("USE memory")
            builder.execute("DETACH draft")
        flush_file(draft)
        draft.replace(layout.catalog)
        flush_folder(layout.home)
    finally:
        for leftover in (draft, draft.with_name(f"{draft.name}.wal")):
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)
