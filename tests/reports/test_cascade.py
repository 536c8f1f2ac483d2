"""The cascade command: what its header stands on, what it refuses, what it draws and explains."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import pytest

from chainwatch.demo.books import Offer, SpotVenue
from chainwatch.errors import UsageError
from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.lending.close_rules import ABSORB
from chainwatch.reports import cascade
from chainwatch.reports.cascade_basis import CascadeTerms
from chainwatch.reports.joint_fall import joint_fall
from tests import browser
from tests.builders import Asset, Book, ask, depth
from tests.shell import Done, run

NOW = datetime.now(UTC).replace(microsecond=0)


def market(**book: Any) -> Book:
    made = Book(
        Asset("WBTC", 90_000.0, lt=0.8, bonus=0.05, betas={"BTC": 1.0}),
        Asset("WETH", 3_000.0, lt=0.8, bonus=0.05, betas={"ETH": 1.0}),
        Asset("USDC", 1.0, lt=0.75, bonus=0.045, betas={"USDC": 1.0}),
        time=NOW,
        **book,
    )
    made.account("whale", {"WBTC": 100}, {"USDC": 100 * 88_500 * 0.8})
    made.account("next", {"WBTC": 40}, {"USDC": 40 * 87_500 * 0.8})
    made.account("both", {"WBTC": 1, "WETH": 30}, {"USDC": 0.8 * 171_100})
    made.account("ether", {"WETH": 500}, {"USDC": 500 * 2_850 * 0.8})
    made.account("loop", {"WBTC": 3}, {"WBTC": 2, "USDC": 36_000 * 88_000 / 90_000})
    made.account("deep", {"WBTC": 5}, {"USDC": 5 * 40_000 * 0.8})
    return made


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market, and books of BTC and ETH that a venue gave a moment ago."""
    store = Store(tmp_path_factory.mktemp("lake"))
    market().store(store)
    for factor, mid_price, units in (("BTC", 90_000.0, 20.0), ("ETH", 3_000.0, 300.0)):
        for side in ("bid", "ask"):
            points = [(0.005, units), (0.01, 3 * units), (0.05, 12 * units)]
            store.append(
                depth(
                    points,
                    factor=factor,
                    mid_price=mid_price,
                    time=NOW,
                    side=side,
                    volume_24h=100 * units,
                ),
                source="depth",
            )
    return store.home


def command(home: Path, *words: str) -> Done:
    return run("cascade", *words, "--max-depth-age", "2h", home=home)


def rows(home: Path, *words: str) -> dict[str, Any]:
    done = command(home, *words, "--json")
    assert done.code == 0, done.err
    document: dict[str, Any] = json.loads(done.out)
    return document


# --- what it prints -----------------------------------------------------------------------------


@pytest.mark.full
def test_break_levels_and_band_state_age_and_coverage_of_depth(home: Path) -> None:
    """Break levels and the band are printed with the age and the coverage of depth."""
    done = command(home, "BTC")
    assert done.code == 0, done.err
    for words in (
        "depth v BTC/USD (spot): ",
        "old; mid price 90,000.00; bids of 240 BTC within 5.0%, as far as the venue showed them; "
        "within 1 % median n/a (1 of 10 books of 30 days stored); 2,000 traded in 24 h",
        "MODEL: the books' bids × 1 are all the demand (a lower bound: spot",
        "100% of what is seized is sold at once and stays sold",
        "break price  trigger price  landing price",
        "× 0.02",
        "no impact",
    ):
        assert words in done.out
    result_rows = rows(home, "BTC")
    assert {row["depth"] for row in result_rows["rows"]} == {"× 1", "× 0.63", "× 0.1", "× 0.02"}
    assert [row["drop_share"] for row in result_rows["band"]] == [
        0.01,
        0.02,
        0.05,
        0.1,
        0.2,
        0.3,
        0.5,
    ]
    for row in result_rows["band"]:
        band = [row[f"price_{d}"] for d in ("no_impact", "full", "stress", "tenth", "fiftieth")]
        assert band == sorted(band, reverse=True)
    assert result_rows["depth"][0]["venue"] == "v"
    assert result_rows["model"]["sigma_daily"] == 0.03
    # Machines get every group, people those that matter.
    assert len(result_rows["rows"]) > 8
    full = [row for row in result_rows["rows"] if row["depth_scale"] == 1]
    calls = ask(Store(home), "path_steps", factor="BTC")
    assert full[-1]["cum_units"] == pytest.approx(sum(row["units"] for row in calls))


