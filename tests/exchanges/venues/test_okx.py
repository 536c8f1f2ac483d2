"""OKX: several contracts and details in a frame, contracts times their value, net mode."""

import json

import pytest

from chainwatch.exchanges.venues import okx
from tests.venues.fixtures import check_figures, messages, rows
from tests.venues.protocols import Okx


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


def test_swaps_and_futures_are_markets_of_their_own_and_both_sides_are_kept() -> None:
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


def test_acknowledgements_refusals_pongs_and_the_canary_are_told_apart() -> None:
    parsed = messages("okx")
    assert parsed[0].acked == ("liquidation-orders SWAP",)
    assert (parsed[1].acked, parsed[1].heartbeat) == ((), False)
    assert parsed[2].heartbeat
    assert parsed[-1].refused == "60018 Wrong URL or channel"


def test_a_detail_that_cannot_be_read_does_not_cost_the_others() -> None:
    from chainwatch.exchanges.reader import Reader

    frame = next(one for one in Okx().frames(0, 0))[1]
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
