"""A stored snapshot compared with the chain at its block, figure by figure."""

from __future__ import annotations

import random
from collections.abc import Iterable

import msgspec

from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market
from chainwatch.chain.types import Block
from chainwatch.collect.source import Feed
from chainwatch.lending.snapshots import newest_snapshot
from chainwatch.tables.base import Row
from chainwatch.tables.lending import Account, Mismatch, Snapshot, Verification


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

    market: Market
    rpc: Rpc
    snapshot: Snapshot
    at: Block
    accounts: dict[str, Account]


async def load_sample(feed: Feed, size: int | None) -> SnapshotSample:
    """Accounts of the market's newest snapshot, all or `size` of them.

    Raises UsageError without a snapshot, Reorged where its block left the chain.
    """
    market = feed.market()
    rpc = await feed.rpc(market)
    snapshot, at = await newest_snapshot(feed, rpc, market)
    stored = await feed.stored(Account, "snapshot = $s", s=snapshot.snapshot)
    accounts = choose_accounts(stored, size, snapshot.block_hash)
    return SnapshotSample(market, rpc, snapshot, at, {a.account: a for a in accounts})


class Figure(msgspec.Struct, frozen=True):
    """One figure of one account: ours and the chain's.

    None stands for n/a (ours) and for a call that reverted (the chain's). A verdict is 1 or 0.
    """

    account: str
    name: str
    ours: int | None
    chain: int | None
    why_not_ours: str = "n/a"


def compare_figures(
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
                account=figure.account,
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
            endpoint=sample.rpc.host,
        ),
        mismatches,
    )
