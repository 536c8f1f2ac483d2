"""`walls` where 1, 24 and 720 hourly snapshots are stored, against views that list all files, and
`health` where 22,000 loads of three years are, against the loads of their last day alone.

Opening the catalog is part of the time. The alternative to `walls` is the same text in the catalog
file, as other clients ask it. There every snapshot has files of its own; the loads of three years
are merged as nights merge them.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ACCOUNTS = 2_000
SNAPSHOTS = (1, 24, 720)
RUNS = 3
YEARS_BEGIN = datetime(2023, 1, 1, tzinfo=UTC)
YEARS_DAYS = 1_095
YEARS_LOADS = 22_000
YEARS_ACCOUNTS = 200
VALUES = {"p_factor": "ETH", "p_step_abs": 30.0}
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def build(
    home: Path,
    snapshots: int,
    accounts: int = ACCOUNTS,
    *,
    begin: datetime = BEGIN,
    step: timedelta = timedelta(hours=1),
) -> None:
    """A lake of one market with equal accounts in every hour or `step`, a load each."""
    import duckdb

    from bench import synthetic
    from chainwatch.lake.segments import quoted
    from chainwatch.tables.registry import snapshot_tables

    store = synthetic.build(home, accounts)
    files = {p.parent.parent.name: p for p in store.lake.glob("*/*/bench.parquet")}
    with contextlib.closing(duckdb.connect()) as engine:
        engine.execute("SET TimeZone = 'UTC'")
        shapes, rows = {}, {}
        for table, path in files.items():
            engine.execute(
                f"CREATE TABLE {table} AS FROM read_parquet({quoted(str(path))}, "
                "hive_partitioning = false)"
            )
            shapes[table] = [column[0] for column in engine.execute(f"DESCRIBE {table}").fetchall()]
            counted = engine.execute(f"SELECT count(*) FROM {table}").fetchall()
            rows[table] = counted[0][0]
            path.unlink()
        stored = json.dumps({table: rows[table] for table in rows.keys() & snapshot_tables()})
        for hour in range(snapshots):
            at = begin + hour * step
            load, snapshot = f"{at:%Y%m%dT%H%M%S%f}-{hour:08x}", f"synthetic:{hour + 1}"
            new = {
                "load": quoted(load),
                "snapshot": quoted(snapshot),
                "block_number": f"{hour + 1}::BIGINT",
                "tables": quoted(stored),
                **dict.fromkeys(("block_time", "read_at", "stored_at"), f"TIMESTAMPTZ '{at}'"),
            }
            for table, shape in shapes.items():
                replaced = ", ".join(f"{new[c]} AS {c}" for c in shape if c in new)
                ids = f", {quoted(json.dumps([snapshot]))} AS snapshot_ids"
                path = store.layout.segment(table, f"{at:%Y-%m-%d}", load)
                path.parent.mkdir(parents=True, exist_ok=True)
                engine.execute(
                    f"COPY (SELECT * REPLACE ({replaced}){ids * (table == 'loads')} FROM {table}) "
                    f"TO {quoted(str(path))} (FORMAT parquet, COMPRESSION zstd)"
                )


def add_stream(home: Path, loads: int, begin: datetime, step: timedelta) -> None:
    """Small loads of a stream, one row each."""
    import duckdb

    from chainwatch.lake.segments import quoted
    from chainwatch.lake.store import Store

    store = Store(home)
    with contextlib.closing(duckdb.connect()) as engine:
        engine.execute("SET TimeZone = 'UTC'; SET threads = 1")
        for n in range(loads):
            at = begin + n * step
            load = f"{at:%Y%m%dT%H%M%S%f}-{n:07x}s"
            row = f"""'stream' AS source, '' AS target, TIMESTAMPTZ '{at}' AS received_at,
                'reason' AS reason, 'message {n}' AS raw"""
            receipt = f"""'stream' AS source, '' AS target, TIMESTAMPTZ '{at}' AS stored_at,
                '{{"rejects": 1}}' AS tables, 1::BIGINT AS rows, '[]' AS snapshot_ids"""
            for table, columns in (("rejects", row), ("loads", receipt)):
                path = store.layout.segment(table, f"{at:%Y-%m-%d}", load)
                path.parent.mkdir(parents=True, exist_ok=True)
                engine.execute(
                    f"COPY (SELECT {columns}, '{load}' AS load) TO {quoted(str(path))} "
                    "(FORMAT parquet)"
                )


def build_years(home: Path, days: int, loads: int) -> None:
    """A snapshot a day and small loads of a stream, so that there are so many loads together."""
    build(home, days, YEARS_ACCOUNTS, begin=YEARS_BEGIN, step=timedelta(days=1))
    small = loads - days
    add_stream(home, small, YEARS_BEGIN, timedelta(days=days) / small)


def merge(home: Path, today: str) -> float:
    """Merge as a night does; the seconds that it took."""
    from chainwatch.lake.merge import Merger
    from chainwatch.lake.store import Store

    begun = time.perf_counter()
    with Merger(Store(home), settle=0.0, grace=0.0) as merger:
        while merger.step(today):
            pass
    return time.perf_counter() - begun


def ours(home: Path) -> list[tuple[Any, ...]]:
    """Rows of the report's query in a catalog that is opened for it."""
    from chainwatch.lake import query
    from chainwatch.lake.store import Store

    with query.open_catalog(Store(home)) as catalog:
        return query.run(catalog, query.find("walls"), VALUES).rows


