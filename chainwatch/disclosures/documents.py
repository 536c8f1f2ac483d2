"""Documents of publishers: fetched or read from a file, parsed, and recorded with their outcome.

A document whose bytes did not change is not parsed again. Nothing is stored of a document that
fails: its outcome and reason are recorded, and its bytes are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import date, timedelta
from decimal import localcontext
from pathlib import Path
from typing import TYPE_CHECKING

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
from chainwatch.disclosures.vintages import day_of, new_rows
from chainwatch.errors import CheckFailed, NetworkError, PartialError, UsageError
from chainwatch.net.errors import Failed
from chainwatch.tables.base import Row
from chainwatch.tables.disclosure import Document
from chainwatch.text import visible

if TYPE_CHECKING:
    from chainwatch.collect.source import Feed

# Outcomes after which the figures of the same bytes need not be read again.
_READ = (OK, UNCHANGED, STALE)

FILE_LIMIT = 64 * 2**20
MAX_PAGES = 100
# A publisher may be a day ahead of UTC.
DAYS_AHEAD = 1


Parse = Callable[[Raw], Sequence[Row]]


class DocumentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One document of a source: where it is, its parser, and what is expected of it."""

    name: str
    path: str  # below the source's base URL
    parse: Parse
    parser: int = 1  # raised when the parser changes: the same bytes are then read again
    max_age_days: int | None = None  # older than this is stale
    days_ahead: int = DAYS_AHEAD  # figures may lie this far in the future
    grows: bool = True  # the newest day may never go back
    follow: Callable[[Raw], str | None] | None = None  # path of the next page, if there is one


class ReadDocument(msgspec.Struct, frozen=True):
    """A document with its outcome and its new rows."""

    document: Document
    rows: list[Row]
    raw: Raw | None = None

    @property
    def failed(self) -> bool:
        return self.document.outcome in (UNAVAILABLE, SCHEMA_CHANGED, RECONCILE_FAILED)

    @property
    def may_continue(self) -> bool:
        """Whether it may have the path of a next page."""
        return self.raw is not None and bool(self.raw.body) and not self.failed

    @property
    def batch(self) -> Batch:
        """The rows, and last the document that makes them valid."""
        return Batch([*self.rows, self.document])


async def read(feed: Feed, requests: Iterable[DocumentRequest]) -> AsyncIterator[Batch]:
    """Fetch and read documents one after another; failures are raised when all are done.

    `only` in the feed's options limits them by name.
    """
    by_name = {request.name: request for request in requests}
    selected = select(feed.source, feed.options.get("only", ""), dict.fromkeys(by_name, ()))
    documents = []
    for number, name in enumerate(selected):
        feed.progress(feed.source, number, len(selected))
        async for document in _read_pages(feed, by_name[name]):
            documents.append(document.document)
            yield document.batch
    raise_failures(documents)


async def _read_pages(feed: Feed, first: DocumentRequest) -> AsyncIterator[ReadDocument]:
    """A document and the pages that follow it; a path that cannot be read is one of them."""
    request = first
    for page in range(1, MAX_PAGES + 1):
        document = await fetch(feed, request)
        yield document
        if first.follow is None or document.raw is None or not document.may_continue:
            return
        name = f"{first.name} page {page + 1}"
        try:
            path = first.follow(document.raw)
        except Exception as failure:
            raw = msgspec.structs.replace(document.raw, name=name, body=b"", sha256="")
            refused = _refused(failure)
            yield _note(feed, _outcome(request, raw, refused.outcome, str(refused)), raw)
            return
        if path is None:
            return
        request = msgspec.structs.replace(first, path=path, name=name)


async def read_file(
    feed: Feed, parse: Parse, reading: str = "", *, parser: int = 1
) -> AsyncIterator[Batch]:
    """Read the file that the feed's options name; a failure is raised after it is recorded.

    `reading` names what the file is read as, where there is a choice; `parser` is raised when the
    parser changes.
    """
    path = Path(feed.options.get("file", ""))
    body = await asyncio.to_thread(_bytes, path)
    name = f"{path.name} as {reading}" if reading else path.name
    raw = feed.keep(body, name=name, url=path.name)
    request = DocumentRequest(name=name, path="", parse=parse, parser=parser, grows=False)
    document = await read_kept(feed, request, raw)
    yield document.batch
    raise_failures([document.document])


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise UsageError(f"{path} is larger than {FILE_LIMIT:,} bytes")
        return path.read_bytes()
    except OSError as failure:
        raise UsageError(f"{path} cannot be read: {failure.strerror}") from None


async def fetch(feed: Feed, request: DocumentRequest) -> ReadDocument:
    """Fetch one document and read it."""
    attempts = await _attempts(feed, request.name)
    last = next((d for d in attempts if d.outcome in _READ and d.parser == request.parser), None)
    empty = Raw(
        source=feed.source,
        name=request.name,
        url=feed.shown(feed.base + request.path),
        body=b"",
        fetched_at=feed.now(),
        provenance=feed.provenance,
    )
    if not feed.base:
        return _note(feed, _outcome(request, empty, SKIPPED, "switched off by a setting"), empty)
    try:
        raw = await feed.fetch(request.path, name=request.name, etag=last.etag if last else None)
    except Failed as failure:
        empty = msgspec.structs.replace(empty, fetched_at=feed.now())
        return _note(feed, _outcome(request, empty, UNAVAILABLE, failure.reason), empty)
    if raw.status == 304 and last is not None:
        raw = msgspec.structs.replace(raw, sha256=last.sha256 or "", etag=last.etag)
        return _unchanged(feed, request, raw, last)
    return await read_kept(feed, request, raw, attempts)


