"""Aave v2 lending pools: prices in ETH, stable debt, no e-mode."""

from __future__ import annotations

from chainwatch.chain.contract import Contract
from chainwatch.lending.protocols.aave_v2.arithmetic import PROFILES
from chainwatch.lending.protocols.aave_v3.pool import Dialect
from chainwatch.lending.protocols.aave_v3.reader import AavePool
from chainwatch.lending.sources import publish

POOL = Contract("aave_v2_pool", "an Aave v2 pool")

V2 = Dialect(
    protocol="aave-v2",
    name="Aave v2",
    docs="https://docs.aave.com/developers/v/2.0/the-core-protocol/lendingpool",
    revision=POOL.function("LENDINGPOOL_REVISION"),
    provider=POOL.function("getAddressesProvider"),
    reserve_data=POOL.function("getReserveData"),
    paused=POOL.function("paused"),
    borrow=POOL.event("Borrow"),
    accounts=(
        (
            POOL,
            {
                "Borrow": "on_behalf_of",
                "ReserveUsedAsCollateralEnabled": "user",
                "ReserveUsedAsCollateralDisabled": "user",
                "Swap": "user",  # of the rate mode
                "RebalanceStableBorrowRate": "user",
            },
        ),
        (
            Contract("aave_v2_a_token"),
            {"Mint": "from_", "Burn": "from_", "BalanceTransfer": "from_ to"},
        ),
        (Contract("aave_v2_variable_debt_token"), {"Mint": "on_behalf_of", "Burn": "user"}),
        (Contract("aave_v2_stable_debt_token"), {"Mint": "on_behalf_of", "Burn": "user"}),
    ),
    profiles=PROFILES,
    has_emodes=False,
)

publish(AavePool(V2), __name__)
