"""Vintages: which figures of a document are new, and from when each version counts as known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from chainwatch.collect.document import Raw
from chainwatch.tables.base import Row
from chainwatch.tables.disclosure import Document

if TYPE_CHECKING:
    from chainwatch.collect.source import Feed

# How the time of publication is known: stated by the source, by the usual lag, or not at all.
BY_SOURCE, BY_RULE, BY_OBSERVATION = "source", "rule", "observed"


async def new_rows(feed: Feed, rows: Sequence[Row], last: Document | None) -> list[Row]:
    """The rows with a figure that is not stored yet, each with the time from which it is known.

    `last` is the attempt at this document that was read before.
    """
    new: list[Row] = []
    dropped: set[str] = set()
    for kind in dict.fromkeys(type(r) for r in rows):
        if not kind.identity:
            continue
        of_kind = [r for r in rows if type(r) is kind]
        stored = await _newest(feed, kind, of_kind)
        for row in of_kind:
            version = new_version(row, stored.get(_subject(row)), last.fetched_at if last else None)
            if version is not None:
                new.append(version)
            elif (statement := getattr(row, "statement", None)) is not None:
                dropped.add(statement)
    # Rows without versions of their own are stored and left out with their statement.
    without_versions = [
        r for r in rows if not type(r).identity and getattr(r, "statement", "") not in dropped
    ]
    return [*without_versions, *new]


async def _newest(feed: Feed, kind: type[Row], rows: Sequence[Row]) -> dict[tuple[Any, ...], Row]:
    """The newest stored version of each figure of these rows' subjects and days."""
    first = kind.identity[0]
    order = [getattr(r, kind.order) for r in rows]
    stored = await feed.stored(
        kind,
        f"{first} IN (SELECT unnest($subjects)) AND {kind.order} BETWEEN $low AND $high "
        "ORDER BY observed_at",
        subjects=sorted({getattr(r, first) for r in rows}),
        low=min(order),
        high=max(order),
    )
    return {_subject(row): row for row in stored}


def new_version(row: Any, stored: Any, looked_at: datetime | None) -> Any:
    """The row as it is to be stored, or None where the newest stored version is equal.

    A first version that its usual lag dates before the last read, at which it was not there, is
    known from now on. So is a correction, unless its publisher dates it after the version that it
    corrects. A figure that was corrected before the first read counts as its own first print: the
    publisher's files do not say.
    """
    if stored is None:
        late = looked_at is not None and row.known_at <= looked_at
        if row.published_basis == BY_RULE and late:
            return _observed(row)
        return row
    if all(getattr(row, f) == getattr(stored, f) for f in type(row).figures):
        return None
    if row.published_basis == BY_SOURCE and row.known_at > stored.known_at:
        return row
    return _observed(row)


def _observed(row: Any) -> Any:
    return msgspec.structs.replace(
        row, published_at=None, published_basis=BY_OBSERVATION, known_at=row.observed_at
    )


def _subject(row: Row) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in type(row).identity)


def day_of(row: Row) -> date | None:
    if not type(row).identity:
        return None
    value = getattr(row, type(row).order)
    return value.date() if isinstance(value, datetime) else value


def provenance_columns(raw: Raw, published: datetime | None, basis: str) -> dict[str, Any]:
    """The columns of a row for its source, and when it was published, observed and known."""
    return {
        "source": raw.source,
        "document": raw.sha256,
        "provenance": raw.provenance,
        "published_at": published,
        "published_basis": basis if published is not None else BY_OBSERVATION,
        "known_at": raw.fetched_at if published is None else published,
        "observed_at": raw.fetched_at,
    }
