"""What is printed of a benchmark: whether its bars hold, and its row on the page."""

from __future__ import annotations

from typing import Any

import pytest

from bench import __main__ as benchmarks
from bench import bars, page
from tests.places import ROOT

MEASURED: dict[str, Any] = {
    "benchmark": "walls",
    "unit": "seconds",
    "ours": 1.5,
    "alternative": 3_000.0,
    "ratio": 0.5,
    "peak_mb": 200,
}


@pytest.mark.parametrize(
    ("bar", "expected"),
    [
        ({}, {}),
        ({"wanted": "printed"}, {}),
        ({"wanted": "≤ 0.5"}, {"holds": True}),
        ({"wanted": "≤ 0.49: of the rows"}, {"holds": False}),
        ({"wanted": "≥ 0.5"}, {"holds": True}),
        ({"wanted": "≥ 1"}, {"holds": False}),
        ({"wanted_mb": 200}, {"holds": True}),
        ({"wanted": "≤ 1", "wanted_mb": 199}, {"holds": False}),
    ],
)
def test_bars(bar: dict[str, Any], expected: dict[str, bool]) -> None:
    assert bars.verdict(MEASURED | bar) == expected


def test_row() -> None:
    line = MEASURED | {"wanted": "≤ 0.4", "wanted_mb": 100, "alternative_peak_mb": 4_000}
    assert page.table([line]).splitlines()[-1] == (
        "| walls | 1.5 seconds | 3,000.0 | 0.5 | ≤ 0.4, ≤ 100 MB | **no** | 200 against 4,000 |"
    )


def test_names() -> None:
    """`make bench` runs each module that has a `run`."""
    modules = {p.stem for p in (ROOT / "bench").glob("*.py") if "def run(" in p.read_text("utf-8")}
    assert modules - {"scale"} == set(benchmarks.NAMES)
