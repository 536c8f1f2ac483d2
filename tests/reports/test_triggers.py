"""Trigger prices from hand-made portfolios: golden cases, reference vectors, and bisection."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chainwatch.lake.store import Store
from tests.amounts import sample_size
from tests.builders import Asset, Book, ask
from tests.vectors import cases, read

REL = 1e-9


def vectors(section: str) -> list[Any]:
    """One parameter per case of a section of liquidation_price.json."""
    result = read("liquidation_price")
    if result is None:
        return cases("liquidation_price", section)  # skips, or fails in CI
    return [pytest.param(c, id=c.get("name", str(i))) for i, c in enumerate(result[section])]


@pytest.fixture
def store(empty_lake: Store) -> Store:
    return empty_lake


def trigger(store: Store, factor: str, account: str) -> dict[str, Any]:
    (row,) = [r for r in ask(store, "triggers", factor=factor) if r["account"] == account]
    return row


def close(value: float) -> Any:
    return pytest.approx(value, rel=REL)


# --- golden cases -------------------------------------------------------------------------------

# models.md 2.1: case → collateral, debt, thresholds, health factor, and per shock the price at
# which the account becomes liquidatable (None: never), with the direction.
PRICES = {"WBTC": 90_000.0, "WETH": 3_000.0, "wstETH": 3_660.0, "USDC": 1.0}
GOLDEN: dict[str, tuple[Any, Any, Any, float, dict[str, tuple[str, float | None]]]] = {
    "A": (
        {"WBTC": 1},
        {"USDC": 60_000},
        {},
        1.17,
        {"WBTC": ("down", 76_923.08), "volatile": ("down", 0.854701)},
    ),
    "B": (
        {"WBTC": 2, "WETH": 60},
        {"USDC": 240_000},
        {},
        1.2075,
        {
            "WBTC": ("down", 58_076.92),
            "WETH": ("down", 2_000.00),
            "volatile": ("down", 0.828157),
        },
    ),
    "C": (
        {"WBTC": 2, "USDC": 20_000},
        {"USDC": 120_000},
        {},
        1.3,
        {"WBTC": ("down", 66_923.08), "USDC": ("up", 1.3448), "volatile": ("down", 0.743590)},
    ),
    "D": (
        {"wstETH": 1_000},
        {"WETH": 1_090},
        {"wstETH": 0.95},
        1.0633,
        {
            "wstETH": ("down", 3_442.11),
            "WETH": ("up", 3_189.91),
            "volatile": ("never", None),
        },
    ),
    "E": (
        {"WBTC": 2, "wstETH": 50},
        {"WETH": 20, "USDC": 150_000},
        {},
        1.3570,
        {
            "WBTC": ("down", 41_942.31),
            "wstETH": ("down", 1_762.03),
            "WETH": ("up", 6_748.50),
            "volatile": ("down", 0.666756),
        },
    ),
}
THRESHOLDS = {"WBTC": 0.78, "WETH": 0.83, "wstETH": 0.79, "USDC": 0.78}


@pytest.mark.full
def test_the_golden_portfolios_trigger_where_the_table_says(store: Store) -> None:
    assets = [
        Asset(
            symbol,
            price,
            lt=THRESHOLDS[symbol],
            betas={symbol: 1.0} | ({"volatile": 1.0} if price > 1 else {}),
        )
        for symbol, price in PRICES.items()
    ]
    book = Book(*assets)
    accounts = {
        name: book.account(name, collateral, debt, lt=lt)
        for name, (collateral, debt, lt, _, _) in GOLDEN.items()
    }
    book.store(store)
    for name, (_, _, _, hf, shocks) in GOLDEN.items():
        for factor, (direction, expected) in shocks.items():
            row = trigger(store, factor, accounts[name])
            assert row["direction"] == direction, (name, factor)
            assert row["hf"] == pytest.approx(hf, abs=5e-5)
            if expected is None:
                assert row["x"] is None
            elif factor == "volatile":
                assert row["x"] == pytest.approx(expected, abs=5e-7)
            else:
                assert row["trigger_price"] == pytest.approx(
                    expected, abs=5e-3 if expected > 2 else 5e-5
                )


@pytest.mark.full
@pytest.mark.parametrize("case", vectors("portfolios"))
def test_a_portfolio_of_the_reference_vectors_triggers_as_computed(
    store: Store, case: dict[str, Any]
) -> None:
    shocks = {f"shock {i}": result for i, result in enumerate(case["results"])}
    symbols = {*case["collateral"], *case["debt"], *(s for r in shocks.values() for s in r["beta"])}
    book = Book(
        *(
            Asset(
                symbol,
                PRICES[symbol],
                lt=case["lt"].get(symbol, 0.5),
                betas={
                    name: shock["beta"][symbol]
                    for name, shock in shocks.items()
                    if symbol in shock["beta"]
                },
                factor_price=1.0,
            )
            for symbol in sorted(symbols)
        )
    )
    account = book.account("vector", case["collateral"], case["debt"])
    book.store(store)
    for name, shock in shocks.items():
        row = trigger(store, name, account)
        assert row["hf"] == close(case["hf"])
        for figure in ("A0", "A1", "D0", "D1"):
            assert row[figure.lower()] == pytest.approx(shock[figure], rel=REL, abs=1e-6)
        assert row["direction"] == shock["side"], shock["shock"]
        assert row["x"] == (None if shock["x"] is None else close(shock["x"]))
        for symbol, price in (shock["prices"] or {}).items():
            beta = shock["beta"].get(symbol, 0.0)
            assert PRICES[symbol] * (1 - beta + beta * row["x"]) == close(price)


@pytest.mark.full
@pytest.mark.parametrize("case", vectors("triggers"))
def test_a_trigger_of_the_reference_vectors_is_the_querys(
    store: Store, case: dict[str, Any]
) -> None:
    if "inputs" in case:
        legs = case["inputs"]["assets"]
        book = Book(
            *(
                Asset(symbol, 1.0, lt=leg["lt"], betas={"F": leg["beta"]}, factor_price=88_000.0)
                for symbol, leg in legs.items()
            ),
            Asset("cash", 1.0),
        )
        account = book.account(
            "v", {s: leg["value"] for s, leg in legs.items()}, {"cash": case["inputs"]["debt"]}
        )
        level = 1.0
    else:
        level = case["h"]
        price = case["price"] / case["x"] if case["x"] else 1.0
        book = Book(
            Asset("mover", 1.0, lt=0.78, betas={"F": 1.0}, factor_price=price),
            Asset("still", 1.0, lt=1.0),
        )
        account = book.account(
            "v",
            {"still": case["A0"], "mover": case["A1"] / 0.78},
            {"still": case["D0"], "mover": case["D1"]},
        )
    book.store(store)
    row = trigger(store, "F", account)
    assert row["direction"] == case["side"]
    if "hf_now" in case:
        assert row["hf"] == close(case["hf_now"])
    x = row["x"] if level == 1.0 else row["x_full"]
    assert x == (None if case["x"] is None else close(case["x"]))
    if case["price"] is not None:
        assert row["factor_price"] * x == close(case["price"])
        if level == 1.0:
            assert row["trigger_price"] == close(case["price"])


# --- the edges of the closed form ---------------------------------------------------------------


def test_a_beta_above_one_crosses_where_bisection_says(store: Store) -> None:
    book = Book(Asset("fast", 10.0, lt=0.8, betas={"F": 1.5}), Asset("cash", 1.0))
    account = book.account("a", {"fast": 100}, {"cash": 600})
    book.store(store)
    row = trigger(store, "F", account)
    # 1000 (1 - 1.5 + 1.5 x) 0.8 = 600
    assert (row["direction"], row["x"]) == ("down", close((600 / 800 + 0.5) / 1.5))


@pytest.mark.parametrize(
    ("name", "collateral", "debt", "direction"),
    [
        # Only where 1 - 1.5 + 1.5 x < 0 would the collateral be worth less than nothing.
        ("down beyond zero", {"fast": 100, "cash": 1_000}, {"cash": 790}, "outside"),
        ("all of it moves alike", {"fast": 100}, {"quick": 70}, "outside"),
        ("a loop that differs", {"fast": 100}, {"other": 70}, "down"),
        ("up beyond zero", {"cash": 1_000}, {"against": 60}, "down"),
        ("falls as the factor rises", {"against": 100}, {"cash": 700}, "up"),
        ("worth nothing before", {"against": 100, "cash": 1}, {"cash": 0.5}, "outside"),
    ],
)
def test_a_crossing_counts_only_where_every_price_is_positive(
    store: Store,
    name: str,
    collateral: Mapping[str, float],
    debt: Mapping[str, float],
    direction: str,
) -> None:
    book = Book(
        Asset("fast", 10.0, lt=0.8, betas={"F": 1.5}),
        Asset("quick", 10.0, lt=0.8, betas={"F": 1.5}),
        Asset("other", 10.0, lt=0.8, betas={"F": 1.2}),
        Asset("against", 10.0, lt=0.8, betas={"F": -0.5}),
        Asset("cash", 1.0, lt=0.8),
    )
    account = book.account(name, collateral, debt)
    book.store(store)
    row = trigger(store, "F", account)
    assert row["direction"] == direction, row
    expected = bisect(book, account, "F", weighted)
    assert expected[0] == ("never" if direction == "outside" else direction)
    if direction == "outside":
        assert row["x"] is row["trigger_price"] is row["tolerance"] is row["x_full"] is None
    else:
        assert row["x"] == pytest.approx(expected[1], rel=1e-6)


def test_a_loop_that_would_cross_at_a_negative_price_is_outside(store: Store) -> None:
    """Storage.md's domain trap: legs of beta 1.2 only "cross" at exactly x = 1/6, 0/0."""
    book = Book(
        Asset("lst", 10.0, lt=0.8, betas={"F": 1.2}),
        Asset("eth", 10.0, lt=0.8, betas={"F": 1.2}),
        Asset("cash", 1.0, lt=0.8),
    )
    loop = book.account("loop", {"lst": 100}, {"eth": 60, "cash": 0.001})
    book.store(store)
    row = trigger(store, "F", loop)
    assert row["direction"] == "down"
    assert 1 / 6 < row["x"] < 1 / 6 + 1e-4
    exact = Book(
        Asset("lst", 10.0, lt=0.8, betas={"F": 1.2}),
        Asset("eth", 10.0, lt=0.8, betas={"F": 1.2}),
        block=200,
    )
    loop = exact.account("loop", {"lst": 100}, {"eth": 60})
    exact.store(store)
    row = trigger(store, "F", loop)
    assert row["direction"] == "outside"
    assert row["x"] is None


