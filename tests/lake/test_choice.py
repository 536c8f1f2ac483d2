"""A query that stands on chosen snapshots opens their segments only, with the same figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chainwatch.errors import StoreError
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import connect
from chainwatch.lake.merge import Merger
from chainwatch.lake.segments import write_segment
from chainwatch.lake.store import Store
from chainwatch.tables.lending import Orphan
from chainwatch.tables.log import Load
from chainwatch.tables.registry import snapshot_tables
from tests.builders import FIRST_BLOCK_TIME
from tests.lake import snapshot_reads
from tests.lake.test_queries import OWN_VALUES, VALUES, book, filled_lake, in_order, owing, same

BLOCKS = (500, 600, 700)
AS_OF = FIRST_BLOCK_TIME + timedelta(seconds=12 * 650)


def merge(store: Store) -> None:
    with Merger(store, fanout=2, settle=0.0, grace=0.0) as merger:
        while merger.step("9999-01-01"):
            pass


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Several snapshots of each market, one of an abandoned block, some of merged loads."""
    store = filled_lake(tmp_path_factory.mktemp("choice") / "home")
    for block in BLOCKS:
        for market in ("m", "n"):
            made = book(market, block)
            for i in range(4):
                owing(made, str(i), 1.02 + i / 10 + block / 10_000)
            made.store(store)
            if (market, block) == ("m", BLOCKS[-1]):
                orphan = Orphan(snapshot=made.snapshot, market="m", detected_at=FIRST_BLOCK_TIME)
                store.append([orphan], source="m")
        if block == BLOCKS[0]:
            merge(store)
    return store


@pytest.fixture(scope="module")
def catalog(lake: Store) -> Iterator[Catalog]:
    with query.open_catalog(lake) as opened:
        yield opened


AGELESS = {"age_seconds": 0}  # it grows from one statement to the next
SCOPES: dict[str, dict[str, Any]] = {
    "newest": {"p_market": "all", "p_as_of": None},
    "earlier": {"p_market": "all", "p_as_of": AS_OF},
    "one market": {"p_market": "m", "p_as_of": None},
    "long before": {"p_market": "m, n", "p_as_of": FIRST_BLOCK_TIME},
}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", sorted(query.BY_CHOICE))
def test_fewer_segments_give_the_same_figures(name: str, scope: str, catalog: Catalog) -> None:
    definition = query.find(name)
    own: dict[str, Any] = VALUES | OWN_VALUES.get(name, {})
    values = {p.name: own[p.name] for p in definition.params if p.name in own} | SCOPES[scope]
    few = query.run(catalog, definition, values)
    everything = catalog.run(definition.body, query.bind(catalog, definition.params, values))
    assert few.columns == everything.columns
    # The engine knows how many rows there are, and may add in another order.
    rows = [[row | AGELESS for row in result.dicts()] for result in (few, everything)]
    same(*(sorted(part, key=in_order) for part in rows))


@pytest.mark.parametrize("name", sorted(query.BY_CHOICE))
def test_each_query_stands_on_its_choice(name: str) -> None:
    """By its text: every row of a snapshot that it reads is of those that are selected."""
    assert snapshot_reads.doubt(name) == ""


@pytest.mark.parametrize(
    ("text", "pending"),
    [
        ("FROM legs", {"legs"}),
        ("FROM snapshots_at() AS s JOIN legs AS l ON l.snapshot = s.snapshot", set()),
        ("FROM legs AS l JOIN chosen AS s USING (snapshot)", set()),
        ("FROM chosen AS s JOIN legs AS l ON l.account = s.account", {"l"}),
        ("FROM chosen AS s JOIN legs AS l ON l.snapshot = s.snapshot OR s.x", {"l"}),
        ("FROM legs AS l LEFT JOIN chosen AS s ON l.snapshot = s.snapshot", {"l"}),
        ("FROM chosen AS s LEFT JOIN legs AS l ON l.snapshot = s.snapshot AND l.x", set()),
        ("FROM chosen AS s FULL JOIN legs AS l ON l.snapshot = s.snapshot", {"l"}),
        ("FROM chosen AS s, legs AS l WHERE l.snapshot = s.snapshot", {"l"}),
        ("FROM verifications AS v JOIN legs AS l ON l.snapshot = v.snapshot", {"v", "l"}),
    ],
)
def test_a_read_without_the_choice_is_noticed(text: str, pending: set[str]) -> None:
    tree = snapshot_reads.parsed(f"SELECT 1 {text}")
    (node,) = [n for n in snapshot_reads.nodes(tree) if "from_table" in n]
    assert snapshot_reads.resolve(node["from_table"])[1] == pending


