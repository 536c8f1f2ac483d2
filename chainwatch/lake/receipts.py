"""Receipts: what each load stored, and whether all of it is still there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import msgspec

from chainwatch.errors import StoreError
from chainwatch.lake.catalog import read_statement
from chainwatch.lake.engine import connect
from chainwatch.lake.layout import Layout, segment_place
from chainwatch.lake.relations import table_query
from chainwatch.tables.base import columns
from chainwatch.tables.log import Load

if TYPE_CHECKING:
    import duckdb


class StoredLoad(msgspec.Struct, frozen=True):
    """One load that counts: its id, its row in `loads`, and the UTC day of its segments."""

    id: str
    receipt: Load
    day: str


class Receipts:
    """The rows of `loads`, compared with the segments that are there.

    Segments are named by their place within the lake; `expected` maps each to its rows.
    """

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

    def counts(self, load: str, day: str, tables: str | None) -> dict[str, int]:
        """Rows per table that a load stored, by `tables` of its row in `loads`.

        Raises StoreError where that is not such a list.
        """
        try:
            return _COUNTS.decode(tables or "")
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            path = self._layout.segment(Load.table, day, load)
            raise StoreError(
                f"{path} does not say how many rows its load stored per table: put a copy of it "
                "back, or move it away: nothing of that load counts then"
            ) from None

    def expected_rows(self, engine: duckdb.DuckDBPyConnection) -> dict[str, int]:
        """The rows of each segment that counts, as the loads say."""
        text = f"SELECT load, day::VARCHAR, tables FROM ({table_query(self._layout, Load)})"
        return {
            segment_place(table, day, load): rows
            for load, day, counts in read_statement(lambda: engine.execute(text).fetchall())
            for table, rows in self.counts(load, day, counts).items()
        }

    def lost_segments(
        self, engine: duckdb.DuckDBPyConnection, expected: Mapping[str, int]
    ) -> dict[str, list[tuple[Path, int]]]:
        """Segments that are not there though a load stored them, with their rows, by table."""
        missing = expected.keys() - _listed_segments(self._layout.lake)
        if missing:
            # A merged load may have taken the place of one meanwhile: its files may go.
            missing &= self.expected_rows(engine).keys()
        lost: dict[str, list[tuple[Path, int]]] = {}
        for place in sorted(missing):
            table, _, _ = place.partition("/")
            lost.setdefault(table, []).append((self._layout.lake / place, expected[place]))
        return lost

    def require_present(
        self, lost: Mapping[str, Sequence[tuple[Path, int]]], names: Collection[str]
    ) -> None:
        """Raise StoreError where a segment of one of these tables is lost."""
        for table, paths in lost.items():
            if table in names:
                self._refuse_lost(*paths[0], len(paths) - 1)

    def require_counts(
        self,
        engine: duckdb.DuckDBPyConnection,
        expected: Mapping[str, int],
        names: Collection[str],
    ) -> None:
        """Raise StoreError where a segment of one of these tables has other rows than its load
        stored. Its footer is read once, as long as its size and time stay the same."""
        places = {place: n for place, n in expected.items() if place.partition("/")[0] in names}
        if not places:
            return
        present = read_statement(lambda: self._footer_rows(engine, places))
        gone = places.keys() - present.keys()
        if gone:
            gone &= self.expected_rows(engine).keys()
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

    def _refuse_count(self, path: Path, rows: int, present: int) -> NoReturn:
        raise StoreError(
            f"{path} holds {present:,} rows, but its load stored {rows:,} rows of "
            f"{path.parts[-3]} in it. Put a copy of it back, or move it and "
            f"{self._layout.receipt(path)} away: nothing of that load counts then"
        )


def _listed_segments(lake: Path) -> set[str]:
    """The place of every segment that is there."""
    places = set()
    for folder in lake.glob("*/day=*"):
        place = f"{folder.parent.name}/{folder.name}"
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            places |= {f"{place}/{entry.name}" for entry in entries}
    return places


_COUNTS = msgspec.json.Decoder(dict[str, Annotated[int, msgspec.Meta(ge=0)]])
