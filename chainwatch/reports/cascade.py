"""Reports of one factor's cascade: break levels, landings of outside falls, a price explained.

Figures are computed in columns, with the rows of the queries of the same names, or by a query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from chainwatch.errors import UsageError
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.reports import cascade_columns, cascade_rows
from chainwatch.reports.betas import betas_text
from chainwatch.reports.cascade_basis import CascadeTerms, basis
from chainwatch.reports.needs import Heading
from chainwatch.reports.run import described
from chainwatch.show.document import Report
from chainwatch.units import price_text

GROUPS_SHOWN = 5  # per depth, for people
DROPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
CHART_RANGE = 0.3
CHART_STEPS = 60


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


def break_levels(catalog: Catalog, terms: CascadeTerms, top: int | None) -> Report:
    """Break levels at each depth of the band, and where outside falls of 1 to 50 % land."""
    stored = basis(catalog, terms)
    columns = cascade_columns.read(catalog, terms)
    outside = [(drop, columns.spot * (1 - drop)) for drop in DROPS]
    levels, band = cascade_rows.break_levels_and_band(columns, terms, top, outside)
    made = described(query.find("break_levels"), levels, stored.heading)
    shown = list(made.shown)
    if columns.deviation:
        shown[2:2] = ["break_price_late=at_latest"]
    limited = [f"the {top} groups with most USD at each depth"] if top is not None else []
    return replace(
        made,
        name="cascade",
        title=f"{made.title} ({terms.factor})",
        shown=shown,
        bar="",
        notes=[*limited, *made.notes],
        parts=[replace(described(query.find("landing_by_depth"), band, Heading()), name="band")],
    )


def _run(
    catalog: Catalog, name: str, values: Mapping[str, object], heading: Heading | None = None
) -> Report:
    """A query's report under the heading of a cascade."""
    definition = query.find(name)
    return described(definition, query.run(catalog, definition, values), heading or Heading())


def fall_to(
    catalog: Catalog, terms: CascadeTerms, price: float | None, drop: float | None
) -> Report:
    """One outside fall, to a price or by a share: where it lands at each depth.

    Raises UsageError where the price is not below today's.
    """
    stored = basis(catalog, terms)
    target = stored.spot * (1 - drop) if drop is not None else price
    assert target is not None
    if target >= stored.spot:
        raise UsageError(
            f"--to: expected a price below {price_text(stored.spot)}, today's price of "
            f"{terms.factor}, got {price_text(target)}"
        )
    columns = cascade_columns.read(catalog, terms)
    landed = cascade_rows.landing_prices(
        columns, (float("inf"), *terms.depths), [(1 - target / columns.spot, target)]
    )
    made = described(query.find("landing_prices"), landed, stored.heading)
    title = f"{made.title}: {terms.factor} to {price_text(target)}"
    return replace(made, name="cascade", title=title)


def explain_price(
    catalog: Catalog, terms: CascadeTerms, price: float, width: float = 0.02
) -> Report:
    """What lies around a price, as sentences and as rows.

    Raises UsageError where the price is not below today's.
    """
    stored = basis(catalog, terms)
    if price >= stored.spot:
        raise UsageError(
            f"--explain: expected a price below {price_text(stored.spot)}, today's price of "
            f"{terms.factor}, got {price_text(price)}"
        )
    around = {"p_price": price, "p_width": width}
    betas = {"p_betas": betas_text(terms.betas)}
    made = _run(catalog, "at_risk_near_price", terms.places | around | betas, stored.heading)
    columns = cascade_columns.read(catalog, terms)
    level = cascade_rows.price_level(columns, terms.depth_scale, price, width).dicts()
    words = sentences(made.result.dicts(), level[0], terms, width)
    return replace(
        made,
        name="explain",
        title=f"What lies within {width:.0%} of {terms.factor} at {price_text(price)}",
        header=[*made.header, "", *words, ""],
        meta={**made.meta, "price_level": level},
    )


def sentences(
    rows: Sequence[Mapping[str, Any]], level: Mapping[str, Any], terms: CascadeTerms, width: float
) -> list[str]:
    """The rows of at_risk_near_price and price_level as sentences."""
    return [
        *_accounts_near(rows, level["price"], terms.token, width),
        _depth_down_to(level, terms.token),
        _landing_from(level, terms.token),
    ]


