"""What moves a market's prices, measured: each contract behind a price is asked to answer more.

At the snapshot's block, within a call (eth_call with overridden code), the answers of one contract
are multiplied and the prices read again. Which contracts are behind a price says
eth_createAccessList. Nothing is inferred from names of contracts or getters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from fractions import Fraction

import msgspec

from chainwatch.chain import abi
from chainwatch.chain.contract import Contract, Function
from chainwatch.chain.overrides import scaled
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import MULTICALL3, Access, Call, Overrides, Reverted
from chainwatch.lending.elasticity import DECIDING, PROBES, Elasticity, measure_elasticity
from chainwatch.lending.price_sources import FEED, LATEST_ANSWER, LATEST_ROUND_DATA, MAX_DECIMALS
from chainwatch.text import contract_text

DECIMALS = FEED.function("decimals")
DESCRIPTION = FEED.function("description")
_RATE = Contract("exchange_rate", "an exchange rate")
# Exchange rates that the adapters of lending markets ask for; one share is asked where a function
# takes an amount.
RATES = tuple(
    _RATE.function(name)
    for name in [
        "stEthPerToken",
        "getRate",
        "exchangeRate",
        "getExchangeRate",
        "rsETHPrice",
        "chi",
        "pricePerShare",
        "getPooledEthByShares",
        "convertToAssets",
    ]
)
# By selector, the word of the answer that is a price or a rate.
SCALED_WORDS = {LATEST_ANSWER.selector: 0, LATEST_ROUND_DATA.selector: 1} | {
    rate.selector: 0 for rate in RATES
}
_RATE_DECIMALS = 18
_SHARE = 10**_RATE_DECIMALS


class Leaf(msgspec.Struct, frozen=True):
    """A contract that carries a price or a rate of its own.

    `call` asks for it; `answer` is its raw answer, None for one that has no known function.
    """

    address: str
    description: str
    call: Call | None
    answer: int | None
    decimals: int
    is_rate: bool = False
    constant: bool = False

    @property
    def value(self) -> float | None:
        """The answer in units."""
        return None if self.answer is None else self.answer / int(10**self.decimals)


class Measured(msgspec.Struct, frozen=True):
    """By price, how it answers to each leaf; a price that no leaf moves has none.

    `touched` are the contracts behind each price with the number of slots they read.
    """

    leaves: Mapping[str, Leaf]
    responses: Mapping[str, Mapping[str, Elasticity]]
    touched: Mapping[str, Access]


async def measure(reading: Reading, prices: Mapping[str, Call]) -> Measured | None:
    """How prices answer to the contracts behind them; None where no endpoint can be asked.

    A price that reverts is left out.
    """
    if not prices or not await reading.rpc.can_override():
        return None
    names = list(prices)
    accesses = await reading.rpc.accesses([prices[n] for n in names], reading.block)
    touched = {n: a for n, a in zip(names, accesses, strict=True) if a is not None}
    if not touched:
        return None
    consumers = {prices[n][0] for n in names} | {MULTICALL3}
    behind = sorted({c for access in touched.values() for c in access} - consumers)
    candidates = await _read_candidates(reading, behind)
    probing = _Probing(reading, {n: prices[n] for n in touched}, touched, candidates)
    await probing.prepare()
    await asyncio.gather(*(probing.probe(address) for address in behind))
    return await probing.result()


async def _read_candidates(reading: Reading, addresses: Sequence[str]) -> dict[str, Leaf]:
    """What each address answers as a feed or a rate; without an answer it has no call."""
    functions = (DESCRIPTION, DECIMALS, LATEST_ANSWER, LATEST_ROUND_DATA)
    calls = [
        [*(f.call(address) for f in functions), *(_rate_call(rate, address) for rate in RATES)]
        for address in addresses
    ]
    answers = iter(await reading.read([call for own in calls for call in own]))
    return {
        address: _candidate(address, [next(answers) for _ in own])
        for address, own in zip(addresses, calls, strict=True)
    }


def _rate_call(rate: Function, address: str) -> Call:
    return rate.call(address, *[_SHARE] * rate.arguments)


def _candidate(address: str, answers: Sequence[bytes | Reverted]) -> Leaf:
    text, decimals, answer, round_data, *rates = answers
    description = "" if isinstance(text, Reverted) else contract_text(text)
    places = DECIMALS.decode_or_none(decimals)
    known = places if places is not None and places <= MAX_DECIMALS else None
    for function, said, word in ((LATEST_ANSWER, answer, 0), (LATEST_ROUND_DATA, round_data, 1)):
        if function.fits(said) and isinstance(said, bytes) and known is not None:
            value = abi.signed(abi.word(said, word))
            if value > 0:
                return Leaf(address, description, function.call(address), value, known)
    for rate, said in zip(RATES, rates, strict=True):
        if rate.fits(said) and isinstance(said, bytes) and (value := abi.word(said, 0)):
            call = _rate_call(rate, address)
            return Leaf(address, description, call, value, _RATE_DECIMALS, is_rate=True)
    return Leaf(address, description, None, None, 0)


class _Probing:
    """One measurement: what each contract moves, price by price and contract by contract."""

    def __init__(
        self,
        reading: Reading,
        prices: Mapping[str, Call],
        touched: Mapping[str, Access],
        candidates: Mapping[str, Leaf],
    ) -> None:
        self._reading = reading
        self._prices = prices
        self._touched = touched
        self._candidates = candidates
        self._codes: Mapping[str, bytes] = {}
        self._before: dict[str, int] = {}
        # By contract: the prices and the other contracts whose answers it changes.
        self._moved: dict[str, dict[str, dict[Fraction, int | None]]] = {}

    async def prepare(self) -> None:
        """Read codes, and the prices as they are."""
        addresses = list(self._candidates)
        self._codes = await self._reading.rpc.codes(addresses, self._reading.block)
        answers = await self._reading.read(list(self._prices.values()))
        for name, answer in zip(self._prices, answers, strict=True):
            if (number := _number(answer)) is not None:
                self._before[name] = number

    async def probe(self, address: str) -> None:
        """Multiply one contract's answers, and read what may follow from it."""
        code = self._codes.get(address)
        names = [n for n in self._before if address in self._touched[n]]
        if not code or not names:
            return
        nearby = {c for n in names for c in self._touched[n]} - {address}
        others = [c for c in self._candidates.values() if c.address in nearby and c.call]
        calls = [self._prices[n] for n in names]
        calls += [other.call for other in others if other.call]
        before = {n: self._before[n] for n in names}
        before |= {o.address: o.answer for o in others if o.answer is not None}
        keys = [*names, *(o.address for o in others)]
        moved: dict[str, dict[Fraction, int | None]] = {}
        any_number = self._candidates[address].call is None
        for i, x in enumerate(PROBES):
            overrides = scaled(address, code, x, SCALED_WORDS, any_number=any_number)
            answers = await self._reading.rpc.read(calls, self._reading.block, overrides)
            for key, answer in zip(keys, answers, strict=True):
                moved.setdefault(key, {})[x] = _answer(key, answer, self._candidates)
            if i + 1 == DECIDING and all(
                value == before[key] for key in keys for value in moved[key].values()
            ):
                return
        self._moved[address] = {
            key: by_x
            for key, by_x in moved.items()
            if any(value != before[key] for value in by_x.values())
        }

    async def result(self) -> Measured:
        leaves = await self._mark_constants(self._leaves())
        responses: dict[str, dict[str, Elasticity]] = {name: {} for name in self._before}
        for address, leaf in leaves.items():
            for name, by_x in self._moved[address].items():
                if name in responses:
                    found = measure_elasticity(self._before[name], by_x, leaf.answer)
                    if found is not None:
                        responses[name][address] = found
        return Measured(leaves, responses, self._touched)

    def _leaves(self) -> dict[str, Leaf]:
        """The contracts that move a price and are moved by no other.

        A proxy and what is behind it are one leaf, the proxy: the same answer, under the same
        description. A contract without a known function is none where it only feeds one that is.
        """
        known = [a for a in self._moved if self._candidates[a].call]
        moved_by: dict[str, set[str]] = {
            a: {b for b in known if b != a and a in self._moved[b]} for a in known
        }
        for address in known:
            inner = {b for b in moved_by[address] if not moved_by[b]}
            if len(moved_by[address]) == 1 and inner and self._same(address, *inner):
                (behind,) = inner
                for others in moved_by.values():
                    others.discard(behind)
                moved_by[behind] = {address}
        leaves = {a: self._candidates[a] for a in known if not moved_by[a]}
        for address in self._moved.keys() - set(known):
            if not self._moved[address].keys() & leaves.keys():
                leaves[address] = self._candidates[address]
        return leaves

    def _same(self, outer: str, inner: str) -> bool:
        a, b = self._candidates[outer], self._candidates[inner]
        return (
            (a.answer, a.decimals, a.is_rate) == (b.answer, b.decimals, b.is_rate)
            and a.description == b.description
            and self._prices_moved(outer) == self._prices_moved(inner)
        )

    def _prices_moved(self, address: str) -> dict[str, dict[Fraction, int | None]]:
        return {n: by_x for n, by_x in self._moved[address].items() if n in self._before}

    async def _mark_constants(self, leaves: Mapping[str, Leaf]) -> dict[str, Leaf]:
        """A leaf whose answer reads no storage moves nothing."""
        asked = [leaf for leaf in leaves.values() if leaf.call]
        accesses = await self._reading.rpc.accesses(
            [leaf.call for leaf in asked if leaf.call], self._reading.block
        )
        fixed = {
            leaf.address
            for leaf, access in zip(asked, accesses, strict=True)
            if access is not None and not any(access.values())
        }
        return {
            a: msgspec.structs.replace(leaf, constant=True) if a in fixed else leaf
            for a, leaf in leaves.items()
        }


