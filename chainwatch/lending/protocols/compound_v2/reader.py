"""Compound v2: a comptroller, one cToken per asset, one factor for borrowing and liquidation.

Figures are those of the comptroller's own view, with interest as stored. A liquidation accrues
interest first, so both verdicts are stored. Compound has no health factor: it is derived. An asset
is named by its cToken, because two of them may have the same token underneath.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.chain import abi
from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market
from chainwatch.chain.types import Block, Log, Reverted
from chainwatch.collect.source import Batch, Feed, source, verifier
from chainwatch.errors import ConfigError, NetworkError, UsageError
from chainwatch.lending import close_rules
from chainwatch.lending.exposures import Exposure
from chainwatch.lending.lender import FIX_MARKET, NO_ADDRESS, Opened, Stamp, Watch, any_above_zero
from chainwatch.lending.liquidations import RawAmount, liquidation_row, record_liquidations
from chainwatch.lending.oracles import resolve
from chainwatch.lending.parts import ACCOUNTS_PER_PART, in_parts
from chainwatch.lending.price_sources import read_quotes
from chainwatch.lending.protocols.compound_v2 import arithmetic
from chainwatch.lending.protocols.compound_v2.arithmetic import MANTISSA, MarketBalance
from chainwatch.lending.survey import take_snapshot
from chainwatch.lending.valuation import Rules, factor_rows, snapshot_rows
from chainwatch.lending.verify import Figure, compare_figures, load_sample
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Retraction
from chainwatch.tables.lending import (
    Account,
    ChainLiquidation,
    Factor,
    Leg,
    Orphan,
    Reserve,
    Scan,
    Snapshot,
    Touch,
    Verification,
)
from chainwatch.lending.protocols.compound_v2 import arithmetic
from chainwatch.lending.protocols.compound_v2.arithmetic import MANTISSA
from chainwatch.lending.protocols.compound_v2.comptroller import (
    C_TOKEN,
    COMPTROLLER,
    ComptrollerPosition,
    ComptrollerState,
    CTokenMarket,
    StoredBalance,
    read_c_tokens,
    read_comptroller,
    read_exposures,
)
from chainwatch.lending.sources import publish
from chainwatch.lending.valuation import Rules
from chainwatch.lending.verify import Figure
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
    liquidation_events = (LIQUIDATE_BORROW,)

    async def open(self, reading: Reading) -> Opened:
        c_tokens = await read_c_tokens(reading)
        watch = Watch(
            lender=reading.pool,
            contracts=(reading.pool, *c_tokens),
            places=account_places((COMPTROLLER, COMPTROLLER_ACCOUNTS), (C_TOKEN, C_TOKEN_ACCOUNTS)),
            # Nobody borrows without being in the market.
            borrows=frozenset({MARKET_ENTERED.topic}),
            excluded=frozenset(c_tokens),
        )
        return Opened(revision=0, watch=watch, context=c_tokens)

    async def evidence_of_accounts(
        self, reading: Reading, opened: Opened, first: int
    ) -> str | None:
        if await any_above_zero(reading, [TOTAL_BORROWS.maybe(c) for c in opened.context]):
            return "totalBorrows of its cTokens is above 0"
        return None

    async def read_positions(
        self, reading: Reading, opened: Opened, accounts: Sequence[str]
    ) -> dict[str, ComptrollerPosition]:
        return await _with_borrows(reading, await _read_balances(reading, accounts))

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

    async def refresh(
        self, reading: Reading, opened: Opened, carried: Mapping[str, ComptrollerPosition]
    ) -> dict[str, ComptrollerPosition]:
        """The borrows at the block: a cToken gives them with interest, not principal and index.

        cToken balances never change without an event.
        """
        return await _with_borrows(reading, carried)

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
            exposures=await read_exposures(reading, state),
            currency=Currency(MANTISSA),
            rules=Rules(
                profile=self.protocol, hf_rule="weighted", close_rule="half", base_decimals=18
            ),
            notes=notes,
        )

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
        stamp: Stamp,
        accounts: Mapping[str, _ComptrollerPosition],
    ) -> list[Row]:
        market = feed.market()
        comptroller = await _read_comptroller_state(rpc, market, opened.context, stamp.at)
        for terms in comptroller.markets.values():
            if terms.price is None:
                feed.note(
                    f"{market.name}: the oracle gives no price for {terms.symbol}; "
                    "accounts in that market are n/a"
                )
        if comptroller.close_factor != HALF:
            feed.note(
                f"{market.name}: a liquidation may repay "
                f"{comptroller.close_factor / MANTISSA:.1%} of a debt; walls count half"
            )
        accounts = await _with_borrows(rpc, stamp.at, accounts)
        rows: list[Row] = [
            *_reserve_rows(market, comptroller, stamp),
            *factor_rows(stamp, market, await _exposures(rpc, comptroller, stamp.at)),
        ]

        def value_account(
            account: str, position: _ComptrollerPosition
        ) -> tuple[Account, list[Leg]]:
            return _account_rows(market, comptroller, stamp, account, position)

        rules = Rules(
            profile=PROTOCOL,
            close_rule=close_rules.HALF,
            base_decimals=18,
        )
        rows += snapshot_rows(market, opened.revision, stamp, accounts, value_account, rules)
        return rows


@source(
    PROTOCOL,
    protocol=PROTOCOL,
    tables=(Scan, Touch, Snapshot, Reserve, Factor, Account, Leg, Orphan),
    docs="https://docs.compound.finance/v2/comptroller/",
)
def collect_positions(feed: Feed) -> AsyncIterator[Batch]:
    """Positions on Compound v2: cTokens that count, borrows and shortfall at one block."""
    return take_snapshot(feed, Comptroller())


async def _snapshots(rpc: Rpc, at: Block, pairs: Sequence[tuple[str, str]]) -> list[_StoredBalance]:
    """The stored balances of (account, cToken)."""
    balances = []
    for answer in await rpc.read([(c, abi.call(GET_ACCOUNT_SNAPSHOT, a)) for a, c in pairs], at):
        words = _answer(answer, "getAccountSnapshot")
        if abi.word(words, 0):
            raise NetworkError(f"getAccountSnapshot failed with error {abi.word(words, 0)}")
        balances.append(_StoredBalance(c_tokens=abi.word(words, 1), borrow=abi.word(words, 2)))
    return balances


async def _with_borrows(
    rpc: Rpc, at: Block, accounts: Mapping[str, _ComptrollerPosition]
) -> dict[str, _ComptrollerPosition]:
    """The accounts with their borrows at the block.

    A cToken gives a borrow with interest, not the principal and index behind it: borrows are read
    again each time. cToken balances never change without an event.
    """
    positions = dict(accounts)
    owing = [
        (a, c)
        for a, k in sorted(accounts.items())
        for c, balance in k.held.items()
        if balance.borrow
    ]
    for start in range(0, len(owing), ACCOUNTS_PER_PART):
        part = owing[start : start + ACCOUNTS_PER_PART]
        # In two reads: borrowBalanceCurrent accrues interest for the calls after it.
        stored = await rpc.read([(c, abi.call(BORROW_BALANCE_STORED, a)) for a, c in part], at)
        accrued = await rpc.read([(c, abi.call(BORROW_BALANCE_CURRENT, a)) for a, c in part], at)
        for (account, c_token), was, now in zip(part, stored, accrued, strict=True):
            borrow = abi.word(_answer(was, "borrowBalanceStored"), 0)
            position = positions[account]
            balance = msgspec.structs.replace(
                position.held[c_token],
                borrow=borrow,
                borrow_accrued=_word(now, borrow),
            )
            positions[account] = msgspec.structs.replace(
                position, held=position.held | {c_token: balance}
            )
    return positions


# --- the markets --------------------------------------------------------------------------------


async def _all_markets(rpc: Rpc, market: Market, at: Block) -> tuple[str, ...]:
    """The comptroller's cTokens in the order of their listing; ConfigError for another contract."""
    is_comptroller, listed = await rpc.read(
        [(market.pool, abi.call(getter)) for getter in (IS_COMPTROLLER, GET_ALL_MARKETS)], at
    )
    refusal = ConfigError(
        f"{market.name}: the contract {market.pool} on chain {market.chain} is not a comptroller "
        f"of Compound v2 at block {at.number} (it has no isComptroller or getAllMarkets); "
        f"{FIX_MARKET}"
    )
    if (
        isinstance(is_comptroller, Reverted)
        or isinstance(listed, Reverted)
        or is_comptroller != (1).to_bytes(abi.WORD)
    ):
        raise refusal
    try:
        return tuple(abi.address_list(listed))
    except abi.Malformed:
        raise refusal from None


