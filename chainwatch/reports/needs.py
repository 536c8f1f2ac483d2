"""What a query needs above its rows: each need that it declares (chainwatch.lake.needs), read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from chainwatch.chain.markets import ALL, market_names
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import Result
from chainwatch.lake.query import Query
from chainwatch.reports import headers, validation
from chainwatch.reports.betas import betas_text, read_betas_text


class Heading(msgspec.Struct, frozen=True):
    """Lines above a report, and what machine formats carry of them."""

    lines: list[str] = []
    meta: dict[str, Any] = {}


class Call(msgspec.Struct, frozen=True):
    """A query with the values of its parameters that are given."""

    query: Query
    values: Mapping[str, object] = {}

    def declares(self, name: str) -> bool:
        return any(need.name == name for need in self.query.needs)

    def parameters(self, name: str) -> dict[str, str]:
        """The query's parameter in each role that it names for a need."""
        return next((need.parameters for need in self.query.needs if need.name == name), {})

    def arguments(self, name: str) -> dict[str, Any]:
        """The value of each parameter that a need names, by role: the given or the default one."""
        defaults = {p.name: p.value for p in self.query.params}
        return {
            role: self.values.get(parameter, defaults[parameter])
            for role, parameter in self.parameters(name).items()
        }

    @property
    def snapshots(self) -> dict[str, object]:
        """The parameters that choose the snapshots, for the queries of a heading."""
        given = self.arguments("snapshots")
        return {"p_market": given.get("markets", ALL), "p_as_of": given.get("as_of")}

    @property
    def moving(self) -> dict[str, object]:
        """The parameters that say what moves, for the queries of a heading."""
        given = self.arguments("factors")
        return {"p_factor": str(given["factor"]), "p_betas": str(given.get("betas", ""))}


def read_call(definition: Query, values: Mapping[str, object]) -> Call:
    """A query with given values; lists of markets and betas are written in one way.

    Raises UsageError for betas that are none.
    """
    given = dict(values)
    for need in definition.needs:
        for role, parameter in need.parameters.items():
            if role in _WRITTEN and parameter in given:
                given[parameter] = _WRITTEN[role](str(given[parameter]), parameter)
    return Call(definition, given)


_WRITTEN: dict[str, Callable[[str, str], str]] = {
    "markets": lambda text, parameter: ",".join(market_names(text)),
    "betas": lambda text, parameter: betas_text(read_betas_text(text, parameter)),
}


def read(catalog: Catalog, call: Call) -> dict[str, Heading]:
    """The needs of a query that do not depend on its rows, in their order.

    Raises UsageError where a value does not fit what is stored, or nothing is stored yet.
    """
    headings: dict[str, Heading] = {}
    for need in call.query.needs:
        if need.name in _READERS:
            headings[need.name] = _READERS[need.name](catalog, call, headings)
    return headings


def heading(definition: Query, headings: Mapping[str, Heading], result: Result) -> Heading:
    """One heading of the needs that were read and of those that the rows answer."""
    return join(
        _OF_ROWS[need.name](result) if need.name in _OF_ROWS else headings[need.name]
        for need in definition.needs
    )


def join(headings: Iterable[Heading]) -> Heading:
    """One heading of several, in their order."""
    lines: list[str] = []
    meta: dict[str, Any] = {}
    for part in headings:
        lines += part.lines
        meta |= part.meta
    return Heading(lines, meta)


def call_again(catalog: Catalog, call: Call, headings: Mapping[str, Heading]) -> Call | None:
    """The call to repeat where a snapshot was stored since `read`; None where none was.

    Header and rows would be of two snapshots. Where no time is given the next call is of the
    newest block now: snapshots may be stored faster than they are read.
    """
    if "snapshots" not in headings:
        return None
    stored = query.run(catalog, query.find("provenance"), call.snapshots).dicts()
    if [m["snapshot"] for m in stored] == [
        m["snapshot"] for m in headings["snapshots"].meta["markets"]
    ]:
        return None
    as_of = call.parameters("snapshots").get("as_of")
    if not stored or as_of is None or call.snapshots["p_as_of"] is not None:
        return call
    newest = max(m["block_time"] for m in stored)
    return Call(call.query, {**call.values, as_of: newest})


# --- one reader per need ------------------------------------------------------------------------


def _markets(catalog: Catalog, call: Call, headings: Mapping[str, Heading]) -> Heading:
    return Heading()


def _snapshots(catalog: Catalog, call: Call, headings: Mapping[str, Heading]) -> Heading:
    provenance = query.run(catalog, query.find("provenance"), call.snapshots)
    markets = provenance.dicts()
    wanted = str(call.snapshots["p_market"])
    validation.require_markets(catalog, [m["market"] for m in markets], wanted)
    catalog.require(call.query.text)
    validation.require_accounts(catalog, provenance)
    stated = [{k: m[k] for k in _STATED if m[k] is not None} for m in markets]
    return Heading([headers.market_line(m) for m in markets], {"markets": stated})


