"""Functions and events declared from abis/: selectors, calldata, answers, logs against eth_abi."""

import json
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

import chainwatch
from chainwatch.chain import abi, multicall
from chainwatch.chain.contract import Contract, account_places, read_abi
from chainwatch.chain.types import Log, Reverted
from chainwatch.errors import NetworkError

FILES = sorted((Path(chainwatch.__file__).parent.parent / "abis").glob("*.json"))
SPOKE = Contract("aave_v4_spoke", "a spoke")


def written(argument: dict[str, Any]) -> str:
    """An argument's type as it is hashed."""
    if not argument["type"].startswith("tuple"):
        return str(argument["type"])
    inner = ",".join(written(c) for c in argument["components"])
    return f"({inner}){argument['type'].removeprefix('tuple')}"


def entries(kind: str, *, decoded: bool = False) -> list[Any]:
    """The ABIs' entries; `decoded` without aggregate3, whose answer chain/multicall.py decodes."""
    return [
        pytest.param(path.stem, entry, id=f"{path.stem}-{entry['name']}")
        for path in FILES
        for entry in json.loads(path.read_text("utf-8"))
        if entry["type"] == kind and not (decoded and entry["name"] == "aggregate3")
    ]


def hashed(entry: dict[str, Any]) -> bytes:
    return keccak(text=f"{entry['name']}({','.join(map(written, entry['inputs']))})")


def leaves(arguments: list[dict[str, Any]]) -> list[str]:
    """The types of arguments, tuples taken apart."""
    types: list[str] = []
    for a in arguments:
        types += leaves(a["components"]) if a["type"] == "tuple" else [a["type"]]
    return types


def values_of(kind: str) -> st.SearchStrategy[Any]:
    """Values of an ABI type."""
    if kind == "address":
        return st.integers(0, 2**160 - 1).map("0x{:040x}".format)
    if kind == "bool":
        return st.booleans()
    if kind == "bytes32":
        return st.binary(min_size=32, max_size=32)
    if kind == "string":
        return st.text("abcXYZ 09.-/", max_size=32).map(str.strip)
    if kind == "address[]":
        return st.lists(values_of("address"), max_size=4)
    bits = int(kind.removeprefix("u").removeprefix("int"))
    signed = not kind.startswith("u")
    return st.integers(-(2 ** (bits - 1)) if signed else 0, 2 ** (bits - signed) - 1)


def nested(arguments: list[dict[str, Any]], flat: list[Any]) -> list[Any]:
    """Flat values as nested as the arguments are; takes them from `flat`."""
    return [
        tuple(nested(a["components"], flat)) if a["type"] == "tuple" else flat.pop(0)
        for a in arguments
    ]


def shown(value: Any) -> Any:
    return f"0x{value.hex()}" if isinstance(value, bytes) else value


@pytest.mark.parametrize(("name", "entry"), entries("function"))
def test_a_selector_is_the_hash_of_the_signature(name: str, entry: dict[str, Any]) -> None:
    fields = " ".join(f"field_{i}" for i in range(len(leaves(entry["outputs"]))))
    function = Contract(name).function(entry["name"], fields)
    assert function.selector == hashed(entry)[:4]


@pytest.mark.parametrize(("name", "entry"), entries("function", decoded=True))
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_an_answer_reads_back(name: str, entry: dict[str, Any], data: st.DataObject) -> None:
    """Every function's answer is decoded into what eth_abi encoded, in the ABI's order."""
    types = leaves(entry["outputs"])
    flat = [data.draw(values_of(kind)) for kind in types]
    fields = " ".join(f"field_{i}" for i in range(len(types)))
    function = Contract(name).function(entry["name"], fields)
    answer = encode([written(o) for o in entry["outputs"]], nested(entry["outputs"], list(flat)))
    decoded = function.decode(answer)
    assert ([decoded] if len(types) == 1 else list(decoded)) == [shown(v) for v in flat]
    assert function.decode_or_none(answer) == decoded
    assert function.fits(answer)


