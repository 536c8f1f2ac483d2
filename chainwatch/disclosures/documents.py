"""DOCUMENTS"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import localcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from chainwatch.collect.document import (
    OK,
    RECONCILE_FAILED,
    SCHEMA_CHANGED,
    SKIPPED,
    STALE,
    UNAVAILABLE,
    UNCHANGED,
    Raw,
    Refused,
    SchemaChanged,
)
from chainwatch.collect.selection import select
from chainwatch.collect.source import Batch
from chainwatch.disclosures.formats import EXACT
from chainwatch.errors import CheckFailed, NetworkError, PartialError, UsageError
from chainwatch.net.errors import Failed
from chainwatch.tables.base import Row
from chainwatch.tables.disclosure import Document
from chainwatch.text import visible

if TYPE_CHECKING:
    from chainwatch.collect.source import Feed

# Outcomes after which the figures of the same bytes need not be read again.
_READ = (OK, UNCHANGED, STALE)

BY_SOURCE, BY_RULE, BY_OBSERVATION = "source", "rule", "observed"
FILE_LIMIT = 64 * 2**20
MAX_PAGES = 100
# A publisher may be a day ahead of UTC.
DAYS_AHEAD = 1


Parse = Callable[[Raw], Sequence[Row]]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One document of a source: where it is, who reads it, and what is expected of it."""

    name: str
    path: str  # below the source's base URL
    parse: Parse
    parser: int = 1  # raised when the parser changes: the same bytes are then read again
    max_age_days: int | None = None  # older than this is stale
    days_ahead: int = DAYS_AHEAD  # figures may lie this far in the future
    grows: bool = True  # the newest day may never go back
    follow: Callable[[Raw], str | None] | None = None  # path of the next page, if there is one


class Taken(msgspec.Struct, frozen=True):
    """A document with its outcome and the rows it brought."""

    document: Document
    rows: list[Row]
    raw: Raw | None = None

    @property
    def failed(self) -> bool:
        return self.document.outcome in (UNAVAILABLE, SCHEMA_CHANGED, RECONCILE_FAILED)

    @property
    def more(self) -> bool:
        """Whether it may name a next page."""
        return self.raw is not None and bool(self.raw.body) and not self.failed

    @property
    def batch(self) -> Batch:
        """The rows and, last, the document that makes them count."""
        return Batch([*self.rows, self.document])


async def read(feed: Feed, asks: Iterable[Ask]) -> AsyncIterator[Batch]:
    """Fetch and read documents one after another; failures are raised when all are done.

    `only` in the feed's options limits them by name.
    """
    by_name = {ask.name: ask for ask in asks}
    selected = select(feed.source, feed.options.get("only", ""), dict.fromkeys(by_name, ()))
    done = []
    for number, first in enumerate(map(by_name.__getitem__, selected)):
        feed.progress(feed.source, number, len(selected))
        ask = first
        for page in range(1, MAX_PAGES + 1):
            taken = await fetch(feed, ask)
            done.append(taken.document)
            yield taken.batch
            if first.follow is None or taken.raw is None or not taken.more:
                break
            name = f"{first.name} page {page + 1}"
            try:
                more = first.follow(taken.raw)
            except Exception as failure:
                raw = msgspec.structs.replace(taken.raw, name=name, body=b"", sha256="")
                refused = _refused(failure)
                lost = _told(feed, _outcome(ask, raw, refused.outcome, str(refused)), raw)
                done.append(lost.document)
                yield lost.batch
                break
            if more is None:
                break
            ask = msgspec.structs.replace(first, path=more, name=name)
    raise_failures(done)


async def read_file(
    feed: Feed, parse: Parse, as_what: str = "", *, parser: int = 1
) -> AsyncIterator[Batch]:
    """Read the file that the feed's options name; a failure is raised when it is noted.

    `as_what` tells apart what one file can be read as; `parser` is raised when the parser changes.
    """
    path = Path(feed.options.get("file", ""))
    body = await asyncio.to_thread(_bytes, path)
    name = f"{path.name} as {as_what}" if as_what else path.name
    raw = feed.keep(body, name=name, url=path.name)
    ask = Ask(name=name, path="", parse=parse, parser=parser, grows=False)
    taken = await take(feed, ask, raw)
    yield taken.batch
    raise_failures([taken.document])


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise UsageError(f"{path} is larger than {FILE_LIMIT:,} bytes")
        return path.read_bytes()
    except OSError as failure:
        raise UsageError(f"{path} cannot be read: {failure.strerror}") from None


