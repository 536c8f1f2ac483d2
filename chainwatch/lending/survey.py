"""What every lending source does alike: find accounts through events, read those that changed at
one block, and deliver a snapshot.

Events name the accounts; state gives the balances. An account that no event has named since the
last snapshot keeps what was read of it; the market's own state is read anew each time. A protocol
says through a `Lender` which events count and how balances are read.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec

from chainwatch.chain import abi
from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market
from chainwatch.chain.types import Block, Call, Log
from chainwatch.collect.source import Batch, Feed
from chainwatch.errors import NetworkError, Reorged, UsageError
from chainwatch.lending.oracles import Exposure
from chainwatch.tables.base import Row
from chainwatch.tables.lending import (
    Account,
    Factor,
    Leg,
    Mismatch,
    Orphan,
    Scan,
    Snapshot,
    Touch,
    Verification,
)

SCOPES = ("borrowers", "all")
ACCOUNTS_PER_STEP = 2_000
ACCOUNTS_PER_READ = 500
READS_AHEAD = 3
NO_ADDRESS = "0x" + "00" * 20
INVERSE = "inverse"  # a factor that divides: the price follows 1/x

K = TypeVar("K")
T = TypeVar("T")


class Watch(msgspec.Struct, frozen=True):
    """Which events tell of accounts.

    `accounts`: topic0 → positions of the topics that name an account whose balances or flags
    changed; `words` the same for events that name it in a word of their data. `borrows`: the
    topic0s that make an account a possible borrower, emitted by `lender`; `contracts` emit any of
    them. `part`: the position of a topic that belongs to the account's name, as with one contract
    that has many separate positions of an address: see `part_of`.
    """

    lender: str
    contracts: tuple[str, ...]
    accounts: Mapping[str, tuple[int, ...]]
    borrows: frozenset[str]
    words: Mapping[str, tuple[int, ...]] = {}
    nobody: frozenset[str] = frozenset()  # addresses that events name and that are no accounts
    part: int | None = None


class Opened(msgspec.Struct, frozen=True):
    """A market looked at for the first time at a block: the rules' revision, and its events."""

    revision: int
    watch: Watch
    context: Any = None


class Lender(Protocol[K]):
    """What a protocol adds; K is what is known of one account."""

    protocol: str

    async def open(self, feed: Feed, rpc: Rpc, market: Market, at: Block) -> Opened:
        """Check that the contract is what it should be, and say which events count."""

    async def carried(self, feed: Feed, base: Snapshot) -> dict[str, K]:
        """What a stored snapshot knows of its accounts."""

    async def read(
        self, feed: Feed, rpc: Rpc, opened: Opened, at: Block, accounts: Sequence[str]
    ) -> dict[str, K]:
        """Read accounts from the chain."""

    async def missed(
        self, rpc: Rpc, market: Market, opened: Opened, first: int, at: Block
    ) -> str | None:
        """Asked where no account was found: what says that there are some, None if nothing does."""

    async def rows(
        self, feed: Feed, rpc: Rpc, opened: Opened, stamp: Stamp, accounts: Mapping[str, K]
    ) -> list[Row]:
        """All rows of the snapshot, the Snapshot row last."""


class Stamp(msgspec.Struct, frozen=True):
    """What identifies a snapshot in the making, and what its rows need to say of it."""

    snapshot: str
    at: Block
    read_at: datetime
    scope: str
    accounts_read: int
    based_on: str | None
    endpoint: str


