"""HTX: a sell order closes a long, contracts, coins and dollars, pings that want an answer."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from chainwatch.exchanges.reader import Reader
from chainwatch.exchanges.venues import htx
from tests.venues.fixtures import check_figures, messages, rows
from tests.venues.protocols import BASE_MS, Answer, Past, Protocol, dump, now_ms


def test_linear_frames_give_coins_beside_contracts() -> None:
    """Equal rows of a frame count twice."""
    liquidations = rows("htx-linear")
    check_figures(
        liquidations,
        [
            ("BTC-USDT", "long", 450.0, 0.45, 70_010.5, 31_504.725, 31_504.725),
            ("DOGE-USDT-260327", "short", 12.0, 1_200.0, 0.11, 132.0, 132.0),
            ("DOGE-USDT-260327", "short", 12.0, 1_200.0, 0.11, 132.0, 132.0),
        ],
    )
    assert len({row.event for row in liquidations}) == 3
    # The venue's own turnover is the same figure.
    turnover = [json.loads(row.raw)["data"][0]["trade_turnover"] for row in liquidations]
    assert [row.notional_quote for row in liquidations] == [
        pytest.approx(value) for value in turnover
    ]


def test_coin_margined_contracts_are_dollars() -> None:
    check_figures(
        rows("htx-coin"),
        [
            ("BTC-USD", "long", 35.0, 0.05, 70_000.0, 3_500.0, 3_500.0),
            ("ETH-USD", "short", 125.0, 0.5, 2_500.0, 1_250.0, 1_250.0),
        ],
    )
    check_figures(
        rows("htx-futures"),
        [
            ("BTC260327", "long", 7.0, 0.01, 70_000.0, 700.0, 700.0),
            ("BTC260327", "short", 14.0, 1_400 / 71_000, 71_000.0, 1_400.0, 1_400.0),
        ],
    )


def test_a_ping_is_the_heartbeat_and_gets_its_own_time() -> None:
    parsed = messages("htx-linear")
    assert parsed[0].acked == ("public.*.liquidation_orders",)
    assert parsed[1].heartbeat
    assert json.loads(parsed[1].reply) == {"op": "pong", "ts": "1770091511000"}
    assert parsed[-1].refused == "2014 invalid topic"


def test_history_is_parsed_like_the_stream() -> None:
    """An error is not an empty answer."""
    venue = Htx("linear", ("BTC-USDT",))
    path = "/linear-swap-api/v3/swap_liquidation_orders"
    query = {"start_time": "0", "end_time": "7199999", "contract": "BTC-USDT"}
    body = venue.rest(path, query, b"", [(0, 1_000), (1, 2_000)])
    assert body is not None
    late = body.replace("1000,", "1770091501000,").replace("2000,", "1770091502000,")
    reader = Reader("htx-linear-history", "htx", "linear", delivery="history")
    message = htx.parse_history("BTC-USDT", late.encode(), reader)
    assert [row.side for row in message.rows] == ["long", "short"]
    with pytest.raises(ValueError, match="403 no"):
        htx.parse_history("BTC-USDT", b'{"code":403,"msg":"no","data":[]}', reader)


def test_the_history_of_futures_is_requested_by_coin() -> None:
    """Once for all contracts of a coin."""
    listed = Htx("futures", ("BTC261225", "ETH261225", "BTC270326")).rest(
        "/x_contract_info", {}, b"", []
    )
    assert listed is not None
    contracts = {c.symbol: c for c in htx.parse_listing(listed.encode(), linear=False)}
    assert htx.list_coins(contracts) == ["BTC", "ETH"]


def test_the_list_of_contracts_gives_coins_or_dollars() -> None:
    linear = Htx("linear", ("BTC-USDT",)).rest("/x_contract_info", {}, b"", [])
    coin = Htx("coin", ("BTC-USD", "ETH-USD")).rest("/x_contract_info", {}, b"", [])
    assert linear is not None
    assert coin is not None
    assert [
        (c.kind, c.size, c.settle) for c in htx.parse_listing(linear.encode(), linear=True)
    ] == [("linear", 0.001, "USDT")]
    assert [(c.kind, c.size, c.settle) for c in htx.parse_listing(coin.encode(), linear=False)] == [
        ("inverse", 100.0, "BTC"),
        ("inverse", 10.0, "ETH"),
    ]


# --- the venue as the loopback exchange plays it, after its documents ----------------------------


class Htx(Protocol):
    packed = True

    def __init__(self, kind: str, symbols: Sequence[str]) -> None:
        self.kind = kind
        self.symbols = symbols

    def answer(self, text: str, denied: set[str]) -> Answer:
        order = json.loads(text)
        if order["op"] != "sub":
            assert order["op"] == "pong"
            return Answer()
        topic = order["topic"]
        assert (order.get("business_type") == "all") == (self.kind == "linear")
        reply = {"op": "sub", "cid": order["cid"], "topic": topic, "ts": now_ms(), "err-code": 0}
        if topic in denied:
            reply |= {"err-code": 2014, "err-msg": f"invalid topic {topic}"}
        return Answer([dump(reply)], set() if topic in denied else {topic}, True)

    def heartbeats(self, topics: set[str]) -> Iterable[str]:
        yield dump({"op": "ping", "ts": f"{now_ms()}"})

    def liquidated(self, n: int, at: int) -> dict[str, Any]:
        volume = n % 300 + 1
        row: dict[str, Any] = {
            "symbol": self.symbol(n)[:3],
            "contract_code": self.symbol(n),
            "direction": "sell" if n % 2 == 0 else "buy",
            "offset": "close",
            "volume": float(volume),
            "price": float(self.price(n)),
            "created_at": at,
        }
        if self.kind == "linear":
            coins = volume / 1000
            row |= {"amount": coins, "trade_turnover": coins * float(self.price(n))}
        return row

    def frames(self, n: int, at_ms: int) -> Iterator[tuple[str, str]]:
        at = (at_ms or BASE_MS) + n
        topic = f"public.{self.symbol(n)}.liquidation_orders"
        frame = {"op": "notify", "topic": topic, "ts": at + 60, "data": [self.liquidated(n, at)]}
        yield "public.*.liquidation_orders", dump(frame)

    def rest(
        self, path: str, query: dict[str, str], body: bytes, history: list[Past]
    ) -> str | None:
        if path.endswith("contract_info"):
            data = [self.listed(symbol) for symbol in self.symbols]
            return dump({"status": "ok", "data": data, "ts": now_ms()})
        if path.endswith("_liquidation_orders"):
            start, end = int(query["start_time"]), int(query["end_time"]) + 1
            assert end - start <= 7_200_000
            # The history of coin-margined futures is one of a coin, the others of a contract.
            of_coin = path == "/api/v3/contract_liquidation_orders"
            assert of_coin == (self.kind == "futures")
            named = self.past(history, start, end, None if of_coin else query["contract"])
            past = [
                {**self.liquidated(n, ms), "query_id": n + 1}
                for n, ms in named
                if n + 1 > int(query.get("from_id", 0))
                and (not of_coin or self.symbol(n)[:3] == query["symbol"])
            ]
            return dump({"code": 200, "msg": "", "data": past[:2], "ts": now_ms()})
        return None

    def listed(self, symbol: str) -> dict[str, Any]:
        linear = self.kind == "linear"
        listed = {
            "symbol": symbol[:3],
            "contract_code": symbol,
            "contract_size": 0.001 if linear else 100 if symbol.startswith("BTC") else 10,
        }
        return listed | ({"pair": symbol, "trade_partition": "USDT"} if linear else {})


LOOPBACK = {
    "htx-linear": Htx("linear", ("BTC-USDT", "ETH-USDT")),
    "htx-coin": Htx("coin", ("BTC-USD", "ETH-USD")),
    "htx-futures": Htx("futures", ("BTC261225", "ETH261225", "BTC270326", "ETH270326")),
}
