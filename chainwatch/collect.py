"""Runs sources and stores what they yield: the one writer, resuming, retrying, reporting."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from chainwatch import frames
from chainwatch.documents import Raw
from chainwatch.errors import ChainwatchError, PartialError, Reorged, StoreError, named
from chainwatch.exchange import unread
from chainwatch.markets import Market, endpoints, find_market, scrubbed
from chainwatch.net import Http
from chainwatch.rows import Coverage, ExchangeLiquidation, Load, Reject, Row, Verification
from chainwatch.rpc import Limits, Rpc
from chainwatch.settings import Settings
from chainwatch.source import Batch, Source
from chainwatch.store import Merger, Store
from chainwatch.tokens import Token, load_tokens

FLUSH_SECONDS = 2.0
# Streams never end, and each flush is a file of each table: all of a run flush together.
STREAMS = "streams"
REPLAY = "replay"
FLUSH_ROWS = 50_000
MERGE_SECONDS = 15.0
# A stream that is told to stop says good-bye and stores what it has within this time.
STOP_SECONDS = 0.7
FOLLOW_SECONDS = 2.0
REORG_ATTEMPTS = 3
RAW_LIMIT = 10_000
# The largest document there is to be read has some 2 MB; a gzip bomb counts unpacked.
DOCUMENT_LIMIT = 8 * 2**20

R = TypeVar("R", bound=Row)


class Voice(Protocol):
    """Where progress and notes go."""

    def note(self, text: str) -> None: ...
    def progress(self, what: str, done: float, total: float | None = None) -> None: ...


class Job(msgspec.Struct, frozen=True):
    """One source with one target and its options."""

    source: Source
    target: str = ""
    options: dict[str, str] = {}

    @property
    def name(self) -> str:
        return f"{self.source.name} {self.target}".strip()


class Listener(Protocol):
    """Who hears of rows as they come, and of raw frames."""

    def rows(self, source: str, rows: Sequence[Row]) -> None: ...
    def frame(self, source: str, frame: bytes, received: datetime) -> None: ...


class Outcome(msgspec.Struct, frozen=True):
    """What became of a job: rows stored, and the failure that ended it, if any."""

    job: Job
    rows: int
    loads: int
    failure: ChainwatchError | None = None


async def collect(
    store: Store,
    settings: Settings,
    jobs: Sequence[Job],
    voice: Voice,
    *,
    seconds: float | None = None,
    stored: Callable[[Load], None] = lambda load: None,
    listener: Listener | None = None,
    clock: Clock | None = None,
) -> list[Outcome]:
    """Run all jobs side by side until they end, or for `seconds`; `stored` hears of each load.

    A load that `stored` has heard of survives a crash. Failures, foreseen or not, are returned,
    not raised: a job that fails leaves the others alone. When cancelled, streams are given
    STOP_SECONDS to store what they have.
    """
    store.create()
    run = _Run(store, settings, voice, listener, clock or _now, stored)
    async with (
        Http(authorities=settings.ca_file) as http,
        _merging(store, voice, jobs),
        _flushing(run.writer),
    ):
        tasks = [asyncio.create_task(_collect(run, http, job, seconds)) for job in jobs]
        try:
            # Unlike gather, this leaves the jobs alone when it is cancelled.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            return [await task for task in tasks]
        finally:
            streams = [t for t, j in zip(tasks, jobs, strict=True) if j.source.mode == "stream"]
            await _stop(run, streams)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _stop(run: _Run, streams: Sequence[asyncio.Task[Outcome]]) -> None:
    """Tell streams to end, and end those that do not."""
    run.stopped.set()
    if streams:
        await asyncio.wait(streams, timeout=STOP_SECONDS)
    for task in streams:
        task.cancel()
    await asyncio.gather(*streams, return_exceptions=True)


async def record(
    settings: Settings,
    jobs: Sequence[Job],
    voice: Voice,
    listener: Listener,
    *,
    seconds: float | None = None,
) -> list[Outcome]:
    """Run streams for their frames, which `listener` hears, without storing anything."""
    run = _Run(Nowhere(), settings, voice, listener)
    async with Http(authorities=settings.ca_file) as http:
        tasks = [asyncio.create_task(_collect(run, http, job, seconds)) for job in jobs]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            return [await task for task in tasks]
        finally:
            await _stop(run, tasks)


async def follow(store: Store, sources: Sequence[str], listener: Listener) -> None:
    """Let `listener` hear of what another process collects, as it is stored; never ends."""
    values: dict[str, object] = {"sources": list(sources)}
    heard = spanned = _now()
    while True:
        rows = await asyncio.to_thread(
            store.rows,
            ExchangeLiquidation,
            "received_at > $since AND list_contains($sources, source) ORDER BY received_at",
            {**values, "since": heard},
        )
        spans = await asyncio.to_thread(
            store.rows,
            Coverage,
            "to_time > $since AND list_contains($sources, source) ORDER BY to_time",
            {**values, "since": spanned},
        )
        for row in rows:
            listener.rows(row.source, [row])
            heard = row.received_at
        for span in spans:
            listener.rows(span.source, [span])
            spanned = span.to_time
        await asyncio.sleep(FOLLOW_SECONDS)


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

    for one in frames.replay(frames.read(path)):
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


class Lake(Protocol):
    """What a run asks of a store."""

    def hold(self, source: str, target: str = "") -> contextlib.AbstractContextManager[None]: ...
    def cursor(self, source: str, target: str = "") -> Any: ...
    def rows(self, row: type[R], where: str = "", values: Mapping[str, object] = {}) -> list[R]: ...
    def append(
        self, rows: Sequence[Row], *, source: str, target: str = "", cursor: Any = None
    ) -> Load: ...
    def keep(self, body: bytes) -> str: ...


class Nowhere:
    """A lake that keeps nothing."""

    def hold(self, source: str, target: str = "") -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def cursor(self, source: str, target: str = "") -> Any:
        return None

    def rows(self, row: type[R], where: str = "", values: Mapping[str, object] = {}) -> list[R]:
        return []

    def append(
        self, rows: Sequence[Row], *, source: str, target: str = "", cursor: Any = None
    ) -> Load:
        return Load(source=source, target=target, stored_at=_now(), tables="{}", rows=len(rows))

    def keep(self, body: bytes) -> str:
        raise StoreError("documents are not recorded")


Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


class _Run:
    """What all jobs of a run share."""

    def __init__(
        self,
        store: Lake,
        settings: Settings,
        voice: Voice,
        listener: Listener | None = None,
        clock: Clock = _now,
        stored: Callable[[Load], None] = lambda load: None,
    ) -> None:
        self.store = store
        self.stored = stored
        self.settings = settings
        self.voice = voice
        self.listener = listener
        self.clock = clock
        self.stopped = asyncio.Event()
        # What all streams of the run write to.
        self.writer = _Writer(store, STREAMS, "", stored)


@contextlib.asynccontextmanager
async def _merging(store: Store, voice: Voice, jobs: Sequence[Job]) -> AsyncIterator[None]:
    """Keep the loads few while streams write many."""
    if all(job.source.mode != "stream" for job in jobs):
        yield
        return
    merger = Merger(store)

    async def tick() -> None:
        while True:
            await asyncio.sleep(MERGE_SECONDS)
            try:
                await asyncio.to_thread(merger.step)
            except ChainwatchError as failure:
                voice.note(f"loads cannot be merged: {failure}")

    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        merger.close()


def raise_failures(outcomes: Sequence[Outcome]) -> None:
    """Raise what went wrong: the failure itself if nothing succeeded, else PartialError."""
    failed = [(o.job, o.failure) for o in outcomes if o.failure is not None]
    if not failed:
        return
    if len(failed) == len(outcomes) and len({f.code for _, f in failed}) == 1:
        first = failed[0][1]
        if len(failed) == 1:
            raise first
        raise type(first)("; ".join(f"{job.name}: {failure}" for job, failure in failed))
    raise PartialError(
        f"{len(failed)} of {len(outcomes)} failed: "
        + "; ".join(f"{job.name}: {failure}" for job, failure in failed)
    )


async def verify(
    store: Store,
    settings: Settings,
    job: Job,
    voice: Voice,
    *,
    sample: int | None = None,
    independent: bool = False,
) -> tuple[Verification, list[Row]]:
    """Compare a job's newest snapshot with the chain and store the result."""
    if job.source.verify is None:
        raise ValueError(f"{job.source.name} cannot be verified")
    store.require()
    async with Http(authorities=settings.ca_file) as http:
        writer = _Writer(store, job.source.name, job.target, lambda load: None)
        feed = _Feed(_Run(store, settings, voice), http, job, writer)
        result, mismatches = await job.source.verify(feed, sample, independent)
        await writer.add(Batch([*mismatches, result]))
        await writer.flush()
    return result, mismatches


