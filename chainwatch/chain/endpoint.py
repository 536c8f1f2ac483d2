"""One endpoint: what it takes at once, and how it behaved."""

from __future__ import annotations

import asyncio
import time

from chainwatch.chain.faults import Trouble
from chainwatch.chain.types import Limits
from chainwatch.net import urls
from chainwatch.net.retry import Backoff

# --- what an endpoint accepts ---------------------------------------------------------------


class Size:
    """How much an endpoint accepts at once: shrinks with each refusal, grows slowly again."""

    GROW_AFTER = 20
    GROWTH = 1.25

    def __init__(self, start: int) -> None:
        self.now = start
        self._cap: int | None = None  # the last number believed
        self._ceiling: int | None = None  # a number that holds for every query
        self._accepted = 0

    def refuse(self, tried: int, stated: int | None = None, lasting: bool = False) -> None:
        """Learn from a refusal of `tried`.

        A stated number is believed once: an endpoint that then refuses it is halved, whatever
        it says, so that a wrong number costs log2(tried) requests at most.
        """
        smaller = max(1, tried // 2)
        if stated is not None and 0 < stated < tried:
            if self._cap is None or tried > self._cap:
                smaller = self._cap = stated
            if lasting:
                self._ceiling = stated
        self.now = min(self.now, smaller)
        self._accepted = 0

    def accept(self, used: int) -> None:
        """Learn from a success; only the full size says something about a larger one."""
        if used < self.now:
            return
        self._accepted += 1
        if self._accepted >= self.GROW_AFTER:
            self._accepted = 0
            grown = max(self.now + 1, int(self.now * self.GROWTH))
            self.now = max(self.now, min(grown, self._ceiling or grown))


class Endpoint:
    """One URL and what was learnt of it."""

    def __init__(self, url: str, limits: Limits) -> None:
        self.url = url
        self.name = urls.mask(url)
        self.gate = asyncio.Semaphore(limits.concurrency)
        self.introduction = asyncio.Lock()
        self.verified = False
        self.pins: bool | None = None  # takes a block hash in place of a number
        self.batch = Size(limits.batch)
        self.multicall = Size(limits.multicall)
        self.log_blocks = Size(limits.log_blocks)
        self.ready_at = 0.0
        self.failures = 0

    def rest(self, backoff: Backoff, trouble: Trouble) -> None:
        """Leave it alone for a while, where the trouble calls for it."""
        if not trouble.cools:
            return
        now = time.monotonic()
        until = now + backoff.delay(self.failures, trouble.retry_after)
        # Requests that fail together count as one failure.
        if now >= self.ready_at:
            self.failures += 1
        self.ready_at = max(self.ready_at, until)
