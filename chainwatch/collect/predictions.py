"""What a stored snapshot predicts, as it is compared with the chain."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class PredictedTrigger(msgspec.Struct, frozen=True):
    """One account as a factor moves to x times its price now; a row of the query `triggers`.

    `tolerance` is the relative uncertainty of x; `x_min` and `x_max` end what can be predicted.
    """

    account: str
    position: str
    direction: str
    x: float | None
    tolerance: float | None
    recovers_at: float | None
    x_min: float | None
    x_max: float | None


class PredictedWall(msgspec.Struct, frozen=True):
    """The triggers of all accounts of a market as one factor moves."""

    factor: str
    triggers: Sequence[PredictedTrigger]
