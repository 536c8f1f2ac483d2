"""Euler vaults (EVK) in integers: the liquidation discount grows with the shortfall.

Source: euler-xyz/euler-vault-kit 5b98b42 (LiquidityUtils, Liquidation). No reader uses it yet;
test vectors hold it against the contract (tests/lending/test_vectors.py).
"""

from __future__ import annotations

import msgspec

from chainwatch.lending.integers import BPS, WAD


class MaxLiquidation(msgspec.Struct, frozen=True):
    """The largest liquidation: assets to repay, collateral received, discount factor in wad."""

    adjusted_collateral: int
    discount_factor: int | None
    repay: int
    received: int


def liquidation(
    collateral_balance: int,
    collateral_value: int,
    ltv_bps: int,
    liability: int,
    liability_value: int,
    max_discount_bps: int,
) -> MaxLiquidation:
    """Liquidation.calculateMaxLiquidation for one collateral; values in the unit of account.

    A position is liquidatable unless its adjusted collateral exceeds the liability; equality is
    liquidatable.
    """
    adjusted = collateral_value * ltv_bps // BPS
    if adjusted > liability_value:
        return MaxLiquidation(adjusted, None, 0, 0)
    factor = max(adjusted * WAD // liability_value, WAD - max_discount_bps * (WAD // BPS))
    repay_value = liability_value
    yield_value = repay_value * WAD // factor
    if collateral_value < yield_value:
        repay_value = collateral_value * factor // WAD
        yield_value = collateral_value
    return MaxLiquidation(
        adjusted_collateral=adjusted,
        discount_factor=factor,
        repay=repay_value * liability // liability_value,
        received=yield_value * collateral_balance // collateral_value,
    )
