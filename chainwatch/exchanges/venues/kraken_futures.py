"""Liquidations on Kraken Futures: trades of the type liquidation.

These are full liquidations. What is assigned to others, terminated or unwound after one has types
of its own: kept with its kind, and in no sum.

`side` is the taker's order, and the taker is taken for the liquidated account: a sell closes a
long. `qty` is US dollars for inverse contracts (PI_, FI_) and coins for linear ones (PF_, FF_). A
subscription first repeats recent trades, which the key recognises.

Unproven, needs a live check: that the taker is the liquidated account, and how often the heartbeat
comes, which is the heartbeat.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
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

SIDES = {"sell": "long", "buy": "short"}
# Types of trades that are kept, by the kind of their rows.
KINDS = {
    "liquidation": "fill",
    "assignment": "assignment",
    "termination": "termination",
    "unwind": "unwind",
}
HEARTBEAT_FEED = "heartbeat"
PAGE = 100


class _TradeMessage(msgspec.Struct):
    product_id: str
    uid: str
    side: str
    time: int
    qty: float
    price: float
    type: str = ""


class _Message(msgspec.Struct):
    feed: str = ""
    event: str = ""
    message: str = ""
    product_ids: list[str] = []
    trades: list[msgspec.Raw] = []


class _TypeOnly(msgspec.Struct):
    type: str = ""


class _TimeOnly(msgspec.Struct):
    time: Zoned


class _PastTrade(_TimeOnly):
    price: float
    size: float
    side: str
    uid: str


class _ListedContract(msgspec.Struct, rename="camel"):
    symbol: str
    type: str = ""
    tradeable: bool = False
    base: str = ""
    quote: str = ""


class _RestAnswer(msgspec.Struct):
    result: str
    error: str = ""
    instruments: list[msgspec.Raw] = []
    history: list[msgspec.Raw] = []


_message = msgspec.json.Decoder(_Message)
_type_only = msgspec.json.Decoder(_TypeOnly)
_trade_message = msgspec.json.Decoder(_TradeMessage)
_time_only = msgspec.json.Decoder(_TimeOnly)
_past_trade = msgspec.json.Decoder(_PastTrade)
_rest_answer = msgspec.json.Decoder(_RestAnswer)


def parse(raw: bytes, reader: Reader) -> ParsedMessage:
    """A frame of the public socket, version 1."""
    frame = _message.decode(raw)
    match frame.event:
        case "subscribed":
            return ParsedMessage(
                acked=tuple(f"trade {p}" for p in frame.product_ids) or (frame.feed,)
            )
        case "error" | "alert":
            named = tuple(f"trade {p}" for p in frame.product_ids)
            return ParsedMessage(acked=named or ("",), refused=frame.message)

    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        # What every trade has is read of liquidations only: most trades are none.
        if (kind := KINDS.get(_type_only.decode(element).type)) is None:
            return []
        trade = _trade_message.decode(element)
        return [
            _row(
                trade.product_id,
                trade.side,
                trade.time,
                trade.qty,
                trade.price,
                trade.uid,
                text,
                reader,
                kind,
            )
        ]

    match frame.feed:
        case "heartbeat":
            return HEARTBEAT
        case "trade":
            return reader.parse_each(
                reader.start_frame(raw), [msgspec.Raw(raw)], read, lambda e: bytes(e)
            )
        case "trade_snapshot":
            text = reader.start_frame(raw)
            return reader.parse_each(text, frame.trades, read, lambda e: bytes(e), complete=False)
    return IGNORED


def _row(
    symbol: str,
    side: str,
    at_ms: int,
    size: float,
    price: float,
    uid: str,
    text: str,
    reader: Reader,
    kind: str,
) -> ExchangeLiquidation:
    contract = reader.contracts.get(symbol)
    linear = contract.kind == "linear" if contract else symbol[:3] in ("PF_", "FF_")
    return reader.build_row(
        VenueLiquidation(
            symbol=symbol,
            side=side_of(SIDES, side),
            raw_side=side,
            at_ms=at_ms,
            base=size if linear else None,
            quote=None if linear else size,
            quote_currency="USD",
            price=price,
            price_kind="trade",
            kind=kind,
            event=uid,
            raw=text,
        )
    )


def subscribe(topics: Sequence[str], number: int) -> Request:
    """The answer repeats the products; the heartbeat has none."""
    if topics[0] == HEARTBEAT_FEED:
        return Request('{"event":"subscribe","feed":"heartbeat"}', (HEARTBEAT_FEED,))
    products = [topic.partition(" ")[2] for topic in topics]
    order = {"event": "subscribe", "feed": "trade", "product_ids": products}
    return Request(msgspec.json.encode(order).decode(), tuple(topics))


def list_topics(contracts: Mapping[str, Contract]) -> list[str]:
    return [f"trade {symbol}" for symbol in contracts]


def parse_listing(body: bytes) -> list[Contract]:
    """The contracts of an instruments answer: in coins (linear) or in US dollars (inverse)."""
    answer = _rest_answer.decode(body)
    if answer.result != "success":
        raise ValueError(answer.error or answer.result)
    return parse_contracts(answer.instruments, _parse_contract)


def _parse_contract(element: msgspec.Raw) -> Contract | None:
    entry = msgspec.json.decode(element, type=_ListedContract)
    if not entry.tradeable or entry.type not in _KINDS:
        return None
    symbol = entry.symbol.upper()
    kind = _KINDS[entry.type]
    base = entry.base or symbol.split("_")[1].removesuffix("USD")
    base = {"XBT": "BTC"}.get(base, base)
    quote = entry.quote or "USD"
    return Contract(
        symbol=symbol,
        base=base,
        quote=quote,
        settle=base if kind == "inverse" else quote,
        kind=kind,
        size=1.0,
    )


_KINDS = {"futures_inverse": "inverse", "futures_vanilla": "linear", "flexible_futures": "linear"}


async def fetch_contracts(rest: Rest) -> list[Contract]:
    return parse_listing(await rest.get("/derivatives/api/v3/instruments"))


def parse_history(scope: str, body: bytes, reader: Reader) -> ParsedMessage:
    """An answer of history, whose trades do not name the contract that was asked for."""
    answer = _rest_answer.decode(body)
    if answer.result != "success":
        raise ValueError(answer.error or answer.result)

    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        if (kind := KINDS.get(_type_only.decode(element).type)) is None:
            return []
        past = _past_trade.decode(element)
        at_ms = round(past.time.timestamp() * 1000)
        return [_row(scope, past.side, at_ms, past.size, past.price, past.uid, text, reader, kind)]

    return reader.parse_each(
        reader.start_frame(body),
        answer.history,
        read,
        lambda element: bytes(element),
        complete=False,
    )


def list_scopes(contracts: Mapping[str, Contract]) -> list[str]:
    return list(contracts)


async def _fetch_pages(rest: Rest, scope: str, start_ms: int, end_ms: int) -> AsyncIterator[bytes]:
    end = end_ms
    while True:
        until = datetime.fromtimestamp(end / 1000, UTC).isoformat(timespec="milliseconds")
        body = await rest.get(
            "/derivatives/api/v3/history", symbol=scope, lastTime=until.replace("+00:00", "Z")
        )
        yield body
        trades = _rest_answer.decode(body).history
        if len(trades) < PAGE:
            return
        stop = next_end(trades, lambda trade: _time_only.decode(trade).time, start_ms, end)
        if stop is None:
            return
        end = stop


KRAKEN = Channel(
    source="kraken-futures",
    venue="kraken",
    market="futures",
    ws="wss://futures.kraken.com/ws/v1",
    rest="https://futures.kraken.com",
    eras=(
        Era(
            date(2020, 1, 1),
            "partial",
            "trades of full liquidations; assignments, terminations and unwinds are in no sum",
            cited="Futures WebSocket, Trade: type, 2026-11-29",
        ),
    ),
    heartbeat="heartbeat",
    heartbeat_seconds=10.0,
    heartbeat_topics=(HEARTBEAT_FEED,),
    # The venue leaves after 60 s without a ping.
    frame_ping_seconds=30.0,
    topics=list_topics,
    per_contract=True,
    topics_per_message=50,
    subscribe=subscribe,
    parse=parse,
    contracts=fetch_contracts,
)

register_stream(
    KRAKEN,
    docs="https://docs.kraken.com/exchange/api-reference/futures-websocket/trade",
    summary="Liquidations on Kraken Futures: all trades of that type.",
)
register_history(
    History(
        source="kraken-futures-history",
        channel=KRAKEN,
        window_seconds=86_400,
        scopes=list_scopes,
        pages=_fetch_pages,
        parse=parse_history,
    ),
    docs="https://docs.kraken.com/api-reference/market-data/get-trade-history",
    summary="Past liquidations on Kraken Futures, from its trades of the last 7 days.",
)
