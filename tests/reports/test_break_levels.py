"""Break levels: the price at which a fall feeds itself, equal to plain iteration to its rest."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from math import inf, sqrt
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.lending.close_rules import ABSORB, RESERVE_HALF, WHOLE, CloseRule
from chainwatch.reports import cascade
from chainwatch.reports.cascade_basis import CascadeTerms
from chainwatch.tables.lending import Factor
from tests import vectors
from tests.amounts import sample_size
from tests.builders import FIRST_BLOCK_TIME, Asset, Book, ask, depth

SPOT = 100_000.0
THRESHOLD = 0.8


@pytest.fixture
def store(empty_lake: Store) -> Store:
    return empty_lake


def close(value: float, rel: float = 1e-9) -> Any:
    return pytest.approx(value, rel=rel, abs=1e-9)


class Steps(Book):
    """A wall of which every step is known: whole accounts of BTC, each with its trigger."""

    def __init__(self, block: int = 100, spot: float = SPOT, **book: Any) -> None:
        super().__init__(
            Asset("BTC", spot, lt=THRESHOLD, bonus=0.3, betas={"BTC": 1.0}),
            Asset("ETH", 3_000.0, lt=THRESHOLD, bonus=0.3, betas={"ETH": 1.0}),
            Asset("USD", 1.0, lt=0.75, betas={"USD": 1.0}),
            block=block,
            close_rule=book.pop("close_rule", WHOLE),
            **book,
        )

    def step(self, name: str, price: float, units: float) -> str:
        """All of `units` BTC fires at a price."""
        return self.account(name, {"BTC": units}, {"USD": units * price * THRESHOLD})


def wall(
    store: Store, steps: list[tuple[float, float]], names: list[str] | None = None, **book: Any
) -> Steps:
    made = Steps(block=block_after(store), **book)
    for i, (price, units) in enumerate(steps):
        made.step(names[i] if names else f"{i:04}", price, units)
    made.store(store)
    return made


def block_after(store: Store) -> int:
    if not store.exists:
        return 1
    return 1 + max((r["block_number"] for r in ask(store, "snapshots_at")), default=0)


def bids(store: Store, points: list[tuple[float, float]], **how: Any) -> None:
    """The newest book of the lake."""
    at = FIRST_BLOCK_TIME + timedelta(seconds=12 * block_after(store))
    store.append(depth(points, **({"time": at, "mid_price": SPOT} | how)), source="depth")


def levels(store: Store, scale: float = 1, **values: object) -> list[dict[str, Any]]:
    return ask(store, "break_levels", scales=str(scale), **values)


def rest(store: Store, price: float, scale: float = 1, **values: object) -> dict[str, Any]:
    (rows,) = ask(store, "landing_prices", scales=str(scale), price=price, **values)
    return rows


@pytest.mark.full
def test_what_stood_against_a_price_is_told_for_each_depth(store: Store) -> None:
    # In the full book the first step ends above the second; in a tenth of it all fall as one.
    wall(store, [(88_000.0, 2.0), (87_500.0, 60.0), (80_000.0, 500.0)])
    bids(store, [(0.01, 20.0), (0.05, 100.0), (0.1, 200.0)])

    def against(scales: str) -> list[dict[str, Any]]:
        return ask(store, "price_level", scales=scales, price=87_500.0, width=0.002)

    full, small = against("1"), against("0.1")
    assert against("0.1,1") == against("1,0.1") == [*full, *small]
    assert [row["depth_scale"] for row in (*full, *small)] == [1.0, 0.1]
    assert [row["accounts"] for row in (*full, *small)] == [1, 3]
    assert full[0]["break_price"] < 88_000.0 == small[0]["break_price"]


# --- the reference's own cases ------------------------------------------------------------------


def set_up(store: Store, case: dict[str, Any]) -> dict[str, Any]:
    """The wall and the market of a golden case in the lake; parameters that go with them."""
    wall(store, list(zip(case["trigger_px"], case["units"], strict=True)))
    impact = case["impact"]
    match impact["kind"]:
        case "linear":  # one point of a book, whose slope goes on beyond it
            bids(store, [(100 * impact["lam"], 100.0)])
        case "book":
            bids(store, [(share, units) for share, units in impact["book"]])
        case "sqrt":
            return {"adv": impact["adv"], "sigma": impact["sigma_daily"], "y": impact["Y"]}
    return {"scale": impact.get("kappa", 1)}


@pytest.mark.full
@pytest.mark.parametrize("case", vectors.cases("cascade_golden"))
def test_steps_and_groups_are_those_of_the_golden_cases(store: Store, case: dict[str, Any]) -> None:
    how = set_up(store, case)
    wanted = case["expected"]
    scale = how.pop("scale", 1)
    steps = sorted(ask(store, "break_steps", scales=str(scale), **how), key=lambda r: r["n"])
    assert [s["trigger_price"] for s in steps] == close(wanted["p"])
    assert [s["t_ext"] for s in steps] == close(wanted["T"])
    firsts = sorted({s["level"] for s in steps}, reverse=True)
    assert [firsts.index(s["level"]) for s in steps] == wanted["gid"]
    result = levels(store, scale, **how)
    for ours, theirs in (
        ("break_price", "break_ext"),
        ("trigger_price", "trigger_px"),
        ("landing_price", "landing"),
        ("sold_units", "units"),
        ("units", "units"),
        ("steps", "n"),
        ("endogenous_share", "endog_drop"),
    ):
        assert [row[ours] for row in result] == close(wanted[theirs]), ours


@pytest.mark.full
@pytest.mark.parametrize("case", vectors.cases("cascade_golden"))
def test_falls_come_to_rest_where_the_golden_cases_do(store: Store, case: dict[str, Any]) -> None:
    how = set_up(store, case)
    for point in case["fixed_points"]:
        result = rest(store, point["p_ext"], **how)
        assert result["landing_price"] == close(point["p_final"], rel=1e-6)
        assert result["sold_units"] == close(point["units"])


# --- against plain iteration --------------------------------------------------------------------


class Market:
    """Impact of a sale in plain Python: the book by straight lines, on top of it square root."""

    def __init__(
        self, book: list[tuple[float, float]], adv: float | None, kappa: float = 1.0
    ) -> None:
        self.points = [(0.0, 0.0), *((units, share) for share, units in book)]
        self.adv = adv
        self.kappa = kappa

    def impact(self, sold: float) -> float:
        q = sold / self.kappa
        if q <= 0:
            return 0.0
        for (u0, d0), (u1, d1) in zip(self.points, self.points[1:], strict=False):
            if u0 < q <= u1:
                return min(0.95, d0 + (q - u0) * (d1 - d0) / (u1 - u0))
        units, end = self.points[-1]
        if self.adv is not None:
            law, at_end = 0.03 * sqrt(q / self.adv), 0.03 * sqrt(units / self.adv)
            return min(0.95, law + max(0.0, end - at_end))
        (u0, d0), (u1, d1) = self.points[-2:]
        return min(0.95, d1 + (q - u1) * (d1 - d0) / (u1 - u0))

    def rest(self, steps: list[tuple[float, float]], outside: float) -> tuple[float, float]:
        """Iterate price = outside × (1 - impact(what fires at it)) from above until it stays."""
        price, sold = outside, -1.0
        while True:
            fired = sum(units for trigger, units in steps if trigger >= price)
            if fired == sold:
                return price, sold
            sold = fired
            price = outside * (1 - self.impact(sold))

    def rounds(self, steps: list[tuple[float, float]], outside: float, sold: float) -> int:
        """How often something fires, one after another, once so much is sold."""
        rounds = 0
        while True:
            price = outside * (1 - self.impact(sold))
            fired = sum(units for trigger, units in steps if trigger >= price)
            if fired == sold:
                return rounds
            sold, rounds = fired, rounds + 1


prices = st.integers(400, 990).map(lambda n: n * 100.0)
walls = st.lists(st.tuples(prices, st.integers(1, 4_000).map(float)), min_size=1, max_size=25)
books = st.lists(
    st.tuples(st.integers(1, 1_000), st.integers(1, 20_000)), min_size=2, max_size=6
).map(
    lambda levels: list(
        zip(
            sorted({d / 10_000 for d, _ in levels}),
            sorted({float(u) for _, u in levels}),
            strict=False,
        )
    )
)
volumes = st.none() | st.integers(1_000, 200_000).map(float)
reused = settings(
    max_examples=sample_size(quick=2, full=8, torture=500),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


@pytest.mark.sampled
@reused
@given(
    steps=walls, book=books, adv=volumes, kappa=st.sampled_from([1.0, 0.5, 0.1]), seed=st.integers()
)
def test_break_levels_and_falls_equal_plain_iteration(
    store: Store,
    steps: list[tuple[float, float]],
    book: list[tuple[float, float]],
    adv: float | None,
    kappa: float,
    seed: int,
) -> None:
    wall(store, steps)
    bids(store, book, volume_24h=adv)
    market = Market(book, adv, kappa)
    result = levels(store, kappa)
    for row in result:
        # Just above its break level a group rests, just below it fires down to its landing.
        above, sold = market.rest(steps, row["break_price"] * (1 + 1e-9))
        below, all_sold = market.rest(steps, row["break_price"] * (1 - 1e-9))
        assert all_sold == close(row["cum_sold_units"])
        assert all_sold - sold == close(row["sold_units"])
        assert below == close(row["landing_price"], rel=1e-6)
        assert above > below
        assert row["rounds"] == market.rounds(steps, row["break_price"] * (1 - 1e-9), sold)
    drops = ",".join(str(Random(seed + i).uniform(0.0, 0.7)) for i in range(6))
    for row in ask(store, "landing_prices", scales=str(kappa), drops=drops):
        final, sold = market.rest(steps, row["outside_price"])
        assert (row["landing_price"], row["sold_units"]) == (close(final, 1e-6), close(sold))
    # Nothing lost, nothing doubled.
    assert sum(row["units"] for row in result) == close(sum(units for _, units in steps))
    assert sum(row["steps"] for row in result) == len(steps) == sum(r["accounts"] for r in result)
    falling = [row["break_price"] for row in result]
    assert falling == sorted(falling, reverse=True)
    assert len(set(falling)) == len(falling)


def test_what_is_bought_back_is_netted(store: Store) -> None:
    """1,000 WETH against 600 WETH and 600,000 USDC: 315 are seized and 300 bought to repay."""
    made = Book(
        Asset("WETH", 3_000.0, lt=0.83, bonus=0.05, betas={"ETH": 1.0}),
        Asset("USDC", 1.0, lt=0.75, betas={"USDC": 1.0}),
        block=block_after(store),
        close_rule=RESERVE_HALF,
    )
    made.account("a", {"WETH": 1_000}, {"WETH": 600, "USDC": 600_000})
    made.store(store)
    bids(store, [(0.1, 2_000.0)], factor="ETH", mid_price=3_000.0)
    steps = sorted(ask(store, "break_steps", factor="ETH"), key=lambda r: r["n"])
    assert (steps[0]["sold_units"], steps[0]["bought_units"]) == (close(315), close(300))
    group = levels(store, factor="ETH")[0]
    assert (group["sold_units"], group["bought_units"]) == (close(315), close(300))
    assert group["endogenous_share"] == close(0.1 * 15 / 2_000)
    landed = rest(store, group["trigger_price"] * 0.9999, factor="ETH")
    assert (landed["sold_units"], landed["bought_units"]) == (close(315), close(300))
    assert landed["landing_price"] == close(landed["outside_price"] * (1 - 0.1 * 15 / 2_000))


@pytest.mark.sampled
@reused
@given(
    steps=st.lists(
        st.tuples(prices, st.integers(1, 4_000).map(float), st.sampled_from([0.0, 0.3, 0.75])),
        min_size=1,
        max_size=25,
        unique_by=lambda step: step[0],
    ),
    book=books,
    adv=volumes,
    seed=st.integers(),
)
def test_falls_with_purchases_equal_one_step_after_the_other(
    store: Store,
    steps: list[tuple[float, float, float]],
    book: list[tuple[float, float]],
    adv: float | None,
    seed: int,
) -> None:
    """Accounts that owe a share of what they hold: each fires in its turn, and sells less."""
    made = Steps(block=block_after(store))
    for i, (price, units, share) in enumerate(steps):
        owed = {"USD": units * price * (THRESHOLD - share)}
        made.account(f"{i:04}", {"BTC": units}, owed | ({"BTC": units * share} if share else {}))
    made.store(store)
    bids(store, book, volume_24h=adv)
    market = Market(book, adv)
    drops = ",".join(str(Random(seed + i).uniform(0.0, 0.7)) for i in range(6))
    for row in ask(store, "landing_prices", scales="1", drops=drops):
        sold = bought = 0.0
        price = row["outside_price"]
        for trigger, units, share in sorted(steps, reverse=True):
            if trigger < price:
                break
            # All that is held is seized; it pays for the larger debt first.
            first = share if share > THRESHOLD - share else (1 - 1.3 * (THRESHOLD - share)) / 1.3
            sold, bought = sold + units, bought + (units * first if share else 0.0)
            price = row["outside_price"] * (1 - market.impact(sold - bought))
        assert (row["sold_units"], row["bought_units"]) == (close(sold), close(bought))
        assert row["landing_price"] == close(price)


@pytest.mark.full
@pytest.mark.sampled
@reused
@given(steps=walls, book=books, adv=volumes, seed=st.integers())
def test_the_order_in_which_rows_are_stored_changes_nothing(
    store: Store, steps: list[tuple[float, float]], book: list[Any], adv: float | None, seed: int
) -> None:
    names = [f"{i:04}" for i in range(len(steps))]
    shuffled = list(zip(steps, names, strict=True))
    Random(seed).shuffle(shuffled)
    results = []
    for order in (list(zip(steps, names, strict=True)), shuffled):
        wall(store, [s for s, _ in order], [n for _, n in order])
        bids(store, book, volume_24h=adv)
        results.append(levels(store))
        results[-1].append(sorted(ask(store, "break_steps"), key=lambda r: r["n"]))
    assert results[0] == results[1]


@pytest.mark.sampled
@reused
@given(
    steps=walls,
    book=books,
    adv=volumes,
    more=st.floats(1.0, 3.0, allow_nan=False),
    outside=st.floats(0.3, 1.0),
)
@example(
    steps=[
        (63_800.0, 150.0),
        (43_300.0, 3_999.0),
        (64_000.0, 206.0),
        (49_500.0, 1_489.0),
        (44_800.0, 121.0),
        (41_300.0, 2_028.0),
    ],
    book=[(0.0244, 54.0), (0.0624, 485.0)],
    adv=None,
    more=2.0,
    outside=0.49816765593906176,
)
def test_less_depth_or_more_units_never_leave_the_price_higher(
    store: Store,
    steps: list[tuple[float, float]],
    book: list[Any],
    adv: float | None,
    more: float,
    outside: float,
) -> None:
    wall(store, steps)
    bids(store, book, volume_24h=adv)
    drops = str(1 - outside)
    rows = ask(store, "landing_prices", drops=drops, scales="inf,1,0.5,0.1,0.02")
    finals = [row["landing_price"] for row in rows]
    assert [row["depth"] for row in rows] == ["no impact", "× 1", "× 0.5", "× 0.1", "× 0.02"]
    # Where both end at the same price the order of their sums shows in the last digit.
    for deeper, thinner in pairwise(rows):
        assert thinner["landing_price"] <= deeper["landing_price"] * (1 + 1e-12)
        assert thinner["sold_units"] >= deeper["sold_units"] * (1 - 1e-12)
    assert finals[0] == close(outside * SPOT)
    wall(store, [(price, units * more) for price, units in steps])
    bids(store, book, volume_24h=adv)
    again = ask(store, "landing_prices", drops=drops, scales="inf,1,0.5,0.1,0.02")
    for before, after in zip(finals, again, strict=True):
        assert after["landing_price"] <= before * (1 + 1e-12)


@pytest.mark.sampled
@reused
@given(steps=walls, book=books, adv=volumes)
def test_the_recentred_book_on_a_grid_equals_its_own_loop(
    store: Store, steps: list[tuple[float, float]], book: list[Any], adv: float | None
) -> None:
    """The recentred book on a grid equals its own loop and stays near the fixed point."""
    wall(store, steps)
    bids(store, book, volume_24h=adv)
    market = Market(book, adv)
    on_grid = [(int(price / SPOT * 1000 + 1e-9), units) for price, units in steps]
    rows = ask(store, "landing_by_round")
    assert len(rows) == 121
    for row in rows:
        start = round(row["outside_x"] * 1000)
        at, rounds = start, 0
        while at > 0:
            sold = sum(units for g, units in on_grid if g >= at)
            fallen = max(0, int(start * (1 - market.impact(sold)) + 1e-9))
            if fallen >= at:
                break
            at, rounds = fallen, rounds + 1
        assert (row["landing_x"], row["rounds"]) == (at / 1000, rounds)
        final, _ = market.rest(steps, start / 1000 * SPOT)
        assert row["landing_x"] <= final / SPOT + 1e-9


# --- what the figures stand on ------------------------------------------------------------------


def test_the_sums_of_the_groups_are_the_path(store: Store) -> None:
    book = Steps(close_rule=RESERVE_HALF)
    rng = Random(7)
    for i in range(60):
        price, units = rng.uniform(40_000, 99_000), rng.uniform(0.1, 50)
        held = {"BTC": units} | ({"ETH": rng.uniform(1, 300)} if i % 3 == 0 else {})
        power = THRESHOLD * (units * price + held.get("ETH", 0) * 3_000)
        book.account(f"{i:03}", held, {"USD": power})
    book.store(store)
    bids(store, [(0.01, 50.0), (0.1, 400.0)])
    calls = [row for row in ask(store, "path_steps", factor="BTC") if row["step"] == "call"]
    units = sum(row["units"] for row in calls)
    assert len(calls) > 2 * 60
    assert units <= sum(leg.amount for leg in book.legs if leg.asset == book.assets["BTC"].address)
    for scale in (1, 0.1, 0.02):
        result = levels(store, scale)
        assert result[-1]["cum_units"] == close(units)
        assert result[-1]["cum_usd"] == close(sum(row["seize_usd"] for row in calls))
        assert result[-1]["cum_accounts"] == 60
        assert sum(row["units"] for row in result) == close(units)


def test_equal_triggers_are_taken_in_the_order_of_their_key(store: Store) -> None:
    wall(store, [(90_000, 5), (90_000, 7), (90_000, 1)], names=["c", "a", "b"])
    bids(store, [(0.1, 100.0)])
    steps = sorted(ask(store, "break_steps"), key=lambda r: r["n"])
    assert [s["sold_units"] for s in steps] == [7, 1, 5]
    assert [row["units"] for row in levels(store)] == [13]


def test_liquidatable_accounts_trigger_others_at_todays_price(
    store: Store,
) -> None:
    """Accounts that are liquidatable already are sold at today's price and trigger others."""
    wall(store, [(120_000, 100), (99_000, 10), (80_000, 10)])
    bids(store, [(0.1, 500.0)])
    now, below = levels(store)
    assert (now["direction"], now["break_price"], now["units"]) == ("now", SPOT, 110)
    assert now["amplification"] is None
    assert now["landing_price"] == close(SPOT * (1 - 0.1 * 110 / 500))
    assert (below["direction"], below["units"]) == ("down", 10)
    assert below["break_price"] == close(80_000 / (1 - 0.1 * 110 / 500))


