"""The lake: exact, whole loads only, whoever is killed, reads along, or runs out of disk."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chainwatch.errors import ConfigError, Exit, StoreBusy, StoreError, UsageError
from chainwatch.lake import catalog_file, query
from chainwatch.lake.catalog_file import CATALOG_FORMAT
from chainwatch.lake.engine import connect
from chainwatch.lake.layout import CATALOG_NAME
from chainwatch.lake.merge import Merger
from chainwatch.lake.relations import empty_views
from chainwatch.lake.segments import write_parts
from chainwatch.lake.store import Store
from chainwatch.nightly import export
from chainwatch.reports import alerts, run
from chainwatch.show.document import Report
from chainwatch.tables.base import Row, columns
from chainwatch.tables.disclosure import ReserveItem
from chainwatch.tables.lending import Account, EMode, Leg, Orphan, Reserve, Scan, Touch
from chainwatch.tables.log import Load, Reject
from chainwatch.tables.registry import tables
from tests.amounts import sample_size
from tests.builders import Asset, Book, ask, clean_environment, fill, small_file_system, sql
from tests.places import ROOT

# Real processes that need not start Python anew: fifty of them die in these tests.
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["duckdb", "numpy", "tests.lake.test_store"])
NOW = datetime(2026, 11, 21, 12, 30, 15, 123_456, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "home")
    made.create()
    return made


def scan(number: int = 1, market: str = "m", **changes: Any) -> Scan:
    values = {
        "market": market,
        "scope": "all",
        "from_block": number,
        "to_block": number,
        "to_hash": f"0x{number:064x}",
        "events": 0,
    }
    return Scan(**values | changes)


def touch(number: int, account: str = "0xa", market: str = "m") -> Touch:
    return Touch(
        market=market,
        account=account,
        block_number=number,
        to_hash=f"0x{number:064x}",
        borrowed=bool(number % 2),
    )


def leg(**changes: Any) -> Leg:
    values = {
        "snapshot": "s",
        "market": "m",
        "account": "0xa",
        "asset": "0xb",
        "side": "debt",
        "scaled": 1,
        "raw": 1,
        "value": 1,
        "amount": 1.0,
        "usd": 1.0,
        "lt_bps": 0,
        "bonus_bps": 0,
    }
    return Leg(**values | changes)


# --- what goes in comes out ---------------------------------------------------------------------

UINTS = st.one_of(
    st.integers(-(2**256), 2**256 - 1),
    st.sampled_from(
        [0, 1, -1, 10**38 - 1, 10**38, -(10**38) + 1, -(10**38), 2**127, 2**255, 2**256 - 1]
    ),
)
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "\0", "a\0b", "'; DROP TABLE loads; --", "\n\r\t", "é€😀\u202e", "x" * 5_000]
    ),
)
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda t: t.replace(tzinfo=UTC))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "VARCHAR": TEXTS,
    "DOUBLE": st.floats(allow_nan=False),
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "BOOLEAN": st.booleans(),
    "TIMESTAMPTZ": TIMES,
    "DATE": st.dates(),
    "DECIMAL(38,18)": st.decimals(-(10**19), 10**19, places=18, allow_nan=False),
    "UINT": UINTS,
}


@st.composite
def any_row(draw: st.DrawFn, row: type[Row]) -> Row:
    """A row of a table with any value of each column's type, null where it may be."""
    values = {}
    for column in columns(row):
        strategy = VALUES[column.type]
        values[column.name] = draw(st.none() | strategy if column.nullable else strategy)
    return row(**values)


def test_the_tables_use_every_column_type_with_and_without_null() -> None:
    """So that the round trips below leave nothing out."""
    kinds = {(c.type, c.nullable) for row in tables().values() for c in columns(row)}
    assert {kind for kind, _ in kinds} == VALUES.keys()
    assert {("UINT", True), ("DOUBLE", True), ("VARCHAR", True), ("BIGINT", True)} <= kinds


@pytest.mark.sampled
@settings(
    max_examples=sample_size(quick=2, full=10, torture=500),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(data=st.data())
@pytest.mark.parametrize(
    "name", [row.table for row in (Leg, Reserve, EMode, Account, Reject, Orphan, ReserveItem)]
)
def test_any_value_of_any_column_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    row = tables()[name]
    store = Store(tmp_path_factory.mktemp("home"))
    (store.home / "tmp").mkdir()
    batch = data.draw(
        st.lists(any_row(row), min_size=1, max_size=8, unique_by=lambda r: _key(r)), label="batch"
    )
    store.append(batch, source="test")
    stored = {_key(line): line for line in store.rows(row)}
    assert stored == {_key(line): line for line in batch}


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in row.key)


def test_numbers_keep_their_last_bit(store: Store) -> None:
    figures = [5e-324, -0.0, 1 / 3, math.pi * 1e300, math.inf, -math.inf, 2.0**53 + 2]
    store.append([leg(account=str(i), amount=v) for i, v in enumerate(figures)], source="t")
    amounts = {row.account: row.amount for row in store.rows(Leg)}
    assert [amounts[str(i)].hex() for i in range(len(figures))] == [v.hex() for v in figures]
    assert math.copysign(1, amounts["1"]) == -1


def test_nan_and_infinity_are_never_stored_as_numbers(store: Store) -> None:
    """What is not a number is stored as null or refused, and never as a number."""
    store.append([leg(usd=math.nan)], source="t")
    (row,) = store.rows(Leg)
    assert row.usd is None or math.isnan(row.usd)


def test_256_bit_integers_are_decimals_or_text_in_the_catalog(store: Store) -> None:
    """Integers of 256 bits stand in the catalog as a decimal, or as text where they do not fit."""
    values = [0, 10**38 - 1, 10**38, 2**256 - 1, -(10**38) + 1, -(2**255)]
    store.append([leg(account=str(i), raw=v) for i, v in enumerate(values)], source="t")
    rows = sql(store, "SELECT raw, raw_text, typeof(raw) FROM legs ORDER BY account").rows
    for value, (number, text, kind) in zip(values, rows, strict=True):
        assert kind == "DECIMAL(38,0)"
        small = abs(value) < 10**38
        assert (number, text) == ((value, None) if small else (None, str(value)))
    (total,) = sql(store, "SELECT sum(raw) FROM legs WHERE account IN ('1', '4')").rows
    assert total == (0,)


