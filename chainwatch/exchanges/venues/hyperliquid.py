"""Liquidations on Hyperliquid, as far as they are read here: fills of its liquidity vault.

There is no feed of all liquidations: its trades carry no mark, and a fill carries one only in the
feed of an address that took part in it. The vault that takes positions over when the market does
not (a backstop) has several addresses, some of them retired: its children are read from the venue
at the start and every hour. Market liquidations stand in the fills of their counterparties and of
the venue's nodes: of those only what these addresses traded against is seen. Of 1,288 liquidations
that were observed, one was a backstop. Sums are therefore a small part, and are marked as such.

A fill's `side` is B where the address bought: then a long was liquidated. A fill that names one of
these addresses as liquidated rids it of what it took over, as auto-deleveraging does: its kind is
`adl`, which no sum counts, for the takeover is counted already. The number of a trade is unique
only with its time and coin.

Unproven, needs a live check: that every backstop is taken over by a child of this vault, and how
often all mid prices come, which are the heartbeat.
"""

from __future__ import annotations

import re
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
from chainwatch.text import visible

if TYPE_CHECKING:
    from chainwatch.net.http import Rest

_Read = Callable[[msgspec.Raw, str], Sequence[ExchangeLiquidation]]

# The liquidity vault, whose children trade and take over.
VAULT = "0xdfc24b077bc1425ad1dea75bcb6f8158e10df303"
PAGE = 2_000


class _LiquidationMessage(msgspec.Struct, rename="camel"):
    liquidated_user: str = ""
    method: str = ""


class _FillMessage(msgspec.Struct):
    coin: str
    px: str
    sz: str
    side: str
    time: int
    tid: int
    liquidation: _LiquidationMessage | None = None


class _TimeOnly(msgspec.Struct):
    time: int


class _FillsMessage(msgspec.Struct, rename="camel", omit_defaults=True):
    user: str = ""
    is_snapshot: bool = False
    fills: list[msgspec.Raw] = []


class _Subscription(msgspec.Struct, frozen=True):
    type: str = ""
    user: str = ""


class _SubscriptionAnswer(msgspec.Struct):
    method: str = ""
    subscription: _Subscription = _Subscription()


class _Message(msgspec.Struct):
    channel: str = ""
    data: msgspec.Raw = msgspec.Raw()


class _ListedContract(msgspec.Struct, rename="camel"):
    name: str
    is_delisted: bool = False


class _Meta(msgspec.Struct):
    universe: list[msgspec.Raw]


class _Children(msgspec.Struct, frozen=True, rename="camel"):
    child_addresses: list[str] = []


class _Relationship(msgspec.Struct, frozen=True):
    data: _Children = _Children()


class _VaultDetails(msgspec.Struct, rename="camel"):
    vault_address: str
    relationship: _Relationship = _Relationship()


_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_message = msgspec.json.Decoder(_Message)
_fills_message = msgspec.json.Decoder(_FillsMessage)
_fill_message = msgspec.json.Decoder(_FillMessage)
_time_only = msgspec.json.Decoder(_TimeOnly)
_subscription_answer = msgspec.json.Decoder(_SubscriptionAnswer)
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_meta = msgspec.json.Decoder(_Meta)


def parse(raw: bytes, reader: Reader) -> ParsedMessage:
    """A frame of the public socket."""
    frame = _message.decode(raw)
    match frame.channel:
        case "allMids":
            return HEARTBEAT
        case "subscriptionResponse":
            subscription = _subscription_answer.decode(frame.data).subscription
            return ParsedMessage(acked=(_topic(subscription.type, subscription.user),))
        case "error":
            return ParsedMessage(acked=("",), refused=_text.decode(frame.data))
        case "userFills":
            given = _fills_message.decode(frame.data)

            def envelope(element: msgspec.Raw) -> bytes:
                alone = _FillsMessage(user=given.user, fills=[element])
                return msgspec.json.encode({"channel": "userFills", "data": alone})

            read = _reading(given.user, reader)
            return reader.parse_each(reader.start_frame(raw), given.fills, read, envelope)
    return IGNORED


