"""The JSON-RPC client against a real node behind a proxy that behaves like public endpoints."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.chain.client import Rpc
from chainwatch.chain.endpoint import Size
from chainwatch.chain.faults import RpcFault, stated_blocks
from chainwatch.chain.multicall import decode_aggregate3, encode_aggregate3
from chainwatch.chain.types import MULTICALL3, Block, Call, Limits, Log, Reverted
from chainwatch.demo.chain import Chain, Tx, encode, own_artifact
from chainwatch.demo.node import Node, Toolchain
from chainwatch.errors import ConfigError, NetworkError, Reorged, RpcError
from chainwatch.net.http import Http
from tests.evm.rpc_proxy import Answer, Handler, Proxy, cut, drop, fault, hang, say
from tests.evm.rpc_proxy import Call as ProxyCall
from tests.places import FIXTURES

pytestmark = pytest.mark.contracts("plain")

CHAIN_ID = 31337
PROBE = "0x00000000000000000000000000000000000000b0"
CODE = FIXTURES / "rpc" / "Probe.hex"
BLOCKS = 60
ACCOUNTS = [f"0x{0xACC00000 + i:040x}" for i in range(300)]
GENESIS = 1_700_000_000


def balance_of(account: str) -> bytes:
    return bytes.fromhex(encode("scaledBalanceOf(address)", account)[2:])


BALANCES: list[Call] = [(PROBE, balance_of(account)) for account in ACCOUNTS]
WORTH = [(7 * i).to_bytes(32) for i in range(len(ACCOUNTS))]
FAIL_LOUDLY = bytes.fromhex(encode("failLoudly()")[2:])
FAIL_SILENTLY = bytes.fromhex(encode("failSilently()")[2:])
NO_PRICE = bytes.fromhex("08c379a0" + f"{32:064x}" + f"{8:064x}" + b"no price".hex().ljust(64, "0"))


def burn(gas: int) -> bytes:
    return bytes.fromhex(encode("burn(uint256)", gas)[2:])


@pytest.fixture(scope="module")
def ledger(toolchain: Toolchain) -> Iterator[Chain]:
    """A chain of 60 blocks: 0 to 3 logs in each, balances for 300 accounts, and Multicall3."""
    with Node(toolchain.anvil, timestamp=GENESIS) as node, Chain(node.url) as chain:
        chain.set_code(MULTICALL3, own_artifact("TestMulticall").runtime)
        chain.set_code(PROBE, CODE.read_text().strip().removeprefix("0x"))
        sender = ACCOUNTS[0]
        sets = zip(ACCOUNTS, WORTH, strict=True)
        chain.send_all(
            [
                Tx(sender, PROBE, encode("set(address,uint256)", account, int.from_bytes(worth)))
                for account, worth in sets
            ]
        )
        while chain.block_number() < BLOCKS:
            pings = chain.block_number() % 4
            if pings:
                chain.send(PROBE, "ping(uint256)", pings)
            else:
                chain.mine()
        yield chain


@pytest.fixture
def chain(ledger: Chain) -> Iterator[Chain]:
    """The ledger; what a test does to it is undone."""
    snapshot = ledger.snapshot()
    yield ledger
    ledger.revert(snapshot)


@pytest.fixture
async def proxy(ledger: Chain) -> AsyncIterator[Proxy]:
    async with Proxy(ledger.url) as proxy:
        yield proxy


@pytest.fixture
async def other(ledger: Chain) -> AsyncIterator[Proxy]:
    async with Proxy(ledger.url) as proxy:
        yield proxy


Connect = Callable[..., Rpc]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes a client that loses no time between tries."""
    async with Http() as http:

        def client(*endpoints: Proxy | str, **limits: Any) -> Rpc:
            return Rpc(
                http,
                [e if isinstance(e, str) else e.url for e in endpoints],
                chain="local",
                chain_id=CHAIN_ID,
                settings=Limits(**{"base_delay": 0.002, "timeout": 10.0, **limits}),
                random=random.Random(1),
            )

        yield client


