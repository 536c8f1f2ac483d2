"""Liquidation orders on Gate futures, settled in USDT and USD1 (linear) and in BTC (inverse).

`size` counts contracts, as a number or as text, whole or decimal. A live frame of 2026-08-10 holds
one order as an object, whose `time` is in milliseconds; documents since 2026-08-20 give an array of
orders, gathered for a second and no longer dropped; older ones give `time_ms`, with `time` in
seconds. All of these are read.

Unproven, needs a live check: that the stream's `size` is the order's, so that a negative one closes
a long. The documents call it the quantity of the liquidation order and say nothing of its sign.
Over REST it is the position's and has the opposite sign. There the time is in whole seconds, so
that the two never meet in one row: per contract and span the fuller one counts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from chainwatch import numbers
from chainwatch.exchanges.backfill import History
from chainwatch.exchanges.channel import NOW, Channel, Era, Request
from chainwatch.exchanges.contracts import Contract, contract_size, is_zero, parse_contracts
from chainwatch.exchanges.feeds import register_history, register_stream
from chainwatch.exchanges.reader import HEARTBEAT, IGNORED, ParsedMessage, Reader, VenueLiquidation
from chainwatch.tables.exchange import ExchangeLiquidation
from chainwatch.text import visible

if TYPE_CHECKING:
    from chainwatch.net.http import Rest

LIQUIDATIONS = "futures.public_liquidates"
TICKERS = "futures.tickers"
ERAS = (
    Era(
        date(2025, 2, 19),
        "sampled",
        "at the most one order per contract and second",
        cited="Futures WebSocket v4, Public Liquidates, 2025-02-19",
    ),
    Era(
        date(2026, 8, 20),
        "full",
        "every order, gathered for a second, as documented since 2026-08-20",
        cited="Futures WebSocket v4, Public Liquidates, 2026-08-20",
    ),
)
PAGE = 1_000
# A time below this is in seconds: in milliseconds it would lie in 1973.
_SECONDS_BELOW = 100_000_000_000


class _LiquidationMessage(msgspec.Struct):
    contract: str
    size: float | str
    price: float | str
    time_ms: int | str | None = None
    time: int | str | None = None


class _ErrorMessage(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Message(msgspec.Struct, omit_defaults=True):
    channel: str = ""
    event: str = ""
    time_ms: int | None = None
    error: _ErrorMessage | None = None
    result: msgspec.Raw = msgspec.Raw()


class _ListedContract(msgspec.Struct):
    name: str
    quanto_multiplier: float | str | None = ""
    type: str = ""


class _PastLiquidation(msgspec.Struct):
    time: int
    contract: str
    size: float | str
    fill_price: str
    order_price: str = ""


_message = msgspec.json.Decoder(_Message)
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_liquidation_message = msgspec.json.Decoder(_LiquidationMessage)
_past_liquidation = msgspec.json.Decoder(_PastLiquidation)
_listed_contract = msgspec.json.Decoder(_ListedContract)


def parse(raw: bytes, reader: Reader) -> ParsedMessage:
    """A frame of the futures socket."""
    frame = _message.decode(raw)
    if frame.event == "subscribe":
        refused = "" if frame.error is None else f"{frame.error.code} {frame.error.message}"
        return ParsedMessage(acked=(frame.channel,), refused=refused)
    if frame.channel == TICKERS:
        return HEARTBEAT
    if frame.channel != LIQUIDATIONS or frame.event != "update":
        return IGNORED

    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        liquidation = _liquidation_message.decode(element)
        size, at_ms = _signed(liquidation.size), _at_ms(liquidation)
        return [
            reader.build_row(
                VenueLiquidation(
                    symbol=liquidation.contract,
                    side="long" if size < 0 else "short",
                    raw_side="-" if size < 0 else "+",
                    at_ms=at_ms,
                    sent_ms=frame.time_ms,
                    contracts=abs(size),
                    price=liquidation.price,
                    price_kind="order",
                    identity=(liquidation.contract, f"{at_ms}", f"{size}", f"{liquidation.price}"),
                    raw=text,
                )
            )
        ]

    def envelope(element: msgspec.Raw) -> bytes:
        alone = msgspec.Raw(b"[" + bytes(element) + b"]")
        return msgspec.json.encode(msgspec.structs.replace(frame, result=alone))

    alone = bytes(frame.result).lstrip().startswith(b"{")
    orders = [frame.result] if alone else _elements.decode(frame.result)
    return reader.parse_each(reader.start_frame(raw), orders, read, envelope)


def _signed(size: float | str) -> float:
    try:
        return numbers.real(size)
    except numbers.NotReadable as reason:
        raise ValueError(f"expected a size, got {visible(f'{size}', 40)!r}: {reason}") from None


def _at_ms(liquidation: _LiquidationMessage) -> int:
    """The time in milliseconds, whichever of its two fields gives it."""
    given = liquidation.time if liquidation.time_ms is None else liquidation.time_ms
    try:
        number = numbers.integer(given)
    except numbers.NotReadable as reason:
        raise ValueError(f"expected a time, got {visible(f'{given}', 40)!r}: {reason}") from None
    return number * 1000 if abs(number) < _SECONDS_BELOW else number


def subscribe(topics: Sequence[str], number: int) -> Request:
    """One request for each channel, which the answer names."""
    channel, _, what = topics[0].partition(" ")
    text = f'{{"time":{NOW},"channel":"{channel}","event":"subscribe","payload":["{what}"]}}'
    return Request(text, (channel,))


def list_topics(contracts: Mapping[str, Contract]) -> list[str]:
    return [f"{LIQUIDATIONS} !all"]


def parse_listing(body: bytes, settle: str) -> list[Contract]:
    """The contracts of one settlement currency; an inverse one has no multiplier: 1 USD each."""

    def read(element: msgspec.Raw) -> Contract:
        entry = _listed_contract.decode(element)
        base, _, quote = entry.name.partition("_")
        quote = quote.partition("_")[0]
        none = entry.quanto_multiplier == "" or is_zero(entry.quanto_multiplier)
        kind = "linear" if quote == settle else "inverse" if none else "quanto"
        return Contract(
            symbol=entry.name,
            base=base,
            quote=quote,
            settle=settle,
            kind=kind,
            size=1.0 if kind == "inverse" else contract_size(entry.quanto_multiplier),
        )

    return parse_contracts(_elements.decode(body), read)


async def fetch_usdt_contracts(rest: Rest) -> list[Contract]:
    return parse_listing(await rest.get("/api/v4/futures/usdt/contracts"), "USDT")


async def fetch_usd1_contracts(rest: Rest) -> list[Contract]:
    return parse_listing(await rest.get("/api/v4/futures/usd1/contracts"), "USD1")


async def fetch_btc_contracts(rest: Rest) -> list[Contract]:
    return parse_listing(await rest.get("/api/v4/futures/btc/contracts"), "BTC")


def parse_history(scope: str, body: bytes, reader: Reader) -> ParsedMessage:
    """An answer of liq_orders: `size` is the position's, positive for a long."""

    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        past = _past_liquidation.decode(element)
        size = _signed(past.size)
        return [
            reader.build_row(
                VenueLiquidation(
                    symbol=past.contract,
                    side="long" if size > 0 else "short",
                    raw_side="+" if size > 0 else "-",
                    at_ms=past.time * 1000,
                    contracts=abs(size),
                    price=past.fill_price,
                    price_kind="fill",
                    kind="fill",
                    identity=(
                        "rest",
                        past.contract,
                        f"{past.time}",
                        f"{size}",
                        past.order_price,
                        past.fill_price,
                    ),
                    raw=text,
                )
            )
        ]

    return reader.parse_each(
        reader.start_frame(body), _elements.decode(body), read, lambda element: bytes(element)
    )


