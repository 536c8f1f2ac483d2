"""A collector killed at any moment, fifty times over: nothing acknowledged is lost, nothing is
half there, and in the end the lake is what an undisturbed collector would have made."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from chainwatch.demo import accounts
from chainwatch.demo.aave import AaveMarket
from chainwatch.errors import Exit
from chainwatch.tables.lending import Scan, Snapshot, Touch
from chainwatch.tables.log import Load
from chainwatch.tables.registry import tables
from tests.amounts import sample_size
from tests.builders import (
    Watched,
    ask,
    chain_figures,
    clean_environment,
    our_figures,
    same_positions,
    sql,
)
from tests.evm import operations

KILLS = sample_size(quick=5, full=50, torture=500)
COLLECT = ("collect", "aave-v3", "--market", "local", "--accounts", "all", "--jsonl")
# The command line in processes that need not load Python anew; each is killed for real.
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(
    [
        "duckdb",
        "numpy",
        "aiohttp",
        "chainwatch.cli",
        "chainwatch.lending.protocols.aave_v3.reader",
        "tests.lake.test_crash",
    ]
)


def command_line(home: Path, out: Connection) -> None:
    """`chainwatch collect … --jsonl`, its stdout a pipe."""
    from chainwatch.cli import main

    os.environ.clear()
    os.environ.update(clean_environment(home))
    os.dup2(out.fileno(), 1)
    out.close()
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 2)
    sys.argv = ["chainwatch", *COLLECT]
    main()


def collect_and_kill(home: Path, after: float) -> tuple[int, list[dict[str, object]]]:
    """Run the collector, kill it after so many seconds: its exit code, and what it acknowledged."""
    receive, send = CHILDREN.Pipe(duplex=False)
    process = CHILDREN.Process(target=command_line, args=(home, send))
    process.start()
    send.close()
    process.join(after)
    if process.exitcode is None:
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    text = b""
    while part := os.read(receive.fileno(), 65_536):
        text += part
    receive.close()
    lines = text.decode().splitlines(keepends=True)
    code = process.exitcode
    assert code is not None
    return code, [json.loads(line) for line in lines if line.endswith("\n")]


@pytest.mark.sampled(f"{KILLS} kills")
def test_a_killed_collector_ends_at_the_same_state(aave_market: AaveMarket, tmp_path: Path) -> None:
    """A collector that is killed many times ends where an undisturbed one does."""
    seed = int(os.environ.get("CHAINWATCH_CRASH_SEED") or random.SystemRandom().randrange(10**6))
    sys.stderr.write(f"CHAINWATCH_CRASH_SEED={seed} repeats the moments of this run\n")
    market, pick = aave_market, random.Random(seed)
    made = accounts.populate(market, 60, 3)
    watched = Watched(tmp_path / "killed", market)
    watched.store.create()
    # How long it takes when left alone; the first run also starts the server of processes.
    scratch = Watched(tmp_path / "scratch", market)
    for _ in range(2):
        market.chain.mine()
        started = time.monotonic()
        assert collect_and_kill(scratch.home, 60)[0] == 0
        duration = time.monotonic() - started

    reported: list[dict[str, object]] = []
    ends = Counter[str]()
    wanted = ("finished", "killed after 0 loads", "killed after 1 loads")
    while ends["killed"] < KILLS or not all(ends[end] for end in wanted):
        if pick.random() < 0.4:  # so that there is always something left to read
            operations.random_operations(market, made, pick, 5)
            market.chain.mine(pick.randint(1, 3))
        started = time.monotonic()
        code, lines = collect_and_kill(watched.home, pick.uniform(0.1, 1.1) * duration)
        reported += lines
        # Other work on the machine makes a collection slower or faster than it was.
        duration = duration * 1.03 if code == -signal.SIGKILL else time.monotonic() - started
        if code == -signal.SIGKILL:
            ends["killed"] += 1
            assert ends["killed"] < 20 * KILLS, ends
            ends[f"killed after {len(lines)} loads"] += 1
        else:
            assert code == Exit.OK
            ends["finished"] += 1
            assert ends["finished"] < 500
    assert ends["killed after 0 loads"] >= KILLS // 16, ends

    store = watched.store
    stored = {load.stored_at.isoformat(): load for load in store.rows(Load)}
    # Nothing acknowledged is lost.
    for line in reported:
        load = stored[str(line["stored_at"])]
        assert (load.rows, json.loads(load.tables)) == (line["rows"], line["tables"])
    # Nothing is half there: each load has every row it says, in every table.
    names = sorted({name for load in stored.values() for name in json.loads(load.tables)})
    assert {"scans", "touches", "snapshots", "account_health", "legs"} <= set(names)
    for name in names:
        wrong = sql(
            store,
            f"""SELECT l.load, t.n FROM loads AS l
                LEFT JOIN (SELECT load, count(*) AS n
                           FROM read_parquet('{store.lake}/{name}/day=*/*.parquet')
                           GROUP BY load) AS t ON t.load = l.load
                WHERE coalesce(CAST(l.tables->>'{name}' AS BIGINT), 0) <> coalesce(t.n, 0)""",
        )
        assert wrong.rows == [], name
    for name in tables():
        sql(store, f"SELECT count(*) FROM {name}")

    # The next one resumes, and ends where one does that was never disturbed.
    operations.random_operations(market, made, pick, 20)
    done = watched.cli(*COLLECT)
    assert done.returncode == Exit.OK, done.stderr
    fresh = Watched(tmp_path / "fresh", market)
    fresh.collect()
    same_positions(watched, fresh)
    rows = watched.accounts()
    assert our_figures(rows) == chain_figures(market, list(rows))
    for check in ("account_counts", "account_totals", "scan_gaps", "unknown_assets"):
        assert ask(store, check) == []
    # Every block was scanned, and none was scanned twice.
    ranges = sorted((scan.from_block, scan.to_block) for scan in store.rows(Scan))
    for (_, last), (first, _) in pairwise(ranges):
        assert first == last + 1
    assert len({s.snapshot for s in store.rows(Snapshot)}) == len(store.rows(Snapshot))
    assert {t.account for t in store.rows(Touch)} == set(rows)
