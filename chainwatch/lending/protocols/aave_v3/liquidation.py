"""Aave v3 in integers: close factor and the amounts of a liquidation call, by pool revision.

Source: LiquidationLogic of the revisions named in chainwatch.lending.protocols.aave_v3.arithmetic.
No reader uses `liquidate`; the reference vectors hold it.
"""

from __future__ import annotations

from operator import floordiv

import msgspec

from chainwatch.lending.integers import BPS, ceil_div, percent_div, percent_mul, unit_of
from chainwatch.lending.protocols.aave_v3.arithmetic import BASE_DECIMALS, Profile

FULL_CLOSE_BELOW = 95 * 10**16  # at or below this health factor all of a debt may be repaid
SMALL_POSITION: int = 2_000 * 10**BASE_DECIMALS  # and below this value, too (from 3.3)
MIN_LEFTOVER: int = (
    1_000 * 10**BASE_DECIMALS
)  # what a liquidation must leave, or nothing (from 3.3)


class Pair(msgspec.Struct, frozen=True):
    """The input of a liquidation call: one debt, one collateral, and their account.

    Balances in token units, prices and `total_debt` in base units, `bonus` and `protocol_fee` in
    basis points (10500 = 5 %), `health_factor` in wad.
    """

    health_factor: int
    total_debt: int
    collateral_balance: int
    collateral_price: int
    collateral_decimals: int
    debt_balance: int
    debt_price: int
    debt_decimals: int
    bonus: int
    protocol_fee: int


class Seizure(msgspec.Struct, frozen=True):
    """The amounts of one liquidation call, token units."""

    debt_repaid: int
    collateral_to_liquidator: int
    protocol_fee: int
    leaves_dust: bool


def max_liquidatable_debt(profile: Profile, pair: Pair) -> int:
    """How much of the debt one call may repay (close factor), token units."""
    if profile.close_rule.close_basis == "reserve":
        always_half = profile.close_rule.full_close_below_hf is None
        only_half = always_half or pair.health_factor > FULL_CLOSE_BELOW
        return percent_mul(pair.debt_balance, BPS // 2 if only_half else BPS)
    unit = unit_of(pair.debt_decimals)
    collateral_value = (
        pair.collateral_balance * pair.collateral_price // unit_of(pair.collateral_decimals)
    )
    debt_value = (
        ceil_div(pair.debt_balance * pair.debt_price, unit)
        if profile.rounding == "directed"
        else pair.debt_balance * pair.debt_price // unit
    )
    if (
        collateral_value >= SMALL_POSITION
        and debt_value >= SMALL_POSITION
        and pair.health_factor > FULL_CLOSE_BELOW
    ):
        half = percent_mul(pair.total_debt, BPS // 2)
        if debt_value > half:
            return half * unit // pair.debt_price
    return pair.debt_balance


def liquidate(profile: Profile, pair: Pair, debt_to_cover: int) -> Seizure:
    """What `liquidationCall` repays and seizes.

    `leaves_dust`: the contract reverts with MustNotLeaveDust (from 3.3 on).
    """
    debt_unit, collateral_unit = unit_of(pair.debt_decimals), unit_of(pair.collateral_decimals)
    debt = min(debt_to_cover, max_liquidatable_debt(profile, pair))
    base = pair.debt_price * debt * collateral_unit // (pair.collateral_price * debt_unit)
    directed = profile.seizing == "directed"
    most = base * pair.bonus // BPS if directed else percent_mul(base, pair.bonus)
    if most > pair.collateral_balance:
        collateral = pair.collateral_balance
        worth = (
            pair.collateral_price * collateral * debt_unit // (pair.debt_price * collateral_unit)
        )
        if profile.seizing == "half-up":
            debt = percent_div(worth, pair.bonus)
        else:
            debt = ceil_div(worth * BPS, pair.bonus)
    else:
        collateral = most
    fee = 0
    if pair.protocol_fee:
        if directed:
            bonus_part = collateral - collateral * BPS // pair.bonus
            fee = ceil_div(bonus_part * pair.protocol_fee, BPS)
        else:
            bonus_part = collateral - percent_div(collateral, pair.bonus)
            fee = percent_mul(bonus_part, pair.protocol_fee)
    return Seizure(
        debt_repaid=debt,
        collateral_to_liquidator=collateral - fee,
        protocol_fee=fee,
        leaves_dust=_leaves_dust(profile, pair, debt, collateral),
    )


def _leaves_dust(profile: Profile, pair: Pair, debt: int, collateral: int) -> bool:
    if profile.close_rule.min_leftover_usd is None:
        return False
    if debt >= pair.debt_balance or collateral >= pair.collateral_balance:
        return False
    divide = ceil_div if profile.rounding == "directed" else floordiv
    debt_left = divide((pair.debt_balance - debt) * pair.debt_price, unit_of(pair.debt_decimals))
    collateral_left = (
        (pair.collateral_balance - collateral)
        * pair.collateral_price
        // unit_of(pair.collateral_decimals)
    )
    return debt_left < MIN_LEFTOVER or collateral_left < MIN_LEFTOVER
