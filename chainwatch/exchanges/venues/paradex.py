"""Liquidations on Paradex: trades of the type LIQUIDATION, over REST.

`side` is the taker's, and the liquidation takes: a sell closes a long. Sizes are coins, prices US
dollars. The type cannot be asked for: all trades of a market are read, 1,000 on a page, and a page
names the next one. Trades of the types UNWIND_TRANSFER, SETTLE_MARKET and BLOCK_TRADE are no
liquidations. The venue documents every trade with its type. So a window is covered where all its
markets were read and BTC had a trade in it.

There is no stream here: since 2026-09-21 the public socket speaks Simple Binary Encoding only. In
September 2026 the trades went back to January.

Unproven, needs a live check: how far back trades go, and that `start_at` and `end_at` are part of
what is asked for. Markets that are no longer listed are not asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from chainwatch.exchanges.backfill import History
from chainwatch.exchanges.channel import Era, VenueMarket, side_of
from chainwatch.exchanges.contracts import Contract, parse_contracts
from chainwatch.exchanges.feeds import register_history
from chainwatch.exchanges.reader import ParsedMessage, Reader, VenueLiquidation
from chainwatch.tables.exchange import ExchangeLiquidation

if TYPE_CHECKING:
    from chainwatch.net.http import Rest

SIDES = {"SELL": "long", "BUY": "short"}
PAGE = 1_000
CANARY = "BTC-USD-PERP"


class _TypeOnly(msgspec.Struct):
    trade_type: str


class _TradeMessage(msgspec.Struct):
    id: str
    market: str
    side: str
    size: str
    price: str
    created_at: int


class _Answer(msgspec.Struct):
    results: list[msgspec.Raw]
    next: str | None = None


class _ListedContract(msgspec.Struct):
    symbol: str
    base_currency: str
    quote_currency: str
    settlement_currency: str
    asset_kind: str


_answer = msgspec.json.Decoder(_Answer)
_type_only = msgspec.json.Decoder(_TypeOnly)
_trade_message = msgspec.json.Decoder(_TradeMessage)
_contract = msgspec.json.Decoder(_ListedContract)


def parse_history(scope: str, body: bytes, reader: Reader) -> ParsedMessage:
    """An answer of trades; any trade of the canary's market is a sign of life."""
    trades = _answer.decode(body).results

    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        if _type_only.decode(element).trade_type != "LIQUIDATION":
            return []
        trade = _trade_message.decode(element)
        return [
            reader.build_row(
                VenueLiquidation(
                    symbol=trade.market,
                    side=side_of(SIDES, trade.side),
                    raw_side=trade.side,
                    at_ms=trade.created_at,
                    base=trade.size,
                    price=trade.price,
                    price_kind="trade",
                    kind="fill",
                    event=trade.id,
                    quote_currency="USD",
                    raw=text,
                )
            )
        ]

    message = reader.parse_each(
        reader.start_frame(body), trades, read, lambda element: bytes(element), complete=False
    )
    return msgspec.structs.replace(message, heartbeat=bool(trades))


def parse_listing(body: bytes) -> list[Contract]:
    """The perpetual markets of a markets answer, sized in coins."""
    return parse_contracts(_answer.decode(body).results, _parse_contract)


def _parse_contract(element: msgspec.Raw) -> Contract | None:
    entry = _contract.decode(element)
    if entry.asset_kind != "PERP":
        return None
    return Contract(
        symbol=entry.symbol,
        base=entry.base_currency,
        quote=entry.quote_currency,
        settle=entry.settlement_currency,
        kind="linear",
        size=1.0,
    )


async def fetch_contracts(rest: Rest) -> list[Contract]:
    return parse_listing(await rest.get("/v1/markets"))


def list_scopes(contracts: Mapping[str, Contract]) -> list[str]:
    return list(contracts)


async def _fetch_pages(rest: Rest, scope: str, start_ms: int, end_ms: int) -> AsyncIterator[bytes]:
    body = await rest.get(
        "/v1/trades", market=scope, page_size=PAGE, start_at=start_ms, end_at=end_ms - 1
    )
    requested: set[str] = set()
    while True:
        yield body
        answer = _answer.decode(body)
        # A pointer that comes again leads nowhere.
        if not answer.next or not answer.results or answer.next in requested:
            return
        requested.add(answer.next)
        # What was asked for travels in the pointer.
        body = await rest.get("/v1/trades", cursor=answer.next)


PARADEX = VenueMarket(
    source="paradex",
    venue="paradex",
    market="perpetual",
    rest="https://api.prod.paradex.trade",
    eras=(
        Era(
            date(2026, 1, 31),
            "full",
            "every trade carries its type",
            cited="REST API, Trade tape: trade_type, 2026-09-24",
        ),
    ),
    contracts=fetch_contracts,
)

register_history(
    History(
        source="paradex-history",
        channel=PARADEX,
        window_seconds=86_400,
        scopes=list_scopes,
        pages=_fetch_pages,
        parse=parse_history,
        canary=CANARY,
        # 1,500 requests a minute from one address.
        pace=0.05,
    ),
    docs="https://docs.paradex.trade/api/prod/trades/trades",
    summary="Liquidations on Paradex perpetuals, from its trades, with coverage.",
)
