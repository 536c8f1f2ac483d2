"""Hyperliquid: what the liquidator vault takes over, and no more, which the sampling says."""

from chainwatch.sources import hyperliquid
from tests.venues.fixtures import check_figures, rows, seen


def test_what_the_vault_buys_was_a_long_and_a_fill_without_the_mark_is_none() -> None:
    found = rows("hyperliquid")
    check_figures(
        found,
        [
            ("BTC", "long", 0.4, 0.4, 69_500.0, 27_800.0, 27_800.0),
            ("HYPE", "short", 120.0, 120.0, 41.5, 4_980.0, 4_980.0),
            # The liquidated account itself: what it sold was its long.
            ("BTC", "long", 0.05, 0.05, 69_000.0, 3_450.0, 3_450.0),
        ],
    )
    assert [row.price_kind for row in found] == ["takeover", "takeover", "trade"]
    assert {row.usd_rule for row in found} == {"USDC = 1 USD"}


def test_acknowledgements_refusals_pongs_and_the_canary_are_told_apart() -> None:
    found = seen("hyperliquid")
    assert found[0].acked == ("allMids",)
    assert found[1].acked == (f"userFills {hyperliquid.LIQUIDATOR}",)
    assert found[2].canary
    assert (found[3].acked, found[3].canary) == ((), False)
    assert found[-1].refused == "Invalid subscription"


def test_what_is_not_published_is_told_wherever_a_sum_is() -> None:
    assert hyperliquid.HYPERLIQUID.sampling.startswith("partial: what the liquidator vault")
    assert "market liquidations are not published" in hyperliquid.HYPERLIQUID.sampling


def test_delisted_contracts_are_left_out() -> None:
    body = b'{"universe":[{"name":"BTC"},{"name":"OLD","isDelisted":true}]}'
    assert [c.symbol for c in hyperliquid.listed(body)] == ["BTC"]
