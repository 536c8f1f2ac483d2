"""Names say what a value is: the words that do not are kept out, and test names stay short."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import ROOT

FORBIDDEN = frozenset(
    {
        "found",
        "known",
        "one",
        "chosen",
        "each",
        "told",
        "said",
        "of",
        "its",
        "whole",
        "judged",
        "compared",
        "seen",
        "taken",
        "gathered",
        "blame",
        "hear",
        "heard",
        "story",
        "asked",
        "way",
        "middle",
        "whose",
        "Taken",
        "Nowhere",
        "Nobody",
    }
)
LONGEST_TEST_NAME = 60
FILES = [
    path for folder in ("chainwatch", "tests", "bench") for path in (ROOT / folder).rglob("*.py")
]


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that a module gives: variables, parameters, functions and classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_say_what_a_value_is(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    wrong = [f"line {line}: {name}" for line, name in names(tree) if name.strip("_") in FORBIDDEN]
    assert not wrong, wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_test_name_is_short(path: Path) -> None:
    """A longer sentence is the test's docstring."""
    tree = ast.parse(path.read_text("utf-8"))
    long = [
        name
        for _, name in names(tree)
        if name.startswith("test_") and len(name) > len("test_") + LONGEST_TEST_NAME
    ]
    assert not long, long
