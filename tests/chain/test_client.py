"""Batches of calls against a real node behind proxies that behave like public endpoints."""

from __future__ import annotations

import asyncio
import json
import random
import re
from typing import Any

import pytest
from aiohttp import web

from chainwatch.chain.faults import RpcFault
from chainwatch.demo.chain import Chain
from tests.chain.ledger import (
    BALANCES,
    BLOCKS,
    STATED,
    UNSTATED,
    WORTH,
    Connect,
    codes,
    collect,
    refuse_batches,
    truth,
    worth,
)
from tests.evm.rpc_proxy import Answer, Proxy, cut, drop, fault, hang, say
from tests.evm.rpc_proxy import Call as ProxyCall

pytestmark = pytest.mark.contracts("plain")


# --- batches -------------------------------------------------------------------------------------


async def test_a_batch_keeps_its_order_and_its_size(connect: Connect, proxy: Proxy) -> None:
    rpc = connect(proxy)
    assert await rpc.batch(codes(120)) == worth(120)
    sizes = sorted(len(body) for body in proxy.received if isinstance(body, list))
    assert sizes == [20, 50, 50]
    assert rpc.stats.methods["eth_call"] == 120
    assert rpc.stats.requests == len(proxy.received)
    assert rpc.stats.bytes > 120 * 64


async def test_an_empty_batch_asks_nothing(connect: Connect, proxy: Proxy) -> None:
    assert await connect(proxy).batch([]) == []
    assert proxy.received == []


async def test_answers_in_another_order_are_put_in_order(connect: Connect, proxy: Proxy) -> None:
    async def shuffled(request: web.Request) -> web.StreamResponse:
        calls = proxy.received[-1]
        answers = await proxy.forward(calls)
        entries = [{"id": c["id"], **a} for c, a in zip(calls, answers, strict=True)]
        random.Random(1).shuffle(entries)
        return web.json_response(entries)

    rpc = connect(proxy)
    await rpc.check()
    proxy.once.append(shuffled)
    assert await rpc.batch(codes(30)) == worth(30)


async def test_a_null_result_is_a_result(connect: Connect, proxy: Proxy) -> None:
    request = ("eth_getTransactionByHash", ["0x" + "ab" * 32])
    assert await connect(proxy).batch([request, ("eth_blockNumber", [])]) == [None, hex(BLOCKS)]


async def test_only_the_entry_that_failed_is_asked_again(connect: Connect, proxy: Proxy) -> None:
    bad = [fault(-32603, "internal error"), fault(-32000, "try again later")]
    target = codes(10)[4][1]

    def fail_twice(call: ProxyCall) -> Answer | None:
        return bad.pop() if bad and call["params"] == target else None

    proxy.rules.append(fail_twice)
    assert await connect(proxy).batch(codes(10)) == worth(10)
    assert len(proxy.calls("eth_call")) == 12


async def test_an_entry_that_keeps_failing_is_a_fault_among_results(
    connect: Connect, proxy: Proxy
) -> None:
    target = codes(5)[2][1]
    proxy.rules.append(
        lambda call: fault(-32000, "missing trie node") if call["params"] == target else None
    )
    answers = await connect(proxy, tries=3).batch(codes(5))
    assert answers.pop(2) == RpcFault(-32000, "missing trie node")
    assert answers == worth(5)[:2] + worth(5)[3:]
    assert len(proxy.calls("eth_call")) == 5 + 3


async def test_an_entry_that_keeps_failing_holds_up_no_other(
    connect: Connect, proxy: Proxy, other: Proxy
) -> None:
    rpc = connect(proxy, other, tries=4)
    await rpc.check()
    proxy.once += [drop] * 1000
    other.gate = refuse_batches(1, lambda body: web.Response(status=403))
    assert await rpc.batch(codes(2)) == worth(2)
    await asyncio.sleep(0.05)
    # Planned for batches of the first endpoint, done call by call at the second.
    target = codes(1)[0][1]
    other.rules.append(
        lambda call: fault(-32000, "missing trie node") if call["params"] == target else None
    )
    answers = await rpc.batch(codes(4))
    assert answers == [RpcFault(-32000, "missing trie node"), *worth(4)[1:]]


