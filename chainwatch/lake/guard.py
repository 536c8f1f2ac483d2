"""Catalogs that refuse to answer from tables of which segments are lost or not complete."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from chainwatch.errors import UsageError
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.faults import refuse_read, refuse_storage
from chainwatch.lake.layout import Layout
from chainwatch.lake.receipts import Receipts
from chainwatch.lake.segments import one_line
from chainwatch.tables.registry import tables

if TYPE_CHECKING:
    import duckdb


def guarded_catalog(
    layout: Layout,
    receipts: Receipts,
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    definitions: Sequence[str],
    *,
    folder: Path,
    copied: Collection[str] = (),
) -> Catalog:
    """A catalog over `connection` whose statements are refused where their tables are not whole.

    Tables that were `copied` are checked at once, others when a statement reads them first.
    Errors of the disk name `folder`. Raises StoreError.
    """
    import duckdb

    find_tables = table_finder(definitions)
    counted = set(copied)
    try:
        expected = receipts.expected_rows(connection)
        lost = receipts.lost_segments(connection, expected)
        receipts.require_present(lost, copied)
        receipts.require_counts(connection, expected, copied)
    except duckdb.Error as failure:
        refuse_read(layout, failure, folder)

    def refuse(failure: Exception) -> None:
        refuse_storage(layout, failure, folder)

    def require(text: str) -> None:
        names = find_tables(text)
        receipts.require_present(lost, names)
        try:
            receipts.require_counts(connection, expected, names - counted)
        except duckdb.Error as failure:
            refuse(failure)
            raise UsageError(one_line(str(failure))) from None
        counted.update(names)

    return Catalog(connection, path, refuse, require)


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
