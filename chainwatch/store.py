"""The lake (immutable Parquet segments) and its catalog (views and macros). Sole user of duckdb.

    <home>/chainwatch.duckdb                             views and macros, replaced whole
    <home>/lake/<table>/day=2026-11-20/<load>.parquet    segments; never changed once there
    <home>/documents/ab/abcd…                            bytes of documents, named by their SHA-256
    <home>/tmp/                                          unfinished files; no view reads them
    <home>/locks/                                        who is writing what

A load (one batch of one source) is stored when its row in `loads` is there: its segments are
written under temporary names, flushed to disk, renamed, and the folder flushed, in the order of
the batch, `loads` last. A process may die at any moment: the next one delivers the batch again
and the views count rows of equal key once.

Collectors write small loads; a `Merger` makes few of many. A merged load is a load like any other
whose row in `loads` also names those it replaces: the moment it is there, every reader counts it
and no longer counts them. Their files are removed now and then, all at once: a query that listed
them and opens them too late fails with "No such file" and tells nothing wrong; this module asks
again by itself.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import msgspec

from chainwatch.errors import ConfigError, StoreBusy, StoreError, UsageError
from chainwatch.rows import (
    DECIMAL_TYPE,
    UINT_LIMIT,
    Column,
    Load,
    Row,
    columns,
    fits_decimal,
    tables,
)

if TYPE_CHECKING:
    import duckdb
    import numpy as np

CATALOG_NAME = "chainwatch.duckdb"
CATALOG_FORMAT = "v1.0.0"  # older clients of the duckdb shell can open it
SEED_DAY = "1970-01-01"
# A temporary file older than this belongs to nobody alive: a segment takes seconds.
ABANDONED_AFTER_SECONDS = 600
# So many loads of a size become one of the next size.
MERGE_FANOUT = 8
# A load with more rows is large enough.
MERGE_ROWS = 1_000_000
# A query lists the files of all its tables within this time. Merged segments lie there unseen
# for so long before they count, so that no query sees the new `loads` with the old segments.
MERGE_SETTLE_SECONDS = 10.0
# Replaced files are removed this long after they were replaced, and not more often than that.
MERGE_GRACE_SECONDS = 300.0
# A query whose files were removed while it ran is asked again after these pauses, in seconds.
READ_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

R = TypeVar("R", bound=Row)


class Result(msgspec.Struct, frozen=True):
    """What a query returns: column names, DuckDB types, rows."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def dicts(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class Store:
    """The lake of one home folder. Any number of processes may write to it and read from it."""

    def __init__(self, home: Path) -> None:
        self.home = home.expanduser().absolute()
        if set("*?[]") & set(str(self.home)):
            raise ConfigError(f"the home folder {self.home} must not contain any of * ? [ ]")
        # Of segments that were looked at: (size, time of change) and rows, by path in the lake.
        self._footers: dict[str, tuple[tuple[int, int], int]] = {}

    @property
    def lake(self) -> Path:
        return self.home / "lake"

    @property
    def exists(self) -> bool:
        return self.lake.is_dir()

    def create(self) -> None:
        """Make the folders and the empty segment of each table; safe to call again."""
        try:
            for folder in (self.lake, self.home / "tmp", self.home / "locks"):
                folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            self._seed(*tables().values())
        except Exception as failure:
            self._refuse(failure)

    def require(self) -> None:
        """Raise UsageError where no lake has been made yet."""
        if not self.exists:
            raise UsageError(
                f"there is no lake in {self.home} yet: run `chainwatch demo`, or "
                "`chainwatch collect aave-v3 --market ethereum`, or name another folder with --home"
            )

    # --- writing -------------------------------------------------------------------------

    def append(
        self, rows: Sequence[Row], *, source: str, target: str = "", cursor: Any = None
    ) -> Load:
        """Store one load; when this returns, the rows and the cursor survive a crash.

        Raises StoreError where the disk refuses (full, read-only): nothing of the load counts.
        """
        now = datetime.now(UTC)
        load = f"{now:{_LOAD_TIME}}-{secrets.token_hex(4)}"
        by_table: dict[type[Row], list[Row]] = {}
        for row in rows:
            by_table.setdefault(type(row), []).append(row)
        receipt = Load(
            source=source,
            target=target,
            stored_at=now,
            tables=json.dumps({t.table: len(r) for t, r in by_table.items()}),
            rows=len(rows),
            cursor=None if cursor is None else msgspec.json.encode(cursor).decode(),
        )
        by_table[Load] = [receipt]
        with self._publishing() as publish, _engine() as engine:
            for row_type, batch in by_table.items():
                draft = self._draft(load, row_type.table)
                publish.append((draft, self._segment(row_type.table, f"{now:%Y-%m-%d}", load)))
                _write_segment(engine, draft, row_type, batch, load)
        return receipt

    def _draft(self, load: str, table: str) -> Path:
        return self.home / "tmp" / f"{load}-{table}.parquet"

    def _segment(self, table: str, day: str, load: str) -> Path:
        return self.lake / table / f"day={day}" / f"{load}.parquet"

    @contextlib.contextmanager
    def _publishing(self) -> Iterator[list[tuple[Path, Path]]]:
        """Give each (draft, segment) noted in the body its name, in order, when the body ends.

        Raises StoreError where the disk refuses; drafts that got no name are removed.
        """
        noted: list[tuple[Path, Path]] = []
        try:
            yield noted
            for draft, segment in noted:
                segment.parent.mkdir(parents=True, exist_ok=True)
                draft.rename(segment)
                _flush_folder(segment.parent)
                _flush_folder(segment.parent.parent)
        except Exception as failure:
            for draft, _ in noted:
                with contextlib.suppress(OSError):
                    draft.unlink(missing_ok=True)
            self._refuse(failure)

    def keep(self, body: bytes) -> str:
        """Keep the bytes of a document for good, once; returns their SHA-256.

        Raises StoreError where the disk refuses.
        """
        name = hashlib.sha256(body).hexdigest()
        path = self.document(name)
        draft = self.home / "tmp" / f"{secrets.token_hex(8)}-{name}"
        try:
            if not path.exists():
                draft.write_bytes(body)
                _flush_file(draft)
                path.parent.mkdir(parents=True, exist_ok=True)
                draft.rename(path)
                _flush_folder(path.parent)
        except OSError as failure:
            self._refuse(failure)
        return name

    def document(self, sha256: str) -> Path:
        """Where the bytes with that hash are kept."""
        return self.home / "documents" / sha256[:2] / sha256

    @contextlib.contextmanager
    def hold(self, source: str, target: str = "") -> Iterator[None]:
        """Be the only collector of a source and target; StoreBusy says who else is."""
        name = f"{source}@{target}" if target else source
        path = self.home / "locks" / f"{name.replace(os.sep, '_')}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as failure:
            self._refuse(failure)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 100).decode(errors="replace").strip() or "unknown"
                raise StoreBusy(
                    f"{name} is being collected into {self.home} by process {holder}: "
                    "wait for it, or stop it"
                ) from None
            with contextlib.suppress(OSError):  # on a full disk nobody is told who holds it
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def held(self, source: str, target: str = "") -> bool:
        """Whether somebody is collecting a source and target now."""
        try:
            with self.hold(source, target):
                return False
        except StoreBusy:
            return True

    def _sweep(self) -> None:
        for path in (self.home / "tmp").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > ABANDONED_AFTER_SECONDS:
                    path.unlink()

    def _seed(self, *rows: type[Row]) -> None:
        """Empty segments with today's schema, so that views are valid before the first row."""
        missing = [(row, seed) for row in rows if not (seed := self._seed_path(row)).exists()]
        if not missing:
            return
        with _engine() as engine:
            for row, seed in missing:
                draft = self.home / "tmp" / f"{secrets.token_hex(8)}-{seed.name}"
                for folder in (seed.parent, draft.parent):
                    folder.mkdir(parents=True, exist_ok=True)
                try:
                    _write_segment(engine, draft, row, [], "")
                    draft.rename(seed)
                finally:
                    draft.unlink(missing_ok=True)

    def _seed_path(self, row: type[Row]) -> Path:
        shape = ",".join(f"{n} {t}" for n, t in _parquet_columns(row))
        name = f"seed-{hashlib.sha256(shape.encode()).hexdigest()[:12]}.parquet"
        return self.lake / row.table / f"day={SEED_DAY}" / name

    def _refuse(self, failure: Exception) -> NoReturn:
        """Say in one line why the lake cannot be written."""
        if isinstance(failure, StoreError):
            raise failure
        self._refuse_storage(failure, self.home)
        if isinstance(failure, OSError) or type(failure).__module__.startswith("_duckdb"):
            text = str(failure)
            reason = text.splitlines()[0] if text else type(failure).__name__
            raise StoreError(f"{self.home} cannot be written: {reason}") from None
        raise failure

    def _refuse_storage(self, failure: Exception, folder: Path) -> None:
        """Raise StoreError where the disk of a folder is full or a segment cannot be read."""
        refuse_full(failure, folder)
        if path := self._unreadable(failure):
            reason = _one_line(str(failure)).replace(str(path), path.name)
            raise StoreError(
                f"{path} cannot be read ({reason}): put a copy of it back, or move it and "
                f"{self._receipt_of(path)} away: nothing of that load counts then"
            ) from None

    def _unreadable(self, failure: Exception) -> Path | None:
        """The segment that the engine failed at; None where a statement was at fault."""
        import duckdb

        if not isinstance(failure, duckdb.Error):
            return None
        named = re.findall(rf"{re.escape(str(self.lake))}/[^'\"\n]*\.parquet", str(failure))
        paths = [Path(name) for name in named]
        # Of some damage the engine says neither its kind nor the file.
        if not named and type(failure) in (duckdb.Error, duckdb.InternalException):
            paths = sorted(self.lake.glob("*/day=*/*.parquet"))
        with _engine() as engine:
            for path in paths:
                try:
                    engine.execute(
                        "SELECT bit_xor(hash(COLUMNS(*))) "
                        "FROM read_parquet($path, hive_partitioning = false)",
                        {"path": str(path)},
                    ).fetchall()
                except duckdb.Error:
                    if path.exists():
                        return path
        return None

    def _receipt_of(self, segment: Path) -> str:
        """Where the row in `loads` is that makes a segment count, within the home folder."""
        path = self.lake / Load.table / segment.parent.name / segment.name
        return str(path.relative_to(self.home))

    def _refuse_lost(self, path: Path, rows: int, more: int) -> NoReturn:
        others = f", nor are {more:,} more segments of that table" if more else ""
        raise StoreError(
            f"{path} is not there{others}: its load stored {rows:,} rows of {path.parts[-3]} in "
            f"it. Put a copy of it back, or move {self._receipt_of(path)} away: nothing of that "
            "load counts then"
        )

    def _refuse_count(self, path: Path, rows: int, found: int) -> NoReturn:
        raise StoreError(
            f"{path} holds {found:,} rows, but its load stored {rows:,} rows of {path.parts[-3]} "
            f"in it. Put a copy of it back, or move it and {self._receipt_of(path)} away: nothing "
            "of that load counts then"
        )

    def _counts(self, load: str, day: str, tables: str | None) -> dict[str, int]:
        """Rows per table that a load stored, by its row in `loads`; StoreError where that is no
        such list."""
        try:
            return _COUNTS.decode(tables or "")
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            path = self._segment(Load.table, day, load)
            raise StoreError(
                f"{path} does not say how many rows its load stored per table: put a copy of it "
                "back, or move it away: nothing of that load counts then"
            ) from None

    def _stored(self, engine: duckdb.DuckDBPyConnection) -> dict[str, int]:
        """The rows of each segment that counts, by its path within the lake, as loads say."""
        text = f"SELECT load, day::VARCHAR, tables FROM ({self._table_sql(Load)})"
        # By their path within the lake: making a Path of each takes most of the time otherwise.
        return {
            f"{name}/day={day}/{load}.parquet": rows
            for load, day, tables in _read(lambda: engine.execute(text).fetchall())
            for name, rows in self._counts(load, day, tables).items()
        }

    def _lost(
        self, engine: duckdb.DuckDBPyConnection, expected: Mapping[str, int]
    ) -> dict[str, list[tuple[Path, int]]]:
        """Segments that are not there though a load stored them, with their rows, by table."""
        missing = expected.keys() - _listed(self.lake)
        if missing:
            # A merged load may have taken the place of one meanwhile: that one's files may go.
            missing &= self._stored(engine).keys()
        found: dict[str, list[tuple[Path, int]]] = {}
        for place in sorted(missing):
            table, _, _ = place.partition("/")
            found.setdefault(table, []).append((self.lake / place, expected[place]))
        return found

    def _require_whole(
        self, lost: Mapping[str, Sequence[tuple[Path, int]]], names: Collection[str]
    ) -> None:
        """Raise StoreError where a segment of one of these tables is not there."""
        for table, paths in lost.items():
            if table in names:
                self._refuse_lost(*paths[0], len(paths) - 1)

    def _require_counts(
        self,
        engine: duckdb.DuckDBPyConnection,
        expected: Mapping[str, int],
        names: Collection[str],
    ) -> None:
        """Raise StoreError where a segment of one of these tables has other rows than its load
        stored. Its footer is read once, as long as its size and time stay the same."""
        mine = {place: n for place, n in expected.items() if place.partition("/")[0] in names}
        if not mine:
            return
        found = _read(lambda: self._rows_of(engine, mine))
        gone = mine.keys() - found.keys()
        if gone:
            gone &= self._stored(engine).keys()
        for place, rows in sorted(mine.items()):
            if place in gone:
                self._refuse_lost(self.lake / place, rows, 0)
            if found.get(place, rows) != rows:
                self._refuse_count(self.lake / place, rows, found[place])

    def _rows_of(self, engine: duckdb.DuckDBPyConnection, places: Iterable[str]) -> dict[str, int]:
        """The rows of segments by their footers, without those that are not there."""
        states: dict[str, tuple[int, int]] = {}
        for place in places:
            with contextlib.suppress(FileNotFoundError):
                state = (self.lake / place).stat()
                states[place] = state.st_size, state.st_mtime_ns
        new = [p for p, s in states.items() if p not in self._footers or self._footers[p][0] != s]
        if new:
            lines = engine.execute(
                "SELECT file_name, num_rows FROM parquet_file_metadata($files)",
                {"files": [f"{self.lake}/{place}" for place in new]},
            ).fetchall()
            for name, rows in lines:
                place = name.removeprefix(f"{self.lake}/")
                self._footers[place] = states[place], rows
        return {place: self._footers[place][1] for place in states}

    # --- reading -------------------------------------------------------------------------

    def rows(self, row: type[R], where: str = "", values: Mapping[str, object] = {}) -> list[R]:
        """Rows of a table as objects, each key once; `where` is SQL with $names from `values`.

        Raises StoreError where a segment cannot be read, or one with parts of snapshots is lost or
        has other rows than were stored.
        """
        self._seed(row, Load)
        selected = ", ".join(_read_back(c) for c in columns(row))
        text = f"SELECT {selected} FROM ({self._table_sql(row)})"
        if where:
            text += f" WHERE {where}"
        import duckdb

        try:
            with _engine() as engine:
                if "snapshot" in row.key:
                    expected = self._stored(engine)
                    self._require_whole(self._lost(engine, expected), [row.table])
                    self._require_counts(engine, expected, [row.table])
                found = _read(lambda: engine.execute(text, dict(values)).fetchall())
        except duckdb.Error as failure:
            self._refuse_storage(failure, self.home)
            raise StoreError(
                f"{self.lake / row.table} cannot be read: {_one_line(str(failure))}"
            ) from None
        convert = [c.type == "UINT" for c in columns(row)]
        names = row.__struct_fields__
        if not any(convert):
            return [row(**dict(zip(names, line, strict=True))) for line in found]
        return [
            row(
                **{
                    name: int(value) if is_uint and value is not None else value
                    for name, value, is_uint in zip(names, line, convert, strict=True)
                }
            )
            for line in found
        ]

    def cursor(self, source: str, target: str = "") -> Any:
        """The cursor of the last stored load of a source and target, or None."""
        found = self.rows(
            Load,
            "source = $source AND target = $target AND cursor IS NOT NULL "
            "ORDER BY stored_at DESC LIMIT 1",
            {"source": source, "target": target},
        )
        return msgspec.json.decode(found[0].cursor or "null") if found else None

    def catalog(self, definitions: Sequence[str]) -> Catalog:
        """The catalog, read-only, rebuilt first where tables, queries or the folder changed.

        `definitions` are statements that use the tables. Where the file cannot be
        used (somebody opened it for writing, the folder is read-only, or the disk is full), the
        same views are made in memory: reading never waits.
        """
        import duckdb

        self.require()
        try:
            self._seed(*tables().values())
        except Exception as failure:
            self._refuse(failure)
        # Definitions are checked against empty tables: the views open every segment when looked at.
        statements = [*_table_shapes(), *definitions, *self._table_views()]
        fingerprint = hashlib.sha256("\n".join([str(self.home), *statements]).encode()).hexdigest()
        path = self.home / CATALOG_NAME
        try:
            connection = self._open_current(path, fingerprint)
            if connection is None:
                self._build_catalog(path, fingerprint, statements)
                connection = self._open_current(path, fingerprint)
        except (duckdb.IOException, OSError):
            connection = None
        except duckdb.Error as failure:
            if not _lacks(failure):
                self._refuse_reading(failure, self.home)
            connection = None
        if connection is None:
            connection = duckdb.connect()
            try:
                for statement in statements:
                    connection.execute(statement)
            except duckdb.Error as failure:
                self._refuse_reading(failure, self.home)
        return self._guarded(connection, path, self.home, definitions)

    def _guarded(
        self,
        connection: duckdb.DuckDBPyConnection,
        path: Path,
        folder: Path,
        definitions: Sequence[str],
        copied: Collection[str] = (),
    ) -> Catalog:
        """A catalog that refuses what stands on tables of which segments are lost or not whole."""
        import duckdb

        tables_of = _tables_of(definitions)
        counted = set(copied)
        try:
            expected = self._stored(connection)
            lost = self._lost(connection, expected)
            self._require_whole(lost, copied)
            self._require_counts(connection, expected, copied)
        except duckdb.Error as failure:
            self._refuse_reading(failure, folder)

        def refuse(failure: Exception) -> None:
            self._refuse_storage(failure, folder)

        def require(text: str) -> None:
            names = tables_of(text)
            self._require_whole(lost, names)
            try:
                self._require_counts(connection, expected, names - counted)
            except duckdb.Error as failure:
                refuse(failure)
                raise UsageError(_one_line(str(failure))) from None
            counted.update(names)

        return Catalog(connection, path, refuse, require)

    @contextlib.contextmanager
    def frozen(
        self,
        definitions: Sequence[str],
        path: Path,
        *,
        whole: Sequence[str],
        parameters: Sequence[str] = (),
    ) -> Iterator[Catalog]:
        """The catalog over a copy of some snapshots, in a database of its own at `path`.

        `path` lies in a folder made for it; errors name the folder in which that one was made.
        Of the snapshots in `whole` every row is copied, of those in `parameters` all but accounts
        and balances. Rows lie in the order of their key and one thread reads them: the same rows
        give the same bits, however the lake's segments are cut. Tables that belong to no snapshot
        are read from the lake. Raises StoreError where a segment cannot be read or the disk is
        full.
        """
        import duckdb

        self.require()
        self._seed(*tables().values())
        place = path.parent.parent
        try:
            connection = duckdb.connect(str(path))
        except duckdb.Error as failure:
            self._refuse_reading(failure, place)
        try:
            connection.execute("SET TimeZone = 'UTC'")
            for name, row in tables().items():
                text = self._table_sql(row)
                if "snapshot" not in row.key:
                    connection.execute(f"CREATE VIEW {name} AS {text}")
                    continue
                chosen = [*whole, *parameters] if "account" not in row.key else list(whole)
                ids = ", ".join(map(_quoted, chosen)) or "NULL"
                connection.execute(
                    f"CREATE TABLE {name} AS SELECT * FROM ({text}) "
                    f"WHERE snapshot IN ({ids}) ORDER BY {', '.join(row.key)}"
                )
            for statement in definitions:
                connection.execute(statement)
        except duckdb.Error as failure:
            connection.close()
            self._refuse_reading(failure, place)
        copied = [name for name, row in tables().items() if "snapshot" in row.key]
        with self._guarded(connection, path, place, definitions, copied) as catalog:
            yield catalog

    def _refuse_reading(self, failure: Exception, folder: Path) -> NoReturn:
        """Say in one line why a catalog of the lake cannot be made in a folder."""
        self._refuse_storage(failure, folder)
        raise StoreError(
            f"{self.lake} holds a file that is no segment of ours: {_one_line(str(failure))}"
        ) from None

    @staticmethod
    def _open_current(path: Path, fingerprint: str) -> duckdb.DuckDBPyConnection | None:
        """A read-only connection, or None where the file is missing or of another state."""
        import duckdb

        if not path.exists():
            return None
        try:
            connection = duckdb.connect(str(path), read_only=True)
        except duckdb.Error as failure:
            if "set lock on file" in str(failure):  # somebody opened it for writing
                raise
            return None  # damaged, or of another duckdb: it is a cache, so it is made anew
        try:
            found = connection.execute("SELECT fingerprint FROM catalog_state").fetchone()
        except duckdb.Error:
            found = None
        if found == (fingerprint,):
            return connection
        connection.close()
        return None

    def _build_catalog(self, path: Path, fingerprint: str, statements: Sequence[str]) -> None:
        import duckdb

        draft = self.home / "tmp" / f"{secrets.token_hex(8)}.duckdb"
        try:
            with duckdb.connect() as builder:
                builder.execute(
                    f"ATTACH {_quoted(str(draft))} AS draft (STORAGE_VERSION '{CATALOG_FORMAT}')"
                )
                builder.execute("USE draft")
                builder.execute("BEGIN")  # one commit for some hundred statements
                builder.execute(
                    "CREATE TABLE catalog_state AS SELECT $fingerprint AS fingerprint, "
                    "$home AS home",
                    {"fingerprint": fingerprint, "home": str(self.home)},
                )
                for statement in statements:
                    builder.execute(statement)
                builder.execute("COMMIT")
                builder.execute("USE memory")
                builder.execute("DETACH draft")
            _flush_file(draft)
            draft.replace(path)
            _flush_folder(self.home)
        finally:
            for left in (draft, draft.with_name(f"{draft.name}.wal")):
                with contextlib.suppress(OSError):
                    left.unlink(missing_ok=True)

    def _table_views(self) -> Iterator[str]:
        for name, row in tables().items():
            yield f"CREATE OR REPLACE VIEW {name} AS {self._table_sql(row)}"
            yield f"COMMENT ON VIEW {name} IS {_quoted((row.__doc__ or '').strip())}"
            for column in columns(row):
                yield (
                    f"COMMENT ON COLUMN {name}.{column.name} IS "
                    f"{_quoted(column.meaning + (' (exact integer)' * (column.type == 'UINT')))}"
                )
                if column.type == "UINT":
                    yield (
                        f"COMMENT ON COLUMN {name}.{column.name}_text IS "
                        f"{_quoted(f'{column.name} where it has more than 38 digits')}"
                    )
            yield f"COMMENT ON COLUMN {name}.load IS 'load that brought the row, see loads'"
            yield f"COMMENT ON COLUMN {name}.day IS 'UTC day on which the row was stored'"

    def _table_sql(self, row: type[Row]) -> str:
        """Rows of finished loads, each key once: what a table means to everybody who reads it."""
        names = ", ".join(name for name, _ in _parquet_columns(row))
        if row is Load:
            text = self._current_loads(f"{names}, day")
        else:
            text = (
                f"SELECT {names}, day FROM {self._segments(row)} "
                f"WHERE load IN ({self._current_loads('load')})"
            )
        if row.repeats:
            text += (
                f" QUALIFY row_number() OVER (PARTITION BY {', '.join(row.key)} ORDER BY load) = 1"
            )
        return text

    def _current_loads(self, names: str) -> str:
        """Loads that no other replaces. The files are listed once, so that the two parts agree."""
        return (
            f"WITH stored AS MATERIALIZED (SELECT {names}, replaces AS others "
            f"FROM {self._segments(Load)}) SELECT {names} FROM stored WHERE load NOT IN ("
            "SELECT unnest(string_split(others, ' ')) FROM stored WHERE others IS NOT NULL)"
        )

    def _segments(self, row: type[Row]) -> str:
        files = self.lake / row.table / "day=*" / "*.parquet"
        return (
            f"read_parquet({_quoted(str(files))}, "
            "union_by_name = true, hive_partitioning = true, hive_types = {'day': DATE})"
        )


