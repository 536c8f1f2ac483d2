"""The estimate from open interest: levels, the walk, the fit, its score, and what it is called."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.reports import clusters
from chainwatch.reports.leverage_model import MMR, TIERS, ContractModel, Fit, fit, model_contract
from chainwatch.reports.nonnegative import determined_by_others, nnls, ridge_nnls
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Coverage, ExchangeLiquidation, OpenInterest
from tests.builders import Asset, Book, ask, depth
from tests.reports.test_liquidations import order, span
from tests.shell import run

STEP = timedelta(minutes=5)
END = datetime.now(UTC).replace(second=0, microsecond=0)
END -= timedelta(minutes=END.minute % 5)
TRUE = {5.0: 0.0, 10.0: 0.0, 25.0: 0.25, 50.0: 0.1, 100.0: 0.4}
Bars = list[OpenInterest]


def bar(at: datetime, units: float, low: float, high: float, close: float) -> OpenInterest:
    return OpenInterest(
        base="BTC",
        venue="bybit",
        market="linear",
        symbol="BTCUSDT",
        interval="5m",
        time=at,
        contracts=units,
        units=units,
        usd=units * close,
        open=close,
        high=high,
        low=low,
        close=close,
        volume=None,
        received_at=at,
    )


def series(count: int, seed: int = 3, sigma: float = 0.004) -> Bars:
    """A price that wanders by about 0.4 % a bar and comes back, and open interest that churns."""
    rng = Random(seed)
    price, units, result = 90_000.0, 50_000.0, []
    for n in range(count):
        before = price
        price *= 1 + rng.gauss(0, sigma) - 0.01 * (price / 90_000 - 1)
        low = min(before, price) * (1 - abs(rng.gauss(0, sigma / 4)))
        high = max(before, price) * (1 + abs(rng.gauss(0, sigma / 4)))
        units = max(units + rng.gauss(0, 200), 1_000.0)
        result.append(bar(END - (count - 1 - n) * STEP, units, low, high, price))
    return result


def replayed(bars: Bars, tier: float) -> list[list[float]]:
    """What one tier predicts per bar (long, short), position by position in plain Python."""
    values = [[0.0, 0.0] for _ in bars]
    for s, sign in enumerate((1, -1)):
        older, book = bars[0].units, [(0.0, 0.0)]
        book.clear()
        for j in range(1, len(bars)):
            here, change = bars[j], bars[j].units - bars[j - 1].units
            alive = []
            for price, units in book:
                if here.low <= price if s == 0 else here.high >= price:
                    values[j][s] += units
                else:
                    alive.append((price, units))
            book = alive
            if change < 0:
                rest = max(-change - values[j][s], 0.0)
                stock = older + sum(units for _, units in book)
                share = 1 - min(rest / stock, 1) if stock else 1.0
                older *= share
                book = [(price, units * share) for price, units in book]
            elif change > 0:
                entry = (here.high + here.low + here.close) / 3
                # LP = (WB - side · Q · EP) / (Q · MMR - side · Q) with WB = Q · EP / leverage.
                book.append(((entry / tier - sign * entry) / (MMR - sign), change))
    return values


def liquidations(bars: Bars, weights: dict[float, float]) -> list[ExchangeLiquidation]:
    """Orders that the tiers' weights make, in the middle of each bar."""
    values = {tier: replayed(bars, tier) for tier, weight in weights.items() if weight}
    results = []
    for j, here in enumerate(bars):
        for s, side in enumerate(("long", "short")):
            units = sum(weights[tier] * rows[j][s] for tier, rows in values.items())
            if units > 0:
                results.append(
                    order(
                        0,
                        event=f"{j}{side}",
                        venue="bybit",
                        market="linear",
                        source="bybit-linear",
                        side=side,
                        time=here.time - STEP / 2,
                        received_at=here.time,
                        quantity_base=units,
                        contracts=units,
                        notional_quote=units,
                        notional_usd=units,
                    )
                )
    return results


