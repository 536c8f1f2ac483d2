"""Compound III (Comet): one base asset per market, collateral that earns nothing, whole-account
absorption.

`isLiquidatable` is a view on the indices as stored; `absorb` accrues interest first. Both verdicts
are stored. Comet has no health factor: it is derived from the liquidation factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.chain.contract import Contract, Event, account_places
from chainwatch.chain.erc20 import SYMBOL
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Log
from chainwatch.errors import ConfigError
from chainwatch.lending import close_rules
from chainwatch.lending.exposures import Exposure
from chainwatch.lending.integers import ChainReverts
from chainwatch.lending.liquidations import Amount, event_row, priced_row
from chainwatch.lending.oracles import exposures_in_usd, resolve
from chainwatch.lending.price_sources import read_answer
from chainwatch.lending.protocol import (
    FIX_MARKET,
    Currency,
    Figure,
    LegValue,
    LendingProtocol,
    Liquidation,
    MarketView,
    Opened,
    Rules,
    Stored,
    Valued,
    Watch,
)
from chainwatch.lending.protocols.compound_v3 import arithmetic
from chainwatch.lending.protocols.compound_v3.arithmetic import Base, Collateral
from chainwatch.lending.sources import publish
from chainwatch.tables.lending import Account, ChainLiquidation, Leg, Reserve

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
USER_BASIC = COMET.function("userBasic")
USER_COLLATERAL = COMET.function("userCollateral")
IS_LIQUIDATABLE = COMET.function("isLiquidatable")
BORROW_BALANCE_OF = COMET.function("borrowBalanceOf")

SUPPLY_COLLATERAL = COMET.event("SupplyCollateral")
TRANSFER_COLLATERAL = COMET.event("TransferCollateral")
ABSORB_DEBT = COMET.event("AbsorbDebt")
ABSORB_COLLATERAL = COMET.event("AbsorbCollateral")
BUY_COLLATERAL = COMET.event("BuyCollateral")
ACCOUNTS = {
    "Supply": "dst",
    "Withdraw": "src",  # a borrow is a withdrawal beyond the balance
    "Transfer": "from_ to",
    "SupplyCollateral": "dst",
    "WithdrawCollateral": "src",
    "TransferCollateral": "from_ to",
    "AbsorbDebt": "borrower",
    "AbsorbCollateral": "borrower",
}
PRICE_UNIT: int = 10**arithmetic.PRICE_DECIMALS
# Accounts beyond 16 assets have their flags in the reserved byte.
ASSETS_IN_WORD = 16
MAX_ASSETS = 24


class _CometConfig(msgspec.Struct, frozen=True):
    """The assets of a Comet at a block, each as getAssetInfo gives it; the base asset apart."""

    base_asset: str
    base_feed: str
    base_scale: int
    assets: tuple[Any, ...]


class _CometPosition(msgspec.Struct, frozen=True):
    """One account: signed principal, collateral balances by asset."""

    principal: int
    collaterals: dict[str, int]


class _CometState(msgspec.Struct, frozen=True):
    """The market's state at a block: indices as stored and as accrued, prices in quote units."""

    config: _CometConfig
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


