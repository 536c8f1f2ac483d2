"""A loopback exchange: one process that speaks the public protocols of all venues we read.

    python -m tests.venues.server [CERTIFICATE.pem]

prints one JSON line with its port and then serves, until its stdin is closed:

- ws(s)://127.0.0.1:PORT/ws/<source>     the venue's socket, as its documents describe it
- http(s)://127.0.0.1:PORT/rest/<source>/…  the list of contracts and the history
- http(s)://127.0.0.1:PORT/…             what ccxt asks of Binance, Bybit and OKX
- POST /control                          what the test wants to happen, see `Exchange.control`
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import ssl
import struct
import sys
import time
from typing import Any

from aiohttp import WSMsgType, web

from tests.venues import rest
from tests.venues.discovery import ALL
from tests.venues.protocols import Past, Protocol


class Connection:
    """One client's socket and what it asked for."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.socket = socket
        self.transport = request.transport
        self.topics: set[str] = set()
        self.received: list[str] = []
        self.stalled = False


class Venue:
    """One source's side of the loopback exchange."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self.connections: list[Connection] = []
        self.opened = 0
        self.sent = 0
        self.faults: dict[str, Any] = {}
        self.history: list[Past] = []
        self.rest_faults: list[int] = []
        self.garbage = 0
        self.requests: list[str] = []

    def packed(self, text: str) -> str | bytes:
        return gzip.compress(text.encode()) if self.protocol.packed else text

    async def send(self, connection: Connection, text: str) -> None:
        if connection.stalled or connection.socket.closed:
            return
        data = self.packed(text)
        with contextlib.suppress(ConnectionError):
            if isinstance(data, bytes):
                await connection.socket.send_bytes(data)
            else:
                await connection.socket.send_str(data)

    async def push(self, text: str, topic: str) -> None:
        """Send a frame to everybody who subscribed to its topic."""
        for connection in self.connections:
            if self.protocol.wants(connection.topics, topic):
                await self.send(connection, text)


class Exchange:
    def __init__(self) -> None:
        self.venues = {name: Venue(protocol) for name, protocol in ALL.items()}
        self.rest_faults: dict[str, Any] = {}
        self.requests: list[str] = []

    # --- the sockets ---------------------------------------------------------------------

    async def socket(self, request: web.Request) -> web.StreamResponse:
        venue = self.venues[request.match_info["source"]]
        venue.opened += 1
        refusals = venue.faults.get("refuse", 0)
        if refusals:
            venue.faults["refuse"] = refusals - 1
            headers = {"Retry-After": f"{venue.faults.get('retry_after', 0)}"}
            return web.Response(status=int(venue.faults.get("status", 503)), headers=headers)
        socket = web.WebSocketResponse(max_msg_size=0, autoping=True)
        await socket.prepare(request)
        connection = Connection(socket, request)
        venue.connections.append(connection)
        beating = asyncio.create_task(self._beat(venue, connection))
        try:
            for text in venue.protocol.welcome():
                await venue.send(connection, text)
            async for message in socket:
                if message.type is WSMsgType.TEXT and not connection.stalled:
                    await self._receive(venue, connection, message.data)
        finally:
            beating.cancel()
            venue.connections.remove(connection)
        return socket

    async def _receive(self, venue: Venue, connection: Connection, text: str) -> None:
        connection.received.append(text)
        denied = set(venue.faults.get("deny", []))
        answer = venue.protocol.answer(text, denied)
        connection.topics |= answer.topics
        if answer.subscribes and venue.faults.get("no_ack"):
            return
        for reply in answer.replies:
            await venue.send(connection, reply)

    async def _beat(self, venue: Venue, connection: Connection) -> None:
        while True:
            await asyncio.sleep(venue.faults.get("beat", venue.protocol.beat))
            if venue.faults.get("mute"):
                continue
            for text in venue.protocol.heartbeats(connection.topics):
                await venue.send(connection, text)

    # --- what a test wants ---------------------------------------------------------------

    async def control(self, request: web.Request) -> web.Response:
        order = await request.json()
        venue = self.venues[order["source"]]
        result = await getattr(self, f"do_{order['do']}")(venue, order)
        return web.json_response(result)

    async def do_burst(self, venue: Venue, order: dict[str, Any]) -> Any:
        """Send liquidations number `start` to `start + count`, `rate` a second (0: at once)."""
        start, count, rate = order.get("start", 0), order["count"], order.get("rate", 0)
        begun = time.perf_counter()
        for n in range(start, start + count):
            if rate and (ahead := begun + (n - start) / rate - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            for topic, text in venue.protocol.frames(n, order.get("at_ms", 0)):
                await venue.push(spoilt(text) if venue.faults.get("spoil") else text, topic)
                venue.sent += 1
        return {"seconds": time.perf_counter() - begun}

    async def do_send(self, venue: Venue, order: dict[str, Any]) -> Any:
        """Send these frames to everybody: text, or hex of a binary frame, maybe in pieces."""
        for connection in list(venue.connections):
            for frame in order["frames"]:
                if "hex" in frame:
                    await connection.socket.send_bytes(bytes.fromhex(frame["hex"]))
                elif "pieces" in frame:
                    await _in_pieces(connection, frame["pieces"])
                elif "raw_text" in frame:  # a text frame that is no UTF-8
                    _write_frame(connection, bytes.fromhex(frame["raw_text"]), 1, True)
                else:
                    await venue.send(connection, frame["text"])
        return {}

    async def do_fault(self, venue: Venue, order: dict[str, Any]) -> Any:
        """Behave badly from now on: mute, no_ack, deny, refuse, beat, spoil (liquidations in a
        shape that is not documented), spoil_one (one of each REST answer), rewrite (a pattern, what
        takes its place in REST answers, and how often in each); nothing given: behave."""
        venue.faults = order.get("faults", {})
        return {}

    async def do_stall(self, venue: Venue, order: dict[str, Any]) -> Any:
        """Never say anything again on the sockets that are open, and hear nothing."""
        for connection in venue.connections:
            connection.stalled = True
        return {}

    async def do_drop(self, venue: Venue, order: dict[str, Any]) -> Any:
        """Break the connections (or the one of that number) without a closing message."""
        connections = list(venue.connections)
        if "which" in order:
            connections = [connections[order["which"]]]
        for connection in connections:
            if connection.transport is not None:
                connection.transport.abort()
        return {}

    async def do_close(self, venue: Venue, order: dict[str, Any]) -> Any:
        """Close the sockets in order, with a code."""
        for connection in list(venue.connections):
            await connection.socket.close(code=order["code"], message=b"on request")
        return {}

    async def do_list(self, venue: Venue, order: dict[str, Any]) -> Any:
        """List these contracts from now on."""
        venue.protocol.symbols = order["symbols"]
        return {}

    async def do_rest(self, venue: Venue, order: dict[str, Any]) -> Any:
        """Answer the next REST requests with these statuses, then `garbage`; keep this history."""
        venue.garbage = order.get("garbage", 0)
        venue.rest_faults = order.get("statuses", [])
        if "history" in order:
            venue.history = [(n, ms) for n, ms in order["history"]]
        if "requests" in order:
            venue.requests = order["requests"]
        return {}

    async def do_state(self, venue: Venue, order: dict[str, Any]) -> Any:
        return {
            "connections": len(venue.connections),
            "opened": venue.opened,
            "sent": venue.sent,
            "topics": [sorted(c.topics) for c in venue.connections],
            "received": [c.received for c in venue.connections],
            "requests": venue.requests,
        }

    # --- REST ----------------------------------------------------------------------------

    async def rest(self, request: web.Request) -> web.Response:
        venue = self.venues[request.match_info["source"]]
        venue.requests.append(str(request.rel_url))
        status = venue.rest_faults.pop(0) if venue.rest_faults else 200
        if status != 200:
            return web.Response(status=status, headers={"Retry-After": "0"})
        if venue.garbage and not _LISTS.search(request.path):
            venue.garbage -= 1
            return web.Response(text='[{"time":', content_type="application/json")
        path = f"/{request.match_info['path']}"
        body = await request.read()
        answer = venue.protocol.rest(path, dict(request.query), body, venue.history)
        if answer is None:
            return web.Response(status=404, text="no such path")
        if venue.faults.get("spoil") and not _LISTS.search(path):
            answer = spoilt(answer)
        if venue.faults.get("spoil_one") and not _LISTS.search(path):
            answer = spoilt(answer, 1)
        if "rewrite" in venue.faults and not _LISTS.search(path):
            pattern, text, count = venue.faults["rewrite"]
            answer = re.sub(pattern, text, answer, count=count)
        return web.Response(text=answer, content_type="application/json")

    async def plain_rest(self, request: web.Request) -> web.Response:
        """What ccxt asks, unless it is to get no answer, a late one, or garbage."""
        self.requests.append(str(request.rel_url))
        faults = self.rest_faults
        await asyncio.sleep(faults.get("delay", 0))
        if "status" in faults:
            return web.Response(status=faults["status"], text=faults.get("body", ""))
        if "body" in faults:
            return web.Response(text=faults["body"], content_type="application/json")
        answer = rest.answer(request.path, dict(request.query))
        if answer is None:
            return web.Response(status=404, text="no such path")
        return web.json_response(answer)

    async def plain_control(self, request: web.Request) -> web.Response:
        """Behave so with ccxt from now on; answers what it requested since the last time."""
        self.rest_faults = await request.json()
        requests, self.requests = self.requests, []
        return web.json_response(requests)


def spoilt(text: str, count: int = 0) -> str:
    """A frame as a venue writes it after an unannounced change: figures are objects."""
    return _FIGURE.sub('{"value":"1.5"}', text, count)


_LISTS = re.compile("contract_info|contracts|instruments", re.IGNORECASE)
_FIGURE = re.compile(r'(?<=[:,\[])(?:"-?\d+\.\d+"|-?\d+\.\d+)(?=[,\]}])')


async def _in_pieces(connection: Connection, pieces: list[str]) -> None:
    """One text message in several frames, each frame in two writes."""
    for number, piece in enumerate(pieces):
        opcode = 1 if number == 0 else 0
        _write_frame(connection, piece.encode(), opcode, number == len(pieces) - 1, split=True)
        await asyncio.sleep(0.01)


def _write_frame(
    connection: Connection, payload: bytes, opcode: int, last: bool, split: bool = False
) -> None:
    size = len(payload)
    head = bytes([opcode | (0x80 if last else 0)])
    head += bytes([size]) if size < 126 else b"\x7e" + struct.pack("!H", size)
    assert connection.transport is not None
    if split:
        connection.transport.write(head[:1])
        connection.transport.write(head[1:] + payload[: size // 2])
        connection.transport.write(payload[size // 2 :])
    else:
        connection.transport.write(head + payload)


async def main() -> None:
    exchange = Exchange()
    app = web.Application(client_max_size=2**30)
    app.router.add_get("/ws/{source}{tail:.*}", exchange.socket)
    app.router.add_post("/control", exchange.control)
    app.router.add_route("*", "/rest/{source}/{path:.*}", exchange.rest)
    app.router.add_post("/control/ccxt", exchange.plain_control)
    app.router.add_get("/{path:.*}", exchange.plain_rest)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    context = None
    if len(sys.argv) > 1:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1])
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    sys.stdout.write(json.dumps({"port": runner.addresses[0][1]}) + "\n")
    sys.stdout.flush()
    # The test that started this closes its end, also by dying.
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
