"""Lakes that other processes read get their catalog from this process first.

Making the definitions takes more than a second in every process that makes them; a process that
made them before copies them. Tests that are about the catalog file itself leave it to the command.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from chainwatch.lake import query
from chainwatch.lake.layout import CATALOG_NAME
from chainwatch.lake.store import Store

_prepares = False


def install(prepare_homes: bool) -> None:
    """Say whether lakes of the next test get their catalog before a command reads them."""
    global _prepares
    _prepares = prepare_homes


def prepare(home: Path) -> None:
    """Give a lake without a catalog one before a command of another process would make it."""
    if _prepares and (home / "lake").is_dir() and not (home / CATALOG_NAME).exists():
        with contextlib.suppress(Exception):  # of such a lake the command says what is wrong
            query.open_catalog(Store(home)).close()
