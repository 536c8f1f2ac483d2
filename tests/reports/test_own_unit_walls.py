"""Walls of accounts without a price in USD: each in its market's unit, and in no sum of USD."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from chainwatch.errors import UsageError
from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.lending.slots import with_slots
from chainwatch.reports import run
from chainwatch.show import render
from chainwatch.show.document import Format
from chainwatch.tables.base import Row
from chainwatch.tables.lending import Account, Factor, Leg, Reserve, Snapshot
from tests import shell
from tests.builders import Asset, Book, ask

REL = 1e-9
IN_ETHER, IN_BITCOIN, MORPHO, IN_USD = "ether", "bitcoin", "morpho", "usd"
LOAN_DECIMALS = {"USDX": 6, "DAIX": 18}  # both call themselves USDX


@pytest.fixture
def store(empty_lake: Store) -> Store:
    return empty_lake


def close(value: float) -> Any:
    return pytest.approx(value, rel=REL, abs=1e-9)


# --- markets that count in a unit of their own --------------------------------------------------


def book(market: str, *, btc: float, btc_price: float | None, loans: Sequence[str]) -> Book:
    """BTC at a price in the market's unit, and what is lent, at 1; BTC moves as the factor."""
    return Book(
        Asset("BTC", btc, lt=0.8, betas={"BTC": 1.0}, factor_price={"BTC": btc_price}),  # type: ignore[dict-item]
        *(Asset(loan, 1.0, lt=0.7, betas={loan: 1.0}) for loan in loans),
        Asset("DEAD", None, betas={"DEAD": 1.0}),
        market=market,
    )


def in_own_unit(made: Book, quote: str, decimals: int) -> list[Row]:
    """The book as of a market whose unit has no known value in USD."""
    rows = [_without_usd(row, decimals) for row in made.rows() if not isinstance(row, Snapshot)]
    return with_slots([*rows, made.head(quote=quote, quote_usd=None, base_decimals=decimals)])


def _without_usd(row: Row, decimals: int) -> Row:
    if isinstance(row, Account):
        return msgspec.structs.replace(row, collateral_usd=None, debt_usd=None)
    if isinstance(row, Reserve):
        return msgspec.structs.replace(row, price_usd=None)
    if isinstance(row, Leg):
        worth = None if row.usd is None else round(row.usd * 10**decimals)
        return msgspec.structs.replace(row, usd=None, value=worth)
    return row


def as_morpho(made: Book) -> list[Row]:
    """The book as of Morpho Blue: each account is a position in a market of its own."""
    by_type: dict[type, list[Any]] = {kind: [] for kind in (Account, Factor, Leg, Reserve)}
    rest: list[Row] = []
    for row in made.rows():
        by_type.get(type(row), rest).append(row)
    decimals = {made.assets[name].address: n for name, n in LOAN_DECIMALS.items()}
    position = {a.account: f"0x{i:064x}" for i, a in enumerate(by_type[Account])}
    loan = {leg.account: decimals[leg.asset] for leg in by_type[Leg] if leg.side == "debt"}
    rows: list[Row] = []
    for leg in by_type[Leg]:
        own = position[leg.account]
        key = f"{leg.asset}:{own}"
        changed = msgspec.structs.replace(_without_usd(leg, loan[leg.account]), position=own)
        rows.append(msgspec.structs.replace(changed, asset=key))
        for reserve in by_type[Reserve]:
            if reserve.asset == leg.asset:
                places = decimals.get(leg.asset, 8)
                symbol = "USDX" if leg.asset in decimals else reserve.symbol
                named = {"asset": key, "symbol": symbol, "decimals": places, "price_usd": None}
                rows.append(msgspec.structs.replace(reserve, **named))
        rows += [
            msgspec.structs.replace(factor, asset=key)
            for factor in by_type[Factor]
            if factor.asset == leg.asset
        ]
    rows += [
        msgspec.structs.replace(_without_usd(a, 0), position=position[a.account])
        for a in by_type[Account]
    ]
    head = made.head(protocol="morpho-blue", quote="loan token", quote_usd=None, base_decimals=0)
    return with_slots([*(r for r in rest if not isinstance(r, Snapshot)), *rows, head])


class Held(msgspec.Struct, frozen=True):
    """An account that went in, and what it holds in units of its market at x times BTC's price."""

    group: tuple[str, str, str | None]
    btc: float
    btc_held: float
    btc_owed: float
    loan_held: float
    loan_owed: float

    def collateral(self, x: float) -> float:
        return self.btc_held * self.btc * x + self.loan_held

    def debt(self, x: float) -> float:
        return self.btc_owed * self.btc * x + self.loan_owed

    def is_liquidatable(self, x: float) -> bool:
        weighted = self.btc_held * self.btc * x * 0.8 + self.loan_held * 0.7
        return weighted < self.debt(x)

    def trigger(self, end: float) -> float | None:
        """Where it becomes liquidatable between the price now and `end`, by bisection."""
        if self.is_liquidatable(1.0):
            return 1.0
        if not self.is_liquidatable(end):
            return None
        calm, reached = 1.0, end
        for _ in range(200):
            x = (calm + reached) / 2
            calm, reached = (calm, x) if self.is_liquidatable(x) else (x, reached)
        return reached


