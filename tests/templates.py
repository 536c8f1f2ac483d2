"""Catalogs of test lakes start from a copy of one database, which is made once per run.

Making the definitions takes more than a second, and most tests have a lake of their own. Tests
that are about the catalog file itself make theirs as the program does, and so do the processes
that are started for the tests of the lake.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from chainwatch.lake import catalog_file, query
from chainwatch.lake.layout import CATALOG_NAME
from chainwatch.lake.store import Store

create_database = catalog_file.create  # the program's own
_prepares = False


def install(item_makes_its_own: bool, prepare_homes: bool) -> None:
    """Let lakes of the next test start from the copy, or make their catalogs themselves."""
    global _prepares
    catalog_file.create = create_database if item_makes_its_own else copy_database
    _prepares = prepare_homes and not item_makes_its_own


def prepare(home: Path) -> None:
    """Give a lake without a catalog one before a command of another process would make it."""
    if _prepares and (home / "lake").is_dir() and not (home / CATALOG_NAME).exists():
        with contextlib.suppress(Exception):  # of such a lake the command says what is wrong
            query.open_catalog(Store(home)).close()


def copy_database(path: Path, statements: Sequence[str]) -> None:
    """As catalog_file.create, from a copy."""
    folder = Path(os.environ["CHAINWATCH_TEST_LAKE"]) / "templates"
    folder.mkdir(exist_ok=True)
    name = hashlib.sha256("\n".join(statements).encode()).hexdigest()[:16]
    template = folder / f"{name}.duckdb"
    if not template.exists():
        draft = folder / f"{secrets.token_hex(8)}.duckdb"
        create_database(draft, statements)
        draft.replace(template)
    shutil.copyfile(template, path)
