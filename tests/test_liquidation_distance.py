"""The distance to liquidation in daily moves, against its definition in plain Python."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from math import erfc, log, sqrt
from random import Random
from typing import Any

import pytest

from chainwatch.rows import Candle
from chainwatch.store import Store
from tests.builders import FIRST_BLOCK_TIME, Asset, Book, ask
from tests.shell import run

LT = 0.8


def closes(asset: str, prices: list[float]) -> list[Candle]:
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
            provenance="live",
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


def covariance(one: list[float], other: list[float]) -> float:
    a = [log(y / x) for x, y in pairwise(one)]
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
    found = {row["account"]: row for row in rows}
    assert len(found) == len(accounts)
    for account, held, owed in accounts:
        price = {"BTC": 90_000.0, "ETH": 3_000.0, "USD": 1.0}
        v = {f: held.get(f, 0) * price[f] * LT - owed.get(f, 0) * price[f] for f in ("BTC", "ETH")}
        margin = sum(held[f] * price[f] * LT for f in held) - sum(owed[f] * price[f] for f in owed)
        sd = sqrt(sum(v[a] * v[b] * s[a, b] for a in v for b in v))
        row = found[account]
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
    book.account("still", {"USD": 100}, {"USD": 50})
    book.store(store)
    btc, eth = walk(Random(1), 30)
    store.append([*closes("BTC", btc), *closes("ETH", eth)], source="candles")
    found: dict[str, Any] = {r["account"]: r for r in ask(store, "liquidation_distance")}
    assert found[past]["hit_share"] == pytest.approx(1, abs=1e-6)
    assert found[past]["distance"] < 0
    assert found[stable]["unmodelled_share"] == pytest.approx(90_000 / 135_000)
    assert set(found) == {past, stable}, "what stands still has no distance"


def test_without_closes_it_says_which_command_to_run(store: Store) -> None:
    book = market()
    book.account("a", {"BTC": 1}, {"USD": 10_000})
    book.store(store)
    done = run("distance", home=store.home)
    assert done.code == 2
    assert "no daily closes are stored: run `chainwatch collect candles --only 1d`" in done.err
    btc, eth = walk(Random(1), 30)
    store.append([*closes("BTC", btc), *closes("ETH", eth)], source="candles")
    told = run("distance", home=store.home)
    assert told.code == 0, told.err
    assert "MODEL" in told.out
