"""WebSocket frames: what a client of wsproto sends and reads, and tables of what is refused."""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol, Opcode

from tests.websocket_frames import BINARY, CLOSE, KEY, PING, PONG, TEXT, deflated, frame
from trio_uwsgi._http.deflate import Deflate, MessageExtension, negotiate
from trio_uwsgi._http.http1 import RequestParser
from trio_uwsgi._http.limits import Limits
from trio_uwsgi._http.response import upgrade_response
from trio_uwsgi._http.websocket import Closed, Message, Ping, Pong, WebSocket
from trio_uwsgi._http.websocket_handshake import Offer, Refused, accept_headers, is_handshake, read_offer
from trio_uwsgi.errors import LocalProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._http.request import Request

pytestmark = pytest.mark.pure

AGREED = negotiate(b"permessage-deflate; client_max_window_bits")


def server(limit: int = 1000, deflate: Deflate | None = None) -> WebSocket:
    """The server's side of a connection."""
    return WebSocket(MessageExtension(limit, deflate))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (frame(TEXT, "grüß".encode()), [Message("grüß", 6)]),
        (frame(BINARY, b"\xff"), [Message(b"\xff", 1)]),
        (frame(TEXT), [Message("", 0)]),
        (frame(BINARY, b"ab", fin=False) + frame(0, b"c"), [Message(b"abc", 3)]),
        (frame(TEXT, b"\xc3", fin=False) + frame(PING, b"x") + frame(0, b"\xbc"), [Ping(b"x"), Message("ü", 2)]),
        (frame(PONG, b"y"), [Pong(b"y")]),
        (frame(CLOSE, struct.pack("!H", 4321) + b"bye"), [Closed(4321, "bye")]),
        (frame(CLOSE), [Closed(1005, "")]),
        (frame(CLOSE) + frame(TEXT, b"never read"), [Closed(1005, "")]),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_what_a_client_sends(data: bytes, expected: list[object], size: int) -> None:
    """However the input is cut."""
    websocket = server()
    events = [event for start in range(0, len(data), size) for event in websocket.feed(data[start : start + size])]
    assert expected == events
    assert [] == (websocket.feed(frame(TEXT, b"more")) if websocket.closed else [])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"x", masked=False), 1002),
        (frame(TEXT, b"x", rsv1=True), 1002),
        (frame(PING, b"x", rsv1=True), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(PING, bytes(126)), 1002),
        (frame(0, b"x"), 1002),
        (frame(3, b"x"), 1002),
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(CLOSE, struct.pack("!H", 1005)), 1002),
        (frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
        (frame(BINARY, bytes(1001)), 1009),
        (frame(BINARY, bytes(600), fin=False) + frame(0, bytes(401)), 1009),
        (frame(BINARY, bytes(70_000))[:14], 1009),  # its head is enough
    ],
)
def test_what_a_client_may_not_send(data: bytes, code: int) -> None:
    """It is the last thing that is read, and has its own close code."""
    websocket = server()
    events = websocket.feed(data)
    assert isinstance(events[-1], Closed)
    assert (code, True, True) == (events[-1].code, events[-1].failure, websocket.closed)
    assert [] == websocket.feed(frame(TEXT, b"x"))
    if code == 1009:
        assert "the message is larger than 1000 bytes" == events[-1].reason
    if code == 1007:
        assert "the text is not valid UTF-8" == events[-1].reason


def test_what_the_server_sends() -> None:
    """A client of wsproto reads it."""
    websocket = server()
    client = FrameProtocol(client=True, extensions=[])
    client.receive_bytes(websocket.message("grüß") + websocket.message(bytes(70_000)))
    client.receive_bytes(websocket.ping(b"a") + websocket.pong(b"b") + websocket.close(1001, "x" * 200))
    frames = list(client.received_frames())
    assert ["grüß", b"a", b"b", (1001, "x" * 123)] == [each.payload for each in frames if len(each.payload) < 1000]
    assert 70_000 == sum(len(each.payload) for each in frames if each.opcode is Opcode.BINARY)
    client = FrameProtocol(client=True, extensions=[])
    client.receive_bytes(server().close(1005))
    assert [(1005, "")] == [each.payload for each in client.received_frames()]


