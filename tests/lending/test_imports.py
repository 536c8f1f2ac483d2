"""Positions of any other source: what is stored of them, what is refused, and that a published
file's own health factors come out again."""

from __future__ import annotations

import csv
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import duckdb
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.commands.markets import CLOSE_RULES
from chainwatch.errors import Exit, UsageError
from chainwatch.lake.files import read_file
from chainwatch.lake.store import Store
from chainwatch.lending.imported_columns import KNOWN_COLUMNS
from chainwatch.lending.imports import ImportOptions, imported_rows
from chainwatch.numbers import COMMA
from chainwatch.tables.lending import Account, Factor, Leg, Reserve, Snapshot
from tests import shell
from tests.builders import ask
from tests.shell import Done, run
from tests.vectors import shared_file

BALANCES = """\
account,asset,side,amount,price,liquidation_threshold,bonus,factor
alice,WBTC,collateral,1,90000,0.78,0.05,BTC
alice,USDC,debt,60000,1,,,USDC
bob,WBTC,collateral,2,90000,0.78,0.05,BTC
bob,WETH,collateral,60,3000,0.83,0.05,ETH
bob,USDC,debt,240000,1,,,USDC
carol,WETH,collateral,1,3000,0.83,0.05,ETH
"""
ACCOUNTS = """\
user,coll,owed,lt
0xAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA,100,50,8000
0xbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb,100,0,8000
"""
MAPPED = (
    *("--map", "account=user", "--map", "collateral=coll", "--map", "debt=owed"),
    *("--map", "liquidation_threshold_bps=lt"),
)


def brought(home: Path, text: str, *options: str, name: str = "mine.csv") -> Done:
    """Import a text as a file."""
    path = home.parent / name
    path.write_text(text, encoding="utf-8")
    market = () if "--market" in options else ("--market", "mine")
    return run("import", str(path), *market, *options, home=home)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


# --- what is stored -----------------------------------------------------------------------------


@pytest.mark.full
def test_a_file_of_balances_gives_the_reference_health_factors(
    home: Path,
) -> None:
    """And the triggers of the reference."""
    done = brought(home, BALANCES)
    assert done.code == Exit.OK, done.err
    store = Store(home)
    factors = {row.account: row.hf for row in store.rows(Account)}
    assert factors["alice"] == pytest.approx(1.17, rel=1e-12)
    assert factors["bob"] == pytest.approx(1.2075, rel=1e-12)
    assert factors["carol"] is None
    btc = {row["account"]: row for row in ask(store, "triggers", factor="BTC")}
    assert btc["alice"]["trigger_price"] == pytest.approx(76_923.0769, rel=1e-8)
    assert btc["bob"]["trigger_price"] == pytest.approx(58_076.9231, rel=1e-8)
    assert btc["carol"]["direction"] == "never"
    eth = {row["account"]: row for row in ask(store, "triggers", factor="ETH")}
    assert eth["bob"]["trigger_price"] == pytest.approx(2_000, rel=1e-8)
    assert run("checks", home=home).code == Exit.OK


@pytest.mark.full
def test_a_file_of_accounts_needs_their_values_and_thresholds_only(home: Path) -> None:
    done = brought(home, ACCOUNTS, *MAPPED)
    assert done.code == Exit.OK, done.err
    rows = {row.account: row for row in Store(home).rows(Account)}
    assert rows["0x" + "a" * 40].hf == pytest.approx(1.6)
    assert rows["0x" + "b" * 40].status == "no debt"
    assert {row.asset for row in Store(home).rows(Leg)} == {"collateral", "debt"}


@pytest.mark.full
def test_one_value_for_all_lines_and_a_threshold_by_health_factor(home: Path) -> None:
    text = "account,collateral,debt,health_factor\na,100,50,1.6\nb,100,0,\nc,200,120,1.25\n"
    terms = ("--set", "collateral_asset=stETH", "--set", "bonus=0.05", "--set", "factor=ETH")
    assert brought(home, text, *terms).code == 0
    legs = {
        leg.account: (leg.asset, leg.lt_bps, leg.bonus_bps)
        for leg in Store(home).rows(Leg)
        if leg.side == "collateral"
    }
    assert legs == {
        "a": ("stETH", pytest.approx(8_000), 500),
        "b": ("stETH", 0, 500),
        "c": ("stETH", pytest.approx(7_500), 500),
    }
    accounts = {row.account: row.hf for row in Store(home).rows(Account)}
    assert accounts == {"a": pytest.approx(1.6), "b": None, "c": pytest.approx(1.25)}
    assert {f.asset: f.factor for f in Store(home).rows(Factor)} == {"stETH": "ETH", "debt": "debt"}


