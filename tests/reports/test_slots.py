"""Slots: an account's balances side by side in one row give what its legs give."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.portable import CLUSTER_SQL
from chainwatch.lake.query import Query
from chainwatch.lake.store import Store
from chainwatch.lending.close_rules import HALF, POSITION_HALF, RESERVE_HALF, CloseRule
from chainwatch.lending.slots import COLLATERAL_SLOTS, DEBT_SLOTS, with_slots
from chainwatch.tables.base import Row
from chainwatch.tables.lending import Account, AccountSlots, Leg, SlotTerm, Snapshot
from tests.amounts import sample_size
from tests.builders import Asset, Book, ask

# The same questions in SQL that reads every leg: what clusters run, and what stands on it.
FROM_LEGS = Path(__file__).parent
MACROS = ("triggers", "forced_sales")
RULES = (
    HALF,
    RESERVE_HALF,
    POSITION_HALF,
    CloseRule(min_leftover_usd=1_000.0, target_hf=1.05, close_basis="reserve"),
    CloseRule(),
    CloseRule(absorbs=True),
)
ASSETS = (
    Asset("BTC", 90_000.0, lt=0.78, bonus=0.05, betas={"BTC": 1.0}),
    Asset("ETH", 3_000.0, lt=0.83, bonus=0.06, betas={"ETH": 1.0}),
    Asset("LST", 3_500.0, lt=0.8, bonus=0.07, betas={"ETH": 1.0, "LST/ETH": 1.0}, cap_x=1.05,
          factor_price={"ETH": 3_000.0, "LST/ETH": 1.1666}),
    Asset("LEV", 10.0, lt=0.5, bonus=0.1, betas={"ETH": 2.0}, factor_price=3_000.0),
    Asset("INV", 2.0, lt=0.6, betas={"ETH": -1.0}, kind="inverse", factor_price=3_000.0),
    Asset("HALF", 40.0, lt=0.7, betas={"BTC": 0.5}, factor_price=90_000.0),
    Asset("PAUSED", 5.0, lt=0.75, betas={"ETH": 1.0}, factor_price=3_000.0, blocked="paused"),
    Asset("USD", 1.0, lt=0.8, betas={"USD": 1.0}),
    Asset("EUR", 1.1, lt=0.8, betas={"EUR": 1.0}),
    Asset("LOST", None, lt=0.7, betas={"LOST": 1.0}),
)  # fmt: skip


def world(seed: int, market: str) -> list[Row]:
    """The rows of a random market without slots: accounts of one to nine balances, most priced."""
    luck = random.Random(f"{seed} {market}")
    book = Book(
        *(replace(a, blocked=None) if luck.random() < 0.5 else a for a in ASSETS),
        market=market,
        truncates_lt=luck.random() < 0.4,
        close_rule=luck.choice(RULES),
        slots=False,
    )
    names = [a.symbol for a in ASSETS]
    weights = [5, 5, 3, 2, 1, 2, 2, 5, 3, 0.3]

    def balances(most: int) -> dict[str, float]:
        symbols = {luck.choices(names, weights)[0] for _ in range(luck.randint(1, most))}
        return {
            s: 10 ** luck.uniform(-6, 5) / (book.assets[s].price or 1.0) for s in sorted(symbols)
        }

    for number in range(luck.randint(5, 40)):
        held = balances(luck.choice((1, 2, 3, 9)))
        owed = balances(luck.choice((1, 1, 2, 4))) if luck.random() < 0.9 else {}
        power = sum(n * (book.assets[s].price or 0.0) * book.assets[s].lt for s, n in held.items())
        debt = sum(n * (book.assets[s].price or 0.0) for s, n in owed.items())
        scale = power / debt / luck.choice((0.9, 0.97, 1.0001, 1.1, 1.3, 2.0)) if debt else 1.0
        book.account(f"a{number}", held, {s: n * scale for s, n in owed.items()})
    in_usd = luck.random() < 0.8
    rows: list[Row] = []
    for row in book.rows():
        if isinstance(row, Leg) and luck.random() < 0.1:
            row = msgspec.structs.replace(row, category_priced=True)
        if isinstance(row, Account) and row.hf is not None and row.hf < 1 and luck.random() < 0.3:
            row = msgspec.structs.replace(row, liquidatable=True, blocked_reason="in grace period")
        if not in_usd:
            row = in_own_unit(row)
        rows.append(row)
    return rows


def in_own_unit(row: Row) -> Row:
    """The row where the market's unit has no price in USD."""
    if isinstance(row, Leg):
        return msgspec.structs.replace(row, usd=None)
    if isinstance(row, Account):
        return msgspec.structs.replace(row, collateral_usd=None, debt_usd=None)
    if isinstance(row, Snapshot):
        return msgspec.structs.replace(row, quote="XYZ", quote_usd=None)
    return row


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def plain(name: str) -> Query:
    """A query that reads legs, under a name of its own."""
    if name == "triggers":
        shipped = query.read(CLUSTER_SQL / "triggers.sql")
    elif name == "walls":  # it reads legs by the macros alone
        shipped = query.find("walls")
    else:
        shipped = query.read(FROM_LEGS / f"{name}_from_legs.sql")
    text = re.sub(rf"\b({'|'.join(MACROS)})\(", r"\1_from_legs(", shipped.text)
    return msgspec.structs.replace(shipped, name=f"{name}_from_legs", text=text)


