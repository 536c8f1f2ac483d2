"""What ccxt asks of Binance USD-M, Bybit and OKX over REST, as their documents have it."""

from __future__ import annotations

import re
from typing import Any

HOUR_MS = 3_600_000
BEGIN_MS = 1_770_076_800_000


def binance(path: str, query: dict[str, str]) -> Any:
    match path:
        case "/fapi/v1/exchangeInfo":
            return {"symbols": [binance_symbol("BTC"), binance_symbol("ETH")]}
        case "/fapi/v1/depth":
            return {
                "lastUpdateId": 7,
                "E": BEGIN_MS,
                "T": BEGIN_MS,
                "bids": [["70000.1", "1.5"], ["70000.0", "2"]],
                "asks": [["70000.2", "0.25"], ["70000.4", "3"]],
            }
        case "/fapi/v1/openInterest":
            return {"openInterest": "81234.5", "symbol": query["symbol"], "time": BEGIN_MS}
        case "/fapi/v1/klines":
            return [kline(BEGIN_MS + n * HOUR_MS, f"7001{n}.0") for n in range(3)]
        case "/fapi/v1/premiumIndex":
            return {
                "symbol": query["symbol"],
                "markPrice": "70005.5",
                "indexPrice": "70001.0",
                "lastFundingRate": "0.0001",
                "nextFundingTime": BEGIN_MS + 8 * HOUR_MS,
                "time": BEGIN_MS,
            }
    return None


def kline(begin: int, close: str) -> list[Any]:
    head = [begin, "70000.0", "70100.0", "69900.0", close, "12.5", begin + HOUR_MS - 1]
    return [*head, "875000.0", 100, "6", "420000", "0"]


def binance_symbol(base: str) -> dict[str, Any]:
    return {
        "symbol": f"{base}USDT",
        "pair": f"{base}USDT",
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000,
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": 2,
        "quantityPrecision": 3,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "filters": [],
        "orderTypes": ["LIMIT"],
        "timeInForce": ["GTC"],
    }


BAR_MS = 300_000
BARS = 450


def interest(ms: int, category: str) -> float:
    """Open interest at a time: BTC of the linear contract, USD of the inverse one."""
    n = (ms - BEGIN_MS) // BAR_MS
    return 50_000.0 + n if category == "linear" else 400_000_000.0 + n


def bybit(path: str, query: dict[str, str]) -> Any:
    def answer(result: Any) -> Any:
        return {"retCode": 0, "retMsg": "OK", "result": result, "time": BEGIN_MS}

    match path:
        case "/v5/market/instruments-info":
            linear = query["category"] == "linear"
            contract = {
                "symbol": "BTCUSDT" if linear else "BTCUSD",
                "contractType": "LinearPerpetual" if linear else "InversePerpetual",
                "status": "Trading",
                "baseCoin": "BTC",
                "quoteCoin": "USDT" if linear else "USD",
                "settleCoin": "USDT" if linear else "BTC",
                "launchTime": "1585526400000",
                "deliveryTime": "0",
                "priceFilter": {"tickSize": "0.1", "minPrice": "0.1", "maxPrice": "999999"},
                "lotSizeFilter": {"qtyStep": "0.001" if linear else "1", "minOrderQty": "1"},
                "leverageFilter": {"minLeverage": "1", "maxLeverage": "100"},
            }
            return answer({"category": query["category"], "list": [contract], "nextPageCursor": ""})
        case "/v5/market/orderbook":
            book = {"s": query["symbol"], "b": [["69999.5", "1"]], "a": [["70000.5", "2"]]}
            return answer({**book, "ts": BEGIN_MS, "u": 1})
        case "/v5/market/tickers":
            ticker = {"symbol": query["symbol"], "lastPrice": "70000", "volume24h": "12.5"}
            return answer({"category": query["category"], "list": [ticker]})
        case "/v5/market/open-interest":
            first, last = int(query["startTime"]), int(query["endTime"])
            times = range(BEGIN_MS, BEGIN_MS + BARS * BAR_MS, BAR_MS)
            times_in = [ms for ms in times if first <= ms <= last][-int(query["limit"]) :]
            readings = [
                {"openInterest": f"{interest(ms, query['category'])}", "timestamp": f"{ms}"}
                for ms in reversed(times_in)
            ]
            names = {"symbol": query["symbol"], "category": query["category"]}
            return answer({**names, "list": readings, "nextPageCursor": ""})
        case "/v5/market/kline":
            first, many = int(query["start"]), int(query["limit"])
            begins = range(BEGIN_MS - BAR_MS, BEGIN_MS + BARS * BAR_MS, BAR_MS)
            begins_in = [ms for ms in begins if ms >= first][:many]
            bars = [
                [f"{ms}", "70000", "70100", "69900", "70050", "12.5", "875000"]
                for ms in reversed(begins_in)
            ]
            names = {"symbol": query["symbol"], "category": query["category"]}
            return answer({**names, "list": bars})
    return None


def okx(path: str, query: dict[str, str]) -> Any:
    def answer(data: Any) -> Any:
        return {"code": "0", "msg": "", "data": data}

    match path:
        case "/api/v5/public/instruments":
            if query["instType"] != "SWAP":
                return answer([])
            return answer([okx_swap("USDT"), okx_swap("USD")])
        case "/api/v5/public/open-interest":
            row = {"instId": query["instId"], "oi": "5000", "oiCcy": "50", "ts": f"{BEGIN_MS}"}
            return answer([{**row, "instType": "SWAP"}])
    return None


def okx_swap(quote: str) -> dict[str, Any]:
    linear = quote == "USDT"
    return {
        "instId": f"BTC-{quote}-SWAP",
        "instType": "SWAP",
        "instFamily": f"BTC-{quote}",
        "uly": f"BTC-{quote}",
        "baseCcy": "",
        "quoteCcy": "",
        "settleCcy": quote if linear else "BTC",
        "ctVal": "0.01" if linear else "100",
        "ctMult": "1",
        "ctType": "linear" if linear else "inverse",
        "ctValCcy": "BTC" if linear else "USD",
        "state": "live",
        "tickSz": "0.1",
        "lotSz": "0.01",
        "minSz": "0.01",
        "lever": "100",
        "listTime": "1573557408000",
        "expTime": "",
    }


_VENUES = {"/fapi/": binance, "/v5/": bybit, "/api/v5/": okx}


def answer(path: str, query: dict[str, str]) -> Any:
    """The answer to ccxt's request, or None where there is none."""
    for prefix, venue in _VENUES.items():
        if re.match(re.escape(prefix), path):
            return venue(path, query)
    return None
