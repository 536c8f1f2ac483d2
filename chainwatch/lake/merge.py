"""Merging: few large segments in place of many small ones."""

from __future__ import annotations

import contextlib
import json
import math
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from chainwatch.errors import StoreBusy
from chainwatch.lake.engine import connect
from chainwatch.lake.faults import refuse_write
from chainwatch.lake.layout import SUFFIX, is_period, segment_place
from chainwatch.lake.publication import publishing
from chainwatch.lake.receipts import StoredLoad
from chainwatch.lake.segments import file_digest, flush_file, flush_folder, quoted
from chainwatch.lake.store import Store
from chainwatch.tables.log import Load
from chainwatch.tables.registry import snapshot_tables, tables

# So many loads of a size become one of the next size.
MERGE_FANOUT = 8
# A load with more rows is large enough.
MERGE_ROWS = 1_000_000
# A query lists the files of all its tables within this time. Merged segments lie there unseen
# for so long before they count, so that no query sees the new `loads` with the old segments.
MERGE_SETTLE_SECONDS = 10.0
# Replaced files are removed this long after they were replaced, and not more often than that.
MERGE_GRACE_SECONDS = 300.0
# Nobody writes into the folder of a day that has been over for so long.
FOLDER_AGE = timedelta(days=2)


class _Unannounced(msgspec.Struct, frozen=True):
    """A merged load whose segments are in place and that does not count yet, and what it replaces.

    `written_at` is of time.monotonic(); in a file, of time.time().
    """

    load: StoredLoad
    parts: tuple[str, ...]
    written_at: float


