"""Aave v3 and pools built like it: reserves, flags per account, scaled balances.

`AavePool` reads a pool in one dialect. Aave v2 and Spark have readers of their own, which give
their dialect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.chain.contract import Event, account_places
from chainwatch.chain.erc20 import SYMBOL, TOTAL_SUPPLY
from chainwatch.chain.reading import Reading
from chainwatch.chain.together import gather
from chainwatch.chain.types import Log, Reverted
from chainwatch.lending.exposures import UNIT, Exposure
from chainwatch.lending.integers import ChainReverts
from chainwatch.lending.liquidations import event_row
from chainwatch.lending.oracles import Price, exposures_in_usd, resolve
from chainwatch.lending.protocol import (
    NO_ADDRESS,
    DebtTotal,
    Figure,
    LegValue,
    LendingProtocol,
    Liquidation,
    MarketView,
    Opened,
    Progress,
    Rules,
    Stored,
    Valued,
    Watch,
    any_above_zero,
)
from chainwatch.lending.protocols.aave_v3 import arithmetic
from chainwatch.lending.protocols.aave_v3.arithmetic import (
    AccountState,
    LegState,
    ReserveState,
)
from chainwatch.lending.protocols.aave_v3.balances import (
    PoolPosition,
    read_positions,
    stored_position,
)
from chainwatch.lending.protocols.aave_v3.blocking import read_market_block, reserve_block
from chainwatch.lending.protocols.aave_v3.book import PoolBook, PoolPositions, PoolState
from chainwatch.lending.protocols.aave_v3.categories import (
    read_listing_categories,
    read_priced_categories,
    read_terms,
)
from chainwatch.lending.protocols.aave_v3.debts import read_debt_totals
from chainwatch.lending.protocols.aave_v3.event_prices import price_events
from chainwatch.lending.protocols.aave_v3.oracle import (
    GET_ASSET_PRICE,
    GET_SOURCE_OF_ASSET,
    Oracle,
    read_currency,
)
from chainwatch.lending.protocols.aave_v3.pool import (
    POOL,
    V3,
    Dialect,
    Pool,
    PoolReserve,
    bonus_bps,
    read_pool,
)
from chainwatch.lending.sources import publish
from chainwatch.tables.columns import Holdings
from chainwatch.tables.lending import Account, ChainLiquidation, Leg, Reserve

GET_NORMALIZED_INCOME = POOL.function("getReserveNormalizedIncome")
GET_NORMALIZED_DEBT = POOL.function("getReserveNormalizedVariableDebt")
GET_LIQUIDATION_GRACE_PERIOD = POOL.function("getLiquidationGracePeriod")
GET_USER_ACCOUNT_DATA = POOL.function("getUserAccountData")

LIQUIDATION_CALL = POOL.event("LiquidationCall")
DEFICIT_CREATED = POOL.event("DeficitCreated")  # from 3.3


class AavePool(LendingProtocol[PoolPosition]):
    """How a pool of one dialect is read and valued."""

    method = "getUserAccountData"
    liquidation_events = (LIQUIDATION_CALL, DEFICIT_CREATED)
    second_reading = True
    in_columns = True
    market_first = True

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.protocol = dialect.protocol
        self.docs = self.liquidation_docs = dialect.docs
        self.summary = (
            f"Positions on {dialect.name}: collateral, debt and health factor of every account "
            "at one block."
        )
        self.liquidation_summary = (
            f"Liquidations on {dialect.name}: debt repaid and collateral seized, at the oracle's "
            "prices then."
        )

    async def open(self, reading: Reading) -> Opened:
        pool = await read_pool(reading, self.dialect)
        tokens = [
            token
            for reserve in pool.reserves
            for token in (reserve.data.a_token_address, *reserve.debt_tokens)
        ]
        watch = Watch(
            lender=reading.pool,
            contracts=(reading.pool, *tokens),
            accounts=account_places(*self.dialect.accounts),
            borrows=frozenset({self.dialect.borrow.topic}),
        )
        return Opened(pool.revision, watch, pool)

    async def evidence_of_accounts(
        self, reading: Reading, opened: Opened, first: int
    ) -> str | None:
        pool: Pool = opened.context
        tokens = [token for reserve in pool.reserves for token in reserve.debt_tokens]
        owed = await any_above_zero(reading, [TOTAL_SUPPLY.maybe(token) for token in tokens])
        return "its debt tokens have a supply" if owed else None

    async def read_positions(
        self, reading: Reading, opened: Opened, accounts: Sequence[str]
    ) -> dict[str, PoolPosition]:
        reserves = opened.context.reserves
        return await read_positions(reading, reserves, accounts, has_emodes=self.dialect.has_emodes)

    def stored_position(self, account: Account, legs: Sequence[Leg]) -> PoolPosition:
        return stored_position(account, legs)

    def book(
        self,
        holdings: Holdings | None,
        rows: Mapping[str, Stored[PoolPosition]],
        fresh: Mapping[str, PoolPosition],
    ) -> PoolBook:
        return PoolBook(holdings, rows, fresh)

    def balances(self, position: PoolPosition) -> Any:
        return position.emode, {
            h.asset: (h.collateral or 0, h.debt or 0, h.stable)
            for h in position.holdings
            if h.collateral or h.debt or h.stable
        }

    async def read_market(
        self, reading: Reading, opened: Opened, positions: Mapping[str, PoolPosition]
    ) -> MarketView:
        pool: Pool = opened.context
        (oracle, prices), facts, terms, (reason, above_hf) = await gather(
            _read_prices(reading, pool),
            _read_facts(reading, pool),
            self._read_terms(reading, pool),
            read_market_block(reading, self.dialect, pool.profile, pool.provider),
        )
        rows, states = _reserves(reading, oracle, pool, prices, facts)
        # From 3.2 on a category has no price: all of it was read.
        categories = (
            terms
            if pool.profile.emode == "bitmap"
            else await read_priced_categories(reading, oracle.address, terms)
        )
        state = PoolState(
            oracle=oracle,
            profile=pool.profile,
            reserves=states,
            emodes={category: emode for category, (emode, _) in categories.items()},
            time=reading.block.time,
        )
        view = MarketView(
            state=state,
            reserves=rows,
            emodes=[row for _, row in categories.values()],
            currency=oracle.currency,
            rules=Rules(
                profile=pool.profile.version,
                truncates_lt=pool.profile.truncates_lt,
                close_rule=pool.profile.close_rule,
                base_decimals=len(str(oracle.currency.unit)) - 1,
                quote=oracle.quote,
                quote_usd=oracle.currency.usd,
                blocked_reason=reason,
                blocked_above_hf=above_hf,
            ),
        )
        return await self.complete_market(reading, opened, view, positions)

    async def complete_market(
        self,
        reading: Reading,
        opened: Opened,
        view: MarketView,
        positions: Mapping[str, PoolPosition],
    ) -> MarketView:
        """The market with categories that accounts have and no reserve has any more (up to 3.1).

        The pool still asks the price source of such a category, and reverts for the account if that
        fails.
        """
        if opened.context.profile.emode == "bitmap" or not self.dialect.has_emodes:
            return view
        emodes = (
            positions.emodes()
            if isinstance(positions, PoolPositions)
            else {position.emode for position in positions.values()}
        )
        left = sorted(emodes - {0} - view.state.emodes.keys())
        if not left:
            return view
        terms = await read_terms(reading, left)
        more = await read_priced_categories(reading, view.state.oracle.address, terms)
        state: PoolState = view.state
        states = {category: own for category, (own, _) in more.items()}
        return msgspec.structs.replace(
            view,
            state=msgspec.structs.replace(state, emodes=state.emodes | states),
            emodes=[*view.emodes, *(row for _, row in more.values())],
        )

    async def debt_totals(
        self, reading: Reading, opened: Opened, view: MarketView
    ) -> list[DebtTotal]:
        return await read_debt_totals(reading, opened.context, view.state.reserves)

    async def read_exposures(
        self, reading: Reading, view: MarketView
    ) -> Mapping[str, Sequence[Exposure]]:
        return await _exposures(reading, view.state.oracle, view.reserves)

    async def _read_terms(self, reading: Reading, pool: Pool) -> dict[int, Any]:
        """The e-mode categories of reserves, up to 3.1 without prices; later all of the pool."""
        if not self.dialect.has_emodes:
            return {}
        if pool.profile.emode == "bitmap":
            return await read_listing_categories(reading)
        configs = [arithmetic.reserve_config(r.data.configuration) for r in pool.reserves]
        return await read_terms(reading, sorted({config.emode for config in configs} - {0}))

    def value(self, state: PoolState, account: str, position: PoolPosition) -> Valued:
        legs = arithmetic.legs(
            state.profile,
            position.holdings,
            position.emode,
            state.reserves,
            state.emodes,
            state.time,
        )
        total, failure = AccountState(0, 0, 0, None), ""
        try:
            total = arithmetic.account(state.profile, legs)
        except ChainReverts as reverted:
            failure = str(reverted)
        below = total.hf is not None and total.hf < arithmetic.LIQUIDATABLE_BELOW
        return Valued(
            legs=[_leg_value(leg) for leg in legs],
            collateral=total.collateral,
            debt=total.debt,
            hf=total.hf,
            liquidatable=None if failure else below,
            lt_bps=total.average_lt,
            emode=position.emode,
            failure=failure,
        )

    async def chain_figures(
        self, reading: Reading, opened: Opened, accounts: Mapping[str, Stored[PoolPosition]]
    ) -> list[Figure]:
        """Collateral, debt and health factor beside `getUserAccountData`."""
        calls = [GET_USER_ACCOUNT_DATA.call(reading.pool, account) for account in accounts]
        figures: list[Figure] = []
        for stored, answer in zip(accounts.values(), await reading.read(calls), strict=True):
            theirs = None
            if not isinstance(answer, Reverted):
                data = GET_USER_ACCOUNT_DATA.decode(answer)
                theirs = (data.total_collateral_base, data.total_debt_base, data.health_factor)
            figures += _figures(stored.row, theirs)
        return figures

    async def independent_figures(
        self, reading: Reading, accounts: Mapping[str, Stored[PoolPosition]], progress: Progress
    ) -> list[Figure]:
        from chainwatch.chain.independent import read_account_data

        answers = await read_account_data(
            reading.rpc.urls, reading.pool, list(accounts), reading.block, progress
        )
        pairs = zip(accounts.values(), answers, strict=True)
        return [figure for stored, theirs in pairs for figure in _figures(stored.row, theirs)]

    def liquidations(
        self, reading: Reading, log: Log, event: Event, e: Any
    ) -> list[ChainLiquidation]:
        if event is DEFICIT_CREATED:
            repaid = (e.amount_created, e.debt_asset)
            return [event_row(reading, log, e.user, "", repaid=repaid, kind="deficit")]
        repaid = (e.debt_to_cover, e.debt_asset)
        seized = (e.liquidated_collateral_amount, e.collateral_asset)
        return [event_row(reading, log, e.user, e.liquidator, repaid=repaid, seized=seized)]

    async def price_liquidations(
        self, reading: Reading, liquidations: Sequence[Liquidation]
    ) -> list[ChainLiquidation]:
        rows = [liquidation.row for liquidation in liquidations]
        return await price_events(reading, self.dialect, rows)


# --- the market itself --------------------------------------------------------------------------


_Facts = dict[str, tuple[Any, ...]]


async def _read_prices(reading: Reading, pool: Pool) -> tuple[Oracle, _Facts]:
    """The oracle, and by asset its price (None where it reverts) and the price's source."""
    address = pool.oracle
    return await gather(
        read_currency(reading, address),
        reading.ask_each(
            [r.asset for r in pool.reserves],
            lambda asset: (
                GET_ASSET_PRICE.maybe(address, asset),
                GET_SOURCE_OF_ASSET(address, asset),
            ),
        ),
    )


