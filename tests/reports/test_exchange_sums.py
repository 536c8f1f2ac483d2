"""What exchanges liquidated in the windows of the crashes: lower bounds, with what was watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainwatch.lake.store import Store
from chainwatch.tables.base import Row
from tests.documents import ask
from tests.reports.test_indicator_queries import day
from tests.reports.test_liquidations import order, span

Fill = Callable[[Sequence[Row]], Store]
JANUARY = {"from_time": day("2026-01-29"), "to_time": day("2026-01-30T12:00")}


def figures(store: Store, event: str) -> dict[str, dict[str, Any]]:
    return {r["metric"]: r for r in ask(store, "crash_figures") if r["event"] == event}


def test_sums_of_exchanges_are_lower_bounds_with_what_was_watched(fill: Fill) -> None:
    store = fill(
        [
            order(1, time=day("2026-01-30"), notional_usd=1e6),
            order(2, time=day("2026-01-30"), notional_usd=9e6, kind="trigger"),
            order(3, time=day("2026-01-30"), notional_usd=9e6, provenance="demo"),
            order(4, time=day("2026-02-01"), notional_usd=9e6),
            span(0, 1, **JANUARY),
        ]
    )
    result = figures(store, "2026-01-29")
    sums, watched = result["exchange liquidations"], result["of the window covered"]
    assert (sums["value"], sums["figure"], sums["source"]) == (1e6, "≥ 1,000,000", "binance")
    assert (watched["value"], watched["figure"]) == (0.5, "50.0 %")
    other = figures(store, "2026-02-05")["exchange liquidations"]
    assert (other["value"], other["figure"]) == (None, "n/a (not collected)")


def test_a_covered_window_sums_to_zero_and_an_uncovered_one_to_na(
    fill: Fill,
) -> None:
    """A covered window without liquidations is 0, and one that is not covered is n/a."""
    result = figures(fill([span(0, 1, **JANUARY)]), "2026-01-29")
    assert result["exchange liquidations"]["figure"] == "≥ 0"
    result = figures(fill([span(0, 1, "down", **JANUARY)]), "2026-01-29")
    assert result["exchange liquidations"]["value"] is None


def test_a_sum_of_exchanges_proves_no_count_of_accounts(fill: Fill) -> None:
    time = day("2026-02-06")
    store = fill([order(1, time=time, notional_usd=1e9)])
    claim = next(r for r in ask(store, "claims") if r["number"] == 24)
    assert (claim["verdict"], claim["finding"]) == (
        "not checkable",
        "n/a (at least 1,000,000,000 USD on binance: a lower bound refutes nothing)",
    )
    store.append([order(2, time=time, notional_usd=2e9)], source="test")
    claim = next(r for r in ask(store, "claims") if r["number"] == 24)
    assert claim["verdict"] == "proxy only"
    assert claim["finding"].startswith("at least 3,000,000,000 USD on binance (orders of the")
