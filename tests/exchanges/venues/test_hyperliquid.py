"""Hyperliquid: what the liquidator vault takes over, and no more, which the sampling says."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chainwatch.exchanges.reader import Reader
from chainwatch.exchanges.venues import hyperliquid
from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.tables.exchange import ExchangeLiquidation
from tests.venues.fixtures import check_figures, messages, rows
from tests.venues.protocols import BASE_MS, Answer, Past, Protocol, dump

VAULT = hyperliquid.VAULT
LIQUIDATOR = "0x2e3d94f0562703b25c83308a05046ddaf9a8dd14"
STRATEGY = "0x" + "5e" * 20
ADDRESSES = sorted([VAULT, LIQUIDATOR, STRATEGY])


def test_what_the_vault_buys_was_a_long() -> None:
    """A fill without the mark is not a liquidation."""
    liquidations = rows("hyperliquid")
    check_figures(
        liquidations,
        [
            ("BTC", "long", 0.4, 0.4, 69_500.0, 27_800.0, 27_800.0),
            ("HYPE", "short", 120.0, 120.0, 41.5, 4_980.0, 4_980.0),
            # The vault itself is rid of a long that it took over: counted already.
            ("BTC", "long", 0.05, 0.05, 69_000.0, 3_450.0, 3_450.0),
        ],
    )
    assert [row.price_kind for row in liquidations] == ["takeover", "takeover", "trade"]
    assert [row.kind for row in liquidations] == ["fill", "fill", "adl"]
    assert {row.usd_rule for row in liquidations} == {"USDC = 1 USD"}


def test_acknowledgements_refusals_pongs_and_heartbeats_differ() -> None:
    parsed = messages("hyperliquid")
    assert parsed[0].acked == ("allMids",)
    assert parsed[1].acked == (f"userFills {LIQUIDATOR}",)
    assert parsed[2].heartbeat
    assert (parsed[3].acked, parsed[3].heartbeat) == ((), False)
    assert parsed[-1].refused == "Invalid subscription"


def test_what_is_not_collected_is_stated_beside_each_sum() -> None:
    channel = hyperliquid.HYPERLIQUID
    assert channel.sampling_class == "partial"
    assert channel.sampling_rule.startswith("fills of the liquidity vault,")
    assert "not published" not in channel.sampling_rule
    assert "not published" not in str(hyperliquid.__doc__)


def fill(coin: str, side: str, size: str, user: str, tid: int, **more: object) -> dict[str, object]:
    mark = {"liquidatedUser": user, "markPx": "3400.0", "method": "backstop"}
    given = {"coin": coin, "px": "3400.0", "sz": size, "side": side, "time": 1770091506091}
    return {**given, "tid": tid, "liquidation": mark, **more}


def stored(home: Path, fills: list[dict[str, object]]) -> Store:
    data = {"user": LIQUIDATOR, "fills": fills}
    frame = json.dumps({"channel": "userFills", "data": data}).encode()
    reader = Reader("hyperliquid", "hyperliquid", "perpetual")
    message = hyperliquid.parse(frame, reader)
    assert message.rejects == []
    store = Store(home)
    store.create()
    store.append(list(message.rows), source="hyperliquid")
    return store


def test_what_is_taken_over_and_deleveraged_counts_once(tmp_path: Path) -> None:
    """As on 2025-10-10: fills that deleverage name the vault as the liquidated user."""
    vault = LIQUIDATOR
    fills = [
        fill("ETH", "B", "10.0", "0x" + "ab" * 20, 1),
        fill("ETH", "A", "6.0", vault, 2),
        fill("ETH", "A", "4.0", vault.upper().replace("0X", "0x"), 3),
    ]
    with query.open_catalog(stored(tmp_path, fills)) as catalog:
        sums = catalog.run("SELECT count(*), sum(usd) FROM liquidation_events()").rows
        kinds = catalog.run("SELECT kind, count(*) FROM exchange_liquidations GROUP BY 1").rows
    assert sums == [(1, 34_000.0)]
    assert sorted(kinds) == [("adl", 2), ("fill", 1)]


def test_the_vault_names_its_children_and_each_is_subscribed_to() -> None:
    body = Hyperliquid().rest("/info", {}, b'{"type":"vaultDetails"}', [])
    assert body is not None
    addresses = hyperliquid.parse_accounts(body.encode())
    assert addresses == ADDRESSES
    assert hyperliquid.account_topic(STRATEGY) == f"userFills {STRATEGY}"
    for wrong, words in (("[]", "childAddresses"), ('["0x12"]', "address")):
        answer = (
            f'{{"vaultAddress":"{VAULT}","relationship":{{"data":{{"childAddresses":{wrong}}}}}}}'
        )
        with pytest.raises(ValueError, match=words):
            hyperliquid.parse_accounts(answer.encode())


def test_a_child_that_is_deleveraged_against_another_counts_once() -> None:
    """A fill of one address of the vault names another: it was taken over before."""
    reader = Reader("hyperliquid", "hyperliquid", "perpetual")
    data = {"user": STRATEGY, "fills": [fill("ETH", "B", "6.0", LIQUIDATOR, 2)]}
    frame = json.dumps({"channel": "userFills", "data": data}).encode()
    kinds = []
    for accounts in ((), (LIQUIDATOR, STRATEGY)):
        reader.accounts = frozenset(accounts)
        kinds += [row.kind for row in hyperliquid.parse(frame, reader).rows]
    assert kinds == ["fill", "adl"]


def test_a_number_of_a_trade_is_one_of_its_coin_and_time(tmp_path: Path) -> None:
    user = "0x" + "ab" * 20
    fills = [fill(coin, "B", "1", user, 77) for coin in ("ETH", "SOL", "ETH")]
    fills.append(fill("ETH", "B", "1", user, 77, time=1770091506092))
    rows = stored(tmp_path, fills).rows(ExchangeLiquidation, "true ORDER BY time, symbol")
    assert [(r.symbol, r.time.microsecond) for r in rows] == [
        ("ETH", 91_000),
        ("SOL", 91_000),
        ("ETH", 92_000),
    ]


def test_delisted_contracts_are_left_out() -> None:
    body = b'{"universe":[{"name":"BTC"},{"name":"OLD","isDelisted":true}]}'
    assert [c.symbol for c in hyperliquid.parse_listing(body)] == ["BTC"]


# --- the venue as the loopback exchange plays it, after its documents ----------------------------


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
        return any(name.startswith("userFills ") for name in topics)

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
        if order["type"] == "vaultDetails":
            children = {"childAddresses": [LIQUIDATOR.upper().replace("0X", "0x"), STRATEGY]}
            relationship = {"type": "parent", "data": children}
            return dump({"name": "HLP", "vaultAddress": VAULT, "relationship": relationship})
        if order["user"] != LIQUIDATOR:
            return "[]"
        past = self.past(history, order["startTime"], order["endTime"] + 1)
        return dump([self.fill(n, ms) for n, ms in past[:2_000]])


LOOPBACK = {"hyperliquid": Hyperliquid()}
