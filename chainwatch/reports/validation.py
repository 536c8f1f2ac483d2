"""Whether the parameters of a report fit what is stored; each check raises what does not fit."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from chainwatch.chain.markets import ALL, market_names
from chainwatch.errors import StoreError, UsageError
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import Result
from chainwatch.reports.headers import MARKET, snapshots
from chainwatch.text import suggest

# The most bins in one direction; queries/walls.sql counts as many.
MOST_BINS = 999


def require_bins(
    bins: Mapping[str, Any], parameters: Mapping[str, str], axes: Sequence[Mapping[str, Any]]
) -> None:
    """UsageError where a step or range is not above 0, or a wall has more than MOST_BINS bins.

    `bins`: values by role (reach and step_share as shares of the price, step in its unit,
    direction, split); `parameters`: the name of each for people; `axes`: rows of that query.
    """
    for role in ("reach", "step", "step_share"):
        if bins[role] is not None and not bins[role] > 0:
            raise UsageError(f"{parameters[role]} must be above 0, got {bins[role]:g}")
    for spot in (axis["price"] for axis in axes if bins["split"] == (axis["market"] != ALL)):
        if bins["step"] is not None:
            step = bins["step"] / spot
        elif bins["step_share"] is not None:
            step = bins["step_share"]
        else:
            continue  # a round number near 1 %
        directions = ("down", "up") if bins["direction"] == "both" else (bins["direction"],)
        for direction in directions:
            reach = bins["reach"] if direction == "up" else min(bins["reach"], 1.0)
            # The bin at the price now may be cut, so that one more is counted.
            if reach / step > MOST_BINS - 1:
                least = reach / (MOST_BINS - 1)
                raise UsageError(
                    f"expected at most {MOST_BINS} bins {direction}, got {reach / step:,.0f}: for "
                    f"{reach:.6g} of the price give a step of at least "
                    f"{_round_up(least * spot)}, or {_round_up(100 * least)}%"
                )


def require_relative_bins(
    bins: Mapping[str, Any], parameters: Mapping[str, str], factor: str
) -> None:
    """The same for bins of x, the price over the price now: no market has a price of the factor.

    UsageError also for a step in units of the price.
    """
    if bins["step"] is not None:
        raise UsageError(
            f"{parameters['step']} is a width in units of the price, and no market has a price of "
            f"{factor}: give {parameters['step_share']}, or neither"
        )
    require_bins(bins, parameters, [{"market": "", "price": 1.0}])


def _round_up(value: float) -> str:
    """A number rounded up to three digits."""
    digit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.ceil(value / digit) * digit:.6g}"


def require_accounts(catalog: Catalog, provenance: Result) -> None:
    """StoreError for a market of which fewer accounts are stored than were read.

    `provenance`: rows of the query of that name.
    """
    ids = snapshots(provenance)
    result = catalog.run(
        "SELECT snapshot, count(*) FROM account_health "
        "WHERE list_contains($snapshots, snapshot) GROUP BY snapshot",
        {"snapshots": ids},
        choice=frozenset(ids),
    )
    stored: dict[str, int] = dict(result.rows)
    for m in provenance.dicts():
        if (here := stored.get(m["snapshot"], 0)) < m["accounts"]:
            raise StoreError(
                f"expected {m['accounts']:,} accounts of {m['market']} at block "
                f"{m['block_number']}, got {here:,} in the lake: read the market again with "
                f"`chainwatch collect {m['protocol']} --market {m['market']} --full`"
            )


def require_markets(catalog: Catalog, markets: Collection[str], named: str) -> None:
    """UsageError where no snapshot is stored, or none of a market that is `named`.

    `markets`: those with a snapshot at that time; `named`: names with commas between, or all.
    """
    wanted = market_names(named)
    if markets and (wanted == [ALL] or set(wanted) <= set(markets)):
        return
    stored = catalog.run("SELECT DISTINCT market FROM snapshots ORDER BY market")
    stored_markets = [row[0] for row in stored.rows]
    if not stored_markets:
        raise UsageError(
            "no market has been read yet: run `chainwatch collect aave-v3 --market ethereum`, "
            "or `chainwatch demo` for a local chain"
        )
    for name in wanted:
        if name != ALL and name not in stored_markets:
            raise UsageError(
                f"no snapshot of market {name!r}; {suggest(name, stored_markets)}"
                f"stored: {', '.join(stored_markets)}"
            )
    late = [name for name in wanted if name not in (*markets, ALL)] if markets else []
    what = f"no snapshot of {', '.join(late)}" if late else "no snapshot"
    raise UsageError(f"{what} is that old: `chainwatch status` lists the stored ones")


def require_factors(factors: Result, factor: str, named: Sequence[str]) -> None:
    """UsageError for the first name that is not a factor of these markets.

    `factors`: rows of factors_at; `named`: the factors that have betas.
    """
    names = sorted({str(row["factor"]) for row in factors.dicts()})
    if factor.upper() == MARKET:
        wanted = [*named]
    elif factor.lower() in (name.lower() for name in named):
        raise UsageError(f"betas are for MARKET or for other factors: {factor} moves by itself")
    else:
        wanted = [factor, *named]
    for name in wanted:
        if name.lower() not in {factor.lower() for factor in names}:
            raise UsageError(
                f"no factor is called {name!r}; {suggest(name, [*names, MARKET])}"
                f"known: {', '.join(names)}; "
                f"{MARKET} moves all volatile ones"
            )


def require_closes(catalog: Catalog) -> None:
    """UsageError where no daily close is stored."""
    if not catalog.run("SELECT 1 FROM candles WHERE interval = '1d' LIMIT 1").rows:
        raise UsageError("no daily closes are stored: run `chainwatch collect candles --only 1d`")
