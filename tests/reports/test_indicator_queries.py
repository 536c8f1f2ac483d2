"""Indicators in SQL: values in, answers out; unknown where a figure is missing or stale."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from chainwatch.disclosures.reserves import (
    BITCOIN,
    PRECIOUS_METALS,
    TREASURY_BILLS,
    Disclosure,
    ReserveLine,
)
from chainwatch.lake.store import Store
from chainwatch.tables.base import Row
from chainwatch.tables.disclosure import IndicatorValue
from chainwatch.tables.exchange import Retraction
from chainwatch.tables.lending import ChainLiquidation
from tests.documents import ask, candle, put, raw, reported, value

Fill = Callable[[Sequence[Row]], Store]
SEEN = datetime(2026, 9, 20, tzinfo=UTC)


def weekdays(first: date, count: int) -> list[date]:
    results = [first]
    while len(results) < count:
        day = results[-1] + timedelta(days=1)
        results.append(day if day.weekday() < 5 else day + timedelta(days=7 - day.weekday()))
    return results


def series(name: str, first: date, figures: list[float], **other: Any) -> list[IndicatorValue]:
    days = weekdays(first, len(figures))
    return [value(name, d, f, **other) for d, f in zip(days, figures, strict=True)]


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# --- values ---------------------------------------------------------------------------------


def test_the_preferred_source_comes_first_and_gaps_are_filled(fill: Fill) -> None:
    """The preferred source comes first, and the other one fills its gaps."""
    first, second = date(2026, 9, 14), date(2026, 9, 15)
    store = fill(
        [
            value("vix", first, 15.0, source="cboe"),
            value("vix", first, 15.1, source="fred"),
            value("vix", second, 16.0, source="fred"),
        ],
    )
    rows = [(r["as_of"], r["value"], r["source"]) for r in ask(store, "indicators_at")]
    assert sorted(rows) == [(first, 15.0, "cboe"), (second, 16.0, "fred")]


def test_every_indicator_says_how_fresh_it_is_or_why_it_is_missing(fill: Fill) -> None:
    today = datetime.now(UTC).date()
    store = fill(
        [
            value("vix", today - timedelta(days=2), 15.0, source="cboe"),
            value("sofr", today - timedelta(days=30), 3.6, source="nyfed"),
            value("ioer", date(2021, 7, 28), 0.15, source="fred"),
        ],
    )
    rows = {r["series"]: r for r in ask(store, "indicators")}
    assert rows["vix"]["state"] == "fresh"
    assert rows["sofr"]["state"] == "STALE"
    assert rows["sofr"]["age_seconds"] == 30 * 86_400
    assert rows["ioer"]["state"] == "ended"
    assert rows["gold"]["state"] == "n/a (import a file)"
    assert rows["dgs10"]["state"] == "n/a (not collected)"
    assert rows["gold"]["value"] is None
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
    rows = {r["series"]: (r["value"], r["source"]) for r in ask(store, "indicators")}
    assert (rows["btc"], rows["eth"]) == ((5.0, "kraken"), (8.0, "import"))
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
    assert (before["administered_rate"], before["spread_bp"]) == ("ioer", -5.0)
    assert (newest["administered_rate"], newest["spread_bp"]) == ("iorb", -10.0)


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
    (rows,) = ask(store, "spreads")
    assert (rows["spread_bp"], rows["paid_pct"], rows["percentile_share"]) == (None, None, None)


def test_percentiles_count_earlier_days_only(fill: Fill) -> None:
    """Percentiles count earlier days only, with and without month ends."""
    days = weekdays(date(2026, 6, 1), 44)  # two months of weekdays
    chance = Random(3)
    spreads = [chance.randint(-9, 9) for _ in days]
    rows: list[Row] = []
    for as_of, bp in zip(days, spreads, strict=True):
        rows.append(value("sofr", as_of, round(3.65 + bp / 100, 4), source="nyfed"))
        rows.append(value("iorb", as_of, 3.65, source="fred"))
    result_rows = {r["as_of"]: r for r in ask(fill(rows), "spreads", p_last=100)}
    marked = {d for d, r in result_rows.items() if r["month_end"]}
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
        assert result_rows[as_of]["percentile_share"] == pytest.approx(share)
        assert result_rows[as_of]["spread_bp"] == spreads[n]
        if as_of not in marked:
            calm = [s for d, s in zip(days[: n + 1], earlier, strict=True) if d not in marked]
            without = sum(e < spreads[n] for e in calm) / (len(calm) - 1) if len(calm) > 1 else None
            assert result_rows[as_of]["percentile_without_month_ends_share"] == pytest.approx(
                without
            )
        else:
            assert result_rows[as_of]["percentile_without_month_ends_share"] is None


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
    result = bottoms(fill(checklist(FALLING, 0.98, calm=True)), NOW)
    assert {name: r["state"] for name, r in result.items()} == {
        "VIX off its peak": "pass",
        "MVRV": "pass",
        "MVRV, short holders": "unknown",
        "Treasury yields": "pass",
        "all three": "pass",
    }
    assert result["VIX off its peak"]["value"] == pytest.approx(23 / 30 - 1)
    assert result["MVRV"]["age_seconds"] == 2 * 86_400


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
    result = bottoms(fill(checklist(vix, mvrv, calm)), NOW)
    assert result[failing]["state"] == "fail"
    assert result["all three"]["state"] == "fail"


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
    result_rows = {r["as_of"]: r["vol_bp"] for r in ask(fill(rows), "yield_days")}
    changes = [100 * (b - a) for a, b in pairwise(yields)]
    assert result_rows[days[-1]] == pytest.approx(statistics.stdev(changes[-20:]))
    assert result_rows[days[19]] is None


def test_the_z_score_leaves_the_day_itself_out(fill: Fill) -> None:
    chance = Random(9)
    figures = [round(chance.uniform(10, 30), 2) for _ in range(254)]
    store = fill([*series("vix", date(2025, 1, 6), figures, source="cboe")])
    rows = sorted(ask(store, "vix_days"), key=lambda r: r["as_of"])
    before = figures[1:253]
    z = (figures[253] - statistics.mean(before)) / statistics.stdev(before)
    assert rows[253]["z"] == pytest.approx(z)
    assert rows[251]["z"] is None


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
    rows = {r["definition"]: r for r in ask(store, "breaks", p_level=100.0, p_known_at=soon)}
    touch, close = rows["touch, hourly"], rows["hourly close"]
    assert (touch["breaks"], touch["first_at"]) == (2, day("2026-09-01T01:00"))
    assert touch["last_at"] == day("2026-09-01T03:00")
    assert (close["breaks"], close["first_at"]) == (2, day("2026-09-01T04:00"))
    assert close["first_price"] == 99.5
    assert close["longest_seconds"] == 3 * 3600
    assert (close["state"], close["held_seconds"]) == ("holds", 3600)
    assert rows["daily close"]["state"] == "n/a (no candles)"
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


def test_after_a_gap_each_candle_back_at_the_level_is_a_retest(fill: Fill) -> None:
    """After a gap through the level, each candle that comes back to it is a retest."""
    bars = [
        (89_500.0, 90_500.0, 90_000.0),
        (86_000.0, 87_000.0, 86_500.0),  # opened below and stayed there
        (86_400.0, 88_500.0, 87_000.0),  # came back
        (86_000.0, 87_500.0, 86_800.0),
        (87_000.0, 89_500.0, 89_000.0),  # came back and closed above
    ]
    first = day("2026-11-10")
    store = fill([candle(first + timedelta(days=n), *bar) for n, bar in enumerate(bars)])
    rows = {r["definition"]: r for r in ask(store, "breaks", p_level=88_000.0)}
    assert {name: rows[name]["breaks"] for name in ("touch, daily", "daily close")} == {
        "touch, daily": 1,
        "daily close": 1,
    }
    assert (rows["touch, daily"]["retests"], rows["daily close"]["retests"]) == (2, 1)


def test_a_price_that_was_never_above_did_not_break(fill: Fill) -> None:
    store = fill(hours("2026-09-01", BARS[3:6]))
    assert {r["breaks"] for r in ask(store, "breaks", p_level=105.0)} == {0}
    up = {
        r["definition"]: r
        for r in ask(fill(hours("2026-09-01", BARS)), "breaks", p_level=103.5, p_direction="up")
    }
    assert up["touch, hourly"]["first_at"] == day("2026-09-01T06:00")
    assert (up["touch, hourly"]["state"], up["hourly close"]["state"]) == ("regained", "never")


def test_hours_that_are_missing_are_counted_in_the_break_they_are_in(fill: Fill) -> None:
    rows = hours("2026-09-01", BARS)
    del rows[4]
    result_rows = {r["definition"]: r for r in ask(fill(rows), "breaks", p_level=100.0)}
    assert result_rows["hourly close"]["gaps"] == 1


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

    result = figures(fill([*daily, *window]))
    assert result["BTC close to close"]["value"] == pytest.approx(110 / 121 - 1)
    assert result["BTC day high to low"]["value"] == pytest.approx(100 / 122 - 1)
    assert result["BTC in the window"]["value"] == pytest.approx(100 / 117 - 1)
    assert result["BTC low next day"]["value"] == 105.0
    assert result["exchange liquidations"]["figure"] == "n/a (not collected)"
    hole = figures(fill([*daily, *window[:2]]))
    assert hole["BTC in the window"]["value"] is None
    assert hole["BTC in the window"]["figure"] == "n/a (no hourly candles)"


def test_a_claim_without_data_is_not_checkable_and_says_why(fill: Fill) -> None:
    """A claim without data is not checkable, and says what is missing."""
    rows = ask(fill([]), "claims")
    assert len(rows) == 37
    by_number = {r["number"]: r for r in rows}
    for number, row in by_number.items():
        # 34 is ten times too large by its own figures.
        assert row["verdict"] == ("contradicted" if number == 34 else "not checkable")
        assert row["finding"].startswith("n/a (") == (number != 34)


def test_sample_figures_decide_nothing(fill: Fill) -> None:
    rows: list[Row] = [candle(day("2026-01-29"), 80_000.0, 90_000.0, 85_000.0, provenance="sample")]
    result_rows = {r["number"]: r for r in ask(fill(rows), "claims")}
    assert result_rows[5]["verdict"] == "not checkable"
    assert result_rows[5]["finding"] == "n/a (sample data)"
    real: list[Row] = [candle(day("2026-01-29"), 80_000.0, 90_000.0, 85_000.0)]
    assert {r["number"]: r["verdict"] for r in ask(fill(real), "claims")}[5] == "supported"


def judge(store: Store, number: int) -> dict[str, Any]:
    """A claim as judged: verdict, finding and what it stands on."""
    (rows,) = [r for r in ask(store, "claims") if r["number"] == number]
    return rows


def verdict(rows: Sequence[Row], fill: Fill, number: int) -> tuple[str, str]:
    result = judge(fill(rows), number)
    return result["verdict"], result["finding"]


# The sessions of New York that the claims of early 2026 need.
CLOSED = {date(2025, 12, 25), date(2026, 1, 1), date(2026, 1, 19)}
SESSIONS = [d for d in weekdays(date(2025, 12, 22), 40) if d not in CLOSED]


def closes(name: str, changed: dict[str, float], usual: float, **other: Any) -> list[Row]:
    """A close for each session: the usual one, or what is said for the day."""
    at = {date.fromisoformat(d): v for d, v in changed.items()}
    return [value(name, d, at.get(d, usual), **other) for d in SESSIONS]


def test_arithmetic_of_a_claim_is_told_against_both_figures(fill: Fill) -> None:
    """9.8 is above 9.37 expected, and 2 % short of 10: no contradiction, and no proof."""
    result = judge(fill([]), 35)
    assert result["finding"].startswith("n/a (9.8 is +4.6 % against 9.37 and -2.0 % against 10: ")
    assert (result["holds"], result["verdict"]) == (True, "not checkable")


@pytest.mark.full
@pytest.mark.parametrize(
    ("number", "rows", "figure"),
    [
        (37, [value("jgb40", date(2026, 1, 20), 3.901, source="mof")], "3.901 %"),
        (37, [value("jgb40", date(2026, 1, 20), 4.101, source="mof")], "4.101 %"),
        (27, closes("silver", {"2026-01-30": 75.5}, 105.57), "30 January -28.48 %"),
        (26, closes("silver", {"2026-02-05": 88.9, "2026-02-06": 93.6}, 105.57), "-15.79 %"),
        (25, closes("nasdaq", {"2026-02-06": 102.0}, 100.0, source="fred"), "6 February +2.00 %"),
        (29, closes("silver", {"2025-12-31": 64.42}, 105.57), "+63.9 %"),
        (30, closes("silver", {"2026-01-30": 80.0}, 70.0), "80.00 to 70.00: -12.5 %"),
    ],
)
def test_a_proxy_decides_nothing_and_is_named(
    fill: Fill, number: int, rows: list[Row], figure: str
) -> None:
    """Constant maturity for a quote, an import for a contract, one index for another."""
    result = judge(fill(rows), number)
    assert result["verdict"] == "proxy only"
    assert figure in result["finding"]
    assert result["finding"].endswith(f"({result['used']}; the claim: {result['instrument']})")


def test_part_of_a_window_is_counted_and_decides_nothing(fill: Fill) -> None:
    last_day = [r for r in closes("silver", {}, 100.0) if r.as_of == date(2026, 1, 30)]  # type: ignore[attr-defined]
    assert verdict(last_day, fill, 30)[0] == "n/a (1 of 23 sessions)"
    hole = {date(2026, 1, 23), date(2026, 1, 26)}
    vix = closes("vix", {"2026-01-29": 17.0}, 16.0, source="cboe")
    assert verdict(vix, fill, 11)[0] == "supported"
    result = judge(fill([r for r in vix if r.as_of not in hole]), 11)  # type: ignore[attr-defined]
    assert (result["verdict"], result["sessions"], result["sessions_wanted"]) == (
        "n/a (4 of 6 sessions)",
        4,
        6,
    )
    assert result["finding"].startswith("so far 17.00; sessions before: 1 16.00, 5 16.00")


@pytest.mark.full
def test_a_spread_has_sessions_and_provenance_of_both_series(fill: Fill) -> None:
    """A spread has the sessions and the provenance of both its series."""
    first = date(2026, 1, 12)
    sofr = [
        value("sofr", d, 3.64 if d < date(2026, 1, 29) else 3.85, source="nyfed")
        for d in weekdays(first, 30)
    ]

    def paid(*days: date, **other: Any) -> list[Row]:
        return [value("iorb", d, 3.65, source="fred", **other) for d in days]

    # Two days of the rate count for the seven days after each, not for the rest of the window.
    result = judge(fill([*sofr, *paid(date(2026, 1, 20), date(2026, 1, 21))]), 17)
    assert result["verdict"] == "n/a (7 of 19 sessions)"
    assert result["finding"].startswith("so far -1 to -1 bp")
    complete = judge(fill([*sofr, *paid(*weekdays(first, 30))]), 17)
    assert (complete["verdict"], complete["sessions"]) == ("supported", 19)
    for rows in (
        [*sofr, *paid(*weekdays(first, 30), provenance="sample")],
        [
            *closes("sofr", {}, 3.65, source="nyfed", provenance="sample"),
            *paid(*weekdays(first, 30)),
        ],
        [
            *closes("sofr", {}, 3.65, source="nyfed"),
            *paid(*weekdays(first, 30), provenance="sample"),
        ],
    ):
        result = judge(fill(rows), 17)
        assert (result["verdict"], result["provenance"]) == ("not checkable", "sample")
        assert result["finding"] == "n/a (sample data)"
    live = closes("sofr", {}, 3.65, source="nyfed", provenance="live")
    result = judge(fill([*live, *paid(*weekdays(first, 30))]), 17)
    assert (result["verdict"], result["provenance"]) == ("contradicted", "imported")
    # A day whose rate is a sample counts for nothing beside those whose rate is not.
    mixed = [
        *paid(*weekdays(first, 14)),
        *paid(*weekdays(date(2026, 2, 9), 10), provenance="sample"),
    ]
    result = judge(fill([*closes("sofr", {}, 3.65, source="nyfed"), *mixed]), 17)
    assert result["verdict"] == "n/a (13 of 19 sessions)"
    assert result["provenance"] == "imported"
    assert judge(fill(sofr), 17)["verdict"] == "not checkable"


@pytest.mark.full
def test_holes_never_turn_a_figure_into_another_verdict(fill: Fill) -> None:
    """Whatever days are missing: the verdict of the whole, or n/a with the count."""
    complete: list[Row] = [
        *closes("vix", {"2026-01-29": 15.0}, 16.0, source="cboe"),
        *closes("dxy", {"2026-01-29": 96.2, "2026-01-30": 96.3}, 98.0),
        *closes("sofr", {}, 3.65, source="nyfed"),
        *closes("iorb", {}, 3.65, source="fred"),
        *closes("silver", {"2026-01-28": 110.0}, 100.0),
        *(candle(day(f"2026-01-{n:02d}"), 88_500.0, 90_000.0, 89_000.0) for n in range(1, 32)),
    ]
    numbers = (6, 11, 13, 14, 17, 26, 27, 29, 30, 31)
    full = {r["number"]: r["verdict"] for r in ask(fill(complete), "claims")}
    assert {full[n] for n in (11, 13, 17, 31)} == {"contradicted"}
    chance = Random(5)
    for share in (0.02, 0.1, 0.5, 0.9):
        rows = [r for r in complete if chance.random() > share]
        for result in ask(fill(rows), "claims"):
            if result["number"] not in numbers:
                continue
            part = result["sessions"] is None or result["sessions"] < result["sessions_wanted"]
            wanted = "n/a (" if part else full[result["number"]]
            assert result["verdict"].startswith((wanted, "not checkable") if part else wanted)


@pytest.mark.full
@pytest.mark.parametrize(
    ("before", "named", "wanted"),
    [
        (0.0, 0.8, "supported"),
        (0.8, 0.8, "supported"),
        (0.8, -0.1, "depends on the session"),
        (0.0, -0.1, "contradicted"),
    ],
)
def test_a_session_before_keeps_a_claim_from_being_refuted(
    fill: Fill, before: float, named: float, wanted: str
) -> None:
    first = 100 * (1 + before / 100)
    rows = closes("dxy", {"2026-01-29": first, "2026-01-30": first * (1 + named / 100)}, 100.0)
    output, finding = verdict(rows, fill, 31)
    assert output == wanted
    assert finding == f"30 January {named:+.2f} %, 29 January {before:+.2f} %"


@pytest.mark.full
def test_a_trend_that_a_choice_of_window_decides_is_told(fill: Fill) -> None:
    falling = {"2026-01-28": 97.0, "2026-01-29": 96.0}
    assert verdict(closes("dxy", falling, 98.0), fill, 13) == (
        "contradicted",
        "96.00; sessions before: 1 97.00, 5 98.00, 20 98.00",
    )
    result = verdict(closes("dxy", falling | {"2026-01-22": 95.0}, 98.0), fill, 13)
    assert result[0] == "depends on the window"
    rising = closes("dxy", {"2026-01-28": 98.5, "2026-01-29": 99.0}, 98.0)
    assert verdict(rising, fill, 13)[0] == "supported"


def test_sources_that_disagree_refute_nothing(fill: Fill) -> None:
    rows = [
        *closes("vix", {"2026-01-29": 15.0}, 16.0, source="cboe"),
        *closes("vix", {"2026-01-29": 17.0}, 16.0, source="import"),
    ]
    result = judge(fill(rows), 11)
    assert (result["verdict"], result["sources_for"], result["sources_against"]) == (
        "depends on the source",
        1,
        1,
    )
    assert result["finding"].startswith("cboe: 15.00; sessions before: 1 16.00, 5 16.00")
    assert "import: 17.00; sessions before: 1 16.00, 5 16.00" in result["finding"]
    # A source that has part of the window has no say.
    rows = [r for r in rows if (r.source, r.as_of) != ("import", date(2026, 1, 27))]  # type: ignore[attr-defined]
    assert judge(fill(rows), 11)["verdict"] == "contradicted"


@pytest.mark.full
def test_one_venue_supports_a_price_and_cannot_deny_it(fill: Fill) -> None:
    at = day("2026-02-06")
    binance = {"venue": "binance", "symbol": "BTC/USDT", "source": "candles"}
    low, high = candle(at, 60_000.0, 66_000.0, 65_000.0), candle(at, 61_000.0, 66_000.0, 65_000.0)
    assert verdict([low], fill, 20) == ("supported", "low 60,000")
    result = judge(fill([high]), 20)
    assert (result["verdict"], result["used"]) == (
        "proxy only",
        "BTC as imported, venue not stated",
    )
    other = candle(at, 61_000.0, 66_000.0, 65_000.0, **binance)
    assert judge(fill([low, other]), 20)["verdict"] == "depends on the source"
    # That 88,000 had never broken is refuted by one venue on which it had.
    january = candle(day("2026-01-20"), 87_000.0, 90_000.0, 89_000.0)
    assert verdict([january], fill, 6)[0] == "contradicted"


def may(falls: dict[int, tuple[float, float, float]]) -> list[Row]:
    """Daily candles of May 2021: low, high, close of some days, else 50,000."""
    first = day("2021-05-01")
    return [
        candle(first + timedelta(days=n), *falls.get(n + 1, (50_000.0, 50_000.0, 50_000.0)))
        for n in range(32)
    ]


@pytest.mark.parametrize(
    ("falls", "wanted", "holds"),
    [
        ({12: (47_000.0, 57_939.0, 47_500.0)}, "supported", True),
        # The high may have come after the low, or a day before the next low.
        ({12: (49_151.0, 57_939.0, 49_151.0), 13: (46_980.0, 51_000.0, 49_700.0)}, "open", None),
        ({19: (30_681.0, 43_546.0, 37_002.0)}, "proxy only", False),
    ],
)
def test_daily_candles_bound_a_fall_within_24_hours(
    fill: Fill, falls: dict[int, tuple[float, float, float]], wanted: str, holds: bool | None
) -> None:
    result = judge(fill(may(falls)), 2)
    assert result["holds"] is holds
    assert result["verdict"] == ("not checkable" if wanted == "open" else wanted)
    assert ("daily candles leave 24 hours open" in result["finding"]) == (wanted == "open")


def quarters(gold: tuple[int, int], bitcoin: tuple[int, int], prices: tuple[str, str]) -> list[Row]:
    """Tether's reports of the last quarters of 2025: USD of a reserve of 1,000."""
    rows: list[Row] = []
    for n, as_of in enumerate((date(2025, 9, 30), date(2025, 12, 31))):
        lines = [
            ReserveLine("gold", PRECIOUS_METALS, Decimal(gold[n])),
            ReserveLine("bitcoin", BITCOIN, Decimal(bitcoin[n]), Decimal(prices[n]), "BTC"),
            ReserveLine("bills", TREASURY_BILLS, Decimal(1000 - gold[n] - bitcoin[n])),
        ]
        rows += Disclosure(
            raw=raw("", fetched_at=SEEN),
            token="USDT",
            issuer="Tether",
            kind="quarterly report",
            evidence="attestation",
            as_of=as_of,
        ).statement(
            assets=Decimal(1000),
            lines=lines,
            gate="test",
        )
    return rows