def test_a_text_that_all_rows_have_comes_back_exactly(store: Store) -> None:
    texts = [
        "it's",
        "''",
        "a\nb",
        "a\tb",
        "",
        "\\",
        "$s ? %s {x}",
        "naïve 😀",
        "'; DROP TABLE x; --",
    ]
    for i, text in enumerate(texts):
        rows = [scan(10 * i + n, market=text) for n in range(3)]
        store.append(
            [*rows, leg(account=f"{i}", usd=None), leg(account=f"{i}b", usd=None)], source="t"
        )
    assert {row.market for row in store.rows(Scan)} == set(texts)
    assert len(store.rows(Scan)) == 3 * len(texts)
    assert {row.usd for row in store.rows(Leg)} == {None}
    types = dict(sql(store, "SELECT column_name, column_type FROM (DESCRIBE legs)").rows)
    assert (types["usd"], types["raw_text"]) == ("DOUBLE", "VARCHAR")


def test_rows_of_several_parts_keep_their_order(tmp_path: Path) -> None:
    """The same input gives the same file, so that sums over it have the same last digits."""
    parts = [[scan(100 * part + n) for n in range(100)] for part in range(3)]
    with connect() as engine:
        for number in range(10):
            path = tmp_path / f"{number}.parquet"
            write_parts(engine, path, Scan, parts, "load")
            stored = engine.execute(f"SELECT from_block FROM '{path}'").fetchall()
            assert [block for (block,) in stored] == list(range(300))


def test_a_lone_surrogate_becomes_the_replacement_character(store: Store) -> None:
    given = {"lone": "a\ud800b", "low": "\udfff", "pair": "\ud83d\ude00", "fine": "😀"}
    store.append([scan(i, market=v) for i, v in enumerate(given.values())], source="t")
    names = {row.to_block: row.market for row in store.rows(Scan)}
    assert [names[i] for i in range(4)] == ["a\ufffdb", "\ufffd", "😀", "😀"]


def test_a_time_without_a_zone_refuses_the_whole_load(store: Store) -> None:
    """A time without a zone is refused, and nothing of its load counts."""
    naive = Orphan(snapshot="s", market="m", detected_at=NOW.replace(tzinfo=None))
    with pytest.raises(TypeError, match="without a zone"):
        store.append([scan(), naive], source="t")
    assert store.rows(Load) == []
    assert store.rows(Scan) == []
    assert list((store.home / "tmp").iterdir()) == []


def test_a_time_of_another_zone_is_the_same_moment(store: Store) -> None:
    from datetime import timezone

    there = NOW.astimezone(timezone(timedelta(hours=-7)))
    store.append([Orphan(snapshot="s", market="m", detected_at=there)], source="t")
    (row,) = store.rows(Orphan)
    assert row.detected_at == NOW
    assert row.detected_at.utcoffset() == timedelta()


def test_an_empty_load_is_a_load_with_its_cursor(store: Store) -> None:
    receipt = store.append([], source="s", target="t", cursor={"block": 7})
    assert (receipt.rows, json.loads(receipt.tables)) == (0, {})
    assert store.rows(Load) == [receipt]
    assert store.cursor("s", "t") == {"block": 7}


def test_rows_of_several_tables_are_counted_in_the_receipt(store: Store) -> None:
    receipt = store.append([scan(1), touch(1), touch(2), scan(2), touch(3)], source="s")
    assert receipt.rows == 5
    assert json.loads(receipt.tables) == {"scans": 2, "touches": 3}
    assert len(store.rows(Touch)) == 3


def test_rows_are_chosen_by_sql_with_named_values(store: Store) -> None:
    store.append([touch(n, account=f"0x{n}") for n in range(10)], source="s")
    rows = store.rows(Touch, "block_number > $low ORDER BY block_number DESC LIMIT 2", {"low": 3})
    assert [row.block_number for row in rows] == [9, 8]
    hostile = "' OR 1=1 --"
    assert store.rows(Touch, "account = $a", {"a": hostile}) == []


# --- what counts --------------------------------------------------------------------------------


def test_segments_without_their_row_in_loads_are_invisible(store: Store, tmp_path: Path) -> None:
    """What a process leaves behind that dies before the last of its renames."""
    store.append([scan(1), touch(1)], source="s")
    other = Store(tmp_path / "other")
    other.create()
    other.append([scan(2), touch(2), leg()], source="s")
    for name in ("scans", "touches", "legs"):
        for segment in (other.lake / name).glob("day=2*/*.parquet"):
            target = store.lake / name / segment.parent.name / segment.name
            target.parent.mkdir(exist_ok=True)
            shutil.copy(segment, target)
    assert [row.to_block for row in store.rows(Scan)] == [1]
    assert [row.block_number for row in store.rows(Touch)] == [1]
    assert store.rows(Leg) == []
    assert sql(store, "SELECT count(*) FROM touches").rows == [(1,)]
    # Its row in loads arrives: all of it counts at once.
    for segment in (other.lake / "loads").glob("day=2*/*.parquet"):
        shutil.copy(segment, store.lake / "loads" / segment.parent.name / segment.name)
    assert sorted(row.to_block for row in store.rows(Scan)) == [1, 2]
    assert len(store.rows(Leg)) == 1


def test_unfinished_files_are_not_read_and_are_removed_later(
    store: Store,
) -> None:
    """Unfinished files are never read, and are removed when no living process can own them."""
    young, old = store.home / "tmp/young.parquet", store.home / "tmp/old.parquet"
    for path in (young, old):
        path.write_bytes(b"half a segment")
    os.utime(old, (time.time() - 3_600,) * 2)
    store.append([scan()], source="s")
    assert len(store.rows(Scan)) == 1
    store.create()
    assert young.exists()
    assert not old.exists()


