"""Coin Metrics' API, with figures of our own in its shape."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.collect.document import Refused, SchemaChanged
from chainwatch.collect.runner import raise_failures
from chainwatch.disclosures.publishers import coinmetrics
from chainwatch.errors import NetworkError
from chainwatch.lake.store import Store
from chainwatch.tables.disclosure import Document, IndicatorValue
from tests.documents import Publisher, fixture, gather, raw
from tests.evm.rpc_proxy import say

BODY = fixture("coinmetrics/mvrv.json").decode()


def test_a_ratio_is_known_from_when_its_day_was_complete() -> None:
    (result,) = coinmetrics.parse(raw(BODY))
    assert (result.series, result.as_of, result.value) == ("btc_mvrv", date(2026, 9, 14), 1.31)
    assert result.known_at == datetime.fromtimestamp(1789434300, UTC)
    assert result.published_basis == "source"


def test_without_that_time_its_usual_lag_counts() -> None:
    (result,) = coinmetrics.parse(
        raw(BODY.replace('"AssetEODCompletionTime":"1789434300"', '"x":1'))
    )
    assert (result.known_at, result.published_basis) == (
        datetime(2026, 9, 15, 12, tzinfo=UTC),
        "rule",
    )


async def test_the_next_page_is_asked_of_the_same_host(tmp_path: Path) -> None:
    store = Store(tmp_path)
    async with Publisher() as publisher:
        raise_failures(await gather(store, publisher.url, "coinmetrics"))
        assert [path.split("?")[0] for path in publisher.asked] == [coinmetrics.FOLDER] * 2
        assert publisher.asked[1].endswith("next_page_token=abc")
    assert [v.value for v in store.rows(IndicatorValue, "true ORDER BY as_of")] == [1.31, 0.985]
    assert {d.name for d in store.rows(Document)} == {"MVRV", "MVRV page 2"}


async def test_a_metric_that_is_not_free_says_so_in_the_status(tmp_path: Path) -> None:
    store = Store(tmp_path)
    async with Publisher() as publisher:
        publisher.instead[coinmetrics.FOLDER] = say('{"error":{"type":"forbidden"}}', 403)
        with pytest.raises(NetworkError, match="HTTP 403"):
            raise_failures(await gather(store, publisher.url, "coinmetrics"))
        assert len(publisher.asked) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"error": {"type": "wrong"}}', "no list `data`"),
        (BODY.replace('"CapMVRVCur"', '"CapMVRV"'), "CapMVRVCur"),
        (BODY.replace("1.31", "high"), "not a number"),
        (BODY.replace("1789434300", "1"), "AssetEODCompletionTime of 2026-09-14"),
        (BODY.replace("2026-09-14T", "14-09-2026T"), "not a day"),
    ],
)
def test_another_shape_is_refused(body: str, words: str) -> None:
    with pytest.raises(SchemaChanged, match=words):
        coinmetrics.parse(raw(body))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_it_fail_otherwise(body: bytes) -> None:
    with pytest.raises(Refused):
        coinmetrics.parse(raw(body))
