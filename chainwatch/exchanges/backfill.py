"""Requests past liquidations from a venue's REST interface, window by window.

A run resumes where the last one stopped; it begins at the option `since`, or a day ago. Its rows
count where they are more than what the stream has of the same contract and span: see the query
`counted_liquidations`. It stores coverage only where the venue documents its history as complete:
see `polling`. A window with something that cannot be parsed is kept in the cursor, and each run
requests it again until it is parsed; the run ends with `Unparsed`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import msgspec

from chainwatch import numbers
from chainwatch.collect.source import Batch, Feed
from chainwatch.errors import ChainwatchError, Unparsed, UsageError
from chainwatch.exchanges.channel import VenueMarket
from chainwatch.exchanges.contracts import READ_ERRORS, Contract
from chainwatch.exchanges.polling import PolledCoverage, WindowRead
from chainwatch.exchanges.reader import ParsedMessage, Reader, describe_reject, reason_of
from chainwatch.net.errors import Failed
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Coverage

if TYPE_CHECKING:
    from chainwatch.net.http import Rest

T = TypeVar("T")

DEFAULT_PAST = timedelta(days=1)
# The stream stores younger liquidations first: a history reads up to this age only.
YOUNGEST = timedelta(minutes=1)
# Scope, first millisecond, and end (excluded).
Window = tuple[str, int, int]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A venue's past liquidations, as its documents describe them.

    `scopes` are what one request can be about (a contract, a currency, a settlement), beside the
    `accounts` of its channel. `pages`
    yields the answers for one scope and window, times in milliseconds, end excluded; `parse` parses
    one of them. Paging itself uses only the length of a page and the times (or numbers) of its
    elements: see `next_start` and `next_end`. The source is named like its stream's, with
    `-history`; a venue without a stream has a `VenueMarket` alone.
    """

    source: str
    channel: VenueMarket
    window_seconds: int
    scopes: Callable[[Mapping[str, Contract]], list[str]]
    pages: Callable[[Rest, str, int, int], AsyncIterator[bytes]]
    parse: Callable[[str, bytes, Reader], ParsedMessage]
    # Seconds from one request to the next, where the venue allows few.
    pace: float = 0.0
    # The scope whose answers are never empty, where the venue documents its history as complete.
    canary: str = ""


async def run(feed: Feed, history: History) -> AsyncIterator[Batch]:
    """Batches of rows up to now, each with the cursor after its window."""
    from chainwatch.net.http import Rest

    channel = history.channel
    rest = Rest(feed.http, feed.url("url", channel.rest), pace=history.pace)
    reader = Reader(
        history.source,
        channel.venue,
        channel.market,
        delivery="history",
        provenance=feed.provenance,
        contracts=await _read(rest, "contracts", channel.contracts),
    )
    now = feed.now()
    end = int((now - YOUNGEST).timestamp() * 1000)
    begin = int((_since(feed) or now - DEFAULT_PAST).timestamp() * 1000)
    cursor = feed.cursor or {}
    done: dict[str, int] = dict(cursor.get("until_ms", {}))
    left: list[Window] = [(scope, start, stop) for scope, start, stop in cursor.get("unread", [])]
    scopes = history.scopes(reader.contracts)
    if channel.accounts is not None:
        reader.accounts = frozenset(await _read(rest, "addresses", channel.accounts))
        scopes += sorted(reader.accounts)
    failures: list[str] = []
    coverage: PolledCoverage | None = None
    if history.canary:
        stored = await feed.stored(Coverage, "source = $source", source=history.source)
        coverage = PolledCoverage(feed, history.source, channel, history.canary, scopes, stored)

    async def read(window: Window) -> Batch:
        scope, start, stop = window
        held = await _window(feed, history, rest, reader, window)
        rows: list[Row] = [*held.rows]
        if coverage is not None:
            rows += coverage.add(scope, start, stop, held)
        rejects = held.rejects
        left[:] = [w for w in left if w[0] != scope or w[1] < start or w[2] > stop]
        if rejects:
            left.append(window)
            reason = f"{history.source}: {describe_reject(*rejects[0])}"
            if not failures:
                feed.note(reason)
            failures.append(reason)
        done[scope] = max(stop, done.get(scope, 0))
        return Batch(rows, cursor={"until_ms": dict(done)} | ({"unread": [*left]} if left else {}))

    waiting = list(left)
    windows = _windows(history, scopes, done, begin, end, again=_since(feed) is not None)
    for number, window in enumerate(windows):
        yield await read(window)
        feed.progress(f"{history.source} windows", number + 1, len(windows))
    for window in waiting:
        if window in left:
            yield await read(window)
    if failures:
        raise Unparsed(
            f"{failures[0]} ({len(failures):,} windows hold such; the next run requests them again)"
        )


