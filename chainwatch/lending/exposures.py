"""Exposures: which factors move a price, by which power, and up to which cap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

FIXED = "fixed"
NONLINEAR = "nonlinear"
# How an exposure is known.
MEASURED, INFERRED, UNKNOWN = "measured", "inferred", "unknown"


class Exposure(msgspec.Struct, frozen=True):
    """One factor of one price source.

    The asset's price moves by `beta` per move of the factor: 1 = one to one, -1 = the price is
    divided by it, so that it follows 1/x. `price` is the factor's value now, None if it cannot be
    read; `cap_x` and `floor_x` are the multiples of it above and below which the source stops
    following. A nonlinear one has no other form than its slope now. `step` is how far rounding may
    move the price, relative to it.
    """

    factor: str
    beta: float
    kind: str
    feed: str
    description: str
    price: float | None
    cap_x: float | None = None
    floor_x: float | None = None
    evidence: str = INFERRED
    step: float = 0.0


UNIT = Exposure(FIXED, 0.0, "fixed", "", "base currency of the market", 1.0)


def combine(exposures: Iterable[Exposure]) -> tuple[Exposure, ...]:
    """The exposures of a product: powers of one factor add up, and a power of 0 is left out.

    A price that follows a higher power is not linear. Where no factor is left that moves the price,
    it is fixed.
    """
    moving: dict[str, Exposure] = {}
    fixed: list[Exposure] = []
    for exposure in exposures:
        if exposure.kind == FIXED:
            fixed.append(exposure)
            continue
        other = moving.get(exposure.factor, exposure)
        both = (other, exposure)
        caps = [e.cap_x for e in both if e.cap_x is not None]
        floors = [e.floor_x for e in both if e.floor_x is not None]
        moving[exposure.factor] = msgspec.structs.replace(
            other,
            beta=exposure.beta if other is exposure else other.beta + exposure.beta,
            kind=NONLINEAR if NONLINEAR in (other.kind, exposure.kind) else other.kind,
            feed=" ".join(dict.fromkeys(f"{other.feed} {exposure.feed}".split())),
            cap_x=min(caps, default=None),
            floor_x=max(floors, default=None),
            evidence=other.evidence if other.evidence == exposure.evidence else INFERRED,
            step=max(other.step, exposure.step),
        )
    # A power of zero with a cap on part of it holds up to the cap only.
    left = tuple(
        msgspec.structs.replace(e, kind=NONLINEAR) if abs(e.beta) > 1 and e.beta % 1 == 0 else e
        for e in moving.values()
        if e.beta or e.cap_x is not None or e.floor_x is not None or e.kind == NONLINEAR
    )
    if left or fixed:
        return left or tuple(fixed[:1])
    evidence = {e.evidence for e in moving.values()}
    return (
        msgspec.structs.replace(UNIT, evidence=evidence.pop() if len(evidence) == 1 else INFERRED),
    )


def is_inferred(exposures: Mapping[str, Iterable[Exposure]]) -> bool:
    """Whether no price of a market was measured, though some move."""
    evidence = {e.evidence for own in exposures.values() for e in own if e.kind != FIXED}
    return INFERRED in evidence and MEASURED not in evidence


def convert_to_usd(exposures: Iterable[Exposure], currency: Exposure) -> tuple[Exposure, ...]:
    """Exposures of a price in a currency, multiplied by that currency's own price in USD."""

    def convert(exposure: Exposure) -> list[Exposure]:
        asset, _, unit = exposure.factor.partition("/")
        if exposure.kind != "ratio" or unit != currency.factor or currency.factor in asset:
            return [exposure]
        price = exposure.price * currency.price if exposure.price and currency.price else None
        return [
            msgspec.structs.replace(exposure, factor=asset, kind="feed", price=price),
            msgspec.structs.replace(currency, beta=-exposure.beta),
        ]

    return combine([currency, *(part for exposure in exposures for part in convert(exposure))])
