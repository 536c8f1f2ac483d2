"""What `watch` shows: the last liquidations, totals by venue and side, and how the feeds stand.

A `Board` gets rows as they come (chainwatch.collect.feed.Listener) and makes reports of them;
it neither reads nor writes anything.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from chainwatch.lake.engine import Result
from chainwatch.show.document import Report
from chainwatch.show.values import cell_text
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Coverage, ExchangeLiquidation
from chainwatch.units import UNITS, price_text

LAST = 12
COUNTED = ("order", "fill")


# A coin without what multiplies it in a contract, as in the view liquidation_events.
_COIN = re.compile(r"(?:10{3,6}|1M|k)?([A-Z][A-Z0-9]*?)(?:10{3,6})?")


class Shown(msgspec.Struct, frozen=True):
    """Which liquidations a board shows: of a coin, of a side, of so many USD or more."""

    symbol: str | None = None
    side: str | None = None
    min_usd: float = 0.0

    def includes(self, row: ExchangeLiquidation) -> bool:
        base = row.base or row.symbol
        coin = match[1] if (match := _COIN.fullmatch(base)) else base
        return (
            (self.symbol is None or self.symbol.lower() in (coin.lower(), base.lower()))
            and self.side in (None, row.side)
            and (not self.min_usd or (row.notional_usd or 0.0) >= self.min_usd)
        )

    @property
    def words(self) -> str:
        parts = [
            *([f"of {self.symbol}"] if self.symbol else []),
            *([f"{self.side} positions"] if self.side else []),
            *([f"of {self.min_usd:,.6g} USD or more"] if self.min_usd else []),
        ]
        return f", only {', '.join(parts)}" if parts else ""


class VenueTotals(msgspec.Struct):
    """What one venue published since the board was made."""

    orders: int = 0
    long_usd: float = 0.0
    short_usd: float = 0.0
    largest_usd: float = 0.0
    unpriced: int = 0

    def add(self, row: ExchangeLiquidation) -> None:
        self.orders += 1
        if row.notional_usd is None:
            self.unpriced += 1
            return
        if row.side == "long":
            self.long_usd += row.notional_usd
        else:
            self.short_usd += row.notional_usd
        self.largest_usd = max(self.largest_usd, row.notional_usd)


class Board:
    """Keeps the rows on the screen; `on_liquidation` is called with each one."""

    def __init__(
        self,
        sources: Sequence[str],
        now: Callable[[], datetime],
        on_liquidation: Callable[[ExchangeLiquidation], None],
        shown: Shown,
    ) -> None:
        self._shown = shown
        self._now = now
        self._on_liquidation = on_liquidation
        self._since = now()
        self._last: deque[ExchangeLiquidation] = deque(maxlen=LAST)
        self._totals: dict[str, VenueTotals] = {}
        self._feeds: dict[str, Coverage | None] = dict.fromkeys(sources)
        self._seen: dict[str, tuple[int, int, datetime | None]] = {}

    def rows(self, source: str, rows: Sequence[Row]) -> None:
        for row in rows:
            if isinstance(row, ExchangeLiquidation):
                if row.kind in COUNTED:
                    count, rejects, _ = self._seen.get(source, (0, 0, None))
                    self._seen[source] = (count + 1, rejects, row.time)
                if self._shown.includes(row):
                    self._show(row)
            elif isinstance(row, Coverage):
                self._feeds[source] = row
                count, rejects, last = self._seen.get(source, (0, 0, None))
                self._seen[source] = (count, rejects + row.rejects, last)

    def _show(self, row: ExchangeLiquidation) -> None:
        self._last.append(row)
        if row.kind in COUNTED:
            self._totals.setdefault(row.venue, VenueTotals()).add(row)
        self._on_liquidation(row)

    def frame(self, source: str, frame: bytes, received: datetime) -> None: ...

    def reports(self) -> list[Report]:
        """The three tables."""
        return [self._last_report(), self._totals_report(), self._feeds_report()]

    def _last_report(self) -> Report:
        rows = [
            (r.time, r.venue, r.symbol, r.side, r.notional_usd, r.price, r.price_kind)
            for r in reversed(self._last)
        ]
        return Report(
            Result(
                ("time", "venue", "symbol", "side", "usd", "price", "price_kind"),
                ("TIMESTAMPTZ", "VARCHAR", "VARCHAR", "VARCHAR", "DOUBLE", "DOUBLE", "VARCHAR"),
                list(rows),
            ),
            title="Last liquidations",
            shown=("time", "venue", "symbol", "side", "usd=USD", "price", "price_kind"),
            bar="usd",
        )

    def _totals_report(self) -> Report:
        demo = any(f is not None and f.provenance == "demo" for f in self._feeds.values())
        totals = dict(sorted(self._totals.items()))
        if len(totals) > 1:
            totals["all"] = VenueTotals(
                orders=sum(t.orders for t in totals.values()),
                long_usd=sum(t.long_usd for t in totals.values()),
                short_usd=sum(t.short_usd for t in totals.values()),
                largest_usd=max(t.largest_usd for t in totals.values()),
            )
        minutes = max((self._now() - self._since).total_seconds(), 1.0) / 60
        rows = [
            (
                *(venue, t.orders, t.orders / minutes, t.long_usd + t.short_usd),
                *(t.long_usd, t.short_usd, t.largest_usd),
            )
            for venue, t in totals.items()
        ]
        names = (
            *("orders", "orders_per_minute", "at_least_usd"),
            *("at_least_long_usd", "at_least_short_usd", "largest_usd"),
        )
        return Report(
            Result(("venue", *names), ("VARCHAR", "BIGINT", *("DOUBLE",) * 5), list(rows)),
            title=("DEMO DATA: " if demo else "")
            + f"Since {self._since:%Y-%m-%d %H:%M:%S}Z, lower bounds{self._shown.words}",
            shown=(
                "venue",
                "orders",
                "orders_per_minute=a_minute",
                "at_least_usd=USD",
                "at_least_long_usd=long_USD",
                "at_least_short_usd=short_USD",
                "largest_usd=largest_USD",
            ),
        )

    def _feeds_report(self) -> Report:
        now = self._now()
        rows = []
        for source, feed in sorted(self._feeds.items()):
            count, rejects, last = self._seen.get(source, (0, 0, None))
            quiet = None if last is None else int((now - last).total_seconds())
            state, reason, sampling = "connecting", "", ""
            if feed is not None:
                state, reason = feed.state, feed.reason
                sampling = f"{feed.sampling_class}: {feed.sampling_rule}"
            rows.append((source, state, reason, count, quiet, rejects, sampling))
        return Report(
            Result(
                ("source", "state", "reason", "orders", "silence_seconds", "rejects", "sampling"),
                ("VARCHAR", "VARCHAR", "VARCHAR", "BIGINT", "BIGINT", "BIGINT", "VARCHAR"),
                list(rows),
            ),
            title="Feeds",
            shown=(
                "source",
                "state",
                "orders",
                "silence_seconds=quiet_for",
                "rejects",
                "sampling",
                "reason",
            ),
        )


def line(row: ExchangeLiquidation) -> str:
    """One liquidation on one line."""
    usd = cell_text(UNITS["usd"], row.notional_usd)
    size = cell_text(UNITS["amount"], row.quantity_base)
    return (
        f"{row.time:%Y-%m-%d %H:%M:%S.%f}"[:-3]
        + f"Z {row.venue} {row.market} {row.symbol} {row.side} {usd} USD "
        f"({size} {row.base or '?'} at {price_text(row.price)}, {row.price_kind})"
    )