@pytest.mark.full
def test_every_class_is_told_apart(store: Store) -> None:
    book = Book(
        Asset("btc", 100.0, lt=0.8, betas={"F": 1.0}),
        Asset("cash", 1.0, lt=0.8),
        Asset("dead", None, lt=0.8, betas={"G": 1.0}),
    )
    made = {
        "down": book.account("1", {"btc": 10}, {"cash": 500}),
        "up": book.account("2", {"cash": 1_000}, {"btc": 5}),
        "now": book.account("3", {"btc": 1}, {"cash": 81}),
        "flat": book.account("4", {"cash": 100}, {"cash": 50}),
        "never": book.account("5", {"cash": 100, "btc": 1}, {"cash": 50}),
        "n/a": book.account("6", {"dead": 1, "btc": 1}, {"cash": 1}),
    }
    no_debt = book.account("7", {"btc": 1})
    nothing = book.account("8")
    edge = book.account("9", {"btc": 10}, {"cash": 800})
    book.store(store)
    for direction, account in made.items():
        row = trigger(store, "F", account)
        assert row["direction"] == direction
        assert (row["x"] is not None) == (direction in ("down", "up", "now"))
        assert (row["tolerance"] is not None) == (direction in ("down", "up"))
    assert trigger(store, "F", no_debt)["direction"] == "never"
    assert nothing not in {row["account"] for row in ask(store, "triggers", factor="F")}
    # A health factor of exactly 1 is not liquidatable: it is at the first tick below.
    row = trigger(store, "F", edge)
    assert (row["direction"], row["x"]) == ("down", close(1))
    # The factor's name is taken in any case, and a factor nobody knows moves nothing.
    assert len(ask(store, "triggers", factor="f")) == 8
    assert {row["direction"] for row in ask(store, "triggers", factor="none")} == {
        "flat",
        "never",
        "now",
        "n/a",
    }


