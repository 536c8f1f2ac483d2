"""Code for eth_call's state override set: a contract that answers as it does, with answers scaled.

The contract's own code is put at an address that nobody uses and called from there by DELEGATECALL,
so that it works on the contract's storage, with its constants, and whatever else is asked of it is
answered as ever. Only the answers that carry a price are multiplied.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from chainwatch.chain.contract import keccak
from chainwatch.chain.types import Overrides

# Opcodes of the Ethereum virtual machine (Yellow Paper, appendix H).
_MUL, _SDIV, _LT, _GT, _EQ, _ISZERO, _AND, _SHR = 0x02, 0x05, 0x10, 0x11, 0x14, 0x15, 0x16, 0x1C
_CALLDATALOAD, _CALLDATASIZE, _CALLDATACOPY = 0x35, 0x36, 0x37
_RETURNDATASIZE, _RETURNDATACOPY = 0x3D, 0x3E
_MLOAD, _MSTORE, _JUMP, _JUMPI, _GAS, _JUMPDEST = 0x51, 0x52, 0x56, 0x57, 0x5A, 0x5B
_DUP1, _DUP2, _SWAP1, _RETURN, _DELEGATECALL, _REVERT = 0x80, 0x81, 0x90, 0xF3, 0xF4, 0xFD

_WORD = 32
# An answer of one word between these is taken for a number that scales: smaller ones are flags and
# decimals, larger ones addresses and hashes. So are none near the time stamps of this age.
_SMALLEST, _LARGEST = 1 << 16, 1 << 112
_FIRST_TIME, _LAST_TIME = 1_400_000_000, 2_400_000_000


def scaled(
    address: str, code: bytes, x: Fraction, places: Mapping[bytes, int], *, any_number: bool = False
) -> Overrides:
    """The contract at an address with some of its answers multiplied by x, rounded toward zero.

    `code` is its own. `places`: by selector, which word of the answer is scaled. `any_number`: so
    is the one word of any other function without arguments, where it may be a number.
    """
    own = f"0x{keccak(f'chainwatch {address}')[12:].hex()}"
    return {address: _scaling(own, x, places, any_number), own: code}


class _Assembly:
    """Code with jumps to places by name."""

    def __init__(self) -> None:
        self._code = bytearray()
        self._places: dict[str, int] = {}
        self._jumps: list[tuple[int, str]] = []

    def add(self, *parts: int | bytes) -> None:
        """Opcodes (numbers), and values to push (bytes, 1 to 32)."""
        for part in parts:
            if isinstance(part, int):
                self._code.append(part)
            else:
                self._code += bytes([0x5F + len(part)]) + part

    def place(self, name: str) -> None:
        """Jumps to this name lead here."""
        self._places[name] = len(self._code)
        self.add(_JUMPDEST)

    def jump(self, name: str, opcode: int) -> None:
        """A jump to a name, also one that comes later."""
        self._code.append(0x61)  # PUSH2
        self._jumps.append((len(self._code), name))
        self._code += bytes(2)
        self.add(opcode)

    def __bytes__(self) -> bytes:
        code = bytearray(self._code)
        for where, name in self._jumps:
            code[where : where + 2] = self._places[name].to_bytes(2)
        return bytes(code)


def _scaling(own: str, x: Fraction, places: Mapping[bytes, int], any_number: bool) -> bytes:
    code = _Assembly()
    # The call as it came, to the contract's own code.
    code.add(_CALLDATASIZE, b"\0", b"\0", _CALLDATACOPY)
    code.add(b"\0", b"\0", _CALLDATASIZE, b"\0", bytes.fromhex(own[2:]), _GAS, _DELEGATECALL)
    code.add(_RETURNDATASIZE, b"\0", b"\0", _RETURNDATACOPY)
    code.add(_ISZERO)
    code.jump("reverted", _JUMPI)
    code.add(b"\0", _CALLDATALOAD, b"\xe0", _SHR)
    for selector, word in places.items():
        code.add(_DUP1, selector, _EQ)
        code.jump(f"word {word}", _JUMPI)
    if any_number:
        # Stack from here: the word. Conditions are of (top, below).
        code.add(b"\4", _CALLDATASIZE, _EQ, bytes([_WORD]), _RETURNDATASIZE, _EQ, _AND, _ISZERO)
        code.jump("answered", _JUMPI)
        for low, high, inside in ((_SMALLEST, _LARGEST, True), (_FIRST_TIME, _LAST_TIME, False)):
            code.add(_word(low), b"\0", _MLOAD, _GT, _word(high), b"\0", _MLOAD, _LT, _AND)
            code.add(*([_ISZERO] if inside else []))
            code.jump("answered", _JUMPI)
        code.jump("word 0", _JUMP)
    else:
        code.jump("answered", _JUMP)
    for word in sorted({*places.values(), 0}):
        code.place(f"word {word}")
        code.add((word * _WORD).to_bytes(2))
        code.jump("scale", _JUMP)
    code.place("scale")
    code.add(_word(x.denominator), _DUP2, _MLOAD, _word(x.numerator), _MUL, _SDIV)
    code.add(_SWAP1, _MSTORE)
    code.place("answered")
    code.add(_RETURNDATASIZE, b"\0", _RETURN)
    code.place("reverted")
    code.add(_RETURNDATASIZE, b"\0", _REVERT)
    return bytes(code)


def _word(value: int) -> bytes:
    return value.to_bytes(_WORD)
