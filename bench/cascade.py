"""Break levels of 1,000,000 steps at the band's four depths: ours against numpy and a grid scan.

All read the same Parquet file of steps, sorted by price by each, and see the same book. numpy gives
the same groups with the same figures (break, landing, units, USD, accounts, largest account, loop
gain); the grid scan asks at each whole percent where the price comes to rest, account by account,
as public tools do.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STEPS = 1_000_000
RUNS = 3
SPOT = 90_000.0
BOOK = [(0.001, 4_000.0), (0.01, 40_000.0), (0.05, 150_000.0), (0.1, 320_000.0)]
VOLUME = 4_000_000.0
SIGMA = 0.03
BAND = (1.0, 0.63, 0.1, 0.02)


def _build(folder: Path) -> None:
    import duckdb

    with contextlib.closing(duckdb.connect()) as con:
        con.execute("SELECT setseed(0.25)")
        con.execute(
            f"""COPY (
              SELECT i * 7919 % {STEPS} AS account, p AS price, u AS units, u * p AS usd
              FROM (SELECT range AS i, {SPOT} * (1 - 0.7 * random()) AS p,
                           exp(4 * random()) * 0.05 AS u FROM range({STEPS})) AS drawn
            ) TO '{folder}/steps.parquet' (FORMAT parquet)"""
        )


def ours(folder: Path) -> dict[str, Any]:
    """The program's groups, from columns of steps as its path gives them."""
    import numpy as np

    from chainwatch.reports.cascade_columns import NEAR, Cascade, groups, last_down_to
    from chainwatch.reports.path_columns import Accounts, Path

    places, impacts = [0.0, *(units for _, units in BOOK)], [0.0, *(share for share, _ in BOOK)]
    law = SIGMA / VOLUME**0.5
    segments = {
        "units_from": np.array(places),
        "distance_from": np.array([*impacts[:-1], max(impacts[-1], law * places[-1] ** 0.5)]),
        "slope": np.r_[np.diff(impacts) / np.diff(places), 0.0],
        "law": np.r_[np.zeros(len(BOOK)), law],
    }
    empty = np.zeros(0)
    best = float("inf")
    for _ in range(RUNS):
        begin = time.perf_counter()
        price, units, usd, account = _steps(folder)
        cascade = Cascade(
            accounts=Accounts(*(account,) * len(Accounts._fields)),
            path=Path(*(empty,) * len(Path._fields)),
            spot=SPOT,
            axis_market=None,
            deviation=None,
            account=account,
            price=price,
            usd=usd,
            units=units,
            sold=units,
            bought=np.zeros(len(units)),
            is_first=np.ones(len(units), dtype=bool),
            after=np.cumsum(units),
            at_once=last_down_to(price, NEAR),
            next_percent=last_down_to(price, 0.99),
            segments=segments,
        )
        made = [groups(cascade, scale) for scale in BAND]
        best = min(best, time.perf_counter() - begin)
    return _result(
        best, _peak_mb(), [(g.units, g.landing_price, g.top1_share, g.loop_gain) for g in made]
    )


def numpy(folder: Path) -> dict[str, Any]:
    """The same, as one would write it."""
    import numpy as np

    best = float("inf")
    for _ in range(RUNS):
        begin = time.perf_counter()
        price, units, usd, account = _steps(folder)
        after = np.cumsum(units)
        made = []
        for scale in BAND:
            t = price / (1 - _impact((after - units) / scale))
            lowest = np.minimum.accumulate(t)
            starts = np.flatnonzero(np.r_[True, t[1:] < lowest[:-1]])
            ends = np.r_[starts[1:], len(t)]
            group = np.repeat(np.arange(len(starts)), ends - starts)
            total = np.add.reduceat(usd, starts)
            pairs, inverse = np.unique(group * len(account) + account, return_inverse=True)
            sums = np.bincount(inverse, usd)
            owner = pairs // len(account)
            heads = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
            largest = np.maximum.reduceat(sums, heads) / total
            landing = t[starts] * (1 - _impact(after[ends - 1] / scale))
            first = price[starts]
            here, ahead = (
                _impact(after[np.searchsorted(-price, -first * share, side="right") - 1] / scale)
                for share in (1 - 1e-9, 0.99)
            )
            gain = t[starts] * (ahead - here) / (0.01 * first)
            made.append((np.add.reduceat(units, starts), landing, largest, gain))
        best = min(best, time.perf_counter() - begin)
    return _result(best, _peak_mb(), made)


