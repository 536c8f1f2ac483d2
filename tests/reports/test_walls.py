"""Walls: every account in exactly one bin, on a grid one can read, in three named measures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from math import isclose
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from chainwatch.errors import UsageError
from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.lending.close_rules import (
    ABSORB,
    HALF,
    POSITION_HALF,
    RESERVE_HALF,
    WHOLE,
    CloseRule,
    up_to,
)
from chainwatch.reports import run
from tests.amounts import sample_size
from tests.builders import Asset, Book, ask

REL = 1e-9


@pytest.fixture
def store(empty_lake: Store) -> Store:
    return empty_lake


def close(value: float) -> Any:
    return pytest.approx(value, rel=REL, abs=1e-6)


def walls(store: Store, **values: object) -> list[dict[str, Any]]:
    return ask(store, "walls", **({"factor": "BTC"} | values))


def market(name: str = "m", block: int = 100, **book: Any) -> Book:
    """BTC at 90,000, ETH at 3,000, a staking token in front of it, and dollars."""
    return Book(
        Asset("BTC", 90_000.0, lt=0.78, bonus=0.05, betas={"BTC": 1.0}),
        Asset("ETH", 3_000.0, lt=0.83, bonus=0.05, betas={"ETH": 1.0}),
        Asset(
            "wstETH",
            3_600.0,
            lt=0.8,
            bonus=0.06,
            betas={"wstETH/ETH": 1.0},
            kind="ratio",
            factor_price=1.2,
        ),
        Asset("USD", 1.0, lt=0.75, bonus=0.045, betas={"USD": 1.0}),
        market=name,
        block=block,
        **book,
    )


def at(price: float, threshold: float = 0.78) -> float:
    """The debt in dollars with which 1 BTC of collateral triggers at a price of BTC."""
    return price * threshold


# --- rows in, rows out --------------------------------------------------------------------------


def test_a_trigger_at_88000_stands_in_the_row_that_begins_there(store: Store) -> None:
    book = market()
    book.account("at", {"BTC": 1}, {"USD": at(88_000)})
    book.account("above", {"BTC": 1}, {"USD": at(88_400)})
    book.account("below", {"BTC": 1}, {"USD": at(87_999)})
    book.store(store)
    rows = {row["price_from"]: row for row in walls(store)}
    assert [*rows][:4] == [90_000, 89_000, 88_000, 87_000]
    assert rows[88_000]["price_to"] == 89_000
    assert rows[88_000]["accounts"] == 2
    assert rows[88_000]["collateral_at_risk_usd"] == close(88_000 + 88_400)
    assert rows[88_000]["move_share"] == close(88_000 / 90_000 - 1)
    assert rows[87_000]["accounts"] == 1
    assert rows[87_000]["cum_accounts"] == 3
    assert rows[89_000]["accounts"] == 0


@pytest.mark.full
@pytest.mark.parametrize(
    ("spot", "edges"),
    [
        (90_000.0, [89_000, 88_000, 87_000]),
        (88_123.45, [88_000, 87_000, 86_000]),
        (61_000.0, [60_500, 60_000, 59_500]),
        (20_500.0, [20_400, 20_200, 20_000]),
        (3_000.0, [2_975, 2_950, 2_925]),
        (1.0, [0.99, 0.98, 0.97]),
        (0.0123, [0.0122, 0.0121, 0.012]),
    ],
)
def test_without_a_step_the_edges_are_round_numbers_near_one_percent(
    store: Store, spot: float, edges: list[float]
) -> None:
    book = Book(Asset("X", spot, betas={"X": 1.0}), Asset("USD", 1.0))
    book.account("a", {"X": 1}, {"USD": spot / 2})
    book.store(store)
    down = [row["price_from"] for row in walls(store, factor="X") if row["direction"] == "down"]
    assert down[:3] == [pytest.approx(edge, rel=1e-12) for edge in edges]
    up = [
        row["price_to"]
        for row in walls(store, factor="X", direction="up")
        if row["direction"] == "up"
    ]
    assert all(price > spot for price in up)
    width = edges[0] - edges[1]
    assert all(isclose(round(p / width) * width, p, rel_tol=1e-9) for p in [*down, *up] if p)


@pytest.mark.full
@pytest.mark.parametrize("direction", ["down", "up"])
@pytest.mark.parametrize("reach", [0.3, 0.777])
@pytest.mark.parametrize("fine", [{"p_step_abs": 1.0}, {"p_step_pct": 0.0001}])
def test_a_wall_that_no_step_so_fine_can_show_names_one_that_can(
    store: Store, direction: str, reach: float, fine: dict[str, float]
) -> None:
    market().store(store)
    values = {"p_factor": "BTC", "p_direction": direction, "p_range": reach}
    with query.open_catalog(store) as catalog:
        with pytest.raises(UsageError, match="expected at most 999 bins") as refused:
            run.make(catalog, "walls", values | fine)
        named = re.search(r"at least ([0-9.]+), or ([0-9.]+)%", str(refused.value))
        assert named is not None
        for step in ({"p_step_abs": float(named[1])}, {"p_step_pct": float(named[2]) / 100}):
            rows = run.make(catalog, "walls", values | step).result.dicts()
            last = [row for row in rows if row["direction"] == direction][-1]
            far = last["move_share"]
            assert -far >= reach * 0.9999 if direction == "down" else far >= reach * 0.9999


@pytest.mark.parametrize(
    ("step", "edges"),
    [
        ({"step_abs": 500.0}, [89_500, 89_000, 88_500, 88_000]),
        ({"step_abs": 750.0}, [89_250, 88_500, 87_750, 87_000]),
        ({"step_abs": 4_000.0}, [88_000, 84_000, 80_000, 76_000]),
        ({"step_pct": 0.02}, [88_200, 86_400, 84_600, 82_800]),
        ({"step_pct": 0.005}, [89_550, 89_100, 88_650, 88_200]),
    ],
)
def test_a_step_may_be_absolute_or_a_share_of_the_price(
    store: Store, step: dict[str, float], edges: list[float]
) -> None:
    book = market()
    for price in (*edges, 88_700):
        book.account(str(price), {"BTC": 1}, {"USD": at(price)})
    book.store(store)
    down = [row for row in walls(store, **step) if row["direction"] == "down"]
    assert [row["price_from"] for row in down[:4]] == close(edges)
    assert down[0]["price_to"] == 90_000
    for row, above in zip(down[1:], down, strict=False):
        assert row["price_to"] == above["price_from"]
    for row in down[:4]:
        # Each edge belongs to the row that begins with it; 88,700 to whichever holds it.
        here = 1 + (row["price_from"] <= 88_700 < row["price_to"])
        assert row["accounts"] == here, row


def test_an_upward_row_counts_triggers_up_to_its_edge(store: Store) -> None:
    """An upward row ends with its edge and counts the accounts that trigger up to it."""
    book = market()
    for price in (93_000, 92_500, 92_000.5, 91_999):
        book.account(str(price), {"USD": price / 0.75}, {"BTC": 1})
    book.account("down", {"BTC": 1}, {"USD": at(80_000)})
    book.store(store)
    rows = walls(store, direction="up")
    assert {row["direction"] for row in rows} == {"now", "up", "beyond up"}
    up = {row["price_to"]: row for row in rows if row["direction"] == "up"}
    assert [*up][:3] == [91_000, 92_000, 93_000]
    assert up[93_000]["price_from"] == 92_000
    assert (up[92_000]["accounts"], up[93_000]["accounts"]) == (1, 3)
    assert up[93_000]["cum_accounts"] == 4
    # What is seized is dollars: no unit of the factor.
    assert up[93_000]["units"] == 0
    assert up[93_000]["round_seizable_usd"] > 0
    both = walls(store, direction="both")
    assert {row["direction"] for row in both} == {"now", "down", "beyond down", "up", "beyond up"}
    assert sum(row["accounts"] for row in both) == 5


def test_accounts_liquidatable_now_or_beyond_range_are_counted(
    store: Store,
) -> None:
    """Accounts that are liquidatable already, and those beyond the range, are counted."""
    book = market()
    book.account("now", {"BTC": 1}, {"USD": at(95_000)})
    book.account("deep", {"BTC": 1}, {"USD": at(10_000)})
    book.account("near", {"BTC": 1}, {"USD": at(89_000)})
    book.account("never", {"USD": 10_000, "BTC": 1}, {"USD": 10})
    book.store(store)
    rows = walls(store, range=0.1)
    directions = {row["direction"]: row for row in rows if row["direction"] != "down"}
    assert rows[0]["direction"] == "now"
    assert directions["now"]["accounts"] == 1
    assert directions["now"]["price_from"] == directions["now"]["price_to"] == 90_000
    assert directions["now"]["collateral_at_risk_usd"] == close(90_000)
    assert directions["beyond down"]["accounts"] == 1
    assert directions["beyond down"]["price_from"] is None
    assert directions["beyond down"]["price_to"] == 81_000
    assert directions["beyond down"]["collateral_at_risk_usd"] == close(10_000)
    down = [row for row in rows if row["direction"] == "down"]
    assert down[-1]["price_from"] == 81_000
    assert sum(row["accounts"] for row in down) == 1


@pytest.mark.parametrize(
    ("collateral", "debt", "direction"),
    [({"USD": 1e7}, {"BTC": 1e-13}, "up"), ({"BTC": 1e6}, {"USD": 1e-7}, "down")],
)
@pytest.mark.parametrize("step", [None, 1e-5])
def test_a_trigger_at_an_absurd_distance_is_beyond_and_breaks_nothing(
    store: Store,
    collateral: dict[str, float],
    debt: dict[str, float],
    direction: str,
    step: float | None,
) -> None:
    book = market()
    book.account("dust", collateral, debt)
    book.account("a", {"BTC": 1}, {"USD": at(88_000)})
    book.account("b", {"USD": 92_000 / 0.75}, {"BTC": 1})
    book.store(store)
    rows = walls(store, direction=direction, step_abs=step)
    totals = {row["direction"]: row for row in rows if row["direction"].split()[0] != direction}
    assert ("far up" in totals) == (direction == "up")
    if direction == "up":
        assert totals["beyond up"]["price_to"] == 10 * 90_000
        far = totals["far up"]
        assert (far["price_from"], far["price_to"]) == (10 * 90_000, None)
        assert (far["accounts"], far["collateral_at_risk_usd"], far["units"]) == (1, None, None)
        assert totals["beyond up"]["cum_collateral_at_risk_usd"] < 200_000
    assert max(row["cum_accounts"] for row in rows) == (2 if direction == "up" else 1)


@pytest.mark.parametrize("direction", ["down", "up"])
@pytest.mark.parametrize("step", [{"step_abs": 1_000.0}, {"step_pct": 0.01}, {"step_abs": 700.0}])
def test_an_account_at_health_factor_one_is_in_the_first_row(
    store: Store, direction: str, step: dict[str, float]
) -> None:
    """An account at a health factor of exactly one is in the first row."""
    book = market()
    if direction == "down":
        book.account("edge", {"BTC": 1}, {"USD": at(90_000)})
    else:
        book.account("edge", {"USD": 120_000}, {"BTC": 1})
    book.store(store)
    rows = [
        row for row in walls(store, direction=direction, **step) if row["direction"] == direction
    ]
    assert rows[0]["accounts"] == 1
    assert rows[0]["collateral_at_risk_usd"] > 0


def test_healing_starts_at_zero_where_truncation_moves_the_trigger(
    store: Store,
) -> None:
    """The pool's average of these thresholds is up to 1 bp lower than their sum: the trigger comes
    earlier than debt and weighted collateral are equal, and must not count as healing below 0."""
    plain = {"BTC": 1}, {"USD": at(89_500)}
    mixed = {"BTC": 500, "USD": 10_000_000}
    sums = {}
    for with_mixed in (False, True):
        book = market(block=1 + with_mixed, truncates_lt=True)
        book.account("plain", *plain)
        if with_mixed:
            # 7,744.4 bp on average at 88,003, cut to 7,744; uncut it would trigger at 87,997.
            power = (500 * 88_003 + 10_000_000) * 0.7744
            book.account("mixed", mixed, {"USD": power})
        book.store(store)
        rows = {row["price_from"]: row for row in walls(store) if row["direction"] == "down"}
        sums[with_mixed] = rows[88_000]["cum_seize_to_heal_usd"]
        (trigger,) = [t for t in ask(store, "triggers", factor="BTC") if t["debt_usd"] > 1e6] or [
            {}
        ]
    assert trigger["trigger_price"] == close(88_003)
    assert (trigger["d0"] - trigger["a0"]) / (trigger["a1"] - trigger["d1"]) * 90_000 < 88_000
    assert (trigger["a1"] - trigger["d1"]) * trigger["x"] + trigger["a0"] > trigger["d0"]
    assert sums[True] >= sums[False] > 0


def test_a_ratio_wall_counts_units_of_the_token(store: Store) -> None:
    book = market()
    # A loop: wstETH against ETH, liquidatable when the ratio falls from 1.2 to 1.14.
    book.account("loop", {"wstETH": 100}, {"ETH": 100 * 1.14 * 0.95}, lt={"wstETH": 0.95})
    book.store(store)
    rows = walls(store, factor="wstETH/ETH", step_abs=0.01)
    (hit,) = [row for row in rows if row["accounts"]]
    assert (hit["price_from"], hit["price_to"]) == (close(1.14), close(1.15))
    # Half of the debt with its bonus, at the price the token has then.
    seized = 0.5 * 100 * 1.14 * 0.95 * 3_000 * 1.06
    assert hit["round_seizable_usd"] == close(seized)
    assert hit["units"] == close(seized / (1.14 * 3_000))
    assert hit["collateral_at_risk_usd"] == close(100 * 1.14 * 3_000)


def test_a_feed_wall_counts_units_of_the_factor_at_the_trigger(store: Store) -> None:
    book = market()
    book.account("a", {"BTC": 2}, {"USD": 2 * at(88_000)})
    book.store(store)
    rows = walls(store)
    (hit,) = [row for row in rows if row["accounts"]]
    seized = 0.5 * 2 * at(88_000) * 1.05
    assert hit["round_seizable_usd"] == close(seized)
    assert hit["units"] == close(seized / 88_000)
    # The rest at health factor 0.95: all of the debt with its bonus is seized by then.
    later = [row for row in rows if row["round_seizable_usd"] and not row["accounts"]]
    (rest,) = later
    assert rest["price_from"] == 83_000  # 88,000 · 0.95 = 83,600
    assert rest["round_seizable_usd"] == close(2 * at(88_000) * 1.05 - seized)
    assert rows[-1]["cum_round_seizable_usd"] == close(2 * at(88_000) * 1.05)


def test_one_whale_is_told_from_many(store: Store) -> None:
    book = market()
    book.account("whale", {"BTC": 9}, {"USD": 9 * at(88_500)})
    book.account("fish", {"BTC": 1}, {"USD": at(88_500)})
    for i in range(4):
        book.account(f"even {i}", {"BTC": 1}, {"USD": at(86_500)})
    book.store(store)
    rows = {row["price_from"]: row for row in walls(store)}
    assert rows[88_000]["top1_share"] == close(0.9)
    assert rows[86_000]["top1_share"] == close(0.25)
    assert rows[87_000]["top1_share"] is None


def test_the_markets_add_up_to_all_of_them(store: Store) -> None:
    for name, prices in (("one", (95_000, 88_500, 87_500, 20_000)), ("two", (88_100, 91_000))):
        book = market(name)
        for price in prices:
            book.account(str(price), {"BTC": 1, "ETH": 0.1}, {"USD": at(price)})
        book.store(store)
    empty = market("three")
    empty.store(store)
    together = walls(store, direction="both")
    apart = walls(store, direction="both", split=True)
    assert {row["market"] for row in together} == {"all"}
    assert {row["market"] for row in apart} == {"one", "two", "three"}
    for row in together:
        parts = [
            p
            for p in apart
            if (p["direction"], p["price_to"]) == (row["direction"], row["price_to"])
        ]
        assert len(parts) == 3
        for figure in row:
            if figure.endswith("_usd") or figure in ("accounts", "units", "cum_accounts"):
                if row[figure] is None:
                    assert all(p[figure] is None for p in parts)
                else:
                    assert sum(p[figure] for p in parts) == close(row[figure]), (figure, row)
    alone = walls(store, direction="both", market="two")
    assert [{**row, "market": "two"} for row in alone] == [r for r in apart if r["market"] == "two"]


def priced_at(store: Store, name: str, price: float, *triggers: float) -> None:
    """A market that reads BTC at a price, and an account of 1 BTC for each trigger price."""
    book = Book(
        Asset("BTC", price, lt=0.78, bonus=0.05, betas={"BTC": 1.0}),
        Asset("USD", 1.0, lt=0.75, bonus=0.045, betas={"USD": 1.0}),
        market=name,
    )
    for trigger in triggers:
        book.account(f"{trigger}", {"BTC": 1}, {"USD": at(trigger)})
    book.store(store)


def filled(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    wanted = ("market", "price_from", "price_to", "axis_market", "axis_price")
    return [tuple(row[name] for name in wanted) for row in rows if row["accounts"]]


def test_split_rows_stand_at_their_own_markets_price(store: Store) -> None:
    priced_at(store, "one", 100_000.0, 90_500)
    priced_at(store, "two", 80_000.0, 70_500)
    assert filled(walls(store, split=True)) == [
        ("one", 90_000, 91_000, "one", 100_000),
        ("two", 70_000, 71_000, "two", 80_000),
    ]
    in_mart = filled(ask(store, "mart_walls", factor="BTC"))
    assert [row[0] for row in in_mart] == ["one", "two"]
    assert in_mart[1] == ("two", close(70_400), close(71_200), "two", 80_000)
    # 70,500 is as far from 80,000 as 88,125 is from 100,000.
    assert filled(walls(store)) == [
        ("all", 90_000, 91_000, "one", 100_000),
        ("all", 88_000, 89_000, "one", 100_000),
    ]


def test_a_market_without_the_factor_stands_on_the_axis_of_the_sum(store: Store) -> None:
    priced_at(store, "one", 100_000.0)
    priced_at(store, "two", 80_000.0)
    bare = Book(Asset("USD", 1.0, lt=0.75, betas={"USD": 1.0}), market="bare")
    bare.account("due", {"USD": 1}, {"USD": 1})
    bare.store(store)
    split = walls(store, split=True)
    axis = {row["market"]: (row["axis_market"], row["axis_price"]) for row in split}
    assert axis == {"one": ("one", 1e5), "two": ("two", 8e4), "bare": ("one", 1e5)}
    assert ("bare", 100_000, 100_000, "one", 100_000) in filled(split)
    priced_at(store, "three", 100_000.0)
    alike = walls(store, market="one,three")
    assert {row["axis_market"] for row in alike} == {"all"}


@settings(
    max_examples=sample_size(quick=1, full=6, torture=500),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    st.lists(st.floats(0.01, 1e6), min_size=2, max_size=2),
    st.lists(st.floats(0.5, 1.6), min_size=1, max_size=4),
    st.sampled_from([{}, {"step_pct": 0.03}]),
)
def test_each_market_of_a_split_wall_is_its_wall_alone(
    tmp_path_factory: pytest.TempPathFactory,
    prices: list[float],
    distances: list[float],
    step: dict[str, float],
) -> None:
    store = Store(tmp_path_factory.mktemp("lake"))
    store.create()
    names = [f"m{n}" for n in range(len(prices))]
    for name, price in zip(names, prices, strict=True):
        priced_at(store, name, price, *(price * d for d in distances))
    split = walls(store, split=True, direction="both", **step)
    for name in names:
        alone = walls(store, market=name, direction="both", **step)
        mine = [row for row in split if row["market"] == name]
        assert len(mine) == len(alone) > 3
        for row, complete in zip(mine, alone, strict=True):
            for figure, value in complete.items():
                if figure != "market":
                    near = close(value) if isinstance(value, float) else value
                    assert row[figure] == near, (name, figure)


def test_a_pool_that_closes_small_positions_at_once(store: Store) -> None:
    """From 3.3 on: half of all debt, but all of it where debt or collateral is under 2,000 USD."""
    book = market(close_rule=POSITION_HALF)
    book.account("small", {"BTC": 0.02}, {"USD": 0.02 * at(88_500)})
    book.account("large", {"BTC": 2}, {"USD": 2 * at(86_500)})
    book.account("two debts", {"BTC": 2}, {"USD": at(84_500), "ETH": at(84_500) / 3_000})
    book.store(store)
    rows = {row["price_from"]: row for row in walls(store)}
    assert rows[88_000]["round_seizable_usd"] == close(0.02 * at(88_500) * 1.05)
    assert rows[86_000]["round_seizable_usd"] == close(0.5 * 2 * at(86_500) * 1.05)
    # Half of the whole is all of one of two equal debts.
    assert rows[84_000]["round_seizable_usd"] == close(at(84_500) * 1.05)


@pytest.mark.full
@pytest.mark.parametrize(
    ("collateral", "debt", "repaid"),
    [
        # 500 USD of the largest debt would be left: a thousand must be.
        (25_000, {"USD": 3_000, "ETH": 2_000}, 2_000),
        (25_000, {"USD": 3_000, "ETH": 900}, 1_950),
        (25_000, {"USD": 3_000, "ETH": 1_000}, 2_000),
        # One more dollar of other debts, and half of all is the whole of the largest.
        (25_000, {"USD": 3_000, "ETH": 2_900}, 2_000),
        (25_000, {"USD": 3_000, "ETH": 2_999, "BTC": 2}, 3_000),
        (25_000, {"USD": 1_999, "ETH": 10}, 1_999),
        (25_000, {"USD": 2_000}, 1_000),
        # 400 USD of the collateral would be left: 1,000 must be, or nothing.
        (2_500, {"USD": 4_000}, 1_500 / 1.05),
        (2_500, {"USD": 4_600}, 1_500 / 1.05),
        (2_500, {"USD": 5_000}, 2_500 / 1.05),
        (1_999, {"USD": 5_000}, 1_999 / 1.05),
        (2_000, {"USD": 2_000}, 1_000 / 1.05),
    ],
)
def test_a_pool_that_leaves_no_dust_allows_less_or_everything(
    store: Store, collateral: float, debt: dict[str, float], repaid: float
) -> None:
    """From 3.3 on: neither side may be left below 1,000 USD, unless one is seized in full."""
    seized = seized_now(store, POSITION_HALF, collateral, debt)
    assert seized == close(min(repaid * 1.05, collateral))


SMALLER = replace(POSITION_HALF, full_close_below_usd=500.0, min_leftover_usd=100.0)
# A threshold of 0.04 counts 1,000 of the 25,000 USD.
UP_TO_101 = (1.01 * 1_010 - 1_000) / (1.01 - 1.05 * 0.04)


@pytest.mark.parametrize(
    ("rule", "debt", "repaid"),
    [
        (SMALLER, {"USD": 3_000, "ETH": 2_000}, 2_500),
        (SMALLER, {"USD": 3_000, "ETH": 2_950}, 2_900),
        (SMALLER, {"USD": 1_999, "ETH": 10}, 1_004.5),
        (SMALLER, {"USD": 499}, 499),
        (replace(SMALLER, min_leftover_usd=None), {"USD": 3_000, "ETH": 2_950}, 2_975),
        (replace(SMALLER, full_close_below_hf=0.995), {"USD": 3_000}, 3_000),
        (CloseRule(close_factor=0.25, close_basis="reserve"), {"USD": 3_000, "ETH": 2_000}, 750),
        (CloseRule(close_factor=0.25), {"USD": 3_000, "ETH": 2_000}, 1_250),
        (replace(up_to(1.01), min_leftover_usd=900.0), {"USD": 1_010}, UP_TO_101),
        (replace(up_to(1.01), min_leftover_usd=None), {"USD": 1_010}, UP_TO_101),
        (up_to(1.01), {"USD": 1_010}, 1_010),
    ],
)
def test_the_numbers_of_a_close_rule_are_what_counts(
    store: Store, rule: CloseRule, debt: dict[str, float], repaid: float
) -> None:
    """A rule that no protocol has is computed as its columns say."""
    assert seized_now(store, rule, 25_000, debt) == close(repaid * 1.05)


def seized_now(store: Store, rule: CloseRule, collateral: float, debt: dict[str, float]) -> float:
    """What may be seized, USD, of an account with so many USD of BTC at a health factor of 0.99."""
    book = market(close_rule=rule)
    prices = {symbol: asset.price for symbol, asset in book.assets.items()}
    total = sum(debt.values())
    lt = 0.99 * total / collateral  # liquidatable now, and above 0.95
    book.account(
        "a",
        {"BTC": collateral / prices["BTC"]},
        {symbol: usd / prices[symbol] for symbol, usd in debt.items()},
        lt={"BTC": lt},
    )
    book.store(store)
    (now,) = [row for row in walls(store) if row["direction"] == "now"]
    assert now["accounts"] == 1
    return float(now["round_seizable_usd"])


def two_sided(store: Store, rule: CloseRule) -> list[dict[str, Any]]:
    """1 BTC and half its worth in ETH against dollars, hit at 88,500; rows that hold anything."""
    book = market(close_rule=rule)
    power = 88_500 * 0.78 + 45_000 * 0.83
    book.account("a", {"BTC": 1, "ETH": 15}, {"USD": power})
    book.store(store)
    return [r for r in walls(store, range=0.6) if r["round_seizable_usd"] or r["accounts"]]


def test_a_fixed_close_factor_of_half_never_seizes_the_rest(
    store: Store,
) -> None:
    """Where the close factor is half at every health factor, the rest is never seized."""
    (row,) = two_sided(store, HALF)
    assert row["price_from"] == 88_000
    assert row["round_seizable_usd"] == close(0.5 * (88_500 * 0.78 + 45_000 * 0.83) * 1.05)


def test_an_absorbed_account_loses_all_its_collateral_at_its_trigger(store: Store) -> None:
    (row,) = two_sided(store, ABSORB)
    assert row["price_from"] == 88_000
    for figure in ("collateral_at_risk_usd", "round_seizable_usd", "seize_to_heal_usd"):
        assert row[figure] == close(88_500 + 45_000), figure
    assert row["units"] == close(1)
    (last,) = [r for r in walls(store, range=0.6) if r["price_from"] == 40_000]
    assert last["cum_seize_to_heal_usd"] == close(88_500 + 45_000)


def test_with_a_close_factor_of_one_the_wall_is_debt_and_bonus(store: Store) -> None:
    """Where all debt may be repaid at once, the wall is debt and bonus."""
    rows = two_sided(store, WHOLE)
    seized = (88_500 * 0.78 + 45_000 * 0.83) * 1.05
    assert [r["price_from"] for r in rows] == [88_000]
    assert rows[0]["round_seizable_usd"] == close(seized)
    assert rows[0]["units"] == close(seized * 88_500 / (88_500 + 45_000) / 88_500)


def test_a_factor_nobody_has_gives_no_rows(store: Store) -> None:
    book = market()
    book.account("a", {"BTC": 1}, {"USD": at(88_000)})
    book.store(store)
    assert walls(store, factor="DOGE") == []
    assert walls(store, factor="btc") == walls(store)


# --- against the definitions --------------------------------------------------------------------


@dataclass(frozen=True)
class Position:
    """One account in USD at today's prices: (value, threshold, bonus, moves) per balance."""

    collateral: tuple[tuple[float, float, float, bool], ...]
    debt: tuple[tuple[float, bool], ...]
    rule: CloseRule = RESERVE_HALF

    def held(self, x: float) -> float:
        return sum(v * (x if moves else 1) for v, _, _, moves in self.collateral)

    def power(self, x: float) -> float:
        return sum(v * (x if moves else 1) * lt for v, lt, _, moves in self.collateral)

    def owed(self, x: float) -> float:
        return sum(v * (x if moves else 1) for v, moves in self.debt)

    @cache  # noqa: B019 - a few hundred positions
    def reaches(self, level: float) -> tuple[str, float] | None:
        """Where the health factor falls below a level: ("now", 1), (way, x) or None."""
        if self.owed(1) == 0:
            return None
        if self.power(1) < level * self.owed(1) * (1 - 1e-12):
            return "now", 1.0
        for direction, far in (("down", 1e-9), ("up", 1e9)):
            if self.power(far) < level * self.owed(far):
                near = 1.0
                for _ in range(120):
                    midpoint = (near * far) ** 0.5
                    if self.power(midpoint) >= level * self.owed(midpoint):
                        near = midpoint
                    else:
                        far = midpoint
                return direction, far
        return None

    @property
    def largest(self) -> tuple[float, float, float, bool]:
        return max(self.collateral)

    def first(self, x: float) -> float:
        """What the first call takes of the largest collateral, against the largest debt."""
        held, owed, bonus = self.pair(x)
        if self.rule == POSITION_HALF:
            return self.first_without_dust(held, owed, bonus, self.owed(x))
        return min(0.5 * owed * (1 + bonus), held)

    def pair(self, x: float) -> tuple[float, float, float]:
        """The largest collateral and debt, and the bonus."""
        value, _, bonus, moves = self.largest
        debt, debt_moves = max(self.debt)
        return value * (x if moves else 1), debt * (x if debt_moves else 1), bonus

    def first_without_dust(self, held: float, owed: float, bonus: float, total: float) -> float:
        """As the pool does from 3.3 on: the largest repayment that it does not refuse."""
        most = min(owed, total / 2) if held >= 2_000 and owed >= 2_000 else owed

        def refuses(repaid: float) -> bool:
            seized = repaid * (1 + bonus)
            if repaid >= owed or seized >= held:
                return False
            return owed - repaid < 1_000 or held - seized < 1_000

        low, high = 0.0, most
        for _ in range(200 if refuses(most) else 0):
            midpoint = (low + high) / 2
            low, high = (low, midpoint) if refuses(midpoint) else (midpoint, high)
        return min((low if refuses(most) else most) * (1 + bonus), held)

    def second(self, hit: float, x: float) -> tuple[float, float]:
        """Close factor of one at x, after the first call at `hit`: the same share of all that is
        left pays the debt that is left, each with its bonus. USD, and the part that moves."""
        held, owed, bonus = self.pair(hit)
        seized = self.first(hit) / held
        repaid = self.first(hit) / (1 + bonus) / owed
        left = [
            (v * (x if moves else 1) * (1 - seized * (item == self.largest)), b, moves)
            for item in self.collateral
            for v, _, b, moves in [item]
        ]
        debt = sum(
            v * (x if moves else 1) * (1 - repaid * ((v, moves) == max(self.debt)))
            for v, moves in self.debt
        )
        pays = sum(v / (1 + b) for v, b, _ in left)
        share = min(1.0, debt / pays) if pays else 0.0
        return share * sum(v for v, *_ in left), share * sum(v for v, _, moves in left if moves)

    def healing(self, x: float) -> float:
        """Collateral for the smallest repayment that restores a health factor of 1:
        r = (D - A) / (1 - LB LT), and LB r of the largest collateral."""
        _, lt, bonus, _ = self.largest
        gap = 1 - (1 + bonus) * lt
        if gap <= 1e-9:
            return self.held(x)
        return max(0.0, (self.owed(x) - self.power(x)) / gap * (1 + bonus))


