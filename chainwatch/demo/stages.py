"""The chains that the demo runs on: a live node with real bytecode, or a recording of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Protocol

from chainwatch.demo import recording

if TYPE_CHECKING:
    from chainwatch.demo.aave import AaveMarket
    from chainwatch.demo.comet import CometMarket

ACCOUNTS = 240
SEED = 2026
MARKET = "demo"
COMET = "comet"
COMET_ACCOUNTS = 80
ABSORBED = 8
FALL = 0.85  # what is left of the prices of BTC and ETH after the drop
LIQUIDATIONS = 25


class Stage(Protocol):
    """A chain that the demo runs on: its address, its markets, and the fall of prices."""

    url: str
    markets: dict[str, recording.DemoMarket]
    provenance: str
    words: str

    def now(self) -> datetime:
        """The time of the newest block."""

    def fall(self) -> str:
        """Let prices fall and liquidations happen; a sentence about them."""


class Live:
    """A node with real bytecode."""

    provenance = "demo"
    words = "a local node with the real Aave v3.0 bytecode and a stand-in for Compound III"

    def __init__(
        self,
        market: AaveMarket,
        accounts: list[str],
        second: CometMarket,
        second_accounts: list[str],
        url: str,
    ) -> None:
        self.chain = market.chain
        self._market, self._accounts = market, accounts
        self._second, self._second_accounts = second, second_accounts
        self.url = url
        self.markets = {
            MARKET: recording.DemoMarket("aave-v3", market.pool.lower(), market.deployment_block),
            COMET: recording.DemoMarket(
                "compound-v3", second.comet.lower(), second.deployment_block
            ),
        }

    def now(self) -> datetime:
        block = self.chain.rpc("eth_getBlockByNumber", "latest", False)
        return datetime.fromtimestamp(int(block["timestamp"], 16), UTC)

    def fall(self) -> str:
        from chainwatch.demo import accounts, comet

        accounts.crash(self._market, FALL)
        done = accounts.liquidate(self._market, self._accounts, Random(SEED), LIQUIDATIONS)
        absorbed = comet.liquidate(self._second, self._second_accounts, ABSORBED, SEED)
        return fall_words(len(done), len(absorbed))


class Recorded:
    """The same chain from the recording."""

    provenance = "recording"
    words = "a recording of a local node (no node/npm here, or --recorded)"

    def __init__(self, player: recording.Player) -> None:
        self._player = player
        self.url = player.url
        self.markets = player.recording.markets

    def now(self) -> datetime:
        (seconds,) = (
            h.time for h in self._player.recording.headers if h.number == self._player.head
        )
        return datetime.fromtimestamp(seconds, UTC)

    def fall(self) -> str:
        self._player.head = self._player.recording.stops[1]
        return self._player.recording.note


def fall_words(liquidations: int, absorbed: int) -> str:
    return (
        f"BTC and ETH fall by {1 - FALL:.0%}; liquidators make {liquidations} calls on {MARKET}, "
        f"{absorbed} accounts are absorbed on {COMET}"
    )


@contextlib.contextmanager
def live(cache: Path, say: Callable[[str], None], *, start: int | None = None) -> Iterator[Live]:
    """Install what is needed, start a node, deploy the market and make its accounts.

    `start` is the time of the first block; without it the last one is about now. Raises
    ToolchainMissing where node, npm or the registry cannot be had.
    """
    from chainwatch.demo import aave, accounts, comet
    from chainwatch.demo.chain import Chain
    from chainwatch.demo.node import Node, install

    tools = install(cache, say)
    begin = int(time.time()) - 120 if start is None else start
    with Node(tools.anvil, timestamp=begin) as node, Chain(node.url, block_seconds=1) as chain:
        say("deploying an Aave v3.0 market")
        market = aave.deploy(chain, tools.artifacts)
        say(f"making {ACCOUNTS} accounts")
        made = accounts.populate(market, ACCOUNTS, SEED)
        say(f"deploying a stand-in for Compound III, with {COMET_ACCOUNTS} accounts")
        second = comet.deploy(market)
        owing = comet.populate(second, market.prices(), COMET_ACCOUNTS, SEED)
        yield Live(market, made, second, owing, node.url)


@contextlib.contextmanager
def recorded() -> Iterator[Recorded]:
    """Serve the recording that ships with the package."""
    with recording.Player(recording.load()) as player:
        yield Recorded(player)