def test_near_the_threshold_the_contracts_integer_decides(store: Store) -> None:
    """Thresholds that differ: 0.8 · 1 + 0.7 · 1 truncates to 0.75 exactly; floats alone cannot."""
    book = Book(
        Asset("btc", 1.0, lt=0.8, betas={"F": 1.0}), Asset("cash", 1.0, lt=0.7), truncates_lt=True
    )
    at = book.account("at", {"btc": 100, "cash": 100}, {"cash": 150})
    under = book.account("under", {"btc": 100, "cash": 100}, {"cash": 150.00000001})
    book.store(store)
    stored = {a.account: a.hf_wad for a in book.accounts}
    assert stored[at] == 10**18
    assert stored[under] is not None
    assert stored[under] < 10**18
    assert trigger(store, "F", at)["direction"] == "down"
    assert trigger(store, "F", under)["direction"] == "now"


@pytest.mark.full
@pytest.mark.parametrize("case", vectors("toxic"))
def test_at_the_toxic_line_healing_takes_all_of_the_collateral(
    store: Store, case: dict[str, Any]
) -> None:
    """LTV > 1 / LB: each liquidation worsens the account, nothing short of all heals it."""
    bonus, threshold = case["LB"] - 1, case["LT"]
    assert case["toxic_HF"] == close(threshold * case["LB"])
    for block, (ltv, toxic) in enumerate(
        ((case["toxic_LTV"] - 1e-4, False), (case["toxic_LTV"] + 1e-4, True)), start=1
    ):
        book = Book(
            Asset("btc", 1_000.0, lt=threshold, bonus=bonus, betas={"F": 1.0}),
            Asset("cash", 1.0),
            block=block,
        )
        account = book.account("a", {"btc": 10}, {"cash": 10_000 * ltv})
        book.store(store)
        row = trigger(store, "F", account)
        assert row["direction"] == "now"
        assert (row["hf"] < case["toxic_HF"]) is toxic
        (now,) = [r for r in ask(store, "walls", factor="F") if r["direction"] == "now"]
        if toxic:
            assert now["seize_to_heal_usd"] == close(10_000)
        else:
            assert now["seize_to_heal_usd"] < 10_000 * (1 - 1e-4)


