"""Bitfinex: triggers are kept and not summed, matches count at the price of acquisition."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from chainwatch.exchanges.reader import Reader
from chainwatch.exchanges.venues import bitfinex
from tests.venues.fixtures import check_figures, messages, rows
from tests.venues.protocols import BASE_MS, Answer, Past, Protocol, dump


def test_matches_have_the_acquired_price_and_triggers_the_entry_price() -> None:
    liquidations = rows("bitfinex")
    check_figures(
        liquidations,
        [
            ("tBTCF0:USTF0", "long", 0.25, 0.25, 70_444.5, 17_611.125, 17_611.125),
            ("tBTCF0:USTF0", "long", 0.15, 0.15, 70_000.0, 10_500.0, 10_500.0),
            ("tBTCF0:USTF0", "long", 0.1, 0.1, 69_990.0, 6_999.0, 6_999.0),
            ("tETHUSD", "short", 1.5, 1.5, 2_500.0, 3_750.0, 3_750.0),
        ],
    )
    assert [row.kind for row in liquidations] == ["trigger", "fill", "fill", "fill"]
    assert [row.price_kind for row in liquidations] == ["entry", "acquired", "acquired", "acquired"]
    assert len({row.event for row in liquidations}) == 4
    assert json.loads(liquidations[2].raw)[1][0][5] == 0.1


def test_a_long_of_less_than_one_coin_is_a_long() -> None:
    assert rows("bitfinex")[0].side == "long"


def test_acknowledgements_refusals_and_heartbeats_differ() -> None:
    parsed = messages("bitfinex")
    assert parsed[1].acked == ("liq:global",)
    assert parsed[2].heartbeat
    assert (parsed[-1].acked, parsed[-1].refused) == (("liq:nothing",), "10300 key: invalid")


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ('[91,[["pos",1]]]', "expected 12 fields, got 2"),
        ('[91,[["pos",1,1770091506000,null,"tX",2.5,1,null,1,1,null,null]]]', "price, got null"),
        (
            '[91,[["pos",1,1770091506000,null,"tX",0,1,null,1,1,null,5]]]',
            "expected a size above 0, got '0'",
        ),
    ],
)
def test_a_row_that_cannot_be_read_says_why(frame: str, words: str) -> None:
    reader = Reader("bitfinex", "bitfinex", "derivatives")
    (reject,) = bitfinex.parse(frame.encode(), reader).rejects
    assert words in reject[1]


def test_history_rows_have_the_key_of_the_stream() -> None:
    """They lie one list deeper."""
    row = '["pos",9,1770091506055,null,"tETHUSD",-1.5,2444.5,null,1,1,null,2500]'
    reader = Reader("bitfinex", "bitfinex", "derivatives")
    stream = bitfinex.parse(f"[91,[{row}]]".encode(), reader).rows
    past = bitfinex.parse_history("", f"[[{row}]]".encode(), reader).rows
    assert [r.event for r in past] == [r.event for r in stream]


def test_the_names_of_pairs_give_base_and_quote() -> None:
    body = Bitfinex().rest("/v2/conf/pub:list:pair:futures", {}, b"", [])
    assert body is not None
    assert [(c.symbol, c.base, c.quote) for c in bitfinex.parse_listing(body.encode())] == [
        ("tBTCF0:USTF0", "BTC", "USDT"),
        ("tETHF0:USTF0", "ETH", "USDT"),
        ("tBTCUSD", "BTC", "USD"),
    ]


# --- the venue as the loopback exchange plays it, after its documents ----------------------------


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
            past = self.past(history, int(query["start"]), int(query["end"]) + 1)
            return dump([[self.row(n, ms)] for n, ms in past[: self.page]])
        return None


LOOPBACK = {"bitfinex": Bitfinex()}
