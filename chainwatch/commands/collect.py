"""`collect` and `verify`: sources into the lake, and what is stored against the chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainwatch.commands.app import app, get_session
from chainwatch.commands.options import MarketsOption, Output, listing, scope
from chainwatch.commands.running import emit_query, jobs_of, run
from chainwatch.commands.values import choice, count, past, span
from chainwatch.errors import CheckFailed, UsageError
from chainwatch.text import suggest

if TYPE_CHECKING:
    from chainwatch.collect.feed import Job
    from chainwatch.collect.source import Source
    from chainwatch.lake.store import Store
    from chainwatch.settings import Settings
    from chainwatch.show.document import Report
    from chainwatch.tables.lending import Mismatch, Verification
    from chainwatch.tables.log import Load


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
            metavar="WHO", help="borrowers (that ever borrowed) or all (that ever held a balance)."
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
    from chainwatch.show.document import Format

    session = get_session()
    options = _job_options(accounts, full, since, only)
    jobs = jobs_of(sources, market or [], options)
    for_markets = {"--market": bool(market), "--accounts": accounts == "all", "--full": full}
    _require_use(jobs, [option for option, given in for_markets.items() if given], since)
    if verify_after:
        _require_positions(jobs)
    seconds = span(for_, "--for") if for_ is not None else None
    store = session.store
    if dry_run:
        output.emit(_plan(store, session.settings, jobs))
        return
    streaming = output.form is Format.JSONL and output.to_stdout
    results: list[Verification] = []
    mismatches: list[Mismatch] = []
    with session.teller:
        _announce(jobs)
        outcomes = run(
            runner.collect(
                *(store, session.settings, jobs, session.teller),
                seconds=seconds,
                stored=_print_load if streaming else lambda load: None,
            )
        )
        try:
            if verify_after and not any(o.failure for o in outcomes):
                results, mismatches = _verify_stored(jobs)
        finally:
            if not streaming:
                output.emit(_outcome_report(outcomes, results if verify_after else None))
        runner.raise_failures(outcomes)
        _raise_mismatches(results, mismatches)


def _job_options(
    accounts: str, full: bool, since: str | None, only: list[str] | None
) -> dict[str, str]:
    options = {"accounts": choice(accounts, "--accounts", ("borrowers", "all"))}
    if full:
        options["full"] = "yes"
    if since is not None:
        options["since"] = past(since, "--since").isoformat()
    if only:
        options["only"] = ",".join(only)
    return options


def _print_load(load: Load) -> None:
    """A stored load as a line of JSON."""
    import json

    from chainwatch.collect import runner
    from chainwatch.show import terminal

    if terminal.terminal_width() is not None:
        get_session().teller.close()
    terminal.write(json.dumps(runner.load_line(load)) + "\n")


def _address(settings: Settings, source: Source, target: str) -> str | None:
    """What is asked, as it may be shown: endpoints of a market or a socket; None for documents."""
    from chainwatch.chain.markets import endpoints, find_market
    from chainwatch.urls import mask

    if source.protocol:
        market = find_market(settings, source.protocol, target)
        return ", ".join(mask(url) for url in endpoints(settings, market))
    if source.socket:
        configured = settings.feed_url("ws", source.name)
        return mask(configured.value if configured else source.socket)
    return None


def _announce(jobs: list[Job]) -> None:
    """Name what is asked before the first answer, which may take a while."""
    session = get_session()
    for job in jobs:
        address = _address(session.settings, job.source, job.target)
        if address is not None:
            verb = "asking" if job.source.protocol else "listening to"
            session.teller.note(f"{job.name}: {verb} {address}")


def _names(jobs: list[Job]) -> str:
    return ", ".join(dict.fromkeys(job.source.name for job in jobs))


def _require_positions(jobs: list[Job]) -> None:
    if all(job.source.verify is None for job in jobs):
        raise UsageError(
            f"--verify is for positions of lending markets, and {_names(jobs)} reads none"
        )


def _require_use(jobs: list[Job], for_markets: list[str], since: str | None) -> None:
    """An option that none of the sources looks at would be believed to have worked."""
    from chainwatch.collect.registry import discover

    if for_markets and not any(job.source.protocol for job in jobs):
        raise UsageError(f"{for_markets[0]} is for lending markets, and {_names(jobs)} reads none")
    if since is not None and not any(job.source.takes_since for job in jobs):
        histories = [name for job in jobs if (name := f"{job.source.name}-history") in discover()]
        hint = f": `chainwatch collect {' '.join(histories)} --since …`" if histories else ""
        raise UsageError(f"--since is for histories, and {_names(jobs)} is none{hint}")


def _plan(store: Store, settings: Settings, jobs: list[Job]) -> Report:
    """What a run would read, from where, and where each job would go on."""
    import json

    from chainwatch.lake.engine import Result
    from chainwatch.show.document import Report

    rows = []
    for job in jobs:
        address = _address(settings, job.source, job.target)
        if address is None:
            address = settings.url(job.source.name, job.source.base).shown or job.source.docs
        cursor = store.cursor(job.source.name, job.target) if store.exists else None
        resumes_at = json.dumps(cursor) if cursor else _BEGIN[job.source.mode]
        tables = ", ".join(t.table for t in job.source.tables)
        rows.append((job.source.name, job.target, address, resumes_at, tables))
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
        by_market = {r.market: (r.block_number, r.checked, r.mismatched) for r in verified}
        nothing = (None,) * 3
        rows = [
            (*row, *(by_market.get(row[1], nothing) if o.job.source.verify else nothing))
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
    wall: Annotated[
        bool,
        typer.Option(
            "--wall", help="Also prove the triggers: the contracts asked at other prices."
        ),
    ] = False,
    with_web3: Annotated[
        bool, typer.Option("--with-web3", help="Read through web3's own codecs (slow).")
    ] = False,
    *,
    output: Output,
) -> None:
    """Compare the newest snapshot with the chain, as integers."""
    store = get_session().store
    store.require()
    jobs = _verifiable_jobs(store, market or [])
    if not jobs:
        raise UsageError("no market has been read yet: run `chainwatch collect` first")
    with get_session().teller:
        _announce(jobs)
        results, mismatches = _compare(jobs, sample, with_web3, wall)
        emit_query("verification", scope(market, None), output)
        _raise_mismatches(results, mismatches)


def _verifiable_jobs(store: Store, markets: list[str]) -> list[Job]:
    """A job for the newest snapshot of each market, or of these."""
    from chainwatch.collect.feed import Job
    from chainwatch.collect.registry import discover
    from chainwatch.tables.lending import Snapshot

    protocols = {s.market: s.protocol for s in store.rows(Snapshot, "provenance <> 'imported'")}
    sources = {s.protocol: s for s in discover().values() if s.verify}
    stored = sorted(protocols)
    for name in markets or stored:
        if protocols.get(name) not in sources:
            raise UsageError(
                f"no snapshot of market {name!r} to verify; {suggest(name, stored)}"
                f"stored: {', '.join(stored) or 'none'}"
            )
    return [Job(sources[protocols[name]], target=name) for name in markets or stored]


def _verify_stored(jobs: list[Job]) -> tuple[list[Verification], list[Mismatch]]:
    """Compare what these jobs stored, as far as there is something to compare."""
    for job in jobs:
        if job.source.verify is None:
            get_session().teller.note(f"{job.name}: nothing to verify")
    return _compare([job for job in jobs if job.source.verify is not None], None, False, True)


def _compare(
    jobs: list[Job], sample: int | None, independent: bool, wall: bool
) -> tuple[list[Verification], list[Mismatch]]:
    from chainwatch.collect import runner
    from chainwatch.reports.wall_proof import predict_walls
    from chainwatch.tables.lending import Mismatch

    session = get_session()
    results, mismatches = [], []
    for job in jobs:
        result, rows = run(
            runner.verify(
                *(session.store, session.settings, job, session.teller),
                sample=sample,
                independent=independent,
                walls=predict_walls(session.store, session.settings, job) if wall else (),
            )
        )
        results.append(result)
        mismatches += [row for row in rows if isinstance(row, Mismatch)]
    return results, mismatches


def mismatch_summary(mismatches: list[Mismatch]) -> str:
    """What differs from the chain: accounts, accounts at other prices, debt that was not found."""
    missing = [m for m in mismatches if not m.account]
    accounts = [m for m in mismatches if m.account]
    moved = {(m.market, m.account, m.position) for m in accounts if m.factor}
    plain = {(m.market, m.account, m.position) for m in accounts if not m.factor}
    parts = [f"{len(plain)} account(s) differ from the chain"] * bool(plain)
    parts += [f"{len(moved)} account(s) are not as the wall says at other prices"] * bool(moved)
    parts += [
        f"{m.market}: only {int(m.ours) / int(m.chain):.2%} of the {m.figure} was found: the "
        "endpoint leaves out event logs: set another `rpc` and collect with --full"
        for m in missing
    ]
    return "; ".join(parts)


def _raise_mismatches(results: list[Verification], mismatches: list[Mismatch]) -> None:
    teller = get_session().teller
    for m in mismatches[:20]:
        price = f"{m.factor} × {m.x:.6g}" if m.factor else ""
        name = " ".join(filter(None, (m.market, m.account, m.position, price, m.figure)))
        teller.note(f"{name}: ours {m.ours}, chain {m.chain}")
    if len(mismatches) > 20:
        teller.note(f"… and {len(mismatches) - 20} more in table mismatches")
    if mismatches:
        raise CheckFailed(mismatch_summary(mismatches))
