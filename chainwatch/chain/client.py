"""The client of one chain: blocks, contract state and event logs through JSON-RPC endpoints."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from chainwatch.chain.answers import Request, decode_answer
from chainwatch.chain.endpoint import Endpoint
from chainwatch.chain.fallback import Endpoints
from chainwatch.chain.faults import RpcFault, asks_again, refusal
from chainwatch.chain.headers import Headers
from chainwatch.chain.logs import LogReader
from chainwatch.chain.state import StateReader
from chainwatch.chain.transport import Transport
from chainwatch.chain.types import (
    Access,
    Block,
    Call,
    Limits,
    LogRange,
    Overrides,
    Program,
    Reverted,
    Stats,
)
from chainwatch.errors import NetworkError, RpcError
from chainwatch.net.http import Http

_ANY = msgspec.json.Decoder()
CHECK_TRIES = 2  # rounds of the first contact


class Rpc:
    """One chain through one or more endpoints, the first of them preferred.

    When no endpoint helps within `Limits.tries` rounds, one NetworkError (RpcError where an
    endpoint answered) gives the answer of each host.
    """

    def __init__(
        self,
        http: Http,
        urls: Sequence[str],
        *,
        chain: str,
        chain_id: int,
        settings: Limits = Limits(),  # noqa: B008 - frozen
        random: random.Random | None = None,
    ) -> None:
        self.urls = tuple(urls)
        self.chain = chain
        self.chain_id = chain_id
        transport = Transport(http, urls, settings)
        self._stats = transport.stats
        self._endpoints = Endpoints(urls, transport, chain=chain, chain_id=chain_id, random=random)
        self._headers = Headers(self._endpoints)
        self._state = StateReader(self._endpoints, self._headers)
        self._logs = LogReader(self._endpoints, self._headers)

    def __repr__(self) -> str:
        return f"Rpc({self.chain}: {', '.join(self._endpoints.names)})"

    @property
    def host(self) -> str:
        """The endpoints that answered so far, masked."""
        return ", ".join(self._endpoints.answered)

    @property
    def stats(self) -> Stats:
        """What was sent and received so far."""
        return self._stats

    async def check(self) -> None:
        """Ask every endpoint for its chain id.

        Raises ConfigError where one serves another chain, NetworkError where none answers; an
        endpoint that does not answer is put aside and asked again when it is needed.
        """
        if not await self._endpoints.ask_all(_do_nothing):
            # Nothing has been printed yet: a wrong URL has to be reported soon.
            tries = min(CHECK_TRIES, self._endpoints.limits.tries)
            await self._endpoints.ask(_do_nothing, "eth_chainId", tries)

    # --- single calls and batches -------------------------------------------------------------

    async def request(self, method: str, params: list[Any]) -> Any:
        """One call; RpcError where the endpoints answer it with an error."""
        (answer,) = await self.batch([(method, params)])
        if isinstance(answer, RpcFault):
            raise RpcError(f"{self.chain}: {method}: {answer}")
        return answer

    async def batch(self, requests: Sequence[Request]) -> list[Any | RpcFault]:
        """Many calls, the results in their order; an entry that keeps failing is an RpcFault.

        Only the entries that failed are asked again. A call that failed on the chain itself is
        not asked again.
        """
        answers: list[Any] = [None] * len(requests)

        async def part(start: int, stop: int) -> None:
            left = list(range(start, stop))

            async def post(endpoint: Endpoint) -> None:
                sent = left[: endpoint.batch.now]
                received = await endpoint.send([requests[i] for i in sent])
                for i, answer in zip(sent, received, strict=True):
                    is_fault = isinstance(answer, RpcFault)
                    answers[i] = answer if is_fault else decode_answer(_ANY, answer, "a result")
                again = [i for i in sent if asks_again(answers[i], len(sent) == 1)]
                # Those that failed go to the end, so that they hold up nothing.
                left[:] = left[len(sent) :] + again
                if len(again) == len(sent):
                    raise refusal(answers[again[0]])

            methods = " ".join(sorted({method for method, _ in requests[start:stop]}))
            try:
                while left:
                    await self._endpoints.ask(post, methods)
            except NetworkError:
                if not all(isinstance(answers[i], RpcFault) for i in left):
                    raise

        await self._endpoints.spread(part, len(requests), self._endpoints.preferred.batch.now)
        return answers

    # --- blocks -------------------------------------------------------------------------------

    async def block(self, number: int | str = "latest") -> Block:
        """The header at a height (or tag) on the chain as it is now."""
        return await self._headers.block(number)

    async def pin(self, lag: int = 0) -> Block:
        """The block `lag` below the highest head that any endpoint has shown, never below 0."""
        return await self._headers.pin(lag)

    async def canonical(self, block: Block) -> bool:
        """Whether the block is still the chain's at its height."""
        return await self._headers.is_canonical(block)

    # --- contract state -----------------------------------------------------------------------

    async def read(
        self, calls: Sequence[Call], at: Block, overrides: Overrides | None = None
    ) -> list[bytes | Reverted]:
        """The answers of many calls at exactly this block, in order.

        `overrides` are code that addresses have within these calls (NetworkError where no endpoint
        takes them). Raises Reorged where the block is no longer the chain's; a call that fails on
        the chain is `Reverted`.
        """
        return await self._state.read(calls, at, overrides)

    async def read_joined(self, calls: Sequence[Call], at: Block) -> list[bytes | Reverted]:
        """As `read`, in one with all that is read at the block within this turn of the loop."""
        return await self._state.read_joined(calls, at)

    async def run(
        self, program: Program, items: Sequence[bytes], at: Block
    ) -> list[tuple[int, bytes]] | None:
        """What a program answers for all items at exactly this block: (items, answer) of each part.

        None where it reverts, or no endpoint runs it. Raises Reorged as `read` does.
        """
        return await self._state.run(program, items, at)

    async def accesses(self, calls: Sequence[Call], at: Block) -> list[Access | None]:
        """What each call touches; None where it fails, or where no endpoint tells."""
        return await self._state.accesses(calls, at)

    async def codes(self, addresses: Sequence[str], at: Block) -> dict[str, bytes]:
        """The code of each address at a block."""
        return await self._state.codes(addresses, at)

    async def can_override(self) -> bool:
        """Whether an endpoint takes code that replaces that of an address within a call."""
        return await self._state.can_override()

    async def has_code(self, address: str, number: int) -> bool:
        """Whether a contract is at the address at that height; needs an archive for old ones."""
        return await self._state.has_code(address, number)

    async def deployment_block(self, address: str, last: int) -> int:
        """The first block with code at the address, found by bisection of 0 … last."""
        return await self._state.deployment_block(address, last)

    # --- event logs ---------------------------------------------------------------------------

    def logs(
        self, addresses: Sequence[str], topics: Sequence[Any], first: int, last: int
    ) -> AsyncIterator[LogRange]:
        """All matching logs of first … last, as adjoining ranges in ascending order.

        Nothing is left out: a range that no endpoint delivers completely ends in a NetworkError.
        """
        return self._logs.read(addresses, topics, first, last)


async def _do_nothing(endpoint: Endpoint) -> None:
    """The work of an endpoint that is only to prove its chain id."""
