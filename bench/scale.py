"""Cost per million accounts, on DuckDB and on Spark, over the same synthetic lake.

`python -m bench.scale [accounts]` prints one JSON line per engine and question; each engine runs
in a process of its own, so that its peak memory is its own (Spark: with its Java process).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ACCOUNTS = 1_000_000
QUESTIONS: tuple[tuple[str, dict[str, object]], ...] = (
    ("health", {}),
    ("walls", {"p_factor": "ETH", "p_step_abs": 30.0}),
)


def duckdb(home: Path) -> list[dict[str, Any]]:
    """Seconds of each question straight from Parquet, and its rows."""
    from chainwatch.lake import query
    from chainwatch.lake.store import Store

    answers = []
    with query.open_catalog(Store(home)) as catalog:
        for name, values in QUESTIONS:
            begun = time.perf_counter()
            result = query.run(catalog, query.find(name), values)
            seconds = time.perf_counter() - begun
            answers.append({"question": name, "seconds": seconds, "rows": result.dicts()})
    return answers


def spark(home: Path) -> list[dict[str, Any]]:
    """The same on Spark in this process's Java, two cores."""
    from chainwatch.lake import query
    from chainwatch.lake.spark import Spark
    from chainwatch.lake.store import Store

    answers = []
    with Spark(Store(home), "local[2]", memory="6g") as engine:
        engine.run(query.find("snapshots_at"))  # started and warm
        for name, values in QUESTIONS:
            begun = time.perf_counter()
            result = engine.run(query.find(name), values)
            seconds = time.perf_counter() - begun
            answers.append({"question": name, "seconds": seconds, "rows": result.dicts()})
    return answers


def _peak_mb(pid: str = "self") -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def _children_mb() -> int:
    """Peak memory of this process's children that still run (Spark's Java)."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if path.read_text().rsplit(")", 1)[1].split()[1] == str(_own_pid()):
                total += _peak_mb(path.parent.name)
        except (OSError, StopIteration):
            continue
    return total


def _own_pid() -> int:
    import os

    return os.getpid()


def run(cache: Path, accounts: int = ACCOUNTS) -> list[dict[str, Any]]:
    """One line per question: both engines, their ratio, and the largest relative difference."""
    from bench import synthetic

    del cache
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        synthetic.build(Path(folder), accounts)
        built = time.perf_counter() - begun
        size = sum(p.stat().st_size for p in Path(folder).rglob("*.parquet"))
        answers = {}
        for which in ("duckdb", "spark"):
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "bench.scale", which, folder],
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            answers[which] = json.loads(done.stdout.splitlines()[-1])
    lines = []
    for mine, other in zip(answers["duckdb"]["answers"], answers["spark"]["answers"], strict=True):
        lines.append(
            {
                "benchmark": f"{mine['question']} over {accounts:,} accounts, DuckDB against Spark",
                "unit": "seconds",
                "ours": round(mine["seconds"], 2),
                "peak_mb": answers["duckdb"]["peak_mb"],
                "alternative": round(other["seconds"], 2),
                "alternative_peak_mb": answers["spark"]["peak_mb"],
                "ratio": round(other["seconds"] / mine["seconds"], 2),
                "largest_difference": difference(mine["rows"], other["rows"]),
                "wanted": "difference ≤ 1e-9",
                "built_seconds": round(built, 1),
                "lake_mb": size // 2**20,
            }
        )
    return lines


def difference(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> float:
    """The largest relative difference of any figure; raises SystemExit where rows differ."""
    if len(ours) != len(theirs):
        raise SystemExit(f"{len(ours)} rows against {len(theirs)}")
    largest = 0.0
    for row, other in zip(ours, theirs, strict=True):
        for name, value in row.items():
            if isinstance(value, float) and other[name] is not None:
                gap = abs(value - other[name]) / max(abs(value), 1.0)
                largest = max(largest, gap)
            elif value != other[name]:
                raise SystemExit(f"{name}: {value!r} against {other[name]!r}")
    return largest


if __name__ == "__main__":
    if len(sys.argv) > 2:
        answers = {"duckdb": duckdb, "spark": spark}[sys.argv[1]](Path(sys.argv[2]))
        body = {"answers": answers, "peak_mb": _peak_mb() + _children_mb()}
        sys.stdout.write(json.dumps(body, default=str) + "\n")
    else:
        wanted = int(sys.argv[1]) if len(sys.argv) > 1 else ACCOUNTS
        for line in run(Path(), wanted):
            sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
