"""Output columns: each query's header describes all that it returns, in units of a fixed list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.store import Store
from chainwatch.units import CONVENTION, UNITS, derive, kind_of

BODY = "SELECT market, accounts FROM snapshots_at()\n"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    store = Store(tmp_path_factory.mktemp("lake"))
    store.create()
    with query.open_catalog(store) as opened:
        yield opened


@pytest.mark.parametrize("name", query.load_all())
def test_a_header_describes_what_its_query_returns(name: str, catalog: Catalog) -> None:
    """Each column in its order; its type can hold its unit, and the unit is that of the
    convention where that knows the name."""
    definition = query.find(name)
    shape = [(row[0], row[1]) for row in catalog.run(f"DESCRIBE FROM {name}()").rows]
    query.require_described(definition, shape)
    for column, (_, sql_type) in zip(definition.columns, shape, strict=True):
        assert kind_of(sql_type) in column.unit.kinds, (column.name, sql_type, column.unit.name)
        if any(
            fnmatchcase(column.name, pattern)
            for names, unit in CONVENTION
            for pattern in names.split()
            if kind_of(sql_type) in UNITS[unit].kinds
        ):
            assert column.unit == derive(column.name, sql_type), column.name


def test_a_meaning_is_one_short_line() -> None:
    for definition in query.load_all().values():
        for column in definition.columns:
            assert 2 < len(column.meaning) <= 160, (definition.name, column)
            assert column.meaning == column.meaning.strip().rstrip("."), (definition.name, column)


# --- what a header may say ----------------------------------------------------------------------


def written(folder: Path, *lines: str, body: str = BODY) -> query.Query:
    path = folder / "mine.sql"
    head = "-- name: mine\n-- title: Mine\n"
    path.write_text(head + "".join(f"-- {line}\n" for line in lines) + body, "utf-8")
    return query.read(path)


def test_a_described_column_has_name_unit_and_meaning(tmp_path: Path) -> None:
    (column,) = written(tmp_path, "column: accounts count accounts with a balance").columns
    assert (column.name, column.unit, column.meaning) == (
        "accounts",
        UNITS["count"],
        "accounts with a balance",
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("column: accounts", "expected `-- column: name unit meaning`, got 'accounts'"),
        ("column: accounts count", "expected `-- column: name unit meaning`"),
        ("column: accounts cuont how many", "unit of accounts, got 'cuont'; did you mean count"),
        ("columns of: ", "or a table that is read here, got ''"),
        ("columns of: snapshots", "or a table that is read here, got 'snapshots'"),
        ("columns of: snapshots_at", "or a table that is read here, got 'snapshots_at'"),
        ("columns of: walls()", "or a table that is read here, got 'walls()'"),
    ],
)
def test_a_wrong_line_is_refused_with_its_place(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(ValueError, match=rf"mine\.sql line 3: .*{re.escape(words)}"):
        written(tmp_path, line)


def test_columns_of_another_keep_its_meaning(tmp_path: Path) -> None:
    """All of them or those named, of a table in the units of the naming convention."""
    mine = written(
        tmp_path,
        "columns of: snapshots market",
        "column: accounts count accounts",
        body="SELECT market, accounts FROM snapshots",
    )
    market, accounts = mine.columns
    assert (market.name, market.unit) == ("market", UNITS["text"])
    assert (accounts.name, accounts.meaning) == ("accounts", "accounts")
    every = written(tmp_path, "columns of: emodes", body="FROM emodes").columns
    assert [column.name for column in every][-2:] == ["collateral_bitmap", "collateral_bitmap_text"]
    wrong = written(tmp_path, "columns of: emodes market prize", body="FROM emodes")
    with pytest.raises(ValueError, match=r"mine\.sql line 3: expected columns of emodes .*prize$"):
        _ = wrong.columns


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["market text its name"], "add `-- column: accounts count …`"),
        (["market text its name", "accounts count all", "block block of it"], "take out block"),
        (["accounts count all", "market text its name"], "describe each once, in their order"),
        ([], "got nothing; add `-- column: market text …`, `-- column: accounts count …`"),
    ],
)
def test_a_column_that_is_not_described_is_named(
    lines: list[str], words: str, tmp_path: Path, catalog: Catalog
) -> None:
    mine = written(tmp_path, *(f"column: {line}" for line in lines))
    result = query.run(catalog, mine)
    with pytest.raises(ValueError, match=re.escape(words)):
        query.require_described(mine, list(zip(result.columns, result.types, strict=True)))


# --- the naming convention ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sql_type", "unit"),
    [
        ("debt_usd", "DOUBLE", "usd"),
        ("price_usd", "DOUBLE", "price"),
        ("at_least_long_usd", "DOUBLE", "usd-at-least"),
        ("covered_share", "DOUBLE", "coverage"),
        ("top1_share", "DOUBLE", "share"),
        ("age_seconds", "BIGINT", "seconds"),
        ("chain_id", "BIGINT", "code"),
        ("unpriced", "BIGINT", "count"),
        ("hf_wad", "DECIMAL(38,0)", "raw"),
        ("raw", "DECIMAL(38,0)", "raw"),
        ("z", "DOUBLE", "figure"),
        ("n", "HUGEINT", "count"),
        ("before_block", "BIGINT", "block"),
        ("block_time", "TIMESTAMP WITH TIME ZONE", "time"),
        ("debt_usd", "VARCHAR", "text"),
        ("debt_asset", "VARCHAR", "address"),
        ("tx_hash", "VARCHAR", "id"),
        ("assets", "VARCHAR[]", "list"),
        ("flag", "BOOLEAN", "flag"),
        ("day", "DATE", "date"),
        ("span", "INTERVAL", "text"),
    ],
)
def test_a_column_has_the_unit_of_its_name(name: str, sql_type: str, unit: str) -> None:
    assert derive(name, sql_type).name == unit
