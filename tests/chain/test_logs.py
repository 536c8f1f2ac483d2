"""Event logs against a real node behind proxies that behave like public endpoints."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from chainwatch.chain.faults import stated_blocks
from chainwatch.demo.chain import Chain
from chainwatch.errors import NetworkError, Reorged, RpcError
from tests.chain.ledger import (
    BLOCKS,
    PROBE,
    STATED,
    UNSTATED,
    Connect,
    Limit,
    behind,
    collect,
    is_method,
    refuse_batches,
    truth,
)
from tests.evm.rpc_proxy import Answer, Proxy, fault, hang
from tests.evm.rpc_proxy import Call as ProxyCall

pytestmark = pytest.mark.contracts("plain")


# --- event logs ----------------------------------------------------------------------------------


async def test_all_logs_come_in_one_request_where_nothing_forbids_it(
    connect: Connect, proxy: Proxy, ledger: Chain
) -> None:
    rpc = connect(proxy)
    assert await collect(rpc) == truth(ledger)
    assert len(truth(ledger)) > 50
    assert len(proxy.calls("eth_getLogs")) == 1


async def test_a_range_carries_the_hash_of_its_last_block(connect: Connect, ledger: Chain) -> None:
    rpc = connect(ledger.url, log_blocks=7)
    async for part in rpc.logs([PROBE], [], 0, BLOCKS):
        assert part.last_hash == (await rpc.block(part.last)).hash


async def test_topics_are_passed_on(connect: Connect, ledger: Chain) -> None:
    rpc = connect(ledger.url)
    wanted = truth(ledger)[7].topics[1]
    logs = [
        log async for part in rpc.logs([PROBE], [None, [wanted]], 0, BLOCKS) for log in part.logs
    ]
    assert logs == [log for log in truth(ledger) if log.topics[1] == wanted]


async def test_an_empty_range_yields_nothing(connect: Connect, proxy: Proxy) -> None:
    rpc = connect(proxy)
    assert [part async for part in rpc.logs([PROBE], [], 5, 4)] == []
    assert proxy.received == []


async def test_ranges_are_asked_for_ahead_and_delivered_in_order(
    connect: Connect, proxy: Proxy, ledger: Chain
) -> None:
    rpc = connect(proxy, log_blocks=3, concurrency=4)
    await rpc.check()
    now = most = 0

    async def uneven(request: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        calls = json.loads(await request.read())
        await asyncio.sleep(0.02 if len(proxy.received) % 4 == 1 else 0)
        answers = await proxy.forward(calls)
        now -= 1
        return web.json_response(
            [{"id": c["id"], **a} for c, a in zip(calls, answers, strict=True)]
        )

    proxy.once += [uneven] * 100
    assert await collect(rpc) == truth(ledger)
    assert 1 < most <= 4


async def test_a_reader_that_stops_early_leaves_no_request_behind(
    connect: Connect, proxy: Proxy
) -> None:
    async def hang_later(request: web.Request) -> web.StreamResponse:
        calls = json.loads(await request.read())
        if int(calls[1]["params"][0]["fromBlock"], 16) > 5:
            return await hang(request)
        answers = await proxy.forward(calls)
        return web.json_response(
            [{"id": c["id"], **a} for c, a in zip(calls, answers, strict=True)]
        )

    rpc = connect(proxy, log_blocks=3)
    await rpc.check()
    proxy.once += [hang_later] * 100
    ranges = rpc.logs([PROBE], [], 0, BLOCKS)
    assert [(await anext(ranges)).first for _ in range(2)] == [0, 3]
    start = time.monotonic()
    await ranges.aclose()  # type: ignore[attr-defined]
    assert time.monotonic() - start < 5.0, "cancelled, not waited for"
    requests_before = len(proxy.received)
    await asyncio.sleep(0.05)
    assert len(proxy.received) == requests_before


@pytest.mark.parametrize(("code", "text"), [c[1:] for c in STATED], ids=[c[0] for c in STATED])
async def test_a_stated_block_limit_is_followed_at_once(
    connect: Connect, proxy: Proxy, ledger: Chain, code: int, text: str
) -> None:
    limit = Limit(text, code, blocks=9)
    proxy.edits.append(limit)
    rpc = connect(proxy)
    assert await collect(rpc) == truth(ledger)
    assert limit.refusals == 1
    assert len(proxy.calls("eth_getLogs")) == 1 + 7


@pytest.mark.parametrize("what", ["blocks", "logs"])
@pytest.mark.parametrize(("code", "text"), [c[1:] for c in UNSTATED], ids=[c[0] for c in UNSTATED])
async def test_a_limit_without_a_number_is_reached_by_halving(
    connect: Connect, proxy: Proxy, ledger: Chain, code: int, text: str, what: str
) -> None:
    limit = Limit(text, code, **{what: 9})
    proxy.edits.append(limit)
    rpc = connect(proxy)
    assert await collect(rpc) == truth(ledger)
    assert 3 <= limit.refusals <= 6
    assert len(proxy.calls("eth_getLogs")) <= 25


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("eth_getLogs is limited to a 10,000 range", (10_000, True)),
        ("eth_getLogs is limited to 1024 blocks.", (1024, True)),
        ("range is too large, max is 10k blocks", (10_000, True)),
        ("this block range should work: [0x10, 0x1f]", (16, False)),
        ("retry with the range 100-199", (100, False)),
        ("Try with this block range [0x20, 0x10]", None),
        ("logs matched by query exceeds limit of 10000", None),
        ("query returns too many logs, narrow your filter: 20000", None),
        ("eth_getLogs is limited to 10000 results", None),
        ("your plan is limited to 25 requests per second", None),
        ("limited to 10/s", None),
        ("", None),
    ],
)
def test_only_a_number_of_blocks_is_read_as_one(text: str, stated: object) -> None:
    assert stated_blocks(text) == stated


@pytest.mark.parametrize(
    "text",
    [
        "this block range should work: [{a:#x}, {b:#x}]",
        "eth_getLogs is limited to a 1,000,000 range",
        "up to a 0 block range",
        "block range exceeds {asked}",
    ],
)
async def test_an_endpoint_that_lies_about_its_range_is_halved(
    connect: Connect, proxy: Proxy, ledger: Chain, text: str
) -> None:
    limit = Limit(text, -32602, blocks=9)
    proxy.edits.append(limit)
    assert await collect(connect(proxy)) == truth(ledger)
    assert limit.refusals <= 5


async def test_an_endpoint_that_always_wants_one_block_less_is_halved(
    connect: Connect, proxy: Proxy, ledger: Chain
) -> None:
    def grudging(call: ProxyCall) -> Answer | None:
        if call["method"] != "eth_getLogs":
            return None
        first, last = (int(call["params"][0][k], 16) for k in ("fromBlock", "toBlock"))
        width = last - first + 1
        return fault(-32602, f"block range exceeds {width - 1}") if width > 4 else None

    proxy.rules.append(grudging)
    assert await collect(connect(proxy)) == truth(ledger)
    assert len(proxy.calls("eth_getLogs")) <= 8 + BLOCKS // 3


async def test_a_refusal_of_a_single_block_is_an_error_and_never_empty(
    connect: Connect, proxy: Proxy
) -> None:
    proxy.rules.append(
        is_method("eth_getLogs", fault(-32005, "query returned more than 10000 results"))
    )
    rpc = connect(proxy, tries=2)
    with pytest.raises(RpcError, match=r"block 0 alone: query returned more than 10000 results"):
        await collect(rpc)


async def test_a_limit_stated_with_http_413_is_followed(
    connect: Connect, proxy: Proxy, ledger: Chain
) -> None:
    def gate(body: Any) -> web.Response | None:
        for call in body if isinstance(body, list) else [body]:
            if call["method"] == "eth_getLogs":
                first, last = (int(call["params"][0][k], 16) for k in ("fromBlock", "toBlock"))
                if last - first + 1 > 9:
                    text = "eth_getLogs is limited to a 9 range"
                    entry = {"jsonrpc": "2.0", "id": call["id"], **fault(-32614, text)}
                    return web.json_response(entry, status=413)
        return None

    proxy.gate = gate
    assert await collect(connect(proxy)) == truth(ledger)
    assert len(proxy.calls("eth_getLogs")) == 8


@pytest.mark.parametrize("status", [504, 524, 408])
async def test_a_gateway_that_loses_patience_is_asked_for_less(
    connect: Connect, proxy: Proxy, ledger: Chain, status: int
) -> None:
    def gate(body: Any) -> web.Response | None:
        for call in body if isinstance(body, list) else [body]:
            if call["method"] == "eth_getLogs":
                first, last = (int(call["params"][0][k], 16) for k in ("fromBlock", "toBlock"))
                if last - first + 1 > 9:
                    return web.Response(status=status)
        return None

    proxy.gate = gate
    assert await collect(connect(proxy)) == truth(ledger)


async def test_an_answer_above_the_byte_cap_is_asked_for_in_parts(
    connect: Connect, ledger: Chain
) -> None:
    assert await collect(connect(ledger.url, max_bytes=15_000)) == truth(ledger)


async def test_a_range_that_takes_too_long_is_asked_for_in_parts(
    connect: Connect, proxy: Proxy, ledger: Chain
) -> None:
    rpc = connect(proxy, timeout=1.5)
    await rpc.check()
    proxy.once += [hang, hang]
    assert await collect(rpc) == truth(ledger)
    widths = [
        int(c["params"][0]["toBlock"], 16) - int(c["params"][0]["fromBlock"], 16) + 1
        for c in proxy.calls("eth_getLogs")
    ]
    assert widths[:3] == [61, 30, 15]


async def test_a_rate_limit_is_waited_out_and_splits_nothing(
    connect: Connect, proxy: Proxy, ledger: Chain
) -> None:
    busy = [
        fault(-32005, "daily request count exceeded, request rate limited"),
        fault(-32005, "limit exceeded"),
        fault(429, "Your app has exceeded its compute units per second capacity"),
    ]
    proxy.rules.append(
        lambda call: busy.pop() if busy and call["method"] == "eth_getLogs" else None
    )
    assert await collect(connect(proxy)) == truth(ledger)
    assert len(proxy.calls("eth_getLogs")) == 4


async def test_the_width_grows_again_after_many_successes(
    connect: Connect, proxy: Proxy, ledger: Chain
) -> None:
    rpc = connect(proxy, log_blocks=1, concurrency=1)
    await collect(rpc)
    assert len(proxy.calls("eth_getLogs")) < 45


@pytest.mark.parametrize("size", [1000, 2000])
async def test_a_list_of_logs_that_is_silently_cut_is_asked_for_in_parts(
    connect: Connect, proxy: Proxy, chain: Chain, size: int
) -> None:
    for _ in range(9):
        chain.send(PROBE, "ping(uint256)", 300)
    last = chain.block_number()

    def silently_cut(call: ProxyCall, answer: Answer) -> None:
        if call["method"] == "eth_getLogs":
            del answer["result"][size:]

    proxy.edits.append(silently_cut)
    logs = await collect(connect(proxy), last=last)
    assert logs == truth(chain, last=last)
    assert len(logs) > 2700


async def test_without_batches_header_and_logs_are_requested_in_turn(
    connect: Connect, proxy: Proxy, ledger: Chain
) -> None:
    """An endpoint without batches is asked for header and logs in turn."""
    proxy.gate = refuse_batches(1, lambda body: web.Response(status=400, text="no batches"))
    rpc = connect(proxy, log_blocks=20)
    assert await collect(rpc) == truth(ledger)
    batches = [body for body in proxy.received if isinstance(body, list)]
    assert len(batches) == 1
    methods = [b["method"] for b in proxy.received if isinstance(b, dict)][1:]
    assert methods.count("eth_getLogs") == 4


# --- logs that must not be believed --------------------------------------------------------------


async def test_the_silence_of_an_endpoint_that_is_behind_is_not_believed(
    connect: Connect, proxy: Proxy, other: Proxy, ledger: Chain
) -> None:
    proxy.rules.append(behind(40))
    rpc = connect(proxy, other, log_blocks=7)
    assert await collect(rpc) == truth(ledger)
    assert other.calls("eth_getLogs")


async def test_a_range_that_no_endpoint_has_ends_in_an_error(
    connect: Connect, proxy: Proxy
) -> None:
    proxy.rules.append(behind(40))
    got = []

    async def scan() -> None:
        async for part in connect(proxy, log_blocks=10).logs([PROBE], [], 0, BLOCKS):
            got.append(part.last)

    with pytest.raises(NetworkError, match="is at block 40 and does not have block"):
        await scan()
    assert got == [9, 19, 29, 39]


async def test_an_endpoint_that_catches_up_is_waited_for(
    connect: Connect, proxy: Proxy, ledger: Chain
) -> None:
    lag = behind(40)
    requests = 0

    def catching_up(call: ProxyCall) -> Answer | None:
        nonlocal requests
        requests += 1
        return lag(call) if requests < 6 else None

    proxy.rules.append(catching_up)
    rpc = connect(proxy)
    assert await collect(rpc) == truth(ledger)
    assert rpc.stats.retries > 0


def change_log(**change: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda log: {**log, **change}


@pytest.mark.parametrize(
    "change",
    [
        change_log(removed=True),
        change_log(address="0x" + "12" * 20),
        change_log(blockNumber="0x1000"),
        change_log(blockNumber="17"),
        change_log(blockNumber=None),
        change_log(blockHash="0x" + "12" * 32),
        change_log(blockHash="0x12"),
        change_log(logIndex="first"),
        change_log(topics="0x12"),
        change_log(topics=["0x12"]),
        change_log(data="12"),
        change_log(data=None),
        lambda log: {k: v for k, v in log.items() if k != "logIndex"},
    ],
)
async def test_a_log_that_cannot_belong_there_spoils_the_answer(
    connect: Connect, proxy: Proxy, ledger: Chain, change: Callable[[Any], Any]
) -> None:
    numbers = [log.block_number for log in truth(ledger)]
    last = max(n for n in numbers if numbers.count(n) == 1)
    spoilt = 0

    def spoil(call: ProxyCall, answer: Answer) -> None:
        nonlocal spoilt
        if call["method"] == "eth_getLogs" and spoilt < 2:
            spoilt += 1
            answer["result"][-1] = change(answer["result"][-1])

    proxy.edits.append(spoil)
    assert await collect(connect(proxy), last=last) == truth(ledger, last=last)
    assert spoilt == 2


@pytest.mark.parametrize("damage", ["twice", "null", "text", "object"])
async def test_a_list_of_logs_that_is_none_or_repeats_itself_is_refused(
    connect: Connect, proxy: Proxy, damage: str
) -> None:
    def spoil(call: ProxyCall, answer: Answer) -> None:
        if call["method"] == "eth_getLogs":
            logs = answer["result"]
            changed: dict[str, Any] = {
                "twice": [*logs, logs[3]],
                "null": None,
                "text": "[]",
                "object": {},
            }
            answer["result"] = changed[damage]

    proxy.edits.append(spoil)
    with pytest.raises(RpcError, match=r"logs that cannot be parsed|the same log twice"):
        await collect(connect(proxy, tries=2))


async def test_logs_in_another_order_are_put_in_order(
    connect: Connect, proxy: Proxy, ledger: Chain
) -> None:
    def shuffle(call: ProxyCall, answer: Answer) -> None:
        if call["method"] == "eth_getLogs":
            random.Random(3).shuffle(answer["result"])

    proxy.edits.append(shuffle)
    assert await collect(connect(proxy)) == truth(ledger)


async def test_logs_are_lower_case_whatever_the_endpoint_prefers(
    connect: Connect, proxy: Proxy, ledger: Chain
) -> None:
    def upper(text: str) -> str:
        return "0x" + text[2:].upper()

    def shout(call: ProxyCall, answer: Answer) -> None:
        if call["method"] == "eth_getLogs":
            for log in answer["result"]:
                for field in ("address", "data", "blockHash", "blockNumber"):
                    log[field] = upper(log[field])
                log["topics"] = [upper(topic) for topic in log["topics"]]

    proxy.edits.append(shout)
    assert await collect(connect(proxy), addresses=(PROBE.upper().replace("X", "x"),)) == truth(
        ledger
    )


async def test_a_chain_that_became_shorter_during_a_scan_is_reorged(
    connect: Connect, chain: Chain
) -> None:
    fork = chain.snapshot()
    chain.mine(3)
    rpc = connect(chain.url)
    at = await rpc.pin()
    chain.revert(fork)
    chain.increase_time(1000)
    chain.increase_time(1000)
    with pytest.raises(Reorged, match=f"block {at.number} left the chain, which now ends at"):
        await collect(rpc, last=at.number)