def test_a_query_of_two_snapshots_is_in_doubt() -> None:
    assert "is joined by no snapshot" in snapshot_reads.doubt("changes")


def test_segments_of_other_snapshots_are_not_opened(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create()
    for block in BLOCKS:
        made = book(block=block)
        owing(made, "a", 1.2)
        made.store(store)
    query.open_catalog(store).close()  # making its file opens them all
    for table in ("legs", "account_health", "reserves", "factors"):
        oldest, *_ = sorted((store.lake / table).glob("day=2*/*.parquet"))
        oldest.write_bytes(b"no segment at all")
    with query.open_catalog(store) as catalog:
        for name in ("walls", "health", "accounts", "triggers"):
            assert query.run(catalog, query.find(name)).rows
        with pytest.raises(StoreError, match="cannot be read"):
            catalog.run("SELECT count(*) FROM legs")
        with pytest.raises(StoreError, match="cannot be read"):
            query.run(catalog, query.find("health"), {"p_as_of": book(block=BLOCKS[0]).time})


def test_a_short_segment_of_the_snapshot_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create()
    for block in BLOCKS:
        made = book(block=block)
        owing(made, "a", 1.2)
        made.store(store)
    *_, newest = sorted((store.lake / "legs").glob("day=2*/*.parquet"))
    seed = next((store.lake / "legs").glob("day=1970*/*.parquet"))
    newest.write_bytes(seed.read_bytes())
    with query.open_catalog(store) as catalog:
        with pytest.raises(StoreError, match=f"{newest.name} holds 0 rows, but its load stored 2"):
            query.run(catalog, query.find("walls"))
        earlier = query.run(catalog, query.find("accounts"), {"p_as_of": book(block=600).time})
        assert len(earlier.rows) == 1


def test_a_load_lists_the_snapshots_of_its_rows(lake: Store) -> None:
    """A merged one, too, by its rows."""
    held: dict[str, set[str]] = {}
    with query.open_catalog(lake) as catalog:
        for table in snapshot_tables():
            lines = catalog.run(f"SELECT DISTINCT load, snapshot FROM {table}").rows
            for load, snapshot in lines:
                held.setdefault(load, set()).add(snapshot)
        listed = dict(catalog.run("SELECT load, snapshot_ids FROM loads").rows)
    assert {load: set(json.loads(ids)) for load, ids in listed.items() if ids != "[]"} == held
    assert any(load.merged and load.snapshot_ids != "[]" for load in lake.rows(Load))


def test_a_load_that_lists_no_snapshots_is_read_always(tmp_path: Path) -> None:
    """As those of earlier versions do: nothing of theirs may be missing."""
    store = Store(tmp_path)
    store.create()
    made = book(block=BLOCKS[0])
    owing(made, "a", 1.2)
    made.store(store)
    (path,) = (store.lake / "loads").glob("day=2*/*.parquet")
    (load,) = store.rows(Load)
    with connect() as engine:
        unlisted = msgspec.structs.replace(load, snapshot_ids=None)
        write_segment(engine, path, Load, [unlisted], path.stem)
    with query.open_catalog(store) as catalog:
        assert len(query.run(catalog, query.find("accounts")).rows) == 1


def test_after_a_failure_the_next_choice_is_opened(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create()
    for block in BLOCKS:
        made = book(block=block)
        owing(made, "a", 1.2)
        made.store(store)
    query.open_catalog(store).close()
    oldest, *_ = sorted((store.lake / "account_health").glob("day=2*/*.parquet"))
    stored = oldest.read_bytes()
    health = query.find("health")
    earliest = {"p_as_of": book(block=BLOCKS[0]).time}
    with query.open_catalog(store) as catalog:
        newest = query.run(catalog, health).rows
        oldest.write_bytes(b"no segment at all")
        for _ in range(2):
            with pytest.raises(StoreError, match="cannot be read"):
                query.run(catalog, health, earliest)
        assert query.run(catalog, health).rows == newest
        oldest.write_bytes(stored)
        (line,) = [row for row in query.run(catalog, health, earliest).dicts() if row["accounts"]]
        assert line["accounts"] == 1


def test_a_statement_in_a_parameter_reads_all(tmp_path: Path) -> None:
    """After a report, too, of which the tables were bound to its snapshots."""
    store = Store(tmp_path)
    store.create()
    for block in BLOCKS:
        made = book(block=block)
        owing(made, "a", 1.2)
        made.store(store)
    text = "SELECT count(DISTINCT snapshot) FROM legs"
    with query.open_catalog(store) as catalog:
        query.run(catalog, query.find("walls"))
        assert catalog.run("FROM query($text)", {"text": text}).rows == [(3,)]
        query.run(catalog, query.find("walls"))
        assert catalog.run(text).rows == [(3,)]
