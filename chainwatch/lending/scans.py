"""Events of a market: the blocks already read, the accounts named in them, and those to read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container, Iterable, Sequence

from chainwatch.chain import abi
from chainwatch.chain.contract import Places
from chainwatch.chain.markets import Market
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Block, Log
from chainwatch.collect.source import Batch, Feed
from chainwatch.lending.protocol import NO_ADDRESS, Watch, name_of, name_parts, scoped_name
from chainwatch.tables.lending import Scan, Snapshot, Touch


async def canonical_scans(feed: Feed, reading: Reading, base: Snapshot | None) -> list[Scan]:
    """The stored ranges whose events are still the chain's, newest first.

    A range whose last block was replaced may hold events that no longer exist. Ranges are checked
    from the newest down to the first that is still the chain's: the fork is above it. Below it only
    a range that overlaps another one can come from an earlier fork; below `base` none matters.
    """
    rpc, market, at = reading.rpc, reading.market, reading.block
    stored = await feed.stored(Scan, "market = $m", m=market.name)
    stored.sort(key=lambda s: s.to_block, reverse=True)
    overlapping = _overlapping(stored)
    canonical: list[Scan] = []
    below_fork = False
    for scan in stored:
        settled = scan.to_block <= base.block_number if base else scan not in overlapping
        if settled and (base or below_fork):
            canonical.append(scan)
        elif scan.to_block <= at.number and await rpc.canonical(
            Block(scan.to_block, scan.to_hash, 0)
        ):
            canonical.append(scan)
            below_fork = True
        elif not below_fork:
            feed.note(f"{market.name}: blocks up to {scan.to_block} are read again")
    return canonical


def _overlapping(scans: Sequence[Scan]) -> set[Scan]:
    """Ranges that share blocks with another one."""
    overlapping: set[Scan] = set()
    widest: Scan | None = None
    for scan in sorted(scans, key=lambda s: (s.from_block, s.to_block)):
        if widest is not None and scan.from_block <= widest.to_block:
            overlapping |= {widest, scan}
        if widest is None or scan.to_block > widest.to_block:
            widest = scan
    return overlapping


async def first_block(feed: Feed, reading: Reading, scans: Sequence[Scan]) -> int:
    """The block from which a market's events are read.

    It is the table's, else the first that was read before (`scans`), else the chain is asked; that
    needs an endpoint with old state.
    """
    market = reading.market
    if market.deployment_block is not None:
        return market.deployment_block
    if scans:
        return min(s.from_block for s in scans)
    feed.note(f"{market.name}: looking for the deployment block of {market.pool}")
    return await reading.rpc.deployment_block(market.pool, reading.block.number)


async def read_events(
    feed: Feed,
    reading: Reading,
    watch: Watch,
    scope: str,
    base: Snapshot | None,
    scans: list[Scan],
) -> AsyncIterator[Batch]:
    """Read the events that are still missing up to the pinned block; adds to `scans`.

    After a snapshot every event counts, because each one changes an account. Before the first
    snapshot only those of the scope count, because they name the accounts.
    """
    rpc, market, at = reading.rpc, reading.market, reading.block
    kind = "all" if base else scope
    first = base.block_number + 1 if base else await first_block(feed, reading, scans)
    covered = [s for s in scans if s.scope in (kind, "all")]
    gaps = uncovered(first, at.number, [(s.from_block, s.to_block) for s in covered])
    done, total = 0, sum(b - a + 1 for a, b in gaps)
    if kind == "all":
        contracts, topics = list(watch.contracts), [[*watch.accounts]]
    else:
        contracts, topics = [watch.lender], [sorted(watch.borrows)]
    if total and covered:
        feed.note(f"{market.name}: resumed at block {gaps[0][0]}")
    for low, high in gaps:
        async for part in rpc.logs(contracts, topics, low, high):
            scan = Scan(
                market=market.name,
                scope=kind,
                from_block=part.first,
                to_block=part.last,
                to_hash=part.last_hash,
                events=len(part.logs),
            )
            scans.append(scan)
            yield Batch([*_touches(market.name, watch, part.last_hash, part.logs), scan])
            done += part.last - part.first + 1
            feed.progress(f"{market.name}: blocks scanned", done, total)


def uncovered(first: int, last: int, covered: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The ranges of first … last that no covered range holds, ascending."""
    gaps = []
    for low, high in sorted(covered):
        if low > first and first <= last:
            gaps.append((first, min(low - 1, last)))
        first = max(first, high + 1)
    if first <= last:
        gaps.append((first, last))
    return gaps


def _touches(market: str, watch: Watch, to_hash: str, logs: Sequence[Log]) -> list[Touch]:
    last_seen: dict[str, int] = {}
    borrowed: set[str] = set()
    for log in logs:
        kind = log.topics[0]
        for address in _named_addresses(watch, log):
            if address == NO_ADDRESS or address in watch.excluded:
                continue
            account = scoped_name(address, log.topics[watch.part]) if watch.part else address
            last_seen[account] = max(log.block_number, last_seen.get(account, 0))
            if kind in watch.borrows:
                borrowed.add(account)
    return [
        Touch(
            market=market,
            account=name_parts(account)[0],
            position=name_parts(account)[1],
            block_number=block,
            to_hash=to_hash,
            borrowed=account in borrowed,
        )
        for account, block in last_seen.items()
    ]


def _named_addresses(watch: Watch, log: Log) -> list[str]:
    """The addresses that an event names."""
    places = watch.accounts.get(log.topics[0], Places())
    addresses = [abi.topic_address(log.topics[i]) for i in places.topics]
    if places.words:
        data = bytes.fromhex(log.data[2:])
        addresses += [abi.address(abi.word(data, i)) for i in places.words]
    return addresses


async def accounts_to_read(
    feed: Feed,
    market: Market,
    scope: str,
    base: Snapshot | None,
    scans: Sequence[Scan],
    stored: Container[str],
) -> set[str]:
    """New accounts, and those of the last snapshot (`stored`) that an event has named since.

    An event counts only if its range is one of `scans`, which are still the chain's.
    """
    touched = await feed.stored(
        Touch,
        "market = $m AND block_number > $b",
        m=market.name,
        b=base.block_number if base else -1,
    )
    hashes = {scan.to_hash for scan in scans}
    named = [t for t in touched if t.to_hash in hashes]
    in_scope = {name_of(t) for t in named if t.borrowed or scope == "all"}
    return in_scope | {name for name in map(name_of, named) if name in stored}
