"""Whether a measured line holds its bars.

A bar stands in `wanted` ("≤ 0.6", "≥ 1: with a reason") and holds for the line's `ratio`. One on
memory stands in `wanted_mb`, the most that `peak_mb` may be. Lines without a bar are for reading.
"""

from __future__ import annotations

import re
from typing import Any

_BAR = re.compile(r"([≤≥]) ([\d.]+)")


def verdict(line: dict[str, Any]) -> dict[str, bool]:
    """`holds`: whether every bar of the line holds; nothing where it has none."""
    results = []
    bar = _BAR.match(str(line.get("wanted", "")))
    if bar and "ratio" in line:
        limit = float(bar[2])
        results.append(line["ratio"] <= limit if bar[1] == "≤" else line["ratio"] >= limit)
    if "wanted_mb" in line:
        results.append(line["peak_mb"] <= line["wanted_mb"])
    return {"holds": all(results)} if results else {}
