"""The commands over exchange feeds: what was liquidated, what was watched, and watching itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chainwatch.commands.app import app, setup
from chainwatch.commands.options import Output, listing
from chainwatch.commands.running import emit_query, jobs_of, row_limit, run
from chainwatch.commands.values import choice, moment, span
from chainwatch.errors import Unread, UsageError

if TYPE_CHECKING:
    from chainwatch.collect.feed import Job

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
        typer.Option("--by", metavar="WHAT", help="hour, venue (if not given), symbol or side."),
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    venue: VenueOption = None,
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
        choice(by, "--by", ("hour", "venue", "symbol", "side"))
    given = {"--by": by is not None, "--largest": largest, "--model": model}
    if len(chosen := [option for option, is_given in given.items() if is_given]) > 1:
        raise UsageError(f"choose one of {' and '.join(chosen)}")
    values = _window(since, until, venue)
    if model:
        emit_query("liquidation_estimate", values, output)
    elif largest:
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


@app.command(epilog="Example: chainwatch watch binance okx")
def watch(
    venues: VenuesArgument = None,
    for_: ForOption = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="One JSON object per liquidation.")
    ] = False,
) -> None:
    """Show liquidations as they come, and store them."""
    import asyncio

    import msgspec

    from chainwatch.collect import runner
    from chainwatch.collect.feed import Outcome
    from chainwatch.reports import watch as watching
    from chainwatch.show import terminal
    from chainwatch.show.tell import Teller
    from chainwatch.show.terminal import Screen

    current = setup()
    jobs = _streams(venues)
    seconds = span(for_, "--for") if for_ is not None else None
    store = current.store
    store.create()
    on_screen = terminal.terminal_width() is not None and not jsonl
    board = watching.Board(
        [job.source.name for job in jobs],
        lambda: datetime.now(UTC),
        (lambda row: None)
        if on_screen
        else lambda row: terminal.write(
            (msgspec.json.encode(row).decode() if jsonl else watching.line(row)) + "\n"
        ),
    )
    busy = [job for job in jobs if store.held(job.source.name)]
    free = [job for job in jobs if job not in busy]
    for job in busy:
        current.teller.note(f"{job.source.name} is being collected: following what is stored")

    async def look(screen: Screen | None) -> list[Outcome]:
        async def redraw() -> None:
            while screen is not None:
                screen.draw(board.reports())
                await asyncio.sleep(REDRAW_SECONDS)

        beside = [asyncio.create_task(redraw())]
        if busy:
            names = [job.source.name for job in busy]
            beside.append(asyncio.create_task(runner.follow(store, names, board)))
        try:
            if free:
                return await runner.collect(
                    store, current.settings, free, voice, seconds=seconds, listener=board
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

    # What the notes say is on the screen as well, where they would tear it.
    voice = Teller(quiet=current.teller.quiet or on_screen)
    with current.teller:
        if on_screen:
            with Screen(terminal.wants_color(current.color)) as screen:
                outcomes = run(look(screen))
        else:
            outcomes = run(look(None))
    runner.raise_failures(outcomes)


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

    current = setup()
    jobs = _streams(venues)
    seconds = span(for_, "--for") if for_ is not None else None
    with current.teller, terminal.appending(out) as file:
        recorder = Recorder(file)
        outcomes = run(
            runner.record(current.settings, jobs, current.teller, recorder, seconds=seconds)
        )
    current.teller.note(f"{recorder.frames:,} frames recorded")
    runner.raise_failures(outcomes)


@app.command(epilog="Example: chainwatch replay frames.jsonl")
@listing
def replay(
    file: Annotated[Path, typer.Argument(help="What `record` wrote.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only read; store nothing.")] = False,
    *,
    output: Output,
) -> None:
    """Read recorded frames as if they came now."""
    from chainwatch.exchanges.replay import replay_frames
    from chainwatch.lake.engine import Result
    from chainwatch.show.document import Report

    current = setup()
    unread: list[str] = []

    def rejected(line: str) -> None:
        unread.append(line)
        current.teller.note(line)

    found = replay_frames(None if dry_run else current.store, file, rejected)
    rows = [(name, *counts) for name, counts in sorted(found.items())]
    columns = ("source", "frames", "liquidations", "rejects", "heartbeats")
    kinds = ("VARCHAR", *("BIGINT",) * 4)
    output.emit(Report(Result(columns, kinds, list(rows)), "replay"))
    if unread:
        raise Unread(f"some frames or rows cannot be parsed: {'; '.join(unread)}")
