"""`nightly`: everything that is due, once a night, and the timer that starts it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chainwatch.commands import Output, app, listing, named_folder, run, setup
from chainwatch.commands.export import formats_of
from chainwatch.errors import CheckFailed, Exit, StoreBusy, UsageError, unwritable

if TYPE_CHECKING:
    from chainwatch.collect import Job
    from chainwatch.nightly import Night
    from chainwatch.show import Report


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
    from chainwatch import nightly as night_work
    from chainwatch.source import find

    current = setup()
    home = current.settings.home.expanduser().absolute()
    out = (folder or home / "marts").expanduser().absolute()
    policy = night_work.retention_of(keep or night_work.KEEP)
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
            keep or night_work.KEEP,
        ]
        words += [part for name in sources or [] for part in ("--source", name)]
        command = [sys.executable, "-m", "chainwatch.cli", "--home", str(home), *words]
        output.emit(_install(command) if install else _remove())
        return
    with current.teller:
        try:
            night = night_work.run(
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
    current.teller.note(night_work.summary(night))
    output.emit(_report(night))
    if night.code:
        raise typer.Exit(night.code)


class _Network:
    """Reads and verifies for real."""

    def collect(self, job: Job) -> int:
        from chainwatch import collect as collecting

        current = setup()
        outcomes = run(collecting.collect(current.store, current.settings, [job], current.teller))
        collecting.raise_failures(outcomes)
        return sum(o.rows for o in outcomes)

    def verify(self, job: Job) -> int:
        from chainwatch import collect as collecting

        current = setup()
        result, _ = run(collecting.verify(current.store, current.settings, job, current.teller))
        if result.mismatched:
            raise CheckFailed(f"{result.mismatched} account(s) differ from the chain")
        return int(result.checked)


def _report(night: Night) -> Report:
    from chainwatch.show import Report
    from chainwatch.store import Result

    rows = [
        (night.night, name, step["state"], step["detail"], step["seconds"], step["ended_at"])
        for name, step in night.steps.items()
    ]
    kinds = ("VARCHAR",) * 4 + ("DOUBLE", "VARCHAR")
    names = ("night", "step", "state", "detail", "seconds", "ended_at")
    return Report(Result(names, kinds, list(rows)), name="nightly")


def _install(command: list[str]) -> Report:
    from chainwatch import nightly as night_work

    folder = night_work.unit_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in night_work.units(command).items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as failure:
        raise unwritable(f"{folder}", failure) from None
    return _told(
        [
            (str(folder / night_work.UNITS[0]), "written"),
            (str(folder / night_work.UNITS[1]), "written"),
            *_systemctl(("daemon-reload",), ("enable", "--now", night_work.UNITS[1])),
        ]
    )


def _remove() -> Report:
    from chainwatch import nightly as night_work

    folder = night_work.unit_folder()
    stopped = _systemctl(("disable", "--now", night_work.UNITS[1]))
    rows = []
    for name in night_work.UNITS:
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
    from chainwatch.show import Report
    from chainwatch.store import Result

    return Report(Result(("what", "state"), ("VARCHAR", "VARCHAR"), list(rows)), name="nightly")
