"""Aave v3 in integers: balances and health factor, by pool revision.

Sources: aave/aave-v3-core 782f519 (3.0.x) and aave-dao/aave-v3-origin v3.1.0 … v3.6.0 and
fd1fbd9 (3.7): GenericLogic, EModeLogic, WadRayMath, MathUtils,
ReserveConfiguration, UserConfiguration, StableDebtToken. Interest between blocks
(`linear_interest`, `compound_interest_taylor`) is used by no reader; test vectors hold it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from chainwatch.lending.close_rules import POSITION_HALF, RESERVE_HALF, CloseRule
from chainwatch.lending.integers import (
    BPS,
    RAY,
    UINT_MAX,
    YEAR_SECONDS,
    ChainReverts,
    ceil_div,
    checked,
    percent_mul,
    ray_mul,
    unit_of,
    wad_div,
)

BASE_DECIMALS = 8
LIQUIDATABLE_BELOW = 10**18


class Profile(msgspec.Struct, frozen=True):
    """The rules of one group of pool revisions.

    truncates_lt: the average threshold is truncated to 1 bp.
    rounding: of balances and debt values, "half-up" (values floored) or "directed" (supply down,
    debt up).
    emode: "category" = one category per asset, with an optional price; "bitmap" = the category
    lists its collaterals.
    lt_gate: a collateral whose own threshold is 0 does not count at all.
    close_rule: how much of a debt one call may repay, and what it must leave; the integers of these
    amounts are in chainwatch.lending.protocols.aave_v3.liquidation.
    compounding: of a stable rate, "yearly" divides by the year last, "per-second" first.
    seizing: rounding of a liquidation's amounts, "half-up", "ceil-debt" (only the debt needed is
    rounded up) or "directed".
    sentinel: the pool asks a sequencer sentinel, where it has one, before a liquidation.
    grace_periods: a reserve may have a time until which nothing of it is liquidated.
    """

    version: str
    truncates_lt: bool = True
    rounding: Literal["half-up", "directed"] = "half-up"
    emode: Literal["category", "bitmap"] = "bitmap"
    lt_gate: bool = True
    stable_debt: bool = False
    close_rule: CloseRule = POSITION_HALF
    compounding: Literal["yearly", "per-second"] = "yearly"
    seizing: Literal["half-up", "ceil-debt", "directed"] = "half-up"
    sentinel: bool = True
    grace_periods: bool = True


V3_0 = Profile(
    "3.0", emode="category", stable_debt=True, close_rule=RESERVE_HALF, grace_periods=False
)
V3_1 = Profile("3.1", emode="category", stable_debt=True, close_rule=RESERVE_HALF)
V3_2 = Profile("3.2", close_rule=RESERVE_HALF)
V3_3 = Profile("3.3")
V3_4 = Profile("3.4")
V3_5 = Profile("3.5", truncates_lt=False, rounding="directed", seizing="ceil-debt")
V3_6 = msgspec.structs.replace(V3_5, version="3.6", lt_gate=False)
V3_7 = msgspec.structs.replace(V3_6, version="3.7", seizing="directed", sentinel=False)

# POOL_REVISION() → rules. A revision that is not here is refused: its rounding is not known.
PROFILES: dict[int, Profile] = {
    1: V3_0,
    2: V3_0,
    3: V3_0,
    4: V3_1,
    5: V3_2,
    6: V3_2,
    7: V3_3,
    8: V3_4,
    9: V3_5,
    10: V3_6,
    11: V3_7,
}


class ReserveConfig(msgspec.Struct, frozen=True):
    """The configuration bitmap of a reserve, unpacked; thresholds in basis points."""

    ltv: int
    lt: int
    bonus: int
    decimals: int
    active: bool
    frozen: bool
    borrowing: bool
    paused: bool
    protocol_fee: int
    emode: int


def reserve_config(data: int) -> ReserveConfig:
    """Unpack ReserveConfigurationMap.data."""

    def bits(first: int, width: int) -> int:
        return (data >> first) & ((1 << width) - 1)

    return ReserveConfig(
        ltv=bits(0, 16),
        lt=bits(16, 16),
        bonus=bits(32, 16),
        decimals=bits(48, 8),
        active=bool(bits(56, 1)),
        frozen=bool(bits(57, 1)),
        borrowing=bool(bits(58, 1)),
        paused=bool(bits(60, 1)),
        protocol_fee=bits(152, 16),
        emode=bits(168, 8),
    )


def flagged(user_config: int, reserve_count: int) -> list[tuple[int, bool, bool]]:
    """(reserve id, borrows, uses as collateral) of every reserve with a bit set."""
    flags = []
    for i in range(reserve_count):
        pair = (user_config >> (2 * i)) & 3
        if pair:
            flags.append((i, bool(pair & 1), bool(pair & 2)))
    return flags


class ReserveState(msgspec.Struct, frozen=True):
    """The part of a reserve that accounts need; `price` is None where the oracle reverts."""

    asset: str
    reserve_id: int
    config: ReserveConfig
    liquidity_index: int
    debt_index: int
    price: int | None


class EModeState(msgspec.Struct, frozen=True):
    """An e-mode category. `price` replaces the assets' own where it is not 0, and is None where its
    oracle reverts (up to 3.1); `collateral_bitmap` has a bit per reserve id (from 3.2)."""

    lt: int
    bonus: int
    price: int | None = 0
    collateral_bitmap: int = 0


class Stable(msgspec.Struct, frozen=True):
    """A stable-rate debt as its token stores it: principal, ray per year, Unix seconds."""

    principal: int
    rate: int
    since: int


class ReserveHolding(msgspec.Struct, frozen=True):
    """What an account has in one reserve: scaled balances; `collateral` None = not flagged."""

    asset: str
    collateral: int | None = None
    debt: int | None = None
    stable: Stable | None = None


class LegState(msgspec.Struct, frozen=True):
    """One balance as the contract counts it: token units, base units, terms that apply.

    side is "collateral", "debt", or "idle": flagged as collateral, but with a threshold of 0 it
    does not count (up to 3.5; from 3.6 on it counts with that threshold), or a flag of either kind
    without a balance.
    Where the contract would revert, `value` is None and `problem` says why; `raw` is then what
    it would be without the limit of 256 bits. An idle balance is never multiplied with its price,
    so that one without a value is no problem.
    """

    asset: str
    side: Literal["collateral", "debt", "idle"]
    scaled: int
    stable: Stable | None
    raw: int
    value: int | None
    problem: str
    lt: int
    bonus: int
    category_priced: bool = False  # at the e-mode category's price, not at the asset's


class AccountState(msgspec.Struct, frozen=True):
    """An account as `getUserAccountData` sees it. `hf` None = no debt (2^256-1 on chain)."""

    collateral: int
    debt: int
    average_lt: int
    hf: int | None


def compound_interest(rate: int, seconds: int) -> int:
    """MathUtils.calculateCompoundedInterest of 3.0: the factor in ray after `seconds`."""
    if seconds == 0:
        return RAY
    less_one = seconds - 1
    less_two = seconds - 2 if seconds > 2 else 0
    squared = ray_mul(rate, rate) // YEAR_SECONDS**2
    cubed = ray_mul(squared, rate) // YEAR_SECONDS
    second = seconds * less_one * squared // 2
    third = seconds * less_one * less_two * cubed // 6
    return RAY + rate * seconds // YEAR_SECONDS + second + third


def compound_interest_per_second(rate: int, seconds: int) -> int:
    """MathUtils.calculateCompoundedInterest of Aave v2: the factor in ray after `seconds`."""
    if seconds == 0:
        return RAY
    less_one = seconds - 1
    less_two = seconds - 2 if seconds > 2 else 0
    per_second = rate // YEAR_SECONDS
    squared = ray_mul(per_second, per_second)
    cubed = ray_mul(squared, per_second)
    second = seconds * less_one * squared // 2
    third = seconds * less_one * less_two * cubed // 6
    return RAY + per_second * seconds + second + third


def stable_balance(profile: Profile, stable: Stable, now: int) -> int:
    """StableDebtToken.balanceOf at a block's time stamp."""
    if stable.principal == 0:
        return 0
    per_second = profile.compounding == "per-second"
    compound = compound_interest_per_second if per_second else compound_interest
    return ray_mul(stable.principal, compound(stable.rate, now - stable.since))


