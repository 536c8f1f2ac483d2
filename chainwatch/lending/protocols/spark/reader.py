"""Spark: Aave v3.0.x under another name (marsfoundation/sparklend-v1-core 8120e49)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from chainwatch.collect.source import Batch, Feed, source, verifier
from chainwatch.lending.liquidations import record_liquidations
from chainwatch.lending.protocols.aave_v3.arithmetic import V3_0
from chainwatch.lending.protocols.aave_v3.reader import (
    POSITION_TABLES,
    V3,
    AaveLender,
    AaveLiquidations,
    verify,
)
from chainwatch.lending.survey import take_snapshot
from chainwatch.tables.exchange import Retraction
from chainwatch.tables.lending import ChainLiquidation

SPARK = msgspec.structs.replace(
    V3,
    protocol="spark",
    name="Spark",
    # Whether the live pool was upgraded since is not known; another revision is refused.
    profiles={1: V3_0, 2: V3_0, 3: V3_0},
)


@source(
    SPARK.protocol,
    protocol=SPARK.protocol,
    tables=POSITION_TABLES,
    docs="https://docs.spark.fi/dev/sparklend/core-contracts/pool",
)
def collect_positions(feed: Feed) -> AsyncIterator[Batch]:
    """Positions on Spark: collateral, debt and health factor of every account at one block."""
    return take_snapshot(feed, AaveLender(SPARK))


verifier(SPARK.protocol)(verify)


@source(
    f"{SPARK.protocol}-liquidations",
    protocol=SPARK.protocol,
    tables=(ChainLiquidation, Retraction),
    docs="https://docs.spark.fi/dev/sparklend/core-contracts/pool",
)
def collect_liquidations(feed: Feed) -> AsyncIterator[Batch]:
    """Liquidations on Spark: debt repaid and collateral seized, at the oracle's prices then."""
    return record_liquidations(feed, AaveLiquidations(SPARK))
