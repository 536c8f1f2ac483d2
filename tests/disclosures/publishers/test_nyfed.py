"""The New York Fed's rates, with figures of our own in their shape."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.collect.document import Refused, SchemaChanged
from chainwatch.disclosures.publishers import nyfed
from tests.documents import fixture, raw

BODY = fixture("nyfed/sofr.json").decode()


def test_sofr_is_read_by_day_and_averages_are_skipped() -> None:
    """SOFR is read in the order of days, and its averages are skipped."""
    result = nyfed.parse(raw(BODY))
    assert [(v.as_of, v.value) for v in result] == [
        (date(2026, 9, 15), 3.66),
        (date(2026, 9, 16), 3.71),
    ]
    assert result[0].known_at == datetime(2026, 9, 16, 13, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{}", "no list `refRates`"),
        ('{"refRates": [1]}', "effectiveDate"),
        (BODY.replace('"effectiveDate"', '"date"'), "effectiveDate"),
        (BODY.replace("3.71", '"high"'), "not a number"),
        (BODY.replace("2026-09-16", "2026-09-15"), "two values"),
    ],
)
def test_another_shape_is_refused(body: str, words: str) -> None:
    with pytest.raises(SchemaChanged, match=words):
        nyfed.parse(raw(body))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_it_fail_otherwise(body: bytes) -> None:
    with pytest.raises(Refused):
        nyfed.parse(raw(body))
