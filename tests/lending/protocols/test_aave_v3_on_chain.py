"""The Aave v3 source against real bytecode: every figure an integer, equal to the chain's own."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainwatch.collect import runner
from chainwatch.demo import accounts
from chainwatch.demo.aave import (
    ETH_CORRELATED,
    STABLECOINS,
    ZERO,
    AaveMarket,
    ReserveSpec,
    deploy,
)
from chainwatch.demo.chain import DEPLOYER, Chain, TransactionReverted, Tx, encode, own_artifact
from chainwatch.demo.node import Toolchain
from chainwatch.demo.plans import SPEC, draw_plans
from chainwatch.errors import Exit, NetworkError, UsageError
from chainwatch.tables.base import Row
from chainwatch.tables.lending import (
    Account,
    EMode,
    Factor,
    Mismatch,
    Orphan,
    Scan,
    Snapshot,
    Verification,
)
from chainwatch.tables.lending import Reserve as ReserveRow
from chainwatch.tables.log import Load
from tests.amounts import sample_size
from tests.builders import (
    BASE,
    Watched,
    ask,
    chain_figures,
    clean_environment,
    content,
    missing_logs_are_refused,
    our_figures,
    refusal,
    refused_everywhere,
    same_positions,
    tampered,
    walls_hold,
)
from tests.evm import operations

pytestmark = pytest.mark.contracts("published")

DAY = 86_400
USER = "0x" + "ab" * 20
OTHER = "0x" + "cd" * 20
THIRD = "0x" + "ef" * 20


@pytest.fixture
def priced_market(chain: Chain, toolchain: Toolchain) -> AaveMarket:
    """A market whose e-mode category 2 has a price source of its own."""
    return deploy(chain, toolchain.artifacts, category_price=101_000_000)


@pytest.fixture
def watch(tmp_path: Path) -> Callable[..., Watched]:
    """Makes a lake beside a market, each in a folder of its own."""
    made: list[Watched] = []

    def make(market: AaveMarket, **entry: Any) -> Watched:
        made.append(Watched(tmp_path / f"home{len(made)}", market, **entry))
        return made[-1]

    return make


def holds(watched: Watched, snapshot: Snapshot) -> dict[str, Account]:
    """The accounts of a snapshot of the newest block, after all of them equal the chain."""
    assert snapshot.block_number == watched.chain.block_number()
    rows = watched.accounts(snapshot)
    assert len(rows) == snapshot.accounts
    expected = chain_figures(watched.market, list(rows))
    assert our_figures(rows) == expected
    assert snapshot.accounts_failed == sum(figures is None for figures in expected.values())
    return rows


def supply(market: AaveMarket, symbol: str, amount: int, account: str = USER) -> None:
    market.chain.send_all(
        [
            market.mint(symbol, account, amount),
            market.approve(account, symbol),
            market.supply(account, symbol, amount),
        ]
    )


def borrower(market: AaveMarket, account: str = USER, debt_usd: int = 1_000) -> None:
    """One ETH against some USDC, which somebody else supplies."""
    supply(market, "USDC", 10**13, accounts.PROVIDERS[0])
    supply(market, "WETH", 10**18, account)
    market.chain.send_all([market.borrow(account, "USDC", debt_usd * 10**6)])


# --- equal to the chain -------------------------------------------------------------------------


@pytest.mark.full
def test_a_thousand_accounts_equal_the_chain(
    priced_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    """At first, after a crash, after liquidations, and a month later."""
    market, chain = priced_market, priced_market.chain
    made = accounts.populate(market, 1_050, 2026)
    watched = watch(market)

    calm = holds(watched, watched.collect())
    assert set(made) <= set(calm)
    assert len(calm) >= 1_050
    legs = watched.legs()
    categories = Counter(row.emode for row in calm.values())
    assert categories[ETH_CORRELATED] >= 30
    assert categories[STABLECOINS] >= 5
    priced = {row.category: row.price for row in watched.store.rows(EMode)}
    assert priced == {ETH_CORRELATED: None, STABLECOINS: 101_000_000}
    # In the category its price counts, outside of it the asset's own.
    usdc = market.listed["USDC"].token
    unit_values = {
        calm[leg.account].emode: round(leg.value * 10**6 / leg.raw)
        for leg in legs.values()
        if leg.asset == usdc and leg.side == "collateral" and leg.value and leg.raw > 10**9
    }
    assert unit_values[0] == 100_000_000
    assert unit_values[STABLECOINS] == 101_000_000
    assert sum(leg.stable_principal is not None for leg in legs.values()) >= 50
    assert sum(row.status == "no debt" for row in calm.values()) >= 50
    dust = [row for row in calm.values() if row.status == "ok" and row.debt_base < BASE]
    assert len(dust) >= 30
    plans = draw_plans(1_050, 2026, market.prices(SPEC))
    off = [p for p in plans if p.unflagged and p.account in calm]
    assert len(off) >= 30
    for reserve in off:
        for symbol in reserve.unflagged:
            assert (reserve.account, market.listed[symbol].token, "collateral") not in legs
    assert not any(row.hf_wad is not None and row.hf_wad < 10**18 for row in calm.values())

    accounts.crash(market, 0.4)
    crashed = holds(watched, watched.collect())
    below = [a for a, row in crashed.items() if row.hf_wad is not None and row.hf_wad < 10**18]
    assert len(below) > 400

    done = accounts.liquidate(market, made, Random(1), 400)
    assert len(done) > 300
    liquidated = watched.collect()
    rows = holds(watched, liquidated)
    assert liquidated.accounts_read < len(rows)
    assert sum(rows[reserve.account] != crashed[reserve.account] for reserve in done) == len(done)

    chain.increase_time(30 * DAY)
    later = watched.collect()
    aged = holds(watched, later)
    assert later.accounts_read == 0
    grown = [a for a in aged if (aged[a].debt_base or 0) > (rows[a].debt_base or 0)]
    assert len(grown) > 700

    assert walls_hold(watched) > 100
    result, mismatches = watched.verify()
    assert (result.checked, result.mismatched, mismatches) == (len(aged), 0, [])
    for name in ("account_counts", "account_totals", "scan_gaps", "unknown_assets"):
        assert ask(watched.store, name) == []


@pytest.mark.sampled
@settings(
    max_examples=sample_size(quick=1, full=4, torture=50),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32))
def test_after_each_block_an_incremental_snapshot_equals_a_full_one(
    aave_market: AaveMarket, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Row for row."""
    market, chain, rng = aave_market, aave_market.chain, Random(seed)
    before = chain.snapshot()
    try:
        made = accounts.populate(market, 40, seed)
        folder = tmp_path_factory.mktemp("lakes")
        grown, fresh = Watched(folder / "grown", market), Watched(folder / "fresh", market)
        grown.collect()
        for _ in range(5):
            last = chain.block_number()
            earlier = grown.accounts()
            match rng.choice(["act", "act", "act", "crash", "wait", "limits", "liquidate"]):
                case "act":
                    operations.random_operations(market, made, rng, rng.randint(1, 12))
                case "crash":
                    accounts.crash(market, rng.uniform(0.75, 1.15))
                case "wait":
                    chain.increase_time(rng.randint(1, 90 * DAY))
                case "limits":
                    market.set_limits("WBTC", 6_000, rng.randint(6_000, 9_000), 10_500)
                case "liquidate":
                    accounts.liquidate(market, made, rng, 5)
            chain.mine()
            snapshot = grown.collect()
            assert snapshot.based_on is not None
            assert fresh.collect(full="yes").based_on is None
            same_positions(grown, fresh)
            rows = holds(grown, snapshot)
            # Only whom an event names was read, and nobody twice.
            topics = {f"0x{t[26:]}" for log in chain.logs(first=last + 1) for t in log["topics"]}
            read = {a for a, row in rows.items() if row.read_block == snapshot.block_number}
            assert snapshot.accounts_read == len(read)
            assert read <= topics
            for account in rows.keys() - read:
                assert rows[account].read_block == earlier[account].read_block
    finally:
        chain.revert(before)


