"""NIGHT"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from chainwatch import numbers
from chainwatch.collect.feed import Job
from chainwatch.collect.registry import discover
from chainwatch.errors import (
    CheckFailed,
    Exit,
    named,
)
from chainwatch.lake import query
from chainwatch.lake.faults import writing
from chainwatch.lake.merge import MERGE_GRACE_SECONDS, MERGE_SETTLE_SECONDS
from chainwatch.lake.store import Store
from chainwatch.nightly import export
from chainwatch.nightly.retention import Retention, finish, merging, thin
from chainwatch.tables.lending import Snapshot
from chainwatch.tables.log import Load

T = TypeVar("T")
DUE_SECONDS = 20 * 3_600.0
FUTURE_SECONDS = 3_600.0
# A collector merges its own loads in between; so long a turn is waited for.
MERGE_PATIENCE_SECONDS = 60.0

_EXPORT = "export "


class Collector(Protocol):
    """What the night needs of the network: reads and verifications, each of one job."""

    def collect(self, job: Job) -> int:
        """Rows stored; raises what failed."""

    def verify(self, job: Job) -> int:
        """Accounts compared; raises CheckFailed where any differs."""


class Step(msgspec.Struct, frozen=True):
    """One thing to do: its name in the record, and the work, which says what it did.

    `again`: what it works on is not what it was when the record says that it was done.
    """

    name: str
    work: Callable[[], str]
    again: bool = False


class Ended(msgspec.Struct, frozen=True):
    """How a step ended, as its entry in the record says it."""

    state: Literal["done", "failed"]
    detail: str
    ended_at: str
    seconds: float
    code: int = 0


class Night(msgspec.Struct):
    """What is known of one night; its JSON is the run record."""

    night: str
    jobs: dict[str, tuple[str, str, dict[str, str]]] | None = None
    steps: dict[str, dict[str, Any]] = {}
    started_at: str = ""
    finished_at: str = ""
    runs: int = 0
    code: int = 0

    def done(self, name: str) -> bool:
        return self.steps.get(name, {}).get("state") == "done"

    @property
    def failed(self) -> dict[str, str]:
        return {n: s["detail"] for n, s in self.steps.items() if s["state"] == "failed"}


# --- what is due ----------------------------------------------------------------------------------


def due_jobs(store: Store, now: datetime, due_seconds: float = DUE_SECONDS) -> list[Job]:
    """Every source and target that was read before and not lately; streams run by themselves."""
    known = discover()
    newest: dict[tuple[str, str], datetime] = {}
    for load in store.rows(Load):
        key = (load.source, load.target)
        newest[key] = max(newest.get(key, load.stored_at), load.stored_at)
    scopes = {s.market: s.scope for s in sorted(store.rows(Snapshot), key=lambda s: s.read_at)}
    return [
        Job(
            known[name],
            target=target,
            options={"accounts": scopes[target]} if target in scopes else {},
        )
        for (name, target), stored in sorted(newest.items())
        if name in known
        and known[name].mode == "poll"
        # What was stored in the future was stored before the clock was set back.
        and not -FUTURE_SECONDS < (now - stored).total_seconds() < due_seconds
    ]


def compact(store: Store, *, settle: float, grace: float, patience: float) -> str:
    """Make few loads of many and remove what was replaced before; says what there is now."""
    with merging(store, settle, grace, patience) as merger:
        rounds = finish(merger, settle)
    return f"{rounds} round(s), {len(store.rows(Load))} loads"


# --- the night ------------------------------------------------------------------------------------


def run(
    store: Store,
    out: Path,
    collector: Collector,
    *,
    policy: Retention,
    formats: Sequence[str] = ("parquet",),
    now: datetime | None = None,
    only: Sequence[str] = (),
    due_seconds: float = DUE_SECONDS,
    settle: float = MERGE_SETTLE_SECONDS,
    grace: float = MERGE_GRACE_SECONDS,
    patience: float = MERGE_PATIENCE_SECONDS,
    tell: Callable[[str], None] = lambda text: None,
    more: Sequence[Step] = (),
) -> Night:
    """Do what is not done yet of the night that `now` is in; failures are in its record.

    `only` limits what this run reads to some sources, and a later one reads the others; `more` are
    steps after the export. Whatever a step raises is its failure, and the others go on. Raises
    StoreBusy naming the process that does the same, StoreError where no record can be written.
    """
    now = now or datetime.now(UTC)
    store.require()
    store.create()
    with store.hold("nightly"):
        path = _path(store, f"{now:%Y-%m-%d}")
        night = _read(path, f"{now:%Y-%m-%d}")
        night.runs += 1
        night.started_at = night.started_at or _stamp()
        for step in _steps(
            store,
            out,
            collector,
            night,
            policy,
            formats,
            now,
            only,
            due_seconds,
            settle,
            grace,
            patience,
            more,
        ):
            if night.done(step.name) and not step.again:
                continue
            tell(step.name)
            begun = time.monotonic()
            try:
                entry: dict[str, Any] = {"state": "done", "detail": step.work()}
            except Exception as failure:
                told = named(failure)
                entry = {"state": "failed", "detail": str(told), "code": int(told.code)}
            night.steps[step.name] = entry | {
                "ended_at": _stamp(),
                "seconds": round(time.monotonic() - begun, 3),
            }
            _write(path, night)
        night.code = _code(night)
        night.finished_at = _stamp()
        _write(path, night)
    return night


def _steps(
    store: Store,
    out: Path,
    collector: Collector,
    night: Night,
    policy: Retention,
    formats: Sequence[str],
    now: datetime,
    only: Sequence[str],
    due_seconds: float,
    settle: float,
    grace: float,
    patience: float,
    more: Sequence[Step],
) -> Iterator[Step]:
    """What belongs to the night, in order; what is due is decided when its turn comes."""
    planned, failing = _attempt(
        lambda: _planned(store, night, now, due_seconds, only), dict[str, Job]()
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
    how: dict[str, float] = {"settle": settle, "grace": grace, "patience": patience}
    yield Step("compact", lambda: compact(store, **how), more_stored)
    yield Step("retention", lambda: thin(store, policy, now, **how), more_stored)
    yield Step("checks", lambda: _check(store), more_stored)
    # Days that are over and of which other rows are stored than their manifest was made from:
    # what a second run collected, a history, a block that left the chain.
    outdated, failing = _attempt(lambda: export.outdated(store, out), dict[date, str]())
    yield from failing("export")
    days = {day for day in outdated if day < now.date()}
    failed = (n.removeprefix(_EXPORT) for n in night.failed if n.startswith(_EXPORT))
    for day in sorted(days | {date.fromisoformat(text) for text in failed}):
        yield Step(
            f"{_EXPORT}{day:%Y-%m-%d}",
            lambda day=day: _export(store, out, day, formats),  # type: ignore[misc]
            again=True,
        )
    yield from more


def _attempt(make: Callable[[], T], instead: T) -> tuple[T, Callable[[str], Iterator[Step]]]:
    """A list of what is to be done; where it cannot be made, a step that fails stands for it."""
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
    """The jobs of the night, of the sources in `only`: all are noted before the first begins, so
    that none is forgotten when what it stored makes it look fresh, or when a run left it out."""
    if night.jobs is None:
        night.jobs = {
            f"collect {job.name}": (job.source.name, job.target, job.options)
            for job in due_jobs(store, now, due_seconds)
        }
        _write(_path(store, night.night), night)
    known = discover()
    return {
        name: Job(known[source], target=target, options=options)
        for name, (source, target, options) in night.jobs.items()
        if source in known and (not only or source in only)
    }


def _check(store: Store) -> str:
    with query.open_catalog(store) as catalog:
        checks = [q for q in query.load_all().values() if q.group == "checks"]
        wrong = {q.name: len(query.run(catalog, q).rows) for q in checks}
    bad = {name: rows for name, rows in wrong.items() if rows}
    if bad:
        raise CheckFailed(", ".join(f"{name} found {rows} row(s)" for name, rows in bad.items()))
    return f"{len(checks)} checks found nothing"


def _export(store: Store, out: Path, day: Any, formats: Sequence[str]) -> str:
    done = export.export(store, out, day, formats=formats)
    return f"{sum(done.rows.values())} rows in {len(done.rows)} marts" + (
        "" if done.changed else ", as they were"
    )


def _code(night: Night) -> int:
    """0, or the exit code of what failed; 4 where several things failed in several ways."""
    failed = [s for s in night.steps.values() if s["state"] == "failed"]
    codes = {s.get("code", int(Exit.CHECK_FAILED)) for s in failed}
    return codes.pop() if len(codes) == 1 else int(Exit.PARTIAL) if codes else int(Exit.OK)


def summary(night: Night) -> str:
    """The night in one line."""
    done = sum(s["state"] == "done" for s in night.steps.values())
    text = f"night {night.night}: {done} of {len(night.steps)} steps done"
    exports = [n.removeprefix(_EXPORT) for n in night.steps if n.startswith(_EXPORT)]
    if exports:
        text += f", exported {', '.join(exports[-3:])}"
    if night.failed:
        text += "; failed: " + "; ".join(f"{n}: {d}" for n, d in night.failed.items())
    return text


# --- the record -----------------------------------------------------------------------------------


def _stamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _path(store: Store, night: str) -> Path:
    return store.home / "nightly" / f"{night}.json"


def _read(path: Path, name: str) -> Night:
    """The record of a night; a fresh one where there is none that is whole."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Night)
        for step, entry in found.steps.items():
            msgspec.convert(entry, Ended)
            if step.startswith(_EXPORT):
                numbers.day(step.removeprefix(_EXPORT))
    except (FileNotFoundError, msgspec.MsgspecError, ValueError, RecursionError):
        return Night(night=name)
    return found


def _write(path: Path, night: Night) -> None:
    """The record, whole or not at all; StoreError where the disk refuses."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    text = json.dumps(msgspec.to_builtins(night), ensure_ascii=False, indent=1) + "\n"
    try:
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
