"""Reserves in SQL: statements in, answers out; what was known when; evidence never mixed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from chainwatch.disclosures.formats import end_of
from chainwatch.disclosures.publishers import circle, tether
from chainwatch.disclosures.reserves import (
    BITCOIN,
    CASH,
    LOANS,
    PRECIOUS_METALS,
    TREASURY_BILLS,
    Disclosure,
    ReserveLine,
)
from chainwatch.disclosures.vintages import BY_SOURCE
from chainwatch.errors import UsageError
from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.tables.base import Row
from tests.documents import ask, candle, fixture, load, put, raw, reported, value

Fill = Callable[[Sequence[Row]], Store]
JANUARY, APRIL = date(2026, 1, 31), date(2026, 4, 30)


def report(
    day: date,
    published: date,
    lines: dict[str, tuple[int, str | None]],
    *,
    liabilities: int | None = None,
    observed: datetime = datetime(2026, 9, 1, tzinfo=UTC),
    provenance: str = "imported",
    source: str = "reserve-report",
) -> list[Row]:
    """A report's rows; lines are class → (million USD, price it was valued at)."""
    parts = [
        ReserveLine(
            name,
            name,
            Decimal(millions) * 10**6,
            Decimal(price) if price else None,
            "BTC" if price else None,
        )
        for name, (millions, price) in lines.items()
    ]
    return Disclosure(
        raw=raw("", fetched_at=observed, source=source, provenance=provenance),
        token="USDT",
        issuer="Tether",
        kind="quarterly report",
        evidence="attestation",
        as_of=day,
        published=end_of(published),
        basis=BY_SOURCE,
    ).statement(
        assets=sum((p.usd for p in parts), Decimal(0)),
        liabilities=None if liabilities is None else Decimal(liabilities) * 10**6,
        lines=parts,
        gate="test",
    )


Q4 = {
    TREASURY_BILLS: (700, None),
    PRECIOUS_METALS: (100, None),
    BITCOIN: (100, "50000"),
    CASH: (100, None),
}
Q1 = {
    TREASURY_BILLS: (720, None),
    PRECIOUS_METALS: (180, None),
    BITCOIN: (84, "40000"),
    LOANS: (216, None),
}


QUARTERS = [
    *report(date(2025, 12, 31), JANUARY, Q4, liabilities=950),
    *report(date(2026, 3, 31), APRIL, Q1, liabilities=1150),
]


@pytest.fixture
def two_quarters(fill: Fill) -> Store:
    return fill(QUARTERS)


