"""Liquidations on Bitget futures: USDT, USDC and coin margined.

`side` is the side of the position: buy means that a long was liquidated. `amount` is the value in
quote, not coins: in a capture of 2026-04 amount over price gives round numbers of coins.

Its documents: once a second, the largest long and the largest short of each contract.

Unproven, needs a live check: what the price is, and that `amount` is a value for coin-margined
contracts too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from chainwatch.exchanges.channel import Channel, Era, Request, side_of
from chainwatch.exchanges.contracts import Contract, parse_contracts
from chainwatch.exchanges.feeds import register_stream
from chainwatch.exchanges.reader import HEARTBEAT, IGNORED, ParsedMessage, Reader, VenueLiquidation
from chainwatch.tables.exchange import ExchangeLiquidation

if TYPE_CHECKING:
    from chainwatch.net.http import Rest

SIDES = {"buy": "long", "sell": "short"}
PAGE = "API v3, WebSocket, Liquidation Channel, 2026-11-29"
KINDS = ("usdt-futures", "usdc-futures", "coin-futures")


class _LiquidationMessage(msgspec.Struct):
    symbol: str
    side: str
    price: str
    amount: str
    ts: str


class _TopicArg(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    inst_type: str = ""
    topic: str = ""
    symbol: str = ""


class _Message(msgspec.Struct, omit_defaults=True):
    arg: _TopicArg = _TopicArg()
    action: str = ""
    event: str = ""
    code: int | str = ""
    msg: str = ""
    ts: int | str | None = None
    data: msgspec.Raw = msgspec.Raw()


class _ListedContract(msgspec.Struct, rename="camel"):
    symbol: str
    base_coin: str
    quote_coin: str


class _RestAnswer(msgspec.Struct):
    code: str
    msg: str = ""
    data: list[msgspec.Raw] = []


_message = msgspec.json.Decoder(_Message)
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_listed_contract = msgspec.json.Decoder(_ListedContract)
_liquidation_message = msgspec.json.Decoder(_LiquidationMessage)


def parse(raw: bytes, reader: Reader) -> ParsedMessage:
    """A frame of the public socket, version 3."""
    if raw == b"pong":
        return IGNORED
    frame = _message.decode(raw)
    if frame.event == "subscribe":
        return ParsedMessage(acked=(_topic(frame.arg),))
    if frame.event == "error":
        token = _topic(frame.arg) if frame.arg.topic else ""
        return ParsedMessage(acked=(token,), refused=f"{frame.code} {frame.msg}")
    if frame.arg.topic == "ticker":
        return HEARTBEAT
    if frame.arg.topic != "liquidation" or frame.event:
        return IGNORED

    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        liquidation = _liquidation_message.decode(element)
        return [
            reader.build_row(
                VenueLiquidation(
                    symbol=liquidation.symbol,
                    market=frame.arg.inst_type.removesuffix("-futures"),
                    side=side_of(SIDES, liquidation.side),
                    raw_side=liquidation.side,
                    at_ms=liquidation.ts,
                    sent_ms=frame.ts,
                    quote=liquidation.amount,
                    price=liquidation.price,
                    price_kind="unknown",
                    identity=(
                        liquidation.symbol,
                        liquidation.side,
                        liquidation.ts,
                        liquidation.amount,
                        liquidation.price,
                    ),
                    raw=text,
                )
            )
        ]

    def envelope(element: msgspec.Raw) -> bytes:
        alone = msgspec.Raw(b"[" + bytes(element) + b"]")
        return msgspec.json.encode(msgspec.structs.replace(frame, data=alone))

    return reader.parse_each(reader.start_frame(raw), _elements.decode(frame.data), read, envelope)


def _topic(arg: _TopicArg) -> str:
    return " ".join(part for part in (arg.topic, arg.inst_type, arg.symbol) if part)


def subscribe(topics: Sequence[str], number: int) -> Request:
    """Each argument is acknowledged by itself, and repeated in that."""
    args = []
    for topic in topics:
        name, kind, *symbol = topic.split(" ")
        args.append({"instType": kind, "topic": name} | ({"symbol": symbol[0]} if symbol else {}))
    text = msgspec.json.encode({"op": "subscribe", "args": args})
    return Request(text.decode(), tuple(topics))


def list_topics(contracts: Mapping[str, Contract]) -> list[str]:
    return [f"liquidation {kind}" for kind in KINDS]


def parse_listing(body: bytes, kind: str) -> list[Contract]:
    """The contracts of one category; sizes are in coins, of coin-margined ones in USD."""
    answer = msgspec.json.decode(body, type=_RestAnswer)
    if answer.code != "00000":
        raise ValueError(f"{answer.code} {answer.msg}")
    linear = kind != "coin-futures"

    def read(element: msgspec.Raw) -> Contract:
        entry = _listed_contract.decode(element)
        return Contract(
            symbol=entry.symbol,
            base=entry.base_coin,
            quote=entry.quote_coin,
            settle=entry.quote_coin if linear else entry.base_coin,
            kind="linear" if linear else "inverse",
            size=1.0,
            market=kind.removesuffix("-futures"),
        )

    return parse_contracts(answer.data, read)


async def fetch_contracts(rest: Rest) -> list[Contract]:
    contracts = []
    for kind in KINDS:
        body = await rest.get("/api/v3/market/instruments", category=kind.upper())
        contracts += parse_listing(body, kind)
    return contracts


BITGET = Channel(
    source="bitget",
    venue="bitget",
    market="usdt",
    ws="wss://ws.bitget.com/v3/ws/public",
    rest="https://api.bitget.com",
    eras=(
        Era(date(2020, 1, 1), "unknown", "no limit is documented", cited=PAGE),
        Era(
            date(2026, 11, 29),
            "sampled",
            "the largest long and the largest short per contract and second",
            selection="largest of each side",
            cited=PAGE,
        ),
    ),
    heartbeat="BTC ticker",
    heartbeat_seconds=4.0,
    heartbeat_topics=("ticker usdt-futures BTCUSDT",),
    ping="ping",
    ping_seconds=25.0,
    topics=list_topics,
    topics_per_message=5,
    subscribe=subscribe,
    parse=parse,
    contracts=fetch_contracts,
)

register_stream(
    BITGET,
    docs="https://www.bitget.com/api-doc/uta/websocket/public/Liquidation-Channel",
    summary="Liquidations on Bitget futures; how many of them it sends is unknown.",
)