def test_top_one_counts_all_steps_of_an_account(store: Store) -> None:
    made = Steps(close_rule=RESERVE_HALF)
    made.account("whale", {"BTC": 100}, {"USD": 100 * 90_000 * THRESHOLD})
    made.account("small", {"BTC": 10}, {"USD": 10 * 90_000 * THRESHOLD})
    made.store(store)
    bids(store, [(0.5, 100.0)])
    (group,) = levels(store)
    assert (group["accounts"], group["steps"]) == (2, 6)
    assert group["top1_share"] == close(10 / 11)


def test_the_loop_gain_reaches_one_where_the_fall_feeds_itself(store: Store) -> None:
    # 10 BTC in each 1 % of the price; 1 % of depth is 40 BTC, then 5 BTC.
    steps = [(SPOT * 0.99 - 100 * i, 1.0) for i in range(300)]
    wall(store, steps)
    bids(store, [(0.01, 40.0), (0.1, 400.0)])
    calm = levels(store)
    assert max(row["loop_gain"] for row in calm) < 1
    assert max(row["steps"] for row in calm) == 1
    bids(store, [(0.01, 5.0), (0.1, 50.0)], time=FIRST_BLOCK_TIME + timedelta(days=1))
    fed = levels(store)
    assert fed[0]["loop_gain"] > 1
    assert fed[0]["steps"] > 100


