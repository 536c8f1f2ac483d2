"""Deribit: whose position was liquidated is told by T, M and MT, not by the direction alone."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from chainwatch.exchanges.reader import Reader
from chainwatch.exchanges.venues import deribit
from tests.venues.fixtures import check_figures, messages, rows
from tests.venues.protocols import BASE_MS, Answer, Past, Protocol, dump, now_ms


def test_a_makers_liquidation_is_the_other_side_and_both_are_two_rows() -> None:
    liquidations = rows("deribit")
    check_figures(
        liquidations,
        [
            ("BTC-PERPETUAL", "long", 1_400.0, 0.02, 70_000.0, 1_400.0, 1_400.0),
            ("BTC-PERPETUAL", "long", 3_550.0, 0.05, 71_000.0, 3_550.0, 3_550.0),
            ("SOL_USDC-PERPETUAL", "short", 12.5, 12.5, 96.0, 1_200.0, 1_200.0),
            ("SOL_USDC-PERPETUAL", "long", 12.5, 12.5, 96.0, 1_200.0, 1_200.0),
            ("SOL_USDC-PERPETUAL", "short", 2.0, 2.0, 97.5, 195.0, 195.0),
        ],
    )
    assert [row.raw_side for row in liquidations] == [
        "T/sell",
        "M/buy",
        "MT/buy",
        "MT/buy",
        "T/buy",
    ]
    assert len({row.event for row in liquidations}) == 5


def test_answers_test_requests_and_heartbeats_differ() -> None:
    parsed = messages("deribit")
    assert parsed[0].acked == ()
    assert parsed[1].acked == ("trades.future.any.100ms",)
    assert "public/test" in parsed[2].reply
    assert parsed[3].heartbeat
    assert parsed[-1].refused == "11050 bad_request"


@pytest.mark.parametrize(
    ("field", "words"),
    [('"direction":"up"', "got 'up'"), ('"liquidation":"X"', "got 'X'")],
)
def test_a_mark_that_is_not_documented_is_a_reject(field: str, words: str) -> None:
    trade = (
        '{"trade_id":"1","timestamp":1770091506000,"price":1.5,"amount":2.0,'
        '"instrument_name":"BTC-PERPETUAL","direction":"sell","liquidation":"T"}'
    )
    name = field.split(":")[0]
    old = {'"direction"': '"direction":"sell"', '"liquidation"': '"liquidation":"T"'}[name]
    frame = (
        '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.future.any.100ms",'
        f'"data":[{trade.replace(old, field)},{trade}]}}}}'
    )
    message = deribit.parse(frame.encode(), Reader("deribit", "deribit", "futures"))
    assert len(message.rows) == 1
    assert words in message.rejects[0][1]


def test_the_list_of_contracts_tells_inverse_from_linear() -> None:
    body = Deribit().rest("/api/v2/public/get_instruments", {}, b"", [])
    assert body is not None
    assert [
        (c.symbol, c.kind, c.quote, c.settle) for c in deribit.parse_listing(body.encode())
    ] == [
        ("BTC-PERPETUAL", "inverse", "USD", "BTC"),
        ("ETH-PERPETUAL", "inverse", "USD", "ETH"),
        ("SOL_USDC-PERPETUAL", "linear", "USDC", "USDC"),
    ]


# --- the venue as the loopback exchange plays it, after its documents ----------------------------


class Deribit(Protocol):
    symbols = ("BTC-PERPETUAL", "ETH-PERPETUAL", "SOL_USDC-PERPETUAL")
    page = 1_000

    def answer(self, text: str, denied: set[str]) -> Answer:
        order = json.loads(text)
        head = {"jsonrpc": "2.0", "id": order["id"]}
        if order["method"] == "public/set_heartbeat":
            return Answer([dump({**head, "result": "ok"})])
        if order["method"] == "public/test":
            return Answer([dump({**head, "result": {"version": "1.2.26"}})])
        channels = order["params"]["channels"]
        if refused := [channel for channel in channels if channel in denied]:
            error = {"code": 11050, "message": f"bad_request {refused[0]}"}
            return Answer([dump({**head, "error": error})], subscribes=True)
        return Answer([dump({**head, "result": channels})], set(channels), True)

    def heartbeats(self, topics: set[str]) -> Iterable[str]:
        head = {"jsonrpc": "2.0", "method": "subscription"}
        for topic in topics:
            if topic.startswith("deribit_price_index."):
                data = {"index_name": "btc_usd", "price": 20010.5, "timestamp": now_ms()}
                yield dump({**head, "params": {"channel": topic, "data": data}})
        yield dump({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}})

    def trade(self, n: int, at: int) -> dict[str, Any]:
        return {
            "trade_seq": n,
            "trade_id": f"{self.symbol(n)[:3]}-{n}",
            "timestamp": at,
            "tick_direction": 3,
            "price": float(self.price(n)),
            "liquidation": "T",
            "instrument_name": self.symbol(n),
            "index_price": 20_000.5,
            "direction": "sell" if n % 2 == 0 else "buy",
            "amount": float((n % 50 + 1) * 10),
        }

    def frames(self, n: int, at_ms: int) -> Iterator[tuple[str, str]]:
        channel = "trades.future.any.100ms"
        plain = {**self.trade(n, BASE_MS), "trade_id": f"plain-{n}"}
        del plain["liquidation"]
        data = [plain, self.trade(n, (at_ms or BASE_MS) + n)]
        head = {"jsonrpc": "2.0", "method": "subscription"}
        yield channel, dump({**head, "params": {"channel": channel, "data": data}})

    def rest(
        self, path: str, query: dict[str, str], body: bytes, history: list[Past]
    ) -> str | None:
        if path.endswith("/get_instruments"):
            return dump({"jsonrpc": "2.0", "result": [self.listed(s) for s in self.symbols]})
        if path.endswith("/get_last_trades_by_currency_and_time"):
            start, end = int(query["start_timestamp"]), int(query["end_timestamp"]) + 1
            trades = [
                self.trade(n, ms)
                for n, ms in self.past(history, start, end)
                if self.currency(self.symbol(n)) == query["currency"]
            ]
            page = trades[: self.page]
            result = {"trades": page, "has_more": len(trades) > len(page)}
            return dump({"jsonrpc": "2.0", "result": result})
        return None

    def currency(self, symbol: str) -> str:
        return "USDC" if "_USDC" in symbol else symbol[:3]

    def listed(self, symbol: str) -> dict[str, Any]:
        linear = "_" in symbol
        return {
            "instrument_name": symbol,
            "base_currency": symbol[:3],
            "quote_currency": "USDC" if linear else "USD",
            "settlement_currency": "USDC" if linear else symbol[:3],
            "instrument_type": "linear" if linear else "reversed",
        }


LOOPBACK = {"deribit": Deribit()}
