"""Which queries read rows of chosen snapshots only, derived from the engine's own syntax trees.

A query *stands on one choice* where every column `snapshot` in it holds ids that `snapshots_at`
returned for the query's own p_market and p_as_of, and every row of a table with such a column is
joined by it. By induction over a FROM clause: a macro that stands on the choice and is called with
`p_market := $p_market, p_as_of := $p_as_of`, a CTE and a subquery are *anchored*; a table with a
column `snapshot` is anchored by a join that demands `a.snapshot = b.snapshot` with an anchored b
(an inner join both ways, a left join its right side only). Whatever is left in doubt does not
stand on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import duckdb

from chainwatch.lake import query
from chainwatch.tables.base import columns
from chainwatch.tables.registry import tables

CHOOSES = "snapshots_at"
# It selects rows of `account_health` by what stands in each: as a table, it needs an anchor.
FILTERS = {"classified_accounts": "account_health"}
OWN = {"p_market": "p_market", "p_as_of": "p_as_of"}

HAVE_SNAPSHOTS = {
    name for name, row in tables().items() if any(c.name == "snapshot" for c in columns(row))
}


class InDoubt(Exception):
    """Why a query does not stand on one choice."""


@cache
def parsed(text: str) -> dict[str, Any]:
    with duckdb.connect() as engine:
        ((tree,),) = engine.execute("SELECT json_serialize_sql($1)", [text]).fetchall()
    result: dict[str, Any] = json.loads(tree)
    return result


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, dict | list):
            yield from nodes(part)


@cache
def reads_snapshots(name: str) -> bool:
    """Whether a query reads a table that has a column `snapshot`, by itself or by what it calls."""
    for node in nodes(parsed(query.find(name).text)):
        if node.get("type") == "BASE_TABLE" and node["table_name"] in HAVE_SNAPSHOTS:
            return True
        called = called_query(node)
        if called and called != name and reads_snapshots(called):
            return True
    return False


def called_query(node: dict[str, Any]) -> str:
    """The query that a node calls as a table; "" where it calls none."""
    if node.get("type") != "TABLE_FUNCTION":
        return ""
    name = str(node["function"].get("function_name", ""))
    return name if name in query.load_all() else ""


def doubt(name: str) -> str:
    """Why a query does not stand on one choice; "" where it does."""
    try:
        require_choice(name)
    except InDoubt as reason:
        return str(reason)
    return ""


@cache
def require_choice(name: str) -> None:
    """Raise InDoubt where a query does not stand on one choice of its own parameters."""
    definition = query.find(name)
    if name == CHOOSES:
        return
    if not {p.name for p in definition.params} >= OWN.keys():
        raise InDoubt(f"{name} has not the parameters {', '.join(OWN)}")
    tree = parsed(definition.text)
    if tree.get("error"):
        raise InDoubt(f"{name} is not one SELECT")
    for node in nodes(tree):
        if node.get("type") == "TABLE_FUNCTION":
            _require_call(node)
        if "from_table" in node:
            _require_columns(node)
            pending = resolve(node["from_table"])[1]
            if pending:
                raise InDoubt(f"{name}: {', '.join(sorted(pending))} is joined by no snapshot")
        if node.get("type") in ("SET_OPERATION_NODE", "RECURSIVE_CTE_NODE"):
            _require_positions(node)
        if node.get("type") == "STAR" and "snapshot" in json.dumps(node):
            raise InDoubt(f"{name} replaces a column snapshot")
        if any("snapshot" in (node.get(key) or []) for key in ("column_name_alias", "aliases")):
            raise InDoubt(f"{name} renames a column to snapshot")


def _require_call(node: dict[str, Any]) -> None:
    called = called_query(node)
    if not called:
        if node["function"].get("function_name") in ("query", "query_table"):
            raise InDoubt("text is run")
        return
    if called in FILTERS or not reads_snapshots(called):
        return
    require_choice(called)
    given = {
        argument["name"]: argument["expression"].get("identifier", "")
        for argument in node["function"]["arguments"]
    }
    if any(given.get(name) != own for name, own in OWN.items()):
        raise InDoubt(f"{called} is called with other values than {', '.join(OWN)}")


def _require_columns(node: dict[str, Any]) -> None:
    """An output named snapshot is a column of that name."""
    for item in node.get("select_list", []):
        if item.get("alias") == "snapshot" and not _is_snapshot(item):
            raise InDoubt("an expression is called snapshot")


def _is_snapshot(item: dict[str, Any]) -> bool:
    return item.get("type") == "COLUMN_REF" and item["column_names"][-1] == "snapshot"


def _require_positions(node: dict[str, Any]) -> None:
    """Of a UNION, the columns named snapshot stand at one position in all parts."""
    parts = [n for n in nodes(node) if "select_list" in n and n is not node]
    named = [
        [i for i, item in enumerate(part["select_list"]) if _is_snapshot(item)]
        for part in _arms(node)
    ]
    stars = any(
        item.get("type") == "STAR" for part in _arms(node) for item in part.get("select_list", [])
    )
    mentioned = any(_is_snapshot(item) for part in parts for item in part["select_list"])
    if mentioned and (stars or any(places != named[0] for places in named)):
        raise InDoubt("parts of a UNION have snapshot at different positions")


def _arms(node: dict[str, Any]) -> list[dict[str, Any]]:
    if "select_list" in node:
        return [node]
    arms = [
        part
        for key in ("left", "right")
        if isinstance(node.get(key), dict)
        for part in _arms(node[key])
    ]
    for child in node.get("children") or []:
        arms += _arms(child)
    return arms


def resolve(table: dict[str, Any]) -> tuple[set[str], set[str]]:
    """(anchored, pending) aliases of a FROM clause."""
    kind = table.get("type")
    alias = table.get("alias") or table.get("table_name") or ""
    if kind == "BASE_TABLE":
        if table["table_name"] in HAVE_SNAPSHOTS:
            return set(), {alias}
        return {alias}, set()
    if kind == "TABLE_FUNCTION":
        called = called_query(table)
        alias = alias or called
        return (set(), {alias}) if called in FILTERS else ({alias}, set())
    if kind != "JOIN":
        return {alias}, set()
    (left, left_open), (right, right_open) = resolve(table["left"]), resolve(table["right"])
    anchored, pending = left | right, left_open | right_open
    if not pending:
        return anchored, pending
    inner = table.get("join_type") == "INNER"
    if table.get("ref_type") not in ("REGULAR",) or not (inner or table.get("join_type") == "LEFT"):
        return anchored, pending
    pairs = [*_equal_snapshots(table.get("condition"))]
    if "snapshot" in (table.get("using_columns") or []) and len(left | left_open) == 1:
        pairs += [(a, b) for a in left | left_open for b in right | right_open]
    free = pending if inner else right_open
    changed = True
    while changed:
        changed = False
        for a, b in [*pairs, *[(b, a) for a, b in pairs]]:
            if a in pending and a in free and b in anchored:
                pending, anchored, changed = pending - {a}, anchored | {a}, True
    return anchored, pending


def _equal_snapshots(condition: Any) -> Iterator[tuple[str, str]]:
    """The pairs of aliases of which a condition demands equal snapshots."""
    if not isinstance(condition, dict):
        return
    if condition.get("type") == "CONJUNCTION_AND":
        for child in condition.get("children", []):
            yield from _equal_snapshots(child)
    elif condition.get("type") == "COMPARE_EQUAL":
        sides = [condition.get("left"), condition.get("right")]
        if all(
            isinstance(s, dict) and _is_snapshot(s) and len(s["column_names"]) == 2 for s in sides
        ):
            yield sides[0]["column_names"][0], sides[1]["column_names"][0]
