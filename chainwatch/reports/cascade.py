"""Cascade reports: the queries that compute them, and what is said of what they stand on.

Nothing is computed here but the rounds of `several`, each of which is one query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.errors import UsageError
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import Result
from chainwatch.reports import headers, run
from chainwatch.show.document import Report
from chainwatch.show.values import duration, price_text
from chainwatch.text import suggest

BAND = (1.0, 0.5, 0.1, 0.02)
GROUPS_SHOWN = 5  # per depth, for people
# Books whose mid price lies further from the oracle's price are of something else.
NEAR_ORACLE = 0.2
ROUNDS = 200
CHART_RANGE = 0.3
CHART_STEPS = 60
SETTLED = 1e-9
# A rise by less than this share is none.
TURNED = 1e-6


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a cascade is asked under; shares as fractions, prices in the factor's own unit.

    `max_age` is the oldest an order book may be, in seconds, None for any age.
    """

    factor: str
    scope: Mapping[str, object] = {}
    betas: Mapping[str, float] = {}
    depth_scale: float = 1.0
    sigma: float = 0.03
    y: float = 1.0
    adv: float | None = None
    sold_share: float = 1.0
    absorbed: str = "later"
    oracle_deviation: float = 0.0
    max_age: float | None = None

    @property
    def where(self) -> dict[str, object]:
        """The parameters that choose snapshots and books."""
        found = {"p_factor": self.factor, **self.scope}
        return found if self.max_age is None else found | {"p_max_age": self.max_age}

    @property
    def values(self) -> dict[str, object]:
        """The parameters of all cascade queries but the scales."""
        found = self.where | {
            "p_sigma": self.sigma,
            "p_y": self.y,
            "p_sold_share": self.sold_share,
            "p_absorbed": self.absorbed,
            "p_betas": betas_text(self.betas),
        }
        return found if self.adv is None else found | {"p_adv": self.adv}

    @property
    def scales(self) -> str:
        return ",".join(repr(self.depth_scale * scale) for scale in BAND)


def betas_text(betas: Mapping[str, float]) -> str:
    """The form in which queries take them: eth=1.2,sol=1.5."""
    return ",".join(f"{name.lower()}={value:.12g}" for name, value in betas.items())


class Drawing(msgspec.Struct, frozen=True):
    """Rows that a chart draws: of walls, break_levels and landing_by_depth; and the header.

    `wall` lies below the price; `now` is what is liquidatable already.
    """

    factor: str
    spot: float
    now: dict[str, Any]
    wall: list[dict[str, Any]]
    levels: list[dict[str, Any]]
    band: list[dict[str, Any]]
    header: list[str]


# --- what it stands on --------------------------------------------------------------------------


def standing(catalog: Catalog, terms: Terms) -> tuple[list[str], dict[str, Any], float]:
    """Header lines, what machines are told of them, and the factor's price now.

    Raises UsageError without a snapshot, for an unknown factor or beta, where no order book is
    stored (unless a daily volume is given), where all are too old, or of another thing.
    """
    markets = dict(terms.scope)
    factors = query.run(catalog, query.find("factors_at"), markets).dicts()
    known = {str(row["factor"]).lower(): str(row["factor"]) for row in factors}
    for name in terms.betas:
        if known and name.lower() not in known:
            raise UsageError(
                f"--beta: no factor is called {name!r}; {suggest(name, known.values())}"
                f"known: {', '.join(sorted(known.values()))}"
            )
    moving = {"p_factor": terms.factor, "p_betas": betas_text(terms.betas)}
    made = run.make(catalog, "nearest", {**moving, **markets, "p_limit": 0})
    prices = [
        float(row["factor_price"])
        for row in factors
        if str(row["factor"]).lower() == terms.factor.lower() and row["factor_price"] is not None
    ]
    if not prices:
        raise UsageError(f"{terms.factor} has no usable price: a cascade needs one")
    spot = max(prices)
    books = _books(catalog, terms, spot)
    absorbing = _absorbing(catalog, terms)
    header = [
        *made.header,
        *headers.axis_lines(made.meta["axes"], terms.factor),
        *(_book_line(book) for book in books),
        *(_reserves_line(each) for each in absorbing),
        _model_line(catalog, terms),
    ]
    meta = dict(made.meta) | {"depth": books, "model": _assumptions(terms)}
    if absorbing:
        meta["absorbing"] = absorbing
    return header, meta, spot


