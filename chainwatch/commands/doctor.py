"""`doctor`: the machine, the home folder, streams of venues, and endpoints of markets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from chainwatch.commands.app import app, get_session
from chainwatch.commands.options import Output, listing
from chainwatch.commands.running import jobs_of, on_catalog, run
from chainwatch.commands.values import span

if TYPE_CHECKING:
    from chainwatch.chain.markets import Market
    from chainwatch.reports.doctor import Finding


STREAM_SECONDS = 20.0


@app.command(epilog="Example: chainwatch doctor binance okx")
@listing
def doctor(
    venues: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VENUE…]", help="Run their streams for some seconds, store nothing."
        ),
    ] = None,
    market: Annotated[
        list[str] | None,
        typer.Option("--market", metavar="NAME", help="Its endpoints; default: all collected."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Probe endpoints again that are known.")
    ] = False,
    for_: Annotated[
        str | None,
        typer.Option("--for", metavar="TIME", help="How long streams run; 20s if not given."),
    ] = None,
    *,
    output: Output,
) -> None:
    """Whether all is there, and what venues and endpoints give."""
    from chainwatch.errors import Exit
    from chainwatch.reports.doctor import exit_code, faults, report
    from chainwatch.reports.house import examine_house

    session = get_session()
    findings = examine_house(session.settings)
    # Where settings cannot be read, no market is known.
    if exit_code(findings) != Exit.USAGE:
        if venues:
            findings += _streams(
                venues, span(for_, "--for") if for_ is not None else STREAM_SECONDS
            )
        # Without a name, venues alone are looked at where they are named.
        if market is not None or not venues:
            findings += _endpoints(_markets(market), fresh)
    output.emit(report(findings))
    for finding in faults(findings):
        session.teller.error(str(finding.failure))
    if code := exit_code(findings):
        raise typer.Exit(code)


def _streams(venues: list[str], seconds: float) -> list[Finding]:
    """Findings about the streams of these venues, which run for some seconds."""
    from chainwatch.errors import UsageError
    from chainwatch.reports.streams import examine_streams, stream_findings

    session = get_session()
    jobs = jobs_of(venues, [], {})
    for job in jobs:
        if job.source.mode != "stream":
            raise UsageError(f"{job.source.name} is no stream: `chainwatch collect` reads it")
    return stream_findings(run(examine_streams(session.settings, jobs, session.teller, seconds)))


def _markets(names: list[str] | None) -> list[Market]:
    """The markets named, else those on public chains that have been collected."""
    from chainwatch.chain.markets import load_markets
    from chainwatch.collect.endpoints import markets_named
    from chainwatch.errors import ChainwatchError
    from chainwatch.lake import query

    session = get_session()
    if names is not None:
        return markets_named(session.settings, names)
    try:
        if not session.store.exists:
            return []
        rows = on_catalog(lambda catalog: query.run(catalog, query.find("provenance"))).dicts()
    except ChainwatchError:
        return []  # the lake has a finding of its own
    collected = {row["market"] for row in rows}
    markets = load_markets(session.settings).values()
    return [m for m in markets if m.name in collected and m.provenance == "chain"]


def _endpoints(markets: list[Market], fresh: bool) -> list[Finding]:
    """Findings about the endpoints of these markets; what was probed is kept."""
    from chainwatch.collect.endpoints import examine_endpoints, keep_capabilities
    from chainwatch.errors import StoreError
    from chainwatch.reports.doctor import FAULT, Finding
    from chainwatch.reports.endpoints import endpoint_findings

    session = get_session()
    if not markets:
        return []
    states = run(
        examine_endpoints(session.store, session.settings, markets, session.teller, fresh=fresh)
    )
    findings = endpoint_findings(states)
    try:
        keep_capabilities(session.store, states)
    except StoreError as failure:
        findings.append(Finding("home", "capabilities", "not kept", FAULT, str(failure), failure))
    return findings
