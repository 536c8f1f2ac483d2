"""The state of a Comet at a block: its assets, indices, prices, and the rows of its reserves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.chain.contract import Contract
from chainwatch.chain.erc20 import SYMBOL
from chainwatch.chain.reading import Reading
from chainwatch.errors import ConfigError
from chainwatch.lending import close_rules
from chainwatch.lending.exposures import Exposure
from chainwatch.lending.oracles import Price, exposures_in_usd, infer, resolve
from chainwatch.lending.price_sources import read_answer, read_quotes
from chainwatch.lending.protocol import FIX_MARKET, Currency, MarketView, Rules
from chainwatch.lending.protocols.compound_v3 import arithmetic
from chainwatch.lending.protocols.compound_v3.arithmetic import Base
from chainwatch.tables.lending import Reserve

COMET = Contract("comet", "a Comet")
NUM_ASSETS = COMET.function("numAssets")
GET_ASSET_INFO = COMET.function("getAssetInfo")
BASE_TOKEN = COMET.function("baseToken")
BASE_TOKEN_PRICE_FEED = COMET.function("baseTokenPriceFeed")
BASE_SCALE = COMET.function("baseScale")
TOTALS_BASIC = COMET.function("totalsBasic")
GET_UTILIZATION = COMET.function("getUtilization")
GET_BORROW_RATE = COMET.function("getBorrowRate")
GET_SUPPLY_RATE = COMET.function("getSupplyRate")
GET_PRICE = COMET.function("getPrice")
GET_RESERVES = COMET.function("getReserves")
TARGET_RESERVES = COMET.function("targetReserves")
IS_ABSORB_PAUSED = COMET.function("isAbsorbPaused")

PRICE_UNIT: int = 10**arithmetic.PRICE_DECIMALS
MAX_ASSETS = 24


class CometConfig(msgspec.Struct, frozen=True):
    """The assets of a Comet at a block, each as getAssetInfo gives it; the base asset apart."""

    base_asset: str
    base_feed: str
    base_scale: int
    assets: tuple[Any, ...]


class CometState(msgspec.Struct, frozen=True):
    """The market's state at a block: indices as stored and as accrued, prices in quote units."""

    config: CometConfig
    stored: Base
    accrued: Base
    prices: dict[str, int | None]
    symbols: dict[str, str]
    currency: Currency

    def worth(self, raw: int, asset: str, scale: int) -> float | None:
        """USD of an amount of an asset, rounded to 8 decimals of the quote unit as Comet does."""
        price = self.prices.get(asset)
        return (
            None if price is None else self.currency.worth(arithmetic.mul_price(raw, price, scale))
        )


async def read_config(reading: Reading) -> CometConfig:
    """The market's assets; ConfigError where the contract does not answer as a Comet does."""
    pool, infos = reading.pool, []
    count, token, feed, scale = await reading.ask(
        [g.maybe(pool) for g in (NUM_ASSETS, BASE_TOKEN, BASE_TOKEN_PRICE_FEED, BASE_SCALE)]
    )
    if count is not None and count <= MAX_ASSETS:
        infos = await reading.ask([GET_ASSET_INFO.maybe(pool, i) for i in range(count)])
    if None in (count, token, feed, scale, *infos) or len(infos) != count:
        raise ConfigError(
            f"{reading.market.name}: the contract {pool} on chain {reading.market.chain} is not a "
            f"Comet at block {reading.block.number} (it has no numAssets, baseToken or "
            f"getAssetInfo); {FIX_MARKET}"
        )
    return CometConfig(base_asset=token, base_feed=feed, base_scale=scale, assets=tuple(infos))