@pytest.mark.parametrize("case", vectors("repay_to_target"))
def test_the_smallest_repayment_that_heals_is_that_of_the_vectors(
    store: Store, case: dict[str, Any]
) -> None:
    book = Book(
        Asset("btc", 1.0, lt=case["LT"], bonus=case["LB"] - 1, betas={"F": 1.0}),
        Asset("cash", 1.0),
    )
    book.account("a", {"btc": case["A"] / case["LT"]}, {"cash": case["D"]})
    book.store(store)
    (now,) = [r for r in ask(store, "walls", factor="F") if r["direction"] == "now"]
    assert now["seize_to_heal_usd"] == close(case["repay_to_HF1"] * case["LB"])


# --- against bisection --------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One balance, by its value now."""

    usd: float
    threshold_bps: int
    beta: float
    debt: bool

    def at(self, x: float) -> float:
        return self.usd * (1 - self.beta + self.beta * x)


def lines(book: Book, account: str, factor: str) -> list[Line]:
    by_address = {asset.address: asset for asset in book.assets.values()}
    return [
        Line(
            leg.usd or 0.0,
            leg.lt_bps,
            by_address[leg.asset].betas.get(factor, 0.0),
            leg.side == "debt",
        )
        for leg in book.legs
        if leg.account == account
    ]


