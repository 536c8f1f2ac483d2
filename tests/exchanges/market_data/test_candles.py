"""Candles through unmodified ccxt, from a loopback Binance with prices of our own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from chainwatch.collect.document import SchemaChanged
from chainwatch.collect.runner import raise_failures
from chainwatch.disclosures.indicators import Prices, candles
from chainwatch.errors import NetworkError, UsageError
from chainwatch.exchanges import books
from chainwatch.lake.store import Store
from chainwatch.tables.disclosure import Document
from chainwatch.tables.exchange import Candle
from tests.documents import Publisher, gather, raw
from tests.evm.rpc_proxy import hang, say

KLINES = "/api/v3/klines"
HOUR = timedelta(hours=1)


class Market:
    """Hourly and daily candles up to now, 1,000 at the most per request, as Binance gives them."""

    def __init__(self, hours: int) -> None:
        self.now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        self.first = self.now - hours * HOUR
        self.moved: dict[datetime, float] = {}

    def close(self, at: datetime) -> float:
        return self.moved.get(at, 50_000 + (at - self.first) / HOUR)

    async def klines(self, request: web.Request) -> web.Response:
        step = {"1h": HOUR, "1d": 24 * HOUR}[request.query["interval"]]
        at = max(datetime.fromtimestamp(int(request.query["startTime"]) / 1000, UTC), self.first)
        klines = []
        while at <= self.now and len(klines) < int(request.query["limit"]):
            close = self.close(at)
            begin = int(at.timestamp() * 1000)
            prices = ["49001.0", f"{close + 9}", "49000.5", f"{close}", "12.5"]
            klines.append([begin, *prices, begin + 1, "1", 1, "1", "1", "0"])
            at += step
        return web.json_response(klines)


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    async with Publisher() as running:
        yield running


async def test_pages_are_read_to_the_newest_closed_candle_and_resumed(
    tmp_path: Path, publisher: Publisher
) -> None:
    market = Market(hours=1500)
    publisher.instead[KLINES] = market.klines
    store = Store(tmp_path)
    raise_failures(await gather(store, publisher.url, "candles", only="BTC 1h"))
    stored = store.rows(Candle, "true ORDER BY time")
    assert [c.time for c in (stored[0], stored[-1])] == [
        market.first,
        market.now - HOUR,
    ]
    assert len(stored) == 1500
    assert (stored[7].close, stored[7].low, stored[7].volume) == (
        50_007.0,
        49_000.5,
        12.5,
    )
    assert {c.known_at - c.time for c in stored} == {HOUR}
    requests = [p for p in publisher.asked if p.startswith(KLINES)]
    assert len(requests) == 2
    documents = store.rows(Document)
    assert len(documents) == 2
    kept = json.loads(store.document(documents[0].sha256 or "").read_bytes())
    assert kept[0][4].startswith("5")

    market.moved[market.now - HOUR] = 49_600.0  # the newest one is corrected
    raise_failures(await gather(store, publisher.url, "candles", only="BTC 1h"))
    again = [p for p in publisher.asked if p.startswith(KLINES)][2:]
    assert len(again) == 1
    assert len(store.rows(Candle)) == 1501
    (revised,) = store.rows(Candle, "close = 49600")
    assert revised.published_basis == "observed"


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (say('{"code":-1003,"msg":"Too many requests"}', 429), "did not answer"),
        (say("oops", 500), "did not answer"),
        (say("<html>Are you human?</html>", 403), "binance"),
        (say("not json"), "binance"),
        (say('[["x","y"]]'), "no candles"),
        (say("[]"), "no candles"),
    ],
)
async def test_a_venue_that_fails_ends_in_one_plain_error(
    tmp_path: Path, publisher: Publisher, handler: object, words: str
) -> None:
    assert callable(handler)
    publisher.instead[KLINES] = handler
    (outcome,) = await gather(Store(tmp_path), publisher.url, "candles", only="BTC 1d")
    assert isinstance(outcome.failure, NetworkError)
    assert words in str(outcome.failure)
    assert "\n" not in str(outcome.failure)


async def test_a_venue_that_never_answers_is_given_up(publisher: Publisher) -> None:
    publisher.instead["/api/v3/exchangeInfo"] = hang
    since = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(NetworkError, match="did not answer"):
        async for _ in books.spot_candles(
            "binance", "BTC/USDT", "1d", since, base=publisher.url, timeout=0.2
        ):
            pass


async def test_unknown_venues_and_pairs_are_the_users_mistake(publisher: Publisher) -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    for venue, pair, words in (
        ("binanse", "BTC/USDT", "did you mean binance"),
        ("binance", "BTX/USDT", "no pair BTX/USDT"),
    ):
        with pytest.raises(UsageError, match=words):
            async for _ in books.spot_candles(venue, pair, "1d", since, base=publisher.url):
                pass


async def test_an_unknown_series_says_what_there_is(tmp_path: Path) -> None:
    (outcome,) = await gather(Store(tmp_path), "http://127.0.0.1:9", "candles", only="DOGE")
    assert isinstance(outcome.failure, UsageError)


def test_prices_that_no_candle_can_have_are_refused() -> None:
    wrong: Prices = (datetime(2026, 9, 1, tzinfo=UTC), 5.0, 4.0, 3.0, 4.0, None)
    with pytest.raises(SchemaChanged, match="not low ≤ prices ≤ high"):
        candles(raw(""), [wrong], asset="BTC", symbol="BTC/USDT", venue="x", interval="1d")
