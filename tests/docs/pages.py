"""The pages: README.md and every Markdown file in docs/, with their generated parts.

<!-- run OPTION…: COMMAND ;; COMMAND -->    what commands print, see outputs.Marker
<!-- generated NAME -->                     what the program says of itself, see reference.PARTS
…
<!-- end -->

A marker stands at the beginning of a line. The help that ships with the program is made here, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from chainwatch import entry
from tests import shell
from tests.docs import outputs, reference
from tests.docs.outputs import Marker
from tests.places import ROOT

DOCS = ROOT / "docs"
README = ROOT / "README.md"
HELP = ROOT / "chainwatch" / "help"
_PART = re.compile(
    r"^(<!-- (?:run(?P<options>[^:\n]*): (?P<commands>[^\n]*?)|generated (?P<name>[\w-]+)) -->\n)"
    r"(?P<old>.*?)(<!-- end -->)",
    re.DOTALL | re.MULTILINE,
)


def pages() -> list[Path]:
    """Every page, the README first."""
    return [README, *sorted(DOCS.rglob("*.md"))]


def filled(text: str, *, compare: bool = False) -> str:
    """The page with every generated part made anew.

    With `compare` a part whose output varies from run to run stays as it is: its commands are run,
    and their exit codes checked.
    """

    def fill(match: re.Match[str]) -> str:
        if match["name"]:
            loose = compare and match["name"] in reference.VARIES
            new = match["old"].removesuffix("\n") if loose else reference.PARTS[match["name"]]()
            if compare and match["name"] == "commands":
                new = reference.with_old_varying(new, match["old"])
        else:
            marker = Marker.read(match["options"], match["commands"])
            new = outputs.block(marker)
            if compare and "loose" in marker.options:
                new = match["old"].removesuffix("\n")
        return f"{match[1]}{new}\n{match[6]}"

    return _PART.sub(fill, text)


def help_text(columns: int) -> str:
    """What the command line itself prints at this width."""
    return shell.run("--help", env={"COLUMNS": str(columns)}).out


def write(names: Iterable[str] = ()) -> None:
    """Fill the pages whose path holds one of the names; all pages without names.

    `images` are the pictures, `help` is the help that ships with the program.
    """
    wanted = list(names)
    if not wanted or "help" in wanted:
        for columns in entry.WIDTHS:
            (HELP / f"{columns}.txt").write_text(help_text(columns), encoding="utf-8")
    if not wanted or "images" in wanted:
        images = DOCS / "images"
        (images / "cascade.svg").write_text(outputs.chart(), encoding="utf-8")
        diagram = reference.architecture_script().diagram()
        (images / "layers.svg").write_text(diagram, encoding="utf-8")
    for page in pages():
        if not wanted or any(name in str(page.relative_to(ROOT)) for name in wanted):
            text = page.read_text("utf-8")
            page.write_text(filled(text), encoding="utf-8")
