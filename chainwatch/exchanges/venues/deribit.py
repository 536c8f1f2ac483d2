"""Liquidations on Deribit futures: trades that carry a mark saying whose position was liquidated.

`liquidation` is T (the taker's), M (the maker's) or MT (both); `direction` is the taker's. So a
sell with T liquidates a long, and with M a short; MT is two liquidations, one of each side.
Amounts are US dollars for inverse and coins for linear contracts.

Unproven, needs a live check: that `any` stands for all currencies in a channel without credentials.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from chainwatch.exchanges.backfill import History, next_start
from chainwatch.exchanges.channel import Channel, Era, Request
from chainwatch.exchanges.contracts import Contract, parse_contracts
from chainwatch.exchanges.feeds import register_history, register_stream
from chainwatch.exchanges.reader import HEARTBEAT, IGNORED, ParsedMessage, Reader, VenueLiquidation
from chainwatch.tables.exchange import ExchangeLiquidation

if TYPE_CHECKING:
    from chainwatch.net.http import Rest

_Read = Callable[[msgspec.Raw, str], Sequence[ExchangeLiquidation]]

CURRENCIES = ("BTC", "ETH", "USDC", "USDT")
PAGE = 1_000


class _TradeMessage(msgspec.Struct):
    trade_id: str
    timestamp: int
    price: float
    direction: str
    instrument_name: str
    amount: float
    liquidation: str = ""


class _TimeOnly(msgspec.Struct):
    timestamp: int


class _Params(msgspec.Struct, omit_defaults=True):
    channel: str = ""
    type: str = ""
    data: msgspec.Raw = msgspec.Raw()


class _ErrorMessage(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Message(msgspec.Struct, omit_defaults=True):
    id: int | None = None
    method: str = ""
    params: _Params | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: _ErrorMessage | None = None


class _ListedContract(msgspec.Struct):
    instrument_name: str
    base_currency: str
    quote_currency: str
    settlement_currency: str = ""
    instrument_type: str = ""
    future_type: str = ""


class _TradesMessage(msgspec.Struct):
    trades: list[msgspec.Raw]
    has_more: bool = False


_message = msgspec.json.Decoder(_Message)
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_trade_message = msgspec.json.Decoder(_TradeMessage)
_time_only = msgspec.json.Decoder(_TimeOnly)
_names = msgspec.json.Decoder(list[str])
_trades_message = msgspec.json.Decoder(_TradesMessage)
TEST = '{"jsonrpc":"2.0","id":0,"method":"public/test","params":{}}'
SET_HEARTBEAT = '{"jsonrpc":"2.0","id":0,"method":"public/set_heartbeat","params":{"interval":10}}'


def parse(raw: bytes, reader: Reader) -> ParsedMessage:
    """A frame of the JSON-RPC socket."""
    frame = _message.decode(raw)
    params = frame.params
    if frame.method == "heartbeat" and params is not None:
        return ParsedMessage(reply=TEST if params.type == "test_request" else "")
    if frame.method == "subscription" and params is not None:
        if params.channel.startswith("deribit_price_index."):
            return HEARTBEAT
        if not params.channel.startswith("trades."):
            return IGNORED

        def envelope(element: msgspec.Raw) -> bytes:
            alone = msgspec.structs.replace(params, data=msgspec.Raw(b"[" + bytes(element) + b"]"))
            return msgspec.json.encode(msgspec.structs.replace(frame, params=alone))

        return reader.parse_each(
            reader.start_frame(raw), _elements.decode(params.data), _reading(reader), envelope
        )
    if frame.error is not None:
        return ParsedMessage(acked=("",), refused=f"{frame.error.code} {frame.error.message}")
    if bytes(frame.result).startswith(b"["):
        # The answer leaves out channels that do not exist, and does not say so.
        return ParsedMessage(acked=tuple(_names.decode(frame.result)))
    return IGNORED


def _reading(reader: Reader) -> _Read:
    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        trade = _trade_message.decode(element)
        if not trade.liquidation:
            return []
        if trade.direction not in ("buy", "sell"):
            raise ValueError(f"expected direction buy or sell, got {trade.direction!r}")
        if not set(trade.liquidation) <= {"M", "T"}:
            raise ValueError(f"expected liquidation M, T or MT, got {trade.liquidation!r}")
        taker = "long" if trade.direction == "sell" else "short"
        maker = "short" if taker == "long" else "long"
        contract = reader.contracts.get(trade.instrument_name)
        # Without the list: linear contracts have their quote in the name, BTC_USDC-PERPETUAL.
        linear = contract.kind == "linear" if contract else "_" in trade.instrument_name
        return [
            reader.build_row(
                VenueLiquidation(
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


def list_topics(contracts: Mapping[str, Contract]) -> list[str]:
    return ["trades.future.any.100ms"]


def parse_listing(body: bytes) -> list[Contract]:
    """The contracts of a get_instruments answer; sizes here are in coins or dollars already."""
    return parse_contracts(_elements.decode(_message.decode(body).result), _parse_contract)


def _parse_contract(element: msgspec.Raw) -> Contract:
    entry = msgspec.json.decode(element, type=_ListedContract)
    linear = (entry.instrument_type or entry.future_type) == "linear"
    return Contract(
        symbol=entry.instrument_name,
        base=entry.base_currency,
        quote=entry.quote_currency,
        settle=entry.settlement_currency,
        kind="linear" if linear else "inverse",
        size=1.0,
    )


async def fetch_contracts(rest: Rest) -> list[Contract]:
    path = "/api/v2/public/get_instruments"
    return parse_listing(await rest.get(path, currency="any", kind="future"))


def parse_history(scope: str, body: bytes, reader: Reader) -> ParsedMessage:
    """An answer of get_last_trades_by_currency_and_time."""
    answer = _message.decode(body)
    if answer.error is not None:
        raise ValueError(f"{answer.error.code} {answer.error.message}")
    trades = _trades_message.decode(answer.result).trades
    return reader.parse_each(
        reader.start_frame(body), trades, _reading(reader), lambda e: bytes(e), complete=False
    )


def list_scopes(contracts: Mapping[str, Contract]) -> list[str]:
    return list(CURRENCIES)


async def _fetch_pages(rest: Rest, scope: str, start_ms: int, end_ms: int) -> AsyncIterator[bytes]:
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
        page = _trades_message.decode(_message.decode(body).result)
        if not page.has_more or not page.trades:
            return
        begin = next_start(
            page.trades, lambda trade: _time_only.decode(trade).timestamp, start, end_ms
        )
        if begin is None:
            return
        start = begin


DERIBIT = Channel(
    source="deribit",
    venue="deribit",
    market="futures",
    ws="wss://www.deribit.com/ws/api/v2",
    rest="https://www.deribit.com",
    eras=(
        Era(
            date(2020, 1, 1),
            "full",
            "every trade carries its mark",
            cited="API v2, trades.{kind}.{currency}.{interval}: liquidation, 2026-11-29",
        ),
    ),
    heartbeat="BTC index",
    heartbeat_seconds=3.0,
    heartbeat_topics=("deribit_price_index.btc_usd",),
    greeting=(SET_HEARTBEAT,),
    topics=list_topics,
    subscribe=subscribe,
    parse=parse,
    contracts=fetch_contracts,
)

register_stream(
    DERIBIT,
    docs="https://docs.deribit.com/#trades-kind-currency-interval",
    summary="Liquidations on Deribit futures: all trades that liquidate, of takers and of makers.",
)
register_history(
    History(
        source="deribit-history",
        channel=DERIBIT,
        window_seconds=3_600,
        scopes=list_scopes,
        pages=_fetch_pages,
        parse=parse_history,
    ),
    docs="https://docs.deribit.com/#public-get_last_trades_by_currency_and_time",
    summary="Past liquidations on Deribit futures, from its trades.",
)
