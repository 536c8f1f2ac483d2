"""Exports: the right rows, the same bytes, whole nights only, a check that finds every fault."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import polars
import pytest

from chainwatch.errors import CheckFailed, Exit, UsageError
from chainwatch.lake import query
from chainwatch.lake.merge import Merger
from chainwatch.lake.segments import parquet_shape
from chainwatch.lake.store import Store
from chainwatch.nightly import export, retention
from chainwatch.nightly.compaction import MergeTimes
from chainwatch.nightly.manifest import inputs, outdated
from chainwatch.nightly.marts import load_marts
from chainwatch.nightly.verification import check_export
from chainwatch.tables.base import Row
from chainwatch.tables.disclosure import Statement
from chainwatch.tables.exchange import ExchangeLiquidation
from chainwatch.tables.lending import ChainLiquidation, Orphan, Snapshot
from chainwatch.tables.registry import tables
from tests import builders, shell
from tests.builders import Asset, Book, ask, depth
from tests.reports.test_liquidations import order, span
from tests.reports.test_reserve_queries import QUARTERS

DAY = date(2026, 1, 29)
NEXT = date(2026, 1, 30)
MORNING = datetime(2026, 1, 29, 6, tzinfo=UTC)


@pytest.fixture
def store(empty_lake: Store) -> Store:
    return empty_lake


def book(time: datetime, block: int, btc: float = 90_000.0, lt: float = 0.8, **more: Any) -> Book:
    made = Book(
        Asset("BTC", btc, lt=lt, betas={"BTC": 1.0}),
        Asset("USD", 1.0, lt=0.75, betas={"USD": 1.0}),
        block=block,
        time=time,
        **more,
    )
    for n in range(40):
        debt = 1_000.0 + 13.7 * n
        made.account(f"{n}", {"BTC": (1.01 + 0.03 * n) * debt / lt / btc, "USD": n}, {"USD": debt})
    return made


def liquidation(time: datetime, number: int, usd: float = 100.0) -> ChainLiquidation:
    return ChainLiquidation(
        market="m",
        protocol="aave-v3",
        chain_id=1,
        block_number=number,
        block_hash=f"0x{number:064x}",
        block_time=time,
        tx_hash="0x1",
        log_index=1,
        kind="liquidation",
        account="0xa",
        liquidator="0xb",
        debt_asset="0xc",
        debt_repaid_raw=1,
        debt_repaid_usd=usd,
        coll_asset="0xd",
        coll_seized_raw=1,
        coll_seized_usd=usd * 1.05,
    )


def fill(store: Store) -> None:
    """Two days: prices, a parameter and liquidations change."""
    book(MORNING, 100).store(store)
    evening = book(MORNING + timedelta(hours=12), 200, btc=88_000.0).store(store)
    store.append([evening.verified()], source="verify")
    book(MORNING + timedelta(days=1), 300, btc=80_000.0, lt=0.78).store(store)
    store.append(
        [liquidation(MORNING + timedelta(minutes=n), 100 + n, 100.1 * n) for n in range(1, 130)],
        source="liq",
    )


def read(folder: Path, mart: str) -> list[dict[str, Any]]:
    with duckdb.connect() as client:
        client.execute("SET TimeZone = 'UTC'")
        cursor = client.execute(f"FROM read_parquet('{folder}/{mart}.parquet')")
        names = [c[0] for c in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


# --- rows ---------------------------------------------------------------------------------------


@pytest.mark.full
def test_a_days_marts_are_what_the_reports_say_of_its_newest_snapshot(
    store: Store, tmp_path: Path
) -> None:
    fill(store)
    done = export.export_day(store, tmp_path / "out", DAY)
    as_of = MORNING + timedelta(hours=12)
    health = ask(store, "health", as_of=as_of)
    rows = read(done.folder, "health")
    assert [row["accounts"] for row in rows] == [row["accounts"] for row in health]
    for row, wanted in zip(rows, health, strict=True):
        assert row["market"] == "m"
        assert row["debt_usd"] == pytest.approx(wanted["debt_usd"], rel=1e-12)
    walls = [row for row in read(done.folder, "walls") if row["factor"] == "BTC"]
    wanted_walls = ask(store, "walls", factor="BTC", direction="both", step_pct=0.01, as_of=as_of)
    assert len(walls) == len(wanted_walls) > 50
    for row, wanted in zip(walls, wanted_walls, strict=True):
        assert row["direction"] == wanted["direction"]
        for name in ("price_from", "round_seizable_usd", "cum_units"):
            assert wanted[name] is None or row[name] == pytest.approx(wanted[name], rel=1e-12)
            assert (row[name] is None) == (wanted[name] is None)
    (totals,) = read(done.folder, "totals")
    assert totals["block_number"] == 200
    assert totals["debt_usd"] == pytest.approx(sum(1_000 + 13.7 * n for n in range(40)))
    (checked,) = read(done.folder, "verification")
    assert (checked["checked"], checked["equal"], checked["different"]) == (40, 40, 0)


@pytest.mark.full
def test_liquidations_are_counted_by_hour_within_the_utc_day(store: Store, tmp_path: Path) -> None:
    fill(store)
    late = datetime(2026, 1, 29, 23, 59, 59, 999_999, tzinfo=UTC)
    store.append(
        [liquidation(late, 900), liquidation(late + timedelta(microseconds=1), 901)], source="l"
    )
    rows = read(export.export_day(store, tmp_path / "out", DAY).folder, "chain_liquidations")
    assert [(r["hour"].hour, r["events"]) for r in rows] == [(6, 59), (7, 60), (8, 10), (23, 1)]
    assert rows[0]["debt_repaid_usd"] == pytest.approx(100.1 * sum(range(1, 60)))
    (first,) = read(export.export_day(store, tmp_path / "out", NEXT).folder, "chain_liquidations")
    assert (first["hour"], first["events"]) == (datetime(2026, 1, 30, tzinfo=UTC), 1)


@pytest.mark.full
def test_parameters_that_changed_since_the_day_before_are_listed(
    store: Store, tmp_path: Path
) -> None:
    fill(store)
    rows = read(export.export_day(store, tmp_path / "out", NEXT).folder, "parameter_changes")
    assert [(r["symbol"], r["parameter"], r["before"], r["after"]) for r in rows] == [
        ("BTC", "lt_bps", "8000.0", "7800.0")
    ]
    assert (rows[0]["before_block"], rows[0]["after_block"]) == (200, 300)
    assert read(export.export_day(store, tmp_path / "out", DAY).folder, "parameter_changes") == []


def test_a_market_not_read_that_day_has_no_rows(store: Store, tmp_path: Path) -> None:
    """A market that was not read that day has no rows, not even old ones."""
    fill(store)
    book(MORNING, 100, market="other").store(store)
    done = export.export_day(store, tmp_path / "out", NEXT)
    assert {row["market"] for row in read(done.folder, "health")} == {"m"}
    assert [s["market"] for s in done.manifest["snapshots"]] == ["m"]


@pytest.mark.full
def test_a_summer_time_date_is_a_day_of_24_utc_hours(store: Store, tmp_path: Path) -> None:
    """2026-03-29 has 23 hours in Berlin, 2026-11-01 has 25 in New York: neither matters."""
    for day in (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)):
        hours = [
            liquidation(day + timedelta(minutes=30 * n), 100 * day.month + n) for n in range(48)
        ]
        store.append(hours, source=f"{day:%m}")
        code = (
            "import sys; from datetime import date; from pathlib import Path;"
            "from chainwatch.nightly import export; from chainwatch.lake.store import Store;"
            "export.export_day(Store(Path(sys.argv[1])), Path(sys.argv[2]),"
            " date.fromisoformat(sys.argv[3]))"
        )
        for zone in ("Europe/Berlin", "America/New_York"):
            out = tmp_path / zone.replace("/", "-")
            words = [str(store.home), str(out), f"{day:%Y-%m-%d}"]
            subprocess.run(
                [sys.executable, "-c", code, *words], check=True, env=os.environ | {"TZ": zone}
            )
            rows = read(out / f"day={day:%Y-%m-%d}", "chain_liquidations")
            assert [r["events"] for r in rows] == [2] * 24
        single, two = (
            contents(tmp_path / z / f"day={day:%Y-%m-%d}")
            for z in ("Europe-Berlin", "America-New_York")
        )
        assert single == two


# --- the same bytes -----------------------------------------------------------------------------


def test_an_old_day_exported_again_has_the_same_bytes(store: Store, tmp_path: Path) -> None:
    """An old day exported again has the same bytes, whatever the size of its segments."""
    fill(store)
    formats = export.FORMATS
    first = contents(export.export_day(store, tmp_path / "one", DAY, formats=formats).folder)
    # The same rows in other segments, in another order, some of them twice.
    other = Store(tmp_path / "home2")
    other.create()
    rows: list[Any] = []
    for table in tables().values():
        if table.table != "loads" and not table.stated_by:
            rows += store.rows(table)
    rows.sort(key=lambda row: hash(repr(row)))
    for part in range(7):
        other.append(rows[part::7], source=f"part {part}")
    other.append([r for r in rows if r.repeats], source="again")
    # A day that came later changes nothing of this one.
    book(MORNING + timedelta(days=3), 900).store(other)
    assert (
        contents(export.export_day(other, tmp_path / "two", DAY, formats=formats).folder) == first
    )
    done = export.export_day(store, tmp_path / "one", DAY, formats=formats)
    assert not done.changed


def test_every_mart_says_what_its_columns_mean_in_the_file_itself(
    store: Store, tmp_path: Path
) -> None:
    fill(store)
    done = export.export_day(store, tmp_path / "out", DAY)
    assert {m.name for m in load_marts()} == set(done.rows)
    for mart in load_marts():
        count, shape, notes = parquet_shape(done.folder / f"{mart.name}.parquet")
        assert count == done.rows[mart.name]
        assert [name for name, _ in shape] == [c.name for c in mart.query.columns]
        assert notes["title"] == mart.query.title
        for column in mart.query.columns:
            assert notes[f"column.{column.name}"] == column.meaning


@pytest.mark.full
def test_the_days_are_hive_partitions_that_other_engines_read(store: Store, tmp_path: Path) -> None:
    fill(store)
    for day in (DAY, NEXT):
        export.export_day(store, tmp_path / "out", day)
    frame = polars.read_parquet(f"{tmp_path}/out/day=*/totals.parquet", hive_partitioning=True)
    assert sorted(str(d) for d in frame["day"]) == ["2026-01-29", "2026-01-30"]
    assert frame.columns[:2] == ["market", "protocol"]


def test_csv_is_safe_to_open_in_a_spreadsheet(store: Store, tmp_path: Path) -> None:
    made = Book(Asset("=HYPERLINK(1)", 1.0, betas={"@SUM(A1)": 1.0}), time=MORNING)
    made.account("a", {"=HYPERLINK(1)": 5.0}, {"=HYPERLINK(1)": 1.0})
    made.store(store)
    done = export.export_day(store, tmp_path / "out", DAY, formats=("csv", "json"))
    for path in done.folder.glob("*.csv"):
        for row in csv.reader(io.StringIO(path.read_text("utf-8"))):
            for cell in row:
                number = cell.lstrip("-").replace(".", "").replace("e-", "").isalnum()
                assert not cell.startswith(("=", "+", "@", "\t", "\r")), cell
                assert not cell.startswith("-") or number, cell
    body = json.loads((done.folder / "parameters.json").read_text("utf-8"))
    assert body["day"] == "2026-01-29"
    assert body["columns"]["lt_bps"]["unit"] == "bps"
    assert body["columns"]["lt_bps"]["meaning"].startswith("liquidation threshold")
    assert body["rows"][0]["symbol"] == "=HYPERLINK(1)"


# --- what a day was made from -------------------------------------------------------------------


def manifest_of(out: Path, day: date) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / f"day={day}" / "manifest.json").read_text("utf-8"))
    return document


def faults(out: Path, store: Store) -> dict[str, str]:
    return {f.path.parent.name: f.what for f in check_export(out, store)[1]}


def verification(store: Store) -> list[Row]:
    """That the newest snapshot of the day was compared once more."""
    (last,) = [s for s in store.rows(Snapshot) if s.block_number == 200]
    made = book(MORNING, 200)
    made.snapshot = last.snapshot
    return [msgspec.structs.replace(made.verified(), verified_at=MORNING + timedelta(days=3))]


def orphaned(store: Store) -> list[Row]:
    (last,) = [s for s in store.rows(Snapshot) if s.block_number == 200]
    return [Orphan(snapshot=last.snapshot, market="m", detected_at=MORNING + timedelta(days=3))]


GROWN: dict[str, Callable[[Store], list[Row]]] = {
    "verifications": verification,
    "chain_liquidations": lambda store: [liquidation(MORNING + timedelta(hours=9), 5_000)],
    "exchange_liquidations": lambda store: [
        msgspec.structs.replace(order(1), time=MORNING, provenance="history")
    ],
    "coverage": lambda store: [
        span(0, 1, from_time=MORNING - timedelta(days=2), to_time=MORNING + timedelta(hours=1))
    ],
    "statements": lambda store: [
        msgspec.structs.replace(row, known_at=MORNING - timedelta(days=9))
        for row in QUARTERS
        if isinstance(row, Statement)
    ][:1],
    "depths": lambda store: depth([(0.05, 1.0)], time=MORNING),
    "snapshots": lambda store: book(MORNING + timedelta(hours=15), 250).rows(),
}


@pytest.mark.full
def test_what_is_stored_of_a_day_later_makes_its_export_old(store: Store, tmp_path: Path) -> None:
    fill(store)
    out = tmp_path / "out"
    export.export_day(store, out, DAY)
    assert faults(out, store) == {}
    before = inputs(opened := query.open_catalog(store), DAY)[DAY]
    opened.close()
    for what, later in GROWN.items():
        store.append(later(store), source="later")
        with query.open_catalog(store) as catalog:
            after = inputs(catalog, DAY)[DAY]
        assert before.get(what) != after[what], what
        before = after
        why = outdated(store, out)[DAY]
        assert what in why
        assert faults(out, store) == {"day=2026-01-29": why}
        assert check_export(out)[1] == [], "the files themselves are what was written"
    done = shell.run("export", "--check", str(out), home=store.home)
    assert done.code == Exit.CHECK_FAILED
    assert "manifest.json is older than what is stored (chain_liquidations, " in done.lines[-1]
    export.export_day(store, out, DAY)
    assert faults(out, store) == {}


@pytest.mark.quick_variants("event")
@pytest.mark.parametrize("part", ExchangeLiquidation.key)
def test_each_part_of_a_liquidations_identity_is_in_the_digest(tmp_path: Path, part: str) -> None:
    row = msgspec.structs.replace(order(1), time=MORNING)
    other = MORNING + timedelta(seconds=1) if part == "time" else "another"
    digests = []
    for name, item in (("one", row), ("other", msgspec.structs.replace(row, **{part: other}))):
        store = Store(tmp_path / name)
        store.create()
        store.append([item], source="tiny")
        with query.open_catalog(store) as catalog:
            digests.append(inputs(catalog, DAY)[DAY]["exchange_liquidations"]["digest"])
    assert digests[0] != digests[1]


@pytest.mark.full
def test_what_does_not_belong_to_a_day_leaves_its_export_alone(
    store: Store, tmp_path: Path
) -> None:
    fill(store)
    out = tmp_path / "out"
    for day in (DAY, NEXT):
        export.export_day(store, out, day)
    later = MORNING + timedelta(days=3)
    book(later, 900).store(store)
    store.append([liquidation(later, 6_000), *depth([(0.05, 1.0)], time=later)], source="later")
    store.append([liquidation(MORNING + timedelta(minutes=1), 101, 100.1)], source="twice")
    with Merger(store, settle=0.0, grace=0.0) as merger:
        while merger.step("2099-01-01"):
            pass
    assert sorted(outdated(store, out)) == [later.date()], "which is not there"
    assert faults(out, store) == {}


@pytest.mark.full
def test_a_block_that_left_the_chain_makes_its_day_old(store: Store, tmp_path: Path) -> None:
    """That is no loss: the snapshot before takes its place, also in what the next day compares."""
    fill(store)
    out = tmp_path / "out"
    for day in (DAY, NEXT):
        export.export_day(store, out, day)
    store.append(orphaned(store), source="later")
    assert sorted(outdated(store, out)) == [DAY, NEXT]
    for day in (DAY, NEXT):
        export.export_day(store, out, day)
    assert [s["block_number"] for s in manifest_of(out, DAY)["snapshots"]] == [100]
    assert [s["block_number"] for s in manifest_of(out, NEXT)["compared_with"]] == [100]
    assert outdated(store, out) == {}


@pytest.mark.full
def test_a_manifest_that_does_not_say_what_it_was_made_from_is_old(
    store: Store, tmp_path: Path
) -> None:
    fill(store)
    out = tmp_path / "out"
    night = export.export_day(store, out, DAY).folder
    text = json.dumps({k: v for k, v in manifest_of(out, DAY).items() if k != "inputs"})
    (night / "manifest.json").write_text(text)
    assert "does not list its inputs" in outdated(store, out)[DAY]
    for half in (text[:99], '{"snapshots": [1]}', "[]"):
        (night / "manifest.json").write_text(half)
        assert outdated(store, out)[DAY] == "cannot be parsed as a manifest"
        assert "cannot be parsed as a manifest" in faults(out, store)["day=2026-01-29"]


DEEP = "[" * 200_000


@pytest.mark.quick_variants("<lambda>0")
@pytest.mark.parametrize(
    "change",
    [
        lambda m: DEEP,
        lambda m: json.dumps(m)[:-1] + f', "more": {DEEP}',
        lambda m: m["marts"]["walls"].update(columns=["a"]),
        lambda m: m["marts"]["walls"].update(columns=[{}]),
        lambda m: m["marts"]["walls"].update(columns=None),
        lambda m: m["marts"]["walls"].update(files=[]),
        lambda m: m["snapshots"][0].update(snapshot=["a"]),
        lambda m: m["snapshots"][0].update(market={"a": 1}),
        lambda m: m["snapshots"][0].update(block_number="5"),
        lambda m: m.update(inputs=[1]),
        lambda m: m.update(day=5),
        lambda m: m.update(marts={"walls": 1}),
    ],
)
def test_a_damaged_manifest_is_named_and_the_marts_beside_it_stay(
    store: Store, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    fill(store)
    out = tmp_path / "out"
    night = export.export_day(store, out, DAY).folder
    manifest = manifest_of(out, DAY)
    made = change(manifest)
    path = night / "manifest.json"
    path.write_text(made if isinstance(made, str) else json.dumps(manifest))
    before = contents(night)
    assert [f.what for f in check_export(out, store)[1]] == ["cannot be parsed as a manifest"]
    assert outdated(store, out)[DAY] == "cannot be parsed as a manifest"
    with pytest.raises(
        CheckFailed, match=f"{path} cannot be parsed as a manifest: .* --force replaces"
    ):
        export.export_day(store, out, DAY)
    assert contents(night) == before
    assert export.export_day(store, out, DAY, force=True).changed
    assert check_export(out, store) == (1, [])


@pytest.mark.full
def test_marts_without_a_manifest_are_not_replaced(store: Store, tmp_path: Path) -> None:
    fill(store)
    out = tmp_path / "out"
    night = export.export_day(store, out, DAY).folder
    (night / "manifest.json").unlink()
    before = contents(night)
    with pytest.raises(CheckFailed, match=r"manifest.json is missing: .* --force replaces"):
        export.export_day(store, out, DAY)
    assert contents(night) == before


@pytest.mark.full
@pytest.mark.parametrize("name", ["a\0b.csv", "\ud800.csv", "a\nb.csv", "..", ""])
def test_a_name_that_is_no_file_is_a_fault_of_its_manifest(
    store: Store, tmp_path: Path, name: str
) -> None:
    fill(store)
    out = tmp_path / "out"
    night = export.export_day(store, out, DAY).folder
    manifest = manifest_of(out, DAY)
    manifest["marts"]["walls"]["files"][name] = {"bytes": 1, "sha256": "0"}
    (night / "manifest.json").write_text(json.dumps(manifest))
    done = shell.run("export", "--check", str(out), home=store.home)
    assert done.code == Exit.CHECK_FAILED
    assert "manifest.json names " in done.lines[-1] or "cannot be parsed" in done.lines[-1]


@pytest.mark.full
@pytest.mark.parametrize("policy", ["hourly 1d, daily forever", "hourly 1d, daily 2d"])
def test_retention_never_empties_what_was_exported(
    store: Store, tmp_path: Path, policy: str
) -> None:
    fill(store)
    book(MORNING + timedelta(days=9), 900).store(store)
    out = tmp_path / "out"
    written = {day: contents(export.export_day(store, out, day).folder) for day in (DAY, NEXT)}
    times = MergeTimes(settle=0.0, grace=0.0, patience=5.0)
    retention.thin(store, retention.retention_of(policy), MORNING + timedelta(days=9), times)
    assert outdated(store, out).keys() == {(MORNING + timedelta(days=9)).date()}
    assert faults(out, store) == {}, "what was removed on purpose is no fault"
    words = ("export", "--out", str(out), "--day", "2026-01-29", "--day", "2026-01-30")
    done = shell.run(*words, home=store.home)
    if "forever" in policy:
        assert done.code == Exit.OK, done.err
    else:
        assert done.code == Exit.USAGE, "of the second day nothing is left at all"
        # Something of that day that is stored later does not replace its marts either.
        store.append([liquidation(MORNING + timedelta(days=1), 7_000)], source="later")
        done = shell.run(*words, home=store.home)
        assert done.code == Exit.CHECK_FAILED
        (line,) = done.lines
        assert "has marts of snapshots that are no longer stored" in line
        assert "--force replaces them" in line
        assert sorted(p.name for p in out.iterdir()) == ["day=2026-01-29", "day=2026-01-30"]
    for day, files in written.items():
        assert contents(out / f"day={day}") == files
    if "forever" not in policy:
        book(MORNING + timedelta(days=9), 901).store(store)
        done = shell.run(*words, "--day", "2026-02-07", home=store.home)
        assert done.code == Exit.PARTIAL, "the others are exported"
        assert (out / "day=2026-02-07").exists()
        done = shell.run(*words, "--force", home=store.home)
        assert done.code == Exit.OK, done.err
        assert manifest_of(out, DAY)["snapshots"] == []


def test_every_table_that_marts_read_is_among_what_a_day_is_made_from() -> None:
    expected = query.load_all()

    def read(name: str, observed: set[str]) -> set[str]:
        if name in observed:
            return set()
        observed.add(name)
        body = re.sub(r"--[^\n]*", "", expected[name].text)
        words = set(re.findall(r"(?:FROM|JOIN|,)\s+(\w+)\b(?!\()", body))
        below = [read(w, observed) for w in re.findall(r"\b(\w+)\(", body) if w in expected]
        return (words & tables().keys()).union(*below)

    covered = read("day_inputs", set())
    for mart in load_marts():
        loose = {
            name
            for name in read(mart.query.name, set()) - covered
            # Rows of a snapshot are complete before it counts; items belong to a statement.
            if "snapshot" not in tables()[name].key and name != "reserve_items"
        }
        assert loose == set(), mart.name


# --- whole nights -------------------------------------------------------------------------------


@pytest.mark.full
def test_a_reader_sees_a_complete_night_or_none(store: Store, tmp_path: Path) -> None:
    """A reader sees a complete night or none while days are written again."""
    fill(store)
    out = tmp_path / "out"
    export.export_day(store, out, DAY)
    ended = threading.Event()
    wrong: list[object] = []
    looks = [0]

    def look() -> None:
        while not ended.is_set():
            try:
                handle = os.open(out / "day=2026-01-29", os.O_RDONLY)
            except FileNotFoundError:
                wrong.append("no night")
                continue
            names = sorted(os.listdir(handle))  # noqa: PTH208 - of the folder that is open
            os.close(handle)
            # Emptied only once it is no longer the night.
            if (
                names
                and len(names) < len(load_marts()) + 1
                and names == sorted(p.name for p in (out / "day=2026-01-29").iterdir())
            ):
                wrong.append(names)
            looks[0] += 1

    reader = threading.Thread(target=look)
    reader.start()
    for n in range(6):
        store.append([liquidation(MORNING + timedelta(hours=3), 2_000 + n)], source="more")
        assert export.export_day(store, out, DAY).changed
    ended.set()
    reader.join()
    assert wrong == []
    assert looks[0] > 50
    assert sorted(p.name for p in out.iterdir()) == ["day=2026-01-29"]


@pytest.mark.full
def test_a_night_killed_half_way_leaves_no_half_night(store: Store, tmp_path: Path) -> None:
    fill(store)
    out = tmp_path / "out"
    script = (
        "import sys; from datetime import date; from pathlib import Path;"
        "from chainwatch.nightly import export; from chainwatch.lake.store import Store;"
        "print('go', flush=True);"
        "[export.export_day(Store(Path(sys.argv[1])), Path(sys.argv[2]), date(2026, 1, d)) "
        "for _ in range(9) for d in (29, 30)]"
    )
    for n in range(4):
        shutil.rmtree(out, ignore_errors=True)
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(store.home), str(out)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.15 + 0.2 * n)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if list(out.glob("day=*")):
            assert check_export(out)[1] == []
    os.utime(next(out.glob(".chainwatch-*"), tmp_path), (0, 0))
    export.export_day(store, out, DAY)
    assert check_export(out)[1] == []


# --- bad input ----------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    home = shell.recorded_lake()
    (tmp_path / "file").write_text("")
    done = shell.run("export", "--out", str(tmp_path / "file" / "x"), home=home)
    assert (done.code, len(done.lines)) == (Exit.USAGE, 1)
    assert "cannot be written: Not a directory" in done.err
    if os.geteuid() == 0:
        with pytest.raises(OSError, match="Errno") as refused:
            (Path("/proc") / "marts").mkdir()
        assert refused.value.errno in (errno.ENOENT, errno.EACCES, errno.EPERM)
        done = shell.run("export", "--out", "/proc/marts", home=home)
    else:
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        done = shell.run("export", "--out", str(locked), home=home)
    assert (done.code, len(done.lines)) == (Exit.USAGE, 1)
    assert "cannot be written" in done.err


@pytest.mark.full
def test_a_full_disk_is_reported_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    """A full disk under the files is reported as such and leaves nothing behind."""
    home, disk = shell.recorded_lake(), tmp_path / "disk"
    with builders.small_file_system(disk) as reason:
        if reason:
            pytest.skip(reason)
        out = disk / "out"
        for left in (0, 12_000, 300_000, 1_000_000):
            builders.fill(disk, leave=left)
            done = shell.run("export", "--out", str(out), "--format", "parquet,csv", home=home)
            assert (done.code, done.lines) == (
                Exit.STORE,
                [
                    f"chainwatch: the disk that holds {out} is full: free some space and run "
                    "again; what was stored before is untouched"
                ],
            )
            (disk / "filler").unlink()
            assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--day", "2026-02-30"), "--day: expected a day such as 2026-11-20, got '2026-02-30'"),
        (("--day", "2020-01-01"), "nothing is stored of 2020-01-01; stored: 2026-01-29"),
        (("--format", "xlsx"), "--format: expected parquet, csv, json"),
        (("--check", "x"), "--check takes a folder and nothing else"),
    ],
)
def test_a_wrong_word_is_told(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = shell.run("export", "--out", str(tmp_path), *words, home=shell.recorded_lake())
    assert done.code == Exit.USAGE
    assert message in done.err
    assert len(done.lines) == 1


@pytest.mark.full
def test_check_names_the_file_that_was_altered_lost_or_added(store: Store, tmp_path: Path) -> None:
    fill(store)
    out = tmp_path / "out"
    for day in (DAY, NEXT):
        export.export_day(store, out, day, formats=("parquet", "csv"))
    assert check_export(out) == (2, [])
    night = out / "day=2026-01-29"

    def altered(path: Path, data: bytes | None) -> list[tuple[str, str]]:
        before = path.read_bytes() if path.exists() else None
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(data)
        faults = [(str(f.path.relative_to(out)), f.what) for f in check_export(out)[1]]
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)
        return faults

    walls = (night / "walls.csv").read_bytes()
    one_bit = bytes([walls[0] ^ 1]) + walls[1:]
    for data in (one_bit, walls[:-1], walls + b"\n", b""):
        assert altered(night / "walls.csv", data) == [
            ("day=2026-01-29/walls.csv", "is not what was written: size or sha256 differ")
        ]
    assert altered(night / "health.parquet", None) == [
        ("day=2026-01-29/health.parquet", "is missing")
    ]
    assert altered(night / "extra.csv", b"x") == [
        ("day=2026-01-29/extra.csv", "is not in the manifest")
    ]
    manifest = (night / "manifest.json").read_bytes()
    for half in (manifest[: len(manifest) // 2], b"", b"{}", b"[]", b'{"marts": 1}'):
        assert altered(night / "manifest.json", half)[0] == (
            "day=2026-01-29/manifest.json",
            "cannot be parsed as a manifest",
        )
    assert altered(night / "manifest.json", None)[0][1] == "is missing"
    wrong_day = manifest.replace(b'"day": "2026-01-29"', b'"day": "2026-01-28"')
    assert altered(night / "manifest.json", wrong_day)[0][1] == "is the manifest of 2026-01-28"
    outside = manifest.replace(b'"walls.csv"', b'"../walls.csv"')
    assert "is not beside it" in altered(night / "manifest.json", outside)[0][1]
    assert check_export(night) == (1, [])
    (night / "walls.csv").write_bytes(one_bit)
    done = shell.run("export", "--check", str(out), "--json", home=store.home)
    assert done.code == Exit.CHECK_FAILED
    assert done.lines[-1].endswith("walls.csv is not what was written: size or sha256 differ")
    (row,) = shell.rows_of(done.out, "--json")
    assert row["file"].endswith("walls.csv")


def test_a_folder_without_an_export_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no export"):
        check_export(tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        check_export(tmp_path / "x")


def test_an_empty_lake_has_nothing_to_export(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is stored to export"):
        export.choose_day(store, None)


def test_the_day_that_nobody_names_has_begun(store: Store) -> None:
    now = datetime.now(UTC)
    store.append([liquidation(now + timedelta(days=2), 1)], source="clock")
    with pytest.raises(UsageError, match="expected a day that has begun"):
        export.choose_day(store, None)
    store.append([liquidation(now - timedelta(days=3), 2), liquidation(now, 3)], source="l")
    assert export.choose_day(store, None) == now.date()
    ahead = (now + timedelta(days=2)).date()
    assert export.choose_day(store, ahead) == ahead


def test_marts_are_queries_with_a_meaning_for_every_column() -> None:
    for mart in load_marts():
        assert query.find(f"mart_{mart.name}").group == "marts"
        if mart.run_for is not None:
            assert mart.run_for[0] in {p.name for p in mart.query.params}
    copied = msgspec.structs.replace(load_marts()[0], run_for=None)
    assert copied.name == load_marts()[0].name
