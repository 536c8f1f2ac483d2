"""The path of liquidations in columns: what the view `path_steps` gives, many accounts at once.

Rules, order and accounts are those of queries/views/path_steps.sql, which tests hold it to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

MOST_CALLS = 400
NO_LESS = 1 - 1e-12
AT_ONCE = 20_000  # accounts whose arrays fit in a processor's cache


class Accounts(NamedTuple):
    """Accounts that are liquidatable now or as the price falls; one value each.

    `x` is where the first call is made, the linear range is above `x_min` and below `x_max`. Close
    rules as in a Snapshot; `min_leftover_usd` and `target_hf` are NaN where there is none. c, d and
    cover as in `triggers`.
    """

    x: Any
    x_min: Any
    x_max: Any
    absorbs: Any
    close_factor: Any
    of_position: Any
    full_close_hf: Any
    full_close_usd: Any
    min_leftover_usd: Any
    target_hf: Any
    is_blocked: Any
    truncates_lt: Any
    c0: Any
    c1: Any
    c_own: Any
    d0: Any
    d1: Any
    cover0: Any
    cover1: Any

    def at(self, places: Any) -> Accounts:
        return Accounts(*(column[places] for column in self))


class Legs(NamedTuple):
    """Balances, by account: its place, USD at the price now, and terms."""

    account: Any
    is_debt: Any
    usd: Any
    beta: Any
    own_beta: Any
    lt: Any
    bonus: Any
    is_blocked: Any


class Terms(NamedTuple):
    """What a liquidator minds; USD."""

    largest: bool = False
    gas_usd: float = 1.0
    min_profit_usd: float = 0.0
    dust_usd: float = 1.0


class Path(NamedTuple):
    """Calls and absorbed accounts, and where paths end with debt left; account is a place.

    Calls: x, USD repaid and seized, seized and repaid USD at the price now in the factor's own
    assets, is_first of the account. Ends: x, debt left and what its collateral pays for.
    """

    account: Any
    x: Any
    repaid_usd: Any
    seize_usd: Any
    own_usd: Any
    bought_own_usd: Any
    is_first: Any
    end_account: Any
    end_x: Any
    left0: Any
    left1: Any
    left_cover0: Any
    left_cover1: Any


class _Side(NamedTuple):
    """Balances of one side: each array by slot and account; 0 USD is an empty slot."""

    usd: Any
    beta: Any
    own: Any
    lt: Any
    bonus: Any
    is_blocked: Any

    def at(self, places: Any) -> _Side:
        return _Side(*(array[:, places] for array in self))


def follow(accounts: Accounts, legs: Legs, terms: Terms, end: float = 0.0) -> Path:
    """All calls on a fall down to `end`, a multiple of the price now."""
    import numpy as np

    calls: list[tuple[Any, ...]] = []
    ends: list[tuple[Any, ...]] = []
    for places, held, owed in _sized(
        len(accounts.x), legs, ~(accounts.absorbs | accounts.is_blocked)
    ):
        for start in range(0, len(places), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            with np.errstate(all="ignore"):
                _follow(
                    accounts.at(places[part]),
                    places[part],
                    held.at(part),
                    owed.at(part),
                    terms,
                    end,
                    calls,
                    ends,
                )
    absorbed = np.flatnonzero(accounts.absorbs & ~accounts.is_blocked)
    none = np.zeros(len(absorbed))
    at = accounts.at(absorbed)
    short = at.d0 + at.d1 * at.x - at.cover0 - at.cover1 * at.x
    calls.append((absorbed, at.x, none, at.c0 + at.c1 * at.x, at.c_own, none, none == 0))
    ends.append((absorbed, at.x, np.maximum(short, 0.0), none, none, none))
    stuck = np.flatnonzero(accounts.is_blocked)
    at = accounts.at(stuck)
    ends.append((stuck, at.x, at.d0, at.d1, at.cover0, at.cover1))
    columns = [np.concatenate(parts) for parts in zip(*calls, strict=True)]
    return Path(*columns, *(np.concatenate(parts) for parts in zip(*ends, strict=True)))


def _sized(count: int, legs: Legs, wanted: Any) -> Iterator[tuple[Any, _Side, _Side]]:
    """Accounts of similar numbers of balances, with their balances side by side."""
    import numpy as np

    sizes = [
        np.bincount(legs.account[legs.is_debt == side], minlength=count) for side in (False, True)
    ]
    bounds = (1, 2, 4, 8, 1 << 30)
    classes = [np.searchsorted(bounds, np.maximum(size, 1)) for size in sizes]
    for kind in np.unique(classes[0] * 8 + classes[1]):
        here = (classes[0] * 8 + classes[1] == kind) & wanted
        places = np.flatnonzero(here)
        if len(places):
            row = np.full(count, -1)
            row[places] = np.arange(len(places))
            held, owed = (
                _side(legs, side, row, int(sizes[side][places].max(initial=1))) for side in (0, 1)
            )
            yield places, held, owed


def _side(legs: Legs, side: int, row: Any, slots: int) -> _Side:
    import numpy as np

    own = np.flatnonzero((legs.is_debt == bool(side)) & (row[legs.account] >= 0))
    account = row[legs.account[own]]
    new = np.r_[True, account[1:] != account[:-1]][: len(account)]
    first = np.flatnonzero(new)
    slot = np.arange(len(account)) - np.repeat(first, np.diff(np.r_[first, len(account)]))
    count = int(row.max(initial=-1)) + 1

    def spread(values: Any) -> Any:
        array = np.zeros((max(slots, 1), count), dtype=values.dtype)
        array[slot, account] = values[own]
        return array

    return _Side(
        *map(spread, (legs.usd, legs.beta, legs.own_beta, legs.lt, legs.bonus, legs.is_blocked))
    )


class _Sums(NamedTuple):
    """Collateral c, thresholds times collateral a, debt d: constant and slope."""

    c0: Any
    c1: Any
    a0: Any
    a1: Any
    d0: Any
    d1: Any

    @classmethod
    def add_up(cls, held: _Side, owed: _Side) -> _Sums:
        moving, owing = held.usd * held.beta, owed.usd * owed.beta
        still, fixed = held.usd * (1.0 - held.beta), owed.usd * (1.0 - owed.beta)
        parts = (still, moving, still * held.lt, moving * held.lt, fixed, owing)
        return cls(*(part.sum(axis=0) for part in parts))


def _follow(
    rule: Accounts,
    places: Any,
    held: _Side,
    owed: _Side,
    terms: Terms,
    end: float,
    calls: list[tuple[Any, ...]],
    ends: list[tuple[Any, ...]],
) -> None:
    """Call after call on accounts that are all still called; what has ended is left out."""
    import numpy as np

    x = rule.x.copy()
    is_due = np.ones(len(x), dtype=bool)
    waits = np.zeros(len(x), dtype="int8")
    is_new = np.ones(len(x), dtype=bool)
    for number in range(MOST_CALLS + 1):
        if not len(x):
            return
        sums = _Sums.add_up(held, owed)
        below, y, threshold = _next_price(rule, sums, held, x, is_due, waits, end)
        goes_on = np.isfinite(y) & (number < MOST_CALLS)
        worth_held = held.usd * (1.0 - held.beta + held.beta * y)
        worth_owed = owed.usd * (1.0 - owed.beta + owed.beta * y)
        best = _best_call(
            rule, held, owed, worth_held, worth_owed, sums, y, threshold, waits, terms
        )
        has_call = goes_on & (best.repaid > 0.0)
        # Where no call pays the account waits once, for the full close factor.
        stays = has_call | (goes_on & (waits == 0))
        if number == 0:  # the trigger itself may lie outside the range in which prices are linear
            below = sums.a0 + sums.a1 * x < (sums.d0 + sums.d1 * x) * NO_LESS
        _note_ends(places, held, sums, x, ~stays & below, ends)
        took = np.flatnonzero(has_call)
        seized, own = _take(
            held, worth_held, best.collateral, best.repaid * (1.0 + best.bonus), took
        )
        repaid, bought = _take(owed, worth_owed, best.debt, best.repaid, took)
        calls.append((places[took], y[took], repaid, seized, own, bought, is_new[took]))
        is_new &= ~has_call
        kept = np.flatnonzero(stays)
        x = y[kept]
        is_due, waits = ~has_call[kept], np.where(has_call, 0, waits + 1)[kept].astype("int8")
        rule, places, is_new = rule.at(kept), places[kept], is_new[kept]
        held, owed = held.at(kept), owed.at(kept)


def _next_price(
    rule: Accounts, sums: _Sums, held: _Side, x: Any, is_due: Any, waits: Any, end: float
) -> tuple[Any, Any, Any]:
    """Whether each is below a health factor of 1 at x, the price of its next call (NaN: none), and
    the average threshold that the contract truncates there (NaN: it does not)."""
    import numpy as np

    c0, c1, a0, a1, d0, d1 = sums
    filled = held.usd > 0.0
    lowest = np.where(filled, held.lt, np.inf).min(axis=0)
    several = lowest < np.where(filled, held.lt, -np.inf).max(axis=0)
    truncates = rule.truncates_lt & several

    def truncated(at: Any) -> Any:
        return np.floor((a0 + a1 * at) / (c0 + c1 * at) * 1e4 + 1e-9) / 1e4

    # The debt at which a health factor falls below 1 or, after a price at which no call paid, at
    # which all may be repaid.
    level = np.where(waits > 0, rule.full_close_hf, 1.0)
    e0, e1 = d0 * level, d1 * level
    t_now = truncated(x)
    weighted = np.where(truncates, t_now * (c0 + c1 * x), a0 + a1 * x)
    below = is_due | (weighted < (d0 + d1 * x) * NO_LESS)
    reached = (is_due & (waits == 0)) | (weighted < (e0 + e1 * x) * NO_LESS)
    alone = truncates & ((c0 == 0.0) | (c1 == 0.0))
    steps = truncates & ~alone
    step = np.where(steps, 1e-4, 0.0)
    w0, w1 = np.where(alone, t_now * c0, a0), np.where(alone, t_now * c1, a1)
    slope = w1 - e1 - step * c1
    near = np.where(
        w0 + w1 * x - e0 - e1 * x < step * (c0 + c1 * x), x, (e0 - w0 + step * c0) / slope
    )
    if steps.any():
        t = truncated(near)
        root, edge = (e0 - t * c0) / (t * c1 - e1), (t * c0 - a0) / (a1 - t * c1)
        sign = np.sign(slope)
        root = np.where((near - root) * sign >= -1e-9 * near, root, -np.inf)
        edge = np.where((near - edge) * sign >= -1e-9 * near, edge, -np.inf)
        near = np.where(steps, np.maximum(root, edge), near)
    falls = np.where(slope > 0.0, np.minimum(near, x), np.nan)
    never = (waits > 0) & (reached | (rule.full_close_hf <= 0.0))
    y = np.where(never, np.nan, np.where(reached, x, falls))
    inside = (y > rule.x_min) & (y < rule.x_max) & (y > 0.0) & (y <= x) & (y >= end)
    y = np.where(inside, y, np.nan)
    return below, y, np.where(truncates, truncated(y), np.nan)


class _Call(NamedTuple):
    """The best call on each account: slots, USD repaid (0: none) and the bonus."""

    collateral: Any
    debt: Any
    repaid: Any
    bonus: Any


def _best_call(
    rule: Accounts,
    held: _Side,
    owed: _Side,
    worth_held: Any,
    worth_owed: Any,
    sums: _Sums,
    y: Any,
    threshold: Any,
    waits: Any,
    terms: Terms,
) -> _Call:
    import numpy as np

    debt = sums.d0 + sums.d1 * y
    exact = sums.a0 + sums.a1 * y
    weighted = np.where(np.isnan(threshold), exact, threshold * (sums.c0 + sums.c1 * y))
    is_full = (waits > 0) | (weighted <= rule.full_close_hf * debt)
    has_target, has_leftover = ~np.isnan(rule.target_hf), ~np.isnan(rule.min_leftover_usd)
    leftover = np.where(has_leftover, rule.min_leftover_usd, 0.0)
    count = len(y)
    best = _Call(np.zeros(count, int), np.zeros(count, int), np.zeros(count), np.zeros(count))
    ranks: tuple[Any, ...] = (np.full(count, -1.0), np.zeros(count), np.zeros(count))
    for i in range(len(worth_held)):
        collateral, bonus = worth_held[i], held.bonus[i]
        gain = rule.target_hf - (1.0 + bonus) * held.lt[i]
        need = np.maximum((rule.target_hf * debt - weighted) / gain, 0.0)
        for j in range(len(worth_owed)):
            owing = worth_owed[j]
            to_target = np.where(gain > 0.0, need, owing)
            share = rule.close_factor * np.where(rule.of_position, debt, owing)
            part = np.where(
                ~has_leftover | (share * (1.0 + bonus) >= collateral),
                share,
                np.minimum(
                    np.minimum(share, owing - leftover), (collateral - leftover) / (1.0 + bonus)
                ),
            )
            is_whole = (
                is_full
                | (owing <= share)
                | (collateral < rule.full_close_usd)
                | (owing < rule.full_close_usd)
            )
            repayable = np.where(
                has_target,
                np.where(owing - to_target >= leftover, to_target, owing),
                np.where(is_whole, owing, part),
            )
            repaid = np.minimum(repayable, collateral / (1.0 + bonus))
            profit = repaid * bonus
            fits = (
                (profit >= terms.gas_usd + terms.min_profit_usd)
                & (repaid >= terms.dust_usd)
                & (collateral > 0.0)
                & (owing > 0.0)
            )
            fits &= ~held.is_blocked[i] & ~owed.is_blocked[j]
            # Rounded as in the view: of equal pairs the first is taken.
            size = owing if terms.largest else profit
            rank = tuple(np.round(usd, 6) for usd in (size, collateral, owing))
            better = fits & (
                (rank[0] > ranks[0])
                | ((rank[0] == ranks[0]) & (rank[1] > ranks[1]))
                | ((rank[0] == ranks[0]) & (rank[1] == ranks[1]) & (rank[2] > ranks[2]))
            )
            ranks = tuple(np.where(better, new, old) for new, old in zip(rank, ranks, strict=True))
            best = _Call(
                np.where(better, i, best.collateral),
                np.where(better, j, best.debt),
                np.where(better, repaid, best.repaid),
                np.where(better, bonus, best.bonus),
            )
    return best


def _take(side: _Side, worth: Any, slot: Any, amount: Any, took: Any) -> tuple[Any, Any]:
    """Take amounts in USD out of one slot each; returns what was taken, and what of it is in the
    factor's own assets, at the price now."""
    import numpy as np

    slot, amount = slot[took], amount[took]
    there, before = worth[slot, took], side.usd[slot, took]
    share = np.where(amount >= there * NO_LESS, 1.0, amount / there)
    side.usd[slot, took] = before * (1.0 - share)
    return there * share, before * share * side.own[slot, took]


def _note_ends(
    places: Any, held: _Side, sums: _Sums, x: Any, ended: Any, ends: list[tuple[Any, ...]]
) -> None:
    import numpy as np

    here = np.flatnonzero(ended & (sums.d0 + sums.d1 * x > 0.0))
    cover = held.usd[:, here] / (1.0 + held.bonus[:, here])
    moving = cover * held.beta[:, here]
    ends.append(
        (
            places[here],
            x[here],
            sums.d0[here],
            sums.d1[here],
            (cover - moving).sum(axis=0),
            moving.sum(axis=0),
        )
    )
