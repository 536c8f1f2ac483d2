"""Aave v3 in integers, against the reference vectors: exact, no tolerance."""

from __future__ import annotations

from typing import Any

import pytest

from chainwatch.lending.close_rules import POSITION_HALF, RESERVE_HALF
from chainwatch.lending.integers import UINT_MAX, WAD
from chainwatch.lending.protocols.aave_v3 import arithmetic as aave_v3_arithmetic
from chainwatch.lending.protocols.aave_v3.arithmetic import (
    EModeState,
    ReserveConfig,
    ReserveHolding,
    ReserveState,
)
from chainwatch.lending.protocols.aave_v3.liquidation import (
    FULL_CLOSE_BELOW,
    MIN_LEFTOVER,
    SMALL_POSITION,
    Pair,
    liquidate,
    max_liquidatable_debt,
)
from tests.vectors import cases

BY_VERSION = {p.version: p for p in aave_v3_arithmetic.PROFILES.values()}
# A vector's key holds for these versions.
ACCOUNT_KEYS = {
    "3.0": ["3.0", "3.1", "3.2", "3.3", "3.4"],
    "3.5": ["3.5"],
    "3.6": ["3.6", "3.7"],
}


def config(row: dict[str, Any]) -> ReserveConfig:
    return ReserveConfig(
        ltv=0,
        lt=row["lt"],
        bonus=10_500,
        decimals=row["decimals"],
        active=True,
        frozen=False,
        borrowing=True,
        paused=False,
        protocol_fee=0,
        emode=0,
    )


def accounts() -> list[Any]:
    """Each account case under each version that its expectation holds for."""
    params = []
    for param in cases("aave_v3", "account"):
        (case,) = param.values
        for version in (v for keys in ACCOUNT_KEYS.values() for v in keys):
            # category bitmaps begin with 3.2
            if not (case.get("emode") and BY_VERSION[version].emode == "category"):
                label = f"{version} {case.get('name')}"
                params.append(pytest.param(case, version, marks=param.marks, id=label))
    return params


@pytest.mark.parametrize(("case", "version"), accounts())
def test_an_account_is_what_the_contract_says(case: dict[str, Any], version: str) -> None:
    key = next(k for k, versions in ACCOUNT_KEYS.items() if version in versions)
    expected = case["expected"][key]
    emode = case["emode"]
    reserves = {
        str(row["id"]): ReserveState(
            asset=str(row["id"]),
            reserve_id=row["id"],
            config=config(row),
            liquidity_index=row["liq_index"],
            debt_index=row["debt_index"],
            price=row["price"],
        )
        for row in case["rows"]
    }
    emodes = (
        {1: EModeState(lt=emode["lt"], bonus=0, collateral_bitmap=emode["collateral_bitmap"])}
        if emode
        else {}
    )
    holdings = [
        ReserveHolding(
            asset=str(row["id"]),
            collateral=row["scaled_a"] if row["use"] else None,
            debt=row["scaled_v"],
        )
        for row in case["rows"]
    ]
    profile = BY_VERSION[version]
    parts = aave_v3_arithmetic.legs(profile, holdings, 1 if emode else 0, reserves, emodes, 0)
    state = aave_v3_arithmetic.account(profile, parts)
    assert state.collateral == expected["totalCollateralBase"]
    assert state.debt == expected["totalDebtBase"]
    assert state.average_lt == expected["currentLiquidationThreshold"]
    assert aave_v3_arithmetic.hf_word(state.hf) == expected["healthFactor"]
    assert (state.hf is not None and state.hf < aave_v3_arithmetic.LIQUIDATABLE_BELOW) == expected[
        "liquidatable"
    ]
    assert sum((p.value or 0) * p.lt for p in parts) == expected["sumLT"]


@pytest.mark.parametrize("case", cases("aave_v3", "liquidation_call"))
def test_a_liquidation_repays_and_seizes_what_the_contract_would(case: dict[str, Any]) -> None:
    given, expected = case["inputs"], case["expected"]
    profile = BY_VERSION[case["version"]]
    pair = Pair(
        health_factor=given["healthFactor"],
        total_debt=given["totalDebtBase"],
        collateral_balance=given["collBalance"],
        collateral_price=given["collPrice"],
        collateral_decimals=given["collDecimals"],
        debt_balance=given["debtBalance"],
        debt_price=given["debtPrice"],
        debt_decimals=given["debtDecimals"],
        bonus=given["liquidationBonus"],
        protocol_fee=given["protocolFee"],
    )
    assert max_liquidatable_debt(profile, pair) == expected["maxLiquidatableDebt"]
    seizure = liquidate(profile, pair, given["debtToCover"])
    assert seizure.debt_repaid == expected["debtRepaid"]
    assert seizure.collateral_to_liquidator == expected["collateralToLiquidator"]
    assert seizure.protocol_fee == expected["protocolFee"]
    assert seizure.leaves_dust == expected["revertsMustNotLeaveDust"]


