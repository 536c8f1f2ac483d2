"""The night: everything once, resumable after any death, nothing lost that is not superseded."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.collect import runner
from chainwatch.collect.feed import Job
from chainwatch.errors import CheckFailed, Exit, NetworkError, UsageError
from chainwatch.lake import query
from chainwatch.lake.merge import Merger
from chainwatch.lake.store import Store
from chainwatch.nightly import retention
from chainwatch.nightly.compaction import MergeTimes, compact
from chainwatch.nightly.night import Collector, NightOptions, due_jobs, run_night
from chainwatch.nightly.record import Night, summary
from chainwatch.nightly.retention import KEEP, Retention
from chainwatch.nightly.verification import check_export
from chainwatch.settings import Settings
from chainwatch.tables.lending import Leg, Orphan, Snapshot
from chainwatch.tables.log import Load, Reject
from tests import shell
from tests.amounts import sample_size
from tests.builders import Asset, Book, Silent, sql
from tests.nightly.test_export import liquidation

NOW = datetime(2026, 2, 20, 0, 20, tzinfo=UTC)
WEEK = retention.retention_of(KEEP)
ONLY = ("aave-v3",)
QUICK = MergeTimes(settle=0.02, grace=0.05, patience=5.0)


def run(store: Store, out: Path, collector: Collector, *, now: datetime, **options: Any) -> Night:
    """A night with short merge times; `options` are those of NightOptions."""
    return run_night(store, out, collector, NightOptions(merge=QUICK, **options), now=now)


CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(
    [
        "duckdb",
        "numpy",
        "aiohttp",
        "chainwatch.cli",
        "chainwatch.lending.protocols.aave_v3.reader",
        "tests.nightly.test_nightly",
    ]
)


class Chain:
    """Reads and verifies the recorded chain, for real."""

    def __init__(self, store: Store, url: str) -> None:
        self.store = store
        self.settings = Settings(
            {"home": str(store.home)},
            environ={"CHAINWATCH_RPC_LOCAL": url},
            dotenv=store.home / "none",
        )

    def collect(self, job: Job) -> int:
        rows = asyncio.run(runner.collect(self.store, self.settings, [job], Silent()))
        runner.raise_failures(rows)
        return sum(o.rows for o in rows)

    def verify(self, job: Job) -> int:
        result, _ = asyncio.run(runner.verify(self.store, self.settings, job, Silent()))
        if result.mismatched:
            raise CheckFailed("differs")
        return int(result.checked)


class NoCollector:
    """A night without any network."""

    def collect(self, job: Job) -> int:
        raise NetworkError(f"{job.name}: no route")

    def verify(self, job: Job) -> int:
        raise AssertionError("what was not read is not verified")


def snapshot_at(time: datetime, block: int, market: str = "m") -> Snapshot:
    return Book(Asset("ETH", 1.0), market=market, block=block, time=time).head()


# --- retention ----------------------------------------------------------------------------------


def test_the_last_of_each_hour_and_of_each_day_stays() -> None:
    """The last snapshot of each hour stays for a week, and the last of each day forever."""
    hours = [
        snapshot_at(NOW - timedelta(hours=n / 2 + 0.1), 10_000 - n) for n in range(2 * 24 * 20)
    ]
    gone = retention.superseded(hours, [], WEEK, NOW)
    left = [s for s in hours if s.snapshot not in gone]
    young = [s for s in left if NOW - s.block_time < timedelta(days=7)]
    old = [s.block_time for s in left if NOW - s.block_time >= timedelta(days=7)]
    assert (
        len({(s.block_time.date(), s.block_time.hour) for s in young}) == len(young) == 7 * 24 + 1
    )
    assert len({t.date() for t in old}) == len(old) == 13 + 1
    assert all(t.hour == 23 for t in old if t.date() != max(old).date())
    short = retention.superseded(hours, [], retention.retention_of("hourly 1d, daily 10d"), NOW)
    assert min(s.block_time for s in hours if s.snapshot not in short) > NOW - timedelta(days=10)


def test_of_imports_the_one_of_the_newest_time_stays() -> None:
    late, early = (snapshot_at(NOW - timedelta(minutes=n), 0) for n in (5, 10))
    late, early = (
        msgspec.structs.replace(s, read_at=NOW + timedelta(seconds=n))
        for n, s in enumerate((late, early))
    )
    assert retention.superseded([late, early], [], WEEK, NOW) == {early.snapshot}


moments = st.lists(
    st.tuples(st.integers(0, 60 * 24 * 40), st.sampled_from("mn"), st.booleans()), max_size=60
)


@given(moments, st.integers(0, 10), st.one_of(st.none(), st.integers(1, 30)))
def test_nothing_is_dropped_that_no_later_snapshot_supersedes(
    made: list[tuple[int, str, bool]], hourly: int, daily: int | None
) -> None:
    snapshots = [
        snapshot_at(NOW - timedelta(minutes=ago), 10**6 - ago, market) for ago, market, _ in made
    ]
    orphans = [s.snapshot for s, (_, _, gone) in zip(snapshots, made, strict=True) if gone]
    policy = Retention(hourly, daily)
    dropped = retention.superseded(snapshots, orphans, policy, NOW)
    for s in snapshots:
        if s.snapshot in dropped and s.snapshot not in orphans:
            later = [
                t
                for t in snapshots
                if t.market == s.market
                and t.snapshot not in dropped
                and t.snapshot not in orphans
                and (t.block_number, t.read_at) >= (s.block_number, s.read_at)
            ]
            assert later, "the newest of a market stays"
            if daily is None:
                assert any(t.block_time.date() == s.block_time.date() for t in later)
    # What stays, stays: the policy is settled after one night.
    rest = [s for s in snapshots if s.snapshot not in dropped]
    assert retention.superseded(rest, orphans, policy, NOW) == set()


@pytest.mark.parametrize(
    "text", ["", "hourly", "hourly 7d", "daily forever", "hourly 7h, daily 1d"]
)
def test_a_policy_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--keep: expected a policy such as"):
        retention.retention_of(text)


@pytest.mark.full
def test_dropped_snapshots_go_with_balances_and_others_stay(
    tmp_path: Path,
) -> None:
    """Dropped snapshots go with their balances, and the others stay to the last bit."""
    store = Store(tmp_path)
    store.create()
    books = []
    for n in range(6):
        made = Book(
            Asset("ETH", 3_000.0 + n),
            Asset("USD", 1.0),
            block=100 + n,
            time=NOW - timedelta(days=12, minutes=60 - n),
        )
        for k in range(5):
            made.account(f"{k}", {"ETH": 1.0 + k}, {"USD": 100.0 * n + k + 1})
        # Half of them in one load each, half in several, as a collector flushes them.
        rows = made.rows()
        for part in [rows] if n % 2 else [rows[:7], rows[7:13], rows[13:]]:
            store.append(part, source="aave-v3", target="m", cursor=n)
        books.append(made)
    left = books[-1]
    store.append(
        [books[0].verified(), Orphan(snapshot=books[1].snapshot, market="m", detected_at=NOW)],
        source="v",
    )
    before = {
        leg.account + leg.side: leg for leg in store.rows(Leg) if leg.snapshot == left.snapshot
    }
    message = retention.thin(store, WEEK, NOW, QUICK)
    assert message.startswith("5 of 6 snapshots dropped")
    assert [s.snapshot for s in store.rows(Snapshot)] == [left.snapshot]
    after = {leg.account + leg.side: leg for leg in store.rows(Leg)}
    assert after == before
    assert store.cursor("aave-v3", "m") == 5
    time.sleep(0.1)
    compact(store, QUICK)
    with duckdb.connect() as client:
        files = f"{store.lake}/legs/day=2*/*.parquet"
        (count,) = client.execute(f"SELECT count(*) FROM read_parquet('{files}')").fetchall()[0]
    assert count == len(after), "what is dropped is gone from the disk"


# --- the night ----------------------------------------------------------------------------------


@pytest.fixture
def lake(tmp_path: Path) -> Store:
    return Store(shell.copied_lake(tmp_path))


def test_a_night_does_everything_and_a_second_run_nothing_twice(
    lake: Store, tmp_path: Path
) -> None:
    out = tmp_path / "marts"
    with shell.recorded_chain(stop=1) as url:
        how = {"policy": WEEK, "now": NOW, "due_seconds": 0.0, "only": ONLY}
        night = run(lake, out, Chain(lake, url), **how)
        assert night.code == 0, night.failed
        assert list(night.steps) == [
            "collect aave-v3 demo",
            "verify aave-v3 demo",
            "compact",
            "retention",
            "checks",
            "export 2026-01-29",
        ]
        assert check_export(out) == (1, [])
        stored = sorted(p.name for p in lake.lake.rglob("*.parquet"))
        written = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
        again = run(lake, out, Chain(lake, url), **how)
    assert again.steps == night.steps
    assert again.runs == 2
    assert sorted(p.name for p in lake.lake.rglob("*.parquet")) == stored
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == written
    record = json.loads((lake.home / "nightly" / "2026-02-20.json").read_text())
    assert record["code"] == 0
    assert record["steps"]["checks"]["state"] == "done"


@pytest.mark.full
def test_a_failed_step_sets_the_exit_code_and_is_tried_again(lake: Store, tmp_path: Path) -> None:
    """A failed step sets the exit code and is tried again the same night."""
    out = tmp_path / "marts"
    how = {"policy": WEEK, "now": NOW, "due_seconds": 0.0, "only": ONLY}
    night = run(lake, out, NoCollector(), **how)
    assert night.code == Exit.NETWORK
    assert list(night.failed) == ["collect aave-v3 demo"]
    assert night.done("export 2026-01-29"), "the rest of the night goes on"
    assert "failed: collect aave-v3 demo: aave-v3 demo: no route" in summary(night)
    with shell.recorded_chain(stop=1) as url:
        night = run(lake, out, Chain(lake, url), **how)
    assert (night.code, night.failed) == (0, {})
    assert night.done("verify aave-v3 demo")


class Everybody:
    """Sources that always answer; keeps who was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def collect(self, job: Job) -> int:
        self.asked.append(job.name)
        return 0

    def verify(self, job: Job) -> int:
        return 0


