"""Nightly marts: one folder per UTC day with a file per mart and format, and a manifest.

    <out>/day=2026-11-20/walls.parquet, walls.csv, walls.json, …, manifest.json

A mart is one SQL file in queries/marts, `mart_walls.sql` for the file `walls`. Besides the headers
of every query it has

    -- each: p_factor = SELECT DISTINCT factor FROM …   run once per value, rows one below another
    -- column: price_from  lower end of the bin, USD    the meaning of each column, in their order

A mart gets the day through p_since (its beginning), p_until (its end, exclusive), p_as_of and
p_known_at (the last microsecond of it). Balances and parameters are those of the newest snapshot
of that day; a market without one that day has no rows, and no entry among the manifest's snapshots.

The manifest says what the marts were made from: the snapshots they stand on, and per table how many
rows there were and a digest of them. A day of which more was stored since is outdated; one whose
snapshots were removed since (retention) stays as it is, and is not written again.

The same stored rows give the same bytes whenever and wherever they are exported. Sums over tables
that belong to no snapshot are decimals, so that the order of segments does not matter. A day is
written beside its place and renamed: a reader sees all of it or none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

import chainwatch
from chainwatch.errors import CheckFailed, UsageError
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import Result, engine_version
from chainwatch.lake.faults import refuse_full
from chainwatch.lake.query import Query
from chainwatch.lake.segments import parquet_shape
from chainwatch.lake.store import Store
from chainwatch.show import render
from chainwatch.show.document import Format, Report

FORMATS = ("parquet", "csv", "json")
MANIFEST = "manifest.json"
LAYOUT = 1
DAMAGED = "is no whole manifest"
# A draft older than this belongs to nobody alive.
ABANDONED_AFTER_SECONDS = 6 * 3_600

_DRAFT = ".chainwatch-"
_EACH = re.compile(r"^--\s*each:\s*(p_\w+)\s*=\s*(SELECT\b.*)$", re.MULTILINE)
_COLUMN = re.compile(r"^--\s*column:\s*(\w+)\s+(.*)$", re.MULTILINE)


class Mart(msgspec.Struct, frozen=True):
    """One file of an export: its query, what it is run once for, the meaning of its columns."""

    query: Query
    each: tuple[str, str] | None
    columns: dict[str, str]

    @property
    def name(self) -> str:
        return self.query.name.removeprefix("mart_")


class Exported(msgspec.Struct, frozen=True):
    """What became of an export: its folder, rows per mart, and whether its bytes are new."""

    folder: Path
    rows: dict[str, int]
    changed: bool
    manifest: dict[str, Any]


class Place(msgspec.Struct, frozen=True):
    """A snapshot that a manifest names."""

    market: str
    snapshot: str
    block_number: int
    block_time: str


class Described(msgspec.Struct, frozen=True):
    """A column that a manifest names."""

    name: str


class Entry(msgspec.Struct, frozen=True):
    """What a manifest says of one mart: rows, columns, and size and hash of each file."""

    rows: int
    columns: list[Described]
    files: dict[str, dict[str, int | str]]


class Manifest(msgspec.Struct, frozen=True):
    """What is read of a manifest again; older ones do not say what they were made from."""

    day: str
    marts: dict[str, Entry]
    snapshots: list[Place] = []
    compared_with: list[Place] = []
    inputs: dict[str, dict[str, int | str]] | None = None


class Damaged(ValueError):
    """A manifest that is none."""


class Fault(msgspec.Struct, frozen=True):
    """Something in an export that is not as its manifest says."""

    path: Path
    what: str


# How a mart's rows for one set of parameters come about where not by DuckDB.
Runner = Callable[[Query, Mapping[str, object]], Result]


@cache
def marts() -> tuple[Mart, ...]:
    """Every mart by name; ValueError where its file does not say what its columns mean."""
    found = []
    for chosen in query.load_all().values():
        if chosen.group != "marts":
            continue
        each = _EACH.search(chosen.text)
        columns = dict(_COLUMN.findall(chosen.text))
        if not columns or not chosen.name.startswith("mart_"):
            raise ValueError(f"{chosen.path}: a mart is called mart_… and has `-- column:` lines")
        found.append(Mart(chosen, (each[1], each[2]) if each else None, columns))
    return tuple(sorted(found, key=lambda mart: mart.name))


def stored_days(store: Store) -> list[date]:
    """The UTC days of which anything is stored, oldest first."""
    with query.open_catalog(store) as catalog:
        return [row[0] for row in query.run(catalog, query.find("stored_days")).rows]


def choose_day(store: Store, wanted: date | None) -> date:
    """The wanted day, or the newest stored that has begun; UsageError where nothing is stored
    of it."""
    days = stored_days(store)
    if not days:
        raise UsageError(
            "nothing is stored that could be exported: run `chainwatch collect` or "
            "`chainwatch demo` first"
        )
    if wanted is None:
        begun = [day for day in days if day <= datetime.now(UTC).date()]
        if not begun:
            raise UsageError("all that is stored lies in the future: name its --day")
        return begun[-1]
    if wanted not in days:
        near = ", ".join(f"{d:%Y-%m-%d}" for d in days[-5:])
        more = f" ({len(days)} days in all)" if len(days) > 5 else ""
        raise UsageError(f"nothing is stored of {wanted:%Y-%m-%d}; stored: {near}{more}")
    return wanted


def bounds(day: date) -> dict[str, object]:
    """A UTC day as the parameters of a mart."""
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    end = begin + timedelta(days=1)
    last = end - timedelta(microseconds=1)
    return {"p_since": begin, "p_until": end, "p_as_of": last, "p_known_at": last}


@contextlib.contextmanager
def day_catalog(store: Store, day: date, path: Path) -> Iterator[Catalog]:
    """The catalog over a copy of what was stored of one day (Store.frozen), at `path`.

    Each market stands with its newest snapshot of the day, and with the parameters of the newest
    one before.
    """
    with query.open_catalog(store) as catalog:
        whole, parameters = _snapshots_of(catalog, day)
    with store.frozen(query.definitions(), path, complete=whole, parameters=parameters) as frozen:
        yield frozen


def _snapshots_of(catalog: Catalog, day: date) -> tuple[list[str], list[str]]:
    limits = bounds(day)
    chosen = query.find("snapshots_at")
    newest = query.run(catalog, chosen, {"p_as_of": limits["p_as_of"]}).dicts()
    begin = limits["p_since"]
    here = {str(s["market"]): str(s["snapshot"]) for s in newest if s["block_time"] >= begin}
    assert isinstance(begin, datetime)
    before = query.run(catalog, chosen, {"p_as_of": begin - timedelta(microseconds=1)}).dicts()
    return sorted(here.values()), sorted(str(s["snapshot"]) for s in before if s["market"] in here)


def export(
    store: Store,
    out: Path,
    day: date,
    *,
    formats: Sequence[str] = ("parquet",),
    tell: Callable[[str, int, int], None] = lambda what, done, total: None,
    runner: Runner | None = None,
    force: bool = False,
) -> Exported:
    """Write one day's marts to <out>/day=…, whole or not at all.

    `runner` may compute portable marts elsewhere. Where the same bytes lie there already, they
    stay untouched. Unless with `force`, raises CheckFailed where marts there stand on snapshots
    that are no longer stored, or on what a damaged manifest does not say. Raises UsageError where
    `out` cannot be written, StoreError where its disk is full.
    """
    out = out.expanduser().absolute()
    target = out / f"day={day:%Y-%m-%d}"
    draft = out / f"{_DRAFT}{secrets.token_hex(6)}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        _sweep(out)
        night = draft / "night"
        night.mkdir(parents=True)
        # Before the marts read the same tables: what is stored meanwhile makes the day outdated.
        with query.open_catalog(store) as catalog:
            made_from = inputs(catalog, day).get(day, {})
            orphans = _orphans(catalog)
        with day_catalog(store, day, draft / "work.duckdb") as catalog:
            standing = _standing(catalog, day)
            lost = [] if force else _lost(_standing_of(target), _places(standing), orphans)
            if lost:
                raise CheckFailed(
                    f"{target} stands on snapshots that are no longer stored "
                    f"({', '.join(sorted(lost))}): its files stay as they are, and --force "
                    "replaces them"
                )
            manifest = _write_marts(catalog, day, night, formats, tell, runner)
        manifest |= standing | {"inputs": made_from}
        text = json.dumps(manifest, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
        _write_file(night / MANIFEST, text.encode())
        _flush(night)
        changed = not _same(night, target)
        if changed:
            _put(night, target, draft / "old")
            _flush(out)
    except OSError as failure:
        refuse_full(failure, out)
        where = failure.filename or out
        raise UsageError(f"{where} cannot be written: {failure.strerror or failure}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    rows = {name: entry["rows"] for name, entry in manifest["marts"].items()}
    return Exported(target, rows, changed, manifest)


def _write_marts(
    catalog: Catalog,
    day: date,
    night: Path,
    formats: Sequence[str],
    tell: Callable[[str, int, int], None],
    runner: Runner | None,
) -> dict[str, Any]:
    written: dict[str, Any] = {}
    all_marts = marts()
    for number, mart in enumerate(all_marts):
        tell("marts", number, len(all_marts))
        table = f"out_{mart.name}"
        _fill(catalog, mart, table, bounds(day), runner)
        result = catalog.run(f"FROM {table}")
        if list(result.columns) != list(mart.columns):
            raise ValueError(
                f"{mart.query.path}: columns {list(result.columns)}, described {list(mart.columns)}"
            )
        files = {}
        for form in formats:
            path = night / f"{mart.name}.{form}"
            if form == "parquet":
                meanings = {"title": mart.query.title, "day": f"{day:%Y-%m-%d}"}
                meanings |= {f"column.{name}": text for name, text in mart.columns.items()}
                catalog.write_parquet(table, path, meanings)
            else:
                report = Report(
                    result,
                    name=mart.name,
                    title=mart.query.title,
                    meta={"day": f"{day:%Y-%m-%d}", "columns": mart.columns},
                )
                _write_file(path, render.text_of(report, Format(form)).encode())
            files[path.name] = _digest(path)
        written[mart.name] = {
            "title": mart.query.title,
            "rows": len(result.rows),
            "columns": [
                {"name": name, "type": kind, "meaning": mart.columns[name]}
                for name, kind in zip(result.columns, result.types, strict=True)
            ],
            "files": files,
        }
    tell("marts", len(all_marts), len(all_marts))
    return {
        "layout": LAYOUT,
        "day": f"{day:%Y-%m-%d}",
        "versions": {"chainwatch": chainwatch.__version__, "duckdb": engine_version()},
        "marts": written,
    }


def _fill(
    catalog: Catalog,
    mart: Mart,
    table: str,
    limits: Mapping[str, object],
    runner: Runner | None,
) -> None:
    """Keep the mart's rows as a table of the catalog."""
    names = {p.name for p in mart.query.params}
    fixed = {k: v for k, v in limits.items() if k in names}
    turns = [fixed]
    if mart.each is not None:
        name, text = mart.each
        used = {k: v for k, v in limits.items() if f"${k}" in text}
        turns = [fixed | {name: row[0]} for row in catalog.run(text, used).rows]
    # A turn that is none still gives the table its columns.
    bound = query.bind(catalog, mart.query.params, fixed)
    catalog.keep(table, f"FROM (\n{mart.query.body}\n) LIMIT 0", bound)
    for values in turns:
        if runner is not None and mart.query.portable:
            catalog.add(table, runner(mart.query, values))
            continue
        bound = query.bind(catalog, mart.query.params, values)
        catalog.keep(table, mart.query.body, bound, append=True)


