"""One WebSocket: frames with the time they came, pings, a bounded close."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from chainwatch.net.errors import Closed
from chainwatch.text import visible

if TYPE_CHECKING:
    import aiohttp

MAX_FRAME = 16 * 2**20


class SocketFrame(NamedTuple):
    """One frame as it came: its bytes, and whether it was sent as binary."""

    data: bytes
    binary: bool


class Socket:
    """An open WebSocket; one task reads it, any task may write."""

    def __init__(self, opened: aiohttp.ClientWebSocketResponse[Literal[False]], url: str) -> None:
        from aiohttp import WSMsgType

        self._opened = opened
        self._url = url
        self._text, self._binary = WSMsgType.TEXT, WSMsgType.BINARY

    async def receive(self) -> SocketFrame:
        """The next frame; raises `Closed` once the socket is closed."""
        message = await self._opened.receive()
        if message.type is self._text:
            return SocketFrame(message.data, False)
        if message.type is self._binary:
            return SocketFrame(message.data, True)
        raise Closed(self._url, self._ending(message))

    async def send(self, text: str) -> None:
        """Send a text frame; raises `Closed` where that is no longer possible."""
        import aiohttp

        try:
            await self._opened.send_str(text)
        except (aiohttp.ClientError, OSError):
            raise Closed(self._url, "the connection broke") from None

    async def close(self) -> None:
        """Close the socket; after CLOSE_TIMEOUT without an answer it is dropped."""
        await self._opened.close()

    def _ending(self, message: Any) -> str:
        import aiohttp

        failure = message.data if message.type is aiohttp.WSMsgType.ERROR else None
        if isinstance(failure, aiohttp.WebSocketError):
            if failure.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
                return "a frame is larger than the cap"
            return f"a frame breaks the protocol ({visible(str(failure), 80)})"
        code = self._opened.close_code
        if code in (None, aiohttp.WSCloseCode.ABNORMAL_CLOSURE):
            return "the connection broke"
        return f"the server closed it ({int(code)})"


def inflate(data: bytes, max_bytes: int = MAX_FRAME) -> bytes:
    """The content of a gzip frame; ValueError where it is not one or larger than the cap."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(data, max_bytes)
    except zlib.error:
        raise ValueError("the frame is not gzip") from None
    if unpacker.unconsumed_tail:
        raise ValueError(f"the frame holds more than {max_bytes:,} bytes")
    if not unpacker.eof:
        raise ValueError("the gzip frame is cut")
    return content
