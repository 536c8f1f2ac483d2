"""MODEL: reports of the exchange clusters that the leverage model estimates from open interest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

from chainwatch.exchanges.market_data.open_interest import SYMBOLS
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import Result
from chainwatch.reports.leverage_model import (
    MMR,
    PREDICTORS,
    RIDGE,
    TIERS,
    TRAINED,
    ContractModel,
    Fit,
    Score,
    clusters,
    fit,
    model_contract,
)
from chainwatch.show.document import Report
from chainwatch.units import price_text

SHOWN = 20  # bins, for people


def parts(
    catalog: Catalog, factor: str, as_of: datetime | None, top: int | None
) -> tuple[list[Report], dict[str, Any]]:
    """Tables of the estimate, each labelled MODEL, and what machine formats carry of its state.

    `as_of` is the newest that a bar may end, None for all bars; `top` limits the price bins to
    those with most USD, None for all of them.
    """
    parameters = {"p_factor": factor, "p_as_of": as_of}
    bars = query.run(catalog, query.find("open_interest_bars"), parameters).dicts()
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
    levels = query.run(catalog, query.find("leverage_levels"), parameters | terms).dicts()
    key_of = itemgetter("venue", "market", "symbol")
    levels_of = {key: list(rows) for key, rows in groupby(levels, key_of)}
    contracts = [
        model_contract(list(rows), levels_of.get(key, []), TIERS)
        for key, rows in ((key, list(rows)) for key, rows in groupby(bars, key_of))
    ]
    made = fit(contracts, TIERS)
    named = ", ".join(
        f"{tier:g}x" for tier, state in zip(TIERS, made.states, strict=True) if state != "fitted"
    )
    header = [
        "MODEL, no exact figure: levels estimated from open interest; "
        + "; ".join(_span(contract) for contract in contracts),
        f"MODEL: {made.verdict}",
        f"MODEL: unidentified tiers: {named or 'none'}"
        + (", shown with an assumed equal share or split" if named else ""),
    ]
    bins = [] if made.as_good else clusters(contracts, made)
    if made.as_good:
        header.append("MODEL: no bins are shown: the estimate explains no more than a baseline")
    state = {
        "label": "MODEL",
        "state": made.verdict,
        "unidentified_tiers": named,
        "trained": made.trained,
        "held_out": made.held_out,
    }
    return [_clusters(bins, factor, header, top), *_beside(made)], state


def _span(contract: ContractModel) -> str:
    gaps = f", {contract.gaps} gaps" if contract.gaps else ""
    label = " (DEMO DATA)" if contract.demo else ""
    return (
        f"{contract.symbol}{label} {contract.times[0]:%Y-%m-%d %H:%M} to "
        f"{contract.times[-1]:%Y-%m-%d %H:%M}Z, {len(contract.times):,} bars{gaps}, "
        f"last price {price_text(contract.close)}"
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
            title="MODEL: out-of-sample score beside three baselines",
            header=[] if made.held_out is None else [_held_out(made)],
            notes=[
                "R² of base units liquidated per bar and side, against the mean of the held-out "
                "bars: 1 is exact, 0 no better than a constant",
                "open interest × adverse move: one coefficient, fitted on the same bars",
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
    """What models of this kind assume, and the values that are used here."""
    sure = [w for w, state in zip(made.weights, made.states, strict=True) if state == "fitted"]
    shares = (
        f"stated prior: equal ({made.reason})"
        if made.reason
        else f"fitted by NNLS on {TRAINED:.0%} of the covered bars, ridge {RIDGE:g} to equal shares"
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