def test_the_same_key_twice_counts_once_and_the_first_stays(store: Store) -> None:
    store.append([scan(1, events=5), touch(1)], source="s")
    store.append([scan(1, events=9), touch(1), touch(2)], source="s")
    assert [row.events for row in store.rows(Scan)] == [5]
    assert sql(store, "SELECT count(*) FROM touches").rows == [(2,)]
    assert len(store.rows(Load)) == 2


def test_a_cursor_is_of_the_last_load_that_had_one(
    store: Store,
) -> None:
    """A cursor is that of the last load of its source and target that had one."""
    assert store.cursor("s", "t") is None
    store.append([scan(1)], source="s", target="t", cursor={"block": 1, "hash": "0xé"})
    store.append([scan(2)], source="s", target="t")
    store.append([scan(3)], source="s", target="u", cursor=[3, None, "x"])
    store.append([scan(4)], source="other", target="t", cursor=4)
    assert store.cursor("s", "t") == {"block": 1, "hash": "0xé"}
    assert store.cursor("s", "u") == [3, None, "x"]
    assert store.cursor("other", "t") == 4
    store.append([scan(5)], source="s", target="t", cursor={"block": 5})
    assert store.cursor("s", "t") == {"block": 5}


def test_a_column_that_is_newer_than_a_segment_is_null_in_it(store: Store) -> None:
    store.append([leg()], source="s")
    (segment,) = (store.lake / "legs").glob("day=2*/*.parquet")
    with duckdb.connect() as engine:  # as an older version wrote it
        engine.execute(
            f"COPY (SELECT * EXCLUDE (stable_rate, usd) FROM '{segment}') TO '{segment}.old' "
            "(FORMAT parquet)"
        )
    Path(f"{segment}.old").rename(segment)
    (row,) = store.rows(Leg)
    assert (row.stable_rate, row.usd, row.amount) == (None, None, 1.0)
    assert sql(store, "SELECT usd, amount FROM legs").rows == [(None, 1.0)]


def test_a_home_that_a_glob_would_misread_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must not contain"):
        Store(tmp_path / "what[ever]*")


@pytest.mark.full
@pytest.mark.parametrize("name", ["with space", "quote ' quote", "ünï→", "a;b$c"])
def test_a_home_may_have_any_other_name(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / name)
    store.create()
    store.append([scan()], source="s")
    assert len(store.rows(Scan)) == 1
    assert sql(store, "SELECT count(*) FROM scans").rows == [(1,)]


# --- the catalog --------------------------------------------------------------------------------


def made_market(store: Store) -> Book:
    book = Book(Asset("BTC", 90_000.0, lt=0.78, betas={"BTC": 1.0}), Asset("USD", 1.0))
    book.account("a", {"BTC": 1}, {"USD": 60_000})
    return book.store(store)


def fresh_client(path: Path, text: str) -> list[tuple[Any, ...]]:
    """What any DuckDB client sees of the catalog, opened read-only."""
    with duckdb.connect(str(path), read_only=True) as client:
        return client.execute(text).fetchall()


@pytest.mark.full
@pytest.mark.own_catalog
def test_any_client_reads_the_catalog_with_its_comments(store: Store) -> None:
    made_market(store)
    ask(store, "health")
    path = store.home / CATALOG_NAME
    assert fresh_client(path, "SELECT sum(accounts) FROM walls(p_factor := 'BTC')") == [(1,)]
    comments = dict(
        fresh_client(path, "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal")
    )
    for name, row in tables().items():
        assert comments[name] == (row.__doc__ or "").strip()
    missing = fresh_client(
        path,
        "SELECT table_name, column_name FROM duckdb_columns() "
        "WHERE NOT internal AND comment IS NULL AND table_name <> 'catalog_state'",
    )
    assert missing == []


@pytest.mark.own_catalog
def test_a_copied_database_is_what_the_program_makes(tmp_path: Path) -> None:
    """The second catalog of the same definitions is a copy, and equal to one that is made."""
    statements = [*empty_views(), *query.definitions()]
    paths = [tmp_path / name for name in ("made", "first", "second")]
    catalog_file.define(paths[0], statements)
    catalog_file.create(paths[1], statements)
    catalog_file.create(paths[2], statements)
    assert paths[2].read_bytes() == paths[1].read_bytes()
    contents = []
    for path in paths:
        with duckdb.connect(str(path), read_only=True) as client:
            texts = (
                "SELECT schema_name, function_name, parameters::TEXT, macro_definition, comment "
                "FROM duckdb_functions() WHERE NOT internal ORDER BY ALL",
                "SELECT view_name, sql, comment FROM duckdb_views() WHERE NOT internal "
                "ORDER BY ALL",
                "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal "
                "ORDER BY ALL",
            )
            contents.append([client.execute(text).fetchall() for text in texts])
    assert contents[0] == contents[1] == contents[2]
    assert all(contents[0])


@pytest.mark.full
@pytest.mark.own_catalog
def test_the_catalog_has_a_storage_version_for_old_clients(store: Store) -> None:
    """The catalog is written in the storage version that old clients can read."""
    ask(store, "snapshots_at")
    head = (store.home / CATALOG_NAME).read_bytes()[:20]
    assert head[8:12] == b"DUCK"
    assert int.from_bytes(head[12:20], "little") == 64  # 0.9 to 1.1 wrote it, and 1.5 reads it
    assert CATALOG_FORMAT == "v1.0.0"


@pytest.mark.own_catalog
def test_the_catalog_is_rebuilt_where_queries_change_and_only_then(store: Store) -> None:
    path = store.home / CATALOG_NAME
    first = ["CREATE MACRO answer() AS TABLE SELECT 41 AS n"]
    second = ["CREATE MACRO answer() AS TABLE SELECT 42 AS n"]
    store.catalog(first).close()
    before = path.stat().st_ino
    with store.catalog(first) as catalog:
        assert catalog.run("FROM answer()").rows == [(41,)]
    assert path.stat().st_ino == before
    with store.catalog(second) as catalog:
        assert catalog.run("FROM answer()").rows == [(42,)]
    assert path.stat().st_ino != before
    assert fresh_client(path, "FROM answer()") == [(42,)]


