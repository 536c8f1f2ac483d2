"""Compound v2: a comptroller, one cToken per asset, one factor for borrowing and liquidation.

Figures are those of the comptroller's own view, with interest as stored. A liquidation accrues
interest first, so both verdicts are stored. Compound has no health factor: it is derived. An asset
is named by its cToken, because two of them may have the same token underneath.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import msgspec

from chainwatch.chain import abi
from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market
from chainwatch.chain.types import Block, Log, Reverted
from chainwatch.collect.source import Batch, Feed, source, verifier
from chainwatch.errors import ConfigError, NetworkError, UsageError
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
from chainwatch.text import contract_text

PROTOCOL = "compound-v2"

# Selectors; tests/chain/test_abi.py holds each against the ABI in abis/.
IS_COMPTROLLER = "0x007e3dd2"
GET_ALL_MARKETS = "0xb0772d0b"
GET_ASSETS_IN = "0xabfceffc"
ORACLE = "0x7dc0d1d0"
CLOSE_FACTOR = "0xe8755446"
LIQUIDATION_INCENTIVE = "0x4ada90af"
MARKETS = "0x8e8f294b"
BORROW_GUARDIAN_PAUSED = "0x6d154ea5"
GET_ACCOUNT_LIQUIDITY = "0x5ec88c79"
LIQUIDATE_BORROW_ALLOWED = "0x5fc7e71e"
UNDERLYING = "0x6f307dc3"
TOTAL_BORROWS = "0x47bd3718"
SYMBOL = "0x95d89b41"
DECIMALS = "0x313ce567"
GET_ACCOUNT_SNAPSHOT = "0xc37f68e2"
EXCHANGE_RATE_STORED = "0x182df0f5"
EXCHANGE_RATE_CURRENT = "0xbd6d894d"
BORROW_INDEX = "0xaa5af0fd"
RESERVE_FACTOR = "0x173b9904"
BORROW_BALANCE_STORED = "0x95dd9193"
BORROW_BALANCE_CURRENT = "0x17bfdfbc"
GET_UNDERLYING_PRICE = "0xfc57d4df"
GET_CONFIG = "0xe48a5f7b"

MARKET_ENTERED = "0x3ab23ab0d51cccc0c3085aec51f99228625aa1a922b3a8ca89a26b0f2027a1a5"
LIQUIDATE_BORROW = "0x298637f684da70674f26509b10f07ec2fbc77a335ab1e7d6215a4b2484d8bb52"
ACCOUNT_TOPICS: dict[str, tuple[int, ...]] = {
    # Transfer of cTokens: minting, redeeming and seizing are transfers, too
    "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef": (1, 2),
}
# Events that name the account in a word of their data.
ACCOUNT_WORDS: dict[str, tuple[int, ...]] = {
    MARKET_ENTERED: (1,),
    # MarketExited, Borrow, RepayBorrow
    "0xe699a64c18b07ac5b7301aa273f36a2287239eb9501d81950672794afba29a0d": (1,),
    "0x13ed6866d4e1ee6da46f845c46d7e54120883d75c5ea9a2dacc1c4ca8984ab80": (0,),
    "0x1a2a22cb034d26d1854bdc6666a5b91fe25efbbb5dcad3b0355478d6f5c362a1": (1,),
}
PRICE_DECIMALS = 36  # of a mantissa, together with the token's
C_TOKEN_DECIMALS = 8
NATIVE_DECIMALS = 18  # of the coin underneath a cToken that has no token underneath
HALF = MANTISSA // 2


class _StoredBalance(msgspec.Struct, frozen=True):
    """What an account has in a market it has entered; the borrow as stored and with interest."""

    c_tokens: int
    borrow: int = 0
    borrow_accrued: int = 0


class _ComptrollerPosition(msgspec.Struct, frozen=True):
    """One account: its balances by cToken."""

    held: dict[str, _StoredBalance]
    read_block: int


class _CTokenMarket(msgspec.Struct, frozen=True):
    """One market at a block: rates as stored and accrued, price mantissa (None = none)."""

    number: int
    symbol: str
    underlying: str | None
    underlying_symbol: str
    decimals: int
    factor: int
    rate: int
    rate_accrued: int
    index: int
    price: int | None
    price_status: str
    pausing: bool
    deprecated: bool
    feed: str | None

    @property
    def price_usd(self) -> float | None:
        """USD per whole token underneath."""
        if self.price is None:
            return None
        return self.price / int(10 ** (PRICE_DECIMALS - self.decimals))

    def supplied(self, c_tokens: int) -> int:
        """What cTokens are worth in the token underneath."""
        return c_tokens * self.rate // MANTISSA

    def balance(self, held: _StoredBalance, *, accrued: bool) -> MarketBalance:
        """The account's part, as the comptroller counts it."""
        return MarketBalance(
            c_tokens=held.c_tokens,
            exchange_rate=self.rate_accrued if accrued else self.rate,
            borrow=held.borrow_accrued if accrued else held.borrow,
            collateral_factor=self.factor,
            price=self.price or 0,
        )