# ----- compression


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        (b"", None),
        (b"x-webkit-deflate-frame", None),
        (b"permessage-deflate", b"permessage-deflate; server_max_window_bits=12"),
        (
            b"permessage-deflate; client_max_window_bits",
            b"permessage-deflate; client_max_window_bits=12; server_max_window_bits=12",
        ),
        (
            b'Permessage-Deflate; client_max_window_bits=9; server_max_window_bits="10"',
            b"permessage-deflate; client_max_window_bits=9; server_max_window_bits=10",
        ),
        (
            b"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            b"permessage-deflate; server_no_context_takeover; server_max_window_bits=12",
        ),
        (b"permessage-deflate; server_max_window_bits=8", None),
        (b"permessage-deflate; server_max_window_bits=16", None),
        (b"permessage-deflate; server_max_window_bits", None),
        (b"permessage-deflate; client_max_window_bits=", None),
        (b"permessage-deflate; server_no_context_takeover=1", None),
        (b"permessage-deflate; client_max_window_bits; client_max_window_bits", None),
        (b"permessage-deflate; other", None),
        (
            b"permessage-deflate; other, permessage-deflate",
            b"permessage-deflate; server_max_window_bits=12",
        ),
    ],
)
def test_offers_of_compression(offers: bytes, answer: bytes | None) -> None:
    """The first that can be met is accepted."""
    agreed = negotiate(offers)
    assert answer == (agreed and agreed.answer)


@pytest.mark.parametrize(
    "offer", [b"permessage-deflate; client_max_window_bits", b"permessage-deflate; server_no_context_takeover"]
)
def test_compressed_messages(offer: bytes) -> None:
    """They go both ways, many of them, in one frame or in several."""
    agreed = negotiate(offer)
    assert agreed is not None
    websocket = server(100_000, agreed)
    extension = PerMessageDeflate()
    extension.finalize(agreed.answer.decode())
    client = FrameProtocol(client=True, extensions=[extension])
    noise = os.urandom(5000)
    for data in ("a" * 10_000, noise, "", "ü" * 3):
        size = len(data.encode() if isinstance(data, str) else data)
        assert [Message(data, size)] == websocket.feed(bytes(client.send_data(data)))
        client.receive_bytes(websocket.message(data))
        assert [data] == [each.payload for each in client.received_frames()]
    first, second = bytes(client.send_data("ab" * 500, fin=False)), bytes(client.send_data("c", fin=True))
    assert [] == websocket.feed(first)
    assert [Ping(b"")] == websocket.feed(frame(PING))
    assert [Message("ab" * 500 + "c", 1001)] == websocket.feed(second)
    assert 1000 > len(websocket.message("a" * 10_000))


def test_a_client_may_send_what_it_does_not_compress() -> None:
    """And may end its stream of compressed data with each message."""
    websocket = server(1000, AGREED)
    assert [Message("x", 1)] == websocket.feed(frame(TEXT, b"x"))
    whole = zlib.compressobj(wbits=-12)
    ended = whole.compress(b"whole") + whole.flush(zlib.Z_FINISH) + b"\0"  # RFC 7692, 7.2.3.4
    for _ in range(2):
        assert [Message("whole", 5)] == websocket.feed(frame(TEXT, ended, rsv1=True))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(BINARY, deflated(bytes(1001)), rsv1=True), 1009),
        (frame(BINARY, deflated(bytes(100_000_000)), rsv1=True), 1009),
        (frame(BINARY, deflated(bytes(1000)), rsv1=True, fin=False) + frame(0, b"\x00" + b"\xff" * 9), 1007),
        (frame(BINARY, deflated(b"x"), rsv1=True, fin=False) + frame(0, b"x", rsv1=True), 1002),
        (frame(BINARY, b"\xff\xff", rsv1=True), 1007),
        # The order of frames is looked at before what is in them.
        (frame(BINARY, b"x", fin=False) + frame(BINARY, b"\xff\xff", rsv1=True), 1002),
        (frame(0, b"\xff\xff", rsv1=True), 1002),
    ],
)
def test_compressed_messages_are_bounded_while_they_are_inflated(data: bytes, code: int) -> None:
    """A bomb of 100 MB in 100 KB is refused at its thousandth byte."""
    (event,) = server(1000, AGREED).feed(data)
    assert isinstance(event, Closed)
    assert (code, True) == (event.code, event.failure)


