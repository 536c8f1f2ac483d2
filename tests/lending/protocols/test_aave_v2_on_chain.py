"""The sources of Aave v2 and Spark against real bytecode: every figure equal to the chain's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainwatch.demo import accounts
from chainwatch.demo.aave import STABLE, VARIABLE, AaveMarket, ListedReserve
from chainwatch.demo.chain import DEPLOYER, Chain, Tx, decode, encode
from chainwatch.demo.plans import SHAPES
from chainwatch.errors import Exit
from chainwatch.lending.close_rules import HALF
from chainwatch.lending.protocols.aave_v2 import arithmetic as aave_v2_arithmetic
from chainwatch.lending.protocols.aave_v3 import arithmetic as aave_v3_arithmetic
from chainwatch.lending.protocols.aave_v3.liquidation import Pair, max_liquidatable_debt
from chainwatch.tables.lending import Account, Leg, Snapshot
from chainwatch.tables.lending import Reserve as ReserveRow
from tests.amounts import sample_size
from tests.builders import (
    ask,
    close_rule,
    content,
    missing_logs_are_refused,
    refusal,
    same_positions,
    walls_hold,
)
from tests.evm import operations
from tests.evm.aave_lakes import USER, Lake, answers, borrower, holds, supply
from tests.evm.aave_v2_market import ETHER, AaveV2Market, artifacts, deploy, plans, populate

pytestmark = pytest.mark.contracts("published")

DAY = 86_400
RAY = 10**27
OTHER = "0x" + "cd" * 20
THIRD = "0x" + "ef" * 20
BORROW = "0xc6a898309e823ee50bac64e45ca8adba6690e99e7841c45d754e2a38e9019d9b"

Lakes = Callable[..., Lake]


@pytest.fixture(scope="session")
def aave_v2_artifacts() -> Path:
    """The compiled contracts of Aave v2, installed on first use."""
    return artifacts()


@pytest.fixture
def market(chain: Chain, aave_v2_artifacts: Path) -> AaveV2Market:
    """An empty market of Aave v2 on the node."""
    return deploy(chain, aave_v2_artifacts)


@pytest.fixture
def lake(tmp_path: Path) -> Lakes:
    """Makes a lake beside a market, each in a folder of its own."""
    made: list[Lake] = []

    def make(market: Any, source: str = "aave-v2", **entry: Any) -> Lake:
        made.append(Lake(tmp_path / f"home{len(made)}", market, source, **entry))
        return made[-1]

    return make


def balances_hold(market: AaveV2Market, legs: dict[tuple[str, str, str], Leg]) -> int:
    """Every balance is what the token contracts say, in token units; returns how many."""
    tokens = {reserve.token: reserve for reserve in market.listed.values()}
    for side in ("collateral", "debt"):
        rows = [leg for leg in legs.values() if leg.side == side]
        sums = [0] * len(rows)
        parts: tuple[Callable[[ListedReserve], str], ...] = (lambda it: it.a_token,)
        if side == "debt":
            parts = (lambda it: it.stable_debt, lambda it: it.variable_debt)
        for part in parts:
            calls = [(part(tokens[leg.asset]), leg.account) for leg in rows]
            balances = market.chain.call_each("balanceOf(address)(uint256)", calls)
            sums = [a + b for a, b in zip(sums, balances, strict=True)]
        assert [leg.raw for leg in rows] == sums
    return len(legs)


# --- equal to the chain -------------------------------------------------------------------------


@pytest.mark.full
def test_debt_without_logs_is_no_empty_market(market: AaveV2Market, lake: Lakes) -> None:
    missing_logs_are_refused(
        lambda **entry: lake(market, scope="borrowers", **entry), lambda: borrower(market)
    )


@pytest.mark.full
def test_accounts_equal_the_chain_through_a_fall_and_a_month(
    market: AaveV2Market, lake: Lakes
) -> None:
    """Accounts of many kinds equal the chain: at first, after a fall, after liquidations, and a
    month later."""
    chain, watched = market.chain, lake(market)
    drawn = plans(240, 2026, market.prices())
    shapes = Counter(plan.shape for plan in drawn)
    assert min(shapes[it] for it in SHAPES if it != "e-mode") >= 5
    made = populate(market, 240, 2026)

    snapshot = watched.collect()
    assert (snapshot.profile, snapshot.revision, close_rule(snapshot)) == ("aave 2", 2, HALF)
    assert (snapshot.quote, snapshot.base_decimals) == ("ETH", 18)
    calm = holds(watched, snapshot)
    assert set(made) < set(calm)
    legs = watched.legs()
    assert balances_hold(market, legs) > 450
    assert sum(leg.stable_principal is not None for leg in legs.values()) >= 10
    assert sum(bool(leg.stable_principal and leg.scaled) for leg in legs.values()) >= 3  # both
    assert sum(row.status == "no debt" for row in calm.values()) >= 10
    dust = [r for r in calm.values() if r.status == "ok" and r.debt_base < ETHER // 3_000]
    assert len(dust) >= 5
    for plan in drawn:
        for symbol in plan.unflagged:
            assert (plan.account, market.listed[symbol].token, "collateral") not in legs
    assert not any(row.liquidatable for row in calm.values())

    tally = operations.random_operations(market, made, Random(5), 200)
    kinds = set(operations.ACTIONS) - {"e-mode", "liquidate"}
    assert min(tally.done[kind] for kind in kinds) >= 3
    holds(watched, watched.collect())

    accounts.crash(market, 0.4)
    fallen = holds(watched, watched.collect())
    assert sum(row.liquidatable is True for row in fallen.values()) > 100

    done = accounts.liquidate(market, made, Random(1), 100)
    assert len(done) > 80
    snapshot = watched.collect()
    rows = holds(watched, snapshot)
    assert 0 < snapshot.accounts_read < len(rows)
    assert all(rows[s.account] != fallen[s.account] for s in done)

    chain.increase_time(30 * DAY)
    snapshot = watched.collect()
    assert snapshot.accounts_read == 0
    aged = holds(watched, snapshot)
    assert sum((aged[a].debt_base or 0) > (rows[a].debt_base or 0) for a in aged) > 150
    legs = watched.legs()
    assert balances_hold(market, legs) > 400
    # v2 compounds a stable rate in its own way: v3.0's would be wrong for these accounts.
    now = int(snapshot.block_time.timestamp())
    stables = [
        aave_v3_arithmetic.Stable(leg.stable_principal, leg.stable_rate or 0, leg.stable_since or 0)
        for leg in legs.values()
        if leg.stable_principal
    ]
    other = [aave_v3_arithmetic.stable_balance(aave_v3_arithmetic.V3_0, s, now) for s in stables]
    assert other != [
        aave_v3_arithmetic.stable_balance(aave_v2_arithmetic.PROFILE, s, now) for s in stables
    ]

    assert walls_hold(watched) > 100
    result, mismatches = watched.verify()
    assert (result.checked, result.mismatched, mismatches) == (len(aged), 0, [])
    for name in ("account_counts", "account_totals", "scan_gaps", "unknown_assets"):
        assert ask(watched.store, name) == []


@pytest.mark.full
@pytest.mark.sampled
@settings(
    max_examples=sample_size(quick=1, full=2, torture=50),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32))
def test_an_incremental_snapshot_of_aave_v2_equals_a_full_one(
    market: AaveV2Market, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Row for row."""
    chain, rng = market.chain, Random(seed)
    before = chain.snapshot()
    prices = dict(market.usd)
    try:
        made = populate(market, 20, seed)
        folder = tmp_path_factory.mktemp("lakes")
        grown, fresh = Lake(folder / "grown", market), Lake(folder / "fresh", market)
        grown.collect()
        for _ in range(4):
            last = chain.block_number()
            match rng.choice(["act", "act", "act", "fall", "wait", "rate"]):
                case "act":
                    operations.random_operations(market, made, rng, rng.randint(1, 20))
                case "fall":
                    accounts.crash(market, rng.uniform(0.7, 1.1))
                    accounts.liquidate(market, made, rng, 4)
                case "wait":
                    chain.increase_time(rng.randint(1, 90 * DAY))
                case "rate":
                    market.set_stable_rate("DAI", rng.randint(1, 300) * RAY // 1000)
            chain.mine()
            snapshot = grown.collect()
            assert snapshot.based_on is not None
            assert fresh.collect(full="yes").based_on is None
            same_positions(grown, fresh)
            rows = holds(grown, snapshot)
            balances_hold(market, grown.legs())
            topics = {f"0x{t[26:]}" for log in chain.logs(first=last + 1) for t in log["topics"]}
            read = {a for a, row in rows.items() if row.read_block == snapshot.block_number}
            assert snapshot.accounts_read == len(read)
            assert read <= topics
    finally:
        market.usd = prices
        chain.revert(before)


@pytest.mark.full
def test_each_action_of_an_aave_v2_account_is_in_the_next_snapshot(
    market: AaveV2Market, lake: Lakes
) -> None:
    """Every action that changes an account of Aave v2 is in the next snapshot."""
    chain, watched = market.chain, lake(market)
    borrower(market)
    supply(market, "DAI", 10**6 * ETHER, accounts.PROVIDERS[0])
    supply(market, "WBTC", 10**7, USER)
    chain.send_all(
        [
            tx
            for s in ("USDC", "DAI")
            for tx in (market.mint(s, USER, 10**24), market.approve(USER, s))
        ]
    )
    holds(watched, watched.collect())
    for step in (
        market.supply(USER, "DAI", 100 * ETHER),
        market.use_as_collateral(USER, "DAI", False),
        market.use_as_collateral(USER, "DAI", True),
        market.borrow(USER, "DAI", 200 * ETHER, STABLE),
        market.borrow(USER, "DAI", 300 * ETHER, VARIABLE),
        market.swap_rate(USER, "DAI", STABLE),
        market.swap_rate(USER, "DAI", VARIABLE),
        market.repay(USER, "DAI", 50 * ETHER, STABLE),
        market.repay(USER, "USDC", 10**8, VARIABLE),
        market.repay(USER, "USDC", 2**256 - 1, VARIABLE),
        market.withdraw(USER, "WETH", ETHER // 10),
        market.transfer(USER, "WBTC", OTHER, 10**6),
        market.transfer(USER, "WBTC", OTHER, 9 * 10**6),
    ):
        chain.send_all([step])
        snapshot = watched.collect()
        assert holds(watched, snapshot)[USER].read_block == snapshot.block_number
        balances_hold(market, watched.legs())
    fresh = lake(market)
    fresh.collect()
    same_positions(watched, fresh)


@pytest.mark.full
def test_pure_depositors_of_aave_v2_are_only_in_scope_all(
    market: AaveV2Market, lake: Lakes
) -> None:
    """An account that only deposited is in scope all and not in scope borrowers."""
    made = populate(market, 60, 4)
    everyone, borrowers = lake(market), lake(market, scope="borrowers")
    for _ in range(2):
        wide, narrow = holds(everyone, everyone.collect()), holds(borrowers, borrowers.collect())
        logs = market.chain.logs(market.pool, [BORROW])
        assert set(narrow) == {f"0x{log['topics'][2][26:]}" for log in logs}
        assert set(narrow) < set(wide)
        assert content(narrow) == {a: row for a, row in content(wide).items() if a in narrow}
        assert not any(wide[a].debt_base for a in wide.keys() - narrow.keys())
        operations.random_operations(market, made, Random(4), 60)
    assert borrowers.snapshot().based_on is not None


def test_a_borrow_on_behalf_of_another_names_the_debtor(market: AaveV2Market, lake: Lakes) -> None:
    """A borrow on behalf of another account of Aave v2 names the account that owes."""
    supply(market, "USDC", 10**13, accounts.PROVIDERS[0])
    supply(market, "WETH", ETHER, USER)
    watched = lake(market, scope="borrowers")
    assert watched.collect().accounts == 0
    for mode, token in (
        (VARIABLE, market.listed["USDC"].variable_debt),
        (STABLE, market.listed["USDC"].stable_debt),
    ):
        market.chain.send_all(
            [
                Tx(USER, token, encode("approveDelegation(address,uint256)", OTHER, 10**12)),
                market.borrow(OTHER, "USDC", 10**8, mode, USER),
            ]
        )
        assert set(holds(watched, watched.collect())) == {USER}
    leg = watched.legs()[USER, market.listed["USDC"].token, "debt"]
    assert leg.scaled
    assert leg.stable_principal == 10**8


def test_a_rebalanced_stable_rate_is_in_the_next_snapshot(
    market: AaveV2Market, lake: Lakes
) -> None:
    """A stable rate can be rebalanced by anybody; the next snapshot has the new rate."""
    bank = accounts.PROVIDERS[0]
    supply(market, "USDC", 10**12, bank)
    supply(market, "WETH", 1_000 * ETHER, USER)
    market.chain.send_all([market.borrow(USER, "USDC", 2 * 10**11, STABLE)])
    watched = lake(market)
    token = market.listed["USDC"].token
    holds(watched, watched.collect())
    before = watched.legs()[USER, token, "debt"].stable_rate
    market.chain.send_all([market.withdraw(bank, "USDC", 792 * 10**9)])
    market.chain.send_all([market.rebalance(OTHER, "USDC", USER)])
    snapshot = watched.collect()
    assert holds(watched, snapshot)[USER].read_block == snapshot.block_number
    assert watched.legs()[USER, token, "debt"].stable_rate > 5 * before
    market.chain.increase_time(90 * DAY)
    holds(watched, watched.collect())
    balances_hold(market, watched.legs())


@pytest.mark.full
@pytest.mark.parametrize("source", ["aave-v2", "aave-v3", "spark"])
def test_a_stable_debt_missing_from_the_total_supply_counts(
    market: AaveV2Market, aave_market: AaveMarket, lake: Lakes, source: str
) -> None:
    """The supply grows at the average rate, and so less than the debt at the highest of them."""
    pool_market: Any = market if source == "aave-v2" else aave_market
    chain = pool_market.chain
    supply(pool_market, "DAI", 10**6 * ETHER, accounts.PROVIDERS[0])
    for account in (USER, OTHER, THIRD):
        supply(pool_market, "WETH", 1_000 * ETHER, account)
    chain.send_all(
        [
            pool_market.borrow(OTHER, "DAI", ETHER, STABLE),
            pool_market.borrow(THIRD, "DAI", 940_000 * ETHER),
            pool_market.borrow(USER, "DAI", 10_000 * ETHER, STABLE),  # at a much higher rate
        ]
    )
    chain.increase_time(365 * DAY)
    chain.send_all(
        [
            pool_market.mint("DAI", USER, 10**6 * ETHER),
            pool_market.approve(USER, "DAI"),
            pool_market.repay(USER, "DAI", 2**256 - 1, STABLE),
        ]
    )
    token = pool_market.listed["DAI"].stable_debt
    assert chain.call(token, "totalSupply()(uint256)") == 0
    owed = chain.call(token, "balanceOf(address)(uint256)", OTHER)
    assert owed > ETHER
    watched = lake(pool_market, source)
    watched.collect()
    assert watched.legs()[OTHER, pool_market.listed["DAI"].token, "debt"].raw == owed
    holds(watched, watched.snapshot())


# --- what an ETH is worth -----------------------------------------------------------------------


def test_figures_in_eth_have_usd_only_with_a_quote_feed(market: AaveV2Market, lake: Lakes) -> None:
    """Figures are in ETH and have no USD unless the market names a feed for ETH."""
    borrower(market)
    without, with_feed = lake(market), lake(market, quote_feed=market.eth_feed)
    snapshot = without.collect()
    assert (snapshot.quote, snapshot.quote_usd) == ("ETH", None)
    row = holds(without, snapshot)[USER]
    assert (row.collateral_base, row.collateral_usd, row.debt_usd) == (ETHER, None, None)
    assert row.hf is not None
    legs = without.legs().values()
    assert {leg.usd for leg in legs} == {None}
    assert all(leg.value for leg in legs)
    assert {r.price_usd for r in without.store.rows(ReserveRow)} == {None}

    snapshot = with_feed.collect()
    assert (snapshot.quote, snapshot.quote_usd) == ("ETH", 3_000.0)
    row = holds(with_feed, snapshot)[USER]
    assert (row.collateral_base, row.collateral_usd) == (ETHER, 3_000.0)
    assert row.debt_usd == pytest.approx(1_000, rel=1e-6)
    prices = {r.symbol: r.price_usd for r in with_feed.store.rows(ReserveRow)}
    assert prices == pytest.approx({s: p / 10**8 for s, p in market.usd.items()}, rel=1e-12)

    # In USD the collateral halves, in ETH the debt doubles.
    market.set_prices({"WETH": 1_500 * 10**8})
    row = holds(with_feed, with_feed.collect())[USER]
    assert (row.collateral_base, row.collateral_usd) == (ETHER, 1_500.0)
    assert row.debt_base == pytest.approx(2 * ETHER / 3, rel=1e-6)
    assert row.debt_usd == pytest.approx(1_000, rel=1e-6)


def test_triggers_of_a_market_in_eth_are_where_the_chain_says(
    market: AaveV2Market, lake: Lakes
) -> None:
    """Where prices are in ETH, a fall of ETH and a fall of BTC trigger where the chain says.

    The feeds are USDC/ETH and WBTC/ETH: ETH in USD moves both of them the other way.
    """
    made = populate(market, 60, 7)
    watched = lake(market, quote_feed=market.eth_feed)
    watched.collect()
    moved = {
        name: {row["symbol"] for row in ask(watched.store, "moves", factor=name) if row["factor"]}
        for name in ("ETH", "WBTC", "USDC")
    }
    assert moved == {"ETH": {"WETH", "wstETH"}, "WBTC": {"WBTC"}, "USDC": {"USDC"}}
    usd = dict(market.usd)
    for factor, symbol in (("ETH", "WETH"), ("WBTC", "WBTC")):
        rows = {
            row["account"]: row
            for row in ask(watched.store, "triggers", factor=factor)
            if row["account"] in made and row["debt_usd"] > 1
        }
        assert sum(row["direction"] == "down" for row in rows.values()) >= 8
        for x in (0.9, 0.75):
            market.set_prices({symbol: int(usd[symbol] * x)})
            figures = dict(zip(rows, market.account_data(list(rows)), strict=True))
            below = {account for account, row in figures.items() if row[5] < 10**18}
            triggered = {
                a for a, row in rows.items() if row["direction"] in ("now", "down") and row["x"] > x
            }
            assert below == triggered
            assert below
        market.set_prices({symbol: usd[symbol]})


def test_a_feed_for_usd_that_has_no_answer_leaves_the_figures_in_eth(
    market: AaveV2Market, lake: Lakes
) -> None:
    borrower(market)
    watched = lake(market, quote_feed=market.eth_feed)
    market.chain.send(market.eth_feed, "setAnswer(int256)", 0)
    snapshot = watched.collect()
    assert snapshot.quote_usd is None
    assert holds(watched, snapshot)[USER].collateral_usd is None
    assert watched.verify()[0].mismatched == 0


# --- liquidation --------------------------------------------------------------------------------


def at_time(market: AaveV2Market, moment: int) -> Iterator[None]:
    """Once as an empty block at that moment, and once more for the block that acts in it."""
    fork = market.chain.snapshot()
    market.chain.set_next_timestamp(moment)
    market.chain.mine()
    yield
    market.chain.revert(fork)
    market.chain.set_next_timestamp(moment)
    yield


def test_aave_v2_liquidations_equal_the_arithmetic(market: AaveV2Market, lake: Lakes) -> None:
    """Liquidation calls repay and seize what the arithmetic of Aave v2 gives.

    Balances come out of the lake, as read at the very second the calls are made.
    """
    made = populate(market, 150, 7)
    accounts.crash(market, 0.45)
    liquidator = accounts.LIQUIDATORS[0]
    chain, rng = market.chain, Random(7)
    chain.send_all(
        [
            tx
            for s in market.listed
            for tx in (market.mint(s, liquidator, 10**30), market.approve(liquidator, s))
        ]
    )
    symbols = {reserve.token: symbol for symbol, reserve in market.listed.items()}
    moments = at_time(market, chain.timestamp() + 3 * DAY)
    next(moments)
    watched = lake(market)
    rows = holds(watched, watched.collect())
    legs = watched.legs()
    prices = {r.asset: r for r in watched.store.rows(ReserveRow)}
    wanted: list[tuple[str, Leg, Leg, int, bool]] = []
    for account in made:
        own = [leg for (who, _, _), leg in legs.items() if who == account]
        if rows[account].liquidatable:
            held = [leg for leg in own if leg.side == "collateral"]
            collateral = rng.choice([rng.choice(held), min(held, key=lambda leg: leg.value or 0)])
            debt = rng.choice([leg for leg in own if leg.side == "debt"])
            share = rng.choice([None, 0.1, 0.49, 0.51])
            cover = 2**256 - 1 if share is None else int(debt.raw * share) + 1
            wanted.append((account, collateral, debt, cover, rng.random() < 0.5))
    next(moments)
    receipts = chain.send_all(
        [
            market.liquidate(
                liquidator, symbols[c.asset], symbols[d.asset], account, cover, receive
            )
            for account, c, d, cover, receive in wanted
        ],
        tolerate=True,
    )
    kinds: Counter[str] = Counter()
    for (account, collateral, debt, cover, _), receipt in zip(wanted, receipts, strict=True):
        if not receipt.ok:  # nothing is left of so little dust, so that the token refuses to burn
            assert debt.raw < 3 or collateral.raw < 3, chain.reason(receipt.hash)
            continue
        pair = Pair(
            health_factor=rows[account].hf_wad or 0,
            total_debt=rows[account].debt_base or 0,
            collateral_balance=collateral.raw,
            collateral_price=prices[collateral.asset].price or 0,
            collateral_decimals=prices[collateral.asset].decimals,
            debt_balance=debt.raw,
            debt_price=prices[debt.asset].price or 0,
            debt_decimals=prices[debt.asset].decimals,
            bonus=10_000 + int(prices[collateral.asset].bonus_bps),
            protocol_fee=0,
        )
        repaid, seized = aave_v2_arithmetic.liquidate(pair, cover)
        (log,) = [x for x in receipt.logs if x["topics"][0] == accounts.LIQUIDATION_CALL]
        event_data = decode("f()(uint256,uint256,address,bool)", log["data"])
        assert (repaid, seized) == event_data[:2]
        most = max_liquidatable_debt(aave_v2_arithmetic.PROFILE, pair)
        limited = repaid < min(cover, most)
        kinds["limited" if limited else "partial" if repaid < most else "full"] += 1
        kinds["stable"] += debt.stable_principal is not None
        kinds["half though below 0.95"] += repaid == most and pair.health_factor < 95 * 10**16
    assert kinds["partial"] >= 20
    assert kinds["full"] >= 20
    assert kinds["limited"] >= 5
    assert kinds["stable"] >= 3
    assert kinds["half though below 0.95"] >= 10
    after = lake(market)
    holds(after, after.collect())


def test_a_health_factor_of_one_holds_and_one_unit_less_is_liquidated(
    market: AaveV2Market, lake: Lakes
) -> None:
    """A debt under one token moves by less than a unit of value per unit of price, so that the
    threshold itself can be hit."""
    chain = market.chain
    supply(market, "USDC", 10**13, accounts.PROVIDERS[0])
    supply(market, "WETH", 1_204_819_277_108_433_735, USER)
    chain.send_all(
        [
            market.borrow(USER, "USDC", 500_000),
            market.mint("USDC", OTHER, 10**9),
            market.approve(OTHER, "USDC"),
        ]
    )
    moment = chain.timestamp() + DAY

    def figures(price: int) -> tuple[Snapshot, Account, bool]:
        """What the lake says at a price, and whether the chain lets the account be liquidated."""
        fork = chain.snapshot()
        chain.set_next_timestamp(moment)
        market.set_feed("USDC", price)
        watched = lake(market)
        snapshot = watched.collect()
        row = holds(watched, snapshot)[USER]
        (receipt,) = chain.send_all([market.liquidate(OTHER, "WETH", "USDC", USER)], tolerate=True)
        if not receipt.ok:
            assert chain.reason(receipt.hash) == "42"  # the health factor is not below one
        chain.revert(fork)
        return snapshot, row, receipt.ok

    weighted = 1_204_819_277_108_433_735 * 8_300 // 10_000
    _, row, _ = figures(2 * ETHER)
    owed = row.debt_base * 10**6 // (2 * ETHER)
    exact = -(-weighted * 10**6 // owed)
    _, row, liquidated = figures(exact)
    assert (row.hf_wad, row.liquidatable, liquidated) == (ETHER, False, False)
    beyond = exact
    while (beyond := beyond + 1) * owed // 10**6 == row.debt_base:
        pass
    _, row, liquidated = figures(beyond)
    assert (row.hf_wad, row.liquidatable, liquidated) == (ETHER - 1, True, True)


@pytest.mark.full
@pytest.mark.parametrize("unit", ["USDC", "DAI", "WBTC"])
def test_the_last_unit_of_debt_and_collateral_equals_the_chain(
    market: AaveV2Market, lake: Lakes, unit: str
) -> None:
    """v2 leaves the borrow flag set after it was repaid by a liquidation."""
    chain, watched = market.chain, lake(market)
    supply(market, unit, 10**8, accounts.PROVIDERS[0])
    supply(market, "USDT", 10**6, USER)
    supply(market, "WETH", 1, OTHER)
    chain.send_all([market.borrow(USER, unit, 1)])
    rows = holds(watched, watched.collect())
    assert watched.legs()[USER, market.listed[unit].token, "debt"].raw == 1
    assert rows[OTHER].collateral_base == 1
    market.set_limits("USDT", 0, 1, 10_500)
    market.set_feed(unit, 10 ** (12 + market.listed[unit].reserve.decimals))
    chain.send_all(
        [
            market.mint(unit, OTHER, 10),
            market.approve(OTHER, unit),
            market.liquidate(OTHER, "USDT", unit, USER),
        ]
    )
    bits = chain.call(market.pool, "getUserConfiguration(address)(uint256)", USER)
    assert bits >> 2 * market.listed[unit].id & 1
    assert chain.call(market.listed[unit].variable_debt, "balanceOf(address)(uint256)", USER) == 0
    assert holds(watched, watched.collect())[USER].status == "no debt"


@pytest.mark.full
def test_a_flag_without_a_balance_asks_for_a_price_all_the_same(
    market: AaveV2Market, lake: Lakes
) -> None:
    chain, watched = market.chain, lake(market)
    supply(market, "DAI", 10**8, accounts.PROVIDERS[0])
    supply(market, "USDT", 10**6, USER)
    chain.send_all([market.borrow(USER, "DAI", 1)])
    market.set_limits("USDT", 0, 1, 10_500)
    market.set_feed("DAI", 10**30)
    chain.send_all(
        [
            market.mint("DAI", OTHER, 10),
            market.approve(OTHER, "DAI"),
            market.liquidate(OTHER, "USDT", "DAI", USER),
        ]
    )
    assert holds(watched, watched.collect())[USER].status == "no debt"
    market.set_feed("DAI", 0)
    for lakes in (watched, lake(market)):  # carried, and read anew
        rows = holds(lakes, lakes.collect())
        assert rows[USER].status == "n/a (oracle reverted)"
    market.set_feed("DAI", 10**14)
    assert holds(watched, watched.collect())[USER].status == "no debt"


# --- prices that are none -----------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize("price", [-1, 2**255 - 1, 2**190])
def test_a_failing_price_of_aave_v2_is_na_where_the_chain_reverts(
    market: AaveV2Market, lake: Lakes, price: int
) -> None:
    """A price that fails makes exactly those accounts n/a for which the chain reverts."""
    made = populate(market, 90, 8)
    watched = lake(market)
    watched.collect()
    market.set_feed("WBTC", price)
    snapshot = watched.collect()
    assert snapshot.accounts_read == 0
    rows = holds(watched, snapshot)
    failed = {row.status for row in rows.values() if row.status.startswith("n/a")}
    if price <= 0:
        assert failed == {"n/a (oracle reverted)"}
        assert 15 < snapshot.accounts_failed < len(made)
        assert watched.voice.notes[-1].startswith("local: the oracle gives no price for WBTC")
    elif price > 2**200:
        assert "n/a (balance times price overflows: the contract reverts)" in failed
    assert watched.verify()[0].mismatched == 0
    market.set_prices({"WBTC": 90_000 * 10**8})
    assert watched.collect().accounts_failed == 0


# --- refused, in one line -----------------------------------------------------------------------


@pytest.mark.full
def test_an_unknown_revision_of_aave_v2_is_refused_and_never_guessed(
    market: AaveV2Market, lake: Lakes
) -> None:
    borrower(market)
    watched = lake(market)
    first = watched.collect()
    market.chain.set_code(market.pool, answers(99))
    text = refusal(watched)
    assert "expected a pool revision of 1, 2, got 99 at block" in text
    assert watched.snapshot() == first
    done = watched.cli("--quiet", "collect", "aave-v2", "--market", "local")
    assert (done.returncode, done.stderr.splitlines()) == (Exit.USAGE, [f"chainwatch: {text}"])


@pytest.mark.full
def test_a_pool_of_one_protocol_is_refused_by_the_source_of_the_other(
    market: AaveV2Market, aave_market: AaveMarket, lake: Lakes
) -> None:
    assert "is not a pool of Aave v2" in refusal(lake(aave_market, "aave-v2"))
    assert "is not a pool of Aave v3" in refusal(lake(market, "aave-v3"))
    assert "is not a pool of Spark" in refusal(lake(market, "spark"))
    assert "is not a pool of Aave v2" in refusal(lake(market, pool=DEPLOYER))