def _number(answer: bytes | Reverted) -> int | None:
    """The first word of an answer above 0; None where it reverted, or is not above 0."""
    if isinstance(answer, Reverted) or len(answer) < abi.WORD:
        return None
    value = abi.signed(abi.word(answer, 0))
    return value if value > 0 else None


def _answer(key: str, answer: bytes | Reverted, candidates: Mapping[str, Leaf]) -> int | None:
    """A price, or what a contract answers to the call of its own."""
    leaf = candidates.get(key)
    if leaf is None or leaf.call is None or leaf.call[1] != LATEST_ROUND_DATA.selector:
        return _number(answer)
    if isinstance(answer, Reverted) or len(answer) < 2 * abi.WORD:
        return None
    value = abi.signed(abi.word(answer, 1))
    return value if value > 0 else None


async def scaling_overrides(reading: Reading, moves: Mapping[str, Fraction]) -> Overrides:
    """The override set under which each of these contracts answers as many times what it does."""
    addresses = sorted(moves)
    candidates = await _read_candidates(reading, addresses)
    codes = await reading.rpc.codes(addresses, reading.block)
    overrides: dict[str, bytes] = {}
    for address in addresses:
        if code := codes[address]:
            unknown = candidates[address].call is None
            overrides |= scaled(address, code, moves[address], SCALED_WORDS, any_number=unknown)
    return overrides