def watched(bars: Bars, **changes: Any) -> Coverage:
    given = {
        "source": "bybit-linear",
        "venue": "bybit",
        "market": "linear",
        "sampling_class": "full",
        "sampling_rule": "every liquidation, each 0.5 s",
        "from_time": bars[0].time - STEP,
        "to_time": bars[-1].time,
    }
    return span(0, 1, **(given | changes))


def lake(home: Path, rows: Sequence[Row]) -> Store:
    store = Store(home)
    store.create()
    store.append(list(rows), source="test")
    return store


def walked(store: Store, tiers: Sequence[float] = TIERS) -> ContractModel:
    bars = ask(store, "open_interest_bars")
    tiers_text = ",".join(f"{tier:g}" for tier in tiers)
    return model_contract(bars, ask(store, "leverage_levels", tiers=tiers_text, mmr=MMR), tiers)


@pytest.fixture(scope="module")
def fitted_lake(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """1,500 bars whose liquidations come from known weights."""
    bars = series(1_500)
    rows = [*bars, *liquidations(bars, TRUE), watched(bars)]
    return lake(tmp_path_factory.mktemp("known"), rows)


# --- least squares ------------------------------------------------------------------------------


def test_nonnegative_least_squares_meets_its_optimality_conditions() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        count = int(rng.integers(1, 7))
        a = rng.normal(size=(30, count)) * 10.0 ** rng.integers(-4, 4, size=count)
        b = rng.normal(size=30)
        x = nnls(a, b)
        slope = a.T @ (b - a @ x) / np.linalg.norm(a, axis=0)
        assert (x >= 0).all()
        assert (slope <= 1e-9).all(), "no unknown at 0 would help if it grew"
        assert np.abs(slope[x > 0]).max(initial=0.0) < 1e-9, "nor any other if it moved"


def test_nonnegative_least_squares_finds_what_made_the_figures() -> None:
    rng = np.random.default_rng(2)
    a = np.abs(rng.normal(size=(50, 4)))
    assert nnls(a, a @ [0.5, 0.0, 2.0, 0.1]) == pytest.approx([0.5, 0.0, 2.0, 0.1], abs=1e-12)
    assert nnls(a, -a[:, 0]).tolist() == [0.0] * 4
    assert nnls(np.zeros((3, 2)), np.ones(3)).tolist() == [0.0, 0.0]


def test_a_ridge_splits_twins_as_the_prior_does() -> None:
    rng = np.random.default_rng(3)
    column = np.abs(rng.normal(size=(40, 1)))
    twins = np.hstack([column, column])
    result = ridge_nnls(twins, 0.8 * column[:, 0], np.array([0.5, 0.5]), 1e-6)
    assert result == pytest.approx([0.4, 0.4], rel=1e-4)
    assert determined_by_others(np.hstack([twins, rng.normal(size=(40, 1))])) == [[1], [0], []]


# --- levels and the walk ------------------------------------------------------------------------


def test_levels_follow_the_formula_of_isolated_margin_on_both_sides(tmp_path: Path) -> None:
    bars = [
        bar(END - STEP, 1_000.0, 99.0, 101.0, 100.0),
        bar(END, 1_010.0, 96.0, 105.0, 99.0),
    ]
    rows = ask(lake(tmp_path, bars), "leverage_levels", tiers="10,100", mmr=0.005)
    values = {(row["tier"], row["side"]): row for row in rows}
    assert {row["entry_price"] for row in rows} == {100.0}
    assert {row["added_units"] for row in rows} == {10.0}
    assert values[10.0, "long"]["liquidation_price"] == pytest.approx(90 / 0.995)
    assert values[10.0, "short"]["liquidation_price"] == pytest.approx(110 / 1.005)
    assert values[100.0, "long"]["liquidation_price"] == pytest.approx(99 / 0.995)
    assert values[100.0, "short"]["liquidation_price"] == pytest.approx(101 / 1.005)


@pytest.mark.full
def test_the_walk_is_that_of_single_positions(fitted_lake: Store) -> None:
    result = walked(fitted_lake)
    bars = fitted_lake.rows(OpenInterest, "true ORDER BY time")
    for k, tier in enumerate(TIERS):
        assert result.crossed[:, :, k] == pytest.approx(np.array(replayed(bars, tier)), rel=1e-9)
    # What open interest fell by is gone from the books, and what is left was not crossed.
    assert (result.left >= 0).all()
    for k in range(len(TIERS)):
        assert result.left[k, 0].sum() <= sum(b.units for b in bars)


def test_a_bar_is_covered_only_if_a_full_feed_was_up_throughout(tmp_path: Path) -> None:
    """A bar counts as covered only if a full feed was up through all of it."""
    bars = series(6)
    half = bars[2].time - STEP / 2
    rows = [
        *bars,
        watched(bars, to_time=half),
        watched(bars, from_time=half, to_time=bars[3].time, state="stale"),
        watched(bars, from_time=bars[3].time, to_time=bars[4].time, sampling_class="sampled"),
        watched(bars, from_time=bars[4].time),
        *[
            order(
                n, venue="bybit", market="linear", side="short", quantity_base=units, kind=kind,
                time=bars[5].time - STEP / 2,
            )
            for n, (units, kind) in enumerate([(2.0, "order"), (3.0, "order"), (9.0, "trigger")])
        ],
    ]  # fmt: skip
    result_rows = ask(lake(tmp_path, rows), "open_interest_bars")
    assert [row["covered"] for row in result_rows] == [True, True, False, False, False, True]
    assert [row["liquidated_short_units"] for row in result_rows] == [0, 0, 0, 0, 0, 5.0]
    assert {row["liquidated_long_units"] for row in result_rows} == {0.0}
    assert [row["gap"] for row in result_rows] == [False] * 6
    (tmp_path / "gap").mkdir()
    holed = ask(lake(tmp_path / "gap", [*bars[:2], *bars[3:]]), "open_interest_bars")
    assert [row["gap"] for row in holed] == [False, False, True, False, False]


# --- the fit ------------------------------------------------------------------------------------


def test_true_weights_are_recovered_and_beat_the_baselines(
    fitted_lake: Store,
) -> None:
    """Weights that made the liquidations are recovered and beat every baseline."""
    result = fit([walked(fitted_lake)], TIERS)
    for tier, weight, state in zip(TIERS, result.weights, result.states, strict=True):
        if state == "fitted":
            assert weight == pytest.approx(TRUE[tier], abs=0.01), tier
    assert [s for t, s in zip(TIERS, result.states, strict=True) if t >= 25] == ["fitted"] * 3
    fitted, equal, mean, adverse = result.scores
    assert fitted.r2 is not None
    assert fitted.r2 > 0.99
    assert equal.r2 is not None
    assert mean.r2 is not None
    assert equal.r2 < 0.9
    assert mean.r2 < 0.1
    assert adverse.r2 is not None
    assert adverse.r2 < 0.9
    assert "better than all three baselines" in result.verdict
    assert "NO" not in result.verdict


def test_a_tier_that_no_bar_crossed_is_called_unidentified(tmp_path: Path) -> None:
    bars = series(400, sigma=0.001)
    made = {25.0: 0.0, 100.0: 0.5}
    result = fit([walked(lake(tmp_path, [*bars, *liquidations(bars, made), watched(bars)]))], TIERS)
    states = dict(zip(TIERS, result.states, strict=True))
    assert states[100.0] == "fitted"
    assert states[5.0] == states[10.0] == "unidentified (never crossed)"
    assert result.bars_crossed[0] == 0


def test_tiers_that_move_together_are_called_unidentified(tmp_path: Path) -> None:
    bars = series(400)
    tiers = (50.0, 50.0000001, 100.0)
    store = lake(tmp_path, [*bars, *liquidations(bars, {50.0: 0.5, 100.0: 0.1}), watched(bars)])
    contract = walked(store, (50.0, 100.0))
    twin = np.concatenate([contract.crossed[:, :, :1], contract.crossed], axis=2)
    left, prices = (np.concatenate([a[:1], a]) for a in (contract.left, contract.prices))
    changed = {"crossed": twin, "left": left, "prices": prices}
    names = ("symbol", "times", "adverse", "observed", "usable", "close", "gaps", "demo")
    result = fit([ContractModel(**({n: getattr(contract, n) for n in names} | changed))], tiers)
    assert result.states[0].startswith("unidentified (collinear with 50x")
    assert result.states[1].startswith("unidentified (collinear with 50x")
    assert result.states[2] == "fitted"
    assert result.weights[0] + result.weights[1] == pytest.approx(0.5, abs=0.01)


def test_unrelated_liquidations_do_not_beat_a_baseline(
    tmp_path: Path,
) -> None:
    """A model of liquidations that are unrelated to open interest does not beat a baseline."""
    bars, rng = series(600), Random(9)
    noise = [
        order(
            n, venue="bybit", market="linear", side=rng.choice(["long", "short"]),
            time=b.time - STEP / 2, quantity_base=rng.expovariate(1 / 50),
        )
        for n, b in enumerate(bars)
    ]  # fmt: skip
    result = fit([walked(lake(tmp_path, [*bars, *noise, watched(bars)]))], TIERS)
    assert result.scores[0].r2 is not None
    assert result.scores[0].r2 < 0.1
    assert "NO better than mean of the fitted bars" in result.verdict


def test_a_model_that_a_coefficient_explains_shows_no_bins(tmp_path: Path) -> None:
    """Where liquidations are a share of open interest × adverse move, levels add nothing."""
    bars, rng = series(600), Random(4)
    rows = []
    for n, (before, b) in enumerate(pairwise(bars)):
        moves = {"long": 1 - b.low / before.close, "short": b.high / before.close - 1}
        rows += [
            order(
                n, event=f"{n}{side}", venue="bybit", market="linear", side=side,
                time=b.time - STEP / 2,
                quantity_base=0.02 * before.units * move * rng.uniform(0.8, 1.2),
            )
            for side, move in moves.items() if move > 0
        ]  # fmt: skip
    store = lake(tmp_path, [*bars, *rows, watched(bars)])
    result = fit([walked(store)], TIERS)
    baseline = result.scores[-1]
    assert baseline.name == "open interest × adverse move"
    assert baseline.r2 is not None
    assert baseline.r2 > 0.9
    assert "NO better than" in result.verdict
    assert baseline.name in result.as_good
    with query.open_catalog(store) as catalog:
        (shown, *_), state = clusters.parts(catalog, "BTC", None, None)
    assert shown.result.rows == []
    assert "no bins are shown" in shown.header[-1]
    assert "NO better than" in state["state"]


def test_the_score_is_of_bars_that_the_fit_has_not_seen(fitted_lake: Store) -> None:
    contract = walked(fitted_lake)
    before = fit([contract], TIERS)
    assert before.held_out is not None
    assert before.trained is not None
    assert before.trained[1] < before.held_out[0]
    later = contract.times.index(before.held_out[0])
    observed = contract.observed.copy()
    observed[later:] = observed[later:][::-1]
    names = [n for n in ContractModel.__struct_fields__ if n != "observed"]
    after = fit(
        [ContractModel(observed=observed, **{n: getattr(contract, n) for n in names})], TIERS
    )
    assert after.weights == before.weights
    assert after.scores[0].r2 is not None
    assert after.scores[0].r2 < 0.5


@pytest.mark.full
@pytest.mark.parametrize(
    ("count", "feed", "reason"),
    [
        (300, False, "no full feed of liquidations was collected in these bars"),
        (100, True, "99 bars are covered by a full feed, 200 are needed"),
        (300, True, "nothing was liquidated in the bars to fit on"),
    ],
)
def test_without_enough_to_fit_on_there_is_a_reason_and_no_score(
    tmp_path: Path, count: int, feed: bool, reason: str
) -> None:
    bars = series(count)
    result: Fit = fit([walked(lake(tmp_path, [*bars, *([watched(bars)] if feed else [])]))], TIERS)
    assert reason in result.reason
    assert result.weights == [0.2] * 5
    assert all(state.startswith("unidentified (") for state in result.states)
    assert {score.r2 for score in result.scores} == {None}
    assert "out-of-sample score n/a" in result.verdict


# --- the command --------------------------------------------------------------------------------


def market(home: Path, rows: Sequence[Row] = ()) -> Path:
    store = lake(home, [*rows, *depth([(0.05, 100.0)], time=END, volume_24h=2_000.0)])
    made = Book(
        Asset("WBTC", 90_000.0, lt=0.8, betas={"BTC": 1.0}),
        Asset("USDC", 1.0, lt=0.75, betas={"USDC": 1.0}),
        time=END,
    )
    made.account("a", {"WBTC": 10}, {"USDC": 10 * 85_000 * 0.8})
    made.store(store)
    return home


@pytest.mark.full
def test_the_model_is_off_by_default_and_apart_when_asked_for(tmp_path: Path) -> None:
    bars = series(600)
    home = market(tmp_path, [*bars, *liquidations(bars, TRUE), watched(bars)])
    without = run("cascade", "BTC", "--max-depth-age", "2h", home=home)
    assert without.code == 0, without.err
    assert "exchange clusters" not in without.out
    done = run("cascade", "BTC", "--max-depth-age", "2h", "--with-model", home=home)
    assert done.code == 0, done.err
    # The exact part is what it was, above, but for ages; nothing of the model is in it.
    exact, _, model = done.out.partition("MODEL: exchange clusters of BTC")
    assert [len(line) for line in exact.splitlines()] == [
        len(line) for line in without.out.splitlines()
    ] + [0]
    for words in (
        "MODEL, no exact figure: levels estimated from open interest; bybit BTCUSDT",
        "MODEL: R² ",
        "MODEL: unidentified tiers: ",
        "MODEL: share of open interest per leverage tier",
        "MODEL: out-of-sample score beside three baselines",
        "equal tiers",
        "mean of the fitted bars",
        "open interest × adverse move",
        "MODEL: assumptions",
        "isolated, one-way; cross margin ignored",
        "coverage of the feed",
    ):
        assert words in model, words
    output = run("cascade", "BTC", "--max-depth-age", "2h", "--with-model", "--json", home=home)
    document = json.loads(output.out)
    assert document["exchange_model"]["label"] == "MODEL"
    assert {row["basis"] for row in document["model_clusters"]} <= {"fitted", "unidentified"}
    assert [row["predictor"] for row in document["model_scores"]][1:] == [
        "equal tiers",
        "mean of the fitted bars",
        "open interest × adverse move",
    ]
    with query.open_catalog(Store(home)) as catalog:
        parts, _ = clusters.parts(catalog, "BTC", None, None)
    units = {row["side"]: 0.0 for row in parts[0].result.dicts()}
    for row in parts[0].result.dicts():
        units[row["side"]] += row["units"]
        assert row["price_from"] < row["price_to"]
        assert row["price_from"] <= row["usd"] / row["units"] <= row["price_to"]
    left = walked(Store(home))
    weights = np.array(fit([left], TIERS).weights)
    for s, side in enumerate(("long", "short")):
        assert units[side] == pytest.approx((left.left[:, s].sum(axis=-1) * weights).sum())


@pytest.mark.full
def test_without_open_interest_only_the_model_is_not_available(
    tmp_path: Path,
) -> None:
    """Without open interest the model is n/a, and the rest is printed."""
    done = run("cascade", "BTC", "--max-depth-age", "2h", "--with-model", home=market(tmp_path))
    assert done.code == 0, done.err
    assert "break price" in done.out
    assert (
        "MODEL, no exact figure: n/a (no open interest of BTC is stored: run "
        "`chainwatch collect open-interest --only BTC`)"
    ) in done.out
    output = run("cascade", "BTC", "--max-depth-age", "2h", "--with-model", "--json", home=tmp_path)
    document = json.loads(output.out)
    assert document["exchange_model"]["state"].startswith("n/a (no open interest of BTC")
    assert document["model_clusters"] == []
    assert {row["r2"] for row in document["model_scores"]} == {None}
    several = run("cascade", "BTC", "ETH", "--drop", "5%", "--with-model", home=tmp_path)
    assert several.code == 2
    assert "--with-model takes one factor" in several.err
