"""Contracts by signature: functions to call and events to read, as the files in abis/ declare them.

A function is named once. Its selector is the hash of its signature, and its answer is decoded into
the ABI's own names in snake case:

    SPOKE = Contract("aave_v4_spoke", "an Aave v4 spoke")
    GET_RESERVE = SPOKE.function("getReserve")
    (reserve,) = await reading.ask([GET_RESERVE(pool, 3)])
    reserve.asset_id

Arguments are static: integers, addresses and 32-byte hex, one word each. A tuple is passed as its
members, one after another.
"""

from __future__ import annotations

import json
import keyword
import re
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from typing import Any, NamedTuple

from chainwatch.chain import abi
from chainwatch.chain.types import Call, Log, Reverted
from chainwatch.errors import NetworkError
from chainwatch.shipped import folder
from chainwatch.text import contract_text

# One entry of an ABI, or one of its arguments, as JSON.
Entry = dict[str, Any]
# The end of `fields` where a function may give more outputs than are named.
MORE = "..."


class Member(NamedTuple):
    """One word of an answer or of event data: its name in snake case, and its ABI type."""

    name: str
    type: str


class Request(NamedTuple):
    """A call with the function that decodes its answer; `optional`: None stands for no answer."""

    to: str
    data: bytes
    function: Function
    optional: bool = False

    def decode(self, answer: bytes | Reverted) -> Any:
        """The answer by its names, see `Function.decode`."""
        decode = self.function.decode_or_none if self.optional else self.function.decode
        return decode(answer)


class Function:
    """One function of a contract: how it is called, and what its answer says.

    `fields` name its outputs where the ABI leaves them unnamed, separated by spaces. Where they end
    with `...`, outputs after those named are not decoded, and an answer may be without them.
    """

    def __init__(self, contract: Contract, entry: Entry, fields: str = "") -> None:
        self.name: str = entry["name"]
        self.contract = contract
        self.signature = signature(entry)
        self.arguments = len(list(_words(entry["inputs"])))
        outputs: list[Entry] = entry["outputs"]
        tuple_only = len(outputs) == 1 and outputs[0]["type"] == "tuple"
        members = outputs[0]["components"] if tuple_only else outputs
        self.members = _named(members, fields)
        self._has_more = fields.endswith(MORE)
        self._moved = tuple_only and any(_is_dynamic(m.type) for m in self.members)

    @cached_property
    def selector(self) -> bytes:
        """The first four bytes of its calldata."""
        return keccak(self.signature)[:4]

    def __call__(self, to: str, *arguments: int | str) -> Request:
        """A call whose answer must be one of this function."""
        return Request(to, self.encode(*arguments), self)

    def maybe(self, to: str, *arguments: int | str) -> Request:
        """A call that may revert, or be answered by another contract: None then."""
        return Request(to, self.encode(*arguments), self, optional=True)

    def call(self, to: str, *arguments: int | str) -> Call:
        """(address, calldata)."""
        return to, self.encode(*arguments)

    def encode(self, *arguments: int | str) -> bytes:
        """The calldata. TypeError where there are fewer or more words than the function takes."""
        if len(arguments) < self.arguments:
            raise TypeError(f"{self.signature} takes {self.arguments} words: got {len(arguments)}")
        return self.selector + b"".join(map(abi.argument, arguments))

    def decode(self, answer: bytes | Reverted) -> Any:
        """The answer: one value, or a named tuple of several.

        Addresses and bytes32 are lower-case hex, strings are cleaned text. Raises NetworkError
        where the call reverted, abi.Malformed where the answer is too short.
        """
        if type(answer) is not bytes:
            raise NetworkError(f"{self.name} reverted: expected the answer of {self.contract}")
        return self._decode(answer)

    def decode_or_none(self, answer: bytes | Reverted) -> Any:
        """The answer as `decode` gives it; None where it is not one of this function."""
        if type(answer) is not bytes or not self.fits(answer):
            return None
        try:
            return self._decode(answer)
        except abi.Malformed:
            return None

    def fits(self, answer: bytes | Reverted) -> bool:
        """Whether an answer is of the size that this function gives."""
        if isinstance(answer, Reverted):
            return False
        if any(_is_dynamic(m.type) for m in self.members):
            return len(answer) >= abi.WORD
        size = len(self.members) * abi.WORD
        return len(answer) == size or (self._has_more and len(answer) > size)

    def numbers(self, answers: Sequence[bytes | Reverted]) -> list[int]:
        """Many answers of one unsigned word each: the fastest way to decode them."""
        number = int.from_bytes
        return [
            number(answer)
            if type(answer) is bytes and len(answer) == abi.WORD
            else self.decode(answer)
            for answer in answers
        ]

    @cached_property
    def _decode(self) -> Callable[[bytes], Any]:
        if len(self.members) == 1 and not self._moved:
            return _single_decoder(self.members[0].type)
        record = _record(self.name, self.members)
        read = _words_reader([m.type for m in self.members])
        if self._moved:
            return lambda answer: record(read(answer[abi.word(answer, 0) :]))
        return lambda answer: record(read(answer))


