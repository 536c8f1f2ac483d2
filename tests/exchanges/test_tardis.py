"""Captured messages of many venues against a second implementation's reading of them.

Its side is that of the order, its price for Bitfinex the entry price, its amount contracts for
inverse contracts; and it leaves out frames that its state tells it to, which are read here.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from chainwatch.exchanges.channel import Channel
from chainwatch.exchanges.reader import Reader
from chainwatch.exchanges.venues import (
    binance,
    bitfinex,
    bybit,
    deribit,
    dydx,
    htx,
    kraken_futures,
    okx,
)
from tests.vectors import shared_file

MESSAGES = "data/tardis_liquidation_messages/liquidation_raw_vs_normalized.json"
READERS: dict[str, Channel] = {
    "deribit": deribit.DERIBIT,
    "okex-futures": okx.OKX,
    "bitfinex-derivatives": bitfinex.BITFINEX,
    "binance-delivery": binance.COINM,
    "cryptofacilities": kraken_futures.KRAKEN,
    "huobi-dm": htx.FUTURES,
    "huobi-dm-swap": htx.COIN,
    "huobi-dm-linear-swap": htx.LINEAR,
    "bybit": bybit.LINEAR,
    "dydx-v4": dydx.DYDX,
}
# What no venue sends any more: retired topics, and venues that are closed.
RETIRED = ("futures/liquidation", "swap/liquidation", '"channel": "liquidations"', "liquidation.")
CLOSED = ("bitmex", "ftx")


def records() -> list[dict[str, Any]]:
    captured: list[dict[str, Any]] = json.loads(shared_file(MESSAGES).read_text("utf-8"))
    assert len(captured) == 21
    return captured


def retired(record: dict[str, Any]) -> bool:
    text = json.dumps(record["raw"])
    topic = str(record["raw"].get("topic", "")) if isinstance(record["raw"], dict) else ""
    return any(name in text for name in RETIRED[:3]) or topic.startswith(RETIRED[3])


def read(record: dict[str, Any]) -> list[Any]:
    channel = READERS[record["exchange"]]
    reader = Reader(channel.source, channel.venue, channel.market)
    reader.received = datetime.now(UTC)
    parsed = channel.parse(json.dumps(record["raw"]).encode(), reader)
    assert not parsed.rejects, parsed.rejects
    return list(parsed.rows)


def test_sides_prices_and_amounts_equal_the_other_implementation() -> None:
    count = 0
    for record in records():
        if record["exchange"] in CLOSED or retired(record) or not record["normalized"]:
            continue
        rows = read(record)
        assert len(rows) == len(record["normalized"]), record
        for row, other in zip(rows, record["normalized"], strict=True):
            count += 1
            # An order that sells closes a long.
            assert row.side == {"sell": "long", "buy": "short"}[other["side"]], record
            given = datetime.fromisoformat(other["timestamp"])
            assert abs((row.time - given).total_seconds()) < 0.001
            if (
                record["exchange"] != "binance-delivery"
            ):  # there its price is the order's, not the fill
                assert row.price == other["price"]
            amounts = (row.contracts, row.quantity_base, row.notional_quote)
            assert other["amount"] in [None if a is None else pytest.approx(a) for a in amounts]
    assert count == 10


def test_what_is_not_a_liquidation_gives_no_row() -> None:
    (trade,) = [r for r in records() if r["exchange"] == "dydx-v4"]
    plain = [t for t in trade["raw"]["contents"]["trades"] if t["type"] != "LIQUIDATED"]
    assert plain
    raw = {**trade["raw"], "contents": {"trades": plain}}
    assert read({**trade, "raw": raw}) == []


def test_what_the_other_leaves_out_is_still_a_liquidation() -> None:
    """The other implementation leaves frames out because of its own state."""
    left_out = [r for r in records() if not r["normalized"] and r["exchange"] not in CLOSED]
    assert [len(read(record)) for record in left_out] == [1, 1, 1]
    assert [read(record)[0].side for record in left_out] == ["short", "long", "short"]


def test_retired_topics_are_no_liquidations_of_today() -> None:
    """A retired form whose dates are known says so, and is read in a recording of its time."""
    dated = 0
    for record in records():
        if record["exchange"] not in READERS or not retired(record):
            continue
        channel = READERS[record["exchange"]]
        reader = Reader(channel.source, channel.venue, channel.market)
        reader.received = datetime.now(UTC)
        raw = json.dumps(record["raw"]).encode()
        if not channel.forms:
            assert not channel.parse(raw, reader).rows
            continue
        with pytest.raises(ValueError, match="was retired on"):
            channel.parse(raw, reader)
        reader.received = datetime.fromisoformat(record["normalized"][0]["timestamp"])
        if "ts" not in record["raw"]:  # older interfaces than the retired form's, never read
            with pytest.raises(msgspec.ValidationError):
                channel.parse(raw, reader)
            continue
        rows = channel.parse(raw, reader).rows
        for row, other in zip(rows, record["normalized"], strict=True):
            dated += 1
            assert row.time == datetime.fromisoformat(other["timestamp"])
            assert row.side == {"sell": "long", "buy": "short"}[other["side"]]
            assert row.price == other["price"]
    assert dated > 0
