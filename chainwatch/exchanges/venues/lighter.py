"""Liquidations on Lighter: trades of the type liquidation, as the trade channel sends them.

The liquidated account is the taker: the venue sends IOC orders on its behalf. So a trade whose
maker asks (`is_maker_ask`) closes a short, any other a long. Sizes are coins, and the price is the
trade's. Markets go by number; the list names them. A symbol here is both, as in BTC:1. Captures
have forced trades in `liquidation_trades`, beside `trades`; documents name one list. Both are read.
A subscription is answered with recent trades, which their number recognises. Trades of the type
deleverage close a position against a winning one: their kind is `adl`, which no sum counts.

Captures state times in milliseconds; the documents' example has seconds. Both are read. There is
one channel per market, 500 on a socket, and 200 messages a minute from one address at the most.
Nothing sent for 120 s ends the socket.

Unproven, needs a live check: whose position a deleverage names; that takeovers by the insurance
pool are in the channel; the pause between block heights, which are the heartbeat. A history of all
accounts is not documented.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from chainwatch.exchanges.channel import Channel, Era, Request
from chainwatch.exchanges.contracts import Contract, parse_contracts
from chainwatch.exchanges.feeds import register_stream
from chainwatch.exchanges.reader import (
    HEARTBEAT,
    IGNORED,
    ParsedMessage,
    Reader,
    VenueLiquidation,
)
from chainwatch.tables.exchange import ExchangeLiquidation

if TYPE_CHECKING:
    from chainwatch.net.http import Rest

KINDS = {"liquidation": "fill", "deleverage": "adl"}
HEIGHT = "height"
PING = '{"type":"ping"}'
PONG = '{"type":"pong"}'
ALREADY_SUBSCRIBED = 30_003
# No time of this venue in milliseconds is below it, and none in seconds above.
LEAST_MS = 100_000_000_000

_CHANNEL = re.compile(r"\b(trade)[/:](\d+)|\b(height)\b")


class _TypeOnly(msgspec.Struct):
    type: str = ""


class _TradeMessage(msgspec.Struct):
    trade_id: int
    type: str
    market_id: int
    size: str
    price: str
    is_maker_ask: bool
    timestamp: int


class _ErrorMessage(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Message(msgspec.Struct, omit_defaults=True):
    type: str = ""
    channel: str = ""
    trades: list[msgspec.Raw] | None = None
    liquidation_trades: list[msgspec.Raw] | None = None
    error: _ErrorMessage | None = None


class _ListedContract(msgspec.Struct):
    symbol: str
    market_id: int
    market_type: str = "perp"


class _Listing(msgspec.Struct):
    order_book_details: list[msgspec.Raw]
    code: int = 200
    message: str = ""


_message = msgspec.json.Decoder(_Message)
_type_only = msgspec.json.Decoder(_TypeOnly)
_trade_message = msgspec.json.Decoder(_TradeMessage)
_listing = msgspec.json.Decoder(_Listing)
_contract = msgspec.json.Decoder(_ListedContract)


def parse(raw: bytes, reader: Reader) -> ParsedMessage:
    """A frame of the public socket."""
    frame = _message.decode(raw)
    if frame.error is not None:
        return _refusal(frame.error)
    kind, _, channel = frame.type.partition("/")
    match kind, channel:
        case "ping", _:
            return ParsedMessage(reply=PONG)
        case "subscribed", "trade":
            return msgspec.structs.replace(_trades(raw, frame, reader), acked=(frame.channel,))
        case "subscribed", _:
            return ParsedMessage(acked=(frame.channel,))
        case "update", "trade":
            return _trades(raw, frame, reader)
        case "update", "height":
            return HEARTBEAT
    return IGNORED


def _refusal(error: _ErrorMessage) -> ParsedMessage:
    """An error names no request, and its channel in its text only: `Already Subscribed to : …`."""
    about = _CHANNEL.search(error.message)
    token = ""
    if about is not None:
        token = about[3] or f"{about[1]}:{about[2]}"
    if error.code == ALREADY_SUBSCRIBED:
        return ParsedMessage(acked=(token,))
    return ParsedMessage(acked=(token,), refused=f"{error.code} {error.message}")


def _trades(raw: bytes, frame: _Message, reader: Reader) -> ParsedMessage:
    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        kind = KINDS.get(_type_only.decode(element).type)
        if kind is None:
            return []
        trade = _trade_message.decode(element)
        ms = trade.timestamp if trade.timestamp >= LEAST_MS else trade.timestamp * 1_000
        return [
            reader.build_row(
                VenueLiquidation(
                    symbol=_symbol(trade.market_id, reader),
                    side="short" if trade.is_maker_ask else "long",
                    raw_side=f"{trade.type}, taker {'buys' if trade.is_maker_ask else 'sells'}",
                    at_ms=ms,
                    base=trade.size,
                    price=trade.price,
                    price_kind="trade",
                    kind=kind,
                    event=f"{trade.trade_id}",
                    quote_currency="USDC",
                    raw=text,
                )
            )
        ]

    def envelope(element: msgspec.Raw) -> bytes:
        alone = _Message(type="update/trade", channel=frame.channel, liquidation_trades=[element])
        return msgspec.json.encode(alone)

    elements = [*(frame.trades or ()), *(frame.liquidation_trades or ())]
    return reader.parse_each(reader.start_frame(raw), elements, read, envelope)


def _symbol(number: int, reader: Reader) -> str:
    """The listed name of a market; its number alone where the list does not have it."""
    ending = f":{number}"
    for symbol in reader.contracts:
        if symbol.endswith(ending):
            return symbol
    return f"{number}"


def subscribe(topics: Sequence[str], number: int) -> Request:
    """One request for each channel; the answer names it with a colon."""
    order = {"type": "subscribe", "channel": topics[0]}
    token = topics[0].replace("/", ":")
    return Request(msgspec.json.encode(order).decode(), (token,))


def list_topics(contracts: Mapping[str, Contract]) -> list[str]:
    return [f"trade/{symbol.rpartition(':')[2]}" for symbol in contracts]


def parse_listing(body: bytes) -> list[Contract]:
    """The perpetual markets of an orderBookDetails answer, settled in USDC."""
    answer = _listing.decode(body)
    if answer.code != 200:
        raise ValueError(f"{answer.code} {answer.message}")
    return parse_contracts(answer.order_book_details, _parse_contract)


def _parse_contract(element: msgspec.Raw) -> Contract | None:
    entry = _contract.decode(element)
    if entry.market_type != "perp":
        return None
    return Contract(
        symbol=f"{entry.symbol}:{entry.market_id}",
        base=entry.symbol,
        quote="USDC",
        settle="USDC",
        kind="linear",
        size=1.0,
    )


async def fetch_contracts(rest: Rest) -> list[Contract]:
    return parse_listing(await rest.get("/api/v1/orderBookDetails"))


LIGHTER = Channel(
    source="lighter",
    venue="lighter",
    market="perpetual",
    ws="wss://mainnet.zklighter.elliot.ai/stream?readonly=true",
    rest="https://mainnet.zklighter.elliot.ai",
    eras=(
        Era(
            date(2026, 4, 20),
            "full",
            "every trade carries its type",
            cited="Websocket reference, trade/{market}, 2026-09-24",
        ),
    ),
    heartbeat="block height",
    heartbeat_seconds=10.0,
    heartbeat_topics=(HEIGHT,),
    ping=PING,
    ping_seconds=50.0,
    topics=list_topics,
    per_contract=True,
    topics_per_connection=450,
    topics_per_message=1,
    messages_per_second=3.0,
    subscribe=subscribe,
    parse=parse,
    contracts=fetch_contracts,
)

register_stream(
    LIGHTER,
    docs="https://apidocs.lighter.xyz/docs/websocket-reference",
    summary="Liquidations on Lighter: all trades of that type.",
)