async def collect(
    rpc: Rpc, first: int = 0, last: int = BLOCKS, addresses: tuple[str, ...] = (PROBE,)
) -> list[Log]:
    """All logs of the probe, after a check that the ranges adjoin and cover everything."""
    logs: list[Log] = []
    expected = first
    async for part in rpc.logs(addresses, [], first, last):
        assert part.first == expected
        assert part.last >= part.first
        assert all(part.first <= log.block_number <= part.last for log in part.logs)
        expected = part.last + 1
        logs += part.logs
    assert expected == last + 1
    return logs


def truth(chain: Chain, first: int = 0, last: int = BLOCKS) -> list[Log]:
    return [
        Log(
            raw["address"],
            tuple(raw["topics"]),
            raw["data"],
            int(raw["blockNumber"], 16),
            raw["blockHash"],
            int(raw["logIndex"], 16),
            raw["transactionHash"],
        )
        for raw in chain.logs(PROBE, first=first, last=last)
    ]


def head(chain: Chain) -> Block:
    raw = chain.rpc("eth_getBlockByNumber", "latest", False)
    return Block(int(raw["number"], 16), raw["hash"], int(raw["timestamp"], 16))


def is_method(method: str, answer: Answer) -> Callable[[ProxyCall], Answer | None]:
    return lambda call: answer if call["method"] == method else None


# --- the multicall codec --------------------------------------------------------------------

addresses = st.integers(0, 2**160 - 1).map(lambda n: f"0x{n:040x}")
payloads = st.binary(max_size=100)


@given(st.lists(st.tuples(addresses, payloads), max_size=20))
def test_the_multicall_encoding_is_the_one_of_eth_abi(calls: list[Call]) -> None:
    from eth_abi.abi import encode as encode_abi

    items = [(to, True, data) for to, data in calls]
    assert encode_aggregate3(calls) == bytes.fromhex("82ad56cb") + encode_abi(
        ["(address,bool,bytes)[]"], [items]
    )


@given(st.lists(st.tuples(st.booleans(), payloads), max_size=20))
def test_the_multicall_decoding_is_the_one_of_eth_abi(results: list[tuple[bool, bytes]]) -> None:
    from eth_abi.abi import encode as encode_abi

    answer = encode_abi(["(bool,bytes)[]"], [results])
    assert decode_aggregate3(answer, len(results)) == [
        data if success else Reverted(data) for success, data in results
    ]


@given(st.lists(st.tuples(st.booleans(), payloads), min_size=1, max_size=5), st.data())
def test_a_damaged_multicall_answer_is_rejected(
    results: list[tuple[bool, bytes]], data: st.DataObject
) -> None:
    """Unless only padding is missing, in which case the results are the same."""
    from eth_abi.abi import encode as encode_abi

    answer = encode_abi(["(bool,bytes)[]"], [results])
    short = answer[: data.draw(st.integers(0, len(answer) - 1))]
    padding = -len(results[-1][1]) % 32
    if len(answer) - len(short) > padding:
        with pytest.raises(ValueError, match="multicall result"):
            decode_aggregate3(short, len(results))
    with pytest.raises(ValueError, match="multicall results"):
        decode_aggregate3(answer, len(results) + 1)


def test_a_success_flag_is_0_or_1() -> None:
    from eth_abi.abi import encode as encode_abi

    answer = encode_abi(["(uint256,bytes)[]"], [[(2, b"data")]])
    with pytest.raises(ValueError, match="multicall result 0 of 1 is malformed"):
        decode_aggregate3(answer, 1)


@given(st.binary(max_size=400), st.integers(0, 5))
def test_decoding_noise_raises_nothing_but_a_value_error(noise: bytes, expected: int) -> None:
    framed = (32).to_bytes(32) + expected.to_bytes(32) + noise
    try:
        results = decode_aggregate3(framed, expected)
    except ValueError:
        return
    assert len(results) == expected


# --- learning sizes -------------------------------------------------------------------------


@given(st.integers(1, 10**7), st.lists(st.integers(-5, 10**8), max_size=40))
def test_every_refusal_makes_less_whatever_the_endpoint_claims(
    start: int, claims: list[int]
) -> None:
    size = Size(start)
    for claim in claims:
        before = size.now
        size.refuse(before, claim)
        assert 1 <= size.now <= max(1, before - 1)


