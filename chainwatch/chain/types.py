"""Blocks, logs and limits: what a client of a chain takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from chainwatch.net.http import MAX_BYTES, TIMEOUT

MULTICALL3 = "0xca11bde05977b3631167028862be2a173976ca11"
PROGRAM = "0x" + "c4a3" * 10  # where a program is put within a call: an address that nobody uses

Call = tuple[str, bytes]  # to (0x hex), calldata
# The code that addresses have within one call, as in eth_call's state override set.
Overrides = Mapping[str, bytes]
# The contracts that a call touches, each with how many of its storage slots the call reads.
Access = Mapping[str, int]


class Program(msgspec.Struct, frozen=True):
    """Code that is at no address, and the call data before the items that it is run for."""

    code: bytes
    head: bytes


class Block(msgspec.Struct, frozen=True):
    """One block's identity; `time` in Unix seconds."""

    number: int
    hash: str
    time: int

    @property
    def moment(self) -> datetime:
        """Its time stamp."""
        return datetime.fromtimestamp(self.time, UTC)


class Log(msgspec.Struct, frozen=True):
    """One event log, all hex in lower case."""

    address: str
    topics: tuple[str, ...]
    data: str
    block_number: int
    block_hash: str
    index: int
    transaction: str = ""  # hash; empty where the endpoint leaves it out


class LogRange(msgspec.Struct, frozen=True):
    """All logs of the blocks first … last, and the hash of the last one."""

    first: int
    last: int
    last_hash: str
    logs: list[Log]


class Reverted(msgspec.Struct, frozen=True):
    """A call that failed on the chain, with its revert data."""

    data: bytes


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Where to start and when to stop; the sizes adapt to each endpoint."""

    timeout: float = TIMEOUT  # seconds for one HTTP request
    tries: int = 6  # rounds over all endpoints
    base_delay: float = 0.5  # seconds, doubled per round
    max_delay: float = 30.0  # seconds
    max_wait: float = 90.0  # seconds; an endpoint that asks for more is given up
    concurrency: int = 4  # HTTP requests under way per endpoint
    batch: int = 50  # JSON-RPC calls per HTTP request
    multicall: int = 500  # inner calls per eth_call
    program_items: int = 500  # items per call of a program
    log_blocks: int = 10_000  # blocks per eth_getLogs
    max_bytes: int = MAX_BYTES  # of one answer, decompressed


class Stats(msgspec.Struct):
    """What was sent and received so far."""

    requests: int = 0  # HTTP requests
    rounds: int = 0  # of them those that began while none was under way: waits in a row
    bytes: int = 0  # of answers, decompressed
    retries: int = 0  # rounds after the first
    methods: dict[str, int] = msgspec.field(default_factory=dict)  # JSON-RPC calls by method
