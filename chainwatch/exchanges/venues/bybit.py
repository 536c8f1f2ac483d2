"""Liquidations on Bybit: linear and inverse contracts.

`allLiquidation` carries every liquidation since 2025-02, in frames of many rows each 0.5 s; the
topic before it carried about one per second. `S` is the side of the *position*: Buy means that a
long was liquidated. The price is the bankruptcy price, at which nothing was traded. Inverse sizes
are US dollars already. There is no topic for all contracts: each is subscribed to by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from chainwatch.exchanges.channel import Channel, Era, Request, side_of
from chainwatch.exchanges.contracts import Contract, parse_contracts
from chainwatch.exchanges.feeds import register_stream
from chainwatch.exchanges.reader import (
    HEARTBEAT,
    IGNORED,
    MessageForm,
    ParsedMessage,
    Reader,
    VenueLiquidation,
)
from chainwatch.tables.exchange import ExchangeLiquidation

if TYPE_CHECKING:
    from chainwatch.net.http import Rest

SIDES = {"Buy": "long", "Sell": "short"}
TOPIC = "allLiquidation."
TICKERS = "tickers."
RETIRED_TOPIC = "liquidation."
SINGLE = MessageForm("topic liquidation.{symbol}", date(2021, 9, 1), date(2025, 2, 26))
FORMS = (SINGLE, MessageForm("topic allLiquidation.{symbol}", date(2025, 2, 26)))
LEAD = b'{"topic":"allLiquidation.'


class _LiquidationMessage(msgspec.Struct):
    T: int
    s: str
    S: str
    v: str
    p: str


class _RetiredMessage(msgspec.Struct, rename="camel"):
    updated_time: int
    symbol: str
    side: str
    size: str
    price: str


class _Message(msgspec.Struct, omit_defaults=True):
    topic: str = ""
    ts: int | None = None
    data: msgspec.Raw = msgspec.Raw()
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""


class _OrdersMessage(msgspec.Struct):
    data: list[_LiquidationMessage]
    ts: int | None = None


class _ListedContract(msgspec.Struct, rename="camel"):
    symbol: str
    base_coin: str
    quote_coin: str
    settle_coin: str
    contract_type: str = ""


class _ContractPage(msgspec.Struct, rename="camel"):
    entries: list[msgspec.Raw] = msgspec.field(name="list")
    next_page_cursor: str = ""


class _RestAnswer(msgspec.Struct, rename="camel"):
    ret_code: int
    ret_msg: str = ""
    result: msgspec.Raw = msgspec.Raw()


_message = msgspec.json.Decoder(_Message)
_orders_message = msgspec.json.Decoder(_OrdersMessage)
_retired = msgspec.json.Decoder(_RetiredMessage)
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_liquidation_message = msgspec.json.Decoder(_LiquidationMessage)


def parse(raw: bytes, reader: Reader) -> ParsedMessage:
    """A frame of a public linear or inverse socket."""
    if raw.startswith(LEAD):
        # Most frames hold one liquidation: read at once, unless something does not fit.
        try:
            message = _orders_message.decode(raw)
        except msgspec.DecodeError:
            message = _OrdersMessage([])
        if len(message.data) == 1:
            return reader.parse_one(raw, _order, message.data[0], message.ts)
    frame = _message.decode(raw)
    if frame.topic.startswith(TOPIC):

        def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
            return [_order(_liquidation_message.decode(element), frame.ts, reader, text)]

        def envelope(element: msgspec.Raw) -> bytes:
            alone = msgspec.Raw(b"[" + bytes(element) + b"]")
            return msgspec.json.encode(msgspec.structs.replace(frame, data=alone))

        return reader.parse_each(
            reader.start_frame(raw), _elements.decode(frame.data), read, envelope
        )
    if frame.topic.startswith(TICKERS):
        return HEARTBEAT
    if frame.topic.startswith(RETIRED_TOPIC):
        reader.require(SINGLE)
        return reader.parse_one(raw, _single, _retired.decode(frame.data), frame.ts)
    if frame.op == "subscribe":
        refused = "" if frame.success else frame.ret_msg or "no reason"
        return ParsedMessage(acked=(frame.req_id,), refused=refused)
    return IGNORED


def _single(
    liquidation: _RetiredMessage, sent_ms: int | None, reader: Reader, text: str
) -> ExchangeLiquidation:
    """A liquidation of the retired topic, which has other names for the same."""
    same = _LiquidationMessage(
        T=liquidation.updated_time,
        s=liquidation.symbol,
        S=liquidation.side,
        v=liquidation.size,
        p=liquidation.price,
    )
    return _order(same, sent_ms, reader, text)


def _order(
    liquidation: _LiquidationMessage, sent_ms: int | None, reader: Reader, text: str
) -> ExchangeLiquidation:
    inverse = reader.market == "inverse"
    return reader.build_row(
        VenueLiquidation(
            symbol=liquidation.s,
            side=side_of(SIDES, liquidation.S),
            raw_side=liquidation.S,
            at_ms=liquidation.T,
            sent_ms=sent_ms,
            base=None if inverse else liquidation.v,
            quote=liquidation.v if inverse else None,
            quote_currency="USD" if inverse else None,
            price=liquidation.p,
            price_kind="bankruptcy",
            identity=(
                liquidation.s,
                liquidation.S,
                str(liquidation.T),
                liquidation.v,
                liquidation.p,
            ),
            raw=text,
        )
    )


def subscribe(topics: Sequence[str], number: int) -> Request:
    """The answer repeats the request's id."""
    text = msgspec.json.encode({"op": "subscribe", "req_id": f"{number}", "args": list(topics)})
    return Request(text.decode(), (f"{number}",))


