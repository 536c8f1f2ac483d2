"""Which endpoint is asked next, against a real node behind proxies like public endpoints."""

from __future__ import annotations

import asyncio
import gzip
import json
import time

import pytest
from aiohttp import web

from chainwatch.errors import ConfigError, NetworkError, RpcError
from tests.chain.ledger import (
    BLOCKS,
    FAIL_LOUDLY,
    PROBE,
    Connect,
    is_method,
)
from tests.evm.rpc_proxy import Handler, Proxy, cut, drop, fault, hang, say

pytestmark = pytest.mark.contracts("plain")


# --- endpoints -----------------------------------------------------------------------------------


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


async def test_an_endpoint_proves_its_chain_even_without_a_check(
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


async def test_a_check_without_any_answer_is_a_network_error(
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


# --- retries -------------------------------------------------------------------------------------


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


async def test_an_unknown_method_is_reported_at_once(connect: Connect, proxy: Proxy) -> None:
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
