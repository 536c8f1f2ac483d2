"""Contract state at one block against a real node behind proxies like public endpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from chainwatch.chain.types import MULTICALL3, Reverted
from chainwatch.demo.chain import Chain, own_artifact
from chainwatch.errors import ConfigError, NetworkError, Reorged, RpcError
from tests.chain.ledger import (
    ACCOUNTS,
    BALANCES,
    BLOCKS,
    FAIL_LOUDLY,
    FAIL_SILENTLY,
    NO_PRICE,
    PROBE,
    WORTH,
    Connect,
    behind,
    burn,
    codes,
    worth,
)
from tests.evm.rpc_proxy import Answer, Proxy, fault, hang
from tests.evm.rpc_proxy import Call as ProxyCall

pytestmark = pytest.mark.contracts("plain")


# --- reads ---------------------------------------------------------------------------------------


async def test_a_read_returns_every_answer_in_order(connect: Connect, proxy: Proxy) -> None:
    rpc = connect(proxy, multicall=100)
    at = await rpc.pin()
    assert await rpc.read(BALANCES, at) == WORTH
    # The head, the chain id, the code of Multicall3, one question about block hashes, then data.
    assert len(proxy.received) <= 3 + 1 + 3


async def test_a_read_of_nothing_asks_nothing(connect: Connect, proxy: Proxy) -> None:
    rpc = connect(proxy)
    at = await rpc.pin()
    requests_before = len(proxy.received)
    assert await rpc.read([], at) == []
    assert len(proxy.received) == requests_before


async def test_a_failed_inner_call_is_reverted_with_its_data(
    connect: Connect, ledger: Chain
) -> None:
    rpc = connect(ledger.url)
    calls = [BALANCES[5], (PROBE, FAIL_LOUDLY), (PROBE, FAIL_SILENTLY), ("0x" + "99" * 20, b"")]
    expected = [WORTH[5], Reverted(NO_PRICE), Reverted(b""), b""]
    assert await rpc.read(calls, await rpc.pin()) == expected
    assert NO_PRICE[:4].hex() == "08c379a0"


async def test_a_chain_without_multicall_is_read_call_by_call(
    connect: Connect, proxy: Proxy, chain: Chain
) -> None:
    chain.set_code(MULTICALL3, "")
    chain.mine()
    rpc = connect(proxy)
    at = await rpc.pin()
    calls = [*BALANCES, (PROBE, FAIL_LOUDLY), (PROBE, FAIL_SILENTLY)]
    assert await rpc.read(calls, at) == [*WORTH, Reverted(NO_PRICE), Reverted(b"")]
    await rpc.read(BALANCES[:3], at)
    assert len(proxy.calls("eth_getCode")) == 1, "learnt once"


def gas_cap(limit: int) -> Callable[[ProxyCall], None]:
    def rule(call: ProxyCall) -> None:
        if call["method"] == "eth_call":
            call["params"][0]["gas"] = hex(limit)

    return rule


async def test_a_multicall_that_runs_out_of_gas_is_split(connect: Connect, proxy: Proxy) -> None:
    proxy.rules.append(gas_cap(800_000))
    rpc = connect(proxy)
    assert await rpc.read(BALANCES, await rpc.pin()) == WORTH
    learnt = len(proxy.calls("eth_call"))
    await rpc.read(BALANCES[:100], await rpc.pin())
    assert len(proxy.calls("eth_call")) - learnt <= 4


async def test_calls_starved_of_gas_by_others_are_not_mistaken_for_reverts(
    connect: Connect, proxy: Proxy
) -> None:
    proxy.rules.append(gas_cap(3_000_000))
    rpc = connect(proxy)
    calls = [(PROBE, burn(900_000))] * 8
    assert await rpc.read(calls, await rpc.pin()) == [(900_000).to_bytes(32)] * 8


async def test_a_call_that_needs_more_gas_than_there_is_reverts(
    connect: Connect, proxy: Proxy
) -> None:
    proxy.rules.append(gas_cap(1_000_000))
    rpc = connect(proxy)
    calls = [BALANCES[1], (PROBE, burn(10_000_000)), BALANCES[2]]
    assert await rpc.read(calls, await rpc.pin()) == [WORTH[1], Reverted(b""), WORTH[2]]


@pytest.mark.parametrize(
    "refusal",
    [
        fault(-32000, "out of gas"),
        fault(-32015, "VM execution error.", "Out of gas"),
        fault(-32003, "response too large"),
        fault(-32020, "backend response too large"),
        fault(-32600, "request entity too large"),
        fault(-32002, "request timed out"),
        fault(-32000, "execution aborted (timeout = 5s)"),
        fault(3, "execution reverted"),
    ],
)
async def test_a_multicall_that_is_too_much_is_split(
    connect: Connect, proxy: Proxy, refusal: Answer
) -> None:
    def too_much(call: ProxyCall) -> Answer | None:
        long = call["method"] == "eth_call" and len(call["params"][0]["data"]) > 2 * 20_000
        return refusal if long else None

    proxy.rules.append(too_much)
    rpc = connect(proxy)
    assert await rpc.read(BALANCES, await rpc.pin()) == WORTH


@pytest.mark.parametrize("multicall", [True, False])
@pytest.mark.parametrize(
    "mood",
    [
        fault(-32005, "limit exceeded"),
        fault(-32603, "internal error"),
        fault(-32000, "no backend is currently healthy to serve traffic"),
    ],
)
async def test_a_busy_endpoint_is_asked_again_and_not_taken_for_a_revert(
    connect: Connect, proxy: Proxy, chain: Chain, multicall: bool, mood: Answer
) -> None:
    if not multicall:
        chain.set_code(MULTICALL3, "")
        chain.mine()
    rpc = connect(proxy)
    at = await rpc.pin()
    await rpc.read(BALANCES[:1], at)
    moods = [mood, mood]
    proxy.rules.append(lambda call: moods.pop() if moods and call["method"] == "eth_call" else None)
    requests_before = len(proxy.received)
    assert await rpc.read(BALANCES[:40], at) == WORTH[:40]
    assert len(proxy.received) - requests_before <= 3
    assert proxy.calls("eth_call")[-1]["params"][1]["blockHash"] == at.hash


async def test_a_call_that_fails_its_multicall_is_isolated(connect: Connect, proxy: Proxy) -> None:
    """A call that makes the whole multicall fail is isolated, and reverted alone."""

    def explode(call: ProxyCall) -> Answer | None:
        bad = call["method"] == "eth_call" and FAIL_LOUDLY.hex() in call["params"][0]["data"]
        return fault(-32000, "out of gas") if bad else None

    proxy.rules.append(explode)
    rpc = connect(proxy)
    calls = [*BALANCES[:9], (PROBE, FAIL_LOUDLY), *BALANCES[9:20]]
    expected = [*WORTH[:9], Reverted(b""), *WORTH[9:20]]
    assert await rpc.read(calls, await rpc.pin()) == expected


@pytest.mark.parametrize("answer", ["", '{"id":null,"error":{"code":-1,"message":"no"}}'])
async def test_a_multicall_whose_body_is_too_large_is_split(
    connect: Connect, proxy: Proxy, answer: str
) -> None:
    def gate(body: Any) -> web.Response | None:
        large = len(json.dumps(body)) > 30_000
        return web.Response(status=413, text=answer) if large else None

    proxy.gate = gate
    rpc = connect(proxy)
    assert await rpc.read(BALANCES, await rpc.pin()) == WORTH


async def test_a_multicall_whose_answer_is_too_large_is_split(
    connect: Connect, ledger: Chain
) -> None:
    rpc = connect(ledger.url, max_bytes=30_000)
    assert await rpc.read(BALANCES, await rpc.pin()) == WORTH


async def test_a_batch_and_a_multicall_grow_after_many_successes(
    connect: Connect, proxy: Proxy
) -> None:
    rpc = connect(proxy, batch=2, multicall=2, concurrency=1)
    await rpc.batch(codes(42))
    assert await rpc.batch(codes(42)) == worth(42)
    assert max(len(body) for body in proxy.received if isinstance(body, list)) == 3
    at = await rpc.pin()
    await rpc.read(BALANCES[:42], at)
    requests_before = len(proxy.calls("eth_call"))
    assert await rpc.read(BALANCES[:42], at) == WORTH[:42]
    assert len(proxy.calls("eth_call")) - requests_before == 14


@pytest.mark.parametrize(
    ("code", "message", "data"),
    [
        (3, "execution reverted: no price", "0x" + NO_PRICE.hex()),
        (-32000, "execution reverted", "0x" + NO_PRICE.hex()),
        (-32015, "VM execution error.", "Reverted 0x" + NO_PRICE.hex()),
        (-32603, "reverted with reason", {"message": "x", "data": "0x" + NO_PRICE.hex()}),
    ],
)
async def test_the_revert_data_of_every_kind_of_node_is_read(
    connect: Connect, proxy: Proxy, chain: Chain, code: int, message: str, data: Any
) -> None:
    chain.set_code(MULTICALL3, "")
    chain.mine()

    def say_it(call: ProxyCall, answer: Answer) -> None:
        if answer.get("error", {}).get("code") == 3:
            answer.update(fault(code, message, data))

    proxy.edits.append(say_it)
    rpc = connect(proxy)
    calls = [BALANCES[1], (PROBE, FAIL_LOUDLY)]
    assert await rpc.read(calls, await rpc.pin()) == [WORTH[1], Reverted(NO_PRICE)]


async def test_a_multicall_that_hangs_is_split(connect: Connect, proxy: Proxy) -> None:
    rpc = connect(proxy, timeout=1.5)
    at = await rpc.pin()
    await rpc.read(BALANCES[:1], at)
    proxy.once.append(hang)
    requests_before = len(proxy.calls("eth_call"))
    assert await rpc.read(BALANCES, at) == WORTH
    assert len(proxy.calls("eth_call")) - requests_before == 3


@pytest.mark.parametrize(
    "garbage", ["0x", "0x12", "0xzz", "0x123", "", None, 5, {"a": 1}, "0x" + "00" * 64]
)
async def test_a_garbled_multicall_answer_is_an_error_and_never_a_revert(
    connect: Connect, proxy: Proxy, garbage: Any
) -> None:
    def spoil(call: ProxyCall, answer: Answer) -> None:
        if call["method"] == "eth_call" and len(call["params"][0]["data"]) > 1000:
            answer["result"] = garbage

    proxy.edits.append(spoil)
    rpc = connect(proxy, tries=3)
    with pytest.raises(RpcError, match=r"no endpoint answers eth_call at block 60"):
        await rpc.read(BALANCES[:10], await rpc.pin())


async def test_a_truncated_multicall_answer_is_asked_for_again(
    connect: Connect, proxy: Proxy
) -> None:
    spoilt = 0

    def spoil(call: ProxyCall, answer: Answer) -> None:
        nonlocal spoilt
        if call["method"] == "eth_call" and len(call["params"][0]["data"]) > 1000 and not spoilt:
            answer["result"] = answer["result"][:-64]
            spoilt += 1

    proxy.edits.append(spoil)
    rpc = connect(proxy)
    assert await rpc.read(BALANCES, await rpc.pin()) == WORTH
    assert spoilt == 1


# --- one block, one fork -------------------------------------------------------------------------


async def test_reads_name_the_block_by_its_hash(connect: Connect, proxy: Proxy) -> None:
    rpc = connect(proxy)
    at = await rpc.pin(10)
    await rpc.read(BALANCES[:10], at)
    pinned = proxy.calls("eth_call")[-1]["params"][1]
    assert pinned == {"blockHash": at.hash, "requireCanonical": True}


def without_hashes(kind: str) -> Callable[[ProxyCall], Answer | None]:
    def rule(call: ProxyCall) -> Answer | None:
        if call["method"] == "eth_call" and isinstance(call["params"][1], dict):
            if kind == "ignores":
                call["params"][1] = "latest"
                return None
            return fault(-32602, "invalid argument 1: cannot unmarshal object into Go value")
        return None

    return rule


@pytest.mark.parametrize("kind", ["refuses", "ignores"])
async def test_without_block_hashes_a_read_is_between_two_checks(
    connect: Connect, proxy: Proxy, kind: str
) -> None:
    """An endpoint that takes no block hashes is read by number between two checks of the header."""
    proxy.rules.append(without_hashes(kind))
    rpc = connect(proxy)
    at = await rpc.block(1)
    await rpc.pin()
    empty = await rpc.read(BALANCES[:10], await rpc.block(0))
    assert empty != WORTH[:10], "block 0 is older than the balances"
    requests_before = len(proxy.received)
    at = await rpc.block(BLOCKS - 5)
    assert await rpc.read(BALANCES[:10], at) == WORTH[:10]
    methods = [body["method"] for body in proxy.received[requests_before + 1 :]]
    assert methods[-3:] == ["eth_getBlockByNumber", "eth_call", "eth_getBlockByNumber"]
    assert proxy.received[-2]["params"][1] == hex(at.number)


async def test_a_busy_endpoint_says_nothing_of_block_hashes(connect: Connect, proxy: Proxy) -> None:
    busy = [fault(-32005, "limit exceeded")]
    proxy.rules.append(lambda call: busy.pop() if busy and call["method"] == "eth_call" else None)
    proxy.rules.append(without_hashes("ignores"))
    rpc = connect(proxy)
    assert await rpc.read(BALANCES[:10], await rpc.block(0)) != WORTH[:10]


@pytest.mark.parametrize("kind", ["accepts", "refuses", "ignores"])
async def test_a_read_at_a_block_that_left_the_chain_is_reorged(
    connect: Connect, proxy: Proxy, chain: Chain, kind: str
) -> None:
    if kind != "accepts":
        proxy.rules.append(without_hashes(kind))
    fork = chain.snapshot()
    chain.mine(2)
    rpc = connect(proxy)
    at = await rpc.pin()
    await rpc.read(BALANCES[:3], at)
    chain.revert(fork)
    chain.increase_time(1000)
    chain.mine(4)
    with pytest.raises(Reorged) as caught:
        await rpc.read(BALANCES[:3], at)
    assert str(caught.value) == (
        f"local: block {at.number} is no longer {at.hash[:10]}… on the chain: read again"
    )


@pytest.mark.parametrize("kind", ["refuses", "ignores"])
async def test_a_reorganisation_during_a_read_by_number_is_noticed(
    connect: Connect, proxy: Proxy, chain: Chain, kind: str
) -> None:
    """Between the two checks of the header."""
    proxy.rules.append(without_hashes(kind))
    fork = chain.snapshot()
    chain.mine(2)
    rpc = connect(proxy)
    at = await rpc.pin()
    await rpc.read(BALANCES[:3], at)

    def reorganise(call: ProxyCall) -> None:
        if call["method"] == "eth_call" and len(call["params"][0]["data"]) > 1000:
            proxy.rules.remove(reorganise)
            chain.revert(fork)
            chain.increase_time(1000)
            chain.mine(4)

    proxy.rules.append(reorganise)
    with pytest.raises(Reorged):
        await rpc.read(BALANCES[:30], at)


async def test_a_reorganisation_between_the_parts_of_a_read_mixes_no_forks(
    connect: Connect, proxy: Proxy, chain: Chain
) -> None:
    fork = chain.snapshot()
    chain.mine(2)
    rpc = connect(proxy, multicall=50, concurrency=1)
    at = await rpc.pin()
    parts = 0

    def reorganise(call: ProxyCall) -> None:
        nonlocal parts
        if call["method"] == "eth_call" and len(call["params"][0]["data"]) > 1000:
            parts += 1
            if parts == 3:
                chain.revert(fork)
                for account in ACCOUNTS:
                    chain.send(PROBE, "set(address,uint256)", account, 1)
                    break
                chain.increase_time(1000)
                chain.mine(4)

    proxy.rules.append(reorganise)
    with pytest.raises(Reorged):
        await rpc.read(BALANCES, at)
    assert parts == 3


async def test_blocks_that_a_node_dropped_in_a_reorganisation_are_reorged(
    connect: Connect, chain: Chain
) -> None:
    chain.mine(5)
    rpc = connect(chain.url)
    at = await rpc.pin(2)
    assert await rpc.read(BALANCES[:5], at) == WORTH[:5]
    chain.rpc("anvil_reorg", 4, [[{"from": ACCOUNTS[9], "to": PROBE}, 0]])
    with pytest.raises(Reorged):
        await rpc.read(BALANCES[:5], at)
    assert not await rpc.canonical(at)
    assert await rpc.read(BALANCES[:5], await rpc.pin()) == WORTH[:5]


async def test_an_endpoint_that_lags_is_skipped_for_one_that_does_not(
    connect: Connect, proxy: Proxy, other: Proxy
) -> None:
    """An endpoint that lags is skipped for one that has the block."""
    rpc = connect(proxy, other)
    at = await rpc.pin()
    proxy.rules.append(behind(40))
    assert await rpc.read(BALANCES, at) == WORTH
    assert await rpc.has_code(PROBE, at.number)
    assert other.calls("eth_call")


async def test_a_block_no_endpoint_has_is_waited_for_then_reported(
    connect: Connect, proxy: Proxy
) -> None:
    rpc = connect(proxy)
    at = await rpc.pin()
    proxy.rules.append(behind(40))
    with pytest.raises(NetworkError) as caught:
        await rpc.read(BALANCES[:3], at)
    assert not isinstance(caught.value, Reorged)
    assert "is at block 40 and does not have block 60" in str(caught.value)
    assert rpc.stats.retries >= 5


# --- contract code -------------------------------------------------------------------------------


async def test_the_deployment_block_comes_from_bisection(
    connect: Connect, proxy: Proxy, chain: Chain
) -> None:
    created = chain.deploy(own_artifact("TestMulticall"))
    block = chain.block_number()
    chain.mine(70)
    rpc = connect(proxy)
    last = chain.block_number()
    assert await rpc.deployment_block(created, last) == block
    assert len(proxy.calls("eth_getCode")) <= 2 + last.bit_length()


async def test_a_contract_that_is_not_there_is_a_configuration_error(
    connect: Connect, ledger: Chain
) -> None:
    with pytest.raises(ConfigError, match="local has no contract at 0x9999"):
        await connect(ledger.url).deployment_block("0x" + "99" * 20, BLOCKS)


async def test_code_is_not_missing_only_because_the_endpoint_is_behind(
    connect: Connect, proxy: Proxy
) -> None:
    rpc = connect(proxy, tries=2)
    await rpc.check()
    proxy.rules.append(behind(10))
    with pytest.raises(NetworkError, match="is at block 10"):
        await rpc.has_code(PROBE, 20)


@pytest.mark.parametrize(
    "text",
    [
        "missing trie node 6d1f (path ) state 0x6d1f is not available",
        "historical state 6d1f is not available",
        "old data not available due to pruning",
        "World state unavailable for block 12",
        "state at block #12 is pruned",
        "project ID does not have access to archive state",
    ],
)
async def test_a_node_without_old_state_is_told_apart(
    proxy: Proxy, connect: Connect, text: str
) -> None:
    proxy.rules.append(
        lambda call: fault(-32000, text) if call["method"] == "eth_getCode" else None
    )
    with pytest.raises(NetworkError, match="no endpoint keeps the state") as failure:
        await connect(proxy, tries=2).deployment_block(PROBE, BLOCKS)
    assert "`deployment_block`" in str(failure.value)
    assert "archive" in str(failure.value)
