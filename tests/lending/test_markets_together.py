"""Five markets of four protocols on one node: read in one run, verified each in its own way, and
one wall over all of them.

The two of Compound III are stand-ins, contracts of this project; the others are real bytecode.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chainwatch.collect import runner
from chainwatch.collect.feed import Job
from chainwatch.collect.registry import find
from chainwatch.demo import aave, accounts, comet
from chainwatch.demo.aave import AaveMarket
from chainwatch.demo.chain import Chain, own_artifact
from chainwatch.demo.comet import CometMarket, Listing
from chainwatch.demo.node import Toolchain
from chainwatch.errors import Exit
from chainwatch.tables.lending import Verification
from tests.builders import Watched, ask
from tests.evm import aave_v2_market
from tests.evm.aave_v2_market import AaveV2Market

pytestmark = pytest.mark.contracts("published")

USD = 10**8
SOURCES = {
    "core": "aave-v3",
    "spark": "spark",
    "old": "aave-v2",
    "usdc": "compound-v3",
    "weth": "compound-v3",
}
METHODS = {"compound-v3": "borrowBalanceOf, isLiquidatable"}
ADDED = (
    "accounts",
    "collateral_at_risk_usd",
    "round_seizable_usd",
    "seize_to_heal_usd",
    "units",
    "cum_accounts",
    "cum_round_seizable_usd",
)


@dataclass
class Street:
    """The markets with their accounts, and a lake that knows all of them."""

    core: AaveMarket
    spark: AaveMarket
    old: AaveV2Market
    usdc: CometMarket
    weth: CometMarket
    made: Mapping[str, list[str]]
    lake: Watched

    def jobs(self) -> list[Job]:
        options = {"accounts": "all"}
        return [Job(find(s), target=market, options=options) for market, s in SOURCES.items()]

    def fall(self, share: float) -> None:
        """ETH and BTC lose value in all markets, and staked ETH some more in those that have it."""
        for market in (self.core, self.spark, self.old):
            accounts.crash(market, share)
        self.core.set_ratio("wstETH", 12 * 10**17 * 93 // 100)
        ratio = self.weth.chain.call(
            self.weth.comet,
            "getAssetInfo(uint8)((uint8,address,address,uint64,uint64,uint64,uint64,uint128))",
            0,
        )[2]
        self.weth.chain.send(ratio, "setAnswer(int256)", 12 * USD * 93 // 1000)

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        done = self.lake.cli("--quiet", *arguments, "--jsonl")
        assert done.returncode == Exit.OK, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="session")
def aave_v2_artifacts() -> Path:
    """The compiled contracts of Aave v2, installed on first use."""
    return aave_v2_market.artifacts()


@pytest.fixture
def street(
    chain: Chain,
    aave_market: AaveMarket,
    toolchain: Toolchain,
    aave_v2_artifacts: Path,
    tmp_path: Path,
) -> Street:
    spark = aave.deploy(chain, toolchain.artifacts)
    old = aave_v2_market.deploy(chain, aave_v2_artifacts)
    usdc = comet.deploy(aave_market)
    constant = chain.deploy(own_artifact("TestConstantFeed"), 8, USD)
    ratio = chain.deploy(own_artifact("TestFeed"), 12 * USD // 10, 8, "wstETH / ETH")
    weth = comet.deploy(
        aave_market,
        base="WETH",
        listings=[Listing("wstETH", 90, 93, 96)],
        base_feed=constant,
        feeds={"wstETH": ratio},
    )
    made = {
        "core": accounts.populate(aave_market, 60, 1),
        "spark": accounts.populate(spark, 60, 2),
        "old": aave_v2_market.populate(old, 60, 3),
        "usdc": comet.populate(usdc, aave_market.prices(), 60, 4),
        "weth": comet.populate(weth, {"WETH": USD, "wstETH": 12 * USD // 10}, 60, 5),
    }
    lake = Watched(tmp_path / "home", aave_market)
    pools = {
        "core": aave_market.pool,
        "spark": spark.pool,
        "old": old.pool,
        "usdc": usdc.comet,
        "weth": weth.comet,
    }
    feeds = {"old": old.eth_feed, "weth": aave_market.listed["WETH"].feed}
    lines = []
    for name, source in SOURCES.items():
        lines += [
            f"[markets.{name}]",
            f'protocol = "{source}"',
            'chain = "local"',
            "chain_id = 31337",
            f'pool = "{pools[name]}"',
            f'rpc = ["{chain.url}"]',
            "lag = 0",
            *([f'quote_feed = "{feeds[name]}"'] if name in feeds else []),
        ]
    (lake.home / "markets.toml").write_text("\n".join([*lines, ""]))
    return Street(aave_market, spark, old, usdc, weth, made, lake)


@pytest.mark.full
def test_five_markets_of_four_protocols_are_in_one_wall(
    street: Street,
) -> None:
    """Five markets of four protocols are read, verified and reported in one wall."""
    lake = street.lake
    outcomes = asyncio.run(runner.collect(lake.store, lake.settings, street.jobs(), lake.voice))
    runner.raise_failures(outcomes)
    shown = {row["market"]: row for row in ask(lake.store, "snapshots_at")}
    assert {name: row["protocol"] for name, row in shown.items()} == SOURCES
    for name, made in street.made.items():
        assert 55 <= len(made) * 0.95 <= shown[name]["accounts"]
    verified(street)

    street.fall(0.85)
    accounts.liquidate(street.spark, street.made["spark"], Random(1), 5)
    comet.liquidate(street.usdc, street.made["usdc"], 5, 1)
    for source in dict.fromkeys(SOURCES.values()):
        names = [name for name, market_source in SOURCES.items() if market_source == source]
        options = [word for name in names for word in ("--market", name)]
        done = lake.cli("collect", source, *options, "--accounts", "all")
        assert done.returncode == Exit.OK, done.stderr
    again = {row["market"]: row for row in ask(lake.store, "snapshots_at")}
    assert all(again[name]["based_on"] == shown[name]["snapshot"] for name in SOURCES)
    assert again["spark"]["accounts_read"] > 0 == again["core"]["accounts_read"]
    verified(street)
    done = lake.cli("checks")
    assert done.returncode == Exit.OK, done.stdout

    walls_add_up(street, "ETH", at_risk={"core", "spark", "old", "usdc", "weth"}, moved={"core"})
    walls_add_up(street, "BTC", at_risk={"core", "spark", "old", "usdc"}, moved={"usdc"})
    walls_add_up(street, "wstETH/ETH", at_risk={"core", "weth"}, moved={"weth"})
    shown_rows = street.rows("walls", "ETH", "--by-market")
    assert [(row["market"], row["direction"], row["accounts"]) for row in shown_rows] == [
        (row["market"], row["direction"], row["accounts"])
        for row in ask(lake.store, "walls", factor="ETH", split=True)
    ]
    for bucket in ask(lake.store, "health"):
        apart = [
            row["accounts"]
            for name in SOURCES
            for row in ask(lake.store, "health", market=name)
            if row["bucket"] == bucket["bucket"]
        ]
        assert bucket["accounts"] == sum(apart)


def verified(street: Street) -> None:
    """The newest snapshot of each market is equal to the chain, asked in its protocol's own way."""
    done = street.lake.cli("verify")
    assert done.returncode == Exit.OK, done.stderr
    newest = {row["snapshot"]: row for row in ask(street.lake.store, "snapshots_at")}
    verifications = [row for row in street.lake.store.rows(Verification) if row.snapshot in newest]
    assert {row.market: row.method for row in verifications} == {
        name: METHODS.get(source, "getUserAccountData") for name, source in SOURCES.items()
    }
    for row in verifications:
        assert row.mismatched == 0
        assert row.checked == newest[row.snapshot]["accounts"]


