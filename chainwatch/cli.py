"""The command line: reads flags, calls the part that knows, and ends with the right exit code.

Nothing heavy is imported here: `chainwatch --help` must not wait for web3 or duckdb.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from chainwatch.commands.app import app, set_up, setup
from chainwatch.commands.options import (
    AsOfOption,
    BetaOption,
    MarketOption,
    MarketsOption,
    Output,
    listing,
    scope,
)
from chainwatch.commands.running import emit_query, jobs_of, on_catalog, run
from chainwatch.commands.values import (
    amount,
    beta_values,
    count,
    moment,
    past,
    positive,
    share,
    span,
)
from chainwatch.errors import ChainwatchError, CheckFailed, Exit, UsageError, named

if TYPE_CHECKING:
    from chainwatch.collect.feed import Job
    from chainwatch.lake.catalog import Catalog
    from chainwatch.lake.engine import Result
    from chainwatch.lake.store import Store
    from chainwatch.settings import Settings
    from chainwatch.show.document import Report
    from chainwatch.show.tell import Teller
    from chainwatch.tables.lending import Mismatch, Verification

T = TypeVar("T")

ACCOUNTS_SHOWN = 50  # rows of a ranking that people see without --limit

# --- demo -----------------------------------------------------------------------------------------


@app.command(epilog="Example: chainwatch demo")
def demo(
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Play the shipped recording, start no node.")
    ] = False,
) -> None:
    """Two markets on a local chain: read, verify, a price drop."""
    from chainwatch.demo import story
    from chainwatch.demo.node import ToolchainMissing
    from chainwatch.show import render, terminal
    from chainwatch.show.document import Format

    current = setup()
    teller = current.teller
    home = current.settings.home / "demo"

    def emit(report: Report) -> None:
        teller.close()
        text = render.text_of(
            report,
            Format.TABLE,
            width=terminal.terminal_width(),
            color=terminal.wants_color(current.color),
        )
        terminal.write(text + "\n")

    with teller:
        if not recorded:
            try:
                with story.live(current.settings.cache, teller.note) as node:
                    story.play(node, home, teller, emit)
            except ToolchainMissing as missing:
                teller.note(f"{missing}; playing the recording instead")
                recorded = True
        if recorded:
            with story.recorded() as player:
                story.play(player, home, teller, emit)
        terminal.write(_exported(home))
    terminal.write(_next_steps(home))


def _exported(home: Path) -> str:
    """Export what the demo stored, check it, and say so."""
    from chainwatch.lake.store import Store
    from chainwatch.nightly import export as exporting

    store = Store(home)
    day = exporting.choose_day(store, None)
    done = exporting.export(store, home / "marts", day)
    nights, faults = exporting.check(home / "marts")
    if faults:
        raise CheckFailed(f"{faults[0].path} {faults[0].what}")
    return (
        f"Exported {len(done.rows)} marts with {sum(done.rows.values()):,} rows to {done.folder}; "
        f"{nights} day(s) checked, every file is what its manifest says.\n\n"
    )


def _next_steps(home: Path) -> str:
    here = shlex.quote(str(home))
    return (
        "Go on with what was stored:\n"
        f"  chainwatch --home {here} walls wstETH/ETH --down 10%\n"
        f"  chainwatch --home {here} walls MARKET --beta eth=1.3\n"
        f"  chainwatch --home {here} query liquidation_totals p_by=asset\n"
        f"  chainwatch --home {here} reserves USDT --history\n"
        f"  chainwatch --home {here} liquidations --by side\n"
        f"  chainwatch --home {here} sql \"FROM walls(p_factor := 'ETH')\"\n"
        f"  duckdb -readonly {shlex.quote(str(home / 'chainwatch.duckdb'))}\n"
        f"  chainwatch --home {here} sql --open                  # the same in other tools\n"
    )


# --- collecting -----------------------------------------------------------------------------------


def _announce(jobs: list[Job]) -> None:
    """Say whom is asked before the first answer, which may take a while."""
    from chainwatch.chain.markets import endpoints, find_market
    from chainwatch.net.urls import mask

    current = setup()
    for job in jobs:
        if job.source.protocol:
            market = find_market(current.settings, job.source.protocol, job.target)
            where = ", ".join(mask(u) for u in endpoints(current.settings, market))
            current.teller.note(f"{job.name}: asking {where}")
        elif job.source.socket:
            given = current.settings.feed_url("ws", job.source.name)
            where = mask(given.value if given else job.source.socket)
            current.teller.note(f"{job.name}: listening to {where}")


@app.command(epilog="Example: chainwatch collect aave-v3 --market ethereum --verify")
@listing
def collect(
    sources: Annotated[
        list[str], typer.Argument(help="Sources or venues; `chainwatch sources` lists them.")
    ],
    market: MarketsOption = None,
    accounts: Annotated[
        str,
        typer.Option(
            metavar="WHO", help="borrowers (who ever borrowed) or all (whoever held a balance)."
        ),
    ] = "borrowers",
    full: Annotated[
        bool, typer.Option("--full", help="Read every account again, not only changed ones.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", help="Only this document or series of a source."),
    ] = None,
    for_: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Stop after 90s, 10m, 2h …")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Histories: from this time on, else where it stopped."),
    ] = None,
    verify_after: Annotated[
        bool, typer.Option("--verify", help="Compare with the chain right after reading.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be read and from where on.")
    ] = False,
    *,
    output: Output,
) -> None:
    """Read sources into the lake, resuming where it stopped."""
    from chainwatch.collect import runner
    from chainwatch.show import terminal
    from chainwatch.show.document import Format

    current = setup()
    if accounts not in ("borrowers", "all"):
        raise UsageError(f"--accounts takes borrowers or all, not {accounts!r}")
    options = {"accounts": accounts} | ({"full": "yes"} if full else {})
    if since is not None:
        options["since"] = past(since, "--since").isoformat()
    options |= {"only": ",".join(only)} if only else {}
    jobs = jobs_of(sources, market or [], options)
    for_markets = {"--market": bool(market), "--accounts": accounts == "all", "--full": full}
    _require_use(jobs, [option for option, given in for_markets.items() if given], since)
    verified = [job for job in jobs if job.source.verify is not None]
    if verify_after and not verified:
        names = ", ".join(dict.fromkeys(job.source.name for job in jobs))
        raise UsageError(f"--verify is for positions of lending markets, and {names} reads none")
    seconds = span(for_, "--for") if for_ is not None else None
    store = current.store
    if dry_run:
        output.emit(_plan(store, current.settings, jobs))
        return
    streaming = output.form is Format.JSONL and output.to_stdout

    def stored(load: Any) -> None:
        if streaming:
            import json

            if terminal.terminal_width() is not None:
                current.teller.close()
            terminal.write(json.dumps(runner.load_line(load)) + "\n")

    results: list[Verification] = []
    mismatches: list[Mismatch] = []
    with current.teller:
        _announce(jobs)
        outcomes = run(
            runner.collect(
                store, current.settings, jobs, current.teller, seconds=seconds, stored=stored
            )
        )
        try:
            if verify_after and not any(o.failure for o in outcomes):
                results, mismatches = _compare(verified, None, False)
                for job in jobs:
                    if job not in verified:
                        current.teller.note(f"{job.name}: nothing to verify")
        finally:
            if not streaming:
                output.emit(_outcome_report(outcomes, results if verify_after else None))
        runner.raise_failures(outcomes)
        _raise_mismatches(results, mismatches)


def _require_use(jobs: list[Job], for_markets: list[str], since: str | None) -> None:
    """An option that none of the sources looks at would be believed to have worked."""
    from chainwatch.collect.registry import discover

    names = ", ".join(dict.fromkeys(job.source.name for job in jobs))
    if for_markets and not any(job.source.protocol for job in jobs):
        raise UsageError(f"{for_markets[0]} is for lending markets, and {names} reads none")
    if since is not None and not any(job.source.takes_since for job in jobs):
        pasts = [name for job in jobs if (name := f"{job.source.name}-history") in discover()]
        hint = f": `chainwatch collect {' '.join(pasts)} --since …`" if pasts else ""
        raise UsageError(f"--since is for histories, and {names} is none{hint}")


def _plan(store: Store, settings: Settings, jobs: list[Job]) -> Report:
    import json

    from chainwatch.chain.markets import endpoints, find_market
    from chainwatch.lake.engine import Result
    from chainwatch.net.urls import mask
    from chainwatch.show.document import Report

    rows = []
    for job in jobs:
        where = settings.url(job.source.name, job.source.base).shown or job.source.docs
        if job.source.protocol:
            found = find_market(settings, job.source.protocol, job.target)
            where = ", ".join(mask(u) for u in endpoints(settings, found))
        elif job.source.socket:
            given = settings.feed_url("ws", job.source.name)
            where = mask(given.value if given else job.source.socket)
        cursor = store.cursor(job.source.name, job.target) if store.exists else None
        rows.append(
            (
                job.source.name,
                job.target,
                where,
                json.dumps(cursor) if cursor else _BEGIN[job.source.mode],
                ", ".join(t.table for t in job.source.tables),
            )
        )
    columns = ("source", "target", "endpoint", "resumes_at", "tables")
    return Report(Result(columns, ("VARCHAR",) * 5, rows), name="plan", title="Would read")


_BEGIN = {"poll": "from the beginning", "stream": "now: a stream has no past"}


def _outcome_report(outcomes: Any, verified: list[Verification] | None) -> Report:
    """A row per job; with what its verification found where one was asked for."""
    from chainwatch.lake.engine import Result
    from chainwatch.show.document import Report

    columns: tuple[str, ...] = ("source", "target", "rows", "loads", "state")
    kinds: tuple[str, ...] = ("VARCHAR", "VARCHAR", "BIGINT", "BIGINT", "VARCHAR")
    rows: list[tuple[Any, ...]] = [
        (o.job.source.name, o.job.target, o.rows, o.loads, str(o.failure) if o.failure else "ok")
        for o in outcomes
    ]
    if verified is not None:
        columns += ("block_number", "checked", "different")
        kinds += ("BIGINT",) * 3
        found = {r.market: (r.block_number, r.checked, r.mismatched) for r in verified}
        none = (None,) * 3
        rows = [
            (*row, *(found.get(row[1], none) if o.job.source.verify is not None else none))
            for row, o in zip(rows, outcomes, strict=True)
        ]
    return Report(Result(columns, kinds, rows), name="collect")


@app.command(epilog="Example: chainwatch verify --market ethereum --sample 500")
@listing
def verify(
    market: MarketsOption = None,
    sample: Annotated[
        int | None,
        typer.Option(
            metavar="N", parser=count(1), help="Only N accounts, the riskiest first; else all."
        ),
    ] = None,
    with_web3: Annotated[
        bool, typer.Option("--with-web3", help="Read through web3's own codecs (slow).")
    ] = False,
    *,
    output: Output,
) -> None:
    """Compare the newest snapshot with the chain, as integers."""
    from chainwatch.collect.feed import Job
    from chainwatch.collect.registry import discover
    from chainwatch.tables.lending import Snapshot

    current = setup()
    store = current.store
    store.require()
    jobs = []
    newest = {s.market: s.protocol for s in store.rows(Snapshot, "provenance <> 'imported'")}
    for name in market or sorted(newest):
        found = next(
            (s for s in discover().values() if s.verify and s.protocol == newest.get(name)), None
        )
        if found is None:
            known = ", ".join(sorted(newest)) or "none"
            raise UsageError(f"no snapshot of market {name!r} to verify; stored: {known}")
        jobs.append(Job(found, target=name))
    if not jobs:
        raise UsageError("no market has been read yet: run `chainwatch collect` first")
    only: dict[str, object] = scope(market, None)
    with current.teller:
        _announce(jobs)
        results, mismatches = _compare(jobs, sample, with_web3)
        emit_query("verification", only, output)
        _raise_mismatches(results, mismatches)


def _compare(
    jobs: list[Job], sample: int | None, independent: bool
) -> tuple[list[Verification], list[Mismatch]]:
    from chainwatch.collect import runner
    from chainwatch.tables.lending import Mismatch

    current = setup()
    results, mismatches = [], []
    for job in jobs:
        result, found = run(
            runner.verify(
                current.store,
                current.settings,
                job,
                current.teller,
                sample=sample,
                independent=independent,
            )
        )
        results.append(result)
        mismatches += [m for m in found if isinstance(m, Mismatch)]
    return results, mismatches


def _raise_mismatches(results: list[Verification], mismatches: list[Mismatch]) -> None:
    teller = setup().teller
    for m in mismatches[:20]:
        teller.note(f"{m.market} {m.account} {m.figure}: ours {m.ours}, chain {m.chain}")
    if len(mismatches) > 20:
        teller.note(f"… and {len(mismatches) - 20} more in table mismatches")
    if mismatches:
        wrong = sum(r.mismatched for r in results)
        raise CheckFailed(f"{wrong} account(s) differ from the chain")


# --- reports --------------------------------------------------------------------------------------


@app.command(epilog="Example: chainwatch health --market ethereum")
@listing
def health(market: MarketOption = None, as_of: AsOfOption = None, *, output: Output) -> None:
    """Distribution of health factors: accounts and USD."""
    emit_query("health", scope(market, as_of), output)


@app.command(epilog="Example: chainwatch accounts --min-debt 100000 --limit 20")
@listing
def accounts(
    market: MarketOption = None,
    as_of: AsOfOption = None,
    min_debt: Annotated[
        float,
        typer.Option(metavar="USD", parser=amount, help="Leave out accounts with less debt."),
    ] = 0,
    *,
    output: Output,
) -> None:
    """Accounts, riskiest first (tables: 50, or --limit)."""
    _emit_ranked("accounts", scope(market, as_of) | {"p_min_debt_usd": min_debt}, output)


def _emit_ranked(name: str, values: dict[str, object], output: Output) -> None:
    """Emit a query that ranks: people see its first rows, machines all of them."""
    limit = output.limit
    if limit is None and output.for_people:
        limit = ACCOUNTS_SHOWN
    # One row more than is shown, so that a cut is told; NULL is no limit.
    values["p_limit"] = None if limit is None else limit + 1
    emit_query(name, values, output, limit)


@app.command(epilog="Example: chainwatch walls BTC --down 30% --step 1000")
@listing
def walls(
    factor: Annotated[str, typer.Argument(help="BTC, ETH, USDT, wstETH/ETH …, or MARKET: all.")],
    down: Annotated[
        str | None, typer.Option(metavar="SHARE", help="How far down, default 30%.")
    ] = None,
    up: Annotated[
        str | None, typer.Option(metavar="SHARE", help="How far up (shorts); alone, only up.")
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(metavar="WIDTH", help="Bin width: 1000 (of the price) or 1%; round near 1%."),
    ] = None,
    by_market: Annotated[
        bool, typer.Option("--by-market", help="One wall per market, not their sum.")
    ] = False,
    beta: BetaOption = None,
    market: MarketOption = None,
    as_of: AsOfOption = None,
    *,
    output: Output,
) -> None:
    """Collateral that liquidates as a factor's price moves."""
    values = scope(market, as_of) | {"p_factor": factor, "p_split": by_market} | beta_values(beta)
    if up is not None:
        values["p_direction"] = "both" if down is not None else "up"
    reach = set()
    if down is not None:
        reach.add(share(down, "--down"))
    if up is not None:
        reach.add(share(up, "--up", most=10.0))
    if len(reach) > 1:
        raise UsageError("--down and --up go equally far when both are given")
    if reach:
        values["p_range"] = reach.pop()
    if step is not None and step.endswith("%"):
        values["p_step_pct"] = share(step, "--step")
    elif step is not None:
        values["p_step_abs"] = positive(step, "--step", "a width such as 1000 or 1%")
    emit_query("walls", values, output)


