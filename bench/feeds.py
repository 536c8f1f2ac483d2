"""Exchange feeds end to end: frames that become rows per second, against ccxt's own watch path.

The loopback exchange runs in a process of its own and sends as fast as it can; a reader of the
catalog stays open all the while. ccxt watches the same server in the cadences of a burst.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chainwatch.exchanges.channel import Channel
from chainwatch.exchanges.reader import Reader
from chainwatch.exchanges.venues import binance, bybit, okx
from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.net.http import Http, Rest
from tests.venues.client import OTHERS, Collecting, Loopback, quick
from tests.venues.discovery import ALL

FRAMES = 200_000
BURST = 1_000
PARSED = 20_000
# Those that ccxt parses as well.
CHANNELS = (binance.USDM, bybit.LINEAR, okx.OKX)


def run(cache: Path) -> list[dict[str, Any]]:
    lines = []
    with Loopback() as exchange:
        for channel in (*CHANNELS, *OTHERS):
            lines.append(asyncio.run(_received(exchange, channel)))
        lines += asyncio.run(_against_ccxt(exchange))
        lines += [asyncio.run(_parsed(exchange, channel)) for channel in CHANNELS]
    return lines


async def _received(exchange: Loopback, channel: Channel) -> dict[str, Any]:
    """FRAMES in bursts of 1,000 back to back, while a catalog stays open."""
    with tempfile.TemporaryDirectory() as folder:
        stopped = threading.Event()
        async with Collecting(exchange, Path(folder), quick(channel)) as running:
            await running.alive()
            reading = asyncio.create_task(asyncio.to_thread(_read, running.store, stopped))
            begun = time.perf_counter()
            for start in range(0, FRAMES, BURST):
                await exchange.control("burst", channel.source, count=BURST, start=start)
            while sum(o.rows for o in running.coverage(channel)) < FRAMES:
                if time.perf_counter() - begun > 600:
                    break
                await asyncio.sleep(0.2)
            seconds = time.perf_counter() - begun
            stopped.set()
            questions = await reading
        with query.open_catalog(Store(Path(folder))) as catalog:
            rows, events = catalog.run(
                "SELECT count(*), count(DISTINCT event) FROM exchange_liquidations"
            ).rows[0]
    return {
        "benchmark": f"frames of {channel.source} to rows, {FRAMES:,} in bursts of {BURST:,}",
        "unit": "frames per second",
        "ours": round(FRAMES / seconds),
        "rows": rows,
        "lost": FRAMES - events,
        "doubled": rows - events,
        "questions_asked_meanwhile": questions,
    }


def _read(store: Store, stopped: threading.Event) -> int:
    """Ask the catalog again and again; how often it answered."""
    count = 0
    with query.open_catalog(store) as catalog:
        while not stopped.wait(0.5):
            catalog.run("SELECT count(*) FROM exchange_liquidations")
            count += 1
    return count


async def _against_ccxt(exchange: Loopback) -> list[dict[str, Any]]:
    """The share of a burst that each receives, of the same server in the same cadence."""
    lines = []
    for name, count, rate in (("back to back", 1_000, 0), ("200 a second", 1_000, 200)):
        theirs = await _watched(exchange, count, rate)
        with tempfile.TemporaryDirectory() as folder:
            channel = quick(binance.USDM)
            async with Collecting(exchange, Path(folder), channel) as running:
                await running.alive()
                await exchange.control("burst", channel.source, count=count, rate=rate)
                await asyncio.sleep(0.5)
            ours = len(running.liquidations(channel))
        lines.append(
            {
                "benchmark": f"share of {count:,} frames {name} that arrive, against ccxt",
                "unit": "share",
                "ours": ours / count,
                "alternative": theirs / count,
                "ratio": round(ours / max(theirs, 1), 1),
            }
        )
    return lines


async def _watched(exchange: Loopback, count: int, rate: int) -> int:
    """How many of a burst ccxt's watch hands over."""
    client = _client("binanceusdm", exchange)
    address = f"ws://127.0.0.1:{exchange.port}/ws/binance-usdm/ccxt"
    client.urls["api"]["ws"]["linear"] = address
    received: list[Any] = []

    async def watch() -> None:
        while True:
            received.extend(await client.watch_liquidations_for_symbols([]))

    watching = asyncio.create_task(watch())
    try:
        await asyncio.sleep(2.0)
        await exchange.control("burst", "binance-usdm", count=count, rate=rate)
        await asyncio.sleep(1.0)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await client.close()
    return len(received)


async def _parsed(exchange: Loopback, channel: Channel) -> dict[str, Any]:
    """Processor time per frame: bytes to rows, against bytes to ccxt's structures."""
    frames = [text.encode() for n in range(PARSED) for _, text in ALL[channel.source].frames(n, 0)]
    url = f"http://127.0.0.1:{exchange.port}/rest/{channel.source}"
    async with Http() as http:
        contracts = await channel.contracts(Rest(http, url))
    reader = Reader(channel.source, channel.venue, channel.market, contracts=contracts)

    def ours(frame: bytes) -> None:
        assert channel.parse(frame, reader).rows

    mine = _cpu(ours, frames)
    theirs = _cpu(await _ccxt_parse(exchange, channel), frames)
    return {
        "benchmark": f"processor time to parse a frame of {channel.source}, against ccxt",
        "unit": "microseconds",
        "ours": round(mine * 1e6, 2),
        "alternative": round(theirs * 1e6, 2),
        "ratio": round(theirs / mine, 1),
    }


async def _ccxt_parse(exchange: Loopback, channel: Channel) -> Callable[[bytes], None]:
    """ccxt's way from the text of a frame to its cache, its markets loaded."""
    import json

    name = {"binance": "binanceusdm"}.get(channel.venue, channel.venue)
    client = _client(name, exchange)
    try:
        await client.load_markets()
    finally:
        await client.close()

    class Connection:
        """What a handler asks of a connection."""

        url = "wss://x/market/ws" if name == "binanceusdm" else "wss://x/v5/public/linear"
        subscriptions: dict[str, Any] = {}  # noqa: RUF012 - ccxt writes to it

        def resolve(self, value: Any, key: str) -> None: ...

    connection = Connection()

    def parse(frame: bytes) -> None:
        client.handle_message(connection, json.loads(frame))

    return parse


def _client(name: str, exchange: Loopback) -> Any:
    """ccxt as it is, asking the loopback exchange."""
    from ccxt import pro

    base = f"http://127.0.0.1:{exchange.port}"
    client = getattr(pro, name)()
    client.options["fetchMarkets"] = {"types": ["swap"] if name == "okx" else ["linear"]}
    client.options["defaultType"] = "linear" if name == "binanceusdm" else "swap"
    client.urls["api"] = _moved(client.urls["api"], base)
    return client


def _moved(urls: Any, base: str) -> Any:
    if isinstance(urls, dict):
        return {key: _moved(url, base) for key, url in urls.items()}
    return re.sub(r"^https?://[^/]+", base, urls)


def _cpu(parse: Callable[[bytes], None], frames: list[bytes]) -> float:
    """Seconds of processor time per frame, the best of three rounds."""
    best = float("inf")
    for _ in range(3):
        begun = time.process_time()
        for frame in frames:
            parse(frame)
        best = min(best, (time.process_time() - begun) / len(frames))
    return best
