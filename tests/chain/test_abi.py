"""Hand-written codecs against eth_abi, and the files in abis/ against what they were made from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

import chainwatch
from chainwatch.chain import abi
from chainwatch.chain.contract import read_abi
from chainwatch.demo.node import Toolchain
from chainwatch.errors import NetworkError
from tests.evm import aave_v2_market

pytestmark = pytest.mark.contracts("plain")

PACKAGE = Path(chainwatch.__file__).parent
ABIS = PACKAGE.parent / "abis"
FILES = sorted(ABIS.glob("*.json"))

words = st.integers(0, 2**256 - 1)
addresses = st.integers(0, 2**160 - 1).map(lambda n: f"0x{n:040x}")


def signature(entry: dict[str, Any]) -> str:
    """A function's or event's canonical form, as it is hashed."""

    def kind(argument: dict[str, Any]) -> str:
        if not argument["type"].startswith("tuple"):
            return str(argument["type"])
        inner = ",".join(kind(c) for c in argument["components"])
        return f"({inner}){argument['type'].removeprefix('tuple')}"

    return f"{entry['name']}({','.join(kind(i) for i in entry['inputs'])})"


# Error(string), which is in no ABI: what a contract reverts with.
REVERT_REASON = "0x08c379a0"


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_no_source_spells_a_selector_or_a_topic(path: Path) -> None:
    """Functions and events are declared by name: what is hashed stands in abis/ only."""
    spelled = set(re.findall(r'"0x(?:[0-9a-f]{8}|[0-9a-f]{64})"', path.read_text("utf-8")))
    assert spelled <= {f'"{REVERT_REASON}"'}, path


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_an_abi_is_trimmed_documented_and_read_by_name(path: Path) -> None:
    entries_read = read_abi(path.stem)
    assert entries_read == json.loads(path.read_text("utf-8"))
    names = [signature(entry) for entry in entries_read]
    assert len(names) == len(set(names))
    assert {entry["type"] for entry in entries_read} <= {"function", "event"}
    listing = (ABIS / "README.md").read_text("utf-8")
    (row,) = [line for line in listing.splitlines() if line.startswith(f"| `{path.name}` ")]
    assert all(cell.strip() for cell in row.strip("|").split("|"))


def test_the_list_of_abis_names_no_file_that_is_not_there() -> None:
    listing = (ABIS / "README.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)\.json`", listing, re.MULTILINE)) == {p.stem for p in FILES}


def published(artifacts: Path, contract: str) -> dict[str, Any]:
    """The functions and events of a compiled contract by signature, as abis/ writes them."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            dropped = ("internalType", "anonymous")
            return {k: bare(v) for k, v in value.items() if k not in dropped}
        return [bare(v) for v in value] if isinstance(value, list) else value

    path = next(artifacts.glob(f"contracts/**/{contract}.sol/{contract}.json"))
    return {
        signature(entry): bare(entry)
        for entry in json.loads(path.read_text("utf-8"))["abi"]
        if entry["type"] in ("function", "event")
    }


@pytest.mark.parametrize(
    ("name", "contract"),
    [
        ("aave_v3_pool", "Pool"),
        ("aave_v3_addresses_provider", "PoolAddressesProvider"),
        ("aave_v3_oracle", "AaveOracle"),
        ("aave_v3_price_oracle_sentinel", "PriceOracleSentinel"),
        ("a_token", "AToken"),
        ("variable_debt_token", "VariableDebtToken"),
        ("stable_debt_token", "StableDebtToken"),
    ],
)
def test_the_abis_of_aave_v3_0_say_what_the_published_contracts_say(
    toolchain: Toolchain, name: str, contract: str
) -> None:
    entries_published = published(toolchain.artifacts, contract)
    later = {  # revisions from 3.1 or 3.2 on have those
        "getLiquidationGracePeriod(address)",
        "getEModeCategoryCollateralConfig(uint8)",
        "getEModeCategoryCollateralBitmap(uint8)",
        "getEModeCategoryLabel(uint8)",
        "DeficitCreated(address,address,uint256)",
    }
    for entry in read_abi(name):
        if signature(entry) not in later:
            assert entry == entries_published[signature(entry)]


@pytest.mark.parametrize(
    ("name", "contract"),
    [
        ("aave_v2_pool", "LendingPool"),
        ("aave_v2_a_token", "AToken"),
        ("aave_v2_variable_debt_token", "VariableDebtToken"),
        ("aave_v2_stable_debt_token", "StableDebtToken"),
    ],
)
def test_the_abis_of_aave_v2_say_what_the_published_contracts_say(name: str, contract: str) -> None:
    entries_published = published(aave_v2_market.artifacts(), contract)
    for entry in read_abi(name):
        assert entry == entries_published[signature(entry)]


# --- codecs -----------------------------------------------------------------------------------


@given(st.lists(words | addresses, max_size=6))
def test_a_call_is_encoded_as_eth_abi_encodes_it(arguments: list[int | str]) -> None:
    kinds = ["address" if isinstance(a, str) else "uint256" for a in arguments]
    assert abi.call("0x12345678", *arguments) == bytes.fromhex("12345678") + encode(
        kinds, arguments
    )


@given(st.lists(words, min_size=1, max_size=8), st.data())
def test_a_word_is_read_where_eth_abi_wrote_it(values: list[int], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(values) - 1))
    assert abi.word(encode(["uint256"] * len(values), values), index) == values[index]


@given(st.binary(max_size=100), st.integers(0, 4))
def test_a_word_past_the_end_is_an_error_and_not_a_zero(data: bytes, index: int) -> None:
    if len(data) >= (index + 1) * 32:
        assert abi.word(data, index) == int.from_bytes(data[index * 32 :][:32])
    else:
        with pytest.raises(NetworkError, match=f"with word {index}, got {len(data)} bytes"):
            abi.word(data, index)


@given(st.integers(-(2**255), 2**255 - 1))
def test_a_signed_word_reads_back(value: int) -> None:
    assert abi.signed(abi.word(encode(["int256"], [value]), 0)) == value


@given(addresses)
def test_an_address_reads_back(value: str) -> None:
    assert abi.address(abi.word(encode(["address"], [value]), 0)) == value
    assert abi.topic_address(f"0x{encode(['address'], [value]).hex()}") == value


@given(st.lists(addresses, max_size=8))
def test_a_list_of_addresses_reads_back(values: list[str]) -> None:
    assert abi.address_list(encode(["address[]"], [values])) == values


@given(st.binary(max_size=200))
def test_a_list_of_addresses_is_read_or_refused(data: bytes) -> None:
    """A server's nonsense costs no memory and no error but one that the program can tell."""
    try:
        addresses_read = abi.address_list(data)
    except abi.Malformed:
        return
    assert len(addresses_read) <= len(data) // 32