@given(st.integers(2, 10**6))
def test_an_endpoint_that_always_claims_one_less_is_found_out(start: int) -> None:
    size = Size(start)
    refusals = 0
    while size.now > 1:
        size.refuse(size.now, size.now - 1)
        refusals += 1
    assert refusals <= 2 + start.bit_length()


def test_a_size_grows_slowly_and_only_through_full_use() -> None:
    size = Size(100)
    for _ in range(1000):
        size.accept(99)
    assert size.now == 100
    for _ in range(20):
        size.accept(100)
    assert size.now == 125


def test_a_size_never_outgrows_a_lasting_limit() -> None:
    size = Size(1000)
    size.refuse(1000, 100, lasting=True)
    for _ in range(1000):
        size.accept(size.now)
    assert size.now == 100


def test_refusals_of_requests_sent_together_count_once() -> None:
    size = Size(1000)
    for _ in range(8):
        size.refuse(1000)
    assert size.now == 500
    size.refuse(500, 100)
    size.refuse(1000)
    assert size.now == 100


# --- endpoints ------------------------------------------------------------------------------


async def test_an_endpoint_of_another_chain_is_a_configuration_error(
    connect: Connect, proxy: Proxy
) -> None:
    proxy.rules.append(is_method("eth_chainId", {"result": "0x1"}))
    rpc = connect(f"{proxy.url}/v2/{'k3y' * 8}")
    with pytest.raises(ConfigError) as caught:
        await rpc.check()
    assert str(caught.value) == (
        f"{proxy.url}/… serves chain id 1, but local is 31337: set an endpoint of local"
    )


async def test_an_endpoint_proves_its_chain_even_if_nobody_checks(
    connect: Connect, proxy: Proxy
) -> None:
    proxy.rules.append(is_method("eth_chainId", {"result": "0x1"}))
    with pytest.raises(ConfigError, match="chain id 1"):
        await connect(proxy).block()


async def test_a_dead_endpoint_is_put_aside_by_the_check(
    connect: Connect, proxy: Proxy, other: Proxy
) -> None:
    proxy.once += [drop] * 100
    rpc = connect(proxy, other)
    await rpc.check()
    assert (await rpc.block()).number == BLOCKS
    assert rpc.host == other.url


async def test_a_check_that_nobody_answers_is_a_network_error(
    connect: Connect, proxy: Proxy, other: Proxy
) -> None:
    proxy.once += [drop] * 100
    other.once += [hang] * 100
    with pytest.raises(NetworkError) as caught:
        await connect(proxy, other, timeout=0.05).check()
    assert type(caught.value) is NetworkError
    assert str(caught.value) == (
        f"local: no endpoint answers eth_chainId: {proxy.url}: the connection broke before the "
        f"answer; {other.url}: no complete answer within 0.05 s: "
        "try later or set another endpoint"
    )


async def test_the_first_endpoint_is_preferred(
    connect: Connect, proxy: Proxy, other: Proxy
) -> None:
    rpc = connect(proxy, other)
    for _ in range(3):
        await rpc.block()
    assert other.received == []
    assert rpc.host == proxy.url


async def test_a_failing_endpoint_rests_while_the_next_one_answers(
    connect: Connect, proxy: Proxy, other: Proxy
) -> None:
    rpc = connect(proxy, other, base_delay=100.0)
    await rpc.check()
    proxy.once += [say(status=502)] * 100
    before = len(proxy.received)
    for _ in range(5):
        await rpc.block()
    assert len(proxy.received) == before + 1


async def test_an_endpoint_that_recovers_is_preferred_again(
    connect: Connect, proxy: Proxy, other: Proxy
) -> None:
    rpc = connect(proxy, other)
    await rpc.check()
    proxy.once += [say(status=502)]
    await rpc.block()
    await asyncio.sleep(0.05)
    requests_before = len(other.received)
    await rpc.block()
    assert len(other.received) == requests_before


async def test_an_endpoint_rests_longer_each_time_it_fails(connect: Connect, proxy: Proxy) -> None:
    proxy.once += [say(status=500)] * 5
    rpc = connect(proxy, base_delay=0.02)
    start = time.monotonic()
    await rpc.block()
    # Full jitter with this seed; without growth five waits would last at most 0.1 s.
    assert time.monotonic() - start > 0.12
    assert rpc.stats.retries == 5


