"""The multicall codec against eth_abi."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.chain.multicall import decode_aggregate3, encode_aggregate3
from chainwatch.chain.types import Call, Reverted

pytestmark = pytest.mark.contracts("plain")


addresses = st.integers(0, 2**160 - 1).map(lambda n: f"0x{n:040x}")
payloads = st.binary(max_size=100)


@given(st.lists(st.tuples(addresses, payloads), max_size=20))
def test_the_multicall_encoding_is_the_one_of_eth_abi(calls: list[Call]) -> None:
    from eth_abi.abi import encode as encode_abi

    items = [(to, True, data) for to, data in calls]
    assert encode_aggregate3(calls) == bytes.fromhex("82ad56cb") + encode_abi(
        ["(address,bool,bytes)[]"], [items]
    )


@given(st.lists(st.tuples(st.booleans(), payloads), max_size=20))
def test_the_multicall_decoding_is_the_one_of_eth_abi(results: list[tuple[bool, bytes]]) -> None:
    from eth_abi.abi import encode as encode_abi

    answer = encode_abi(["(bool,bytes)[]"], [results])
    assert decode_aggregate3(answer, len(results)) == [
        data if success else Reverted(data) for success, data in results
    ]


@given(st.lists(st.tuples(st.booleans(), payloads), min_size=1, max_size=5), st.data())
def test_a_damaged_multicall_answer_is_rejected(
    results: list[tuple[bool, bytes]], data: st.DataObject
) -> None:
    """Unless only padding is missing, in which case the results are the same."""
    from eth_abi.abi import encode as encode_abi

    answer = encode_abi(["(bool,bytes)[]"], [results])
    short = answer[: data.draw(st.integers(0, len(answer) - 1))]
    padding = -len(results[-1][1]) % 32
    if len(answer) - len(short) > padding:
        with pytest.raises(ValueError, match="multicall result"):
            decode_aggregate3(short, len(results))
    with pytest.raises(ValueError, match="multicall results"):
        decode_aggregate3(answer, len(results) + 1)


def test_a_success_flag_is_0_or_1() -> None:
    from eth_abi.abi import encode as encode_abi

    answer = encode_abi(["(uint256,bytes)[]"], [[(2, b"data")]])
    with pytest.raises(ValueError, match="multicall result 0 of 1 is malformed"):
        decode_aggregate3(answer, 1)


@given(st.binary(max_size=400), st.integers(0, 5))
def test_decoding_noise_raises_nothing_but_a_value_error(noise: bytes, expected: int) -> None:
    framed = (32).to_bytes(32) + expected.to_bytes(32) + noise
    try:
        results = decode_aggregate3(framed, expected)
    except ValueError:
        return
    assert len(results) == expected
