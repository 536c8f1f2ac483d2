"""Marts of all factors in one statement over the slots that each reads: no figure is another."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest

from chainwatch.errors import UsageError
from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.lending.slots import with_slots
from chainwatch.nightly.export import day_catalog
from chainwatch.nightly.marts import fill, load_marts, parameters_of
from chainwatch.tables.lending import AccountSlots, Leg, Snapshot
from tests.amounts import sample_size
from tests.builders import Asset, Book, ask, depth
from tests.reports.test_slots import differences, world

AT_ONCE = [mart for mart in load_marts() if mart.order]


@pytest.mark.sampled
def test_one_statement_gives_what_a_statement_for_each_value_gives(
    empty_lake: Store, tmp_path: Path
) -> None:
    """Random markets: accounts that no slot holds, that are due now, blocked or without value."""
    for number in range(sample_size(quick=4, full=40, torture=200)):
        name = f"w{number}"
        empty_lake.append(with_slots(world(20_261_201, name)), source="aave-v3", target=name)
    day = empty_lake.rows(Snapshot)[0].block_time.astimezone(UTC).date()
    limits = parameters_of(day)
    assert {mart.name for mart in AT_ONCE} == {"walls", "excluded_accounts"}
    with (
        query.open_catalog(empty_lake) as catalog,
        day_catalog(empty_lake, day, tmp_path / "work.duckdb") as day_of,
    ):
        for mart in AT_ONCE:
            assert mart.run_for is not None
            fill(day_of, mart, "at_once", limits, None)
            ours = day_of.run("FROM at_once").dicts()
            name, values = mart.run_for
            as_of = {"p_as_of": limits["p_as_of"]}
            theirs = [
                row
                for (value,) in catalog.run(values, as_of).rows
                for row in query.run(catalog, mart.query, as_of | {name: value}).dicts()
            ]
            assert len(ours) == len(theirs) > 5
            assert [(r["factor"], r["market"]) for r in ours] == [
                (r["factor"], r["market"]) for r in theirs
            ]
            for factor in {row["factor"] for row in ours}:
                pair = [[r for r in rows if r["factor"] == factor] for rows in (ours, theirs)]
                assert list(differences(*pair)) == [], (mart.name, factor)


def test_a_factor_reads_the_slots_that_it_matters_to(empty_lake: Store, tmp_path: Path) -> None:
    """Those of others only where they may be liquidatable now; of legs those that no slot holds."""
    empty_lake.append(with_slots(world(7, "one")), source="aave-v3", target="one")
    day = empty_lake.rows(Snapshot)[0].block_time.astimezone(UTC).date()
    stored = len(empty_lake.rows(AccountSlots))
    assert any(leg.in_slots for leg in empty_lake.rows(Leg))
    with day_catalog(empty_lake, day, tmp_path / "work.duckdb") as catalog:
        ((few,),) = catalog.run("SELECT count(*) FROM unbound.factor_slots('EUR')").rows
        ((due,),) = catalog.run("SELECT count(*) FROM grouped_slots WHERE term_set = 0").rows
        ((all_slots,),) = catalog.run("SELECT count(*) FROM grouped_slots").rows
        assert 0 < due < few < all_slots == stored
        assert catalog.run("SELECT count(*) FROM legs WHERE in_slots").rows == [(0,)]
        ours = {row[0] for row in catalog.run("FROM triggers(p_factor := 'EUR')").rows}
        assert ours <= {"one"}


def test_the_largest_break_levels_and_what_is_in_no_row(empty_lake: Store) -> None:
    """Of twelve groups four have rows; they and what the mart says of the others are all."""
    made = Book(
        Asset("BTC", 90_000.0, lt=0.8, betas={"BTC": 1.0}),
        Asset("USD", 1.0, lt=0.75, betas={"USD": 1.0}),
    )
    for n in range(12):
        size = (n * 7) % 12 + 1.0
        made.account(f"{n}", {"BTC": size}, {"USD": size * 90_000.0 * 0.8 * (0.97 - 0.05 * n)})
    made.store(empty_lake)
    empty_lake.append(depth([(0.01, 1e6), (0.1, 1e7)]), source="books")
    every = ask(empty_lake, "mart_break_levels", factor="BTC", top=None)
    assert len(every) >= 12
    assert {(r["unlisted_groups"], r["unlisted_usd"]) for r in every} == {(0, 0.0)}
    few = ask(empty_lake, "mart_break_levels", factor="BTC", top=4)
    kept = sorted(every, key=lambda r: r["usd"])[-4:]
    assert [r["break_price"] for r in few] == sorted((r["break_price"] for r in kept), reverse=True)
    assert {r["unlisted_groups"] for r in few} == {len(every) - 4}
    total = sum(r["usd"] for r in every)
    assert few[0]["unlisted_usd"] + sum(r["usd"] for r in few) == pytest.approx(total, rel=1e-12)
    assert {r["break_price"]: r["cum_usd"] for r in few}.items() <= {
        r["break_price"]: r["cum_usd"] for r in every
    }.items()


@pytest.mark.parametrize("damaged", [False, True])
def test_a_days_catalog_is_a_copy_of_the_lakes(
    empty_lake: Store, tmp_path: Path, damaged: bool
) -> None:
    """Where that cannot be used it is made anew."""
    with query.open_catalog(empty_lake) as catalog:
        state = catalog.run("FROM catalog_state").rows
    if damaged:
        empty_lake.layout.catalog.write_bytes(b"no database\n" * 1_000)
    with empty_lake.frozen(query.definitions(), tmp_path / "work.duckdb", complete=[]) as copy:
        assert copy.run("SELECT count(*) FROM snapshots_at()").rows == [(0,)]
        if damaged:
            with pytest.raises(UsageError, match="catalog_state"):
                copy.run("FROM catalog_state")
        else:
            assert copy.run("FROM catalog_state").rows == state