WIDE = """\
account,collateral:WBTC,collateral:WETH,debt:USDC,liquidation_threshold:WBTC
alice,1,,60000,0.78
bob,2,60,240000,0.78
carol,0,3,,0.78
"""
WIDE_TERMS = (
    *("--set", "price:WBTC=90000", "--set", "price:WETH=3000", "--set", "price:USDC=1"),
    *("--set", "liquidation_threshold=0.83", "--set", "bonus=0.05"),
    *("--set", "factor:WBTC=BTC", "--set", "factor:WETH=ETH"),
)


def test_a_column_per_asset_is_as_a_row_per_balance(home: Path) -> None:
    long = BALANCES.replace("carol,WETH,collateral,1", "carol,WETH,collateral,3")
    assert brought(home, long, "--market", "long").code == Exit.OK
    done = brought(home, WIDE, "--market", "wide", *WIDE_TERMS)
    assert done.code == Exit.OK, done.err
    store = Store(home)
    for table, ours in (
        (Account, ("account", "hf", "status", "collateral_usd", "debt_usd", "legs")),
        (Leg, ("account", "asset", "side", "amount", "usd", "lt_bps", "bonus_bps")),
        (Factor, ("asset", "factor", "kind", "factor_price")),
        (Reserve, ("asset", "price_usd", "lt_bps", "bonus_bps")),
    ):
        rows = {
            market: {tuple(getattr(row, c) for c in ours) for row in store.rows(table, where)}
            for market in ("long", "wide")
            for where in [f"market = '{market}'"]
        }
        assert rows["wide"] == rows["long"], table


def test_a_health_factor_gives_the_threshold_of_a_single_collateral(home: Path) -> None:
    """In a file with a column per asset: thresholds may differ from line to line."""
    text = "user,weth,usdc,health_factor\na,10,15000,1.6\nb,10,,\nc,1,2400,1.0\n"
    names = ("account=user", "collateral:WETH=weth", "debt:USDC=usdc")
    mapped = [part for name in names for part in ("--map", name)]
    terms = ("--set", "price:WETH=3000", "--set", "price:USDC=1")
    assert brought(home, text, *mapped, *terms).code == Exit.OK
    legs = {r.account: r.lt_bps for r in Store(home).rows(Leg) if r.side == "collateral"}
    assert legs == {"a": pytest.approx(8_000), "b": 0, "c": pytest.approx(8_000)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("account,collateral:WETH\na,1\n", "line 2: price:WETH is missing"),
        (
            "account,collateral:WETH,price:WETH\na,1,3000\n",
            "line 2: liquidation_threshold:WETH is missing",
        ),
        (
            "account,collateral:WETH,price:WETH,liquidation_threshold_bps:WETH\na,x,3000,8000\n",
            "line 2: collateral:WETH: expected a number, got 'x'",
        ),
        (
            "account,collateral:WETH,price:WETH,liquidation_threshold:WETH\na,1,3000,8000\n",
            "if it is in basis points, map it to liquidation_threshold_bps:WETH",
        ),
        (
            "account,debt:A,price:A,bonus:A,bonus_bps:A\na,1,1,0,0\n",
            "it has bonus:A and bonus_bps:A: choose one of them with --map",
        ),
        (
            "account,collateral:A,collateral:B,price:A,price:B,health_factor\na,1,1,1,1,2\n",
            "line 2: health_factor gives the threshold of one collateral and one debt, and the "
            "account has 2 and 0: give liquidation_threshold:A",
        ),
        (f"account,collateral:{'x' * 81}\na,1\n", "expected an asset of at most 80 characters"),
        ("account,price:A\na,1\n", "or account and columns such as collateral:WETH"),
    ],
)
def test_a_wrong_column_of_an_asset_is_named(home: Path, text: str, reason: str) -> None:
    done = brought(home, text)
    assert done.code == Exit.USAGE
    assert reason in done.err
    assert not Store(home).exists


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        (BALANCES, ["--set", "price=3"], "--set price: the file has that column"),
        (BALANCES, ["--set", "color=3"], "--set: expected one of account,"),
        (BALANCES, ["--set", "factor"], "--set: expected a pair such as collateral_asset=stETH"),
        (
            "account,collateral,debt,health_factor\na,100,50,4\n",
            [],
            "line 2: health_factor: with this debt and collateral it gives a liquidation threshold"
            " of 2, expected at most 1.5",
        ),
    ],
)
def test_a_constant_or_a_health_factor_that_cannot_be_is_refused(
    home: Path, text: str, options: list[str], reason: str
) -> None:
    done = brought(home, text, *options)
    assert done.code == Exit.USAGE
    assert reason in done.err
    assert not Store(home).exists


