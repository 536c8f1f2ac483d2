"""dYdX: trades of the type LIQUIDATED; a deleveraging is none."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from chainwatch.exchanges.reader import Reader
from chainwatch.exchanges.venues import dydx
from tests.venues.fixtures import check_figures, messages, rows
from tests.venues.protocols import BASE_MS, Answer, Past, Protocol, dump, iso, of_iso


def test_only_liquidations_become_rows_also_of_the_first_answer() -> None:
    liquidations = rows("dydx-v4")
    check_figures(
        liquidations,
        [
            ("BTC-USD", "long", 0.04, 0.04, 70_000.0, 2_800.0, 2_800.0),
            ("LINK-USD", "short", 25.0, 25.0, 14.5, 362.5, 362.5),
            ("LINK-USD", "long", 40.0, 40.0, 14.25, 570.0, 570.0),
        ],
    )
    assert f"{liquidations[0].time:%H:%M:%S.%f}" == "04:05:06.071000"


def test_what_is_stored_as_raw_holds_the_market_and_the_one_trade() -> None:
    kept = dydx.parse(rows("dydx-v4")[1].raw.encode(), _reader())
    assert [(row.symbol, row.side) for row in kept.rows] == [("LINK-USD", "short")]


def _reader() -> Reader:
    return Reader("dydx-v4", "dydx", "perpetual")


def test_acknowledgements_refusals_and_heartbeats_differ() -> None:
    parsed = messages("dydx-v4")
    assert parsed[1].acked == ("v4_orderbook BTC-USD",)
    assert parsed[2].heartbeat
    assert (parsed[3].acked, len(parsed[3].rows)) == (("v4_trades BTC-USD",), 1)
    assert parsed[-1].refused == "Invalid subscription id v4_trades NOPE"


def test_the_list_of_markets_leaves_out_what_is_settled() -> None:
    body = (
        b'{"markets":{"BTC-USD":{"ticker":"BTC-USD","status":"ACTIVE"},'
        b'"OLD-USD":{"ticker":"OLD-USD","status":"FINAL_SETTLEMENT"}}}'
    )
    assert [(c.symbol, c.base, c.quote, c.settle) for c in dydx.parse_listing(body)] == [
        ("BTC-USD", "BTC", "USD", "USDC")
    ]


# --- the venue as the loopback exchange plays it, after its documents ----------------------------


class Dydx(Protocol):
    symbols = ("BTC-USD", "ETH-USD", "SOL-USD")
    page = 1_000

    def welcome(self) -> list[str]:
        return [dump({"type": "connected", "connection_id": "c9", "message_id": 0})]

    def answer(self, text: str, denied: set[str]) -> Answer:
        order = json.loads(text)
        topic = f"{order['channel']} {order['id']}"
        if topic in denied:
            error = {"type": "error", "message": f"Invalid subscription id {topic}"}
            return Answer([dump(error)], subscribes=True)
        sides: tuple[str, ...] = (
            ("trades",) if order["channel"] == "v4_trades" else ("bids", "asks")
        )
        contents: dict[str, list[Any]] = {side: [] for side in sides}
        reply = self.wrapped("subscribed", order["channel"], order["id"], contents)
        return Answer([reply], {topic}, True)

    def wrapped(self, kind: str, channel: str, symbol: str, contents: Any) -> str:
        head = {"type": kind, "connection_id": "c9", "message_id": 1, "id": symbol}
        return dump({**head, "channel": channel, "version": "2.1.0", "contents": contents})

    def heartbeats(self, topics: set[str]) -> Iterable[str]:
        for topic in topics:
            channel, _, symbol = topic.partition(" ")
            if channel == "v4_orderbook":
                contents = [{"bids": [["20010.5", "1"]]}]
                yield self.wrapped("channel_batch_data", channel, symbol, contents)

    def trade(self, n: int, at: int) -> dict[str, Any]:
        return {
            "id": f"{n:024x}",
            "size": self.size(n),
            "price": self.price(n),
            "side": "SELL" if n % 2 == 0 else "BUY",
            "createdAt": iso(at),
            "type": "LIQUIDATED",
        }

    def frames(self, n: int, at_ms: int) -> Iterator[tuple[str, str]]:
        plain = {**self.trade(n, BASE_MS), "type": "LIMIT", "id": "f" * 24}
        contents = {"trades": [plain, self.trade(n, (at_ms or BASE_MS) + n)]}
        frame = self.wrapped("channel_data", "v4_trades", self.symbol(n), contents)
        yield f"v4_trades {self.symbol(n)}", frame

    def rest(
        self, path: str, query: dict[str, str], body: bytes, history: list[Past]
    ) -> str | None:
        if path == "/v4/perpetualMarkets":
            listed = {s: {"ticker": s, "status": "ACTIVE"} for s in self.symbols}
            return dump({"markets": listed})
        if path.startswith("/v4/trades/perpetualMarket/"):
            end = of_iso(query["createdBeforeOrAt"]) + 1
            past = self.past(history, 0, end, path.rpartition("/")[2])[::-1]
            return dump({"trades": [self.trade(n, ms) for n, ms in past[: self.page]]})
        return None


LOOPBACK = {"dydx-v4": Dydx()}
