"""A query's result with what it stands on: block, age, coverage and verification in its header."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from chainwatch import query, show
from chainwatch.errors import StoreError, UsageError
from chainwatch.markets import ALL, asked
from chainwatch.query import Query
from chainwatch.show import Report
from chainwatch.store import Catalog, Result

STALE_AFTER_SECONDS = 3_600
ATTEMPTS = 20  # to read header and rows of one snapshot while snapshots are being stored

_LABEL = {
    "demo": "DEMO DATA from a local chain",
    "recording": "DEMO DATA from a recorded local chain",
    "imported": "IMPORTED DATA",
}


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
        if _snapshots(standing) == _snapshots(before):
            break
        newest = max((m["block_time"] for m in standing.dicts()), default=None)
        if newest is not None and values.get("p_as_of") is None:
            # One that stores faster than this reads: ask for what there is now, and stay there.
            scope, values = scope | {"p_as_of": newest}, {**values, "p_as_of": newest}
            standing = query.run(catalog, query.find("provenance"), scope)
    return found


def _snapshots(standing: Result) -> list[Any]:
    return [m["snapshot"] for m in standing.dicts()]


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
            header += _moves_lines(moved, factor)
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
            left_out = in_no_sum(catalog, {**values, **by_factor})
            header += no_sum_lines(left_out)
            meta["in_no_sum"] = left_out
    if "p_token" in params:
        header += _statement_lines(catalog, values, _chosen(chosen, values, "p_token"))
    if chosen.on == "feeds":
        feeds = _feeds(catalog, values)
        header += [_window_line(catalog, values), *(feed_line(f) for f in feeds)]
        header += _chain_labels(catalog)
        meta["feeds"] = feeds
    if chosen.on == "closes":
        scope = {k: v for k, v in values.items() if k in ("p_window", "p_as_of")}
        used = query.run(catalog, query.find("closes_used"), scope).dicts()
        header += [_closes_line(each) for each in used]
        meta["closes"] = used
    result = query.run(catalog, chosen, values) if runner is None else runner(chosen, values)
    if "p_known_at" in params:
        meta["known_at"] = values.get("p_known_at")
        header = [*_knowledge_lines(values, result), *header]
    return Report(
        result=result,
        name=chosen.name,
        title=chosen.title,
        header=header,
        meta=meta,
        shown=chosen.shown,
        bar=chosen.bar,
        notes=show.filled(chosen.notes, result),
    )


# As many bins of one way as queries/walls.sql counts.
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
        for way in ("down", "up") if bound["p_way"] == "both" else (bound["p_way"],):
            reach = bound["p_range"] if way == "up" else min(bound["p_range"], 1.0)
            # The bin at the price now may be cut, so that one more is counted.
            if reach / step > MOST_BINS - 1:
                least = reach / (MOST_BINS - 1)
                raise UsageError(
                    f"the wall would have {reach / step:,.0f} bins {way}, and {MOST_BINS} are the "
                    f"most: for {reach:.6g} of the price give a step of at least "
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
        {"snapshots": _snapshots(standing)},
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


def in_no_sum(catalog: Catalog, values: Mapping[str, object]) -> list[dict[str, Any]]:
    """The accounts that sums leave out: market, missing (all, part), reason, accounts, debt_usd.

    Sums of balances where `values` name no factor, of a wall where they do.
    """
    chosen = query.find("in_no_sum" if "p_factor" in values else "unvalued")
    scope = {k: v for k, v in values.items() if k in {p.name for p in chosen.params}}
    return query.run(catalog, chosen, scope).dicts()


def no_sum_lines(left_out: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per market that says how many accounts are in no sum or only in part, and why."""
    said: dict[tuple[str, str], list[str]] = {}
    for row in left_out:
        debt = row["debt_usd"]
        owed = "debt n/a" if debt is None else f"debt {debt:,.0f} USD"
        words = said.setdefault((row["market"], row["missing"]), [])
        words.append(f"{row['accounts']:,} {row['reason']} ({owed})")
    return [
        f"{market}: accounts in {_MISSING[missing]}: {', '.join(words)}"
        for (market, missing), words in said.items()
    ]