class Comet(LendingProtocol[_CometPosition]):
    """How a Comet is read and valued."""

    protocol = "compound-v3"
    summary = (
        "Positions on Compound III (Comet): debt, collateral and what is liquidatable at one block."
    )
    docs = "https://docs.compound.finance/collateral-and-borrowing/"
    liquidation_summary = (
        "Liquidations on Compound III: accounts absorbed, and the later sale of their collateral."
    )
    liquidation_docs = "https://docs.compound.finance/liquidation/"
    method = "borrowBalanceOf, isLiquidatable"
    # Absorption takes debt and collateral in separate events; the collateral is sold later, if at
    # all. The absorb events carry their value in quote units; a sale is priced at its block.
    liquidation_events = (ABSORB_DEBT, ABSORB_COLLATERAL, BUY_COLLATERAL)

    async def open(self, reading: Reading) -> Opened:
        config = await _read_config(reading)
        # Nobody owes without collateral, and a debt may begin without an event of its own.
        watch = Watch(
            lender=reading.pool,
            contracts=(reading.pool,),
            accounts=account_places((COMET, ACCOUNTS)),
            borrows=frozenset({SUPPLY_COLLATERAL.topic, TRANSFER_COLLATERAL.topic}),
        )
        return Opened(revision=0, watch=watch, context=config)

    async def evidence_of_accounts(
        self, reading: Reading, opened: Opened, first: int
    ) -> str | None:
        (totals,) = await reading.ask([TOTALS_BASIC(reading.pool)])
        return "its totalBorrowBase is above 0" if totals.total_borrow_base else None

    async def read_positions(
        self, reading: Reading, opened: Opened, accounts: Sequence[str]
    ) -> dict[str, _CometPosition]:
        pool = reading.pool
        basics = await reading.ask([USER_BASIC(pool, account) for account in accounts])
        held = []
        for account, basic in zip(accounts, basics, strict=True):
            flags = basic.assets_in | basic.reserved << ASSETS_IN_WORD
            held += [(account, a.asset) for a in opened.context.assets if flags >> a.offset & 1]
        balances = await reading.ask([USER_COLLATERAL(pool, *pair) for pair in held])
        positions = {
            account: _CometPosition(basic.principal, {})
            for account, basic in zip(accounts, basics, strict=True)
        }
        for (account, asset), collateral in zip(held, balances, strict=True):
            positions[account].collaterals[asset] = collateral.balance
        return positions

    def stored_position(self, account: Account, legs: Sequence[Leg]) -> _CometPosition:
        return _CometPosition(
            principal=sum(-leg.scaled for leg in legs if leg.side == "debt"),
            collaterals={leg.asset: leg.scaled for leg in legs if leg.side != "debt"},
        )

    async def refresh(
        self, reading: Reading, opened: Opened, carried: Mapping[str, _CometPosition]
    ) -> dict[str, _CometPosition]:
        """The principals at the block.

        Comet.transferBase between borrowers moves debt without an event that names them. Collateral
        never moves without one.
        """
        basics = await reading.ask([USER_BASIC(reading.pool, account) for account in carried])
        return {
            account: msgspec.structs.replace(position, principal=basic.principal)
            for (account, position), basic in zip(carried.items(), basics, strict=True)
        }

    async def read_market(
        self, reading: Reading, opened: Opened, positions: Mapping[str, _CometPosition]
    ) -> MarketView:
        return await _read_market(reading, opened.context)

    def value(self, state: _CometState, account: str, position: _CometPosition) -> Valued:
        config, prices = state.config, state.prices
        held = [
            (a, position.collaterals[a.asset])
            for a in config.assets
            if a.asset in position.collaterals
        ]
        parts = [_collateral(a, balance, prices[a.asset]) for a, balance in held]
        debt = max(-arithmetic.present_value(position.principal, state.accrued), 0)
        unpriced = any(prices[a.asset] is None for a, _ in held)
        unpriced = unpriced or (bool(debt) and prices[config.base_asset] is None)
        values = [arithmetic.mul_price(p.balance, p.price, p.scale) for p in parts]
        debt_value = arithmetic.debt_value(position.principal, state.accrued)
        weighted = sum(
            arithmetic.mul_factor(v, p.liquidate_factor) for v, p in zip(values, parts, strict=True)
        )
        legs = [
            LegValue(
                asset=a.asset,
                side="collateral",
                scaled=balance,
                raw=balance,
                value=None if unpriced else value,
                lt_bps=_bps(a.liquidate_collateral_factor),
                bonus_bps=_bonus_bps(a.liquidation_factor),
            )
            for (a, balance), value in zip(held, values, strict=True)
        ]
        if debt:
            legs.append(
                LegValue(
                    asset=config.base_asset,
                    side="debt",
                    scaled=-position.principal,
                    raw=debt,
                    value=None if unpriced else debt_value,
                )
            )
        return Valued(
            legs=legs,
            collateral=sum(values),
            debt=debt_value,
            hf=weighted * arithmetic.FACTOR // debt_value if debt_value else None,
            liquidatable=_verdict(position.principal, state.stored, parts),
            liquidatable_accrued=_verdict(position.principal, state.accrued, parts),
            failure="oracle reverted" if unpriced else "",
        )

    async def chain_figures(
        self, reading: Reading, opened: Opened, accounts: Mapping[str, Stored[_CometPosition]]
    ) -> list[Figure]:
        """Debts beside `borrowBalanceOf`, verdicts beside `isLiquidatable`."""
        pool = reading.pool
        views = await reading.ask_each(
            accounts, lambda a: (BORROW_BALANCE_OF.maybe(pool, a), IS_LIQUIDATABLE.maybe(pool, a))
        )
        figures = []
        for account, (debt, verdict) in views.items():
            stored = accounts[account]
            owed = sum(leg.raw for leg in stored.legs if leg.side == "debt")
            figures += [
                Figure(account, "debt", owed, debt),
                Figure(
                    account, "liquidatable", stored.row.liquidatable, verdict, stored.row.status
                ),
            ]
        return figures

    def liquidations(
        self, reading: Reading, log: Log, event: Event, e: Any
    ) -> list[ChainLiquidation]:
        if event is ABSORB_DEBT:
            kind, account, liquidator = "absorb-debt", e.borrower, e.absorber
            repaid, seized = (e.base_paid_out, None), (None, None)
        elif event is ABSORB_COLLATERAL:
            kind, account, liquidator = "absorb-collateral", e.borrower, e.absorber
            repaid, seized = (None, None), (e.collateral_absorbed, e.asset)
        else:
            kind, account, liquidator = "sale", "", e.buyer
            repaid, seized = (e.base_amount, None), (e.collateral_amount, e.asset)
        return [
            event_row(reading, log, account, liquidator, repaid=repaid, seized=seized, kind=kind)
        ]

    async def price_liquidations(
        self, reading: Reading, liquidations: Sequence[Liquidation]
    ) -> list[ChainLiquidation]:
        view = await _read_market(reading, await _read_config(reading))
        return [_priced(liquidation, view.state) for liquidation in liquidations]


