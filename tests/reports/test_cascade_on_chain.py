"""A predicted cascade against real bytecode: the feed follows a book that liquidations eat.

Step by step the outside price falls. A liquidator takes what the pool lets him, sells all of it
into a scripted book, and the book's price is what the oracle answers next.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from chainwatch.demo import plans
from chainwatch.demo.aave import AaveMarket
from chainwatch.demo.chain import Tx
from tests.builders import FIRST_BLOCK_TIME, WAD, Watched, ask, depth

SPOT = 3_000.0
UNIT = 10**18
DOLLAR = 10**6
LIQUIDATOR = plans.address(99, 10_000)
LENDER = plans.address(99, 10_001)
# Trigger price of ETH, and ETH held: two steps that stand alone, then five that pull each other.
WALL = [
    (2_940.0, 20.0),
    (2_915.0, 30.0),
    (2_895.0, 300.0),
    (2_890.0, 260.0),
    (2_884.0, 240.0),
    (2_878.0, 300.0),
    (2_872.0, 280.0),
    (2_780.0, 50.0),
]
BOOK = [(0.001, 40.0), (0.005, 220.0), (0.01, 420.0), (0.02, 800.0), (0.05, 1_900.0)]


class ScriptedBook:
    """Bids around the outside price; what was sold into them stays sold."""

    def __init__(self) -> None:
        self.sold = 0.0

    def price(self, outside: float) -> float:
        points = [(0.0, 0.0), *((units, share) for share, units in BOOK)]
        for (u0, d0), (u1, d1) in pairwise(points):
            if self.sold <= u1:
                return outside * (1 - d0 - (self.sold - u0) * (d1 - d0) / (u1 - u0))
        raise AssertionError("the book is eaten up")


class Oracle:
    """A feed that is written when the traded price is `deviation` away from its answer."""

    def __init__(self, market: AaveMarket, deviation: float) -> None:
        self.market = market
        self.deviation = deviation
        self.answer = SPOT

    def follow(self, price: float) -> None:
        if abs(price / self.answer - 1) >= max(self.deviation, 1e-9):
            self.answer = price
            self.market.set_price("WETH", round(price * 10**8))


@pytest.fixture
def levered(aave_market: AaveMarket) -> tuple[AaveMarket, list[str]]:
    """One account per step of the wall: ETH held, dollars owed."""
    market = aave_market
    market.set_limits("WETH", 8_200, 8_300, 10_500)
    market.set_price("WETH", round(SPOT * 10**8))
    made = [plans.address(99, i) for i in range(len(WALL))]
    plenty = 10**8 * DOLLAR
    steps: list[Tx] = [
        market.mint("USDC", LENDER, plenty),
        market.approve(LENDER, "USDC"),
        market.supply(LENDER, "USDC", plenty),
        market.mint("USDC", LIQUIDATOR, plenty),
        market.approve(LIQUIDATOR, "USDC"),
    ]
    for account, (price, held) in zip(made, WALL, strict=True):
        steps += [
            market.mint("WETH", account, round(held * UNIT)),
            market.approve(account, "WETH"),
            market.supply(account, "WETH", round(held * UNIT)),
            market.borrow(account, "USDC", round(held * price * 0.83 * DOLLAR)),
        ]
    market.chain.send_all(steps)
    return market, made


def held(market: AaveMarket, account: str) -> int:
    result: int = market.chain.call(
        market.listed["WETH"].a_token, "balanceOf(address)(uint256)", account
    )
    return result


@pytest.mark.full
@pytest.mark.parametrize("deviation", [0.0, 0.005])
def test_a_fall_lands_where_it_was_predicted_step_by_step(
    levered: tuple[AaveMarket, list[str]], tmp_path: Path, deviation: float
) -> None:
    market, made = levered
    watched = Watched(tmp_path, market)
    watched.collect()
    watched.store.append(
        depth(BOOK, factor="ETH", mid_price=SPOT, time=FIRST_BLOCK_TIME), source="depth"
    )
    levels = ask(watched.store, "break_levels", factor="ETH")
    (fed,) = [r for r in levels if r["steps"] > 1 and r["trigger_price"] > 2_800]
    assert fed["accounts"] == 5
    assert fed["loop_gain"] > 1

    book, oracle = ScriptedBook(), Oracle(market, deviation)
    outside, observed = SPOT, []
    # While health factors stay above 0.95 and half of each debt is taken once, steps are exact.
    while outside > 2_862.0:
        outside -= 3.0
        while True:
            oracle.follow(book.price(outside))
            data = market.account_data(made)
            below = [a for a, row in zip(made, data, strict=True) if row[5] < WAD]
            if not below:
                break
            before = held(market, below[0])
            market.chain.send_all([market.liquidate(LIQUIDATOR, "WETH", "USDC", below[0])])
            book.sold += (before - held(market, below[0])) / UNIT
        observed.append((outside, book.price(outside), book.sold))

    # An oracle answers as traded or up to `deviation` above: steps fire in time or that much late.
    values = ",".join(repr(1 - p / SPOT) for p, _, _ in observed)
    late = ",".join(repr(1 - p / (1 - deviation) / SPOT) for p, _, _ in observed if p)
    prompt = ask(watched.store, "landing_prices", factor="ETH", scales="1", drops=values)
    later = ask(watched.store, "landing_prices", factor="ETH", scales="1", drops=late)
    # The answer at which a step is taken lies below its trigger by the outside step at the most,
    # the deviation, and what the sales before moved; the same value is then more ETH.
    more = deviation + 3.0 / SPOT + 0.012
    for (price, landed, sold), first, last in zip(observed, prompt, later, strict=True):
        assert first["outside_price"] == pytest.approx(price)
        assert last["sold_units"] * (1 - 1e-4) <= sold <= first["sold_units"] * (1 + more) + 1e-9
        highest = price * last["landing_price"] / last["outside_price"]
        lowest = first["landing_price"] - price * more * (1 - first["landing_price"] / price)
        assert lowest * (1 - 1e-4) <= landed <= highest * (1 + 1e-4)
    # Where the group fired: at once if the oracle is prompt, else within its deviation.
    jumps = [
        (price, after - before)
        for (_, _, before), (price, _, after) in pairwise(observed)
        if after - before > 100
    ]
    assert len(jumps) == 1 or deviation
    assert jumps[0][0] <= fed["break_price"]
    assert jumps[-1][0] >= fed["break_price"] * (1 - deviation) - 3.0
    assert sum(units for _, units in jumps) == pytest.approx(fed["sold_units"], rel=more)
    assert observed[-1][1] < jumps[-1][0] * 0.985
