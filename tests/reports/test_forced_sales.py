"""What liquidators may take, step by step: no more than is held, no jump where a class begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

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
from chainwatch.reports import headers
from tests.amounts import sample_size
from tests.builders import Asset, Book, ask

PRICES = {"BTC": 100_000.0, "tBTC": 99_000.0, "ETH": 4_000.0, "USD": 1.0}
THRESHOLDS = {"BTC": 0.8, "tBTC": 0.73, "ETH": 0.83, "USD": 0.75}
BONUSES = {"BTC": 0.05, "tBTC": 0.1, "ETH": 0.06, "USD": 0.045}
OWN = ("BTC", "tBTC")  # priced by the factor that moves


@pytest.fixture
def store(empty_lake: Store) -> Store:
    return empty_lake


def close(value: float, rel: float = 1e-9) -> Any:
    return pytest.approx(value, rel=rel, abs=1e-9)


def market(store: Store, **book: Any) -> Book:
    block = 1
    if store.exists:
        block += max((r["block_number"] for r in ask(store, "snapshots_at")), default=0)
    factors = {"BTC": "BTC", "tBTC": "BTC", "ETH": "ETH", "USD": "USD"}
    return Book(
        *(
            Asset(
                symbol,
                price,
                lt=THRESHOLDS[symbol],
                bonus=BONUSES[symbol],
                betas={factors[symbol]: 1.0},
                factor_price=PRICES["BTC"] if symbol in OWN else price,
            )
            for symbol, price in PRICES.items()
        ),
        block=block,
        **book,
    )


def sales(store: Store, **values: object) -> list[dict[str, Any]]:
    return ask(store, "forced_sales", **({"factor": "BTC"} | values))


# --- two calls, in plain Python -----------------------------------------------------------------


@dataclass
class Called:
    """An account that is called as the factor moves; balances in USD at today's prices."""

    held: dict[str, float]
    owed: dict[str, float]
    beta: float  # of ETH
    rule: CloseRule
    bonuses: Mapping[str, float]

    def price(self, symbol: str, x: float) -> float:
        """As a multiple of today's."""
        return x if symbol in OWN else 1 + self.beta * (x - 1) if symbol == "ETH" else 1.0

    def worth(self, balances: dict[str, float], x: float) -> float:
        return sum(usd * self.price(symbol, x) for symbol, usd in balances.items())

    def health(self, x: float) -> float:
        power = sum(usd * THRESHOLDS[s] * self.price(s, x) for s, usd in self.held.items())
        return power / self.worth(self.owed, x)

    def crosses(self, level: float) -> float | None:
        """Where, on the way out from today's prices, the health factor falls below a level."""
        if self.health(1) < level:
            return 1.0
        moves = "ETH" in (*self.held, *self.owed)
        low = 1 - 1 / self.beta if moves and self.beta > 1 else 0.0
        high = 1 - 1 / self.beta if moves and self.beta < 0 else 1e6
        for far in (low + 1e-7 * (1 - low), high - 1e-7 * (high - 1)):
            if self.health(far) < level:
                near = 1.0
                for _ in range(200):
                    midpoint = (near + far) / 2
                    near, far = (
                        (midpoint, far) if self.health(midpoint) >= level else (near, midpoint)
                    )
                return far
        return None

    def first(self, x: float) -> tuple[float, dict[str, float], dict[str, float]]:
        """USD, and the shares of each balance that one call takes and repays."""
        if self.rule.absorbs:
            return self.worth(self.held, x), dict.fromkeys(self.held, 1.0), {}
        if self.rule == WHOLE:
            return self.close(self.held, self.owed, x)
        collateral, debt = largest(self.held), largest(self.owed)
        worth = self.held[collateral] * self.price(collateral, x)
        owed = self.owed[debt] * self.price(debt, x)
        repaid = min(self.rule.close_factor * owed, worth / (1 + self.bonuses[collateral]))
        seized = repaid * (1 + self.bonuses[collateral])
        return seized, {collateral: seized / worth}, {debt: repaid / owed}

    def close(
        self, held: dict[str, float], owed: dict[str, float], x: float
    ) -> tuple[float, dict[str, float], dict[str, float]]:
        """All debt against all collateral, the same share of each balance on either side."""
        pays = sum(usd * self.price(s, x) / (1 + self.bonuses[s]) for s, usd in held.items())
        debt = self.worth(owed, x)
        repaid = min(debt, pays)
        seized = repaid / pays if pays else 0.0
        return (
            seized * self.worth(held, x),
            dict.fromkeys(held, seized),
            dict.fromkeys(owed, repaid / debt if debt else 0.0),
        )

    def steps(self) -> list[tuple[float, float, float, float]]:
        """(x, USD, USD of today of BTC seized, the same bought) of each call."""
        hit = self.crosses(1)
        if hit is None:
            return []
        usd, seized, repaid = self.first(hit)
        results = [(hit, usd, own(self.held, seized), own(self.owed, repaid))]
        level = self.rule.full_close_below_hf
        deep = None if level is None else self.crosses(level)
        if deep is None:
            return results
        held = {s: usd * (1 - seized.get(s, 0.0)) for s, usd in self.held.items()}
        owed = {s: usd * (1 - repaid.get(s, 0.0)) for s, usd in self.owed.items()}
        usd, more, paid = self.close(held, owed, deep)
        return [*results, (deep, usd, own(held, more), own(owed, paid))]


