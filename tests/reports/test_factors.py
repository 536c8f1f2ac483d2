"""What moves what: the factor graph, all volatile factors at once, ratios, and money that loses
its peg."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chainwatch.errors import Exit
from chainwatch.lake.store import Store
from tests import shell
from tests.builders import Asset, Book, ask
from tests.shell import run

REL = 1e-9


@pytest.fixture
def store(empty_lake: Store) -> Store:
    return empty_lake


def street(**book: Any) -> Book:
    """BTC, ETH, a staking token in front of it, two dollars, gold, and a source nobody knows."""
    return Book(
        Asset("WBTC", 90_000.0, lt=0.78, betas={"BTC": 1.0}),
        Asset("WETH", 3_000.0, lt=0.83, betas={"ETH": 1.0}),
        Asset(
            "wstETH",
            3_660.0,
            lt=0.79,
            betas={"ETH": 1.0, "wstETH/ETH": 1.0},
            factor_price={"ETH": 3_000.0, "wstETH/ETH": 1.22},
        ),
        Asset("USDC", 1.0, lt=0.78, betas={"USDC": 1.0}),
        Asset("USDT", 1.0, lt=0.78, betas={"USDT": 1.0}),
        Asset("XAUt", 4_000.0, lt=0.7, betas={"XAU": 1.0}),
        Asset("ODD", 10.0, lt=0.6, betas={"feed:0x12": 1.0}, kind="unknown"),
        Asset("GHO", 1.0, lt=0.0, betas={"fixed": 0.0}, kind="fixed"),
        **book,
    )


def by_name(store: Store, names: dict[str, str], **values: object) -> dict[str, dict[str, Any]]:
    rows = {row["account"]: row for row in ask(store, "triggers", **values)}
    return {name: rows[address] for name, address in names.items()}


# --- all volatile factors at once ---------------------------------------------------------------

# The portfolios of the reference, with where all volatile prices together would have to go.
GOLDEN: dict[str, tuple[dict[str, float], dict[str, float], float | None]] = {
    "A": ({"WBTC": 1}, {"USDC": 60_000}, 0.854701),
    "B": ({"WBTC": 2, "WETH": 60}, {"USDC": 240_000}, 0.828157),
    "C": ({"WBTC": 2, "USDC": 20_000}, {"USDC": 120_000}, 0.743590),
    "D": ({"wstETH": 1_000}, {"WETH": 1_090}, None),
    "E": ({"WBTC": 2, "wstETH": 50}, {"WETH": 20, "USDC": 150_000}, 0.666756),
}


def golden(store: Store) -> dict[str, str]:
    book = street()
    names = {
        name: book.account(name, collateral, debt, lt={"wstETH": 0.95} if name == "D" else {})
        for name, (collateral, debt, _) in GOLDEN.items()
    }
    book.store(store)
    return names


def test_the_market_factor_moves_portfolios_as_the_reference_says(store: Store) -> None:
    """MARKET moves the golden portfolios to where the reference says."""
    rows = by_name(store, golden(store), factor="MARKET")
    for name, (_, _, x) in GOLDEN.items():
        assert rows[name]["direction"] == ("never" if x is None else "down")
        assert rows[name]["x"] == (None if x is None else pytest.approx(x, abs=1e-6))
        assert rows[name]["trigger_price"] == rows[name]["x"]


def test_a_loop_that_the_market_hides_stands_in_the_wall_of_its_ratio(store: Store) -> None:
    names = golden(store)
    assert by_name(store, names, factor="MARKET")["D"]["direction"] == "never"
    result = by_name(store, names, factor="wstETH/ETH")["D"]
    assert result["direction"] == "down"
    assert result["x"] == pytest.approx(0.940466, abs=1e-6)
    assert result["trigger_price"] == pytest.approx(1.22 * 0.940466, abs=1e-6)
    wall = [row for row in ask(store, "walls", factor="wstETH/ETH", range=0.06) if row["accounts"]]
    assert [(row["direction"], row["accounts"]) for row in wall] == [
        ("down", 1),
        ("beyond down", 1),
    ]


def test_a_beta_moves_its_factor_further_than_the_market(store: Store) -> None:
    names = golden(store)
    rows = by_name(store, names, factor="MARKET", betas="eth=1.3")
    # B: 0.78 · 180,000 x + 0.83 · 180,000 (1 - 1.3 + 1.3 x) = 240,000
    fixed, slope = 0.83 * 180_000 * -0.3, 0.78 * 180_000 + 0.83 * 180_000 * 1.3
    assert rows["B"]["x"] == pytest.approx((240_000 - fixed) / slope, rel=REL)
    assert rows["A"]["x"] == pytest.approx(0.854701, abs=1e-6), "no ETH in it"
    # E: the debt of 20 WETH moves by the same beta.
    weights = 0.78 * 180_000, (0.79 * 183_000 - 60_000) * 1.3, (0.79 * 183_000 - 60_000) * -0.3
    assert rows["E"]["x"] == pytest.approx(
        (150_000 - weights[2]) / (weights[0] + weights[1]), rel=REL
    )


def test_betas_of_a_price_that_is_a_product_add_up(store: Store) -> None:
    golden(store)
    moved = {r["symbol"]: r["beta"] for r in ask(store, "moves", factor="MARKET")}
    assert moved["wstETH"] == 1
    values = {"factor": "MARKET", "betas": "ETH=1.3, wsteth/eth=0.2"}
    moved = {r["symbol"]: r["beta"] for r in ask(store, "moves", **values)}
    assert moved["wstETH"] == pytest.approx(1.5)
    assert moved["WETH"] == 1.3


def test_money_metals_ratios_and_unknown_feeds_need_a_beta(store: Store) -> None:
    """Currencies, metals, ratios and unknown sources stay unless they are given a beta."""
    golden(store)
    moved = {r["symbol"]: r["beta"] for r in ask(store, "moves", factor="MARKET") if r["factor"]}
    assert moved == {"WBTC": 1, "WETH": 1, "wstETH": 1}
    values = {"factor": "MARKET", "betas": "xau=0.2,feed:0x12=2,btc=0,usdt=-0.1"}
    moved = {r["symbol"]: r["beta"] for r in ask(store, "moves", **values) if r["factor"]}
    assert moved == {"WETH": 1, "wstETH": 1, "XAUt": 0.2, "ODD": 2, "USDT": -0.1}


@pytest.mark.full
@pytest.mark.parametrize(
    "money", ["USDC", "USDT", "USDe", "crvUSD", "PYUSD", "DAI", "GHO", "EUR", "EURC", "GBP", "XAU"]
)
def test_a_feed_of_money_or_metal_is_not_volatile(store: Store, money: str) -> None:
    book = Book(Asset("ANY", 1.0, betas={money: 1.0}), Asset("LINK", 20.0, betas={"LINK": 1.0}))
    book.account("a", {"ANY": 10}, {"LINK": 0.1})
    book.store(store)
    moved = [r["symbol"] for r in ask(store, "moves", factor="market") if r["factor"]]
    assert moved == ["LINK"]


def test_a_price_that_a_beta_would_make_negative_is_outside(store: Store) -> None:
    book = street()
    names = {"deep": book.account("deep", {"WETH": 1, "USDC": 1000}, {"USDC": 700})}
    book.store(store)
    assert by_name(store, names, factor="MARKET")["deep"]["direction"] == "never"
    assert by_name(store, names, factor="MARKET", betas="eth=3")["deep"]["direction"] == "outside"


def test_a_cap_on_a_factor_is_met_sooner_where_its_beta_is_larger(store: Store) -> None:
    book = Book(
        Asset("CAP", 100.0, betas={"CAP": 1.0}, cap_x=1.2),
        Asset("WBTC", 90_000.0, betas={"BTC": 1.0}),
        Asset("USDC", 1.0, betas={"USDC": 1.0}),
    )
    names = {"short": book.account("short", {"USDC": 1_000}, {"CAP": 7})}
    book.store(store)
    # It triggers at a CAP of 800 / 700 = 1.143 times now, below the cap.
    result = by_name(store, names, factor="MARKET")["short"]
    assert (result["direction"], result["x"]) == ("up", pytest.approx(8 / 7, rel=REL))
    result = by_name(store, names, factor="MARKET", betas="cap=2")["short"]
    assert (result["direction"], result["x"]) == ("up", pytest.approx(1 + 1 / 14, rel=REL))
    for beta, cap_x in ((1, 1.2), (2, 1.1), (0, None)):
        rows = ask(store, "moves", factor="MARKET", betas=f"cap={beta}")
        (result,) = (row for row in rows if row["symbol"] == "CAP")
        assert result["cap_x"] == (None if cap_x is None else pytest.approx(cap_x, rel=REL))


def test_a_price_divided_by_the_factor_is_not_linear(store: Store) -> None:
    """1/x is no line: the account is n/a for that factor, and stays for the others."""
    yen = {"USD/JPY": -1.0}
    book = Book(
        Asset("JPYC", 0.0066, lt=0.8, betas=yen, kind="inverse", factor_price=150.0),
        Asset("WBTC", 90_000.0, lt=0.8, betas={"BTC": 1.0}),
        Asset("USDC", 1.0, lt=0.8, betas={"USDC": 1.0}),
    )
    names = {
        "yen": book.account("yen", {"JPYC": 200_000}, {"USDC": 900}),
        "both": book.account("both", {"WBTC": 1}, {"JPYC": 1_000_000}),
        "other": book.account("other", {"WBTC": 1}, {"USDC": 900}),
    }
    book.store(store)

    def directions(factor: str, **values: object) -> dict[str, str]:
        rows = by_name(store, names, factor=factor, **values)
        return {name: row["direction"] for name, row in rows.items()}

    assert directions("USD/JPY") == {"yen": "n/a", "both": "n/a", "other": "flat"}
    assert directions("BTC") == {"yen": "flat", "both": "down", "other": "down"}
    assert directions("MARKET", betas="usd/jpy=0.5") == {
        "yen": "n/a",
        "both": "n/a",
        "other": "down",
    }
    done = run("triggers", "USD/JPY", home=store.home)
    assert "moves JPYC × n/a (divided by it)" in done.out


def test_a_price_of_one_market_over_another_stays(store: Store) -> None:
    """BTC / ETH while both move alike: the powers cancel out."""
    betas = {"BTC": 1.0, "ETH": -1.0}
    book = Book(
        Asset("ratio", 30.0, lt=0.8, betas=betas, kind="inverse", factor_price=3_000.0),
        Asset("cash", 1.0, lt=0.8),
    )
    names = {"a": book.account("a", {"ratio": 1}, {"cash": 20})}
    book.store(store)
    assert by_name(store, names, factor="MARKET")["a"]["direction"] == "flat"
    assert by_name(store, names, factor="MARKET", betas="eth=1.3")["a"]["direction"] == "n/a"


def test_a_wall_of_the_market_counts_money_and_no_units(store: Store) -> None:
    golden(store)
    rows = ask(store, "walls", factor="MARKET", range=0.4, step_abs=0.05)
    assert [row["price_to"] for row in rows][:3] == [1, 1, pytest.approx(0.95)]
    assert sum(row["accounts"] for row in rows) == 4
    assert all(row["units"] is None and row["cum_units"] is None for row in rows)
    hit = {round(row["price_from"], 2): row["accounts"] for row in rows if row["accounts"]}
    assert hit == {0.85: 1, 0.8: 1, 0.7: 1, 0.65: 1}


# --- money that loses its peg -------------------------------------------------------------------


def test_a_fall_of_usdt_hurts_its_holders_and_helps_its_borrowers(store: Store) -> None:
    """A fall of usdt hurts whoever holds it and helps whoever owes it."""
    book = street()
    names = {
        "holds": book.account("holds", {"USDT": 1_000}, {"USDC": 760}),
        "owes": book.account("owes", {"USDC": 1_000}, {"USDT": 760}),
        "both": book.account("both", {"USDT": 1_000}, {"USDT": 760}),
        "neither": book.account("neither", {"WETH": 1}, {"USDC": 760}),
    }
    book.store(store)
    rows = by_name(store, names, factor="USDT")
    assert {name: row["direction"] for name, row in rows.items()} == {
        "holds": "down",
        "owes": "up",
        "both": "never",
        "neither": "flat",
    }
    assert rows["holds"]["x"] == pytest.approx(760 / 780, rel=REL)
    assert rows["owes"]["x"] == pytest.approx(780 / 760, rel=REL)
    # On the way down the borrower is in no row at all, on the way up the holder is in none.
    wall = {
        direction: [
            r
            for r in ask(store, "walls", factor="USDT", direction=direction, range=0.05)
            if r["accounts"]
        ]
        for direction in ("down", "up")
    }
    assert [(r["direction"], r["accounts"]) for r in wall["down"]] == [("down", 1)]
    assert [(r["direction"], r["accounts"]) for r in wall["up"]] == [("up", 1)]
    assert wall["down"][0]["units"] > 0, "USDT is what is sold"
    assert wall["up"][0]["units"] == 0, "USDC is what is sold"

    # The health factor of the borrower rises as USDT falls.
    def health(row: dict[str, Any], x: float) -> float:
        factor: float = (row["a0"] + row["a1"] * x) / (row["d0"] + row["d1"] * x)
        return factor

    assert health(rows["owes"], 0.9) > health(rows["owes"], 1.0) > 1
    assert health(rows["holds"], 0.9) < 1 < health(rows["holds"], 1.0)


# --- on the command line ------------------------------------------------------------------------


def test_the_factor_graph_lists_feeds_factors_and_caps(
    store: Store,
) -> None:
    """The factor graph lists feeds, factors and caps with what depends on them."""
    golden(store)
    rows = ask(store, "factor_graph")
    values = {(row["asset"], row["factor"]): row for row in rows}
    assert [f for a, f in values if a == "wstETH"] == ["ETH", "wstETH/ETH"]
    assert values["wstETH", "wstETH/ETH"]["kind"] == "ratio"
    assert values["wstETH", "wstETH/ETH"]["factor_price"] == 1.22
    assert values["ODD", "feed:0x12"]["kind"] == "unknown"
    assert values["GHO", "fixed"]["beta"] == 0
    assert values["WBTC", "BTC"]["collateral_usd"] == pytest.approx(7 * 90_000)
    assert values["WETH", "ETH"]["debt_usd"] == pytest.approx(1_110 * 3_000)
    assert len(rows) == 9


def test_the_graph_of_the_recorded_chain_is_printed_and_parses() -> None:
    lake = shell.recorded_lake()
    done = run("factors", "--market", "demo", "--json", home=lake)
    assert done.code == Exit.OK, done.err
    rows = json.loads(done.out)["rows"]
    values = {(row["asset"], row["factor"], row["kind"]) for row in rows}
    assert ("wstETH", "ETH", "feed") in values
    assert ("wstETH", "wstETH/ETH", "ratio") in values
    assert all(row["feed"].startswith("0x") and row["description"] for row in rows)


@pytest.mark.full
def test_walls_of_the_market_say_which_assets_moved_and_by_how_much(store: Store) -> None:
    golden(store)
    done = run("walls", "market", "--beta", "ETH=1.3", "--beta", "xau=0.1", home=store.home)
    assert done.code == Exit.OK, done.err
    line = "MARKET (1 = prices now) on m moves WBTC, WETH × 1.3, XAUt × 0.1, wstETH × 1.3; "
    assert line + "GHO, ODD, USDC, USDT stay" in done.out
    done = run("triggers", "MARKET", "--beta", "ETH=1.3", "--json", home=store.home)
    moves = {m["symbol"]: m["beta"] for m in json.loads(done.out)["moves"]}
    assert moves == {"WBTC": 1, "WETH": 1.3, "wstETH": 1.3}
    typed = run("sql", "FROM walls(p_factor := 'MARKET', p_betas := 'eth=1.3')", home=store.home)
    values = run("walls", "MARKET", "--beta", "eth=1.3", "--csv", home=store.home)
    rows = run(
        "sql", "FROM walls(p_factor := 'MARKET', p_betas := 'eth=1.3')", "--csv", home=store.home
    )
    assert typed.code == Exit.OK
    assert rows.out == values.out


@pytest.mark.full
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("MARKET", "--beta", "doge=2"), "no factor is called 'doge'"),
        (("MARKT",), "did you mean MARKET?"),
        (("ETH", "--beta", "eth=1.3"), "betas are for MARKET"),
        (("MARKET", "--beta", "eth"), "--beta: expected a factor and a number"),
        (("MARKET", "--beta", "eth=much"), "--beta: expected a factor and a number"),
        (("MARKET", "--beta", "eth=nan"), "--beta: expected a factor and a number"),
        (
            ("MARKET", "--beta", "eth=1", "--beta", "ETH=2"),
            "--beta: expected each factor once",
        ),
    ],
)
def test_a_beta_that_does_not_fit_is_one_line(words: tuple[str, ...], message: str) -> None:
    done = run("walls", *words, home=shell.recorded_lake())
    assert done.code == Exit.USAGE
    assert done.out == ""
    assert len(done.lines) == 1
    assert message in done.err
