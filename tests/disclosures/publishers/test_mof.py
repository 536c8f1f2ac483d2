"""Japanese yields, with figures of our own in the ministry's shape."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.collect.document import Refused, SchemaChanged
from chainwatch.disclosures.publishers import mof
from tests.documents import fixture, raw

BODY = fixture("mof/jgbcme_all.csv").decode("cp932")


def encoded(text: str) -> bytes:
    return text.encode("cp932")


def test_unpadded_days_dashes_and_the_footer_are_understood() -> None:
    values = {(v.series, v.as_of): v.value for v in mof.parse(raw(encoded(BODY)))}
    assert values == {
        ("jgb10", date(2026, 9, 15)): 2.85,
        ("jgb10", date(2026, 9, 16)): 2.91,
        ("jgb40", date(2026, 9, 15)): 3.98,
        ("jgb40", date(2026, 9, 16)): 4.05,
    }


def test_a_yield_is_known_the_next_morning_of_tokyo() -> None:
    values = [v for v in mof.parse(raw(encoded(BODY))) if v.series == "jgb40"]
    assert values[0].known_at == datetime(2026, 9, 16, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Date,", "Day,", "begins with `Date`"),
        (",40Y", ",50Y", "no column 40Y"),
        ("4.05", "4,05", "17 fields"),
        ("4.05", "x", "not a number"),
        ("2026/9/16", "Sep 16", "%Y/%m/%d"),
    ],
)
def test_another_shape_is_refused(old: str, new: str, words: str) -> None:
    assert old in BODY
    with pytest.raises(SchemaChanged, match=words):
        mof.parse(raw(encoded(BODY.replace(old, new))))


def test_columns_are_found_by_their_names() -> None:
    lines = BODY.splitlines()
    moved = [",".join([*line.split(",")[::10], *line.split(",")[15:]]) for line in lines[1:5]]
    assert moved[0] == "Date,10Y,40Y"
    result = mof.parse(raw(encoded("\n".join(moved) + "\n")))
    assert [v.value for v in result if v.series == "jgb40"] == [3.98, 4.05]


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_it_fail_otherwise(body: bytes) -> None:
    with pytest.raises(Refused):
        mof.parse(raw(body))
