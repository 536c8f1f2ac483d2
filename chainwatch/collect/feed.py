"""The feed of a job: what its source may use, and what all jobs of a run share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec

from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market, endpoints, find_market, load_markets
from chainwatch.chain.tokens import Token, load_tokens
from chainwatch.chain.types import Limits
from chainwatch.collect.document import Raw
from chainwatch.collect.source import Source
from chainwatch.collect.writer import RAW_LIMIT, Clock, Lake, Writer, utc_now
from chainwatch.errors import ChainwatchError
from chainwatch.net.http import Http
from chainwatch.settings import Settings
from chainwatch.tables.base import Row
from chainwatch.tables.columns import Holdings
from chainwatch.tables.log import Load, Reject

R = TypeVar("R", bound=Row)
# Streams do not end, and each flush is a file of each table: all streams of a run flush
# together.
STREAMS = "streams"
# The largest document that is read has some 2 MB; compressed answers count unpacked.
DOCUMENT_LIMIT = 8 * 2**20


class Progress(Protocol):
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
    """What gets rows as they come, and raw frames."""

    def rows(self, source: str, rows: Sequence[Row]) -> None: ...
    def frame(self, source: str, frame: bytes, received: datetime) -> None: ...


class Outcome(msgspec.Struct, frozen=True):
    """The result of a job: rows stored, and the failure that ended it, if any."""

    job: Job
    rows: int
    loads: int
    failure: ChainwatchError | None = None


class Run:
    """What all jobs of a run share."""

    def __init__(
        self,
        store: Lake,
        settings: Settings,
        progress: Progress,
        listener: Listener | None = None,
        clock: Clock = utc_now,
        stored: Callable[[Load], None] = lambda load: None,
    ) -> None:
        self.store = store
        self.stored = stored
        self.settings = settings
        self.progress = progress
        self.listener = listener
        self.clock = clock
        self.stopped = asyncio.Event()
        # What all streams of the run write to.
        self.writer = Writer(store, STREAMS, "", stored)


class JobFeed:
    """The feed of one job (chainwatch.collect.source.Feed)."""

    def __init__(self, run: Run, http: Http, job: Job, writer: Writer) -> None:
        self._store = run.store
        self._settings = run.settings
        self._progress = run.progress
        self._listener = run.listener
        self._clock = run.clock
        self._job = job
        self._writer = writer
        self._requested_at = float("-inf")
        self.http = http
        self.stopped = run.stopped
        self.source = job.source.name
        self.target = job.target
        self.options = job.options
        base = run.settings.url(job.source.name, job.source.base)
        self.base = base.value
        self._shown = {base.value: base.shown}
        self.provenance = job.options.get("provenance", job.source.provenance)

    @property
    def cursor(self) -> Any:
        return self._store.cursor(self._job.source.name, self._job.target)

    def shown(self, url: str) -> str:
        for base, shown in self._shown.items():
            if base and url.startswith(base):
                return shown + url.removeprefix(base)
        return url

    def venue_base(self, venue: str) -> str:
        configured = self._settings.ccxt_url(venue)
        if configured is None:
            return self.base
        self._shown[configured.value] = configured.shown
        return configured.value

    def url(self, kind: str, default: str) -> str:
        configured = self._settings.feed_url(kind, self._job.source.name)
        return configured.value if configured else default

    def market(self) -> Market:
        return find_market(self._settings, self._job.source.protocol, self._job.target)

    def pools(self) -> frozenset[str]:
        chain_id = self.market().chain_id
        markets = load_markets(self._settings).values()
        return frozenset(m.pool for m in markets if m.chain_id == chain_id)

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
        wait = self._requested_at + self._job.source.spacing - time.monotonic()
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
            self._requested_at = time.monotonic()
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

    async def holdings(self, snapshot: str) -> Holdings:
        await self._writer.flush()
        return await asyncio.to_thread(self._store.holdings, snapshot)

    def progress(self, what: str, done: float, total: float | None = None) -> None:
        self._progress.progress(what, done, total)

    def note(self, text: str) -> None:
        self._progress.note(text)

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