@pytest.mark.parametrize("form", ["text", "object", "list"])
async def test_keys_appear_in_no_error_and_no_repr(
    connect: Connect, proxy: Proxy, form: str
) -> None:
    key = "s3cr3tk3y0123456789"
    url = f"{proxy.url}/v3/{key}?token={key}2"
    data = {"text": f"0x0 see {url}", "object": {"see": url, "data": f"0x {key}"}, "list": [key]}
    echo = fault(-32000, f"project {key} with token={key}2 is suspended at {url}", data[form])
    proxy.rules.append(lambda call: None if call["method"] == "eth_chainId" else echo)
    rpc = connect(url)
    with pytest.raises(RpcError) as caught:
        await rpc.request("eth_blockNumber", [])
    (answer,) = await rpc.batch([("eth_blockNumber", [])])
    for text in (str(caught.value), repr(caught.value), repr(rpc), rpc.host, repr(answer)):
        assert "s3cr3t" not in text
    assert "suspended" in str(caught.value)


async def test_a_client_without_endpoints_is_a_configuration_error(connect: Connect) -> None:
    with pytest.raises(ConfigError, match="local has no endpoint"):
        connect()


# --- retries --------------------------------------------------------------------------------


def to_call(template: str) -> Handler:
    """Answer with this text, the id of the call filled in; \\udcff stands for a byte 0xff."""

    async def handler(request: web.Request) -> web.StreamResponse:
        text = template.format(id=json.loads(await request.read())["id"])
        return web.Response(body=text.encode("utf-8", "surrogateescape"))

    return handler


@pytest.mark.parametrize(
    "trouble",
    [
        drop,
        cut(b'{"jsonrpc":"2.0","id":1,"result"', 4000),
        say(b'{"jsonrpc":"2.0","id":1,"res'),
        say(b""),
        say(b"<html><body>Just a moment...</body></html>"),
        say(b"error code: 1015"),
        say(b"[]"),
        say(b"null"),
        say(b'"ok"'),
        say(b"17"),
        say(b'{"jsonrpc":"2.0"}'),
        to_call('{{"jsonrpc":"2.0","id":{id}}}'),
        to_call('{{"jsonrpc":"2.0","id":9{id},"result":"0x1"}}'),
        to_call('{{"jsonrpc":"2.0","id":"{id}","result":"0x1"}}'),
        to_call('{{"jsonrpc":"2.0","id":{id}.0,"result":"0x1"}}'),
        to_call('{{"jsonrpc":"2.0","id":[{id}],"result":"0x1"}}'),
        to_call('[{{"jsonrpc":"2.0","id":{id},"result":"0x1"}}]'),
        say(b'{"jsonrpc":"2.0","result":"0x1"}'),
        say(b'{"jsonrpc":"2.0","id":null,"result":"0x1"}'),
        say(b'{"jsonrpc":"2.0","id":true,"result":"0x1"}'),
        say(b'{"jsonrpc":"2.0","id":null,"error":"upstream is down"}'),
        say(b'{"jsonrpc":"2.0","id":null,"error":{"code":"x","message":5,"data":[]}}'),
        say(b'{"jsonrpc":"2.0","id":null,"error":{}}'),
        say(b"\xff\xfe\x00"),
        say(b'{"jsonrpc":"2.0","id":null,"error":"\xff"}'),
        to_call('{{"jsonrpc":"2.0","id":{id},"result":"\udcff"}}'),
        to_call('{{"jsonrpc":"2.0","id":{id},"result":' + "[" * 200_000),
        say(gzip.compress(bytes(10_000_000)), Content_Encoding="gzip"),
        say(b" " * 2_000_000),
        say(status=500),
        say(status=502, body="<html>bad gateway</html>"),
        say(status=503),
        say(status=429),
        say(status=408),
        say(status=504),
        say(status=524),
        say(
            status=500,
            body=b'{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"internal error"}}',
        ),
        say(
            status=200,
            body=b'{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"slow down"}}',
        ),
    ],
)
async def test_an_unusable_answer_is_asked_for_again(
    connect: Connect, proxy: Proxy, trouble: Handler
) -> None:
    rpc = connect(proxy, max_bytes=1_000_000)
    await rpc.check()
    proxy.once += [trouble, trouble]
    assert await rpc.request("eth_blockNumber", []) == hex(BLOCKS)
    assert rpc.stats.retries == 2
    assert len(proxy.calls("eth_blockNumber")) == 3


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (say(b"<!doctype html>"), "HTML instead of JSON"),
        (say(b""), "an empty answer"),
        (say(b'{"jsonrpc":'), "JSON that is cut or no JSON-RPC answer"),
        (say(b"not found"), "text instead of JSON"),
        (say(b'{"id":0,"result":1}'), "an answer to something that was not asked"),
        (say(b"x" * 5000), "the answer is larger than 4,096 bytes"),
        (say(status=500), "HTTP 500"),
        (say(status=401), "HTTP 401"),
        (drop, "the connection broke before the answer"),
        (
            say(b'{"id":null,"error":{"code":-32099,"message":"no\\n\\u001b[31m idea"}}'),
            "no \\x1b[31m idea (error -32099)",
        ),
        (say(b'{"id":null,"error":"plain words"}'), "plain words (error 0)"),
    ],
)
async def test_an_answer_that_stays_unusable_is_one_plain_line(
    connect: Connect, proxy: Proxy, trouble: Handler, message: str
) -> None:
    rpc = connect(f"{proxy.url}/k3yk3yk3y", max_bytes=4096)
    await rpc.check()
    proxy.once += [trouble] * 100
    with pytest.raises(NetworkError) as caught:
        await rpc.block()
    assert isinstance(caught.value, RpcError) == (trouble is not drop)
    assert str(caught.value) == (
        f"local: no endpoint answers block latest: {proxy.url}/…: {message}: "
        "try later or set another endpoint"
    )