OUNCES = [value("gold", date(2025, 9, 30), 10.0), value("gold", date(2025, 12, 31), 12.0)]


@pytest.mark.full
@pytest.mark.parametrize(
    ("gold", "expected", "wanted", "words"),
    [
        ((100, 150), OUNCES, "supported", "(+25.0 % of the ounces, MODEL)"),
        ((100, 120), OUNCES, "depends on the measure", ": +0.00 by quantity (+0.0 %"),
        ((100, 90), OUNCES, "contradicted", "gold 9.00 % of the reserve, 10.00 %"),
        ((100, 150), [], "not checkable", "by quantity or by price is not known (import gold)"),
        ((100, 90), [], "not checkable", "by quantity or by price is not known (import gold)"),
    ],
)
def test_a_move_into_gold_is_told_by_ounces_beside_share(
    fill: Fill, gold: tuple[int, int], expected: list[Row], wanted: str, words: str
) -> None:
    """Ounces held constant while the price rises raise the share: that moves nothing."""
    output, finding = verdict([*quarters(gold, (10, 10), ("1", "1")), *expected], fill, 9)
    assert output == wanted
    assert words in finding


@pytest.mark.full
@pytest.mark.parametrize(
    ("bitcoin", "prices", "wanted"),
    [
        ((100, 80), ("10", "10"), "supported"),
        ((100, 80), ("10", "5"), "depends on the measure"),
        ((100, 120), ("10", "10"), "contradicted"),
    ],
)
def test_fewer_bitcoin_are_told_by_coins_beside_share(
    fill: Fill, bitcoin: tuple[int, int], prices: tuple[str, str], wanted: str
) -> None:
    store = fill(quarters((100, 100), bitcoin, prices))
    result = judge(store, 10)
    assert result["verdict"] == wanted
    (split,) = [r for r in ask(store, "reserves") if r["asset_class"] == BITCOIN]
    by_quantity, by_price = split["quantity_effect_usd"] / 1e9, split["price_effect_usd"] / 1e9
    assert result["finding"].endswith(f"{by_quantity:+.2f} by quantity, {by_price:+.2f} by price")


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


def test_seizures_of_an_orphaned_block_do_not_count(fill: Fill) -> None:
    """What was seized in a block that left the chain does not count."""
    gone = Retraction(chain_id=1, block_number=1, block_hash="0xb1", detected_at=SEEN)
    figures = ask(fill([seized(4e8), gone]), "crash_figures")
    assert {r["figure"] for r in figures if r["position"] == 18} == {"n/a (none stored)"}