@pytest.mark.parametrize("rule", [WHOLE, RESERVE_HALF])
def test_a_lone_account_however_large_feeds_nothing(store: Store, rule: CloseRule) -> None:
    made = Steps(close_rule=rule)
    made.account("whale", {"BTC": 1_000}, {"USD": 1_000 * 95_000 * THRESHOLD})
    made.step("far", 40_000, 1)
    made.store(store)
    bids(store, [(0.1, 3_000.0)])
    whale = levels(store)[0]
    assert whale["endogenous_share"] > 0.015
    assert (whale["loop_gain"], whale["fed_accounts"]) == (0, 0)
    # Its own next calls, brought about by the first, are of no other account.
    thin = levels(store, 0.1)[0]
    assert (thin["loop_gain"], thin["fed_accounts"]) == (0, 0)
    assert thin["steps"] == (3 if rule == RESERVE_HALF else 1)


def test_accounts_at_one_trigger_price_do_not_feed_each_other(store: Store) -> None:
    """Accounts whose trigger prices differ only by rounding do not add to each other's fall."""
    price = 90_001.37
    made = Book(
        Asset("WBTC", price, lt=0.8, bonus=0.05, betas={"BTC": 1.0}),
        Asset("USD", 1.0, betas={"USD": 1.0}),
        close_rule=RESERVE_HALF,
    )
    made.account("one", {"WBTC": 1_000}, {"USD": 68_401_041.2})
    made.account("other", {"WBTC": 700.7}, {"USD": 47_928_609.56884})
    made.account("third", {"WBTC": 333.3}, {"USD": 333.3 * price * 0.95 * 0.8})
    made.store(store)
    assert len({row["x"] for row in ask(store, "triggers", factor="BTC")}) > 1
    for scale in (1, 0.5):
        first = levels(store, scale, adv=200)[0]
        assert (first["loop_gain"], first["fed_accounts"]) == (0, 0)


