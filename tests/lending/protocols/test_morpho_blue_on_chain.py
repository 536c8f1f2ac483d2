"""The source of Morpho Blue against contracts on a real node: every balance and verdict equal.

Every test runs on a stand-in, a contract of this project with Morpho Blue's ABI, units, rounding
and events; and in `make test-all` on the contract that Morpho published, compiled with the settings
it was deployed with.
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
from chainwatch.demo.chain import (
    DEPLOYER,
    MAX_UINT,
    Chain,
    Tx,
    decode,
    encode,
    hardhat_artifact,
    own_artifact,
)
from chainwatch.demo.node import Toolchain
from chainwatch.errors import Exit, UsageError
from chainwatch.lending.close_rules import WHOLE
from chainwatch.lending.protocol import scoped_name
from chainwatch.lending.protocols.morpho_blue import arithmetic as morpho_blue_arithmetic
from chainwatch.lending.protocols.morpho_blue.arithmetic import BorrowTotals
from chainwatch.tables.base import Row
from chainwatch.tables.lending import Account, ChainLiquidation, Factor, Snapshot
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
from tests.evm import morpho_market as morpho
from tests.evm import packages
from tests.evm.morpho_market import LIQUIDATOR, NOBODY, PARAMS, PRICES, USD, WAD, MorphoMarket, Pair

STAND_IN = pytest.param("stand-in", marks=pytest.mark.contracts("stand-in"))
PUBLISHED = pytest.param("published", marks=[pytest.mark.contracts("published"), pytest.mark.full])

DAY = 86_400
USER = "0x" + "ab" * 20
OTHER = "0x" + "cd" * 20
THIRD = "0x" + "ef" * 20
HEALTHY = b"position is healthy".hex()

Lakes = Callable[..., "Lake"]


class Lake(Watched):
    """A lake beside a contract."""

    def __init__(self, home: Path, market: MorphoMarket, **entry: Any) -> None:
        named: Any = SimpleNamespace(chain=market.chain, pool=market.morpho)
        feed = {"quote_feed": market.feeds["WETH"]}
        super().__init__(home, named, **({"protocol": "morpho-blue"} | feed | entry))
        self.morpho = market


@pytest.fixture(scope="module", params=[STAND_IN, PUBLISHED])
def artifacts(request: pytest.FixtureRequest) -> Path | None:
    """Where the published contract is; None for the stand-in."""
    return morpho.artifacts() if request.param == "published" else None


@pytest.fixture
def market(chain: Chain, artifacts: Path | None) -> MorphoMarket:
    return morpho.deploy(chain, artifacts)


@pytest.fixture
def lake(tmp_path: Path) -> Lakes:
    """Makes a lake beside a contract, each in a folder of its own."""
    made: list[Lake] = []

    def make(market: MorphoMarket, **entry: Any) -> Lake:
        made.append(Lake(tmp_path / f"home{len(made)}", market, **entry))
        return made[-1]

    return make


# --- what the contract says, read through the local chain's own client --------------------------


def pair_of(market: MorphoMarket, account: str) -> Pair:
    return next(p for p in market.pairs.values() if account.endswith(p.market_id))


def name(row: dict[str, Any]) -> str:
    """The name of the account in a row of a report."""
    return scoped_name(row["account"], row["position"])


def verdicts(market: MorphoMarket, accounts: Sequence[str]) -> dict[str, bool]:
    """Whether a liquidation of each gets past the check of its health."""
    signature = f"liquidate({PARAMS},address,uint256,uint256,bytes)"
    requests = []
    for i, account in enumerate(accounts):
        params = pair_of(market, account).params
        data = encode(signature, params, account.split(":")[0], 1, 0, b"")
        call = {"from": DEPLOYER, "to": market.morpho, "data": data}
        requests.append(
            {"jsonrpc": "2.0", "id": i, "method": "eth_call", "params": [call, "latest"]}
        )
    by_account = {}
    for answer in market.chain.post(requests):
        error = answer.get("error")
        assert error is None or error["code"] == 3, answer
        by_account[accounts[answer["id"]]] = error is None or HEALTHY not in error.get("data", "")
    return by_account


def accrued(market: MorphoMarket, pair: Pair) -> BorrowTotals:
    """A market's borrowed assets and shares once interest was accrued in the same call."""
    head = bytes.fromhex(pair.market_id[2:])
    calls = [
        (market.morpho, True, bytes.fromhex(data[2:]))
        for data in (market.accrue(pair).data, encode("market(bytes32)", head))
    ]
    data = encode("aggregate3((address,bool,bytes)[])", calls)
    request = {"from": DEPLOYER, "to": MULTICALL, "data": data}
    _, (done, result) = decode(
        "f()((bool,bytes)[])", market.chain.rpc("eth_call", request, "latest")
    )
    assert done
    words = decode("f()(uint128,uint128,uint128,uint128,uint128,uint128)", f"0x{result.hex()}")
    return BorrowTotals(words[2], words[3])


