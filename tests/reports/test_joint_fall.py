"""Several factors that fall at once, where liquidators also buy one to repay debt in it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from random import Random

import pytest

from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.reports.cascade_basis import CascadeTerms
from chainwatch.reports.joint_fall import run_rounds
from tests.amounts import sample_size
from tests.builders import Asset, Book, ask, depth

NOW = datetime.now(UTC).replace(microsecond=0)
SPOTS = {"BTC": 90_000.0, "ETH": 3_000.0}


@pytest.fixture
def store(empty_lake: Store) -> Store:
    return empty_lake


def random_market(store: Store, chance: Random) -> None:
    """Accounts that hold and owe BTC, ETH and dollars, and books of both."""
    made = Book(
        Asset("WBTC", SPOTS["BTC"], lt=0.8, bonus=0.05, betas={"BTC": 1.0}),
        Asset("WETH", SPOTS["ETH"], lt=0.8, bonus=0.05, betas={"ETH": 1.0}),
        Asset("USDC", 1.0, lt=0.75, bonus=0.045, betas={"USDC": 1.0}),
        time=NOW,
    )
    for i in range(12):
        held, owed = chance.sample(["WBTC", "WETH", "USDC"], 2)
        worth = chance.uniform(1e5, 4e6)
        price = {"WBTC": 90_000.0, "WETH": 3_000.0, "USDC": 1.0}
        power = worth * (0.75 if held == "USDC" else 0.8)
        health = chance.uniform(1.0, 1.2)
        made.account(str(i), {held: worth / price[held]}, {owed: power / health / price[owed]})
    made.store(store)
    for factor, units in (("BTC", chance.uniform(5, 60)), ("ETH", chance.uniform(100, 2_000))):
        for side in ("bid", "ask"):
            points = [(0.005, units), (0.01, 3 * units), (0.05, 12 * units)]
            store.append(
                depth(
                    points,
                    factor=factor,
                    mid_price=SPOTS[factor],
                    time=NOW,
                    side=side,
                    volume_24h=chance.choice([None, 100 * units]),
                ),
                source="depth",
            )


def brought_to(
    store: Store, name: str, prices: dict[str, float], outside: float, scale: float
) -> float:
    """Where the sales at these prices bring one of them."""
    (other,) = prices.keys() - {name}
    x = prices[name] / SPOTS[name]
    beta = float(f"{(1 - prices[other] / SPOTS[other]) / (1 - x):.12g}")
    betas = f"{other.lower()}={beta!r}"
    (sale,) = ask(store, "sales_to_price", factor=name, x=x, scale=scale, betas=betas)
    return outside * (1 - float(sale["impact"]))


@pytest.mark.sampled
@pytest.mark.parametrize("seed", range(sample_size(quick=1, full=4, torture=60)))
def test_prices_rest_where_their_sales_bring_them_or_none_does(store: Store, seed: int) -> None:
    """A landing is one at which sales and purchases lead back to it. Where there is none, the price
    that is named goes on falling just above and turns back just below."""
    chance = Random(seed)
    random_market(store, chance)
    drops = {name: chance.uniform(0.02, 0.25) for name in SPOTS}
    outside = {name: price * (1 - drops[name]) for name, price in SPOTS.items()}
    terms = [CascadeTerms(factor=name) for name in SPOTS]
    for scale in (float("inf"), 1.0, 0.1):
        with query.open_catalog(store) as catalog:
            end = run_rounds(catalog, terms, outside, SPOTS, scale)
        if end.state == "ok":
            for name, price in end.prices.items():
                landing = brought_to(store, name, end.prices, outside[name], scale)
                assert landing == pytest.approx(price, rel=1e-6), (scale, name)
        elif "turn the fall back" in end.state:
            torn = re.findall(r"(BTC|ETH) at", end.state)
            assert torn
            for name in torn:
                above, below = (
                    end.prices | {name: end.prices[name] * (1 + shift)} for shift in (1e-4, -1e-4)
                )
                assert brought_to(store, name, above, outside[name], scale) < end.prices[name]
                assert brought_to(store, name, below, outside[name], scale) > end.prices[name]
        else:
            (name,) = re.findall(r"(BTC|ETH) would rise", end.state)
            landing = brought_to(store, name, end.prices, outside[name], scale)
            assert landing >= SPOTS[name]


def test_a_price_that_purchases_turn_back_has_no_landing(store: Store) -> None:
    """More ETH is held than owed, so a fall of ETH triggers; the pair that pays most takes BTC for
    ETH, and what is bought for it lifts the price above the trigger again."""
    made = Book(
        Asset("WBTC", SPOTS["BTC"], lt=0.8, bonus=0.1, betas={"BTC": 1.0}),
        Asset("WETH", SPOTS["ETH"], lt=0.8, bonus=0.05, betas={"ETH": 1.0}),
        Asset("USDC", 1.0, lt=0.75, betas={"USDC": 1.0}),
        time=NOW,
    )
    made.account("a", {"WBTC": 10, "WETH": 1_000}, {"WETH": 600, "USDC": 1_289_000})
    made.store(store)
    for factor, units in (("BTC", 100.0), ("ETH", 500.0)):
        for side in ("bid", "ask"):
            book = depth(
                [(0.05, units)], factor=factor, mid_price=SPOTS[factor], time=NOW, side=side
            )
            store.append(book, source="depth")
    outside = {"BTC": SPOTS["BTC"] * 0.999, "ETH": SPOTS["ETH"] * 0.94}
    terms = [CascadeTerms(factor=name) for name in SPOTS]
    with query.open_catalog(store) as catalog:
        end = run_rounds(catalog, terms, outside, SPOTS, 1.0)
    assert "ETH at 2,856.83: below it purchases turn the fall back, above it goes on" in end.state
    above, below = (end.prices | {"ETH": end.prices["ETH"] * (1 + by)} for by in (1e-4, -1e-4))
    assert brought_to(store, "ETH", above, outside["ETH"], 1.0) == pytest.approx(outside["ETH"])
    assert brought_to(store, "ETH", below, outside["ETH"], 1.0) > end.prices["ETH"]