async def survey(feed: Feed, lender: Lender[K]) -> AsyncIterator[Batch]:
    """Read one market at one block: first the events still missing, then a snapshot."""
    market = feed.market()
    scope = feed.options.get("accounts", "borrowers")
    if scope not in SCOPES:
        raise UsageError(f"--accounts: expected {' or '.join(SCOPES)}, got {scope!r}")
    rpc = await feed.rpc(market)
    at = await rpc.pin(market.lag)
    opened = await lender.open(feed, rpc, market, at)
    base, orphans = await last_snapshot(
        feed, rpc, market, lender.protocol, opened.revision, scope, at
    )
    if orphans:
        feed.note(f"{market.name}: {len(orphans)} snapshot(s) left the chain in a reorganisation")
        yield Batch(orphans)
    if base and base.block_hash == at.hash and not feed.options.get("full"):
        feed.note(f"{market.name}: block {at.number} is already stored")
        return
    # Where nobody was found, ranges without an event prove nothing: they are read again.
    base = base if base and base.accounts else None
    scans = await standing_scans(feed, rpc, market, base, at)
    if not any(s.events for s in scans):
        scans = []
    unproven: list[Batch] = []
    async for batch in scan(feed, rpc, market, opened.watch, scope, base, at, scans):
        unproven.append(batch)
        if base or any(s.events for s in scans):
            for proven in unproven:
                yield proven
            unproven = []
    known = await lender.carried(feed, base) if base else {}
    dirty = await dirty_accounts(feed, market, scope, base, scans, known)
    read = await lender.read(feed, rpc, opened, at, sorted(dirty))
    accounts = {a: k for a, k in known.items() if a not in dirty} | read
    if not accounts:
        await _require_nobody(rpc, market, lender, opened, scans, at)
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
    rows = await lender.rows(feed, rpc, opened, stamp, accounts)
    if not await rpc.canonical(at):
        raise Reorged(f"{market.name}: block {at.number} was replaced while it was read")
    yield Batch(rows, cursor={"block": at.number, "hash": at.hash})


async def _require_nobody(
    rpc: Rpc,
    market: Market,
    lender: Lender[K],
    opened: Opened,
    scans: Sequence[Scan],
    at: Block,
) -> None:
    """NetworkError where no account was found although there are some.

    An endpoint without old logs, or without any, answers eth_getLogs with an empty list.
    """
    first = min((s.from_block for s in scans), default=at.number)
    if reason := await lender.missed(rpc, market, opened, first, at):
        raise NetworkError(
            f"{market.name}: no account found in blocks {first} to {at.number}, but {reason}: "
            f"{rpc.host} keeps no event logs of these blocks, or the market began earlier. Set "
            "another `rpc` or a lower `deployment_block` in markets.toml; no snapshot was stored"
        )


async def owed(rpc: Rpc, calls: Sequence[Call], at: Block, index: int = 0) -> bool:
    """Whether any of these calls answers with a figure above 0, in its word at `index`."""
    return any(
        len(answer) >= (index + 1) * abi.WORD and abi.word(answer, index) > 0
        for answer in await rpc.read(calls, at)
        if isinstance(answer, bytes)
    )


# --- what was stored before ---------------------------------------------------------------------


async def last_snapshot(
    feed: Feed,
    rpc: Rpc,
    market: Market,
    protocol: str,
    revision: int,
    scope: str,
    at: Block,
) -> tuple[Snapshot | None, list[Orphan]]:
    """The newest snapshot to build on, and those found to have left the chain."""
    gone = {o.snapshot for o in await feed.stored(Orphan, "market = $m", m=market.name)}
    stored = await feed.stored(
        Snapshot,
        "market = $m AND chain_id = $c AND protocol = $p AND provenance <> 'imported' "
        "ORDER BY block_number DESC, read_at DESC",
        m=market.name,
        c=market.chain_id,
        p=protocol,
    )
    full = bool(feed.options.get("full"))
    lost: list[Snapshot] = []
    base: Snapshot | None = None
    below_fork = False
    for snapshot in stored:
        usable = not full and snapshot.revision == revision and snapshot.scope == scope
        if snapshot.snapshot in gone or (below_fork and not usable):
            continue
        block = block_of(snapshot)
        if block.number > at.number or not await rpc.canonical(block):
            lost.append(snapshot)
            continue
        below_fork = True
        if usable:
            base = snapshot
            break
    # A block above the newest one is either gone or not there yet. Only a block that was
    # replaced further down tells the two apart, and what is not known to be gone must not be lost.
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


