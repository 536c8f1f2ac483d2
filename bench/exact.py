"""Health factors of 100,000 accounts in Python's integers: accounts per second, and the memory.

The alternative is the contract's own getUserAccountData, asked of a node on loopback through the
same client's multicalls: what it would take to let the chain do the sums.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

from bench.chain import market_with
from chainwatch.chain.client import Rpc
from chainwatch.lending.protocols.aave_v3 import arithmetic as aave_v3_arithmetic
from chainwatch.lending.protocols.aave_v3.arithmetic import (
    ReserveConfig,
    ReserveHolding,
    ReserveState,
)
from chainwatch.lending.protocols.aave_v3.pool import POOL
from chainwatch.net.http import Http

ACCOUNTS, ASKED, RESERVES = 100_000, 1_000, 30
ACCOUNT_DATA = POOL.function("getUserAccountData")
RAY = 10**27


def states() -> dict[str, ReserveState]:
    rng = Random(2)
    results = {}
    for i in range(RESERVES):
        config = ReserveConfig(
            ltv=7_500,
            lt=7_800 + 10 * i,
            bonus=10_500,
            decimals=(6, 8, 18)[i % 3],
            active=True,
            frozen=False,
            borrowing=True,
            paused=False,
            protocol_fee=1_000,
            emode=0,
        )
        results[str(i)] = ReserveState(
            asset=str(i),
            reserve_id=i,
            config=config,
            price=rng.randrange(10**8, 10**13),
            liquidity_index=RAY + rng.randrange(RAY // 5),
            debt_index=RAY + rng.randrange(RAY // 3),
        )
    return results


def accounts(count: int) -> list[tuple[ReserveHolding, ...]]:
    """Scaled balances: one to three collaterals and one or two debts each."""
    rng = Random(3)
    results = []
    for _ in range(count):
        reserves = rng.sample(range(RESERVES), rng.choice((2, 2, 3, 4, 5)))
        debts = 1 if len(reserves) < 4 else 2
        results.append(
            tuple(
                ReserveHolding(asset=str(r), debt=rng.randrange(1, 10**21))
                if i < debts
                else ReserveHolding(asset=str(r), collateral=rng.randrange(1, 10**22))
                for i, r in enumerate(reserves)
            )
        )
    return results


def measured(version: str) -> None:
    """Print seconds and the peak of memory (KiB); in a process of its own."""
    import resource

    profile = next(p for p in aave_v3_arithmetic.PROFILES.values() if p.version == version)
    reserves = states()
    held = accounts(ACCOUNTS)
    begin = time.perf_counter()
    liquidatable = 0
    for holdings in held:
        state = aave_v3_arithmetic.account(
            profile, aave_v3_arithmetic.legs(profile, holdings, 0, reserves, {}, 0)
        )
        liquidatable += state.hf is not None and state.hf < aave_v3_arithmetic.LIQUIDATABLE_BELOW
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(json.dumps([seconds, peak, liquidatable]) + "\n")


async def seconds_of_node(url: str, pool: str, names: list[str]) -> float:
    """Seconds that the node takes for the same figures of some accounts."""
    async with Http() as http:
        rpc = Rpc(http, [url], chain="local", chain_id=31_337)
        at = await rpc.pin()
        await rpc.read([ACCOUNT_DATA.call(pool, names[0])], at)
        begin = time.perf_counter()
        await rpc.read([ACCOUNT_DATA.call(pool, name) for name in names], at)
        return time.perf_counter() - begin


def run(cache: Path) -> list[dict[str, Any]]:
    with market_with(cache, ASKED) as (url, market, made, _):
        node = len(made) / asyncio.run(seconds_of_node(url, market.pool, made))
    lines = []
    for version in ("3.0", "3.7"):
        done = subprocess.run(
            [sys.executable, "-c", f"from bench.exact import measured; measured({version!r})"],
            check=True,
            capture_output=True,
            text=True,
        )
        seconds, peak, _ = json.loads(done.stdout)
        ours = ACCOUNTS / seconds
        lines.append(
            {
                "benchmark": f"exact health factors of {ACCOUNTS:,} accounts, Aave {version}",
                "unit": "accounts per second",
                "ours": round(ours),
                "alternative": round(node),
                "ratio": round(ours / node, 1),
                "seconds": round(seconds, 2),
                "peak_mib": round(peak / 1024),
            }
        )
    return lines