def _books(catalog: Catalog, terms: Terms, spot: float) -> list[dict[str, Any]]:
    """One entry per order book that counts, with its age, reach and depth."""
    anyhow = query.run(
        catalog,
        query.find("books_at"),
        {"p_factor": terms.factor, **_time_of(terms)},
    ).dicts()
    ask = f"`chainwatch collect depth --only {terms.factor}`"
    if not anyhow:
        if terms.adv is not None:
            return []
        raise UsageError(
            f"no order book of {terms.factor} is stored: run {ask}, or give --adv UNITS for the "
            "square-root law alone"
        )
    fresh = [b for b in anyhow if terms.max_age is None or b["age_seconds"] <= terms.max_age]
    if not fresh:
        age = duration(min(b["age_seconds"] for b in anyhow))
        raise UsageError(
            f"the newest order book of {terms.factor} is {age} old: {ask} reads it anew, "
            "--max-depth-age 2d takes it all the same"
        )
    for book in fresh:
        if abs(book["mid_price"] / spot - 1) > NEAR_ORACLE:
            raise UsageError(
                f"the book {book['venue']} {book['symbol']} stands at "
                f"{price_text(book['mid_price'])}, "
                f"the oracle's {terms.factor} at {price_text(spot)}: it is of another symbol, or "
                "of another time than the snapshot"
            )
    return fresh


def _time_of(terms: Terms) -> dict[str, object]:
    return {k: v for k, v in terms.scope.items() if k == "p_as_of"}


def _book_line(book: Mapping[str, Any]) -> str:
    label = ", DEMO DATA" if book["provenance"] == "demo" else ""
    volume = book["volume_24h"]
    traded = "24 h volume n/a" if volume is None else f"{volume:,.6g} traded in 24 h"
    return (
        f"depth {book['venue']} {book['symbol']} ({book['kind']}{label}): "
        f"{book['time']:%Y-%m-%d %H:%M:%S}Z, {headers.age_words(book['age_seconds'])}; "
        f"mid price {price_text(book['mid_price'])}; bids of {book['bid_units']:,.6g} "
        f"{book['factor'].split('/')[0]} within {book['bid_reach']:.1%}, as far as it was shown; "
        f"{traded}"
    )


def _absorbing(catalog: Catalog, terms: Terms) -> list[dict[str, Any]]:
    """The markets that take whole accounts over, with their own reserves and the target."""
    known = ("market", "reserves_usd", "target_reserves_usd")
    scope = {k: v for k, v in terms.scope.items() if k in ("p_market", "p_as_of")}
    found = query.run(catalog, query.find("snapshots_at"), scope).dicts()
    return [
        {name: row[name] for name in known}
        for row in sorted(found, key=lambda row: str(row["market"]))
        if row["close_rule"] == "absorb"
    ]


def _reserves_line(market: Mapping[str, Any]) -> str:
    """Whether a market's reserves let it sell what it absorbs, or why that is not known."""
    own, target = market["reserves_usd"], market["target_reserves_usd"]
    if own is not None and target is not None:
        sells = "it does not sell what it absorbs" if own >= target else "what it absorbs is sold"
        figures = f"{round(own):,} USD of a target of {round(target):,}"
        return f"{market['market']}: reserves {figures}: {sells}"
    if own is None and target is None:
        why = "they were not read, or their asset has no USD price"
    else:
        why = f"{'getReserves' if own is None else 'targetReserves'} gave no answer"
    return f"{market['market']}: reserves n/a ({why}): counted as below their target"


def _assumptions(terms: Terms) -> dict[str, Any]:
    return {
        "depth_scale": terms.depth_scale,
        "sigma_daily": terms.sigma,
        "y": terms.y,
        "adv": terms.adv,
        "sold_share": terms.sold_share,
        "absorbed": terms.absorbed,
        "oracle_deviation": terms.oracle_deviation,
        "betas": dict(terms.betas),
        "permanence": 1.0,
    }


