"""A spoke of Aave v4 at a block: its terms and reserves, and what shares in them are worth."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from chainwatch.chain.contract import Contract
from chainwatch.chain.erc20 import SYMBOL
from chainwatch.chain.reading import Reading
from chainwatch.errors import ConfigError
from chainwatch.lending.integers import WAD, unit_of
from chainwatch.lending.liquidations import Amount
from chainwatch.lending.protocol import FIX_MARKET, scoped_name
from chainwatch.lending.protocols.aave_v4 import arithmetic
from chainwatch.lending.protocols.aave_v4.arithmetic import Drawn, SpokeAccountState, Supplied

SPOKE = Contract("aave_v4_spoke", "an Aave v4 spoke")
GET_RESERVE_COUNT = SPOKE.function("getReserveCount")
ORACLE = SPOKE.function("ORACLE")
GET_LIQUIDATION_CONFIG = SPOKE.function("getLiquidationConfig")
GET_RESERVE = SPOKE.function("getReserve")
GET_DYNAMIC_RESERVE_CONFIG = SPOKE.function("getDynamicReserveConfig")
HUB = Contract("aave_v4_hub", "an Aave v4 hub")
GET_ASSET_DRAWN_INDEX = HUB.function("getAssetDrawnIndex")
PREVIEW_REMOVE_BY_SHARES = HUB.function("previewRemoveByShares")
PRICE_ORACLE = Contract("aave_v4_oracle", "an Aave v4 oracle")
GET_RESERVE_PRICE = PRICE_ORACLE.function("getReservePrice")
GET_RESERVE_SOURCE = PRICE_ORACLE.function("getReserveSource")

PRICE_DECIMALS = 8
MAX_RESERVES = 10_000


class ReservePosition(msgspec.Struct, frozen=True):
    """What an account has in one reserve: shares, whether it uses them, and its config key."""

    supplied: int = 0
    using: bool = False
    drawn: int = 0
    premium_shares: int = 0
    premium_offset: int = 0
    config: int = 0


# One account: its flagged reserves by number.
SpokePosition = dict[int, ReservePosition]


class SpokeTerms(msgspec.Struct, frozen=True):
    """How many reserves a spoke has, its oracle, and `liquidation` as the spoke gives it."""

    count: int
    oracle: str
    liquidation: Any


class SpokeReserve(msgspec.Struct, frozen=True):
    """One reserve at a block: `listing` as getReserve gives it, the index of drawn shares in ray.

    `price` has 8 decimals, None where the oracle fails.
    """

    number: int
    listing: Any
    symbol: str
    source: str
    price: int | None
    index: int

    @property
    def key(self) -> str:
        return scoped_name(self.listing.underlying, str(self.number))

    @property
    def decimals(self) -> int:
        return int(self.listing.decimals)

    @property
    def price_usd(self) -> float | None:
        return None if self.price is None else self.price / int(10**PRICE_DECIMALS)

    def value(self, amount: int) -> int | None:
        """An amount's value with 26 decimals."""
        if self.price is None:
            return None
        return amount * unit_of(18 - self.decimals) * self.price

    def amount(self, raw: int) -> Amount:
        """An amount in token units as a liquidation shows it."""
        tokens, price = raw / unit_of(self.decimals), self.price_usd
        usd = None if price is None else tokens * price
        return Amount(self.listing.underlying, self.symbol, tokens, usd)


