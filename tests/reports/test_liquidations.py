"""Liquidations in SQL: sums are lower bounds, and what nobody watched is n/a, never 0."""

from __future__ import annotations

import json
import random
import re
import statistics
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chainwatch.errors import UsageError
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.store import Store
from chainwatch.nightly import export
from chainwatch.reports import headers, run
from chainwatch.reports.watch import Shown
from chainwatch.show import render
from chainwatch.show.document import Format
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Coverage, ExchangeLiquidation, Retraction
from chainwatch.tables.lending import ChainLiquidation

BEGIN = datetime(2026, 2, 3, 10, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(hours: float) -> datetime:
    return BEGIN + hours * HOUR


def order(n: int, **changes: Any) -> ExchangeLiquidation:
    given: dict[str, Any] = {
        "venue": "binance",
        "market": "usdm",
        "event": f"e{n}",
        "symbol": "BTCUSDT",
        "base": "BTC",
        "quote": "USDT",
        "settle": "USDT",
        "kind": "order",
        "time": at(0.5),
        "sent_at": None,
        "received_at": at(0.5),
        "side": "long",
        "raw_side": "SELL",
        "contracts": 1.0,
        "quantity_base": 1.0,
        "price": 100.0,
        "price_kind": "fill",
        "notional_quote": 100.0,
        "notional_usd": 100.0,
        "usd_rule": "USDT = 1 USD",
        "source": "binance-usdm",
        "delivery": "stream",
        "provenance": "live",
        "raw": "{}",
    }
    return ExchangeLiquidation(**given | changes)


def span(begin: float, end: float, state: str = "up", **changes: Any) -> Coverage:
    given: dict[str, Any] = {
        "source": "binance-usdm",
        "venue": "binance",
        "market": "usdm",
        "run": "r1",
        "from_time": at(begin),
        "to_time": at(end),
        "state": state,
        "reason": "",
        "subscribed": None,
        "listed": 300,
        "connections": 1,
        "frames": 10,
        "rows": 2,
        "duplicates": 1,
        "rejects": 0,
        "heartbeats": 5,
        "sampling_class": "sampled",
        "sampling_rule": "the latest order per contract and second",
        "last_event": None,
        "provenance": "live",
    }
    return Coverage(**given | changes)


def on_chain(n: int, **changes: Any) -> ChainLiquidation:
    given: dict[str, Any] = {
        "market": "ethereum",
        "protocol": "aave-v3",
        "chain_id": 1,
        "block_number": 100 + n,
        "block_hash": f"0x{n}",
        "block_time": at(0.75),
        "tx_hash": f"0xa{n}",
        "log_index": n,
        "kind": "liquidation",
        "account": "0x1",
        "liquidator": "0x2",
        "debt_symbol": "USDC",
        "debt_repaid_raw": 1,
        "debt_repaid_usd": 900.0,
        "coll_symbol": "WETH",
        "coll_seized_raw": 1,
        "coll_seized": 0.5,
        "coll_seized_usd": 1_000.0,
    }
    return ChainLiquidation(**given | changes)


BYBIT = {
    "source": "bybit-linear",
    "venue": "bybit",
    "market": "linear",
    "sampling_class": "full",
    "sampling_rule": "every liquidation, each 0.5 s",
}
ROWS: list[Row] = [
    # Binance: up for an hour, dead for half of one, up for half of one.
    span(0, 1),
    span(1, 1.5, "down", reason="silent: no mark price for 7.5 s", rows=0),
    span(1.5, 2),
    # Bybit: half of its contracts for an hour, then stale.
    span(0, 1, "partial", subscribed=200, listed=400, **BYBIT),
    span(1, 2, "stale", reason="no liquidation", subscribed=400, listed=400, **BYBIT),
    order(1),
    order(
        2, side="short", raw_side="BUY", notional_quote=40.0, notional_usd=40.0, quantity_base=0.4
    ),
    order(
        3,
        time=at(1.75),
        received_at=at(1.75),
        notional_quote=7.0,
        notional_usd=7.0,
        quantity_base=0.07,
    ),
    order(4, kind="trigger"),  # announces fills: in no sum
    order(5, base=None, quote=None, symbol="NEWUSDT", notional_usd=None, usd_rule="n/a (x)"),
    order(6, symbol="ETHUSDT", base="ETH", **{k: BYBIT[k] for k in ("venue", "market", "source")}),
    on_chain(1),
    on_chain(2, coll_symbol="USDC", debt_symbol="WETH", coll_seized_usd=500.0),
    on_chain(3, kind="absorb-debt", coll_seized_usd=None),
    on_chain(4, block_hash="0xgone"),
    Retraction(chain_id=1, block_number=104, block_hash="0xgone", detected_at=at(1)),
]
WINDOW = {"p_since": at(0), "p_until": at(2)}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    store = Store(tmp_path_factory.mktemp("lake"))
    store.create()
    store.append(ROWS, source="test")
    with query.open_catalog(store) as opened:
        yield opened


def ask(catalog: Catalog, name: str, **values: object) -> list[dict[str, Any]]:
    return query.run(catalog, query.find(name), {**WINDOW, **values}).dicts()


def test_venues_are_summed_with_what_was_watched_of_each(catalog: Catalog) -> None:
    rows = {(r["origin"], r["bucket"]): r for r in ask(catalog, "liquidations")}
    binance, bybit = rows["exchange", "binance"], rows["exchange", "bybit"]
    assert (binance["orders"], binance["at_least_usd"], binance["unpriced"]) == (4, 147.0, 1)
    assert (binance["at_least_long_usd"], binance["at_least_short_usd"]) == (107.0, 40.0)
    assert binance["largest_usd"] == 100.0
    assert binance["covered_share"] == pytest.approx(0.75)
    # Half of the contracts for half of the time; stale is not covered.
    assert bybit["covered_share"] == pytest.approx(0.25)
    assert bybit["at_least_usd"] == 100.0
    chain = rows["chain", "aave-v3"]
    # Absorbed debt is the other side of absorbed collateral; a retracted block is gone.
    assert (chain["orders"], chain["at_least_usd"]) == (2, 1_500.0)
    assert (chain["at_least_long_usd"], chain["at_least_short_usd"]) == (1_000.0, 500.0)
    assert chain["covered_share"] is None
    assert {r["at_least_exchange_usd"] for r in rows.values()} == {247.0}
    assert {r["at_least_chain_usd"] for r in rows.values()} == {1_500.0}


def test_a_sum_without_values_is_na_and_of_no_rows_at_least_0(
    tmp_path: Path,
) -> None:
    """Where no value is known the sum is n/a, and where nothing was liquidated it is at
    least 0."""
    store = Store(tmp_path)
    store.create()
    unknown = {"notional_usd": None, "usd_rule": "n/a (x)"}
    store.append(
        [span(0, 1), order(1, **unknown), order(2, **unknown), order(3, side="short", symbol="X")],
        source="test",
    )
    sums = ("at_least_usd", "at_least_long_usd", "at_least_short_usd")
    with query.open_catalog(store) as opened:
        (venue,) = ask(opened, "liquidations")
        sides = {r["bucket"]: r for r in ask(opened, "liquidations", p_by="side")}
        (early,) = ask(opened, "liquidations", p_until=at(0.25))
        text = render.text_of(
            run.make(opened, "liquidations", {**WINDOW, "p_by": "side"}), Format.TABLE
        )
    assert (venue["orders"], venue["unpriced"]) == (3, 2)
    assert [venue[name] for name in sums] == [100.0, None, 100.0]
    assert [sides["long"][name] for name in sums] == [None, None, 0.0]
    assert [sides["short"][name] for name in sums] == [100.0, 0.0, 100.0]
    assert [early[name] for name in sums] == [0.0, 0.0, 0.0]
    assert re.search(r"^exchange  long +2  +n/a +n/a +≥ 0 ", text, re.MULTILINE), text


def test_an_uncovered_hour_is_na_and_a_quiet_one_is_at_least_0(
    catalog: Catalog,
) -> None:
    """An hour without coverage is n/a, and a covered one without orders is at least 0."""
    rows = ask(catalog, "liquidations", p_by="hour", p_since=at(-1), p_until=at(3))
    values = {(r["bucket"][11:13], r["origin"]): r for r in rows}
    assert sorted({hour for hour, _ in values}) == ["09", "10", "11", "12"]
    assert (values["09", "exchange"]["at_least_usd"], values["09", "exchange"]["orders"]) == (
        None,
        0,
    )
    assert values["10", "exchange"]["at_least_usd"] == 240.0
    assert values["10", "exchange"]["covered_share"] == pytest.approx((1.0 + 0.5) / 2)
    assert values["11", "exchange"]["at_least_usd"] == 7.0
    assert values["11", "exchange"]["covered_share"] == pytest.approx(0.5 / 2)
    assert values["12", "exchange"]["at_least_usd"] is None
    assert values["10", "chain"]["at_least_usd"] == 1_500.0
    calm = ask(catalog, "liquidations", p_by="hour", p_since=at(1.5), p_until=at(1.6))
    assert [(r["orders"], r["at_least_usd"]) for r in calm] == [(0, 0.0)]


COINS = {
    "BTC": ("BTC", 1),
    "PEPE": ("PEPE", 1),
    "1000PEPE": ("PEPE", 1_000),
    "kPEPE": ("PEPE", 1_000),
    "SHIB1000": ("SHIB", 1_000),
    "10000LADYS": ("LADYS", 10_000),
    "1000000MOG": ("MOG", 1_000_000),
    "1MBABYDOGE": ("BABYDOGE", 1_000_000),
    # What only looks like it.
    "1INCH": ("1INCH", 1),
    "100X": ("100X", 1),
    "KNC": ("KNC", 1),
    "C98": ("C98", 1),
    "SPX6900": ("SPX6900", 1),
    "1000": ("1000", 1),
    "xyz:TSLA": ("xyz:TSLA", 1),
}


def test_a_watched_coin_is_that_of_the_stored_liquidations() -> None:
    """`watch --symbol` counts contracts on many of a coin as the coin; what has no value in USD is
    below every amount."""
    for base, (coin, _) in COINS.items():
        for other, _ in COINS.values():
            assert Shown(symbol=other.lower()).includes(order(1, base=base)) == (other == coin)
    assert Shown(symbol="1000pepe").includes(order(1, base="1000PEPE"))
    assert not Shown(min_usd=1).includes(order(1, notional_usd=None))
    assert Shown(side="long", min_usd=100).includes(order(1))
    assert not Shown(side="short").includes(order(1))
    assert Shown("BTC", "long", 5).words == ", only of BTC, long positions, of 5 USD or more"


def test_a_coin_has_a_name_and_a_price_whatever_a_contract_multiplies(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create()
    rows = [order(n, symbol=f"{base}USDT", base=base) for n, base in enumerate(COINS)]
    store.append([span(0, 1), *rows], source="test")
    with query.open_catalog(store) as catalog:
        events = catalog.run(
            "SELECT symbol, asset, quantity, price, usd FROM liquidation_events("
            "p_since := $since, p_until := $until)",
            {"since": at(0), "until": at(1)},
        ).dicts()
        scope = {"p_since": at(0), "p_until": at(1)}
        by_coin, by_contract = (
            query.run(catalog, query.find("liquidations"), scope | {"p_by": what}).dicts()
            for what in ("symbol", "contract")
        )
    for event in events:
        coin, multiplier = COINS[event["symbol"].removesuffix("USDT")]
        assert (event["asset"], event["quantity"]) == (coin, multiplier)
        assert event["price"] == pytest.approx(100.0 / multiplier)
        assert event["usd"] == 100.0
    assert {row["bucket"]: row["orders"] for row in by_coin}["PEPE"] == 3
    assert {row["bucket"] for row in by_contract} == {f"binance {base}USDT" for base in COINS}
    assert {row["covered_share"] for row in by_contract} == {1.0}


def test_symbols_are_coins_across_venues_and_sides_are_positions(catalog: Catalog) -> None:
    symbols = {
        (r["origin"], r["bucket"]): r["orders"] for r in ask(catalog, "liquidations", p_by="symbol")
    }
    assert symbols == {
        ("exchange", "BTC"): 3,
        ("exchange", "ETH"): 1,
        ("exchange", "NEWUSDT"): 1,
        ("chain", "WETH"): 1,
        ("chain", "USDC"): 1,
    }
    sides = {
        (r["origin"], r["bucket"]): r["at_least_usd"]
        for r in ask(catalog, "liquidations", p_by="side")
    }
    assert sides == {
        ("exchange", "long"): 207.0,
        ("exchange", "short"): 40.0,
        ("chain", "long"): 1_000.0,
        ("chain", "short"): 500.0,
    }


def test_only_some_of_them(catalog: Catalog) -> None:
    """By coin, side and value; of a side that is left out nothing is said."""

    def total(**values: object) -> float:
        rows = ask(catalog, "liquidations", **values)
        return sum(row["at_least_usd"] or 0.0 for row in rows)

    everything = total()
    coins = {row["bucket"] for row in ask(catalog, "liquidations", p_by="symbol")}
    assert sum(total(p_symbol=coin.lower()) for coin in coins) == pytest.approx(everything)
    assert total(p_side="long") + total(p_side="short") == pytest.approx(everything)
    assert total(p_min_usd=1_000.0) == 1_000.0
    longs = ask(catalog, "liquidations", p_by="side", p_side="long")
    assert {row["bucket"] for row in longs} == {"long"}
    assert {row["at_least_short_usd"] for row in longs} == {None}
    assert {row["counted"] for row in longs} == {"only of long positions"}
    (row, *_) = ask(catalog, "liquidations", p_symbol="BTC", p_min_usd=50_000.0)
    assert row["counted"] == "only of BTC, of 50,000.00 USD or more"
    largest = ask(catalog, "largest_liquidations", p_symbol="weth", p_side="long", p_min_usd=1.0)
    assert [row["usd"] for row in largest] == [1_000.0]


def test_minutes_are_parts_of_hours(catalog: Catalog) -> None:
    hours, minutes = (ask(catalog, "liquidations", p_by=by) for by in ("hour", "minute"))
    assert len(minutes) > 59 * len({row["bucket"] for row in hours})
    for hour in hours:
        inside = [
            row
            for row in minutes
            if row["origin"] == hour["origin"] and row["bucket"][:13] == hour["bucket"][:13]
        ]
        assert sum(row["orders"] for row in inside) == hour["orders"]
        assert sum(row["at_least_usd"] or 0 for row in inside) == (hour["at_least_usd"] or 0)
        if hour["origin"] == "exchange":
            shares = [row["covered_share"] for row in inside]
            assert statistics.fmean(shares) == pytest.approx(hour["covered_share"], abs=1e-6)


def test_an_absorption_is_long_only_if_the_debt_is_in_dollars(
    tmp_path: Path,
) -> None:
    """An absorption is a long only where the base asset that was owed is a dollar."""
    absorbed = {"kind": "absorb-collateral", "debt_symbol": None, "protocol": "compound-v3"}
    owed = {"kind": "absorb-debt", "coll_symbol": None, "protocol": "compound-v3"}
    rows = [
        on_chain(1, market="usdc", tx_hash="0x1", **absorbed),
        on_chain(2, market="usdc", tx_hash="0x1", **owed),
        on_chain(3, market="weth", tx_hash="0x2", **absorbed | {"coll_symbol": "wstETH"}),
        on_chain(4, market="weth", tx_hash="0x2", **owed | {"debt_symbol": "WETH"}),
        on_chain(5, market="weth", tx_hash="0x2", **absorbed | {"coll_symbol": "USDC"}),
        on_chain(6, market="unknown", tx_hash="0x3", **absorbed),
    ]
    store = Store(tmp_path)
    store.create()
    store.append(rows, source="test")
    with query.open_catalog(store) as opened:
        result_rows = query.run(opened, query.find("liquidation_events"), WINDOW).dicts()
    assert sorted((r["market"], r["symbol"], r["side"]) for r in result_rows) == [
        ("unknown", "WETH/base", "n/a"),
        ("usdc", "WETH/USDC", "long"),
        ("weth", "USDC/WETH", "short"),
        ("weth", "wstETH/WETH", "n/a"),
    ]


def test_by_asset_absorbed_debt_is_in_a_row_of_its_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create()
    store.append(
        [
            on_chain(1, kind="absorb-debt", coll_symbol=None, coll_seized_usd=None),
            on_chain(2, kind="absorb-collateral", debt_symbol=None, debt_repaid_usd=None),
            on_chain(3, coll_symbol="USDC", coll_seized_usd=500.0),
            on_chain(4, kind="sale", coll_seized_usd=400.0),
        ],
        source="test",
    )
    with query.open_catalog(store) as opened:
        rows = query.run(opened, query.find("liquidation_totals"), {"p_by": "asset"}).dicts()
    names = ("debt_repaid_usd", "coll_seized_usd", "sold_usd")
    assert {r["bucket"]: tuple(r[name] for name in names) for r in rows} == {
        "USDC": (900.0, 500.0, None),
        "WETH": (None, 1_000.0, 400.0),
        "n/a (absorbed debt)": (900.0, None, None),
    }


def test_each_sum_is_a_lower_bound_with_coverage_and_sampling(catalog: Catalog) -> None:
    """Every sum is printed as a lower bound, with coverage and sampling."""
    for by in ("hour", "venue", "symbol", "side"):
        made = run.make(catalog, "liquidations", {**WINDOW, "p_by": by})
        text = render.text_of(made, Format.TABLE)
        table = text.split("\n\n")[1].splitlines()
        assert "covered" in table[0]
        assert "sampling" in table[0]
        assert all("≥ " in line or "n/a" in line for line in table[1:])
    assert "exchanges ≥ 247 USD, chain ≥ 1,500 USD" in text


def test_the_header_states_the_window_and_each_feed_faults_first(catalog: Catalog) -> None:
    """The header states the window and the state of each feed, faults first."""
    made = run.make(catalog, "liquidations", WINDOW)
    assert made.header == [
        "from 2026-02-03 10:00:00Z to 2026-02-03 12:00:00Z (2 hours)",
        "binance-usdm (sampled: the latest order per contract and second): covered 75.0 % of the "
        "time, 4 liquidations in 30 frames",
        "bybit-linear (full: every liquidation, each 0.5 s): STALE: no liquidation; covered 25.0 % "
        "of the time, stale 50.0 %, 400 of 400 contracts, 1 liquidations in 20 frames",
    ]
    assert headers.stale_lines(made) == ["bybit-linear is stale: no liquidation"]


def test_the_header_counts_the_liquidations_of_the_window_only(
    catalog: Catalog,
) -> None:
    """The header counts the liquidations of the window, not those of whole coverage spans."""
    made = run.make(catalog, "liquidations", {"p_since": at(0.25), "p_until": at(1.6)})
    binance, bybit = (line.rpartition("time, ")[2] for line in made.header[1:])
    spans = "frames in coverage spans that overlap it"
    assert binance == f"3 liquidations, 30 {spans}"
    assert bybit == f"stale 44.4 %, 400 of 400 contracts, 1 liquidations, 20 {spans}"
    rejected = {"frames": 7, "rejects": 2, "clipped": True, "rows": 1}
    (feed, *_) = ask(catalog, "feeds")
    assert headers.feed_line(feed | rejected).endswith(
        "1 liquidations, 7 frames and 2 rejects in coverage spans that overlap it"
    )
    complete = {r["source"]: r for r in ask(catalog, "feeds", p_since=at(1), p_until=at(2))}
    assert (complete["binance-usdm"]["rows"], complete["binance-usdm"]["clipped"]) == (1, False)


def test_rejecting_feeds_cover_nothing_and_their_history_counts(tmp_path: Path) -> None:
    """While a feed rejects messages nothing is covered, and its history counts."""

    def past(n: int, hours: float, **changes: Any) -> ExchangeLiquidation:
        by_name = {"source": "binance-usdm-history", "delivery": "history"}
        return order(n, time=at(hours), received_at=at(2), **by_name | changes)

    second = 1 / 3_600
    store = Store(tmp_path)
    store.create()
    store.append(
        [
            span(0, 1),
            span(1, 1.5, "rejecting", reason="a frame cannot be read: x", rejects=4),
            span(1.5, 2),
            order(1),
            order(2, time=at(1.5 - second / 2)),  # the next that was read, and sent at 1.5
            past(11, 0.5),  # the stream has it
            past(12, 0.75),  # the stream was up, and did not send it
            past(13, 1 - second),
            past(14, 1.25),
            past(15, 1.25),
            past(16, 1.5 - second),  # the second of which the stream told
            past(17, 1.5 - second, symbol="ETHUSDT"),
            past(18, 1.5),
        ],
        source="test",
    )
    with query.open_catalog(store) as opened:
        (row,) = ask(opened, "liquidations")
        counted = opened.run("SELECT event FROM counted_liquidations() ORDER BY event").rows
        (feed,) = ask(opened, "feeds")
        made = run.make(opened, "liquidations", WINDOW)
        (mart,) = [
            r
            for r in query.run(opened, query.find("mart_feeds"), {}).dicts()
            if r["state"] == "rejecting"
        ]
    counting = ["e1", "e12", "e13", "e14", "e15", "e17", "e18", "e2"]
    assert [event for (event,) in counted] == counting
    assert (row["orders"], row["covered_share"]) == (8, pytest.approx(0.75))
    assert (feed["rejecting_share"], feed["state"]) == (pytest.approx(0.25), "up")
    assert made.header[1] == (
        "binance-usdm (sampled: the latest order per contract and second): REJECTING for a while: "
        "a frame cannot be read: x; covered 75.0 % of the time, rejecting 25.0 %, "
        "2 liquidations in 30 frames and 4 rejects"
    ) or made.header[1].endswith("2 liquidations in 30 frames, 4 rejects")
    assert mart["seconds"] == 1_800
    early = {**WINDOW, "p_until": at(1.25)}
    with query.open_catalog(store) as opened:
        made = run.make(opened, "liquidations", early)
    assert ": REJECTING: a frame cannot be read: x; covered 80.0 %" in made.header[1]
    assert headers.stale_lines(made) == ["binance-usdm is rejecting: a frame cannot be read: x"]


def test_by_default_the_last_day_that_is_stored_is_looked_at(catalog: Catalog) -> None:
    (window,) = query.run(catalog, query.find("liquidation_window")).dicts()
    assert (window["since"], window["until"]) == (at(2) - 24 * HOUR, at(2))


def test_the_largest_orders_are_listed_across_exchanges_and_chain(catalog: Catalog) -> None:
    rows = ask(catalog, "largest_liquidations", p_limit=3)
    assert [(r["origin"], r["usd"], r["price_kind"]) for r in rows] == [
        ("chain", 1_000.0, "oracle"),
        ("chain", 500.0, "oracle"),
        ("exchange", 100.0, "fill"),
    ]
    assert len(ask(catalog, "largest_liquidations", p_limit=None, p_venue="bybit")) == 1


def test_the_estimate_is_a_model_of_sampled_venues_only(catalog: Catalog) -> None:
    made = run.make(catalog, "liquidation_estimate", WINDOW)
    assert made.title.startswith("MODEL: ")
    measured = {"venue", "market", "orders", "occupied_share", "at_least_usd"}
    assert {n for n in made.result.columns if not n.startswith("model_")} == measured
    (binance,) = made.result.dicts()
    # Three seconds of 5,400 with an order of one contract, one of another.
    assert binance["venue"] == "binance"
    assert binance["model_orders"] == pytest.approx(4.0, rel=1e-3)
    assert binance["model_usd"] >= binance["at_least_usd"]
    assert sum("assumes" in note for note in made.notes) == 1


def test_the_estimate_finds_what_a_random_stream_lost_to_sampling(tmp_path: Path) -> None:
    """2 orders a second of one contract, thinned to the last of each second."""
    chance = random.Random(4)
    times = sorted(chance.uniform(0, 3_600) for _ in range(7_200))
    published = {int(t): t for t in times}
    store = Store(tmp_path)
    store.create()
    rows: list[Row] = [span(0, 1)]
    rows += [order(n, time=BEGIN + timedelta(seconds=t)) for n, t in published.items()]
    store.append(rows, source="test")
    with query.open_catalog(store) as catalog:
        (result_rows,) = query.run(
            catalog, query.find("liquidation_estimate"), {"p_since": at(0), "p_until": at(1)}
        ).dicts()
    assert result_rows["orders"] < 0.5 * 7_200
    assert result_rows["model_orders"] == pytest.approx(7_200, rel=0.05)


RULES = {
    "latest": "the latest order per contract and second",
    "largest": "the largest order per contract and second",
    "largest of each side": "the largest long and the largest short per contract and second",
}
RATES = (0.2, 1.0, 5.0, 20.0)
SIZES: dict[str, Callable[[random.Random], float]] = {
    "log-normal": lambda chance: chance.lognormvariate(5, 1.5),
    "Pareto": lambda chance: 100.0 * chance.paretovariate(1.5),
}
RUNS = 12
SECONDS = 1_800


Order = tuple[float, float, str]


def published_of(selection: str, orders: list[Order]) -> list[Order]:
    """What a venue with a rule publishes of orders, which are times, values and sides."""
    by_second: dict[tuple[int, str], Order] = {}
    for placed in sorted(orders):
        time, usd, side = placed
        place = int(time), side if selection == "largest of each side" else ""
        before = by_second.get(place)
        if before is None or selection == "latest" or usd > before[1]:
            by_second[place] = placed
    return list(by_second.values())


@pytest.mark.full
def test_the_estimate_follows_the_rule_of_each_venue(tmp_path: Path) -> None:
    """Orders at random, thinned by each rule; written: median and range of estimate over truth."""
    chance = random.Random(17)
    truth: dict[tuple[str, str, float], list[float]] = {}
    store = Store(tmp_path)
    store.create()
    stored: list[Row] = []
    for selection, rule in RULES.items():
        for sizes, draw in SIZES.items():
            for rate in RATES:
                for run_number in range(RUNS):
                    orders = [
                        (chance.uniform(0, SECONDS), draw(chance), chance.choice(["long", "short"]))
                        for _ in range(round(rate * SECONDS))
                    ]
                    names = {
                        "source": f"{selection}-{sizes}-{rate}-{run_number}",
                        "venue": f"{selection}/{sizes}/{rate}",
                        "market": f"{run_number}",
                    }
                    stored.append(span(0, SECONDS / 3_600, sampling_rule=rule, **names))
                    stored += [
                        order(
                            n,
                            time=BEGIN + timedelta(seconds=time),
                            side=side,
                            notional_usd=usd,
                            notional_quote=usd,
                            **names,
                        )
                        for n, (time, usd, side) in enumerate(published_of(selection, orders))
                    ]
                    key = (selection, sizes, rate)
                    truth.setdefault(key, []).append(sum(usd for _, usd, _ in orders))
    store.append(stored, source="test")
    scope = {"p_since": at(0), "p_until": at(SECONDS / 3_600)}
    with query.open_catalog(store) as catalog:
        estimates = query.run(catalog, query.find("liquidation_estimate"), scope).dicts()
    by_name = {(row["venue"], row["market"]): row for row in estimates}
    for (selection, sizes, rate), sums in truth.items():
        rows = [by_name[f"{selection}/{sizes}/{rate}", f"{n}"] for n in range(RUNS)]
        if rate == 20.0:
            assert {row["model_usd"] for row in rows} == {None}, "not identifiable"
            assert {row["model_orders"] for row in rows} == {None}
            assert {row["model_rule"][:5] for row in rows} == {"n/a ("}
            sys.stdout.write(f"{selection:20} {sizes:10} {rate:4} per second: n/a\n")
            continue
        ratios = sorted(row["model_usd"] / usd for row, usd in zip(rows, sums, strict=True))
        median = statistics.median(ratios)
        interval = f"{ratios[0]:.3f}-{ratios[-1]:.3f}"
        sys.stdout.write(
            f"{selection:20} {sizes:10} {rate:4} per second: {median:.3f} ({interval})\n"
        )
        spread = 0.25 if selection == "latest" else 0.06
        assert median == pytest.approx(1.0, abs=spread), (selection, sizes, rate)


def test_a_rule_that_does_not_say_which_order_has_no_value(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create()
    rule = "at the most one order per contract and second"
    store.append([span(0, 1, sampling_rule=rule), order(1)], source="test")
    with query.open_catalog(store) as opened:
        (row,) = ask(opened, "liquidation_estimate")
    assert row["model_orders"] == pytest.approx(1.0, rel=0.01)
    assert (row["model_usd"], row["model_factor"]) == (None, None)
    assert row["model_rule"] == "n/a in USD (which order of a second is published is not stated)"


def test_markets_of_one_venue_have_eras_of_their_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create()
    day = datetime(2026, 5, 28, tzinfo=UTC)
    rows: list[Row] = [span(0, 1, from_time=day - HOUR, to_time=day + HOUR)]
    store.append(rows, source="test")
    with query.open_catalog(store) as opened:
        scope = {"p_since": day - HOUR, "p_until": day + HOUR}
        (row,) = query.run(opened, query.find("liquidations"), scope).dicts()
    assert row["sampling"] == (
        "usdm: sampled: the latest order per contract and second until 2026-05-28, then sampled: "
        "the largest order per contract and second; "
        "coinm: sampled: the latest order per contract and second"
    )


@pytest.mark.parametrize(
    "name", ["liquidations", "largest_liquidations", "liquidation_estimate", "feeds"]
)
def test_a_query_gives_the_same_as_a_macro_and_as_raw_text(catalog: Catalog, name: str) -> None:
    selected = query.find(name)
    bound = query.run(catalog, selected, WINDOW)
    since, until = (f"TIMESTAMPTZ '{WINDOW[p]}'" for p in ("p_since", "p_until"))
    macro = catalog.run(f"FROM {name}(p_since := {since}, p_until := {until})")
    values = query.bind(catalog, selected.params, WINDOW)
    raw = catalog.run(selected.text, values)
    assert bound.rows == macro.rows == raw.rows
    assert bound.rows


def test_nothing_collected_and_an_unknown_venue_say_what_to_do(
    tmp_path: Path, catalog: Catalog
) -> None:
    store = Store(tmp_path)
    store.create()
    with (
        query.open_catalog(store) as empty,
        pytest.raises(UsageError, match="no liquidations have been collected yet: run `chainwatch"),
    ):
        run.make(empty, "liquidations", {})
    with pytest.raises(UsageError, match=r"'binanc'; did you mean binance\? stored: aave-v3, bin"):
        run.make(catalog, "liquidations", {"p_venue": "binanc"})
    with pytest.raises(UsageError, match=r"the end .* is not after"):
        run.make(catalog, "liquidations", {"p_since": at(2), "p_until": at(1)})


def test_the_checks_find_what_cannot_be(tmp_path: Path, catalog: Catalog) -> None:
    for check in ("coverage_overlaps", "liquidation_figures"):
        assert query.run(catalog, query.find(check)).rows == []
    store = Store(tmp_path)
    store.create()
    store.append(
        [
            span(0, 1),
            span(0.9, 2),
            order(1, side="buy"),
            order(2, notional_quote=99.0, notional_usd=99.0),
            order(3, notional_usd=None),
            order(4, time=at(3)),
            order(5),
        ],
        source="test",
    )
    with query.open_catalog(store) as wrong:
        assert len(query.run(wrong, query.find("coverage_overlaps")).rows) == 1
        figures = query.run(wrong, query.find("liquidation_figures")).dicts()
    assert sorted(r["event"] for r in figures) == ["e1", "e2", "e3", "e4"]


def test_a_window_across_two_eras_names_both(catalog: Catalog) -> None:
    (row,) = [
        r
        for r in ask(catalog, "liquidations", p_since=datetime(2025, 2, 1, tzinfo=UTC))
        if r["bucket"] == "bybit"
    ]
    assert row["sampling"] == (
        "sampled: about one order per contract and second (unproven) until 2025-02-26, then "
        "full: every liquidation, each 0.5 s"
    )


@pytest.mark.full
@pytest.mark.parametrize("value", [1e40, 1.7e308])
def test_a_stored_value_that_cannot_be_is_left_out_and_counted(
    tmp_path: Path, value: float
) -> None:
    """Older versions stored such: every report and export goes on, and a check names them."""
    store = Store(tmp_path / "home")
    store.create()
    large = [order(n, notional_usd=value, notional_quote=value) for n in (2, 3)]
    chain = [on_chain(1), on_chain(2, coll_seized_usd=value, debt_repaid_usd=value)]
    store.append([order(1), *large, *chain, span(0, 1)], source="streams")
    with query.open_catalog(store) as catalog:
        made = [run.make(catalog, "liquidations", {"p_by": by}) for by in _BY]
        made += [run.make(catalog, n, {}) for n in ("largest_liquidations", "exchange_sums")]
        made += [run.make(catalog, n, {}) for n in ("liquidation_totals", "chain_sums")]
        wrong = query.run(catalog, query.find("liquidation_figures")).dicts()
    for item in made:
        for form in Format:
            assert render.text_of(item, form)
        assert render.text_of(item, Format.TABLE, width=80)
    venues = {row["bucket"]: row for row in made[0].result.dicts()}
    observed = venues["binance"]
    assert (observed["orders"], observed["unpriced"], observed["at_least_usd"]) == (3, 2, 100.0)
    read = venues["aave-v3"]
    assert (read["orders"], read["unpriced"], read["at_least_usd"]) == (2, 1, 1_000.0)
    assert {row["event"] for row in wrong} == {"e2", "e3"}
    for day in export.stored_days(store):
        export.export_day(store, tmp_path / "marts", day, formats=export.FORMATS)
    rows = json.loads((tmp_path / "marts/day=2026-02-03/liquidations.json").read_text())["rows"]
    assert {row["origin"]: (row["unpriced"], row["at_least_usd"]) for row in rows} == {
        "exchange": (2, 100.0),
        "chain": (1, 1_000.0),
    }
    hours = json.loads((tmp_path / "marts/day=2026-02-03/chain_liquidations.json").read_text())
    assert [(row["unpriced"], row["coll_seized_usd"]) for row in hours["rows"]] == [(1, 1_000.0)]


_BY = ("venue", "hour", "symbol", "side")


def test_the_fuller_of_stream_and_history_counts_by_contract_and_span(tmp_path: Path) -> None:
    """Where a history has rows of its own, the fuller one counts, per contract and span."""
    second = 1 / 3_600

    def streamed(n: int, hours: float, **changes: Any) -> ExchangeLiquidation:
        return order(n, time=at(hours), received_at=at(hours), **changes)

    def past(n: int, hours: float, **changes: Any) -> ExchangeLiquidation:
        by_name = {"source": "binance-usdm-history", "delivery": "history", "event": f"rest {n}"}
        return order(n, time=at(hours), received_at=at(2), **by_name | changes)

    store = Store(tmp_path)
    store.create()
    store.append(
        [
            span(0, 0.5),
            span(0.5, 1, "rejecting", reason="a frame cannot be read: x", rejects=4),
            span(1, 1.5),
            # up: the history has the same two, some seconds later, and one more
            streamed(1, 0.1),
            streamed(2, 0.2),
            past(11, 0.1 + 3 * second),
            past(12, 0.2 + 3 * second),
            past(13, 0.3),
            # of another contract the stream has more
            streamed(3, 0.1, symbol="ETHUSDT"),
            streamed(4, 0.1 + second, symbol="ETHUSDT"),
            past(14, 0.1 + 2 * second, symbol="ETHUSDT"),
            # rejecting: a part of a frame was read
            streamed(5, 0.6),
            past(15, 0.6 + 2 * second),
            past(16, 0.6 + 2 * second, side="short"),
            # up and equal: the stream
            streamed(6, 1.2),
            past(17, 1.2 + 2 * second, side="short"),
        ],
        source="test",
    )
    with query.open_catalog(store) as opened:
        (row,) = ask(opened, "liquidations")
        counted = opened.run("SELECT event FROM counted_liquidations()").rows
    assert {event for (event,) in counted} == {
        *("rest 11", "rest 12", "rest 13", "e3", "e4", "rest 15", "rest 16", "e6")
    }
    assert row["orders"] == 8


def test_partial_and_filled_updates_of_one_order_count_once(tmp_path: Path) -> None:
    second = 1 / 3_600
    store = Store(tmp_path)
    store.create()
    store.append(
        [
            order(1, kind="partial", contracts=0.4, quantity_base=0.4),
            order(2, kind="partial", time=at(0.5 + second), contracts=0.7, quantity_base=0.7),
            order(3, time=at(0.5 + 2 * second)),
            # no message tells of its end
            order(4, kind="partial", time=at(0.7), contracts=0.4, quantity_base=0.4),
            order(5, kind="partial", time=at(0.7), side="short"),
        ],
        source="test",
    )
    with query.open_catalog(store) as opened:
        counted = opened.run("SELECT event FROM counted_liquidations()").rows
    assert {event for (event,) in counted} == {"e3", "e4", "e5"}


def test_a_mute_topic_of_an_up_feed_is_a_check(tmp_path: Path) -> None:
    """A feed that was up and sent nothing of what its history has is found, and named."""
    store = Store(tmp_path)
    store.create()
    store.append([span(0, 1), span(1, 2), order(1, time=at(0.5))], source="test")

    def mute_after(event: str, hours: float, **changes: Any) -> list[dict[str, Any]]:
        by_name = {"source": "binance-usdm-history", "delivery": "history", "event": event}
        row = order(0, time=at(hours), received_at=at(2), **by_name | changes)
        store.append([row], source="test")
        with query.open_catalog(store) as opened:
            return query.run(opened, query.find("feed_mute"), {}).dicts()

    assert mute_after("h1", 0.5) == [], "the stream has it"
    (mute,) = mute_after("h2", 1.5)
    assert (mute["source"], mute["from_time"], mute["missing"]) == (
        "binance-usdm",
        at(1),
        1,
    )