class Breaking:
    """A collector that stumbles over something that nobody foresaw."""

    def __init__(self, raised: Exception) -> None:
        self.raised = raised

    def collect(self, job: Job) -> int:
        raise self.raised

    def verify(self, job: Job) -> int:
        raise AssertionError("what was not read is not verified")


@pytest.mark.full
def test_whatever_a_step_raises_is_its_failure_and_the_night_goes_on(
    lake: Store, tmp_path: Path
) -> None:
    broken = Breaking(ArithmeticError("1e9999999\nis no number"))
    how = {"policy": WEEK, "now": NOW, "due_seconds": 0.0, "only": ONLY}
    night = run(lake, tmp_path / "marts", broken, **how)
    assert night.code == Exit.CHECK_FAILED
    assert set(night.failed.values()) == {
        "unexpected ArithmeticError: 1e9999999 is no number (run again with --debug)"
    }
    others = [name for name in night.steps if not name.startswith("collect ")]
    assert others[:3] == ["compact", "retention", "checks"]
    assert any(name.startswith("export ") for name in others)
    assert all(night.done(name) for name in others)


@pytest.mark.full
def test_a_night_for_some_sources_leaves_the_others_to_a_later_run(
    lake: Store, tmp_path: Path
) -> None:
    due = {job.name for job in due_jobs(lake, NOW, 0.0)}
    how: dict[str, Any] = {"policy": WEEK, "now": NOW, "due_seconds": 0.0}
    values = []
    for only in (["cboe"], ["circle"], [], []):
        everybody = Everybody()
        night = run(lake, tmp_path / "marts", everybody, only=only, **how)
        assert night.code == 0, night.failed
        values.append(everybody.asked)
    first, second, rest, nothing = values
    assert (first, second, nothing) == (["cboe"], ["circle"], [])
    assert sorted([*first, *second, *rest]) == sorted(due), "each of them, once"