def _model_line(catalog: Catalog, terms: Terms) -> str:
    (volume,) = query.run(
        catalog,
        query.find("traded_daily"),
        {k: v for k, v in terms.where.items() if k != "p_market"},
    ).dicts()
    adv = terms.adv if terms.adv is not None else volume["units"]
    beyond = (
        f"beyond them {terms.y:g} × {terms.sigma:.1%} a day × √(units / {adv:,.6g} a day)"
        if adv is not None
        else "beyond them their last slope goes on (no daily volume is known)"
    )
    words = [
        f"MODEL: the books' bids × {terms.depth_scale:g} are all there is (a lower bound), "
        + beyond,
        f"{terms.sold_share:.0%} of what is seized is sold at once and for good",
        f"what is absorbed by a protocol is sold {terms.absorbed}",
    ]
    if terms.oracle_deviation:
        words.append(f"oracles answer up to {terms.oracle_deviation:.2%} late")
    if terms.betas:
        moves = ", ".join(f"{name.upper()} × {beta:g}" for name, beta in terms.betas.items())
        words.append(f"with it move {moves}")
    return "; ".join(words)


# --- reports ------------------------------------------------------------------------------------


def breaks(catalog: Catalog, terms: Terms, top: int | None) -> Report:
    """Break levels at each depth of the band, and where outside falls of 1 to 50 % land."""
    header, meta, _ = standing(catalog, terms)
    chosen = query.find("break_levels")
    own = {
        "p_scales": terms.scales,
        "p_oracle_deviation": terms.oracle_deviation,
        "p_top": top,
    }
    found = query.run(catalog, chosen, terms.values | own)
    shown = list(chosen.shown)
    if terms.oracle_deviation:
        shown[2:2] = ["break_price_late=at_latest"]
    return Report(
        result=found,
        name="cascade",
        title=f"{chosen.title} ({terms.factor})",
        header=header,
        meta=meta,
        shown=shown,
        notes=[
            *([f"the {top} groups with most USD at each depth"] if top is not None else []),
            *chosen.notes,
        ],
        parts=[_band(catalog, terms)],
    )


def _band(catalog: Catalog, terms: Terms, price: float | None = None) -> Report:
    chosen = query.find("landing_by_depth")
    own: dict[str, object] = {"p_depth_scale": terms.depth_scale}
    if price is not None:
        own["p_price"] = price
    return Report(
        result=query.run(catalog, chosen, terms.values | own),
        name="band",
        title=chosen.title,
        shown=chosen.shown,
        notes=chosen.notes,
    )


def fall_to(catalog: Catalog, terms: Terms, price: float | None, drop: float | None) -> Report:
    """One outside fall, to a price or by a share: where it lands at each depth.

    Raises UsageError where the price is not below today's.
    """
    header, meta, spot = standing(catalog, terms)
    target = spot * (1 - drop) if drop is not None else price
    assert target is not None
    if target >= spot:
        raise UsageError(
            f"--to {price_text(target)} is not below today's price of {terms.factor}, "
            f"{price_text(spot)}: a fall is asked for"
        )
    chosen = query.find("landing_prices")
    scales = f"inf,{terms.scales}"
    return Report(
        result=query.run(catalog, chosen, terms.values | {"p_scales": scales, "p_price": target}),
        name="cascade",
        title=f"{chosen.title}: {terms.factor} to {price_text(target)}",
        header=header,
        meta=meta,
        shown=chosen.shown,
        notes=chosen.notes,
    )


def explain(catalog: Catalog, terms: Terms, price: float, width: float = 0.02) -> Report:
    """What lies around a price, in plain words and as rows.

    Raises UsageError where the price is not below today's.
    """
    header, meta, spot = standing(catalog, terms)
    if price >= spot:
        raise UsageError(
            f"--explain {price_text(price)} is not below today's price of {terms.factor}, "
            f"{price_text(spot)}"
        )
    chosen = query.find("at_risk_near_price")
    around = {"p_price": price, "p_width": width}
    places = {k: v for k, v in terms.where.items() if k != "p_max_age"}
    found = query.run(catalog, chosen, places | around | {"p_betas": betas_text(terms.betas)})
    against = query.run(
        catalog,
        query.find("price_level"),
        terms.values | around | {"p_scales": repr(terms.depth_scale)},
    )
    return Report(
        result=found,
        name="explain",
        title=f"What lies within {width:.0%} of {terms.factor} at {price_text(price)}",
        header=[*header, "", *story(found.dicts(), against.dicts()[0], terms, width), ""],
        meta=meta | {"against": against.dicts()},
        shown=chosen.shown,
        notes=chosen.notes,
    )


