"""A comptroller of Compound v2 at a block: its markets with their terms, rates and prices."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chainwatch.chain.contract import Contract
from chainwatch.chain.erc20 import DECIMALS, SYMBOL
from chainwatch.chain.reading import Reading
from chainwatch.errors import ConfigError
from chainwatch.lending.exposures import FIXED, UNKNOWN, Exposure
from chainwatch.lending.oracles import Price, resolve
from chainwatch.lending.price_sources import read_quotes
from chainwatch.lending.protocol import FIX_MARKET, NO_ADDRESS
from chainwatch.lending.protocols.compound_v2 import vai
from chainwatch.lending.protocols.compound_v2.arithmetic import MANTISSA, MarketBalance

COMPTROLLER = Contract("compound_v2_comptroller", "a comptroller of Compound v2")
IS_COMPTROLLER = COMPTROLLER.function("isComptroller")
GET_ALL_MARKETS = COMPTROLLER.function("getAllMarkets")
ORACLE = COMPTROLLER.function("oracle")
CLOSE_FACTOR = COMPTROLLER.function("closeFactorMantissa")
LIQUIDATION_INCENTIVE = COMPTROLLER.function("liquidationIncentiveMantissa")
# The first comptrollers do not give isComped.
MARKETS = COMPTROLLER.function("markets", "is_listed collateral_factor ...")
BORROW_GUARDIAN_PAUSED = COMPTROLLER.function("borrowGuardianPaused")
SEIZE_GUARDIAN_PAUSED = COMPTROLLER.function("seizeGuardianPaused")
# Venus, a fork: actions are paused one by one, by market.
PROTOCOL_PAUSED = COMPTROLLER.function("protocolPaused")
ACTION_PAUSED = COMPTROLLER.function("actionPaused")
# There, one contract may be the only one that liquidates.
LIQUIDATOR_CONTRACT = COMPTROLLER.function("liquidatorContract")
VAI_CONTROLLER = COMPTROLLER.function("vaiController")
ACTIONS = REPAY, SEIZE, LIQUIDATE = 3, 4, 5
C_TOKEN = Contract("compound_v2_c_token", "a cToken of Compound v2")
UNDERLYING = C_TOKEN.function("underlying")
EXCHANGE_RATE_STORED = C_TOKEN.function("exchangeRateStored")
EXCHANGE_RATE_CURRENT = C_TOKEN.function("exchangeRateCurrent")
BORROW_INDEX = C_TOKEN.function("borrowIndex")
RESERVE_FACTOR = C_TOKEN.function("reserveFactorMantissa")
PRICE_ORACLE = Contract("compound_v2_price_oracle", "a price oracle of Compound v2")
GET_UNDERLYING_PRICE = PRICE_ORACLE.function("getUnderlyingPrice")
GET_CONFIG = PRICE_ORACLE.function("getConfig", "underlying_asset_decimals price_feed ...")

PRICE_DECIMALS = 36  # of a mantissa, together with the token's
VAI_UNIT = Exposure(FIXED, 0.0, "fixed", "", "counted as a dollar", 1.0)
NATIVE_DECIMALS = 18  # of the coin underneath a cToken that has no token underneath


class ComptrollerParts(msgspec.Struct, frozen=True):
    """The contracts of a comptroller: cTokens as listed, and what mints VAI, where it has one."""

    c_tokens: tuple[str, ...]
    vai_controller: str | None


class StoredBalance(msgspec.Struct, frozen=True):
    """What an account has in a market it has entered; the borrow as stored and with interest."""

    c_tokens: int
    borrow: int = 0
    borrow_accrued: int = 0


# One account: its balances by cToken, and what it owes in VAI by VAI's controller.
ComptrollerPosition = dict[str, StoredBalance]


class CTokenMarket(msgspec.Struct, frozen=True, kw_only=True):
    """One market at a block: rates as stored and accrued, price mantissa.

    `failure` says why there is no price; `feed` is the one that the oracle names for it.
    `paused` are the actions that may not be done there, as Venus numbers them.
    """

    number: int
    c_token: str
    symbol: str
    underlying: str | None
    underlying_symbol: str
    decimals: int
    factor: int
    rate: int
    rate_accrued: int
    index: int
    price: int | None
    failure: str
    pausing: bool
    deprecated: bool
    feed: str | None
    paused: frozenset[int]
    is_vai: bool = False

    @property
    def blocked_collateral(self) -> str | None:
        """Why no liquidation may take its cTokens."""
        return "seizing paused" if SEIZE in self.paused else None

    @property
    def blocked_debt(self) -> str | None:
        """Why no liquidation may repay a borrow there."""
        if LIQUIDATE in self.paused:
            return "liquidation paused"
        return "repayment paused" if REPAY in self.paused else None

    @property
    def price_usd(self) -> float | None:
        """USD per whole token underneath."""
        if self.price is None:
            return None
        return self.price / int(10 ** (PRICE_DECIMALS - self.decimals))

    @property
    def factor_bps(self) -> float:
        return self.factor * 10_000 / MANTISSA

    def supplied(self, c_tokens: int) -> int:
        """What cTokens are worth in the token underneath."""
        return c_tokens * self.rate // MANTISSA

    def balance(self, held: StoredBalance, *, accrued: bool) -> MarketBalance:
        """The account's part, as the comptroller counts it."""
        return MarketBalance(
            c_tokens=held.c_tokens,
            exchange_rate=self.rate_accrued if accrued else self.rate,
            borrow=held.borrow_accrued if accrued else held.borrow,
            collateral_factor=self.factor,
            price=self.price or 0,
        )


