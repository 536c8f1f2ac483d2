"""CLIENT"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from itertools import count
from typing import Any, NoReturn, TypeVar

import msgspec

from chainwatch.chain.answers import (
    Answer,
    Quantity,
    Request,
    WireBlock,
    call_request,
    decode_answer,
    header_request,
    hex_bytes,
    open_answer,
    read_header,
    read_logs,
    reads_storage,
)
from chainwatch.chain.endpoint import Endpoint
from chainwatch.chain.faults import (
    Behind,
    CutOff,
    Kind,
    RpcFault,
    TooManyCalls,
    TooMuch,
    Trouble,
    asks_again,
    kind_of,
    log_refusal,
    refusal,
    revert_data,
)
from chainwatch.chain.multicall import decode_aggregate3, encode_aggregate3
from chainwatch.chain.types import MULTICALL3, Block, Call, Limits, LogRange, Reverted, Stats
from chainwatch.errors import ConfigError, NetworkError, Reorged, RpcError
from chainwatch.net.errors import Failed, TooLarge, Unfinished
from chainwatch.net.http import Http
from chainwatch.net.retry import Backoff

T = TypeVar("T")
_LESS = {Kind.TOO_MUCH, Kind.SLOW}


_encode = msgspec.json.Encoder().encode
_NUMBER = msgspec.json.Decoder(Quantity)
_ANY = msgspec.json.Decoder()

_HEADERS = {"Content-Type": "application/json"}
_NOBODY = "0x" + "00" * 20
_NOWHERE = "0x" + "0123456789abcdef" * 4  # the hash of no block
CHECK_TRIES = 2  # rounds of the first contact
_SEEN = 4096  # block hashes kept as evidence against an endpoint that goes back
# Counts at which servers are known to cut a list of logs without a word.
_CUTS = frozenset((1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000))


class Rpc:
    """One chain through one or more endpoints, the first of them preferred.

    An endpoint that fails cools down for growing times while the next one is asked; when none
    helps within `Limits.tries` rounds, one NetworkError (RpcError where an endpoint answered)
    says what each host said. Every endpoint proves its chain id before it is believed.
    """

    def __init__(
        self,
        http: Http,
        urls: Sequence[str],
        *,
        chain: str,
        chain_id: int,
        settings: Limits = Limits(),  # noqa: B008 - frozen
        random: random.Random | None = None,
    ) -> None:
        if not urls:
            raise ConfigError(f"{chain} has no endpoint: set one")
        self.urls = tuple(urls)
        self.chain = chain
        self.chain_id = chain_id
        self.stats = Stats()
        self._http = http
        self._limits = settings
        self._backoff = Backoff(settings.base_delay, settings.max_delay, random)
        self._endpoints = [Endpoint(url, settings) for url in urls]
        self._ids = count(1)
        self._answered: dict[str, None] = {}
        self._highest = 0
        self._seen: dict[int, str] = {}  # block hashes by number, of the chain as last seen
        self._gone: set[str] = set()  # hashes seen before that have left it
        self._multicall_from: int | None = None  # a block at which Multicall3 exists
        self._multicall_after = -1  # the last block known to be without it

    def __repr__(self) -> str:
        return f"Rpc({self.chain}: {', '.join(e.name for e in self._endpoints)})"

    @property
    def host(self) -> str:
        """The endpoints that answered so far, masked."""
        return ", ".join(self._answered)

    # --- single calls and batches -----------------------------------------------------------

    async def check(self) -> None:
        """Ask every endpoint for its chain id.

        Raises ConfigError where one serves another chain, NetworkError where none answers; an
        endpoint that does not answer is put aside and asked again when it is needed.
        """
        if not await self._each(_nothing):
            # Whoever waits here has seen nothing yet: better to hear of a wrong URL soon.
            await self._ask(_nothing, "eth_chainId", min(CHECK_TRIES, self._limits.tries))

    async def request(self, method: str, params: list[Any]) -> Any:
        """One call; RpcError where the endpoints answer it with an error."""
        (answer,) = await self.batch([(method, params)])
        if isinstance(answer, RpcFault):
            raise RpcError(f"{self.chain}: {method}: {answer}")
        return answer

    async def batch(self, requests: Sequence[Request]) -> list[Any | RpcFault]:
        """Many calls, the results in their order; an entry that keeps failing is an RpcFault.

        Only the entries that failed are asked again. A call that failed on the chain itself is
        not asked again.
        """
        answers: list[Any] = [None] * len(requests)

        async def part(start: int, stop: int) -> None:
            left = list(range(start, stop))

            async def post(endpoint: Endpoint) -> None:
                asked = left[: endpoint.batch.now]
                found = await self._send(endpoint, [requests[i] for i in asked])
                for i, answer in zip(asked, found, strict=True):
                    is_fault = isinstance(answer, RpcFault)
                    answers[i] = answer if is_fault else decode_answer(_ANY, answer, "a result")
                again = [i for i in asked if asks_again(answers[i], len(asked) == 1)]
                # Those that failed go to the end, so that they hold up nothing.
                left[:] = left[len(asked) :] + again
                if len(again) == len(asked):
                    raise refusal(answers[again[0]])

            methods = " ".join(sorted({method for method, _ in requests[start:stop]}))
            try:
                while left:
                    await self._ask(post, methods)
            except NetworkError:
                if not all(isinstance(answers[i], RpcFault) for i in left):
                    raise

        await self._spread(part, len(requests), self._preferred().batch.now)
        return answers

    # --- blocks -----------------------------------------------------------------------------

    async def block(self, number: int | str = "latest") -> Block:
        """The header at a height (or tag) on the chain as it is now."""
        return await self._ask(lambda e: self._header(e, number), f"block {number}")

    async def pin(self, lag: int = 0) -> Block:
        """The block `lag` below the highest head that any endpoint has shown, never below 0.

        An endpoint that falls behind moves nothing backwards; a chain that was replaced does.
        """
        heads = await self._each(lambda e: self._header(e, "latest"))
        head = max(heads, key=lambda b: b.number) if heads else await self.block("latest")
        self._highest = max(self._highest, head.number)
        if self._highest - lag == head.number:
            return head
        try:
            return await self.block(max(0, self._highest - lag))
        except Reorged:
            self._highest = max(self._highest, head.number)
            return await self.block(max(0, self._highest - lag))

    async def canonical(self, block: Block) -> bool:
        """Whether the block is still the chain's at its height."""
        if block.hash.lower() in self._gone:
            return False
        try:
            return (await self.block(block.number)).hash == block.hash.lower()
        except Reorged:
            return False

    # --- contract state ---------------------------------------------------------------------

    async def read(self, calls: Sequence[Call], at: Block) -> list[bytes | Reverted]:
        """The answers of many calls at exactly this block, in order.

        Raises Reorged where the block is no longer the chain's; a call that fails on the chain
        is `Reverted`.
        """
        if not calls:
            return []
        if at.hash.lower() in self._gone:
            raise self._reorged(at)
        if not await self._has_multicall(at):
            return await self._read_all(self._call_singly, calls, at, self._preferred().batch.now)
        size = self._preferred().multicall.now
        results = await self._read_all(self._call_multicall, calls, at, size)
        # Inner calls that follow an expensive one may have failed for want of gas, without a
        # word, while the multicall itself went through: alone they have all of it.
        doubtful = [i for i, r in enumerate(results) if type(r) is Reverted and not r.data]
        if doubtful:
            alone = [calls[i] for i in doubtful]
            again = await self._read_all(self._call_singly, alone, at, self._preferred().batch.now)
            for i, result in zip(doubtful, again, strict=True):
                results[i] = result
        return results

    async def reads_storage(self, calls: Sequence[Call], at: Block) -> list[bool | None]:
        """Whether each call reads contract storage at this height (eth_createAccessList).

        None where the endpoint does not say.
        """
        if not calls:
            return []
        requests: list[Request] = [
            (
                "eth_createAccessList",
                [{"to": to, "data": "0x" + data.hex()}, hex(at.number)],
            )
            for to, data in calls
        ]
        try:
            # Many endpoints do not have the method: it is asked for once.
            answers = await self._ask(lambda e: self._send(e, requests), requests[0][0], tries=1)
        except NetworkError:
            return [None] * len(calls)
        return [reads_storage(answer) for answer in answers]

    async def has_code(self, address: str, number: int) -> bool:
        """Whether a contract is at the address at that height; needs an archive for old ones."""

        async def look(endpoint: Endpoint) -> bool:
            request = ("eth_getCode", [address, hex(number)])
            _, answer = await self._with_header(endpoint, number, request)
            return hex_bytes(answer) != b""

        return await self._ask(look, f"eth_getCode at block {number}")

    async def deployment_block(self, address: str, last: int) -> int:
        """The first block with code at the address, found by bisection of 0 … last."""
        if not await self.has_code(address, last):
            raise ConfigError(f"{self.chain} has no contract at {address} at block {last}")
        first = 0
        while first < last:
            middle = (first + last) // 2
            if await self.has_code(address, middle):
                last = middle
            else:
                first = middle + 1
        return first

    # --- event logs -------------------------------------------------------------------------

    async def logs(
        self, addresses: Sequence[str], topics: Sequence[Any], first: int, last: int
    ) -> AsyncIterator[LogRange]:
        """All matching logs of first … last, as adjoining ranges in ascending order.

        A range is as wide as the endpoint accepts; several are asked for ahead. Nothing is left
        out: a range that no endpoint delivers completely ends in a NetworkError.
        """
        wanted = [address.lower() for address in addresses]
        asked: deque[asyncio.Task[list[LogRange]]] = deque()
        ahead = 1
        try:
            while asked or first <= last:
                while first <= last and len(asked) < ahead:
                    stop = min(last, first + self._preferred().log_blocks.now - 1)
                    asked.append(asyncio.create_task(self._log_ranges(wanted, topics, first, stop)))
                    first = stop + 1
                for part in await asked.popleft():
                    yield part
                # The first answer has taught how wide a range may be.
                ahead = self._limits.concurrency
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _log_ranges(
        self, addresses: Sequence[str], topics: Sequence[Any], first: int, last: int
    ) -> list[LogRange]:
        parts = []
        while first <= last:
            scan = partial(self._scan, addresses, topics, first, last)
            parts.append(await self._ask(scan, f"eth_getLogs of blocks {first}-{last}"))
            first = parts[-1].last + 1
        return parts

    async def _scan(
        self,
        addresses: Sequence[str],
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
            if addresses:
                query["address"] = addresses
            if topics:
                query["topics"] = topics
            try:
                header, answer = await self._with_header(endpoint, stop, ("eth_getLogs", [query]))
                if isinstance(answer, RpcFault):
                    raise log_refusal(answer)
                logs = read_logs(answer, frozenset(addresses), first, header)
                if width > 1 and len(logs) in _CUTS:
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

    # --- one endpoint's part ----------------------------------------------------------------
    # Methods that take an endpoint raise Trouble where another one may do better.

    async def _introduce(self, endpoint: Endpoint) -> None:
        """Make sure, once, that the endpoint serves this chain."""
        if endpoint.verified:
            return
        async with endpoint.introduction:
            if endpoint.verified:
                return
            (answer,) = await self._send(endpoint, [("eth_chainId", [])])
            found = int(decode_answer(_NUMBER, answer, "a chain id"), 16)
            if found != self.chain_id:
                raise ConfigError(
                    f"{endpoint.name} serves chain id {found}, but {self.chain} is "
                    f"{self.chain_id}: set an endpoint of {self.chain}"
                )
            endpoint.verified = True

    async def _header(self, endpoint: Endpoint, number: int | str) -> Block:
        (answer,) = await self._send(endpoint, [header_request(number)])
        return await self._known(endpoint, answer, number)

    async def _with_header(
        self, endpoint: Endpoint, number: int, request: Request
    ) -> tuple[Block, Answer]:
        """A request about blocks up to `number`, after proof that the endpoint has that block.

        Without the proof, an endpoint that is behind answers with silence: no logs, no code.
        The header is asked for first, so that a reorganisation in between shows later.
        """
        header, answer = await self._send(endpoint, [header_request(number), request], splits=False)
        return await self._known(endpoint, header, number), answer

    async def _known(self, endpoint: Endpoint, answer: Answer, number: int | str) -> Block:
        wire = read_header(answer, number)
        if wire is None:
            await self._explain_missing(endpoint, number)
        return self._remember(wire)

    def _remember(self, wire: WireBlock) -> Block:
        """Note the header and its parent as the chain; what contradicts them has left it."""
        block = Block(int(wire.number, 16), wire.hash.lower(), int(wire.timestamp, 16))
        if block.number:
            self._note(block.number - 1, wire.parent_hash.lower())
        self._note(block.number, block.hash)
        return block

    def _note(self, number: int, block_hash: str) -> None:
        if self._seen.get(number, block_hash) != block_hash:
            self._gone.update(self._seen.pop(n) for n in [*self._seen] if n >= number)
            self._highest = min(self._highest, number)
        self._seen[number] = block_hash
        self._gone.discard(block_hash)
        while len(self._seen) > _SEEN:
            del self._seen[next(iter(self._seen))]

    async def _explain_missing(self, endpoint: Endpoint, number: int | str) -> NoReturn:
        """Tell an endpoint that is behind from a chain that became shorter.

        It is the chain if a block seen before, at a height the endpoint has, is now another.
        """
        lost = self._seen.get(number) if isinstance(number, int) else None
        head = await self._header(endpoint, "latest") if number != "latest" else None
        if head is None:
            raise Behind("has no latest block")
        known = max((n for n in self._seen if n < head.number), default=None)
        if lost is not None and known is not None:
            (answer,) = await self._send(endpoint, [header_request(known)])
            if (wire := read_header(answer, known)) is not None:
                self._remember(wire)
        if lost in self._gone:
            raise Reorged(
                f"{self.chain}: block {number} left the chain, which now ends at block "
                f"{head.number}: read again"
            )
        raise Behind(f"is at block {head.number} and does not have block {number}")

    async def _hold(self, endpoint: Endpoint, at: Block) -> None:
        """Make sure that the endpoint's chain holds the block."""
        if (await self._header(endpoint, at.number)).hash != at.hash.lower():
            raise self._reorged(at)

    def _reorged(self, at: Block) -> Reorged:
        return Reorged(
            f"{self.chain}: block {at.number} is no longer {at.hash[:10]}… on the chain: read again"
        )

    async def _can_pin(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint takes a block hash (EIP-1898).

        Some ignore it silently and answer for the latest block: those answer for the hash of no
        block as well.
        """
        if endpoint.pins is None:
            async with endpoint.introduction:
                if endpoint.pins is None:
                    request = call_request(_NOBODY, b"", _NOWHERE)
                    (answer,) = await self._send(endpoint, [request])
                    if isinstance(answer, RpcFault) and kind_of(answer) in (Kind.BUSY, Kind.SLOW):
                        raise refusal(answer)
                    endpoint.pins = isinstance(answer, RpcFault)
        return endpoint.pins

    async def _call(
        self, endpoint: Endpoint, calls: Sequence[Call], at: Block
    ) -> list[bytes | RpcFault]:
        """eth_call of each at exactly this block; a fault is one of the call itself."""
        pins = await self._can_pin(endpoint)
        if not pins:
            await self._hold(endpoint, at)
        where = at.hash if pins else at.number
        answers = await self._send(endpoint, [call_request(to, data, where) for to, data in calls])
        faults = [a for a in answers if isinstance(a, RpcFault)]
        strange = [f for f in faults if kind_of(f) in (Kind.BEHIND, Kind.OTHER)]
        if strange or not pins:
            await self._hold(endpoint, at)
        if strange:
            # It has the block, so what it refuses may be the hash in place of the number.
            endpoint.pins = False
            raise refusal(strange[0])
        for fault in faults:
            if kind_of(fault) is not Kind.EVM:
                raise refusal(fault)
        return [a if isinstance(a, RpcFault) else hex_bytes(a) for a in answers]

    async def _call_singly(
        self, calls: Sequence[Call], at: Block, endpoint: Endpoint
    ) -> list[bytes | Reverted]:
        """The answers to the first calls, as many as the endpoint takes in one batch."""
        answers = await self._call(endpoint, calls[: endpoint.batch.now], at)
        return [Reverted(revert_data(a)) if isinstance(a, RpcFault) else a for a in answers]

    async def _call_multicall(
        self, calls: Sequence[Call], at: Block, endpoint: Endpoint
    ) -> list[bytes | Reverted]:
        """The answers to the first calls, as many as the endpoint takes in one multicall."""
        while True:
            part = calls[: endpoint.multicall.now]
            try:
                (answer,) = await self._call(endpoint, [(MULTICALL3, encode_aggregate3(part))], at)
            except (TooMuch, CutOff) as refusal:
                endpoint.multicall.refuse(len(part))
                if len(part) == 1 or isinstance(refusal, CutOff):
                    raise
                continue
            if isinstance(answer, RpcFault):
                # Every inner call may fail, so only a want of gas fails the whole.
                endpoint.multicall.refuse(len(part))
                if len(part) == 1:
                    return [Reverted(revert_data(answer))]
                continue
            try:
                results = decode_aggregate3(answer, len(part))
            except ValueError as error:
                raise Trouble(str(error)) from None
            endpoint.multicall.accept(len(part))
            return results

    # --- sending ----------------------------------------------------------------------------

    async def _send(
        self, endpoint: Endpoint, requests: Sequence[Request], *, splits: bool = True
    ) -> list[Answer]:
        """The answers to all requests, in batches as large as the endpoint accepts.

        `splits` is False where asking for less has to mean something else than a smaller batch.
        """
        answers: list[Answer] = []
        while len(answers) < len(requests):
            part = requests[len(answers) : len(answers) + endpoint.batch.now]
            try:
                found = await self._post(endpoint, part)
            except TooMuch as refusal:
                if len(part) == 1 or not (splits or isinstance(refusal, TooManyCalls)):
                    raise
                endpoint.batch.refuse(len(part), *refusal.stated)
                continue
            except CutOff:
                if splits and len(part) > 1:
                    endpoint.batch.refuse(len(part))
                raise
            answers += found
            less = any(isinstance(a, RpcFault) and kind_of(a) in _LESS for a in found)
            if splits and less and len(part) > 1:
                endpoint.batch.refuse(len(part))
            else:
                endpoint.batch.accept(len(part))
        return answers

    async def _post(self, endpoint: Endpoint, requests: Sequence[Request]) -> list[Answer]:
        """One HTTP request."""
        ids = [next(self._ids) for _ in requests]
        calls = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in zip(ids, requests, strict=True)
        ]
        body = _encode(calls if len(calls) > 1 else calls[0])
        async with endpoint.gate:
            self.stats.requests += 1
            for method, _ in requests:
                self.stats.methods[method] = self.stats.methods.get(method, 0) + 1
            try:
                response = await self._http.request(
                    "POST",
                    endpoint.url,
                    body=body,
                    headers=_HEADERS,
                    timeout=self._limits.timeout,
                    max_bytes=self._limits.max_bytes,
                )
            except TooLarge as error:
                raise TooMuch(error.reason) from None
            except Unfinished as error:
                raise CutOff(error.reason, answered=False) from None
            except Failed as error:
                raise Trouble(error.reason, answered=False) from None
        self.stats.bytes += len(response.body)
        return open_answer(response, ids, self.urls)

    # --- choosing an endpoint ---------------------------------------------------------------

    async def _ask(
        self, work: Callable[[Endpoint], Awaitable[T]], what: str, tries: int | None = None
    ) -> T:
        """Have one endpoint after the other try the work, until one succeeds."""
        said: dict[Endpoint, Trouble] = {}
        for attempt in range(tries or self._limits.tries):
            if attempt:
                self.stats.retries += 1
                if self._ready():
                    await asyncio.sleep(self._backoff.delay(attempt - 1))
            for endpoint in await self._next(said, what):
                try:
                    await self._introduce(endpoint)
                    answer = await work(endpoint)
                except Trouble as trouble:
                    said[endpoint] = trouble
                    endpoint.rest(self._backoff, trouble)
                else:
                    endpoint.failures = 0
                    self._answered[endpoint.name] = None
                    return answer
            if len(said) == len(self._endpoints) and all(t.final for t in said.values()):
                break
        raise self._failure(said, what)

    async def _each(self, work: Callable[[Endpoint], Awaitable[T]]) -> list[T]:
        """The answers of all endpoints that give one at the first try; the others rest."""
        answers: list[T] = []

        async def one(endpoint: Endpoint) -> None:
            try:
                await self._introduce(endpoint)
                answers.append(await work(endpoint))
            except Trouble as trouble:
                endpoint.rest(self._backoff, trouble)

        await _together([one(endpoint) for endpoint in self._ready()])
        return answers

    async def _next(self, said: dict[Endpoint, Trouble], what: str) -> list[Endpoint]:
        """The endpoints to try now, after a wait where all of them are cooling down."""
        while not (ready := self._ready()):
            wait = min(e.ready_at for e in self._endpoints) - time.monotonic()
            if wait > self._limits.max_wait:
                raise self._failure(said, what)
            await asyncio.sleep(max(0.0, wait))
        return ready

    def _failure(self, said: dict[Endpoint, Trouble], what: str) -> NetworkError:
        told = "; ".join(f"{endpoint.name}: {trouble}" for endpoint, trouble in said.items())
        kind = RpcError if any(t.answered for t in said.values()) else NetworkError
        return kind(
            f"{self.chain}: no endpoint answers {what}: {told or 'all asked to be left alone'}: "
            "try later or set another endpoint"
        )

    def _ready(self) -> list[Endpoint]:
        now = time.monotonic()
        return [e for e in self._endpoints if e.ready_at <= now]

    def _preferred(self) -> Endpoint:
        return next(iter(self._ready()), self._endpoints[0])

    # --- many at once -----------------------------------------------------------------------

    async def _has_multicall(self, at: Block) -> bool:
        if self._multicall_from is not None and self._multicall_from <= at.number:
            return True
        if at.number <= self._multicall_after:
            return False
        found = await self.has_code(MULTICALL3, at.number)
        if found:
            self._multicall_from = at.number
        else:
            self._multicall_after = at.number
        return found

    async def _read_all(
        self,
        call: Callable[[Sequence[Call], Block, Endpoint], Awaitable[list[bytes | Reverted]]],
        calls: Sequence[Call],
        at: Block,
        size: int,
    ) -> list[bytes | Reverted]:
        parts: dict[int, list[bytes | Reverted]] = {}

        async def part(start: int, stop: int) -> None:
            results = parts[start] = []
            while (done := start + len(results)) < stop:
                work = partial(call, calls[done:stop], at)
                results += await self._ask(work, f"eth_call at block {at.number}")

        await self._spread(part, len(calls), size)
        return [result for start in sorted(parts) for result in parts[start]]

    async def _spread(
        self, part: Callable[[int, int], Awaitable[None]], total: int, size: int
    ) -> None:
        """Do 0 … total in parts of `size`, as many at once as an endpoint is asked."""
        starts = iter(range(0, total, size))

        async def worker() -> None:
            for start in starts:
                await part(start, min(start + size, total))

        await _together([worker() for _ in range(self._limits.concurrency)])


async def _nothing(endpoint: Endpoint) -> None:
    """The work of an endpoint that is only to prove its chain id."""


async def _together(jobs: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order; the first failure ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
