"""Code for eth_call's state override set: a contract that answers as it does, with answers scaled.

The contract's own code is put at an address that nobody uses and called from there by DELEGATECALL,
so that it works on the contract's storage, with its constants, and whatever else is asked of it is
answered as ever. Only the answers that carry a price are multiplied.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from chainwatch.chain import opcodes as op
from chainwatch.chain.assembly import Assembly
from chainwatch.chain.contract import keccak
from chainwatch.chain.types import Overrides

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


def _scaling(own: str, x: Fraction, places: Mapping[bytes, int], any_number: bool) -> bytes:
    code = Assembly()
    # The call as it came, to the contract's own code.
    code.add(op.CALLDATASIZE, b"\0", b"\0", op.CALLDATACOPY)
    code.add(b"\0", b"\0", op.CALLDATASIZE, b"\0", bytes.fromhex(own[2:]), op.GAS, op.DELEGATECALL)
    code.add(op.RETURNDATASIZE, b"\0", b"\0", op.RETURNDATACOPY)
    code.add(op.ISZERO)
    code.jump("reverted", op.JUMPI)
    code.add(b"\0", op.CALLDATALOAD, b"\xe0", op.SHR)
    for selector, word in places.items():
        code.add(op.DUP1, selector, op.EQ)
        code.jump(f"word {word}", op.JUMPI)
    if any_number:
        # Stack from here: the word. Conditions are of (top, below).
        code.add(
            b"\4",
            op.CALLDATASIZE,
            op.EQ,
            bytes([_WORD]),
            op.RETURNDATASIZE,
            op.EQ,
            op.AND,
            op.ISZERO,
        )
        code.jump("answered", op.JUMPI)
        for low, high, inside in ((_SMALLEST, _LARGEST, True), (_FIRST_TIME, _LAST_TIME, False)):
            code.add(
                _word(low), b"\0", op.MLOAD, op.GT, _word(high), b"\0", op.MLOAD, op.LT, op.AND
            )
            code.add(*([op.ISZERO] if inside else []))
            code.jump("answered", op.JUMPI)
        code.jump("word 0", op.JUMP)
    else:
        code.jump("answered", op.JUMP)
    for word in sorted({*places.values(), 0}):
        code.place(f"word {word}")
        code.add((word * _WORD).to_bytes(2))
        code.jump("scale", op.JUMP)
    code.place("scale")
    code.add(_word(x.denominator), op.DUP2, op.MLOAD, _word(x.numerator), op.MUL, op.SDIV)
    code.add(op.SWAP1, op.MSTORE)
    code.place("answered")
    code.add(op.RETURNDATASIZE, b"\0", op.RETURN)
    code.place("reverted")
    code.add(op.RETURNDATASIZE, b"\0", op.REVERT)
    return bytes(code)


def _word(value: int) -> bytes:
    return value.to_bytes(_WORD)
