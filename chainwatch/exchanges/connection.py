"""One socket of a stream with its topics, opened again whenever it ends.

A subscription counts once it is acknowledged *and* something arrives: venues acknowledge topics
that they then never send. What proves life is the heartbeat, a stream on the same socket that is
never silent, or a liquidation.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime

from chainwatch.collect.source import Feed
from chainwatch.exchanges.channel import NOW, Channel, Timing
from chainwatch.exchanges.coverage import CoverageLog
from chainwatch.exchanges.reader import ParsedMessage
from chainwatch.net.errors import Closed, Failed, SocketRefused
from chainwatch.net.retry import Backoff
from chainwatch.net.socket import Socket, SocketFrame
from chainwatch.text import visible
from chainwatch.urls import mask

# Frames read in a row before other tasks get a turn.
FRAMES_PER_TURN = 200

# Parses a frame that came at a time, and keeps its rows.
Handler = Callable[[SocketFrame, datetime], Awaitable[ParsedMessage]]


class Connection:
    """One socket with its topics. `handle` gets each of its frames, in their order."""

    def __init__(
        self, feed: Feed, channel: Channel, timing: Timing, coverage: CoverageLog, handle: Handler
    ) -> None:
        self.topics: dict[str, None] = {}
        self._feed = feed
        self._channel = channel
        self._timing = timing
        self._coverage = coverage
        self._status = coverage.add_connection()
        self._handle = handle
        url = feed.url("ws", channel.ws)
        # An address that was set is the only one.
        self._urls = [url, *(channel.other_ws if url == channel.ws else ())]
        self._characters = 0
        self._acked: set[str] = set()
        # Topics of a request by what its acknowledgement names, with the time it was sent.
        self._pending: dict[str, tuple[float, tuple[str, ...]]] = {}
        # Topics that were refused together, to be subscribed to one by one.
        self._to_retry: list[str] = []
        self._requests = 0
        self._to_send = asyncio.Event()
        self._last_sign = 0.0
        self._end_reason = ""
        self._unsent = True
        self._proven_topics = -1

    # --- topics --------------------------------------------------------------------------

    def has_room(self, topic: str) -> bool:
        return (
            len(self.topics) < self._channel.topics_per_connection
            and self._characters + len(topic) + 3 <= self._channel.characters_per_connection
        )

    def add(self, topic: str) -> None:
        self.topics[topic] = None
        self._characters += len(topic) + 3  # quotes and a comma
        self._count_subscribed()
        self._to_send.set()

    def keep_only(self, wanted: set[str]) -> None:
        """Forget topics of contracts that are no longer listed."""
        for topic in [t for t in self.topics if t not in wanted]:
            del self.topics[topic]
            self._acked.discard(topic)
            self._characters -= len(topic) + 3
        self._count_subscribed()

    def _count_subscribed(self) -> None:
        self._status.subscribed = len(self._acked & self.topics.keys())

    # --- life ----------------------------------------------------------------------------

    async def serve(self) -> None:
        """Keep a socket open until cancelled."""
        timing, status = self._timing, self._status
        backoff = Backoff(timing.backoff_base, timing.backoff_cap, floor=0.5)
        attempt = 0
        while True:
            wait = None
            opened_at = time.monotonic()
            try:
                reason = await self._session()
            except SocketRefused as refused:
                reason, wait = refused.reason, refused.wait
            except Failed as failed:
                reason = failed.reason
            lived = time.monotonic() - opened_at
            stable = status.proven_at is not None and lived >= timing.stable
            attempt = 0 if stable else attempt + 1
            if status.proven_at is None and len(self._urls) > 1:
                self._urls.append(self._urls.pop(0))
                reason = f"{reason}; next address: {mask(self._urls[0])}"
            self._coverage.connection_lost(status, reason)
            delay = backoff.delay(max(0, attempt - 1), min(wait or 0.0, timing.backoff_cap))
            await asyncio.sleep(delay)

    async def _session(self) -> str:
        """One socket from its opening to its end; the reason of the end."""
        self._acked.clear()
        self._count_subscribed()
        self._pending.clear()
        self._to_retry.clear()
        self._end_reason = ""
        self._unsent = True
        async with self._feed.http.socket(
            self._urls[0], timeout=self._timing.connect, ping=self._channel.frame_ping_seconds
        ) as socket:
            self._last_sign = time.monotonic()
            tending = asyncio.create_task(self._tend(socket))
            try:
                await self._read(socket)
            except Closed as closed:
                return self._end_reason or closed.reason
            finally:
                tending.cancel()
                await asyncio.gather(tending, return_exceptions=True)
        return self._end_reason or "the connection ended"

    # --- what is received ----------------------------------------------------------------

    async def _read(self, socket: Socket) -> None:
        frames = 0
        while not self._end_reason:
            frame = await socket.receive()
            received = self._feed.now()
            parsed = await self._handle(frame, received)
            if parsed.reply:
                await socket.send(parsed.reply)
            if parsed.refused:
                self._handle_refusal(parsed.acked, parsed.refused)
            elif parsed.acked:
                for token in parsed.acked:
                    self._acked.update(self._pop_pending(token))
                self._count_subscribed()
            if parsed.heartbeat or parsed.rows:
                self._last_sign = time.monotonic()
                if self._ready:
                    self._prove(received)
            frames += 1
            if frames % FRAMES_PER_TURN == 0:
                await asyncio.sleep(0)

    @property
    def _ready(self) -> bool:
        """Whether every request is acknowledged or refused, and a topic is subscribed to."""
        waits = self._pending or self._to_retry or self._unsent
        return self._status.subscribed > 0 and not waits and not self._end_reason

    def _prove(self, received: datetime) -> None:
        status = self._status
        status.proven_at = received
        if not status.alive or status.subscribed != self._proven_topics:
            if len(self._urls) > 1 and not status.alive:
                self._feed.note(f"{self._channel.source}: alive at {self._urls[0]}")
            status.alive = True
            self._proven_topics = status.subscribed
            self._coverage.connection_alive(status)

    def _pop_pending(self, token: str) -> tuple[str, ...]:
        """The topics that an answer is about; without a token it answers the oldest request."""
        if token not in self._pending and token == "":
            token = next(iter(self._pending), "")
        return self._pending.pop(token, (0.0, ()))[1]

    def _handle_refusal(self, tokens: Sequence[str], reason: str) -> None:
        """Retry the topics of a refused request one by one; leave out what is refused alone."""
        refused = [topic for token in tokens or ("",) for topic in self._pop_pending(token)]
        if len(refused) > 1:
            self._to_retry += refused
            self._to_send.set()
            return
        self._feed.note(f"{self._channel.source}: the venue refuses: {reason}")
        if not self._status.subscribed and not self._pending:
            self._end_reason = f"refused: {reason}"
            self._to_send.set()

    # --- what is sent, and what is waited for --------------------------------------------

    async def _tend(self, socket: Socket) -> None:
        """Subscribe, ping, and end the socket where an answer or the heartbeat is late."""
        channel = self._channel
        silence = self._timing.silence * channel.heartbeat_seconds
        next_ping = time.monotonic() + channel.ping_seconds
        sent: set[str] = set()
        try:
            for text in channel.greeting:
                await self._send(socket, text)
            await self._subscribe(socket, [*channel.heartbeat_topics], sent)
            while True:
                self._to_send.clear()
                await self._subscribe(socket, [t for t in self.topics if t not in sent], sent)
                self._unsent = False
                now = time.monotonic()
                if channel.ping and now >= next_ping:
                    await self._send(socket, channel.ping)
                    next_ping = now + channel.ping_seconds
                if reason := self._overdue(now, silence) or self._end_reason:
                    self._end_reason = reason
                    await socket.close()
                    return
                due = [self._last_sign + silence]
                due += [since + self._timing.ack for since, _ in self._pending.values()]
                due += [next_ping] if channel.ping else []
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.005, min(due) - now)):
                        await self._to_send.wait()
        except Closed as closed:
            self._end_reason = self._end_reason or closed.reason

    def _overdue(self, now: float, silence: float) -> str:
        """What has not come in time, or nothing."""
        for token, (since, _) in self._pending.items():
            if now - since >= self._timing.ack:
                return f"no acknowledgement of {visible(token, 60)}"
        if now - self._last_sign >= silence:
            return f"silent: no {self._channel.heartbeat} for {now - self._last_sign:.1f} s"
        return ""

    async def _subscribe(self, socket: Socket, topics: Sequence[str], sent: set[str]) -> None:
        """Subscribe to topics in messages as large and as often as the venue allows."""
        channel = self._channel
        to_retry, self._to_retry = self._to_retry, []
        parts = [*_chunks(topics, channel.topics_per_message), *([topic] for topic in to_retry)]
        for number, part in enumerate(parts):
            if number:
                await asyncio.sleep(1 / channel.messages_per_second)
            self._requests += 1
            request = channel.subscribe(part, self._requests)
            own = zip(request.tokens, part, strict=False)
            topic_of = dict(own) if len(request.tokens) == len(part) else {}
            now = time.monotonic()
            for token in request.tokens:
                about = (topic_of[token],) if token in topic_of else tuple(part)
                self._pending[token] = (now, about)
            sent.update(part)
            await self._send(socket, request.text)

    async def _send(self, socket: Socket, text: str) -> None:
        if NOW in text:
            text = text.replace(NOW, f"{self._feed.now().timestamp():.0f}")
        await socket.send(text)


def _chunks(topics: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(topics), size):
        yield topics[start : start + size]