async def fetch(feed: Feed, ask: Ask) -> Taken:
    """Fetch one document and read it."""
    before = await _looks(feed, ask.name)
    well = next((d for d in before if d.outcome in _READ and d.parser == ask.parser), None)
    nothing = Raw(
        source=feed.source,
        name=ask.name,
        url=feed.shown(feed.base + ask.path),
        body=b"",
        fetched_at=feed.now(),
        provenance=feed.provenance,
    )
    if not feed.base:
        return _told(feed, _outcome(ask, nothing, SKIPPED, "switched off by a setting"), nothing)
    try:
        raw = await feed.fetch(ask.path, name=ask.name, etag=well.etag if well else None)
    except Failed as failure:
        nothing = msgspec.structs.replace(nothing, fetched_at=feed.now())
        return _told(feed, _outcome(ask, nothing, UNAVAILABLE, failure.reason), nothing)
    if raw.status == 304 and well is not None:
        raw = msgspec.structs.replace(raw, sha256=well.sha256 or "", etag=well.etag)
        return _unchanged(feed, ask, raw, well)
    return await take(feed, ask, raw, before)


async def take(feed: Feed, ask: Ask, raw: Raw, before: Sequence[Document] | None = None) -> Taken:
    """Read a document that is kept already, and settle which of its figures are new."""
    if before is None:
        before = await _looks(feed, ask.name)
    last = next((d for d in before if d.outcome in _READ), None)
    if last and last.parser == ask.parser and last.sha256 == raw.sha256:
        return _unchanged(feed, ask, raw, last)
    try:
        with localcontext(EXACT):
            rows = list(ask.parse(raw))
        if not rows:
            raise SchemaChanged("there is no figure in it")
        newest = max(filter(None, (_day(row) for row in rows)), default=None)
        _require_time_order(ask, raw, newest, last)
    except Exception as failure:
        refusal = _refused(failure)
        return _told(feed, _outcome(ask, raw, refusal.outcome, str(refusal)), raw)
    found = await _news(feed, rows, last)
    age = None if newest is None else (raw.fetched_at.date() - newest).days
    late = age is not None and ask.max_age_days is not None and age > ask.max_age_days
    document = _outcome(
        ask,
        raw,
        STALE if late else OK,
        f"its newest figure is of {newest}, {age} days old" if late else "",
        as_of=newest,
        rows=len(found),
    )
    return _told(feed, document, raw, found)


def _refused(failure: Exception) -> Refused:
    """What reading a document raised, as the reason why nothing of it is stored."""
    if isinstance(failure, Refused):
        return failure
    words = " ".join(str(failure).split())
    return SchemaChanged(f"its reader fails at it: {type(failure).__name__} {words}".strip())


def raise_failures(documents: Sequence[Document]) -> None:
    """Raise what went wrong: a network or a check failure if nothing came, else PartialError."""
    failed = [d for d in documents if d.outcome in (UNAVAILABLE, SCHEMA_CHANGED, RECONCILE_FAILED)]
    if not failed:
        return
    said = "; ".join(f"{d.name}: {d.outcome}: {d.detail}" for d in failed)
    if len(failed) < len(documents):
        raise PartialError(f"{len(failed)} of {len(documents)} documents failed: {said}")
    if all(d.outcome == UNAVAILABLE for d in failed):
        raise NetworkError(said)
    raise CheckFailed(f"{said}; what came is kept in the documents folder")


async def _looks(feed: Feed, name: str) -> list[Document]:
    """Earlier attempts at a document, the newest first."""
    return await feed.stored(
        Document,
        "source = $source AND name = $name ORDER BY fetched_at DESC LIMIT 50",
        source=feed.source,
        name=name,
    )


def _unchanged(feed: Feed, ask: Ask, raw: Raw, last: Document) -> Taken:
    outcome, detail = UNCHANGED, ""
    if last.as_of is not None and ask.max_age_days is not None:
        age = (raw.fetched_at.date() - last.as_of).days
        if age > ask.max_age_days:
            outcome = STALE
            detail = f"unchanged, its newest figure is of {last.as_of}, {age} days old"
    return _told(feed, _outcome(ask, raw, outcome, detail, as_of=last.as_of), raw)


