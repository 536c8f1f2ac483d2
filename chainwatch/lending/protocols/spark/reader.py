"""Spark: Aave v3.0.x under another name (marsfoundation/sparklend-v1-core 8120e49)."""

from __future__ import annotations

import msgspec

from chainwatch.lending.protocols.aave_v3.arithmetic import V3_0
from chainwatch.lending.protocols.aave_v3.pool import V3
from chainwatch.lending.protocols.aave_v3.reader import AavePool
from chainwatch.lending.sources import publish

SPARK = msgspec.structs.replace(
    V3,
    protocol="spark",
    name="Spark",
    docs="https://docs.spark.fi/dev/sparklend/core-contracts/pool",
    # Whether the live pool was upgraded since is not known; another revision is refused.
    profiles={1: V3_0, 2: V3_0, 3: V3_0},
)

publish(AavePool(SPARK), __name__)
