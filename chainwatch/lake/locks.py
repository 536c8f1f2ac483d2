"""Locks of a home folder: one collector per source and target, one process that merges, one that
writes a row of `loads`."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator

from chainwatch.errors import StoreBusy
from chainwatch.lake.faults import refuse_write
from chainwatch.lake.layout import Layout


@contextlib.contextmanager
def hold_lock(layout: Layout, name: str) -> Iterator[None]:
    """Hold the lock of a name; StoreBusy names the process that has it."""
    path = layout.lock(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as failure:
        refuse_write(layout, failure)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 100).decode(errors="replace").strip() or "unknown"
            raise StoreBusy(
                f"{name} is being collected into {layout.home} by process {holder}: "
                "wait for it, or stop it"
            ) from None
        with contextlib.suppress(OSError):  # on a full disk the holder stays unknown to others
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def hold_sequence(layout: Layout, last: Callable[[], int]) -> Iterator[int]:
    """The next number of the lake; until the body ends no other process gets one.

    It is on disk before the body begins. `last` gives the largest number that is stored, where the
    file that has it is missing or holds none. Waits for its turn. Raises OSError.
    """
    layout.sequence.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(layout.sequence, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        stored = os.pread(descriptor, 100, 0).strip()
        number = (int(stored) if stored.isdigit() else last()) + 1
        os.pwrite(descriptor, f"{number:020}\n".encode(), 0)
        os.ftruncate(descriptor, 21)
        os.fsync(descriptor)
        yield number
    finally:
        os.close(descriptor)
