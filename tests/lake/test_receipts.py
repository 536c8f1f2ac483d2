"""Receipts: numbers of the lake in the order of writing, and the SHA-256 of each segment."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import msgspec
import pytest

from chainwatch.errors import Exit, StoreError
from chainwatch.lake import query
from chainwatch.lake.engine import connect
from chainwatch.lake.merge import Merger
from chainwatch.lake.segments import write_segment
from chainwatch.lake.store import Store
from chainwatch.nightly.night import NightOptions, run_night
from chainwatch.nightly.retention import retention_of
from chainwatch.tables.lending import Leg
from chainwatch.tables.log import Load, Reject
from tests import shell
from tests.amounts import sample_size
from tests.builders import Asset, Book
from tests.lake.test_merging import eager, reject, snapshot, step_to_the_end
from tests.places import ROOT


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.create()
    return store


def numbers(store: Store) -> list[int | None]:
    return [load.receipt.sequence for load in store.receipts.loads()]


# --- numbers ------------------------------------------------------------------------------------


def test_loads_are_numbered_in_the_order_of_writing(store: Store) -> None:
    """Whoever writes them: a merged load gets the number after the loads that it replaces."""
    returned = [store.append([reject(n)], source="s").sequence for n in range(4)]
    assert returned == numbers(store) == [1, 2, 3, 4]
    store.append([reject(9)], source="t")
    with eager(store) as merger:
        step_to_the_end(merger)
    assert sorted(load.sequence or 0 for load in store.rows(Load)) == [5, 6]
    with query.open_catalog(store) as catalog:
        assert catalog.run("SELECT max(sequence) FROM loads").rows == [(6,)]


@pytest.mark.parametrize("content", [None, b"", b"no number"])
def test_without_its_file_the_numbers_go_on(store: Store, content: bytes | None) -> None:
    for n in range(3):
        store.append([reject(n)], source="s")
    if content is None:
        store.layout.sequence.unlink()
    else:
        store.layout.sequence.write_bytes(content)
    assert store.append([reject(3)], source="s").sequence == 4


def test_a_load_that_gets_no_number_leaves_nothing(store: Store) -> None:
    store.append([reject(0)], source="s")
    before = sorted(store.lake.rglob("*.parquet"))
    store.layout.sequence.unlink()
    store.layout.sequence.mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        store.append([reject(1)], source="s")
    assert sorted(store.lake.rglob("*.parquet")) == before
    assert list((store.home / "tmp").iterdir()) == []
    store.layout.sequence.rmdir()
    assert store.append([reject(1)], source="s").sequence == 2


WRITER = """
import os, sys
from pathlib import Path
from chainwatch.lake.store import Store
from tests.lake.test_merging import reject
store = Store(Path(sys.argv[1])); store.create()
for n in range(int(sys.argv[2])):
    os.write(1, f"{store.append([reject(n)], source=sys.argv[3]).sequence}\\n".encode())
