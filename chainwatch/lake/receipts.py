"""Receipts: what each load stored, and whether all of it is still there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import msgspec

from chainwatch.errors import StoreError
from chainwatch.lake.catalog import read_statement
from chainwatch.lake.engine import connect
from chainwatch.lake.layout import SUFFIX, Layout, is_seed, segment_place
from chainwatch.lake.relations import table_query
from chainwatch.lake.segments import file_digest
from chainwatch.tables.base import columns
from chainwatch.tables.log import Load
from chainwatch.tables.registry import snapshot_tables

if TYPE_CHECKING:
    import duckdb


class StoredLoad(msgspec.Struct, frozen=True):
    """One load that counts: its id, its row in `loads`, and the last UTC day of its rows."""

    id: str
    receipt: Load
    day: str

    @property
    def span(self) -> str:
        """The day, month or year in whose folder its segments lie."""
        return self.receipt.period or self.day


class Listing:
    """The loads that count, fixed, and their segments, named by their place within the lake.

    The segments of a table are listed when first asked for: those of loads that count are there
    before they count, and one that went since is missed by who opens it.
    """

    def __init__(
        self,
        layout: Layout,
        receipts: Mapping[str, str],
        expected: Mapping[str, Mapping[str, int]],
        snapshots: Mapping[str, frozenset[str] | None],
    ) -> None:
        """`receipts`: the place of each load's own row; `expected`: rows by place, by table;
        `snapshots`: those of which a load holds rows, None where it does not say."""
        self._layout = layout
        self._receipts = receipts
        self._expected = expected
        self._snapshots = snapshots
        self._segments: dict[str, tuple[list[str], set[str]]] = {}

    def expected(self, table: str) -> Mapping[str, int]:
        """The rows of each segment of a table, as the loads say."""
        return self._expected.get(table, {})

    def places(self, table: str, snapshots: Collection[str] | None = None) -> Sequence[str]:
        """The segments of a table that count, the empty ones of all its shapes first, in the order
        in which the engine lists files. Those that are missing are among them.

        With `snapshots` those that may hold rows of one of these, where rows of the table belong to
        a snapshot.
        """
        places = self._list(table)[0]
        if snapshots is None or table not in snapshot_tables():
            return places
        wanted = frozenset(snapshots)
        return [place for place in places if self._may_hold(_load_of(place), wanted)]

    def _may_hold(self, load: str, wanted: frozenset[str]) -> bool:
        held = self._snapshots.get(load)
        return held is None or not held.isdisjoint(wanted)

    def missing(self, table: str) -> set[str]:
        """The segments that a load stored and that were not there when they were listed."""
        return self._list(table)[1]

    def _list(self, table: str) -> tuple[list[str], set[str]]:
        if table not in self._segments:
            present = set(_listed_segments(self._layout.lake, table))
            if table == Load.table:
                # Exactly those that were read: which others they replace is not looked at again.
                counting = set(self._receipts.values())
            else:
                counting = {place for place in present if _load_of(place) in self._receipts}
                counting |= self.expected(table).keys()
            seeds = {place for place in present if is_seed(place)}
            self._segments[table] = sorted(seeds | counting), counting - present
        return self._segments[table]


class Receipts:
    """The rows of `loads`, compared with the segments that are there."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        # Of segments that were looked at: (size, time of change) and rows, by place.
        self._footers: dict[str, tuple[tuple[int, int], int]] = {}

    def loads(self) -> list[StoredLoad]:
        """Every load that counts, oldest first."""
        names = ", ".join(c.name for c in columns(Load))
        stored = table_query(self._layout, Load)
        text = f"SELECT load, day::VARCHAR, {names} FROM ({stored}) ORDER BY load"
        with connect() as engine:
            lines = read_statement(lambda: engine.execute(text).fetchall())
        fields = Load.__struct_fields__
        return [
            StoredLoad(line[0], Load(**dict(zip(fields, line[2:], strict=True))), line[1])
            for line in lines
        ]

    def counts(self, load: str, span: str, tables: str | None) -> dict[str, int]:
        """Rows per table that a load stored, by `tables` of its row in `loads`.

        Raises StoreError where that is not such a list.
        """
        try:
            return _COUNTS.decode(tables or "")
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            path = self._layout.segment(Load.table, span, load)
            raise StoreError(
                f"{path} does not say how many rows its load stored per table: put a copy of it "
                "back, or move it away: nothing of that load counts then"
            ) from None

    def listing(self) -> Listing:
        """The loads that count now. Raises StoreError where a receipt does not say its rows."""
        stored = table_query(self._layout, Load)
        text = (
            "SELECT load, coalesce(period, day::VARCHAR), tables, snapshot_ids "
            f"FROM ({stored}) ORDER BY load"
        )
        with connect() as engine:
            lines = read_statement(lambda: engine.execute(text).fetchall())
        expected: dict[str, dict[str, int]] = {}
        places = {}
        snapshots = {}
        for load, span, counts, ids in lines:
            places[load] = segment_place(Load.table, span, load)
            snapshots[load] = _read_ids(ids)
            for table, rows in self.counts(load, span, counts).items():
                expected.setdefault(table, {})[segment_place(table, span, load)] = rows
        return Listing(self._layout, places, expected, snapshots)

    def lost_segments(self, listing: Listing, table: str) -> list[tuple[Path, int]]:
        """Segments of a table that are not there though a load stored them, with their rows."""
        missing = listing.missing(table)
        if missing:
            # A merged load may have taken the place of one meanwhile: its files may go.
            missing &= self.listing().expected(table).keys()
        expected = listing.expected(table)
        return [(self._layout.lake / place, expected[place]) for place in sorted(missing)]

    def require_whole(self, listing: Listing, names: Collection[str]) -> None:
        """Raise StoreError where a segment of one of these tables is lost."""
        for table in sorted(names):
            if lost := self.lost_segments(listing, table):
                self._refuse_lost(*lost[0], len(lost) - 1)

    def require_unchanged(self) -> int:
        """Compare the segments of all loads that count with their SHA-256; how many were compared.

        Segments that merging removes meanwhile are left out, and those of the load in their place
        compared. Raises StoreError naming the first that is lost or differs; OSError, duckdb.Error.
        """
        same: set[str] = set()
        changed: dict[str, tuple[str, str]] = {}
        while True:
            expected = self._digests(self.loads())
            gone = set()
            for place in sorted(expected.keys() - same - changed.keys()):
                try:
                    digest = file_digest(self._layout.lake / place)
                except FileNotFoundError:
                    gone.add(place)
                    continue
                if digest == expected[place]:
                    same.add(place)
                else:
                    changed[place] = expected[place], digest
            if not gone:
                break
            listing = self.listing()
            for table in sorted({place.partition("/")[0] for place in gone}):
                self.require_whole(listing, [table])
        if changed:
            self._refuse_digest(changed)
        return len(same)

    def require_digests(self, loads: Sequence[StoredLoad], tables: Collection[str]) -> None:
        """Raise StoreError where a segment of these loads and tables is not what was stored.

        Raises OSError, FileNotFoundError where one is not there.
        """
        changed = {}
        for place, expected in self._digests(loads).items():
            if place.partition("/")[0] in tables:
                digest = file_digest(self._layout.lake / place)
                if digest != expected:
                    changed[place] = expected, digest
        if changed:
            self._refuse_digest(changed)

    def _digests(self, loads: Sequence[StoredLoad]) -> dict[str, str]:
        """The SHA-256 by place of the segments of these loads, as far as they list them."""
        digests = {}
        for load in loads:
            if load.receipt.digests is None:
                continue
            try:
                stored = _DIGESTS.decode(load.receipt.digests)
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                path = self._layout.segment(Load.table, load.span, load.id)
                raise StoreError(
                    f"{path} does not say the SHA-256 of its load's segments: put a copy of it "
                    "back, or move it away: nothing of that load counts then"
                ) from None
            for table, digest in stored.items():
                digests[segment_place(table, load.span, load.id)] = digest
        return digests

    def require_counts(
        self,
        engine: duckdb.DuckDBPyConnection,
        places: Mapping[str, int],
    ) -> None:
        """Raise StoreError where a segment has other rows than its load stored, by place.

        Its footer is read once, as long as its size and time stay the same.
        """
        if not places:
            return
        present = read_statement(lambda: self._footer_rows(engine, places))
        gone = places.keys() - present.keys()
        if gone:
            listing = self.listing()
            tables = {place.partition("/")[0] for place in gone}
            gone &= {place for table in tables for place in listing.expected(table)}
        for place, rows in sorted(places.items()):
            if place in gone:
                self._refuse_lost(self._layout.lake / place, rows, 0)
            if present.get(place, rows) != rows:
                self._refuse_count(self._layout.lake / place, rows, present[place])

    def _footer_rows(
        self, engine: duckdb.DuckDBPyConnection, places: Iterable[str]
    ) -> dict[str, int]:
        """The rows of segments by their footers, without those that are not there."""
        lake = self._layout.lake
        states: dict[str, tuple[int, int]] = {}
        for place in places:
            with contextlib.suppress(FileNotFoundError):
                state = (lake / place).stat()
                states[place] = state.st_size, state.st_mtime_ns
        new = [p for p, s in states.items() if p not in self._footers or self._footers[p][0] != s]
        if new:
            lines = engine.execute(
                "SELECT file_name, num_rows FROM parquet_file_metadata($files)",
                {"files": [f"{lake}/{place}" for place in new]},
            ).fetchall()
            for name, rows in lines:
                place = name.removeprefix(f"{lake}/")
                self._footers[place] = states[place], rows
        return {place: self._footers[place][1] for place in states}

    def _refuse_lost(self, path: Path, rows: int, more: int) -> NoReturn:
        others = f", nor are {more:,} more segments of that table" if more else ""
        raise StoreError(
            f"{path} is not there{others}: its load stored {rows:,} rows of {path.parts[-3]} in "
            f"it. Put a copy of it back, or move {self._layout.receipt(path)} away: nothing of "
            "that load counts then"
        )

    def _refuse_digest(self, changed: Mapping[str, tuple[str, str]]) -> NoReturn:
        place = min(changed)
        path, (expected, digest) = self._layout.lake / place, changed[place]
        more = len(changed) - 1
        others = f", nor are {more:,} other segment(s)" if more else ""
        raise StoreError(
            f"{path} is not what its load stored (SHA-256 {digest[:16]}…, expected "
            f"{expected[:16]}…){others}: put a copy of it back, or move it and "
            f"{self._layout.receipt(path)} away: nothing of that load counts then"
        )

    def _refuse_count(self, path: Path, rows: int, present: int) -> NoReturn:
        raise StoreError(
            f"{path} holds {present:,} rows, but its load stored {rows:,} rows of "
            f"{path.parts[-3]} in it. Put a copy of it back, or move it and "
            f"{self._layout.receipt(path)} away: nothing of that load counts then"
        )


def _load_of(place: str) -> str:
    return place.rpartition("/")[2].removesuffix(SUFFIX)


def _listed_segments(lake: Path, table: str) -> Iterator[str]:
    """The place of every segment of a table that is there."""
    for folder in (lake / table).glob("*=*"):
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX):
                    yield f"{table}/{folder.name}/{entry.name}"


def _read_ids(text: str | None) -> frozenset[str] | None:
    try:
        return None if text is None else _IDS.decode(text)
    except msgspec.MsgspecError:
        return None


_IDS = msgspec.json.Decoder(frozenset[str])
_DIGESTS = msgspec.json.Decoder(dict[str, str])
_COUNTS = msgspec.json.Decoder(dict[str, Annotated[int, msgspec.Meta(ge=0)]])