class SpokeState(msgspec.Struct, frozen=True):
    """The spoke at a block: its liquidation terms and reserves, by (reserve, key) the terms of
    accounts, by (reserve, shares) what supply is worth."""

    oracle: str
    liquidation: Any
    reserves: dict[int, SpokeReserve]
    configs: dict[tuple[int, int], Any]
    amounts: dict[tuple[int, int], int]

    def figures(self, held: SpokePosition) -> SpokeAccountState | None:
        """The account's figures; None where a price is missing."""
        if any(self.reserves[n].price is None for n in held):
            return None
        collaterals, debts = [], []
        for number, position in held.items():
            reserve = self.reserves[number]
            price, decimals = reserve.price or 0, reserve.decimals
            factor = self.configs[number, position.config].collateral_factor
            if position.using and position.supplied and factor:
                amount = self.amounts[number, position.supplied]
                collaterals.append(Supplied(amount, decimals, price, factor))
            if position.drawn:
                premium = self.premium(number, position)
                debts.append(Drawn(position.drawn, reserve.index, premium, decimals, price))
        return arithmetic.account(collaterals, debts)

    def premium(self, number: int, held: ReservePosition) -> int:
        """Premium debt in token units and ray."""
        return held.premium_shares * self.reserves[number].index - held.premium_offset

    def owed(self, number: int, held: ReservePosition) -> int:
        """A debt with its premium in token units and ray, not rounded."""
        return held.drawn * self.reserves[number].index + self.premium(number, held)


async def read_terms(reading: Reading) -> SpokeTerms:
    """The spoke's terms; ConfigError where the contract does not answer as a spoke does."""
    pool = reading.pool
    count, oracle, liquidation = await reading.ask(
        [g.maybe(pool) for g in (GET_RESERVE_COUNT, ORACLE, GET_LIQUIDATION_CONFIG)]
    )
    if (
        None in (count, oracle, liquidation)
        or count > MAX_RESERVES
        # The bonus is largest below some health factor under 1, the target is not under 1.
        or not liquidation.health_factor_for_max_bonus < WAD <= liquidation.target_health_factor
    ):
        raise ConfigError(
            f"{reading.market.name}: the contract {pool} on chain {reading.market.chain} is not a "
            f"spoke of Aave v4 at block {reading.block.number} (it has no getReserveCount, ORACLE "
            f"or getLiquidationConfig); {FIX_MARKET}"
        )
    return SpokeTerms(count, oracle, liquidation)


async def read_state(
    reading: Reading, terms: SpokeTerms, positions: Iterable[SpokePosition]
) -> SpokeState:
    """The spoke at a block, with the terms and supply amounts that these positions need."""
    pool, oracle = reading.pool, terms.oracle
    listed = await reading.ask_each(
        range(terms.count),
        lambda n: (
            GET_RESERVE(pool, n),
            GET_RESERVE_PRICE.maybe(oracle, n),
            GET_RESERVE_SOURCE(oracle, n),
        ),
    )
    listings = {n: listing for n, (listing, _, _) in listed.items()}
    indices = await reading.ask_each(
        listings,
        lambda n: (
            GET_ASSET_DRAWN_INDEX(listings[n].hub, listings[n].asset_id),
            SYMBOL.maybe(listings[n].underlying),
        ),
    )
    reserves = {
        n: SpokeReserve(
            number=n,
            listing=listing,
            symbol=indices[n][1] or listing.underlying[:10],
            source=source,
            price=price or None,
            index=indices[n][0],
        )
        for n, (listing, price, source) in listed.items()
    }
    held = [(n, position) for of_account in positions for n, position in of_account.items()]
    keys = {(n, position.config) for n, position in held}
    keys |= {(n, listing.dynamic_config_key) for n, listing in listings.items()}
    configs = await reading.ask_each(
        sorted(keys), lambda key: (GET_DYNAMIC_RESERVE_CONFIG(pool, *key),)
    )
    supplies = sorted({(n, position.supplied) for n, position in held if position.supplied})
    worth = await reading.read(
        [
            PREVIEW_REMOVE_BY_SHARES.call(listings[n].hub, listings[n].asset_id, shares)
            for n, shares in supplies
        ]
    )
    return SpokeState(
        oracle=oracle,
        liquidation=terms.liquidation,
        reserves=reserves,
        configs={key: config for key, (config,) in configs.items()},
        amounts=dict(zip(supplies, PREVIEW_REMOVE_BY_SHARES.numbers(worth), strict=True)),
    )
