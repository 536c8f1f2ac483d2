"""Block headers: where the chain ends, and which blocks left it in a reorganisation."""

from __future__ import annotations

from typing import NoReturn

from chainwatch.chain.answers import Answer, Request, WireBlock, header_request, read_header
from chainwatch.chain.endpoint import Endpoint
from chainwatch.chain.fallback import Endpoints
from chainwatch.chain.faults import Behind
from chainwatch.chain.types import Block
from chainwatch.errors import Reorged

_KEPT_HASHES = 4096  # evidence against an endpoint that goes back


class Headers:
    """The headers that endpoints have shown; what contradicts a newer one has left the chain."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._highest = 0
        self._hashes: dict[int, str] = {}  # by block number, of the chain as last shown
        self._gone: set[str] = set()  # hashes shown before that have left it

    # --- of all endpoints ---------------------------------------------------------------------

    async def block(self, number: int | str = "latest") -> Block:
        """The header at a height (or tag) on the chain as it is now."""
        return await self._endpoints.ask(lambda e: self.header(e, number), f"block {number}")

    async def pin(self, lag: int = 0) -> Block:
        """The block `lag` below the highest head that any endpoint has shown, never below 0.

        An endpoint that falls behind moves nothing backwards; a chain that was replaced does.
        """
        heads = await self._endpoints.ask_all(lambda e: self.header(e, "latest"))
        head = max(heads, key=lambda b: b.number) if heads else await self.block("latest")
        self._highest = max(self._highest, head.number)
        if self._highest - lag == head.number:
            return head
        try:
            return await self.block(max(0, self._highest - lag))
        except Reorged:
            self._highest = max(self._highest, head.number)
            return await self.block(max(0, self._highest - lag))

    async def is_canonical(self, block: Block) -> bool:
        """Whether the block is still the chain's at its height."""
        if self.has_left(block):
            return False
        try:
            return (await self.block(block.number)).hash == block.hash.lower()
        except Reorged:
            return False

    def has_left(self, block: Block) -> bool:
        """Whether a header shown since has replaced the block."""
        return block.hash.lower() in self._gone

    def reorged(self, at: Block) -> Reorged:
        """The error of a block that is no longer the chain's."""
        return Reorged(
            f"{self._endpoints.chain}: block {at.number} is no longer {at.hash[:10]}… on the "
            "chain: read again"
        )

    # --- of one endpoint ----------------------------------------------------------------------
    # These raise Trouble where another endpoint may do better.

    async def header(self, endpoint: Endpoint, number: int | str) -> Block:
        """The endpoint's header at a height or tag."""
        (answer,) = await endpoint.send([header_request(number)])
        return await self._read(endpoint, answer, number)

    async def with_header(
        self, endpoint: Endpoint, number: int, request: Request
    ) -> tuple[Block, Answer]:
        """A request about blocks up to `number`, after proof that the endpoint has that block.

        Without the proof, an endpoint that is behind answers with silence: no logs, no code.
        The header is asked for first, so that a reorganisation in between shows later.
        """
        header, answer = await endpoint.send([header_request(number), request], splits=False)
        return await self._read(endpoint, header, number), answer

    async def require(self, endpoint: Endpoint, at: Block) -> None:
        """Raise Reorged unless the endpoint's chain holds the block."""
        if (await self.header(endpoint, at.number)).hash != at.hash.lower():
            raise self.reorged(at)

    async def require_in(self, endpoint: Endpoint, answer: Answer, at: Block) -> None:
        """The same of the endpoint's answer to a request for that header."""
        if (await self._read(endpoint, answer, at.number)).hash != at.hash.lower():
            raise self.reorged(at)

    async def _read(self, endpoint: Endpoint, answer: Answer, number: int | str) -> Block:
        wire = read_header(answer, number)
        if wire is None:
            await self._explain_missing(endpoint, number)
        return self._remember(wire)

    def _remember(self, wire: WireBlock) -> Block:
        """Note the header and its parent as the chain; what contradicts them has left it."""
        block = Block(int(wire.number, 16), wire.hash.lower(), int(wire.timestamp, 16))
        if block.number:
            self._note(block.number - 1, wire.parent_hash.lower())
        self._note(block.number, block.hash)
        return block

    def _note(self, number: int, block_hash: str) -> None:
        if self._hashes.get(number, block_hash) != block_hash:
            self._gone.update(self._hashes.pop(n) for n in [*self._hashes] if n >= number)
            self._highest = min(self._highest, number)
        self._hashes[number] = block_hash
        self._gone.discard(block_hash)
        while len(self._hashes) > _KEPT_HASHES:
            del self._hashes[next(iter(self._hashes))]

    async def _explain_missing(self, endpoint: Endpoint, number: int | str) -> NoReturn:
        """Tell an endpoint that is behind from a chain that became shorter.

        It is the chain if a block shown before, at a height the endpoint has, is now another.
        """
        lost = self._hashes.get(number) if isinstance(number, int) else None
        head = await self.header(endpoint, "latest") if number != "latest" else None
        if head is None:
            raise Behind("has no latest block")
        below = max((n for n in self._hashes if n < head.number), default=None)
        if lost is not None and below is not None:
            (answer,) = await endpoint.send([header_request(below)])
            if (wire := read_header(answer, below)) is not None:
                self._remember(wire)
        if lost in self._gone:
            raise Reorged(
                f"{self._endpoints.chain}: block {number} left the chain, which now ends at block "
                f"{head.number}: read again"
            )
        raise Behind(f"is at block {head.number} and does not have block {number}")