def holds(lake: Lake, snapshot: Snapshot) -> dict[str, Account]:
    """The positions of a snapshot of the newest block, after all of them equal the chain."""
    market, chain = lake.morpho, lake.chain
    assert snapshot.block_number == chain.block_number()
    rows, legs = lake.accounts(snapshot), lake.legs(snapshot)
    assert len(rows) == snapshot.accounts
    totals = {p.market_id: accrued(market, p) for p in market.pairs.values()}
    prices = {p.market_id: chain.call(p.oracle, "price()(uint256)") for p in market.pairs.values()}
    says = verdicts(market, sorted(rows))
    for account, row in rows.items():
        address, market_id = account.split(":")
        pair = pair_of(market, account)
        collateral, shares = market.position(pair, address)
        held = legs.get((account, f"{pair.collateral}:{market_id}", "collateral"))
        owed = legs.get((account, f"{pair.loan}:{market_id}", "debt"))
        debt = morpho_blue_arithmetic.assets_up(shares, totals[market_id]) if shares else 0
        assert (held.raw if held else 0) == collateral
        assert ((owed.scaled, owed.raw) if owed else (0, 0)) == (shares, debt)
        assert row.collateral_base == collateral * prices[market_id] // 10**36
        assert row.debt_base == debt
        assert row.liquidatable == says[account], account
        assert (row.status == "ok") == (row.hf_wad is not None) == (shares > 0)
        if row.hf_wad is not None:
            assert (row.hf_wad < WAD) == row.liquidatable
    return rows


def open_position(market: MorphoMarket, name: str, account: str, held: int, debt: int) -> None:
    pair = market.pairs[name]
    steps = market.supply(account, pair, held)
    market.chain.send_all([*steps, *([market.borrow(account, pair, debt)] if debt else [])])


# --- equal to the chain -------------------------------------------------------------------------