def _standing(catalog: Catalog, day: date) -> dict[str, list[dict[str, Any]]]:
    """What the figures stand on: each market's snapshot with its block and verification, and the
    one before, which parameters are compared with."""
    begin = bounds(day)["p_since"]
    assert isinstance(begin, datetime)
    chosen = query.find("snapshots_at")
    found = query.run(catalog, chosen, {"p_as_of": bounds(day)["p_as_of"]}).dicts()
    before = query.run(catalog, chosen, {"p_as_of": begin - timedelta(microseconds=1)}).dicts()
    return {
        "snapshots": [
            {
                **_place(s["market"], s["snapshot"], s["block_number"], s["block_time"]),
                "protocol": s["protocol"],
                "provenance": s["provenance"],
                "block_hash": s["block_hash"],
                "verified": "n/a (not compared with the chain)"
                if s["checked"] is None
                else f"{s['checked'] - s['mismatched']}/{s['checked']} equal",
            }
            for s in sorted(found, key=lambda s: str(s["market"]))
            if s["block_time"] >= begin
        ],
        "compared_with": [
            _place(s["market"], s["snapshot"], s["block_number"], s["block_time"])
            for s in sorted(before, key=lambda s: str(s["market"]))
        ],
    }


def _place(market: str, snapshot: str, number: int, time: datetime) -> dict[str, Any]:
    return {
        "market": market,
        "snapshot": snapshot,
        "block_number": number,
        "block_time": time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }


