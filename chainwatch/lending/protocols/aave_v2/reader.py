"""Aave v2 lending pools: prices in ETH, stable debt, no e-mode."""

from __future__ import annotations

from collections.abc import AsyncIterator

from chainwatch.collect.source import Batch, Feed, source, verifier
from chainwatch.lending.liquidations import record_liquidations
from chainwatch.lending.protocols.aave_v2.arithmetic import PROFILES
from chainwatch.lending.protocols.aave_v3.reader import (
    POSITION_TABLES,
    AaveLender,
    AaveLiquidations,
    Dialect,
    verify,
)
from chainwatch.lending.survey import take_snapshot
from chainwatch.tables.exchange import Retraction
from chainwatch.tables.lending import ChainLiquidation

# Selectors and topics; tests/chain/test_abi.py holds each against the ABI in abis/.
LENDINGPOOL_REVISION = "0x8afaff02"
GET_ADDRESSES_PROVIDER = "0xfe65acfe"
BORROW = "0xc6a898309e823ee50bac64e45ca8adba6690e99e7841c45d754e2a38e9019d9b"
ACCOUNT_TOPICS: dict[str, tuple[int, ...]] = {
    BORROW: (2,),
    # Mint and Burn of aTokens
    "0x4c209b5fc8ad50758f13e2e1088ba56a560dff690a1c6fef26394f4c03821c4f": (1,),
    "0x5d624aa9c148153ab3446c1b154f660ee7701e549fe9b62dab7171b1c80e6fa2": (1,),
    # BalanceTransfer of aTokens
    "0x4beccb90f994c31aced7a23b5611020728a23d8ec5cddd1a3e9d97b96fda8666": (1, 2),
    # Mint and Burn of variable debt tokens
    "0x2f00e3cdd69a77be7ed215ec7b2a36784dd158f921fca79ac29deffa353fe6ee": (2,),
    "0x49995e5dd6158cf69ad3e9777c46755a1a826a446c6416992167462dad033b2a": (1,),
    # Mint and Burn of stable debt tokens
    "0xc16f4e4ca34d790de4c656c72fd015c667d688f20be64eea360618545c4c530f": (2,),
    "0x44bd20a79e993bdcc7cbedf54a3b4d19fb78490124b6b90d04fe3242eea579e8": (1,),
    # ReserveUsedAsCollateralEnabled and Disabled
    "0x00058a56ea94653cdf4f152d227ace22d4c00ad99e2a43f58cb7d9e3feb295f2": (2,),
    "0x44c58d81365b66dd4b1a7f36c25aa97b8c71c361ee4937adc1a00000227db5dd": (2,),
    # Swap of the rate mode, RebalanceStableBorrowRate
    "0xea368a40e9570069bb8e6511d668293ad2e1f03b0d982431fd223de9f3b70ca6": (2,),
    "0x9f439ae0c81e41a04d3fdfe07aed54e6a179fb0db15be7702eb66fa8ef6f5300": (2,),
}

V2 = Dialect(
    protocol="aave-v2",
    name="Aave v2",
    revision=LENDINGPOOL_REVISION,
    provider=GET_ADDRESSES_PROVIDER,
    words=(11, 7, 8, 9, 3, 4),
    topics=ACCOUNT_TOPICS,
    borrow=BORROW,
    profiles=PROFILES,
    emodes=False,
)


@source(
    V2.protocol,
    protocol=V2.protocol,
    tables=POSITION_TABLES,
    docs="https://docs.aave.com/developers/v/2.0/the-core-protocol/lendingpool",
)
def collect_positions(feed: Feed) -> AsyncIterator[Batch]:
    """Positions on Aave v2: collateral, debt and health factor of every account at one block."""
    return take_snapshot(feed, AaveLender(V2))


verifier(V2.protocol)(verify)


@source(
    f"{V2.protocol}-liquidations",
    protocol=V2.protocol,
    tables=(ChainLiquidation, Retraction),
    docs="https://docs.aave.com/developers/v/2.0/the-core-protocol/lendingpool",
)
def collect_liquidations(feed: Feed) -> AsyncIterator[Batch]:
    """Liquidations on Aave v2: debt repaid and collateral seized, at the oracle's prices then."""
    return record_liquidations(feed, AaveLiquidations(V2))