def _accounts_near(
    rows: Sequence[Mapping[str, Any]], price: float, token: str, width: float
) -> list[str]:
    low, high = price_text(price * (1 - width)), price_text(price * (1 + width))
    total = next(row for row in rows if row["part"] == "all")
    if not total["accounts"]:
        return [f"No account's trigger price lies between {low} and {high}."]
    largest = next(row for row in rows if row["part"] == "account")
    loops = next(row for row in rows if row["part"] == "loops")
    return [
        f"Between {low} and {high} {_count(total['accounts'], 'account')} can lose up to "
        f"{total['usd']:,.0f} USD of collateral, {total['units']:,.4g} {token} of it.",
        f"Markets: {_shares(rows, 'market')}. They hold {_shares(rows, 'collateral')} and owe "
        f"{_shares(rows, 'debt')}.",
        f"The largest account is {largest['part_share']:.1%} of it; loops (debt that moves "
        f"with its collateral) are {loops['part_share']:.1%}, "
        f"{_count(loops['accounts'], 'account')}.",
    ]


def _depth_down_to(level: Mapping[str, Any], token: str) -> str:
    if level["bid_units"] is None:
        return "The bid depth down to there is n/a (no order book is stored)."
    reach = level["reach"]
    limit = "" if reach >= level["drop_share"] else f", as far as books were shown ({reach:.1%})"
    return (
        f"From today's {price_text(level['spot_price'])} down to {price_text(level['price'])} it "
        f"is {level['drop_share']:.1%}: the bid depth within that distance of the books' mid "
        f"price is {level['bid_units']:,.6g} {token}{limit}."
    )


def _landing_from(level: Mapping[str, Any], token: str) -> str:
    if level["break_price"] is None:
        return "No trigger price lies there or below: no outside price starts a cascade."
    gain, fed, rounds = level["loop_gain"], level["fed_accounts"], level["rounds"]
    # Nothing is said of what rounds to nothing.
    back = level["bought_units"] > 1e-9 * level["sold_units"]
    bought = f", less {level['bought_units']:,.4g} bought back," if back else ""
    return (
        f"MODEL: an outside price of {price_text(level['break_price'])} "
        f"({level['move_share']:+.1%}) reaches the trigger price "
        f"{price_text(level['trigger_price'])}; from there the forced sales of "
        f"{level['sold_units']:,.4g} {token}{bought} ({level['usd']:,.0f} USD seized, "
        f"{_count(level['accounts'], 'account')}) bring it to "
        f"{price_text(level['landing_price'])}. "
        f"Loop gain there {'n/a' if gain is None else f'{gain:.2g}'}: "
        + (
            f"the fall feeds itself in a chain of {rounds:,} rounds of sales, each triggered by "
            f"the one before, with {_count(fed, 'further account')}."
            if rounds > 1
            else "the sales trigger no further ones, so the fall does not feed itself."
        )
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _shares(rows: Sequence[Mapping[str, Any]], part: str, most: int = 4) -> str:
    named = [row for row in rows if row["part"] == part]
    words = [f"{row['name']} {row['part_share']:.0%}" for row in named[:most] if row["part_share"]]
    rest = len(named) - most
    return ", ".join(words) + (f" and {rest} more" if rest > 0 else "")


def drawing(catalog: Catalog, terms: CascadeTerms) -> Drawing:
    """What a chart of a factor shows: its wall, break levels, and landings at each depth."""
    stored = basis(catalog, terms)
    wall = query.run(catalog, query.find("walls"), terms.places | {"p_range": CHART_RANGE}).dicts()
    columns = cascade_columns.read(catalog, terms)
    drops = [float(f"{n * CHART_RANGE / CHART_STEPS:.6g}") for n in range(1, CHART_STEPS + 1)]
    levels, band = cascade_rows.break_levels_and_band(
        columns, terms, 3, [(drop, columns.spot * (1 - drop)) for drop in drops]
    )
    return Drawing(
        factor=terms.factor,
        spot=stored.spot,
        now=next(row for row in wall if row["direction"] == "now"),
        wall=[row for row in wall if row["direction"] == "down"],
        levels=[
            row for row in levels.dicts() if row["break_price"] >= stored.spot * (1 - CHART_RANGE)
        ],
        band=band.dicts(),
        header=stored.heading.lines,
    )