def test_names_up_to_the_limit_stay_apart(home: Path) -> None:
    names = ("x" * 79 + "1", "x" * 79 + "2")
    text = HEAD + "".join(
        f"{name},WETH,collateral,1,3000,1.5\n{name},USDC,debt,100,1,\n" for name in names
    )
    assert brought(home, text).code == Exit.OK
    assert {row.account: row.debt_usd for row in Store(home).rows(Account)} == dict.fromkeys(
        names, 100
    )


@pytest.mark.full
def test_parquet_is_read_as_csv_is(home: Path, tmp_path: Path) -> None:
    (tmp_path / "same.csv").write_text(BALANCES)
    path = tmp_path / "same.parquet"
    duckdb.sql(f"COPY (FROM '{tmp_path / 'same.csv'}') TO '{path}'")
    for file, market in ((path, "one"), (tmp_path / "same.csv", "other")):
        done = run("import", str(file), "--market", market, home=home)
        assert done.code == Exit.OK, done.err
    values_by_market: dict[str, Any] = {}
    for row in Store(home).rows(Leg):
        values = (row.account, row.asset, row.side, row.value, row.usd, row.lt_bps, row.bonus_bps)
        values_by_market.setdefault(row.market, set()).add(values)
    assert values_by_market["one"] == values_by_market["other"]
    assert len(values_by_market["one"]) == 6


@pytest.mark.full
@pytest.mark.parametrize("report", [("health",), ("walls", "BTC"), ("triggers", "BTC")])
def test_every_report_on_imported_positions_says_so(home: Path, report: tuple[str, ...]) -> None:
    assert brought(home, BALANCES).code == Exit.OK
    shown, data = run(*report, home=home), run(*report, "--json", home=home)
    assert "mine (IMPORTED DATA from mine.csv): as of " in shown.out
    assert "NOT VERIFIED" in shown.out
    assert "3 accounts" in shown.out
    assert "IMPORTED DATA" in data.err
    assert [m["provenance"] for m in json.loads(data.out)["markets"]] == ["imported"]
    assert "stale" not in shown.err


@pytest.mark.full
def test_a_second_import_is_a_snapshot_and_the_newest_is_shown(home: Path) -> None:
    """A second import is a snapshot of its own, and the newest is shown."""
    assert brought(home, BALANCES).code == Exit.OK
    assert brought(home, ACCOUNTS, *MAPPED).code == Exit.OK
    assert len(Store(home).rows(Snapshot)) == 2
    (shown,) = ask(Store(home), "snapshots_at")
    assert shown["accounts"] == 2
    assert shown["provenance"] == "imported"
    whats = {row["kind"]: row["detail"] for row in ask(Store(home), "freshness")}
    assert whats["snapshot"] == "imported"  # it has no block


@pytest.mark.full
def test_prices_in_another_currency_have_usd_only_with_its_rate(home: Path) -> None:
    assert brought(home, ACCOUNTS, *MAPPED, "--quote", "ETH").code == Exit.OK
    (head,) = Store(home).rows(Snapshot)
    assert (head.quote, head.quote_usd) == ("ETH", None)
    assert {row.usd for row in Store(home).rows(Leg)} == {None}
    assert max(row.hf or 0 for row in Store(home).rows(Account)) == pytest.approx(1.6)
    assert brought(home, ACCOUNTS, *MAPPED, "--quote", "ETH=1800").code == Exit.OK
    rows = ask(Store(home), "accounts")
    assert [row["debt_usd"] for row in rows] == [50 * 1800]


@pytest.mark.full
def test_the_time_is_that_of_the_file_unless_stated(home: Path) -> None:
    assert brought(home, BALANCES, "--at", "2023-06-19T12:00Z").code == Exit.OK
    (head,) = Store(home).rows(Snapshot)
    assert head.block_time.isoformat() == "2023-06-19T12:00:00+00:00"
    assert brought(home, BALANCES).code == Exit.OK
    newest = max(Store(home).rows(Snapshot), key=lambda row: row.read_at)
    written = (home.parent / "mine.csv").stat().st_mtime
    assert newest.block_time.timestamp() == pytest.approx(written, abs=1e-3)


