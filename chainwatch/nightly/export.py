"""Nightly export: one folder per UTC day with a file per mart and format, and a manifest.

    <out>/day=2026-11-20/walls.parquet, walls.csv, walls.json, …, manifest.json

Balances and parameters are those of the newest snapshot of that day; a market without one that day
has no rows, and no entry among the manifest's snapshots.

The same stored rows give the same bytes whenever and wherever they are exported. Sums over tables
that belong to no snapshot are decimals, so that the order of segments does not matter. A day is
written beside its place and renamed: a reader sees all of it or none.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

import chainwatch
from chainwatch.errors import CheckFailed, UsageError
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import engine_version
from chainwatch.lake.faults import refuse_full
from chainwatch.lake.store import Store
from chainwatch.nightly import folders, slots
from chainwatch.nightly.manifest import (
    DAMAGED,
    LAYOUT,
    MANIFEST,
    DamagedManifest,
    Manifest,
    entries,
    inputs,
    lost,
    orphaned,
    read_manifest,
    snapshot_entry,
)
from chainwatch.nightly.marts import Runner, begin_of, fill, load_marts, parameters_of
from chainwatch.show import render
from chainwatch.show.document import Format, Report

FORMATS = ("parquet", "csv", "json")


class ExportedDay(msgspec.Struct, frozen=True):
    """A written day: its folder, rows per mart, and whether its bytes are new."""

    folder: Path
    rows: dict[str, int]
    changed: bool
    manifest: dict[str, Any]


def stored_days(store: Store) -> list[date]:
    """The UTC days of which rows are stored, oldest first."""
    with query.open_catalog(store) as catalog:
        return [row[0] for row in query.run(catalog, query.find("stored_days")).rows]


def choose_day(store: Store, requested: date | None) -> date:
    """The requested day, or the newest stored one that has begun.

    Raises UsageError where nothing is stored of it.
    """
    days = stored_days(store)
    if not days:
        raise UsageError(
            "nothing is stored to export: run `chainwatch collect` or `chainwatch demo` first"
        )
    if requested is None:
        begun = [day for day in days if day <= datetime.now(UTC).date()]
        if not begun:
            raise UsageError(
                "expected a day that has begun, got only days in the future: name one with --day"
            )
        return begun[-1]
    if requested not in days:
        near = ", ".join(f"{d:%Y-%m-%d}" for d in days[-5:])
        more = f" ({len(days)} days in all)" if len(days) > 5 else ""
        raise UsageError(f"nothing is stored of {requested:%Y-%m-%d}; stored: {near}{more}")
    return requested


@contextlib.contextmanager
def day_catalog(store: Store, day: date, path: Path) -> Iterator[Catalog]:
    """The catalog over a copy of what was stored of one day (Store.frozen), at `path`.

    It has each market's newest snapshot of the day, and the parameters of the newest one before.
    Queries with a factor read the slots of the accounts that it matters to; balances that lie in
    slots are not there as legs.
    """
    with query.open_catalog(store) as catalog:
        newest, parameters = _snapshot_ids(catalog, day)
    with store.frozen(
        query.definitions(),
        path,
        changed=list(slots.narrowed()),
        complete=newest,
        parameters=parameters,
        uncopied={"account_slots"},
        without={"legs": "in_slots"},
    ) as frozen:
        slots.group_slots(frozen, newest)
        yield frozen


def _snapshot_ids(catalog: Catalog, day: date) -> tuple[list[str], list[str]]:
    newest, before, begin = _newest_snapshots(catalog, day)
    here = {str(s["market"]): str(s["snapshot"]) for s in newest if s["block_time"] >= begin}
    return sorted(here.values()), sorted(str(s["snapshot"]) for s in before if s["market"] in here)


def export_day(
    store: Store,
    out: Path,
    day: date,
    *,
    formats: Sequence[str] = ("parquet",),
    progress: Callable[[str, int, int], None] = lambda task, done, total: None,
    runner: Runner | None = None,
    force: bool = False,
) -> ExportedDay:
    """Write one day's marts to <out>/day=…, completely or not at all.

    `runner` may compute portable marts elsewhere. Files that have the same bytes already stay
    untouched. Without `force`, raises CheckFailed where the marts there are of snapshots that are
    no longer stored, or their manifest is damaged. Raises UsageError where `out` cannot be
    written, StoreError where its disk is full.
    """
    out = out.expanduser().absolute()
    target = out / f"day={day:%Y-%m-%d}"
    draft = out / f"{folders.DRAFT}{secrets.token_hex(6)}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        folders.sweep(out)
        night = draft / "night"
        night.mkdir(parents=True)
        # Before the marts read the same tables: rows stored meanwhile make the day outdated.
        with query.open_catalog(store) as catalog:
            made_from = inputs(catalog, day).get(day, {})
            orphans = orphaned(catalog)
        with day_catalog(store, day, draft / "work.duckdb") as catalog:
            snapshots = _snapshots(catalog, day)
            missing = [] if force else lost(_replaced_manifest(target), entries(snapshots), orphans)
            if missing:
                raise CheckFailed(
                    f"{target} has marts of snapshots that are no longer stored "
                    f"({', '.join(sorted(missing))}): its files stay as they are; --force "
                    "replaces them"
                )
            manifest = _write_marts(catalog, day, night, formats, progress, runner)
        manifest |= snapshots | {"inputs": made_from}
        text = json.dumps(manifest, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
        folders.write_file(night / MANIFEST, text.encode())
        folders.flush(night)
        changed = not folders.same(night, target)
        if changed:
            folders.put(night, target, draft / "old")
            folders.flush(out)
    except OSError as failure:
        refuse_full(failure, out)
        where = failure.filename or out
        raise UsageError(f"{where} cannot be written: {failure.strerror or failure}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    rows = {name: entry["rows"] for name, entry in manifest["marts"].items()}
    return ExportedDay(target, rows, changed, manifest)


def _write_marts(
    catalog: Catalog,
    day: date,
    night: Path,
    formats: Sequence[str],
    progress: Callable[[str, int, int], None],
    runner: Runner | None,
) -> dict[str, Any]:
    written: dict[str, Any] = {}
    all_marts = load_marts()
    for number, mart in enumerate(all_marts):
        progress("marts", number, len(all_marts))
        table = f"out_{mart.name}"
        fill(catalog, mart, table, parameters_of(day), runner)
        # Rows are read back only for the formats that are written from them.
        shape = catalog.run(f"FROM {table} LIMIT 0")
        ((count,),) = catalog.run(f"SELECT count(*) FROM {table}").rows
        columns = mart.query.columns
        query.require_described(mart.query, list(zip(shape.columns, shape.types, strict=True)))
        result = catalog.run(f"FROM {table}") if set(formats) - {"parquet"} else shape
        files = {}
        for form in formats:
            path = night / f"{mart.name}.{form}"
            if form == "parquet":
                meanings = {"title": mart.query.title, "day": f"{day:%Y-%m-%d}"}
                meanings |= {f"column.{c.name}": c.meaning for c in columns}
                catalog.write_parquet(table, path, meanings)
            else:
                report = Report(
                    result,
                    name=mart.name,
                    title=mart.query.title,
                    meta={"day": f"{day:%Y-%m-%d}"},
                    columns=columns,
                )
                folders.write_file(path, render.text_of(report, Format(form)).encode())
            files[path.name] = folders.digest(path)
        written[mart.name] = {
            "title": mart.query.title,
            "rows": count,
            "columns": [
                {"name": c.name, "type": kind, "unit": c.unit.name, "meaning": c.meaning}
                for c, kind in zip(columns, shape.types, strict=True)
            ],
            "files": files,
        }
        catalog.run(f"DROP TABLE temp.{table}")
    progress("marts", len(all_marts), len(all_marts))
    return {
        "layout": LAYOUT,
        "day": f"{day:%Y-%m-%d}",
        "versions": {"chainwatch": chainwatch.__version__, "duckdb": engine_version()},
        "marts": written,
    }


def _snapshots(catalog: Catalog, day: date) -> dict[str, list[dict[str, Any]]]:
    """Each market's snapshot of the day with block and verification, and the one before it, with
    whose parameters the day's are compared."""
    newest, before, begin = _newest_snapshots(catalog, day)
    return {
        "snapshots": [
            {
                **snapshot_entry(s["market"], s["snapshot"], s["block_number"], s["block_time"]),
                "protocol": s["protocol"],
                "provenance": s["provenance"],
                "block_hash": s["block_hash"],
                "verified": "n/a (not compared with the chain)"
                if s["checked"] is None
                else f"{s['checked'] - s['mismatched']}/{s['checked']} equal",
            }
            for s in sorted(newest, key=lambda s: str(s["market"]))
            if s["block_time"] >= begin
        ],
        "compared_with": [
            snapshot_entry(s["market"], s["snapshot"], s["block_number"], s["block_time"])
            for s in sorted(before, key=lambda s: str(s["market"]))
        ],
    }


def _newest_snapshots(
    catalog: Catalog, day: date
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], datetime]:
    """Each market's newest snapshot at the end of a day and before its beginning, and that time."""
    definition, begin = query.find("snapshots_at"), begin_of(day)
    at_end = query.run(catalog, definition, {"p_as_of": parameters_of(day)["p_as_of"]}).dicts()
    before = query.run(catalog, definition, {"p_as_of": begin - timedelta(microseconds=1)}).dicts()
    return at_end, before, begin


def _replaced_manifest(folder: Path) -> Manifest | None:
    """The manifest of a day that is to be written again, None where there are no marts yet.

    Raises CheckFailed where marts are there and their manifest is missing or damaged.
    """
    try:
        manifest, fault = read_manifest(folder), "is missing"
    except DamagedManifest:
        manifest, fault = None, DAMAGED
    if manifest is None and folder.is_dir() and any(folder.iterdir()):
        raise CheckFailed(
            f"{folder / MANIFEST} {fault}: the snapshots of the marts beside it may no longer be "
            "stored, so they stay as they are; restore it from a copy, or --force replaces them"
        )
    return manifest
