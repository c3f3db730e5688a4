"""Thousands of damaged packets: nothing raises but the one error, nothing grows, and cutting changes nothing."""

from __future__ import annotations

import random

import pytest

from trio_uwsgi._http.limits import Limits
from trio_uwsgi._http.peer import Peer
from trio_uwsgi._http.uwsgi_requests import PacketRequest, RpcRequest, UwsgiParser, UwsgiRequest
from trio_uwsgi._protocol.packet import encode_array, encode_packet, encode_vars
from trio_uwsgi._protocol.remote_answers import (
    AnswerReader,
    CacheAnswer,
    Failure,
    HelloAnswer,
    PingAnswer,
    RpcAnswer,
    SignalAnswer,
)
from trio_uwsgi._protocol.remote_calls import CacheCall, Call, HelloCall, OldCacheCall, PingCall, RpcCall, SignalCall
from trio_uwsgi.errors import RemoteProtocolError

pytestmark = pytest.mark.pure

LIMITS = Limits(max_header_size=700, max_headers=8, max_body=3000)
PEER = Peer(client=None, server=None, scheme="http")

VARS = encode_vars(
    [
        (b"REQUEST_METHOD", b"POST"),
        (b"REQUEST_URI", b"/a%20b?c=d"),
        (b"PATH_INFO", b"/f/one"),
        (b"CONTENT_LENGTH", b"5"),
        (b"SERVER_PROTOCOL", b"HTTP/1.1"),
        (b"REMOTE_ADDR", b"192.0.2.1"),
        (b"REMOTE_PORT", b"80"),
        (b"HTTP_HOST", b"h:1"),
        (b"HTTP_ACCEPT", b"text/plain"),
    ]
)
CHUNKED = encode_vars([(b"HTTP_TRANSFER_ENCODING", b"chunked"), (b"PATH_INFO", b"/")])

# modifier1 -> undamaged packets of it, with what follows them.
SEEDS: dict[int, list[bytes]] = {
    0: [
        encode_packet(0, 0, VARS) + b"hello",
        encode_packet(0, 0, CHUNKED) + b"5\r\nhello\r\n0\r\n\r\n",
        encode_packet(0, 7, VARS[:60]),
    ],
    100: [PingCall().encode(), encode_packet(100, 3, b"body")],
    110: [SignalCall(signum=7).encode(), encode_packet(110, 255, b"body")],
    111: [
        CacheCall(command="get", key=b"k", cache=b"c").encode(),
        CacheCall(command="set", key=b"k", value=b"value", expires=9, cache=b"").encode(),
        CacheCall(command="inc", key=b"k", value=b"-5", expires=1).encode(),
        CacheCall(command="keys").encode(),
        *(OldCacheCall(form=form, key=b"k", value=b"v").encode() for form in (0, 1, 2, 5)),
    ],
    173: [
        RpcCall(name=b"f", args=(b"", b"abc", b"x" * 300)).encode(),
        RpcCall(name=b"f", args=(b"1",), style=1).encode(),
        encode_packet(173, 2, VARS) + b"hello",
    ],
    174: [HelloCall().encode(), Failure(kind="failed", reason="why").encode()],
}
SPLINTERS = [
    *(b"\0", b"\xff", b"\xff\xff", b"\x00\x00", b"\x01\x00", b"\x05\x00size\x01\x005", b"-", b"\x80", b"\r\n"),
    HelloCall().encode(),
    PingCall().encode(),
    encode_vars([(b"cmd", b"set"), (b"size", b"99999999999999999999")]),
    encode_vars([(b"CONTENT_LENGTH", b"18446744073709551616")]),
    encode_array([b""] * 300),
]


