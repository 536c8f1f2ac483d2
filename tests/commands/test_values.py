"""Values of options: read in one strict way, or refused with the option's name."""

from __future__ import annotations

from itertools import pairwise

import pytest

from chainwatch.commands import values
from chainwatch.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"), [("30%", 0.3), ("0.3", 0.3), (" 5 % ", 0.05), (".5", 0.5), ("100%", 1.0)]
)
def test_a_share_is_a_percentage_or_a_fraction(text: str, value: float) -> None:
    assert values.share(text, "--down") == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("2d", 172_800)]
)
def test_a_span_has_a_unit(text: str, seconds: float) -> None:
    assert values.span(text, "--for") == seconds


@pytest.mark.parametrize("text", ["1_0%", " 0.3 ", "１０%", "1,0", "1e40", "nan", "%"])
def test_a_share_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--down takes a share"):
        values.share(text, "--down")


@pytest.mark.parametrize("text", ["1_0s", " 10s", "１０m", "1,5h", "nan", "s", "-1s", "10 s"])
def test_a_span_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--for takes a time"):
        values.span(text, "--for")


@pytest.mark.parametrize(
    "text", ["1_000", " 12 ", "１２", "1,2,3", "3,87", "1e40", "inf", "0", "-1"]
)
def test_a_price_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--to takes a number above 0"):
        values.positive(text, "--to")
    assert values.positive("88,000.5", "--to") == 88_000.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0001-01-01T00:00+14:00", "lies before 2009"),
        ("2008-12-31T23:59Z", "lies before 2009"),
        ("9999-12-31T23:59:59-14:00", "lies in the future"),
        ("2026-01-29 ", "takes a time"),
        ("２０２６-01-29", "takes a time"),
    ],
)
@pytest.mark.parametrize("flag", ["--since", "--until", "--as-of", "--known-on", "--from", "--to"])
def test_a_time_that_cannot_be_is_refused(flag: str, text: str, words: str) -> None:
    for read in (values.moment, values.past):
        with pytest.raises(UsageError, match=f"{flag} {words}"):
            read(text, flag)


def test_a_moment_without_a_zone_is_utc() -> None:
    bare, zoned = (
        values.moment("2026-01-29T02:00", "--as-of"),
        values.moment("2026-01-29T02:00Z", "x"),
    )
    assert bare == zoned
    assert values.moment("2026-01-29T03:00+01:00", "x") == zoned
    assert [values.moment(f"2026-01-{d}", "x").day for d in (28, 29)] == [28, 29]
    assert all(a < b for a, b in pairwise([values.moment("2026-01-28", "x"), zoned]))
