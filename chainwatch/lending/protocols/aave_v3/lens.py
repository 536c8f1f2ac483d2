"""Accounts of a pool in one call each for hundreds: code that asks the pool and its tokens itself.

The code is at no address of the chain; a node runs it within eth_call (a state override). It asks
the same functions as `balances` does one by one: of each account the flags and the e-mode, then the
balances of what the flags name. A call in it that fails, or whose answer is not one word, makes it
revert.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from chainwatch.chain import opcodes as op
from chainwatch.chain.assembly import Assembly
from chainwatch.chain.contract import Function
from chainwatch.chain.types import Program
from chainwatch.lending.protocols.aave_v3.pool import PoolReserve

# Call data: the pool, then three tokens per reserve id (aToken, variable debt, stable debt; zeros:
# none), then the accounts; addresses of 20 bytes, one after another.
_ADDRESS = 20
_ROW = 3 * _ADDRESS
_SHIFT = (256 - 8 * _ADDRESS).to_bytes(1)
# Memory: the data of a call (4 + 32 bytes), variables, then the words that are returned.
_ACCOUNT_ARGUMENT, _CALL_SIZE = b"\x04", b"\x24"
_POSITION, _END, _FLAGS, _TOKENS, _ACCOUNT = b"\x40", b"\x60", b"\x80", b"\xa0", b"\xc0"
_ANSWER = b"\xe0"
_WORD = b"\x20"


def account_lens(
    pool: str,
    reserves: Sequence[PoolReserve],
    flags: Function,
    emode: Function | None,
    balance: Function,
    stable: Sequence[Function],
) -> Program:
    """The code for a pool. It answers per account: flags, e-mode (if any), balances by reserve id.

    Balances of a reserve are the collateral's, that of the variable debt, and the words of the
    stable debt, as far as the account has the flag and the reserve the token.
    """
    rows = {r.data.id: _row(r) for r in reserves}
    width = max(rows, default=-1) + 1
    table = b"".join(rows.get(i, bytes(_ROW)) for i in range(width))
    head = _address(pool) + table
    selectors = [f.selector for f in (flags, *([emode] if emode else []))]
    code = _code(len(head), tuple(selectors), balance.selector, tuple(f.selector for f in stable))
    return Program(code, head)


def _row(reserve: PoolReserve) -> bytes:
    data = reserve.data
    stable = (
        _address(data.stable_debt_token_address) if reserve.has_stable_debt else bytes(_ADDRESS)
    )
    return _address(data.a_token_address) + _address(data.variable_debt_token_address) + stable


def _address(text: str) -> bytes:
    return bytes.fromhex(text[2:])


@cache
def _code(
    head: int, of_pool: tuple[bytes, ...], balance: bytes, stable: tuple[bytes, ...]
) -> bytes:
    """The code for call data that begins with so many bytes before the accounts."""
    code = Assembly()
    returns = 0

    def ask(selector: bytes, *target: int | bytes) -> None:
        """Append the word that the contract on the stack answers for the account."""
        nonlocal returns
        returns += 1
        code.push_place(f"answer {returns}")
        code.add(*target, selector)
        code.jump("ask", op.JUMP)
        code.place(f"answer {returns}")

    def token(column: int) -> tuple[int | bytes, ...]:
        where = (column * _ADDRESS).to_bytes(1)
        return (where, _TOKENS, op.MLOAD, op.ADD, op.CALLDATALOAD, _SHIFT, op.SHR)

    size = head.to_bytes(2)
    code.add(size, _POSITION, op.MSTORE, _ANSWER, _END, op.MSTORE)
    code.place("account")
    code.add(op.CALLDATASIZE, _POSITION, op.MLOAD, op.LT, op.ISZERO)
    code.jump("return", op.JUMPI)
    code.add(_POSITION, op.MLOAD, op.CALLDATALOAD, _SHIFT, op.SHR, _ACCOUNT, op.MSTORE)
    code.add(_ADDRESS.to_bytes(1), _POSITION, op.MLOAD, op.ADD, _POSITION, op.MSTORE)
    for i, selector in enumerate(of_pool):
        ask(selector, b"\0", op.CALLDATALOAD, _SHIFT, op.SHR)
        if i == 0:
            code.add(_WORD, _END, op.MLOAD, op.SUB, op.MLOAD, _FLAGS, op.MSTORE)
    code.add(_ADDRESS.to_bytes(1), _TOKENS, op.MSTORE)
    code.place("reserve")
    code.add(_FLAGS, op.MLOAD, op.ISZERO)
    code.jump("account", op.JUMPI)
    code.add(size, _TOKENS, op.MLOAD, op.LT, op.ISZERO)
    code.jump("account", op.JUMPI)
    code.add(*token(0), op.ISZERO)
    code.jump("next reserve", op.JUMPI)
    code.add(b"\2", _FLAGS, op.MLOAD, op.AND, op.ISZERO)
    code.jump("debt", op.JUMPI)
    ask(balance, *token(0))
    code.place("debt")
    code.add(b"\1", _FLAGS, op.MLOAD, op.AND, op.ISZERO)
    code.jump("next reserve", op.JUMPI)
    ask(balance, *token(1))
    code.add(*token(2), op.ISZERO)
    code.jump("next reserve", op.JUMPI)
    for selector in stable:
        ask(selector, *token(2))
    code.place("next reserve")
    code.add(_FLAGS, op.MLOAD, b"\2", op.SHR, _FLAGS, op.MSTORE)
    code.add(_ROW.to_bytes(1), _TOKENS, op.MLOAD, op.ADD, _TOKENS, op.MSTORE)
    code.jump("reserve", op.JUMP)
    code.place("return")
    code.add(_ANSWER, _END, op.MLOAD, op.SUB, _ANSWER, op.RETURN)
    _place_ask(code)
    return bytes(code)


def _place_ask(code: Assembly) -> None:
    """The part that asks one contract."""
    # Stack: where to go on, contract, selector. The answer goes straight to the words returned.
    code.place("ask")
    code.add(b"\xe0", op.SHL, b"\0", op.MSTORE, _ACCOUNT, op.MLOAD, _ACCOUNT_ARGUMENT, op.MSTORE)
    code.add(_WORD, _END, op.MLOAD, _CALL_SIZE, b"\0", op.DUP5, op.GAS, op.STATICCALL)
    code.add(op.RETURNDATASIZE, _WORD, op.EQ, op.AND, op.ISZERO)
    code.jump("fail", op.JUMPI)
    code.add(op.POP, _WORD, _END, op.MLOAD, op.ADD, _END, op.MSTORE, op.JUMP)
    code.place("fail")
    code.add(b"\0", b"\0", op.REVERT)
