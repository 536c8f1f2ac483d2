"""The second engine: every portable query gives the same rows on Spark, to 1e-9."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec
import pytest

from chainwatch.errors import Exit, UsageError
from chainwatch.lake import portable, query
from chainwatch.lake.segments import parquet_shape
from chainwatch.lake.store import Store
from chainwatch.lending.slots import with_slots
from chainwatch.nightly import export
from chainwatch.tables.exchange import SamplingEra
from chainwatch.tables.lending import Account, Leg, Snapshot
from chainwatch.tables.log import Load
from tests import shell
from tests.builders import FIRST_BLOCK_TIME, Asset, Book
from tests.lake.test_merging import eager, step_to_the_end
from tests.lake.test_periods import move_load, segments

if TYPE_CHECKING:
    from chainwatch.lake.spark import Spark

# Marts are these queries once more, factor by factor: the export below runs them.
PORTABLE = [name for name, q in query.load_all().items() if q.portable and q.group != "marts"]
AS_OF = FIRST_BLOCK_TIME + timedelta(days=1)
VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "both ways": {
        "p_factor": "ETH",
        "p_direction": "both",
        "p_split": True,
        "p_range": 0.2,
        "p_step_pct": 0.02,
    },
    "one market": {"p_factor": "wstETH/ETH", "p_market": "demo", "p_as_of": "first"},
}
# What a parameter of the same name means in one query only.
OWN_VALUES = {"own_unit_walls": {"p_market": "ether"}}
# Spark and its dependencies warn of what is not ours.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The recorded lake, with loads of several days merged, and a market whose unit has no price in
    USD."""
    store = Store(shell.copied_lake(tmp_path_factory.mktemp("spark")))
    made = Book(
        Asset("BTC", 30.0, betas={"BTC": 1.0}, factor_price=90_000.0),
        Asset("wstETH", 1.2, betas={"ETH": 1.0, "wstETH/ETH": 1.0}, factor_price=1.2),
        Asset("USD", 1 / 3_000),
        market="ether",
        time=min(s.block_time for s in store.rows(Snapshot)),
    )
    made.account("bitcoin", {"BTC": 1}, {"USD": 60_000})
    made.account("staked", {"wstETH": 10}, {"USD": 24_000})
    rows = [
        msgspec.structs.replace(row, usd=None) if isinstance(row, Leg) else row
        for row in made.rows()
        if not isinstance(row, Snapshot)
    ]
    rows = with_slots([*rows, made.head(quote="ETH", quote_usd=None)])
    for n, receipt in enumerate(segments(store, "loads")):
        move_load(store, receipt, f"2026-01-{10 + n % 3}")
    with eager(store) as merger:
        step_to_the_end(merger, "2026-02-01")
    assert any(load.period and "legs" in load.tables for load in store.rows(Load))
    store.append(rows, source="s", target="ether")
    return store


@pytest.fixture(scope="module")
def spark(store: Store) -> Iterator[Spark]:
    """A local Spark. `make everything` and Java make these tests run."""
    pytest.importorskip("pyspark", reason="the extra `spark` is not installed: make everything")
    if not os.environ.get("JAVA_HOME") and shutil.which("java") is None:
        pytest.skip("no Java here")
    # Whether Spark itself starts here, without anything of ours.
    plain = "from pyspark.sql import SparkSession as S; S.builder.master('local[1]').getOrCreate()"
    done = subprocess.run(
        [sys.executable, "-c", plain],
        capture_output=True,
        text=True,
        env=os.environ | {"SPARK_LOCAL_IP": "127.0.0.1"},
    )
    if done.returncode:
        pytest.skip(f"Spark does not start on this machine: {done.stderr.strip()[-200:]}")
    import warnings

    from chainwatch.lake.spark import Spark

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Spark(store, "local[2]") as started:
            yield started


def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda r: [str(v) for v in r.values() if not isinstance(v, float)])


def given(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """The values that a query has parameters for."""
    return {k: v for k, v in values.items() if k in {p.name for p in query.find(name).params}}


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "values"),
    [
        pytest.param(name, given(name, values), id=f"{name}-{what}")
        for name in PORTABLE
        for what, values in VALUES.items()
        if given(name, values) or not values
    ],
)
def test_both_engines_agree_on_every_portable_query(
    spark: Spark, store: Store, name: str, values: dict[str, Any]
) -> None:
    source = query.find(name)
    values = values | (OWN_VALUES.get(name, {}) if values.get("p_market") else {})
    if values.get("p_as_of") == "first":
        values = values | {"p_as_of": min(s.block_time for s in store.rows(Snapshot))}
    theirs = spark.run(source, values)
    with query.open_catalog(store) as catalog:
        ours = query.run(catalog, source, values)
    assert theirs.columns == ours.columns
    assert len(theirs.rows) == len(ours.rows) > 0
    for left, right in zip(ordered(ours.dicts()), ordered(theirs.dicts()), strict=True):
        for column, value in left.items():
            if isinstance(value, float):
                assert right[column] == pytest.approx(value, rel=1e-9, abs=1e-9), column
            else:
                assert right[column] == value, column


@pytest.mark.full
def test_a_query_that_is_not_portable_is_refused(spark: Spark) -> None:
    with pytest.raises(UsageError, match=r"changes is not portable.*; these are: "):
        spark.run(query.find("changes"))


