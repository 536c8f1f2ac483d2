"""Outputs of commands for the pages: each command runs once per process, on the recorded demo."""

from __future__ import annotations

import atexit
import contextlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

from chainwatch.demo import exchange, recording
from tests import shell
from tests.pdfs import pdf
from tests.places import FIXTURES, ROOT

EXAMPLES = ROOT / "docs" / "examples"
# Options of a marker whose commands get a lake of their own.
_OWN_LAKE = frozenset({"copy", "empty"})
_COVERED = re.compile(r"covered [0-9.]+ % of the time, (.*?) \d+ frames")
_AGE = re.compile(r"(?<=Z, )\d+ (second|minute|hour|day)s? old")


class Output(NamedTuple):
    """What a command printed on stdout and stderr, and its exit code."""

    out: str
    err: str
    code: int


class Session:
    """Runs commands on the recorded demo's lake, in a folder that holds the example files."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="chainwatch-docs-"))
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        self.work = self._folder / "here"
        shutil.copytree(EXAMPLES, self.work)
        lines = (FIXTURES / "reports" / "tether.txt").read_text("utf-8").split("\f")
        (self.work / "report.pdf").write_bytes(pdf([page.splitlines() for page in lines]))
        self._lake = shell.recorded_lake()
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.docs.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=shell.environment(),
            cwd=ROOT,
        )
        atexit.register(self._stop)
        self._made = 0

    def _stop(self) -> None:
        self._server.kill()
        self._server.communicate()  # closes its pipes

    def new_lake(self, *, copied: bool) -> Path:
        """A folder for commands that write: a copy of the lake, or nothing yet."""
        self._made += 1
        folder = self._folder / f"lake-{self._made}"
        return shutil.copytree(self._lake, folder) if copied else folder

    def run(
        self,
        arguments: list[str],
        home: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> Output:
        """Run one command to its end; the demo has been run already."""
        if arguments[:1] == ["demo"] and "--help" not in arguments:
            done = shell.recorded_demo()[1]
            return Output(self._stable(done.err + done.out), "", done.code)
        out, err = self._folder / "out", self._folder / "err"
        request = {
            "arguments": ["--home", str(home or self._lake), *arguments],
            "environment": shell.environment({"COLUMNS": "80"} | (environment or {})),
            "folder": str(self.work),
            "out": str(out),
            "err": str(err),
        }
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        return Output(self._stable(out.read_text("utf-8")), self._stable(err.read_text()), code)

    def _stable(self, text: str) -> str:
        return stable(text.replace(str(self._folder), "…").replace(str(self._lake), "…"))


@cache
def session() -> Session:
    """The one session of this process."""
    return Session()


def stable(text: str) -> str:
    """The text without what differs from run to run: ages, coverage, the port of an endpoint."""
    text = _AGE.sub("… old", text)
    text = _COVERED.sub(r"covered … of the time, \1 … frames", text)
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:…", text)


@cache
def times() -> dict[str, str]:
    """Times of the recording by name: `before` the fall of prices, and the end of it."""
    recorded = recording.load()
    header = next(h for h in recorded.headers if h.number == recorded.stops[0])
    return {
        name: f"{datetime.fromtimestamp(header.time + seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
        for name, seconds in (("BEFORE", 0), ("END", 4))
    }


@contextlib.contextmanager
def recorded_chain(here: Session, stop: int) -> Iterator[dict[str, str]]:
    """The environment in which the demo's Aave market is read from the recording."""
    with shell.recorded_chain(stop=stop) as url:
        markets = shell.market_file(here.work.parent / "markets", {"demo": url})
        yield {"CHAINWATCH_MARKETS": str(markets)}


@contextlib.contextmanager
def loopback_exchange() -> Iterator[dict[str, str]]:
    """The environment in which three venues are read from the demo's exchange, which plays its
    burst as soon as it is listened to."""
    with exchange.Exchange(exchange.load()) as playing:

        def play() -> None:
            import asyncio

            while not playing.ready():
                time.sleep(0.05)
            asyncio.run(playing.play(time.time()))

        threading.Thread(target=play, daemon=True).start()
        yield playing.environment()


class Marker(NamedTuple):
    """What a page asks for: the commands of one block, and how they are run.

    Options: `copy` (on a copy of the lake: the commands write), `empty` (on a lake without rows),
    `chain` (the recorded chain answers), `exchange` (the demo's exchange answers), `err` (stderr is
    shown, too), `loose` (the output varies from run to run and is not compared), `code=N` (it ends
    with that exit code).
    """

    options: frozenset[str]
    commands: tuple[str, ...]

    @classmethod
    def read(cls, options: str, commands: str) -> Marker:
        """A marker from its options and its commands, as they stand in a page."""
        return cls(frozenset(options.split()), tuple(commands.split(" ;; ")))

    @property
    def code(self) -> int:
        return next((int(o[5:]) for o in self.options if o.startswith("code=")), 0)


@cache
def block(marker: Marker) -> str:
    """The commands and what they print, as a code block.

    A command may end in `| head -n N`: the page then shows its first lines only.
    """
    here = session()
    home = here.new_lake(copied="copy" in marker.options) if marker.options & _OWN_LAKE else None
    shown = []
    with contextlib.ExitStack() as stack:
        environment: dict[str, str] = {}
        if "chain" in marker.options:
            # At its first stop the recording can read all accounts, at its second verify them.
            stop = 0 if "empty" in marker.options else 1
            environment |= stack.enter_context(recorded_chain(here, stop))
        if "exchange" in marker.options:
            environment |= stack.enter_context(loopback_exchange())
        for command in marker.commands:
            for name, moment in times().items():
                command = command.replace(f"${name}", moment)
            line, _, limit = command.partition(" | head -n ")
            done = here.run(shlex.split(line), home, environment)
            if done.code != marker.code:
                raise SystemExit(
                    f"chainwatch {line}: exit code {done.code}, expected {marker.code}\n{done.err}"
                )
            text = (done.err if "err" in marker.options else "") + done.out
            if limit:
                text = "".join(text.splitlines(keepends=True)[: int(limit)])
            shown.append(f"$ chainwatch {command}\n{text}")
    return "```console\n" + "\n".join(shown) + "```"


def chart() -> str:
    """The picture of the README: what `cascade --chart` draws on the demo's lake, as SVG."""
    here = session()
    path = here.work / "cascade.svg"
    line = ["cascade", "ETH", "--as-of", times()["BEFORE"], "--chart", str(path)]
    done = here.run(line)
    if done.code:
        raise SystemExit(done.err)
    return stable(path.read_text("utf-8"))
