"""Values of options and arguments: each kind is read in one place, strictly.

A reader takes the text and the option's name, and raises UsageError with both: what was expected,
what was given. `count` and `amount` are parsers that typer calls, which adds the name itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import typer

from chainwatch import numbers
from chainwatch.errors import UsageError
from chainwatch.numbers import AHEAD, GROUPED, NotReadable, OutOfBounds, OutOfRange
from chainwatch.text import suggest

MOST_ROWS = 1_000_000_000
MOST_DAYS = 36_500
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def refusal(flag: str, expected: str, text: str) -> UsageError:
    """The failure of an option: what was expected, what was given."""
    return UsageError(f"{flag}: expected {expected}, got {text!r}")


# --- parsers that typer calls -------------------------------------------------------------------


def count(least: int) -> Callable[[str], int]:
    """A parser of options that take a whole number from `least` up."""

    def parse(text: str) -> int:
        try:
            number = numbers.integer(text)
        except NotReadable:
            number = least - 1
        if least <= number <= MOST_ROWS:
            return number
        raise typer.BadParameter(
            f"expected a whole number from {least} to {MOST_ROWS}, got {text!r}"
        )

    return parse


def amount(text: str) -> float:
    """A parser of options that take a number not below 0."""
    try:
        number = numbers.real(text)
    except NotReadable:
        number = -1.0
    if number >= 0:
        return number
    raise typer.BadParameter(f"expected a number from 0 up, got {text!r}")


def named_folder(text: str) -> Path:
    """A parser of folders: an empty name would be the current one."""
    if not text:
        raise typer.BadParameter("expected a folder, got an empty name")
    return Path(text)


# --- numbers ------------------------------------------------------------------------------------


def share(text: str, flag: str, most: float = 1.0) -> float:
    """A share above 0 and at most `most`: "30%" and "0.3" are 0.3."""
    percent = text.strip().endswith("%")  # blanks may stand around the sign, not around a number
    try:
        value = numbers.real(text.strip()[:-1].rstrip()) / 100 if percent else numbers.real(text)
    except NotReadable:
        raise refusal(flag, "a share such as 30% or 0.3", text) from None
    if not 0 < value <= most:
        raise refusal(flag, f"a share above 0 and at most {most:.0%}", text)
    return value


def positive(text: str, flag: str, expected: str = "a number above 0") -> float:
    """A number above 0 such as 88000, 88,000 or 0.3."""
    try:
        value = numbers.real(text, GROUPED)
    except NotReadable:
        value = 0.0
    if value > 0:
        return value
    raise refusal(flag, expected, text)


def span(text: str, flag: str) -> float:
    """Seconds: "90s", "10m", "2h" or "1d", above 0 and at most MOST_DAYS."""
    unit = text[-1:] if text[-1:] in SECONDS else ""
    try:
        seconds = numbers.real(text.removesuffix(unit)) * SECONDS[unit]
    except OutOfRange:
        seconds = numbers.MOST if text[:1].isdigit() else 0.0
    except NotReadable:
        seconds = 0.0
    if seconds <= 0:
        raise refusal(flag, "a time such as 90s, 10m or 2h", text)
    if seconds > MOST_DAYS * 86_400:
        raise refusal(flag, f"at most {MOST_DAYS}d", text)
    return seconds


# --- times --------------------------------------------------------------------------------------


def moment(text: str, flag: str, ahead: timedelta = AHEAD) -> datetime:
    """An ISO 8601 time from 2009 to `ahead` from now, as UTC."""
    try:
        return numbers.moment(text, datetime.now(UTC), ahead)
    except OutOfBounds:
        raise refusal(flag, "a time from 2009 on that is not in the future", text) from None
    except NotReadable:
        raise refusal(flag, "a time such as 2026-01-29 or 2026-01-29T02:00Z", text) from None


def past(text: str, flag: str) -> datetime:
    """A time that is not in the future."""
    return moment(text, flag, timedelta(0))


def last_moment(text: str, flag: str) -> datetime:
    """A time; of a day without an hour its last microsecond."""
    time = moment(text, flag)
    is_day = len(text) == len("2026-11-20")
    return time + timedelta(days=1, microseconds=-1) if is_day else time


def utc_day(text: str, flag: str) -> date:
    """A UTC day written YYYY-MM-DD."""
    try:
        return numbers.day(text)
    except NotReadable:
        raise refusal(flag, "a day such as 2026-11-20", text) from None


# --- words --------------------------------------------------------------------------------------


def account_address(text: str, flag: str) -> str:
    """An account's address, in lower case as it is stored."""
    digits = text.lower().removeprefix("0x")
    if len(digits) == 40 and all(digit in "0123456789abcdef" for digit in digits):
        return f"0x{digits}"
    raise refusal(flag, "an address of 40 hexadecimal digits", text)


def choice(text: str, flag: str, words: Collection[str]) -> str:
    """One of some words as they are written."""
    if text in words:
        return text
    *most, last = words
    expected = f"{', '.join(most)} or {last}" if most else last
    hint = suggest(text, words)
    raise UsageError(f"{refusal(flag, expected, text)}{hint and f'; {hint.rstrip()}'}")


def pairs(texts: Collection[str], flag: str, example: str) -> dict[str, str]:
    """NAME=VALUE texts by name, each name once, no part empty."""
    by_name: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not (name and value):
            raise refusal(flag, f"a pair such as {example}", text)
        if name in by_name:
            raise UsageError(f"{flag}: expected each name once, got {name} twice")
        by_name[name] = value
    return by_name
