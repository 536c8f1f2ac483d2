"""Single figures and dates of documents, read strictly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, date, datetime
from datetime import time as clock
from decimal import Context, Decimal, localcontext
from typing import Any

from chainwatch import numbers
from chainwatch.collect.document import SchemaChanged
from chainwatch.numbers import PLAIN, Form, NotReadable
from chainwatch.tables.base import fits_decimal
from chainwatch.text import visible

# Digits enough that no sum or difference of figures is rounded.
EXACT = Context(prec=60)


def exact(value: Any, what: str, form: Form = PLAIN) -> Decimal:
    """A number of a document without loss; SchemaChanged where it is none or cannot be stored."""
    try:
        figure = numbers.decimal(value, form)
    except NotReadable as refusal:
        raise SchemaChanged(f"{what} is {visible(str(value), 40)!r}, {refusal}") from None
    if not fits_decimal(figure):
        raise SchemaChanged(f"{what} is {visible(str(value), 40)!r}, not a usable number")
    return figure


def number(value: Any, what: str, form: Form = PLAIN) -> float:
    """A number of a document; SchemaChanged where it is none."""
    try:
        return numbers.real(value, form)
    except NotReadable as refusal:
        raise SchemaChanged(f"{what} is {visible(str(value), 40)!r}, {refusal}") from None


def instant(value: Any, unit: numbers.Unit, what: str, now: datetime | None = None) -> datetime:
    """A Unix time of a document; SchemaChanged where it is none.

    The day of a figure may not lie in the future (documents.read_kept); other times need `now`.
    """
    try:
        return numbers.instant(value, unit, now)
    except NotReadable as refusal:
        raise SchemaChanged(f"{what} is {visible(str(value), 40)!r}, {refusal}") from None


def total(values: Iterable[Decimal]) -> Decimal:
    """The exact sum of decimals of any length."""
    with localcontext(EXACT):
        return sum(values, Decimal(0))


def day(text: str, form: str, what: str = "a date") -> date:
    """A date of a document; SchemaChanged where it is not of that form."""
    try:
        # strptime takes any digits, and any run of blanks for one.
        if not text.isascii() or text != " ".join(text.split()):
            raise ValueError
        return datetime.strptime(text, form).date()
    except ValueError:
        raise SchemaChanged(f"{what} is {visible(text, 40)!r}, not of the form {form}") from None


def end_of(when: date) -> datetime:
    """The last second of a day, UTC: when what is published on that day is public."""
    return datetime.combine(when, clock(23, 59, 59), UTC)


def digest(*parts: object) -> str:
    """A short hash of figures, for ids."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]
