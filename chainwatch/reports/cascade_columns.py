"""Cascades in columns: the rows of `break_levels` and `landing_prices`, in one pass over the path.

The queries of these names are the reference: tests hold this to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog, Choice
from chainwatch.lake.engine import Result
from chainwatch.reports.cascade_basis import BAND, CascadeTerms
from chainwatch.reports.path_columns import Accounts, Legs, Path, Terms, follow

NEAR = 1 - 1e-9  # triggers that differ only by rounding count as equal
IMPACT_CAP = 0.95
AT_SPOT = 1 - 1e-12  # a group that fires at the price now

HITS = """
SELECT t.snapshot, t.market, t.account, t.position, row_number() OVER () - 1 AS place, t.direction,
       t.x, t.x_min, t.x_max, t.absorbs, t.close_factor, t.close_basis, t.full_close_below_hf,
       t.full_close_below_usd, t.min_leftover_usd, t.target_hf, t.blocked_reason, s.truncates_lt,
       t.c0, t.c1, t.c_own, t.d0, t.d1, t.cover0, t.cover1, t.unit_usd,
       t.absorbs AND ($p_absorbed = 'later' OR s.reserves_usd >= s.target_reserves_usd) AS is_later
FROM triggers(p_factor := $p_factor, p_market := $p_market, p_as_of := $p_as_of,
              p_betas := $p_betas) AS t
JOIN snapshots AS s ON s.snapshot = t.snapshot
WHERE t.in_usd AND t.direction IN ('now', 'down')"""

ACCOUNTS = """
SELECT x, x_min, coalesce(x_max, 'inf') AS x_max, absorbs, close_factor,
       close_basis = 'position' AS of_position, coalesce(full_close_below_hf, 0e0) AS full_close_hf,
       coalesce(full_close_below_usd, 0e0) AS full_close_usd,
       coalesce(min_leftover_usd, 'nan') AS min_leftover_usd,
       coalesce(target_hf, 'nan') AS target_hf,
       blocked_reason <> '' AS is_blocked, coalesce(truncates_lt, false) AS truncates_lt,
       c0, c1, c_own, d0, d1, cover0, cover1, coalesce(unit_usd, 'nan') AS unit_usd,
       coalesce(is_later, false) AS is_later
FROM path_hits ORDER BY place"""

LEGS = """
SELECT h.place AS account, l.is_debt, l.usd, l.beta, l.own_beta, l.lt, l.bonus,
       h.direction = 'now' AND l.is_blocked AS is_blocked
FROM path_hits AS h
JOIN path_legs(p_factor := $p_factor, p_betas := $p_betas, p_market := $p_market,
               p_as_of := $p_as_of) AS l
  ON l.snapshot = h.snapshot AND l.account = h.account AND l.position = h.position
WHERE h.blocked_reason = '' AND NOT h.absorbs
ORDER BY h.place, l.is_debt, l.asset"""


class Cascade(NamedTuple):
    """A factor's path, its steps in the order in which they fire, and the books' segments.

    Steps have the account's place, traded price, USD, units seized, sold and bought, is_first, and
    `after`: units sold, less those bought back, once it has fired. `made` keeps the groups of each
    depth that was asked for.
    """

    accounts: Accounts
    path: Path
    spot: float
    axis_market: str | None
    account: Any
    price: Any
    usd: Any
    units: Any
    sold: Any
    bought: Any
    is_first: Any
    after: Any
    segments: Mapping[str, Any]
    made: dict[float, Groups]


def read(catalog: Catalog, terms: CascadeTerms) -> Cascade:
    """The steps of a factor's cascade under these terms. Raises UsageError, StoreError."""
    import numpy as np

    values = {
        name: terms.values.get(name) for name in ("p_factor", "p_market", "p_as_of", "p_betas")
    }
    choice = Choice(terms.markets, terms.as_of)
    catalog.keep("path_hits", HITS, values | {"p_absorbed": terms.absorbed}, choice=choice)
    read_accounts = catalog.columns(ACCOUNTS)
    accounts = Accounts(*(read_accounts[name] for name in Accounts._fields))
    legs = Legs(**catalog.columns(LEGS, values, choice=choice))
    minds = Terms(terms.order == "largest", terms.gas_usd, terms.min_profit_usd, terms.dust_usd)
    path = follow(accounts, legs, minds)
    (axis,) = (
        row
        for row in query.run(catalog, query.find("axes"), terms.places).dicts()
        if row["market"] == "all"
    )
    books = terms.books | {"p_sigma": terms.sigma, "p_y": terms.y}
    books |= {} if terms.adv is None else {"p_adv": terms.adv}
    shown = query.run(catalog, query.find("book_segments"), books).dicts()
    shown.sort(key=lambda row: float(row["units_from"]))
    segments = {
        name: np.array([row[name] for row in shown], dtype=float)
        for name in ("units_from", "distance_from", "slope", "law")
    }
    unit = read_accounts["unit_usd"][path.account]
    order = np.argsort(-path.x, kind="stable")
    units = np.nan_to_num(path.own_usd / unit)[order]
    bought = np.nan_to_num(path.bought_own_usd / unit)[order]
    sold = np.where(read_accounts["is_later"][path.account][order], 0.0, units * terms.sold_share)
    return Cascade(
        accounts=accounts,
        path=path,
        spot=float(axis["price"]),
        axis_market=axis["axis_market"],
        account=path.account[order],
        price=(path.x * float(axis["price"]))[order],
        usd=path.seize_usd[order],
        units=units,
        sold=sold,
        bought=bought,
        is_first=path.is_first[order],
        after=np.cumsum(sold - bought),
        segments=segments,
        made={},
    )


