"""The request side of HTTP/1.1: every case is read whole, byte by byte and cut at random (the `read` fixture)."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest

from trio_uwsgi._http import heads, http1
from trio_uwsgi._http.http1 import RequestParser
from trio_uwsgi._http.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[..., Any]  # the Outcome of conftest.py, which tests cannot import

pytestmark = pytest.mark.pure

LIMITS = Limits(max_header_size=2000, max_headers=20, max_body=10_000)
TAIL = b"GET /tail HTTP/1.1\r\nHost: tail\r\n\r\n"
LINE = b"POST /a HTTP/1.1\r\nHost: h\r\n"


def test_minimal_request(read: Read) -> None:
    """A minimal GET is one complete request that keeps the connection."""
    (request,) = read(b"GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n").requests
    assert ("GET", b"/a?b=c", ((b"host", b"h"),), b"", True) == request[:5]
    assert (True, None, False, False, b"") == request.framing


def test_header_values_are_stripped_and_names_lowered(read: Read) -> None:
    """White space around values goes, inner white space and the order of headers stay, names are lower-cased."""
    head = b"GET / HTTP/1.1\r\nHost:h\r\nX-B: \t b  c \t\r\nX-Empty:\r\nX-Blank:  \r\nX-A: 1\r\nx-b: \xff\r\n\r\n"
    expected = (
        (b"host", b"h"),
        (b"x-b", b"b  c"),
        (b"x-empty", b""),
        (b"x-blank", b""),
        (b"x-a", b"1"),
        (b"x-b", b"\xff"),
    )
    assert expected == read(head).requests[0].headers


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: TE, Close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: te\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: closed\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: h\r\nProxy-Connection: close\r\n\r\n", True),
    ],
)
def test_keep_alive(read: Read, head: bytes, keep_alive: bool) -> None:
    """Connection and the version decide whether a request may follow; what follows a close is ignored."""
    result = read(head + TAIL)
    assert keep_alive is result.requests[0].framing[0]
    assert 1 + keep_alive == len(result.requests)
    assert result.status is None


@pytest.mark.parametrize("junk", [b"\r\n", b"garbage\x00", b"\x16\x03\x01"])
def test_junk_after_close_is_ignored(read: Read, junk: bytes) -> None:
    """Nothing that comes after a request which asked to close is an error."""
    result = read(LINE + b"Connection: close\r\nContent-Length: 2\r\n\r\nab" + junk)
    assert ([b"ab"], None) == (result.bodies, result.status)


@pytest.mark.parametrize(
    ("rest", "body"),
    [
        (b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (b"Content-Length: 0\r\n\r\n", b""),
        (b"Content-Length: 00005 \r\n\r\nGET /", b"GET /"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (
            b'Transfer-Encoding: Chunked\r\n\r\n3;a=b\r\nhel\r\n0002; c="d;"\r\nlo\r\n000\r\nX-Trailer: 1\r\n\r\n',
            b"hello",
        ),
        (b"transfer-encoding: chunked\r\n\r\nA\r\n0\r\n\r\n12345\r\n0;x\r\n\r\n", b"0\r\n\r\n12345"),
    ],
)
def test_bodies_and_what_follows(read: Read, rest: bytes, body: bytes) -> None:
    """A body ends where its framing says, and the pipelined request after it is read."""
    result = read(LINE + rest + TAIL)
    assert ([body, b""], None) == (result.bodies, result.status)
    assert [True, True] == [request.complete for request in result.requests]
    assert not [name for request in result.requests for name, _ in request.headers if name == b"x-trailer"]


def test_incomplete_body() -> None:
    """A request is returned with its head; its body grows by later pieces, and can be taken in parts."""
    parser = RequestParser(LIMITS)
    assert parser.idle
    assert [] == parser.feed(LINE[:10])
    assert (False, True) == (parser.idle, parser.in_head)
    (request,) = parser.feed(LINE[10:] + b"Content-Length: 6\r\n\r\nab")
    assert (False, False) == (parser.idle, parser.in_head)
    assert (False, 2, 6) == (request.complete, request.buffered, request.content_length)
    assert b"ab" == request.take_body()
    assert [] == parser.feed(b"cd")
    assert [] == parser.feed(b"ef\r\n")
    assert (True, 4, [b"cd", b"ef"]) == (request.complete, request.buffered, request.chunks)
    assert b"cdef" == request.take_body()
    assert (0, b"") == (request.buffered, request.take_body())
    assert parser.idle


def test_a_hundred_pipelined_requests(read: Read) -> None:
    """All requests of one piece are returned, in order."""
    requests = read(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(100))).requests
    assert [b"/%d" % n for n in range(100)] == [request.target for request in requests]


def test_empty_lines_between_requests(read: Read) -> None:
    """Empty lines before a request line are skipped, as old clients send one after a body."""
    assert 2 == len(read(b"\r\n" + TAIL + b"\r\n\r\n" + TAIL + b"\r\n").requests)
    parser = RequestParser(LIMITS)
    parser.feed(b"\r\n\r")
    assert (True, False) == (parser.idle, parser.in_head)


@pytest.mark.parametrize("blank", [b"\n" + TAIL, b"\r" + TAIL, b"\r\r\n" + TAIL, b"\r\n\n" + TAIL, b" " + TAIL])
def test_other_blanks_before_a_request_are_refused(read: Read, blank: bytes) -> None:
    """Only whole CRLFs may precede a request line."""
    assert ((), 400) == read(blank)[:2]


def test_endless_empty_lines_are_refused(read: Read) -> None:
    """Empty lines before one request may take as much as a head, and the next request has as many again."""
    several = (b"\r\n" * 600 + TAIL) * 2
    assert (2, None) == (len(read(several).requests), read(several).status)
    assert 400 == read(b"\r\n" * 1001).status
    assert read(b"\r\n" * 1000).status is None


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 3\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"\r\n",
    ],
)
def test_upgrade_is_an_ordinary_request(read: Read, rest: bytes) -> None:
    """A request that asks for an upgrade keeps its body, and the next request is read after it."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: H2C\r\nHTTP2-Settings: AAMAAA\r\n"
    result = read(LINE + upgrade + rest + TAIL)
    assert ([b"abc" if len(rest) > 2 else b"", b""], None) == (result.bodies, result.status)
    assert [b"h2c", b""] == [request.framing[4] for request in result.requests]


