"""The sources, found by name: every module of the folders that hold sources."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable

import msgspec

from chainwatch.collect.source import Source, registered, verifiers
from chainwatch.errors import UsageError
from chainwatch.text import suggest

# Each file in these folders is a source, or each folder with a `reader`.
FOLDERS = (
    "chainwatch.disclosures.publishers",
    "chainwatch.exchanges.market_data",
    "chainwatch.exchanges.venues",
    "chainwatch.lending.protocols",
)


def import_sources(folder: str) -> None:
    """Import each source of one of FOLDERS, which registers it."""
    package = importlib.import_module(folder)
    for module in pkgutil.iter_modules(package.__path__, f"{folder}."):
        name = f"{module.name}.reader" if module.ispkg else module.name
        if not module.ispkg or importlib.util.find_spec(name):
            importlib.import_module(name)


def discover() -> dict[str, Source]:
    """All sources by name, from the files of FOLDERS."""
    for folder in FOLDERS:
        import_sources(folder)
    return {
        name: msgspec.structs.replace(entry, verify=verifiers.get(name))
        for name, entry in sorted(registered.items())
    }


def find(name: str) -> Source:
    """One source by name; UsageError with a suggestion where there is none."""
    sources = discover()
    if name in sources:
        return sources[name]
    raise _unknown(name, sources)


def find_all(name: str) -> list[Source]:
    """The source of that name, or all streams of the venue of that name."""
    sources = discover()
    if name in sources:
        return [sources[name]]
    streams = [s for s in sources.values() if s.venue == name and s.mode == "stream"]
    if not streams:
        raise _unknown(name, [*sources, *(s.venue for s in sources.values() if s.venue)])
    return streams


def _unknown(name: str, names: Iterable[str]) -> UsageError:
    return UsageError(
        f"no source is called {name!r}; {suggest(name, names)}`chainwatch sources` lists them"
    )
