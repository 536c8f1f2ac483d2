"""Pseudo-terminals, on machines whose /dev has none as well."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import tempfile
import termios
from pathlib import Path

import pytest

# Linux, ioctl_tty(2): unlock the other end, and open it without a path (Python has no names for
# them in `termios`).
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441


def opened(*, columns: int = 80, lines: int = 40) -> tuple[int, int]:
    """Both ends of a new terminal: ours, and that of the program.

    A sandbox may have no devices for terminals: then a file system of them is mounted for the
    moment of opening. Where that is refused as well, the test is skipped and says so.
    """
    try:
        ours, other = os.openpty()
    except OSError as missing:
        ours, other = _mounted(missing)
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    return ours, other


def require() -> None:
    """Skip the test where there is no terminal, before it starts what would wait for one."""
    for end in opened():
        os.close(end)


def _mounted(missing: OSError) -> tuple[int, int]:
    with tempfile.TemporaryDirectory(prefix="chainwatch-pts-") as folder:
        mount = ["mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666", "devpts", folder]
        done = subprocess.run(mount, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(
                f"no terminals here: {missing}; none to be had: {done.stderr.splitlines()[0]}"
            )
        try:
            ours = os.open(Path(folder) / "ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            fcntl.ioctl(ours, _TIOCSPTLCK, struct.pack("i", 0))
            return ours, fcntl.ioctl(ours, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
