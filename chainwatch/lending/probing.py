"""What moves a market's prices, measured: each contract behind a price is asked to answer more.

At the snapshot's block, within a call (eth_call with overridden code), the answers of one contract
are multiplied and the prices read again. Which contracts are behind a price says
eth_createAccessList. Nothing is inferred from names of contracts or getters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import msgspec

from chainwatch.chain import abi
from chainwatch.chain.contract import Contract, Function
from chainwatch.chain.overrides import scaled
from chainwatch.chain.reading import Reading
from chainwatch.chain.together import gather, run_together
from chainwatch.chain.types import MULTICALL3, Access, Call, Overrides, Reverted
from chainwatch.errors import NetworkError, Reorged
from chainwatch.lending.elasticity import (
    DECIDING,
    PROBES,
    Elasticity,
    measure_elasticity,
    points_at_edges,
)
from chainwatch.lending.price_sources import (
    FEED,
    LATEST_ANSWER,
    LATEST_ROUND_DATA,
    MAX_DECIMALS,
    read_possible,
)
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
# Bytes of contracts' own code in one request, where it has several: endpoints limit its size, and
# as hex it is twice as long.
LARGEST_CODE = 1 << 18


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
    accesses, answers = await gather(
        reading.rpc.accesses([prices[n] for n in names], reading.block),
        reading.read([prices[n] for n in names]),
    )
    numbers = {n: _number(answer) for n, answer in zip(names, answers, strict=True)}
    touched = {n: a for n, a in zip(names, accesses, strict=True) if a is not None}
    if not touched:
        return None
    consumers = {prices[n][0] for n in names} | {MULTICALL3}
    behind = sorted({c for access in touched.values() for c in access} - consumers)
    try:
        codes = await reading.rpc.codes(behind, reading.block)
        candidates = await _read_candidates(reading, codes)
        before = {n: v for n in touched if (v := numbers[n]) is not None}
        probing = _Probing(
            reading, {n: prices[n] for n in touched}, touched, before, candidates, codes
        )
        await probing.run()
    except Reorged:
        raise
    except NetworkError:
        # An endpoint may refuse these calls alone, or old code; all else was read already.
        return None
    return probing.result()


async def _read_candidates(reading: Reading, codes: Mapping[str, bytes]) -> dict[str, Leaf]:
    """What each address answers as a feed or a rate; without an answer it has no call."""
    functions = (DESCRIPTION, DECIMALS, LATEST_ANSWER, LATEST_ROUND_DATA)
    calls = {
        address: [
            *(f.call(address) for f in functions),
            *(_rate_call(rate, address) for rate in RATES),
        ]
        for address in codes
    }
    answers = iter(await read_possible(reading, [c for own in calls.values() for c in own], codes))
    return {
        address: _candidate(address, [next(answers) for _ in own]) for address, own in calls.items()
    }


def _rate_call(rate: Function, address: str) -> Call:
    return rate.call(address, *[_SHARE] * rate.arguments)


def _candidate(address: str, answers: Sequence[bytes | Reverted]) -> Leaf:
    text, decimals, answer, round_data, *rates = answers
    description = "" if isinstance(text, Reverted) else contract_text(text)
    places = DECIMALS.decode_or_none(decimals)
    if places is not None and places > MAX_DECIMALS:
        places = None
    for function, raw, word in ((LATEST_ANSWER, answer, 0), (LATEST_ROUND_DATA, round_data, 1)):
        if function.fits(raw) and isinstance(raw, bytes) and places is not None:
            value = abi.signed(abi.word(raw, word))
            if value > 0:
                return Leaf(address, description, function.call(address), value, places)
    for rate, raw in zip(RATES, rates, strict=True):
        if rate.fits(raw) and isinstance(raw, bytes) and (value := abi.word(raw, 0)):
            call = _rate_call(rate, address)
            return Leaf(address, description, call, value, _RATE_DECIMALS, is_rate=True)
    return Leaf(address, description, None, None, 0)


class _Probe(msgspec.Struct, frozen=True):
    """One contract whose answers are multiplied, and what may follow from it.

    `keys` are prices, and contracts that answer as a feed or a rate.
    """

    address: str
    keys: frozenset[str]
    any_number: bool


# What each key answers, by multiple; None where it reverts.
_Moved = dict[str, dict[Fraction, int | None]]


class _Probing:
    """One measurement: what each contract moves, price by price and contract by contract."""

    def __init__(
        self,
        reading: Reading,
        prices: Mapping[str, Call],
        touched: Mapping[str, Access],
        before: Mapping[str, int],
        candidates: Mapping[str, Leaf],
        codes: Mapping[str, bytes],
    ) -> None:
        self._reading = reading
        self._touched = touched
        self._candidates = candidates
        self._sources = {a: c for a, c in candidates.items() if c.call}
        self._calls = {**prices, **{a: c.call for a, c in self._sources.items() if c.call}}
        self._prices = prices
        self._codes = codes
        sources = {a: c.answer for a, c in self._sources.items() if c.answer is not None}
        self._before: dict[str, int] = {**before, **sources}
        self._constants: frozenset[str] = frozenset()
        self._moved: dict[str, _Moved] = {}
        self._probes: dict[str, _Probe] = {}
        self._pairs: list[tuple[str, str]] = []

    async def run(self) -> None:
        """Read what is behind each contract too, multiply, and read again."""
        probes = await self._prepare()
        unmoved = await self._probe_all(probes)
        # A contract may be asked for a number by another function than the one that is known.
        again = [p for p in unmoved if not p.any_number and self._slots(p.address)]
        await self._probe_all([msgspec.structs.replace(p, any_number=True) for p in again])
        self._pairs = self._leaves()
        await self._measure_edges()

    async def _prepare(self) -> list[_Probe]:
        sources = list(self._sources)
        accesses = await self._reading.rpc.accesses(
            [self._calls[a] for a in sources], self._reading.block
        )
        everything = set(self._candidates)
        behind: dict[str, set[str]] = {n: set(a) for n, a in self._touched.items()}
        for address, access in zip(sources, accesses, strict=True):
            behind[address] = everything if access is None else set(access)
        self._constants = frozenset(
            address
            for address, access in zip(sources, accesses, strict=True)
            if access is not None and not any(access.values())
        )
        probes = []
        for address, candidate in self._candidates.items():
            # Code that reads no slot and answers as no feed is a library, what a proxy calls, or a
            # constant.
            if candidate.call is None and not self._slots(address):
                continue
            keys = frozenset(k for k in self._before if k != address and address in behind[k])
            if keys & self._prices.keys():
                probes.append(_Probe(address, keys, any_number=candidate.call is None))
        return [p for p in probes if self._codes[p.address]]

    def _slots(self, address: str) -> int:
        return max(access.get(address, 0) for access in self._touched.values())

    async def _probe_all(self, probes: Sequence[_Probe]) -> list[_Probe]:
        """Those that move nothing."""
        groups = group_apart(probes, lambda p: len(self._codes[p.address]))
        unmoved = await run_together(self._probe(group) for group in groups)
        return [probe for own in unmoved for probe in own]

    async def _probe(self, group: Sequence[_Probe]) -> list[_Probe]:
        """Multiply the answers of several contracts that have nothing in front of them in common.

        Those that move nothing are returned.
        """
        moved: dict[str, _Moved] = {p.address: {k: {} for k in p.keys} for p in group}
        await self._read_at_each(PROBES[:DECIDING], group, moved)
        unmoved = [p for p in group if not self._changes(moved[p.address])]
        left = [p for p in group if p not in unmoved]
        if left:
            await self._read_at_each(PROBES[DECIDING:], left, moved)
        for probe in left:
            self._moved[probe.address] = self._changes(moved[probe.address])
            self._probes[probe.address] = probe
        return unmoved

    async def _measure_edges(self) -> None:
        """Read the prices again where a cap or a floor seems to begin: what lies between two
        probes may have more than one.
        """
        behind: dict[tuple[str, Fraction], set[str]] = {}
        for name, address in self._pairs:
            response = self._response(name, address)
            for x in points_at_edges(response) if response and response.linear else ():
                behind.setdefault((address, x), set()).add(name)
        await run_together(
            self._read_at(
                x,
                [msgspec.structs.replace(self._probes[address], keys=frozenset(names))],
                self._moved,
            )
            for (address, x), names in behind.items()
        )

    async def _read_at_each(
        self, xs: Sequence[Fraction], probes: Sequence[_Probe], moved: Mapping[str, _Moved]
    ) -> None:
        await run_together(self._read_at(x, probes, moved) for x in xs)

    async def _read_at(
        self, x: Fraction, probes: Sequence[_Probe], moved: Mapping[str, _Moved]
    ) -> None:
        overrides: dict[str, bytes] = {}
        for p in probes:
            code = self._codes[p.address]
            overrides |= scaled(p.address, code, x, SCALED_WORDS, any_number=p.any_number)
        pairs = [(p.address, key) for p in probes for key in sorted(p.keys)]
        calls = [self._calls[key] for _, key in pairs]
        answers = await self._reading.rpc.read(calls, self._reading.block, overrides)
        for (address, key), answer in zip(pairs, answers, strict=True):
            moved[address][key][x] = _answer(key, answer, self._candidates)

    def _changes(self, moved: _Moved) -> _Moved:
        """What is not as it was, whole."""
        return {
            key: by_x
            for key, by_x in moved.items()
            if any(value != self._before[key] for value in by_x.values())
        }

    def result(self) -> Measured:
        responses: dict[str, dict[str, Elasticity]] = {
            name: {} for name in self._prices if name in self._before
        }
        for name, address in self._pairs:
            response = self._response(name, address)
            if response is not None:
                responses[name][address] = response
        leaves = {
            address: msgspec.structs.replace(
                self._candidates[address], constant=address in self._constants
            )
            for own in responses.values()
            for address in own
        }
        return Measured(leaves, responses, self._touched)

    def _response(self, name: str, address: str) -> Elasticity | None:
        """The form of a price's answers as one contract's are multiplied."""
        answer = self._candidates[address].answer
        return measure_elasticity(self._before[name], self._moved[address][name], answer)

    def _leaves(self) -> list[tuple[str, str]]:
        """By price, the contracts that move it and are moved by no other.

        A proxy and what is behind it are one leaf, the proxy: the same answer, under the same
        description. A contract without a known function is none where it only feeds one that is.
        """
        sources = [a for a in self._moved if a in self._sources]
        moved_by: dict[str, set[str]] = {
            a: {b for b in sources if b != a and a in self._moved[b]} for a in sources
        }
        for address in sources:
            inner = {b for b in moved_by[address] if not moved_by[b]}
            if len(moved_by[address]) == 1 and inner and self._same(address, *inner):
                (behind,) = inner
                for others in moved_by.values():
                    others.discard(behind)
                moved_by[behind] = {address}
        pairs = []
        for name in self._prices:
            moving = [a for a in self._moved if name in self._moved[a]]
            leaves = {a for a in moving if a in moved_by and not moved_by[a]}
            pairs += [(name, a) for a in sorted(leaves)]
            pairs += [
                (name, a)
                for a in sorted(set(moving) - moved_by.keys())
                if not self._moved[a].keys() & leaves
            ]
        return pairs

    def _same(self, outer: str, inner: str) -> bool:
        a, b = self._candidates[outer], self._candidates[inner]
        return (
            (a.answer, a.decimals, a.is_rate) == (b.answer, b.decimals, b.is_rate)
            and a.description == b.description
            and self._prices_moved(outer) == self._prices_moved(inner)
        )

    def _prices_moved(self, address: str) -> _Moved:
        return {n: by_x for n, by_x in self._moved[address].items() if n in self._prices}


def group_apart(probes: Sequence[_Probe], size: Callable[[_Probe], int]) -> list[list[_Probe]]:
    """Groups in which no two share a key or are each other's: one call answers for all of them.

    Each has at most LARGEST_CODE bytes of code, or one contract.
    """
    groups: list[tuple[list[_Probe], set[str]]] = []
    for probe in sorted(probes, key=lambda p: (-len(p.keys), p.address)):
        own = probe.keys | {probe.address}
        for members, keys in groups:
            if not own & keys and sum(map(size, (*members, probe))) <= LARGEST_CODE:
                members.append(probe)
                keys |= own
                break
        else:
            groups.append(([probe], set(own)))
    return [members for members, _ in groups]


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


class ScalableContracts(msgspec.Struct, frozen=True):
    """Contracts at a block whose answers can be multiplied.

    `codes` are their own; `unknown` have none of the functions that are known to give a price or
    a rate.
    """

    codes: Mapping[str, bytes]
    unknown: frozenset[str]

    def overrides(self, moves: Mapping[str, Fraction]) -> Overrides:
        """The override set under which each of these answers as many times what it does."""
        overrides: dict[str, bytes] = {}
        for address in sorted(moves):
            if code := self.codes[address]:
                any_number = address in self.unknown
                overrides |= scaled(
                    address, code, moves[address], SCALED_WORDS, any_number=any_number
                )
        return overrides


async def read_scalable(reading: Reading, addresses: Sequence[str]) -> ScalableContracts:
    """The code of these contracts, and which of them answer as a feed or a rate."""
    codes = await reading.rpc.codes(addresses, reading.block)
    candidates = await _read_candidates(reading, codes)
    return ScalableContracts(codes, frozenset(a for a, c in candidates.items() if c.call is None))
