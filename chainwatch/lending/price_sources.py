"""Price sources on chain: what each contract answers, and what its getters name underneath.

Known are Chainlink-like feeds, Aave's adapters (bgd-labs/aave-capo: ratio with capped growth,
capped stablecoin, fixed price, linear discount; bgd-labs/cl-synchronicity-price-adapter: peg to
base, base to peg) and Comet's (multiplied, divided, scaled, constant).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fractions import Fraction

import msgspec

from chainwatch.chain import abi
from chainwatch.chain.client import Rpc
from chainwatch.chain.types import Block, Call, Reverted
from chainwatch.text import contract_text

# Selectors; tests/chain/test_abi.py holds each against the ABI in abis/.
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
# Further getters of a source whose getter (the key) names a feed underneath.
NESTED_GETTERS = {
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
LATEST_ANSWER = GETTERS["latestAnswer"]
MAX_DECIMALS = 36

_PAIR = re.compile(r"([A-Za-z0-9.+]{1,16}) ?/ ?([A-Za-z0-9.+]{1,16})")


class PriceSource(msgspec.Struct, frozen=True):
    """What a price source answered: its description, and the word of each getter that it has.

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


async def read_sources(rpc: Rpc, addresses: Sequence[str], at: Block) -> dict[str, PriceSource]:
    """What each address answers as a price source at a block."""
    selectors = [DESCRIPTION, LATEST_ROUND_DATA, *GETTERS.values()]
    calls: list[Call] = [(a, abi.call(selector)) for a in addresses for selector in selectors]
    answers = await rpc.read(calls, at)
    sources = {}
    for i, address in enumerate(addresses):
        description, round_data, *rest = answers[i * len(selectors) : (i + 1) * len(selectors)]
        words = _words(zip(GETTERS, rest, strict=True))
        answer_word = words.get("latestAnswer")
        if (
            answer_word is None
            and isinstance(round_data, bytes)
            and len(round_data) == ROUND_WORDS * abi.WORD
        ):
            answer_word = abi.word(round_data, 1)
        sources[address] = PriceSource(
            address=address,
            description="" if isinstance(description, Reverted) else contract_text(description),
            words=words,
            answer_word=answer_word,
        )
    nested = [
        (address, getter, selector)
        for address, source in sources.items()
        for child in source.words.keys() & NESTED_GETTERS.keys()
        for getter, selector in NESTED_GETTERS[child].items()
    ]
    for (address, getter, _), answer in zip(
        nested, await rpc.read([(a, abi.call(s)) for a, _, s in nested], at), strict=True
    ):
        sources[address].words.update(_words([(getter, answer)]))
    return sources


def _words(answers: Iterable[tuple[str, bytes | Reverted]]) -> dict[str, int]:
    """The word of each getter that answers with exactly one."""
    return {
        getter: abi.word(answer, 0)
        for getter, answer in answers
        if isinstance(answer, bytes) and len(answer) == abi.WORD
    }


class Quote(msgspec.Struct, frozen=True):
    """A feed's scaled answer; `asset` in `unit` where its description is a pair."""

    answer: float | None
    asset: str | None
    unit: str | None


async def read_quotes(rpc: Rpc, feeds: Sequence[str], at: Block) -> dict[str, Quote]:
    """The quote of each feed at a block."""
    return {
        feed: Quote(source.answer, *(pair(source.description) or (None, None)))
        for feed, source in (await read_sources(rpc, feeds, at)).items()
    }


async def read_answer(rpc: Rpc, feed: str | None, at: Block) -> float | None:
    """A feed's scaled answer; None without a feed or a usable answer."""
    if feed is None:
        return None
    return (await read_sources(rpc, [feed], at))[feed].answer


def pair(description: str) -> tuple[str, str] | None:
    """(asset, unit) of a feed that describes itself as a pair such as "ETH / USD"."""
    match = _PAIR.fullmatch(description)
    return (match[1], match[2]) if match else None
