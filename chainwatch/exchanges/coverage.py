"""Coverage of one stream: which spans of time it saw, and why it did not see the others.

Spans adjoin. A span ends at the last proof of life, so that a dead socket is never counted as
covered, however late its death is noticed.

A frame or row that cannot be parsed may be a liquidation: from the last proof before it until the
next liquidation that is parsed, the stream is `rejecting`, which is not covered. Where one row of a
frame is parsed and another is not, the frame begins and ends such a span.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import msgspec

from chainwatch.collect.source import Feed
from chainwatch.exchanges.channel import Channel
from chainwatch.exchanges.reader import ParsedMessage, describe_reject
from chainwatch.tables.exchange import Coverage, ExchangeLiquidation

# A note that a stream rejects is repeated after this many seconds at the earliest.
REJECT_NOTE_SECONDS = 60.0
# The reason of a last span; without it the next run records a crash.
STOPPED = "stopped"


class ConnectionStatus(msgspec.Struct):
    """What coverage reads of one connection, which alone writes it."""

    number: int
    alive: bool = False
    proven_at: datetime | None = None
    subscribed: int = 0


class StreamState(NamedTuple):
    """The state of a stream at a moment; `subscribed` is None where topics are not per contract."""

    state: str
    connections: int
    subscribed: int | None


class CoverageLog:
    """The coverage of one stream, as rows.

    `listed` is the number of contracts that the venue lists, None as long as no list came.
    `changed` is called where there is a row to store.
    """

    def __init__(
        self, feed: Feed, channel: Channel, span_seconds: float, changed: Callable[[], None]
    ) -> None:
        self._feed = feed
        self._channel = channel
        self._span_seconds = span_seconds
        self._changed = changed
        self._run = secrets.token_hex(6)
        self._connections: list[ConnectionStatus] = []
        self._since = self._down_since = feed.now()
        self._state = StreamState("down", 0, None)
        self._reason = "connecting"
        self._noted_reason = ""
        # Why frames cannot be parsed since the last liquidation that was; empty if they can.
        self._rejecting = ""
        self._noted_rejecting_at = float("-inf")
        self._first_reject = ""
        self._rejected_seconds = 0.0
        self._rejected_frames = 0
        self._closed: list[Coverage] = []
        self._frames = self._rows = self._duplicates = self._rejects = self._heartbeats = 0
        self._last_event: datetime | None = None
        self._last_row_at = self._since
        self.listed: int | None = None
        self.total_rows = 0

    # --- what happens --------------------------------------------------------------------

    def resume(self, last: Coverage) -> None:
        """Account for the time since the last run, in which the stream was not collected."""
        if last.to_time < self._since:
            stopped = last.reason.startswith(STOPPED)
            reason = "not collecting" if stopped else "crash: the last run did not record its end"
            self._close(last.to_time, self._since, StreamState("off", 0, None), reason)
        self._since = max(self._since, last.to_time)

    def add_connection(self) -> ConnectionStatus:
        """The status of a further connection, for that connection to keep."""
        status = ConnectionStatus(len(self._connections) + 1)
        self._connections.append(status)
        return status

    def explain(self, reason: str) -> None:
        """Say why nothing is connected yet."""
        self._reason = reason

    def connection_alive(self, status: ConnectionStatus) -> None:
        """A connection is alive from its proof on, or subscribed to more than before."""
        proven_at = status.proven_at or self._feed.now()
        was_down = self._state.state == "down"
        self._change(proven_at)
        if was_down:
            self._last_row_at = proven_at
            if self._noted_reason:
                gap = (proven_at - self._down_since).total_seconds()
                self._note(f"alive again after {gap:.1f} s")
            self._noted_reason = ""

    def connection_lost(self, status: ConnectionStatus, reason: str) -> None:
        """A connection ended: it was alive until its last proof of life."""
        if len(self._connections) > 1:
            reason = f"connection {status.number}: {reason}"
        alive_until = status.proven_at if status.alive else None
        status.alive, status.proven_at = False, None
        if alive_until is not None:
            self._change(alive_until, reason)
        if self._state.state != "rejecting":
            self._reason = reason
        if self._noted_reason != reason:
            self._noted_reason = reason
            self._note(f"{reason}; connecting again")

    def count_frame(self, received: datetime, frame: ParsedMessage) -> None:
        """Count a frame; it may begin or end a span of rejecting."""
        begins = bool(frame.rejects) and not self._rejecting
        if begins:
            self._begin_rejecting(received, *frame.rejects[0])
        self._frames += 1
        self._heartbeats += frame.heartbeat
        self._rejects += len(frame.rejects)
        self._rejected_frames += bool(frame.rejects)
        if begins and self._state.state == "rejecting":
            # The span is stored at once.
            self._end_span(received, self._reason)
        if frame.rows and self._rejecting:
            self._rejecting = ""
            self._change(received)

    def count_row(self, row: ExchangeLiquidation) -> None:
        self._rows += 1
        self.total_rows += 1
        self._last_row_at = row.received_at
        if self._last_event is None or row.time > self._last_event:
            self._last_event = row.time

    def count_duplicate(self) -> None:
        self._duplicates += 1

    def advance(self) -> None:
        """Close the span at what is proven, where the state changed or the span is long enough."""
        now = self._feed.now()
        if self._current_state().state != self._state.state:
            self._change(self._proven_until(now))
        elif (now - self._since).total_seconds() >= self._span_seconds:
            self._end_span(self._proven_until(now), self._reason)

    def finish(self) -> tuple[bool, str]:
        """Close the last span; whether the stream was alive, and if not, why."""
        alive, reason = self._state.state != "down", self._reason
        now = self._feed.now()
        # The next run must learn that this one stopped, and nothing is proven of the rest.
        self._end_span(self._proven_until(now), reason if alive else f"{STOPPED}; {reason}")
        self._state = StreamState("off", 0, None)
        self._end_span(now, STOPPED)
        return alive, reason

    # --- what is known -------------------------------------------------------------------

    def take(self) -> list[Coverage]:
        """The spans closed since the last call."""
        closed, self._closed = self._closed, []
        return closed

    @property
    def rejected(self) -> str:
        """What could not be parsed in this run, in one line; empty if everything was."""
        if not self._first_reject:
            return ""
        return (
            f"{self._channel.source} was not covered for {self._rejected_seconds:,.1f} s: "
            f"{self._rejected_frames:,} frames with something that cannot be parsed; the first: "
            f"{self._first_reject}"
        )

    # --- spans ---------------------------------------------------------------------------

    def _begin_rejecting(self, received: datetime, text: str, reason: str) -> None:
        """Nothing is covered since the last proof before what cannot be parsed."""
        self._rejecting = f"a frame or row cannot be parsed: {reason}"
        description = describe_reject(text, reason)
        self._first_reject = self._first_reject or description
        clock = time.monotonic()
        if clock - self._noted_rejecting_at >= REJECT_NOTE_SECONDS:
            self._noted_rejecting_at = clock
            self._note(f"{description}; not covered until a liquidation can be parsed")
        if self._state.state != "down":
            self._change(self._proven_until(received))

    def _current_state(self) -> StreamState:
        alive = [status for status in self._connections if status.alive]
        per_contract = self._channel.per_contract
        subscribed = sum(s.subscribed for s in alive) if per_contract else None
        if not alive:
            state = "down"
        elif self._rejecting:
            state = "rejecting"
        elif len(alive) < len(self._connections):
            state = "partial"
        else:
            quiet = self._channel.max_quiet_seconds
            silent = (self._feed.now() - self._last_row_at).total_seconds()
            state = "stale" if quiet is not None and silent > quiet else "up"
        return StreamState(state, len(alive), subscribed)

    def _proven_until(self, now: datetime) -> datetime:
        """Until when the present state is proven."""
        if self._state.state == "down":
            return now
        proofs = [s.proven_at for s in self._connections if s.alive and s.proven_at is not None]
        return min(proofs, default=now)

    def _change(self, at: datetime, reason: str = "") -> None:
        """End the span at a time, and begin one of the present state."""
        before = self._state.state
        # A span of rejecting keeps its reason, also where it ends with its connection.
        self._end_span(at, self._reason if before == "rejecting" else reason or self._reason)
        self._state = self._current_state()
        match self._state.state:
            case "up":
                self._reason = ""
            case "rejecting":
                self._reason = self._rejecting
            case "partial" if before == "rejecting":
                self._reason = "some connections are not alive"
            case "stale":
                quiet = self._channel.max_quiet_seconds or 0.0
                heartbeat = self._channel.heartbeat
                self._reason = f"no liquidation for {quiet:,.0f} s although {heartbeat} comes"
            case "down":
                self._down_since = at
        self._changed()

    def _end_span(self, at: datetime, reason: str) -> None:
        if at > self._since:
            self._close(self._since, at, self._state, reason)
            self._since = at

    def _close(self, since: datetime, until: datetime, state: StreamState, reason: str) -> None:
        channel = self._channel
        if state.state == "rejecting":
            self._rejected_seconds += (until - since).total_seconds()
        self._closed.append(
            Coverage(
                source=channel.source,
                venue=channel.venue,
                market=channel.market,
                run=self._run,
                from_time=since,
                to_time=until,
                state=state.state,
                reason=reason,
                subscribed=state.subscribed,
                listed=self.listed,
                connections=state.connections,
                frames=self._frames,
                rows=self._rows,
                duplicates=self._duplicates,
                rejects=self._rejects,
                heartbeats=self._heartbeats,
                sampling_class=channel.sampling_class,
                sampling_rule=channel.sampling_rule,
                last_event=self._last_event,
                provenance=self._feed.provenance,
            )
        )
        self._frames = self._rows = self._duplicates = self._rejects = self._heartbeats = 0

    def _note(self, text: str) -> None:
        self._feed.note(f"{self._channel.source}: {text}")