"""


def writer(store: Store, loads: int, source: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(store.home), str(loads), source]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)


def test_who_sees_a_number_sees_all_smaller_ones(store: Store) -> None:
    """While two processes write beside each other."""
    looks = 0
    with writer(store, 20, "s0") as first, writer(store, 20, "s1") as second:
        while first.poll() is None or second.poll() is None:
            listed = sorted(number or 0 for number in numbers(store))
            assert listed == list(range(1, len(listed) + 1))
            looks += 1
    assert first.returncode == second.returncode == 0
    assert looks > 3
    assert sorted(number or 0 for number in numbers(store)) == list(range(1, 41))


LIVES = sample_size(quick=3, full=12, torture=100)


@pytest.mark.sampled(f"{LIVES} kills")
def test_no_number_is_given_twice_by_killed_writers(store: Store) -> None:
    chance = random.Random(7)
    acknowledged: list[int] = []
    for life in range(LIVES):
        process = writer(store, 100_000, f"s{life}")
        assert process.stdout is not None
        acknowledged += [int(process.stdout.readline()) for _ in range(3)]
        time.sleep(chance.uniform(0.0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        rest, _ = process.communicate()
        # The last line may be cut.
        acknowledged += [int(line) for line in rest.decode().split("\n")[:-1]]
    listed = [number for number in numbers(store) if number is not None]
    assert len(listed) == len(set(listed))
    assert acknowledged == sorted(acknowledged)
    assert set(acknowledged) <= set(listed)


# --- digests ------------------------------------------------------------------------------------


def made_market(store: Store, hf: float = 1.2) -> None:
    book = Book(Asset("BTC", 90_000.0, betas={"BTC": 1.0}), Asset("USD", 1.0))
    book.account("a", {"BTC": 1}, {"USD": 72_000 / hf})
    store.append(book.rows(), source="test")


def segment(store: Store, table: str = "legs") -> Path:
    (path,) = (store.lake / table).glob("day=2*/*.parquet")
    return path


def test_a_receipt_names_the_digest_of_each_segment(store: Store) -> None:
    store.append([reject(0), snapshot(0)], source="s")
    store.append([reject(1)], source="s")
    with eager(store, fanout=2) as merger:
        step_to_the_end(merger)
    (load,) = store.rows(Load)
    digests = {
        table: hashlib.sha256(segment(store, table).read_bytes()).hexdigest()
        for table in ("rejects", "snapshots")
    }
    assert json.loads(load.digests or "") == digests
    assert store.require_unchanged() == 2


def change(path: Path, how: str) -> None:
    """Change a segment of `legs` and leave the number of its rows, except where it is cut."""
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-1])
        return
    figures = {"changed": "usd * 2 AS usd", "rewritten": "usd AS usd"}[how]
    draft = path.with_suffix(".draft")
    duckdb.execute(
        f"COPY (SELECT * REPLACE ({figures}) FROM read_parquet('{path}', "
        f"hive_partitioning = false)) TO '{draft}' (FORMAT parquet)"
    )
    draft.replace(path)


class IdleCollector:
    """A collector that has nothing to read."""

    def collect(self, job: object) -> int:
        return 0

    verify = collect


def night_of(store: Store) -> tuple[int, str]:
    """The exit code of a night, and what it says of its checks."""
    options = NightOptions(policy=retention_of("hourly 7d, daily forever"))
    now = datetime(2026, 11, 20, tzinfo=UTC)
    night = run_night(store, store.home / "out", IdleCollector(), options, now=now)
    return night.code, str(night.steps["checks"]["detail"])


@pytest.mark.quick_variants("changed")
@pytest.mark.parametrize("how", ["changed", "rewritten", "swapped", "lost"])
def test_checks_and_nights_name_a_segment_that_is_not_what_was_stored(
    store: Store, tmp_path: Path, how: str
) -> None:
    made_market(store)
    path = segment(store)
    stored = path.read_bytes()
    assert shell.run("checks", home=store.home).code == Exit.OK
    if how == "swapped":
        other = Store(tmp_path / "other")
        other.create()
        made_market(other, hf=1.5)
        path.write_bytes(segment(other).read_bytes())
    elif how == "lost":
        path.unlink()
    else:
        change(path, how)
    done = shell.run("checks", home=store.home)
    assert (done.code, done.out) == (Exit.STORE, "")
    says = "is not there" if how == "lost" else "is not what its load stored (SHA-256 "
    assert len(done.lines) == 1
    assert done.lines[0].startswith(f"chainwatch: {path} {says}")
    assert done.lines[0].endswith("away: nothing of that load counts then")
    code, detail = night_of(store)
    assert code == Exit.STORE
    assert detail.startswith(f"{path} {says}")
    if how != "lost":
        # Ordinary reports compare the numbers of rows.
        assert shell.run("health", home=store.home).code == Exit.OK
        assert len(store.rows(Leg)) == 2
    path.write_bytes(stored)
    assert shell.run("checks", home=store.home).code == Exit.OK


@pytest.mark.full
def test_a_truncated_segment_that_no_check_reads_is_named(store: Store) -> None:
    store.append([reject(0)], source="s")
    store.append([snapshot(0), reject(1)], source="s")
    for path in (store.lake / "rejects").glob("day=2*/*.parquet"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"nor are 1 other segment\(s\): put a copy"):
        store.require_unchanged()


@pytest.mark.parametrize("how", ["changed", "swapped"])
def test_a_segment_that_is_not_what_was_stored_is_not_merged(store: Store, how: str) -> None:
    made_market(store)
    made_market(store)
    first, second = sorted((store.lake / "legs").glob("day=2*/*.parquet"))
    if how == "changed":
        change(second, how)
    else:
        kept = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(kept)
    before = {path: path.read_bytes() for path in store.lake.rglob("*.parquet")}
    with eager(store, fanout=2) as merger:
        with pytest.raises(StoreError, match="is not what its load stored"):
            step_to_the_end(merger)
        assert {path: path.read_bytes() for path in store.lake.rglob("*.parquet")} == before
        with pytest.raises(StoreError, match="is not what its load stored"):
            merger.retire([], [], "9999-01-01")
    assert {path: path.read_bytes() for path in before} == before
    assert list((store.home / "tmp").iterdir()) == []


def receipt_without(store: Store, *names: str) -> None:
    """Make the only row of `loads` that of an earlier version, without these columns."""
    path = segment(store, "loads")
    draft = path.with_suffix(".draft")
    duckdb.execute(
        f"COPY (SELECT * EXCLUDE ({', '.join(names)}) FROM read_parquet('{path}', "
        f"hive_partitioning = false)) TO '{draft}' (FORMAT parquet)"
    )
    draft.replace(path)


def test_loads_of_an_earlier_version_are_read_and_merged(store: Store) -> None:
    store.append([reject(0)], source="s")
    receipt_without(store, "sequence", "digests")
    store.layout.sequence.unlink()
    for path in (store.lake / "loads").glob("day=1970*/*"):
        path.unlink()
    assert store.append([reject(1)], source="s").sequence == 1
    # Rows have no order.
    assert {load.sequence: bool(load.digests) for load in store.rows(Load)} == {
        None: False,
        1: True,
    }
    assert store.require_unchanged() == 1
    with eager(store, fanout=2) as merger:
        step_to_the_end(merger)
    assert len(store.rows(Reject)) == 2
    assert (numbers(store), store.require_unchanged()) == ([2], 1)


def test_a_receipt_with_digests_that_are_none_is_named(store: Store) -> None:
    store.append([reject(0)], source="s")
    path = segment(store, "loads")
    (load,) = store.rows(Load)
    with connect() as engine:
        changed = msgspec.structs.replace(load, digests="[1]")
        write_segment(engine, path, Load, [changed], path.stem)
    with pytest.raises(StoreError, match="does not say the SHA-256 of its load's segments"):
        store.require_unchanged()
    assert len(store.rows(Reject)) == 1


def test_segments_that_are_merged_meanwhile_are_no_fault(store: Store) -> None:
    """A merger replaces and removes what is being compared."""
    for n in range(40):
        store.append([reject(n)], source="s")
    process = subprocess.Popen([sys.executable, "-c", MERGER, str(store.home)], cwd=ROOT)
    while process.poll() is None:
        assert store.require_unchanged() >= 1
    assert process.returncode == 0
    assert store.require_unchanged() == 1
    with Merger(store) as merger:
        assert not merger.step()


MERGER = """
import sys
from pathlib import Path
from chainwatch.lake.merge import Merger
from chainwatch.lake.store import Store
with Merger(Store(Path(sys.argv[1])), fanout=2, settle=0.0, grace=0.0) as merger:
    while merger.step("9999-01-01"):
        pass
"""
