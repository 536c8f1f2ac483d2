"""Liquidations on Kraken Futures: trades of the type liquidation.

`side` is the taker's order, and the taker is taken for the liquidated account: a sell closes a
long. `qty` is US dollars for inverse contracts (PI_, FI_) and coins for linear ones (PF_, FF_). A
subscription first repeats recent trades, which the key recognises.

Unproven, needs a live check: that the taker is the liquidated account, and how often the heartbeat
comes, which is the canary.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from chainwatch.exchanges.backfill import History, earlier
from chainwatch.exchanges.channel import Channel, Request, pick
from chainwatch.exchanges.contracts import Contract, contracts_of
from chainwatch.exchanges.feeds import history, stream
from chainwatch.exchanges.reader import CANARY, NOTHING, Reader, Seen, Zoned
from chainwatch.net.http import Rest
from chainwatch.tables.exchange import ExchangeLiquidation

SIDES = {"sell": "long", "buy": "short"}
HEARTBEAT = "heartbeat"
PAGE = 100


class _Trade(msgspec.Struct):
    product_id: str
    uid: str
    side: str
    time: int
    qty: float
    price: float
    type: str = ""


class _Frame(msgspec.Struct):
    feed: str = ""
    event: str = ""
    message: str = ""
    product_ids: list[str] = []
    trades: list[msgspec.Raw] = []


class _Kind(msgspec.Struct):
    type: str = ""


class _Time(msgspec.Struct):
    time: Zoned


class _Past(_Time):
    price: float
    size: float
    side: str
    uid: str


class _Listed(msgspec.Struct, rename="camel"):
    symbol: str
    type: str = ""
    tradeable: bool = False
    base: str = ""
    quote: str = ""


class _Answer(msgspec.Struct):
    result: str
    error: str = ""
    instruments: list[msgspec.Raw] = []
    history: list[msgspec.Raw] = []


_frame = msgspec.json.Decoder(_Frame)
_kind = msgspec.json.Decoder(_Kind)
_trade = msgspec.json.Decoder(_Trade)
_time = msgspec.json.Decoder(_Time)
_past = msgspec.json.Decoder(_Past)
_answer = msgspec.json.Decoder(_Answer)


def parse(raw: bytes, reader: Reader) -> Seen:
    """A frame of the public socket, version 1."""
    frame = _frame.decode(raw)
    match frame.event:
        case "subscribed":
            return Seen(acked=tuple(f"trade {p}" for p in frame.product_ids) or (frame.feed,))
        case "error" | "alert":
            named = tuple(f"trade {p}" for p in frame.product_ids)
            return Seen(acked=named or ("",), refused=frame.message)

    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        # What every trade has is read of liquidations only: most trades are none.
        if _kind.decode(element).type != "liquidation":
            return []
        one = _trade.decode(element)
        return [_row(one.product_id, one.side, one.time, one.qty, one.price, one.uid, text, reader)]

    match frame.feed:
        case "heartbeat":
            return CANARY
        case "trade":
            return reader.each(reader.begin(raw), [msgspec.Raw(raw)], read, lambda e: bytes(e))
        case "trade_snapshot":
            text = reader.begin(raw)
            return reader.each(text, frame.trades, read, lambda e: bytes(e), whole=False)
    return NOTHING


def _row(
    symbol: str,
    side: str,
    at_ms: int,
    size: float,
    price: float,
    uid: str,
    text: str,
    reader: Reader,
) -> ExchangeLiquidation:
    contract = reader.contracts.get(symbol)
    linear = contract.kind == "linear" if contract else symbol[:3] in ("PF_", "FF_")
    return reader.row(
        symbol=symbol,
        side=pick(SIDES, side),
        raw_side=side,
        at_ms=at_ms,
        base=size if linear else None,
        quote=None if linear else size,
        quote_currency="USD",
        price=price,
        price_kind="trade",
        kind="fill",
        event=uid,
        raw=text,
    )


def subscribe(topics: Sequence[str], number: int) -> Request:
    """The answer repeats the products; the heartbeat has none."""
    if topics[0] == HEARTBEAT:
        return Request('{"event":"subscribe","feed":"heartbeat"}', (HEARTBEAT,))
    products = [topic.partition(" ")[2] for topic in topics]
    order = {"event": "subscribe", "feed": "trade", "product_ids": products}
    return Request(msgspec.json.encode(order).decode(), tuple(topics))


def each_contract(contracts: Mapping[str, Contract]) -> list[str]:
    return [f"trade {symbol}" for symbol in contracts]


def listed(body: bytes) -> list[Contract]:
    """The contracts of an instruments answer: in coins (linear) or in US dollars (inverse)."""
    answer = _answer.decode(body)
    if answer.result != "success":
        raise ValueError(answer.error or answer.result)
    return contracts_of(answer.instruments, _contract)


def _contract(element: msgspec.Raw) -> Contract | None:
    one = msgspec.json.decode(element, type=_Listed)
    if not one.tradeable or one.type not in _KINDS:
        return None
    symbol = one.symbol.upper()
    kind = _KINDS[one.type]
    base = one.base or symbol.split("_")[1].removesuffix("USD")
    base = {"XBT": "BTC"}.get(base, base)
    quote = one.quote or "USD"
    return Contract(
        symbol=symbol,
        base=base,
        quote=quote,
        settle=base if kind == "inverse" else quote,
        kind=kind,
        size=1.0,
    )


_KINDS = {"futures_inverse": "inverse", "futures_vanilla": "linear", "flexible_futures": "linear"}


async def contracts(rest: Rest) -> list[Contract]:
    return listed(await rest.get("/derivatives/api/v3/instruments"))


def parse_history(scope: str, body: bytes, reader: Reader) -> Seen:
    """An answer of history, whose trades do not name the contract that was asked for."""
    answer = _answer.decode(body)
    if answer.result != "success":
        raise ValueError(answer.error or answer.result)

    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        if _kind.decode(element).type != "liquidation":
            return []
        one = _past.decode(element)
        at_ms = round(one.time.timestamp() * 1000)
        return [_row(scope, one.side, at_ms, one.size, one.price, one.uid, text, reader)]

    return reader.each(
        reader.begin(body), answer.history, read, lambda element: bytes(element), whole=False
    )


def _each_contract(contracts: Mapping[str, Contract]) -> list[str]:
    return list(contracts)


async def _pages(rest: Rest, scope: str, start_ms: int, end_ms: int) -> AsyncIterator[bytes]:
    end = end_ms
    while True:
        until = datetime.fromtimestamp(end / 1000, UTC).isoformat(timespec="milliseconds")
        body = await rest.get(
            "/derivatives/api/v3/history", symbol=scope, lastTime=until.replace("+00:00", "Z")
        )
        yield body
        trades = _answer.decode(body).history
        if len(trades) < PAGE:
            return
        stop = earlier(trades, lambda trade: _time.decode(trade).time, start_ms, end)
        if stop is None:
            return
        end = stop


KRAKEN = Channel(
    source="kraken-futures",
    venue="kraken",
    market="futures",
    ws="wss://futures.kraken.com/ws/v1",
    rest="https://futures.kraken.com",
    sampling="full: every trade carries its type",
    canary="heartbeat",
    canary_seconds=10.0,
    canary_topics=(HEARTBEAT,),
    # The venue leaves after 60 s without a ping.
    frame_ping_seconds=30.0,
    topics=each_contract,
    per_contract=True,
    topics_per_message=50,
    subscribe=subscribe,
    parse=parse,
    contracts=contracts,
)

stream(
    KRAKEN,
    docs="https://docs.kraken.com/exchange/api-reference/futures-websocket/trade",
    summary="Liquidations on Kraken Futures: all trades of that type.",
)
history(
    History(
        source="kraken-futures-history",
        channel=KRAKEN,
        window_seconds=86_400,
        scopes=_each_contract,
        pages=_pages,
        parse=parse_history,
    ),
    docs="https://docs.kraken.com/api-reference/market-data/get-trade-history",
    summary="Past liquidations on Kraken Futures, from its trades of the last 7 days.",
)
