"""Cboe's VIX file, with figures of our own in its shape."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from chainwatch.collect.document import SchemaChanged
from chainwatch.disclosures.publishers import cboe
from tests.documents import fixture, raw


def test_closes_are_read_and_known_in_the_evening_of_new_york() -> None:
    result = cboe.parse(raw(fixture("cboe/VIX_History.csv")))
    assert [(v.series, v.as_of, v.value) for v in result] == [
        ("vix", date(2026, 9, 15), 15.5),
        ("vix", date(2026, 9, 16), 18.25),
    ]
    assert result[1].known_at == datetime(2026, 9, 17, 2, tzinfo=UTC)


def test_another_form_of_date_is_refused() -> None:
    body = fixture("cboe/VIX_History.csv").replace(b"09/15/2026", b"2026-09-15")
    with pytest.raises(SchemaChanged, match="%m/%d/%Y"):
        cboe.parse(raw(body))
