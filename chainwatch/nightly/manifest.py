"""Manifests: what the marts of a day were made from, and whether that is still what is stored.

A manifest names the snapshots that its marts are of, and per table the number of rows and a digest
of them. A day of which more was stored since is outdated; one whose snapshots were removed since
(retention) stays as it is, and is not written again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec

from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.store import Store

MANIFEST = "manifest.json"
LAYOUT = 1
DAMAGED = "cannot be parsed as a manifest"


class SnapshotEntry(msgspec.Struct, frozen=True):
    """A snapshot that a manifest names."""

    market: str
    snapshot: str
    block_number: int
    block_time: str


class ColumnEntry(msgspec.Struct, frozen=True):
    """A column that a manifest names."""

    name: str


class MartEntry(msgspec.Struct, frozen=True):
    """A mart in a manifest: rows, columns, and size and hash of each file."""

    rows: int
    columns: list[ColumnEntry]
    files: dict[str, dict[str, int | str]]


class Manifest(msgspec.Struct, frozen=True):
    """The fields of a manifest that are read again; older ones have no `inputs`."""

    day: str
    marts: dict[str, MartEntry]
    snapshots: list[SnapshotEntry] = []
    compared_with: list[SnapshotEntry] = []
    inputs: dict[str, dict[str, int | str]] | None = None


class DamagedManifest(ValueError):
    """A file that cannot be parsed as a manifest."""


def snapshot_entry(market: str, snapshot: str, number: int, time: datetime) -> dict[str, Any]:
    return {
        "market": market,
        "snapshot": snapshot,
        "block_number": number,
        "block_time": time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }


def inputs(catalog: Catalog, day: date | None = None) -> dict[date, dict[str, dict[str, Any]]]:
    """Per stored day (or for one) and table: the number of input rows, and their digest."""
    by_day: dict[date, dict[str, dict[str, Any]]] = {}
    for row in query.run(catalog, query.find("day_inputs"), {"p_day": day}).dicts():
        part = {"rows": row["rows"], "digest": row["digest"]}
        by_day.setdefault(row["day"], {})[row["input"]] = part
    return by_day


def outdated(store: Store, out: Path) -> dict[date, str]:
    """The stored days that are missing in `out` or would be written differently, and why.

    A day whose marts are of snapshots that are no longer stored is not among them.
    """
    with query.open_catalog(store) as catalog:
        stored = inputs(catalog)
        orphans = orphaned(catalog)
        snapshots: dict[date, dict[str, list[dict[str, Any]]]] = {}
        for s in query.run(catalog, query.find("day_snapshots")).dicts():
            here = snapshots.setdefault(s["day"], {"snapshots": [], "compared_with": []})
            newest = snapshot_entry(s["market"], s["snapshot"], s["block_number"], s["block_time"])
            here["snapshots"].append(newest)
            if s["before"] is not None:
                earlier = snapshot_entry(
                    s["market"], s["before"], s["before_number"], s["before_time"]
                )
                here["compared_with"].append(earlier)
    reasons = {}
    for day, parts in sorted(stored.items()):
        try:
            manifest = read_manifest(out / f"day={day:%Y-%m-%d}")
        except DamagedManifest:
            reasons[day] = DAMAGED
            continue
        reason = _difference(manifest, parts)
        if reason and not lost(manifest, entries(snapshots.get(day, {})), orphans):
            reasons[day] = reason
    return reasons


def _difference(manifest: Manifest | None, parts: Mapping[str, Mapping[str, Any]]) -> str:
    """How the stored rows differ from those of a manifest; empty where they do not."""
    if manifest is None:
        return "is missing"
    then = manifest.inputs
    if then is None:
        return "does not list its inputs: export the day again"
    changed = [name for name in sorted(then.keys() | parts) if then.get(name) != parts.get(name)]
    return f"is older than what is stored ({', '.join(changed)}): export the day again" * bool(
        changed
    )


def orphaned(catalog: Catalog) -> set[str]:
    return {row[0] for row in catalog.run("SELECT snapshot FROM orphans").rows}


def entries(
    snapshots: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, list[SnapshotEntry]]:
    return {part: msgspec.convert(rows, list[SnapshotEntry]) for part, rows in snapshots.items()}


def lost(
    old: Manifest | None, new: Mapping[str, Sequence[SnapshotEntry]], orphans: set[str]
) -> list[str]:
    """The snapshots of a manifest that a new export would lack, or have older ones instead.

    Those whose block left the chain are not among them.
    """
    if old is None:
        return []
    missing = []
    for part, before in (("snapshots", old.snapshots), ("compared_with", old.compared_with)):
        stored = {s.market: (s.block_number, s.block_time) for s in new.get(part, [])}
        missing += [
            s.snapshot
            for s in before
            if s.snapshot not in orphans
            and stored.get(s.market, (-1, "")) < (s.block_number, s.block_time)
        ]
    return missing


def read_manifest(folder: Path) -> Manifest | None:
    """A day's manifest, None where there is none. Raises DamagedManifest, OSError."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise DamagedManifest(DAMAGED) from None
