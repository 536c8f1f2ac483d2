"""Close rules: what one liquidation may take of an account."""

from __future__ import annotations

MEANINGS = {
    "half": "of a debt",
    "reserve-half": "that, all below health factor 0.95",
    "position-half": "half of all debt, all of a small position or below 0.95",
    "whole": "all debt",
    "absorb": "the whole account",
    "target N": "up to health factor N",
}
COLUMN = "what one liquidation may take: " + ", ".join(
    f"{rule} ({meaning})" for rule, meaning in MEANINGS.items()
)
TARGET = "target "