def classes(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {r["asset_class"]: r for r in rows}


def test_shares_and_changes_are_against_the_disclosure_before(two_quarters: Store) -> None:
    rows = classes(ask(two_quarters, "reserves"))
    gold = rows[PRECIOUS_METALS]
    assert (gold["as_of"], gold["previous_as_of"]) == (date(2026, 3, 31), date(2025, 12, 31))
    assert gold["total_share"] == pytest.approx(0.15)
    assert gold["change_usd"] == 80e6
    assert gold["points"] == pytest.approx(5.0)
    assert gold["published_at"] == end_of(APRIL)


def test_a_row_that_comes_or_goes_is_marked_and_is_no_change(two_quarters: Store) -> None:
    rows = classes(ask(two_quarters, "reserves"))
    assert (rows[LOANS]["row"], rows[LOANS]["change_usd"], rows[LOANS]["points"]) == (
        "new",
        None,
        None,
    )
    assert (rows[CASH]["row"], rows[CASH]["usd"], rows[CASH]["change_usd"]) == (
        "gone",
        None,
        None,
    )
    assert rows[CASH]["previous_usd"] == 100e6


def test_bitcoin_is_split_into_quantity_and_price_exactly(two_quarters: Store) -> None:
    bitcoin = classes(ask(two_quarters, "reserves"))[BITCOIN]
    # 2,000 coins at 50,000 became 2,100 at 40,000: more coins, worth less.
    assert bitcoin["quantity"] == 2100
    assert bitcoin["quantity_effect_usd"] == pytest.approx(100 * 50_000)
    assert bitcoin["price_effect_usd"] == pytest.approx(-10_000 * 2100)
    both = bitcoin["quantity_effect_usd"] + bitcoin["price_effect_usd"]
    assert both == pytest.approx(bitcoin["change_usd"])


def test_gold_is_split_only_with_a_stored_price_and_says_model(two_quarters: Store) -> None:
    assert classes(ask(two_quarters, "reserves"))[PRECIOUS_METALS]["quantity"] is None
    prices = {date(2025, 12, 31): 4000.0, date(2026, 3, 31): 4500.0}
    put(two_quarters, [value("gold", as_of, price) for as_of, price in prices.items()])
    gold = classes(ask(two_quarters, "reserves"))[PRECIOUS_METALS]
    assert gold["quantity"] == pytest.approx(40_000)
    assert (gold["quantity_unit"], gold["row"]) == ("oz (MODEL)", "MODEL")


def test_bitcoin_without_a_price_is_split_at_a_stored_one_as_model(
    fill: Fill,
) -> None:
    """Bitcoin without a stated price is split at a stored price, and the row says MODEL."""
    unpriced = Q1 | {BITCOIN: (84, None)}
    store = fill(
        [
            *report(date(2025, 12, 31), JANUARY, Q4, liabilities=950),
            *report(date(2026, 3, 31), APRIL, unpriced, liabilities=1150),
        ]
    )
    bitcoin = classes(ask(store, "reserves"))[BITCOIN]
    assert (bitcoin["quantity_effect_usd"], bitcoin["row"]) == (None, "")
    end = datetime(2026, 3, 31, tzinfo=UTC)
    sample = candle(end, 1.0, 2.0, 1.5, provenance="sample", observed_at=end)
    put(store, [sample])
    assert classes(ask(store, "reserves"))[BITCOIN]["quantity"] is None
    put(store, [candle(end, 39_000.0, 41_000.0, 40_000.0)])
    bitcoin = classes(ask(store, "reserves"))[BITCOIN]
    assert bitcoin["quantity"] == pytest.approx(2100)
    assert bitcoin["quantity_effect_usd"] == pytest.approx(100 * 50_000)
    assert (bitcoin["quantity_unit"], bitcoin["row"]) == ("BTC (MODEL)", "MODEL")


def test_the_first_disclosure_has_nothing_to_compare_with(two_quarters: Store) -> None:
    rows = ask(two_quarters, "reserves", p_known_at=datetime(2026, 2, 15, tzinfo=UTC))
    assert {r["row"] for r in rows} == {"first"}
    assert {r["change_usd"] for r in rows} == {None}


def test_as_known_on_a_day_only_what_was_published_counts(two_quarters: Store) -> None:
    before = end_of(APRIL) - timedelta(seconds=1)
    assert {r["as_of"] for r in ask(two_quarters, "reserves", p_known_at=before)} == {
        date(2025, 12, 31)
    }
    assert {r["as_of"] for r in ask(two_quarters, "reserves", p_known_at=end_of(APRIL))} == {
        date(2026, 3, 31)
    }
    assert ask(two_quarters, "reserves", p_known_at=datetime(2025, 12, 1, tzinfo=UTC)) == []


def test_ratio_excess_lag_and_the_break_of_bitcoin(two_quarters: Store) -> None:
    newest, before = ask(two_quarters, "reserve_statements")
    assert newest["ratio"] == pytest.approx(1200 / 1150)
    assert newest["excess_usd"] == 50e6
    assert newest["btc_break_share"] == pytest.approx(50 / 84)
    assert newest["lag_days"] == 30
    assert newest["previous_as_of"] == before["as_of"]


def test_drift_tells_classes_that_moved_more_than_asked(two_quarters: Store) -> None:
    assert [
        (r["asset_class"], round(r["points"], 6)) for r in ask(two_quarters, "reserve_drift")
    ] == [
        (TREASURY_BILLS, -10.0),
        (PRECIOUS_METALS, 5.0),
        (BITCOIN, -3.0),
    ]
    (gold,) = [r for r in ask(two_quarters, "reserve_drift", p_points=4.0) if r["points"] > 0]
    assert gold["growth_share"] == pytest.approx(80 / 200)
    assert ask(two_quarters, "reserve_drift", p_since=date(2026, 4, 1)) == []


def test_history_is_one_line_per_disclosure_and_adds_up(two_quarters: Store) -> None:
    rows = ask(two_quarters, "reserve_history")
    assert [r["as_of"] for r in rows] == [date(2026, 3, 31), date(2025, 12, 31)]
    for row in rows:
        shares = [v for k, v in row.items() if k.endswith("_share") and v is not None]
        assert sum(shares) == pytest.approx(1.0)


def test_a_report_of_ones_own_comes_before_the_shipped_figures(two_quarters: Store) -> None:
    before = ask(two_quarters, "reserves")
    shipped = {TREASURY_BILLS: (999, None)}
    put(
        two_quarters,
        report(
            date(2026, 3, 31),
            APRIL,
            shipped,
            provenance="reference",
            source="reference",
            observed=datetime(2026, 9, 5, tzinfo=UTC),
        ),
    )
    assert ask(two_quarters, "reserves") == before


def test_each_kind_of_evidence_is_compared_with_itself_only(fill: Fill) -> None:
    store = fill([])
    page = circle.parse_page(raw(fixture("circle/transparency.html")))
    fund = circle.parse_fund(raw(fixture("circle/USDXX_holdings.csv")))
    later = fixture("circle/transparency.html").replace(b"Sep 17", b"Sep 19")
    put(store, [*page, *fund, *circle.parse_page(raw(later.replace(b'"6.50"', b'"6.60"')))])
    rows = ask(store, "reserves", p_token="usdc")
    cash = {r["evidence"]: r for r in rows if r["asset_class"] == CASH}
    assert cash["issuer page"]["change_usd"] == pytest.approx(0.1e9)
    assert {r["row"] for r in rows if r["evidence"] == "fund file"} == {"first"}
    assert {r["evidence"] for r in rows} == {"issuer page", "fund file"}


def test_supply_against_liabilities_names_every_deduction(fill: Fill) -> None:
    store = fill([])
    put(store, tether.parse(raw(fixture("tether/transparency.json"))))
    rows = {r["term"]: r for r in ask(store, "reserve_supply")}
    assert rows["tokens that exist"]["amount"] == pytest.approx(113901.373456)
    assert rows["- authorised, not issued"]["amount"] == pytest.approx(-2300.500001)
    assert rows["- quarantined"]["amount"] == pytest.approx(-42.625)
    assert rows["= in circulation"]["amount"] == pytest.approx(111558.248455)
    assert rows["of it on chains not listed"]["note"] == "omni"
    assert rows["of it on chains not listed"]["amount"] == pytest.approx(70.125)
    assert rows["liabilities - circulation"]["amount"] == pytest.approx(0, abs=1e-9)
    assert rows["liabilities - circulation"]["note"] == "nothing unexplained"


def test_a_difference_to_the_page_is_a_difference_of_clocks(fill: Fill) -> None:
    store = fill([])
    put(store, tether.parse(raw(fixture("tether/transparency.json"))))
    here = Disclosure(
        raw=raw("", source="supply"),
        token="USDT",
        issuer="Tether",
        kind="contract",
        evidence="on chain",
        as_of=date(2026, 10, 2),
    ).supply(chain="ethereum", circulating=Decimal("59100.123455"))
    put(store, [here])
    (difference,) = [r for r in ask(store, "reserve_supply") if "less the page" in r["term"]]
    assert difference["amount"] == pytest.approx(100.0)
    assert difference["note"] == "clock difference: page of 2026-09-30"


def test_the_header_says_what_the_figures_are(fill: Fill) -> None:
    store = fill([])
    with pytest.raises(UsageError, match="chainwatch collect reference"):
        reported(store, "reserves")
    load(store, "reference")
    with pytest.raises(UsageError, match="did you mean USDT"):
        reported(store, "reserves", p_token="USDX")
    made = reported(store, "reserves", p_known_at=datetime(2026, 1, 29, 23, 59, tzinfo=UTC))
    assert made.header[0] == "as known on 2026-01-29 23:59Z: nothing published later counts"
    assert made.header[1].endswith("shipped with chainwatch, each with its report")
    assert made.header[2].startswith(
        "USDT quarterly report (attestation): as of 2025-09-30, published 2025-10-31 "
        "(31 days later)"
    )
    with pytest.raises(UsageError, match="no disclosure of USDT was published by then"):
        reported(store, "reserves", p_token="USDT", p_known_at=datetime(2020, 1, 1, tzinfo=UTC))


def test_a_query_is_used_in_three_ways_with_one_answer(two_quarters: Store) -> None:
    with query.open_catalog(two_quarters) as catalog:
        bound = query.run(catalog, query.find("reserve_drift"), {"p_points": 4.0}).rows
        macro = catalog.run("FROM reserve_drift(p_points := 4.0)").rows
        text = query.find("reserve_drift").text
        plain = catalog.run(
            text,
            {"p_token": "all", "p_points": 4.0, "p_since": None, "p_known_at": None},
        ).rows
    assert bound == macro == plain
    assert len(bound) == 2
