"""Poloniex: contracts, the side of the order or of the position, answers to our pings."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from chainwatch.exchanges.reader import Reader
from chainwatch.exchanges.venues import poloniex
from tests.venues.fixtures import check_figures, messages, rows
from tests.venues.protocols import BASE_MS, Answer, Past, Protocol, dump


def test_a_sell_closes_a_long_and_in_hedge_mode_the_position_is_named() -> None:
    """Equal orders of a frame count twice."""
    liquidations = rows("poloniex")
    check_figures(
        liquidations,
        [
            ("BTC_USDT_PERP", "long", 40.0, 0.04, 70_000.5, 2_800.02, 2_800.02),
            ("DOGE_USDT_PERP", "short", 12.0, 1_200.0, 0.11, 132.0, 132.0),
            ("DOGE_USDT_PERP", "short", 12.0, 1_200.0, 0.11, 132.0, 132.0),
            ("BTC_USDT_PERP", "long", 10.0, 0.01, 70_010.0, 700.1, 700.1),
        ],
    )
    assert len({row.event for row in liquidations}) == 4
    assert {row.price_kind for row in liquidations} == {"bankruptcy"}


@pytest.mark.parametrize(("field", "word"), [("side", "sell"), ("posSide", "NET")])
def test_an_unknown_side_is_a_reject(field: str, word: str) -> None:
    frame = json.loads(rows("poloniex")[0].raw)
    frame["data"][0][field] = word
    message = poloniex.parse(json.dumps(frame).encode(), Reader("poloniex", "poloniex", "futures"))
    assert not message.rows
    assert f"got '{word}'" in message.rejects[0][1]


def test_acknowledgements_heartbeats_and_refusals_differ() -> None:
    parsed = messages("poloniex")
    assert parsed[0].acked == ("liquidation_orders",)
    assert parsed[1].heartbeat
    assert parsed[-1].refused == "Subscription failed (invalid channel)"


def test_the_list_gives_sizes_in_coins_or_in_quote() -> None:
    linear, inverse = poloniex.parse_listing(
        b'{"code":"200","msg":"Success","data":[{"symbol":"BNB_USDT_PERP","bCcy":"BNB",'
        b'"qCcy":"USDT","sCcy":"USDT","ctVal":"0.1","ctType":"LINEAR"},{"symbol":"BTC_USD_PERP",'
        b'"bCcy":"BTC","qCcy":"USD","sCcy":"BTC","ctVal":"100","ctType":"INVERSE"}]}'
    )
    assert (linear.kind, linear.size, linear.settle) == ("linear", 0.1, "USDT")
    assert (inverse.kind, inverse.size, inverse.settle) == ("inverse", 100.0, "BTC")
    with pytest.raises(ValueError, match="500 no"):
        poloniex.parse_listing(b'{"code":"500","msg":"no"}')


# --- the venue as the loopback exchange plays it, after its documents ----------------------------


class Poloniex(Protocol):
    symbols = ("BTC_USDT_PERP", "ETH_USDT_PERP", "SOL_USDT_PERP")

    def answer(self, text: str, denied: set[str]) -> Answer:
        order = json.loads(text)
        if order["event"] == "ping":
            return Answer([dump({"event": "pong"})])
        (channel,) = order["channel"]
        assert order["symbols"] == ["all"]
        if channel in denied:
            error = {"event": "error", "message": f"Subscription failed ({channel})"}
            return Answer([dump(error)], subscribes=True)
        return Answer([dump({"event": "subscribe", "channel": channel})], {channel}, True)

    def heartbeats(self, topics: set[str]) -> Iterable[str]:
        # The venue answers pings only: the tests, which wait for less, get answers unasked.
        yield dump({"event": "pong"})

    def frames(self, n: int, at_ms: int) -> Iterator[tuple[str, str]]:
        at = (at_ms or BASE_MS) + n
        row: dict[str, Any] = {
            "s": self.symbol(n),
            "side": "SELL" if n % 2 == 0 else "BUY",
            "posSide": "BOTH",
            "sz": f"{n % 300 + 1}",
            "bkPx": self.price(n),
            "uTime": at,
            "ts": at + 25,
        }
        yield "liquidation_orders", dump({"channel": "liquidation_orders", "data": [row]})

    def rest(
        self, path: str, query: dict[str, str], body: bytes, history: list[Past]
    ) -> str | None:
        if path != "/v3/market/allInstruments":
            return None
        listed = [
            {
                "symbol": symbol,
                "bCcy": symbol[:3],
                "qCcy": "USDT",
                "sCcy": "USDT",
                "ctVal": "0.001",
                "ctType": "LINEAR",
            }
            for symbol in self.symbols
        ]
        return dump({"code": "200", "msg": "Success", "data": listed})


LOOPBACK = {"poloniex": Poloniex()}
