"""Cascades in columns: groups of steps that fire together, at any depth, in one pass over the path.

The queries `break_levels` and `landing_prices` are the reference: tests hold this to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog, Choice
from chainwatch.reports.cascade_basis import CascadeTerms
from chainwatch.reports.path_columns import Accounts, Legs, Path, Terms, follow

NEAR = 1 - 1e-9  # triggers that differ only by rounding count as equal
IMPACT_CAP = 0.95

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
FROM path_hits"""

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
    `after`: units sold, less those bought back, once it has fired; `at_once` and `next_percent` are
    the last steps that fire at its price and within 1 % below it; `deviation` is how far the oracle
    may lag, None where not known.
    """

    accounts: Accounts
    path: Path
    spot: float
    axis_market: str | None
    deviation: float | None
    account: Any
    price: Any
    usd: Any
    units: Any
    sold: Any
    bought: Any
    is_first: Any
    after: Any
    at_once: Any
    next_percent: Any
    segments: Mapping[str, Any]


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
    catalog.drop("path_hits")
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
    price = (path.x * float(axis["price"]))[order]
    return Cascade(
        accounts=accounts,
        path=path,
        spot=float(axis["price"]),
        axis_market=axis["axis_market"],
        deviation=axis["deviation"] if terms.oracle_deviation is None else terms.oracle_deviation,
        account=path.account[order],
        price=price,
        usd=path.seize_usd[order],
        units=units,
        sold=sold,
        bought=bought,
        is_first=path.is_first[order],
        after=np.cumsum(sold - bought),
        at_once=last_down_to(price, NEAR),
        next_percent=last_down_to(price, 0.99),
        segments=segments,
    )


def last_down_to(price: Any, share: float) -> Any:
    """Of each step the last one that fires down to a share of its price; prices go down."""
    import numpy as np

    return np.searchsorted(-price, -price * share, side="right") - 1


def impact(segments: Mapping[str, Any], units: Any) -> Any:
    """How far sales move the price, as a share of it."""
    import numpy as np

    start, end = segments["units_from"], segments["units_from"][1:]
    begins, slopes = segments["distance_from"], segments["slope"]
    # All but the last are straight lines; a segment begins right above where the one before ends.
    ends = begins[:-1] + (end - start[:-1]) * slopes[:-1]
    above = np.r_[start[:1], np.nextafter(end, np.inf)]
    places = np.c_[above, np.r_[end, np.inf]].ravel()[:-1]
    shares = np.c_[begins, np.r_[ends, np.inf]].ravel()[:-1]
    fall = np.interp(units, places, shares)
    (beyond,) = np.nonzero(units > start[-1])
    far = units[beyond]
    fall[beyond] = (
        begins[-1]
        + (far - start[-1]) * slopes[-1]
        + segments["law"][-1] * (np.sqrt(far) - np.sqrt(start[-1]))
    )
    np.fmin(fall, IMPACT_CAP, out=fall)
    fall[units <= 0.0] = 0.0
    return fall


class Groups(NamedTuple):
    """The groups of one depth, the highest break price first; one value each."""

    level: Any
    trigger_price: Any
    landing_price: Any
    loop_gain: Any
    accounts: Any
    fed_accounts: Any
    rounds: Any
    new_accounts: Any
    steps: Any
    units: Any
    sold: Any
    bought: Any
    usd: Any
    top1_share: Any


def groups(cascade: Cascade, scale: float) -> Groups:
    """Steps that fire together at a multiple of the measured depth."""
    import numpy as np

    price, after = cascade.price, cascade.after
    if not len(price):
        return Groups(*(np.zeros(0),) * len(Groups._fields))
    fallen = impact(cascade.segments, after / scale)
    outside = price / (1.0 - np.r_[0.0, fallen[:-1]])
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
    stands = level[group] * (1.0 - fallen)
    outset, ahead = fallen[cascade.at_once[start]], fallen[cascade.next_percent[start]]
    with np.errstate(all="ignore"):
        return Groups(
            level=level,
            trigger_price=trigger,
            landing_price=stands[last],
            loop_gain=level * (ahead - outset) / (0.01 * trigger),
            accounts=np.bincount(owner),
            fed_accounts=np.bincount(owner, highest < trigger[owner] * NEAR).astype("int64"),
            rounds=_rounds(price, trigger, stands, last),
            new_accounts=np.add.reduceat(cascade.is_first.astype("int64"), start),
            steps=last - start + 1,
            units=np.add.reduceat(cascade.units, start),
            sold=np.add.reduceat(cascade.sold, start),
            bought=np.add.reduceat(cascade.bought, start),
            usd=usd,
            top1_share=np.where(usd > 0.0, np.maximum.reduceat(seized, head) / usd, np.nan),
        )


def _rounds(price: Any, trigger: Any, stands: Any, last: Any) -> Any:
    """How often the sales of each group trigger further ones of it, and the first.

    `stands` is the price once a step has fired, at the outside price of its group.
    """
    import numpy as np

    def fired(at: Any, until: Any) -> Any:
        """The last step of the group that a price reaches."""
        return np.minimum(np.searchsorted(-price, -at * NEAR, side="right") - 1, until)

    rounds = np.ones(len(last), dtype="int64")
    (several,) = np.nonzero(np.diff(last, prepend=-1) > 1)
    step = fired(trigger[several], last[several])
    while len(several):
        further = fired(stands[step], last[several])
        (goes_on,) = np.nonzero(further > step)
        several, step = several[goes_on], further[goes_on]
        rounds[several] += 1
    return rounds


def debts(cascade: Cascade, x: float) -> tuple[float, float, float]:
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
