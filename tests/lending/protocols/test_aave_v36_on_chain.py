"""Aave v3.6 against its real bytecode, compiled from the sources of npm's package."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from chainwatch.demo import accounts
from chainwatch.demo.aave import ETH_CORRELATED, STABLECOINS
from chainwatch.demo.chain import Chain, Receipt
from chainwatch.lending.close_rules import POSITION_HALF
from tests.builders import BASE, ask, close_rule, walls_hold
from tests.evm import aave_v36_market, operations
from tests.evm.aave_lakes import USER, Lake, borrower, holds, supply
from tests.evm.aave_v36_market import AaveV36Market

DAY = 86_400
HOUR = 3_600
MUST_NOT_LEAVE_DUST = "0xb629b0e4"  # MustNotLeaveDust()

# They are compiled on first use.
pytestmark = [pytest.mark.contracts("published"), pytest.mark.full]


@pytest.fixture(scope="module")
def artifacts() -> Path:
    return aave_v36_market.artifacts()


@pytest.fixture
def market(chain: Chain, artifacts: Path) -> AaveV36Market:
    return aave_v36_market.deploy(chain, artifacts)


def test_a_thousand_accounts_of_aave_v36_equal_the_chain(
    market: AaveV36Market, tmp_path: Path
) -> None:
    """At first, after a crash, after liquidations, and a month later."""
    chain = market.chain
    made = accounts.populate(market, 1_050, 2026, tolerate=True)
    lake = Lake(tmp_path, market, "aave-v3")

    snapshot = lake.collect()
    assert (snapshot.revision, snapshot.profile) == (10, "3.6")
    assert (snapshot.truncates_lt, close_rule(snapshot)) == (False, POSITION_HALF)
    calm = holds(lake, snapshot)
    assert set(made) <= set(calm)
    assert len(calm) >= 1_050
    categories = Counter(row.emode for row in calm.values())
    assert categories[ETH_CORRELATED] >= 30
    assert categories[STABLECOINS] >= 5
    assert sum(row.status == "no debt" for row in calm.values()) >= 50
    dust = [row for row in calm.values() if row.status == "ok" and row.debt_base < BASE]
    assert len(dust) >= 30
    assert not any(row.liquidatable for row in calm.values())

    operations.random_operations(market, made, Random(3), 200)
    holds(lake, lake.collect())

    accounts.crash(market, 0.4)
    crashed = holds(lake, lake.collect())
    assert sum(row.liquidatable is True for row in crashed.values()) > 400

    done = accounts.liquidate(market, made, Random(1), 400)
    assert len(done) > 200
    liquidated = lake.collect()
    rows = holds(lake, liquidated)
    assert liquidated.accounts_read < len(rows)
    assert sum(rows[call.account] != crashed[call.account] for call in done) == len(done)

    chain.increase_time(30 * DAY)
    later = lake.collect()
    aged = holds(lake, later)
    assert later.accounts_read == 0
    grown = [a for a in aged if (aged[a].debt_base or 0) > (rows[a].debt_base or 0)]
    assert len(grown) > 500

    result, mismatches = lake.verify()
    assert (result.checked, result.mismatched, mismatches) == (len(aged), 0, [])
    assert walls_hold(lake) > 2_000
    for name in ("account_counts", "account_totals", "scan_gaps", "unknown_assets"):
        assert ask(lake.store, name) == []


def test_a_wall_holds_what_may_be_repaid_without_leaving_dust(
    market: AaveV36Market, tmp_path: Path
) -> None:
    """A wall holds what the pool lets be repaid without leaving dust, and no dollar more."""
    chain = market.chain
    for symbol, decimals in (("USDC", 6), ("DAI", 18)):
        supply(market, symbol, 10**6 * 10**decimals, accounts.PROVIDERS[0])
    supply(market, "WETH", 22 * 10**17, USER)
    debts = [("USDC", 3_000 * 10**6), ("DAI", 2_000 * 10**18)]
    chain.send_all([market.borrow(USER, symbol, amount) for symbol, amount in debts])
    market.set_price("WETH", 2_656 * 10**8)  # health factor 0.97

    lake = Lake(tmp_path, market, "aave-v3")
    row = holds(lake, lake.collect())[USER]
    assert 0.96 < (row.hf or 0) < 0.98
    (now,) = [r for r in ask(lake.store, "walls", factor="ETH") if r["direction"] == "now"]
    repaid = round(now["round_seizable_usd"] / 1.05 * 10**6)
    # Half of all debt would be 2,500 and leave 500: 1,000 must be left.
    assert repaid == pytest.approx(2_000 * 10**6, rel=1e-4)

    def liquidate(amount: int) -> Receipt:
        steps = [
            market.mint("USDC", accounts.LIQUIDATORS[0], 10**10),
            market.approve(accounts.LIQUIDATORS[0], "USDC"),
            market.liquidate(accounts.LIQUIDATORS[0], "WETH", "USDC", USER, amount),
        ]
        return chain.send_all(steps, tolerate=True)[-1]

    for refused in (2**256 - 1, 2_500 * 10**6, repaid + 10**6):
        receipt = liquidate(refused)
        assert not receipt.ok
        assert MUST_NOT_LEAVE_DUST in chain.reason(receipt.hash)
    assert liquidate(repaid - 10**4).ok  # a cent less: interest has run on


def test_a_reserve_in_its_grace_period_is_not_liquidated(
    market: AaveV36Market, tmp_path: Path
) -> None:
    """Until it has passed, the pool refuses the account that is called blocked."""
    chain = market.chain
    borrower(market)
    market.set_price("WETH", 1_000 * 10**8)
    supply(market, "USDC", 10**12, accounts.LIQUIDATORS[0])
    chain.send_all([market.mint("USDC", accounts.LIQUIDATORS[0], 10**12)])
    signature = "setReservePause(address,bool,uint40)"
    token = market.listed["WETH"].token
    chain.send(market.configurator, signature, token, True, 0)
    chain.send(market.configurator, signature, token, False, HOUR)
    until = datetime.fromtimestamp(chain.timestamp() + HOUR, UTC)
    lake = Lake(tmp_path, market, "aave-v3")
    attempt = [market.liquidate(accounts.LIQUIDATORS[0], "WETH", "USDC", USER)]

    row = holds(lake, lake.collect())[USER]
    assert row.liquidatable
    assert row.blocked_reason == f"collateral grace period until {until:%Y-%m-%d %H:%M:%SZ}"
    assert not chain.send_all(attempt, tolerate=True)[0].ok
    chain.increase_time(HOUR)
    assert holds(lake, lake.collect())[USER].blocked_reason is None
    assert chain.send_all(attempt)[0].ok
