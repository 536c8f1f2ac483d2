"""Morpho Blue in integers: isolated markets, shares, no close factor.

Source: morpho-org/morpho-blue 3085651 (Morpho, SharesMathLib, MathLib). The oracle price has
36 decimals (plus loan minus collateral decimals); lltv and factors are 1e18.
"""

from __future__ import annotations

import msgspec

from chainwatch.lending.integers import WAD, ceil_div

ORACLE_SCALE = 10**36
VIRTUAL_SHARES = 10**6
VIRTUAL_ASSETS = 1
MAX_INCENTIVE = 115 * 10**16
CURSOR = 3 * 10**17


class BorrowTotals(msgspec.Struct, frozen=True):
    """A market's borrowed assets and shares after accrual."""

    assets: int
    shares: int


def assets_up(shares: int, totals: BorrowTotals) -> int:
    """The debt of shares, rounded up."""
    return ceil_div(shares * (totals.assets + VIRTUAL_ASSETS), totals.shares + VIRTUAL_SHARES)


def assets_down(shares: int, totals: BorrowTotals) -> int:
    return shares * (totals.assets + VIRTUAL_ASSETS) // (totals.shares + VIRTUAL_SHARES)


def max_borrow(collateral: int, price: int, lltv: int) -> int:
    """The debt up to which a position is healthy, loan token units."""
    return collateral * price // ORACLE_SCALE * lltv // WAD


def is_healthy(
    borrow_shares: int, collateral: int, price: int, lltv: int, totals: BorrowTotals
) -> bool:
    """Morpho._isHealthy."""
    return assets_up(borrow_shares, totals) <= max_borrow(collateral, price, lltv)


def incentive_factor(lltv: int) -> int:
    """Liquidation incentive factor incl. principal, 1e18."""
    return min(MAX_INCENTIVE, WAD * WAD // (WAD - CURSOR * (WAD - lltv) // WAD))


def seized_for_shares(shares: int, price: int, lltv: int, totals: BorrowTotals) -> tuple[int, int]:
    """(collateral seized, assets repaid) where a liquidator names the shares to repay."""
    quoted = assets_down(shares, totals) * incentive_factor(lltv) // WAD
    return quoted * ORACLE_SCALE // price, assets_up(shares, totals)


def taylor_compounded(rate: int, seconds: int) -> int:
    """MathLib.wTaylorCompounded: the interest of a rate per second (1e18), compounded, above 1."""
    first = rate * seconds
    second = first * first // (2 * WAD)
    return first + second + second * first // (3 * WAD)


def accrued(totals: BorrowTotals, rate: int, seconds: int) -> BorrowTotals:
    """Morpho._accrueInterest for borrowers; a fee takes shares of the supply only."""
    interest = totals.assets * taylor_compounded(rate, seconds) // WAD
    return BorrowTotals(assets=totals.assets + interest, shares=totals.shares)