@pytest.mark.full
def test_the_rule_of_closing_is_the_importers_word(home: Path) -> None:
    seizable = {}
    for rule in (*CLOSE_RULES, "target 1.05"):
        assert brought(home, BALANCES, "--close-rule", rule).code == Exit.OK
        rows = ask(Store(home), "walls", factor="BTC", range=0.5)
        seizable[rule] = sum(row["round_seizable_usd"] for row in rows)
    assert seizable["absorb"] > seizable["half"] > 0
    assert seizable["absorb"] > seizable["target 1.05"] > 0
    assert min(seizable.values()) > 0


def test_a_factors_price_is_its_assets_or_what_the_file_states(home: Path) -> None:
    """The price of a factor is that of its asset, or what the file states."""
    head = "account,asset,side,amount,price,liquidation_threshold,factor,factor_price\n"
    text = head + (
        "a,wstETH,collateral,1,3600,0.8,WETH,\n"
        "a,WETH,collateral,1,3000,0.8,WETH,\n"
        "a,cbBTC,collateral,1,90010,0.8,BTC,90000\n"
        "a,WBTC,collateral,1,89990,0.8,BTC,\n"
        "a,LBTC,collateral,1,91000,0.8,other,\n"
        "a,eBTC,collateral,1,92000,0.8,other,\n"
        "a,USDC,debt,1000,1,,USDC,\n"
    )
    assert brought(home, text).code == Exit.OK
    prices = {row.factor: row.factor_price for row in Store(home).rows(Factor)}
    assert prices == {"WETH": 3_000, "BTC": 90_000, "other": None, "USDC": 1}


@given(
    names=st.lists(
        st.text(st.characters(exclude_categories=("C", "Z")), min_size=1), min_size=1, max_size=5
    ),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig"]),
    gap=st.integers(0, 2),
)
def test_a_csv_of_any_spreadsheet_is_read_row_by_row(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    delimiter: str,
    quoting: Literal[0, 1],
    ending: str,
    encoding: str,
    gap: int,
) -> None:
    header = ["account", "collateral", "debt", "one ,;\t| and another ,;\t|"]
    path = tmp_path_factory.mktemp("sheet") / "mine.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        sheet = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=ending)
        sheet.writerow(header)
        for name in names:
            sheet.writerow([name, "", "1", ""])
            file.write(ending * gap)
    table = read_file(path)
    assert table.columns == (*header,)
    assert [row for row in table.rows if row] == [(name, "", "1", "") for name in names]
    assert len(table.rows) == len(names) * (1 + gap), "an empty line keeps its place"


def test_blanks_beside_a_delimiter_are_none_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text('account, collateral , debt\n"a, b", "2", 1\n')
    table = read_file(tmp_path / "mine.csv")
    assert table.columns == ("account", "collateral", "debt")
    assert table.rows == [("a, b", "2", "1")]


def test_a_threshold_of_zero_is_stated_and_no_collateral_needs_none(home: Path) -> None:
    text = "account,collateral,debt,liquidation_threshold\na,100,50,0\nb,0,50,\nc,100,50,0.8\n"
    assert brought(home, text).code == Exit.OK
    rows = {row.account: row.hf for row in Store(home).rows(Account)}
    assert rows == {"a": 0, "b": 0, "c": pytest.approx(1.6)}


@pytest.mark.parametrize(
    "ours", ["liquidation_threshold_bps=liquidation_threshold", "liquidation_threshold_bps=real"]
)
def test_a_mapped_threshold_overrides_a_column_of_its_other_name(ours: str) -> None:
    """A mapped threshold overrides a column with the name of its other unit."""
    columns = ("account", "collateral", "debt", "liquidation_threshold", "real")
    mapping = dict([ours.split("=")])
    rows = imported_rows(columns, [("a", "100", "50", "8000", "8000")], mapping, OPTIONS)
    (account,) = (row for row in rows if isinstance(row, Account))
    assert account.hf == pytest.approx(1.6)
    mapping = {"liquidation_threshold": "real"}
    columns = (*columns[:3], "liquidation_threshold_bps", "real")
    rows = imported_rows(columns, [("a", "100", "50", "1", "0.8")], mapping, OPTIONS)
    (account,) = (row for row in rows if isinstance(row, Account))
    assert account.hf == pytest.approx(1.6)


