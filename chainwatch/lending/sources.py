"""A lending protocol as sources: its positions, how they are verified, its liquidations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from chainwatch.collect.predictions import PredictedWall
from chainwatch.collect.source import Batch, Feed, Source, register, verifier
from chainwatch.lending.liquidations import record_liquidations
from chainwatch.lending.protocol import LendingProtocol
from chainwatch.lending.survey import take_snapshot
from chainwatch.lending.verify import verify_snapshot
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Retraction
from chainwatch.tables.lending import (
    Account,
    ChainLiquidation,
    DebtCoverage,
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

POSITION_TABLES = (
    Scan,
    Touch,
    Snapshot,
    Reserve,
    EMode,
    Factor,
    DebtCoverage,
    Account,
    Leg,
    Orphan,
)


def publish(lending: LendingProtocol[P], module: str) -> None:
    """Register a protocol's two sources and its verification; `module` is the reader's name."""
    protocol = lending.protocol

    def collect_positions(feed: Feed) -> AsyncIterator[Batch]:
        return take_snapshot(feed, lending)

    def collect_liquidations(feed: Feed) -> AsyncIterator[Batch]:
        return record_liquidations(feed, lending)

    async def verify(
        feed: Feed, sample: int | None, independent: bool, walls: Sequence[PredictedWall]
    ) -> tuple[Verification, list[Row]]:
        return await verify_snapshot(feed, lending, sample, independent, walls)

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
