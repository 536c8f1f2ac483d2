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
SEED_PERIOD = "1970"
SUFFIX = ".parquet"  # of a segment
CATALOG_NAME = "chainwatch.duckdb"


class Layout(msgspec.Struct, frozen=True):
    """The paths of one home folder, which is absolute.

    A segment is one Parquet file, `lake/<table>/day=<day>/<load>.parquet`, or
    `lake/<table>/period=<month or year>/<load>.parquet` where it was merged of several days and
    has the day of each row in a column. Its *place* is its path within `lake/`, as text: a Path of
    each of thousands takes most of the time otherwise.
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
    def unannounced(self) -> Path:
        """Merged loads that a process left which do not count yet, as JSON."""
        return self.lake / "unannounced"

    @property
    def catalog(self) -> Path:
        return self.home / CATALOG_NAME

    def segment(self, table: str, span: str, load: str) -> Path:
        return self.lake / segment_place(table, span, load)

    def seed(self, row: type[Row], span: str = SEED_DAY) -> Path:
        """The empty segment of a table with today's columns, of a day or of SEED_PERIOD."""
        shape = ",".join(f"{n} {t}" for n, t in parquet_columns(row))
        name = f"seed-{hashlib.sha256(shape.encode()).hexdigest()[:12]}"
        return self.segment(row.table, span, name)

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


def segment_place(table: str, span: str, load: str) -> str:
    """The path of a segment within the lake; `span` is a UTC day, a month or a year."""
    return f"{table}/{'period' if is_period(span) else 'day'}={span}/{load}{SUFFIX}"


def is_period(span: str) -> bool:
    """Whether a span is a month (2026-03) or a year (2026), and no day."""
    return len(span) < len(SEED_DAY)


def in_period(place: str) -> bool:
    """Whether a segment holds rows of several days."""
    return "/period=" in place


def is_seed(place: str) -> bool:
    return f"/day={SEED_DAY}/" in place or f"/period={SEED_PERIOD}/" in place
