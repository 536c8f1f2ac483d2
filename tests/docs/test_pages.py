"""The pages: recipes answer, the notebook runs, the picture and the diagram are of today."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.tables.registry import tables
from tests import shell
from tests.docs import outputs, pages, reference

GUIDES = pages.DOCS / "guides"
COOKBOOK = (GUIDES / "cookbook.md").read_text("utf-8")
RECIPES = re.findall(r"^## (.*?)\n```sql\n(.*?)```", COOKBOOK, re.MULTILINE | re.DOTALL)
# The ways of the demo's accounts leave these without an answer.
MAY_BE_EMPTY = {"Which wall is one account alone?"}


def test_the_cookbook_has_a_question_for_each_block() -> None:
    assert len(RECIPES) >= 15
    assert (
        len(RECIPES) == COOKBOOK.count("```sql") == len(re.findall("^## ", COOKBOOK, re.MULTILINE))
    )


@pytest.mark.full
@pytest.mark.parametrize(("question", "text"), RECIPES, ids=[q for q, _ in RECIPES])
def test_a_recipe_answers_its_question(question: str, text: str) -> None:
    with query.open_catalog(Store(shell.recorded_lake())) as catalog:
        result = catalog.run(text)
    assert result.columns
    assert result.rows or question in MAY_BE_EMPTY
    assert all(any(value is not None for value in row) for row in result.rows)


def test_the_schema_pages_have_every_table_and_query() -> None:
    text = "".join(p.read_text("utf-8") for p in (pages.DOCS / "reference").glob("*.md"))
    for name in (*tables(), *query.load_all()):
        assert re.search(rf"^###? {name}$", text, re.MULTILINE), f"{name} is on no page"


def test_the_chart_is_what_the_command_draws_today() -> None:
    drawn = outputs.chart()
    assert (pages.DOCS / "images" / "cascade.svg").read_text("utf-8") == drawn, "run `make docs`"


def test_the_diagram_has_every_layer() -> None:
    text = (pages.DOCS / "images" / "layers.svg").read_text("utf-8")
    for row in reference.architecture_script().layers():
        for name in row:
            assert f">{name}</text>" in text, f"{name} is missing: run `make docs`"


def test_the_notebook_runs_from_its_first_cell_to_its_last() -> None:
    cells = json.loads((GUIDES / "notebook.ipynb").read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 3
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        capture_output=True,
        text=True,
        env=os.environ | {"CHAINWATCH_HOME": str(shell.recorded_lake())},
    )
    assert done.returncode == 0, done.stderr
