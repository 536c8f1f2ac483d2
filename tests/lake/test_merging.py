"""Many small loads become few large ones, under readers that stay and processes that die."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from chainwatch.errors import StoreBusy
from chainwatch.lake import query
from chainwatch.lake.catalog import READ_PAUSES, read_statement
from chainwatch.lake.merge import Merger
from chainwatch.lake.store import Store
from chainwatch.tables.base import Row
from chainwatch.tables.lending import Scan, Snapshot
from chainwatch.tables.log import Load, Reject
from tests.amounts import sample_size
from tests.places import ROOT

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def reject(n: int) -> Reject:
    return Reject(source="s", target="", received_at=NOW, reason=f"r{n:06}", raw="x" * (n % 50))


def snapshot(n: int) -> Snapshot:
    """A row of a table that is read without looking for duplicates."""
    return Snapshot(
        snapshot=f"s{n:06}",
        market="m",
        protocol="p",
        provenance="chain",
        chain_id=1,
        block_number=n,
        block_hash="0x",
        block_time=NOW,
        read_at=NOW,
        revision=1,
        profile="3.0",
        close_factor=1.0,
        close_basis="position",
        base_decimals=8,
        scope="all",
        accounts=0,
        accounts_read=0,
        accounts_failed=0,
        endpoint="",
    )


def files(store: Store, table: str = "rejects") -> int:
    return len(list((store.lake / table).glob("day=2*/*.parquet")))


def eager(store: Store, fanout: int = 4) -> Merger:
    return Merger(store, fanout=fanout, settle=0.0, grace=0.0)


def step_to_the_end(merger: Merger, today: str = "") -> None:
    while merger.step(today):
        pass


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.create()
    return store


@pytest.mark.full
def test_small_loads_become_few_and_every_row_and_the_cursor_stay(store: Store) -> None:
    with eager(store) as merger:
        for n in range(22):
            store.append([reject(n), snapshot(n)], source="s", cursor={"at": n})
            store.append([reject(1_000 + n)], source="t")
            merger.step()
        step_to_the_end(merger)
    # Fewer than 4 of each size: 22 = 1·16 + 1·4 + 2.
    assert files(store) == 2 * 4
    assert files(store, "loads") == files(store)
    assert sorted(r.reason for r in store.rows(Reject)) == [
        f"r{n:06}" for n in (*range(22), *range(1_000, 1_022))
    ]
    assert sorted(s.block_number for s in store.rows(Snapshot)) == list(range(22))
    assert store.cursor("s") == {"at": 21}
    assert store.cursor("t") is None
    loads = store.rows(Load)
    assert sum(load.merged or 1 for load in loads) == 44
    assert sum(load.rows for load in loads) == 66


def test_a_day_that_is_over_becomes_one_load_of_each_source(store: Store) -> None:
    for n in range(7):
        store.append([reject(n)], source="s")
        store.append([reject(100 + n)], source="t", target="x")
    with eager(store, fanout=100) as merger:
        step_to_the_end(merger, today="9999-01-01")
    assert files(store) == 2
    assert len(store.rows(Reject)) == 14


def test_numbers_beyond_38_digits_and_missing_values_survive(store: Store) -> None:
    from chainwatch.tables.lending import Mismatch, Verification

    exact = [
        Verification(
            snapshot=f"s{n}",
            market="m",
            block_number=n,
            verified_at=NOW,
            method="f",
            accounts=1,
            checked=1,
            mismatched=0,
            max_abs_error=2**256 - 1 if n % 2 else 10**30 + n,
            endpoint="",
        )
        for n in range(6)
    ]
    for row in exact:
        store.append([row], source="s")
    with eager(store) as merger:
        step_to_the_end(merger)
    assert files(store, "verifications") < 6
    assert sorted(store.rows(Verification), key=lambda v: v.block_number) == exact
    assert store.rows(Mismatch) == []


def test_merged_rows_are_seen_once_before_while_and_after(store: Store) -> None:
    merger = Merger(store, fanout=4, settle=0.2, grace=0.2)
    for n in range(4):
        store.append([snapshot(n)], source="s")
    with merger, query.open_catalog(store) as catalog:

        def counts() -> tuple[int, int]:
            count = catalog.run("SELECT count(*), count(DISTINCT snapshot) FROM snapshots").rows[0]
            return count[0], files(store, "snapshots")

        assert counts() == (4, 4)
        assert merger.step()  # written, not announced
        assert counts() == (4, 5)
        time.sleep(0.25)
        assert merger.step()  # announced, the old ones are still there for running queries
        assert counts() == (4, 5)
        time.sleep(0.25)
        assert merger.step()  # removed
        assert counts() == (4, 1)
        assert not merger.step()


def test_of_rows_of_one_key_the_first_stays_first(store: Store) -> None:
    def scan(events: int) -> Scan:
        return Scan(market="m", scope="all", from_block=1, to_block=2, to_hash="0x", events=events)

    for n in range(4):
        store.append([scan(n)], source="s")
    with eager(store) as merger:
        merger.step()
        store.append([scan(99)], source="t")
        step_to_the_end(merger)
    assert [row.events for row in store.rows(Scan)] == [0]


def test_only_one_process_merges_at_a_time(store: Store) -> None:
    for n in range(4):
        store.append([reject(n)], source="s")
    with eager(store) as first, eager(store) as second:
        assert first.step()
        assert not second.step()
    with store.hold("merging"), eager(store) as three:
        assert not three.step()
        with pytest.raises(StoreBusy):
            store.hold("merging").__enter__()


def test_what_waits_when_a_merger_ends_is_announced_by_the_next(store: Store) -> None:
    """Where all that it replaces still counts, and not before it has been in place long enough."""
    for n in range(4):
        store.append([reject(n)], source="s")
    with Merger(store, fanout=4, settle=60.0) as merger:
        assert merger.step()
    assert (files(store), len(store.rows(Load))) == (5, 4)
    left = store.layout.unannounced.read_bytes()
    with Merger(store, fanout=4, settle=60.0) as merger:
        assert merger.step()
        assert merger.waits
    assert (files(store), len(store.rows(Load))) == (5, 4)
    with eager(store) as merger:
        step_to_the_end(merger)
    assert (files(store), len(store.rows(Load)), len(store.rows(Reject))) == (1, 1, 4)
    assert not store.layout.unannounced.exists()
    # What has been announced, and what is no list, is not announced again.
    for content in (left, left[:-1], b"[{}]"):
        store.layout.unannounced.write_bytes(content)
        with eager(store) as merger:
            assert not merger.step()
        assert (len(store.rows(Load)), len(store.rows(Reject))) == (1, 4)


WAITER = """
import sys, time
from pathlib import Path
from chainwatch.lake.merge import Merger
from chainwatch.lake.store import Store
with Merger(Store(Path(sys.argv[1])), fanout=4, settle=60.0) as merger:
    merger.step()
    print(flush=True)
    time.sleep(60)
