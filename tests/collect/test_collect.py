"""The collector: what sources yield is stored in loads, with their cursors, whatever ends them."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chainwatch.collect import runner
from chainwatch.collect.feed import Job, Outcome
from chainwatch.collect.runner import REORG_ATTEMPTS
from chainwatch.collect.source import Batch, Feed, Source
from chainwatch.collect.writer import FLUSH_ROWS, FLUSH_SECONDS, RAW_LIMIT
from chainwatch.errors import (
    ChainwatchError,
    Exit,
    NetworkError,
    PartialError,
    Reorged,
    RpcError,
    StoreBusy,
    StoreError,
)
from chainwatch.lake.store import Store
from chainwatch.settings import Settings
from chainwatch.tables.lending import Scan, Touch
from chainwatch.tables.log import Load, Reject
from tests import shell
from tests.builders import Silent, ask, clean_environment, fill, small_file_system
from tests.lake.test_periods import move_load, segments

Run = Callable[[Feed], AsyncIterator[Batch]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def row(number: int, market: str = "m") -> Scan:
    return Scan(
        market=market,
        scope="all",
        from_block=number,
        to_block=number,
        to_hash=f"0x{number:064x}",
        events=0,
    )


def job(run: Run, name: str = "tiny", target: str = "") -> Job:
    """A job of a source that is in no registry: other tests list that one."""
    made = Source(
        name=name,
        tables=(Scan,),
        docs="https://example.org",
        mode="poll",
        module=__name__,
        summary="A tiny source.",
        run=run,
    )
    return Job(made, target=target)


def run(store: Store, *jobs: Job, **options: Any) -> list[Outcome]:
    settings = Settings({"home": str(store.home)}, environ={}, dotenv=store.home / ".env")
    voice = options.pop("voice", Silent())
    return asyncio.run(runner.collect(store, settings, list(jobs), voice, **options))


def loads(store: Store) -> list[Load]:
    return store.rows(Load, "true ORDER BY stored_at")


# --- loads --------------------------------------------------------------------------------------


def test_a_source_that_ends_is_stored_with_its_last_cursor(store: Store) -> None:
    async def three(feed: Feed) -> AsyncIterator[Batch]:
        assert feed.cursor is None
        for number in range(3):
            yield Batch([row(number)], cursor={"number": number})

    stored: list[Load] = []
    (outcome,) = run(store, job(three), stored=stored.append)
    assert (outcome.rows, outcome.loads, outcome.failure) == (3, 1, None)
    assert loads(store) == stored
    assert store.cursor("tiny") == {"number": 2}
    assert len(store.rows(Scan)) == 3


def test_collections_without_streams_merge_the_days_that_are_over(store: Store) -> None:
    """A little at the end of each: written by one, announced by a later one, and then removed."""

    async def counting(feed: Feed) -> AsyncIterator[Batch]:
        number = (feed.cursor or 0) + 1
        yield Batch([row(number)], cursor=number)

    for _ in range(3):
        run(store, job(counting))
    for n, receipt in enumerate(segments(store, "loads")):
        move_load(store, receipt, f"2026-01-0{1 + n}")
    run(store, job(counting))
    run(store, job(counting))
    assert len(loads(store)) == 5
    left = json.loads(store.layout.unannounced.read_bytes())
    for entry in left:  # as if it had been written a minute ago
        entry["written_at"] -= 60
    store.layout.unannounced.write_text(json.dumps(left))
    run(store, job(counting))
    assert sorted(load.merged or 1 for load in loads(store)) == [1, 1, 1, 3]
    assert sorted(r.to_block for r in store.rows(Scan)) == [1, 2, 3, 4, 5, 6]
    assert store.cursor("tiny") == 6


def test_the_next_run_sees_the_cursor_and_the_rows_of_the_last(store: Store) -> None:
    read_back = []

    async def counting(feed: Feed) -> AsyncIterator[Batch]:
        number = (feed.cursor or 0) + 1
        read_back.append([r.to_block for r in await feed.stored(Scan, "true ORDER BY to_block")])
        yield Batch([row(number)], cursor=number)
        # What was yielded a moment ago can be read as well: it is stored first.
        read_back.append([r.to_block for r in await feed.stored(Scan, "to_block = $n", n=number)])

    for _ in range(3):
        assert run(store, job(counting))[0].failure is None
    assert read_back == [[], [1], [1], [2], [1, 2], [3]]


def test_fifty_thousand_rows_are_a_load_and_the_rest_is_another(store: Store) -> None:
    async def many(feed: Feed) -> AsyncIterator[Batch]:
        for number in range(4):
            yield Batch([row(number * 20_000 + i) for i in range(20_000)], cursor=number)

    (outcome,) = run(store, job(many))
    assert (outcome.rows, outcome.loads) == (80_000, 2)
    assert [(load.rows, load.cursor) for load in loads(store)] == [(60_000, "2"), (20_000, "3")]


def test_a_trickle_is_stored_every_few_seconds(store: Store) -> None:
    stored_one = asyncio.Event()

    async def slow(feed: Feed) -> AsyncIterator[Batch]:
        yield Batch([row(0)], cursor=0)
        async with asyncio.timeout(30 * FLUSH_SECONDS):
            await stored_one.wait()
        yield Batch([row(1)], cursor=1)

    (outcome,) = run(store, job(slow), stored=lambda load: stored_one.set())
    assert (outcome.rows, outcome.loads) == (2, 2)
    assert [load.cursor for load in loads(store)] == ["0", "1"]


def test_a_cursor_without_rows_is_stored_too(store: Store) -> None:
    """A source that found nothing up to a point must not look there again."""

    async def nothing(feed: Feed) -> AsyncIterator[Batch]:
        yield Batch([], cursor={"block": 5})

    (outcome,) = run(store, job(nothing))
    assert (outcome.rows, outcome.loads) == (0, 1)
    assert store.cursor("tiny") == {"block": 5}


def test_a_source_with_nothing_to_say_stores_nothing(store: Store) -> None:
    async def silent(feed: Feed) -> AsyncIterator[Batch]:
        if feed.cursor:
            yield Batch([])

    (outcome,) = run(store, job(silent))
    assert (outcome.rows, outcome.loads, outcome.failure) == (0, 0, None)
    assert loads(store) == []


def test_a_batch_is_in_one_load_with_all_of_its_tables(store: Store) -> None:
    touch = Touch(market="m", account="0xa", block_number=1, to_hash="0x1", borrowed=True)

    async def mixed(feed: Feed) -> AsyncIterator[Batch]:
        yield Batch([touch, row(1)], cursor=1)
        raise NetworkError("gone")

    (outcome,) = run(store, job(mixed))
    assert str(outcome.failure) == "gone"
    (load,) = loads(store)
    assert json.loads(load.tables) == {"touches": 1, "scans": 1}


def test_what_cannot_be_read_is_kept_and_counted(store: Store) -> None:
    async def partly(feed: Feed) -> AsyncIterator[Batch]:
        feed.reject("{broken" + "x" * 20_000, "not JSON")
        yield Batch([row(1)])
        feed.reject("\0\ud800", "no text")

    (outcome,) = run(store, job(partly, target="t"))
    assert (outcome.rows, outcome.failure) == (3, None)
    kept = {r.reason: r for r in store.rows(Reject)}
    assert kept["not JSON"].raw == ("{broken" + "x" * 20_000)[:RAW_LIMIT]
    assert kept["no text"].raw == "\0\ufffd"
    assert {r.source for r in kept.values()} == {"tiny"}
    (line,) = ask(store, "freshness")
    assert (line["name"], line["rows"], line["failed"]) == ("tiny t", 3, 2)


# --- failures -----------------------------------------------------------------------------------


def test_rows_before_a_failure_are_stored_with_their_cursor(store: Store) -> None:
    async def breaks(feed: Feed) -> AsyncIterator[Batch]:
        yield Batch([row(1)], cursor=1)
        yield Batch([row(2)], cursor=2)
        raise RpcError("the endpoint is tired")

    (outcome,) = run(store, job(breaks))
    assert isinstance(outcome.failure, RpcError)
    assert (outcome.rows, store.cursor("tiny")) == (2, 2)
    with pytest.raises(RpcError, match="the endpoint is tired"):
        runner.raise_failures([outcome])


async def works(feed: Feed) -> AsyncIterator[Batch]:
    await asyncio.sleep(0.05)
    yield Batch([row(1, market=feed.target)])


async def fails(feed: Feed) -> AsyncIterator[Batch]:
    yield Batch([row(2, market=feed.target)])
    raise NetworkError(f"{feed.target} is silent")


async def fills(feed: Feed) -> AsyncIterator[Batch]:
    yield Batch([row(3, market=feed.target)])
    raise StoreError("no room")


@pytest.mark.parametrize(
    ("sources", "error", "code", "text"),
    [
        ([works, fails], PartialError, Exit.PARTIAL, "1 of 2 failed: tiny b: b is silent"),
        ([fails, fails], NetworkError, Exit.NETWORK, "tiny a: a is silent; tiny b: b is silent"),
        ([fails, fills], PartialError, Exit.PARTIAL, "2 of 2 failed: tiny a: a is silent; tiny b"),
        ([fails], NetworkError, Exit.NETWORK, "a is silent"),
    ],
)
def test_one_failure_leaves_the_other_jobs_alone(
    store: Store, sources: list[Run], error: type[ChainwatchError], code: Exit, text: str
) -> None:
    """The exit code is that of a partial failure."""
    jobs = [job(generator, target=name) for generator, name in zip(sources, "abc", strict=False)]
    outcomes = run(store, *jobs)
    assert len(store.rows(Scan)) == len(jobs)
    with pytest.raises(error) as caught:
        runner.raise_failures(outcomes)
    assert type(caught.value) is error
    assert caught.value.code == code
    assert str(caught.value).startswith(text)


def test_no_failure_raises_nothing(store: Store) -> None:
    runner.raise_failures(run(store, job(works, target="a"), job(works, target="b")))


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (ZeroDivisionError("a\nb"), Exit.CHECK_FAILED, "unexpected ZeroDivisionError: a b (run"),
        (OverflowError(), Exit.CHECK_FAILED, "unexpected OverflowError: "),
        (OSError(errno.ENOSPC, "No space left on device"), Exit.STORE, "No space left on device: "),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_source_raises_is_its_own_failure(
    store: Store, raised: Exception, code: Exit, words: str
) -> None:
    """The other jobs of the run go on to their end."""

    async def broken(feed: Feed) -> AsyncIterator[Batch]:
        yield Batch([row(1, market="broken")])
        raise raised

    async def lasts(feed: Feed) -> AsyncIterator[Batch]:
        yield Batch([row(2, market="lasts")])
        await asyncio.sleep(0.2)
        yield Batch([row(3, market="lasts")])

    outcomes = run(store, job(broken, "broken"), job(lasts, "lasts"))
    failure = outcomes[0].failure
    assert failure is not None
    assert (failure.code, failure.__cause__) == (code, raised)
    assert str(failure).startswith(words)
    assert outcomes[1].failure is None
    assert sorted(r.market for r in store.rows(Scan)) == ["broken", "lasts", "lasts"]
    with pytest.raises(PartialError, match="1 of 2 failed: broken: "):
        runner.raise_failures(outcomes)
    with pytest.raises(type(failure)):
        runner.raise_failures(outcomes[:1])


def test_a_time_out_inside_a_source_is_no_end_of_time(store: Store) -> None:
    async def late(feed: Feed) -> AsyncIterator[Batch]:
        yield Batch([row(1)])
        async with asyncio.timeout(0.01):
            await asyncio.sleep(5)

    (outcome,) = run(store, job(late), seconds=30)
    assert outcome.failure is not None
    assert isinstance(outcome.failure.__cause__, TimeoutError)
    assert len(store.rows(Scan)) == 1


def test_a_reorganisation_is_read_again_a_few_times(store: Store) -> None:
    attempts = []

    async def shaken(feed: Feed) -> AsyncIterator[Batch]:
        attempts.append(feed.cursor)
        yield Batch([row(len(attempts))], cursor=len(attempts))
        if len(attempts) < REORG_ATTEMPTS:
            raise Reorged("block 7 was replaced")

    voice = Silent()
    (outcome,) = run(store, job(shaken), voice=voice)
    assert outcome.failure is None
    assert attempts == [None, 1, 2]
    assert voice.notes == ["block 7 was replaced; reading again"] * 2

    async def never_still(feed: Feed) -> AsyncIterator[Batch]:
        yield Batch([row(9)])
        raise Reorged("again")

    (outcome,) = run(store, job(never_still, "other"))
    assert isinstance(outcome.failure, Reorged)


def test_a_lake_that_cannot_be_written_ends_the_job_with_its_reason(store: Store) -> None:
    store.create()

    async def into_the_void(feed: Feed) -> AsyncIterator[Batch]:
        yield Batch([row(1)], cursor=1)
        await feed.stored(Scan)
        # The day's folder becomes a file: no segment can be put there any more.
        (day,) = (store.lake / "scans").glob("day=2*")
        day.rename(day.with_name("aside"))
        day.touch()
        for number in range(2, 100):
            yield Batch([row(number)], cursor=number)
            await asyncio.sleep(0.1)

    (outcome,) = run(store, job(into_the_void))
    assert isinstance(outcome.failure, StoreError)
    assert "cannot be written" in str(outcome.failure)
    (day,) = (store.lake / "scans").glob("day=2*")
    day.unlink()
    (store.lake / "scans" / "aside").rename(day)
    assert [r.to_block for r in store.rows(Scan)] == [1]
    assert store.cursor("tiny") == 1


# --- ends ---------------------------------------------------------------------------------------


def test_a_time_limit_ends_a_stream_and_stores_what_is_pending(store: Store) -> None:
    async def endless(feed: Feed) -> AsyncIterator[Batch]:
        number = 0
        while True:
            number += 1
            yield Batch([row(number)], cursor=number)
            await asyncio.sleep(0.01)

    started = time.monotonic()
    (outcome,) = run(store, job(endless), seconds=0.5)
    assert time.monotonic() - started < 5
    assert outcome.failure is None
    assert outcome.rows == len(store.rows(Scan)) == store.cursor("tiny") > 5


def test_a_load_in_writing_at_the_end_of_a_source_is_awaited(store: Store) -> None:
    """The clock's flush is under way at that moment: its rows count, and its failure too."""
    size = FLUSH_ROWS - 1

    async def ends_while_written(feed: Feed) -> AsyncIterator[Batch]:
        yield Batch([row(i) for i in range(size)], cursor="all")
        # The clock's flush begins after FLUSH_SECONDS; a load of this size takes longer than that.
        await asyncio.sleep(FLUSH_SECONDS + 0.05)

    stored: list[Load] = []
    (outcome,) = run(store, job(ends_while_written), stored=stored.append)
    assert (outcome.rows, outcome.loads, outcome.failure) == (size, 1, None)
    assert [load.rows for load in stored] == [size]
    assert store.cursor("tiny") == "all"


