"""`query` and `queries`: any query file with its parameters, and the list of them."""

from __future__ import annotations

from typing import Annotated

import typer

from chainwatch.commands.app import app
from chainwatch.commands.export import engine_of
from chainwatch.commands.options import Output, listing
from chainwatch.commands.running import emit_query
from chainwatch.commands.values import refusal
from chainwatch.errors import UsageError


@app.command(name="query", epilog="Example: chainwatch query walls p_factor=ETH p_direction=up")
@listing
def run_query(
    name: Annotated[str, typer.Argument(help="Its name; `chainwatch queries` lists them.")],
    values: Annotated[
        list[str] | None, typer.Argument(metavar="p_NAME=VALUE…", help="Its parameters.")
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="duckdb, or spark for portable queries.")
    ] = "duckdb",
    master: Annotated[
        str, typer.Option(metavar="URL", help="Where Spark runs, e.g. spark://host:7077.")
    ] = "local[*]",
    *,
    output: Output,
) -> None:
    """Run any query file with its parameters."""
    from chainwatch.lake import query

    query.find(name)
    bound: dict[str, object] = {}
    for pair in values or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise refusal("query", "a parameter as p_name=value", pair)
        key = key if key.startswith("p_") else f"p_{key}"
        if key in bound:
            raise UsageError(f"{key} is given twice: give it once")
        bound[key] = value
    with engine_of(engine, master) as spark:
        emit_query(name, bound, output, engine=spark)


@app.command(epilog="Example: chainwatch queries walls")
@listing
def queries(
    name: Annotated[str | None, typer.Argument(help="Show this one's SQL.")] = None,
    *,
    output: Output,
) -> None:
    """List the queries, or show one."""
    from chainwatch.lake import query
    from chainwatch.lake.engine import Result
    from chainwatch.show import terminal
    from chainwatch.show.document import Format, Report

    if name is not None and output.form is Format.TABLE:
        terminal.write(query.find(name).text + "\n", output.out)
        return
    listed = list(query.load_all().values()) if name is None else [query.find(name)]
    columns: tuple[str, ...] = ("query", "kind", "title", "parameters")
    rows: list[tuple[str, ...]] = [
        (
            q.name,
            q.group or "report",
            q.title,
            ", ".join(f"{p.name} = {p.default}" for p in q.params),
        )
        for q in sorted(listed, key=lambda q: (q.group, q.name))
    ]
    if name is not None:
        columns = (*columns, "sql")
        rows = [(*rows[0], listed[0].text)]
    output.emit(Report(Result(columns, ("VARCHAR",) * len(columns), rows), "queries"))