def largest(balances: dict[str, float]) -> str:
    return max(balances, key=lambda symbol: balances[symbol])


def own(balances: dict[str, float], shares: dict[str, float]) -> float:
    return sum(usd * shares.get(s, 0.0) for s, usd in balances.items() if s in OWN)


usd = st.floats(1e3, 1e6, allow_nan=False)
sides = st.dictionaries(st.sampled_from(list(PRICES)), usd, min_size=1, max_size=3)
worlds = st.lists(
    st.tuples(sides, sides, st.floats(0.8, 1.6, allow_nan=False)), min_size=5, max_size=25
)
QUARTER = CloseRule(close_factor=0.25, close_basis="reserve", full_close_below_hf=0.9)
rules = st.sampled_from([RESERVE_HALF, RESERVE_HALF, QUARTER, HALF, WHOLE, ABSORB])
eth_betas = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, -0.5])
reused = settings(
    max_examples=sample_size(quick=3, full=12, torture=500),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


def drawn(
    store: Store,
    draw: Any,
    rule: CloseRule,
    beta: float,
    bonuses: Mapping[str, float] = BONUSES,
) -> dict[str, Called]:
    """Accounts whose debt is scaled to the health factor drawn, stored as one snapshot."""
    book = market(store, close_rule=rule)
    made = {}
    for i, (held, owed, hf) in enumerate(draw):
        scale = sum(v * THRESHOLDS[s] for s, v in held.items()) / hf / sum(owed.values())
        owed = {s: v * scale for s, v in owed.items()}
        account = book.account(
            str(i),
            {s: v / PRICES[s] for s, v in held.items()},
            {s: v / PRICES[s] for s, v in owed.items()},
            bonus=bonuses,
        )
        made[account] = Called(held, owed, beta, rule, bonuses)
    book.store(store)
    return made


@pytest.mark.sampled
@reused
@given(draw=worlds, rule=rules, beta=eth_betas)
def test_steps_are_those_of_two_calls_and_take_what_is_there(
    store: Store, draw: Any, rule: CloseRule, beta: float
) -> None:
    """In every world: no asset more than is held, none bought that is not owed, all prices above 0,
    and each figure that of the two calls made one after the other."""
    made = drawn(store, draw, rule, beta)
    values: dict[str, list[dict[str, Any]]] = {account: [] for account in made}
    for row in sales(store, direction="both", betas=f"eth={beta}"):
        called = made[row["account"]]
        assert all(called.price(s, row["x"]) > 0 for s in (*called.held, *called.owed)), row
        if row["step"] in ("trigger", "rest"):
            values[row["account"]].append(row)
        else:
            assert row["seize_usd"] == row["units"] == row["bought_units"] == 0
    for account, called in made.items():
        rows = sorted(values[account], key=lambda r: str(r["step"]), reverse=True)
        held = sum(v for s, v in called.held.items() if s in OWN) / PRICES["BTC"]
        owed = sum(v for s, v in called.owed.items() if s in OWN) / PRICES["BTC"]
        assert sum(r["units"] for r in rows) <= held * (1 + 1e-12)
        assert sum(r["bought_units"] for r in rows) <= owed * (1 + 1e-12)
        if undecided(called):
            continue
        wanted = called.steps()
        assert len(rows) == len(wanted), (called, rows)
        for row, (x, worth, seized, bought) in zip(rows, wanted, strict=True):
            assert row["x"] == close(x, 1e-6), (called, row)
            assert row["seize_usd"] == pytest.approx(worth, rel=1e-5, abs=1e-3), (called, row)
            assert row["units"] * PRICES["BTC"] == pytest.approx(seized, rel=1e-5, abs=1e-3)
            assert row["bought_units"] * PRICES["BTC"] == pytest.approx(bought, rel=1e-5, abs=1e-3)


def undecided(called: Called) -> bool:
    """Two balances of one size, or a health factor that meets its level at an end of the range."""
    for balances in (called.held, called.owed):
        first, *rest = sorted(balances.values(), reverse=True)
        if rest and rest[0] > first * (1 - 1e-6):
            return True
    ends = [1.0, 1e-7, 1e6]
    if called.beta not in (0.0, 1.0):
        edge = 1 - 1 / called.beta
        ends += [edge + 1e-7 * (1 - edge)] if edge > 0 else []
    return any(abs(called.health(x) - level) < 1e-5 for x in ends for level in (1.0, 0.95))


@pytest.mark.sampled
@reused
@given(draw=worlds, rule=rules, at=st.floats(0.05, 1.0))
def test_no_single_liquidation_on_the_way_down_takes_more(
    store: Store, draw: Any, rule: CloseRule, at: float
) -> None:
    """Whoever waits and calls once, at any price on the way, takes no more USD than is counted
    down to there: half of a pair above a health factor of 0.95, everything at or below it.
    (Where bonuses differ it depends on the collateral that is chosen.)"""
    debts_stay = [(held, {"USD": sum(owed.values())}, hf) for held, owed, hf in draw]
    made = drawn(store, debts_stay, rule, 1.0, dict.fromkeys(PRICES, 0.05))
    counted = dict.fromkeys(made, 0.0)
    for row in sales(store, betas="eth=1"):
        if row["x"] >= at:
            counted[row["account"]] += row["seize_usd"]
    for account, called in made.items():
        if called.health(at) >= 1 - 1e-9:
            continue
        usd = called.first(at)[0]
        if rule == RESERVE_HALF and called.health(at) < 0.95 - 1e-9:
            usd = max(usd, called.close(called.held, called.owed, at)[0])
        assert counted[account] >= usd * (1 - 1e-9) - 1e-6, called


def test_the_second_call_is_split_by_what_the_first_one_left(store: Store) -> None:
    book = market(store)
    book.account("a", {"BTC": 1, "USD": 60_000}, {"ETH": 25}, lt={"USD": 0.8}, bonus={"USD": 0.05})
    book.store(store)
    trigger, rest = sorted(
        (r for r in sales(store) if r["step"] in ("trigger", "rest")), key=lambda r: -r["x"]
    )
    assert (trigger["x"], rest["x"]) == (close(0.65), close(0.5875))
    assert trigger["units"] == close(52_500 / 65_000)
    # 0.1923 BTC worth 11,298 and 60,000 dollars are left to pay 50,000 with the bonus.
    left = 1 - 52_500 / 65_000
    assert rest["seize_usd"] == close(52_500)
    assert rest["units"] == close(left * 52_500 / (left * 58_750 + 60_000))


def test_a_step_where_another_price_would_be_negative_is_none(store: Store) -> None:
    """BTC 100,000, ETH 1.5 times as fast: worth nothing where BTC has lost two thirds."""
    book = market(store)
    book.account("a", {"BTC": 1, "ETH": 25}, {"USD": 26_900}, lt={"ETH": 0.8}, bonus={"ETH": 0.05})
    book.store(store)
    (trigger,) = ask(store, "triggers", factor="BTC", betas="eth=1.5")
    assert (trigger["direction"], trigger["x"]) == ("down", close(0.3345))
    assert trigger["x_min"] == pytest.approx(1 / 3, abs=1e-8)
    assert (trigger["x_full"], trigger["full_outside"]) == (None, True)
    with query.open_catalog(store) as catalog:
        left_out = headers.excluded_accounts(catalog, {}, {"p_factor": "BTC", "p_betas": "eth=1.5"})
    (line,) = headers.no_sum_lines(left_out)
    assert line.endswith(
        ": accounts in some sums only: 1 full close where prices are not linear (debt 26,900 USD)"
    )
    steps = sales(store, betas="eth=1.5")
    assert [r["step"] for r in steps if r["seize_usd"]] == ["trigger"]
    assert all(r["x"] > 1 / 3 for r in steps)
    # Healing grows as far as prices are linear, and no further.
    rows = [
        r for r in ask(store, "walls", factor="MARKET", betas="btc=1,eth=1.5", range=0.99)
        if r["direction"] == "down"
    ]  # fmt: skip
    deep = [r["cum_seize_to_heal_usd"] for r in rows if r["price_from"] < 0.33]
    missing = 26_900 - 0.8 * 100_000 / 3
    assert deep == [close(missing * 1.05 / (1 - 1.05 * 0.8), 1e-6)] * len(deep)
    # At a beta of one the same account has its second step.
    assert {r["step"] for r in sales(store, betas="eth=1")} >= {"trigger", "rest"}


def test_a_step_above_a_cap_of_a_price_is_none(store: Store) -> None:
    """Dollars owed reach a health factor of 1 below their cap, and 0.95 above it."""
    book = Book(
        Asset("BTC", 100_000.0, lt=0.8, bonus=0.05, betas={"BTC": 1.0}),
        Asset("USD", 1.0, betas={"USD": 1.0}, cap_x=1.04),
    )
    book.account("a", {"BTC": 1}, {"USD": 80_000 / 1.02})
    book.store(store)
    (trigger,) = sales(store, factor="USD", direction="up")[:1]
    assert (trigger["step"], trigger["x"]) == ("trigger", close(1.02))
    assert [r["step"] for r in sales(store, factor="USD", direction="up")] == [
        "trigger",
        "heal-cap",
    ]


# --- no jump where an account becomes liquidatable ----------------------------------------------


def moved(store: Store, hf: float, x: float) -> float:
    """BTC seized down to x of one account of 1 BTC at that health factor."""
    book = market(store)
    book.account("a", {"BTC": 1}, {"USD": 80_000 / hf})
    book.store(store)
    return float(sum(r["units"] for r in sales(store) if r["x"] >= x))


@pytest.mark.full
def test_just_above_and_just_below_one_the_same_is_sold(store: Store) -> None:
    below, above = (moved(store, hf, 0.8) for hf in (0.999, 1.001))
    assert above == close(0.42 + 0.42 / 0.95)
    assert below == close(0.42 / 0.999 + 0.42 / 0.95)
    # At a health factor of 0.95 and less everything is seizable now.
    assert moved(store, 0.951, 1 - 1e-9) == close(0.5 * 1.05 * 0.8 / 0.951)
    assert moved(store, 0.949, 1 - 1e-9) == close(1.05 * 0.8 / 0.949)


FIGURES = ("cum_round_seizable_usd", "cum_seize_to_heal_usd", "cum_collateral_at_risk_usd")


@pytest.mark.sampled
@reused
@given(
    draw=worlds,
    rule=rules,
    beta=st.sampled_from([0.0, 1.0, 1.5]),
    direction=st.sampled_from(["down", "up"]),
)
def test_no_figure_of_a_wall_jumps_at_a_health_factor_of_one(
    store: Store, draw: Any, rule: CloseRule, beta: float, direction: str
) -> None:
    """The same accounts a millionth above and below 1: what is liquidatable already and what
    becomes so along the way add up to the same at each price.

    No price of the wall is a round one: a rule's own level, as a health factor of 0.9, may be
    crossed there, and a millionth would put it on either side.
    """
    near = 0.99 if direction == "down" else 1.01
    worse = [
        (held, owed, hf)
        for held, owed, hf in draw
        if (c := Called(held, owed, beta, rule, BONUSES)).health(near) < c.health(1) * (1 - 1e-4)
    ]
    assume(worse)
    sums = []
    for hf in (1 - 1e-6, 1 + 1e-6):
        drawn(store, [(held, owed, hf) for held, owed, _ in worse], rule, beta)
        rows = ask(
            store,
            "walls",
            factor="MARKET",
            direction=direction,
            range=0.6,
            step_pct=0.0973,
            betas=f"btc=1,eth={beta}",
        )
        (now,) = (r for r in rows if r["direction"] == "now")
        sums.append(
            [{f: now[f] + r[f] for f in FIGURES} for r in rows if r["direction"] == direction]
        )
    for below, above in zip(*sums, strict=True):
        for figure, value in below.items():
            assert value == pytest.approx(above[figure], rel=1e-3, abs=1.0), figure


# --- what has no way ----------------------------------------------------------------------------


def left_out(store: Store, **values: object) -> dict[str, tuple[str, int]]:
    return {
        r["reason"]: (r["missing"], r["accounts"])
        for r in ask(store, "excluded_accounts", **values)
    }


@pytest.mark.full
@pytest.mark.parametrize("rule", [RESERVE_HALF, HALF, POSITION_HALF, WHOLE, ABSORB, up_to(1.05)])
def test_debt_without_collateral_is_neither_seized_nor_bought(
    store: Store, rule: CloseRule
) -> None:
    book = market(store, close_rule=rule)
    book.account("bad", {}, {"BTC": 100, "USD": 7})
    book.account("empty", {"USD": 0}, {"BTC": 100})
    book.store(store)
    rows = sales(store, direction="both")
    assert {row["account"] for row in rows} == {account.account for account in book.accounts}
    for row in rows:
        figures = ("units", "bought_units", "seize_usd", "risk_usd")
        assert [row[name] for name in figures] == [0] * 4, row


def test_accounts_whose_price_is_divided_by_the_factor_are_in_no_sum(store: Store) -> None:
    book = Book(
        Asset("BTC", 100_000.0, betas={"BTC": 1.0}),
        Asset("USD", 1.0, betas={"USD": 1.0}),
        Asset("INV", 0.04, betas={"BTC": -1.0}, factor_price={"BTC": 100_000.0}, kind="inverse"),
    )
    book.account("healthy", {"INV": 1e6}, {"USD": 25_000})
    book.account("liquidatable", {"INV": 1e6}, {"USD": 35_000})
    book.account("placed", {"BTC": 1}, {"USD": 75_000})
    book.store(store)
    assert {r["account"][-4:]: r["direction"] for r in ask(store, "triggers", factor="BTC")}
    assert left_out(store, factor="BTC") == {"price not linear in the factor": ("all", 2)}
    assert left_out(store, factor="USD") == {}


def test_accounts_of_a_factor_without_a_price_are_in_no_sum(store: Store) -> None:
    book = Book(
        Asset("cbBTC", 100_000.0, betas={"BTC": 1.0}, factor_price={"BTC": None}),
        Asset("USD", 1.0, betas={"USD": 1.0}),
    )
    book.account("a", {"cbBTC": 1}, {"USD": 70_000})
    book.account("unmoved", {"USD": 1}, {"USD": 0.5})
    book.store(store)
    assert ask(store, "walls", factor="BTC") == []
    assert left_out(store, factor="BTC") == {"no price of the factor": ("all", 1)}


# --- verdicts that differ from the health factor ------------------------------------------------


def sums_at(
    store: Store, debt: float, verdict: bool | None, rule: CloseRule
) -> dict[str, list[float]]:
    """Running sums of a wall over one account with 1 BTC: seizable and to heal, per bin of 10 %."""
    book = market(store, close_rule=rule)
    book.account("a", {"BTC": 1}, {"USD": debt})
    book.accounts = [msgspec.structs.replace(a, liquidatable=verdict) for a in book.accounts]
    book.store(store)
    rows = [
        r for r in ask(store, "walls", factor="BTC", step_pct=0.1, range=0.5) if r["price_from"]
    ]
    now, *down = rows
    return {
        "now": [now["round_seizable_usd"], now["seize_to_heal_usd"]],
        "heal": [now["seize_to_heal_usd"] + r["cum_seize_to_heal_usd"] for r in down],
        "seizable": [now["round_seizable_usd"] + r["cum_round_seizable_usd"] for r in down],
    }


def test_healing_begins_where_the_health_factor_is_one(store: Store) -> None:
    """An account may be liquidatable while its collateral is more than enough."""
    given_up = sums_at(store, 50_000, True, HALF)
    assert given_up["now"] == [close(26_250), 0]
    plain = sums_at(store, 50_000, None, HALF)
    assert given_up["heal"] == [close(value) for value in plain["heal"]]
    # 2,000 dollars are missing at 60,000, and of each 1.05 that is seized 0.84 went with it.
    assert plain["heal"] == [0, 0, 0, close(2_000 * 1.05 / 0.16), close(52_500)]


@pytest.mark.full
@pytest.mark.parametrize("rule", [HALF, RESERVE_HALF])
def test_who_is_not_liquidatable_below_one_is_so_at_the_next_move(
    store: Store, rule: CloseRule
) -> None:
    spared, plain = (sums_at(store, 88_000, verdict, rule) for verdict in (False, None))
    assert spared["now"] == [0, 0]
    assert plain["now"][0] > 0
    assert spared["heal"] == [close(value, 1e-6) for value in plain["heal"]]
    assert spared["seizable"] == [close(value) for value in plain["seizable"]]
