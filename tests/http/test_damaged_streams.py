"""Thousands of damaged WebSockets and PROXY headers, through whole sessions: nothing raises, hangs, or is left behind.

Each stream gives what the codec alone finds in it, however it is cut. TLS is in test_tls.py, HTTP in test_fuzz.py.
"""

from __future__ import annotations

import contextlib
import random
import struct
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel

from tests.damage import Held, cut, damaged
from tests.websocket_frames import BINARY, CLOSE, KEY, PING, PONG, TEXT, deflated, frame, sent_frames
from trio_uwsgi._http.deflate import MessageExtension, negotiate
from trio_uwsgi._http.http1 import RequestParser
from trio_uwsgi._http.limits import Limits
from trio_uwsgi._http.proxy_header import ProxyPreface
from trio_uwsgi._http.websocket import Closed, Message, WebSocket

if TYPE_CHECKING:
    from tests.services import Client, Opener, World

STREAMS = 2000
WARM = 100  # streams after which caches are filled, and tasks wait to be used again
LIMIT = 1000  # bytes of a message

# ----- WebSocket

OFFER = b"permessage-deflate; client_max_window_bits"
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\n%b\r\n"
)
PLAIN_FRAMES = [
    frame(TEXT, "grüß".encode()),
    frame(BINARY, bytes(range(200))),
    frame(BINARY, bytes(LIMIT)),
    frame(TEXT, b"\xc3", fin=False) + frame(PING, b"x") + frame(0, b"\xbc"),
    frame(BINARY, b"ab", fin=False) + frame(0, b"c", fin=False) + frame(0),
    frame(TEXT),
    frame(PING, b"are you there"),
    frame(PONG, b""),
    frame(CLOSE, struct.pack("!H", 4321) + b"bye"),
    frame(CLOSE),
]
DEFLATED_FRAMES = [
    frame(TEXT, deflated("grüß".encode() * 20), rsv1=True),
    frame(BINARY, deflated(bytes(LIMIT)), rsv1=True),
    frame(BINARY, deflated(b"abc" * 50)[:9], rsv1=True, fin=False) + frame(0, deflated(b"abc" * 50)[9:]),
    frame(BINARY, deflated(bytes(100_000)), rsv1=True),
]
SPLINTERS = [
    b"\x81",
    b"\xc1\x80",
    b"\x80\x80",
    b"\xff\xff",
    b"\x82\xfe\xff\xff",
    b"\x82\xff" + b"\x7f" * 8,
    b"\x88\x80",
]


class Echo:
    """Sends each message back, and remembers them and the close code, also of clients that have gone."""

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.codes: list[int] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        assert {"type": "websocket.connect"} == await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            data = message["text"] if message["bytes"] is None else message["bytes"]
            self.messages.append(data)
            with contextlib.suppress(OSError):  # the client has gone
                await send({**message, "type": "websocket.send"})
        self.codes.append(message["code"])


async def leave(client: Client, rng: random.Random) -> bytes:
    """End a connection in one of three ways: wait for the server, close the sending side, or close both."""
    how = rng.randrange(3)
    if how == 2:
        await client.close()
        return b""
    if how == 1:
        await client.send_eof()
    try:
        return await client.read_all()
    finally:
        await client.close()


async def converse(world: World, rng: random.Random, offer: bytes, data: bytes) -> bytes:
    """Open a WebSocket, send this, and return what was answered until the end; b"" if that was not awaited."""
    client = world.connect()
    await client.send(HANDSHAKE % (b"Sec-WebSocket-Extensions: %b\r\n" % offer if offer else b""))
    head = await client.receive()
    while b"\r\n\r\n" not in head:
        head += await client.receive()
    assert head.startswith(b"HTTP/1.1 101 ")
    with contextlib.suppress(trio.BrokenResourceError):  # the server has ended it
        for piece in cut(rng, data):
            await client.send(piece)
            await trio.sleep(rng.choice((0, 0.001)))
    return head.partition(b"\r\n\r\n")[2] + await leave(client, rng)


