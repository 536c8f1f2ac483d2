"""FRED's keyless CSV of one series: `observation_date,SOFR` (older: `DATE,…`), ISO days.

A holiday is an empty cell or a full stop. Errors come as HTML. The file is the whole history as
it stands today: earlier versions of a value are not in it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import time
from functools import partial

import msgspec

from chainwatch.collect.document import Raw
from chainwatch.collect.source import Batch, Feed, source
from chainwatch.disclosures import documents, indicators
from chainwatch.disclosures.documents import DAYS_AHEAD, DocumentRequest
from chainwatch.disclosures.indicators import Lag
from chainwatch.tables.disclosure import Document, IndicatorValue


class Series(msgspec.Struct, frozen=True):
    """One series: FRED's id, when a value is published, and how old the newest may be."""

    code: str
    lag: Lag
    max_age_days: int | None
    days_ahead: int = DAYS_AHEAD


_MORNING = Lag("next value", time(14))
_EVENING = Lag("next value", time(21, 15))

SERIES = {
    "vix": Series("VIXCLS", _MORNING, 6),
    "sofr": Series("SOFR", Lag("next value", time(13)), 6),
    # An administered rate is announced ahead, and posted for days to come.
    "iorb": Series("IORB", Lag("same day", time(21)), 5, days_ahead=7),
    "ioer": Series("IOER", Lag("same day", time(21)), None),
    "dgs10": Series("DGS10", _EVENING, 6),
    "dgs30": Series("DGS30", _EVENING, 6),
    "dollar_broad": Series("DTWEXBGS", Lag("next Tuesday", time(21, 15)), 14),
    "mortgage30": Series("MORTGAGE30US", Lag("same day", time(17)), 9),
    "bank_reserves": Series("WRESBAL", Lag("next day", time(21, 30)), 10),
    "nasdaq": Series("NASDAQCOM", _MORNING, 6),
    "nikkei": Series("NIKKEI225", _MORNING, 11),
}


@source(
    "fred",
    tables=(Document, IndicatorValue),
    docs="https://fred.stlouisfed.org/docs/api/fred/series_observations.html",
    base="https://fred.stlouisfed.org",
    spacing=0.6,
)
async def series(feed: Feed) -> AsyncIterator[Batch]:
    """VIX, SOFR, IORB, IOER, US yields, dollar, mortgage rate, bank reserves, Nasdaq, Nikkei."""
    requests = [
        DocumentRequest(
            name=definition.code,
            path=f"/graph/fredgraph.csv?id={definition.code}",
            parse=partial(parse, series=name),
            max_age_days=definition.max_age_days,
            days_ahead=definition.days_ahead,
        )
        for name, definition in SERIES.items()
    ]
    async for batch in documents.read(feed, requests):
        yield batch


def parse(raw: Raw, series: str) -> list[IndicatorValue]:
    """The values of one series."""
    definition = SERIES[series]
    pairs = (
        (indicators.iso_day(day), value)
        for day, value in raw.csv("observation_date|date", definition.code)
    )
    return indicators.rows(
        raw, series, indicators.values_by_day(pairs, definition.code), definition.lag
    )
