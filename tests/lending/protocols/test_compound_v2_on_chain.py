"""The source of Compound v2 against contracts on a real node: every balance and verdict equal.

Every test runs on a stand-in, contracts of this project with Compound v2's ABI, units, rounding and
events; and in `make test-all` on what Venus published, a fork of Compound v2. What Compound itself
deployed is in no package registry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainwatch.demo.aave import MULTICALL
from chainwatch.demo.chain import DEPLOYER, MAX_UINT, Chain, Tx, decode, encode, own_artifact
from chainwatch.errors import Exit, UsageError
from chainwatch.lending.close_rules import HALF
from chainwatch.lending.protocols.compound_v2 import arithmetic as compound_v2_arithmetic
from chainwatch.tables.base import Row
from chainwatch.tables.lending import Account, ChainLiquidation, Factor, Snapshot
from chainwatch.tables.lending import Reserve as ReserveRow
from tests.amounts import sample_size
from tests.builders import (
    Watched,
    ask,
    close_rule,
    missing_logs_are_refused,
    more,
    other_verdict,
    refused_everywhere,
    same_positions,
    tampering_is_found,
    walls_hold,
)
from tests.evm import compound_v2_market as pool
from tests.evm.compound_v2_market import (
    LENDER,
    LIQUIDATOR,
    MANTISSA,
    USD,
    CompoundMarket,
    VenusMarket,
)

STAND_IN = pytest.param("stand-in", marks=pytest.mark.contracts("stand-in"))
PUBLISHED = pytest.param("venus", marks=[pytest.mark.contracts("published"), pytest.mark.full])

# Interest per block, 1e18, so that few blocks are as good as many; 5e12 is the most.
FAST = 4 * 10**12
USER = "0x" + "ab" * 20
OTHER = "0x" + "cd" * 20
THIRD = "0x" + "ef" * 20
PRICES = {symbol: price for symbol, _, price, _ in pool.LISTED}

Lakes = Callable[..., "Lake"]


class Lake(Watched):
    """A lake beside a market."""

    def __init__(self, home: Path, market: CompoundMarket, **entry: Any) -> None:
        named: Any = SimpleNamespace(chain=market.chain, pool=market.comptroller)
        super().__init__(home, named, **({"protocol": "compound-v2"} | entry))
        self.compound = market


@pytest.fixture(scope="module", params=[STAND_IN, PUBLISHED])
def artifacts(request: pytest.FixtureRequest) -> Path | None:
    """Where the published contracts are; None for the stand-in."""
    return pool.venus_artifacts() if request.param == "venus" else None


def deploy(
    chain: Chain, artifacts: Path | None, listed: Sequence[tuple[str, int, int, int]] = pool.LISTED
) -> CompoundMarket:
    if artifacts is None:
        return pool.deploy(chain, listed)
    return pool.deploy_venus(chain, artifacts, listed)


@pytest.fixture
def market(chain: Chain, artifacts: Path | None) -> CompoundMarket:
    return deploy(chain, artifacts)


@pytest.fixture
def lake(tmp_path: Path) -> Lakes:
    """Makes a lake beside a market, each in a folder of its own."""
    made: list[Lake] = []

    def make(market: CompoundMarket, **entry: Any) -> Lake:
        made.append(Lake(tmp_path / f"home{len(made)}", market, **entry))
        return made[-1]

    return make


# --- what the contract says, read through the local chain's own client --------------------------


def shortfalls(market: CompoundMarket, accounts: Sequence[str]) -> dict[str, int | None]:
    """What each account is short of (negative: still has); None where a price is missing."""
    by_account: dict[str, int | None] = {}
    for start in range(0, len(accounts), 400):
        part = accounts[start : start + 400]
        data = [encode("getAccountLiquidity(address)", account) for account in part]
        requests = [
            {
                "jsonrpc": "2.0",
                "id": i,
                "method": "eth_call",
                "params": [{"from": DEPLOYER, "to": market.comptroller, "data": d}, "latest"],
            }
            for i, d in enumerate(data)
        ]
        for answer in market.chain.post(requests):
            account = part[answer["id"]]
            if "error" in answer:
                assert answer["error"]["code"] == 3, answer
                by_account[account] = None
                continue
            failed, left, short = decode("f()(uint256,uint256,uint256)", answer["result"])
            by_account[account] = None if failed else short - left
    return by_account


def shortfalls_accrued(market: CompoundMarket, accounts: Sequence[str]) -> dict[str, int | None]:
    """The same once interest was accrued in the same call."""
    accruals = [(c, "accrueInterest()") for c in market.c_tokens.values()]
    if market.vai_controller:
        accruals.append((market.vai_controller, "accrueVAIInterest()"))
    calls = [
        *((c, True, bytes.fromhex(encode(signature)[2:])) for c, signature in accruals),
        *(
            (market.comptroller, True, bytes.fromhex(encode("getAccountLiquidity(address)", a)[2:]))
            for a in accounts
        ),
    ]
    data = encode("aggregate3((address,bool,bytes)[])", calls)
    request = {"from": DEPLOYER, "to": MULTICALL, "data": data, "gas": hex(10**9)}
    answers = decode("f()((bool,bytes)[])", market.chain.rpc("eth_call", request, "latest"))
    by_account: dict[str, int | None] = {}
    for account, (done, result) in zip(accounts, answers[len(accruals) :], strict=True):
        failed, left, short = (
            decode("f()(uint256,uint256,uint256)", f"0x{result.hex()}") if done else (1, 0, 0)
        )
        by_account[account] = None if failed else short - left
    return by_account


def holds(lake: Lake, snapshot: Snapshot) -> dict[str, Account]:
    """The accounts of a snapshot of the newest block, after all of them equal the chain."""
    market, chain = lake.compound, lake.chain
    assert snapshot.block_number == chain.block_number()
    rows, legs = lake.accounts(snapshot), lake.legs(snapshot)
    assert len(rows) == snapshot.accounts
    names = list(rows)
    for c_token in market.c_tokens.values():
        signature = "getAccountSnapshot(address)(uint256,uint256,uint256,uint256)"
        inside = chain.call_each(
            "checkMembership(address,address)(bool)",
            [(market.comptroller, account, c_token) for account in names],
        )
        balances = chain.call_each(signature, [(c_token, account) for account in names])
        for account, member, (_, tokens, borrow, rate) in zip(names, inside, balances, strict=True):
            held = legs.get((account, c_token, "collateral"))
            owed = legs.get((account, c_token, "debt"))
            assert (held.scaled if held else 0) == (tokens if member else 0)
            assert (held.raw if held else 0) == (tokens * rate // MANTISSA if member else 0)
            assert (owed.raw if owed else 0) == borrow
            assert (account, c_token, "idle") in legs if member and not tokens | borrow else True
    stored, accrued = shortfalls(market, names), shortfalls_accrued(market, names)
    for account, row in rows.items():
        for verdict, short in (
            (row.liquidatable, stored[account]),
            (row.liquidatable_accrued, accrued[account]),
        ):
            assert verdict == (None if short is None else short > 0), account
        has_state = not row.status.startswith("n/a")
        assert has_state == (row.collateral_base is not None) == (row.debt_base is not None)
        assert (row.status == "ok") == (row.hf_wad is not None)
        if row.hf_wad is not None:
            assert (row.hf_wad < MANTISSA) == row.liquidatable
    return rows


def open_position(market: CompoundMarket, account: str, symbol: str, held: int, debt: int) -> None:
    """Supply collateral and borrow USDC against it."""
    steps = market.supply(account, symbol, held)
    market.chain.send_all([*steps, *([market.borrow(account, "USDC", debt)] if debt else [])])


# --- equal to the chain -------------------------------------------------------------------------


@pytest.mark.full
def test_accounts_equal_the_chain_through_a_fall_and_a_month(
    market: CompoundMarket, lake: Lakes
) -> None:
    """At first, after a fall, after liquidations, and a month of blocks later."""
    chain, watched = market.chain, lake(market)
    made = pool.populate(market, PRICES, 110, 2026)
    snapshot = watched.collect()
    assert (snapshot.profile, close_rule(snapshot), snapshot.base_decimals) == (
        "compound-v2",
        HALF,
        18,
    )
    calm = holds(watched, snapshot)
    assert set(made) <= set(calm)
    assert market.comptroller not in calm
    assert not set(market.c_tokens.values()) & set(calm)
    states = Counter(row.status for row in calm.values())
    assert states["ok"] >= 80
    assert states["no debt"] >= 7
    assert sum(row.legs > 2 for row in calm.values()) >= 30
    assert sum(row.status == "ok" and row.debt_usd < 1 for row in calm.values()) >= 3
    assert not any(row.liquidatable for row in calm.values())

    market.set_prices({"WETH": 1_900 * USD, "WBTC": 55_000 * USD})
    snapshot = watched.collect()
    assert snapshot.accounts_read == 0
    fallen = holds(watched, snapshot)
    below = sorted(account for account, row in fallen.items() if row.liquidatable)
    assert len(below) >= 30

    liquidated = liquidate_some(market, watched, below[:12])
    assert liquidated >= 6
    rows = holds(watched, watched.collect())
    assert {a for a, row in rows.items() if row.read_block == watched.snapshot().block_number} >= {
        LIQUIDATOR
    }

    chain.send_all(market.set_rate(FAST))
    chain.mine(300)
    snapshot = watched.collect()
    assert snapshot.accounts_read == 0
    aged = holds(watched, snapshot)
    late = {a for a, row in aged.items() if row.liquidatable is not row.liquidatable_accrued}
    assert all(aged[a].liquidatable is False for a in late)
    assert walls_hold(watched) > 100
    result, mismatches = watched.verify()
    assert (result.checked, result.mismatched, mismatches) == (len(aged), 0, [])
    assert result.method == "getAccountLiquidity, getAccountSnapshot, liquidateBorrowAllowed"
    for name in ("account_counts", "account_totals", "scan_gaps", "unknown_assets"):
        assert ask(watched.store, name) == []
    chain.send_all(market.accrue())
    rows = holds(watched, watched.collect())
    assert late <= {account for account, row in rows.items() if row.liquidatable}


def liquidate_some(market: CompoundMarket, lake: Lake, accounts: Sequence[str]) -> int:
    """Liquidate half of the largest debt of each for its largest collateral, where it suffices."""
    legs, done = lake.legs(), 0
    names = {c: s for s, c in market.c_tokens.items()}
    for account in accounts:
        debt = max(
            (leg for (a, _, side), leg in legs.items() if a == account and side == "debt"),
            key=lambda leg: leg.usd,
        )
        held = max(
            (leg for (a, _, side), leg in legs.items() if a == account and side == "collateral"),
            key=lambda leg: leg.usd,
        )
        amount = int(debt.raw * min(0.5, 0.9 * held.usd / 1.08 / debt.usd))
        steps = market.liquidate(account, names[debt.asset], amount, names[held.asset])
        done += market.liquidated(market.chain.send_all(steps, tolerate=True)[-1])
    return done


def test_accruing_interest_makes_an_account_liquidatable(
    market: CompoundMarket, lake: Lakes
) -> None:
    """Accrual changes the verdict of the account whose interest exceeds its margin."""
    watched = lake(market)
    open_position(market, USER, "WETH", 10**18, 2_390 * 10**6)
    market.set_prices({"WETH": 2_988 * USD})
    row = holds(watched, watched.collect())[USER]
    assert (row.liquidatable, row.liquidatable_accrued) == (False, False)
    market.chain.send_all(market.set_rate(FAST))
    market.chain.mine(400)
    row = holds(watched, watched.collect())[USER]
    assert (row.liquidatable, row.liquidatable_accrued, row.hf >= 1) == (False, True, True)
    market.chain.send_all(market.accrue())
    snapshot = watched.collect()
    assert snapshot.accounts_read == 0
    row = holds(watched, snapshot)[USER]
    assert (row.liquidatable, row.liquidatable_accrued) == (True, True)


def act(market: CompoundMarket, accounts: Sequence[str], rng: Random) -> list[Tx]:
    """One random thing that a random account does; the market may refuse it."""
    account, other = rng.choice(accounts), rng.choice(accounts)
    symbol = rng.choice(sorted(market.c_tokens))
    tokens, debt, _ = market.snapshot_of(account, symbol)
    part = rng.choice([tokens, int(tokens * rng.uniform(0, 0.5))])
    small = int(10 ** market.decimals[symbol] * 10 ** rng.uniform(-6, 2))
    match rng.choice(["supply", "repay", "borrow", "redeem", "hand", "enter", "leave"]):
        case "supply":
            return market.supply(account, symbol, small or 1)
        case "repay":
            return market.repay(other, symbol, account, rng.choice([MAX_UINT, debt // 3 or 1]))
        case "borrow":
            return [market.borrow(account, symbol, small)]
        case "redeem":
            return [market.redeem(account, symbol, part)]
        case "hand":
            return [market.hand(account, symbol, other, part)]
        case "enter":
            return [market.enter(account, symbol)]
        case _:
            return [market.leave(account, symbol)]


@pytest.mark.full
@pytest.mark.sampled
@settings(
    max_examples=sample_size(quick=1, full=2, torture=50),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32))
def test_an_incremental_snapshot_equals_a_full_one(
    market: CompoundMarket, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Row for row."""
    chain, rng = market.chain, Random(seed)
    before = chain.snapshot()
    try:
        made = pool.populate(market, PRICES, 16, seed)
        folder = tmp_path_factory.mktemp("lakes")
        grown, fresh = Lake(folder / "grown", market), Lake(folder / "fresh", market)
        grown.collect()
        for _ in range(3):
            match rng.choice(["act", "act", "fall", "wait"]):
                case "act":
                    for _ in range(rng.randint(1, 15)):
                        chain.send_all(act(market, made, rng), tolerate=True)
                case "fall":
                    market.set_prices({"WETH": int(PRICES["WETH"] * rng.uniform(0.6, 1.1))})
                    below = [a for a, row in grown.accounts().items() if row.liquidatable]
                    liquidate_some(market, grown, below[:3])
                case "wait":
                    chain.send_all(market.set_rate(FAST))
                    chain.mine(rng.randint(1, 100))
            chain.mine()
            snapshot = grown.collect()
            assert snapshot.based_on is not None
            assert fresh.collect(full="yes").based_on is None
            same_positions(grown, fresh)
            holds(grown, snapshot)
    finally:
        chain.revert(before)


