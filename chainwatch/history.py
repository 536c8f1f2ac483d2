"""The one back-fill: asks a venue's REST interface for past liquidations, window by window.

It resumes where it stopped, and begins where the option `since` says, or a day ago. What it finds
counts only where no stream of the venue was alive; it claims no coverage, because no venue says
how complete its history is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime, timedelta

import msgspec

from chainwatch import numbers
from chainwatch.errors import ChainwatchError, UsageError
from chainwatch.exchange import READ_ERRORS, Channel, Contract, Reader, Seen, reason_of
from chainwatch.net import Failed, Rest
from chainwatch.rows import ExchangeLiquidation
from chainwatch.source import Batch, Feed

DEFAULT_PAST = timedelta(days=1)
# What is younger may still be on its way to a stream, whose row of it is to be the first stored.
YOUNGEST = timedelta(minutes=1)


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A venue's past liquidations, as its documents describe them.

    Each scope (a contract, a currency, a settlement) is asked for one window after the other;
    `pages` yields the answers that one window takes, times in milliseconds, end excluded, and
    `parse` reads one of them. The source is named like its stream's, with `-history`.
    """

    source: str
    channel: Channel
    window_seconds: int
    scopes: Callable[[Mapping[str, Contract]], list[str]]
    pages: Callable[[Rest, str, int, int], AsyncIterator[bytes]]
    parse: Callable[[str, bytes, Reader], Seen]
    # Seconds from one request to the next, where the venue allows few.
    pace: float = 0.0


async def run(feed: Feed, past: History) -> AsyncIterator[Batch]:
    """Batches of rows up to now, each with the cursor after its window."""
    channel = past.channel
    rest = Rest(feed.http, feed.url("url", channel.rest), pace=past.pace)
    reader = Reader(
        past.source,
        channel.venue,
        channel.market,
        delivery="history",
        provenance=feed.provenance,
        contracts=await _contracts(channel, rest),
    )
    now = feed.now()
    end = int((now - YOUNGEST).timestamp() * 1000)
    begin = int((_since(feed) or now - DEFAULT_PAST).timestamp() * 1000)
    done: dict[str, int] = dict((feed.cursor or {}).get("until_ms", {}))
    scopes = past.scopes(reader.contracts)
    width = past.window_seconds * 1000
    # Where `since` is earlier than what was read before, what lies between is read too.
    first = {
        scope: done[scope] if scope in done and not _since(feed) else begin for scope in scopes
    }
    starts = list(range(min(first.values(), default=end), end, width))
    for number, start in enumerate(starts):
        for scope in scopes:
            stop = min(start + width, end)
            if stop <= first[scope]:
                continue
            rows = await _window(feed, past, rest, reader, scope, max(start, first[scope]), stop)
            done[scope] = max(stop, done.get(scope, 0))
            yield Batch(rows, cursor={"until_ms": dict(done)})
        feed.progress(f"{past.source} windows", number + 1, len(starts))


async def _contracts(channel: Channel, rest: Rest) -> list[Contract]:
    try:
        return await channel.contracts(rest)
    except ChainwatchError:
        raise
    except READ_ERRORS as failure:
        reason = reason_of(failure)
        raise Failed(rest.base, f"the list of contracts cannot be read ({reason})") from None


async def _window(
    feed: Feed, past: History, rest: Rest, reader: Reader, scope: str, start: int, stop: int
) -> list[ExchangeLiquidation]:
    """The rows of one window; raises Failed where an answer cannot be read: it stays to be done."""
    rows: list[ExchangeLiquidation] = []
    body = b""
    try:
        async for body in past.pages(rest, scope, start, stop):
            reader.received = feed.now()
            seen = past.parse(scope, body, reader)
            rows += seen.rows
            for text, reason in seen.rejects:
                feed.reject(text, reason)
    except ChainwatchError:
        raise
    except READ_ERRORS as failure:
        reason = reason_of(failure)
        feed.reject(body.decode("utf-8", "replace"), reason)
        raise Failed(rest.base, f"the answer cannot be read ({reason})") from None
    return rows


def _since(feed: Feed) -> datetime | None:
    text = feed.options.get("since")
    if not text:
        return None
    try:
        return numbers.moment(text, feed.now())
    except numbers.NotReadable as refusal:
        raise UsageError(f"since takes a time, not {text!r}: {refusal}") from None
