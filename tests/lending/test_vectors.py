"""Every other protocol's integers against the reference vectors: exact, no tolerance."""

from __future__ import annotations

from typing import Any

import pytest

from chainwatch.lending.integers import RAY
from chainwatch.lending.protocols.aave_v2 import arithmetic as aave_v2_arithmetic
from chainwatch.lending.protocols.aave_v3 import arithmetic as aave_v3_arithmetic
from chainwatch.lending.protocols.aave_v3 import price_caps
from chainwatch.lending.protocols.aave_v3.liquidation import Pair
from chainwatch.lending.protocols.aave_v4 import arithmetic as aave_v4_arithmetic
from chainwatch.lending.protocols.compound_v2 import arithmetic as compound_v2_arithmetic
from chainwatch.lending.protocols.compound_v3 import arithmetic as compound_v3_arithmetic
from chainwatch.lending.protocols.euler import arithmetic as euler_arithmetic
from chainwatch.lending.protocols.maker import arithmetic as maker_arithmetic
from chainwatch.lending.protocols.morpho_blue import arithmetic as morpho_blue_arithmetic
from tests.vectors import cases

Case = dict[str, Any]


# --- Aave v2 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("aave_v2", "account"))
def test_an_aave_v2_account_is_what_the_contract_says(case: Case) -> None:
    reserves = {}
    for number, row in enumerate(case["rows"]):
        config = aave_v3_arithmetic.ReserveConfig(
            ltv=0,
            lt=row["lt"],
            bonus=0,
            decimals=row["decimals"],
            active=True,
            frozen=False,
            borrowing=True,
            paused=False,
            protocol_fee=0,
            emode=0,
        )
        # Balances are given, so the indices are 1.
        reserves[str(number)] = aave_v3_arithmetic.ReserveState(
            str(number), number, config, RAY, RAY, row["price"]
        )
    holdings = [
        aave_v3_arithmetic.ReserveHolding(
            str(n), row["a_balance"] if row["use"] else None, row["debt"]
        )
        for n, row in enumerate(case["rows"])
    ]
    profile = aave_v2_arithmetic.PROFILE
    state = aave_v3_arithmetic.account(
        profile, aave_v3_arithmetic.legs(profile, holdings, 0, reserves, {}, 0)
    )
    expected = case["expected"]
    assert state.collateral == expected["totalCollateralETH"]
    assert state.debt == expected["totalDebtETH"]
    assert state.average_lt == expected["currentLiquidationThreshold"]
    assert state.hf == expected["healthFactor"]
    assert (state.hf < 10**18) == expected["liquidatable"]


@pytest.mark.parametrize("case", cases("aave_v2", "liquidation_call"))
def test_an_aave_v2_liquidation_applies_the_bonus_before_dividing(case: Case) -> None:
    given, expected = case["inputs"], case["expected"]
    pair = Pair(
        health_factor=0,
        total_debt=0,
        collateral_balance=given["collBalance"],
        collateral_price=given["collPrice"],
        collateral_decimals=given["collDecimals"],
        debt_balance=given["debt"],
        debt_price=given["debtPrice"],
        debt_decimals=given["debtDecimals"],
        bonus=given["lb"],
        protocol_fee=0,
    )
    amounts = aave_v2_arithmetic.liquidate(pair, given["cover"])
    assert amounts == (expected["debtRepaid"], expected["collateralSeized"])


# --- Compound III -------------------------------------------------------------------------------


def comet_base(case: Case) -> compound_v3_arithmetic.Base:
    return compound_v3_arithmetic.Base(
        borrow_index=case["baseBorrowIndex"],
        supply_index=case.get("baseSupplyIndex", 10**15),
        price=case["basePrice"],
        scale=case["baseScale"],
    )


def comet_collaterals(case: Case) -> list[compound_v3_arithmetic.Collateral]:
    return [
        compound_v3_arithmetic.Collateral(
            balance=c["balance"],
            price=c["price"],
            scale=c["scale"],
            borrow_factor=c["borrowCF"],
            liquidate_factor=c["liquidateCF"],
            liquidation_factor=c["liquidationFactor"],
        )
        for c in case["collaterals"]
    ]


@pytest.mark.parametrize("case", cases("compound_v3", "account"))
def test_a_comet_account_is_what_the_contract_says(case: Case) -> None:
    base, collaterals, principal = comet_base(case), comet_collaterals(case), case["principal"]
    expected = case["expected"]
    assert -compound_v3_arithmetic.present_value(principal, base) == expected["debt"]
    assert compound_v3_arithmetic.debt_value(principal, base) == expected["debtValue"]
    assert compound_v3_arithmetic.liquidity(principal, base, collaterals) == expected["liquidity"]
    assert (
        compound_v3_arithmetic.is_liquidatable(principal, base, collaterals)
        == expected["isLiquidatable"]
    )
    assert (
        compound_v3_arithmetic.is_borrow_collateralized(principal, base, collaterals)
        == expected["isBorrowCollateralized"]
    )