@pytest.mark.full
def test_a_price_of_nothing_makes_exactly_its_accounts_not_available(home: Path) -> None:
    text = BALANCES.replace(",3000,0.83", ",0,0.83")
    assert brought(home, text).code == Exit.OK
    status = {row.account: row.status for row in Store(home).rows(Account)}
    assert status == {"alice": "ok", "bob": "n/a (price 0)", "carol": "n/a (price 0)"}
    prices = {row.asset: row.price_status for row in Store(home).rows(Reserve)}
    assert prices == {"WBTC": "ok", "USDC": "ok", "WETH": "n/a (price 0)"}
    assert run("checks", home=home).code == Exit.OK


# --- what is refused ----------------------------------------------------------------------------

OPTIONS = ImportOptions(
    market="mine",
    source="mine.csv",
    as_of=datetime(2026, 1, 29, tzinfo=UTC),
    now=datetime(2026, 1, 30, tzinfo=UTC),
)
HEAD = "account,asset,side,amount,price,liquidation_threshold\n"
BPS = "account,collateral,debt,liquidation_threshold_bps,bonus_bps\n"
ASSETS = "account,collateral,debt,liquidation_threshold,factor,collateral_asset,debt_asset\n"
# One file behind another, as `cat` joins them.
JOINED = (
    "account,collateral,debt,liquidation_threshold,bonus,factor\n"
    + "".join(f"A{n},100,50,0.8,0.05,ETH\n" for n in range(1, 4))
    + "account,collateral,debt,liquidation_threshold,bonus,factor,since,note\n"
    + "".join(f"C{n},100,50,0.8,0.05,ETH,2026,\n" for n in range(1, 31))
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has none"),
        ("\n\n", "it has none"),
        (HEAD, "it has no positions"),
        ("user,coll\na,1\n", "it has user, coll: name them with --map OURS=THEIRS"),
        (HEAD + "a,WETH,collateral,1,3000,0.8\n,WETH,debt,1,3000,\n", "line 3: account is mis"),
        (
            HEAD + "a,WETH,long,1,3000,0.8\n",
            "line 2: side: expected collateral or debt, got 'long'",
        ),
        (HEAD + "a,WETH,collateral,,3000,0.8\n", "line 2: amount is missing"),
        (HEAD + "a,WETH,collateral,one,3000,0.8\n", "line 2: amount: expected a number, got 'one'"),
        (
            HEAD + "a,WETH,collateral,-1,3000,0.8\n",
            "line 2: amount: expected 0 or a number between",
        ),
        (HEAD + "a,WETH,collateral,nan,3000,0.8\n", "got nan"),
        (HEAD + "a,WETH,collateral,inf,3000,0.8\n", "got inf"),
        (HEAD + "a,WETH,collateral,1e300,3000,0.8\n", "got 1e300"),
        (HEAD + "a,WETH,debt,1e-300,3000,\n", "got 1e-300"),
        (HEAD + "a,WETH,debt,1e40,3000,\n", "got 1e40"),
        (HEAD + "a,WETH,debt,1_000,3000,\n", "line 2: amount: expected a number, got '1_000'"),
        (HEAD + "a,WETH,debt, 12 ,3000,\n", "line 2: amount: expected a number, got ' 12 '"),
        (HEAD + "a,WETH,debt,１２,3000,\n", "line 2: amount: expected a number, got '１２'"),
        (HEAD + 'a,WETH,debt,"1,2,3",3000,\n', "line 2: amount: expected a number, got '1,2,3'"),
        (HEAD + 'a,WETH,debt,"3,87",3000,\n', "'3,87'; if the file has decimal commas, add --dec"),
        (HEAD + "a,WETH,collateral,1,3000,8300\n", "map it to liquidation_threshold_bps"),
        (
            BPS + "a,9,1,83000,\n",
            "line 2: liquidation_threshold_bps: expected at most 15000 (8300 is",
        ),
        (BPS + "a,9,1,1e30,\n", "line 2: liquidation_threshold_bps: expected at most 15000"),
        (BPS + "a,9,1,8000,1e30\n", "line 2: bonus_bps: expected at most 15000"),
        (
            HEAD + f"{'x' * 81},WETH,debt,1,3000,\n",
            "line 2: account: expected at most 80 characters, got 81: ",
        ),
        (
            HEAD + f"a,{'x' * 99},debt,1,3000,\n",
            "line 2: asset: expected at most 80 characters, got 99",
        ),
        (
            HEAD + "a" + "\x01" * 20 + ",WETH,debt,1,3000,\n",
            "line 2: account: expected at most 80 characters, got 81",
        ),
        (
            ASSETS + f"a,9,1,0.8,{'f' * 81},,\n",
            "line 2: factor: expected at most 80 characters, got 81",
        ),
        (
            ASSETS + f"a,9,1,0.8,,{'c' * 81},\n",
            "line 2: collateral_asset: expected at most 80 characters, got 81",
        ),
        (
            ASSETS + f"a,9,1,0.8,,,{'d' * 81}\n",
            "line 2: debt_asset: expected at most 80 characters, got 81",
        ),
        (
            HEAD + "a,WETH,collateral,1,3000,0.8\nb,WETH,debt,1,3001,\n",
            "WETH has two prices or factors: 3000 (WETH) and 3001 (WETH)",
        ),
        (
            HEAD + "a,WETH,debt,1,3000,\na,WETH,debt,2,3000,\n",
            "account a has two rows of debt in WETH: add them up",
        ),
        (HEAD + "\x1b[2Ja,WETH,debt,x,3000,\n", "line 2: amount: expected a number"),
        (HEAD + "a,WETH,collateral,1,3000,\n", "line 2: liquidation_threshold is missing"),
        (
            "account,asset,side,amount,price\na,WETH,collateral,1,3000\n",
            "line 2: liquidation_threshold is missing",
        ),
        (
            "account,collateral,debt,liquidation_threshold_bps\na,9,1,8000\nb,9,1, \n",
            "line 3: liquidation_threshold_bps is missing",
        ),
        (
            "account,collateral,debt,liquidation_threshold,liquidation_threshold_bps\na,9,1,0.8,\n",
            "it has liquidation_threshold and liquidation_threshold_bps: choose",
        ),
        (
            "account,collateral,debt,liquidation_threshold,bonus,bonus_bps\na,9,1,0.8,,\n",
            "it has bonus and bonus_bps",
        ),
        (
            HEAD + "a,WETH,debt,1,3000,\n\n\nb,WETH,debt,x,3000,\n",
            "line 5: amount: expected a number",
        ),
        (HEAD + "a,WETH,debt,1,3000,\na,WBTC,debt\n", "line 3 has 3 fields, the header 6: give"),
        (HEAD + "a,WETH,debt,1,3000,,\n", "line 2 has 7 fields, the header 6"),
        ("\n" + HEAD + "a,WETH,debt,1,3000,\n", "line 2 has 6 fields, the header 0"),
        ("# made by hand\n" + HEAD, "line 2 has 6 fields, the header 1"),
        (HEAD + '"a,WETH,debt,1,3000,\nb,WETH,debt,1,3000,\n', "line 2 is not CSV ("),
        (HEAD + 'a",WETH,debt,1,3000,\nb",WETH,debt,1,3000,\n', "line 2 is not CSV ("),
        (HEAD + '"a\n",WETH,debt,1,3000,\n', "line 2 is not CSV ("),
        (HEAD + 'a",WETH,"debt,1,3000,\n",WETH,"debt,1,3000,\n', "line 2 is not CSV ("),
        (HEAD + '"a"b,WETH,debt,1,3000,\n', "line 2 is not CSV ("),
        ('"' + HEAD, "line 1 is not CSV ("),
    ],
)
def test_a_wrong_file_is_rejected_with_its_line_and_gives_no_rows(
    tmp_path: Path, text: str, message: str
) -> None:
    """A file that does not fit is rejected with its line and gives no rows."""
    path = tmp_path / "mine.csv"
    path.write_text(text)

    def attempt() -> None:
        table = read_file(path)
        imported_rows(table.columns, table.rows, {}, OPTIONS)

    with pytest.raises(UsageError) as refused:
        attempt()
    assert message in str(refused.value)
    assert str(refused.value).isprintable()


