"""What a real uWSGI sent and received: decoded, and encoded to the same bytes again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trio_uwsgi._http.limits import Limits
from trio_uwsgi._http.uwsgi_requests import PacketRequest, UwsgiParser, UwsgiRequest, UwsgiResponse
from trio_uwsgi._protocol.packet import SPOOL, WSGI, decode_header, decode_vars, encode_packet, encode_vars
from trio_uwsgi._protocol.remote_answers import (
    Answer,
    AnswerReader,
    CacheAnswer,
    Failure,
    RpcAnswer,
    SignalAnswer,
    encode_answer,
)
from trio_uwsgi._protocol.remote_calls import CacheCall, Call, RpcCall, SignalCall

if TYPE_CHECKING:
    from trio_uwsgi._http.request import Request

pytestmark = pytest.mark.pure

FOLDER = Path(__file__).parents[1] / "fixtures" / "uwsgi"
REQUESTS = sorted(FOLDER.glob("*.request.bin"))
LIMITS = Limits(max_header_size=4096, max_headers=100, max_body=0)

EXISTS = Failure(kind="exists", reason="")
MISSING = Failure(kind="not-found", reason="")
STORED = CacheAnswer()
FIVE = (5).to_bytes(8, "little")

# What was asked, and what the answer of the recorded server means.
EXCHANGES: dict[str, tuple[Call, Answer]] = {
    "cache_clear": (CacheCall(command="clear", cache=b"c2"), STORED),
    "cache_del": (CacheCall(command="del", key=b"mykey", cache=b"c1"), STORED),
    "cache_exists": (CacheCall(command="exists", key=b"mykey", cache=b"c1"), STORED),
    "cache_get": (
        CacheCall(command="get", key=b"mykey", cache=b"c1"),
        CacheAnswer(value=b"newvalue", expires=1795327740),
    ),
    "cache_get_default": (
        CacheCall(command="get", key=b"mykey", cache=b""),
        CacheAnswer(value=b"newvalue", expires=1795327740),
    ),
    "cache_get_miss": (CacheCall(command="get", key=b"nokey", cache=b"c1"), MISSING),
    "cache_get_nocache": (CacheCall(command="get", key=b"mykey", cache=b"nope"), MISSING),
    "cache_inc": (CacheCall(command="update", key=b"cnt", value=FIVE, cache=b"c1"), STORED),
    "cache_inc_again": (CacheCall(command="update", key=b"cnt", value=FIVE, cache=b"c1"), STORED),
    "cache_num": (CacheCall(command="get", key=b"cnt", cache=b"c1"), CacheAnswer(value=FIVE)),
    "cache_num2": (CacheCall(command="get", key=b"cnt", cache=b"c1"), CacheAnswer(value=FIVE)),
    "cache_set": (CacheCall(command="set", key=b"mykey", value=b"myvalue", cache=b"c1"), STORED),
    "cache_set_exists_fails": (CacheCall(command="set", key=b"mykey", value=b"other", cache=b"c1"), EXISTS),
    "cache_set_expires": (
        CacheCall(command="set", key=b"ekey", value=b"evalue", expires=30, cache=b"c1"),
        STORED,
    ),
    "cache_update": (CacheCall(command="update", key=b"mykey", value=b"newvalue", expires=60, cache=b"c1"), STORED),
    "remote_signal": (SignalCall(signum=7), SignalAnswer(accepted=True)),
    "remote_signal_unregistered": (SignalCall(signum=77), SignalAnswer(accepted=True)),
    "rpc_big_result": (RpcCall(name=b"big"), RpcAnswer(result=b"x" * 70_000)),
    "rpc_empty_result": (RpcCall(name=b"empty"), RpcAnswer(result=b"")),
    "rpc_exact_65535": (RpcCall(name=b"exact", args=(b"65535",)), RpcAnswer(result=b"y" * 65_535)),
    "rpc_exact_65536": (RpcCall(name=b"exact", args=(b"65536",)), RpcAnswer(result=b"y" * 65_536)),
    "rpc_hello": (RpcCall(name=b"hello", args=(b"one", b"two")), RpcAnswer(result=b"Hello one,two")),
    "rpc_noargs": (RpcCall(name=b"noargs"), RpcAnswer(result=b"n=0")),
    "rpc_unknown": (RpcCall(name=b"nosuch", args=(b"x",)), MISSING),
}


def recorded(name: str) -> tuple[bytes, bytes]:
    """The bytes of a request and of its reply."""
    return (FOLDER / f"{name}.request.bin").read_bytes(), (FOLDER / f"{name}.reply.bin").read_bytes()


def parsed(wire: bytes) -> Request:
    """The one request that a session reads from these bytes."""
    parser = UwsgiParser(LIMITS)
    (request,) = parser.feed(wire)
    assert (None, True, True) == (parser.error, parser.idle, request.complete)
    assert request.keep_alive is False
    return request


def test_nothing_recorded_is_left_out() -> None:
    """Every recorded exchange is tested here."""
    expected = {*EXCHANGES, "uwsgi_request_get", "uwsgi_request_post"}
    assert expected == {path.name.removesuffix(".request.bin") for path in REQUESTS}


@pytest.mark.parametrize("name", EXCHANGES)
def test_calls(name: str) -> None:
    """A call is understood, and our client sends the same bytes."""
    wire, _ = recorded(name)
    expected, _ = EXCHANGES[name]
    request = parsed(wire)
    assert isinstance(request, PacketRequest)
    call = request.call(request.take_body())
    assert expected == call
    assert wire == call.encode()


@pytest.mark.parametrize("name", EXCHANGES)
def test_answers(name: str) -> None:
    """An answer is understood, and our server sends the same bytes."""
    _, wire = recorded(name)
    call, expected = EXCHANGES[name]
    assert wire == encode_answer(call, expected, greeted=False)
    reader = AnswerReader(call, 70_000)
    answer = reader.feed(wire) if wire else reader.feed_eof()
    assert (expected if wire else None) == answer
    assert b"" == reader.rest


@pytest.mark.parametrize(
    ("name", "method", "target", "body"),
    [
        ("uwsgi_request_get", "GET", b"/path/a%20b?x=1&y=2", b""),
        ("uwsgi_request_post", "POST", b"/post", b"uwsgi.version"),
    ],
)
def test_requests_of_clients(name: str, method: str, target: bytes, body: bytes) -> None:
    """A client's request is understood, and its packet is encoded to the same bytes; so is the recorded response."""
    wire, reply = recorded(name)
    request = parsed(wire)
    assert isinstance(request, UwsgiRequest)
    assert (method, target, "1.1") == (request.method, request.target, request.http_version)
    assert body == request.take_body()
    assert wire == encode_packet(WSGI, request.modifier2, request.encode()) + body
    response = UwsgiResponse(request)
    response.start(200, [(b"Content-Type", b"text/plain")])
    assert reply == response.data(reply.partition(b"\r\n\r\n")[2], False, b"not sent")


@pytest.mark.parametrize(
    ("name", "expected", "body"),
    [
        ("spool_simple_at", [(b"foo", b"bar"), (b"at", b"2000000000")], b""),
        ("spool_body_priority5", [(b"foo", b"bar"), (b"at", b"2000000000"), (b"priority", b"5")], b"BODY" * 10),
    ],
)
def test_spool_files(name: str, expected: list[tuple[bytes, bytes]], body: bytes) -> None:
    """A spool file is a packet of vars, and a body up to its end."""
    wire = (FOLDER / f"{name}.bin").read_bytes()
    modifier1, size, modifier2 = decode_header(wire)
    assert (SPOOL, 0) == (modifier1, modifier2)
    assert expected == decode_vars(wire[4 : 4 + size], 64)
    assert body == wire[4 + size :]
    assert wire == encode_packet(SPOOL, 0, encode_vars(expected)) + body