def test_a_failed_load_at_the_end_of_a_source_is_reported(
    store: Store,
) -> None:
    size = FLUSH_ROWS - 1

    async def ends_while_written(feed: Feed) -> AsyncIterator[Batch]:
        (store.lake / "scans").rename(store.lake / "aside")
        (store.lake / "scans").touch()  # a file where the table's folder was
        yield Batch([row(i) for i in range(size)], cursor="all")
        await asyncio.sleep(FLUSH_SECONDS + 0.05)

    (outcome,) = run(store, job(ends_while_written))
    assert isinstance(outcome.failure, StoreError)
    assert "cannot be written" in str(outcome.failure)
    assert outcome.rows == 0


# The command line with two sources of this test in its registry: one that never ends, one that
# ends at once.
PROGRAM = """
import asyncio, sys
from chainwatch.tables.lending import Scan
from chainwatch.collect.source import Batch, source
from chainwatch.errors import NetworkError

def row(number):
    return Scan(market="m", scope="all", from_block=number, to_block=number, to_hash=hex(number),
                events=0)

@source("endless", tables=(Scan,), docs="https://example.org")
async def endless(feed):
    "Rows without end."
    number = feed.cursor or 0
    while True:
        number += 1
        yield Batch([row(number)], cursor=number)
        if number % 5 == 0:
            print("yielded", number, file=sys.stderr, flush=True)
        await asyncio.sleep(0.01)

@source("short", tables=(Scan,), docs="https://example.org")
async def short(feed):
    "One row."
    yield Batch([row(-1)])

@source("refused", tables=(Scan,), docs="https://example.org")
async def refused(feed):
    "Nothing but a failure."
    raise NetworkError("no answer")
    yield

from chainwatch.cli import main
main()
"""