def weighted(parts: list[Line], x: float) -> float:
    """Health factor at x by the sum of thresholds."""
    debt = sum(p.at(x) for p in parts if p.debt)
    return sum(p.at(x) * p.threshold_bps / 1e4 for p in parts if not p.debt) / debt


def truncated(parts: list[Line], x: float) -> float:
    """Health factor at x as pools up to 3.4 count it: the average threshold cut to 1 bp."""
    collateral = sum(p.at(x) for p in parts if not p.debt)
    if collateral <= 0:
        return 0.0
    average = sum(p.at(x) * p.threshold_bps for p in parts if not p.debt) / collateral
    return collateral * int(average + 1e-9) / 1e4 / sum(p.at(x) for p in parts if p.debt)


def domain(parts: list[Line]) -> tuple[float, float]:
    """Where every price is positive."""
    low = max([0.0, *(1 - 1 / p.beta for p in parts if p.beta > 1)])
    high = min([1e15, *(1 - 1 / p.beta for p in parts if p.beta < 0)])
    return low, high


def bisect(book: Book, account: str, factor: str, rule: Any) -> tuple[str, float]:
    """(direction, x) from the definition of the health factor alone."""
    parts = lines(book, account, factor)
    if not any(p.debt and p.usd > 0 for p in parts):
        return "never", 0.0
    if rule(parts, 1.0) < 1 - 1e-12:
        return "now", 1.0
    if not any(p.beta for p in parts):
        return "flat", 0.0
    low, high = domain(parts)
    for direction, far in (("down", low + 1e-7 * (1 - low)), ("up", high - 1e-7 * (high - 1))):
        if rule(parts, far) < 1:
            near = 1.0
            for _ in range(200):
                midpoint = (near + far) / 2
                near, far = (midpoint, far) if rule(parts, midpoint) >= 1 else (near, midpoint)
            return direction, far
    return "never", 0.0


SYMBOLS = ("A", "B", "C", "D", "E")
amounts = st.dictionaries(st.sampled_from(SYMBOLS), st.integers(1, 10**7), min_size=1, max_size=4)
portfolios = st.lists(
    st.tuples(amounts, amounts, st.floats(0.7, 4, allow_nan=False)), min_size=20, max_size=60
)
thresholds = st.lists(st.integers(300, 9_800), min_size=5, max_size=5)
betas = st.lists(
    st.sampled_from([0.0, 0.0, 1.0, 1.0, 0.3, 0.85, 1.2, 1.7, -0.4]), min_size=5, max_size=5
)


def drawn(
    truncates_lt: bool, block: int, draw: Any, limits: list[int], exposures: list[float]
) -> Book:
    """A book of accounts whose debt is scaled to the health factor drawn."""
    book = Book(
        *(
            Asset(s, 1.0, lt=lt / 1e4, betas={"F": beta})
            for s, lt, beta in zip(SYMBOLS, limits, exposures, strict=True)
        ),
        block=block,
        truncates_lt=truncates_lt,
    )
    for i, (collateral, debt, hf) in enumerate(draw):
        power = sum(usd * limits[SYMBOLS.index(s)] / 1e4 for s, usd in collateral.items())
        scale = power / hf / sum(debt.values())
        book.account(str(i), collateral, {s: usd * scale for s, usd in debt.items()})
    return book


reused = settings(
    max_examples=sample_size(quick=3, full=15, torture=500),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # the row that fails says it all
)


