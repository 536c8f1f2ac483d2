"""The check of an export: its files against its manifests, and these against the lake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from chainwatch.errors import UsageError
from chainwatch.lake.segments import parquet_shape
from chainwatch.lake.store import Store
from chainwatch.nightly import folders
from chainwatch.nightly.manifest import (
    DAMAGED,
    MANIFEST,
    DamagedManifest,
    MartEntry,
    outdated,
    read_manifest,
)


class ExportFault(msgspec.Struct, frozen=True):
    """A file of an export that differs from its manifest; `what` follows the path in a sentence."""

    path: Path
    what: str


def check_export(folder: Path, store: Store | None = None) -> tuple[int, list[ExportFault]]:
    """Compare an export (or one day of it) with its manifests, and these with the lake if given.

    Returns the number of days and the faults. Raises UsageError where there is no export.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    nights = [folder] if folder.name.startswith("day=") else sorted(folder.glob("day=*"))
    if not nights:
        raise UsageError(f"{folder} holds no export: no day=YYYY-MM-DD in it")
    faults = [fault for night in nights for fault in _faults(night)]
    if store is not None:
        root = folder.parent if nights == [folder] else folder
        outdated_days = {
            root / f"day={day:%Y-%m-%d}": reason for day, reason in outdated(store, root).items()
        }
        at_fault = {fault.path for fault in faults}
        faults += [
            ExportFault(night / MANIFEST, outdated_days[night])
            for night in nights
            if night in outdated_days and night / MANIFEST not in at_fault
        ]
    return len(nights), faults


def _faults(night: Path) -> Iterator[ExportFault]:
    path = night / MANIFEST
    try:
        manifest = read_manifest(night)
    except OSError as failure:
        yield ExportFault(path, f"cannot be read: {failure.strerror}")
        return
    except DamagedManifest:
        yield ExportFault(path, DAMAGED)
        return
    if manifest is None:
        yield ExportFault(path, "is missing")
        return
    if f"day={manifest.day}" != night.name:
        yield ExportFault(path, f"is the manifest of {manifest.day}")
    listed = {MANIFEST}
    for entry in manifest.marts.values():
        for file, digest in entry.files.items():
            listed.add(file)
            if Path(file).name != file or file in ("", "..") or not file.isprintable():
                yield ExportFault(path, f"names {file!r}, which is not beside it")
                continue
            yield from _file_faults(night / file, entry, digest)
    for extra in sorted(p.name for p in night.iterdir() if p.name not in listed):
        yield ExportFault(night / extra, "is not in the manifest")


def _file_faults(path: Path, entry: MartEntry, digest: Mapping[str, Any]) -> Iterator[ExportFault]:
    try:
        actual = folders.digest(path)
    except FileNotFoundError:
        yield ExportFault(path, "is missing")
        return
    except OSError as failure:
        yield ExportFault(path, f"cannot be read: {failure.strerror}")
        return
    if actual != digest:
        yield ExportFault(path, "is not what was written: size or sha256 differ")
        return
    if path.suffix == ".parquet":
        try:
            count, shape, _ = parquet_shape(path)
        except UsageError:
            yield ExportFault(path, "is not a Parquet file")
            return
        if count != entry.rows or [name for name, _ in shape] != [c.name for c in entry.columns]:
            yield ExportFault(path, "has other rows or columns than the manifest says")
