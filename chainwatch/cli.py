"""The command line: finds the commands, and ends every run with its exit code.

Nothing heavy is imported here: the help of a command must not wait for web3 or duckdb.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from chainwatch import commands
from chainwatch.commands.app import app, session_or_none
from chainwatch.errors import (
    INTERRUPTION,
    ChainwatchError,
    Exit,
    UsageError,
    as_chainwatch_error,
)

if TYPE_CHECKING:
    from chainwatch.show.tell import Teller

# A module of commands registers its own when it is imported.
for _module in pkgutil.iter_modules(commands.__path__, "chainwatch.commands."):
    importlib.import_module(_module.name)


def main() -> NoReturn:
    """Entry point: every end has its exit code, every failure one line on stderr."""
    code = int(Exit.OK)
    with _ended():
        try:
            _require_text(sys.argv[1:])
            ended = app(prog_name="chainwatch", standalone_mode=False)
            code = ended if isinstance(ended, int) else code
        except ChainwatchError as failure:
            code = _tell(failure)
        except KeyboardInterrupt:
            code = Exit.INTERRUPTED
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else Exit.USAGE
        except Exception as failure:
            code = _other(failure)
    if code == Exit.INTERRUPTED:
        _say(INTERRUPTION)
    if code == Exit.INTERRUPTED or _something_left():
        # A thread that still runs is not waited for: everything stored is on disk.
        os._exit(code)
    sys.exit(code)


def _something_left() -> bool:
    """Whether a statement still runs that was given up."""
    # Importing it here would slow down each command that reads nothing.
    readonly = sys.modules.get("chainwatch.lake.readonly")
    return readonly is not None and bool(readonly.anything_left())


@contextlib.contextmanager
def _ended() -> Iterator[None]:
    try:
        yield
    finally:
        if (session := session_or_none()) is not None:
            session.teller.close()


def _require_text(arguments: list[str]) -> None:
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(f"the argument {argument!r} is not UTF-8 text") from None


def _tell(failure: ChainwatchError) -> int:
    _trace(failure)
    _say(str(failure))
    return int(failure.code)


def _say(text: str) -> None:
    _teller().error(text)


def _teller() -> Teller:
    from chainwatch.show.tell import Teller

    session = session_or_none()
    return session.teller if session is not None else Teller()


def _trace(failure: Exception) -> None:
    """With --debug, where it happened; endpoints stay masked there too."""
    session = session_or_none()
    if session is None or not session.debug:
        return
    import traceback

    for entry in traceback.format_exception(failure):
        for line in entry.splitlines():
            text = line.lstrip()
            _teller().error_detail(" " * (len(line) - len(text)) + _scrubbed(text))


def _scrubbed(text: str) -> str:
    from chainwatch.chain.markets import scrubbed
    from chainwatch.settings import Settings

    session = session_or_none()
    return scrubbed(text, session.settings if session is not None else Settings())


def _other(failure: Exception) -> int:
    """Wrong options, what the operating system refused, and unexpected exceptions."""
    if hasattr(failure, "format_message"):
        return _flags(failure)
    if isinstance(failure, OSError) and failure.filename is None:
        from chainwatch.show import terminal

        # What stdout did not take is still in its buffer: where it was stdout, this fails, too.
        try:
            terminal.write("")
        except ChainwatchError as refused:
            return _tell(refused)
    return _tell(as_chainwatch_error(failure, _scrubbed))


def _flags(failure: Any) -> int:
    """Typer's complaint in one line, or the help where no argument was given."""
    message, context = failure.format_message(), getattr(failure, "ctx", None)
    if type(failure).__name__ == "NoArgsIsHelpError":
        _teller().help(message)
        return int(Exit.USAGE)
    option = getattr(failure, "option_name", None)
    if context is not None:
        root = context.find_root()
        if context is not root and any(option in p.opts for p in root.command.params):
            message = f"{option} goes before the command: {root.command_path} {option} …"
        end = "" if message.endswith("?") else ";"
        message = f"{message.rstrip('.')}{end} `{context.command_path} --help` lists the options"
    _say(message)
    return int(Exit.USAGE)


if __name__ == "__main__":
    main()