@pytest.mark.full
@pytest.mark.parametrize(
    ("own", "target", "line"),
    [
        (5e6, 2e7, "m: reserves 5,000,000 USD of a target of 20,000,000: what it absorbs is sold"),
        (-5e6, 2e7, "m: reserves -5,000,000 USD of a target of 20,000,000: what it absorbs is"),
        (2e7, 2e7, "of a target of 20,000,000: it does not sell what it absorbs"),
        (None, 2e7, "m: reserves n/a (getReserves gave no answer): counted as below their target"),
        (5e6, None, "m: reserves n/a (targetReserves gave no answer): counted as below"),
        (None, None, "m: reserves n/a (they were not read, or their asset has no USD price): "),
    ],
)
def test_the_header_says_whether_reserves_allow_a_sale(
    tmp_path: Path, own: float | None, target: float | None, line: str
) -> None:
    """The header says whether reserves allow a sale, and why that is not known."""
    store = Store(tmp_path)
    made = market(close_rule=ABSORB)
    rows = [row for row in made.rows() if row.table != "snapshots"]
    store.create()
    store.append([*rows, made.head(reserves_usd=own, target_reserves_usd=target)], source="x")
    store.append(depth([(0.05, 240.0)], mid_price=90_000.0, time=NOW), source="depth")
    done = command(tmp_path, "BTC")
    assert line in done.out, done.err
    document = json.loads(command(tmp_path, "BTC", "--json").out)
    assert document["absorbing"] == [
        {"market": "m", "reserves_usd": own, "target_reserves_usd": target}
    ]


@pytest.mark.full
def test_a_market_that_sells_at_once_has_no_line_of_reserves(home: Path) -> None:
    assert "reserves" not in command(home, "BTC").out
    assert "absorbing" not in json.loads(command(home, "BTC", "--json").out)


@pytest.mark.full
def test_one_fall_is_told_at_each_depth(home: Path) -> None:
    result_rows = rows(home, "BTC", "--to", "88,000")["rows"]
    assert [row["depth"] for row in result_rows] == [
        "no impact",
        "× 1",
        "× 0.63",
        "× 0.1",
        "× 0.02",
    ]
    assert {row["outside_price"] for row in result_rows} == {88_000}
    assert result_rows[0]["landing_price"] == 88_000 > result_rows[1]["landing_price"]
    by_share = rows(home, "BTC", "--drop", "2.2222222222%")["rows"]
    assert by_share[1]["landing_price"] == pytest.approx(result_rows[1]["landing_price"], rel=1e-6)


@pytest.mark.full
def test_what_is_asked_under_changes_what_comes_out(home: Path) -> None:
    base = rows(home, "BTC", "--to", "88000")["rows"][1]["landing_price"]
    thin = rows(home, "BTC", "--to", "88000", "--depth-scale", "0.3")["rows"]
    assert thin[1]["landing_price"] < base
    assert [row["depth"] for row in thin][1] == "× 0.3"
    some = rows(home, "BTC", "--to", "88000", "--sold-share", "50%")["rows"][1]
    assert some["landing_price"] > base
    assert some["unsold_units"] == pytest.approx(some["sold_units"])
    late = rows(home, "BTC", "--oracle-deviation", "0.5%")["rows"]
    assert all(r["break_price_late"] == pytest.approx(r["break_price"] * 0.995) for r in late)
    with_eth = rows(home, "BTC", "--drop", "12%", "--beta", "eth=1.2")["rows"][0]
    assert with_eth["accounts"] > rows(home, "BTC", "--drop", "12%")["rows"][0]["accounts"]


