"""What is found of venues: the loopback protocols of their test files, by source."""

from __future__ import annotations

import importlib
import pkgutil

from tests.exchanges import venues
from tests.venues.protocols import Protocol


def find_protocols() -> dict[str, Protocol]:
    """`LOOPBACK` of every file of tests/exchanges/venues that has it."""
    protocols: dict[str, Protocol] = {}
    for module in pkgutil.iter_modules(venues.__path__, f"{venues.__name__}."):
        protocols |= getattr(importlib.import_module(module.name), "LOOPBACK", {})
    return protocols


ALL = find_protocols()