def story(
    rows: Sequence[Mapping[str, Any]], against: Mapping[str, Any], terms: Terms, width: float
) -> list[str]:
    """The rows of at_risk_near_price and price_level as sentences."""
    price, spot = against["price"], against["spot_price"]
    token = terms.factor.split("/")[0]
    low, high = price_text(price * (1 - width)), price_text(price * (1 + width))
    total = next(row for row in rows if row["part"] == "all")
    if not total["accounts"]:
        lines = [f"Nobody triggers between {low} and {high}."]
    else:
        lines = [
            f"Between {low} and {high} {_count(total['accounts'], 'account')} can lose up to "
            f"{total['usd']:,.0f} USD of collateral, {total['units']:,.4g} {token} of it.",
            f"Markets: {_shares(rows, 'market')}. They hold {_shares(rows, 'collateral')} and owe "
            f"{_shares(rows, 'debt')}.",
        ]
        largest = next(row for row in rows if row["part"] == "account")
        loops = next(row for row in rows if row["part"] == "loops")
        lines.append(
            f"The largest account is {largest['part_share']:.1%} of it; loops (debt that moves "
            f"with its collateral) are {loops['part_share']:.1%}, "
            f"{_count(loops['accounts'], 'account')}."
        )
    reach = against["reach"]
    if against["bid_units"] is None:
        lines.append("What depth stands against it is n/a (no order book is stored).")
    else:
        seen = "" if reach >= against["drop_share"] else f" as far as books were shown, {reach:.1%}"
        lines.append(
            f"From today's {price_text(spot)} down to {price_text(price)} it is "
            f"{against['drop_share']:.1%}: within as much below the books' mid price stood bids "
            f"for {against['bid_units']:,.6g} {token}{seen}."
        )
    if against["break_price"] is None:
        lines.append("Nothing triggers there or below: no outside price starts a fall.")
        return lines
    own = (
        f"from there its own sales of {against['sold_units']:,.4g} {token} "
        f"({against['usd']:,.0f} USD seized, {_count(against['accounts'], 'account')}) "
        f"bring it to {price_text(against['landing_price'])}"
    )
    gain, fed = against["loop_gain"], against["fed_accounts"]
    feeds = "n/a" if gain is None else f"{gain:.2g}"
    lines.append(
        f"MODEL: an outside price of {price_text(against['break_price'])} "
        f"({against['move_share']:+.1%}) fires what begins at "
        f"{price_text(against['trigger_price'])}; {own}. Loop gain there {feeds}: "
        + (
            f"its sales fire {_count(fed, 'further account')}, so the fall feeds itself."
            if fed
            else "its sales fire no further account, so the fall does not feed itself."
        )
    )
    return lines


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _shares(rows: Sequence[Mapping[str, Any]], part: str, most: int = 4) -> str:
    found = [row for row in rows if row["part"] == part]
    words = [f"{row['name']} {row['part_share']:.0%}" for row in found[:most] if row["part_share"]]
    rest = len(found) - most
    return ", ".join(words) + (f" and {rest} more" if rest > 0 else "")


def drawing(catalog: Catalog, terms: Terms) -> Drawing:
    """What a chart of a factor shows: its wall, break levels, and landings at each depth."""
    header, _, spot = standing(catalog, terms)
    places = {k: v for k, v in terms.where.items() if k != "p_max_age"}
    wall = query.run(catalog, query.find("walls"), places | {"p_range": CHART_RANGE}).dicts()
    levels = query.run(
        catalog, query.find("break_levels"), terms.values | {"p_scales": terms.scales, "p_top": 3}
    ).dicts()
    drops = ",".join(f"{n * CHART_RANGE / CHART_STEPS:.6g}" for n in range(1, CHART_STEPS + 1))
    band = query.run(
        catalog,
        query.find("landing_by_depth"),
        terms.values | {"p_depth_scale": terms.depth_scale, "p_drops": drops},
    ).dicts()
    return Drawing(
        factor=terms.factor,
        spot=spot,
        now=next(row for row in wall if row["direction"] == "now"),
        wall=[row for row in wall if row["direction"] == "down"],
        levels=[row for row in levels if row["break_price"] >= spot * (1 - CHART_RANGE)],
        band=band,
        header=header,
    )


# --- several factors at once --------------------------------------------------------------------