async def standing_scans(
    feed: Feed, rpc: Rpc, market: Market, base: Snapshot | None, at: Block
) -> list[Scan]:
    """The ranges read before whose events are still the chain's, newest first.

    A range whose last block was replaced may hold events that no longer exist. Walking down from
    the newest ends at the fork. Below it, only a range that another one overlaps may be left from
    a fork of an earlier time; below `base` none matters.
    """
    stored = await feed.stored(Scan, "market = $m", m=market.name)
    stored.sort(key=lambda s: s.to_block, reverse=True)
    overlapping = _overlapping(stored)
    standing: list[Scan] = []
    below_fork = False
    for found in stored:
        settled = found.to_block <= base.block_number if base else found not in overlapping
        if settled and (base or below_fork):
            standing.append(found)
        elif found.to_block <= at.number and await rpc.canonical(
            Block(found.to_block, found.to_hash, 0)
        ):
            standing.append(found)
            below_fork = True
        elif not below_fork:
            feed.note(f"{market.name}: blocks up to {found.to_block} are read again")
    return standing


def _overlapping(scans: Sequence[Scan]) -> set[Scan]:
    """Ranges that share blocks with another one."""
    found: set[Scan] = set()
    widest: Scan | None = None
    for each in sorted(scans, key=lambda s: (s.from_block, s.to_block)):
        if widest is not None and each.from_block <= widest.to_block:
            found |= {widest, each}
        if widest is None or each.to_block > widest.to_block:
            widest = each
    return found


# --- events -------------------------------------------------------------------------------------


async def scan(
    feed: Feed,
    rpc: Rpc,
    market: Market,
    watch: Watch,
    scope: str,
    base: Snapshot | None,
    at: Block,
    standing: list[Scan],
) -> AsyncIterator[Batch]:
    """Read the events that are still missing up to the pinned block; adds to `standing`.

    After a snapshot every event counts, as each makes an account dirty; before the first one
    those of the scope do, as they make accounts known.
    """
    kind = "all" if base else scope
    first = base.block_number + 1 if base else market.deployment_block
    if first is None:
        first = min((s.from_block for s in standing), default=None)
    if first is None:
        feed.note(f"{market.name}: looking for the deployment block of {market.pool}")
        first = await rpc.deployment_block(market.pool, at.number)
    covered = [s for s in standing if s.scope in (kind, "all")]
    gaps = uncovered(first, at.number, [(s.from_block, s.to_block) for s in covered])
    done, total = 0, sum(b - a + 1 for a, b in gaps)
    if kind == "all":
        contracts, topics = list(watch.contracts), [[*watch.accounts, *watch.words]]
    else:
        contracts, topics = [watch.lender], [sorted(watch.borrows)]
    if total and covered:
        feed.note(f"{market.name}: resumed at block {gaps[0][0]}")
    for low, high in gaps:
        async for part in rpc.logs(contracts, topics, low, high):
            found = Scan(
                market=market.name,
                scope=kind,
                from_block=part.first,
                to_block=part.last,
                to_hash=part.last_hash,
                events=len(part.logs),
            )
            standing.append(found)
            yield Batch([*_touches(market.name, watch, part.last_hash, part.logs), found])
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
        for address in _named(watch, log):
            if address == NO_ADDRESS or address in watch.nobody:
                continue
            account = part_of(address, log.topics[watch.part]) if watch.part else address
            last_seen[account] = max(log.block_number, last_seen.get(account, 0))
            if kind in watch.borrows:
                borrowed.add(account)
    return [
        Touch(
            market=market,
            account=account,
            block_number=block,
            to_hash=to_hash,
            borrowed=account in borrowed,
        )
        for account, block in last_seen.items()
    ]


