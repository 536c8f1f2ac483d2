"""`walls` over 1,000,000 synthetic accounts from Parquet, against polars streaming the same files.

The alternative computes less: triggers and the sums per bin of collateral at risk and of the first
step of what may be seized, without classes at the edges, healing, grid or cumulative figures.
"""

from __future__ import annotations

import json
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


def _peak_mb() -> int:
    # getrusage would count what the parent held when it forked.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def run(cache: Path) -> list[dict[str, Any]]:
    """Both in processes of their own, so that peak memory is theirs alone."""
    from bench import synthetic

    del cache
    with tempfile.TemporaryDirectory() as folder:
        synthetic.build(Path(folder), ACCOUNTS)
        result = {
            which: json.loads(
                subprocess.run(
                    [sys.executable, "-m", "bench.walls", which, folder],
                    check=True,
                    capture_output=True,
                ).stdout
            )
            for which in ("ours", "polars")
        }
    mine, other = result["ours"], result["polars"]
    if mine["accounts"] != other["accounts"]:
        raise SystemExit(f"the two disagree: {mine} against {other}")
    return [
        {
            "benchmark": "walls over 1,000,000 accounts against polars streaming",
            "unit": "seconds",
            "ours": round(mine["seconds"], 3),
            "peak_mb": mine["peak_mb"],
            "alternative": round(other["seconds"], 3),
            "alternative_peak_mb": other["peak_mb"],
            "ratio": round(other["seconds"] / mine["seconds"], 2),
            "wanted": "≥ 1",
        }
    ]


if __name__ == "__main__":
    which = {"ours": ours, "polars": polars}[sys.argv[1]]
    sys.stdout.write(json.dumps(which(Path(sys.argv[2]))))