@pytest.mark.sampled
@reused
@given(draw=portfolios, limits=thresholds, exposures=betas)
def test_the_query_finds_what_bisection_finds(
    store: Store, draw: Any, limits: list[int], exposures: list[float]
) -> None:
    book = drawn(False, next_block(store), draw, limits, exposures).store(store)
    for row in ask(store, "triggers", factor="F"):
        parts = lines(book, row["account"], "F")
        direction, x = bisect(book, row["account"], "F", weighted)
        if direction != row["direction"]:
            assert undecidable(parts, direction, row["direction"], weighted), (direction, x, row)
            continue
        if direction in ("down", "up"):
            assert row["x"] == pytest.approx(x, rel=1e-6), row


@pytest.mark.sampled
@reused
@given(draw=portfolios, limits=thresholds, exposures=st.just([1.0, 1.0, 0.0, 0.0, 0.0]))
def test_with_truncated_thresholds_the_first_step_below_one(
    store: Store, draw: Any, limits: list[int], exposures: list[float]
) -> None:
    """With truncated thresholds the query returns the first step below one."""
    book = drawn(True, next_block(store), draw, limits, exposures).store(store)
    for row in ask(store, "triggers", factor="F"):
        parts = lines(book, row["account"], "F")
        if truncated(parts, 1.0) < 1 - 1e-9:
            assert row["direction"] == "now", row
            continue
        if row["direction"] == "now":
            assert truncated(parts, 1.0) < 1 + 1e-9
            continue
        # Everywhere between the price now and the trigger the account is safe, on each step of
        # the staircase at both of its ends; just beyond the trigger it is not.
        down = row["direction"] == "down" or (row["direction"] != "up" and row["a1"] >= row["d1"])
        end = row["x"] or (1e-6 if down else 1e6)
        sign = 1 if down else -1
        for x in staircase(parts, 1.0, end):
            assert truncated(parts, x) >= 1 - 1e-8, (x, row)
        if row["x"]:
            assert truncated(parts, end * (1 - sign * 1e-6)) < 1, row


def staircase(parts: list[Line], start: float, end: float) -> list[float]:
    """The points of start … end at which the health factor is least: both sides of each place
    where the average threshold passes a basis point (200 of them at the most), and the ends."""
    held = [p for p in parts if not p.debt]
    a1 = sum(p.usd * p.beta * p.threshold_bps for p in held)
    a0 = sum(p.usd * (1 - p.beta) * p.threshold_bps for p in held)
    c1 = sum(p.usd * p.beta for p in held)
    c0 = sum(p.usd * (1 - p.beta) for p in held)
    low, high = sorted((start, end))
    ends = [(a0 + a1 * x) / (c0 + c1 * x) for x in (low, high)]
    steps = range(math.ceil(min(ends)), math.floor(max(ends)) + 1)
    results = [start, end + (start - end) * 1e-6]
    for n in list(steps)[:100] + list(steps)[-100:]:
        if a1 != n * c1:
            x = (n * c0 - a0) / (a1 - n * c1)
            results += [x * (1 - 1e-7), x * (1 + 1e-7)]
    inside = sorted((results[1], start))
    return [x for x in results if inside[0] <= x <= inside[1]]


def next_block(store: Store) -> int:
    """A block above all that earlier examples stored, so that the newest snapshot is this one's."""
    if not store.exists:
        return 1
    return max((r["block_number"] for r in ask(store, "snapshots_at")), default=0) + 1


def undecidable(parts: list[Line], class_of_query: str, other: str, rule: Any) -> bool:
    """Whether two classes meet here within float precision or at the edge of the domain."""
    low, high = domain(parts)
    if {class_of_query, other} & {"now"}:
        return abs(rule(parts, 1.0) - 1) < 1e-9
    edges = [rule(parts, low + 1e-7 * (1 - low)), rule(parts, high - 1e-7 * (high - 1))]
    if any(abs(edge - 1) < 1e-5 for edge in edges):
        return True
    return other == "outside" and class_of_query == "never"
