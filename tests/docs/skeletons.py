"""The skeletons of the pages "Add a …": files that a page shows, put into a copy of the checkout.

A code block with `title="PATH"` is a file, one with `title="PATH (append)"` the end of a file, and
one with `title="PATH (after 'LINE')"` stands after that line of a file.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.docs.pages import DOCS
from tests.places import ROOT

NAMES = ("add-venue", "add-protocol", "add-publisher", "add-query")
COPIED = ("chainwatch", "queries", "abis", "tests", "docs", "scripts", "bench")
FILES = ("pyproject.toml", "README.md", "CONTRIBUTING.md", "mkdocs.yml")
_BLOCK = re.compile(
    r'^```\w+ title="(?P<path>[^" ]+)(?: \((?P<how>append|after \'(?P<line>[^\']+)\')\))?"\n'
    r"(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


def copy_of_the_checkout(folder: Path) -> Path:
    """The checkout without what is not part of it, in a folder of its own."""
    for name in COPIED:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    return folder


def build(page: str, checkout: Path) -> list[Path]:
    """Put the files that a page shows into a checkout; returns the new ones."""
    made = []
    for block in _BLOCK.finditer((DOCS / "development" / f"{page}.md").read_text("utf-8")):
        path = checkout / block["path"]
        if block["how"] is None:
            assert not path.exists(), f"{page} shows {block['path']}, which is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block["text"], encoding="utf-8")
            made.append(path)
        elif block["how"] == "append":
            apart = "\n\n" if path.suffix == ".py" else ""  # the formatter takes it from the page
            path.write_text(path.read_text("utf-8") + apart + block["text"], encoding="utf-8")
        else:
            head, line, tail = path.read_text("utf-8").partition(block["line"] + "\n")
            assert line, f"{block['path']} has no line that ends in {block['line']!r}"
            path.write_text(head + line + block["text"] + tail, encoding="utf-8")
    assert made, f"{page} shows no file"
    return made
