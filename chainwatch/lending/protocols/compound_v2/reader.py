"""Compound v2: a comptroller, one cToken per asset, one factor for borrowing and liquidation.

Figures are those of the comptroller's own view, with interest as stored. A liquidation accrues
interest first, so both verdicts are stored. Compound has no health factor: it is derived. An asset
is named by its cToken, because two of them may have the same token underneath.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.chain.contract import Event, account_places
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Log
from chainwatch.errors import NetworkError
from chainwatch.lending import close_rules
from chainwatch.lending.exposures import Exposure
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
    any_above_zero,
)
from chainwatch.lending.protocols.compound_v2 import arithmetic, vai
from chainwatch.lending.protocols.compound_v2.arithmetic import MANTISSA
from chainwatch.lending.protocols.compound_v2.comptroller import (
    C_TOKEN,
    COMPTROLLER,
    LIQUIDATE,
    ComptrollerParts,
    ComptrollerPosition,
    ComptrollerState,
    CTokenMarket,
    StoredBalance,
    read_comptroller,
    read_exposures,
    read_parts,
)
from chainwatch.lending.sources import publish
from chainwatch.tables.lending import Account, ChainLiquidation, Leg, Reserve

GET_ASSETS_IN = COMPTROLLER.function("getAssetsIn")
GET_ACCOUNT_LIQUIDITY = COMPTROLLER.function("getAccountLiquidity", "error liquidity shortfall")
LIQUIDATE_BORROW_ALLOWED = COMPTROLLER.function("liquidateBorrowAllowed")
TOTAL_BORROWS = C_TOKEN.function("totalBorrows")
GET_ACCOUNT_SNAPSHOT = C_TOKEN.function("getAccountSnapshot", "error c_tokens borrow exchange_rate")
BORROW_BALANCE_STORED = C_TOKEN.function("borrowBalanceStored")
BORROW_BALANCE_CURRENT = C_TOKEN.function("borrowBalanceCurrent")

MARKET_ENTERED = COMPTROLLER.event("MarketEntered")
LIQUIDATE_BORROW = C_TOKEN.event("LiquidateBorrow")
COMPTROLLER_ACCOUNTS = {"MarketEntered": "account", "MarketExited": "account"}
C_TOKEN_ACCOUNTS = {
    "Transfer": "from_ to",  # minting, redeeming and seizing are transfers, too
    "Borrow": "borrower",
    "RepayBorrow": "borrower",
}
C_TOKEN_UNIT: int = 10**8
HALF = MANTISSA // 2


class Comptroller(LendingProtocol[ComptrollerPosition]):
    """How a comptroller's markets are read and valued."""

    protocol = "compound-v2"
    summary = "Positions on Compound v2: cTokens that count, borrows and shortfall at one block."
    docs = "https://docs.compound.finance/v2/comptroller/"
    liquidation_summary = (
        "Liquidations on Compound v2: debt repaid and cTokens seized, at the oracle's prices then."
    )
    liquidation_docs = "https://docs.compound.finance/v2/ctokens/"
    method = "getAccountLiquidity, getAccountSnapshot, liquidateBorrowAllowed"
    liquidation_events = (LIQUIDATE_BORROW, vai.LIQUIDATE_VAI)

    async def open(self, reading: Reading) -> Opened:
        parts = await read_parts(reading)
        own = (*parts.c_tokens, *([parts.vai_controller] if parts.vai_controller else ()))
        watch = Watch(
            lender=reading.pool,
            contracts=(reading.pool, *own),
            accounts=account_places(
                (COMPTROLLER, COMPTROLLER_ACCOUNTS),
                (C_TOKEN, C_TOKEN_ACCOUNTS),
                (vai.CONTROLLER, vai.CONTROLLER_ACCOUNTS),
            ),
            # Nobody borrows without being in the market.
            borrows=frozenset({MARKET_ENTERED.topic}),
            excluded=frozenset(own),
        )
        return Opened(revision=0, watch=watch, context=parts)

    async def evidence_of_accounts(
        self, reading: Reading, opened: Opened, first: int
    ) -> str | None:
        if await any_above_zero(reading, [TOTAL_BORROWS.maybe(c) for c in opened.context.c_tokens]):
            return "totalBorrows of its cTokens is above 0"
        return None

    async def read_positions(
        self, reading: Reading, opened: Opened, accounts: Sequence[str]
    ) -> dict[str, ComptrollerPosition]:
        parts = opened.context
        balances = await _read_balances(reading, parts, accounts)
        return await _with_interest(reading, parts, balances)

    def stored_position(self, account: Account, legs: Sequence[Leg]) -> ComptrollerPosition:
        held: ComptrollerPosition = {}
        for leg in legs:
            before = held.get(leg.asset, StoredBalance(0))
            held[leg.asset] = (
                msgspec.structs.replace(before, borrow=leg.scaled)
                if leg.side == "debt"
                else msgspec.structs.replace(before, c_tokens=leg.scaled)
            )
        return held

    def balances(self, position: ComptrollerPosition) -> Any:
        return {c: held for c, held in position.items() if held.c_tokens or held.borrow}

    async def refresh(
        self, reading: Reading, opened: Opened, carried: Mapping[str, ComptrollerPosition]
    ) -> dict[str, ComptrollerPosition]:
        """The borrows at the block: a cToken gives them with interest, not principal and index.

        cToken balances never change without an event.
        """
        parts: ComptrollerParts = opened.context
        owing = _borrows(carried)
        stored = await reading.ask(
            [
                vai.REPAY_AMOUNT(c, account)
                if c == parts.vai_controller
                else BORROW_BALANCE_STORED(c, account)
                for account, c in owing
            ]
        )
        positions = {account: dict(held) for account, held in carried.items()}
        for (account, c), borrow in zip(owing, stored, strict=True):
            positions[account][c] = msgspec.structs.replace(positions[account][c], borrow=borrow)
        return await _with_interest(reading, parts, positions)

    async def read_market(
        self, reading: Reading, opened: Opened, positions: Mapping[str, ComptrollerPosition]
    ) -> MarketView:
        state = await read_comptroller(reading, opened.context)
        notes = []
        if state.close_factor != HALF:
            notes.append(
                f"{reading.market.name}: a liquidation may repay "
                f"{state.close_factor / MANTISSA:.1%} of a debt; walls count half"
            )
        return MarketView(
            state=state,
            reserves=_reserve_rows(reading, state),
            currency=Currency(MANTISSA),
            rules=Rules(
                profile=self.protocol,
                close_rule=close_rules.HALF,
                base_decimals=18,
                blocked_reason=state.blocked,
            ),
            notes=notes,
        )

    async def debt_totals(
        self, reading: Reading, opened: Opened, view: MarketView
    ) -> list[DebtTotal]:
        """totalBorrows of each cToken, with interest as stored; single borrows are rounded down.

        VAI's controller keeps no sum of what is owed.
        """
        c_tokens = opened.context.c_tokens
        owed = await reading.ask([TOTAL_BORROWS(c) for c in c_tokens])
        return [
            DebtTotal(asset=c, measure="borrows", total=total, raw=total)
            for c, total in zip(c_tokens, owed, strict=True)
        ]

    async def read_exposures(
        self, reading: Reading, view: MarketView
    ) -> Mapping[str, Sequence[Exposure]]:
        return await read_exposures(reading, view.state)

    def value(self, state: ComptrollerState, account: str, position: ComptrollerPosition) -> Valued:
        held = [(state.markets[c], balance) for c, balance in position.items()]
        failure = next((market.failure for market, _ in held if market.failure), "")
        legs = [leg for market, balance in held for leg in _legs(market, balance, state.bonus_bps)]
        covered, owed = arithmetic.sums(state.balances(position, accrued=False))
        accrued = arithmetic.is_liquidatable(state.balances(position, accrued=True))
        # A borrow in a deprecated market may be liquidated whatever the account is worth.
        in_deprecated = any(market.deprecated and balance.borrow for market, balance in held)
        return Valued(
            legs=legs,
            collateral=sum(leg.value or 0 for leg in legs if leg.side == "collateral"),
            debt=sum(leg.value or 0 for leg in legs if leg.side == "debt"),
            hf=covered * MANTISSA // owed if owed else None,
            liquidatable=in_deprecated or (None if failure else owed > covered),
            liquidatable_accrued=in_deprecated or (None if failure else accrued),
            failure=failure,
        )

    async def chain_figures(
        self,
        reading: Reading,
        opened: Opened,
        accounts: Mapping[str, Stored[ComptrollerPosition]],
    ) -> list[Figure]:
        """Balances, shortfalls (negative: liquidity) and verdicts beside the comptroller's."""
        fresh = await _read_balances(reading, opened.context, list(accounts))
        state = await read_comptroller(reading, opened.context)
        views = await reading.ask([GET_ACCOUNT_LIQUIDITY.maybe(reading.pool, a) for a in accounts])
        figures: list[Figure] = []
        for (account, stored), view in zip(accounts.items(), views, strict=True):
            ours, chain, status = stored.position, fresh[account], stored.row.status
            for c in sorted(ours.keys() | chain.keys()):
                for name in ("c_tokens", "borrow"):
                    own, theirs = (getattr(held.get(c), name, None) for held in (ours, chain))
                    figures.append(
                        Figure(account, f"{state.markets[c].symbol} {name}", own, theirs)
                    )
            covered, owed = arithmetic.sums(state.balances(ours, accrued=False))
            shortfall = None if view is None or view.error else view.shortfall - view.liquidity
            figures.append(
                Figure(
                    account,
                    "shortfall",
                    None if status.startswith("n/a") else owed - covered,
                    shortfall,
                    status,
                )
            )
        return figures + await _verdicts(reading, state, accounts)

    async def liquidation_emitters(self, reading: Reading) -> Sequence[str]:
        parts = await read_parts(reading)
        return [*parts.c_tokens, *([parts.vai_controller] if parts.vai_controller else ())]

    def liquidations(
        self, reading: Reading, log: Log, event: Event, e: Any
    ) -> list[ChainLiquidation]:
        of_vai = event.topic == vai.LIQUIDATE_VAI.topic
        collateral = e.v_token_collateral if of_vai else e.c_token_collateral
        repaid, seized = (e.repay_amount, log.address), (e.seize_tokens, collateral)
        return [event_row(reading, log, e.borrower, e.liquidator, repaid=repaid, seized=seized)]

    async def price_liquidations(
        self, reading: Reading, liquidations: Sequence[Liquidation]
    ) -> list[ChainLiquidation]:
        state = await read_comptroller(reading, await read_parts(reading))
        return [_priced(liquidation.row, state) for liquidation in liquidations]


