"""Gate, HTX, Bitget, Deribit, Bitfinex, Kraken Futures, dYdX, Aster and Hyperliquid, after their
documents; numbering and figures as in tests.venues.protocols."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.venues.protocols import (
    BASE_MS,
    PROTOCOLS,
    Answer,
    BinanceUsdm,
    Past,
    Protocol,
    dump,
    now_ms,
)


def iso(ms: int) -> str:
    text = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def of_iso(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


class Gate(Protocol):
    page = 3

    def __init__(self, settle: str, symbols: Sequence[str]) -> None:
        self.settle = settle
        self.symbols = symbols

    def answer(self, text: str, denied: set[str]) -> Answer:
        order = json.loads(text)
        channel = order["channel"]
        if channel == "futures.ping":
            pong = {"time": order["time"], "channel": "futures.pong", "event": "", "result": None}
            return Answer([dump(pong)])
        assert isinstance(order["time"], int)
        topic = f"{channel} {order['payload'][0]}"
        error = {"code": 2, "message": f"unknown contract {topic}"} if topic in denied else None
        reply = {
            "time": order["time"],
            "channel": channel,
            "event": "subscribe",
            "error": error,
            "result": None if error else {"status": "success"},
        }
        return Answer([dump(reply)], set() if error else {topic}, True)

    def heartbeats(self, topics: set[str]) -> Iterable[str]:
        for topic in topics:
            if topic.startswith("futures.tickers "):
                result = [{"contract": topic.partition(" ")[2], "last": "20010.5"}]
                yield self.pushed("futures.tickers", now_ms(), result)

    def pushed(self, channel: str, at: int, result: Any) -> str:
        head = {"time": at // 1000, "time_ms": at, "channel": channel, "event": "update"}
        return dump({**head, "result": result})

    def frames(self, n: int, at_ms: int) -> Iterator[tuple[str, str]]:
        """In turn as live frames, as documents since 2026-08-20 and as older ones have it."""
        at = (at_ms or BASE_MS) + n
        size = (n % 400 + 1) * (-1 if n % 2 == 0 else 1)
        head = {"contract": self.symbol(n), "price": self.price(n)}
        form: Any = (
            {**head, "size": size, "time": at},
            [{**head, "size": f"{size}", "time": at}],
            [{**head, "price": float(self.price(n)), "size": size, "time_ms": at}],
        )[n % 3]
        yield "futures.public_liquidates !all", self.pushed("futures.public_liquidates", at, form)

    def rest(
        self, path: str, query: dict[str, str], body: bytes, history: list[Past]
    ) -> str | None:
        base = f"/api/v4/futures/{self.settle}"
        if path == f"{base}/contracts":
            return dump([self.listed(symbol) for symbol in self.symbols])
        if path == f"{base}/liq_orders":
            start, end = int(query["from"]) * 1000, (int(query["to"]) + 1) * 1000
            assert end - start <= 3_600_000
            return dump([self.liquidated(n, ms) for n, ms in self.past(history, start, end)][:1000])
        return None

    def listed(self, symbol: str) -> dict[str, Any]:
        linear = symbol.endswith("USDT")
        kind = "direct" if linear else "inverse"
        return {"name": symbol, "quanto_multiplier": "0.01" if linear else "0", "type": kind}

    def liquidated(self, n: int, ms: int) -> dict[str, Any]:
        size = (n % 400 + 1) * (1 if n % 2 == 0 else -1)
        return {
            "time": ms // 1000,
            "contract": self.symbol(n),
            "size": size,
            "order_size": -size,
            "order_price": "19999.5",
            "fill_price": self.price(n),
            "left": 0,
        }


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
        if path.endswith("/v3/swap_liquidation_orders"):
            start, end = int(query["start_time"]), int(query["end_time"]) + 1
            assert end - start <= 7_200_000
            found = [
                {**self.liquidated(n, ms), "query_id": n + 1}
                for n, ms in self.past(history, start, end, query["contract"])
                if n + 1 > int(query.get("from_id", 0))
            ]
            return dump({"code": 200, "msg": "", "data": found[:2], "ts": now_ms()})
        return None

    def listed(self, symbol: str) -> dict[str, Any]:
        linear = self.kind == "linear"
        listed = {
            "symbol": symbol[:3],
            "contract_code": symbol,
            "contract_size": 0.001 if linear else 100 if symbol.startswith("BTC") else 10,
        }
        return listed | ({"pair": symbol, "trade_partition": "USDT"} if linear else {})


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
            found = [
                self.trade(n, ms)
                for n, ms in self.past(history, start, end)
                if self.currency(self.symbol(n)) == query["currency"]
            ]
            page = found[: self.page]
            result = {"trades": page, "has_more": len(found) > len(page)}
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


class Bitfinex(Protocol):
    symbols = ("BTCF0:USTF0", "ETHF0:USTF0", "BTCUSD")
    page = 500

    def welcome(self) -> list[str]:
        return [dump({"event": "info", "version": 2, "platform": {"status": 1}})]

    def answer(self, text: str, denied: set[str]) -> Answer:
        order = json.loads(text)
        key = order["key"]
        if key in denied:
            error = {"event": "error", "msg": f"key: invalid {key}", "code": 10300, "key": key}
            return Answer([dump(error)], subscribes=True)
        reply = {"event": "subscribed", "channel": "status", "chanId": 91, "key": key}
        return Answer([dump(reply)], {key}, True)

    def heartbeats(self, topics: set[str]) -> Iterable[str]:
        for _ in topics:
            yield '[91,"hb"]'

    def row(self, n: int, at: int, match: int = 1) -> list[Any]:
        amount = (n % 90 + 1) / 8 * (1 if n % 2 == 0 else -1)
        price = float(self.price(n)) if match else None
        symbol = f"t{self.symbol(n)}"
        return [
            "pos",
            7_000_000 + n,
            at,
            None,
            symbol,
            amount,
            20_400.5,
            None,
            match,
            1,
            None,
            price,
        ]

    def frames(self, n: int, at_ms: int) -> Iterator[tuple[str, str]]:
        at = (at_ms or BASE_MS) + n
        yield "liq:global", dump([91, [self.row(n, at)]])

    def rest(
        self, path: str, query: dict[str, str], body: bytes, history: list[Past]
    ) -> str | None:
        if path.startswith("/v2/conf/"):
            return dump([list(self.symbols[:2]), list(self.symbols[2:])])
        if path == "/v2/liquidations/hist":
            found = self.past(history, int(query["start"]), int(query["end"]) + 1)
            return dump([[self.row(n, ms)] for n, ms in found[: self.page]])
        return None


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
        asked = [f"trade {product}" for product in order["product_ids"]]
        head = {"feed": "trade", "product_ids": order["product_ids"]}
        if denied & set(asked):
            error = {"event": "error", "message": "Invalid product id", **head}
            return Answer([dump(error)], subscribes=True)
        replies = [dump({"event": "subscribed", **head})]
        replies += [
            dump({"feed": "trade_snapshot", "product_id": product, "trades": []})
            for product in order["product_ids"]
        ]
        return Answer(replies, set(asked), True)

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
            found = self.past(history, 0, end, query["symbol"])[::-1]
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
                for n, ms in found[: self.page]
            ]
            return dump({"result": "success", "history": trades})
        return None

    def listed(self, symbol: str) -> dict[str, Any]:
        linear = symbol.startswith("PF_")
        kind = "flexible_futures" if linear else "futures_inverse"
        return {"symbol": symbol, "type": kind, "tradeable": True, "contractSize": 1}


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
            found = self.past(history, 0, end, path.rpartition("/")[2])[::-1]
            return dump({"trades": [self.trade(n, ms) for n, ms in found[: self.page]]})
        return None


class Hyperliquid(Protocol):
    symbols = ("BTC", "ETH", "HYPE")

    def answer(self, text: str, denied: set[str]) -> Answer:
        order = json.loads(text)
        if order["method"] == "ping":
            return Answer([dump({"channel": "pong"})])
        subscription = order["subscription"]
        topic = " ".join(subscription[k] for k in ("type", "user") if k in subscription)
        if topic in denied:
            error = {"channel": "error", "data": f"Invalid subscription {topic}"}
            return Answer([dump(error)], subscribes=True)
        return Answer([dump({"channel": "subscriptionResponse", "data": order})], {topic}, True)

    def heartbeats(self, topics: set[str]) -> Iterable[str]:
        if "allMids" in topics:
            yield dump({"channel": "allMids", "data": {"mids": {"BTC": "20010.5"}}})

    def wants(self, topics: set[str], topic: str) -> bool:
        return any(each.startswith("userFills ") for each in topics)

    def fill(self, n: int, at: int) -> dict[str, Any]:
        return {
            "coin": self.symbol(n),
            "px": self.price(n),
            "sz": self.size(n),
            "side": "B" if n % 2 == 0 else "A",
            "time": at,
            "startPosition": "0.0",
            "dir": "Open Long" if n % 2 == 0 else "Open Short",
            "closedPnl": "0.0",
            "hash": "0x0",
            "oid": n,
            "crossed": True,
            "fee": "0.0",
            "tid": 10**12 + n,
            "liquidation": {
                "liquidatedUser": "0x" + "ab" * 20,
                "markPx": "20000.5",
                "method": "backstop",
            },
        }

    def frames(self, n: int, at_ms: int) -> Iterator[tuple[str, str]]:
        data = {"user": "0x" + "cd" * 20, "fills": [self.fill(n, (at_ms or BASE_MS) + n)]}
        yield "userFills", dump({"channel": "userFills", "data": data})

    def rest(
        self, path: str, query: dict[str, str], body: bytes, history: list[Past]
    ) -> str | None:
        order = json.loads(body)
        if order["type"] == "meta":
            return dump({"universe": [{"name": s, "szDecimals": 4} for s in self.symbols]})
        found = self.past(history, order["startTime"], order["endTime"] + 1)
        return dump([self.fill(n, ms) for n, ms in found[:2_000]])


ALL: dict[str, Protocol] = {
    **PROTOCOLS,
    "gate-usdt": Gate("usdt", ("BTC_USDT", "ETH_USDT")),
    "gate-btc": Gate("btc", ("BTC_USD",)),
    "htx-linear": Htx("linear", ("BTC-USDT", "ETH-USDT")),
    "htx-coin": Htx("coin", ("BTC-USD", "ETH-USD")),
    "htx-futures": Htx("futures", ("BTC261225", "ETH261225")),
    "bitget": Bitget(),
    "deribit": Deribit(),
    "bitfinex": Bitfinex(),
    "kraken-futures": KrakenFutures(),
    "dydx-v4": Dydx(),
    "aster": BinanceUsdm(),
    "hyperliquid": Hyperliquid(),
}
