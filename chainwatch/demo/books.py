"""A small exchange on loopback: order books and tickers as Binance's spot REST serves them.

ccxt reads it unmodified. What it offers is made up, in proportion to the demo's small market.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import msgspec

LEVELS = 400
REACH = 0.06


class Offer(msgspec.Struct, frozen=True):
    """One pair: its mid price, units on offer per side within 1 %, units traded in a day."""

    base: str
    quote: str
    mid_price: float
    units_1pct: float
    volume_24h: float


class SpotVenue:
    """Serves `offers` until its context is left; `millis` is its clock."""

    def __init__(self, offers: Sequence[Offer], millis: Callable[[], int]) -> None:
        self.offers = {f"{o.base}{o.quote}": o for o in offers}
        self._millis = millis
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.daemon = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def move(self, symbol: str, share: float) -> None:
        """A pair's mid price times `share`."""
        offer = self.offers[symbol]
        self.offers[symbol] = msgspec.structs.replace(offer, mid_price=offer.mid_price * share)

    def answer(self, path: str, symbol: str) -> tuple[int, Any]:
        """Status and body of a request."""
        if path == "/api/v3/exchangeInfo":
            return 200, {"symbols": [_market(o) for o in self.offers.values()]}
        offer = self.offers.get(symbol)
        if offer is None:
            return 400, {"code": -1121, "msg": "Invalid symbol."}
        if path == "/api/v3/depth":
            return 200, {"lastUpdateId": 1, "T": self._millis(), **_book(offer)}
        if path == "/api/v3/ticker/24hr":
            price = f"{offer.mid_price:.8f}"
            return 200, {
                "symbol": symbol,
                "lastPrice": price,
                "volume": f"{offer.volume_24h}",
                "quoteVolume": f"{offer.volume_24h * offer.mid_price}",
                "closeTime": self._millis(),
            }
        return 404, {"code": -1, "msg": "not here"}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        venue = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                where = urlsplit(self.path)
                parameters = parse_qs(where.query)
                status, body = venue.answer(where.path, parameters.get("symbol", [""])[0])
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def _market(offer: Offer) -> dict[str, Any]:
    return {
        "symbol": f"{offer.base}{offer.quote}",
        "status": "TRADING",
        "baseAsset": offer.base,
        "quoteAsset": offer.quote,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "isSpotTradingAllowed": True,
        "permissionSets": [["SPOT"]],
        "filters": [],
    }


def _book(offer: Offer) -> dict[str, list[list[str]]]:
    """Levels at equal distances up to REACH; near the mid price they are thinner."""
    steps = [(n + 1) * REACH / LEVELS for n in range(LEVELS)]
    per_level = offer.units_1pct * REACH / LEVELS / 0.01

    def side(sign: int) -> list[list[str]]:
        return [
            [f"{offer.mid_price * (1 + sign * d):.8f}", f"{per_level * min(1.4, 0.6 + 40 * d):.8f}"]
            for d in steps
        ]

    return {"bids": side(-1), "asks": side(1)}
