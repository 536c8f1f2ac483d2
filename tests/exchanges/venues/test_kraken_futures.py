"""Kraken Futures: trades of one type, inverse contracts in dollars, linear ones in coins."""

import pytest

from chainwatch.exchanges.venues import kraken_futures
from tests.venues.fixtures import check_figures, messages, rows


def test_only_liquidations_become_rows_also_of_the_first_snapshot() -> None:
    liquidations = rows("kraken-futures")
    check_figures(
        liquidations,
        [
            ("PI_XBTUSD", "long", 4_200.0, 0.06, 70_000.0, 4_200.0, 4_200.0),
            ("PF_SOLUSD", "short", 12.5, 12.5, 96.4, 1_205.0, 1_205.0),
        ],
    )
    assert [row.event for row in liquidations] == ["11111111-aaaa", "33333333-aaaa"]


def test_acknowledgements_refusals_and_the_canary_are_told_apart() -> None:
    parsed = messages("kraken-futures")
    assert parsed[1].acked == ("heartbeat",)
    assert parsed[2].acked == ("trade PI_XBTUSD", "trade PF_SOLUSD")
    assert parsed[3].heartbeat
    assert (parsed[-1].acked, parsed[-1].refused) == (("trade PI_NOPE",), "Invalid product id")


def test_the_list_leaves_out_what_is_not_traded_and_calls_xbt_btc() -> None:
    body = (
        b'{"result":"success","instruments":['
        b'{"symbol":"pi_xbtusd","type":"futures_inverse","tradeable":true},'
        b'{"symbol":"PF_SOLUSD","type":"flexible_futures","tradeable":true},'
        b'{"symbol":"FI_XBTUSD_200101","type":"futures_inverse","tradeable":false},'
        b'{"symbol":"in_xbtusd","type":"spot index","tradeable":false}]}'
    )
    assert [(c.symbol, c.base, c.kind, c.settle) for c in kraken_futures.parse_listing(body)] == [
        ("PI_XBTUSD", "BTC", "inverse", "BTC"),
        ("PF_SOLUSD", "SOL", "linear", "USD"),
    ]
    with pytest.raises(ValueError, match="apiLimitExceeded"):
        kraken_futures.parse_listing(b'{"result":"error","error":"apiLimitExceeded"}')
