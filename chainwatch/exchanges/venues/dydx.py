"""Liquidations on dYdX v4: trades of the type LIQUIDATED, as its indexer sends them.

`side` is the taker's, who is the liquidated subaccount: a sell closes a long. Sizes are coins. Each
market is a subscription of its own, answered with recent trades, which the key recognises; trades
of the type DELEVERAGED are not counted as liquidations.

Unproven, needs a live check: that 32 subscriptions of a channel fit on one socket, and how far back
its trades go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import msgspec

from chainwatch.exchanges.backfill import History, next_end
from chainwatch.exchanges.channel import Channel, Era, Request, side_of
from chainwatch.exchanges.contracts import Contract, parse_contracts
from chainwatch.exchanges.feeds import register_history, register_stream
from chainwatch.exchanges.reader import (
    HEARTBEAT,
    IGNORED,
    ParsedMessage,
    Reader,
    VenueLiquidation,
    Zoned,
)
from chainwatch.tables.exchange import ExchangeLiquidation

if TYPE_CHECKING:
    from chainwatch.net.http import Rest

SIDES = {"SELL": "long", "BUY": "short"}
TRADES = "v4_trades"
BOOK = "v4_orderbook"
PAGE = 1_000


class _TradeMessage(msgspec.Struct, rename="camel"):
    id: str
    side: str
    size: str
    price: str
    created_at: Zoned


class _TypeOnly(msgspec.Struct):
    type: str = ""


class _TimeOnly(msgspec.Struct, rename="camel"):
    created_at: Zoned


class _TradesMessage(msgspec.Struct, omit_defaults=True):
    trades: list[msgspec.Raw] = []


class _Message(msgspec.Struct, omit_defaults=True):
    type: str = ""
    channel: str = ""
    id: str = ""
    message: str = ""
    contents: msgspec.Raw = msgspec.Raw()


class _ListedContract(msgspec.Struct):
    ticker: str
    status: str = ""


class _Markets(msgspec.Struct):
    markets: dict[str, msgspec.Raw]


_message = msgspec.json.Decoder(_Message)
_type_only = msgspec.json.Decoder(_TypeOnly)
_trade_message = msgspec.json.Decoder(_TradeMessage)
_trades_message = msgspec.json.Decoder(_TradesMessage)
_time_only = msgspec.json.Decoder(_TimeOnly)
_markets = msgspec.json.Decoder(_Markets)


def parse(raw: bytes, reader: Reader) -> ParsedMessage:
    """A frame of the indexer's socket."""
    frame = _message.decode(raw)
    topic = f"{frame.channel} {frame.id}"
    match frame.type, frame.channel:
        case "subscribed", "v4_trades":
            return msgspec.structs.replace(_read(raw, frame, reader), acked=(topic,))
        case "subscribed", _:
            return ParsedMessage(acked=(topic,))
        case "error", _:
            return ParsedMessage(acked=("",), refused=frame.message)
        case "channel_data", "v4_trades":
            return _read(raw, frame, reader)
        case (("channel_data" | "channel_batch_data"), "v4_orderbook"):
            return HEARTBEAT
    return IGNORED


def _read(raw: bytes, frame: _Message, reader: Reader) -> ParsedMessage:
    def envelope(element: msgspec.Raw) -> bytes:
        alone = msgspec.json.encode(_TradesMessage(trades=[element]))
        given = {"type": "channel_data", "channel": TRADES, "id": frame.id}
        return msgspec.json.encode({**given, "contents": msgspec.Raw(alone)})

    return _rows(frame.id, raw, _trades_message.decode(frame.contents).trades, envelope, reader)


