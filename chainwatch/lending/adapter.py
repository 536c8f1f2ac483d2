"""A lending protocol as the survey reads it: batches, progress, carrying over, rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Block
from chainwatch.collect.source import Feed
from chainwatch.lending.lender import Opened, Stamp
from chainwatch.lending.parts import read_in_parts
from chainwatch.lending.protocol import (
    Currency,
    LegValue,
    LendingProtocol,
    MarketView,
    Stored,
    Valued,
)
from chainwatch.lending.valuation import factor_rows, snapshot_rows
from chainwatch.tables.base import Row
from chainwatch.tables.lending import Account, Leg, Reserve, Snapshot

P = TypeVar("P")
# Assets that a note names one by one.
NAMED_ASSETS = 5


class Held(msgspec.Struct, Generic[P], frozen=True):
    """A position and the block it was read at."""

    position: P
    read_block: int


class ProtocolLender(Generic[P]):
    """chainwatch.lending.lender.Lender for a lending protocol."""

    def __init__(self, lending: LendingProtocol[P]) -> None:
        self.lending = lending
        self.protocol = lending.protocol

    async def open(self, feed: Feed, rpc: Rpc, market: Market, at: Block) -> Opened:
        return await self.lending.open(Reading(rpc, market, at))

    async def stored_positions(self, feed: Feed, base: Snapshot) -> dict[str, Held[P]]:
        stored = await stored_accounts(self.lending, feed, base)
        return {name: Held(s.position, s.row.read_block) for name, s in stored.items()}

    async def read(
        self, feed: Feed, rpc: Rpc, opened: Opened, at: Block, accounts: Sequence[str]
    ) -> dict[str, Held[P]]:
        reading = Reading(rpc, feed.market(), at)
        positions: dict[str, Held[P]] = {}

        async def read(part: Sequence[str]) -> dict[str, P]:
            return await self.lending.read_positions(reading, opened, part)

        async for done, part_positions in read_in_parts(accounts, read):
            positions |= {name: Held(p, at.number) for name, p in part_positions.items()}
            feed.progress(f"{reading.market.name}: accounts read", done, len(accounts))
        return positions

    async def evidence_of_accounts(
        self, rpc: Rpc, market: Market, opened: Opened, first: int, at: Block
    ) -> str | None:
        return await self.lending.evidence_of_accounts(Reading(rpc, market, at), opened, first)

    async def rows(
        self,
        feed: Feed,
        rpc: Rpc,
        opened: Opened,
        stamp: Stamp,
        accounts: Mapping[str, Held[P]],
    ) -> list[Row]:
        market = feed.market()
        reading = Reading(rpc, market, stamp.at)
        carried = {n: h.position for n, h in accounts.items() if h.read_block != stamp.at.number}
        fresh = await self.lending.refresh(reading, opened, carried) if carried else {}
        positions = {name: fresh.get(name, held.position) for name, held in accounts.items()}
        view = await self.lending.read_market(reading, opened, positions)
        missing = [] if view.notes_prices else missing_prices(market, view.reserves)
        for note in (*missing, *view.notes):
            feed.note(note)
        rows: list[Row] = [
            msgspec.structs.replace(row, snapshot=stamp.snapshot)
            for row in (*view.reserves, *view.emodes)
        ]
        rows += factor_rows(stamp, market, view.exposures)
        decimals = {reserve.asset: reserve.decimals for reserve in view.reserves}

        def value_account(name: str, held: Held[P]) -> tuple[Account, list[Leg]]:
            valued = self.lending.value(view.state, name, positions[name])
            return account_rows(reading, stamp, view, decimals, name, held.read_block, valued)

        rows += snapshot_rows(market, opened.revision, stamp, accounts, value_account, view.rules)
        return rows


async def stored_accounts(
    lending: LendingProtocol[P], feed: Feed, snapshot: Snapshot
) -> dict[str, Stored[P]]:
    """The accounts of a stored snapshot."""
    legs: dict[str, list[Leg]] = {}
    for leg in await feed.stored(Leg, "snapshot = $s", s=snapshot.snapshot):
        legs.setdefault(leg.account, []).append(leg)
    return {
        row.account: Stored(
            row,
            legs.get(row.account, ()),
            lending.stored_position(row, legs.get(row.account, ())),
        )
        for row in await feed.stored(Account, "snapshot = $s", s=snapshot.snapshot)
    }


def missing_prices(market: Market, reserves: Sequence[Reserve]) -> list[str]:
    """A line about the assets without a price."""
    unpriced = [r for r in reserves if r.price is None]
    if not unpriced:
        return []
    names = ", ".join(dict.fromkeys(r.symbol for r in unpriced[:NAMED_ASSETS]))
    more = f" and {len(unpriced) - NAMED_ASSETS} more" if len(unpriced) > NAMED_ASSETS else ""
    return [
        f"{market.name}: the oracle gives no price for {names}{more}; accounts that use "
        f"{'it' if len(unpriced) == 1 else 'them'} are n/a"
    ]


def account_rows(
    reading: Reading,
    stamp: Stamp,
    view: MarketView,
    decimals: Mapping[str, int],
    name: str,
    read_block: int,
    valued: Valued,
) -> tuple[Account, list[Leg]]:
    """The rows of an account; its figures are left out where it cannot be valued."""
    currency = valued.currency or view.currency
    has_figures = not valued.failure
    collateral = valued.collateral if has_figures else None
    debt = valued.debt if has_figures else None
    hf = valued.hf if has_figures else None
    status = "ok" if valued.hf is not None else "no debt"
    row = Account(
        snapshot=stamp.snapshot,
        market=reading.market.name,
        block_number=reading.block.number,
        account=name,
        emode=valued.emode,
        status=f"n/a ({valued.failure})" if valued.failure else status,
        collateral_base=collateral,
        debt_base=debt,
        hf_wad=hf,
        liquidatable=valued.liquidatable,
        liquidatable_accrued=valued.liquidatable_accrued,
        lt_bps=valued.lt_bps if has_figures else None,
        collateral_usd=currency.worth(collateral),
        debt_usd=currency.worth(debt),
        hf=None if hf is None else hf / 10**18,
        legs=sum(leg.side != "idle" for leg in valued.legs),
        read_block=read_block,
    )
    legs = [_leg_row(stamp, reading, currency, decimals, name, leg) for leg in valued.legs]
    return row, legs


def _leg_row(
    stamp: Stamp,
    reading: Reading,
    currency: Currency,
    decimals: Mapping[str, int],
    account: str,
    leg: LegValue,
) -> Leg:
    return Leg(
        snapshot=stamp.snapshot,
        market=reading.market.name,
        account=account,
        asset=leg.asset,
        side=leg.side,
        scaled=leg.scaled,
        raw=leg.raw,
        value=leg.value,
        amount=leg.raw / int(10 ** decimals[leg.asset]),
        usd=currency.worth(leg.value),
        lt_bps=leg.lt_bps,
        bonus_bps=leg.bonus_bps,
        **leg.stored,
    )
