"""Paradex: trades of the type LIQUIDATION over REST."""

from __future__ import annotations

from typing import Any

import pytest

from chainwatch.exchanges.reader import ParsedMessage, Reader
from chainwatch.exchanges.venues import paradex
from tests.places import FIXTURES
from tests.venues.fixtures import check_figures
from tests.venues.protocols import Past, Protocol, dump


def parsed(body: bytes) -> ParsedMessage:
    reader = Reader("paradex-history", "paradex", "perpetual", delivery="history")
    reader.contracts = {c.symbol: c for c in paradex.parse_listing(LISTING)}
    return paradex.parse_history("BTC-USD-PERP", body, reader)


LISTING = (
    b'{"results":[{"symbol":"BTC-USD-PERP","base_currency":"BTC","quote_currency":"USD",'
    b'"settlement_currency":"USDC","asset_kind":"PERP"},{"symbol":"BTC-USD-26JUN26-70000-C",'
    b'"base_currency":"BTC","quote_currency":"USD","settlement_currency":"USDC",'
    b'"asset_kind":"OPTION"}]}'
)


def test_the_taker_of_a_liquidation_trade_is_the_liquidated() -> None:
    """Trades of other types are none."""
    message = parsed((FIXTURES / "paradex" / "trades.json").read_bytes())
    check_figures(
        message.rows,
        [
            ("BTC-USD-PERP", "long", 0.02, 0.02, 70_000.5, 1_400.01, 1_400.01),
            (
                "BTC-USD-PERP",
                "short",
                0.1,
                0.1,
                70_001.04692005321,
                7_000.104692005321,
                7_000.104692005321,
            ),
        ],
    )
    assert message.heartbeat
    assert not message.rejects


def test_an_answer_without_trades_is_no_sign_of_life() -> None:
    assert not parsed(b'{"next":null,"results":[]}').heartbeat
    with pytest.raises(ValueError, match="results"):
        parsed(b'{"error":"VALIDATION_ERROR"}')


def test_the_list_gives_perpetual_markets() -> None:
    (contract,) = paradex.parse_listing(LISTING)
    assert (contract.base, contract.quote, contract.settle) == ("BTC", "USD", "USDC")


# --- the venue as the loopback exchange plays it, after its documents ----------------------------


class Paradex(Protocol):
    """Pages of 50, the newest first; the next page is asked for by its pointer alone."""

    symbols = ("BTC-USD-PERP", "ETH-USD-PERP", "SOL-USD-PERP")
    page = 50

    def trade(self, n: int, ms: int, kind: str = "LIQUIDATION") -> dict[str, Any]:
        return {
            "id": f"{ms}{n:09}",
            "market": self.symbol(n),
            "side": "SELL" if n % 2 == 0 else "BUY",
            "size": self.size(n),
            "price": self.price(n),
            "created_at": ms,
            "trade_type": kind,
        }

    def rest(
        self, path: str, query: dict[str, str], body: bytes, history: list[Past]
    ) -> str | None:
        if path == "/v1/markets":
            return dump({"results": [self.listed(symbol) for symbol in self.symbols]})
        if path != "/v1/trades":
            return None
        if "cursor" in query:
            assert query.keys() == {"cursor"}
            market, start, end, offset = query["cursor"].split("|")
        else:
            assert int(query["page_size"]) <= 1_000
            market, start, end, offset = query["market"], query["start_at"], query["end_at"], "0"
        past = self.past(history, int(start), int(end) + 1, market)[::-1]
        trades = [self.trade(n, ms) for n, ms in past]
        trades.append({**self.trade(0, int(start), "FILL"), "market": market})
        first, last = int(offset), int(offset) + self.page
        following = f"{market}|{start}|{end}|{last}" if last < len(trades) else None
        return dump({"next": following, "prev": None, "results": trades[first:last]})

    def listed(self, symbol: str) -> dict[str, str]:
        return {
            "symbol": symbol,
            "base_currency": symbol[:3],
            "quote_currency": "USD",
            "settlement_currency": "USDC",
            "asset_kind": "PERP",
        }


LOOPBACK = {"paradex": Paradex()}
