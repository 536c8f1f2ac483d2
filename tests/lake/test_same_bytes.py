"""The same question to the same lake has the same bytes as its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import synthetic
from chainwatch.lake import query
from chainwatch.lake.store import Store

# Enough balances that threads would share them: a thread takes some 120,000 rows at a time.
ACCOUNTS = 150_000
CALLS: dict[str, dict[str, Any]] = {
    "walls": {"p_factor": "ETH"},
    "health": {},
    "mart_totals": {},
    "accounts": {},
    "nearest": {"p_factor": "ETH"},
}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return synthetic.build(tmp_path_factory.mktemp("large") / "home", ACCOUNTS)


@pytest.mark.full
@pytest.mark.parametrize("name", CALLS)
def test_repeated_questions_have_the_same_answer_to_the_last_bit(large: Store, name: str) -> None:
    answers = set()
    for _ in range(3):
        with query.open_catalog(large) as catalog:
            answers.add(repr(query.run(catalog, query.find(name), CALLS[name]).rows))
    assert len(answers) == 1


def test_one_thread_adds_whatever_the_machine_has(empty_lake: Store, tmp_path: Path) -> None:
    """In the catalog, and in the copy of some snapshots."""
    with query.open_catalog(empty_lake) as catalog:
        assert catalog.run("SELECT current_setting('threads')").rows == [(1,)]
    with empty_lake.frozen(query.definitions(), tmp_path / "work.duckdb", complete=[]) as catalog:
        assert catalog.run("SELECT current_setting('threads')").rows == [(1,)]
