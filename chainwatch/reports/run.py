"""A query run as a report: its rows, with the snapshots, feeds and documents behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chainwatch.chain.markets import market_names
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import Result
from chainwatch.lake.query import Query
from chainwatch.reports.betas import betas_text, read_betas_text
from chainwatch.reports.headers import (
    LABEL,
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
from chainwatch.reports.validation import (
    require_accounts,
    require_bins,
    require_factors,
    require_markets,
)
from chainwatch.show.document import Report
from chainwatch.show.values import fill_notes

ATTEMPTS = 20  # to read header and rows of one snapshot while snapshots are being stored

# Lines of a header, and what machine formats carry of them.
HeaderPart = tuple[list[str], dict[str, Any]]


def make(
    catalog: Catalog,
    name: str,
    values: Mapping[str, object],
    runner: Callable[[Query, Mapping[str, object]], Result] | None = None,
) -> Report:
    """Run a query and state what its figures are based on.

    `runner` may compute the rows elsewhere. Raises UsageError where no snapshot is stored yet,
    or the factor does not exist.
    """
    definition = query.find(name)
    if "p_market" in values:
        values = {**values, "p_market": ",".join(market_names(str(values["p_market"])))}
    if "p_betas" in values:
        betas = read_betas_text(str(values["p_betas"]), "p_betas")
        values = {**values, "p_betas": betas_text(betas)}
    if all(p.name != "p_as_of" for p in definition.params):
        return _make(catalog, definition, values, None, runner)
    scope = _snapshot_scope(values)
    provenance = query.run(catalog, query.find("provenance"), scope)
    for _ in range(ATTEMPTS):
        report = _make(catalog, definition, values, provenance, runner)
        # A collector may have stored a snapshot meanwhile: header and rows would be of two.
        before, provenance = provenance, query.run(catalog, query.find("provenance"), scope)
        if snapshots(provenance) == snapshots(before):
            break
        newest = max((m["block_time"] for m in provenance.dicts()), default=None)
        if newest is not None and values.get("p_as_of") is None:
            # Snapshots are stored faster than they are read here: stay with the newest one.
            scope, values = scope | {"p_as_of": newest}, {**values, "p_as_of": newest}
            provenance = query.run(catalog, query.find("provenance"), scope)
    return report


def _make(
    catalog: Catalog,
    definition: Query,
    values: Mapping[str, object],
    provenance: Result | None,
    runner: Callable[[Query, Mapping[str, object]], Result] | None,
) -> Report:
    header: list[str] = []
    meta: dict[str, Any] = {}
    for lines, details in _header_parts(catalog, definition, values, provenance):
        header += lines
        meta |= details
    result = (
        query.run(catalog, definition, values) if runner is None else runner(definition, values)
    )
    if any(p.name == "p_known_at" for p in definition.params):
        meta["known_at"] = values.get("p_known_at")
        header = [*knowledge_lines(values, result), *header]
    return Report(
        result=result,
        name=definition.name,
        title=definition.title,
        header=header,
        meta=meta,
        shown=definition.shown,
        bar=definition.bar,
        notes=fill_notes(definition.notes, result, definition.columns),
        columns=definition.columns,
    )


def _header_parts(
    catalog: Catalog,
    definition: Query,
    values: Mapping[str, object],
    provenance: Result | None,
) -> Iterator[HeaderPart]:
    """The parts of the header that the query's parameters and tables ask for, in their order."""
    params = {p.name for p in definition.params}
    if provenance is not None:
        yield _snapshots_part(catalog, definition, values, provenance)
        if "p_factor" in params:
            yield _factor_part(catalog, definition, values)
        if "p_factor" in params or definition.name in _OF_ACCOUNTS:
            factor = (
                {"p_factor": _text(definition, values, "p_factor")} if "p_factor" in params else {}
            )
            left_out = excluded_accounts(catalog, {**values, **factor})
            yield no_sum_lines(left_out), {"excluded_accounts": left_out}
    if "p_token" in params:
        yield statement_lines(catalog, values, _text(definition, values, "p_token")), {}
    if definition.on == "feeds":
        feeds = feed_states(catalog, values)
        lines = [window_line(catalog, values), *(feed_line(f) for f in feeds)]
        yield [*lines, *_chain_labels(catalog)], {"feeds": feeds}
    if definition.on == "closes":
        scope = {k: v for k, v in values.items() if k in ("p_window", "p_as_of")}
        closes = query.run(catalog, query.find("closes_used"), scope).dicts()
        yield [closes_line(asset) for asset in closes], {"closes": closes}


def _snapshots_part(
    catalog: Catalog, definition: Query, values: Mapping[str, object], provenance: Result
) -> HeaderPart:
    markets = provenance.dicts()
    require_markets(catalog, [m["market"] for m in markets], _snapshot_scope(values))
    lines = [market_line(m) for m in markets]
    catalog.require(definition.text)
    require_accounts(catalog, provenance)
    return lines, {"markets": [{k: m[k] for k in _META if m[k] is not None} for m in markets]}


def _factor_part(catalog: Catalog, definition: Query, values: Mapping[str, object]) -> HeaderPart:
    """What moves with the factor, and what its prices mean in each market."""
    scope = _snapshot_scope(values)
    factor, betas = _text(definition, values, "p_factor"), str(values.get("p_betas", ""))
    factors = query.run(catalog, query.find("factors_at"), scope)
    require_factors(factors, factor, betas)
    moved = query.run(catalog, query.find("moves"), {**scope, "p_factor": factor, "p_betas": betas})
    lines = moves_lines(moved, factor)
    axes = query.run(catalog, query.find("axes"), {**scope, "p_factor": factor}).dicts()
    axes = [axis for axis in axes if axis["price"] is not None]
    if definition.name == "walls":
        split = bool(values.get("p_split"))
        require_bins(query.bind(catalog, definition.params, values), axes, split=split)
        lines += axis_lines(axes, factor, split=split)
    moves = [
        {k: m[k] for k in ("market", "asset", "symbol", "beta")}
        for m in moved.dicts()
        if m["beta"] != 0
    ]
    return lines, {"axes": axes, "moves": moves}


def _snapshot_scope(values: Mapping[str, object]) -> dict[str, object]:
    """The parameters that choose snapshots."""
    return {k: v for k, v in values.items() if k in ("p_market", "p_as_of")}


def _text(definition: Query, values: Mapping[str, object], name: str) -> str:
    """A text parameter's value: the given one, else the query's default."""
    default = next(p.default.strip("'") for p in definition.params if p.name == name)
    return str(values.get(name, default))


# Reports about accounts that have no factor; those with a factor are about accounts, too.
_OF_ACCOUNTS = ("accounts", "changes", "health", "liquidation_distance")

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
    """A line for each market whose liquidations on chain are demo, recorded or imported data."""
    markets = catalog.run(
        "SELECT DISTINCT s.market, s.provenance FROM snapshots AS s "
        "SEMI JOIN chain_liquidations AS c ON c.market = s.market AND c.chain_id = s.chain_id "
        "ORDER BY ALL"
    )
    return [f"{market}: {LABEL[kind]}" for market, kind in markets.rows if kind in LABEL]
