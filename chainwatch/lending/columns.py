"""Accounts of a market as columns: the rows of many at once, without an object for each balance.

They are those that `valuation` makes of accounts one by one, to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from chainwatch.lending.integers import WAD
from chainwatch.lending.protocol import Currency, MarketView, ValuedColumns
from chainwatch.lending.slots import COLLATERAL_SLOTS, DEBT_SLOTS, IDLE, Terms
from chainwatch.lending.snapshots import Stamp
from chainwatch.tables.columns import Columns, Words, words
from chainwatch.tables.lending import Account, AccountSlots, Leg

NO_TERMS: Terms = ("", "", 0.0, 0.0, False)


class Slotted(NamedTuple):
    """Which accounts have slots, and what is in them.

    `fits`: by account, whether its balances fit. `used`: the terms in any slot. The rest is by
    account and slot: place in `terms` (-1: empty), worth, amount; and whether it has any.
    """

    fits: Any
    used: frozenset[Terms]
    kinds: Any
    worth: Any
    amount: Any
    holds: Any


def slot(part: ValuedColumns) -> Slotted:
    """The balances that count side by side, the largest first."""
    import numpy as np

    terms = part.terms
    order = sorted(range(len(terms)), key=terms.__getitem__)
    rank = np.empty(len(terms), dtype="int64")
    rank[order] = np.arange(len(terms))
    debts = np.array([side == "debt" for _, side, *_ in terms], dtype=bool)
    idle = np.array([side == IDLE for _, side, *_ in terms], dtype=bool)
    counts = np.flatnonzero(~idle[part.kinds])
    numbers, kinds = part.numbers[counts], part.kinds[counts]
    amount, worth = part.amount[counts], part.worth[counts]
    side = debts[kinds]
    sides = np.bincount(numbers * 2 + side, minlength=2 * len(part.accounts)).reshape(-1, 2)
    fits = (sides[:, 0] <= COLLATERAL_SLOTS) & (sides[:, 1] <= DEBT_SLOTS)
    group = numbers * 2 + side
    sort = np.lexsort((amount, rank[kinds], -worth, group))
    group, numbers, kinds, side = group[sort], numbers[sort], kinds[sort], side[sort]
    first = np.flatnonzero(np.r_[True, group[1:] != group[:-1]][: len(group)])
    lengths = np.diff(np.r_[first, len(group)])
    position = np.arange(len(group)) - np.repeat(first, lengths)
    inside = fits[numbers]
    numbers, kinds = numbers[inside], kinds[inside]
    column = (position + side * COLLATERAL_SLOTS)[inside]
    shape = (COLLATERAL_SLOTS + DEBT_SLOTS, len(part.accounts))
    slots = np.full(shape, -1, dtype="int16"), np.zeros(shape), np.zeros(shape)
    for target, values in zip(
        slots, (kinds, 0.0 - -worth[sort][inside], amount[sort][inside]), strict=True
    ):
        target[column, numbers] = values
    used = frozenset(terms[kind] for kind in np.unique(kinds).tolist())
    return Slotted(fits, used, *slots, holds=sides.any(axis=1) & fits)


def account_columns(
    stamp: Stamp, view: MarketView, part: ValuedColumns, slotted: Slotted
) -> Columns:
    """The rows of the accounts."""
    import numpy as np

    count = len(part.accounts)
    has_debt = np.array([hf is not None for hf in part.hf], dtype=bool)
    idle = np.array([side == IDLE for _, side, *_ in part.terms], dtype=bool)
    legs = np.bincount(part.numbers[~idle[part.kinds]], minlength=count)
    hf = np.ma.masked_array(
        np.array([0.0 if hf is None else hf / WAD for hf in part.hf]), mask=~has_debt
    )
    blocked: Any = None
    if part.blocked:
        blocked = np.full(count, None, dtype=object)
        for place, reason in part.blocked.items():
            blocked[place] = reason
    values = {
        "snapshot": stamp.snapshot,
        "market": stamp.reading.market.name,
        "block_number": stamp.reading.block.number,
        "account": part.accounts,
        "position": "",
        "emode": part.emodes,
        "status": np.where(has_debt, np.array("ok", dtype=object), "no debt"),
        "collateral_base": words(part.collateral),
        "debt_base": words(part.debt),
        "hf_wad": words(part.hf),
        "liquidatable": np.array(part.liquidatable, dtype=bool),
        "liquidatable_accrued": None,
        "blocked_reason": blocked,
        "lt_bps": np.array(part.lt_bps, dtype="int64"),
        "collateral_usd": _worths(view.currency, part.collateral),
        "debt_usd": _worths(view.currency, part.debt),
        "hf": hf,
        "legs": legs,
        "read_block": part.read_blocks,
        "in_slots": _only_true(slotted.fits),
    }
    return Columns(Account, count, values)


def leg_columns(stamp: Stamp, part: ValuedColumns, slotted: Slotted) -> Columns:
    """The rows of the balances."""
    import numpy as np

    texts = [np.array([t[i] for t in part.terms], dtype=object) for i in range(2)]
    floats = [np.array([t[i] for t in part.terms], dtype=float) for i in (2, 3)]
    category_priced = np.array([t[4] for t in part.terms], dtype=bool)
    count, kinds = len(part.numbers), part.kinds
    values = {
        "snapshot": stamp.snapshot,
        "market": stamp.reading.market.name,
        "account": part.accounts[part.numbers],
        "position": "",
        "asset": texts[0][kinds],
        "side": texts[1][kinds],
        "scaled": part.scaled,
        "stable_principal": None,
        "stable_rate": None,
        "stable_since": None,
        "premium_shares": None,
        "premium_offset": None,
        "config_key": None,
        "raw": part.raw,
        "value": part.value,
        "amount": part.amount,
        "usd": part.usd,
        "lt_bps": floats[0][kinds],
        "bonus_bps": floats[1][kinds],
        "category_priced": category_priced[kinds],
        "in_slots": _only_true(slotted.fits[part.numbers]),
    }
    if part.stable:
        places = np.fromiter(part.stable, dtype="int64")
        missing = np.ones(count, dtype=bool)
        missing[places] = False
        own = list(part.stable.values())
        for i, name in enumerate(("stable_principal", "stable_rate")):
            values[name] = _sparse(words([line[i] for line in own]), places, missing)
        since = np.zeros(count, dtype="int64")
        since[places] = [line[2] for line in own]
        values["stable_since"] = np.ma.masked_array(since, mask=missing)
    return Columns(Leg, count, values)


def slot_columns(
    stamp: Stamp,
    view: MarketView,
    part: ValuedColumns,
    slotted: Slotted,
    ids: Mapping[Terms, int],
) -> Columns:
    """The rows of the accounts that have any balance in slots; `ids` number their terms."""
    import numpy as np

    places = np.flatnonzero(slotted.holds)
    # The last one stands for an empty slot.
    term_ids = np.array([*(ids.get(t, 0) for t in part.terms), 0], dtype="int64")
    lts = np.array([*(t[2] for t in part.terms), np.nan])
    kinds = slotted.kinds[:, places]
    collateral = lts[kinds[:COLLATERAL_SLOTS]]
    others = (collateral != collateral[0]) & ~np.isnan(collateral)
    liquidatable = np.array(part.liquidatable, dtype=bool)
    below_one = np.array([hf is not None and hf < WAD for hf in part.hf], dtype=bool)
    no_debt = np.array([hf is None for hf in part.hf], dtype=bool)
    blocked: Any = None
    if part.blocked:
        blocked = np.array([part.blocked.get(i) for i in places.tolist()], dtype=object)
    values: dict[str, Any] = {
        "snapshot": stamp.snapshot,
        "market": stamp.reading.market.name,
        "account": part.accounts[places],
        "position": "",
        "in_usd": view.currency.usd is not None,
        "has_several_lts": others.any(axis=0),
        "liquidatable": liquidatable[places],
        "is_below_one": np.ma.masked_array(below_one[places], mask=no_debt[places]),
        "blocked_reason": blocked,
    }
    names = [f"collateral{n + 1}" for n in range(COLLATERAL_SLOTS)]
    names += [f"debt{n + 1}" for n in range(DEBT_SLOTS)]
    for i, name in enumerate(names):
        values[f"{name}_term_id"] = term_ids[kinds[i]]
        values[f"{name}_worth"] = slotted.worth[i, places]
        values[f"{name}_amount"] = slotted.amount[i, places]
    return Columns(AccountSlots, len(places), values)


def _worths(currency: Currency, values: Sequence[int]) -> Any:
    """USD of many values; None where it is not known."""
    import numpy as np

    if currency.usd is None:
        return None
    unit, usd = currency.unit, currency.usd
    return np.array([value / unit * usd for value in values], dtype=float)


def _only_true(values: Any) -> Any:
    """True where it is true, else null; or the one value that all have."""
    import numpy as np

    if values.all():
        return True
    return np.ma.masked_array(values, mask=~values)


def _sparse(numbers: Words | list[Any], places: Any, missing: Any) -> Words:
    """Integers at some places, null at the others."""
    import numpy as np

    assert isinstance(numbers, Words)

    def spread(half: Any) -> Any:
        if half is None:
            return None
        filled = np.zeros(len(missing), dtype=np.uint64)
        filled[places] = half
        return filled

    return Words(spread(numbers.low), spread(numbers.high), missing)
