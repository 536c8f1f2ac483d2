"""Aave v2 in integers: the rules of v3.0 without e-mode, half of a debt per liquidation, always.

Values are in ETH with 18 decimals on the main market. Source: aave/protocol-v2 ce53c4a
(GenericLogic, LendingPoolCollateralManager, MathUtils, PercentageMath).
"""

from __future__ import annotations

from chainwatch.lending.close_rules import HALF
from chainwatch.lending.integers import percent_div, percent_mul, unit_of
from chainwatch.lending.protocols.aave_v3.arithmetic import Profile
from chainwatch.lending.protocols.aave_v3.liquidation import Pair, max_liquidatable_debt

PROFILE = Profile(
    "aave 2",
    emode="category",
    stable_debt=True,
    close_rule=HALF,
    compounding="per-second",
    sentinel=False,
    grace_periods=False,
)
# LENDINGPOOL_REVISION() → rules
PROFILES = {1: PROFILE, 2: PROFILE}


def liquidate(pair: Pair, debt_to_cover: int) -> tuple[int, int]:
    """(debt repaid, collateral seized) of one liquidationCall, token units.

    The bonus is applied before the division, unlike in v3.
    """
    repaid = min(debt_to_cover, max_liquidatable_debt(PROFILE, pair))
    collateral_unit, debt_unit = unit_of(pair.collateral_decimals), unit_of(pair.debt_decimals)
    most = percent_mul(pair.debt_price * repaid * collateral_unit, pair.bonus) // (
        pair.collateral_price * debt_unit
    )
    if most <= pair.collateral_balance:
        return repaid, most
    worth = (
        pair.collateral_price
        * pair.collateral_balance
        * debt_unit
        // (pair.debt_price * collateral_unit)
    )
    return min(repaid, percent_div(worth, pair.bonus)), pair.collateral_balance
