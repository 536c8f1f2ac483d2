"""Where every run begins: version and help are answered before anything else is imported.

The command line takes ten times as long to import as the interpreter to start, and `--version` and
`--help` need nothing of it: their texts ship with the program, the help as the command line itself
printed it at 80 columns and at 100, its widest (`make docs`). Wherever the command line might
answer differently, it answers itself: another width, an encoding other than UTF-8, a stream that
is closed or full.
"""

from __future__ import annotations

import os
import sys

from chainwatch import __version__

TYPE_CHECKING = False  # the module typing takes as long to import as the interpreter to start
if TYPE_CHECKING:
    from typing import NoReturn, TextIO

# The columns that help is made for: it is narrower at fewer, and never wider than at the last.
WIDTHS = (80, 100)


def main() -> NoReturn:
    """Answer at once, or run the command line."""
    try:
        code = _answer(sys.argv[1:])
        if code is None:
            from chainwatch import cli
    except KeyboardInterrupt:
        _end_interrupted()
    if code is None:
        cli.main()
    sys.exit(code)


def _answer(arguments: list[str]) -> int | None:
    """The exit code of what was answered; None where the command line has to answer."""
    if arguments == ["--version"]:
        return 0 if _write(sys.stdout, f"chainwatch {__version__}\n".encode()) else None
    if arguments in (["--help"], ["-h"], []):
        text = _shipped_help()
        stream, code = (sys.stdout, 0) if arguments else (sys.stderr, 2)
        if text is not None and _is_utf8(stream) and _write(stream, text):
            return code
    return None


def _shipped_help() -> bytes | None:
    # Shell completion asks by a variable; without docstrings the help has no summaries.
    if os.environ.get("_CHAINWATCH_COMPLETE") or sys.flags.optimize > 1:
        return None
    columns = _columns()
    width = columns if columns < WIDTHS[-1] else WIDTHS[-1]
    if width not in WIDTHS:
        return None
    try:
        with open(f"{os.path.dirname(__file__)}/help/{width}.txt", "rb") as file:
            return file.read()
    except OSError:
        return None


def _columns() -> int:
    """As `shutil.get_terminal_size`, which takes longer to import than all this to run."""

    def number(name: str) -> int:
        try:
            return int(os.environ[name])
        except (KeyError, ValueError):
            return 0

    columns = number("COLUMNS")
    if columns <= 0:
        try:
            columns = os.get_terminal_size(sys.__stdout__.fileno()).columns  # type: ignore[union-attr]
        except (AttributeError, ValueError, OSError):
            columns = 0
    return columns or WIDTHS[0]


def _is_utf8(stream: TextIO | None) -> bool:
    return stream is not None and stream.encoding.lower() in ("utf-8", "utf8")


def _write(stream: TextIO | None, data: bytes) -> bool:
    """Whether a stream took it. What it refuses here, it refuses the command line as well."""
    if stream is None:
        return False
    try:
        stream.flush()
        while data:
            data = data[os.write(stream.fileno(), data) :]
    except (OSError, ValueError):
        return False
    return True


def _end_interrupted() -> NoReturn:
    from chainwatch.errors import INTERRUPTION, Exit
    from chainwatch.show.tell import Teller

    Teller().error(INTERRUPTION)
    os._exit(Exit.INTERRUPTED)