@pytest.mark.parametrize("offer", [b"", OFFER])
async def test_damaged_websockets(open_http: Opener, offer: bytes, autojump_clock: Any) -> None:
    """2,000 with compression and 2,000 without: the application gets the messages that the codec finds, and its code;
    whole frames are sent; a client that says nothing more is gone after a ping."""
    echo = Echo()
    world = await open_http(echo, max_message=LIMIT)
    rng = random.Random(14)
    seeds = PLAIN_FRAMES + DEFLATED_FRAMES * bool(offer)
    before = await Held.now()
    codes = set()
    for number in range(STREAMS):
        if number == WARM:
            before = await Held.now()
        data = damaged(rng, b"".join(rng.choices(seeds, k=rng.randint(1, 4))), SPLINTERS)
        events = WebSocket(MessageExtension(LIMIT, negotiate(offer))).feed(data)
        echo.messages.clear()
        echo.codes.clear()
        with trio.fail_after(60):  # 20 s to the ping, and 20 s to its answer
            answered = await converse(world, rng, offer, data)
            while world.service.sessions or not echo.codes:  # noqa: ASYNC110 - there is no event for it
                await trio.sleep(0.1)
        assert [event.data for event in events if isinstance(event, Message)] == echo.messages
        ends = [event.code for event in events if isinstance(event, Closed)]
        assert (ends or [1006]) == echo.codes
        codes.update(ends)
        closing = [
            int.from_bytes(payload[:2], "big") or 1005 for opcode, payload in sent_frames(answered) if opcode == CLOSE
        ]
        assert not closing or ends == closing
        world.journal.notes.clear()
    assert {1002, 1005, 1007, 1009, 4321} <= codes
    assert [] == world.journal.failures
    await before.check(STREAMS - WARM)


# ----- PROXY headers

LIMITS = Limits(max_header_size=1000, max_headers=20, max_body=0)
GET = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4, V6 = bytes([192, 0, 2, 7, 10, 0, 0, 9]), bytes.fromhex("20010db8" + "00" * 11 + "01") + bytes(15) + b"\1"
PORTS = struct.pack("!HH", 5000, 443)
HEADERS = [
    b"PROXY TCP4 192.0.2.7 10.0.0.9 5000 443\r\n",
    b"PROXY TCP6 2001:db8::1 ::1 5000 443\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN ffff:ffff::ffff ffff:ffff::ffff 65535 65535\r\n",
    SIGNATURE + b"\x21\x11" + struct.pack("!H", 12) + V4 + PORTS,
    SIGNATURE + b"\x21\x21" + struct.pack("!H", 36) + V6 + PORTS,
    SIGNATURE + b"\x21\x11" + struct.pack("!H", 19) + V4 + PORTS + b"\x04\x00\x04abcd",
    SIGNATURE + b"\x20\x00\x00\x00",
    SIGNATURE + b"\x21\x31" + struct.pack("!H", 216) + bytes(216),
]
HEADER_SPLINTERS = [
    *(b"\r\n", b"\n", b"\r", b" ", b"  ", b"\0", b"TCP4", b"TCP6", b"UNKNOWN", b"PROXY ", b"65536", b"0", b"-1", b":"),
    *(b"::ffff:1.2.3.4", b"1.2.3.4", b"fe80::1%eth0", "\u0661".encode(), SIGNATURE, b"\x21\x11", b"\xff\xff"),
]


async def where(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the client's address."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": repr(scope["client"]).encode()})


async def test_damaged_proxy_headers(open_http: Opener, caplog: pytest.LogCaptureFixture, autojump_clock: Any) -> None:
    """2,000: the client of the header is known, or the connection is closed without a byte."""
    caplog.set_level("ERROR", "trio_uwsgi")  # pytest would keep the thousands of lines, which are memory
    world = await open_http(where, proxy_protocol=("any",))
    rng = random.Random(14)
    before = await Held.now()
    refused = answered = 0
    for number in range(STREAMS):
        if number == WARM:
            before = await Held.now()
        data = damaged(rng, rng.choice(HEADERS), HEADER_SPLINTERS) + GET
        alone = ProxyPreface(True)
        alone.feed(data)
        world.journal.notes.clear()
        client = world.connect()
        with trio.fail_after(30), contextlib.suppress(trio.BrokenResourceError):  # 15 s for the header
            for piece in cut(rng, data):
                await client.send(piece)
                await trio.lowlevel.checkpoint()
        with trio.fail_after(30):
            answer = await client.read_all()
        await client.close()
        if alone.found is None:
            refused += 1
            assert b"" == answer
        elif parsed := RequestParser(LIMITS).feed(alone.rest):
            answered += 1
            assert 1 == len(parsed)
            found = alone.found.client or ("192.0.2.1", 4711)
            assert answer.endswith(b"\r\n\r\n" + repr(found).encode())
        else:
            assert not answer or answer.startswith(b"HTTP/1.1 400 ")
    assert min(refused, answered) > 100
    assert [] == world.journal.failures
    assert not world.service.sessions
    await before.check(STREAMS - WARM)
