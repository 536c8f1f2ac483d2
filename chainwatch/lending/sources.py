"""A lending protocol as sources: its positions, how they are verified, its liquidations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Block
from chainwatch.collect.source import Batch, Feed, Source, register, verifier
from chainwatch.errors import UsageError
from chainwatch.lending.adapter import ProtocolLender, stored_accounts
from chainwatch.lending.liquidations import ProtocolEvents, record_liquidations
from chainwatch.lending.parts import in_parts
from chainwatch.lending.protocol import LendingProtocol
from chainwatch.lending.survey import take_snapshot
from chainwatch.lending.verify import Figure, compare_figures, load_sample
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Retraction
from chainwatch.tables.lending import (
    Account,
    ChainLiquidation,
    EMode,
    Factor,
    Leg,
    Orphan,
    Reserve,
    Scan,
    Snapshot,
    Touch,
    Verification,
)

P = TypeVar("P")

POSITION_TABLES = (Scan, Touch, Snapshot, Reserve, EMode, Factor, Account, Leg, Orphan)


def publish(lending: LendingProtocol[P], module: str) -> None:
    """Register a protocol's two sources and its verification; `module` is the reader's name."""

    def collect_positions(feed: Feed) -> AsyncIterator[Batch]:
        return take_snapshot(feed, ProtocolLender(lending))

    def collect_liquidations(feed: Feed) -> AsyncIterator[Batch]:
        async def emitters(rpc: Rpc, market: Market, at: Block) -> Sequence[str]:
            return await lending.liquidation_emitters(Reading(rpc, market, at))

        return record_liquidations(feed, ProtocolEvents(lending), emitters)

    async def verify(
        feed: Feed, sample: int | None, independent: bool
    ) -> tuple[Verification, list[Row]]:
        return await verify_snapshot(feed, lending, sample, independent)

    protocol = lending.protocol
    register(
        Source(
            name=protocol,
            tables=POSITION_TABLES,
            docs=lending.docs,
            mode="poll",
            module=module,
            summary=lending.summary,
            run=collect_positions,
            protocol=protocol,
        )
    )
    register(
        Source(
            name=f"{protocol}-liquidations",
            tables=(ChainLiquidation, Retraction),
            docs=lending.liquidation_docs,
            mode="poll",
            module=module,
            summary=lending.liquidation_summary,
            run=collect_liquidations,
            protocol=protocol,
        )
    )
    verifier(protocol)(verify)


async def verify_snapshot(
    feed: Feed, lending: LendingProtocol[P], sample: int | None, independent: bool
) -> tuple[Verification, list[Row]]:
    """Compare the newest snapshot with what the contracts say at its block.

    `sample` limits the accounts: all with a health factor under 1.1, the rest sampled at random.
    `independent` reads through web3's own codecs and transport instead of ours. Raises UsageError
    without a snapshot or without such a second reading, Reorged where its block is gone.
    """
    if independent and not lending.second_reading:
        raise UsageError("--with-web3 compares Aave v2 and v3 and Spark markets only")
    snapshot_sample = await load_sample(feed, sample)
    reading = Reading(snapshot_sample.rpc, snapshot_sample.market, snapshot_sample.at)
    stored = await stored_accounts(lending, feed, snapshot_sample.snapshot)
    accounts = {name: stored[name] for name in sorted(snapshot_sample.accounts)}
    method = lending.method
    figures: list[Figure] = []
    if independent:
        method += " through web3"
        figures = await lending.independent_figures(reading, accounts, feed.progress)
    else:
        opened = await lending.open(reading)
        for done, part in in_parts(list(accounts)):
            figures += await lending.chain_figures(
                reading, opened, {name: accounts[name] for name in part}
            )
            feed.progress(f"{reading.market.name}: accounts verified", done, len(accounts))
    return compare_figures(feed, snapshot_sample, figures, method)
