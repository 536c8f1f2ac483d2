"""One reader of numbers and times: what it accepts Python's Decimal reads alike, all else it
refuses with a reason."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chainwatch import numbers
from chainwatch.numbers import COMMA, GROUPED, Form, NotReadable

NOW = datetime(2026, 9, 20, 12, tzinfo=UTC)
# Text that is nearly a number.
NEARLY = st.text("0123456789.,-+eE_ １٣∞\tinfaNx", max_size=12)
IN_RANGE = st.decimals(
    min_value=Decimal("-1e30"), max_value=Decimal("1e30"), allow_nan=False, places=None
).filter(lambda d: not d or abs(d) >= Decimal("1e-30"))


@given(st.one_of(NEARLY, st.text(max_size=20), st.from_regex(numbers._NUMBER, fullmatch=True)))
@example("1_000")
@example(" 12 ")
@example("１２")
@example("1,2,3")
@example("3,87")
@example("1e9999999")
@example("1e-9999999999999999999999")
@example("9" * 5_000)
def test_what_is_accepted_is_what_decimal_reads(text: str) -> None:
    try:
        value_read = numbers.decimal(text)
    except NotReadable:
        with pytest.raises(NotReadable):
            numbers.real(text)
        return
    assert value_read == Decimal(text)
    assert numbers.real(text) == float(text)
    assert value_read == 0 or Decimal("1e-30") <= abs(value_read) <= Decimal("1e30")
    assert set(text) <= set("0123456789.-+eE")


@given(IN_RANGE)
def test_every_number_in_range_is_accepted_however_it_is_printed(number: Decimal) -> None:
    for text in {str(number), f"{number:e}"}:
        assert numbers.decimal(text) == Decimal(text) == number
    plain = f"{number:f}"
    if len(plain) <= numbers.LENGTH:
        assert numbers.decimal(plain) == number
    assert numbers.decimal(number) == number


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1_000",
            " 12 ",
            "12 ",
            "\n12",
            "１２",
            "٣",
            "1,2,3",
            "3,87",
            "1,000",
            "0x10",
            "1e",
            "e5",
        ),
        *("", ".", "-", "+-1", "1..", "1.2.3", "∞", "nan", "inf", "-Infinity", "sNaN", "1e40"),
        *("1e303", "1e-31", "-1e31", "1e9999999", "1e-99999999999999999999", "None", "true", "１"),
    ],
)
def test_text_that_is_no_number_is_refused_with_a_reason(text: str) -> None:
    for read in (numbers.decimal, numbers.real, numbers.integer):
        with pytest.raises(NotReadable, match=r"number"):
            read(text)


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, float("nan"), float("inf"), 1e40, -1e303, 1e-31, 10**31, 10**5_000),
        *map(Decimal, ("NaN", "Infinity", "1e9999999", "1e-31")),
        *(b"1", [1], {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_holds_is_held_to_the_same_range(value: Any) -> None:
    for read in (numbers.decimal, numbers.real, numbers.integer):
        with pytest.raises(NotReadable, match=r"number"):
            read(value)


@given(st.one_of(st.integers(-(10**30), 10**30), IN_RANGE.map(float)))
def test_numbers_of_json_stay_what_they_are(value: float) -> None:
    assert numbers.real(value) == float(value)
    assert numbers.decimal(value) == Decimal(repr(value))


@given(st.integers(-(10**30), 10**30), st.integers(0, 999))
def test_groups_of_three_digits_are_read_where_they_are_declared(number: int, part: int) -> None:
    text = f"{number:,}.{part:03}"
    exact = Decimal(f"{number}.{part:03}")
    if abs(number) == 10**30 and part:
        return
    assert numbers.decimal(text, GROUPED) == exact
    german = text.translate({ord(","): ".", ord("."): ","})
    assert numbers.decimal(german, Form(",", ".")) == exact
    assert numbers.decimal(text.replace(",", ""), GROUPED) == exact
    assert numbers.decimal(text.replace(",", "").replace(".", ","), COMMA) == exact


@given(st.integers(1_000, 10**20), st.data())
def test_a_comma_elsewhere_than_between_three_digits_is_refused(
    number: int, data: st.DataObject
) -> None:
    plain = f"{number}"
    cut = sorted(data.draw(st.sets(st.integers(1, len(plain) - 1), min_size=1, max_size=4)))
    edges = [0, *cut, len(plain)]
    text = ",".join(plain[a:b] for a, b in pairwise(edges))
    for form in (numbers.PLAIN, GROUPED):
        if form is GROUPED and text == f"{number:,}":
            assert numbers.decimal(text, form) == number
            continue
        with pytest.raises(NotReadable):
            numbers.decimal(text, form)


@pytest.mark.parametrize("text", ["3,87", "0,300", "1,2,3", "1,0000", ",100", "1,000,", "1 000"])
def test_commas_that_group_nothing_are_refused(text: str) -> None:
    """They are refused even where groups of digits are declared."""
    with pytest.raises(NotReadable, match="not a number"):
        numbers.decimal(text, GROUPED)


def test_a_declared_decimal_comma_is_a_point_and_a_point_is_none() -> None:
    assert numbers.decimal("3,87", COMMA) == Decimal("3.87")
    for text in ("3.87", "1.000", "1.234,5", "3,8,7"):
        with pytest.raises(NotReadable, match="not a number written like 1234,56"):
            numbers.decimal(text, COMMA)


@given(st.one_of(st.integers(-(10**31), 10**31), st.text("0123456789.e-", max_size=8)))
def test_a_whole_number_has_no_fraction(value: Any) -> None:
    try:
        exact = Decimal(value)
    except InvalidOperation:
        exact = None
    try:
        value_read = numbers.integer(value)
    except NotReadable:
        return
    assert exact is not None
    assert value_read == exact


# --- times --------------------------------------------------------------------------------------

TIMES = st.datetimes(
    min_value=datetime(1, 1, 1), max_value=datetime.max, timezones=st.just(UTC)
).map(lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000))


@given(TIMES, st.sampled_from(["s", "ms", "us", "ns"]))
def test_a_unix_time_counts_between_2009_and_tomorrow(at: datetime, unit: numbers.Unit) -> None:
    since = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    count = since * numbers.PER_SECOND[unit] // 1_000_000
    for value in (count, str(count)):
        try:
            value_read = numbers.instant(value, unit, NOW)
        except NotReadable:
            assert not datetime(2009, 1, 1, 0, 0, 1, tzinfo=UTC) <= at <= NOW + timedelta(days=1)
            continue
        assert abs(value_read - at) < timedelta(seconds=1)
        assert datetime(2009, 1, 1, tzinfo=UTC) <= value_read <= NOW + timedelta(days=1)


@given(st.one_of(st.integers(), st.floats(), st.text(max_size=10), st.none(), st.booleans()))
def test_nothing_that_is_no_unix_time_fails_otherwise(value: Any) -> None:
    for unit in numbers.PER_SECOND:
        try:
            value_read = numbers.instant(value, unit, NOW)
        except NotReadable:
            continue
        assert value_read.tzinfo is UTC


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))


@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime.max), ZONES)
@example(datetime(1, 1, 1), timezone(timedelta(hours=14)))
@example(datetime(9999, 12, 31, 23, 59, 59), timezone(timedelta(hours=-14)))
def test_a_moment_is_utc_or_refused_in_every_zone(local: datetime, zone: timezone) -> None:
    text = local.replace(tzinfo=zone).isoformat()
    # Brute force by hand: microseconds since 1970, without a time that may not exist.
    since = (local - datetime(1970, 1, 1)) - (zone.utcoffset(None) or timedelta())
    first = datetime(2009, 1, 1) - datetime(1970, 1, 1)
    last = NOW.replace(tzinfo=None) - datetime(1970, 1, 1) + timedelta(days=1)
    try:
        value_read = numbers.moment(text, NOW)
    except NotReadable:
        assert not first <= since <= last
        return
    assert first <= since <= last
    assert value_read.replace(tzinfo=None) == datetime(1970, 1, 1) + since
    assert value_read.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        *("soon", "", "2026-1-2", " 2026-01-29", "２０２６-01-29", "2026-W05-1", "20260129"),
        *(
            "2026-01-29T",
            "2026-01-29T2:00",
            "2026-02-30",
            "2026-01-29T24:01",
            "2026-01-29T02:00+25",
        ),
        *("1769650000", "2026-01-29T02:00Z" + " " * 200, "2026-01-29\n", "now"),
    ],
)
def test_a_time_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(NotReadable):
        numbers.moment(text, NOW)


@given(st.one_of(st.dates().map(str), st.text("0123456789-", max_size=10), st.text(max_size=10)))
def test_a_day_is_eight_digits_of_the_calendar(text: str) -> None:
    try:
        value_read = numbers.day(text)
    except NotReadable:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            with pytest.raises(ValueError, match=r"day|year|month"):
                date(*map(int, text.split("-")))
        return
    assert value_read.isoformat() == text
