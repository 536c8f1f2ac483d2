"""Liquidations on Hyperliquid, as far as they are read here: what its liquidator vault takes over.

There is no feed of all liquidations: its trades carry no mark, and a fill carries one only in the
feed of an address that took part in it. The vault that takes positions over when the market does
not (a backstop) is such an address. Market liquidations stand in the fills of their counterparties
and of the venue's nodes, which are not read: backstops are about one liquidation in a thousand.
Sums are therefore a small part, and say so.

A fill's `side` is B where the vault bought: then a long was liquidated. A fill that names the vault
itself as liquidated rids it of what it took over, as auto-deleveraging does: its kind is `adl`,
which no sum counts, for the takeover is counted already. The number of a trade is unique only with
its time and coin.

Unproven, needs a live check: that this address takes over all backstop liquidations (there may be
others beside it), and how often all mid prices come, which are the canary.
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

LIQUIDATOR = "0x2e3d94f0562703b25c83308a05046ddaf9a8dd14"
PAGE = 2_000


class _Liquidation(msgspec.Struct, rename="camel"):
    liquidated_user: str = ""
    method: str = ""


class _Fill(msgspec.Struct):
    coin: str
    px: str
    sz: str
    side: str
    time: int
    tid: int
    liquidation: _Liquidation | None = None


class _Time(msgspec.Struct):
    time: int


class _Fills(msgspec.Struct, rename="camel", omit_defaults=True):
    user: str = ""
    is_snapshot: bool = False
    fills: list[msgspec.Raw] = []


class _Subscription(msgspec.Struct, frozen=True):
    type: str = ""
    user: str = ""


class _Answered(msgspec.Struct):
    method: str = ""
    subscription: _Subscription = _Subscription()


class _Frame(msgspec.Struct):
    channel: str = ""
    data: msgspec.Raw = msgspec.Raw()


class _Listed(msgspec.Struct, rename="camel"):
    name: str
    is_delisted: bool = False


class _Meta(msgspec.Struct):
    universe: list[msgspec.Raw]


_frame = msgspec.json.Decoder(_Frame)
_fills = msgspec.json.Decoder(_Fills)
_fill = msgspec.json.Decoder(_Fill)
_time = msgspec.json.Decoder(_Time)
_answered = msgspec.json.Decoder(_Answered)
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_meta = msgspec.json.Decoder(_Meta)


def parse(raw: bytes, reader: Reader) -> Seen:
    """A frame of the public socket."""
    frame = _frame.decode(raw)
    match frame.channel:
        case "allMids":
            return CANARY
        case "subscriptionResponse":
            subscription = _answered.decode(frame.data).subscription
            return Seen(acked=(_topic(subscription.type, subscription.user),))
        case "error":
            return Seen(acked=("",), refused=_text.decode(frame.data))
        case "userFills":
            given = _fills.decode(frame.data)

            def envelope(element: msgspec.Raw) -> bytes:
                alone = _Fills(user=given.user, fills=[element])
                return msgspec.json.encode({"channel": "userFills", "data": alone})

            read = _reading(given.user, reader)
            return reader.each(reader.begin(raw), given.fills, read, envelope)
    return NOTHING


def _reading(user: str, reader: Reader) -> _Read:
    """Reads the fills of one address."""
    own_address = user.lower()

    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        one = _fill.decode(element)
        if one.liquidation is None:
            return []
        if one.side not in ("A", "B"):
            raise ValueError(f"side is {one.side!r}")
        own = one.liquidation.liquidated_user.lower() == own_address
        # In a fill that liquidates the address itself the side is its own, else the opposite.
        sold = (one.side == "A") == own
        return [
            reader.row(
                symbol=one.coin,
                side="long" if sold else "short",
                raw_side=f"{one.side}/{one.liquidation.method}",
                at_ms=one.time,
                base=one.sz,
                price=one.px,
                price_kind="takeover" if one.liquidation.method == "backstop" else "trade",
                kind="adl" if own else "fill",
                event=f"{one.tid}",
                quote_currency="USDC",
                raw=text,
            )
        ]

    return read


def _topic(kind: str, user: str) -> str:
    return f"{kind} {user.lower()}".strip()


def subscribe(topics: Sequence[str], number: int) -> Request:
    """The answer repeats the subscription."""
    kind, _, user = topics[0].partition(" ")
    subscription = {"type": kind} | ({"user": user} if user else {})
    order = {"method": "subscribe", "subscription": subscription}
    return Request(msgspec.json.encode(order).decode(), (topics[0],))


def vault(contracts: Mapping[str, Contract]) -> list[str]:
    """The fills of the liquidator vault."""
    return [_topic("userFills", LIQUIDATOR)]


def listed(body: bytes) -> list[Contract]:
    """The perpetuals of a meta answer, in coins."""
    return contracts_of(_meta.decode(body).universe, _contract)


def _contract(element: msgspec.Raw) -> Contract | None:
    one = msgspec.json.decode(element, type=_Listed)
    if one.is_delisted:
        return None
    return Contract(
        symbol=one.name, base=one.name, quote="USDC", settle="USDC", kind="linear", size=1.0
    )


async def contracts(rest: Rest) -> list[Contract]:
    return listed(await rest.post("/info", b'{"type":"meta"}'))


def parse_history(scope: str, body: bytes, reader: Reader) -> Seen:
    """An answer of userFillsByTime for the address asked for."""
    read = _reading(scope, reader)
    return reader.each(
        reader.begin(body), _elements.decode(body), read, lambda e: bytes(e), whole=False
    )


def _addresses(contracts: Mapping[str, Contract]) -> list[str]:
    return [LIQUIDATOR]


async def _pages(rest: Rest, scope: str, start_ms: int, end_ms: int) -> AsyncIterator[bytes]:
    start = start_ms
    while True:
        order = {
            "type": "userFillsByTime",
            "user": scope,
            "startTime": start,
            "endTime": end_ms - 1,
        }
        body = await rest.post("/info", msgspec.json.encode(order))
        yield body
        fills = _elements.decode(body)
        if len(fills) < PAGE:
            return
        begin = later(fills, lambda fill: _time.decode(fill).time, start, end_ms)
        if begin is None:
            return
        start = begin


HYPERLIQUID = Channel(
    source="hyperliquid",
    venue="hyperliquid",
    market="perpetual",
    ws="wss://api.hyperliquid.xyz/ws",
    rest="https://api.hyperliquid.xyz",
    sampling="partial: what the liquidator vault takes over, about one liquidation in a thousand",
    canary="mid prices",
    canary_seconds=5.0,
    canary_topics=("allMids",),
    ping='{"method":"ping"}',
    ping_seconds=30.0,
    topics=vault,
    topics_per_message=1,
    subscribe=subscribe,
    parse=parse,
    contracts=contracts,
)

stream(
    HYPERLIQUID,
    docs="https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/subscriptions",
    summary="Backstop liquidations on Hyperliquid; it publishes no feed of the others.",
)
history(
    History(
        source="hyperliquid-history",
        channel=HYPERLIQUID,
        window_seconds=86_400,
        scopes=_addresses,
        pages=_pages,
        parse=parse_history,
    ),
    docs="https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint",
    summary="Past backstop liquidations on Hyperliquid, from the vault's newest 10,000 fills.",
)
