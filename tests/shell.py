"""The command line as a user meets it: processes of their own, pipes, terminals, endpoints."""

from __future__ import annotations

import atexit
import contextlib
import csv
import fcntl
import io
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from chainwatch.demo import recording
from tests import templates, terminal

# Seconds after which a command is taken to hang, on a machine that is busy with other things, too.
PATIENCE = 300
# The command line itself, and as it is started: version and help are then answered before it loads.
CHAINWATCH = [sys.executable, "-m", "chainwatch.cli"]
ENTRY = [sys.executable, "-m", "chainwatch"]
# The working directory of every command: no .env of anybody lies there.
NOWHERE = Path(tempfile.mkdtemp(prefix="chainwatch-cwd-"))
atexit.register(shutil.rmtree, NOWHERE, ignore_errors=True)
# Makes stdin the terminal that Ctrl-C comes from, and runs what follows.
_ON_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
_OURS = ("CHAINWATCH_", "NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS", "PYTHON")


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


def duckdb_program() -> str:
    """The duckdb shell, which comes with the development tools."""
    beside = str(Path(sys.executable).parent)
    program = shutil.which("duckdb", path=beside) or shutil.which("duckdb")
    assert program, "expected the duckdb shell (package duckdb-cli of the extra dev), got none"
    return program


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would change how the program behaves."""
    values = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
    return values | dict(changes or {})


def start(
    *arguments: str,
    home: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path = NOWHERE,
    stdin: Any = subprocess.DEVNULL,
    stdout: Any = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    """A command that runs in the background."""
    if home is not None:
        templates.prepare(home)
    where = ["--home", str(home)] if home is not None else []
    return subprocess.Popen(
        [*CHAINWATCH, *where, *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment(env),
        cwd=cwd,
    )


def ended(process: subprocess.Popen[bytes], given: bytes | None = None) -> Done:
    """Wait for a command."""
    try:
        out, err = process.communicate(given, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Done(process.returncode, (out or b"").decode(), err.decode())


def leave(process: subprocess.Popen[bytes]) -> None:
    """End a command whose output is not needed any more, and close its pipes."""
    if process.poll() is None:
        process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    process.wait()


def run(*arguments: str, given: str | bytes | None = None, **how: Any) -> Done:
    """Run a command to its end, with `given` on its stdin."""
    data = given.encode() if isinstance(given, str) else given
    if data is not None:
        how["stdin"] = subprocess.PIPE
    return ended(start(*arguments, **how), data)


def on_terminal(
    *arguments: str,
    home: Path | None = None,
    env: Mapping[str, str] | None = None,
    columns: int = 80,
    press: bytes = b"",
    when: str = "",
    program: Sequence[str] = CHAINWATCH,
) -> tuple[int, str, float]:
    """Run a command on a terminal: exit code, all it wrote, and seconds from `press` to the end.

    The keys in `press` are typed once `when` has appeared.
    """
    where = ["--home", str(home)] if home is not None else []
    parent, child = terminal.opened(columns=columns)
    process = subprocess.Popen(
        [sys.executable, "-c", _ON_TERMINAL, *program, *where, *arguments],
        stdin=child,
        stdout=child,
        stderr=child,
        env=environment({"TERM": "xterm"} | dict(env or {})),
        cwd=NOWHERE,
    )
    os.close(child)
    written, pressed, begun = b"", 0.0, time.monotonic()
    try:
        while time.monotonic() - begun < PATIENCE:
            if press and not pressed and when in written.decode(errors="replace"):
                os.write(parent, press)
                pressed = time.monotonic()
            if select.select([parent], [], [], 0.05)[0]:
                try:
                    part = os.read(parent, 65_536)
                except OSError:
                    break
                if not part:
                    break
                written += part
    finally:
        if process.poll() is None and time.monotonic() - begun >= PATIENCE:
            process.kill()
        code = process.wait()
        os.close(parent)
    took = time.monotonic() - pressed if pressed else 0.0
    return code, written.decode().replace("\r\n", "\n"), took


# --- chains -------------------------------------------------------------------------------------


@cache
def recorded_demo() -> tuple[Path, Done]:
    """The demo on a machine without node, once per run: its home and what it printed."""
    shared = os.environ.get("CHAINWATCH_TEST_LAKE")
    folder = Path(shared or tempfile.mkdtemp(prefix="chainwatch-lake-"))
    if not shared:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    home, printed = folder / "a home", folder / "printed.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            without_node = {
                "PATH": str(folder / "no-node"),
                "CHAINWATCH_CACHE": str(home / "cache"),
            }
            done = run("demo", home=home, env=without_node)
            assert done.code == 0, done.err
            printed.write_text(json.dumps(done))
        return home, Done(*json.loads(printed.read_text()))


def recorded_lake() -> Path:
    """A lake that holds both blocks of the recorded demo. Whoever writes to it copies it first."""
    return recorded_demo()[0] / "demo"


def copied_lake(folder: Path) -> Path:
    """A copy of that lake."""
    return shutil.copytree(recorded_lake(), folder / "lake-copy")


@contextlib.contextmanager
def recorded_chain(
    player: Callable[[recording.Recording], recording.Player] = recording.Player, *, stop: int = 0
) -> Iterator[str]:
    """The URL of the recorded chain: at its first stop all accounts can be read; at its second
    only what has changed since then, and every account verified."""
    with player(recording.load()) as playing:
        playing.head = playing.recording.stops[stop]
        yield playing.url


Answer = Callable[[Any], tuple[int, str, bytes]]


@contextlib.contextmanager
def endpoint(answer: Answer) -> Iterator[str]:
    """An HTTP server that answers each JSON-RPC body with (status, content type, bytes)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            with contextlib.suppress(OSError):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, kind, data = answer(body)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that hung up

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def refused(_: Any) -> tuple[int, str, bytes]:
    """What an endpoint says that wants a key: the program does not ask it again."""
    return 403, "text/html", b"<html>no key, no answer</html>"


def silent(_: Any) -> tuple[int, str, bytes]:
    """An endpoint that takes its time."""
    time.sleep(60)
    return 200, "application/json", b"{}"


def market_file(folder: Path, markets: Mapping[str, str], **more: object) -> Path:
    """A table of markets, each the recorded pool at a URL."""
    recorded = recording.load()
    place = recorded.markets["demo"]
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for name, url in markets.items():
        entry: dict[str, object] = {
            "protocol": "aave-v3",
            "chain": "local",
            "chain_id": recorded.chain_id,
            "pool": place.pool,
            "rpc": [url],
            "lag": 0,
            "deployment_block": place.deployment_block,
            "provenance": "recording",
            "wall_factors": ["ETH"],
        } | more
        lines += [f"[markets.{name}]", *(f"{k} = {json.dumps(v)}" for k, v in entry.items()), ""]
    path = folder / "markets.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def rows_of(text: str, form: str) -> list[dict[str, Any]]:
    """The rows that a command printed in a machine format."""
    if form == "--json":
        rows: list[dict[str, Any]] = json.loads(text)["rows"]
        return rows
    if form == "--jsonl":
        return [json.loads(line) for line in text.splitlines()]
    assert form == "--csv"
    return list(csv.DictReader(io.StringIO(text)))
