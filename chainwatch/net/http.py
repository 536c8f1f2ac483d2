"""One HTTP session: time-outs, size limits, redirects, errors without keys."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

import msgspec

from chainwatch.errors import ConfigError
from chainwatch.net.errors import Failed, SocketRefused, TooLarge, Unfinished
from chainwatch.net.retry import Backoff, retry_after
from chainwatch.net.socket import MAX_FRAME, Socket
from chainwatch.text import visible
from chainwatch.urls import DEFAULT_PORTS, mask, require_http, split

if TYPE_CHECKING:
    import ssl

    import aiohttp


TIMEOUT = 30.0
CONNECT_TIMEOUT = 10.0
MAX_BYTES = 64 * 2**20
MAX_REDIRECTS = 5
# A server that does not answer a closing handshake is left after this.
CLOSE_TIMEOUT = 0.5
TRIES = 3
MAX_WAIT = 30.0
# A venue's REST interface may ask for a minute; this is the longest wait.
MAX_REST_WAIT = 120.0
AGENT = "chainwatch (+https://github.com/chainwatch/chainwatch)"
_SOCKET_SCHEMES = ("ws", "wss")


class Response(msgspec.Struct, frozen=True):
    """One answer; header names are case-insensitive, the body is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


# --- asking ---------------------------------------------------------------------------------


class Http:
    """One session for all requests of a run. Leave the context to close its connections.

    `authorities` is a PEM file of certificate authorities to trust beside the system's.
    """

    def __init__(self, backoff: Backoff | None = None, *, authorities: Path | None = None) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._backoff = backoff or Backoff()
        self._authorities = authorities

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109 - aiohttp's own also covers the connection pool
        max_bytes: int = MAX_BYTES,
    ) -> Response:
        """Sends one request and reads its whole answer, whatever its status.

        Raises `Unfinished` for a time-out or a cut answer, `TooLarge` for a body above
        `max_bytes` (counted after decompression), `Failed` for everything else between here
        and the server, and ConfigError for a URL that is none.
        """
        import aiohttp

        require_http(url)
        session = self._open()
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, CONNECT_TIMEOUT))
        begun = False
        try:
            # aiohttp would follow a redirect to any host, and hand it the body.
            for _ in range(MAX_REDIRECTS + 1):
                async with session.request(
                    method, url, data=body, headers=headers, timeout=limits, allow_redirects=False
                ) as response:
                    begun = True
                    if response.status not in (301, 302, 303, 307, 308):
                        content = await _read(response, url, max_bytes)
                        return Response(response.status, response.headers, content)
                    url = _redirected(url, response.headers.get("Location", ""))
            raise Failed(url, f"redirects more than {MAX_REDIRECTS} times")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(url, error, timeout, begun) from None

    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109 - as in request
        max_bytes: int = MAX_BYTES,
    ) -> Response:
        """Gets a document: 200, or 304 where `headers` ask for changes only.

        Time-outs, cut answers, 429 and 5xx are tried three times in all, later if the server asks
        for it (up to 30 s). Raises `Failed` with the last reason; any other status is final.
        """
        for attempt in range(TRIES):
            wait = None
            try:
                response = await self.request(
                    "GET", url, headers=headers, timeout=timeout, max_bytes=max_bytes
                )
                if response.status in (200, 304):
                    return response
                failure = Failed(url, f"HTTP {response.status}")
                if response.status != 429 and response.status < 500:
                    raise failure
                wait = retry_after(response.headers)
                if wait is not None and wait > MAX_WAIT:
                    raise Failed(url, f"HTTP {response.status}, asks to wait {wait:,.0f} s")
            except TooLarge:
                raise
            except Unfinished as unfinished:
                failure = unfinished
            if attempt < TRIES - 1:
                await asyncio.sleep(self._backoff.delay(attempt, wait))
        raise failure

    @contextlib.asynccontextmanager
    async def socket(
        self,
        url: str,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109 - covers the opening only
        max_bytes: int = MAX_FRAME,
        ping: float | None = None,
    ) -> AsyncIterator[Socket]:
        """Opens a WebSocket; left with the context. `ping` is the pause between pings of ours.

        Raises `SocketRefused` where the server answers with an HTTP status, `Failed` for everything
        else on the way there, and ConfigError for a URL that is none. Server pings are answered.
        """
        import aiohttp

        if split(url) is None or urlsplit(url).scheme not in _SOCKET_SCHEMES:
            raise ConfigError(f"expected a ws:// or wss:// URL, got {mask(url)}")
        session = self._open()
        limits = aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT)
        try:
            async with asyncio.timeout(timeout):
                opened = await session.ws_connect(
                    url,
                    timeout=limits,
                    max_msg_size=max_bytes,
                    decode_text=False,
                    heartbeat=ping,
                )
        except aiohttp.WSServerHandshakeError as error:
            raise SocketRefused(url, error.status, retry_after(error.headers or {})) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(url, error, timeout, False) from None
        socket = Socket(opened, url)
        try:
            yield socket
        finally:
            await socket.close()

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            connector = None
            if self._authorities is not None:
                connector = aiohttp.TCPConnector(ssl=_trusting(self._authorities))
            self._session = aiohttp.ClientSession(
                headers={"User-Agent": AGENT}, connector=connector
            )
        return self._session


