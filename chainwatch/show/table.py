"""Tables for a terminal: aligned, folded to its width, with bars."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from chainwatch.show.document import Report
from chainwatch.show.values import cell_text, heading, units_of
from chainwatch.text import visible
from chainwatch.units import Unit

BAR_WIDTH = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"
# Where a table is too wide for a terminal, text is folded to the widest of these that fits.
FOLD_WIDTHS = (44, 32, 24, 20)
_BOLD, _DIM, _CYAN = "1", "2", "36"


def _bar(value: Any, largest: float, width: int) -> str:
    if not isinstance(value, int | float | Decimal) or not math.isfinite(value):
        return ""
    if largest <= 0 or value <= 0:
        return ""
    eighths = max(1, round(8 * width * float(value) / largest))
    full, rest = divmod(eighths, 8)
    return _EIGHTHS[8] * full + (_EIGHTHS[rest] if rest else "")


class Shown(msgspec.Struct, frozen=True):
    """A column of a table: where its cells stand in a row, its heading, its unit."""

    position: int
    title: str
    unit: Unit

    def cell(self, row: Sequence[Any]) -> str:
        """Its cell of a row as people read it."""
        return cell_text(self.unit, row[self.position])


def columns_shown(report: Report) -> list[Shown]:
    """The columns of a report's table; of those that it lists, one that says nothing is left out.

    That is one that is "all", or empty, in every row, or one that is listed for where it differs
    from another ("name<>other") and does so in no row.
    """
    result = report.result
    units = units_of(result, report.columns)
    if not report.shown:
        return [
            Shown(i, heading(name, unit), unit)
            for i, (name, unit) in enumerate(zip(result.columns, units, strict=True))
        ]
    shown = []
    for entry in report.shown:
        pair, _, title = entry.partition("=")
        name, _, other = pair.partition("<>")
        if name not in result.columns:
            continue
        i = result.columns.index(name)
        j = result.columns.index(other) if other else None
        if not result.rows or any(
            row[i] not in ("all", "") and (j is None or row[i] != row[j]) for row in result.rows
        ):
            shown.append(Shown(i, title.replace("_", " ") or heading(name, units[i]), units[i]))
    return shown


def table_text(report: Report, width: int | None, color: bool) -> str:
    lines = [_paint(visible(report.title), _BOLD, color)] if report.title else []
    lines += [_paint(line, _DIM, color) for line in _wrap(report.header, width)]
    if lines:
        lines.append("")
    grid, hidden = _grid(report, width, color) if report.result.rows else (["no rows"], [])
    lines += grid
    notes = list(report.notes)
    if hidden:
        notes.append(f"no room for: {', '.join(hidden)} (a wider terminal or --csv has them)")
    if notes:
        lines.append("")
    lines += [_paint(line, _DIM, color) for line in _wrap(notes, width)]
    return "".join(f"{line}\n" for line in lines)


def _grid(report: Report, width: int | None, color: bool) -> tuple[list[str], list[str]]:
    """A table's lines, and the headings of columns that a terminal of that width has no room for.

    Where it is too wide, columns move closer, headings take two lines, long text is folded, and
    columns are left out from the right; nothing is cut.
    """
    shown = columns_shown(report)
    right = [column.unit.is_number for column in shown]
    rows = [[column.cell(row) for column in shown] for row in report.result.rows]
    longest = [max(map(_columns_of, cells)) for cells in zip(*rows, strict=True)]
    heads = [[column.title] for column in shown]
    widths = _widths(heads, longest)
    gap, hidden = 2, []
    if width is not None and sum(widths) + gap * (len(widths) - 1) > width:
        gap = 1
        heads = [_break_in_two(column.title) for column in shown]
        widths = _fit(_widths(heads, longest), right, width)
        hidden = [column.title for column in shown[len(widths) :]]
    depth = max(map(len, heads[: len(widths)]))
    padded = [[""] * (depth - len(head)) + head for head in heads[: len(widths)]]
    lines = [
        _paint(_join(line, widths, right, gap), _BOLD, color) for line in zip(*padded, strict=True)
    ]
    used = sum(widths) + gap * len(widths)
    bars = _bars(report, BAR_WIDTH if width is None else min(BAR_WIDTH, width - used))
    for n, row in enumerate(rows):
        first, *more = _fold(row, widths)
        line = _join(first, widths, right, gap)
        if bars is not None and bars[n]:
            line += " " * (used - _columns_of(line)) + _paint(bars[n], _CYAN, color)
        lines += [line, *(_join(part, widths, right, gap) for part in more)]
    return lines, hidden


def _widths(heads: Sequence[Sequence[str]], longest: Sequence[int]) -> list[int]:
    return [max(*map(_columns_of, head), w) for head, w in zip(heads, longest, strict=True)]


def _columns_of(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _break_in_two(title: str) -> list[str]:
    """A heading on two lines, as even as its words allow."""
    words = title.split(" ")
    splits = [[" ".join(words[:n]), " ".join(words[n:])] for n in range(1, len(words))]
    return min(splits, key=lambda lines: max(map(_columns_of, lines)), default=[title])


def _fit(widths: Sequence[int], right: Sequence[bool], room: int) -> list[int]:
    """Widths of the columns that fit, from the left; long text may be folded, numbers may not."""
    for fold in FOLD_WIDTHS:
        least = [w if number else min(w, fold) for w, number in zip(widths, right, strict=True)]
        if sum(least) + len(least) - 1 <= room:
            break
    count = len(least)
    while count > 1 and sum(least[:count]) + count - 1 > room:
        count -= 1
    spare = room - sum(least[:count]) - count + 1
    fitted = []
    for wanted, given in zip(widths[:count], least, strict=False):
        more = max(0, min(wanted - given, spare))
        spare -= more
        fitted.append(given + more)
    return fitted


def _fold(row: Sequence[str], widths: Sequence[int]) -> list[list[str]]:
    """A row as one line of cells, or several where a cell is longer than its column."""
    cells = row[: len(widths)]
    if all(_columns_of(c) <= w for c, w in zip(cells, widths, strict=True)):
        return [list(cells)]
    parts = [_chop(c, w) for c, w in zip(cells, widths, strict=True)]
    return [
        [part[n] if n < len(part) else "" for part in parts] for n in range(max(map(len, parts)))
    ]


def _chop(text: str, width: int) -> list[str]:
    if _columns_of(text) == len(text):
        return textwrap.wrap(text, width) or [""]
    from rich.cells import chop_cells

    return chop_cells(text, width)


def _join(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], gap: int) -> str:
    padded = []
    for text, width, number in zip(cells, widths, right, strict=False):
        fill = " " * (width - _columns_of(text))
        padded.append(fill + text if number else text + fill)
    return (" " * gap).join(padded).rstrip(" ")


def _paint(text: str, code: str, color: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if color and text else text


def _wrap(lines: Iterable[str], width: int | None) -> list[str]:
    """Lines of words for a terminal of that width; unchanged without one."""
    if width is None:
        return [visible(line) for line in lines]
    return [
        part
        for line in lines
        for part in textwrap.wrap(
            visible(line),
            width,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        or [""]
    ]


def _bars(report: Report, room: int) -> list[str] | None:
    result = report.result
    name, _, axis = report.bar.partition(" over ")
    if name not in result.columns or room < 1:
        return None
    column = result.columns.index(name)
    on_axis = result.columns.index(axis) if axis in result.columns else column
    values = [None if row[on_axis] is None else row[column] for row in result.rows]
    largest = max((float(v) for v in values if v is not None and math.isfinite(v)), default=0.0)
    return [_bar(v, largest, room) for v in values]
