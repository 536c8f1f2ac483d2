"""`chainwatch --help` against a bare interpreter start."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RUNS = 15


def best(command: list[str]) -> float:
    best = float("inf")
    for _ in range(RUNS):
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        best = min(best, time.perf_counter() - begin)
    return best


def run(cache: Path) -> list[dict[str, Any]]:
    del cache
    ours = best([sys.executable, "-m", "chainwatch.cli", "--help"])
    bare = best([sys.executable, "-c", "pass"])
    return [
        {
            "benchmark": "chainwatch --help against a bare interpreter",
            "unit": "seconds",
            "ours": round(ours, 4),
            "alternative": round(bare, 4),
            "ratio": round(ours / bare, 2),
            "wanted": "≤ 10",
        }
    ]
