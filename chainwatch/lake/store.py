"""The lake of one home folder: loads that are there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from chainwatch.bulk import bulk
from chainwatch.errors import ConfigError, StoreBusy, StoreError, UsageError
from chainwatch.lake import catalog_file
from chainwatch.lake.catalog import Catalog, read_statement
from chainwatch.lake.engine import connect, interruptible
from chainwatch.lake.faults import exhausted, refuse_read, refuse_storage, refuse_write
from chainwatch.lake.guard import guarded_catalog
from chainwatch.lake.holdings import read_holdings
from chainwatch.lake.layout import SEED_DAY, SEED_PERIOD, Layout
from chainwatch.lake.locks import hold_lock
from chainwatch.lake.publication import keep_document, publishing
from chainwatch.lake.receipts import Listing, Receipts
from chainwatch.lake.relations import (
    bound_query,
    empty_views,
    snapshot_copy,
    table_query,
    table_views,
)
from chainwatch.lake.segments import (
    Part,
    count_of,
    file_digest,
    one_line,
    read_back,
    write_parts,
    write_segment,
)
from chainwatch.tables.base import Row, columns
from chainwatch.tables.columns import Columns, Holdings
from chainwatch.tables.lending import Account, Leg
from chainwatch.tables.log import Load
from chainwatch.tables.registry import snapshot_tables, tables

if TYPE_CHECKING:
    import duckdb


R = TypeVar("R", bound=Row)

# A draft older than this has no living writer: a segment takes seconds.
ABANDONED_AFTER_SECONDS = 600
_LOAD_TIME = "%Y%m%dT%H%M%S%f"


class Store:
    """The lake of one home folder. Any number of processes may write to it and read from it."""

    def __init__(self, home: Path) -> None:
        self.home = home.expanduser().absolute()
        if set("*?[]") & set(str(self.home)):
            raise ConfigError(f"the home folder {self.home} must not contain any of * ? [ ]")
        self.layout = Layout(self.home)
        self.receipts = Receipts(self.layout)

    @property
    def lake(self) -> Path:
        return self.layout.lake

    @property
    def exists(self) -> bool:
        return self.lake.is_dir()

    def create(self) -> None:
        """Make the folders and the empty segment of each table; safe to call again."""
        try:
            for folder in (self.lake, self.layout.drafts, self.layout.locks):
                folder.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned()
            self._seed(*tables().values())
        except Exception as failure:
            refuse_write(self.layout, failure)

    def require(self) -> None:
        """Raise UsageError where no lake has been made yet."""
        if not self.exists:
            raise UsageError(
                f"there is no lake in {self.home} yet: run `chainwatch demo`, or "
                "`chainwatch collect aave-v3 --market ethereum`, or name another folder with --home"
            )

    # --- writing -------------------------------------------------------------------------

    def append(
        self,
        rows: Sequence[Row],
        *,
        source: str,
        target: str = "",
        cursor: Any = None,
        columns: Sequence[Columns] = (),
    ) -> Load:
        """Store one load; when this returns, the rows and the cursor survive a crash.

        Rows that are given as columns come before the others.

        Raises StoreError where the disk refuses (full, read-only): nothing of the load counts.
        ValueError where the program states the rows of a table: no load brings those.
        """
        now = datetime.now(UTC)
        load = f"{now:{_LOAD_TIME}}-{secrets.token_hex(4)}"
        by_table: dict[type[Row], list[Row]] = {}
        for row in rows:
            by_table.setdefault(type(row), []).append(row)
        parts: dict[type[Row], list[Part]] = {}
        for part in columns:
            parts.setdefault(part.row, []).append(part)
        for table, batch in by_table.items():
            parts.setdefault(table, []).append(batch)
        for table in parts:
            if table.stated_by:
                raise ValueError(
                    f"expected rows that a load may bring, got rows of {table.table}: they are "
                    f"stated by {table.stated_by}"
                )
        receipt = Load(
            source=source,
            target=target,
            stored_at=now,
            tables=json.dumps({t.table: sum(map(count_of, own)) for t, own in parts.items()}),
            rows=sum(count_of(part) for own in parts.values() for part in own),
            cursor=None if cursor is None else msgspec.json.encode(cursor).decode(),
            snapshot_ids=json.dumps(_snapshot_ids(by_table, columns)),
        )
        day, digests = f"{now:%Y-%m-%d}", {}
        with publishing(self.layout) as publication, connect() as engine:
            for row_type, own in parts.items():
                draft = publication.add_segment(row_type.table, day, load)
                with bulk():
                    write_parts(engine, draft, row_type, own, load)
                digests[row_type.table] = file_digest(draft)
            receipt = msgspec.structs.replace(receipt, digests=json.dumps(digests))
            return publication.add_receipt(day, load, receipt)

    def keep(self, body: bytes) -> str:
        """Keep the bytes of a document for good, once; returns their SHA-256.

        Raises StoreError where the disk refuses.
        """
        name = hashlib.sha256(body).hexdigest()
        keep_document(self.layout, name, body)
        return name

    def document(self, sha256: str) -> Path:
        """Where the bytes with that hash are kept."""
        return self.layout.document(sha256)

    @contextlib.contextmanager
    def hold(self, source: str, target: str = "") -> Iterator[None]:
        """Be the only collector of a source and target; StoreBusy names the other process."""
        with hold_lock(self.layout, f"{source}@{target}" if target else source):
            yield

    def held(self, source: str, target: str = "") -> bool:
        """Whether a source and target are being collected now."""
        try:
            with self.hold(source, target):
                return False
        except StoreBusy:
            return True

    def _remove_abandoned(self) -> None:
        for path in self.layout.drafts.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > ABANDONED_AFTER_SECONDS:
                    path.unlink()

    def _seed(self, *rows: type[Row]) -> None:
        """Write empty segments with today's columns, so that views are valid before any row."""
        missing = [
            (row, seed, day)
            for row in rows
            for span, day in ((SEED_DAY, ""), (SEED_PERIOD, SEED_DAY))
            if not row.stated_by and not (seed := self.layout.seed(row, span)).exists()
        ]
        if not missing:
            return
        with connect() as engine:
            for row, seed, day in missing:
                draft = self.layout.new_draft(seed.name)
                for folder in (seed.parent, draft.parent):
                    folder.mkdir(parents=True, exist_ok=True)
                try:
                    write_segment(engine, draft, row, [], "", day)
                    draft.rename(seed)
                finally:
                    draft.unlink(missing_ok=True)

    def require_unchanged(self) -> int:
        """Compare the segments of all loads that count with their SHA-256; how many there are.

        Those of loads that list none are not compared. Raises StoreError naming the first that is
        lost or other than what was stored.
        """
        import duckdb

        try:
            return self.receipts.require_unchanged()
        except duckdb.Error as failure:
            refuse_read(self.layout, failure, self.home)
        except OSError as failure:
            raise StoreError(
                f"{failure.filename} cannot be read: {failure.strerror or failure}"
            ) from None

    def seed_period(self, row: type[Row]) -> Path:
        """The empty segment of a table that has the column `day`; it is made where it is not."""
        self._seed(row)
        return self.layout.seed(row, SEED_PERIOD)

    # --- reading -------------------------------------------------------------------------

    def rows(self, row: type[R], where: str = "", values: Mapping[str, object] = {}) -> list[R]:
        """Rows of a table as objects, each key once; `where` is SQL with $names from `values`.

        Raises StoreError where a segment cannot be read, or one with parts of snapshots is lost or
        has other rows than were stored.
        """
        self._seed(row, Load)
        selected = ", ".join(read_back(c) for c in columns(row))
        import duckdb

        try:
            with connect() as engine:

                def ask() -> list[tuple[Any, ...]]:
                    if "snapshot" not in row.key:
                        stored = table_query(self.layout, row)
                    else:
                        listing = self.receipts.listing()
                        self.receipts.require_whole(listing, [row.table])
                        self.receipts.require_counts(engine, listing.expected(row.table))
                        stored = bound_query(self.layout, row, listing.places(row.table))
                    text = f"SELECT {selected} FROM ({stored})"
                    text += f" WHERE {where}" if where else ""
                    with bulk():
                        return engine.execute(text, dict(values)).fetchall()

                lines = read_statement(ask, lambda: True)
        except duckdb.Error as failure:
            refuse_storage(self.layout, failure, self.home)
            raise StoreError(
                f"{self.lake / row.table} cannot be read: {one_line(str(failure))}"
            ) from None
        convert = [i for i, c in enumerate(columns(row)) if c.type == "UINT"]
        names = row.__struct_fields__
        made = []
        with bulk():
            for line in lines:
                fields = dict(zip(names, line, strict=True))
                for i in convert:
                    if line[i] is not None:
                        fields[names[i]] = int(line[i])
                made.append(row(**fields))
        return made

    def holdings(self, snapshot: str) -> Holdings:
        """What the accounts of a stored snapshot hold, in which each address is an account.

        Raises StoreError as `rows` does.
        """
        self._seed(Account, Leg, Load)
        import duckdb

        try:
            with connect() as engine:

                def ask() -> Holdings:
                    listing = self.receipts.listing()
                    stored = {}
                    for row in (Account, Leg):
                        self.receipts.require_whole(listing, [row.table])
                        self.receipts.require_counts(engine, listing.expected(row.table))
                        places = listing.places(row.table, [snapshot])
                        stored[row.table] = bound_query(self.layout, row, places)
                    return read_holdings(engine, stored[Account.table], stored[Leg.table], snapshot)

                return read_statement(ask, lambda: True)
        except duckdb.Error as failure:
            refuse_storage(self.layout, failure, self.home)
            raise StoreError(
                f"{self.lake / Leg.table} cannot be read: {one_line(str(failure))}"
            ) from None

    def cursor(self, source: str, target: str = "") -> Any:
        """The cursor of the last stored load of a source and target, or None."""
        newest = self.rows(
            Load,
            "source = $source AND target = $target AND cursor IS NOT NULL "
            "ORDER BY stored_at DESC LIMIT 1",
            {"source": source, "target": target},
        )
        return msgspec.json.decode(newest[0].cursor or "null") if newest else None

    def catalog(self, definitions: Sequence[str]) -> Catalog:
        """The catalog, read-only, rebuilt first where tables, queries or the folder changed.

        `definitions` are statements that use the tables. Where the file cannot be used (another
        process opened it for writing, the folder is read-only, or the disk is full), the same
        views are made in memory: reading never waits.
        """
        import duckdb

        self.require()
        try:
            self._seed(*tables().values())
        except Exception as failure:
            refuse_write(self.layout, failure)
        checked, views = self._statements(definitions)
        statements = [*checked, *views]
        fingerprint = self._fingerprint(statements)
        path = self.layout.catalog
        try:
            connection = catalog_file.open_current(path, fingerprint)
            if connection is None:
                catalog_file.build(self.layout, fingerprint, checked, views)
                connection = catalog_file.open_current(path, fingerprint)
        except (duckdb.IOException, OSError):
            connection = None
        except duckdb.Error as failure:
            if not exhausted(failure):
                refuse_read(self.layout, failure, self.home)
            connection = None
        if connection is None:
            connection = duckdb.connect()
            try:
                with interruptible():
                    for statement in statements:
                        connection.execute(statement)
            except duckdb.Error as failure:
                refuse_read(self.layout, failure, self.home)
        return guarded_catalog(
            self.layout,
            self.receipts,
            connection,
            path,
            definitions,
            self._listing(self.home),
            folder=self.home,
        )

    def _statements(self, definitions: Sequence[str]) -> tuple[list[str], list[str]]:
        """What makes the catalog: definitions, and the views of the tables.

        Definitions are checked against empty tables: the views open every segment when looked at.
        """
        return [*empty_views(), *definitions], list(table_views(self.layout))

    def _fingerprint(self, statements: Sequence[str]) -> str:
        return hashlib.sha256("\n".join([str(self.home), *statements]).encode()).hexdigest()

    def _listing(self, folder: Path) -> Listing:
        """The loads that count now. Raises StoreError, where the disk is full it names `folder`."""
        import duckdb

        try:
            return self.receipts.listing()
        except duckdb.Error as failure:
            refuse_read(self.layout, failure, folder)

    @contextlib.contextmanager
    def frozen(
        self,
        definitions: Sequence[str],
        path: Path,
        *,
        complete: Sequence[str],
        parameters: Sequence[str] = (),
        changed: Sequence[str] = (),
        uncopied: Collection[str] = (),
        without: Mapping[str, str] = {},
    ) -> Iterator[Catalog]:
        """The catalog over a copy of some snapshots, in a database of its own at `path`.

        `path` lies in a folder made for it; errors name the folder in which that one was made.
        Macros in `changed` stand in the place of their namesakes among the definitions. Of
        the snapshots in `complete` every row is copied, of those in `parameters` all but accounts
        and balances; `without` says by table, as SQL, which rows are left out. Rows lie in the
        order of their key and one thread reads them: the same rows give the same bits, however the
        lake's segments are cut. Tables that belong to no snapshot and those in `uncopied` are read
        from the lake. Raises StoreError where a segment cannot be read or the disk is full.
        """
        import duckdb

        self.require()
        self._seed(*tables().values())
        copied = [
            name for name, row in tables().items() if "snapshot" in row.key and name not in uncopied
        ]
        folder = path.parent.parent
        try:
            checked, views = self._statements(definitions)
            made = catalog_file.copy_current(
                self.layout.catalog, self._fingerprint([*checked, *views]), path
            )
            if made is None:
                catalog_file.create(path, checked)
                made = duckdb.connect(str(path))
            connection = made
            for statement in changed:
                connection.execute(statement.replace("CREATE MACRO", "CREATE OR REPLACE MACRO", 1))
        except duckdb.Error as failure:
            refuse_read(self.layout, failure, folder)
        try:
            with interruptible():

                def fill() -> Listing:
                    listing = self.receipts.listing()
                    self.receipts.require_whole(listing, copied)
                    self._fill_copy(connection, listing, copied, complete, parameters, without)
                    return listing

                listing = read_statement(fill, lambda: True)
        except duckdb.Error as failure:
            connection.close()
            refuse_read(self.layout, failure, folder)
        with guarded_catalog(
            self.layout,
            self.receipts,
            connection,
            path,
            _replaced(definitions, changed),
            listing,
            folder=folder,
            copied=copied,
        ) as catalog:
            yield catalog

    def _fill_copy(
        self,
        connection: duckdb.DuckDBPyConnection,
        listing: Listing,
        copied: Collection[str],
        complete: Sequence[str],
        parameters: Sequence[str],
        without: Mapping[str, str],
    ) -> None:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("BEGIN")
        try:
            for name, row in tables().items():
                if name not in copied:
                    text = table_query(self.layout, row)
                    connection.execute(f"CREATE OR REPLACE VIEW {name} AS {text}")
                    continue
                snapshots = [*complete, *parameters] if "account" not in row.key else [*complete]
                connection.execute(f"DROP VIEW {name}")
                places = listing.places(name, snapshots)
                left_out = without.get(name, "")
                connection.execute(snapshot_copy(self.layout, row, places, snapshots, left_out))
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _replaced(definitions: Sequence[str], changed: Sequence[str]) -> list[str]:
    """The definitions with those of `changed` in the place of their namesakes."""
    heads = {statement.partition("(")[0] for statement in changed}
    return [*(d for d in definitions if d.partition("(")[0] not in heads), *changed]


def _snapshot_ids(
    by_table: Mapping[type[Row], Sequence[Row]], parts: Sequence[Columns]
) -> list[str]:
    """The snapshots to which any of these rows belong."""
    own = snapshot_tables()
    ids = {
        row.snapshot  # type: ignore[attr-defined]
        for table, rows in by_table.items()
        if table.table in own
        for row in rows
    }
    ids.update(part.values["snapshot"] for part in parts if part.row.table in own and part.count)
    return sorted(ids)