def _listed(lake: Path) -> set[str]:
    """Every segment that is there, by its path within the lake."""
    found = set()
    for folder in lake.glob("*/day=*"):
        place = f"{folder.parent.name}/{folder.name}"
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            found |= {f"{place}/{entry.name}" for entry in entries}
    return found


# What may be a call of a macro: of the signs before its bracket, those that begin a comment too.
_CALL = r"""(?="?[^\w,;=<>+*.)'\[\]]*(?:\(|/\*|--))"""
_CALLED = re.compile(rf"(\w+){_CALL}")
# These run text that need not stand there word by word, except where it is bound to a parameter.
_RUNS_TEXT = re.compile(
    rf"\b(?:query|query_table|json_execute_serialized_sql)\b{_CALL}(?!\s*\(\s*\$)"
)


def _tables_of(definitions: Sequence[str]) -> Callable[[str], set[str]]:
    """What tells the tables that a statement may stand on, by itself or by macros that it calls.

    Every word counts, in comments and in quotes, too: a table too many costs little, one that is
    missing makes a wrong figure.
    """
    # A query is two macros of one name, of which the published one only binds its arguments.
    bodies: dict[str, str] = {}
    for definition in definitions:
        if match := re.match(r"CREATE MACRO (?:\w+\.)?(\w+)\(", definition):
            name = match[1].lower()
            bodies[name] = bodies.get(name, "") + definition[match.end() :]

    def look(text: str) -> tuple[set[str], set[str]]:
        """The tables and the macros that a text names."""
        low = text.lower()
        if _RUNS_TEXT.search(low):
            return set(tables()), set()
        return set(re.findall(r"\w+", low)) & tables().keys(), {
            name for name in _CALLED.findall(low) if name in bodies
        }

    inside = cache(lambda name: look(bodies[name]))

    def tables_of(text: str) -> set[str]:
        found, todo = look(text)
        done: set[str] = set()
        while todo:
            name = todo.pop()
            done.add(name)
            named, called = inside(name)
            found |= named
            todo |= called - done
        return found

    return tables_of


