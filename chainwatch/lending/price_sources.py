"""Price sources on chain: what each contract answers, and what its getters name underneath.

Known are Chainlink-like feeds, Aave's adapters (bgd-labs/aave-capo: ratio with capped growth,
capped stablecoin, fixed price, linear discount; bgd-labs/cl-synchronicity-price-adapter: peg to
base, base to peg) and Comet's (multiplied, divided, scaled, constant).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

import msgspec

from chainwatch.chain import abi
from chainwatch.chain.contract import Contract, Function
from chainwatch.chain.dispatch import may_have
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Call, Reverted
from chainwatch.errors import NetworkError, Reorged
from chainwatch.text import contract_text

FEED = Contract("price_feed", "a price feed")
RATIO = Contract("ratio_adapter", "a ratio adapter")
CAP = Contract("stable_cap_adapter", "a capped stablecoin adapter")
DISCOUNT = Contract("pendle_cap_adapter", "a linear discount adapter")
PEG = Contract("peg_adapter", "a peg adapter")
COMET_FEEDS = Contract("comet_price_feeds", "a price feed of Comet")

DESCRIPTION = FEED.function("description")
LATEST_ANSWER = FEED.function("latestAnswer")
# The answer of sources without latestAnswer().
LATEST_ROUND_DATA = FEED.function("latestRoundData")


def _by_name(contract: Contract, names: str) -> dict[str, Function]:
    return {name: contract.function(name) for name in names.split()}


GETTERS = {
    "decimals": FEED.function("decimals"),
    "latestAnswer": LATEST_ANSWER,
    # fixed price, constant price
    "price": Contract("fixed_price_adapter", "a fixed price").function("price"),
    "constantPrice": COMET_FEEDS.function("constantPrice"),
    # the feeds underneath: of a ratio adapter (PriceCapAdapterBase), of a capped stablecoin and a
    # linear discount, of peg to base and base to peg
    "BASE_TO_USD_AGGREGATOR": RATIO.function("BASE_TO_USD_AGGREGATOR"),
    "ASSET_TO_USD_AGGREGATOR": CAP.function("ASSET_TO_USD_AGGREGATOR"),
    **_by_name(PEG, "ASSET_TO_PEG PEG_TO_BASE BASE_TO_PEG"),
    # of Comet's product or quotient of two feeds, and rescaled feed
    **_by_name(
        COMET_FEEDS,
        "priceFeedA priceFeedB WBTCToBTCPriceFeed BTCToUSDPriceFeed underlyingPriceFeed",
    ),
}
# Further getters of a source whose getter (the key) names a feed underneath.
NESTED_GETTERS = {
    "BASE_TO_USD_AGGREGATOR": _by_name(
        RATIO,
        "getRatio RATIO_DECIMALS getSnapshotRatio getSnapshotTimestamp "
        "getMaxRatioGrowthPerSecondScaled SCALING_FACTOR",
    ),
    "ASSET_TO_USD_AGGREGATOR": _by_name(CAP, "getPriceCap")
    | _by_name(DISCOUNT, "getCurrentDiscount"),
    "ASSET_TO_PEG": _by_name(PEG, "DECIMALS"),
    "priceFeedB": _by_name(COMET_FEEDS, "combinedScale priceFeedBScale"),
}
MAX_DECIMALS = 36
SELECTOR = 4  # bytes of a call that name its function

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


async def read_sources(reading: Reading, addresses: Sequence[str]) -> dict[str, PriceSource]:
    """What each address answers as a price source."""
    getters = [DESCRIPTION, LATEST_ROUND_DATA, *GETTERS.values()]
    codes = await _read_codes(reading, addresses)
    calls = [g.call(address) for address in addresses for g in getters]
    answers = await read_possible(reading, calls, codes)
    sources = {}
    for i, address in enumerate(addresses):
        description, round_data, *rest = answers[i * len(getters) : (i + 1) * len(getters)]
        words = _words(zip(GETTERS, rest, strict=True))
        answer_word = words.get("latestAnswer")
        if answer_word is None and isinstance(round_data, bytes):
            latest = LATEST_ROUND_DATA.decode_or_none(round_data)
            answer_word = abi.word(round_data, 1) if latest else None
        sources[address] = PriceSource(
            address=address,
            description="" if isinstance(description, Reverted) else contract_text(description),
            words=words,
            answer_word=answer_word,
        )
    nested = [
        (address, getter, function)
        for address, source in sources.items()
        for child in source.words.keys() & NESTED_GETTERS.keys()
        for getter, function in NESTED_GETTERS[child].items()
    ]
    for (address, getter, _), answer in zip(
        nested, await read_possible(reading, [f.call(a) for a, _, f in nested], codes), strict=True
    ):
        sources[address].words.update(_words([(getter, answer)]))
    return sources


async def read_possible(
    reading: Reading, calls: Sequence[Call], codes: Mapping[str, bytes]
) -> list[bytes | Reverted]:
    """Raw answers of many calls, in order; `codes` are those of the contracts, as far as known.

    A function that the code cannot have is not asked for: a call that fails without data is sent
    once more alone.
    """
    sent = [c for c in calls if c[0] not in codes or may_have(codes[c[0]], c[1][:SELECTOR])]
    answers = dict(zip(sent, await reading.read(sent), strict=True))
    return [answers.get(call, Reverted(b"")) for call in calls]


async def _read_codes(reading: Reading, addresses: Sequence[str]) -> Mapping[str, bytes]:
    """The code of each address; nothing where no endpoint tells."""
    try:
        return await reading.rpc.codes(addresses, reading.block)
    except Reorged:
        raise
    except NetworkError:
        return {}


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


async def read_quotes(reading: Reading, feeds: Sequence[str]) -> dict[str, Quote]:
    """The quote of each feed."""
    return {
        feed: Quote(source.answer, *(pair(source.description) or (None, None)))
        for feed, source in (await read_sources(reading, feeds)).items()
    }


async def read_answer(reading: Reading, feed: str | None) -> float | None:
    """A feed's scaled answer; None without a feed or a usable answer."""
    if feed is None:
        return None
    return (await read_sources(reading, [feed]))[feed].answer


def pair(description: str) -> tuple[str, str] | None:
    """(asset, unit) of a feed that describes itself as a pair such as "ETH / USD"."""
    match = _PAIR.fullmatch(description)
    return (match[1], match[2]) if match else None
