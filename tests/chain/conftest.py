"""A node with the ledger, and clients of it behind proxies."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from chainwatch.chain.client import Rpc
from chainwatch.chain.types import MULTICALL3, Limits
from chainwatch.demo.chain import Chain, Tx, encode, own_artifact
from chainwatch.demo.node import Node, Toolchain
from chainwatch.net.http import Http
from tests.chain.ledger import (
    ACCOUNTS,
    BLOCKS,
    CHAIN_ID,
    CODE,
    GENESIS,
    PROBE,
    WORTH,
    Connect,
)
from tests.evm.rpc_proxy import Proxy


@pytest.fixture(scope="session")
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
