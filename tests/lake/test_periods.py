"""Loads of a month and of a year that are over become few, and every row keeps its day."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest

from chainwatch.lake import query
from chainwatch.lake.layout import CATALOG_NAME
from chainwatch.lake.merge import Merger
from chainwatch.lake.store import Store
from chainwatch.tables.base import Row
from chainwatch.tables.lending import Scan, Snapshot
from chainwatch.tables.log import Load, Reject
from tests.amounts import sample_size
from tests.lake.test_merging import eager, reject, snapshot, step_to_the_end
from tests.lake.test_queries import OWN_VALUES, VALUES, filled_lake, in_order, same
from tests.places import ROOT

TODAY = "2026-03-05"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.create()
    return store


def segments(store: Store, table: str) -> list[Path]:
    return sorted((store.lake / table).glob("*=2*/*.parquet"))


def move_load(store: Store, receipt: Path, day: str) -> None:
    """Let a load be of another day."""
    for path in store.lake.glob(f"*/{receipt.parent.name}/{receipt.name}"):
        target = path.parent.parent / f"day={day}" / path.name
        target.parent.mkdir(exist_ok=True)
        path.rename(target)


def store_on(store: Store, day: str, rows: Sequence[Row], source: str = "s") -> None:
    """Store a load as on that day; loads are stored in the order of their days."""
    before = set(segments(store, "loads"))
    store.append(rows, source=source, cursor=day)
    (receipt,) = set(segments(store, "loads")) - before
    move_load(store, receipt, day)


def days_between(first: str, last: str, step: int = 1) -> list[str]:
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    return [f"{begin + timedelta(n)}" for n in range(0, (end - begin).days + 1, step)]


def rows_by_day(store: Store, table: str) -> tuple[list[tuple[object, ...]], ...]:
    """Rows per day as our catalog says, and as the catalog file says to other clients."""
    text = f"SELECT CAST(day AS VARCHAR), count(*) FROM {table} GROUP BY day ORDER BY day"
    with query.open_catalog(store) as catalog:
        ours = catalog.run(text).rows
    with duckdb.connect(str(store.home / CATALOG_NAME), read_only=True) as client:
        return ours, client.execute(text).fetchall()


def test_three_years_of_nights_are_few_files_and_rows_keep_their_day(store: Store) -> None:
    days = days_between("2023-11-21", "2026-03-03", 8)
    for n, day in enumerate(days):
        store_on(store, day, [reject(n), snapshot(n)])
    before = rows_by_day(store, "rejects"), rows_by_day(store, "snapshots")
    with eager(store) as merger:
        step_to_the_end(merger, TODAY)
    assert before == (rows_by_day(store, "rejects"), rows_by_day(store, "snapshots"))
    assert before[0][0] == before[0][1] == [(day, 1) for day in days]
    names = [path.parent.name for path in segments(store, "snapshots")]
    spans = ("2023", "2024", "2025", "2026-01", "2026-02")
    assert names == ["day=2026-03-02", *(f"period={span}" for span in spans)]
    assert [path.parent.name for path in segments(store, "loads")] == names
    # No empty folders are left, except that of the day on which this test runs.
    for table in ("loads", "snapshots", "rejects"):
        folders = sorted(path.name for path in (store.lake / table).glob("*=2*"))
        assert len(folders) == len(names) + 1
        assert set(names) < set(folders)
    loads = {load.period: load for load in store.rows(Load)}
    assert sorted(period or "" for period in loads) == ["", *spans]
    assert sum(load.merged or 1 for load in loads.values()) == len(days)
    assert store.cursor("s") == days[-1]
    assert store.require_unchanged() == 2 * len(names)
    # A year that is over takes up its months.
    with eager(store) as merger:
        step_to_the_end(merger, "2027-01-01")
    assert len(segments(store, "snapshots")) == len(segments(store, "loads")) == 4
    assert before == (rows_by_day(store, "rejects"), rows_by_day(store, "snapshots"))
    assert sorted(row.block_number for row in store.rows(Snapshot)) == list(range(len(days)))


def test_a_day_is_read_from_its_files_and_row_groups_alone(store: Store) -> None:
    """Of a day that was not merged its own file, of a period the row groups with the day."""
    for n, day in enumerate(days_between("2026-01-30", TODAY)):
        store_on(store, day, [snapshot(3 * n + k) for k in range(3)])
    with eager(store) as merger:
        step_to_the_end(merger, TODAY)
    query.open_catalog(store).close()
    files = len(segments(store, "snapshots"))
    assert files == 7
    for day, days_read, groups_read in (
        ("2026-03-02", 1, 0),
        ("2026-02-03", 0, 1),
        ("2024-01-01", 0, 0),
    ):
        text = f"FROM snapshots WHERE day = DATE '{day}'"
        with query.open_catalog(store) as catalog:
            rows = catalog.run(f"SELECT snapshot {text}").rows
        with duckdb.connect(str(store.home / CATALOG_NAME), read_only=True) as client:
            assert client.execute(f"SELECT snapshot {text}").fetchall() == rows
            plan = str(client.execute(f"EXPLAIN ANALYZE SELECT max(accounts) {text}").fetchall())
        assert len(rows) == 3 * (days_read + groups_read)
        assert re.findall(r"Scanning Files: (\d+)/", plan) == [str(days_read)], plan
        assert re.search(rf"Row Groups Scanned: {groups_read} / 2", plan), plan


def test_of_rows_of_one_key_the_first_stays_first(store: Store) -> None:
    def scan(events: int) -> Scan:
        return Scan(market="m", scope="all", from_block=1, to_block=2, to_hash="0x", events=events)

    for n, day in enumerate(days_between("2025-12-28", "2026-02-03")):
        store_on(store, day, [scan(n)])
        if n in (5, 20):
            with eager(store) as merger:
                step_to_the_end(merger, day)
    with eager(store) as merger:
        step_to_the_end(merger, TODAY)
    store_on(store, TODAY, [scan(99)])
    assert [row.events for row in store.rows(Scan)] == [0]


def test_retention_takes_rows_out_of_a_period(store: Store) -> None:
    days = days_between("2026-01-01", "2026-01-06")
    for n, day in enumerate(days):
        store_on(store, day, [snapshot(n), reject(n)])
    with eager(store) as merger:
        step_to_the_end(merger, TODAY)
        assert merger.retire(["s000001"], [], "2026-01-01") == 1
        step_to_the_end(merger, TODAY)
        assert rows_by_day(store, "snapshots")[0] == [(day, 1) for day in days if day[-1] != "2"]
        # Of a period that is closed what a crash left of other snapshots goes, too.
        assert merger.retire([], ["s000003"], "2026-01-06") == 0
        assert merger.retire([], ["s000003"], "2026-01-07") == 1
        step_to_the_end(merger, TODAY)
    assert rows_by_day(store, "snapshots")[0] == [(days[3], 1)]
    assert len(store.rows(Reject)) == 6
    (load,) = store.rows(Load)
    assert (load.period, load.snapshot_ids) == ("2026-01", '["s000003"]')


MERGER = """
import sys
from pathlib import Path
from chainwatch.lake.merge import Merger
from chainwatch.lake.store import Store
with Merger(Store(Path(sys.argv[1])), fanout=3, settle=0.05, grace=0.1) as merger:
    for today in sys.argv[2:]:
        while merger.step(today):
            pass