def test_positions_equal_the_chain_through_a_fall_and_a_year(
    market: MorphoMarket, lake: Lakes
) -> None:
    """At first, after a fall, after liquidations, and a year later."""
    chain, watched = market.chain, lake(market)
    made = morpho.populate(market, 150, 2026)
    snapshot = watched.collect()
    assert (snapshot.profile, close_rule(snapshot), snapshot.truncates_lt, snapshot.quote) == (
        "morpho-blue",
        WHOLE,
        False,
        "loan token",
    )
    calm = holds(watched, snapshot)
    assert set(made) == set(calm)
    addresses = Counter(account.split(":")[0] for account in calm)
    assert max(addresses.values()) > 1
    states = Counter(row.status for row in calm.values())
    assert states["ok"] >= 110
    assert states["no debt"] >= 8
    assert not any(row.liquidatable for row in calm.values())

    market.set_prices({"WETH": 2_300 * USD, "WBTC": 60_000 * USD, "wstETH/ETH": 11 * USD // 10})
    snapshot = watched.collect()
    assert snapshot.accounts_read == 0
    fallen = holds(watched, snapshot)
    below = sorted(account for account, row in fallen.items() if row.liquidatable)
    assert len(below) >= 30

    for i, account in enumerate(below[:12]):
        pair, address = pair_of(market, account), account.split(":")[0]
        collateral, shares = market.position(pair, address)
        seized, repaid = [(collateral, 0), (collateral // 2, 0), (0, shares // 2)][i % 3]
        chain.send_all(market.liquidate(pair, address, seized, repaid), tolerate=True)
    snapshot = watched.collect()
    assert 8 <= snapshot.accounts_read <= 12
    rows = holds(watched, snapshot)
    assert any(rows[account].legs == 0 for account in below[:12])

    chain.increase_time(365 * DAY)
    snapshot = watched.collect()
    assert snapshot.accounts_read == 0
    aged = holds(watched, snapshot)
    assert sum(aged[a].debt_base > rows[a].debt_base for a in aged) >= 80
    assert walls_hold(watched) > 100
    result, mismatches = watched.verify()
    assert (result.checked, result.mismatched, mismatches) == (len(aged), 0, [])
    assert result.method == "position, liquidate (simulated)"
    for name in ("account_counts", "account_totals", "scan_gaps", "unknown_assets"):
        assert ask(watched.store, name) == []


def act(market: MorphoMarket, accounts: Sequence[str], rng: Random) -> list[Tx]:
    """One random thing that a random account does; the contract may refuse it."""
    account = rng.choice(accounts)
    pair = market.pairs[rng.choice(sorted(market.pairs))]
    collateral, shares = market.position(pair, account)
    small = int(10 ** pair.decimals[0] * 10 ** rng.uniform(-6, 2))
    match rng.choice(["supply", "repay", "borrow", "withdraw", "liquidate"]):
        case "supply":
            return market.supply(account, pair, collateral // 3 + 1)
        case "repay":
            return market.repay(rng.choice(accounts), pair, rng.choice([shares, 1]), account)
        case "borrow":
            return [market.borrow(account, pair, small or 1)]
        case "withdraw":
            return [market.withdraw(account, pair, rng.choice([collateral, collateral // 4]))]
        case _:
            return market.liquidate(pair, account, rng.choice([collateral, collateral // 2]), 0)


@pytest.mark.full
@pytest.mark.sampled
@settings(
    max_examples=sample_size(quick=1, full=2, torture=50),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32))
def test_an_incremental_snapshot_equals_a_full_one(
    market: MorphoMarket, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Row for row."""
    chain, rng = market.chain, Random(seed)
    before = chain.snapshot()
    try:
        made = sorted({a.split(":")[0] for a in morpho.populate(market, 24, seed)})
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
                case "wait":
                    chain.increase_time(rng.randint(1, 90 * DAY))
            chain.mine()
            snapshot = grown.collect()
            assert snapshot.based_on is not None
            assert fresh.collect(full="yes").based_on is None
            same_positions(grown, fresh)
            holds(grown, snapshot)
    finally:
        chain.revert(before)


@pytest.mark.full
def test_scope_borrowers_leaves_out_who_only_supplied_collateral(
    market: MorphoMarket, lake: Lakes
) -> None:
    open_position(market, "weth", USER, WAD, 10**8)
    open_position(market, "weth", OTHER, WAD, 0)
    pair = market.pairs["weth"]
    everyone, borrowers = lake(market), lake(market, scope="borrowers")
    assert set(holds(everyone, everyone.collect())) == {
        pair.position_name(USER),
        pair.position_name(OTHER),
    }
    assert set(holds(borrowers, borrowers.collect())) == {pair.position_name(USER)}
    market.chain.send_all([market.borrow(OTHER, pair, 1)])
    assert set(holds(borrowers, borrowers.collect())) == {
        pair.position_name(USER),
        pair.position_name(OTHER),
    }


@pytest.mark.parametrize("artifacts", [PUBLISHED], indirect=True)
def test_a_fee_is_taken_from_lenders_not_from_borrowers(market: MorphoMarket, lake: Lakes) -> None:
    """A fee on interest makes supply shares; what borrowers owe and all verdicts stay equal."""
    chain, pair, recipient = market.chain, market.pairs["weth"], "0x" + "fe" * 20
    chain.send(market.morpho, "setFeeRecipient(address)", recipient)
    chain.send_all([market.call(DEPLOYER, "setFee(uint256)", pair, WAD // 4)])
    open_position(market, "weth", USER, WAD, 2_500 * 10**6)
    watched = lake(market)
    chain.increase_time(300 * DAY)
    row = holds(watched, watched.collect())[pair.position_name(USER)]
    assert row.liquidatable
    chain.send_all([market.accrue(pair)])
    signature = "position(bytes32,address)(uint256,uint128,uint128)"
    words = chain.call(market.morpho, signature, bytes.fromhex(pair.market_id[2:]), recipient)
    assert words[0] > 0
    holds(watched, watched.collect())
    assert walls_hold(watched) > 0
    assert watched.verify()[0].mismatched == 0


# --- positions at the edges ---------------------------------------------------------------------


def test_zero_dust_and_debtless_positions_are_distinct(market: MorphoMarket, lake: Lakes) -> None:
    chain, watched, pair = market.chain, lake(market), market.pairs["weth"]
    open_position(market, "weth", USER, WAD, 0)
    open_position(market, "weth", OTHER, 10**15, 1)
    chain.send_all(market.supply(THIRD, pair, 1))
    rows = holds(watched, watched.collect())
    user, other, third = (rows[pair.position_name(a)] for a in (USER, OTHER, THIRD))
    assert (user.status, user.hf, user.collateral_usd) == ("no debt", None, 3_000)
    assert (other.status, other.debt_base) == ("ok", 1)
    assert (third.status, third.collateral_base, third.legs) == ("no debt", 0, 1)
    shares = market.position(pair, OTHER)[1]
    chain.send_all([*market.repay(OTHER, pair, shares, OTHER), market.withdraw(USER, pair, WAD)])
    rows = holds(watched, watched.collect())
    assert (rows[pair.position_name(OTHER)].status, rows[pair.position_name(USER)].legs) == (
        "no debt",
        0,
    )


def test_one_unit_below_the_trigger_price_is_liquidated(market: MorphoMarket, lake: Lakes) -> None:
    """A price may equal the trigger price; one unit less is liquidated."""
    chain, pair = market.chain, market.pairs["weth"]
    chain.send(market.irm, "setRate(uint256)", 0)
    open_position(market, "weth", USER, WAD, 2_500 * 10**6)
    debt = morpho_blue_arithmetic.assets_up(
        market.position(pair, USER)[1], BorrowTotals(*market.totals(pair))
    )
    line = next(  # the least quoted collateral that carries the debt
        p
        for p in range(debt * WAD // pair.params[4] - 2, debt * WAD // pair.params[4] + 3)
        if p * pair.params[4] // WAD >= debt
    )
    market.set_prices({"WETH": 2_900 * USD})
    # The oracle's price has 36 + 6 - 18 decimals: one unit of the loan token is 1e18 of them.
    fed = chain.call(pair.oracle, "price()(uint256)")
    for beside, verdict in ((0, False), (-1, True)):
        wanted = line * 10**18 + beside
        chain.send(pair.oracle, "setOffset(uint256)", (wanted - fed) % 2**256)
        watched = lake(market)
        if wanted < fed:
            chain.send(market.feeds["WETH"], "setAnswer(int256)", 0)
            chain.send(pair.oracle, "setOffset(uint256)", wanted)
        assert chain.call(pair.oracle, "price()(uint256)") == wanted
        row = holds(watched, watched.collect())[pair.position_name(USER)]
        assert (row.liquidatable, row.hf_wad < WAD) == (verdict, verdict)
        fork = chain.snapshot()
        shares = market.position(pair, USER)[1]
        receipts = chain.send_all(market.liquidate(pair, USER, 0, shares), tolerate=True)
        assert receipts[-1].ok == verdict
        chain.revert(fork)


@pytest.mark.full
def test_an_address_in_many_markets_has_a_position_in_each(
    market: MorphoMarket, lake: Lakes
) -> None:
    """In more than twenty markets."""
    steps = []
    for i in range(22):
        feeds = ("WETH", "", "USDC", "")
        pair = market.list(f"m{i:02}", "USDC", "WETH", (50 + 2 * i) * WAD // 100, feeds)
        steps += market.supply(USER, pair, WAD)
        steps.append(market.borrow(USER, pair, 1_400 * 10**6))
    market.chain.send_all(steps)
    watched = lake(market)
    snapshot = watched.collect()
    rows = holds(watched, snapshot)
    assert len(rows) == 22
    assert len({row.account for row in rows.values()}) == 1
    assert not any(row.liquidatable for row in rows.values())
    market.set_prices({"WETH": 2_000 * USD})
    rows = holds(watched, watched.collect())
    below = [row for row in rows.values() if row.liquidatable]
    assert len(below) == 11  # thresholds of 50 … 70 % do not carry 1,400 and interest of 2,000
    assert watched.verify()[0].mismatched == 0


# --- prices, rates and tokens that are none -----------------------------------------------------


@pytest.mark.full
def test_without_a_price_or_rate_only_its_positions_have_no_verdict(
    market: MorphoMarket, lake: Lakes
) -> None:
    """A market without a price or a rate leaves exactly its positions without a verdict."""
    for name, held, debt in (("weth", WAD, 10**9), ("wbtc", 10**8, 10**9)):
        open_position(market, name, USER, held, debt)
    open_position(market, "weth", OTHER, WAD, 0)
    watched = lake(market)
    watched.collect()
    market.set_prices({"WETH": -1})
    snapshot = watched.collect()
    rows = watched.accounts(snapshot)
    weth, wbtc = market.pairs["weth"], market.pairs["wbtc"]
    for account in (USER, OTHER):
        row = rows[weth.position_name(account)]
        assert (row.status, row.liquidatable, row.hf) == ("n/a (oracle reverted)", None, None)
    assert rows[wbtc.position_name(USER)].liquidatable is False
    assert snapshot.accounts_failed == 2
    assert watched.verify()[0].mismatched == 0
    assert "1 of 2 markets cannot be valued (oracle reverted in" in watched.voice.notes[-1]
    market.set_prices({"WETH": PRICES["WETH"]})
    market.chain.send(market.irm, "setRate(uint256)", MAX_UINT)
    rows = watched.accounts(watched.collect())
    assert {row.status for row in rows.values()} == {"n/a (no rate)"}
    market.chain.send(market.irm, "setRate(uint256)", 0)
    assert watched.collect().accounts_failed == 0


@pytest.mark.full
@pytest.mark.parametrize("price", [0, 2**256 - 1])
def test_an_absurd_price_is_taken_as_the_contract_takes_it(
    market: MorphoMarket, lake: Lakes, price: int
) -> None:
    """Anybody may create a market with any oracle."""
    oracle = "0x" + "0a" * 20
    market.chain.set_code(oracle, f"7f{price:064x}60005260206000f3")
    market.create("odd", "USDC", "WETH", 86 * WAD // 100, oracle)
    watched, pair = lake(market), market.pairs["odd"]
    market.chain.send_all(market.supply(USER, pair, WAD))
    watched.collect()
    row = watched.accounts()[pair.position_name(USER)]
    assert row.status == ("no debt" if price == 0 else "n/a (overflow)")
    assert watched.verify()[0].mismatched == 0
    factors = {(f.factor, f.kind) for f in watched.store.rows(Factor)}
    assert (f"feed:{oracle}", "unknown") in factors
    assert row.collateral_usd is None


@pytest.mark.full
def test_values_are_in_usd_by_the_oracle_or_the_market_table(
    market: MorphoMarket, lake: Lakes
) -> None:
    """Values are in USD where the oracle or the market table gives a USD price."""
    open_position(market, "weth", USER, WAD, 10**9)
    open_position(market, "wbtc", USER, 10**8, 10**9)
    open_position(market, "steth", USER, WAD, WAD // 2)
    market.set_prices({"USDC": 98 * USD // 100})
    pairs = market.pairs
    with_feed, without = lake(market), lake(market, quote_feed=market.feeds["WBTC"])
    with_feed.collect()
    without.collect()
    usd = {
        name: (row.collateral_usd, row.debt_usd)
        for name, pair in pairs.items()
        for row in [with_feed.accounts()[pair.position_name(USER)]]
    }
    assert usd["weth"] == (pytest.approx(3_000), pytest.approx(980, rel=1e-6))
    # This oracle has no feed for USDC: a unit of it stands for a dollar.
    assert usd["wbtc"] == (pytest.approx(90_000), pytest.approx(1_000, rel=1e-6))
    assert usd["steth"] == (pytest.approx(3_600), pytest.approx(1_500, rel=1e-6))
    row = without.accounts()[pairs["steth"].position_name(USER)]  # that feed is of another unit
    assert (row.collateral_usd, row.status) == (None, "ok")
    factors = {(f.asset, f.factor, f.kind) for f in with_feed.store.rows(Factor)}
    assert factors == {
        (f"{pairs[name].params[side]}:{pairs[name].market_id}", factor, kind)
        for name, side, factor, kind in (
            ("weth", 1, "ETH", "feed"),
            ("weth", 0, "USDC", "feed"),
            ("wbtc", 1, "BTC", "feed"),
            ("wbtc", 0, "fixed", "fixed"),
            ("steth", 1, "ETH", "feed"),
            ("steth", 1, "wstETH/ETH", "ratio"),
            ("steth", 0, "ETH", "feed"),
        )
    }


@pytest.mark.full
def test_walls_without_usd_are_in_units_of_the_loan_token(
    market: MorphoMarket, lake: Lakes
) -> None:
    """Loans of WETH and WBTC, and no feed in USD for either: a wall each, in whole tokens."""
    chain, feeds = market.chain, market.feeds
    over = own_artifact("TestQuotientFeed")
    feeds["over"] = chain.deploy(over, feeds["WETH"], feeds["WBTC"], 8, "ETH / BTC")
    lltv = 86 * WAD // 100
    market.list("eth-btc", "WBTC", "WETH", lltv, ("over", "", "", ""))
    open_position(market, "steth", USER, 2 * WAD, WAD)
    open_position(market, "eth-btc", OTHER, 30 * WAD, 7 * 10**7)
    open_position(market, "weth", THIRD, WAD, 10**9)
    watched = lake(market, quote_feed=feeds["USDC"])
    watched.collect()
    rows = [
        row
        for factor in {f.factor for f in watched.store.rows(Factor) if f.kind != "fixed"}
        for row in ask(watched.store, "own_unit_walls", factor=factor, direction="both", range=0.9)
        if row["accounts"]
    ]
    debts = {"WETH": ("steth", 1.0), "WBTC": ("eth-btc", 0.7)}
    assert {row["unit"] for row in rows} == debts.keys()
    for row in rows:
        pair, debt = market.pairs[debts[row["unit"]][0]], debts[row["unit"]][1]
        assert (row["asset"], row["accounts"]) == (pair.loan, 1)
        assert row["debt_at_risk"] == pytest.approx(debt, rel=1e-6)
        # At its trigger an account's collateral times the threshold is its debt.
        threshold = pair.params[4] / WAD
        assert row["collateral_at_risk"] * threshold == pytest.approx(debt, rel=1e-6)
    assert "2 accounts have no price in USD" in watched.cli("walls", "ETH").stdout


def test_what_an_oracle_adds_to_its_feeds_is_measured(market: MorphoMarket, lake: Lakes) -> None:
    """An oracle whose price is not what its feeds give follows each as far as it is measured."""
    open_position(market, "weth", USER, WAD, 10**9)
    pair = market.pairs["weth"]
    market.chain.send(pair.oracle, "setOffset(uint256)", 10**24)
    watched = lake(market)
    watched.collect()
    factors = {(f.factor, f.kind): f for f in watched.store.rows(Factor)}
    assert factors.keys() == {("ETH", "feed"), ("USDC", "nonlinear"), ("fixed", "fixed")}
    # The feeds give 3,000 with 24 decimals, and the oracle one more.
    assert factors["ETH", "feed"].beta == pytest.approx(3_000 / 3_001)
    assert {f.evidence for (_, kind), f in factors.items() if kind != "fixed"} == {"measured"}
    assert holds(watched, watched.snapshot())[pair.position_name(USER)].debt_usd is None


def test_a_loan_in_eth_against_a_price_over_eth(market: MorphoMarket, lake: Lakes) -> None:
    """WBTC priced as BTC / USD over ETH / USD, lent WETH: as ETH rises it is liquidated."""
    chain, feeds = market.chain, market.feeds
    over = own_artifact("TestQuotientFeed")
    feeds["over"] = chain.deploy(over, feeds["WBTC"], feeds["WETH"], 8, "BTC / ETH")
    pair = market.list("btc-eth", "WETH", "WBTC", 86 * WAD // 100, ("over", "", "", ""))
    open_position(market, "btc-eth", USER, 10**8, 23 * WAD)
    watched = lake(market, quote_feed=feeds["WETH"])
    watched.collect()
    (row,) = ask(watched.store, "triggers", factor="ETH")
    assert (row["direction"], row["x"]) == ("up", pytest.approx(30 * 0.86 / 23, rel=1e-6))
    for share, verdict in ((1 + 1e-5, True), (1 - 1e-5, False)):
        market.set_prices({"WETH": int(PRICES["WETH"] * row["x"] * share)})
        assert verdicts(market, [name(row)]) == {pair.position_name(USER): verdict}


def test_an_oracle_of_the_first_version_has_its_vault(market: MorphoMarket, lake: Lakes) -> None:
    """Its getter is VAULT, without a base or quote; the vault's rate is moved for real."""
    chain, feeds = market.chain, market.feeds
    source = chain.deploy(own_artifact("TestVaultFeed"), feeds["WETH"], 8, "vETH / USD")
    vault = chain.call(source, "rateProvider()(address)")
    chain.send(vault, "setRate(uint256)", 12 * WAD // 10)
    four = [feeds["WETH"], NOBODY, feeds["USDC"], NOBODY]
    oracle = chain.deploy(own_artifact("MiniMorphoOracleV1"), vault, four, WAD, 18, 6)
    assert chain.call(oracle, "price()(uint256)") == 3_600 * 10**24
    pair = market.create("vault", "USDC", "wstETH", 86 * WAD // 100, oracle)
    open_position(market, "vault", USER, WAD, 3_000 * 10**6)
    watched = lake(market)
    watched.collect()
    key = f"{pair.collateral}:{pair.market_id}"
    own = {f.factor: f for f in watched.store.rows(Factor) if f.asset == key}
    assert {(f.feed, f.beta, f.evidence) for f in own.values()} == {
        (feeds["WETH"], 1, "measured"),
        (vault, 1, "measured"),
    }
    (name_of_rate,) = own.keys() - {"ETH"}
    for factor, now, signature in (
        ("ETH", PRICES["WETH"], "setAnswer(int256)"),
        (name_of_rate, 12 * WAD // 10, "setRate(uint256)"),
    ):
        (row,) = [r for r in ask(watched.store, "triggers", factor=factor) if r["debt_usd"]]
        assert (row["direction"], row["x"]) == ("down", pytest.approx(3_000 / 3_096, rel=1e-6))
        for share, verdict in ((1 + 1e-5, False), (1 - 1e-5, True)):
            chain.send(own[factor].feed, signature, int(now * row["x"] * share))
            assert verdicts(market, [name(row)])[name(row)] == verdict, factor
        chain.send(own[factor].feed, signature, now)


@pytest.mark.full
def test_debt_without_logs_is_no_empty_market(market: MorphoMarket, lake: Lakes) -> None:
    missing_logs_are_refused(
        lambda **entry: lake(market, scope="borrowers", **entry),
        lambda: open_position(market, "weth", USER, WAD, 10**9),
    )


# --- triggers and walls -------------------------------------------------------------------------


@pytest.mark.full
def test_a_position_is_liquidatable_at_its_trigger_not_before(
    market: MorphoMarket, lake: Lakes
) -> None:
    """At its trigger price a position is liquidatable, and just before it is not."""
    market.chain.send(market.irm, "setRate(uint256)", 0)
    morpho.populate(market, 60, 11)
    watched = lake(market)
    watched.collect()
    for factor, feed, direction in (
        ("ETH", "WETH", "down"),
        ("wstETH/ETH", "wstETH/ETH", "down"),
        ("USDC", "USDC", "up"),
    ):
        rows = ask(watched.store, "triggers", factor=factor)
        reach = [
            r
            for r in rows
            if r["direction"] == direction and 0.5 < r["x"] < 2 and r["debt_usd"] > 100
        ]
        assert len(reach) >= 5, factor
        for row in reach[:4]:
            for share, verdict in ((1 + 1e-5, direction == "up"), (1 - 1e-5, direction == "down")):
                market.set_prices({feed: int(PRICES[feed] * row["x"] * share)})
                assert verdicts(market, [name(row)])[name(row)] == verdict, row
        market.set_prices({feed: PRICES[feed]})


def test_a_wall_counts_the_whole_debt_and_the_incentive_on_it(
    market: MorphoMarket, lake: Lakes
) -> None:
    open_position(market, "weth", USER, WAD, 2_150 * 10**6)
    watched = lake(market)
    watched.collect()
    rows = ask(watched.store, "walls", factor="ETH", range=0.3, step_pct=0.05)
    (hit,) = [row for row in rows if row["accounts"]]
    assert hit["price_from"] <= 2_500 <= hit["price_to"]  # 2,150 / 0.86
    incentive = morpho_blue_arithmetic.incentive_factor(86 * WAD // 100) / WAD
    assert hit["round_seizable_usd"] == pytest.approx(2_150 * incentive, rel=1e-6)
    assert hit["collateral_at_risk_usd"] == pytest.approx(2_500, rel=1e-6)


# --- what was liquidated ------------------------------------------------------------------------


@pytest.mark.full
def test_liquidations_have_amounts_and_bad_debt_has_its_own_row(
    market: MorphoMarket, lake: Lakes
) -> None:
    """The rows have what was repaid and seized, and bad debt in a row of its own."""
    chain, watched, pair = market.chain, lake(market), market.pairs["weth"]
    open_position(market, "weth", USER, WAD, 2_500 * 10**6)
    open_position(market, "weth", OTHER, WAD, 2_500 * 10**6)
    market.set_prices({"WETH": 2_700 * USD})
    chain.send_all(market.liquidate(pair, USER, WAD // 2, 0))
    first = chain.block_number()
    market.set_prices({"WETH": 2_000 * USD})
    chain.send_all(market.liquidate(pair, OTHER, WAD, 0))
    done = watched.cli("collect", "morpho-blue-liquidations", "--market", "local")
    assert done.returncode == Exit.OK, done.stderr
    rows = sorted(watched.store.rows(ChainLiquidation), key=lambda r: (r.block_number, r.kind))
    assert [(r.kind, scoped_name(r.account, r.position)) for r in rows] == [
        ("liquidation", pair.position_name(USER)),
        ("deficit", pair.position_name(OTHER)),
        ("liquidation", pair.position_name(OTHER)),
    ]
    call, lost, all_of_it = rows
    incentive = morpho_blue_arithmetic.incentive_factor(86 * WAD // 100) / WAD
    assert (call.block_number, call.liquidator) == (first, LIQUIDATOR)
    assert (call.coll_seized_raw, call.coll_symbol, call.coll_seized_usd) == (
        WAD // 2,
        "WETH",
        pytest.approx(1_350),
    )
    assert call.debt_repaid_usd == pytest.approx(1_350 / incentive, rel=1e-6)
    assert call.bonus_bps == pytest.approx((incentive - 1) * 10_000)
    assert all_of_it.debt_repaid_usd == pytest.approx(2_000 / incentive, rel=1e-6)
    assert (lost.coll_seized_raw, lost.debt_symbol) == (None, "USDC")
    assert lost.debt_repaid_raw + all_of_it.debt_repaid_raw >= 2_500 * 10**6
    assert lost.debt_repaid_usd == pytest.approx(2_500 - 2_000 / incentive, rel=1e-4)
    assert ask(watched.store, "liquidation_bonus") == []
    (total,) = ask(watched.store, "liquidation_totals", by="market")
    assert (total["events"], total["deficit_usd"]) == (2, pytest.approx(lost.debt_repaid_usd))


# --- the stand-in -------------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.contracts("published")
def test_the_stand_in_has_only_what_was_published(toolchain: Toolchain) -> None:
    """Functions with their inputs and outputs, and events."""
    published = packages.interface(hardhat_artifact(morpho.artifacts(), "Morpho"))
    stand_in = packages.interface(own_artifact("MiniMorpho"))
    assert len(stand_in) > 20
    assert stand_in - published == set()


# --- refused, in one line -----------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize("what", ["a token", "nobody", "99 to everything", "1 to everything"])
def test_a_contract_that_is_no_morpho_is_refused_in_one_line(
    market: MorphoMarket, lake: Lakes, what: str
) -> None:
    odd = "0x" + "99" * 20
    market.chain.set_code(odd, f"60{63 if what[:2] == '99' else 1:02}60005260206000f3")
    pool = {"a token": market.tokens["USDC"], "nobody": "0x" + "12" * 20}.get(what, odd)
    watched = lake(market, pool=pool)
    assert refused_everywhere(watched).startswith(
        f"local: the contract {pool} on chain local is not a Morpho Blue"
    )


# --- verify -------------------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize(
    ("change", "figure"),
    [
        (lambda row: more(row, "debt"), "borrow shares"),
        (lambda row: more(row, "collateral"), "collateral"),
        (other_verdict, "liquidatable"),
    ],
)
def test_verify_finds_a_tampered_figure_of_morpho(
    market: MorphoMarket, lake: Lakes, change: Callable[[Row], Row], figure: str
) -> None:
    open_position(market, "weth", USER, WAD, 10**9)
    open_position(market, "weth", OTHER, WAD, 10**9)
    watched, name = lake(market), market.pairs["weth"].position_name(USER)
    watched.collect()
    tampering_is_found(watched, name, change, {figure})


@pytest.mark.full
def test_web3_is_not_offered_for_morpho(market: MorphoMarket, lake: Lakes) -> None:
    open_position(market, "weth", USER, WAD, 10**8)
    watched = lake(market)
    watched.collect()
    with pytest.raises(UsageError, match="--with-web3 compares Aave v2"):
        watched.verify(independent=True)