async def test_a_refused_key_is_not_tried_again_and_again(connect: Connect, proxy: Proxy) -> None:
    proxy.once += [say(status=401)] * 100
    with pytest.raises(NetworkError, match="HTTP 401"):
        await connect(proxy).block()
    assert len(proxy.received) == 1


async def test_a_server_that_asks_to_wait_is_left_alone_that_long(
    connect: Connect, proxy: Proxy
) -> None:
    rpc = connect(proxy)
    await rpc.check()
    proxy.once += [say(status=429, Retry_After="1")]
    start = time.monotonic()
    await rpc.block()
    assert 1.0 <= time.monotonic() - start < 3.0
    assert len(proxy.calls("eth_getBlockByNumber")) == 2


async def test_a_server_that_asks_for_an_hour_is_given_up(connect: Connect, proxy: Proxy) -> None:
    proxy.once += [say(status=503, Retry_After="3600")] * 2
    start = time.monotonic()
    with pytest.raises(NetworkError, match="HTTP 503"):
        await connect(proxy).block()
    assert time.monotonic() - start < 2.0


async def test_a_batch_without_any_answer_is_an_error(connect: Connect, proxy: Proxy) -> None:
    """A batch that no endpoint answers is an error and not an empty list."""
    rpc = connect(proxy, tries=2)
    await rpc.check()
    proxy.once += [drop] * 10
    with pytest.raises(NetworkError):
        await rpc.batch([("eth_blockNumber", []), ("eth_gasPrice", [])])


async def test_an_endpoint_that_only_hangs_ends_after_its_tries(
    connect: Connect, proxy: Proxy
) -> None:
    proxy.once += [hang] * 100
    with pytest.raises(NetworkError, match=r"no complete answer within 0\.05 s"):
        await connect(proxy, timeout=0.05, tries=3).block()
    assert len(proxy.received) == 3


async def test_an_unknown_method_is_told_at_once(connect: Connect, proxy: Proxy) -> None:
    rpc = connect(proxy)
    with pytest.raises(RpcError, match=r"local: eth_nonsense: Method not found \(error -32601\)"):
        await rpc.request("eth_nonsense", [])
    assert len(proxy.calls("eth_nonsense")) == 1


async def test_a_method_that_one_endpoint_lacks_is_asked_of_the_next(
    connect: Connect, proxy: Proxy, other: Proxy
) -> None:
    proxy.rules.append(is_method("eth_gasPrice", fault(-32601, "method is not whitelisted")))
    rpc = connect(proxy, other)
    assert int(await rpc.request("eth_gasPrice", []), 16) >= 0
    await rpc.block()
    assert proxy.calls("eth_getBlockByNumber"), "the endpoint itself is not at fault"


