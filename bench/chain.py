"""A local node with a filled Aave market, for the benchmarks that read a chain."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from chainwatch.chain.markets import Market
from chainwatch.demo import aave, accounts
from chainwatch.demo.aave import AaveMarket
from chainwatch.demo.chain import Chain
from chainwatch.demo.node import Node, install


@contextlib.contextmanager
def market_with(cache: Path, count: int) -> Iterator[tuple[str, Market, list[str], AaveMarket]]:
    """A node's URL, the market as the collector knows it, its accounts, and its levers."""
    tools = install(cache, lambda text: None)
    with Node(tools.anvil) as node, Chain(node.url, block_seconds=1) as chain:
        deployed = aave.deploy(chain, tools.artifacts)
        made = accounts.populate(deployed, count, 1)
        market = Market(
            protocol="aave-v3",
            chain="local",
            chain_id=31_337,
            pool=deployed.pool.lower(),
            name="bench",
            rpc=(node.url,),
            deployment_block=deployed.deployment_block,
            lag=0,
            provenance="demo",
        )
        yield node.url, market, made, deployed
