"""The lake: loads that are there whole or not at all, and what was lost of them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import msgspec

from chainwatch.errors import ConfigError, StoreBusy, StoreError, UsageError
from chainwatch.lake.catalog import Catalog, read_statement
from chainwatch.lake.engine import connect
from chainwatch.lake.segments import (
    flush_file,
    flush_folder,
    one_line,
    parquet_columns,
    quoted,
    read_back,
    write_segment,
)
from chainwatch.tables.base import Row, columns
from chainwatch.tables.log import Load
from chainwatch.tables.registry import tables

if TYPE_CHECKING:
    import duckdb


R = TypeVar("R", bound=Row)

CATALOG_NAME = "chainwatch.duckdb"
CATALOG_FORMAT = "v1.0.0"  # older clients of the duckdb shell can open it
SEED_DAY = "1970-01-01"
# A temporary file older than this belongs to nobody alive: a segment takes seconds.
ABANDONED_AFTER_SECONDS = 600


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
        with self._publishing() as publish, connect() as engine:
            for row_type, batch in by_table.items():
                draft = self._draft(load, row_type.table)
                publish.append((draft, self._segment(row_type.table, f"{now:%Y-%m-%d}", load)))
                write_segment(engine, draft, row_type, batch, load)
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
                flush_folder(segment.parent)
                flush_folder(segment.parent.parent)
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
                flush_file(draft)
                path.parent.mkdir(parents=True, exist_ok=True)
                draft.rename(path)
                flush_folder(path.parent)
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
        with connect() as engine:
            for row, seed in missing:
                draft = self.home / "tmp" / f"{secrets.token_hex(8)}-{seed.name}"
                for folder in (seed.parent, draft.parent):
                    folder.mkdir(parents=True, exist_ok=True)
                try:
                    write_segment(engine, draft, row, [], "")
                    draft.rename(seed)
                finally:
                    draft.unlink(missing_ok=True)

    def _seed_path(self, row: type[Row]) -> Path:
        shape = ",".join(f"{n} {t}" for n, t in parquet_columns(row))
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
            reason = one_line(str(failure)).replace(str(path), path.name)
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
        with connect() as engine:
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
            for load, day, tables in read_statement(lambda: engine.execute(text).fetchall())
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
        found = read_statement(lambda: self._rows_of(engine, mine))
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
        selected = ", ".join(read_back(c) for c in columns(row))
        text = f"SELECT {selected} FROM ({self._table_sql(row)})"
        if where:
            text += f" WHERE {where}"
        import duckdb

        try:
            with connect() as engine:
                if "snapshot" in row.key:
                    expected = self._stored(engine)
                    self._require_whole(self._lost(engine, expected), [row.table])
                    self._require_counts(engine, expected, [row.table])
                found = read_statement(lambda: engine.execute(text, dict(values)).fetchall())
        except duckdb.Error as failure:
            self._refuse_storage(failure, self.home)
            raise StoreError(
                f"{self.lake / row.table} cannot be read: {one_line(str(failure))}"
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
                raise UsageError(one_line(str(failure))) from None
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
            connection.execute("BEGIN")  # one commit for some hundred statements
            # As in `catalog`: definitions are checked against empty tables, which is much faster.
            for statement in (*_table_shapes(), *definitions):
                connection.execute(statement)
            for name, row in tables().items():
                text = self._table_sql(row)
                if "snapshot" not in row.key:
                    connection.execute(f"CREATE OR REPLACE VIEW {name} AS {text}")
                    continue
                chosen = [*whole, *parameters] if "account" not in row.key else list(whole)
                ids = ", ".join(map(quoted, chosen)) or "NULL"
                connection.execute(f"DROP VIEW {name}")
                connection.execute(
                    f"CREATE TABLE {name} AS SELECT * FROM ({text}) "
                    f"WHERE snapshot IN ({ids}) ORDER BY {', '.join(row.key)}"
                )
            connection.execute("COMMIT")
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
            f"{self.lake} holds a file that is no segment of ours: {one_line(str(failure))}"
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
                    f"ATTACH {quoted(str(draft))} AS draft (STORAGE_VERSION '{CATALOG_FORMAT}')"
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
            flush_file(draft)
            draft.replace(path)
            flush_folder(self.home)
        finally:
            for left in (draft, draft.with_name(f"{draft.name}.wal")):
                with contextlib.suppress(OSError):
                    left.unlink(missing_ok=True)

    def _table_views(self) -> Iterator[str]:
        for name, row in tables().items():
            yield f"CREATE OR REPLACE VIEW {name} AS {self._table_sql(row)}"
            yield f"COMMENT ON VIEW {name} IS {quoted((row.__doc__ or '').strip())}"
            for column in columns(row):
                yield (
                    f"COMMENT ON COLUMN {name}.{column.name} IS "
                    f"{quoted(column.meaning + (' (exact integer)' * (column.type == 'UINT')))}"
                )
                if column.type == "UINT":
                    yield (
                        f"COMMENT ON COLUMN {name}.{column.name}_text IS "
                        f"{quoted(f'{column.name} where it has more than 38 digits')}"
                    )
            yield f"COMMENT ON COLUMN {name}.load IS 'load that brought the row, see loads'"
            yield f"COMMENT ON COLUMN {name}.day IS 'UTC day on which the row was stored'"

    def _table_sql(self, row: type[Row]) -> str:
        """Rows of finished loads, each key once: what a table means to everybody who reads it."""
        names = ", ".join(name for name, _ in parquet_columns(row))
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
            f"read_parquet({quoted(str(files))}, "
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
        shape = ", ".join(f"CAST(NULL AS {kind}) AS {c}" for c, kind in parquet_columns(row))
        yield f"CREATE VIEW {name} AS SELECT {shape}, CAST(NULL AS DATE) AS day WHERE false"


_COUNTS = msgspec.json.Decoder(dict[str, Annotated[int, msgspec.Meta(ge=0)]])
_LOAD_TIME = "%Y%m%dT%H%M%S%f"
