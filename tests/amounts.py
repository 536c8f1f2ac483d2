"""How much a test tries: few examples on every change, all of them in `make test-all`.

`make test` runs with the amounts "quick", `make test-all` with "full" and `make torture` with
"torture". A test that takes its size from `sample_size` carries the marker `sampled`: both of the
first two runs execute it.
"""

from __future__ import annotations

QUICK, FULL, TORTURE = LEVELS = ("quick", "full", "torture")

_level = QUICK


def use(level: str) -> None:
    """Set the amounts of this process; before the test modules are imported."""
    global _level
    if level not in LEVELS:
        raise ValueError(f"expected one of {', '.join(LEVELS)}, got {level!r}")
    _level = level


def level() -> str:
    return _level


def sample_size(*, quick: int, full: int, torture: int | None = None) -> int:
    """The number for the run that is under way; `torture` defaults to `full`."""
    return {QUICK: quick, FULL: full, TORTURE: full if torture is None else torture}[_level]