def part_of(address: str, part: str) -> str:
    """The name of an address's separate position: `0x…:0x…`, the address first."""
    return f"{address}:{part}"


def _named(watch: Watch, log: Log) -> list[str]:
    """The addresses that an event names."""
    kind = log.topics[0]
    found = [abi.topic_address(log.topics[i]) for i in watch.accounts.get(kind, ())]
    if positions := watch.words.get(kind):
        data = bytes.fromhex(log.data[2:])
        found += [abi.address(abi.word(data, i)) for i in positions]
    return found


async def dirty_accounts(
    feed: Feed,
    market: Market,
    scope: str,
    base: Snapshot | None,
    scans: Sequence[Scan],
    known: Mapping[str, object],
) -> set[str]:
    """Accounts to read: new ones, and known ones that an event names since the last snapshot.

    What a range names counts only if the range is one of `scans`, which are still the chain's.
    """
    touched = await feed.stored(
        Touch,
        "market = $m AND block_number > $b",
        m=market.name,
        b=base.block_number if base else -1,
    )
    standing = {each.to_hash for each in scans}
    named = [t for t in touched if t.to_hash in standing]
    member = {t.account for t in named if t.borrowed or scope == "all"}
    return member | ({t.account for t in named} & known.keys())


# --- rows ---------------------------------------------------------------------------------------


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules by which accounts were valued; the fields are those of rows.Snapshot."""

    profile: str
    hf_rule: str
    close_rule: str
    base_decimals: int
    quote: str = "USD"
    quote_usd: float | None = 1.0
    reserves_usd: float | None = None
    target_reserves_usd: float | None = None


def snapshot_rows(
    market: Market,
    revision: int,
    stamp: Stamp,
    accounts: Mapping[str, K],
    valued: Callable[[str, K], tuple[Account, list[Leg]]],
    rules: Rules,
) -> list[Row]:
    """Each account with its legs, in the order of names, and what the snapshot says of itself."""
    rows: list[Row] = []
    failed = 0
    for name, known in sorted(accounts.items(), key=lambda item: item[0]):
        account, legs = valued(name, known)
        failed += account.status.startswith("n/a")
        rows.append(account)
        rows += legs
    rows.append(
        Snapshot(
            snapshot=stamp.snapshot,
            market=market.name,
            protocol=market.protocol,
            provenance=market.provenance,
            chain_id=market.chain_id,
            block_number=stamp.at.number,
            block_hash=stamp.at.hash,
            block_time=stamp.at.moment,
            read_at=stamp.read_at,
            revision=revision,
            scope=stamp.scope,
            accounts=len(accounts),
            accounts_read=stamp.accounts_read,
            accounts_failed=failed,
            based_on=stamp.based_on,
            endpoint=stamp.endpoint,
            **msgspec.structs.asdict(rules),
        )
    )
    return rows


def factor_rows(
    stamp: Stamp, market: Market, exposures: Mapping[str, Sequence[Exposure]]
) -> list[Factor]:
    """What moves each asset's price, by asset."""
    return [
        Factor(
            snapshot=stamp.snapshot,
            market=market.name,
            block_number=stamp.at.number,
            asset=asset,
            factor=exposure.factor,
            beta=exposure.beta,
            kind=INVERSE if exposure.beta < 0 else exposure.kind,
            feed=exposure.feed,
            description=exposure.description,
            factor_price=exposure.price,
            cap_x=exposure.cap_x,
        )
        for asset, found in exposures.items()
        for exposure in found
    ]


# --- comparing with the chain -------------------------------------------------------------------


async def newest_snapshot(feed: Feed, rpc: Rpc, market: Market) -> tuple[Snapshot, Block]:
    """The newest snapshot that still stands, and its block.

    Raises UsageError where there is none, Reorged where its block left the chain.
    """
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
    return snapshot, at