@pytest.mark.parametrize(("version", "refused"), [("3.3", True), ("3.6", False)])
def test_a_remainder_below_the_limit_is_rounded_by_revision(version: str, refused: bool) -> None:
    """LiquidationLogic: the debt that is left is valued by division in v3.3, mulDivCeil in v3.6."""
    pair = Pair(
        health_factor=97 * 10**16,
        total_debt=5_000 * 10**8,
        collateral_balance=10**19,
        collateral_price=700 * 10**8,
        collateral_decimals=18,
        debt_balance=3_000 * 10**18,
        debt_price=10**8,
        debt_decimals=18,
        bonus=10_500,
        protocol_fee=0,
    )
    limit = 2_000 * 10**18
    leaves = [
        liquidate(BY_VERSION[version], pair, limit + more).leaves_dust for more in (0, 1, 10**10)
    ]
    assert leaves == [False, refused, True]


@pytest.mark.parametrize("case", cases("aave_v3", "accrual"))
def test_interest_accrues_by_the_formula_of_its_revision(case: dict[str, Any]) -> None:
    rate, seconds, expected = case["rate"], case["dt"], case["expected"]
    assert aave_v3_arithmetic.linear_interest(rate, seconds) == expected["linear"]
    assert aave_v3_arithmetic.compound_interest(rate, seconds) == expected["compounded_v3_0"]
    assert aave_v3_arithmetic.compound_interest_taylor(rate, seconds) == expected["compounded_v3_4"]


@pytest.mark.parametrize("case", cases("aave_v3", "reserve_config"))
def test_a_reserve_configuration_unpacks_into_its_fields(case: dict[str, Any]) -> None:
    config, expected = aave_v3_arithmetic.reserve_config(case["data"]), case["expected"]
    assert config.ltv == expected["ltv"]
    assert config.lt == expected["liquidationThreshold"]
    assert config.bonus == expected["liquidationBonus"]
    assert config.decimals == expected["decimals"]
    assert (config.active, config.frozen, config.borrowing) == (
        expected["active"],
        expected["frozen"],
        expected["borrowing"],
    )
    assert config.protocol_fee == expected["liquidationProtocolFee"]


@pytest.mark.parametrize("case", cases("aave_v3", "user_config"))
def test_user_flags_unpack_into_debts_and_collaterals(case: dict[str, Any]) -> None:
    flags = aave_v3_arithmetic.flagged(case["data"], 128)
    assert [i for i, borrows, _ in flags if borrows] == case["expected"]["borrowing"]
    assert [i for i, _, collateral in flags if collateral] == case["expected"]["collateral"]


def test_an_account_without_debt_has_the_largest_health_factor() -> None:
    for profile in BY_VERSION.values():
        assert aave_v3_arithmetic.hf_word(aave_v3_arithmetic.account(profile, []).hf) == UINT_MAX


@pytest.mark.parametrize("profile", BY_VERSION.values(), ids=lambda p: p.version)
def test_one_unit_of_debt_decides_whether_an_account_is_liquidatable(
    profile: aave_v3_arithmetic.Profile,
) -> None:
    row = {"lt": 8000, "decimals": 8}
    reserve = ReserveState("a", 0, config(row), 10**27, 10**27, 10**8)

    def hf(debt: int) -> int:
        holdings = [ReserveHolding("a", collateral=10**12, debt=debt)]
        parts = aave_v3_arithmetic.legs(profile, holdings, 0, {"a": reserve}, {}, 0)
        factor = aave_v3_arithmetic.account(profile, parts).hf
        assert factor is not None
        return factor

    assert hf(8 * 10**11) == aave_v3_arithmetic.LIQUIDATABLE_BELOW
    assert hf(8 * 10**11 + 1) < aave_v3_arithmetic.LIQUIDATABLE_BELOW
    assert hf(8 * 10**11 - 1) > aave_v3_arithmetic.LIQUIDATABLE_BELOW


def test_the_columns_of_a_close_rule_are_the_contracts_integers() -> None:
    unit = 10**aave_v3_arithmetic.BASE_DECIMALS
    assert POSITION_HALF.full_close_below_hf == RESERVE_HALF.full_close_below_hf
    assert POSITION_HALF.full_close_below_hf == FULL_CLOSE_BELOW / WAD
    assert POSITION_HALF.full_close_below_usd == SMALL_POSITION / unit
    assert POSITION_HALF.min_leftover_usd == MIN_LEFTOVER / unit