def test_a_file_may_declare_that_its_numbers_have_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "account;asset;side;amount;price;liquidation_threshold\na;WETH;collateral;3,87;3000,5;0,8\n"
    )
    table = read_file(path)
    options = msgspec.structs.replace(OPTIONS, form=COMMA)
    rows = imported_rows(table.columns, table.rows, {}, options)
    (leg,) = (row for row in rows if isinstance(row, Leg))
    assert (leg.amount, leg.lt_bps) == (3.87, 8_000.0)
    assert leg.usd == pytest.approx(3.87 * 3000.5)
    with pytest.raises(UsageError, match="line 2: amount: expected a number, got '3,87'"):
        imported_rows(table.columns, table.rows, {}, OPTIONS)


@pytest.mark.full
def test_a_wrong_file_or_flag_is_one_line_and_stores_nothing(home: Path) -> None:
    """A file or flag that does not fit is one line, and nothing is stored."""
    cases = [
        (
            HEAD + "a,WETH,collateral,one,3000,0.8\n",
            (),
            "bad.csv: line 2: amount: expected a number",
        ),
        (JOINED, (), "1.csv: line 5 has 8 fields, the header 6"),
        (BALANCES, ("--map", "account"), "--map: expected a pair such as account=user"),
        (BALANCES, ("--map", "account=who"), "the file has no column 'who'"),
        (BALANCES, ("--map", "owner=account"), "before the =, got 'owner'"),
        (
            BALANCES,
            ("--map", "side=asset", "--map", "side=side"),
            "got side twice",
        ),
        (
            BALANCES,
            ("--quote", "ETH=much"),
            "--quote: expected USD, or a name and",
        ),
        (BALANCES, ("--quote", "=1"), "--quote: expected USD, or a name and"),
        (BALANCES, ("--close-rule", "target N"), "--close-rule: expected one of half"),
        (BALANCES, ("--close-rule", "target 0.9"), "--close-rule: expected one of half"),
        (BALANCES, ("--close-rule", "all"), "--close-rule: expected one of half, reserve-half"),
        (BALANCES, ("--at", "soon"), "--at: expected a time"),
        (BALANCES, ("--at", "2099-01-01"), "not in the future, got '2099-01-01'"),
        (BALANCES, ("--market", "My Market"), "--market: expected a name of a-z"),
        (BALANCES, ("--market", "all"), "--market all means every market"),
        (BALANCES, ("--market", "ethereum"), "--market ethereum is a market on a chain"),
    ]

    def tried(case: tuple[str, tuple[str, ...], str]) -> Done:
        number = cases.index(case)
        return brought(home, case[0], *case[1], name="bad.csv" if not number else f"{number}.csv")

    with ThreadPoolExecutor(3) as pool:
        for (_, options, message), done in zip(cases, pool.map(tried, cases), strict=True):
            assert done.code == Exit.USAGE, options
            assert done.out == ""
            assert len(done.lines) == 1, done.err
            assert message in done.err
    assert not home.exists()


