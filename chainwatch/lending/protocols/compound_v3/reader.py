"""Compound III (Comet): one base asset per market, collateral that earns nothing, whole-account
absorption.

`isLiquidatable` is a view on the indices as stored; `absorb` accrues interest first. Both verdicts
are stored. Comet has no health factor: it is derived from the liquidation factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.chain.contract import Event, account_places
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Log
from chainwatch.lending.exposures import Exposure
from chainwatch.lending.integers import ChainReverts
from chainwatch.lending.liquidations import Amount, event_row, priced_row
from chainwatch.lending.protocol import (
    DebtTotal,
    Figure,
    LegValue,
    LendingProtocol,
    Liquidation,
    MarketView,
    Opened,
    Stored,
    Valued,
    Watch,
)
from chainwatch.lending.protocols.compound_v3 import arithmetic
from chainwatch.lending.protocols.compound_v3.arithmetic import Base, Collateral
from chainwatch.lending.protocols.compound_v3.market import (
    COMET,
    TOTALS_BASIC,
    CometState,
    bonus_bps,
    bps,
    read_config,
    read_exposures,
    read_market_view,
)
from chainwatch.lending.sources import publish
from chainwatch.tables.lending import Account, ChainLiquidation, Leg

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
# Accounts beyond 16 assets have their flags in the reserved byte.
ASSETS_IN_WORD = 16


class _CometPosition(msgspec.Struct, frozen=True):
    """One account: signed principal, collateral balances by asset."""

    principal: int
    collaterals: dict[str, int]


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
        config = await read_config(reading)
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
        return await read_market_view(reading, opened.context)

    async def debt_totals(
        self, reading: Reading, opened: Opened, view: MarketView
    ) -> list[DebtTotal]:
        """Comet.totalsBasic: the sum of negative principals."""
        (totals,) = await reading.ask([TOTALS_BASIC(reading.pool)])
        state: CometState = view.state
        owed = arithmetic.present_value(-totals.total_borrow_base, state.accrued)
        return [
            DebtTotal(
                asset=state.config.base_asset,
                measure="borrow principal",
                total=totals.total_borrow_base,
                raw=max(-owed, 0),
            )
        ]

    async def read_exposures(
        self, reading: Reading, view: MarketView
    ) -> Mapping[str, Sequence[Exposure]]:
        return await read_exposures(reading, view.state, view.rules.quote)

    def value(self, state: CometState, account: str, position: _CometPosition) -> Valued:
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
                lt_bps=bps(a.liquidate_collateral_factor),
                bonus_bps=bonus_bps(a.liquidation_factor),
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
        view = await read_market_view(reading, await read_config(reading))
        return [_priced(liquidation, view.state) for liquidation in liquidations]


def _priced(liquidation: Liquidation, state: CometState) -> ChainLiquidation:
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
        bonus_bps=bonus_bps(own.liquidation_factor) if own else None,
        missing="no USD price at the block",
    )


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


publish(Comet(), __name__)
