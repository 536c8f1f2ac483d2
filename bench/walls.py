# ruff: noqa: E501 - SQL reads better unbroken
"""`walls` over synthetic accounts from Parquet, against what a user would write over the legs.

`python -m bench.walls [accounts]`, 1,000,000 without: DuckDB SQL by hand, polars streaming, and the
SQL over legs that clusters run (all of the figures). The first two compute
less: triggers and the sums per bin of collateral at risk and of the first step of what may be
seized, without classes at the edges, healing, grid or cumulative figures. All run on one thread,
each in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ACCOUNTS = 1_000_000
RUNS = 5


def ours(home: Path) -> dict[str, Any]:
    """Seconds of the best run, peak memory, and two sums to compare."""
    from chainwatch.lake import query
    from chainwatch.lake.store import Store

    best = float("inf")
    with query.open_catalog(Store(home)) as catalog:
        for _ in range(RUNS):
            begin = time.perf_counter()
            values = {"p_factor": "ETH", "p_step_abs": 30.0}
            result = query.run(catalog, query.find("walls"), values)
            best = min(best, time.perf_counter() - begin)
    down = [r for r in result.dicts() if r["direction"] in ("down", "beyond down")]
    return {
        "seconds": best,
        "peak_mb": _peak_mb(),
        "accounts": sum(r["accounts"] for r in down),
        "at_risk_usd": sum(r["collateral_at_risk_usd"] for r in down),
    }


def polars(home: Path) -> dict[str, Any]:
    """The same question asked of polars, streaming."""
    import polars as pl

    lake = home / "lake"
    best = float("inf")
    for _ in range(RUNS):
        begin = time.perf_counter()
        snapshot = pl.scan_parquet(lake / "snapshots/day=2026-01-01/*.parquet")
        factors = pl.scan_parquet(lake / "factors/day=2026-01-01/*.parquet").filter(
            pl.col("factor").str.to_lowercase() == "eth"
        )
        spot = factors.select(pl.col("factor_price").max()).collect().item()
        debt = pl.col("side") == "debt"
        usd, moving, lt = pl.col("usd"), pl.col("moving"), pl.col("lt_bps") / 1e4
        zero = pl.lit(0.0)
        legs = (
            pl.scan_parquet(lake / "legs/day=2026-01-01/*.parquet")
            .select("snapshot", "account", "asset", "side", "usd", "lt_bps", "bonus_bps")
            .join(snapshot.select("snapshot"), on="snapshot", how="semi")
            .filter(pl.col("side") != "idle")
            .join(factors.select("asset", "beta"), on="asset", how="left")
            .with_columns(moving=usd * pl.col("beta").fill_null(0.0))
        )

        def total(value: pl.Expr, of_debt: bool) -> pl.Expr:
            return (
                pl.when(debt if of_debt else ~debt).then(value).otherwise(zero).sum()  # noqa: B023
            )

        def top(column: str, of_debt: bool) -> pl.Expr:
            mine = debt if of_debt else ~debt  # noqa: B023
            return pl.col(column).filter(mine).get(pl.col("usd").filter(mine).arg_max())

        accounts = legs.group_by("account").agg(
            c0=total(usd - moving, False),
            c1=total(moving, False),
            a0=total((usd - moving) * lt, False),
            a1=total(moving * lt, False),
            d0=total(usd - moving, True),
            d1=total(moving, True),
            debt_top=pl.col("usd").filter(debt).max(),
            collateral_top=pl.col("usd").filter(~debt).max(),
            debt_top_moving=top("moving", True),
            collateral_top_moving=top("moving", False),
            bonus=top("bonus_bps", False),
        )
        x = (pl.col("d0") - pl.col("a0")) / (pl.col("a1") - pl.col("d1"))
        down = (
            accounts.with_columns(x=x)
            .filter(
                (pl.col("a0") + pl.col("a1") >= pl.col("d0") + pl.col("d1"))
                & (pl.col("d0") > pl.col("a0"))
                & (pl.col("x") > 0)
                & (pl.col("x") <= 1)
            )
            .with_columns(
                risk=pl.col("c0") + pl.col("c1") * pl.col("x"),
                first=pl.min_horizontal(
                    0.5
                    * (pl.col("debt_top") + pl.col("debt_top_moving") * (pl.col("x") - 1))
                    * (1 + pl.col("bonus") / 1e4),
                    pl.col("collateral_top") + pl.col("collateral_top_moving") * (pl.col("x") - 1),
                ),
                bin=(pl.col("x") * spot / 30.0 + 1e-9).floor().cast(pl.Int32),
            )
        )
        result = (
            down.group_by("bin")
            .agg(
                accounts=pl.len(),
                risk=pl.col("risk").sum(),
                largest=pl.col("risk").max(),
                first=pl.col("first").sum(),
            )
            .collect(engine="streaming")
        )
        best = min(best, time.perf_counter() - begin)
    return {
        "seconds": best,
        "peak_mb": _peak_mb(),
        "accounts": int(result["accounts"].sum()),
        "at_risk_usd": float(result["risk"].sum()),
    }


BY_HAND = """
WITH leg AS (
  SELECT l.account, l.side = 'debt' AS owed, l.usd, l.usd * coalesce(f.beta, 0) AS moving, l.lt_bps / 1e4 AS lt,
         l.bonus_bps / 1e4 AS bonus
  FROM read_parquet('{lake}/legs/day=2026-01-01/*.parquet') AS l
  LEFT JOIN (SELECT asset, beta FROM read_parquet('{lake}/factors/day=2026-01-01/*.parquet')
             WHERE lower(factor) = 'eth') AS f ON f.asset = l.asset
  WHERE l.side <> 'idle'
), account AS (
  SELECT account,
    sum(usd - moving) FILTER (NOT owed) AS c0, sum(moving) FILTER (NOT owed) AS c1,
    sum((usd - moving) * lt) FILTER (NOT owed) AS a0, sum(moving * lt) FILTER (NOT owed) AS a1,
    sum(usd - moving) FILTER (owed) AS d0, sum(moving) FILTER (owed) AS d1,
    max(usd) FILTER (owed) AS debt_top, max(usd) FILTER (NOT owed) AS collateral_top,
    max_by(moving, usd) FILTER (owed) AS debt_top_moving,
    max_by(moving, usd) FILTER (NOT owed) AS collateral_top_moving, max_by(bonus, usd) FILTER (NOT owed) AS bonus
  FROM leg GROUP BY account
), hit AS (
  SELECT *, (d0 - a0) / nullif(a1 - d1, 0) AS x FROM account
  WHERE a0 + a1 >= d0 + d1 AND d0 > a0 AND (d0 - a0) / nullif(a1 - d1, 0) BETWEEN 1e-300 AND 1
)
SELECT CAST(floor(x * {spot} / 30 + 1e-9) AS INT) AS bin, count(*) AS accounts, sum(c0 + c1 * x) AS risk,
       max(c0 + c1 * x) AS largest,
       sum(least(0.5 * (debt_top + debt_top_moving * (x - 1)) * (1 + bonus),
                 collateral_top + collateral_top_moving * (x - 1))) AS first
