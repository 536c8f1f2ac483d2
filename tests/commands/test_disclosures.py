"""Reserves and indicators on the command line: real processes on lakes of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chainwatch.collect.registry import find
from chainwatch.errors import Exit
from chainwatch.lake.store import Store
from chainwatch.tables.disclosure import Document, IndicatorValue, Statement
from tests.documents import FIXTURES, fixture
from tests.pdfs import pdf
from tests.shell import Done, rows_of, run

REPORT = fixture("reports/tether.txt").decode().splitlines()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with the figures that ship."""
    folder = tmp_path_factory.mktemp("disclosures")
    done = run("collect", "reference", home=folder)
    assert done.code == Exit.OK, done.err
    return folder


def refused(done: Done, code: Exit, *words: str) -> None:
    assert done.code == code, done.err
    assert done.out == ""
    assert done.err.startswith("chainwatch: ") or "chainwatch: " in done.lines[-1]
    for word in words:
        assert word in done.err


@pytest.mark.full
def test_a_token_or_an_option_alone_means_the_report(home: Path) -> None:
    plain, named, option = (
        run("reserves", *more, "--json", home=home) for more in ((), ("usdt",), ("show", "USDT"))
    )
    assert plain.out == named.out == option.out
    body = json.loads(plain.out)
    assert body["report"] == "reserves"
    assert {row["token"] for row in body["rows"]} == {"USDT"}


@pytest.mark.full
def test_a_day_is_meant_to_its_end(home: Path) -> None:
    def newest(*when: str) -> str:
        done = run("reserves", *when, "--json", home=home)
        assert done.code == Exit.OK, done.err
        return str(json.loads(done.out)["rows"][0]["as_of"])

    # The report of 2025-12-31 was approved on 2026-01-30.
    assert newest("--known-on", "2026-01-29") == "2025-09-30"
    assert newest("--known-on", "2026-01-30") == "2025-12-31"
    assert newest("--known-on", "2026-01-30T12:00Z") == "2025-09-30"


@pytest.mark.full
def test_parts_of_the_reserve_are_chosen_by_one_flag(home: Path) -> None:
    for flag, name in (
        ("--history", "reserve_history"),
        ("--statements", "reserve_statements"),
        ("--supply", "reserve_supply"),
    ):
        done = run("reserves", "USDT", flag, "--json", home=home)
        assert json.loads(done.out)["report"] == name
    drift = json.loads(run("reserves", "USDT", "--drift", "1.9", "--json", home=home).out)
    assert all(abs(row["points"]) > 1.9 for row in drift["rows"])
    refused(
        run("reserves", "--history", "--supply", home=home), Exit.USAGE, "choose one of --history"
    )
    refused(run("reserves", "--supply", "--last", "2", home=home), Exit.USAGE, "--last does not")
    refused(run("reserves", "USDX", home=home), Exit.USAGE, "did you mean USDT")


def test_a_lake_without_reserves_says_what_to_do(tmp_path: Path) -> None:
    Store(tmp_path).create()
    refused(run("reserves", home=tmp_path), Exit.USAGE, "`chainwatch collect reference`")


@pytest.mark.full
def test_an_altered_report_is_refused_with_both_sums(tmp_path: Path) -> None:
    """A report is imported; one whose sums do not hold is not."""
    good, bad = tmp_path / "good.pdf", tmp_path / "bad.pdf"
    good.write_bytes(pdf([REPORT]))
    bad.write_bytes(pdf([[line.replace("40,678,000", "40,678,001") for line in REPORT]]))
    home = tmp_path / "home"
    done = run("reserves", "import-pdf", str(good), "--json", home=home)
    assert done.code == Exit.OK, done.err
    (row,) = json.loads(done.out)["rows"]
    assert (row["outcome"], row["as_of"]) == ("ok", "2021-03-31")
    refused(
        run("reserves", "import-pdf", str(bad), home=home),
        Exit.CHECK_FAILED,
        "reconcile failed",
        "2,345,678,913",
        "2,345,678,912",
    )
    refused(
        run("reserves", "import-pdf", str(tmp_path / "none.pdf"), home=home),
        Exit.USAGE,
        "cannot be read",
    )
    assert len(Store(home).rows(Statement)) == 1


