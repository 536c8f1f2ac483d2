"""Where assets are blocked, no more is taken now than is due, nor than is not blocked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainwatch.lake.store import Store
from chainwatch.lending.close_rules import POSITION_HALF, RESERVE_HALF, up_to
from tests.amounts import sample_size
from tests.builders import Asset, Book, ask

PRICES = {"BTC": 100_000.0, "ETH": 4_000.0, "USD": 1.0, "DAI": 1.0}


def asset(symbol: str, blocked: set[str]) -> Asset:
    price = PRICES[symbol]
    reason = "paused" if symbol in blocked else None
    return Asset(symbol, price, lt=0.8, bonus=0.05, betas={symbol: 1.0}, blocked=reason)


def sales(store: Store, block: int, blocked: set[str], **book: Any) -> list[dict[str, Any]]:
    """The steps now of the accounts of `book`, given in USD as (collateral, debt)."""
    accounts = book.pop("accounts")
    made = Book(*(asset(symbol, blocked) for symbol in PRICES), block=block, **book)
    for i, sides in enumerate(accounts):
        amounts = [{s: usd / PRICES[s] for s, usd in side.items()} for side in sides]
        made.account(f"a{i}", *amounts)
    made.store(store)
    return [s for s in ask(store, "forced_sales", factor="BTC") if s["direction"] == "now"]


def test_a_blocked_pair_leaves_the_other_assets_in_its_place(empty_lake: Store) -> None:
    """In place of the blocked ETH some of the BTC is sold, and no more than there is."""
    accounts = [({"ETH": 10_000.0, "BTC": 1_000.0}, {"USD": 9_000.0})]  # health factor 0.98
    (step,) = sales(empty_lake, 1, {"ETH"}, accounts=accounts)
    assert step["due_usd"] == pytest.approx(4_500 * 1.05)
    assert step["seize_usd"] == pytest.approx(1_000)
    assert step["units"] == pytest.approx(0.01)
    (step,) = sales(empty_lake, 2, {"BTC"}, accounts=accounts)
    assert step["seize_usd"] == step["due_usd"] == pytest.approx(4_500 * 1.05)
    assert step["units"] == 0


def test_the_rest_takes_what_the_first_call_leaves_unblocked(empty_lake: Store) -> None:
    """Below the full close both calls together take the other collateral, once."""
    accounts = [({"ETH": 10_000.0, "BTC": 6_000.0}, {"USD": 15_000.0})]
    steps = sales(empty_lake, 1, {"ETH"}, accounts=accounts)
    assert [s["step"] for s in steps if s["seize_usd"]] == ["trigger"]
    assert sum(s["seize_usd"] for s in steps) == pytest.approx(6_000)
    assert sum(s["units"] for s in steps) == pytest.approx(0.06)
    assert sum(s["due_usd"] for s in steps) == pytest.approx(15_000 * 1.05)


usd = st.floats(1e3, 1e6, allow_nan=False)
sides = st.dictionaries(st.sampled_from(list(PRICES)), usd, min_size=1, max_size=3)


@pytest.mark.sampled
@settings(
    max_examples=sample_size(quick=5, full=20, torture=300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    accounts=st.lists(st.tuples(sides, sides), min_size=5, max_size=20),
    blocked=st.sets(st.sampled_from(list(PRICES)), max_size=3),
    rule=st.sampled_from([RESERVE_HALF, POSITION_HALF, up_to(1.05)]),
)
def test_no_more_is_taken_than_is_due_or_unblocked(
    empty_lake: Store, accounts: list[Any], blocked: set[str], rule: Any
) -> None:
    """What is due does not depend on what is blocked; what is taken is within both bounds."""
    block = 1
    if empty_lake.exists:
        block += max((r["block_number"] for r in ask(empty_lake, "snapshots_at")), default=0)
    free = sales(empty_lake, block, set(), accounts=accounts, close_rule=rule)
    steps = sales(empty_lake, block + 1, blocked, accounts=accounts, close_rule=rule)
    key = ("account", "step")
    assert all(s["seize_usd"] == s["due_usd"] for s in free)
    due = {tuple(s[k] for k in key): s["due_usd"] for s in free}
    assert {tuple(s[k] for k in key): s["due_usd"] for s in steps} == pytest.approx(due)
    for i, (held, owed) in enumerate(accounts):
        name = f"0x{f'a{i}'.encode().hex():0>40}"
        own = [s for s in steps if s["account"] == name]
        seized = sum(s["seize_usd"] for s in own)
        open_collateral = sum(v for s, v in held.items() if s not in blocked)
        open_debt = sum(v for s, v in owed.items() if s not in blocked)
        assert seized <= sum(s["due_usd"] for s in own) * (1 + 1e-9)
        assert seized <= open_collateral * (1 + 1e-9)
        assert seized <= open_debt * 1.05 * (1 + 1e-9)
        bitcoin = 0.0 if "BTC" in blocked else held.get("BTC", 0.0) / PRICES["BTC"]
        assert -1e-9 <= sum(s["units"] or 0 for s in own) <= bitcoin * (1 + 1e-9) + 1e-12
        bought = 0.0 if "BTC" in blocked else owed.get("BTC", 0.0) / PRICES["BTC"]
        assert -1e-9 <= sum(s["bought_units"] or 0 for s in own) <= bought * (1 + 1e-9) + 1e-12
