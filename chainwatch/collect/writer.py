"""The writer of one run: batches collected into loads, each with its cursor."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from chainwatch.collect.source import Batch
from chainwatch.errors import ChainwatchError, StoreError
from chainwatch.tables.base import Row
from chainwatch.tables.columns import Columns, Holdings
from chainwatch.tables.log import Load, Reject

R = TypeVar("R", bound=Row)

FLUSH_SECONDS = 2.0
FLUSH_ROWS = 50_000
RAW_LIMIT = 10_000


class Lake(Protocol):
    """The part of a store that a run uses."""

    def hold(self, source: str, target: str = "") -> contextlib.AbstractContextManager[None]: ...
    def cursor(self, source: str, target: str = "") -> Any: ...
    def rows(self, row: type[R], where: str = "", values: Mapping[str, object] = {}) -> list[R]: ...
    def holdings(self, snapshot: str) -> Holdings: ...
    def append(
        self,
        rows: Sequence[Row],
        *,
        source: str,
        target: str = "",
        cursor: Any = None,
        columns: Sequence[Columns] = (),
    ) -> Load: ...
    def keep(self, body: bytes) -> str: ...


class DiscardingLake:
    """A lake that keeps nothing, for frames that are recorded only."""

    def hold(self, source: str, target: str = "") -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def cursor(self, source: str, target: str = "") -> Any:
        return None

    def rows(self, row: type[R], where: str = "", values: Mapping[str, object] = {}) -> list[R]:
        return []

    def holdings(self, snapshot: str) -> Holdings:
        raise StoreError("nothing is stored: this run records frames only")

    def append(
        self,
        rows: Sequence[Row],
        *,
        source: str,
        target: str = "",
        cursor: Any = None,
        columns: Sequence[Columns] = (),
    ) -> Load:
        count = len(rows) + sum(part.count for part in columns)
        return Load(source=source, target=target, stored_at=utc_now(), tables="{}", rows=count)

    def keep(self, body: bytes) -> str:
        raise StoreError("documents cannot be kept: this run records frames only")


Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


@contextlib.asynccontextmanager
async def flushing(writer: Writer) -> AsyncIterator[None]:
    """Store what is pending every few seconds while the body runs, and at its end."""

    async def tick() -> None:
        while writer.failure is None:
            await asyncio.sleep(FLUSH_SECONDS)
            with contextlib.suppress(ChainwatchError):  # raised by the next add
                await writer.flush()

    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        await writer.flush()


class Writer:
    """Collects batches into loads, each with the cursor of its last batch."""

    def __init__(
        self, store: Lake, source: str, target: str, stored: Callable[[Load], None]
    ) -> None:
        self._store = store
        self._source = source
        self._target = target
        self._stored = stored
        self._pending: list[Row] = []
        self._columns: list[Columns] = []
        self._cursor: Any = None
        self._lock = asyncio.Lock()
        self.rows = 0
        self.loads = 0
        self.failure: Exception | None = None

    async def add(self, batch: Batch) -> None:
        if self.failure is not None:
            raise self.failure
        self._pending += batch.rows
        self._columns += batch.columns
        if batch.cursor is not None:
            self._cursor = batch.cursor
        if len(self._pending) + sum(part.count for part in self._columns) >= FLUSH_ROWS:
            await self.flush()

    def reject(self, row: Reject) -> None:
        self._pending.append(row)

    async def flush(self) -> None:
        """Store what is pending; returns when nothing is being written any more.

        Shielded: a load that is begun is finished, counted and reported, also where the caller is
        cancelled.
        """
        flushing = asyncio.ensure_future(self._flush())
        # Its failure is kept for the next call, also where this caller was cancelled.
        flushing.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(flushing)

    async def _flush(self) -> None:
        async with self._lock:
            if self.failure is not None:
                raise self.failure
            if not self._pending and not self._columns and self._cursor is None:
                return
            rows, columns, cursor = self._pending, self._columns, self._cursor
            self._pending, self._columns, self._cursor = [], [], None
            try:
                load = await asyncio.to_thread(
                    self._store.append,
                    rows,
                    source=self._source,
                    target=self._target,
                    cursor=cursor,
                    columns=columns,
                )
            except Exception as failure:
                self.failure = failure
                raise
            self.rows += load.rows
            self.loads += 1
            self._stored(load)