def bent(home: Path) -> Path:
    """Accounts that a fall of BTC with 1.5 times as much of ETH takes where ETH would be at 0."""
    made = Book(
        Asset("WBTC", 100_000.0, lt=0.8, bonus=0.05, betas={"BTC": 1.0}),
        Asset("WETH", 4_000.0, lt=0.8, bonus=0.05, betas={"ETH": 1.0}),
        Asset("USDC", 1.0, lt=0.75, bonus=0.045, betas={"USDC": 1.0}),
        time=NOW,
    )
    made.account("a", {"WBTC": 1, "WETH": 25}, {"USDC": 26_900})
    made.account("o", {"WETH": 25, "WBTC": 0.01}, {"USDC": 200})
    made.store(Store(home))
    return home


@pytest.mark.full
def test_header_and_left_out_accounts_use_the_betas_of_the_rows(tmp_path: Path) -> None:
    """The header and the accounts in no sum are of the same betas as the rows."""
    words = ("BTC", "--beta", "eth=1.5", "--adv", "20000", "--drop", "70%")
    output = command(bent(tmp_path), *words)
    assert "moves WBTC, WETH × 1.5; all else stays" in output.out, output.err
    assert "accounts in " in output.out
    result_rows = rows(tmp_path, *words)
    assert {m["symbol"]: m["beta"] for m in result_rows["moves"]} == {"WBTC": 1.0, "WETH": 1.5}
    left_out = [
        {k: v for k, v in row.items() if v is not None} for row in result_rows["excluded_accounts"]
    ]
    with_betas = ask(Store(tmp_path), "excluded_accounts", factor="BTC", betas="eth=1.5")
    assert len(left_out) == len(with_betas) > 0
    assert sum(row["accounts"] for row in left_out) == sum(r["accounts"] for r in with_betas) == 2
    assert rows(tmp_path, "BTC", "--adv", "20000", "--drop", "70%")["excluded_accounts"] == []


def test_a_price_is_explained_in_words_and_rows(home: Path) -> None:
    done = command(home, "BTC", "--explain", "88000")
    assert done.code == 0, done.err
    for words in (
        "Between 86,240.00 and 89,760.00 3 accounts can lose up to",
        "Markets: m 100%.",
        "owe USDC",
        "The largest account is",
        "loops (debt that moves with its collateral) are",
        "1 account.",
        "down to 88,000.00 it is 2.2%: the bid depth within that distance of the books' mid "
        "price is 115 BTC.",
        "MODEL: an outside price of",
        "Loop gain there",
    ):
        assert words in done.out, words
    parts = {(r["part"], r["name"]): r for r in rows(home, "BTC", "--explain", "88000")["rows"]}
    total = parts["all", ""]
    assert parts["account", "the largest one"]["part_share"] > 0.6
    assert parts["loops", ""]["accounts"] == 1
    assert parts["market", "m"]["usd"] == pytest.approx(total["usd"])
    for side in ("collateral", "debt"):
        shares = [r["part_share"] for (part, _), r in parts.items() if part == side]
        assert sum(shares) == pytest.approx(1)
    quiet = command(home, "BTC", "--explain", "60000")
    assert "No account's trigger price lies between 58,800.00 and 61,200.00." in quiet.out