@app.command(epilog="Example: chainwatch triggers ETH --limit 20")
@listing
def triggers(
    factor: Annotated[str, typer.Argument(help="BTC, ETH, USDT, wstETH/ETH …, or MARKET: all.")],
    market: MarketOption = None,
    as_of: AsOfOption = None,
    beta: BetaOption = None,
    min_debt: Annotated[
        float,
        typer.Option(metavar="USD", parser=amount, help="Leave out accounts with less debt."),
    ] = 0,
    *,
    output: Output,
) -> None:
    """Accounts nearest to liquidation by a factor's price."""
    values = (
        scope(market, as_of) | {"p_factor": factor, "p_min_debt_usd": min_debt} | beta_values(beta)
    )
    _emit_ranked("nearest", values, output)


@app.command(epilog="Example: chainwatch changes --since 2026-01-28")
@listing
def changes(
    market: MarketOption = None,
    as_of: AsOfOption = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Compare with the newest block up to this."),
    ] = None,
    *,
    output: Output,
) -> None:
    """What changed between two snapshots of a market."""
    values = scope(market, as_of)
    if since is not None:
        values["p_since"] = moment(since, "--since")
    emit_query("changes", values, output)


@app.command(epilog="Example: chainwatch status")
@listing
def status(*, output: Output) -> None:
    """How old everything is, and what was verified."""
    from chainwatch.lake import query
    from chainwatch.show.document import Report

    home = setup().store.home
    chosen = query.find("freshness")
    found, catalog = on_catalog(lambda catalog: (query.run(catalog, chosen), catalog.path))
    output.emit(
        Report(
            found,
            name="status",
            title=chosen.title,
            header=[f"lake: {home}", f"catalog: duckdb -readonly {shlex.quote(str(catalog))}"],
            meta={"home": str(home), "catalog": str(catalog)},
            notes=chosen.notes,
        )
    )


