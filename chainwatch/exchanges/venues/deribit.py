"""Liquidations on Deribit futures: trades that carry a mark saying whose position was liquidated.

`liquidation` is T (the taker's), M (the maker's) or MT (both); `direction` is the taker's. So a
sell with T liquidates a long, and with M a short; MT is two liquidations, one of each side.
Amounts are US dollars for inverse and coins for linear contracts.

Unproven, needs a live check: that `any` stands for all currencies in a channel without credentials.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import msgspec

from chainwatch.exchanges.backfill import History, later
from chainwatch.exchanges.channel import Channel, Request
from chainwatch.exchanges.contracts import Contract, contracts_of
from chainwatch.exchanges.feeds import history, stream
from chainwatch.exchanges.reader import CANARY, NOTHING, Reader, Seen
from chainwatch.net.http import Rest
from chainwatch.tables.exchange import ExchangeLiquidation

_Read = Callable[[msgspec.Raw, str], Sequence[ExchangeLiquidation]]

CURRENCIES = ("BTC", "ETH", "USDC", "USDT")
PAGE = 1_000


class _Trade(msgspec.Struct):
    trade_id: str
    timestamp: int
    price: float
    direction: str
    instrument_name: str
    amount: float
    liquidation: str = ""


class _Time(msgspec.Struct):
    timestamp: int


class _Params(msgspec.Struct, omit_defaults=True):
    channel: str = ""
    type: str = ""
    data: msgspec.Raw = msgspec.Raw()


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Frame(msgspec.Struct, omit_defaults=True):
    id: int | None = None
    method: str = ""
    params: _Params | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: _Error | None = None


class _Listed(msgspec.Struct):
    instrument_name: str
    base_currency: str
    quote_currency: str
    settlement_currency: str = ""
    instrument_type: str = ""
    future_type: str = ""


class _Trades(msgspec.Struct):
    trades: list[msgspec.Raw]
    has_more: bool = False


_frame = msgspec.json.Decoder(_Frame)
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_trade = msgspec.json.Decoder(_Trade)
_time = msgspec.json.Decoder(_Time)
_names = msgspec.json.Decoder(list[str])
_trades = msgspec.json.Decoder(_Trades)
TEST = '{"jsonrpc":"2.0","id":0,"method":"public/test","params":{}}'
HEARTBEAT = '{"jsonrpc":"2.0","id":0,"method":"public/set_heartbeat","params":{"interval":10}}'


def parse(raw: bytes, reader: Reader) -> Seen:
    """A frame of the JSON-RPC socket."""
    frame = _frame.decode(raw)
    params = frame.params
    if frame.method == "heartbeat" and params is not None:
        return Seen(reply=TEST if params.type == "test_request" else "")
    if frame.method == "subscription" and params is not None:
        if not params.channel.startswith("trades."):
            return CANARY

        def envelope(element: msgspec.Raw) -> bytes:
            alone = msgspec.structs.replace(params, data=msgspec.Raw(b"[" + bytes(element) + b"]"))
            return msgspec.json.encode(msgspec.structs.replace(frame, params=alone))

        return reader.each(
            reader.begin(raw), _elements.decode(params.data), _reading(reader), envelope
        )
    if frame.error is not None:
        return Seen(acked=("",), refused=f"{frame.error.code} {frame.error.message}")
    if bytes(frame.result).startswith(b"["):
        # Channels that do not exist are left out of the answer without a word.
        return Seen(acked=tuple(_names.decode(frame.result)))
    return NOTHING


def _reading(reader: Reader) -> _Read:
    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        trade = _trade.decode(element)
        if not trade.liquidation:
            return []
        if trade.direction not in ("buy", "sell"):
            raise ValueError(f"direction is {trade.direction!r}")
        if not set(trade.liquidation) <= {"M", "T"}:
            raise ValueError(f"liquidation is {trade.liquidation!r}")
        taker = "long" if trade.direction == "sell" else "short"
        maker = "short" if taker == "long" else "long"
        contract = reader.contracts.get(trade.instrument_name)
        # Without the list: linear contracts have their quote in the name, BTC_USDC-PERPETUAL.
        linear = contract.kind == "linear" if contract else "_" in trade.instrument_name
        return [
            reader.row(
                symbol=trade.instrument_name,
                side=side,
                raw_side=f"{trade.liquidation}/{trade.direction}",
                at_ms=trade.timestamp,
                base=trade.amount if linear else None,
                quote=None if linear else trade.amount,
                quote_currency=None if linear else "USD",
                price=trade.price,
                price_kind="trade",
                kind="fill",
                event=f"{trade.trade_id}-{side}",
                raw=text,
            )
            for mark, side in (("T", taker), ("M", maker))
            if mark in trade.liquidation
        ]

    return read


def subscribe(topics: Sequence[str], number: int) -> Request:
    """The answer lists the channels that exist."""
    order = {
        "jsonrpc": "2.0",
        "id": number,
        "method": "public/subscribe",
        "params": {"channels": list(topics)},
    }
    return Request(msgspec.json.encode(order).decode(), tuple(topics))


def everything(contracts: Mapping[str, Contract]) -> list[str]:
    return ["trades.future.any.100ms"]


def listed(body: bytes) -> list[Contract]:
    """The contracts of a get_instruments answer; sizes here are in coins or dollars already."""
    return contracts_of(_elements.decode(_frame.decode(body).result), _contract)


def _contract(element: msgspec.Raw) -> Contract:
    one = msgspec.json.decode(element, type=_Listed)
    linear = (one.instrument_type or one.future_type) == "linear"
    return Contract(
        symbol=one.instrument_name,
        base=one.base_currency,
        quote=one.quote_currency,
        settle=one.settlement_currency,
        kind="linear" if linear else "inverse",
        size=1.0,
    )


async def contracts(rest: Rest) -> list[Contract]:
    path = "/api/v2/public/get_instruments"
    return listed(await rest.get(path, currency="any", kind="future"))


def parse_history(scope: str, body: bytes, reader: Reader) -> Seen:
    """An answer of get_last_trades_by_currency_and_time."""
    answer = _frame.decode(body)
    if answer.error is not None:
        raise ValueError(f"{answer.error.code} {answer.error.message}")
    trades = _trades.decode(answer.result).trades
    return reader.each(
        reader.begin(body), trades, _reading(reader), lambda e: bytes(e), whole=False
    )


def _currencies(contracts: Mapping[str, Contract]) -> list[str]:
    return list(CURRENCIES)


async def _pages(rest: Rest, scope: str, start_ms: int, end_ms: int) -> AsyncIterator[bytes]:
    start = start_ms
    while True:
        body = await rest.get(
            "/api/v2/public/get_last_trades_by_currency_and_time",
            currency=scope,
            kind="future",
            start_timestamp=start,
            end_timestamp=end_ms - 1,
            count=PAGE,
            sorting="asc",
        )
        yield body
        page = _trades.decode(_frame.decode(body).result)
        if not page.has_more or not page.trades:
            return
        begin = later(page.trades, lambda trade: _time.decode(trade).timestamp, start, end_ms)
        if begin is None:
            return
        start = begin


DERIBIT = Channel(
    source="deribit",
    venue="deribit",
    market="futures",
    ws="wss://www.deribit.com/ws/api/v2",
    rest="https://www.deribit.com",
    sampling="full: every trade carries its mark",
    canary="BTC index",
    canary_seconds=3.0,
    canary_topics=("deribit_price_index.btc_usd",),
    greeting=(HEARTBEAT,),
    topics=everything,
    subscribe=subscribe,
    parse=parse,
    contracts=contracts,
)

stream(
    DERIBIT,
    docs="https://docs.deribit.com/#trades-kind-currency-interval",
    summary="Liquidations on Deribit futures: all trades that liquidate, of takers and of makers.",
)
history(
    History(
        source="deribit-history",
        channel=DERIBIT,
        window_seconds=3_600,
        scopes=_currencies,
        pages=_pages,
        parse=parse_history,
    ),
    docs="https://docs.deribit.com/#public-get_last_trades_by_currency_and_time",
    summary="Past liquidations on Deribit futures, from its trades.",
)
