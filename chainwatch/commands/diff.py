"""`diff`: how a wall moved between two days, split into what moved it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from chainwatch.commands.app import app, get_session
from chainwatch.commands.options import MarketOption, Output, listing, market_list
from chainwatch.commands.values import last_moment, share
from chainwatch.errors import UsageError

MOVERS = 5  # accounts named per part with --explain


@app.command(
    "diff", epilog="Example: chainwatch diff --from 2026-11-19 --to 2026-11-20 --factor ETH"
)
@listing
def emit_diff(
    since: Annotated[
        str, typer.Option("--from", metavar="DAY", help="The older day (its end), or a time.")
    ],
    until: Annotated[
        str | None,
        typer.Option("--to", metavar="DAY", help="The newer day, or a time; else the newest."),
    ] = None,
    factor: Annotated[str, typer.Option(metavar="NAME", help="Whose wall: BTC, ETH …")] = "BTC",
    down: Annotated[
        str | None, typer.Option(metavar="SHARE", help="How deep the wall is, default 30%.")
    ] = None,
    up: Annotated[
        str | None, typer.Option(metavar="SHARE", help="The wall above the price instead.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Name the accounts behind each part.")
    ] = False,
    market: MarketOption = None,
    *,
    output: Output,
) -> None:
    """How a wall moved between two days, and why."""
    from chainwatch.reports.diff import WallRange, split
    from chainwatch.reports.diff_report import movers_report, parts_report

    if down is not None and up is not None:
        raise UsageError("the wall is either below or above the price: choose --down or --up")
    direction = "up" if up is not None else "down"
    reach = share(up, "--up", most=10.0) if up is not None else share(down or "30%", "--down")
    store = get_session().store
    store.require()
    begin = last_moment(since, "--from")
    end = datetime.now(UTC) if until is None else last_moment(until, "--to")
    if end <= begin:
        raise UsageError(f"--to must be later than --from: {until} is not after {since}")
    with get_session().teller:
        wall = WallRange(
            factor=factor,
            market=market_list(market),
            direction=direction,
            reach=reach,
        )
        difference = split(store, wall, begin, end, movers=MOVERS if explain else 0)
    if explain:
        output.emit(movers_report(difference, wall, MOVERS))
    else:
        output.emit(parts_report(difference, wall))
