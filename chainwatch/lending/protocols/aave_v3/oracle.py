"""The price oracle of a pool of the Aave family, and what its prices are counted in."""

from __future__ import annotations

import msgspec

from chainwatch.chain.contract import Contract
from chainwatch.chain.reading import Reading
from chainwatch.errors import ConfigError
from chainwatch.lending.price_sources import read_answer
from chainwatch.lending.protocol import NO_ADDRESS, Currency
from chainwatch.lending.protocols.aave_v3.pool import GET_PRICE_ORACLE, Dialect

ORACLE = Contract("aave_v3_oracle", "an Aave oracle")

GET_ASSET_PRICE = ORACLE.function("getAssetPrice")
GET_SOURCE_OF_ASSET = ORACLE.function("getSourceOfAsset")
BASE_CURRENCY = ORACLE.function("BASE_CURRENCY")
BASE_CURRENCY_UNIT = ORACLE.function("BASE_CURRENCY_UNIT")

ETHER = 10**18


class Oracle(msgspec.Struct, frozen=True):
    """A pool's oracle; `quote` names what its prices are counted in: USD, ETH or a token."""

    address: str
    quote: str
    currency: Currency


async def read_oracle(reading: Reading, dialect: Dialect) -> Oracle:
    """The pool's oracle, see `read_currency`."""
    (provider,) = await reading.ask([dialect.provider(reading.pool)])
    return await read_currency(reading, await read_oracle_address(reading, provider))


async def read_oracle_address(reading: Reading, provider: str) -> str:
    """The oracle that a pool's addresses provider names."""
    (oracle,) = await reading.ask([GET_PRICE_ORACLE(provider)])
    return str(oracle)


async def read_currency(reading: Reading, oracle: str) -> Oracle:
    """An oracle with what it counts in. ConfigError where its unit is not a power of ten.

    Oracles from before v3 have no getter for it; they count in ETH with 18 decimals.
    """
    market = reading.market
    currency, unit = await reading.ask(
        [BASE_CURRENCY.maybe(oracle), BASE_CURRENCY_UNIT.maybe(oracle)]
    )
    if currency is None or unit is None:
        return Oracle(oracle, "ETH", Currency(ETHER, await read_answer(reading, market.quote_feed)))
    if str(unit).strip("0") != "1":
        raise ConfigError(
            f"{market.name}: expected a base currency unit that is a power of ten, got {unit}"
        )
    if currency == NO_ADDRESS:
        return Oracle(oracle, "USD", Currency(unit))
    usd = await read_answer(reading, market.quote_feed)
    return Oracle(oracle, currency, Currency(unit, usd))