def _priced(row: ChainLiquidation, state: ComptrollerState) -> ChainLiquidation:
    """cTokens are seized; the reserves' share of them is included."""
    debt, coll = (state.markets.get(c or "") for c in (row.debt_asset, row.coll_asset))
    if debt is None or coll is None:
        return msgspec.structs.replace(row, status="n/a (a market that is not listed)")
    repaid = (row.debt_repaid_raw or 0) / int(10**debt.decimals)
    seized = row.coll_seized_raw or 0
    worth = coll.supplied(seized) / int(10**coll.decimals)
    return priced_row(
        row,
        Amount(
            debt.underlying or debt.c_token,
            debt.underlying_symbol,
            repaid,
            None if debt.price_usd is None else repaid * debt.price_usd,
        ),
        Amount(
            coll.c_token,
            coll.symbol,
            seized / C_TOKEN_UNIT,
            None if coll.price_usd is None else worth * coll.price_usd,
        ),
        bonus_bps=state.bonus_bps,
        protocol_fee_bps=0.0,
    )


# --- balances -----------------------------------------------------------------------------------


async def _read_balances(
    reading: Reading, parts: ComptrollerParts, accounts: Sequence[str]
) -> dict[str, ComptrollerPosition]:
    """The stored balances of accounts in the markets they have entered, and their debts in VAI."""
    entered = await reading.ask([GET_ASSETS_IN(reading.pool, account) for account in accounts])
    pairs = [(a, c) for a, c_tokens in zip(accounts, entered, strict=True) for c in c_tokens]
    snapshots = await reading.ask([GET_ACCOUNT_SNAPSHOT(c, account) for account, c in pairs])
    positions: dict[str, ComptrollerPosition] = {account: {} for account in accounts}
    for (account, c), snapshot in zip(pairs, snapshots, strict=True):
        if snapshot.error:
            raise NetworkError(f"getAccountSnapshot failed with error {snapshot.error}")
        positions[account][c] = StoredBalance(snapshot.c_tokens, snapshot.borrow)
    if parts.vai_controller is not None:
        debts = await vai.read_debts(reading, parts.vai_controller, accounts)
        for account, owed in debts.items():
            positions[account][parts.vai_controller] = StoredBalance(0, owed)
    return positions


