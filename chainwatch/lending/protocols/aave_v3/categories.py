"""E-mode categories of a pool: terms of their own for assets that move together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chainwatch.chain.reading import Reading
from chainwatch.lending.protocol import NO_ADDRESS
from chainwatch.lending.protocols.aave_v3.arithmetic import EModeState, ReserveConfig
from chainwatch.lending.protocols.aave_v3.oracle import GET_ASSET_PRICE
from chainwatch.lending.protocols.aave_v3.pool import POOL, bonus_bps
from chainwatch.tables.lending import EMode

GET_CATEGORY_DATA = POOL.function("getEModeCategoryData")  # up to 3.1
GET_COLLATERAL_CONFIG = POOL.function("getEModeCategoryCollateralConfig")  # from 3.2
GET_COLLATERAL_BITMAP = POOL.function("getEModeCategoryCollateralBitmap")
GET_LABEL = POOL.function("getEModeCategoryLabel")
CATEGORIES = range(1, 256)

# A category's state, and its row.
Category = tuple[EModeState, EMode]


async def read_terms(reading: Reading, categories: Iterable[int]) -> dict[int, Any]:
    """Up to 3.1: the terms of categories, by the names of the pool's ABI."""
    ids = list(categories)
    terms = await reading.ask([GET_CATEGORY_DATA(reading.pool, category) for category in ids])
    return dict(zip(ids, terms, strict=True))


async def read_priced_categories(
    reading: Reading, oracle: str, terms: Mapping[int, Any]
) -> dict[int, Category]:
    """Up to 3.1: an asset names its category, and a category may price its assets.

    Where a category's own price source fails, the chain reverts for the accounts in it.
    """
    # The category's price source is looked up in the oracle like an asset (EModeLogic).
    sources = {c: t.price_source for c, t in terms.items() if t.price_source != NO_ADDRESS}
    answers = await reading.ask([GET_ASSET_PRICE.maybe(oracle, s) for s in sources.values()])
    prices = dict(zip(sources, answers, strict=True))
    read = {}
    for category, t in terms.items():
        price = prices.get(category, 0)
        state = EModeState(t.liquidation_threshold, t.liquidation_bonus, price)
        row = _row(reading, category, t, t.label, price_source=t.price_source, price=price or None)
        read[category] = state, row
    return read


async def read_listing_categories(reading: Reading) -> dict[int, Category]:
    """From 3.2: a category lists its collaterals. The pool has no list of categories."""
    answers = await reading.ask_each(
        CATEGORIES,
        lambda category: (
            GET_COLLATERAL_CONFIG(reading.pool, category),
            GET_COLLATERAL_BITMAP(reading.pool, category),
            GET_LABEL.maybe(reading.pool, category),
        ),
    )
    read = {}
    for category, (terms, bitmap, label) in answers.items():
        if not terms.liquidation_threshold:
            continue
        state = EModeState(
            terms.liquidation_threshold, terms.liquidation_bonus, collateral_bitmap=bitmap
        )
        row = _row(
            reading, category, terms, label or "", price_source=NO_ADDRESS, collateral_bitmap=bitmap
        )
        read[category] = state, row
    return read


async def read_bonus(
    reading: Reading, category: int, reserve_id: int, config: ReserveConfig
) -> int:
    """The bonus of a reserve for an account in a category, as the pool stores it."""
    old, terms, bitmap = await reading.ask(
        [
            getter.maybe(reading.pool, category)
            for getter in (GET_CATEGORY_DATA, GET_COLLATERAL_CONFIG, GET_COLLATERAL_BITMAP)
        ]
    )
    if terms is not None and bitmap is not None:
        is_inside = bool(bitmap >> reserve_id & 1)
    else:
        terms, is_inside = old, config.emode == category
    return int(terms.liquidation_bonus) if is_inside and terms is not None else config.bonus


def _row(reading: Reading, category: int, terms: Any, label: str, **more: Any) -> EMode:
    return EMode(
        **reading.row,
        category=category,
        label=label,
        ltv_bps=terms.ltv,
        lt_bps=terms.liquidation_threshold,
        bonus_bps=bonus_bps(terms.liquidation_bonus),
        **more,
    )
