"""Hand-written codecs, selectors and topics against eth_abi, keccak and the files in abis/."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

import chainwatch
from chainwatch.chain import abi
from chainwatch.chain.contract import read_abi
from chainwatch.demo.node import Toolchain
from chainwatch.errors import NetworkError
from chainwatch.lending.protocols.compound_v2 import reader as compound_v2

pytestmark = pytest.mark.contracts("plain")

PACKAGE = Path(chainwatch.__file__).parent
ABIS = PACKAGE.parent / "abis"
FILES = sorted(ABIS.glob("*.json"))

words = st.integers(0, 2**256 - 1)
addresses = st.integers(0, 2**160 - 1).map(lambda n: f"0x{n:040x}")

COMPOUND_V2 = {
    "IS_COMPTROLLER": "isComptroller()",
    "GET_ALL_MARKETS": "getAllMarkets()",
    "GET_ASSETS_IN": "getAssetsIn(address)",
    "ORACLE": "oracle()",
    "CLOSE_FACTOR": "closeFactorMantissa()",
    "LIQUIDATION_INCENTIVE": "liquidationIncentiveMantissa()",
    "MARKETS": "markets(address)",
    "BORROW_GUARDIAN_PAUSED": "borrowGuardianPaused(address)",
    "GET_ACCOUNT_LIQUIDITY": "getAccountLiquidity(address)",
    "LIQUIDATE_BORROW_ALLOWED": "liquidateBorrowAllowed(address,address,address,address,uint256)",
    "UNDERLYING": "underlying()",
    "TOTAL_BORROWS": "totalBorrows()",
    "SYMBOL": "symbol()",
    "DECIMALS": "decimals()",
    "GET_ACCOUNT_SNAPSHOT": "getAccountSnapshot(address)",
    "EXCHANGE_RATE_STORED": "exchangeRateStored()",
    "EXCHANGE_RATE_CURRENT": "exchangeRateCurrent()",
    "BORROW_INDEX": "borrowIndex()",
    "RESERVE_FACTOR": "reserveFactorMantissa()",
    "BORROW_BALANCE_STORED": "borrowBalanceStored(address)",
    "BORROW_BALANCE_CURRENT": "borrowBalanceCurrent(address)",
    "GET_UNDERLYING_PRICE": "getUnderlyingPrice(address)",
    "GET_CONFIG": "getConfig(address)",
}
# Event → its arguments that name an account whose balances or flags change.
COMPOUND_V2_EVENTS: dict[str, tuple[str, ...]] = {
    "Transfer(address,address,uint256)": ("from", "to"),
}
# The same where the arguments stand in the data.
COMPOUND_V2_DATA: dict[str, tuple[str, ...]] = {
    "MarketEntered(address,address)": ("account",),
    "MarketExited(address,address)": ("account",),
    "Borrow(address,uint256,uint256,uint256)": ("borrower",),
    "RepayBorrow(address,address,uint256,uint256,uint256)": ("borrower",),
}


def entries() -> Iterator[dict[str, Any]]:
    for path in FILES:
        yield from json.loads(path.read_text("utf-8"))


def signature(entry: dict[str, Any]) -> str:
    """A function's or event's canonical form, as it is hashed."""

    def kind(argument: dict[str, Any]) -> str:
        if not argument["type"].startswith("tuple"):
            return str(argument["type"])
        inner = ",".join(kind(c) for c in argument["components"])
        return f"({inner}){argument['type'].removeprefix('tuple')}"

    return f"{entry['name']}({','.join(kind(i) for i in entry['inputs'])})"


def selector(text: str) -> str:
    return f"0x{keccak(text=text)[:4].hex()}"


def topic(text: str) -> str:
    return f"0x{keccak(text=text).hex()}"


SELECTORS = {selector(signature(e)) for e in entries() if e["type"] == "function"}
TOPICS = {topic(signature(e)) for e in entries() if e["type"] == "event"}
MODULES = [(compound_v2, COMPOUND_V2, COMPOUND_V2_EVENTS)]


def named(value: object) -> str:
    return value.__name__.rpartition(".")[2] if isinstance(value, ModuleType) else ""


def constants(module: object) -> dict[str, str]:
    """Every selector that a module names."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, str) and re.fullmatch(r"0x[0-9a-f]{8}", value)
    }


