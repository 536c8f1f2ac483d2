"""Liquidations on chain: the events of a market from its deployment on, priced at their own block.

A protocol says through `LiquidationEvents` which events there are and what they mean. A run goes on
where the last one ended. Events of a block that left the chain are retracted, not deleted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Block, Log
from chainwatch.collect.source import Batch, Feed
from chainwatch.errors import NetworkError, Reorged
from chainwatch.lending.protocol import LendingProtocol, Liquidation
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Retraction
from chainwatch.tables.lending import ChainLiquidation

NO_STATE = "n/a (the endpoint has no state of block {}: set an archive endpoint)"


class LiquidationEvents(Protocol):
    """The liquidation events of a protocol, and what they mean."""

    @property
    def topics(self) -> Sequence[str]:
        """The first topics of its events."""

    async def rows(
        self, feed: Feed, rpc: Rpc, market: Market, logs: Sequence[Log], at: Block
    ) -> list[ChainLiquidation]:
        """The rows of all liquidation events of one block, priced at that block.

        Raises NetworkError where the endpoint has no state of that block.
        """

    def events(self, market: Market, log: Log, at: Block) -> list[ChainLiquidation]:
        """The rows of one event with what the event itself contains."""


# The contracts of a market that emit its liquidations, as of a block.
Emitters = Callable[[Rpc, Market, Block], Awaitable[Sequence[str]]]


class ProtocolEvents:
    """LiquidationEvents of a lending protocol."""

    def __init__(self, lending: LendingProtocol[Any]) -> None:
        self.lending = lending
        self._events = {event.topic: event for event in lending.liquidation_events}

    @property
    def topics(self) -> Sequence[str]:
        return list(self._events)

    async def rows(
        self, feed: Feed, rpc: Rpc, market: Market, logs: Sequence[Log], at: Block
    ) -> list[ChainLiquidation]:
        reading = Reading(rpc, market, at)
        liquidations = [e for log in logs for e in self._liquidations(reading, log)]
        return await self.lending.price_liquidations(reading, liquidations)

    def events(self, market: Market, log: Log, at: Block) -> list[ChainLiquidation]:
        reading = Reading(None, market, at)  # type: ignore[arg-type]
        return [liquidation.row for liquidation in self._liquidations(reading, log)]

    def _liquidations(self, reading: Reading, log: Log) -> list[Liquidation]:
        event = self._events[log.topics[0]]
        arguments = event.decode(log)
        rows = self.lending.liquidations(reading, log, event, arguments)
        return [Liquidation(row, event, arguments) for row in rows]


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


async def record_liquidations(
    feed: Feed, events: LiquidationEvents, emitters: Emitters | None = None
) -> AsyncIterator[Batch]:
    """Read the liquidations of one market that are not stored yet.

    `emitters` gives the contracts that emit them; without it the market's pool does.
    """
    market = feed.market()
    rpc = await feed.rpc(market)
    at = await rpc.pin(market.lag)
    first, retracted = await _resume(feed, rpc, market)
    if retracted:
        feed.note(f"{market.name}: events of {len(retracted)} replaced block(s) are retracted")
        yield Batch(retracted)
    if first is None:
        first = market.deployment_block
    if first is None:
        feed.note(f"{market.name}: looking for the deployment block of {market.pool}")
        first = await rpc.deployment_block(market.pool, at.number)
    begin, without_state = first, -1
    contracts = await emitters(rpc, market, at) if emitters else [market.pool]
    async for part in rpc.logs(contracts, [list(events.topics)], first, at.number):
        rows: list[Row] = []
        for block, logs in (await _by_block(rpc, part.logs)).items():
            if block.number <= without_state:
                rows += _unpriced(events, market, logs, block)
                continue
            try:
                rows += await events.rows(feed, rpc, market, logs, block)
            except Reorged:
                raise
            except NetworkError as failure:
                # Without the state of this block there is none of an older one.
                without_state = block.number
                feed.note(f"{market.name}: no prices at block {block.number} and before: {failure}")
                rows += _unpriced(events, market, logs, block)
        yield Batch(rows, cursor={"block": part.last, "hash": part.last_hash})
        feed.progress(
            f"{market.name}: blocks searched", part.last - begin + 1, at.number - begin + 1
        )


class RawAmount(msgspec.Struct, frozen=True):
    """An amount as an event has it, in token units; the asset is None where only state tells it."""

    raw: int | None = None
    asset: str | None = None


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
    """The row of an event before anything in it is priced.

    `repaid` and `seized` are (token units, asset) as the event has them, None where it does not.
    """
    return liquidation_row(
        reading.market,
        log,
        reading.block,
        account=account,
        liquidator=liquidator,
        repaid=RawAmount(*repaid),
        seized=RawAmount(*seized),
        kind=kind,
    )


def liquidation_row(
    market: Market,
    log: Log,
    at: Block,
    *,
    account: str,
    liquidator: str,
    repaid: RawAmount,
    seized: RawAmount,
    kind: str = "liquidation",
) -> ChainLiquidation:
    """The row of an event before anything in it is priced."""
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
        account=account,
        liquidator=liquidator,
        debt_asset=repaid.asset,
        debt_repaid_raw=repaid.raw,
        coll_asset=seized.asset,
        coll_seized_raw=seized.raw,
    )


def _unpriced(
    events: LiquidationEvents, market: Market, logs: Sequence[Log], at: Block
) -> list[ChainLiquidation]:
    status = NO_STATE.format(at.number)
    return [
        msgspec.structs.replace(row, status=status)
        for log in logs
        for row in events.events(market, log, at)
    ]


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