def test_without_a_limit() -> None:
    """0 takes messages of any size."""
    (event,) = server(0, AGREED).feed(frame(BINARY, deflated(bytes(1 << 21)), rsv1=True))
    assert isinstance(event, Message)
    assert 1 << 21 == event.size
    assert [Message(bytes(2000), 2000)] == server(0).feed(frame(BINARY, bytes(2000)))


def test_a_server_offers_nothing() -> None:
    """wsproto asks clients only."""
    with pytest.raises(NotImplementedError):
        MessageExtension(0, None).offer()


# ----- the handshake


def asking(*lines: bytes, line: bytes = b"GET /chat HTTP/1.1") -> Request:
    """A request with these headers."""
    head = b"\r\n".join([line, b"Host: h", b"Upgrade: websocket", b"Connection: upgrade", *lines]) + b"\r\n\r\n"
    (request,) = RequestParser(Limits(max_header_size=1000, max_headers=20, max_body=0)).feed(head)
    return request


def offer(*lines: bytes, line: bytes = b"GET /chat HTTP/1.1") -> Offer | Refused:
    """What is read of a request with these headers."""
    return read_offer(asking(*lines, line=line))


VERSION, KEYED = b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + KEY


def test_an_offer() -> None:
    """Lists may be in one header or in several."""
    read = offer(
        VERSION,
        KEYED,
        b"Sec-WebSocket-Protocol: a, b",
        b"Sec-WebSocket-Protocol: c,",
        b"Sec-WebSocket-Extensions: x",
        b"Sec-WebSocket-Extensions: y",
    )
    assert Offer(KEY, ["a", "b", "c"], b"x,y") == read


@pytest.mark.parametrize(
    ("refused", "status"),
    [
        (offer(KEYED), 426),
        (offer(KEYED, b"Sec-WebSocket-Version: 8"), 426),
        (offer(KEYED, VERSION, VERSION), 426),
        (offer(VERSION), 400),
        (offer(VERSION, KEYED, KEYED), 400),
        (offer(VERSION, b"Sec-WebSocket-Key: short"), 400),
        (offer(VERSION, b"Sec-WebSocket-Key: ***"), 400),
        (offer(VERSION, KEYED, line=b"POST /chat HTTP/1.1"), 400),
        (offer(VERSION, KEYED, line=b"GET /chat HTTP/1.0"), 400),
        (offer(VERSION, KEYED, b"Content-Length: 3"), 400),
    ],
)
def test_offers_that_cannot_be_accepted(refused: Offer | Refused, status: int) -> None:
    """The client gets a status, and why."""
    assert isinstance(refused, Refused)
    assert status == refused.status


def test_a_request_that_is_no_handshake() -> None:
    """It only has the word in its Upgrade header."""
    assert not is_handshake(asking())
    assert is_handshake(asking(VERSION))


def test_an_answer() -> None:
    """The example of RFC 6455; with a subprotocol, an extension and a header of the application."""
    given = Offer(KEY, ["chat"], b"")
    plain = [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ]
    assert plain == accept_headers(given, None, b"", ())
    more = [(b"sec-websocket-protocol", b"chat"), (b"sec-websocket-extensions", b"x"), (b"a", b"b")]
    assert plain + more == accept_headers(given, "chat", b"x", [(b"A", b"b")])
    head = upgrade_response(plain)
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n")
    assert head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(("subprotocol", "headers"), [("other", ()), (None, [(b"Sec-WebSocket-Accept", b"x")])])
def test_answers_that_are_refused(subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> None:
    """A mistake of the application is an error of its own."""
    with pytest.raises(LocalProtocolError):
        accept_headers(Offer(KEY, ["chat"], b""), subprotocol, b"", headers)
    with pytest.raises(LocalProtocolError):
        upgrade_response([(b"a", b"b\r\nc")])
