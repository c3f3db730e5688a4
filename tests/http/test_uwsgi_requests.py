"""The bytes of one connection of the uwsgi protocol, as the requests that a session gets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_uwsgi._http.limits import Limits
from trio_uwsgi._http.uwsgi_requests import (
    EARLY,
    PacketRequest,
    RpcRequest,
    UwsgiParser,
    UwsgiRequest,
    UwsgiResponse,
)
from trio_uwsgi._protocol.packet import encode_packet, encode_vars
from trio_uwsgi._protocol.remote_answers import AnswerReader, Failure
from trio_uwsgi._protocol.remote_calls import CacheCall, Call, HelloCall, OldCacheCall, PingCall, RpcCall, SignalCall
from trio_uwsgi.errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_uwsgi._http.request import Request

pytestmark = pytest.mark.pure

LIMITS = Limits(max_header_size=4096, max_headers=10, max_body=100_000)
DATE = b"Sun, 22 Nov 2026 10:00:00 GMT"
HELLO = HelloCall().encode()


def packet(found: dict[str, str], modifier1: int = 0, modifier2: int = 0) -> bytes:
    """A packet of vars."""
    pairs = [(name.encode(), value.encode()) for name, value in found.items()]
    return encode_packet(modifier1, modifier2, encode_vars(pairs))


GET = {"REQUEST_METHOD": "GET", "REQUEST_URI": "/a?b", "PATH_INFO": "/a", "HTTP_HOST": "h"}
POST = {**GET, "REQUEST_METHOD": "POST", "CONTENT_LENGTH": "5"}
CHUNKED = {**GET, "REQUEST_METHOD": "POST", "HTTP_TRANSFER_ENCODING": "Chunked"}


class Seen(NamedTuple):
    """What a session learns from one request."""

    kind: type[Request]
    method: str
    target: bytes
    modifiers: tuple[int, int]
    body: bytes
    complete: bool
    keep_alive: bool
    content_length: int | None


class Outcome(NamedTuple):
    """What came of the bytes of a connection: requests, then perhaps an error; and what the parser is left in."""

    requests: tuple[Seen, ...]
    status: int | None
    message: str
    idle: bool
    in_head: bool
    greeted: bool


def seen(request: Request) -> Seen:
    """Freeze a request, taking its body."""
    assert isinstance(request, UwsgiRequest | PacketRequest)
    assert request.buffered == sum(map(len, request.chunks))
    return Seen(
        type(request),
        request.method,
        request.target,
        (request.modifier1, request.modifier2),
        request.take_body(),
        request.complete,
        request.keep_alive,
        request.content_length,
    )


def outcome(pieces: Iterable[bytes], limits: Limits = LIMITS) -> Outcome:
    """Feed pieces to one parser; nothing may raise, and it holds one packet at most."""
    parser = UwsgiParser(limits)
    requests: list[Request] = []
    for piece in pieces:
        requests += parser.feed(piece)
        assert len(parser._partial) < 4 + 65_535
        assert parser.in_head == bool(parser._partial)
    assert all(request.complete for request in requests[:-1])
    error = parser.error
    status, message = (None, "") if error is None else (error.status_hint, str(error))
    return Outcome(tuple(map(seen, requests)), status, message, parser.idle, parser.in_head, parser.greeted)


def read(data: bytes, limits: Limits = LIMITS) -> Outcome:
    """Read bytes whole, cut in two at every place, and byte by byte; the result must always be the same."""
    expected = outcome([data], limits)
    for place in range(len(data) + 1):
        assert expected == outcome([data[:place], data[place:]], limits)
    assert expected == outcome([data[at : at + 1] for at in range(len(data))], limits)
    return expected


# --- front servers ----------------------------------------------------------------------------------------------------


def test_a_request_without_a_body() -> None:
    """One request is read; the connection is idle again, and takes no other."""
    expected = Seen(UwsgiRequest, "GET", b"/a?b", (0, 0), b"", True, False, None)
    assert Outcome((expected,), None, "", True, False, False) == read(packet(GET))
    assert Outcome((expected,), None, "", True, False, False) == read(packet(GET) + packet(POST))


def test_a_request_with_a_body() -> None:
    """The body follows the packet; what follows the body is ignored."""
    expected = Seen(UwsgiRequest, "POST", b"/a?b", (0, 0), b"hello", True, False, 5)
    assert Outcome((expected,), None, "", True, False, False) == read(packet(POST) + b"hello")
    assert Outcome((expected,), None, "", True, False, False) == read(packet(POST) + b"hello world")


def test_modifier_30() -> None:
    """It asks for the application as modifier 0 does, and wants SCRIPT_NAME taken off PATH_INFO."""
    found = {**POST, "SCRIPT_NAME": "/app", "PATH_INFO": "/app/a"}
    expected = Seen(UwsgiRequest, "POST", b"/a?b", (0, 0), b"hello", True, False, 5)
    assert Outcome((expected,), None, "", True, False, False) == read(packet(found, 30) + b"hello")
    for modifier2 in (0, 9):
        (request,) = UwsgiParser(LIMITS).feed(packet(found, 30, modifier2))
        assert isinstance(request, UwsgiRequest)
        assert (b"/app", b"/a") == (request.vars[b"SCRIPT_NAME"], request.vars[b"PATH_INFO"])


def test_the_method_of_what_is_refused() -> None:
    """A parser knows the method of a request that it refuses as soon as the packet was read: HEAD gets no body."""
    for found, method in (({"CONTENT_LENGTH": "100001"}, "HEAD"), ({"A": "x" * 4092}, "")):
        parser = UwsgiParser(LIMITS)
        parser.feed(packet({"REQUEST_METHOD": "HEAD", **found}))
        assert parser.error is not None
        assert method == parser.method
        assert parser.refusal(413, "no", b"", parser.method).endswith(b"\r\n\r\n" if method else b"no\n")


def test_a_body_on_its_way() -> None:
    """A request is there before its body is, and the body grows with what arrives."""
    parser = UwsgiParser(LIMITS)
    (request,) = parser.feed(packet(POST) + b"he")
    assert (False, 2, b"he") == (request.complete, request.buffered, request.take_body())
    assert (False, False) == (parser.idle, parser.in_head)
    assert [] == parser.feed(b"ll")
    assert [] == parser.feed(b"o")
    assert (True, b"llo", True) == (request.complete, request.take_body(), parser.idle)


@pytest.mark.parametrize("length", ["", "0"])
def test_no_body(length: str) -> None:
    """An empty length is none, as nginx sends it."""
    (request,) = outcome([packet({**GET, "CONTENT_LENGTH": length})]).requests
    assert (True, 0 if length else None) == (request.complete, request.content_length)


def test_a_length_counts_more_than_chunks() -> None:
    """nginx passes Transfer-Encoding on, and a body that it took out of its chunks: the length is right."""
    result = read(packet({**CHUNKED, "CONTENT_LENGTH": "5"}) + b"5\r\nhello")
    assert [b"5\r\nhe"] == [request.body for request in result.requests]


def test_chunks() -> None:
    """uWSGI's router passes chunks on as they are, without a length."""
    (request,) = read(packet(CHUNKED) + b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nA: b\r\n\r\n").requests
    assert (b"hello world", True, None) == (request.body, request.complete, request.content_length)


def test_malformed_chunks() -> None:
    """A body that is not chunked as it says is an error; what came before is the application's."""
    result = read(packet(CHUNKED) + b"5\r\nhello\r\nx")
    assert ([b"hello"], [False]) == ([r.body for r in result.requests], [r.complete for r in result.requests])
    result = outcome([packet(CHUNKED) + b"5\r\nhello\r\nx\r\n"])
    assert (400, "a chunk size is malformed") == (result.status, result.message)


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (encode_packet(0, 0, b""), 400, "the request is empty"),
        (encode_packet(0, 0, b"\x05\x00ab"), 400, "var 1 is cut off: the packet's 4 bytes end before it"),
        (packet({**GET, "CONTENT_LENGTH": "-1"}), 400, "CONTENT_LENGTH is b'-1', which is not a number"),
        (packet({**GET, "CONTENT_LENGTH": "5, 5"}), 400, "CONTENT_LENGTH is b'5, 5', which is not a number"),
        (packet({**GET, "CONTENT_LENGTH": "9" * 19}), 400, "is b'9999999999999999999', which is not a number"),
        (packet({**GET, "CONTENT_LENGTH": "100001"}), 413, "the body is larger than 100000 bytes"),
        (packet(CHUNKED) + b"186a1\r\n", 413, "the body is larger than 100000 bytes"),
        (packet({f"HTTP_{n}": "" for n in range(11)}), 431, "there are more than 10 headers"),
        (packet({f"X{n}": "" for n in range(139)}), 431, "there are more than 138 vars"),
        (packet({"A": "x" * 4092}), 431, "the packet of vars is larger than 4096 bytes"),
        (b"\x00\xff\xff\x00", 431, "the packet of vars is larger than 4096 bytes"),
        (encode_packet(173, 2, b""), 400, "the request is empty"),
        (packet({"A": "x" * 4092}, 173, 2), 431, "the packet of vars is larger than 4096 bytes"),
    ],
    ids=range(13),
)
def test_refused_requests(data: bytes, status: int, message: str) -> None:
    """The error says what is wrong, and the status to answer with; the connection reads no more."""
    result = outcome([data])
    assert status == result.status
    assert message in result.message
    assert (False, False) == (result.idle, result.in_head)
    assert result == outcome([data[at : at + 1] for at in range(len(data))])
    assert result == outcome([data, packet(GET)])