async def _read_facts(reading: Reading, pool: Pool) -> _Facts:
    """By asset its indices, its symbol, and until when its liquidations wait."""
    has_grace = pool.profile.grace_periods
    return await reading.ask_each(
        [r.asset for r in pool.reserves],
        lambda asset: (
            GET_NORMALIZED_INCOME(reading.pool, asset),
            GET_NORMALIZED_DEBT(reading.pool, asset),
            SYMBOL.maybe(asset),
            *([GET_LIQUIDATION_GRACE_PERIOD.maybe(reading.pool, asset)] if has_grace else []),
        ),
    )


def _reserves(
    reading: Reading, oracle: Oracle, pool: Pool, prices: _Facts, facts: _Facts
) -> tuple[list[Reserve], dict[str, ReserveState]]:
    """The rows of the reserves by their id, and by asset what accounts need of them."""
    rows, states = [], {}
    for reserve in sorted(pool.reserves, key=lambda r: r.data.id):
        asset, data = reserve.asset, reserve.data
        price, source = prices[asset]
        income, debt, symbol, *grace = facts[asset]
        state = ReserveState(
            asset=asset,
            reserve_id=data.id,
            config=arithmetic.reserve_config(data.configuration),
            liquidity_index=income,
            debt_index=debt,
            price=price,
        )
        states[asset] = state
        label = symbol or asset[:10]
        grace_until = grace[0] or 0 if grace else 0
        blocked = reserve_block(state.config, grace_until, reading.block.time)
        rows.append(_reserve_row(reading, oracle, reserve, state, source, label, blocked))
    return rows, states