def expected_cum(
    positions: list[Position], kind: str, price: float, spot: float
) -> dict[str, float]:
    """The three measures of all accounts whose trigger lies between the price now and `price`."""
    x = price / spot
    sums = dict.fromkeys(("accounts", "at_risk", "seizable", "to_heal", "units"), 0.0)

    def passed(step: float) -> bool:
        return step >= x * (1 - 1e-12) if kind == "down" else step <= x * (1 + 1e-12)

    for item in positions:
        result = item.reaches(1)
        if result is None:
            continue
        direction, hit = result
        if direction == kind and (kind == "now" or passed(hit)):
            sums["accounts"] += 1
            sums["at_risk"] += item.held(hit)
            first = item.first(hit)
            sums["seizable"] += first
            if item.largest[3]:
                sums["units"] += first / (spot * hit)
            sums["to_heal"] += healed(item, hit, 1.0 if kind == "now" else x)
        elif direction == "now" and kind != "now":
            # What it takes more than now, on the way on which it takes more.
            sums["to_heal"] += max(0.0, healed(item, 1.0, x) - healed(item, 1.0, 1.0))
        deep = item.reaches(0.95)
        if deep is not None and deep[0] == kind and (kind == "now" or passed(deep[1])):
            rest, moving = item.second(hit, deep[1])
            sums["seizable"] += rest
            sums["units"] += moving / (spot * deep[1])
    return sums


