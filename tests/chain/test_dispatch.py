"""Selectors in code: a function that a contract has is never taken for missing."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from chainwatch.chain.contract import keccak
from chainwatch.chain.dispatch import may_have
from chainwatch.demo.chain import own_artifact

pytestmark = pytest.mark.contracts("plain")

NAMES = sorted(
    json.loads(files("chainwatch.demo.contracts").joinpath("contracts.json").read_text())[
        "contracts"
    ]
)
ABSENT = keccak("a function that no contract here has()")[:4]


@pytest.mark.parametrize("name", NAMES)
def test_code_has_the_selectors_of_its_functions(name: str) -> None:
    artifact = own_artifact(name)
    code = bytes.fromhex(artifact.runtime.removeprefix("0x"))
    functions = [e for e in artifact.abi if e["type"] == "function"]
    for entry in functions:
        kinds = ",".join(_kind(i) for i in entry["inputs"])
        assert may_have(code, keccak(f"{entry['name']}({kinds})")[:4]), entry["name"]
    assert not may_have(code, ABSENT)


def _kind(argument: dict[str, object]) -> str:
    """The type of an argument as it counts in a selector."""
    kind = str(argument["type"])
    if not kind.startswith("tuple"):
        return kind
    parts: list[dict[str, object]] = argument["components"]  # type: ignore[assignment]
    return f"({','.join(_kind(p) for p in parts)}){kind.removeprefix('tuple')}"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("363d3d373d3d3d363d73" + "ab" * 20 + "5af43d82803e903d91602b57fd5bf3", True),
        ("73" + "f4" * 20 + "5060006000f3", False),
        ("62" + ABSENT.hex()[:6] + "00", False),
        ("63" + ABSENT.hex() + "00", True),
        ("", False),
    ],
    ids=["a minimal proxy", "only in an address", "half of it", "pushed", "no code"],
)
def test_a_proxy_may_have_any_function(code: str, expected: bool) -> None:
    assert may_have(bytes.fromhex(code), ABSENT) == expected


def test_leading_zeros_are_not_written_out() -> None:
    assert may_have(bytes.fromhex("62abcdef00"), bytes.fromhex("00abcdef"))