@pytest.mark.full
def test_a_series_is_imported_by_its_name(tmp_path: Path) -> None:
    file = str(FIXTURES / "import_file" / "gold.csv")
    refused(
        run("indicators", "import", file, "--series", "golt", home=tmp_path),
        Exit.USAGE,
        "did you mean gold?",
    )
    done = run("indicators", "import", file, "--series", "gold", "--csv", home=tmp_path)
    assert done.code == Exit.OK, done.err
    assert [v.value for v in Store(tmp_path).rows(IndicatorValue, "true ORDER BY as_of")] == [
        4100.5,
        4055.25,
    ]
    (gold,) = [
        row
        for row in rows_of(run("indicators", "--csv", home=tmp_path).out, "--csv")
        if row["series"] == "gold"
    ]
    assert (gold["as_of"], gold["source"], gold["provenance"]) == (
        "2026-09-16",
        "import",
        "imported",
    )


def test_crashes_are_side_by_side_or_figure_by_figure(
    tmp_path: Path,
) -> None:
    """Side by side for people, figure by figure for machines."""
    Store(tmp_path).create()
    heads = run("crashes", home=tmp_path).out.splitlines()[2].split()
    assert heads[1:-1] == ["2020-03-12", "2021-05-19", "2025-10-10", "2026-01-29", "2026-02-05"]
    rows = json.loads(run("crashes", "--json", home=tmp_path).out)["rows"]
    assert len(rows) == 90
    assert {"event", "metric", "value", "as_of", "age_seconds", "source"} <= set(rows[0])


def test_a_source_that_reads_files_is_not_collected(tmp_path: Path) -> None:
    refused(run("collect", "reserve-report", home=tmp_path), Exit.USAGE, "reserves import-pdf FILE")


@pytest.mark.full
def test_a_publisher_that_cannot_be_reached_is_exit_3(tmp_path: Path) -> None:
    """A publisher that cannot be reached ends with the code for the network."""
    env = {"CHAINWATCH_URL_CBOE": "http://127.0.0.1:9"}
    done = run("collect", "cboe", home=tmp_path, env=env)
    assert done.code == Exit.NETWORK
    assert "VIX: unavailable: connection failed" in done.err
    (document,) = Store(tmp_path).rows(Document)
    assert document.outcome == "unavailable"
    off = run("collect", "cboe", home=tmp_path, env={"CHAINWATCH_URL_CBOE": "off"})
    assert off.code == Exit.OK
    assert "skipped: switched off" in off.err


def test_base_urls_are_settings_that_config_shows(tmp_path: Path) -> None:
    env = {"CHAINWATCH_URL_CIRCLE_FUND": "http://127.0.0.1:9", "CHAINWATCH_URL_COINMETRICS": "off"}
    rows = {
        r["setting"]: r
        for r in rows_of(run("config", "--csv", home=tmp_path, env=env).out, "--csv")
    }
    assert rows["CHAINWATCH_URL_CIRCLE_FUND"]["value"] == "http://127.0.0.1:9"
    assert rows["CHAINWATCH_URL_COINMETRICS"]["value"] == "off"
    assert rows["CHAINWATCH_URL_FRED"]["value"] == "https://fred.stlouisfed.org"
    refused(
        run("collect", "cboe", home=tmp_path, env={"CHAINWATCH_URL_CBOE": "cdn.cboe.com"}),
        Exit.USAGE,
        "the URL of cboe: expected an http:// or https:// URL",
        "CHAINWATCH_URL_CBOE",
    )
    key = "correct-horse-battery"
    env = {"CHAINWATCH_URL_CBOE": f"https://user:{key}@cdn.example.org/{key}"}
    (plan,) = rows_of(
        run("collect", "cboe", "--dry-run", "--csv", home=tmp_path, env=env).out, "--csv"
    )
    assert plan["endpoint"] == "https://cdn.example.org/…"
    env = {"CHAINWATCH_URL_CBOE": "off"}
    (plan,) = rows_of(
        run("collect", "cboe", "--dry-run", "--csv", home=tmp_path, env=env).out, "--csv"
    )
    assert plan["endpoint"] == find("cboe").docs
    refused(
        run(
            "collect",
            "cboe",
            home=tmp_path,
            env={"CHAINWATCH_URL_CBOE": f"https://cdn.example.org?key={key}"},
        ),
        Exit.USAGE,
        "the URL of cboe: paths are added to it, leave out what follows ? or #",
        "CHAINWATCH_URL_CBOE",
    )


def test_wrong_values_are_the_users_mistake(home: Path) -> None:
    refused(run("claims", "--article", "E", home=home), Exit.USAGE, "A, B, C or D")
    refused(run("breaks", "DOGE", "1", home=home), Exit.USAGE, "expected BTC or ETH")
    refused(
        run("bottom", "--known-on", "soon", home=home), Exit.USAGE, "--known-on: expected a time"
    )
