"""Liquidations on dYdX v4: trades of the type LIQUIDATED, as its indexer tells them.

`side` is the taker's, who is the liquidated subaccount: a sell closes a long. Sizes are coins. Each
market is a subscription of its own, answered with recent trades, which the key recognises; trades
of the type DELEVERAGED are no liquidations here.

Unproven, needs a live check: that 32 subscriptions of a channel fit on one socket, and how far back
its trades go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from chainwatch.exchanges.backfill import History, earlier
from chainwatch.exchanges.channel import Channel, Request, pick
from chainwatch.exchanges.contracts import Contract, contracts_of
from chainwatch.exchanges.feeds import history, stream
from chainwatch.exchanges.reader import CANARY, NOTHING, Reader, Seen, Zoned
from chainwatch.net.http import Rest
from chainwatch.tables.exchange import ExchangeLiquidation

SIDES = {"SELL": "long", "BUY": "short"}
TRADES = "v4_trades"
BOOK = "v4_orderbook"
PAGE = 1_000


class _Trade(msgspec.Struct, rename="camel"):
    id: str
    side: str
    size: str
    price: str
    created_at: Zoned


class _Kind(msgspec.Struct):
    type: str = ""


class _Time(msgspec.Struct, rename="camel"):
    created_at: Zoned


class _Trades(msgspec.Struct, omit_defaults=True):
    trades: list[msgspec.Raw] = []


class _Frame(msgspec.Struct, omit_defaults=True):
    type: str = ""
    channel: str = ""
    id: str = ""
    message: str = ""
    contents: msgspec.Raw = msgspec.Raw()


class _Listed(msgspec.Struct):
    ticker: str
    status: str = ""


class _Markets(msgspec.Struct):
    markets: dict[str, msgspec.Raw]


_frame = msgspec.json.Decoder(_Frame)
_kind = msgspec.json.Decoder(_Kind)
_trade = msgspec.json.Decoder(_Trade)
_trades = msgspec.json.Decoder(_Trades)
_time = msgspec.json.Decoder(_Time)
_markets = msgspec.json.Decoder(_Markets)


def parse(raw: bytes, reader: Reader) -> Seen:
    """A frame of the indexer's socket."""
    frame = _frame.decode(raw)
    topic = f"{frame.channel} {frame.id}"
    match frame.type, frame.channel:
        case "subscribed", "v4_trades":
            return msgspec.structs.replace(_read(raw, frame, reader), acked=(topic,))
        case "subscribed", _:
            return Seen(acked=(topic,))
        case "error", _:
            return Seen(acked=("",), refused=frame.message)
        case "channel_data", "v4_trades":
            return _read(raw, frame, reader)
        case (("channel_data" | "channel_batch_data"), "v4_orderbook"):
            return CANARY
    return NOTHING


def _read(raw: bytes, frame: _Frame, reader: Reader) -> Seen:
    def envelope(element: msgspec.Raw) -> bytes:
        alone = msgspec.json.encode(_Trades(trades=[element]))
        given = {"type": "channel_data", "channel": TRADES, "id": frame.id}
        return msgspec.json.encode({**given, "contents": msgspec.Raw(alone)})

    return _rows(frame.id, raw, _trades.decode(frame.contents).trades, envelope, reader)


def _rows(
    market: str,
    raw: bytes,
    trades: Sequence[msgspec.Raw],
    envelope: Callable[[msgspec.Raw], bytes],
    reader: Reader,
) -> Seen:
    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        if _kind.decode(element).type != "LIQUIDATED":
            return []
        one = _trade.decode(element)
        return [
            reader.row(
                symbol=market,
                side=pick(SIDES, one.side),
                raw_side=one.side,
                at_ms=_ms(one.created_at),
                base=one.size,
                price=one.price,
                price_kind="trade",
                kind="fill",
                event=one.id,
                quote_currency="USD",
                raw=text,
            )
        ]

    return reader.each(reader.begin(raw), trades, read, envelope, whole=False)


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def subscribe(topics: Sequence[str], number: int) -> Request:
    """One request for each market and channel; the answer repeats both."""
    channel, _, market = topics[0].partition(" ")
    order: dict[str, object] = {"type": "subscribe", "channel": channel, "id": market}
    if channel == BOOK:
        order["batched"] = True
    return Request(msgspec.json.encode(order).decode(), (topics[0],))


def each_market(contracts: Mapping[str, Contract]) -> list[str]:
    return [f"{TRADES} {symbol}" for symbol in contracts]


def listed(body: bytes) -> list[Contract]:
    """The markets of a perpetualMarkets answer, priced in US dollars and settled in USDC."""
    return contracts_of(list(_markets.decode(body).markets.values()), _contract)


def _contract(element: msgspec.Raw) -> Contract | None:
    one = msgspec.json.decode(element, type=_Listed)
    if one.status == "FINAL_SETTLEMENT":
        return None
    return Contract(
        symbol=one.ticker,
        base=one.ticker.rpartition("-")[0].partition(",")[0],
        quote="USD",
        settle="USDC",
        kind="linear",
        size=1.0,
    )


async def contracts(rest: Rest) -> list[Contract]:
    return listed(await rest.get("/v4/perpetualMarkets"))


def parse_history(scope: str, body: bytes, reader: Reader) -> Seen:
    """An answer of trades, which does not name the market that was asked for."""
    return _rows(scope, body, _trades.decode(body).trades, lambda e: bytes(e), reader)


def _each_market(contracts: Mapping[str, Contract]) -> list[str]:
    return list(contracts)


async def _pages(rest: Rest, scope: str, start_ms: int, end_ms: int) -> AsyncIterator[bytes]:
    end = end_ms
    while True:
        until = datetime.fromtimestamp((end - 1) / 1000, UTC).isoformat(timespec="milliseconds")
        body = await rest.get(
            f"/v4/trades/perpetualMarket/{scope}",
            limit=PAGE,
            createdBeforeOrAt=until.replace("+00:00", "Z"),
        )
        yield body
        trades = _trades.decode(body).trades
        if len(trades) < PAGE:
            return
        stop = earlier(trades, lambda trade: _time.decode(trade).created_at, start_ms, end)
        if stop is None:
            return
        end = stop


DYDX = Channel(
    source="dydx-v4",
    venue="dydx",
    market="perpetual",
    ws="wss://indexer.dydx.trade/v4/ws",
    rest="https://indexer.dydx.trade",
    sampling="full: every trade carries its type",
    canary="BTC order book",
    canary_seconds=5.0,
    canary_topics=(f"{BOOK} BTC-USD",),
    topics=each_market,
    per_contract=True,
    topics_per_connection=32,
    topics_per_message=1,
    subscribe=subscribe,
    parse=parse,
    contracts=contracts,
)

stream(
    DYDX,
    docs="https://docs.dydx.xyz/indexer-client/websockets#trades",
    summary="Liquidations on dYdX v4: all trades of that type.",
)
history(
    History(
        source="dydx-v4-history",
        channel=DYDX,
        window_seconds=86_400,
        scopes=_each_market,
        pages=_pages,
        parse=parse_history,
    ),
    docs="https://docs.dydx.xyz/indexer-client/http#get-trades",
    summary="Past liquidations on dYdX v4, from its trades.",
)
