"""Many objects at once: the search for cycles among them is put off, as they have none."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_running = 0
_was_enabled = False


@contextlib.contextmanager
def bulk() -> Iterator[None]:
    """Put off the search for cycles while rows are made by the hundred thousand.

    It looks at all objects again and again as they grow in number, a quarter of the time of a
    snapshot. Blocks may be nested, and run in several threads: the search goes on after the last.
    """
    global _running, _was_enabled
    with _lock:
        if not _running:
            _was_enabled = gc.isenabled()
            gc.disable()
        _running += 1
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if not _running and _was_enabled:
                gc.enable()
