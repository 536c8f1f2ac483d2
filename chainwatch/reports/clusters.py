"""MODEL: where leveraged positions on exchanges may be liquidated, estimated from open interest.

Venues publish no positions. What SQL gives per bar (open_interest_bars, leverage_levels) is walked
through once: levels that a bar's range crosses are predicted liquidations, and where open interest
falls by more, the rest goes pro rata. Shares of the leverage tiers are fitted to the liquidations
that a full feed saw, and scored on later bars that the fit has not seen, beside two baselines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec

from chainwatch.exchanges.market_data.open_interest import SYMBOLS
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import Result
from chainwatch.reports import nonnegative
from chainwatch.show import values
from chainwatch.show.document import Report

if TYPE_CHECKING:
    from chainwatch.reports.nonnegative import Floats

TIERS = (5.0, 10.0, 25.0, 50.0, 100.0)
MMR = 0.005
TRAINED = 0.7  # share of the watched bars, the earliest, that the fit sees
BARS_NEEDED = 200
RIDGE = 1e-4
BIN = 0.01  # of the last price
SIDES = ("long", "short")
SHOWN = 20  # bins, for people


class Walk(msgspec.Struct, frozen=True):
    """One contract: what each tier predicts per bar, and what is left at the end.

    `crossed` is (bars, sides, tiers) in base as if all open interest were of that tier; `left` is
    (tiers, sides, bars of origin) likewise, `prices` where those are liquidated, quote per base.
    """

    symbol: str
    times: list[datetime]
    crossed: Floats
    observed: Floats
    usable: list[bool]
    left: Floats
    prices: Floats
    close: float
    gaps: int
    demo: bool


class Score(msgspec.Struct, frozen=True):
    """How well one predictor meets the held-out bars: R² against their mean, error in base."""

    name: str
    r2: float | None
    mean_error_units: float | None
    reason: str = ""


class Fit(msgspec.Struct, frozen=True):
    """Weights per tier, what each stands on, and the scores.

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
    def verdict(self) -> str:
        """Whether the fit is better than both baselines on what it has not seen."""
        if self.reason:
            return f"out-of-sample score n/a ({self.reason})"
        fitted, *baselines = self.scores
        if fitted.r2 is None:
            return f"out-of-sample score n/a ({fitted.reason})"
        better = [b.name for b in baselines if b.r2 is not None and b.r2 >= fitted.r2]
        told = f"R² {fitted.r2:.2f} on bars that the fit has not seen"
        if better:
            return f"{told}: NO better than {' and '.join(better)}"
        return f"{told}: better than both baselines"


PREDICTORS = ("fitted tiers", "equal tiers", "mean of the fitted bars")


def walk(
    bars: Sequence[Mapping[str, Any]], levels: Sequence[Mapping[str, Any]], tiers: Sequence[float]
) -> Walk:
    """One contract's bars, oldest first, and its levels as `leverage_levels` has them."""
    import numpy as np

    count = len(bars)
    prices = np.full((len(tiers), 2, count), np.nan)
    added = np.zeros(count)
    for level in levels:
        where = tiers.index(level["tier"]), SIDES.index(level["side"]), level["bar"]
        prices[where] = level["liquidation_price"]
        added[level["bar"]] = level["added_units"]
    held = np.zeros_like(prices)
    # What was open before the first bar: nobody knows at which prices.
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
    return Walk(
        symbol=f"{bars[0]['venue']} {bars[0]['symbol']}",
        times=[bar["to_time"] for bar in bars],
        crossed=crossed,
        observed=np.array(observed, dtype=float),
        usable=[bool(b["covered"] and not b["gap"] and b["bar"] > 0) for b in bars],
        left=held,
        prices=prices,
        close=float(bars[-1]["close"]),
        gaps=sum(bool(bar["gap"]) for bar in bars),
        demo=any(bar["provenance"] == "demo" for bar in bars),
    )


