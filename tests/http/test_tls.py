"""HTTPS on real sockets, by the reactor and by streams; its certificates; damaged records."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import ssl
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from tests.certificates import Authority
from tests.damage import Held, cut, damaged
from trio_uwsgi._http.certificates import Certificates, ServerTls, renew_certificates
from trio_uwsgi._http.connection import serve_listeners, serve_stream
from trio_uwsgi._http.listeners import open_listeners
from trio_uwsgi._http.peer import Peer
from trio_uwsgi._http.reactor import serve_sockets
from trio_uwsgi._http.tls_codec import TlsCodec, TlsFailed
from trio_uwsgi._http.tls_stream import TlsStream
from trio_uwsgi.config.connections import SocketOptions
from trio_uwsgi.config.static import StaticOptions
from trio_uwsgi.config.tls import Tls
from trio_uwsgi.errors import ListenError

pytestmark = pytest.mark.real

START = {"type": "http.response.start", "status": 200, "headers": []}
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send({"type": "http.response.body", "body": scope["path"].encode()})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=["reactor", "streams"])
def serve(request: pytest.FixtureRequest) -> Any:
    """Both ways to serve sockets behave alike."""
    return serve_sockets if request.param == "reactor" else serve_listeners


class Secure:
    """A service on a loopback port, and its clients."""

    def __init__(self, world: Any, authority: Authority) -> None:
        self.world = world
        self.authority = authority
        self.tls: ServerTls
        self.address: tuple[str, int]
        self.listeners: list[Any] = []
        self.sockets: list[Any] = []

    async def tcp(self, receive_buffer: int = 0) -> trio.SocketStream:
        """A connection without TLS."""
        sock = trio.socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sockets.append(sock)
        await sock.connect(self.address)
        return trio.SocketStream(sock)

    async def connect(self, context: ssl.SSLContext | None = None, name: str = "localhost", buffer: int = 0) -> Any:
        """A client that is strict about the end: without a close_notify it is an error."""
        stream = await self.tcp(buffer)
        secured = trio.SSLStream(stream, context or self.authority.context(), server_hostname=name)
        await secured.do_handshake()
        return self.world.client(secured)


@pytest.fixture
def listen(open_http: Any, nursery: trio.Nursery, authority: Authority) -> Iterator[Any]:
    """Start a service: `server = await listen(app, serve, tls)`."""
    servers: list[Secure] = []

    async def start(app: Any, serve: Any = serve_sockets, tls: Tls | None = None, **options: Any) -> Secure:
        server = Secure(await open_http(app, **options), authority)
        servers.append(server)
        asked = tls or authority.tls()
        server.tls = ServerTls.of(asked)

        async def run(task_status: Any) -> None:
            opening = open_listeners([asked.where], SocketOptions(backlog=2048, mode=None), tls=server.tls)
            async with opening as server.listeners:
                server.address = server.listeners[0].socket.getsockname()
                task_status.started()
                await serve(server.world.service, server.listeners)

        await nursery.start(run)
        return server

    yield start
    for sock in [sock for server in servers for sock in server.sockets]:
        sock.close()


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while not condition():  # noqa: ASYNC110 # there is no event for it
            await trio.sleep(0.002)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# ----- requests


async def test_requests_over_tls(listen: Any, serve: Any) -> None:
    """Keep-alive and pipelining; HTTP/1.1 by ALPN; the scope says what there is; the end is said."""
    scopes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await hello(scope, receive, send)

    server = await listen(app, serve)
    client = await server.connect()
    assert "http/1.1" == client.stream.selected_alpn_protocol()
    for n in range(3):
        assert b"/%d" % n == (await client.get(f"/{n}")).body
    await client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(100)))
    assert [b"/%d" % n for n in range(100)] == [(await client.response()).body for n in range(100)]
    await client.send(b"GET /last HTTP/1.0\r\n\r\n")
    assert (await client.read_all()).endswith(b"\r\n\r\n/last")
    extension = scopes[0]["extensions"]["tls"]
    assert ("https", 0x0304, []) == (scopes[0]["scheme"], extension["tls_version"], extension["client_cert_chain"])
    assert (server.authority.folder / "server.pem").read_text().startswith(extension["server_cert"])
    suites = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
    assert 0x1301 + suites.index(client.stream.cipher()[0]) == extension["cipher_suite"]
    await until(lambda: not server.world.service.sessions)


async def test_the_environ(listen: Any, serve: Any) -> None:
    """WSGI applications get the scheme, HTTPS and the names of mod_ssl."""
    seen = {}

    def app(environ: Any, start_response: Any) -> Any:
        seen.update(environ)
        start_response("200 OK", [])
        return [b"x"]

    server = await listen(app, serve, interface="wsgi", threads=0)
    client = await server.connect()
    assert b"x" == (await client.get()).body
    expected = {"wsgi.url_scheme": "https", "HTTPS": "on", "SSL_PROTOCOL": "TLSv1.3"}
    assert expected == {key: seen[key] for key in expected}
    assert not {key for key in seen if key.startswith("SSL_CLIENT")}


async def test_big_bodies_in_both_directions(listen: Any, serve: Any) -> None:
    """Megabytes up and down; a client with a small window, so that records are sent in parts."""
    server = await listen(echo, serve)
    client = await server.connect(buffer=4096)
    body = random.Random(1).randbytes(3_000_000)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send_body() -> None:
            await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
            for start in range(0, len(body), 100_000):
                await client.send(body[start : start + 100_000])

        assert body == (await client.response()).body


async def test_one_large_piece(listen: Any, serve: Any) -> None:
    """A piece far over what a socket takes at once arrives whole, and the connection stays open."""
    data = random.Random(2).randbytes(2_000_000)

    async def big(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for start in range(0, len(data), 500_000):
            await send({"type": "http.response.body", "body": data[start : start + 500_000], "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    server = await listen(big, serve)
    client = await server.connect(buffer=4096)
    for _ in range(2):
        assert data == (await client.get()).body


async def test_a_slow_reader_holds_its_application_back(listen: Any, serve: Any) -> None:
    """An endless response to a client that does not read stops, with little in memory; it is cut with the client."""
    sent = 0

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send(START)
        while True:
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
            sent += 100_000

    server = await listen(endless, serve)
    client = await server.connect(buffer=4096)
    await client.send(GET)
    before = -1
    with trio.fail_after(10):
        while before != sent:  # there is no event for it
            before = sent
            await trio.sleep(0.1)
    (session,) = server.world.service.sessions
    assert session.pending < 300_000
    await client.close()
    await until(lambda: not server.world.service.sessions)


# ----- ends


async def test_a_half_closed_client_is_answered(listen: Any, serve: Any) -> None:
    """A client that has ended its side of TLS gets everything it asked for."""

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep(0.02)
        await hello(scope, receive, send)

    server = await listen(slow, serve)
    stream = await server.tcp()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = server.authority.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    answer = b""

    async def do(call: Callable[[], Any]) -> Any:
        while True:
            try:
                result = call()
            except ssl.SSLWantReadError:
                result = None
            if outgoing.pending:
                await stream.send_all(outgoing.read())
            if result is not None:
                return result
            data = await stream.receive_some()
            incoming.write(data) if data else incoming.write_eof()

    await do(lambda: peer.do_handshake() or True)
    peer.write(GET * 3)
    with contextlib.suppress(ssl.SSLWantReadError):
        peer.unwrap()
    with contextlib.suppress(ssl.SSLZeroReturnError):
        while piece := await do(lambda: peer.read(65536)):
            answer += piece
    assert 3 == answer.count(b"HTTP/1.1 200 OK")
    await stream.aclose()
    await until(lambda: not server.world.service.sessions)


async def test_a_refusal_reaches_a_client_that_still_sends(listen: Any, serve: Any) -> None:
    """The last response arrives whole, though megabytes of the body are on their way."""
    server = await listen(hello, serve, max_body=100)
    client = await server.connect()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send_body() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
                for _ in range(90):
                    await client.send(bytes(100_000))

        assert 413 == (await client.response()).status
        nursery.cancel_scope.cancel()
    await client.close()


async def test_a_close_frame_arrives(listen: Any, serve: Any) -> None:
    """The last bytes of a WebSocket are its close frame, and then the end of TLS; its scheme is wss."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert ("wss", 0x0304) == (scope["scheme"], scope["extensions"]["tls"]["tls_version"])
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "x" * 300_000})
        await send({"type": "websocket.close", "code": 1000, "reason": "done"})

    server = await listen(app, serve)
    client = await server.connect(buffer=4096)
    await client.send(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    received = b""
    with trio.fail_after(10):
        while not received.endswith(b"\x88\x06\x03\xe8done"):
            received += await client.receive()
        await client.send(b"\x88\x82\0\0\0\0\x03\xe8")
        assert b"" == await client.receive()
    assert received.startswith(b"HTTP/1.1 101")
    await client.close()
    await until(lambda: not server.world.service.sessions)


async def test_a_drain_ends_handshakes_and_connections(listen: Any, serve: Any) -> None:
    """A running request is answered, an idle client is told of the end, a stalled handshake ends."""
    begun, go = trio.Event(), trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            begun.set()
            await go.wait()
        await hello(scope, receive, send)

    server = await listen(app, serve)
    idle, busy = await server.connect(), await server.connect()
    assert b"/" == (await idle.get()).body
    await busy.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    stalled = await server.tcp()
    with trio.fail_after(10):
        await begun.wait()
        await until(lambda: 3 == len(server.world.service.sessions))
        server.world.service.linger.limit = 0.2
        server.world.service.drain()
        assert b"" == await idle.receive()
        go.set()
        assert b"/slow" == (await busy.response()).body
        assert b"" == await busy.receive()
        assert b"" == await stalled.receive_some()
        await server.world.service.wait_drained()


# ----- handshakes


@pytest.mark.parametrize("first", [GET, b"OPTIONS * HTTP/1.1\r\n\r\n", b"G"])
async def test_plain_http_gets_a_sentence(listen: Any, serve: Any, first: bytes) -> None:
    """Whoever speaks HTTP to an HTTPS port is told so, in plain text, at once."""
    server = await listen(hello, serve)
    stream = await server.tcp()
    await stream.send_all(first)
    with trio.fail_after(10):
        answer = await server.world.client(stream).response()
    assert (400, "text/plain; charset=utf-8") == (answer.status, answer.headers["content-type"])
    assert answer.body.startswith(b"this address serves HTTPS, and the request was sent without TLS")
    await stream.aclose()
    await until(lambda: not server.world.service.sessions)


async def test_noise_gets_an_alert(listen: Any, serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What is neither TLS nor HTTP is refused with an alert of TLS, and with a line in the log."""
    caplog.set_level("INFO")
    server = await listen(hello, serve)
    client = server.world.client(await server.tcp())
    await client.send(b"\x16\x03\x01\x00\x05hello")
    with trio.fail_after(10):
        answer = await client.read_all()
    assert (21, 2) == (answer[0], answer[5])  # an alert, fatal
    assert "the TLS handshake failed" in caplog.text
    await client.close()


async def test_a_client_that_leaves_in_its_handshake(listen: Any, serve: Any) -> None:
    """Nothing is left of it, nor of one that sends nothing."""
    server = await listen(hello, serve)
    for first in (b"", b"\x16\x03\x01\x02"):
        stream = await server.tcp()
        await stream.send_all(first)
        await until(lambda: server.world.service.sessions)
        await stream.aclose()
        await until(lambda: not server.world.service.sessions)


async def test_stalled_handshakes_stop_nobody(listen: Any, serve: Any) -> None:
    """Two hundred clients stall before, in and after their first message; others are served; then their time is up."""
    server = await listen(hello, serve)
    server.world.service.header.limit = 1.0
    before = descriptors()
    stalled = [await server.tcp() for _ in range(200)]
    for number, stream in enumerate(stalled):
        await stream.send_all((b"", b"\x16", b"\x16\x03\x01\x01\x00\x01")[number % 3])
    began = trio.current_time()
    for _ in range(20):
        client = await server.connect()
        assert b"/" == (await client.get()).body
        await client.close()
    assert trio.current_time() - began < 5
    with trio.fail_after(10):
        assert [b""] * 200 == [await stream.receive_some() for stream in stalled]
    for stream in stalled:
        await stream.aclose()
    await until(lambda: before == descriptors())


async def test_the_time_limit_of_a_handshake(open_http: Any, authority: Authority, autojump_clock: Any) -> None:
    """It is that of the first request's head, from the connection on."""
    world = await open_http(hello)
    here, there = trio.testing.memory_stream_pair()
    peer = Peer(client=("192.0.2.1", 4711), server=("192.0.2.2", 443), scheme="https")
    began = trio.current_time()
    world.nursery.start_soon(serve_stream, world.service, TlsStream(there, ServerTls.of(authority.tls())), peer)
    await trio.sleep(10)
    secured = trio.SSLStream(here, authority.context(), server_hostname="localhost")
    await secured.do_handshake()
    with pytest.raises(trio.BrokenResourceError):
        await secured.receive_some()
    assert 15 == pytest.approx(trio.current_time() - began)


async def test_a_stream_in_memory(open_http: Any, authority: Authority, autojump_clock: Any) -> None:
    """TLS on any stream; its client is known in the scope."""
    scopes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await hello(scope, receive, send)

    world = await open_http(app)
    here, there = trio.testing.memory_stream_pair()
    peer = Peer(client=("192.0.2.1", 4711), server=("192.0.2.2", 443), scheme="https")
    tls = ServerTls.of(authority.tls(client_ca=authority.file))
    world.nursery.start_soon(serve_stream, world.service, TlsStream(there, tls), peer)
    secured = trio.SSLStream(here, authority.context("someone"), server_hostname="localhost", https_compatible=True)
    client = world.client(secured)
    assert b"/a" == (await client.get("/a")).body
    assert scopes[0]["extensions"]["tls"]["client_cert_name"].startswith("CN=someone,")
    await client.close()


# ----- clients' certificates


async def test_clients_certificates_that_are_optional(listen: Any, serve: Any, authority: Authority) -> None:
    """With one its names are in the environ; without one the client is served, too."""
    seen: list[dict[str, Any]] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(environ)
        start_response("200 OK", [])
        return [b"x"]

    tls = authority.tls(client_ca=authority.file)
    server = await listen(app, serve, tls, interface="wsgi", threads=0)
    for context in (authority.context("someone"), authority.context()):
        assert b"x" == (await (await server.connect(context)).get()).body
    assert ["SUCCESS", "NONE"] == [environ["SSL_CLIENT_VERIFY"] for environ in seen]
    assert ("someone", True) == (seen[0]["SSL_CLIENT_S_DN_CN"], seen[0]["HTTPS_DN"].endswith("/CN=someone"))
    assert (authority.folder / "someone.pem").read_text().startswith(seen[0]["HTTPS_CC"])
    assert "HTTPS_DN" not in seen[1]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_clients_certificates_that_are_required(
    listen: Any, serve: Any, authority: Authority, tmp_path: Path, version: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A client without one, and one with another authority's, are refused with an alert that says why."""
    caplog.set_level("INFO")
    server = await listen(hello, serve, authority.tls(client_ca=authority.file, client_required=True))
    stranger = authority.context()
    stranger.load_cert_chain(*Authority(tmp_path).issue("stranger", "me@example.org"))
    for context in (authority.context(), stranger):
        context.maximum_version = version
        refused = ""
        try:
            client = await server.connect(context)
            await client.stream.receive_some()  # in TLS 1.3 the client's handshake ends before
        except trio.BrokenResourceError as error:
            refused = str(error.__cause__)
        assert "ALERT" in refused
    assert b"/" == (await (await server.connect(authority.context("someone"))).get()).body
    assert "peer did not return a certificate" in caplog.text
    assert "the client's certificate was refused: unable to get local issuer certificate" in caplog.text


# ----- the server's certificates


async def test_certificates_by_name(listen: Any, serve: Any, authority: Authority) -> None:
    """The name that the client asks for chooses; another one, and none, get the default."""
    scopes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await hello(scope, receive, send)

    sni = {
        "Example.org": authority.issue("example", "example.org"),
        "*.example.org": authority.issue("wild", "*.example.org"),
    }
    server = await listen(app, serve, authority.tls(sni=sni))
    found = []
    for name in ("example.org", "www.example.org", "localhost", "127.0.0.1"):
        client = await server.connect(name=name)
        assert "http/1.1" == client.stream.selected_alpn_protocol()
        assert b"/" == (await client.get()).body
        found.append(dict(item[0] for item in client.stream.getpeercert()["subject"])["commonName"])
    assert ["example", "wild", "server", "server"] == found
    pems = [scope["extensions"]["tls"]["server_cert"] for scope in scopes]
    for name, pem in zip(found, pems, strict=True):
        assert (authority.folder / f"{name}.pem").read_text().startswith(pem)


async def test_a_context_of_ones_own(listen: Any, serve: Any, authority: Authority) -> None:
    """It is used as it is, and there is nothing to read again."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("own"))
    server = await listen(hello, serve, Tls(address="127.0.0.1:0", context=context))
    client = await server.connect()
    assert (None, b"/") == (client.stream.selected_alpn_protocol(), (await client.get()).body)
    assert not renew_certificates(server.listeners)


async def test_certificates_are_read_again(
    listen: Any, serve: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """New connections get the new one, open ones go on; a broken one changes nothing, and is logged."""
    authority = Authority(tmp_path)
    server = await listen(hello, serve, authority.tls())

    async def serial() -> tuple[Any, str]:
        client = await server.connect(authority.context())
        return client, client.stream.getpeercert()["serialNumber"]

    first, before = await serial()
    authority.issue("server")
    assert before == (await serial())[1]
    assert renew_certificates(server.listeners * 2)
    after = (await serial())[1]
    assert before != after
    assert b"/" == (await first.get()).body
    for broken, why in ((b"", "cannot be used"), (None, "cannot be read (No such file or directory)")):
        path = tmp_path / "server.key"
        path.unlink() if broken is None else path.write_bytes(broken)
        assert renew_certificates(server.listeners)
        assert why in caplog.messages[-1]
        assert "the certificates that were read before stay in force: " in caplog.messages[-1]
        assert after == (await serial())[1]
    assert 2 == len([record for record in caplog.records if record.levelname == "ERROR"])


ENCRYPTED = """-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgoozCD4FQZhAICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEAQIEEK3+VaXh/lRJCNG1UR0IVsoEgZBL
7HbQVEewi/spktKFXbsYYGfhMHBgVtqxcGrrzls7PvjxctzNskO2MhwRqr+COYLI
byTqMvhaSIdjzacxT0mI/HXvBSLnMt6xibeix8WoanHIoCafDqU519hupfOy7RcH
LPlkQCeDqo1ZUmHs9ihEHGMEmHxxux36LbYFAEpXqtQQohUypM0uNA8UzgAtVVg=
-----END ENCRYPTED PRIVATE KEY-----
"""


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"key": "missing.key"}, "missing.key cannot be read (No such file or directory); check its path"),
        ({"key": "other.key"}, "and its key cannot be used (key values mismatch); check that both are in PEM"),
        ({"certificate": "garbage"}, "and its key cannot be used"),
        ({"key": "encrypted.key"}, "has a passphrase; write it without one"),
        ({"client_ca": "garbage"}, "the clients' authorities cannot be used"),
        ({"ciphers": "NONSENSE"}, "no cipher of 'NONSENSE' exists"),
    ],
)
def test_certificates_that_cannot_be_used(tmp_path: Path, fields: dict[str, str], message: str) -> None:
    """The error says which file it is, and what to do; nobody is asked for a passphrase."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    authority.issue("other")
    (tmp_path / "garbage").write_text("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    (tmp_path / "encrypted.key").write_text(ENCRYPTED)
    wrong = {name: value if name == "ciphers" else str(tmp_path / value) for name, value in fields.items()}
    with pytest.raises(ListenError) as refused:
        ServerTls.of(Tls(**{"address": ":1", "certificate": certificate, "key": key, **wrong}))  # type: ignore[arg-type]
    assert message in str(refused.value)
    assert str(refused.value).startswith("cannot listen on :1: ")


def test_a_key_in_the_file_of_its_certificate(tmp_path: Path) -> None:
    """One file is enough."""
    certificate, key = Authority(tmp_path).issue("server")
    both = tmp_path / "both.pem"
    both.write_bytes(Path(key).read_bytes() + Path(certificate).read_bytes())
    found = ServerTls.of(Tls(address=":1", certificate=str(both)))
    assert isinstance(found.certificates, Certificates)


# ----- protocols and ciphers: Mozilla's "intermediate"


async def _accepted(server: Secure, **limits: Any) -> str | None:
    """What a client with these limits agrees on; None if nothing."""
    context = server.authority.context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the old protocols
        context.minimum_version = limits.get("lowest", ssl.TLSVersion.TLSv1)
        context.maximum_version = limits["highest"]
    context.set_ciphers(limits.get("ciphers", "ALL") + ":@SECLEVEL=0")
    try:
        client = await server.connect(context)
    except trio.BrokenResourceError:
        return None
    name, version, _ = client.stream.cipher()
    await client.close()
    return f"{client.stream.version() or version} {name}"


async def test_protocols_and_ciphers(listen: Any, authority: Authority) -> None:
    """TLS 1.2 and 1.3, nothing older; forward secrecy and authenticated encryption with every client."""
    server = await listen(hello)
    for old in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        assert await _accepted(server, lowest=old, highest=old) is None
    assert (await _accepted(server, highest=ssl.TLSVersion.TLSv1_3) or "").startswith("TLSv1.3 TLS_")
    known = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    known.set_ciphers("ALL:@SECLEVEL=0")
    names = [cipher["name"] for cipher in known.get_ciphers() if not cipher["name"].startswith("TLS_")]
    accepted = set()
    for name in names:
        if await _accepted(server, ciphers=name, highest=ssl.TLSVersion.TLSv1_2):
            accepted.add(name)
    # The certificate is an ECDSA one.
    suites = ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    assert {f"ECDHE-ECDSA-{suite}" for suite in suites} == accepted


# ----- damage


class Peers:
    """A client and the codec, joined in memory; `hello` is the client's first message."""

    def __init__(self, tls: ServerTls, context: ssl.SSLContext) -> None:
        self.codec = TlsCodec(tls)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.handshake()
        self.hello = self.outgoing.read()

    def handshake(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.client.do_handshake()

    def finish_handshake(self) -> None:
        """Both sides, to the end."""
        self.codec.feed(self.hello)
        self.incoming.write(self.codec.take())
        self.handshake()
        self.codec.feed(self.outgoing.read())
        assert self.codec.established


@pytest.mark.parametrize("seed", range(4))
def test_damaged_records(authority: Authority, seed: int) -> None:
    """2,000 streams in all, cut anywhere, in the handshake and after it: a failure that says why, or nothing yet; never
    bytes that the client has not sent."""
    rng = random.Random(seed)
    sni = {"example.org": authority.issue("example", "example.org")}
    tls = ServerTls.of(authority.tls(client_ca=authority.file, sni=sni))
    context = authority.context()
    failed = 0
    for _ in range(500):
        peers = Peers(tls, context)
        late = rng.random() < 0.5
        data = peers.hello
        if late:
            peers.finish_handshake()
            peers.client.write(GET)
            peers.client.write(b"x" * 1000)
            data = peers.outgoing.read()
        data = damaged(rng, data)
        received = b""
        try:
            for start in range(0, len(data), size := rng.choice((1, 7, 100, 5000))):
                received += peers.codec.feed(data[start : start + size])
        except TlsFailed:
            failed += 1
        assert (GET + b"x" * 1000).startswith(received)
        peers.codec.take()
        peers.codec.finish()
    assert 300 < failed


async def open_damaged(server: Secure, rng: random.Random, context: ssl.SSLContext) -> None:
    """A connection whose first message is damaged, or what comes after its handshake. The client leaves, but where the
    server has to end the connection, that is waited for."""
    peers = Peers(server.tls, context)
    data, refused = peers.hello, False
    with trio.socket.socket() as sock:
        await sock.connect(server.address)
        stream = trio.SocketStream(sock)
        with contextlib.suppress(trio.BrokenResourceError):
            if late := rng.random() < 0.5:
                await stream.send_all(peers.hello)
                while peers.client.version() is None or not (data := peers.outgoing.read()):
                    peers.incoming.write(await stream.receive_some())
                    peers.handshake()
                await stream.send_all(data)
                peers.client.write(GET * rng.randint(1, 3))
                data = damaged(rng, peers.outgoing.read())
            else:
                data = damaged(rng, peers.hello)
                try:
                    peers.codec.feed(data)
                except TlsFailed:
                    refused = True
            for piece in cut(rng, data):
                await stream.send_all(piece)
                await trio.lowlevel.checkpoint()
            while refused and await stream.receive_some():
                pass
            if late and rng.random() < 0.5:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset


@pytest.mark.parametrize("seed", range(2))
async def test_damaged_connections(listen: Any, serve: Any, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """2,000 on sockets with each way to serve them, in the handshake and after it: nothing raises, hangs, or is left
    behind, and others are served."""
    caplog.set_level("ERROR", "trio_uwsgi")  # pytest would keep the lines, which are memory
    rng = random.Random(seed)
    server = await listen(hello, serve)
    context = server.authority.context()
    before = await Held.now()

    async def serve_another() -> None:
        """After those before it, and until nobody is connected."""
        client = await server.connect()
        assert b"/" == (await client.get()).body
        await client.close()
        await until(lambda: not server.world.service.sessions)

    with trio.fail_after(200):  # one for all, as Trio remembers a thousand that are over
        for number in range(count := 1000):
            if number == 100:
                await serve_another()
                before = await Held.now()
            server.world.journal.notes.clear()
            await open_damaged(server, rng, context)
    await serve_another()
    await before.check(count - 100)
    assert [] == server.world.journal.failures


async def test_files_are_encrypted(listen: Any, serve: Any, tmp_path: Path) -> None:
    """Static files and ranges of them, larger than what a socket takes at once."""
    data = random.Random(3).randbytes(1_500_000)
    (tmp_path / "big.bin").write_bytes(data)
    server = await listen(hello, serve, static=StaticOptions(maps=(("/files", str(tmp_path)),)))
    client = await server.connect(buffer=4096)
    for _ in range(2):
        await client.send(b"GET /files/big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        assert data == (await client.response()).body
    await client.send(b"GET /files/big.bin HTTP/1.1\r\nHost: x\r\nRange: bytes=100000-400000\r\n\r\n")
    assert data[100_000:400_001] == (await client.response()).body
