"""What may be taken now: accounts are called blocked where the contracts let nobody liquidate."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chainwatch.demo import accounts, comet
from chainwatch.demo.aave import AaveMarket
from chainwatch.demo.chain import (
    DEPLOYER,
    Chain,
    TransactionReverted,
    Tx,
    encode,
    hardhat_artifact,
    own_artifact,
)
from chainwatch.demo.node import Toolchain
from chainwatch.lending.protocols.aave_v3.arithmetic import reserve_config
from chainwatch.lending.protocols.aave_v3.blocking import reserve_block
from chainwatch.tables.lending import Reserve as ReserveRow
from tests.builders import Watched, ask, walls_hold
from tests.evm import aave_v2_market, compound_v2_market
from tests.evm.aave_lakes import Lake
from tests.evm.compound_v2_market import CompoundMarket
from tests.lending.protocols import test_aave_v4_on_chain as aave_v4
from tests.lending.protocols import test_compound_v3_on_chain as compound_v3

USER = "0x" + "ab" * 20
OTHER = "0x" + "cd" * 20
LIQUIDATOR = accounts.LIQUIDATORS[0]
USD = 10**8
HOUR = 3_600


def reasons(watched: Watched) -> dict[str, str | None]:
    """Of a new snapshot, the accounts that are liquidatable now, and what blocks each."""
    rows = watched.accounts(watched.collect(full="yes"))
    assert all(row.liquidatable for row in rows.values() if row.blocked_reason)
    return {name: row.blocked_reason for name, row in rows.items() if row.liquidatable}


def now(watched: Watched, factor: str = "ETH") -> dict[str, Any]:
    (row,) = [r for r in ask(watched.store, "walls", factor=factor) if r["direction"] == "now"]
    assert row["liquidatable_now_usd"] == row["round_seizable_usd"]
    return row


def sellable(watched: Watched, account: str, factor: str = "ETH") -> tuple[float, float]:
    """(due, what may be taken) of an account now, in USD."""
    steps = [
        step
        for step in ask(watched.store, "forced_sales", factor=factor)
        if step["direction"] == "now" and step["account"] == account
    ]
    return sum(s["due_usd"] for s in steps), sum(s["seize_usd"] for s in steps)


# --- Aave: published contracts ------------------------------------------------------------------


def funded(market: Any) -> None:
    """Give the liquidator enough of everything."""
    market.chain.send_all(
        [
            tx
            for symbol in market.listed
            for tx in (
                market.mint(symbol, LIQUIDATOR, 10**30),
                market.approve(LIQUIDATOR, symbol),
            )
        ]
    )


def refused(market: Any, watched: Watched, names: list[str]) -> set[str]:
    """The accounts that the pool lets nobody liquidate, whatever the pair."""
    legs = watched.legs()
    symbols = {reserve.token: symbol for symbol, reserve in market.listed.items()}
    pairs = [
        (name, symbols[collateral], symbols[debt])
        for name in names
        for a, collateral, side in legs
        if (a, side) == (name, "collateral")
        for b, debt, other in legs
        if (b, other) == (name, "debt")
    ]
    calls = [
        market.liquidate(LIQUIDATOR, collateral, debt, name, receive_a_token=True)
        for name, collateral, debt in pairs
    ]
    requests = [
        {
            "jsonrpc": "2.0",
            "id": i,
            "method": "eth_call",
            "params": [{"from": tx.sender, "to": tx.to, "data": tx.data}, "latest"],
        }
        for i, tx in enumerate(calls)
    ]
    answers = market.chain.post(requests)
    passed = {pairs[a["id"]][0] for a in answers if "error" not in a}
    return set(names) - passed


@pytest.fixture
def crashed(aave_market: AaveMarket, tmp_path: Path) -> Watched:
    """Forty accounts of Aave v3.0 after a fall, and a liquidator who has everything."""
    accounts.populate(aave_market, 40, 11)
    accounts.crash(aave_market, 0.6)
    funded(aave_market)
    return Watched(tmp_path / "home", aave_market)


@pytest.mark.contracts("published")
def test_exactly_the_accounts_called_blocked_are_refused(crashed: Watched) -> None:
    """With reserves paused, the pool refuses the accounts called blocked, and no other one."""
    market = crashed.market
    before = reasons(crashed)
    assert len(before) > 12
    assert set(before.values()) == {None}
    assert refused(market, crashed, sorted(before)) == set()
    unblocked = now(crashed)
    assert unblocked["due_usd"] == unblocked["liquidatable_now_usd"] > 0
    for paused, expected in (
        (["WETH"], {"collateral paused"}),
        (["USDC", "WBTC"], {"collateral paused", "debt paused"}),
    ):
        for symbol in paused:
            market.pause(symbol)
        blocked = reasons(crashed)
        assert blocked.keys() == before.keys()
        assert set(blocked.values()) == {None} | expected
        named = {name for name, reason in blocked.items() if reason}
        assert refused(market, crashed, sorted(blocked)) == named
        part = now(crashed)
        assert part["due_usd"] == pytest.approx(unblocked["due_usd"], rel=1e-6)
        assert 0 < part["liquidatable_now_usd"] < part["due_usd"]
        left_out = ask(crashed.store, "excluded_accounts", factor="ETH")
        assert sum(r["accounts"] for r in left_out if "paused" in r["reason"]) == len(named)
        rows = {r["account"]: r for r in ask(crashed.store, "accounts", limit=1_000)}
        assert {a: rows[a]["blocked_reason"] or None for a in blocked} == blocked
        assert {r["liquidatable_now_usd"] for a, r in rows.items() if a in named} == {0}
        listed = [rows[a][name] for a in blocked for name in ("due_usd", "liquidatable_now_usd")]
        assert sum(listed[::2]) == pytest.approx(part["due_usd"], rel=1e-6)
        assert sum(listed[1::2]) == pytest.approx(part["liquidatable_now_usd"], rel=1e-6)
        for symbol in paused:
            market.pause(symbol, False)


@pytest.mark.contracts("published")
def test_the_other_collateral_is_all_that_may_be_taken(
    aave_market: AaveMarket, tmp_path: Path
) -> None:
    """Where the largest collateral is paused, no more than the other may be taken."""
    market = aave_market
    for symbol, amount, account in (
        ("USDC", 10**13, accounts.PROVIDERS[0]),
        ("WETH", 10 * 10**18, USER),
        ("DAI", 500 * 10**18, USER),
    ):
        market.chain.send_all(
            [
                market.mint(symbol, account, amount),
                market.approve(account, symbol),
                market.supply(account, symbol, amount),
            ]
        )
    market.chain.send_all([market.borrow(USER, "USDC", 23_000 * 10**6)])
    funded(market)
    market.set_price("WETH", 2_700 * USD)
    watched = Watched(tmp_path / "home", market)
    assert reasons(watched) == {USER: None}
    due, free = sellable(watched, USER)
    assert due == free > 10_000
    market.pause("WETH")
    assert reasons(watched) == {USER: None}
    assert sellable(watched, USER) == pytest.approx((due, 500), rel=1e-6)
    assert refused(market, watched, [USER]) == set()
    (left_out,) = ask(watched.store, "excluded_accounts", factor="ETH")
    assert (left_out["missing"], left_out["reason"]) == (
        "part",
        "blocked: largest collateral or debt",
    )
    market.pause("DAI")
    assert reasons(watched) == {USER: "collateral paused"}
    assert sellable(watched, USER) == pytest.approx((due, 0), rel=1e-6)
    assert refused(market, watched, [USER]) == {USER}


@pytest.mark.contracts("published")
def test_a_sentinel_spares_accounts_from_a_health_factor_up(
    crashed: Watched, toolchain: Toolchain
) -> None:
    """While the sequencer's sentinel says no, accounts below 0.95 alone are liquidated."""
    market, chain = crashed.market, crashed.chain
    accounts.crash(market, 1.35)  # back up, so that some are hardly liquidatable
    sequencer = chain.deploy(own_artifact("TestFeed"), 1, 0, "sequencer is down")
    sentinel = chain.deploy(
        hardhat_artifact(toolchain.artifacts, "PriceOracleSentinel"),
        market.provider,
        sequencer,
        HOUR,
    )
    chain.send(market.provider, "setPriceOracleSentinel(address)", sentinel)
    blocked = reasons(crashed)
    rows, snapshot = crashed.accounts(), crashed.snapshot()
    assert (snapshot.blocked_reason, snapshot.blocked_above_hf) == ("sequencer sentinel", 0.95)
    named = {name for name, reason in blocked.items() if reason}
    assert set(blocked.values()) == {None, "sequencer sentinel"}
    assert named == {name for name in blocked if rows[name].hf_wad >= 95 * 10**16}
    assert refused(market, crashed, sorted(blocked)) == named
    chain.send(sequencer, "setAnswer(int256)", 0)
    assert set(reasons(crashed).values()) == {None, "sequencer sentinel"}  # its grace period
    chain.increase_time(HOUR + 1)
    assert set(reasons(crashed).values()) == {None}
    assert refused(market, crashed, sorted(blocked)) == set()
    chain.set_code(sentinel, "fe")  # it answers nothing more: so does the pool
    assert {n for n, reason in reasons(crashed).items() if reason} == refused(
        market, crashed, sorted(blocked)
    )


