"""JSON-RPC to one chain: several endpoints, batches, multicall, adaptive log ranges, reorg guard.

An endpoint is never trusted to be complete, up to date or of one mind with the others. Every
read is tied to a block hash, every range of logs to the header of its last block, and what an
endpoint accepts (batch size, calls per multicall, blocks per eth_getLogs) is learnt from what it
refuses.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache, partial
from itertools import accumulate, count, pairwise
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec

from chainwatch import net
from chainwatch.errors import ConfigError, NetworkError, Reorged, RpcError
from chainwatch.net import Backoff, Http
from chainwatch.text import visible

T = TypeVar("T")

MULTICALL3 = "0xca11bde05977b3631167028862be2a173976ca11"

Call = tuple[str, bytes]  # to (0x hex), calldata


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


class RpcFault(msgspec.Struct, frozen=True):
    """An endpoint's error in place of a result."""

    code: int
    message: str
    data: str | None = None  # revert data in hex, or more words

    def __str__(self) -> str:
        return f"{visible(self.message, 300)} (error {self.code})"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Where to start and when to stop; the sizes adapt to each endpoint."""

    timeout: float = net.TIMEOUT  # seconds for one HTTP request
    tries: int = 6  # rounds over all endpoints
    base_delay: float = 0.5  # seconds, doubled per round
    max_delay: float = 30.0  # seconds
    max_wait: float = 90.0  # seconds; an endpoint that asks for more is given up
    concurrency: int = 4  # HTTP requests under way per endpoint
    batch: int = 50  # JSON-RPC calls per HTTP request
    multicall: int = 500  # inner calls per eth_call
    log_blocks: int = 10_000  # blocks per eth_getLogs
    max_bytes: int = net.MAX_BYTES  # of one answer, decompressed


class Stats(msgspec.Struct):
    """What was sent and received so far."""

    requests: int = 0  # HTTP requests
    bytes: int = 0  # of answers, decompressed
    retries: int = 0  # rounds after the first
    methods: dict[str, int] = msgspec.field(default_factory=dict)  # JSON-RPC calls by method


# --- multicall codec ------------------------------------------------------------------------

_AGGREGATE3 = bytes.fromhex("82ad56cb")  # aggregate3((address,bool,bytes)[])
_WORD = 32
_ZEROS = bytes(_WORD)
# A call that succeeded and returned one word: its flag, where its bytes start, how many they are.
_ONE_WORD = (1).to_bytes(_WORD) + (0x40).to_bytes(_WORD) + _WORD.to_bytes(_WORD)
_ALLOW_FAILURE = (1).to_bytes(_WORD) + (0x60).to_bytes(_WORD)  # the flag, then where bytes start


def encode_aggregate3(calls: Sequence[Call]) -> bytes:
    """Calldata of Multicall3's `aggregate3` with allowFailure set for every call."""
    sizes = tuple({len(data) for _, data in calls})
    if len(sizes) == 1:  # nearly always: the same question about many accounts
        (size,) = sizes
        padding = _ZEROS[: -size % _WORD]
        head = {to: _call_head(to, size) for to in {to for to, _ in calls}}
        bodies = [part for to, data in calls for part in (head[to], data, padding)]
        offsets = _even_offsets(len(calls), 4 * _WORD + size + len(padding))
    else:
        bodies = [
            _call_head(to, len(data)) + data + _ZEROS[: -len(data) % _WORD] for to, data in calls
        ]
        offset = accumulate(map(len, bodies), initial=_WORD * len(calls))
        offsets = b"".join(where.to_bytes(_WORD) for where, _ in zip(offset, calls, strict=False))
    length = len(calls).to_bytes(_WORD)
    return b"".join([_AGGREGATE3, _WORD.to_bytes(_WORD), length, offsets, *bodies])


def _call_head(to: str, size: int) -> bytes:
    """What stands before the data of a call: whom, that it may fail, where data begin, how many."""
    return bytes.fromhex(to[2:]).rjust(_WORD, b"\0") + _ALLOW_FAILURE + size.to_bytes(_WORD)


@lru_cache(64)
def _even_offsets(calls: int, stride: int) -> bytes:
    """Where each of `calls` encoded calls of the same size begins."""
    return b"".join((_WORD * calls + stride * i).to_bytes(_WORD) for i in range(calls))