class Merger:
    """Makes few loads of many, a little at each `step`; one process at a time does it.

    Loads of one source, target and day are merged in sizes: MERGE_FANOUT of one size become one
    of the next, and on a day that is over all become one. So do those of a month and of a year that
    is over, as far as together they stay below MERGE_ROWS. A step never waits. What was merged and
    not announced at `close` is announced by the next. A process may die at any moment: then it is
    removed by the next.
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
        self._layout = store.layout
        self._receipts = store.receipts
        self._fanout = fanout
        self._settle = settle
        self._grace = grace
        self._lock: contextlib.ExitStack | None = None
        self._removed_at = time.monotonic() - grace
        self._waiting: list[_Unannounced] = []
        self._cleared: set[str] = set()

    def step(self, today: str = "", *, seconds: float | None = None) -> bool:
        """Do what is due; True where anything was done or waits. False where another merges.

        `today` (YYYY-MM-DD, UTC) is the day that is not over. With `seconds` its loads are left
        alone, and no merge begins after that time. Raises StoreError.
        """
        if not self._hold():
            return False
        today = today or f"{datetime.now(UTC):%Y-%m-%d}"
        try:
            announced = self._announce()
            loads = self._receipts.loads()
            removed = 0
            if time.monotonic() - self._removed_at >= self._grace:
                removed = self._remove(loads)
                self._removed_at = time.monotonic()
            merged = self._merge(loads, today, seconds)
        except Exception as failure:
            refuse_write(self._layout, failure)
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
        own = snapshot_tables()
        replaced = self._replaced_by_waiting()
        written = 0
        try:
            # What makes a snapshot count goes first: no reader may see one without its balances.
            for load in sorted(
                self._receipts.loads(), key=lambda load: "snapshots" not in self._counts(load)
            ):
                names = own & self._counts(load).keys()
                ids = kept if load.day < closed_before else dropped
                if load.id in replaced or not names or (ids is dropped and not dropped):
                    continue
                inside = "IN" if ids is dropped else "NOT IN"
                listed = ", ".join(map(quoted, ids)) or "NULL"
                gone = f"snapshot {inside} ({listed})" if ids or ids is dropped else "true"
                if self._holds_any(load, sorted(names), gone):
                    self._write([load], load.span, dict.fromkeys(names, gone))
                    written += 1
        except Exception as failure:
            refuse_write(self._layout, failure)
        return written

    def _replaced_by_waiting(self) -> set[str]:
        """The loads that a merged one replaces as soon as it counts."""
        return {old for w in self._waiting for old in (w.load.receipt.replaces or "").split(" ")}

    def _counts(self, load: StoredLoad) -> dict[str, int]:
        """Rows per table of a load; StoreError where its row in `loads` does not say them."""
        return self._receipts.counts(load.id, load.span, load.receipt.tables)

    def _holds_any(self, load: StoredLoad, names: Sequence[str], condition: str) -> bool:
        with connect() as engine:
            for name in names:
                path = str(self._layout.segment(name, load.span, load.id))
                lines = engine.execute(
                    "SELECT 1 FROM read_parquet($path, hive_partitioning = false) "
                    f"WHERE {condition} LIMIT 1",
                    {"path": path},
                ).fetchall()
                if lines:
                    return True
        return False

    def close(self) -> None:
        """Let others merge; the next announces what is written."""
        self._release()
        self._waiting.clear()

    def _release(self) -> None:
        if self._lock is not None:
            with contextlib.suppress(OSError):  # else the next removes what was not announced
                self._leave_unannounced()
            self._lock.close()
            self._lock = None

    def _leave_unannounced(self) -> None:
        """Write what waits to a file, for the next who merges. Raises OSError."""
        path = self._layout.unannounced
        if not self._waiting:
            path.unlink(missing_ok=True)
            return
        ahead = time.time() - time.monotonic()
        left = [
            msgspec.structs.replace(entry, written_at=entry.written_at + ahead)
            for entry in self._waiting
        ]
        draft = self._layout.new_draft(path.name)
        try:
            draft.write_bytes(msgspec.json.encode(left))
            flush_file(draft)
            draft.replace(path)
            flush_folder(path.parent)
        finally:
            draft.unlink(missing_ok=True)

    def _take_unannounced(self) -> None:
        """Let what another left wait, as far as all that it replaces still counts."""
        try:
            left = msgspec.json.decode(
                self._layout.unannounced.read_bytes(), type=list[_Unannounced]
            )
        except (OSError, msgspec.MsgspecError, UnicodeError, RecursionError):
            return
        current = {load.id for load in self._receipts.loads()}
        ahead = time.time() - time.monotonic()
        for entry in left:
            load = entry.load
            segments = [self._layout.segment(t, load.span, load.id) for t in self._counts(load)]
            if current.issuperset(entry.parts) and all(path.exists() for path in segments):
                # A clock that was set back makes it wait for as long as a new one.
                written = min(entry.written_at - ahead, time.monotonic())
                self._waiting.append(msgspec.structs.replace(entry, written_at=written))

    def __enter__(self) -> Merger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hold(self) -> bool:
        if self._lock is not None:
            return True
        lock = contextlib.ExitStack()
        try:
            lock.enter_context(self._store.hold("merging"))
        except StoreBusy:
            return False
        self._lock = lock
        try:
            self._take_unannounced()
        except Exception as failure:
            lock.close()
            self._lock = None
            refuse_write(self._layout, failure)
        return True

    def _announce(self) -> int:
        """Let merged loads count whose segments have been in place for long enough."""
        due = [w for w in self._waiting if time.monotonic() - w.written_at >= self._settle]
        for entry in due:
            load = entry.load
            with publishing(self._layout) as publication:
                publication.add_receipt(load.day, load.id, load.receipt)
            self._waiting.remove(entry)
        return len(due)

    def _remove(self, loads: Sequence[StoredLoad]) -> int:
        """Remove the files of replaced loads, and of merged ones that were never announced.

        A load's row in `loads` goes last: it is hidden until all of it is gone.
        """
        segments: list[Path] = []
        receipts: list[Path] = []
        spans = self._stored_spans()
        for load in loads:
            if not load.receipt.replaces or load.id in self._cleared:
                continue
            announced = self._layout.segment(Load.table, load.span, load.id).stat().st_mtime
            if time.time() - announced < self._grace:
                continue
            for old in spans.keys() & set(load.receipt.replaces.split(" ")):
                segments += [self._layout.segment(t, spans[old], old) for t in self._counts(load)]
                receipts.append(self._layout.segment(Load.table, spans[old], old))
            self._cleared.add(load.id)
        # No other process merges now: a merged load without a receipt was left by a dead one.
        current = {load.id for load in loads} | {waiting.load.id for waiting in self._waiting}
        current |= {old for load in loads for old in (load.receipt.replaces or "").split()}
        segments += [
            path
            for path in self._layout.lake.glob(f"*/*=*/*{_MERGED}.parquet")
            if path.stem not in current and time.time() - path.stat().st_mtime >= self._grace
        ]
        for path in (*segments, *receipts):
            path.unlink(missing_ok=True)
        self._remove_folders({path.parent for path in (*segments, *receipts)})
        return len(segments)

    def _remove_folders(self, folders: Iterable[Path]) -> None:
        """Remove what is empty, so that years of days are not listed again and again.

        Into the folder of a day that is just over a collector may still write.
        """
        recent = f"day={datetime.now(UTC) - FOLDER_AGE:%Y-%m-%d}"
        for folder in folders:
            if is_period(folder.name.partition("=")[2]) or folder.name < recent:
                with contextlib.suppress(OSError):  # it is not empty
                    folder.rmdir()

    def _stored_spans(self) -> dict[str, str]:
        """The day, month or year of every load whose row in `loads` is there, replaced or not."""
        return {
            path.stem: path.parent.name.partition("=")[2]
            for path in (self._layout.lake / Load.table).glob(f"*=*/*{SUFFIX}")
        }

    def _merge(self, loads: Sequence[StoredLoad], today: str, seconds: float | None) -> int:
        """Write what is to be merged; it does not count yet."""
        until = math.inf if seconds is None else time.monotonic() + seconds
        replaced = self._replaced_by_waiting()
        groups: dict[tuple[str, str, str, int], list[StoredLoad]] = {}
        for load in loads:
            receipt = load.receipt
            if load.id in replaced or receipt.rows > MERGE_ROWS:
                continue
            if seconds is not None and load.day >= today:
                continue
            merged = receipt.merged or 1
            size = 0 if load.day < today else int(math.log(merged, self._fanout) + 1e-9)
            key = (receipt.source, receipt.target, self._merged_span(load, today), size)
            groups.setdefault(key, []).append(load)
        written = 0
        for (_, _, span, _), group in groups.items():
            enough = 2 if group[0].day < today else self._fanout
            for part in _parts(group):
                if len(part) >= enough and time.monotonic() < until:
                    self._write(part, span)
                    written += 1
        return written

    def _merged_span(self, load: StoredLoad, today: str) -> str:
        """The year, month or day with whose loads one is merged: the longest that is over."""
        if self._counts(load).keys() <= tables().keys():
            for length in (len("2026"), len("2026-03")):
                if load.day[:length] < today[:length]:
                    return load.day[:length]
        return load.span

    def _write(self, group: Sequence[StoredLoad], span: str, gone: Mapping[str, str] = {}) -> None:
        """Write one load for several of a span, without the rows that `gone` (SQL per table) names.

        Where these are of one day it lies there.
        """
        stored = [(load, self._counts(load)) for load in group]
        if len({load.span for load in group}) == 1:
            span = group[0].span
        counts = {
            name: sum(parts.get(name, 0) for _, parts in stored)
            for name in sorted({name for _, parts in stored for name in parts})
        }
        # Named by the time of its oldest, so that of rows of equal key the same one stays first.
        merged = f"{group[0].id.split('-')[0]}-{secrets.token_hex(4)}{_MERGED}"
        ids: set[str] = set()
        digests: dict[str, str] = {}
        with publishing(self._layout) as publication, connect() as engine:
            for table in counts:
                parts = {
                    segment_place(table, load.span, load.id): rows[table]
                    for load, rows in stored
                    if table in rows
                }
                self._receipts.require_counts(engine, parts)
                draft = publication.add_segment(table, span, merged)
                reading = _READING_PERIOD if is_period(span) else _READING_DAY
                files = [f"{self._layout.lake}/{place}" for place in parts]
                if is_period(span):
                    files.insert(0, str(self._store.seed_period(tables()[table])))
                engine.execute(
                    f"COPY (SELECT * REPLACE ({quoted(merged)} AS load) FROM ({reading}) "
                    f"WHERE NOT coalesce({gone.get(table, 'false')}, false)) "
                    f"TO {quoted(str(draft))} (FORMAT parquet, COMPRESSION zstd)",
                    {"parts": files},
                )
                # Later what replaces them is all that is left of them.
                self._receipts.require_digests(group, [table])
                if table in gone:
                    counts[table] = engine.execute(
                        "SELECT count(*) FROM read_parquet($path, hive_partitioning = false)",
                        {"path": str(draft)},
                    ).fetchall()[0][0]
                if table in snapshot_tables():
                    lines = engine.execute(
                        "SELECT DISTINCT snapshot "
                        "FROM read_parquet($path, hive_partitioning = false)",
                        {"path": str(draft)},
                    ).fetchall()
                    ids |= {snapshot for (snapshot,) in lines}
                flush_file(draft)
                digests[table] = file_digest(draft)
        receipt = msgspec.structs.replace(
            self._merged_receipt(group, counts, sorted(ids), exact=bool(gone)),
            period=span if is_period(span) else None,
            digests=json.dumps(digests),
        )
        load = StoredLoad(merged, receipt, max(load.day for load in group))
        names = tuple(old.id for old in group)
        self._waiting.append(_Unannounced(load, names, time.monotonic()))

    def _merged_receipt(
        self,
        group: Sequence[StoredLoad],
        counts: Mapping[str, int],
        ids: Sequence[str],
        *,
        exact: bool,
    ) -> Load:
        """The row in `loads` of a merged load; `exact`: `rows` is the sum of `counts`."""
        receipts = [load.receipt for load in group]
        # What these replaced themselves is hidden by this one from now on, as long as it is there.
        replaced = {old for receipt in receipts for old in (receipt.replaces or "").split()}
        older = sorted(replaced & self._stored_spans().keys()) if replaced else []
        return Load(
            source=receipts[0].source,
            target=receipts[0].target,
            stored_at=max(r.stored_at for r in receipts),
            tables=json.dumps(counts),
            rows=sum(counts.values()) if exact else sum(r.rows for r in receipts),
            cursor=max(
                (r for r in receipts if r.cursor is not None),
                key=lambda r: r.stored_at,
                default=receipts[0],
            ).cursor,
            merged=sum(r.merged or 1 for r in receipts),
            replaces=" ".join([*(load.id for load in group), *older]),
            snapshot_ids=json.dumps(ids),
        )


_MERGED = "m"
_READING_DAY = "FROM read_parquet($parts, union_by_name = true, hive_partitioning = false)"
# The first file is empty and has the column `day`.
_READING_PERIOD = """
SELECT * EXCLUDE (segment_path) REPLACE (
  coalesce(day, CAST(regexp_extract(segment_path, '/day=([-0-9]+)/[^/]*$', 1) AS DATE)) AS day)
FROM read_parquet(
  $parts, union_by_name = true, hive_partitioning = false, filename = 'segment_path')"""


def _parts(group: Sequence[StoredLoad]) -> Iterator[list[StoredLoad]]:
    """Consecutive loads that together stay below the rows of a large one."""
    part: list[StoredLoad] = []
    rows = 0
    for load in group:
        if part and rows + load.receipt.rows > MERGE_ROWS:
            yield part
            part, rows = [], 0
        part.append(load)
        rows += load.receipt.rows
    if part:
        yield part
