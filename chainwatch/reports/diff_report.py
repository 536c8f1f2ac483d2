"""How a wall moved, as a report: part by part, or the accounts behind each part."""

from __future__ import annotations

from collections.abc import Sequence

from chainwatch.lake.engine import Result
from chainwatch.reports.diff import FIGURES, WallDifference, WallRange
from chainwatch.reports.headers import no_sum_lines
from chainwatch.show.document import Report


def parts_report(difference: WallDifference, wall: WallRange) -> Report:
    """Each market's wall before, what each part moved, and the wall after."""
    rows: list[tuple[object, ...]] = []
    for old, _ in difference.pairs:
        mine = [p for p in difference.parts if p.market == old.market]
        rows.append((old.market, "wall before", *(float(mine[0].walls[f]) for f in FIGURES)))
        rows += [(old.market, p.part, *(float(p.changes[f]) for f in FIGURES)) for p in mine[1:]]
        rows.append((old.market, "wall after", *(float(mine[-1].walls[f]) for f in FIGURES)))
    kinds = ("VARCHAR", "VARCHAR", *("DOUBLE",) * 3)
    notes = [
        "each part: all else held as it was before it, in this order; they add up exactly",
        "borrowed and repaid (or supplied and withdrawn) between the two blocks net out",
        "liquidations that were not collected count as repayment and withdrawal",
    ]
    return _report(difference, wall, Result(("market", "part", *FIGURES), kinds, rows), notes)


def movers_report(difference: WallDifference, wall: WallRange, movers: int) -> Report:
    """The accounts behind each part, `movers` at the most."""
    rows: list[tuple[object, ...]] = [
        (m.market, m.part, m.account, m.position, float(m.before_usd), float(m.change_usd))
        for m in difference.movers
    ]
    names = ("market", "part", "account", "position", "before_usd", "change_usd")
    kinds = ("VARCHAR",) * 4 + ("DOUBLE",) * 2
    notes = [f"the {movers} accounts whose collateral at risk each part changed most"]
    return _report(difference, wall, Result(names, kinds, rows), notes, names)


def _report(
    difference: WallDifference,
    wall: WallRange,
    result: Result,
    notes: Sequence[str],
    shown: Sequence[str] = (),
) -> Report:
    blocks = [
        f"{old.market}: block {old.block_number} of {old.block_time:%Y-%m-%d %H:%M:%S}Z → "
        f"block {new.block_number} of {new.block_time:%Y-%m-%d %H:%M:%S}Z"
        for old, new in difference.pairs
    ]
    left_out = [
        f"as of {row['as_of']:%Y-%m-%d %H:%M:%S}Z {line}"
        for row in difference.excluded_accounts
        for line in no_sum_lines([row])
    ]
    return Report(
        result,
        name="diff",
        title=f"How the {wall.factor} wall moved ({wall.direction} to {wall.reach:.0%} of the "
        "price then), part by part",
        header=[*blocks, *left_out],
        meta={"excluded_accounts": difference.excluded_accounts},
        shown=shown,
        notes=notes,
    )
