"""HTTP against real servers on loopback."""

from __future__ import annotations

import asyncio
import gzip
import random
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web

from chainwatch.errors import ConfigError, NetworkError
from chainwatch.net.errors import Failed, TooLarge, Unfinished
from chainwatch.net.http import Http
from chainwatch.net.retry import Backoff, retry_after
from tests.evm.rpc_proxy import Handler, Server, cut, drop, hang, say

KEY = "s3cr3t-k3y-0123456789"


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with Http() as http:
        yield http


# --- waiting --------------------------------------------------------------------------------


def test_waits_double_up_to_a_cap_with_full_jitter() -> None:
    backoff = Backoff(base=1.0, cap=8.0, random=random.Random(1))
    waits = [[backoff.delay(attempt) for _ in range(2000)] for attempt in range(6)]
    for attempt, drawn in enumerate(waits):
        ceiling = min(8.0, 2.0**attempt)
        assert 0.0 <= min(drawn) < 0.05 * ceiling
        assert 0.95 * ceiling < max(drawn) <= ceiling
    assert Backoff(cap=8.0).delay(100_000) <= 8.0


def test_waits_repeat_with_the_same_random() -> None:
    first, second = (Backoff(random=random.Random(7)) for _ in range(2))
    assert [first.delay(k) for k in range(9)] == [second.delay(k) for k in range(9)]


def test_a_wait_is_never_shorter_than_the_server_asks_for() -> None:
    backoff = Backoff(base=1.0, cap=2.0, random=random.Random(1))
    assert all(backoff.delay(0, 5.0) == 5.0 for _ in range(100))


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert retry_after({}) is None
    assert retry_after({"Retry-After": "17"}) == 17.0
    assert retry_after({"Retry-After": "soon"}) is None
    assert retry_after({"Retry-After": "-5"}) is None
    now = time.time()
    ahead = retry_after({"Retry-After": formatdate(now + 60, usegmt=True)})
    assert ahead is not None
    assert 57 < ahead <= 61
    assert retry_after({"Retry-After": formatdate(now - 60, usegmt=True)}) == 0.0


def test_a_retry_date_counts_from_the_clock_of_the_server() -> None:
    headers = {"Date": formatdate(1e9, usegmt=True), "Retry-After": formatdate(1e9 + 30)}
    assert retry_after(headers) == 30.0


# --- requests -------------------------------------------------------------------------------


async def test_a_request_carries_body_and_headers_and_any_status(http: Http) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        text = f"{request.method} {request.headers['X-A']} {(await request.read()).decode()}"
        return web.Response(text=text, status=418, headers={"X-B": "b"})

    async with Server(echo) as server:
        response = await http.request("PUT", server.url, body=b"body", headers={"X-A": "a"})
    assert response.status == 418
    assert response.body == b"PUT a body"
    assert response.headers["x-b"] == "b"


async def test_credentials_in_the_url_are_sent_and_not_shown(http: Http) -> None:
    async def who(request: web.Request) -> web.StreamResponse:
        return web.Response(text=request.headers["Authorization"])

    async with Server(who) as server:
        url = server.url.replace("//", f"//user:{KEY}@")
        assert (await http.request("GET", url)).body.startswith(b"Basic ")
    with pytest.raises(NetworkError) as caught:
        await http.request("GET", url)
    assert KEY not in str(caught.value)


async def test_a_compressed_answer_is_read_as_its_content(http: Http) -> None:
    packed = gzip.compress(b"content")
    async with Server(say(packed, Content_Encoding="gzip")) as server:
        assert (await http.request("GET", server.url)).body == b"content"