def fit(walks: Sequence[Walk], tiers: Sequence[float]) -> Fit:
    """Weights of the tiers from the earlier watched bars, scored on the later ones."""
    import numpy as np

    prior = np.full(len(tiers), 1.0 / len(tiers))
    usable = sorted(
        (w.times[j], n, j) for n, w in enumerate(walks) for j, use in enumerate(w.usable) if use
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
            "no full feed of liquidations was watched in these bars: run "
            "`chainwatch collect bybit-linear`"
        )
    if len(usable) < BARS_NEEDED:
        return without(f"{len(usable)} bars were watched by a full feed, {BARS_NEEDED} are needed")
    # By time, not by row: contracts share their bars, and none may be on both sides of the cut.
    times = sorted({at for at, _, _ in usable})
    cut = times[int(len(times) * TRAINED)]
    parts = [[(n, j) for at, n, j in usable if (at < cut) == early] for early in (True, False)]
    (x, y), (x_later, y_later) = (
        (
            np.concatenate([walks[n].crossed[j] for n, j in part]),
            np.concatenate([walks[n].observed[j] for n, j in part]),
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


def clusters(walks: Sequence[Walk], made: Fit) -> list[dict[str, Any]]:
    """What is left per side, price bin and basis; units in base, USD at the levels' prices."""
    import numpy as np

    close = walks[0].close
    sums: dict[tuple[str, int, str], list[float]] = {}
    for each in walks:
        for k, weight in enumerate(made.weights):
            basis = "fitted" if made.states[k] == "fitted" else "unidentified"
            for s, side in enumerate(SIDES):
                alive = each.left[k, s] > 0
                price = each.prices[k, s][alive]
                units = each.left[k, s][alive] * weight
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


# --- as reports ---------------------------------------------------------------------------------


def parts(
    catalog: Catalog, factor: str, scope: Mapping[str, object], top: int | None
) -> tuple[list[Report], dict[str, Any]]:
    """Tables of the estimate, each under the word MODEL, and what machines are told of its state.

    `top` limits the price bins to those with most USD; None for all of them.
    """
    asked = {"p_factor": factor} | {k: v for k, v in scope.items() if k == "p_as_of"}
    bars = query.run(catalog, query.find("open_interest_bars"), asked).dicts()
    if not bars:
        missing = f"no open interest of {factor} is stored"
        if factor.upper() in {symbol.split("/")[0] for symbol in SYMBOLS}:
            missing += f": run `chainwatch collect open-interest --only {factor}`"
        made = Fit(
            weights=[1.0 / len(TIERS)] * len(TIERS),
            states=[f"unidentified ({missing})"] * len(TIERS),
            bars_crossed=[0] * len(TIERS),
            scores=[Score(name, None, None, missing) for name in PREDICTORS],
            reason=missing,
        )
        header = [f"MODEL, no exact figure: n/a ({missing})"]
        reports = [_clusters([], factor, header, None), *_beside(made)]
        return reports, {"label": "MODEL", "state": f"n/a ({missing})"}
    terms = {"p_tiers": ",".join(f"{tier:g}" for tier in TIERS), "p_mmr": MMR}
    levels = query.run(catalog, query.find("leverage_levels"), asked | terms).dicts()
    contract = itemgetter("venue", "market", "symbol")
    of = {key: list(rows) for key, rows in groupby(levels, contract)}
    walks = [
        walk(list(rows), of.get(key, []), TIERS)
        for key, rows in ((key, list(rows)) for key, rows in groupby(bars, contract))
    ]
    made = fit(walks, TIERS)
    named = ", ".join(
        f"{tier:g}x" for tier, state in zip(TIERS, made.states, strict=True) if state != "fitted"
    )
    header = [
        "MODEL, no exact figure: levels estimated from open interest; "
        + "; ".join(_span(each) for each in walks),
        f"MODEL: {made.verdict}",
        f"MODEL: unidentified tiers: {named or 'none'}"
        + (", shown with an assumed equal share or split" if named else ""),
    ]
    found = clusters(walks, made)
    state = {
        "label": "MODEL",
        "state": made.verdict,
        "unidentified_tiers": named,
        "trained": made.trained,
        "held_out": made.held_out,
    }
    return [_clusters(found, factor, header, top), *_beside(made)], state


def _span(each: Walk) -> str:
    gaps = f", {each.gaps} gaps" if each.gaps else ""
    label = " (DEMO DATA)" if each.demo else ""
    return (
        f"{each.symbol}{label} {each.times[0]:%Y-%m-%d %H:%M} to {each.times[-1]:%Y-%m-%d %H:%M}Z, "
        f"{len(each.times):,} bars{gaps}, last price {values.price_text(each.close)}"
    )


def _table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], **more: Any) -> Report:
    return Report(
        result=Result(
            columns=tuple(columns),
            types=tuple(columns.values()),
            rows=[tuple(row[name] for name in columns) for row in rows],
        ),
        **more,
    )


