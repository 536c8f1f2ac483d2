"""Liquidations on Bitfinex: derivatives and margin positions, all of them in one status stream.

A liquidation comes first as a trigger and then as matches. Sums count only the matches, at the
price at which the position was acquired; triggers are kept with the entry price. The
amount is positive for a long, in coins. The heartbeat of the channel is the heartbeat.

UST in its names is Tether, F0 marks a perpetual contract.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
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

KEY = "liq:global"
PAGE = 500
_FIELDS = 12
_HEARTBEAT_MARK = b'"hb"'


class _EventMessage(msgspec.Struct):
    event: str = ""
    key: str = ""
    code: int | None = None
    msg: str = ""


_event_message = msgspec.json.Decoder(_EventMessage)
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_number: msgspec.json.Decoder[int | float | None] = msgspec.json.Decoder(int | float | None)
_pairs = msgspec.json.Decoder(list[list[msgspec.Raw]])


def parse(raw: bytes, reader: Reader) -> ParsedMessage:
    """A frame of the public socket, version 2."""
    if not raw.lstrip().startswith(b"["):
        event = _event_message.decode(raw)
        if event.event == "subscribed":
            return ParsedMessage(acked=(event.key,))
        if event.event == "error":
            return ParsedMessage(acked=(event.key,), refused=f"{event.code} {event.msg}")
        return IGNORED
    frame = _elements.decode(raw)
    if len(frame) > 1 and bytes(frame[1]).strip() == _HEARTBEAT_MARK:
        return HEARTBEAT
    if len(frame) < 2:
        raise ValueError("expected a heartbeat or a list of positions, got one element")
    sent = _number.decode(frame[3]) if len(frame) > 3 else None

    def envelope(element: msgspec.Raw) -> bytes:
        alone = msgspec.Raw(b"[" + bytes(element) + b"]")
        return msgspec.json.encode([frame[0], alone, *frame[2:]])

    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        return [_row(element, text, sent, reader)]

    return reader.parse_each(reader.start_frame(raw), _elements.decode(frame[1]), read, envelope)


def _row(
    element: msgspec.Raw, text: str, sent: float | None, reader: Reader
) -> ExchangeLiquidation:
    fields = _elements.decode(element)
    if len(fields) < _FIELDS:
        raise ValueError(f"expected {_FIELDS} fields, got {len(fields)}")
    raws = [bytes(field).decode() for field in fields]
    symbol = _text.decode(fields[4])
    amount, match = _figure(fields[5], "amount"), _figure(fields[8], "is_match")
    price = fields[11] if match else fields[6]
    return reader.build_row(
        VenueLiquidation(
            symbol=symbol,
            side="long" if amount > 0 else "short",
            raw_side="+" if amount > 0 else "-",
            at_ms=_figure(fields[2], "time"),
            sent_ms=sent,
            base=abs(amount),
            price=_figure(price, "acquired price" if match else "entry price"),
            price_kind="acquired" if match else "entry",
            kind="fill" if match else "trigger",
            identity=(raws[1], raws[2], raws[4], raws[5], raws[8], raws[11]),
            raw=text,
        )
    )


def _figure(field: msgspec.Raw, what: str) -> float:
    value = _number.decode(field)
    if value is None:
        raise ValueError(f"expected a number as {what}, got null")
    return value


def subscribe(topics: Sequence[str], number: int) -> Request:
    """The answer repeats the key."""
    order = {"event": "subscribe", "channel": "status", "key": topics[0]}
    return Request(msgspec.json.encode(order).decode(), (topics[0],))


def list_topics(contracts: Mapping[str, Contract]) -> list[str]:
    return [KEY]


def parse_listing(body: bytes) -> list[Contract]:
    """The pairs of a conf answer: names such as BTCF0:USTF0, BTCUSD and DUSK:USD."""
    pairs = [pair for group in _pairs.decode(body) for pair in group]
    return list({c.symbol: c for c in parse_contracts(pairs, _parse_contract)}.values())


def _parse_contract(element: msgspec.Raw) -> Contract:
    name = _text.decode(element)
    base, colon, quote = name.partition(":")
    if not colon:
        base, quote = name[:-3], name[-3:]
    base, quote = base.removesuffix("F0"), quote.removesuffix("F0")
    quote = "USDT" if quote == "UST" else quote
    return Contract(
        symbol=f"t{name}", base=base, quote=quote, settle=quote, kind="linear", size=1.0
    )


async def fetch_contracts(rest: Rest) -> list[Contract]:
    return parse_listing(await rest.get("/v2/conf/pub:list:pair:futures,pub:list:pair:margin"))


def parse_history(scope: str, body: bytes, reader: Reader) -> ParsedMessage:
    """An answer of liquidations/hist: rows lie one list deeper than in the stream."""

    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        return [_row(element, text, None, reader)]

    return reader.parse_each(
        reader.start_frame(body), _past(body), read, lambda e: bytes(e), complete=False
    )


def _past(body: bytes) -> list[msgspec.Raw]:
    """The rows of an answer; an element that is not a list of rows is kept, to be rejected."""
    rows = []
    for group in _elements.decode(body):
        try:
            rows += _elements.decode(group)
        except msgspec.DecodeError:
            rows.append(group)
    return rows


def list_scopes(contracts: Mapping[str, Contract]) -> list[str]:
    return [KEY]


async def _fetch_pages(rest: Rest, scope: str, start_ms: int, end_ms: int) -> AsyncIterator[bytes]:
    start = start_ms
    while True:
        body = await rest.get(
            "/v2/liquidations/hist", start=start, end=end_ms - 1, limit=PAGE, sort=1
        )
        yield body
        rows = _past(body)
        if len(rows) < PAGE:
            return
        begin = next_start(
            rows, lambda row: _figure(_elements.decode(row)[2], "time"), start, end_ms
        )
        if begin is None:
            return
        start = begin


BITFINEX = Channel(
    source="bitfinex",
    venue="bitfinex",
    market="derivatives",
    ws="wss://api-pub.bitfinex.com/ws/2",
    rest="https://api-pub.bitfinex.com",
    eras=(
        Era(
            date(2020, 1, 1),
            "full",
            "every trigger and every match",
            cited="WebSocket Public, Status: Liquidation Feed, 2026-11-29",
        ),
    ),
    heartbeat="heartbeat of the channel",
    # Sent when nothing else was for 15 s.
    heartbeat_seconds=15.0,
    topics=list_topics,
    topics_per_message=1,
    subscribe=subscribe,
    parse=parse,
    contracts=fetch_contracts,
)

register_stream(
    BITFINEX,
    docs="https://docs.bitfinex.com/reference/ws-public-status",
    summary="Liquidations on Bitfinex derivatives and margin: all of them, matches apart.",
)
register_history(
    History(
        source="bitfinex-history",
        channel=BITFINEX,
        window_seconds=8 * 3_600,
        scopes=list_scopes,
        pages=_fetch_pages,
        parse=parse_history,
        # Three requests a minute are allowed.
        pace=20.0,
    ),
    docs="https://docs.bitfinex.com/reference/rest-public-liquidations",
    summary="Past liquidations on Bitfinex; three requests a minute are allowed.",
)
