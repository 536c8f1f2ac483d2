"""A loopback exchange for the demo: plays a recorded burst of liquidations over real sockets.

It speaks what Binance USD-M, Bybit linear and OKX document (RFC 6455 without extensions), so that
the product's own readers collect from it. The burst was made by us and recorded with `chainwatch
record`; its times are moved to when it is played. Nothing in it happened.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from chainwatch.errors import ConfigError
from chainwatch.exchanges.contracts import Contract
from chainwatch.exchanges.frames import Line

BURST = Path(__file__).with_name("burst.jsonl.gz")
# Times in the recording begin here, in milliseconds, and lie within the hour after.
BURST_MS = 1_769_650_000_000
SOURCES = ("binance-usdm", "bybit-linear", "okx")
BEAT_SECONDS = 0.2
# Bits of a frame's first two bytes.
_LAST, _MASKED = 0x80, 0x80
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_TIME = re.compile(r"\b17696[0-9]{8}\b")


class Sent(NamedTuple):
    """A recorded frame: which source sent it, after how many seconds, and its text."""

    source: str
    after: float
    text: str


class Burst(msgspec.Struct, frozen=True):
    """A recording: the contracts of each source, and its frames in order."""

    contracts: dict[str, list[Contract]]
    frames: list[Sent]


def load(path: Path = BURST) -> Burst:
    """Read a recorded burst; ConfigError where it is missing or damaged."""
    decoder = msgspec.json.Decoder(Line)
    contracts: dict[str, list[Contract]] = {}
    frames = []
    try:
        for text in gzip.decompress(path.read_bytes()).splitlines():
            line = decoder.decode(text)
            if line.contract is not None:
                contracts.setdefault(line.source, []).append(line.contract)
            elif line.frame and line.received_at:
                after = line.received_at.timestamp() - BURST_MS / 1000
                frames.append(Sent(line.source, after, line.frame))
    except (OSError, EOFError, msgspec.DecodeError) as failure:
        raise ConfigError(f"the recorded burst {path} cannot be read: {failure}") from None
    return Burst(contracts, frames)


class Exchange:
    """The exchange, open inside the `with` block, in a thread with a loop of its own."""

    def __init__(self, burst: Burst) -> None:
        self._burst = burst
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._sockets: dict[str, set[asyncio.StreamWriter]] = {name: set() for name in SOURCES}
        self._tasks: set[asyncio.Task[None]] = set()
        self._shift_ms = 0
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def environment(self) -> dict[str, str]:
        """The variables that give the sources this address."""
        variables = {}
        for source in SOURCES:
            name = source.upper().replace("-", "_")
            variables[f"CHAINWATCH_WS_{name}"] = f"ws://127.0.0.1:{self.port}/{source}"
            variables[f"CHAINWATCH_URL_{name}"] = f"http://127.0.0.1:{self.port}/{source}"
        return variables

    def ready(self) -> bool:
        """Whether every source has a connection."""
        return all(self._sockets.values())

    async def play(self, begin: float) -> None:
        """Send the burst as if it began at that time, in seconds; ends with its last frame."""
        self._shift_ms = round(begin * 1000) - BURST_MS
        future = asyncio.run_coroutine_threadsafe(self._play(), self._loop)
        await asyncio.wrap_future(future)

    async def _play(self) -> None:
        started = self._loop.time()
        for frame in self._burst.frames:
            await asyncio.sleep(started + frame.after - self._loop.time())
            text = _TIME.sub(lambda match: str(int(match[0]) + self._shift_ms), frame.text)
            for writer in list(self._sockets[frame.source]):
                await _send(writer, text)

    # --- connections ---------------------------------------------------------------------

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ", 2)[1]
            source = path.split("/")[1]
            key = re.search(r"(?im)^sec-websocket-key:\s*(\S+)", head)
            if key is None:
                await self._answer(writer, source, path)
            else:
                await self._stream(reader, writer, source, key[1])
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the client has closed the connection, or the demo has ended
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, source: str, path: str) -> None:
        """The list of contracts, then the connection ends."""
        kind = "SWAP" if "instType=SWAP" in path else ""
        body = json.dumps(_listing(source, self._burst.contracts[source], kind)).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        await writer.drain()

    async def _stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: str, key: str
    ) -> None:
        accept = base64.b64encode(hashlib.sha1(key.encode() + _ACCEPT).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        beating = asyncio.create_task(self._beat(writer, source))
        try:
            while True:
                kind, data = await _receive(reader)
                if kind == _CLOSE:
                    await _send(writer, data, _CLOSE)
                    return
                if kind == _PING:
                    await _send(writer, data, _PONG)
                elif kind == _TEXT:
                    for reply in _replies(source, data.decode()):
                        await _send(writer, reply)
                    self._sockets[source].add(writer)
        finally:
            self._sockets[source].discard(writer)
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self, writer: asyncio.StreamWriter, source: str) -> None:
        with contextlib.suppress(OSError):
            while True:
                await asyncio.sleep(BEAT_SECONDS)
                if writer in self._sockets[source]:
                    await _send(writer, json.dumps(_CANARY[source]))


# --- the protocol of sockets ----------------------------------------------------------------


async def _receive(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The kind and content of the next frame of a client, which always masks."""
    first, second = await reader.readexactly(2)
    size = second & ~_MASKED
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2), "big")
    elif size == 127:
        size = int.from_bytes(await reader.readexactly(8), "big")
    mask = await reader.readexactly(4)
    data = await reader.readexactly(size)
    return first & 0xF, bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))


