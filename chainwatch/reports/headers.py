"""The lines above a report: which snapshots, feeds and documents its figures are based on."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from chainwatch.chain.markets import ALL
from chainwatch.errors import UsageError
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import Result
from chainwatch.show.document import Report
from chainwatch.show.values import cell_text
from chainwatch.text import suggest
from chainwatch.units import UNITS, duration, price_text

STALE_AFTER_SECONDS = 3_600
# Below this share of an asset's debt accounts are missing (lending.completeness.LEAST_SHARE).
LEAST_COVERAGE = 0.999

LABEL = {
    "demo": "DEMO DATA from a local chain",
    "recording": "DEMO DATA from a recorded local chain",
    "imported": "IMPORTED DATA",
}


def snapshots(provenance: Result) -> list[Any]:
    return [m["snapshot"] for m in provenance.dicts()]


def excluded_accounts(
    catalog: Catalog, scope: Mapping[str, object], moving: Mapping[str, object]
) -> list[dict[str, Any]]:
    """The accounts that sums leave out: market, missing (all, part), reason, accounts, debt_usd.

    `scope` chooses the snapshots. Sums of balances where nothing is `moving`, else of a wall: the
    factor and its betas.
    """
    definition = query.find("excluded_accounts" if moving else "unvalued")
    return query.run(catalog, definition, {**scope, **moving}).dicts()


def no_sum_lines(left_out: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per market: how many accounts are in no sum, or in some only, and why."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in left_out:
        debt = row["debt_usd"]
        owed = "debt n/a" if debt is None else f"debt {debt:,.0f} USD"
        words = reasons.setdefault((row["market"], row["missing"]), [])
        count = "" if row["accounts"] is None else f"{row['accounts']:,} "
        words.append(f"{count}{row['reason']} ({owed})")
    return [
        f"{market}: accounts in {_MISSING[missing]}: {', '.join(words)}"
        for (market, missing), words in reasons.items()
    ]


_MISSING = {"all": "no sum", "part": "some sums only"}
_UNPRICED = "no price in USD"  # a reason of the query unvalued


def unpriced_accounts(left_out: Sequence[Mapping[str, Any]]) -> int:
    """How many accounts sums leave out as there is no price in USD."""
    return sum(row["accounts"] for row in left_out if row["reason"] == _UNPRICED)


def own_unit_command(factor: str) -> str:
    """The command that shows the walls of such accounts."""
    return f"chainwatch walls {shlex.quote(factor)} --own-unit"


def own_unit_line(accounts: int, command: str) -> str:
    """That accounts without a price in USD have walls in the unit of their market."""
    have = "account has" if accounts == 1 else "accounts have"
    return (
        f"{accounts:,} {have} {_UNPRICED}: `{command}` shows what is at risk in the unit of the "
        "market"
    )


def relative_bins_line(factor: str) -> str:
    """What bins are of where no market has a price of the factor."""
    return f"no market has a price of {factor}: bins are of x, its price over the price now"


def known_lines(known_at: object) -> list[str]:
    """The publication time up to which figures count; none where all do."""
    if known_at is None:
        return []
    when = f"{known_at:%Y-%m-%d %H:%M}Z" if isinstance(known_at, datetime) else str(known_at)
    return [f"as known on {when}: nothing published later counts"]


def provenance_lines(result: Result) -> list[str]:
    """How many rows, by their column provenance, are not from a source."""
    kinds = [row["provenance"] for row in result.dicts()]
    return [
        f"{kinds.count(kind):,} of {len(kinds):,} rows: {words}"
        for kind, words in _PROVENANCE.items()
        if kind in kinds
    ]


_PROVENANCE = {
    "sample": "SAMPLE data, invented figures that show how the report looks",
    "reference": "figures shipped with chainwatch, each with its report",
    "imported": "from files of the user",
}


def closes_line(used: Mapping[str, Any]) -> str:
    """The daily closes of an asset that a model uses, and whether they are samples or imported."""
    asset = used["asset"]
    if not used["closes"]:
        return (
            f"no daily closes of {asset} are stored: "
            "assets that move with it are modelled as unchanged"
        )
    words = _PROVENANCE.get(used["provenance"])
    return (
        f"daily closes of {asset} ({used['venue']}, source {used['source']}): {used['closes']:,} "
        f"from {used['from_day']} to {used['to_day']}, {used['moves']:,} moves of adjoining days"
        + (f"; {words}" if words else "")
    )


def statement_lines(catalog: Catalog, token: str, known_at: object) -> list[str]:
    """The newest disclosure of each kind: day, lag, age, document.

    Raises UsageError where none of the token is stored.
    """
    newest = {"p_token": token, "p_known_at": known_at, "p_last": 1}
    statements = query.run(catalog, query.find("reserve_statements"), newest).dicts()
    if not statements and token != ALL:
        stored = catalog.run("SELECT DISTINCT token FROM statements ORDER BY token").rows
        tokens = ", ".join(str(row[0]) for row in stored)
        if not tokens:
            raise UsageError(
                "no reserve is stored yet: `chainwatch collect reference` loads the figures that "
                "ship, `chainwatch collect tether circle` reads the issuers' pages"
            )
        if known_at is not None:
            raise UsageError(f"no disclosure of {token} was published by then; stored: {tokens}")
        hint = suggest(token, [str(row[0]) for row in stored])
        raise UsageError(f"no disclosure of {token!r} is stored; {hint}stored: {tokens}")
    return [_statement_line(s) for s in statements]


def _statement_line(s: Mapping[str, Any]) -> str:
    published = (
        f"published {s['published']} ({s['lag_days']} days later)"
        if s["published"]
        else f"observed {s['observed_at']:%Y-%m-%d}"
    )
    before = f"; the one before is of {s['previous_as_of']}" if s["previous_as_of"] else ""
    return (
        f"{s['token']} {s['kind']} ({s['evidence']}): as of {s['as_of']}, {published}, "
        f"{duration(s['age_seconds'])} old; {_collateral_words(s)}; "
        f"{s['origin']}, sha256 {s['sha256']}{before}"
    )


def _collateral_words(s: Mapping[str, Any]) -> str:
    """Assets over liabilities of one and the same statement."""
    if s["assets_usd"] is None:
        return "assets n/a (not stated)"
    assets = f"assets {s['assets_usd']:,.0f} {s['unit']}"
    if s["ratio"] is None:
        return f"{assets}, liabilities n/a (not stated)"
    return f"{assets}, {s['ratio']:.4f} of liabilities"


def market_line(market: Mapping[str, Any]) -> str:
    """One market's block, age, verification and coverage."""
    label = LABEL.get(market["provenance"])
    if market["provenance"] == "imported":
        return (
            f"{market['market']} ({label} from {market['endpoint']}): as of "
            f"{market['block_time']:%Y-%m-%d %H:%M:%S}Z, {age_words(market['age_seconds'])}; "
            f"NOT VERIFIED: floating-point figures of the file; {market['accounts']:,} accounts"
            + (f", {market['accounts_failed']:,} of them n/a" * bool(market["accounts_failed"]))
        )
    scope = "borrowed" if market["scope"] == "borrowers" else "held a balance"
    coverage = f"{market['accounts']:,} accounts that ever {scope}"
    if market["accounts_failed"]:
        coverage += f", {market['accounts_failed']:,} of them n/a"
    return (
        f"{market['market']} ({market['protocol']}{', ' + label if label else ''}): "
        f"block {market['block_number']} of {market['block_time']:%Y-%m-%d %H:%M:%S}Z, "
        f"{age_words(market['age_seconds'])}; {verified_words(market)}; "
        + "; ".join([*_proof_words(market), coverage])
    )


