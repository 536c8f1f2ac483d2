"""A night: what is due is read, verified, compacted, thinned, checked and exported, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from chainwatch.collect.feed import Job
from chainwatch.collect.registry import discover
from chainwatch.errors import CheckFailed, as_chainwatch_error
from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.nightly.compaction import MergeTimes, compact
from chainwatch.nightly.export import export_day
from chainwatch.nightly.manifest import outdated
from chainwatch.nightly.record import (
    EXPORT,
    Night,
    exit_code,
    now_text,
    read_record,
    record_path,
    write_record,
)
from chainwatch.nightly.retention import Retention, thin
from chainwatch.tables.lending import Snapshot
from chainwatch.tables.log import Load

T = TypeVar("T")
DUE_SECONDS = 20 * 3_600.0
FUTURE_SECONDS = 3_600.0


class Collector(Protocol):
    """What a night needs from the network: to read and to verify one job."""

    def collect(self, job: Job) -> int:
        """Read and store a job; the number of rows. Raises what failed."""

    def verify(self, job: Job) -> int:
        """Compare a job with the chain; the number of accounts. Raises CheckFailed."""


class Step(msgspec.Struct, frozen=True):
    """One step: its name in the record, and the work, which returns a text of what it did.

    `again`: its input may have changed since the record says that it was done.
    """

    name: str
    work: Callable[[], str]
    again: bool = False


# --- what is due ----------------------------------------------------------------------------------


def due_jobs(store: Store, now: datetime, due_seconds: float = DUE_SECONDS) -> list[Job]:
    """Every source and target that was read before, and not within `due_seconds`; no streams."""
    sources = discover()
    newest: dict[tuple[str, str], datetime] = {}
    for load in store.rows(Load):
        key = (load.source, load.target)
        newest[key] = max(newest.get(key, load.stored_at), load.stored_at)
    scopes = {s.market: s.scope for s in sorted(store.rows(Snapshot), key=lambda s: s.read_at)}
    return [
        Job(
            sources[name],
            target=target,
            options={"accounts": scopes[target]} if target in scopes else {},
        )
        for (name, target), stored in sorted(newest.items())
        if name in sources
        and sources[name].mode == "poll"
        # What was stored in the future was stored before the clock was set back.
        and not -FUTURE_SECONDS < (now - stored).total_seconds() < due_seconds
    ]


# --- the night ------------------------------------------------------------------------------------


class NightOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a night keeps, exports and reads.

    `only` limits what a run reads to some sources, and a later one reads the others; a source is
    due that was not read for `due_seconds`.
    """

    policy: Retention
    formats: Sequence[str] = ("parquet",)
    only: Sequence[str] = ()
    due_seconds: float = DUE_SECONDS
    merge: MergeTimes = MergeTimes()


def run_night(
    store: Store,
    out: Path,
    collector: Collector,
    options: NightOptions,
    *,
    now: datetime | None = None,
    progress: Callable[[str], None] = lambda step: None,
    more: Sequence[Step] = (),
) -> Night:
    """Do what is not done yet of the night that `now` is in; failures are in its record.

    `more` are steps after the export. Whatever a step raises is its failure, and the others go
    on. Raises StoreBusy naming the process that does the same, StoreError where no record can be
    written.
    """
    now = now or datetime.now(UTC)
    store.require()
    store.create()
    with store.hold("nightly"):
        path = record_path(store, f"{now:%Y-%m-%d}")
        night = read_record(path, f"{now:%Y-%m-%d}")
        night.runs += 1
        night.started_at = night.started_at or now_text()
        for step in chain(_steps(store, out, collector, night, options, now), more):
            if night.done(step.name) and not step.again:
                continue
            progress(step.name)
            night.steps[step.name] = _do(step)
            write_record(path, night)
        night.code = exit_code(night)
        night.finished_at = now_text()
        write_record(path, night)
    return night