async def _collect(run: _Run, http: Http, job: Job, seconds: float | None) -> Outcome:
    streaming = job.source.mode == "stream"
    writer = run.writer
    if not streaming:
        writer = _Writer(run.store, job.source.name, job.target, run.stored)
    elif seconds is not None:
        asyncio.get_running_loop().call_later(seconds, run.stopped.set)
    failure: ChainwatchError | None = None
    rows = 0
    try:
        with run.store.hold(job.source.name, job.target):
            for attempt in range(1, REORG_ATTEMPTS + 1):
                feed = _Feed(run, http, job, writer)
                # A stream is told to stop, and what all streams have is flushed by the run.
                limit = asyncio.timeout(None if streaming else seconds)
                flushing = contextlib.nullcontext() if streaming else _flushing(writer)
                try:
                    async with flushing, limit:
                        async for batch in _closing(job.source.run(feed)):
                            rows += len(batch.rows)
                            if run.listener is not None:
                                run.listener.rows(job.source.name, batch.rows)
                            await writer.add(batch)
                    break
                except TimeoutError:
                    if not limit.expired():
                        raise
                    break
                except Reorged as reorged:
                    if attempt == REORG_ATTEMPTS:
                        raise
                    run.voice.note(f"{reorged}; reading again")
            # What a stream delivered last is stored before another may collect it.
            await asyncio.shield(writer.flush())
    except ChainwatchError as known:
        failure = known
    except Exception as unforeseen:
        failure = named(unforeseen, lambda text: scrubbed(text, run.settings))
    # The writer of streams is shared: what each delivered is known, what was stored only in all.
    stored = rows if streaming else writer.rows
    return Outcome(job=job, rows=stored, loads=writer.loads, failure=failure)


