"""Starts of the program against a bare interpreter's."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RUNS = 15
BARE = (sys.executable, "-c", "pass")
WANTED = {"--help": "≤ 2.5", "--version": "≤ 2.5", "walls --help": "≤ 10"}


def once(command: tuple[str, ...]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def run(cache: Path) -> list[dict[str, Any]]:
    """The best of some runs each; the bare interpreter is started between them."""
    del cache
    rows = []
    for arguments, wanted in WANTED.items():
        command = (sys.executable, "-m", "chainwatch", *arguments.split())
        pairs = [(once(command), once(BARE)) for _ in range(RUNS)]
        ours, bare = (min(times) for times in zip(*pairs, strict=True))
        rows.append(
            {
                "benchmark": f"chainwatch {arguments} against a bare interpreter",
                "unit": "seconds",
                "ours": round(ours, 4),
                "alternative": round(bare, 4),
                "ratio": round(ours / bare, 2),
                "wanted": wanted,
            }
        )
    return rows
