"""Betas: how far other factors move per move of the one that a report is of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from chainwatch import numbers
from chainwatch.errors import UsageError

MOST = 100.0


def read_betas(pairs: Iterable[str], name: str) -> dict[str, float]:
    """Betas by factor in lower case, from pairs such as eth=1.3.

    Raises UsageError, with the `name` of the option or parameter, for a pair that is none, a
    number beyond MOST, or a factor that is named twice.
    """
    betas: dict[str, float] = {}
    for pair in pairs:
        factor, _, text = pair.partition("=")
        try:
            beta = numbers.real(text)
        except numbers.NotReadable:
            beta = float("inf")
        if not re.fullmatch(r"[^,=\s]+", factor) or abs(beta) > MOST:
            raise UsageError(
                f"{name}: expected a factor and a number from -{MOST:g} to {MOST:g}, such as "
                f"eth=1.3, got {pair!r}"
            )
        if factor.lower() in betas:
            raise UsageError(f"{name}: expected each factor once, got {factor} twice")
        betas[factor.lower()] = beta
    return betas


def read_betas_text(text: str, name: str) -> dict[str, float]:
    """The same from one text with commas between the pairs; blanks do not count."""
    return read_betas(filter(None, text.replace(" ", "").split(",")), name)


def betas_text(betas: Mapping[str, float]) -> str:
    """Betas as the parameter p_betas of a query."""
    return ",".join(f"{factor.lower()}={beta!r}" for factor, beta in betas.items())