@pytest.mark.full
def test_the_header_says_so_where_the_markets_prices_differ(home: Path, tmp_path: Path) -> None:
    assert "prices of BTC differ" not in command(home, "BTC").out
    store = Store(tmp_path)
    market().store(store)
    other = Book(
        Asset("WBTC", 91_800.0, betas={"BTC": 1.0}), Asset("USDC", 1.0), market="n", time=NOW
    )
    other.account("a", {"WBTC": 1}, {"USDC": 30_000})
    other.store(store)
    store.append(depth([(0.05, 240.0)], mid_price=90_000.0, time=NOW), source="depth")
    line = (
        "the markets' prices of BTC differ (90,000.00 to 91,800.00): sums use n's 91,800.00, "
        "and each trigger keeps its relative distance from the price of its own market"
    )
    assert line in command(tmp_path, "BTC").out
    assert line in run("walls", "BTC", home=tmp_path).out
    assert line not in run("walls", "ETH", home=tmp_path).out
    split = run("walls", "BTC", "--by-market", home=tmp_path).out
    assert "(90,000.00 to 91,800.00): the rows of each market use its own" in split
    made = rows(tmp_path, "BTC")
    assert {(row["market"], row["axis_market"]) for row in made["axes"]} == {
        ("all", "n"),
        ("m", "m"),
        ("n", "n"),
    }
    assert {row["axis_market"] for row in (*made["rows"], *made["band"])} == {"n"}


@pytest.mark.full
def test_words_and_rows_tell_the_same_bids_of_a_thinner_book(home: Path) -> None:
    words = ("BTC", "--explain", "88000", "--depth-scale", "0.5")
    assert "of the books' mid price is 57.5 BTC." in command(home, *words).out
    assert rows(home, *words)["price_level"][0]["bid_units"] == pytest.approx(57.5)


# --- several at once ----------------------------------------------------------------------------


def terms(**changes: Any) -> CascadeTerms:
    return CascadeTerms(**({"factor": "BTC"} | changes))


def vector(store: Store, *names: str, drops: dict[str, float]) -> list[dict[str, Any]]:
    with query.open_catalog(store) as catalog:
        made = joint_fall(catalog, [terms(factor=name) for name in names], drops)
    return made.result.dicts()


@pytest.mark.full
def test_several_factors_rest_where_no_further_round_moves_them(
    home: Path,
) -> None:
    """Several factors come to rest together, where no further round moves them."""
    store = Store(home)
    drops = {"BTC": 0.1, "ETH": 0.1}
    result_rows = vector(store, "BTC", "ETH", drops=drops)
    assert {row["state"] for row in result_rows} == {"ok"}
    spots = {"BTC": 90_000.0, "ETH": 3_000.0}
    for depth_label in ("no impact", "× 1", "× 0.1"):
        mine = {r["factor"]: r for r in result_rows if r["depth"] == depth_label}
        scale = {"no impact": math.inf, "× 1": 1.0, "× 0.1": 0.1}[depth_label]
        for name, row in mine.items():
            (other,) = mine.keys() - {name}
            x = row["landing_price"] / spots[name]
            beta = (1 - mine[other]["landing_price"] / spots[other]) / (1 - x)
            (again,) = ask(
                store,
                "sales_to_price",
                factor=name,
                x=x,
                scale=scale,
                betas=f"{other.lower()}={beta!r}",
            )
            assert spots[name] * 0.9 * (1 - again["impact"]) == pytest.approx(row["landing_price"])
    # "both" fires at -10 % of both, which neither of them brings about alone.
    assert result_rows[0]["accounts"] == 5
    alone = ask(store, "landing_prices", factor="BTC", scales="inf", drops="0.1")
    assert alone[0]["accounts"] < 5


@pytest.mark.full
def test_several_factors_list_what_moves_and_what_is_in_no_sum(home: Path) -> None:
    """A report of several factors lists what moves with each and what is in no sum."""
    result_rows = rows(home, "BTC", "ETH", "--drop", "5%")
    assert [(m["factor"], m["symbol"]) for m in result_rows["moves"]] == [
        ("BTC", "WBTC"),
        ("ETH", "WETH"),
    ]
    assert {axis["factor"] for axis in result_rows["axes"]} == {"BTC", "ETH"}
    assert {book["factor"] for book in result_rows["depth"]} == {"BTC", "ETH"}
    assert len(result_rows["markets"]) == 1
    for name in ("moves", "axes", "excluded_accounts"):
        alone = [{"factor": f} | e for f in ("BTC", "ETH") for e in rows(home, f)[name]]
        assert result_rows[name] == alone


