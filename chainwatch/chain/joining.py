"""Reads that begin together are one read: they share its round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from chainwatch.chain.types import Block, Call, Reverted

Answers = list[bytes | Reverted]


class _Group:
    """Reads that go out as one, and the task that sends them."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Sequence[Call], asyncio.Future[Answers]]] = []
        self.sending: asyncio.Task[None] | None = None


class JoinedReads:
    """Joins what is to be read at a block within one turn of the event loop.

    `read` reads many calls at a block. A failure is one of all reads that were joined.
    """

    def __init__(self, read: Callable[[Sequence[Call], Block], Awaitable[Answers]]) -> None:
        self._read = read
        self._waiting: dict[Block, _Group] = {}

    async def read(self, calls: Sequence[Call], at: Block) -> Answers:
        """The answers to these calls, in order."""
        group = self._waiting.get(at)
        if group is None:
            group = self._waiting[at] = _Group()
            group.sending = asyncio.create_task(self._send(group, at))
        future: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        group.waiting.append((calls, future))
        try:
            return await future
        finally:
            if group.sending is not None and all(f.done() for _, f in group.waiting):
                group.sending.cancel()
                self._close(group, at)

    async def _send(self, group: _Group, at: Block) -> None:
        await asyncio.sleep(0)  # whoever begins to read in this turn joins
        self._close(group, at)
        try:
            answers = iter(await self._read([c for calls, _ in group.waiting for c in calls], at))
        except Exception as failure:
            for _, future in group.waiting:
                if not future.done():
                    future.set_exception(failure)
            return
        for calls, future in group.waiting:
            own = [next(answers) for _ in calls]
            if not future.done():
                future.set_result(own)

    def _close(self, group: _Group, at: Block) -> None:
        """Let nobody join any more."""
        if self._waiting.get(at) is group:
            del self._waiting[at]