def test_what_is_just_allowed() -> None:
    """Limits may be reached."""
    for data in (
        packet({f"HTTP_{n}": "" for n in range(10)}),
        packet({f"X{n}": "" for n in range(138)}),
        packet({"A": "x" * 4091}),
        packet({**GET, "CONTENT_LENGTH": "100000"}) + b"x" * 100_000,
    ):
        result = outcome([data])
        assert (1, None, True) == (len(result.requests), result.status, result.idle)


def test_rpc_over_http() -> None:
    """RPC with modifier2 2 is a client's request, with vars and a body, of another kind."""
    expected = Seen(RpcRequest, "POST", b"/a?b", (173, 2), b"hello", True, False, 5)
    assert (expected,) == read(packet(POST, 173, 2) + b"hello").requests


def test_no_limit_of_the_body() -> None:
    """`max_body` 0 means that the body may have any length."""
    parser = UwsgiParser(Limits(max_header_size=4096, max_headers=10, max_body=0))
    (request,) = parser.feed(packet({**POST, "CONTENT_LENGTH": "9" * 18}))
    assert (None, 10**18 - 1) == (parser.error, request.content_length)


# --- other servers ----------------------------------------------------------------------------------------------------


CALLS: list[Call] = [
    RpcCall(name=b"f", args=(b"", b"a")),
    SignalCall(signum=7),
    PingCall(),
    CacheCall(command="get", key=b"k"),
    CacheCall(command="set", key=b"k", value=b"value", expires=3, cache=b"c"),
    CacheCall(command="inc", key=b"k", value=b"1"),
]


