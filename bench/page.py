"""The lines of a run as a table in docs/development/benchmarks.md: `python -m bench.page FILE…`."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import bars
from bench.first_release import ROOT

PAGE = ROOT / "docs" / "development" / "benchmarks.md"
BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"


def table(lines: Iterable[Mapping[str, Any]]) -> str:
    """One row per line: what was measured, the ratio, the bar and whether it holds, and memory."""
    head = (
        "| benchmark | ours | alternative | ratio | wanted | holds | peak MB |\n"
        "| --- | ---: | ---: | ---: | --- | --- | ---: |"
    )
    return "\n".join([head, *map(_row, lines)])


def _row(line: Mapping[str, Any]) -> str:
    verdict = bars.verdict(dict(line)).get("holds")
    wanted = [str(line["wanted"])] if "wanted" in line else []
    wanted += [f"≤ {line['wanted_mb']:,} MB"] if "wanted_mb" in line else []
    memory = [f"{line[m]:,}" for m in ("peak_mb", "alternative_peak_mb") if m in line]
    cells = (
        line["benchmark"],
        f"{_number(line['ours'])} {line['unit']}",
        _number(line.get("alternative")),
        _number(line.get("ratio")),
        ", ".join(wanted),
        {True: "yes", False: "**no**", None: ""}[verdict],
        " against ".join(memory),
    )
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,}"


def machine() -> str:
    """When and on what this process runs."""
    with Path("/proc/meminfo").open(encoding="ascii") as lines:
        memory = int(next(lines).split()[1]) / 2**20
    with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    cores = f"{os.cpu_count()} cores ({names[0] if names else 'unnamed'})"
    versions = f"Python {platform.python_version()}"
    return f"{datetime.now(UTC):%Y-%m-%d}, {cores}, {memory:.0f} GiB, {versions}."


def main() -> None:
    lines = [
        json.loads(text)
        for name in sys.argv[1:]
        for text in Path(name).read_text("utf-8").splitlines()
        if text.startswith("{")
    ]
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{machine()}\n\n{table(lines)}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
