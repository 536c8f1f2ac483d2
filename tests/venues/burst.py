"""Makes and records the demo's burst: `python -m tests.venues.burst`.

Liquidations of our own making, as prices fall by 15 %: mostly longs, many small ones and few large
ones. The loopback exchange sends them, `chainwatch record` keeps them, and what was kept is written
with times from a fixed moment on, so that making it again gives the same bytes.
"""

from __future__ import annotations

import asyncio
import gzip
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from chainwatch.demo.exchange import BURST, BURST_MS, SOURCES
from chainwatch.exchanges import frames
from tests import shell
from tests.venues.client import Loopback, until
from tests.venues.protocols import dump

SECONDS = 2.0
COUNT = 150
PRICES = {"BTC": 88_000.0, "ETH": 2_950.0, "SOL": 124.0}
SYMBOLS = {
    "binance-usdm": {base: f"{base}USDT" for base in PRICES},
    "bybit-linear": {base: f"{base}USDT" for base in PRICES},
    "okx": {base: f"{base}-USDT-SWAP" for base in PRICES},
}
CONTRACT_SIZE = {"BTC": 0.01, "ETH": 0.1, "SOL": 1.0}


def orders() -> Iterator[tuple[str, int, str]]:
    """(source, milliseconds after the beginning, frame) of the whole burst, in order."""
    random = Random(2026)
    times = sorted(round(random.betavariate(2, 2) * SECONDS * 1000) for _ in range(3 * COUNT))
    for number, after in enumerate(times):
        source = SOURCES[number % 3]
        base = random.choices(list(PRICES), (5, 4, 2))[0]
        fall = 0.15 * after / (SECONDS * 1000)
        price = PRICES[base] * (1 - fall) * random.uniform(0.998, 1.002)
        usd = min(4_000_000.0, random.lognormvariate(8.7, 1.6))
        long = random.random() < 0.93
        yield source, after, frame(source, base, price, usd, long, BURST_MS + after)


def frame(source: str, base: str, price: float, usd: float, long: bool, at: int) -> str:
    symbol, level, coins = SYMBOLS[source][base], f"{price:.2f}", usd / price
    if source == "binance-usdm":
        size = f"{max(coins, 0.001):.3f}"
        order: dict[str, Any] = {"s": symbol, "S": "SELL" if long else "BUY", "o": "LIMIT"}
        order |= {"f": "IOC", "q": size, "p": level, "ap": level, "X": "FILLED"}
        return dump({"e": "forceOrder", "E": at + 2, "o": {**order, "l": size, "z": size, "T": at}})
    if source == "bybit-linear":
        row = {
            "T": at,
            "s": symbol,
            "S": "Buy" if long else "Sell",
            "v": f"{max(coins, 0.001):.3f}",
        }
        data = [{**row, "p": level}]
        topic = f"allLiquidation.{symbol}"
        return dump({"topic": topic, "type": "snapshot", "ts": at + 40, "data": data})
    detail = {"bkLoss": "0", "bkPx": level, "ccy": "", "posSide": "long" if long else "short"}
    detail |= {"side": "sell" if long else "buy", "ts": f"{at}"}
    detail["sz"] = f"{max(1, round(coins / CONTRACT_SIZE[base]))}"
    group = {"details": [detail], "instFamily": f"{base}-USDT", "instId": symbol}
    group |= {"instType": "SWAP", "uly": f"{base}-USDT"}
    arg = {"channel": "liquidation-orders", "instType": "SWAP"}
    return dump({"arg": arg, "data": [group]})


async def record(folder: Path) -> Path:
    """The frames of a run of `chainwatch record` against the loopback exchange."""
    path = folder / "frames.jsonl"
    with Loopback() as exchange:
        for source in SOURCES:
            await exchange.control("list", source, symbols=list(SYMBOLS[source].values()))
        env = exchange.environment(*SOURCES)
        process = shell.start("record", *SOURCES, "--for", "4s", "--out", str(path), env=env)

        async def listening() -> bool:
            states = [await exchange.control("state", source) for source in SOURCES]
            return all(s["connections"] and all(s["topics"]) for s in states)

        await until(listening)
        for source, _, text in orders():
            await exchange.control("send", source, frames=[{"text": text}])
        done = await asyncio.to_thread(shell.ended, process)
        assert done.code == 0, done.err
    return path


def kept(path: Path) -> Iterator[frames.Line]:
    """What the demo needs of a recording: contracts, and liquidations with their fixed times."""
    lines = list(frames.read(path))
    sizes = {SYMBOLS["okx"][base]: size for base, size in CONTRACT_SIZE.items()}
    for line in lines:
        if line.contract is None:
            continue
        size = sizes.get(line.contract.symbol, line.contract.size)
        contract = msgspec.structs.replace(line.contract, size=size)
        yield msgspec.structs.replace(line, contract=contract)
    recorded = {line.frame for line in lines}
    for source, after, text in orders():
        assert text in recorded, "a frame was not recorded"
        at = datetime.fromtimestamp((BURST_MS + after) / 1000, UTC)
        yield frames.Line(source=source, received_at=at, frame=text)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = asyncio.run(record(Path(folder)))
        text = b"".join(msgspec.json.encode(line) + b"\n" for line in kept(path))
    BURST.write_bytes(gzip.compress(text, compresslevel=9, mtime=0))


if __name__ == "__main__":
    main()