def by_legs(catalog: Catalog, name: str, values: Mapping[str, object]) -> list[dict[str, Any]]:
    """What the plain SQL of a query returns."""
    wanted = plain(name)
    bound = query.bind(catalog, wanted.params, values)
    return catalog.run(wanted.body, bound).dicts()


def with_macros(catalog: Catalog) -> Catalog:
    """The catalog with the plain SQL as macros."""
    for definition in map(plain, MACROS):
        heads = ", ".join(f"{p.name} := CAST({p.default} AS {p.type})" for p in definition.params)
        body = re.sub(r"\$(p_\w+)", r"\1", definition.body)
        catalog.run(f"CREATE TEMP MACRO {definition.name}({heads}) AS TABLE\n{body}")
    return catalog


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("market", "account", "position", "step", "direction", "price_to", "price_from")
    return tuple(str(row.get(name)) for name in names)


def differences(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> Iterator[Any]:
    """What differs by more than 1e-9 of the figure, or of 1 where it is smaller."""
    ours, theirs = sorted(ours, key=key), sorted(theirs, key=key)
    if [key(row) for row in ours] != [key(row) for row in theirs]:
        yield [row for row in map(key, ours) if row not in map(key, theirs)][:3]
        yield [row for row in map(key, theirs) if row not in map(key, ours)][:3]
        return
    for row, other in zip(ours, theirs, strict=True):
        for name, figure in row.items():
            expected = other[name]
            if isinstance(figure, float) and isinstance(expected, float):
                if abs(figure - expected) > 1e-9 * max(1.0, abs(expected)):
                    yield key(row), name, figure, expected
            elif figure != expected:
                yield key(row), name, figure, expected


QUESTIONS: tuple[tuple[str, dict[str, object]], ...] = (
    ("triggers", {"p_factor": "ETH"}),
    ("triggers", {"p_factor": "MARKET", "p_betas": "eth=1.3"}),
    ("forced_sales", {"p_factor": "ETH", "p_direction": "both"}),
    ("walls", {"p_factor": "BTC", "p_direction": "both", "p_split": True, "p_step_pct": 0.02}),
    ("walls", {"p_factor": "ETH"}),
    ("accounts", {"p_limit": 100_000}),
)


@pytest.mark.sampled
def test_they_give_what_legs_give(store: Store) -> None:
    """Random markets of all close rules, with balances that fit into slots and that do not."""
    worlds = sample_size(quick=8, full=200, torture=1_000)
    store.create()
    for number in range(worlds):
        name = f"w{number}"
        store.append(with_slots(world(20_261_130, name)), source="aave-v3", target=name)
    assert 0 < len(store.rows(AccountSlots)) < len(store.rows(Account))
    with query.open_catalog(store) as opened:
        catalog = with_macros(opened)
        for name, values in QUESTIONS:
            ours = query.run(catalog, query.find(name), values).dicts()
            assert len(ours) > 30
            assert list(differences(ours, by_legs(catalog, name, values))) == [], (name, values)


def test_a_snapshot_without_slots_gives_the_same(tmp_path: Path) -> None:
    """As an older version of the program stored it."""
    rows = world(7, "m")
    newer, older = Store(tmp_path / "newer"), Store(tmp_path / "older")
    for store, stored in ((newer, with_slots(rows)), (older, rows)):
        store.create()
        store.append(stored, source="aave-v3", target="m")
    assert len(newer.rows(AccountSlots)) > len(older.rows(AccountSlots)) == 0
    for name, values in QUESTIONS:
        given = {k.removeprefix("p_"): v for k, v in values.items()}
        assert list(differences(ask(older, name, **given), ask(newer, name, **given))) == []


def test_what_does_not_fit_stays_in_legs(store: Store) -> None:
    """Five collaterals, three debts, a balance without a worth."""
    symbols = ["BTC", "ETH", "LST", "LEV", "HALF", "USD", "EUR", "LOST"]
    book = Book(*(a for a in ASSETS if a.symbol in symbols))
    fits = book.account(
        "fits",
        dict.fromkeys(symbols[:COLLATERAL_SLOTS], 1.0),
        dict.fromkeys(symbols[4 : 4 + DEBT_SLOTS], 1.0),
    )
    rest = {
        book.account("c", dict.fromkeys(symbols[: COLLATERAL_SLOTS + 1], 1.0), {"EUR": 1.0}),
        book.account("d", {"BTC": 1.0}, dict.fromkeys(symbols[3 : 4 + DEBT_SLOTS], 1.0)),
        book.account("unpriced", {"BTC": 1.0, "LOST": 1.0}, {"USD": 1.0}),
    }
    nothing = book.account("nothing")
    book.store(store)
    (row,) = store.rows(AccountSlots)
    assert row.account == fits
    terms = {term.term_id: term for term in store.rows(SlotTerm)}
    worths = [
        row.collateral1_worth,
        row.collateral2_worth,
        row.collateral3_worth,
        row.collateral4_worth,
    ]
    assert worths == [90_000.0, 3_500.0, 3_000.0, 10.0]
    assert [
        terms[n].asset for n in (row.collateral1_term_id, row.debt1_term_id, row.debt2_term_id)
    ] == [book.assets[s].address for s in ("BTC", "HALF", "USD")]
    assert {a.account for a in store.rows(Account) if a.in_slots is None} == rest
    assert {leg.account for leg in store.rows(Leg) if leg.in_slots is None} == rest
    assert {a.account for a in store.rows(Account) if a.in_slots} == {fits, nothing}
    assert {t["account"] for t in ask(store, "triggers")} == {fits, *rest}


def test_a_price_that_is_not_linear_leaves_the_figures_of_now(store: Store) -> None:
    """Its accounts have no trigger, but their health factor and sums are known."""
    book = Book(*(a for a in ASSETS if a.symbol in ("INV", "USD")))
    account = book.account("a", {"INV": 1_000.0}, {"USD": 600.0})
    book.store(store)
    (row,) = ask(store, "triggers", factor="ETH")
    assert (row["account"], row["direction"], row["x"]) == (account, "n/a", None)
    assert (row["collateral_usd"], row["debt_usd"], row["hf"]) == (2_000.0, 600.0, 2.0)