# --- paging -------------------------------------------------------------------------------------

# When an element of an answer happened: milliseconds, or a time with its zone.
TimeOf = Callable[[msgspec.Raw], str | float | datetime]


def next_start(
    elements: Sequence[msgspec.Raw], time_of: TimeOf, start: int, end: int
) -> int | None:
    """Where the page after a full one begins, oldest first; None where the window ends.

    Times in milliseconds, `end` excluded. Elements whose time cannot be parsed are skipped:
    the parser rejects them. ValueError where none can be parsed, or none lies after `start`.
    """
    times = _times(elements, time_of)
    within = [time for time in times if start <= time < end]
    if not within:
        if max(times) >= end:
            return None
        raise ValueError("expected elements of the requested time, got a full page of older ones")
    # Elements of the last millisecond may continue on the next page, and come again.
    begin = max(*within, start + 1)
    return begin if begin < end else None


def next_end(elements: Sequence[msgspec.Raw], time_of: TimeOf, start: int, end: int) -> int | None:
    """The same where the newest come first: where the page after a full one ends, excluded."""
    older = [time for time in _times(elements, time_of) if time < end]
    if not older:
        raise ValueError("expected elements of the requested time, got a full page of newer ones")
    within = [time for time in older if time >= start]
    # A single element older than the window may have a wrong time, and does not end it.
    if not within or len(older) - len(within) > 1:
        return None
    stop = min(min(within) + 1, end - 1)
    return stop if stop > start else None


def readable(elements: Sequence[msgspec.Raw], read: Callable[[msgspec.Raw], T]) -> list[T]:
    """What paging needs of the elements that can be parsed; the parser rejects the others."""
    results = []
    for element in elements:
        try:
            results.append(read(element))
        except READ_ERRORS:
            continue
    return results


def _times(elements: Sequence[msgspec.Raw], time_of: TimeOf) -> list[int]:
    def read(element: msgspec.Raw) -> int:
        time = time_of(element)
        ms = round(time.timestamp() * 1000) if isinstance(time, datetime) else numbers.integer(time)
        numbers.instant(ms, "ms", None)
        return ms

    times = readable(elements, read)
    if not times:
        raise ValueError(
            "expected times of elements, got a full page without one that can be parsed"
        )
    return times


# --- windows ------------------------------------------------------------------------------------


def _windows(
    history: History,
    scopes: Sequence[str],
    done: Mapping[str, int],
    begin: int,
    end: int,
    *,
    again: bool,
) -> list[Window]:
    """The windows to request; `again`: also those that an earlier run has done."""
    width = history.window_seconds * 1000
    first = {scope: done[scope] if scope in done and not again else begin for scope in scopes}
    return [
        (scope, max(start, first[scope]), min(start + width, end))
        for start in range(min(first.values(), default=end), end, width)
        for scope in scopes
        if min(start + width, end) > first[scope]
    ]


async def _read(rest: Rest, what: str, read: Callable[[Rest], Awaitable[list[T]]]) -> list[T]:
    try:
        return await read(rest)
    except ChainwatchError:
        raise
    except READ_ERRORS as failure:
        reason = reason_of(failure)
        raise Failed(rest.base, f"the list of {what} cannot be parsed ({reason})") from None


async def _window(
    feed: Feed, history: History, rest: Rest, reader: Reader, window: Window
) -> WindowRead:
    """What the answers about one window hold.

    Raises Failed where an answer cannot be parsed at all: the window is requested again.
    """
    held = WindowRead()
    body = b""
    try:
        async for body in history.pages(rest, *window):
            reader.received = feed.now()
            message = history.parse(window[0], body, reader)
            held.rows += message.rows
            held.rejects += message.rejects
            held.answers += 1
            held.heartbeats += message.heartbeat
            for text, reason in message.rejects:
                feed.reject(text, reason)
    except ChainwatchError:
        raise
    except READ_ERRORS as failure:
        reason = reason_of(failure)
        feed.reject(body.decode("utf-8", "replace"), reason)
        raise Failed(rest.base, f"the answer cannot be parsed ({reason})") from None
    return held


def _since(feed: Feed) -> datetime | None:
    text = feed.options.get("since")
    if not text:
        return None
    try:
        return numbers.moment(text, feed.now())
    except numbers.NotReadable as refusal:
        raise UsageError(f"expected a time as since, got {text!r}: {refusal}") from None
