"""Liquidations on Bybit: linear and inverse contracts.

`allLiquidation` carries every liquidation since 2025-02, in frames of many rows each 0.5 s; the
topic before it carried about one per second. `S` is the side of the *position*: Buy means that a
long was liquidated. The price is the bankruptcy price, at which nothing was traded. Inverse sizes
are US dollars already. There is no topic for all contracts: each is subscribed to by name.
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

SIDES = {"Buy": "long", "Sell": "short"}
TOPIC = "allLiquidation."
LEAD = b'{"topic":"allLiquidation.'


class _Liquidation(msgspec.Struct):
    T: int
    s: str
    S: str
    v: str
    p: str


class _Frame(msgspec.Struct, omit_defaults=True):
    topic: str = ""
    ts: int | None = None
    data: msgspec.Raw = msgspec.Raw()
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""


class _Orders(msgspec.Struct):
    data: list[_Liquidation]
    ts: int | None = None


class _Listed(msgspec.Struct, rename="camel"):
    symbol: str
    base_coin: str
    quote_coin: str
    settle_coin: str
    contract_type: str = ""


class _Page(msgspec.Struct, rename="camel"):
    entries: list[msgspec.Raw] = msgspec.field(name="list")
    next_page_cursor: str = ""


class _Answer(msgspec.Struct, rename="camel"):
    ret_code: int
    ret_msg: str = ""
    result: msgspec.Raw = msgspec.Raw()


_frame = msgspec.json.Decoder(_Frame)
_orders = msgspec.json.Decoder(_Orders)
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_liquidation = msgspec.json.Decoder(_Liquidation)


def parse(raw: bytes, reader: Reader) -> Seen:
    """A frame of a public linear or inverse socket."""
    if raw.startswith(LEAD):
        # Most frames hold one liquidation: read at once, unless something does not fit.
        try:
            whole = _orders.decode(raw)
        except msgspec.DecodeError:
            whole = _Orders([])
        if len(whole.data) == 1:
            return reader.only(raw, _order, whole.data[0], whole.ts)
    frame = _frame.decode(raw)
    if frame.topic.startswith(TOPIC):

        def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
            return [_order(_liquidation.decode(element), frame.ts, reader, text)]

        def envelope(element: msgspec.Raw) -> bytes:
            alone = msgspec.Raw(b"[" + bytes(element) + b"]")
            return msgspec.json.encode(msgspec.structs.replace(frame, data=alone))

        return reader.each(reader.begin(raw), _elements.decode(frame.data), read, envelope)
    if frame.topic:
        return CANARY
    if frame.op == "subscribe":
        refused = "" if frame.success else frame.ret_msg or "no reason"
        return Seen(acked=(frame.req_id,), refused=refused)
    return NOTHING


def _order(
    one: _Liquidation, sent_ms: int | None, reader: Reader, text: str
) -> ExchangeLiquidation:
    inverse = reader.market == "inverse"
    return reader.row(
        symbol=one.s,
        side=pick(SIDES, one.S),
        raw_side=one.S,
        at_ms=one.T,
        sent_ms=sent_ms,
        base=None if inverse else one.v,
        quote=one.v if inverse else None,
        quote_currency="USD" if inverse else None,
        price=one.p,
        price_kind="bankruptcy",
        identity=(one.s, one.S, str(one.T), one.v, one.p),
        raw=text,
    )


def subscribe(topics: Sequence[str], number: int) -> Request:
    """The answer repeats the request's id."""
    text = msgspec.json.encode({"op": "subscribe", "req_id": f"{number}", "args": list(topics)})
    return Request(text.decode(), (f"{number}",))


def each_contract(contracts: Mapping[str, Contract]) -> list[str]:
    return [f"{TOPIC}{symbol}" for symbol in contracts]


def listed(body: bytes) -> tuple[list[Contract], str]:
    """The contracts on one page of instruments-info, and where the next page starts."""
    answer = msgspec.json.decode(body, type=_Answer)
    if answer.ret_code != 0:
        raise ValueError(f"{answer.ret_code} {answer.ret_msg}")
    page = msgspec.json.decode(answer.result, type=_Page)
    return contracts_of(page.entries, _contract), page.next_page_cursor


def _contract(element: msgspec.Raw) -> Contract:
    one = msgspec.json.decode(element, type=_Listed)
    return Contract(
        symbol=one.symbol,
        base=one.base_coin,
        quote=one.quote_coin,
        settle=one.settle_coin,
        kind="inverse" if one.contract_type.startswith("Inverse") else "linear",
        # Linear sizes are coins, inverse ones dollars.
        size=1.0,
    )


async def _contracts(rest: Rest, category: str) -> list[Contract]:
    found: list[Contract] = []
    cursor = ""
    while True:
        body = await rest.get(
            "/v5/market/instruments-info", category=category, limit=1000, cursor=cursor or None
        )
        page, cursor = listed(body)
        found += page
        if not cursor or not page:
            return found


async def linear_contracts(rest: Rest) -> list[Contract]:
    return await _contracts(rest, "linear")


async def inverse_contracts(rest: Rest) -> list[Contract]:
    return await _contracts(rest, "inverse")


LINEAR = Channel(
    source="bybit-linear",
    venue="bybit",
    market="linear",
    ws="wss://stream.bybit.com/v5/public/linear",
    rest="https://api.bybit.com",
    sampling="full: every liquidation, each 0.5 s",
    canary="BTC ticker",
    # Pushed every 0.1 s when anything changes.
    canary_seconds=4.0,
    canary_topics=("tickers.BTCUSDT",),
    max_quiet_seconds=1_800.0,
    ping='{"op":"ping"}',
    topics=each_contract,
    per_contract=True,
    topics_per_message=10,
    messages_per_second=20.0,
    # "args" of one connection may have 21,000 characters.
    characters_per_connection=20_000,
    subscribe=subscribe,
    parse=parse,
    contracts=linear_contracts,
)

INVERSE = msgspec.structs.replace(
    LINEAR,
    source="bybit-inverse",
    market="inverse",
    ws="wss://stream.bybit.com/v5/public/inverse",
    canary_topics=("tickers.BTCUSD",),
    max_quiet_seconds=None,
    contracts=inverse_contracts,
)

DOCS = "https://bybit-exchange.github.io/docs/v5/websocket/public/all-liquidation"
stream(LINEAR, docs=DOCS, summary="Liquidations on Bybit USDT and USDC contracts: all of them.")
stream(INVERSE, docs=DOCS, summary="Liquidations on Bybit inverse contracts: all of them.")