async def _read_comptroller_state(
    rpc: Rpc, market: Market, c_tokens: Iterable[str], at: Block
) -> _ComptrollerState:
    getters = (ORACLE, CLOSE_FACTOR, LIQUIDATION_INCENTIVE)
    answers = await rpc.read([(market.pool, abi.call(g)) for g in getters], at)
    oracle, close_factor, incentive = (abi.word(_answer(a, "the comptroller"), 0) for a in answers)
    markets = await _read_markets(rpc, market, abi.address(oracle), tuple(c_tokens), at)
    return _ComptrollerState(
        oracle=abi.address(oracle), close_factor=close_factor, incentive=incentive, markets=markets
    )


async def _read_markets(
    rpc: Rpc, market: Market, oracle: str, c_tokens: Sequence[str], at: Block
) -> dict[str, _CTokenMarket]:
    calls = [
        call
        for c in c_tokens
        for call in (
            (c, abi.call(SYMBOL)),
            (c, abi.call(UNDERLYING)),
            (market.pool, abi.call(MARKETS, c)),
            (c, abi.call(EXCHANGE_RATE_STORED)),
            (c, abi.call(BORROW_INDEX)),
            (c, abi.call(RESERVE_FACTOR)),
            (market.pool, abi.call(BORROW_GUARDIAN_PAUSED, c)),
            (oracle, abi.call(GET_UNDERLYING_PRICE, c)),
            (oracle, abi.call(GET_CONFIG, c)),
        )
    ]
    width = 9
    answers = await rpc.read(calls, at)
    current = await rpc.read([(c, abi.call(EXCHANGE_RATE_CURRENT)) for c in c_tokens], at)
    tokens = [
        None if isinstance(a, Reverted) or not a else abi.address(abi.word(a, 0))
        for a in answers[1::width]
    ]
    named = [t for t in tokens if t]
    token_answers = await rpc.read(
        [(t, abi.call(g)) for t in named for g in (SYMBOL, DECIMALS)], at
    )
    labels = {
        token: (
            _label(token_answers[2 * i], token),
            abi.word(_answer(token_answers[2 * i + 1], "decimals of a token"), 0),
        )
        for i, token in enumerate(named)
    }
    markets = {}
    for i, c in enumerate(c_tokens):
        symbol, _, listing, rate, index, reserves, pausing, price, config = answers[
            i * width : (i + 1) * width
        ]
        stored = abi.word(_answer(rate, "exchangeRateStored"), 0)
        factor = abi.word(_answer(listing, "markets"), 1)
        is_pausing = isinstance(pausing, bytes) and abi.word(pausing, 0) == 1
        kept = isinstance(reserves, bytes) and abi.word(reserves, 0) == MANTISSA
        own = _label(symbol, c)
        underneath, decimals = labels[tokens[i] or ""] if tokens[i] else (own, NATIVE_DECIMALS)
        mantissa = None if isinstance(price, Reverted) else abi.word(price, 0) or None
        status = "n/a (oracle reverted)" if isinstance(price, Reverted) else "n/a (no price)"
        markets[c] = _CTokenMarket(
            number=i,
            symbol=own,
            underlying=tokens[i],
            underlying_symbol=underneath,
            decimals=decimals,
            factor=factor,
            rate=stored,
            rate_accrued=_word(current[i], stored),
            index=abi.word(_answer(index, "borrowIndex"), 0),
            price=mantissa,
            price_status="ok" if mantissa else status,
            pausing=is_pausing,
            deprecated=factor == 0 and is_pausing and kept,
            feed=(
                abi.address(abi.word(config, 1))
                if isinstance(config, bytes) and len(config) >= 2 * abi.WORD
                else None
            ),
        )
    return markets


