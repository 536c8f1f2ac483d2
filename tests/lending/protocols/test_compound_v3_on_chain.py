"""The source of Compound III against a stand-in on a real node: every debt and verdict equal to it.

The stand-in is a contract of this project with Comet's ABI, units, rounding and events. It is not
what Compound deployed: what is proven here is that the source reads such a contract right.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainwatch.collect import runner
from chainwatch.collect.feed import Job
from chainwatch.collect.registry import find
from chainwatch.demo import comet
from chainwatch.demo.aave import MULTICALL, AaveMarket, ListedReserve, ReserveSpec
from chainwatch.demo.chain import DEPLOYER, Chain, Receipt, Tx, decode, encode, own_artifact
from chainwatch.demo.comet import CometMarket, Listing
from chainwatch.errors import ChainwatchError, ConfigError, Exit, UsageError
from chainwatch.lending.close_rules import ABSORB
from chainwatch.lending.protocols.compound_v3 import arithmetic as compound_v3_arithmetic
from chainwatch.lending.protocols.compound_v3.arithmetic import Base, Collateral
from chainwatch.tables.base import Row
from chainwatch.tables.lending import Account, Factor, Leg, Mismatch, Snapshot
from chainwatch.tables.lending import Reserve as ReserveRow
from chainwatch.tables.log import Load
from tests.amounts import sample_size
from tests.builders import (
    Watched,
    ask,
    close_rule,
    content,
    missing_logs_are_refused,
    other_verdict,
    refused_everywhere,
    same_positions,
    tampered,
    walls_hold,
)
from tests.evm.rpc_proxy import Answer, Proxy, fault, standing
from tests.evm.rpc_proxy import Call as ProxyCall

pytestmark = pytest.mark.contracts("stand-in")

DAY = 86_400
USD = 10**8
FACTOR = 10**18
USER = "0x" + "ab" * 20
OTHER = "0x" + "cd" * 20
THIRD = "0x" + "ef" * 20
LENDER = "0x" + "1e" * 20
ABSORB_DEBT = "0x1547a878dc89ad3c367b6338b4be6a65a5dd74fb77ae044da1e8747ef1f4f62f"
ABSORB_COLLATERAL = "0x9850ab1af75177e4a9201c65a2cf7976d5d28e40ef63494b44366f86b2f9412e"
NAMING = {  # the events that name an account, and where
    "Supply(address,address,uint256)": (2,),
    "Withdraw(address,address,uint256)": (1,),
    "Transfer(address,address,uint256)": (1, 2),
    "SupplyCollateral(address,address,address,uint256)": (2,),
    "WithdrawCollateral(address,address,address,uint256)": (1,),
    "TransferCollateral(address,address,address,uint256)": (1, 2),
    "AbsorbDebt(address,address,uint256,uint256)": (2,),
    "AbsorbCollateral(address,address,address,uint256,uint256)": (2,),
}
PRICES = {"USDC": USD, "WETH": 3_000 * USD, "WBTC": 90_000 * USD, "wstETH": 3_600 * USD}

Lakes = Callable[..., "Lake"]


class Lake(Watched):
    """A lake beside a stand-in."""

    def __init__(self, home: Path, market: CometMarket, **entry: Any) -> None:
        named: Any = SimpleNamespace(chain=market.chain, pool=market.comet)
        super().__init__(home, named, **({"protocol": "compound-v3"} | entry))
        self.comet = market


def shelf(chain: Chain, assets: Sequence[tuple[str, int, int]], quote: str = "USD") -> AaveMarket:
    """Tokens with feeds of 8 decimals for (symbol, decimals, price): all a stand-in needs."""
    listed = {}
    for i, (symbol, decimals, price) in enumerate(assets):
        token = chain.deploy(own_artifact("TestToken"), symbol, symbol, decimals)
        feed = chain.deploy(own_artifact("TestFeed"), price, 8, f"{symbol} / {quote}")
        listed[symbol] = ListedReserve(
            ReserveSpec(symbol, decimals, price, 0, 0, 0), i, token, feed, "", "", ""
        )
    chain.set_code(MULTICALL, own_artifact("TestMulticall").runtime)
    stand_in: Any = SimpleNamespace(chain=chain, listed=listed)
    return stand_in


@pytest.fixture
def market(chain: Chain) -> CometMarket:
    """An empty stand-in that lends USDC against WETH, WBTC and wstETH."""
    assets = [("USDC", 6), ("WETH", 18), ("WBTC", 8), ("wstETH", 18)]
    return comet.deploy(shelf(chain, [(s, d, PRICES[s]) for s, d in assets]))


@pytest.fixture
def lake(tmp_path: Path) -> Lakes:
    """Makes a lake beside a stand-in, each in a folder of its own."""
    made: list[Lake] = []

    def make(market: CometMarket, **entry: Any) -> Lake:
        made.append(Lake(tmp_path / f"home{len(made)}", market, **entry))
        return made[-1]

    return make


# --- what the contract says, read through the local chain's own client ----------------------------


def feed_of(market: CometMarket, symbol: str) -> str:
    if symbol == market.base:
        feed: str = market.chain.call(market.comet, "baseTokenPriceFeed()(address)")
        return feed
    position = [listing.symbol for listing in market.listings].index(symbol)
    return str(asset_info(market, position)[2])


def asset_info(market: CometMarket, position: int) -> tuple[Any, ...]:
    outputs = "(uint8,address,address,uint64,uint64,uint64,uint64,uint128)"
    signature = f"getAssetInfo(uint8)({outputs})"
    info: tuple[Any, ...] = market.chain.call(market.comet, signature, position)
    return info


def set_prices(market: CometMarket, prices: dict[str, int]) -> list[Receipt]:
    """Set feeds' answers in one block: quote units with 8 decimals, any int256."""
    return market.chain.send_all(
        [
            Tx(DEPLOYER, feed_of(market, symbol), encode("setAnswer(int256)", price))
            for symbol, price in prices.items()
        ]
    )


def verdicts(market: CometMarket, accounts: Sequence[str]) -> dict[str, bool | None]:
    """isLiquidatable at the latest block, None where it reverts."""
    by_account: dict[str, bool | None] = {}
    for start in range(0, len(accounts), 500):
        part = accounts[start : start + 500]
        requests = []
        for i, account in enumerate(part):
            data = encode("isLiquidatable(address)", account)
            call = {"from": DEPLOYER, "to": market.comet, "data": data}
            requests.append(
                {"jsonrpc": "2.0", "id": i, "method": "eth_call", "params": [call, "latest"]}
            )
        for answer in market.chain.post(requests):
            if "error" in answer:
                assert answer["error"]["code"] == 3, answer  # a revert, and nothing else
                by_account[part[answer["id"]]] = None
            else:
                by_account[part[answer["id"]]] = decode("f()(bool)", answer["result"])
    return by_account


def verdicts_accrued(market: CometMarket, accounts: Sequence[str]) -> dict[str, bool | None]:
    """isLiquidatable as it answers once accrueAccount was called in the same call."""
    calls = [
        (market.comet, True, bytes.fromhex(encode(signature, account)[2:]))
        for signature, account in [
            ("accrueAccount(address)", DEPLOYER),
            *(("isLiquidatable(address)", account) for account in accounts),
        ]
    ]
    data = encode("aggregate3((address,bool,bytes)[])", calls)
    request = {"from": DEPLOYER, "to": MULTICALL, "data": data, "gas": hex(10**9)}
    answer = market.chain.rpc("eth_call", request, "latest")
    accrued, *rest = decode("f()((bool,bytes)[])", answer)
    assert accrued[0]
    return {
        account: bool(int.from_bytes(result)) if done else None
        for account, (done, result) in zip(accounts, rest, strict=True)
    }