def fill(made: Book, loan: str, group: tuple[str, str, str | None], seed: int) -> list[Held]:
    """Accounts that hold BTC and owe the loan, or the other way round."""
    rng = random.Random(seed)
    btc = made.assets["BTC"].price
    assert btc is not None
    held = []
    for i in range(24):
        amount, share = rng.uniform(0.01, 20), rng.uniform(0.3, 1.05)
        name = f"{loan}{i}"
        if i % 2:
            debt = amount * btc * 0.8 * share
            made.account(name, {"BTC": amount}, {loan: debt})
            held.append(Held(group, btc, amount, 0.0, 0.0, debt))
        else:
            owed = amount * 0.7 * share / btc
            made.account(name, {loan: amount}, {"BTC": owed})
            held.append(Held(group, btc, 0.0, owed, amount, 0.0))
    return held


@pytest.fixture
def accounts(store: Store) -> list[Held]:
    """Three markets without a price in USD, and one with; what went in of the three."""
    ether = book(IN_ETHER, btc=30.0, btc_price=None, loans=["WETH"])
    held = fill(ether, "WETH", (IN_ETHER, "ETH", None), 1)
    ether.account("gone", {"DEAD": 1}, {"WETH": 1})
    ether.account("idle", {"BTC": 1})
    store.append(in_own_unit(ether, "ETH", 18), source="aave-v2", target=IN_ETHER)

    # The unit is named by the address of a token of the market.
    bitcoin = book(IN_BITCOIN, btc=1.0, btc_price=81_000.0, loans=["LBTC"])
    address = bitcoin.assets["LBTC"].address
    held += fill(bitcoin, "LBTC", (IN_BITCOIN, "LBTC", address), 2)
    store.append(in_own_unit(bitcoin, address, 8), source="aave-v3", target=IN_BITCOIN)

    morpho = book(MORPHO, btc=64_000.0, btc_price=None, loans=[*LOAN_DECIMALS])
    for seed, loan in enumerate(LOAN_DECIMALS):
        address = morpho.assets[loan].address
        mixed = fill(morpho, loan, (MORPHO, "USDX", address), 10 + seed)
        held += [one_way for one_way in mixed if one_way.btc_held]
    # A position owes one loan token: none owes BTC here.
    borrowers = {leg.account for leg in morpho.legs if leg.side == "debt" and leg.asset
                 != morpho.assets["BTC"].address}  # fmt: skip
    morpho.accounts = [a for a in morpho.accounts if a.account in borrowers]
    morpho.legs = [leg for leg in morpho.legs if leg.account in borrowers]
    store.append(as_morpho(morpho), source="morpho-blue", target=MORPHO)

    priced = book(IN_USD, btc=90_000.0, btc_price=90_000.0, loans=["USD"])
    fill(priced, "USD", (IN_USD, "USD", None), 3)
    priced.store(store)
    return held


def by_group(
    rows: Iterable[dict[str, Any]],
) -> dict[tuple[str, str, str | None], list[dict[str, Any]]]:
    groups: dict[tuple[str, str, str | None], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["market"], row["unit"], row["asset"]), []).append(row)
    return groups


def require_bins(rows: Sequence[Mapping[str, Any]], held: Sequence[Held], end: float) -> None:
    """Each account of a group stands in the bin in which it becomes liquidatable, and no other."""
    near = 1.0
    sums = [0.0, 0.0, 0]
    for row in rows:
        far = 1.0 + row["move_share"] if row["move_share"] is not None else end
        hits = [
            (a, x)
            for a in held
            if (x := a.trigger(end)) is not None
            and (x == 1.0 if row["direction"] == "now" else min(near, far) <= x < max(near, far))
            and (row["direction"] == "now" or x != 1.0)
        ]
        collateral = sum(a.collateral(x) for a, x in hits)
        debt = sum(a.debt(x) for a, x in hits)
        assert (row["accounts"], row["collateral_at_risk"], row["debt_at_risk"]) == (
            len(hits),
            close(collateral),
            close(debt),
        )
        if row["direction"] != "now":
            sums = [sums[0] + collateral, sums[1] + debt, sums[2] + len(hits)]
            assert (row["cum_collateral_at_risk"], row["cum_debt_at_risk"]) == tuple(
                map(close, sums[:2])
            )
            assert row["cum_accounts"] == sums[2]
        near = far


# --- tests --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("direction", "end"), [("down", 1e-9), ("up", 1e9)])
def test_each_account_is_in_its_bin_in_the_unit_of_its_market(
    store: Store, accounts: list[Held], direction: str, end: float
) -> None:
    rows = ask(store, "own_unit_walls", factor="BTC", direction=direction)
    groups = by_group(rows)
    assert groups.keys() == {a.group for a in accounts if a.trigger(end) is not None}
    assert len(groups) == (4 if direction == "down" else 3)
    for group, own in groups.items():
        assert [own[0]["direction"], own[-1]["direction"]] == ["now", f"beyond {direction}"]
        require_bins(own, [a for a in accounts if a.group == group], end)
    assert sum(row["accounts"] for row in rows if row["direction"] == "now") > 0
    assert sum(row["accounts"] for row in rows if row["direction"] == direction) > 5