async def _closing(batches: AsyncIterator[Batch]) -> AsyncIterator[Batch]:
    """The batches; their source is left in order, however the loop over them ends."""
    async with contextlib.aclosing(batches) as generator:  # type: ignore[type-var]
        async for batch in generator:
            yield batch


@contextlib.asynccontextmanager
async def _flushing(writer: _Writer) -> AsyncIterator[None]:
    """Store what is pending every few seconds while the body runs, and at its end."""

    async def tick() -> None:
        while writer.failure is None:
            await asyncio.sleep(FLUSH_SECONDS)
            with contextlib.suppress(ChainwatchError):  # told by the next add
                await writer.flush()

    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        await writer.flush()


class _Writer:
    """Gathers batches into loads, each with the cursor of its last batch."""

    def __init__(
        self, store: Lake, source: str, target: str, stored: Callable[[Load], None]
    ) -> None:
        self._store = store
        self._source = source
        self._target = target
        self._stored = stored
        self._pending: list[Row] = []
        self._cursor: Any = None
        self._lock = asyncio.Lock()
        self.rows = 0
        self.loads = 0
        self.failure: Exception | None = None

    async def add(self, batch: Batch) -> None:
        if self.failure is not None:
            raise self.failure
        self._pending += batch.rows
        if batch.cursor is not None:
            self._cursor = batch.cursor
        if len(self._pending) >= FLUSH_ROWS:
            await self.flush()

    def reject(self, row: Reject) -> None:
        self._pending.append(row)

    async def flush(self) -> None:
        """Store what is pending; returns when nothing is being written any more.

        Shielded: whoever stops waiting, a load that is begun is finished, counted and told.
        """
        flushing = asyncio.ensure_future(self._flush())
        # Its failure is kept for whoever asks next, also where nobody waits for it any more.
        flushing.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(flushing)

    async def _flush(self) -> None:
        async with self._lock:
            if self.failure is not None:
                raise self.failure
            if not self._pending and self._cursor is None:
                return
            rows, cursor = self._pending, self._cursor
            self._pending, self._cursor = [], None
            try:
                load = await asyncio.to_thread(
                    self._store.append,
                    rows,
                    source=self._source,
                    target=self._target,
                    cursor=cursor,
                )
            except Exception as failure:
                self.failure = failure
                raise
            self.rows += len(rows)
            self.loads += 1
            self._stored(load)


