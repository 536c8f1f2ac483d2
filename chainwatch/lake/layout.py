"""Where everything of one home folder lies: paths only, no access to them."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

import msgspec

from chainwatch.lake.segments import parquet_columns
from chainwatch.tables.base import Row
from chainwatch.tables.log import Load

SEED_DAY = "1970-01-01"
SUFFIX = ".parquet"  # of a segment
CATALOG_NAME = "chainwatch.duckdb"


class Layout(msgspec.Struct, frozen=True):
    """The paths of one home folder, which is absolute.

    A segment is one Parquet file, `lake/<table>/day=<day>/<load>.parquet`. Its *place* is its path
    within `lake/`, as text: a Path of each of thousands takes most of the time otherwise.
    """

    home: Path

    @property
    def lake(self) -> Path:
        return self.home / "lake"

    @property
    def drafts(self) -> Path:
        """What is being written and has no name yet; the same disk as the lake."""
        return self.home / "tmp"

    @property
    def locks(self) -> Path:
        return self.home / "locks"

    @property
    def sequence(self) -> Path:
        """The last number that a row of `loads` got; who writes one holds the lock of this file."""
        return self.lake / "sequence"

    @property
    def catalog(self) -> Path:
        return self.home / CATALOG_NAME

    def segment(self, table: str, day: str, load: str) -> Path:
        return self.lake / segment_place(table, day, load)

    def seed(self, row: type[Row]) -> Path:
        """The empty segment of a table with today's columns."""
        shape = ",".join(f"{n} {t}" for n, t in parquet_columns(row))
        name = f"seed-{hashlib.sha256(shape.encode()).hexdigest()[:12]}"
        return self.segment(row.table, SEED_DAY, name)

    def draft(self, name: str) -> Path:
        return self.drafts / name

    def new_draft(self, name: str) -> Path:
        """A draft that no other process writes to."""
        return self.drafts / f"{secrets.token_hex(8)}-{name}"

    def receipt(self, segment: Path) -> str:
        """Where the row in `loads` is that makes a segment count, within the home folder."""
        path = self.lake / Load.table / segment.parent.name / segment.name
        return str(path.relative_to(self.home))

    def document(self, sha256: str) -> Path:
        """Where the bytes with that hash are kept."""
        return self.home / "documents" / sha256[:2] / sha256

    def lock(self, name: str) -> Path:
        return self.locks / f"{name.replace(os.sep, '_')}.lock"


def segment_place(table: str, day: str, load: str) -> str:
    """The path of a segment within the lake."""
    return f"{table}/day={day}/{load}{SUFFIX}"
