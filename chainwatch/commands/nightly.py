"""`nightly`: everything that is due, once a night, and the timer that starts it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chainwatch.commands.app import app, setup
from chainwatch.commands.export import formats_of
from chainwatch.commands.options import Output, listing
from chainwatch.commands.running import run
from chainwatch.commands.values import named_folder
from chainwatch.errors import CheckFailed, Exit, StoreBusy, UsageError, unwritable

if TYPE_CHECKING:
    from chainwatch.collect.feed import Job
    from chainwatch.nightly.night import Night
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
    from chainwatch.nightly import retention
    from chainwatch.nightly.night import run, summary
    from chainwatch.nightly.retention import KEEP

    current = setup()
    home = current.settings.home.expanduser().absolute()
    out = (folder or home / "marts").expanduser().absolute()
    policy = retention.retention_of(keep or KEEP)
    chosen = formats_of(formats)
    for name in sources or []:
        find(name)
    if install or remove:
        if install and remove:
            raise UsageError("choose --install-systemd or --remove-systemd")
        if not user:
            raise UsageError("add --user: the timer belongs to you, not to the system")
        words = [
            "nightly",
            "--out",
            str(out),
            "--format",
            formats,
            "--keep",
            keep or KEEP,
        ]
        words += [part for name in sources or [] for part in ("--source", name)]
        command = [sys.executable, "-m", "chainwatch.cli", "--home", str(home), *words]
        output.emit(_install(command) if install else _remove())
        return
    with current.teller:
        try:
            night = run(
                current.store,
                out,
                _Network(),
                policy=policy,
                formats=chosen,
                only=sources or [],
                tell=lambda text: current.teller.note(text),
            )
        except StoreBusy as busy:
            raise StoreBusy(f"another nightly run is going on: {busy}") from None
    current.teller.note(summary(night))
    output.emit(_report(night))
    if night.code:
        raise typer.Exit(night.code)


class _Network:
    """Reads and verifies for real."""

    def collect(self, job: Job) -> int:
        from chainwatch.collect import runner

        current = setup()
        outcomes = run(runner.collect(current.store, current.settings, [job], current.teller))
        runner.raise_failures(outcomes)
        return sum(o.rows for o in outcomes)

    def verify(self, job: Job) -> int:
        from chainwatch.collect import runner

        current = setup()
        result, _ = run(runner.verify(current.store, current.settings, job, current.teller))
        if result.mismatched:
            raise CheckFailed(f"{result.mismatched} account(s) differ from the chain")
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
    return _told(
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
    return _told([*stopped, *rows, *_systemctl(("daemon-reload",))])


def _systemctl(*calls: tuple[str, ...]) -> list[tuple[str, str]]:
    """Tell systemd; where it cannot be reached, say what to type later."""
    program = shutil.which("systemctl")
    found = []
    for call in calls:
        words = f"systemctl --user {' '.join(call)}"
        if program is None:
            found.append((words, "n/a (no systemctl here): type it where there is one"))
            continue
        done = subprocess.run([program, "--user", *call], capture_output=True, text=True)
        said = " ".join(done.stderr.split())
        found.append((words, "ok" if done.returncode == Exit.OK else f"n/a ({said})"))
    return found


def _told(rows: list[tuple[str, str]]) -> Report:
    from chainwatch.lake.engine import Result
    from chainwatch.show.document import Report

    return Report(Result(("what", "state"), ("VARCHAR", "VARCHAR"), list(rows)), name="nightly")