async def _exposures(
    rpc: Rpc, comptroller: _ComptrollerState, at: Block
) -> dict[str, tuple[Exposure, ...]]:
    """The factors of each market's price.

    An oracle may name a feed for a cToken (getConfig). It counts only where the price is that
    feed's answer; any other price is a factor of its own.
    """
    feeds = {t.feed: t.underlying_symbol for t in comptroller.markets.values() if t.feed}
    resolved = await resolve(rpc, feeds, at)
    quotes = await read_quotes(rpc, sorted(feeds), at)
    exposures = {}
    for c, terms in comptroller.markets.items():
        price = terms.price_usd
        answer = quotes[terms.feed].answer if terms.feed else None
        same = answer is not None and price is not None and abs(answer / price - 1) < 1e-9
        own = Exposure(
            factor=f"feed:{comptroller.oracle}:{c}",
            beta=1.0,
            kind="unknown",
            feed=comptroller.oracle,
            description=f"getUnderlyingPrice of {terms.symbol}",
            price=price,
        )
        exposures[c] = resolved[terms.feed] if terms.feed and same else (own,)
    return exposures


def _answer(answer: bytes | Reverted, what: str) -> bytes:
    if isinstance(answer, Reverted):
        raise NetworkError(f"{what} reverted: expected the answer of Compound v2")
    return answer


