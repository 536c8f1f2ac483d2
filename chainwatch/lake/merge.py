"""Many small segments made few."""

from __future__ import annotations

import contextlib
import json
import math
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from chainwatch.errors import StoreBusy
from chainwatch.lake.catalog import read_statement
from chainwatch.lake.engine import connect
from chainwatch.lake.segments import flush_file, quoted, write_segment
from chainwatch.lake.store import Store
from chainwatch.tables.base import columns
from chainwatch.tables.log import Load
from chainwatch.tables.registry import tables

if TYPE_CHECKING:
    pass

# So many loads of a size become one of the next size.
MERGE_FANOUT = 8
# A load with more rows is large enough.
MERGE_ROWS = 1_000_000
# A query lists the files of all its tables within this time. Merged segments lie there unseen
# for so long before they count, so that no query sees the new `loads` with the old segments.
MERGE_SETTLE_SECONDS = 10.0
# Replaced files are removed this long after they were replaced, and not more often than that.
MERGE_GRACE_SECONDS = 300.0


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
                listed = ", ".join(map(quoted, ids)) or "NULL"
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
        with connect() as engine:
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
        with connect() as engine:
            found = read_statement(lambda: engine.execute(text).fetchall())
        fields = Load.__struct_fields__
        return [(row[0], Load(**dict(zip(fields, row[2:], strict=True))), row[1]) for row in found]

    def _announce(self) -> int:
        """Let merged loads count whose segments have been in place for long enough."""
        due = [w for w in self._waiting if time.monotonic() - w[0] >= self._settle]
        for entry in due:
            _, load, receipt, day = entry
            with self._store._publishing() as publish, connect() as engine:
                draft = self._store._draft(load, Load.table)
                publish.append((draft, self._store._segment(Load.table, day, load)))
                write_segment(engine, draft, Load, [receipt], load)
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
        with self._store._publishing() as publish, connect() as engine:
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
                    f"COPY (SELECT * REPLACE ({quoted(load)} AS load) FROM read_parquet($parts, "
                    "union_by_name = true, hive_partitioning = false) "
                    f"WHERE NOT coalesce({gone.get(table, 'false')}, false)) "
                    f"TO {quoted(str(draft))} (FORMAT parquet, COMPRESSION zstd)",
                    {"parts": [f"{self._store.lake}/{place}" for place in parts]},
                )
                if table in gone:
                    counts[table] = engine.execute(
                        "SELECT count(*) FROM read_parquet($path, hive_partitioning = false)",
                        {"path": str(draft)},
                    ).fetchall()[0][0]
                flush_file(draft)
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
