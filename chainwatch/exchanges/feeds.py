"""Channels and histories of venues, registered as sources."""

from __future__ import annotations

from collections.abc import AsyncIterator

from chainwatch.collect.source import Batch, Feed, source
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

    liquidations.__doc__ = summary
    liquidations.__module__ = channel.parse.__module__
    source(
        channel.source,
        tables=(ExchangeLiquidation, Coverage, Instrument),
        docs=docs,
        mode="stream",
        venue=channel.venue,
        socket=channel.ws,
        rest=channel.rest,
    )(liquidations)
    channels[channel.source] = channel


def register_history(history: History, *, docs: str, summary: str) -> None:
    """Register a venue's past liquidations as a source of their own."""

    async def liquidations(feed: Feed) -> AsyncIterator[Batch]:
        from chainwatch.exchanges.backfill import run

        async for batch in run(feed, history):
            yield batch

    liquidations.__doc__ = summary
    liquidations.__module__ = history.parse.__module__
    source(
        history.source,
        tables=(ExchangeLiquidation,),
        docs=docs,
        mode="poll",
        venue=history.channel.venue,
        rest=history.channel.rest,
        takes_since=True,
    )(liquidations)
    histories[history.source] = history
