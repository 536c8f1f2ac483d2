"""The documentation site: built without a dead link, complete, and without network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import browser, shell
from tests.docs import pages
from tests.places import ROOT

# Words of prose and tables that a page has at the least, besides its generated parts.
FEWEST_WORDS = 20


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with --strict: a dead link or a page that is in no menu is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=shell.environment({"NO_MKDOCS_2_WARNING": "1"}),
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_the_menu() -> None:
    """Each page has one place in the navigation, and each entry a page."""
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    listed: list[str] = []

    def visit(entry: object) -> None:
        match entry:
            case str():
                listed.append(entry)
            case dict():
                for inner in entry.values():
                    visit(inner)
            case list():
                for inner in entry:
                    visit(inner)

    visit(yaml.safe_load(text)["nav"])
    written = [str(p.relative_to(pages.DOCS)) for p in pages.DOCS.rglob("*.md")]
    assert sorted(listed) == sorted(written)


@pytest.mark.parametrize(
    "page", sorted(pages.DOCS.rglob("*.md")), ids=lambda p: str(p.relative_to(pages.DOCS))
)
def test_a_page_has_a_title_and_content(page: Path) -> None:
    text = page.read_text("utf-8")
    assert re.match(r"# \S", text)
    assert not re.search(r"TODO|TBD|coming soon|lorem", text, re.IGNORECASE)
    assert re.search(r"<!-- generated", text) or len(re.findall(r"\w+", text)) > 100
    own = re.sub(r"<!-- (run|generated).*?<!-- end -->", "", text, flags=re.DOTALL)
    assert len(re.findall(r"[A-Za-z]{2,}", own)) >= FEWEST_WORDS
    for title, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE):
        assert body.strip(), f"the section {title!r} is empty"


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    """Scripts, styles, fonts and pictures are files of the site."""
    loads = re.compile(
        r"<(?:script|img|link|iframe)\b[^>]*?\b(?:src|href)=[\"']?(https?:[^\"'\s>]+)"
    )
    built = list(site.rglob("*.html"))
    assert len(built) > 30
    for page in built:
        assert loads.findall(page.read_text("utf-8")) == [], page.name


def test_a_browser_shows_a_page_with_its_menu_and_picture(site: Path) -> None:
    shown = browser.opened(site / "index.html")
    assert "Liquidation walls" in shown
    assert 'src="images/cascade.svg"' in shown
