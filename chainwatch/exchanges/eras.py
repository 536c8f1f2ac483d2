"""The eras that the markets of all venues declare, as rows of `sampling_eras`."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

from chainwatch.collect.registry import import_sources
from chainwatch.exchanges.channel import VenueMarket
from chainwatch.exchanges.feeds import channels, histories
from chainwatch.tables.exchange import SamplingEra


def rows() -> list[SamplingEra]:
    """Every era of every venue, per market where the markets of a venue differ."""
    import_sources("chainwatch.exchanges.venues")
    markets_of = {history.channel.source: history.channel for history in histories.values()}
    by_venue: dict[str, list[VenueMarket]] = {}
    for _, channel in sorted((markets_of | channels).items()):
        by_venue.setdefault(channel.venue, []).append(channel)
    stated: list[SamplingEra] = []
    for _, markets in sorted(by_venue.items()):
        if all(channel.eras == markets[0].eras for channel in markets):
            stated += _rows(markets[0], "all")
        else:
            stated += [row for channel in markets for row in _rows(channel, channel.market)]
    return stated


def _rows(channel: VenueMarket, market: str) -> list[SamplingEra]:
    ends = [_midnight(era.begins) for era in channel.eras[1:]]
    return [
        SamplingEra(
            venue=channel.venue,
            market=market,
            from_time=_midnight(era.begins),
            to_time=end,
            sampling_class=era.sampling_class,
            sampling_rule=era.sampling_rule,
            selection=era.selection,
            cited=era.cited,
        )
        for era, end in zip(channel.eras, [*ends, None], strict=True)
    ]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
