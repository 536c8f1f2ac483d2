"""Series from a CSV file of the user's."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.collect.document import Refused, SchemaChanged
from chainwatch.collect.runner import raise_failures
from chainwatch.disclosures.publishers.import_file import parse
from chainwatch.errors import UsageError
from chainwatch.lake.store import Store
from chainwatch.numbers import COMMA
from chainwatch.tables.disclosure import IndicatorValue
from chainwatch.tables.exchange import Candle
from tests.documents import FIXTURES, fixture, gather, load, raw


def test_days_and_closes_are_found_by_their_names() -> None:
    result = parse(raw(fixture("import_file/gold.csv")), "gold")
    assert [(v.as_of, v.value) for v in result if isinstance(v, IndicatorValue)] == [
        (date(2026, 9, 15), 4100.5),
        (date(2026, 9, 16), 4055.25),
    ]


def test_a_value_counts_from_the_end_of_its_day() -> None:
    """A value counts from the end of its day unless the file says when it was published."""
    body = "date,value,published\n2026-09-15,1,\n2026-09-16,2,2026-09-18T10:00+02:00\n"
    first, second = parse(raw(body), "mags")
    assert isinstance(first, IndicatorValue)
    assert isinstance(second, IndicatorValue)
    assert (first.known_at, first.published_basis) == (datetime(2026, 9, 16, tzinfo=UTC), "rule")
    assert second.known_at == datetime(2026, 9, 18, 8, tzinfo=UTC)
    assert second.published_basis == "source"


def test_hours_become_candles_of_the_asset() -> None:
    result = parse(raw(fixture("import_file/btc_hours.csv")), "btc")
    assert [(c.interval, c.close) for c in result if isinstance(c, Candle)] == [
        ("1h", 89500),
        ("1h", 87900),
    ]


def test_a_candle_that_is_not_closed_yet_is_left_out() -> None:
    body = "date,open,high,low,close\n2026-09-19,1,2,1,2\n2026-09-20,1,2,1,2\n"
    (result,) = parse(raw(body), "btc")
    assert isinstance(result, Candle)
    assert result.time == datetime(2026, 9, 19, tzinfo=UTC)
    assert result.volume is None


@pytest.mark.parametrize(
    ("series", "body", "words"),
    [
        ("gold", "day,value\n2026-09-15,1\n", "no column `date`"),
        ("gold", "date,price\n2026-09-15,1\n", "neither a column `value` nor `close`"),
        ("gold", "date,value\n15.09.2026,1\n", "not a day written YYYY-MM-DD"),
        ("gold", "date,value\n2026-09-15,1,2\n", "3 fields, the header 2"),
        ("gold", "date,value\n2026-09-15,one\n", "not a number"),
        ("gold", "date,value\n2026-09-15,1\n2026-09-15,2\n", "two values"),
        ("gold", "date,value,published\n2026-09-15,1,soon\n", "published is 'soon'"),
        ("btc", "date,close\n2026-09-15,1\n", "candles need columns"),
        ("btc", "date,open,high,low,close\n2026-09-15,5,4,3,4\n", "not low ≤ prices ≤ high"),
        ("btc", "date,open,high,low,close\n2026-09-15,0,0,0,0\n", "not low ≤ prices ≤ high"),
        (
            "btc",
            "date,time,open,high,low,close\n2026-09-15,00:00,1,1,1,1\n2026-09-15,00:30,1,1,1,1\n",
            "only whole hours",
        ),
        ("btc", "date,time,open,high,low,close\n2026-09-15,noon,1,1,1,1\n", "no time as HH:MM"),
        (
            "btc",
            "date,open,high,low,close\n2026-09-15,1,1,1,1\n2026-09-15,1,2,1,1\n",
            "has two candles",
        ),
    ],
)
def test_another_shape_is_refused(series: str, body: str, words: str) -> None:
    with pytest.raises(SchemaChanged, match=words):
        parse(raw(body), series)


@pytest.mark.parametrize("text", ["1_000", " 12 ", "１２", '"1,2,3"', '"3,87"', "1e40", "inf"])
def test_a_number_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(SchemaChanged, match="number"):
        parse(raw(f"date,value\n2026-09-15,{text}\n"), "gold")


@pytest.mark.parametrize(
    "body", ["date;value\n2026-09-15;3,87\n", 'date,value\n2026-09-15,"3,87"\n']
)
def test_a_file_may_declare_decimal_commas(body: str) -> None:
    (result,) = parse(raw(body), "gold", COMMA)
    assert isinstance(result, IndicatorValue)
    assert result.value == 3.87
    with pytest.raises(SchemaChanged):
        parse(raw(body.replace(",", ".")), "gold", COMMA)


@pytest.mark.parametrize(
    "published", ["0001-01-01T00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-10-01", "2008-12-31"]
)
def test_a_time_of_publication_that_cannot_be_is_refused(published: str) -> None:
    with pytest.raises(SchemaChanged, match="published is"):
        parse(raw(f"date,value,published\n2026-09-15,1,{published}\n"), "mags")


@given(st.text(max_size=100), st.sampled_from(["gold", "btc"]))
def test_no_text_makes_it_fail_otherwise(text: str, series: str) -> None:
    try:
        parse(raw(f"date,open,high,low,close\n{text}\n"), series)
    except Refused:
        return


async def test_one_file_may_stand_for_two_series(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = str(FIXTURES / "import_file/gold.csv")
    for series in ("gold", "silver", "gold"):
        raise_failures(await gather(store, "", "import", file=path, series=series))
    assert len(store.rows(IndicatorValue)) == 4


def test_an_import_needs_a_series(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs --series"):
        load(Store(tmp_path), "import", file=str(FIXTURES / "import_file/gold.csv"))