async def _with_interest(
    reading: Reading, parts: ComptrollerParts, positions: Mapping[str, ComptrollerPosition]
) -> dict[str, ComptrollerPosition]:
    """The positions with what their borrows are once interest is accrued."""
    owing = [(a, c) for a, c in _borrows(positions) if c != parts.vai_controller]
    # In a read of its own: borrowBalanceCurrent accrues interest for the calls after it.
    accrued = await reading.ask([BORROW_BALANCE_CURRENT.maybe(c, account) for account, c in owing])
    updated = {account: dict(held) for account, held in positions.items()}
    for (account, c), now in zip(owing, accrued, strict=True):
        held = updated[account][c]
        updated[account][c] = msgspec.structs.replace(
            held, borrow_accrued=held.borrow if now is None else now
        )
    if (controller := parts.vai_controller) is not None:
        debts = {a: held[controller].borrow for a, held in positions.items() if controller in held}
        for account, owed in (await vai.read_accrued(reading, controller, debts)).items():
            held = updated[account][controller]
            updated[account][controller] = msgspec.structs.replace(held, borrow_accrued=owed)
    return updated


def _borrowed(position: ComptrollerPosition) -> list[str]:
    return [c for c, held in position.items() if held.borrow]


def _borrows(positions: Mapping[str, ComptrollerPosition]) -> list[tuple[str, str]]:
    """(account, cToken) of every borrow."""
    return [(a, c) for a, position in positions.items() for c in _borrowed(position)]


