"""Results as table, CSV, JSON, JSON lines or Markdown: the only writer to stdout.

Machine formats carry every column unrounded, times in ISO 8601 UTC, exact integers as strings in
JSON, which has no NaN and no infinity either: they become null. Tables round, align and draw bars.
Text from outside never carries a control character, and in CSV never starts a spreadsheet formula.
All output is UTF-8, whatever the locale says.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

import msgspec

from chainwatch.errors import UsageError, unwritable
from chainwatch.store import Result
from chainwatch.text import visible

BAR_WIDTH = 24
_EIGHTHS = " ▏▎▍▌▋▊▉█"
# What a spreadsheet takes for a formula; some take the full-width signs as well.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
NOT_AVAILABLE = "n/a"
# Where a table is too wide for a terminal, text is folded to the widest of these that fits.
FOLD_WIDTHS = (44, 32, 24, 20)
_BOLD, _DIM, _CYAN = "1", "2", "36"


class Format(StrEnum):
    """How a result is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    MARKDOWN = "markdown"


class Report(msgspec.Struct, frozen=True):
    """A result with what is said around it.

    `shown` limits the columns of tables (machine formats carry all), each "name" or
    "name=heading"; `bar` is "name" or "name over axis" and is drawn where the axis has a value.
    `header` says what the figures stand on and `notes` what they mean. `parts` are further tables
    that belong to it: below it for people, under their names in JSON; CSV has the first only.
    """

    result: Result
    name: str = ""
    title: str = ""
    header: Sequence[str] = ()
    meta: Mapping[str, Any] = {}
    shown: Sequence[str] = ()
    bar: str = ""
    notes: Sequence[str] = ()
    parts: Sequence[Report] = ()


def text_of(report: Report, form: Format, *, width: int | None = None, color: bool = False) -> str:
    """The report as text, with a newline at its end."""
    match form:
        case Format.CSV:
            return _csv(report.result)
        case Format.JSON:
            return _json(report)
        case Format.JSONL:
            return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in _plain(report.result))
        case Format.MARKDOWN:
            return "\n".join(map(_markdown, (report, *report.parts)))
        case Format.TABLE:
            return "\n".join(_table(each, width, color) for each in (report, *report.parts))


def write(text: str, output: Path | None = None) -> None:
    """Write to stdout, or the same bytes to a file; a reader that left (`| head`) is no error.

    A file is there whole or not at all. Raises UsageError where it cannot be written, StoreError
    where its disk is full.
    """
    data = text.encode("utf-8", "backslashreplace")
    if output is None or is_stdout(output):
        _write_stdout(data)
        return
    draft = None
    try:
        if output.exists() and not output.is_file():  # a pipe, a device
            output.write_bytes(data)
            return
        target = output.resolve()
        draft = target.with_name(f"{target.name}.{os.getpid()}.part")
        draft.write_bytes(data)
        draft.replace(target)
    except OSError as failure:
        if draft is not None:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
        raise unwritable(f"{output}", failure) from None


def is_stdout(output: Path | None) -> bool:
    """Whether a file named with -o is stdout; replacing /dev/stdout by a file would break it."""
    return output is None or str(output) in ("-", "/dev/stdout")


def _write_stdout(data: bytes) -> None:
    if sys.stdout is None:
        raise UsageError("stdout is closed: name a file with -o")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as failure:
        # The interpreter would fail again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(failure, BrokenPipeError):
            raise unwritable("stdout", failure) from None


def wants_color(choice: str) -> bool:
    """Whether stdout gets colour: --color, then NO_COLOR, FORCE_COLOR, TERM, then a terminal."""
    if choice in ("always", "never"):
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return terminal_width() is not None and os.environ.get("TERM") != "dumb"


def terminal_width() -> int | None:
    """Columns of the terminal on stdout; None where it is a file or a pipe."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return os.get_terminal_size(sys.stdout.fileno()).columns or None


@contextlib.contextmanager
def appending(output: Path | None) -> Iterator[IO[bytes]]:
    """A file to append to, or stdout; UsageError where it cannot be written, StoreError where its
    disk is full."""
    if output is None or is_stdout(output):
        yield _Stdout()
        return
    try:
        with output.open("ab") as file:
            yield _Appended(file, f"{output}")
    except OSError as failure:
        raise unwritable(f"{output}", failure) from None


class _Appended(io.BytesIO):
    """A file to append to whose failures say its name, wherever it is written to."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        super().__init__()
        self._file = file
        self._name = name

    def write(self, data: Any, /) -> int:
        try:
            return self._file.write(data)
        except OSError as failure:
            raise unwritable(self._name, failure) from None


