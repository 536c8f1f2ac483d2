"""The rows of `break_levels`, `landing_prices` and `landing_by_depth` from a cascade in columns.

The queries of these names are the reference: tests hold this to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import Result
from chainwatch.reports.cascade_basis import CascadeTerms
from chainwatch.reports.cascade_columns import Cascade, Groups, debts, groups, read

AT_SPOT = 1 - 1e-12  # a group that fires at the price now


def break_levels(cascade: Cascade, scales: Sequence[float], top: int | None) -> Result:
    """The rows of the query `break_levels`."""
    rows: list[tuple[Any, ...]] = []
    for scale in sorted(scales, reverse=True):
        every = groups(cascade, scale)
        rows += _level_rows(cascade, scale, every, _largest(every.usd, top))
    return _result("break_levels", rows)


def break_levels_and_band(
    cascade: Cascade,
    terms: CascadeTerms,
    top: int | None,
    outside: Sequence[tuple[float, float]],
) -> tuple[Result, Result]:
    """The rows of `break_levels` and of `landing_by_depth`, of which each depth is made once."""
    rows: list[tuple[Any, ...]] = []
    landings = []
    for scale in (float("inf"), *terms.depths):
        every = groups(cascade, scale)
        landings.append(_landings(every, outside))
        if scale < float("inf"):
            rows += _level_rows(cascade, scale, every, _largest(every.usd, top))
    return _result("break_levels", rows), _band(cascade, landings)


def _level_rows(cascade: Cascade, scale: float, every: Groups, kept: Any) -> list[tuple[Any, ...]]:
    """The rows of some groups of a depth."""
    import numpy as np

    spot = cascade.spot
    late = np.nan if cascade.deviation is None else 1.0 - cascade.deviation
    made = Groups(*(column[kept] for column in every))
    unsold = every.units - every.sold
    with np.errstate(all="ignore"):
        columns = {
            "depth": _depth_words(scale),
            "depth_scale": scale,
            "group": kept + 1,
            "direction": np.where(made.level >= spot * AT_SPOT, "now", "down"),
            "break_price": made.level,
            "break_price_late": made.level * late,
            "move_share": made.level / spot - 1.0,
            "trigger_price": made.trigger_price,
            "landing_price": made.landing_price,
            "landing_price_late": made.landing_price * late,
            "endogenous_share": 1.0 - made.landing_price / made.trigger_price,
            "loop_gain": made.loop_gain,
            "accounts": made.accounts,
            "fed_accounts": made.fed_accounts,
            "rounds": made.rounds,
            "new_accounts": made.new_accounts,
            "steps": made.steps,
            "units": made.units,
            "sold_units": made.sold,
            "unsold_units": unsold[kept],
            "bought_units": made.bought,
            "usd": made.usd,
            "top1_share": made.top1_share,
            "amplification": np.where(
                made.level < spot * AT_SPOT,
                (spot - made.landing_price) / (spot - made.level),
                np.nan,
            ),
            "cum_sold_units": np.cumsum(every.sold)[kept],
            "cum_bought_units": np.cumsum(every.bought)[kept],
            "cum_units": np.cumsum(every.units)[kept],
            "cum_unsold_units": np.cumsum(unsold)[kept],
            "cum_usd": np.cumsum(every.usd)[kept],
            "cum_accounts": np.cumsum(every.new_accounts)[kept],
            "spot_price": spot,
            "axis_market": cascade.axis_market,
        }
    return _rows(columns, len(kept))


def mart_break_levels(catalog: Catalog, values: Mapping[str, Any]) -> Result:
    """The rows of the query `mart_break_levels`. Raises UsageError, StoreError."""
    terms = CascadeTerms(factor=values["p_factor"], as_of=values["p_as_of"])
    cascade = read(catalog, terms)
    every = groups(cascade, 1.0)
    kept = _largest(every.usd, values["p_top"])
    rows = _result("break_levels", _level_rows(cascade, 1.0, every, kept)).dicts()
    others = {
        "factor": terms.factor,
        "axis_price": cascade.spot,
        "unlisted_groups": len(every.level) - len(rows),
        # No difference of sums: where all groups are listed nothing is left.
        "unlisted_usd": float(every.usd.sum()) - sum(row["usd"] for row in rows)
        if len(every.level) > len(rows)
        else 0.0,
    }
    names = [column.name for column in query.find("mart_break_levels").columns]
    return _result(
        "mart_break_levels", [tuple((row | others)[name] for name in names) for row in rows]
    )


def _depth_words(scale: float) -> str:
    return "no impact" if scale == float("inf") else f"× {scale:g}"


def _largest(usd: Any, top: int | None) -> Any:
    """The places of the largest groups, in their order; of equal ones the first."""
    import numpy as np

    if not top or top >= len(usd):
        return np.arange(len(usd) if top != 0 else 0)
    smallest = np.partition(usd, -top)[-top]
    (larger,) = np.nonzero(usd > smallest)
    (equal,) = np.nonzero(usd == smallest)
    return np.sort(np.r_[larger, equal[: top - len(larger)]])


def _rows(columns: Mapping[str, Any], count: int) -> list[tuple[Any, ...]]:
    """So many rows; a column that is no array is the same in all."""
    import numpy as np

    lists = []
    for column in columns.values():
        if not isinstance(column, np.ndarray):
            lists.append([column] * count)
            continue
        values = column.tolist()
        if column.dtype.kind == "f":
            values = [None if value != value else value for value in values]
        lists.append(values)
    return list(zip(*lists, strict=True))


def _result(name: str, rows: list[tuple[Any, ...]]) -> Result:
    """Rows as the query of that name returns them."""
    columns = query.find(name).columns
    types = tuple(
        "VARCHAR"
        if c.unit.name == "text"
        else "BIGINT"
        if c.unit.name in ("count", "index")
        else "DOUBLE"
        for c in columns
    )
    return Result(tuple(c.name for c in columns), types, rows)


class Landing(NamedTuple):
    """Where an outside fall lands at one depth, and what has fired down to there."""

    drop: float
    outside_price: float
    price: float
    accounts: int
    sold: float
    unsold: float
    bought: float
    usd: float

    def amplification(self, spot: float) -> float | None:
        return (1 - self.price / spot) / self.drop if self.drop > 0 else None


def _landings(made: Groups, outside: Sequence[tuple[float, float]]) -> list[Landing]:
    import numpy as np

    columns = (made.new_accounts, made.sold, made.units - made.sold, made.bought, made.usd)
    sums = [np.r_[0, np.cumsum(column)] for column in columns]
    landings = []
    for drop, price in outside:
        fired = int(np.searchsorted(-made.level, -price, side="right"))
        landing = price
        if fired:
            landing *= float(made.landing_price[fired - 1] / made.level[fired - 1])
        landings.append(Landing(drop, price, landing, *(total[fired].item() for total in sums)))
    return landings


def landing_prices(
    cascade: Cascade, scales: Sequence[float], outside: Sequence[tuple[float, float]]
) -> Result:
    """The rows of the query `landing_prices`; `outside` is (share of the drop, price)."""
    spot = cascade.spot
    rows: list[tuple[Any, ...]] = []
    for scale in sorted(scales, reverse=True):
        rows += (
            (
                _depth_words(scale),
                scale if scale < float("inf") else None,
                *landed[:3],
                1 - landed.price / spot,
                landed.amplification(spot),
                *landed[3:],
                *debts(cascade, landed.price / spot),
                spot,
                cascade.axis_market,
            )
            for landed in _landings(groups(cascade, scale), outside)
        )
    rows.sort(key=lambda row: row[2])
    return _result("landing_prices", rows)


def _band(cascade: Cascade, landings: Sequence[Sequence[Landing]]) -> Result:
    """The rows of `landing_by_depth`; landings without impact, and at each depth of the band."""
    spot = cascade.spot
    rows = [
        (
            none.drop,
            none.outside_price,
            none.price,
            *(landed.price for landed in band),
            *(landed.amplification(spot) for landed in band),
            none.sold + none.unsold,
            none.usd,
            *(band[0].sold, band[0].unsold, band[0].bought),
            *debts(cascade, band[0].price / spot),
            spot,
            cascade.axis_market,
        )
        for none, *band in zip(*landings, strict=True)
    ]
    return _result("landing_by_depth", sorted(rows))


def price_level(cascade: Cascade, scale: float, price: float, width: float) -> Result:
    """The row of the query `price_level` at one depth."""
    import numpy as np

    drop = 1.0 - price / cascade.spot
    bids, reach = _bids(cascade, drop)
    levels: list[dict[str, Any]] = []
    reached = _group_near(cascade, scale, price, width)
    if reached is not None:
        every = groups(cascade, scale)
        rows = _level_rows(cascade, scale, every, np.array([reached]))
        levels = _result("break_levels", rows).dicts()
    own = {
        "depth_scale": scale,
        "spot_price": cascade.spot,
        "price": price,
        "drop_share": drop,
        "bid_units": None if bids is None or scale == float("inf") else bids * scale,
        "reach": reach,
    }
    row = (levels[0] if levels else {}) | own
    return _result(
        "price_level", [tuple(row.get(c.name) for c in query.find("price_level").columns)]
    )


def _bids(cascade: Cascade, drop: float) -> tuple[float | None, float | None]:
    """Units bid within a share of the mid price, by straight lines, and how far the books reach."""
    import numpy as np

    start, begins = cascade.segments["units_from"], cascade.segments["distance_from"]
    if len(start) < 2:
        return None, None
    units = np.diff(start)
    ends = begins[:-1] + units * cascade.segments["slope"][:-1]
    part = np.clip((drop - begins[:-1]) / (ends - begins[:-1]), 0.0, 1.0)
    return float((part * units).sum()), float(ends.max())


def _group_near(cascade: Cascade, scale: float, price: float, width: float) -> int | None:
    """The group that fires most USD of what triggers within the band around a price; where nothing
    does the next below it, None where there is none."""
    import numpy as np

    first = int(np.searchsorted(-cascade.price, -price * (1 + width), side="left"))
    last = int(np.searchsorted(-cascade.price, -price * (1 - width), side="right"))
    if first == len(cascade.price):
        return None
    steps = groups(cascade, scale).steps
    group = np.repeat(np.arange(len(steps)), steps)[first : max(last, first + 1)]
    return int(
        group[0] + np.argmax(np.bincount(group - group[0], cascade.usd[first:][: len(group)]))
    )