def _clusters(
    rows: Sequence[dict[str, Any]], factor: str, header: Sequence[str], top: int | None
) -> Report:
    shown = sorted(rows, key=lambda row: (row["basis"] != "fitted", -row["usd"]))[:top]
    columns = {
        "side": "VARCHAR",
        "price_from": "DOUBLE",
        "price_to": "DOUBLE",
        "distance": "DOUBLE",
        "units": "DOUBLE",
        "usd": "DOUBLE",
        "basis": "VARCHAR",
    }
    return _table(
        sorted(shown, key=lambda row: (row["price_from"], row["side"], row["basis"])),
        columns,
        name="model_clusters",
        title=f"MODEL: exchange clusters of {factor}, by the price at which they are liquidated",
        header=header,
        shown=["side", "price_from", "price_to", "units", "usd=USD", "basis"],
        notes=[
            *(
                [f"the {top} bins with most USD of {len(rows)}, fitted ones first"]
                if len(shown) < len(rows)
                else []
            ),
            "basis: fitted, or unidentified: of tiers whose share no data decides",
            "long and short are estimates of their own, and no part of walls or break levels",
        ],
    )


def _beside(made: Fit) -> list[Report]:
    tiers = [
        {
            "tier": f"{tier:g}x",
            "weight": weight,
            "state": state,
            "bars_crossed": crossed,
        }
        for tier, weight, state, crossed in zip(
            TIERS, made.weights, made.states, made.bars_crossed, strict=True
        )
    ]
    scores = [
        {
            "predictor": score.name,
            "r2": score.r2,
            "mean_error_units": score.mean_error_units,
            "reason": score.reason,
        }
        for score in made.scores
    ]
    return [
        _table(
            tiers,
            {"tier": "VARCHAR", "weight": "DOUBLE", "state": "VARCHAR", "bars_crossed": "BIGINT"},
            name="model_tiers",
            title="MODEL: share of open interest per leverage tier",
            notes=["where a tier is unidentified, its weight is the prior, or a split of a sum"],
        ),
        _table(
            scores,
            {
                "predictor": "VARCHAR",
                "r2": "DOUBLE",
                "mean_error_units": "DOUBLE",
                "reason": "VARCHAR",
            },
            name="model_scores",
            title="MODEL: out-of-sample score beside two baselines",
            header=[] if made.held_out is None else [_held_out(made)],
            notes=[
                "R² of base units liquidated per bar and side, against the mean of the held-out "
                "bars: 1 is exact, 0 no better than a constant",
            ],
        ),
        _table(
            [{"assumption": name, "value": value} for name, value in _assumptions(made)],
            {"assumption": "VARCHAR", "value": "VARCHAR"},
            name="model_assumptions",
            title="MODEL: assumptions",
        ),
    ]


def _held_out(made: Fit) -> str:
    assert made.trained is not None
    assert made.held_out is not None
    (a, b), (c, d) = made.trained, made.held_out
    return (
        f"fitted on bars that ended {a:%Y-%m-%d %H:%M} to {b:%Y-%m-%d %H:%M}Z, "
        f"scored on {c:%Y-%m-%d %H:%M} to {d:%Y-%m-%d %H:%M}Z"
    )


def _assumptions(made: Fit) -> list[tuple[str, str]]:
    """What models of this kind take for granted, with what is taken here."""
    sure = [w for w, state in zip(made.weights, made.states, strict=True) if state == "fitted"]
    shares = (
        f"stated prior: equal ({made.reason})"
        if made.reason
        else f"fitted by NNLS on {TRAINED:.0%} of the watched bars, ridge {RIDGE:g} to equal shares"
    )
    return [
        ("leverage tiers", ", ".join(f"{tier:g}x" for tier in TIERS)),
        ("shares of the tiers", shares),
        ("maintenance margin", f"{MMR:.2%} flat, deduction 0: no venue's bracket table is read"),
        ("entry price", "(high + low + close) / 3 of the bar, in place of its VWAP"),
        ("margin mode", "isolated, one-way; cross margin ignored"),
        ("long share of open interest", "0.5: each added contract counts on both sides"),
        ("decay of old levels", "none but where open interest falls: crossed first, rest pro rata"),
        ("older positions", "open interest before the first bar has no known entry: no level"),
        ("within a bar", "what a bar adds can be crossed from the next bar on"),
        ("contracts", "linear ones; inverse contracts are left out"),
        (
            "coverage of the feed",
            f"fitted: weights of the identified tiers add up to {sum(sure):.3g}"
            if sure
            else "unknown",
        ),
    ]
