"""Compound v2 in integers: cToken exchange rates, one factor for borrowing and liquidation.

Source: compound-finance/compound-protocol a3214f6 (Comptroller, CToken, ExponentialNoError).
Prices are mantissas in USD · 10^(36 - token decimals); factors and rates are 1e18.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

MANTISSA = 10**18


class MarketBalance(msgspec.Struct, frozen=True):
    """What an account has in one cToken market."""

    c_tokens: int
    exchange_rate: int
    borrow: int
    collateral_factor: int
    price: int


def borrow_balance(principal: int, market_index: int, user_index: int) -> int:
    """CToken.borrowBalanceStored."""
    return principal * market_index // user_index if principal else 0


def vai_balance(minted: int, past_interest: int, growth: int) -> int:
    """VAIController.getVAIRepayAmount; `growth` is that of its index since the account's, 1e18."""
    return minted + growth * (minted - past_interest) // MANTISSA


def sums(balances: Sequence[MarketBalance]) -> tuple[int, int]:
    """(weighted collateral, borrows), as getHypotheticalAccountLiquidity adds them."""
    collateral = borrows = 0
    for balance in balances:
        rate = balance.collateral_factor * balance.exchange_rate // MANTISSA
        collateral += rate * balance.price // MANTISSA * balance.c_tokens // MANTISSA
        borrows += balance.price * balance.borrow // MANTISSA
    return collateral, borrows


def is_liquidatable(balances: Sequence[MarketBalance]) -> bool:
    """A shortfall exists."""
    collateral, borrows = sums(balances)
    return borrows > collateral


def max_close(borrow: int, close_factor: int) -> int:
    """How much of a borrow one liquidation may repay."""
    return close_factor * borrow // MANTISSA


def seize_tokens(
    repaid: int, incentive: int, price_borrowed: int, price_collateral: int, exchange_rate: int
) -> int:
    """Comptroller.liquidateCalculateSeizeTokens: cTokens taken for a repayment."""
    numerator = incentive * price_borrowed // MANTISSA
    denominator = price_collateral * exchange_rate // MANTISSA
    return numerator * MANTISSA // denominator * repaid // MANTISSA


def protocol_share(seized: int, share: int) -> int:
    """The part of seized cTokens that goes to reserves."""
    return seized * share // MANTISSA
