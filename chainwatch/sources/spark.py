"""Spark: Aave v3.0.x under another name (marsfoundation/sparklend-v1-core 8120e49)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from chainwatch import liquidations, positions
from chainwatch.lending import aave_v3
from chainwatch.rows import ChainLiquidation, Retraction
from chainwatch.source import Batch, Feed, source, verifier
from chainwatch.sources import aave

SPARK = msgspec.structs.replace(
    aave.V3,
    protocol="spark",
    name="Spark",
    # Whether the live pool was upgraded since is not known; another revision is refused.
    profiles={1: aave_v3.V3_0, 2: aave_v3.V3_0, 3: aave_v3.V3_0},
)


@source(
    SPARK.protocol,
    protocol=SPARK.protocol,
    tables=aave.TABLES,
    docs="https://docs.spark.fi/dev/sparklend/core-contracts/pool",
)
def accounts(feed: Feed) -> AsyncIterator[Batch]:
    """Positions on Spark: collateral, debt and health factor of every account at one block."""
    return positions.survey(feed, aave.AaveLender(SPARK))


verifier(SPARK.protocol)(aave.verify)


@source(
    f"{SPARK.protocol}-liquidations",
    protocol=SPARK.protocol,
    tables=(ChainLiquidation, Retraction),
    docs="https://docs.spark.fi/dev/sparklend/core-contracts/pool",
)
def liquidated(feed: Feed) -> AsyncIterator[Batch]:
    """Liquidations on Spark: debt repaid and collateral seized, at the oracle's prices then."""
    return liquidations.record(feed, aave.AaveRecorder(SPARK))
