"""What the tests of documents share: fixtures as raw documents, a server for all, a lake."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from aiohttp import web

from chainwatch.collect import runner
from chainwatch.collect.document import Raw
from chainwatch.collect.feed import Job, Outcome
from chainwatch.collect.registry import find
from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.reports import run
from chainwatch.settings import Settings
from chainwatch.tables.base import Row
from chainwatch.tables.disclosure import IndicatorValue
from chainwatch.tables.exchange import Candle
from tests.evm.rpc_proxy import Handler, Server
from tests.places import FIXTURES

SEEN = datetime(2026, 9, 20, 12, tzinfo=UTC)
# Where each endpoint of the loopback server has its document, in the order of the sources' paths.
PATHS = {
    "/transparency.json": "tether/transparency.json",
    "/transparency": "circle/transparency.html",
    "/cash/en-us/products/329365/circle-reserve-fund/1464253357814.ajax": (
        "circle/USDXX_holdings.csv"
    ),
    "/api/collateralization/status": "ethena/status.json",
    "/api/positions/current/collateral": "ethena/collateral.json",
    "/graph/fredgraph.csv?id=SOFR": "fred/SOFR.csv",
    "/graph/fredgraph.csv?id=IOER": "fred/IOER.csv",
    "/api/global/us_indices/daily_prices/VIX_History.csv": "cboe/VIX_History.csv",
    "/api/rates/secured/sofr/search.json": "nyfed/sofr.json",
    "/resource-center/data-chart-center/interest-rates/pages/xml": "treasury/2026.xml",
    "/english/policy/jgbs/reference/interest_rate/historical/jgbcme_all.csv": "mof/jgbcme_all.csv",
    "/english/policy/jgbs/reference/interest_rate/jgbcme.csv": "mof/jgbcme_all.csv",
    "/v4/timeseries/asset-metrics?next_page_token=abc": "coinmetrics/mvrv_page_2.json",
    "/v4/timeseries/asset-metrics": "coinmetrics/mvrv.json",
    "/api/v3/exchangeInfo": "candles/exchangeInfo.json",
}


def fixture(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def raw(body: bytes | str, **other: Any) -> Raw:
    """A document as it would have come on 20 September 2026."""
    content = body.encode() if isinstance(body, str) else body
    values: dict[str, Any] = {
        "source": "test",
        "name": "test",
        "url": "http://127.0.0.1/test",
        "fetched_at": SEEN,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return Raw(body=content, **values | other)


class Publisher:
    """A loopback server that serves every fixture at its endpoint, or what a test says instead.

    `instead` maps a path (with its query where that decides) to a handler or to bytes.
    """

    def __init__(self) -> None:
        self.instead: dict[str, Handler | bytes] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._server = Server(self._answer)

    async def __aenter__(self) -> Publisher:
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._server.__aexit__(*error)

    @property
    def url(self) -> str:
        return self._server.url

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        self.headers.append(dict(request.headers))
        for path, handler in self.instead.items():
            if _fits(request.path_qs, path):
                if isinstance(handler, bytes):
                    return web.Response(body=handler)
                return await handler(request)
        for path, name in PATHS.items():
            if _fits(request.path_qs, path):
                return web.Response(body=fixture(name))
        return web.Response(status=404, text="not found")


def _fits(requested: str, path: str) -> bool:
    """Whether a request is for that path, with all the parameters that it names."""
    where, _, query_wanted = path.partition("?")
    requested_path, _, query_found = requested.partition("?")
    return where == requested_path and set(filter(None, query_wanted.split("&"))) <= set(
        query_found.split("&")
    )


class Quiet:
    """A voice that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, what: str, done: float, total: float | None = None) -> None:
        return None


async def gather(
    store: Store, url: str, *sources: str, voice: Quiet | None = None, **options: str
) -> list[Outcome]:
    """Collect sources whose base URLs all point to one server."""
    environ = {f"CHAINWATCH_URL_{s.upper().replace('-', '_')}": url for s in sources}
    settings = Settings({"home": str(store.home)}, environ=environ, dotenv=store.home / ".env")
    jobs = [Job(find(s), options=options) for s in sources]
    return await runner.collect(store, settings, jobs, voice or Quiet())


def load(store: Store, source: str, **options: str) -> list[Outcome]:
    """Collect a source that reads no network: shipped figures, or a file."""
    outcomes = asyncio.run(gather(store, "", source, **options))
    runner.raise_failures(outcomes)
    return outcomes


def ask(store: Store, name: str, **values: object) -> list[dict[str, Any]]:
    """The rows of a query."""
    with query.open_catalog(store) as catalog:
        return query.run(catalog, query.find(name), values).dicts()


def reported(store: Store, name: str, **values: object) -> Any:
    """A query as the command line reports it."""
    with query.open_catalog(store) as catalog:
        return run.make(catalog, name, values)


def value(
    series: str,
    as_of: date,
    figure: float,
    *,
    source: str = "import",
    known_at: datetime | None = None,
    observed_at: datetime = SEEN,
    basis: str = "rule",
    provenance: str = "imported",
) -> IndicatorValue:
    """One indicator value, known from the midnight after its day unless said otherwise."""
    known_from = known_at or datetime.combine(as_of + timedelta(days=1), datetime.min.time(), UTC)
    return IndicatorValue(
        series=series,
        source=source,
        as_of=as_of,
        value=figure,
        document="0" * 64,
        provenance=provenance,
        published_at=None if basis == "observed" else known_from,
        published_basis=basis,
        known_at=known_from,
        observed_at=observed_at,
    )


def candle(
    at: datetime, low: float, high: float, close: float, interval: str = "1d", **other: Any
) -> Candle:
    """One candle that somebody imported; it opens at its close unless said otherwise."""
    length = timedelta(days=1) if interval == "1d" else timedelta(hours=1)
    values: dict[str, Any] = {
        "asset": "BTC",
        "symbol": "BTC/USD",
        "venue": "import",
        "open": close,
        "source": "import",
        "document": "0" * 64,
        "provenance": "imported",
        "published_at": at + length,
        "published_basis": "rule",
        "known_at": at + length,
        "observed_at": SEEN,
    }
    return Candle(interval=interval, time=at, low=low, high=high, close=close, **values | other)


def put(store: Store, rows: Sequence[Row]) -> None:
    store.append(rows, source="test")
