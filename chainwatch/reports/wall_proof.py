"""The walls of a market as stored, for the proof by its contracts (`verify --wall`)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chainwatch.chain.markets import find_market
from chainwatch.collect.feed import Job
from chainwatch.collect.predictions import PredictedTrigger, PredictedWall
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.store import Store
from chainwatch.settings import Settings

# The factors of a market that move most collateral and debt.
PROVEN_FACTORS = 5


def predict_walls(store: Store, settings: Settings, job: Job) -> list[PredictedWall]:
    """The triggers of a job's newest snapshot by the market's `wall_factors`.

    Without any, by the factors that move most of its collateral and debt.
    """
    market = job.target
    factors: Sequence[str] = find_market(settings, job.source.protocol, market).wall_factors
    with query.open_catalog(store) as catalog:
        factors = factors or _of_weight(catalog, market)
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
