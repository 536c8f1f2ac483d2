"""Morpho Blue: one contract, many markets of one loan and one collateral each, no close factor.

One market of the table is the contract on one chain; a position is an address in one of its
markets. Each counts in units of its own loan token, at the price of its market's own oracle.
Interest is accrued to the block, as a liquidation does first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.chain import abi
from chainwatch.chain.contract import Event, account_places
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Log, Reverted
from chainwatch.lending import close_rules
from chainwatch.lending.exposures import Exposure
from chainwatch.lending.integers import WAD
from chainwatch.lending.liquidations import Amount, event_row, priced_row
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
    name_parts,
    scoped_name,
)
from chainwatch.lending.protocols.morpho_blue import arithmetic
from chainwatch.lending.protocols.morpho_blue.arithmetic import ORACLE_SCALE
from chainwatch.lending.protocols.morpho_blue.market import (
    MORPHO,
    MorphoMarket,
    read_exposures,
    read_markets,
    read_params,
    require_morpho,
    reserve_rows,
)
from chainwatch.lending.sources import publish
from chainwatch.tables.lending import Account, ChainLiquidation, Leg

POSITION = MORPHO.function("position")
LIQUIDATE_CALL = MORPHO.function("liquidate", "seized_assets repaid_assets")

BORROW, LIQUIDATE = MORPHO.event("Borrow"), MORPHO.event("Liquidate")
SET_OWNER = MORPHO.event("SetOwner")
ACCOUNTS = {
    "Borrow": "on_behalf",
    "Liquidate": "borrower",
    "Repay": "on_behalf",
    "SupplyCollateral": "on_behalf",
    "WithdrawCollateral": "on_behalf",
}
(ID_TOPIC,) = BORROW.places("id").topics  # in each of these events
HEALTHY = b"position is healthy"
UINT_END = 2**256


class _MorphoPosition(msgspec.Struct, frozen=True):
    """One position: collateral in token units, and borrow shares."""

    collateral: int
    shares: int


class Morpho(LendingProtocol[_MorphoPosition]):
    """How the markets of a Morpho contract are read and valued."""

    protocol = "morpho-blue"
    summary = (
        "Positions on Morpho Blue: collateral and debt of every address in each of its markets."
    )
    docs = "https://docs.morpho.org/learn/concepts/liquidation/"
    liquidation_summary = (
        "Liquidations on Morpho Blue: debt repaid, collateral seized, and bad debt written off."
    )
    liquidation_docs = docs
    method = "position, liquidate (simulated)"
    liquidation_events = (LIQUIDATE,)

    async def open(self, reading: Reading) -> Opened:
        await require_morpho(reading)
        watch = Watch(
            lender=reading.pool,
            contracts=(reading.pool,),
            accounts=account_places((MORPHO, ACCOUNTS)),
            borrows=frozenset({BORROW.topic}),
            part=ID_TOPIC,
        )
        return Opened(revision=0, watch=watch)

    async def evidence_of_accounts(
        self, reading: Reading, opened: Opened, first: int
    ) -> str | None:
        # Only events name the markets. The constructor emits SetOwner, so that event must be there.
        last = reading.block.number
        async for part in reading.rpc.logs([reading.pool], [[SET_OWNER.topic]], first, last):
            if part.logs:
                return None
        return "the SetOwner event of its constructor is missing, too"

    async def read_positions(
        self, reading: Reading, opened: Opened, accounts: Sequence[str]
    ) -> dict[str, _MorphoPosition]:
        requests = []
        for account in accounts:
            address, market_id = name_parts(account)
            requests.append(POSITION(reading.pool, market_id, address))
        return {
            account: _MorphoPosition(collateral=stored.collateral, shares=stored.borrow_shares)
            for account, stored in zip(accounts, await reading.ask(requests), strict=True)
        }

    def stored_position(self, account: Account, legs: Sequence[Leg]) -> _MorphoPosition:
        held = {leg.side: leg.scaled for leg in legs}
        return _MorphoPosition(collateral=held.get("collateral", 0), shares=held.get("debt", 0))

    async def read_market(
        self, reading: Reading, opened: Opened, positions: Mapping[str, _MorphoPosition]
    ) -> MarketView:
        markets = await read_markets(reading, {name_parts(a)[1] for a in positions})
        broken = [m for m in markets.values() if m.failure]
        notes = [
            f"{reading.market.name}: {len(broken)} of {len(markets)} markets cannot be valued "
            f"({m.failure} in {m.market_id}); their positions are n/a"
            for m in broken[:1]
        ]
        return MarketView(
            state=markets,
            reserves=[row for m in markets.values() for row in reserve_rows(reading, m)],
            rules=Rules(
                profile=self.protocol,
                close_rule=close_rules.WHOLE,
                base_decimals=0,
                quote="loan token",
                quote_usd=None,
            ),
            currency=Currency(1, None),
            notes=notes,
            notes_prices=True,
        )

    async def debt_totals(
        self, reading: Reading, opened: Opened, view: MarketView
    ) -> list[DebtTotal]:
        """Borrow shares of each market in which an account was found, as Morpho counts them."""
        return [
            DebtTotal(
                asset=market.loan_key,
                measure="borrow shares",
                total=market.totals.shares,
                raw=market.totals.assets,
            )
            for market in view.state.values()
        ]

    async def read_exposures(
        self, reading: Reading, view: MarketView
    ) -> Mapping[str, Sequence[Exposure]]:
        return await read_exposures(reading, view.state)

    def value(
        self, state: Mapping[str, MorphoMarket], account: str, position: _MorphoPosition
    ) -> Valued:
        market = state[name_parts(account)[1]]
        failure, price = market.failure, market.price
        debt = arithmetic.assets_up(position.shares, market.totals) if position.shares else 0
        if price is not None and position.collateral * price >= UINT_END:
            failure = failure or "overflow"
        value = most = None
        if price is not None and not failure:
            value = position.collateral * price // ORACLE_SCALE
            most = arithmetic.max_borrow(position.collateral, price, market.lltv)
        legs = [
            LegValue(
                asset=market.collateral_key,
                side="collateral",
                scaled=position.collateral,
                raw=position.collateral,
                value=value,
                lt_bps=market.lltv * 10_000 / WAD,
                bonus_bps=market.bonus_bps,
            ),
            LegValue(
                asset=market.loan_key,
                side="debt",
                scaled=position.shares,
                raw=debt,
                value=None if failure else debt,
            ),
        ]
        return Valued(
            legs=[leg for leg in legs if leg.scaled],
            collateral=value or 0,
            debt=debt,
            hf=most * WAD // debt if most is not None and debt else None,
            liquidatable=None if most is None else debt > most,
            failure=failure,
            currency=market.currency,
        )

    async def chain_figures(
        self, reading: Reading, opened: Opened, accounts: Mapping[str, Stored[_MorphoPosition]]
    ) -> list[Figure]:
        """Balances beside `position`, verdicts beside a simulated liquidation.

        Morpho has no view of health. A simulated `liquidate` of one unit of collateral reverts
        with "position is healthy", or fails later because the caller has no loan token.
        """
        params = await read_params(reading, {name_parts(a)[1] for a in accounts})
        fresh = await self.read_positions(reading, opened, list(accounts))
        calls = []
        for account in accounts:
            address, market_id = name_parts(account)
            terms = params[market_id]
            # One unit to seize, no shares, and the empty `data` at the end.
            rest = (address, 1, 0, (len(terms) + 4) * abi.WORD, 0)
            calls.append(LIQUIDATE_CALL.call(reading.pool, *terms, *rest))
        figures = []
        for (account, stored), answer in zip(
            accounts.items(), await reading.read(calls), strict=True
        ):
            row, own, theirs = stored.row, stored.position, fresh[account]
            is_healthy = isinstance(answer, Reverted) and HEALTHY in answer.data
            is_unsure = row.status.startswith("n/a")
            verdict = False if is_healthy else None if is_unsure else True
            figures += [
                Figure(account, "collateral", own.collateral, theirs.collateral),
                Figure(account, "borrow shares", own.shares, theirs.shares),
                Figure(account, "liquidatable", row.liquidatable, verdict, row.status),
            ]
        return figures

    def liquidations(
        self, reading: Reading, log: Log, event: Event, e: Any
    ) -> list[ChainLiquidation]:
        row = event_row(
            reading,
            log,
            scoped_name(e.borrower, e.id),
            e.caller,
            repaid=(e.repaid_assets, None),
            seized=(e.seized_assets, None),
        )
        if not e.bad_debt_assets:
            return [row]
        written_off = msgspec.structs.replace(
            row,
            kind="deficit",
            liquidator="",
            debt_repaid_raw=e.bad_debt_assets,
            coll_seized_raw=None,
        )
        return [row, written_off]

    async def price_liquidations(
        self, reading: Reading, liquidations: Sequence[Liquidation]
    ) -> list[ChainLiquidation]:
        markets = await read_markets(
            reading, {liquidation.arguments.id for liquidation in liquidations}
        )
        return [
            _priced(liquidation.row, markets[liquidation.arguments.id])
            for liquidation in liquidations
        ]


def _priced(row: ChainLiquidation, market: MorphoMarket) -> ChainLiquidation:
    loan, collateral, usd = market.loan, market.collateral, market.currency.usd
    paid = row.debt_repaid_raw or 0
    repaid = Amount(loan.address, loan.symbol, paid / loan.unit, market.currency.worth(paid))
    missing = "no USD price at the block"
    if (raw := row.coll_seized_raw) is None:
        return priced_row(row, repaid, None, missing=missing)
    worth = None
    if market.price is not None and usd is not None:
        worth = 1 / loan.unit * raw * market.price / ORACLE_SCALE * usd
    seized = Amount(collateral.address, collateral.symbol, raw / collateral.unit, worth)
    return priced_row(
        row, repaid, seized, bonus_bps=market.bonus_bps, protocol_fee_bps=0.0, missing=missing
    )


publish(Morpho(), __name__)