@app.command(epilog="Example: chainwatch checks")
@listing
def checks(*, output: Output) -> None:
    """Run the invariants in queries/checks."""
    from chainwatch.lake import query
    from chainwatch.lake.engine import Result
    from chainwatch.show.document import Report

    def run_all(catalog: Catalog) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for check in query.load_all().values():
            if check.group == "checks":
                wrong = len(query.run(catalog, check).rows)
                found.append((check.name, wrong, "wrong" if wrong else "ok", check.title))
        return found

    rows = on_catalog(run_all)
    output.emit(
        Report(
            Result(
                ("check", "rows", "state", "finds"),
                ("VARCHAR", "BIGINT", "VARCHAR", "VARCHAR"),
                rows,
            ),
            name="checks",
        )
    )
    failed = [str(name) for name, wrong, *_ in rows if wrong]
    if failed:
        raise CheckFailed(
            f"{', '.join(failed)} found rows: `chainwatch query {failed[0]}` shows them"
        )


# --- SQL ------------------------------------------------------------------------------------------


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
    from chainwatch.commands.sql import converse, emit_clients

    seconds = span(timeout, "--timeout") if timeout is not None else None
    if open_:
        emit_clients(output)
    elif text is None and file is None and not explain and _at_a_terminal():
        converse(output, seconds, read_and_emit)
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

    lake = setup().store.lake
    if explain and not readonly.is_explain(statement):
        statement = f"EXPLAIN {statement}"

    def read(catalog: Catalog) -> tuple[Result, bool]:
        readonly.enclose(catalog, lake)
        # The engine computes what is constant while it plans, so this takes time as well.
        explains = readonly.within(
            seconds, catalog, lambda: readonly.require_reading(catalog, statement)
        )
        with readonly.told("`chainwatch sql`"):
            return readonly.within(seconds, catalog, lambda: catalog.run(statement)), explains

    found, explains = on_catalog(read)
    if explains and output.for_people:
        found = _plan_lines(found)
    output.emit(Report(found, name="sql"))


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
            raise UsageError(f"a parameter is given as p_name=value, not {pair!r}")
        key = key if key.startswith("p_") else f"p_{key}"
        if key in bound:
            raise UsageError(f"{key} is given twice: give it once")
        bound[key] = value
    if engine == "duckdb":
        emit_query(name, bound, output)
        return
    from chainwatch.commands.export import engine_of
    from chainwatch.reports import run

    with engine_of(engine, master) as spark:
        assert spark is not None
        output.emit(on_catalog(lambda catalog: run.make(catalog, name, bound, spark.run)))


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
    chosen = list(query.load_all().values()) if name is None else [query.find(name)]
    columns: tuple[str, ...] = ("query", "kind", "title", "parameters")
    rows: list[tuple[str, ...]] = [
        (
            q.name,
            q.group or "report",
            q.title,
            ", ".join(f"{p.name} = {p.default}" for p in q.params),
        )
        for q in sorted(chosen, key=lambda q: (q.group, q.name))
    ]
    if name is not None:
        columns = (*columns, "sql")
        rows = [(*rows[0], chosen[0].text)]
    output.emit(Report(Result(columns, ("VARCHAR",) * len(columns), rows), "queries"))