@pytest.mark.full
def test_rounds_of_a_single_factor_reach_the_largest_fixed_point(home: Path) -> None:
    """The rounds of a single factor end at the largest fixed point of its break levels."""
    store = Store(home)
    result_rows = vector(store, "BTC", drops={"BTC": 0.05})
    falls = ask(store, "landing_prices", drops="0.05", scales="inf,1,0.63,0.1,0.02")
    for row, wanted in zip(result_rows, falls, strict=True):
        assert row["state"] == "ok"
        # What an account owes of the factor itself is bought back, which break levels leave out.
        assert row["landing_price"] == pytest.approx(wanted["landing_price"], rel=0.01)
        assert row["landing_price"] >= wanted["landing_price"] * (1 - 1e-9)


@pytest.mark.full
def test_where_nothing_is_bought_the_rounds_settle(tmp_path: Path) -> None:
    """A price may rise by a trifle from round to round: on another way to nearly the same prices
    accounts trigger elsewhere, where the same debt is worth fewer units."""
    store, rng = Store(tmp_path), Random(2)
    made = Book(
        Asset("WBTC", 90_000.0, lt=0.8, bonus=0.05, betas={"BTC": 1.0}),
        Asset("WETH", 3_000.0, lt=0.8, bonus=0.05, betas={"ETH": 1.0}),
        Asset("USDC", 1.0, lt=0.75, bonus=0.045, betas={"USDC": 1.0}),
        time=NOW,
    )
    for i in range(40):
        held = {"WBTC": rng.uniform(0, 20), "WETH": rng.uniform(0, 600)}
        if rng.random() < 0.3:
            del held["WBTC"]
        elif rng.random() < 0.3:
            del held["WETH"]
        power = 0.8 * (held.get("WBTC", 0) * 90_000 + held.get("WETH", 0) * 3_000)
        made.account(str(i), held, {"USDC": power / rng.uniform(1.0, 1.3)})
    made.store(store)
    for factor, mid_price, units in (("BTC", 90_000.0, 5.0), ("ETH", 3_000.0, 125.0)):
        for side in ("bid", "ask"):
            points = [(0.005, units), (0.01, 3 * units), (0.05, 12 * units)]
            store.append(
                depth(
                    points,
                    factor=factor,
                    mid_price=mid_price,
                    time=NOW,
                    side=side,
                    volume_24h=100 * units,
                ),
                source="depth",
            )
    result_rows = vector(store, "BTC", "ETH", drops={"BTC": 0.1, "ETH": 0.12})
    assert {row["state"] for row in result_rows} == {"ok"}
    assert {row["bought_units"] for row in result_rows} == {0}
    for factor in ("BTC", "ETH"):
        landed = [row["landing_price"] for row in result_rows if row["factor"] == factor]
        assert landed == sorted(landed, reverse=True)


