"""Published contracts for the local node: what npm's packages carry, and what is compiled of it.

They are installed and compiled in the ignored cache when a test asks for them; nothing of them is
in the repository.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from chainwatch.demo.chain import Artifact
from chainwatch.demo.node import ToolchainMissing, npm_folder
from tests.places import CACHE

HERE = Path(__file__).parent


def installed(package: str, check: Callable[[Path], None]) -> Path:
    """The folder with node_modules for a package.json beside this file, made on first use.

    `check` looks at a fresh installation, or makes something of it, and raises ToolchainMissing.
    Skips as the fixture `toolchain` does, and fails where that fails.
    """
    try:
        cache = Path(os.environ.get("CHAINWATCH_CACHE") or CACHE)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "package.json"  # npm looks for a file of this name
            shutil.copy(HERE / package, path)
            return npm_folder(path, cache, print, check=check)
    except ToolchainMissing as missing:
        if os.environ.get("CI") or os.environ.get("CHAINWATCH_REQUIRE_EVM") == "1":
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


def compiled(package: str, script: str, protocol: str) -> Path:
    """The folder of what a script beside this file compiles from an installed package."""

    def build(folder: Path) -> None:
        command = ["node", str(HERE / script), str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired as error:
            text = f"the sources of {protocol} are not compiled within 300 s; try again"
            raise ToolchainMissing(text) from error
        if done.returncode:
            reason = (done.stderr.strip() or "no message").splitlines()[0]
            raise ToolchainMissing(f"the sources of {protocol} do not compile: {reason}")

    return installed(package, build) / "artifacts"


def holding(artifacts: str, protocol: str) -> Callable[[Path], None]:
    """A check that an installation has a folder of artifacts."""

    def check(folder: Path) -> None:
        if not (folder / artifacts).is_dir():
            raise ToolchainMissing(
                f"npm left no {protocol} artifacts: expected {artifacts} below {folder}; "
                "remove that folder and try again"
            )

    return check


def interface(contract: Artifact) -> set[str]:
    """The functions and events of a contract with their types, each as one text."""
    return {
        f"{entry['type']} {entry['name']}({_types(entry['inputs'])})"
        f" {_types(entry.get('outputs', ()))}"
        for entry in contract.abi
        if entry["type"] in ("function", "event")
    }


def _types(parameters: Iterable[dict[str, Any]]) -> str:
    return ",".join(
        (f"({_types(parameter['components'])})" if "components" in parameter else "")
        + parameter["type"].removeprefix("tuple" if "components" in parameter else "")
        + (" indexed" if parameter.get("indexed") else "")
        for parameter in parameters
    )