# --- what there is --------------------------------------------------------------------------------


@app.command(epilog="Example: chainwatch sources")
@listing
def sources(*, output: Output) -> None:
    """List the sources that can be collected."""
    from chainwatch.collect.registry import discover
    from chainwatch.lake.engine import Result
    from chainwatch.show.document import Report

    rows = [(s.name, s.mode, s.summary, s.docs) for s in discover().values()]
    kinds = ("VARCHAR",) * 4
    output.emit(
        Report(Result(("source", "mode", "reads", "documentation"), kinds, rows), "sources")
    )


@app.command(epilog="Example: chainwatch config")
@listing
def config(*, output: Output) -> None:
    """Show every setting and where it came from."""
    from chainwatch.collect.registry import discover
    from chainwatch.lake.engine import Result
    from chainwatch.net.urls import mask
    from chainwatch.settings import FEED_SETTINGS, RPC_SETTING, SETTINGS, URL_SETTING
    from chainwatch.show.document import Report

    settings = setup().settings
    effective = {
        "home": str(settings.home),
        "cache": str(settings.cache),
        "markets": str(settings.markets),
        "tokens": str(settings.tokens),
        "timeout": f"{settings.timeout:g}",
        "webhook": _masked(settings, "webhook"),
        "notify": _masked(settings, "notify"),
        "ca_file": str(settings.ca_file or "none"),
    }
    rows = []
    for setting in SETTINGS:
        found = settings.get(setting.name)
        origin = found.origin if found else "default"
        rows.append((setting.env, effective[setting.name], origin, setting.meaning))
    for chain in settings.rpc_chains():
        found = settings.rpc_urls(chain)
        if found is not None:
            masked = ", ".join(mask(u.strip()) for u in found.value.split(",") if u.strip())
            rows.append((f"CHAINWATCH_RPC_{chain.upper()}", masked, found.origin, ""))
    rows.append(("CHAINWATCH_RPC_<CHAIN>", "", "default", RPC_SETTING.meaning))
    for source in discover().values():
        base_of = source.base or source.rest
        if base_of:
            name = f"url_{source.name}".replace("-", "_")
            base = settings.url(source.name, base_of)
            rows.append((f"CHAINWATCH_{name.upper()}", base.shown or "off", base.origin, ""))
    rows.append(("CHAINWATCH_URL_<SOURCE>", "", "default", URL_SETTING.meaning))
    for name in settings.feed_urls():
        found = settings.get(name)
        if found is not None:
            rows.append((f"CHAINWATCH_{name.upper()}", mask(found.value), found.origin, ""))
    for setting in FEED_SETTINGS:
        rows.append((setting.env, "", "default", setting.meaning))
    kinds = ("VARCHAR",) * 4
    output.emit(Report(Result(("setting", "value", "origin", "meaning"), kinds, rows), "config"))