"""


def test_what_a_killed_merger_never_announced_is_removed_by_the_next(store: Store) -> None:
    for n in range(4):
        store.append([reject(n)], source="s")
    command = [sys.executable, "-c", WAITER, str(store.home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    assert files(store) == 5
    assert len(store.rows(Reject)) == 4
    with Merger(store, fanout=100, settle=0.0, grace=60.0) as merger:
        assert not merger.step()
        assert files(store) == 5  # a query may still be reading it
    with eager(store, fanout=100) as merger:
        assert merger.step()
    assert files(store) == 4
    assert len(store.rows(Reject)) == 4


WRITER = """
import os, sys, time
from pathlib import Path
from chainwatch.lake.merge import Merger
from chainwatch.lake.store import Store
from tests.lake.test_merging import reject, snapshot
store = Store(Path(sys.argv[1])); store.create()
first = int(sys.argv[2])
merger = Merger(store, fanout=3, settle=0.3, grace=1.5)
for n in range(first, first + 100_000):
    store.append([reject(n), snapshot(n)], source="s", cursor=n)
    os.write(1, f"{n}\\n".encode())
    merger.step()
"""


LIVES = sample_size(quick=2, full=4, torture=100)


@pytest.mark.sampled(f"{LIVES} kills of each process")
def test_kills_of_writers_and_mergers_lose_and_double_nothing(
    store: Store,
) -> None:
    """Four processes die at random moments, while a reader keeps its catalog open."""
    acknowledged: list[int] = []
    wrong: list[object] = []
    ended = threading.Event()

    def read() -> None:
        least = 0
        with query.open_catalog(store) as catalog:
            while not ended.is_set():
                (sums,) = catalog.run(
                    "SELECT count(*), count(DISTINCT snapshot) FROM snapshots"
                ).rows
                if sums[0] != sums[1] or sums[0] < least:
                    wrong.append((least, sums))
                least = sums[0]

    reader = threading.Thread(target=read)
    reader.start()
    chance = random.Random(11)
    try:
        for life in range(LIVES):
            process = subprocess.Popen(
                [sys.executable, "-c", WRITER, str(store.home), str(life * 1_000)],
                stdout=subprocess.PIPE,
                cwd=ROOT,
            )
            assert process.stdout is not None
            acknowledged += [int(process.stdout.readline()) for _ in range(6)]
            time.sleep(chance.uniform(0.2, 1.5))
            os.kill(process.pid, signal.SIGKILL)
            rest, _ = process.communicate()
            lines = rest.decode().split("\n")[:-1]  # the last line may be cut
            acknowledged += [int(line) for line in lines]
    finally:
        ended.set()
        reader.join()
    assert wrong == []
    with eager(store, fanout=3) as merger:
        step_to_the_end(merger)
    for rows in (
        [int(r.reason[1:]) for r in store.rows(Reject)],
        [s.block_number for s in store.rows(Snapshot)],
    ):
        assert len(rows) == len(set(rows))
        assert set(acknowledged) <= set(rows)
        assert len(set(rows) - set(acknowledged)) <= 4  # stored, and killed before it was told
    assert len(acknowledged) >= 6 * LIVES
    assert files(store, "loads") == len(store.rows(Load)) < 20
    announced, present = (
        {path.stem for path in (store.lake / table).glob("day=2*/*.parquet")}
        for table in ("loads", "snapshots")
    )
    # What a writer left that died before its load counted stays; a merger's is removed.
    orphans = present - announced
    assert announced <= present
    assert len(orphans) <= LIVES
    assert not [name for name in orphans if name.endswith("m")]


def test_a_load_whose_segment_is_gone_is_told_and_not_merged(store: Store) -> None:
    from chainwatch.errors import StoreError

    for n in range(4):
        store.append([reject(n)], source="s")
    next((store.lake / "rejects").glob("day=2*/*.parquet")).unlink()
    with eager(store) as merger, pytest.raises(StoreError):
        merger.step()
    assert files(store) == 3
    assert len(store.rows(Reject)) == 3


def test_status_counts_deliveries_not_merged_loads(store: Store) -> None:
    for n in range(4):
        store.append([reject(n)], source="s")
    with eager(store) as merger:
        step_to_the_end(merger)
    with query.open_catalog(store) as catalog:
        (line,) = query.run(catalog, query.find("freshness")).dicts()
    assert (line["detail"], line["rows"], line["failed"]) == ("4 loads", 4, 4)


def tables_of(load: Load) -> dict[str, int]:
    return dict(json.loads(load.tables))


def test_a_merged_load_says_what_it_holds(store: Store) -> None:
    rows: list[list[Row]] = [[reject(0)], [reject(1), snapshot(1)], [snapshot(2)], [reject(3)]]
    for batch in rows:
        store.append(batch, source="s")
    with eager(store) as merger:
        step_to_the_end(merger)
    (load,) = store.rows(Load)
    assert tables_of(load) == {"rejects": 3, "snapshots": 2}
    assert (load.rows, load.merged) == (5, 4)
    assert len(str(load.replaces).split()) == 4


# A segment that goes between being listed and being opened cannot be timed from here: importing a
# folder that is not there fails in the engine's same words.


def test_a_statement_is_asked_while_other_files_are_missing(tmp_path: Path) -> None:
    missing = [tmp_path / str(n) for n in range(3 * len(READ_PAUSES))]
    with duckdb.connect() as engine:

        def ask() -> str:
            if missing:
                engine.execute(f"IMPORT DATABASE '{missing.pop()}'")
            return "read"

        assert read_statement(ask) == "read"


def test_a_statement_over_a_lost_file_ends(tmp_path: Path) -> None:
    tries = 0
    with duckdb.connect() as engine:

        def ask() -> None:
            nonlocal tries
            tries += 1
            engine.execute(f"IMPORT DATABASE '{tmp_path / 'lost'}'")

        with pytest.raises(duckdb.IOException, match="No such file"):
            read_statement(ask)
    assert tries == len(READ_PAUSES) + 1
