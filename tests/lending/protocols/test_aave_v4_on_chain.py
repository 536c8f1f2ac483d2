"""The source of Aave v4 against a stand-in on a real node: every figure equal to it.

The stand-ins for spoke and hub are contracts of this project with Aave v4's ABI, units and
rounding; shares are set rather than moved. They are not what Aave deployed: what is proven here is
that the source reads such contracts right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from chainwatch.demo.aave import MULTICALL
from chainwatch.demo.chain import DEPLOYER, Chain, Tx, decode, encode, own_artifact
from chainwatch.errors import Exit, UsageError
from chainwatch.lending.close_rules import up_to
from chainwatch.tables.base import Row
from chainwatch.tables.lending import Account, ChainLiquidation, Snapshot
from tests.builders import (
    UINT_MAX,
    WAD,
    Watched,
    ask,
    close_rule,
    missing_logs_are_refused,
    more,
    refused_everywhere,
    same_positions,
    tampering_is_found,
    walls_hold,
)

pytestmark = pytest.mark.contracts("stand-in")

RAY = 10**27
USD = 10**8
VALUE = 10**26
RATE = 2 * 10**18  # 6 % a year per second, ray
USER = "0x" + "ab" * 20
OTHER = "0x" + "cd" * 20
THIRD = "0x" + "ef" * 20
# symbol, decimals, price, collateral factor, largest bonus (basis points)
LISTED = (
    ("USDC", 6, USD, 7_800, 10_400),
    ("WETH", 18, 3_000 * USD, 8_000, 10_500),
    ("WBTC", 8, 90_000 * USD, 7_500, 10_600),
    ("DAI", 18, USD, 0, 10_400),
)
DATA = "getUserAccountData(address)(uint256,uint256,uint256,uint256,uint256,uint256,uint256)"
RESERVE = "(address,address,uint16,uint8,uint24,uint8,uint32)"

Lakes = Callable[..., "Lake"]


@dataclass
class SpokeMarket:
    """A spoke with its hub; what users have is set directly."""

    chain: Chain
    spoke: str
    hub: str
    numbers: dict[str, int]
    decimals: dict[str, int]
    tokens: dict[str, str]
    feeds: dict[str, str]

    def key(self, symbol: str) -> str:
        return f"{self.tokens[symbol]}:{self.numbers[symbol]}"

    def supply(self, user: str, symbol: str, shares: int, use: bool = True) -> Tx:
        signature = "supply(uint256,uint120,address,bool)"
        data = encode(signature, self.numbers[symbol], shares, user, use)
        return Tx(DEPLOYER, self.spoke, data)

    def borrow(self, user: str, symbol: str, shares: int, premium: int = 0, offset: int = 0) -> Tx:
        signature = "borrow(uint256,uint120,uint120,int200,address)"
        data = encode(signature, self.numbers[symbol], shares, premium, offset, user)
        return Tx(DEPLOYER, self.spoke, data)

    def configure(self, symbol: str, factor: int, bonus: int) -> None:
        signature = "configure(uint256,(uint16,uint32,uint16))"
        self.chain.send(self.spoke, signature, self.numbers[symbol], (factor, bonus, 1_000))

    def set_prices(self, prices: dict[str, int]) -> None:
        self.chain.send_all(
            [
                Tx(DEPLOYER, self.feeds[symbol], encode("setAnswer(int256)", price))
                for symbol, price in prices.items()
            ]
        )

    def figures(self, accounts: Sequence[str]) -> dict[str, tuple[int, ...] | None]:
        """getUserAccountData of each account at the latest block, None where it reverts."""
        requests = []
        for i, account in enumerate(accounts):
            data = encode("getUserAccountData(address)", account)
            call = {"from": DEPLOYER, "to": self.spoke, "data": data}
            requests.append(
                {"jsonrpc": "2.0", "id": i, "method": "eth_call", "params": [call, "latest"]}
            )
        by_account = {}
        for answer in self.chain.post(requests):
            reverted = "error" in answer
            assert not reverted or answer["error"]["code"] == 3, answer
            words = None if reverted else decode(DATA, answer["result"])
            by_account[accounts[answer["id"]]] = words
        return by_account


def deploy(chain: Chain, listed: Sequence[tuple[str, int, int, int, int]] = LISTED) -> SpokeMarket:
    chain.set_code(MULTICALL, own_artifact("TestMulticall").runtime)
    hub = chain.deploy(own_artifact("MiniHub"))
    terms = (105 * WAD // 100, 90 * WAD // 100, 2_000)
    spoke = chain.deploy(own_artifact("MiniSpoke"), *terms)
    market = SpokeMarket(chain, spoke, hub, {}, {}, {}, {})
    for number, (symbol, decimals, price, factor, bonus) in enumerate(listed):
        token = chain.deploy(own_artifact("TestToken"), symbol, symbol, decimals)
        feed = chain.deploy(own_artifact("TestFeed"), price, 8, f"{symbol} / USD")
        asset_id = 7 + number  # the hub's number is not the spoke's
        chain.send(hub, "list(uint256,uint256,uint256)", asset_id, RATE, RAY * 101 // 100)
        chain.send(
            spoke,
            f"list({RESERVE},address,(uint16,uint32,uint16))",
            (token, hub, asset_id, decimals, 0, 4, 1),
            feed,
            (factor, bonus, 1_000),
        )
        chain.send(hub, "addSpoke(uint256,address)", asset_id, spoke)
        market.numbers[symbol] = number
        market.decimals[symbol] = decimals
        market.tokens[symbol] = token
        market.feeds[symbol] = feed
    return market


class Lake(Watched):
    """A lake beside a stand-in."""

    def __init__(self, home: Path, market: SpokeMarket, **entry: Any) -> None:
        named: Any = SimpleNamespace(chain=market.chain, pool=market.spoke)
        super().__init__(home, named, **({"protocol": "aave-v4"} | entry))
        self.spoke = market


@pytest.fixture
def market(chain: Chain) -> SpokeMarket:
    return deploy(chain)


@pytest.fixture
def lake(tmp_path: Path) -> Lakes:
    """Makes a lake beside a stand-in, each in a folder of its own."""
    made: list[Lake] = []

    def make(market: SpokeMarket, **entry: Any) -> Lake:
        made.append(Lake(tmp_path / f"home{len(made)}", market, **entry))
        return made[-1]

    return make


def holds(lake: Lake, snapshot: Snapshot) -> dict[str, Account]:
    """The accounts of a snapshot of the newest block, after all of them equal the stand-in."""
    assert snapshot.block_number == lake.chain.block_number()
    rows, legs = lake.accounts(snapshot), lake.legs(snapshot)
    assert len(rows) == snapshot.accounts
    for account, words in lake.spoke.figures(sorted(rows)).items():
        row = rows[account]
        if words is None:
            assert row.status == "n/a (oracle reverted)"
            assert (row.hf_wad, row.debt_base, row.liquidatable) == (None, None, None)
            continue
        _, _, hf, collateral, debt_ray, active, borrowed = words
        assert row.collateral_base == collateral, account
        assert (UINT_MAX if row.hf_wad is None else row.hf_wad) == hf, account
        assert row.debt_base == -(-debt_ray // RAY), account
        assert row.liquidatable == (hf < WAD)
        sides = [side for a, _, side in legs if a == account]
        assert (sides.count("collateral"), sides.count("debt")) == (active, borrowed)
    return rows


def populate(market: SpokeMarket, n: int, seed: int) -> list[str]:
    """Give n accounts supplies, some not used, and debts with and without a premium."""
    rng = Random(seed)
    prices = {symbol: price for symbol, _, price, _, _ in LISTED}
    accounts = [f"0x{seed:08x}{i:032x}" for i in range(n)]
    steps = []
    for i, account in enumerate(accounts):
        worth = rng.lognormvariate(9, 1.5) if i % 17 != 5 else rng.uniform(0.01, 1)
        for symbol in rng.sample(["USDC", "WETH", "WBTC", "DAI"], rng.choice((1, 2, 3))):
            shares = int(worth * USD) * 10 ** market.decimals[symbol] // prices[symbol]
            steps.append(market.supply(account, symbol, shares, rng.random() < 0.9))
        if i % 11 != 3:
            for symbol in rng.sample(["USDC", "DAI", "WETH"], rng.choice((1, 1, 2))):
                part = worth * rng.uniform(0.2, 0.9)
                shares = int(part * USD) * 10 ** market.decimals[symbol] // prices[symbol]
                premium = shares // 10 if i % 3 else 0
                offset = (
                    premium * RAY - rng.randint(0, RAY * 1_000) if i % 2 and premium else -i * RAY
                )
                steps.append(market.borrow(account, symbol, shares, premium, offset))
    market.chain.send_all(steps)
    return accounts


def position(market: SpokeMarket, user: str, held: int, debt: int) -> None:
    """WETH shares as collateral, USDC shares as debt."""
    steps = [market.supply(user, "WETH", held), *([market.borrow(user, "USDC", debt)] * (debt > 0))]
    market.chain.send_all(steps)


# --- equal to the stand-in ----------------------------------------------------------------------


def test_accounts_on_a_stand_in_equal_it_calm_fallen_and_a_year_later(
    market: SpokeMarket, lake: Lakes
) -> None:
    chain, watched = market.chain, lake(market)
    made = populate(market, 150, 2026)
    snapshot = watched.collect()
    assert (snapshot.profile, close_rule(snapshot), snapshot.base_decimals) == (
        "aave-v4",
        up_to(1.05),
        26,
    )
    rows = holds(watched, snapshot)
    assert set(rows) == set(made)
    assert sum(row.status == "ok" for row in rows.values()) >= 120
    assert sum(row.status == "no debt" for row in rows.values()) >= 8
    offsets = [leg.premium_offset for leg in watched.legs().values() if leg.side == "debt"]
    assert any(o and o < 0 for o in offsets), "a premium offset may be negative"
    before = sum(row.liquidatable is True for row in rows.values())
    market.set_prices({"WETH": 2_000 * USD, "WBTC": 50_000 * USD})
    snapshot = watched.collect()
    assert snapshot.accounts_read == 0
    rows = holds(watched, snapshot)
    assert sum(row.liquidatable is True for row in rows.values()) > before
    chain.increase_time(365 * 86_400)
    snapshot = watched.collect()
    assert snapshot.accounts_read == 0
    aged = holds(watched, snapshot)
    assert sum((aged[a].debt_base or 0) > (rows[a].debt_base or 0) for a in made) >= 120
    assert walls_hold(watched) > 100
    result, mismatches = watched.verify()
    assert (result.checked, result.mismatched, mismatches) == (150, 0, [])
    assert result.method == "getUserAccountData"
    for name in ("account_counts", "account_totals", "scan_gaps", "unknown_assets"):
        assert ask(watched.store, name) == []


@pytest.mark.full
@pytest.mark.parametrize("seed", [1, 2])
def test_an_incremental_snapshot_equals_a_full_one(
    market: SpokeMarket, lake: Lakes, seed: int
) -> None:
    """Row for row."""
    chain, rng, made = market.chain, Random(seed), populate(market, 25, seed)
    grown, fresh = lake(market), lake(market)
    grown.collect()
    for _ in range(4):
        for account in rng.sample(made, 4):
            symbol = rng.choice(["USDC", "WETH", "DAI"])
            unit = 10 ** market.decimals[symbol]
            steps = [
                market.supply(account, symbol, rng.choice([0, unit]), rng.random() < 0.5),
                market.borrow(account, symbol, rng.choice([0, 1, unit // 2])),
                Tx(DEPLOYER, market.spoke, encode("refresh(address)", account)),
            ]
            chain.send_all([rng.choice(steps)])
        market.configure("WETH", rng.randint(6_000, 8_500), 10_500)
        market.set_prices({"WETH": rng.randint(1_500, 4_000) * USD})
        chain.send(
            market.hub, "setAssetsPerShare(uint256,uint256)", 8, RAY * rng.randint(101, 120) // 100
        )
        snapshot = grown.collect()
        assert 1 <= snapshot.accounts_read <= 4
        assert fresh.collect(full="yes").based_on is None
        same_positions(grown, fresh)
        holds(grown, snapshot)


def test_an_account_keeps_its_terms_until_they_are_refreshed(
    market: SpokeMarket, lake: Lakes
) -> None:
    """An account keeps the terms it has on record until they are refreshed."""
    watched = lake(market)
    position(market, USER, WAD, 2_300 * 10**6)
    position(market, OTHER, WAD, 2_300 * 10**6)
    market.configure("WETH", 6_000, 10_500)
    assert not any(row.liquidatable for row in holds(watched, watched.collect()).values())
    market.chain.send(market.spoke, "refresh(address)", USER)
    snapshot = watched.collect()
    assert snapshot.accounts_read == 1
    rows = holds(watched, snapshot)
    assert (rows[USER].liquidatable, rows[OTHER].liquidatable) == (True, False)
    legs = watched.legs()
    weth = market.key("WETH")
    assert legs[USER, weth, "collateral"].lt_bps == 6_000
    assert legs[OTHER, weth, "collateral"].lt_bps == 8_000


# --- accounts at the edges ----------------------------------------------------------------------


def test_zero_dust_debtless_and_unused_positions_are_distinct(
    market: SpokeMarket, lake: Lakes
) -> None:
    chain, watched = market.chain, lake(market)
    position(market, USER, WAD, 0)
    position(market, OTHER, 10**12, 1)
    # Supply that is not used, one share, and an asset whose factor is 0.
    chain.send_all(
        [
            market.supply(THIRD, "WETH", WAD, False),
            market.supply(THIRD, "WBTC", 1),
            market.supply(THIRD, "DAI", WAD),
            market.supply(THIRD, "USDC", 0),
        ]
    )
    rows, legs = holds(watched, watched.collect()), watched.legs()
    assert (rows[USER].status, rows[USER].hf) == ("no debt", None)
    assert rows[USER].collateral_usd == pytest.approx(3_030)
    assert (rows[OTHER].status, rows[OTHER].legs) == ("ok", 2)
    assert {(asset, side) for a, asset, side in legs if a == THIRD} == {
        (market.key("WBTC"), "collateral"),
        (market.key("DAI"), "idle"),
        (market.key("USDC"), "idle"),
    }
    scoped = lake(market, scope="borrowers")
    assert set(scoped.accounts(scoped.collect())) == {OTHER}


@pytest.mark.full
def test_one_unit_below_the_trigger_price_is_liquidatable(market: SpokeMarket, lake: Lakes) -> None:
    """A price may equal the trigger price; one unit less makes the account liquidatable."""
    position(market, USER, WAD, 2_000 * 10**6)
    market.chain.increase_time(86_400)
    low, high = 2_000 * USD, 3_000 * USD
    while high - low > 1:  # the contract's own verdict, asked between two prices
        midpoint = (low + high) // 2
        fork = market.chain.snapshot()
        market.set_prices({"WETH": midpoint})
        below = market.figures([USER])[USER][2] < WAD
        market.chain.revert(fork)
        low, high = (midpoint, high) if below else (low, midpoint)
    for price, verdict in ((high + 1, False), (high, False), (low, True)):
        fork = market.chain.snapshot()
        market.set_prices({"WETH": price})
        watched = lake(market)
        row = holds(watched, watched.collect())[USER]
        assert (row.liquidatable, row.hf_wad < WAD) == (verdict, verdict)
        market.chain.revert(fork)


@pytest.mark.full
def test_an_account_with_more_than_twenty_reserves_is_counted_whole(
    chain: Chain, lake: Lakes
) -> None:
    rng = Random(24)
    listed = [
        (f"A{i:02}", rng.choice([6, 8, 18]), rng.randint(1, 5_000) * USD, 5_000 + 100 * i, 10_500)
        for i in range(22)
    ]
    market = deploy(chain, [*listed, ("USDC", 6, USD, 7_800, 10_400)])
    chain.send_all(
        [
            *(market.supply(USER, s, 1_000 * USD * 10**d // p) for s, d, p, _, _ in listed),
            market.borrow(USER, "USDC", 12_000 * 10**6),
            market.borrow(USER, "A03", 1),
        ]
    )
    watched = lake(market)
    row = holds(watched, watched.collect())[USER]
    assert (row.legs, row.liquidatable) == (24, False)
    market.set_prices({symbol: price // 20 for symbol, _, price, _, _ in listed[5:]})
    assert holds(watched, watched.collect())[USER].liquidatable is True
    assert watched.verify()[0].mismatched == 0


def test_without_a_price_exactly_its_users_have_no_verdict(
    market: SpokeMarket, lake: Lakes
) -> None:
    """An asset without a price leaves exactly its users without a verdict."""
    populate(market, 60, 8)
    watched = lake(market)
    watched.collect()
    market.set_prices({"WBTC": 0})
    snapshot = watched.collect()
    rows = holds(watched, snapshot)
    users = {a for a, asset, _ in watched.legs() if asset == market.key("WBTC")}
    failed = {a for a, row in rows.items() if row.status.startswith("n/a")}
    assert failed == users
    assert 5 < len(failed) == snapshot.accounts_failed < len(rows)
    assert watched.verify()[0].mismatched == 0


# --- triggers, walls, liquidations --------------------------------------------------------------


def test_an_account_is_liquidatable_at_its_trigger_not_before(
    market: SpokeMarket, lake: Lakes
) -> None:
    """At its trigger price an account is liquidatable, and just before it is not."""
    populate(market, 80, 11)
    watched = lake(market)
    watched.collect()
    rows = ask(watched.store, "triggers", factor="WETH")
    reach = [r for r in rows if r["direction"] in ("down", "up") and 0.3 < r["x"] < 3]
    reach = [r for r in reach if r["debt_usd"] > 100]
    assert len(reach) >= 5
    for row in reach[:5]:
        for share, verdict in (
            (1 + 1e-5, row["direction"] == "up"),
            (1 - 1e-5, row["direction"] == "down"),
        ):
            market.set_prices({"WETH": int(3_000 * USD * row["x"] * share)})
            assert (market.figures([row["account"]])[row["account"]][2] < WAD) == verdict, row


@pytest.mark.full
def test_a_wall_counts_what_brings_an_account_to_its_target(
    market: SpokeMarket, lake: Lakes
) -> None:
    position(market, USER, 100 * WAD, 200_000 * 10**6)
    position(market, OTHER, WAD, 2_000 * 10**6)
    watched = lake(market)
    watched.collect()
    rows = ask(watched.store, "walls", factor="WETH", range=0.3, step_pct=0.3)
    (hit,) = [row for row in rows if row["accounts"]]
    assert hit["accounts"] == 2
    bonus = 1.01  # a fifth of the largest bonus where the health factor is 1
    to_target = 0.05 * 200_000 / (1.05 - bonus * 0.8)
    # The second account would be left with less than a thousand dollars: all of it goes.
    assert 2_000 - 0.05 * 2_000 / (1.05 - bonus * 0.8) > 1_000
    small = 0.05 * 2_000 / (1.05 - bonus * 0.8)
    assert hit["round_seizable_usd"] == pytest.approx(bonus * (to_target + small), rel=1e-4)
    position(market, OTHER, WAD // 2, 1_000 * 10**6)
    watched.collect()
    rows = ask(watched.store, "walls", factor="WETH", range=0.3, step_pct=0.3)
    (hit,) = [row for row in rows if row["accounts"]]
    assert hit["round_seizable_usd"] == pytest.approx(bonus * (to_target + 1_000), rel=1e-4)


def test_liquidations_have_amounts_and_the_deficit(market: SpokeMarket, lake: Lakes) -> None:
    """The rows have what was repaid and seized, and the deficit as an amount."""
    chain, watched = market.chain, lake(market)
    position(market, USER, WAD, 2_000 * 10**6)
    market.set_prices({"WETH": 2_000 * USD})
    amounts = [500 * 10**6, 499 * 10**6, WAD // 4, WAD // 4]
    signature = "liquidationCall(uint256,uint256,address,uint120[4],bool)"
    weth, usdc = market.numbers["WETH"], market.numbers["USDC"]
    chain.send(market.spoke, signature, weth, usdc, USER, amounts, True)
    done = watched.cli("collect", "aave-v4-liquidations", "--market", "local")
    assert done.returncode == Exit.OK, done.stderr
    call, lost = sorted(watched.store.rows(ChainLiquidation), key=lambda r: r.log_index)
    assert (call.kind, call.account, call.liquidator) == (
        "liquidation",
        USER,
        DEPLOYER,
    )
    assert (call.debt_symbol, call.debt_repaid_raw, call.debt_repaid_usd) == (
        "USDC",
        amounts[0],
        500,
    )
    assert (call.coll_symbol, call.coll_seized_raw, call.coll_seized_usd) == (
        "WETH",
        amounts[2],
        500,
    )
    assert (lost.kind, lost.account, lost.coll_seized_raw) == ("deficit", USER, None)
    index = chain.call(market.hub, "getAssetDrawnIndex(uint256)(uint256)", 7)
    assert lost.debt_repaid_raw == -(-1_501 * 10**6 * index // RAY)
    assert lost.debt_repaid_usd == pytest.approx(1_501, rel=1e-4)
    assert ask(watched.store, "liquidation_bonus") == []


@pytest.mark.full
def test_debt_without_logs_is_no_empty_market(market: SpokeMarket, lake: Lakes) -> None:
    debt = [market.supply(USER, "WETH", WAD), market.borrow(USER, "USDC", 10**9)]
    missing_logs_are_refused(
        lambda **entry: lake(market, scope="borrowers", **entry),
        lambda: market.chain.send_all(debt),
    )


# --- refused, and verified ----------------------------------------------------------------------


def test_a_spoke_that_no_market_lists_is_named_with_its_debt(
    market: SpokeMarket, lake: Lakes
) -> None:
    """A hub lends to spokes that no address book has."""
    chain, asset_id = market.chain, 7 + market.numbers["USDC"]
    other = chain.deploy(own_artifact("MiniSpoke"), 105 * WAD // 100, 90 * WAD // 100, 2_000)
    terms = (market.tokens["USDC"], market.hub, asset_id, 6, 0, 4, 1)
    listing = f"list({RESERVE},address,(uint16,uint32,uint16))"
    chain.send(other, listing, terms, market.feeds["USDC"], (7_800, 10_400, 1_000))
    chain.send(market.hub, "addSpoke(uint256,address)", asset_id, other)
    position(market, USER, WAD, 1_000 * 10**6)
    watched = lake(market)
    watched.collect()
    assert not [note for note in watched.voice.notes if "markets.toml" in note]
    drawn = encode("borrow(uint256,uint120,uint120,int200,address)", 0, 5_000 * 10**6, 0, 0, USER)
    chain.send_all([Tx(DEPLOYER, other, drawn)])
    watched.collect()
    (note,) = [note for note in watched.voice.notes if "markets.toml" in note]
    assert note.startswith(f"local: {other.lower()} owes 5,0")
    assert note.endswith("USD to the same hub and is no market of yours: add it to markets.toml")
    table = watched.home / "markets.toml"
    entry = table.read_text().replace("[markets.local]", "[markets.other]")
    table.write_text(table.read_text() + entry.replace(market.spoke, other))
    watched.voice.notes.clear()
    chain.mine()
    watched.collect()
    assert not [note for note in watched.voice.notes if "markets.toml" in note]


@pytest.mark.full
@pytest.mark.parametrize("what", ["a token", "the hub", "nobody", "99 to everything"])
def test_a_contract_that_is_no_spoke_is_refused_in_one_line(
    market: SpokeMarket, lake: Lakes, what: str
) -> None:
    odd = "0x" + "99" * 20
    market.chain.set_code(odd, "606360005260206000f3")
    contracts = {
        "a token": market.tokens["USDC"],
        "the hub": market.hub,
        "nobody": "0x" + "12" * 20,
    }
    pool = contracts.get(what, odd)
    watched = lake(market, pool=pool)
    assert refused_everywhere(watched).startswith(
        f"local: the contract {pool} on chain local is not a spoke of Aave v4"
    )


def other_hf(row: Row) -> Row:
    wrong = isinstance(row, Account) and row.hf_wad is not None
    return msgspec.structs.replace(row, hf_wad=row.hf_wad + 1) if wrong else row


@pytest.mark.full
@pytest.mark.parametrize(
    ("change", "figures"),
    [
        (lambda row: more(row, "debt", WAD // 10), {"debt"}),
        (lambda row: more(row, "collateral", WAD // 10), {"collateral"}),
        (other_hf, {"health factor"}),
    ],
)
def test_verify_finds_a_tampered_figure_of_a_stand_in(
    market: SpokeMarket, lake: Lakes, change: Callable[[Row], Row], figures: set[str]
) -> None:
    position(market, USER, WAD, 10**9)
    position(market, OTHER, WAD, 10**9)
    watched = lake(market)
    watched.collect()
    tampering_is_found(watched, USER, change, figures)
    with pytest.raises(UsageError, match="--with-web3 compares Aave v2"):
        watched.verify(independent=True)
