"""Liquidation orders on OKX swaps and futures.

OKX sends at the most one order per contract and second, and states that this is not the total. A
frame holds several contracts with several orders each. In net mode `posSide` is "net" and the
order's side decides: a sell closes a long. The price is the bankruptcy price. The first frame after
subscribing repeats old orders, which the key recognises.

Unproven, needs a live check: how far back REST goes, whether it is sampled like the socket, and
whether its numbers are written the same, which is what makes both one row.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from chainwatch.exchanges.backfill import History, next_end, readable
from chainwatch.exchanges.channel import Channel, Era, Request, side_of
from chainwatch.exchanges.contracts import READ_ERRORS, Contract, contract_size, parse_contracts
from chainwatch.exchanges.feeds import register_history, register_stream
from chainwatch.exchanges.reader import (
    HEARTBEAT,
    IGNORED,
    ParsedMessage,
    Reader,
    VenueLiquidation,
    reason_of,
)
from chainwatch.tables.exchange import ExchangeLiquidation

if TYPE_CHECKING:
    from chainwatch.net.http import Rest

POSITIONS = {"long": "long", "short": "short"}
ORDERS = {"sell": "long", "buy": "short"}
KINDS = ("SWAP", "FUTURES")
CHANNEL = "liquidation-orders"
MARK_PRICE = "mark-price"
LEAD = b'{"arg":{"channel":"liquidation-orders",'
PAGE = 100


class _Detail(msgspec.Struct, rename="camel"):
    side: str
    sz: str
    bk_px: str
    ts: str
    pos_side: str = ""


class _Group(msgspec.Struct, rename="camel"):
    inst_id: str
    details: list[msgspec.Raw]
    inst_type: str = ""
    uly: str = ""


class _TopicArg(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    channel: str = ""
    inst_type: str = ""
    inst_id: str = ""


class _Details(msgspec.Struct):
    details: list[msgspec.Raw]


class _TimeOnly(msgspec.Struct):
    ts: str | int


class _Message(msgspec.Struct, omit_defaults=True):
    arg: _TopicArg = _TopicArg()
    data: list[msgspec.Raw] = []
    event: str = ""
    code: str = ""
    msg: str = ""


class _FullGroup(msgspec.Struct, rename="camel"):
    inst_id: str
    details: list[_Detail]
    inst_type: str = ""


class _OrdersMessage(msgspec.Struct):
    data: list[_FullGroup]


class _ListedContract(msgspec.Struct, rename="camel"):
    inst_id: str
    inst_type: str
    uly: str = ""
    inst_family: str = ""
    settle_ccy: str = ""
    ct_val: str | float | None = ""
    ct_mult: str | float | None = ""
    ct_type: str = ""
    ct_val_ccy: str = ""


class _RestAnswer(msgspec.Struct):
    code: str
    msg: str = ""
    data: list[msgspec.Raw] = []


_message = msgspec.json.Decoder(_Message)
_orders_message = msgspec.json.Decoder(_OrdersMessage)
_group = msgspec.json.Decoder(_Group)
_detail = msgspec.json.Decoder(_Detail)
_details_of = msgspec.json.Decoder(_Details)
_time_only = msgspec.json.Decoder(_TimeOnly)
_rest_answer = msgspec.json.Decoder(_RestAnswer)


def parse(raw: bytes, reader: Reader) -> ParsedMessage:
    """A frame of the public socket."""
    if raw == b"pong":
        return IGNORED
    if raw.startswith(LEAD):
        # Most frames hold one order: read at once, unless something does not fit.
        try:
            groups = _orders_message.decode(raw).data
        except msgspec.DecodeError:
            groups = []
        if len(groups) == 1 and len(groups[0].details) == 1:
            return reader.parse_one(raw, order, groups[0], groups[0].details[0])
    frame = _message.decode(raw)
    if frame.event == "subscribe":
        return ParsedMessage(acked=(_topic(frame.arg),))
    if frame.event == "error":
        return ParsedMessage(acked=("",), refused=f"{frame.code} {frame.msg}")
    if frame.event:
        return IGNORED
    if frame.arg.channel == CHANNEL:
        return orders(raw, frame, reader)
    return HEARTBEAT if frame.arg.channel == MARK_PRICE else IGNORED


def orders(raw: bytes, frame: _Message, reader: Reader) -> ParsedMessage:
    """Every detail of every contract in a frame of liquidation orders."""
    rows: list[ExchangeLiquidation] = []
    rejects: list[tuple[str, str]] = []
    text = reader.start_frame(raw)
    for data in frame.data:
        try:
            parsed = _details(text, frame, _group.decode(data), reader)
        except READ_ERRORS as failure:
            rejects.append((bytes(data).decode("utf-8", "replace"), reason_of(failure)))
        else:
            rows += parsed.rows
            rejects += parsed.rejects
    return ParsedMessage(rows, rejects)


def _details(text: str, frame: _Message, group: _Group, reader: Reader) -> ParsedMessage:
    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        return [order(group, _detail.decode(element), reader, text)]

    def envelope(element: msgspec.Raw) -> bytes:
        alone = msgspec.json.encode(msgspec.structs.replace(group, details=[element]))
        return msgspec.json.encode(msgspec.structs.replace(frame, data=[msgspec.Raw(alone)]))

    return reader.parse_each(text, group.details, read, envelope, complete=len(frame.data) == 1)


def order(
    group: _Group | _FullGroup, detail: _Detail, reader: Reader, text: str
) -> ExchangeLiquidation:
    """One liquidation order as a row."""
    net = detail.pos_side in ("", "net")
    return reader.build_row(
        VenueLiquidation(
            symbol=group.inst_id,
            market=group.inst_type.lower(),
            side=side_of(ORDERS, detail.side) if net else side_of(POSITIONS, detail.pos_side),
            raw_side=f"{detail.pos_side}/{detail.side}",
            at_ms=detail.ts,
            contracts=detail.sz,
            price=detail.bk_px,
            price_kind="bankruptcy",
            identity=(
                group.inst_id,
                detail.pos_side,
                detail.side,
                detail.ts,
                detail.sz,
                detail.bk_px,
            ),
            raw=text,
        )
    )


def _topic(arg: _TopicArg) -> str:
    return f"{arg.channel} {arg.inst_type or arg.inst_id}"


def subscribe(topics: Sequence[str], number: int) -> Request:
    """Each argument is acknowledged by itself, and repeated in that."""
    args = []
    for topic in topics:
        channel, _, what = topic.partition(" ")
        args.append({"channel": channel, "instType" if what in KINDS else "instId": what})
    text = msgspec.json.encode({"op": "subscribe", "args": args})
    return Request(text.decode(), tuple(topics))


def list_topics(contracts: Mapping[str, Contract]) -> list[str]:
    return [f"{CHANNEL} {kind}" for kind in KINDS]


def parse_listing(body: bytes) -> list[Contract]:
    """The contracts of an answer of public/instruments."""
    answer = _rest_answer.decode(body)
    if answer.code != "0":
        raise ValueError(f"{answer.code} {answer.msg}")
    return parse_contracts(answer.data, _parse_contract)


def _parse_contract(element: msgspec.Raw) -> Contract:
    entry = msgspec.json.decode(element, type=_ListedContract)
    base, _, quote = entry.uly.partition("-")
    size, times = (
        contract_size(entry.ct_val),
        contract_size("1" if entry.ct_mult == "" else entry.ct_mult),
    )
    return Contract(
        symbol=entry.inst_id,
        base=base,
        quote=quote,
        settle=entry.settle_ccy,
        kind=entry.ct_type or "unknown",
        size=None if size is None or times is None else contract_size(size * times),
        market=entry.inst_type.lower(),
        family=entry.inst_family or entry.uly,
    )


async def fetch_contracts(rest: Rest) -> list[Contract]:
    contracts = []
    for kind in KINDS:
        contracts += parse_listing(await rest.get("/api/v5/public/instruments", instType=kind))
    return contracts


def parse_history(scope: str, body: bytes, reader: Reader) -> ParsedMessage:
    """An answer of public/liquidation-orders, written like a frame."""
    answer = _rest_answer.decode(body)
    if answer.code != "0":
        raise ValueError(f"{answer.code} {answer.msg}")
    arg = _TopicArg(channel=CHANNEL, inst_type=scope.partition(" ")[0])
    return orders(body, _Message(arg=arg, data=answer.data), reader)


def list_scopes(contracts: Mapping[str, Contract]) -> list[str]:
    """What REST is asked for, such as "SWAP BTC-USDT"; several families share an underlying."""
    return list(dict.fromkeys(f"{c.market.upper()} {c.family}" for c in contracts.values()))


async def _fetch_pages(rest: Rest, scope: str, start_ms: int, end_ms: int) -> AsyncIterator[bytes]:
    kind, _, family = scope.partition(" ")
    end = end_ms
    while True:
        body = await rest.get(
            "/api/v5/public/liquidation-orders",
            instType=kind,
            instFamily=family,
            state="filled",
            limit=PAGE,
            after=end,
        )
        yield body
        groups = readable(_rest_answer.decode(body).data, _details_of.decode)
        details = [detail for group in groups for detail in group.details]
        if len(details) < PAGE:
            return
        stop = next_end(details, lambda detail: _time_only.decode(detail).ts, start_ms, end)
        if stop is None:
            return
        end = stop


OKX = Channel(
    source="okx",
    venue="okx",
    market="swap",
    ws="wss://ws.okx.com:443/ws/v5/public",
    rest="https://www.okx.com",
    eras=(
        Era(
            date(2021, 1, 1),
            "sampled",
            "at the most one order per contract and second",
            cited="API v5, WebSocket, Liquidation orders channel, 2026-11-29",
        ),
    ),
    heartbeat="mark price",
    # Pushed every 0.2 s when it changes, every 10 s when not.
    heartbeat_seconds=10.0,
    heartbeat_topics=(f"{MARK_PRICE} BTC-USDT-SWAP",),
    max_quiet_seconds=1_800.0,
    # The venue closes the socket after 30 s without a message.
    ping="ping",
    ping_seconds=20.0,
    topics=list_topics,
    subscribe=subscribe,
    parse=parse,
    contracts=fetch_contracts,
)

register_stream(
    OKX,
    docs="https://www.okx.com/docs-v5/en/#public-data-websocket-liquidation-orders-channel",
    summary="Liquidations on OKX swaps and futures: at the most one order per contract and second.",
)
register_history(
    History(
        source="okx-history",
        channel=OKX,
        window_seconds=86_400,
        scopes=list_scopes,
        pages=_fetch_pages,
        parse=parse_history,
    ),
    docs="https://www.okx.com/docs-v5/en/#public-data-rest-api-get-liquidation-orders",
    summary="Past liquidation orders on OKX, over REST.",
)