class Bringing:
    """A source that has something more of a day each time it is asked, or no route."""

    def __init__(self, store: Store, day: datetime, *, up: bool = True) -> None:
        self.store, self.day, self.up = store, day, up

    def collect(self, job: Job) -> int:
        if not self.up:
            raise NetworkError(f"{job.name}: no route")
        self.store.append([liquidation(self.day, len(self.store.rows(Load)))], source="l")
        return 1

    def verify(self, job: Job) -> int:
        return 0


def exported(out: Path, day: str) -> int:
    """Liquidations in a day's mart."""
    with duckdb.connect() as client:
        path = f"{out}/day={day}/chain_liquidations.parquet"
        ((result,),) = client.execute(f"SELECT coalesce(sum(events), 0) FROM '{path}'").fetchall()
    return int(result)


@pytest.mark.full
def test_what_a_second_run_collects_is_in_the_marts(lake: Store, tmp_path: Path) -> None:
    """Of yesterday, and of an older day that a history is of."""
    out, now = tmp_path / "marts", datetime(2026, 1, 30, 0, 20, tzinfo=UTC)
    how: dict[str, Any] = {"policy": WEEK, "now": now, "due_seconds": 0.0}
    yesterday = datetime(2026, 1, 29, 15, tzinfo=UTC)
    run(lake, out, Bringing(lake, yesterday, up=False), only=["cboe"], **how)
    before = exported(out, "2026-01-29")
    run(lake, out, Bringing(lake, yesterday), only=["cboe"], **how)
    assert exported(out, "2026-01-29") == before + 1, "the source that failed was tried again"
    run(lake, out, Bringing(lake, yesterday), only=["circle"], **how)
    assert exported(out, "2026-01-29") == before + 2, "another source of the same night"
    lake.append([liquidation(yesterday, 5_001)], source="history")
    later = how | {"now": now + timedelta(days=9)}
    night = run(lake, out, Bringing(lake, now), only=["cboe"], **later)
    assert exported(out, "2026-01-29") == before + 3, "a history of a day that is long over"
    assert "export 2026-01-29" in night.steps
    assert check_export(out, lake)[1] == []
    again = run(lake, out, Bringing(lake, now), only=["cboe"], **later)
    assert again.steps == night.steps, "nothing more was stored, nothing is done"


