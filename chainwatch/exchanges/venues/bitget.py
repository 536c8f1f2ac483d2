"""Liquidations on Bitget futures: USDT, USDC and coin margined.

`side` is the side of the position: buy means that a long was liquidated. `amount` is the value in
quote, not coins: in a capture of 2026-04 amount over price gives round numbers of coins.

Unproven, needs a live check: how many of its liquidations are sent, what the price is, and that
`amount` is a value for coin-margined contracts too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from chainwatch.exchanges.channel import Channel, Request, pick
from chainwatch.exchanges.contracts import Contract, contracts_of
from chainwatch.exchanges.feeds import stream
from chainwatch.exchanges.reader import CANARY, NOTHING, Reader, Seen
from chainwatch.net.http import Rest
from chainwatch.tables.exchange import ExchangeLiquidation

SIDES = {"buy": "long", "sell": "short"}
KINDS = ("usdt-futures", "usdc-futures", "coin-futures")


class _Liquidation(msgspec.Struct):
    symbol: str
    side: str
    price: str
    amount: str
    ts: str


class _Arg(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    inst_type: str = ""
    topic: str = ""
    symbol: str = ""


class _Frame(msgspec.Struct, omit_defaults=True):
    arg: _Arg = _Arg()
    action: str = ""
    event: str = ""
    code: int | str = ""
    msg: str = ""
    ts: int | str | None = None
    data: msgspec.Raw = msgspec.Raw()


class _Listed(msgspec.Struct, rename="camel"):
    symbol: str
    base_coin: str
    quote_coin: str


class _Answer(msgspec.Struct):
    code: str
    msg: str = ""
    data: list[msgspec.Raw] = []


_frame = msgspec.json.Decoder(_Frame)
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_listed = msgspec.json.Decoder(_Listed)
_liquidation = msgspec.json.Decoder(_Liquidation)


def parse(raw: bytes, reader: Reader) -> Seen:
    """A frame of the public socket, version 3."""
    if raw == b"pong":
        return NOTHING
    frame = _frame.decode(raw)
    if frame.event == "subscribe":
        return Seen(acked=(_topic(frame.arg),))
    if frame.event == "error":
        token = _topic(frame.arg) if frame.arg.topic else ""
        return Seen(acked=(token,), refused=f"{frame.code} {frame.msg}")
    if frame.arg.topic == "ticker":
        return CANARY
    if frame.arg.topic != "liquidation" or frame.event:
        return NOTHING

    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        one = _liquidation.decode(element)
        return [
            reader.row(
                symbol=one.symbol,
                market=frame.arg.inst_type.removesuffix("-futures"),
                side=pick(SIDES, one.side),
                raw_side=one.side,
                at_ms=one.ts,
                sent_ms=frame.ts,
                quote=one.amount,
                price=one.price,
                price_kind="unknown",
                identity=(one.symbol, one.side, one.ts, one.amount, one.price),
                raw=text,
            )
        ]

    def envelope(element: msgspec.Raw) -> bytes:
        alone = msgspec.Raw(b"[" + bytes(element) + b"]")
        return msgspec.json.encode(msgspec.structs.replace(frame, data=alone))

    return reader.each(reader.begin(raw), _elements.decode(frame.data), read, envelope)


def _topic(arg: _Arg) -> str:
    return " ".join(part for part in (arg.topic, arg.inst_type, arg.symbol) if part)


def subscribe(topics: Sequence[str], number: int) -> Request:
    """Each argument is acknowledged by itself, and repeated in that."""
    args = []
    for topic in topics:
        name, kind, *symbol = topic.split(" ")
        args.append({"instType": kind, "topic": name} | ({"symbol": symbol[0]} if symbol else {}))
    text = msgspec.json.encode({"op": "subscribe", "args": args})
    return Request(text.decode(), tuple(topics))


def everything(contracts: Mapping[str, Contract]) -> list[str]:
    return [f"liquidation {kind}" for kind in KINDS]


def listed(body: bytes, kind: str) -> list[Contract]:
    """The contracts of one category; sizes are in coins, of coin-margined ones in USD."""
    answer = msgspec.json.decode(body, type=_Answer)
    if answer.code != "00000":
        raise ValueError(f"{answer.code} {answer.msg}")
    linear = kind != "coin-futures"

    def read(element: msgspec.Raw) -> Contract:
        one = _listed.decode(element)
        return Contract(
            symbol=one.symbol,
            base=one.base_coin,
            quote=one.quote_coin,
            settle=one.quote_coin if linear else one.base_coin,
            kind="linear" if linear else "inverse",
            size=1.0,
            market=kind.removesuffix("-futures"),
        )

    return contracts_of(answer.data, read)


async def contracts(rest: Rest) -> list[Contract]:
    found = []
    for kind in KINDS:
        body = await rest.get("/api/v3/market/instruments", category=kind.upper())
        found += listed(body, kind)
    return found


BITGET = Channel(
    source="bitget",
    venue="bitget",
    market="usdt",
    ws="wss://ws.bitget.com/v3/ws/public",
    rest="https://api.bitget.com",
    sampling="unknown: no limit is documented",
    canary="BTC ticker",
    canary_seconds=4.0,
    canary_topics=("ticker usdt-futures BTCUSDT",),
    ping="ping",
    ping_seconds=25.0,
    topics=everything,
    topics_per_message=5,
    subscribe=subscribe,
    parse=parse,
    contracts=contracts,
)

stream(
    BITGET,
    docs="https://www.bitget.com/api-doc/uta/websocket/public/Liquidation-Channel",
    summary="Liquidations on Bitget futures; how many of them it sends is unknown.",
)