class Event:
    """One event of a contract."""

    def __init__(self, entry: Entry) -> None:
        self.name: str = entry["name"]
        self.signature = signature(entry)
        self.indexed = _named([i for i in entry["inputs"] if i["indexed"]])
        self.data = _named([i for i in entry["inputs"] if not i["indexed"]])
        self._record = _record(self.name, [*self.indexed, *self.data])
        self._read_data = _words_reader([m.type for m in self.data])
        self._converters = [_converter(m.type) for m in self.indexed]

    @cached_property
    def topic(self) -> str:
        """Its first topic."""
        return f"0x{keccak(self.signature).hex()}"

    def places(self, names: str) -> Places:
        """Where the arguments of these names stand, in topics (from 1) and in words of data.

        ValueError where the event has none of that name.
        """
        topics = {m.name: i for i, m in enumerate(self.indexed, start=1)}
        words = {m.name: i for i, m in enumerate(self.data)}
        for name in names.split():
            if name not in topics and name not in words:
                raise ValueError(f"{self.signature} has no argument {name}")
        return Places(
            tuple(topics[n] for n in names.split() if n in topics),
            tuple(words[n] for n in names.split() if n in words),
        )

    def decode(self, log: Log) -> Any:
        """A log's arguments as a named tuple; abi.Malformed where it is too short."""
        if len(log.topics) <= len(self.indexed):
            raise abi.Malformed(
                f"expected {len(self.indexed) + 1} topics in an event {self.name}, "
                f"got {len(log.topics)}: the endpoint is at fault"
            )
        data = bytes.fromhex(log.data[2:])
        indexed = [
            convert(int(topic, 16))
            for convert, topic in zip(self._converters, log.topics[1:], strict=False)
        ]
        return self._record([*indexed, *self._read_data(data)])


class Places(NamedTuple):
    """Where arguments of an event stand: numbers of topics (from 1), numbers of words of data."""

    topics: tuple[int, ...] = ()
    words: tuple[int, ...] = ()


class Contract:
    """A file of abis/; `label` names the contract in messages, e.g. "an Aave v4 spoke"."""

    def __init__(self, name: str, label: str = "") -> None:
        self.name = name
        self.label = label or name.replace("_", " ")

    def __str__(self) -> str:
        return self.label

    def function(self, name: str, fields: str = "") -> Function:
        """The function of that name, or of that signature where the name is taken twice.

        ValueError where the file has none, or where an output has no name and `fields` none.
        """
        return Function(self, self._entry("function", name), fields)

    def event(self, name: str) -> Event:
        """The event of that name or signature. ValueError where the file has none."""
        return Event(self._entry("event", name))

    def _entry(self, kind: str, name: str) -> Entry:
        entries = [
            e
            for e in read_abi(self.name)
            if e["type"] == kind and name in (e["name"], signature(e))
        ]
        if len(entries) != 1:
            raise ValueError(
                f"expected one {kind} {name} in abis/{self.name}.json, got {len(entries)}"
            )
        return entries[0]