def damaged(rng: random.Random, data: bytes) -> bytes:
    """The bytes with one to four wounds. Some keep a size that fits, so that what is behind the header is read."""
    wounded = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(wounded) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            wounded[at:at] = rng.choice(SPLINTERS)
        elif kind == 1:
            del wounded[at : at + rng.randint(1, 8)]
        elif kind == 2:
            wounded[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 3:
            wounded[at : at + 2] = rng.choice(SPLINTERS)
        else:
            wounded[at:at] = wounded[at : at + rng.randint(1, 40)]
    if rng.random() < 0.5 and len(wounded) >= 4:
        wounded[0:4] = data[0:1] + (len(wounded) - 4).to_bytes(2, "little") + data[3:4]
    return bytes(wounded)


def understood(pieces: list[bytes]) -> tuple[list[object], object]:
    """What a session, and whoever handles its requests, makes of the bytes; and what the parser makes of their end."""
    parser = UwsgiParser(LIMITS)
    found: list[object] = []
    requests = []
    for piece in pieces:
        requests += parser.feed(piece)
        assert len(parser._partial) < 4 + 65_535
    for request in requests:
        assert request.buffered <= LIMITS.max_body
        body = request.take_body()
        if isinstance(request, UwsgiRequest):
            assert len(request.headers) <= LIMITS.max_headers
            assert set(request.wsgi_environ(PEER, {})) >= {"REQUEST_METHOD", "PATH_INFO", "SERVER_NAME"}
            found.append((request.asgi_scope(PEER, {}), body))
            if isinstance(request, RpcRequest):
                found.append((request.call(), request.content_type()))
        elif isinstance(request, PacketRequest):
            try:
                found.append(request.call(body))
            except RemoteProtocolError as error:
                found.append(str(error))
    parser.refusal(400, "no", b"", "GET")
    return found, (str(parser.error), parser.idle, parser.in_head, parser.greeted)


@pytest.mark.parametrize("greeted", [False, True])
@pytest.mark.parametrize("modifier1", SEEDS)
def test_damaged_packets(modifier1: int, greeted: bool) -> None:
    """1,000 damaged packets of each kind, and as many after a hello, are understood or refused, however cut."""
    rng = random.Random(modifier1)
    hello = HelloCall().encode() if greeted else b""
    refused = 0
    for _ in range(1000):
        data = hello + damaged(rng, rng.choice(SEEDS[modifier1]))
        expected = understood([data])
        places = sorted(rng.randint(0, len(data)) for _ in range(3))
        pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
        assert expected == understood(pieces)
        refused += expected[1][0] != "None"  # type: ignore[index]  # the message of the parser's error
    assert refused < 1000 or (greeted and modifier1 == 0)  # no client's request may follow a hello


ANSWERS: list[tuple[Call, list[bytes]]] = [
    (
        RpcCall(name=b"f"),
        [RpcAnswer(result=b"r" * 50).encode(), RpcAnswer(result=b"r" * 65_536).encode()[:200]],
    ),
    (RpcCall(name=b"f", style=1), [b"result"]),
    (
        CacheCall(command="get", key=b"k"),
        [CacheAnswer(value=b"v" * 30, expires=7).encode(), CacheAnswer().encode()],
    ),
    (SignalCall(signum=1), [SignalAnswer(accepted=True).encode()]),
    (PingCall(), [PingAnswer(warning=b"w").encode()]),
    (HelloCall(), [HelloAnswer().encode(), Failure(kind="refused", reason="why").encode()]),
]


@pytest.mark.parametrize(("call", "answers"), ANSWERS, ids=range(len(ANSWERS)))
def test_damaged_answers(call: Call, answers: list[bytes]) -> None:
    """2,000 damaged answers to each kind of call are read or refused, and none is larger than the client takes."""
    rng = random.Random(5)
    seen: set[type] = set()
    for _ in range(2000):
        data = damaged(rng, rng.choice(answers))
        reader = AnswerReader(call, 100_000)
        try:
            answer = None
            while answer is None and data:
                size = rng.randint(1, 100)
                answer = reader.feed(data[:size])
                data = data[size:]
            if answer is None:
                answer = reader.feed_eof()
            seen.add(type(answer))
        except RemoteProtocolError:
            seen.add(RemoteProtocolError)
        assert len(reader._buffer) <= 65_539 + 100_000 + 100
    assert len(seen) > 1 or call == RpcCall(name=b"f", style=1)


def test_noise() -> None:
    """Noise is understood or refused like anything else."""
    rng = random.Random(7)
    for _ in range(2000):
        data = rng.randbytes(rng.randint(1, 200))
        assert understood([data]) == understood([data[:50], data[50:]])
