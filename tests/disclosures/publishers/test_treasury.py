"""The Treasury's yield feed, with figures of our own in its shape."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.collect.document import Refused, SchemaChanged
from chainwatch.disclosures.publishers import treasury
from tests.documents import fixture, raw

BODY = fixture("treasury/2026.xml").decode()


def test_an_empty_or_null_yield_is_none() -> None:
    values = {(v.series, v.as_of): v.value for v in treasury.parse(raw(BODY))}
    assert values == {
        ("dgs10", date(2026, 9, 15)): 4.41,
        ("dgs10", date(2026, 9, 16)): 4.47,
        ("dgs30", date(2026, 9, 15)): 5.01,
    }


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (BODY.replace("NEW_DATE", "DATE"), "no NEW_DATE"),
        (BODY.replace("BC_10YEAR", "BC_10_YEAR"), "no BC_10YEAR"),
        (BODY.replace("4.47", "n.a."), "not a number"),
        (BODY[:-20], "not XML"),
        ("<!DOCTYPE feed [<!ENTITY a 'b'>]>" + BODY.split("?>")[1], "document type"),
        ("<html><body>Access denied</body></html>", "HTML page"),
    ],
)
def test_another_shape_is_refused(body: str, words: str) -> None:
    with pytest.raises(SchemaChanged, match=words):
        treasury.parse(raw(body))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_it_fail_otherwise(body: bytes) -> None:
    with pytest.raises(Refused):
        treasury.parse(raw(body))
