"""The table that `make torture` leaves in docs/development/torture.md."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.places import ROOT

PAGE = ROOT / "docs" / "development" / "torture.md"
BEGIN, END = "<!-- torture -->", "<!-- /torture -->"


def seed() -> str:
    """The seed of the run: `make torture SEED=…` repeats it."""
    return os.environ.get("CHAINWATCH_CRASH_SEED", "not set")


def commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"


def table(stats: Mapping[str, Sequence[Any]]) -> str:
    """One row for each test: how much it tried, how it ended, and how long it took."""
    head = (
        f"Commit {commit()}, seed {seed()}, {datetime.now(UTC):%Y-%m-%d}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}.\n\n"
        "| test | tried | result | seconds |\n| --- | ---: | --- | ---: |"
    )
    rows = [
        f"| `{report.nodeid}` | {dict(report.user_properties).get('tried', '')} | {outcome} "
        f"| {report.duration:,.0f} |"
        for outcome in ("passed", "failed", "error", "skipped")
        for report in stats.get(outcome, [])
        if hasattr(report, "nodeid") and hasattr(report, "duration")
    ]
    return "\n".join([head, *sorted(rows)])


def write(stats: Mapping[str, Sequence[Any]]) -> None:
    """Put the table into the page in the place of the last one."""
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(stats)}\n{END}{after}", "utf-8")
