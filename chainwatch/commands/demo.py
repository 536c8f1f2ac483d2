"""`demo`: two markets on a local chain, from the first block to the reports."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chainwatch.commands.app import app, get_session
from chainwatch.errors import CheckFailed

if TYPE_CHECKING:
    from chainwatch.show.document import Report


@app.command("demo", epilog="Example: chainwatch demo")
def run_demo(
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Play the shipped recording, start no node.")
    ] = False,
) -> None:
    """Two markets on a local chain: read, verify, a price drop."""
    from chainwatch.demo import stages, story
    from chainwatch.demo.node import ToolchainMissing
    from chainwatch.show import render, terminal
    from chainwatch.show.document import Format

    session = get_session()
    teller = session.teller
    home = session.settings.home / "demo"

    def emit(report: Report) -> None:
        teller.close()
        text = render.text_of(
            report,
            Format.TABLE,
            width=terminal.terminal_width(),
            color=terminal.wants_color(session.color),
        )
        terminal.write(text + "\n")

    with teller:
        if not recorded:
            try:
                with stages.live(session.settings.cache, teller.note) as node:
                    story.play(node, home, teller, emit)
            except ToolchainMissing as missing:
                teller.note(f"{missing}; playing the recording instead")
                recorded = True
        if recorded:
            with stages.recorded() as player:
                story.play(player, home, teller, emit)
        terminal.write(_exported(home))
    terminal.write(_next_steps(home))


def _exported(home: Path) -> str:
    """Export what the demo stored and check it; the lines to print."""
    from chainwatch.lake.store import Store
    from chainwatch.nightly.export import choose_day, export_day
    from chainwatch.nightly.verification import check_export

    store = Store(home)
    day = choose_day(store, None)
    exported = export_day(store, home / "marts", day)
    nights, faults = check_export(home / "marts")
    if faults:
        raise CheckFailed(f"{faults[0].path} {faults[0].what}")
    return (
        f"Exported {len(exported.rows)} marts with {sum(exported.rows.values()):,} rows to "
        f"{exported.folder}; {nights} day(s) checked, every file is what its manifest says.\n\n"
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
