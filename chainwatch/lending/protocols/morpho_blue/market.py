"""The markets of a Morpho contract at a block: terms, totals with interest, and their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.chain.contract import Contract
from chainwatch.chain.erc20 import DECIMALS, SYMBOL
from chainwatch.chain.reading import Reading
from chainwatch.errors import ConfigError
from chainwatch.lending.exposures import Exposure
from chainwatch.lending.integers import WAD
from chainwatch.lending.protocol import FIX_MARKET, NO_ADDRESS, Currency, scoped_name
from chainwatch.lending.protocols.morpho_blue import arithmetic
from chainwatch.lending.protocols.morpho_blue.arithmetic import ORACLE_SCALE, BorrowTotals
from chainwatch.lending.protocols.morpho_blue.oracle import (
    OraclePrice,
    OracleReading,
    read_oracles,
    read_sides,
)
from chainwatch.tables.lending import Reserve

MORPHO = Contract("morpho_blue", "Morpho Blue")
OWNER = MORPHO.function("owner")
IS_LLTV_ENABLED = MORPHO.function("isLltvEnabled")
ID_TO_MARKET_PARAMS = MORPHO.function("idToMarketParams")
MARKET = MORPHO.function("market")
BORROW_RATE_VIEW = Contract("morpho_blue_irm", "a rate model").function("borrowRateView")

MAX_DECIMALS = 36


class MarketToken(msgspec.Struct, frozen=True):
    """A token as it describes itself; `decimals` None where it does not say."""

    address: str
    symbol: str
    decimals: int | None

    @property
    def unit(self) -> int:
        return int(10 ** (self.decimals or 0))


class MorphoMarket(msgspec.Struct, frozen=True):
    """One market at a block, interest accrued; `failure` says why nothing can be valued.

    `currency` counts its loan token, `worth` is the price of a whole collateral token in loan
    tokens.
    """

    market_id: str
    number: int
    loan: MarketToken
    collateral: MarketToken
    oracle: str
    lltv: int
    totals: BorrowTotals
    price: int | None
    failure: str
    currency: Currency
    worth: float | None

    @property
    def loan_key(self) -> str:
        return scoped_name(self.loan.address, self.market_id)

    @property
    def collateral_key(self) -> str:
        return scoped_name(self.collateral.address, self.market_id)

    @property
    def bonus_bps(self) -> float:
        return (arithmetic.incentive_factor(self.lltv) - WAD) * 10_000 / WAD


async def require_morpho(reading: Reading) -> None:
    """Raise ConfigError where the contract does not answer as Morpho does for an unknown market."""
    pool = reading.pool
    owner, enabled, params, totals = await reading.ask(
        [
            OWNER.maybe(pool),
            IS_LLTV_ENABLED.maybe(pool, 0),
            ID_TO_MARKET_PARAMS.maybe(pool, 0),
            MARKET.maybe(pool, 0),
        ]
    )
    nothing = (*[NO_ADDRESS] * 4, 0)
    if None in (owner, enabled, totals) or params != nothing or any(totals):
        raise ConfigError(
            f"{reading.market.name}: the contract {pool} on chain {reading.market.chain} is not a "
            f"Morpho Blue at block {reading.block.number} (it has no idToMarketParams, market or "
            f"isLltvEnabled); {FIX_MARKET}"
        )


async def read_params(reading: Reading, market_ids: Iterable[str]) -> dict[str, Any]:
    """The terms of markets by id: loan token, collateral, oracle, rate model, threshold."""
    ids = sorted(market_ids)
    answers = await reading.ask([ID_TO_MARKET_PARAMS(reading.pool, i) for i in ids])
    return dict(zip(ids, answers, strict=True))


async def read_markets(reading: Reading, market_ids: Iterable[str]) -> dict[str, MorphoMarket]:
    """Markets by id, at a block."""
    pool, ids = reading.pool, sorted(market_ids)
    stored = await reading.ask_each(ids, lambda i: (ID_TO_MARKET_PARAMS(pool, i), MARKET(pool, i)))
    params = [terms for terms, _ in stored.values()]
    tokens = await _read_tokens(
        reading, {t for p in params for t in (p.loan_token, p.collateral_token)}
    )
    oracles = await read_oracles(reading, [p.oracle for p in params])
    rates = await _read_rates(reading, stored)
    return {
        market_id: _market(reading, (market_id, number), stored[market_id], tokens, oracles, rates)
        for number, market_id in enumerate(ids)
    }


def _market(
    reading: Reading,
    name: tuple[str, int],
    stored: tuple[Any, ...],
    tokens: Mapping[str, MarketToken],
    oracles: OracleReading,
    rates: Mapping[str, int | None],
) -> MorphoMarket:
    market_id, number = name
    params, state = stored
    loan, collateral = tokens[params.loan_token], tokens[params.collateral_token]
    price, rate = oracles.prices[params.oracle], rates[market_id]
    totals = BorrowTotals(assets=state.total_borrow_assets, shares=state.total_borrow_shares)
    if rate:
        totals = arithmetic.accrued(totals, rate, reading.block.time - state.last_update)
    failure = "oracle reverted" if price is None else "" if rate is not None else "no rate"
    if loan.decimals is None or collateral.decimals is None:
        failure = failure or "a token without decimals"
    worth = None
    if price is not None and not failure:
        worth = price / ORACLE_SCALE * (collateral.unit / loan.unit)
    loan_usd = None if failure else oracles.loan_usd(params.oracle, worth)
    return MorphoMarket(
        market_id=market_id,
        number=number,
        loan=loan,
        collateral=collateral,
        oracle=params.oracle,
        lltv=params.lltv,
        totals=totals,
        price=price,
        failure=failure,
        currency=Currency(loan.unit, loan_usd),
        worth=worth,
    )


async def read_exposures(
    reading: Reading, markets: Mapping[str, MorphoMarket]
) -> dict[str, Sequence[Exposure]]:
    """The factors of each market's collateral and loan token."""
    sides = await read_sides(
        reading,
        {i: OraclePrice(m.oracle, m.collateral.symbol, m.worth) for i, m in markets.items()},
    )
    return {
        key: exposures
        for i, market in markets.items()
        for key, exposures in zip((market.collateral_key, market.loan_key), sides[i], strict=True)
    }


