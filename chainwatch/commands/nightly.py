"""`nightly`: everything that is due, once a night, and the timer that starts it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chainwatch.commands.app import app, get_session
from chainwatch.commands.export import formats_of
from chainwatch.commands.options import Output, listing
from chainwatch.commands.running import run
from chainwatch.commands.values import named_folder
from chainwatch.errors import CheckFailed, Exit, StoreBusy, UsageError, unwritable

if TYPE_CHECKING:
    from chainwatch.collect.feed import Job
    from chainwatch.nightly.record import Night
    from chainwatch.nightly.retention import Retention
    from chainwatch.show.document import Report


@app.command(epilog="Example: chainwatch nightly --out marts")
@listing
def nightly(
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            parser=named_folder,
            help="Where exports go, default <home>/marts.",
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="POLICY", help='Default "hourly 7d, daily forever".'),
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", metavar="LIST", help="parquet, csv, json.")
    ] = "parquet",
    sources: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="NAME", help="Read only this; may be repeated."),
    ] = None,
    install: Annotated[
        bool, typer.Option("--install-systemd", help="Run it every night; with --user.")
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove-systemd", help="Run it no more; with --user.")
    ] = False,
    user: Annotated[bool, typer.Option("--user", help="The user's own systemd.")] = False,
    *,
    output: Output,
) -> None:
    """Collect, verify, compact, thin, check and export, once."""
    from chainwatch.collect.registry import find
    from chainwatch.nightly.retention import KEEP, retention_of

    session = get_session()
    home = session.settings.home.expanduser().absolute()
    out = (folder or home / "marts").expanduser().absolute()
    policy = keep or KEEP
    parsed_policy = retention_of(policy)
    parsed_formats = formats_of(formats)
    for name in sources or []:
        find(name)
    if install or remove:
        if install and remove:
            raise UsageError("choose --install-systemd or --remove-systemd")
        if not user:
            raise UsageError("add --user: the timer belongs to you, not to the system")
        arguments = ["--out", str(out), "--format", formats, "--keep", policy]
        arguments += [part for name in sources or [] for part in ("--source", name)]
        program = [sys.executable, "-m", "chainwatch.cli", "--home", str(home), "nightly"]
        output.emit(_install([*program, *arguments]) if install else _remove())
        return
    _run(out, parsed_policy, parsed_formats, sources or [], output)


def _run(
    out: Path, policy: Retention, formats: list[str], sources: list[str], output: Output
) -> None:
    """Do what is due; the exit code is the night's."""
    from chainwatch.nightly.night import NightOptions, run_night
    from chainwatch.nightly.record import summary

    session = get_session()
    with session.teller:
        try:
            record = run_night(
                *(session.store, out, _Network()),
                NightOptions(policy=policy, formats=formats, only=sources),
                progress=session.teller.note,
            )
        except StoreBusy as busy:
            raise StoreBusy(f"another nightly run has not ended: {busy}") from None
    session.teller.note(summary(record))
    output.emit(_report(record))
    if record.code:
        raise typer.Exit(record.code)


class _Network:
    """Collects and verifies over the network."""

    def collect(self, job: Job) -> int:
        from chainwatch.collect import runner

        session = get_session()
        outcomes = run(runner.collect(session.store, session.settings, [job], session.teller))
        runner.raise_failures(outcomes)
        return sum(o.rows for o in outcomes)

    def verify(self, job: Job) -> int:
        from chainwatch.collect import runner
        from chainwatch.commands.collect import mismatch_summary
        from chainwatch.reports.wall_proof import predict_walls
        from chainwatch.tables.lending import Mismatch

        session = get_session()
        walls = predict_walls(session.store, session.settings, job)
        result, rows = run(
            runner.verify(session.store, session.settings, job, session.teller, walls=walls)
        )
        if mismatches := [row for row in rows if isinstance(row, Mismatch)]:
            raise CheckFailed(mismatch_summary(mismatches))
        return int(result.checked)


def _report(night: Night) -> Report:
    from chainwatch.lake.engine import Result
    from chainwatch.show.document import Report

    rows = [
        (night.night, name, step["state"], step["detail"], step["seconds"], step["ended_at"])
        for name, step in night.steps.items()
    ]
    kinds = ("VARCHAR",) * 4 + ("DOUBLE", "VARCHAR")
    names = ("night", "step", "state", "detail", "seconds", "ended_at")
    return Report(Result(names, kinds, list(rows)), name="nightly")


def _install(command: list[str]) -> Report:
    from chainwatch.nightly import units
    from chainwatch.nightly.units import UNITS

    folder = units.unit_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in units.units(command).items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as failure:
        raise unwritable(f"{folder}", failure) from None
    return _unit_report(
        [
            (str(folder / UNITS[0]), "written"),
            (str(folder / UNITS[1]), "written"),
            *_systemctl(("daemon-reload",), ("enable", "--now", UNITS[1])),
        ]
    )


def _remove() -> Report:
    from chainwatch.nightly import units
    from chainwatch.nightly.units import UNITS

    folder = units.unit_folder()
    stopped = _systemctl(("disable", "--now", UNITS[1]))
    rows = []
    for name in UNITS:
        there = (folder / name).exists()
        (folder / name).unlink(missing_ok=True)
        rows.append((str(folder / name), "removed" if there else "was not there"))
    return _unit_report([*stopped, *rows, *_systemctl(("daemon-reload",))])


def _systemctl(*calls: tuple[str, ...]) -> list[tuple[str, str]]:
    """Run systemctl; where it is missing, the state is what to type later."""
    program = shutil.which("systemctl")
    states = []
    for call in calls:
        words = f"systemctl --user {' '.join(call)}"
        if program is None:
            states.append((words, "n/a (no systemctl here): type it where systemd runs"))
            continue
        done = subprocess.run([program, "--user", *call], capture_output=True, text=True)
        error = " ".join(done.stderr.split())
        states.append((words, "ok" if done.returncode == Exit.OK else f"n/a ({error})"))
    return states


def _unit_report(rows: list[tuple[str, str]]) -> Report:
    from chainwatch.lake.engine import Result
    from chainwatch.show.document import Report

    return Report(Result(("what", "state"), ("VARCHAR", "VARCHAR"), list(rows)), name="nightly")
