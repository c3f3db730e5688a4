"""The PROXY protocol before TLS, on real sockets, by the reactor and by streams."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest
import trio

from tests.http.test_tls import Secure, authority, listen, serve, until
from trio_uwsgi._http.proxy_header import ProxyRules

pytestmark = pytest.mark.real

__all__ = ["authority", "listen", "serve"]  # fixtures

FIRST = b"PROXY TCP4 192.0.2.7 192.0.2.9 5000 443\r\n"
SECOND = b"\r\n\r\n\x00\r\nQUIT\n" + struct.pack(
    "!BBH4s4sHH", 0x21, 0x11, 12, ipaddress.ip_address("192.0.2.7").packed, ipaddress.ip_address("192.0.2.9").packed,
    5000, 443,
)  # fmt: skip
LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"


class Balanced(trio.abc.Stream):
    """A connection whose client sends a header first: together with its first bytes, or cut into pieces."""

    def __init__(self, stream: trio.SocketStream, header: bytes, size: int) -> None:
        self._stream = stream
        self._header = header
        self._size = size

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        header, self._header = self._header, b""
        data = header + bytes(data)
        if not header:
            await self._stream.send_all(data)
            return
        for start in range(0, len(data), self._size):
            await self._stream.send_all(data[start : start + self._size])

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def who(scope: Any, receive: Any, send: Any) -> None:
    """Says who the client is, which address it connected to, and by which scheme."""
    await send({"type": "http.response.start", "status": 200})
    text = f"{scope['client'][0]} {scope['server'][1]} {scope['scheme']} {'tls' in scope['extensions']}"
    await send({"type": "http.response.body", "body": text.encode()})


async def open_balanced(server: Secure, header: bytes, size: int) -> Any:
    """A client of HTTPS behind a load balancer."""
    stream = Balanced(await server.tcp(), header, size)
    secured = trio.SSLStream(stream, server.authority.context(), server_hostname="localhost")
    await secured.do_handshake()
    return server.world.client(secured)


@pytest.mark.parametrize("size", [1, 50, 100_000])
@pytest.mark.parametrize("header", [FIRST, SECOND], ids=["version 1", "version 2"])
async def test_the_client_behind_a_balancer(listen: Any, serve: Any, header: bytes, size: int) -> None:
    """The header comes before the handshake, in pieces of any size; the client is that of the header."""
    server = await listen(who, serve)
    server.world.service.proxied = ProxyRules(["loopback"])
    with trio.fail_after(30):
        client = await open_balanced(server, header, size)
        for _ in range(2):
            assert b"192.0.2.7 443 https True" == (await client.get("/")).body
        await client.close()
    await until(lambda: not server.world.service.sessions)


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"])
async def test_a_balancer_that_speaks_for_itself(listen: Any, serve: Any, header: bytes) -> None:
    """Its own connections keep their address."""
    server = await listen(who, serve)
    server.world.service.proxied = ProxyRules(["loopback"])
    with trio.fail_after(30):
        client = await open_balanced(server, header, 100_000)
        port = server.address[1]
        assert f"127.0.0.1 {port} https True".encode() == (await client.get("/")).body
        await client.close()


@pytest.mark.parametrize(
    ("sources", "sent", "why"),
    [
        (["10.0.0.0/8"], FIRST, "may not connect here, see the option proxy_protocol"),
        (["loopback"], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "does not begin with a PROXY header"),
        (["loopback"], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "does not begin with a PROXY header"),
        (["loopback"], b"PROXY TCP4 nobody\r\n", "the PROXY header is malformed"),
    ],
)
async def test_connections_that_are_refused(
    listen: Any, serve: Any, sources: list[str], sent: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a header, with a wrong one, or from elsewhere: closed without a byte, with a line in the log."""
    server = await listen(who, serve)
    server.world.service.proxied = ProxyRules(sources)
    stream = await server.tcp()
    await stream.send_all(sent)
    with trio.fail_after(30):
        assert b"" == await stream.receive_some()
    assert why in caplog.text
    await stream.aclose()
    await until(lambda: not server.world.service.sessions)


async def test_what_is_no_tls_after_the_header(listen: Any, serve: Any) -> None:
    """A client that speaks HTTP behind the balancer gets its sentence."""
    server = await listen(who, serve)
    server.world.service.proxied = ProxyRules(["loopback"])
    stream = await server.tcp()
    await stream.send_all(FIRST + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    with trio.fail_after(30):
        answer = await server.world.client(stream).response()
    assert (400, True) == (answer.status, answer.body.startswith(b"this address serves HTTPS"))
    await stream.aclose()


@pytest.mark.parametrize("sent", [b"", FIRST[:9], FIRST, FIRST + b"\x16\x03\x01"])
async def test_a_connection_that_stalls(listen: Any, serve: Any, sent: bytes) -> None:
    """Header and handshake together have the time of a request's head; a client that leaves leaves nothing."""
    server = await listen(who, serve)
    server.world.service.proxied = ProxyRules(["loopback"])
    server.world.service.header.limit = 0.3
    stalled, left = await server.tcp(), await server.tcp()
    for stream in (stalled, left):
        await stream.send_all(sent)
    await left.aclose()
    with trio.fail_after(30):
        assert b"" == await stalled.receive_some()
    await stalled.aclose()
    await until(lambda: not server.world.service.sessions)
