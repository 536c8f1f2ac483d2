"""One market read at one block: the events still missing first, then a snapshot.

Events name the accounts; state gives the balances. An account that no event has named since the
last snapshot keeps what was read of it; the market's own state is read anew each time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

from chainwatch.bulk import bulk
from chainwatch.chain.reading import Reading
from chainwatch.chain.together import gather
from chainwatch.collect.source import Batch, Feed
from chainwatch.errors import NetworkError, Reorged, UsageError
from chainwatch.lending.accounts import AccountRows
from chainwatch.lending.blocked_liquidations import blocked_liquidations
from chainwatch.lending.completeness import incomplete, missing_debt
from chainwatch.lending.exposures import Exposure, is_inferred
from chainwatch.lending.parts import read_in_parts
from chainwatch.lending.protocol import (
    Accounts,
    DebtTotal,
    LendingProtocol,
    MarketView,
    Opened,
    Stored,
    name_of,
)
from chainwatch.lending.scans import accounts_to_read, canonical_scans, read_events
from chainwatch.lending.snapshots import Stamp, base_snapshot, read_candidates
from chainwatch.lending.valuation import missing_prices, snapshot_rows
from chainwatch.tables.base import Row
from chainwatch.tables.columns import Columns
from chainwatch.tables.lending import Account, DebtCoverage, Leg, Scan, Snapshot

SCOPES = ("borrowers", "all")
# Of each asset and side, how many accounts that no event named are read again; and of all.
HOLDERS_READ_AGAIN = 2
MOST_READ_AGAIN = 200

P = TypeVar("P")


class Held(msgspec.Struct, Generic[P], frozen=True):
    """A position and the block it was read at."""

    position: P
    read_block: int


async def take_snapshot(feed: Feed, lending: LendingProtocol[P]) -> AsyncIterator[Batch]:
    """Read one market at one block: first the events still missing, then a snapshot."""
    market = feed.market()
    scope = feed.options.get("accounts", "borrowers")
    if scope not in SCOPES:
        raise UsageError(f"--accounts: expected {' or '.join(SCOPES)}, got {scope!r}")
    rpc = await feed.rpc(market)
    at = await rpc.pin(market.lag)
    reading = Reading(rpc, market, at, joins=True)
    opened, candidates, _ = await gather(
        lending.open(reading),
        read_candidates(feed, reading, lending.protocol),
        # What accounts and prices are read by depends on it.
        rpc.can_override(),
    )
    base, orphans = await base_snapshot(feed, reading, candidates, opened.revision, scope)
    if orphans:
        feed.note(f"{market.name}: {len(orphans)} snapshot(s) left the chain in a reorganisation")
        yield Batch(orphans)
    if base and base.block_hash == at.hash and not feed.options.get("full"):
        feed.note(f"{market.name}: block {at.number} is already stored")
        return
    # Of most protocols the market itself does not depend on which accounts there are.
    early = (
        asyncio.ensure_future(_read_market(lending, reading, opened, {}))
        if (lending.market_first)
        else None
    )
    try:
        async for batch in _survey(feed, lending, reading, opened, base, scope, early):
            yield batch
    finally:
        if early is not None:
            early.cancel()
            await asyncio.gather(early, return_exceptions=True)


async def _survey(
    feed: Feed,
    lending: LendingProtocol[P],
    reading: Reading,
    opened: Opened,
    base: Snapshot | None,
    scope: str,
    early: asyncio.Task[_Market] | None,
) -> AsyncIterator[Batch]:
    """The events since a snapshot, and the next snapshot."""
    market, rpc, at = reading.market, reading.rpc, reading.block
    # A snapshot without accounts proves nothing about the ranges without an event: they are read
    # again.
    base = base if base and base.accounts else None
    scans = await canonical_scans(feed, reading, base)
    if not any(s.events for s in scans) or await _misses_debt(feed):
        scans = []
    unproven: list[Batch] = []
    async for batch in read_events(feed, reading, opened.watch, scope, base, scans):
        unproven.append(batch)
        if base or any(s.events for s in scans):
            for proven in unproven:
                yield proven
            unproven = []
    accounts = await _carried(lending, feed, base)
    changed = await accounts_to_read(feed, market, scope, base, scans, accounts)
    accounts.replace(await read_positions(feed, lending, reading, opened, sorted(changed)))
    if not accounts.fresh and not accounts.carried:
        await _require_no_accounts(lending, reading, opened, scans)
    for batch in unproven:
        yield batch
    now = feed.now()
    stamp = Stamp(
        snapshot=f"{market.name}:{at.number}:{at.hash[2:10]}:{now:%Y%m%dT%H%M%S%fZ}",
        reading=reading,
        read_at=now,
        scope=scope,
        accounts_read=len(accounts.fresh),
        based_on=base.snapshot if base else None,
    )
    rows, columns = await _rows(feed, lending, opened, stamp, accounts, early)
    if not await rpc.canonical(at):
        raise Reorged(f"{market.name}: block {at.number} was replaced while it was read")
    yield Batch(rows, cursor={"block": at.number, "hash": at.hash}, columns=columns)


async def _misses_debt(feed: Feed) -> bool:
    """Whether all is read again because the newest snapshot lacks debt: its events, too, then."""
    if not feed.options.get("full"):
        return False
    rows = await feed.stored(DebtCoverage, "market = $m", m=feed.market().name)
    newest = max((row.block_number for row in rows), default=0)
    return bool(incomplete(row for row in rows if row.block_number == newest))


async def _carried(
    lending: LendingProtocol[P], feed: Feed, snapshot: Snapshot | None
) -> Accounts[P]:
    """The accounts of a stored snapshot, none of them read anew."""
    if not lending.in_columns:
        return AccountRows(await stored_accounts(lending, feed, snapshot) if snapshot else {})
    if snapshot is None:
        return lending.book(None, {}, {})
    holdings = await feed.holdings(snapshot.snapshot)
    large = sorted(holdings.large)
    rows = await stored_accounts(lending, feed, snapshot, large) if large else {}
    return lending.book(holdings, rows, {})


async def stored_accounts(
    lending: LendingProtocol[P],
    feed: Feed,
    snapshot: Snapshot,
    addresses: Sequence[str] | None = None,
) -> dict[str, Stored[P]]:
    """The accounts of a stored snapshot: all, or those of some addresses."""
    where = "snapshot = $s"
    values: dict[str, object] = {"s": snapshot.snapshot}
    if addresses is not None:
        where += " AND list_contains($a, account)"
        values["a"] = [*addresses]
    balances = await feed.stored(Leg, where, **values)
    accounts = await feed.stored(Account, where, **values)
    with bulk():
        legs: dict[str, list[Leg]] = {}
        for leg in balances:
            legs.setdefault(name_of(leg), []).append(leg)
        stored = {}
        for row in accounts:
            name = name_of(row)
            own = legs.get(name, ())
            stored[name] = Stored(row, own, lending.stored_position(row, own))
        return stored


async def read_positions(
    feed: Feed,
    lending: LendingProtocol[P],
    reading: Reading,
    opened: Opened,
    accounts: Sequence[str],
) -> dict[str, P]:
    """The positions of accounts at a block, read from the chain in parts."""

    # Parts in one read would end together: none could be decoded while the next is under way.
    apart = msgspec.structs.replace(reading, joins=False)

    async def read(part: Sequence[str]) -> dict[str, P]:
        return await lending.read_positions(apart, opened, part)

    positions: dict[str, P] = {}
    async for done, part_positions in read_in_parts(accounts, read):
        positions |= part_positions
        feed.progress(f"{reading.market.name}: accounts read", done, len(accounts))
    return positions


async def _read_what_moved(
    feed: Feed,
    lending: LendingProtocol[P],
    reading: Reading,
    opened: Opened,
    accounts: Accounts[P],
) -> dict[str, P]:
    """Carried accounts whose balances may have changed without an event, read again.

    Balances of a rebasing token (Aave v2's astETH) change every day, and no event says so. A few
    holders of each asset are read again; where a position differs, so are all that hold any asset
    of it.
    """
    if not accounts.carried:
        return {}
    holders = accounts.holders()
    pick = random.Random(reading.block.hash)
    sample = {
        name
        for names in holders.values()
        for name in pick.sample(names, min(len(names), HOLDERS_READ_AGAIN))
    }
    if len(sample) > MOST_READ_AGAIN:
        sample = set(pick.sample(sorted(sample), MOST_READ_AGAIN))
    again = await read_positions(feed, lending, reading, opened, sorted(sample))
    differ = [
        name
        for name in sample
        if lending.balances(again[name]) != lending.balances(accounts.position(name))
    ]
    assets = {asset for name in differ for asset in accounts.assets(name)}
    if not assets:
        return {}
    names = {name for (asset, _), others in holders.items() if asset in assets for name in others}
    feed.note(
        f"{reading.market.name}: balances of {len(differ)} account(s) changed without an event: "
        f"{len(names)} accounts that hold the same assets are read again"
    )
    return await read_positions(feed, lending, reading, opened, sorted(names))


async def _require_no_accounts(
    lending: LendingProtocol[P], reading: Reading, opened: Opened, scans: Sequence[Scan]
) -> None:
    """Raise NetworkError where events named no account although there are some.

    An endpoint without old logs, or without any, answers eth_getLogs with an empty list.
    """
    last = reading.block.number
    first = min((s.from_block for s in scans), default=last)
    if reason := await lending.evidence_of_accounts(reading, opened, first):
        raise NetworkError(
            f"{reading.market.name}: no event of blocks {first} to {last} names an account, but "
            f"{reason}: {reading.rpc.host} keeps no event logs of these blocks, or the market "
            "began earlier; set another `rpc` or a lower `deployment_block` in markets.toml "
            "(no snapshot was stored)"
        )


class _Market(msgspec.Struct, frozen=True):
    """A market, what moves its prices, what others owe to the same liquidity, and what all owe."""

    view: MarketView
    exposures: Mapping[str, Sequence[Exposure]]
    debtors: Mapping[str, float]
    totals: Sequence[DebtTotal]


async def _read_market(
    lending: LendingProtocol[P], reading: Reading, opened: Opened, positions: Mapping[str, P]
) -> _Market:
    """The market for these positions, and all about it."""
    view = await lending.read_market(reading, opened, positions)
    return await _read_about(lending, reading, opened, view)


async def _read_about(
    lending: LendingProtocol[P], reading: Reading, opened: Opened, view: MarketView
) -> _Market:
    exposures, debtors, totals = await gather(
        lending.read_exposures(reading, view),
        lending.other_debtors(reading, view),
        lending.debt_totals(reading, opened, view),
    )
    return _Market(view, exposures, debtors, totals)


async def _done(task: asyncio.Task[_Market]) -> _Market:
    """What a task returns."""
    return await task


async def _rows(
    feed: Feed,
    lending: LendingProtocol[P],
    opened: Opened,
    stamp: Stamp,
    accounts: Accounts[P],
    early: asyncio.Task[_Market] | None,
) -> tuple[list[Row], list[Columns]]:
    """All rows of the snapshot, the Snapshot row last, and those in columns."""
    reading = stamp.reading
    await accounts.refresh(lending, reading, opened)
    reading_moved = _read_what_moved(feed, lending, reading, opened, accounts)
    if early is not None:
        moved, market = await gather(reading_moved, _done(early))
        if moved:
            accounts.replace(moved)
        view = await lending.complete_market(reading, opened, market.view, accounts.positions())
        market = msgspec.structs.replace(market, view=view)
    else:
        moved, view = await gather(
            reading_moved, lending.read_market(reading, opened, accounts.positions())
        )
        if moved:
            accounts.replace(moved)
            # What a market needs to value depends on what is held.
            view = await lending.read_market(reading, opened, accounts.positions())
        market = await _read_about(lending, reading, opened, view)
    if moved:
        stamp = msgspec.structs.replace(stamp, accounts_read=len(accounts.fresh))
    view, exposures, totals = market.view, market.exposures, market.totals
    missing = [] if view.notes_prices else missing_prices(reading.market, view.reserves)
    for note in (*missing, *view.notes):
        feed.note(note)
    if is_inferred(exposures):
        feed.note(
            f"{reading.market.name}: what moves prices is inferred from getters, not measured: "
            f"{reading.rpc.host} takes no state overrides, or gives no access lists"
        )
    for contract, usd in market.debtors.items():
        if contract not in feed.pools():
            feed.note(
                f"{reading.market.name}: {contract} owes {usd:,.0f} USD to the same hub and is no "
                "market of yours: add it to markets.toml"
            )
    with bulk():
        blocked = blocked_liquidations(view)
        reason_for = blocked.reason_for if blocked.any else None
        values = accounts.value(lending, view.state, reading.block.number, reason_for)
        rows, columns = snapshot_rows(stamp, opened.revision, view, exposures, totals, values)
    symbols = {r.asset: r.symbol for r in view.reserves}
    for row in incomplete(row for row in rows if isinstance(row, DebtCoverage)):
        feed.note(f"{reading.market.name}: only {missing_debt(row, symbols)} was found")
    return rows, columns
