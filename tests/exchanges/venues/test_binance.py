"""Binance: the order's side is the reverse of the position's, z is the size, COIN-M counts USD."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from chainwatch.exchanges.contracts import Contract
from chainwatch.exchanges.reader import Reader
from chainwatch.exchanges.venues import binance
from tests.venues.fixtures import check_figures, messages, rows
from tests.venues.protocols import BASE_MS, Answer, Past, Protocol, dump, now_ms


def test_usdm_sides_sizes_and_values() -> None:
    liquidations = rows("binance-usdm")
    check_figures(
        liquidations,
        [
            ("BTCUSDT", "long", 0.416, 0.416, 71_050.4, 29_556.9664, 29_556.9664),
            ("ETHUSDC", "short", 3.2, 3.2, 2_502.25, 8_007.2, 8_007.2),
            ("ETHBTC", "long", 2.0, 2.0, 0.03511, 0.07022, None),
        ],
    )
    assert [row.price_kind for row in liquidations] == ["fill", "fill", "order"]
    assert [row.usd_rule for row in liquidations] == [
        "USDT = 1 USD",
        "USDC = 1 USD",
        "n/a (quoted in BTC)",
    ]


def test_coinm_contracts_are_dollars_not_multiplied_by_a_price() -> None:
    check_figures(
        rows("binance-coinm"),
        [
            ("BTCUSD_PERP", "long", 71.0, 0.1, 71_000.0, 7_100.0, 7_100.0),
            ("ADAUSD_260925", "short", 12.0, 300.0, 0.4, 120.0, 120.0),
        ],
    )
    assert {row.usd_rule for row in rows("binance-coinm")} == {"USD"}


def test_acknowledgements_refusals_and_heartbeats_differ() -> None:
    parsed = messages("binance-usdm")
    assert parsed[0].acked == ("1",)
    assert parsed[1].heartbeat
    assert (parsed[-1].acked, "unknown stream" in parsed[-1].refused) == (("9",), True)


def test_what_is_stored_as_raw_reads_as_the_same_row() -> None:
    reader = Reader("binance-usdm", "binance", "usdm", delivery="replay")
    for row in rows("binance-usdm"):
        reader.received = row.received_at
        reader.contracts = {
            row.symbol: Contract(
                symbol=row.symbol,
                base=str(row.base),
                quote=str(row.quote),
                settle=str(row.settle),
                kind="linear",
                size=1.0,
            )
        }
        assert binance.parse(row.raw.encode(), reader).rows == [row]


def test_the_list_of_contracts_gives_sizes_and_currencies() -> None:
    usdm = BinanceUsdm().rest("/fapi/v1/exchangeInfo", {}, b"", [])
    coinm = BinanceCoinm().rest("/dapi/v1/exchangeInfo", {}, b"", [])
    assert usdm is not None
    assert coinm is not None
    linear = binance.parse_listing(usdm.encode(), "linear")[0]
    assert (linear.symbol, linear.base, linear.quote, linear.settle) == (
        "BTCUSDT",
        "BTC",
        "USDT",
        "USDT",
    )
    inverse = {
        c.symbol: (c.kind, c.size, c.settle)
        for c in binance.parse_listing(coinm.encode(), "inverse")
    }
    assert inverse == {
        "BTCUSD_PERP": ("inverse", 100.0, "BTC"),
        "ETHUSD_PERP": ("inverse", 10.0, "ETH"),
    }


def test_the_subscription_names_both_streams() -> None:
    """On the route that delivers them."""
    request = binance.subscribe(["!forceOrder@arr", "btcusdt@markPrice"], 4)
    assert request.text == dump(
        {"method": "SUBSCRIBE", "params": ["!forceOrder@arr", "btcusdt@markPrice"], "id": 4}
    )
    assert request.tokens == ("4",)
    assert "/market/" in binance.USDM.ws


# --- the venue as the loopback exchange plays it, after its documents ----------------------------


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


LOOPBACK = {"binance-usdm": BinanceUsdm(), "binance-coinm": BinanceCoinm()}
