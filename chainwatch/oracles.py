"""Price sources of a market resolved to factors: what has to move for an asset's price to move.

The contracts are asked, never the token's symbol. Known are Chainlink-like feeds, Aave's adapters
(bgd-labs/aave-capo: ratio with capped growth, capped stablecoin, fixed price, linear discount;
bgd-labs/cl-synchronicity-price-adapter: peg to base) and Comet's (multiplied, scaled, constant).
Anything else becomes a factor of its own and is reported as unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from chainwatch import abi
from chainwatch.rpc import Reverted
from chainwatch.text import contract_text

if TYPE_CHECKING:
    from chainwatch.rpc import Block, Call, Rpc

# Selectors; tests/test_abi.py holds each against the ABI in abis/.
DESCRIPTION = "0x7284e416"
GETTERS = {
    "decimals": "0x313ce567",
    "latestAnswer": "0x50d25bcd",
    # ratio adapter (PriceCapAdapterBase)
    "BASE_TO_USD_AGGREGATOR": "0xd221087c",
    "getRatio": "0xec1ebd7a",
    "RATIO_DECIMALS": "0xa83622e0",
    "getSnapshotRatio": "0xfe4d9e79",
    "getSnapshotTimestamp": "0xdeb8c641",
    "getMaxRatioGrowthPerSecondScaled": "0x82294d3c",
    "SCALING_FACTOR": "0xef4cadc5",
    # capped stablecoin, and linear discount over one
    "ASSET_TO_USD_AGGREGATOR": "0x4ebdc284",
    "getPriceCap": "0x4c7afe60",
    # peg to base
    "ASSET_TO_PEG": "0x910bb70c",
    "PEG_TO_BASE": "0xde4aedab",
    # fixed price, constant price
    "price": "0xa035b1fe",
    "constantPrice": "0xeea72e28",
    # Comet: product of two feeds, rescaled feed
    "priceFeedA": "0x383cae1d",
    "priceFeedB": "0x14c04ff1",
    "underlyingPriceFeed": "0x2ac0a1a5",
}
_CHILDREN = (
    "BASE_TO_USD_AGGREGATOR",
    "ASSET_TO_USD_AGGREGATOR",
    "ASSET_TO_PEG",
    "PEG_TO_BASE",
    "priceFeedA",
    "priceFeedB",
    "underlyingPriceFeed",
)
MAX_DEPTH = 4
MAX_DECIMALS = 36
FIXED = "fixed"

_PAIR = re.compile(r"([A-Za-z0-9.+]{1,16}) ?/ ?([A-Za-z0-9.+]{1,16})")


class Exposure(msgspec.Struct, frozen=True):
    """One factor of one price source.

    The asset's price moves by `beta` per move of the factor. `price` is the factor's value now,
    None if unreadable; `cap_x` is the multiple of it above which the source stops following.
    """

    factor: str
    beta: float
    kind: str
    feed: str
    description: str
    price: float | None
    cap_x: float | None = None


UNIT = Exposure(FIXED, 0.0, "fixed", "", "base currency of the market", 1.0)


class _Source(msgspec.Struct, frozen=True):
    """What a price source answered: its description, and each getter's word that it has."""

    address: str
    description: str
    words: dict[str, int]

    def child(self, getter: str) -> str | None:
        word = self.words.get(getter)
        return abi.address(word) if word and word < 1 << 160 else None

    @property
    def answer(self) -> float | None:
        return self.value("latestAnswer")

    def value(self, getter: str) -> float | None:
        word, decimals = self.words.get(getter), self.words.get("decimals")
        if word is None or decimals is None:
            return None
        return _scaled(abi.signed(word), decimals)


async def resolve(
    rpc: Rpc, sources: Mapping[str, str], at: Block
) -> dict[str, tuple[Exposure, ...]]:
    """The factors of each price source, for {address: label}.

    The label names a ratio that its source does not name itself (a token's symbol).
    """
    asked: dict[str, _Source] = {}
    wanted = sorted(sources)
    for _ in range(MAX_DEPTH):
        if not wanted:
            break
        asked |= await _ask(rpc, wanted, at)
        children = {asked[a].child(getter) for a in wanted for getter in _CHILDREN}
        wanted = sorted({c for c in children if c} - asked.keys())
    return {
        source: tuple(_exposures(source, label, asked, at.time, MAX_DEPTH))
        for source, label in sources.items()
    }


async def usd(rpc: Rpc, feed: str | None, at: Block) -> float | None:
    """What a feed's asset is worth in USD; None without a feed or a usable answer."""
    if feed is None:
        return None
    return (await _ask(rpc, [feed], at))[feed].answer


class Quote(msgspec.Struct, frozen=True):
    """What a feed says: its scaled answer, and where its description is a pair, of what in what."""

    answer: float | None
    of: str | None
    unit: str | None


async def quotes(rpc: Rpc, feeds: Sequence[str], at: Block) -> dict[str, Quote]:
    """What each feed says at a block."""
    found = {}
    for feed, source in (await _ask(rpc, feeds, at)).items():
        match = _PAIR.fullmatch(source.description)
        found[feed] = Quote(source.answer, *(match.groups() if match else (None, None)))
    return found