@pytest.mark.full
def test_where_purchases_outweigh_sales_no_number_is_given(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = Book(
        Asset("WBTC", 90_000.0, lt=0.8, betas={"BTC": 1.0}),
        Asset("WETH", 3_000.0, lt=0.8, betas={"ETH": 1.0}),
        time=NOW,
    )
    # Collateral in BTC, debt in ETH: liquidators have to buy the ETH that they repay.
    made.account("short", {"WBTC": 100}, {"WETH": 100 * 90_000 * 0.8 * 0.98 / 3_000})
    made.store(store)
    for factor, mid_price in (("BTC", 90_000.0), ("ETH", 3_000.0)):
        for side in ("bid", "ask"):
            store.append(
                depth([(0.05, 30.0)], factor=factor, mid_price=mid_price, time=NOW, side=side),
                source="depth",
            )
    result_rows = vector(store, "BTC", "ETH", drops={"BTC": 0.1, "ETH": 0.01})
    bad = [row for row in result_rows if row["state"] != "ok"]
    assert bad
    assert all(row["state"].startswith("not converged") for row in bad)
    assert all(row["landing_price"] is None and row["sold_units"] is None for row in bad)


# --- what it refuses ----------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["BCT"], "no factor is called 'BCT'; did you mean BTC?"),
        (["BTC", "--to", "95000"], "expected a price below 90,000.00, today's price of BTC"),
        (["BTC", "--explain", ""], "--explain: expected a number above 0, got ''"),
        (["BTC", "--to", ""], "--to: expected a number above 0, got ''"),
        (["BTC", "--explain", "95000"], "expected a price below 90,000.00, today's price of BTC"),
        (["BTC", "--to", "-5"], "--to: expected a number above 0"),
        (["BTC", "--to", "soon"], "--to: expected a number above 0, got 'soon'"),
        (["BTC", "--drop", "120%"], "--drop: expected a share above 0"),
        (["BTC", "--to", "88000", "--drop", "5%"], "choose one of --to, --drop and --explain"),
        (["BTC", "--depth-scale", "-1"], "--depth-scale: expected a number above 0"),
        (["BTC", "--depth-scale", "0"], "--depth-scale: expected a number above 0"),
        (["BTC", "--sold-share", "0"], "--sold-share: expected a share above 0"),
        (["BTC", "--beta", "eht=1"], "--beta: no factor is called 'eht'; did you mean ETH?"),
        (
            ["BTC", "--beta", "eth"],
            "--beta: expected a factor and a number from -100 to 100",
        ),
        (["BTC", "--beta", "btc=1"], "BTC is what falls"),
        (["BTC", "--absorbed", "never"], "--absorbed: expected later or now"),
        (["BTC", "ETH"], "several factors at once need --drop"),
        (["BTC", "ETH", "--drop", "5%", "--beta", "usdc=1"], "none of the factors given"),
        (["USDC"], "no order book of USDC is stored: run `chainwatch collect depth --only USDC`"),
        (["BTC", "--chart", "x.gif"], "--chart: expected a file that ends in .png, .svg, .html"),
        (["BTC", "ETH", "--drop", "5%", "--chart", "x.png"], "--chart draws one factor"),
    ],
)
def test_a_wrong_question_gets_one_line_and_exit_code_2(
    home: Path, words: list[str], message: str
) -> None:
    done = command(home, *words)
    assert done.code == 2
    assert message in done.lines[-1]
    assert not done.out


def test_without_a_snapshot_it_says_which_command_to_run(tmp_path: Path) -> None:
    Store(tmp_path).create()
    done = run("cascade", "BTC", home=tmp_path)
    assert done.code == 2
    assert "no market has been read yet: run `chainwatch collect aave-v3" in done.err


@pytest.mark.full
def test_old_depth_is_refused_unless_told_otherwise(tmp_path: Path) -> None:
    store = Store(tmp_path)
    market().store(store)
    old = NOW - timedelta(hours=3)
    store.append(depth([(0.05, 100.0)], time=old), source="depth")
    done = run("cascade", "BTC", home=tmp_path)
    assert done.code == 2
    assert "the newest order book of BTC is 3 hours old: `chainwatch collect depth" in done.err
    assert run("cascade", "BTC", "--max-depth-age", "1d", home=tmp_path).code == 0


def test_a_book_far_from_the_oracle_is_of_another_symbol(tmp_path: Path) -> None:
    store = Store(tmp_path)
    market().store(store)
    store.append(depth([(0.05, 100.0)], mid_price=3_000.0, time=NOW), source="depth")
    with query.open_catalog(store) as catalog, pytest.raises(UsageError, match="another symbol"):
        cascade.break_levels(catalog, terms(), None)


@pytest.mark.full
def test_without_books_a_volume_gives_the_square_root_law_alone(tmp_path: Path) -> None:
    """Without books a stated volume gives the square root law alone."""
    store = Store(tmp_path)
    market().store(store)
    done = run("cascade", "BTC", "--adv", "40000", home=tmp_path)
    assert done.code == 0, done.err
    assert "√(units / 40,000 a day)" in done.out
    assert "depth: no order book of BTC is stored, the square-root law alone" in done.out


