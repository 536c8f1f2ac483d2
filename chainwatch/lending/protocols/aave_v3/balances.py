"""Accounts of a pool: flags, e-mode and scaled balances.

A large market has half a million accounts, so calls are encoded once per account, and answers of
one word are decoded by the list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from chainwatch.chain.abi import WORD
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Call
from chainwatch.lending.protocols.aave_v3 import arithmetic
from chainwatch.lending.protocols.aave_v3.arithmetic import ReserveHolding, Stable
from chainwatch.lending.protocols.aave_v3.lens import account_lens
from chainwatch.lending.protocols.aave_v3.pool import A_TOKEN, POOL, STABLE_DEBT_TOKEN, PoolReserve
from chainwatch.tables.lending import Account, Leg

GET_USER_CONFIGURATION = POOL.function("getUserConfiguration")
GET_USER_EMODE = POOL.function("getUserEMode")
# aTokens and variable debt tokens have it alike.
SCALED_BALANCE_OF = A_TOKEN.function("scaledBalanceOf")
STABLE_DEBT = [
    STABLE_DEBT_TOKEN.function(name)
    for name in ("principalBalanceOf", "getUserStableRate", "getUserLastUpdated")
]


class PoolPosition(msgspec.Struct, frozen=True):
    """One account: its e-mode and its balances."""

    emode: int
    holdings: tuple[ReserveHolding, ...]


async def read_positions(
    reading: Reading, reserves: Sequence[PoolReserve], accounts: Sequence[str], *, has_emodes: bool
) -> dict[str, PoolPosition]:
    """The positions of accounts; a reserve that is dropped from the list is left out.

    The pool leaves it out, too. Where no endpoint runs the lens, or the lens fails, each balance is
    a call.
    """
    uses = _UsesByFlags(reserves)
    positions = None
    if reading.overrides is None:
        positions = await _read_by_lens(reading, reserves, uses, accounts, has_emodes)
    if positions is None:
        positions = await _read_by_calls(reading, uses, accounts, has_emodes)
    return positions


async def _read_by_lens(
    reading: Reading,
    reserves: Sequence[PoolReserve],
    uses: _UsesByFlags,
    accounts: Sequence[str],
    has_emodes: bool,
) -> dict[str, PoolPosition] | None:
    """The positions that the answers of a lens hold; None where one is not of its accounts."""
    lens = account_lens(
        reading.pool,
        reserves,
        GET_USER_CONFIGURATION,
        GET_USER_EMODE if has_emodes else None,
        SCALED_BALANCE_OF,
        STABLE_DEBT,
    )
    items = [bytes.fromhex(account[2:]) for account in accounts]
    parts = await reading.rpc.run(lens, items, reading.block)
    if parts is None:
        return None
    positions: dict[str, PoolPosition] = {}
    names, number = iter(accounts), int.from_bytes
    for count, answer in parts:
        words = iter([number(answer[i : i + WORD]) for i in range(0, len(answer), WORD)])
        stable = zip(words, words, words, strict=False)
        try:
            for account in islice(names, count):
                bits = next(words)
                emode = next(words) if has_emodes else 0
                holdings = [_holding(use, words, stable) for use in uses[bits]]
                positions[account] = PoolPosition(emode, tuple(holdings))
        except StopIteration:
            return None
        if len(answer) % WORD or next(words, None) is not None:
            return None
    return positions


async def _read_by_calls(
    reading: Reading, uses: _UsesByFlags, accounts: Sequence[str], has_emodes: bool
) -> dict[str, PoolPosition]:
    """The positions by one call for each of their words."""
    getters = [GET_USER_CONFIGURATION, *([GET_USER_EMODE] if has_emodes else [])]
    words = await reading.read([g.call(reading.pool, a) for g in getters for a in accounts])
    flags = GET_USER_CONFIGURATION.numbers(words[: len(accounts)])
    emodes = GET_USER_EMODE.numbers(words[len(accounts) :]) or [0] * len(accounts)
    calls: list[Call] = []
    stable_calls: list[Call] = []
    for account, bits in zip(accounts, flags, strict=True):
        if not (own := uses[bits]):
            continue
        balance = SCALED_BALANCE_OF.encode(account)
        calls += [(token, balance) for use in own for token in use.tokens]
        if tokens := [use.stable_token for use in own if use.stable_token]:
            encoded = [function.encode(account) for function in STABLE_DEBT]
            stable_calls += [(token, data) for token in tokens for data in encoded]
    answers = await reading.read([*calls, *stable_calls])
    scaled = iter(SCALED_BALANCE_OF.numbers(answers[: len(calls)]))
    rest = answers[len(calls) :]
    columns = [f.numbers(rest[i :: len(STABLE_DEBT)]) for i, f in enumerate(STABLE_DEBT)]
    stable = zip(*columns, strict=True)
    return {
        account: PoolPosition(emode, tuple([_holding(use, scaled, stable) for use in uses[bits]]))
        for account, emode, bits in zip(accounts, emodes, flags, strict=True)
    }


class _Use(msgspec.Struct, frozen=True):
    """A reserve that an account uses, by its flags.

    `tokens` have its scaled balances, that of the collateral first; `stable_token` is empty where
    the account has no stable debt.
    """

    asset: str
    collateral: bool
    borrows: bool
    tokens: tuple[str, ...]
    stable_token: str


class _UsesByFlags(dict[int, tuple[_Use, ...]]):
    """What accounts use, by their flags: many accounts have the same ones."""

    def __init__(self, reserves: Sequence[PoolReserve]) -> None:
        self._by_id = {reserve.data.id: reserve for reserve in reserves}
        self._width = max(self._by_id, default=-1) + 1

    def __missing__(self, bits: int) -> tuple[_Use, ...]:
        uses = tuple(
            _use(self._by_id[reserve_id], borrows, collateral)
            for reserve_id, borrows, collateral in arithmetic.flagged(bits, self._width)
            if reserve_id in self._by_id
        )
        self[bits] = uses
        return uses


def _use(reserve: PoolReserve, borrows: bool, collateral: bool) -> _Use:
    data = reserve.data
    tokens = [data.a_token_address] * collateral + [data.variable_debt_token_address] * borrows
    stable = data.stable_debt_token_address if borrows and reserve.has_stable_debt else ""
    return _Use(reserve.asset, collateral, borrows, tuple(tokens), stable)


def _holding(use: _Use, scaled: Iterator[int], stable: Iterator[tuple[int, ...]]) -> ReserveHolding:
    """The balances of a reserve, taken from the answers in the order of the calls."""
    return ReserveHolding(
        use.asset,
        next(scaled) if use.collateral else None,
        next(scaled) if use.borrows else None,
        _stable(*next(stable)) if use.stable_token else None,
    )


def _stable(principal: int, rate: int, since: int) -> Stable | None:
    return Stable(principal, rate, since) if principal else None


def stored_position(account: Account, legs: Sequence[Leg]) -> PoolPosition:
    """The position that stored rows hold."""
    holdings: dict[str, ReserveHolding] = {}
    for leg in legs:
        before = holdings.get(leg.asset, ReserveHolding(asset=leg.asset))
        if leg.side != "debt":
            now = msgspec.structs.replace(before, collateral=leg.scaled)
        else:
            stable = _stable(leg.stable_principal or 0, leg.stable_rate or 0, leg.stable_since or 0)
            now = msgspec.structs.replace(before, debt=leg.scaled, stable=stable)
        holdings[leg.asset] = now
    return PoolPosition(account.emode, tuple(holdings.values()))
