"""Liquidation orders on Binance futures: USD-M (linear) and COIN-M (inverse).

Both send one order per contract and second at the most since 2021-04-27; before, all. Of USD-M it
is the largest (documents of 2026-05-28; earlier ones said the latest), of COIN-M the latest.
The order's side is the reverse of the position's. `z` is what was filled in all, `l` only the last
fill. The legacy route of USD-M still acknowledges subscriptions and sends nothing: only /market
carries these streams, and the mark price on the same socket tells.

Unproven, needs a live check: that one raw socket takes both streams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from chainwatch.exchanges.channel import Channel, Request, pick
from chainwatch.exchanges.contracts import Contract, contract_size, contracts_of, is_zero
from chainwatch.exchanges.feeds import stream
from chainwatch.exchanges.reader import CANARY, NOTHING, Reader, Seen
from chainwatch.net.http import Rest

SIDES = {"SELL": "long", "BUY": "short"}
LEAD = b'{"e":"forceOrder",'
LARGEST = "sampled: the largest order per contract and second"
LATEST = "sampled: the latest order per contract and second"


class _Order(msgspec.Struct):
    s: str
    S: str
    T: int
    z: str
    p: str
    ap: str = ""


class _Event(msgspec.Struct):
    e: str = ""
    E: int | None = None
    o: msgspec.Raw = msgspec.Raw()


class _Frame(_Event):
    data: _Event | None = None
    id: int | None = None
    error: msgspec.Raw = msgspec.Raw()
    code: int | None = None
    msg: str = ""


class _Alone(msgspec.Struct):
    o: _Order
    E: int | None = None


class _Listed(msgspec.Struct, rename="camel"):
    symbol: str
    base_asset: str
    quote_asset: str
    margin_asset: str
    contract_size: float | str | None = None


class _Exchange(msgspec.Struct):
    symbols: list[msgspec.Raw]


_frame = msgspec.json.Decoder(_Frame)
_alone = msgspec.json.Decoder(_Alone)
_order = msgspec.json.Decoder(_Order)
_listed = msgspec.json.Decoder(_Listed)
_exchange = msgspec.json.Decoder(_Exchange)


def parse(raw: bytes, reader: Reader) -> Seen:
    """A frame of a raw or of a combined stream."""
    if raw.startswith(LEAD):
        # Read at once, unless something does not fit.
        try:
            alone = _alone.decode(raw)
        except msgspec.DecodeError:
            pass
        else:
            return _liquidation(raw, alone.o, alone.E, reader)
    frame = _frame.decode(raw)
    event = frame.data or frame
    match event.e:
        case "forceOrder":
            return _liquidation(raw, _order.decode(event.o), event.E, reader)
        case "markPriceUpdate":
            return CANARY
    if frame.error or frame.code is not None:
        said = bytes(frame.error).decode("utf-8", "replace") or f"{frame.code} {frame.msg}"
        return Seen(acked=(f"{frame.id}",), refused=said)
    return Seen(acked=(f"{frame.id}",)) if frame.id is not None else NOTHING


def _liquidation(raw: bytes, order: _Order, sent_ms: int | None, reader: Reader) -> Seen:
    text = reader.begin(raw)
    filled = order.ap != "" and not is_zero(order.ap)
    row = reader.row(
        symbol=order.s,
        side=pick(SIDES, order.S),
        raw_side=order.S,
        at_ms=order.T,
        sent_ms=sent_ms,
        # COIN-M counts contracts, USD-M coins.
        contracts=order.z if reader.market == "coinm" else None,
        base=None if reader.market == "coinm" else order.z,
        price=order.ap if filled else order.p,
        price_kind="fill" if filled else "order",
        identity=(order.s, order.S, str(order.T), order.z, order.ap),
        raw=text,
    )
    return Seen([row])


def subscribe(topics: Sequence[str], number: int) -> Request:
    """SUBSCRIBE names streams; the answer carries the number only."""
    text = msgspec.json.encode({"method": "SUBSCRIBE", "params": list(topics), "id": number})
    return Request(text.decode(), (f"{number}",))


def everything(contracts: Mapping[str, Contract]) -> list[str]:
    """One stream carries all contracts."""
    return ["!forceOrder@arr"]


def listed(body: bytes, kind: str) -> list[Contract]:
    """The contracts of an exchangeInfo answer; COIN-M counts in contracts of some USD."""

    def read(element: msgspec.Raw) -> Contract:
        one = _listed.decode(element)
        return Contract(
            symbol=one.symbol,
            base=one.base_asset,
            quote=one.quote_asset,
            settle=one.margin_asset,
            kind=kind,
            size=contract_size(one.contract_size) if kind == "inverse" else 1.0,
        )

    return contracts_of(_exchange.decode(body).symbols, read)


async def usdm_contracts(rest: Rest) -> list[Contract]:
    return listed(await rest.get("/fapi/v1/exchangeInfo"), "linear")


async def coinm_contracts(rest: Rest) -> list[Contract]:
    return listed(await rest.get("/dapi/v1/exchangeInfo"), "inverse")


USDM = Channel(
    source="binance-usdm",
    venue="binance",
    market="usdm",
    ws="wss://fstream.binance.com/market/ws",
    rest="https://fapi.binance.com",
    sampling=LARGEST,
    canary="mark price",
    # Pushed every 3 s.
    canary_seconds=3.0,
    canary_topics=("btcusdt@markPrice",),
    max_quiet_seconds=1_800.0,
    topics=everything,
    subscribe=subscribe,
    parse=parse,
    contracts=usdm_contracts,
)

COINM = msgspec.structs.replace(
    USDM,
    source="binance-coinm",
    market="coinm",
    ws="wss://dstream.binance.com/ws",
    rest="https://dapi.binance.com",
    sampling=LATEST,
    canary_topics=("btcusd_perp@markPrice",),
    # Hours without a liquidation are usual here.
    max_quiet_seconds=None,
    contracts=coinm_contracts,
)

stream(
    USDM,
    docs="https://developers.binance.com/docs/derivatives/usds-margined-futures/"
    "websocket-market-streams/All-Market-Liquidation-Order-Streams",
    summary="Liquidations on Binance USD-M futures: the largest order per contract and second.",
)
stream(
    COINM,
    docs="https://developers.binance.com/docs/derivatives/coin-margined-futures/"
    "websocket-market-streams/All-Market-Liquidation-Order-Streams",
    summary="Liquidations on Binance COIN-M futures: the latest order per contract and second.",
)