"""
LIVES = sample_size(quick=4, full=12, torture=100)


@pytest.mark.sampled(f"{LIVES} kills")
def test_kills_while_periods_are_merged_lose_nothing(store: Store) -> None:
    """A reader keeps its catalog open, and another opens one each time."""
    days = days_between("2024-10-01", "2026-02-20", 7)
    for n, day in enumerate(days):
        store_on(store, day, [reject(n), snapshot(n)])
    text = (
        "SELECT (SELECT count(*) FROM snapshots), (SELECT count(DISTINCT day) FROM snapshots), "
        "(SELECT count(*) FROM rejects)"
    )
    expected = (len(days),) * 3
    wrong: list[object] = []
    ended = threading.Event()

    def read() -> None:
        with query.open_catalog(store) as catalog:
            while not ended.is_set():
                (kept,) = catalog.run(text).rows
                with query.open_catalog(store) as fresh:
                    (opened,) = fresh.run(text).rows
                if not kept == opened == expected:
                    wrong.append((kept, opened))

    reader = threading.Thread(target=read)
    reader.start()
    chance = random.Random(5)
    command = [sys.executable, "-c", MERGER, str(store.home), "2025-01-10", "2025-12-31", TODAY]
    try:
        for _ in range(LIVES):
            process = subprocess.Popen(command, cwd=ROOT)
            time.sleep(chance.uniform(0.3, 3.0))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    finally:
        ended.set()
        reader.join()
    assert wrong == []
    with eager(store) as merger:
        step_to_the_end(merger, TODAY)
    assert rows_by_day(store, "snapshots") == ([(day, 1) for day in days],) * 2
    assert len(segments(store, "snapshots")) == len(segments(store, "loads")) == 4
    assert len(store.rows(Load)) == 4


@pytest.mark.full
def test_every_query_has_the_same_rows_after_merging(tmp_path: Path) -> None:
    """Loads of two months, of which one is over."""
    plain = filled_lake(tmp_path / "plain")
    for n, receipt in enumerate(segments(plain, "loads")):
        move_load(plain, receipt, f"2026-0{1 + n // 2 % 3}-{10 + n % 3}")
    shutil.copytree(plain.home, tmp_path / "merged")
    merged = Store(tmp_path / "merged")
    with Merger(merged, fanout=2, settle=0.0, grace=0.0) as merger:
        step_to_the_end(merger, TODAY)
    assert any(load.period for load in merged.rows(Load))
    assert len(segments(merged, "loads")) < len(segments(plain, "loads"))
    with query.open_catalog(plain) as before, query.open_catalog(merged) as after:
        for definition in query.load_all().values():
            if re.search(r"\bnow\(\)|\bage_seconds\b|\bloads\b", definition.text):
                continue
            own = VALUES | OWN_VALUES.get(definition.name, {})
            values = {p.name: own[p.name] for p in definition.params if p.name in own}
            rows = [query.run(catalog, definition, values).dicts() for catalog in (before, after)]
            for row in (*rows[0], *rows[1]):
                row.pop("load", None)
            same(*(sorted(part, key=in_order) for part in rows))