def _lacks(failure: Exception) -> str:
    """What a disk has run out of: space, quota, or nothing."""
    number, text = getattr(failure, "errno", None), str(failure).lower()
    if number == errno.ENOSPC or "no space left on device" in text:
        return "space"
    return "quota" if number == errno.EDQUOT or "quota exceeded" in text else ""


def refuse_full(failure: Exception, folder: Path) -> None:
    """Raise StoreError where the disk that holds a folder has run out of space or quota."""
    if lack := _lacks(failure):
        state = {
            "space": f"the disk that holds {folder} is full",
            "quota": f"the disk quota for {folder} is used up",
        }[lack]
        raise StoreError(
            f"{state}: free some space and run again; what was stored before is untouched"
        ) from None


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raise StoreError in one line where the disk that holds a folder refuses what is written."""
    try:
        yield
    except OSError as failure:
        refuse_full(failure, folder)
        where = failure.filename or folder
        raise StoreError(f"{where} cannot be written: {failure.strerror or failure}") from None


def _table_shapes() -> Iterator[str]:
    """Views without rows that have the columns of the tables."""
    for name, row in tables().items():
        shape = ", ".join(f"CAST(NULL AS {kind}) AS {c}" for c, kind in _parquet_columns(row))
        yield f"CREATE VIEW {name} AS SELECT {shape}, CAST(NULL AS DATE) AS day WHERE false"


def read_file(path: Path) -> Result:
    """A CSV (every value as text) or Parquet file of somebody else's.

    The n-th row of a CSV is its line n + 1, without fields where that line is empty. Raises
    UsageError where it is missing or not what its ending says.
    """
    import duckdb

    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise UsageError(f"{path} is neither .csv nor .parquet")
    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    if kind == ".csv":
        return _read_csv(path)
    if set("*?[]") & set(str(path)):
        raise UsageError(f"{path}: rename it, its name must not contain any of * ? [ ]")
    with _engine() as engine:
        try:
            cursor = engine.execute(f"SELECT * FROM read_parquet({_quoted(str(path))})")
            rows = cursor.fetchall()
        except duckdb.Error as failure:
            raise UsageError(f"{path} cannot be read: {_one_line(str(failure))}") from None
        found = cursor.description or []
    return Result(tuple(c[0] for c in found), tuple(str(c[1]) for c in found), rows)


def _read_csv(path: Path) -> Result:
    # Not DuckDB's reader: it passes over lines that do not fit what it guessed.
    rows: list[tuple[Any, ...]] = []
    at = 1
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
            delimiter = max(",;\t|", key=re.sub(r'"[^"]*"', "", header).count)
            names = [name.strip() for name in _fields(header, delimiter)]
            for at, line in enumerate(file, start=2):
                fields = _fields(line, delimiter)
                if fields and len(fields) != len(names):
                    raise UsageError(
                        f"{path}: line {at} has {len(fields)} fields, the header {len(names)}: "
                        "give each line as many as line 1"
                    )
                rows.append(fields)
    except csv.Error as failure:
        raise UsageError(
            f"{path}: line {at} is no CSV ({failure}): put quotes around a whole field, "
            "and double one within it"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text: save it as such") from None
    except OSError as failure:
        raise UsageError(f"{path} cannot be read: {failure.strerror}") from None
    return Result(tuple(names), ("VARCHAR",) * len(names), rows)


def _fields(line: str, delimiter: str) -> tuple[str, ...]:
    """The fields of one line of CSV, none where it is blank; csv.Error where its quotes do not
    fit, so that none can swallow the lines after it."""
    if not line.strip():
        return ()
    if '"' not in line:
        return tuple(line.rstrip("\n").split(delimiter))
    if line.count('"') % 2:
        raise csv.Error("a quote is left open")
    return tuple(next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True)))


def parquet_shape(path: Path) -> tuple[int, tuple[tuple[str, str], ...], dict[str, str]]:
    """Rows, (column, DuckDB type) and key-value metadata of one Parquet file.

    Raises UsageError where it cannot be read.
    """
    import duckdb

    name = _quoted(str(path))
    source = f"read_parquet({name}, hive_partitioning = false)"
    with _engine() as engine:
        try:
            rows = engine.execute(f"SELECT count(*) FROM {source}").fetchall()[0][0]
            shape = engine.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
            notes = engine.execute(
                f"SELECT decode(key), decode(value) FROM parquet_kv_metadata({name})"
            ).fetchall()
        except duckdb.Error as failure:
            raise UsageError(f"{path} cannot be read: {_one_line(str(failure))}") from None
    return rows, tuple((column[0], str(column[1])) for column in shape), dict(notes)


def engine_version() -> str:
    """The version of the engine that computes and writes."""
    import duckdb

    return duckdb.__version__


class Merger:
    """Makes few loads of many, a little at each `step`; one process at a time does it.

    Loads of one source, target and day are merged in sizes: MERGE_FANOUT of one size become one
    of the next, and on a day that is over all become one. A step never waits. A process may die
    at any moment: what it had merged but not yet announced is removed by the next.
    """

    def __init__(
        self,
        store: Store,
        *,
        fanout: int = MERGE_FANOUT,
        settle: float = MERGE_SETTLE_SECONDS,
        grace: float = MERGE_GRACE_SECONDS,
    ) -> None:
        self._store = store
        self._fanout = fanout
        self._settle = settle
        self._grace = grace
        self._held: contextlib.ExitStack | None = None
        self._removed_at = time.monotonic() - grace
        # Merged loads whose segments are in place and wait to be announced: since when.
        self._waiting: list[tuple[float, str, Load, str]] = []
        self._cleared: set[str] = set()

    def step(self, today: str = "") -> bool:
        """Do what is due; True where anything was done or waits. False where another merges.

        `today` (YYYY-MM-DD, UTC) is the day that is not over. Raises StoreError.
        """
        if not self._hold():
            return False
        today = today or f"{datetime.now(UTC):%Y-%m-%d}"
        try:
            announced = self._announce()
            loads = self._loads()
            removed = 0
            if time.monotonic() - self._removed_at >= self._grace:
                removed = self._remove(loads)
                self._removed_at = time.monotonic()
            merged = self._merge(loads, today)
        except Exception as failure:
            self._store._refuse(failure)
        if not self._waiting:
            self._release()  # a collector that runs for weeks lets retention have its turn
        return bool(announced or removed or merged or self._waiting)

    def take(self) -> bool:
        """Be the one who merges, until `step` finds nothing to do or `close`; False where
        another process is."""
        return self._hold()

    @property
    def waits(self) -> bool:
        """Whether something is written that does not count yet."""
        return bool(self._waiting)

    def retire(self, dropped: Sequence[str], kept: Sequence[str], closed_before: str) -> int:
        """Write the loads that hold rows of dropped snapshots again without them.

        Loads of days before `closed_before` keep the rows of `kept` only, so that what a crash
        left of a snapshot goes, too. Returns the loads written; like merged ones they count once
        `step` has announced them. Raises StoreBusy where another process merges, and StoreError.
        """
        if not self._hold():
            raise StoreBusy(f"another process merges the loads in {self._store.home}")
        own = {name for name, row in tables().items() if "snapshot" in row.key and not row.repeats}
        taken = {old for w in self._waiting for old in (w[2].replaces or "").split(" ")}
        done = 0
        try:
            # What makes a snapshot count goes first: nobody may see one without its balances.
            for load, receipt, day in sorted(
                self._loads(), key=lambda e: "snapshots" not in self._counts(e)
            ):
                names = own & self._counts((load, receipt, day)).keys()
                ids = kept if day < closed_before else dropped
                if load in taken or not names or (ids is dropped and not dropped):
                    continue
                inside = "IN" if ids is dropped else "NOT IN"
                listed = ", ".join(map(_quoted, ids)) or "NULL"
                gone = f"snapshot {inside} ({listed})" if ids or ids is dropped else "true"
                if self._holds_any(load, day, sorted(names), gone):
                    self._write([(load, receipt)], day, dict.fromkeys(names, gone))
                    done += 1
        except Exception as failure:
            self._store._refuse(failure)
        return done

    def _counts(self, entry: tuple[str, Load, str]) -> dict[str, int]:
        """Rows per table of a load; StoreError where its row in `loads` does not say them."""
        load, receipt, day = entry
        return self._store._counts(load, day, receipt.tables)

    def _holds_any(self, load: str, day: str, names: Sequence[str], condition: str) -> bool:
        with _engine() as engine:
            for name in names:
                path = str(self._store._segment(name, day, load))
                found = engine.execute(
                    "SELECT 1 FROM read_parquet($path, hive_partitioning = false) "
                    f"WHERE {condition} LIMIT 1",
                    {"path": path},
                ).fetchall()
                if found:
                    return True
        return False

    def close(self) -> None:
        """Let others merge; the next removes what was not announced."""
        self._waiting.clear()
        self._release()

    def _release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def __enter__(self) -> Merger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hold(self) -> bool:
        if self._held is not None:
            return True
        held = contextlib.ExitStack()
        try:
            held.enter_context(self._store.hold("merging"))
        except StoreBusy:
            return False
        self._held = held
        return True

    def _loads(self) -> list[tuple[str, Load, str]]:
        """(load, receipt, day) of every load that counts, oldest first."""
        names = ", ".join(c.name for c in columns(Load))
        stored = self._store._table_sql(Load)
        text = f"SELECT load, day::VARCHAR, {names} FROM ({stored}) ORDER BY load"
        with _engine() as engine:
            found = _read(lambda: engine.execute(text).fetchall())
        fields = Load.__struct_fields__
        return [(row[0], Load(**dict(zip(fields, row[2:], strict=True))), row[1]) for row in found]

    def _announce(self) -> int:
        """Let merged loads count whose segments have been in place for long enough."""
        due = [w for w in self._waiting if time.monotonic() - w[0] >= self._settle]
        for entry in due:
            _, load, receipt, day = entry
            with self._store._publishing() as publish, _engine() as engine:
                draft = self._store._draft(load, Load.table)
                publish.append((draft, self._store._segment(Load.table, day, load)))
                _write_segment(engine, draft, Load, [receipt], load)
            self._waiting.remove(entry)
        return len(due)

    def _remove(self, loads: Sequence[tuple[str, Load, str]]) -> int:
        """Remove the files of replaced loads, and of merged ones that were never announced.

        A load's row in `loads` goes last: it is hidden until all of it is gone.
        """
        store = self._store
        segments: list[Path] = []
        rows: list[Path] = []
        for load, receipt, day in loads:
            if not receipt.replaces or load in self._cleared:
                continue
            announced = store._segment(Load.table, day, load).stat().st_mtime
            if time.time() - announced < self._grace:
                continue
            for old in receipt.replaces.split(" "):
                segments += [
                    store._segment(t, day, old) for t in self._counts((load, receipt, day))
                ]
                rows.append(store._segment(Load.table, day, old))
            self._cleared.add(load)
        # Nobody else merges now: what is merged and unknown belongs to the dead.
        known = {load for load, _, _ in loads} | {waiting[1] for waiting in self._waiting}
        known |= {old for _, receipt, _ in loads for old in (receipt.replaces or "").split()}
        segments += [
            path
            for path in store.lake.glob(f"*/day=*/*{_MERGED}.parquet")
            if path.stem not in known and time.time() - path.stat().st_mtime >= self._grace
        ]
        for path in (*segments, *rows):
            path.unlink(missing_ok=True)
        return len(segments)

    def _merge(self, loads: Sequence[tuple[str, Load, str]], today: str) -> int:
        """Write what is to be merged; it does not count yet."""
        taken = {old for w in self._waiting for old in (w[2].replaces or "").split(" ")}
        groups: dict[tuple[str, str, str, int], list[tuple[str, Load]]] = {}
        for load, receipt, day in loads:
            if load in taken or receipt.rows > MERGE_ROWS:
                continue
            size = 0 if day < today else int(math.log(receipt.merged or 1, self._fanout) + 1e-9)
            groups.setdefault((receipt.source, receipt.target, day, size), []).append(
                (load, receipt)
            )
        done = 0
        for (_, _, day, _), group in groups.items():
            enough = 2 if day < today else self._fanout
            for part in _parts(group):
                if len(part) >= enough:
                    self._write(part, day)
                    done += 1
        return done

    def _write(
        self,
        group: Sequence[tuple[str, Load]],
        day: str,
        gone: Mapping[str, str] = {},
    ) -> None:
        """Write one load for several, without the rows that `gone` (SQL per table) names."""
        receipts = [receipt for _, receipt in group]
        stored = [(old, self._counts((old, receipt, day))) for old, receipt in group]
        counts = {
            name: sum(parts.get(name, 0) for _, parts in stored)
            for name in sorted({name for _, parts in stored for name in parts})
        }
        # Named by the time of its oldest, so that of rows of equal key the same one stays first.
        load = f"{group[0][0].split('-')[0]}-{secrets.token_hex(4)}{_MERGED}"
        with self._store._publishing() as publish, _engine() as engine:
            for table in counts:
                parts = {
                    f"{table}/day={day}/{old}.parquet": rows[table]
                    for old, rows in stored
                    if table in rows
                }
                self._store._require_counts(engine, parts, [table])
                draft = self._store._draft(load, table)
                publish.append((draft, self._store._segment(table, day, load)))
                engine.execute(
                    f"COPY (SELECT * REPLACE ({_quoted(load)} AS load) FROM read_parquet($parts, "
                    "union_by_name = true, hive_partitioning = false) "
                    f"WHERE NOT coalesce({gone.get(table, 'false')}, false)) "
                    f"TO {_quoted(str(draft))} (FORMAT parquet, COMPRESSION zstd)",
                    {"parts": [f"{self._store.lake}/{place}" for place in parts]},
                )
                if table in gone:
                    counts[table] = engine.execute(
                        "SELECT count(*) FROM read_parquet($path, hive_partitioning = false)",
                        {"path": str(draft)},
                    ).fetchall()[0][0]
                _flush_file(draft)
        # What these replaced themselves is hidden by this one from now on, as long as it is there.
        older = [
            old
            for receipt in receipts
            for old in (receipt.replaces or "").split()
            if self._store._segment(Load.table, day, old).exists()
        ]
        receipt = Load(
            source=receipts[0].source,
            target=receipts[0].target,
            stored_at=max(r.stored_at for r in receipts),
            tables=json.dumps(counts),
            rows=sum(counts.values()) if gone else sum(r.rows for r in receipts),
            cursor=max(
                (r for r in receipts if r.cursor is not None),
                key=lambda r: r.stored_at,
                default=receipts[0],
            ).cursor,
            merged=sum(r.merged or 1 for r in receipts),
            replaces=" ".join([*(old for old, _ in group), *older]),
        )
        self._waiting.append((time.monotonic(), load, receipt, day))


_COUNTS = msgspec.json.Decoder(dict[str, Annotated[int, msgspec.Meta(ge=0)]])
_LOAD_TIME = "%Y%m%dT%H%M%S%f"
_MERGED = "m"


def _parts(group: Sequence[tuple[str, Load]]) -> Iterator[list[tuple[str, Load]]]:
    """Consecutive loads that together stay below the rows of a large one."""
    part: list[tuple[str, Load]] = []
    rows = 0
    for entry in group:
        if part and rows + entry[1].rows > MERGE_ROWS:
            yield part
            part, rows = [], 0
        part.append(entry)
        rows += entry[1].rows
    if part:
        yield part


class Catalog:
    """A read-only connection to the views and macros.

    `refuse` raises StoreError for what no query is to blame for, and `require` for a statement
    that stands on tables of which segments are lost, or have other rows than were stored. One
    thread reads, in the order of the segments' names: threads add floating-point numbers in any
    order, and the same question to the same lake has the same bytes as its answer.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        path: Path,
        refuse: Callable[[Exception], None] = lambda failure: None,
        require: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._connection = connection
        self._refuse = refuse
        self.require = require
        self.path = path
        self._left = False
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET threads = 1")

    def run(self, text: str, parameters: Mapping[str, object] | None = None) -> Result:
        """Run one SELECT; UsageError carries the engine's own message in one line.

        Raises StoreError where a segment cannot be read or is lost, or the disk is full.
        """
        import duckdb

        self.require(text)

        def ask() -> tuple[list[Any], list[tuple[Any, ...]]]:
            cursor = self._connection.execute(text, dict(parameters) if parameters else None)
            return cursor.description or [], cursor.fetchall()

        try:
            description, rows = _read(ask)
        except duckdb.Error as failure:
            self._refuse(failure)
            raise UsageError(_one_line(str(failure))) from None
        return Result(
            columns=tuple(c[0] for c in description),
            types=tuple(str(c[1]) for c in description),
            rows=rows,
        )

    def keep(
        self,
        table: str,
        text: str,
        parameters: Mapping[str, object] | None = None,
        *,
        append: bool = False,
    ) -> None:
        """Keep what a SELECT returns as a temporary table, or add it to the one that is there."""
        head = (
            f"INSERT INTO {table} BY NAME" if append else f"CREATE OR REPLACE TEMP TABLE {table} AS"
        )
        self.run(f"{head}\n{text}", parameters)

    def add(self, table: str, result: Result) -> None:
        """Add rows that came from elsewhere to a kept table, by position."""
        if result.rows:
            marks = ", ".join(["?"] * len(result.columns))
            values = ", ".join([f"({marks})"] * len(result.rows))
            flat = [value for row in result.rows for value in row]
            self._connection.execute(f"INSERT INTO {table} VALUES {values}", flat)

    def write_parquet(self, table: str, path: Path, meanings: Mapping[str, str]) -> None:
        """Write a table as one zstd Parquet file and flush it to disk.

        `meanings` goes into the file's key-value metadata, as text by name. Raises UsageError.
        """
        notes = ", ".join(f"{_quoted(k)}: {_quoted(v)}" for k, v in meanings.items())
        self.run(
            f"COPY (FROM {table}) TO {_quoted(str(path))} "
            f"(FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{notes}}})"
        )
        _flush_file(path)

    def faulty_line(self, text: str, parameters: Mapping[str, object]) -> int | None:
        """The line of a statement that the engine objects to, from 1; None if it names none."""
        import duckdb

        try:
            # Of several statements EXPLAIN would run all but the first.
            if len(self._connection.extract_statements(text)) < 2:
                self._connection.execute(f"EXPLAIN {text}", dict(parameters) or None)
        except duckdb.Error as failure:
            found = re.search(r"^LINE (\d+):", str(failure), re.MULTILINE)
            return int(found[1]) if found else None
        return None

    def statement_kinds(self, text: str) -> list[str]:
        """The kinds of the statements in a text (SELECT, INSERT, …), without running them."""
        import duckdb

        try:
            return [s.type.name for s in self._connection.extract_statements(text)]
        except duckdb.Error as failure:
            raise UsageError(_one_line(str(failure))) from None

    def interrupt(self) -> None:
        """Stop the running query (from another thread)."""
        self._connection.interrupt()

    def leave(self) -> None:
        """Leave a statement behind that does not stop: closing would have to wait for it."""
        self._left = True

    def close(self) -> None:
        if not self._left:
            self._connection.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def _engine() -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


