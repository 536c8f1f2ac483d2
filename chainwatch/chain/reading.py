"""One market at one block, and the client that reads it there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from chainwatch.chain.contract import Request
from chainwatch.chain.types import Block, Call, Overrides, Reverted

if TYPE_CHECKING:
    from chainwatch.chain.client import Rpc
    from chainwatch.chain.markets import Market

K = TypeVar("K")


class Reading(msgspec.Struct, frozen=True):
    """A market at a block; `row` are the fields that rows of a snapshot have in common.

    `overrides` are code that addresses have in all that is read: the market as it would be.
    `joins`: what begins to be read together shares a round trip.
    """

    rpc: Rpc
    market: Market
    block: Block
    overrides: Overrides | None = None
    joins: bool = False

    @property
    def pool(self) -> str:
        """The market's contract."""
        return self.market.pool

    @property
    def row(self) -> dict[str, Any]:
        """Market and block of a row; `snapshot` is set where rows are stored."""
        return {"snapshot": "", "market": self.market.name, "block_number": self.block.number}

    async def read(self, calls: Sequence[Call]) -> list[bytes | Reverted]:
        """Raw answers of many calls, in order."""
        if self.joins and self.overrides is None:
            return await self.rpc.read_joined(calls, self.block)
        return await self.rpc.read(calls, self.block, self.overrides)

    async def ask(self, requests: Sequence[Request]) -> list[Any]:
        """Decoded answers of many calls, in order. Raises as `Function.decode` does."""
        answers = await self.read([(request.to, request.data) for request in requests])
        return [r.decode(answer) for r, answer in zip(requests, answers, strict=True)]

    async def ask_each(
        self, keys: Iterable[K], requests: Callable[[K], Sequence[Request]]
    ) -> dict[K, tuple[Any, ...]]:
        """For each key the answers to its requests, all read together."""
        by_key = {key: requests(key) for key in keys}
        answers = iter(await self.ask([request for rs in by_key.values() for request in rs]))
        return {key: tuple(next(answers) for _ in rs) for key, rs in by_key.items()}
