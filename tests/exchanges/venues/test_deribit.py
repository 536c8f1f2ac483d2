"""Deribit: whose position was liquidated is told by T, M and MT, not by the direction alone."""

import pytest

from chainwatch.exchanges.reader import Reader
from chainwatch.exchanges.venues import deribit
from tests.venues.fixtures import check_figures, messages, rows
from tests.venues.others import Deribit


def test_a_makers_liquidation_is_the_other_side_and_both_are_two_rows() -> None:
    liquidations = rows("deribit")
    check_figures(
        liquidations,
        [
            ("BTC-PERPETUAL", "long", 1_400.0, 0.02, 70_000.0, 1_400.0, 1_400.0),
            ("BTC-PERPETUAL", "long", 3_550.0, 0.05, 71_000.0, 3_550.0, 3_550.0),
            ("SOL_USDC-PERPETUAL", "short", 12.5, 12.5, 96.0, 1_200.0, 1_200.0),
            ("SOL_USDC-PERPETUAL", "long", 12.5, 12.5, 96.0, 1_200.0, 1_200.0),
            ("SOL_USDC-PERPETUAL", "short", 2.0, 2.0, 97.5, 195.0, 195.0),
        ],
    )
    assert [row.raw_side for row in liquidations] == [
        "T/sell",
        "M/buy",
        "MT/buy",
        "MT/buy",
        "T/buy",
    ]
    assert len({row.event for row in liquidations}) == 5


def test_answers_heartbeats_and_the_canary_are_told_apart() -> None:
    parsed = messages("deribit")
    assert parsed[0].acked == ()
    assert parsed[1].acked == ("trades.future.any.100ms",)
    assert "public/test" in parsed[2].reply
    assert parsed[3].heartbeat
    assert parsed[-1].refused == "11050 bad_request"


@pytest.mark.parametrize(
    ("field", "words"),
    [('"direction":"up"', "direction is 'up'"), ('"liquidation":"X"', "liquidation is 'X'")],
)
def test_a_mark_that_is_not_documented_is_a_reject(field: str, words: str) -> None:
    trade = (
        '{"trade_id":"1","timestamp":1770091506000,"price":1.5,"amount":2.0,'
        '"instrument_name":"BTC-PERPETUAL","direction":"sell","liquidation":"T"}'
    )
    name = field.split(":")[0]
    old = {'"direction"': '"direction":"sell"', '"liquidation"': '"liquidation":"T"'}[name]
    frame = (
        '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.future.any.100ms",'
        f'"data":[{trade.replace(old, field)},{trade}]}}}}'
    )
    message = deribit.parse(frame.encode(), Reader("deribit", "deribit", "futures"))
    assert len(message.rows) == 1
    assert words in message.rejects[0][1]


def test_the_list_of_contracts_tells_inverse_from_linear() -> None:
    body = Deribit().rest("/api/v2/public/get_instruments", {}, b"", [])
    assert body is not None
    assert [
        (c.symbol, c.kind, c.quote, c.settle) for c in deribit.parse_listing(body.encode())
    ] == [
        ("BTC-PERPETUAL", "inverse", "USD", "BTC"),
        ("ETH-PERPETUAL", "inverse", "USD", "ETH"),
        ("SOL_USDC-PERPETUAL", "linear", "USDC", "USDC"),
    ]