class _Stdout(io.BytesIO):
    """Stdout as a file of bytes, each write flushed."""

    def write(self, data: Any, /) -> int:
        _write_stdout(bytes(data))
        return len(data)


class Screen:
    """A part of the terminal that is drawn anew, for as long as the `with` block lasts."""

    def __init__(self, color: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self._color = color
        console = Console(
            file=sys.stdout, highlight=False, markup=False, no_color=not color, soft_wrap=False
        )
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def draw(self, reports: Sequence[Report]) -> None:
        """Show these reports, one below the other, instead of what was there."""
        from rich.text import Text

        width = terminal_width()
        texts = [text_of(r, Format.TABLE, width=width, color=self._color) for r in reports]
        self._live.update(Text.from_ansi("\n".join(texts), no_wrap=True), refresh=True)


# --- machine formats ----------------------------------------------------------------------------


def _machine(value: Any) -> Any:
    """A value without loss: JSON's own types, else text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, datetime):
        return _iso(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list | tuple):
        return [_machine(v) for v in value]
    if isinstance(value, dict):
        return {visible(str(k)): _machine(v) for k, v in value.items()}
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if value is None or isinstance(value, bool | int):
        return value
    return visible(str(value))


def _decimal(value: Decimal) -> str | float:
    """A number where a double holds it exactly; whole ones and the others as their digits."""
    exponent, rounded = value.as_tuple().exponent, float(value)
    if isinstance(exponent, int) and exponent < 0 and Decimal(repr(rounded)) == value:
        return rounded
    return f"{value:f}"


def _iso(value: datetime) -> str:
    if value.tzinfo is None:
        return value.isoformat()
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _plain(result: Result) -> list[dict[str, Any]]:
    names = _distinct(result.columns)
    return [{c: _machine(v) for c, v in zip(names, row, strict=True)} for row in result.rows]


def _distinct(columns: Sequence[str]) -> list[str]:
    """Names for an object's members: a second "a" is "a_1", as DuckDB calls it in a subquery."""
    found: dict[str, None] = {}
    for column in map(visible, columns):
        name, n = column, 0
        while name in found:
            n += 1
            name = f"{column}_{n}"
        found[name] = None
    return list(found)


def _json(report: Report) -> str:
    body = {
        "report": report.name,
        **{k: _machine(v) for k, v in report.meta.items()},
        "header": _machine(list(report.header)),
        "notes": _machine(list(report.notes)),
        "rows": _plain(report.result),
        **{part.name: _plain(part.result) for part in report.parts},
    }
    return json.dumps(body, ensure_ascii=False, indent=1) + "\n"


def _csv(result: Result) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_no_formula(visible(c)) for c in result.columns])
    for row in result.rows:
        writer.writerow([_csv_cell(v) for v in row])
    return out.getvalue()


def _csv_cell(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float):
        return repr(value)
    plain = _machine(value)
    if plain is None:
        return ""
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, list | dict):
        plain = json.dumps(plain, ensure_ascii=False)
    return str(plain) if isinstance(plain, int) else _no_formula(plain)


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def filled(notes: Sequence[str], result: Result) -> list[str]:
    """Notes with each {column} replaced by the first row's value as people read it."""
    first = result.dicts()[0] if result.rows else {}
    return [
        re.sub(r"\{(\w+)\}", lambda m: _cell(m[1], first[m[1]]) if m[1] in first else m[0], note)
        for note in notes
        if first or "{" not in note
    ]


# --- for people ---------------------------------------------------------------------------------


def text_cell(column: str, value: Any) -> str:
    """A value as people read it; the column's name says what it is."""
    return _cell(column, value)


def _cell(column: str, value: Any) -> str:
    """A value as people read it; the column's suffix says what it is."""
    if value is None:
        return NOT_AVAILABLE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return str(value)
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "seconds") + "Z"
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Decimal):
        return f"{value:,}"
    if column.endswith(("block", "block_number", "chain_id")):
        return str(value)
    if isinstance(value, int):
        if column.endswith("_seconds"):
            return duration(value)
        return f"{value:,}"
    if isinstance(value, float):
        return _number(column, value)
    plain = _machine(value)
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, list | dict) else plain