def healed(position: Position, hit: float, x: float) -> float:
    """Once it takes everything, it stays at what everything was worth then."""
    cap = everything_at(position, hit, x)
    return position.held(cap) if cap is not None else position.healing(x)


def everything_at(position: Position, hit: float, x: float) -> float | None:
    """The first point between trigger and x at which healing takes all collateral."""
    if position.healing(hit) >= position.held(hit):
        return hit
    if position.healing(x) < position.held(x):
        return None
    near, far = hit, x
    for _ in range(200):
        midpoint = (near + far) / 2
        if position.healing(midpoint) < position.held(midpoint):
            near = midpoint
        else:
            far = midpoint
    return far


usd = st.integers(1, 10**6)
sides = st.dictionaries(st.sampled_from(["BTC", "ETH", "USD"]), usd, min_size=1, max_size=3)
books = st.lists(
    st.tuples(sides, sides, st.floats(0.8, 2.5, allow_nan=False)), min_size=5, max_size=30
)
reused = settings(
    max_examples=sample_size(quick=2, full=10, torture=500),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


def drawn(
    store: Store, draw: Any, rule: CloseRule = RESERVE_HALF, **terms: Any
) -> tuple[Book, list[Position]]:
    block = 1
    if store.exists:
        block += max((r["block_number"] for r in ask(store, "snapshots_at")), default=0)
    book = market(block=block, close_rule=rule, **terms)
    positions = []
    for i, (collateral, debt, hf) in enumerate(draw):
        power = sum(v * book.assets[s].lt for s, v in collateral.items())
        scale = power / hf / sum(debt.values())
        held = {s: v / book.assets[s].price for s, v in collateral.items()}
        owed = {s: v * scale / book.assets[s].price for s, v in debt.items()}
        account = book.account(str(i), held, owed)
        legs = [leg for leg in book.legs if leg.account == account]
        moving = book.assets["BTC"].address
        positions.append(
            Position(
                tuple(
                    (leg.usd, leg.lt_bps / 1e4, leg.bonus_bps / 1e4, leg.asset == moving)
                    for leg in legs
                    if leg.side == "collateral"
                ),
                tuple((leg.usd, leg.asset == moving) for leg in legs if leg.side == "debt"),
                rule,
            )
        )
    book.store(store)
    return book, positions


@pytest.mark.sampled
@reused
@given(draw=books, step=st.sampled_from([{}, {"step_abs": 700.0}, {"step_pct": 0.013}]))
def test_the_measures_are_those_of_their_definitions(
    store: Store, draw: Any, step: dict[str, float]
) -> None:
    measures_are_those_of_their_definitions(store, drawn(store, draw)[1], step)


small = st.dictionaries(
    st.sampled_from(["BTC", "ETH", "USD"]), st.integers(900, 6_000), min_size=1, max_size=3
)


@pytest.mark.sampled
@reused
@given(
    draw=st.lists(
        st.tuples(small, small, st.floats(0.9, 1.5, allow_nan=False)), min_size=5, max_size=30
    )
)
def test_the_measures_match_their_definitions_under_dust_rules(store: Store, draw: Any) -> None:
    """Where dust may not be left, the measures are those of their definitions."""
    _, positions = drawn(store, draw, POSITION_HALF)
    for entry in positions:
        for direction, x in filter(None, [entry.reaches(1)]):
            held, owed, bonus = entry.pair(1 if direction == "now" else x)
            half = entry.owed(x) / 2
            for item, other in ((held, 2_000), (owed, 2_000), (half, owed)):
                assume(abs(item - other) > 1e-3)  # there the last digit decides
            assume(abs(half * (1 + bonus) - held) > 1e-3)
    measures_are_those_of_their_definitions(store, positions, {})


def measures_are_those_of_their_definitions(
    store: Store, positions: list[Position], step: dict[str, float]
) -> None:
    for item in positions:
        values = sorted(v for v, *_ in item.collateral)
        assume(len(values) < 2 or values[-1] > values[-2] * (1 + 1e-9))  # one is the largest
        owed = sorted(v for v, _ in item.debt)
        assume(len(owed) < 2 or owed[-1] > owed[-2] * (1 + 1e-9))
        hf = item.power(1) / item.owed(1)
        assume(min(abs(hf - 1), abs(hf - 0.95)) > 1e-6)  # there the contract's integer decides
    rows = walls(store, direction="both", range=0.5, **step)
    spot = 90_000.0
    edge = {(item.reaches(level) or ("", 0))[1] * spot for item in positions for level in (1, 0.95)}
    for row in rows:
        if row["direction"].startswith(("beyond", "far")):
            continue
        price = row["price_to"] if row["direction"] == "up" else row["price_from"]
        if any(abs(price / other - 1) < 1e-8 for other in edge if other):
            continue
        expected = expected_cum(positions, row["direction"], price, spot)
        assert row["cum_accounts"] == expected["accounts"], row
        for name, figure in (
            ("at_risk", "collateral_at_risk_usd"),
            ("seizable", "round_seizable_usd"),
            ("to_heal", "seize_to_heal_usd"),
        ):
            assert row[f"cum_{figure}"] == pytest.approx(expected[name], rel=1e-6, abs=1e-3), (
                figure,
                row,
            )
        assert row["cum_units"] == pytest.approx(expected["units"], rel=1e-6, abs=1e-8)


@pytest.mark.sampled
@reused
@given(draw=books, truncates_lt=st.booleans())
def test_nothing_is_dropped_and_everything_runs_up(
    store: Store, draw: Any, truncates_lt: bool
) -> None:
    drawn(store, draw, truncates_lt=truncates_lt)
    triggers = ask(store, "triggers", factor="BTC")
    rows = walls(store, direction="both", range=0.4)
    for direction in ("now", "down", "up"):
        mine = [t for t in triggers if t["direction"] == direction]
        far = [row for row in rows if row["direction"] == f"far {direction}"]
        here = [row for row in rows if row["direction"] in (direction, f"beyond {direction}")]
        assert sum(row["accounts"] for row in here + far) == len(mine)
        mine = [t for t in mine if direction != "up" or t["x"] <= 10]
        risk = sum(t["c0"] + t["c1"] * t["x"] for t in mine)
        assert sum(row["collateral_at_risk_usd"] for row in here) == close(risk)
        totals = dict.fromkeys(
            ("accounts", "collateral_at_risk_usd", "round_seizable_usd", "units"), 0.0
        )
        healed = 0.0
        for row in here:
            for figure in totals:
                totals[figure] += row[figure]
                assert row[f"cum_{figure}"] == close(totals[figure])
                assert row[figure] >= 0
            if row["cum_seize_to_heal_usd"] is not None:
                # Rounding of sums in the millions aside, healing only ever takes more.
                assert row["cum_seize_to_heal_usd"] >= healed - 1e-6 * max(1.0, risk)
                healed = row["cum_seize_to_heal_usd"]
            if row["top1_share"] is not None:
                assert 0 < row["top1_share"] <= 1 + 1e-12
            assert (row["top1_share"] is None) == (row["collateral_at_risk_usd"] == 0)
    assert sum(row["accounts"] for row in rows) == sum(
        t["direction"] in ("now", "down", "up") for t in triggers
    )