async def _read_tokens(reading: Reading, addresses: Iterable[str]) -> dict[str, MarketToken]:
    answers = await reading.ask_each(
        sorted(addresses), lambda token: (SYMBOL.maybe(token), DECIMALS.maybe(token))
    )
    return {
        token: MarketToken(
            address=token,
            symbol=symbol or token[:10],
            decimals=decimals if decimals is not None and decimals <= MAX_DECIMALS else None,
        )
        for token, (symbol, decimals) in answers.items()
    }


async def _read_rates(
    reading: Reading, stored: Mapping[str, tuple[Any, ...]]
) -> dict[str, int | None]:
    """The rate per second since each market's last update; None where its model fails."""
    with_model = [i for i, (params, _) in stored.items() if params.irm != NO_ADDRESS]
    answers = await reading.ask(
        [BORROW_RATE_VIEW.maybe(stored[i][0].irm, *stored[i][0], *stored[i][1]) for i in with_model]
    )
    rates: dict[str, int | None] = dict.fromkeys(stored, 0)
    return rates | dict(zip(with_model, answers, strict=True))


def reserve_rows(reading: Reading, market: MorphoMarket) -> list[Reserve]:
    """The collateral, then the loan token; prices in loan tokens with 36 decimals."""
    usd, lltv_bps = market.currency.usd, market.lltv * 10_000 / WAD
    worth = None
    if market.price is not None and usd is not None:
        worth = market.price / ORACLE_SCALE * (market.collateral.unit / market.loan.unit) * usd

    def row(key: str, token: MarketToken, place: int, **terms: Any) -> Reserve:
        return Reserve(
            **reading.row,
            asset=key,
            reserve_id=2 * market.number + place,
            symbol=token.symbol,
            decimals=token.decimals or 0,
            price_status=f"n/a ({market.failure})" if market.failure else "ok",
            oracle=market.oracle,
            ltv_bps=lltv_bps if place == 0 else 0.0,
            lt_bps=lltv_bps if place == 0 else 0.0,
            borrowing=place == 1,
            **terms,
        )

    return [
        row(
            market.collateral_key,
            market.collateral,
            0,
            price=market.price,
            price_usd=worth,
            bonus_bps=market.bonus_bps,
        ),
        row(
            market.loan_key,
            market.loan,
            1,
            price=ORACLE_SCALE,
            price_usd=usd,
            # Loan tokens per share, 1e36: shares have six decimals more.
            debt_index=arithmetic.assets_up(ORACLE_SCALE, market.totals),
            bonus_bps=0.0,
        ),
    ]