def _number(column: str, value: float) -> str:
    if not math.isfinite(value):
        return NOT_AVAILABLE if math.isnan(value) else str(value)
    if column.startswith("at_least_"):
        return f"≥ {_number(column.removeprefix('at_least_'), value)}"
    if column == "covered_share":  # 100 % is said of nothing less
        return f"{math.floor(1000 * value) / 10:.1f} %" if not 0 < value < 1e-3 else "< 0.1 %"
    if column.endswith("_share"):
        return f"{100 * value:.1f} %"
    if column == "usd" or (column.endswith("_usd") and column != "price_usd"):
        return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:,.2f}"
    if column.endswith(("_bn", "_bp", "_pct", "points")):
        return f"{value:,.2f}"
    if "price" in column:
        return price(value)
    if column == "hf" or column.startswith("hf_"):
        return f"{value:.4f}" if value < 1000 else f"{value:.3g}"
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4g}"


def price(value: float) -> str:
    """A price with as many digits as it needs."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.2f}"
    return f"{value:.5g}" if abs(value) >= 1e-4 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """A span of time in its largest fitting unit."""
    seconds = abs(int(seconds))
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}s"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


def _bar(value: Any, largest: float, width: int) -> str:
    if not isinstance(value, int | float | Decimal) or not math.isfinite(value):
        return ""
    if largest <= 0 or value <= 0:
        return ""
    eighths = max(1, round(8 * width * float(value) / largest))
    full, rest = divmod(eighths, 8)
    return _EIGHTHS[8] * full + (_EIGHTHS[rest] if rest else "")


def _is_number(kind: str) -> bool:
    return kind.startswith(("DECIMAL", "DOUBLE", "FLOAT", "HUGEINT", "UBIGINT", "UINTEGER")) or (
        kind in ("BIGINT", "INTEGER", "SMALLINT", "TINYINT")
    )


def _columns_shown(report: Report) -> list[tuple[int, str]]:
    """(position, heading) of a table's columns; one that is "all" in every row says nothing."""
    result = report.result
    if not report.shown:
        return [(i, heading(name)) for i, name in enumerate(result.columns)]
    found = []
    for name, _, title in (entry.partition("=") for entry in report.shown):
        if name not in result.columns:
            continue
        i = result.columns.index(name)
        if not result.rows or any(row[i] != "all" for row in result.rows):
            found.append((i, title.replace("_", " ") or heading(name)))
    return found


def _table(report: Report, width: int | None, color: bool) -> str:
    lines = [_painted(visible(report.title), _BOLD, color)] if report.title else []
    lines += [_painted(line, _DIM, color) for line in _wrapped(report.header, width)]
    if lines:
        lines.append("")
    grid, hidden = _grid(report, width, color) if report.result.rows else (["no rows"], [])
    lines += grid
    notes = list(report.notes)
    if hidden:
        notes.append(f"no room for: {', '.join(hidden)} (a wider terminal or --csv has them)")
    if notes:
        lines.append("")
    lines += [_painted(line, _DIM, color) for line in _wrapped(notes, width)]
    return "".join(f"{line}\n" for line in lines)


def _grid(report: Report, width: int | None, color: bool) -> tuple[list[str], list[str]]:
    """A table's lines, and the headings of columns that a terminal of that width has no room for.

    Where it is too wide, columns move closer, headings take two lines, long text is folded, and
    columns are left out from the right; nothing is cut.
    """
    result = report.result
    shown = _columns_shown(report)
    right = [_is_number(result.types[i]) for i, _ in shown]
    rows = [[_cell(result.columns[i], row[i]) for i, _ in shown] for row in result.rows]
    longest = [max(map(_room, column)) for column in zip(*rows, strict=True)]
    heads = [[title] for _, title in shown]
    widths = _widths(heads, longest)
    gap, hidden = 2, []
    if width is not None and sum(widths) + gap * (len(widths) - 1) > width:
        gap = 1
        heads = [_broken(title) for _, title in shown]
        widths = _fitted(_widths(heads, longest), right, width)
        hidden = [title for _, title in shown[len(widths) :]]
    depth = max(map(len, heads[: len(widths)]))
    padded = [[""] * (depth - len(head)) + head for head in heads[: len(widths)]]
    lines = [
        _painted(_joined(line, widths, right, gap), _BOLD, color)
        for line in zip(*padded, strict=True)
    ]
    used = sum(widths) + gap * len(widths)
    bars = _bars(report, BAR_WIDTH if width is None else min(BAR_WIDTH, width - used))
    for n, row in enumerate(rows):
        first, *more = _folded(row, widths)
        line = _joined(first, widths, right, gap)
        if bars is not None and bars[n]:
            line += " " * (used - _room(line)) + _painted(bars[n], _CYAN, color)
        lines += [line, *(_joined(part, widths, right, gap) for part in more)]
    return lines, hidden