@pytest.mark.parametrize(("name", "entry"), entries("event"))
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_a_log_reads_back(name: str, entry: dict[str, Any], data: st.DataObject) -> None:
    """Every event's log is decoded into what was emitted, and its topic is the signature's hash."""
    event = Contract(name).event(entry["name"])
    assert event.topic == f"0x{hashed(entry).hex()}"
    topics, plain = [], []
    for argument in (i for i in entry["inputs"] if i["indexed"]):
        value = data.draw(values_of(argument["type"]))
        topics.append(f"0x{encode([argument['type']], [value]).hex()}")
        plain.append(shown(value))
    inputs = [i for i in entry["inputs"] if not i["indexed"]]
    flat = [data.draw(values_of(kind)) for kind in leaves(inputs)]
    body = encode([written(i) for i in inputs], nested(inputs, list(flat)))
    log = Log("0x", (event.topic, *topics), f"0x{body.hex()}", 1, "0x", 0)
    assert list(event.decode(log)) == [*plain, *map(shown, flat)]
    with pytest.raises(abi.Malformed):
        event.decode(Log("0x", (event.topic, *topics[1:]), "0x", 1, "0x", 0))


def test_calldata_is_that_of_eth_abi() -> None:
    data = SPOKE.function("getUserPosition").encode(7, f"0x{'ab' * 20}")
    selector = keccak(text="getUserPosition(uint256,address)")[:4]
    assert data == selector + encode(["uint256", "address"], [7, f"0x{'ab' * 20}"])
    with pytest.raises(TypeError, match="takes 2 words: got 1"):
        SPOKE.function("getUserPosition").encode(7)


def test_multicall_packs_by_the_declared_function() -> None:
    assert multicall.encode_aggregate3([])[:4] == bytes.fromhex("82ad56cb")


def test_names_are_those_of_the_abi_in_snake_case() -> None:
    (position,) = [SPOKE.function("getUserPosition").decode(bytes(160))]
    assert position._fields == (
        "drawn_shares",
        "premium_shares",
        "premium_offset_ray",
        "supplied_shares",
        "dynamic_config_key",
    )
    assert Contract("comet").event("Transfer").indexed[0].name == "from_"  # a word of Python


def test_an_answer_of_another_contract_is_told_from_none() -> None:
    """A required answer raises, naming function and contract; an optional one is None."""
    function = SPOKE.function("getReserveCount")
    with pytest.raises(NetworkError, match="reverted: expected the answer of a spoke"):
        function.decode(Reverted(b""))
    with pytest.raises(abi.Malformed):
        function.decode(b"")
    for answer in (Reverted(b""), b"", bytes(31), bytes(64)):
        assert function.decode_or_none(answer) is None
    assert Contract("aave_v3_pool").function("getReservesList").decode_or_none(b"\xff" * 32) is None


@given(st.lists(st.integers(0, 2**256 - 1), max_size=5))
def test_many_numbers_read_back(values: list[int]) -> None:
    function = Contract("erc20").function("balanceOf")
    assert function.numbers([value.to_bytes(32) for value in values]) == values
    with pytest.raises(NetworkError, match="balanceOf reverted"):
        function.numbers([Reverted(b"")])


def test_a_wrong_name_is_refused_where_it_is_declared() -> None:
    """A name that no ABI has, and outputs that no ABI names, are errors of the declaration."""
    with pytest.raises(ValueError, match="one function borow"):
        Contract("comet").function("borow")
    with pytest.raises(ValueError, match="has no argument owner"):
        account_places((SPOKE, {"Borrow": "owner"}))
    with pytest.raises(ValueError, match="an output has no name"):
        Contract("compound_v2_c_token").function("getAccountSnapshot")
    with pytest.raises(ValueError, match="expected 4 names, got 2"):
        Contract("compound_v2_c_token").function("getAccountSnapshot", "error balance")


def test_outputs_after_those_named_may_be_missing() -> None:
    """The first contracts of a protocol may give fewer outputs than later ones."""
    function = Contract("compound_v2_comptroller").function("markets", "listed factor ...")
    for words in ([1, 75], [1, 75, 1], [1, 75, 1, 9]):
        answer = b"".join(word.to_bytes(32) for word in words)
        assert function.decode(answer) == function.decode_or_none(answer) == (True, 75)
    with pytest.raises(abi.Malformed):
        function.decode(bytes(32))
    assert function.decode_or_none(bytes(32)) is None
    with pytest.raises(ValueError, match="expected 3 names, got 4"):
        Contract("compound_v2_comptroller").function("markets", "listed factor comp other ...")


def test_accounts_are_found_in_topics_and_in_data() -> None:
    places = account_places((SPOKE, {"LiquidationCall": "user liquidator", "Borrow": "user"}))
    assert [tuple(p) for p in places.values()] == [((3,), (0,)), ((3,), ())]


def test_an_abi_is_read_once_and_names_each_entry_once() -> None:
    assert read_abi("comet") is read_abi("comet")