def account_places(*events: tuple[Contract, dict[str, str]]) -> dict[str, Places]:
    """By topic, where events name accounts: for each contract {event: names of its arguments}."""
    return {
        event.topic: event.places(names)
        for contract, names_by_event in events
        for event, names in ((contract.event(e), n) for e, n in names_by_event.items())
    }


@cache
def read_abi(name: str) -> list[Entry]:
    """A contract's trimmed ABI from abis/."""
    entries: list[Entry] = json.loads((folder("abis") / f"{name}.json").read_text("utf-8"))
    return entries


@cache
def keccak(text: str) -> bytes:
    """Keccak-256 of a text."""
    from eth_hash.auto import keccak as hash_of

    return hash_of(text.encode())


def signature(entry: Entry) -> str:
    """A function's or event's canonical form, as it is hashed."""
    return f"{entry['name']}({','.join(map(_type, entry['inputs']))})"


def _type(argument: Entry) -> str:
    kind = str(argument["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(_type, argument['components']))}){kind.removeprefix('tuple')}"


def _words(arguments: Sequence[Entry], outer: str = "") -> Iterator[Member]:
    """The words of arguments, tuples taken apart; a tuple's only member has the tuple's name."""
    for argument in arguments:
        if argument["type"] == "tuple":
            only = len(argument["components"]) == 1
            yield from _words(argument["components"], argument["name"] if only else "")
        else:
            yield Member(_snake(outer or argument["name"]), argument["type"])


def _named(arguments: Sequence[Entry], fields: str = "") -> tuple[Member, ...]:
    members = list(_words(arguments))
    if fields:
        names = fields.split()
        if names[-1] == MORE:
            names.pop()
            members = members[: len(names)]
        if len(names) != len(members):
            raise ValueError(f"expected {len(members)} names, got {len(names)}: {fields}")
        return tuple(Member(n, m.type) for n, m in zip(names, members, strict=True))
    if len(members) > 1 and not all(m.name for m in members):
        raise ValueError("an output has no name: give `fields`")
    return tuple(members)


def _record(name: str, members: Sequence[Member]) -> Callable[[Sequence[Any]], Any]:
    """What makes a named tuple of the values of these members."""
    make: Callable[[Sequence[Any]], Any] = namedtuple(name, [m.name for m in members])._make  # type: ignore[attr-defined]
    return make


def _snake(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_")
    return f"{words}_" if keyword.iskeyword(words) else words


def _is_dynamic(kind: str) -> bool:
    return kind in ("string", "bytes") or kind.endswith("[]")


def _converter(kind: str) -> Callable[[int], Any]:
    if kind == "address":
        return abi.address
    if kind == "bool":
        return bool
    if kind.startswith("int"):
        return abi.signed
    if kind == "bytes32":
        return "0x{:064x}".format
    if kind.startswith("uint"):
        return int
    raise ValueError(f"expected a static type, got {kind}")


def _reader(kind: str) -> Callable[[bytes, int], Any]:
    """What reads the word at an index of some data; a string is behind the offset in its word."""
    if kind == "string":
        start = abi.WORD.to_bytes(abi.WORD)
        return lambda data, i: contract_text(start + data[abi.word(data, i) :])
    if kind.startswith("uint"):
        return abi.word
    convert = _converter(kind)
    return lambda data, i: convert(abi.word(data, i))


def _words_reader(kinds: Sequence[str]) -> Callable[[bytes], list[Any]]:
    """What reads some data as words of these types, one after another."""
    starts = range(0, len(kinds) * abi.WORD, abi.WORD)
    # Most words are unsigned integers as they are.
    others = [(i, _reader(k)) for i, k in enumerate(kinds) if not k.startswith("uint")]
    number, size = int.from_bytes, len(kinds) * abi.WORD

    def read(data: bytes) -> list[Any]:
        if len(data) < size:
            abi.word(data, len(kinds) - 1)  # raises
        values: list[Any] = [number(data[i : i + abi.WORD]) for i in starts]
        for i, read_word in others:
            values[i] = read_word(data, i)
        return values

    return read


def _single_decoder(kind: str) -> Callable[[bytes], Any]:
    if kind == "string":
        return contract_text
    if kind == "address[]":
        return abi.address_list
    read = _reader(kind)
    return lambda answer: read(answer, 0)
