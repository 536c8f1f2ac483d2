"""Runs jobs side by side: sources, their writers, and the merging of what streams write."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from chainwatch.chain.markets import scrubbed
from chainwatch.collect.feed import Job, JobFeed, Listener, Outcome, Progress, Run
from chainwatch.collect.predictions import PredictedWall
from chainwatch.collect.source import Batch
from chainwatch.collect.writer import (
    Clock,
    DiscardingLake,
    Writer,
    flushing,
    utc_now,
)
from chainwatch.errors import ChainwatchError, PartialError, Reorged, as_chainwatch_error
from chainwatch.lake.merge import Merger
from chainwatch.lake.store import Store
from chainwatch.net.http import Http
from chainwatch.settings import Settings
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Coverage, ExchangeLiquidation
from chainwatch.tables.lending import Verification
from chainwatch.tables.log import Load

MERGE_SECONDS = 15.0
# A collection that ends begins no merge after this time.
MERGE_BUDGET_SECONDS = 3.0
# A stream that must stop closes its sockets and stores what it has within this time.
STOP_SECONDS = 0.7
FOLLOW_SECONDS = 2.0
REORG_ATTEMPTS = 3


async def collect(
    store: Store,
    settings: Settings,
    jobs: Sequence[Job],
    progress: Progress,
    *,
    seconds: float | None = None,
    stored: Callable[[Load], None] = lambda load: None,
    listener: Listener | None = None,
    clock: Clock | None = None,
) -> list[Outcome]:
    """Run all jobs side by side until they end, or for `seconds`; `stored` gets each load.

    A load that `stored` has got survives a crash. Failures, expected or not, are returned,
    not raised: a job that fails leaves the others alone. When cancelled, streams are given
    STOP_SECONDS to store what they have.
    """
    store.create()
    run = Run(store, settings, progress, listener, clock or utc_now, stored)
    async with (
        Http(authorities=settings.ca_file) as http,
        _merging(store, progress, jobs),
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
    """Ask streams to end, and cancel those that do not."""
    run.stopped.set()
    if streams:
        await asyncio.wait(streams, timeout=STOP_SECONDS)
    for task in streams:
        task.cancel()
    await asyncio.gather(*streams, return_exceptions=True)


async def record(
    settings: Settings,
    jobs: Sequence[Job],
    progress: Progress,
    listener: Listener,
    *,
    seconds: float | None = None,
) -> list[Outcome]:
    """Run streams for their frames, which `listener` gets, without storing anything."""
    run = Run(DiscardingLake(), settings, progress, listener)
    async with Http(authorities=settings.ca_file) as http:
        tasks = [asyncio.create_task(_collect(run, http, job, seconds)) for job in jobs]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            return [await task for task in tasks]
        finally:
            await _stop(run, tasks)


async def follow(store: Store, sources: Sequence[str], listener: Listener) -> None:
    """Give `listener` what another process collects, as it is stored; never ends."""
    values: dict[str, object] = {"sources": list(sources)}
    last_row_at = last_span_at = utc_now()
    while True:
        rows = await asyncio.to_thread(
            store.rows,
            ExchangeLiquidation,
            "received_at > $since AND list_contains($sources, source) ORDER BY received_at",
            {**values, "since": last_row_at},
        )
        spans = await asyncio.to_thread(
            store.rows,
            Coverage,
            "to_time > $since AND list_contains($sources, source) ORDER BY to_time",
            {**values, "since": last_span_at},
        )
        for row in rows:
            listener.rows(row.source, [row])
            last_row_at = row.received_at
        for span in spans:
            listener.rows(span.source, [span])
            last_span_at = span.to_time
        await asyncio.sleep(FOLLOW_SECONDS)


@contextlib.asynccontextmanager
async def _merging(store: Store, progress: Progress, jobs: Sequence[Job]) -> AsyncIterator[None]:
    """Merge loads while streams write many small ones, or else at the end those of earlier days."""
    merger = Merger(store)
    if all(job.source.mode != "stream" for job in jobs):
        yield
        try:
            await asyncio.to_thread(merger.step, seconds=MERGE_BUDGET_SECONDS)
        except ChainwatchError as failure:
            progress.note(f"loads cannot be merged: {failure}")
        finally:
            merger.close()
        return

    async def tick() -> None:
        while True:
            await asyncio.sleep(MERGE_SECONDS)
            try:
                await asyncio.to_thread(merger.step)
            except ChainwatchError as failure:
                progress.note(f"loads cannot be merged: {failure}")

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
    progress: Progress,
    *,
    sample: int | None = None,
    independent: bool = False,
    walls: Sequence[PredictedWall] = (),
) -> tuple[Verification, list[Row]]:
    """Compare a job's newest snapshot, and these walls of it, with the chain; store the result."""
    if job.source.verify is None:
        raise ValueError(f"{job.source.name} cannot be verified")
    store.require()
    async with Http(authorities=settings.ca_file) as http:
        writer = Writer(store, job.source.name, job.target, lambda load: None)
        feed = JobFeed(Run(store, settings, progress), http, job, writer)
        result, mismatches = await job.source.verify(feed, sample, independent, walls)
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
                feed = JobFeed(run, http, job, writer)
                # A stream stops by `stopped`, and the run flushes what all streams have.
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
                    run.progress.note(f"{reorged}; reading again")
            # What a stream delivered last is stored before another may collect it.
            await asyncio.shield(writer.flush())
    except ChainwatchError as expected:
        failure = expected
    except Exception as unexpected:
        failure = as_chainwatch_error(unexpected, lambda text: scrubbed(text, run.settings))
    # Streams share a writer: it counts what all of them stored, `rows` what this one delivered.
    stored = rows if streaming else writer.rows
    return Outcome(job=job, rows=stored, loads=writer.loads, failure=failure)


async def _closing(batches: AsyncIterator[Batch]) -> AsyncIterator[Batch]:
    """The batches; their generator is closed, however the loop over them ends."""
    async with contextlib.aclosing(batches) as generator:  # type: ignore[type-var]
        async for batch in generator:
            yield batch


def load_line(load: Load) -> Mapping[str, object]:
    """What is printed of a stored load: the acknowledgement of `collect`."""
    return {
        "source": load.source,
        "target": load.target,
        "stored_at": load.stored_at.isoformat(),
        "rows": load.rows,
        "tables": json.loads(load.tables),
        "cursor": json.loads(load.cursor) if load.cursor else None,
    }
