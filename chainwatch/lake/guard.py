"""Catalogs that refuse to answer from tables of which segments are lost or not complete."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from chainwatch.errors import UsageError
from chainwatch.lake.catalog import Catalog, Choice
from chainwatch.lake.faults import refuse_read, refuse_storage
from chainwatch.lake.layout import Layout
from chainwatch.lake.receipts import Listing, Receipts
from chainwatch.lake.relations import bound_query
from chainwatch.lake.segments import one_line
from chainwatch.tables.registry import snapshot_tables, tables

if TYPE_CHECKING:
    import duckdb


def guarded_catalog(
    layout: Layout,
    receipts: Receipts,
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    definitions: Sequence[str],
    listing: Listing,
    *,
    folder: Path,
    copied: Collection[str] = (),
) -> Catalog:
    """A catalog over `connection` whose statements are refused where their tables are not whole.

    Its statements read the loads of `listing`: the tables that one names become views over the
    segments of these loads, in the place of those that list the files anew. Tables that were
    `copied` are checked at once, others when a statement reads them first. Errors of the disk name
    `folder`. Raises StoreError.
    """
    import duckdb

    tables_read = BoundTables(layout, receipts, connection, table_finder(definitions), listing)

    def refuse(failure: Exception) -> None:
        refuse_storage(layout, failure, folder)

    try:
        tables_read.require_whole(copied)
        tables_read.require_counts(place for name in copied for place in listing.expected(name))
    except duckdb.Error as failure:
        refuse_read(layout, failure, folder)
    tables_read.copied.update(copied)

    def require(text: str) -> None:
        try:
            tables_read.require_whole(tables_read.named(text))
        except duckdb.Error as failure:
            refuse(failure)
            raise UsageError(one_line(str(failure))) from None

    return Catalog(
        connection, path, refuse, require, tables_read.bind, tables_read.renew, tables_read.refresh
    )


class BoundTables:
    """The tables of one connection as views over the segments of one list of loads.

    `find_tables` says which of them a statement may read; tables in `copied` are left as they are.
    """

    def __init__(
        self,
        layout: Layout,
        receipts: Receipts,
        connection: duckdb.DuckDBPyConnection,
        find_tables: Callable[[str], set[str]],
        listing: Listing,
    ) -> None:
        self._layout = layout
        self._receipts = receipts
        self._connection = connection
        self._find_tables = find_tables
        self._listing = listing
        self._looked_for: set[str] = set()
        self._counted: set[str] = set()
        self._bound: dict[str, Sequence[str]] = {}
        self._opening: Sequence[str] = ()
        self._limited: set[str] = set()  # bound for a choice
        self._chosen: dict[Choice, frozenset[str]] = {}
        self.copied: set[str] = set()

    def named(self, text: str) -> set[str]:
        """The tables that a statement may read from the lake."""
        return self._find_tables(text) - self.copied

    def require_whole(self, names: Collection[str]) -> None:
        """Raise StoreError where a table has lost a segment; each is looked at once per listing."""
        new = set(names) - self._looked_for
        self._receipts.require_whole(self._listing, new)
        self._looked_for |= new

    def require_counts(self, places: Iterable[str]) -> None:
        """Raise StoreError where a segment has other rows than were stored; each is counted once
        per listing. Raises duckdb.Error, too."""
        new = set(places) - self._counted
        expected = {
            place: rows
            for place in sorted(new)
            if (rows := self._listing.expected(place.partition("/")[0]).get(place)) is not None
        }
        self._receipts.require_counts(self._connection, expected)
        self._counted |= new

    def bind(self, text: str, choice: Choice | frozenset[str] | None = None) -> None:
        """Make the views of the tables that a statement may read. Raises duckdb.Error, StoreError.

        With a `choice` those of what belongs to a snapshot are over the segments of these alone. A
        temporary view stands before the one of the same name in the catalog, in macros too. A
        statement that looks at what the catalog holds finds nothing else in it.
        """
        if _INSPECTS.search(text.lower()):
            self._unbind(list(self._bound))
            return
        names = self.named(text)
        # Whatever else a statement may read by words that do not stand in it, it reads all of it.
        self._unbind(self._limited - names)
        snapshots = None
        if choice is not None and names & snapshot_tables():
            snapshots = self._choose(choice) if isinstance(choice, Choice) else choice
        for name in sorted(names):
            row = tables()[name]
            places = self._listing.places(name, snapshots)
            if row.stated_by or self._bound.get(name) == places:
                continue
            self._opening = places
            self.require_counts(places)
            self._connection.execute(
                f"CREATE OR REPLACE TEMP VIEW {name} AS {bound_query(self._layout, row, places)}"
            )
            self._bound[name] = places
            if snapshots is None:
                self._limited.discard(name)
            else:
                self._limited.add(name)

    def _unbind(self, names: Iterable[str]) -> None:
        """Leave these tables to the views of the catalog."""
        for name in list(names):
            self._connection.execute(f"DROP VIEW IF EXISTS temp.{name}")
            self._bound.pop(name, None)
            self._limited.discard(name)

    def _choose(self, choice: Choice) -> frozenset[str]:
        """The ids of the snapshots, among all of the listing."""
        if choice not in self._chosen:
            self.bind(_CHOOSE)
            lines = self._connection.execute(_CHOOSE, msgspec.structs.asdict(choice)).fetchall()
            self._chosen[choice] = frozenset(snapshot for (snapshot,) in lines)
        return self._chosen[choice]

    def renew(self) -> bool:
        """List the loads and their segments anew where one is gone; False where all are there.

        Raises StoreError where a segment of a table that was read is lost.
        """
        lake = self._layout.lake
        opened = [*self._bound.values(), self._opening]
        if all((lake / place).exists() for places in opened for place in places):
            return False
        self.refresh()
        return True

    def refresh(self) -> None:
        """List the loads and their segments anew; see `renew`."""
        self._opening = ()
        self._listing = self._receipts.listing()
        names, self._looked_for = self._looked_for, set()
        self._counted.clear()
        self._unbind(list(self._bound))
        self._chosen.clear()
        self.require_whole(names - self.copied)


# Of snapshots of one block and time any may be selected: all of them are.
_CHOOSE = """
SELECT DISTINCT s.snapshot
FROM snapshots_at(p_market := $p_market, p_as_of := $p_as_of) AS c
JOIN snapshots AS s ON s.market = c.market AND s.block_number = c.block_number
  AND s.block_time IS NOT DISTINCT FROM c.block_time AND s.read_at IS NOT DISTINCT FROM c.read_at