def list_topics(contracts: Mapping[str, Contract]) -> list[str]:
    return [f"{TOPIC}{symbol}" for symbol in contracts]


def parse_listing(body: bytes) -> tuple[list[Contract], str]:
    """The contracts on one page of instruments-info, and where the next page starts."""
    answer = msgspec.json.decode(body, type=_RestAnswer)
    if answer.ret_code != 0:
        raise ValueError(f"{answer.ret_code} {answer.ret_msg}")
    page = msgspec.json.decode(answer.result, type=_ContractPage)
    return parse_contracts(page.entries, _parse_contract), page.next_page_cursor


def _parse_contract(element: msgspec.Raw) -> Contract:
    entry = msgspec.json.decode(element, type=_ListedContract)
    return Contract(
        symbol=entry.symbol,
        base=entry.base_coin,
        quote=entry.quote_coin,
        settle=entry.settle_coin,
        kind="inverse" if entry.contract_type.startswith("Inverse") else "linear",
        # Linear sizes are coins, inverse ones dollars.
        size=1.0,
    )


async def _contracts(rest: Rest, category: str) -> list[Contract]:
    contracts: list[Contract] = []
    cursor = ""
    while True:
        body = await rest.get(
            "/v5/market/instruments-info", category=category, limit=1000, cursor=cursor or None
        )
        page, cursor = parse_listing(body)
        contracts += page
        if not cursor or not page:
            return contracts


async def fetch_linear_contracts(rest: Rest) -> list[Contract]:
    return await _contracts(rest, "linear")


async def fetch_inverse_contracts(rest: Rest) -> list[Contract]:
    return await _contracts(rest, "inverse")


ERAS = (
    Era(
        date(2021, 9, 1),
        "sampled",
        "about one order per contract and second (unproven)",
        cited="V5 API, Liquidation (retired topic), and press reports, 2026-11-29",
    ),
    Era(
        date(2025, 2, 26),
        "full",
        "every liquidation, each 0.5 s",
        cited="V5 API, WebSocket, All Liquidation, 2026-11-29",
    ),
)
LINEAR = Channel(
    source="bybit-linear",
    venue="bybit",
    market="linear",
    ws="wss://stream.bybit.com/v5/public/linear",
    rest="https://api.bybit.com",
    eras=ERAS,
    forms=FORMS,
    heartbeat="BTC ticker",
    # Pushed every 0.1 s when anything changes.
    heartbeat_seconds=4.0,
    heartbeat_topics=("tickers.BTCUSDT",),
    max_quiet_seconds=1_800.0,
    ping='{"op":"ping"}',
    topics=list_topics,
    per_contract=True,
    topics_per_message=10,
    messages_per_second=20.0,
    # "args" of one connection may have 21,000 characters.
    characters_per_connection=20_000,
    subscribe=subscribe,
    parse=parse,
    contracts=fetch_linear_contracts,
)

INVERSE = msgspec.structs.replace(
    LINEAR,
    source="bybit-inverse",
    market="inverse",
    ws="wss://stream.bybit.com/v5/public/inverse",
    heartbeat_topics=("tickers.BTCUSD",),
    max_quiet_seconds=None,
    contracts=fetch_inverse_contracts,
)

DOCS = "https://bybit-exchange.github.io/docs/v5/websocket/public/all-liquidation"
register_stream(
    LINEAR, docs=DOCS, summary="Liquidations on Bybit USDT and USDC contracts: all of them."
)
register_stream(INVERSE, docs=DOCS, summary="Liquidations on Bybit inverse contracts: all of them.")
