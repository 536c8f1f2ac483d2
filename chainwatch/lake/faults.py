"""Failures of the disk and of segments, as one line that says what to do."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from chainwatch.errors import StoreError
from chainwatch.lake.engine import connect
from chainwatch.lake.layout import Layout
from chainwatch.lake.segments import one_line


def exhausted(failure: Exception) -> str:
    """What a disk has run out of: space, quota, or "" for neither."""
    number, text = getattr(failure, "errno", None), str(failure).lower()
    if number == errno.ENOSPC or "no space left on device" in text:
        return "space"
    return "quota" if number == errno.EDQUOT or "quota exceeded" in text else ""


def refuse_full(failure: Exception, folder: Path) -> None:
    """Raise StoreError where the disk that holds a folder has run out of space or quota."""
    if lack := exhausted(failure):
        state = {
            "space": f"the disk that holds {folder} is full",
            "quota": f"the disk quota for {folder} is used up",
        }[lack]
        raise StoreError(
            f"{state}: free some space and run again; what was stored before is untouched"
        ) from None


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raise StoreError in one line where the disk that holds a folder refuses what is written."""
    try:
        yield
    except OSError as failure:
        refuse_full(failure, folder)
        where = failure.filename or folder
        raise StoreError(f"{where} cannot be written: {failure.strerror or failure}") from None


def refuse_write(layout: Layout, failure: Exception) -> NoReturn:
    """Raise StoreError that says why the lake cannot be written; other failures as they are."""
    if isinstance(failure, StoreError):
        raise failure
    refuse_storage(layout, failure, layout.home)
    if isinstance(failure, OSError) or type(failure).__module__.startswith("_duckdb"):
        text = str(failure)
        reason = text.splitlines()[0] if text else type(failure).__name__
        raise StoreError(f"{layout.home} cannot be written: {reason}") from None
    raise failure


def refuse_read(layout: Layout, failure: Exception, folder: Path) -> NoReturn:
    """Raise StoreError that says why a catalog of the lake cannot be made in a folder."""
    refuse_storage(layout, failure, folder)
    raise StoreError(
        f"{layout.lake} holds a file that is not a segment of this lake: {one_line(str(failure))}"
    ) from None


def refuse_storage(layout: Layout, failure: Exception, folder: Path) -> None:
    """Raise StoreError where the disk of a folder is full or a segment cannot be read."""
    refuse_full(failure, folder)
    if path := _unreadable_segment(layout, failure):
        reason = one_line(str(failure)).replace(str(path), path.name)
        raise StoreError(
            f"{path} cannot be read ({reason}): put a copy of it back, or move it and "
            f"{layout.receipt(path)} away: nothing of that load counts then"
        ) from None


def _unreadable_segment(layout: Layout, failure: Exception) -> Path | None:
    """The segment that the engine failed at; None where a statement was at fault."""
    import duckdb

    if not isinstance(failure, duckdb.Error):
        return None
    named = re.findall(rf"{re.escape(str(layout.lake))}/[^'\"\n]*\.parquet", str(failure))
    paths = [Path(name) for name in named]
    # Of some damage the engine says neither its kind nor the file.
    if not named and type(failure) in (duckdb.Error, duckdb.InternalException):
        paths = sorted(layout.lake.glob("*/*=*/*.parquet"))
    with connect() as engine:
        for path in paths:
            try:
                engine.execute(
                    "SELECT bit_xor(hash(COLUMNS(*))) "
                    "FROM read_parquet($path, hive_partitioning = false)",
                    {"path": str(path)},
                ).fetchall()
            except duckdb.Error:
                if path.exists():
                    return path
    return None