def principals(market: CometMarket, accounts: Sequence[str]) -> dict[str, int]:
    signature = "userBasic(address)(int104,uint64,uint64,uint16,uint8)"
    rows = market.chain.call_each(signature, [(market.comet, account) for account in accounts])
    return {account: row[0] for account, row in zip(accounts, rows, strict=True)}


def holds(lake: Lake, snapshot: Snapshot) -> dict[str, Account]:
    """The accounts of a snapshot of the newest block, after all of them equal the stand-in."""
    market, chain = lake.comet, lake.chain
    assert snapshot.block_number == chain.block_number()
    rows = lake.accounts(snapshot)
    assert len(rows) == snapshot.accounts
    legs, names = lake.legs(snapshot), list(rows)
    base = market.tokens[market.base]
    debts = dict(zip(names, market.debts(names), strict=True))
    assert {a: legs[a, base, "debt"].raw for a in names if (a, base, "debt") in legs} == {
        account: debt for account, debt in debts.items() if debt
    }
    pairs = [
        (account, market.tokens[listing.symbol]) for account in names for listing in market.listings
    ]
    signature = "userCollateral(address,address)(uint128,uint128)"
    balances = chain.call_each(signature, [(market.comet, *pair) for pair in pairs])
    assert {(a, t): leg.raw for (a, t, side), leg in legs.items() if side == "collateral"} == {
        pair: row[0] for pair, row in zip(pairs, balances, strict=True) if row[0]
    }
    assert {a: row.liquidatable for a, row in rows.items()} == verdicts(market, names)
    accrued = {a: row.liquidatable_accrued for a, row in rows.items()}
    assert accrued == verdicts_accrued(market, names)
    for account, row in rows.items():
        has_state = not row.status.startswith("n/a")
        assert has_state == (row.collateral_base is not None) == (row.debt_base is not None)
        assert (row.status == "ok") == (row.hf_wad is not None)
        if row.hf_wad is not None:
            assert (
                row.liquidatable_accrued == (row.hf_wad < FACTOR)
                or abs(row.hf_wad - FACTOR) < 10**12
            ), account
    return rows


def named(logs: Sequence[dict[str, Any]]) -> set[str]:
    """The accounts that the stand-in's events name."""
    from eth_utils.crypto import keccak

    topics = {f"0x{keccak(text=event).hex()}": places for event, places in NAMING.items()}
    accounts = {
        f"0x{log['topics'][place][26:]}"
        for log in logs
        for place in topics.get(log["topics"][0], ())
    }
    return accounts - {"0x" + "00" * 20}


def borrow(market: CometMarket, account: str, symbol: str, held: int, debt: int) -> None:
    """Supply collateral and borrow against it; somebody else has supplied the base."""
    unit = 10**market.base_decimals
    market.chain.send_all(
        [
            *market.supply(LENDER, market.base, 10**7 * unit),
            *market.supply(account, symbol, held),
            *([market.withdraw(account, market.base, debt)] if debt else []),
        ]
    )


def at_time(chain: Chain, moment: int) -> Iterator[None]:
    """Once as an empty block at that moment, and once more for the block that acts in it."""
    fork = chain.snapshot()
    chain.set_next_timestamp(moment)
    chain.mine()
    yield
    chain.revert(fork)
    chain.set_next_timestamp(moment)
    yield


# --- equal to the stand-in ----------------------------------------------------------------------