def decode_aggregate3(answer: bytes, expected: int) -> list[bytes | Reverted]:
    """The (bool success, bytes returnData)[] that `aggregate3` returns.

    Raises ValueError where the answer is not the encoding of `expected` results.
    """
    read = int.from_bytes
    size = len(answer)
    if size < 64 or read(answer[:32]) != 32 or read(answer[32:64]) != expected:
        raise ValueError(f"{size} bytes that are not {expected} multicall results")
    results: list[bytes | Reverted] = []
    for head in range(64, 64 + _WORD * expected, _WORD):
        start = 64 + read(answer[head : head + 32])
        data_start = start + 96
        if answer[start:data_start] == _ONE_WORD and data_start + _WORD <= size:
            results.append(answer[data_start : data_start + _WORD])  # nearly every answer
            continue
        data_end = data_start + read(answer[start + 64 : data_start])
        success = read(answer[start : start + 32])
        if data_end > size or success > 1 or read(answer[start + 32 : start + 64]) != 64:
            raise ValueError(f"multicall result {len(results)} of {expected} is malformed")
        data = answer[data_start:data_end]
        results.append(data if success else Reverted(data))
    return results


# --- what an endpoint says ------------------------------------------------------------------


class _Kind(Enum):
    EVM = "the call itself failed on the chain"
    TOO_MUCH = "asking for less helps"
    SLOW = "asking for less, later, may help"
    BUSY = "asking later helps"
    BEHIND = "the endpoint does not have the block yet"
    OTHER = "no more is known"


# A contract chooses the words of its revert, so this comes before every other pattern.
_EVM = re.compile(
    r"\brevert|invalid opcode|opcode not defined|EVM error|VM execution|out ?of ?gas"
    r"|gas required exceeds|bad instruction|bad jump|invalid jump|stack (?:under|over)flow",
    re.IGNORECASE,
)
_BATCH = re.compile(r"\bbatch", re.IGNORECASE)
_TOO_MUCH = re.compile(
    r"more than [\d,.]+ (?:results|logs)|max(?:imum)? (?:results|logs)|size exceeded|response size"
    r"|(?:response|request|content|entity|body)(?: is| length)? too (?:large|big)"
    r"|range (?:is )?too (?:large|wide|big)|range limit exceeded|query exceeds limit|ranges? over"
    r"|too many (?:logs|blocks|results)|narrow your filter|intrinsic gas",
    re.IGNORECASE,
)
_SLOW = re.compile(r"tim(?:ed|e)[ -]?out|deadline exceeded|took too long|\baborted", re.IGNORECASE)
_BUSY = re.compile(
    r"rate.?limit|too many requests|limit exceeded|requests? limit|capacity|throttl|quota|credits"
    r"|compute units|overload|try again|temporar|service unavailable|no backend|per second"
    r"|internal (?:server |json-rpc )?error",
    re.IGNORECASE,
)
_LESS = {_Kind.TOO_MUCH, _Kind.SLOW}
_BUSY_CODES = {-32005, 429}
_BEHIND = re.compile(
    r"\b(?:header|block)(?! range)(?: \w+){0,3} not (?:yet )?(?:found|available)|unknown block"
    r"|beyond (?:the )?current|BlockOutOfRange|future block|resource not found",
    re.IGNORECASE,
)
_NO_SUCH_METHOD = -32601
_LONGEST_TEXT = 2000  # characters of an error text that are looked at

# The known texts of eth_getLogs limits. A stated range is a hint for this query; a stated number
# of blocks holds for all.
_STATED_RANGE = re.compile(
    r"\[\s*0x([0-9a-f]+)\s*,\s*0x([0-9a-f]+)\s*\]|range (\d+)\s*-\s*(\d+)", re.IGNORECASE
)
_STATED_BLOCKS = re.compile(
    r"(?:limited to (?:a |at most )?|range \d+ exceeds limit of |up to an? |at most "
    r"|max(?:imum)? (?:block )?range(?: of)?:? |max(?:imum)? (?:is |is set to )"
    r"|requested blocks is |range exceeds server limit, narrow your filter: |\(\d+ > "
    r"|range greater than |range exceeds |blocks distance: |smaller than size |\(max(?:imum)? )"
    r"(\d[\d,.]*+)( ?k\b)?+(?! ?(?:results|logs|events|bytes|[mk]b|req|calls|times|per|/))",
    re.IGNORECASE,
)


def _kind(fault: RpcFault) -> _Kind:
    text = _text(fault)
    if fault.code == 3 or _EVM.search(text):
        return _Kind.EVM
    if _TOO_MUCH.search(text):
        return _Kind.TOO_MUCH
    if _SLOW.search(text):
        return _Kind.SLOW
    if fault.code in _BUSY_CODES or _BUSY.search(text):
        return _Kind.BUSY
    if _BEHIND.search(text):
        return _Kind.BEHIND
    return _Kind.OTHER