def test_who_is_fired_by_others_is_told_from_who_starts_it(store: Store) -> None:
    wall(store, [(95_000.0, 300.0), (95_000.0, 200.0), (94_500.0, 200.0), (90_000.0, 50.0)])
    bids(store, [(0.1, 3_000.0)])
    first, last = levels(store)
    assert (first["accounts"], first["fed_accounts"]) == (3, 1)
    # 200 BTC within one percent below, over that percent; not the 500 that trigger at 95,000.
    assert first["loop_gain"] == close(0.1 * 200 / 3_000 / 0.01)
    assert (last["fed_accounts"], last["loop_gain"]) == (0, 0)
    # Without impact nothing fires by another's sales.
    assert {row["fed_accounts"] for row in levels(store, inf)} == {0}


def test_a_late_oracle_bounds_the_break_from_below(store: Store) -> None:
    steps = [(95_000.0, 300.0), (94_000.0, 300.0), (80_000.0, 100.0)]
    wall(store, steps)
    bids(store, [(0.1, 3_000.0)])
    late = levels(store, oracle_deviation=0.005)
    wall(store, [(price * 0.995, units) for price, units in steps])
    bids(store, [(0.1, 3_000.0)])
    shifted = levels(store)
    assert [r["break_price_late"] for r in late] == [close(r["break_price"]) for r in shifted]
    assert [r["landing_price_late"] for r in late] == [close(r["landing_price"]) for r in shifted]