# --- what a day was made from ---------------------------------------------------------------------


def inputs(catalog: Catalog, day: date | None = None) -> dict[date, dict[str, dict[str, Any]]]:
    """Per stored day (or of one) and table, how many rows its marts are made from, and a digest."""
    found: dict[date, dict[str, dict[str, Any]]] = {}
    for row in query.run(catalog, query.find("day_inputs"), {"p_day": day}).dicts():
        part = {"rows": row["rows"], "digest": row["digest"]}
        found.setdefault(row["day"], {})[row["input"]] = part
    return found


def outdated(store: Store, out: Path) -> dict[date, str]:
    """The stored days that are not in `out`, or not as they would be written now, and why.

    Those whose marts stand on snapshots that are no longer stored are none of them.
    """
    with query.open_catalog(store) as catalog:
        stored = inputs(catalog)
        orphans = _orphans(catalog)
        places: dict[date, dict[str, list[dict[str, Any]]]] = {}
        for s in query.run(catalog, query.find("day_snapshots")).dicts():
            here = places.setdefault(s["day"], {"snapshots": [], "compared_with": []})
            mine = _place(s["market"], s["snapshot"], s["block_number"], s["block_time"])
            here["snapshots"].append(mine)
            if s["before"] is not None:
                earlier = _place(s["market"], s["before"], s["before_number"], s["before_time"])
                here["compared_with"].append(earlier)
    found = {}
    for day, parts in sorted(stored.items()):
        try:
            manifest = _manifest(out / f"day={day:%Y-%m-%d}")
        except Damaged:
            found[day] = DAMAGED
            continue
        why = _differs(manifest, parts)
        if why and not _lost(manifest, _places(places.get(day, {})), orphans):
            found[day] = why
    return found