@pytest.mark.full
def test_an_export_killed_in_a_retried_night_is_done_by_the_next(
    lake: Store, tmp_path: Path
) -> None:
    """An export killed in a retried night is done by the next run."""
    out, now = tmp_path / "marts", datetime(2026, 1, 30, 0, 20, tzinfo=UTC)
    words = (lake.home, out, now)
    process = CHILDREN.Process(target=night_without_sources, args=words)
    process.start()
    process.join()
    assert process.exitcode == 0
    before = exported(out, "2026-01-29")
    lake.append([liquidation(now - timedelta(hours=2), 5_001)], source="l")
    for wait in (0.1, 0.4, 0.8):
        process = CHILDREN.Process(target=night_without_sources, args=words)
        process.start()
        process.join(wait)
        if process.exitcode is None and process.pid:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert check_export(out)[1] == []
    process = CHILDREN.Process(target=night_without_sources, args=words)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert exported(out, "2026-01-29") == before + 1
    assert check_export(out, lake)[1] == []


def night_without_sources(home: Path, out: Path, now: datetime) -> None:
    """A night of which no source is due."""
    how: dict[str, Any] = {"policy": WEEK, "now": now, "due_seconds": 1e12}
    run(Store(home), out, NoCollector(), **how)


def night_in_process(home: Path, out: Path, url: str, now: datetime) -> None:
    store = Store(home)
    run(
        store,
        out,
        Chain(store, url),
        policy=WEEK,
        now=now,
        due_seconds=0.0,
        only=ONLY,
        formats=("parquet", "csv"),
    )


KILLS = sample_size(quick=3, full=30, torture=300)