def test_what_a_feed_may_lag_makes_of_a_trigger_a_band(store: Store) -> None:
    """A feed that answers moves of 0.5 % may still answer the trigger when the market is 0.5 %
    past it; where no market file states it there is no band, unless one is given."""
    for share in (None, 0.005):
        made = Steps(block=block_after(store))
        made.account("a", {"BTC": 1}, {"USD": 80_000 * THRESHOLD})
        made.account("b", {"USD": 110_000 / 0.75}, {"BTC": 1})
        rows = [
            replace(row, deviation=share, heartbeat=3_600 if share else None)
            if isinstance(row, Factor) and row.factor == "BTC"
            else row
            for row in made.rows()
        ]
        store.append(rows, source="x")
        bids(store, [(0.1, 3_000.0)])
        band = {
            row["direction"]: row["trigger_price_late"]
            for row in ask(store, "triggers")
            if row["direction"] in ("down", "up")
        }
        assert band == (
            {"down": close(79_600), "up": close(110_550)} if share else {"down": None, "up": None}
        )
        (level,) = levels(store)
        late = level["break_price"] * (1 - 0.005)
        assert level["break_price_late"] == (close(late) if share else None)
        (given,) = levels(store, oracle_deviation=0.02)
        assert given["landing_price_late"] == close(given["landing_price"] * 0.98)
        with query.open_catalog(store) as catalog:
            report = cascade.break_levels(catalog, CascadeTerms(factor="BTC"), None)
        assert ("break_price_late=at_latest" in report.shown) == bool(share)
        words = "its feed answers anew after a move of 0.5 % or 60 minutes, so in market prices a"
        assert (words in "\n".join(report.header)) == bool(share)


