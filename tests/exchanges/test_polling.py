"""Coverage of a history that is documented as complete: a window counts where it shows life."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chainwatch.collect.registry import find
from chainwatch.exchanges.polling import uncovered
from chainwatch.tables.exchange import Coverage
from tests.exchanges.test_backfill import BEGIN, NOW, Reading, past
from tests.venues.client import Loopback
from tests.venues.discovery import ALL


def test_a_span_is_covered_once() -> None:
    def hours(*pairs: tuple[int, int]) -> list[tuple[datetime, datetime]]:
        return [(at(a), at(b)) for a, b in pairs]

    def at(hour: int) -> datetime:
        return datetime(2026, 2, 3, tzinfo=UTC) + timedelta(hours=hour)

    assert uncovered((at(0), at(9)), []) == hours((0, 9))
    assert uncovered((at(0), at(9)), hours((6, 7), (2, 4))) == hours((0, 2), (4, 6), (7, 9))
    assert uncovered((at(2), at(5)), hours((0, 3), (5, 8))) == hours((3, 5))
    assert uncovered((at(2), at(5)), hours((0, 8))) == []
    assert uncovered((at(2), at(5)), hours((0, 2), (5, 8))) == hours((2, 5))


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


@pytest.fixture
async def reading(server: Loopback, tmp_path: Path) -> Reading:
    reading = Reading(server, find("paradex-history"), tmp_path)
    await server.control("fault", "paradex")
    await server.control("rest", "paradex", history=past(20), statuses=[])
    return reading


def spans(reading: Reading) -> list[tuple[datetime, datetime]]:
    rows = reading.store.rows(Coverage, "source = 'paradex-history' ORDER BY from_time")
    assert {row.state for row in rows} <= {"up"}
    return [(row.from_time, row.to_time) for row in rows]


async def test_what_was_read_is_covered_and_adjoins(reading: Reading) -> None:
    """Read again, it is not covered twice."""
    assert (await reading.run()).failure is None
    youngest = NOW - timedelta(minutes=1)
    assert spans(reading) == [(BEGIN, youngest)]
    (row,) = reading.store.rows(Coverage)
    assert (row.sampling_class, row.rows, row.subscribed) == ("full", 20, 3)
    assert (await reading.run(NOW + timedelta(minutes=5), since=None)).failure is None
    adjoining = youngest + timedelta(minutes=5)
    assert spans(reading) == [(BEGIN, youngest), (youngest, adjoining)]
    earlier = BEGIN - timedelta(hours=1)
    assert (await reading.run(NOW + timedelta(minutes=5), since=earlier)).failure is None
    assert spans(reading) == [(earlier, BEGIN), (BEGIN, youngest), (youngest, adjoining)]
    assert len(reading.rows()) == 20


async def test_a_window_with_rejects_is_not_covered(server: Loopback, reading: Reading) -> None:
    """It is when it was read again."""
    await server.control("fault", "paradex", faults={"spoil_one": True})
    assert (await reading.run()).failure is not None
    assert spans(reading) == []
    await server.control("fault", "paradex")
    assert (await reading.run()).failure is None
    assert spans(reading) == [(BEGIN, NOW - timedelta(minutes=1))]


async def test_a_window_in_which_the_canary_is_quiet_is_not_covered(
    server: Loopback, reading: Reading
) -> None:
    """As one that is older than what the venue keeps."""
    await server.control("list", "paradex", symbols=["ETH-USD-PERP", "SOL-USD-PERP"])
    try:
        assert (await reading.run()).failure is None
        assert spans(reading) == []
        assert len(reading.rows()) == 20
    finally:
        await server.control("list", "paradex", symbols=list(ALL["paradex"].symbols))


async def test_an_interrupted_window_is_not_covered(server: Loopback, reading: Reading) -> None:
    await server.control("rest", "paradex", statuses=[200, 200, 403])
    assert (await reading.run()).failure is not None
    assert spans(reading) == []
