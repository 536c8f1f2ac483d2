"""Liquidation orders on Binance futures: USD-M (linear) and COIN-M (inverse).

Both send one order per contract and second at the most since 2021-04-27; before, all. Of USD-M it
is the largest (documents of 2026-05-28; earlier ones said the latest), of COIN-M the latest.
The order's side is the reverse of the position's. `z` is what was filled in all, `l` only the last
fill. The legacy route of USD-M still acknowledges subscriptions and sends nothing: only /market
carries these streams; the mark price on the same socket proves it. Public clients differ on whether
COIN-M is at /ws or at /market/ws: where one stays silent the other is tried, and what answers is
named.

Unproven, needs a live check: that one raw socket takes both streams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from chainwatch.exchanges.channel import Channel, Era, Request, side_of
from chainwatch.exchanges.contracts import Contract, contract_size, is_zero, parse_contracts
from chainwatch.exchanges.feeds import register_stream
from chainwatch.exchanges.reader import HEARTBEAT, IGNORED, ParsedMessage, Reader, VenueLiquidation

if TYPE_CHECKING:
    from chainwatch.net.http import Rest

SIDES = {"SELL": "long", "BUY": "short"}
LEAD = b'{"e":"forceOrder",'
CHANGE_LOG = "Derivatives, Change Log, 2021-04-27"
COINM_ERAS = (
    Era(date(2019, 9, 13), "full", "every order, at once", cited=CHANGE_LOG),
    Era(
        date(2021, 4, 27),
        "sampled",
        "the latest order per contract and second",
        selection="latest",
        cited=CHANGE_LOG,
    ),
)
USDM_ERAS = (
    *COINM_ERAS,
    Era(
        date(2026, 5, 28),
        "sampled",
        "the largest order per contract and second",
        selection="largest",
        cited="USDⓈ-M Futures, All Market Liquidation Order Streams, 2026-05-28",
    ),
)


class _Order(msgspec.Struct):
    s: str
    S: str
    T: int
    z: str
    p: str
    ap: str = ""
    X: str = ""


class _EventMessage(msgspec.Struct):
    e: str = ""
    E: int | None = None
    o: msgspec.Raw = msgspec.Raw()


class _Message(_EventMessage):
    data: _EventMessage | None = None
    id: int | None = None
    error: msgspec.Raw = msgspec.Raw()
    code: int | None = None
    msg: str = ""


class _OrderEvent(msgspec.Struct):
    o: _Order
    E: int | None = None


class _ListedContract(msgspec.Struct, rename="camel"):
    symbol: str
    base_asset: str
    quote_asset: str
    margin_asset: str
    contract_size: float | str | None = None


class _ExchangeInfo(msgspec.Struct):
    symbols: list[msgspec.Raw]


_message = msgspec.json.Decoder(_Message)
_order_event = msgspec.json.Decoder(_OrderEvent)
_order = msgspec.json.Decoder(_Order)
_listed_contract = msgspec.json.Decoder(_ListedContract)
_exchange_info = msgspec.json.Decoder(_ExchangeInfo)


def parse(raw: bytes, reader: Reader) -> ParsedMessage:
    """A frame of a raw or of a combined stream."""
    if raw.startswith(LEAD):
        # Read at once, unless something does not fit.
        try:
            alone = _order_event.decode(raw)
        except msgspec.DecodeError:
            pass
        else:
            return _liquidation(raw, alone.o, alone.E, reader)
    frame = _message.decode(raw)
    event = frame.data or frame
    match event.e:
        case "forceOrder":
            return _liquidation(raw, _order.decode(event.o), event.E, reader)
        case "markPriceUpdate":
            return HEARTBEAT
    if frame.error or frame.code is not None:
        reason = bytes(frame.error).decode("utf-8", "replace") or f"{frame.code} {frame.msg}"
        return ParsedMessage(acked=(f"{frame.id}",), refused=reason)
    return ParsedMessage(acked=(f"{frame.id}",)) if frame.id is not None else IGNORED


def _liquidation(raw: bytes, order: _Order, sent_ms: int | None, reader: Reader) -> ParsedMessage:
    text = reader.start_frame(raw)
    filled = order.ap != "" and not is_zero(order.ap)
    row = reader.build_row(
        VenueLiquidation(
            symbol=order.s,
            side=side_of(SIDES, order.S),
            raw_side=order.S,
            at_ms=order.T,
            sent_ms=sent_ms,
            # COIN-M counts contracts, USD-M coins.
            contracts=order.z if reader.market == "coinm" else None,
            base=None if reader.market == "coinm" else order.z,
            price=order.ap if filled else order.p,
            price_kind="fill" if filled else "order",
            # What was filled of an order that goes on: its last message has the whole.
            kind="partial" if order.X == "PARTIALLY_FILLED" else "order",
            identity=(order.s, order.S, str(order.T), order.z, order.ap),
            raw=text,
        )
    )
    return ParsedMessage([row])


def subscribe(topics: Sequence[str], number: int) -> Request:
    """SUBSCRIBE names streams; the answer carries the number only."""
    text = msgspec.json.encode({"method": "SUBSCRIBE", "params": list(topics), "id": number})
    return Request(text.decode(), (f"{number}",))


def list_topics(contracts: Mapping[str, Contract]) -> list[str]:
    """One stream carries all contracts."""
    return ["!forceOrder@arr"]


def parse_listing(body: bytes, kind: str) -> list[Contract]:
    """The contracts of an exchangeInfo answer; COIN-M counts in contracts of some USD."""

    def read(element: msgspec.Raw) -> Contract:
        entry = _listed_contract.decode(element)
        return Contract(
            symbol=entry.symbol,
            base=entry.base_asset,
            quote=entry.quote_asset,
            settle=entry.margin_asset,
            kind=kind,
            size=contract_size(entry.contract_size) if kind == "inverse" else 1.0,
        )

    return parse_contracts(_exchange_info.decode(body).symbols, read)


async def fetch_usdm_contracts(rest: Rest) -> list[Contract]:
    return parse_listing(await rest.get("/fapi/v1/exchangeInfo"), "linear")


async def fetch_coinm_contracts(rest: Rest) -> list[Contract]:
    return parse_listing(await rest.get("/dapi/v1/exchangeInfo"), "inverse")


USDM = Channel(
    source="binance-usdm",
    venue="binance",
    market="usdm",
    ws="wss://fstream.binance.com/market/ws",
    rest="https://fapi.binance.com",
    eras=USDM_ERAS,
    heartbeat="mark price",
    # Pushed every 3 s.
    heartbeat_seconds=3.0,
    heartbeat_topics=("btcusdt@markPrice",),
    max_quiet_seconds=1_800.0,
    topics=list_topics,
    subscribe=subscribe,
    parse=parse,
    contracts=fetch_usdm_contracts,
)

COINM = msgspec.structs.replace(
    USDM,
    source="binance-coinm",
    market="coinm",
    ws="wss://dstream.binance.com/ws",
    other_ws=("wss://dstream.binance.com/market/ws",),
    rest="https://dapi.binance.com",
    eras=COINM_ERAS,
    heartbeat_topics=("btcusd_perp@markPrice",),
    # Hours without a liquidation are usual here.
    max_quiet_seconds=None,
    contracts=fetch_coinm_contracts,
)

register_stream(
    USDM,
    docs="https://developers.binance.com/docs/derivatives/usds-margined-futures/"
    "websocket-market-streams/All-Market-Liquidation-Order-Streams",
    summary="Liquidations on Binance USD-M futures: the largest order per contract and second.",
)
register_stream(
    COINM,
    docs="https://developers.binance.com/docs/derivatives/coin-margined-futures/"
    "websocket-market-streams/All-Market-Liquidation-Order-Streams",
    summary="Liquidations on Binance COIN-M futures: the latest order per contract and second.",
)