def _text(fault: RpcFault) -> str:
    """The message with what some servers put beside it."""
    return f"{fault.message} {fault.data}" if fault.data else fault.message


def stated_blocks(text: str) -> tuple[int, bool] | None:
    """How many blocks a refusal says may be asked for, and whether that holds for every query."""
    if found := _STATED_RANGE.search(text):
        base = 16 if found[1] else 10
        first, last = int(found[1] or found[3], base), int(found[2] or found[4], base)
        return (last - first + 1, False) if first <= last else None
    if found := _STATED_BLOCKS.search(text):
        digits = found[1].rstrip(".,").replace(",", "").replace(".", "")
        return int(digits) * (1000 if found[2] else 1), True
    return None


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


class _Trouble(Exception):
    """An endpoint could not do its part; another one, or the same one later, may."""

    def __init__(
        self,
        text: str,
        *,
        cools: bool = True,
        answered: bool = True,
        final: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(text)
        self.cools = cools  # leave the endpoint alone for a while
        self.answered = answered  # it said something, as opposed to the network
        self.final = final  # asking this endpoint again cannot help
        self.retry_after = retry_after


class _Behind(_Trouble):
    """The endpoint does not have the block yet."""

    def __init__(self, text: str) -> None:
        super().__init__(text, cools=False)


class _Unfinished(_Trouble):
    """No complete answer in time."""


class _TooMuch(_Trouble):
    """The endpoint wants to be asked for less."""

    def __init__(self, text: str, stated: tuple[int, bool] | None = None) -> None:
        super().__init__(text, cools=False)
        self.stated = stated or (None, False)


class _TooManyCalls(_TooMuch):
    """The endpoint wants fewer calls in one batch."""


class _Endpoint:
    """One URL and what was learnt of it."""

    def __init__(self, url: str, limits: Limits) -> None:
        self.url = url
        self.name = net.mask(url)
        self.gate = asyncio.Semaphore(limits.concurrency)
        self.introduction = asyncio.Lock()
        self.verified = False
        self.pins: bool | None = None  # takes a block hash in place of a number
        self.batch = Size(limits.batch)
        self.multicall = Size(limits.multicall)
        self.log_blocks = Size(limits.log_blocks)
        self.ready_at = 0.0
        self.failures = 0

    def rest(self, backoff: Backoff, trouble: _Trouble) -> None:
        """Leave it alone for a while, where the trouble calls for it."""
        if not trouble.cools:
            return
        now = time.monotonic()
        until = now + backoff.delay(self.failures, trouble.retry_after)
        # Requests that fail together count as one failure.
        if now >= self.ready_at:
            self.failures += 1
        self.ready_at = max(self.ready_at, until)


# --- wire formats ---------------------------------------------------------------------------

_Hash = Annotated[str, msgspec.Meta(pattern=r"\A0x[0-9a-fA-F]{64}\Z")]
_Address = Annotated[str, msgspec.Meta(pattern=r"\A0x[0-9a-fA-F]{40}\Z")]
_Bytes = Annotated[str, msgspec.Meta(pattern=r"\A0x[0-9a-fA-F]*\Z")]
_Quantity = Annotated[str, msgspec.Meta(pattern=r"\A0x[0-9a-fA-F]{1,64}\Z")]

_NOTHING = msgspec.Raw()


class _WireAnswer(msgspec.Struct):
    id: int | str | None = None
    result: msgspec.Raw = _NOTHING
    error: Any = None


class _WireBlock(msgspec.Struct, rename="camel"):
    number: _Quantity
    hash: _Hash
    parent_hash: _Hash
    timestamp: _Quantity


class _WireLog(msgspec.Struct, rename="camel"):
    address: _Address
    topics: tuple[_Hash, ...]
    data: _Bytes
    block_number: _Quantity
    block_hash: _Hash
    log_index: _Quantity
    transaction_hash: _Hash | None = None
    removed: bool = False


class _WireAccess(msgspec.Struct, rename="camel"):
    storage_keys: list[str] = []


class _WireAccessList(msgspec.Struct, rename="camel"):
    access_list: list[_WireAccess]
    error: str | None = None  # of the call itself


_encode = msgspec.json.Encoder().encode
_ONE = msgspec.json.Decoder(_WireAnswer)
_MANY = msgspec.json.Decoder(list[_WireAnswer])
_HEADER: msgspec.json.Decoder[_WireBlock | None] = msgspec.json.Decoder(_WireBlock | None)
_LOGS = msgspec.json.Decoder(list[_WireLog])
_ACCESS = msgspec.json.Decoder(_WireAccessList)
_NUMBER = msgspec.json.Decoder(_Quantity)
_TEXT = msgspec.json.Decoder(str)
_ANY = msgspec.json.Decoder()
_HEX = re.compile(r"0x[0-9a-fA-F]*").fullmatch
_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)