@pytest.mark.full
@pytest.mark.sampled(f"{KILLS} kills")
def test_a_killed_night_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    """A night that is killed many times ends where an undisturbed one does."""
    seed = int(os.environ.get("CHAINWATCH_CRASH_SEED") or random.SystemRandom().randrange(10**6))
    sys.stderr.write(f"CHAINWATCH_CRASH_SEED={seed} repeats the moments of this run\n")
    pick = random.Random(seed)
    store = Store(shell.copied_lake(tmp_path))
    out, kills, message, length = tmp_path / "marts", 0, 0, 1.0
    nights = 0
    with shell.recorded_chain(stop=1) as url:
        while kills < KILLS:
            now = NOW + timedelta(days=nights)
            for _ in range(2):  # something to merge in every night
                message += 1
                reject = Reject(
                    source="s", target="", received_at=NOW, reason=f"r{message}", raw="x"
                )
                store.append([reject], source="s")
            process = CHILDREN.Process(target=night_in_process, args=(store.home, out, url, now))
            begun = time.monotonic()
            process.start()
            process.join(pick.uniform(0.05, 1.0) * length)
            if process.exitcode is None:
                assert process.pid
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
            process.join()
            if process.exitcode == 0:
                length = max(0.5, min(4.0, time.monotonic() - begun))
                nights += 1  # a new night has everything to do again
            else:
                assert process.exitcode == -signal.SIGKILL
                length = min(4.0, length * 1.1)
            if list(out.glob("day=*")):
                assert check_export(out)[1] == []
        undisturbed = Store(shell.copied_lake(tmp_path / "other"))
        for lake, marts in ((store, out), (undisturbed, tmp_path / "others")):
            night_in_process(lake.home, marts, url, NOW + timedelta(days=nights + 1))
    reasons = [r.reason for r in store.rows(Reject)]
    assert sorted(reasons) == sorted(f"r{n + 1}" for n in range(message)), "none lost, none twice"
    for table in ("snapshots", "legs", "account_health", "reserves"):
        text = f"SELECT * EXCLUDE (load, day) FROM {table} ORDER BY ALL"
        assert sql(store, text).rows == sql(undisturbed, text).rows
    assert check_export(out) == (1, [])
    for mart in ("walls", "health", "totals", "parameters"):
        name = f"day=2026-01-29/{mart}.parquet"
        assert (out / name).read_bytes() == (tmp_path / "others" / name).read_bytes()
    assert sorted(s.snapshot for s in store.rows(Snapshot)) == sorted(
        s.snapshot for s in undisturbed.rows(Snapshot)
    )


def test_a_lock_says_who_holds_the_night(lake: Store, tmp_path: Path) -> None:
    with lake.hold("nightly"):
        done = shell.run("nightly", "--out", str(tmp_path / "m"), home=lake.home)
    assert (done.code, len(done.lines)) == (Exit.STORE, 1)
    assert "another nightly run has not ended" in done.err
    assert f"process {os.getpid()}" in done.err


def test_the_timer_is_installed_and_removed_for_the_user(lake: Store, tmp_path: Path) -> None:
    env = {"XDG_CONFIG_HOME": str(tmp_path / "with space")}
    words = ("nightly", "--out", str(tmp_path / "m"))
    done = shell.run(*words, "--install-systemd", "--user", home=lake.home, env=env)
    assert done.code == Exit.OK, done.err
    folder = tmp_path / "with space" / "systemd" / "user"
    service = (folder / "chainwatch-nightly.service").read_text()
    assert f'"--home" "{lake.home}" "nightly" "--out" "{tmp_path / "m"}"' in service
    assert "OnCalendar=*-*-* 00:20:00 UTC" in (folder / "chainwatch-nightly.timer").read_text()
    checker = shutil.which("systemd-analyze")
    if checker:
        import subprocess

        checked = subprocess.run(
            [checker, "verify", "--user", str(folder / "chainwatch-nightly.timer")],
            capture_output=True,
            text=True,
        )
        assert "chainwatch" not in checked.stderr, checked.stderr
    done = shell.run(*words, "--remove-systemd", "--user", home=lake.home, env=env)
    assert done.code == Exit.OK
    assert list(folder.iterdir()) == []
    done = shell.run(*words, "--install-systemd", home=lake.home, env=env)
    assert (done.code, "add --user" in done.err) == (Exit.USAGE, True)


