"""One market read at one block: the events still missing first, then a snapshot.

A protocol says through a `Lender` which events count and how balances are read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market
from chainwatch.chain.types import Block
from chainwatch.collect.source import Batch, Feed
from chainwatch.errors import NetworkError, Reorged, UsageError
from chainwatch.lending.lender import Lender, Opened, Stamp
from chainwatch.lending.scans import accounts_to_read, canonical_scans, read_events
from chainwatch.lending.snapshots import base_snapshot
from chainwatch.tables.lending import Scan

SCOPES = ("borrowers", "all")

P = TypeVar("P")


async def take_snapshot(feed: Feed, lender: Lender[P]) -> AsyncIterator[Batch]:
    """Read one market at one block: first the events still missing, then a snapshot."""
    market = feed.market()
    scope = feed.options.get("accounts", "borrowers")
    if scope not in SCOPES:
        raise UsageError(f"--accounts: expected {' or '.join(SCOPES)}, got {scope!r}")
    rpc = await feed.rpc(market)
    at = await rpc.pin(market.lag)
    opened = await lender.open(feed, rpc, market, at)
    base, orphans = await base_snapshot(
        feed, rpc, market, lender.protocol, opened.revision, scope, at
    )
    if orphans:
        feed.note(f"{market.name}: {len(orphans)} snapshot(s) left the chain in a reorganisation")
        yield Batch(orphans)
    if base and base.block_hash == at.hash and not feed.options.get("full"):
        feed.note(f"{market.name}: block {at.number} is already stored")
        return
    # A snapshot without accounts proves nothing about the ranges without an event: they are read
    # again.
    base = base if base and base.accounts else None
    scans = await canonical_scans(feed, rpc, market, base, at)
    if not any(s.events for s in scans):
        scans = []
    unproven: list[Batch] = []
    async for batch in read_events(feed, rpc, market, opened.watch, scope, base, at, scans):
        unproven.append(batch)
        if base or any(s.events for s in scans):
            for proven in unproven:
                yield proven
            unproven = []
    stored = await lender.stored_positions(feed, base) if base else {}
    changed = await accounts_to_read(feed, market, scope, base, scans, stored)
    read = await lender.read(feed, rpc, opened, at, sorted(changed))
    positions = {a: p for a, p in stored.items() if a not in changed} | read
    if not positions:
        await _require_no_accounts(rpc, market, lender, opened, scans, at)
    for batch in unproven:
        yield batch
    now = feed.now()
    stamp = Stamp(
        snapshot=f"{market.name}:{at.number}:{at.hash[2:10]}:{now:%Y%m%dT%H%M%S%fZ}",
        at=at,
        read_at=now,
        scope=scope,
        accounts_read=len(read),
        based_on=base.snapshot if base else None,
        endpoint=rpc.host,
    )
    rows = await lender.rows(feed, rpc, opened, stamp, positions)
    if not await rpc.canonical(at):
        raise Reorged(f"{market.name}: block {at.number} was replaced while it was read")
    yield Batch(rows, cursor={"block": at.number, "hash": at.hash})


async def _require_no_accounts(
    rpc: Rpc,
    market: Market,
    lender: Lender[P],
    opened: Opened,
    scans: Sequence[Scan],
    at: Block,
) -> None:
    """Raise NetworkError where events named no account although there are some.

    An endpoint without old logs, or without any, answers eth_getLogs with an empty list.
    """
    first = min((s.from_block for s in scans), default=at.number)
    if reason := await lender.evidence_of_accounts(rpc, market, opened, first, at):
        raise NetworkError(
            f"{market.name}: no event of blocks {first} to {at.number} names an account, but "
            f"{reason}: {rpc.host} keeps no event logs of these blocks, or the market began "
            "earlier; set another `rpc` or a lower `deployment_block` in markets.toml "
            "(no snapshot was stored)"
        )