FROM hit GROUP BY bin
"""


def by_hand(home: Path) -> dict[str, Any]:
    """The same question in DuckDB's SQL, as a user would write it over the legs."""
    import duckdb

    lake = home / "lake"
    best = float("inf")
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        for _ in range(RUNS):
            begin = time.perf_counter()
            rows = connection.execute(BY_HAND.format(lake=lake, spot=3_000.0)).fetchall()
            best = min(best, time.perf_counter() - begin)
    return {
        "seconds": best,
        "peak_mb": _peak_mb(),
        "accounts": sum(row[1] for row in rows),
        "at_risk_usd": sum(row[2] for row in rows),
    }


def from_legs(home: Path) -> dict[str, Any]:
    """All the figures by SQL that groups legs, as clusters run it."""
    import msgspec

    from chainwatch.lake import query
    from chainwatch.lake.portable import CLUSTER_SQL
    from chainwatch.lake.store import Store

    best = float("inf")
    with query.open_catalog(Store(home)) as catalog:
        triggers = query.read(CLUSTER_SQL / "triggers.sql")
        for made in (triggers, query.find("forced_sales")):
            heads = ", ".join(f"{p.name} := CAST({p.default} AS {p.type})" for p in made.params)
            body = made.text.replace("$p_", "p_").replace(" triggers(", " triggers_from_legs(")
            catalog.run(f"CREATE TEMP MACRO {made.name}_from_legs({heads}) AS TABLE\n{body}")
        shipped = query.find("walls")
        named = shipped.text.replace(" forced_sales(", " forced_sales_from_legs(")
        walls = msgspec.structs.replace(shipped, text=named)
        values = {"p_factor": "ETH", "p_step_abs": 30.0}
        bound = query.bind(catalog, walls.params, values)
        for _ in range(RUNS):
            begin = time.perf_counter()
            result = catalog.run(walls.body, bound)
            best = min(best, time.perf_counter() - begin)
    down = [r for r in result.dicts() if r["direction"] in ("down", "beyond down")]
    return {
        "seconds": best,
        "peak_mb": _peak_mb(),
        "accounts": sum(r["accounts"] for r in down),
        "at_risk_usd": sum(r["collateral_at_risk_usd"] for r in down),
    }


