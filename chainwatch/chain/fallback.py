"""Several endpoints of one chain: which one is asked next, and what follows when none answers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from chainwatch.chain.endpoint import Endpoint
from chainwatch.chain.faults import Pruned, Trouble
from chainwatch.chain.together import run_together
from chainwatch.chain.transport import Transport
from chainwatch.errors import ConfigError, NetworkError, RpcError
from chainwatch.net.retry import Backoff

T = TypeVar("T")


class Endpoints:
    """The endpoints of one chain, the first of them preferred.

    An endpoint that fails cools down for growing times while the next one is asked. Every endpoint
    proves its chain id before its answers count.
    """

    def __init__(
        self,
        urls: Sequence[str],
        transport: Transport,
        *,
        chain: str,
        chain_id: int,
        random: random.Random | None = None,
    ) -> None:
        if not urls:
            raise ConfigError(f"{chain} has no endpoint: set one")
        self.chain = chain
        self.limits = transport.limits
        self._chain_id = chain_id
        self._stats = transport.stats
        self._backoff = Backoff(self.limits.base_delay, self.limits.max_delay, random)
        self._endpoints = [Endpoint(url, transport) for url in urls]
        self._answered: dict[str, None] = {}

    @property
    def names(self) -> list[str]:
        """All endpoints, masked."""
        return [endpoint.name for endpoint in self._endpoints]

    @property
    def answered(self) -> list[str]:
        """The endpoints that answered so far, masked."""
        return list(self._answered)

    @property
    def preferred(self) -> Endpoint:
        """The first endpoint that is not cooling down."""
        return next(iter(self._ready()), self._endpoints[0])

    async def ask(
        self, work: Callable[[Endpoint], Awaitable[T]], what: str, tries: int | None = None
    ) -> T:
        """Have one endpoint after the other try the work, until one succeeds.

        Raises NetworkError (RpcError where an endpoint answered) after `tries` rounds, by default
        `Limits.tries`, with what each endpoint answered last.
        """
        troubles: dict[Endpoint, Trouble] = {}
        for attempt in range(tries or self.limits.tries):
            if attempt:
                self._stats.retries += 1
                if self._ready():
                    await asyncio.sleep(self._backoff.delay(attempt - 1))
            for endpoint in await self._wait_for_ready(troubles, what):
                try:
                    await endpoint.verify(self.chain, self._chain_id)
                    answer = await work(endpoint)
                except Trouble as trouble:
                    troubles[endpoint] = trouble
                    endpoint.rest(self._backoff, trouble)
                else:
                    endpoint.failures = 0
                    self._answered[endpoint.name] = None
                    return answer
            if len(troubles) == len(self._endpoints) and all(t.final for t in troubles.values()):
                break
        raise self._failure(troubles, what)

    async def ask_all(self, work: Callable[[Endpoint], Awaitable[T]]) -> list[T]:
        """The answers of all endpoints that give one at the first try; the others rest."""
        answers: list[T] = []

        async def attempt(endpoint: Endpoint) -> None:
            try:
                await endpoint.verify(self.chain, self._chain_id)
                answers.append(await work(endpoint))
            except Trouble as trouble:
                endpoint.rest(self._backoff, trouble)

        await run_together([attempt(endpoint) for endpoint in self._ready()])
        return answers

    async def spread(
        self, part: Callable[[int, int], Awaitable[None]], total: int, size: int
    ) -> None:
        """Do 0 … total in parts of `size`, as many at once as an endpoint takes requests."""
        starts = iter(range(0, total, size))

        async def worker() -> None:
            for start in starts:
                await part(start, min(start + size, total))

        await run_together([worker() for _ in range(self.limits.concurrency)])

    async def _wait_for_ready(self, troubles: dict[Endpoint, Trouble], what: str) -> list[Endpoint]:
        """The endpoints to try now, after a wait where all of them are cooling down."""
        while not (ready := self._ready()):
            wait = min(e.ready_at for e in self._endpoints) - time.monotonic()
            if wait > self.limits.max_wait:
                raise self._failure(troubles, what)
            await asyncio.sleep(max(0.0, wait))
        return ready

    def _failure(self, troubles: dict[Endpoint, Trouble], what: str) -> NetworkError:
        reasons = "; ".join(f"{endpoint.name}: {trouble}" for endpoint, trouble in troubles.items())
        kind = RpcError if any(t.answered for t in troubles.values()) else NetworkError
        if troubles and all(isinstance(t, Pruned) for t in troubles.values()):
            return kind(
                f"{self.chain}: no endpoint keeps the state that {what} needs: {reasons}: set the "
                "`rpc` of an archive node in markets.toml or, where a market is read for the first "
                "time, its `deployment_block`"
            )
        return kind(
            f"{self.chain}: no endpoint answers {what}: {reasons or 'all of them asked to wait'}: "
            "try later or set another endpoint"
        )

    def _ready(self) -> list[Endpoint]:
        now = time.monotonic()
        return [e for e in self._endpoints if e.ready_at <= now]
