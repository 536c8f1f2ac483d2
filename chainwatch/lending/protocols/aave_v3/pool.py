"""A pool of the Aave family: how one family differs from another, and what a pool consists of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from chainwatch.chain.contract import Contract, Event, Function
from chainwatch.chain.reading import Reading
from chainwatch.chain.together import gather
from chainwatch.errors import ConfigError
from chainwatch.lending.protocol import FIX_MARKET, NO_ADDRESS
from chainwatch.lending.protocols.aave_v3.arithmetic import PROFILES, Profile

POOL = Contract("aave_v3_pool", "an Aave pool")
A_TOKEN = Contract("a_token", "an aToken")
VARIABLE_DEBT_TOKEN = Contract("variable_debt_token")
STABLE_DEBT_TOKEN = Contract("stable_debt_token")

PROVIDER = Contract("aave_v3_addresses_provider", "an Aave addresses provider")

GET_PRICE_ORACLE = PROVIDER.function("getPriceOracle")
GET_RESERVES_LIST = POOL.function("getReservesList")
GET_TOTAL_SUPPLY_LAST_UPDATED = STABLE_DEBT_TOKEN.function("getTotalSupplyLastUpdated")


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How one family of pools differs from another.

    `docs` is its own page. `accounts` are the events that change an account's balances or flags,
    and the names of their arguments that are accounts. `profiles` are the rules by the revision of
    a pool; a pool of another revision is refused. `paused` says that nothing at all goes on.
    """

    protocol: str
    name: str
    docs: str
    revision: Function
    provider: Function
    reserve_data: Function
    borrow: Event
    accounts: tuple[tuple[Contract, dict[str, str]], ...]
    profiles: Mapping[int, Profile]
    has_emodes: bool = True
    paused: Function | None = None


V3 = Dialect(
    protocol="aave-v3",
    name="Aave v3",
    docs="https://aave.com/docs/aave-v3/smart-contracts/pool",
    revision=POOL.function("POOL_REVISION"),
    provider=POOL.function("ADDRESSES_PROVIDER"),
    reserve_data=POOL.function("getReserveData"),
    borrow=POOL.event("Borrow"),
    accounts=(
        (
            POOL,
            {
                "Borrow": "on_behalf_of",
                "ReserveUsedAsCollateralEnabled": "user",
                "ReserveUsedAsCollateralDisabled": "user",
                "UserEModeSet": "user",
                "SwapBorrowRateMode": "user",
                "RebalanceStableBorrowRate": "user",
            },
        ),
        (A_TOKEN, {"Mint": "on_behalf_of", "Burn": "from_", "BalanceTransfer": "from_ to"}),
        (VARIABLE_DEBT_TOKEN, {"Mint": "on_behalf_of", "Burn": "from_"}),
        (STABLE_DEBT_TOKEN, {"Mint": "on_behalf_of", "Burn": "from_"}),
    ),
    profiles=PROFILES,
)


class PoolReserve(msgspec.Struct, frozen=True):
    """One reserve of a pool; `data` is what getReserveData says, by the names of its ABI."""

    asset: str
    data: Any
    has_stable_debt: bool

    @property
    def debt_tokens(self) -> list[str]:
        """The tokens of its stable and its variable debt; a pool may have no stable debt."""
        tokens = (self.data.stable_debt_token_address, self.data.variable_debt_token_address)
        return [token for token in tokens if token != NO_ADDRESS]


class Pool(msgspec.Struct, frozen=True):
    """A pool as it was opened: its revision and its rules, its reserves, provider and oracle."""

    revision: int
    profile: Profile
    reserves: tuple[PoolReserve, ...]
    provider: str
    oracle: str


async def read_pool(reading: Reading, dialect: Dialect) -> Pool:
    """The pool; ConfigError where it is none of this dialect, or of an unknown revision."""
    market, block = reading.market, reading.block
    getters = (dialect.revision, GET_RESERVES_LIST, dialect.provider)
    number, listed, named = await reading.read([g.call(reading.pool) for g in getters])
    revision = dialect.revision.decode_or_none(number)
    if revision is None:
        raise ConfigError(
            f"{market.name}: the contract {reading.pool} on chain {market.chain} is not a pool of "
            f"{dialect.name} at block {block.number} (it has no revision number); {FIX_MARKET}"
        )
    profile = dialect.profiles.get(revision)
    if profile is None:
        raise ConfigError(
            f"{market.name}: expected a pool revision of "
            f"{', '.join(str(r) for r in dialect.profiles)}, got {revision} at block "
            f"{block.number}; its rounding rules are not known, so nothing was read"
        )
    assets = GET_RESERVES_LIST.decode(listed)
    provider = dialect.provider.decode(named)
    data, (oracle,) = await gather(
        reading.ask([dialect.reserve_data(reading.pool, asset) for asset in assets]),
        reading.ask([GET_PRICE_ORACLE(provider)]),
    )
    # Not totalSupply: it grows at an average rate, and a repayment that exceeds it sets it to 0
    # while others still owe. The time of its last change is 0 only if nobody ever owed.
    changed = [0] * len(assets)
    if profile.stable_debt:
        tokens = [d.stable_debt_token_address for d in data]
        changed = await reading.ask([GET_TOTAL_SUPPLY_LAST_UPDATED.maybe(t) for t in tokens])
    reserves = [
        PoolReserve(asset, d, has_stable_debt=bool(when))
        for asset, d, when in zip(assets, data, changed, strict=True)
    ]
    return Pool(revision, profile, tuple(reserves), provider, str(oracle))


def bonus_bps(stored: int) -> int:
    """Aave stores 10500 for a bonus of 5 %; 0 where the asset is no collateral."""
    return max(stored - 10_000, 0)