def _reading(user: str, reader: Reader) -> _Read:
    """Reads the fills of one address."""
    own_address = user.lower()
    accounts = reader.accounts | {own_address}

    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        fill = _fill_message.decode(element)
        if fill.liquidation is None:
            return []
        if fill.side not in ("A", "B"):
            raise ValueError(f"expected side A or B, got {fill.side!r}")
        liquidated = fill.liquidation.liquidated_user.lower()
        own = liquidated == own_address
        # In a fill that liquidates the address itself the side is its own, else the opposite.
        sold = (fill.side == "A") == own
        return [
            reader.build_row(
                VenueLiquidation(
                    symbol=fill.coin,
                    side="long" if sold else "short",
                    raw_side=f"{fill.side}/{fill.liquidation.method}",
                    at_ms=fill.time,
                    base=fill.sz,
                    price=fill.px,
                    price_kind="takeover" if fill.liquidation.method == "backstop" else "trade",
                    kind="adl" if liquidated in accounts else "fill",
                    event=f"{fill.tid}",
                    quote_currency="USDC",
                    raw=text,
                )
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


def list_topics(contracts: Mapping[str, Contract]) -> list[str]:
    """None: the venue's fills come by address."""
    return []


def account_topic(address: str) -> str:
    """The fills of an address."""
    return _topic("userFills", address)


def parse_listing(body: bytes) -> list[Contract]:
    """The perpetuals of a meta answer, in coins."""
    return parse_contracts(_meta.decode(body).universe, _parse_contract)


def _parse_contract(element: msgspec.Raw) -> Contract | None:
    entry = msgspec.json.decode(element, type=_ListedContract)
    if entry.is_delisted:
        return None
    return Contract(
        symbol=entry.name, base=entry.name, quote="USDC", settle="USDC", kind="linear", size=1.0
    )


def parse_accounts(body: bytes) -> list[str]:
    """The vault and its children in an answer of vaultDetails, in lower case."""
    answer = msgspec.json.decode(body, type=_VaultDetails)
    children = answer.relationship.data.child_addresses
    if not children:
        raise ValueError("expected childAddresses of the vault, got none")
    addresses = [answer.vault_address, *children]
    for address in addresses:
        if not _ADDRESS.fullmatch(address):
            raise ValueError(f"expected an address, got {visible(address, 60)!r}")
    return sorted({address.lower() for address in addresses})


async def fetch_accounts(rest: Rest) -> list[str]:
    order = {"type": "vaultDetails", "vaultAddress": VAULT}
    return parse_accounts(await rest.post("/info", msgspec.json.encode(order)))


async def fetch_contracts(rest: Rest) -> list[Contract]:
    return parse_listing(await rest.post("/info", b'{"type":"meta"}'))


def parse_history(scope: str, body: bytes, reader: Reader) -> ParsedMessage:
    """An answer of userFillsByTime for the address asked for."""
    read = _reading(scope, reader)
    return reader.parse_each(
        reader.start_frame(body), _elements.decode(body), read, lambda e: bytes(e), complete=False
    )


def list_scopes(contracts: Mapping[str, Contract]) -> list[str]:
    """None beside the addresses."""
    return []


async def _fetch_pages(rest: Rest, scope: str, start_ms: int, end_ms: int) -> AsyncIterator[bytes]:
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
        begin = next_start(fills, lambda fill: _time_only.decode(fill).time, start, end_ms)
        if begin is None:
            return
        start = begin


HYPERLIQUID = Channel(
    source="hyperliquid",
    venue="hyperliquid",
    market="perpetual",
    ws="wss://api.hyperliquid.xyz/ws",
    rest="https://api.hyperliquid.xyz",
    eras=(
        Era(
            date(2023, 1, 1),
            "partial",
            "fills of the liquidity vault, for what it takes over (one liquidation in a thousand) "
            "and trades against",
            cited="API, WebSocket, Subscriptions: userFills, 2026-11-29",
        ),
    ),
    heartbeat="mid prices",
    heartbeat_seconds=5.0,
    heartbeat_topics=("allMids",),
    ping='{"method":"ping"}',
    ping_seconds=30.0,
    topics=list_topics,
    accounts=fetch_accounts,
    account_topic=account_topic,
    topics_per_message=1,
    subscribe=subscribe,
    parse=parse,
    contracts=fetch_contracts,
)

register_stream(
    HYPERLIQUID,
    docs="https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/subscriptions",
    summary="Liquidations on Hyperliquid in fills of its liquidity vault; it has no feed of all.",
)
register_history(
    History(
        source="hyperliquid-history",
        channel=HYPERLIQUID,
        window_seconds=86_400,
        scopes=list_scopes,
        pages=_fetch_pages,
        parse=parse_history,
    ),
    docs="https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint",
    summary="Past liquidations on Hyperliquid, from the newest 10,000 fills of each vault address.",
)