def _proof_words(market: Mapping[str, Any]) -> list[str]:
    """Whether the walls were proven, what is inferred only, and how much of the debt was found."""
    words = []
    checked, prices = market["wall_checked"], market["wall_prices"]
    if prices:
        equal = max(checked - market["wall_mismatched"], 0)
        undecided = market["wall_undecided"]
        proven = (
            f"triggers {equal:,}/{checked:,} as the contracts at {prices} prices "
            f"({market['wall_factors']})" + (f", {undecided:,} undecided" if undecided else "")
        )
        words.append(f"WRONG: {proven}" if market["wall_mismatched"] else proven)
        if market["wall_status"] != "ok":
            words.append(f"no more could be asked: {market['wall_status']}")
    elif market["wall_status"]:
        words.append(f"triggers not proven: {market['wall_status']}")
    if market["inferred_assets"]:
        assets = market["inferred_assets"] + (market["measured_assets"] or 0)
        words.append(f"what moves {market['inferred_assets']} of {assets} prices is inferred")
    if market["debt_coverage_share"] is not None:
        words.append(_coverage_words(market))
    return words


def _coverage_words(market: Mapping[str, Any]) -> str:
    """The part of the debt that was found, rounded down; an asset of which much is missing."""
    words = f"{_rounded_down(market['debt_coverage_share'])} of the debt found"
    least = market["lowest_debt_coverage"]
    if least >= LEAST_COVERAGE:
        return words
    return f"INCOMPLETE: {words}, {_rounded_down(least)} of {market['lowest_coverage_symbol']}"