@pytest.mark.parametrize(
    ("handler", "error", "reason"),
    [
        (hang, Unfinished, "no complete answer within 0.2 s"),
        (drop, Failed, "the connection broke before the answer"),
        (cut(b'{"a":', 500), Unfinished, "the connection broke in the middle of the answer"),
        (say(b"x" * 5000), TooLarge, "the answer is larger than 4,096 bytes"),
        (
            say(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip"),
            TooLarge,
            "the answer is larger than 4,096 bytes",
        ),
        (
            say(b"not gzip at all", Content_Encoding="gzip"),
            Unfinished,
            "the connection broke in the middle of the answer",
        ),
        (
            say(status=307, Location=f"http://elsewhere.example/{KEY}"),
            Failed,
            "redirects to another server (http://elsewhere.example/…)",
        ),
        (say(status=302), Failed, "redirects to nowhere"),
        (say(status=301, Location="/again"), Failed, "redirects more than 5 times"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bad_answer_is_one_plain_line(
    http: Http, handler: Handler, error: type[Failed], reason: str
) -> None:
    async with Server(handler) as server:
        with pytest.raises(error) as caught:
            await http.request("GET", f"{server.url}/{KEY}", timeout=0.2, max_bytes=4096)
        assert type(caught.value) is error
        assert str(caught.value) == f"{server.url}/…: {reason}"
        assert caught.value.reason == reason


async def test_a_body_is_cut_off_while_it_arrives(http: Http) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(65_536))
            sent += 65_536

    async with Server(endless) as server:
        with pytest.raises(TooLarge):
            await http.request("GET", server.url, max_bytes=100_000)
    assert sent < 50_000_000


async def test_a_redirect_on_the_same_server_is_followed_with_its_body(http: Http) -> None:
    async def moved(request: web.Request) -> web.StreamResponse:
        if request.path == "/old":
            raise web.HTTPPermanentRedirect("/new")
        return web.Response(body=request.method.encode() + await request.read())

    async with Server(moved) as server:
        response = await http.request("POST", f"{server.url}/old", body=b" body")
    assert response.body == b"POST body"


async def test_a_redirect_on_the_same_server_keeps_the_credentials(http: Http) -> None:
    async def moved(request: web.Request) -> web.StreamResponse:
        if request.path == "/old":
            raise web.HTTPTemporaryRedirect(f"http://{request.host}/new")
        return web.Response(text=request.headers["Authorization"])

    async with Server(moved) as server:
        url = server.url.replace("//", f"//user:{KEY}@")
        assert (await http.request("GET", f"{url}/old")).body.startswith(b"Basic ")


async def test_a_redirect_to_another_port_is_refused(http: Http) -> None:
    async with (
        Server(say(b"stolen")) as other,
        Server(say(status=307, Location=other.url)) as server,
    ):
        with pytest.raises(Failed, match="redirects to another server"):
            await http.request("POST", server.url, body=b"secret")


async def test_a_closed_port_is_one_plain_error(http: Http) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(Failed) as caught:
        await http.request("GET", f"http://127.0.0.1:{port}/{KEY}")
    assert str(caught.value).startswith(f"http://127.0.0.1:{port}/…: connection failed (")
    assert KEY not in str(caught.value)


async def test_a_name_that_does_not_resolve_is_one_plain_error(http: Http) -> None:
    with pytest.raises(Failed) as caught:
        await http.request("GET", f"https://no-such-host.invalid/{KEY}")
    assert str(caught.value) == "https://no-such-host.invalid/…: the host name does not resolve"


async def test_an_answer_that_is_not_http_is_one_plain_error(http: Http) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Failed, match="the answer is not HTTP"):
            await http.request("GET", f"http://127.0.0.1:{port}")


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    pem = tmp_path_factory.mktemp("tls") / "both.pem"
    _write_certificate(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def _write_certificate(path: Path) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=x -keyout - -out -"
    done = subprocess.run(command.split(), capture_output=True, check=True)
    path.write_bytes(done.stdout)


async def test_an_untrusted_certificate_is_refused(http: Http, self_signed: ssl.SSLContext) -> None:
    async with Server(say(b"secret"), self_signed) as server:
        with pytest.raises(Failed) as caught:
            await http.request("GET", f"{server.url}/{KEY}")
    reason = str(caught.value).removeprefix(f"{server.url}/…: ")
    assert reason == "TLS failed (self-signed certificate)"


async def test_tls_with_a_plain_server_is_one_plain_error(http: Http) -> None:
    async with Server(say(b"")) as server:
        with pytest.raises(Failed, match=r"TLS failed \("):
            await http.request("GET", server.url.replace("http://", "https://"))


@pytest.mark.parametrize(
    "url", ["ftp://a.org/x", f"/{KEY}", KEY, "", "https://", f"https://[{KEY}", "ws://a.org"]
)
async def test_what_is_no_http_url_is_a_configuration_error(http: Http, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await http.request("GET", url)
    assert KEY not in str(caught.value)


async def test_a_cancelled_request_stays_cancelled(http: Http) -> None:
    async with Server(hang) as server:
        task = asyncio.create_task(http.request("GET", server.url))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_session_is_made_at_the_first_request() -> None:
    """It can be left unused."""
    async with Http():
        pass


def test_importing_the_client_loads_nothing_heavy() -> None:
    code = (
        "import sys, chainwatch.net.http, chainwatch.chain.client;"
        "print([m for m in ('aiohttp', 'web3', 'eth_abi', 'eth_utils') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
