"""Compaction: few loads are made of many, and replaced files are removed."""

from __future__ import annotations

import time

import msgspec

from chainwatch.errors import StoreBusy
from chainwatch.lake.merge import MERGE_GRACE_SECONDS, MERGE_SETTLE_SECONDS, Merger
from chainwatch.lake.store import Store
from chainwatch.tables.log import Load

# A collector merges its own loads in between; its turn is waited for as long.
MERGE_PATIENCE_SECONDS = 60.0


class MergeTimes(msgspec.Struct, frozen=True):
    """Seconds: until a load is merged, until a replaced file is removed, to wait for a turn."""

    settle: float = MERGE_SETTLE_SECONDS
    grace: float = MERGE_GRACE_SECONDS
    patience: float = MERGE_PATIENCE_SECONDS


def compact(store: Store, times: MergeTimes) -> str:
    """Merge loads and remove replaced files; a text with the rounds and the loads that are left."""
    with merging(store, times) as merger:
        rounds = finish(merger, times.settle)
    return f"{rounds} round(s), {len(store.rows(Load))} loads"


def merging(store: Store, times: MergeTimes) -> Merger:
    """A merger that has its turn. Raises StoreBusy where another process keeps it."""
    merger = Merger(store, settle=times.settle, grace=times.grace)
    until = time.monotonic() + times.patience
    while not merger.take():
        if time.monotonic() > until:
            raise StoreBusy(
                f"another process is merging the loads in {store.home}: wait until it has ended"
            )
        time.sleep(0.1)
    return merger


def finish(merger: Merger, settle: float) -> int:
    """Merge until nothing is left to merge; the number of rounds."""
    rounds = 0
    while merger.step():
        rounds += 1
        time.sleep(min(settle, 1.0) if merger.waits else 0.0)
    return rounds
