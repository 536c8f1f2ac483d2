"""Cascades in columns equal the queries: break levels and landing prices of random markets."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.lending import close_rules
from chainwatch.reports import cascade_columns, cascade_rows
from chainwatch.reports.cascade_basis import CascadeTerms
from tests.amounts import sample_size
from tests.builders import FIRST_BLOCK_TIME, depth
from tests.reports.test_path import book, random_world

SCALES = (float("inf"), 1.0, 0.5, 0.02)


@pytest.fixture
def store(empty_lake: Store) -> Store:
    return empty_lake


def equal(ours: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """Rows of the same columns, floating-point figures to 1e-9."""
    assert len(ours) == len(wanted)
    for row, reference in zip(ours, wanted, strict=True):
        assert list(row) == list(reference)
        for name, value in reference.items():
            if isinstance(value, float):
                assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-6), (name, row, reference)
            else:
                assert row[name] == value, (name, row, reference)


def compare(store: Store, terms: CascadeTerms) -> int:
    """Both ways to both results; returns the number of groups."""
    scales = ",".join(map(repr, SCALES))
    drops = [n / 20 for n in range(19)]
    with query.open_catalog(store) as catalog:
        made = cascade_columns.read(catalog, terms)
        top = {"p_scales": scales, "p_oracle_deviation": terms.oracle_deviation}
        for limit in (None, 3, 0):
            rows = query.run(
                catalog, query.find("break_levels"), terms.values | top | {"p_top": limit}
            ).dicts()
            equal(cascade_rows.break_levels(made, SCALES, limit).dicts(), rows)
        landed = query.run(
            catalog,
            query.find("landing_prices"),
            terms.values | {"p_scales": scales, "p_drops": ",".join(map(repr, drops))},
        ).dicts()
        outside = [(drop, made.spot * (1 - drop)) for drop in drops]
        equal(cascade_rows.landing_prices(made, SCALES, outside).dicts(), landed)
        scale = terms.depth_scale * 0.5
        for price, width in ((made.spot * 0.97, 0.02), (made.spot * 0.6, 0.05), (1.0, 0.02)):
            values = {"p_scales": repr(scale), "p_price": price, "p_width": width}
            equal(
                cascade_rows.price_level(made, scale, price, width).dicts(),
                query.run(catalog, query.find("price_level"), terms.values | values).dicts(),
            )
        levels, band = cascade_rows.break_levels_and_band(made, terms, 3, outside)
        equal(cascade_rows.break_levels(made, terms.depths, 3).dicts(), levels.dicts())
        values = {"p_drops": ",".join(map(repr, drops)), "p_depth_scale": terms.depth_scale}
        falls = query.run(catalog, query.find("landing_by_depth"), terms.values | values).dicts()
        equal(band.dicts(), falls)
    return len(made.price)


@pytest.mark.sampled
@pytest.mark.parametrize("seed", range(sample_size(quick=1, full=6, torture=60)))
def test_cascades_in_columns_equal_the_queries(store: Store, seed: int) -> None:
    chance = Random(seed)
    moves = {"BTC": 0.0, "ETH": 1.0, "stETH": 1.0, "XAU": 0.0, "USD": 0.0, "EUR": 0.0}
    for i in range(10):
        random_world(chance, f"m{i:02}", moves).made.store(store)
    absorbing = book(close_rules.ABSORB, "comet")
    blocked = book(close_rules.RESERVE_HALF, "paused")
    for made in (absorbing, blocked):
        made.account("a", {"ETH": 100}, {"USD": chance.uniform(200_000, 330_000)})
        made.account("b", {"ETH": 10, "BTC": 1}, {"USD": chance.uniform(90_000, 120_000)})
    for made, changes in (
        (absorbing, {"reserves_usd": 1e6, "target_reserves_usd": chance.choice([5e5, 2e6])}),
        (blocked, {"blocked_reason": "paused"}),
    ):
        rows = [row for row in made.rows() if row.table != "snapshots"]
        store.append([*rows, made.head(**changes)], source="x")
    store.append(
        depth(
            [(0.01, 50.0), (0.1, 400.0)],
            factor="ETH",
            mid_price=4_000.0,
            time=FIRST_BLOCK_TIME,
            volume_24h=chance.choice([None, 9_000.0]),
        ),
        source="depth",
    )
    terms = CascadeTerms(
        factor="ETH",
        betas={"btc": 0.7} if chance.random() < 0.5 else {},
        sold_share=chance.choice([1.0, 0.6]),
        absorbed=chance.choice(["later", "at once"]),
        oracle_deviation=0.005,
        order=chance.choice(["profit", "largest"]),
        gas_usd=chance.choice([0.5, 50.0]),
        min_profit_usd=0.5,
    )
    assert compare(store, terms) > 40
    with query.open_catalog(store) as catalog:
        mart = query.find("mart_break_levels")
        for top in (2, None):
            values = {"p_factor": "ETH", "p_top": top, "p_as_of": None}
            made = cascade_rows.mart_break_levels(catalog, values)
            equal(made.dicts(), query.run(catalog, mart, values).dicts())
