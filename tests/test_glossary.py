"""The glossary explains every name: tables, columns, queries, parameters and commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command

from chainwatch import cli
from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.tables.base import columns
from chainwatch.tables.registry import tables

GLOSSARY = Path(__file__).parent.parent / "docs" / "concepts" / "glossary.md"
# Words of the field that the project is built on: entry has an entry of its own.
FIELD = (
    "reserve", "position", "leg", "factor", "trigger price", "close factor", "liquidation bonus",
    "mid price", "bid depth", "heartbeat", "direction", "market impact", "landing price",
    "loop gain", "bad debt", "coverage", "gap", "snapshot",
)  # fmt: skip


@cache
def entries() -> tuple[tuple[str, str], ...]:
    """Each term of the glossary, as written, with the meaning of its row."""
    rows = []
    for line in GLOSSARY.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or len(cells) != 2 or cells[0] in ("Term", "Part", "---"):
            continue
        rows += [(term.strip(), cells[1]) for term in cells[0].split(",")]
    return tuple(rows)


def plain(term: str) -> str:
    """A term as a name would write it: `reserve (of a market)` is reserve."""
    return re.sub(r"\s*\(.*\)", "", term).strip("` ").lower().replace(" ", "_")


def forms(name: str) -> set[str]:
    """A name and its plurals."""
    plural = f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"
    return {name, plural, f"{name}es"}


@cache
def vocabulary() -> frozenset[str]:
    return frozenset(form for term, _ in entries() for form in forms(plain(term)))


def explained(name: str) -> bool:
    """Whether a name is terms in a row."""
    words = name.split("_")
    reached = {0}
    for end in range(1, len(words) + 1):
        if any("_".join(words[start:end]) in vocabulary() for start in reached):
            reached.add(end)
    return len(words) in reached


def stored_names() -> Iterator[tuple[str, str]]:
    """(name, where it stands) of every table and its columns."""
    for name, row in tables().items():
        yield name, "table"
        yield from ((column.name, f"column of {name}") for column in columns(row))


def command_names() -> Iterator[tuple[str, str]]:
    for name in get_command(cli.app).commands:  # type: ignore[attr-defined]
        yield name.replace("-", "_"), "command"


@pytest.fixture(scope="module")
def query_names(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """(name, where it stands) of every query, its parameters and the columns it returns."""
    store = Store(tmp_path_factory.mktemp("lake"))
    store.create()
    names = []
    with query.open_catalog(store) as catalog:
        for entry in query.load_all().values():
            names.append((entry.name, "query"))
            names += [
                (p.name.removeprefix("p_"), f"parameter of {entry.name}") for p in entry.params
            ]
            described = catalog.run(f"DESCRIBE FROM {entry.name}()").dicts()
            names += [(line["column_name"], f"column of query {entry.name}") for line in described]
    return names


def test_every_name_is_explained(query_names: list[tuple[str, str]]) -> None:
    names = [*stored_names(), *command_names(), *query_names]
    missing = sorted({f"{name} ({where})" for name, where in names if not explained(name)})
    assert not missing, f"docs/concepts/glossary.md does not explain {', '.join(missing)}"


def test_every_entry_has_one_meaning() -> None:
    """No term stands twice unless its field is named in brackets, and entry has a sentence."""
    terms = [term.lower() for term, _ in entries()]
    assert sorted({term for term in terms if terms.count(term) > 1}) == []
    assert [term for term, meaning in entries() if len(meaning.split()) < 3] == []


def test_every_name_in_code_is_used(query_names: list[tuple[str, str]]) -> None:
    """A name that was renamed leaves the glossary, too."""
    used = [name for name, _ in (*stored_names(), *command_names(), *query_names)]
    joined = f"_{'_'.join(used)}_"
    unused = [
        term
        for term, _ in entries()
        if term.startswith("`") and not any(f"_{f}_" in joined for f in forms(plain(term)))
    ]
    assert unused == []


@pytest.mark.parametrize("term", FIELD)
def test_the_words_of_the_field_have_entries(term: str) -> None:
    assert term.replace(" ", "_") in {plain(entry) for entry, _ in entries()}


@pytest.mark.parametrize(
    "name", ["way", "mid", "sold_on_the_way", "told_at", "canaries", "xyz_usd"]
)
def test_a_name_without_a_meaning_is_found(name: str) -> None:
    assert not explained(name)