def _widths(heads: Sequence[Sequence[str]], longest: Sequence[int]) -> list[int]:
    return [max(*map(_room, head), w) for head, w in zip(heads, longest, strict=True)]


def _room(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _broken(title: str) -> list[str]:
    """A heading on two lines, as even as its words allow."""
    words = title.split(" ")
    splits = [[" ".join(words[:n]), " ".join(words[n:])] for n in range(1, len(words))]
    return min(splits, key=lambda lines: max(map(_room, lines)), default=[title])


def _fitted(widths: Sequence[int], right: Sequence[bool], room: int) -> list[int]:
    """Widths of the columns that fit, from the left; long text may be folded, numbers may not."""
    for fold in FOLD_WIDTHS:
        least = [w if number else min(w, fold) for w, number in zip(widths, right, strict=True)]
        if sum(least) + len(least) - 1 <= room:
            break
    count = len(least)
    while count > 1 and sum(least[:count]) + count - 1 > room:
        count -= 1
    spare = room - sum(least[:count]) - count + 1
    found = []
    for wanted, given in zip(widths[:count], least, strict=False):
        more = max(0, min(wanted - given, spare))
        spare -= more
        found.append(given + more)
    return found


def _folded(row: Sequence[str], widths: Sequence[int]) -> list[list[str]]:
    """A row as one line of cells, or several where a cell is longer than its column."""
    cells = row[: len(widths)]
    if all(_room(c) <= w for c, w in zip(cells, widths, strict=True)):
        return [list(cells)]
    parts = [_chopped(c, w) for c, w in zip(cells, widths, strict=True)]
    return [
        [part[n] if n < len(part) else "" for part in parts] for n in range(max(map(len, parts)))
    ]


def _chopped(text: str, width: int) -> list[str]:
    if _room(text) == len(text):
        return textwrap.wrap(text, width) or [""]
    from rich.cells import chop_cells

    return chop_cells(text, width)


def _joined(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], gap: int) -> str:
    padded = []
    for cell, width, number in zip(cells, widths, right, strict=False):
        fill = " " * (width - _room(cell))
        padded.append(fill + cell if number else cell + fill)
    return (" " * gap).join(padded).rstrip(" ")


def _painted(text: str, code: str, color: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if color and text else text


def _wrapped(lines: Iterable[str], width: int | None) -> list[str]:
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


def heading(column: str) -> str:
    """A column's name as a table head."""
    return (
        visible(column)
        .replace("cum_", "cumulative_")
        .replace("_usd", "_USD")
        .replace("_share", "")
        .replace("_seconds", "")
        .replace("_", " ")
    )


def _markdown(report: Report) -> str:
    result = report.result
    shown = _columns_shown(report)
    lines = []
    if report.title:
        lines += [f"**{_md(report.title)}**", ""]
    lines += [f"{_md(line)}  " for line in report.header]
    if report.header:
        lines.append("")
    lines.append("| " + " | ".join(_md(title) for _, title in shown) + " |")
    lines.append(
        "|" + "|".join(" ---: " if _is_number(result.types[i]) else " --- " for i, _ in shown) + "|"
    )
    for row in result.rows:
        cells = [_md(_cell(result.columns[i], row[i])) for i, _ in shown]
        lines.append("| " + " | ".join(cells) + " |")
    if report.notes:
        lines += ["", *(f"{_md(note)}  " for note in report.notes)]
    return "\n".join(lines) + "\n"


def _md(text: str) -> str:
    escaped = visible(text).replace("\\", "\\\\")
    for sign in ("|", "<", "`", "*", "_", "["):
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped
