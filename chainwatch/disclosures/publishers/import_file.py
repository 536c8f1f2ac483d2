"""Series from a CSV file of the user's: values by day, or candles.

    date,value[,published]                        one value per day; `published` is an ISO time
    date[,time],open,high,low,close[,volume]      the close of a day, or candles of btc and eth

Days as YYYY-MM-DD, times of UTC. Column names in any letter case and order; other columns are
ignored. A value counts from the end of its day unless the file says when it was published. With the
option for decimal commas, columns may be separated by semicolons.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time
from functools import partial
from itertools import pairwise

from chainwatch import numbers
from chainwatch.collect.document import Raw, SchemaChanged
from chainwatch.collect.source import Batch, Feed, source
from chainwatch.disclosures import documents, indicators
from chainwatch.disclosures.formats import number
from chainwatch.disclosures.indicators import Lag, Prices
from chainwatch.errors import UsageError
from chainwatch.numbers import COMMA, PLAIN, Form, NotReadable
from chainwatch.tables.base import Row
from chainwatch.tables.disclosure import Document, IndicatorValue
from chainwatch.tables.exchange import Candle

LAG = Lag("next day", time(0))
ASSETS = ("btc", "eth")
_HOUR = re.compile(r"(?:[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)?")
_PRICES = ("open", "high", "low", "close")


@source(
    "import",
    mode="file",
    provenance="imported",
    tables=(Document, IndicatorValue, Candle),
    docs="https://github.com/chainwatch/chainwatch/blob/main/docs/guides/disclosures.md",
)
async def values(feed: Feed) -> AsyncIterator[Batch]:
    """Values or candles of one series from a CSV file."""
    series = feed.options.get("series", "")
    if not series:
        raise UsageError("an import needs --series NAME; `chainwatch indicators` lists them")
    comma = bool(feed.options.get("decimal_comma"))
    read = partial(parse, series=series, form=COMMA if comma else PLAIN)
    as_what = f"{series}, decimal commas" if comma else series
    async for batch in documents.read_file(feed, read, as_what):
        yield batch


def parse(raw: Raw, series: str, form: Form = PLAIN) -> list[Row]:
    """Values of the series, or candles where it is an asset."""
    semicolons = form is COMMA and ";" in raw.text().partition("\n")[0]
    table = raw.rows(delimiter=";" if semicolons else ",")
    names = [name.strip().lower() for name in next(table, [])]
    if "date" not in names:
        raise SchemaChanged("the file has no column `date`")
    lines = []
    for n, row in enumerate(table, start=2):
        if len(row) != len(names):
            raise SchemaChanged(f"line {n} has {len(row)} fields, the header {len(names)}")
        lines.append(dict(zip(names, row, strict=True)))
    if series in ASSETS:
        return [*_candles(raw, series.upper(), lines, names, form)]
    column = next((c for c in ("value", "close") if c in names), None)
    if column is None:
        raise SchemaChanged("the file has neither a column `value` nor `close`")
    pairs = [(_day(line["date"]), line[column]) for line in lines]
    published = {
        as_of: _moment(raw, line["published"])
        for (as_of, _), line in zip(pairs, lines, strict=True)
        if line.get("published", "").strip()
    }
    values = indicators.values_by_day(pairs, series, form)
    return list(indicators.rows(raw, series, values, LAG, published))


def _candles(
    raw: Raw, asset: str, lines: list[dict[str, str]], names: list[str], form: Form
) -> list[Candle]:
    if missing := [c for c in _PRICES if c not in names]:
        raise SchemaChanged(f"candles need columns open, high, low, close; missing: {missing}")
    by_time: dict[datetime, Prices] = {}
    for line in lines:
        begin = _begin(line["date"], line.get("time", ""))
        first, high, low, last = (
            number(line[c], f"{c} of {begin:%Y-%m-%d %H:%M}", form) for c in _PRICES
        )
        volume = line.get("volume", "")
        traded = number(volume, "volume", form) if volume.strip() else None
        candle = (begin, first, high, low, last, traded)
        if by_time.setdefault(begin, candle) != candle:
            raise SchemaChanged(f"{begin:%Y-%m-%d %H:%M} has two candles")
    begins = sorted(by_time)
    return indicators.candles(
        raw,
        [by_time[begin] for begin in begins],
        asset=asset,
        symbol=f"{asset}/USD",
        venue="import",
        interval=_interval(begins, "time" in names),
    )


def _interval(begins: list[datetime], timed: bool) -> str:
    """1h where the file has times, else 1d; refused where they lie otherwise."""
    interval = "1h" if timed else "1d"
    for earlier, later in pairwise(begins):
        if (later - earlier) % indicators.INTERVALS[interval]:
            raise SchemaChanged(
                f"candles of {earlier:%Y-%m-%d %H:%M} and {later:%Y-%m-%d %H:%M}: only whole "
                "hours and days are read"
            )
    return interval


def _begin(day: str, hour: str) -> datetime:
    at = _day(day)
    try:
        if not _HOUR.fullmatch(hour):
            raise ValueError
        return datetime.combine(at, time.fromisoformat(hour or "00:00"), UTC)
    except ValueError:
        raise SchemaChanged(f"{hour[:40]!r} is no time as HH:MM") from None


def _day(text: str) -> date:
    return indicators.iso_day(text)


def _moment(raw: Raw, text: str) -> datetime:
    try:
        return numbers.moment(text, raw.fetched_at)
    except NotReadable as refusal:
        raise SchemaChanged(f"published is {text[:40]!r}, {refusal}") from None
