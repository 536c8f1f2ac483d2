"""What `sql` does besides running one statement: the prompt, other tools."""

from __future__ import annotations

from collections.abc import Callable

from chainwatch.commands.app import setup
from chainwatch.commands.options import Output
from chainwatch.commands.schema import clients, lines, report
from chainwatch.commands.values import span
from chainwatch.errors import ChainwatchError
from chainwatch.lake.store import CATALOG_NAME


def emit_clients(output: Output) -> None:
    """List how other tools open the catalog."""
    from chainwatch.lake import query
    from chainwatch.lake.engine import Result
    from chainwatch.show.document import Report

    with query.open_catalog(setup().store) as catalog:
        path = catalog.path
    output.emit(
        Report(
            Result(("tool", "type"), ("VARCHAR", "VARCHAR"), list(clients(path))),
            name="open",
            notes=["read-only: who opens it for writing keeps the others out"],
        )
    )


def converse(
    output: Output,
    seconds: float | None,
    read_and_emit: Callable[[str, Output, bool, float | None], None],
) -> None:
    """The prompt, on a terminal; `read_and_emit` runs one statement."""
    from chainwatch.commands import prompt
    from chainwatch.show import terminal
    from chainwatch.show.document import Format

    current = setup()
    current.store.require()
    teller = current.teller
    state = {"seconds": seconds}
    names = {part for line in lines() for part in line[1:3] if part}
    teller.note(f"{current.store.home / CATALOG_NAME}, read-only; .help says more, .quit leaves")

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
        current.store.home / "sql_history",
        lambda text: attempt(lambda: read_and_emit(text, output, False, state["seconds"])),
        command,
        teller.note,
    )