def test_a_missing_file_or_one_of_another_kind_is_named(home: Path, tmp_path: Path) -> None:
    (tmp_path / "book.xlsx").write_bytes(b"PK")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "wide.csv").write_text(BALANCES, encoding="utf-16")
    for name, message in (
        ("nothing.csv", "does not exist"),
        ("book.xlsx", "expected a .csv or .parquet file"),
        ("torn.parquet", "cannot be read"),
        ("wide.csv", "is not UTF-8 text"),
    ):
        done = run("import", str(tmp_path / name), "--market", "mine", home=home)
        assert done.code == Exit.USAGE
        assert len(done.lines) == 1
        assert message in done.err
    assert not home.exists()


def test_a_file_with_a_future_time_needs_a_stated_time(home: Path) -> None:
    path = home.parent / "mine.csv"
    path.write_text(BALANCES)
    ahead = datetime(2099, 1, 1, tzinfo=UTC).timestamp()
    os.utime(path, (ahead, ahead))
    done = run("import", str(path), "--market", "mine", home=home)
    assert (done.code, len(done.lines)) == (Exit.USAGE, 1)
    assert f"the time of {path} cannot be used" in done.err
    assert "in the future" in done.err
    assert "--at" in done.err
    assert not home.exists()
    with_time = run("import", str(path), "--market", "mine", "--at", "2026-01-29", home=home)
    assert with_time.code == Exit.OK


def test_a_bad_file_leaves_the_import_before_it_as_it_was(home: Path) -> None:
    assert brought(home, BALANCES).code == Exit.OK
    files = sorted(home.rglob("*.parquet"))
    assert brought(home, BALANCES + "dave,WBTC,collateral,x,90000,0.78,,BTC\n").code == Exit.USAGE
    assert sorted(home.rglob("*.parquet")) == files


def test_the_help_names_every_column() -> None:
    text = run("import", "--help").out.replace("(_bps)", " ").replace("…_bps", "")
    words = [*re.split(r"[\s,;]+", text), "liquidation_threshold_bps"]
    assert {c for c in KNOWN_COLUMNS if c not in words} == set()


