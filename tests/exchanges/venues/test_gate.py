"""Gate: a negative order closes a long, contracts times their multiplier, REST counts positions."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from chainwatch.exchanges.contracts import Contract
from chainwatch.exchanges.reader import Reader
from chainwatch.exchanges.venues import gate
from tests.venues.fixtures import check_figures, messages, rows
from tests.venues.protocols import BASE_MS, Answer, Past, Protocol, dump, now_ms


def test_sides_sizes_and_values_of_linear_contracts() -> None:
    """Equal rows of a frame count twice."""
    liquidations = rows("gate-usdt")
    check_figures(
        liquidations,
        [
            ("BTC_USDT", "long", 2_500.0, 0.25, 70_100.5, 17_525.125, 17_525.125),
            ("DOGE_USDT", "short", 300.0, 3_000.0, 0.1025, 307.5, 307.5),
            ("DOGE_USDT", "short", 300.0, 3_000.0, 0.1025, 307.5, 307.5),
        ],
    )
    assert len({row.event for row in liquidations}) == 3
    assert len(json.loads(liquidations[1].raw)["result"]) == 1


def update(result: object, **head: int) -> bytes:
    given = {"time": 1786327033, "channel": "futures.public_liquidates", "event": "update"}
    return json.dumps({**given, **head, "result": result}).encode()


LIVE = {"contract": "HEI_USDT", "price": "0.13827", "time": 1786327033531, "size": -23}


@pytest.mark.parametrize(
    ("result", "at_ms", "size"),
    [
        (LIVE, 1786327033531, 23.0),
        ([LIVE], 1786327033531, 23.0),
        ([{**LIVE, "size": "-23"}], 1786327033531, 23.0),
        ([{**LIVE, "size": "-124.5"}], 1786327033531, 124.5),
        ([{**LIVE, "size": -124.5, "price": 0.13827}], 1786327033531, 124.5),
        # Older documents give seconds, with the milliseconds beside them or not.
        ([{**LIVE, "time": 1786327033}], 1786327033000, 23.0),
        ([{**LIVE, "time": 1786327033, "time_ms": 1786327033531}], 1786327033531, 23.0),
        ({**LIVE, "time": "1786327033531"}, 1786327033531, 23.0),
    ],
)
def test_each_documented_and_each_captured_form_is_read(
    result: object, at_ms: int, size: float
) -> None:
    reader = Reader("gate-usdt", "gate", "usdt")
    reader.received = datetime(2026, 8, 10, 3, tzinfo=UTC)
    message = gate.parse(update(result, time_ms=1786327033532), reader)
    assert message.rejects == []
    (row,) = message.rows
    assert (row.side, row.raw_side, row.contracts, row.price) == ("long", "-", size, 0.13827)
    assert row.time.timestamp() * 1000 == at_ms
    reader.contracts = {"HEI_USDT": msgspec.structs.replace(BTC, symbol="HEI_USDT", size=10.0)}
    (sized,) = gate.parse(update(result), reader).rows
    assert sized.quantity_base == pytest.approx(size * 10)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": "many"}, "expected a size, got 'many'"),
        ({"size": "nan"}, "expected a size, got 'nan'"),
        ({"size": 0}, "expected a size above 0, got '0.0'"),
        ({"time": None}, "expected a time, got 'None'"),
        ({"size": None}, "size"),
        ({"time": 12}, "not a time in ms: before 2009"),
        ({"size": "1_000"}, "expected a size, got '1_000'"),
        ({"time": "１２"}, "expected a time, got '１２'"),
        ({"time": "soon"}, "expected a time, got 'soon'"),
    ],
)
def test_an_undocumented_form_is_rejected_alone(change: dict[str, object], words: str) -> None:
    message = gate.parse(update([{**LIVE, **change}, LIVE]), Reader("gate-usdt", "gate", "usdt"))
    assert len(message.rows) == 1
    ((_, reason),) = message.rejects
    assert words in reason


def test_an_inverse_contract_is_a_dollar() -> None:
    check_figures(
        rows("gate-btc"),
        [
            ("BTC_USD", "long", 1_400.0, 0.02, 70_000.0, 1_400.0, 1_400.0),
            ("BTC_USD", "short", 355.0, 0.005, 71_000.0, 355.0, 355.0),
        ],
    )


def test_contracts_settled_in_usd1_are_linear_and_worth_dollars() -> None:
    body = b'[{"name":"BTC_USD1","quanto_multiplier":"0.0001","type":"direct"}]'
    (contract,) = gate.parse_listing(body, "USD1")
    assert (contract.kind, contract.quote, contract.settle) == ("linear", "USD1", "USD1")
    liquidations = rows("gate-usd1")
    check_figures(
        liquidations,
        [("BTC_USD1", "long", 1245.0, 0.1245, 70_100.5, 8_727.51225, 8_727.51225)],
    )
    assert {row.usd_rule for row in liquidations} == {"USD1 = 1 USD"}


def test_acknowledgements_refusals_pongs_and_heartbeats_differ() -> None:
    parsed = messages("gate-usdt")
    assert (parsed[0].acked, parsed[0].refused) == (("futures.public_liquidates",), "")
    assert (parsed[1].acked, parsed[1].heartbeat) == ((), False)
    assert parsed[2].heartbeat
    assert parsed[-1].refused == "2 unknown contract NOPE"


def test_over_rest_the_size_is_the_positions() -> None:
    """Times are in seconds."""
    body = (
        b'[{"time":1770091506,"contract":"BTC_USDT","size":600,"order_size":-600,'
        b'"order_price":"70050","fill_price":"70100","left":0},'
        b'{"time":1770091507,"contract":"BTC_USDT","size":-20,"fill_price":"70200"}]'
    )
    reader = Reader("gate-usdt-history", "gate", "usdt", contracts=[BTC])
    message = gate.parse_history("usdt", body, reader)
    assert [(r.side, r.quantity_base, r.price, r.price_kind) for r in message.rows] == [
        ("long", pytest.approx(0.06), 70_100.0, "fill"),
        ("short", pytest.approx(0.002), 70_200.0, "fill"),
    ]


BTC = Contract(
    symbol="BTC_USDT", base="BTC", quote="USDT", settle="USDT", kind="linear", size=0.0001
)


def test_the_list_of_contracts_tells_linear_inverse_and_quanto_apart() -> None:
    body = Gate("btc", ("BTC_USD",)).rest("/api/v4/futures/btc/contracts", {}, b"", [])
    assert body is not None
    assert [(c.kind, c.size, c.settle) for c in gate.parse_listing(body.encode(), "BTC")] == [
        ("inverse", 1.0, "BTC")
    ]
    quanto = b'[{"name":"ETH_USD","quanto_multiplier":"0.000001","type":"direct"}]'
    assert [(c.kind, c.size) for c in gate.parse_listing(quanto, "BTC")] == [("quanto", 1e-6)]
    for wrong, size in (('"-0.01"', None), ('"1e-40"', None), ("null", None), ("0.01", 0.01)):
        body = f'[{{"name":"ETH_USDT","quanto_multiplier":{wrong}}}]'
        ((kind, contract_size),) = (
            (c.kind, c.size) for c in gate.parse_listing(body.encode(), "USDT")
        )
        assert (kind, contract_size) == ("linear", size)
        body = body.replace("USDT", "USD")
        assert [c.kind for c in gate.parse_listing(body.encode(), "BTC")] == ["quanto"]
    linear = b'[{"name":"BTC_USDT","quanto_multiplier":"0.0001","type":"direct"}]'
    assert gate.parse_listing(linear, "USDT") == [BTC]


# --- the venue as the loopback exchange plays it, after its documents ----------------------------


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
        linear = symbol.endswith(("USDT", "USD1"))
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


LOOPBACK = {
    "gate-usdt": Gate("usdt", ("BTC_USDT", "ETH_USDT")),
    "gate-btc": Gate("btc", ("BTC_USD",)),
    "gate-usd1": Gate("usd1", ("BTC_USD1", "ETH_USD1")),
}