def test_upgrade_without_connection_is_not_one(read: Read) -> None:
    """An Upgrade header that Connection does not name says nothing."""
    assert [b"", b""] == [request.framing[4] for request in read(LINE + b"Upgrade: websocket\r\n\r\n" + TAIL).requests]


def test_expect_continue(read: Read) -> None:
    """Only a 1.1 client with a body to send waits for 100-continue."""
    for version, length, expected in ((b"1.1", 3, True), (b"1.0", 3, False), (b"1.1", 0, False)):
        head = b"PUT / HTTP/%b\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: %d\r\n\r\n" % (version, length)
        assert expected is read(head).requests[0].framing[3]


def test_absolute_target(read: Read) -> None:
    """The form for proxies gives path, query and host; its host replaces the Host header."""
    parser = RequestParser(LIMITS)
    (request,) = parser.feed(b"GET HTTP://other:81/p%20q?x=1 HTTP/1.1\r\nA: 1\r\nHost: h\r\n\r\n")
    assert (b"HTTP://other:81/p%20q?x=1", "/p q", b"/p%20q", b"x=1") == (
        request.target,
        request.path,
        request.raw_path,
        request.query,
    )
    assert [(b"a", b"1"), (b"host", b"other:81")] == request.headers
    (request,) = parser.feed(b"GET https://other?x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert ("/", b"x", [(b"connection", b"keep-alive"), (b"host", b"other")]) == (
        request.path,
        request.query,
        request.headers,
    )
    assert ((), 400) == read(b"GET http://other/ HTTP/1.1\r\n\r\n")[:2]


