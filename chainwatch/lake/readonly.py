"""SQL of the user: only statements that read, only the lake, within a time."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TypeVar

from chainwatch.errors import UsageError
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import Result

T = TypeVar("T")

# Seconds that a statement has to end in once it is interrupted.
STOP_SECONDS = 2.0
READING = "reading"  # the name of a thread that reads within a time

_EXPLAIN = re.compile(
    r"(?is)^(?:\s|--[^\n]*\n|/\*.*?\*/)*EXPLAIN\b\s*(?:ANALYZE\b\s*)?(?:\([^()]*\)\s*)?"
)


class LeftBehind(UsageError):
    """A reading took too long and goes on by itself, with the catalog it was begun on."""


def is_explain(statement: str) -> bool:
    """Whether a statement asks for a plan."""
    return bool(_EXPLAIN.match(statement))


def enclose(catalog: Catalog, lake: Path) -> None:
    """Open nothing but the lake to the engine, from now on; safe to call again."""
    # Connections to one file share this: the one of a statement that was left behind may have it.
    if catalog.run("SELECT current_setting('enable_external_access')").rows == [(False,)]:
        return
    folder = str(lake).replace("'", "''")
    catalog.run(f"SET allowed_directories = ['{folder}']")
    catalog.run("SET enable_external_access = false")


def require_select(catalog: Catalog, text: str, who: str) -> None:
    """Raise UsageError unless the text is one SELECT; `who` says whose it is."""
    kinds = catalog.statement_kinds(text)
    if not kinds:
        raise UsageError("there is no SQL statement in that text")
    for kind in kinds:
        if kind == "MULTI":
            raise UsageError("PIVOT has to name its values here: PIVOT … ON column IN (…)")
        if kind != "SELECT":
            raise UsageError(
                f"{who} only reads: {kind} is refused (write to a database of your "
                "own with the duckdb shell)"
            )
    if len(kinds) != 1:
        raise UsageError(f"{who} takes one statement at a time")


def require_reading(catalog: Catalog, statement: str) -> bool:
    """Whether the statement is an EXPLAIN; UsageError unless it is one that only reads."""
    # The kind of a statement does not tell all: EXPLAIN ANALYZE runs what it explains, WITH may
    # hold a COPY, and some functions write files. So the catalog has to be enclosed, and the
    # statement has to be one that a query may stand on, which a COPY in WITH may not.
    who = "`chainwatch sql`"
    explains = catalog.statement_kinds(statement) == ["EXPLAIN"]
    body = _EXPLAIN.sub("", statement) if explains else statement
    require_select(catalog, body, who)
    with explained(who):
        catalog.run("EXPLAIN SELECT * FROM query($statement)", {"statement": body}, inner=body)
    return explains


def rows(
    catalog: Catalog, text: str, values: Mapping[str, object], seconds: float, who: str
) -> Result:
    """What SQL of the user returns, on a catalog that is enclosed.

    Raises UsageError where it is more than one SELECT, opens other files or takes longer.
    """
    require_select(catalog, text, who)
    with explained(who):
        # In the place of a table nothing but a SELECT may stand, not even in its WITH.
        return within(seconds, catalog, lambda: catalog.run(f"FROM (\n{text}\n)", values))


def within(seconds: float | None, catalog: Catalog, work: Callable[[], T]) -> T:
    """The result of some reading; UsageError where it takes longer than that.

    Raises LeftBehind where the engine does not even stop then: it does not look whether it should
    within one call of a function. That catalog cannot be used any more.
    """
    if seconds is None:
        return work()
    answer: Future[T] = Future()

    def read() -> None:
        try:
            answer.set_result(work())
        except BaseException as failure:
            answer.set_exception(failure)

    threading.Thread(target=read, daemon=True, name=READING).start()
    wait([answer], seconds)
    until = time.monotonic() + STOP_SECONDS
    late = not answer.done()
    # Interrupted again and again: a statement that has not begun yet does not notice it.
    while not answer.done() and time.monotonic() < until:
        catalog.interrupt()
        wait([answer], 0.05)
    stopped = f"stopped after {seconds:g} s: ask for less, or raise --timeout"
    if not answer.done():
        catalog.leave()
        raise LeftBehind(stopped)
    try:
        return answer.result()
    except UsageError:
        if late:
            raise UsageError(stopped) from None
        raise


def anything_left() -> bool:
    """Whether a statement is still running that was left behind."""
    return any(thread.name == READING for thread in threading.enumerate())


@contextlib.contextmanager
def explained(who: str) -> Iterator[None]:
    """Say why an enclosed catalog refused a statement."""
    try:
        yield
    except UsageError as failure:
        if "must be at the top level" in str(failure):
            raise UsageError(f"{who} only reads: WITH may hold SELECT only") from None
        if "disabled by configuration" in str(failure):
            raise UsageError(
                f"{failure}: only the lake is open here, the duckdb shell opens other files"
            ) from None
        raise
