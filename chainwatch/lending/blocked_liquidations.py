"""Why the contracts let nobody liquidate an account, from what a market's rows say is blocked.

A liquidation takes one collateral and repays one debt. It is refused where the market refuses all
of them, or where every collateral of the account may not be taken, or every debt not repaid.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from chainwatch.lending.integers import WAD
from chainwatch.lending.protocol import MarketView, Valued


class BlockedLiquidations(msgspec.Struct, frozen=True):
    """What a market refuses at a block: everything (from a health factor up), assets by address."""

    reason: str | None
    above_hf_wad: int
    collateral: Mapping[str, str]
    debt: Mapping[str, str]

    @property
    def any(self) -> bool:
        """Whether anything is refused."""
        return bool(self.reason or self.collateral or self.debt)

    def reason_for(self, valued: Valued) -> str | None:
        """Why an account that is liquidatable is not let be liquidated; else None."""
        if not (valued.liquidatable or valued.liquidatable_accrued):
            return None
        if self.reason and valued.hf is not None and valued.hf >= self.above_hf_wad:
            return self.reason
        for side, blocked in (("collateral", self.collateral), ("debt", self.debt)):
            assets = [leg.asset for leg in valued.legs if leg.side == side] if blocked else []
            if assets and all(asset in blocked for asset in assets):
                return f"{side} {', '.join(dict.fromkeys(blocked[asset] for asset in assets))}"
        return None


def blocked_liquidations(view: MarketView) -> BlockedLiquidations:
    """What the rows of a market say is blocked."""
    rules = view.rules
    return BlockedLiquidations(
        reason=rules.blocked_reason,
        above_hf_wad=round((rules.blocked_above_hf or 0.0) * WAD),
        collateral={r.asset: r.blocked_collateral for r in view.reserves if r.blocked_collateral},
        debt={r.asset: r.blocked_debt for r in view.reserves if r.blocked_debt},
    )
