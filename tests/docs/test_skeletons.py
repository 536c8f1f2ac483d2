"""A venue, a protocol, a publisher and a query are added as their pages say, and work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import shell
from tests.docs import skeletons

# The rules that hold for every source, on top of each skeleton's own tests.
RULES = (
    "tests/collect/test_sources.py",
    "tests/exchanges/test_eras.py",
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with the files of all four pages, and their reference rows."""
    folder = skeletons.copy_of_the_checkout(tmp_path_factory.mktemp("checkout"))
    for page in skeletons.NAMES:
        skeletons.build(page, folder)
    assert _run(folder, "-m", "tests.docs", "reference/sources") == ""
    return folder


def _run(folder: Path, *arguments: str) -> str:
    """What Python prints there; its output is the failure where it fails."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=shell.environment(
            {
                "PYTHONPATH": str(folder),
                "CHAINWATCH_TEST_LAKE": str(shell.recorded_demo()[0].parent),
                "CHAINWATCH_SHARED": os.environ.get("CHAINWATCH_SHARED", ""),
            }
        ),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.full
def test_every_skeleton_passes_its_tests_and_the_rules_of_sources(checkout: Path) -> None:
    own = [
        str(path.relative_to(checkout))
        for path in sorted((checkout / "tests").rglob("test_*.py"))
        if not (skeletons.ROOT / path.relative_to(checkout)).exists()
    ]
    assert len(own) == 5
    report = _run(checkout, "-m", "pytest", "-q", "-n", "0", *own, *RULES)
    assert "failed" not in report


@pytest.mark.full
def test_the_new_venue_bears_the_faults_of_all_venues(checkout: Path) -> None:
    """Its loopback protocol is discovered: lost, refused and broken feeds are tried on it."""
    faults = "tests/exchanges/test_other_venues.py"
    report = _run(checkout, "-m", "pytest", "-q", "-n", "0", faults, "-k", "example or exchange")
    assert "passed" in report


@pytest.mark.full
def test_every_skeleton_follows_the_style(checkout: Path) -> None:
    for check in (("check",), ("format", "--check")):
        _run(checkout, "-m", "ruff", *check, "-q", "chainwatch", "tests")


@pytest.mark.full
def test_the_new_sources_are_listed(checkout: Path) -> None:
    listed = _run(checkout, "-m", "chainwatch.cli", "sources", "--csv")
    for name in ("example", "example-lend", "example-vault-liquidations", "example-rate"):
        assert f"\n{name}," in listed


@pytest.mark.full
def test_the_new_query_and_mart_are_found(checkout: Path) -> None:
    text = "from chainwatch.nightly import marts; print([m.name for m in marts.load_marts()])"
    assert "debt_by_asset" in _run(checkout, "-c", text)


@pytest.mark.full
def test_the_new_query_is_described_wherever_it_is_shown(checkout: Path) -> None:
    """Terminal, JSON, schema and the site have unit and meaning of its columns from its header."""
    home = ("--home", str(shell.recorded_lake()))
    meaning = "accounts that owe it"
    table = _run(checkout, "-m", "chainwatch.cli", *home, "debts")
    assert "accounts" in table
    assert "debt USD" in table
    document = json.loads(_run(checkout, "-m", "chainwatch.cli", *home, "debts", "--json"))
    assert document["columns"]["accounts"] == {"unit": "count", "meaning": meaning}
    schema = _run(checkout, "-m", "chainwatch.cli", "schema", "debt_by_asset", "--csv")
    assert f"output,debt_by_asset,accounts,,count,{meaning}" in schema
    page = _run(
        checkout,
        "-c",
        "from tests.docs import reference; from chainwatch.lake import query; "
        "print(reference.query_part(query.find('debt_by_asset')))",
    )
    assert f"| `accounts` | BIGINT | count | {meaning} |" in page


@pytest.mark.full
def test_the_new_venue_reads_its_recorded_frames(checkout: Path) -> None:
    frames = "tests/fixtures/example/frames.jsonl"
    rows = _run(checkout, "-m", "chainwatch.cli", "replay", frames, "--dry-run", "--csv")
    assert rows.splitlines()[1].startswith("example,3,1,0,1")
