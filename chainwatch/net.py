"""HTTP and WebSocket for every source: one session, time-outs, caps, errors without keys.

This is the only module that imports aiohttp. `request` sends once and `socket` opens once, and
whoever does it decides with a `Backoff` whether and when to try again; `get` asks again for a
document by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self
from urllib.parse import SplitResult, unquote, urlencode, urljoin, urlsplit

import msgspec

from chainwatch import numbers
from chainwatch.errors import ConfigError, NetworkError
from chainwatch.text import visible

if TYPE_CHECKING:
    import ssl

    import aiohttp

TIMEOUT = 30.0
CONNECT_TIMEOUT = 10.0
MAX_BYTES = 64 * 2**20
MAX_REDIRECTS = 5
MAX_FRAME = 16 * 2**20
# A server that does not answer a closing handshake is left after this.
CLOSE_TIMEOUT = 0.5
TRIES = 3
MAX_WAIT = 30.0
# A venue's REST interface may ask for a minute; nobody is waited for longer than this.
MAX_REST_WAIT = 120.0
AGENT = "chainwatch (+https://github.com/chainwatch/chainwatch)"

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SOCKET_SCHEMES = ("ws", "wss")
# Shorter pieces of a URL are no keys, and replacing them would garble ordinary words.
_SECRET_LENGTH = 4


class Failed(NetworkError):
    """A request without a usable answer: the masked URL and one reason."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{mask(url)}: {reason}")
        self.reason = reason


class Unfinished(Failed):
    """The answer did not come in time or not to its end; asking for less may help."""


class TooLarge(Failed):
    """The answer is larger than the cap; asking for less helps."""


class Refused(Failed):
    """The server answers the opening of a socket with an HTTP status."""

    def __init__(self, url: str, status: int, wait: float | None) -> None:
        super().__init__(url, f"refuses the socket with HTTP {status}")
        self.wait = wait


class Response(msgspec.Struct, frozen=True):
    """One answer; header names are case-insensitive, the body is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


# --- what may be shown of a URL -------------------------------------------------------------


def mask(url: str) -> str:
    """The URL up to its host and port, with "/…" where more of it is hidden.

    Of other schemes than HTTP and WebSocket only the scheme is shown: apprise has tokens in the
    place of the host.
    """
    parts = _split(url)
    if parts is None:
        return "…"
    if parts.scheme not in ("http", "https", "ws", "wss"):
        return f"{parts.scheme}://…" if parts.scheme else "…"
    try:
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        port = ":…"
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    hidden = "@" in parts.netloc or parts.path not in ("", "/") or parts.query or parts.fragment
    return f"{parts.scheme}://{host}{port}" + ("/…" if hidden else "")


def require_http(url: str) -> None:
    """Raises ConfigError for what is no URL of a web server."""
    parts = _split(url)
    if parts is None or parts.scheme not in _DEFAULT_PORTS:
        raise ConfigError(f"{mask(url)} is not an http:// or https:// URL")


def scrub(text: str, urls: Iterable[str]) -> str:
    """The text on one line, with every secret part of the given URLs replaced by "…"."""
    for url in urls:
        text = text.replace(url, mask(url))
        for secret in sorted(set(_secrets(url)), key=len, reverse=True):
            text = re.sub(re.escape(secret), "…", text, flags=re.IGNORECASE)
    return visible(" ".join(text.split()))


def _secrets(url: str) -> Iterator[str]:
    parts = _split(url)
    if parts is None:
        yield url
        return
    userinfo = parts.netloc.rpartition("@")[0]
    found = [parts.path, parts.query, parts.fragment, userinfo]
    found += parts.path.split("/") + re.split("[&=]", parts.query) + userinfo.split(":")
    for secret in found:
        for form in (secret, unquote(secret)):
            if len(form) >= _SECRET_LENGTH:
                yield form


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts if parts.hostname else None


# --- asking again ---------------------------------------------------------------------------


class Backoff:
    """Waits between tries: exponential with full jitter, never less than the server asks for.

    Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    def __init__(
        self,
        base: float = 0.5,
        cap: float = 30.0,
        random: random.Random | None = None,
        *,
        floor: float = 0.0,
    ) -> None:
        self._base = base
        self._cap = cap
        self._floor = floor
        self._random = random or _RANDOM

    def delay(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait after the given failed attempt, counted from 0.

        The wait lies between `floor` (a share) and the whole of a ceiling that doubles.
        """
        ceiling = min(self._cap, self._base * 2.0 ** min(attempt, 64))
        drawn = self._random.uniform(self._floor * ceiling, ceiling)
        return max(drawn, retry_after or 0.0)


_RANDOM = random.Random()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds a server asks to wait: Retry-After as a number or an HTTP date (RFC 9110).

    A date counts from the server's own Date where it sends one, so that a wrong clock here
    does not matter.
    """
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        try:
            return float(numbers.whole(text))
        except numbers.NotReadable:
            return None
    until = _http_date(text)
    if until is None:
        return None
    now = _http_date(headers.get("Date", ""))
    return max(0.0, until - (time.time() if now is None else now))


def _http_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None


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

        Raises `Refused` where the server answers with an HTTP status, `Failed` for everything
        else on the way there, and ConfigError for a URL that is none. Server pings are answered.
        """
        import aiohttp

        if _split(url) is None or urlsplit(url).scheme not in _SOCKET_SCHEMES:
            raise ConfigError(f"{mask(url)} is not a ws:// or wss:// URL")
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
            raise Refused(url, error.status, retry_after(error.headers or {})) from None
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
                said = visible(answer.body[:200].decode(errors="replace"), 120)
                failure = Failed(url, f"answers HTTP {answer.status} ({said})")
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


class Closed(Failed):
    """The socket is closed: by whom and why."""


class Frame(NamedTuple):
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

    async def receive(self) -> Frame:
        """The next frame; raises `Closed` once there is none any more."""
        message = await self._opened.receive()
        if message.type is self._text:
            return Frame(message.data, False)
        if message.type is self._binary:
            return Frame(message.data, True)
        raise Closed(self._url, self._ending(message))

    async def send(self, text: str) -> None:
        """Send a text frame; raises `Closed` where that is no longer possible."""
        import aiohttp

        try:
            await self._opened.send_str(text)
        except (aiohttp.ClientError, OSError):
            raise Closed(self._url, "the connection broke") from None

    async def close(self) -> None:
        """Say good-bye, and leave after CLOSE_TIMEOUT if nobody answers."""
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


def _trusting(path: Path) -> ssl.SSLContext:
    import ssl

    try:
        context = ssl.create_default_context()
        context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as failure:
        raise ConfigError(f"{path} is no file of certificate authorities: {failure}") from None
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
    old, new = urlsplit(url), _split(target)
    if not location or new is None:
        raise Failed(url, "redirects to nowhere")
    upgrade = (old.scheme, new.scheme) == ("http", "https")
    if old.hostname != new.hostname or not (upgrade or _origin(old) == _origin(new)):
        raise Failed(url, f"redirects to another server ({mask(target)})")
    if "@" in old.netloc and "@" not in new.netloc:
        new = new._replace(netloc=f"{old.netloc.rpartition('@')[0]}@{new.netloc}")
    return new.geturl()


def _origin(parts: SplitResult) -> tuple[str, int | None]:
    return parts.scheme, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _tls_reason(error: OSError) -> str:
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "")
    return str(reason or type(error).__name__).lower().replace("_", " ")
