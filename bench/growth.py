"""How `walls` grows with the accounts: whole commands over 100,000, a million, ten and 30 million.

The exponent is that of the processor time between two sizes: 1 is linear. No alternative is run.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench import first_release
from bench.reports import OURS, best, build

SIZES = (100_000, 1_000_000, 10_000_000, 30_000_000)
# The most that the exponent may be between the two largest sizes, and MB of memory by size.
EXPONENT = "≤ 1.1: linear"
WANTED_MB = {10_000_000: 500, 30_000_000: 1_000}


def run(cache: Path, sizes: tuple[int, ...] = SIZES) -> list[dict[str, Any]]:
    """One line per size; the lake of one size is gone before the next is made."""
    del cache
    lines = []
    for accounts in sizes:
        with tempfile.TemporaryDirectory() as name:
            build(first_release.ROOT, Path(name), accounts)
            words = ("--home", name, "walls", "ETH", "--step", "30")
            done = best(OURS, first_release.ROOT, words, 1)
        line = {
            "benchmark": f"walls over {accounts:,} accounts, whole command",
            "unit": "CPU seconds",
            "ours": round(done["cpu"], 2),
            "seconds": round(done["seconds"], 2),
            "peak_mb": done["peak_mb"],
        }
        if accounts in WANTED_MB:
            line["wanted_mb"] = WANTED_MB[accounts]
        lines.append(line)
    for (small, large), (before, after) in zip(pairwise(sizes), pairwise(lines), strict=True):
        exponent = math.log(after["ours"] / before["ours"]) / math.log(large / small)
        after |= {"ratio": round(exponent, 2)}
    if len(lines) > 1:
        lines[-1]["wanted"] = EXPONENT
    return lines


if __name__ == "__main__":
    for line in run(Path(), tuple(map(int, sys.argv[1:])) or SIZES):
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
