"""How each venue's public socket and REST interface behave, after their documents.

Liquidation number n is of contract n modulo the number listed, a long if n is even, at BASE_MS + n,
so that every number is an event of its own. All figures are our own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

BASE_MS = 1_760_000_000_000


# A liquidation that REST tells of: its number and its time in milliseconds.
Past = tuple[int, int]


@dataclass
class Answer:
    """What a message of the client brings about."""

    replies: list[str] = field(default_factory=list)
    topics: set[str] = field(default_factory=set)
    subscribes: bool = False


def dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def now_ms() -> int:
    return int(time.time() * 1000)


class Protocol:
    """One source. `beat` is the pause between heartbeats in seconds."""

    symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    beat = 0.1
    packed = False

    def welcome(self) -> list[str]:
        return []

    def answer(self, text: str, denied: set[str]) -> Answer:
        raise NotImplementedError

    def heartbeats(self, topics: set[str]) -> Iterable[str]:
        raise NotImplementedError

    def frames(self, n: int, at_ms: int) -> Iterator[tuple[str, str]]:
        """(topic, frame) of liquidation number n."""
        raise NotImplementedError

    def wants(self, topics: set[str], topic: str) -> bool:
        return topic in topics

    def rest(
        self, path: str, query: dict[str, str], body: bytes, history: list[Past]
    ) -> str | None:
        raise NotImplementedError

    def past(
        self, history: Sequence[Past], start: int, end: int, symbol: str | None = None
    ) -> list[Past]:
        """What lies in a span of time, oldest first."""
        found = [(n, ms) for n, ms in history if start <= ms < end]
        found.sort(key=lambda one: one[1])
        return [one for one in found if symbol in (None, self.symbol(one[0]))]

    def symbol(self, n: int) -> str:
        return self.symbols[n % len(self.symbols)]

    def size(self, n: int) -> str:
        return f"{(n % 997 + 1) / 1000:.3f}"

    def price(self, n: int) -> str:
        return f"{20_000 + n % 1_000}.5"


class BinanceUsdm(Protocol):
    def answer(self, text: str, denied: set[str]) -> Answer:
        order = json.loads(text)
        refused = [p for p in order["params"] if p in denied]
        if refused:
            error = {"code": 2, "msg": f"Invalid request: unknown stream {refused[0]}"}
            return Answer([dump({"error": error, "id": order["id"]})], subscribes=True)
        return Answer([dump({"result": None, "id": order["id"]})], set(order["params"]), True)

    def heartbeats(self, topics: set[str]) -> Iterable[str]:
        for topic in topics:
            if "@markPrice" in topic:
                symbol = topic.partition("@")[0].upper()
                yield dump({"e": "markPriceUpdate", "E": now_ms(), "s": symbol, "p": "20011.25"})

    def order(self, n: int, at_ms: int) -> dict[str, Any]:
        at = (at_ms or BASE_MS) + n
        filled = self.size(n)
        order = {
            "s": self.symbol(n),
            "S": "SELL" if n % 2 == 0 else "BUY",
            "o": "LIMIT",
            "f": "IOC",
            "q": filled,
            "p": "19876.1",
            "ap": self.price(n),
            "X": "FILLED",
            "l": "0.001",
            "z": filled,
            "T": at,
        }
        return {"e": "forceOrder", "E": at + 3, "o": order}

    def frames(self, n: int, at_ms: int) -> Iterator[tuple[str, str]]:
        yield "!forceOrder@arr", dump(self.order(n, at_ms))

    def rest(
        self, path: str, query: dict[str, str], body: bytes, history: list[Past]
    ) -> str | None:
        if not path.endswith("/v1/exchangeInfo"):
            return None
        return dump({"symbols": [self.listed(symbol) for symbol in self.symbols]})

    def listed(self, symbol: str) -> dict[str, Any]:
        return {
            "symbol": symbol,
            "pair": symbol,
            "contractType": "PERPETUAL",
            "status": "TRADING",
            "baseAsset": symbol.removesuffix("USDT"),
            "quoteAsset": "USDT",
            "marginAsset": "USDT",
        }


class BinanceCoinm(BinanceUsdm):
    symbols = ("BTCUSD_PERP", "ETHUSD_PERP")

    def size(self, n: int) -> str:
        return f"{n % 97 + 1}"

    def listed(self, symbol: str) -> dict[str, Any]:
        base = symbol.partition("USD")[0]
        return {
            "symbol": symbol,
            "pair": f"{base}USD",
            "contractStatus": "TRADING",
            "contractSize": 100 if base == "BTC" else 10,
            "baseAsset": base,
            "quoteAsset": "USD",
            "marginAsset": base,
        }


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


class Okx(Protocol):
    symbols = (
        "BTC-USDT-SWAP",
        "ETH-USDT-SWAP",
        "BTC-USD-SWAP",
        "BTC-USD-261225",
        "BTC-USD_UM-SWAP",
    )

    def answer(self, text: str, denied: set[str]) -> Answer:
        if text == "ping":
            return Answer(["pong"])
        replies, topics = [], set()
        for arg in json.loads(text)["args"]:
            topic = f"{arg['channel']} {arg.get('instType') or arg.get('instId')}"
            if topic in denied:
                msg = f"Wrong URL or channel:{arg['channel']} doesn't exist."
                replies.append(dump({"event": "error", "code": "60018", "msg": msg}))
                continue
            replies.append(dump({"event": "subscribe", "arg": arg, "connId": "b2"}))
            topics.add(topic)
        return Answer(replies, topics, True)

    def heartbeats(self, topics: set[str]) -> Iterable[str]:
        for topic in topics:
            channel, _, name = topic.partition(" ")
            if channel == "mark-price":
                data = [{"instId": name, "markPx": "20012.7", "ts": f"{now_ms()}"}]
                yield dump({"arg": {"channel": channel, "instId": name}, "data": data})

    def kind(self, symbol: str) -> str:
        return "SWAP" if symbol.endswith("SWAP") else "FUTURES"

    def group(self, n: int, at_ms: int) -> dict[str, Any]:
        symbol = self.symbol(n)
        detail = {
            "bkLoss": "0",
            "bkPx": self.price(n),
            "ccy": "",
            "posSide": "long" if n % 2 == 0 else "short",
            "side": "sell" if n % 2 == 0 else "buy",
            "sz": f"{n % 500 + 1}",
            "ts": f"{(at_ms or BASE_MS) + n}",
        }
        return {
            "details": [detail],
            "instFamily": "-".join(symbol.split("-")[:2]),
            "instId": symbol,
            "instType": self.kind(symbol),
            "uly": "-".join(symbol.split("-")[:2]).removesuffix("_UM"),
        }

    def frames(self, n: int, at_ms: int) -> Iterator[tuple[str, str]]:
        group = self.group(n, at_ms)
        arg = {"channel": "liquidation-orders", "instType": group["instType"]}
        yield f"liquidation-orders {group['instType']}", dump({"arg": arg, "data": [group]})

    def rest(
        self, path: str, query: dict[str, str], body: bytes, history: list[Past]
    ) -> str | None:
        if path == "/api/v5/public/instruments":
            data = [self.listed(s) for s in self.symbols if self.kind(s) == query["instType"]]
            return dump({"code": "0", "msg": "", "data": data})
        if path == "/api/v5/public/liquidation-orders":
            return dump({"code": "0", "msg": "", "data": self.page(query, history)})
        return None

    def page(self, query: dict[str, str], history: list[Past]) -> list[dict[str, Any]]:
        """Newest first; `after` is a time that what is given must be older than."""
        fits = [
            self.group(n, ms - n)
            for n, ms in self.past(history, 0, int(query["after"]))[::-1]
            if self.kind(self.symbol(n)) == query["instType"]
            and "-".join(self.symbol(n).split("-")[:2]) == query["instFamily"]
        ]
        found: dict[str, dict[str, Any]] = {}
        for group in fits[: int(query["limit"])]:
            known = found.setdefault(group["instId"], {**group, "details": []})
            known["details"] = [*known["details"], *group["details"]]
        return list(found.values())

    def listed(self, symbol: str) -> dict[str, Any]:
        base, quote = symbol.split("-")[:2]
        linear = quote != "USD"
        settle = {"USD": base, "USD_UM": "USDC"}.get(quote, quote)
        return {
            "instId": symbol,
            "instType": self.kind(symbol),
            "instFamily": f"{base}-{quote}",
            "uly": f"{base}-{quote.removesuffix('_UM')}",
            "settleCcy": settle,
            "ctVal": "0.01" if linear else "100",
            "ctMult": "1",
            "ctType": "linear" if linear else "inverse",
            "ctValCcy": base if linear else "USD",
            "state": "live",
        }


PROTOCOLS: dict[str, Protocol] = {
    "binance-usdm": BinanceUsdm(),
    "binance-coinm": BinanceCoinm(),
    "bybit-linear": Bybit("linear", ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT"]),
    "bybit-inverse": Bybit("inverse", ["BTCUSD", "ETHUSD"]),
    "okx": Okx(),
}
