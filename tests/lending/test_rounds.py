"""How often a market's own state waits for an answer: what does not depend on another is joined."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Block
from chainwatch.demo import accounts
from chainwatch.demo.aave import AaveMarket
from chainwatch.lending.protocols.aave_v3.pool import V3
from chainwatch.lending.protocols.aave_v3.reader import AavePool
from chainwatch.net.http import Http

pytestmark = pytest.mark.contracts("published")


async def read(market: AaveMarket, at: Block | None, joins: bool) -> tuple[list[Any], Rpc, Block]:
    """All that a snapshot has of the market itself; by a client of its own."""
    place = Market(protocol="aave-v3", chain="local", chain_id=31_337, pool=market.pool)
    async with Http() as http:
        rpc = Rpc(http, [market.chain.url], chain="local", chain_id=31_337)
        block = at or await rpc.pin()
        reading = Reading(rpc, place, block, joins=joins)
        lending = AavePool(V3)
        opened = await lending.open(reading)
        view = await lending.read_market(reading, opened, {})
        exposures = await lending.read_exposures(reading, view)
        totals = await lending.debt_totals(reading, opened, view)
    return [opened, view.reserves, view.emodes, view.rules, exposures, totals], rpc, block


async def test_a_market_is_read_in_few_waits(aave_market: AaveMarket) -> None:
    """With the same rows as where each read is sent by itself."""
    accounts.populate(aave_market, 20, 3)
    joined, rpc, at = await read(aave_market, None, joins=True)
    singly, other, _ = await read(aave_market, at, joins=False)
    assert [msgspec.to_builtins(part) for part in joined[1:4]] == [
        msgspec.to_builtins(part) for part in singly[1:4]
    ]
    assert joined[4:] == singly[4:]
    assert joined[4], "prices have sources"
    # The first contact, three of the pool, two of its prices, the sources, and what moves them.
    assert rpc.stats.rounds <= 17
    assert rpc.stats.requests < other.stats.requests
