"""SQL at a prompt: history, completion of tables, columns and macros, every output format."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

HISTORY_LINES = 1_000
FORMATS = ("table", "csv", "json", "jsonl", "markdown")
HELP = """A statement ends with a semicolon. Besides SQL:
  .schema [NAME]   tables, columns and macros, or those of one
  .mode FORM       table, csv, json, jsonl or markdown
  .explain SQL;    how a statement would be run
  .timeout SECONDS stop statements that take longer; 0: never
  .open            how to open the same catalog in other tools
  .quit            leave (also Ctrl-D)
"""

_KEYWORDS = tuple(
    """SELECT FROM WHERE GROUP BY ORDER LIMIT JOIN LEFT ON USING WITH AS CASE WHEN THEN ELSE END AND
    OR NOT NULL IS IN BETWEEN LIKE DESC ASC DISTINCT UNION ALL HAVING QUALIFY DESCRIBE
    SUMMARIZE""".split()  # noqa: SIM905 - a list of words reads best as words
)


def completions(start: str, names: Sequence[str]) -> list[str]:
    """What a word that begins so may become: names first, then keywords."""
    matching = [n for n in sorted(set(names)) if n.startswith(start.lower())]
    words = [w for w in _KEYWORDS if start and w.startswith(start.upper())]
    return [n for n in matching if start] + (
        words if start.isupper() else [w.lower() for w in words]
    )


def converse(
    names: Sequence[str],
    history: Path,
    run: Callable[[str], None],
    command: Callable[[str, str], bool],
    complain: Callable[[str], None],
) -> None:
    """Read statements until the end of input; `run` gets each, `command` a dot-command's words.

    `command` returns False where it knows none of that name. Ctrl-C drops what was typed.
    """
    readline = _prepare(names, history)
    waiting: list[str] = []
    try:
        while True:
            try:
                line = input("       ...> " if waiting else "chainwatch> ")
            except EOFError:
                break
            except KeyboardInterrupt:
                complain("")
                waiting = []
                continue
            if not waiting and line.strip().startswith("."):
                word, _, rest = line.strip()[1:].partition(" ")
                if word in ("quit", "exit", "q"):
                    break
                if not command(word, rest.strip()):
                    complain(f".{word} is unknown: .help lists the commands")
                continue
            if not waiting and not line.strip():
                continue
            waiting.append(line)
            if ends(line):
                text, waiting = "\n".join(waiting), []
                run(text)
    finally:
        if readline is not None:
            with contextlib.suppress(OSError):
                readline.set_history_length(HISTORY_LINES)
                readline.write_history_file(str(history))


def ends(line: str) -> bool:
    """Whether a line is the last of its statement: a semicolon, then comments at the most."""
    return bool(re.search(r";\s*(--.*)?$", line))


def _prepare(names: Sequence[str], history: Path):  # type: ignore[no-untyped-def]
    """The line editor with its history and completion; None where Python was built without it."""
    try:
        import readline
    except ImportError:
        return None
    with contextlib.suppress(OSError):
        readline.read_history_file(str(history))
    candidates: list[str] = []

    def complete(text: str, state: int) -> str | None:
        if state == 0:
            candidates[:] = completions(text, names)
        return candidates[state] if state < len(candidates) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" \t\n,;()<>=+-*/'\":")
    libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
    return readline