def test_only_the_sold_share_moves_the_price(
    store: Store,
) -> None:
    """Only the share that is sold moves the price; all that is seized is counted."""
    wall(store, [(95_000.0, 300.0), (94_000.0, 300.0)])
    bids(store, [(0.1, 3_000.0)])
    half = levels(store, sold_share=0.5)
    wall(store, [(95_000.0, 150.0), (94_000.0, 150.0)])
    bids(store, [(0.1, 3_000.0)])
    less = levels(store)
    assert [r["break_price"] for r in half] == close([r["break_price"] for r in less])
    assert sum(r["units"] for r in half) == close(600)
    assert sum(r["sold_units"] for r in half) == close(300)


@pytest.mark.full
@pytest.mark.parametrize(
    ("reserves", "absorbed", "sold"),
    [
        ((None, None), "later", 0),
        ((5.0, 10.0), "later", 0),
        ((5.0, 10.0), "at once", 50),
        ((None, None), "at once", 50),
        ((10.0, 10.0), "at once", 0),
        ((11.0, 10.0), "at once", 0),
    ],
)
def test_absorbed_collateral_is_sold_later_below_target_reserves(
    store: Store, reserves: tuple[float | None, float | None], absorbed: str, sold: float
) -> None:
    """What a protocol absorbs is sold later, and only below its target reserves."""
    made = Steps(close_rule=ABSORB)
    made.step("a", 95_000, 50)
    rows = [r for r in made.rows() if r.table != "snapshots"]
    head = made.head(reserves_usd=reserves[0], target_reserves_usd=reserves[1])
    store.create()
    store.append([*rows, head], source="compound-v3")
    bids(store, [(0.1, 1_000.0)])
    (group,) = levels(store, absorbed=absorbed)
    assert (group["units"], group["sold_units"]) == (close(50), close(sold))
    result = rest(store, 94_000, absorbed=absorbed)
    assert (result["sold_units"], result["unsold_units"]) == (close(sold), close(50 - sold))


@pytest.mark.full
def test_a_jump_leaves_what_the_final_price_says(
    store: Store,
) -> None:
    steps = [(95_000.0, 3.0), (90_000.0, 2.0), (60_000.0, 4.0)]
    wall(store, steps)
    bids(store, [(0.1, 1_000.0)])
    for outside in (99_000.0, 80_000.0, 72_000.0, 50_000.0):
        result = rest(store, outside)
        price = result["landing_price"]
        debts = [
            (units * trigger * THRESHOLD, units * price)
            for trigger, units in steps
            if price <= trigger
        ]
        assert result["jump_bad_debt_usd"] == close(sum(max(0.0, d - c / 1.3) for d, c in debts))
        assert result["toxic_debt_usd"] == close(sum(d for d, c in debts if c < d * 1.3))