_MISSING = {"all": "no sum", "part": "some sums only"}


def _knowledge_lines(values: Mapping[str, object], result: Result) -> list[str]:
    """As of when things are known, and what of the figures is invented, shipped or imported."""
    lines = []
    if (known_at := values.get("p_known_at")) is not None:
        when = f"{known_at:%Y-%m-%d %H:%M}Z" if isinstance(known_at, datetime) else str(known_at)
        lines.append(f"as known on {when}: nothing published later counts")
    if "provenance" in result.columns:
        found = [row["provenance"] for row in result.dicts()]
        lines += [
            f"{found.count(kind):,} of {len(found):,} rows: {words}"
            for kind, words in _PROVENANCE.items()
            if kind in found
        ]
    return lines


_PROVENANCE = {
    "sample": "SAMPLE data, invented figures that show how the report looks",
    "reference": "figures shipped with chainwatch, each with its report",
    "imported": "from files of the user",
}


def _closes_line(used: Mapping[str, Any]) -> str:
    """Which closes of an asset a model stands on, and what of them is invented or imported."""
    asset = used["asset"]
    if not used["closes"]:
        return f"no daily closes of {asset} are stored: what moves with it is taken to stand still"
    words = _PROVENANCE.get(used["provenance"])
    return (
        f"daily closes of {asset} ({used['venue']}, source {used['source']}): {used['closes']:,} "
        f"from {used['from_day']} to {used['to_day']}, {used['moves']:,} moves of adjoining days"
        + (f"; {words}" if words else "")
    )


def _chosen(asked: query.Query, values: Mapping[str, object], name: str) -> str:
    """A text parameter's value: the one given, else the query's default."""
    default = next(p.default.strip("'") for p in asked.params if p.name == name)
    return str(values.get(name, default))


def _statement_lines(catalog: Catalog, values: Mapping[str, object], token: str) -> list[str]:
    """The newest disclosure of each kind: day, lag, age, document.

    Raises UsageError where none is stored.
    """
    scope = {"p_token": token, "p_known_at": values.get("p_known_at")}
    found = query.run(catalog, query.find("reserve_statements"), scope | {"p_last": 1}).dicts()
    if not found and token != "all":
        stored = catalog.run("SELECT DISTINCT token FROM statements ORDER BY token").rows
        known = ", ".join(str(row[0]) for row in stored)
        if not known:
            raise UsageError(
                "no reserve is stored yet: `chainwatch collect reference` loads the figures that "
                "ship, `chainwatch collect tether circle` reads the issuers' pages"
            )
        if scope["p_known_at"] is not None:
            raise UsageError(f"no disclosure of {token} was known then; stored: {known}")
        close = difflib.get_close_matches(token.upper(), [str(row[0]) for row in stored], n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"no disclosure of {token!r} is stored; {hint}stored: {known}")
    return [_statement_line(s) for s in found]


