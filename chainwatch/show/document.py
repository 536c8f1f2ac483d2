"""A report: rows with header and notes, and the formats it is written in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from chainwatch.lake.engine import Result
from chainwatch.units import OutputColumn

NOT_AVAILABLE = "n/a"


class Format(StrEnum):
    """How a result is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    MARKDOWN = "markdown"


class Report(msgspec.Struct, frozen=True):
    """A result with its title, header and notes.

    `columns` describes output columns by name; one that it does not name has the unit of its name
    and type. `shown` limits the columns of tables (machine formats carry all), each "name" or
    "name=heading"; one of "name<>other" is left out where both are the same in every row. `bar` is
    "name" or "name over axis" and is drawn where the axis has a value.
    `header` names the snapshots, feeds and documents behind the figures, `notes` what they mean.
    `parts` are further tables that belong to it: below it for people, under their names in JSON;
    CSV has the first only.
    """

    result: Result
    name: str = ""
    title: str = ""
    header: Sequence[str] = ()
    meta: Mapping[str, Any] = {}
    shown: Sequence[str] = ()
    bar: str = ""
    notes: Sequence[str] = ()
    parts: Sequence[Report] = ()
    columns: Sequence[OutputColumn] = ()