async def _send(writer: asyncio.StreamWriter, content: str | bytes, kind: int = _TEXT) -> None:
    data = content.encode() if isinstance(content, str) else content
    head = bytes([_LAST | kind])
    if len(data) < 126:
        head += bytes([len(data)])
    elif len(data) < 65_536:
        head += b"\x7e" + len(data).to_bytes(2, "big")
    else:
        head += b"\x7f" + len(data).to_bytes(8, "big")
    with contextlib.suppress(OSError):
        writer.write(head + data)
        await writer.drain()


# --- what the venues say --------------------------------------------------------------------

_CANARY: dict[str, Any] = {
    "binance-usdm": {"e": "markPriceUpdate", "s": "BTCUSDT"},
    "bybit-linear": {"topic": "tickers.BTCUSDT", "type": "delta", "data": {}},
    "okx": {"arg": {"channel": "mark-price", "instId": "BTC-USDT-SWAP"}, "data": []},
}


def _replies(source: str, text: str) -> Iterator[str]:
    """Acknowledgements of everything that is asked for."""
    if text == "ping":
        yield "pong"
        return
    order = json.loads(text)
    if source == "binance-usdm":
        yield json.dumps({"result": None, "id": order["id"]})
    elif source == "bybit-linear":
        reply = {"success": True, "ret_msg": "", "op": order["op"]}
        yield json.dumps(reply | {"req_id": order.get("req_id", "")})
    else:
        for arg in order["args"]:
            yield json.dumps({"event": "subscribe", "arg": arg})


def _listing(source: str, contracts: Sequence[Contract], kind: str) -> Any:
    """The venue's list of contracts."""
    if source == "binance-usdm":
        names = ("symbol", "baseAsset", "quoteAsset", "marginAsset")
        rows = [
            dict(zip(names, (c.symbol, c.base, c.quote, c.settle), strict=True)) for c in contracts
        ]
        return {"symbols": rows}
    if source == "bybit-linear":
        names = ("symbol", "baseCoin", "quoteCoin", "settleCoin")
        rows = [
            dict(zip(names, (c.symbol, c.base, c.quote, c.settle), strict=True)) for c in contracts
        ]
        rows = [{**row, "status": "Trading", "contractType": "LinearPerpetual"} for row in rows]
        return {"retCode": 0, "retMsg": "OK", "result": {"list": rows, "nextPageCursor": ""}}
    data = [
        {
            "instId": c.symbol,
            "instType": "SWAP",
            "uly": f"{c.base}-{c.quote}",
            "settleCcy": c.settle,
            "ctVal": f"{c.size}",
            "ctMult": "1",
            "ctType": c.kind,
            "ctValCcy": c.base if c.kind == "linear" else c.quote,
        }
        for c in contracts
    ]
    return {"code": "0", "msg": "", "data": data if kind == "SWAP" else []}
