"""Findings about the machine, the home folder and the settings: no network is asked."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import chainwatch
from chainwatch.chain.markets import load_markets
from chainwatch.chain.tokens import load_tokens
from chainwatch.errors import ChainwatchError, StoreError
from chainwatch.lake import query
from chainwatch.lake.engine import engine_version
from chainwatch.lake.store import Store
from chainwatch.reports.doctor import FAULT, LIMITED, OK, Finding
from chainwatch.settings import Settings

LOW_BYTES = 2**30  # of free disk


def examine_house(settings: Settings) -> list[Finding]:
    """Versions, the home folder with its lake, and the files of settings."""
    return [*_versions(), *_home(settings), *_files(settings)]


def _versions() -> Iterator[Finding]:
    versions = (
        ("chainwatch", chainwatch.__version__),
        ("Python", platform.python_version()),
        ("DuckDB", engine_version()),
    )
    for item, version in versions:
        yield Finding("machine", item, version)


def _home(settings: Settings) -> Iterator[Finding]:
    home = settings.home.expanduser().absolute()
    # A home folder is made by the first load: what counts until then is where it will lie.
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    origin = configured.origin if (configured := settings.get("home")) else "default"
    yield _writable(home, place, origin)
    free = shutil.disk_usage(place).free
    low = free < LOW_BYTES
    means = "little room: a load that finds a full disk is not stored" if low else ""
    yield Finding("home", "free disk", f"{free / 2**30:,.1f} GiB", LIMITED if low else OK, means)
    yield _lake(settings)


def _writable(home: Path, place: Path, origin: str) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as failure:
        reason = failure.strerror or str(failure)
        wrong = StoreError(
            f"the home folder {home} cannot be written ({reason}): make it writable or name "
            "another with --home"
        )
        return Finding("home", "folder", f"{home}", FAULT, f"not writable: {reason}", wrong)
    means = f"set by {origin}" if home == place else "is made by the first load"
    return Finding("home", "folder", f"{home}", OK, means)


def _lake(settings: Settings) -> Finding:
    try:
        store = Store(settings.home)
        if not store.exists:
            return Finding("home", "lake", "none yet", OK, "`collect` or `demo` makes it")
        with query.open_catalog(store) as catalog:
            (count,) = catalog.run("SELECT count(*) FROM loads").rows[0]
    except ChainwatchError as failure:
        return Finding("home", "lake", "n/a", FAULT, str(failure), failure)
    return Finding("home", "lake", f"{count:,} loads", OK, "can be read")


def _files(settings: Settings) -> Iterator[Finding]:
    """The files that settings come from: each read, or not there."""
    yield Finding("settings", ".env", _shown(settings.dotenv), OK, _state(settings.dotenv))
    readers: tuple[tuple[str, Path, Callable[[Settings], object]], ...] = (
        ("markets", settings.markets, load_markets),
        ("tokens", settings.tokens, load_tokens),
    )
    for item, path, read in readers:
        try:
            read(settings)
        except ChainwatchError as failure:
            yield Finding("settings", item, _shown(path), FAULT, str(failure), failure)
        else:
            yield Finding("settings", item, _shown(path), OK, _state(path))
    authorities = settings.ca_file
    if authorities is not None:
        yield Finding("settings", "ca_file", _shown(authorities), OK, _state(authorities))


def _shown(path: Path) -> str:
    return str(path.expanduser().absolute())


def _state(path: Path) -> str:
    return "read" if path.is_file() else "not there"