def _differs(manifest: Manifest | None, parts: Mapping[str, Mapping[str, Any]]) -> str:
    """What was stored since a manifest was written, or nothing."""
    if manifest is None:
        return "is missing"
    then = manifest.inputs
    if then is None:
        return "does not say what it was made from: export the day again"
    changed = [what for what in sorted(then.keys() | parts) if then.get(what) != parts.get(what)]
    return f"is older than what is stored ({', '.join(changed)}): export the day again" * bool(
        changed
    )


def _orphans(catalog: Catalog) -> set[str]:
    return {row[0] for row in catalog.run("SELECT snapshot FROM orphans").rows}


def _places(standing: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Place]]:
    return {part: msgspec.convert(found, list[Place]) for part, found in standing.items()}


def _lost(old: Manifest | None, new: Mapping[str, Sequence[Place]], orphans: set[str]) -> list[str]:
    """The snapshots a manifest names in whose place there would be none, or an older one.

    One whose block left the chain is none of them.
    """
    if old is None:
        return []
    found = []
    for part, before in (("snapshots", old.snapshots), ("compared_with", old.compared_with)):
        there = {s.market: (s.block_number, s.block_time) for s in new.get(part, [])}
        found += [
            s.snapshot
            for s in before
            if s.snapshot not in orphans
            and there.get(s.market, (-1, "")) < (s.block_number, s.block_time)
        ]
    return found