def test_asterisk_target(read: Read) -> None:
    """OPTIONS may ask about the server as a whole, which has no path."""
    assert b"*" == read(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").requests[0].target
    (request,) = RequestParser(LIMITS).feed(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (b"*", "", b"", b"") == (request.target, request.path, request.raw_path, request.query)


# What real programs use, registered methods that llhttp lacks or takes for those of other protocols, and own ones.
METHODS = [
    *("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "QUERY", "M-SEARCH", "PURGE", "SOURCE"),
    *("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "ACL", "REPORT", "MKCALENDAR", "BIND"),
    *("VERSION-CONTROL", "CHECKIN", "UNCHECKOUT", "LABEL", "ORDERPATCH", "BASELINE-CONTROL", "UPDATE", "MKWORKSPACE"),
    *(
        "DESCRIBE",
        "SETUP",
        "PLAY",
        "ANNOUNCE",
        "FLUSH",
        "BAN",
        "get",
        "connect",
        "FOO",
        "X'Y!#",
        "PRIX",
        "P",
        "A" * 900,
    ),
    *("CONNECTX", "POSTS", "POS", "HEADER"),
]


@pytest.mark.parametrize("method", METHODS)
def test_every_token_is_a_method(read: Read, method: str) -> None:
    """Registered, own and unknown methods come through as they are, with either framing, and what follows is read."""
    line = method.encode() + b" /a?b HTTP/1.1\r\nHost: h\r\n"
    for rest in (b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"):
        result = read(TAIL + line + rest + line + b"\r\n" + TAIL)
        assert ["GET", method, method, "GET"] == [request.method for request in result.requests]
        assert [b"", b"abc", b"", b""] == result.bodies
        assert [b"/tail", b"/a?b", b"/a?b", b"/tail"] == [request.target for request in result.requests]
        assert result.status is None


def test_an_own_method_changes_nothing_else(read: Read) -> None:
    """Every head that is refused for what stands behind its method is refused alike with one that llhttp lacks."""
    for status, data in REFUSED.values():
        if not data.startswith((b"GET /", b"GET h", b"POST ")) or data == b"GET /\r\n\r\n":
            continue
        own = b"LABE " + data.partition(b" ")[2] if data.startswith(b"POST ") else b"LAB " + data.partition(b" ")[2]
        assert (read(data).requests, status) == read(own)[:2]
        assert read(data).message == read(own).message


@pytest.mark.parametrize("minor", range(1, 10))
def test_minor_versions(read: Read, minor: int) -> None:
    """A version that is higher than 1.1 only behind its point is read as 1.1, with all that this demands."""
    version = b"GET / HTTP/1.%d\r\n" % minor
    chunked = b"Host: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    assert [b"a", b""] == read(version + chunked + TAIL).bodies
    assert ((), 400) == read(version + b"\r\n")[:2]
    (request,) = RequestParser(LIMITS).feed(version + b"Host: h\r\n\r\n")
    assert "1.1" == request.http_version


def test_the_method_of_what_is_wrong() -> None:
    """A parser knows the method of the newest head as soon as a space has ended it, also when the rest is wrong."""
    for data, method in (
        (b"HEAD / HTTP/1.1\r\n\r\n", "HEAD"),
        (b"HEAD / HTTP/1.1\r\nHost: h\r\nX", "HEAD"),
        (b"HEAD ", "HEAD"),
        (b"HEAD /" + b"a" * 3000, "HEAD"),
        (b"HEAD / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "HEAD"),
        (b"HEAD", ""),
        (b"HEAD\r", ""),
        (b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n\r\r", ""),
        (b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\nCONNECT h:80 HTTP/1.1\r\n", ""),
        (b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\nLAB", ""),
        (b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\nLABEL / HTTP/1.1\r\n \r\n", "LABEL"),
    ):
        for size in (1, 7, len(data)):
            parser = RequestParser(LIMITS)
            for at in range(0, len(data), size):
                parser.feed(data[at : at + size])
            assert method == parser.method, data


def test_a_user_before_the_host_is_named(read: Read) -> None:
    """The refusal of a target with a user says that, not that the Host header was wrong."""
    assert "user@host" in read(b"GET http://u:p@h/ HTTP/1.1\r\nHost: h\r\n\r\n").message


H = b"Host: h\r\n"
REFUSED = {
    # Request lines.
    "http 0.9": (400, b"GET /\r\n\r\n"),
    "version 0.9": (400, b"GET / HTTP/0.9\r\n\r\n"),
    "version 2.1": (505, b"GET / HTTP/2.1\r\n" + H + b"\r\n"),
    "version 2.0": (505, b"GET / HTTP/2.0\r\n" + H + b"\r\n"),
    "version 3.0": (505, b"GET / HTTP/3.0\r\n" + H + b"\r\n"),
    "preface of http/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "version 1.10": (400, b"GET / HTTP/1.10\r\n" + H + b"\r\n"),
    "lower-case protocol": (400, b"GET / http/1.1\r\n" + H + b"\r\n"),
    "rtsp": (400, b"GET / RTSP/1.0\r\n" + H + b"\r\n"),
    "rtsp method": (400, b"DESCRIBE / RTSP/1.0\r\n" + H + b"\r\n"),
    "ice": (400, b"SOURCE / ICE/1.0\r\n" + H + b"\r\n"),
    "pri": (400, b"PRI / HTTP/1.1\r\n" + H + b"\r\n"),
    "pri of 2.0": (400, b"PRI / HTTP/2.0\r\n" + H + b"\r\n"),
    "connect": (501, b"CONNECT h:80 HTTP/1.1\r\n" + H + b"\r\n"),
    "connect to a path": (501, b"CONNECT / HTTP/1.1\r\n" + H + b"\r\n"),
    "connect to a query": (501, b"CONNECT /x?y HTTP/1.1\r\n" + H + b"\r\n"),
    "connect to a url": (501, b"CONNECT http://h/ HTTP/1.1\r\n" + H + b"\r\n"),
    "comma in the method": (400, b"FOO,BAR / HTTP/1.1\r\n" + H + b"\r\n"),
    "question mark in the method": (400, b"G?T / HTTP/1.1\r\n" + H + b"\r\n"),
    "colon behind the method": (400, b"GET: / HTTP/1.1\r\n" + H + b"\r\n"),
    "control in the method": (400, b"GE\x01T / HTTP/1.1\r\n" + H + b"\r\n"),
    "NUL in the method": (400, b"GET\0 / HTTP/1.1\r\n" + H + b"\r\n"),
    "tab behind the method": (400, b"GET\t/ HTTP/1.1\r\n" + H + b"\r\n"),
    "non-ascii method": (400, b"G\xc9T / HTTP/1.1\r\n" + H + b"\r\n"),
    "no method": (400, b" / HTTP/1.1\r\n" + H + b"\r\n"),
    "method and nothing else": (400, b"GET\r\n\r\n"),
    "own method and nothing else": (400, b"LABEL\r\n\r\n"),
    "own method and two spaces": (400, b"LABEL  / HTTP/1.1\r\n" + H + b"\r\n"),
    "own method of http 0.9": (400, b"LABEL /\r\n\r\n"),
    "own method and a folded line": (400, b"LABEL / HTTP/1.1\r\n" + H + b"X: a\r\n b\r\n\r\n"),
    "own method with two framings": (
        400,
        b"LABEL / HTTP/1.1\r\n" + H + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "asterisk of an own method": (400, b"LABEL * HTTP/1.1\r\n" + H + b"\r\n"),
    "endless own method": (414, b"L" * 3000),
    "long own method": (414, b"L" * 3000 + b" / HTTP/1.1\r\n" + H + b"\r\n"),
    "tls": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "two spaces": (400, b"GET  / HTTP/1.1\r\n" + H + b"\r\n"),
    "two spaces later": (400, b"GET /  HTTP/1.1\r\n" + H + b"\r\n"),
    "space at the end": (400, b"GET / HTTP/1.1 \r\n" + H + b"\r\n"),
    "control in target": (400, b"GET /a\x01 HTTP/1.1\r\n" + H + b"\r\n"),
    "non-ascii target": (400, b"GET /\xff HTTP/1.1\r\n" + H + b"\r\n"),
    "fragment": (400, b"GET /a#b HTTP/1.1\r\n" + H + b"\r\n"),
    "fragment of an absolute target": (400, b"GET http://h/a#b HTTP/1.1\r\n" + H + b"\r\n"),
    "relative target": (400, b"GET a HTTP/1.1\r\n" + H + b"\r\n"),
    "asterisk": (400, b"GET * HTTP/1.1\r\n" + H + b"\r\n"),
    "other scheme": (400, b"GET ftp://h/ HTTP/1.1\r\n" + H + b"\r\n"),
    "no authority": (400, b"GET http:///a HTTP/1.1\r\n" + H + b"\r\n"),
    "user in authority": (400, b"GET http://u@h/ HTTP/1.1\r\n" + H + b"\r\n"),
    "user and password": (400, b"GET http://u:p@h/ HTTP/1.1\r\n" + H + b"\r\n"),
    "host with a space": (400, b"GET http://h\x7f/ HTTP/1.1\r\n" + H + b"\r\n"),
    # Lines.
    "bare LF after the request line": (400, b"GET / HTTP/1.1\n" + H + b"\r\n"),
    "bare LF after a header": (400, b"GET / HTTP/1.1\r\nHost: h\n\r\n"),
    "bare LF at the end": (400, b"GET / HTTP/1.1\r\nHost: h\r\n\n"),
    "two bare LFs": (400, b"GET / HTTP/1.1\nHost: h\n\n"),
    "bare CR in a value": (400, b"GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n"),
    "bare CR at the end": (400, b"GET / HTTP/1.1\r\nHost: h\r\n\rX"),
    "folded line": (400, b"GET / HTTP/1.1\r\n" + H + b"X: a\r\n b\r\n\r\n"),
    "folded first line": (400, b"GET / HTTP/1.1\r\n X: a\r\n" + H + b"\r\n"),
    "NUL in a value": (400, b"GET / HTTP/1.1\r\n" + H + b"X: a\0b\r\n\r\n"),
    "DEL in a value": (400, b"GET / HTTP/1.1\r\n" + H + b"X: a\x7f\r\n\r\n"),
    "NUL in a name": (400, b"GET / HTTP/1.1\r\n" + H + b"X\0: a\r\n\r\n"),
    "non-ascii name": (400, b"GET / HTTP/1.1\r\n" + H + b"X\xe9: a\r\n\r\n"),
    "space before the colon": (400, b"GET / HTTP/1.1\r\n" + H + b"X : a\r\n\r\n"),
    "space in a name": (400, b"GET / HTTP/1.1\r\n" + H + b"X Y: a\r\n\r\n"),
    "empty name": (400, b"GET / HTTP/1.1\r\n" + H + b": a\r\n\r\n"),
    "no colon": (400, b"GET / HTTP/1.1\r\n" + H + b"X\r\n\r\n"),
    # Host.
    "no host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "no host but others": (400, b"GET / HTTP/1.1\r\nX: y\r\nConnection: close\r\n\r\n"),
    "two hosts": (400, b"GET / HTTP/1.1\r\n" + H + b"host: h\r\n\r\n"),
    "two hosts on 1.0": (400, b"GET / HTTP/1.0\r\n" + H + H + b"\r\n"),
    "path in host": (400, b"GET / HTTP/1.1\r\nHost: h/a\r\n\r\n"),
    "port that is no number": (400, b"GET / HTTP/1.1\r\nHost: h:80a\r\n\r\n"),
    # Framing.
    "two lengths": (400, LINE + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    "two equal lengths": (400, LINE + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na"),
    "list of lengths": (400, LINE + b"Content-Length: 1, 1\r\n\r\na"),
    "signed length": (400, LINE + b"Content-Length: +1\r\n\r\na"),
    "negative length": (400, LINE + b"Content-Length: -1\r\n\r\na"),
    "length with underscore": (400, LINE + b"Content-Length: 1_0\r\n\r\na"),
    "hexadecimal length": (400, LINE + b"Content-Length: 0x1\r\n\r\na"),
    "empty length": (400, LINE + b"Content-Length:\r\n\r\na"),
    "huge length": (400, LINE + b"Content-Length: 99999999999999999999999\r\n\r\na"),
    "length, then coding": (400, LINE + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "coding, then length": (400, LINE + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n"),
    "other coding": (501, LINE + b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n"),
    "two codings": (501, LINE + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "identity": (501, LINE + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    "nearly chunked": (501, LINE + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "chunked with a parameter": (501, LINE + b"Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n"),
    "chunked with a vertical tab": (400, LINE + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "chunked not last": (400, LINE + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    "chunked twice": (400, LINE + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "gzip line, chunked line": (501, LINE + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "empty coding": (400, LINE + b"Transfer-Encoding:\r\n\r\n"),
    "coding on 1.0": (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "other expectation": (417, LINE + b"Expect: 200-ok\r\nContent-Length: 1\r\n\r\na"),
    "two expectations": (400, LINE + b"Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na"),
    # Limits.
    "long target": (414, b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\n" + H + b"\r\n"),
    "long target without an end": (414, b"GET /" + b"a" * 3000),
    "long header": (431, b"GET / HTTP/1.1\r\n" + H + b"X: " + b"a" * 2000 + b"\r\n\r\n"),
    "head without an end": (431, b"GET / HTTP/1.1\r\n" + H + b"X: y\r\n" * 500),
    "many headers": (431, b"GET / HTTP/1.1\r\n" + H + b"X: y\r\n" * 20 + b"\r\n"),
    "large length": (413, LINE + b"Content-Length: 10001\r\n\r\n"),
}


@pytest.mark.parametrize(("status", "data"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_heads(read: Read, status: int, data: bytes) -> None:
    """Each malformed, ambiguous or too large head gives its status, and no request; what follows is not read."""
    assert ((), status) == read(data)[:2]
    assert ((), status) == read(data + TAIL)[:2]
    before = read(TAIL + data)
    assert (1, status) == (len(before.requests), before.status)


def test_limits_are_exact(read: Read) -> None:
    """A head, a count of headers and a body of just the limit pass."""
    head = b"GET / HTTP/1.1\r\n" + H + b"X: "
    fits = head + b"a" * (2000 - len(head) - 4) + b"\r\n\r\n"
    assert 2000 == len(fits)
    assert 2 == len(read(fits + TAIL).requests)
    assert 431 == read(fits.replace(b"X: ", b"X: a")).status
    assert 2 == len(read(b"GET / HTTP/1.1\r\n" + H + b"X: y\r\n" * 19 + b"\r\n" + TAIL).requests)
    assert [b"x" * 10_000, b""] == read(LINE + b"Content-Length: 10000\r\n\r\n" + b"x" * 10_000 + TAIL).bodies


def test_no_body_limit(read: Read) -> None:
    """A body limit of zero means none, for both framings."""
    limits = Limits(max_header_size=2000, max_headers=20, max_body=0)
    assert [20_000] == [
        len(body) for body in read(LINE + b"Content-Length: 20000\r\n\r\n" + b"x" * 20_000, limits).bodies
    ]
    chunked = b"Transfer-Encoding: chunked\r\n\r\n4e20\r\n" + b"x" * 20_000 + b"\r\n0\r\n\r\n"
    assert [20_000] == [len(body) for body in read(LINE + chunked, limits).bodies]


def test_after_an_error_in_its_body_a_request_is_incomplete() -> None:
    """When a body goes wrong, its request stays incomplete, with what was right, and nothing is read any more."""
    parser = RequestParser(LIMITS)
    (request,) = parser.feed(LINE + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nXYZ\r\n" + TAIL)
    assert parser.error is not None
    assert (400, False, b"abc") == (parser.error.status_hint, request.complete, request.take_body())
    assert [] == parser.feed(TAIL)
    assert (False, False) == (parser.idle, parser.in_head)


def test_caches_are_bounded() -> None:
    """Names and values that clients invent do not grow the caches beyond their bound."""
    parser = RequestParser(Limits(max_header_size=20_000, max_headers=1000, max_body=0))
    for batch in range(4):
        names = b"".join(b"X-Cache-%d-%d: y\r\n" % (batch, n) for n in range(500))
        parser.feed(b"LABEL / HTTP/1.1\r\nHost: h\r\n" + names + b"\r\n")
    for n in range(1500):
        parser.feed(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: t%d\r\n\r\n" % n)
    assert parser.error is None
    assert (1024, 1024) == (len(heads._lowered), len(http1._connections))


def _parsers() -> list[RequestParser]:
    return [left for left in gc.get_objects() if type(left) is RequestParser]


def test_a_parser_is_freed_without_the_cycle_collector() -> None:
    """Nothing below a parser refers back to it, so the memory of a closed connection is free at once."""
    gc.collect()
    gc.disable()
    try:
        before = _parsers()  # of other tests in this process
        parser = RequestParser(LIMITS)
        parser.feed(TAIL + LINE)
        assert 1 == len(_parsers()) - len(before)
        del parser
        assert before == _parsers()
    finally:
        gc.enable()


def test_the_parser_makes_refusals() -> None:
    """The answer to what no application answers is an HTTP response, without a body for HEAD."""
    parser = RequestParser(Limits(max_header_size=1000, max_headers=10, max_body=0))
    assert parser.refusal(400, "no", b"now", "GET").endswith(b"\r\n\r\nno\n")
    assert parser.refusal(400, "no", b"now", "HEAD").endswith(b"\r\n\r\n")