async def read_kept(
    feed: Feed,
    request: DocumentRequest,
    raw: Raw,
    attempts: Sequence[Document] | None = None,
) -> ReadDocument:
    """Parse a document whose bytes are kept already; only its new figures become rows.

    `attempts` are the earlier ones at it, the newest first.
    """
    if attempts is None:
        attempts = await _attempts(feed, request.name)
    last = next((d for d in attempts if d.outcome in _READ), None)
    if last and last.parser == request.parser and last.sha256 == raw.sha256:
        return _unchanged(feed, request, raw, last)
    try:
        with localcontext(EXACT):
            rows = list(request.parse(raw))
        if not rows:
            raise SchemaChanged("expected figures, got none")
        newest = max(filter(None, (day_of(row) for row in rows)), default=None)
        _require_time_order(request, raw, newest, last)
    except Exception as failure:
        refusal = _refused(failure)
        return _note(feed, _outcome(request, raw, refusal.outcome, str(refusal)), raw)
    new = await new_rows(feed, rows, last)
    age = None if newest is None else (raw.fetched_at.date() - newest).days
    late = age is not None and request.max_age_days is not None and age > request.max_age_days
    document = _outcome(
        request,
        raw,
        STALE if late else OK,
        f"its newest figure is of {newest}, {age} days old" if late else "",
        as_of=newest,
        rows=len(new),
    )
    return _note(feed, document, raw, new)


def _refused(failure: Exception) -> Refused:
    """What parsing a document raised, as the reason why nothing of it is stored."""
    if isinstance(failure, Refused):
        return failure
    words = " ".join(str(failure).split())
    return SchemaChanged(f"its parser fails: {type(failure).__name__} {words}".strip())


def raise_failures(documents: Sequence[Document]) -> None:
    """Raise what went wrong: a network or a check failure if nothing came, else PartialError."""
    failed = [d for d in documents if d.outcome in (UNAVAILABLE, SCHEMA_CHANGED, RECONCILE_FAILED)]
    if not failed:
        return
    reasons = "; ".join(f"{d.name}: {d.outcome}: {d.detail}" for d in failed)
    if len(failed) < len(documents):
        raise PartialError(f"{len(failed)} of {len(documents)} documents failed: {reasons}")
    if all(d.outcome == UNAVAILABLE for d in failed):
        raise NetworkError(reasons)
    raise CheckFailed(f"{reasons}; their bytes are kept in the documents folder")


async def _attempts(feed: Feed, name: str) -> list[Document]:
    """Earlier attempts at a document, the newest first."""
    return await feed.stored(
        Document,
        "source = $source AND name = $name ORDER BY fetched_at DESC LIMIT 50",
        source=feed.source,
        name=name,
    )


def _unchanged(feed: Feed, request: DocumentRequest, raw: Raw, last: Document) -> ReadDocument:
    outcome, detail = UNCHANGED, ""
    if last.as_of is not None and request.max_age_days is not None:
        age = (raw.fetched_at.date() - last.as_of).days
        if age > request.max_age_days:
            outcome = STALE
            detail = f"unchanged, its newest figure is of {last.as_of}, {age} days old"
    return _note(feed, _outcome(request, raw, outcome, detail, as_of=last.as_of), raw)


def _note(feed: Feed, document: Document, raw: Raw, rows: Sequence[Row] = ()) -> ReadDocument:
    if document.detail:
        feed.note(f"{document.source} {document.name}: {document.outcome}: {document.detail}")
    return ReadDocument(document, list(rows), raw)


def _outcome(
    request: DocumentRequest,
    raw: Raw,
    outcome: str,
    detail: str,
    *,
    as_of: date | None = None,
    rows: int = 0,
) -> Document:
    answered = bool(raw.body) or raw.status == 304
    return Document(
        source=raw.source,
        name=raw.name,
        url=raw.url,
        fetched_at=raw.fetched_at,
        status=raw.status,
        media_type=raw.media_type or None,
        bytes=len(raw.body) if answered else None,
        sha256=raw.sha256 or None,
        etag=raw.etag,
        parser=request.parser,
        outcome=outcome,
        detail=visible(detail, 300),
        as_of=as_of,
        rows=rows,
        provenance=raw.provenance,
    )


def _require_time_order(
    request: DocumentRequest, raw: Raw, newest: date | None, last: Document | None
) -> None:
    if newest is None:
        return
    if newest > raw.fetched_at.date() + timedelta(days=request.days_ahead):
        raise SchemaChanged(f"it has a figure of {newest}, which is in the future")
    if request.grows and last is not None and last.as_of is not None and newest < last.as_of:
        raise SchemaChanged(
            f"expected figures up to {last.as_of}, stored before, got them up to {newest}"
        )
