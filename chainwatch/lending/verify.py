"""A stored snapshot compared with the chain at its block, figure by figure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from chainwatch.chain.reading import Reading
from chainwatch.collect.predictions import PredictedWall
from chainwatch.collect.source import Feed
from chainwatch.errors import UsageError
from chainwatch.lending.completeness import incomplete
from chainwatch.lending.parts import in_parts
from chainwatch.lending.protocol import Figure, LendingProtocol, name_of, name_parts
from chainwatch.lending.snapshots import newest_snapshot
from chainwatch.lending.survey import stored_accounts
from chainwatch.lending.wall_proof import prove_walls
from chainwatch.tables.base import Row
from chainwatch.tables.lending import (
    Account,
    DebtCoverage,
    Mismatch,
    Reserve,
    Snapshot,
    Verification,
)

P = TypeVar("P")


def choose_accounts(accounts: list[Account], sample: int | None, seed: str) -> list[Account]:
    """All accounts, or those with a health factor below 1.1 first and a random rest.

    The choice is the same for the same seed.
    """
    if sample is None or sample >= len(accounts):
        return accounts
    risky = [a for a in accounts if a.hf is not None and a.hf < 1.1]
    calm = [a for a in accounts if a.hf is None or a.hf >= 1.1]
    pick = random.Random(seed)
    if len(risky) >= sample:
        return pick.sample(risky, sample)
    return risky + pick.sample(calm, sample - len(risky))


class SnapshotSample(msgspec.Struct, frozen=True):
    """Accounts of a stored snapshot that are compared with the chain at its block."""

    snapshot: Snapshot
    reading: Reading
    accounts: list[Account]


async def verify_snapshot(
    feed: Feed,
    lending: LendingProtocol[P],
    sample: int | None,
    independent: bool,
    walls: Sequence[PredictedWall],
) -> tuple[Verification, list[Row]]:
    """Compare the newest snapshot with what the contracts say at its block, and at other prices.

    `sample` limits the accounts: all with a health factor under 1.1, the rest sampled at random.
    `independent` reads through web3's own codecs and transport instead of ours. Raises UsageError
    without a snapshot or without such a second reading, Reorged where its block is gone.
    """
    if independent and not lending.second_reading:
        raise UsageError("--with-web3 compares Aave v2 and v3 and Spark markets only")
    snapshot_sample = await _load_sample(feed, sample)
    reading = snapshot_sample.reading
    stored = await stored_accounts(lending, feed, snapshot_sample.snapshot)
    accounts = {name_of(a): stored[name_of(a)] for a in snapshot_sample.accounts}
    if independent:
        method = f"{lending.method} through web3"
        figures = await lending.independent_figures(reading, accounts, feed.progress)
        return _compare(feed, snapshot_sample, figures, method)
    opened = await lending.open(reading)
    figures = []
    for done, part in in_parts(list(accounts)):
        own = {name: accounts[name] for name in part}
        figures += await lending.chain_figures(reading, opened, own)
        feed.progress(f"{reading.market.name}: accounts verified", done, len(accounts))
    result, rows = _compare(feed, snapshot_sample, figures, lending.method)
    rows += await _missing_debts(feed, snapshot_sample.snapshot)
    if walls:
        rows += await prove_walls(feed, lending, snapshot_sample.snapshot, reading, stored, walls)
    return result, rows


async def _missing_debts(feed: Feed, snapshot: Snapshot) -> list[Row]:
    """A Mismatch for each asset of which less than nearly all debt was found."""
    rows = await feed.stored(DebtCoverage, "snapshot = $s", s=snapshot.snapshot)
    reserves = await feed.stored(Reserve, "snapshot = $s", s=snapshot.snapshot)
    symbols = {r.asset: r.symbol for r in reserves}
    return [
        Mismatch(
            snapshot=snapshot.snapshot,
            market=snapshot.market,
            block_number=snapshot.block_number,
            verified_at=feed.now(),
            account="",
            figure=f"{row.measure} of {symbols.get(row.asset, row.asset)}",
            ours=str(row.account_sum),
            chain=str(row.contract_total),
        )
        for row in incomplete(rows)
    ]


async def _load_sample(feed: Feed, size: int | None) -> SnapshotSample:
    """Accounts of the market's newest snapshot, all or `size` of them, in the order of names."""
    snapshot, reading = await newest_snapshot(feed)
    stored = await feed.stored(Account, "snapshot = $s", s=snapshot.snapshot)
    accounts = choose_accounts(stored, size, snapshot.block_hash)
    return SnapshotSample(snapshot, reading, sorted(accounts, key=name_of))


def _compare(
    feed: Feed, sample: SnapshotSample, figures: Iterable[Figure], method: str
) -> tuple[Verification, list[Row]]:
    """The result of a comparison, and a Mismatch row for each figure that differs."""
    snapshot, now = sample.snapshot, feed.now()
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
                account=name_parts(figure.account)[0],
                position=name_parts(figure.account)[1],
                figure=figure.name,
                ours=figure.why_not_ours if figure.ours is None else str(int(figure.ours)),
                chain="reverted" if figure.chain is None else str(int(figure.chain)),
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
            checked=len(sample.accounts),
            mismatched=len(wrong),
            max_abs_error=worst,
            endpoint=sample.reading.rpc.host,
        ),
        mismatches,
    )
