"""Recorded frames read again by the venue that recorded them, and stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from chainwatch.collect.registry import find
from chainwatch.collect.writer import FLUSH_ROWS, RAW_LIMIT
from chainwatch.errors import UsageError
from chainwatch.exchanges import frames
from chainwatch.exchanges.channel import Channel
from chainwatch.exchanges.contracts import READ_ERRORS
from chainwatch.exchanges.feeds import channels
from chainwatch.exchanges.frames import Line
from chainwatch.exchanges.reader import ParsedMessage, Reader, describe_reject, reason_of
from chainwatch.lake.store import Store
from chainwatch.tables.base import Row
from chainwatch.tables.log import Reject

REPLAY = "replay"


class ReplayedFrame(msgspec.Struct, frozen=True):
    """One frame of a file, read again."""

    source: str
    received_at: datetime
    message: ParsedMessage


def replay_frames(
    store: Store | None, path: Path, rejected: Callable[[str], None] = lambda line: None
) -> dict[str, tuple[int, int, int, int]]:
    """Read recorded frames and store what they hold; (frames, rows, rejects, heartbeats) by source.

    Rows that are stored already count once. No coverage is stored. `rejected` gets
    at once the first frame or row of each source that cannot be parsed.
    """
    if store is not None:
        store.create()
    counts: dict[str, tuple[int, int, int, int]] = {}
    pending: list[Row] = []

    def flush() -> None:
        if store is not None and pending:
            store.append(pending, source=REPLAY, target=path.name)
        pending.clear()

    for frame in parse_lines(frames.read(path)):
        message, before = frame.message, counts.get(frame.source, (0, 0, 0, 0))
        counted = (1, len(message.rows), len(message.rejects), int(message.heartbeat))
        counts[frame.source] = tuple(map(sum, zip(before, counted, strict=True)))  # type: ignore[assignment]
        if message.rejects and not before[2]:
            rejected(f"{frame.source}: {describe_reject(*message.rejects[0])}")
        pending += message.rows
        pending += [
            Reject(
                source=frame.source,
                target=path.name,
                received_at=frame.received_at,
                reason=reason,
                raw=text[:RAW_LIMIT],
            )
            for text, reason in message.rejects
        ]
        if len(pending) >= FLUSH_ROWS:
            flush()
    flush()
    return counts


def parse_lines(lines: Iterator[Line], provenance: str = "live") -> Iterator[ReplayedFrame]:
    """What each frame means, read by the source that recorded it."""
    readers: dict[str, tuple[Channel, Reader]] = {}
    for line in lines:
        if line.source not in readers:
            readers[line.source] = _channel_and_reader(line.source, provenance)
        channel, reader = readers[line.source]
        if line.contract is not None:
            reader.contracts[line.contract.symbol] = line.contract
            continue
        reader.received = line.received_at or datetime.now(UTC)
        try:
            message = channel.parse(line.data, reader)
        except READ_ERRORS as failure:
            text = line.data.decode("utf-8", "replace")
            message = ParsedMessage(rejects=[(text, reason_of(failure))])
        yield ReplayedFrame(line.source, reader.received, message)


def _channel_and_reader(source: str, provenance: str) -> tuple[Channel, Reader]:
    channel = channels.get(find(source).name)
    if channel is None:
        raise UsageError(f"{source} is not a stream: only frames of streams are replayed")
    reader = Reader(
        channel.source, channel.venue, channel.market, delivery="replay", provenance=provenance
    )
    return channel, reader
