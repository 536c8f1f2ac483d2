"""Kraken Futures: trades of one type, inverse contracts in dollars, linear ones in coins."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from chainwatch.exchanges.reader import Reader
from chainwatch.exchanges.venues import kraken_futures
from tests.venues.fixtures import check_figures, messages, rows
from tests.venues.protocols import BASE_MS, Answer, Past, Protocol, dump, iso, now_ms, of_iso


def test_only_liquidations_become_rows_also_of_the_first_snapshot() -> None:
    liquidations = [row for row in rows("kraken-futures") if row.kind == "fill"]
    check_figures(
        liquidations,
        [
            ("PI_XBTUSD", "long", 4_200.0, 0.06, 70_000.0, 4_200.0, 4_200.0),
            ("PF_SOLUSD", "short", 12.5, 12.5, 96.4, 1_205.0, 1_205.0),
        ],
    )
    assert [row.event for row in liquidations] == ["11111111-aaaa", "33333333-aaaa"]


@pytest.mark.parametrize("kind", ["assignment", "termination", "unwind"])
def test_what_follows_a_liquidation_is_kept_and_in_no_sum(kind: str) -> None:
    trade = {
        "feed": "trade",
        "product_id": "PF_SOLUSD",
        "uid": "u1",
        "side": "sell",
        "type": kind,
        "time": BASE_MS,
        "qty": 2.0,
        "price": 100.0,
    }
    reader = Reader("kraken-futures", "kraken", "futures")
    (row,) = kraken_futures.parse(dump(trade).encode(), reader).rows
    assert row.kind == kind


def test_acknowledgements_refusals_and_heartbeats_differ() -> None:
    parsed = messages("kraken-futures")
    assert parsed[1].acked == ("heartbeat",)
    assert parsed[2].acked == ("trade PI_XBTUSD", "trade PF_SOLUSD")
    assert parsed[3].heartbeat
    assert (parsed[-1].acked, parsed[-1].refused) == (("trade PI_NOPE",), "Invalid product id")


def test_the_list_leaves_out_what_is_not_traded_and_calls_xbt_btc() -> None:
    body = (
        b'{"result":"success","instruments":['
        b'{"symbol":"pi_xbtusd","type":"futures_inverse","tradeable":true},'
        b'{"symbol":"PF_SOLUSD","type":"flexible_futures","tradeable":true},'
        b'{"symbol":"FI_XBTUSD_200101","type":"futures_inverse","tradeable":false},'
        b'{"symbol":"in_xbtusd","type":"spot index","tradeable":false}]}'
    )
    assert [(c.symbol, c.base, c.kind, c.settle) for c in kraken_futures.parse_listing(body)] == [
        ("PI_XBTUSD", "BTC", "inverse", "BTC"),
        ("PF_SOLUSD", "SOL", "linear", "USD"),
    ]
    with pytest.raises(ValueError, match="apiLimitExceeded"):
        kraken_futures.parse_listing(b'{"result":"error","error":"apiLimitExceeded"}')


# --- the venue as the loopback exchange plays it, after its documents ----------------------------


class KrakenFutures(Protocol):
    symbols = ("PF_XBTUSD", "PI_ETHUSD", "PI_XBTUSD")
    page = 100

    def welcome(self) -> list[str]:
        return [dump({"event": "info", "version": 1})]

    def answer(self, text: str, denied: set[str]) -> Answer:
        order = json.loads(text)
        if order["feed"] == "heartbeat":
            reply = {"event": "subscribed", "feed": "heartbeat"}
            return Answer([dump(reply)], {"heartbeat"}, True)
        topics = [f"trade {product}" for product in order["product_ids"]]
        head = {"feed": "trade", "product_ids": order["product_ids"]}
        if denied & set(topics):
            error = {"event": "error", "message": "Invalid product id", **head}
            return Answer([dump(error)], subscribes=True)
        replies = [dump({"event": "subscribed", **head})]
        replies += [
            dump({"feed": "trade_snapshot", "product_id": product, "trades": []})
            for product in order["product_ids"]
        ]
        return Answer(replies, set(topics), True)

    def heartbeats(self, topics: set[str]) -> Iterable[str]:
        if "heartbeat" in topics:
            yield dump({"feed": "heartbeat", "time": now_ms()})

    def trade(self, n: int, at: int) -> dict[str, Any]:
        return {
            "feed": "trade",
            "product_id": self.symbol(n),
            "uid": f"00000000-0000-4000-8000-{n:012}",
            "side": "sell" if n % 2 == 0 else "buy",
            "type": "liquidation",
            "seq": n,
            "time": at,
            "qty": float(n % 800 + 1),
            "price": float(self.price(n)),
        }

    def frames(self, n: int, at_ms: int) -> Iterator[tuple[str, str]]:
        trade = self.trade(n, (at_ms or BASE_MS) + n)
        yield f"trade {trade['product_id']}", dump(trade)

    def rest(
        self, path: str, query: dict[str, str], body: bytes, history: list[Past]
    ) -> str | None:
        if path.endswith("/instruments"):
            listed = [self.listed(symbol) for symbol in self.symbols]
            return dump({"result": "success", "instruments": listed})
        if path.endswith("/history"):
            end = of_iso(query["lastTime"])
            past = self.past(history, 0, end, query["symbol"])[::-1]
            trades = [
                {
                    "time": iso(ms),
                    "trade_id": n,
                    "price": float(self.price(n)),
                    "size": float(n % 800 + 1),
                    "side": "sell" if n % 2 == 0 else "buy",
                    "type": "liquidation",
                    "uid": f"00000000-0000-4000-8000-{n:012}",
                }
                for n, ms in past[: self.page]
            ]
            return dump({"result": "success", "history": trades})
        return None

    def listed(self, symbol: str) -> dict[str, Any]:
        linear = symbol.startswith("PF_")
        kind = "flexible_futures" if linear else "futures_inverse"
        return {"symbol": symbol, "type": kind, "tradeable": True, "contractSize": 1}


LOOPBACK = {"kraken-futures": KrakenFutures()}
