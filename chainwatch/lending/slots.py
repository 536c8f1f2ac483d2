"""Slots: an account's balances side by side in one row, beside the legs that they are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from chainwatch.lending.integers import WAD
from chainwatch.tables.base import UINT_LIMIT, Row
from chainwatch.tables.lending import Account, AccountSlots, Leg, SlotTerm, Snapshot

COLLATERAL_SLOTS = 4
DEBT_SLOTS = 2
IDLE = "idle"  # a balance that counts neither as collateral nor as debt

R = TypeVar("R", Account, Leg)
_Name = tuple[str, str]  # account, position
Terms = tuple[str, str, float, float, bool]  # fields of a SlotTerm


class _Slot(NamedTuple):
    """A balance; in the order of slots the largest comes first."""

    minus_worth: float
    terms: Terms
    amount: float

    @property
    def worth(self) -> float:
        return 0.0 - self.minus_worth  # 0, not -0


_Held = tuple[list[_Slot], list[_Slot]]  # collateral, debt
EMPTY = _Slot(0.0, ("", "", 0.0, 0.0, False), 0.0)
_OWN = (AccountSlots, SlotTerm)


def with_slots(rows: Sequence[Row], others: Iterable[Terms] = ()) -> list[Row]:
    """The rows of one snapshot, and those of its accounts with their balances in slots.

    An account with more balances than slots, or with one whose worth is not known, has none. Slots
    among the rows are made anew. The Snapshot row becomes the last. `others` are terms in slots of
    further accounts: they get numbers, too.
    """
    rows = [row for row in rows if type(row) not in _OWN]
    (head,) = (row for row in rows if isinstance(row, Snapshot))
    unit = 10.0**head.base_decimals
    legs: dict[_Name, list[Leg]] = {}
    for row in rows:
        if isinstance(row, Leg):
            name = (row.account, row.position)
            if name in legs:
                legs[name].append(row)
            else:
                legs[name] = [row]
    held: dict[_Name, _Held] = {}
    for name, balances in legs.items():
        if (slots := _slots_of(balances, unit)) is not None:
            held[name] = slots
    own = (slot.terms for sides in held.values() for side in sides for slot in side)
    ids = _numbered([*own, *others])
    terms = [
        SlotTerm(
            snapshot=head.snapshot,
            market=head.market,
            term_id=number,
            asset=asset,
            side=side,
            lt_bps=lt_bps,
            bonus_bps=bonus_bps,
            category_priced=category_priced,
        )
        for (asset, side, lt_bps, bonus_bps, category_priced), number in ids.items()
    ]
    ids[EMPTY.terms] = 0
    marked: list[Row] = []
    slotted: list[AccountSlots] = []
    for row in rows:
        if isinstance(row, Account):
            name = (row.account, row.position)
            if any(held.get(name, ())):
                slotted.append(_slots_row(row, held[name], legs[name], ids))
            row = _marked(row, name in held or name not in legs)
        elif isinstance(row, Leg):
            row = _marked(row, (row.account, row.position) in held)
        if row is not head:
            marked.append(row)
    return [*marked, *terms, *slotted, head]


def _marked(row: R, in_slots: bool) -> R:
    wanted = True if in_slots else None
    return row if row.in_slots is wanted else msgspec.structs.replace(row, in_slots=wanted)


def _slots_of(legs: Sequence[Leg], unit: float) -> _Held | None:
    """What counts of an account, largest first; None where it does not fit."""
    collateral: list[_Slot] = []
    debts: list[_Slot] = []
    for leg in legs:
        side = leg.side
        if side == IDLE:
            continue
        worth = leg.usd
        if worth is None:
            # More digits than the table's integers have are no value for a query.
            if leg.value is None or leg.value >= UINT_LIMIT:
                return None
            worth = leg.value / unit
        terms = (leg.asset, side, leg.lt_bps, leg.bonus_bps, leg.category_priced)
        (debts if side == "debt" else collateral).append(_Slot(-worth, terms, leg.amount))
    if len(collateral) > COLLATERAL_SLOTS or len(debts) > DEBT_SLOTS:
        return None
    collateral.sort()
    debts.sort()
    return collateral, debts


def _numbered(terms: Iterable[Terms]) -> dict[Terms, int]:
    return {term: number for number, term in enumerate(sorted(set(terms)), start=1)}


def _slots_row(
    account: Account, held: _Held, legs: Iterable[Leg], ids: Mapping[Terms, int]
) -> AccountSlots:
    collateral, debts = held
    c1, c2, c3, c4 = collateral + [EMPTY] * (COLLATERAL_SLOTS - len(collateral))
    d1, d2 = debts + [EMPTY] * (DEBT_SLOTS - len(debts))
    verdict = account.liquidatable_accrued
    return AccountSlots(
        snapshot=account.snapshot,
        market=account.market,
        account=account.account,
        position=account.position,
        in_usd=not any(leg.usd is None and leg.side != IDLE for leg in legs),
        has_several_lts=len(collateral) > 1 and len({slot.terms[2] for slot in collateral}) > 1,
        liquidatable=account.liquidatable if verdict is None else verdict,
        is_below_one=None if account.hf_wad is None else account.hf_wad < WAD,
        blocked_reason=account.blocked_reason,
        collateral1_term_id=ids[c1.terms],
        collateral1_worth=c1.worth,
        collateral1_amount=c1.amount,
        collateral2_term_id=ids[c2.terms],
        collateral2_worth=c2.worth,
        collateral2_amount=c2.amount,
        collateral3_term_id=ids[c3.terms],
        collateral3_worth=c3.worth,
        collateral3_amount=c3.amount,
        collateral4_term_id=ids[c4.terms],
        collateral4_worth=c4.worth,
        collateral4_amount=c4.amount,
        debt1_term_id=ids[d1.terms],
        debt1_worth=d1.worth,
        debt1_amount=d1.amount,
        debt2_term_id=ids[d2.terms],
        debt2_worth=d2.worth,
        debt2_amount=d2.amount,
    )
