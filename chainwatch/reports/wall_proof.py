"""The walls of a market as stored, for the proof by its contracts (`verify --wall`)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chainwatch.collect.predictions import PredictedTrigger, PredictedWall
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.store import Store

# The factors of a market that move most collateral and debt.
PROVEN_FACTORS = 5


def predict_walls(
    store: Store, market: str, factors: Sequence[str] | None = None
) -> list[PredictedWall]:
    """The triggers of the market's newest snapshot by these factors; None: those of weight."""
    with query.open_catalog(store) as catalog:
        if factors is None:
            factors = _of_weight(catalog, market)
        return [
            PredictedWall(
                factor,
                [
                    msgspec.convert(
                        {name: row[name] for name in PredictedTrigger.__struct_fields__},
                        PredictedTrigger,
                    )
                    for row in query.run(
                        catalog,
                        query.find("triggers"),
                        {"p_market": market, "p_factor": factor},
                    ).dicts()
                ],
            )
            for factor in factors
        ]


def _of_weight(catalog: Catalog, market: str) -> list[str]:
    """The factors that move most collateral and debt of a market."""
    weights: dict[str, float] = {}
    for row in query.run(catalog, query.find("factor_graph"), {"p_market": market}).dicts():
        if row["kind"] != "fixed":
            weight = row["collateral_usd"] + row["debt_usd"]
            weights[row["factor"]] = weights.get(row["factor"], 0.0) + weight
    return sorted(weights, key=lambda factor: (-weights[factor], factor))[:PROVEN_FACTORS]
