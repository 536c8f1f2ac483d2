"""Channels and histories of venues, registered as sources."""

from __future__ import annotations

from collections.abc import AsyncIterator

from chainwatch.collect.source import Batch, Feed, Source, register
from chainwatch.exchanges.backfill import History
from chainwatch.exchanges.channel import Channel
from chainwatch.tables.exchange import Coverage, ExchangeLiquidation, Instrument

channels: dict[str, Channel] = {}
histories: dict[str, History] = {}


def register_stream(channel: Channel, *, docs: str, summary: str) -> None:
    """Register a channel as a source: a stream of liquidations with its coverage."""

    async def liquidations(feed: Feed) -> AsyncIterator[Batch]:
        from chainwatch.exchanges.stream import run

        async for batch in run(feed, channel):
            yield batch

    register(
        Source(
            name=channel.source,
            tables=(ExchangeLiquidation, Coverage, Instrument),
            docs=docs,
            mode="stream",
            module=channel.parse.__module__,
            summary=summary,
            run=liquidations,
            venue=channel.venue,
            socket=channel.ws,
            rest=channel.rest,
        )
    )
    channels[channel.source] = channel


def register_history(history: History, *, docs: str, summary: str) -> None:
    """Register a venue's past liquidations as a source of their own."""

    async def liquidations(feed: Feed) -> AsyncIterator[Batch]:
        from chainwatch.exchanges.backfill import run

        async for batch in run(feed, history):
            yield batch

    register(
        Source(
            name=history.source,
            tables=(ExchangeLiquidation, Coverage) if history.canary else (ExchangeLiquidation,),
            docs=docs,
            mode="poll",
            module=history.parse.__module__,
            summary=summary,
            run=liquidations,
            venue=history.channel.venue,
            rest=history.channel.rest,
            takes_since=True,
        )
    )
    histories[history.source] = history