def _reserve_row(
    reading: Reading,
    oracle: Oracle,
    reserve: PoolReserve,
    state: ReserveState,
    source: str,
    symbol: str,
    blocked: str | None,
) -> Reserve:
    config, data = state.config, reserve.data
    return Reserve(
        **reading.row,
        asset=state.asset,
        reserve_id=state.reserve_id,
        symbol=symbol,
        decimals=config.decimals,
        price=state.price,
        price_usd=oracle.currency.worth(state.price),
        price_status="ok" if state.price is not None else "n/a (oracle reverted)",
        oracle=source,
        liquidity_index=state.liquidity_index,
        debt_index=state.debt_index,
        liquidity_rate=data.current_liquidity_rate,
        variable_rate=data.current_variable_borrow_rate,
        ltv_bps=config.ltv,
        lt_bps=config.lt,
        bonus_bps=bonus_bps(config.bonus),
        protocol_fee_bps=config.protocol_fee,
        emode=config.emode,
        active=config.active,
        frozen=config.frozen,
        paused=config.paused,
        blocked_collateral=blocked,
        blocked_debt=blocked,
        borrowing=config.borrowing,
        a_token=data.a_token_address,
        stable_debt_token=data.stable_debt_token_address,
        variable_debt_token=data.variable_debt_token_address,
    )


