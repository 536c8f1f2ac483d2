"""Hand-written codecs for the calls that are made by the thousand.

`eth_abi` needs 25 times as long for the same bytes; tests/chain/test_abi.py compares both.
"""

from __future__ import annotations

from functools import cache

from chainwatch.errors import NetworkError

WORD = 32


class Malformed(NetworkError, ValueError):
    """An answer that is not the encoding of what the called function returns."""


def call(function: str, *arguments: int | str) -> bytes:
    """Calldata of a function whose arguments are all static: integers or 0x addresses."""
    return selector(function) + b"".join(map(argument, arguments))


@cache
def selector(text: str) -> bytes:
    """The four bytes of a 0x selector."""
    return bytes.fromhex(text[2:])


def argument(value: int | str) -> bytes:
    """A static argument: an integer or a 0x address as one word."""
    if isinstance(value, str):
        return bytes.fromhex(value[2:]).rjust(WORD, b"\0")
    return value.to_bytes(WORD)


def word(data: bytes, index: int) -> int:
    """The 32-byte word at `index` as an unsigned integer; Malformed past the end."""
    part = data[index * WORD : (index + 1) * WORD]
    if len(part) != WORD:
        raise Malformed(
            f"expected a contract's answer with word {index}, got {len(data)} bytes: the address "
            "is another contract than the market names, or the endpoint is at fault"
        )
    return int.from_bytes(part, "big")


def signed(value: int) -> int:
    """A word read as int256."""
    return value - 2**256 if value >> 255 else value


def address(value: int) -> str:
    """The lower 20 bytes of a word as a lower-case address."""
    return f"0x{value & (2**160 - 1):040x}"


def address_list(data: bytes) -> list[str]:
    """A returned `address[]`."""
    start = word(data, 0) // WORD
    count = word(data, start)
    if count > len(data) // WORD:
        raise Malformed(f"expected {count} addresses in a contract's answer, got {len(data)} bytes")
    return [address(word(data, start + 1 + i)) for i in range(count)]


def topic_address(topic: str) -> str:
    """The address in an indexed event argument."""
    return "0x" + topic[26:].lower()
