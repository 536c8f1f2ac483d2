"""RUNNER"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from chainwatch.chain.markets import scrubbed
from chainwatch.collect.feed import Feed, Job, Listener, Outcome, Run, Voice
from chainwatch.collect.source import Batch
from chainwatch.collect.writer import (
    Clock,
    Nowhere,
    Writer,
    flushing,
    utc_now,
)
from chainwatch.errors import ChainwatchError, PartialError, Reorged, named
from chainwatch.lake.merge import Merger
from chainwatch.lake.store import Store
from chainwatch.net.http import Http
from chainwatch.settings import Settings
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Coverage, ExchangeLiquidation
from chainwatch.tables.lending import Verification
from chainwatch.tables.log import Load

MERGE_SECONDS = 15.0
# A stream that is told to stop says good-bye and stores what it has within this time.
STOP_SECONDS = 0.7
FOLLOW_SECONDS = 2.0
REORG_ATTEMPTS = 3


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
    run = Run(store, settings, voice, listener, clock or utc_now, stored)
    async with (
        Http(authorities=settings.ca_file) as http,
        _merging(store, voice, jobs),
        flushing(run.writer),
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


async def _stop(run: Run, streams: Sequence[asyncio.Task[Outcome]]) -> None:
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
    run = Run(Nowhere(), settings, voice, listener)
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
    heard = spanned = utc_now()
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
        writer = Writer(store, job.source.name, job.target, lambda load: None)
        feed = Feed(Run(store, settings, voice), http, job, writer)
        result, mismatches = await job.source.verify(feed, sample, independent)
        await writer.add(Batch([*mismatches, result]))
        await writer.flush()
    return result, mismatches


async def _collect(run: Run, http: Http, job: Job, seconds: float | None) -> Outcome:
    streaming = job.source.mode == "stream"
    writer = run.writer
    if not streaming:
        writer = Writer(run.store, job.source.name, job.target, run.stored)
    elif seconds is not None:
        asyncio.get_running_loop().call_later(seconds, run.stopped.set)
    failure: ChainwatchError | None = None
    rows = 0
    try:
        with run.store.hold(job.source.name, job.target):
            for attempt in range(1, REORG_ATTEMPTS + 1):
                feed = Feed(run, http, job, writer)
                # A stream is told to stop, and what all streams have is flushed by the run.
                limit = asyncio.timeout(None if streaming else seconds)
                regular = contextlib.nullcontext() if streaming else flushing(writer)
                try:
                    async with regular, limit:
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
