"""Runs a channel as a stream: its list of contracts, its connections, its frames and its coverage.

    async def liquidations(feed: Feed) -> AsyncIterator[Batch]:
        async for batch in stream.run(feed, CHANNEL):
            yield batch

A frame goes one way: `Connection` receives it, `Stream` parses it and keeps its rows, and
`CoverageLog` counts it. A run in which something could not be parsed ends with `Unparsed`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any

from chainwatch.collect.source import Batch, Feed
from chainwatch.errors import NetworkError, Unparsed
from chainwatch.exchanges.channel import Channel, Timing
from chainwatch.exchanges.connection import Connection
from chainwatch.exchanges.contracts import READ_ERRORS, Contract, contract_of, instrument
from chainwatch.exchanges.coverage import CoverageLog
from chainwatch.exchanges.reader import ParsedMessage, Reader, reason_of
from chainwatch.net.http import Rest
from chainwatch.net.socket import SocketFrame, inflate
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Coverage, ExchangeLiquidation, Instrument
from chainwatch.text import visible

# Liquidations remembered to recognise those that are sent again; the older half is dropped at once.
REMEMBERED = 200_000
# A reader that is so many rows ahead of the writer waits for it.
BACKLOG = 100_000
# Rejects kept per minute; further ones are counted only.
REJECTS_KEPT = 100


class Silent(NetworkError):
    """A stream that was silent or could not be reached to the end."""


async def run(feed: Feed, channel: Channel, timing: Timing | None = None) -> AsyncGenerator[Batch]:
    """Batches of a channel until `feed.stopped`.

    Raises `Silent` if it is not alive then, and `Unparsed` if something could not be parsed.
    """
    batches = Stream(feed, channel, timing or Timing()).batches()
    async with contextlib.aclosing(batches):
        async for batch in batches:
            yield batch


class Stream:
    """One channel over as many connections as it needs."""

    def __init__(self, feed: Feed, channel: Channel, timing: Timing) -> None:
        self._feed = feed
        self._channel = channel
        self._timing = timing
        self._rest = Rest(feed.http, feed.url("url", channel.rest), timeout=timing.connect)
        self._reader = Reader(
            channel.source, channel.venue, channel.market, provenance=feed.provenance
        )
        self._to_store = asyncio.Event()
        self.coverage = CoverageLog(feed, channel, timing.span, self._to_store.set)
        self._connections: list[Connection] = []
        self._rows: list[ExchangeLiquidation] = []
        self._instruments: list[Row] = []
        # The contracts as they are stored.
        self._stored: dict[str, Contract] = {}
        self._sent_before: dict[tuple[str, str, datetime, str], None] = {}
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._relist = asyncio.Event()
        self._reject_minute = (0, 0)

    async def batches(self) -> AsyncGenerator[Batch]:
        tasks: set[asyncio.Task[None]] = set()
        stopping: asyncio.Future[Any] = asyncio.ensure_future(self._feed.stopped.wait())
        try:
            await self._restore()
            tasks.add(asyncio.create_task(self._keep_list(tasks)))
            while not stopping.done():
                await self._next(stopping, tasks)
                if batch := self.take():
                    yield batch
        finally:
            stopping.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(stopping, *tasks, return_exceptions=True)
        alive, reason = self.coverage.finish()
        if batch := self.take():
            yield batch
        if not alive:
            raise Silent(f"{self._channel.source} was not alive at the end: {reason}")
        if rejected := self.coverage.rejected:
            raise Unparsed(rejected)

    async def _next(self, stopping: asyncio.Future[Any], tasks: set[asyncio.Task[None]]) -> None:
        """Wait until there is something to store, or a span is due."""
        waking: asyncio.Future[Any] = asyncio.ensure_future(self._to_store.wait())
        awaited: set[asyncio.Future[Any]] = {waking, stopping, *tasks}
        try:
            done, _ = await asyncio.wait(
                awaited,
                timeout=self._timing.span / 10,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            waking.cancel()
        for task in [t for t in tasks if t in done]:
            tasks.discard(task)
            task.result()  # raises: a task ends only by a defect of the program
        self.coverage.advance()

    def take(self) -> Batch | None:
        self._to_store.clear()
        rows: list[Row] = [*self._instruments, *self._rows, *self.coverage.take()]
        self._instruments.clear()
        self._rows.clear()
        self._has_room.set()
        if rows:
            total = self.coverage.total_rows
            self._feed.progress(f"{self._channel.source} liquidations", total)
        return Batch(rows) if rows else None

    # --- the list of contracts -----------------------------------------------------------

    async def _restore(self) -> None:
        """Continue from what the last run stored: its coverage and its contracts."""
        values = {"source": self._channel.source}
        last = await self._feed.stored(
            Coverage, "source = $source ORDER BY to_time DESC LIMIT 1", **values
        )
        if last:
            self.coverage.resume(last[0])
        for row in await self._feed.stored(
            Instrument, "source = $source ORDER BY valid_from", **values
        ):
            self._stored[row.symbol] = contract_of(row)

    async def _keep_list(self, tasks: set[asyncio.Task[None]]) -> None:
        """Read the list of contracts now and every hour, and subscribe to what is new."""
        while True:
            self._relist.clear()
            wait = self._timing.relist
            listed, problem = await self._read_list()
            if problem:
                wait = self._timing.relist_retry
                listed = [] if self._reader.contracts else list(self._stored.values())
                if not self._reader.contracts:
                    from_before = f"using the {len(listed):,} contracts of the last run"
                    outcome = from_before if listed else "trying again"
                    self._feed.note(f"{self._channel.source}: {problem}; {outcome}")
            else:
                self._keep_instruments(listed)
            if listed:
                self._reader.contracts = {c.symbol: c for c in listed}
                self.coverage.listed = len(listed)
            if self._channel.accounts is not None and (refusal := await self._read_accounts()):
                wait, problem = self._timing.relist_retry, refusal
            if self._can_subscribe(listed):
                self._assign_topics(tasks)
            else:
                self.coverage.explain(problem)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._relist.wait()
                    await asyncio.sleep(self._timing.relist_retry)

    def _can_subscribe(self, listed: Sequence[Contract]) -> bool:
        """Whether what the topics are made of is known."""
        if self._channel.accounts is not None and not self._reader.accounts:
            return False
        return bool(listed) or not self._channel.per_contract

    async def _read_accounts(self) -> str:
        """Take the addresses that the venue names now; why there are none, or nothing."""
        assert self._channel.accounts is not None
        try:
            addresses = await self._channel.accounts(self._rest)
        except NetworkError as failure:
            return self._without_accounts(f"{failure}")
        except READ_ERRORS as failure:
            return self._without_accounts(reason_of(failure))
        if (current := frozenset(addresses)) != self._reader.accounts:
            listing = ", ".join(sorted(current))
            self._feed.note(f"{self._channel.source}: fills of {len(current)} addresses: {listing}")
            self._reader.accounts = current
        return ""

    def _without_accounts(self, reason: str) -> str:
        problem = f"no list of addresses: {reason}"
        kept = len(self._reader.accounts)
        outcome = f"using the {kept} known before" if kept else "trying again"
        self._feed.note(f"{self._channel.source}: {problem}; {outcome}")
        return problem

    async def _read_list(self) -> tuple[list[Contract], str]:
        """The contracts that the venue lists, or why there are none."""
        try:
            listed = await self._channel.contracts(self._rest)
        except NetworkError as failure:
            return [], f"no list of contracts: {failure}"
        except READ_ERRORS as failure:
            return [], f"the list of contracts cannot be parsed: {reason_of(failure)}"
        return listed, "" if listed else "the list of contracts is empty"

    def _keep_instruments(self, listed: Sequence[Contract]) -> None:
        """Store contracts that are new or changed."""
        channel, now = self._channel, self._feed.now()
        for contract in listed:
            row = instrument(channel.source, channel.venue, contract, channel.market, now)
            stored = contract_of(row)
            if self._stored.get(contract.symbol) != stored:
                self._stored[contract.symbol] = stored
                self._instruments.append(row)
        for symbol in self._reader.unlisted.keys() & {c.symbol for c in listed}:
            del self._reader.unlisted[symbol]
        self._to_store.set()

    def _assign_topics(self, tasks: set[asyncio.Task[None]]) -> None:
        """Give each topic that has none a connection, a new one where the others are full."""
        wanted = self._channel.topics(self._reader.contracts)
        wanted += map(self._channel.account_topic, sorted(self._reader.accounts))
        assigned = {topic for connection in self._connections for topic in connection.topics}
        for connection in self._connections:
            connection.keep_only(set(wanted))
        for topic in wanted:
            if topic in assigned:
                continue
            target = next((c for c in self._connections if c.has_room(topic)), None)
            if target is None:
                target = Connection(
                    self._feed, self._channel, self._timing, self.coverage, self.handle
                )
                self._connections.append(target)
                tasks.add(asyncio.create_task(target.serve()))
            target.add(topic)

    # --- frames --------------------------------------------------------------------------

    async def handle(self, frame: SocketFrame, received: datetime) -> ParsedMessage:
        """Parse one frame, keep its rows and rejects, and count it; what it means."""
        reader = self._reader
        reader.received = received
        parsed = self._parse(frame, received)
        self.coverage.count_frame(received, parsed)
        for text, reason in parsed.rejects:
            self._reject(text, reason)
        if parsed.rows:
            self._keep(parsed.rows)
            if len(self._rows) > BACKLOG:
                self._has_room.clear()
                await self._has_room.wait()
        if reader.unlisted:
            self._reject_unlisted()
        return parsed

    def _parse(self, frame: SocketFrame, received: datetime) -> ParsedMessage:
        data = frame.data
        try:
            if self._channel.packed:
                if not frame.binary:
                    raise ValueError("expected a gzip frame, got a text frame")
                data = inflate(data)
            elif frame.binary:
                raise ValueError("expected a text frame, got a binary frame")
            parsed = self._channel.parse(data, self._reader)
        except READ_ERRORS as failure:
            parsed = ParsedMessage(rejects=[(data.decode("utf-8", "replace"), reason_of(failure))])
        self._feed.record(data, received)
        return parsed

    def _keep(self, rows: Sequence[ExchangeLiquidation]) -> None:
        coverage, sent_before = self.coverage, self._sent_before
        for row in rows:
            key = row.market, row.symbol, row.time, row.event
            if key in sent_before:
                coverage.count_duplicate()
                continue
            sent_before[key] = None
            self._rows.append(row)
            coverage.count_row(row)
        if len(sent_before) > REMEMBERED:
            for key in list(sent_before)[: REMEMBERED // 2]:
                del sent_before[key]
        self._to_store.set()

    def _reject(self, text: str, reason: str) -> None:
        minute = int(time.monotonic() // 60)
        kept = self._reject_minute[1] if self._reject_minute[0] == minute else 0
        self._reject_minute = (minute, kept + 1)
        if kept < REJECTS_KEPT:
            self._feed.reject(text, reason)
        elif kept == REJECTS_KEPT:
            self._feed.note(f"{self._channel.source}: more than {REJECTS_KEPT} rejects a minute")
        self._to_store.set()

    def _reject_unlisted(self) -> None:
        """Reject once each contract that is not listed, and read the list again.

        Its rows are kept, without what needs the list.
        """
        for symbol, raw in self._reader.unlisted.items():
            if raw:
                self._reject(
                    raw,
                    f"contract {visible(symbol, 40)!r} is not in the venue's list: its row is "
                    "kept without what needs the list",
                )
                self._reader.unlisted[symbol] = ""
                self._relist.set()
