"""Liquidation orders on OKX swaps and futures.

At the most one order per contract and second is sent; OKX says that this is not the total. A frame
holds several contracts with several orders each. In net mode `posSide` is "net" and the order's
side tells: a sell closes a long. The price is the bankruptcy price. The first frame after
subscribing repeats old orders, which the key recognises.

Unproven, needs a live check: how far back REST goes, whether it is sampled like the socket, and
whether its numbers are written the same, which is what makes both one row.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from chainwatch.exchanges.backfill import History, earlier, read_some
from chainwatch.exchanges.channel import Channel, Request, pick
from chainwatch.exchanges.contracts import READ_ERRORS, Contract, contract_size, contracts_of
from chainwatch.exchanges.feeds import history, stream
from chainwatch.exchanges.reader import CANARY, NOTHING, Reader, Seen, reason_of
from chainwatch.net.http import Rest
from chainwatch.tables.exchange import ExchangeLiquidation

POSITIONS = {"long": "long", "short": "short"}
ORDERS = {"sell": "long", "buy": "short"}
KINDS = ("SWAP", "FUTURES")
CHANNEL = "liquidation-orders"
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


class _Arg(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    channel: str = ""
    inst_type: str = ""
    inst_id: str = ""


class _Details(msgspec.Struct):
    details: list[msgspec.Raw]


class _Time(msgspec.Struct):
    ts: str | int


class _Frame(msgspec.Struct, omit_defaults=True):
    arg: _Arg = _Arg()
    data: list[msgspec.Raw] = []
    event: str = ""
    code: str = ""
    msg: str = ""


class _Whole(msgspec.Struct, rename="camel"):
    inst_id: str
    details: list[_Detail]
    inst_type: str = ""


class _Orders(msgspec.Struct):
    data: list[_Whole]


class _Listed(msgspec.Struct, rename="camel"):
    inst_id: str
    inst_type: str
    uly: str = ""
    inst_family: str = ""
    settle_ccy: str = ""
    ct_val: str | float | None = ""
    ct_mult: str | float | None = ""
    ct_type: str = ""
    ct_val_ccy: str = ""


class _Answer(msgspec.Struct):
    code: str
    msg: str = ""
    data: list[msgspec.Raw] = []


_frame = msgspec.json.Decoder(_Frame)
_orders = msgspec.json.Decoder(_Orders)
_group = msgspec.json.Decoder(_Group)
_detail = msgspec.json.Decoder(_Detail)
_details_of = msgspec.json.Decoder(_Details)
_time = msgspec.json.Decoder(_Time)
_answer = msgspec.json.Decoder(_Answer)


def parse(raw: bytes, reader: Reader) -> Seen:
    """A frame of the public socket."""
    if raw == b"pong":
        return NOTHING
    if raw.startswith(LEAD):
        # Most frames hold one order: read at once, unless something does not fit.
        try:
            groups = _orders.decode(raw).data
        except msgspec.DecodeError:
            groups = []
        if len(groups) == 1 and len(groups[0].details) == 1:
            return reader.only(raw, order, groups[0], groups[0].details[0])
    frame = _frame.decode(raw)
    if frame.event == "subscribe":
        return Seen(acked=(_topic(frame.arg),))
    if frame.event == "error":
        return Seen(acked=("",), refused=f"{frame.code} {frame.msg}")
    if frame.event:
        return NOTHING
    return orders(raw, frame, reader) if frame.arg.channel == CHANNEL else CANARY


def orders(raw: bytes, frame: _Frame, reader: Reader) -> Seen:
    """Every detail of every contract in a frame of liquidation orders."""
    rows: list[ExchangeLiquidation] = []
    rejects: list[tuple[str, str]] = []
    text = reader.begin(raw)
    for data in frame.data:
        try:
            seen = _details(text, frame, _group.decode(data), reader)
        except READ_ERRORS as failure:
            rejects.append((bytes(data).decode("utf-8", "replace"), reason_of(failure)))
        else:
            rows += seen.rows
            rejects += seen.rejects
    return Seen(rows, rejects)


def _details(text: str, frame: _Frame, group: _Group, reader: Reader) -> Seen:
    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        return [order(group, _detail.decode(element), reader, text)]

    def envelope(element: msgspec.Raw) -> bytes:
        alone = msgspec.json.encode(msgspec.structs.replace(group, details=[element]))
        return msgspec.json.encode(msgspec.structs.replace(frame, data=[msgspec.Raw(alone)]))

    return reader.each(text, group.details, read, envelope, whole=len(frame.data) == 1)


def order(
    group: _Group | _Whole, detail: _Detail, reader: Reader, text: str
) -> ExchangeLiquidation:
    """One liquidation order as a row."""
    net = detail.pos_side in ("", "net")
    return reader.row(
        symbol=group.inst_id,
        market=group.inst_type.lower(),
        side=pick(ORDERS, detail.side) if net else pick(POSITIONS, detail.pos_side),
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


def _topic(arg: _Arg) -> str:
    return f"{arg.channel} {arg.inst_type or arg.inst_id}"


def subscribe(topics: Sequence[str], number: int) -> Request:
    """Each argument is acknowledged by itself, and repeated in that."""
    args = []
    for topic in topics:
        channel, _, what = topic.partition(" ")
        args.append({"channel": channel, "instType" if what in KINDS else "instId": what})
    text = msgspec.json.encode({"op": "subscribe", "args": args})
    return Request(text.decode(), tuple(topics))


def both_kinds(contracts: Mapping[str, Contract]) -> list[str]:
    return [f"{CHANNEL} {kind}" for kind in KINDS]


def listed(body: bytes) -> list[Contract]:
    """The contracts of an answer of public/instruments."""
    answer = _answer.decode(body)
    if answer.code != "0":
        raise ValueError(f"{answer.code} {answer.msg}")
    return contracts_of(answer.data, _contract)


def _contract(element: msgspec.Raw) -> Contract:
    one = msgspec.json.decode(element, type=_Listed)
    base, _, quote = one.uly.partition("-")
    size, times = (
        contract_size(one.ct_val),
        contract_size("1" if one.ct_mult == "" else one.ct_mult),
    )
    return Contract(
        symbol=one.inst_id,
        base=base,
        quote=quote,
        settle=one.settle_ccy,
        kind=one.ct_type or "unknown",
        size=None if size is None or times is None else contract_size(size * times),
        market=one.inst_type.lower(),
        family=one.inst_family or one.uly,
    )


async def contracts(rest: Rest) -> list[Contract]:
    found = []
    for kind in KINDS:
        found += listed(await rest.get("/api/v5/public/instruments", instType=kind))
    return found


def parse_history(scope: str, body: bytes, reader: Reader) -> Seen:
    """An answer of public/liquidation-orders, written like a frame."""
    answer = _answer.decode(body)
    if answer.code != "0":
        raise ValueError(f"{answer.code} {answer.msg}")
    arg = _Arg(channel=CHANNEL, inst_type=scope.partition(" ")[0])
    return orders(body, _Frame(arg=arg, data=answer.data), reader)


def families(contracts: Mapping[str, Contract]) -> list[str]:
    """What REST is asked for, such as "SWAP BTC-USDT"; several families share an underlying."""
    return list(dict.fromkeys(f"{c.market.upper()} {c.family}" for c in contracts.values()))


async def _pages(rest: Rest, scope: str, start_ms: int, end_ms: int) -> AsyncIterator[bytes]:
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
        groups = read_some(_answer.decode(body).data, _details_of.decode)
        details = [detail for group in groups for detail in group.details]
        if len(details) < PAGE:
            return
        stop = earlier(details, lambda detail: _time.decode(detail).ts, start_ms, end)
        if stop is None:
            return
        end = stop


OKX = Channel(
    source="okx",
    venue="okx",
    market="swap",
    ws="wss://ws.okx.com:443/ws/v5/public",
    rest="https://www.okx.com",
    sampling="sampled: at the most one order per contract and second",
    canary="mark price",
    # Pushed every 0.2 s when it changes, every 10 s when not.
    canary_seconds=10.0,
    canary_topics=("mark-price BTC-USDT-SWAP",),
    max_quiet_seconds=1_800.0,
    # The venue leaves after 30 s without a word.
    ping="ping",
    ping_seconds=20.0,
    topics=both_kinds,
    subscribe=subscribe,
    parse=parse,
    contracts=contracts,
)

stream(
    OKX,
    docs="https://www.okx.com/docs-v5/en/#public-data-websocket-liquidation-orders-channel",
    summary="Liquidations on OKX swaps and futures: at the most one order per contract and second.",
)
history(
    History(
        source="okx-history",
        channel=OKX,
        window_seconds=86_400,
        scopes=families,
        pages=_pages,
        parse=parse_history,
    ),
    docs="https://www.okx.com/docs-v5/en/#public-data-rest-api-get-liquidation-orders",
    summary="Past liquidation orders on OKX, for when nobody listened.",
)
