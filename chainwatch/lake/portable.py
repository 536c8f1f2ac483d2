"""Portable queries: what they may not contain, and their translation for Spark.

A query marked `-- portable: yes` runs unchanged on DuckDB and, translated by sqlglot, on Spark
over the same Parquet. Some constructs translate without an error and then fail or, worse,
give other figures; `faults` finds them: `python scripts/portable.py` (part of make check).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from chainwatch.errors import UsageError
from chainwatch.lake import query
from chainwatch.lake.query import Query

# Functions that sqlglot hands on although Spark has none of that name and meaning.
_FUNCTIONS = {
    "range", "generate_series", "unnest", "quantile_cont", "quantile_disc", "epoch_ms", "epoch_us",
    "time_bucket", "getvariable", "read_parquet", "read_csv", "printf", "date_diff", "list",
    "array_agg", "string_agg", "list_transform", "struct_pack", "random", "now", "query",
    "median", "mode", "approx_quantile", "strftime", "isfinite", "fmod",
}  # fmt: skip


class Fault(msgspec.Struct, frozen=True):
    """Something in a portable query that another engine would not run, or run differently."""

    query: str
    line: int
    reason: str


def faults(sql_query: Query) -> list[Fault]:
    """What keeps a query from being portable; empty for one that is."""
    return sorted(set(_faults(sql_query)), key=lambda f: (f.line, f.reason))


def _faults(sql_query: Query) -> Iterator[Fault]:
    text = _bare(sql_query.text)

    def matches(pattern: str, reason: str) -> Iterator[Fault]:
        for match in re.finditer(pattern, text, re.IGNORECASE):
            yield Fault(
                sql_query.name, text.count("\n", 0, match.start()) + 1, reason.format(match[0])
            )

    yield from matches(r"\b(ASOF|POSITIONAL)\s+JOIN\b", "{0}: no such join elsewhere")
    yield from matches(r"\bAS\s+(NOT\s+)?MATERIALIZED\b", "AS MATERIALIZED is not parsed by Spark")
    yield from matches(r"\bU?HUGEINT\b", "HUGEINT becomes a double in Parquet")
    yield from matches(r"\b(UN)?PIVOT\b", "{0} names its columns at run time")
    yield from matches(r"\*\s*(EXCLUDE|REPLACE)\s*\(|\bCOLUMNS\s*\(", "{0}…) is DuckDB's own")
    yield from matches(r"\bGROUP\s+BY\s+ALL\b|\bORDER\s+BY\s+ALL\b", "{0} is DuckDB's own")
    yield from matches(r"\bWITH\s+RECURSIVE\b", "recursion: Spark repeats what DuckDB keeps")
    yield from matches(
        r"(?<![\w.])\d+\.\d+(?![\d.]*e)(?!\w)",
        "{0} is a decimal in one engine and a double in the other: write {0}e0",
    )
    yield from matches(r"\$(?!p_)\w+", "{0}: parameters are called p_…")
    yield from (
        matches(
            r"\([^()]*\bORDER\s+BY\b[^()]*\)\s*(?=AS\b|,)(?<!OVER)",
            "an ordered aggregate loses its order",
        )
        if re.search(r"\blist\s*\(", text, re.I)
        else iter(())
    )
    if re.search(r"\bWINDOW\b.*\bROWS\b", text, re.IGNORECASE | re.DOTALL):
        yield from matches(
            r"\b(lag|lead|rank|dense_rank|ntile)\s*\([^()]*\)\s*OVER\s+\w+",
            "{0}: Spark takes no frame for it, give it a window of its own",
        )
    queries = query.load_all()
    for match in re.finditer(r"\b([a-z_]\w*)\s*\(", text, re.IGNORECASE):
        name, line = match[1].lower(), text.count("\n", 0, match.start()) + 1
        if name in queries and not queries[name].portable:
            yield Fault(sql_query.name, line, f"{name} is not portable itself")
        elif name in _FUNCTIONS:
            yield Fault(sql_query.name, line, f"{name}() is not the same elsewhere")
    yield from _divisions(sql_query, text)


def _divisions(sql_query: Query, text: str) -> Iterator[Fault]:
    """Divisions by what may be 0: infinity in DuckDB, an error in Spark."""
    for match in re.finditer(r"/\s*(\(?)\s*([A-Za-z_][\w.]*|\d[\w.]*)\s*(\(?)", text):
        below, line = match[2], text.count("\n", 0, match.start()) + 1
        name = below.split(".")[-1].lower()
        if below[0].isdigit() or name in ("nullif", "greatest", "power"):
            continue
        if re.search(rf"\b{name}\b[^,;]{{0,60}}>\s*(0|1e-)", text, re.IGNORECASE):
            continue  # a filter or a CASE lets nothing else through
        if re.search(rf"\bpower\s*\(.*\)\s+AS\s+{name}\b", text, re.IGNORECASE):
            continue
        yield Fault(
            sql_query.name, line, f"division by {below}, which may be 0: nullif({below}, 0e0)"
        )


def _bare(text: str) -> str:
    """The text without comments and without what stands in quotes, line by line as it was."""
    text = re.sub(r"--[^\n]*", "", text)
    return re.sub(r"'(?:[^']|'')*'", "''", text)


# --- translation ----------------------------------------------------------------------------------

# Spark computes a named part wherever it is used, and plans it as often. What uses one many times
# in queries/ stands in this folder in another form: it groups legs in place of reading slots.
CLUSTER_SQL = Path(__file__).parent / "cluster_sql"


@cache
def _cluster_texts() -> dict[str, str]:
    """The text by name of each query that has another form on a cluster."""
    return {path.stem: query.read(path).text for path in sorted(CLUSTER_SQL.glob("*.sql"))}


def _text(sql_query: Query) -> str:
    """The text of a query for other engines; a file of the user's own is what it is."""
    shipped = query.load_all().get(sql_query.name)
    if shipped is None or shipped.text != sql_query.text:
        return sql_query.text
    return _cluster_texts().get(sql_query.name, sql_query.text)


