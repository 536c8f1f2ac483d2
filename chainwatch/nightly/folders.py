"""Files and folders of an export: written whole, flushed to disk, put in place at once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

DRAFT = ".chainwatch-"
# A draft that is older was left by a process that has died.
ABANDONED_AFTER_SECONDS = 6 * 3_600


def digest(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def write_file(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def same(first: Path, second: Path) -> bool:
    """Whether two folders hold the same files byte for byte."""
    if not second.is_dir():
        return False
    names = sorted(p.name for p in first.iterdir())
    return names == sorted(p.name for p in second.iterdir()) and all(
        (first / name).read_bytes() == (second / name).read_bytes() for name in names
    )


def put(draft: Path, target: Path, old: Path) -> None:
    """Move a finished folder to its place; an older one there is moved away first."""
    if target.exists() and not _exchange(draft, target):
        target.rename(old)
    if not target.exists() or old.exists():
        draft.rename(target)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step where the system can (Linux: renameat2), so that at
    every moment one of them is in place."""
    import ctypes

    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE (linux/fs.h)
    return bool(swap(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0)


def sweep(out: Path) -> None:
    """Remove drafts whose writers have died."""
    for draft in out.glob(f"{DRAFT}*"):
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime > ABANDONED_AFTER_SECONDS:
                shutil.rmtree(draft)