REJECT = """SELECT 's' AS source, '' AS target, TIMESTAMPTZ '2026-02-01' AS received_at,
'r{n}' AS reason, 'x' AS raw"""
LOAD = """SELECT 's' AS source, '' AS target, TIMESTAMPTZ '2026-02-01' AS stored_at,
'{"rejects": 1}' AS tables, 1::BIGINT AS rows, NULL::VARCHAR AS cursor, NULL::BIGINT AS merged,
NULL::VARCHAR AS replaces"""

# --- compaction under a reader ------------------------------------------------------------------


SEGMENTS = sample_size(quick=800, full=5_000, torture=20_000)


@pytest.mark.full
@pytest.mark.sampled(f"{SEGMENTS:,} segments")
def test_thousands_of_segments_become_one_while_a_reader_keeps_asking(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create()
    # A reader lists and opens so many files for a second or so: it has to have longer than that.
    segments = SEGMENTS
    settle, grace = (5.0, 30.0) if segments > 1_000 else (1.0, 5.0)
    for table in ("rejects", "loads"):
        (store.lake / table / "day=2026-02-01").mkdir(parents=True)
    with duckdb.connect() as writer:
        writer.execute("SET threads = 1; SET TimeZone = 'UTC'")
        for n in range(segments):
            load = f"20260201T000000{n:06}-00000000"
            for table, row in (("rejects", REJECT.format(n=n)), ("loads", LOAD)):
                path = f"{store.lake}/{table}/day=2026-02-01/{load}.parquet"
                writer.execute(f"COPY ({row}, '{load}' AS load) TO '{path}' (FORMAT parquet)")
    wrong: list[object] = []
    looks = [0]
    ended = threading.Event()

    def read() -> None:
        with query.open_catalog(store) as catalog:
            while not ended.is_set():
                done = catalog.run("SELECT count(*), count(DISTINCT reason) FROM rejects").rows[0]
                if done != (segments, segments):
                    wrong.append(done)
                looks[0] += 1

    reader = threading.Thread(target=read)
    reader.start()
    try:
        while not looks[0]:
            time.sleep(0.05)
        with Merger(store, settle=settle, grace=grace) as merger:
            while merger.step() or len(list((store.lake / "rejects").glob("day=2*/*"))) > 1:
                time.sleep(0.2)
    finally:
        ended.set()
        reader.join()
    assert wrong == []
    assert looks[0] > 2
    assert len(list((store.lake / "rejects").glob("day=2*/*"))) == 1
    assert len(list((store.lake / "loads").glob("day=2*/*"))) == 1
    assert len(store.rows(Reject)) == segments
    assert len(store.rows(Load)) == 1


@pytest.mark.full
@pytest.mark.parametrize(
    ("step", "entry"),
    [
        ("export 2026-13-99", {}),
        ("export tomorrow", {}),
        ("checks", {"detail": None}),
        ("checks", {"seconds": None}),
        ("checks", {"seconds": "1"}),
        ("checks", {"state": "odd"}),
        ("checks", {"code": "5"}),
        ("", None),
    ],
)
def test_a_record_that_is_none_is_a_fresh_night(
    empty_lake: Store, tmp_path: Path, step: str, entry: dict[str, Any] | None
) -> None:
    complete = {"state": "failed", "detail": "d", "code": 5, "ended_at": "t", "seconds": 1.0}
    values = {k: v for k, v in (complete | (entry or {})).items() if v is not None}
    text = json.dumps({"night": "2026-02-20", "runs": 3, "steps": {step: values}})
    path = empty_lake.home / "nightly" / "2026-02-20.json"
    path.parent.mkdir()
    path.write_text("[" * 200_000 if entry is None else text)
    night = run(empty_lake, tmp_path / "out", NoCollector(), policy=WEEK, now=NOW)
    assert (night.code, night.failed, night.runs) == (0, {}, 1)
    assert set(night.steps) == {"compact", "retention", "checks"}
    assert json.loads(path.read_text())["runs"] == 1