@pytest.fixture
def endless(store: Store) -> Iterator[subprocess.Popen[str]]:
    """A collector in a process of its own that has yielded, and not stored, some rows."""
    process = start(store, "collect", "endless", "--jsonl")
    assert process.stderr
    while "yielded 20" not in process.stderr.readline():
        assert process.poll() is None
    yield process
    process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        assert stream
        stream.close()


def start(store: Store, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=clean_environment(store.home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(store: Store, *arguments: str) -> subprocess.CompletedProcess[str]:
    process = start(store, *arguments)
    out, err = process.communicate(timeout=shell.PATIENCE)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.mark.full
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_collector_stores_what_is_pending_and_ends_with_130(
    store: Store, endless: subprocess.Popen[str], how: signal.Signals
) -> None:
    endless.send_signal(how)
    out, err = endless.communicate(timeout=shell.PATIENCE)
    assert endless.returncode == Exit.INTERRUPTED
    assert err.splitlines()[-1] == "chainwatch: interrupted; what was acknowledged is stored"
    assert "Traceback" not in err
    scans = store.rows(Scan)
    assert len(scans) >= 20
    assert store.cursor("endless") == len(scans)
    # Each line on stdout is a load that is there, and none is missing.
    printed = [json.loads(line) for line in out.splitlines()]
    assert [line["rows"] for line in printed] == [load.rows for load in loads(store)]
    assert printed[-1]["cursor"] == len(scans)
    # The next one goes on where this one stopped.
    done = finish(store, "collect", "endless", "--for", "0.3s")
    assert done.returncode == Exit.OK, done.stderr
    assert store.cursor("endless") == len(store.rows(Scan)) > len(scans)


def test_a_second_interrupt_still_leaves_the_lake_sound(
    store: Store, endless: subprocess.Popen[str]
) -> None:
    for _ in range(3):
        endless.send_signal(signal.SIGINT)
        time.sleep(0.005)
    endless.communicate(timeout=shell.PATIENCE)
    assert endless.returncode in (Exit.INTERRUPTED, -signal.SIGINT)
    scans = store.rows(Scan)
    assert len(scans) == (store.cursor("endless") or 0)


@pytest.mark.full
def test_a_second_collector_of_a_source_is_exit_5(
    store: Store, endless: subprocess.Popen[str]
) -> None:
    """It names the first."""
    done = finish(store, "collect", "endless", "--for", "1s")
    assert done.returncode == Exit.STORE
    assert done.stderr.splitlines()[-1] == (
        f"chainwatch: endless is being collected into {store.home} by process {endless.pid}: "
        "wait for it, or stop it"
    )
    # Another source may run beside it; one of two that cannot makes a partial success.
    assert finish(store, "collect", "short").returncode == Exit.OK
    both = finish(store, "collect", "short", "endless", "--for", "1s")
    assert both.returncode == Exit.PARTIAL
    assert "1 of 2 failed: endless: endless is being collected" in both.stderr
    with pytest.raises(StoreBusy, match=f"by process {endless.pid}"), store.hold("endless"):
        pass


def test_a_time_limit_on_the_command_line_ends_well(store: Store) -> None:
    started = time.monotonic()
    done = finish(store, "collect", "endless", "short", "--for", "1s", "--json")
    assert done.returncode == Exit.OK, done.stderr
    assert time.monotonic() - started < 15
    rows = {line["source"]: line for line in json.loads(done.stdout)["rows"]}
    assert rows["short"]["rows"] == 1
    assert rows["endless"]["rows"] == store.cursor("endless") > 10
    assert {line["state"] for line in rows.values()} == {"ok"}


@pytest.mark.full
@pytest.mark.parametrize("full", ["before it starts", "while it runs"])
def test_a_full_disk_ends_the_command_with_five_and_one_line(tmp_path: Path, full: str) -> None:
    disk = tmp_path / "disk"
    with small_file_system(disk) as reason:
        if reason:
            pytest.skip(reason)
        store = Store(disk / "home")
        if full == "before it starts":
            fill(disk)
            done = finish(store, "collect", "endless", "--for", "30s")
        else:
            process = start(store, "collect", "endless", "--jsonl")
            assert process.stdout
            assert json.loads(process.stdout.readline())["rows"] > 0
            fill(disk)
            out, err = process.communicate(timeout=shell.PATIENCE)
            done = subprocess.CompletedProcess((), process.returncode, out, err)
        assert done.returncode == Exit.STORE, done.stderr
        errors = [line for line in done.stderr.splitlines() if not line.startswith("yielded")]
        assert errors == [
            f"chainwatch: the disk that holds {store.home} is full: free some space and run "
            "again; what was stored before is untouched"
        ]
        (disk / "filler").unlink()
        before = (store.cursor("endless") or 0) if store.exists else 0
        assert finish(store, "collect", "endless", "--for", "0.5s").returncode == Exit.OK
        assert len(store.rows(Scan)) == store.cursor("endless") > before


def test_failures_on_the_command_line_have_their_codes(store: Store) -> None:
    alone = finish(store, "collect", "refused")
    assert alone.returncode == Exit.NETWORK
    assert alone.stderr.splitlines()[-1] == "chainwatch: no answer"
    beside = finish(store, "collect", "refused", "short")
    assert beside.returncode == Exit.PARTIAL
    assert len(store.rows(Scan)) == 1
    assert "no answer" in beside.stdout
    unknown = finish(store, "collect", "shrot")
    assert unknown.returncode == Exit.USAGE
    assert "did you mean short?" in unknown.stderr


def test_no_process_of_these_tests_is_left(store: Store, endless: subprocess.Popen[str]) -> None:
    endless.send_signal(signal.SIGTERM)
    endless.communicate(timeout=shell.PATIENCE)
    with pytest.raises(ProcessLookupError):
        os.kill(endless.pid, 0)
    with store.hold("endless"):
        pass