@pytest.mark.parametrize("call", [*CALLS, OldCacheCall(form=1, key=b"k", value=b"v"), RpcCall(name=b"f", style=1)])
def test_one_call(call: Call) -> None:
    """A call is a request, with the value to store as its body; the connection takes no other."""
    data = call.encode()
    result = read(data + data)
    (request,) = result.requests
    assert (PacketRequest, "UWSGI", True, False) == (request.kind, request.method, request.complete, request.keep_alive)
    assert (True, False) == (result.idle, result.greeted)
    (again,) = UwsgiParser(LIMITS).feed(data)
    assert isinstance(again, PacketRequest)
    assert call == again.call(again.take_body())


def test_the_name_of_a_call() -> None:
    """Logs show the two modifiers of a packet."""
    (request,) = UwsgiParser(LIMITS).feed(SignalCall(signum=7).encode())
    assert "<Request UWSGI b'110/7' HTTP/1.0, 0 bytes buffered, complete>" == repr(request)


def test_a_value_on_its_way() -> None:
    """The session knows how long a value is before it comes, and so whether to take it."""
    data = CacheCall(command="set", key=b"k", value=b"v" * 1000).encode()
    parser = UwsgiParser(LIMITS)
    (request,) = parser.feed(data[:-1000])
    assert (1000, False) == (request.content_length, request.complete)
    parser.feed(data[-1000:])
    assert (1000, True) == (request.buffered, request.complete)


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (CacheCall(command="set", key=b"k", value=bytes(100_001)).encode(), 413, "the body is larger than 100000"),
        (packet({"cmd": "set", "key": "k", "size": "x"}, 111, 17), 400, "the size of a value is b'x'"),
        (encode_packet(111, 17, b"\x04\x00size\x09\x00"), 400, "var 1 is cut off"),
    ],
)
def test_refused_values(data: bytes, status: int, message: str) -> None:
    """A value whose length cannot be read, or is too large, ends the connection before it comes."""
    result = outcome([data])
    assert ((), status) == (result.requests, result.status)
    assert message in result.message


