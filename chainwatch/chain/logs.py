"""Event logs: ranges of blocks as wide as an endpoint delivers completely."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from chainwatch.chain.answers import read_logs
from chainwatch.chain.endpoint import Endpoint
from chainwatch.chain.fallback import Endpoints
from chainwatch.chain.faults import CutOff, RpcFault, TooMuch, Trouble, log_refusal
from chainwatch.chain.headers import Headers
from chainwatch.chain.types import LogRange

# Counts at which servers are known to cut a list of logs without an error.
_SILENT_CUTS = frozenset((1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000))


class LogReader:
    """Reads the logs of long ranges of blocks, several requests ahead."""

    def __init__(self, endpoints: Endpoints, headers: Headers) -> None:
        self._endpoints = endpoints
        self._headers = headers

    async def read(
        self, addresses: Sequence[str], topics: Sequence[Any], first: int, last: int
    ) -> AsyncIterator[LogRange]:
        """All matching logs of first … last, as adjoining ranges in ascending order.

        A range is as wide as the endpoint accepts; several are asked for ahead. Nothing is left
        out: a range that no endpoint delivers completely ends in a NetworkError.
        """
        emitters = [address.lower() for address in addresses]
        pending: deque[asyncio.Task[list[LogRange]]] = deque()
        ahead = 1
        try:
            while pending or first <= last:
                while first <= last and len(pending) < ahead:
                    stop = min(last, first + self._endpoints.preferred.log_blocks.now - 1)
                    task = asyncio.create_task(self._read_ranges(emitters, topics, first, stop))
                    pending.append(task)
                    first = stop + 1
                for log_range in await pending.popleft():
                    yield log_range
                # The first answer has taught how wide a range may be.
                ahead = self._endpoints.limits.concurrency
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def _read_ranges(
        self, emitters: Sequence[str], topics: Sequence[Any], first: int, last: int
    ) -> list[LogRange]:
        ranges: list[LogRange] = []
        while first <= last:
            scan = partial(self._scan, emitters, topics, first, last)
            ranges.append(await self._endpoints.ask(scan, f"eth_getLogs of blocks {first}-{last}"))
            first = ranges[-1].last + 1
        return ranges

    async def _scan(
        self,
        emitters: Sequence[str],
        topics: Sequence[Any],
        first: int,
        last: int,
        endpoint: Endpoint,
    ) -> LogRange:
        """The logs from `first` on, as far as the endpoint delivers at once."""
        while True:
            width = min(endpoint.log_blocks.now, last - first + 1)
            stop = first + width - 1
            query: dict[str, Any] = {"fromBlock": hex(first), "toBlock": hex(stop)}
            if emitters:
                query["address"] = emitters
            if topics:
                query["topics"] = topics
            try:
                header, answer = await self._headers.with_header(
                    endpoint, stop, ("eth_getLogs", [query])
                )
                if isinstance(answer, RpcFault):
                    raise log_refusal(answer)
                logs = read_logs(answer, frozenset(emitters), first, header)
                if width > 1 and len(logs) in _SILENT_CUTS:
                    raise TooMuch(f"exactly {len(logs)} logs, which may be a silent cut")
            except TooMuch as refusal:
                endpoint.log_blocks.refuse(width, *refusal.stated)
                if width == 1:
                    raise Trouble(f"block {first} alone: {refusal}", cools=False) from None
                continue
            except CutOff:
                endpoint.log_blocks.refuse(width)
                raise
            endpoint.log_blocks.accept(width)
            return LogRange(first, stop, header.hash, logs)