def choose(accounts: list[Account], sample: int | None, seed: str) -> list[Account]:
    """All accounts, or the risky ones and a random rest: the same choice for the same block."""
    if sample is None or sample >= len(accounts):
        return accounts
    risky = [a for a in accounts if a.hf is not None and a.hf < 1.1]
    calm = [a for a in accounts if a.hf is None or a.hf >= 1.1]
    pick = random.Random(seed)
    if len(risky) >= sample:
        return pick.sample(risky, sample)
    return risky + pick.sample(calm, sample - len(risky))


class Compared(msgspec.Struct, frozen=True):
    """What a comparison with the chain is about: a snapshot, and the accounts chosen of it."""

    market: Market
    rpc: Rpc
    snapshot: Snapshot
    at: Block
    accounts: dict[str, Account]


async def compared(feed: Feed, sample: int | None) -> Compared:
    """Accounts of the market's newest snapshot, all or `sample` of them.

    Raises UsageError without a snapshot, Reorged where its block left the chain.
    """
    market = feed.market()
    rpc = await feed.rpc(market)
    snapshot, at = await newest_snapshot(feed, rpc, market)
    stored = await feed.stored(Account, "snapshot = $s", s=snapshot.snapshot)
    chosen = choose(stored, sample, snapshot.block_hash)
    return Compared(market, rpc, snapshot, at, {a.account: a for a in chosen})


class Figure(msgspec.Struct, frozen=True):
    """One figure of one account: ours, and the chain's; None = n/a, or the call reverted."""

    account: str
    name: str
    ours: int | None
    chain: int | None
    why_not_ours: str = "n/a"


def judged(
    feed: Feed, of: Compared, figures: Iterable[Figure], method: str
) -> tuple[Verification, list[Row]]:
    """The result of a comparison, and the figures that differ."""
    snapshot, now = of.snapshot, feed.now()
    mismatches: list[Row] = []
    wrong: set[str] = set()
    worst = 0
    for figure in figures:
        if figure.ours == figure.chain:
            continue
        wrong.add(figure.account)
        if figure.ours is not None and figure.chain is not None:
            worst = max(worst, abs(figure.ours - figure.chain))
        mismatches.append(
            Mismatch(
                snapshot=snapshot.snapshot,
                market=snapshot.market,
                block_number=snapshot.block_number,
                verified_at=now,
                account=figure.account,
                figure=figure.name,
                ours=figure.why_not_ours if figure.ours is None else str(figure.ours),
                chain="reverted" if figure.chain is None else str(figure.chain),
            )
        )
    return (
        Verification(
            snapshot=snapshot.snapshot,
            market=snapshot.market,
            block_number=snapshot.block_number,
            verified_at=now,
            method=method,
            accounts=snapshot.accounts,
            checked=len(of.accounts),
            mismatched=len(wrong),
            max_abs_error=worst,
            endpoint=of.rpc.host,
        ),
        mismatches,
    )


def steps(
    items: Sequence[str], size: int = ACCOUNTS_PER_STEP
) -> Iterator[tuple[int, Sequence[str]]]:
    """The items in parts that are read together: (items up to and including it, part)."""
    for start in range(0, len(items), size):
        part = items[start : start + size]
        yield start + len(part), part


async def read_steps(
    items: Sequence[str], read: Callable[[Sequence[str]], Awaitable[T]]
) -> AsyncIterator[tuple[int, T]]:
    """(items up to and including a part, what `read` found for it), in order.

    A few parts are under way at once: while one is decoded, the endpoint works on the next.
    """
    waiting: deque[tuple[int, asyncio.Task[T]]] = deque()
    parts = steps(items, ACCOUNTS_PER_READ)
    try:
        while True:
            while len(waiting) < READS_AHEAD and (step := next(parts, None)) is not None:
                waiting.append((step[0], asyncio.ensure_future(read(step[1]))))
            if not waiting:
                return
            done, task = waiting.popleft()
            yield done, await task
    finally:
        for _, task in waiting:
            task.cancel()
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)
