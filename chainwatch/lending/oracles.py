"""Price sources of a market resolved to factors: what has to move for an asset's price to move.

The contracts are asked, never the token's symbol. Known are Chainlink-like feeds, Aave's adapters
(bgd-labs/aave-capo: ratio with capped growth, capped stablecoin, fixed price, linear discount;
bgd-labs/cl-synchronicity-price-adapter: peg to base, base to peg) and Comet's (multiplied, divided,
scaled, constant). Getters only propose what a source is made of: multiplying and dividing feeds
have the same ones. It counts where it gives the source's own answer; anything else becomes a
factor of its own and is reported as unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import msgspec

from chainwatch.chain import abi
from chainwatch.chain.types import Reverted
from chainwatch.text import contract_text

if TYPE_CHECKING:
    from chainwatch.chain.client import Rpc
    from chainwatch.chain.types import Block, Call

# Selectors; tests/test_abi.py holds each against the ABI in abis/.
DESCRIPTION = "0x7284e416"
# The answer of sources without latestAnswer(): the second word of five.
LATEST_ROUND_DATA = "0xfeaf968c"
ROUND_WORDS = 5
GETTERS = {
    "decimals": "0x313ce567",
    "latestAnswer": "0x50d25bcd",
    # fixed price, constant price
    "price": "0xa035b1fe",
    "constantPrice": "0xeea72e28",
    # the feeds underneath: of a ratio adapter (PriceCapAdapterBase), of a capped stablecoin and a
    # linear discount, of peg to base and base to peg
    "BASE_TO_USD_AGGREGATOR": "0xd221087c",
    "ASSET_TO_USD_AGGREGATOR": "0x4ebdc284",
    "ASSET_TO_PEG": "0x910bb70c",
    "PEG_TO_BASE": "0xde4aedab",
    "BASE_TO_PEG": "0x6753b8c4",
    # of Comet's product or quotient of two feeds, and rescaled feed
    "priceFeedA": "0x383cae1d",
    "priceFeedB": "0x14c04ff1",
    "WBTCToBTCPriceFeed": "0x2c3596f2",
    "BTCToUSDPriceFeed": "0x1de5ffd5",
    "underlyingPriceFeed": "0x2ac0a1a5",
}
# What a source is asked besides if it names a feed underneath in that getter.
TERMS = {
    "BASE_TO_USD_AGGREGATOR": {
        "getRatio": "0xec1ebd7a",
        "RATIO_DECIMALS": "0xa83622e0",
        "getSnapshotRatio": "0xfe4d9e79",
        "getSnapshotTimestamp": "0xdeb8c641",
        "getMaxRatioGrowthPerSecondScaled": "0x82294d3c",
        "SCALING_FACTOR": "0xef4cadc5",
    },
    "ASSET_TO_USD_AGGREGATOR": {"getPriceCap": "0x4c7afe60", "getCurrentDiscount": "0xf0eb737a"},
    "ASSET_TO_PEG": {"DECIMALS": "0x2e0f2625"},
    "priceFeedB": {"combinedScale": "0x2b9357df", "priceFeedBScale": "0x56356164"},
}
# What sources are made of: getters of the sources underneath, and the power of each.
_Way = tuple[tuple[str, int], ...]
_WAYS: tuple[_Way, ...] = (
    (("BASE_TO_USD_AGGREGATOR", 1),),
    (("PEG_TO_BASE", 1), ("ASSET_TO_PEG", 1)),
    (("ASSET_TO_PEG", 1), ("BASE_TO_PEG", -1)),
    (("priceFeedA", 1), ("priceFeedB", 1)),
    (("priceFeedA", 1), ("priceFeedB", -1)),
    (("WBTCToBTCPriceFeed", 1), ("BTCToUSDPriceFeed", 1)),
    (("ASSET_TO_USD_AGGREGATOR", 1),),
    (("underlyingPriceFeed", 1),),
)
_CHILDREN = tuple(dict.fromkeys(getter for way in _WAYS for getter, _ in way))
DISCOUNT_SCALE = 10**18
LATEST_ANSWER = GETTERS["latestAnswer"]
MAX_DEPTH = 4
MAX_DECIMALS = 36
FIXED = "fixed"

_PAIR = re.compile(r"([A-Za-z0-9.+]{1,16}) ?/ ?([A-Za-z0-9.+]{1,16})")


class Exposure(msgspec.Struct, frozen=True):
    """One factor of one price source.

    The asset's price moves by `beta` per move of the factor: 1 = one to one, -1 = the price is
    divided by it, so that it follows 1/x. `price` is the factor's value now, None if unreadable;
    `cap_x` is the multiple of it above which the source stops following.
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
    """What a price source answered: its description, and each getter's word that it has.

    `answer_word` is its answer as a consumer gets it; `constant`: its answer reads no storage.
    """

    address: str
    description: str
    words: dict[str, int]
    answer_word: int | None
    constant: bool = False

    def child(self, getter: str) -> str | None:
        word = self.words.get(getter)
        return abi.address(word) if word and word < 1 << 160 else None

    @property
    def decimals(self) -> int | None:
        return self.words.get("decimals", self.words.get("DECIMALS"))

    @property
    def exact(self) -> Fraction | None:
        """The answer; None where it is not above 0, as no consumer accepts it then."""
        return self._exact(self.answer_word)

    @property
    def answer(self) -> float | None:
        return None if self.exact is None else float(self.exact)

    @property
    def cap(self) -> Fraction | None:
        return self._exact(self.words.get("getPriceCap"))

    def _exact(self, word: int | None) -> Fraction | None:
        if word is None or self.decimals is None or self.decimals > MAX_DECIMALS:
            return None
        value = abi.signed(word)
        return Fraction(value, 10**self.decimals) if value > 0 else None


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
    asked |= await _constants(rpc, asked, at)
    return {
        source: merged(_exposures(source, label, asked, at.time, MAX_DEPTH))
        for source, label in sources.items()
    }


