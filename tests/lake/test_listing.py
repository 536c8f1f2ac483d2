"""One list of loads: fixed when a catalog is opened, and made anew where files of it are gone."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.layout import CATALOG_NAME
from chainwatch.lake.store import Store
from chainwatch.tables.lending import Snapshot
from chainwatch.tables.log import Load, Reject
from tests.lake.test_merging import reject, snapshot
from tests.lake.test_queries import OWN_VALUES, VALUES, filled_lake, in_order, same
from tests.places import ROOT


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.create()
    return store


COUNTS = (
    "SELECT (SELECT count(*) FROM loads), (SELECT count(*) FROM snapshots), "
    "(SELECT count(*) FROM rejects)"
)


def test_a_load_stored_later_is_unseen_in_all_tables(store: Store) -> None:
    store.append([snapshot(0), reject(0)], source="s")
    with query.open_catalog(store) as catalog:
        assert catalog.run("SELECT count(*) FROM snapshots").rows == [(1,)]
        store.append([snapshot(1), reject(1)], source="s")
        # Of these tables the first was read before, and the others were not.
        assert catalog.run(COUNTS).rows == [(1, 1, 1)]
    with query.open_catalog(store) as catalog:
        assert catalog.run(COUNTS).rows == [(2, 2, 2)]


MERGER = """
import sys
from pathlib import Path
from chainwatch.lake.merge import Merger
from chainwatch.lake.store import Store
with Merger(Store(Path(sys.argv[1])), fanout=2, settle=0.0, grace=0.0) as merger:
    while merger.step("9999-01-01"):
        pass
"""


def merge_in_another_process(store: Store) -> None:
    command = [sys.executable, "-c", MERGER, str(store.home)]
    subprocess.run(command, check=True, cwd=ROOT, timeout=60)


@pytest.mark.parametrize("read_before", [True, False])
def test_files_that_another_process_merges_are_listed_anew(store: Store, read_before: bool) -> None:
    for n in range(4):
        store.append([snapshot(n), reject(n)], source="s")
    with query.open_catalog(store) as catalog:
        if read_before:
            assert catalog.run(COUNTS).rows == [(4, 4, 4)]
        merge_in_another_process(store)
        assert len(list((store.lake / "snapshots").glob("day=2*/*.parquet"))) == 1
        assert catalog.run(COUNTS).rows == [(1, 4, 4)]
        assert catalog.run("SELECT count(*) FROM rejects").rows == [(4,)]
    assert len(store.rows(Snapshot)) == len(store.rows(Reject)) == 4
    assert len(store.rows(Load)) == 1


def test_a_statement_about_the_catalog_sees_each_view_once(store: Store) -> None:
    """With its comment, whatever was read before."""
    views = "SELECT view_name, comment FROM duckdb_views() WHERE view_name = 'snapshots'"
    with query.open_catalog(store) as catalog:
        catalog.run("FROM snapshots")
        assert catalog.run(views).rows == [("snapshots", (Snapshot.__doc__ or "").strip())]
        names = [row[0] for row in catalog.run("SHOW TABLES").rows]
        assert len(names) == len(set(names))


def test_a_macro_reads_the_list_and_not_the_folder(store: Store) -> None:
    """Macros name tables with their schema; the views over the list stand before that, too."""
    store.append([snapshot(0)], source="s")
    with query.open_catalog(store) as catalog:
        store.append([snapshot(1)], source="s")
        texts = ("FROM snapshots_at()", "FROM unbound.snapshots_at()", "FROM main.snapshots")
        assert [len(catalog.run(text).rows) for text in texts] == [1, 1, 1]
        assert catalog.run("SELECT max(block_number) FROM snapshots_at()").rows == [(0,)]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return filled_lake(tmp_path_factory.mktemp("filled") / "home")


@pytest.fixture(scope="module")
def catalog(lake: Store) -> Iterator[Catalog]:
    with query.open_catalog(lake) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(lake: Store, catalog: Catalog) -> Iterator[duckdb.DuckDBPyConnection]:
    """A client whose views list the files themselves."""
    with duckdb.connect(str(lake.home / CATALOG_NAME), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET threads = 1")
        yield connection


@pytest.mark.parametrize("defaults", [True, False])
@pytest.mark.parametrize("name", query.load_all())
def test_listed_files_have_the_rows_of_the_folder(
    name: str, defaults: bool, catalog: Catalog, client: duckdb.DuckDBPyConnection
) -> None:
    """Each query has the same rows over listed files and over the folder's; the engine knows more
    of listed files and may add in another order, so that the last bits of sums differ."""
    definition = query.find(name)
    own: dict[str, Any] = VALUES | OWN_VALUES.get(name, {})
    values = {} if defaults else {p.name: own[p.name] for p in definition.params if p.name in own}
    result = query.run(catalog, definition, values)
    bound = query.bind(catalog, definition.params, values)
    rows = client.execute(definition.body, bound or None).fetchall()
    if re.search(r"\bnow\(\)|\bage_seconds\b", definition.text):  # ages differ
        return
    # Where nothing orders them, rows stand in any order.
    theirs = [dict(zip(result.columns, row, strict=True)) for row in rows]
    same(sorted(result.dicts(), key=in_order), sorted(theirs, key=in_order))