def _peak_mb() -> int:
    # getrusage would count what the parent held when it forked.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


# What is compared with ours: how it is called, and the least ratio that is wanted.
ALTERNATIVES = {
    "by_hand": ("DuckDB SQL by hand", 1 / 0.6),
    "polars": ("polars streaming", 1.0),
    "from_legs": ("the same figures from legs", 1.0),
}


def run(cache: Path, accounts: int = ACCOUNTS) -> list[dict[str, Any]]:
    """Each in a process of its own, so that peak memory is its alone.

    Raises SystemExit where they disagree.
    """
    from bench import synthetic

    del cache
    with tempfile.TemporaryDirectory() as folder:
        synthetic.build(Path(folder), accounts)
        figures = {
            which: json.loads(
                subprocess.run(
                    [sys.executable, "-m", "bench.walls", which, folder],
                    check=True,
                    capture_output=True,
                    env=os.environ | {"POLARS_MAX_THREADS": "1"},
                ).stdout
            )
            for which in ("ours", *ALTERNATIVES)
        }
    mine = figures["ours"]
    lines = []
    for which, (name, wanted) in ALTERNATIVES.items():
        other = figures[which]
        gap = abs(mine["at_risk_usd"] / other["at_risk_usd"] - 1)
        if mine["accounts"] != other["accounts"] or gap > 1e-9:
            raise SystemExit(f"the two disagree: {mine} against {name}: {other}")
        lines.append(
            {
                "benchmark": f"walls over {accounts:,} accounts against {name}",
                "unit": "seconds",
                "ours": round(mine["seconds"], 3),
                "peak_mb": mine["peak_mb"],
                "alternative": round(other["seconds"], 3),
                "alternative_peak_mb": other["peak_mb"],
                "ratio": round(other["seconds"] / mine["seconds"], 2),
                "wanted": f"≥ {wanted:.3g}",
            }
        )
    return lines


if __name__ == "__main__":
    if len(sys.argv) > 2:
        measure = {"ours": ours, "polars": polars, "by_hand": by_hand, "from_legs": from_legs}
        sys.stdout.write(json.dumps(measure[sys.argv[1]](Path(sys.argv[2]))) + "\n")
    else:
        wanted_accounts = int(sys.argv[1]) if len(sys.argv) > 1 else ACCOUNTS
        for line in run(Path(), wanted_accounts):
            sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