def expanded(sql_query: Query, values: Mapping[str, object]) -> Any:
    """The query as one tree: parameters as literals of their type, the queries it reads inside.

    Raises UsageError where sqlglot is missing or the query reads one that is not portable.
    """
    try:
        import sqlglot
        from sqlglot import exp
    except ImportError:
        raise UsageError("install chainwatch with the extra `spark` for other engines") from None
    literals: dict[str, Any] = {}
    for p in sql_query.params:
        given = values.get(p.name)
        text = p.default if p.name not in values else _literal(given)
        literals[p.name] = sqlglot.parse_one(f"CAST({text} AS {p.type})", read="duckdb")
    return _inlined(sql_query, literals, exp, sqlglot, count())


def _inlined(
    sql_query: Query, literals: Mapping[str, Any], exp: Any, sqlglot: Any, numbers: Iterator[int]
) -> Any:
    tree = sqlglot.parse_one(_text(sql_query), read="duckdb")

    def bound(node: Any) -> Any:
        if isinstance(node, exp.Parameter | exp.Placeholder):
            name = node.name
            if name in literals:
                return literals[name].copy()
        return node

    tree = tree.transform(bound)
    queries = query.load_all()
    for table in list(tree.find_all(exp.Table)):
        call = table.this
        name = call.name if isinstance(call, exp.Anonymous) else ""
        if name not in queries:
            continue
        inner = queries[name]
        if not inner.portable:
            raise UsageError(f"{sql_query.name} reads {name}, which is not portable")
        given = {a.this.name: a.expression for a in call.expressions}
        arguments = {
            p.name: given.get(p.name)
            or sqlglot.parse_one(f"CAST({p.default} AS {p.type})", read="duckdb")
            for p in inner.params
        }
        body = _inlined(inner, arguments, exp, sqlglot, numbers)
        _rename_ctes(body, f"{name}_{next(numbers)}", exp)
        table.replace(
            exp.Subquery(
                this=body,
                alias=exp.TableAlias(this=exp.to_identifier(table.alias or f"{name}_rows")),
            )
        )
    return tree


def _rename_ctes(body: Any, prefix: str, exp: Any) -> None:
    """Give the named parts of an inner query names of their own: they all end up side by side."""
    names = {cte.alias for cte in body.ctes}
    for table in body.find_all(exp.Table):
        if table.name in names and not isinstance(table.this, exp.Anonymous):
            old = table.name
            if not table.alias:
                table.set("alias", exp.TableAlias(this=exp.to_identifier(old)))
            table.set("this", exp.to_identifier(f"{prefix}_{old}"))
    for cte in body.ctes:
        cte.args["alias"].set("this", exp.to_identifier(f"{prefix}_{cte.alias}"))


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"


def all_faults() -> list[str]:
    """What keeps the marked queries from being portable: file, line and reason of each."""
    return [
        f"{query.find(fault.query).path.name} line {fault.line}: {fault.reason}"
        for sql_query in query.load_all().values()
        if sql_query.portable
        for fault in (*faults(sql_query), *_cluster_faults(sql_query))
    ]


def _cluster_faults(sql_query: Query) -> list[Fault]:
    """What keeps the form of a query for a cluster from being portable."""
    text = _text(sql_query)
    if text == sql_query.text:
        return []
    return faults(msgspec.structs.replace(sql_query, text=text))
