"""Lighter: the taker of a forced trade is liquidated; deleveraging is kept apart."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from chainwatch.exchanges.reader import Reader
from chainwatch.exchanges.venues import lighter
from tests.venues.fixtures import check_figures, messages, rows
from tests.venues.protocols import BASE_MS, Answer, Past, Protocol, dump, now_ms


def test_the_taker_of_a_liquidation_trade_is_the_liquidated() -> None:
    """Of the first answer, too, and in either list of trades."""
    liquidations = rows("lighter")
    check_figures(
        [row for row in liquidations if row.kind == "fill"],
        [
            ("BTC:1", "long", 0.04, 0.04, 70_000.0, 2_800.0, 2_800.0),
            ("ETH:0", "short", 1.5, 1.5, 2_500.0, 3_750.0, 3_750.0),
            ("ETH:0", "long", 0.25, 0.25, 2_480.0, 620.0, 620.0),
            ("BTC:1", "short", 0.01, 0.01, 70_010.0, 700.1, 700.1),
        ],
    )
    assert [row.event for row in liquidations] == ["90", "101", "102", "103", "104"]


def test_times_are_read_in_milliseconds_and_in_seconds() -> None:
    times = [f"{row.time:%H:%M:%S.%f}" for row in rows("lighter")]
    assert (times[0], times[-1]) == ("04:05:06.071000", "04:05:06.000000")


def test_a_deleveraging_is_kept_and_not_counted() -> None:
    assert [row.event for row in rows("lighter") if row.kind == "adl"] == ["102"]


def test_what_is_stored_as_raw_holds_the_one_trade() -> None:
    reader = Reader("lighter", "lighter", "perpetual")
    kept = lighter.parse(rows("lighter")[3].raw.encode(), reader)
    assert [(row.event, row.side) for row in kept.rows] == [("103", "long")]


def test_a_market_that_is_not_listed_goes_by_its_number() -> None:
    """BTC:1 is not the market 11, either."""
    reader = Reader("lighter", "lighter", "perpetual", contracts=lighter.parse_listing(LISTING))
    frame = json.loads(rows("lighter")[0].raw)
    frame["liquidation_trades"][0]["market_id"] = 11
    (row,) = lighter.parse(json.dumps(frame).encode(), reader).rows
    assert (row.symbol, row.quantity_base, row.notional_quote) == ("11", 0.04, 2_800.0)
    assert list(reader.unlisted) == ["11"]


def test_acknowledgements_refusals_and_heartbeats_differ() -> None:
    """An error names its channel in its text only."""
    parsed = messages("lighter")
    assert (parsed[1].acked, parsed[1].heartbeat) == (("height",), False)
    assert parsed[2].heartbeat
    assert (parsed[3].acked, len(parsed[3].rows)) == (("trade:1",), 1)
    assert [message.reply for message in parsed[7:9]] == ['{"type":"pong"}', ""]
    assert not parsed[8].heartbeat
    assert (parsed[9].acked, parsed[9].refused) == (("trade:1",), "")
    assert parsed[10].acked == ("trade:999",)
    assert parsed[10].refused == "30005 Invalid Channel: (trade/999)"


LISTING = (
    b'{"code":200,"order_book_details":[{"symbol":"BTC","market_id":1,"market_type":"perp"},'
    b'{"symbol":"1000PEPE","market_id":4},{"symbol":"ETH/USDC","market_id":2048,'
    b'"market_type":"spot"}],"spot_order_book_details":[]}'
)


def test_the_list_gives_perpetual_markets() -> None:
    assert [(c.symbol, c.base, c.quote, c.size) for c in lighter.parse_listing(LISTING)] == [
        ("BTC:1", "BTC", "USDC", 1.0),
        ("1000PEPE:4", "1000PEPE", "USDC", 1.0),
    ]
    with pytest.raises(ValueError, match="20001 no"):
        lighter.parse_listing(b'{"code":20001,"message":"no","order_book_details":[]}')


# --- the venue as the loopback exchange plays it, after its documents ----------------------------


class Lighter(Protocol):
    symbols = ("ETH:0", "BTC:1", "SOL:2")

    def welcome(self) -> list[str]:
        return [dump({"session_id": "s9", "type": "connected"})]

    def answer(self, text: str, denied: set[str]) -> Answer:
        order = json.loads(text)
        if order["type"] == "ping":
            return Answer([dump({"type": "pong"})])
        if order["type"] == "pong":
            return Answer()
        channel = order["channel"]
        name = channel.replace("/", ":")
        if channel in denied:
            error = {"code": 30005, "message": f"Invalid Channel: ({channel})"}
            return Answer([dump({"error": error})], subscribes=True)
        reply: dict[str, Any] = {"type": f"subscribed/{name.partition(':')[0]}", "channel": name}
        if channel == "height":
            reply |= {"height": 9, "timestamp": now_ms()}
        else:
            reply |= {"nonce": 1, "trades": [], "liquidation_trades": []}
        return Answer([dump(reply)], {channel}, True)

    def heartbeats(self, topics: set[str]) -> Iterable[str]:
        yield dump({"type": "ping"})
        if "height" in topics:
            frame = {"channel": "height", "height": 10, "timestamp": now_ms()}
            yield dump({**frame, "type": "update/height"})

    def frames(self, n: int, at_ms: int) -> Iterator[tuple[str, str]]:
        number = self.symbol(n).partition(":")[2]
        trade = {
            "trade_id": n + 1,
            "trade_id_str": f"{n + 1}",
            "type": "liquidation",
            "market_id": int(number),
            "size": self.size(n),
            "price": self.price(n),
            "is_maker_ask": n % 2 == 1,
            "timestamp": (at_ms or BASE_MS) + n,
        }
        head = {"type": "update/trade", "channel": f"trade:{number}", "nonce": n}
        yield f"trade/{number}", dump({**head, "trades": [], "liquidation_trades": [trade]})

    def of_second(self, text: str) -> str:
        """Frames name markets by number."""
        return text.replace("trade:0", "trade:1").replace('"market_id":0', '"market_id":1')

    def rest(
        self, path: str, query: dict[str, str], body: bytes, history: list[Past]
    ) -> str | None:
        if path != "/api/v1/orderBookDetails":
            return None
        named = [symbol.split(":") for symbol in self.symbols]
        listed = [
            {"symbol": name, "market_id": int(number), "market_type": "perp"}
            for name, number in named
        ]
        return dump({"code": 200, "order_book_details": listed, "spot_order_book_details": []})


LOOPBACK = {"lighter": Lighter()}
