"""Exposures as they were measured, under the names of what a price is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from chainwatch.lending.elasticity import Elasticity
from chainwatch.lending.exposures import (
    FIXED,
    MEASURED,
    NONLINEAR,
    UNIT,
    UNKNOWN,
    Exposure,
    combine,
)
from chainwatch.lending.price_sources import pair
from chainwatch.lending.probing import Leaf, Measured


def measured_exposures(
    measured: Measured, price: str, label: str, inferred: Sequence[Exposure]
) -> tuple[Exposure, ...]:
    """What moves a price. `inferred`, by getters, gives names, and no number that was measured.

    A source may keep a rate in its own storage, which no other contract answers: as far as its
    getters name one, it stays as it was inferred.
    """
    if price not in measured.responses:
        return tuple(inferred)
    moving = {
        leaf: response
        for leaf, response in measured.responses[price].items()
        if not measured.leaves[leaf].constant
    }
    slots = measured.touched[price]
    own_rates = [
        e for e in inferred if e.kind == "ratio" and e.feed not in moving and slots.get(e.feed)
    ]
    names, left = _names(moving, measured.leaves, label, inferred)
    exposures = [
        _exposure(measured.leaves[leaf], response, names[leaf]) for leaf, response in moving.items()
    ]
    exposures += [e for e in own_rates if e in left]
    if exposures:
        return combine(exposures)
    fixed = [msgspec.structs.replace(e, evidence=MEASURED) for e in inferred if e.kind == FIXED]
    if fixed and len(fixed) == len(inferred):
        return tuple(fixed)
    if not any(slots.values()):
        unit = msgspec.structs.replace(UNIT, description="reads no storage", evidence=MEASURED)
        return tuple(fixed) or (unit,)
    return tuple(e for e in inferred if e.evidence == UNKNOWN)


def _names(
    moving: Mapping[str, Elasticity],
    leaves: Mapping[str, Leaf],
    label: str,
    inferred: Sequence[Exposure],
) -> tuple[dict[str, Exposure], list[Exposure]]:
    """An exposure to take the name of each leaf from, and the inferred ones that named none."""
    by_feed = {e.feed: e for e in inferred if e.kind not in (FIXED, "unknown")}
    names: dict[str, Exposure] = {}
    for address in moving:
        leaf = leaves[address]
        if address in by_feed:
            names[address] = by_feed[address]
        elif parts := pair(leaf.description):
            asset, unit = parts
            is_usd = unit == "USD"
            names[address] = Exposure(
                factor=asset if is_usd else f"{asset}/{unit}",
                beta=1.0,
                kind="feed" if is_usd else "ratio",
                feed=address,
                description=leaf.description,
                price=leaf.value,
            )
    unnamed = [a for a in moving if a not in names]
    ratios = [e for e in inferred if e.kind == "ratio" and e.feed not in moving]
    if len(unnamed) == 1 and len(ratios) == 1:
        names[unnamed[0]] = ratios.pop()
    against = next((e.factor for e in names.values() if e.kind == "feed"), "")
    rates = [a for a in moving if a not in names and leaves[a].is_rate]
    for address in moving:
        if address in names:
            continue
        alone = rates == [address] and against
        names[address] = Exposure(
            factor=f"{label}/{against}" if alone else f"feed:{address}",
            beta=1.0,
            kind="ratio" if leaves[address].is_rate else "unknown",
            feed=address,
            description=leaves[address].description,
            price=leaves[address].value,
        )
    return names, ratios


def _exposure(leaf: Leaf, response: Elasticity, name: Exposure) -> Exposure:
    price = leaf.value if leaf.value is not None else name.price
    return msgspec.structs.replace(
        name,
        beta=response.beta,
        kind=name.kind if response.linear else NONLINEAR,
        feed=leaf.address,
        price=None if price is None else price * response.scale,
        cap_x=response.cap_x,
        floor_x=response.floor_x,
        evidence=MEASURED,
        step=response.rounding,
    )