def _word(answer: bytes | Reverted, otherwise: int) -> int:
    return otherwise if isinstance(answer, Reverted) else abi.word(answer, 0)


def _label(answer: bytes | Reverted, address: str) -> str:
    return ("" if isinstance(answer, Reverted) else contract_text(answer)) or address[:10]


# --- rows ---------------------------------------------------------------------------------------


def _reserve_rows(market: Market, comptroller: _ComptrollerState, stamp: Stamp) -> list[Reserve]:
    return [
        Reserve(
            snapshot=stamp.snapshot,
            market=market.name,
            block_number=stamp.at.number,
            asset=c,
            reserve_id=terms.number,
            symbol=terms.symbol,
            decimals=terms.decimals,
            price=terms.price,
            price_usd=terms.price_usd,
            price_status=terms.price_status,
            oracle=comptroller.oracle,
            liquidity_index=terms.rate,
            debt_index=terms.index,
            ltv_bps=_bps(terms.factor),
            lt_bps=_bps(terms.factor),
            bonus_bps=comptroller.bonus_bps,
            frozen=terms.deprecated,
            borrowing=not terms.pausing,
        )
        for c, terms in comptroller.markets.items()
    ]


def _bps(factor: int) -> float:
    return factor * 10_000 / MANTISSA


def _account_rows(
    market: Market,
    comptroller: _ComptrollerState,
    stamp: Stamp,
    account: str,
    position: _ComptrollerPosition,
) -> tuple[Account, list[Leg]]:
    held = {comptroller.markets[c]: (c, balance) for c, balance in position.held.items()}
    unpriced = [terms for terms in held if terms.price is None]
    stored = [terms.balance(balance, accrued=False) for terms, (_, balance) in held.items()]
    accrued = [terms.balance(balance, accrued=True) for terms, (_, balance) in held.items()]
    covered, owed = arithmetic.sums(stored)
    hf = covered * MANTISSA // owed if owed else None
    # A borrow in a deprecated market may be liquidated whatever the account is worth.
    in_deprecated = any(terms.deprecated and balance.borrow for terms, (_, balance) in held.items())
    legs = []
    for terms, (c, balance) in held.items():
        for side, scaled, raw in (
            (
                "collateral" if balance.c_tokens else "idle",
                balance.c_tokens,
                terms.supplied(balance.c_tokens),
            ),
            ("debt", balance.borrow, balance.borrow),
        ):
            if scaled or (side == "idle" and not balance.borrow):
                legs.append(
                    _leg(market, comptroller, stamp, account, (c, terms), side, scaled, raw)
                )
    sums = {
        side: sum(leg.value or 0 for leg in legs if leg.side == side)
        for side in ("collateral", "debt")
    }
    known_state = not unpriced
    status = unpriced[0].price_status if unpriced else "ok" if owed else "no debt"
    row = Account(
        snapshot=stamp.snapshot,
        market=market.name,
        block_number=stamp.at.number,
        account=account,
        emode=0,
        status=status,
        collateral_base=sums["collateral"] if known_state else None,
        debt_base=sums["debt"] if known_state else None,
        hf_wad=hf if known_state else None,
        liquidatable=in_deprecated or (owed > covered if known_state else None),
        liquidatable_accrued=in_deprecated
        or (arithmetic.is_liquidatable(accrued) if known_state else None),
        lt_bps=None,
        collateral_usd=sums["collateral"] / MANTISSA if known_state else None,
        debt_usd=sums["debt"] / MANTISSA if known_state else None,
        hf=hf / MANTISSA if known_state and hf is not None else None,
        legs=sum(leg.side != "idle" for leg in legs),
        read_block=position.read_block,
    )
    return row, legs


def _leg(
    market: Market,
    comptroller: _ComptrollerState,
    stamp: Stamp,
    account: str,
    asset: tuple[str, _CTokenMarket],
    side: str,
    scaled: int,
    raw: int,
) -> Leg:
    c_token, terms = asset
    value = None
    if terms.price is not None:
        # The comptroller's value, without the collateral factor.
        per = terms.rate * terms.price // MANTISSA if side != "debt" else terms.price
        value = per * scaled // MANTISSA
    return Leg(
        snapshot=stamp.snapshot,
        market=market.name,
        account=account,
        asset=c_token,
        side=side,
        scaled=scaled,
        raw=raw,
        value=value,
        amount=raw / int(10**terms.decimals),
        usd=None if value is None else value / MANTISSA,
        lt_bps=_bps(terms.factor) if side != "debt" else 0.0,
        bonus_bps=comptroller.bonus_bps if side != "debt" else 0.0,
    )


