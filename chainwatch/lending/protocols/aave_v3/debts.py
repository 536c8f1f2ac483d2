"""What all accounts of a pool owe together, as its debt tokens count it."""

from __future__ import annotations

from collections.abc import Mapping

from chainwatch.chain.reading import Reading
from chainwatch.lending.integers import RAY
from chainwatch.lending.protocol import DebtTotal
from chainwatch.lending.protocols.aave_v3.arithmetic import ReserveState
from chainwatch.lending.protocols.aave_v3.pool import (
    STABLE_DEBT_TOKEN,
    VARIABLE_DEBT_TOKEN,
    Pool,
)

SCALED_TOTAL_SUPPLY = VARIABLE_DEBT_TOKEN.function("scaledTotalSupply")
GET_SUPPLY_DATA = STABLE_DEBT_TOKEN.function("getSupplyData", "principal total rate since")


async def read_debt_totals(
    reading: Reading, pool: Pool, states: Mapping[str, ReserveState]
) -> list[DebtTotal]:
    """The scaled supply of each variable debt token, the principal of each stable one.

    Source: VariableDebtToken.scaledTotalSupply, StableDebtToken.getSupplyData (up to 3.1).
    """
    with_stable = [r for r in pool.reserves if r.has_stable_debt]
    answers = await reading.ask(
        [
            *(SCALED_TOTAL_SUPPLY(r.data.variable_debt_token_address) for r in pool.reserves),
            *(GET_SUPPLY_DATA.maybe(r.data.stable_debt_token_address) for r in with_stable),
        ]
    )
    variable, stable = answers[: len(pool.reserves)], answers[len(pool.reserves) :]
    totals = [
        DebtTotal(
            asset=r.asset,
            measure="scaled variable debt",
            total=scaled,
            raw=scaled * states[r.asset].debt_index // RAY,
        )
        for r, scaled in zip(pool.reserves, variable, strict=True)
    ]
    totals += [
        DebtTotal(
            asset=r.asset,
            measure="stable debt at its last updates",
            total=data.principal,
            raw=data.principal,
            column="stable_principal",
        )
        for r, data in zip(with_stable, stable, strict=True)
        if data is not None
    ]
    return totals