def _rows(
    market: str,
    raw: bytes,
    trades: Sequence[msgspec.Raw],
    envelope: Callable[[msgspec.Raw], bytes],
    reader: Reader,
) -> ParsedMessage:
    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        if _type_only.decode(element).type != "LIQUIDATED":
            return []
        trade = _trade_message.decode(element)
        return [
            reader.build_row(
                VenueLiquidation(
                    symbol=market,
                    side=side_of(SIDES, trade.side),
                    raw_side=trade.side,
                    at_ms=_ms(trade.created_at),
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

    return reader.parse_each(reader.start_frame(raw), trades, read, envelope, complete=False)


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def subscribe(topics: Sequence[str], number: int) -> Request:
    """One request for each market and channel; the answer repeats both."""
    channel, _, market = topics[0].partition(" ")
    order: dict[str, object] = {"type": "subscribe", "channel": channel, "id": market}
    if channel == BOOK:
        order["batched"] = True
    return Request(msgspec.json.encode(order).decode(), (topics[0],))


def list_topics(contracts: Mapping[str, Contract]) -> list[str]:
    return [f"{TRADES} {symbol}" for symbol in contracts]


def parse_listing(body: bytes) -> list[Contract]:
    """The markets of a perpetualMarkets answer, priced in US dollars and settled in USDC."""
    return parse_contracts(list(_markets.decode(body).markets.values()), _parse_contract)


def _parse_contract(element: msgspec.Raw) -> Contract | None:
    entry = msgspec.json.decode(element, type=_ListedContract)
    if entry.status == "FINAL_SETTLEMENT":
        return None
    return Contract(
        symbol=entry.ticker,
        base=entry.ticker.rpartition("-")[0].partition(",")[0],
        quote="USD",
        settle="USDC",
        kind="linear",
        size=1.0,
    )


async def fetch_contracts(rest: Rest) -> list[Contract]:
    return parse_listing(await rest.get("/v4/perpetualMarkets"))


def parse_history(scope: str, body: bytes, reader: Reader) -> ParsedMessage:
    """An answer of trades, which does not name the market that was asked for."""
    return _rows(scope, body, _trades_message.decode(body).trades, lambda e: bytes(e), reader)


def list_scopes(contracts: Mapping[str, Contract]) -> list[str]:
    return list(contracts)


async def _fetch_pages(rest: Rest, scope: str, start_ms: int, end_ms: int) -> AsyncIterator[bytes]:
    end = end_ms
    while True:
        until = datetime.fromtimestamp((end - 1) / 1000, UTC).isoformat(timespec="milliseconds")
        body = await rest.get(
            f"/v4/trades/perpetualMarket/{scope}",
            limit=PAGE,
            createdBeforeOrAt=until.replace("+00:00", "Z"),
        )
        yield body
        trades = _trades_message.decode(body).trades
        if len(trades) < PAGE:
            return
        stop = next_end(trades, lambda trade: _time_only.decode(trade).created_at, start_ms, end)
        if stop is None:
            return
        end = stop


DYDX = Channel(
    source="dydx-v4",
    venue="dydx",
    market="perpetual",
    ws="wss://indexer.dydx.trade/v4/ws",
    rest="https://indexer.dydx.trade",
    eras=(
        Era(
            date(2023, 10, 26),
            "full",
            "every trade carries its type",
            cited="Indexer WebSocket, v4_trades, 2026-11-29",
        ),
    ),
    heartbeat="BTC order book",
    heartbeat_seconds=5.0,
    heartbeat_topics=(f"{BOOK} BTC-USD",),
    topics=list_topics,
    per_contract=True,
    topics_per_connection=32,
    topics_per_message=1,
    subscribe=subscribe,
    parse=parse,
    contracts=fetch_contracts,
)

register_stream(
    DYDX,
    docs="https://docs.dydx.xyz/indexer-client/websockets#trades",
    summary="Liquidations on dYdX v4: all trades of that type.",
)
register_history(
    History(
        source="dydx-v4-history",
        channel=DYDX,
        window_seconds=86_400,
        scopes=list_scopes,
        pages=_fetch_pages,
        parse=parse_history,
    ),
    docs="https://docs.dydx.xyz/indexer-client/http#get-trades",
    summary="Past liquidations on dYdX v4, from its trades.",
)