def _told(feed: Feed, document: Document, raw: Raw, rows: Sequence[Row] = ()) -> Taken:
    if document.detail:
        feed.note(f"{document.source} {document.name}: {document.outcome}: {document.detail}")
    return Taken(document, list(rows), raw)


def _outcome(
    ask: Ask, raw: Raw, outcome: str, detail: str, *, as_of: date | None = None, rows: int = 0
) -> Document:
    came = bool(raw.body) or raw.status == 304
    return Document(
        source=raw.source,
        name=raw.name,
        url=raw.url,
        fetched_at=raw.fetched_at,
        status=raw.status,
        media_type=raw.media_type or None,
        bytes=len(raw.body) if came else None,
        sha256=raw.sha256 or None,
        etag=raw.etag,
        parser=ask.parser,
        outcome=outcome,
        detail=visible(detail, 300),
        as_of=as_of,
        rows=rows,
        provenance=raw.provenance,
    )


def _require_time_order(ask: Ask, raw: Raw, newest: date | None, last: Document | None) -> None:
    if newest is None:
        return
    if newest > raw.fetched_at.date() + timedelta(days=ask.days_ahead):
        raise SchemaChanged(f"it has a figure of {newest}, which is in the future")
    if ask.grows and last is not None and last.as_of is not None and newest < last.as_of:
        raise SchemaChanged(f"it ends at {newest}, but a figure of {last.as_of} was there before")


# --- vintages -------------------------------------------------------------------------------


async def _news(feed: Feed, rows: Sequence[Row], last: Document | None) -> list[Row]:
    """The rows that say something new, each with the time from which it counts as known."""
    found: list[Row] = []
    dropped: set[str] = set()
    for kind in dict.fromkeys(type(r) for r in rows):
        if not kind.subject:
            continue
        mine = [r for r in rows if type(r) is kind]
        known = await _newest(feed, kind, mine)
        for row in mine:
            settled = settle(row, known.get(_subject(row)), last.fetched_at if last else None)
            if settled is not None:
                found.append(settled)
            elif (statement := getattr(row, "statement", None)) is not None:
                dropped.add(statement)
    # What has no versions of its own comes and goes with the statement it belongs to.
    whole = [r for r in rows if not type(r).subject and getattr(r, "statement", "") not in dropped]
    return [*whole, *found]


async def _newest(feed: Feed, kind: type[Row], rows: Sequence[Row]) -> dict[tuple[Any, ...], Row]:
    """The newest stored version of each figure that is in the way of these."""
    first = kind.subject[0]
    order = [getattr(r, kind.order) for r in rows]
    stored = await feed.stored(
        kind,
        f"{first} IN (SELECT unnest($subjects)) AND {kind.order} BETWEEN $low AND $high "
        "ORDER BY observed_at",
        subjects=sorted({getattr(r, first) for r in rows}),
        low=min(order),
        high=max(order),
    )
    return {_subject(row): row for row in stored}


def settle(row: Any, known: Any, looked_at: datetime | None) -> Any:
    """The row as it is to be stored beside the newest version known, or None where that is equal.

    A first version that usual lag dates before the last look, at which it was not there, counts
    as known from now on. So does a correction, unless its publisher dates it after the version
    that it corrects. A figure that was corrected before the first look at it passes for its own
    first print: the publisher's files do not tell.
    """
    if known is None:
        late = looked_at is not None and row.known_at <= looked_at
        if row.published_basis == BY_RULE and late:
            return _observed(row)
        return row
    if all(getattr(row, f) == getattr(known, f) for f in type(row).figures):
        return None
    if row.published_basis == BY_SOURCE and row.known_at > known.known_at:
        return row
    return _observed(row)


def _observed(row: Any) -> Any:
    return msgspec.structs.replace(
        row, published_at=None, published_basis=BY_OBSERVATION, known_at=row.observed_at
    )


def _subject(row: Row) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in type(row).subject)


def _day(row: Row) -> date | None:
    if not type(row).subject:
        return None
    value = getattr(row, type(row).order)
    return value.date() if isinstance(value, datetime) else value


def seen(raw: Raw, published: datetime | None, basis: str) -> dict[str, Any]:
    """The columns that say where a row comes from and when it was published, seen and known."""
    return {
        "source": raw.source,
        "document": raw.sha256,
        "provenance": raw.provenance,
        "published_at": published,
        "published_basis": basis if published is not None else BY_OBSERVATION,
        "known_at": raw.fetched_at if published is None else published,
        "observed_at": raw.fetched_at,
    }