def _masked(settings: Settings, name: str) -> str:
    from chainwatch.net.urls import mask

    found = settings.get(name)
    return " ".join(mask(url) for url in found.value.split()) if found else "none"


# --- areas with a module of their own -------------------------------------------------------------

from chainwatch.commands import alerts as _alerts  # noqa: E402, F401
from chainwatch.commands import cascade as _cascade  # noqa: E402, F401
from chainwatch.commands import diff as _diff  # noqa: E402, F401
from chainwatch.commands import disclosures, exchanges  # noqa: E402, F401
from chainwatch.commands import export as _export  # noqa: E402, F401
from chainwatch.commands import markets as _markets  # noqa: E402, F401
from chainwatch.commands import nightly as _nightly  # noqa: E402, F401
from chainwatch.commands import schema as _schema  # noqa: E402, F401

# --- ending ---------------------------------------------------------------------------------------


def main() -> NoReturn:
    """Entry point: every way of ending has its exit code, every failure its one line."""
    code = int(Exit.OK)
    with _ended():
        try:
            _require_text(sys.argv[1:])
            ended = app(prog_name="chainwatch", standalone_mode=False)
            code = ended if isinstance(ended, int) else code
        except ChainwatchError as failure:
            code = _tell(failure)
        except KeyboardInterrupt:
            code = Exit.INTERRUPTED
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else Exit.USAGE
        except Exception as failure:
            code = _other(failure)
    if code == Exit.INTERRUPTED:
        _say("interrupted; what was acknowledged is stored")
    if code == Exit.INTERRUPTED or _something_left():
        # A thread that still works is not waited for: all that counts is on disk.
        os._exit(code)
    sys.exit(code)


