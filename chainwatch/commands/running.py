"""How a command reads the catalog, runs to its end, and ends at Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from chainwatch.commands.app import get_session
from chainwatch.commands.options import Output
from chainwatch.errors import UsageError

if TYPE_CHECKING:
    from chainwatch.collect.feed import Job
    from chainwatch.lake.catalog import Catalog
    from chainwatch.lake.spark import Spark


T = TypeVar("T")

# An interrupted query ends within moments; one that does not is not waited for.
INTERRUPT_SECONDS = 2.0
RANKED_SHOWN = 50  # rows of a ranking that people see without --limit


def emit_query(
    name: str,
    values: dict[str, object],
    output: Output,
    limit: int | None = None,
    engine: Spark | None = None,
) -> None:
    """Run a query as a report and write it; `engine` computes its rows in place of DuckDB."""
    from chainwatch.reports.run import make

    runner = None if engine is None else engine.run
    output.emit(on_catalog(lambda catalog: make(catalog, name, values, runner)), limit)


def emit_ranked(name: str, values: dict[str, object], output: Output) -> None:
    """Emit a query that ranks: people see its first rows, machines all of them."""
    limit = output.limit_or(RANKED_SHOWN)
    emit_query(name, values | {"p_limit": row_limit(limit)}, output, limit)


def row_limit(limit: int | None) -> int | None:
    """What a query is limited to: a row more than is shown, so that the rest can be mentioned."""
    return None if limit is None else limit + 1


def on_catalog(work: Callable[[Catalog], T]) -> T:
    """Read from the catalog in a thread: the engine does not check for Ctrl-C."""
    from concurrent.futures import Future, wait
    from threading import Thread

    from chainwatch.lake import query

    begun = time.monotonic()
    catalog = query.open_catalog(get_session().store)
    answer: Future[T] = Future()

    def read() -> None:
        try:
            answer.set_result(work(catalog))
        except BaseException as failure:
            answer.set_exception(failure)

    thread = Thread(target=read, daemon=True)
    try:
        thread.start()
        wait([answer])
        thread.join()
    except KeyboardInterrupt:
        # A query that has not begun yet does not notice an interrupt: repeat it.
        until = time.monotonic() + INTERRUPT_SECONDS
        while thread.is_alive() and time.monotonic() < until:
            catalog.interrupt()
            thread.join(0.05)
        raise
    finally:
        if not thread.is_alive():  # one that still reads keeps its catalog
            catalog.close()
    result = answer.result()
    get_session().teller.detail(f"read in {time.monotonic() - begun:.2f} s")
    return result


def run(coroutine: Any) -> Any:
    """Run to the end; SIGTERM ends it like Ctrl-C, so that a service stops cleanly."""

    import asyncio

    interrupt = {signal.SIGINT}

    async def guarded() -> Any:
        task = asyncio.current_task()
        assert task is not None
        # SIGINT cannot be used: a process started in the background ignores it.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupt)
        return await coroutine

    # SIGINT is blocked until the loop runs: one that is half set up warns when it is dropped.
    signal.pthread_sigmask(signal.SIG_BLOCK, interrupt)
    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupt)


def jobs_of(sources: list[str], markets: list[str], options: dict[str, str]) -> list[Job]:
    """The jobs of sources or venues: one each, or one per market for lending protocols."""
    from chainwatch.chain.markets import find_market, markets_of
    from chainwatch.collect.feed import Job
    from chainwatch.collect.registry import find_all

    settings = get_session().settings
    jobs = []
    by_name = {source.name: source for name in sources for source in find_all(name)}
    for name, source in by_name.items():
        if source.mode == "file":
            raise UsageError(
                f"{name} reads a file: `chainwatch reserves import-pdf FILE` or "
                "`chainwatch indicators import FILE --series NAME`"
            )
        if source.base:
            settings.url(source.name, source.base)  # a wrong one is refused before anything is read
        if not source.protocol:
            jobs.append(Job(source, options=options))
            continue
        in_market_file = markets_of(settings, source.protocol)
        if not markets:
            names = ", ".join(in_market_file) or f"none, {settings.markets} may name some"
            raise UsageError(f"{name} needs --market NAME (it may be repeated); known: {names}")
        for market in dict.fromkeys(markets):
            find_market(settings, source.protocol, market)
            jobs.append(Job(source, target=market, options=options))
    return jobs