@pytest.mark.own_catalog
def test_who_has_the_old_catalog_open_keeps_it_while_it_is_replaced(store: Store) -> None:
    with store.catalog(["CREATE MACRO answer() AS TABLE SELECT 41 AS n"]) as old:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from pathlib import Path; from chainwatch.lake.store import Store;"
                "s = Store(Path(sys.argv[1]));"
                "c = s.catalog(['CREATE MACRO answer() AS TABLE SELECT 42 AS n']);"
                "print(c.run('FROM answer()').rows)",
                str(store.home),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "[(42,)]\n"
        assert old.run("FROM answer()").rows == [(41,)]


def test_a_folder_that_was_moved_works_from_its_new_place(store: Store) -> None:
    made_market(store)
    assert len(ask(store, "accounts")) == 1
    moved = Store(store.home.rename(store.home.with_name("moved")))
    assert len(ask(moved, "accounts")) == 1
    made_market(moved)
    assert len(moved.rows(Load)) == 2
    assert fresh_client(moved.home / CATALOG_NAME, "SELECT count(*) FROM loads") == [(2,)]
    assert not store.home.exists()


@pytest.mark.quick_variants("garbage")
@pytest.mark.own_catalog
@pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "flipped", "no catalog"])
def test_a_catalog_file_that_is_damaged_is_made_anew(store: Store, damage: str) -> None:
    made_market(store)
    ask(store, "health")
    path = store.home / CATALOG_NAME
    data = bytearray(path.read_bytes())
    match damage:
        case "garbage":
            path.write_bytes(b"no database at all\n" * 1_000)
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "flipped":
            data[12] ^= 0xFF  # the storage version: a file of another duckdb
            path.write_bytes(data)
        case _:
            path.unlink()
            duckdb.connect(str(path)).close()  # a database of somebody else
    assert len(ask(store, "accounts")) == 1
    assert fresh_client(path, "SELECT sum(accounts) FROM health()") == [(1,)]


