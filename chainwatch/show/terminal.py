"""The only writer to stdout and to the files named with -o."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from chainwatch.errors import UsageError, unwritable
from chainwatch.show.document import Format, Report
from chainwatch.show.render import text_of


def write(text: str, output: Path | None = None) -> None:
    """Write to stdout, or the same bytes to a file; a pipe that was closed is not an error.

    A file is written completely or not at all. Raises UsageError where it cannot be written,
    StoreError where its disk is full.
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
    """A file to append to; its failures carry its name."""

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