@pytest.mark.full
@pytest.mark.parametrize(
    ("price", "left"), [(85_361.0, 0.0), (85_359.0, 77_600 - 85_359 / 1.1), (80_000.0, 4_872.73)]
)
def test_a_jump_leaves_what_liquidating_at_that_price_does(
    store: Store, price: float, left: float
) -> None:
    """1 BTC with a bonus of 10 % against 77,600 dollars: the last 10 % go to liquidators, too."""
    made = Steps()
    made.account("a", {"BTC": 1}, {"USD": 77_600}, bonus={"BTC": 0.1})
    made.store(store)
    result = rest(store, price, inf)
    assert result["jump_bad_debt_usd"] == pytest.approx(left, abs=0.01)
    assert result["toxic_debt_usd"] == (77_600 if left else 0)


def test_a_jump_takes_each_collateral_with_its_own_bonus(store: Store) -> None:
    made = Steps()
    made.account("a", {"BTC": 1, "ETH": 10}, {"USD": 90_000}, bonus={"BTC": 0.1, "ETH": 0.05})
    made.store(store)
    result = rest(store, 60_000, inf)
    assert result["jump_bad_debt_usd"] == close(90_000 - 60_000 / 1.1 - 30_000 / 1.05)
    # Where ETH, twice as fast, would be worth less than nothing, it is worth nothing.
    result = rest(store, 40_000, inf, betas="eth=2")
    assert result["jump_bad_debt_usd"] == pytest.approx(90_000 - 50_000 / 1.1, rel=1e-6)


@pytest.mark.sampled
@reused
@given(
    debt=st.floats(60_000, 79_000),
    bonus=st.floats(0.0, 0.2),
    calls=st.lists(st.tuples(st.floats(0.5, 1.0), st.floats(0.0, 1.0)), max_size=6),
    final=st.floats(0.4, 0.95),
)
def test_liquidations_on_the_way_never_leave_more_bad_debt(
    store: Store, debt: float, bonus: float, calls: list[tuple[float, float]], final: float
) -> None:
    made = Steps(block=block_after(store))
    made.account("a", {"BTC": 1}, {"USD": debt}, bonus={"BTC": bonus})
    made.store(store)
    landed = rest(store, SPOT * final, inf)
    bad_debt = landed["jump_bad_debt_usd"]
    assert landed["bad_debt_usd"] <= bad_debt + 1e-6
    bonus = round(bonus * 10_000) / 10_000  # as it is stored
    held, owed = 1.0, debt
    for x, share in [*sorted((c for c in calls if c[0] > final), reverse=True), (final, 1.0)]:
        if held * x * SPOT * THRESHOLD < owed:
            repaid = min(share * owed, held * x * SPOT / (1 + bonus))
            held, owed = held - repaid * (1 + bonus) / (x * SPOT), owed - repaid
    left = owed if held < 1e-9 else 0.0
    assert left <= bad_debt + 1e-6
    if not [c for c in calls if c[0] > final] and SPOT * final * THRESHOLD < debt:
        assert bad_debt == pytest.approx(left, abs=1e-3)


@pytest.mark.parametrize("rule", [WHOLE, RESERVE_HALF])
def test_bad_debt_is_what_the_path_leaves(store: Store, rule: CloseRule) -> None:
    """With a bonus of 30 % a call at a threshold of 80 % takes more than it heals; with 5 % not."""
    made = Steps(close_rule=rule)
    made.account("toxic", {"BTC": 1}, {"USD": 72_000})
    made.account("sound", {"BTC": 1}, {"USD": 72_000}, bonus={"BTC": 0.05})
    made.store(store)
    # Both trigger at 90,000, where all of the collateral of the one pays 90,000 / 1.3.
    assert rest(store, 90_001, inf)["bad_debt_usd"] == 0
    for outside in (89_999, 40_000):
        landed = rest(store, outside, inf)
        assert landed["bad_debt_usd"] == close(72_000 - 90_000 / 1.3)
        assert landed["jump_bad_debt_usd"] > landed["bad_debt_usd"] or outside > 80_000


def test_a_correlated_factor_moves_triggers_and_is_not_sold(
    store: Store,
) -> None:
    """Another factor with a beta brings triggers forward, and its collateral is not sold as
    this one."""
    made = Steps()
    held = {"BTC": 1.0, "ETH": 30.0}  # worth 100,000 and 90,000
    made.account("a", held, {"USD": 0.8 * 171_000})  # at 10 % below, both together
    made.store(store)
    bids(store, [(0.1, 1_000.0)])
    (alone,) = levels(store)
    (both,) = levels(store, betas="eth=1")
    (more,) = levels(store, betas="eth=1.2,sol=3")
    assert alone["trigger_price"] == close(81_000)
    assert both["trigger_price"] == close(90_000)
    assert more["trigger_price"] == close(100_000 - 19_000 / 208_000 * 100_000)
    # Debt and bonus take everything; what is sold as BTC is the one BTC.
    assert (alone["units"], both["units"]) == (close(1), close(1))


