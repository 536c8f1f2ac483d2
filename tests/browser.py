"""A real browser without a window: opens a page and says what became of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.places import CACHE

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# Written by `make everything` where the machine has no way to install one.
REFUSED = CACHE / "programs" / "no-browser"
MISSING = "no Chromium is on the PATH: make everything"
SECONDS = 180
_FLAGS = (
    "--headless",
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--virtual-time-budget=20000",
)


def program() -> str:
    """The path of a browser; without one the test is skipped, in CI it fails."""
    for name in PROGRAMS:
        if path := shutil.which(name):
            return path
    if os.environ.get("CI") and not REFUSED.exists():
        pytest.fail(MISSING, pytrace=False)
    pytest.skip(MISSING)


def opened(page: Path) -> str:
    """The document as it is after the page's scripts have run."""
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [program(), *_FLAGS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()],
            capture_output=True,
            timeout=SECONDS,
            env=os.environ | {"HOME": profile},
        )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2_000:]
    return done.stdout.decode("utf-8", "replace")


@contextlib.contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A server on loopback that gives out an empty script: its URL, and the paths asked for."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", requests
        server.shutdown()
