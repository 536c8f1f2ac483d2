"""Published figures that this project did not produce, read from CHAINWATCH_SHARED: what we compute
of them equals what others state. Nothing of that folder is copied in here."""

from __future__ import annotations

import csv
import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chainwatch.collect import runner
from chainwatch.collect.document import Irreconcilable
from chainwatch.collect.feed import Outcome
from chainwatch.disclosures.publishers import circle, reference, tether
from chainwatch.lake.store import Store
from chainwatch.tables.disclosure import IndicatorValue, Statement, Supply
from tests.documents import Publisher, ask, gather, load, raw
from tests.vectors import shared_file

CAPTURE = "data/tether/tether-transparency-2026-07-09.json"
MACRO = "data/prices_macro"


def table(name: str) -> list[dict[str, str]]:
    with shared_file(name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def day(text: str) -> date:
    return date.fromisoformat(text)


# --- reserves -------------------------------------------------------------------------------


def test_the_capture_of_tethers_page_is_read_to_the_last_digit() -> None:
    rows = tether.parse(raw(shared_file(CAPTURE).read_bytes()))
    (usdt,) = [r for r in rows if isinstance(r, Statement) and r.token == "USDT"]
    assert usdt.as_of == day("2026-07-08")
    assert usdt.assets is not None
    assert usdt.liabilities is not None
    assert usdt.equity == usdt.assets - usdt.liabilities
    totals = (usdt.assets, usdt.liabilities, usdt.equity)
    assert [str(round(t, 2)) for t in totals] == [
        "189761994736.81",
        "184295052985.02",
        "5466941751.78",
    ]
    chains = [r for r in rows if isinstance(r, Supply) and r.token == "USDT"]
    listed = [r.circulating or Decimal(0) for r in chains if r.listed]
    assert (len(listed), round(sum(listed), 2)) == (14, Decimal("184211219230.29"))
    unlisted = sum((r.circulating or Decimal(0) for r in chains if not r.listed), Decimal(0))
    assert round(unlisted, 8) == Decimal("83833754.73339265")
    (gold,) = [r for r in rows if isinstance(r, Statement) and r.token == "XAUT"]
    assert (gold.unit, round(gold.assets or 0, 3)) == ("XAU oz", Decimal("707747.089"))


def test_one_digit_altered_in_the_capture_is_refused_with_both_sums() -> None:
    body = shared_file(CAPTURE).read_text("utf-8")
    figures = json.loads(body, parse_float=str)["data"]["usdt"]
    for name in ("total_assets", "total_liabilities", "shareholder_eq", "totaltokens_eth"):
        before = str(figures[name])
        digit = next(i for i, c in enumerate(before) if c in "123456789")
        after = before[:digit] + str(int(before[digit]) - 1) + before[digit + 1 :]
        with pytest.raises(Irreconcilable, match=r"add up to .*\d, stated are .*\d"):
            tether.parse(raw(body.replace(before, after, 1)))


COLUMNS = {
    "us_treasury_bills": ["US treasuries"],
    "commercial_paper": ["commercial paper"],
    "money_market_funds": ["money market funds"],
    "cash_bank_deposits": ["cash and deposits"],
    "overnight_reverse_repo term_reverse_repo reverse_repo": ["treasury repo"],
    "non_us_treasury_bills": ["foreign treasuries"],
    "corporate_bonds_funds_metals": ["bonds and metals"],
    "corporate_bonds": ["corporate bonds"],
    "precious_metals": ["precious metals"],
    "bitcoin": ["bitcoin"],
    "public_equities": ["public equities"],
    "other_investments": ["other investments"],
    "secured_loans": ["secured loans"],
}


def classes(token: str) -> dict[date, dict[str, Decimal]]:
    """The shipped figures: USD per class of each disclosure, and their total."""
    by_name: dict[date, dict[str, Decimal]] = {}
    for path in sorted(reference.FOLDER.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["token"] != token or row["figure"] not in ("line", "assets"):
                    continue
                sums = by_name.setdefault(day(row["as_of"]), {})
                name = row["asset_class"] or "total"
                sums[name] = sums.get(name, Decimal(0)) + Decimal(row["usd"])
    return by_name


def test_the_shipped_quarters_of_tether_equal_the_reports() -> None:
    """The shipped quarters of Tether equal the reports to the dollar."""
    shipped = classes("USDT")
    quarters = table("reference/samples/disclosures/tether_reserves_reported.csv")
    assert len(quarters) == 15
    for quarter in quarters:
        year, number = quarter["quarter"].split("-Q")
        as_of = date(int(year), 3 * int(number), 31 if number in "14" else 30)
        stated = {"total": Decimal(quarter["total"])}
        for columns, (name,) in COLUMNS.items():
            cells = [quarter[c] for c in columns.split() if quarter[c]]
            if cells:
                stated[name] = sum(map(Decimal, cells), Decimal(0))
        assert shipped[as_of] == stated


def test_the_shipped_quarter_of_mid_2026_equals_the_report() -> None:
    """The shipped quarter of mid 2026 equals the report's eleven rows."""
    rows = table("data/tether/tether_reserves_bdo_2026-06-30.csv")
    shipped = classes("USDT")[day("2026-06-30")]
    assert shipped["total"] == sum(int(r["usd"]) for r in rows) == 187_751_426_411
    by_name = {r["category"]: int(r["usd"]) for r in rows}
    repo = by_name["overnight_reverse_repo"] + by_name["term_reverse_repo"]
    assert shipped["treasury repo"] == repo
    assert round(100 * shipped["precious metals"] / shipped["total"], 2) == Decimal("10.03")


def test_rounded_quarters_of_others_agree_with_the_shipped_ones() -> None:
    shipped = classes("USDT")
    pairs = 0
    for row in table("data/tether/tether_quarterly_defillama.csv"):
        result = next((v for d, v in shipped.items() if f"{d:%Y-%m}" == row["quarter_end"]), None)
        if result is None:
            assert row["quarter_end"] == "2026-03"  # the report was not found
            continue
        for column, name in (("tbills_bn", "US treasuries"), ("secured_loans_bn", "secured loans")):
            assert float(result[name]) / 1e9 == pytest.approx(float(row[column]), abs=0.1)
            pairs += 1
    assert pairs == 24
    for row in table("data/tether/tether_press_points.csv"):
        result = shipped[day(row["as_of"])]
        assert float(result["total"]) / 1e9 == pytest.approx(
            float(row["total_assets_usd_bn"]), abs=0.05
        )
        assert float(result["precious metals"]) / 1e9 == pytest.approx(
            float(row["precious_metals_bn"]), abs=0.01
        )


def test_the_shipped_months_of_circle_equal_the_reports_to_the_dollar() -> None:
    shipped = classes("USDC")
    months = table("reference/samples/disclosures/circle_usdc_reserves_reported.csv")
    assert len(months) == 28
    for row in months:
        as_of = datetime.strptime(row["as_of"], "%B %d, %Y").replace(tzinfo=UTC).date()
        result = shipped[as_of]
        assert result["US treasuries"] == int(row["us_treasury_securities"])
        assert result["treasury repo"] == int(row["us_treasury_repo"])
        assert result["total"] == int(row["total"])
        assert int(row["fund_total"]) + int(row["other_total"]) == int(row["total"])


def test_the_capture_of_circles_page_makes_up_what_circulates() -> None:
    body = shared_file("data/tether/circle_usdc_transparency_2026-10-01.html").read_bytes()
    rows = circle.parse_page(raw(body, fetched_at=datetime(2026, 10, 1, 13, tzinfo=UTC)))
    (page,) = [r for r in rows if isinstance(r, Statement)]
    (supply,) = [r for r in rows if isinstance(r, Supply)]
    assert page.as_of == day("2026-09-24")
    assert page.assets == Decimal("75.50") * 10**9
    assert supply.circulating == Decimal("75.24") * 10**9


# --- indicators -----------------------------------------------------------------------------


def fred(code: str) -> bytes:
    """A file of ours (holidays left out) in the shape in which FRED sends it (holidays empty)."""
    lines = [f"{r['Date']},{r['Value']}" for r in table(f"{MACRO}/fred_{code}.csv")]
    holidays = ["2026-01-01,", "2025-12-25,."]
    return "\n".join([f"observation_date,{code}", *lines, *holidays, ""]).encode()


def cboe() -> bytes:
    rows = table(f"{MACRO}/cboe_vix_daily.csv")
    lines = [
        f"{day(r['DATE']):%m/%d/%Y},{r['OPEN']},{r['HIGH']},{r['LOW']},{r['CLOSE']}" for r in rows
    ]
    return "\n".join(["DATE,OPEN,HIGH,LOW,CLOSE", *lines, ""]).encode()


def mvrv() -> bytes:
    rows = [
        {"asset": "btc", "time": f"{r['time'][:10]}T00:00:00Z", "CapMVRVCur": r["CapMVRVCur"]}
        for r in table(f"{MACRO}/coinmetrics_btc_mvrv_2020-03.csv")
    ]
    return json.dumps({"data": rows}).encode()


# A file of the folder, and the series it is imported as.
IMPORTED = {
    "yahoo_btc.csv": "btc",
    "yahoo_btc_hourly_merged.csv": "btc",
    "yahoo_eth.csv": "eth",
    "edge_dxy.csv": "dxy",
    "edge_gold.csv": "gold",
    "edge_ndx.csv": "nasdaq",  # the Nasdaq-100: the Composite is not there
    "yahoo_slv.csv": "silver",  # an ETF that holds silver
}


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A lake of the folder's prices and rates, through the sources and the import."""
    import asyncio

    store = Store(tmp_path_factory.mktemp("market"))
    files = tmp_path_factory.mktemp("files")
    load(store, "reference")

    async def publish() -> list[Outcome]:
        async with Publisher() as publisher:
            publisher.instead |= {
                f"/graph/fredgraph.csv?id={code}": fred(code)
                for code in ("VIXCLS", "SOFR", "IORB", "DGS10")
            }
            publisher.instead["/api/global/us_indices/daily_prices/VIX_History.csv"] = cboe()
            publisher.instead["/v4/timeseries/asset-metrics"] = mvrv()
            result = await gather(store, publisher.url, "cboe", "coinmetrics")
            only = "VIXCLS,SOFR,IORB,DGS10"
            return result + await gather(store, publisher.url, "fred", only=only)

    runner.raise_failures(asyncio.run(publish()))
    for name, series in IMPORTED.items():
        path = shared_file(f"{MACRO}/{name}")
        if name.startswith("edge_"):  # comes without a header
            headed = files / name
            headed.write_text("date,close\n" + path.read_text("utf-8"), encoding="utf-8")
            path = headed
        load(store, "import", series=series, file=str(path))
    return store


@pytest.mark.full
def test_both_sources_of_vix_agree_on_every_common_day(market: Store) -> None:
    by_name: dict[str, dict[date, float]] = {"cboe": {}, "fred": {}}
    for row in market.rows(IndicatorValue):
        if row.series == "vix":
            by_name[row.source][row.as_of] = row.value
    common = by_name["cboe"].keys() & by_name["fred"].keys()
    assert len(common) == 9_151
    assert [d for d in common if by_name["cboe"][d] != by_name["fred"][d]] == []
    assert by_name["fred"].keys() - by_name["cboe"].keys() == {day("1999-12-31")}
    # Reports fill the day that Cboe lacks from FRED, and say so.
    filled = [r for r in ask(market, "vix_days") if r["as_of"] == day("1999-12-31")]
    assert [(r["vix"], r["source"]) for r in filled] == [(24.64, "fred")]


@pytest.mark.full
def test_vix_measures_equal_the_published_ones(market: Store) -> None:
    rows = {str(r["as_of"]): r for r in ask(market, "vix_days")}
    scores = {
        "2020-03-12": (75.47, 9.80),
        "2020-03-16": (82.69, 8.73),
        "2021-05-19": (22.18, -0.53),
        "2024-08-05": (38.57, 10.83),
        "2025-10-10": (21.66, 0.55),
        "2026-01-29": (16.88, -0.38),
        "2026-02-05": (21.77, 0.53),
        "2026-02-06": (17.76, -0.23),
    }
    for as_of, (close, z) in scores.items():
        assert (rows[as_of]["vix"], round(rows[as_of]["z"], 2)) == (close, z)
    for as_of, off in {"2021-05-19": -0.196, "2026-01-29": -0.160, "2026-02-06": -0.184}.items():
        assert round(rows[as_of]["off_peak"], 3) == off


def test_spreads_equal_the_published_ones(market: Store) -> None:
    rows = {r["as_of"]: r for r in ask(market, "spread_days") if r["spread_bp"] is not None}
    wanted = {"2025-10-31": 32, "2025-12-31": 22, "2026-01-29": 0, "2026-01-30": 3, "2026-02-18": 8}
    assert {d: rows[day(d)]["spread_bp"] for d in wanted} == wanted
    assert min(rows) == day("2021-07-29")  # IOER is not in the folder: no spread before
    lowest = min(rows.values(), key=lambda r: r["spread_bp"])
    assert (lowest["as_of"], lowest["spread_bp"]) == (day("2022-06-14"), -21)
    high = [d for d, r in rows.items() if r["spread_bp"] >= 14]
    assert (len(high), max(high)) == (11, day("2025-12-31"))
    assert max(rows.values(), key=lambda r: r["spread_bp"])["as_of"] == day("2025-10-31")


CRASHES: dict[str, dict[str, tuple[str, ...]]] = {
    "BTC close": {"USD": ("4,971", "37,002", "113,214", "84,562", "62,702")},
    "BTC low": {"USD": ("4,860", "30,681", "104,582", "83,251", "62,354")},
    "BTC close to close": {"%": ("-37.2", "-13.8", "-7.0", "-5.2", "-14.1")},
    "BTC day high to low": {"%": ("-38.7", "-29.5", "-14.6", "-6.7", "-14.8")},
    "BTC low next day": {"USD": ("4,107", "35,051", "109,761", "81,071", "60,074")},
    "VIX close": {"": ("75.47", "22.18", "21.66", "16.88", "21.77")},
    "VIX z-score": {"": ("9.80", "-0.53", "0.55", "-0.38", "0.53")},
    "BTC MVRV": {"": ("0.877", "n/a", "n/a", "n/a", "n/a")},
    "SOFR - IORB/IOER": {"bp": ("n/a", "n/a", "+0", "+0", "+0")},
    "10-year yield": {"%": ("0.88", "1.68", "4.05", "4.24", "4.21")},
}


def test_the_crash_table_equals_the_published_one(market: Store) -> None:
    rows = ask(market, "crash_figures")
    for metric, stated in CRASHES.items():
        ((unit, figures),) = stated.items()
        values = [r["figure"] for r in rows if r["metric"] == metric]
        for figure, wanted in zip(values, figures, strict=True):
            assert re.sub(r" \(.*\)| (%|bp)$", "", figure) == wanted, (metric, unit)
    ether = [r["value"] for r in rows if r["metric"] == "ETH close to close"]
    published = (-0.424, -0.272, -0.120, -0.063, -0.150)
    assert ether == pytest.approx(published, abs=6e-4)
    assert all(r["source"] and r["age_seconds"] > 0 for r in rows if r["value"] is not None)


def test_the_deepest_day_in_hours_is_told_by_both_definitions(market: Store) -> None:
    (claim,) = [r for r in ask(market, "claims") if r["number"] == 21]
    assert claim["finding"].startswith("-13.8 % close to close, -17.9 % from the high to the low")
    assert claim["verdict"] == "supported"


def test_88000_broke_on_several_days_before_the_day_of_the_news(market: Store) -> None:
    episodes = ask(market, "break_episodes", p_level=88_000.0)
    january = datetime(2026, 1, 1, tzinfo=UTC)
    days = {
        e["broke_at"].day
        for e in episodes
        if e["definition"] == "touch, daily" and e["broke_at"] >= january
    }
    assert {20, 25, 29} <= days
    since = datetime(2026, 1, 29, tzinfo=UTC)
    rows = {r["definition"]: r for r in ask(market, "breaks", p_since=since)}
    touch = rows["touch, hourly"]
    assert touch["first_at"] == datetime(2026, 1, 29, 2, tzinfo=UTC)
    assert touch["first_price"] == pytest.approx(87_634.84, abs=0.01)
    assert {r["state"] for r in rows.values()} <= {"to 2026-03-28", "to 2026-03-27"}
    assert rows["daily close"]["first_at"] == datetime(2026, 1, 30, tzinfo=UTC)


VERDICTS = {
    "supported": (4, 5, 9, 11, 14, 20, 21, 22, 23, 31),
    "contradicted": (6, 13, 17, 34),
    "proxy only": (1, 16, 25, 26, 27, 29, 30),
    "depends on the measure": (10,),
    "not checkable": (2, 3, 7, 8, 12, 15, 18, 19, 24, 28, 32, 33, 35, 36, 37),
}


def test_the_verdicts_on_the_articles_are_those_of_the_reference(market: Store) -> None:
    rows: dict[str, Any] = {r["number"]: r for r in ask(market, "claims")}
    assert sorted(n for numbers in VERDICTS.values() for n in numbers) == sorted(rows)
    for verdict, numbers in VERDICTS.items():
        for number in numbers:
            assert rows[number]["verdict"] == verdict, rows[number]
    assert "96,185 BTC, 86,335 a quarter before" in rows[10]["finding"]
    assert "+1.12 by quantity, -2.55 by price" in rows[10]["finding"]
    assert "gold 9.05 % of the reserve, 7.13 %" in rows[9]["finding"]
    assert "(+19.9 % of the ounces, MODEL)" in rows[9]["finding"]
    assert rows[6]["finding"] == "lows under it on 20, 21, 25, 26, 27 January"
    assert "+0.74 %" in rows[31]["finding"]


def test_tethers_end_of_2025_is_split_into_quantity_and_price(market: Store) -> None:
    """Tether's last quarter of 2025 is split into quantity and price."""
    expected = datetime(2026, 2, 1, tzinfo=UTC)
    rows = {r["asset_class"]: r for r in ask(market, "reserves", p_known_at=expected)}
    bitcoin, gold = rows["bitcoin"], rows["precious metals"]
    assert round(bitcoin["quantity"]) == 96_185
    assert round(bitcoin["quantity_effect_usd"] / 1e6) == 1_124
    assert round(bitcoin["price_effect_usd"] / 1e6) == -2_550
    assert round(gold["points"], 2) == 1.92
    assert gold["row"] == "MODEL"
    (drift,) = [
        r
        for r in ask(market, "reserve_drift", p_token="USDT", p_known_at=expected)
        if (r["as_of"], r["asset_class"]) == (day("2025-12-31"), "precious metals")
    ]
    assert round(100 * drift["growth_share"], 1) == 38.9


def test_as_known_on_the_day_of_the_news(market: Store) -> None:
    """The report of 2025-12-31 was signed a day later; the day's own closes came that night."""
    noon = datetime(2026, 1, 29, 12, tzinfo=UTC)
    rows = ask(market, "reserves", p_known_at=noon)
    assert {r["as_of"] for r in rows} == {day("2025-09-30")}
    newest = {r["series"]: r["as_of"] for r in ask(market, "indicators", p_known_at=noon)}
    for series in ("vix", "sofr", "dgs10", "gold"):
        assert newest[series] < day("2026-01-29"), series
    checklist = {r["test"]: r for r in ask(market, "bottom", p_known_at=noon)}
    assert checklist["VIX off its peak"]["as_of"] == day("2026-01-28")
    assert checklist["MVRV"]["state"] == "unknown"
    assert checklist["all three"]["state"] == "unknown"


def test_a_folder_that_is_absent_is_told(tmp_path: Path) -> None:
    with pytest.raises((pytest.skip.Exception, pytest.fail.Exception), match="is not here"):
        shared_file("data", tmp_path / "nowhere")