@pytest.mark.full
def test_a_fall_by_a_share_reaches_each_market_at_its_own_distance(store: Store) -> None:
    for name, spot in (("high", 102_000.0), ("low", SPOT)):
        made = Steps(spot=spot, market=name)
        made.step(f"{name} past", spot * 1.01, 1.0)
        made.step(f"{name} next", spot * 0.95, 2.0)
        made.store(store)
    bids(store, [(0.1, 1_000.0)])
    now, down = levels(store, inf)
    assert (now["direction"], now["break_price"], now["accounts"]) == ("now", 102_000, 2)
    assert (down["direction"], down["break_price"]) == ("down", close(102_000 * 0.95))
    assert (down["accounts"], down["move_share"]) == (2, close(-0.05))
    before, after = ask(store, "landing_prices", scales="inf", drops="0.049,0.051")
    assert (before["accounts"], after["accounts"]) == (2, 4)
    (all_,) = (r for r in ask(store, "at_risk_near_price", width=0.001) if r["part"] == "all")
    assert all_["accounts"] == 2
    bins = ask(store, "walls", step_pct=0.01, range=0.1)
    assert [(r["direction"], r["accounts"]) for r in bins if r["accounts"]] == [
        ("now", 2),
        ("down", 2),
    ]
    for x, accounts in ((0.951, 2), (0.949, 4)):
        (direction,) = ask(store, "sales_to_price", x=x)
        assert direction["accounts"] == accounts


# --- depth of several venues --------------------------------------------------------------------


def test_books_of_venues_add_up_and_end_where_measured(store: Store) -> None:
    """Order books of several venues add up, and each ends where it was measured."""
    wall(store, [(95_000.0, 1.0)])
    at = FIRST_BLOCK_TIME + timedelta(days=1)
    first_venue = depth([(0.01, 10.0), (0.02, 30.0)], venue="one", time=at, volume_24h=500.0)
    two = depth([(0.005, 4.0), (0.05, 40.0)], venue="two", time=at)
    old = depth([(0.1, 1e6)], venue="one", time=FIRST_BLOCK_TIME)
    other = depth([(0.1, 1e6)], venue="one", factor="ETH", time=at)
    asks = depth([(0.1, 1e6)], venue="one", side="ask", time=at)
    store.append([*first_venue, *two, *old, *other, *asks], source="depth")
    rows = sorted(ask(store, "book_segments"), key=lambda r: r["units_from"])
    points = [(0.005, 5 + 4), (0.01, 10 + 8), (0.02, 30 + 16), (0.05, 30 + 40)]
    assert [(r["distance_to"], r["units_to"]) for r in rows[:-1]] == [
        (close(d), close(u)) for d, u in points
    ]
    end = rows[-1]
    assert (end["units_from"], end["units_to"], end["distance_from"]) == (close(70), None, 0.05)
    (volume,) = ask(store, "traded_daily")
    assert (volume["units"], volume["venues"]) == (500, 1)


def test_a_book_older_than_allowed_counts_for_nothing(store: Store) -> None:
    wall(store, [(95_000.0, 1.0)])
    at = FIRST_BLOCK_TIME
    store.append(depth([(0.1, 10.0)], venue="old", time=at), source="depth")
    fresh = at + timedelta(minutes=30)
    store.append(depth([(0.1, 20.0)], venue="new", time=fresh), source="depth")
    for age, venues in ((None, {"old", "new"}), (600.0, {"new"}), (30.0, set())):
        rows = ask(store, "depth_at", as_of=fresh + timedelta(minutes=1), max_age=age)
        assert {row["venue"] for row in rows} == venues
    assert {r["age_seconds"] for r in ask(store, "depth_at", as_of=fresh)} == {0, 1_800}


def test_a_hole_in_the_book_is_jumped_by_the_unit_that_falls_into_it(store: Store) -> None:
    wall(store, [(95_000.0, 10.0), (94_999.0, 1.0), (94_990.0, 1.0)])
    bids(store, [(0.01, 10.0), (0.04, 10.0), (0.05, 30.0)])
    first, second, third = sorted(ask(store, "break_steps"), key=lambda r: r["n"])
    assert first["t_ext"] == 95_000
    assert second["t_ext"] == close(94_999 / 0.99)
    assert third["t_ext"] == close(94_990 / (1 - 0.04 - 0.01 / 20))


def test_with_unlimited_depth_each_step_fires_at_its_own_price(store: Store) -> None:
    """Where sales do not move the market, every step fires at its own price."""
    wall(store, [(95_000.0, 10.0), (94_999.0, 1.0), (94_999.0, 1.0)])
    result = levels(store, inf)
    assert [row["break_price"] for row in result] == [95_000, close(94_999)]
    assert [row["endogenous_share"] for row in result] == [0, close(0)]
