"""20 years of 15 daily series: loaded once and asked at will, against pandas reading the files.

Ours: the fifteen files through the import (kept, hashed, parsed, dated, stored as vintages), then
one statement over VIX, spreads and yields on what is stored. pandas: `read_csv` of the same files
and the same measures; it keeps nothing and knows nothing of when a value was published. Both are
timed from the shell, as an analyst starts them, and inside a process that runs already.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

SERIES = (
    *("vix", "sofr", "iorb", "dgs10", "dgs30", "dollar_broad", "dxy", "mortgage30"),
    *("bank_reserves", "nasdaq", "nikkei", "gold", "silver", "mags", "btc_mvrv"),
)
YEARS = 20
RUNS = 5


class Quiet:
    """A voice that says nothing."""

    def note(self, text: str) -> None: ...

    def progress(self, what: str, done: float, total: float | None = None) -> None: ...


def write(folder: Path) -> list[Path]:
    """One file per series, weekdays up to yesterday; deterministic but for its last day."""
    last = datetime.now(UTC).date() - timedelta(days=1)
    days = [last - timedelta(days=n) for n in range(365 * YEARS)]
    weekdays: list[date] = [d for d in reversed(days) if d.weekday() < 5]
    paths = []
    for name in SERIES:
        chance = Random(name)
        value, lines = 20.0, ["date,value"]
        for day in weekdays:
            value *= 1 + chance.gauss(0, 0.01)
            lines.append(f"{day},{value:.4f}")
        paths.append(folder / f"{name}.csv")
        paths[-1].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return paths


def load(home: Path, paths: list[Path]) -> float:
    """Seconds from files to stored vintages, all fifteen in one run."""
    from chainwatch.collect import runner
    from chainwatch.collect.feed import Job
    from chainwatch.collect.registry import find
    from chainwatch.lake.store import Store
    from chainwatch.settings import Settings

    store = Store(home)
    settings = Settings({"home": str(home)}, environ={}, dotenv=home / ".env")
    begin = time.perf_counter()
    jobs = [
        Job(find("import"), target=path.stem, options={"series": path.stem, "file": str(path)})
        for path in paths
    ]
    outcomes = asyncio.run(runner.collect(store, settings, jobs, Quiet()))
    seconds = time.perf_counter() - begin
    runner.raise_failures(outcomes)
    return seconds


QUESTION = """SELECT (SELECT z FROM vix_days() ORDER BY as_of DESC LIMIT 1) AS z,
(SELECT spread_bp FROM spread_days() ORDER BY as_of DESC LIMIT 1) AS spread_bp,
(SELECT vol_bp FROM yield_days() ORDER BY as_of DESC LIMIT 1) AS vol_bp"""


def ask(home: Path) -> tuple[float, dict[str, float]]:
    """Seconds to open the catalog and answer, the best of the runs; three figures to compare."""
    from chainwatch.lake import query
    from chainwatch.lake.store import Store

    best = float("inf")
    query.open_catalog(Store(home)).close()  # built once after loading
    for _ in range(RUNS):
        begin = time.perf_counter()
        with query.open_catalog(Store(home)) as catalog:
            (figures,) = catalog.run(QUESTION).dicts()
        best = min(best, time.perf_counter() - begin)
    return best, figures


def through_pandas(folder: Path) -> tuple[float, dict[str, float]]:
    """Seconds to read the files and answer, the best of the runs; the same three figures."""
    import pandas as pd

    best = float("inf")
    for _ in range(RUNS):
        begin = time.perf_counter()
        frames = {
            path.stem: pd.read_csv(path, parse_dates=["date"], index_col="date")["value"]
            for path in sorted(folder.glob("*.csv"))
        }
        vix = frames["vix"]
        before = vix.shift(1).rolling(252)
        z = (vix - before.mean()) / before.std()
        left, right = frames["sofr"].reset_index(), frames["iorb"].reset_index()
        spread = pd.merge_asof(left, right, on="date", suffixes=("", "_paid"))
        spread_bp = 100 * (spread["value"] - spread["value_paid"])
        vol = (100 * frames["dgs10"].diff()).rolling(20).std()
        best = min(best, time.perf_counter() - begin)
    series = {"z": z, "spread_bp": spread_bp, "vol_bp": vol}
    return best, {name: float(values.iloc[-1]) for name, values in series.items()}


def from_shell(*arguments: str) -> float:
    """Seconds of a process from its start to its end, the best of the runs."""
    best = float("inf")
    for _ in range(RUNS):
        begin = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        best = min(best, time.perf_counter() - begin)
    return best


def run(cache: Path) -> list[dict[str, Any]]:
    del cache
    with tempfile.TemporaryDirectory() as name:
        folder, home = Path(name), Path(name) / "home"
        paths = write(folder)
        loaded = load(home, paths)
        queried, ours = ask(home)
        computed, theirs = through_pandas(folder)
        command = ("-m", "chainwatch.cli", "--home", str(home), "sql", QUESTION)
        shell = from_shell(*command)
        script = "import sys, pathlib; from bench.indicators import through_pandas as t; "
        script += "import bench.indicators as b; b.RUNS = 1; t(pathlib.Path(sys.argv[1]))"
        other = from_shell("-c", script, str(folder))
    for name, figure in ours.items():
        if abs(figure - theirs[name]) > 1e-6 * max(1, abs(figure)):
            raise SystemExit(f"{name}: {figure} here, {theirs[name]} by pandas")
    rows = len(SERIES) * YEARS * 261
    return [
        {
            "benchmark": "15 stored series queried from the shell, against a pandas script",
            **figures(shell, other),
            "wanted": "≥ 1",
        },
        {
            "benchmark": "15 stored series queried in a running process, against pandas there",
            **figures(queried, computed),
        },
        {
            "benchmark": "15 series loaded for the first time, with hash, dates and vintages",
            **figures(loaded, computed),
            "rows_per_second": round(rows / loaded),
        },
    ]


def figures(ours: float, alternative: float) -> dict[str, Any]:
    return {
        "unit": "s",
        "series": len(SERIES),
        "years": YEARS,
        "ours": round(ours, 3),
        "alternative": round(alternative, 3),
        "ratio": round(alternative / ours, 2),
    }