T = TypeVar("T")


def _read(ask: Callable[[], T]) -> T:
    """The answer; asked again where a file was removed between being listed and being opened."""
    import duckdb

    for pause in READ_PAUSES:
        try:
            return ask()
        except duckdb.IOException as failure:
            if "No such file" not in str(failure):
                raise
        time.sleep(pause)
    return ask()


def _parquet_columns(row: type[Row]) -> tuple[tuple[str, str], ...]:
    stored = tuple(pair for column in columns(row) for pair in column.stored)
    return (*stored, ("load", "VARCHAR"))


def _write_segment(
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
    for name, kind in _parquet_columns(row)[:-1]:
        stamp = kind == "TIMESTAMPTZ"
        selected.append(f"{f'make_timestamptz({name})' if stamp else name}::{kind} AS {name}")
    selected.append(f"{_quoted(load)}::VARCHAR AS load")
    engine.register("batch", arrays)
    try:
        engine.execute(
            f"COPY (SELECT {', '.join(selected)} FROM batch) TO {_quoted(str(path))} "
            "(FORMAT parquet, COMPRESSION zstd)"
        )
    finally:
        engine.unregister("batch")
    _flush_file(path)


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


def _read_back(column: Column) -> str:
    if column.type == "UINT":
        return f"coalesce({column.name}_text, {column.name}::VARCHAR)"
    return column.name


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _one_line(text: str) -> str:
    """The engine's message up to the quoted statement, on one line."""
    head = text.split("\n\nLINE ", 1)[0]
    return " ".join(head.split())


def _flush_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(path: Path) -> None:
    _flush_file(path)
