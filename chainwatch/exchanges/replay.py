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
from chainwatch.exchanges.reader import Reader, Seen, reason_of, unread
from chainwatch.lake.store import Store
from chainwatch.tables.base import Row
from chainwatch.tables.log import Reject

REPLAY = "replay"


class Replayed(msgspec.Struct, frozen=True):
    """One frame of a file, read again."""

    source: str
    received_at: datetime
    seen: Seen


def replay(
    store: Store | None, path: Path, rejected: Callable[[str], None] = lambda line: None
) -> dict[str, tuple[int, int, int, int]]:
    """Read recorded frames and store what they hold; (frames, rows, rejects, canaries) by source.

    Rows that are stored already count once. Nothing is claimed to be covered. `rejected` is told
    at once of the first frame or row of each source that cannot be read.
    """
    if store is not None:
        store.create()
    counts: dict[str, tuple[int, int, int, int]] = {}
    pending: list[Row] = []

    def flush() -> None:
        if store is not None and pending:
            store.append(pending, source=REPLAY, target=path.name)
        pending.clear()

    for one in parse(frames.read(path)):
        seen, before = one.seen, counts.get(one.source, (0, 0, 0, 0))
        found = (1, len(seen.rows), len(seen.rejects), int(seen.canary))
        counts[one.source] = tuple(map(sum, zip(before, found, strict=True)))  # type: ignore[assignment]
        if seen.rejects and not before[2]:
            rejected(f"{one.source}: {unread(*seen.rejects[0])}")
        pending += seen.rows
        pending += [
            Reject(
                source=one.source,
                target=path.name,
                received_at=one.received_at,
                reason=reason,
                raw=text[:RAW_LIMIT],
            )
            for text, reason in seen.rejects
        ]
        if len(pending) >= FLUSH_ROWS:
            flush()
    flush()
    return counts


def parse(lines: Iterator[Line], provenance: str = "live") -> Iterator[Replayed]:
    """What each frame means, read by the source that recorded it."""
    known: dict[str, tuple[Channel, Reader]] = {}
    for line in lines:
        if line.source not in known:
            known[line.source] = _reader(line.source, provenance)
        channel, reader = known[line.source]
        if line.contract is not None:
            reader.contracts[line.contract.symbol] = line.contract
            continue
        reader.received = line.received_at or datetime.now(UTC)
        try:
            seen = channel.parse(line.data, reader)
        except READ_ERRORS as failure:
            text = line.data.decode("utf-8", "replace")
            seen = Seen(rejects=[(text, reason_of(failure))])
        yield Replayed(line.source, reader.received, seen)


def _reader(source: str, provenance: str) -> tuple[Channel, Reader]:
    channel = channels.get(find(source).name)
    if channel is None:
        raise UsageError(f"{source} is no stream: its frames cannot be replayed")
    reader = Reader(
        channel.source, channel.venue, channel.market, delivery="replay", provenance=provenance
    )
    return channel, reader
