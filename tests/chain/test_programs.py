"""Programs, code that is at no address, run within calls by endpoints like public ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from chainwatch.chain import opcodes as op
from chainwatch.chain.assembly import Assembly
from chainwatch.chain.types import Block, Program
from chainwatch.demo.chain import Chain
from chainwatch.errors import Reorged
from tests.chain.ledger import Connect
from tests.evm.rpc_proxy import Answer, Proxy, fault
from tests.evm.rpc_proxy import Call as ProxyCall

pytestmark = pytest.mark.contracts("plain")

HEAD = b"head"
ITEMS = [i.to_bytes(32) for i in range(1, 41)]
SMALLER = fault(-32000, "request entity too large")
OUT_OF_GAS = fault(-32000, "out of gas")


def echo() -> Program:
    """A program that answers with the items it is given."""
    code = Assembly()
    size = (len(HEAD).to_bytes(1), op.CALLDATASIZE, op.SUB)
    code.add(*size, len(HEAD).to_bytes(1), b"\0", op.CALLDATACOPY)
    code.add(*size, b"\0", op.RETURN)
    return Program(bytes(code), HEAD)


def is_program(call: ProxyCall) -> bool:
    params = call["params"]
    return call["method"] == "eth_call" and len(params) > 2 and params[0]["to"].startswith("0xc4a3")


def items_of(call: ProxyCall) -> int:
    return (len(call["params"][0]["data"]) - 2 - 2 * len(HEAD)) // 64


def programs(proxy: Proxy) -> list[int]:
    """How many items each program that was sent has."""
    return [items_of(call) for call in proxy.calls() if is_program(call)]


async def test_a_program_answers_for_all_items_in_order(connect: Connect, proxy: Proxy) -> None:
    rpc = connect(proxy, program_items=15)
    parts = await rpc.run(echo(), ITEMS, await rpc.pin())
    assert parts is not None
    assert [count for count, _ in parts] == programs(proxy) == [15, 15, 10]
    assert b"".join(answer for _, answer in parts) == b"".join(ITEMS)


async def test_an_endpoint_that_takes_less_is_given_less(connect: Connect, proxy: Proxy) -> None:
    def gate(body: Any) -> web.Response | None:
        return web.Response(status=413) if len(json.dumps(body)) > 1_500 else None

    proxy.gate = gate
    rpc = connect(proxy)
    parts = await rpc.run(echo(), ITEMS, await rpc.pin())
    assert parts is not None
    assert b"".join(answer for _, answer in parts) == b"".join(ITEMS)
    assert programs(proxy)[:2] == [40, 20]


@pytest.mark.parametrize("refusal", [OUT_OF_GAS, SMALLER], ids=["out of gas", "too large"])
async def test_what_fails_has_no_answer_and_the_next_is_smaller(
    connect: Connect, proxy: Proxy, refusal: Answer
) -> None:
    proxy.rules.append(lambda c: refusal if is_program(c) and items_of(c) > 10 else None)
    rpc = connect(proxy)
    at = await rpc.pin()
    answers = [await rpc.run(echo(), ITEMS, at) for _ in range(3)]
    assert programs(proxy)[:3] == [40, 20, 10]
    assert answers[-1] is not None
    assert b"".join(answer for _, answer in answers[-1]) == b"".join(ITEMS)
    # Gas may run out in the midst of other calls, which are then made one by one.
    assert (answers[0] is None) == (refusal is OUT_OF_GAS)


async def test_a_program_that_fails_again_and_again_is_no_longer_tried(
    connect: Connect, proxy: Proxy
) -> None:
    rpc = connect(proxy)
    at = await rpc.pin()
    reverts = Program(bytes.fromhex("60006000fd"), b"")
    for _ in range(6):
        assert await rpc.run(reverts, ITEMS, at) is None
    assert len(programs(proxy)) == 3


@pytest.mark.parametrize(
    "refusal",
    [fault(-32602, "too many arguments, want at most 2"), fault(-32601, "no such method")],
    ids=["refuses", "has no such method"],
)
async def test_an_endpoint_without_overrides_runs_none(
    connect: Connect, proxy: Proxy, refusal: Answer
) -> None:
    proxy.rules.append(
        lambda c: refusal if c["method"] == "eth_call" and len(c["params"]) > 2 else None
    )
    rpc = connect(proxy)
    at = await rpc.pin()
    assert await rpc.run(echo(), ITEMS, at) is None
    assert await rpc.run(echo(), ITEMS, at) is None
    assert programs(proxy) == []


async def test_a_refused_program_leaves_block_hashes_in_use(connect: Connect, proxy: Proxy) -> None:
    """What an endpoint says of a program is no word about naming blocks by their hash."""
    proxy.rules.append(lambda c: fault(-32601, "not here") if is_program(c) else None)
    rpc = connect(proxy)
    at = await rpc.pin()
    assert await rpc.run(echo(), ITEMS, at) is None
    sent = len(proxy.received)
    await rpc.read([("0x" + "99" * 20, b"")], at)
    (call,) = [c for body in proxy.received[sent:] if isinstance(body, dict) for c in [body]]
    assert call["params"][1] == {"blockHash": at.hash, "requireCanonical": True}


async def test_a_program_is_of_exactly_its_block(connect: Connect, chain: Chain) -> None:
    rpc = connect(chain.url)
    at = await rpc.pin()
    gone = Block(at.number, "0x" + "77" * 32, at.time)
    with pytest.raises(Reorged):
        await rpc.run(echo(), ITEMS, gone)
