"""The rows of `break_levels`, `landing_prices` and `landing_by_depth` from a cascade in columns.

The queries of these names are the reference: tests hold this to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import Result
from chainwatch.reports.cascade_basis import BAND, CascadeTerms
from chainwatch.reports.cascade_columns import Cascade, debts, groups, read

AT_SPOT = 1 - 1e-12  # a group that fires at the price now


def break_levels(
    cascade: Cascade, terms: CascadeTerms, scales: Sequence[float], top: int | None
) -> Result:
    """The rows of the query `break_levels`."""
    import numpy as np

    spot = cascade.spot
    late = np.nan if cascade.deviation is None else 1.0 - cascade.deviation
    rows: list[tuple[Any, ...]] = []
    for scale in sorted(scales, reverse=True):
        made = groups(cascade, scale)
        count = len(made.level)
        unsold = made.units - made.sold
        with np.errstate(all="ignore"):
            columns = {
                "depth": _depth_words(scale),
                "depth_scale": scale,
                "group": np.arange(1, count + 1),
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
                "unsold_units": unsold,
                "bought_units": made.bought,
                "usd": made.usd,
                "top1_share": made.top1_share,
                "amplification": np.where(
                    made.level < spot * AT_SPOT,
                    (spot - made.landing_price) / (spot - made.level),
                    np.nan,
                ),
                "cum_sold_units": np.cumsum(made.sold),
                "cum_bought_units": np.cumsum(made.bought),
                "cum_units": np.cumsum(made.units),
                "cum_unsold_units": np.cumsum(unsold),
                "cum_usd": np.cumsum(made.usd),
                "cum_accounts": np.cumsum(made.new_accounts),
                "spot_price": spot,
                "axis_market": cascade.axis_market,
            }
        kept = np.arange(count)
        if top is not None:
            kept = np.sort(np.argsort(-made.usd, kind="stable")[:top])
        rows += _rows(columns, kept)
    return _result("break_levels", rows)


def mart_break_levels(catalog: Catalog, values: Mapping[str, Any]) -> Result:
    """The rows of the query `mart_break_levels`. Raises UsageError, StoreError."""
    terms = CascadeTerms(factor=values["p_factor"], as_of=values["p_as_of"])
    cascade = read(catalog, terms)
    every = groups(cascade, 1.0)
    rows = break_levels(cascade, terms, (1.0,), values["p_top"]).dicts()
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


def _rows(columns: Mapping[str, Any], kept: Any) -> list[tuple[Any, ...]]:
    """Rows of the places kept; a column that is no array is the same in all."""
    import numpy as np

    lists = []
    for column in columns.values():
        if not isinstance(column, np.ndarray):
            lists.append([column] * len(kept))
            continue
        values = column[kept].tolist()
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


def landing_prices(
    cascade: Cascade, scales: Sequence[float], outside: Sequence[tuple[float, float]]
) -> Result:
    """The rows of the query `landing_prices`; `outside` is (share of the drop, price)."""
    import numpy as np

    spot = cascade.spot
    rows: list[tuple[Any, ...]] = []
    owed: dict[float, tuple[float, float, float]] = {}
    for scale in sorted(scales, reverse=True):
        made = groups(cascade, scale)
        sums = {
            name: np.r_[0.0, np.cumsum(column)]
            for name, column in (
                ("accounts", made.new_accounts),
                ("sold", made.sold),
                ("unsold", made.units - made.sold),
                ("bought", made.bought),
                ("usd", made.usd),
            )
        }
        for drop, price in outside:
            fired = int(np.searchsorted(-made.level, -price, side="right"))
            landing = price
            if fired:
                landing *= float(made.landing_price[fired - 1] / made.level[fired - 1])
            if landing not in owed:
                owed[landing] = debts(cascade, landing / spot)
            toxic, bad, jump = owed[landing]
            total = 1 - landing / spot
            rows.append(
                (
                    _depth_words(scale),
                    scale if scale < float("inf") else None,
                    drop,
                    price,
                    landing,
                    total,
                    total / drop if drop > 0 else None,
                    int(sums["accounts"][fired]),
                    *(float(sums[name][fired]) for name in ("sold", "unsold", "bought", "usd")),
                    toxic,
                    bad,
                    jump,
                    spot,
                    cascade.axis_market,
                )
            )
    rows.sort(key=lambda row: row[2])
    return _result("landing_prices", rows)


def landing_by_depth(
    cascade: Cascade, depth_scale: float, outside: Sequence[tuple[float, float]]
) -> Result:
    """The rows of the query `landing_by_depth`."""
    scales = [float("inf"), *(depth_scale * share for share in BAND)]
    by_drop: dict[float, list[dict[str, Any]]] = {}
    for row in landing_prices(cascade, scales, outside).dicts():
        by_drop.setdefault(row["drop_share"], []).append(row)
    rows = []
    for drop, (none, *band) in sorted(by_drop.items()):
        full = band[0]
        rows.append(
            (
                drop,
                full["outside_price"],
                none["landing_price"],
                *(row["landing_price"] for row in band),
                *(row["amplification"] for row in band),
                none["sold_units"] + none["unsold_units"],
                none["usd"],
                *(full[name] for name in _AT_FULL),
            )
        )
    return _result("landing_by_depth", rows)


_AT_FULL = (
    "sold_units",
    "unsold_units",
    "bought_units",
    "toxic_debt_usd",
    "bad_debt_usd",
    "jump_bad_debt_usd",
    "spot_price",
    "axis_market",
)
