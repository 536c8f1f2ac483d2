"""Contract state at exactly one block: many calls in one, each proven to be of that block."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from chainwatch.chain.answers import (
    Request,
    call_request,
    header_request,
    hex_bytes,
    read_access,
)
from chainwatch.chain.endpoint import Endpoint
from chainwatch.chain.fallback import Endpoints
from chainwatch.chain.faults import (
    NO_SUCH_METHOD,
    CutOff,
    Kind,
    RpcFault,
    TooMuch,
    Trouble,
    kind_of,
    refusal,
    revert_data,
)
from chainwatch.chain.headers import Headers
from chainwatch.chain.joining import JoinedReads
from chainwatch.chain.multicall import decode_aggregate3, encode_aggregate3
from chainwatch.chain.together import gather
from chainwatch.chain.types import (
    MULTICALL3,
    PROGRAM,
    Access,
    Block,
    Call,
    Overrides,
    Program,
    Reverted,
)
from chainwatch.errors import ConfigError, NetworkError, Reorged

_Calls = Callable[
    [Sequence[Call], Block, Overrides | None, Endpoint], Awaitable[list[bytes | Reverted]]
]
NO_OVERRIDES = Trouble("takes no state overrides", cools=False, final=True)
NO_PROGRAMS = Trouble("runs no programs", cools=False, final=True)
PROGRAM_TRIES = 2  # rounds; then its calls are made one by one


class StateReader:
    """Reads contracts at a block, through Multicall3 where the chain has it."""

    def __init__(self, endpoints: Endpoints, headers: Headers) -> None:
        self._endpoints = endpoints
        self._headers = headers
        self._joined = JoinedReads(self.read)
        self._codes: tuple[str, dict[str, bytes]] = ("", {})  # by address, at the block of a hash
        self._multicall_from: int | None = None  # a block at which Multicall3 exists
        self._multicall_after = -1  # the last block known to be without it

    async def read(
        self, calls: Sequence[Call], at: Block, overrides: Overrides | None = None
    ) -> list[bytes | Reverted]:
        """The answers of many calls at exactly this block, in order.

        `overrides` are code that addresses have within these calls. Raises Reorged where the block
        is no longer the chain's; a call that fails on the chain is `Reverted`.
        """
        if not calls:
            return []
        if self._headers.has_left(at):
            raise self._headers.reorged(at)
        has_multicall, _ = await gather(
            self._has_multicall(at),
            # What every call needs to know: found out beside it, in the same round trip.
            self._learn(lambda endpoint: endpoint.can_pin()),
        )
        if not has_multicall:
            return await self._read_singly(calls, at, overrides)
        size = self._endpoints.preferred.multicall.now
        results = await self._read_all(self._call_multicall, calls, at, size, overrides)
        # Inner calls that follow an expensive one may have failed for want of gas, without an
        # error, while the multicall itself went through: alone they have all of it.
        doubtful = [i for i, r in enumerate(results) if type(r) is Reverted and not r.data]
        if doubtful:
            again = await self._read_singly([calls[i] for i in doubtful], at, overrides)
            for i, result in zip(doubtful, again, strict=True):
                results[i] = result
        return results

    async def read_joined(self, calls: Sequence[Call], at: Block) -> list[bytes | Reverted]:
        """As `read`, in one with all that is read at the block within this turn of the loop."""
        return await self._joined.read(calls, at) if calls else []

    async def run(
        self, program: Program, items: Sequence[bytes], at: Block
    ) -> list[tuple[int, bytes]] | None:
        """What a program answers for all items at exactly this block: (items, answer) of each part.

        None where it reverts, or no endpoint runs it: its calls can be made one by one. Raises
        Reorged where the block is no longer the chain's.
        """
        if self._headers.has_left(at):
            raise self._headers.reorged(at)
        await gather(
            self._learn(lambda endpoint: endpoint.can_pin()),
            self._learn(lambda endpoint: endpoint.can_override()),
        )
        parts: list[tuple[int, bytes]] = []
        done = 0
        while done < len(items):
            work = partial(self._run, program, items[done:], at)
            try:
                count, answer = await self._endpoints.ask(
                    work, f"eth_call of a program at block {at.number}", tries=PROGRAM_TRIES
                )
            except Reorged:
                raise
            except NetworkError:
                return None
            if answer is None:
                return None
            parts.append((count, answer))
            done += count
        return parts

    async def accesses(self, calls: Sequence[Call], at: Block) -> list[Access | None]:
        """What each call touches at this height (eth_createAccessList).

        None for a call that fails, and for all where no endpoint gives such an answer.
        """
        if not calls:
            return []
        requests: list[Request] = [
            ("eth_createAccessList", [{"to": to, "data": "0x" + data.hex()}, hex(at.number)])
            for to, data in calls
        ]

        async def look(endpoint: Endpoint) -> list[Access | None]:
            answers = await endpoint.send(requests)
            for answer in answers:
                if isinstance(answer, RpcFault) and kind_of(answer) is not Kind.EVM:
                    raise refusal(answer)
            return [read_access(answer) for answer in answers]

        try:
            # Many endpoints do not have the method: each is asked once.
            return await self._endpoints.ask(look, requests[0][0], tries=1)
        except NetworkError:
            return [None] * len(calls)

    async def codes(self, addresses: Sequence[str], at: Block) -> dict[str, bytes]:
        """The code of each address at this height."""
        if self._codes[0] != at.hash:
            self._codes = at.hash, {}
        codes = self._codes[1]
        missing = [address for address in dict.fromkeys(addresses) if address not in codes]
        requests: list[Request] = [("eth_getCode", [a, hex(at.number)]) for a in missing]

        async def look(endpoint: Endpoint) -> None:
            # The header is the last: a block that was replaced before shows in it.
            *answers, header = await endpoint.send([*requests, header_request(at.number)])
            await self._headers.require_in(endpoint, header, at)
            codes.update(zip(missing, map(hex_bytes, answers), strict=True))

        if missing:
            await self._endpoints.ask(look, f"eth_getCode at block {at.number}")
        return {address: codes[address] for address in addresses}

    async def can_override(self) -> bool:
        """Whether an endpoint takes code that replaces that of an address within a call."""

        async def look(endpoint: Endpoint) -> None:
            if not await endpoint.can_override():
                raise NO_OVERRIDES

        try:
            await self._endpoints.ask(look, "eth_call with a state override")
        except NetworkError:
            return False
        return True

    async def has_code(self, address: str, number: int) -> bool:
        """Whether a contract is at the address at that height; needs an archive for old ones."""

        async def look(endpoint: Endpoint) -> bool:
            request = ("eth_getCode", [address, hex(number)])
            _, answer = await self._headers.with_header(endpoint, number, request)
            return hex_bytes(answer) != b""

        return await self._endpoints.ask(look, f"eth_getCode at block {number}")

    async def deployment_block(self, address: str, last: int) -> int:
        """The first block with code at the address, found by bisection of 0 … last."""
        if not await self.has_code(address, last):
            chain = self._endpoints.chain
            raise ConfigError(f"{chain} has no contract at {address} at block {last}")
        first = 0
        while first < last:
            midpoint = (first + last) // 2
            if await self.has_code(address, midpoint):
                last = midpoint
            else:
                first = midpoint + 1
        return first

    async def _learn(self, ability: Callable[[Endpoint], Awaitable[bool]]) -> None:
        """Have the preferred endpoint's ability known; nothing where it does not answer now."""
        with contextlib.suppress(Trouble):
            await ability(self._endpoints.preferred)

    # --- many at once -------------------------------------------------------------------------

    async def _has_multicall(self, at: Block) -> bool:
        if self._multicall_from is not None and self._multicall_from <= at.number:
            return True
        if at.number <= self._multicall_after:
            return False
        exists = await self.has_code(MULTICALL3, at.number)
        if exists:
            self._multicall_from = at.number
        else:
            self._multicall_after = at.number
        return exists

    async def _read_singly(
        self, calls: Sequence[Call], at: Block, overrides: Overrides | None = None
    ) -> list[bytes | Reverted]:
        size = self._endpoints.preferred.batch.now
        return await self._read_all(self._call_singly, calls, at, size, overrides)

    async def _read_all(
        self,
        call: _Calls,
        calls: Sequence[Call],
        at: Block,
        size: int,
        overrides: Overrides | None = None,
    ) -> list[bytes | Reverted]:
        parts: dict[int, list[bytes | Reverted]] = {}

        async def read_part(start: int, stop: int) -> None:
            results = parts[start] = []
            while (done := start + len(results)) < stop:
                work = partial(call, calls[done:stop], at, overrides)
                results += await self._endpoints.ask(work, f"eth_call at block {at.number}")

        await self._endpoints.spread(read_part, len(calls), size)
        return [result for start in sorted(parts) for result in parts[start]]

    # --- of one endpoint ----------------------------------------------------------------------
    # These raise Trouble where another endpoint may do better.

    async def _call_singly(
        self, calls: Sequence[Call], at: Block, overrides: Overrides | None, endpoint: Endpoint
    ) -> list[bytes | Reverted]:
        """The answers to the first calls, as many as the endpoint takes in one batch."""
        answers = await self._call(endpoint, calls[: endpoint.batch.now], at, overrides)
        return [Reverted(revert_data(a)) if isinstance(a, RpcFault) else a for a in answers]

    async def _call_multicall(
        self, calls: Sequence[Call], at: Block, overrides: Overrides | None, endpoint: Endpoint
    ) -> list[bytes | Reverted]:
        """The answers to the first calls, as many as the endpoint takes in one multicall."""
        while True:
            part = calls[: endpoint.multicall.now]
            packed = (MULTICALL3, encode_aggregate3(part))
            try:
                (answer,) = await self._call(endpoint, [packed], at, overrides)
            except (TooMuch, CutOff) as refusal:
                if overrides and _size(overrides) > len(packed[1]):
                    # What is too much is the code: the size of a multicall is not to blame.
                    raise
                endpoint.multicall.refuse(len(part))
                if len(part) == 1 or isinstance(refusal, CutOff):
                    raise
                continue
            if isinstance(answer, RpcFault):
                # Every inner call may fail, so only a want of gas fails all of them.
                endpoint.multicall.refuse(len(part))
                if len(part) == 1:
                    return [Reverted(revert_data(answer))]
                continue
            try:
                results = decode_aggregate3(answer, len(part))
            except ValueError as error:
                raise Trouble(str(error)) from None
            endpoint.multicall.accept(len(part))
            return results

    async def _run(
        self, program: Program, items: Sequence[bytes], at: Block, endpoint: Endpoint
    ) -> tuple[int, bytes | None]:
        """How many of the first items a program was run for, and its answer; None: it reverted."""
        if not endpoint.runs_programs:
            raise NO_PROGRAMS
        while True:
            part = items[: endpoint.program_items.now]
            call = (PROGRAM, program.head + b"".join(part))
            try:
                (answer,) = await self._call(endpoint, [call], at, {PROGRAM: program.code})
            except (TooMuch, CutOff) as refusal:
                endpoint.program_items.refuse(len(part))
                if len(part) == 1 or isinstance(refusal, CutOff):
                    raise
                continue
            except Trouble as trouble:
                if trouble.final:
                    endpoint.note_program(failed=True)
                raise
            failed = isinstance(answer, RpcFault)
            endpoint.note_program(failed=failed)
            if isinstance(answer, RpcFault):
                # Fewer items need less gas.
                endpoint.program_items.refuse(len(part))
                return len(part), None
            endpoint.program_items.accept(len(part))
            return len(part), answer

    async def _call(
        self, endpoint: Endpoint, calls: Sequence[Call], at: Block, overrides: Overrides | None
    ) -> list[bytes | RpcFault]:
        """eth_call of each at exactly this block; a fault is one of the call itself."""
        if overrides and not await endpoint.can_override():
            raise NO_OVERRIDES
        pins = await endpoint.can_pin()
        if not pins:
            await self._headers.require(endpoint, at)
        block = at.hash if pins else at.number
        answers = await endpoint.send(
            [call_request(to, data, block, overrides) for to, data in calls]
        )
        faults = [a for a in answers if isinstance(a, RpcFault)]
        # Not the block's fault, nor that of its hash.
        if overrides and any(f.code == NO_SUCH_METHOD for f in faults):
            raise NO_OVERRIDES
        unclear = [f for f in faults if kind_of(f) in (Kind.BEHIND, Kind.OTHER)]
        if unclear or not pins:
            await self._headers.require(endpoint, at)
        if unclear:
            # It has the block, so what it refuses may be the hash in place of the number.
            endpoint.stop_pinning()
            raise refusal(unclear[0])
        for fault in faults:
            if kind_of(fault) is not Kind.EVM:
                raise refusal(fault)
        return [a if isinstance(a, RpcFault) else hex_bytes(a) for a in answers]


def _size(overrides: Overrides) -> int:
    """Bytes of code."""
    return sum(map(len, overrides.values()))