@pytest.mark.parametrize("case", cases("compound_v3", "absorb"))
def test_an_absorption_takes_the_whole_account(case: Case) -> None:
    absorption = compound_v3_arithmetic.absorb(
        case["principal"], comet_base(case), comet_collaterals(case)
    )
    expected = case["expected"]
    assert absorption.old_balance == expected["oldBalance"]
    assert list(absorption.seized_values) == expected["seizedValues"]
    assert absorption.new_balance == expected["newBalance"]
    assert absorption.new_principal == expected["newPrincipal"]
    assert absorption.base_paid_out == expected["basePaidOut"]
    assert absorption.bad_debt == expected["badDebtBase"]


@pytest.mark.parametrize("case", cases("compound_v3", "quote_collateral"))
def test_collateral_is_sold_at_its_discount(case: Case) -> None:
    given = case["inputs"]
    base = compound_v3_arithmetic.Base(10**15, 10**15, given["basePrice"], given["baseScale"])
    collateral = compound_v3_arithmetic.Collateral(
        0, given["price"], given["scale"], 0, 0, given["liquidationFactor"]
    )
    collateral = compound_v3_arithmetic.quote_collateral(
        given["baseAmount"], base, collateral, given["storeFrontPriceFactor"]
    )
    assert collateral == case["expected"]


# --- Compound v2 --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("compound_v2", "account"))
def test_a_compound_v2_account_has_the_contracts_shortfall(case: Case) -> None:
    balances = [
        compound_v2_arithmetic.MarketBalance(
            c_tokens=row["cTokenBalance"],
            exchange_rate=row["exchangeRate"],
            borrow=row["borrowBalance"],
            collateral_factor=row["collateralFactor"],
            price=row["priceMantissa"],
        )
        for row in case["rows"]
    ]
    collateral, borrows = compound_v2_arithmetic.sums(balances)
    expected = case["expected"]
    assert (collateral, borrows) == (expected["sumCollateral"], expected["sumBorrow"])
    assert max(collateral - borrows, 0) == expected["liquidity"]
    assert max(borrows - collateral, 0) == expected["shortfall"]
    assert compound_v2_arithmetic.is_liquidatable(balances) == (expected["shortfall"] > 0)


@pytest.mark.parametrize("case", cases("compound_v2", "borrow_balance"))
def test_a_compound_v2_borrow_grows_with_its_index(case: Case) -> None:
    balance = compound_v2_arithmetic.borrow_balance(
        case["principal"], case["marketIndex"], case["userIndex"]
    )
    assert balance == case["expected"]


@pytest.mark.parametrize("case", cases("compound_v2", "liquidate"))
def test_a_compound_v2_liquidation_seizes_c_tokens(case: Case) -> None:
    given, expected = case["inputs"], case["expected"]
    assert (
        compound_v2_arithmetic.max_close(given["borrowBalance"], given["closeFactor"])
        == expected["maxClose"]
    )
    seized = compound_v2_arithmetic.seize_tokens(
        given["repayAmount"],
        given["liquidationIncentive"],
        given["priceBorrowed"],
        given["priceCollateral"],
        given["exchangeRateCollateral"],
    )
    assert seized == expected["seizeTokens"]
    assert (
        compound_v2_arithmetic.protocol_share(seized, given["protocolSeizeShare"])
        == expected["protocolSeizeTokens"]
    )


# --- Morpho Blue --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("morpho_blue", "lif"))
def test_the_incentive_factor_follows_from_the_lltv(case: Case) -> None:
    assert morpho_blue_arithmetic.incentive_factor(case["lltv"]) == case["expected"]


@pytest.mark.parametrize("case", cases("morpho_blue", "account"))
def test_a_morpho_position_is_healthy_when_the_contract_says_so(case: Case) -> None:
    totals = morpho_blue_arithmetic.BorrowTotals(
        case["totalBorrowAssets"], case["totalBorrowShares"]
    )
    terms = (case["collateral"], case["oraclePrice"], case["lltv"])
    assert (
        morpho_blue_arithmetic.assets_up(case["borrowShares"], totals)
        == case["expected"]["borrowed"]
    )
    assert morpho_blue_arithmetic.max_borrow(*terms) == case["expected"]["maxBorrow"]
    healthy = morpho_blue_arithmetic.is_healthy(case["borrowShares"], *terms, totals)
    assert healthy == case["expected"]["healthy"]