"""
# A statement with one of these words looks at the catalog itself.
_INSPECTS = re.compile(r"\b(?:duckdb_\w+|information_schema|pg_\w+|sqlite_\w+|pragma_\w+|show)\b")
# What may be a call of a macro: of the signs before its bracket, those that begin a comment too.
_CALL = r"""(?="?[^\w,;=<>+*.)'\[\]]*(?:\(|/\*|--))"""
_CALLED = re.compile(rf"(\w+){_CALL}")
# These run text that need not stand there word by word, except where it is bound to a parameter.
_RUNS_TEXT = re.compile(
    rf"\b(?:query|query_table|json_execute_serialized_sql)\b{_CALL}(?!\s*\(\s*\$)"
)


def table_finder(definitions: Sequence[str]) -> Callable[[str], set[str]]:
    """A function: the tables that a statement may read, by itself or by macros that it calls.

    Every word counts, in comments and in quotes, too: a table too many costs little, one that is
    missing makes a wrong figure.
    """
    # A query is two macros of one name, of which the published one only binds its arguments.
    bodies: dict[str, str] = {}
    for definition in definitions:
        if match := re.match(r"CREATE MACRO (?:\w+\.)?(\w+)\(", definition):
            name = match[1].lower()
            bodies[name] = bodies.get(name, "") + definition[match.end() :]

    def named_in(text: str) -> tuple[set[str], set[str]]:
        """The tables and the macros that a text names."""
        low = text.lower()
        if _RUNS_TEXT.search(low):
            return set(tables()), set()
        return set(re.findall(r"\w+", low)) & tables().keys(), {
            name for name in _CALLED.findall(low) if name in bodies
        }

    named_in_macro = cache(lambda name: named_in(bodies[name]))

    def find_tables(text: str) -> set[str]:
        names, todo = named_in(text)
        done: set[str] = set()
        while todo:
            macro = todo.pop()
            done.add(macro)
            inner, called = named_in_macro(macro)
            names |= inner
            todo |= called - done
        return names

    return find_tables