def legs(
    profile: Profile,
    holdings: Sequence[ReserveHolding],
    emode: int,
    reserves: Mapping[str, ReserveState],
    emodes: Mapping[int, EModeState],
    now: int,
) -> list[LegState]:
    """The balances of one account at a block with the time stamp `now`."""
    category = emodes.get(emode) if emode else None
    # The pool asks a category's oracle first, whatever the account holds.
    category_fails = category is not None and category.price is None
    directed = profile.rounding == "directed"
    states = []
    for holding in holdings:
        reserve = reserves[holding.asset]
        config = reserve.config
        terms = category if _inside(profile, category, emode, reserve) else None
        price, category_priced = reserve.price, False
        if terms is not None and terms.price:
            price, category_priced = terms.price, True
        if category_fails:
            price = None
        flagged_only = not (holding.collateral or holding.debt or holding.stable)
        if flagged_only and (holding.collateral, holding.debt) != (None, None):
            # The pool asks for the price of a flag's asset before it looks for a balance.
            value, problem = _value(0, price, config.decimals, up=False)
            states.append(
                LegState(
                    asset=holding.asset,
                    side="idle",
                    scaled=0,
                    stable=None,
                    raw=0,
                    value=value,
                    problem=problem,
                    lt=0,
                    bonus=0,
                )
            )
        if holding.collateral:
            counts = config.lt != 0 or not profile.lt_gate
            raw = (
                holding.collateral * reserve.liquidity_index // RAY
                if directed
                else _ray_mul_unchecked(holding.collateral, reserve.liquidity_index)
            )
            value, problem = _value(raw, price, config.decimals, up=False)
            if not counts and price is not None:
                problem = ""
            states.append(
                LegState(
                    asset=holding.asset,
                    side="collateral" if counts else "idle",
                    scaled=holding.collateral,
                    stable=None,
                    raw=raw,
                    value=value,
                    problem=problem,
                    lt=(terms.lt if terms is not None else config.lt) if counts else 0,
                    bonus=terms.bonus if terms is not None else config.bonus,
                    category_priced=category_priced,
                )
            )
        if holding.debt or holding.stable:
            raw = (
                ceil_div((holding.debt or 0) * reserve.debt_index, RAY)
                if directed
                else _ray_mul_unchecked(holding.debt or 0, reserve.debt_index)
            )
            raw += stable_balance(profile, holding.stable, now) if holding.stable else 0
            value, problem = _value(raw, price, config.decimals, up=directed)
            states.append(
                LegState(
                    asset=holding.asset,
                    side="debt",
                    scaled=holding.debt or 0,
                    stable=holding.stable,
                    raw=raw,
                    value=value,
                    problem=problem,
                    lt=0,
                    bonus=0,
                    category_priced=category_priced,
                )
            )
    return states


