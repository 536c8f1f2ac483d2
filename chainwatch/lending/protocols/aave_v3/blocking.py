"""What a pool of the Aave family refuses to liquidate: reserves, or for now every account.

Source: ValidationLogic.validateLiquidationCall. A frozen reserve is liquidated like any other.
"""

from __future__ import annotations

from datetime import UTC, datetime

from chainwatch.chain.contract import Contract
from chainwatch.chain.reading import Reading
from chainwatch.lending.protocol import NO_ADDRESS
from chainwatch.lending.protocols.aave_v3.arithmetic import Profile, ReserveConfig
from chainwatch.lending.protocols.aave_v3.pool import PROVIDER, Dialect

SENTINEL = Contract("aave_v3_price_oracle_sentinel", "an Aave sequencer sentinel")

GET_PRICE_ORACLE_SENTINEL = PROVIDER.function("getPriceOracleSentinel")
IS_LIQUIDATION_ALLOWED = SENTINEL.function("isLiquidationAllowed")

# Below it the sentinel is not asked (MINIMUM_HEALTH_FACTOR_LIQUIDATION_THRESHOLD).
SENTINEL_ABOVE_HF = 0.95


async def read_market_block(
    reading: Reading, dialect: Dialect, profile: Profile, provider: str
) -> tuple[str | None, float | None]:
    """(why liquidations are refused, the health factor from which up they are; None: all)."""
    if dialect.paused is not None:
        (paused,) = await reading.ask([dialect.paused(reading.pool)])
        if paused:
            return "pool paused", None
    if not profile.sentinel:
        return None, None
    (sentinel,) = await reading.ask([GET_PRICE_ORACLE_SENTINEL.maybe(provider)])
    if sentinel in (None, NO_ADDRESS):
        return None, None
    # Where the sentinel reverts, so does the liquidation.
    (allowed,) = await reading.ask([IS_LIQUIDATION_ALLOWED.maybe(sentinel)])
    return (None, None) if allowed else ("sequencer sentinel", SENTINEL_ABOVE_HF)


def reserve_block(config: ReserveConfig, grace_until: int, now: int) -> str | None:
    """Why nothing of a reserve is liquidated at a time; times in Unix seconds."""
    if not config.active:
        return "not active"
    if config.paused:
        return "paused"
    if grace_until >= now:
        return f"grace period until {datetime.fromtimestamp(grace_until, UTC):%Y-%m-%d %H:%M:%SZ}"
    return None
