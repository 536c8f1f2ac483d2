"""What it costs to measure what moves prices, beside reading the same market's accounts.

The alternative in the same run is inference: the getters of the price sources alone. The accounts
are read as a first snapshot reads them; both markets have the reserves of the demo, and the second
of them 40 more that are priced as ETH times a rate.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from bench.chain import market_with
from bench.reads import Silent
from chainwatch.chain.client import Rpc
from chainwatch.chain.reading import Reading
from chainwatch.demo.aave import AaveMarket, ReserveSpec
from chainwatch.demo.chain import own_artifact
from chainwatch.lending.oracles import infer
from chainwatch.lending.protocols.aave_v3.pool import V3
from chainwatch.lending.protocols.aave_v3.reader import AavePool
from chainwatch.lending.survey import read_positions
from chainwatch.net.http import Http

SIZES = (1_000, 10_000)
STAKED = 40


def run(cache: Path) -> list[dict[str, Any]]:
    lines = []
    for count in SIZES:
        with market_with(cache, count) as (url, market, accounts, deployed):
            lines.append(asyncio.run(_measured(url, market, accounts, "")))
            if count == SIZES[0]:
                _list_staked(deployed)
                more = f" and {STAKED} more reserves"
                lines.append(asyncio.run(_measured(url, market, accounts, more)))
    return lines


def _list_staked(market: AaveMarket) -> None:
    """More reserves, each with an adapter and a rate of its own over the feed of ETH."""
    ether = market.listed["WETH"].feed
    for i in range(STAKED):
        rate = 10**18 + i * 10**16
        feed = market.chain.deploy(own_artifact("TestRateFeed"), rate, ether, i % 2 == 0)
        market.add(ReserveSpec(f"st{i}", 18, 3_000 * 10**8, 7_500, 8_000, 10_500), feed=feed)


async def _measured(url: str, market: Any, accounts: list[str], more: str) -> dict[str, Any]:
    lending = AavePool(V3)
    feed: Any = Silent(market)
    async with Http() as http:
        rpc = Rpc(http, [url], chain="local", chain_id=31_337)
        reading = Reading(rpc, market, await rpc.pin())
        opened = await lending.open(reading)
        read = await _cost(rpc, read_positions(feed, lending, reading, opened, accounts))
        view = await lending.read_market(reading, opened, {})
        measuring = await _cost(rpc, lending.read_exposures(reading, view))
        sources = {r.oracle: r.symbol for r in view.reserves}
        inferring = await _cost(rpc, infer(reading, sources))
    seconds, calls, requests = measuring
    return {
        "benchmark": f"what moves the prices of a market of {len(accounts):,} accounts{more}",
        "unit": "share of the time in which the accounts are read",
        "ours": round(seconds / read[0], 3),
        "inferred": round(inferring[0] / read[0], 3),
        "requests": requests,
        "requests_for_accounts": read[2],
        "calls": calls,
        "calls_for_accounts": read[1],
    }


async def _cost(rpc: Rpc, work: Awaitable[Any]) -> tuple[float, dict[str, int], int]:
    """Seconds, JSON-RPC calls by method and HTTP requests."""
    methods, requests = dict(rpc.stats.methods), rpc.stats.requests
    begun = time.perf_counter()
    await work
    seconds = time.perf_counter() - begun
    calls = {
        method: sent - methods.get(method, 0)
        for method, sent in rpc.stats.methods.items()
        if sent > methods.get(method, 0)
    }
    return seconds, calls, rpc.stats.requests - requests
