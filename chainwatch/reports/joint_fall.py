"""Several factors that fall at once: the vector fixed point of their cascades, by rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import Result
from chainwatch.reports.betas import betas_text
from chainwatch.reports.cascade_basis import BAND, CascadeTerms, basis
from chainwatch.show.document import Report
from chainwatch.units import price_text

MAX_ROUNDS = 200
# Prices that move by less from round to round have come to rest.
SETTLED = 1e-9
# A move by less than this share is rounding.
TURNED = 1e-6

COLUMNS = {
    "depth": "VARCHAR",
    "factor": "VARCHAR",
    "drop_share": "DOUBLE",
    "outside_price": "DOUBLE",
    "landing_price": "DOUBLE",
    "total_drop_share": "DOUBLE",
    "sold_units": "DOUBLE",
    "bought_units": "DOUBLE",
    "usd": "DOUBLE",
    "accounts": "BIGINT",
    "rounds": "BIGINT",
    "state": "VARCHAR",
}
# Details that belong to one factor: those of several say to which.
_OF_A_FACTOR = ("axes", "moves", "excluded_accounts", "depth")


class Rounds(msgspec.Struct, frozen=True):
    """Where the rounds ended: prices and sales by factor, and ok or why they did not converge."""

    prices: dict[str, float]
    sales: dict[str, dict[str, Any]]
    rounds: int
    state: str


def joint_fall(
    catalog: Catalog, terms: Sequence[CascadeTerms], drops: Mapping[str, float]
) -> Report:
    """Several factors that fall at once: the vector fixed point at each depth of the band.

    Each round is one query per factor: what was triggered on the straight path from today's
    prices to the current ones, sold into (or bought from) that factor's own books. Where the
    rounds do not converge the rows say so and carry no figure.
    """
    header: list[str] = []
    meta: dict[str, Any] = {}
    spots: dict[str, float] = {}
    for of_factor in terms:
        stored = basis(catalog, of_factor)
        header += [line for line in stored.heading.lines if line not in header]
        added = stored.heading.meta
        meta |= added | {
            name: _with_factor(meta, added, name, of_factor.factor) for name in _OF_A_FACTOR
        }
        spots[of_factor.factor] = stored.spot
    rows = []
    for scale in (float("inf"), *BAND):
        rows += _rows_at_depth(catalog, terms, drops, spots, scale)
    return Report(
        result=Result(tuple(COLUMNS), tuple(COLUMNS.values()), rows),
        name="cascade",
        title="Several factors at once: where their prices come to rest together",
        header=header,
        meta=meta,
        notes=[
            "each account is liquidated where the straight path from today's prices to these "
            "crosses its threshold; USD: all that is seized, the same in each factor's row",
            "MODEL: what is seized is sold and what is repaid is bought in each factor's own books",
        ],
    )


def _with_factor(
    meta: Mapping[str, Any], added: Mapping[str, Any], name: str, factor: str
) -> list[dict[str, Any]]:
    """The entries so far and those of one more factor, without duplicates."""
    entries: list[dict[str, Any]] = list(meta.get(name, ()))
    more = ({"factor": factor} | entry for entry in added.get(name, ()))
    return entries + [entry for entry in more if entry not in entries]


def _rows_at_depth(
    catalog: Catalog,
    terms: Sequence[CascadeTerms],
    drops: Mapping[str, float],
    spots: Mapping[str, float],
    scale: float,
) -> list[tuple[Any, ...]]:
    outside = {t.factor: spots[t.factor] * (1 - drops[t.factor]) for t in terms}
    end = run_rounds(catalog, terms, outside, spots, scale)
    label = "no impact" if scale == float("inf") else f"× {terms[0].depth_scale * scale:g}"
    rows: list[tuple[Any, ...]] = []
    for factor in (t.factor for t in terms):
        sale, price = end.sales[factor], end.prices[factor]
        figures = (
            (
                price,
                1 - price / spots[factor],
                sale["sold_units"],
                sale["bought_units"],
                sale["usd"],
                sale["accounts"],
            )
            if end.state == "ok"
            else (None,) * 6
        )
        rows.append(
            (label, factor, drops[factor], outside[factor], *figures, end.rounds, end.state)
        )
    return rows


def run_rounds(
    catalog: Catalog,
    terms: Sequence[CascadeTerms],
    outside: Mapping[str, float],
    spots: Mapping[str, float],
    scale: float,
) -> Rounds:
    """Move each price in turn to where its own sales bring it, given the prices of the others.

    Sales alone only lower prices, from the outside ones to the highest fixed point. Where purchases
    turn a price back its further moves are halved at each turn, so that it comes to rest between.
    """
    prices = dict(outside)
    sales: dict[str, dict[str, Any]] = {}
    weights, moves = dict.fromkeys(prices, 1.0), dict.fromkeys(prices, 0.0)
    for number in range(1, MAX_ROUNDS + 1):
        targets = {}
        for of_factor in terms:
            name = of_factor.factor
            sales[name] = _sales(catalog, of_factor, terms, prices, spots, scale)
            targets[name] = outside[name] * (1 - sales[name]["impact"])
            # A path goes down: a price that would rise above today's stays just below it.
            move = min(targets[name], spots[name] * (1 - SETTLED)) / prices[name] - 1
            if abs(move) > TURNED and move * moves[name] < 0:
                weights[name] /= 2
            moves[name] = move
            prices[name] *= 1 + weights[name] * move
        if all(abs(weights[name] * moves[name]) < SETTLED for name in prices):
            return Rounds(prices, sales, number, _state(prices, targets, moves, spots))
    return Rounds(prices, sales, MAX_ROUNDS, f"not converged in {MAX_ROUNDS} rounds")


def _state(
    prices: Mapping[str, float],
    targets: Mapping[str, float],
    moves: Mapping[str, float],
    spots: Mapping[str, float],
) -> str:
    """Whether prices that have come to rest are where the sales at them bring each, or why not."""
    rising = [name for name in prices if targets[name] >= spots[name]]
    if rising:
        return f"not converged: {', '.join(rising)} would rise, purchases outweigh the fall"
    torn = [name for name in prices if abs(moves[name]) > TURNED]
    if torn:
        where = ", ".join(f"{name} at {price_text(prices[name])}" for name in torn)
        return f"not converged: {where}: below it purchases turn the fall back, above it goes on"
    return "ok"


def _rounded(beta: float) -> float:
    """Without the last digits, in which quotients that are equal differ."""
    return float(f"{beta:.12g}")


def _sales(
    catalog: Catalog,
    of_factor: CascadeTerms,
    terms: Sequence[CascadeTerms],
    prices: Mapping[str, float],
    spots: Mapping[str, float],
    scale: float,
) -> dict[str, Any]:
    """What one factor's forced sales and purchases are on the straight path to these prices."""
    x = prices[of_factor.factor] / spots[of_factor.factor]
    path = {
        other.factor: _rounded((1 - prices[other.factor] / spots[other.factor]) / (1 - x))
        for other in terms
        if other is not of_factor
    }
    values = of_factor.values | {
        "p_betas": betas_text(dict(of_factor.betas) | path),
        "p_x": x,
        "p_scale": of_factor.depth_scale * scale,
    }
    (sale,) = query.run(catalog, query.find("sales_to_price"), values).dicts()
    return sale
