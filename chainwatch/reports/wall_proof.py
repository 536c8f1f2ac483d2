"""The walls of a market as stored, for the proof by its contracts (`verify --wall`)."""

from __future__ import annotations

import msgspec

from chainwatch.collect.predictions import PredictedTrigger, PredictedWall
from chainwatch.lake import query
from chainwatch.lake.store import Store

# The factors of a market that move most collateral and debt.
PROVEN_FACTORS = 5


def predict_walls(store: Store, market: str, factors: int = PROVEN_FACTORS) -> list[PredictedWall]:
    """The triggers of the market's newest snapshot by each factor of weight."""
    with query.open_catalog(store) as catalog:
        graph = query.run(catalog, query.find("factor_graph"), {"p_market": market}).dicts()
        weights: dict[str, float] = {}
        for row in graph:
            if row["kind"] != "fixed":
                weight = row["collateral_usd"] + row["debt_usd"]
                weights[row["factor"]] = weights.get(row["factor"], 0.0) + weight
        chosen = sorted(weights, key=lambda factor: (-weights[factor], factor))[:factors]
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
            for factor in chosen
        ]
