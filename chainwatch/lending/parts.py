"""Long lists of accounts, read in parts: a few parts are under way at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

ACCOUNTS_PER_PART = 2_000
ACCOUNTS_PER_READ = 500
READS_AHEAD = 3

T = TypeVar("T")


def in_parts(
    items: Sequence[str], size: int = ACCOUNTS_PER_PART
) -> Iterator[tuple[int, Sequence[str]]]:
    """The items in parts that are read together: (items done after it, part)."""
    for start in range(0, len(items), size):
        part = items[start : start + size]
        yield start + len(part), part


async def read_in_parts(
    items: Sequence[str], read: Callable[[Sequence[str]], Awaitable[T]]
) -> AsyncIterator[tuple[int, T]]:
    """(items done after a part, what `read` returned for it), in order.

    A few parts are under way at once: while one is decoded, the endpoint works on the next.
    """
    pending: deque[tuple[int, asyncio.Task[T]]] = deque()
    parts = in_parts(items, ACCOUNTS_PER_READ)
    try:
        while True:
            while len(pending) < READS_AHEAD and (part := next(parts, None)) is not None:
                pending.append((part[0], asyncio.ensure_future(read(part[1]))))
            if not pending:
                return
            done, task = pending.popleft()
            yield done, await task
    finally:
        for _, task in pending:
            task.cancel()
        await asyncio.gather(*(task for _, task in pending), return_exceptions=True)
