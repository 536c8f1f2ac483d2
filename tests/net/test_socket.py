"""WebSockets against real servers on loopback: opening, ending, caps, certificates, gzip."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.errors import ConfigError, NetworkError
from chainwatch.net.errors import Closed, Failed, SocketRefused
from chainwatch.net.http import Http, Rest
from chainwatch.net.retry import Backoff
from chainwatch.net.socket import inflate
from tests.evm.rpc_proxy import Handler, Server, hang, say

KEY = "s3cr3t-k3y-0123456789"


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with Http() as http:
        yield http


def socket_url(server: Server) -> str:
    return server.url.replace("http", "ws", 1) + f"/{KEY}"


async def echo(request: web.Request) -> web.StreamResponse:
    """Sends everything back, and what it is told to do does."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.data.startswith("close "):
            await socket.close(code=int(message.data.removeprefix("close ")))
        elif message.data == "drop":
            assert request.transport is not None
            request.transport.abort()
        elif message.data == "ping":
            await socket.ping()
        elif message.data.startswith("big "):
            await socket.send_str("x" * int(message.data.removeprefix("big ")))
        else:
            await socket.send_str(message.data)
    return socket


async def test_frames_come_as_they_were_sent(http: Http) -> None:
    async with Server(echo) as server, http.socket(socket_url(server)) as socket:
        await socket.send("größe")
        assert await socket.receive() == ("größe".encode(), False)


async def test_pings_of_the_server_are_answered_without_a_word(http: Http) -> None:
    async with Server(echo) as server, http.socket(socket_url(server)) as socket:
        await socket.send("ping")
        await socket.send("after")
        assert (await socket.receive()).data == b"after"


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ("close 1000", "the server closed it (1000)"),
        ("close 1013", "the server closed it (1013)"),
        ("drop", "the connection broke"),
        ("big 5000", "a frame is larger than the cap"),
    ],
)
async def test_the_end_of_a_socket_has_one_reason(http: Http, order: str, reason: str) -> None:
    async with (
        Server(echo) as server,
        http.socket(socket_url(server), max_bytes=4096) as socket,
    ):
        await socket.send(order)
        with pytest.raises(Closed) as caught:
            await socket.receive()
    assert caught.value.reason == reason
    assert KEY not in str(caught.value)


async def test_sending_on_a_closed_socket_is_an_error(http: Http) -> None:
    async with Server(echo) as server, http.socket(socket_url(server)) as socket:
        await socket.close()
        with pytest.raises(Closed):
            await socket.send("late")


async def test_a_deaf_server_does_not_keep_us_long(http: Http) -> None:
    async def deaf(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoclose=False)
        await socket.prepare(request)
        await asyncio.sleep(3600)
        return socket

    async with Server(deaf) as server:
        begun = asyncio.get_running_loop().time()
        async with http.socket(socket_url(server)):
            pass
        assert asyncio.get_running_loop().time() - begun < 1.0


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (say(b"", 403), "refuses the socket with HTTP 403"),
        (say(b"no socket here"), "refuses the socket with HTTP 200"),
        (hang, "no complete answer within 0.2 s"),
    ],
)
async def test_a_socket_that_does_not_open_is_one_plain_line(
    http: Http, handler: Handler, reason: str
) -> None:
    async with Server(handler) as server:
        with pytest.raises(Failed) as caught:
            async with http.socket(socket_url(server), timeout=0.2):
                pass
    assert caught.value.reason == reason
    assert KEY not in str(caught.value)


async def test_a_refusal_says_how_long_to_wait(http: Http) -> None:
    async with Server(say(b"", 429, Retry_After="17")) as server:
        with pytest.raises(SocketRefused) as caught:
            async with http.socket(socket_url(server)):
                pass
    assert caught.value.wait == 17.0


@pytest.mark.parametrize("url", ["http://a.org", "ftp://a.org", KEY, "", "wss://", f"wss://[{KEY}"])
async def test_what_is_no_socket_url_is_a_configuration_error(http: Http, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with http.socket(url):
            pass
    assert KEY not in str(caught.value)


# --- certificates -------------------------------------------------------------------------------


async def test_a_socket_over_tls_needs_an_authority_that_vouches_for_it(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with Server(echo, context) as server:
        async with Http() as strange:
            with pytest.raises(Failed, match=r"TLS failed \(self-signed certificate\)"):
                async with strange.socket(socket_url(server)):
                    pass
        async with (
            Http(authorities=certificate) as trusting,
            trusting.socket(socket_url(server)) as socket,
        ):
            await socket.send("x")
            assert (await socket.receive()).data == b"x"


async def test_a_file_without_authorities_is_a_configuration_error(tmp_path: Path) -> None:
    for content in (None, b"nothing"):
        path = tmp_path / "authorities.pem"
        if content is not None:
            path.write_bytes(content)
        async with Http(authorities=path) as http:
            with pytest.raises(ConfigError, match="expected a PEM file of certificate authorities"):
                await http.request("GET", "https://127.0.0.1:1/")


# --- gzip frames --------------------------------------------------------------------------------


@given(st.binary(max_size=2_000))
def test_a_gzip_frame_gives_its_content(content: bytes) -> None:
    assert inflate(gzip.compress(content)) == content


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"plain", "not gzip"),
        (b"", "is cut"),
        (gzip.compress(b"x" * 1_000)[:-9], "is cut"),
        (gzip.compress(bytes(10_000_000)), "more than 1,000,000 bytes"),
    ],
    ids=["text", "nothing", "cut", "bomb"],
)
def test_a_frame_that_is_no_gzip_or_a_bomb_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        inflate(data, 1_000_000)


# --- REST ---------------------------------------------------------------------------------------


async def test_rest_asks_again_where_that_helps_and_not_where_it_does_not(http: Http) -> None:
    statuses = [503, 429, 200]
    requests: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        requests.append(str(request.rel_url))
        return web.Response(status=statuses.pop(0), text="fine")

    async with Server(handler) as server:
        rest = Rest(http, server.url, backoff=Backoff(0.01))
        assert await rest.get("/a", x=1, y=None, z="b c") == b"fine"
        assert requests == ["/a?x=1&z=b+c"] * 3
        statuses[:] = [400]
        with pytest.raises(NetworkError, match=r"answers HTTP 400 \(fine\)"):
            await rest.get("/a")
        statuses[:] = [500] * 5
        with pytest.raises(NetworkError, match="answers HTTP 500"):
            await rest.post("/a", b"{}")
        assert statuses == []