class _ComptrollerState(msgspec.Struct, frozen=True):
    """The comptroller's state at a block."""

    oracle: str
    close_factor: int
    incentive: int
    markets: dict[str, _CTokenMarket]

    @property
    def bonus_bps(self) -> float:
        """Collateral seized above the repayment, the reserves' share included."""
        return (self.incentive - MANTISSA) * 10_000 / MANTISSA


class Comptroller:
    """How a comptroller's markets are read (chainwatch.lending.lender.Lender)."""

    protocol = PROTOCOL

    async def open(self, feed: Feed, rpc: Rpc, market: Market, at: Block) -> Opened:
        c_tokens = await _all_markets(rpc, market, at)
        watch = Watch(
            lender=market.pool,
            contracts=(market.pool, *c_tokens),
            accounts=ACCOUNT_TOPICS,
            words=ACCOUNT_WORDS,
            # Nobody borrows without being in the market.
            borrows=frozenset({MARKET_ENTERED}),
            excluded=frozenset(c_tokens),
        )
        return Opened(revision=0, watch=watch, context=c_tokens)

    async def stored_positions(self, feed: Feed, base: Snapshot) -> dict[str, _ComptrollerPosition]:
        held: dict[str, dict[str, _StoredBalance]] = {}
        for leg in await feed.stored(Leg, "snapshot = $s", s=base.snapshot):
            balances = held.setdefault(leg.account, {})
            before = balances.get(leg.asset, _StoredBalance(0))
            balances[leg.asset] = (
                msgspec.structs.replace(before, borrow=leg.scaled)
                if leg.side == "debt"
                else msgspec.structs.replace(before, c_tokens=leg.scaled)
            )
        return {
            a.account: _ComptrollerPosition(held=held.get(a.account, {}), read_block=a.read_block)
            for a in await feed.stored(Account, "snapshot = $s", s=base.snapshot)
        }

    async def read(
        self, feed: Feed, rpc: Rpc, opened: Opened, at: Block, accounts: Sequence[str]
    ) -> dict[str, _ComptrollerPosition]:
        market = feed.market()
        positions: dict[str, _ComptrollerPosition] = {}
        for done, part in in_parts(accounts):
            lists = await rpc.read([(market.pool, abi.call(GET_ASSETS_IN, a)) for a in part], at)
            pairs = [
                (account, c_token)
                for account, answer in zip(part, lists, strict=True)
                for c_token in abi.address_list(_answer(answer, "getAssetsIn"))
            ]
            held: dict[str, dict[str, _StoredBalance]] = {}
            for (account, c_token), balance in zip(
                pairs, await _snapshots(rpc, at, pairs), strict=True
            ):
                held.setdefault(account, {})[c_token] = balance
            for account in part:
                positions[account] = _ComptrollerPosition(
                    held=held.get(account, {}), read_block=at.number
                )
            feed.progress(f"{market.name}: accounts read", done, len(accounts))
        return positions

    async def evidence_of_accounts(
        self, rpc: Rpc, market: Market, opened: Opened, first: int, at: Block
    ) -> str | None:
        calls = [(c_token, abi.call(TOTAL_BORROWS)) for c_token in opened.context]
        if await any_above_zero(rpc, calls, at):
            return "totalBorrows of its cTokens is above 0"
        return None

    async def rows(
        self,
        feed: Feed,
        rpc: Rpc,
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
            hf_rule="weighted",
            close_rule="half",
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
                own, theirs = ours.get(c), chain.get(c)
                label = comptroller.markets[c].symbol
                figures += [
                    Figure(
                        account,
                        f"{label} {name}",
                        getattr(own, name, None),
                        getattr(theirs, name, None),
                    )
                    for name in ("c_tokens", "borrow")
                ]
            figures += _verdicts(sampled[account], ours, comptroller, answer)
        feed.progress(f"{market.name}: accounts verified", done, len(sampled))
    figures += await _allowed(rpc, market, at, sampled, held)
    return compare_figures(
        feed,
        snapshot_sample,
        figures,
        "getAccountLiquidity, getAccountSnapshot, liquidateBorrowAllowed",
    )


def _verdicts(
    row: Account,
    held: Mapping[str, _StoredBalance],
    comptroller: _ComptrollerState,
    answer: bytes | Reverted,
) -> list[Figure]:
    """The shortfall of an account (negative: liquidity), by stored balances and by the chain."""
    covered, owed = arithmetic.sums(
        [comptroller.markets[c].balance(balance, accrued=False) for c, balance in held.items()]
    )
    chain = None
    if isinstance(answer, bytes) and abi.word(answer, 0) == 0:
        chain = abi.word(answer, 2) - abi.word(answer, 1)
    ours = None if row.status.startswith("n/a") else owed - covered
    return [Figure(row.account, "shortfall", ours, chain, row.status)]


async def _allowed(
    rpc: Rpc,
    market: Market,
    at: Block,
    sampled: Mapping[str, Account],
    held: Mapping[str, Mapping[str, _StoredBalance]],
) -> list[Figure]:
    """Whether the comptroller lets anybody liquidate a debt of the account."""
    pairs = [(a, c) for a in sorted(held) for c, balance in held[a].items() if balance.borrow]
    none = NO_ADDRESS
    answers = await rpc.read(
        [(market.pool, abi.call(LIQUIDATE_BORROW_ALLOWED, c, c, none, a, 0)) for a, c in pairs], at
    )
    allowed: dict[str, bool] = {}
    for (account, _), answer in zip(pairs, answers, strict=True):
        code = None if isinstance(answer, Reverted) else abi.word(answer, 0)
        allowed[account] = allowed.get(account, False) or code == 0
    return [
        Figure(account, "liquidatable", int(bool(sampled[account].liquidatable)), int(verdict))
        for account, verdict in allowed.items()
    ]


# --- liquidations ------------------------------------------------------------------------


class CompoundLiquidations:
    """LiquidateBorrow (chainwatch.lending.liquidations.LiquidationEvents).

    cTokens are seized; the reserves' share of them is included.
    """

    topics = (LIQUIDATE_BORROW,)

    async def rows(
        self, feed: Feed, rpc: Rpc, market: Market, logs: Sequence[Log], at: Block
    ) -> list[ChainLiquidation]:
        comptroller = await _read_comptroller_state(
            rpc, market, await _all_markets(rpc, market, at), at
        )
        return [_priced(_event(market, log, at), log.address, comptroller) for log in logs]

    def events(self, market: Market, log: Log, at: Block) -> list[ChainLiquidation]:
        return [_event(market, log, at)]


def _event(market: Market, log: Log, at: Block) -> ChainLiquidation:
    data = bytes.fromhex(log.data[2:])
    return liquidation_row(
        market,
        log,
        at,
        account=abi.address(abi.word(data, 1)),
        liquidator=abi.address(abi.word(data, 0)),
        repaid=RawAmount(abi.word(data, 2), log.address),
        seized=RawAmount(abi.word(data, 4), abi.address(abi.word(data, 3))),
    )


def _priced(
    row: ChainLiquidation, borrowed: str, comptroller: _ComptrollerState
) -> ChainLiquidation:
    debt, coll = comptroller.markets.get(borrowed), comptroller.markets.get(row.coll_asset or "")
    if debt is None or coll is None:
        return msgspec.structs.replace(row, status="n/a (a market that is not listed)")
    repaid = (row.debt_repaid_raw or 0) / int(10**debt.decimals)
    seized = row.coll_seized_raw or 0
    worth = coll.supplied(seized) / int(10**coll.decimals)
    has_prices = debt.price_usd is not None and coll.price_usd is not None
    return msgspec.structs.replace(
        row,
        debt_asset=debt.underlying or borrowed,
        debt_symbol=debt.underlying_symbol,
        debt_repaid=repaid,
        debt_repaid_usd=None if debt.price_usd is None else repaid * debt.price_usd,
        coll_symbol=coll.symbol,
        coll_seized=seized / int(10**C_TOKEN_DECIMALS),
        coll_seized_usd=None if coll.price_usd is None else worth * coll.price_usd,
        bonus_bps=comptroller.bonus_bps,
        protocol_fee_bps=0.0,
        status="ok" if has_prices else "n/a (no oracle price at the block)",
    )


@source(
    f"{PROTOCOL}-liquidations",
    protocol=PROTOCOL,
    tables=(ChainLiquidation, Retraction),
    docs="https://docs.compound.finance/v2/ctokens/",
)
def collect_liquidations(feed: Feed) -> AsyncIterator[Batch]:
    """Liquidations on Compound v2: debt repaid and cTokens seized, at the oracle's prices then."""
    return record_liquidations(feed, CompoundLiquidations(), _all_markets)
