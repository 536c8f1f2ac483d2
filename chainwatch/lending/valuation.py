"""The rows of a snapshot: every account with its legs, the factors, and the snapshot itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from chainwatch.chain.markets import Market
from chainwatch.lending.exposures import Exposure
from chainwatch.lending.lender import Stamp
from chainwatch.tables.base import Row
from chainwatch.tables.lending import Account, Factor, Leg, Snapshot

INVERSE = "inverse"  # a factor that divides: the price follows 1/x

P = TypeVar("P")


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules by which accounts were valued; the fields are those of a Snapshot row."""

    profile: str
    hf_rule: str
    close_rule: str
    base_decimals: int
    quote: str = "USD"
    quote_usd: float | None = 1.0
    reserves_usd: float | None = None
    target_reserves_usd: float | None = None


def snapshot_rows(
    market: Market,
    revision: int,
    stamp: Stamp,
    positions: Mapping[str, P],
    value: Callable[[str, P], tuple[Account, list[Leg]]],
    rules: Rules,
) -> list[Row]:
    """Each account with its legs, in the order of names, then the Snapshot row.

    `value` gives the rows of one account from its position.
    """
    rows: list[Row] = []
    failed = 0
    for name, position in sorted(positions.items(), key=lambda item: item[0]):
        account, legs = value(name, position)
        failed += account.status.startswith("n/a")
        rows.append(account)
        rows += legs
    rows.append(
        Snapshot(
            snapshot=stamp.snapshot,
            market=market.name,
            protocol=market.protocol,
            provenance=market.provenance,
            chain_id=market.chain_id,
            block_number=stamp.at.number,
            block_hash=stamp.at.hash,
            block_time=stamp.at.moment,
            read_at=stamp.read_at,
            revision=revision,
            scope=stamp.scope,
            accounts=len(positions),
            accounts_read=stamp.accounts_read,
            accounts_failed=failed,
            based_on=stamp.based_on,
            endpoint=stamp.endpoint,
            **msgspec.structs.asdict(rules),
        )
    )
    return rows


def factor_rows(
    stamp: Stamp, market: Market, exposures: Mapping[str, Sequence[Exposure]]
) -> list[Factor]:
    """What moves each asset's price, by asset."""
    return [
        Factor(
            snapshot=stamp.snapshot,
            market=market.name,
            block_number=stamp.at.number,
            asset=asset,
            factor=exposure.factor,
            beta=exposure.beta,
            kind=INVERSE if exposure.beta < 0 else exposure.kind,
            feed=exposure.feed,
            description=exposure.description,
            factor_price=exposure.price,
            cap_x=exposure.cap_x,
        )
        for asset, asset_exposures in exposures.items()
        for exposure in asset_exposures
    ]
