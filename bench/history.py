"""`walls` where 1, 24 and 720 hourly snapshots are stored, against views that list all files.

Opening the catalog is part of the time. The alternative is the same text in the catalog file, as
other clients ask it. Every snapshot has files of its own: nothing is merged.
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
VALUES = {"p_factor": "ETH", "p_step_abs": 30.0}
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def build(home: Path, snapshots: int, accounts: int = ACCOUNTS) -> None:
    """A lake of one market with equal accounts in every hour, a load each."""
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
            at = BEGIN + timedelta(hours=hour)
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


WAYS: dict[str, Callable[[Path], list[tuple[Any, ...]]]] = {"ours": ours, "listing": listing}


def measure(which: str, home: Path) -> dict[str, Any]:
    """Seconds of the best run, peak memory of this process, and what came out."""
    best = float("inf")
    for _ in range(RUNS):
        begun = time.perf_counter()
        rows = WAYS[which](home)
        best = min(best, time.perf_counter() - begun)
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024
    return {"seconds": best, "peak_mb": peak, "rows": [f"{row[5]} {row[6]:.9g}" for row in rows]}


def run(cache: Path) -> list[dict[str, Any]]:
    """One line per number of snapshots; each measurement in a process of its own."""
    del cache
    lines: list[dict[str, Any]] = []
    first: dict[str, float] = {}
    for snapshots in SNAPSHOTS:
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder), snapshots)
            ours(Path(folder))  # makes the catalog file
            result = {}
            for which in WAYS:
                command = [sys.executable, "-m", "bench.history", which, folder]
                done = subprocess.run(command, check=True, capture_output=True)
                result[which] = json.loads(done.stdout)
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
