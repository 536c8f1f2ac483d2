"""The first full read of a market's accounts, against web3 and against the bare wire.

Ours: flags, e-mode and balances of every account through the client of the collector, by code that
the node runs within a call, and by multicalls, as where an endpoint takes no state overrides.
web3: the same functions through AsyncWeb3 contract objects, one call after the other.
raw: the very multicalls our client sent, encoded beforehand, posted as they are by four at once;
answers not decoded.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from bench.chain import market_with
from chainwatch.chain.client import Rpc
from chainwatch.chain.contract import read_abi
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Block
from chainwatch.lending.protocols.aave_v3 import arithmetic as aave_v3_arithmetic
from chainwatch.lending.protocols.aave_v3.pool import V3, PoolReserve
from chainwatch.lending.protocols.aave_v3.reader import AavePool
from chainwatch.lending.survey import read_positions
from chainwatch.net.http import Http, Response

ACCOUNTS = 4_000
WEB3_ACCOUNTS = 40
RUNS = 5


class Tape(Http):
    """A client that keeps what it posts."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    async def request(self, method: str, url: str, **options: Any) -> Response:
        self.bodies.append(options["body"])
        return await super().request(method, url, **options)


class Silent:
    """The part of a feed that reading needs."""

    def __init__(self, market: Any) -> None:
        self._market = market

    def market(self) -> Any:
        return self._market

    def progress(self, *_: object) -> None: ...

    def note(self, text: str) -> None: ...


async def measure(url: str, market: Any, accounts: list[str]) -> dict[str, Any]:
    tape = Tape()
    feed: Any = Silent(market)
    async with tape:
        rpc = Rpc(tape, [url], chain=market.chain, chain_id=market.chain_id)
        at = await rpc.pin()
        lending = AavePool(V3)
        opened = await lending.open(Reading(rpc, market, at))
        # Under an override, be it of nothing, balances are read by multicalls.
        readings = {"ours": Reading(rpc, market, at), "multicalls": Reading(rpc, market, at, {})}
        seconds: dict[str, list[float]] = {"ours": [], "multicalls": [], "raw": []}
        sizes: dict[str, tuple[int, int]] = {}
        for _ in range(RUNS):
            # All in turn: what else the machine does hits them alike.
            for method, reading in readings.items():
                tape.bodies.clear()
                begin = time.perf_counter()
                await read_positions(feed, lending, reading, opened, accounts)
                seconds[method].append(time.perf_counter() - begin)
                sizes[method] = len(tape.bodies), sum(map(len, tape.bodies))
            seconds["raw"].append(await post_raw(url, tape.bodies))
    reserves = {reserve.data.id: reserve for reserve in opened.context.reserves}
    slow = await through_web3(url, market, reserves, accounts[:WEB3_ACCOUNTS], at)
    best = {method: min(own) for method, own in seconds.items()}
    return best | {"web3": slow * len(accounts) / WEB3_ACCOUNTS, "sizes": sizes}


async def post_raw(url: str, bodies: list[bytes]) -> float:
    import aiohttp

    waiting = list(reversed(bodies))
    headers = {"Content-Type": "application/json"}

    async def worker(session: aiohttp.ClientSession) -> None:
        while waiting:
            async with session.post(url, data=waiting.pop(), headers=headers) as answer:
                await answer.read()

    async with aiohttp.ClientSession() as session:
        begin = time.perf_counter()
        await asyncio.gather(*(worker(session) for _ in range(4)))
        return time.perf_counter() - begin


async def through_web3(
    url: str, market: Any, reserves: dict[int, PoolReserve], accounts: list[str], at: Block
) -> float:
    from web3 import AsyncHTTPProvider, AsyncWeb3

    provider = AsyncHTTPProvider(url)
    client = AsyncWeb3(provider)
    checked = client.to_checksum_address
    pool = client.eth.contract(address=checked(market.pool), abi=read_abi("aave_v3_pool"))
    token_abi = read_abi("a_token")
    begin = time.perf_counter()
    for account in accounts:
        owner = checked(account)
        answer: Any = await pool.functions.getUserConfiguration(owner).call(
            block_identifier=at.number
        )
        await pool.functions.getUserEMode(owner).call(block_identifier=at.number)
        bits = answer[0] if isinstance(answer, (list, tuple)) else answer
        for reserve_id, borrows, collateral in aave_v3_arithmetic.flagged(bits, len(reserves)):
            data = reserves[reserve_id].data
            tokens = [data.a_token_address] * collateral
            tokens += [data.variable_debt_token_address] * borrows
            # Stable debt: ours reads three words more.
            for token in tokens:
                contract = client.eth.contract(address=checked(token), abi=token_abi)
                await contract.functions.scaledBalanceOf(owner).call(block_identifier=at.number)
    seconds = time.perf_counter() - begin
    await provider.disconnect()
    return seconds


def run(cache: Path) -> list[dict[str, Any]]:
    with market_with(cache, ACCOUNTS) as (url, market, accounts, _):
        seconds = asyncio.run(measure(url, market, accounts))
    sizes = seconds["sizes"]

    def line(name: str, method: str, alternative: str, wanted: str) -> dict[str, Any]:
        requests, sent = sizes[method]
        return {
            "benchmark": name,
            "unit": "accounts/s",
            "accounts": ACCOUNTS,
            "requests": requests,
            "bytes sent per account": round(sent / ACCOUNTS),
            "ours": round(ACCOUNTS / seconds[method]),
            "alternative": round(ACCOUNTS / seconds[alternative], 1),
            "ratio": round(seconds[alternative] / seconds[method], 2),
            "wanted": wanted,
        }

    return [
        line("full read of accounts against a loop of AsyncWeb3 calls", "ours", "web3", "≥ 30"),
        line("full read of accounts against multicalls posted raw", "ours", "raw", "≥ 0.9"),
        line(
            "full read without state overrides against the same bodies posted raw",
            "multicalls",
            "raw",
            "≥ 0.6",
        ),
    ]