@pytest.mark.parametrize(
    ("flags", "until", "reason"),
    [
        (1 << 56, 0, None),
        (0, 0, "not active"),
        (1 << 56 | 1 << 60, 2_000, "paused"),
        (1 << 56 | 1 << 57, 999, None),  # frozen
        (1 << 56, 1_000, "grace period until 1970-01-01 00:16:40Z"),
    ],
)
def test_a_reserve_is_blocked_by_its_flags_and_grace_period(
    flags: int, until: int, reason: str | None
) -> None:
    """The time of the block itself is inside the grace period: the pool compares with <."""
    assert reserve_block(reserve_config(flags), until, 1_000) == reason


@pytest.mark.contracts("published")
def test_a_paused_pool_of_aave_v2_liquidates_nothing(chain: Chain, tmp_path: Path) -> None:
    market = aave_v2_market.deploy(chain, aave_v2_market.artifacts())
    aave_v2_market.populate(market, 20, 5)
    prices = market.prices(("WETH", "WBTC"))
    market.set_prices({"WBTC": prices["WBTC"] // 2})
    funded(market)
    watched = Lake(tmp_path, market, "aave-v2")
    before = reasons(watched)
    assert before
    assert set(before.values()) == {None}
    assert refused(market, watched, sorted(before)) == set()
    chain.send(market.configurator, "setPoolPause(bool)", True)
    assert reasons(watched) == dict.fromkeys(before, "pool paused")
    assert refused(market, watched, sorted(before)) == before.keys()
    assert watched.snapshot().blocked_above_hf is None


# --- stand-ins ----------------------------------------------------------------------------------


@pytest.mark.contracts("stand-in")
def test_nothing_is_absorbed_while_absorption_is_paused(chain: Chain, tmp_path: Path) -> None:
    prices = compound_v3.PRICES
    decimals = {"USDC": 6, "WETH": 18, "WBTC": 8, "wstETH": 18}
    market = comet.deploy(
        compound_v3.shelf(chain, [(s, d, prices[s]) for s, d in decimals.items()])
    )
    chain.send_all(
        [
            *market.supply(compound_v3.LENDER, "USDC", 10**12),
            *market.supply(USER, "WETH", 10**18),
            market.withdraw(USER, "USDC", 2_000 * 10**6),
        ]
    )
    chain.send(compound_v3.feed_of(market, "WETH"), "setAnswer(int256)", 2_000 * USD)
    watched = compound_v3.Lake(tmp_path, market)
    assert reasons(watched) == {USER: None}
    assert sellable(watched, USER) == pytest.approx((2_000, 2_000))
    chain.send(market.comet, "pause(bool,bool,bool,bool,bool)", *[False] * 3, True, False)
    assert reasons(watched) == {USER: "absorb paused"}
    assert sellable(watched, USER) == pytest.approx((2_000, 0))
    with pytest.raises(TransactionReverted, match="Paused"):
        chain.send_all([market.absorb([USER])])
    assert watched.verify()[0].mismatched == 0
    chain.send(market.comet, "pause(bool,bool,bool,bool,bool)", *[True] * 3, False, True)
    assert reasons(watched) == {USER: None}
    assert chain.send_all([market.absorb([USER])])[0].ok


def falling(market: CompoundMarket) -> None:
    """One account holds ETH and some BTC, and owes dollars: liquidatable."""
    market.chain.send_all(
        [
            *market.supply(USER, "WETH", 10**18),
            *market.supply(USER, "WBTC", 10**6),
            market.borrow(USER, "DAI", 2_500 * 10**18),
        ]
    )
    market.set_prices({"WETH": 2_200 * USD})


def liquidates(market: CompoundMarket, collateral: str) -> bool:
    """Whether the market lets somebody take a collateral of the account for a dollar of debt."""
    before = market.chain.snapshot()
    calls = market.liquidate(USER, "DAI", 10**18, collateral)
    done = market.liquidated(market.chain.send_all(calls, tolerate=True)[-1])
    market.chain.revert(before)
    return done


@pytest.mark.contracts("stand-in")
def test_nothing_is_seized_while_seizing_is_paused(chain: Chain, tmp_path: Path) -> None:
    market = compound_v2_market.deploy(chain)
    watched = Watched(
        tmp_path, SimpleNamespace(chain=chain, pool=market.comptroller), protocol="compound-v2"
    )
    falling(market)
    assert reasons(watched) == {USER: None}
    assert liquidates(market, "WETH")
    chain.send(market.comptroller, "_setSeizePaused(bool)", True)
    assert reasons(watched) == {USER: "seizing paused"}
    assert sellable(watched, USER)[1] == 0
    assert not liquidates(market, "WETH")
    assert watched.verify()[0].mismatched == 0


@pytest.fixture(
    params=[
        pytest.param("stand-in", marks=pytest.mark.contracts("stand-in")),
        pytest.param("published", marks=[pytest.mark.contracts("published"), pytest.mark.full]),
    ]
)
def venus(request: pytest.FixtureRequest, chain: Chain) -> CompoundMarket:
    if request.param == "published":
        return compound_v2_market.deploy_venus(chain, compound_v2_market.venus_artifacts())
    return compound_v2_market.deploy(chain, stand_in="MiniVenusComptroller")


def test_venus_pauses_actions_market_by_market(venus: CompoundMarket, tmp_path: Path) -> None:
    """A seizure is refused by the collateral's market, a repayment by the debt's."""
    market, chain = venus, venus.chain
    watched = Watched(
        tmp_path, SimpleNamespace(chain=chain, pool=market.comptroller), protocol="compound-v2"
    )
    falling(market)
    repay, seize, liquidate = 3, 4, 5

    def pause(symbol: str, action: int, value: bool = True) -> None:
        signature = "_setActionsPaused(address[],uint8[],bool)"
        chain.send(market.comptroller, signature, [market.c_tokens[symbol]], [action], value)

    def outcome() -> tuple[str | None, bool, bool]:
        (reason,) = reasons(watched).values()
        assert watched.verify()[0].mismatched == 0
        return reason, liquidates(market, "WETH"), liquidates(market, "WBTC")

    assert outcome() == (None, True, True)
    due, _ = sellable(watched, USER)
    pause("WETH", seize)
    pause("DAI", seize)
    assert outcome() == (None, False, True)
    assert sellable(watched, USER) == pytest.approx((due, 900), rel=1e-3)  # its 0.01 BTC
    pause("WBTC", seize)
    assert outcome() == ("collateral seizing paused", False, False)
    pause("WBTC", seize, False)
    pause("WETH", seize, False)
    for action, reason in (
        (repay, "debt repayment paused"),
        (liquidate, "debt liquidation paused"),
    ):
        pause("WETH", action)
        assert outcome() == (None, True, True)
        pause("DAI", action)
        assert outcome() == (reason, False, False)
        pause("DAI", action, False)
    chain.send(market.comptroller, "_setProtocolPaused(bool)", True)
    assert outcome() == ("protocol paused", False, False)


def test_venus_has_one_contract_for_all_liquidations(venus: CompoundMarket, tmp_path: Path) -> None:
    """Where liquidations go through one contract only, the verdict is what that one is told."""
    market, chain, only = venus, venus.chain, compound_v2_market.LIQUIDATOR
    watched = Watched(
        tmp_path, SimpleNamespace(chain=chain, pool=market.comptroller), protocol="compound-v2"
    )
    falling(market)
    chain.send(market.comptroller, "_setLiquidatorContract(address)", "0x" + "77" * 20)
    assert not liquidates(market, "WETH")
    assert reasons(watched) == {USER: None}
    assert watched.verify()[0].mismatched == 0
    assert walls_hold(watched) > 0
    chain.send(market.comptroller, "_setLiquidatorContract(address)", only)
    assert liquidates(market, "WETH")


@pytest.mark.contracts("stand-in")
def test_a_paused_reserve_of_aave_v4_is_spared(chain: Chain, tmp_path: Path) -> None:
    market = aave_v4.deploy(chain)
    chain.send_all(
        [
            market.supply(USER, "WETH", 10**18),
            market.supply(USER, "WBTC", 10**5),
            market.supply(OTHER, "WBTC", 10**6),
            market.borrow(USER, "USDC", 2_500 * 10**6),
            market.borrow(OTHER, "USDC", 700 * 10**6),
        ]
    )
    watched = aave_v4.Lake(tmp_path, market)
    assert reasons(watched) == {USER: None, OTHER: None}

    def flag(symbol: str, flags: int) -> None:
        chain.send(market.spoke, "setFlags(uint256,uint8)", market.numbers[symbol], flags)

    def liquidates_for(user: str, collateral: str) -> bool:
        signature = "liquidationCall(uint256,uint256,address,uint120[4],bool)"
        numbers = market.numbers[collateral], market.numbers["USDC"]
        data = encode(signature, *numbers, user, [1, 1, 1, 1], False)
        before = chain.snapshot()
        done = chain.send_all([Tx(DEPLOYER, market.spoke, data)], tolerate=True)[0].ok
        chain.revert(before)
        return done

    flag("WBTC", 4 | 2)  # frozen
    assert reasons(watched) == {USER: None, OTHER: None}
    flag("WBTC", 4 | 1)  # paused
    assert reasons(watched) == {USER: None, OTHER: "collateral paused"}
    assert liquidates_for(USER, "WETH")
    assert not liquidates_for(USER, "WBTC")
    assert not liquidates_for(OTHER, "WBTC")
    reserves = watched.store.rows(ReserveRow, "snapshot = $s", {"s": watched.snapshot().snapshot})
    assert {r.symbol for r in reserves if r.blocked_collateral == "paused"} == {"WBTC"}
    flag("WBTC", 4)
    flag("USDC", 4 | 1)
    assert set(reasons(watched).values()) == {"debt paused"}
    assert not liquidates_for(USER, "WETH")