def in_another_process(program: str, *arguments: str) -> subprocess.Popen[str]:
    """Start Python and wait until it has said that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.full
@pytest.mark.own_catalog
def test_a_client_that_opened_the_catalog_for_writing_blocks_nobody(store: Store) -> None:
    made_market(store)
    ask(store, "health")
    path = store.home / CATALOG_NAME
    program = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('ready', flush=True);"
        "sys.stdin.read()"
    )
    with in_another_process(program, str(path)) as client:
        with pytest.raises(duckdb.IOException, match="lock"):
            fresh_client(path, "SELECT 1")
        assert len(ask(store, "accounts")) == 1
        made_market(store)
        assert sql(store, "SELECT count(*) FROM loads").rows == [(2,)]
        assert client.stdin
        client.stdin.close()
    assert fresh_client(path, "SELECT count(*) FROM loads") == [(2,)]


@pytest.fixture
def read_only(store: Store) -> Iterator[Callable[[], None]]:
    """Makes the home folder read-only, for root as well."""
    mounted: list[Path] = []

    def freeze() -> None:
        if os.geteuid():
            for folder in (store.home, *[p for p in store.home.rglob("*") if p.is_dir()]):
                folder.chmod(0o555)
            return
        bind = subprocess.run(["mount", "--bind", store.home, store.home], capture_output=True)
        if bind.returncode:
            pytest.skip(f"cannot mount as root here: {bind.stderr.decode().strip()}")
        mounted.append(store.home)
        subprocess.run(["mount", "-o", "remount,ro,bind", store.home], check=True)

    yield freeze
    for path in mounted:
        subprocess.run(["umount", "--lazy", path], check=True)
    for folder in (store.home, *[p for p in store.home.rglob("*") if p.is_dir()]):
        folder.chmod(0o755)


@pytest.mark.full
@pytest.mark.parametrize("cached", [True, False])
def test_a_read_only_folder_can_be_read(
    store: Store, read_only: Callable[[], None], cached: bool
) -> None:
    """A read-only folder can be read, with and without a current catalog."""
    made_market(store)
    if cached:
        ask(store, "health")
    read_only()
    assert len(ask(store, "accounts")) == 1
    assert len(store.rows(Load)) == 1
    assert (store.home / CATALOG_NAME).exists() is cached
    with pytest.raises(StoreError, match=r"cannot be written: .*[Rr]ead-only|denied") as caught:
        store.append([scan()], source="s")
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match=r"cannot be written"), store.hold("new"):
        pass
    done = chainwatch(store.home, "health")
    assert done.returncode == Exit.OK, done.stderr


def chainwatch(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chainwatch.cli", *arguments],
        env=clean_environment(home),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_without_a_lake_the_command_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no lake in .* yet: run `chainwatch demo`"):
        ask(Store(tmp_path / "nothing"), "health")


# --- one collector at a time --------------------------------------------------------------------

HOLDS = (
    "import sys; from pathlib import Path; from chainwatch.lake.store import Store\n"
    "with Store(Path(sys.argv[1])).hold('aave-v3', sys.argv[2]):\n"
    "    print('ready', flush=True); sys.stdin.read()\n"
)


def test_who_collects_already_is_named_and_its_end_frees_the_place(store: Store) -> None:
    with in_another_process(HOLDS, str(store.home), "m") as holder:
        with (
            pytest.raises(StoreBusy, match=rf"aave-v3@m is .* by process {holder.pid}: wait"),
            store.hold("aave-v3", "m"),
        ):
            pass
        with store.hold("aave-v3", "other"), store.hold("aave-v2", "m"):
            pass  # another target, another source
        holder.kill()
    with store.hold("aave-v3", "m"):
        pass


def test_a_target_with_a_slash_holds_too(store: Store) -> None:
    with (
        store.hold("s", "a/b"),
        pytest.raises(StoreBusy, match=f"by process {os.getpid()}"),
        store.hold("s", "a/b"),
    ):
        pass


# --- readers beside a writer --------------------------------------------------------------------

ACCOUNTS = 20


def prices(block: int) -> Book:
    """A snapshot in which all accounts trigger at one price that only this block has."""
    book = Book(
        Asset("BTC", 90_000.0 + block, lt=0.78, betas={"BTC": 1.0}), Asset("USD", 1.0), block=block
    )
    for i in range(ACCOUNTS):
        book.account(str(i), {"BTC": 1}, {"USD": 0.78 * (80_000 + block)})
    return book


def write_snapshots(home: Path, pause: float, stop: Any) -> None:
    store, block = Store(home), 1
    while not stop.is_set():
        block += 1
        prices(block).store(store)
        time.sleep(pause)


# One statement each; the tables are joined in the order a report joins them.
WHOLE = {
    "a load has all of its rows": """
        SELECT count(*) FROM loads AS l
        LEFT JOIN (SELECT load, count(*) AS n FROM touches GROUP BY load) AS t ON t.load = l.load
        LEFT JOIN (SELECT load, count(*) AS n FROM legs GROUP BY load) AS g ON g.load = l.load
        LEFT JOIN (SELECT load, count(*) AS n FROM account_health GROUP BY load) AS a
          ON a.load = l.load
        WHERE coalesce(CAST(l.tables->>'legs' AS INT), 0) <> coalesce(g.n, 0)
           OR coalesce(CAST(l.tables->>'account_health' AS INT), 0) <> coalesce(a.n, 0)
           OR coalesce(CAST(l.tables->>'touches' AS INT), 0) <> coalesce(t.n, 0)
    """,
    "a snapshot has all of its accounts": "SELECT count(*) FROM account_counts()",
    "its balances add up": "SELECT count(*) FROM account_totals()",
    "every account has its balances and prices": f"""
        SELECT (count(*) <> {ACCOUNTS} OR count(DISTINCT snapshot) <> 1
                OR sum(CASE WHEN direction = 'down'
                             AND abs(trigger_price - 80000 - block_number) < 1e-6
                            THEN 1 ELSE 0 END) <> {ACCOUNTS})::INT
        FROM triggers(p_factor := 'BTC')
    """,
    "every account has its collateral named": """
        SELECT count(*) FROM accounts(p_limit := 1000)
        WHERE top_collateral <> 'BTC' OR top_collateral IS NULL OR top_debt IS NULL
    """,
    "every bucket counts": f"SELECT (sum(accounts) <> {ACCOUNTS})::INT FROM health()",
}


def read_along(home: Path, rounds: int, results: Connection) -> None:
    """Open the catalog and ask, many times; sends what was wrong, and the blocks seen."""
    wrong = Counter[str]()
    blocks: set[int] = set()
    reads = 0
    patience = time.monotonic() + 60  # for a writer that a busy machine holds up
    while reads < rounds or (len(blocks) < 3 and time.monotonic() < patience):
        with query.open_catalog(Store(home)) as catalog:
            reads += 1
            for what, text in WHOLE.items():
                wrong[what] += catalog.run(text).rows[0][0]
            blocks.add(catalog.run("SELECT max(block_number) FROM snapshots_at()").rows[0][0])
    results.send((dict(wrong), sorted(blocks)))


@pytest.mark.full
def test_readers_beside_a_writer_see_complete_loads_only(
    store: Store,
) -> None:
    """Two readers that ask again and again while a collector writes see complete loads only."""
    prices(1).store(store)
    ask(store, "health")
    stop = CHILDREN.Event()
    ends = [CHILDREN.Pipe(duplex=False) for _ in range(2)]
    processes = [
        CHILDREN.Process(target=write_snapshots, args=(store.home, 0.05, stop)),
        *(CHILDREN.Process(target=read_along, args=(store.home, 8, send)) for _, send in ends),
    ]
    for process in processes:
        process.start()
    reports = [receive.recv() for receive, _ in ends]
    stop.set()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(store.rows(Load)) > 3
    for wrong, blocks in reports:
        assert wrong.keys() == WHOLE.keys()
        assert not any(wrong.values()), wrong
        assert len(blocks) >= 3  # they saw the new ones come


ROUNDS = sample_size(quick=4, full=25, torture=500)
# Each report has more loads to read than the one before: a faster writer makes a longer test.
PAUSE = 0.5 if ROUNDS < 25 else 0.15


@pytest.mark.sampled(f"{ROUNDS} reports")
def test_header_and_rows_of_a_report_are_of_one_snapshot(
    store: Store,
) -> None:
    """A report's header and rows are of one snapshot, also while a collector writes."""
    prices(1).store(store)
    stop = CHILDREN.Event()
    writer = CHILDREN.Process(target=write_snapshots, args=(store.home, PAUSE, stop))
    writer.start()
    blocks: set[int] = set()
    reads = 0
    patience = time.monotonic() + 60
    try:
        while reads < ROUNDS or (len(blocks) < 4 and time.monotonic() < patience):
            with query.open_catalog(store) as catalog:
                reads += 1
                made = run.make(catalog, "accounts", {"p_limit": 5})
                (market,) = made.meta["markets"]
                rows = {row["block_number"] for row in made.result.dicts()}
                assert rows == {market["block_number"]}
                assert f"block {market['block_number']} of" in made.header[0]
                blocks |= rows
    finally:
        stop.set()
        writer.join(20)
    assert len(blocks) > 3


# --- killed at any moment -----------------------------------------------------------------------

KILLS = sample_size(quick=5, full=50, torture=500)
PER_LOAD = 40  # rows of each of three tables


def append_forever(home: Path, worker: int, acknowledged: Connection) -> None:
    """Append loads of several tables; say so after each one that is stored."""
    store = Store(home)
    number = (store.cursor("writer", str(worker)) or {"number": 0})["number"]
    while True:
        number += 1
        rows: list[Row] = []
        for i in range(PER_LOAD):
            place = number * PER_LOAD + i
            rows += [
                scan(place, market=f"w{worker}"),
                touch(place, account=f"0x{worker}{i}", market=f"w{worker}"),
                leg(snapshot=f"{worker}:{number}", account=str(i), raw=2**200 + place),
            ]
        receipt = store.append(rows, source="writer", target=str(worker), cursor={"number": number})
        acknowledged.send((number, receipt.stored_at))