class ComptrollerState(msgspec.Struct, frozen=True):
    """The comptroller's state at a block, markets by cToken.

    `liquidator` is the one account that may liquidate, or the zero address: anybody may.
    """

    oracle: str
    close_factor: int
    incentive: int
    paused: bool
    seizing_paused: bool
    liquidator: str
    markets: dict[str, CTokenMarket]

    @property
    def blocked(self) -> str | None:
        """Why no liquidation is let through at all."""
        if self.paused:
            return "protocol paused"
        return "seizing paused" if self.seizing_paused else None

    @property
    def bonus_bps(self) -> float:
        """Collateral seized above the repayment, the reserves' share included."""
        return (self.incentive - MANTISSA) * 10_000 / MANTISSA

    def balances(self, position: ComptrollerPosition, *, accrued: bool) -> list[MarketBalance]:
        """An account's parts of all its markets."""
        return [self.markets[c].balance(held, accrued=accrued) for c, held in position.items()]


async def read_parts(reading: Reading) -> ComptrollerParts:
    """The comptroller's contracts; ConfigError for another contract."""
    pool = reading.pool
    is_comptroller, listed, vai_controller = await reading.ask(
        [IS_COMPTROLLER.maybe(pool), GET_ALL_MARKETS.maybe(pool), VAI_CONTROLLER.maybe(pool)]
    )
    if not is_comptroller or listed is None:
        raise ConfigError(
            f"{reading.market.name}: the contract {pool} on chain {reading.market.chain} is not a "
            f"comptroller of Compound v2 at block {reading.block.number} (it has no isComptroller "
            f"or getAllMarkets); {FIX_MARKET}"
        )
    has_vai = vai_controller not in (None, NO_ADDRESS)
    return ComptrollerParts(tuple(listed), vai_controller if has_vai else None)


async def read_comptroller(reading: Reading, parts: ComptrollerParts) -> ComptrollerState:
    """The comptroller with its markets; VAI is one that lends only, at a dollar."""
    pool = reading.pool
    oracle, close_factor, incentive, no_seizing, paused, liquidator = await reading.ask(
        [
            ORACLE(pool),
            CLOSE_FACTOR(pool),
            LIQUIDATION_INCENTIVE(pool),
            SEIZE_GUARDIAN_PAUSED.maybe(pool),
            PROTOCOL_PAUSED.maybe(pool),
            LIQUIDATOR_CONTRACT.maybe(pool),
        ]
    )
    markets = await _read_markets(reading, oracle, parts.c_tokens)
    if parts.vai_controller is not None:
        markets[parts.vai_controller] = await _read_vai(reading, parts.vai_controller, len(markets))
    return ComptrollerState(
        oracle=oracle,
        close_factor=close_factor,
        incentive=incentive,
        paused=bool(paused),
        seizing_paused=bool(no_seizing),
        liquidator=liquidator or NO_ADDRESS,
        markets=markets,
    )