@pytest.mark.full
def test_a_thin_book_is_told_by_its_own_median(tmp_path: Path) -> None:
    """Bids within 1 % of the mid price over their median of 30 days; older books do not count."""
    store = Store(tmp_path)
    market().store(store)
    for days, units in ((40, 9_000.0), *((day, 100.0 + day) for day in range(9, 0, -1)), (0, 42.0)):
        time = NOW - timedelta(days=days)
        store.append(depth([(0.01, units), (0.05, 5 * units)], time=time), source="depth")
    (book,) = ask(store, "books_at", factor="BTC")
    median = (104 + 105) / 2
    assert (book["near_bid_units"], book["median_near_bid_units"]) == (42, median)
    assert (book["median_books"], book["depth_share"]) == (10, pytest.approx(42 / median))
    assert "within 1 % 40% of their median over 30 days" in command(tmp_path, "BTC").out


@pytest.mark.full
def test_a_ratio_without_a_book_says_which_pair_to_collect(tmp_path: Path) -> None:
    made = Book(
        Asset("wstETH", 3_600.0, lt=0.8, betas={"wstETH/ETH": 1.0}),
        Asset("USDC", 1.0, lt=0.75, betas={"USDC": 1.0}),
        time=NOW,
    )
    made.account("a", {"wstETH": 10}, {"USDC": 25_000})
    made.store(Store(tmp_path))
    done = run("cascade", "wstETH/ETH", home=tmp_path)
    assert done.code == 2
    assert 'run `chainwatch collect depth --only "VENUE wstETH/ETH"`' in done.err


# --- pictures -----------------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "begins"), [("a.png", b"\x89PNG"), ("a.svg", b"<svg"), ("a.html", b"<!DOCTYPE html>")]
)
def test_a_chart_is_drawn_without_network(
    home: Path, tmp_path: Path, name: str, begins: bytes
) -> None:
    pytest.importorskip("altair", reason="the extra `charts` is not installed")
    path = tmp_path / name
    done = command(home, "BTC", "--chart", str(path))
    assert done.code == 0, done.err
    data = path.read_bytes()
    assert data.lstrip()[: len(begins)].lower() == begins.lower()
    if name.endswith("svg"):
        text = data.decode()
        for words in ("today 90,000.00", "break ", "depth × 0.02", "no impact", "landing price"):
            assert words in text
    if name.endswith("html"):
        assert b"https://cdn" not in data


def rows_in(part: Any) -> Iterator[dict[str, Any]]:
    """Every row of data in a chart's specification."""
    if isinstance(part, dict):
        yield from part.get("data", {}).get("values", [])
    for item in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from rows_in(item)


@pytest.mark.full
def test_a_chart_shows_what_is_liquidatable_already(tmp_path: Path) -> None:
    pytest.importorskip("altair", reason="the extra `charts` is not installed")
    store = Store(tmp_path)
    made = market()
    made.account("past", {"WBTC": 10}, {"USDC": 10 * 91_000 * 0.8})
    made.store(store)
    store.append(depth([(0.05, 240.0)], time=NOW), source="depth")
    bins = ask(store, "walls", factor="BTC", range=cascade.CHART_RANGE)
    already = next(row["round_seizable_usd"] for row in bins if row["direction"] == "now")
    below = [row for row in bins if row["direction"] == "down"]
    assert already > 0
    page = tmp_path / "c.html"
    done = command(tmp_path, "BTC", "--chart", str(page))
    assert done.code == 0, done.err
    match = re.search(r"const spec = (.*);\n", page.read_text("utf-8"))
    assert match is not None
    drawn = list(rows_in(json.loads(match[1])))
    sums = [row["sum"] for row in drawn if "sum" in row]
    assert (sums[0], sums[-1]) == (already, already + below[-1]["cum_round_seizable_usd"])
    bar, *others = [row for row in drawn if str(row.get("words")).startswith("liquidatable now")]
    assert all(row == bar for row in others), "the bar and its words"
    assert (bar["from"], bar["usd"]) == (90_000, already)
    assert bar["words"] == f"liquidatable now: {already:,.0f} USD"


