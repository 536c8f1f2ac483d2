"""Reads that begin together, on a real node behind a proxy."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chainwatch.chain.types import Block, Reverted
from chainwatch.errors import NetworkError, Reorged
from tests.chain.ledger import BALANCES, FAIL_SILENTLY, PROBE, WORTH, Connect
from tests.evm.rpc_proxy import Proxy, fault, hang

pytestmark = pytest.mark.contracts("plain")


async def test_reads_that_begin_together_are_one_request(connect: Connect, proxy: Proxy) -> None:
    rpc = connect(proxy)
    at = await rpc.pin()
    await rpc.read(BALANCES[:1], at)
    before, rounds = len(proxy.received), rpc.stats.rounds
    parts = [BALANCES[:3], BALANCES[10:12], [], [*BALANCES[5:6], (PROBE, FAIL_SILENTLY)]]
    answers = await asyncio.gather(*(rpc.read_joined(part, at) for part in parts))
    assert answers == [WORTH[:3], WORTH[10:12], [], [WORTH[5], Reverted(b"")]]
    # What failed without a reason is read once more by itself.
    assert len(proxy.received) - before == rpc.stats.rounds - rounds == 2
    assert await rpc.read_joined(BALANCES[:2], at) == WORTH[:2]


async def test_reads_of_two_blocks_stay_apart(connect: Connect, proxy: Proxy) -> None:
    rpc = connect(proxy)
    at = await rpc.pin()
    below = await rpc.block(at.number - 1)
    answers = await asyncio.gather(
        rpc.read_joined(BALANCES[:2], at), rpc.read_joined(BALANCES[:2], below)
    )
    assert answers == [WORTH[:2], WORTH[:2]]
    named = {c["params"][1]["blockHash"] for c in proxy.calls("eth_call")[1:]}
    assert named == {at.hash, below.hash}


async def test_a_failure_is_one_of_every_joined_read(connect: Connect, proxy: Proxy) -> None:
    rpc = connect(proxy, tries=1)
    at = await rpc.pin()
    gone = Block(at.number, "0x" + "77" * 32, at.time)
    failures: list[Any] = await asyncio.gather(
        *(rpc.read_joined(BALANCES[:2], gone) for _ in range(2)), return_exceptions=True
    )
    assert [type(failure) for failure in failures] == [Reorged, Reorged]
    proxy.rules.append(
        lambda call: fault(-32005, "limit") if call["method"] == "eth_call" else None
    )
    with pytest.raises(NetworkError):
        await rpc.read_joined(BALANCES[:2], at)


async def test_a_reader_that_leaves_takes_nobody_along(connect: Connect, proxy: Proxy) -> None:
    rpc = connect(proxy)
    at = await rpc.pin()
    await rpc.read(BALANCES[:1], at)
    left = asyncio.create_task(rpc.read_joined(BALANCES[:2], at))
    stays = asyncio.create_task(rpc.read_joined(BALANCES[2:4], at))
    await asyncio.sleep(0)
    left.cancel()
    assert await stays == WORTH[2:4]
    assert left.cancelled()


async def test_what_nobody_waits_for_is_not_asked_any_more(connect: Connect, proxy: Proxy) -> None:
    rpc = connect(proxy)
    at = await rpc.pin()
    await rpc.read(BALANCES[:1], at)
    proxy.once.append(hang)
    alone = asyncio.create_task(rpc.read_joined(BALANCES[:2], at))
    await asyncio.sleep(0.05)
    alone.cancel()
    await asyncio.gather(alone, return_exceptions=True)
    await asyncio.sleep(0.05)
    running = [t for t in asyncio.all_tasks() if "JoinedReads" in repr(t.get_coro())]
    assert running == []


async def test_a_read_after_one_that_left_at_once_is_answered(
    connect: Connect, proxy: Proxy
) -> None:
    rpc = connect(proxy)
    at = await rpc.pin()
    left = asyncio.create_task(rpc.read_joined(BALANCES[:2], at))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    async with asyncio.timeout(10):
        assert await rpc.read_joined(BALANCES[:2], at) == WORTH[:2]


async def test_codes_and_their_proof_are_one_request(connect: Connect, proxy: Proxy) -> None:
    """A code is read once at a block, with the header in the same request."""
    rpc = connect(proxy)
    at = await rpc.pin()
    before = len(proxy.received)
    codes = await rpc.codes([PROBE, PROBE, "0x" + "99" * 20], at)
    assert len(proxy.received) - before == 1
    assert await rpc.codes([PROBE], at) == {PROBE: codes[PROBE]}
    assert len(proxy.received) - before == 1
    gone = Block(at.number, "0x" + "77" * 32, at.time)
    with pytest.raises(Reorged):
        await rpc.codes([PROBE], gone)
