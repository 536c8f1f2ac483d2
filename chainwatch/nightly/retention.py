"""Which snapshots are kept: hourly for a while, daily after."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from chainwatch.errors import (
    StoreBusy,
    UsageError,
)
from chainwatch.lake.merge import Merger
from chainwatch.lake.store import Store
from chainwatch.tables.lending import Orphan, Snapshot

KEEP = "hourly 7d, daily forever"
_KEEP = re.compile(r"hourly ([0-9]{1,5})d, daily (?:([0-9]{1,5})d|forever)")


class Retention(msgspec.Struct, frozen=True):
    """How many days the last snapshot of each hour and of each day is kept; None: forever."""

    hourly_days: int
    daily_days: int | None


def retention_of(text: str) -> Retention:
    """The policy in words, e.g. "hourly 7d, daily forever" or "hourly 2d, daily 365d"."""
    found = _KEEP.fullmatch(" ".join(text.split()))
    if not found:
        raise UsageError(f"--keep: expected a policy such as {KEEP!r}, got {text!r}")
    return Retention(int(found[1]), int(found[2]) if found[2] else None)


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


def thin(
    store: Store, policy: Retention, now: datetime, *, settle: float, grace: float, patience: float
) -> str:
    """Drop superseded snapshots by writing their loads again without them."""
    with merging(store, settle, grace, patience) as merger:
        snapshots = store.rows(Snapshot)
        dropped = superseded(snapshots, [o.snapshot for o in store.rows(Orphan)], policy, now)
        kept = sorted({s.snapshot for s in snapshots} - dropped)
        closed = f"{now - timedelta(days=policy.hourly_days):%Y-%m-%d}"
        written = merger.retire(sorted(dropped), kept, closed)
        finish(merger, settle)
    return f"{len(dropped)} of {len(snapshots)} snapshots dropped, {written} loads written again"


def merging(store: Store, settle: float, grace: float, patience: float) -> Merger:
    """A merger that has its turn; StoreBusy where another process keeps it."""
    merger = Merger(store, settle=settle, grace=grace)
    until = time.monotonic() + patience
    while not merger.take():
        if time.monotonic() > until:
            raise StoreBusy(f"another process merges the loads in {store.home}: it does the work")
        time.sleep(0.1)
    return merger


def finish(merger: Merger, settle: float) -> int:
    rounds = 0
    while merger.step():
        rounds += 1
        time.sleep(min(settle, 1.0) if merger.waits else 0.0)
    return rounds
