"""Liquidations of a pool at the prices and terms of their own block."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chainwatch.chain.erc20 import SYMBOL
from chainwatch.chain.reading import Reading
from chainwatch.lending.liquidations import Amount, priced_row
from chainwatch.lending.protocols.aave_v3 import arithmetic
from chainwatch.lending.protocols.aave_v3.arithmetic import ReserveConfig
from chainwatch.lending.protocols.aave_v3.balances import GET_USER_EMODE
from chainwatch.lending.protocols.aave_v3.categories import read_bonus
from chainwatch.lending.protocols.aave_v3.oracle import GET_ASSET_PRICE, read_oracle
from chainwatch.lending.protocols.aave_v3.pool import Dialect, bonus_bps
from chainwatch.tables.lending import ChainLiquidation


class _AssetTerms(msgspec.Struct, frozen=True):
    """An asset at a liquidation's block."""

    asset: str
    reserve_id: int
    config: ReserveConfig
    symbol: str
    price_usd: float | None

    def amount(self, raw: int | None) -> Amount | None:
        """An amount in token units as an event has it."""
        if raw is None:
            return None
        tokens = raw / int(10**self.config.decimals)
        usd = None if self.price_usd is None else tokens * self.price_usd
        return Amount(self.asset, self.symbol, tokens, usd)


async def price_events(
    reading: Reading, dialect: Dialect, rows: Sequence[ChainLiquidation]
) -> list[ChainLiquidation]:
    """The rows of one block's events with amounts, USD and the bonus of the account's e-mode."""
    terms = await _read_terms(reading, dialect, rows)
    emodes = [0] * len(rows)
    if dialect.has_emodes:
        emodes = await reading.ask([GET_USER_EMODE.maybe(reading.pool, r.account) for r in rows])
    priced = []
    for row, emode in zip(rows, emodes, strict=True):
        repaid, collateral = terms[row.debt_asset or ""], terms.get(row.coll_asset or "")
        amount = repaid.amount(row.debt_repaid_raw)
        if collateral is None:
            priced.append(priced_row(row, amount, None))
            continue
        config = collateral.config
        bonus = config.bonus
        if emode:
            bonus = await read_bonus(reading, emode, collateral.reserve_id, config)
        priced.append(
            priced_row(
                row,
                amount,
                collateral.amount(row.coll_seized_raw),
                bonus_bps=float(bonus_bps(bonus)),
                protocol_fee_bps=float(config.protocol_fee),
            )
        )
    return priced


async def _read_terms(
    reading: Reading, dialect: Dialect, rows: Sequence[ChainLiquidation]
) -> dict[str, _AssetTerms]:
    """The assets of some events, as pool and oracle have them at the block."""
    assets = sorted({asset for r in rows for asset in (r.debt_asset, r.coll_asset) if asset})
    oracle = await read_oracle(reading, dialect)
    answers = await reading.ask_each(
        assets,
        lambda asset: (
            dialect.reserve_data(reading.pool, asset),
            GET_ASSET_PRICE.maybe(oracle.address, asset),
            SYMBOL.maybe(asset),
        ),
    )
    return {
        asset: _AssetTerms(
            asset=asset,
            reserve_id=data.id,
            config=arithmetic.reserve_config(data.configuration),
            symbol=symbol or asset[:10],
            price_usd=oracle.currency.worth(price),
        )
        for asset, (data, price, symbol) in answers.items()
    }
