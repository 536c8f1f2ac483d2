"""dYdX: trades of the type LIQUIDATED; a deleveraging is none."""

from chainwatch.exchanges.reader import Reader
from chainwatch.exchanges.venues import dydx
from tests.venues.fixtures import check_figures, messages, rows


def test_only_liquidations_become_rows_also_of_the_first_answer() -> None:
    liquidations = rows("dydx-v4")
    check_figures(
        liquidations,
        [
            ("BTC-USD", "long", 0.04, 0.04, 70_000.0, 2_800.0, 2_800.0),
            ("LINK-USD", "short", 25.0, 25.0, 14.5, 362.5, 362.5),
            ("LINK-USD", "long", 40.0, 40.0, 14.25, 570.0, 570.0),
        ],
    )
    assert f"{liquidations[0].time:%H:%M:%S.%f}" == "04:05:06.071000"


def test_what_is_stored_as_raw_holds_the_market_and_the_one_trade() -> None:
    kept = dydx.parse(rows("dydx-v4")[1].raw.encode(), _reader())
    assert [(row.symbol, row.side) for row in kept.rows] == [("LINK-USD", "short")]


def _reader() -> Reader:
    return Reader("dydx-v4", "dydx", "perpetual")


def test_acknowledgements_refusals_and_the_canary_are_told_apart() -> None:
    parsed = messages("dydx-v4")
    assert parsed[1].acked == ("v4_orderbook BTC-USD",)
    assert parsed[2].heartbeat
    assert (parsed[3].acked, len(parsed[3].rows)) == (("v4_trades BTC-USD",), 1)
    assert parsed[-1].refused == "Invalid subscription id v4_trades NOPE"


def test_the_list_of_markets_leaves_out_what_is_settled() -> None:
    body = (
        b'{"markets":{"BTC-USD":{"ticker":"BTC-USD","status":"ACTIVE"},'
        b'"OLD-USD":{"ticker":"OLD-USD","status":"FINAL_SETTLEMENT"}}}'
    )
    assert [(c.symbol, c.base, c.quote, c.settle) for c in dydx.parse_listing(body)] == [
        ("BTC-USD", "BTC", "USD", "USDC")
    ]