def test_scope_borrowers_has_every_debtor_and_no_pure_supplier(
    market: CompoundMarket, lake: Lakes
) -> None:
    """Scope borrowers has every account with a debt, and none that never entered a market."""
    made = pool.populate(market, PRICES, 40, 4)
    everyone, borrowers = lake(market), lake(market, scope="borrowers")
    wide, narrow = holds(everyone, everyone.collect()), holds(borrowers, borrowers.collect())
    owing = {a for a, row in wide.items() if row.status == "ok"}
    assert owing <= set(narrow) < set(wide)
    assert LENDER in set(wide) - set(narrow)
    market.chain.send_all([market.enter(LENDER, "USDC"), market.borrow(made[0], "USDC", 1)])
    borrowers.collect()
    narrow = holds(borrowers, borrowers.snapshot())
    assert LENDER in narrow


# --- accounts at the edges ----------------------------------------------------------------------


@pytest.mark.full
def test_zero_dust_and_debtless_positions_are_distinct(market: CompoundMarket, lake: Lakes) -> None:
    chain, watched = market.chain, lake(market)
    open_position(market, USER, "WETH", 10**18, 0)
    chain.send_all(market.supply(OTHER, "WETH", 1)[:3])  # too little for one cToken
    chain.send_all([market.enter(OTHER, "WETH"), market.enter(OTHER, "DAI")])
    open_position(market, THIRD, "WETH", 10**15, 1)
    rows, weth = holds(watched, watched.collect()), market.c_tokens["WETH"]
    legs = watched.legs()
    assert (rows[USER].status, rows[USER].hf) == ("no debt", None)
    assert rows[USER].collateral_usd == pytest.approx(3_000, rel=1e-6)
    assert (rows[OTHER].status, rows[OTHER].legs) == ("no debt", 0)
    assert legs[OTHER, weth, "idle"].raw == 0
    assert (rows[THIRD].status, rows[THIRD].debt_base) == ("ok", 10**12)
    # All cTokens go but one, then that one; then the market is left.
    held = market.snapshot_of(USER, "WETH")[0]
    chain.send_all([market.redeem(USER, "WETH", held - 1)])
    holds(watched, watched.collect())
    assert watched.legs()[USER, weth, "collateral"].scaled == 1
    chain.send_all([market.redeem(USER, "WETH", 1)])
    holds(watched, watched.collect())
    assert (USER, weth, "idle") in watched.legs()
    chain.send_all([market.leave(USER, "WETH")])
    rows = holds(watched, watched.collect())
    assert rows[USER].legs == 0
    assert not [key for key in watched.legs() if key[0] == USER]


