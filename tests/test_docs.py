"""The documentation: every recipe answers, every page is what is true today."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from chainwatch.lake import query
from chainwatch.lake.store import Store
from tests import docs, shell

COOKBOOK = (docs.FOLDER / "cookbook.md").read_text("utf-8")
RECIPES = re.findall(r"^## (.*?)\n```sql\n(.*?)```", COOKBOOK, re.MULTILINE | re.DOTALL)
# The ways of the demo's accounts leave these without an answer.
MAY_BE_EMPTY = {"Which wall is one account alone?"}


def test_the_cookbook_has_a_question_for_each_block() -> None:
    assert len(RECIPES) >= 15
    assert (
        len(RECIPES) == COOKBOOK.count("```sql") == len(re.findall("^## ", COOKBOOK, re.MULTILINE))
    )


@pytest.mark.parametrize(("question", "text"), RECIPES, ids=[q for q, _ in RECIPES])
def test_a_recipe_answers_its_question(question: str, text: str) -> None:
    with query.open_catalog(Store(shell.recorded_lake())) as catalog:
        found = catalog.run(text)
    assert found.columns
    assert found.rows or question in MAY_BE_EMPTY
    assert all(any(value is not None for value in row) for row in found.rows)


def test_the_schema_page_is_what_the_tables_say_today() -> None:
    assert docs.SCHEMA.read_text("utf-8") == docs.schema_page(), "run `make docs`"


def test_the_notebook_runs_from_its_first_cell_to_its_last() -> None:
    cells = json.loads((docs.FOLDER / "notebook.ipynb").read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 3
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        capture_output=True,
        text=True,
        env=os.environ | {"CHAINWATCH_HOME": str(shell.recorded_lake())},
    )
    assert done.returncode == 0, done.stderr
