"""Bybit: S is the position's side, a frame holds many rows, inverse sizes are dollars."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from chainwatch.exchanges.reader import Reader
from chainwatch.exchanges.venues import bybit
from tests.venues.fixtures import check_figures, messages, rows
from tests.venues.protocols import BASE_MS, Answer, Past, Protocol, dump, now_ms


def test_linear_sides_sizes_and_values_of_every_row_of_a_frame() -> None:
    check_figures(
        rows("bybit-linear"),
        [
            ("SOLUSDT", "long", 31.5, 31.5, 96.42, 3_037.23, 3_037.23),
            ("SOLUSDT", "long", 31.5, 31.5, 96.42, 3_037.23, 3_037.23),
            ("SOLUSDT", "short", 4.0, 4.0, 99.05, 396.2, 396.2),
            ("BTCPERP", "short", 0.013, 0.013, 72_000.5, 936.0065, 936.0065),
        ],
    )
    assert {row.price_kind for row in rows("bybit-linear")} == {"bankruptcy"}


def test_twins_in_one_frame_are_two_events() -> None:
    first, second, *_ = rows("bybit-linear")
    assert first.event != second.event
    assert (first.raw_side, first.time, first.sent_at) == (
        second.raw_side,
        second.time,
        second.sent_at,
    )


def test_inverse_sizes_are_dollars_already() -> None:
    check_figures(
        rows("bybit-inverse"),
        [
            ("BTCUSD", "long", 14_200.0, 0.2, 71_000.0, 14_200.0, 14_200.0),
            ("BTCUSD", "short", 355.0, 0.005, 71_000.0, 355.0, 355.0),
        ],
    )


def test_each_row_of_a_frame_keeps_its_own_part_of_it() -> None:
    three = rows("bybit-linear")[:3]
    kept = [json.loads(row.raw) for row in three]
    assert [len(frame["data"]) for frame in kept] == [1, 1, 1]
    assert {frame["topic"] for frame in kept} == {"allLiquidation.SOLUSDT"}
    assert [frame["data"][0]["p"] for frame in kept] == ["96.42", "96.42", "99.05"]


def test_acknowledgements_refusals_pongs_and_heartbeats_differ() -> None:
    parsed = messages("bybit-linear")
    assert parsed[0].acked == ("1",)
    assert not parsed[1].acked
    assert not parsed[1].heartbeat  # a pong proves the socket, not the feed
    assert parsed[2].heartbeat
    assert parsed[-1].acked == ("2",)
    assert "handler not found" in parsed[-1].refused


def test_a_retired_topic_is_read_in_its_time_and_rejected_after() -> None:
    data = {"updatedTime": 1673251091822, "symbol": "GALAUSDT", "side": "Sell"}
    frame = {
        "topic": "liquidation.GALAUSDT",
        "type": "snapshot",
        "ts": 1673251091822,
        "data": {**data, "size": "20160", "price": "0.04499"},
    }
    reader = Reader("bybit-linear", "bybit", "linear")
    reader.received = datetime(2023, 1, 9, 7, 58, 12, tzinfo=UTC)
    (row,) = bybit.parse(dump(frame).encode(), reader).rows
    assert (row.side, row.quantity_base, row.price) == ("short", 20_160.0, 0.04499)
    reader.received = datetime(2026, 2, 3, tzinfo=UTC)
    with pytest.raises(ValueError, match="was retired on 2025-02-26"):
        bybit.parse(dump(frame).encode(), reader)


def test_the_list_of_contracts_is_read_page_by_page() -> None:
    body = {
        "retCode": 0,
        "retMsg": "OK",
        "result": {
            "category": "inverse",
            "list": [
                {
                    "symbol": "BTCUSDZ26",
                    "contractType": "InverseFutures",
                    "baseCoin": "BTC",
                    "quoteCoin": "USD",
                    "settleCoin": "BTC",
                }
            ],
            "nextPageCursor": "page%3D2",
        },
    }
    (contract,), cursor = bybit.parse_listing(json.dumps(body).encode())
    assert cursor == "page%3D2"
    assert (contract.symbol, contract.kind, contract.size) == ("BTCUSDZ26", "inverse", 1.0)
    with pytest.raises(ValueError, match="10001 params error"):
        bybit.parse_listing(b'{"retCode":10001,"retMsg":"params error","result":{}}')


def test_arguments_of_a_connection_stay_below_21_000_characters() -> None:
    assert bybit.LINEAR.characters_per_connection < 21_000
    text = bybit.subscribe([f"allLiquidation.C{i}USDT" for i in range(10)], 3).text
    assert json.loads(text)["req_id"] == "3"
    assert len(json.loads(text)["args"]) == 10


# --- the venue as the loopback exchange plays it, after its documents ----------------------------


class Bybit(Protocol):
    page = 2

    def __init__(self, category: str, symbols: list[str]) -> None:
        self.category = category
        self.symbols = symbols

    def answer(self, text: str, denied: set[str]) -> Answer:
        order = json.loads(text)
        if order["op"] == "ping":
            return Answer(
                [dump({"success": True, "ret_msg": "pong", "conn_id": "a1", "op": "ping"})]
            )
        refused = [t for t in order["args"] if t in denied]
        reply = {
            "success": not refused,
            "ret_msg": f"error:handler not found,topic:{refused[0]}" if refused else "",
            "conn_id": "a1",
            "req_id": order.get("req_id", ""),
            "op": "subscribe",
        }
        return Answer([dump(reply)], set() if refused else set(order["args"]), True)

    def heartbeats(self, topics: set[str]) -> Iterable[str]:
        for topic in topics:
            if topic.startswith("tickers."):
                data = {"symbol": topic.partition(".")[2], "lastPrice": "20010.5"}
                yield dump({"topic": topic, "type": "delta", "data": data, "ts": now_ms()})

    def detail(self, n: int, at_ms: int) -> dict[str, Any]:
        return {
            "T": (at_ms or BASE_MS) + n,
            "s": self.symbol(n),
            "S": "Buy" if n % 2 == 0 else "Sell",
            "v": self.size(n) if self.category == "linear" else f"{n % 9_000 + 1}",
            "p": self.price(n),
        }

    def frames(self, n: int, at_ms: int) -> Iterator[tuple[str, str]]:
        row = self.detail(n, at_ms)
        topic = f"allLiquidation.{row['s']}"
        yield topic, dump({"topic": topic, "type": "snapshot", "ts": row["T"] + 4, "data": [row]})

    def rest(
        self, path: str, query: dict[str, str], body: bytes, history: list[Past]
    ) -> str | None:
        if path != "/v5/market/instruments-info" or query.get("category") != self.category:
            return None
        start = int(query.get("cursor") or 0)
        page = self.symbols[start : start + self.page]
        end = start + self.page
        result = {
            "category": self.category,
            "list": [self.listed(symbol) for symbol in page],
            "nextPageCursor": str(end) if end < len(self.symbols) else "",
        }
        return dump({"retCode": 0, "retMsg": "OK", "result": result, "time": now_ms()})

    def listed(self, symbol: str) -> dict[str, Any]:
        linear = self.category == "linear"
        base = symbol.removesuffix("USDT" if linear else "USD")
        return {
            "symbol": symbol,
            "contractType": "LinearPerpetual" if linear else "InversePerpetual",
            "status": "Trading",
            "baseCoin": base,
            "quoteCoin": "USDT" if linear else "USD",
            "settleCoin": "USDT" if linear else base,
        }


LOOPBACK = {
    "bybit-linear": Bybit("linear", ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT"]),
    "bybit-inverse": Bybit("inverse", ["BTCUSD", "ETHUSD"]),
}
