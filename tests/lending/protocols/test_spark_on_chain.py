"""The source of Spark against real bytecode of Aave v3.0: every figure equal to the chain's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chainwatch.demo import accounts
from chainwatch.demo.aave import AaveMarket
from tests.builders import refusal, same_positions, walls_hold
from tests.evm.aave_lakes import Lake, answers, borrower, holds

pytestmark = pytest.mark.contracts("published")

DAY = 86_400
Lakes = Callable[..., Lake]


@pytest.fixture
def lake(tmp_path: Path) -> Lakes:
    """Makes a lake beside a market, each in a folder of its own."""
    count = iter(range(100))

    def make(market: Any, source: str) -> Lake:
        return Lake(tmp_path / f"home{next(count)}", market, source)

    return make


@pytest.mark.full
def test_accounts_on_spark_equal_the_chain(aave_market: AaveMarket, lake: Lakes) -> None:
    """At first, after a fall, after liquidations, and a month later."""
    made = accounts.populate(aave_market, 210, 3)
    watched = lake(aave_market, "spark")
    snapshot = watched.collect()
    assert (snapshot.protocol, snapshot.profile, snapshot.quote) == ("spark", "3.0", "USD")
    rows = holds(watched, snapshot)
    assert set(made) < set(rows)
    assert any(row.emode for row in rows.values())
    accounts.crash(aave_market, 0.5)
    fallen = holds(watched, watched.collect())
    assert sum(row.liquidatable is True for row in fallen.values()) > 80
    accounts.liquidate(aave_market, made, Random(3), 60)
    snapshot = watched.collect()
    assert 0 < snapshot.accounts_read < len(rows)
    holds(watched, snapshot)
    aave_market.chain.increase_time(30 * DAY)
    rows = holds(watched, watched.collect())
    assert walls_hold(watched) > 100
    result, mismatches = watched.verify()
    assert (result.checked, result.mismatched, mismatches) == (len(rows), 0, [])
    # The same pool read as Aave v3 gives the same rows.
    other = lake(aave_market, "aave-v3")
    other.collect()
    same_positions(watched, other)


@pytest.mark.full
@pytest.mark.parametrize("revision", [4, 9, 99])
def test_another_revision_of_spark_is_refused_even_if_aave_has_it(
    aave_market: AaveMarket, lake: Lakes, revision: int
) -> None:
    borrower(aave_market)
    watched = lake(aave_market, "spark")
    first = watched.collect()
    aave_market.chain.set_code(aave_market.pool, answers(revision))
    text = refusal(watched)
    assert f", got {revision} at block" in text
    assert "expected a pool revision of 1, 2, 3, got" in text
    assert watched.snapshot() == first
