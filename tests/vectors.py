"""The reference vectors, read from the folder CHAINWATCH_SHARED (never copied in here)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

# Absolute: the commands that are given its files run in another folder.
SHARED = Path(os.environ.get("CHAINWATCH_SHARED", "../shared")).absolute()
MISSING = f"the reference folder {SHARED} is not here: set CHAINWATCH_SHARED"


def with_integers(value: Any) -> Any:
    """Strings of digits, which stand for integers above 2^53, as integers."""
    if isinstance(value, str) and value.lstrip("-").isdigit():
        return int(value)
    if isinstance(value, list):
        return [with_integers(v) for v in value]
    if isinstance(value, dict):
        return {k: with_integers(v) for k, v in value.items()}
    return value


def read(name: str) -> dict[str, Any] | None:
    """A vector file with its integers whole; None where the folder is absent."""
    path = SHARED / "reference" / "vectors" / f"{name}.json"
    if not path.is_file():
        return None
    vectors: dict[str, Any] = with_integers(json.loads(path.read_text("utf-8")))
    return vectors


def cases(name: str, kind: str | None = None) -> list[Any]:
    """One pytest parameter per case (of a kind); a single skipped (in CI: failing) one without
    the folder."""
    vectors = read(name)
    if vectors is None:
        if os.environ.get("CI"):
            raise RuntimeError(MISSING)
        return [pytest.param({}, marks=pytest.mark.skip(reason=MISSING))]
    of_kind = [c for c in vectors["cases"] if kind in (None, c.get("kind"))]
    return [pytest.param(c, id=c["name"]) for c in of_kind]


def shared_file(name: str, folder: Path = SHARED) -> Path:
    """A file or folder of the shared folder; without it the test is skipped, in CI it fails."""
    path = folder / name
    if not path.exists():
        message = f"{path} is not here: set CHAINWATCH_SHARED"
        if os.environ.get("CI"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return path