@pytest.mark.parametrize(("modifier1", "modifier2"), [(1, 0), (18, 0), (48, 3), (173, 3), (174, 0), (255, 0)])
def test_unknown_packets(modifier1: int, modifier2: int) -> None:
    """A packet of a kind we do not know is read, and whoever handles it learns that nobody does."""
    (request,) = UwsgiParser(LIMITS).feed(encode_packet(modifier1, modifier2, b"any"))
    assert isinstance(request, PacketRequest)
    assert (modifier1, modifier2, b"any") == (request.modifier1, request.modifier2, request.packet)
    message = f"^nobody answers modifier1 {modifier1} with modifier2 {modifier2} here$"
    with pytest.raises(RemoteProtocolError, match=message):
        request.call()


def test_the_largest_packet() -> None:
    """A packet that is not a client's request may have 65,535 bytes."""
    data = encode_packet(173, 0, b"\xfd\xff" + bytes(65_533))
    result = outcome([data[at : at + 999] for at in range(0, len(data), 999)])
    assert ([(173, 0)], None) == ([request.modifiers for request in result.requests], result.status)


# --- after a hello ----------------------------------------------------------------------------------------------------


def test_many_calls_after_a_hello() -> None:
    """The hello is a call to be answered; others follow in any number, each read where the one before it ended."""
    data = HELLO + b"".join([call.encode() for call in CALLS]) + HELLO
    result = read(data)
    assert (None, True, True) == (result.status, result.idle, result.greeted)
    assert all(request.keep_alive and request.complete for request in result.requests)
    requests = UwsgiParser(LIMITS).feed(data)
    expected = [HelloCall(), *CALLS, HelloCall()]
    assert expected == [r.call(r.take_body()) for r in requests if isinstance(r, PacketRequest)]


@given(st.lists(st.sampled_from([HelloCall(), *CALLS]), max_size=20), st.integers(1, 30))
def test_any_calls_after_a_hello(calls: list[Call], size: int) -> None:
    """Any sequence of calls is read alike however it is cut."""
    data = HELLO + b"".join([call.encode() for call in calls])
    parser = UwsgiParser(LIMITS)
    requests: list[Request] = []
    for at in range(0, len(data), size):
        requests += parser.feed(data[at : at + size])
    assert [HelloCall(), *calls] == [r.call(r.take_body()) for r in requests if isinstance(r, PacketRequest)]


