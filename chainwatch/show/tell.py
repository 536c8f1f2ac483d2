"""Progress, notes and errors: the only writer to stderr."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from chainwatch.text import visible

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# Without a terminal, long work still writes a line this often.
PLAIN_SECONDS = 15.0


def _is_terminal() -> bool:
    if sys.stderr is None:
        return False
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Teller:
    """Writes to stderr: bars on a terminal, plain lines elsewhere, nothing when quiet."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False, color: str = "auto") -> None:
        self.quiet = quiet
        self.verbose = verbose
        self.color = color
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._last_plain: dict[str, float] = {}

    def note(self, text: str) -> None:
        """One line the user should see."""
        if not self.quiet:
            self._line(visible(text))

    def detail(self, text: str) -> None:
        """One line that only --verbose shows."""
        if self.verbose:
            self._line(visible(text))

    def error(self, text: str) -> None:
        """Why the command failed, in one line; also when quiet."""
        self._line(f"chainwatch: {visible(text)}")

    def error_detail(self, text: str) -> None:
        """A line of a traceback."""
        self._line(visible(text))

    def help(self, text: str) -> None:
        """Several lines of our own, as they are."""
        self._line(text)

    def progress(self, what: str, done: float, total: float | None = None) -> None:
        """How far some work is; the same `what` moves the same bar."""
        if self.quiet:
            return
        if _is_terminal():
            self._bar(what, done, total)
            return
        now = time.monotonic()
        begun = self._last_plain.setdefault(what, now)
        if now - begun >= PLAIN_SECONDS:
            self._last_plain[what] = now
            self._line(f"{visible(what)}: {done:,.0f}" + (f" of {total:,.0f}" if total else ""))

    def _bar(self, what: str, done: float, total: float | None) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        if self._bars is None:
            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}", markup=False),
                TimeRemainingColumn(),
                console=_console(self.color),
                transient=True,
            )
            self._bars.start()
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(visible(what), total=total, rate="")
        task = self._tasks[what]
        self._bars.update(task, completed=done, total=total)
        speed = self._bars.tasks[self._bars.task_ids.index(task)].speed
        self._bars.update(task, rate=f"{speed:,.0f}/s" if speed else "")

    def _line(self, text: str) -> None:
        try:
            if self._bars is not None:
                from rich.text import Text

                self._bars.console.print(Text(text), soft_wrap=True)
            elif sys.stderr is not None:
                sys.stderr.write(text + "\n")
                sys.stderr.flush()
        except (OSError, ValueError):
            pass  # stderr is closed: the work itself goes on

    def close(self) -> None:
        """Take the bars away; safe to call twice."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks.clear()

    def __enter__(self) -> Teller:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _console(color: str) -> Any:
    from rich.console import Console

    plain = True if color == "never" else None  # None: NO_COLOR decides
    return Console(file=sys.stderr, highlight=False, markup=False, no_color=plain)