@pytest.mark.sampled(f"{KILLS} kills")
def test_a_killed_writer_loses_nothing_and_shows_nothing_half(
    store: Store,
) -> None:
    """A writer that is killed at any moment loses nothing acknowledged and shows no half load."""
    pick = random.Random()
    acknowledged: dict[int, dict[int, datetime]] = {0: {}, 1: {}}
    three_loads = 0.0
    kills = 0
    while kills < KILLS or not any((store.home / "tmp").iterdir()):
        assert kills < 20 * KILLS, "no kill has hit a writer in the middle of a load"
        worker = kills % 2
        kills += 1
        receive, send = CHILDREN.Pipe(duplex=False)
        process = CHILDREN.Process(target=append_forever, args=(store.home, worker, send))
        started = time.monotonic()
        process.start()
        send.close()
        if not three_loads:  # the first one shows how long three loads take here
            for _ in range(3):
                number, stored_at = receive.recv()
                acknowledged[worker][number] = stored_at
            three_loads = time.monotonic() - started
        # From its very start on, and often in the middle of a load.
        time.sleep(pick.uniform(0, three_loads))
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        before = len(acknowledged[worker])
        while True:
            try:
                number, stored_at = receive.recv()
            except EOFError:
                break
            acknowledged[worker][number] = stored_at
        # A busy machine needs longer to start a writer than it did the first time.
        three_loads *= 1.1 if len(acknowledged[worker]) == before else 0.95
    assert sum(len(numbers) for numbers in acknowledged.values()) > KILLS / 4
    loads = store.rows(Load)
    for worker, numbers in acknowledged.items():
        mine = [load for load in loads if load.target == str(worker)]
        cursors = [json.loads(load.cursor or "{}")["number"] for load in mine]
        # Nothing acknowledged is lost, and a number is stored again only where it was not told.
        assert set(numbers) <= set(cursors)
        assert {(n, at) for n, at in numbers.items()} <= {
            (n, load.stored_at) for n, load in zip(cursors, mine, strict=True)
        }
        assert sorted(set(cursors)) == list(range(1, max(cursors, default=0) + 1))
        for table in (Scan, Touch):
            rows = store.rows(table, "market = $m", {"m": f"w{worker}"})
            assert len(rows) == PER_LOAD * max(cursors, default=0)
    half = sql(
        store,
        """SELECT l.load FROM loads AS l
           LEFT JOIN (SELECT load, count(*) AS n FROM legs GROUP BY load) AS g ON g.load = l.load
           WHERE CAST(l.tables->>'legs' AS INT) <> coalesce(g.n, 0)""",
    )
    assert half.rows == []
    for name in tables():  # no orphan of any kind breaks a view
        sql(store, f"SELECT count(*), max(load) FROM {name}")
    # Whoever comes next works on.
    store.create()
    store.append([scan(1, market="after")], source="writer", target="0")
    assert len(store.rows(Scan, "market = 'after'")) == 1


# --- segments that are damaged ------------------------------------------------------------------


