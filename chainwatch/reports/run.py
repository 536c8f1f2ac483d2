"""A query run as a report: its rows with what they stand on."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from chainwatch.chain.markets import ALL, asked
from chainwatch.errors import StoreError, UsageError
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import Result
from chainwatch.lake.query import Query
from chainwatch.reports.headers import (
    LABEL,
    MARKET,
    axis_lines,
    closes_line,
    excluded_accounts,
    feed_line,
    feed_states,
    knowledge_lines,
    market_line,
    moves_lines,
    no_sum_lines,
    snapshots,
    statement_lines,
    window_line,
)
from chainwatch.show.document import Report
from chainwatch.show.values import filled
from chainwatch.text import suggest

ATTEMPTS = 20  # to read header and rows of one snapshot while snapshots are being stored


def make(
    catalog: Catalog,
    name: str,
    values: Mapping[str, object],
    runner: Callable[[Query, Mapping[str, object]], Result] | None = None,
) -> Report:
    """Run a query and say what its figures stand on; `runner` may compute its rows elsewhere.

    Raises UsageError where there is no snapshot yet, or the factor does not exist.
    """
    chosen = query.find(name)
    if "p_market" in values:
        values = {**values, "p_market": ",".join(asked(str(values["p_market"])))}
    if all(p.name != "p_as_of" for p in chosen.params):
        return _make(catalog, chosen, values, None, runner)
    scope = {k: v for k, v in values.items() if k in ("p_market", "p_as_of")}
    standing = query.run(catalog, query.find("provenance"), scope)
    for _ in range(ATTEMPTS):
        found = _make(catalog, chosen, values, standing, runner)
        # A collector may have stored a snapshot meanwhile: header and rows would be of two.
        before, standing = standing, query.run(catalog, query.find("provenance"), scope)
        if snapshots(standing) == snapshots(before):
            break
        newest = max((m["block_time"] for m in standing.dicts()), default=None)
        if newest is not None and values.get("p_as_of") is None:
            # One that stores faster than this reads: ask for what there is now, and stay there.
            scope, values = scope | {"p_as_of": newest}, {**values, "p_as_of": newest}
            standing = query.run(catalog, query.find("provenance"), scope)
    return found


def _make(
    catalog: Catalog,
    chosen: Query,
    values: Mapping[str, object],
    standing: Result | None,
    runner: Callable[[Query, Mapping[str, object]], Result] | None,
) -> Report:
    params = {p.name for p in chosen.params}
    header: list[str] = []
    meta: dict[str, Any] = {}
    if standing is not None:
        scope = {k: v for k, v in values.items() if k in ("p_market", "p_as_of")}
        require_markets(catalog, [m["market"] for m in standing.dicts()], scope)
        header += [market_line(m) for m in standing.dicts()]
        catalog.require(chosen.text)
        _require_accounts(catalog, standing)
        meta["markets"] = [{k: m[k] for k in _META if m[k] is not None} for m in standing.dicts()]
        if "p_factor" in params:
            factor, betas = _chosen(chosen, values, "p_factor"), str(values.get("p_betas", ""))
            factors = query.run(catalog, query.find("factors_at"), scope)
            _require_factors(factors, factor, betas)
            moved = query.run(
                catalog, query.find("moves"), {**scope, "p_factor": factor, "p_betas": betas}
            )
            header += moves_lines(moved, factor)
            axes = query.run(catalog, query.find("axes"), {**scope, "p_factor": factor}).dicts()
            meta["axes"] = [axis for axis in axes if axis["price"] is not None]
            if chosen.name == "walls":
                split = bool(values.get("p_split"))
                _require_bins(query.bind(catalog, chosen.params, values), meta["axes"], split=split)
                header += axis_lines(meta["axes"], factor, split=split)
            meta["moves"] = [
                {k: m[k] for k in ("market", "asset", "symbol", "beta")}
                for m in moved.dicts()
                if m["beta"] != 0
            ]
        if "p_factor" in params or chosen.name in _OF_ACCOUNTS:
            by_factor = (
                {"p_factor": _chosen(chosen, values, "p_factor")} if "p_factor" in params else {}
            )
            left_out = excluded_accounts(catalog, {**values, **by_factor})
            header += no_sum_lines(left_out)
            meta["excluded_accounts"] = left_out
    if "p_token" in params:
        header += statement_lines(catalog, values, _chosen(chosen, values, "p_token"))
    if chosen.on == "feeds":
        feeds = feed_states(catalog, values)
        header += [window_line(catalog, values), *(feed_line(f) for f in feeds)]
        header += _chain_labels(catalog)
        meta["feeds"] = feeds
    if chosen.on == "closes":
        scope = {k: v for k, v in values.items() if k in ("p_window", "p_as_of")}
        used = query.run(catalog, query.find("closes_used"), scope).dicts()
        header += [closes_line(each) for each in used]
        meta["closes"] = used
    result = query.run(catalog, chosen, values) if runner is None else runner(chosen, values)
    if "p_known_at" in params:
        meta["known_at"] = values.get("p_known_at")
        header = [*knowledge_lines(values, result), *header]
    return Report(
        result=result,
        name=chosen.name,
        title=chosen.title,
        header=header,
        meta=meta,
        shown=chosen.shown,
        bar=chosen.bar,
        notes=filled(chosen.notes, result),
    )


# As many bins in one direction as queries/walls.sql counts.
MOST_BINS = 999


def _require_bins(
    bound: Mapping[str, Any], axes: Sequence[Mapping[str, Any]], *, split: bool
) -> None:
    """UsageError where a wall has no width or reach above 0, or more bins than are counted."""
    for name in ("p_range", "p_step_abs", "p_step_pct"):
        if bound[name] is not None and not bound[name] > 0:
            raise UsageError(f"{name} must be above 0, not {bound[name]:g}")
    for spot in (axis["price"] for axis in axes if split == (axis["market"] != ALL)):
        if bound["p_step_abs"] is not None:
            step = bound["p_step_abs"] / spot
        elif bound["p_step_pct"] is not None:
            step = bound["p_step_pct"]
        else:
            continue  # a round number near 1 %
        for direction in (
            ("down", "up") if bound["p_direction"] == "both" else (bound["p_direction"],)
        ):
            reach = bound["p_range"] if direction == "up" else min(bound["p_range"], 1.0)
            # The bin at the price now may be cut, so that one more is counted.
            if reach / step > MOST_BINS - 1:
                least = reach / (MOST_BINS - 1)
                raise UsageError(
                    f"the wall would have {reach / step:,.0f} bins {direction}, and {MOST_BINS} "
                    f"are the most: for {reach:.6g} of the price give a step of at least "
                    f"{_up(least * spot)}, or {_up(100 * least)}%"
                )


def _up(value: float) -> str:
    """A number rounded up to three digits."""
    digit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.ceil(value / digit) * digit:.6g}"


def _require_accounts(catalog: Catalog, standing: Result) -> None:
    """StoreError for a market of which fewer accounts are stored than were read."""
    found = catalog.run(
        "SELECT snapshot, count(*) FROM account_health "
        "WHERE list_contains($snapshots, snapshot) GROUP BY snapshot",
        {"snapshots": snapshots(standing)},
    )
    stored: dict[str, int] = dict(found.rows)
    for m in standing.dicts():
        if (here := stored.get(m["snapshot"], 0)) < m["accounts"]:
            raise StoreError(
                f"{here:,} accounts of {m['market']} are stored, {m['accounts']:,} were read at "
                f"block {m['block_number']}: read it anew with `chainwatch collect "
                f"{m['protocol']} --market {m['market']} --full`"
            )


# Reports over accounts without a factor; those with one are over accounts anyhow.
_OF_ACCOUNTS = ("accounts", "changes", "health", "liquidation_distance")


def _chosen(asked: query.Query, values: Mapping[str, object], name: str) -> str:
    """A text parameter's value: the one given, else the query's default."""
    default = next(p.default.strip("'") for p in asked.params if p.name == name)
    return str(values.get(name, default))


_META = (
    "market",
    "protocol",
    "provenance",
    "block_number",
    "block_time",
    "age_seconds",
    "accounts",
    "accounts_failed",
    "scope",
    "checked",
    "mismatched",
    "verified_at",
    "endpoint",
    "snapshot",
)


def _chain_labels(catalog: Catalog) -> list[str]:
    """A line for each market whose liquidations on chain are of no real chain."""
    found = catalog.run(
        "SELECT DISTINCT s.market, s.provenance FROM snapshots AS s "
        "SEMI JOIN chain_liquidations AS c ON c.market = s.market AND c.chain_id = s.chain_id "
        "ORDER BY ALL"
    )
    return [f"{market}: {LABEL[kind]}" for market, kind in found.rows if kind in LABEL]


def require_markets(catalog: Catalog, found: Collection[str], scope: Mapping[str, object]) -> None:
    """UsageError where there is no snapshot, or none of one of the markets that are asked for."""
    wanted = asked(str(scope.get("p_market", ALL)))
    if found and (wanted == [ALL] or set(wanted) <= set(found)):
        return
    stored = catalog.run("SELECT DISTINCT market FROM snapshots ORDER BY market")
    known = [row[0] for row in stored.rows]
    if not known:
        raise UsageError(
            "no market has been read yet: run `chainwatch collect aave-v3 --market ethereum`, "
            "or `chainwatch demo` for a local chain"
        )
    for name in wanted:
        if name != ALL and name not in known:
            raise UsageError(
                f"no snapshot of market {name!r}; {suggest(name, known)}stored: {', '.join(known)}"
            )
    late = [name for name in wanted if name not in (*found, ALL)] if found else []
    what = f"no snapshot of {', '.join(late)}" if late else "no snapshot"
    raise UsageError(f"{what} is as old as that: `chainwatch status` shows what there is")


def _require_factors(factors: Result, factor: str, betas: str) -> None:
    """UsageError for the first name that is no factor of these markets."""
    known = sorted({str(row["factor"]) for row in factors.dicts()})
    named = [pair.partition("=")[0].strip() for pair in betas.split(",") if pair.strip()]
    if factor.upper() == MARKET:
        wanted = named
    elif factor.lower() in (name.lower() for name in named):
        raise UsageError(f"betas are for MARKET or for other factors: {factor} moves by itself")
    else:
        wanted = [factor, *named]
    for name in wanted:
        if name.lower() not in {factor.lower() for factor in known}:
            raise UsageError(
                f"no factor is called {name!r}; {suggest(name, [*known, MARKET])}"
                f"known: {', '.join(known)}; "
                f"{MARKET} moves all volatile ones"
            )