def _standing_of(night: Path) -> Manifest | None:
    """The manifest of a day that is to be written again; CheckFailed where marts lie there and it
    does not say what they stand on."""
    try:
        found, fault = _manifest(night), "is missing"
    except Damaged:
        found, fault = None, DAMAGED
    if found is None and night.is_dir() and any(night.iterdir()):
        raise CheckFailed(
            f"{night / MANIFEST} {fault}: what the marts beside it stand on may no longer be "
            "stored, so they stay as they are. Put a copy of it back, or --force replaces them"
        )
    return found


def _manifest(night: Path) -> Manifest | None:
    """What a day's manifest says, None where there is none; Damaged where it is not whole."""
    try:
        return msgspec.json.decode((night / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise Damaged(DAMAGED) from None


# --- files ----------------------------------------------------------------------------------------


def _digest(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _write_file(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files byte for byte."""
    if not other.is_dir():
        return False
    names = sorted(p.name for p in one.iterdir())
    return names == sorted(p.name for p in other.iterdir()) and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names
    )


def _put(night: Path, target: Path, old: Path) -> None:
    """Give a finished folder its place; one that is there is moved away first."""
    if target.exists() and not _exchange(night, target):
        target.rename(old)
    if not target.exists() or old.exists():
        night.rename(target)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step where the system can (Linux: renameat2), so that no moment is
    without either."""
    import ctypes

    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE (linux/fs.h)
    return bool(swap(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def _sweep(out: Path) -> None:
    """Remove drafts whose writers died, and put back a day that was moved away by one of them."""
    for draft in out.glob(f"{_DRAFT}*"):
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime > ABANDONED_AFTER_SECONDS:
                shutil.rmtree(draft)


# --- checking -------------------------------------------------------------------------------------


def check(folder: Path, store: Store | None = None) -> tuple[int, list[Fault]]:
    """Compare an export (or one day of it) with its manifests, and those with what is stored, if a
    lake is given: days looked at, and faults. Raises UsageError where there is no export.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder")
    nights = [folder] if folder.name.startswith("day=") else sorted(folder.glob("day=*"))
    if not nights:
        raise UsageError(f"{folder} holds no export: no day=YYYY-MM-DD in it")
    faults = [fault for night in nights for fault in _faults(night)]
    if store is not None:
        root = folder.parent if nights == [folder] else folder
        old = {root / f"day={day:%Y-%m-%d}": why for day, why in outdated(store, root).items()}
        wrong = {fault.path for fault in faults}
        faults += [
            Fault(night / MANIFEST, old[night])
            for night in nights
            if night in old and night / MANIFEST not in wrong
        ]
    return len(nights), faults


def _faults(night: Path) -> Iterator[Fault]:
    path = night / MANIFEST
    try:
        manifest = _manifest(night)
    except OSError as failure:
        yield Fault(path, f"cannot be read: {failure.strerror}")
        return
    except Damaged:
        yield Fault(path, DAMAGED)
        return
    if manifest is None:
        yield Fault(path, "is missing")
        return
    if f"day={manifest.day}" != night.name:
        yield Fault(path, f"is of {manifest.day}")
    known = {MANIFEST}
    for entry in manifest.marts.values():
        for file, digest in entry.files.items():
            known.add(file)
            if Path(file).name != file or file in ("", "..") or not file.isprintable():
                yield Fault(path, f"names {file!r}, which is not beside it")
                continue
            yield from _file_faults(night / file, entry, digest)
    for extra in sorted(p.name for p in night.iterdir() if p.name not in known):
        yield Fault(night / extra, "is not in the manifest")


def _file_faults(path: Path, entry: Entry, digest: Mapping[str, Any]) -> Iterator[Fault]:
    try:
        found = _digest(path)
    except FileNotFoundError:
        yield Fault(path, "is missing")
        return
    except OSError as failure:
        yield Fault(path, f"cannot be read: {failure.strerror}")
        return
    if found != digest:
        yield Fault(path, "is not what was written: size or sha256 differ")
        return
    if path.suffix == ".parquet":
        try:
            count, shape, _ = parquet_shape(path)
        except UsageError:
            yield Fault(path, "is no Parquet file")
            return
        if count != entry.rows or [name for name, _ in shape] != [c.name for c in entry.columns]:
            yield Fault(path, "has other rows or columns than the manifest says")
