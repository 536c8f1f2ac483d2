"""FRED's CSV files, with figures of our own in their shape."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.collect.document import Refused, SchemaChanged
from chainwatch.disclosures.publishers import fred
from chainwatch.lake.query import load_all
from chainwatch.lake.store import Store
from chainwatch.tables.disclosure import IndicatorValue
from tests.documents import Publisher, fixture, gather, raw

SOFR = fixture("fred/SOFR.csv").decode()


def test_holidays_are_no_values_whether_empty_or_a_full_stop() -> None:
    result = fred.parse(raw(SOFR), "sofr")
    assert [(v.as_of, v.value) for v in result] == [
        (date(2026, 9, 10), 3.60),
        (date(2026, 9, 11), 3.62),
        (date(2026, 9, 16), 3.71),
    ]


def test_the_older_header_is_read_too() -> None:
    assert len(fred.parse(raw(fixture("fred/IOER.csv")), "ioer")) == 3


def test_a_value_is_known_when_the_next_one_could_have_been() -> None:
    result = fred.parse(raw(SOFR), "sofr")
    assert [v.known_at for v in result] == [
        datetime(2026, 9, 11, 13, tzinfo=UTC),
        datetime(2026, 9, 16, 13, tzinfo=UTC),  # two holidays between
        datetime(2026, 9, 17, 13, tzinfo=UTC),  # the last one: the next weekday
    ]
    assert {v.published_basis for v in result} == {"rule"}


@pytest.mark.parametrize(
    ("series", "as_of", "known_at"),
    [
        ("iorb", "2026-09-16", datetime(2026, 9, 16, 21, tzinfo=UTC)),
        ("mortgage30", "2026-09-17", datetime(2026, 9, 17, 17, tzinfo=UTC)),
        ("bank_reserves", "2026-09-16", datetime(2026, 9, 17, 21, 30, tzinfo=UTC)),
        ("dollar_broad", "2026-09-14", datetime(2026, 9, 22, 21, 15, tzinfo=UTC)),  # a Monday
        ("dollar_broad", "2026-09-18", datetime(2026, 9, 22, 21, 15, tzinfo=UTC)),  # its Friday
        ("dgs10", "2026-09-18", datetime(2026, 9, 21, 21, 15, tzinfo=UTC)),  # over a weekend
    ],
)
def test_each_series_has_its_usual_lag(series: str, as_of: str, known_at: datetime) -> None:
    body = f"observation_date,{fred.SERIES[series].code}\n{as_of},1.5\n"
    (result,) = fred.parse(raw(body), series)
    assert result.known_at == known_at


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (SOFR.replace("SOFR", "IORB"), "columns are observation_date,IORB"),
        (SOFR.replace("3.71", "3.7l"), "not a number"),
        (SOFR.replace("2026-09-16", "16 Sep"), "not a day"),
        (SOFR.replace("2026-09-16", "2026-09-11"), "two values"),
        ("<!DOCTYPE html>\n<html>Invalid series\n", "HTML page"),
    ],
)
def test_another_shape_is_refused(body: str, words: str) -> None:
    with pytest.raises(SchemaChanged, match=words):
        fred.parse(raw(body), "sofr")


def test_the_same_value_twice_is_one() -> None:
    assert len(fred.parse(raw(SOFR + "2026-09-16,3.71\n"), "sofr")) == 3


@given(st.text(max_size=100))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    try:
        fred.parse(raw(f"observation_date,SOFR\n{text}\n"), "sofr")
    except Refused:
        return


def test_every_series_stands_in_the_list_of_indicators() -> None:
    listed = load_all()["series"].text
    for name in fred.SERIES:
        assert f"('{name}'" in listed


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    async with Publisher() as running:
        yield running


async def test_one_series_is_asked_for_by_its_name(tmp_path: Path, publisher: Publisher) -> None:
    store = Store(tmp_path)
    (outcome,) = await gather(store, publisher.url, "fred", only="ioer")
    assert outcome.failure is None
    assert publisher.asked == ["/graph/fredgraph.csv?id=IOER"]
    assert "github.com" in publisher.headers[0]["User-Agent"]
    assert len(store.rows(IndicatorValue)) == 3


def test_an_announced_rate_may_lie_some_days_ahead() -> None:
    assert fred.SERIES["iorb"].days_ahead == 7
    assert fred.SERIES["sofr"].days_ahead == 1
