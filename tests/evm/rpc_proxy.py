"""Real HTTP servers on loopback for tests: one that answers as told, and one that stands in front
of a JSON-RPC node and does to its traffic what public endpoints do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Call = dict[str, Any]  # one JSON-RPC request: method, params, id
Answer = dict[str, Any]  # {"result": …} or {"error": …}


class Server:
    """An HTTP server on a free loopback port, alive inside the `async with` block."""

    def __init__(self, handler: Handler, ssl: Any = None) -> None:
        self._ssl = ssl
        # The largest request of a test has some megabytes; the limit is the client's to find.
        self._app = web.Application(client_max_size=2**30)
        self._app.router.add_route("*", "/{path:.*}", handler)
        self._runner = web.AppRunner(
            self._app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        self.url = ""

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._ssl)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"{'https' if self._ssl else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()


class Proxy(Server):
    """A JSON-RPC endpoint in front of a node.

    `once` are handlers that each replace the answer to one HTTP request, first come first served.
    `gate` sees every HTTP request's JSON and may answer it instead of the node. `rules` see every
    call in it: they may change it, answer it themselves, or return None to let it pass. `edits`
    see every call with its answer and may change that. `received` holds what came in.
    """

    def __init__(self, upstream: str = "") -> None:
        super().__init__(self._handle)
        self.upstream = upstream
        self.once: list[Handler] = []
        self.gate: Callable[[Any], web.StreamResponse | None] = lambda body: None
        self.rules: list[Callable[[Call], Answer | None]] = []
        self.edits: list[Callable[[Call, Answer], None]] = []
        self.received: list[Any] = []
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return await super().__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await super().__aexit__(kind, error, trace)
        assert self._session is not None
        await self._session.close()

    def calls(self, method: str = "") -> list[Call]:
        """The JSON-RPC calls received so far, of one method or of all."""
        bodies = [b if isinstance(b, list) else [b] for b in self.received]
        return [call for body in bodies for call in body if method in ("", call["method"])]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.received.append(body)
        if self.once:
            return await self.once.pop(0)(request)
        if (refusal := self.gate(body)) is not None:
            return refusal
        calls = body if isinstance(body, list) else [body]
        answers = [self._rule(call) for call in calls]
        passed = [call for call, answer in zip(calls, answers, strict=True) if answer is None]
        forwarded = iter(await self.forward(passed))
        entries = []
        for call, answer in zip(calls, answers, strict=True):
            entry = answer if answer is not None else next(forwarded)
            for edit in self.edits:
                edit(call, entry)
            entries.append({"jsonrpc": "2.0", "id": call["id"], **entry})
        return web.json_response(entries if isinstance(body, list) else entries[0])

    def _rule(self, call: Call) -> Answer | None:
        for rule in self.rules:
            if (answer := rule(call)) is not None:
                return answer
        return None

    async def forward(self, calls: list[Call]) -> list[Answer]:
        """The node's answers to these calls."""
        if not calls:
            return []
        assert self._session is not None
        async with self._session.post(self.upstream, json=calls) as response:
            entries = await response.json()
        by_id = {entry.pop("id"): entry for entry in entries}
        return [by_id[call["id"]] for call in calls]


@contextlib.contextmanager
def standing(proxy: Proxy) -> Iterator[Proxy]:
    """A proxy that serves in a thread of its own, for tests that run no loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(proxy.__aenter__(), loop).result(30)
    try:
        yield proxy
    finally:
        left = proxy.__aexit__(None, None, None)
        asyncio.run_coroutine_threadsafe(left, loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


# --- what an endpoint can do to one request -------------------------------------------------


def say(body: str | bytes = b"", status: int = 200, **headers: str) -> Handler:
    """Answer with exactly this."""

    async def handler(request: web.Request) -> web.StreamResponse:
        content = body.encode() if isinstance(body, str) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(body=content, status=status, headers=named)

    return handler


def cut(body: bytes, length: int) -> Handler:
    """Announce `length` bytes, send fewer and close the connection."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(length)})
        await response.prepare(request)
        await response.write(body)
        assert request.transport is not None
        request.transport.close()
        return response

    return handler


async def drop(request: web.Request) -> web.StreamResponse:
    """Close the connection without a word."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def hang(request: web.Request) -> web.StreamResponse:
    """Never answer."""
    await asyncio.sleep(3600)
    return web.Response()


def fault(code: int, message: str, data: Any = None) -> Answer:
    """A JSON-RPC error."""
    error = {"code": code, "message": message}
    return {"error": error if data is None else {**error, "data": data}}