def test_accounts_equal_the_stand_in_through_absorption(market: CometMarket, lake: Lakes) -> None:
    """At first, after a fall, after absorption, and a month later."""
    chain, watched = market.chain, lake(market)
    chain.send_all([market.set_rate(10 * comet.RATE_PER_SECOND)])  # so that a month matters
    made = comet.populate(market, PRICES, 330, 2026)

    snapshot = watched.collect()
    assert (snapshot.profile, close_rule(snapshot), snapshot.quote) == ("comet", ABSORB, "USD")
    calm = holds(watched, snapshot)
    assert len(set(made) & set(calm)) >= 320
    states = Counter(row.status for row in calm.values())
    assert states["ok"] >= 220
    assert states["no debt"] >= 40
    assert sum(row.legs == 0 for row in calm.values()) >= 20  # suppliers of the base alone
    assert sum(row.legs > 2 for row in calm.values()) >= 50
    assert sum(row.status == "ok" and row.debt_base < USD for row in calm.values()) >= 10
    assert not any(row.liquidatable for row in calm.values())

    set_prices(market, {s: PRICES[s] * 6 // 10 for s in ("WETH", "WBTC", "wstETH")})
    fallen = holds(watched, watched.collect())
    below = [account for account, row in fallen.items() if row.liquidatable]
    assert len(below) > 100

    absorbed = comet.liquidate(market, below, 60, 1)
    assert len(absorbed) == 60
    snapshot = watched.collect()
    rows = holds(watched, snapshot)
    assert snapshot.accounts_read == 60
    assert {rows[account].status for account in absorbed} == {"no debt"}

    chain.increase_time(30 * DAY)
    snapshot = watched.collect()
    assert snapshot.accounts_read == 0
    aged = holds(watched, snapshot)
    late = {a for a, row in aged.items() if row.liquidatable != row.liquidatable_accrued}
    assert len(late) >= 3
    assert all(aged[a].liquidatable is False for a in late)
    assert sum((aged[a].debt_base or 0) > (rows[a].debt_base or 0) for a in aged) > 150

    assert walls_hold(watched) > 100
    result, mismatches = watched.verify()
    assert (result.checked, result.mismatched, mismatches) == (len(aged), 0, [])
    assert result.method == "borrowBalanceOf, isLiquidatable"
    for name in ("account_counts", "account_totals", "scan_gaps", "unknown_assets"):
        assert ask(watched.store, name) == []

    # Whoever touches the market accrues it: the view then says what was said to come.
    chain.send_all([market.accrue()])
    rows = holds(watched, watched.collect())
    assert late <= {account for account, row in rows.items() if row.liquidatable}


def test_accruing_interest_makes_an_account_liquidatable(market: CometMarket, lake: Lakes) -> None:
    """Accrual changes the verdict of the account whose interest exceeds its margin."""
    watched = lake(market)
    borrow(market, USER, "WETH", 10**18, 2_480 * 10**6)
    set_prices(market, {"WETH": 2_760 * USD})
    row = holds(watched, watched.collect())[USER]
    assert (row.liquidatable, row.liquidatable_accrued) == (False, False)
    market.chain.increase_time(30 * DAY)
    row = holds(watched, watched.collect())[USER]
    assert (row.liquidatable, row.liquidatable_accrued, row.hf < 1) == (False, True, True)
    market.chain.send_all([market.accrue()])
    snapshot = watched.collect()
    assert snapshot.accounts_read == 0
    row = holds(watched, snapshot)[USER]
    assert (row.liquidatable, row.liquidatable_accrued) == (True, True)


# --- the market's own reserves ------------------------------------------------------------------


def test_reserves_and_target_equal_the_stand_in_in_usd(market: CometMarket, lake: Lakes) -> None:
    """Reserves and their target are those of the stand-in, in USD."""
    watched = lake(market)

    def same() -> float:
        snapshot = watched.collect()
        own: int = market.chain.call(market.comet, "getReserves()(int256)")
        target: int = market.chain.call(market.comet, "targetReserves()(uint256)")
        price = market.chain.call(market.comet, "getPrice(address)(uint256)", feed_of(market, base))
        usd = price / USD / 10**market.base_decimals
        assert snapshot.reserves_usd == pytest.approx(own * usd, rel=1e-12)
        assert snapshot.target_reserves_usd == pytest.approx(target * usd, rel=1e-12)
        assert snapshot.reserves_usd is not None
        return snapshot.reserves_usd

    base = market.base
    assert same() == 0
    borrow(market, USER, "WETH", 10 * 10**18, 20_000 * 10**6)
    market.chain.increase_time(30 * DAY)
    earned = same()  # though nobody has accrued: suppliers get half the rate on far more
    assert earned != 0
    set_prices(market, {"USDC": USD * 9 // 10})
    assert same() == pytest.approx(earned * 0.9, rel=1e-3)
    set_prices(market, {"WETH": 1_000 * USD})
    market.chain.send_all([market.absorb([USER])])
    assert same() < earned - 15_000  # the debt is paid out of reserves


def test_missing_reserves_are_none_and_all_else_is_read(market: CometMarket, lake: Lakes) -> None:
    """Reserves that the contract has no getter for are None, and all else is read."""
    borrow(market, USER, "WETH", 10 * 10**18, 20_000 * 10**6)
    watched = lake(market)
    # A base token that knows no balances: getReserves reverts, nothing else asks for them.
    market.chain.set_code(market.tokens[market.base], own_artifact("TestFeed").runtime)
    snapshot = watched.collect()
    assert (snapshot.reserves_usd, snapshot.accounts_failed) == (None, 0)
    assert snapshot.target_reserves_usd == pytest.approx(1e12)
    holds(watched, snapshot)


def test_without_a_price_of_the_base_asset_the_reserves_are_none_too(
    market: CometMarket, lake: Lakes
) -> None:
    set_prices(market, {"USDC": 0})
    snapshot = lake(market).collect()
    assert (snapshot.reserves_usd, snapshot.target_reserves_usd) == (None, None)


# --- incremental = full -------------------------------------------------------------------------


def act(market: CometMarket, accounts: Sequence[str], rng: Random) -> list[Tx]:
    """One random thing that a random account does; the stand-in may refuse it."""
    account, other = rng.choice(accounts), rng.choice(accounts)
    symbol = rng.choice(market.listings).symbol
    held: int = market.chain.call(
        market.comet,
        "userCollateral(address,address)(uint128,uint128)",
        account,
        market.tokens[symbol],
    )[0]
    part = rng.choice([held, int(held * rng.uniform(0, 0.5))])
    base = int(10**market.base_decimals * 10 ** rng.uniform(-6, 4))
    kind = rng.choice(
        ["supply", "repay", "borrow", "borrow", "withdraw", "hand base", "hand base", "hand held"]
    )
    match kind:
        case "supply":
            return market.supply(account, symbol, 1 + held // 3)
        case "repay":
            owed = market.debts([account])[0]
            return market.supply(account, market.base, rng.choice([owed, base]) or 1, other)
        case "borrow":
            return [market.withdraw(account, market.base, base)]
        case "withdraw":
            return [market.withdraw(account, symbol, part)]
        case "hand base":
            return [market.transfer(account, market.base, other, base)]
        case _:
            return [market.transfer(account, symbol, other, part)]


@pytest.mark.sampled
@settings(
    max_examples=sample_size(quick=1, full=2, torture=50),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32))
def test_an_incremental_snapshot_equals_a_full_one(
    market: CometMarket, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Row for row."""
    chain, rng = market.chain, Random(seed)
    before = chain.snapshot()
    try:
        made = comet.populate(market, PRICES, 20, seed)
        folder = tmp_path_factory.mktemp("lakes")
        grown, fresh = Lake(folder / "grown", market), Lake(folder / "fresh", market)
        grown.collect()
        for _ in range(4):
            last = chain.block_number()
            match rng.choice(["act", "act", "act", "fall", "wait", "accrue"]):
                case "act":
                    for _ in range(rng.randint(1, 12)):
                        chain.send_all(act(market, made, rng), tolerate=True)
                case "fall":
                    share = rng.uniform(0.7, 1.1)
                    set_prices(market, {"WETH": int(PRICES["WETH"] * share)})
                    comet.liquidate(market, made, 4, seed)
                case "wait":
                    chain.increase_time(rng.randint(1, 90 * DAY))
                case "accrue":
                    chain.send_all([market.accrue()])
            chain.mine()
            snapshot = grown.collect()
            assert snapshot.based_on is not None
            assert fresh.collect(full="yes").based_on is None
            same_positions(grown, fresh)
            rows = holds(grown, snapshot)
            assert set(made) & set(rows) == set(rows) - {LENDER, comet.ABSORBER}
            read = {a for a, row in rows.items() if row.read_block == snapshot.block_number}
            assert snapshot.accounts_read == len(read)
            assert read == named(chain.logs(market.comet, first=last + 1))
    finally:
        chain.revert(before)


@pytest.mark.full
@pytest.mark.parametrize("scope", ["all", "borrowers"])
def test_a_transfer_of_base_between_borrowers_counts(
    market: CometMarket, lake: Lakes, scope: str
) -> None:
    """Comet tells of supply that comes or goes, not of debt that moves between borrowers."""
    chain, watched = market.chain, lake(market, scope=scope)
    borrow(market, USER, "WETH", 10**18, 100 * 10**6)
    borrow(market, OTHER, "WETH", 10**18, 500 * 10**6)
    chain.send_all(market.supply(THIRD, "WBTC", 10**7))
    rows = holds(watched, watched.collect())
    assert {USER, OTHER, THIRD} <= set(rows)
    base = market.tokens["USDC"]

    before = {a: leg.raw for (a, t, _), leg in watched.legs().items() if t == base}
    (receipt,) = chain.send_all([market.transfer(USER, "USDC", OTHER, 200 * 10**6)])
    assert receipt.logs == []
    # Who never borrowed begins with a debt that pays another's.
    (receipt,) = chain.send_all([market.transfer(THIRD, "USDC", OTHER, 50 * 10**6)])
    assert receipt.logs == []
    holds(watched, watched.collect())
    legs = watched.legs()
    after = {account: legs[account, base, "debt"].raw for account in (USER, OTHER, THIRD)}
    assert after[USER] - before[USER] >= 200 * 10**6
    assert before[OTHER] - after[OTHER] >= 249 * 10**6
    assert after[THIRD] >= 50 * 10**6
    fresh = lake(market, scope=scope)
    fresh.collect()
    same_positions(watched, fresh)
    assert watched.verify()[0].mismatched == 0


@pytest.mark.full
def test_scope_borrowers_has_all_debtors_and_no_pure_supplier(
    market: CometMarket, lake: Lakes
) -> None:
    """Scope borrowers has every account with a debt, and no pure supplier."""
    made = comet.populate(market, PRICES, 90, 4)
    everyone, borrowers = lake(market), lake(market, scope="borrowers")
    rng = Random(4)
    for _ in range(2):
        wide, narrow = holds(everyone, everyone.collect()), holds(borrowers, borrowers.collect())
        owing = {a for a, principal in principals(market, [*made, LENDER]).items() if principal < 0}
        assert owing <= set(narrow) < set(wide)
        assert content(narrow) == {a: row for a, row in content(wide).items() if a in narrow}
        out = wide.keys() - narrow.keys()
        assert LENDER in out
        assert not any(wide[account].legs for account in out)
        for _ in range(40):
            market.chain.send_all(act(market, made, rng), tolerate=True)
    assert borrowers.snapshot().based_on is not None


# --- accounts at the edges ----------------------------------------------------------------------


def test_suppliers_debtless_collateral_and_dust_are_distinct(
    market: CometMarket, lake: Lakes
) -> None:
    """Suppliers, collateral without a debt, and single units are told apart."""
    chain, watched = market.chain, lake(market)
    borrow(market, USER, "WETH", 10**18, 0)
    chain.send_all(market.supply(OTHER, "USDC", 1))
    borrow(market, THIRD, "WETH", 10**15, 1)
    rows = holds(watched, watched.collect())
    base, weth = market.tokens["USDC"], market.tokens["WETH"]
    legs = watched.legs()
    assert (rows[USER].status, rows[USER].collateral_usd, rows[USER].hf) == ("no debt", 3_000, None)
    assert (rows[OTHER].status, rows[OTHER].legs) == ("no debt", 0)
    assert {key for key in legs if key[0] == OTHER} == set()
    assert (rows[THIRD].status, legs[THIRD, base, "debt"].raw) == ("ok", 1)
    assert rows[THIRD].debt_base == 100
    # All of the collateral goes but one unit, which is worth nothing.
    chain.send_all([market.withdraw(USER, "WETH", 10**18 - 1)])
    rows = holds(watched, watched.collect())
    assert watched.legs()[USER, weth, "collateral"].raw == 1
    assert rows[USER].collateral_base == 0
    chain.send_all([market.withdraw(USER, "WETH", 1)])
    holds(watched, watched.collect())
    assert (USER, weth, "collateral") not in watched.legs()


@pytest.mark.full
def test_a_price_may_stand_on_the_line_and_one_unit_less_is_absorbed(
    market: CometMarket, lake: Lakes
) -> None:
    chain = market.chain
    chain.send_all([market.set_rate(0)])
    borrow(market, USER, "WBTC", 10**8, 63_000 * 10**6)
    line = next(p for p in range(81_818 * USD, 81_819 * USD) if p * 77 // 100 >= 63_000 * USD)
    for price, verdict in ((line + 1, False), (line, False), (line - 1, True)):
        set_prices(market, {"WBTC": price})
        watched = lake(market)
        row = holds(watched, watched.collect())[USER]
        assert (row.liquidatable, row.liquidatable_accrued) == (verdict, verdict)
        assert (row.hf_wad < FACTOR) == verdict
        fork = chain.snapshot()
        (receipt,) = chain.send_all([market.absorb([USER])], tolerate=True)
        assert receipt.ok == verdict
        chain.revert(fork)


def test_a_debt_without_value_is_no_debt_to_the_stand_in(chain: Chain, lake: Lakes) -> None:
    """One wei of a base with 18 decimals is less than one unit of value."""
    market = comet.deploy(
        shelf(chain, [("WETH", 18, USD), ("wstETH", 18, 12 * USD // 10)], "ETH"),
        base="WETH",
        listings=[Listing("wstETH", 90, 93, 96)],
    )
    chain.send_all(market.supply(LENDER, "WETH", 10**20))
    chain.send_all([market.withdraw(USER, "WETH", 1)])
    watched = lake(market)
    row = holds(watched, watched.collect())[USER]
    assert (row.status, row.debt_base, row.hf_wad, row.liquidatable) == ("no debt", 0, None, False)
    assert watched.legs()[USER, market.tokens["WETH"], "debt"].raw == 1
    assert watched.verify()[0].mismatched == 0


@pytest.mark.full
def test_debt_without_logs_is_no_empty_market(market: CometMarket, lake: Lakes) -> None:
    market.chain.send_all(market.supply(LENDER, "USDC", 10**12))
    missing_logs_are_refused(
        lambda **entry: lake(market, scope="borrowers", **entry),
        lambda: borrow(market, USER, "WETH", 10**18, 10**9),
    )


# --- a market that counts in its base asset -----------------------------------------------------


@pytest.mark.full
def test_a_market_in_its_base_asset_has_usd_only_with_a_feed(chain: Chain, lake: Lakes) -> None:
    """A market priced in its base asset has that quote, and USD only with a feed."""
    aave = shelf(chain, [("WETH", 18, USD), ("wstETH", 18, 12 * USD // 10)], "ETH")
    constant = chain.deploy(own_artifact("TestConstantFeed"), 8, USD)
    ether = chain.deploy(own_artifact("TestFeed"), 3_000 * USD, 8, "ETH / USD")
    market = comet.deploy(
        aave, base="WETH", listings=[Listing("wstETH", 90, 93, 96)], base_feed=constant
    )
    made = comet.populate(market, {"WETH": USD, "wstETH": 12 * USD // 10}, 60, 9)
    without, with_feed = lake(market), lake(market, quote_feed=ether)
    for watched, quote_usd in ((without, None), (with_feed, 3_000.0)):
        snapshot = watched.collect()
        assert (snapshot.quote, snapshot.quote_usd, snapshot.base_decimals) == (
            "WETH",
            quote_usd,
            8,
        )
        rows = holds(watched, snapshot)
        assert set(made) <= set(rows)
        (row,) = [r for a, r in rows.items() if a == max(made, key=lambda m: rows[m].debt_base)]
        assert row.hf is not None
        if quote_usd is None:
            assert (row.collateral_usd, row.debt_usd) == (None, None)
            assert {leg.usd for leg in watched.legs().values()} == {None}
        else:
            assert row.debt_usd == pytest.approx(row.debt_base / USD * 3_000)
            assert row.collateral_usd == pytest.approx(row.collateral_base / USD * 3_000)
        prices = {r.symbol: r.price_usd for r in watched.store.rows(ReserveRow)}
        assert prices["wstETH"] == (None if quote_usd is None else pytest.approx(3_600))
        factors = {(f.factor, f.kind) for f in watched.store.rows(Factor)}
        own = ("fixed", "fixed") if quote_usd is None else ("ETH", "feed")
        assert factors == {own, ("wstETH/ETH", "ratio")}
        assert watched.verify()[0].mismatched == 0
    # ETH in USD moves nobody, the ratio does.
    directions = {row["direction"] for row in ask(with_feed.store, "triggers", factor="ETH")}
    assert directions == {"never"}
    assert "down" in {
        row["direction"] for row in ask(with_feed.store, "triggers", factor="wstETH/ETH")
    }
    before = with_feed.accounts()
    chain.send(ether, "setAnswer(int256)", 1_500 * USD)
    rows = holds(with_feed, with_feed.collect())
    assert with_feed.snapshot().quote_usd == 1_500
    assert not any(row.liquidatable for row in rows.values())
    assert {a: row.collateral_base for a, row in rows.items()} == {
        a: row.collateral_base for a, row in before.items()
    }
    set_prices(market, {"wstETH": 112 * USD // 100})
    rows = holds(with_feed, with_feed.collect())
    assert sum(row.liquidatable is True for row in rows.values()) >= 3


@pytest.mark.parametrize(
    ("artifact", "pairs", "quote"),
    [
        ("TestFeed", ["WBTC / BTC"], "BTC"),
        ("TestFeed", ["WBTC / USD"], "USD"),
        ("TestProductFeed", ["WBTC / BTC", "BTC / USD"], "USD"),
        ("TestQuotientFeed", ["BTC / USD", "ETH / USD"], "ETH"),
    ],
)
def test_a_market_counts_in_what_its_base_feed_names(
    chain: Chain, lake: Lakes, artifact: str, pairs: list[str], quote: str
) -> None:
    """Figures in BTC are no figures in USD: those need a feed of the market table."""
    bitcoin = chain.deploy(own_artifact("TestFeed"), 90_000 * USD, 8, "BTC / USD")
    feeds = [chain.deploy(own_artifact("TestFeed"), 2 * USD, 8, pair) for pair in pairs]
    composed = (*feeds, 8, f"WBTC / {quote}")
    base = feeds[0] if artifact == "TestFeed" else chain.deploy(own_artifact(artifact), *composed)
    aave = shelf(chain, [("WBTC", 8, USD), ("pumpBTC", 8, USD)], quote)
    market = comet.deploy(
        aave, base="WBTC", listings=[Listing("pumpBTC", 80, 85, 93)], base_feed=base
    )
    in_usd = quote == "USD"
    for entry, usd in (({}, 1.0 if in_usd else None), ({"quote_feed": bitcoin}, 90_000.0)):
        snapshot = lake(market, **entry).collect()
        assert (snapshot.quote, snapshot.quote_usd) == (quote, 1.0 if in_usd else usd)


def in_weth(chain: Chain) -> tuple[CometMarket, dict[str, str]]:
    """A market that lends WETH, and the feeds underneath: all shaped as the deployed ones are.

    The base is a constant, BTC and USDC are divided by ETH, a kind of ETH is rescaled.
    """
    aave = shelf(
        chain, [("WETH", 18, USD), ("cbBTC", 8, USD), ("USDC", 6, USD), ("cbETH", 18, USD)]
    )
    plain = {"ETH": 3_000 * USD, "BTC": 90_000 * USD, "USDC": USD}
    feeds = {
        name: chain.deploy(own_artifact("TestFeed"), price, 8, f"{name} / USD")
        for name, price in plain.items()
    }
    feeds["CBETH"] = chain.deploy(own_artifact("TestFeed"), 10**18, 18, "CBETH / ETH")
    over = own_artifact("TestQuotientFeed")
    market = comet.deploy(
        aave,
        base="WETH",
        base_feed=chain.deploy(own_artifact("TestConstantFeed"), 8, USD),
        listings=[Listing(symbol, 80, 85, 93) for symbol in ("cbBTC", "USDC", "cbETH")],
        feeds={
            "cbBTC": chain.deploy(over, feeds["BTC"], feeds["ETH"], 8, "cbBTC / ETH"),
            "USDC": chain.deploy(over, feeds["USDC"], feeds["ETH"], 8, "USDC / ETH"),
            "cbETH": chain.deploy(own_artifact("TestScalingFeed"), feeds["CBETH"], 8),
        },
    )
    chain.send_all(market.supply(LENDER, "WETH", 10**24))
    return market, feeds


@pytest.mark.full
def test_a_market_in_weth_moves_as_its_feeds_do(chain: Chain, lake: Lakes) -> None:
    """30,000 USD each of cbBTC, USDC and cbETH against 7.5 WETH; each feed is moved for real."""
    market, feeds = in_weth(chain)
    third = 10**8 // 3
    held = {USER: ("cbBTC", third), OTHER: ("USDC", 30_000 * 10**6), THIRD: ("cbETH", 10**19)}
    for account, (symbol, amount) in held.items():
        borrow(market, account, symbol, amount, 75 * 10**17)
    watched = lake(market, quote_feed=feeds["ETH"])
    holds(watched, watched.collect())
    factors = {(f.asset, f.factor): f.beta for f in watched.store.rows(Factor)}
    assert factors == {
        (market.tokens["WETH"], "ETH"): 1,
        (market.tokens["cbBTC"], "BTC"): 1,
        (market.tokens["USDC"], "USDC"): 1,
        (market.tokens["cbETH"], "ETH"): 1,
        (market.tokens["cbETH"], "CBETH/ETH"): 1,
    }
    expected = {
        "ETH": {USER: "up", OTHER: "up", THIRD: "never"},
        "BTC": {USER: "down", OTHER: "flat", THIRD: "flat"},
        "USDC": {USER: "flat", OTHER: "down", THIRD: "flat"},
        "CBETH/ETH": {USER: "flat", OTHER: "flat", THIRD: "down"},
    }
    for factor, directions in expected.items():
        rows = {r["account"]: r for r in ask(watched.store, "triggers", factor=factor)}
        assert {account: rows[account]["direction"] for account in held} == directions
        feed = feeds[factor.split("/")[0]]
        before: int = chain.call(feed, "latestAnswer()(int256)")
        hits = {a: rows[a]["x"] for a in held if rows[a]["x"] is not None}
        near = [x * (1 + d) for x in hits.values() for d in (-1e-3, 1e-3)]
        for x in (0.3, 0.5, 0.9, 1.1, 1.2, 3.0, *near):
            chain.send(feed, "setAnswer(int256)", round(before * x))
            verdicts = dict(zip(held, market.liquidatable(list(held)), strict=True))
            beyond = {a: x > hit if directions[a] == "up" else x < hit for a, hit in hits.items()}
            assert verdicts == dict.fromkeys(held, False) | beyond, (factor, x)
        chain.send(feed, "setAnswer(int256)", before)
    values = {"factor": "ETH", "direction": "both", "range": 0.3, "step_pct": 0.1}
    wall = [(r["direction"], r["accounts"]) for r in ask(watched.store, "walls", **values)]
    assert [row for row in wall if row[1]] == [("up", 2)]


def test_without_a_quote_feed_a_divided_price_has_no_wall(chain: Chain, lake: Lakes) -> None:
    market, _ = in_weth(chain)
    borrow(market, USER, "cbBTC", 10**8 // 3, 75 * 10**17)
    watched = lake(market)
    holds(watched, watched.collect())
    rows = [f for f in watched.store.rows(Factor) if f.asset == market.tokens["cbBTC"]]
    assert {(f.factor, f.beta, f.kind) for f in rows} == {
        ("BTC", 1, "feed"),
        ("ETH", -1, "inverse"),
    }
    assert {row["direction"] for row in ask(watched.store, "triggers", factor="ETH")} == {"n/a"}


def only(rows: list[dict[str, Any]], account: str = USER) -> dict[str, Any]:
    """The row of one account."""
    (row,) = [r for r in rows if r["account"] == account]
    return row


def test_a_kind_of_eth_against_eth_never_triggers_by_eth(chain: Chain, lake: Lakes) -> None:
    """The base is a constant of 1 without latestAnswer(), the collateral's feed is rescaled."""
    market, feeds = in_weth(chain)
    chain.send(feeds["CBETH"], "setAnswer(int256)", 115 * 10**16)
    borrow(market, USER, "cbETH", 100 * 10**18, 90 * 10**18)
    watched = lake(market, quote_feed=feeds["ETH"])
    watched.collect()
    row = only(ask(watched.store, "triggers", factor="ETH"))
    assert (row["direction"], row["x"]) == ("never", None)
    row = only(ask(watched.store, "triggers", factor="CBETH/ETH"))
    assert (row["direction"], row["x"]) == ("down", pytest.approx(90 / 85 / 1.15, rel=1e-6))
    factors = watched.store.rows(Factor)
    assert {f.evidence for f in factors} == {"measured"}


def test_equal_getters_divide_or_multiply(chain: Chain, lake: Lakes) -> None:
    """BTC over ETH and BTC times ETH name the same two feeds by the same getters."""
    aave = shelf(chain, [("WETH", 18, USD), ("over", 8, USD), ("times", 8, USD)])
    ether, bitcoin = (
        chain.deploy(own_artifact("TestFeed"), price, 8, f"{name} / USD")
        for name, price in (("ETH", 3_000 * USD), ("BTC", 90_000 * USD))
    )
    feeds = {
        symbol: chain.deploy(own_artifact(contract), bitcoin, ether, 8, symbol)
        for symbol, contract in (("over", "TestQuotientFeed"), ("times", "TestProductFeed"))
    }
    market = comet.deploy(
        aave,
        base="WETH",
        base_feed=chain.deploy(own_artifact("TestConstantFeed"), 8, USD),
        listings=[Listing(symbol, 80, 85, 93) for symbol in feeds],
        feeds=feeds,
    )
    watched = lake(market)
    watched.collect()
    betas = {(f.asset, f.factor): f.beta for f in watched.store.rows(Factor) if f.beta}
    assert betas == {
        (market.tokens["over"], "BTC"): 1,
        (market.tokens["over"], "ETH"): -1,
        (market.tokens["times"], "BTC"): 1,
        (market.tokens["times"], "ETH"): 1,
    }


def test_a_vault_is_liquidated_by_its_rate_and_by_its_feed(chain: Chain, lake: Lakes) -> None:
    """Its feed has the getters of one that only rescales; both are moved for real."""
    aave = shelf(chain, [("USDC", 6, USD), ("vETH", 18, 3_000 * USD)])
    ether = chain.deploy(own_artifact("TestFeed"), 3_000 * USD, 8, "ETH / USD")
    vault = chain.deploy(own_artifact("TestVaultFeed"), ether, 8, "vETH / USD")
    rate = chain.call(vault, "rateProvider()(address)")
    chain.send(rate, "setRate(uint256)", 12 * 10**17)
    market = comet.deploy(aave, listings=[Listing("vETH", 80, 85, 93)], feeds={"vETH": vault})
    chain.send_all(market.supply(LENDER, "USDC", 10**12))
    borrow(market, USER, "vETH", 10**18, 2_500 * 10**6)
    watched = lake(market)
    watched.collect()
    for factor, feed, signature in (
        ("ETH", ether, "setAnswer(int256)"),
        ("vETH/ETH", rate, "setRate(uint256)"),
    ):
        row = only(ask(watched.store, "triggers", factor=factor))
        assert (row["direction"], row["x"]) == ("down", pytest.approx(2_500 / 3_060, rel=1e-6))
        now = {ether: 3_000 * USD, rate: 12 * 10**17}[feed]
        for share, verdict in ((1 + 1e-5, False), (1 - 1e-5, True)):
            chain.send(feed, signature, int(now * row["x"] * share))
            assert market.liquidatable([USER]) == [verdict], factor
        chain.send(feed, signature, now)


def test_a_price_of_few_units_moves_the_trigger_by_its_step(chain: Chain, lake: Lakes) -> None:
    """USDC in ETH has 33,333 units: a trigger is known to one of them at best."""
    market, feeds = in_weth(chain)
    borrow(market, USER, "USDC", 30_000 * 10**6, 75 * 10**17)
    watched = lake(market, quote_feed=feeds["ETH"])
    watched.collect()
    for factor in ("ETH", "USDC"):
        row = only(ask(watched.store, "triggers", factor=factor))
        assert row["tolerance"] >= 1 / 33_333, factor
        # The first price at which the contract itself says so lies within.
        feed, edge = feeds[factor], row["x"]
        before: int = chain.call(feed, "latestAnswer()(int256)")
        sign = 1 if row["direction"] == "up" else -1
        for share, verdict in ((1 + row["tolerance"], True), (1 - row["tolerance"], False)):
            chain.send(feed, "setAnswer(int256)", round(before * edge * share**sign))
            assert market.liquidatable([USER]) == [verdict], factor
        chain.send(feed, "setAnswer(int256)", before)


def test_who_is_liquidatable_now_has_the_price_that_heals(market: CometMarket, lake: Lakes) -> None:
    borrow(market, USER, "WETH", 10**18, 2_400 * 10**6)
    borrow(market, OTHER, "WETH", 10**18, 1_000 * 10**6)
    set_prices(market, {"WETH": 2_600 * USD})
    watched = lake(market)
    watched.collect()
    rows = ask(watched.store, "triggers", factor="WETH")
    row = only(rows)
    heals = 2_400 / (2_600 * 0.9)
    assert (row["direction"], row["x"]) == ("now", 1)
    assert row["recovers_at"] == pytest.approx(heals, rel=1e-6)
    assert only(rows, OTHER)["recovers_at"] is None
    for share, verdict in ((1 + 1e-5, False), (1 - 1e-5, True)):
        set_prices(market, {"WETH": int(2_600 * USD * heals * share)})
        assert market.liquidatable([USER]) == [verdict]


# --- endpoints that cannot be asked what moves a price ------------------------------------------

NO_METHOD = fault(-32601, "the method does not exist/is not available")
MISSING = fault(-32000, "missing trie node 6d1f (path ) state 0x6d1f is not available")
NOTE = "what moves prices is inferred from getters, not measured"


def has_overrides(call: ProxyCall) -> bool:
    return call["method"] == "eth_call" and len(call["params"]) > 2


def lists_accesses(call: ProxyCall) -> bool:
    return call["method"] == "eth_createAccessList"


def only_code(call: ProxyCall) -> bool:
    """Calls under overrides beyond the first, which asks whether it takes them."""
    return has_overrides(call) and len(call["params"][2]) > 1


def cap_gas(call: ProxyCall) -> Answer | None:
    """As nodes with a cap of 50 million, where a call names no gas of its own."""
    if call["method"] == "eth_call":
        call["params"][0]["gas"] = hex(50_000_000)
    return None


@pytest.mark.parametrize(
    ("rule", "evidence"),
    [
        (lambda call: NO_METHOD if lists_accesses(call) else None, "inferred"),
        (lambda call: MISSING if lists_accesses(call) else None, "inferred"),
        (lambda call: NO_METHOD if has_overrides(call) else None, "inferred"),
        (lambda call: MISSING if only_code(call) else None, "inferred"),
        (lambda call: call["params"].pop() and None if has_overrides(call) else None, "inferred"),
        (cap_gas, "measured"),
    ],
    ids=["no lists", "old lists", "no overrides", "old overrides", "ignores overrides", "gas cap"],
)
def test_a_snapshot_is_stored_whatever_an_endpoint_refuses(
    market: CometMarket, lake: Lakes, rule: Callable[[ProxyCall], Answer | None], evidence: str
) -> None:
    """By getters it is then, and one note says so."""
    borrow(market, USER, "wstETH", 10**18, 2_400 * 10**6)
    proxy = Proxy(market.chain.url)
    proxy.rules.append(rule)
    with standing(proxy):
        watched = lake(market, rpc=[proxy.url])
        assert watched.collect().accounts
    factors = watched.store.rows(Factor)
    assert {f.evidence for f in factors} == {evidence}
    assert {f.factor for f in factors} == {"USDC", "WETH", "WBTC", "wstETH"}
    notes = [note for note in watched.voice.notes if NOTE in note]
    assert len(notes) == (1 if evidence == "inferred" else 0)


# --- 24 collaterals -----------------------------------------------------------------------------


@pytest.mark.full
def test_collaterals_of_the_reserved_byte_count(chain: Chain, lake: Lakes) -> None:
    """Accounts with more than twenty collaterals have those of the reserved byte counted."""
    rng = Random(24)
    names = [f"A{i:02}" for i in range(24)]
    assets = [(s, rng.choice([6, 8, 18]), rng.randint(1, 5_000) * USD) for s in names]
    listings = [Listing(s, rng.randint(50, 80), rng.randint(81, 90), 93) for s in names]
    market = comet.deploy(shelf(chain, [("USDC", 6, USD), *assets]), listings=listings)
    worth = {s: 1_000 * USD * 10**d // p for s, d, p in assets}  # a thousand dollars of each
    accounts = [comet.address(24, i) for i in range(12)]
    steps = market.supply(LENDER, "USDC", 10**13)
    limits = {
        listing.symbol: listing.borrow * 10**7 for listing in listings
    }  # USDC for a thousand dollars
    for i, account in enumerate(accounts):
        supplied = rng.sample(names, 20 + i % 4) if 3 < i < 9 else names
        for symbol in supplied:
            steps += market.supply(account, symbol, worth[symbol])
        if i < 9:
            most = sum(limits[symbol] for symbol in supplied)
            steps.append(market.withdraw(account, "USDC", int(most * (0.97 if i % 2 else 0.4))))
    chain.send_all(steps)
    watched = lake(market)
    rows = holds(watched, watched.collect())
    assert sorted(rows[a].legs for a in accounts)[0] >= 20
    assert max(rows[a].legs for a in accounts) == 25
    signature = "userBasic(address)(int104,uint64,uint64,uint16,uint8)"
    flags = [chain.call(market.comet, signature, account)[3:] for account in accounts]
    assert (0xFFFF, 0xFF) in flags
    assert all(reserved for _, reserved in flags)

    # Only assets of the reserved byte lose their price: the verdict follows them.
    set_prices(market, dict.fromkeys(names[16:], 1))
    fallen = holds(watched, watched.collect())
    assert 0 < sum(fallen[a].liquidatable is True for a in accounts) < len(accounts)
    # One of them is withdrawn whole, another handed on: their bits change, and nothing else.
    chain.send_all([market.withdraw(accounts[10], "A23", worth["A23"])])
    chain.send_all([market.transfer(accounts[11], "A16", USER, 1)])
    snapshot = watched.collect()
    assert snapshot.accounts_read == 3
    rows = holds(watched, snapshot)
    assert rows[accounts[10]].legs == fallen[accounts[10]].legs - 1
    below = [a for a in accounts if rows[a].liquidatable]
    chain.send_all([market.absorb(below)])
    rows = holds(watched, watched.collect())
    assert {rows[account].legs for account in below} == {0}
    assert watched.verify()[0].mismatched == 0


# --- absorbing and selling ----------------------------------------------------------------------


def parts_of(lake: Lake, accounts: Sequence[str]) -> dict[str, list[Collateral]]:
    """Collaterals from the lake, in the stand-in's order, with the terms it says."""
    legs, prices = lake.legs(), {r.asset: r.price for r in lake.store.rows(ReserveRow)}
    parts: dict[str, list[Collateral]] = {account: [] for account in accounts}
    for i in range(len(lake.comet.listings)):
        _, asset, _, scale, borrowing, liquidating, credited, _ = asset_info(lake.comet, i)
        for account in accounts:
            if (account, asset, "collateral") in legs:
                raw = legs[account, asset, "collateral"].raw
                terms = (scale, borrowing, liquidating, credited)
                parts[account].append(Collateral(raw, prices[asset] or 0, *terms))
    return parts


def base_of(lake: Lake) -> Base:
    """The base asset with its indices as accrued to the lake's snapshot."""
    market = lake.comet
    (row,) = lake.store.rows(ReserveRow, "asset = $a", {"a": market.tokens[market.base]})
    scale = 10**market.base_decimals
    return Base(row.debt_index or 0, row.liquidity_index or 0, row.price or 0, scale)


def test_absorption_equals_the_arithmetic_with_bad_debt(market: CometMarket, lake: Lakes) -> None:
    """Balances come out of the lake, as read at the very second of the absorption."""
    chain = market.chain
    made = comet.populate(market, PRICES, 120, 5)
    set_prices(market, {"WETH": 1_900 * USD, "WBTC": 60_000 * USD, "wstETH": 1_500 * USD})
    moments = at_time(chain, chain.timestamp() + 3 * DAY)
    next(moments)
    watched = lake(market)
    rows = holds(watched, watched.collect())
    absorbed = [
        account for account in made if account in rows and rows[account].liquidatable_accrued
    ]
    base, parts = base_of(watched), parts_of(watched, absorbed)
    owed = principals(market, absorbed)
    expected = {a: compound_v3_arithmetic.absorb(owed[a], base, parts[a]) for a in absorbed}
    next(moments)
    receipts = chain.send_all([market.absorb([account]) for account in absorbed])
    left = principals(market, absorbed)
    kinds: Counter[str] = Counter()
    for account, receipt in zip(absorbed, receipts, strict=True):
        wanted = expected[account]
        values = [
            decode("f()(uint256,uint256)", log["data"])[1]
            for log in receipt.logs
            if log["topics"][0] == ABSORB_COLLATERAL
        ]
        (debt,) = [
            decode("f()(uint256,uint256)", log["data"])
            for log in receipt.logs
            if log["topics"][0] == ABSORB_DEBT
        ]
        paid_value = compound_v3_arithmetic.mul_price(wanted.base_paid_out, base.price, base.scale)
        assert tuple(values) == wanted.seized_values
        assert debt == (wanted.base_paid_out, paid_value)
        assert left[account] == wanted.new_principal
        assert -wanted.old_balance + wanted.new_balance == wanted.base_paid_out
        kinds["bad debt" if wanted.bad_debt else "surplus"] += 1
        if wanted.bad_debt:
            assert wanted.new_balance == left[account] == 0
            assert wanted.base_paid_out == -wanted.old_balance
    assert kinds["bad debt"] >= 10
    assert kinds["surplus"] >= 10
    after = lake(market)
    rows = holds(after, after.collect())
    assert {rows[account].status for account in absorbed} == {"no debt"}


def test_the_price_of_absorbed_collateral_is_what_the_arithmetic_says(market: CometMarket) -> None:
    chain, rng = market.chain, Random(6)
    for _ in range(4):
        prices = {symbol: int(p * rng.uniform(0.2, 3)) for symbol, p in PRICES.items()}
        set_prices(market, prices)
        base = Base(10**15, 10**15, prices["USDC"], 10**6)
        for i, listing in enumerate(market.listings):
            _, asset, _, scale, borrowing, liquidating, credited, _ = asset_info(market, i)
            terms = Collateral(0, prices[listing.symbol], scale, borrowing, liquidating, credited)
            amounts = [0, 1, 999_999, *(rng.randint(1, 10**13) for _ in range(6))]
            signature = "quoteCollateral(address,uint256)(uint256)"
            quotes = chain.call_each(signature, [(market.comet, asset, n) for n in amounts])
            assert quotes == [
                compound_v3_arithmetic.quote_collateral(n, base, terms, comet.STORE_FRONT)
                for n in amounts
            ]
            assert quotes[-1] > 0


# --- prices that are none -----------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize(("symbol", "price"), [("WETH", 0), ("wstETH", -(2**255)), ("USDC", -1)])
def test_a_failing_feed_leaves_the_verdicts_of_the_stand_in(
    market: CometMarket, lake: Lakes, symbol: str, price: int
) -> None:
    """It asks feeds in the order of its assets, and stops once the debt is covered."""
    made = comet.populate(market, PRICES, 120, 8)
    watched = lake(market)
    watched.collect()
    set_prices(market, {"WBTC": 70_000 * USD, symbol: price})
    snapshot = watched.collect()
    assert snapshot.accounts_read == 0
    rows = holds(watched, snapshot)  # None exactly where isLiquidatable reverts
    token = market.tokens[symbol]
    legs = watched.legs()
    users = {account for account, asset, _ in legs if asset == token}
    failed = {a for a, row in rows.items() if row.status == "n/a (oracle reverted)"}
    assert failed == users
    assert 10 < len(failed) == snapshot.accounts_failed < len(made)
    unsure = {a for a, row in rows.items() if row.liquidatable is None}
    assert unsure <= failed
    if symbol == "USDC":
        assert unsure == failed
    else:
        # Without a debt nobody is liquidated, and some are covered by what comes first.
        base = market.tokens["USDC"]
        assert {a for a in failed if (a, base, "debt") not in legs} <= failed - unsure
        assert unsure
        covered = {a for a in failed - unsure if (a, base, "debt") in legs}
        assert bool(covered) == (symbol == "wstETH")
    assert watched.verify()[0].mismatched == 0
    assert watched.voice.notes[-1].startswith(f"local: the oracle gives no price for {symbol}")
    set_prices(market, {symbol: PRICES[symbol]})
    assert watched.collect().accounts_failed == 0


# --- refused, in one line -----------------------------------------------------------------------

NINES = "606360005260206000f3"  # returns 99 to every call


@pytest.mark.full
@pytest.mark.parametrize("what", ["a token", "an account", "nobody", "99 to everything"])
def test_a_contract_that_is_no_comet_is_refused_in_one_line(
    market: CometMarket, lake: Lakes, what: str
) -> None:
    odd = "0x" + "99" * 20
    market.chain.set_code(odd, NINES)
    pool = {
        "a token": market.tokens["USDC"],
        "an account": DEPLOYER,
        "nobody": "0x" + "12" * 20,
        "99 to everything": odd,
    }[what]
    watched = lake(replace(market, comet=pool))
    assert refused_everywhere(watched).startswith(
        f"local: the contract {pool} on chain local is not a Comet"
    )


def test_a_market_of_more_assets_than_have_a_flag_is_refused(chain: Chain, lake: Lakes) -> None:
    names = [f"A{i:02}" for i in range(25)]
    aave = shelf(chain, [(symbol, 18, USD) for symbol in ["USDC", *names]])
    wide = comet.deploy(aave, listings=[Listing(s, 80, 85, 93) for s in names])
    with pytest.raises(ConfigError, match="is not a Comet"):
        lake(wide).collect()
    full = comet.deploy(aave, listings=[Listing(s, 80, 85, 93) for s in names[:24]])
    assert lake(full).collect().accounts == 0


@pytest.mark.parametrize("source", ["aave-v3", "aave-v2", "spark"])
def test_a_stand_in_is_refused_by_the_sources_of_aave(
    market: CometMarket, lake: Lakes, source: str
) -> None:
    watched = lake(market, protocol=source)
    job = Job(find(source), target="local")
    (outcome,) = asyncio.run(runner.collect(watched.store, watched.settings, [job], watched.voice))
    assert isinstance(outcome.failure, ConfigError)
    assert " is not a pool of " in str(outcome.failure)
    assert watched.store.rows(Load) == []


# --- verify -------------------------------------------------------------------------------------


def more_debt(row: Row) -> Row:
    wrong = isinstance(row, Leg) and row.side == "debt"
    return msgspec.structs.replace(row, raw=row.raw + 1) if wrong else row


def no_verdict(row: Row) -> Row:
    wrong = isinstance(row, Account)
    return msgspec.structs.replace(row, liquidatable=None, status="n/a (guess)") if wrong else row


@pytest.mark.full
@pytest.mark.parametrize(
    ("change", "figure", "ours"),
    [
        (more_debt, "debt", None),
        (other_verdict, "liquidatable", "1"),
        (no_verdict, "liquidatable", "n/a (guess)"),
    ],
)
def test_verify_finds_a_tampered_figure_of_a_stand_in(
    market: CometMarket,
    lake: Lakes,
    change: Callable[[Row], Row],
    figure: str,
    ours: str | None,
) -> None:
    comet.populate(market, PRICES, 25, 6)
    watched = lake(market)
    watched.collect()
    assert watched.verify()[0].mismatched == 0
    victim = next(row for row in watched.accounts().values() if row.status == "ok")
    owed = watched.legs()[victim.account, market.tokens["USDC"], "debt"].raw
    name = tampered(watched, victim.account, change)
    result, mismatches = watched.verify()
    assert (result.snapshot, result.mismatched) == (name, 1)
    (mismatch,) = [m for m in mismatches if isinstance(m, Mismatch)]
    assert (mismatch.account, mismatch.figure, mismatch.ours) == (
        victim.account,
        figure,
        ours or str(owed + 1),
    )
    done = watched.cli("verify")
    assert done.returncode == Exit.CHECK_FAILED
    assert f"local {victim.account} {figure}: ours {mismatch.ours}" in done.stderr


@pytest.mark.full
def test_web3_is_not_offered_for_a_stand_in(market: CometMarket, lake: Lakes) -> None:
    borrow(market, USER, "WETH", 10**18, 10**8)
    watched = lake(market)
    watched.collect()
    with pytest.raises(UsageError, match="--with-web3 compares Aave v2"):
        watched.verify(independent=True)


@pytest.mark.full
def test_a_scope_of_a_stand_in_that_does_not_exist_is_refused(
    market: CometMarket, lake: Lakes
) -> None:
    with pytest.raises(ChainwatchError, match="borrowers or all, got 'some'"):
        lake(market, scope="some").collect()