# --- a published file ---------------------------------------------------------------------------

FILES = {
    "steth_aave": (1_309, 1_104_269.94195355624, 509_688.36680286378),
    "b1": (271, 230_201.3225, 148_892.7426),
    "b21_debt_stables": (646, 413_254.2188, 185_541.4700),
    "b31_eth_wbtc_stables": (55, 378_761.7039, 138_576.6917),
}
NEAR = {"steth_aave": 27, "b1": 14, "b21_debt_stables": 4, "b31_eth_wbtc_stables": 0}
AAVE_V2 = (
    *("--map", "account=user", "--map", "liquidation_threshold_bps=threshold"),
    *("--quote", "ETH=1735", "--close-rule", "half", "--at", "2023-06-19"),
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with the four account files of Aave v2, a market each."""
    home = tmp_path_factory.mktemp("published") / "home"
    for name in FILES:
        path = shared_file(f"data/lido_aave_positions/{name}.csv")
        done = run("import", str(path), "--market", name, *AAVE_V2, home=home)
        assert done.code == Exit.OK, done.err
    return home


@pytest.mark.full
def test_published_health_factors_are_equal_as_doubles(
    published: Path,
) -> None:
    """The published health factors come out to the precision of a double."""
    rows: dict[str, dict[str, Account]] = {name: {} for name in FILES}
    for row in Store(published).rows(Account):
        rows[row.market][row.account] = row
    for name, (count, collateral, debt) in FILES.items():
        with shared_file(f"data/lido_aave_positions/{name}.csv").open() as file:
            theirs = list(csv.DictReader(file))
        ours = rows[name]
        assert len(ours) == len(theirs) == count
        for line in theirs:
            hf, owed = float(line["healthf"]), float(line["debt"])
            # A subset prints debts of dust with fewer digits than the whole file.
            short = name != "steth_aave" and owed < 0.01
            assert ours[line["user"]].hf == pytest.approx(hf, rel=2e-13 if short else 1e-15)
        digits = 1e-12 if name == "steth_aave" else 1e-8
        for figure, total in (("collateral_usd", collateral), ("debt_usd", debt)):
            stored = sum(getattr(row, figure) for row in ours.values())
            assert stored / 1735 == pytest.approx(total, rel=digits, abs=0)
        assert sum(1 <= (row.hf or 0) < 1.1 for row in ours.values()) == NEAR[name]
    all_ = {account: row.hf or 0 for account, row in rows["steth_aave"].items()}
    assert sum(hf < 1 for hf in all_.values()) == 4
    lowest = min(all_, key=lambda account: all_[account])
    assert lowest == "0xb5f0fc9fa412305016a0c2c151a564fee5b05183"
    assert all_[lowest] == pytest.approx(0.8362646135478857, rel=1e-15)
    assert max(all_.values()) == pytest.approx(778_132_294.1, rel=1e-9)


@pytest.mark.full
def test_reports_on_the_published_file_equal_its_figures(published: Path) -> None:
    """Health, triggers and walls on the published file equal its figures."""
    buckets = {
        row["bucket"]: row["accounts"]
        for row in ask(Store(published), "health", market="steth_aave")
    }
    assert buckets["< 1"] == 4
    assert sum(buckets[b] for b in ("1 – 1.02", "1.02 – 1.05", "1.05 – 1.1")) == 27
    crossing = {
        row["account"]: row["x"]
        for row in ask(Store(published), "triggers", factor="collateral", market="b1")
    }
    assert crossing["0x9600a48ed0f931d0c422d574e3275a90d8b22745"] == pytest.approx(
        0.9540132, abs=5e-8
    )
    wall = ask(
        Store(published),
        "walls",
        factor="collateral",
        market="steth_aave",
        direction="both",
        range=0.99,
    )
    assert sum(row["accounts"] for row in wall) == 1_309
    assert run("checks", home=published).code == Exit.OK
    done = run("walls", "collateral", "--market", "b1", home=published)
    assert "b1 (IMPORTED DATA from b1.csv): as of 2023-06-19 00:00:00Z" in done.out


def test_the_published_file_keeps_accounts_below_one(published: Path) -> None:
    rows = ask(
        Store(published), "nearest", factor="collateral", market="steth_aave", direction="now"
    )
    assert len(rows) == 4
    assert shell.run("accounts", "--market", "steth_aave", home=published).code == Exit.OK