_Request = tuple[str, list[Any]]  # method, params
_Answer = msgspec.Raw | RpcFault

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
        self._endpoints = [_Endpoint(url, settings) for url in urls]
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

    async def batch(self, requests: Sequence[_Request]) -> list[Any | RpcFault]:
        """Many calls, the results in their order; an entry that keeps failing is an RpcFault.

        Only the entries that failed are asked again. A call that failed on the chain itself is
        not asked again.
        """
        answers: list[Any] = [None] * len(requests)

        async def part(start: int, stop: int) -> None:
            left = list(range(start, stop))

            async def post(endpoint: _Endpoint) -> None:
                asked = left[: endpoint.batch.now]
                found = await self._send(endpoint, [requests[i] for i in asked])
                for i, answer in zip(asked, found, strict=True):
                    is_fault = isinstance(answer, RpcFault)
                    answers[i] = answer if is_fault else _decode(_ANY, answer, "a result")
                again = [i for i in asked if _asks_again(answers[i], len(asked) == 1)]
                # Those that failed go to the end, so that they hold up nothing.
                left[:] = left[len(asked) :] + again
                if len(again) == len(asked):
                    raise _refusal(answers[again[0]])

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
        requests: list[_Request] = [
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
        return [_reads_storage(answer) for answer in answers]

    async def has_code(self, address: str, number: int) -> bool:
        """Whether a contract is at the address at that height; needs an archive for old ones."""

        async def look(endpoint: _Endpoint) -> bool:
            request = ("eth_getCode", [address, hex(number)])
            _, answer = await self._with_header(endpoint, number, request)
            return _hex_bytes(answer) != b""

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
        endpoint: _Endpoint,
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
                    raise _log_refusal(answer)
                logs = _read_logs(answer, frozenset(addresses), first, header)
                if width > 1 and len(logs) in _CUTS:
                    raise _TooMuch(f"exactly {len(logs)} logs, which may be a silent cut")
            except _TooMuch as refusal:
                endpoint.log_blocks.refuse(width, *refusal.stated)
                if width == 1:
                    raise _Trouble(f"block {first} alone: {refusal}", cools=False) from None
                continue
            except _Unfinished:
                endpoint.log_blocks.refuse(width)
                raise
            endpoint.log_blocks.accept(width)
            return LogRange(first, stop, header.hash, logs)

    # --- one endpoint's part ----------------------------------------------------------------
    # Methods that take an endpoint raise _Trouble where another one may do better.

    async def _introduce(self, endpoint: _Endpoint) -> None:
        """Make sure, once, that the endpoint serves this chain."""
        if endpoint.verified:
            return
        async with endpoint.introduction:
            if endpoint.verified:
                return
            (answer,) = await self._send(endpoint, [("eth_chainId", [])])
            found = int(_decode(_NUMBER, answer, "a chain id"), 16)
            if found != self.chain_id:
                raise ConfigError(
                    f"{endpoint.name} serves chain id {found}, but {self.chain} is "
                    f"{self.chain_id}: set an endpoint of {self.chain}"
                )
            endpoint.verified = True

    async def _header(self, endpoint: _Endpoint, number: int | str) -> Block:
        (answer,) = await self._send(endpoint, [_header_request(number)])
        return await self._known(endpoint, answer, number)

    async def _with_header(
        self, endpoint: _Endpoint, number: int, request: _Request
    ) -> tuple[Block, _Answer]:
        """A request about blocks up to `number`, after proof that the endpoint has that block.

        Without the proof, an endpoint that is behind answers with silence: no logs, no code.
        The header is asked for first, so that a reorganisation in between shows later.
        """
        header, answer = await self._send(
            endpoint, [_header_request(number), request], splits=False
        )
        return await self._known(endpoint, header, number), answer

    async def _known(self, endpoint: _Endpoint, answer: _Answer, number: int | str) -> Block:
        wire = _read_header(answer, number)
        if wire is None:
            await self._explain_missing(endpoint, number)
        return self._remember(wire)

    def _remember(self, wire: _WireBlock) -> Block:
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

    async def _explain_missing(self, endpoint: _Endpoint, number: int | str) -> NoReturn:
        """Tell an endpoint that is behind from a chain that became shorter.

        It is the chain if a block seen before, at a height the endpoint has, is now another.
        """
        lost = self._seen.get(number) if isinstance(number, int) else None
        head = await self._header(endpoint, "latest") if number != "latest" else None
        if head is None:
            raise _Behind("has no latest block")
        known = max((n for n in self._seen if n < head.number), default=None)
        if lost is not None and known is not None:
            (answer,) = await self._send(endpoint, [_header_request(known)])
            if (wire := _read_header(answer, known)) is not None:
                self._remember(wire)
        if lost in self._gone:
            raise Reorged(
                f"{self.chain}: block {number} left the chain, which now ends at block "
                f"{head.number}: read again"
            )
        raise _Behind(f"is at block {head.number} and does not have block {number}")

    async def _hold(self, endpoint: _Endpoint, at: Block) -> None:
        """Make sure that the endpoint's chain holds the block."""
        if (await self._header(endpoint, at.number)).hash != at.hash.lower():
            raise self._reorged(at)

    def _reorged(self, at: Block) -> Reorged:
        return Reorged(
            f"{self.chain}: block {at.number} is no longer {at.hash[:10]}… on the chain: read again"
        )

    async def _can_pin(self, endpoint: _Endpoint) -> bool:
        """Whether the endpoint takes a block hash (EIP-1898).

        Some ignore it silently and answer for the latest block: those answer for the hash of no
        block as well.
        """
        if endpoint.pins is None:
            async with endpoint.introduction:
                if endpoint.pins is None:
                    request = _call_request(_NOBODY, b"", _NOWHERE)
                    (answer,) = await self._send(endpoint, [request])
                    if isinstance(answer, RpcFault) and _kind(answer) in (_Kind.BUSY, _Kind.SLOW):
                        raise _refusal(answer)
                    endpoint.pins = isinstance(answer, RpcFault)
        return endpoint.pins

    async def _call(
        self, endpoint: _Endpoint, calls: Sequence[Call], at: Block
    ) -> list[bytes | RpcFault]:
        """eth_call of each at exactly this block; a fault is one of the call itself."""
        pins = await self._can_pin(endpoint)
        if not pins:
            await self._hold(endpoint, at)
        where = at.hash if pins else at.number
        answers = await self._send(endpoint, [_call_request(to, data, where) for to, data in calls])
        faults = [a for a in answers if isinstance(a, RpcFault)]
        strange = [f for f in faults if _kind(f) in (_Kind.BEHIND, _Kind.OTHER)]
        if strange or not pins:
            await self._hold(endpoint, at)
        if strange:
            # It has the block, so what it refuses may be the hash in place of the number.
            endpoint.pins = False
            raise _refusal(strange[0])
        for fault in faults:
            if _kind(fault) is not _Kind.EVM:
                raise _refusal(fault)
        return [a if isinstance(a, RpcFault) else _hex_bytes(a) for a in answers]

    async def _call_singly(
        self, calls: Sequence[Call], at: Block, endpoint: _Endpoint
    ) -> list[bytes | Reverted]:
        """The answers to the first calls, as many as the endpoint takes in one batch."""
        answers = await self._call(endpoint, calls[: endpoint.batch.now], at)
        return [Reverted(_revert_data(a)) if isinstance(a, RpcFault) else a for a in answers]

    async def _call_multicall(
        self, calls: Sequence[Call], at: Block, endpoint: _Endpoint
    ) -> list[bytes | Reverted]:
        """The answers to the first calls, as many as the endpoint takes in one multicall."""
        while True:
            part = calls[: endpoint.multicall.now]
            try:
                (answer,) = await self._call(endpoint, [(MULTICALL3, encode_aggregate3(part))], at)
            except (_TooMuch, _Unfinished) as refusal:
                endpoint.multicall.refuse(len(part))
                if len(part) == 1 or isinstance(refusal, _Unfinished):
                    raise
                continue
            if isinstance(answer, RpcFault):
                # Every inner call may fail, so only a want of gas fails the whole.
                endpoint.multicall.refuse(len(part))
                if len(part) == 1:
                    return [Reverted(_revert_data(answer))]
                continue
            try:
                results = decode_aggregate3(answer, len(part))
            except ValueError as error:
                raise _Trouble(str(error)) from None
            endpoint.multicall.accept(len(part))
            return results

    # --- sending ----------------------------------------------------------------------------

    async def _send(
        self, endpoint: _Endpoint, requests: Sequence[_Request], *, splits: bool = True
    ) -> list[_Answer]:
        """The answers to all requests, in batches as large as the endpoint accepts.

        `splits` is False where asking for less has to mean something else than a smaller batch.
        """
        answers: list[_Answer] = []
        while len(answers) < len(requests):
            part = requests[len(answers) : len(answers) + endpoint.batch.now]
            try:
                found = await self._post(endpoint, part)
            except _TooMuch as refusal:
                if len(part) == 1 or not (splits or isinstance(refusal, _TooManyCalls)):
                    raise
                endpoint.batch.refuse(len(part), *refusal.stated)
                continue
            except _Unfinished:
                if splits and len(part) > 1:
                    endpoint.batch.refuse(len(part))
                raise
            answers += found
            less = any(isinstance(a, RpcFault) and _kind(a) in _LESS for a in found)
            if splits and less and len(part) > 1:
                endpoint.batch.refuse(len(part))
            else:
                endpoint.batch.accept(len(part))
        return answers

    async def _post(self, endpoint: _Endpoint, requests: Sequence[_Request]) -> list[_Answer]:
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
            except net.TooLarge as error:
                raise _TooMuch(error.reason) from None
            except net.Unfinished as error:
                raise _Unfinished(error.reason, answered=False) from None
            except net.Failed as error:
                raise _Trouble(error.reason, answered=False) from None
        self.stats.bytes += len(response.body)
        return _open(response, ids, self.urls)

    # --- choosing an endpoint ---------------------------------------------------------------

    async def _ask(
        self, work: Callable[[_Endpoint], Awaitable[T]], what: str, tries: int | None = None
    ) -> T:
        """Have one endpoint after the other try the work, until one succeeds."""
        said: dict[_Endpoint, _Trouble] = {}
        for attempt in range(tries or self._limits.tries):
            if attempt:
                self.stats.retries += 1
                if self._ready():
                    await asyncio.sleep(self._backoff.delay(attempt - 1))
            for endpoint in await self._next(said, what):
                try:
                    await self._introduce(endpoint)
                    answer = await work(endpoint)
                except _Trouble as trouble:
                    said[endpoint] = trouble
                    endpoint.rest(self._backoff, trouble)
                else:
                    endpoint.failures = 0
                    self._answered[endpoint.name] = None
                    return answer
            if len(said) == len(self._endpoints) and all(t.final for t in said.values()):
                break
        raise self._failure(said, what)

    async def _each(self, work: Callable[[_Endpoint], Awaitable[T]]) -> list[T]:
        """The answers of all endpoints that give one at the first try; the others rest."""
        answers: list[T] = []

        async def one(endpoint: _Endpoint) -> None:
            try:
                await self._introduce(endpoint)
                answers.append(await work(endpoint))
            except _Trouble as trouble:
                endpoint.rest(self._backoff, trouble)

        await _together([one(endpoint) for endpoint in self._ready()])
        return answers

    async def _next(self, said: dict[_Endpoint, _Trouble], what: str) -> list[_Endpoint]:
        """The endpoints to try now, after a wait where all of them are cooling down."""
        while not (ready := self._ready()):
            wait = min(e.ready_at for e in self._endpoints) - time.monotonic()
            if wait > self._limits.max_wait:
                raise self._failure(said, what)
            await asyncio.sleep(max(0.0, wait))
        return ready

    def _failure(self, said: dict[_Endpoint, _Trouble], what: str) -> NetworkError:
        told = "; ".join(f"{endpoint.name}: {trouble}" for endpoint, trouble in said.items())
        kind = RpcError if any(t.answered for t in said.values()) else NetworkError
        return kind(
            f"{self.chain}: no endpoint answers {what}: {told or 'all asked to be left alone'}: "
            "try later or set another endpoint"
        )

    def _ready(self) -> list[_Endpoint]:
        now = time.monotonic()
        return [e for e in self._endpoints if e.ready_at <= now]

    def _preferred(self) -> _Endpoint:
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
        call: Callable[[Sequence[Call], Block, _Endpoint], Awaitable[list[bytes | Reverted]]],
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


async def _nothing(endpoint: _Endpoint) -> None:
    """The work of an endpoint that is only to prove its chain id."""


async def _together(jobs: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order; the first failure ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


# --- requests and answers -------------------------------------------------------------------


def _reads_storage(answer: _Answer) -> bool | None:
    """Whether an access list names a slot; None for an answer that is none, or of a failed call."""
    try:
        found = _decode(_ACCESS, answer, "an access list")
    except _Trouble:
        return None
    if found.error:
        return None
    return any(each.storage_keys for each in found.access_list)


def _header_request(number: int | str) -> _Request:
    tag = hex(number) if isinstance(number, int) else number
    return "eth_getBlockByNumber", [tag, False]


def _call_request(to: str, data: bytes, where: int | str) -> _Request:
    """`where` is a block number or a block hash."""
    pin = {"blockHash": where, "requireCanonical": True}
    block = hex(where) if isinstance(where, int) else pin
    return "eth_call", [{"to": to, "data": "0x" + data.hex()}, block]


def _open(response: net.Response, ids: Sequence[int], urls: Sequence[str]) -> list[_Answer]:
    """The answers to the calls with these ids, in their order.

    An entry of a batch that is missing is a fault of its own. What is not JSON-RPC, or answers
    something that was not asked, makes the whole response unusable.
    """
    if response.status in (429, 503):
        wait = net.retry_after(response.headers)
        raise _Trouble(f"HTTP {response.status}", retry_after=wait)
    try:
        if len(ids) == 1:
            return [_open_call(response, ids[0], urls)]
        return _open_batch(response, ids, urls)
    except _UNREADABLE:
        raise _unreadable(response, len(ids)) from None


def _open_call(response: net.Response, asked: int, urls: Sequence[str]) -> _Answer:
    entry = _ONE.decode(response.body)
    answer = _value(entry, urls)
    unread = entry.id is None and isinstance(answer, RpcFault)
    if entry.id != asked and not unread:
        raise _Trouble("an answer to something that was not asked")
    if response.status == 413 and isinstance(answer, RpcFault):
        raise _TooMuch(str(answer), stated_blocks(_text(answer)))
    return answer


def _open_batch(response: net.Response, ids: Sequence[int], urls: Sequence[str]) -> list[_Answer]:
    if response.body.lstrip()[:1] != b"[":
        answer = _value(_ONE.decode(response.body), urls)
        if isinstance(answer, RpcFault):
            raise _batch_refusal(answer, len(ids))
        raise _Trouble("a single result for a batch")
    entries = _MANY.decode(response.body)
    answers: dict[int | str | None, _Answer] = {}
    for entry in entries:
        answer = _value(entry, urls)
        # geth refuses a batch with an error for its first call, and no word of the others.
        if isinstance(answer, RpcFault) and (entry.id is None or len(entries) == 1):
            raise _batch_refusal(answer, len(ids))
        if entry.id not in ids or entry.id in answers:
            raise _Trouble("an answer to something that was not asked, or two to one call")
        answers[entry.id] = answer
    missing = RpcFault(0, "no answer to this entry of the batch")
    return [answers.get(i, missing) for i in ids]


def _value(entry: _WireAnswer, urls: Sequence[str]) -> _Answer:
    error = entry.error
    if error is None:
        return RpcFault(0, "neither result nor error") if entry.result is _NOTHING else entry.result
    if not isinstance(error, dict):
        return RpcFault(0, _foreign(error, urls))
    code, data = error.get("code"), error.get("data")
    if isinstance(data, dict):  # Hardhat nests it once more
        data = data.get("data")
    if not isinstance(data, str):
        data = None
    elif not _HEX(data):
        data = _foreign(data, urls)
    message = _foreign(error.get("message", "an error without a message"), urls)
    return RpcFault(code if type(code) is int else 0, message, data)


def _foreign(text: object, urls: Sequence[str]) -> str:
    return net.scrub(str(text)[:_LONGEST_TEXT], urls)


def _unreadable(response: net.Response, calls: int) -> _Trouble:
    status, body = response.status, response.body.lstrip()
    if status == 413:
        return _TooMuch("HTTP 413")
    if 400 <= status < 500 and status not in (408, 425):
        if calls > 1:
            return _TooManyCalls(f"HTTP {status}", (1, True))
        return _Trouble(f"HTTP {status}", final=True)
    if status in (408, 504, 524):
        return _Unfinished(f"HTTP {status}")
    if status >= 400:
        return _Trouble(f"HTTP {status}")
    if not body:
        return _Trouble("an empty answer")
    if body[:1] == b"<":
        return _Trouble("HTML instead of JSON")
    if body[:1] not in (b"{", b"["):
        return _Trouble("text instead of JSON")
    return _Trouble("JSON that is cut or no JSON-RPC answer")


def _batch_refusal(fault: RpcFault, calls: int) -> _Trouble:
    """What an error in place of a whole batch means."""
    text = _text(fault)
    if _BATCH.search(text):
        sizes = [n for n in map(int, re.findall(r"\d+", text)) if 0 < n < calls]
        if sizes:
            return _TooManyCalls(str(fault), (min(sizes), True))
        refused = re.search(r"not (?:supported|allowed|enabled)|disabled|unsupported", text)
        return _TooManyCalls(str(fault), (1, True) if refused else None)
    if stated := stated_blocks(text):
        return _TooMuch(str(fault), stated)
    if _kind(fault) is _Kind.OTHER:
        return _TooManyCalls(str(fault), (1, True))
    return _refusal(fault)


def _refusal(fault: RpcFault) -> _Trouble:
    """What an error in place of a result means for the endpoint that sent it."""
    match _kind(fault):
        case _Kind.TOO_MUCH:
            return _TooMuch(str(fault))
        case _Kind.SLOW:
            return _Unfinished(str(fault))
        case _Kind.BEHIND:
            return _Behind(str(fault))
        case _Kind.BUSY:
            return _Trouble(str(fault))
        case _:
            return _Trouble(str(fault), cools=False, final=fault.code == _NO_SUCH_METHOD)


def _log_refusal(fault: RpcFault) -> _Trouble:
    """The same for eth_getLogs, where an unknown text is most likely one more limit."""
    stated = stated_blocks(_text(fault))
    unknown = _kind(fault) in (_Kind.OTHER, _Kind.EVM) and fault.code != _NO_SUCH_METHOD
    return _TooMuch(str(fault), stated) if stated or unknown else _refusal(fault)


def _asks_again(answer: Any, alone: bool) -> bool:
    if not isinstance(answer, RpcFault):
        return False
    kind = _kind(answer)
    return kind is not _Kind.EVM and not (kind is _Kind.TOO_MUCH and alone)


def _decode(decoder: msgspec.json.Decoder[T], answer: _Answer, what: str) -> T:
    if isinstance(answer, RpcFault):
        raise _refusal(answer)
    try:
        return decoder.decode(answer)
    except _UNREADABLE:
        raise _Trouble(f"{what} that cannot be read") from None


def _hex_bytes(answer: _Answer) -> bytes:
    text = _decode(_TEXT, answer, "a result")
    try:
        if text.startswith("0x"):
            return bytes.fromhex(text[2:])
    except ValueError:
        pass
    raise _Trouble("a result that is not hex data")


def _revert_data(fault: RpcFault) -> bytes:
    """The hex in the fault's data: alone (geth) or among words (Parity: "Reverted 0x…")."""
    found = re.search(r"0x((?:[0-9a-fA-F]{2})*)", fault.data or "")
    return bytes.fromhex(found[1]) if found else b""


def _read_header(answer: _Answer, number: int | str) -> _WireBlock | None:
    wire = _decode(_HEADER, answer, "a block header")
    if wire is not None and isinstance(number, int) and int(wire.number, 16) != number:
        raise _Trouble(f"another block than the {number} that was asked for")
    return wire


def _read_logs(
    answer: msgspec.Raw, addresses: frozenset[str], first: int, header: Block
) -> list[Log]:
    """The logs of first … header, in order; _Trouble where any of them cannot belong there."""
    wires = _decode(_LOGS, answer, "logs")
    logs = [
        Log(
            wire.address.lower(),
            tuple([topic.lower() for topic in wire.topics]),
            wire.data.lower(),
            int(wire.block_number, 16),
            wire.block_hash.lower(),
            int(wire.log_index, 16),
            (wire.transaction_hash or "").lower(),
        )
        for wire in wires
    ]
    logs.sort(key=lambda log: (log.block_number, log.index))
    if any(wire.removed for wire in wires):
        raise _Trouble("logs of a block that left the chain")
    if logs and not first <= logs[0].block_number <= logs[-1].block_number <= header.number:
        raise _Trouble("logs of blocks that were not asked for")
    if addresses and not addresses.issuperset(log.address for log in logs):
        raise _Trouble("logs of contracts that were not asked for")
    if logs and logs[-1].block_number == header.number and logs[-1].block_hash != header.hash:
        raise _Trouble("logs of another fork than the header's")
    for one, two in pairwise(logs):
        if one.block_number == two.block_number and (
            one.index == two.index or one.block_hash != two.block_hash
        ):
            raise _Trouble("the same log twice, or logs of two forks")
    return logs
