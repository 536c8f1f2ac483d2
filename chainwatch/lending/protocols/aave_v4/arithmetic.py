"""Aave v4 in integers: an account per spoke, values with 26 decimals, a target health factor.

Source: aave/aave-v4 0051c6e (Spoke, LiquidationLogic), by reading only.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chainwatch.lending.integers import BPS, RAY, WAD, ceil_div, unit_of

VALUE_DECIMALS = 26
_UNIT_DECIMALS = 18


class Supplied(msgspec.Struct, frozen=True):
    """One collateral: amount in token units, price with 8 decimals, the account's own factor."""

    amount: int
    decimals: int
    price: int
    collateral_factor_bps: int


class Drawn(msgspec.Struct, frozen=True):
    """One debt: drawn shares and their index (ray), premium debt in ray, price with 8 decimals."""

    shares: int
    index: int
    premium_ray: int
    decimals: int
    price: int


class SpokeAccountState(msgspec.Struct, frozen=True):
    """Collateral value (26 decimals), debt value (26 decimals and ray), health factor in wad."""

    collateral: int
    debt_ray: int
    hf: int | None


def account(collaterals: Sequence[Supplied], debts: Sequence[Drawn]) -> SpokeAccountState:
    """Spoke's account data. Debt is not rounded at all."""
    values = [
        (c.amount * unit_of(_UNIT_DECIMALS - c.decimals) * c.price, c.collateral_factor_bps)
        for c in collaterals
    ]
    debt = sum(
        (d.shares * d.index + d.premium_ray) * unit_of(_UNIT_DECIMALS - d.decimals) * d.price
        for d in debts
    )
    weighted = sum(value * factor for value, factor in values)
    hf = weighted * (WAD // BPS) * RAY // debt if debt else None
    return SpokeAccountState(collateral=sum(v for v, _ in values), debt_ray=debt, hf=hf)


def liquidation_bonus(
    hf: int, hf_for_max_bonus: int, bonus_factor_bps: int, max_bonus_bps: int
) -> int:
    """The bonus incl. principal in basis points: rises as the health factor falls."""
    if hf <= hf_for_max_bonus:
        return max_bonus_bps
    least = (max_bonus_bps - BPS) * bonus_factor_bps // BPS + BPS
    return least + (max_bonus_bps - least) * (WAD - hf) // (WAD - hf_for_max_bonus)


def debt_to_target(
    total_debt: int,
    hf: int,
    target_hf: int,
    bonus_bps: int,
    collateral_factor_bps: int,
    price: int,
    decimals: int,
) -> int:
    """The repayment that brings an account to its target health factor, token units.

    `total_debt` has 26 decimals.
    """
    penalty = ceil_div(bonus_bps * (WAD // BPS) * collateral_factor_bps, BPS)
    return ceil_div(
        total_debt * unit_of(decimals) * (target_hf - hf), (target_hf - penalty) * price * WAD
    )
