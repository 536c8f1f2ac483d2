"""Liquidation orders on Aster futures, which speaks Binance's protocol.

Unproven, needs a live check: that all its liquidations come in one stream, and how many of them.
"""

from __future__ import annotations

from datetime import date

import msgspec

from chainwatch.exchanges.channel import Era
from chainwatch.exchanges.feeds import register_stream
from chainwatch.exchanges.reader import ParsedMessage, Reader
from chainwatch.exchanges.venues import binance


def parse(raw: bytes, reader: Reader) -> ParsedMessage:
    """A frame of the public socket."""
    return binance.parse(raw, reader)


ASTER = msgspec.structs.replace(
    binance.USDM,
    source="aster",
    venue="aster",
    ws="wss://fstream.asterdex.com/ws",
    rest="https://fapi.asterdex.com",
    parse=parse,
    eras=(
        Era(
            date(2020, 1, 1),
            "unknown",
            "Binance's protocol, in which that sends one order per contract and second",
            cited="Aster Finance Futures API, Liquidation Order Streams, 2026-11-29",
        ),
    ),
    max_quiet_seconds=None,
)

register_stream(
    ASTER,
    docs="https://docs.asterdex.com/product/aster-perpetuals/api/api-documentation",
    summary="Liquidations on Aster futures: in Binance's protocol, how many of them is unknown.",
)
