"""What a protocol adds to the survey of a market: its events, its reads and its valuation.

Events name the accounts; state gives the balances. An account that no event has named since the
last snapshot keeps what was read of it; the market's own state is read anew each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec

from chainwatch.chain import abi
from chainwatch.chain.client import Rpc
from chainwatch.chain.contract import Places
from chainwatch.chain.markets import Market
from chainwatch.chain.types import Block, Call
from chainwatch.collect.source import Feed
from chainwatch.tables.base import Row
from chainwatch.tables.lending import Snapshot

NO_ADDRESS = "0x" + "00" * 20
# The end of a message about a contract of another kind.
FIX_MARKET = "correct `pool` or `chain` in markets.toml"

P = TypeVar("P")


class Watch(msgspec.Struct, frozen=True):
    """Which events name accounts.

    `accounts`: topic0 → positions of the topics that name an account whose balances or flags
    changed; `words`: the same for events that name it in a word of their data. `borrows`: the
    topic0s that make an account a possible borrower, emitted by `lender`; `contracts` emit any of
    them. `part`: the position of a topic that is part of the account's name, for a contract in
    which one address has many separate positions: see `scoped_name`.
    """

    lender: str
    contracts: tuple[str, ...]
    borrows: frozenset[str]
    accounts: Mapping[str, tuple[int, ...]] = {}
    words: Mapping[str, tuple[int, ...]] = {}
    places: Mapping[str, Places] = {}
    excluded: frozenset[str] = frozenset()  # addresses in events that are not accounts
    part: int | None = None


class Opened(msgspec.Struct, frozen=True):
    """A market checked at a block: the revision of its rules, its events, and what the protocol
    needs again when it reads (`context`)."""

    revision: int
    watch: Watch
    context: Any = None


class Stamp(msgspec.Struct, frozen=True):
    """What identifies a snapshot before it is stored; its rows repeat it."""

    snapshot: str
    at: Block
    read_at: datetime
    scope: str
    accounts_read: int
    based_on: str | None
    endpoint: str


class Lender(Protocol[P]):
    """What a protocol adds; P is the position of one account as it was read."""

    protocol: str

    async def open(self, feed: Feed, rpc: Rpc, market: Market, at: Block) -> Opened:
        """Check that the contract is one of the protocol, and give the events that count.

        Raises ConfigError for another contract, or for rules that are not supported.
        """

    async def stored_positions(self, feed: Feed, base: Snapshot) -> dict[str, P]:
        """The positions of a stored snapshot, by account."""

    async def read(
        self, feed: Feed, rpc: Rpc, opened: Opened, at: Block, accounts: Sequence[str]
    ) -> dict[str, P]:
        """The positions of accounts at a block, read from the chain."""

    async def evidence_of_accounts(
        self, rpc: Rpc, market: Market, opened: Opened, first: int, at: Block
    ) -> str | None:
        """Called where events named no account: what on the chain shows that there are some.

        None where nothing does.
        """

    async def rows(
        self, feed: Feed, rpc: Rpc, opened: Opened, stamp: Stamp, accounts: Mapping[str, P]
    ) -> list[Row]:
        """All rows of the snapshot, the Snapshot row last."""


def scoped_name(address: str, part: str) -> str:
    """The name of an address within one part of a contract: `0x…:0x…`, the address first."""
    return f"{address}:{part}"


async def any_above_zero(rpc: Rpc, calls: Sequence[Call], at: Block, index: int = 0) -> bool:
    """Whether any of these calls returns a number above 0 in its word at `index`."""
    return any(
        len(answer) >= (index + 1) * abi.WORD and abi.word(answer, index) > 0
        for answer in await rpc.read(calls, at)
        if isinstance(answer, bytes)
    )
