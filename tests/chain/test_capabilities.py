"""What an endpoint can do is found out exactly, on a real node behind proxies with limits."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from chainwatch.chain import capabilities
from chainwatch.chain.capabilities import MOST_REQUESTS, NO_GAS_CAP, EndpointProbe
from chainwatch.chain.types import Limits
from chainwatch.demo.chain import Chain
from chainwatch.errors import ConfigError, NetworkError
from chainwatch.net.http import Http
from chainwatch.tables.chain import Capabilities
from tests.chain.ledger import CHAIN_ID, is_method
from tests.evm.rpc_proxy import Answer, Proxy, drop, fault, say
from tests.evm.rpc_proxy import Call as ProxyCall

pytestmark = pytest.mark.contracts("plain")

Probe = Callable[..., EndpointProbe]
MISSING = fault(-32000, "missing trie node 6d1f (path ) state 0x6d1f is not available")
NO_METHOD = fault(-32601, "the method does not exist/is not available")


@pytest.fixture
async def probe() -> AsyncIterator[Probe]:
    async with Http() as http:

        def probe_of(url: str, chain_id: int = CHAIN_ID) -> EndpointProbe:
            limits = Limits(timeout=10.0)
            return EndpointProbe(http, url, chain="local", chain_id=chain_id, settings=limits)

        yield probe_of


async def measured(probe: EndpointProbe) -> Capabilities:
    return await probe.capabilities(await probe.contact())


def width(call: ProxyCall) -> int:
    """Blocks of an eth_getLogs."""
    query = call["params"][0]
    return int(query["toBlock"], 16) - int(query["fromBlock"], 16) + 1


def reasons(row: Capabilities) -> dict[str, str]:
    return dict(json.loads(row.reason))


# --- an endpoint without limits -------------------------------------------------------------------


async def test_all_that_a_node_can_do(probe: Probe, chain: Chain) -> None:
    row = await measured(probe(chain.url))
    blocks = chain.block_number() + 1
    assert (row.state_overrides, row.access_lists, row.has_logs) == (True, True, True)
    gas_limit = int(chain.rpc("eth_getBlockByNumber", "latest", False)["gasLimit"], 16)
    assert row.call_gas == min(gas_limit, NO_GAS_CAP)
    assert (row.oldest_block, row.pruned_block) == (0, None)
    assert (row.log_blocks, row.refused_log_blocks) == (blocks, None)
    assert (row.batch_calls, row.refused_batch_calls) == (1000, None)
    assert row.block_number == blocks - 1
    assert row.client_version
    assert row.client_version.startswith("anvil")
    assert reasons(row) == {}
    assert row.requests < 20


# --- limits, each found exactly -------------------------------------------------------------------


def no_overrides(call: ProxyCall) -> Answer | None:
    has_overrides = call["method"] == "eth_call" and len(call["params"]) > 2
    return fault(-32602, "too many arguments, want at most 2") if has_overrides else None


def ignored_overrides(call: ProxyCall) -> None:
    if call["method"] == "eth_call" and len(call["params"]) > 2:
        call["params"].pop()


def capped_gas(call: ProxyCall) -> None:
    """As a node with a cap of 50 million, where a call states no gas."""
    if call["method"] == "eth_call":
        call["params"][0]["gas"] = hex(50_000_000)


def old_state(call: ProxyCall) -> Answer | None:
    """As a node that has the state of blocks 37 and later."""
    method, number = call["method"], call["params"][-1] if call["params"] else None
    asks = method == "eth_getBalance" and number != "latest"
    return MISSING if asks and int(str(number), 16) < 37 else None


def wide_logs(text: str) -> Callable[[ProxyCall], Answer | None]:
    """As a node that gives the logs of 23 blocks at most."""

    def rule(call: ProxyCall) -> Answer | None:
        wide = call["method"] == "eth_getLogs" and width(call) > 23
        return fault(-32000, text) if wide else None

    return rule


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([no_overrides], {"state_overrides": False, "call_gas": NO_GAS_CAP}),
        ([ignored_overrides], {"state_overrides": False, "call_gas": NO_GAS_CAP}),
        ([capped_gas], {"call_gas": 50_000_000}),
        ([capped_gas, no_overrides], {"state_overrides": False, "call_gas": 50_000_000}),
        ([is_method("eth_createAccessList", NO_METHOD)], {"access_lists": False}),
        ([is_method("eth_createAccessList", MISSING)], {"access_lists": False}),
        ([old_state], {"oldest_block": 37, "pruned_block": 36}),
        ([wide_logs("query is too wide")], {"log_blocks": 23, "refused_log_blocks": 24}),
        (
            [wide_logs("eth_getLogs is limited to a 23 block range")],
            {"log_blocks": 23, "refused_log_blocks": 24},
        ),
        (
            [wide_logs("eth_getLogs is limited to a 1000 block range")],
            {"log_blocks": 23, "refused_log_blocks": 24},
        ),
        ([is_method("eth_getLogs", {"result": []})], {"has_logs": False}),
        ([is_method("eth_getLogs", NO_METHOD)], {"has_logs": None, "log_blocks": None}),
        ([is_method("web3_clientVersion", NO_METHOD)], {"client_version": None}),
        ([is_method("eth_getBalance", NO_METHOD)], {"oldest_block": None}),
    ],
    ids=[
        "refuses overrides",
        "ignores overrides",
        "gas cap",
        "gas cap without overrides",
        "no access lists",
        "access lists of missing state",
        "pruned state",
        "narrow logs",
        "narrow logs stated",
        "narrow logs stated wrongly",
        "silent about logs",
        "no logs",
        "no version",
        "no balances",
    ],
)
async def test_a_limit_is_reported_exactly(
    probe: Probe, proxy: Proxy, rules: list[Any], expected: dict[str, object]
) -> None:
    """What is not limited is as without the limit, and what is null has its reason."""
    plain = await measured(probe(proxy.upstream))
    proxy.rules += rules
    row = await measured(probe(proxy.url))
    figures = [*expected, "state_overrides", "access_lists", "call_gas", "has_logs"]
    figures += ["oldest_block", "pruned_block", "log_blocks", "batch_calls", "refused_batch_calls"]
    wanted = {name: getattr(plain, name) for name in figures} | expected
    assert {name: getattr(row, name) for name in figures} == wanted
    limits = ("pruned_block", "refused_log_blocks", "refused_batch_calls")
    assert {n for n, v in expected.items() if v is None} <= {*reasons(row), *limits}
    assert len(proxy.received) == row.requests <= MOST_REQUESTS


async def test_a_stated_range_costs_three_requests(probe: Probe, proxy: Proxy) -> None:
    """The whole chain, what is stated, and one block more."""
    proxy.rules.append(wide_logs("eth_getLogs is limited to a 23 block range"))
    row = await measured(probe(proxy.url))
    wide = [width(call) for call in proxy.calls("eth_getLogs") if "address" in call["params"][0]]
    assert row.log_blocks == 23
    assert len(wide) <= 4
    assert set(wide[1:]) >= {23, 24} or wide[-2:] == [23, 24]


@pytest.mark.parametrize(
    ("most", "answer"),
    [
        (1, lambda: web.json_response({"error": {"code": -32600, "message": "no batches"}})),
        (7, lambda: web.Response(status=413)),
        (100, lambda: web.json_response({"error": {"code": -32600, "message": "batch limit 100"}})),
        (640, lambda: web.json_response({"error": {"code": 1, "message": "batch too large"}})),
    ],
    ids=["one", "7 without words", "100 stated", "640"],
)
async def test_the_largest_batch_is_found(
    probe: Probe, proxy: Proxy, most: int, answer: Callable[[], web.Response]
) -> None:
    proxy.gate = lambda body: answer() if isinstance(body, list) and len(body) > most else None
    row = await measured(probe(proxy.url))
    assert (row.batch_calls, row.refused_batch_calls) == (most, most + 1)
    assert reasons(row)["batch_calls"]
    assert len(proxy.received) <= MOST_REQUESTS


async def test_a_search_ends_with_two_sizes(probe: Probe, proxy: Proxy) -> None:
    """An endpoint with every limit at once is not asked without end."""
    proxy.gate = lambda body: web.Response(status=413) if len(body) > 333 else None
    proxy.rules += [old_state, wide_logs("no"), no_overrides]
    row = await measured(probe(proxy.url))
    assert len(proxy.received) <= MOST_REQUESTS
    assert row.oldest_block is not None
    assert row.pruned_block is not None
    assert row.pruned_block < row.oldest_block


async def test_a_busy_endpoint_is_asked_once_more(probe: Probe, proxy: Proxy) -> None:
    contact = await probe(proxy.url).contact()
    proxy.once.append(say("", 429, Retry_After="0"))
    row = await probe(proxy.url).capabilities(contact)
    assert row.state_overrides is True
    assert "state_overrides" not in reasons(row)


# --- endpoints that cannot be used ----------------------------------------------------------------


async def test_another_chain_is_named(probe: Probe, chain: Chain) -> None:
    with pytest.raises(ConfigError, match=f"serves chain id {CHAIN_ID}, but local is 1"):
        await probe(chain.url, 1).contact()


@pytest.mark.parametrize(
    ("handler", "words"),
    [(say("<html>no key</html>", 403), "HTTP 403"), (drop, "cannot be used")],
    ids=["forbidden", "drops"],
)
async def test_an_endpoint_without_answers_is_named(
    probe: Probe, proxy: Proxy, handler: Any, words: str
) -> None:
    proxy.once += [handler] * 2
    with pytest.raises(NetworkError, match=words) as failure:
        await probe(f"{proxy.url}/v2/secret-key").contact()
    assert "secret" not in str(failure.value)
    assert len(proxy.received) <= 2


async def test_a_key_in_a_url_is_not_kept(probe: Probe, proxy: Proxy) -> None:
    url = f"{proxy.url}/v2/secret-key"
    echo = fault(-32000, f"{url}: no such method for secret-key")
    proxy.rules.append(is_method("eth_createAccessList", echo))
    row = await measured(probe(url))
    assert row.endpoint == f"{proxy.url}/…"
    assert row.endpoint_hash == capabilities.url_hash(url)
    assert "secret" not in repr(row)
    assert reasons(row)["access_lists"]