def place(row: dict[str, Any]) -> tuple[str, float | None]:
    move = row["move_share"]
    return row["direction"], None if move is None else round(move, 9)


def walls_add_up(street: Street, factor: str, at_risk: set[str], moved: set[str]) -> None:
    """Bin by bin the walls of the markets add up to the wall over all of them."""
    store, values = street.lake.store, {"factor": factor, "range": 0.4, "step_pct": 0.05}
    together, split = ask(store, "walls", **values), ask(store, "walls", split=True, **values)
    assert {row["market"] for row in together} == {"all"}
    assert {row["market"] for row in split} == set(SOURCES)
    # Each market's bins are of its own price: as far from it as those of the sum from theirs.
    places = [place(row) for row in together]
    assert len(places) == len(set(places)) >= 9
    for where, row in zip(places, together, strict=True):
        parts = [r for r in split if place(r) == where]
        assert len(parts) == len(SOURCES)
        for name in ADDED:
            if row[name] is None:
                assert all(part[name] is None for part in parts)
            else:
                total = sum(part[name] for part in parts)
                assert row[name] == pytest.approx(total, rel=1e-9, abs=1e-6), (where, name)
    counts: Counter[str] = Counter()
    further: Counter[str] = Counter()
    for row in split:
        counts[row["market"]] += row["accounts"]
        further[row["market"]] += row["accounts"] if row["direction"] == "down" else 0
    assert at_risk <= {name for name, count in counts.items() if count}, counts
    assert moved <= {name for name, count in further.items() if count}, further