def test_one_unit_below_the_trigger_price_can_be_liquidated(
    market: CompoundMarket, lake: Lakes
) -> None:
    """A price may equal the trigger price; one unit less lets a liquidation through."""
    chain = market.chain
    open_position(market, USER, "WBTC", 10**8, 63_000 * 10**6)
    held, debt, _ = market.snapshot_of(USER, "WBTC")[0], market.snapshot_of(USER, "USDC")[1], 0
    rate = market.snapshot_of(USER, "WBTC")[2]

    def short(price: int) -> bool:
        wbtc = compound_v2_arithmetic.MarketBalance(held, rate, 0, 7 * 10**17, price * 10**20)
        usdc = compound_v2_arithmetic.MarketBalance(0, 0, debt, 85 * 10**16, 10**30)
        return compound_v2_arithmetic.is_liquidatable([wbtc, usdc])

    line = next(p for p in range(89_999 * USD, 90_002 * USD, 1_000) if not short(p))
    line = next(p for p in range(line - 1_000, line + 1) if not short(p))
    for price, verdict in ((line + 1, False), (line, False), (line - 1, True)):
        market.set_prices({"WBTC": price})
        watched = lake(market)
        row = holds(watched, watched.collect())[USER]
        assert (row.liquidatable, row.hf_wad < MANTISSA) == (verdict, verdict)
    fork = chain.snapshot()
    half = market.snapshot_of(USER, "USDC")[1] // 2
    for amount, allowed in ((half + 10**6, False), (half, True)):
        receipts = chain.send_all(market.liquidate(USER, "USDC", amount, "WBTC"), tolerate=True)
        assert market.liquidated(receipts[-1]) == allowed
    chain.revert(fork)


