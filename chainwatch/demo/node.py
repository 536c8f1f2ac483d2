"""The local EVM node: installs the tool chain with npm once, starts anvil and stops it."""

import fcntl
import hashlib
import http.client
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from chainwatch.errors import UsageError

PACKAGE = Path(__file__).with_name("package.json")
ARTIFACTS = Path("node_modules/@aave/core-v3/artifacts")
PLATFORM = {
    ("Darwin", "arm64"): "darwin-arm64",
    ("Darwin", "x86_64"): "darwin-amd64",
    ("Linux", "aarch64"): "linux-arm64",
    ("Linux", "x86_64"): "linux-amd64",
}
SHA256 = {"linux-amd64": "10c1c727d6c1de973aeb160e59875b9a9a23464d6e74149ee8abb30b3500311b"}
NPM = ("install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund")
# npm waits for minutes on a dead registry unless it is configured; the caller's settings win.
NPM_SETTINGS = {
    "npm_config_fetch_retries": "1",
    "npm_config_fetch_retry_mintimeout": "1000",
    "npm_config_fetch_timeout": "60000",
    "npm_config_update_notifier": "false",
}
UNREACHABLE = {"EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "ENOTFOUND", "ETIMEDOUT"}
ANVIL = (
    "--quiet",
    "--auto-impersonate",
    "--gas-price=0",
    "--block-base-fee-per-gas=0",
    "--disable-block-gas-limit",
    "--disable-pool-balance-checks",
    "--order=fifo",
    "--no-request-size-limit",
)


class ToolchainMissing(UsageError):
    """The local node cannot be had here; the message says what is missing and what to do."""


@dataclass(frozen=True)
class Toolchain:
    """A node that runs and the compiled Aave contracts that go on it."""

    anvil: Path  # executable
    artifacts: Path  # folder with contracts/**/X.sol/X.json in Hardhat's format


def install(cache: Path, say: Callable[[str], None], timeout_seconds: float = 300) -> Toolchain:
    """Return the tool chain below `cache`, installing it on first use.

    `say` receives a line when the caller will have to wait. Safe to call from several processes,
    and after one that was killed half-way. Raises ToolchainMissing.
    """
    folder = npm_folder(PACKAGE, cache, say, timeout_seconds, check=_check)
    return Toolchain(_anvil(folder), folder / ARTIFACTS)


def npm_folder(
    package: Path,
    cache: Path,
    say: Callable[[str], None],
    timeout_seconds: float = 300,
    *,
    check: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """The folder below `cache` with node_modules for a package.json, installed on first use.

    `check` looks at a fresh installation and raises ToolchainMissing where something is wrong.
    """
    folder = cache.absolute() / "evm" / hashlib.sha256(package.read_bytes()).hexdigest()[:12]
    if not _marker(folder).exists():
        with _locked(folder.with_suffix(".lock"), say):
            if not _marker(folder).exists():
                _fill(folder, package, say, timeout_seconds, check)
    return folder


class Node:
    """An anvil process on a free loopback port, alive inside the `with` block.

    `timestamp` is the genesis time in seconds since 1970, `extra` further anvil arguments.
    Raises ToolchainMissing when the binary does not start.
    """

    def __init__(
        self, anvil: Path, *, timestamp: int | None = None, extra: Sequence[str] = ()
    ) -> None:
        self.anvil = anvil
        self.arguments = [*ANVIL, *extra]
        if timestamp is not None:
            self.arguments.append(f"--timestamp={timestamp}")
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        # Of old blocks; anvil does not remove them when it is killed.
        self._states: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, timeout_seconds: float = 30) -> None:
        """Start the process and return once it answers."""
        port = _free_port()
        self._states = tempfile.TemporaryDirectory(prefix="chainwatch-anvil-")
        with tempfile.TemporaryFile() as errors:
            try:
                self._process = self._spawn(port, errors)
                self._wait(port, errors, timeout_seconds)
            except BaseException:
                self.stop()
                raise
        self.url = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        """End this node's process, and only that one; a second call does nothing."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        states, self._states = self._states, None
        if states is not None:
            states.cleanup()

    def _spawn(self, port: int, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        own = [f"--port={port}", f"--cache-path={self._states.name}"] if self._states else []
        command = [*_dies_with_parent(), str(self.anvil), *own, *self.arguments]
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the parent, which then stops the node
            )
        except OSError as error:
            raise self._failure(f"does not start: {error.strerror}") from error

    def _wait(self, port: int, errors: IO[bytes], timeout_seconds: float) -> None:
        assert self._process is not None
        deadline = time.monotonic() + timeout_seconds
        while self._process.poll() is None:
            if _answers(port):
                return
            if time.monotonic() > deadline:
                raise self._failure(f"does not answer after {timeout_seconds:g} s")
            time.sleep(0.01)
        errors.seek(0)
        reason = _last_line(errors.read()) or f"exit code {self._process.returncode}"
        raise self._failure(f"ended at start: {reason}")

    def _failure(self, what: str) -> ToolchainMissing:
        return ToolchainMissing(
            f"{self.anvil} {what}; set CHAINWATCH_ANVIL to an anvil that runs here"
        )


def _marker(folder: Path) -> Path:
    return folder / ".complete"


@contextmanager
def _locked(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that installs the local chain")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fill(
    folder: Path,
    package: Path,
    say: Callable[[str], None],
    timeout_seconds: float,
    check: Callable[[Path], None],
) -> None:
    """Install beside `folder` and rename, so that `folder` is never seen half full."""
    for left_over in (folder, *folder.parent.glob(f"{folder.name}.part-*")):
        shutil.rmtree(left_over, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=folder.parent))
    try:
        shutil.copy(package, part)
        say("installing the local chain with npm (about 100 MB, once)")
        _npm(part, timeout_seconds)
        check(part)
        _marker(part).touch()
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _npm(folder: Path, timeout_seconds: float) -> None:
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise ToolchainMissing(
                f"{tool} is not on PATH; install Node.js 20 or newer, which brings node and npm"
            )
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [shutil.which("npm") or "npm", *NPM],
            cwd=folder,
            env={**NPM_SETTINGS, **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # npm starts helpers; the whole group ends together
        )
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise ToolchainMissing(
                f"npm install did not end within {timeout_seconds:g} s; check the connection to "
                "the package registry and try again"
            ) from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode:
            errors.seek(0)
            raise ToolchainMissing(_npm_reason(errors.read(), process.returncode))


def _npm_reason(errors: bytes, returncode: int) -> str:
    code = re.search(rb"^npm (?:error|ERR!) code (\w+)", errors, re.MULTILINE)
    name = code[1].decode() if code else ""
    if name in UNREACHABLE:
        return f"npm cannot reach the package registry ({name}); check the network or the proxy"
    reason = name or _last_line(errors) or f"exit code {returncode}"
    return f"npm install failed ({reason}); run npm install in a copy of {PACKAGE} to see why"


def _packaged(folder: Path) -> Path | None:
    name = PLATFORM.get((platform.system(), platform.machine()))
    binary = folder / f"node_modules/@foundry-rs/anvil-{name}/bin/anvil"
    return binary if name and binary.exists() else None


def _check(folder: Path) -> None:
    if not (folder / ARTIFACTS).is_dir():
        raise ToolchainMissing(
            "npm ended well but left no Aave artifacts; run npm install in a copy of "
            f"{PACKAGE} to see why"
        )
    binary = _packaged(folder)
    if binary is None:
        return
    expected = SHA256.get(binary.parent.parent.name.removeprefix("anvil-"))
    with binary.open("rb") as handle:
        actual = hashlib.file_digest(handle, "sha256").hexdigest()
    if expected and actual != expected:
        raise ToolchainMissing(
            f"the anvil binary from npm has sha256 {actual[:12]}…, expected {expected[:12]}…; "
            "do not run it, or set CHAINWATCH_ANVIL to one you trust"
        )
    binary.chmod(0o755)


def _anvil(folder: Path) -> Path:
    configured = os.environ.get("CHAINWATCH_ANVIL")
    if configured:
        path = shutil.which(configured)
        if path is None:
            raise ToolchainMissing(
                f"CHAINWATCH_ANVIL names {configured}, which is not an executable file"
            )
        return Path(path).absolute()
    packaged = _packaged(folder)
    if packaged:
        return packaged
    on_path = shutil.which("anvil")
    if on_path is None:
        raise ToolchainMissing(
            f"npm has no anvil for {platform.system()} {platform.machine()}; install Foundry or "
            "set CHAINWATCH_ANVIL"
        )
    return Path(on_path).absolute()


def _dies_with_parent() -> list[str]:
    # The kernel ties the death signal to the starting *thread*: a short-lived one would take the
    # node with it. setpriv instead of preexec_fn, which is unsafe beside other threads.
    main = threading.current_thread() is threading.main_thread()
    setpriv = shutil.which("setpriv") if sys.platform == "linux" and main else None
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    body = '{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}'
    try:
        connection.request("POST", "/", body, {"Content-Type": "application/json"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _last_line(output: bytes) -> str:
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else ""
