"""Which snapshots are kept: hourly for a while, daily after."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from chainwatch.errors import UsageError
from chainwatch.lake.store import Store
from chainwatch.nightly.compaction import MergeTimes, finish, merging
from chainwatch.tables.lending import Orphan, Snapshot

KEEP = "hourly 7d, daily forever"
_KEEP = re.compile(r"hourly ([0-9]{1,5})d, daily (?:([0-9]{1,5})d|forever)")


class Retention(msgspec.Struct, frozen=True):
    """How many days the last snapshot of each hour and of each day is kept; None: forever."""

    hourly_days: int
    daily_days: int | None


def retention_of(text: str) -> Retention:
    """The policy of a text, e.g. "hourly 7d, daily forever" or "hourly 2d, daily 365d"."""
    match = _KEEP.fullmatch(" ".join(text.split()))
    if not match:
        raise UsageError(f"--keep: expected a policy such as {KEEP!r}, got {text!r}")
    return Retention(int(match[1]), int(match[2]) if match[2] else None)


def superseded(
    snapshots: Sequence[Snapshot], orphans: Sequence[str], policy: Retention, now: datetime
) -> set[str]:
    """The snapshots that the policy drops.

    Within the hourly days the last of each hour stays, before that the last of each UTC day; the
    newest of a market always stays, however old it is, and one whose block left the chain goes
    with the hourly days.
    """
    gone = set(orphans)
    dropped: set[str] = set()
    for market in {s.market for s in snapshots}:
        of_market = [s for s in snapshots if s.market == market and s.snapshot not in gone]
        last: dict[datetime, Snapshot] = {}
        for s in sorted(of_market, key=_position):
            last[_slot(s.block_time, policy, now)] = s
        newest = max(of_market, key=_position, default=None)
        kept = {s.snapshot for s in last.values() if not _expired(s.block_time, policy, now)}
        if newest is not None:
            kept.add(newest.snapshot)
        dropped |= {s.snapshot for s in of_market} - kept
    oldest = now - timedelta(days=policy.hourly_days)
    return dropped | {s.snapshot for s in snapshots if s.snapshot in gone and s.block_time < oldest}


def _position(s: Snapshot) -> tuple[int, datetime, datetime]:
    """The order of a market's snapshots; an import has no block."""
    return s.block_number, s.block_time, s.read_at


def _slot(time: datetime, policy: Retention, now: datetime) -> datetime:
    """The beginning of the hour, or of the day, of which one snapshot stays."""
    utc = time.astimezone(UTC)
    if now - time < timedelta(days=policy.hourly_days):
        return utc.replace(minute=0, second=0, microsecond=0)
    return utc.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(microseconds=1)


def _expired(time: datetime, policy: Retention, now: datetime) -> bool:
    return policy.daily_days is not None and now - time >= timedelta(days=policy.daily_days)


def thin(store: Store, policy: Retention, now: datetime, times: MergeTimes) -> str:
    """Drop superseded snapshots by writing their loads again without them; a text with counts."""
    with merging(store, times) as merger:
        snapshots = store.rows(Snapshot)
        dropped = superseded(snapshots, [o.snapshot for o in store.rows(Orphan)], policy, now)
        kept = sorted({s.snapshot for s in snapshots} - dropped)
        closed = f"{now - timedelta(days=policy.hourly_days):%Y-%m-%d}"
        written = merger.retire(sorted(dropped), kept, closed)
        finish(merger, times.settle)
    return f"{len(dropped)} of {len(snapshots)} snapshots dropped, {written} loads written again"