async def test_invalid_params_may_be_a_passing_mood(connect: Connect, proxy: Proxy) -> None:
    moods = [fault(-32602, "invalid params")] * 2
    proxy.rules.append(
        lambda call: moods.pop() if moods and call["method"] == "eth_blockNumber" else None
    )
    assert await connect(proxy).request("eth_blockNumber", []) == hex(BLOCKS)


async def test_a_revert_is_not_asked_again(connect: Connect, proxy: Proxy) -> None:
    rpc = connect(proxy)
    call = {"to": PROBE, "data": "0x" + FAIL_LOUDLY.hex()}
    with pytest.raises(RpcError, match="no price"):
        await rpc.request("eth_call", [call, "latest"])
    assert len(proxy.calls("eth_call")) == 1


async def test_a_revert_reason_that_talks_of_rate_limits_is_still_a_revert(
    connect: Connect, proxy: Proxy
) -> None:
    text = "execution reverted: rate limit exceeded, too many requests, timed out"
    proxy.rules.append(is_method("eth_call", fault(3, text, "0x")))
    with pytest.raises(RpcError):
        await connect(proxy).request("eth_call", [{"to": PROBE}, "latest"])
    assert len(proxy.calls("eth_call")) == 1


# --- batches --------------------------------------------------------------------------------


def codes(count: int) -> list[tuple[str, list[Any]]]:
    """That many calls with answers that tell them apart."""
    data = [balance_of(account).hex() for account in ACCOUNTS[:count]]
    return [("eth_call", [{"to": PROBE, "data": "0x" + code}, "latest"]) for code in data]


def worth(count: int) -> list[str]:
    return ["0x" + value.hex() for value in WORTH[:count]]


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


def refuse_batches(limit: int, refusal: Callable[[Any], web.Response]) -> Callable[[Any], Any]:
    return lambda body: refusal(body) if isinstance(body, list) and len(body) > limit else None


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


# --- blocks ---------------------------------------------------------------------------------


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


def behind(top: int) -> Callable[[ProxyCall], Answer | None]:
    """An endpoint whose node has only the blocks up to `top`: what it says, silence included."""

    def rule(call: ProxyCall) -> Answer | None:
        method, params = call["method"], call["params"]
        if method == "eth_getBlockByNumber":
            if params[0] == "latest":
                params[0] = hex(top)
            return {"result": None} if int(params[0], 16) > top else None
        if method == "eth_blockNumber":
            return {"result": hex(top)}
        if method == "eth_getLogs":
            if int(params[0]["fromBlock"], 16) > top:
                return {"result": []}
            params[0]["toBlock"] = hex(min(top, int(params[0]["toBlock"], 16)))
        if method == "eth_call" and isinstance(params[1], dict):
            return fault(-32000, "header for hash not found")
        if method == "eth_getCode" and int(params[1], 16) > top:
            return {"result": "0x"}
        return None

    return rule


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