def merged(found: Iterable[Exposure]) -> tuple[Exposure, ...]:
    """The exposures of a product: powers of one factor add up, and what cancels out is gone.

    Where nothing is left that moves, it is fixed.
    """
    moving: dict[str, Exposure] = {}
    still: list[Exposure] = []
    for each in found:
        if each.kind == FIXED:
            still.append(each)
            continue
        other = moving.get(each.factor, each)
        caps = [e.cap_x for e in (other, each) if e.cap_x is not None]
        moving[each.factor] = msgspec.structs.replace(
            other,
            beta=each.beta if other is each else other.beta + each.beta,
            cap_x=min(caps, default=None),
        )
    # A power of zero with a cap on part of it holds up to the cap only.
    left = tuple(e for e in moving.values() if e.beta or e.cap_x is not None)
    return left or tuple(still[:1]) or (UNIT,)


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

    `feed` is that currency's in USD, such as ETH / USD. Every price is multiplied by it: what is
    priced at a fixed number of ETH moves with ETH, what is divided by ETH does not. A price in ETH
    of a kind of ETH (stETH / ETH, by its feed's own name) is a ratio that stays. Any other price in
    ETH (USDC / ETH) gives way the other way, so that its USD stays: it is a factor of its own. A
    health factor is the same in either currency. Without a feed that says both names, everything
    is left as it was.
    """
    kept = {asset: tuple(found) for asset, found in exposures.items()}
    said = (await quotes(rpc, [feed], at))[feed] if feed is not None else None
    own = currency(feed, said) if feed is not None and said is not None else None
    if own is None:
        return kept
    return {asset: found and by_usd(found, own) for asset, found in kept.items()}


def currency(feed: str, said: Quote) -> Exposure | None:
    """What moves a currency, going by its feed in USD; None for a feed that is none."""
    if said.of is None or said.unit != "USD":
        return None
    return Exposure(said.of, 1.0, "feed", feed, f"{said.of} / USD", said.answer)


def by_usd(found: Iterable[Exposure], own: Exposure) -> tuple[Exposure, ...]:
    """Exposures of a price in a currency, multiplied by that currency's own in USD."""

    def parts(exposure: Exposure) -> list[Exposure]:
        of, _, unit = exposure.factor.partition("/")
        if exposure.kind != "ratio" or unit != own.factor or own.factor in of:
            return [exposure]
        price = exposure.price * own.price if exposure.price and own.price else None
        return [
            msgspec.structs.replace(exposure, factor=of, kind="feed", price=price),
            msgspec.structs.replace(own, beta=-exposure.beta),
        ]

    return merged([own, *(part for each in found for part in parts(each))])


async def _ask(rpc: Rpc, addresses: Sequence[str], at: Block) -> dict[str, _Source]:
    selectors = [DESCRIPTION, LATEST_ROUND_DATA, *GETTERS.values()]
    calls: list[Call] = [(a, abi.call(selector)) for a in addresses for selector in selectors]
    answers = await rpc.read(calls, at)
    found = {}
    for i, address in enumerate(addresses):
        said, of_round, *rest = answers[i * len(selectors) : (i + 1) * len(selectors)]
        words = _words(zip(GETTERS, rest, strict=True))
        answer_word = words.get("latestAnswer")
        if (
            answer_word is None
            and isinstance(of_round, bytes)
            and len(of_round) == ROUND_WORDS * abi.WORD
        ):
            answer_word = abi.word(of_round, 1)
        found[address] = _Source(
            address=address,
            description="" if isinstance(said, Reverted) else contract_text(said),
            words=words,
            answer_word=answer_word,
        )
    terms = [
        (address, getter, selector)
        for address, source in found.items()
        for child in source.words.keys() & TERMS.keys()
        for getter, selector in TERMS[child].items()
    ]
    for (address, getter, _), answer in zip(
        terms, await rpc.read([(a, abi.call(s)) for a, _, s in terms], at), strict=True
    ):
        found[address].words.update(_words([(getter, answer)]))
    return found


def _words(answers: Iterable[tuple[str, bytes | Reverted]]) -> dict[str, int]:
    """The one word of each getter's answer, of those that answer with one."""
    return {
        getter: abi.word(answer, 0)
        for getter, answer in answers
        if isinstance(answer, bytes) and len(answer) == abi.WORD
    }


async def _constants(rpc: Rpc, asked: Mapping[str, _Source], at: Block) -> dict[str, _Source]:
    """The sources that are made of no others and whose answer reads no storage."""
    leaves = [s for s in asked.values() if s.answer_word is not None and not _ways(s, asked)]
    calls = [
        (s.address, abi.call(LATEST_ANSWER if "latestAnswer" in s.words else LATEST_ROUND_DATA))
        for s in leaves
    ]
    reads = await rpc.reads_storage(calls, at)
    return {
        s.address: msgspec.structs.replace(s, constant=True)
        for s, does in zip(leaves, reads, strict=True)
        if does is False
    }


def _ways(source: _Source, asked: Mapping[str, _Source]) -> list[tuple[_Way, list[_Source]]]:
    """What a source may be made of, going by its getters: each way with the sources it names."""
    found = []
    for way in _WAYS:
        if way[0][0] == "BASE_TO_USD_AGGREGATOR" and "getRatio" not in source.words:
            continue
        children = [asked.get(source.child(getter) or "") for getter, _ in way]
        # What has no answer is no price source: a contract asked for a rate, perhaps.
        named = [c for c in children if c is not None and c.answer_word is not None]
        if len(named) == len(way):
            found.append((way, named))
    return found


def _value(source: _Source, way: _Way, children: Sequence[_Source], now: int) -> Fraction | None:
    """What the source would answer if it were made that way; None where a part has no answer."""
    value = Fraction(1)
    for (_, power), child in zip(way, children, strict=True):
        if child.exact is None:
            return None
        value *= child.exact**power
    if way[0][0] == "BASE_TO_USD_AGGREGATOR":
        passed, _ = _passed(source, now)
        return value * Fraction(passed, 10 ** _ratio_decimals(source))
    if way[0][0] == "ASSET_TO_USD_AGGREGATOR":
        value *= 1 - Fraction(source.words.get("getCurrentDiscount", 0), DISCOUNT_SCALE)
        return value if source.cap is None else min(value, source.cap)
    return value


def _made(
    source: _Source, asked: Mapping[str, _Source], now: int
) -> tuple[_Way, list[_Source]] | str | None:
    """The one way that gives the source's own answer; a reason where none or several do.

    None for a source that names no others. Contracts round down at the last decimal.
    """
    ways = _ways(source, asked)
    if not ways:
        return None
    if source.exact is None:
        return "gives no usable answer"
    unit = Fraction(1, 10 ** (source.decimals or 0))
    fits = []
    for way, children in ways:
        value = _value(source, way, children, now)
        if value is not None and abs(value - source.exact) <= unit:
            fits.append((way, children))
    if len(fits) > 1:
        # Near a price of 1 a product and a quotient are the same; their scales tell them apart.
        divides = {"combinedScale": False, "priceFeedBScale": True}
        said = {divides[getter] for getter in divides if getter in source.words}
        fits = [f for f in fits if said == {any(power < 0 for _, power in f[0])}]
        return fits[0] if len(fits) == 1 else "may multiply its feeds or divide them"
    return fits[0] if fits else "its answer is not what its feeds give"


def _exposures(
    address: str, label: str, asked: Mapping[str, _Source], now: int, depth: int
) -> list[Exposure]:
    source = asked.get(address)
    if source is None or depth == 0:
        return [_unknown(address, "", None)]
    made = _made(source, asked, now)
    if isinstance(made, str):
        described = f"{source.description} ({made})" if source.description else made
        return [_unknown(source.address, described, source.answer)]
    if made is None:
        constants = (source.words.get("price"), source.words.get("constantPrice"))
        is_fixed = source.answer_word is not None and source.answer_word in constants
        return [_fixed(source) if is_fixed or source.constant else _feed(source)]
    way, children = made
    found: list[Exposure] = []
    for (_, power), child in zip(way, children, strict=True):
        match = _PAIR.fullmatch(child.description)
        name = match[1] if match else child.address
        inner = merged(_exposures(child.address, name, asked, now, depth - 1))
        found += [msgspec.structs.replace(e, beta=e.beta * power) for e in inner]
    if way[0][0] == "BASE_TO_USD_AGGREGATOR":
        return [*found, _ratio(source, label, found, now)]
    if source.cap is not None and way[0][0] == "ASSET_TO_USD_AGGREGATOR":
        return _capped(source, children[0], found)
    return found


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


def _passed(source: _Source, now: int) -> tuple[int, int | None]:
    """The rate of a ratio adapter as far as its growth cap lets it through, and that cap."""
    words = source.words
    ratio = abi.signed(words["getRatio"])
    cap = None
    if {"getSnapshotRatio", "getSnapshotTimestamp", "getMaxRatioGrowthPerSecondScaled"} <= (
        words.keys()
    ):
        grown = words["getMaxRatioGrowthPerSecondScaled"] * (now - words["getSnapshotTimestamp"])
        cap = words["getSnapshotRatio"] + grown // (words.get("SCALING_FACTOR") or 1)
    return ratio if cap is None else min(ratio, cap), cap


def _ratio_decimals(source: _Source) -> int:
    return min(source.words.get("RATIO_DECIMALS", 18), MAX_DECIMALS)


def _ratio(source: _Source, label: str, base: Sequence[Exposure], now: int) -> Exposure:
    """The exchange rate of a ratio adapter."""
    passed, cap = _passed(source, now)
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


def _capped(source: _Source, child: _Source, found: Sequence[Exposure]) -> list[Exposure]:
    """A price that follows what is underneath up to a cap only."""
    if any(e.beta < 0 for e in found):
        return [_unknown(source.address, f"{source.description} (a cap on a quotient)", None)]
    cap, value = source.cap, child.exact
    if cap is None or value is None:
        return list(found)
    cap_x = float(cap / min(cap, value))
    return [
        e
        if e.kind == FIXED
        else msgspec.structs.replace(
            e,
            # The one factor of a plain feed counts as high as it gets through.
            price=min(e.price, float(cap)) if len(found) == 1 and e.price else e.price,
            cap_x=cap_x if e.cap_x is None else min(cap_x, e.cap_x),
        )
        for e in found
    ]
