"""Close rules: how much of an account's debt one liquidation may repay, in numbers."""

from __future__ import annotations

from typing import Literal

import msgspec


class CloseRule(msgspec.Struct, frozen=True, kw_only=True):
    """The close rule of a market; the fields are columns of its Snapshot rows.

    `close_factor`: share that may be repaid of the debt in one reserve, or of all debt of the
    account (`close_basis`). All of the reserve's debt may be repaid from the health factor
    `full_close_below_hf` down, and where its collateral or debt is below `full_close_below_usd`.
    `min_leftover_usd`: what has to be left of both where neither is taken whole. `target_hf`:
    health factor up to which may be repaid; all where less debt than `min_leftover_usd` would be
    left. `absorbs`: the protocol takes over the account, whatever the other fields say.
    """

    close_factor: float = 1.0
    close_basis: Literal["reserve", "position"] = "position"
    full_close_below_hf: float | None = None
    full_close_below_usd: float | None = None
    min_leftover_usd: float | None = None
    target_hf: float | None = None
    absorbs: bool = False


HALF = CloseRule(close_factor=0.5, close_basis="reserve")
RESERVE_HALF = CloseRule(close_factor=0.5, close_basis="reserve", full_close_below_hf=0.95)
POSITION_HALF = CloseRule(
    close_factor=0.5,
    full_close_below_hf=0.95,
    full_close_below_usd=2000.0,
    min_leftover_usd=1000.0,
)
WHOLE = CloseRule()
ABSORB = CloseRule(absorbs=True)


def up_to(target_hf: float) -> CloseRule:
    """Of one reserve, what brings the health factor to a target, or all of a small debt."""
    return CloseRule(close_basis="reserve", target_hf=target_hf, min_leftover_usd=1000.0)
