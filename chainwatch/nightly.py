"""The night: due sources → verify → compact → retention → checks → export, once and resumable.

A night is a UTC day. Its record, <home>/nightly/2026-11-21.json, names each step with how it
ended; a run does what is not done yet, so that a second one does nothing twice, an interrupted one
is continued, and what failed is tried again. A day is exported again where other rows are stored
of it than its manifest was made from, however old it is. Every step is safe to repeat. One process
at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from chainwatch import export, numbers, query
from chainwatch.collect import Job
from chainwatch.errors import (
    CheckFailed,
    Exit,
    StoreBusy,
    UsageError,
    named,
)
from chainwatch.rows import Load, Orphan, Snapshot
from chainwatch.source import discover
from chainwatch.store import MERGE_GRACE_SECONDS, MERGE_SETTLE_SECONDS, Merger, Store, writing

T = TypeVar("T")

KEEP = "hourly 7d, daily forever"
DUE_SECONDS = 20 * 3_600.0
FUTURE_SECONDS = 3_600.0
# A collector merges its own loads in between; so long a turn is waited for.
MERGE_PATIENCE_SECONDS = 60.0

_EXPORT = "export "
_KEEP = re.compile(r"hourly ([0-9]{1,5})d, daily (?:([0-9]{1,5})d|forever)")


class Retention(msgspec.Struct, frozen=True):
    """How many days the last snapshot of each hour and of each day is kept; None: forever."""

    hourly_days: int
    daily_days: int | None


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


def retention_of(text: str) -> Retention:
    """The policy in words, e.g. "hourly 7d, daily forever" or "hourly 2d, daily 365d"."""
    found = _KEEP.fullmatch(" ".join(text.split()))
    if not found:
        raise UsageError(f"--keep takes a policy such as {KEEP!r}, not {text!r}")
    return Retention(int(found[1]), int(found[2]) if found[2] else None)


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


# --- retention ------------------------------------------------------------------------------------


def superseded(
    snapshots: Sequence[Snapshot], orphans: Sequence[str], policy: Retention, now: datetime
) -> set[str]:
    """The snapshots that the policy drops.

    Within the hourly days the last of each hour stays, before that the last of each UTC day; the
    newest of a market always stays, however old it is, and one whose block left the chain goes
    with the hourly days.
    """
    gone = set(orphans)
    found: set[str] = set()
    for market in {s.market for s in snapshots}:
        mine = [s for s in snapshots if s.market == market and s.snapshot not in gone]
        last: dict[datetime, Snapshot] = {}
        for s in sorted(mine, key=_place):
            last[_slot(s.block_time, policy, now)] = s
        newest = max(mine, key=_place, default=None)
        stays = {s.snapshot for s in last.values() if not _expired(s.block_time, policy, now)}
        if newest is not None:
            stays.add(newest.snapshot)
        found |= {s.snapshot for s in mine} - stays
    oldest = now - timedelta(days=policy.hourly_days)
    return found | {s.snapshot for s in snapshots if s.snapshot in gone and s.block_time < oldest}


def _place(s: Snapshot) -> tuple[int, datetime, datetime]:
    """Where it stands among those of its market; an import has no block."""
    return s.block_number, s.block_time, s.read_at


def _slot(time: datetime, policy: Retention, now: datetime) -> datetime:
    """The beginning of the hour, or of the day, of which one snapshot stays."""
    utc = time.astimezone(UTC)
    if now - time < timedelta(days=policy.hourly_days):
        return utc.replace(minute=0, second=0, microsecond=0)
    return utc.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(microseconds=1)


def _expired(time: datetime, policy: Retention, now: datetime) -> bool:
    return policy.daily_days is not None and now - time >= timedelta(days=policy.daily_days)


def compact(store: Store, *, settle: float, grace: float, patience: float) -> str:
    """Make few loads of many and remove what was replaced before; says what there is now."""
    with _merging(store, settle, grace, patience) as merger:
        rounds = _finish(merger, settle)
    return f"{rounds} round(s), {len(store.rows(Load))} loads"


def thin(
    store: Store, policy: Retention, now: datetime, *, settle: float, grace: float, patience: float
) -> str:
    """Drop superseded snapshots by writing their loads again without them."""
    with _merging(store, settle, grace, patience) as merger:
        snapshots = store.rows(Snapshot)
        dropped = superseded(snapshots, [o.snapshot for o in store.rows(Orphan)], policy, now)
        kept = sorted({s.snapshot for s in snapshots} - dropped)
        closed = f"{now - timedelta(days=policy.hourly_days):%Y-%m-%d}"
        written = merger.retire(sorted(dropped), kept, closed)
        _finish(merger, settle)
    return f"{len(dropped)} of {len(snapshots)} snapshots dropped, {written} loads written again"


def _merging(store: Store, settle: float, grace: float, patience: float) -> Merger:
    """A merger that has its turn; StoreBusy where another process keeps it."""
    merger = Merger(store, settle=settle, grace=grace)
    until = time.monotonic() + patience
    while not merger.take():
        if time.monotonic() > until:
            raise StoreBusy(f"another process merges the loads in {store.home}: it does the work")
        time.sleep(0.1)
    return merger


def _finish(merger: Merger, settle: float) -> int:
    rounds = 0
    while merger.step():
        rounds += 1
        time.sleep(min(settle, 1.0) if merger.waits else 0.0)
    return rounds


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


# --- systemd --------------------------------------------------------------------------------------

UNITS = ("chainwatch-nightly.service", "chainwatch-nightly.timer")


def units(command: Sequence[str]) -> dict[str, str]:
    """The unit files by name; `command` is what the service runs."""
    folder = Path(__file__).with_name("systemd")
    words = " ".join(
        '"' + w.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"' for w in command
    )
    return {name: (folder / name).read_text("utf-8").replace("{command}", words) for name in UNITS}


def unit_folder() -> Path:
    """Where systemd looks for the user's units."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "systemd" / "user"
