"""`sql`: one statement that only reads, a prompt, or how other tools open the catalog."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chainwatch.commands.app import app, get_session
from chainwatch.commands.options import Output, listing
from chainwatch.commands.running import on_catalog
from chainwatch.commands.schema import clients, lines, report
from chainwatch.commands.values import span
from chainwatch.errors import ChainwatchError, UsageError

if TYPE_CHECKING:
    from chainwatch.lake.catalog import Catalog
    from chainwatch.lake.engine import Result


@app.command(epilog="""Example: chainwatch sql "SELECT market, accounts FROM snapshots_at()\"""")
@listing
def sql(
    text: Annotated[
        str | None, typer.Argument(help="One statement; `-` or nothing: stdin.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="Read it from a file.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say how it would be run, and do not.")
    ] = False,
    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop it after 30s, 5m …")
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="How other tools open the same catalog.")
    ] = False,
    *,
    output: Output,
) -> None:
    """Run SQL over the catalog, read-only; a prompt on a terminal."""
    seconds = span(timeout, "--timeout") if timeout is not None else None
    if open_:
        emit_clients(output)
    elif text is None and file is None and not explain and _at_a_terminal():
        converse(output, seconds)
    else:
        read_and_emit(_statement(text, file), output, explain, seconds)


def _at_a_terminal() -> bool:
    from chainwatch.show import terminal

    return sys.stdin is not None and sys.stdin.isatty() and terminal.terminal_width() is not None


def read_and_emit(
    statement: str, output: Output, explain: bool = False, seconds: float | None = None
) -> None:
    """Run one statement that only reads and emit its rows, or its plan."""
    from chainwatch.lake import readonly
    from chainwatch.show.document import Report

    lake = get_session().store.lake
    if explain and not readonly.is_explain(statement):
        statement = f"EXPLAIN {statement}"

    def read(catalog: Catalog) -> tuple[Result, bool]:
        readonly.enclose(catalog, lake)
        # The engine computes what is constant while it plans, so this takes time as well.
        explains = readonly.within(
            seconds, catalog, lambda: readonly.require_reading(catalog, statement)
        )
        with readonly.explained("`chainwatch sql`"):
            return readonly.within(seconds, catalog, lambda: catalog.run(statement)), explains

    result, explains = on_catalog(read)
    if explains and output.for_people:
        result = _plan_lines(result)
    output.emit(Report(result, name="sql"))


def _plan_lines(explained: Result) -> Result:
    """A plan as people read it: a row for each of its lines."""
    from chainwatch.lake.engine import Result

    lines = [line for row in explained.rows for line in str(row[-1]).splitlines()]
    return Result(("plan",), ("VARCHAR",), [(line,) for line in lines])


def _statement(text: str | None, file: Path | None) -> str:
    if text not in (None, "-") and file is not None:
        raise UsageError("give the SQL as an argument or with --file, not both")
    if text not in (None, "-"):
        return str(text)
    path = None if file is None or str(file) == "-" else file
    where = "stdin" if path is None else str(path)
    try:
        if path is not None:
            data = path.read_bytes()
        elif sys.stdin is None or sys.stdin.isatty():
            raise UsageError("no SQL given: pass it as an argument, with --file, or through stdin")
        else:
            data = sys.stdin.buffer.read()
        return data.decode("utf-8-sig")
    except OSError as failure:
        raise UsageError(f"{where} cannot be read: {failure.strerror}") from None
    except UnicodeDecodeError as failure:
        raise UsageError(f"{where} is not UTF-8 text (byte {failure.start})") from None


def emit_clients(output: Output) -> None:
    """List how other tools open the catalog."""
    from chainwatch.lake import query
    from chainwatch.lake.engine import Result
    from chainwatch.show.document import Report

    with query.open_catalog(get_session().store) as catalog:
        path = catalog.path
    output.emit(
        Report(
            Result(("tool", "type"), ("VARCHAR", "VARCHAR"), list(clients(path))),
            name="open",
            notes=["read-only: a tool that opens it for writing locks out the others"],
        )
    )


def converse(output: Output, seconds: float | None) -> None:
    """Read statements at a prompt, on a terminal."""
    from chainwatch.commands import prompt
    from chainwatch.lake.layout import CATALOG_NAME
    from chainwatch.show import terminal
    from chainwatch.show.document import Format

    session = get_session()
    session.store.require()
    teller = session.teller
    state = {"seconds": seconds}
    names = {part for line in lines() if line[0] != "output" for part in line[1:3] if part}
    teller.note(
        f"{session.store.home / CATALOG_NAME}, read-only; .help lists the commands, .quit leaves"
    )

    def attempt(work: Callable[[], None]) -> None:
        try:
            work()
        except ChainwatchError as failure:
            teller.error(str(failure))
        except KeyboardInterrupt:
            teller.error("interrupted")

    def command(word: str, rest: str) -> bool:
        if word == "help":
            terminal.write(prompt.HELP)
        elif word == "schema":
            attempt(lambda: output.emit(report(rest or None)))
        elif word == "open":
            attempt(lambda: emit_clients(output))
        elif word == "mode" and rest in prompt.FORMATS:
            output.form = Format(rest)
        elif word == "explain" and rest:
            attempt(lambda: read_and_emit(rest, output, True, state["seconds"]))
        elif word == "timeout" and rest:
            attempt(lambda: state.update(seconds=None if rest == "0" else span(rest, ".timeout")))
        else:
            return False
        return True

    prompt.converse(
        sorted(names),
        session.store.home / "sql_history",
        lambda text: attempt(lambda: read_and_emit(text, output, False, state["seconds"])),
        command,
        teller.note,
    )