@pytest.mark.parametrize(("module", "functions", "_"), MODULES, ids=named)
def test_every_selector_is_its_functions_hash_and_stands_in_an_abi(
    module: ModuleType, functions: dict[str, str], _: object
) -> None:
    selectors = constants(module)
    assert selectors.keys() == functions.keys()
    for name, value in selectors.items():
        assert value == selector(functions[name]), name
        assert value in SELECTORS, f"{functions[name]} is in no file of abis/"


@pytest.mark.parametrize(("module", "_", "events"), MODULES, ids=named)
def test_every_topic_is_its_events_hash_with_the_abis_accounts(
    module: ModuleType, _: object, events: dict[str, tuple[str, ...]]
) -> None:
    """Every topic is the hash of its event, and its accounts are where an ABI says."""
    assert module.ACCOUNT_TOPICS.keys() == {topic(text) for text in events}
    for text, names in events.items():
        positions = [
            tuple(1 + indexed.index(name) for name in names)
            for entry in entries()
            if entry["type"] == "event" and signature(entry) == text
            for indexed in [[i["name"] for i in entry["inputs"] if i["indexed"]]]
            if set(names) <= set(indexed)
        ]
        assert module.ACCOUNT_TOPICS[topic(text)] in positions, text


def test_the_topics_that_tell_of_a_borrower_are_those_of_their_events() -> None:
    assert topic("MarketEntered(address,address)") == compound_v2.MARKET_ENTERED


@pytest.mark.parametrize(
    "path",
    sorted(PACKAGE.glob("lending/**/*.py")),
    ids=lambda p: str(p.relative_to(PACKAGE / "lending")),
)
def test_no_selector_or_topic_in_a_source_is_unknown_to_the_abis(path: Path) -> None:
    text = path.read_text("utf-8")
    for value in re.findall(r'"(0x[0-9a-f]{8})"', text):
        assert value in SELECTORS, f"{path.name}: {value} is in no file of abis/"
    for value in re.findall(r'"(0x[0-9a-f]{64})"', text):
        assert value in TOPICS, f"{path.name}: {value} is in no file of abis/"


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


@pytest.mark.parametrize(
    ("name", "contract"),
    [
        ("aave_v3_pool", "Pool"),
        ("aave_v3_addresses_provider", "PoolAddressesProvider"),
        ("aave_v3_oracle", "AaveOracle"),
        ("a_token", "AToken"),
        ("variable_debt_token", "VariableDebtToken"),
        ("stable_debt_token", "StableDebtToken"),
    ],
)
def test_the_abis_of_aave_v3_0_say_what_the_published_contracts_say(
    toolchain: Toolchain, name: str, contract: str
) -> None:
    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            dropped = ("internalType", "anonymous")
            return {k: bare(v) for k, v in value.items() if k not in dropped}
        return [bare(v) for v in value] if isinstance(value, list) else value

    path = next(toolchain.artifacts.glob(f"contracts/**/{contract}.sol/{contract}.json"))
    published = {
        signature(entry): bare(entry)
        for entry in json.loads(path.read_text("utf-8"))["abi"]
        if entry["type"] in ("function", "event")
    }
    later = {  # revisions from 3.2 on have those
        "getEModeCategoryCollateralConfig(uint8)",
        "getEModeCategoryCollateralBitmap(uint8)",
        "getEModeCategoryLabel(uint8)",
        "DeficitCreated(address,address,uint256)",
    }
    for entry in read_abi(name):
        if signature(entry) not in later:
            assert entry == published[signature(entry)]


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
