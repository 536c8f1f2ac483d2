"""`export`: the marts of a day as files, and the check of what was written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chainwatch.commands.app import app, get_session
from chainwatch.commands.options import Output, listing
from chainwatch.commands.values import choice, named_folder, refusal, utc_day
from chainwatch.errors import CheckFailed, PartialError, UsageError

if TYPE_CHECKING:
    from datetime import date

    from chainwatch.lake.spark import Spark
    from chainwatch.lake.store import Store
    from chainwatch.nightly.export import ExportedDay
    from chainwatch.show.document import Report


@app.command(
    "export", epilog="Example: chainwatch export --out marts --day 2026-11-20 --format parquet,csv"
)
@listing
def emit_export(
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            parser=named_folder,
            help="Folder that gets a day=YYYY-MM-DD.",
        ),
    ] = None,
    day: Annotated[
        list[str] | None,
        typer.Option(metavar="DAY", help="UTC day, may be repeated; all: every stored day."),
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", metavar="LIST", help="parquet, csv, json; commas between.")
    ] = "parquet",
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="duckdb, or spark for portable marts.")
    ] = "duckdb",
    master: Annotated[
        str, typer.Option(metavar="URL", help="Where Spark runs, e.g. spark://host:7077.")
    ] = "local[*]",
    check: Annotated[
        Path | None,
        typer.Option(
            "--check",
            metavar="DIR",
            parser=named_folder,
            help="Write nothing: compare with the manifests, and those with the lake.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace marts of snapshots that are no longer stored."),
    ] = False,
    *,
    output: Output,
) -> None:
    """Write a day's marts as files, or check them."""
    if check is not None:
        if folder is not None or day:
            raise UsageError("--check takes a folder and nothing else: leave out --out and --day")
        _check(check, output)
        return
    if folder is None:
        raise UsageError("name the folder for the files with --out DIR, or one to --check")
    _write(folder, day or [], formats_of(formats), output, engine, master, force)


def _check(folder: Path, output: Output) -> None:
    from chainwatch.lake.engine import Result
    from chainwatch.nightly.verification import check_export
    from chainwatch.show.document import Report

    store = get_session().store
    nights, faults = check_export(folder, store if store.exists else None)
    rows = [(str(fault.path), fault.what) for fault in faults]
    output.emit(
        Report(
            Result(("file", "fault"), ("VARCHAR", "VARCHAR"), rows),
            name="export-check",
            title=f"{nights} day(s) compared with their manifests: "
            + (f"{len(rows)} fault(s)" if rows else "every file is what was written"),
        )
    )
    if faults:
        raise CheckFailed(
            f"{faults[0].path} {faults[0].what}"
            + (f", and {len(faults) - 1} more" if len(faults) > 1 else "")
        )


@contextlib.contextmanager
def engine_of(name: str, master: str) -> Iterator[Spark | None]:
    """The engine beside DuckDB, started; None for DuckDB itself. UsageError for another."""
    if choice(name, "--engine", ("duckdb", "spark")) == "duckdb":
        yield None
        return
    from chainwatch.lake.spark import Spark

    get_session().teller.note(f"starting Spark at {master}")
    with Spark(get_session().store, master) as spark:
        yield spark


def _write(
    to: Path,
    days: list[str],
    formats: list[str],
    output: Output,
    engine: str,
    master: str,
    force: bool,
) -> None:
    from chainwatch.nightly.export import export_day

    session = get_session()
    store = session.store
    store.require()
    export_days = _days(store, days)
    exports, refusals = [], []
    with session.teller, engine_of(engine, master) as spark:
        for day in export_days:
            try:
                exported = export_day(
                    *(store, to, day),
                    formats=formats,
                    progress=session.teller.progress,
                    runner=None if spark is None else spark.run,
                    force=force,
                )
            except CheckFailed as failure:
                refusals.append(str(failure))
                continue
            if not exported.changed:
                session.teller.note(f"{exported.folder} is unchanged")
            exports.append(exported)
    if exports or not refusals:
        output.emit(exported_report(exports))
    if refusals:
        kind = PartialError if exports else CheckFailed
        raise kind("; ".join(refusals))


def _days(store: Store, days: list[str]) -> list[date]:
    """The days to export: those named, every stored one for "all", the newest without a name."""
    from chainwatch.nightly.export import choose_day, stored_days

    if days == ["all"]:
        return stored_days(store)
    if not days:
        return [choose_day(store, None)]
    return [choose_day(store, utc_day(day, "--day")) for day in days]


def exported_report(exports: list[ExportedDay]) -> Report:
    """A row per mart and day: where it lies and how many rows it has."""
    from chainwatch.lake.engine import Result
    from chainwatch.show.document import Report

    rows = [
        (e.folder.name.removeprefix("day="), name, count, str(e.folder))
        for e in exports
        for name, count in e.rows.items()
    ]
    kinds = ("VARCHAR", "VARCHAR", "BIGINT", "VARCHAR")
    return Report(
        Result(("day", "mart", "rows", "folder"), kinds, rows),
        name="export",
        title="Exported marts",
    )


def formats_of(text: str) -> list[str]:
    """The chosen formats, each once; UsageError for another."""
    from chainwatch.nightly.export import FORMATS

    formats = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not formats or not set(formats) <= set(FORMATS):
        raise refusal("--format", f"{', '.join(FORMATS)} with commas between", text)
    return formats
