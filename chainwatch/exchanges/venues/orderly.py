"""Liquidated positions on Orderly Network, over REST.

A row is one account's liquidation with a position for each contract, which a liquidator takes over.
`position_qty` counts coins and has the position's sign: the documents of the liquidators' claim
call one above 0 a purchase. The price is that of the transfer, which is no trade's: its kind is
`unknown`. Rows of the type claim, in which the insurance fund passes a position on, are no
second liquidation. A position of 0 coins was none.

The public stream `liquidation` is not read, for it names no price.

Unproven, needs a live check: the sign of `position_qty`, that times and pages are taken as for an
account's own liquidations, how far back it goes, and that partial liquidations are rows of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from chainwatch.exchanges.backfill import History
from chainwatch.exchanges.channel import Era, VenueMarket
from chainwatch.exchanges.contracts import Contract, is_zero, parse_contracts
from chainwatch.exchanges.feeds import register_history
from chainwatch.exchanges.reader import ParsedMessage, Reader, VenueLiquidation
from chainwatch.numbers import real
from chainwatch.tables.exchange import ExchangeLiquidation

if TYPE_CHECKING:
    from chainwatch.net.http import Rest

TYPES = ("liquidated", "claim")
PREFIX = "PERP_"
SCOPE = "all"
PAGE = 500


class _PositionMessage(msgspec.Struct):
    symbol: str
    position_qty: float | str
    transfer_price: float | str


class _LiquidationMessage(msgspec.Struct):
    liquidation_id: int
    timestamp: int
    type: str
    positions_by_perp: list[_PositionMessage]


class _Meta(msgspec.Struct):
    total: int
    records_per_page: int
    current_page: int


class _Rows(msgspec.Struct):
    rows: list[msgspec.Raw]
    meta: _Meta | None = None


class _Answer(msgspec.Struct):
    success: bool
    data: _Rows | None = None
    code: int | None = None
    message: str = ""


class _ListedContract(msgspec.Struct):
    symbol: str


_answer = msgspec.json.Decoder(_Answer)
_liquidation = msgspec.json.Decoder(_LiquidationMessage)
_contract = msgspec.json.Decoder(_ListedContract)


def _rows(body: bytes) -> _Rows:
    answer = _answer.decode(body)
    if not answer.success or answer.data is None:
        raise ValueError(f"{answer.code} {answer.message}")
    return answer.data


def parse_history(scope: str, body: bytes, reader: Reader) -> ParsedMessage:
    """An answer of liquidated_positions."""

    def read(element: msgspec.Raw, text: str) -> Sequence[ExchangeLiquidation]:
        liquidation = _liquidation.decode(element)
        if liquidation.type not in TYPES:
            expected = " or ".join(TYPES)
            raise ValueError(f"expected type {expected}, got {liquidation.type!r}")
        if liquidation.type == "claim":
            return []
        return [
            _row(liquidation, position, text, reader)
            for position in liquidation.positions_by_perp
            if not is_zero(position.position_qty)
        ]

    return reader.parse_each(
        reader.start_frame(body),
        _rows(body).rows,
        read,
        lambda element: bytes(element),
        complete=False,
    )


def _row(
    liquidation: _LiquidationMessage, position: _PositionMessage, text: str, reader: Reader
) -> ExchangeLiquidation:
    coins = real(position.position_qty)
    base, quote = _currencies(position.symbol)
    return reader.build_row(
        VenueLiquidation(
            symbol=position.symbol,
            side="long" if coins > 0 else "short",
            raw_side=f"{position.position_qty}",
            at_ms=liquidation.timestamp,
            base=abs(coins),
            price=position.transfer_price,
            price_kind="unknown",
            event=f"{liquidation.liquidation_id} {base}",
            quote_currency=quote,
            raw=text,
        )
    )


def _currencies(symbol: str) -> tuple[str, str]:
    """Coin and quote of a name like PERP_BTC_USDC."""
    base, _, quote = symbol.removeprefix(PREFIX).rpartition("_")
    if not symbol.startswith(PREFIX) or not base or not quote:
        raise ValueError(f"expected a contract like PERP_BTC_USDC, got {symbol!r}")
    return base, quote


def parse_listing(body: bytes) -> list[Contract]:
    """The perpetual contracts of an info answer, sized in coins."""
    return parse_contracts(_rows(body).rows, _parse_contract)


def _parse_contract(element: msgspec.Raw) -> Contract | None:
    symbol = _contract.decode(element).symbol
    if not symbol.startswith(PREFIX):
        return None
    base, quote = _currencies(symbol)
    return Contract(symbol=symbol, base=base, quote=quote, settle=quote, kind="linear", size=1.0)


async def fetch_contracts(rest: Rest) -> list[Contract]:
    return parse_listing(await rest.get("/v1/public/info"))


def list_scopes(contracts: Mapping[str, Contract]) -> list[str]:
    """One answer is about all contracts."""
    return [SCOPE]


async def _fetch_pages(rest: Rest, scope: str, start_ms: int, end_ms: int) -> AsyncIterator[bytes]:
    page = 1
    while True:
        body = await rest.get(
            "/v1/public/liquidated_positions",
            start_t=start_ms,
            end_t=end_ms - 1,
            page=page,
            size=PAGE,
        )
        yield body
        answer = _rows(body)
        meta = answer.meta
        if not answer.rows or meta is None or meta.current_page != page:
            return
        # The venue may give fewer on a page than are requested.
        if page * meta.records_per_page >= meta.total:
            return
        page += 1


ORDERLY = VenueMarket(
    source="orderly",
    venue="orderly",
    market="perpetual",
    rest="https://api.orderly.org",
    eras=(
        Era(
            date(2023, 5, 11),
            "unknown",
            "no limit is documented",
            cited="REST API, Get Liquidated Positions Info, 2023-05-11",
        ),
    ),
    contracts=fetch_contracts,
)

register_history(
    History(
        source="orderly-history",
        channel=ORDERLY,
        window_seconds=86_400,
        scopes=list_scopes,
        pages=_fetch_pages,
        parse=parse_history,
        # 10 requests a second from one address.
        pace=0.1,
    ),
    docs="https://orderly.network/docs/build-on-omnichain/evm-api/restful-api/public/get-liquidated-positions-info",
    summary="Liquidated positions on Orderly perpetuals, at the price of their transfer.",
)