def listing(home: Path) -> list[tuple[Any, ...]]:
    """The same over views that list the files of a table at each use."""
    import duckdb

    from chainwatch.lake import query
    from chainwatch.lake.layout import CATALOG_NAME

    definition = query.find("walls")
    values = {p.name: p.value for p in definition.params} | VALUES
    with duckdb.connect(str(home / CATALOG_NAME), read_only=True) as client:
        client.execute("SET TimeZone = 'UTC'")
        client.execute("SET threads = 1")
        return client.execute(definition.body, values).fetchall()


def health(home: Path) -> list[tuple[Any, ...]]:
    """Rows of `health` in a catalog that is opened for it."""
    from chainwatch.lake import query
    from chainwatch.lake.store import Store

    with query.open_catalog(Store(home)) as catalog:
        return query.run(catalog, query.find("health")).rows


WAYS: dict[str, Callable[[Path], list[tuple[Any, ...]]]] = {
    "ours": ours,
    "listing": listing,
    "health": health,
}


def measure(which: str, home: Path) -> dict[str, Any]:
    """Seconds of the best run, also of CPU, peak memory of this process, and what came out."""
    best = cpu = float("inf")
    for _ in range(RUNS):
        begun, cpu_begun = time.perf_counter(), time.process_time()
        rows = WAYS[which](home)
        best = min(best, time.perf_counter() - begun)
        cpu = min(cpu, time.process_time() - cpu_begun)
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024
    return {
        "seconds": best,
        "cpu_seconds": cpu,
        "peak_mb": peak,
        "rows": [shown(row) for row in rows],
    }


def shown(row: tuple[Any, ...]) -> str:
    """A row as text; sums in any order have their first nine digits in common."""
    return " ".join(f"{v:.9g}" if isinstance(v, float) else str(v) for v in row)


def run_apart(which: str, folder: str) -> dict[str, Any]:
    """What `measure` returns in a process of its own."""
    command = [sys.executable, "-m", "bench.history", which, folder]
    result = subprocess.run(command, check=True, capture_output=True)
    return dict(json.loads(result.stdout))


def run(cache: Path) -> list[dict[str, Any]]:
    """One line per number of snapshots, and one of the three years."""
    del cache
    return [*run_snapshots(), run_years(YEARS_DAYS, YEARS_LOADS)]


def run_years(days: int, loads: int) -> dict[str, Any]:
    """The line of `health` over so many loads, to that over the loads of a day."""
    with tempfile.TemporaryDirectory() as long, tempfile.TemporaryDirectory() as short:
        build_years(Path(long), days, loads)
        build_years(Path(short), 1, max(2, loads // days))
        end = f"{YEARS_BEGIN + timedelta(days=days - 1):%Y-%m-%d}"
        merging = merge(Path(long), end)
        for folder in (long, short):
            health(Path(folder))  # makes the catalog file
        years, day = run_apart("health", long), run_apart("health", short)
        files = {
            table: len(list(Path(long).glob(f"lake/{table}/*=2*/*.parquet")))
            for table in ("loads", "legs", "rejects")
        }
    if years["rows"] != day["rows"]:
        raise SystemExit("health over three years and over a day disagree")
    return {
        "benchmark": f"health in a lake of {loads:,} loads of {days:,} days, against one of a day",
        "unit": "CPU seconds",
        "ours": round(years["cpu_seconds"], 3),
        "peak_mb": years["peak_mb"],
        "alternative": round(day["cpu_seconds"], 3),
        "alternative_peak_mb": day["peak_mb"],
        "files": files,
        "merging_seconds": round(merging, 1),
        "ratio": round(years["cpu_seconds"] / day["cpu_seconds"], 2),
        "seconds": [round(years["seconds"], 3), round(day["seconds"], 3)],
        "wanted": "≤ 2",
    }


def run_snapshots() -> list[dict[str, Any]]:
    """One line per number of snapshots; each measurement in a process of its own."""
    lines: list[dict[str, Any]] = []
    first: dict[str, float] = {}
    for snapshots in SNAPSHOTS:
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder), snapshots)
            ours(Path(folder))  # makes the catalog file
            result = {}
            for which in ("ours", "listing"):
                result[which] = run_apart(which, folder)
                first.setdefault(which, result[which]["seconds"])
        mine, other = result["ours"], result["listing"]
        if mine["rows"] != other["rows"]:
            raise SystemExit(f"the two disagree over {snapshots} snapshots")
        lines.append(
            {
                "benchmark": f"walls with {snapshots} snapshots stored, against listing all files",
                "unit": "seconds",
                "ours": round(mine["seconds"], 3),
                "peak_mb": mine["peak_mb"],
                "to_1_snapshot": round(mine["seconds"] / first["ours"], 2),
                "alternative": round(other["seconds"], 3),
                "alternative_peak_mb": other["peak_mb"],
                "alternative_to_1_snapshot": round(other["seconds"] / first["listing"], 2),
                "ratio": round(other["seconds"] / mine["seconds"], 2),
                "wanted": "≥ 1",
            }
        )
    return lines


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
