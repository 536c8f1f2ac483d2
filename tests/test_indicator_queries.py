"""Indicators in SQL: values in, answers out; unknown where a figure is missing or stale."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from chainwatch.rows import ChainLiquidation, IndicatorValue, Retraction, Row
from chainwatch.store import Store
from tests.disclosures import ask, candle, put, reported, value

Fill = Callable[[Sequence[Row]], Store]
SEEN = datetime(2026, 9, 20, tzinfo=UTC)


def weekdays(first: date, count: int) -> list[date]:
    found = [first]
    while len(found) < count:
        day = found[-1] + timedelta(days=1)
        found.append(day if day.weekday() < 5 else day + timedelta(days=7 - day.weekday()))
    return found


def series(name: str, first: date, figures: list[float], **other: Any) -> list[IndicatorValue]:
    days = weekdays(first, len(figures))
    return [value(name, d, f, **other) for d, f in zip(days, figures, strict=True)]


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# --- values ---------------------------------------------------------------------------------


def test_the_source_believed_most_comes_first_and_the_other_fills_its_gaps(fill: Fill) -> None:
    first, second = date(2026, 9, 14), date(2026, 9, 15)
    store = fill(
        [
            value("vix", first, 15.0, source="cboe"),
            value("vix", first, 15.1, source="fred"),
            value("vix", second, 16.0, source="fred"),
        ],
    )
    found = [(r["as_of"], r["value"], r["source"]) for r in ask(store, "indicators_at")]
    assert sorted(found) == [(first, 15.0, "cboe"), (second, 16.0, "fred")]


def test_every_indicator_says_how_fresh_it_is_or_why_it_is_missing(fill: Fill) -> None:
    today = datetime.now(UTC).date()
    store = fill(
        [
            value("vix", today - timedelta(days=2), 15.0, source="cboe"),
            value("sofr", today - timedelta(days=30), 3.6, source="nyfed"),
            value("ioer", date(2021, 7, 28), 0.15, source="fred"),
        ],
    )
    found = {r["series"]: r for r in ask(store, "indicators")}
    assert found["vix"]["state"] == "fresh"
    assert found["sofr"]["state"] == "STALE"
    assert found["sofr"]["age_seconds"] == 30 * 86_400
    assert found["ioer"]["state"] == "ended"
    assert found["gold"]["state"] == "n/a (import a file)"
    assert found["dgs10"]["state"] == "n/a (not collected)"
    assert found["gold"]["value"] is None
    early = {r["series"]: r for r in ask(store, "indicators", p_known_at=day("2021-08-01"))}
    assert early["vix"]["state"] == "n/a (not collected)"
    assert early["ioer"]["value"] == 0.15


def test_of_two_prices_of_a_day_the_exchange_comes_before_the_import(fill: Fill) -> None:
    at = datetime(2026, 9, 15, tzinfo=UTC)
    exchange = {"venue": "kraken", "source": "kraken", "provenance": "live"}
    store = fill(
        [
            candle(at - timedelta(days=1), 1.0, 9.0, 4.0, **exchange),
            candle(at, 1.0, 9.0, 5.0, **exchange),
            candle(at, 1.0, 9.0, 6.0, known_at=at + timedelta(days=2)),
            candle(at + timedelta(hours=3), 1.0, 9.0, 7.0, "1h"),
            candle(at, 1.0, 9.0, 8.0, "1h", asset="ETH"),
        ]
    )
    found = {r["series"]: (r["value"], r["source"]) for r in ask(store, "indicators")}
    assert (found["btc"], found["eth"]) == ((5.0, "kraken"), (8.0, "import"))
    early = {r["series"]: r for r in ask(store, "indicators", p_known_at=at)}
    assert early["btc"]["value"] == 4.0


def test_a_source_that_is_not_listed_for_a_series_is_not_believed(fill: Fill) -> None:
    store = fill([value("vix", date(2026, 9, 14), 99.0, source="somebody")])
    assert ask(store, "indicators_at") == []


# --- spreads --------------------------------------------------------------------------------


def test_the_leg_changes_from_ioer_to_iorb_on_its_day(fill: Fill) -> None:
    store = fill(
        [
            value("sofr", date(2021, 7, 28), 0.05, source="nyfed"),
            value("sofr", date(2021, 7, 29), 0.05, source="nyfed"),
            value("ioer", date(2021, 7, 28), 0.10, source="fred"),
            value("iorb", date(2021, 7, 29), 0.15, source="fred"),
        ],
    )
    newest, before = ask(store, "spreads")
    assert (before["leg"], before["spread_bp"]) == ("ioer", -5.0)
    assert (newest["leg"], newest["spread_bp"]) == ("iorb", -10.0)


def test_the_note_on_percentiles_says_which_days_they_are_of(fill: Fill) -> None:
    first = date(2026, 9, 14)
    store = fill([*series("sofr", first, [3.6, 3.7, 3.8]), *series("iorb", first, [3.65] * 3)])
    (note, *_) = reported(store, "spreads").notes
    assert note.startswith(
        "percentile: share of all days from 2026-09-14 up to that day with a smaller spread "
        "(to the newest: 3 days);"
    )


def test_a_rate_of_last_month_is_not_carried_forward(fill: Fill) -> None:
    store = fill(
        [
            value("sofr", date(2026, 9, 14), 3.70, source="nyfed"),
            value("iorb", date(2026, 8, 14), 3.65, source="fred"),
        ],
    )
    (found,) = ask(store, "spreads")
    assert (found["spread_bp"], found["paid_pct"], found["percentile_share"]) == (None, None, None)


def test_percentiles_count_earlier_days_only_with_and_without_month_ends(fill: Fill) -> None:
    days = weekdays(date(2026, 6, 1), 44)  # two months of weekdays
    chance = Random(3)
    spreads = [chance.randint(-9, 9) for _ in days]
    rows: list[Row] = []
    for as_of, bp in zip(days, spreads, strict=True):
        rows.append(value("sofr", as_of, round(3.65 + bp / 100, 4), source="nyfed"))
        rows.append(value("iorb", as_of, 3.65, source="fred"))
    found = {r["as_of"]: r for r in ask(fill(rows), "spreads", p_last=100)}
    marked = {d for d, r in found.items() if r["month_end"]}
    # The last day of a month that has a rate, and its neighbours; at both ends of what is stored
    # weekdays stand in for the days that are not.
    assert days[-1] == date(2026, 7, 30)
    assert marked == {
        date(2026, 6, 1),
        date(2026, 6, 29),
        date(2026, 6, 30),
        date(2026, 7, 1),
        date(2026, 7, 30),
    }
    for n, as_of in enumerate(days[1:], start=1):
        earlier = spreads[: n + 1]
        share = sum(e < spreads[n] for e in earlier) / n
        assert found[as_of]["percentile_share"] == pytest.approx(share)
        assert found[as_of]["spread_bp"] == spreads[n]
        if as_of not in marked:
            calm = [s for d, s in zip(days[: n + 1], earlier, strict=True) if d not in marked]
            without = sum(e < spreads[n] for e in calm) / (len(calm) - 1) if len(calm) > 1 else None
            assert found[as_of]["percentile_without_month_ends_share"] == pytest.approx(without)
        else:
            assert found[as_of]["percentile_without_month_ends_share"] is None


# --- bottom ---------------------------------------------------------------------------------


def bottoms(store: Store, when: datetime, **other: Any) -> dict[str, dict[str, Any]]:
    return {r["test"]: r for r in ask(store, "bottom", p_known_at=when, **other)}


def checklist(vix: list[float], mvrv: float, calm: bool) -> list[Row]:
    """Inputs that end on Wednesday 16 September 2026."""
    first = date(2025, 6, 2)
    days = weekdays(first, 338)
    assert days[-1] == date(2026, 9, 16)
    chance = Random(11)
    size = [3.0] * 300 + [1.0 if calm else 9.0] * 38
    yields = [4.0]
    for step in size[1:]:
        yields.append(round(yields[-1] + chance.choice([-1, 1]) * step / 100, 6))
    return [
        *series("vix", days[-len(vix)], vix, source="cboe"),
        *(value("dgs10", d, y, source="treasury") for d, y in zip(days, yields, strict=True)),
        value("btc_mvrv", days[-1], mvrv, source="coinmetrics"),
    ]


FALLING = [15.0] * 10 + [30.0] + [25.0] * 8 + [24.0, 23.0]
NOW = day("2026-09-18")


def test_all_three_pass_only_together(fill: Fill) -> None:
    found = bottoms(fill(checklist(FALLING, 0.98, calm=True)), NOW)
    assert {name: r["state"] for name, r in found.items()} == {
        "VIX off its peak": "pass",
        "MVRV": "pass",
        "MVRV, short holders": "unknown",
        "Treasury yields": "pass",
        "all three": "pass",
    }
    assert found["VIX off its peak"]["value"] == pytest.approx(23 / 30 - 1)
    assert found["MVRV"]["age_seconds"] == 2 * 86_400


@pytest.mark.parametrize(
    ("vix", "mvrv", "calm", "failing"),
    [
        ([*FALLING[:-1], 24.5], 0.98, True, "VIX off its peak"),  # not falling
        ([*FALLING[:-2], 28.0, 27.0], 0.98, True, "VIX off its peak"),  # not far enough
        (FALLING, 1.01, True, "MVRV"),
        (FALLING, 0.98, False, "Treasury yields"),
    ],
)
def test_one_that_fails_fails_the_whole(
    fill: Fill, vix: list[float], mvrv: float, calm: bool, failing: str
) -> None:
    found = bottoms(fill(checklist(vix, mvrv, calm)), NOW)
    assert found[failing]["state"] == "fail"
    assert found["all three"]["state"] == "fail"


def test_a_stale_or_missing_figure_makes_the_whole_unknown(fill: Fill) -> None:
    rows = checklist(FALLING, 0.98, calm=True)
    late = bottoms(fill(rows), day("2026-09-25"))
    assert late["MVRV"]["state"] == late["all three"]["state"] == "unknown"
    assert late["MVRV"]["figure"].startswith("STALE: 0.980")
    without = [r for r in rows if getattr(r, "series", "") != "btc_mvrv"]
    missing = bottoms(fill(without), NOW)
    assert missing["MVRV"]["figure"] == "n/a (not collected)"
    assert missing["all three"]["state"] == "unknown"
    short = bottoms(fill([r for r in rows if r.as_of > date(2026, 9, 1)]), NOW)  # type: ignore[attr-defined]
    assert short["VIX off its peak"]["figure"] == "n/a (not enough history)"


def test_thresholds_can_be_moved(fill: Fill) -> None:
    store = fill(checklist(FALLING, 1.05, calm=True))
    assert bottoms(store, NOW)["MVRV"]["state"] == "fail"
    assert bottoms(store, NOW, p_mvrv=1.1)["all three"]["state"] == "pass"
    assert bottoms(store, NOW, p_mvrv=1.1, p_vix_drop=0.3)["all three"]["state"] == "fail"


def test_nothing_published_later_is_looked_at(fill: Fill) -> None:
    store = fill(checklist(FALLING, 0.98, calm=True))
    before = bottoms(store, day("2026-09-16"))
    assert before["VIX off its peak"]["as_of"] == date(2026, 9, 15)
    assert before["MVRV"]["state"] == "unknown"


def test_volatility_is_the_deviation_of_observed_changes(fill: Fill) -> None:
    chance = Random(7)
    days = [d for d in weekdays(date(2026, 1, 5), 30) if d.day != 13]  # a holiday is no zero
    yields = [round(4 + chance.uniform(-0.2, 0.2), 2) for _ in days]
    rows: list[Row] = [
        value("dgs10", d, y, source="treasury") for d, y in zip(days, yields, strict=True)
    ]
    found = {r["as_of"]: r["vol_bp"] for r in ask(fill(rows), "yield_days")}
    changes = [100 * (b - a) for a, b in pairwise(yields)]
    assert found[days[-1]] == pytest.approx(statistics.stdev(changes[-20:]))
    assert found[days[19]] is None


def test_the_z_score_leaves_the_day_itself_out(fill: Fill) -> None:
    chance = Random(9)
    figures = [round(chance.uniform(10, 30), 2) for _ in range(254)]
    store = fill([*series("vix", date(2025, 1, 6), figures, source="cboe")])
    found = sorted(ask(store, "vix_days"), key=lambda r: r["as_of"])
    before = figures[1:253]
    z = (figures[253] - statistics.mean(before)) / statistics.stdev(before)
    assert found[253]["z"] == pytest.approx(z)
    assert found[251]["z"] is None


# --- breaks ---------------------------------------------------------------------------------


def hours(first: str, bars: list[tuple[float, float, float]]) -> list[Row]:
    begin = day(first)
    return [
        candle(begin + timedelta(hours=n), low, high, close, "1h")
        for n, (low, high, close) in enumerate(bars)
    ]


BARS = [
    (101.0, 103.0, 102.0),
    (99.0, 102.0, 101.0),  # touched, closed above
    (100.5, 102.0, 101.5),
    (98.0, 101.0, 99.5),  # touched, closed below
    (99.0, 100.2, 99.8),  # came back to it, closed below
    (97.0, 99.0, 98.0),
    (98.0, 104.0, 103.0),  # regained
    (96.0, 103.0, 97.0),  # broke again
    (95.0, 98.0, 96.0),
]


def test_a_break_is_told_by_each_definition(fill: Fill) -> None:
    store = fill(hours("2026-09-01", BARS))
    soon = day("2026-09-02")
    found = {r["definition"]: r for r in ask(store, "breaks", p_level=100.0, p_known_at=soon)}
    touch, close = found["touch, hourly"], found["hourly close"]
    assert (touch["breaks"], touch["first_at"]) == (2, day("2026-09-01T01:00"))
    assert touch["last_at"] == day("2026-09-01T03:00")
    assert (close["breaks"], close["first_at"]) == (2, day("2026-09-01T04:00"))
    assert close["first_price"] == 99.5
    assert close["longest_seconds"] == 3 * 3600
    assert (close["state"], close["held_seconds"]) == ("holds", 3600)
    assert found["daily close"]["state"] == "n/a (no candles)"
    # Weeks later nobody knows more than that it held to the last candle stored.
    late = {r["definition"]: r for r in ask(store, "breaks", p_level=100.0)}
    assert late["hourly close"]["state"] == "to 2026-09-01"


def test_episodes_count_retests_and_what_was_reached(fill: Fill) -> None:
    store = fill(hours("2026-09-01", BARS))
    first, second = (
        r for r in ask(store, "break_episodes", p_level=100.0) if r["definition"] == "hourly close"
    )
    assert (first["retests"], first["extreme"], first["holds"]) == (1, 97.0, False)
    assert first["back_at"] == day("2026-09-01T07:00")
    assert (second["retests"], second["holds"], second["gaps"]) == (0, True, 0)


def test_after_a_gap_through_the_level_each_candle_that_comes_back_is_a_retest(fill: Fill) -> None:
    bars = [
        (89_500.0, 90_500.0, 90_000.0),
        (86_000.0, 87_000.0, 86_500.0),  # opened below and stayed there
        (86_400.0, 88_500.0, 87_000.0),  # came back
        (86_000.0, 87_500.0, 86_800.0),
        (87_000.0, 89_500.0, 89_000.0),  # came back and closed above
    ]
    first = day("2026-11-10")
    store = fill([candle(first + timedelta(days=n), *bar) for n, bar in enumerate(bars)])
    found = {r["definition"]: r for r in ask(store, "breaks", p_level=88_000.0)}
    assert {name: found[name]["breaks"] for name in ("touch, daily", "daily close")} == {
        "touch, daily": 1,
        "daily close": 1,
    }
    assert (found["touch, daily"]["retests"], found["daily close"]["retests"]) == (2, 1)


def test_a_price_that_was_never_above_did_not_break(fill: Fill) -> None:
    store = fill(hours("2026-09-01", BARS[3:6]))
    assert {r["breaks"] for r in ask(store, "breaks", p_level=105.0)} == {0}
    up = {
        r["definition"]: r
        for r in ask(fill(hours("2026-09-01", BARS)), "breaks", p_level=103.5, p_way="up")
    }
    assert up["touch, hourly"]["first_at"] == day("2026-09-01T06:00")
    assert (up["touch, hourly"]["state"], up["hourly close"]["state"]) == ("regained", "never")


def test_hours_that_are_missing_are_counted_in_the_break_they_are_in(fill: Fill) -> None:
    rows = hours("2026-09-01", BARS)
    del rows[4]
    found = {r["definition"]: r for r in ask(fill(rows), "breaks", p_level=100.0)}
    assert found["hourly close"]["gaps"] == 1


def test_only_closed_candles_are_known(fill: Fill) -> None:
    store = fill(hours("2026-09-01", BARS))
    early = ask(store, "breaks", p_level=100.0, p_known_at=day("2026-09-01T03:30"))
    assert {r["definition"]: r["state"] for r in early}["hourly close"] == "never"
    assert {r["definition"]: r["breaks"] for r in early}["touch, hourly"] == 1


# --- crashes and claims ---------------------------------------------------------------------


def test_a_crash_without_data_says_why_in_every_figure(fill: Fill) -> None:
    rows = ask(fill([]), "crash_figures")
    assert len(rows) == 5 * 18
    assert {r["value"] for r in rows} == {None}
    assert all(r["figure"].startswith("n/a (") for r in rows)


def test_a_crash_is_measured_on_its_day_and_in_its_window(fill: Fill) -> None:
    daily: list[Row] = [
        candle(day("2025-10-09"), 119.0, 125.0, 121.0),
        candle(day("2025-10-10"), 100.0, 122.0, 110.0),
        candle(day("2025-10-11"), 105.0, 112.0, 111.0),
    ]
    window = [
        candle(day("2025-10-10T21:00"), 100.0, 118.0, 104.0, "1h", open=117.0),
        candle(day("2025-10-10T22:00"), 101.0, 109.0, 108.0, "1h", open=104.0),
        candle(day("2025-10-10T23:00"), 106.0, 111.0, 110.0, "1h", open=108.0),
    ]

    def figures(store: Store) -> dict[str, Any]:
        rows = ask(store, "crash_figures")
        return {r["metric"]: r for r in rows if r["event"] == "2025-10-10"}

    found = figures(fill([*daily, *window]))
    assert found["BTC close to close"]["value"] == pytest.approx(110 / 121 - 1)
    assert found["BTC day high to low"]["value"] == pytest.approx(100 / 122 - 1)
    assert found["BTC in the window"]["value"] == pytest.approx(100 / 117 - 1)
    assert found["BTC low next day"]["value"] == 105.0
    assert found["exchange liquidations"]["figure"] == "n/a (not collected)"
    hole = figures(fill([*daily, *window[:2]]))
    assert hole["BTC in the window"]["value"] is None
    assert hole["BTC in the window"]["figure"] == "n/a (no hourly candles)"


def test_a_claim_without_data_is_not_checkable_and_says_what_is_lacking(fill: Fill) -> None:
    rows = ask(fill([]), "claims")
    assert len(rows) == 37
    by_number = {r["number"]: r for r in rows}
    own = {
        18: "supported",
        28: "contradicted",
        34: "contradicted",
        35: "contradicted",
        36: "supported",
    }
    for number, row in by_number.items():
        assert row["verdict"] == own.get(number, "not checkable")
        assert row["finding"].startswith("n/a (") == (number not in own)


def test_sample_figures_decide_nothing(fill: Fill) -> None:
    rows: list[Row] = [candle(day("2026-01-29"), 80_000.0, 90_000.0, 85_000.0, provenance="sample")]
    found = {r["number"]: r for r in ask(fill(rows), "claims")}
    assert found[5]["verdict"] == "not checkable"
    assert found[5]["finding"] == "n/a (sample data)"
    real: list[Row] = [candle(day("2026-01-29"), 80_000.0, 90_000.0, 85_000.0)]
    assert {r["number"]: r["verdict"] for r in ask(fill(real), "claims")}[5] == "supported"


def test_claims_of_one_article_are_chosen_by_its_letter(fill: Fill) -> None:
    store = fill([])
    assert {"C" in r["articles"] for r in ask(store, "claims", p_article="C")} == {True}
    assert len(ask(store, "claims", p_article="C")) == 10


def test_a_report_counts_what_is_sample_and_imported(fill: Fill) -> None:
    store = fill([value("vix", date(2026, 9, 16), 20.0, source="cboe", provenance="sample")])
    header = reported(store, "indicators").header
    assert header[0] == (
        "1 of 21 rows: SAMPLE data, invented figures that show how the report looks"
    )


def seized(usd: float, block_hash: str = "0xb1") -> ChainLiquidation:
    return ChainLiquidation(
        market="ethereum",
        protocol="aave-v3",
        chain_id=1,
        block_number=1,
        block_hash=block_hash,
        block_time=day("2026-01-30"),
        tx_hash="0xt",
        log_index=0,
        kind="liquidation",
        account="0xa",
        liquidator="0xl",
        debt_repaid_raw=None,
        coll_seized_raw=None,
        coll_seized_usd=usd,
    )


def test_seizures_on_chain_are_a_lower_bound_that_refutes_nothing(fill: Fill) -> None:
    store = fill([seized(4e8)])
    claim = next(r for r in ask(store, "claims") if r["number"] == 8)
    assert claim["verdict"] == "not checkable"
    assert claim["finding"] == (
        "n/a (at least 400,000,000 USD in 1 events of ethereum: a lower bound refutes nothing)"
    )
    figures = {r["event"]: r for r in ask(store, "crash_figures") if r["position"] == 18}
    assert figures["2026-01-29"]["figure"] == "≥ 400,000,000"
    assert figures["2026-02-05"]["value"] is None
    put(store, [seized(7e8, "0xb2")])
    claim = next(r for r in ask(store, "claims") if r["number"] == 8)
    assert claim["verdict"] == "supported"


def test_what_was_seized_in_a_block_that_left_the_chain_does_not_count(fill: Fill) -> None:
    gone = Retraction(chain_id=1, block_number=1, block_hash="0xb1", found_at=SEEN)
    figures = ask(fill([seized(4e8), gone]), "crash_figures")
    assert {r["figure"] for r in figures if r["position"] == 18} == {"n/a (none stored)"}