def _rounded_down(share: float) -> str:
    return f"{math.floor(share * 10_000 + 1e-6) / 100:.2f} %"


def feed_states(catalog: Catalog, window: Mapping[str, object], venue: str) -> list[dict[str, Any]]:
    """Rows of `feeds` for the report's window. Raises UsageError where nothing is stored."""
    feeds = query.run(catalog, query.find("feeds"), {**window, "p_venue": venue}).dicts()
    if not feeds:
        venues = catalog.run(
            "SELECT venue FROM coverage UNION SELECT venue FROM exchange_liquidations "
            "UNION SELECT protocol FROM chain_liquidations ORDER BY ALL"
        )
        names = [str(row[0]) for row in venues.rows]
        if not names:
            raise UsageError(
                "no liquidations have been collected yet: run "
                "`chainwatch collect binance bybit okx --for 10m`"
            )
        if venue not in (ALL, *names):
            raise UsageError(
                f"nothing of venue {venue!r}; {suggest(venue, names)}stored: {', '.join(names)}"
            )
    return feeds


def window_line(catalog: Catalog, window: Mapping[str, object]) -> str:
    covered = query.run(catalog, query.find("liquidation_window"), window).dicts()
    if not covered:
        return "no time is covered"
    since, until = covered[0]["since"], covered[0]["until"]
    if since >= until:
        raise UsageError(f"the end {until:%Y-%m-%d %H:%M}Z is not after {since:%Y-%m-%d %H:%M}Z")
    return (
        f"from {since:%Y-%m-%d %H:%M:%S}Z to {until:%Y-%m-%d %H:%M:%S}Z "
        f"({duration((until - since).total_seconds())})"
    )


def chain_labels(catalog: Catalog) -> list[str]:
    """A line for each market whose liquidations on chain are demo, recorded or imported data."""
    markets = catalog.run(
        "SELECT DISTINCT s.market, s.provenance FROM snapshots AS s "
        "SEMI JOIN chain_liquidations AS c ON c.market = s.market AND c.chain_id = s.chain_id "
        "ORDER BY ALL"
    )
    return [f"{market}: {LABEL[kind]}" for market, kind in markets.rows if kind in LABEL]


def feed_line(feed: Mapping[str, Any]) -> str:
    """One feed's coverage and state; a fault comes first."""
    demo = "DEMO DATA from a loopback exchange, " if feed["provenance"] == "demo" else ""
    covered = cell_text(UNITS["coverage"], feed["covered_share"])
    state = feed["state"]
    words = [f"covered {covered} of the time"]
    if feed["stale_share"]:
        words.append(f"stale {cell_text(UNITS['share'], feed['stale_share'])}")
    if feed["rejecting_share"]:
        words.append(f"rejecting {cell_text(UNITS['share'], feed['rejecting_share'])}")
    if feed["subscribed"] is not None:
        words.append(f"{feed['subscribed']:,} of {feed['listed'] or 0:,} contracts")
    rejects = f"{feed['rejects']:,} rejects"
    if feed["clipped"]:
        in_spans = f"{feed['frames']:,} frames" + (f" and {rejects}" if feed["rejects"] else "")
        words += [f"{feed['rows']:,} liquidations", f"{in_spans} in coverage spans that overlap it"]
    else:
        words.append(f"{feed['rows']:,} liquidations in {feed['frames']:,} frames")
        words += [rejects] * bool(feed["rejects"])
    trouble = "" if state in ("up", "partial", "off") else f"{state.upper()}: {feed['reason']}; "
    if feed["rejecting_share"] and not trouble:
        trouble = f"REJECTING for a while: {feed['rejecting_reason']}; "
    return f"{feed['source']} ({demo}{feed['sampling']}): {trouble}{', '.join(words)}"