@pytest.mark.parametrize("case", cases("morpho_blue", "liquidate"))
def test_a_morpho_liquidation_seizes_what_the_shares_are_worth(case: Case) -> None:
    given, expected = case["inputs"], case["expected"]
    totals = morpho_blue_arithmetic.BorrowTotals(
        given["totalBorrowAssets"], given["totalBorrowShares"]
    )
    assert morpho_blue_arithmetic.incentive_factor(given["lltv"]) == expected["lif"]
    amounts = morpho_blue_arithmetic.seized_for_shares(
        given["repaidShares"], given["oraclePrice"], given["lltv"], totals
    )
    assert amounts == (expected["seizedAssets"], expected["repaidAssets"])


# --- Aave v4 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("aave_v4", "account"))
def test_an_aave_v4_account_keeps_its_debt_unrounded(case: Case) -> None:
    state = aave_v4_arithmetic.account(
        [aave_v4_arithmetic.Supplied(*c) for c in case["collaterals"]],
        [aave_v4_arithmetic.Drawn(*d) for d in case["debts"]],
    )
    expected = case["expected"]
    assert state.collateral == expected["totalCollateralValue"]
    assert state.debt_ray == expected["totalDebtValueRay"]
    assert state.hf == expected["healthFactor"]


@pytest.mark.parametrize("case", cases("aave_v4", "liquidation_bonus"))
def test_the_aave_v4_bonus_rises_as_health_falls(case: Case) -> None:
    bonus = aave_v4_arithmetic.liquidation_bonus(
        case["hf"],
        case["healthFactorForMaxBonus"],
        case["liquidationBonusFactor"],
        case["maxLiquidationBonus"],
    )
    assert bonus == case["expected"]


@pytest.mark.parametrize("case", cases("aave_v4", "debt_to_target"))
def test_an_aave_v4_liquidation_repays_up_to_the_target(case: Case) -> None:
    repayment = aave_v4_arithmetic.debt_to_target(
        case["totalDebtValue"],
        case["healthFactor"],
        case["targetHealthFactor"],
        case["liquidationBonus"],
        case["collateralFactor"],
        case["price"],
        case["decimals"],
    )
    assert repayment == case["expected"]


# --- Maker, Euler, price caps ---------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("maker_dss", "spot"))
def test_the_spot_of_a_vault_takes_the_ratio_off(case: Case) -> None:
    assert maker_arithmetic.spot(case["val"], case["par"], case["mat"]) == case["expected"]


@pytest.mark.parametrize("case", cases("maker_dss", "vault"))
def test_a_vault_is_unsafe_strictly_below_its_debt(case: Case) -> None:
    unsafe = maker_arithmetic.is_unsafe(case["ink"], case["art"], case["rate"], case["spot"])
    assert unsafe == case["expected"]["unsafe"]


@pytest.mark.parametrize("case", cases("maker_dss", "bark"))
def test_a_bark_takes_its_part_of_a_vault(case: Case) -> None:
    given, expected = case["inputs"], case["expected"]
    bark = maker_arithmetic.bark(
        given["ink"], given["art"], given["rate"], given["chop"], given["holeRoom"], given["dust"]
    )
    assert (bark.debt, bark.collateral) == (expected["dart"], expected["dink"])
    assert (bark.due, bark.tab) == (expected["due"], expected["tab"])


@pytest.mark.parametrize("case", cases("euler_evk", "liquidation"))
def test_an_euler_liquidation_gives_the_contracts_discount(case: Case) -> None:
    given, expected = case["inputs"], case["expected"]
    liquidation = euler_arithmetic.liquidation(
        given["collateralBalance"],
        given["collateralValue"],
        given["liquidationLtvBps"],
        given["liabilityAssets"],
        given["liabilityValue"],
        given["maxDiscountBps"],
    )
    assert liquidation.adjusted_collateral == expected["adj"]
    assert liquidation.discount_factor == expected.get("discountFactor")
    assert (liquidation.repay, liquidation.received) == (
        expected["repay"],
        expected["yieldBalance"],
    )


@pytest.mark.parametrize("case", cases("oracle_adapters", "capo"))
def test_a_capped_ratio_feed_stops_at_its_cap(case: Case) -> None:
    given, expected = case["inputs"], case["expected"]
    cap = price_caps.max_ratio(
        given["snapshotRatio"],
        given["snapshotTimestamp"],
        given["maxYearlyGrowthBps"],
        given["now"],
    )
    assert cap == expected["maxRatio"]
    assert (given["ratio"] > cap) == expected["capped"]
    assert (
        price_caps.capped_price(given["basePrice"], given["ratio"], cap, given["ratioDecimals"])
        == expected["price"]
    )


@pytest.mark.parametrize("case", cases("oracle_adapters", "stable_cap"))
def test_a_stablecoin_price_is_capped_above_only(case: Case) -> None:
    given = case["inputs"]
    assert price_caps.stable_price(given["feed"], given["cap"]) == case["expected"]
