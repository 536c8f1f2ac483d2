"""Blocks and reorganisations against a real node behind proxies like public endpoints."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chainwatch.demo.chain import Chain
from chainwatch.errors import NetworkError, Reorged, RpcError
from tests.chain.ledger import (
    BALANCES,
    BLOCKS,
    WORTH,
    Connect,
    behind,
    head,
    is_method,
)
from tests.evm.rpc_proxy import Answer, Proxy
from tests.evm.rpc_proxy import Call as ProxyCall

pytestmark = pytest.mark.contracts("plain")


async def test_a_block_is_its_number_hash_and_time(connect: Connect, ledger: Chain) -> None:
    rpc = connect(ledger.url)
    assert await rpc.block() == head(ledger)
    assert (await rpc.block(7)).number == 7
    assert (await rpc.block("earliest")).number == 0


@pytest.mark.parametrize(
    "change",
    [
        {"number": "60"},
        {"number": "0x"},
        {"number": "0xzz"},
        {"number": 60},
        {"number": None},
        {"number": "0x1_0"},
        {"number": "-0x1"},
        {"hash": "0x12"},
        {"hash": None},
        {"timestamp": "yesterday"},
        {"timestamp": "0x1" + "0" * 64},
    ],
)
async def test_a_header_that_is_no_header_is_refused(
    connect: Connect, proxy: Proxy, change: dict[str, Any]
) -> None:
    def spoil(call: ProxyCall, answer: Answer) -> None:
        if call["method"] == "eth_getBlockByNumber":
            answer["result"].update(change)

    proxy.edits.append(spoil)
    with pytest.raises(RpcError, match="a block header that cannot be parsed"):
        await connect(proxy, tries=2).block()


async def test_another_block_than_asked_for_is_refused(connect: Connect, proxy: Proxy) -> None:
    def replace(call: ProxyCall) -> None:
        if call["method"] == "eth_getBlockByNumber" and call["params"][0] == "0x7":
            call["params"][0] = "0x8"

    proxy.rules.append(replace)
    with pytest.raises(RpcError, match="another block than the 7"):
        await connect(proxy, tries=2).block(7)


async def test_pinning_stays_below_the_head_and_above_zero(connect: Connect, ledger: Chain) -> None:
    rpc = connect(ledger.url)
    assert await rpc.pin() == head(ledger)
    assert (await rpc.pin(5)).number == BLOCKS - 5
    assert (await rpc.pin(10_000)).number == 0


async def test_the_highest_head_of_all_endpoints_is_pinned(
    connect: Connect, proxy: Proxy, other: Proxy
) -> None:
    proxy.rules.append(behind(40))
    assert (await connect(proxy, other).pin()).number == BLOCKS
    assert (await connect(proxy, other).pin(30)).number == BLOCKS - 30


async def test_a_head_that_falls_back_does_not_move_the_pin(
    connect: Connect, proxy: Proxy, other: Proxy
) -> None:
    rpc = connect(proxy, other)
    assert (await rpc.pin()).number == BLOCKS
    proxy.rules.append(behind(40))
    other.rules.append(behind(50))
    assert (await rpc.pin(20)).number == BLOCKS - 20
    with pytest.raises(NetworkError) as caught:
        await rpc.pin()
    assert not isinstance(caught.value, Reorged)
    assert f"{other.url}: is at block 50 and does not have block 60" in str(caught.value)
    other.rules.clear()
    assert (await rpc.pin()).number == BLOCKS


async def test_a_pin_waits_for_an_endpoint_that_catches_up(connect: Connect, proxy: Proxy) -> None:
    rpc = connect(proxy)
    assert (await rpc.pin()).number == BLOCKS
    proxy.rules.append(behind(40))
    pinning = asyncio.create_task(rpc.pin())
    await asyncio.sleep(0.005)
    proxy.rules.clear()
    assert (await pinning).number == BLOCKS


async def test_a_chain_that_was_replaced_by_a_shorter_one_moves_the_pin(
    connect: Connect, chain: Chain
) -> None:
    fork = chain.snapshot()
    chain.mine(3)
    rpc = connect(chain.url)
    old = await rpc.pin()
    assert old.number == BLOCKS + 3
    assert await rpc.canonical(old)
    chain.revert(fork)
    chain.increase_time(1000)
    chain.increase_time(1000)
    assert head(chain).number == BLOCKS + 2
    assert await rpc.pin() == head(chain)
    assert not await rpc.canonical(old)
    with pytest.raises(Reorged):
        await rpc.read(BALANCES[:3], old)


async def test_any_block_read_before_reveals_a_shorter_chain(
    connect: Connect, chain: Chain
) -> None:
    fork = chain.snapshot()
    chain.mine(5)
    rpc = connect(chain.url)
    old = await rpc.pin()
    await rpc.block(BLOCKS + 1)
    chain.revert(fork)
    chain.increase_time(1000)
    chain.mine(2)
    assert not await rpc.canonical(old)
    assert await rpc.pin() == head(chain)


async def test_a_block_that_comes_back_is_canonical_again(connect: Connect, chain: Chain) -> None:
    fork = chain.snapshot()
    chain.mine(2)
    rpc = connect(chain.url)
    first = await rpc.pin()
    chain.revert(fork)
    fork = chain.snapshot()
    chain.increase_time(1000)
    chain.mine()
    assert await rpc.pin() != first
    assert not await rpc.canonical(first)
    chain.revert(fork)
    chain.mine(2)
    assert await rpc.pin() == first
    assert await rpc.canonical(first)
    assert await rpc.read(BALANCES[:3], first) == WORTH[:3]


async def test_an_endpoint_without_any_block_is_reported(connect: Connect, proxy: Proxy) -> None:
    proxy.rules.append(is_method("eth_getBlockByNumber", {"result": None}))
    rpc = connect(proxy, tries=2)
    with pytest.raises(NetworkError, match="has no latest block"):
        await rpc.block()
    with pytest.raises(NetworkError, match="has no latest block"):
        await rpc.block(7)


async def test_a_block_of_the_other_fork_is_not_canonical(connect: Connect, chain: Chain) -> None:
    fork = chain.snapshot()
    chain.mine(2)
    rpc = connect(chain.url)
    old = await rpc.pin()
    chain.revert(fork)
    chain.increase_time(1000)
    chain.mine(3)
    assert not await rpc.canonical(old)
    assert await rpc.canonical(await rpc.pin())
    assert await rpc.canonical(await rpc.block(BLOCKS - 3))
