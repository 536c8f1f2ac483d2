"""README and every page show what the commands print and what the program says of itself today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs import examples, pages, reference
from tests.places import ROOT

PAGES = pages.pages()


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.full
@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_page_shows_what_commands_print_today(page: Path) -> None:
    written = page.read_text("utf-8")
    assert written == pages.filled(written, compare=True), "run `make docs`"


def test_every_example_is_of_a_command() -> None:
    """And every command has one, here or in its help."""
    every = reference.command_examples()
    assert examples.EXAMPLES.keys() <= every.keys()
    for name, written in every.items():
        assert written.partition(": ")[2].startswith(name.removesuffix(" show")), name


def test_the_readme_is_short() -> None:
    """At most 180 lines and 12 KB, and no output of more than twelve lines."""
    text = pages.README.read_text("utf-8")
    assert len(text.splitlines()) <= 180
    assert len(text.encode()) <= 12 * 1024
    for output in re.findall(r"```console\n\$ .*?\n(.*?)```", text, re.DOTALL):
        assert len(output.splitlines()) <= 12


def test_links_of_the_readme_lead_to_files() -> None:
    for page in (pages.README, ROOT / "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (ROOT / link).is_file(), f"{page.name}: {link}"


def test_pictures_are_small() -> None:
    for picture in (pages.DOCS / "images").iterdir():
        assert picture.stat().st_size < 1 << 20, picture.name
