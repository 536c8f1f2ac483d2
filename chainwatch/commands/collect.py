"""`collect` and `verify`: sources into the lake, and what is stored against the chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainwatch.commands.app import app, setup
from chainwatch.commands.options import MarketsOption, Output, listing, scope
from chainwatch.commands.running import emit_query, jobs_of, run
from chainwatch.commands.values import choice, count, past, span
from chainwatch.errors import CheckFailed, UsageError

if TYPE_CHECKING:
    from chainwatch.collect.feed import Job
    from chainwatch.lake.store import Store
    from chainwatch.settings import Settings
    from chainwatch.show.document import Report
    from chainwatch.tables.lending import Mismatch, Verification


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
    options = {"accounts": choice(accounts, "--accounts", ("borrowers", "all"))} | (
        {"full": "yes"} if full else {}
    )
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