def several(catalog: Catalog, terms: Sequence[Terms], drops: Mapping[str, float]) -> Report:
    """Several factors that fall at once: the vector fixed point at each depth of the band.

    Each round is one query per factor: what has fired on the straight way from today's prices to
    the current ones, sold into (or bought from) that factor's own books. Where the rounds do not
    settle the rows say so and carry no number.
    """
    header: list[str] = []
    meta: dict[str, Any] = {}
    spots: dict[str, float] = {}
    for each in terms:
        lines, said, spot = standing(catalog, each)
        header += [line for line in lines if line not in header]
        meta |= said | {name: _added(meta, said, name, each.factor) for name in _OF_A_FACTOR}
        spots[each.factor] = spot
    rows = []
    for scale in (float("inf"), *BAND):
        rows += _vector(catalog, terms, drops, spots, scale)
    columns = (
        ("depth", "VARCHAR"),
        ("factor", "VARCHAR"),
        ("drop_share", "DOUBLE"),
        ("outside_price", "DOUBLE"),
        ("landing_price", "DOUBLE"),
        ("total_drop_share", "DOUBLE"),
        ("sold_units", "DOUBLE"),
        ("bought_units", "DOUBLE"),
        ("usd", "DOUBLE"),
        ("accounts", "BIGINT"),
        ("rounds", "BIGINT"),
        ("state", "VARCHAR"),
    )
    return Report(
        result=Result(tuple(c for c, _ in columns), tuple(t for _, t in columns), rows),
        name="cascade",
        title="Several factors at once: where their prices come to rest together",
        header=header,
        meta=meta,
        notes=[
            "each account fires where the straight way from today's prices to these crosses its "
            "threshold; USD: all that is seized, the same in each factor's row",
            "MODEL: what is seized is sold and what is repaid is bought in each factor's own books",
        ],
    )


# What machines are told of one factor: of several, each entry says of which.
_OF_A_FACTOR = ("axes", "moves", "excluded_accounts", "depth")


def _added(
    meta: Mapping[str, Any], said: Mapping[str, Any], name: str, factor: str
) -> list[dict[str, Any]]:
    """The entries so far and those of one more factor, each once."""
    known: list[dict[str, Any]] = list(meta.get(name, ()))
    more = ({"factor": factor} | entry for entry in said.get(name, ()))
    return known + [entry for entry in more if entry not in known]


def _bought_back(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether what is bought more outweighs what is sold less.

    A price may also rise a little from round to round with nothing bought: on another way to these
    prices, accounts trigger elsewhere, where the same debt is worth fewer units.
    """
    more: float = after["bought_units"] - before["bought_units"]
    less: float = before["sold_units"] - after["sold_units"]
    return more > max(less, 0.0)


def _vector(
    catalog: Catalog,
    terms: Sequence[Terms],
    drops: Mapping[str, float],
    spots: Mapping[str, float],
    scale: float,
) -> list[tuple[Any, ...]]:
    asked = query.find("sales_to_price")
    outside = {t.factor: spots[t.factor] * (1 - drops[t.factor]) for t in terms}
    now = dict(outside)
    state, rounds = f"not converged in {ROUNDS} rounds", 0
    told: dict[str, dict[str, Any]] = {}
    for rounds in range(1, ROUNDS + 1):
        before, last = dict(now), dict(told)
        for each in terms:
            x = now[each.factor] / spots[each.factor]
            direction = {
                other.factor: (1 - now[other.factor] / spots[other.factor]) / (1 - x)
                for other in terms
                if other is not each
            }
            values = each.values | {
                "p_betas": betas_text(dict(each.betas) | direction),
                "p_x": x,
                "p_scale": each.depth_scale * scale,
            }
            (told[each.factor],) = query.run(catalog, asked, values).dicts()
            now[each.factor] = outside[each.factor] * (1 - told[each.factor]["impact"])
        moved = max(abs(now[f] / before[f] - 1) for f in now)
        if rounds > 1 and any(
            now[f] > before[f] * (1 + TURNED) and _bought_back(last[f], told[f]) for f in now
        ):
            state = "not converged: purchases turn the fall back"
            break
        if any(now[f] >= spots[f] for f in now):
            state = "not converged: purchases outweigh the fall"
            break
        if moved < SETTLED:
            state = "ok"
            break
    label = "no impact" if scale == float("inf") else f"× {terms[0].depth_scale * scale:g}"
    found: list[tuple[Any, ...]] = []
    for each in terms:
        said, f = told[each.factor], each.factor
        figures = (
            (
                now[f],
                1 - now[f] / spots[f],
                said["sold_units"],
                said["bought_units"],
                said["usd"],
                said["accounts"],
            )
            if state == "ok"
            else (None,) * 6
        )
        found.append((label, f, drops[f], outside[f], *figures, rounds, state))
    return found
