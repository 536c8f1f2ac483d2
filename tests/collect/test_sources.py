"""Every source has a summary, documentation, tables with keys, a test and a reference row."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import chainwatch
from chainwatch.chain.markets import markets_of
from chainwatch.collect.registry import discover, find
from chainwatch.collect.source import Source
from chainwatch.errors import UsageError
from chainwatch.settings import Settings
from chainwatch.tables.base import columns
from chainwatch.tables.disclosure import Document
from chainwatch.tables.lending import Snapshot
from chainwatch.tables.registry import tables

ROOT = Path(chainwatch.__file__).parent.parent
SOURCES = list(discover().values())


def named(source: Source) -> str:
    return source.name


def stem_of(source: Source) -> str:
    """What a source's file is called; for a protocol, its folder."""
    parts = source.module.split(".")
    return parts[-2] if parts[-1] == "reader" else parts[-1]


def test_every_file_in_the_folders_is_at_least_one_source() -> None:
    package = ROOT / "chainwatch"
    files = {
        path
        for folder in ("exchanges/venues", "exchanges/market_data", "disclosures/publishers")
        for path in (package / folder).glob("*.py")
        if path.stem != "__init__"
    } | set(package.glob("lending/protocols/*/reader.py"))
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files}
    assert modules == {s.module for s in SOURCES}
    assert [s.name for s in SOURCES] == sorted(s.name for s in SOURCES)


@pytest.mark.parametrize("source", SOURCES, ids=named)
def test_a_source_says_what_it_reads_and_where_that_is_documented(source: Source) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", source.name)
    assert re.fullmatch(r"[A-Z].{10,110}\.", source.summary), source.summary
    assert re.fullmatch(r"https://[a-z0-9.-]+/\S*", source.docs), source.docs
    assert source.mode in ("poll", "stream", "file")


@pytest.mark.parametrize("source", SOURCES, ids=named)
def test_a_source_gives_batches_for_a_feed(source: Source) -> None:
    """It has no clock of its own."""
    assert not inspect.iscoroutinefunction(source.run), (
        "expected an async generator, got a coroutine function"
    )
    assert "AsyncIterator[Batch]" in str(inspect.signature(source.run).return_annotation)
    assert list(inspect.signature(source.run).parameters) == ["feed"]
    text = inspect.getsource(inspect.getmodule(source.run))
    for clock in ("\nimport time", "datetime.now", "sleep("):
        assert clock not in text, f"{source.module} has a clock of its own: {clock}"


@pytest.mark.parametrize("source", SOURCES, ids=named)
def test_a_source_writes_tables_that_have_keys_and_meanings(source: Source) -> None:
    assert source.tables
    for row in source.tables:
        assert tables()[row.table] is row
        assert row.key, f"{row.table} has no key"
        assert set(row.key) <= set(row.__struct_fields__), row.table
        assert (row.__doc__ or "").strip(), f"{row.table} has no docstring"
        for column in columns(row):
            assert column.meaning, f"{row.table}.{column.name} has no meaning"


@pytest.mark.parametrize("source", SOURCES, ids=named)
def test_a_source_has_a_test_file(source: Source) -> None:
    stem = stem_of(source)
    assert list((ROOT / "tests").rglob(f"test_{stem}*.py")), f"test_{stem}.py is missing"


@pytest.mark.parametrize("source", [s for s in SOURCES if Document in s.tables], ids=named)
def test_a_source_of_documents_has_fixtures_or_ships_what_it_reads(source: Source) -> None:
    stem = stem_of(source)
    shipped = (ROOT / "chainwatch" / "disclosures" / stem).is_dir()
    assert shipped or any((ROOT / "tests" / "fixtures" / stem).iterdir())


@pytest.mark.parametrize("source", SOURCES, ids=named)
def test_a_source_has_a_row_in_the_reference(source: Source) -> None:
    text = (ROOT / "docs" / "reference" / "sources.md").read_text("utf-8")
    assert f"| `{source.name}` |" in text, "run `make docs`"


@pytest.mark.parametrize("source", [s for s in SOURCES if s.protocol], ids=named)
def test_a_protocol_has_a_market_and_its_snapshots_can_be_verified(source: Source) -> None:
    assert markets_of(Settings(environ={}), source.protocol)
    assert (source.verify is not None) == (Snapshot in source.tables)


def test_an_unknown_source_gets_a_suggestion() -> None:
    """And the command that lists all."""
    with pytest.raises(UsageError, match=r"'aave-3'; did you mean aave-v3\? `chainwatch sources`"):
        find("aave-3")
    with pytest.raises(UsageError, match=r"'xyz'; `chainwatch sources` lists them"):
        find("xyz")