@pytest.mark.parametrize("damage", ["missing", "empty", "null error"])
async def test_an_entry_without_an_answer_is_asked_again(
    connect: Connect, proxy: Proxy, damage: str
) -> None:
    async def damaged(request: web.Request) -> web.StreamResponse:
        calls = proxy.received[-1]
        answers = await proxy.forward(calls)
        entries = [{"id": c["id"], **a} for c, a in zip(calls, answers, strict=True)]
        if damage == "missing":
            del entries[3]
        else:
            entries[3] = {"id": calls[3]["id"]}
        if damage == "null error":
            entries[3]["error"] = None
        return web.json_response(entries)

    rpc = connect(proxy)
    await rpc.check()
    proxy.once.append(damaged)
    assert await rpc.batch(codes(8)) == worth(8)
    assert len(proxy.calls("eth_call")) == 9


@pytest.mark.parametrize("damage", ["duplicate", "foreign", "string", "not an object"])
async def test_a_batch_with_wrong_ids_is_asked_again_as_a_whole(
    connect: Connect, proxy: Proxy, damage: str
) -> None:
    async def damaged(request: web.Request) -> web.StreamResponse:
        calls = proxy.received[-1]
        answers = await proxy.forward(calls)
        entries: list[Any] = [{"id": c["id"], **a} for c, a in zip(calls, answers, strict=True)]
        changed = {
            "duplicate": {**entries[3], "id": entries[2]["id"]},
            "foreign": {**entries[3], "id": 10**9},
            "string": {**entries[3], "id": str(entries[3]["id"])},
            "not an object": "oops",
        }
        entries[3] = changed[damage]
        return web.json_response(entries)

    rpc = connect(proxy)
    await rpc.check()
    proxy.once.append(damaged)
    assert await rpc.batch(codes(8)) == worth(8)
    assert len(proxy.calls("eth_call")) == 16


def json_error(code: int, message: str, data: Any = None, status: int = 200) -> Any:
    entry = {"jsonrpc": "2.0", "id": None, **fault(code, message, data)}
    return lambda body: web.json_response(entry, status=status)


@pytest.mark.parametrize(
    ("limit", "refusal", "requests"),
    [
        # erigon, drpc: the size is in the text
        (10, json_error(-32000, "batch limit 10 exceeded: 50 requests given"), 6),
        (
            3,
            json_error(
                31, "Batch of more than 3 requests are not allowed on free tier", status=500
            ),
            18,
        ),
        # jsonrpsee (reth)
        (1, json_error(-32005, "Batched requests are not supported by this server"), 51),
        (20, json_error(-32010, "The batch request was too large", "Exceeded max limit of 20"), 4),
        # geth: an error for the first call only
        (
            40,
            lambda body: web.json_response(
                [{"id": body[0]["id"], "error": {"code": -32600, "message": "batch too large"}}]
            ),
            4,
        ),
        # besu
        (
            30,
            json_error(-32602, "Number of requests in batch exceeds --rpc-max-batch-size."),
            4,
        ),
        (13, lambda body: web.Response(status=413), 8),
        (1, lambda body: web.Response(status=403, text="<html>forbidden</html>"), 51),
        (1, json_error(-32600, "Invalid request"), 51),
        (25, json_error(-32600, "Request Entity Too Large", status=413), 3),
    ],
)
async def test_the_batch_size_of_an_endpoint_is_learnt(
    connect: Connect, proxy: Proxy, limit: int, refusal: Any, requests: int
) -> None:
    rpc = connect(proxy)
    await rpc.check()
    before = len(proxy.received)
    proxy.gate = refuse_batches(limit, refusal)
    assert await rpc.batch(codes(50)) == worth(50)
    assert len(proxy.received) - before <= requests + 1
    before = len(proxy.received)
    assert await rpc.batch(codes(limit)) == worth(limit)
    refused = [b for b in proxy.received[before:] if isinstance(b, list) and len(b) > limit]
    assert refused == [], "what was learnt is remembered"


