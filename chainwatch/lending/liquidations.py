"""Liquidations on chain: the events of a market from its deployment on, priced at their own block.

A protocol says which events there are and what they mean. A run goes on where the last one ended.
Events of a block that left the chain are retracted, not deleted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Block, Log
from chainwatch.collect.source import Batch, Feed
from chainwatch.errors import NetworkError, Reorged
from chainwatch.lending.protocol import LendingProtocol, Liquidation, name_parts
from chainwatch.lending.scans import first_block
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Retraction
from chainwatch.tables.lending import ChainLiquidation, Scan

NO_STATE = "n/a (the endpoint has no state of block {}: set an archive endpoint)"


class Amount(msgspec.Struct, frozen=True):
    """One side of a liquidation: asset, label, whole tokens, and USD at the block's price."""

    asset: str | None
    symbol: str | None
    tokens: float | None
    usd: float | None


def priced_row(
    row: ChainLiquidation,
    repaid: Amount | None,
    seized: Amount | None,
    *,
    bonus_bps: float | None = None,
    protocol_fee_bps: float | None = None,
    missing: str = "no oracle price at the block",
) -> ChainLiquidation:
    """An event's row with its amounts; its status says `missing` where one has no USD."""
    nothing = Amount(None, None, None, None)
    debt, coll = repaid or nothing, seized or nothing
    unpriced = any(side is not None and side.usd is None for side in (repaid, seized))
    return msgspec.structs.replace(
        row,
        debt_asset=debt.asset,
        debt_symbol=debt.symbol,
        debt_repaid=debt.tokens,
        debt_repaid_usd=debt.usd,
        coll_asset=coll.asset,
        coll_symbol=coll.symbol,
        coll_seized=coll.tokens,
        coll_seized_usd=coll.usd,
        bonus_bps=bonus_bps,
        protocol_fee_bps=protocol_fee_bps,
        status=f"n/a ({missing})" if unpriced else "ok",
    )


async def record_liquidations(feed: Feed, lending: LendingProtocol[Any]) -> AsyncIterator[Batch]:
    """Read the liquidations of one market that are not stored yet."""
    market = feed.market()
    rpc = await feed.rpc(market)
    at = await rpc.pin(market.lag)
    first, retracted = await _resume(feed, rpc, market)
    if retracted:
        feed.note(f"{market.name}: events of {len(retracted)} replaced block(s) are retracted")
        yield Batch(retracted)
    if first is None:
        scans = await feed.stored(Scan, "market = $m", m=market.name)
        first = await first_block(feed, Reading(rpc, market, at), scans)
    begin, without_state = first, -1
    topics = [event.topic for event in lending.liquidation_events]
    emitters = await lending.liquidation_emitters(Reading(rpc, market, at))
    async for part in rpc.logs(emitters, [topics], first, at.number):
        rows: list[Row] = []
        for block, logs in (await _by_block(rpc, part.logs)).items():
            reading = Reading(rpc, market, block)
            liquidations = [e for log in logs for e in decode_liquidations(lending, reading, log)]
            if block.number <= without_state:
                rows += _unpriced(liquidations, block)
                continue
            try:
                rows += await lending.price_liquidations(reading, liquidations)
            except Reorged:
                raise
            except NetworkError as failure:
                # Without the state of this block there is none of an older one.
                without_state = block.number
                feed.note(f"{market.name}: no prices at block {block.number} and before: {failure}")
                rows += _unpriced(liquidations, block)
        yield Batch(rows, cursor={"block": part.last, "hash": part.last_hash})
        feed.progress(
            f"{market.name}: blocks searched", part.last - begin + 1, at.number - begin + 1
        )


def decode_liquidations(
    lending: LendingProtocol[Any], reading: Reading, log: Log
) -> list[Liquidation]:
    """An event's rows, not priced yet; nothing is read from the chain."""
    event = next(e for e in lending.liquidation_events if e.topic == log.topics[0])
    arguments = event.decode(log)
    rows = lending.liquidations(reading, log, event, arguments)
    return [Liquidation(row, event, arguments) for row in rows]


def event_row(
    reading: Reading,
    log: Log,
    account: str,
    liquidator: str,
    *,
    repaid: tuple[int | None, str | None] = (None, None),
    seized: tuple[int | None, str | None] = (None, None),
    kind: str = "liquidation",
) -> ChainLiquidation:
    """The row of an event before anything in it is priced; `account` is the account's name.

    `repaid` and `seized` are (token units, asset) as the event has them, None where it does not.
    """
    market, at = reading.market, reading.block
    return ChainLiquidation(
        market=market.name,
        protocol=market.protocol,
        chain_id=market.chain_id,
        block_number=at.number,
        block_hash=at.hash,
        block_time=at.moment,
        tx_hash=log.transaction,
        log_index=log.index,
        kind=kind,
        account=name_parts(account)[0],
        position=name_parts(account)[1],
        liquidator=liquidator,
        debt_repaid_raw=repaid[0],
        debt_asset=repaid[1],
        coll_seized_raw=seized[0],
        coll_asset=seized[1],
    )


def _unpriced(liquidations: Sequence[Liquidation], at: Block) -> list[ChainLiquidation]:
    status = NO_STATE.format(at.number)
    return [msgspec.structs.replace(liquidation.row, status=status) for liquidation in liquidations]


async def _by_block(rpc: Rpc, logs: Sequence[Log]) -> Mapping[Block, list[Log]]:
    numbers = sorted({log.block_number for log in logs})
    blocks = {number: await rpc.block(number) for number in numbers}
    by_block: dict[Block, list[Log]] = {}
    for log in logs:
        block = blocks[log.block_number]
        if block.hash != log.block_hash:
            raise Reorged(f"block {block.number} was replaced while its events were read")
        by_block.setdefault(block, []).append(log)
    return by_block


async def _resume(feed: Feed, rpc: Rpc, market: Market) -> tuple[int | None, list[Retraction]]:
    """The block to go on from, and the retractions of blocks that were replaced."""
    cursor: Any = feed.cursor
    if cursor is None:
        return None, []
    if await rpc.canonical(Block(cursor["block"], cursor["hash"], 0)):
        return cursor["block"] + 1, []
    stored = await feed.stored(
        ChainLiquidation,
        "market = $m AND chain_id = $c ORDER BY block_number DESC",
        m=market.name,
        c=market.chain_id,
    )
    gone = {r.block_hash for r in await feed.stored(Retraction, "chain_id = $c", c=market.chain_id)}
    retracted: dict[str, Retraction] = {}
    for row in stored:
        if row.block_hash in gone or row.block_hash in retracted:
            continue
        if await rpc.canonical(Block(row.block_number, row.block_hash, 0)):
            return row.block_number + 1, list(retracted.values())
        retracted[row.block_hash] = Retraction(
            chain_id=market.chain_id,
            block_number=row.block_number,
            block_hash=row.block_hash,
            detected_at=feed.now(),
        )
    return None, list(retracted.values())
