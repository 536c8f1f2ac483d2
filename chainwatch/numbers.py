"""Numbers and times from outside, read in one strict way or refused with a reason.

Sources, imports, options and settings read what is text, or a number of JSON or Parquet, here:

    decimal, real   1234.56 as Decimal or float: |value| from 1e-30 to 1e30, or 0; never inf or nan
    whole           the same without a fraction, as int
    instant         a Unix time in s, ms, us or ns
    moment          an ISO 8601 time; UTC where it names no zone
    day             YYYY-MM-DD

Digits are 0-9. Nothing is stripped. A document, or a file by an option, declares its decimal point
and what separates its groups of three digits (`Form`). What is
accepted equals Python's Decimal of the same text. Times lie between 2009, when the first block was
made, and a day from now. Days are not held to that: series of a publisher begin earlier. Integers
of a contract are no text and are not read here.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple

LEAST, MOST = 1e-30, 1e30
EARLIEST = datetime(2009, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=1)
# Longer text is not a number, and costs time.
LENGTH = 100

Unit = Literal["s", "ms", "us", "ns"]
PER_SECOND: dict[Unit, int] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


class NotReadable(ValueError):
    """Why something cannot be used as a number or time; the caller adds the value."""


class OutOfRange(NotReadable):
    """A number that is infinite, NaN, too large or too close to 0."""


class OutOfBounds(NotReadable):
    """A time before 2009 or too far ahead."""


class Form(NamedTuple):
    """How a document writes numbers: what stands before the fraction, and between three digits."""

    point: str = "."
    group: str = ""


PLAIN = Form()
GROUPED = Form(group=",")
COMMA = Form(point=",")

_MOST_WHOLE = 10**30
_NOT_FINITE = {"nan", "inf", "infinity"}
_EDGES = Decimal("1e-30"), Decimal("1e30")
_DIGITS = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_NUMBER = re.compile(rf"[-+]?{_DIGITS}(?:[eE][-+]?(?P<power>[0-9]+))?")
_IN_GROUPS = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_is_count = re.compile(r"[0-9]{1,18}").fullmatch
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:[Zz]|[-+][0-9]{2}:?[0-9]{2})?)?"
)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# Of each unit: how many there are in a second, the first one of 2009, and the last one looked at.
_BOUNDS = {unit: (per, 1_230_768_000 * per, 10**11 * per) for unit, per in PER_SECOND.items()}

_at = datetime.fromtimestamp


def decimal(value: object, form: Form = PLAIN) -> Decimal:
    """The exact number; NotReadable gives the reason where there is none."""
    if isinstance(value, str):
        number = Decimal(_plain(value, form))
    elif isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise NotReadable("not a number")
    elif isinstance(value, int) and abs(value) > _MOST_WHOLE:
        raise OutOfRange(_beyond(abs(value)))
    else:
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not number.is_finite():
        raise OutOfRange("not a usable number: not finite")
    if not number:
        return Decimal(0)
    size = number.copy_abs()  # abs() would round
    if not _EDGES[0] <= size <= _EDGES[1]:
        raise OutOfRange(_beyond(size))
    return number


def real(value: object, form: Form = PLAIN) -> float:
    """The number as a float; NotReadable gives the reason where there is none."""
    if type(value) is str:
        # The usual case: the fastest check that a text has only digits and a point.
        if (
            form is PLAIN
            and value.isascii()
            and value.replace(".", "", 1).isdigit()
            and len(value) <= LENGTH
        ):
            number = float(value)
            if LEAST <= number <= MOST or number == 0:
                return number
    elif type(value) is float and (value == 0 or LEAST <= abs(value) <= MOST):
        return value
    return float(decimal(value, form))


def integer(value: object) -> int:
    """The integer, however it is written; NotReadable also where it has a fraction."""
    if type(value) is int and -_MOST_WHOLE <= value <= _MOST_WHOLE:
        return value
    if type(value) is str and _is_count(value):
        return int(value)
    number = decimal(value)
    if number != number.to_integral_value():
        raise NotReadable("not a whole number")
    return int(number)


def instant(value: object, unit: Unit, now: datetime | None, ahead: timedelta = AHEAD) -> datetime:
    """A Unix time; NotReadable where it is none, or lies before 2009 or after `now` + `ahead`.

    Without `now` the caller checks that it is not in the future.
    """
    count = value if type(value) is int else integer(value)
    per, first, last = _BOUNDS[unit]
    if not first <= count < last:
        reason = "before 2009" if 0 <= count < last else "out of range"
        raise NotReadable(f"not a time in {unit}: {reason}")
    time = _at(count / per, UTC)
    if now is not None and time > now and time > now + ahead:
        raise NotReadable(f"not a time in {unit}: in the future")
    return time


def moment(text: str, now: datetime | None, ahead: timedelta = AHEAD) -> datetime:
    """An ISO 8601 time as UTC; NotReadable where it is none, or out of bounds as in `instant`."""
    if len(text) > LENGTH or not _MOMENT.fullmatch(text):
        raise NotReadable("not a time written like 2026-01-29 or 2026-01-29T02:00Z")
    try:
        time = datetime.fromisoformat(text.upper())
    except ValueError:
        raise NotReadable("not a day or hour of the calendar") from None
    return within(time, now, ahead)


def within(time: datetime, now: datetime | None, ahead: timedelta = AHEAD) -> datetime:
    """A time as UTC; NotReadable unless it lies between 2009 and `now` + `ahead`."""
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    if time < EARLIEST:
        raise OutOfBounds("before 2009")
    # The last year of the calendar may have no such time in UTC.
    if time.year == 9999 or (now is not None and time > now and time > now + ahead):
        raise OutOfBounds("in the future")
    return time if time.tzinfo is UTC else time.astimezone(UTC)


def day(text: str) -> date:
    """A day written YYYY-MM-DD; NotReadable where it is none."""
    if not _DAY.fullmatch(text):
        raise NotReadable("not a day written YYYY-MM-DD")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise NotReadable("not a day of the calendar") from None


def _plain(text: str, form: Form) -> str:
    """Text of a form as Decimal reads it; NotReadable where it is not of that form."""
    if len(text) > LENGTH:
        kind = OutOfRange if text.isascii() and text.isdigit() else NotReadable
        raise kind("not a usable number: too long")
    if form.point != ".":
        if "." in text and form.group != ".":
            raise NotReadable(f"not a number written like 1234{form.point}56")
        text = text.translate({ord(form.point): ".", ord("."): form.group and ","})
    if form.group and _IN_GROUPS.fullmatch(text):
        return text.replace(",", "")
    match = _NUMBER.fullmatch(text)
    if match is None and text.lstrip("+-").lower() in _NOT_FINITE:
        raise OutOfRange("not a usable number: not finite")
    if match is None:
        raise NotReadable(f"not a number written like 1234{form.point}56")
    if len(match["power"] or "") > 4:
        raise OutOfRange("not a usable number: its exponent is out of range")
    return text


def _beyond(size: int | Decimal) -> str:
    edge = f"larger than {MOST:g}" if size > 1 else f"closer to 0 than {LEAST:g}"
    return f"not a usable number: {edge}"
