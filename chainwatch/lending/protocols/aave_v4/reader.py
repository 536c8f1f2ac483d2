"""Aave v4: accounts are in a spoke, interest in the hubs behind it, terms with each account.

One market is one spoke. Values have 26 decimals of a dollar, debt is never rounded, and each
collateral counts by the factor that the account itself has on record (its dynamic config key). An
asset is named `0x…:id`, because several reserves of a spoke may have the same token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.chain.contract import Event, account_places
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Log
from chainwatch.lending import close_rules
from chainwatch.lending.exposures import Exposure
from chainwatch.lending.integers import BPS, RAY, UINT_MAX, WAD, ceil_div, unit_of
from chainwatch.lending.liquidations import event_row, priced_row
from chainwatch.lending.oracles import Price, resolve
from chainwatch.lending.protocol import (
    Currency,
    DebtTotal,
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
    any_above_zero,
)
from chainwatch.lending.protocols.aave_v4 import arithmetic
from chainwatch.lending.protocols.aave_v4.hub import read_debt_totals, read_other_debtors
from chainwatch.lending.protocols.aave_v4.spoke import (
    GET_RESERVE_PRICE,
    SPOKE,
    ReservePosition,
    SpokePosition,
    SpokeReserve,
    SpokeState,
    read_state,
    read_terms,
)
from chainwatch.lending.sources import publish
from chainwatch.tables.lending import Account, ChainLiquidation, Leg, Reserve

GET_RESERVE_TOTAL_DEBT = SPOKE.function("getReserveTotalDebt")
GET_USER_RESERVE_STATUS = SPOKE.function("getUserReserveStatus", "using borrowing")
GET_USER_POSITION = SPOKE.function("getUserPosition")
GET_USER_ACCOUNT_DATA = SPOKE.function("getUserAccountData")

BORROW = SPOKE.event("Borrow")
LIQUIDATION_CALL = SPOKE.event("LiquidationCall")
REPORT_DEFICIT = SPOKE.event("ReportDeficit")
ACCOUNTS = {
    "Supply": "user",
    "Withdraw": "user",
    "Borrow": "user",
    "Repay": "user",
    "SetUsingAsCollateral": "user",
    "UpdateUserRiskPremium": "user",
    "RefreshPremiumDebt": "user",
    "RefreshAllUserDynamicConfig": "user",
    "RefreshSingleUserDynamicConfig": "user",
    "LiquidationCall": "user liquidator",  # a liquidator may be paid in supply shares
    "ReportDeficit": "user",
}
PAUSED, FROZEN, BORROWABLE = 1, 2, 4


class Spoke(LendingProtocol[SpokePosition]):
    """How a spoke is read and valued."""

    protocol = "aave-v4"
    summary = (
        "Positions on Aave v4: collateral, debt and health factor of every account of a spoke."
    )
    docs = "https://aave.com/docs/aave-v4/positions"
    liquidation_summary = (
        "Liquidations on Aave v4: debt repaid, collateral seized, and deficits reported to the hub."
    )
    liquidation_docs = "https://aave.com/docs/aave-v4/liquidation"
    method = "getUserAccountData"
    liquidation_events = (LIQUIDATION_CALL, REPORT_DEFICIT)

    async def open(self, reading: Reading) -> Opened:
        terms = await read_terms(reading)
        watch = Watch(
            lender=reading.pool,
            contracts=(reading.pool,),
            accounts=account_places((SPOKE, ACCOUNTS)),
            borrows=frozenset({BORROW.topic}),
        )
        return Opened(revision=0, watch=watch, context=terms)

    async def evidence_of_accounts(
        self, reading: Reading, opened: Opened, first: int
    ) -> str | None:
        numbers = range(opened.context.count)
        if await any_above_zero(
            reading, [GET_RESERVE_TOTAL_DEBT.maybe(reading.pool, n) for n in numbers]
        ):
            return "getReserveTotalDebt of its reserves is above 0"
        return None

    async def read_positions(
        self, reading: Reading, opened: Opened, accounts: Sequence[str]
    ) -> dict[str, SpokePosition]:
        pool = reading.pool
        pairs = [(n, account) for account in accounts for n in range(opened.context.count)]
        answers = await reading.read([GET_USER_RESERVE_STATUS.call(pool, *pair) for pair in pairs])
        statuses = zip(pairs, map(GET_USER_RESERVE_STATUS.decode, answers), strict=True)
        flags = {pair: status for pair, status in statuses if any(status)}
        stored = await reading.ask([GET_USER_POSITION(pool, *pair) for pair in flags])
        positions: dict[str, SpokePosition] = {account: {} for account in accounts}
        for ((number, account), status), position in zip(flags.items(), stored, strict=True):
            positions[account][number] = ReservePosition(
                supplied=position.supplied_shares if status.using else 0,
                using=status.using,
                drawn=position.drawn_shares if status.borrowing else 0,
                premium_shares=position.premium_shares,
                premium_offset=position.premium_offset_ray,
                config=position.dynamic_config_key,
            )
        return positions

    def stored_position(self, account: Account, legs: Sequence[Leg]) -> SpokePosition:
        held: SpokePosition = {}
        for leg in legs:
            number = int(leg.asset.split(":")[1])
            before = held.get(number, ReservePosition(config=leg.config_key or 0))
            held[number] = (
                msgspec.structs.replace(
                    before,
                    drawn=leg.scaled,
                    premium_shares=leg.premium_shares or 0,
                    premium_offset=leg.premium_offset or 0,
                )
                if leg.side == "debt"
                else msgspec.structs.replace(before, supplied=leg.scaled, using=True)
            )
        return held

    def balances(self, position: SpokePosition) -> Any:
        return {n: held for n, held in position.items() if held.using or held.drawn}

    async def read_market(
        self, reading: Reading, opened: Opened, positions: Mapping[str, SpokePosition]
    ) -> MarketView:
        state = await read_state(reading, opened.context, positions.values())
        return MarketView(
            state=state,
            reserves=_reserve_rows(reading, state),
            currency=Currency(unit_of(arithmetic.VALUE_DECIMALS)),
            rules=Rules(
                profile=self.protocol,
                close_rule=close_rules.up_to(state.liquidation.target_health_factor / WAD),
                base_decimals=arithmetic.VALUE_DECIMALS,
            ),
        )

    async def debt_totals(
        self, reading: Reading, opened: Opened, view: MarketView
    ) -> list[DebtTotal]:
        return await read_debt_totals(reading, view.state)

    async def other_debtors(self, reading: Reading, view: MarketView) -> Mapping[str, float]:
        return await read_other_debtors(reading, view.state)

    async def read_exposures(
        self, reading: Reading, view: MarketView
    ) -> Mapping[str, Sequence[Exposure]]:
        oracle = view.state.oracle
        return await resolve(
            reading,
            {
                r.key: Price(GET_RESERVE_PRICE.call(oracle, n), r.source, r.symbol)
                for n, r in view.state.reserves.items()
            },
        )

    def value(self, state: SpokeState, account: str, position: SpokePosition) -> Valued:
        figures = state.figures(position)
        hf = figures.hf if figures else None
        legs = []
        owed = 0
        for number, held in sorted(position.items()):
            if held.using:
                legs.append(_supply_leg(state, number, held, hf))
            if held.drawn:
                legs.append(_debt_leg(state, number, held, owed))
                owed += state.reserves[number].value(state.owed(number, held)) or 0
        return Valued(
            legs=legs,
            collateral=figures.collateral if figures else 0,
            debt=sum(leg.value or 0 for leg in legs if leg.side == "debt"),
            hf=hf,
            liquidatable=(hf is not None and hf < WAD) if figures else None,
            failure="" if figures else "oracle reverted",
        )

    async def chain_figures(
        self, reading: Reading, opened: Opened, accounts: Mapping[str, Stored[SpokePosition]]
    ) -> list[Figure]:
        """Collateral, debt in ray and health factor beside getUserAccountData.

        Collateral and debt are computed again from the stored shares: stored debt is rounded up.
        """
        positions = [stored.position for stored in accounts.values()]
        state = await read_state(reading, opened.context, positions)
        views = await reading.ask([GET_USER_ACCOUNT_DATA.maybe(reading.pool, a) for a in accounts])
        figures = []
        for (account, stored), view in zip(accounts.items(), views, strict=True):
            own, status = state.figures(stored.position), stored.row.status
            hf = UINT_MAX if status == "no debt" else stored.row.hf_wad
            ours = (own.collateral, own.debt_ray, hf) if own else (None, None, None)
            chain = (None, None, None)
            if view is not None:
                chain = view.total_collateral_value, view.total_debt_value_ray, view.health_factor
            figures += [
                Figure(account, name, ours[i], chain[i], status)
                for i, name in enumerate(("collateral", "debt", "health factor"))
            ]
        return figures

    def liquidations(
        self, reading: Reading, log: Log, event: Event, e: Any
    ) -> list[ChainLiquidation]:
        if event is REPORT_DEFICIT:
            return [event_row(reading, log, e.user, "", kind="deficit")]
        repaid, seized = (e.debt_amount_restored, None), (e.collateral_amount_removed, None)
        return [event_row(reading, log, e.user, e.liquidator, repaid=repaid, seized=seized)]

    async def price_liquidations(
        self, reading: Reading, liquidations: Sequence[Liquidation]
    ) -> list[ChainLiquidation]:
        state = await read_state(reading, await read_terms(reading), ())
        return [_priced(liquidation, state.reserves) for liquidation in liquidations]


def _supply_leg(state: SpokeState, number: int, held: ReservePosition, hf: int | None) -> LegValue:
    """Supply that the account uses; the bonus is that at its health factor, or where it begins."""
    reserve, config = state.reserves[number], state.configs[number, held.config]
    amount = state.amounts[number, held.supplied] if held.supplied else 0
    bonus = arithmetic.liquidation_bonus(
        WAD if hf is None else min(hf, WAD),
        state.liquidation.health_factor_for_max_bonus,
        state.liquidation.liquidation_bonus_factor,
        config.max_liquidation_bonus,
    )
    return LegValue(
        asset=reserve.key,
        # Collateral without a factor on record does not count.
        side="collateral" if held.supplied and config.collateral_factor else "idle",
        scaled=held.supplied,
        raw=amount,
        value=reserve.value(amount),
        lt_bps=float(config.collateral_factor),
        bonus_bps=float(bonus - BPS),
        stored={"config_key": held.config},
    )


def _debt_leg(state: SpokeState, number: int, held: ReservePosition, before: int) -> LegValue:
    """A debt after those worth `before` (ray).

    The account's debt is rounded up once (LiquidationLogic): a debt's value is what it adds to
    that. Its amount is rounded up.
    """
    reserve, owed = state.reserves[number], state.owed(number, held)
    value = reserve.value(owed)
    added = None if value is None else ceil_div(before + value, RAY) - ceil_div(before, RAY)
    return LegValue(
        asset=reserve.key,
        side="debt",
        scaled=held.drawn,
        raw=ceil_div(owed, RAY),
        value=added,
        stored={
            "config_key": held.config,
            "premium_shares": held.premium_shares,
            "premium_offset": held.premium_offset,
        },
    )


def _priced(liquidation: Liquidation, reserves: Mapping[int, SpokeReserve]) -> ChainLiquidation:
    """A deficit is given in shares: the index of its block makes it an amount.

    The bonus depends on the health factor at that moment, which is in no event: it is left out.
    """
    row, e = liquidation.row, liquidation.arguments
    if liquidation.event is REPORT_DEFICIT:
        debt = reserves[e.reserve_id]
        raw = ceil_div(e.drawn_shares * debt.index + e.restored_premium_ray, RAY)
        row = msgspec.structs.replace(row, debt_repaid_raw=raw)
        return priced_row(row, debt.amount(raw), None)
    return priced_row(
        row,
        reserves[e.debt_reserve_id].amount(e.debt_amount_restored),
        reserves[e.collateral_reserve_id].amount(e.collateral_amount_removed),
    )


def _reserve_rows(reading: Reading, state: SpokeState) -> list[Reserve]:
    """Terms are those of the newest config; accounts may have others on record."""
    rows = []
    for n, reserve in state.reserves.items():
        config = state.configs[n, reserve.listing.dynamic_config_key]
        flags = reserve.listing.flags
        rows.append(
            Reserve(
                **reading.row,
                asset=reserve.key,
                reserve_id=n,
                symbol=reserve.symbol,
                decimals=reserve.decimals,
                price=reserve.price,
                price_usd=reserve.price_usd,
                price_status="ok" if reserve.price else "n/a (oracle reverted)",
                oracle=reserve.source,
                debt_index=reserve.index,
                ltv_bps=float(config.collateral_factor),
                lt_bps=float(config.collateral_factor),
                bonus_bps=float(config.max_liquidation_bonus - BPS),
                protocol_fee_bps=float(config.liquidation_fee),
                frozen=bool(flags & FROZEN),
                paused=bool(flags & PAUSED),
                blocked_collateral="paused" if flags & PAUSED else None,
                blocked_debt="paused" if flags & PAUSED else None,
                borrowing=bool(flags & BORROWABLE),
            )
        )
    return rows


publish(Spoke(), __name__)
