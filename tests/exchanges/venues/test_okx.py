"""OKX: several contracts and details in a frame, contracts times their value, net mode."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from chainwatch.exchanges.venues import okx
from tests.venues.fixtures import check_figures, messages, rows
from tests.venues.protocols import BASE_MS, Answer, Past, Protocol, dump, now_ms


def test_sides_sizes_and_values_of_every_detail_of_every_contract() -> None:
    check_figures(
        rows("okx"),
        [
            ("BTC-USDT-SWAP", "long", 250.0, 2.5, 70_010.5, 175_026.25, 175_026.25),
            ("BTC-USDT-SWAP", "short", 8.0, 0.08, 72_500.0, 5_800.0, 5_800.0),
            ("DOGE-USDT-SWAP", "long", 3.0, 3_000.0, 0.1025, 307.5, 307.5),
            ("ETH-USD-SWAP", "short", 40.0, 0.16, 2_500.0, 400.0, 400.0),
            ("BTC-USD-261225", "long", 7.0, 0.01, 70_000.0, 700.0, 700.0),
        ],
    )


def test_swaps_and_futures_are_separate_markets() -> None:
    """Both sides are kept."""
    liquidations = rows("okx")
    assert [row.market for row in liquidations] == ["swap"] * 4 + ["futures"]
    assert [row.raw_side for row in liquidations] == [
        "long/sell",
        "short/buy",
        "net/sell",
        "net/buy",
        "long/sell",
    ]


def test_each_detail_keeps_its_own_part_of_the_frame() -> None:
    kept = [json.loads(row.raw) for row in rows("okx")[:3]]
    assert [[g["instId"] for g in frame["data"]] for frame in kept] == [
        ["BTC-USDT-SWAP"],
        ["BTC-USDT-SWAP"],
        ["DOGE-USDT-SWAP"],
    ]
    assert [frame["data"][0]["details"][0]["sz"] for frame in kept] == ["250", "8", "3"]
    assert all(frame["arg"]["instType"] == "SWAP" for frame in kept)


def test_acknowledgements_refusals_pongs_and_heartbeats_differ() -> None:
    parsed = messages("okx")
    assert parsed[0].acked == ("liquidation-orders SWAP",)
    assert (parsed[1].acked, parsed[1].heartbeat) == ((), False)
    assert parsed[2].heartbeat
    assert parsed[-1].refused == "60018 Wrong URL or channel"


def test_a_detail_that_cannot_be_read_does_not_cost_the_others() -> None:
    from chainwatch.exchanges.reader import Reader

    frame = next(iter(Okx().frames(0, 0)))[1]
    data = json.loads(frame)
    data["data"][0]["details"].append({"side": "sell"})
    data["data"].append({"instId": "X"})
    message = okx.parse(json.dumps(data).encode(), Reader("okx", "okx", "swap"))
    assert len(message.rows) == 1
    assert len(message.rejects) == 2
    assert "missing required field" in message.rejects[0][1]


def test_the_list_of_contracts_gives_sizes_in_coins_or_dollars() -> None:
    body = Okx().rest("/api/v5/public/instruments", {"instType": "SWAP"}, b"", [])
    assert body is not None
    assert {
        c.symbol: (c.kind, c.size, c.base, c.quote, c.settle)
        for c in okx.parse_listing(body.encode())
    } == {
        "BTC-USDT-SWAP": ("linear", 0.01, "BTC", "USDT", "USDT"),
        "ETH-USDT-SWAP": ("linear", 0.01, "ETH", "USDT", "USDT"),
        "BTC-USD-SWAP": ("inverse", 100.0, "BTC", "USD", "BTC"),
        "BTC-USD_UM-SWAP": ("linear", 0.01, "BTC", "USD", "USDC"),
    }
    with pytest.raises(ValueError, match="51000 no"):
        okx.parse_listing(b'{"code":"51000","msg":"no","data":[]}')


def test_history_is_asked_for_by_the_family_of_each_contract() -> None:
    """Contracts margined in USD share their underlying with those margined in coins."""
    listed = [
        {"instId": f"{family}-SWAP", "instType": "SWAP", "instFamily": family, "uly": uly}
        for family, uly in (
            ("BTC-USD", "BTC-USD"),
            ("BTC-USD_UM", "BTC-USD"),
            ("XAU-USD_UM", "XAU-USD"),
        )
    ]
    future = {"instId": "BTC-USD_UM-261225", "instType": "FUTURES", "uly": "BTC-USD"}
    listed.append({**future, "instFamily": "BTC-USD_UM"})
    body = json.dumps({"code": "0", "msg": "", "data": listed}).encode()
    contracts = {c.symbol: c for c in okx.parse_listing(body)}
    assert okx.list_scopes(contracts) == [
        "SWAP BTC-USD",
        "SWAP BTC-USD_UM",
        "SWAP XAU-USD_UM",
        "FUTURES BTC-USD_UM",
    ]
    assert {c.base for c in contracts.values()} == {"BTC", "XAU"}


# --- the venue as the loopback exchange plays it, after its documents ----------------------------


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
        groups: dict[str, dict[str, Any]] = {}
        for group in fits[: int(query["limit"])]:
            merged = groups.setdefault(group["instId"], {**group, "details": []})
            merged["details"] = [*merged["details"], *group["details"]]
        return list(groups.values())

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


LOOPBACK = {"okx": Okx()}
