"""`schema`: what every table, column, query and parameter means."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from chainwatch.commands.app import app
from chainwatch.commands.options import Output, listing
from chainwatch.errors import UsageError
from chainwatch.text import suggest

Line = tuple[str, str, str, str, str, str]


@app.command(epilog="Example: chainwatch schema legs")
@listing
def schema(
    name: Annotated[str | None, typer.Argument(help="A table or a query; all without it.")] = None,
    diagram: Annotated[
        bool, typer.Option("--diagram", help="How the tables hang together, as a Mermaid diagram.")
    ] = False,
    *,
    output: Output,
) -> None:
    """What each table, column and query means."""
    from chainwatch.show import terminal

    if diagram:
        if name is not None:
            raise UsageError("the diagram is of all tables: leave out the name")
        terminal.write(diagram_text(), output.out)
        return
    output.emit(report(name))


def report(name: str | None = None) -> Any:
    """Columns of tables, parameters and columns of queries with their meaning, as a report."""
    from chainwatch.lake.engine import Result
    from chainwatch.show.document import Report

    shown = lines()
    if name is not None:
        known_names = sorted({line[1] for line in shown})
        if name not in known_names:
            raise UsageError(
                f"no table or query is called {name!r}; {suggest(name, known_names)}"
                "`chainwatch schema` lists them"
            )
        shown = [line for line in shown if line[1] == name]
    names = ("kind", "name", "part", "type", "unit", "meaning")
    return Report(Result(names, ("VARCHAR",) * 6, list(shown)), name="schema")


def lines() -> list[Line]:
    """(kind, name, column or parameter, type, unit, meaning); one without a part is of all of it.

    A query's columns have a unit, its parameters a type; the unit of a table's column is that of
    the naming convention.
    """
    from chainwatch.lake import query
    from chainwatch.tables.base import columns
    from chainwatch.tables.registry import tables
    from chainwatch.units import derive

    described: list[Line] = []
    for name, row in tables().items():
        described.append(("table", name, "", "", "", " ".join((row.__doc__ or "").split())))
        for column in columns(row):
            kind = "DECIMAL(38,0)" if column.type == "UINT" else column.type
            key = " (key)" if column.name in row.key else ""
            null = "" if column.nullable else " NOT NULL"
            unit = derive(column.name, kind).name
            described.append(("column", name, column.name, kind + null, unit, column.meaning + key))
    for definition in sorted(query.load_all().values(), key=lambda q: (q.group, q.name)):
        kind = {"checks": "check", "marts": "mart", "alerts": "alert"}.get(
            definition.group, "query"
        )
        described.append((kind, definition.name, "", "", "", definition.title))
        for p in definition.params:
            meaning = f"{p.meaning} (default {p.default})"
            described.append(("parameter", definition.name, p.name, p.type, "", meaning))
        described += [
            ("output", definition.name, c.name, "", c.unit.name, c.meaning)
            for c in definition.columns
        ]
    return described


def diagram_text() -> str:
    """A Mermaid entity diagram: each table's key, and the tables that share a snapshot."""
    from chainwatch.tables.base import columns
    from chainwatch.tables.registry import tables

    text = ["erDiagram"]
    rows = tables()
    for name, row in rows.items():
        types = {c.name: "DECIMAL" if c.type == "UINT" else c.type for c in columns(row)}
        text.append(f"  {name} {{")
        text += [f"    {types.get(part, 'VARCHAR')} {part} PK" for part in row.key]
        text.append("  }")
    for name, row in rows.items():
        names = row.__struct_fields__
        if "snapshot" in names and name != "snapshots":
            text.append(f"  snapshots ||--o{{ {name} : snapshot")
        if name == "legs":
            text.append("  account_health ||--o{ legs : account")
            text.append("  reserves ||--o{ legs : asset")
        if "statement" in names and name != "statements" and "statements" in rows:
            text.append(f"  statements ||--o{{ {name} : statement")
    return "\n".join(text) + "\n"


def clients(catalog: Path) -> list[tuple[str, str]]:
    """How other tools open the catalog, read-only: (tool, what to type)."""
    path = shlex.quote(str(catalog))
    literal = repr(str(catalog))
    connect = f"import duckdb; con = duckdb.connect({literal}, read_only=True)"
    return [
        ("duckdb", f"duckdb -readonly {path}"),
        ("harlequin", f"harlequin -r {path}"),
        ("python", f"{connect}; print(con.sql('FROM health()'))"),
        ("pandas", f"{connect}; frame = con.sql('FROM health()').df()"),
        (
            "polars",
            f"{connect}; import polars; frame = polars.DataFrame(con.sql('FROM health()'))",
        ),
    ]