def _steps(folder: Path) -> tuple[Any, ...]:
    """Price, units, USD and number of the account of each step, the highest price first."""
    import duckdb
    import numpy as np

    with contextlib.closing(duckdb.connect()) as con:
        read: dict[str, Any] = con.execute(
            f"SELECT price, units, usd, account FROM read_parquet('{folder}/steps.parquet')"
        ).fetchnumpy()
    order = np.argsort(-read["price"], kind="stable")
    return tuple(read[name][order] for name in ("price", "units", "usd", "account"))


def _impact(sold: Any) -> Any:
    import numpy as np

    shares, units = np.array([(0.0, 0.0), *BOOK]).T
    law = SIGMA * np.sqrt(sold / VOLUME)
    beyond = law + max(0.0, float(shares[-1]) - SIGMA * float(np.sqrt(units[-1] / VOLUME)))
    inside = np.interp(sold, units, shares)
    return np.minimum(0.95, np.where(sold > units[-1], beyond, inside))


def grid(folder: Path) -> dict[str, Any]:
    """At each whole percent down, sum what fires, move the price, and again until it rests."""
    import duckdb

    begin = time.perf_counter()
    with contextlib.closing(duckdb.connect()) as con:
        steps = con.execute(
            f"SELECT price, units FROM read_parquet('{folder}/steps.parquet')"
        ).fetchall()
    passes = 0
    for percent in range(1, 51):
        outside = SPOT * (1 - percent / 100)
        price, sold = outside, -1.0
        while True:
            passes += 1
            fired = sum(units for trigger, units in steps if trigger >= price)
            if fired == sold:
                break
            sold = fired
            price = outside * (1 - float(_impact(sold)))
    return {"seconds": time.perf_counter() - begin, "passes": passes}


def _peak_mb() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024


def _result(seconds: float, peak_mb: int, made: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    sums = [
        [float(len(columns[0])), *(float(column.sum()) for column in columns)] for columns in made
    ]
    return {"seconds": seconds, "peak_mb": peak_mb, "sums": sums}


def run(cache: Path) -> list[dict[str, Any]]:
    """Each in a process of its own, so that peak memory is its own."""
    del cache
    with tempfile.TemporaryDirectory() as folder:
        _build(Path(folder))
        figures = {
            which: json.loads(
                subprocess.run(
                    [sys.executable, "-m", "bench.cascade", which, folder],
                    check=True,
                    capture_output=True,
                ).stdout
            )
            for which in ("ours", "numpy", "grid")
        }
    mine, other, scan = figures["ours"], figures["numpy"], figures["grid"]
    for ours_of, theirs in zip(mine["sums"], other["sums"], strict=True):
        if any(abs(a / b - 1) > 1e-9 for a, b in zip(ours_of, theirs, strict=True)):
            raise SystemExit(f"the two disagree: {ours_of} against {theirs}")
    return [
        {
            "benchmark": f"break levels of {STEPS:,} steps at four depths against numpy",
            "unit": "seconds",
            "ours": round(mine["seconds"], 3),
            "peak_mb": mine["peak_mb"],
            "groups": [int(count) for count, *_ in mine["sums"]],
            "alternative": round(other["seconds"], 3),
            "alternative_peak_mb": other["peak_mb"],
            "ratio": round(mine["seconds"] / other["seconds"], 2),
            "wanted": "≤ 2",
        },
        {
            "benchmark": "the same against a scan of 50 whole percents in Python",
            "unit": "seconds",
            "ours": round(mine["seconds"], 3),
            "alternative": round(scan["seconds"], 3),
            "passes": scan["passes"],
            "ratio": round(scan["seconds"] / mine["seconds"], 1),
            "wanted": "printed",
        },
    ]


if __name__ == "__main__":
    which = {"ours": ours, "numpy": numpy, "grid": grid}[sys.argv[1]]
    sys.stdout.write(json.dumps(which(Path(sys.argv[2]))))
