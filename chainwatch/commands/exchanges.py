"""The commands over exchange feeds: what was liquidated, what was watched, and watching itself."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chainwatch.commands.app import app, get_session
from chainwatch.commands.options import Output, listing
from chainwatch.commands.running import emit_query, jobs_of, row_limit, run
from chainwatch.commands.values import amount, choice, moment, span
from chainwatch.errors import Unparsed, UsageError

if TYPE_CHECKING:
    from chainwatch.collect.feed import Job, Outcome
    from chainwatch.reports.watch import Board, Shown
    from chainwatch.show.tell import Teller
    from chainwatch.show.terminal import Screen
    from chainwatch.tables.exchange import ExchangeLiquidation

LARGEST_SHOWN = 20

SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="From this time on; else a day before the end."),
]
UntilOption = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="Before this time; else the newest stored."),
]
VenueOption = Annotated[
    str | None, typer.Option("--venue", metavar="NAME", help="One venue; all without it.")
]
ForOption = Annotated[
    str | None, typer.Option("--for", metavar="TIME", help="Stop after 90s, 10m, 2h …")
]
SymbolOption = Annotated[
    str | None, typer.Option(metavar="COIN", help="Only of this coin or collateral: BTC, WETH.")
]
SideOption = Annotated[
    str | None, typer.Option(metavar="SIDE", help="Only positions that were long, or short.")
]
MinUsdOption = Annotated[
    float, typer.Option(metavar="USD", parser=amount, help="Only of so much or more.")
]
SIDES = ("long", "short")
VenuesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[VENUE…]", help="Venues or sources; binance, bybit and okx if none."),
]
LARGE_VENUES = ["binance", "bybit", "okx"]
REDRAW_SECONDS = 0.5


def _window(since: str | None, until: str | None, venue: str | None) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, text, flag in (("p_since", since, "--since"), ("p_until", until, "--until")):
        if text is not None:
            values[name] = moment(text, flag)
    if venue is not None:
        values["p_venue"] = venue
    return values


def _streams(venues: list[str] | None) -> list[Job]:
    jobs = jobs_of(venues or LARGE_VENUES, [], {})
    for job in jobs:
        if job.source.mode != "stream":
            raise UsageError(f"{job.source.name} is no stream: `chainwatch collect` reads it")
    return jobs


@app.command(epilog="Example: chainwatch liquidations --by hour --since 2026-01-29")
@listing
def liquidations(
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="WHAT",
            help="minute, hour, venue (if not given), symbol (coin), contract or side.",
        ),
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    venue: VenueOption = None,
    symbol: SymbolOption = None,
    side: SideOption = None,
    min_usd: MinUsdOption = 0,
    largest: Annotated[
        bool, typer.Option("--largest", help="The largest single ones (20, or --limit).")
    ] = False,
    model: Annotated[
        bool, typer.Option("--model", help="MODEL: what sampled venues may have left out.")
    ] = False,
    *,
    output: Output,
) -> None:
    """Liquidations on exchanges and on chain, as lower bounds."""
    if by is not None:
        choice(by, "--by", ("minute", "hour", "venue", "symbol", "contract", "side"))
    given = {"--by": by is not None, "--largest": largest, "--model": model}
    if len(options := [option for option, is_given in given.items() if is_given]) > 1:
        raise UsageError(f"choose one of {' and '.join(options)}")
    values = _window(since, until, venue)
    if model:
        if symbol or side or min_usd:
            raise UsageError("--model estimates all liquidations: no --symbol, --side or --min-usd")
        emit_query("liquidation_estimate", values, output)
        return
    values["p_min_usd"] = min_usd
    if symbol is not None:
        values["p_symbol"] = symbol
    if side is not None:
        values["p_side"] = choice(side, "--side", SIDES)
    if largest:
        limit = LARGEST_SHOWN if output.limit is None else output.limit
        emit_query("largest_liquidations", values | {"p_limit": row_limit(limit)}, output, limit)
    else:
        emit_query("liquidations", values | {"p_by": by or "venue"}, output)


@app.command(epilog="Example: chainwatch feeds --since 2026-01-29")
@listing
def feeds(
    since: SinceOption = None,
    until: UntilOption = None,
    venue: VenueOption = None,
    *,
    output: Output,
) -> None:
    """What each exchange feed covered, and what it did not."""
    emit_query("feeds", _window(since, until, venue), output)


@app.command("watch", epilog="Example: chainwatch watch binance okx")
def watch_feeds(
    venues: VenuesArgument = None,
    for_: ForOption = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="One JSON object per liquidation.")
    ] = False,
    symbol: SymbolOption = None,
    side: SideOption = None,
    min_usd: MinUsdOption = 0,
) -> None:
    """Show liquidations as they come, and store them all."""
    from chainwatch.collect import runner
    from chainwatch.reports.watch import Shown
    from chainwatch.show import terminal
    from chainwatch.show.tell import Teller

    session = get_session()
    jobs = _streams(venues)
    seconds = span(for_, "--for") if for_ is not None else None
    shown = Shown(symbol, None if side is None else choice(side, "--side", SIDES), min_usd)
    store = session.store
    store.create()
    on_screen = terminal.terminal_width() is not None and not jsonl
    board = _board(jobs, on_screen, jsonl, shown)
    followed = [job for job in jobs if store.held(job.source.name)]
    for job in followed:
        session.teller.note(f"{job.source.name} is being collected: following what is stored")
    collected = [job for job in jobs if job not in followed]
    # Notes are on the screen as well: a line on stderr would tear it.
    teller = Teller(quiet=session.teller.quiet or on_screen)
    drawn: AbstractContextManager[Screen | None] = (
        terminal.Screen(terminal.wants_color(session.color)) if on_screen else nullcontext()
    )
    with session.teller, drawn as screen:
        outcomes = run(_collect_and_follow(collected, followed, board, teller, screen, seconds))
    runner.raise_failures(outcomes)


async def _collect_and_follow(
    collected: list[Job],
    followed: list[Job],
    board: Board,
    teller: Teller,
    screen: Screen | None,
    seconds: float | None,
) -> list[Outcome]:
    """Collect some streams and follow those that another process collects, for `seconds`."""
    import asyncio

    from chainwatch.collect import runner

    session = get_session()
    beside = []
    if screen is not None:
        beside.append(asyncio.create_task(_redraw(screen, board)))
    if followed:
        names = [job.source.name for job in followed]
        beside.append(asyncio.create_task(runner.follow(session.store, names, board)))
    try:
        if collected:
            return await runner.collect(
                *(session.store, session.settings, collected, teller),
                seconds=seconds,
                listener=board,
            )
        async with asyncio.timeout(seconds) as limit:
            await asyncio.gather(*beside)
    except TimeoutError:
        if not limit.expired():
            raise
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
    return []


async def _redraw(screen: Screen, board: Board) -> None:
    import asyncio

    while True:
        screen.draw(board.reports())
        await asyncio.sleep(REDRAW_SECONDS)


def _board(jobs: list[Job], on_screen: bool, jsonl: bool, shown: Shown) -> Board:
    """What keeps the totals; without a screen each liquidation is a line on stdout."""
    import msgspec

    from chainwatch.reports import watch
    from chainwatch.show import terminal

    def print_row(row: ExchangeLiquidation) -> None:
        text = msgspec.json.encode(row).decode() if jsonl else watch.line(row)
        terminal.write(f"{text}\n")

    names = [job.source.name for job in jobs]
    show = (lambda row: None) if on_screen else print_row
    return watch.Board(names, lambda: datetime.now(UTC), show, shown)


@app.command(epilog="Example: chainwatch record binance --for 10m --out frames.jsonl")
def record(
    venues: VenuesArgument = None,
    for_: ForOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Append there, not to stdout."),
    ] = None,
) -> None:
    """Keep raw frames of exchange feeds, and store nothing."""
    from chainwatch.collect import runner
    from chainwatch.exchanges.frames import Recorder
    from chainwatch.show import terminal

    session = get_session()
    jobs = _streams(venues)
    seconds = span(for_, "--for") if for_ is not None else None
    with session.teller, terminal.appending(out) as file:
        recorder = Recorder(file)
        outcomes = run(
            runner.record(session.settings, jobs, session.teller, recorder, seconds=seconds)
        )
    session.teller.note(f"{recorder.frames:,} frames recorded")
    runner.raise_failures(outcomes)


@app.command("replay", epilog="Example: chainwatch replay frames.jsonl")
@listing
def replay_file(
    file: Annotated[Path, typer.Argument(help="What `record` wrote.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only read; store nothing.")] = False,
    *,
    output: Output,
) -> None:
    """Read recorded frames as if they came now."""
    from chainwatch.exchanges.replay import replay_frames
    from chainwatch.lake.engine import Result
    from chainwatch.show.document import Report

    session = get_session()
    unread: list[str] = []

    def rejected(line: str) -> None:
        unread.append(line)
        session.teller.note(line)

    counts = replay_frames(None if dry_run else session.store, file, rejected)
    rows = [(name, *numbers) for name, numbers in sorted(counts.items())]
    columns = ("source", "frames", "liquidations", "rejects", "heartbeats")
    kinds = ("VARCHAR", *("BIGINT",) * 4)
    output.emit(Report(Result(columns, kinds, list(rows)), "replay"))
    if unread:
        raise Unparsed(f"some frames or rows cannot be parsed: {'; '.join(unread)}")
