"""Accounts of a pool: flags, e-mode and scaled balances.

A large market has half a million accounts, so calls are encoded once per account, and answers of
one word are decoded by the list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from chainwatch.chain.contract import Request
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Call
from chainwatch.lending.protocols.aave_v3 import arithmetic
from chainwatch.lending.protocols.aave_v3.arithmetic import ReserveHolding, Stable
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

    The pool leaves it out, too.
    """
    by_id = {reserve.data.id: reserve for reserve in reserves}
    width = max(by_id, default=-1) + 1
    getters = [GET_USER_CONFIGURATION, *([GET_USER_EMODE] if has_emodes else [])]
    words = await reading.read([g.call(reading.pool, a) for g in getters for a in accounts])
    flags = GET_USER_CONFIGURATION.numbers(words[: len(accounts)])
    emodes = GET_USER_EMODE.numbers(words[len(accounts) :]) or [0] * len(accounts)
    held = [
        [
            (by_id[reserve_id], borrows, collateral)
            for reserve_id, borrows, collateral in arithmetic.flagged(bits, width)
            if reserve_id in by_id
        ]
        for bits in flags
    ]
    calls: list[Call] = []
    stable_requests: list[Request] = []
    for account, flagged in zip(accounts, held, strict=True):
        balance = SCALED_BALANCE_OF.encode(account)
        for reserve, borrows, collateral in flagged:
            if collateral:
                calls.append((reserve.data.a_token_address, balance))
            if borrows:
                calls.append((reserve.data.variable_debt_token_address, balance))
            if borrows and reserve.has_stable_debt:
                token = reserve.data.stable_debt_token_address
                stable_requests += [function(token, account) for function in STABLE_DEBT]
    answers = await reading.read([*calls, *((r.to, r.data) for r in stable_requests)])
    scaled = iter(SCALED_BALANCE_OF.numbers(answers[: len(calls)]))
    stable_answers = zip(stable_requests, answers[len(calls) :], strict=True)
    stable = (request.decode(answer) for request, answer in stable_answers)
    return {
        account: PoolPosition(emode, tuple([_holding(*use, scaled, stable) for use in flagged]))
        for account, emode, flagged in zip(accounts, emodes, held, strict=True)
    }


def _holding(
    reserve: PoolReserve,
    borrows: bool,
    collateral: bool,
    scaled: Iterator[int],
    stable: Iterator[int],
) -> ReserveHolding:
    """The balances of a reserve by its flags, taken from the answers in the order of the calls."""
    return ReserveHolding(
        asset=reserve.asset,
        collateral=next(scaled) if collateral else None,
        debt=next(scaled) if borrows else None,
        stable=_stable(*islice(stable, 3)) if borrows and reserve.has_stable_debt else None,
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
