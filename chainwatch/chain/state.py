"""Contract state at exactly one block: many calls in one, each proven to be of that block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from chainwatch.chain.answers import Request, call_request, hex_bytes, reads_storage
from chainwatch.chain.endpoint import Endpoint
from chainwatch.chain.fallback import Endpoints
from chainwatch.chain.faults import (
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
from chainwatch.chain.multicall import decode_aggregate3, encode_aggregate3
from chainwatch.chain.types import MULTICALL3, Block, Call, Reverted
from chainwatch.errors import ConfigError, NetworkError


class StateReader:
    """Reads contracts at a block, through Multicall3 where the chain has it."""

    def __init__(self, endpoints: Endpoints, headers: Headers) -> None:
        self._endpoints = endpoints
        self._headers = headers
        self._multicall_from: int | None = None  # a block at which Multicall3 exists
        self._multicall_after = -1  # the last block known to be without it

    async def read(self, calls: Sequence[Call], at: Block) -> list[bytes | Reverted]:
        """The answers of many calls at exactly this block, in order.

        Raises Reorged where the block is no longer the chain's; a call that fails on the chain
        is `Reverted`.
        """
        if not calls:
            return []
        if self._headers.has_left(at):
            raise self._headers.reorged(at)
        if not await self._has_multicall(at):
            return await self._read_singly(calls, at)
        size = self._endpoints.preferred.multicall.now
        results = await self._read_all(self._call_multicall, calls, at, size)
        # Inner calls that follow an expensive one may have failed for want of gas, without an
        # error, while the multicall itself went through: alone they have all of it.
        doubtful = [i for i, r in enumerate(results) if type(r) is Reverted and not r.data]
        if doubtful:
            again = await self._read_singly([calls[i] for i in doubtful], at)
            for i, result in zip(doubtful, again, strict=True):
                results[i] = result
        return results

    async def reads_storage(self, calls: Sequence[Call], at: Block) -> list[bool | None]:
        """Whether each call reads contract storage at this height (eth_createAccessList).

        None where the endpoint gives no such answer.
        """
        if not calls:
            return []
        requests: list[Request] = [
            (
                "eth_createAccessList",
                [{"to": to, "data": "0x" + data.hex()}, hex(at.number)],
            )
            for to, data in calls
        ]
        try:
            # Many endpoints do not have the method: it is asked for once.
            answers = await self._endpoints.ask(lambda e: e.send(requests), requests[0][0], tries=1)
        except NetworkError:
            return [None] * len(calls)
        return [reads_storage(answer) for answer in answers]

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

    async def _read_singly(self, calls: Sequence[Call], at: Block) -> list[bytes | Reverted]:
        size = self._endpoints.preferred.batch.now
        return await self._read_all(self._call_singly, calls, at, size)

    async def _read_all(
        self,
        call: Callable[[Sequence[Call], Block, Endpoint], Awaitable[list[bytes | Reverted]]],
        calls: Sequence[Call],
        at: Block,
        size: int,
    ) -> list[bytes | Reverted]:
        parts: dict[int, list[bytes | Reverted]] = {}

        async def read_part(start: int, stop: int) -> None:
            results = parts[start] = []
            while (done := start + len(results)) < stop:
                work = partial(call, calls[done:stop], at)
                results += await self._endpoints.ask(work, f"eth_call at block {at.number}")

        await self._endpoints.spread(read_part, len(calls), size)
        return [result for start in sorted(parts) for result in parts[start]]

    # --- of one endpoint ----------------------------------------------------------------------
    # These raise Trouble where another endpoint may do better.

    async def _call_singly(
        self, calls: Sequence[Call], at: Block, endpoint: Endpoint
    ) -> list[bytes | Reverted]:
        """The answers to the first calls, as many as the endpoint takes in one batch."""
        answers = await self._call(endpoint, calls[: endpoint.batch.now], at)
        return [Reverted(revert_data(a)) if isinstance(a, RpcFault) else a for a in answers]

    async def _call_multicall(
        self, calls: Sequence[Call], at: Block, endpoint: Endpoint
    ) -> list[bytes | Reverted]:
        """The answers to the first calls, as many as the endpoint takes in one multicall."""
        while True:
            part = calls[: endpoint.multicall.now]
            try:
                (answer,) = await self._call(endpoint, [(MULTICALL3, encode_aggregate3(part))], at)
            except (TooMuch, CutOff) as refusal:
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

    async def _call(
        self, endpoint: Endpoint, calls: Sequence[Call], at: Block
    ) -> list[bytes | RpcFault]:
        """eth_call of each at exactly this block; a fault is one of the call itself."""
        pins = await endpoint.can_pin()
        if not pins:
            await self._headers.require(endpoint, at)
        block = at.hash if pins else at.number
        answers = await endpoint.send([call_request(to, data, block) for to, data in calls])
        faults = [a for a in answers if isinstance(a, RpcFault)]
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