@pytest.mark.full
def test_an_account_in_more_than_twenty_markets_is_counted_whole(
    chain: Chain, artifacts: Path | None, lake: Lakes
) -> None:
    rng = Random(24)
    listed = [
        (f"A{i:02}", rng.choice([6, 8, 18]), rng.randint(1, 5_000) * USD, rng.randint(40, 90))
        for i in range(22)
    ]
    market = deploy(chain, artifacts, [*listed, ("USDC", 6, USD, 80)])
    steps = []
    for symbol, decimals, price, _ in listed:
        steps += market.supply(USER, symbol, 1_000 * USD * 10**decimals // price)
    chain.send_all([*steps, market.borrow(USER, "USDC", 10_000 * 10**6)])
    chain.send_all([market.borrow(USER, "A00", 1), market.borrow(USER, "A07", 1)])
    watched = lake(market)
    row = holds(watched, watched.collect())[USER]
    assert row.legs == 25
    assert not row.liquidatable
    market.set_prices({symbol: price // 4 for symbol, _, price, _ in listed[3:]})
    row = holds(watched, watched.collect())[USER]
    assert row.liquidatable
    assert watched.verify()[0].mismatched == 0


@pytest.mark.parametrize("artifacts", [STAND_IN], indirect=True)  # Venus has no such rule
def test_a_debt_in_a_deprecated_market_is_always_liquidatable(
    market: CompoundMarket, lake: Lakes
) -> None:
    """A debt in a deprecated market may be liquidated whatever the account is worth."""
    chain, watched = market.chain, lake(market)
    chain.send_all([*market.supply(USER, "WETH", 10**18), market.borrow(USER, "DAI", 10**18)])
    c_token, comptroller = market.c_tokens["DAI"], market.comptroller
    assert watched.collect()
    assert watched.accounts()[USER].liquidatable is False
    chain.send(comptroller, "_setCollateralFactor(address,uint256)", c_token, 0)
    chain.send(comptroller, "_setBorrowPaused(address,bool)", c_token, True)
    watched.collect()
    assert watched.accounts()[USER].liquidatable is False
    chain.send(c_token, "_setReserveFactor(uint256)", MANTISSA)
    snapshot = watched.collect()
    row = watched.accounts(snapshot)[USER]
    assert (row.liquidatable, row.hf > 1_000) == (True, True)
    (reserve,) = watched.store.rows(
        ReserveRow, "asset = $a AND snapshot = $s", {"a": c_token, "s": snapshot.snapshot}
    )
    assert (reserve.frozen, reserve.borrowing) == (True, False)
    assert watched.verify()[0].mismatched == 0
    debt = market.snapshot_of(USER, "DAI")[1]
    assert chain.send_all(market.liquidate(USER, "DAI", debt, "WETH"))[-1].ok


@pytest.mark.parametrize("artifacts", [PUBLISHED], indirect=True)
def test_a_debt_in_vai_counts_as_the_comptroller_counts_it(
    market: VenusMarket, lake: Lakes
) -> None:
    """With its interest, in shortfalls and verdicts, by events, and where it is liquidated."""
    chain, watched = market.chain, lake(market)
    market.add_vai(10**13)
    controller = market.vai_controller
    open_position(market, USER, "WETH", 10**18, 0)
    open_position(market, OTHER, "WETH", 10**18, 500 * 10**6)
    open_position(market, THIRD, "WETH", 10**18, 500 * 10**6)
    vai = 10**18
    chain.send_all([market.mint_vai(USER, 2_000 * vai), market.mint_vai(OTHER, 1_000 * vai)])
    snapshot = watched.collect()
    rows, legs = holds(watched, snapshot), watched.legs()
    assert legs[USER, controller, "debt"].raw == 2_000 * vai
    assert rows[USER].debt_usd == pytest.approx(2_000)
    assert rows[OTHER].debt_usd == pytest.approx(1_500)
    assert (THIRD, controller, "debt") not in legs
    assert controller not in rows

    chain.mine(75)
    chain.send_all([market.mint_vai(THIRD, vai), *market.repay_vai(OTHER, 300 * vai)])
    chain.send_all([market.mint_vai(OTHER, 10 * vai)])
    chain.mine(75)
    snapshot = watched.collect()
    assert snapshot.accounts_read == 2
    holds(watched, snapshot)
    owed = {a: leg.raw for (a, c, _), leg in watched.legs().items() if c == controller}
    signature = "getVAIRepayAmount(address)(uint256)"
    assert owed == {a: chain.call(controller, signature, a) for a in (USER, OTHER, THIRD)}
    assert walls_hold(watched) > 0

    market.set_prices({"WETH": 2_504 * USD})
    chain.mine(75)
    rows = holds(watched, watched.collect())
    assert (rows[USER].liquidatable, rows[USER].liquidatable_accrued) == (False, True)
    chain.send(controller, "accrueVAIInterest()")
    rows = holds(watched, watched.collect())
    assert rows[USER].liquidatable
    assert watched.verify()[0].mismatched == 0

    chain.send_all(market.liquidate_vai(USER, 500 * vai, "WETH"))
    holds(watched, watched.collect())
    assert watched.cli("collect", "compound-v2-liquidations", "--market", "local").returncode == 0
    (row,) = watched.store.rows(ChainLiquidation)
    assert (row.account, row.debt_symbol, row.coll_symbol) == (USER, "VAI", "cWETH")
    # The event has what is burnt; what else was paid is interest, for which nothing is seized.
    assert 490 * vai < row.debt_repaid_raw < 500 * vai
    assert row.debt_repaid_usd == pytest.approx(row.debt_repaid_raw / vai)
    assert row.coll_seized_usd == pytest.approx(row.debt_repaid_usd * 1.08, rel=1e-6)


# --- prices -------------------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize(
    ("price", "status"), [(0, "n/a (no price)"), (-1, "n/a (oracle reverted)")]
)
def test_without_a_price_exactly_its_members_have_no_verdict(
    market: CompoundMarket, lake: Lakes, price: int, status: str
) -> None:
    """An asset without a price leaves exactly the members of its market without a verdict."""
    pool.populate(market, PRICES, 60, 8)
    market.chain.send_all([market.enter(USER, "WBTC")])
    watched = lake(market)
    watched.collect()
    market.set_prices({"WBTC": price})
    snapshot = watched.collect()
    assert snapshot.accounts_read == 0
    rows = holds(watched, snapshot)
    members = {a for a, asset, _ in watched.legs() if asset == market.c_tokens["WBTC"]}
    failed = {a for a, row in rows.items() if row.status == status}
    assert failed == members
    assert USER in failed
    assert 5 < len(failed) == snapshot.accounts_failed < len(rows)
    assert {rows[a].liquidatable for a in failed} == {None}
    assert watched.verify()[0].mismatched == 0
    assert "the oracle gives no price for cWBTC" in watched.voice.notes[-1]
    market.set_prices({"WBTC": PRICES["WBTC"]})
    assert watched.collect().accounts_failed == 0


def test_factors_are_named_feeds_or_the_oracle_itself(market: CompoundMarket, lake: Lakes) -> None:
    """Factors are the feeds that the oracle names, and otherwise the oracle itself."""
    open_position(market, USER, "WETH", 10**18, 10**8)
    watched = lake(market)
    watched.collect()
    c_tokens = market.c_tokens
    factors = {f.asset: (f.factor, f.kind) for f in watched.store.rows(Factor)}
    assert factors[c_tokens["WETH"]] == ("WETH", "feed")
    # A feed that says something else than the oracle is not what moves the price.
    chain, other = market.chain, market.chain.deploy(own_artifact("MiniPriceOracle"))
    for symbol, c_token in c_tokens.items():
        mantissa = PRICES[symbol] * 10 ** (28 - market.decimals[symbol])
        chain.send(other, "setPrice(address,uint256)", c_token, mantissa)
    market.set_oracle(other)
    assert chain.call(market.comptroller, "oracle()(address)") == other
    watched.chain.mine()
    snapshot = watched.collect()
    rows = watched.store.rows(Factor, "snapshot = $s", {"s": snapshot.snapshot})
    assert {(f.factor, f.kind) for f in rows} == {
        (f"feed:{other}:{c}", "unknown") for c in c_tokens.values()
    }
    row = holds(watched, snapshot)[USER]
    assert row.collateral_usd == pytest.approx(3_000, rel=1e-6)


def test_a_price_that_is_part_of_the_oracles_code_is_fixed(
    market: CompoundMarket, lake: Lakes
) -> None:
    """One that was posted is a factor of its own: it may be posted anew."""
    open_position(market, USER, "WETH", 10**18, 10**8)
    chain, c_tokens = market.chain, market.c_tokens
    mantissas = {s: PRICES[s] * 10 ** (28 - market.decimals[s]) for s in c_tokens}
    anchored = own_artifact("MiniAnchoredView")
    oracle = chain.deploy(anchored, c_tokens["USDC"], mantissas["USDC"])
    for symbol in c_tokens.keys() - {"USDC"}:
        chain.send(oracle, "post(address,uint256)", c_tokens[symbol], mantissas[symbol])
    market.set_oracle(oracle)
    watched = lake(market)
    holds(watched, watched.collect())
    factors = {f.asset: (f.factor, f.kind, f.evidence) for f in watched.store.rows(Factor)}
    assert factors.pop(c_tokens["USDC"]) == ("fixed", "fixed", "measured")
    assert factors == {
        c_tokens[s]: (f"feed:{oracle}:{c_tokens[s]}", "unknown", "unknown")
        for s in c_tokens.keys() - {"USDC"}
    }
    row = {r["account"]: r for r in ask(watched.store, "triggers", factor="fixed")}[USER]
    assert row["direction"] == "flat"


# --- triggers and walls -------------------------------------------------------------------------


def test_an_account_is_liquidatable_at_its_trigger_not_before(
    market: CompoundMarket, lake: Lakes
) -> None:
    """At its trigger price an account is liquidatable, and just before it is not."""
    made = pool.populate(market, PRICES, 60, 11)
    watched = lake(market)
    watched.collect()
    rows = ask(watched.store, "triggers", factor="WETH")
    reach = [r for r in rows if r["direction"] == "down" and r["x"] > 0.5 and r["debt_usd"] > 100]
    assert len(reach) >= 8
    for row in reach[:5]:
        for x, verdict in ((row["x"] * (1 - 1e-6), True), (row["x"] * (1 + 1e-6), False)):
            market.set_prices({"WETH": int(PRICES["WETH"] * x)})
            short = shortfalls(market, [row["account"]])[row["account"]]
            assert (short > 0) == verdict, row
    assert set(made) >= {r["account"] for r in reach}


@pytest.mark.full
def test_a_wall_counts_half_of_a_debt_and_the_incentive_on_it(
    market: CompoundMarket, lake: Lakes
) -> None:
    open_position(market, USER, "WETH", 10**18, 2_000 * 10**6)
    watched = lake(market)
    watched.collect()
    rows = ask(watched.store, "walls", factor="WETH", range=0.3, step_pct=0.05)
    (hit,) = [row for row in rows if row["accounts"]]
    assert hit["price_from"] <= 2_500 <= hit["price_to"]  # 2,000 / 0.80
    assert hit["round_seizable_usd"] == pytest.approx(1_080, rel=1e-4)
    assert hit["collateral_at_risk_usd"] == pytest.approx(2_500, rel=1e-4)


# --- what was liquidated ------------------------------------------------------------------------


@pytest.mark.full
def test_liquidations_have_the_repayment_and_seized_ctokens(
    market: CompoundMarket, lake: Lakes
) -> None:
    """The rows have what was repaid and the cTokens seized."""
    chain, watched = market.chain, lake(market)
    open_position(market, USER, "WBTC", 10**8, 62_000 * 10**6)
    market.set_prices({"WBTC": 88_000 * USD})
    before = market.snapshot_of(USER, "WBTC")[0]
    chain.send_all(market.liquidate(USER, "USDC", 31_000 * 10**6, "WBTC"))
    seized = before - market.snapshot_of(USER, "WBTC")[0]
    block = chain.block_number()
    done = watched.cli("collect", "compound-v2-liquidations", "--market", "local")
    assert done.returncode == Exit.OK, done.stderr
    (row,) = watched.store.rows(ChainLiquidation)
    assert (row.kind, row.account, row.liquidator, row.block_number) == (
        "liquidation",
        USER,
        LIQUIDATOR,
        block,
    )
    assert (row.debt_symbol, row.debt_asset) == ("USDC", market.tokens["USDC"])
    assert (row.debt_repaid_raw, row.debt_repaid_usd) == (31_000 * 10**6, 31_000)
    assert (row.coll_symbol, row.coll_seized_raw) == ("cWBTC", seized)
    assert row.coll_asset == market.c_tokens["WBTC"]
    assert row.coll_seized_usd == pytest.approx(31_000 * 1.08, rel=1e-6)
    assert (row.bonus_bps, row.protocol_fee_bps, row.status) == (800, 0, "ok")
    assert ask(watched.store, "liquidation_bonus") == []
    again = watched.cli("collect", "compound-v2-liquidations", "--market", "local")
    assert again.returncode == Exit.OK
    assert len(watched.store.rows(ChainLiquidation)) == 1


# --- refused, in one line -----------------------------------------------------------------------

NINES = "606360005260206000f3"  # returns 99 to every call
ONES = "600160005260206000f3"  # returns 1 to every call: no list of markets


@pytest.mark.full
@pytest.mark.parametrize("what", ["a token", "a cToken", "nobody", "99", "1"])
def test_a_contract_that_is_no_comptroller_is_refused_in_one_line(
    market: CompoundMarket, lake: Lakes, what: str
) -> None:
    odd = "0x" + "99" * 20
    market.chain.set_code(odd, NINES if what == "99" else ONES)
    address = {
        "a token": market.tokens["USDC"],
        "a cToken": market.c_tokens["USDC"],
        "nobody": "0x" + "12" * 20,
    }.get(what, odd)
    watched = lake(market, pool=address)
    assert refused_everywhere(watched).startswith(
        f"local: the contract {address} on chain local is not a comptroller"
    )


@pytest.mark.full
def test_debt_without_logs_is_no_empty_market(market: CompoundMarket, lake: Lakes) -> None:
    missing_logs_are_refused(
        lambda **entry: lake(market, scope="borrowers", **entry),
        lambda: open_position(market, USER, "WETH", 10**18, 10**9),
    )


# --- verify -------------------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize(
    ("change", "figures"),
    [
        (lambda row: more(row, "debt"), {"cUSDC borrow", "shortfall"}),
        (lambda row: more(row, "collateral"), {"cWETH c_tokens", "shortfall"}),
        (other_verdict, {"liquidatable"}),
    ],
)
def test_verify_finds_a_tampered_figure_of_a_comptroller(
    market: CompoundMarket, lake: Lakes, change: Callable[[Row], Row], figures: set[str]
) -> None:
    open_position(market, USER, "WETH", 10**18, 10**9)
    open_position(market, OTHER, "WETH", 10**18, 10**9)
    watched = lake(market)
    watched.collect()
    tampering_is_found(watched, USER, change, figures)


@pytest.mark.full
def test_web3_is_not_offered_for_a_comptroller(market: CompoundMarket, lake: Lakes) -> None:
    open_position(market, USER, "WETH", 10**18, 10**8)
    watched = lake(market)
    watched.collect()
    with pytest.raises(UsageError, match="--with-web3 compares Aave v2"):
        watched.verify(independent=True)
