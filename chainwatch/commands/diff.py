"""`diff`: how a wall moved between two days, split into what moved it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

from chainwatch.commands.app import app, get_session
from chainwatch.commands.options import MarketOption, Output, listing, scope
from chainwatch.commands.values import last_moment, share
from chainwatch.errors import UsageError

if TYPE_CHECKING:
    from chainwatch.reports.diff import WallDifference
    from chainwatch.show.document import Report

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
            market=str(scope(market, None).get("p_market", "all")),
            direction=direction,
            reach=reach,
        )
        difference = split(store, wall, begin, end, movers=MOVERS if explain else 0)
    output.emit(_report(difference, factor, direction, reach, explain))


def _report(
    difference: WallDifference, factor: str, direction: str, reach: float, explain: bool
) -> Report:
    from chainwatch.lake.engine import Result
    from chainwatch.reports.diff import FIGURES
    from chainwatch.reports.headers import no_sum_lines
    from chainwatch.show.document import Report

    header = [
        f"{old.market}: block {old.block_number} of {old.block_time:%Y-%m-%d %H:%M:%S}Z → "
        f"block {new.block_number} of {new.block_time:%Y-%m-%d %H:%M:%S}Z"
        for old, new in difference.pairs
    ]
    header += [
        f"as of {row['as_of']:%Y-%m-%d %H:%M:%S}Z {line}"
        for row in difference.excluded_accounts
        for line in no_sum_lines([row])
    ]
    meta = {"excluded_accounts": difference.excluded_accounts}
    title = (
        f"How the {factor} wall moved ({direction} to {reach:.0%} of the price then), part by part"
    )
    if explain:
        rows: list[tuple[object, ...]] = [
            (m.market, m.part, m.account, m.position, float(m.before_usd), float(m.change_usd))
            for m in difference.movers
        ]
        names: tuple[str, ...] = (
            "market",
            "part",
            "account",
            "position",
            "before_usd",
            "change_usd",
        )
        kinds: tuple[str, ...] = ("VARCHAR",) * 4 + ("DOUBLE",) * 2
        notes = [f"the {MOVERS} accounts whose collateral at risk each part changed most"]
        return Report(
            Result(names, kinds, rows),
            name="diff",
            title=title,
            header=header,
            meta=meta,
            shown=names,
            notes=notes,
        )
    rows = []
    for old, _ in difference.pairs:
        mine = [p for p in difference.parts if p.market == old.market]
        rows.append((old.market, "wall before", *(_number(mine[0].walls[f]) for f in FIGURES)))
        rows += [(old.market, p.part, *(_number(p.changes[f]) for f in FIGURES)) for p in mine[1:]]
        rows.append((old.market, "wall after", *(_number(mine[-1].walls[f]) for f in FIGURES)))
    kinds = ("VARCHAR", "VARCHAR", *("DOUBLE",) * 3)
    return Report(
        Result(("market", "part", *FIGURES), kinds, rows),
        name="diff",
        title=title,
        header=header,
        meta=meta,
        notes=[
            "each part: all else held as it was before it, in this order; they add up exactly",
            "borrowed and repaid (or supplied and withdrawn) between the two blocks net out",
            "liquidations that were not collected count as repayment and withdrawal",
        ],
    )


def _number(value: Decimal) -> float:
    return float(value)
