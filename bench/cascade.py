"""Break levels over 1,000,000 steps from Parquet: the SQL files against numpy and a 1 % grid scan.

All three read the same file of steps and see the same book. numpy gives the same groups with the
same figures (break, landing, units, USD, accounts, largest account); the grid scan asks at each
whole percent where the price comes to rest, account by account, as public tools do.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

STEPS = 1_000_000
RUNS = 3
SPOT = 90_000.0
BOOK = [(0.001, 4_000.0), (0.01, 40_000.0), (0.05, 150_000.0), (0.1, 320_000.0)]
VOLUME = 4_000_000.0
SIGMA = 0.03
LARGEST = 1_000
FIGURES = ("groups", "units", "largest", "landings")


def _build(folder: Path) -> None:
    import duckdb

    with contextlib.closing(duckdb.connect()) as con:
        con.execute("SELECT setseed(0.25)")
        con.execute(
            f"""COPY (
              SELECT 'bench' AS market, printf('0x%040x', i * 7919 % {STEPS}) AS account,
                     false AS absorbs, 'down' AS direction, 'call' AS step, 1 AS number,
                     p / {SPOT} AS x, p AS trigger_price, 1 AS is_account, u * p AS risk_usd,
                     u * p AS seize_usd, u AS units, 0e0 AS bought_units, {SPOT} AS factor_price
              FROM (SELECT range AS i, {SPOT} * (1 - 0.7 * random()) AS p,
                           exp(4 * random()) * 0.05 AS u FROM range({STEPS})) AS drawn
            ) TO '{folder}/steps.parquet' (FORMAT parquet)"""
        )


def ours(folder: Path) -> dict[str, Any]:
    """The text of break_levels over the file, in place of what snapshots would give."""
    from chainwatch.lake import query
    from chainwatch.lake.store import Store
    from chainwatch.tables.exchange import Depth

    store = Store(folder / "home")
    store.create()
    at = datetime(2026, 1, 1, tzinfo=UTC)
    store.append(
        [
            Depth(
                factor="BTC",
                venue="bench",
                symbol="BTC/USD",
                kind="spot",
                side="bid",
                distance=distance,
                units=units,
                quote_amount=units * SPOT,
                mid_price=SPOT,
                best_bid=SPOT,
                best_ask=SPOT,
                reach=0.1,
                volume_24h=VOLUME,
                time=at,
                received_at=at,
            )
            for distance, units in BOOK
        ],
        source="bench",
    )
    instead = {
        "path_steps": f"SELECT * FROM read_parquet('{folder}/steps.parquet')",
        "snapshots_at": "SELECT 'bench' AS market, NULL::DOUBLE AS reserves_usd, "
        "NULL::DOUBLE AS target_reserves_usd",
        "factors_at": f"SELECT 'BTC' AS factor, {SPOT} AS factor_price",
    }
    needed = ("depth_at", "traded_daily", "book_segments", "break_steps", "break_levels")
    statements = ["CREATE SCHEMA unbound"]
    for name, text in instead.items():
        heads = ", ".join(f"{p.name} := NULL" for p in query.find(name).params)
        statements.append(f"CREATE MACRO unbound.{name}({heads}) AS TABLE {text}")
    statements += [macro for name in needed for macro in query.find(name).macros]
    best = float("inf")
    with store.catalog(statements) as catalog:
        for _ in range(RUNS):
            begin = time.perf_counter()
            # All groups are made and ranked; as in the command, the largest are handed over.
            query.run(catalog, query.find("break_levels"), {"p_factor": "BTC", "p_top": LARGEST})
            best = min(best, time.perf_counter() - begin)
        peak = _peak_mb()
        sums = catalog.run(
            "SELECT count(*), sum(units), max(units), sum(landing_price) FROM break_levels()"
        )
    return _result(best, peak, sums.rows[0])


def numpy(folder: Path) -> dict[str, Any]:
    """The same in numpy; DuckDB only reads the file."""
    import duckdb
    import numpy as np

    best = float("inf")
    for _ in range(RUNS):
        begin = time.perf_counter()
        with contextlib.closing(duckdb.connect()) as con:
            read: dict[str, Any] = con.execute(
                "SELECT trigger_price, units, seize_usd, account "
                f"FROM read_parquet('{folder}/steps.parquet')"
            ).fetchnumpy()
        order = np.argsort(-read["trigger_price"], kind="stable")
        price, units = read["trigger_price"][order], read["units"][order]
        usd, account = read["seize_usd"][order], read["account"][order]
        after = np.cumsum(units)
        t = price / (1 - _impact(after - units))
        lowest = np.minimum.accumulate(t)
        starts = np.flatnonzero(np.r_[True, t[1:] < lowest[:-1]])
        ends = np.r_[starts[1:], len(t)]
        group = np.repeat(np.arange(len(starts)), ends - starts)
        total = np.add.reduceat(usd, starts)
        _, numbers = np.unique(account, return_inverse=True)
        pairs, inverse = np.unique(group * len(account) + numbers, return_inverse=True)
        sums = np.bincount(inverse, usd)
        owner = pairs // len(account)
        accounts = np.bincount(owner)
        largest = np.maximum.reduceat(sums, np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]]))
        landing = t[starts] * (1 - _impact(after[ends - 1]))
        rows = (t[starts], landing, np.add.reduceat(units, starts), accounts, largest / total)
        best = min(best, time.perf_counter() - begin)
    figures = len(rows[0]), float(rows[2].sum()), float(rows[2].max()), float(rows[1].sum())
    return _result(best, _peak_mb(), figures)


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
            f"SELECT trigger_price, units FROM read_parquet('{folder}/steps.parquet')"
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


def _result(seconds: float, peak_mb: int, sums: Sequence[Any]) -> dict[str, Any]:
    figures = dict(zip(FIGURES, sums, strict=True))
    return {"seconds": seconds, "peak_mb": peak_mb, **figures}


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
    for figure in FIGURES:
        if abs(mine[figure] / other[figure] - 1) > 1e-9:
            raise SystemExit(f"the two disagree in {figure}: {mine} against {other}")
    return [
        {
            "benchmark": f"break levels over {STEPS:,} steps from Parquet against numpy",
            "unit": "seconds",
            "ours": round(mine["seconds"], 3),
            "peak_mb": mine["peak_mb"],
            "groups": mine["groups"],
            "alternative": round(other["seconds"], 3),
            "alternative_peak_mb": other["peak_mb"],
            "ratio": round(mine["seconds"] / other["seconds"], 2),
            "wanted": "≤ 5",
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