def _statement_line(s: Mapping[str, Any]) -> str:
    published = (
        f"published {s['published']} ({s['lag_days']} days later)"
        if s["published"]
        else f"seen {s['observed_at']:%Y-%m-%d}"
    )
    before = f"; the one before is of {s['previous_as_of']}" if s["previous_as_of"] else ""
    return (
        f"{s['token']} {s['kind']} ({s['evidence']}): as of {s['as_of']}, {published}, "
        f"{show.duration(s['age_seconds'])} old; {_collateral_words(s)}; "
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


def market_line(market: Mapping[str, Any]) -> str:
    """One market's block, age, coverage and verification, in words."""
    label = _LABEL.get(market["provenance"])
    if market["provenance"] == "imported":
        return (
            f"{market['market']} ({label} from {market['endpoint']}): as of "
            f"{market['block_time']:%Y-%m-%d %H:%M:%S}Z, {age_words(market['age_seconds'])}; "
            f"NOT VERIFIED, floats of somebody else; {market['accounts']:,} accounts"
            + (f", {market['accounts_failed']:,} of them n/a" * bool(market["accounts_failed"]))
        )
    who = "who ever borrowed" if market["scope"] == "borrowers" else "that ever held a balance"
    coverage = f"{market['accounts']:,} accounts {who}"
    if market["accounts_failed"]:
        coverage += f", {market['accounts_failed']:,} of them n/a"
    return (
        f"{market['market']} ({market['protocol']}{', ' + label if label else ''}): "
        f"block {market['block_number']} of {market['block_time']:%Y-%m-%d %H:%M:%S}Z, "
        f"{age_words(market['age_seconds'])}; {verified_words(market)}; {coverage}"
    )


def _feeds(catalog: Catalog, values: Mapping[str, object]) -> list[dict[str, Any]]:
    """How each feed covered the time that is looked at; UsageError where nothing is stored."""
    chosen = query.find("feeds")
    scope = {k: v for k, v in values.items() if k in {p.name for p in chosen.params}}
    found = query.run(catalog, chosen, scope).dicts()
    venue = str(values.get("p_venue", "all"))
    if not found:
        known = catalog.run(
            "SELECT venue FROM coverage UNION SELECT venue FROM exchange_liquidations "
            "UNION SELECT protocol FROM chain_liquidations ORDER BY ALL"
        )
        names = [str(row[0]) for row in known.rows]
        if not names:
            raise UsageError(
                "no liquidations have been collected yet: run "
                "`chainwatch collect binance bybit okx --for 10m`"
            )
        if venue not in ("all", *names):
            close = difflib.get_close_matches(venue, names, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise UsageError(f"nothing of venue {venue!r}; {hint}stored: {', '.join(names)}")
    return found


def _window_line(catalog: Catalog, values: Mapping[str, object]) -> str:
    scope = {k: v for k, v in values.items() if k in ("p_since", "p_until")}
    window = query.run(catalog, query.find("liquidation_window"), scope).dicts()
    if not window:
        return "no time is covered"
    since, until = window[0]["since"], window[0]["until"]
    if since >= until:
        raise UsageError(f"the end {until:%Y-%m-%d %H:%M}Z is not after {since:%Y-%m-%d %H:%M}Z")
    return (
        f"from {since:%Y-%m-%d %H:%M:%S}Z to {until:%Y-%m-%d %H:%M:%S}Z "
        f"({show.duration((until - since).total_seconds())})"
    )


def _chain_labels(catalog: Catalog) -> list[str]:
    """A line for each market whose liquidations on chain are of no real chain."""
    found = catalog.run(
        "SELECT DISTINCT s.market, s.provenance FROM snapshots AS s "
        "SEMI JOIN chain_liquidations AS c ON c.market = s.market AND c.chain_id = s.chain_id "
        "ORDER BY ALL"
    )
    return [f"{market}: {_LABEL[kind]}" for market, kind in found.rows if kind in _LABEL]


def feed_line(feed: Mapping[str, Any]) -> str:
    """One feed's coverage and standing, in words: silence is a fault and is said first."""
    demo = "DEMO DATA from a loopback exchange, " if feed["provenance"] == "demo" else ""
    covered = show.text_cell("covered_share", feed["covered_share"])
    state = feed["state"]
    words = [f"covered {covered} of the time"]
    if feed["stale_share"]:
        words.append(f"stale {show.text_cell('stale_share', feed['stale_share'])}")
    if feed["rejecting_share"]:
        words.append(f"rejecting {show.text_cell('rejecting_share', feed['rejecting_share'])}")
    if feed["subscribed"] is not None:
        words.append(f"{feed['subscribed']:,} of {feed['listed'] or 0:,} contracts")
    rejects = f"{feed['rejects']:,} rejects"
    if feed["cut"]:
        of_spans = f"{feed['frames']:,} frames" + (f" and {rejects}" if feed["rejects"] else "")
        words += [f"{feed['rows']:,} liquidations", f"{of_spans} in the spans that touch it"]
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
        return f"{show.duration(seconds)} ahead of this machine's clock"
    return f"{show.duration(seconds)} old"


def verified_words(market: Mapping[str, Any]) -> str:
    """What is known of a snapshot's verification: k/n equal, or that nobody looked."""
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
    """A warning per market whose block is old; demo and imported data are not expected to move."""
    return [
        f"{f['source']} is {f['state']}: {f['reason'] or 'no reason known'}"
        for f in report.meta.get("feeds", [])
        if f["provenance"] == "live" and f["state"] in ("down", "stale", "rejecting")
    ] + [
        f"{m['market']} is {show.duration(m['age_seconds'])} old: "
        f"`chainwatch collect {m['protocol']} --market {m['market']}` reads it anew"
        for m in report.meta.get("markets", [])
        if m["provenance"] == "chain" and m["age_seconds"] > STALE_AFTER_SECONDS
    ]


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
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise UsageError(f"no snapshot of market {name!r}; {hint}stored: {', '.join(known)}")
    late = [name for name in wanted if name not in (*found, ALL)] if found else []
    what = f"no snapshot of {', '.join(late)}" if late else "no snapshot"
    raise UsageError(f"{what} is as old as that: `chainwatch status` shows what there is")


MARKET = "MARKET"


def axis_lines(axes: Sequence[Mapping[str, Any]], factor: str, *, split: bool = False) -> list[str]:
    """What prices of a factor mean where its markets have different ones; `axes`: rows of axes
    that have a price."""
    found = {str(row["market"]): row for row in axes}
    prices = [row["price"] for row in found.values()]
    if not prices or min(prices) == max(prices):
        return []
    low, high, whose = show.price(min(prices)), show.price(max(prices)), found[ALL]["axis_market"]
    differ = f"the markets' prices of {factor} differ ({low} to {high}): "
    if split:
        return [f"{differ}the rows of each market stand at its own"]
    return [
        f"{differ}sums stand at {whose}'s {high}, each trigger as far from it as from its own "
        "market's price"
    ]


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
    lower = {name.lower(): name for name in known}
    for name in wanted:
        if name.lower() not in lower:
            close = difflib.get_close_matches(name.lower(), [*lower, MARKET.lower()], n=1)
            hint = f"did you mean {lower.get(close[0], MARKET)}? " if close else ""
            raise UsageError(
                f"no factor is called {name!r}; {hint}known: {', '.join(known)}; "
                f"{MARKET} moves all volatile ones"
            )


def _beta_words(beta: float | None) -> str:
    if beta is None:
        return " × n/a (divided by it)"
    return f" × {beta:g}" if beta != 1 else ""


def _moves_lines(moved: Result, factor: str) -> list[str]:
    """What moves in each market, and by how much."""
    whole = factor.upper() == MARKET
    rows = sorted(moved.dicts(), key=lambda row: (row["market"], row["symbol"], row["asset"]))
    lines = []
    for market in dict.fromkeys(row["market"] for row in rows):
        here = [r for r in rows if r["market"] == market and r["factor"] is not None]
        if not here and not whole:
            continue
        names = ", ".join(f"{r['symbol']}" + _beta_words(r["beta"]) for r in here)
        if whole:
            still = [r["symbol"] for r in rows if r["market"] == market and r["factor"] is None]
            rest = f"; {', '.join(still)} {'stays' if len(still) == 1 else 'stay'}" if still else ""
            lines.append(f"{MARKET} (1 = prices now) on {market} moves {names or 'nothing'}{rest}")
            continue
        value = next((r["factor_price"] for r in here if r["factor_price"] is not None), None)
        level = (
            "n/a (its feed gives no usable price)"
            if value is None
            else show.price(value) + (" USD" if here[0]["kind"] != "ratio" else "")
        )
        lines.append(f"{here[0]['factor']} at {level} on {market} moves {names}; all else stays")
    return lines
