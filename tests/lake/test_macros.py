"""Published macros in calls whose arguments come from the row beside them, under any name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from chainwatch.lake import query
from chainwatch.lake.header import Param
from chainwatch.lake.layout import CATALOG_NAME
from chainwatch.lake.query import Query
from chainwatch.tables.registry import tables
from tests.lake.test_queries import OWN_VALUES, VALUES, filled_lake, in_order, same, table

QUERIES = query.load_all()
WITH_PARAMS = [name for name, q in QUERIES.items() if q.params]
# A limit that is an argument cannot come from the row beside it: the engine refuses the call.
LIMITED = {name for name, q in QUERIES.items() if re.search(r"^ *LIMIT \$p_", q.text, re.MULTILINE)}
REFUSED = "Non-constant limit not supported in correlated subquery"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    store = filled_lake(tmp_path_factory.mktemp("macros") / "home")
    query.open_catalog(store).close()
    with duckdb.connect(str(store.home / CATALOG_NAME), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every node of a parsed statement."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, dict | list):
            yield from nodes(part)


def parsed(text: str) -> list[dict[str, Any]]:
    with duckdb.connect() as engine:
        ((tree,),) = engine.execute("SELECT json_serialize_sql($1)", [text]).fetchall()
    return list(nodes(json.loads(tree)))


def texts(source: Query) -> tuple[str, str]:
    pasted, bound = (macro.split(" AS TABLE\n", 1)[1] for macro in source.macros)
    return pasted, bound


def cte_names(tree: list[dict[str, Any]]) -> set[str]:
    return {entry["key"] for node in tree for entry in node.get("cte_map", {}).get("map", [])}


def inner_names(source: Query) -> list[str]:
    """Aliases and CTE names of the body, as a caller may have them too."""
    tree = parsed(texts(source)[0])
    aliases = {n["alias"] for n in tree if n.get("alias") and "column_name_alias" in n}
    read = {n["table_name"] for n in tree if n.get("type") == "BASE_TABLE"}
    return sorted(aliases | cte_names(tree) | read)


def literal(param: Param, value: Any) -> str:
    text = "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"
    return f"CAST({text} AS {param.type})"


def calls(source: Query) -> list[dict[str, str]]:
    """Two sets of arguments: the defaults, and others."""
    own = VALUES | OWN_VALUES.get(source.name, {})
    default = {p.name: f"CAST({p.default} AS {p.type})" for p in source.params}
    given = {p.name: literal(p, own[p.name]) for p in source.params if p.name in own}
    return [default, default | given]


def answer(client: duckdb.DuckDBPyConnection, text: str) -> list[dict[str, Any]]:
    cursor = client.execute(text)
    names = [column[0] for column in cursor.description or []]
    return sorted(table(names, cursor.fetchall()), key=in_order)


@pytest.mark.quick_variants("snapshots_at", "health", "walls")
@pytest.mark.parametrize("name", WITH_PARAMS)
def test_arguments_keep_their_meaning_under_the_macros_own_names(
    client: duckdb.DuckDBPyConnection, name: str
) -> None:
    """Each alias, CTE and table of the body is a name of the caller, and gives an argument once."""
    definition = QUERIES[name]
    params, sets, names = list(definition.params), calls(definition), inner_names(definition)
    expected = [
        row
        for k, given in enumerate(sets)
        for row in answer(
            client,
            f"SELECT {k} AS k, macro_rows.* "
            f"FROM {name}({', '.join(f'{p} := {v}' for p, v in given.items())}) AS macro_rows",
        )
    ]
    lines = ", ".join(f"({k}, {', '.join(given.values())})" for k, given in enumerate(sets))
    columns = ", ".join(p.name for p in params)
    others = " ".join(f"JOIN call_rows AS {alias} USING (k)" for alias in names)
    for begin in range(0, max(len(names), 1), len(params)):
        sources = [
            (names or ["call_rows"])[(begin + i) % max(len(names), 1)] for i in range(len(params))
        ]
        arguments = ", ".join(
            f"{p.name} := {source}.{p.name}" for p, source in zip(params, sources, strict=True)
        )
        text = (
            f"WITH call_rows(k, {columns}) AS (VALUES {lines}) "
            f"SELECT k, macro_rows.* FROM call_rows {others}, "
            f"LATERAL (FROM {name}({arguments})) AS macro_rows"
        )
        if name in LIMITED:
            with pytest.raises(duckdb.Error, match=REFUSED):
                client.execute(text)
        else:
            same(answer(client, text), sorted(expected, key=in_order))


@pytest.mark.quick_variants("snapshots_at", "health", "walls", "triggers")
@pytest.mark.parametrize("name", list(QUERIES))
def test_a_caller_may_have_ctes_named_as_what_a_macro_reads(
    client: duckdb.DuckDBPyConnection, name: str
) -> None:
    names = {*tables(), *inner_names(QUERIES[name])}
    hiding = ", ".join(f"{name} AS (SELECT 1 AS nothing)" for name in sorted(names))
    plain = f"FROM {name}()"
    same(answer(client, f"WITH {hiding} {plain}"), answer(client, plain))


@pytest.mark.quick_variants("snapshots_at", "health", "walls", "triggers")
@pytest.mark.parametrize("name", list(QUERIES))
def test_parameters_are_bound_once_and_tables_by_their_schema(name: str) -> None:
    """Names of the caller are looked up where nothing of ours stands beside them."""
    pasted, bound = (parsed(text) for text in texts(QUERIES[name]))
    names = {p.name for p in QUERIES[name].params}
    captured = [
        node["column_names"]
        for node in bound
        if node.get("class") == "COLUMN_REF" and node["column_names"][-1] in names
    ]
    own = f"{name}_parameters"
    assert sorted(map(tuple, captured)) == sorted([(p,) for p in names] + [(own, p) for p in names])
    assert cte_names(bound) == ({own} if names else set())
    read = [n for n in pasted if n.get("type") == "BASE_TABLE" and n["table_name"] in tables()]
    assert {n["schema_name"] for n in read} <= {"main"}
    assert not cte_names(pasted) & tables().keys()


def test_a_column_of_the_caller_is_not_taken_for_one_of_the_body(
    client: duckdb.DuckDBPyConnection,
) -> None:
    by_market = {
        market: answer(client, f"FROM health(p_market := '{market}')") for market in ("m", "n")
    }
    assert by_market["m"] != by_market["n"]
    for argument in ("market", "s.market", "(SELECT market)"):
        text = (
            "SELECT s.market AS k, h.* FROM snapshots_at() AS s, "
            f"LATERAL (FROM health(p_market := {argument})) AS h"
        )
        rows = answer(client, text)
        for market, expected in by_market.items():
            mine = [{k: v for k, v in r.items() if k != "k"} for r in rows if r["k"] == market]
            same(sorted(mine, key=in_order), expected)


def test_a_subquery_as_an_argument_reads_the_callers_ctes(
    client: duckdb.DuckDBPyConnection,
) -> None:
    text = "WITH account AS (SELECT 'n' AS market) FROM health(p_market := (FROM account))"
    same(answer(client, text), answer(client, "FROM health(p_market := 'n')"))
