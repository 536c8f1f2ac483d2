"""The distance to liquidation in daily moves, against its definition in plain Python."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import pairwise
from math import erfc, log, sqrt
from random import Random
from typing import Any

import pytest

from chainwatch.lake.store import Store
from chainwatch.tables.exchange import Candle
from tests.builders import FIRST_BLOCK_TIME, Asset, Book, ask
from tests.shell import run

LT = 0.8


def closes(asset: str, prices: list[float], provenance: str = "live") -> list[Candle]:
    first = FIRST_BLOCK_TIME - timedelta(days=len(prices) + 2)
    return [
        Candle(
            asset=asset,
            symbol=f"{asset}/USDT",
            venue="v",
            interval="1d",
            time=first + timedelta(days=i),
            open=price,
            high=price,
            low=price,
            close=price,
            source="candles",
            document="0x",
            provenance=provenance,
            published_basis="rule",
            known_at=first + timedelta(days=i + 1),
            observed_at=first + timedelta(days=i + 1),
        )
        for i, price in enumerate(prices)
    ]


def walk(rng: Random, days: int) -> tuple[list[float], list[float]]:
    btc, eth = [90_000.0], [3_000.0]
    for _ in range(days):
        common = rng.gauss(0, 0.02)
        btc.append(btc[-1] * (1 + common))
        eth.append(eth[-1] * (1 + common + rng.gauss(0, 0.02)))
    return btc, eth


def covariance(first: list[float], other: list[float]) -> float:
    a = [log(y / x) for x, y in pairwise(first)]
    b = [log(y / x) for x, y in pairwise(other)]
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    return sum((x - ma) * (y - mb) for x, y in zip(a, b, strict=True)) / (len(a) - 1)


@pytest.fixture
def store(empty_lake: Store) -> Store:
    return empty_lake


def market() -> Book:
    return Book(
        Asset("BTC", 90_000.0, lt=LT, betas={"BTC": 1.0}),
        Asset("ETH", 3_000.0, lt=LT, betas={"ETH": 1.0}),
        Asset("USD", 1.0, lt=LT, betas={"USD": 1.0}),
    )


@pytest.mark.parametrize(("window", "days"), [(60, 30.0), (20, 7.0)])
def test_distance_and_probability_are_those_of_their_definition(
    store: Store, window: int, days: float
) -> None:
    rng = Random(5)
    btc, eth = walk(rng, 60)
    book = market()
    accounts: list[tuple[str, dict[str, float], dict[str, float]]] = []
    for i in range(20):
        held = {"BTC": rng.uniform(0.1, 2), "ETH": rng.uniform(1, 50)}
        owed = {"USD": rng.uniform(0.3, 0.99) * LT * (held["BTC"] * 90_000 + held["ETH"] * 3_000)}
        accounts.append((book.account(str(i), held, owed), held, owed))
    hedged = {"ETH": 10.0}, {"ETH": 7.0}  # a fall of ETH takes less of what is owed as well
    accounts.append((book.account("hedged", *hedged), *hedged))
    book.store(store)
    store.append([*closes("BTC", btc), *closes("ETH", eth)], source="candles")
    s = {
        (a, b): covariance(x[-window - 1 :], y[-window - 1 :])
        for a, x in (("BTC", btc), ("ETH", eth))
        for b, y in (("BTC", btc), ("ETH", eth))
    }
    rows = ask(store, "liquidation_distance", window=window, days=days)
    values = {row["account"]: row for row in rows}
    assert len(values) == len(accounts)
    for account, held, owed in accounts:
        price = {"BTC": 90_000.0, "ETH": 3_000.0, "USD": 1.0}
        v = {f: held.get(f, 0) * price[f] * LT - owed.get(f, 0) * price[f] for f in ("BTC", "ETH")}
        margin = sum(held[f] * price[f] * LT for f in held) - sum(owed[f] * price[f] for f in owed)
        sd = sqrt(sum(v[a] * v[b] * s[a, b] for a in v for b in v))
        row = values[account]
        assert row["margin_usd"] == pytest.approx(margin)
        assert row["daily_move_usd"] == pytest.approx(sd)
        assert row["distance"] == pytest.approx(margin / sd)
        wanted = erfc(margin / sd / sqrt(days) / sqrt(2))
        assert row["hit_share"] == pytest.approx(wanted, abs=2e-7)
        assert row["days"] == window
    order = [row["distance"] for row in rows]
    assert order == sorted(order)


def test_who_is_past_it_is_certain_and_what_has_no_closes_is_told(store: Store) -> None:
    book = market()
    past = book.account("past", {"BTC": 1}, {"USD": 80_000})
    stable = book.account("stable", {"USD": 50_000, "BTC": 0.5}, {"USD": 40_000})
    still = book.account("still", {"USD": 100}, {"USD": 50})
    book.account("free", {"BTC": 1})
    book.store(store)
    btc, eth = walk(Random(1), 30)
    store.append([*closes("BTC", btc), *closes("ETH", eth)], source="candles")
    rows: dict[str, Any] = {r["account"]: r for r in ask(store, "liquidation_distance")}
    assert rows[past]["hit_share"] == pytest.approx(1, abs=1e-6)
    assert rows[past]["distance"] < 0
    assert rows[stable]["unmodelled_share"] == pytest.approx(90_000 / 135_000)
    assert list(rows) == [past, stable, still]
    assert rows[still]["distance"] is rows[still]["hit_share"] is None, "it stands still"
    assert (rows[still]["hf"], rows[still]["unmodelled_share"]) == (pytest.approx(1.6), 1)
    for row in rows.values():
        assert (row["not_ranked_accounts"], row["all_accounts"]) == (1, 3)
        assert row["not_ranked_debt_usd"] == 50


def test_factors_and_closes_are_matched_whatever_their_case(store: Store) -> None:
    for name in ("BTC", "btc"):
        book = Book(
            Asset("BTC", 90_000.0, lt=LT, betas={name: 1.0}), Asset("USD", 1.0), market=name
        )
        book.account("a", {"BTC": 1}, {"USD": 10_000})
        book.store(store)
    store.append(closes("BTC", walk(Random(1), 30)[0]), source="candles")
    rows = {row["market"]: row for row in ask(store, "liquidation_distance")}
    assert rows["btc"]["distance"] == rows["BTC"]["distance"] is not None
    assert rows["btc"]["unmodelled_share"] == rows["BTC"]["unmodelled_share"] == 0


def test_an_account_without_a_price_is_counted_and_not_ranked(store: Store) -> None:
    book = Book(*market().assets.values(), Asset("DEAD", None, betas={"DEAD": 1.0}))
    ranked = book.account("ranked", {"BTC": 1}, {"USD": 10_000})
    held = book.account("held", {"BTC": 1, "DEAD": 1}, {"USD": 20_000})
    owed = book.account("owed", {"BTC": 1}, {"USD": 5, "DEAD": 1})
    book.store(store)
    store.append(closes("BTC", walk(Random(1), 30)[0]), source="candles")
    rows = {row["account"]: row for row in ask(store, "liquidation_distance")}
    assert rows.keys() == {ranked, held, owed}
    for account, debt in ((held, 20_000), (owed, None)):
        row = rows[account]
        assert row["distance"] is row["hf"] is row["margin_usd"] is row["daily_move_usd"] is None
        assert row["debt_usd"] == debt
    assert rows[ranked]["not_ranked_accounts"] == 2
    assert rows[ranked]["not_ranked_debt_usd"] == 20_000


def test_a_move_over_days_without_closes_is_no_daily_move(store: Store) -> None:
    book = market()
    account = book.account("a", {"BTC": 1}, {"USD": 10_000})
    book.store(store)
    btc, _ = walk(Random(3), 30)
    before, after = btc[:15], [price / 2 for price in btc[20:]]
    rows = closes("BTC", btc)
    store.append([*rows[:15], *closes("BTC", [*btc[:20], *after])[20:]], source="candles")
    (row,) = ask(store, "liquidation_distance")
    moves = [log(y / x) for part in (before, after) for x, y in pairwise(part)]
    mean = sum(moves) / len(moves)
    sd = sqrt(sum((move - mean) ** 2 for move in moves) / (len(moves) - 1))
    assert (row["account"], row["days"]) == (account, len(moves))
    assert row["daily_move_usd"] == pytest.approx(LT * 90_000 * sd)


def test_which_closes_it_stands_on_is_told_to_people_and_machines(store: Store) -> None:
    book = market()
    book.account("a", {"BTC": 1}, {"USD": 10_000})
    book.account("ether", {"ETH": 1}, {"USD": 2_000})
    book.store(store)
    rows = closes("BTC", walk(Random(1), 30)[0], "sample")
    store.append(rows, source="candles")
    done = run("distance", home=store.home)
    first, last = rows[0].time.date(), rows[-1].time.date()
    for words in (
        f"daily closes of BTC (v, source candles): 31 from {first} to {last}, "
        "30 moves of adjoining days; SAMPLE data, invented figures",
        "no daily closes of ETH are stored: assets that move with it are modelled as unchanged",
        "1 of 2 accounts with debt, 2,000 USD of it, are not ranked",
    ):
        assert words in done.out, done.err
    output = json.loads(run("distance", "--json", home=store.home).out)
    btc, eth = output["closes"]
    assert (btc["asset"], btc["provenance"], btc["source"]) == ("BTC", "sample", "candles")
    assert (btc["from_day"], btc["to_day"], btc["moves"]) == (str(first), str(last), 30)
    assert (eth["asset"], eth["closes"]) == ("ETH", 0)
    assert [row["provenance"] for row in output["rows"]] == ["sample", None]


def test_without_closes_it_says_which_command_to_run(store: Store) -> None:
    book = market()
    book.account("a", {"BTC": 1}, {"USD": 10_000})
    book.store(store)
    done = run("distance", home=store.home)
    assert done.code == 2
    assert "no daily closes are stored: run `chainwatch collect candles --only 1d`" in done.err
    btc, eth = walk(Random(1), 30)
    store.append([*closes("BTC", btc), *closes("ETH", eth)], source="candles")
    output = run("distance", home=store.home)
    assert output.code == 0, output.err
    assert "MODEL" in output.out