def _something_left() -> bool:
    """Whether a statement goes on that was left behind."""
    # Importing it for that would slow down each command that reads nothing.
    readonly = sys.modules.get("chainwatch.lake.readonly")
    return readonly is not None and bool(readonly.anything_left())


@contextlib.contextmanager
def _ended() -> Iterator[None]:
    try:
        yield
    finally:
        if (current := set_up()) is not None:
            current.teller.close()


def _require_text(arguments: list[str]) -> None:
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(f"the argument {argument!r} is not UTF-8 text") from None


def _tell(failure: ChainwatchError) -> int:
    _trace(failure)
    _say(str(failure))
    return int(failure.code)


def _say(text: str) -> None:
    _teller().error(text)


def _teller() -> Teller:
    from chainwatch.show.tell import Teller

    current = set_up()
    return current.teller if current is not None else Teller()


def _trace(failure: Exception) -> None:
    """With --debug, where it happened; endpoints stay masked there too."""
    current = set_up()
    if current is None or not current.debug:
        return
    import traceback

    for entry in traceback.format_exception(failure):
        for line in entry.splitlines():
            text = line.lstrip()
            _teller().error_detail(" " * (len(line) - len(text)) + _scrubbed(text))


def _scrubbed(text: str) -> str:
    from chainwatch.chain.markets import scrubbed
    from chainwatch.settings import Settings

    current = set_up()
    return scrubbed(text, current.settings if current is not None else Settings())


def _other(failure: Exception) -> int:
    """What is wrong with the flags, what the system refused, and what nobody expected."""
    if hasattr(failure, "format_message"):
        return _flags(failure)
    if isinstance(failure, OSError) and failure.filename is None:
        from chainwatch.show import terminal

        # What stdout did not take is still in its buffer: where it was stdout, this fails, too.
        try:
            terminal.write("")
        except ChainwatchError as refused:
            return _tell(refused)
    return _tell(named(failure, _scrubbed))


def _flags(failure: Any) -> int:
    """Typer's complaint in one line, or the help where there was nothing to complain about."""
    message, context = failure.format_message(), getattr(failure, "ctx", None)
    if type(failure).__name__ == "NoArgsIsHelpError":
        _teller().help(message)
        return int(Exit.USAGE)
    option = getattr(failure, "option_name", None)
    if context is not None:
        root = context.find_root()
        if context is not root and any(option in p.opts for p in root.command.params):
            message = f"{option} goes before the command: {root.command_path} {option} …"
        end = "" if message.endswith("?") else ";"
        message = f"{message.rstrip('.')}{end} `{context.command_path} --help` says what there is"
    _say(message)
    return int(Exit.USAGE)


if __name__ == "__main__":
    main()