async def _exposures(
    reading: Reading, oracle: Oracle, reserves: Sequence[Reserve]
) -> Mapping[str, Sequence[Exposure]]:
    """What moves each price. The base currency itself has no source: it is 1 by definition."""
    prices = {
        r.asset: Price(GET_ASSET_PRICE.call(oracle.address, r.asset), r.oracle, r.symbol)
        for r in reserves
        if r.oracle != NO_ADDRESS
    }
    resolved = await resolve(reading, prices)
    if oracle.quote == "USD":
        return {r.asset: resolved.get(r.asset, ()) for r in reserves}
    unit = oracle.currency.unit
    exposures = {
        r.asset: resolved.get(r.asset) or ((UNIT,) if r.price == unit else ()) for r in reserves
    }
    return await exposures_in_usd(reading, exposures)


def _leg_value(leg: LegState) -> LegValue:
    stored: dict[str, Any] = {}
    if leg.stable is not None:
        stored = {
            "stable_principal": leg.stable.principal,
            "stable_rate": leg.stable.rate,
            "stable_since": leg.stable.since,
        }
    if leg.category_priced:
        stored["category_priced"] = True
    return LegValue(
        asset=leg.asset,
        side=leg.side,
        scaled=leg.scaled,
        raw=leg.raw,
        value=leg.value,
        lt_bps=leg.lt,
        bonus_bps=bonus_bps(leg.bonus),
        stored=stored,
    )


def _figures(account: Account, theirs: tuple[int, int, int] | None) -> list[Figure]:
    """Our figures beside (collateral, debt, health factor) of the chain, None where it reverts."""
    names = ("collateral", "debt", "health factor")
    hf = arithmetic.hf_word(account.hf_wad) if account.collateral_base is not None else None
    ours = (account.collateral_base, account.debt_base, hf)
    return [
        Figure(account.account, name, own, chain, account.status)
        for name, own, chain in zip(names, ours, theirs or (None, None, None), strict=True)
    ]


publish(AavePool(V3), __name__)
