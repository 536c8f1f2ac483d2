"""Liquidation orders on Poloniex Futures v3: at the most one per contract and second.

`side` is the order's: a sell closes a long. In hedge mode `posSide` names the position. `sz` counts
contracts, the price is the bankruptcy price. One subscription stands for all contracts. The answers
to our pings, each 10 s, are the heartbeat. They prove the socket, not the topic.

Unproven, needs a live check: that `side` is the order's, as no document states whose it is, and
which order of a second is sent. Over REST `/v3/market/liquidationOrder` exists; its answers are
documented nowhere we could read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from chainwatch.exchanges.channel import Channel, Era, Request, side_of
from chainwatch.exchanges.contracts import Contract, contract_size, parse_contracts
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

SIDES = {"SELL": "long", "BUY": "short"}
POSITIONS = {"LONG": "long", "SHORT": "short"}
KINDS = {"LINEAR": "linear", "INVERSE": "inverse"}
TOPIC = "liquidation_orders"


class _LiquidationMessage(msgspec.Struct, rename="camel"):
    s: str
    side: str
    sz: str
    bk_px: str
    u_time: int
    pos_side: str = "BOTH"
    ts: int | None = None


class _Message(msgspec.Struct, omit_defaults=True):
    event: str = ""
    channel: str = ""
    message: str = ""
    data: list[msgspec.Raw] = []


class _ListedContract(msgspec.Struct, rename="camel"):
    symbol: str
    b_ccy: str
    q_ccy: str
    s_ccy: str
    ct_val: str
    ct_type: str


class _Listing(msgspec.Struct):
    data: list[msgspec.Raw] | None = None
    code: int | str = "200"
    msg: str = ""


_message = msgspec.json.Decoder(_Message)
_liquidation = msgspec.json.Decoder(_LiquidationMessage)
_listing = msgspec.json.Decoder(_Listing)
_contract = msgspec.json.Decoder(_ListedContract)


def parse(raw: bytes, reader: Reader) -> ParsedMessage:
    """A frame of the public socket."""
    frame = _message.decode(raw)
    match frame.event:
        case "pong":
            return HEARTBEAT
        case "subscribe":
            return ParsedMessage(acked=(frame.channel,))
        case "error":
            return ParsedMessage(acked=("",), refused=frame.message or "error")
    if frame.channel != TOPIC:
        return IGNORED

    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        order = _liquidation.decode(element)
        side = side_of(SIDES, order.side)
        if order.pos_side != "BOTH":
            side = side_of(POSITIONS, order.pos_side)
        return [
            reader.build_row(
                VenueLiquidation(
                    symbol=order.s,
                    side=side,
                    raw_side=f"{order.side}/{order.pos_side}",
                    at_ms=order.u_time,
                    sent_ms=order.ts,
                    contracts=order.sz,
                    price=order.bk_px,
                    price_kind="bankruptcy",
                    identity=(
                        order.s,
                        order.side,
                        order.pos_side,
                        f"{order.u_time}",
                        order.sz,
                        order.bk_px,
                    ),
                    raw=text,
                )
            )
        ]

    def envelope(element: msgspec.Raw) -> bytes:
        return msgspec.json.encode(_Message(channel=TOPIC, data=[element]))

    return reader.parse_each(reader.start_frame(raw), frame.data, read, envelope)


def subscribe(topics: Sequence[str], number: int) -> Request:
    """For all contracts; the answer names the channel."""
    order = {"event": "subscribe", "channel": [topics[0]], "symbols": ["all"]}
    return Request(msgspec.json.encode(order).decode(), (topics[0],))


def list_topics(contracts: Mapping[str, Contract]) -> list[str]:
    return [TOPIC]


def parse_listing(body: bytes) -> list[Contract]:
    """The contracts of an allInstruments answer, sized in coins (linear) or in quote (inverse)."""
    answer = _listing.decode(body)
    if f"{answer.code}" != "200" or answer.data is None:
        raise ValueError(f"{answer.code} {answer.msg}")
    return parse_contracts(answer.data, _parse_contract)


def _parse_contract(element: msgspec.Raw) -> Contract:
    entry = _contract.decode(element)
    if entry.ct_type not in KINDS:
        raise ValueError(f"expected ctType LINEAR or INVERSE, got {entry.ct_type!r}")
    return Contract(
        symbol=entry.symbol,
        base=entry.b_ccy,
        quote=entry.q_ccy,
        settle=entry.s_ccy,
        kind=KINDS[entry.ct_type],
        size=contract_size(entry.ct_val),
    )


async def fetch_contracts(rest: Rest) -> list[Contract]:
    return parse_listing(await rest.get("/v3/market/allInstruments"))


POLONIEX = Channel(
    source="poloniex",
    venue="poloniex",
    market="futures",
    ws="wss://ws.poloniex.com/ws/v3/public",
    rest="https://api.poloniex.com",
    eras=(
        Era(
            date(2025, 2, 12),
            "sampled",
            "at the most one order per contract and second",
            cited="Futures v3 websocket, Get Liquidation Orders, 2025-02-12",
        ),
    ),
    heartbeat="answer to a ping",
    heartbeat_seconds=10.0,
    ping='{"event":"ping"}',
    ping_seconds=10.0,
    topics=list_topics,
    topics_per_message=1,
    subscribe=subscribe,
    parse=parse,
    contracts=fetch_contracts,
)

register_stream(
    POLONIEX,
    docs="https://api-docs.poloniex.com/v3/futures/websocket/public/get-liquidation-orders",
    summary="Liquidations on Poloniex futures: one per contract and second.",
)