# --- verification --------------------------------------------------------------------------------


@verifier(PROTOCOL)
async def verify(
    feed: Feed, sample: int | None, independent: bool
) -> tuple[Verification, list[Row]]:
    """Compare with getAccountLiquidity, getAccountSnapshot and liquidateBorrowAllowed."""
    if independent:
        raise UsageError("--with-web3 compares Aave v2 and v3 and Spark markets only")
    snapshot_sample = await load_sample(feed, sample)
    market, rpc, at = snapshot_sample.market, snapshot_sample.rpc, snapshot_sample.at
    sampled = snapshot_sample.accounts
    lender = Comptroller()
    held = {
        a: k.held
        for a, k in (await lender.stored_positions(feed, snapshot_sample.snapshot)).items()
        if a in sampled
    }
    comptroller = await _read_comptroller_state(
        rpc, market, await _all_markets(rpc, market, at), at
    )
    figures: list[Figure] = []
    for done, part in in_parts(sorted(sampled)):
        fresh = await lender.read(feed, rpc, Opened(0, Watch("", (), frozenset())), at, part)
        answers = await rpc.read(
            [(market.pool, abi.call(GET_ACCOUNT_LIQUIDITY, a)) for a in part], at
        )
        for account, answer in zip(part, answers, strict=True):
            ours, chain = held[account], fresh[account].held
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
        return figures + await _verdicts(reading, accounts)

    async def liquidation_emitters(self, reading: Reading) -> Sequence[str]:
        return await read_c_tokens(reading)

    def liquidations(
        self, reading: Reading, log: Log, event: Event, e: Any
    ) -> list[ChainLiquidation]:
        repaid, seized = (e.repay_amount, log.address), (e.seize_tokens, e.c_token_collateral)
        return [event_row(reading, log, e.borrower, e.liquidator, repaid=repaid, seized=seized)]

    async def price_liquidations(
        self, reading: Reading, liquidations: Sequence[Liquidation]
    ) -> list[ChainLiquidation]:
        state = await read_comptroller(reading, await read_c_tokens(reading))
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
    reading: Reading, accounts: Sequence[str]
) -> dict[str, ComptrollerPosition]:
    """The stored balances of accounts in the markets they have entered."""
    entered = await reading.ask([GET_ASSETS_IN(reading.pool, account) for account in accounts])
    pairs = [(a, c) for a, c_tokens in zip(accounts, entered, strict=True) for c in c_tokens]
    snapshots = await reading.ask([GET_ACCOUNT_SNAPSHOT(c, account) for account, c in pairs])
    positions: dict[str, ComptrollerPosition] = {account: {} for account in accounts}
    for (account, c), snapshot in zip(pairs, snapshots, strict=True):
        if snapshot.error:
            raise NetworkError(f"getAccountSnapshot failed with error {snapshot.error}")
        positions[account][c] = StoredBalance(snapshot.c_tokens, snapshot.borrow)
    return positions


async def _with_borrows(
    reading: Reading, positions: Mapping[str, ComptrollerPosition]
) -> dict[str, ComptrollerPosition]:
    """The positions with their borrows at the block, as stored and with interest."""
    owing = [(a, c) for a, held in positions.items() for c, b in held.items() if b.borrow]
    stored = await reading.ask([BORROW_BALANCE_STORED(c, account) for account, c in owing])
    # In a read of its own: borrowBalanceCurrent accrues interest for the calls after it.
    accrued = await reading.ask([BORROW_BALANCE_CURRENT.maybe(c, account) for account, c in owing])
    refreshed = {account: dict(held) for account, held in positions.items()}
    for (account, c), borrow, now in zip(owing, stored, accrued, strict=True):
        refreshed[account][c] = StoredBalance(
            c_tokens=positions[account][c].c_tokens,
            borrow=borrow,
            borrow_accrued=borrow if now is None else now,
        )
    return refreshed


async def _verdicts(
    reading: Reading, accounts: Mapping[str, Stored[ComptrollerPosition]]
) -> list[Figure]:
    """Whether the comptroller lets anybody liquidate a debt of the account."""
    debts = [(a, c) for a, s in accounts.items() for c, held in s.position.items() if held.borrow]
    codes = await reading.ask(
        [
            LIQUIDATE_BORROW_ALLOWED.maybe(reading.pool, c, c, NO_ADDRESS, account, 0)
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
            borrowing=not market.pausing,
        )
        for c, market in state.markets.items()
    ]


publish(Comptroller(), __name__)