def age_words(seconds: int) -> str:
    """How old a block is; a block from the future means that two clocks disagree."""
    if seconds < 0:
        return f"{duration(seconds)} ahead of this machine's clock"
    return f"{duration(seconds)} old"


def verified_words(market: Mapping[str, Any]) -> str:
    """A snapshot's verification: how many accounts equal the chain, or that none were compared."""
    if market["checked"] is None:
        return "NOT VERIFIED"
    if not market["accounts"]:
        return "no accounts to verify"
    equal = market["checked"] - market["mismatched"]
    words = f"verified {equal:,}/{market['checked']:,} equal to the chain"
    if market["mismatched"]:
        return f"WRONG: {words}"
    if market["checked"] < market["accounts"]:
        return f"{words} (sample)"
    return words


def stale_lines(report: Report) -> list[str]:
    """A warning per feed that is down and per market whose block is old; live data only."""
    return [
        f"{f['source']} is {f['state']}: {f['reason'] or 'no reason known'}"
        for f in report.meta.get("feeds", [])
        if f["provenance"] == "live" and f["state"] in ("down", "stale", "rejecting")
    ] + [
        f"{m['market']} is {duration(m['age_seconds'])} old: "
        f"`chainwatch collect {m['protocol']} --market {m['market']}` reads it again"
        for m in report.meta.get("markets", [])
        if m["provenance"] == "chain" and m["age_seconds"] > STALE_AFTER_SECONDS
    ]


MARKET = "MARKET"


def axis_lines(axes: Sequence[Mapping[str, Any]], factor: str, *, split: bool = False) -> list[str]:
    """The price axis of a wall where the markets have different prices of the factor.

    `axes`: rows of the query `axes` that have a price.
    """
    by_market = {str(row["market"]): row for row in axes}
    prices = [row["price"] for row in by_market.values()]
    if not prices or min(prices) == max(prices):
        return []
    low, high, axis_market = (
        price_text(min(prices)),
        price_text(max(prices)),
        by_market[ALL]["axis_market"],
    )
    differ = f"the markets' prices of {factor} differ ({low} to {high}): "
    if split:
        return [f"{differ}the rows of each market use its own"]
    return [
        f"{differ}sums use {axis_market}'s {high}, and each trigger keeps its relative distance "
        "from the price of its own market"
    ]


def _beta_words(beta: float | None) -> str:
    if beta is None:
        return " × n/a (divided by it)"
    return f" × {beta:g}" if beta != 1 else ""


def _lag_words(axis: Mapping[str, Any]) -> str:
    """How far a market price may be from the oracle's, by the rule of the factor's feed."""
    if axis.get("deviation") is None:
        return ""
    share, most = f"{100 * axis['deviation']:.3g} %", duration(axis["heartbeat"])
    return (
        f"; its feed answers anew after a move of {share} or {most}, so in market prices a trigger "
        f"lies up to {share} further"
    )


def moves_lines(moved: Result, factor: str, axes: Sequence[Mapping[str, Any]]) -> list[str]:
    """What moves in each market, by how much, and how late its feed answers; `axes`: rows of it."""
    rules = {str(row["market"]): row for row in axes}
    market_wide = factor.upper() == MARKET
    rows = sorted(moved.dicts(), key=lambda row: (row["market"], row["symbol"], row["asset"]))
    lines = []
    for market in dict.fromkeys(row["market"] for row in rows):
        here = [r for r in rows if r["market"] == market and r["factor"] is not None]
        if not here and not market_wide:
            continue
        names = ", ".join(f"{r['symbol']}" + _beta_words(r["beta"]) for r in here)
        if market_wide:
            still = [r["symbol"] for r in rows if r["market"] == market and r["factor"] is None]
            rest = f"; {', '.join(still)} {'stays' if len(still) == 1 else 'stay'}" if still else ""
            lines.append(f"{MARKET} (1 = prices now) on {market} moves {names or 'nothing'}{rest}")
            continue
        value = next((r["factor_price"] for r in here if r["factor_price"] is not None), None)
        level = (
            "n/a (its feed gives no usable price)"
            if value is None
            else price_text(value) + (" USD" if here[0]["kind"] != "ratio" else "")
        )
        lag = _lag_words(rules.get(market, {}))
        lines.append(
            f"{here[0]['factor']} at {level} on {market} moves {names}; all else stays{lag}"
        )
    return lines
