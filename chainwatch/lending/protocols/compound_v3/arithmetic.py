"""Compound III (Comet) in integers: one base asset per market, whole-account absorption.

Source: compound-finance/comet d5a30b0 (Comet, CometCore, CometMath). Prices have 8 decimals and
are in the market's quote unit, which is not always USD. Factors are 1e18.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chainwatch.lending.integers import ChainReverts

FACTOR = 10**18
INDEX_SCALE = 10**15
PRICE_DECIMALS = 8


class Base(msgspec.Struct, frozen=True):
    """The base asset and its indices, as stored or as accrued."""

    borrow_index: int
    supply_index: int
    price: int
    scale: int


class Collateral(msgspec.Struct, frozen=True):
    """One collateral of an account with the terms of its asset."""

    balance: int
    price: int
    scale: int
    borrow_factor: int
    liquidate_factor: int
    liquidation_factor: int


def mul_factor(amount: int, factor: int) -> int:
    return amount * factor // FACTOR


def mul_price(amount: int, price: int, scale: int) -> int:
    return amount * price // scale


def accrued(index: int, rate_per_second: int, seconds: int) -> int:
    """An index after `seconds` (accruedInterestIndices): simple interest per accrual."""
    return index + mul_factor(index, rate_per_second * seconds)


def present_value(principal: int, base: Base) -> int:
    """Signed base balance of a signed principal; negative = debt."""
    if principal >= 0:
        return principal * base.supply_index // INDEX_SCALE
    return -(-principal * base.borrow_index // INDEX_SCALE)


def principal_value(present: int, base: Base) -> int:
    """Signed principal of a signed balance: supply rounds down, borrow rounds up."""
    if present >= 0:
        return present * INDEX_SCALE // base.supply_index
    index = base.borrow_index
    return -((-present * INDEX_SCALE + index - 1) // index)


def debt_value(principal: int, base: Base) -> int:
    """Debt in the quote unit, 8 decimals; 0 for a supplier."""
    return mul_price(max(-present_value(principal, base), 0), base.price, base.scale)


def liquidity(principal: int, base: Base, collaterals: Sequence[Collateral]) -> int:
    """What `isLiquidatable` compares with 0, in the quote unit with 8 decimals."""
    present = present_value(principal, base)
    worth = mul_price(abs(present), base.price, base.scale)
    return (worth if present >= 0 else -worth) + sum(
        mul_factor(mul_price(c.balance, c.price, c.scale), c.liquidate_factor) for c in collaterals
    )


def _covered(
    principal: int, base: Base, collaterals: Sequence[Collateral], factors: Sequence[int]
) -> bool:
    """Whether collateral at its factors covers a debt.

    Feeds are asked in this order, and no further one once the debt is covered.
    """
    owed = -present_value(principal, base)
    margin = -mul_price(owed, _required_price(base.price), base.scale)
    for held, factor in zip(collaterals, factors, strict=True):
        if margin >= 0:
            break
        margin += mul_factor(
            mul_price(held.balance, _required_price(held.price), held.scale), factor
        )
    return margin >= 0


def _required_price(price: int) -> int:
    """A price; raises ChainReverts where it is 0, as Comet.getPrice does."""
    if not price:
        raise ChainReverts("oracle reverted")
    return price


def is_liquidatable(principal: int, base: Base, collaterals: Sequence[Collateral]) -> bool:
    """Comet.isLiquidatable: a view on the indices it is given (stored ones on chain).

    Raises ChainReverts where a feed that it asks has no price.
    """
    factors = [c.liquidate_factor for c in collaterals]
    return principal < 0 and not _covered(principal, base, collaterals, factors)


def is_borrow_collateralized(principal: int, base: Base, collaterals: Sequence[Collateral]) -> bool:
    """Comet.isBorrowCollateralized; raises as `is_liquidatable` does."""
    factors = [c.borrow_factor for c in collaterals]
    return principal >= 0 or _covered(principal, base, collaterals, factors)


class Absorption(msgspec.Struct, frozen=True):
    """One absorb: all collateral seized at its values, base balances before and after.

    `base_paid_out` is what reserves paid for the debt; `bad_debt` what the seized collateral,
    at its liquidation factors, did not cover (token units of the base).
    """

    old_balance: int
    seized_values: tuple[int, ...]
    new_balance: int
    new_principal: int
    base_paid_out: int
    bad_debt: int


def absorb(principal: int, base: Base, collaterals: Sequence[Collateral]) -> Absorption:
    """Comet.absorbInternal of one account."""
    old = present_value(principal, base)
    values = tuple(mul_price(c.balance, c.price, c.scale) for c in collaterals)
    credit = sum(
        mul_factor(v, c.liquidation_factor) for v, c in zip(values, collaterals, strict=True)
    )
    delta = credit * base.scale // base.price
    new = max(old + delta, 0)
    return Absorption(
        old_balance=old,
        seized_values=values,
        new_balance=new,
        new_principal=principal_value(new, base),
        base_paid_out=new - old,
        bad_debt=max(-old - delta, 0),
    )


def quote_collateral(
    base_amount: int, base: Base, collateral: Collateral, store_front_factor: int
) -> int:
    """Collateral that buyCollateral hands out for an amount of base, token units."""
    discount = mul_factor(store_front_factor, FACTOR - collateral.liquidation_factor)
    discounted = mul_factor(collateral.price, FACTOR - discount)
    return base.price * base_amount * collateral.scale // discounted // base.scale
