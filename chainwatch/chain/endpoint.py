"""One endpoint: how much it takes at once, how it is asked, and when it rests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec

from chainwatch import urls
from chainwatch.chain.answers import (
    Answer,
    Quantity,
    Request,
    call_request,
    decode_answer,
    hex_bytes,
)
from chainwatch.chain.faults import (
    CutOff,
    Kind,
    RpcFault,
    TooManyCalls,
    TooMuch,
    Trouble,
    kind_of,
    refusal,
)
from chainwatch.chain.transport import Transport
from chainwatch.errors import ConfigError
from chainwatch.net.retry import Backoff

_NUMBER = msgspec.json.Decoder(Quantity)
_SMALLER_HELPS = {Kind.TOO_MUCH, Kind.SLOW}
_NO_CONTRACT = "0x" + "00" * 20
_UNUSED = "0x" + "c4a1" * 10  # an address that nobody uses
# Programs that failed in a row before none is tried again.
PROGRAM_FAILURES = 3
_HASH_OF_NO_BLOCK = "0x" + "0123456789abcdef" * 4
# Code that returns the word 42: PUSH1 42 PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN
_RETURN_42 = bytes.fromhex("602a60005260206000f3")


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
        """Learn from a success; only one of the full size can raise it."""
        if used < self.now:
            return
        self._accepted += 1
        if self._accepted >= self.GROW_AFTER:
            self._accepted = 0
            grown = max(self.now + 1, int(self.now * self.GROWTH))
            self.now = max(self.now, min(grown, self._ceiling or grown))


class Endpoint:
    """One URL, its limits as learnt from its answers, and its state.

    Its methods raise Trouble where another endpoint, or this one later, may do better.
    """

    def __init__(self, url: str, transport: Transport) -> None:
        limits = transport.limits
        self.url = url
        self.name = urls.mask(url)
        self.batch = Size(limits.batch)
        self.multicall = Size(limits.multicall)
        self.program_items = Size(limits.program_items)
        self.log_blocks = Size(limits.log_blocks)
        self.ready_at = 0.0
        self.failures = 0
        self._verified = False
        self._pins: bool | None = None  # takes a block hash in place of a number
        self._overrides: bool | None = None  # takes code that replaces that of an address
        self._programs_failed = 0  # in a row
        self._verifying, self._learning_pins, self._learning_overrides = (
            asyncio.Lock() for _ in range(3)
        )
        self._gate = asyncio.Semaphore(limits.concurrency)
        self._transport = transport

    async def verify(self, chain: str, chain_id: int) -> None:
        """Make sure, once, that it serves this chain; ConfigError where it serves another."""
        if self._verified:
            return
        async with self._verifying:
            if self._verified:
                return
            (answer,) = await self.send([("eth_chainId", [])])
            served = int(decode_answer(_NUMBER, answer, "a chain id"), 16)
            if served != chain_id:
                raise ConfigError(
                    f"{self.name} serves chain id {served}, but {chain} is {chain_id}: "
                    f"set an endpoint of {chain}"
                )
            self._verified = True

    async def can_pin(self) -> bool:
        """Whether it takes a block hash in place of a number (EIP-1898); asked for once.

        Some ignore the hash silently and answer for the latest block: those answer for the hash
        of no block as well.
        """
        if self._pins is None:
            async with self._learning_pins:
                if self._pins is None:
                    request = call_request(_NO_CONTRACT, b"", _HASH_OF_NO_BLOCK)
                    (answer,) = await self.send([request])
                    if isinstance(answer, RpcFault) and kind_of(answer) in (Kind.BUSY, Kind.SLOW):
                        raise refusal(answer)
                    self._pins = isinstance(answer, RpcFault)
        return self._pins

    async def can_override(self) -> bool:
        """Whether eth_call takes a state override set; asked for once.

        Some ignore it silently: those do not answer what the code given would.
        """
        if self._overrides is None:
            async with self._learning_overrides:
                if self._overrides is None:
                    replaced = {_UNUSED: _RETURN_42}
                    method, (call, _, code) = call_request(_UNUSED, b"", 0, replaced)
                    (answer,) = await self.send([(method, [call, "latest", code])])
                    if isinstance(answer, RpcFault):
                        if kind_of(answer) in (Kind.BUSY, Kind.SLOW):
                            raise refusal(answer)
                        self._overrides = False
                    else:
                        self._overrides = int.from_bytes(hex_bytes(answer)) == 42
        return self._overrides

    @property
    def runs_programs(self) -> bool:
        """Whether programs may be tried: they did not fail here again and again."""
        return self._programs_failed < PROGRAM_FAILURES

    def note_program(self, *, failed: bool) -> None:
        """Learn how a program ended."""
        self._programs_failed = self._programs_failed + 1 if failed else 0

    def stop_pinning(self) -> None:
        """Name blocks by number from now on."""
        self._pins = False

    async def send(self, requests: Sequence[Request], *, splits: bool = True) -> list[Answer]:
        """The answers to all requests, in batches as large as the endpoint accepts.

        `splits` is False where asking for less has to mean something else than a smaller batch.
        """
        answers: list[Answer] = []
        while len(answers) < len(requests):
            part = requests[len(answers) : len(answers) + self.batch.now]
            try:
                async with self._gate:
                    received = await self._transport.post(self.url, part)
            except TooMuch as too_much:
                if len(part) == 1 or not (splits or isinstance(too_much, TooManyCalls)):
                    raise
                self.batch.refuse(len(part), *too_much.stated)
                continue
            except CutOff:
                if splits and len(part) > 1:
                    self.batch.refuse(len(part))
                raise
            answers += received
            too_large = any(
                isinstance(a, RpcFault) and kind_of(a) in _SMALLER_HELPS for a in received
            )
            if splits and too_large and len(part) > 1:
                self.batch.refuse(len(part))
            else:
                self.batch.accept(len(part))
        return answers

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
