"""Whole commands over synthetic accounts, against the same commands of the first release.

`python -m bench.reports [accounts]`, 1,000,000 without. Each command is a process of its own:
processor time and peak memory are those the system counts for it. `diff` compares two snapshots of
a tenth of the accounts. Without the first commit (a shallow clone, an installed copy) only ours is
printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import first_release

ACCOUNTS = 1_000_000
RUNS = 3

Rows = list[dict[str, Any]]

# Command, words, bar, and what both releases must agree in.
COMMANDS: tuple[tuple[str, tuple[str, ...], str, Callable[[Rows], Any]], ...] = (
    ("walls", ("ETH", "--step", "30"), "≤ 0.6", lambda rows: sum(r["accounts"] for r in rows)),
    ("accounts", ("--limit", "50"), "≤ 0.15", lambda rows: [r["account"] for r in rows]),
    ("triggers", ("ETH", "--limit", "50"), "≤ 0.15", lambda rows: [r["account"] for r in rows]),
    ("health", (), "≤ 0.6", lambda rows: sum(r["accounts"] for r in rows)),
)
DIFF = ("diff", ("--from", "2026-01-01", "--to", "2026-01-02", "--factor", "ETH"), "≤ 0.1", len)

OURS = (sys.executable, "-m", "chainwatch")

BUILD = """
import sys
from pathlib import Path
from bench import synthetic
synthetic.build(Path(sys.argv[1]), int(sys.argv[2]))
"""

# The same accounts again in a snapshot of the next day, in a lake of either release.
ADD_DAY = """
import sys
from pathlib import Path
import duckdb
changed = {
    "snapshot": "replace(snapshot, ':1:', ':2:')",
    "load": "'bench2'",
    "block_number": "block_number + 1",
    **{c: f"{c} + INTERVAL 1 DAY" for c in ("block_time", "read_at", "stored_at")},
}
engine = duckdb.connect()
engine.execute("SET TimeZone = 'UTC'")
for path in sorted(Path(sys.argv[1]).glob("lake/*/day=2026-01-01/bench.parquet")):
    source = f"read_parquet('{path}', hive_partitioning = false)"
    shape = [row[0] for row in engine.execute(f"DESCRIBE FROM {source}").fetchall()]
    replaced = ", ".join(f"{changed[c]} AS {c}" for c in shape if c in changed)
    folder = path.parent.parent / "day=2026-01-02"
    folder.mkdir()
    engine.execute(
        f"COPY (SELECT * REPLACE ({replaced}) FROM {source}) TO '{folder}/bench2.parquet' "
        "(FORMAT parquet, COMPRESSION zstd)"
    )
"""


def build(root: Path, home: Path, accounts: int, days: int = 1) -> None:
    """Make a lake by the code in a folder, with equal snapshots of one or two days.

    In processes of its own: what the system counts as a process's peak begins with its parent's.
    """
    for script in (BUILD, ADD_DAY)[:days]:
        words = [sys.executable, "-c", script, str(home), str(accounts)]
        subprocess.run(words, check=True, cwd=root, stdout=subprocess.DEVNULL)


def measure(start: tuple[str, ...], code: Path, words: tuple[str, ...]) -> dict[str, Any]:
    """CPU seconds, seconds and peak memory of a command of the code in a folder, and its rows.

    Raises SystemExit where it fails.
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith("CHAINWATCH_")}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [*start, *words, "--json"], stdout=out, stderr=error, env=env, cwd=code
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        if status:
            error.seek(0)
            raise SystemExit(f"{' '.join(words)}: {error.read().decode()}")
        out.seek(0)
        printed = out.read()  # the first release lets the engine print its progress before
        rows = json.loads(printed[printed.index(b"{") :])["rows"]
    return {
        "cpu": usage.ru_utime + usage.ru_stime,
        "seconds": seconds,
        "peak_mb": usage.ru_maxrss // 1024,
        "rows": rows,
    }


def best(start: tuple[str, ...], code: Path, words: tuple[str, ...], runs: int) -> dict[str, Any]:
    """The run with the least processor time, after one that makes the catalog file."""
    measure(start, code, words)
    return min((measure(start, code, words) for _ in range(runs)), key=lambda run: run["cpu"])


def compare(
    code: Path | None, folder: Path, accounts: int, runs: int, commands: Any, days: int = 1
) -> list[dict[str, Any]]:
    """One line per command, over lakes of so many accounts."""
    home, first_home = folder / f"home{accounts}", folder / f"first{accounts}"
    for root, made in ((first_release.ROOT, home), (code, first_home)):
        if root is not None:
            build(root, made, accounts, days)
    lines = []
    for command, words, wanted, figures in commands:
        mine = best(OURS, first_release.ROOT, ("--home", str(home), command, *words), runs)
        line = {
            "benchmark": f"{command} over {'2 × ' * (days > 1)}{accounts:,} accounts, whole "
            "command, against the first release",
            "unit": "CPU seconds",
            "ours": round(mine["cpu"], 2),
            "seconds": round(mine["seconds"], 2),
            "peak_mb": mine["peak_mb"],
        }
        if code is not None:
            command_words = ("--home", str(first_home), command, *words)
            other = best(first_release.START, code, command_words, runs)
            if figures(mine["rows"]) != figures(other["rows"]):
                raise SystemExit(f"the two disagree: {command} over {accounts:,} accounts")
            line |= {
                "alternative": round(other["cpu"], 2),
                "alternative_seconds": round(other["seconds"], 2),
                "alternative_peak_mb": other["peak_mb"],
                "ratio": round(mine["cpu"] / other["cpu"], 3),
                "wanted": wanted,
            }
        lines.append(line)
    return lines


def run(cache: Path, accounts: int = ACCOUNTS) -> list[dict[str, Any]]:
    """One line per command; beyond a million accounts each runs once."""
    del cache
    runs = RUNS if accounts <= ACCOUNTS else 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        code = first_release.extract(folder)
        lines = compare(code, folder, accounts, runs, COMMANDS)
        if accounts <= ACCOUNTS:
            lines += compare(code, folder, accounts // 10, runs, (DIFF,), days=2)
    return lines


if __name__ == "__main__":
    for line in run(Path(), int(sys.argv[1]) if len(sys.argv) > 1 else ACCOUNTS):
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
