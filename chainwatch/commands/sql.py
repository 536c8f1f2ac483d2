"""What `sql` does besides running one statement: the prompt, the time limit, other tools."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from chainwatch.commands import Output, setup, span
from chainwatch.commands.schema import clients, lines, report
from chainwatch.errors import ChainwatchError, UsageError
from chainwatch.store import CATALOG_NAME, Catalog

T = TypeVar("T")


def within(seconds: float | None, catalog: Catalog, work: Callable[[], T]) -> T:
    """The result of some reading; UsageError where it takes longer than that."""
    if seconds is None:
        return work()
    ended, expired = threading.Event(), threading.Event()

    def watch() -> None:
        # Told again and again: a statement that has not begun yet does not notice it.
        if not ended.wait(seconds):
            expired.set()
            while not ended.wait(0.05):
                catalog.interrupt()

    threading.Thread(target=watch, daemon=True).start()
    try:
        return work()
    except UsageError:
        if expired.is_set():
            raise UsageError(
                f"stopped after {seconds:g} s: ask for less, or raise --timeout"
            ) from None
        raise
    finally:
        ended.set()


def emit_clients(output: Output) -> None:
    """List how other tools open the catalog."""
    from chainwatch import query
    from chainwatch.show import Report
    from chainwatch.store import Result

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
    from chainwatch import prompt, show

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
            show.write(prompt.HELP)
        elif word == "schema":
            attempt(lambda: output.emit(report(rest or None)))
        elif word == "open":
            attempt(lambda: emit_clients(output))
        elif word == "mode" and rest in prompt.FORMATS:
            output.form = show.Format(rest)
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
