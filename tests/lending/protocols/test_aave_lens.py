"""Accounts read by code run within a call: the same positions as by one call for each balance."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market
from chainwatch.chain.reading import Reading
from chainwatch.demo import accounts
from chainwatch.demo.aave import AaveMarket
from chainwatch.demo.chain import Chain
from chainwatch.demo.node import Node
from chainwatch.errors import NetworkError
from chainwatch.lending.protocols.aave_v2.reader import V2
from chainwatch.lending.protocols.aave_v3.balances import PoolPosition, read_positions
from chainwatch.lending.protocols.aave_v3.pool import V3, Dialect, PoolReserve, read_pool
from chainwatch.net.http import Http
from tests.evm import aave_v2_market
from tests.evm.rpc_proxy import Answer, Proxy
from tests.evm.rpc_proxy import Call as ProxyCall

pytestmark = pytest.mark.contracts("published")

COUNT = 120
NOBODY = "0x" + "ab" * 20


@pytest.fixture
async def proxy(node: Node) -> AsyncIterator[Proxy]:
    async with Proxy(node.url) as proxy:
        yield proxy


def programs(proxy: Proxy) -> list[ProxyCall]:
    return [c for c in proxy.calls("eth_call") if len(c["params"]) > 2 and is_program(c)]


def is_program(call: ProxyCall) -> bool:
    return bool(call["params"][0]["to"].startswith("0xc4a3"))


async def both(
    proxy: Proxy, pool: str, dialect: Dialect, names: Sequence[str], reserves: slice = slice(None)
) -> tuple[dict[str, PoolPosition], dict[str, PoolPosition], Sequence[PoolReserve]]:
    """The positions by code within a call, and by multicalls."""
    market: Any = Market(protocol=dialect.protocol, chain="local", chain_id=31_337, pool=pool)
    async with Http() as http:
        rpc = Rpc(http, [proxy.url], chain="local", chain_id=31_337)
        reading = Reading(rpc, market, await rpc.pin())
        listed = (await read_pool(reading, dialect)).reserves[reserves]
        has_emodes = dialect.has_emodes
        proxy.received.clear()
        together = await read_positions(reading, listed, names, has_emodes=has_emodes)
        plain = Reading(rpc, market, reading.block, {})
        singly = await read_positions(plain, listed, names, has_emodes=has_emodes)
        return together, singly, listed


def kinds(positions: dict[str, PoolPosition]) -> set[str]:
    """What these positions have: a test of nothing would hold as well."""
    held = [h for p in positions.values() for h in p.holdings]
    return {
        *("collateral" for h in held if h.collateral),
        *("debt" for h in held if h.debt),
        *("stable" for h in held if h.stable),
        *("flag alone" for h in held if h.collateral == 0 or h.debt == 0),
        *("e-mode" for p in positions.values() if p.emode),
        *("nothing" for p in positions.values() if not p.holdings),
    }


async def test_positions_of_v3_are_those_of_single_calls(
    aave_market: AaveMarket, proxy: Proxy
) -> None:
    names = [*accounts.populate(aave_market, COUNT, 3), *accounts.PROVIDERS, NOBODY]
    together, singly, _ = await both(proxy, aave_market.pool, V3, names)
    assert together == singly
    assert list(together) == names
    assert kinds(together) >= {"collateral", "debt", "stable", "e-mode", "nothing"}
    assert len(programs(proxy)) == 1


async def test_positions_of_v2_are_those_of_single_calls(chain: Chain, proxy: Proxy) -> None:
    market = aave_v2_market.deploy(chain, aave_v2_market.artifacts())
    names = [*aave_v2_market.populate(market, COUNT, 3), NOBODY]
    together, singly, _ = await both(proxy, market.pool, V2, names)
    assert together == singly
    assert kinds(together) >= {"collateral", "debt", "stable", "nothing"}
    assert len(programs(proxy)) == 1


@pytest.mark.parametrize("reserves", [slice(1, None), slice(None, 2), slice(0, 0)])
async def test_a_reserve_that_is_not_listed_is_left_out(
    aave_market: AaveMarket, proxy: Proxy, reserves: slice
) -> None:
    names = accounts.populate(aave_market, COUNT, 5)
    together, singly, listed = await both(proxy, aave_market.pool, V3, names, reserves)
    assert together == singly
    assert {h.asset for p in together.values() for h in p.holdings} == {r.asset for r in listed}
    assert len(programs(proxy)) == 1


def shorter(answer: str) -> str:
    return answer[:-64]


def longer(answer: str) -> str:
    return answer + "00" * 32


def uneven(answer: str) -> str:
    return answer + "00"


def empty(_: str) -> str:
    """As of an address without code, where a server behind the endpoint drops overrides."""
    return "0x"


@pytest.mark.parametrize("damage", [shorter, longer, uneven, empty])
async def test_an_answer_of_another_size_counts_for_nothing(
    aave_market: AaveMarket, proxy: Proxy, damage: Callable[[str], str]
) -> None:
    def edit(call: ProxyCall, answer: Answer) -> None:
        if call["method"] == "eth_call" and is_program(call):
            answer["result"] = damage(answer["result"])

    names = accounts.populate(aave_market, 20, 7)
    proxy.edits.append(edit)
    together, singly, _ = await both(proxy, aave_market.pool, V3, names)
    assert together == singly
    assert kinds(together) >= {"collateral", "debt"}
    assert len(programs(proxy)) == 1


async def test_a_token_that_fails_fails_by_itself(aave_market: AaveMarket, proxy: Proxy) -> None:
    """What reverts within the code is the error of that balance, as by single calls."""
    names = accounts.populate(aave_market, 20, 7)
    token = aave_market.listed["WETH"].a_token
    aave_market.chain.set_code(token, "60006000fd")
    aave_market.chain.mine()
    with pytest.raises(NetworkError, match="scaledBalanceOf reverted"):
        await both(proxy, aave_market.pool, V3, names)
    assert len(programs(proxy)) == 1