async def test_a_batch_whose_answer_is_too_large_is_halved(connect: Connect, proxy: Proxy) -> None:
    rpc = connect(proxy, max_bytes=1500)
    assert await rpc.batch(codes(50)) == worth(50)


async def test_a_batch_that_takes_too_long_is_halved(connect: Connect, proxy: Proxy) -> None:
    rpc = connect(proxy, timeout=1.5)
    await rpc.check()
    proxy.once.append(hang)
    assert await rpc.batch(codes(40)) == worth(40)
    assert [len(b) for b in proxy.received if isinstance(b, list)] == [40, 20, 20]


async def test_entries_beyond_a_response_limit_are_requested_again(
    connect: Connect, proxy: Proxy
) -> None:
    """Entries cut off by a response limit are requested again in smaller batches."""

    async def limited(request: web.Request) -> web.StreamResponse:
        calls = proxy.received[-1]
        answers = await proxy.forward(calls)
        answers[15:] = [fault(-32003, "response too large")] * (len(calls) - 15)
        entries = [{"id": c["id"], **a} for c, a in zip(calls, answers, strict=True)]
        return web.json_response(entries)

    rpc = connect(proxy)
    await rpc.check()
    proxy.once.append(limited)
    assert await rpc.batch(codes(40)) == worth(40)
    assert [len(b) for b in proxy.received if isinstance(b, list)] == [40, 20, 5]


async def test_no_more_requests_are_under_way_than_allowed(connect: Connect, proxy: Proxy) -> None:
    now = most = 0

    async def counted(request: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        calls = json.loads(await request.read())
        answers = await proxy.forward(calls)
        return web.json_response(
            [{"id": c["id"], **a} for c, a in zip(calls, answers, strict=True)]
        )

    rpc = connect(proxy, batch=5, concurrency=3)
    await rpc.check()
    proxy.once += [counted] * 40
    first, second = await asyncio.gather(rpc.batch(codes(100)), rpc.batch(codes(100)))
    assert first == second == worth(100)
    assert most == 3


# --- under fire ----------------------------------------------------------------------------------


async def test_nothing_is_lost_or_doubled_under_random_failures(
    connect: Connect, proxy: Proxy, other: Proxy, ledger: Chain
) -> None:
    luck = random.Random(5)
    troubles = [drop, say(status=502), say(b""), cut(b"{", 99), say(status=429), say(b"<html>")]

    async def maybe(request: web.Request) -> web.StreamResponse:
        if luck.random() < 0.3:
            return await luck.choice(troubles)(request)
        body = json.loads(await request.read())
        calls = body if isinstance(body, list) else [body]
        answers = await proxy.forward(calls)
        entries = [{"id": c["id"], **a} for c, a in zip(calls, answers, strict=True)]
        return web.json_response(entries if isinstance(body, list) else entries[0])

    for endpoint in (proxy, other):
        endpoint.once += [maybe] * 10_000
    rpc = connect(proxy, other, tries=20, log_blocks=5, multicall=20, batch=10, max_delay=0.01)
    at = await rpc.pin()
    logs, answers, results = await asyncio.gather(
        collect(rpc), rpc.read(BALANCES, at), rpc.batch(codes(100))
    )
    assert logs == truth(ledger)
    assert answers == WORTH
    assert results == worth(100)
    assert rpc.stats.retries > 0


def test_every_known_limit_text_stays_in_step_with_the_reference() -> None:
    """A number in braces is what the tests above fill in; nothing else may vary."""
    texts = [text for _, _, text in STATED]
    assert all(re.search(r"\{(?:n|end)", text) for text in texts)
    assert len({text for _, _, text in [*STATED, *UNSTATED]}) == len(STATED) + len(UNSTATED)
