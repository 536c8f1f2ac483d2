"""The one stream: connects a channel, keeps it alive, and says what it did not see.

    async def liquidations(feed: Feed) -> AsyncIterator[Batch]:
        async for batch in stream.run(feed, CHANNEL):
            yield batch

A subscription counts once it is acknowledged *and* something arrives: venues acknowledge topics
that they then never send. What proves life is the canary, a stream on the same socket that is
never silent, or a liquidation. A span of coverage ends at the last proof of life, so that a dead
socket is never claimed as covered, however late its death is noticed.

A frame or row that cannot be read may be a liquidation: from the last proof before it until the
next liquidation that can be read, the feed is `rejecting`, which is not covered. A frame in which
one row can be read and another cannot ends what it begins. A run in which this happened ends with
`Unread`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from chainwatch.collect.source import Batch, Feed
from chainwatch.errors import NetworkError, Unread
from chainwatch.exchanges.channel import NOW, Channel
from chainwatch.exchanges.contracts import READ_ERRORS, Contract, contract_of, instrument
from chainwatch.exchanges.reader import Reader, Seen, reason_of, unread
from chainwatch.net.errors import Closed, Failed, Refused
from chainwatch.net.http import Rest
from chainwatch.net.retry import Backoff
from chainwatch.net.socket import Frame, Socket, inflate
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Coverage, ExchangeLiquidation, Instrument
from chainwatch.text import visible

# Liquidations remembered to recognise those that are sent again; half are forgotten at a time.
REMEMBERED = 200_000
# A reader that is so far ahead of the writer stops reading until that has caught up.
BACKLOG = 100_000
# Frames read in a row before others get a turn.
TURN = 200
# Rejects kept per minute; further ones are counted only.
REJECTS_KEPT = 100
# What is told of a feed that rejects is told again after this many seconds at the earliest.
TOLD_AGAIN = 60.0


class Timing(msgspec.Struct, frozen=True):
    """How long a stream waits for what, in seconds."""

    ack: float = 5.0
    stable: float = 5.0
    span: float = 30.0
    relist: float = 3_600.0
    relist_retry: float = 30.0
    backoff_base: float = 0.25
    backoff_cap: float = 30.0
    connect: float = 15.0
    # Silence is noticed after this many canary periods.
    silence: float = 2.5


class Silent(NetworkError):
    """A feed that was silent or could not be reached to the end."""


async def run(feed: Feed, channel: Channel, timing: Timing | None = None) -> AsyncGenerator[Batch]:
    """Batches of a channel until `feed.stopped`.

    Raises `Silent` if it is not alive then, and `Unread` if something could not be read.
    """
    batches = _Stream(feed, channel, timing or Timing()).batches()
    async with contextlib.aclosing(batches):
        async for batch in batches:
            yield batch


class _Stream:
    """One channel over as many connections as it needs."""

    def __init__(self, feed: Feed, channel: Channel, timing: Timing) -> None:
        self.feed = feed
        self.channel = channel
        self.timing = timing
        self.url = feed.url("ws", channel.ws)
        self.rest = Rest(feed.http, feed.url("url", channel.rest), timeout=timing.connect)
        self.reader = Reader(
            channel.source, channel.venue, channel.market, provenance=feed.provenance
        )
        self.spans = _Spans(self, feed.now())
        self.parts: list[_Connection] = []
        self.listed: int | None = None
        self._rows: list[ExchangeLiquidation] = []
        self._news: list[Row] = []
        self._specs: dict[str, Contract] = {}
        self._seen: dict[tuple[str, str, datetime, str], None] = {}
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._relist = asyncio.Event()
        self._reject_minute = (0, 0)

    async def batches(self) -> AsyncGenerator[Batch]:
        tasks: set[asyncio.Task[None]] = set()
        stopping: asyncio.Future[Any] = asyncio.ensure_future(self.feed.stopped.wait())
        try:
            await self._remember()
            tasks.add(asyncio.create_task(self._keep_list(tasks)))
            while not stopping.done():
                await self._next(stopping, tasks)
                if batch := self._take():
                    yield batch
        finally:
            stopping.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(stopping, *tasks, return_exceptions=True)
        alive, reason = self.spans.end()
        if batch := self._take():
            yield batch
        if not alive:
            raise Silent(f"{self.channel.source} was not alive at the end: {reason}")
        if told := self.spans.unread:
            raise Unread(told)

    async def _next(self, stopping: asyncio.Future[Any], tasks: set[asyncio.Task[None]]) -> None:
        """Wait until there is something to store, or a span is due."""
        waking: asyncio.Future[Any] = asyncio.ensure_future(self._wake.wait())
        awaited: set[asyncio.Future[Any]] = {waking, stopping, *tasks}
        try:
            done, _ = await asyncio.wait(
                awaited,
                timeout=self.timing.span / 10,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            waking.cancel()
        for task in [t for t in tasks if t in done]:
            tasks.discard(task)
            task.result()  # a task ends only where the program is wrong, and then it is told
        self.spans.tick()

    def _take(self) -> Batch | None:
        self._wake.clear()
        rows: list[Row] = [*self._news, *self._rows, *self.spans.take()]
        self._news.clear()
        self._rows.clear()
        self._room.set()
        if rows:
            self.feed.progress(f"{self.channel.source} liquidations", self.spans.total_rows)
        return Batch(rows) if rows else None

    # --- the list of contracts -----------------------------------------------------------

    async def _remember(self) -> None:
        """Say what was not watched since the last run, and know the contracts of then."""
        values = {"source": self.channel.source}
        last = await self.feed.stored(
            Coverage, "source = $source ORDER BY to_time DESC LIMIT 1", **values
        )
        if last:
            self.spans.bridge(last[0])
        for row in await self.feed.stored(
            Instrument, "source = $source ORDER BY valid_from", **values
        ):
            self._specs[row.symbol] = contract_of(row)

    async def _keep_list(self, tasks: set[asyncio.Task[None]]) -> None:
        """Read the list of contracts now and every hour, and subscribe to what is new."""
        while True:
            self._relist.clear()
            wait = self.timing.relist
            try:
                listed = await self.channel.contracts(self.rest)
            except NetworkError as failure:
                problem = f"no list of contracts: {failure}"
            except READ_ERRORS as failure:
                problem = f"the list of contracts cannot be read: {reason_of(failure)}"
            else:
                problem = "" if listed else "the list of contracts is empty"
            if problem:
                wait = self.timing.relist_retry
                listed = [] if self.reader.contracts else list(self._specs.values())
                if not self.reader.contracts:
                    known = f"{len(listed):,} contracts are known from before" if listed else ""
                    self.feed.note(f"{self.channel.source}: {problem}; {known or 'asking again'}")
            else:
                self._keep_specs(listed)
            if listed:
                self.reader.contracts = {c.symbol: c for c in listed}
                self.listed = len(listed)
            if listed or not self.channel.per_contract:
                self._assign(tasks)
            else:
                self.spans.blame(problem)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._relist.wait()
                    await asyncio.sleep(self.timing.relist_retry)

    def _keep_specs(self, listed: Sequence[Contract]) -> None:
        """Store specifications that are new or changed."""
        now = self.feed.now()
        for contract in listed:
            row = instrument(
                self.channel.source, self.channel.venue, contract, self.channel.market, now
            )
            stored = contract_of(row)
            if self._specs.get(contract.symbol) != stored:
                self._specs[contract.symbol] = stored
                self._news.append(row)
        for symbol in self.reader.unlisted.keys() & {c.symbol for c in listed}:
            del self.reader.unlisted[symbol]
        self.wake()

    def _assign(self, tasks: set[asyncio.Task[None]]) -> None:
        """Give each topic that has none a connection, a new one where the others are full."""
        channel = self.channel
        wanted = channel.topics(self.reader.contracts)
        taken = {topic for part in self.parts for topic in part.topics}
        for part in self.parts:
            part.gone(set(wanted))
        for topic in wanted:
            if topic in taken:
                continue
            roomy = next((p for p in self.parts if p.has_room(topic)), None)
            if roomy is None:
                roomy = _Connection(self, len(self.parts) + 1)
                self.parts.append(roomy)
                tasks.add(asyncio.create_task(roomy.serve()))
            roomy.add(topic)

    # --- frames --------------------------------------------------------------------------

    async def hear(self, frame: Frame) -> Seen:
        """Read one frame, keep its rows, and say what it means."""
        channel, reader = self.channel, self.reader
        now = reader.received = self.feed.now()
        data = frame.data
        try:
            if channel.packed:
                if not frame.binary:
                    raise ValueError("a text frame where gzip is documented")
                data = inflate(data)
            elif frame.binary:
                raise ValueError("a binary frame where text is documented")
            seen = channel.parse(data, reader)
        except READ_ERRORS as failure:
            text = data.decode("utf-8", "replace")
            seen = Seen(rejects=[(text, reason_of(failure))])
        self.feed.record(data, now)
        self.spans.heard(now, seen)
        for text, reason in seen.rejects:
            self._reject(text, reason)
        if seen.rows:
            self._keep(seen.rows)
            if len(self._rows) > BACKLOG:
                self._room.clear()
                await self._room.wait()
        if reader.unlisted:
            self._ask_for_unlisted()
        return seen

    def _keep(self, rows: Sequence[ExchangeLiquidation]) -> None:
        spans, seen = self.spans, self._seen
        for row in rows:
            key = row.market, row.symbol, row.time, row.event
            if key in seen:
                spans.duplicates += 1
                continue
            seen[key] = None
            self._rows.append(row)
            spans.rows += 1
            spans.total_rows += 1
            spans.event_heard = row.received_at
            if spans.last_event is None or row.time > spans.last_event:
                spans.last_event = row.time
        if len(seen) > REMEMBERED:
            for key in list(seen)[: REMEMBERED // 2]:
                del seen[key]
        self.wake()

    def _reject(self, text: str, reason: str) -> None:
        minute = int(time.monotonic() // 60)
        kept = self._reject_minute[1] if self._reject_minute[0] == minute else 0
        self._reject_minute = (minute, kept + 1)
        if kept < REJECTS_KEPT:
            self.feed.reject(text, reason)
        elif kept == REJECTS_KEPT:
            self.feed.note(f"{self.channel.source}: more than {REJECTS_KEPT} rejects a minute")
        self.wake()

    def _ask_for_unlisted(self) -> None:
        """Tell of contracts that are not listed, whose rows are kept, and read the list again."""
        for symbol, raw in self.reader.unlisted.items():
            if raw:
                self._reject(
                    raw,
                    f"contract {visible(symbol, 40)!r} is not in the venue's list: its row is "
                    "kept without what needs the list",
                )
                self.reader.unlisted[symbol] = ""
                self._relist.set()

    def wake(self) -> None:
        """There is something to store."""
        self._wake.set()

    def clock(self) -> float:
        return asyncio.get_running_loop().time()


class _Connection:
    """One socket with its topics, opened again whenever it ends."""

    def __init__(self, stream: _Stream, number: int) -> None:
        self.stream = stream
        self.number = number
        self.topics: dict[str, None] = {}
        self.alive = False
        self.proof: datetime | None = None
        self._characters = 0
        self._acked: set[str] = set()
        self._pending: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._singly: list[str] = []
        self._requests = 0
        self._news = asyncio.Event()
        self._last_sign = 0.0
        self._ended = ""
        self._unsent = True
        self._told_subscribed = -1

    # --- topics --------------------------------------------------------------------------

    def has_room(self, topic: str) -> bool:
        channel = self.stream.channel
        return (
            len(self.topics) < channel.topics_per_connection
            and self._characters + len(topic) + 3 <= channel.characters_per_connection
        )

    def add(self, topic: str) -> None:
        self.topics[topic] = None
        self._characters += len(topic) + 3  # quotes and a comma
        self._news.set()

    def gone(self, wanted: set[str]) -> None:
        """Forget topics of contracts that are no longer listed."""
        for topic in [t for t in self.topics if t not in wanted]:
            del self.topics[topic]
            self._acked.discard(topic)
            self._characters -= len(topic) + 3

    @property
    def subscribed(self) -> int:
        return len(self._acked & self.topics.keys())

    # --- life ----------------------------------------------------------------------------

    async def serve(self) -> None:
        stream, timing = self.stream, self.stream.timing
        backoff = Backoff(timing.backoff_base, timing.backoff_cap, floor=0.5)
        attempt = 0
        while True:
            wait = None
            begun = stream.clock()
            try:
                reason = await self._session()
            except Refused as refused:
                reason, wait = refused.reason, refused.wait
            except Failed as failed:
                reason = failed.reason
            lived = stream.clock() - begun
            stable = self.proof is not None and lived >= timing.stable
            attempt = 0 if stable else attempt + 1
            stream.spans.lost(self, reason)
            self.alive, self.proof = False, None
            delay = backoff.delay(max(0, attempt - 1), min(wait or 0.0, timing.backoff_cap))
            await asyncio.sleep(delay)

    async def _session(self) -> str:
        """One socket from its opening to its end; the reason of the end."""
        stream = self.stream
        self._acked.clear()
        self._pending.clear()
        self._singly.clear()
        self._ended = ""
        self._unsent = True
        async with stream.feed.http.socket(
            stream.url,
            timeout=stream.timing.connect,
            ping=stream.channel.frame_ping_seconds,
        ) as socket:
            self._last_sign = stream.clock()
            tending = asyncio.create_task(self._tend(socket))
            try:
                await self._read(socket)
            except Closed as closed:
                return self._ended or closed.reason
            finally:
                tending.cancel()
                await asyncio.gather(tending, return_exceptions=True)
        return self._ended or "the connection ended"

    async def _read(self, socket: Socket) -> None:
        turn = 0
        while not self._ended:
            seen = await self.stream.hear(await socket.receive())
            if seen.reply:
                await socket.send(seen.reply)
            if seen.refused:
                self._refused(seen.acked, seen.refused)
            else:
                for token in seen.acked:
                    self._acked.update(self._answered(token))
            if seen.canary or seen.rows:
                self._last_sign = self.stream.clock()
                if self._ready:
                    self._prove()
            turn += 1
            if turn >= TURN:
                turn = 0
                await asyncio.sleep(0)

    @property
    def _ready(self) -> bool:
        """Whether everything that was asked for is acknowledged or refused."""
        waits = self._pending or self._singly or self._unsent
        return self.subscribed > 0 and not waits and not self._ended

    def _prove(self) -> None:
        stream = self.stream
        self.proof = stream.reader.received
        if not self.alive or self.subscribed != self._told_subscribed:
            self.alive = True
            self._told_subscribed = self.subscribed
            stream.spans.found(self)

    def _answered(self, token: str) -> tuple[str, ...]:
        """The topics an answer is about; without a known token it answers what waits longest."""
        if token not in self._pending and token == "":
            token = next(iter(self._pending), "")
        return self._pending.pop(token, (0.0, ()))[1]

    def _refused(self, tokens: Sequence[str], reason: str) -> None:
        """Ask for the topics of a refused request one by one; leave out what is refused alone."""
        stream = self.stream
        refused = [topic for token in tokens or ("",) for topic in self._answered(token)]
        if len(refused) > 1:
            self._singly += refused
            self._news.set()
            return
        stream.feed.note(f"{stream.channel.source}: the venue refuses: {reason}")
        if not self.subscribed and not self._pending:
            self._ended = f"refused: {reason}"
            self._news.set()

    # --- what is sent, and what is waited for --------------------------------------------

    async def _tend(self, socket: Socket) -> None:
        """Subscribe, ping, and end the socket where an answer or the canary stays away."""
        stream, channel, timing = self.stream, self.stream.channel, self.stream.timing
        clock = stream.clock
        silence = timing.silence * channel.canary_seconds
        next_ping = clock() + channel.ping_seconds
        sent: set[str] = set()
        try:
            for text in channel.greeting:
                await self._say(socket, text)
            await self._subscribe(socket, [*channel.canary_topics], sent)
            while True:
                self._news.clear()
                await self._subscribe(socket, [t for t in self.topics if t not in sent], sent)
                self._unsent = False
                now = clock()
                if channel.ping and now >= next_ping:
                    await self._say(socket, channel.ping)
                    next_ping = now + channel.ping_seconds
                late = [t for t, (since, _) in self._pending.items() if now - since >= timing.ack]
                if late:
                    await self._end(socket, f"no acknowledgement of {visible(late[0], 60)}")
                    return
                if now - self._last_sign >= silence:
                    await self._end(
                        socket, f"silent: no {channel.canary} for {now - self._last_sign:.1f} s"
                    )
                    return
                if self._ended:
                    await self._end(socket, self._ended)
                    return
                due = [self._last_sign + silence]
                due += [since + timing.ack for since, _ in self._pending.values()]
                due += [next_ping] if channel.ping else []
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.005, min(due) - now)):
                        await self._news.wait()
        except Closed as closed:
            self._ended = self._ended or closed.reason

    async def _subscribe(self, socket: Socket, topics: Sequence[str], sent: set[str]) -> None:
        """Ask for topics in messages as large and as often as the venue allows."""
        channel = self.stream.channel
        singly, self._singly = self._singly, []
        parts = [*_chunks(topics, channel.topics_per_message), *([topic] for topic in singly)]
        for number, part in enumerate(parts):
            if number:
                await asyncio.sleep(1 / channel.messages_per_second)
            self._requests += 1
            request = channel.subscribe(part, self._requests)
            own = zip(request.tokens, part, strict=False)
            each = dict(own) if len(request.tokens) == len(part) else {}
            now = self.stream.clock()
            for token in request.tokens:
                self._pending[token] = (now, (each[token],) if token in each else tuple(part))
            sent.update(part)
            await self._say(socket, request.text)

    async def _say(self, socket: Socket, text: str) -> None:
        if NOW in text:
            text = text.replace(NOW, f"{self.stream.feed.now().timestamp():.0f}")
        await socket.send(text)

    async def _end(self, socket: Socket, reason: str) -> None:
        self._ended = reason
        await socket.close()


def _chunks(topics: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(topics), size):
        yield topics[start : start + size]


class _Standing(NamedTuple):
    """What a stream is at a moment."""

    state: str
    connections: int
    subscribed: int | None


class _Spans:
    """The coverage of one stream: adjoining spans that end at what is proven."""

    def __init__(self, stream: _Stream, now: datetime) -> None:
        self._stream = stream
        self._run = secrets.token_hex(6)
        self._since = self._down_since = now
        self._standing = _Standing("down", 0, None)
        self._reason = "connecting"
        self._told = ""
        # Why frames cannot be read since the last liquidation that could be, or nothing.
        self._rejecting = ""
        self._told_rejecting = float("-inf")
        self._first_reject = ""
        self._rejected_seconds = 0.0
        self._unread_frames = 0
        self._done: list[Coverage] = []
        self.frames = self.rows = self.duplicates = self.rejects = self.canaries = 0
        self.total_rows = 0
        self.last_event: datetime | None = None
        self.event_heard = now

    def take(self) -> list[Coverage]:
        done, self._done = self._done, []
        return done

    def bridge(self, last: Coverage) -> None:
        """Account for the time since the last run, which nobody watched."""
        if last.to_time < self._since:
            clean = last.reason.startswith(_STOPPED)
            reason = "not collecting" if clean else "crash: the last run ended without a word"
            self._close(last.to_time, self._since, _Standing("off", 0, None), reason)
        self._since = max(self._since, last.to_time)

    def blame(self, reason: str) -> None:
        """Why nothing is connected yet."""
        self._reason = reason

    def found(self, part: _Connection) -> None:
        """A connection is alive from now on, or subscribed to more than before."""
        now = part.proof or self._stream.feed.now()
        was = self._standing.state
        self._change(now)
        if was == "down":
            self.event_heard = now
            if self._told:
                gap = (now - self._down_since).total_seconds()
                self._stream.feed.note(f"{self._name}: alive again after {gap:.1f} s")
            self._told = ""

    def lost(self, part: _Connection, reason: str) -> None:
        """A connection is gone: it was alive until its last proof of life."""
        if len(self._stream.parts) > 1:
            reason = f"connection {part.number}: {reason}"
        until = part.proof if part.alive else None
        part.alive = False
        if until is not None:
            self._change(until, reason)
        if self._standing.state != "rejecting":
            self._reason = reason
        if self._told != reason:
            self._told = reason
            self._stream.feed.note(f"{self._name}: {reason}; connecting again")

    def heard(self, now: datetime, seen: Seen) -> None:
        """Count a frame, and judge whether the feed can be read."""
        begins = bool(seen.rejects) and not self._rejecting
        if begins:
            self._begin_rejecting(now, *seen.rejects[0])
        self.frames += 1
        self.canaries += seen.canary
        self.rejects += len(seen.rejects)
        self._unread_frames += bool(seen.rejects)
        if begins and self._standing.state == "rejecting":
            # What is known of it is stored at once.
            self._end_span(now, self._reason)
        if seen.rows and self._rejecting:
            self._rejecting = ""
            self._change(now)

    def _begin_rejecting(self, now: datetime, text: str, reason: str) -> None:
        """Nothing is covered since the last proof before what cannot be read."""
        self._rejecting = f"a frame or row cannot be read: {reason}"
        said = unread(text, reason)
        self._first_reject = self._first_reject or said
        clock = self._stream.clock()
        if clock - self._told_rejecting >= TOLD_AGAIN:
            self._told_rejecting = clock
            self._stream.feed.note(
                f"{self._name}: {said}; not covered until a liquidation can be read"
            )
        if self._standing.state != "down":
            self._change(self._proven(now))

    @property
    def unread(self) -> str:
        """What could not be read in this run, in one line, or nothing."""
        if not self._first_reject:
            return ""
        return (
            f"{self._name} was not covered for {self._rejected_seconds:,.1f} s: "
            f"{self._unread_frames:,} frames with something that cannot be read; the first: "
            f"{self._first_reject}"
        )

    def tick(self) -> None:
        """Close the span at what is proven once it has lasted long enough."""
        now = self._stream.feed.now()
        if self._judge().state != self._standing.state:
            self._change(self._proven(now))
        elif (now - self._since).total_seconds() >= self._stream.timing.span:
            self._end_span(self._proven(now), self._reason)

    def end(self) -> tuple[bool, str]:
        """Close the last span; whether the stream was alive, and if not, why."""
        alive, reason = self._standing.state != "down", self._reason
        now = self._stream.feed.now()
        # The next run must learn that this one ended in order, and nothing is proven of the rest.
        self._end_span(self._proven(now), reason if alive else f"{_STOPPED}; {reason}")
        self._standing = _Standing("off", 0, None)
        self._end_span(now, _STOPPED)
        return alive, reason

    @property
    def _name(self) -> str:
        return self._stream.channel.source

    def _judge(self) -> _Standing:
        """What the stream is now."""
        stream = self._stream
        alive = [part for part in stream.parts if part.alive]
        count = sum(p.subscribed for p in alive) if stream.channel.per_contract else None
        if not alive:
            state = "down"
        elif self._rejecting:
            state = "rejecting"
        elif len(alive) < len(stream.parts):
            state = "partial"
        else:
            quiet = stream.channel.max_quiet_seconds
            heard = (stream.feed.now() - self.event_heard).total_seconds()
            state = "stale" if quiet is not None and heard > quiet else "up"
        return _Standing(state, len(alive), count)

    def _proven(self, now: datetime) -> datetime:
        """Until when the present state is known to hold."""
        if self._standing.state == "down":
            return now
        proofs = [p.proof for p in self._stream.parts if p.alive and p.proof is not None]
        return min(proofs, default=now)

    def _change(self, at: datetime, reason: str = "") -> None:
        was = self._standing.state
        # A span that rejects keeps saying what, also where it ends with its connection.
        self._end_span(at, self._reason if was == "rejecting" else reason or self._reason)
        self._standing = self._judge()
        match self._standing.state:
            case "up":
                self._reason = ""
            case "rejecting":
                self._reason = self._rejecting
            case "partial" if was == "rejecting":
                self._reason = "some connections are not alive"
            case "stale":
                quiet = self._stream.channel.max_quiet_seconds or 0.0
                self._reason = f"no liquidation for {quiet:,.0f} s although {self._canary} comes"
            case "down":
                self._down_since = at
        self._stream.wake()

    @property
    def _canary(self) -> str:
        return self._stream.channel.canary

    def _end_span(self, at: datetime, reason: str) -> None:
        if at > self._since:
            self._close(self._since, at, self._standing, reason)
            self._since = at

    def _close(self, since: datetime, until: datetime, standing: _Standing, reason: str) -> None:
        stream, channel = self._stream, self._stream.channel
        if standing.state == "rejecting":
            self._rejected_seconds += (until - since).total_seconds()
        self._done.append(
            Coverage(
                source=channel.source,
                venue=channel.venue,
                market=channel.market,
                run=self._run,
                from_time=since,
                to_time=until,
                state=standing.state,
                reason=reason,
                subscribed=standing.subscribed,
                listed=stream.listed,
                connections=standing.connections,
                frames=self.frames,
                rows=self.rows,
                duplicates=self.duplicates,
                rejects=self.rejects,
                canaries=self.canaries,
                sampling=channel.sampling,
                last_event=self.last_event,
                provenance=stream.feed.provenance,
            )
        )
        self.frames = self.rows = self.duplicates = self.rejects = self.canaries = 0


_STOPPED = "stopped"