async def test_a_shorter_chain_is_told_by_any_block_seen_before(
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


async def test_an_endpoint_without_any_block_is_told(connect: Connect, proxy: Proxy) -> None:
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


# --- reads ----------------------------------------------------------------------------------


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
async def test_the_revert_data_of_every_kind_of_node_is_found(
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


# --- one block, one fork --------------------------------------------------------------------


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


async def test_a_block_that_no_endpoint_has_yet_is_waited_for_and_then_told(
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


# --- contract code --------------------------------------------------------------------------


async def test_the_deployment_block_is_found_by_bisection(
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


# --- event logs -----------------------------------------------------------------------------


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


class Limit:
    """An endpoint that serves `blocks` at most, or `logs` at most, and says so in its words."""

    def __init__(
        self, text: str, code: int, blocks: int = 10_000, logs: int = 10_000, status: int = 200
    ) -> None:
        self.text = text
        self.code = code
        self.blocks = blocks
        self.logs = logs
        self.refusals = 0

    def __call__(self, call: ProxyCall, answer: Answer) -> None:
        if call["method"] != "eth_getLogs":
            return
        first = int(call["params"][0]["fromBlock"], 16)
        last = int(call["params"][0]["toBlock"], 16)
        if last - first + 1 > self.blocks or len(answer["result"]) > self.logs:
            self.refusals += 1
            end = first + self.blocks - 1
            message = self.text.format(
                n=self.blocks, a=first, b=last, asked=last - first + 1, end=end, logs=self.logs
            )
            answer.clear()
            answer.update(fault(self.code, message))


STATED = [
    # protocols.md section 9, first table
    ("Alchemy", -32602, "Log response size exceeded. You can make eth_getLogs requests with up to "
     "a 2K block range and no limit on the response size, or you can request any block range with "
     "a cap of 10K logs in the response. Based on your parameters and the response size limit, "
     "this block range should work: [{a:#x}, {end:#x}]"),
    ("Alchemy free", -32600, "Under the Free tier plan, you can make eth_getLogs requests with up "
     "to a {n} block range. Based on your parameters, this block range should work: "
     "[{a:#x}, {end:#x}]"),
    ("Infura results", -32005, "query returned more than 10000 results. Try with this block range "
     "[{a:#X}, {end:#X}]."),
    ("Infura range", -32602, "range {asked} exceeds limit of {n}"),
    ("zkSync", -32602, "Query returned more than 10000 results. Try with this block range "
     "[{a:#x}, {end:#x}]."),
    ("QuickNode", -32614, "eth_getLogs is limited to a {n:,} range"),
    ("1rpc", -32001, "eth_getLogs is limited to a {n:,} blocks range"),
    ("BlockPI", -32602, "eth_getLogs is limited to {n} block"),
    ("publicnode", -32701, "exceed maximum block range: {n}"),
    ("Avalanche", -32000, "requested too many blocks from {a} to {b}, maximum is set to {n}"),
    ("Cloudflare", -32047, "Invalid eth_getLogs request. 'fromBlock'-'toBlock' range too large. "
     "Max range: {n}"),
    ("thirdweb", -32602, "Maximum allowed number of requested blocks is {n}"),
    ("erigon", -32000, "query block range exceeds server limit, narrow your filter: {n}"),
    ("Aurora", -32602, "up to a {n} block range"),
    ("Coinbase", -32602, "please limit the query to at most {n} blocks"),
    ("Blast", -32600, "exceeds the range allowed for your plan ({asked} > {n})"),
    ("Hyperliquid", -32602, "query exceeds max block range {n}"),
    ("Arc", -32600, "Query exceeds max block range of {n}"),
    ("Swell", -32005, "block range greater than {n} max"),
    ("Somnia", -32000, "block range exceeds {n}"),
    ("Ankr TAC", -32602, "maximum [from, to] blocks distance: {n}"),
    ("reth", -32602, "query exceeds max results 20000, retry with the range {a}-{end}"),
    # seen in ponder's tests
    ("Harmony", -32000, "query must be smaller than size {n}"),
    ("Moonriver", -32603, "block range is too wide (maximum {n})"),
]  # fmt: skip

UNSTATED = [
    # protocols.md section 9, second list
    ("Infura", -32005, "query returned more than {logs} results"),
    ("Ankr", -32602, "query exceeds max results"),
    ("Alchemy", -32602, "Log response size exceeded. Please reduce query block range."),
    ("1rpc", -32000, "response size should not greater than 10000000 bytes"),
    ("Optimism", -32020, "backend response too large"),
    ("Optimism range", -32000, "Block range is too large"),
    ("Base", -32614, "block range too large"),
    ("Ankr range", -32600, "block range is too wide"),
    ("Chainstack", -32005, "Block range limit exceeded."),
    ("Arbitrum", -32000, "logs matched by query exceeds limit of {logs}"),
    ("drpc", 35, "ranges over 10000 blocks are not supported on freetier"),
    ("erigon", -32000, "query returns too many logs, narrow your filter: {logs}"),
    ("merkle", -32005, "eth_getLogs range is too large, max is 10k blocks"),
    ("geth", -32002, "request timed out"),
    ("a text nobody knows", -32000, "this is more than we like"),
]


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
async def test_a_limit_without_a_number_is_found_by_halving(
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


async def test_a_limit_told_with_http_413_is_followed(
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


# --- logs that must not be believed ---------------------------------------------------------


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


# --- under fire -----------------------------------------------------------------------------


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