@pytest.mark.full
def test_a_table_that_the_program_states_is_the_same(
    spark: Spark, store: Store, tmp_path: Path
) -> None:
    """Sampling eras stand in no segment, and have the same rows on both engines."""
    path = tmp_path / "eras.sql"
    columns = ", ".join(SamplingEra.__struct_fields__)
    path.write_text(
        "-- name: eras\n-- title: t\n-- portable: yes\n"
        f"SELECT {columns} FROM sampling_eras ORDER BY venue, market, from_time\n"
    )
    text = query.read(path)
    theirs = spark.run(text)
    with query.open_catalog(store) as catalog:
        ours = query.run(catalog, text)
    assert theirs.columns == ours.columns
    assert theirs.rows == ours.rows
    assert ours.rows


@pytest.mark.full
def test_an_export_by_spark_has_the_rows_of_one_by_duckdb(spark: Spark, tmp_path: Path) -> None:
    from chainwatch.lake.spark import Spark as Engine

    store = Store(tmp_path / "home")
    made = Book(Asset("ETH", 3_000.0, betas={"ETH": 1.0}), Asset("USD", 1.0), time=AS_OF)
    for n in range(30):
        made.account(f"{n}", {"ETH": 1.0 + n / 10}, {"USD": 2_300.0})
    made.store(store)
    engine = Engine(store, "local[2]")  # the same session: the fixture ends it
    ours = export.export_day(store, tmp_path / "one", AS_OF.date())
    theirs = export.export_day(store, tmp_path / "two", AS_OF.date(), runner=engine.run)
    spark.refresh()
    assert theirs.rows == ours.rows
    for mart in ("walls", "health"):
        paths = [done.folder / f"{mart}.parquet" for done in (ours, theirs)]
        left, right = (duckdb.sql(f"FROM '{path}'").fetchall() for path in paths)
        assert parquet_shape(paths[0])[:2] == parquet_shape(paths[1])[:2]
        for a, b in zip(left, right, strict=True):
            for x, y in zip(a, b, strict=True):
                assert y == (pytest.approx(x, rel=1e-9, abs=1e-9) if isinstance(x, float) else x)


# --- the check, which needs no Spark --------------------------------------------------------------


def test_every_query_that_is_marked_portable_is() -> None:
    assert len(PORTABLE) >= 6
    assert {n: portable.faults(query.find(n)) for n in PORTABLE} == {n: [] for n in PORTABLE}
    assert portable.all_faults() == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SELECT * FROM range(10)", "range() is not the same"),
        ("SELECT a / b AS c FROM legs", "division by b, which may be 0"),
        ("SELECT 1.5 AS c", "write 1.5e0"),
        ("WITH a AS MATERIALIZED (SELECT 1) SELECT * FROM a", "MATERIALIZED"),
        ("WITH RECURSIVE a AS (SELECT 1) SELECT * FROM a", "recursion"),
        ("SELECT * FROM legs ASOF JOIN reserves USING (snapshot)", "ASOF"),
        ("SELECT * FROM legs POSITIONAL JOIN reserves", "POSITIONAL"),
        ("SELECT list(usd ORDER BY usd) FROM legs", "list() is not the same"),
        ("SELECT quantile_cont(usd, 0.5e0) FROM legs", "quantile_cont()"),
        ("SELECT epoch_ms(1) AS x", "epoch_ms()"),
        ("SELECT CAST(1 AS HUGEINT) AS x", "HUGEINT"),
        ("SELECT getvariable('x') AS x", "getvariable()"),
        ("PIVOT legs ON side USING sum(usd)", "PIVOT"),
        ("SELECT * FROM changes()", "changes is not portable itself"),
        ("SELECT * EXCLUDE (load) FROM legs", "DuckDB's own"),
        ("SELECT side, sum(usd) FROM legs GROUP BY ALL", "GROUP BY ALL"),
    ],
)
def test_what_another_engine_runs_differently_is_found(
    tmp_path: Path, text: str, reason: str
) -> None:
    path = tmp_path / "wrong.sql"
    path.write_text(f"-- name: wrong\n-- title: t\n-- portable: yes\n{text}\n")
    faults = portable.faults(query.read(path))
    assert any(reason in fault.reason for fault in faults), faults
    assert all(fault.line == 4 for fault in faults)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a / nullif(b, 0e0) AS c, a / 1e4 AS d FROM legs",
        "SELECT CASE WHEN b > 0e0 THEN a / b END AS c FROM legs",
        "SELECT 'PIVOT 1.5 range(' AS c -- 1.5 / x\n",
    ],
)
def test_what_is_guarded_or_quoted_is_no_fault(tmp_path: Path, text: str) -> None:
    path = tmp_path / "right.sql"
    path.write_text(f"-- name: right\n-- title: t\n-- portable: yes\n{text}\n")
    assert portable.faults(query.read(path)) == []


def test_another_engine_is_refused_in_one_line(tmp_path: Path) -> None:
    done = shell.run("query", "health", "--engine", "flink", home=shell.recorded_lake())
    assert (done.code, len(done.lines)) == (Exit.USAGE, 1)
    assert "--engine: expected duckdb or spark, got 'flink'" in done.err


def test_without_java_the_message_says_so(tmp_path: Path) -> None:
    pytest.importorskip("pyspark", reason="the extra `spark` is not installed: make everything")
    env = {"PATH": str(tmp_path), "JAVA_HOME": ""}
    done = shell.run("query", "health", "--engine", "spark", home=shell.recorded_lake(), env=env)
    assert done.code == Exit.USAGE
    assert done.lines[-1].endswith(
        "--engine spark needs Java 17 or newer: install it or set JAVA_HOME"
    )


def test_a_hf_beyond_a_double_survives_translation() -> None:
    text = str(portable.expanded(query.find("health"), {}).sql(dialect="spark"))
    assert "1000000000000000000" in text
    assert "snapshots_at(" not in text
    assert Account.table in text