class Rest:
    """A venue's REST interface: asks, and asks again where that helps.

    `pace` are the seconds from one request to the next where the venue allows few.
    """

    def __init__(
        self,
        http: Http,
        base: str,
        *,
        timeout: float = TIMEOUT,
        tries: int = 5,
        pace: float = 0.0,
        backoff: Backoff | None = None,
    ) -> None:
        self._http = http
        self.base = base.rstrip("/")
        self._timeout = timeout
        self._tries = tries
        self._backoff = backoff or Backoff()
        self._pace = pace
        self._next = 0.0

    async def get(self, path: str, **params: object) -> bytes:
        """The answer to GET with these parameters (None is left out)."""
        given = {name: str(value) for name, value in params.items() if value is not None}
        query = f"?{urlencode(given)}" if given else ""
        return await self._ask("GET", f"{self.base}{path}{query}", None)

    async def post(self, path: str, body: bytes) -> bytes:
        """The answer to POST of a JSON body."""
        return await self._ask("POST", f"{self.base}{path}", body)

    async def _ask(self, method: str, url: str, body: bytes | None) -> bytes:
        """Raises `Failed` after the last try, at once where the status makes another pointless."""
        headers = {"Content-Type": "application/json"} if body is not None else None
        for attempt in range(self._tries):
            wait = None
            await self._turn()
            try:
                answer = await self._http.request(
                    method, url, body=body, headers=headers, timeout=self._timeout
                )
            except TooLarge:
                raise
            except Failed as failed:
                failure = failed
            else:
                if answer.status == 200:
                    return answer.body
                excerpt = visible(answer.body[:200].decode(errors="replace"), 120)
                failure = Failed(url, f"answers HTTP {answer.status} ({excerpt})")
                if answer.status not in (418, 429) and answer.status < 500:
                    raise failure
                wait = retry_after(answer.headers)
            if attempt + 1 < self._tries:
                await asyncio.sleep(min(self._backoff.delay(attempt, wait), MAX_REST_WAIT))
        raise failure

    async def _turn(self) -> None:
        now = time.monotonic()
        self._next = max(now, self._next) + self._pace
        await asyncio.sleep(self._next - self._pace - now)


def _trusting(path: Path) -> ssl.SSLContext:
    import ssl

    try:
        context = ssl.create_default_context()
        context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as failure:
        raise ConfigError(
            f"expected a PEM file of certificate authorities in {path}: {failure}"
        ) from None
    return context


def _failure(url: str, error: Exception, timeout: float, begun: bool) -> Failed:
    """What went wrong between here and the server, in one reason."""
    import aiohttp

    match error:
        case aiohttp.ConnectionTimeoutError():
            return Failed(url, "does not accept a connection in time")
        case TimeoutError():
            return Unfinished(url, f"no complete answer within {timeout:g} s")
        case aiohttp.ClientConnectorDNSError():
            return Failed(url, "the host name does not resolve")
        case aiohttp.ClientSSLError():
            return Failed(url, f"TLS failed ({_tls_reason(error.os_error)})")
        case aiohttp.ClientConnectorError():
            return Failed(url, f"connection failed ({error.strerror or 'no reason'})")
        case aiohttp.ClientPayloadError() | aiohttp.ClientConnectionError() | OSError():
            if begun:
                return Unfinished(url, "the connection broke in the middle of the answer")
            return Failed(url, "the connection broke before the answer")
        case aiohttp.ClientResponseError():
            return Failed(url, "the answer is not HTTP")
    return Failed(url, f"the request failed ({type(error).__name__})")


async def _read(response: aiohttp.ClientResponse, url: str, max_bytes: int) -> bytes:
    chunks = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > max_bytes:
            response.close()
            raise TooLarge(url, f"the answer is larger than {max_bytes:,} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _redirected(url: str, location: str) -> str:
    """Where a redirect leads, as long as that is the same server (or its TLS side)."""
    target = urljoin(url, location)
    old, new = urlsplit(url), split(target)
    if not location or new is None:
        raise Failed(url, "redirects to nowhere")
    upgrade = (old.scheme, new.scheme) == ("http", "https")
    if old.hostname != new.hostname or not (upgrade or _origin(old) == _origin(new)):
        raise Failed(url, f"redirects to another server ({mask(target)})")
    if "@" in old.netloc and "@" not in new.netloc:
        new = new._replace(netloc=f"{old.netloc.rpartition('@')[0]}@{new.netloc}")
    return new.geturl()


def _origin(parts: SplitResult) -> tuple[str, int | None]:
    return parts.scheme, parts.port or DEFAULT_PORTS.get(parts.scheme)


def _tls_reason(error: OSError) -> str:
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "")
    return str(reason or type(error).__name__).lower().replace("_", " ")
