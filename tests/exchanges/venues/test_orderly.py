"""Orderly: positions of liquidated accounts, at the price of their transfer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chainwatch.exchanges.reader import ParsedMessage, Reader
from chainwatch.exchanges.venues import orderly
from tests.places import FIXTURES
from tests.venues.fixtures import check_figures
from tests.venues.protocols import Past, Protocol, dump

BODY = (FIXTURES / "orderly" / "liquidated_positions.json").read_bytes()


def parsed(body: bytes) -> ParsedMessage:
    reader = Reader("orderly-history", "orderly", "perpetual", delivery="history")
    return orderly.parse_history("all", body, reader)


def test_each_position_of_an_account_is_a_liquidation_with_its_sign() -> None:
    """Claims from the insurance fund and positions of 0 are none."""
    message = parsed(BODY)
    check_figures(
        message.rows,
        [
            ("PERP_BTC_USDC", "long", None, 0.04, 70_000.5, 2_800.02, 2_800.02),
            ("PERP_NEAR_USDC", "short", None, 250.0, 2.5, 625.0, 625.0),
        ],
    )
    assert [row.event for row in message.rows] == ["31 BTC", "31 NEAR"]
    assert {row.price_kind for row in message.rows} == {"unknown"}
    assert not message.rejects


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "adl"}, "expected type liquidated or claim, got 'adl'"),
        ({"positions_by_perp": [{"symbol": "SPOT_BTC_USDC"}]}, "position_qty"),
        (
            {
                "positions_by_perp": [
                    {"symbol": "SPOT_BTC_USDC", "position_qty": 1, "transfer_price": 2}
                ]
            },
            "expected a contract like PERP_BTC_USDC, got 'SPOT_BTC_USDC'",
        ),
        ({"positions_by_perp": None}, "positions_by_perp"),
    ],
)
def test_what_is_not_documented_is_a_reject(change: dict[str, Any], reason: str) -> None:
    """It costs its liquidation, and not the others."""
    answer = json.loads(BODY)
    answer["data"]["rows"].append({**answer["data"]["rows"][0], **change})
    message = parsed(dump(answer).encode())
    assert len(message.rows) == 2
    ((_, why),) = message.rejects
    assert reason in why


def test_an_error_is_not_an_empty_answer() -> None:
    with pytest.raises(ValueError, match="-1003 Rate limit"):
        parsed(b'{"success":false,"code":-1003,"message":"Rate limit exceeded."}')


def test_the_list_gives_perpetual_contracts() -> None:
    body = b'{"success":true,"data":{"rows":[{"symbol":"PERP_1000PEPE_USDC"},{"symbol":"SPOT_X"}]}}'
    (contract,) = orderly.parse_listing(body)
    assert (contract.base, contract.quote, contract.kind) == ("1000PEPE", "USDC", "linear")


# --- the venue as the loopback exchange plays it, after its documents ----------------------------


class Orderly(Protocol):
    """At the most 40 on a page, the newest first."""

    symbols = ("PERP_BTC_USDC", "PERP_ETH_USDC", "PERP_SOL_USDC")
    page = 40

    def liquidated(self, n: int, ms: int) -> dict[str, Any]:
        sign = 1 if n % 2 == 0 else -1
        position = {
            "symbol": self.symbol(n),
            "position_qty": sign * float(self.size(n)),
            "transfer_price": float(self.price(n)),
        }
        return {
            "timestamp": ms,
            "liquidation_id": n + 1,
            "transfer_amount_to_insurance_fund": 0,
            "type": "liquidated",
            "positions_by_perp": [position],
        }

    def rest(
        self, path: str, query: dict[str, str], body: bytes, history: list[Past]
    ) -> str | None:
        if path == "/v1/public/info":
            listed = [{"symbol": symbol} for symbol in self.symbols]
            return dump({"success": True, "data": {"rows": listed}})
        if path != "/v1/public/liquidated_positions":
            return None
        number, size = int(query["page"]), min(int(query["size"]), self.page)
        past = self.past(history, int(query["start_t"]), int(query["end_t"]) + 1)[::-1]
        rows = [self.liquidated(n, ms) for n, ms in past[(number - 1) * size : number * size]]
        meta = {"total": len(past), "records_per_page": size, "current_page": number}
        return dump({"success": True, "data": {"meta": meta, "rows": rows}})


LOOPBACK = {"orderly": Orderly()}