def impact(segments: Mapping[str, Any], units: Any) -> Any:
    """How far sales move the price, as a share of it."""
    import numpy as np

    place = np.maximum(np.searchsorted(segments["units_from"], units, side="left") - 1, 0)
    start = segments["units_from"][place]
    fall = (
        segments["distance_from"][place]
        + (units - start) * segments["slope"][place]
        + segments["law"][place] * (np.sqrt(np.maximum(units, 0.0)) - np.sqrt(start))
    )
    return np.where(units <= 0.0, 0.0, np.fmin(fall, IMPACT_CAP))


class Groups(NamedTuple):
    """The groups of one depth, the highest break price first; one value each."""

    level: Any
    trigger_price: Any
    landing_price: Any
    loop_gain: Any
    accounts: Any
    fed_accounts: Any
    new_accounts: Any
    steps: Any
    units: Any
    sold: Any
    bought: Any
    usd: Any
    top1_share: Any


def groups(cascade: Cascade, scale: float) -> Groups:
    """Steps that fire together at a multiple of the measured depth."""
    if scale not in cascade.made:
        cascade.made[scale] = _group(cascade, scale)
    return cascade.made[scale]


def _group(cascade: Cascade, scale: float) -> Groups:
    import numpy as np

    price, after = cascade.price, cascade.after
    if not len(price):
        return Groups(*(np.zeros(0),) * len(Groups._fields))
    before = np.maximum(after - cascade.sold + cascade.bought, 0.0)
    outside = price / (1.0 - impact(cascade.segments, before / scale))
    lowest = np.minimum.accumulate(outside)
    start = np.flatnonzero(np.r_[True, lowest[1:] < lowest[:-1]])
    last = np.r_[start[1:], len(price)] - 1
    group = np.repeat(np.arange(len(start)), last - start + 1)
    level, trigger = lowest[start], price[start]
    # One entry per account of a group.
    member = group * len(cascade.accounts.x) + cascade.account
    order = np.argsort(member, kind="stable")
    member = member[order]
    first = np.flatnonzero(np.r_[True, member[1:] != member[:-1]])
    owner = member[first] // len(cascade.accounts.x)
    seized = np.add.reduceat(cascade.usd[order], first)
    highest = np.maximum.reduceat(price[order], first)
    head = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    usd = np.add.reduceat(cascade.usd, start)
    fallen = impact(cascade.segments, after[last] / scale)

    def sold_down_to(at: Any) -> Any:
        """What is sold once all has fired down to the next step at or above a price."""
        count = np.searchsorted(-price, -at, side="right")
        return after[np.maximum(count - 1, 0)]

    outset = impact(cascade.segments, sold_down_to(trigger * NEAR) / scale)
    ahead = impact(cascade.segments, sold_down_to(trigger * 0.99) / scale)
    with np.errstate(all="ignore"):
        return Groups(
            level=level,
            trigger_price=trigger,
            landing_price=level * (1.0 - fallen),
            loop_gain=level * (ahead - outset) / (0.01 * trigger),
            accounts=np.bincount(owner),
            fed_accounts=np.bincount(owner, highest < trigger[owner] * NEAR).astype("int64"),
            new_accounts=np.add.reduceat(cascade.is_first.astype("int64"), start),
            steps=last - start + 1,
            units=np.add.reduceat(cascade.units, start),
            sold=np.add.reduceat(cascade.sold, start),
            bought=np.add.reduceat(cascade.bought, start),
            usd=usd,
            top1_share=np.where(usd > 0.0, np.maximum.reduceat(seized, head) / usd, np.nan),
        )


def break_levels(
    cascade: Cascade, terms: CascadeTerms, scales: Sequence[float], top: int | None
) -> Result:
    """The rows of the query `break_levels`."""
    import numpy as np

    spot, late = cascade.spot, 1.0 - terms.oracle_deviation
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
    debts: dict[float, tuple[float, float, float]] = {}
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
            if landing not in debts:
                debts[landing] = _debts(cascade, landing / spot)
            toxic, bad, jump = debts[landing]
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


def _debts(cascade: Cascade, x: float) -> tuple[float, float, float]:
    """Toxic debt, bad debt of the path and of a jump, at a multiple of the price now."""
    import numpy as np

    accounts, path = cascade.accounts, cascade.path
    here = np.maximum(x, accounts.x_min)
    reached = x <= accounts.x
    paid = accounts.cover0 + accounts.cover1 * here
    owed = accounts.d0 + accounts.d1 * here
    toxic = float(owed[reached & (paid < owed)].sum())
    jump = float(np.maximum(owed - paid, 0.0)[reached].sum())
    left = path.left0 + path.left1 * x
    covered = np.maximum(path.left_cover0 + path.left_cover1 * x, 0.0)
    ended = (x <= path.end_x) & (path.left0 + path.left1 > 0.0)
    return toxic, float(np.maximum(left - covered, 0.0)[ended].sum()), jump