async def _read_vai(reading: Reading, controller: str, number: int) -> CTokenMarket:
    token, stopped = await reading.ask(
        [vai.TOKEN.maybe(controller), ACTION_PAUSED.maybe(reading.pool, controller, LIQUIDATE)]
    )
    return CTokenMarket(
        number=number,
        c_token=controller,
        symbol="VAI",
        underlying=token,
        underlying_symbol="VAI",
        decimals=NATIVE_DECIMALS,
        factor=0,
        rate=0,
        rate_accrued=0,
        index=MANTISSA,
        price=MANTISSA,
        failure="",
        pausing=False,
        deprecated=False,
        feed=None,
        paused=frozenset({LIQUIDATE} if stopped else ()),
        is_vai=True,
    )


async def _read_markets(
    reading: Reading, oracle: str, c_tokens: Sequence[str]
) -> dict[str, CTokenMarket]:
    pool = reading.pool
    answers = await reading.ask_each(
        c_tokens,
        lambda c: (
            SYMBOL.maybe(c),
            UNDERLYING.maybe(c),
            MARKETS(pool, c),
            EXCHANGE_RATE_STORED(c),
            BORROW_INDEX(c),
            RESERVE_FACTOR.maybe(c),
            BORROW_GUARDIAN_PAUSED.maybe(pool, c),
            GET_UNDERLYING_PRICE.maybe(oracle, c),
            GET_CONFIG.maybe(oracle, c),
            *(ACTION_PAUSED.maybe(pool, c, action) for action in ACTIONS),
        ),
    )
    # In a read of its own: it accrues interest for the calls after it.
    current = await reading.ask([EXCHANGE_RATE_CURRENT.maybe(c) for c in c_tokens])
    tokens = await reading.ask_each(
        dict.fromkeys(token for _, token, *_ in answers.values() if token),
        lambda token: (SYMBOL.maybe(token), DECIMALS(token)),
    )
    markets = {}
    for number, (c, answer) in enumerate(answers.items()):
        symbol, token, listing, rate, index, reserve_factor, pausing, price, config, *paused = (
            answer
        )
        own = symbol or c[:10]
        underneath, decimals = tokens[token] if token else (own, NATIVE_DECIMALS)
        markets[c] = CTokenMarket(
            number=number,
            c_token=c,
            symbol=own,
            underlying=token,
            underlying_symbol=underneath or token[:10],
            decimals=decimals,
            factor=listing.collateral_factor,
            rate=rate,
            rate_accrued=rate if current[number] is None else current[number],
            index=index,
            price=price or None,
            failure="" if price else "oracle reverted" if price is None else "no price",
            pausing=bool(pausing),
            # As the comptroller says: whatever is borrowed there may be liquidated.
            deprecated=bool(pausing)
            and listing.collateral_factor == 0
            and reserve_factor == MANTISSA,
            feed=config and config.price_feed,
            paused=frozenset(a for a, stopped in zip(ACTIONS, paused, strict=True) if stopped),
        )
    return markets


async def read_exposures(
    reading: Reading, state: ComptrollerState
) -> dict[str, Sequence[Exposure]]:
    """The factors of each market's price.

    An oracle may name a feed for a cToken (getConfig). It counts only where the price is that
    feed's answer; any other price that cannot be measured is a factor of its own.
    """
    feeds = {c: m.feed for c, m in state.markets.items() if m.feed}
    quotes = await read_quotes(reading, sorted(set(feeds.values())))
    prices = {}
    for c, terms in state.markets.items():
        if terms.is_vai:
            continue
        price, feed = terms.price_usd, feeds.get(c)
        answer = quotes[feed].answer if feed else None
        same = answer is not None and price is not None and abs(answer / price - 1) < 1e-9
        call = GET_UNDERLYING_PRICE.call(state.oracle, c)
        prices[c] = Price(call, feed if same else None, terms.underlying_symbol)
    resolved = await resolve(reading, prices)
    return {
        c: (VAI_UNIT,)
        if terms.is_vai
        else resolved[c]
        or (
            Exposure(
                factor=f"feed:{state.oracle}:{c}",
                beta=1.0,
                kind="unknown",
                feed=state.oracle,
                description=f"getUnderlyingPrice of {terms.symbol}",
                price=terms.price_usd,
                evidence=UNKNOWN,
            ),
        )
        for c, terms in state.markets.items()
    }
