"""Compaction against DuckDB's own COPY of the same rows, and the export of 1,000,000 accounts.

The export is compared with that of the first commit of this repository, run beside it over the lake
that its own benchmark makes. Both have exported an empty day before, so that their catalogs are
there. Without that commit (a shallow clone, an installed copy) only ours is printed.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import first_release

ACCOUNTS = 1_000_000
SEGMENTS = 200
ROWS = 2_000


def compaction(folder: Path) -> dict[str, Any]:
    """Merge SEGMENTS loads of ROWS rows into one; then COPY the same files with DuckDB alone."""
    import duckdb

    from chainwatch.lake.merge import Merger
    from chainwatch.lake.store import Store
    from chainwatch.tables.log import Reject

    store = Store(folder)
    store.create()
    now = datetime.datetime.now(datetime.UTC)
    for n in range(SEGMENTS):
        batch = [
            Reject(source="s", target="", received_at=now, reason=f"{n}-{k}", raw=f"{n * k:060}")
            for k in range(ROWS)
        ]
        store.append(batch, source="s")
    files = f"{store.lake}/rejects/day=2*/*.parquet"
    begun = time.perf_counter()
    with duckdb.connect() as engine:
        engine.execute(
            f"COPY (FROM read_parquet('{files}', union_by_name = true)) "
            f"TO '{folder}/alone.parquet' (FORMAT parquet, COMPRESSION zstd)"
        )
    alone = time.perf_counter() - begun
    begun = time.perf_counter()
    with Merger(store, settle=0.0, grace=3_600.0) as merger:
        merger.step("9999-01-01")
    ours = time.perf_counter() - begun
    return {"ours": ours, "alone": alone}


def exporting(folder: Path) -> dict[str, Any]:
    """CPU seconds, seconds and peak memory of one day's export."""
    from chainwatch.lake.store import Store
    from chainwatch.nightly import export

    store = Store(folder)
    export.export_day(store, folder / "empty", datetime.date(2025, 1, 1))
    begun, cpu = time.perf_counter(), time.process_time()
    done = export.export_day(store, folder / "out", datetime.date(2026, 1, 1))
    used = {"cpu": time.process_time() - cpu, "seconds": time.perf_counter() - begun}
    return used | {"peak_mb": _peak_mb(), "rows": sum(done.rows.values())}


# The same in the words of the first commit.
FIRST = """
import datetime, json, sys, time
from pathlib import Path
from bench import synthetic
from chainwatch import export
from chainwatch.store import Store
home = Path(sys.argv[1])
if sys.argv[2] == "build":
    synthetic.build(home, int(sys.argv[3]))
    raise SystemExit
store = Store(home)
export.export(store, home / "empty", datetime.date(2025, 1, 1))
begun, cpu = time.perf_counter(), time.process_time()
export.export(store, home / "out", datetime.date(2026, 1, 1))
used = {"cpu": time.process_time() - cpu, "seconds": time.perf_counter() - begun}
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024
sys.stdout.write(json.dumps(used | {"peak_mb": peak}))
"""


def measured_first_release(folder: Path) -> dict[str, Any] | None:
    """What the first commit takes; None where it is not at hand."""
    code, home = first_release.extract(folder), str(folder / "home")
    if code is None:
        return None
    first_release.run_script(code, FIRST, home, "build", str(ACCOUNTS))
    answer: dict[str, Any] = json.loads(first_release.run_script(code, FIRST, home, "run"))
    return answer


def _peak_mb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def run(cache: Path) -> list[dict[str, Any]]:
    """Each in a process of its own."""
    from bench import synthetic

    del cache

    def apart(which: str, folder: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "bench.nights", which, folder]
        out = subprocess.run(command, check=True, capture_output=True).stdout
        answer: dict[str, Any] = json.loads(out)
        return answer

    with tempfile.TemporaryDirectory() as folder:
        merged = apart("compaction", folder)
    with tempfile.TemporaryDirectory() as folder:
        synthetic.build(Path(folder), ACCOUNTS)
        exported = apart("exporting", folder)
    with tempfile.TemporaryDirectory() as folder:
        first = measured_first_release(Path(folder))
    comparison = (
        {}
        if first is None
        else {
            "alternative": round(first["cpu"], 1),
            "alternative_seconds": round(first["seconds"], 1),
            "alternative_peak_mb": first["peak_mb"],
            "ratio": round(exported["cpu"] / first["cpu"], 2),
            "wanted": "≤ 0.15",
        }
    )
    rows = SEGMENTS * ROWS
    return [
        {
            "benchmark": f"compaction of {SEGMENTS} segments against DuckDB COPY of the same rows",
            "unit": "rows/s",
            "ours": round(rows / merged["ours"]),
            "alternative": round(rows / merged["alone"]),
            "ratio": round(merged["alone"] / merged["ours"], 2),
            "wanted": "≥ 0.5: flushed to disk, and each load accounted for",
        },
        {
            "benchmark": f"export of {ACCOUNTS:,} accounts, every mart as Parquet, against the "
            "first release",
            "unit": "CPU seconds",
            "ours": round(exported["cpu"], 1),
            "seconds": round(exported["seconds"], 1),
            "peak_mb": exported["peak_mb"],
            "rows": exported["rows"],
            **comparison,
        },
    ]


if __name__ == "__main__":
    which = {"compaction": compaction, "exporting": exporting}[sys.argv[1]]
    sys.stdout.write(json.dumps(which(Path(sys.argv[2]))))
