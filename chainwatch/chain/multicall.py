"""Calls packed into one: Multicall3's `aggregate3`, encoded and decoded by hand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

from chainwatch.chain.contract import Contract
from chainwatch.chain.types import Call, Reverted

# --- multicall codec ------------------------------------------------------------------------

_AGGREGATE3 = Contract("multicall3").function("aggregate3")
_WORD = 32
_ZEROS = bytes(_WORD)
# A call that succeeded and returned one word: its flag, where its bytes start, how many they are.
_ONE_WORD = (1).to_bytes(_WORD) + (0x40).to_bytes(_WORD) + _WORD.to_bytes(_WORD)
_ALLOW_FAILURE = (1).to_bytes(_WORD) + (0x60).to_bytes(_WORD)  # the flag, then where bytes start


def encode_aggregate3(calls: Sequence[Call]) -> bytes:
    """Calldata of Multicall3's `aggregate3` with allowFailure set for every call."""
    sizes = tuple({len(data) for _, data in calls})
    if len(sizes) == 1:  # nearly always: one function for many accounts
        (size,) = sizes
        padding = _ZEROS[: -size % _WORD]
        head = {to: _call_head(to, size) for to in {to for to, _ in calls}}
        bodies = [part for to, data in calls for part in (head[to], data, padding)]
        offsets = _even_offsets(len(calls), 4 * _WORD + size + len(padding))
    else:
        bodies = [
            _call_head(to, len(data)) + data + _ZEROS[: -len(data) % _WORD] for to, data in calls
        ]
        offset = accumulate(map(len, bodies), initial=_WORD * len(calls))
        offsets = b"".join(where.to_bytes(_WORD) for where, _ in zip(offset, calls, strict=False))
    length = len(calls).to_bytes(_WORD)
    return b"".join([_AGGREGATE3.selector, _WORD.to_bytes(_WORD), length, offsets, *bodies])


def _call_head(to: str, size: int) -> bytes:
    """The words before the data of a call: target, allowFailure, offset and size of the data."""
    return bytes.fromhex(to[2:]).rjust(_WORD, b"\0") + _ALLOW_FAILURE + size.to_bytes(_WORD)


@lru_cache(64)
def _even_offsets(calls: int, stride: int) -> bytes:
    """Where each of `calls` encoded calls of the same size begins."""
    return b"".join((_WORD * calls + stride * i).to_bytes(_WORD) for i in range(calls))


def decode_aggregate3(answer: bytes, expected: int) -> list[bytes | Reverted]:
    """The (bool success, bytes returnData)[] that `aggregate3` returns.

    Raises ValueError where the answer is not the encoding of `expected` results.
    """
    read = int.from_bytes
    size = len(answer)
    if size < 64 or read(answer[:32]) != 32 or read(answer[32:64]) != expected:
        raise ValueError(f"{size} bytes that are not {expected} multicall results")
    results: list[bytes | Reverted] = []
    for head in range(64, 64 + _WORD * expected, _WORD):
        start = 64 + read(answer[head : head + 32])
        data_start = start + 96
        if answer[start:data_start] == _ONE_WORD and data_start + _WORD <= size:
            results.append(answer[data_start : data_start + _WORD])  # nearly every answer
            continue
        data_end = data_start + read(answer[start + 64 : data_start])
        success = read(answer[start : start + 32])
        if data_end > size or success > 1 or read(answer[start + 32 : start + 64]) != 64:
            raise ValueError(f"multicall result {len(results)} of {expected} is malformed")
        data = answer[data_start:data_end]
        results.append(data if success else Reverted(data))
    return results
