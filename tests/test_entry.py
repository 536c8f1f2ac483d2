"""Version and help before the command line is imported: the same answers, in every surrounding."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pytest

import chainwatch
from chainwatch import entry
from chainwatch.errors import INTERRUPTION, Exit
from tests import shell, terminal
from tests.docs import pages
from tests.places import ROOT

ANSWERED = (["--version"], ["--help"], ["-h"], [])
# Under these the answers are the same; what COLUMNS cannot mean is no width.
USUAL: tuple[dict[str, str], ...] = (
    {},
    {"COLUMNS": "80"},
    {"COLUMNS": "100"},
    {"COLUMNS": "132", "LINES": "5"},
    {"COLUMNS": "0"},
    {"COLUMNS": "-7"},
    {"COLUMNS": "wide"},
    {"COLUMNS": " 1_00 "},
    {"NO_COLOR": "1"},
    {"FORCE_COLOR": "1"},
    {"TERM": "dumb"},
    {"CHAINWATCH_HOME": "", "CHAINWATCH_RPC_ETHEREUM": "nonsense"},
)
UNUSUAL: tuple[tuple[list[str], dict[str, str]], ...] = (
    *((["--help"], {"COLUMNS": columns}) for columns in ("1", "79", "81", "99")),
    ([], {"COLUMNS": "90"}),
    (["--help"], {"PYTHONIOENCODING": "latin-1"}),
    ([], {"PYTHONIOENCODING": "latin-1"}),
    (["--help"], {"PYTHONIOENCODING": "ascii"}),
    (["--help"], {"PYTHONOPTIMIZE": "2"}),
    (["--help"], {"_CHAINWATCH_COMPLETE": "complete_bash", "COMP_WORDS": "", "COMP_CWORD": "0"}),
    (["--help", "--version"], {}),
    (["--version", "--help"], {}),
    (["--version", "--version"], {}),
    (["--color", "always", "--help"], {}),
    (["--quiet"], {}),
    (["--hel"], {}),
    (["walls", "--help"], {}),
    ([""], {}),
    (["--"], {}),
)


class Answer(NamedTuple):
    """How a process ended, in bytes."""

    code: int
    out: bytes
    err: bytes


def answer(command: Sequence[str], env: Mapping[str, str], stdout: int | None = None) -> Answer:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        env=shell.environment(env),
        cwd=shell.NOWHERE,
        timeout=shell.PATIENCE,
    )
    return Answer(done.returncode, done.stdout or b"", done.stderr)


def same(arguments: list[str], env: Mapping[str, str]) -> Answer:
    """The answer to these arguments, which is that of the command line itself."""
    given = answer([*shell.ENTRY, *arguments], env)
    assert given == answer([*shell.CHAINWATCH, *arguments], env)
    return given


def loaded(arguments: list[str], env: Mapping[str, str] | None = None) -> set[str]:
    """The modules that a run imports and a bare interpreter does not."""
    start = [sys.executable, "-X", "importtime", "-c"]
    run = "import sys; sys.argv[0] = 'chainwatch'; from chainwatch.entry import main; main()"
    program, bare = (
        set(re.findall(r"^import time:.*\| *(\S+)$", done.err.decode("latin-1"), re.MULTILINE))
        for done in (
            answer([*start, run, *arguments], env or {}),
            answer([*start, "pass"], env or {}),
        )
    )
    return program - bare


# --- the same answers ---------------------------------------------------------------------------


@pytest.mark.parametrize("columns", entry.WIDTHS)
def test_the_shipped_help_is_what_the_command_line_prints(columns: int) -> None:
    shipped = (pages.HELP / f"{columns}.txt").read_text("utf-8")
    assert shipped == pages.help_text(columns), "run `python -m tests.docs help`"


def test_every_shipped_help_has_its_width() -> None:
    assert {path.name for path in pages.HELP.iterdir()} == {f"{w}.txt" for w in entry.WIDTHS}


@pytest.mark.parametrize("env", USUAL, ids=str)
def test_answers_equal_those_of_the_command_line(env: dict[str, str]) -> None:
    for arguments in ANSWERED:
        given = same(arguments, env)
        assert given.code == (Exit.OK if arguments else Exit.USAGE)
        assert bool(given.out) == bool(arguments)
        assert bool(given.err) != bool(arguments)
        assert "typer" not in loaded(arguments, env)


@pytest.mark.parametrize(("arguments", "env"), UNUSUAL, ids=str)
def test_other_surroundings_are_left_to_the_command_line(
    arguments: list[str], env: dict[str, str]
) -> None:
    same(arguments, env)
    assert "typer" in loaded(arguments, env)


@pytest.mark.parametrize("columns", [50, 80, 90, 100, 200])
def test_a_terminal_gets_help_of_its_width(columns: int) -> None:
    terminal.require()
    for arguments in ANSWERED:
        ours, theirs = (
            shell.on_terminal(*arguments, columns=columns, program=program)[:2]
            for program in (shell.ENTRY, shell.CHAINWATCH)
        )
        assert ours == theirs
        assert ours[1]


def test_no_more_is_imported_than_an_answer_needs() -> None:
    for arguments in ANSWERED:
        assert loaded(arguments) <= {"chainwatch", "chainwatch.entry", "__future__"}


def test_the_version_is_stated_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "chainwatch/__init__.py"
    assert same(["--version"], {}).out.decode() == f"chainwatch {chainwatch.__version__}\n"


def test_every_start_leads_to_the_entry() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    module, _, function = project["project"]["scripts"]["chainwatch"].partition(":")
    assert (module, function) == (entry.__name__, entry.main.__name__)
    assert (
        "chainwatch.entry"
        in answer(
            [sys.executable, "-X", "importtime", "-m", "chainwatch", "--version"], {}
        ).err.decode()
    )


# --- streams that do not take it ----------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "CW --help >/dev/full",
        "CW --version >/dev/full",
        "CW 2>/dev/full",
        "CW --help >&-",
        "CW --version >&-",
        "CW >&-",
        "CW 2>&-",
        "CW --help 2>&-",
        "CW --help <&- >/dev/null",
    ],
)
def test_full_and_closed_streams_end_as_in_the_command_line(line: str) -> None:
    ours, theirs = (
        answer(["sh", "-c", line.replace("CW", shlex.join(program))], {})
        for program in (shell.ENTRY, shell.CHAINWATCH)
    )
    assert ours == theirs
    assert b"Traceback" not in ours.err


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]], ids=str)
def test_a_reader_that_left_ends_it_as_in_the_command_line(arguments: list[str]) -> None:
    answers = []
    for program in (shell.ENTRY, shell.CHAINWATCH):
        reading, writing = os.pipe()
        os.close(reading)
        answers.append(answer([*program, *arguments], {}, writing))
        os.close(writing)
    assert answers[0] == answers[1]
    assert answers[0].err == b""


# --- Ctrl-C -------------------------------------------------------------------------------------


def interrupted(arguments: list[str], imported: str, stdout: int) -> tuple[int, str]:
    """Exit code, and what was written beside the log of imports, where Ctrl-C comes right after
    the import of a module."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "chainwatch", *arguments],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=shell.environment(),
        cwd=shell.NOWHERE,
        text=True,
    )
    assert process.stderr
    try:
        for line in process.stderr:
            if line.rpartition("|")[2].strip() == imported:
                break
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.3 if imported == "chainwatch.entry" else 0)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        code = process.wait(shell.PATIENCE)
    finally:
        shell.leave(process)  # type: ignore[arg-type]
    return code, re.sub(r"^import time:.*\n", "", rest, flags=re.MULTILINE)


def test_ctrl_c_while_help_is_written_is_one_line() -> None:
    """Its reader does not read: the pipe is full."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writing, bytes(65_536)):
            pass
    os.set_blocking(writing, True)
    code, text = interrupted(["--help"], "chainwatch.entry", writing)
    os.close(reading)
    os.close(writing)
    assert (code, text) == (Exit.INTERRUPTED, f"chainwatch: {INTERRUPTION}\n")


def test_ctrl_c_while_the_command_line_is_imported_is_one_line() -> None:
    """It waits for SQL on stdin where the signal comes later."""
    code, text = interrupted(["sql"], "typer._click.globals", subprocess.DEVNULL)
    assert (code, text) == (Exit.INTERRUPTED, f"chainwatch: {INTERRUPTION}\n")