def _priced(liquidation: Liquidation, state: _CometState) -> ChainLiquidation:
    row, config = liquidation.row, state.config
    own = next((a for a in config.assets if a.asset == row.coll_asset), None)
    # An absorption carries its value in the quote unit.
    value = getattr(liquidation.arguments, "usd_value", None)
    repaid = seized = None
    if (raw := row.debt_repaid_raw) is not None:
        base, unit = config.base_asset, config.base_scale
        usd = state.currency.worth(value) if value is not None else state.worth(raw, base, unit)
        repaid = Amount(base, state.symbols[base], raw / unit, usd)
    if (raw := row.coll_seized_raw) is not None:
        asset, scale = row.coll_asset or "", own.scale if own else None
        usd = state.currency.worth(value)
        if value is None and scale:
            usd = state.worth(raw, asset, scale)
        seized = Amount(asset, state.symbols.get(asset), raw / scale if scale else None, usd)
    return priced_row(
        row,
        repaid,
        seized,
        bonus_bps=_bonus_bps(own.liquidation_factor) if own else None,
        missing="no USD price at the block",
    )


# --- the market itself --------------------------------------------------------------------------


async def _read_config(reading: Reading) -> _CometConfig:
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
    return _CometConfig(base_asset=token, base_feed=feed, base_scale=scale, assets=tuple(infos))


async def _read_market(reading: Reading, config: _CometConfig) -> MarketView:
    pool = reading.pool
    totals, used, reserves, target = await reading.ask(
        [
            TOTALS_BASIC(pool),
            GET_UTILIZATION(pool),
            GET_RESERVES.maybe(pool),
            TARGET_RESERVES.maybe(pool),
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
    exposures, quote, currency = await _exposures(reading, base, feeds, symbols)
    stored = Base(
        borrow_index=totals.base_borrow_index,
        supply_index=totals.base_supply_index,
        price=prices[base] or 0,
        scale=config.base_scale,
    )
    elapsed = reading.block.time - totals.last_accrual_time
    state = _CometState(
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
        exposures=exposures,
        currency=currency,
        rules=Rules(
            profile="comet",
            close_rule=close_rules.ABSORB,
            base_decimals=arithmetic.PRICE_DECIMALS,
            quote=quote,
            quote_usd=currency.usd,
            stored={
                "reserves_usd": _base_usd(state, reserves),
                "target_reserves_usd": _base_usd(state, target),
            },
        ),
    )


async def _exposures(
    reading: Reading, base: str, feeds: Mapping[str, str], symbols: Mapping[str, str]
) -> tuple[Mapping[str, Sequence[Exposure]], str, Currency]:
    """What moves each price, and what prices are counted in.

    With a base feed "… / USD" that is USD. With any other (a constant of 1) prices are in the base
    asset itself; the market table may name a feed for it.
    """
    rpc, block, quote_feed = reading.rpc, reading.block, reading.market.quote_feed
    labels = {feed: symbols[token] for token, feed in feeds.items()}
    resolved = await resolve(rpc, labels, block)
    exposures = {token: resolved[feed] for token, feed in feeds.items()}
    if any(e.kind == "feed" for e in exposures[base]):
        return exposures, "USD", Currency(PRICE_UNIT)
    usd = await read_answer(rpc, quote_feed, block)
    in_usd = await exposures_in_usd(rpc, exposures, quote_feed, block)
    return in_usd, symbols[base], Currency(PRICE_UNIT, usd)


def _reserve_rows(reading: Reading, state: _CometState) -> list[Reserve]:
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
            ltv_bps=_bps(a.borrow_collateral_factor),
            lt_bps=_bps(a.liquidate_collateral_factor),
            bonus_bps=_bonus_bps(a.liquidation_factor),
            borrowing=False,
        )
        for a in config.assets
    ]
    return rows


def _collateral(asset: Any, balance: int, price: int | None) -> Collateral:
    return Collateral(
        balance=balance,
        price=price or 0,
        scale=asset.scale,
        borrow_factor=asset.borrow_collateral_factor,
        liquidate_factor=asset.liquidate_collateral_factor,
        liquidation_factor=asset.liquidation_factor,
    )


def _verdict(principal: int, base: Base, parts: Sequence[Collateral]) -> bool | None:
    """isLiquidatable; None where it reverts (it does not ask every feed)."""
    try:
        return arithmetic.is_liquidatable(principal, base, parts)
    except ChainReverts:
        return None


def _base_usd(state: _CometState, amount: int | None) -> float | None:
    """USD of an amount of the base asset; None where the amount or a price is None."""
    price, currency = state.prices[state.config.base_asset], state.currency
    if amount is None or price is None or currency.usd is None:
        return None
    return amount / state.config.base_scale * (price / PRICE_UNIT) * currency.usd


def _bps(factor: int) -> float:
    return factor * 10_000 / arithmetic.FACTOR


def _bonus_bps(liquidation_factor: int) -> float:
    """Collateral taken per debt covered, above 1: absorption credits value times the factor."""
    return (arithmetic.FACTOR / liquidation_factor - 1) * 10_000 if liquidation_factor else 0.0


publish(Comet(), __name__)
