"""Which functions a contract's code may have, by the selectors in it."""

from __future__ import annotations

from functools import lru_cache

_DELEGATECALL, _PUSH1, _PUSH32 = 0xF4, 0x60, 0x7F


def may_have(code: bytes, selector: bytes) -> bool:
    """Whether code may answer a selector: it contains it, or hands calls on to other code.

    Solidity and Vyper compare the selector of a call with each of their own, written out in the
    code but for leading zeros.
    """
    return selector.lstrip(b"\0") in code or _delegates(code)


@lru_cache(maxsize=4096)
def _delegates(code: bytes) -> bool:
    """Whether DELEGATECALL is among the opcodes: a proxy, or a contract with libraries."""
    i = 0
    while i < len(code):
        opcode = code[i]
        if opcode == _DELEGATECALL:
            return True
        i += 1 + (opcode - _PUSH1 + 1 if _PUSH1 <= opcode <= _PUSH32 else 0)
    return False
