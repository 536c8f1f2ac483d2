"""Reading the fixtures of a source: documented shapes with numbers of our own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from chainwatch.exchanges import frames, replay
from chainwatch.exchanges.reader import ParsedMessage
from chainwatch.tables.exchange import ExchangeLiquidation
from tests.places import FIXTURES


def messages(source: str) -> list[ParsedMessage]:
    """What each frame of a source's fixture means, in order."""
    path = FIXTURES / source / "frames.jsonl"
    return [frame.message for frame in replay.parse_lines(frames.read(path))]


def rows(source: str) -> list[ExchangeLiquidation]:
    """The liquidations of a source's fixture, in order; nothing in it is rejected."""
    parsed = messages(source)
    assert [reject for message in parsed for reject in message.rejects] == []
    return [row for message in parsed for row in message.rows]


# Symbol, side, contracts, base, price, value in quote, value in USD.
Figures = tuple[str, str, float | None, float | None, float, float | None, float | None]


def check_figures(liquidations: Sequence[ExchangeLiquidation], expected: Sequence[Figures]) -> None:
    """Each row says what is expected of it, numbers to 1e-12 of themselves."""
    assert [(row.symbol, row.side) for row in liquidations] == [line[:2] for line in expected]
    for row, line in zip(liquidations, expected, strict=True):
        numbers = (
            row.contracts,
            row.quantity_base,
            row.price,
            row.notional_quote,
            row.notional_usd,
        )
        for number, wanted in zip(numbers, line[2:], strict=True):
            assert number == (None if wanted is None else pytest.approx(wanted, rel=1e-12)), row
