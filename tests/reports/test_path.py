"""The path of liquidations equals that of a liquidator who tries every call, world by world."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from chainwatch.lake.store import Store
from chainwatch.lending import close_rules
from chainwatch.lending.close_rules import CloseRule
from tests import liquidator
from tests.amounts import sample_size
from tests.builders import Asset, Book, ask
from tests.liquidator import Terms, Watched

PRICES = {
    "BTC": 100_000.0,
    "ETH": 4_000.0,
    "stETH": 4_400.0,
    "XAU": 4_000.0,
    "USD": 1.0,
    "EUR": 1.25,
}
FACTORS = {"BTC": "BTC", "ETH": "ETH", "stETH": "ETH", "XAU": "XAU", "USD": "USD", "EUR": "EUR"}
RATIO = "stETH/ETH"
RULES: dict[str, tuple[CloseRule, liquidator.Rule, float]] = {
    "half": (close_rules.HALF, liquidator.half, 0.0),
    "reserve-half": (close_rules.RESERVE_HALF, liquidator.half_until_95, 0.95),
    "position-half": (close_rules.POSITION_HALF, liquidator.half_of_position, 0.95),
    "whole": (close_rules.WHOLE, liquidator.all_of_it, 0.0),
    "target": (close_rules.up_to(1.05), liquidator.up_to(1.05), 0.0),
}


@pytest.fixture
def store(empty_lake: Store) -> Store:
    return empty_lake


def close(value: float, rel: float = 1e-9) -> Any:
    return pytest.approx(value, rel=rel, abs=1e-9)


def book(
    rule: CloseRule = close_rules.HALF, market: str = "m", cap_x: float | None = None, **more: Any
) -> Book:
    """A market; above `cap_x` times its factors now the price of stETH does not follow them."""
    return Book(
        *(
            Asset(
                symbol,
                price,
                lt={"BTC": 0.78, "ETH": 0.83, "stETH": 0.79, "XAU": 0.7}.get(symbol, 0.75),
                bonus={"BTC": 0.05, "ETH": 0.05, "stETH": 0.07, "XAU": 0.1}.get(symbol, 0.04),
                betas={FACTORS[symbol]: 1.0} | ({RATIO: 1.0} if symbol == "stETH" else {}),
                factor_price={FACTORS[symbol]: PRICES[FACTORS[symbol]], RATIO: 1.1},
                cap_x=cap_x if symbol == "stETH" else None,
            )
            for symbol, price in PRICES.items()
        ),
        close_rule=rule,
        market=market,
        **more,
    )


def steps(store: Store, **values: object) -> list[dict[str, Any]]:
    rows = ask(store, "path_steps", **({"factor": "BTC"} | values))
    return sorted(rows, key=lambda row: (row["market"], row["account"], row["number"]))


# --- the worked cases ---------------------------------------------------------------------------


def test_half_of_a_debt_is_called_again_as_the_price_falls_on(store: Store) -> None:
    """1 BTC against 75,000: five calls down to half of the price, not one."""
    made = book()
    made.account("a", {"BTC": 1}, {"USD": 75_000}, lt={"BTC": 0.8})
    made.store(store)
    calls = [row for row in steps(store, end=0.5) if row["step"] == "call"]
    assert len(calls) == 5
    assert sum(row["units"] for row in calls) == close(0.934, rel=1e-3)
    # After half of the debt at a health factor of 1 the next trigger is at 1 / (2 - LT (1 + b)).
    for before, after in pairwise(calls):
        assert after["x"] / before["x"] == close(1 / (2 - 0.8 * 1.05))
        assert after["repaid_usd"] == close(before["repaid_usd"] / 2)


def test_one_call_that_heals_is_all_of_it(store: Store) -> None:
    """Of several debts one call may bring the health factor above 1 for good."""
    made = book(close_rules.WHOLE)
    made.account("a", {"XAU": 250}, {"USD": 399_000, "EUR": 240_900})
    made.store(store)
    rows = [row for row in steps(store, end=0.9) if row["step"] == "call"]
    assert [row["repaid_usd"] for row in rows] == [close(399_000)]
    assert rows[0]["direction"] == "now"


def test_the_largest_pair_first_is_another_path(store: Store) -> None:
    made = book(close_rules.HALF)
    made.account("a", {"BTC": 2, "XAU": 20}, {"USD": 160_000, "EUR": 40_000})
    made.store(store)
    first = steps(store)[0]
    largest = steps(store, order="largest")[0]
    assert (first["collateral_asset"], largest["collateral_asset"]) == (
        made.assets["XAU"].address,
        made.assets["BTC"].address,
    )
    assert first["x"] == largest["x"]


def test_debt_that_nobody_takes_is_a_row_of_its_own(store: Store) -> None:
    made = book(close_rules.HALF)
    made.account("a", {"BTC": 1}, {"USD": 75_000})
    made.store(store)
    rows = steps(store, gas_usd=1_000)
    # Half of 75,000 pays 1,875, half of the rest 937.50.
    assert [row["step"] for row in rows] == ["call", "unprofitable"]
    assert rows[1]["left0"] == close(37_500)
    assert (rows[1]["seize_usd"], rows[1]["repaid_usd"], rows[1]["is_account"]) == (0, 0, 0)
    assert steps(store, gas_usd=1_875, min_profit_usd=1)[0]["step"] == "unprofitable"
    assert steps(store, dust_usd=40_000)[0]["step"] == "unprofitable"


def test_a_call_waits_until_all_may_be_repaid(store: Store) -> None:
    made = book(close_rules.RESERVE_HALF)
    made.account("a", {"BTC": 0.001}, {"USD": 75})
    made.store(store)
    rows = steps(store, gas_usd=3)
    assert [row["step"] for row in rows] == ["call"]
    assert (rows[0]["x"], rows[0]["repaid_usd"]) == (close(0.95 * 75 / 78), close(75))


def test_bad_debt_is_what_no_collateral_is_left_for(store: Store) -> None:
    made = book(close_rules.WHOLE)
    made.account("a", {"BTC": 1}, {"USD": 98_000})
    made.store(store)
    call, left = steps(store)
    assert (call["seize_usd"], left["step"]) == (close(100_000), "bad debt")
    assert left["left0"] == close(98_000 - 100_000 / 1.05)


def test_an_absorbed_account_is_one_step(store: Store) -> None:
    made = book(close_rules.ABSORB)
    made.account("a", {"BTC": 1, "ETH": 10}, {"USD": 100_000})
    made.store(store)
    (row,) = steps(store)
    assert (row["step"], row["repaid_usd"], row["units"]) == ("absorb", 0, close(1))
    assert row["seize_usd"] == close(100_000 * row["x"] + 40_000)


def test_what_is_blocked_is_not_called(store: Store) -> None:
    made = Book(
        Asset("BTC", 100_000.0, lt=0.78, betas={"BTC": 1.0}, blocked="paused"),
        Asset("ETH", 4_000.0, lt=0.78, betas={"ETH": 1.0}),
        Asset("USD", 1.0, betas={"USD": 1.0}),
        close_rule=close_rules.WHOLE,
    )
    made.account("a", {"BTC": 1, "ETH": 5}, {"USD": 99_000})
    made.store(store)
    rows = steps(store)
    assert [row["step"] for row in rows] == ["call", "blocked"]
    assert rows[0]["collateral_asset"] == made.assets["ETH"].address
    assert rows[1]["left0"] == close(99_000 - 20_000 / 1.05)


# --- against a liquidator in plain Python -------------------------------------------------------


@dataclass
class World:
    """Accounts of one market under one rule."""

    made: Book
    rule: str
    cap_x: float | None
    accounts: dict[str, Watched]


def random_world(chance: Random, market: str, moves: dict[str, float]) -> World:
    name = chance.choice(list(RULES))
    rule, words, _ = RULES[name]
    truncates = name in ("half", "reserve-half") and chance.random() < 0.5
    cap_x = chance.choice([None, 1.02, 1.3])
    made = book(rule, market, cap_x, truncates_lt=truncates)
    accounts = {}
    for i in range(6):
        held_kinds = chance.sample(
            ["BTC", "ETH", "stETH", "XAU", "USD"], chance.choice([1, 1, 2, 3, 5])
        )
        owed_kinds = chance.sample(["USD", "EUR", "ETH", "BTC"], chance.choice([1, 1, 2, 3]))
        size = 10 ** chance.uniform(1.5, 6)
        held = {kind: size * chance.uniform(0.1, 1) for kind in held_kinds}
        lt = {kind: round(chance.uniform(0.6, 0.93), 4) for kind in held_kinds}
        bonus = {kind: round(chance.uniform(0.02, 0.12), 4) for kind in held_kinds}
        power = sum(usd * lt[kind] for kind, usd in held.items())
        parts = {kind: chance.uniform(0.1, 1) for kind in owed_kinds}
        level = chance.uniform(0.5, 1.1)  # some are liquidatable now
        owed = {kind: power * level * part / sum(parts.values()) for kind, part in parts.items()}
        address = made.account(
            f"{i}",
            {kind: usd / PRICES[kind] for kind, usd in held.items()},
            {kind: usd / PRICES[kind] for kind, usd in owed.items()},
            lt=lt,
            bonus=bonus,
        )
        held, owed = (
            dict(sorted(side.items(), key=lambda item: made.assets[item[0]].address))
            for side in (held, owed)
        )
        accounts[address] = Watched(held, owed, moves, lt, bonus, words, truncates)
    return World(made, name, cap_x, accounts)


WORLDS = sample_size(quick=20, full=200, torture=1_000)
PER_LAKE = 20


@pytest.mark.sampled
@pytest.mark.parametrize("seed", range(WORLDS // PER_LAKE))
def test_paths_equal_a_liquidator_who_tries_every_call(store: Store, seed: int) -> None:
    """All close rules, several debts and collaterals, thresholds of each account's own, both
    directions, several factors, the axis of a ratio, and prices with a cap."""
    chance = Random(seed)
    factor = chance.choice(["BTC", "ETH", RATIO])
    beta = 0.0 if factor == RATIO else chance.choice([0.0, 0.0, 0.7, 1.2])
    other = "ETH" if factor == "BTC" else "BTC"
    moves = {
        symbol: 1.0 if FACTORS[symbol] == factor else beta if FACTORS[symbol] == other else 0.0
        for symbol in PRICES
    }
    if factor == RATIO:
        moves["stETH"] = 1.0
    direction, end = chance.choice([("down", 0.25), ("down", 0.25), ("up", 3.0)])
    terms = Terms(gas=chance.choice([0.5, 5.0, 100.0]), dust=1.0, largest=chance.random() < 0.3)
    worlds = [random_world(chance, f"m{i:02}", moves) for i in range(PER_LAKE)]
    for world in worlds:
        world.made.store(store)
    rows = steps(
        store,
        factor=factor,
        direction=direction,
        end=end,
        betas=f"{other}={beta}" if beta else "",
        gas_usd=terms.gas,
        dust_usd=terms.dust,
        order="largest" if terms.largest else "profit",
    )
    by_account: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        by_account.setdefault((row["market"], row["account"]), []).append(row)
    several = 0
    for world in worlds:
        symbols = {asset.address: symbol for symbol, asset in world.made.assets.items()}
        for address, account in world.accounts.items():
            held = dict(account.held)
            limit = end
            if direction == "up" and world.cap_x and "stETH" in held and moves["stETH"]:
                limit = min(end, 1 + (world.cap_x - 1) / moves["stETH"])
            account.follow(terms, limit, RULES[world.rule][2])
            path = by_account.pop((world.made.market, address), [])
            calls = [row for row in path if row["step"] == "call"]
            where = (world.made.market, address, world.rule)
            ours = [(symbols[r["collateral_asset"]], symbols[r["debt_asset"]]) for r in calls]
            assert ours == [(c.collateral, c.debt) for c in account.calls], where
            for row, call in zip(calls, account.calls, strict=True):
                assert row["x"] == close(call.x, 1e-6), where
                assert row["repaid_usd"] == close(call.repaid, 1e-6), where
                assert row["seize_usd"] == close(call.seized, 1e-6), where
            ends = [row for row in path if row["step"] != "call"]
            assert [row["step"] for row in ends] == ([account.end] if account.end else []), where
            for row in ends:
                assert row["left0"] + row["left1"] * row["x"] == close(account.left, 1e-6), where
            # Never more is taken than was held.
            for kind, usd in held.items():
                seized = sum(
                    c.seized / (1 + moves[c.collateral] * (c.x - 1))
                    for c in account.calls
                    if c.collateral == kind
                )
                assert seized <= usd * (1 + 1e-9)
            several += len(calls) > 1
    assert not by_account
    assert several >= 2
