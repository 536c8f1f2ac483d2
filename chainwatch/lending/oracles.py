"""Price sources of a market resolved to factors: what has to move for an asset's price to move.

The contracts are asked, never the token's symbol. Getters only propose what a source is made of:
multiplying and dividing feeds have the same ones. A composition counts where it gives the source's
own answer; anything else becomes a factor of its own and is reported as unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import msgspec

from chainwatch.chain import abi
from chainwatch.chain.reading import Reading
from chainwatch.chain.together import gather
from chainwatch.chain.types import Call
from chainwatch.lending.exposures import FIXED, MEASURED, UNKNOWN, Exposure, combine, convert_to_usd
from chainwatch.lending.measured_exposures import measured_exposures
from chainwatch.lending.price_sources import (
    LATEST_ANSWER,
    LATEST_ROUND_DATA,
    MAX_DECIMALS,
    PriceSource,
    Quote,
    pair,
    read_quotes,
    read_sources,
)
from chainwatch.lending.probing import measure

# What sources are made of: getters of the sources underneath, and the power of each.
_Composition = tuple[tuple[str, int], ...]
_COMPOSITIONS: tuple[_Composition, ...] = (
    (("BASE_TO_USD_AGGREGATOR", 1),),
    (("PEG_TO_BASE", 1), ("ASSET_TO_PEG", 1)),
    (("ASSET_TO_PEG", 1), ("BASE_TO_PEG", -1)),
    (("priceFeedA", 1), ("priceFeedB", 1)),
    (("priceFeedA", 1), ("priceFeedB", -1)),
    (("WBTCToBTCPriceFeed", 1), ("BTCToUSDPriceFeed", 1)),
    (("ASSET_TO_USD_AGGREGATOR", 1),),
    (("underlyingPriceFeed", 1),),
)
_CHILDREN = tuple(
    dict.fromkeys(getter for composition in _COMPOSITIONS for getter, _ in composition)
)
DISCOUNT_SCALE = 10**18
MAX_DEPTH = 4


class Price(msgspec.Struct, frozen=True):
    """A market's price: the call that gives it, and its source as far as the market names one.

    The label names a ratio that its source does not name itself (a token's symbol).
    """

    call: Call
    source: str | None
    label: str


async def resolve(reading: Reading, prices: Mapping[str, Price]) -> dict[str, tuple[Exposure, ...]]:
    """What moves each price: measured, with the names of what its source is made of.

    Where the endpoint cannot be asked, or a price fails, it is what its source's getters say; a
    price without a source has no exposure then.
    """
    sources = {p.source: p.label for p in prices.values() if p.source is not None}
    inferred, measured = await gather(
        infer(reading, sources),
        measure(reading, {name: p.call for name, p in prices.items()}),
    )
    return {
        name: measured_exposures(measured, name, price.label, own) if measured is not None else own
        for name, price in prices.items()
        for own in [inferred.get(price.source or "", ())]
    }


async def infer(reading: Reading, sources: Mapping[str, str]) -> dict[str, tuple[Exposure, ...]]:
    """The factors of each price source by its getters, for {address: label}; see `Price`."""
    read: dict[str, PriceSource] = {}
    wanted = sorted(sources)
    for _ in range(MAX_DEPTH):
        if not wanted:
            break
        read |= await read_sources(reading, wanted)
        children = {read[a].child(getter) for a in wanted for getter in _CHILDREN}
        wanted = sorted({c for c in children if c} - read.keys())
    read |= await _constants(reading, read)
    return {
        source: combine(_exposures(source, label, read, reading.block.time, MAX_DEPTH))
        for source, label in sources.items()
    }


async def exposures_in_usd(
    reading: Reading, exposures: Mapping[str, Sequence[Exposure]]
) -> dict[str, tuple[Exposure, ...]]:
    """Exposures of a market that counts in another currency, by the factors that move USD values.

    The market table names that currency's feed in USD, such as ETH / USD. Every price is multiplied
    by it: an asset priced at a fixed number of ETH moves with ETH, an asset divided by ETH does
    not. A price in ETH of a kind of ETH (stETH / ETH, by its feed's own name) stays a ratio. Any
    other price in ETH (USDC / ETH) falls as ETH rises, so that its USD value stays: it is a factor
    of its own. A health factor is the same in either currency. Without a feed whose description
    names both sides the exposures are returned unchanged.
    """
    unchanged = {asset: tuple(factors) for asset, factors in exposures.items()}
    feed = reading.market.quote_feed
    quote = (await read_quotes(reading, [feed]))[feed] if feed is not None else None
    currency = currency_exposure(feed, quote) if feed is not None and quote is not None else None
    if currency is None:
        return unchanged
    if any(e.evidence == MEASURED for factors in exposures.values() for e in factors):
        # What converts to USD is that feed by definition.
        currency = msgspec.structs.replace(currency, evidence=MEASURED)
    return {
        asset: factors and convert_to_usd(factors, currency) for asset, factors in unchanged.items()
    }


def currency_exposure(feed: str, quote: Quote) -> Exposure | None:
    """The exposure of a currency to itself, by its feed in USD; None for any other feed."""
    if quote.asset is None or quote.unit != "USD":
        return None
    return Exposure(quote.asset, 1.0, "feed", feed, f"{quote.asset} / USD", quote.answer)


async def _constants(
    reading: Reading, sources: Mapping[str, PriceSource]
) -> dict[str, PriceSource]:
    """The sources that are made of no others and whose answer reads no storage."""
    leaves = [
        s for s in sources.values() if s.answer_word is not None and not _compositions(s, sources)
    ]
    calls = [
        (LATEST_ANSWER if "latestAnswer" in s.words else LATEST_ROUND_DATA).call(s.address)
        for s in leaves
    ]
    touched = await reading.rpc.accesses(calls, reading.block)
    return {
        s.address: msgspec.structs.replace(s, constant=True)
        for s, access in zip(leaves, touched, strict=True)
        if access is not None and not any(access.values())
    }


def _compositions(
    source: PriceSource, sources: Mapping[str, PriceSource]
) -> list[tuple[_Composition, list[PriceSource]]]:
    """What a source may be made of, by its getters: each composition with the sources it names."""
    possible = []
    for composition in _COMPOSITIONS:
        if composition[0][0] == "BASE_TO_USD_AGGREGATOR" and "getRatio" not in source.words:
            continue
        children = [sources.get(source.child(getter) or "") for getter, _ in composition]
        # A contract without an answer is not a price source; it may give a rate.
        named = [c for c in children if c is not None and c.answer_word is not None]
        if len(named) == len(composition):
            possible.append((composition, named))
    return possible


def _composed_answer(
    source: PriceSource, composition: _Composition, children: Sequence[PriceSource], now: int
) -> Fraction | None:
    """What the source would answer with that composition; None where a part has no answer."""
    value = Fraction(1)
    for (_, power), child in zip(composition, children, strict=True):
        if child.exact is None:
            return None
        value *= child.exact**power
    if composition[0][0] == "BASE_TO_USD_AGGREGATOR":
        passed, _ = _capped_ratio(source, now)
        return value * Fraction(passed, 10 ** _ratio_decimals(source))
    if composition[0][0] == "ASSET_TO_USD_AGGREGATOR":
        value *= 1 - Fraction(source.words.get("getCurrentDiscount", 0), DISCOUNT_SCALE)
        return value if source.cap is None else min(value, source.cap)
    return value


def _composition(
    source: PriceSource, sources: Mapping[str, PriceSource], now: int
) -> tuple[_Composition, list[PriceSource]] | str | None:
    """The only composition that gives the source's own answer; a reason where none or several do.

    None for a source that names no others. Contracts round down at the last decimal.
    """
    possible = _compositions(source, sources)
    if not possible:
        return None
    if source.exact is None:
        return "gives no usable answer"
    unit = Fraction(1, 10 ** (source.decimals or 0))
    fits = []
    for composition, children in possible:
        value = _composed_answer(source, composition, children, now)
        if value is not None and abs(value - source.exact) <= unit:
            fits.append((composition, children))
    if len(fits) > 1:
        # Near a price of 1 a product and a quotient are the same; their scales tell them apart.
        divides = {"combinedScale": False, "priceFeedBScale": True}
        scales = {divides[getter] for getter in divides if getter in source.words}
        fits = [f for f in fits if scales == {any(power < 0 for _, power in f[0])}]
        return fits[0] if len(fits) == 1 else "may multiply its feeds or divide them"
    return fits[0] if fits else "its answer is not what its feeds give"


def _exposures(
    address: str, label: str, sources: Mapping[str, PriceSource], now: int, depth: int
) -> list[Exposure]:
    source = sources.get(address)
    if source is None or depth == 0:
        return [_unknown(address, "", None)]
    composition = _composition(source, sources, now)
    if isinstance(composition, str):
        reason = f"{source.description} ({composition})" if source.description else composition
        return [_unknown(source.address, reason, source.answer)]
    if composition is None:
        constants = (source.words.get("price"), source.words.get("constantPrice"))
        is_fixed = source.answer_word is not None and source.answer_word in constants
        return [_fixed(source) if is_fixed or source.constant else _feed(source)]
    getters, children = composition
    exposures: list[Exposure] = []
    for (_, power), child in zip(getters, children, strict=True):
        names = pair(child.description)
        inner_label = names[0] if names else child.address
        inner = combine(_exposures(child.address, inner_label, sources, now, depth - 1))
        exposures += [msgspec.structs.replace(e, beta=e.beta * power) for e in inner]
    if getters[0][0] == "BASE_TO_USD_AGGREGATOR":
        return [*exposures, _ratio(source, label, exposures, now)]
    if source.cap is not None and getters[0][0] == "ASSET_TO_USD_AGGREGATOR":
        return _capped(source, children[0], exposures)
    return exposures


def _feed(source: PriceSource) -> Exposure:
    """A plain feed, whose own description names its pair."""
    names = pair(source.description)
    if names is None:
        return _unknown(source.address, source.description, source.answer)
    asset, unit = names
    in_usd = unit == "USD"
    return Exposure(
        factor=asset if in_usd else f"{asset}/{unit}",
        beta=1.0,
        kind="feed" if in_usd else "ratio",
        feed=source.address,
        description=source.description,
        price=source.answer,
    )


def _unknown(address: str, description: str, price: float | None) -> Exposure:
    name = f"feed:{address}"
    return Exposure(name, 1.0, "unknown", address, description, price, evidence=UNKNOWN)


def _fixed(source: PriceSource) -> Exposure:
    return Exposure(FIXED, 0.0, "fixed", source.address, source.description, source.answer)


def _capped_ratio(source: PriceSource, now: int) -> tuple[int, int | None]:
    """The rate of a ratio adapter, at most its growth cap, and that cap."""
    words = source.words
    ratio = abi.signed(words["getRatio"])
    cap = None
    if {"getSnapshotRatio", "getSnapshotTimestamp", "getMaxRatioGrowthPerSecondScaled"} <= (
        words.keys()
    ):
        grown = words["getMaxRatioGrowthPerSecondScaled"] * (now - words["getSnapshotTimestamp"])
        cap = words["getSnapshotRatio"] + grown // (words.get("SCALING_FACTOR") or 1)
    return ratio if cap is None else min(ratio, cap), cap


def _ratio_decimals(source: PriceSource) -> int:
    return min(source.words.get("RATIO_DECIMALS", 18), MAX_DECIMALS)


def _ratio(source: PriceSource, label: str, base: Sequence[Exposure], now: int) -> Exposure:
    """The exchange rate of a ratio adapter."""
    passed, cap = _capped_ratio(source, now)
    against = base[0].factor if base else "?"
    return Exposure(
        factor=f"{label}/{against}",
        beta=1.0,
        kind="ratio",
        feed=source.address,
        description=source.description,
        price=passed / int(10 ** _ratio_decimals(source)) if passed > 0 else None,
        cap_x=cap / passed if cap is not None and passed > 0 else None,
    )


def _capped(
    source: PriceSource, child: PriceSource, exposures: Sequence[Exposure]
) -> list[Exposure]:
    """A price that follows the feed underneath up to a cap only."""
    if any(e.beta < 0 for e in exposures):
        return [_unknown(source.address, f"{source.description} (a cap on a quotient)", None)]
    cap, value = source.cap, child.exact
    if cap is None or value is None:
        return list(exposures)
    cap_x = float(cap / min(cap, value))
    return [
        e
        if e.kind == FIXED
        else msgspec.structs.replace(
            e,
            # The one factor of a plain feed counts as high as it gets through.
            price=min(e.price, float(cap)) if len(exposures) == 1 and e.price else e.price,
            cap_x=cap_x if e.cap_x is None else min(cap_x, e.cap_x),
        )
        for e in exposures
    ]
