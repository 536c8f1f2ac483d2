"""MODEL: where leveraged positions on exchanges may be liquidated, estimated from open interest.

Venues publish no positions. The bars and levels of SQL (open_interest_bars, leverage_levels) are
read once in order: levels that a bar's range crosses are predicted liquidations, and where open
interest falls by more, the rest goes pro rata. Shares of the leverage tiers are fitted to the
liquidations of a full feed, and scored on later bars that the fit has not seen, beside three
baselines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec

from chainwatch.reports import nonnegative

if TYPE_CHECKING:
    from chainwatch.reports.nonnegative import Floats

TIERS = (5.0, 10.0, 25.0, 50.0, 100.0)
MMR = 0.005
TRAINED = 0.7  # share of the covered bars, the earliest, that the fit sees
BARS_NEEDED = 200
RIDGE = 1e-4
BIN = 0.01  # of the last price
SIDES = ("long", "short")


class ContractModel(msgspec.Struct, frozen=True):
    """One contract: what each tier predicts per bar, and the levels left at the end.

    `crossed` is (bars, sides, tiers) in base as if all open interest were of that tier; `left` is
    (tiers, sides, bars of origin) likewise, `prices` where those are liquidated, quote per base.
    `adverse` is (bars, sides): open interest before the bar, in base, times the share by which the
    bar's range moved against the side from the close before it.
    """

    symbol: str
    times: list[datetime]
    crossed: Floats
    adverse: Floats
    observed: Floats
    usable: list[bool]
    left: Floats
    prices: Floats
    close: float
    gaps: int
    demo: bool


class Score(msgspec.Struct, frozen=True):
    """How well a predictor fits the held-out bars: R² against their mean, error in base."""

    name: str
    r2: float | None
    mean_error_units: float | None
    reason: str = ""


class Fit(msgspec.Struct, frozen=True):
    """Weights per tier, how each was obtained, and the scores.

    `state` is "fitted", or "unidentified (why)"; `reason` says why nothing could be fitted.
    """

    weights: list[float]
    states: list[str]
    bars_crossed: list[int]
    scores: list[Score]
    trained: tuple[datetime, datetime] | None = None
    held_out: tuple[datetime, datetime] | None = None
    reason: str = ""

    @property
    def as_good(self) -> list[str]:
        """The baselines that predict the held-out bars at least as well as the fit."""
        fitted, *baselines = self.scores
        if fitted.r2 is None:
            return []
        return [b.name for b in baselines if b.r2 is not None and b.r2 >= fitted.r2]

    @property
    def verdict(self) -> str:
        """Whether the fit is better than every baseline on bars that it has not seen."""
        fitted = self.scores[0]
        if self.reason or fitted.r2 is None:
            return f"out-of-sample score n/a ({self.reason or fitted.reason})"
        score = f"R² {fitted.r2:.2f} on bars that the fit has not seen"
        if self.as_good:
            return f"{score}: NO better than {' and '.join(self.as_good)}"
        return f"{score}: better than all three baselines"


PREDICTORS = (
    "fitted tiers",
    "equal tiers",
    "mean of the fitted bars",
    "open interest × adverse move",
)


def model_contract(
    bars: Sequence[Mapping[str, Any]], levels: Sequence[Mapping[str, Any]], tiers: Sequence[float]
) -> ContractModel:
    """The model of one contract: `bars` oldest first, `levels` as rows of leverage_levels."""
    import numpy as np

    count = len(bars)
    prices = np.full((len(tiers), 2, count), np.nan)
    added = np.zeros(count)
    for level in levels:
        where = tiers.index(level["tier"]), SIDES.index(level["side"]), level["bar"]
        prices[where] = level["liquidation_price"]
        added[level["bar"]] = level["added_units"]
    held = np.zeros_like(prices)
    # Positions opened before the first bar: their prices are not known.
    older = np.full((len(tiers), 2), float(bars[0]["units"]))
    crossed = np.zeros((count, 2, len(tiers)))
    for j, bar in enumerate(bars):
        if j == 0:
            continue
        past, at = held[..., :j], prices[..., :j]
        hit = np.empty(past.shape, dtype=bool)
        hit[:, 0] = at[:, 0] >= bar["low"]
        hit[:, 1] = at[:, 1] <= bar["high"]
        gone = (past * hit).sum(axis=-1)
        past[hit] = 0.0
        crossed[j] = gone.T
        fall = -min(bar["change_units"], 0.0)
        if fall > 0:
            stock = past.sum(axis=-1) + older
            rest = np.maximum(fall - gone, 0.0)
            kept = 1.0 - np.minimum(rest / np.where(stock > 0, stock, np.inf), 1.0)
            past *= kept[..., None]
            older *= kept
        held[..., j] = added[j]
    observed = [[b["liquidated_long_units"], b["liquidated_short_units"]] for b in bars]
    return ContractModel(
        symbol=f"{bars[0]['venue']} {bars[0]['symbol']}",
        times=[bar["to_time"] for bar in bars],
        crossed=crossed,
        adverse=_adverse(bars),
        observed=np.array(observed, dtype=float),
        usable=[bool(b["covered"] and not b["gap"] and b["bar"] > 0) for b in bars],
        left=held,
        prices=prices,
        close=float(bars[-1]["close"]),
        gaps=sum(bool(bar["gap"]) for bar in bars),
        demo=any(bar["provenance"] == "demo" for bar in bars),
    )


def _adverse(bars: Sequence[Mapping[str, Any]]) -> Floats:
    """What a model without levels knows of each bar; nothing of the first."""
    import numpy as np

    moves = [[0.0, 0.0]]
    for before, bar in pairwise(bars):
        close = before["close"]
        down, up = max(1.0 - bar["low"] / close, 0.0), max(bar["high"] / close - 1.0, 0.0)
        moves.append([before["units"] * down, before["units"] * up])
    return np.array(moves, dtype=float)


def fit(contracts: Sequence[ContractModel], tiers: Sequence[float]) -> Fit:
    """Weights of the tiers from the earlier covered bars, scored on the later ones."""
    import numpy as np

    prior = np.full(len(tiers), 1.0 / len(tiers))
    usable = sorted(
        (w.times[j], n, j) for n, w in enumerate(contracts) for j, use in enumerate(w.usable) if use
    )

    def without(reason: str) -> Fit:
        return Fit(
            weights=prior.tolist(),
            states=[f"unidentified ({reason})"] * len(tiers),
            bars_crossed=[0] * len(tiers),
            scores=[Score(name, None, None, reason) for name in PREDICTORS],
            reason=reason,
        )

    if not usable:
        return without(
            "no full feed of liquidations was collected in these bars: run "
            "`chainwatch collect bybit-linear`"
        )
    if len(usable) < BARS_NEEDED:
        return without(f"{len(usable)} bars are covered by a full feed, {BARS_NEEDED} are needed")
    # By time, not by row: contracts share their bars, and none may be on both sides of the cut.
    times = sorted({at for at, _, _ in usable})
    cut = times[int(len(times) * TRAINED)]
    parts = [[(n, j) for at, n, j in usable if (at < cut) == early] for early in (True, False)]
    (x, moves, y), (x_later, moves_later, y_later) = (
        tuple(
            np.concatenate([getattr(contracts[n], figure)[j] for n, j in part])
            for figure in ("crossed", "adverse", "observed")
        )
        for part in parts
    )
    if not y.any():
        return without("nothing was liquidated in the bars to fit on")
    reached = np.linalg.norm(x, axis=0) > 0
    weights = prior.copy()
    if reached.any():
        weights[reached] = nonnegative.ridge_nnls(x[:, reached], y, prior[reached], RIDGE)
    together = nonnegative.determined_by_others(x)
    states = [_state(tiers, together[k], bool(reached[k])) for k in range(len(tiers))]
    means = y.reshape(-1, 2).mean(axis=0)
    # What has not been crossed while fitting has no fitted weight and predicts nothing.
    predicted = (
        x_later @ np.where(reached, weights, 0.0),
        x_later @ prior,
        np.tile(means, len(y_later) // 2),
        # One coefficient for all contracts and both sides, by least squares.
        moves_later * (moves @ y) / max(float(moves @ moves), np.finfo(float).tiny),
    )
    return Fit(
        weights=weights.tolist(),
        states=states,
        bars_crossed=(x.reshape(-1, 2, len(tiers)).sum(axis=1) > 0).sum(axis=0).tolist(),
        scores=[_score(name, p, y_later) for name, p in zip(PREDICTORS, predicted, strict=True)],
        trained=(times[0], max(at for at in times if at < cut)),
        held_out=(cut, times[-1]),
    )


def _state(tiers: Sequence[float], with_: Sequence[int], reached: bool) -> str:
    if not reached:
        return "unidentified (never crossed)"
    if with_:
        names = ", ".join(f"{tiers[j]:g}x" for j in with_)
        return f"unidentified (collinear with {names}: only their sum is known)"
    return "fitted"


def _score(name: str, predicted: Floats, observed: Floats) -> Score:
    import numpy as np

    error = float(np.abs(observed - predicted).mean())
    spread = float(((observed - observed.mean()) ** 2).sum())
    if spread == 0:
        return Score(name, None, error, "the held-out bars do not differ in what was liquidated")
    return Score(name, 1.0 - float(((observed - predicted) ** 2).sum()) / spread, error)


def clusters(contracts: Sequence[ContractModel], made: Fit) -> list[dict[str, Any]]:
    """What is left per side, price bin and basis; units in base, USD at the levels' prices."""
    import numpy as np

    close = contracts[0].close
    sums: dict[tuple[str, int, str], list[float]] = {}
    for contract in contracts:
        for k, weight in enumerate(made.weights):
            basis = "fitted" if made.states[k] == "fitted" else "unidentified"
            for s, side in enumerate(SIDES):
                alive = contract.left[k, s] > 0
                price = contract.prices[k, s][alive]
                units = contract.left[k, s][alive] * weight
                bins = np.floor((price / close - 1.0) / BIN).astype(int)
                for n in np.unique(bins).tolist():
                    here = bins == n
                    sums_here = sums.setdefault((side, n, basis), [0.0, 0.0])
                    sums_here[0] += float(units[here].sum())
                    sums_here[1] += float((units[here] * price[here]).sum())
    return [
        {
            "side": side,
            "price_from": close * (1 + n * BIN),
            "price_to": close * (1 + (n + 1) * BIN),
            "distance": (n + 0.5) * BIN,
            "units": units,
            "usd": usd,
            "basis": basis,
        }
        for (side, n, basis), (units, usd) in sorted(sums.items())
        if units > 0
    ]