def _inside(
    profile: Profile, category: EModeState | None, emode: int, reserve: ReserveState
) -> bool:
    if category is None:
        return False
    if profile.emode == "category":
        return reserve.config.emode == emode
    return bool(category.collateral_bitmap >> reserve.reserve_id & 1)


def _ray_mul_unchecked(a: int, b: int) -> int:
    return (a * b + RAY // 2) // RAY


def _value(raw: int, price: int | None, decimals: int, *, up: bool) -> tuple[int | None, str]:
    if price is None:
        return None, "oracle reverted"
    if raw * price > UINT_MAX:
        return None, "balance times price overflows: the contract reverts"
    unit = unit_of(decimals)
    return (ceil_div(raw * price, unit) if up else raw * price // unit), ""


def account(profile: Profile, parts: Sequence[LegState]) -> AccountState:
    """Collateral, debt, average threshold and health factor of one account.

    Raises ChainReverts, with the reason, where `getUserAccountData` would revert.
    """
    collateral = debt = weighted = 0
    for leg in parts:
        if leg.problem:
            raise ChainReverts(leg.problem)
        if leg.value is None:
            continue
        if leg.side == "collateral":
            collateral = checked(collateral + leg.value, "collateral")
            weighted = checked(weighted + checked(leg.value * leg.lt, "threshold"), "threshold")
        elif leg.side == "debt":
            debt = checked(debt + leg.value, "debt")
    average = weighted // collateral if collateral else 0
    if debt == 0:
        hf = None
    elif profile.truncates_lt:
        hf = wad_div(percent_mul(collateral, average), debt)
    else:
        hf = wad_div(weighted, debt) // BPS
    return AccountState(collateral=collateral, debt=debt, average_lt=average, hf=hf)


def hf_word(hf: int | None) -> int:
    """A health factor as the contract returns it: 2^256-1 without debt."""
    return UINT_MAX if hf is None else hf


def linear_interest(rate: int, seconds: int) -> int:
    """MathUtils.calculateLinearInterest: the supply factor in ray after `seconds`."""
    return RAY + rate * seconds // YEAR_SECONDS


def compound_interest_taylor(rate: int, seconds: int) -> int:
    """MathUtils.calculateCompoundedInterest from 3.4 on: the debt factor in ray."""
    x = rate * seconds // YEAR_SECONDS
    return RAY + x + ray_mul(x, x // 2 + ray_mul(x, x // 6))
