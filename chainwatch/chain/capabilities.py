"""What one endpoint can do, measured with some dozens of requests.

A limit is looked for between a size that was accepted and one that was refused: a number that the
refusal states is tried first, then sizes in common use, then the middle.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import msgspec

from chainwatch.chain.answers import (
    Quantity,
    Request,
    decode_answer,
    header_request,
    hex_bytes,
    read_access,
    read_header,
)
from chainwatch.chain.endpoint import Endpoint
from chainwatch.chain.faults import (
    Behind,
    CutOff,
    Kind,
    RpcFault,
    TooMuch,
    Trouble,
    kind_of,
    log_refusal,
    refusal,
)
from chainwatch.chain.transport import Transport
from chainwatch.chain.types import Block, Limits
from chainwatch.errors import NetworkError, RpcError
from chainwatch.net.http import Http
from chainwatch.tables.chain import Capabilities

T = TypeVar("T")

MOST_REQUESTS = 60  # of one endpoint, and one more where a search begins at that moment
MOST_STEPS = 20  # requests of one search
# Sizes that are tried first, where they lie between what was accepted and what was refused.
LOG_BLOCKS = (10_000, 100_000, 1_000_000)
BATCH_CALLS = (50, 500, 1_000)
# Blocks whose state can be read: nodes that keep little keep that of 128.
STATES = (128, 1_280, 12_800, 128_000, 1_280_000, 12_800_000)
# What `call_gas` is where a call may use any: half of what 64 bits hold.
NO_GAS_CAP = 2**63 - 1
PAUSE = 1.0  # seconds before what a busy endpoint refused is asked once more
LOOKED_BACK = 4  # blocks of which one has to have logs

_NOBODY = "0x" + "c4a2" * 10
# Code that returns the gas that is left: GAS PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN
_GAS_LEFT = bytes.fromhex("5a60005260206000f3")
# Gas before the code runs, GAS itself included (Yellow Paper, appendix G; EIP-2028, EIP-3860): of a
# call without data, and of a creation with this code.
_OF_CALL = 21_000 + 2
_OF_CREATION = _OF_CALL + 32_000 + sum(16 if byte else 4 for byte in _GAS_LEFT) + 2
# Code that looks at an address and ends: PUSH20 … EXTCODESIZE STOP
_LOOKS = bytes.fromhex("73" + _NOBODY[2:] + "3b00")

_NUMBER = msgspec.json.Decoder(Quantity)
_TEXT = msgspec.json.Decoder(str)


class _Blooms(msgspec.Struct, rename="camel"):
    number: Quantity
    logs_bloom: str = "0x"


_BLOOM = msgspec.json.Decoder(_Blooms)
_LOGS = msgspec.json.Decoder(list[msgspec.Raw])


class Contact(msgspec.Struct, frozen=True):
    """What an endpoint says of itself at the first contact."""

    block: Block
    client_version: str | None
    version_reason: str = ""


class Bracket(msgspec.Struct, frozen=True):
    """The largest size that was accepted, and the smallest that was refused."""

    accepted: int | None
    refused: int | None


class EndpointProbe:
    """Finds out what the endpoint at a URL can do; `chain_id` is the one it has to serve."""

    def __init__(
        self, http: Http, url: str, *, chain: str, chain_id: int, settings: Limits | None = None
    ) -> None:
        self._transport = Transport(http, [url], settings or Limits())
        self._endpoint = Endpoint(url, self._transport)
        self._chain = chain
        self._chain_id = chain_id
        self._reasons: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The endpoint, masked."""
        return self._endpoint.name

    async def contact(self) -> Contact:
        """Its newest block and its version.

        Raises ConfigError where it serves another chain, NetworkError (RpcError where it answered)
        where it does not answer as an endpoint does.
        """
        try:
            await self._patiently(lambda: self._endpoint.verify(self._chain, self._chain_id))
            return await self._patiently(self._introduction)
        except Trouble as trouble:
            kind = RpcError if trouble.answered else NetworkError
            raise kind(
                f"{self._chain}: {self.name} cannot be used: {trouble}: try later or set another "
                "endpoint"
            ) from None

    async def capabilities(self, contact: Contact) -> Capabilities:
        """What it can do, as of the contact's newest block.

        What it does not tell is null with its reason; a search that takes too many requests ends
        with the two sizes it has.
        """
        head, endpoint = contact.block, self._endpoint
        if contact.client_version is None:
            self._reasons["client_version"] = contact.version_reason
        overrides = await self._value("state_overrides", endpoint.can_override)
        access = await self._value("access_lists", self._lists_accesses)
        gas = await self._value("call_gas", lambda: self._call_gas(bool(overrides)))
        logs = await self._value("has_logs", lambda: self._has_logs(head))
        batch = await self._search("batch_calls", BATCH_CALLS, BATCH_CALLS[-1], self._take_batch)
        log_blocks = await self._search(
            "log_blocks",
            LOG_BLOCKS,
            min(head.number + 1, LOG_BLOCKS[-1]),
            lambda blocks: self._take_logs(head, blocks),
        )
        # Most endpoints that have more than the newest states have them all.
        states = await self._search(
            "oldest_block",
            (head.number + 1, *STATES),
            head.number + 1,
            lambda blocks: self._take_state(head.number + 1 - blocks),
        )
        return Capabilities(
            chain=self._chain,
            endpoint=self.name,
            endpoint_hash=url_hash(endpoint.url),
            probed_at=datetime.now(UTC),
            requests=self._transport.stats.requests,
            chain_id=self._chain_id,
            client_version=contact.client_version,
            block_number=head.number,
            block_time=head.moment,
            state_overrides=overrides,
            access_lists=access,
            call_gas=gas,
            has_logs=logs,
            oldest_block=_block(head, states.accepted),
            pruned_block=_block(head, states.refused),
            log_blocks=log_blocks.accepted,
            refused_log_blocks=log_blocks.refused,
            batch_calls=batch.accepted,
            refused_batch_calls=batch.refused,
            reason=msgspec.json.encode(self._reasons).decode(),
        )

    # --- how it is asked ----------------------------------------------------------------------

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """The work, once more after a pause where asking later may help."""
        try:
            return await work()
        except Trouble as trouble:
            if trouble.final or not (trouble.cools or isinstance(trouble, Behind)):
                raise
            await asyncio.sleep(max(trouble.retry_after or 0.0, PAUSE))
        return await work()

    async def _value(self, column: str, work: Callable[[], Awaitable[T]]) -> T | None:
        """What the work finds out; None, with the reason noted, where the endpoint fails."""
        try:
            return await self._patiently(work)
        except Trouble as trouble:
            self._reasons[column] = str(trouble)
            return None

    async def _search(
        self, column: str, first: Sequence[int], most: int, take: Callable[[int], Awaitable[None]]
    ) -> Bracket:
        """Where sizes from 1 to `most` begin to be refused: `take` raises TooMuch or CutOff then.

        Any other Trouble ends the search.
        """
        accepted, refused, reason = 0, most + 1, ""
        stated: int | None = None  # a number is believed once: it may be wrong
        for _ in range(MOST_STEPS):
            if refused - accepted == 1 or self._transport.stats.requests >= MOST_REQUESTS:
                break
            size = _next_size(accepted, refused, stated, first)
            try:
                await self._patiently(partial(take, size))
            except (TooMuch, CutOff) as too_much:
                refused, reason = size, str(too_much)
                if stated is None and isinstance(too_much, TooMuch):
                    stated = too_much.stated[0]
            except Trouble as trouble:
                reason = str(trouble)
                break
            else:
                accepted = size
        if reason:
            self._reasons[column] = reason
        return Bracket(accepted or None, refused if refused <= most else None)

    # --- what it can do -----------------------------------------------------------------------

    async def _introduction(self) -> Contact:
        requests: list[Request] = [header_request("latest"), ("web3_clientVersion", [])]
        header, version = await self._endpoint.send(requests)
        wire = read_header(header, "latest")
        if wire is None:
            raise Trouble("has no latest block", final=True)
        block = Block(int(wire.number, 16), wire.hash.lower(), int(wire.timestamp, 16))
        if isinstance(version, RpcFault):
            return Contact(block, None, str(version))
        return Contact(block, decode_answer(_TEXT, version, "a version")[:200])

    async def _lists_accesses(self) -> bool:
        """Whether the address that some code looks at is in its list.

        Where no contract may be created within a call, whether there is a list at all.
        """
        looks = {"data": "0x" + _LOOKS.hex()}
        nothing = {"to": _NOBODY, "data": "0x"}
        for call, touched in ((looks, {_NOBODY}), (nothing, set[str]())):
            (answer,) = await self._endpoint.send([("eth_createAccessList", [call, "latest"])])
            if isinstance(answer, RpcFault):
                if kind_of(answer) in (Kind.BUSY, Kind.SLOW):
                    raise refusal(answer)
                self._reasons["access_lists"] = str(answer)
                continue
            access = read_access(answer)
            if access is not None and touched <= access.keys():
                self._reasons.pop("access_lists", None)
                return True
            self._reasons["access_lists"] = "the list does not name what the call touches"
            return False
        return False

    async def _call_gas(self, overrides: bool) -> int:
        """The gas of a call that names none: under an override, or as code of a creation."""
        code = "0x" + _GAS_LEFT.hex()
        parameters: list[Any] = [{"data": code}, "latest"]
        if overrides:
            parameters = [{"to": _NOBODY, "data": "0x"}, "latest", {_NOBODY: {"code": code}}]
        (answer,) = await self._endpoint.send([("eth_call", parameters)])
        word = hex_bytes(answer)
        if len(word) != 32:
            raise Trouble(f"expected a word of 32 bytes, got {len(word)} bytes", final=True)
        gas = int.from_bytes(word) + (_OF_CALL if overrides else _OF_CREATION)
        return min(gas, NO_GAS_CAP)

    async def _has_logs(self, head: Block) -> bool:
        """Whether logs are given where a header says that there are some."""
        below = [head.number - n for n in range(1, LOOKED_BACK + 1) if head.number >= n]
        answers = await self._endpoint.send([header_request(number) for number in below])
        blooms = [decode_answer(_BLOOM, answer, "a block header") for answer in answers]
        # Some chains set no bit of the bloom, or all of them, whatever the block holds.
        telling = [b for b in blooms if set(b.logs_bloom[2:].lower()) - {"0"} and not _full(b)]
        if not telling:
            raise Trouble(f"none of the last {len(below)} headers has a bloom of logs", final=True)
        block = telling[0].number
        query = {"fromBlock": block, "toBlock": block}
        (answer,) = await self._endpoint.send([("eth_getLogs", [query])])
        if isinstance(answer, RpcFault):
            raise log_refusal(answer)
        if not decode_answer(_LOGS, answer, "logs"):
            self._reasons["has_logs"] = f"no logs of block {int(block, 16)}, which has some"
            return False
        return True

    async def _take_batch(self, calls: int) -> None:
        requests: list[Request] = [("eth_chainId", [])] * calls
        for answer in await self._transport.post(self._endpoint.url, requests):
            if isinstance(answer, RpcFault):
                if kind_of(answer) is Kind.BUSY:
                    raise refusal(answer)
                raise TooMuch(str(answer))

    async def _take_logs(self, head: Block, blocks: int) -> None:
        first = head.number + 1 - blocks
        query = {"address": _NOBODY, "fromBlock": hex(first), "toBlock": hex(head.number)}
        (answer,) = await self._endpoint.send([("eth_getLogs", [query])])
        if isinstance(answer, RpcFault):
            raise log_refusal(answer)
        decode_answer(_LOGS, answer, "logs")

    async def _take_state(self, number: int) -> None:
        (answer,) = await self._endpoint.send([("eth_getBalance", [_NOBODY, hex(number)])])
        if isinstance(answer, RpcFault):
            trouble = refusal(answer)
            if trouble.final or kind_of(answer) in (Kind.BUSY, Kind.SLOW):
                raise trouble
            raise TooMuch(str(answer))
        decode_answer(_NUMBER, answer, "a balance")


def _next_size(accepted: int, refused: int, stated: int | None, first: Sequence[int]) -> int:
    """The size to try next, between one that was accepted and one that was refused."""
    if stated == accepted:
        return accepted + 1  # what was stated is the limit if one more is refused
    for size in (stated or 0, *first):
        if accepted < size < refused:
            return size
    return (accepted + refused) // 2


def url_hash(url: str) -> str:
    """What tells URLs apart that look the same when they are masked."""
    return hashlib.sha256(url.encode()).hexdigest()[:8]


def _full(bloom: _Blooms) -> bool:
    return set(bloom.logs_bloom[2:].lower()) == {"f"}


def _block(head: Block, states: int | None) -> int | None:
    """The oldest of so many blocks that end at the head."""
    return None if states is None else head.number + 1 - states
