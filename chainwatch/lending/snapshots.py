"""Stored snapshots: which one to build on, and which ones left the chain."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Block
from chainwatch.collect.source import Feed
from chainwatch.errors import NetworkError, Reorged, UsageError
from chainwatch.tables.lending import Orphan, Snapshot


class Stamp(msgspec.Struct, frozen=True):
    """What identifies a snapshot before it is stored; its rows repeat it."""

    snapshot: str
    reading: Reading
    read_at: datetime
    scope: str
    accounts_read: int
    based_on: str | None


class Candidates(msgspec.Struct, frozen=True):
    """The stored snapshots of a market that did not leave the chain, newest first.

    `newest_counts` says whether the block of the first is still the chain's.
    """

    snapshots: Sequence[Snapshot]
    newest_counts: bool


async def read_candidates(feed: Feed, reading: Reading, protocol: str) -> Candidates:
    """The snapshots that may be built on; this needs to know nothing of the market's state."""
    market = reading.market
    gone = {o.snapshot for o in await feed.stored(Orphan, "market = $m", m=market.name)}
    stored = await feed.stored(
        Snapshot,
        "market = $m AND chain_id = $c AND protocol = $p AND provenance <> 'imported' "
        "ORDER BY block_number DESC, read_at DESC",
        m=market.name,
        c=market.chain_id,
        p=protocol,
    )
    left = [snapshot for snapshot in stored if snapshot.snapshot not in gone]
    return Candidates(left, bool(left) and await _counts(reading, left[0]))


async def _counts(reading: Reading, snapshot: Snapshot) -> bool:
    """Whether the block of a snapshot is one of the chain's up to the block that is read."""
    block = block_of(snapshot)
    return block.number <= reading.block.number and await reading.rpc.canonical(block)


async def base_snapshot(
    feed: Feed, reading: Reading, candidates: Candidates, revision: int, scope: str
) -> tuple[Snapshot | None, list[Orphan]]:
    """The newest snapshot to build on, and those that have left the chain since they were stored.

    Raises NetworkError where the endpoint is behind the newest snapshot.
    """
    rpc, market, at = reading.rpc, reading.market, reading.block
    full = bool(feed.options.get("full"))
    lost: list[Snapshot] = []
    base: Snapshot | None = None
    below_fork = False
    for number, snapshot in enumerate(candidates.snapshots):
        usable = not full and snapshot.revision == revision and snapshot.scope == scope
        if below_fork and not usable:
            continue
        if not (await _counts(reading, snapshot) if number else candidates.newest_counts):
            lost.append(snapshot)
            continue
        below_fork = True
        if usable:
            base = snapshot
            break
    # A block above the newest one has either left the chain or is not there yet. Only a replaced
    # block further down tells the two apart; without one no snapshot may be given up.
    if lost and all(s.block_number > at.number for s in lost):
        raise NetworkError(
            f"{market.name}: {rpc.host} offers block {at.number}, behind the newest snapshot of "
            f"block {lost[0].block_number}: try later or set another endpoint"
        )
    now = feed.now()
    return base, [Orphan(snapshot=s.snapshot, market=market.name, detected_at=now) for s in lost]


def block_of(snapshot: Snapshot) -> Block:
    """The block a snapshot was read at."""
    return Block(
        number=snapshot.block_number,
        hash=snapshot.block_hash,
        time=int(snapshot.block_time.timestamp()),
    )


async def newest_snapshot(feed: Feed) -> tuple[Snapshot, Reading]:
    """The market's newest snapshot that is not an orphan, and what reads its block.

    Raises UsageError where there is none, Reorged where its block left the chain.
    """
    market = feed.market()
    rpc = await feed.rpc(market)
    gone = {o.snapshot for o in await feed.stored(Orphan, "market = $m", m=market.name)}
    stored = await feed.stored(
        Snapshot, "market = $m ORDER BY block_number DESC, read_at DESC", m=market.name
    )
    snapshot = next((s for s in stored if s.snapshot not in gone), None)
    if snapshot is None:
        raise UsageError(
            f"{market.name} has no snapshot yet: run "
            f"`chainwatch collect {market.protocol} --market {market.name}`"
        )
    at = block_of(snapshot)
    if not await rpc.canonical(at):
        raise Reorged(
            f"block {at.number} of the newest {market.name} snapshot is no longer on the chain: "
            "collect again"
        )
    return snapshot, Reading(rpc, market, at)