async def _verdicts(
    reading: Reading, state: ComptrollerState, accounts: Mapping[str, Stored[ComptrollerPosition]]
) -> list[Figure]:
    """Whether the comptroller lets anybody, or its one liquidator, liquidate a debt of the account.

    Where liquidation is paused it refuses before it looks at the account: there is no verdict then.
    """
    stopped = {c for c, market in state.markets.items() if LIQUIDATE in market.paused}
    debts = [
        (a, c)
        for a, s in accounts.items()
        for c, held in s.position.items()
        if held.borrow and not state.paused and stopped.isdisjoint(_borrowed(s.position))
    ]
    # What is seized has to be a market that is listed, as VAI is not.
    listed = next((c for c, market in state.markets.items() if not market.is_vai), "")
    codes = await reading.ask(
        [
            LIQUIDATE_BORROW_ALLOWED.maybe(
                reading.pool,
                c,
                listed if state.markets[c].is_vai else c,
                state.liquidator,
                account,
                0,
            )
            for account, c in debts
        ]
    )
    allowed: dict[str, bool] = {}
    for (account, _), code in zip(debts, codes, strict=True):
        allowed[account] = allowed.get(account, False) or code == 0
    return [
        Figure(account, "liquidatable", int(bool(accounts[account].row.liquidatable)), int(verdict))
        for account, verdict in allowed.items()
    ]


# --- rows ---------------------------------------------------------------------------------------


def _legs(market: CTokenMarket, held: StoredBalance, bonus_bps: float) -> list[LegValue]:
    """A market's legs; values are the comptroller's, without the collateral factor."""
    price, legs = market.price, []
    if held.c_tokens or not held.borrow:
        per_c_token = None if price is None else market.rate * price // MANTISSA
        legs.append(
            LegValue(
                asset=market.c_token,
                side="collateral" if held.c_tokens else "idle",
                scaled=held.c_tokens,
                raw=market.supplied(held.c_tokens),
                value=None if per_c_token is None else per_c_token * held.c_tokens // MANTISSA,
                lt_bps=market.factor_bps,
                bonus_bps=bonus_bps,
            )
        )
    if held.borrow:
        legs.append(
            LegValue(
                asset=market.c_token,
                side="debt",
                scaled=held.borrow,
                raw=held.borrow,
                value=None if price is None else price * held.borrow // MANTISSA,
            )
        )
    return legs


def _reserve_rows(reading: Reading, state: ComptrollerState) -> list[Reserve]:
    return [
        Reserve(
            **reading.row,
            asset=c,
            reserve_id=market.number,
            symbol=market.symbol,
            decimals=market.decimals,
            price=market.price,
            price_usd=market.price_usd,
            price_status=f"n/a ({market.failure})" if market.failure else "ok",
            oracle=state.oracle,
            liquidity_index=market.rate,
            debt_index=market.index,
            ltv_bps=market.factor_bps,
            lt_bps=market.factor_bps,
            bonus_bps=state.bonus_bps,
            frozen=market.deprecated,
            blocked_collateral=market.blocked_collateral,
            blocked_debt=market.blocked_debt,
            borrowing=not market.pausing,
        )
        for c, market in state.markets.items()
    ]


publish(Comptroller(), __name__)
