"""Liquidation orders on HTX: linear swaps and futures, coin-margined swaps, coin-margined futures.

Frames are gzip. `direction` is the order's side: a sell closes a long. `volume` counts contracts;
linear frames also give coins (`amount`) and value (`trade_turnover`). The price is the bankruptcy
price. The notification socket carries no market stream: its own pings, each 5 s, are the heartbeat.
They prove the socket, not the topic.

Histories go 90 days back, two hours at once. That of coin-margined futures is asked for by coin
(`symbol`), as its documents have it, and answers with all contracts of the coin.

Unproven, needs a live check: how many of its liquidations are sent, that coin-margined futures take
the wildcard too, and that their history takes a coin: one client sends a contract.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from chainwatch.exchanges.backfill import History, readable
from chainwatch.exchanges.channel import Channel, Era, Request, side_of
from chainwatch.exchanges.contracts import Contract, contract_size, parse_contracts
from chainwatch.exchanges.feeds import register_history, register_stream
from chainwatch.exchanges.reader import IGNORED, ParsedMessage, Reader, VenueLiquidation
from chainwatch.tables.exchange import ExchangeLiquidation

if TYPE_CHECKING:
    from chainwatch.net.http import Rest

_Envelope = Callable[[msgspec.Raw], bytes]
_Pages = Callable[["Rest", str, int, int], AsyncIterator[bytes]]

SIDES = {"sell": "long", "buy": "short"}
TOPIC = "public.*.liquidation_orders"


class _LiquidationMessage(msgspec.Struct):
    contract_code: str
    direction: str
    volume: float
    price: float
    created_at: int
    amount: float | None = None


class _QueryId(msgspec.Struct):
    query_id: int


class _Message(msgspec.Struct, omit_defaults=True):
    op: str = ""
    topic: str = ""
    ts: int | str | None = None
    err_code: int = msgspec.field(name="err-code", default=0)
    err_msg: str = msgspec.field(name="err-msg", default="")
    data: msgspec.Raw = msgspec.Raw()


class _ListedContract(msgspec.Struct):
    contract_code: str
    symbol: str
    contract_size: float | str | None = None
    pair: str = ""
    trade_partition: str = ""


class _RestAnswer(msgspec.Struct):
    data: msgspec.Raw
    status: str = "ok"
    code: int = 200
    msg: str = ""


_message = msgspec.json.Decoder(_Message)
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_liquidation_message = msgspec.json.Decoder(_LiquidationMessage)
_query_id = msgspec.json.Decoder(_QueryId)
_rest_answer = msgspec.json.Decoder(_RestAnswer)
_listed_contract = msgspec.json.Decoder(_ListedContract)


def parse(raw: bytes, reader: Reader) -> ParsedMessage:
    """An unpacked frame of a notification socket."""
    frame = _message.decode(raw)
    match frame.op:
        case "ping":
            reply = msgspec.json.encode({"op": "pong", "ts": frame.ts}).decode()
            return ParsedMessage(heartbeat=True, reply=reply)
        case "sub":
            refused = f"{frame.err_code} {frame.err_msg}" if frame.err_code else ""
            return ParsedMessage(acked=(frame.topic,), refused=refused)
        case "error":
            return ParsedMessage(acked=("",), refused=f"{frame.err_code} {frame.err_msg}")
        case "notify" if frame.topic.endswith(".liquidation_orders"):
            sent = frame.ts

            def envelope(element: msgspec.Raw) -> bytes:
                alone = msgspec.Raw(b"[" + bytes(element) + b"]")
                return msgspec.json.encode(msgspec.structs.replace(frame, data=alone))

            return _orders(raw, frame.data, reader, sent, envelope)
    return IGNORED


def _orders(
    raw: bytes, data: msgspec.Raw, reader: Reader, sent: int | str | None, envelope: _Envelope
) -> ParsedMessage:
    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        liquidation = _liquidation_message.decode(element)
        linear = reader.market == "linear"
        return [
            reader.build_row(
                VenueLiquidation(
                    symbol=liquidation.contract_code,
                    side=side_of(SIDES, liquidation.direction),
                    raw_side=liquidation.direction,
                    at_ms=liquidation.created_at,
                    sent_ms=sent,
                    contracts=liquidation.volume,
                    base=liquidation.amount if linear else None,
                    price=liquidation.price,
                    price_kind="bankruptcy",
                    identity=(
                        liquidation.contract_code,
                        liquidation.direction,
                        f"{liquidation.created_at}",
                        f"{liquidation.volume}",
                        f"{liquidation.price}",
                    ),
                    raw=text,
                )
            )
        ]

    return reader.parse_each(reader.start_frame(raw), _elements.decode(data), read, envelope)


def subscribe(topics: Sequence[str], number: int) -> Request:
    """The answer repeats the topic."""
    text = msgspec.json.encode({"op": "sub", "cid": f"{number}", "topic": topics[0]})
    return Request(text.decode(), (topics[0],))


def subscribe_linear(topics: Sequence[str], number: int) -> Request:
    """Without a business type the wildcard means swaps only."""
    order = {"op": "sub", "cid": f"{number}", "topic": topics[0], "business_type": "all"}
    return Request(msgspec.json.encode(order).decode(), (topics[0],))


def list_topics(contracts: Mapping[str, Contract]) -> list[str]:
    return [TOPIC]


def parse_listing(body: bytes, linear: bool) -> list[Contract]:
    """The contracts of a contract_info answer: sized in coins (linear) or in USD."""
    answer = _rest_answer.decode(body)
    if answer.status != "ok":
        raise ValueError(f"status {answer.status}")

    def read(element: msgspec.Raw) -> Contract:
        entry = _listed_contract.decode(element)
        quote = (entry.trade_partition or "USDT") if linear else "USD"
        return Contract(
            symbol=entry.contract_code,
            base=entry.symbol,
            quote=quote,
            settle=quote if linear else entry.symbol,
            kind="linear" if linear else "inverse",
            size=contract_size(entry.contract_size),
        )

    return parse_contracts(_elements.decode(answer.data), read)


async def fetch_linear_contracts(rest: Rest) -> list[Contract]:
    path = "/linear-swap-api/v1/swap_contract_info"
    return parse_listing(await rest.get(path, business_type="all"), linear=True)


async def fetch_coin_contracts(rest: Rest) -> list[Contract]:
    return parse_listing(await rest.get("/swap-api/v1/swap_contract_info"), linear=False)


async def fetch_futures_contracts(rest: Rest) -> list[Contract]:
    return parse_listing(await rest.get("/api/v1/contract_contract_info"), linear=False)


def parse_history(scope: str, body: bytes, reader: Reader) -> ParsedMessage:
    """An answer of swap_liquidation_orders or contract_liquidation_orders."""
    answer = _rest_answer.decode(body)
    if answer.code != 200:
        raise ValueError(f"{answer.code} {answer.msg}")
    return _orders(body, answer.data, reader, None, lambda element: bytes(element))


def list_scopes(contracts: Mapping[str, Contract]) -> list[str]:
    return list(contracts)


def list_coins(contracts: Mapping[str, Contract]) -> list[str]:
    return sorted({contract.base for contract in contracts.values()})


def _pages_at(path: str, about: str) -> _Pages:
    """Answers at a path; `about` is the parameter that names the scope."""

    async def pages(rest: Rest, scope: str, start_ms: int, end_ms: int) -> AsyncIterator[bytes]:
        last: int | None = None
        while True:
            named: dict[str, object] = {about: scope}
            body = await rest.get(
                path,
                **named,
                trade_type=0,
                start_time=start_ms,
                end_time=end_ms - 1,
                direct="next",
                from_id=last,
            )
            yield body
            answer = _rest_answer.decode(body)
            query_ids = readable(_elements.decode(answer.data), _query_id.decode)
            newest = max((entry.query_id for entry in query_ids), default=None)
            # An answer that goes no further than the one before is the last.
            if newest is None or (last is not None and newest <= last):
                return
            last = newest

    return pages


LINEAR = Channel(
    source="htx-linear",
    venue="htx",
    market="linear",
    ws="wss://api.hbdm.vn/linear-swap-notification",
    rest="https://api.hbdm.vn",
    eras=(
        Era(
            date(2020, 1, 1),
            "unknown",
            "no limit is documented",
            cited="Futures API, Subscribe Liquidation Orders Data, 2026-11-29",
        ),
    ),
    heartbeat="ping of the venue",
    heartbeat_seconds=5.0,
    packed=True,
    topics=list_topics,
    subscribe=subscribe_linear,
    parse=parse,
    contracts=fetch_linear_contracts,
)
COIN = msgspec.structs.replace(
    LINEAR,
    source="htx-coin",
    market="coin",
    ws="wss://api.hbdm.vn/swap-notification",
    subscribe=subscribe,
    contracts=fetch_coin_contracts,
)
FUTURES = msgspec.structs.replace(
    COIN,
    source="htx-futures",
    market="futures",
    ws="wss://api.hbdm.vn/notification",
    contracts=fetch_futures_contracts,
)

DOCS = "https://www.htx.com/en-us/opend/newApiPages/?id=8cb7e25d-77b5-11ed-9966-0242ac110003"
register_stream(LINEAR, docs=DOCS, summary="Liquidations on HTX linear swaps and futures.")
register_stream(COIN, docs=DOCS, summary="Liquidations on HTX coin-margined swaps.")
register_stream(FUTURES, docs=DOCS, summary="Liquidations on HTX coin-margined futures.")
for channel, path, about, scopes in (
    (LINEAR, "/linear-swap-api/v3/swap_liquidation_orders", "contract", list_scopes),
    (COIN, "/swap-api/v3/swap_liquidation_orders", "contract", list_scopes),
    (FUTURES, "/api/v3/contract_liquidation_orders", "symbol", list_coins),
):
    register_history(
        History(
            source=f"{channel.source}-history",
            channel=channel,
            # At the most two hours at once, 90 days back.
            window_seconds=7_200,
            scopes=scopes,
            pages=_pages_at(path, about),
            parse=parse_history,
        ),
        docs="https://www.htx.com/en-us/opend/newApiPages/?id=8cb7f19e-77b5-11ed-9966-0242ac110003",
        summary=f"Past liquidations on HTX {channel.market} contracts, up to 90 days back.",
    )
