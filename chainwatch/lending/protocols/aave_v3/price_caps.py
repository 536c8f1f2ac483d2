"""Aave's price adapters in integers: capped growth of a ratio (CAPO) and a cap on a stablecoin.

Source: bgd-labs/aave-capo 2c280ef (PriceCapAdapterBase, PriceCapAdapterStable). Readers take the
cap from the adapter's getters; test vectors hold this arithmetic against the contracts
(tests/lending/test_vectors.py).
"""

from __future__ import annotations

from chainwatch.lending.integers import BPS, YEAR_SECONDS, unit_of

_GROWTH_SCALE = 10**6


def max_ratio(snapshot_ratio: int, snapshot_time: int, yearly_growth_bps: int, now: int) -> int:
    """The largest ratio a CAPO adapter lets through at a time."""
    per_second = snapshot_ratio * yearly_growth_bps * _GROWTH_SCALE // BPS // YEAR_SECONDS
    return snapshot_ratio + per_second * (now - snapshot_time) // _GROWTH_SCALE


def capped_price(base_price: int, ratio: int, ratio_cap: int, ratio_decimals: int) -> int:
    """The adapter's price: the base feed times the ratio, or the cap if that is less."""
    return base_price * min(ratio, ratio_cap) // unit_of(ratio_decimals)


def stable_price(answer: int, cap: int) -> int:
    """A stablecoin's capped price; a fall passes through, an answer of 0 or less is 0."""
    return 0 if answer <= 0 else min(answer, cap)
