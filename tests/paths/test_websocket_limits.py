"""Limits of WebSockets through the whole runtime: the size of a message, compression, a client that does not read."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.paths.placements import Placement, all_placements
from tests.services import open_http as open_http
from trio_uwsgi import Config, Registry
from trio_uwsgi.testing import WebSocketClosed, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_uwsgi._apps.asgi_exchange import Receive, Send

Scope = dict[str, Any]
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
LIMIT = 100_000


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends each message back."""
    await send({"type": "websocket.accept"})
    await receive()
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


@all_placements
@pytest.mark.parametrize("deflate", [False, True])
async def test_the_largest_message(
    placement: Placement, deflate: bool, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """One of `max_websocket_message` bytes arrives; one byte more, and the client gets 1009, and others are served."""
    config = Config(lifespan="off", placement=placement, max_websocket_message=LIMIT)
    async with open_runtime(echo, config, registry=uwsgi_registry) as runtime:
        for _ in range(2):
            async with runtime.websocket("/", deflate=deflate) as ws:
                await ws.send(bytes(LIMIT))
                assert bytes(LIMIT) == await ws.receive()
                await ws.send(bytes(LIMIT + 1))
                with pytest.raises(WebSocketClosed) as caught:
                    await ws.receive()
                assert 1009 == caught.value.code


@all_placements
async def test_without_a_limit(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """0 is none."""
    config = Config(lifespan="off", placement=placement, max_websocket_message=0)
    async with open_runtime(echo, config, registry=uwsgi_registry) as runtime, runtime.websocket("/") as ws:
        await ws.send(bytes(3_000_000))
        assert bytes(3_000_000) == await ws.receive()


@all_placements
async def test_a_bomb(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """A message that inflates to 100 MB is refused by its beginning: its end need not come."""
    deflater = zlib.compressobj(wbits=-15)
    packed = b"".join(deflater.compress(bytes(1_000_000)) for _ in range(100))
    assert 20_000 < len(packed) < 200_000
    beginning = packed[:2000]  # inflates to 2 MB
    head = b"\xc2\xff" + len(packed).to_bytes(8, "big") + bytes(4)
    config = Config(lifespan="off", placement=placement, max_websocket_message=LIMIT)
    async with open_runtime(echo, config, registry=uwsgi_registry) as runtime, runtime.connect() as stream:
        await stream.send_all(HANDSHAKE)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await stream.receive_some(65536)
        assert b"sec-websocket-extensions: permessage-deflate" in answer.lower()
        await stream.send_all(head + beginning)
        frame = bytes(await stream.receive_some(65536))
        assert (0x88, 1009) == (frame[0], int.from_bytes(frame[2:4], "big"))


@all_placements
async def test_compression_that_is_switched_off(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A client that offers it is answered without it."""
    config = Config(lifespan="off", placement=placement, websocket_deflate=False)
    async with open_runtime(echo, config, registry=uwsgi_registry) as runtime:
        async with runtime.connect() as stream:
            await stream.send_all(HANDSHAKE)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += await stream.receive_some(65536)
            assert (b"HTTP/1.1 101", False) == (answer[:12], b"extensions" in answer.lower())
        async with runtime.websocket("/", deflate=True) as ws:
            await ws.send("x" * 1000)
            assert "x" * 1000 == await ws.receive()


async def test_a_client_that_does_not_read(open_http: Any, autojump_clock: MockClock) -> None:
    """The application waits in `send`, and goes on when the client reads; nothing is lost."""
    sent: list[int] = []
    count, size = 50, 100_000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        for number in range(count):
            await send({"type": "websocket.send", "bytes": bytes(size)})
            sent.append(number)
        await send({"type": "websocket.close"})

    world = await open_http(app)
    client = world.connect(narrow=250_000)
    await client.send(HANDSHAKE.replace(b"permessage-deflate", b"none"))
    await trio.sleep(5)  # before the first ping
    assert len(sent) < 5
    client.server_end.open_wide()
    received = b""
    while not received.endswith(b"\x88\x02\x03\xe8"):
        received += await client.receive()
    frames = received.partition(b"\r\n\r\n")[2]
    assert (count, count * (10 + size) + 4) == (len(sent), len(frames))


@pytest.mark.parametrize(("scheme", "expected"), [("https", "wss"), ("wss", "wss"), ("http", "ws"), ("ftp", "ws")])
async def test_behind_a_proxy(scheme: str, expected: str, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """Client and scheme are those that a trusted proxy names."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": f"{scope['client'][0]} {scope['scheme']}"})
        await send({"type": "websocket.close"})

    config = Config(lifespan="off", forwarded_allow="loopback")
    headers = [(b"x-forwarded-for", b"192.0.2.7"), (b"x-forwarded-proto", scheme.encode())]
    async with (
        open_runtime(app, config, registry=uwsgi_registry) as runtime,
        runtime.websocket("/", headers=headers) as ws,
    ):
        assert f"192.0.2.7 {expected}" == await ws.receive()
