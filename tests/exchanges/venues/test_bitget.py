"""Bitget: the side is the position's, the amount a value that is never multiplied by a price."""

import json
from collections.abc import Iterable, Iterator

import pytest

from chainwatch.exchanges.venues import bitget
from tests.venues.fixtures import check_figures, messages, rows
from tests.venues.protocols import BASE_MS, Answer, Past, Protocol, dump, now_ms


def test_sides_and_values_of_linear_and_coin_margined_contracts() -> None:
    liquidations = rows("bitget")
    check_figures(
        liquidations,
        [
            ("SOLUSDT", "long", 12.5, 12.5, 96.5, 1_206.25, 1_206.25),
            ("SOLUSDT", "short", 0.5, 0.5, 98.0, 49.0, 49.0),
            ("BTCPERP", "short", 0.0125, 0.0125, 72_000.0, 900.0, 900.0),
            ("BTCUSD", "long", 1_400.0, 0.02, 70_000.0, 1_400.0, 1_400.0),
        ],
    )
    assert [row.market for row in liquidations] == ["usdt", "usdt", "usdc", "coin"]
    assert {row.price_kind for row in liquidations} == {"unknown"}


def test_acknowledgements_refusals_pongs_and_heartbeats_differ() -> None:
    parsed = messages("bitget")
    assert parsed[0].acked == ("liquidation usdt-futures",)
    assert (parsed[1].acked, parsed[1].heartbeat) == ((), False)
    assert parsed[2].heartbeat
    assert (parsed[-1].acked, parsed[-1].refused) == (
        ("nothing usdt-futures",),
        "30001 no such topic",
    )


def test_a_subscription_names_category_topic_and_symbol() -> None:
    request = bitget.subscribe(["liquidation usdt-futures", "ticker usdt-futures BTCUSDT"], 1)
    assert request.text == (
        '{"op":"subscribe","args":[{"instType":"usdt-futures","topic":"liquidation"},'
        '{"instType":"usdt-futures","topic":"ticker","symbol":"BTCUSDT"}]}'
    )


def test_the_list_of_contracts_is_that_of_its_category() -> None:
    body = Bitget().rest("/api/v3/market/instruments", {"category": "COIN-FUTURES"}, b"", [])
    assert body is not None
    (coin,) = bitget.parse_listing(body.encode(), "coin-futures")
    assert (coin.symbol, coin.kind, coin.quote, coin.settle, coin.market) == (
        "BTCUSD",
        "inverse",
        "USD",
        "BTC",
        "coin",
    )
    with pytest.raises(ValueError, match="40034 no"):
        bitget.parse_listing(b'{"code":"40034","msg":"no","data":[]}', "coin-futures")


# --- the venue as the loopback exchange plays it, after its documents ----------------------------


class Bitget(Protocol):
    symbols = ("BTCUSDT", "ETHUSDT", "BTCPERP", "BTCUSD")
    kinds = ("usdt-futures", "usdt-futures", "usdc-futures", "coin-futures")

    def answer(self, text: str, denied: set[str]) -> Answer:
        if text == "ping":
            return Answer(["pong"])
        replies, topics = [], set()
        for arg in json.loads(text)["args"]:
            topic = " ".join(arg[k] for k in ("topic", "instType", "symbol") if k in arg)
            if topic in denied:
                error = {"event": "error", "arg": arg, "code": "30001", "msg": f"no {topic}"}
                replies.append(dump(error))
                continue
            replies.append(dump({"event": "subscribe", "arg": arg}))
            topics.add(topic)
        return Answer(replies, topics, True)

    def heartbeats(self, topics: set[str]) -> Iterable[str]:
        for topic in topics:
            if topic.startswith("ticker "):
                _, kind, symbol = topic.split(" ")
                arg = {"instType": kind, "topic": "ticker", "symbol": symbol}
                data = [{"lastPrice": "20010.5"}]
                yield dump({"action": "snapshot", "arg": arg, "data": data, "ts": now_ms()})

    def frames(self, n: int, at_ms: int) -> Iterator[tuple[str, str]]:
        at = (at_ms or BASE_MS) + n
        kind = self.kinds[n % len(self.symbols)]
        row = {
            "symbol": self.symbol(n),
            "side": "buy" if n % 2 == 0 else "sell",
            "price": self.price(n),
            "amount": f"{n % 5_000 + 1}.5",
            "ts": f"{at}",
        }
        arg = {"instType": kind, "topic": "liquidation"}
        frame = {"action": "update", "arg": arg, "data": [row], "ts": at + 9_000}
        yield f"liquidation {kind}", dump(frame)

    def rest(
        self, path: str, query: dict[str, str], body: bytes, history: list[Past]
    ) -> str | None:
        if path != "/api/v3/market/instruments":
            return None
        data = [
            {"symbol": symbol, "baseCoin": symbol[:3], "quoteCoin": self.quote(kind)}
            for symbol, kind in zip(self.symbols, self.kinds, strict=True)
            if kind.upper() == query["category"]
        ]
        return dump({"code": "00000", "msg": "success", "data": data})

    def quote(self, kind: str) -> str:
        return {"usdt-futures": "USDT", "usdc-futures": "USDC", "coin-futures": "USD"}[kind]


LOOPBACK = {"bitget": Bitget()}