def only_segment(store: Store, table: str) -> Path:
    (path,) = (store.lake / table).glob("day=2*/*.parquet")
    return path


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    match how:
        case "empty":
            path.write_bytes(b"")
        case "half":
            path.write_bytes(data[: len(data) // 2])
        case "zeros":
            path.write_bytes(bytes(len(data)))
        case "some bytes":
            path.write_bytes(data[:60] + b"\xff" * 1_200 + data[1_260:])


@pytest.mark.quick_variants("True-half", "False-empty")
@pytest.mark.parametrize("how", ["empty", "half", "zeros", "some bytes"])
@pytest.mark.parametrize("cached", [True, False])
def test_a_damaged_segment_is_named_wherever_it_is_read(
    store: Store, how: str, cached: bool
) -> None:
    made_market(store)
    made_market(store)
    if cached:
        ask(store, "health")
    path = sorted((store.lake / "account_health").glob("day=2*/*.parquet"))[-1]
    damage(path, how)

    def merge() -> None:
        with Merger(store, fanout=2, settle=0.0) as merger:
            merger.step()

    for read in (
        lambda: ask(store, "health"),
        lambda: sql(store, "SELECT count(hf) FROM account_health"),
        lambda: store.rows(Account),
        merge,
    ):
        with pytest.raises(StoreError) as caught:
            read()
        text = str(caught.value)
        assert text.startswith(f"{path} cannot be read (")
        receipt = store.lake / "loads" / path.parent.name / path.name
        assert text.endswith(
            f"put a copy of it back, or move it and {receipt.relative_to(store.home)} away: "
            "nothing of that load counts then"
        )
        assert "\n" not in text
    path.unlink()
    receipt.unlink()
    assert len(store.rows(Account)) == 1
    assert len(ask(store, "health")) >= 10


@pytest.mark.full
def test_a_damaged_segment_exits_with_5_and_wrong_sql_with_2(store: Store) -> None:
    """On the command line a damaged segment is exit code 5; wrong SQL stays 2."""
    made_market(store)
    path = only_segment(store, "account_health")
    wrong = (
        "SELECT error('too small to be a Parquet file')",
        "SELECT 'x'::INTEGER",
        f"FROM read_parquet('{path}x.parquet')",
        f"FROM read_json('{path}')",
    )
    for text in wrong:
        assert chainwatch(store.home, "sql", text).returncode == Exit.USAGE
    damage(path, "some bytes")
    for command in (["health"], ["checks"], ["sql", "FROM account_health"]):
        done = chainwatch(store.home, *command)
        assert (done.returncode, done.stdout) == (Exit.STORE, "")
        assert done.stderr.startswith(f"chainwatch: {path} cannot be read (")
        assert len(done.stderr.splitlines()) == 1
    assert chainwatch(store.home, "sql", "FROM legs").returncode == Exit.OK
    for text in wrong[:2]:
        assert chainwatch(store.home, "sql", text).returncode == Exit.USAGE


@pytest.mark.quick_variants("account_health-False", "legs-*")
@pytest.mark.parametrize(
    ("table", "lost_row"),
    [
        ("account_health", False),
        ("legs", False),
        ("legs", True),
        ("reserves", False),
        ("factors", True),
        ("snapshots", False),
    ],
)
def test_a_lost_segment_is_named_and_no_figure_stands_on_the_rest(
    store: Store, table: str, lost_row: bool
) -> None:
    made_market(store)
    made_market(store)
    kept, path = sorted((store.lake / table).glob("day=2*/*.parquet"))
    receipt = store.lake / "loads" / path.parent.name / path.name
    rows = 2 if table in ("legs", "reserves") else 1
    if lost_row:
        kept, path = path, kept
        shutil.rmtree(store.lake / table)
    else:
        path.unlink()

    def exported() -> None:
        export.export_day(store, store.home / "out", date(2026, 1, 29))

    for read in (
        lambda: made(store, "walls"),
        lambda: sql(store, f"SELECT count(*) FROM {table}"),
        lambda: sql(store, "FROM walls()"),
        lambda: store.rows(tables()[table]),
        exported,
    ):
        with pytest.raises(StoreError) as caught:
            read()
        text = str(caught.value)
        assert text.startswith(f"{path} is not there"), text
        assert f"its load stored {rows} rows of {table} in it" in text
        assert (", nor are 1 more segments of that table: " in text) == lost_row
        assert text.endswith("away: nothing of that load counts then")
    done = chainwatch(store.home, "walls", "BTC", "--json")
    assert (done.returncode, done.stdout) == (Exit.STORE, "")
    assert done.stderr.startswith(f"chainwatch: {path} is not there")
    assert len(done.stderr.splitlines()) == 1
    assert sql(store, "SELECT count(*) FROM candles").rows == [(0,)]
    if not lost_row:
        # The way out that is told: without the receipt the load before it stands.
        receipt.unlink()
        assert sum(row["accounts"] for row in made(store, "health").result.dicts()) == 1


@pytest.mark.quick_variants("True-FROM ACCOUNT_HEALTH", "False-FROM query(*", "True-FROM HEALTH()")
@pytest.mark.parametrize(
    "text",
    [
        "FROM ACCOUNT_HEALTH",
        'FROM "Account_Health"',
        "FROM query_table('account_health')",
        "FROM query_table('account_' || 'health')",
        "FROM query('FROM account_health')",
        "FROM query('FROM acc' || 'ount_health')",
        "SELECT count(*) AS \"it's\" FROM account_health WHERE account <> 'x'",
        "SELECT '--' AS x, '/*' AS y, count(*) FROM account_health",
        "SELECT $$'$$ AS x, count(*) FROM account_health WHERE account <> 'x'",
        "SELECT e'\\'' AS x, count(*) FROM account_health WHERE account <> 'x'",
        "FROM HEALTH()",
        'FROM "Health"()',
        "FROM health/* /* */ */()",
        "FROM health -- all\n ()",
        "FROM Walls(p_factor:='BTC')",
        "FROM main.walls\n(p_factor := 'BTC')",
        "FROM query('FROM health()')",
        "EXPLAIN ANALYZE FROM Health()",
    ],
)
@pytest.mark.parametrize("lost", [True, False])
def test_no_figure_stands_on_a_damaged_table_however_named(
    store: Store, text: str, lost: bool
) -> None:
    """However a table is named, no figure stands on what is left of it."""
    made_market(store)
    made_market(store)
    path = sorted((store.lake / "account_health").glob("day=2*/*.parquet"))[-1]
    if lost:
        path.unlink()
    else:
        shorten(path, 0)
    with pytest.raises(StoreError, match=re.escape(str(path))):
        sql(store, text)
    assert sql(store, "SELECT count(*) FROM candles").rows == [(0,)]


def shorten(path: Path, rows: int) -> None:
    """Leave the first rows of a segment, as a valid file."""
    draft = path.with_suffix(".draft")
    duckdb.execute(
        f"COPY (FROM read_parquet('{path}', hive_partitioning = false) LIMIT {rows}) "
        f"TO '{draft}' (FORMAT parquet)"
    )
    draft.replace(path)


@pytest.mark.quick_variants("legs-1")
@pytest.mark.parametrize(
    ("table", "rows"), [("legs", 1), ("reserves", 1), ("factors", 0), ("account_health", 0)]
)
def test_a_segment_with_fewer_rows_than_stored_is_named(
    store: Store, tmp_path: Path, table: str, rows: int
) -> None:
    """A segment with fewer rows than its load stored is named in the error and not used."""
    made_market(store)
    made_market(store)
    out = tmp_path / "out"
    export.export_day(store, out, date(2026, 1, 29))
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    path = sorted((store.lake / table).glob("day=2*/*.parquet"))[-1]
    shorten(path, rows)

    def merge() -> None:
        with Merger(store, fanout=2, settle=0.0) as merger:
            merger.step()

    for read in (
        lambda: made(store, "walls"),
        lambda: sql(store, f"SELECT count(*) FROM {table.upper()}"),
        lambda: store.rows(tables()[table]),
        lambda: export.export_day(store, out, date(2026, 1, 29)),
        merge,
    ):
        with pytest.raises(StoreError) as caught:
            read()
        assert str(caught.value).startswith(f"{path} holds {rows} rows, but its load stored ")
        assert str(caught.value).endswith("away: nothing of that load counts then")
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    assert path.exists(), "no merged load took the place of what is left"
    done = chainwatch(store.home, "triggers", "BTC")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (Exit.STORE, "", 1)
    failed = alerts.run(store, []).failures
    assert failed
    assert {type(f) for f in failed} == {StoreError}


def test_a_segment_is_counted_again_when_it_changed(store: Store) -> None:
    made_market(store)
    path = only_segment(store, "legs")
    assert sql(store, "SELECT count(*) FROM legs").rows == [(2,)]
    kept = path.read_bytes()
    shorten(path, 1)
    with pytest.raises(StoreError, match="holds 1 rows, but its load stored 2 rows of legs"):
        sql(store, "FROM legs")
    path.write_bytes(kept)
    assert sql(store, "SELECT count(*) FROM legs").rows == [(2,)]


@pytest.mark.quick_variants("legs", "None")
@pytest.mark.parametrize(
    "counts", ["", "legs", "[1]", '{"legs": null}', '{"legs": -1}', '{"legs": true}', "null", None]
)
def test_a_load_that_does_not_say_what_it_stored_is_named(store: Store, counts: str | None) -> None:
    made_market(store)
    path = only_segment(store, "loads")
    draft = path.with_suffix(".draft")
    duckdb.execute(
        "COPY (SELECT * REPLACE ($counts::VARCHAR AS tables) FROM "
        f"read_parquet('{path}', hive_partitioning = false)) TO '{draft}' (FORMAT parquet)",
        {"counts": counts},
    )
    draft.replace(path)

    def retire() -> None:
        with Merger(store, settle=0.0) as merger:
            merger.retire(["s"], [], "1970-01-01")

    for read in (lambda: made(store, "health"), lambda: store.rows(Account), retire):
        with pytest.raises(StoreError) as caught:
            read()
        assert str(caught.value).startswith(f"{path} does not say how many rows its load stored")
    done = chainwatch(store.home, "health")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (Exit.STORE, "", 1)


def made(store: Store, name: str) -> Report:
    with query.open_catalog(store) as catalog:
        return run.make(catalog, name, {})


def test_fewer_accounts_than_were_read_are_no_report(store: Store) -> None:
    book = Book(Asset("BTC", 90_000.0, betas={"BTC": 1.0}), Asset("USD", 1.0))
    book.account("a", {"BTC": 1}, {"USD": 60_000})
    book.account("b", {"BTC": 1}, {"USD": 60_000})
    gone = next(row for row in book.rows() if isinstance(row, Account))
    store.append([row for row in book.rows() if row != gone], source="test")
    with pytest.raises(StoreError, match=r"expected 2 accounts of m .* got 1 in the lake"):
        made(store, "walls")


# --- a disk that is full ------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB of its own."""
    with small_file_system(tmp_path / "disk") as reason:
        if reason:
            pytest.skip(reason)
        yield tmp_path / "disk"


def ballast(size: int, number: int) -> list[Row]:
    """Rows that take about `size` bytes and do not compress."""
    noise = random.Random(number)
    return [
        Reject(
            source="s",
            target="t",
            received_at=NOW + timedelta(seconds=i),
            reason=str(number),
            raw=noise.randbytes(500).hex(),
        )
        for i in range(size // 500)
    ]


@pytest.mark.full
def test_a_full_disk_gives_one_line_and_leaves_the_lake_sound(small_disk: Path) -> None:
    store = Store(small_disk / "home")
    store.create()
    made_market(store)
    assert len(ask(store, "accounts")) == 1
    (small_disk / "reserve").write_bytes(bytes(200_000))  # what is freed at the end
    stored, text = 0, ""
    while not text and stored < 100:
        try:
            store.append(ballast(60_000, stored), source="s", target="t", cursor=stored)
            stored += 1
        except StoreError as failure:
            text = str(failure)
    assert text == (
        f"the disk that holds {store.home} is full: free some space and run again; "
        "what was stored before is untouched"
    )
    assert stored > 1
    assert list((store.home / "tmp").iterdir()) == []  # what was half-written takes no space
    # Sound, readable, and at the last thing acknowledged.
    assert store.cursor("s", "t") == stored - 1
    assert len(store.rows(Reject)) == stored * 120
    assert len(ask(store, "accounts")) == 1
    assert ask(store, "account_counts") == []
    fill(small_disk)
    for attempt in (
        lambda: store.append([scan()], source="s"),
        lambda: Store(small_disk / "second").create(),
    ):
        with pytest.raises(StoreError, match=r"the disk that holds .* is full: free some space"):
            attempt()
    done = chainwatch(store.home, "health")
    assert done.returncode == Exit.OK, done.stderr
    # Space is freed: it goes on.
    (small_disk / "filler").unlink()
    (small_disk / "reserve").unlink()
    store.append([scan()], source="s", target="t", cursor="on")
    assert len(store.rows(Scan)) == 2
    assert store.cursor("s", "t") == "on"


@pytest.mark.quick_variants("0")
@pytest.mark.parametrize("left", [0, 60_000, 200_000, 700_000])
def test_on_a_full_disk_a_lake_without_a_catalog_is_read_all_the_same(
    small_disk: Path, left: int
) -> None:
    store = Store(small_disk / "home")
    store.create()
    made_market(store)
    fill(small_disk, leave=left)
    assert len(ask(store, "accounts")) == 1
    assert list((store.home / "tmp").iterdir()) == []


def test_a_file_size_limit_gives_one_line_and_leaves_the_lake_sound(store: Store) -> None:
    """What a quota looks like where nobody may mount: RLIMIT_FSIZE in a process of its own."""
    made_market(store)
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from chainwatch.errors import StoreError; from chainwatch.lake.store import Store\n"
        "from tests.lake.test_store import ballast\n"
        "store = Store(Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "store.append(ballast(20_000, 1), source='s')\n"
        "try:\n    store.append(ballast(400_000, 2), source='s')\n"
        "except StoreError as failure:\n    print(failure)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(store.home)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{store.home} cannot be written: ")
    assert len(done.stdout.splitlines()) == 1
    assert {row.reason for row in store.rows(Reject)} == {"1"}
    assert list((store.home / "tmp").iterdir()) == []
    store.append(ballast(400_000, 2), source="s")
    assert {row.reason for row in store.rows(Reject)} == {"1", "2"}


def test_a_receipt_is_what_a_reader_finds(store: Store) -> None:
    receipt = store.append([scan()], source="s", target="t", cursor=1)
    (stored,) = store.rows(Load)
    assert msgspec.structs.asdict(stored) == msgspec.structs.asdict(receipt)
