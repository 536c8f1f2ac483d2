"""Rows of market indicators: values by day and candles, and when each is published.

A publisher that does not say when it published is dated by its usual lag, late rather than early:
hours are UTC and those of winter, where UTC is furthest ahead of the publisher.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Literal

import msgspec

from chainwatch import numbers
from chainwatch.collect.document import Raw, SchemaChanged
from chainwatch.disclosures import formats
from chainwatch.disclosures.vintages import BY_RULE, BY_SOURCE, provenance_columns
from chainwatch.numbers import PLAIN, Form, NotReadable
from chainwatch.tables.disclosure import IndicatorValue
from chainwatch.tables.exchange import Candle

# Begin, open, high, low, close, volume.
Prices = tuple[datetime, float, float, float, float, float | None]

INTERVALS = {"1h": timedelta(hours=1), "1d": timedelta(days=1)}
_BLANK = {"", ".", "-", "nan", "null", "none", "n/a", "#n/a"}


class Lag(msgspec.Struct, frozen=True):
    """When a value of a day is published: on that day, on the next one that has a value, or on
    the Tuesday after its week; at an hour of UTC."""

    when: Literal["same day", "next day", "next value", "next Tuesday"]
    at: time

    def published(self, as_of: date, following: date | None) -> datetime:
        """The time of publication; `following` is the next day that has a value, if known."""
        match self.when:
            case "same day":
                on = as_of
            case "next day":
                on = as_of + timedelta(days=1)
            case "next value":
                on = following or _next_weekday(as_of)
            case "next Tuesday":
                on = as_of + timedelta(days=8 - as_of.weekday())
        return datetime.combine(on, self.at, UTC)


def values_by_day(
    pairs: Iterable[tuple[date, str]], what: str, form: Form = PLAIN
) -> dict[date, float]:
    """Values in the order of days; blanks are left out.

    Raises SchemaChanged for a day with two values, and for a cell that is no number and not blank.
    """
    values: dict[date, float] = {}
    for as_of, text in pairs:
        if text.strip().lower() in _BLANK:
            continue
        try:
            value = formats.number(text, what, form)
        except SchemaChanged:
            value = formats.number(text, f"{what} of {as_of}", form)
        if values.setdefault(as_of, value) != value:
            raise SchemaChanged(f"{what} has two values for {as_of}: {values[as_of]} and {value}")
    return dict(sorted(values.items()))


def rows(
    raw: Raw,
    series: str,
    values: Mapping[date, float],
    lag: Lag,
    published: Mapping[date, datetime] | None = None,
) -> list[IndicatorValue]:
    """Values as rows, published when the source says, else by its usual lag."""
    days = list(values)
    following = dict(pairwise(days))
    rows = []
    for as_of, value in values.items():
        stated = (published or {}).get(as_of)
        when = stated or lag.published(as_of, following.get(as_of))
        rows.append(
            IndicatorValue(
                series=series,
                as_of=as_of,
                value=value,
                **provenance_columns(raw, when, BY_SOURCE if stated else BY_RULE),
            )
        )
    return rows


def candles(
    raw: Raw, prices: Iterable[Prices], *, asset: str, symbol: str, venue: str, interval: str
) -> list[Candle]:
    """Closed candles as rows. Raises SchemaChanged for prices that no candle can have."""
    rows = []
    for begin, first, high, low, last, volume in prices:
        try:
            numbers.within(begin, raw.fetched_at)
        except NotReadable as refusal:
            raise SchemaChanged(f"the candle of {begin:%Y-%m-%d %H:%M} is {refusal}") from None
        if not 0 < low <= min(first, last) <= max(first, last) <= high:
            raise SchemaChanged(f"the candle of {begin:%Y-%m-%d %H:%M} is not low ≤ prices ≤ high")
        end = begin + INTERVALS[interval]
        if end > raw.fetched_at:
            continue
        rows.append(
            Candle(
                asset=asset,
                symbol=symbol,
                venue=venue,
                interval=interval,
                time=begin,
                open=first,
                high=high,
                low=low,
                close=last,
                volume=volume,
                **provenance_columns(raw, end, BY_RULE),
            )
        )
    return rows


def iso_day(text: str) -> date:
    """A day as YYYY-MM-DD; SchemaChanged where it is none."""
    try:
        return numbers.day(text)
    except NotReadable as refusal:
        raise SchemaChanged(f"{text[:40]!r} is {refusal}") from None


def _next_weekday(after: date) -> date:
    on = after + timedelta(days=1)
    while on.weekday() >= 5:
        on += timedelta(days=1)
    return on