def _do(step: Step) -> dict[str, Any]:
    """Do a step; its entry in the record."""
    begin = time.monotonic()
    try:
        entry: dict[str, Any] = {"state": "done", "detail": step.work()}
    except Exception as failure:
        error = as_chainwatch_error(failure)
        entry = {"state": "failed", "detail": str(error), "code": int(error.code)}
    return entry | {"ended_at": now_text(), "seconds": round(time.monotonic() - begin, 3)}


def _steps(
    store: Store,
    out: Path,
    collector: Collector,
    night: Night,
    options: NightOptions,
    now: datetime,
) -> Iterator[Step]:
    """The steps of the night, in order; what is due is decided when its turn comes."""
    planned, failing = _attempt(
        lambda: _planned(store, night, now, options.due_seconds, options.only), dict[str, Job]()
    )
    yield from failing("collect")
    more_stored = False
    for name, job in planned.items():
        more_stored = more_stored or not night.done(name)
        yield Step(name, lambda job=job: f"{collector.collect(job)} rows")  # type: ignore[misc]
        if job.source.verify is not None and night.done(name):
            yield Step(
                f"verify {job.name}",
                lambda job=job: f"{collector.verify(job)} accounts equal",  # type: ignore[misc]
            )
    yield Step("compact", lambda: compact(store, options.merge), more_stored)
    yield Step("retention", lambda: thin(store, options.policy, now, options.merge), more_stored)
    yield Step("checks", lambda: _check(store), more_stored)
    # Days that are over and whose stored rows differ from those of their manifest: because of a
    # second run, a history, a block that left the chain.
    changed, failing = _attempt(lambda: outdated(store, out), dict[date, str]())
    yield from failing("export")
    days = {day for day in changed if day < now.date()}
    failed = (n.removeprefix(EXPORT) for n in night.failed if n.startswith(EXPORT))
    for day in sorted(days | {date.fromisoformat(text) for text in failed}):
        yield Step(
            f"{EXPORT}{day:%Y-%m-%d}",
            lambda day=day: _export(store, out, day, options.formats),  # type: ignore[misc]
            again=True,
        )


def _attempt(make: Callable[[], T], instead: T) -> tuple[T, Callable[[str], Iterator[Step]]]:
    """A list of what is to be done; where it cannot be made, a step that fails takes its place."""
    try:
        return make(), lambda name: iter(())
    except Exception as failure:
        reason = failure

    def work() -> str:
        raise reason

    return instead, lambda name: iter((Step(name, work),))


def _planned(
    store: Store, night: Night, now: datetime, due_seconds: float, only: Sequence[str]
) -> dict[str, Job]:
    """The jobs of the night, of the sources in `only`.

    All are recorded before the first begins: a job stays due although what it stored makes it
    look fresh, or a run left it out.
    """
    if night.jobs is None:
        night.jobs = {
            f"collect {job.name}": (job.source.name, job.target, job.options)
            for job in due_jobs(store, now, due_seconds)
        }
        write_record(record_path(store, night.night), night)
    sources = discover()
    return {
        name: Job(sources[source], target=target, options=options)
        for name, (source, target, options) in night.jobs.items()
        if source in sources and (not only or source in only)
    }


def _check(store: Store) -> str:
    with query.open_catalog(store) as catalog:
        checks = [q for q in query.load_all().values() if q.group == "checks"]
        rows_by_check = {q.name: len(query.run(catalog, q).rows) for q in checks}
    segments = store.require_unchanged()
    bad = {name: rows for name, rows in rows_by_check.items() if rows}
    if bad:
        raise CheckFailed(", ".join(f"{name} found {rows} row(s)" for name, rows in bad.items()))
    return f"{len(checks)} checks found nothing, {segments:,} segments as stored"


def _export(store: Store, out: Path, day: date, formats: Sequence[str]) -> str:
    done = export_day(store, out, day, formats=formats)
    return f"{sum(done.rows.values())} rows in {len(done.rows)} marts" + (
        "" if done.changed else ", as they were"
    )