def _usdt(contracts: Mapping[str, Contract]) -> list[str]:
    return ["usdt"]


def _usd1(contracts: Mapping[str, Contract]) -> list[str]:
    return ["usd1"]


def _btc(contracts: Mapping[str, Contract]) -> list[str]:
    return ["btc"]


async def _fetch_pages(rest: Rest, scope: str, start_ms: int, end_ms: int) -> AsyncIterator[bytes]:
    # A full answer may have left some out: both halves of its time are asked for again.
    waiting = [(start_ms // 1000, -(-end_ms // 1000))]
    while waiting:
        start, end = waiting.pop()
        body = await rest.get(
            f"/api/v4/futures/{scope}/liq_orders",
            **{"from": start, "to": end - 1},
            limit=PAGE,
        )
        yield body
        if len(_elements.decode(body)) >= PAGE and end - start > 1:
            midpoint = (start + end) // 2
            waiting += [(midpoint, end), (start, midpoint)]


USDT = Channel(
    source="gate-usdt",
    venue="gate",
    market="usdt",
    ws="wss://fx-ws.gateio.ws/v4/ws/usdt",
    rest="https://api.gateio.ws",
    eras=ERAS,
    heartbeat="BTC ticker",
    heartbeat_seconds=4.0,
    heartbeat_topics=(f"{TICKERS} BTC_USDT",),
    ping=f'{{"time":{NOW},"channel":"futures.ping"}}',
    topics=list_topics,
    topics_per_message=1,
    subscribe=subscribe,
    parse=parse,
    contracts=fetch_usdt_contracts,
)

BTC = msgspec.structs.replace(
    USDT,
    source="gate-btc",
    market="btc",
    ws="wss://fx-ws.gateio.ws/v4/ws/btc",
    heartbeat_topics=(f"{TICKERS} BTC_USD",),
    contracts=fetch_btc_contracts,
)

USD1 = msgspec.structs.replace(
    USDT,
    source="gate-usd1",
    market="usd1",
    ws="wss://fx-ws.gateio.ws/v4/ws/usd1",
    heartbeat_topics=(f"{TICKERS} BTC_USD1",),
    contracts=fetch_usd1_contracts,
)

DOCS = "https://www.gate.com/docs/developers/futures/ws/en/#public-liquidates-order-api"
register_stream(
    USDT, docs=DOCS, summary="Liquidations on Gate USDT futures: all of them, as documented."
)
register_stream(
    BTC, docs=DOCS, summary="Liquidations on Gate BTC futures: all of them, as documented."
)
register_stream(
    USD1, docs=DOCS, summary="Liquidations on Gate USD1 futures: all of them, as documented."
)
for channel, settle in ((USDT, "usdt"), (BTC, "btc"), (USD1, "usd1")):
    register_history(
        History(
            source=f"{channel.source}-history",
            channel=channel,
            # A window of one hour, in whole seconds, is the longest that is answered.
            window_seconds=3_540,
            scopes={"usdt": _usdt, "btc": _btc, "usd1": _usd1}[settle],
            pages=_fetch_pages,
            parse=parse_history,
        ),
        docs="https://www.gate.com/docs/developers/apiv4/en/#query-liquidation-order-history",
        summary=f"Past liquidations on Gate {settle.upper()} futures, over REST.",
    )