async def in_usd(
    rpc: Rpc, exposures: Mapping[str, Sequence[Exposure]], feed: str | None, at: Block
) -> dict[str, tuple[Exposure, ...]]:
    """Exposures of a market that counts in another currency, by what moves their USD.

    `feed` is that currency's in USD, such as ETH / USD. As ETH moves, what is priced at a fixed
    number of ETH moves with it, and so does a price in ETH of a kind of ETH (stETH / ETH, by its
    feed's own name), whose ratio stays. Any other price in ETH (USDC / ETH) gives way the other
    way, so that its USD stays: it is a factor of its own. A health factor is the same in either
    currency. Without a feed that says both names, everything is left as it was.
    """
    kept = {asset: tuple(found) for asset, found in exposures.items()}
    said = (await quotes(rpc, [feed], at))[feed] if feed is not None else None
    if feed is None or said is None or said.of is None or said.unit != "USD":
        return kept
    own = Exposure(said.of, 1.0, "feed", feed, f"{said.of} / USD", said.answer)

    def moved(exposure: Exposure) -> list[Exposure]:
        of, _, unit = exposure.factor.partition("/")
        if exposure.kind == FIXED:
            return [own]
        if exposure.kind != "ratio" or unit != own.factor:
            return [exposure]
        if own.factor in of:
            return [own, exposure]
        price = exposure.price * own.price if exposure.price and own.price else None
        return [msgspec.structs.replace(exposure, factor=of, kind="feed", price=price)]

    return {
        asset: tuple(dict.fromkeys(e for each in found for e in moved(each)))
        for asset, found in kept.items()
    }


async def _ask(rpc: Rpc, addresses: Sequence[str], at: Block) -> dict[str, _Source]:
    selectors = [DESCRIPTION, *GETTERS.values()]
    calls: list[Call] = [(a, abi.call(selector)) for a in addresses for selector in selectors]
    answers = await rpc.read(calls, at)
    found = {}
    for i, address in enumerate(addresses):
        description, *rest = answers[i * len(selectors) : (i + 1) * len(selectors)]
        found[address] = _Source(
            address=address,
            description="" if isinstance(description, Reverted) else contract_text(description),
            words={
                getter: abi.word(answer, 0)
                for getter, answer in zip(GETTERS, rest, strict=True)
                if isinstance(answer, bytes) and len(answer) == abi.WORD
            },
        )
    return found


def _exposures(
    address: str, label: str, asked: Mapping[str, _Source], now: int, depth: int
) -> list[Exposure]:
    source = asked.get(address)
    if source is None or depth == 0:
        return [_unknown(address, "", None)]

    def of(getter: str) -> list[Exposure]:
        child = source.child(getter) or ""
        inner = asked.get(child)
        match = _PAIR.fullmatch(inner.description) if inner else None
        return _exposures(child, match[1] if match else child, asked, now, depth - 1)

    if source.child("BASE_TO_USD_AGGREGATOR") and "getRatio" in source.words:
        base = of("BASE_TO_USD_AGGREGATOR")
        return [*base, _ratio(source, label, base, now)]
    if source.child("ASSET_TO_PEG") and source.child("PEG_TO_BASE"):
        return [*of("PEG_TO_BASE"), *of("ASSET_TO_PEG")]
    if source.child("priceFeedA") and source.child("priceFeedB"):
        return [*of("priceFeedA"), *of("priceFeedB")]
    if source.child("ASSET_TO_USD_AGGREGATOR"):
        cap, inner = source.value("getPriceCap"), of("ASSET_TO_USD_AGGREGATOR")
        return [_capped(e, cap) for e in inner] if cap else inner
    if source.child("underlyingPriceFeed"):
        return of("underlyingPriceFeed")
    if source.words.get("latestAnswer") in (
        source.words.get("price", -1),
        source.words.get("constantPrice", -1),
    ):
        return [_fixed(source)]
    return [_feed(source)]


def _feed(source: _Source) -> Exposure:
    """A plain feed, which says itself what it is a price of."""
    match = _PAIR.fullmatch(source.description)
    if match is None:
        return _unknown(source.address, source.description, source.answer)
    in_usd = match[2] == "USD"
    return Exposure(
        factor=match[1] if in_usd else f"{match[1]}/{match[2]}",
        beta=1.0,
        kind="feed" if in_usd else "ratio",
        feed=source.address,
        description=source.description,
        price=source.answer,
    )


def _unknown(address: str, description: str, price: float | None) -> Exposure:
    return Exposure(f"feed:{address}", 1.0, "unknown", address, description, price)


def _fixed(source: _Source) -> Exposure:
    return Exposure(FIXED, 0.0, "fixed", source.address, source.description, source.answer)


def _ratio(source: _Source, label: str, base: Sequence[Exposure], now: int) -> Exposure:
    """The exchange rate of a ratio adapter, as far as its growth cap lets it through."""
    words = source.words
    ratio = abi.signed(words["getRatio"])
    cap = None
    if {"getSnapshotRatio", "getSnapshotTimestamp", "getMaxRatioGrowthPerSecondScaled"} <= (
        words.keys()
    ):
        grown = words["getMaxRatioGrowthPerSecondScaled"] * (now - words["getSnapshotTimestamp"])
        cap = words["getSnapshotRatio"] + grown // (words.get("SCALING_FACTOR") or 1)
    passed = ratio if cap is None else min(ratio, cap)
    against = base[0].factor if base else "?"
    return Exposure(
        factor=f"{label}/{against}",
        beta=1.0,
        kind="ratio",
        feed=source.address,
        description=source.description,
        price=_scaled(passed, words.get("RATIO_DECIMALS", 18)),
        cap_x=cap / passed if cap is not None and passed > 0 else None,
    )


def _capped(exposure: Exposure, cap: float) -> Exposure:
    """A price that follows its feed up to a cap only."""
    if exposure.price is None or exposure.kind == FIXED:
        return exposure
    passed = min(exposure.price, cap)
    return msgspec.structs.replace(exposure, price=passed, cap_x=cap / passed)


def _scaled(value: int, decimals: int) -> float | None:
    if value <= 0 or decimals > MAX_DECIMALS:
        return None
    return value / int(10**decimals)
