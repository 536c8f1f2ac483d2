"""A document as it came, read as text, JSON or CSV, or rejected with the reason."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from chainwatch.text import visible

OK, UNCHANGED, STALE, UNAVAILABLE, SCHEMA_CHANGED, RECONCILE_FAILED, SKIPPED = OUTCOMES = (
    "ok",
    "unchanged",
    "stale",
    "unavailable",
    "schema changed",
    "reconcile failed",
    "skipped",
)


class Refused(Exception):
    """Nothing of a document is stored; says why, in one line."""

    outcome = SCHEMA_CHANGED


class SchemaChanged(Refused):
    """The document does not have the documented form."""


class Irreconcilable(Refused):
    """The document's own figures contradict each other."""

    outcome = RECONCILE_FAILED


class Unreadable(Refused):
    """The document holds nothing that could be read, e.g. pictures of text only."""

    outcome = UNAVAILABLE


class Raw(msgspec.Struct, frozen=True, kw_only=True):
    """A document as it came, kept before it is parsed."""

    source: str
    name: str
    url: str
    body: bytes
    fetched_at: datetime
    sha256: str = ""
    media_type: str = ""
    status: int | None = None
    etag: str | None = None
    provenance: str = "live"

    def text(self, encoding: str = "utf-8") -> str:
        """The body as text; SchemaChanged where it is HTML or in another character set."""
        try:
            text = self.body.decode("utf-8-sig" if encoding == "utf-8" else encoding)
        except UnicodeDecodeError:
            raise SchemaChanged(f"the document is not {encoding} text") from None
        if text.lstrip()[:15].lower().startswith(("<!doctype html", "<html")):
            raise SchemaChanged(f"an HTML page came instead: {visible(_words(text), 80)}")
        return text

    def json(self) -> Any:
        """The body as JSON, numbers with a point as their text; SchemaChanged where it is none."""
        text = self.text()
        try:
            return json.loads(text, parse_float=str, parse_constant=_no_number)
        except (ValueError, RecursionError):
            raise SchemaChanged(f"not JSON: {visible(_words(text), 80) or 'empty'}") from None

    def rows(self, encoding: str = "utf-8", delimiter: str = ",") -> Iterator[list[str]]:
        """The rows of a CSV file, header and all; SchemaChanged where it is none."""
        try:
            text = io.StringIO(self.text(encoding), newline="")
            yield from csv.reader(text, delimiter=delimiter)
        except csv.Error as failure:
            raise SchemaChanged(f"not CSV: {failure}") from None

    def csv(self, *header: str) -> Iterator[list[str]]:
        """The rows below a header that must be exactly this (any letter case; `a|b`: either).

        Raises SchemaChanged for another header, a row of another length, or a last line that
        does not end: a file that was cut inside its last number would still be valid CSV.
        """
        if not self.text().endswith("\n"):
            raise SchemaChanged("the last line has no end: the file is cut, or no table")
        rows = self.rows()
        columns = next(rows, [])
        names = [h.strip().lower() for h in columns]
        wanted = [h.lower().split("|") for h in header]
        if len(names) != len(wanted) or any(n not in w for n, w in zip(names, wanted, strict=True)):
            raise SchemaChanged(
                f"the columns are {visible(','.join(columns), 80) or 'missing'}, "
                f"not {','.join(header)}"
            )
        for number, row in enumerate(rows, start=2):
            if len(row) != len(header):
                raise SchemaChanged(f"line {number} has {len(row)} fields, not {len(header)}")
            yield row


def _words(text: str) -> str:
    return " ".join(text[:400].split())


def _no_number(text: str) -> Decimal:
    raise ValueError(text)