def hostile_market(home: Path, name: str) -> Store:
    """A market whose asset, factor and name are all that text."""
    store = Store(home)
    made = Book(
        Asset(name, 90_000.0, lt=0.8, betas={name: 1.0}),
        Asset("USDC", 1.0, betas={"USDC": 1.0}),
        market=name,
        time=NOW,
    )
    made.account("a", {name: 100}, {"USDC": 100 * 88_500 * 0.8})
    made.store(store)
    store.append(depth([(0.05, 240.0)], factor=name, venue=name, time=NOW), source="depth")
    return store


@pytest.mark.full
def test_no_name_becomes_a_script_of_a_chart_page(tmp_path: Path) -> None:
    pytest.importorskip("altair", reason="the extra `charts` is not installed")
    browser.program()
    page = tmp_path / "c.html"
    with browser.listening() as (url, requests):
        name = f"</script><script src={url}/ran.js></script><!--<script>"
        hostile_market(tmp_path, name)
        done = command(tmp_path, name, "--chart", str(page))
        assert done.code == 0, done.err
        shown = browser.opened(page)
        assert requests == []
        # The chart is drawn, and the name stands in it as the text that it is.
        assert re.search(r"<(canvas|svg)[^>]*marks", shown), shown[-500:]
        spec = json.loads(re.search(r"const spec = (.*);\n", page.read_text("utf-8"))[1])  # type: ignore[index]
        assert spec["title"]["text"].startswith(f"{name}: wall")
        # What the viewer's menu writes into a new page is not made safe by anybody.
        assert re.findall(r">(Save as \w+|View [\w ]+|Open in [\w ]+)</a>", shown) == [
            "Save as SVG",
            "Save as PNG",
        ]
        # Without the escapes the page's policy stops it, without both it runs: the browser tells.
        text = page.read_text("utf-8").replace("\\u003c", "<").replace("\\u003e", ">")
        page.write_text(text, "utf-8")
        browser.opened(page)
        assert requests == []
        page.write_text(re.sub("<meta http-equiv=[^>]*>", "", text), "utf-8")
        browser.opened(page)
        assert requests == ["/ran.js"]


@pytest.mark.full
def test_a_chart_of_any_name_is_well_formed_svg(tmp_path: Path) -> None:
    pytest.importorskip("altair", reason="the extra `charts` is not installed")
    name = "<script>\"'\\\x1b[31m&\u202e\u2028]]>"
    hostile_market(tmp_path, name)
    path = tmp_path / "c.svg"
    done = command(tmp_path, name, "--chart", str(path))
    assert done.code == 0, done.err
    drawn = ElementTree.fromstring(path.read_text("utf-8"))
    assert {item.tag.rpartition("}")[2] for item in drawn.iter()} >= {"svg", "path", "text"}
    assert not [item for item in drawn.iter() if item.tag.endswith("script")]
    words = "".join(drawn.itertext())
    assert "<script>\"'\\\\x1b[31m&\\u202e\\u2028]]>: wall" in words


# --- from the wire ------------------------------------------------------------------------------


@pytest.fixture
def exchange() -> Iterator[SpotVenue]:
    with SpotVenue(
        [Offer("BTC", "USDT", 90_000.0, 20.0, 2_000.0)],
        lambda: int(datetime.now(UTC).timestamp() * 1000),
    ) as running:
        yield running


@pytest.mark.full
def test_depth_that_was_collected_is_what_a_cascade_stands_on(
    tmp_path: Path, exchange: SpotVenue
) -> None:
    market().store(Store(tmp_path))
    env = {"CHAINWATCH_URL_DEPTH": exchange.url}
    done = run("collect", "depth", "--only", "binance BTC/USDT", home=tmp_path, env=env)
    assert done.code == 0, done.err
    output = run("cascade", "BTC", home=tmp_path)
    assert output.code == 0, output.err
    assert "depth binance BTC/USDT (spot): " in output.out