@pytest.mark.full
def test_who_only_supplied_is_in_scope_all_and_not_in_scope_borrowers(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    made = accounts.populate(aave_market, 80, 4)
    everyone, borrowers = watch(aave_market), watch(aave_market, scope="borrowers")
    for _ in range(2):
        wide, narrow = holds(everyone, everyone.collect()), holds(borrowers, borrowers.collect())
        # The chain's own Borrow events, read apart from the product.
        signature = "0xb3d084820fb1a9decffb176436bd02558d15fac9b0ddfed8c465bc7359d7dce0"
        logs = aave_market.chain.logs(aave_market.pool, [signature])
        assert set(narrow) == {f"0x{log['topics'][2][26:]}" for log in logs}
        assert set(narrow) < set(wide)
        assert set(made) <= set(wide)
        assert content(narrow) == {a: row for a, row in content(wide).items() if a in narrow}
        assert not any(wide[a].debt_base for a in wide.keys() - narrow.keys())
        operations.random_operations(aave_market, made, Random(4), 60)
    assert borrowers.snapshot().based_on is not None


@pytest.mark.full
def test_a_lake_may_go_from_scope_all_to_borrowers_and_back(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    made = accounts.populate(aave_market, 30, 4)
    mixed, everyone = watch(aave_market), watch(aave_market)
    borrowers = watch(aave_market, scope="borrowers")
    for scope in ("all", "borrowers", "borrowers", "all"):
        operations.random_operations(aave_market, made, Random(4), 10)
        aave_market.chain.mine()
        snapshot = mixed.collect(accounts=scope)
        assert snapshot.scope == scope
        other = everyone if scope == "all" else borrowers
        other.collect()
        same_positions(mixed, other)
        holds(mixed, snapshot)


@pytest.mark.parametrize("listed", [True, False], ids=["a rate known by name", "one that is not"])
def test_an_exchange_rate_oracle_that_nobody_listed(
    aave_market: AaveMarket, watch: Callable[..., Watched], listed: bool
) -> None:
    """Staked ETH priced as ETH times a rate, as Spark does: who is liquidated as ETH moves."""
    market, chain = aave_market, aave_market.chain
    ether, staked = market.listed["WETH"].feed, market.listed["wstETH"].token
    oracle = chain.deploy(own_artifact("TestRateFeed"), 12 * 10**17, ether, listed)
    chain.send(market.oracle, "setAssetSources(address[],address[])", [staked], [oracle])
    made = accounts.populate(market, 60, 4)
    watched = watch(market)
    watched.collect()
    rate = chain.call(oracle, "token()(address)" if listed else "unlisted()(address)")
    own = {f.feed: f for f in watched.store.rows(Factor) if f.asset == staked}
    assert {(feed, f.beta, f.evidence) for feed, f in own.items()} == {
        (ether.lower(), 1, "measured"),
        (rate.lower(), 1, "measured"),
    }
    reached = 0
    for feed, signature in ((ether, "setAnswer(int256)"), (rate, "setRate(uint256)")):
        factor = own[feed.lower()].factor
        triggers = {r["account"]: r for r in ask(watched.store, "triggers", factor=factor)}
        now = {ether: 3_000 * 10**8, rate: 12 * 10**17}[feed]
        for x in (0.7, 0.85, 0.95, 1.2, 1.5):
            chain.send(feed, signature, int(now * x))
            figures = chain_figures(market, made)
            for account in made:
                row, figure = triggers[account], figures[account]
                near = row["x"] is not None and abs(x / row["x"] - 1) < 1e-4
                if figure is None or near or row["direction"] in ("n/a", "outside", "now"):
                    continue
                falls, rises = row["direction"] == "down", row["direction"] == "up"
                predicted = (falls and x < row["x"]) or (rises and x > row["x"])
                assert (figure[2] < 10**18) == predicted, (factor, x, row)
                reached += predicted
        chain.send(feed, signature, now)
    assert reached > 20


def test_the_same_block_is_not_stored_twice(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    borrower(aave_market)
    watched = watch(aave_market)
    first = watched.collect()
    assert watched.collect() == first
    assert watched.voice.notes[-1] == f"local: block {first.block_number} is already stored"
    assert len(watched.store.rows(Snapshot)) == 1
    again = watched.collect(full="yes")
    assert again.block_number == first.block_number
    assert again.snapshot != first.snapshot


def test_an_empty_market_is_a_snapshot_without_accounts(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    watched = watch(aave_market)
    assert watched.collect().accounts == 0
    assert watched.verify()[0].checked == 0
    assert {row["accounts"] for row in ask(watched.store, "health")} == {0}
    assert ask(watched.store, "scan_gaps") == []


# --- what changes without an event of the account -----------------------------------------------


def test_a_changed_threshold_counts_in_the_next_snapshot(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    borrower(aave_market)
    watched = watch(aave_market)
    before = watched.collect()
    aave_market.set_limits("WETH", 6_000, 7_000, 10_700)
    after = watched.collect()
    assert after.accounts_read == 0
    rows = holds(watched, after)
    assert watched.accounts(before)[USER].lt_bps == 8_300
    assert rows[USER].lt_bps == 7_000
    leg = watched.legs()[USER, aave_market.listed["WETH"].token, "collateral"]
    assert (leg.lt_bps, leg.bonus_bps) == (7_000, 700)


def test_a_changed_category_counts_in_the_next_snapshot(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    market = aave_market
    supply(market, "WETH", 10**20, accounts.PROVIDERS[0])
    supply(market, "wstETH", 10**19)
    market.chain.send_all(
        [market.set_emode(USER, ETH_CORRELATED), market.borrow(USER, "WETH", 10**19)]
    )
    watched = watch(market)
    assert holds(watched, watched.collect())[USER].lt_bps == 9_500

    market.set_category(ETH_CORRELATED, 9_400, 9_700, 10_150, "tighter")
    snapshot = watched.collect()
    assert snapshot.accounts_read == 0
    assert holds(watched, snapshot)[USER].lt_bps == 9_700
    assert watched.legs()[USER, market.listed["wstETH"].token, "collateral"].bonus_bps == 150
    assert {row.label for row in watched.store.rows(EMode, "category = 1")} == {
        "ETH correlated",
        "tighter",
    }

    market.set_asset_category("wstETH", 0)
    snapshot = watched.collect()
    assert snapshot.accounts_read == 0
    assert holds(watched, snapshot)[USER].lt_bps == 8_100


@pytest.mark.full
def test_a_category_may_get_and_lose_its_price_source(
    priced_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    market = priced_market
    supply(market, "USDT", 10**12, accounts.PROVIDERS[0])
    supply(market, "USDC", 1_000 * 10**6)
    supply(market, "USDC", 1_000 * 10**6, OTHER)
    market.chain.send_all(
        [
            market.set_emode(USER, STABLECOINS),
            market.borrow(USER, "USDT", 100 * 10**6),
            market.borrow(OTHER, "USDT", 100 * 10**6),
        ]
    )
    watched = watch(market)
    rows = holds(watched, watched.collect())
    assert rows[USER].collateral_base == 1_010 * BASE
    assert rows[OTHER].collateral_base == 1_000 * BASE

    market.set_category_price(150_000_000)
    assert holds(watched, watched.collect())[USER].collateral_base == 1_500 * BASE
    market.set_category(STABLECOINS, 9_000, 9_300, 10_200, "no price")
    rows = holds(watched, watched.collect())
    assert rows[USER].collateral_base == 1_000 * BASE
    market.set_category(STABLECOINS, 9_000, 9_300, 10_200, "back", market.category_price_source)
    snapshot = watched.collect()
    assert snapshot.accounts_read == 0
    assert holds(watched, snapshot)[USER].collateral_base == 1_500 * BASE


@pytest.mark.full
@pytest.mark.parametrize("listed", [True, False])
def test_a_category_without_a_price_makes_only_its_accounts_na(
    priced_market: AaveMarket, watch: Callable[..., Watched], listed: bool
) -> None:
    """A category whose price source fails makes its own accounts n/a and no others."""
    market = priced_market
    supply(market, "USDT", 10**12, accounts.PROVIDERS[0])
    for account in (USER, OTHER):
        supply(market, "USDC", 1_000 * 10**6, account)
    market.chain.send_all(
        [
            market.set_emode(USER, STABLECOINS),
            market.borrow(USER, "USDT", 100 * 10**6),
            market.borrow(OTHER, "USDT", 100 * 10**6),
            market.set_emode(THIRD, STABLECOINS),  # holds nothing: the chain answers
        ]
    )
    if not listed:
        for symbol in ("USDC", "USDT"):
            market.set_asset_category(symbol, 0)
    watched = watch(market)
    holds(watched, watched.collect())
    market.set_category_price(0)
    rows = holds(watched, watched.collect())
    assert {a for a, row in rows.items() if row.status.startswith("n/a")} == {USER}
    market.set_category_price(99_000_000)
    rows = holds(watched, watched.collect())
    assert not any(row.status.startswith("n/a") for row in rows.values())


def test_another_price_source_counts_in_the_next_snapshot(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    market = aave_market
    borrower(market)
    watched = watch(market)
    before = watched.collect()
    feed = market.chain.deploy(own_artifact("TestFeed"), 1_234 * BASE, 8, "ETH / USD")
    market.chain.send(
        market.oracle, "setAssetSources(address[],address[])", [market.listed["WETH"].token], [feed]
    )
    after = watched.collect()
    assert after.accounts_read == 0
    assert holds(watched, after)[USER].collateral_base == 1_234 * BASE
    sources = {
        row.snapshot: row.oracle for row in watched.store.rows(ReserveRow, "symbol = 'WETH'")
    }
    assert sources == {before.snapshot: market.listed["WETH"].feed, after.snapshot: feed}


@pytest.mark.full
def test_collateral_without_a_threshold_lies_idle_and_comes_back(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    market = aave_market
    supply(market, "USDC", 10**13, accounts.PROVIDERS[0])
    supply(market, "WETH", 10**18)
    supply(market, "WBTC", 10**7)
    market.chain.send_all([market.borrow(USER, "USDC", 1_000 * 10**6)])
    watched = watch(market)
    token = market.listed["WBTC"].token
    with_it = holds(watched, watched.collect())[USER]
    assert watched.legs()[USER, token, "collateral"].lt_bps == 7_800

    set_threshold(market, "WBTC", 0)
    snapshot = watched.collect()
    without = holds(watched, snapshot)[USER]
    assert snapshot.accounts_read == 0
    assert with_it.collateral_base - without.collateral_base == 9_000 * BASE
    assert (without.legs, with_it.legs) == (2, 3)
    assert watched.legs()[USER, token, "idle"].usd == 9_000
    # Idle collateral is in no report, and no check is surprised by it.
    assert ask(watched.store, "account_totals") == []
    (row,) = [r for r in ask(watched.store, "triggers", factor="BTC") if r["account"] == USER]
    assert (row["direction"], row["collateral_moving_usd"]) == ("flat", 0)
    # Its price is asked for all the same, but never multiplied.
    market.set_price("WBTC", 2**255 - 1)
    assert holds(watched, watched.collect())[USER].status == "ok"
    market.set_price("WBTC", 0)
    assert holds(watched, watched.collect())[USER].status == "n/a (oracle reverted)"
    market.set_price("WBTC", 90_000 * BASE)

    set_threshold(market, "WBTC", 7_800)
    snapshot = watched.collect()
    assert snapshot.accounts_read == 0
    assert holds(watched, snapshot)[USER].hf_wad == with_it.hf_wad
    assert (USER, token, "idle") not in watched.legs()


def set_threshold(market: AaveMarket, symbol: str, threshold_bps: int) -> None:
    """Change the threshold past the configurator, which refuses 0 while anybody supplies."""
    token = market.listed[symbol].token
    data = market.chain.call(market.pool, "getConfiguration(address)(uint256)", token)
    changed = data & ~(0xFFFF << 16) & ~0xFFFF | threshold_bps << 16
    market.chain.send(
        market.pool,
        "setConfiguration(address,(uint256))",
        token,
        (changed,),
        sender=market.configurator,
    )


@pytest.mark.full
def test_a_reserve_listed_later_is_read_from_then_on(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    market = aave_market
    borrower(market)
    watched = watch(market)
    watched.collect()
    market.add(ReserveSpec("LATE", 9, 7 * BASE, 5_000, 6_000, 11_000))
    supply(market, "LATE", 100 * 10**9)  # a known account
    supply(market, "LATE", 50 * 10**9, OTHER)  # one that has nothing else
    market.chain.send_all(
        [market.borrow(USER, "LATE", 10**9), market.transfer(OTHER, "LATE", THIRD, 10**9)]
    )
    snapshot = watched.collect()
    rows = holds(watched, snapshot)
    assert {USER, OTHER, THIRD} <= set(rows)
    assert snapshot.based_on is not None
    token = market.listed["LATE"].token
    legs = watched.legs()
    assert {(USER, token, "collateral"), (USER, token, "debt")} <= set(legs)
    assert legs[THIRD, token, "collateral"].amount == 1
    fresh = watch(market)
    fresh.collect()
    same_positions(watched, fresh)


def test_a_dropped_reserve_is_gone_and_its_successor_is_read(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    """A dropped reserve is gone, and the reserve that takes its id is read."""
    market = aave_market
    borrower(market)
    market.add(ReserveSpec("BRIEF", 18, BASE, 5_000, 6_000, 11_000))
    supply(market, "BRIEF", 10**18)
    watched = watch(market)
    watched.collect()
    old = market.listed["BRIEF"]
    market.chain.send_all([market.withdraw(USER, "BRIEF", 10**18)])
    market.chain.send(market.configurator, "dropReserve(address)", old.token)
    snapshot = watched.collect()
    holds(watched, snapshot)
    assert old.token not in {
        r.asset for r in watched.store.rows(ReserveRow, "snapshot = $s", {"s": snapshot.snapshot})
    }
    market.add(ReserveSpec("NEXT", 6, 2 * BASE, 5_000, 6_000, 11_000))
    assert market.listed["NEXT"].id == old.id
    supply(market, "NEXT", 10**6)
    holds(watched, watched.collect())
    assert watched.legs()[USER, market.listed["NEXT"].token, "collateral"].usd == 2


def test_paused_and_frozen_reserves_keep_their_figures_and_say_so(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    borrower(aave_market)
    aave_market.pause("WETH")
    aave_market.freeze("USDC")
    watched = watch(aave_market)
    rows = holds(watched, watched.collect())
    assert rows[USER].status == "ok"
    flags = {r.symbol: (r.paused, r.frozen) for r in watched.store.rows(ReserveRow)}
    assert flags["WETH"] == (True, False)
    assert flags["USDC"] == (False, True)
    assert flags["WBTC"] == (False, False)


@pytest.mark.full
def test_what_a_paused_reserve_holds_is_not_seizable_now(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    """While the chain refuses the liquidation, walls count it at risk and not as seizable."""
    market, liquidator = aave_market, accounts.LIQUIDATORS[0]
    borrower(market)
    market.set_price("WETH", 1_000 * 10**8)
    market.chain.send_all(
        [market.mint("USDC", liquidator, 10**12), market.approve(liquidator, "USDC")]
    )
    watched = watch(market)
    attempt = [market.liquidate(liquidator, "WETH", "USDC", USER, 10**6)]

    def now() -> tuple[float, float, list[tuple[str, int]]]:
        watched.collect(full="yes")
        (row,) = [r for r in ask(watched.store, "walls", factor="BTC") if r["direction"] == "now"]
        left_out = ask(watched.store, "excluded_accounts", factor="BTC")
        return (
            row["round_seizable_usd"],
            row["collateral_at_risk_usd"],
            [(row["reason"], row["accounts"]) for row in left_out],
        )

    for asset, side in (("WETH", "collateral"), ("USDC", "debt")):
        market.pause(asset)
        with pytest.raises(TransactionReverted, match=r"reverted: 29$"):  # RESERVE_PAUSED
            market.chain.send_all(attempt)
        seizable, at_risk, left_out = now()
        assert (seizable, left_out) == (0, [(f"blocked: {side} paused", 1)])
        assert at_risk > 0
        market.pause(asset, False)
    seizable, _, left_out = now()
    assert seizable > 0
    assert left_out == []
    assert market.chain.send_all(attempt)[0].ok


# --- prices that are none -----------------------------------------------------------------------


@pytest.mark.quick_variants("0")
@pytest.mark.parametrize("price", [0, -(2**255)])
def test_a_failing_price_is_na_where_the_chain_reverts(
    aave_market: AaveMarket, watch: Callable[..., Watched], price: int
) -> None:
    """A price that fails makes exactly those accounts n/a for which the chain reverts."""
    made = accounts.populate(aave_market, 90, 8)
    watched = watch(aave_market)
    watched.collect()
    aave_market.set_price("WBTC", price)
    snapshot = watched.collect()
    rows = holds(watched, snapshot)
    failed = {a for a, row in rows.items() if row.status == "n/a (oracle reverted)"}
    assert 12 < len(failed) == snapshot.accounts_failed < len(made)
    assert watched.voice.notes[-1].startswith("local: the oracle gives no price for WBTC")
    (reserve,) = watched.store.rows(
        ReserveRow, "snapshot = $s AND symbol = 'WBTC'", {"s": snapshot.snapshot}
    )
    assert (reserve.price, reserve.price_status) == (None, "n/a (oracle reverted)")
    assert watched.verify()[0].mismatched == 0
    (last,) = [r for r in ask(watched.store, "health") if r["bucket"] == "n/a"]
    assert (last["accounts"], last["debt_usd"]) == (len(failed), None)
    directions = Counter(r["direction"] for r in ask(watched.store, "triggers", factor="ETH"))
    assert directions["n/a"] == len(failed)

    aave_market.set_price("WBTC", 90_000 * BASE)
    after = watched.collect()
    assert after.accounts_failed == 0
    assert after.accounts_read == 0
    holds(watched, after)


@pytest.mark.quick_variants("100000*")
@pytest.mark.parametrize("price", [2**255 - 1, 2**200, 2**190, 10**40])
def test_an_overflowing_price_is_na_where_the_chain_reverts(
    aave_market: AaveMarket, watch: Callable[..., Watched], price: int
) -> None:
    """A price that overflows makes exactly those accounts n/a for which the chain reverts."""
    accounts.populate(aave_market, 90, 8)
    watched = watch(aave_market)
    watched.collect()
    aave_market.set_price("WBTC", price)
    rows = holds(watched, watched.collect())
    assert watched.verify()[0].mismatched == 0
    failed = {row.status for row in rows.values() if row.status.startswith("n/a")}
    if price >= 2**200:
        assert failed
    elif price <= 10**40:
        assert not failed
    # Figures beyond what a column holds survive, and every report still answers.
    for name in ("account_counts", "account_totals", "unknown_assets"):
        assert ask(watched.store, name) == []
    for name in ("health", "accounts", "walls"):
        ask(watched.store, name)


# --- refused, in one line -----------------------------------------------------------------------


REVISION_99 = "606360005260206000f3"  # returns 99 to every call


def test_an_unknown_pool_revision_is_refused_and_never_guessed(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    pool = "0x" + "99" * 20
    aave_market.chain.set_code(pool, REVISION_99)
    watched = watch(aave_market, pool=pool)
    text = refusal(watched)
    assert "expected a pool revision of 1, 2, 3" in text
    assert ", got 99 at block" in text
    done = watched.cli("collect", "aave-v3", "--market", "local")
    assert done.returncode == Exit.USAGE
    assert done.stderr.splitlines()[-1] == f"chainwatch: {text}"


def test_an_unknown_revision_of_a_pool_stops_the_collection(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    """A pool upgraded to an unknown revision stops the collection."""
    borrower(aave_market)
    watched = watch(aave_market)
    first = watched.collect()
    aave_market.chain.set_code(aave_market.pool, REVISION_99)
    assert "got 99 at block" in refusal(watched)
    assert watched.snapshot() == first


def upgraded(market: AaveMarket, revision: int) -> int:
    """Put an implementation behind the pool that answers another POOL_REVISION, else as before.

    Returns the block from which on it does.
    """
    chain = market.chain
    chain.mine()
    slot = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"  # EIP-1967
    before = chain.rpc("eth_getStorageAt", market.pool, slot, "latest")[-40:]
    code = (
        "60003560e01c630148170e14604557"  # POOL_REVISION(): jump to 0x45
        f"3660006000376000600036600073{before}5af4"  # the old implementation does the rest
        "3d600060003e6040573d6000fd"  # its revert is ours
        "5b3d6000f3"  # 0x40: so is its answer
        f"5b60{revision:02x}60005260206000f3"  # 0x45
    )
    above = "0x" + "57" * 20
    chain.set_code(above, code)
    chain.rpc("anvil_setStorageAt", market.pool, slot, f"0x{above[2:]:0>64}")
    return chain.block_number()


def test_an_upgraded_pool_has_the_rules_of_its_new_revision(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    """From the block of the upgrade on."""
    borrower(aave_market)
    watched = watch(aave_market, lag=2)
    aave_market.chain.mine()
    aave_market.chain.mine()
    before = watched.collect()
    assert (before.revision, before.profile) == (1, "3.0")
    block = upgraded(aave_market, 4)
    aave_market.chain.mine()
    still = watched.collect()
    assert still.block_number < block
    assert (still.revision, still.profile) == (1, "3.0"), "the block read is older than the upgrade"
    aave_market.chain.mine()
    after = watched.collect()
    assert after.block_number == block
    assert (after.revision, after.profile) == (4, "3.1")
    assert watched.verify()[1] == []
    shown = {row.block_number: row.profile for row in watched.store.rows(Snapshot)}
    assert shown == {before.block_number: "3.0", still.block_number: "3.0", block: "3.1"}


@pytest.mark.full
def test_debt_without_logs_is_no_empty_market(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    missing_logs_are_refused(
        lambda **entry: watch(aave_market, scope="borrowers", **entry),
        lambda: borrower(aave_market),
    )


@pytest.mark.parametrize("what", ["a token", "an account", "nobody"])
def test_a_contract_that_is_no_pool_is_refused(
    aave_market: AaveMarket, watch: Callable[..., Watched], what: str
) -> None:
    pool = {
        "a token": aave_market.listed["USDC"].token,
        "an account": DEPLOYER,
        "nobody": "0x" + "12" * 20,
    }[what]
    text = refusal(watch(aave_market, pool=pool))
    assert text.startswith(f"local: the contract {pool} on chain local is not a pool of Aave v3")


def test_another_chain_is_refused(aave_market: AaveMarket, watch: Callable[..., Watched]) -> None:
    watched = watch(aave_market, chain_id=1)
    assert "31337" in refused_everywhere(watched)


def test_a_market_in_another_currency_is_exact_and_has_no_usd(
    aave_market: AaveMarket, watch: Callable[..., Watched], toolchain: Toolchain
) -> None:
    """A market that counts in another currency equals the chain and has no USD."""
    from chainwatch.demo.chain import hardhat_artifact

    chain = aave_market.chain
    borrower(aave_market)
    weth = aave_market.listed["WETH"].token
    tokens = [reserve.token for reserve in aave_market.listed.values()]
    feeds = [reserve.feed for reserve in aave_market.listed.values()]
    oracle = chain.deploy(
        hardhat_artifact(toolchain.artifacts, "AaveOracle"),
        *(aave_market.provider, tokens, feeds, ZERO, weth, 10**18),
    )
    chain.send(aave_market.provider, "setPriceOracle(address)", oracle)
    watched = watch(aave_market)
    snapshot = watched.collect()
    assert (snapshot.quote, snapshot.quote_usd, snapshot.base_decimals) == (weth, None, 18)
    held = holds(watched, snapshot)
    assert held[USER].hf is not None
    assert (held[USER].collateral_usd, held[USER].debt_usd) == (None, None)


def test_a_scope_that_does_not_exist_is_refused(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    text = refusal(watch(aave_market, scope="some"), UsageError)
    assert text == "--accounts: expected borrowers or all, got 'some'"


# --- a chain that changes its mind --------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize("scope", ["all", "borrowers"])
def test_after_a_reorganisation_reports_leave_the_orphan_out(
    aave_market: AaveMarket, watch: Callable[..., Watched], scope: str
) -> None:
    """After a reorganisation the lake has the rows of the new chain, and reports leave the orphan
    out."""
    market, chain = aave_market, aave_market.chain
    made = accounts.populate(market, 40, 6)
    watched = watch(market, scope=scope)
    first = watched.collect()
    fork = chain.snapshot()
    operations.random_operations(market, made, Random(1), 30)
    borrower(market, OTHER)  # exists on this branch only
    accounts.crash(market, 0.9)
    second = watched.collect()
    assert OTHER in watched.accounts()
    assert holds(watched, second)

    chain.revert(fork)
    assert chain.block_number() == first.block_number
    chain.mine()  # other blocks from here on
    operations.random_operations(market, made, Random(2), 30)
    borrower(market, THIRD)
    chain.mine(second.block_number - chain.block_number() + 3)
    third = watched.collect()
    rows = holds(watched, third)
    assert third.based_on == first.snapshot
    assert [row.snapshot for row in watched.store.rows(Orphan)] == [second.snapshot]
    assert any("left the chain in a reorganisation" in note for note in watched.voice.notes)
    assert THIRD in rows
    fresh = watch(market, scope=scope)
    fresh.collect()
    same_positions(watched, fresh)
    # Neither the newest state nor that of the orphan's own time knows it.
    for moment in (None, second.block_time + timedelta(seconds=1)):
        (shown,) = ask(watched.store, "snapshots_at", as_of=moment)
        assert shown["snapshot"] != second.snapshot
    assert ask(watched.store, "snapshots_at", as_of=second.block_time)[0]["snapshot"] == (
        first.snapshot
    )
    assert watched.verify()[0].snapshot == third.snapshot
    again = watched.run()
    assert again.failure is None
    assert len(watched.store.rows(Orphan)) == 1


@pytest.mark.full
def test_a_reorganisation_below_the_first_snapshot_is_read_anew(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    market, chain = aave_market, aave_market.chain
    fork = chain.snapshot()
    accounts.populate(market, 20, 6)
    watched = watch(market)
    first = watched.collect()
    second_block = (accounts.crash(market, 0.9), watched.collect())[1].block_number
    chain.revert(fork)
    chain.mine()
    borrower(market)
    chain.mine(max(1, second_block - chain.block_number() + 1))
    snapshot = watched.collect()
    assert snapshot.based_on is None
    assert first.snapshot in {row.snapshot for row in watched.store.rows(Orphan)}
    assert len(watched.store.rows(Orphan)) == 2
    assert len(holds(watched, snapshot)) == 2
    assert ask(watched.store, "scan_gaps") == []


def test_many_snapshots_may_leave_the_chain_at_once(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    borrower(aave_market)
    chain, watched = aave_market.chain, watch(aave_market)
    first = watched.collect()
    lost = [
        msgspec.structs.replace(
            first,
            snapshot=f"lost {number}",
            block_number=first.block_number + number,
            block_hash=f"0x{number:064x}",
        )
        for number in range(1, 31)
    ]
    watched.store.append(lost, source="aave-v3", target="local")
    chain.mine(31)
    last = watched.collect()
    assert last.based_on == first.snapshot
    assert {row.snapshot for row in watched.store.rows(Orphan)} == {s.snapshot for s in lost}
    assert watched.snapshot() == last


def test_an_endpoint_that_is_behind_makes_no_orphan(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    """A node that lags serves the same chain, only less of it: `lag` blocks less here."""
    borrower(aave_market)
    chain, watched = aave_market.chain, watch(aave_market)
    newest = watched.collect()
    behind = Watched(watched.home, aave_market, lag=2)
    outcome = behind.run()
    assert isinstance(outcome.failure, NetworkError)
    assert f"behind the newest snapshot of block {newest.block_number}" in str(outcome.failure)
    assert watched.store.rows(Orphan) == []
    assert watched.snapshot() == newest
    chain.mine(3)
    after = behind.collect()
    assert after.based_on == newest.snapshot
    assert watched.store.rows(Orphan) == []


def test_a_block_that_is_replaced_while_it_is_read_is_read_again(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    market, chain = aave_market, aave_market.chain
    accounts.populate(market, 20, 6)
    watched = watch(market)
    fork = chain.snapshot()
    supply(market, "WETH", 10**18, OTHER)
    stored: list[Load] = []

    def replace_the_chain(load: Load) -> None:
        stored.append(load)
        if len(stored) == 1:  # the events are stored, the state is not read yet
            chain.revert(fork)
            chain.increase_time(7)
            chain.mine(3)

    (outcome,) = asyncio.run(
        runner.collect(
            watched.store,
            watched.settings,
            [watched.job()],
            watched.voice,
            stored=replace_the_chain,
        )
    )
    assert outcome.failure is None
    assert any(note.endswith("reading again") for note in watched.voice.notes)
    rows = holds(watched, watched.snapshot())
    assert OTHER not in rows
    assert len(watched.store.rows(Snapshot)) == 1


# --- a collector that is interrupted ------------------------------------------------------------

DIES_AFTER_ITS_FIRST_LOAD = """
import asyncio, os, signal, sys
from pathlib import Path
from chainwatch.collect import runner
from chainwatch.collect.feed import Job
from chainwatch.collect.registry import find
from chainwatch.lake.store import Store
from chainwatch.settings import Settings
from chainwatch.show.tell import Teller

home = Path(sys.argv[1])
job = Job(find("aave-v3"), target="local", options={"accounts": "all"})
settings = Settings({"home": str(home)}, environ={}, dotenv=home / ".env")
kill = lambda load: os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(runner.collect(Store(home), settings, [job], Teller(), stored=kill))
"""


@pytest.mark.full
def test_a_collector_killed_after_its_scan_resumes_there(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    """A collector killed between scan and snapshot goes on after the scan."""
    accounts.populate(aave_market, 30, 6)
    watched = watch(aave_market)
    done = subprocess.run(
        [sys.executable, "-c", DIES_AFTER_ITS_FIRST_LOAD, str(watched.home)],
        env=clean_environment(watched.home),
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    scanned = watched.store.rows(Scan)
    assert scanned
    assert watched.store.rows(Snapshot) == []
    aave_market.chain.mine(2)
    snapshot = watched.collect()
    assert f"local: resumed at block {scanned[-1].to_block + 1}" in watched.voice.notes
    blocks = sorted((s.from_block, s.to_block) for s in watched.store.rows(Scan))
    assert blocks[-1] == (scanned[-1].to_block + 1, snapshot.block_number)
    holds(watched, snapshot)
    fresh = watch(aave_market)
    fresh.collect()
    same_positions(watched, fresh)


# --- verify -------------------------------------------------------------------------------------


def wrong_account(**changes: Any) -> Callable[[Row], Row]:
    return lambda row: msgspec.structs.replace(row, **changes) if isinstance(row, Account) else row


@pytest.mark.full
@pytest.mark.parametrize("independent", [False, True])
def test_verify_finds_a_wrong_figure_stores_it_and_ends_with_one(
    aave_market: AaveMarket, watch: Callable[..., Watched], independent: bool
) -> None:
    accounts.populate(aave_market, 25, 6)
    watched = watch(aave_market)
    watched.collect()
    victim = next(row for row in watched.accounts().values() if row.status == "ok")
    wrong = tampered(watched, victim.account, wrong_account(debt_base=victim.debt_base + 1))
    web3 = ["--with-web3"] if independent else []
    done = watched.cli("verify", "--json", *web3)
    assert done.returncode == Exit.CHECK_FAILED
    lines = done.stderr.splitlines()
    line = f"local {victim.account} debt: ours {victim.debt_base + 1}, chain {victim.debt_base}"
    assert line in lines
    assert lines[-1] == "chainwatch: 1 account(s) differ from the chain"
    assert json.loads(done.stdout)["rows"][0]["different"] == 1
    (stored,) = watched.store.rows(Verification)
    assert (stored.snapshot, stored.mismatched, stored.max_abs_error) == (wrong, 1, 1)
    assert stored.method == "getUserAccountData" + (" through web3" if independent else "")
    (mismatch,) = watched.store.rows(Mismatch)
    assert (mismatch.figure, mismatch.ours) == ("debt", str(victim.debt_base + 1))
    assert len(ask(watched.store, "verification_mismatches")) == 1
    report = watched.cli("health")
    assert "WRONG: verified" in report.stdout
    checks = watched.cli("checks")
    assert checks.returncode == Exit.CHECK_FAILED


@pytest.mark.full
@pytest.mark.parametrize(
    ("changes", "figure", "ours"),
    [
        ({"hf_wad": 1}, "health factor", "1"),
        ({"collateral_base": 2**200}, "collateral", str(2**200)),
        (
            {"status": "n/a (guess)", "collateral_base": None, "debt_base": None, "hf_wad": None},
            "health factor",
            "n/a (guess)",
        ),
    ],
)
def test_verify_compares_every_figure(
    aave_market: AaveMarket,
    watch: Callable[..., Watched],
    changes: dict[str, Any],
    figure: str,
    ours: str,
) -> None:
    borrower(aave_market)
    watched = watch(aave_market)
    watched.collect()
    tampered(watched, USER, wrong_account(**changes))
    result, mismatches = watched.verify()
    assert result.mismatched == 1
    assert (figure, ours) in {(m.figure, m.ours) for m in mismatches if isinstance(m, Mismatch)}


@pytest.mark.full
def test_web3_reads_the_same_as_our_own_client(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    accounts.populate(aave_market, 60, 6)
    aave_market.set_price("WBTC", 0)  # so that some calls revert
    watched = watch(aave_market)
    snapshot = watched.collect()
    assert 0 < snapshot.accounts_failed < snapshot.accounts
    done = watched.cli("verify", "--with-web3")
    assert done.returncode == Exit.OK, done.stderr
    assert watched.verify()[1] == []
    methods = {row.method: row for row in watched.store.rows(Verification)}
    assert set(methods) == {"getUserAccountData", "getUserAccountData through web3"}
    assert all(row.checked == snapshot.accounts for row in methods.values())
    assert all(row.mismatched == 0 for row in methods.values())


@pytest.mark.full
def test_a_sample_takes_risky_accounts_first_and_is_reported(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    """A sample takes accounts near liquidation first, and the result says that it is a sample."""
    accounts.populate(aave_market, 60, 6)
    watched = watch(aave_market)
    snapshot = watched.collect()
    risky = [a for a, row in watched.accounts().items() if row.hf is not None and row.hf < 1.1]
    size = len(risky) + 5
    tampered(watched, risky[0], wrong_account(debt_base=7))
    result, _ = watched.verify(sample=size)
    assert (result.checked, result.mismatched, result.accounts) == (size, 1, snapshot.accounts)
    fresh = watch(aave_market)
    fresh.collect()
    assert fresh.cli("verify", "--sample", "7").returncode == Exit.OK
    assert "verified 7/7 equal to the chain (sample)" in fresh.cli("health").stdout


def test_verify_refuses_a_snapshot_whose_block_is_gone(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    chain, watched = aave_market.chain, watch(aave_market)
    fork = chain.snapshot()
    borrower(aave_market)
    snapshot = watched.collect()
    chain.revert(fork)
    chain.increase_time(5)
    chain.mine(snapshot.block_number)
    done = watched.cli("verify", "--market", "local")
    assert done.returncode == Exit.NETWORK
    assert "is no longer on the chain: collect again" in done.stderr
    assert watched.store.rows(Verification) == []


# --- where a market begins ----------------------------------------------------------------------


@pytest.mark.full
def test_the_deployment_block_comes_from_bisection(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    chain = aave_market.chain
    borrower(aave_market)
    watched = watch(aave_market)
    watched.collect()
    start = min(scan.from_block for scan in watched.store.rows(Scan))

    def has_code(block: int) -> bool:
        return len(chain.rpc("eth_getCode", aave_market.pool, hex(block))) > 2

    assert start > 0
    assert has_code(start)
    assert not has_code(start - 1)
    assert any("looking for the deployment block" in note for note in watched.voice.notes)
    # What was found is kept: nothing looks for it again.
    again = watched.cli("collect", "aave-v3-liquidations", "--market", "local")
    assert (again.returncode, "deployment block" in again.stderr) == (0, False), again.stderr
    with_block = watch(aave_market, deployment_block=aave_market.deployment_block)
    with_block.collect()
    assert min(s.from_block for s in with_block.store.rows(Scan)) == aave_market.deployment_block
    same_positions(watched, with_block)


@pytest.mark.full
def test_the_pool_of_a_second_market_on_the_chain_is_read_apart(
    aave_market: AaveMarket, priced_market: AaveMarket, tmp_path: Path
) -> None:
    borrower(aave_market)
    supply(priced_market, "DAI", 10**18, OTHER)
    home = tmp_path / "home"
    first = Watched(home, aave_market)
    entry = (home / "markets.toml").read_text()
    two = Watched(home, priced_market)
    second = (home / "markets.toml").read_text().replace("markets.local", "markets.second")
    (home / "markets.toml").write_text(entry + second)
    jobs = [first.job(), msgspec.structs.replace(two.job(), target="second")]
    outcomes = asyncio.run(runner.collect(first.store, first.settings, jobs, first.voice))
    runner.raise_failures(outcomes)
    shown = {row["market"]: row["accounts"] for row in ask(first.store, "snapshots_at")}
    assert shown == {"local": 2, "second": 1}
    supply(priced_market, "WETH", 10**18, OTHER)
    outcomes = asyncio.run(runner.collect(first.store, first.settings, jobs, first.voice))
    assert [o.failure for o in outcomes] == [None, None]
    blocks = {row["market"]: row["accounts_read"] for row in ask(first.store, "snapshots_at")}
    assert blocks == {"local": 0, "second": 1}


@pytest.mark.full
def test_a_feeds_rule_of_the_market_file_is_stored_with_its_factor(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    borrower(aave_market)
    watched = watch(aave_market)
    with (watched.home / "markets.toml").open("a") as file:
        file.write("[feeds.local]\nETH = { deviation = 0.005, heartbeat = 3600 }\n")
    watched.collect()
    rules = {
        (row["factor"], row["deviation"], row["heartbeat"])
        for row in ask(watched.store, "factors_at")
    }
    assert ("ETH", 0.005, 3_600) in rules
    assert {rule[1:] for rule in rules if rule[0] != "ETH"} == {(None, None)}


@pytest.mark.full
def test_a_borrow_for_another_account_names_the_one_that_owes(
    aave_market: AaveMarket, watch: Callable[..., Watched]
) -> None:
    market = aave_market
    supply(market, "USDC", 10**13, accounts.PROVIDERS[0])
    supply(market, "WETH", 10**18)
    watched = watch(market, scope="borrowers")
    assert watched.collect().accounts == 0
    debt = market.listed["USDC"].variable_debt
    market.chain.send_all(
        [
            Tx(USER, debt, encode("approveDelegation(address,uint256)", OTHER, 10**12)),
            Tx(
                OTHER,
                market.pool,
                encode(
                    "borrow(address,uint256,uint256,uint16,address)",
                    *(market.listed["USDC"].token, 10**8, 2, 0, USER),
                ),
            ),
        ]
    )
    rows = holds(watched, watched.collect())
    assert set(rows) == {USER}
    assert rows[USER].debt_base == pytest.approx(100 * BASE, rel=1e-6)