# What machine formats carry of a snapshot.
_STATED = (
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


def _factors(catalog: Catalog, call: Call, headings: Mapping[str, Heading]) -> Heading:
    """What moves with the factor, and the factor's price in each market."""
    scope, moving = call.snapshots, call.moving
    factor = str(moving["p_factor"])
    factors = query.run(catalog, query.find("factors_at"), scope)
    named = read_betas_text(str(moving["p_betas"]), call.parameters("factors").get("betas", ""))
    validation.require_factors(factors, factor, list(named))
    moved = query.run(catalog, query.find("moves"), scope | moving)
    axes = query.run(catalog, query.find("axes"), scope | {"p_factor": factor}).dicts()
    moves = [
        {k: m[k] for k in ("market", "asset", "symbol", "beta")}
        for m in moved.dicts()
        if m["beta"] != 0
    ]
    priced = [axis for axis in axes if axis["price"] is not None]
    return Heading(headers.moves_lines(moved, factor, axes), {"axes": priced, "moves": moves})


def _bins(catalog: Catalog, call: Call, headings: Mapping[str, Heading]) -> Heading:
    axes = headings["factors"].meta["axes"]
    parameters = call.parameters("bins")
    bound = query.bind(catalog, call.query.params, call.values)
    bins: dict[str, Any] = {role: bound[name] for role, name in parameters.items()}
    factor = str(call.moving["p_factor"])
    if "split" not in parameters:
        bins["split"] = True
        if not axes:
            validation.require_relative_bins(bins, parameters, factor)
            return Heading([headers.relative_bins_line(factor)])
    validation.require_bins(bins, parameters, axes)
    return Heading(headers.axis_lines(axes, factor, split=bool(bins["split"])))


def _excluded_accounts(catalog: Catalog, call: Call, headings: Mapping[str, Heading]) -> Heading:
    moving = call.moving if call.declares("factors") else {}
    left_out = headers.excluded_accounts(catalog, call.snapshots, moving)
    lines = headers.no_sum_lines(left_out)
    meta: dict[str, Any] = {"excluded_accounts": left_out}
    if call.parameters("bins").get("split") and (accounts := headers.unpriced_accounts(left_out)):
        # A wall in USD: what it leaves out has one in the unit of its market.
        shown_by = headers.own_unit_command(str(moving["p_factor"]))
        lines.append(headers.own_unit_line(accounts, shown_by))
        meta["own_unit_walls"] = {"accounts": accounts, "command": shown_by}
    return Heading(lines, meta)


def _statements(catalog: Catalog, call: Call, headings: Mapping[str, Heading]) -> Heading:
    given = call.arguments("statements")
    token = str(given.get("token", ALL))
    return Heading(headers.statement_lines(catalog, token, given.get("known_at")))


def _feeds(catalog: Catalog, call: Call, headings: Mapping[str, Heading]) -> Heading:
    given = call.arguments("feeds")
    window = {"p_since": given.get("since"), "p_until": given.get("until")}
    feeds = headers.feed_states(catalog, window, str(given.get("venue", ALL)))
    lines = [headers.window_line(catalog, window), *(headers.feed_line(f) for f in feeds)]
    return Heading([*lines, *headers.chain_labels(catalog)], {"feeds": feeds})


def _closes(catalog: Catalog, call: Call, headings: Mapping[str, Heading]) -> Heading:
    given = call.arguments("closes")
    days = {"p_as_of": given.get("as_of")}
    if "window" in given:
        days["p_window"] = given["window"]
    closes = query.run(catalog, query.find("closes_used"), days).dicts()
    return Heading([headers.closes_line(asset) for asset in closes], {"closes": closes})


def _known_at(catalog: Catalog, call: Call, headings: Mapping[str, Heading]) -> Heading:
    known_at = call.arguments("known_at")["known_at"]
    return Heading(headers.known_lines(known_at), {"known_at": known_at})


def _provenance(result: Result) -> Heading:
    return Heading(headers.provenance_lines(result))


# The parts that were read before are handed on: some needs stand on another one.
_READERS: dict[str, Callable[[Catalog, Call, Mapping[str, Heading]], Heading]] = {
    "markets": _markets,
    "snapshots": _snapshots,
    "factors": _factors,
    "bins": _bins,
    "excluded_accounts": _excluded_accounts,
    "statements": _statements,
    "feeds": _feeds,
    "closes": _closes,
    "known_at": _known_at,
}
_OF_ROWS: dict[str, Callable[[Result], Heading]] = {"provenance": _provenance}