@pytest.mark.parametrize(
    "data",
    [
        packet(GET),
        packet(GET, 173, 2),
        RpcCall(name=b"f", style=1).encode(),
        OldCacheCall(form=0, key=b"k").encode(),
        encode_packet(174, 0, b""),
        encode_packet(18, 0, b""),
    ],
)
def test_what_does_not_follow_a_hello(data: bytes) -> None:
    """A packet whose answer has no end of its own would take the connection with it, and is refused."""
    result = read(HELLO + PingCall().encode() + data)
    message = f"no answer to modifier1 {data[0]} with modifier2 {data[3]} says where it ends"
    assert (2, 400, message) == (len(result.requests), result.status, result.message)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [packet(GET), packet(GET, 173, 2), packet(GET)[:4], packet(POST)])
def test_clients_are_refused_by_http(data: bytes) -> None:
    """A request that no application answers gets an HTTP response as soon as it is known to be one."""
    parser = UwsgiParser(LIMITS)
    parser.feed(data)
    head, _, body = parser.refusal(503, "busy", DATE, "GET").partition(b"\r\n\r\n")
    assert (b"HTTP/1.1 503 Service Unavailable", b"busy\n") == (head.split(b"\r\n")[0], body)
    assert b"" == parser.refusal(503, "busy", DATE, "HEAD").partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x00\x00", RpcCall(name=b"f").encode(), b"GET / HTTP/1.1\r\n"])
def test_others_are_refused_without_a_byte(data: bytes) -> None:
    """Other servers, and who has not said what it is, get nothing, as from uWSGI."""
    parser = UwsgiParser(LIMITS)
    parser.feed(data)
    assert b"" == parser.refusal(400, "no", DATE, "")


@pytest.mark.parametrize(("status", "kind"), [(400, "refused"), (499, "refused"), (500, "failed"), (504, "failed")])
def test_our_own_are_refused_with_a_reason(status: int, kind: str) -> None:
    """After a hello the other end learns why."""
    parser = UwsgiParser(LIMITS)
    parser.feed(HELLO + packet(GET))
    reader = AnswerReader(PingCall(), 0)
    assert Failure(kind=kind, reason="why") == reader.feed(parser.refusal(status, "why", DATE, ""))


def test_the_type_of_responses() -> None:
    """Whoever answers a request asks the parser how."""
    assert UwsgiResponse is UwsgiParser.response_type


def test_errors_stay() -> None:
    """After an error nothing is read any more, and requests from before it stay as they are."""
    parser = UwsgiParser(LIMITS)
    (hello,) = parser.feed(HELLO)
    assert [] == parser.feed(packet(GET))
    error = parser.error
    assert error is not None
    assert re.match("no answer to modifier1 0", str(error))
    assert [] == parser.feed(PingCall().encode())
    assert (True, error) == (hello.complete, parser.error)


def test_packets_that_come_early_are_read_in_turns() -> None:
    """However many came in one piece, a few are requests at a time, and the others wait as bytes."""
    parser = UwsgiParser(LIMITS)
    ping = PingCall().encode()
    store = CacheCall(command="set", key=b"k", value=b"value").encode()
    found = parser.feed(HELLO + ping * (EARLY - 2) + store + ping * 1000 + ping[:2])
    counts = [len(found)]
    while parser.held:
        assert not parser.idle
        counts.append(len(parser.feed(b"")))
    assert [EARLY] * (sum(counts) // EARLY) + [sum(counts) % EARLY] == counts
    assert 1000 + EARLY == sum(counts)
    assert b"value" == found[-1].take_body()
    assert parser.in_head
    assert 1 == len(parser.feed(ping[2:]))
    assert parser.idle


def test_what_is_held_is_read_before_what_follows_it() -> None:
    """Bytes that arrive while packets are held come behind them."""
    parser = UwsgiParser(LIMITS)
    parser.feed(HELLO + b"".join(SignalCall(signum=n).encode() for n in range(EARLY + 9)))
    signums = [r.modifier2 for r in parser.feed(SignalCall(signum=200).encode()) if isinstance(r, PacketRequest)]
    assert [*range(EARLY - 1, EARLY + 9), 200] == signums