async def read_market_view(reading: Reading, config: CometConfig) -> MarketView:
    pool = reading.pool
    totals, used, reserves, target, absorb_paused = await reading.ask(
        [
            TOTALS_BASIC(pool),
            GET_UTILIZATION(pool),
            GET_RESERVES.maybe(pool),
            TARGET_RESERVES.maybe(pool),
            IS_ABSORB_PAUSED(pool),
        ]
    )
    supply_rate, borrow_rate = await reading.ask(
        [GET_SUPPLY_RATE(pool, used), GET_BORROW_RATE(pool, used)]
    )
    base = config.base_asset
    feeds = {base: config.base_feed} | {a.asset: a.price_feed for a in config.assets}
    answers = await reading.ask_each(
        feeds, lambda token: (GET_PRICE.maybe(pool, feeds[token]), SYMBOL.maybe(token))
    )
    prices = {token: price for token, (price, _) in answers.items()}
    symbols = {token: symbol or token[:10] for token, (_, symbol) in answers.items()}
    quote, currency = await _read_currency(reading, config, symbols[base])
    stored = Base(
        borrow_index=totals.base_borrow_index,
        supply_index=totals.base_supply_index,
        price=prices[base] or 0,
        scale=config.base_scale,
    )
    elapsed = reading.block.time - totals.last_accrual_time
    state = CometState(
        config=config,
        stored=stored,
        accrued=msgspec.structs.replace(
            stored,
            borrow_index=arithmetic.accrued(stored.borrow_index, borrow_rate, elapsed),
            supply_index=arithmetic.accrued(stored.supply_index, supply_rate, elapsed),
        ),
        prices=prices,
        symbols=symbols,
        currency=currency,
    )
    return MarketView(
        state=state,
        reserves=_reserve_rows(reading, state),
        currency=currency,
        rules=Rules(
            profile="comet",
            close_rule=close_rules.ABSORB,
            base_decimals=arithmetic.PRICE_DECIMALS,
            quote=quote,
            quote_usd=currency.usd,
            blocked_reason="absorb paused" if absorb_paused else None,
            stored={
                "reserves_usd": _base_usd(state, reserves),
                "target_reserves_usd": _base_usd(state, target),
            },
        ),
    )


async def _read_currency(
    reading: Reading, config: CometConfig, symbol: str
) -> tuple[str, Currency]:
    """What prices are counted in.

    USD where the base feed is one price in USD ("ETH / USD", or WBTC / BTC × BTC / USD); else the
    unit that it names ("WBTC / BTC"), and the base asset itself where it names none (a constant of
    1). The market table may name a feed for a unit other than USD.
    """
    feed = config.base_feed
    (exposures,) = (await infer(reading, {feed: symbol})).values()
    if sum(e.beta for e in exposures if e.kind in ("feed", "inverse")) == 1:
        return "USD", Currency(PRICE_UNIT)
    unit = (await read_quotes(reading, [feed]))[feed].unit
    usd = await read_answer(reading, reading.market.quote_feed)
    return unit or symbol, Currency(PRICE_UNIT, usd)


async def read_exposures(
    reading: Reading, state: CometState, quote: str
) -> Mapping[str, Sequence[Exposure]]:
    """What moves each price."""
    config = state.config
    feeds = {config.base_asset: config.base_feed} | {a.asset: a.price_feed for a in config.assets}
    exposures = await resolve(
        reading,
        {
            token: Price(GET_PRICE.call(reading.pool, feed), feed, state.symbols[token])
            for token, feed in feeds.items()
        },
    )
    return exposures if quote == "USD" else await exposures_in_usd(reading, exposures)


def _reserve_rows(reading: Reading, state: CometState) -> list[Reserve]:
    """The base asset, then the collaterals."""
    config, base = state.config, state.config.base_asset

    def row(asset: str, number: int, scale: int, feed: str, **terms: Any) -> Reserve:
        price = state.prices[asset]
        return Reserve(
            **reading.row,
            asset=asset,
            reserve_id=number,
            symbol=state.symbols[asset],
            decimals=len(str(scale)) - 1,
            price=price,
            price_usd=state.currency.worth(price),
            price_status="ok" if price is not None else "n/a (oracle reverted)",
            oracle=feed,
            **terms,
        )

    rows = [
        row(
            base,
            len(config.assets),
            config.base_scale,
            config.base_feed,
            liquidity_index=state.accrued.supply_index,
            debt_index=state.accrued.borrow_index,
            ltv_bps=0.0,
            lt_bps=0.0,
            bonus_bps=0.0,
        )
    ]
    rows += [
        row(
            a.asset,
            a.offset,
            a.scale,
            a.price_feed,
            ltv_bps=bps(a.borrow_collateral_factor),
            lt_bps=bps(a.liquidate_collateral_factor),
            bonus_bps=bonus_bps(a.liquidation_factor),
            borrowing=False,
        )
        for a in config.assets
    ]
    return rows


def _base_usd(state: CometState, amount: int | None) -> float | None:
    """USD of an amount of the base asset; None where the amount or a price is None."""
    price, currency = state.prices[state.config.base_asset], state.currency
    if amount is None or price is None or currency.usd is None:
        return None
    return amount / state.config.base_scale * (price / PRICE_UNIT) * currency.usd


def bps(factor: int) -> float:
    return factor * 10_000 / arithmetic.FACTOR


def bonus_bps(liquidation_factor: int) -> float:
    """Collateral taken per debt covered, above 1: absorption credits value times the factor."""
    return (arithmetic.FACTOR / liquidation_factor - 1) * 10_000 if liquidation_factor else 0.0