@pytest.mark.parametrize("step", [{}, {"step_abs": 750.0}, {"step_pct": 0.04}])
@pytest.mark.parametrize("factor", ["BTC", "MARKET"])
def test_bins_and_axis_are_those_of_walls(
    store: Store, accounts: list[Held], step: dict[str, float], factor: str
) -> None:
    if factor == "MARKET":
        step = {name: value / 10_000 if value > 1 else value for name, value in step.items()}
    values = {"factor": factor, "direction": "both", "range": 0.2, **step}
    walls = ask(store, "walls", split=True, **values)
    names = ("direction", "price_from", "price_to", "move_share", "axis_market", "axis_price")
    groups = by_group(ask(store, "own_unit_walls", **values))
    assert len({market for market, *_ in groups}) == 3
    for (market, *_), own in groups.items():
        edges = [tuple(row[name] for name in names) for row in walls if row["market"] == market]
        assert [tuple(row[name] for name in names) for row in own] == edges
    if factor == "BTC":  # where a market has no price of its own it is the highest
        prices = {market: own[0]["axis_price"] for (market, *_), own in groups.items()}
        assert prices == {IN_ETHER: 90_000, IN_BITCOIN: 81_000, MORPHO: 90_000}


@pytest.mark.parametrize("direction", ["down", "up"])
def test_without_a_price_of_the_factor_bins_are_of_x(store: Store, direction: str) -> None:
    made = book(IN_ETHER, btc=30.0, btc_price=None, loans=["WETH"])
    held = fill(made, "WETH", (IN_ETHER, "ETH", None), 5)
    store.append(in_own_unit(made, "ETH", 18), source="aave-v2", target=IN_ETHER)
    for step, first in (({}, 0.01), ({"step_pct": 0.025}, 0.025)):
        rows = ask(store, "own_unit_walls", factor="BTC", direction=direction, **step)
        prices = {(row["price_from"], row["price_to"], row["axis_price"]) for row in rows}
        assert prices == {(None, None, None)}
        assert abs(rows[1]["move_share"]) == close(first)
        require_bins(rows, held, 1e-9 if direction == "down" else 1e9)
    with query.open_catalog(store) as catalog:
        report = run.make(catalog, "own_unit_walls", {"p_factor": "BTC"})
        assert "no market has a price of BTC: bins are of x, its price over the price now" in (
            report.header
        )
        with pytest.raises(UsageError, match="no market has a price of BTC: give p_step_pct"):
            run.make(catalog, "own_unit_walls", {"p_factor": "BTC", "p_step_abs": 1000.0})
        with pytest.raises(UsageError, match="expected at most 999 bins"):
            run.make(catalog, "own_unit_walls", {"p_factor": "BTC", "p_step_pct": 1e-4})


def test_walls_in_usd_point_to_those_in_another_unit(store: Store, accounts: list[Held]) -> None:
    """They count none of these accounts, and say how many there are and what shows them."""
    for name in ("accounts", "collateral_at_risk_usd", "round_seizable_usd"):
        alone, together = (
            [row[name] for row in ask(store, "walls", factor="BTC", market=market)]
            for market in (IN_USD, "all")
        )
        assert together == [close(value) for value in alone]
    with query.open_catalog(store) as catalog:
        report = run.make(catalog, "walls", {"p_factor": "BTC"})
        in_usd = run.make(catalog, "walls", {"p_factor": "BTC", "p_market": IN_USD})
    unpriced = [r for r in report.meta["excluded_accounts"] if r["reason"] == "no price in USD"]
    assert {row["debt_usd"] for row in unpriced} == {None}
    assert sum(row["accounts"] for row in unpriced) == len(accounts)
    line = (
        f"{len(accounts)} accounts have no price in USD: `chainwatch walls BTC --own-unit` shows "
        "what is at risk in the unit of the market"
    )
    assert line in report.header
    stated = json.loads(render.text_of(report, Format.JSON))["own_unit_walls"]
    assert stated == {"accounts": len(accounts), "command": "chainwatch walls BTC --own-unit"}
    assert "own_unit_walls" not in in_usd.meta
    assert not any("--own-unit" in text for text in in_usd.header)


def test_own_unit_is_an_option_of_walls(store: Store, accounts: list[Held]) -> None:
    done = shell.run("walls", "BTC", "--own-unit", "--up", "20%", "--json", home=store.home)
    rows = json.loads(done.out)["rows"]
    asked_for = ask(store, "own_unit_walls", factor="BTC", direction="up", range=0.2)
    assert [(r["unit"], r["accounts"], close(r["debt_at_risk"])) for r in rows] == [
        (r["unit"], r["accounts"], r["debt_at_risk"]) for r in asked_for
    ]
    shown = shell.run("walls", "BTC", "--own-unit", "--market", IN_ETHER, home=store.home).out
    assert "they are in no sum of USD" in shown
    assert "ETH" in shown
