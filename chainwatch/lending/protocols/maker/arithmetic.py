"""Maker (Sky) vaults in integers: wad amounts, ray rates, rad debts.

Source: makerdao/dss fa4f663 (spot, dog). No reader uses it yet; test vectors hold it against the
contracts (tests/lending/test_vectors.py). Names are the contracts' own: ink (collateral), art
(normalised debt), chop (penalty), tab (debt with penalty), dust (least debt).
"""

from __future__ import annotations

import msgspec

from chainwatch.lending.integers import RAY, WAD


class Bark(msgspec.Struct, frozen=True):
    """What goes into auction: debt (wad), collateral (wad), due and tab (rad)."""

    debt: int
    collateral: int
    due: int
    tab: int


def spot(price: int, par: int, ratio: int) -> int:
    """Price with the liquidation ratio repaid off, ray; `price` in wad."""
    return price * 10**9 * RAY // par * RAY // ratio


def is_unsafe(ink: int, art: int, rate: int, spot_price: int) -> bool:
    """Dog.bark may be called."""
    return ink * spot_price < art * rate


def bark(ink: int, art: int, rate: int, chop: int, room: int, dust: int) -> Bark:
    """The part of a vault that one bark takes; `room` and `dust` in rad, `chop` in wad.

    A remainder below the dust limit is repaid with it.
    """
    repaid = min(art, room * WAD // rate // chop)
    if art > repaid and (art - repaid) * rate < dust:
        repaid = art
    due = repaid * rate
    return Bark(debt=repaid, collateral=ink * repaid // art, due=due, tab=due * chop // WAD)
