"""Values of options, read strictly."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from chainwatch import numbers
from chainwatch.errors import UsageError
from chainwatch.numbers import AHEAD, GROUPED, NotReadable, OutOfBounds, OutOfRange

if TYPE_CHECKING:
    pass

MOST_BETA = 100.0
MOST_ROWS = 1_000_000_000
MOST_DAYS = 36_500
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def count(least: int) -> Callable[[str], int]:
    """A reader of options that take a whole number from `least` up."""

    def read(text: str) -> int:
        try:
            found = numbers.whole(text)
        except NotReadable as refusal:
            raise typer.BadParameter(f"{text} is no whole number: {refusal}") from None
        if not least <= found <= MOST_ROWS:
            raise typer.BadParameter(f"{text} does not lie between {least} and {MOST_ROWS}")
        return found

    return read


def amount(text: str) -> float:
    """An option that takes a number not below 0."""
    try:
        found = numbers.real(text)
    except NotReadable as refusal:
        raise typer.BadParameter(f"{text} is no number: {refusal}") from None
    if found < 0:
        raise typer.BadParameter(f"{text} lies below 0")
    return found


# --- values ---------------------------------------------------------------------------------------


def share(text: str, flag: str, most: float = 1.0) -> float:
    """ "30%" or "0.3" as 0.3; UsageError naming the flag."""
    percent = text.strip().endswith("%")  # blanks may stand around the sign, not around a number
    try:
        value = numbers.real(text.strip()[:-1].rstrip()) / 100 if percent else numbers.real(text)
    except NotReadable:
        raise UsageError(f"{flag} takes a share such as 30% or 0.3, not {text!r}") from None
    if not 0 < value <= most:
        raise UsageError(f"{flag} must lie above 0 and at most at {most:.0%}, not {text!r}")
    return value


def positive(text: str, flag: str, what: str = "a number above 0") -> float:
    """A number above 0 such as 88000, 88,000 or 0.3; UsageError naming the flag."""
    try:
        value = numbers.real(text, GROUPED)
    except NotReadable:
        value = 0.0
    if value > 0:
        return value
    raise UsageError(f"{flag} takes {what}, not {text!r}")


def span(text: str, flag: str) -> float:
    """ "90s", "10m", "2h" or "1d" as seconds; UsageError naming the flag."""
    unit = text[-1:] if text[-1:] in SECONDS else ""
    try:
        seconds = numbers.real(text.removesuffix(unit)) * SECONDS[unit]
    except OutOfRange:
        seconds = numbers.MOST if text[:1].isdigit() else 0.0
    except NotReadable:
        seconds = 0.0
    if seconds <= 0:
        raise UsageError(f"{flag} takes a time such as 90s, 10m or 2h, not {text!r}")
    if seconds > MOST_DAYS * 86_400:
        raise UsageError(f"{flag} takes at most {MOST_DAYS}d, not {text!r}")
    return seconds


def named_folder(text: str) -> Path:
    """A folder as it was typed: an empty name would be the current one."""
    if not text:
        raise typer.BadParameter("takes a folder, not an empty name")
    return Path(text)


def moment(text: str, flag: str, ahead: timedelta = AHEAD) -> datetime:
    """An ISO 8601 time from 2009 to a day from now, as UTC; UsageError naming the flag."""
    try:
        return numbers.moment(text, datetime.now(UTC), ahead)
    except OutOfBounds as refusal:
        raise UsageError(f"{flag} lies {refusal}: {text!r}") from None
    except NotReadable:
        raise UsageError(
            f"{flag} takes a time such as 2026-01-29 or 2026-01-29T02:00Z, not {text!r}"
        ) from None


def past(text: str, flag: str) -> datetime:
    """A time that has been; UsageError naming the flag."""
    return moment(text, flag, timedelta(0))


def betas(pairs: list[str] | None) -> dict[str, float]:
    """The --beta flags by factor, in lower case; UsageError for one that is no number."""
    told: dict[str, float] = {}
    for pair in pairs or []:
        name, equals, text = pair.partition("=")
        try:
            value = numbers.real(text)
        except NotReadable:
            value = float("inf")
        if not (name and equals and re.fullmatch(r"[^,=\s]+", name) and abs(value) <= MOST_BETA):
            raise UsageError(
                f"--beta takes a factor and a number of at most {MOST_BETA:g}, such as eth=1.3, "
                f"not {pair!r}"
            )
        if name.lower() in told:
            raise UsageError(f"--beta names {name} twice")
        told[name.lower()] = value
    return told


def beta_values(pairs: list[str] | None) -> dict[str, object]:
    """The --beta flags as the parameter of a query."""
    text = ",".join(f"{name}={value!r}" for name, value in betas(pairs).items())
    return {"p_betas": text} if text else {}