class _Feed:
    """What a source sees of the world (chainwatch.source.Feed)."""

    def __init__(self, run: _Run, http: Http, job: Job, writer: _Writer) -> None:
        self._store = run.store
        self._settings = run.settings
        self._voice = run.voice
        self._listener = run.listener
        self._clock = run.clock
        self._job = job
        self._writer = writer
        self._asked_at = float("-inf")
        self.http = http
        self.stopped = run.stopped
        self.source = job.source.name
        self.target = job.target
        self.options = job.options
        base = run.settings.url(job.source.name, job.source.base)
        self.base = base.value
        self._shown_base = base.shown
        self.provenance = job.options.get("provenance", job.source.provenance)

    @property
    def cursor(self) -> Any:
        return self._store.cursor(self._job.source.name, self._job.target)

    def shown(self, url: str) -> str:
        if self.base and url.startswith(self.base):
            return self._shown_base + url.removeprefix(self.base)
        return url

    def url(self, kind: str, default: str) -> str:
        found = self._settings.feed_url(kind, self._job.source.name)
        return found.value if found else default

    def market(self) -> Market:
        return find_market(self._settings, self._job.source.protocol, self._job.target)

    def tokens(self) -> dict[str, Token]:
        return load_tokens(self._settings)

    async def rpc(self, market: Market) -> Rpc:
        client = Rpc(
            self.http,
            endpoints(self._settings, market),
            chain=market.chain,
            chain_id=market.chain_id,
            settings=Limits(timeout=self._settings.timeout),
        )
        await client.check()
        return client

    async def fetch(self, path: str, *, name: str, etag: str | None = None) -> Raw:
        wait = self._asked_at + self._job.source.spacing - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        url = self.base + path
        try:
            response = await self.http.get(
                url,
                headers={"If-None-Match": etag} if etag else None,
                timeout=self._settings.timeout,
                max_bytes=DOCUMENT_LIMIT,
            )
        finally:
            self._asked_at = time.monotonic()
        raw = Raw(
            source=self.source,
            name=name,
            url=self.shown(url),
            body=response.body,
            fetched_at=self.now(),
            media_type=response.headers.get("Content-Type", ""),
            status=response.status,
            etag=response.headers.get("ETag"),
            provenance=self.provenance,
        )
        if response.status == 304:
            return raw
        sha256 = await asyncio.to_thread(self._store.keep, response.body)
        return msgspec.structs.replace(raw, sha256=sha256)

    def keep(self, body: bytes, *, name: str, url: str, media_type: str = "") -> Raw:
        return Raw(
            source=self.source,
            name=name,
            url=self.shown(url),
            body=body,
            fetched_at=self.now(),
            sha256=self._store.keep(body),
            media_type=media_type,
            provenance=self.provenance,
        )

    def now(self) -> datetime:
        return self._clock()

    async def stored(self, table: type[R], where: str = "", **values: object) -> list[R]:
        await self._writer.flush()
        return await asyncio.to_thread(self._store.rows, table, where, values)

    def progress(self, what: str, done: float, total: float | None = None) -> None:
        self._voice.progress(what, done, total)

    def note(self, text: str) -> None:
        self._voice.note(text)

    def record(self, frame: bytes, received: datetime) -> None:
        if self._listener is not None:
            self._listener.frame(self._job.source.name, frame, received)

    def reject(self, raw: str, reason: str) -> None:
        self._writer.reject(
            Reject(
                source=self._job.source.name,
                target=self._job.target,
                received_at=self.now(),
                reason=reason,
                raw=raw[:RAW_LIMIT],
            )
        )


def load_line(load: Load) -> Mapping[str, object]:
    """What is told of a stored load: the acknowledgement of `collect`."""
    return {
        "source": load.source,
        "target": load.target,
        "stored_at": load.stored_at.isoformat(),
        "rows": load.rows,
        "tables": json.loads(load.tables),
        "cursor": json.loads(load.cursor) if load.cursor else None,
    }
