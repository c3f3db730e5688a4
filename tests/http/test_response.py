"""Responses: what a client reads of them, checked with an independent parser, and what is refused."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import h11
import pytest

from trio_uwsgi._http import response as response_module
from trio_uwsgi._http import response_headers
from trio_uwsgi._http.http1 import CONTINUE, RequestParser, Response, error_response
from trio_uwsgi._http.limits import Limits
from trio_uwsgi._http.response import hints_response
from trio_uwsgi._http.response_headers import encoded_headers
from trio_uwsgi.errors import LocalProtocolError

pytestmark = pytest.mark.pure

DATE = b"Sun, 22 Nov 2026 10:00:00 GMT"
TYPE = (b"content-type", b"text/plain")
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"
OLD_KEEP = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"


def respond(request: bytes = GET) -> Response:
    """A response to `request`, not started."""
    (parsed,) = RequestParser(Limits(max_header_size=1000, max_headers=9, max_body=0)).feed(request)
    return Response(parsed)


def sent(request: bytes, status: int, headers: Any, pieces: list[bytes]) -> tuple[bytes, Response]:
    """The bytes of a whole response, and the response."""
    response = respond(request)
    response.start(status, headers)
    wire = b"".join([response.data(piece, n < len(pieces), DATE) for n, piece in enumerate(pieces, 1)])
    assert (True, True, True) == (response.started, response.sent_head, response.complete)
    return wire, response


def received(request: bytes, wire: bytes) -> tuple[int, dict[bytes, bytes], bytes, bool]:
    """What h11, as the client, makes of `wire`: status, headers, body, and whether the connection can be used again."""
    client = h11.Connection(h11.CLIENT)
    method, target, version = request.split(b"\r\n")[0].split(b" ")
    keep = [("Connection", "keep-alive")] if b"keep-alive" in request else []
    keep += [("Connection", "close")] if b"Connection: close" in request or request == OLD else []
    client.send(h11.Request(method=method, target=target, headers=[("Host", "h"), *keep]))
    client.send(h11.EndOfMessage())
    assert version in (b"HTTP/1.0", b"HTTP/1.1")
    client.receive_data(wire)
    body = b""
    status, headers = 0, {}
    while True:
        event = client.next_event()
        if event is h11.NEED_DATA:  # only the end of the connection can end this body
            client.receive_data(b"")
        elif isinstance(event, h11.Response):
            status, headers = event.status_code, dict(event.headers)
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            assert isinstance(event, h11.EndOfMessage)
            break
    assert b"" == client.trailing_data[0]
    return status, headers, body, client.states[h11.SERVER] is h11.DONE


@pytest.mark.parametrize("request_", [GET, CLOSE, OLD, OLD_KEEP, HEAD])
@pytest.mark.parametrize("pieces", [[b""], [b"hello"], [b"", b"hel", b"", b"lo", b""], [b"hel", b"lo"]])
@pytest.mark.parametrize("length", [False, True])
@pytest.mark.parametrize("status", [200, 404, 204, 304])
def test_round_trip(request_: bytes, pieces: list[bytes], length: bool, status: int) -> None:
    """Whatever the request, the status, the pieces and the lengths, a client reads the body and finds its end."""
    body = b"".join(pieces)
    headers = [TYPE, (b"Content-Length", b"%d" % len(body))] if length else [TYPE]
    wire, response = sent(request_, status, headers, pieces)
    bodyless = request_ == HEAD or status in (204, 304)
    got_status, got_headers, got_body, reusable = received(request_, wire)
    assert (status, b"" if bodyless else body) == (got_status, got_body)
    assert (b"text/plain", DATE, b"trio-uwsgi") == tuple(
        got_headers[name] for name in (b"content-type", b"date", b"server")
    )
    assert response.keep_alive is reusable
    unknown_end = request_ in (OLD, OLD_KEEP) and len(pieces) > 1 and not length and not bodyless
    assert (request_ not in (CLOSE, OLD) and not unknown_end) is reusable
    assert (b"content-length" not in got_headers) if status == 204 else True
    if length and status != 204:
        assert b"%d" % len(body) == got_headers[b"content-length"]


def test_bytes_of_a_small_response() -> None:
    """A response that is known whole has a length; these are its bytes."""
    wire, _ = sent(GET, 200, [TYPE], [b"hello"])
    assert (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ndate: Sun, 22 Nov 2026 10:00:00 GMT\r\n"
        b"server: trio-uwsgi\r\ncontent-length: 5\r\n\r\nhello"
    ) == wire


def test_head_without_a_body_has_no_length() -> None:
    """An application that sends nothing to HEAD has not said that the body is empty; one that sends the body has."""
    assert b"content-length" not in sent(HEAD, 200, [], [b""])[0]
    assert b"content-length: 5\r\n\r\n" in sent(HEAD, 200, [], [b"hello"])[0]


def test_reason_and_unknown_status() -> None:
    """The reason is the application's, else the usual one, else empty."""
    response = respond()
    response.start(299, [])
    assert response.data(b"", False, DATE).startswith(b"HTTP/1.1 299 \r\n")
    response = respond()
    response.start(200, [], b"Fine \xe9")
    assert response.data(b"", False, DATE).startswith(b"HTTP/1.1 200 Fine \xe9\r\n")
    response = respond()
    response.start(200, [])
    assert response.data(b"", False, DATE).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "own", [[(b"Date", b"now")], [(b"SERVER", b"mine")], [(b"date", b"now"), (b"server", b"mine")]]
)
def test_date_and_server_of_the_application(own: list[tuple[bytes, bytes]]) -> None:
    """Date and Server of the application replace ours."""
    wire, _ = sent(GET, 200, own, [b""])
    for name, value, ours in ((b"date", b"now", DATE), (b"server", b"mine", b"trio-uwsgi")):
        given = name in [own_name.lower() for own_name, _ in own]
        assert [value if given else ours] == re.findall(b"(?i)\r\n%b: ([^\r]*)" % name, wire)


def test_headers_as_lists() -> None:
    """ASGI allows any iterable of pairs."""
    wire, _ = sent(GET, 200, iter([[b"X-A", b"1"]]), [b""])
    assert b"\r\nX-A: 1\r\n" in wire


@pytest.mark.parametrize(
    ("value", "keep_alive"),
    [
        *(
            (b"close", False),
            (b"Close", False),
            (b" close\t", False),
            (b"keep-alive, close", False),
            (b",close,,", False),
        ),
        *((b"keep-alive", True), (b"Keep-Alive , keep-alive", True), (b"", True), (b",", True)),
    ],
)
def test_connection_of_the_application(value: bytes, keep_alive: bool) -> None:
    """The application may close the connection; what it says to keep it is dropped."""
    wire, response = sent(GET, 200, [(b"Connection", value)], [b""])
    assert (keep_alive, 0 if keep_alive else 1) == (response.keep_alive, wire.lower().count(b"connection:"))


@pytest.mark.parametrize(
    "header", [(b"Transfer-Encoding", b"Chunked"), (b"Keep-Alive", b"timeout=5"), (b"Proxy-Connection", b"keep-alive")]
)
def test_headers_of_another_connection(header: tuple[bytes, bytes]) -> None:
    """What a proxying application passed on about its own connection is dropped: the server frames the body."""
    wire, _ = sent(GET, 200, [header], [b"abc"])
    assert header[0].lower() not in wire.lower()
    assert wire.endswith(b"content-length: 3\r\n\r\nabc")


def test_lists_and_repeated_fields_are_one() -> None:
    """Members in one field and in several say the same (RFC 9110 5.3): they close, or not, and are left out."""
    for headers in (
        [(b"connection", b"close, keep-alive")],
        [(b"connection", b"close"), (b"Connection", b"keep-alive")],
    ):
        wire, response = sent(GET, 200, headers, [b""])
        assert (False, 1) == (response.keep_alive, wire.lower().count(b"connection:"))
    wire, _ = sent(GET, 200, [(b"transfer-encoding", b"chunked, chunked"), (b"transfer-encoding", b"")], [b""])
    assert b"transfer-encoding" not in wire


@pytest.mark.parametrize(
    "headers",
    [
        *([(b"content-length", b"5")], [(b"content-length", b" 5\t")], [(b"Content-Length", b"5, 5")]),
        *([(b"Content-Length", b"5,05 ,5")], [(b"content-length", b"5"), (b"Content-Length", b"5")]),
        [(b"content-length", b"5, 5"), (b"content-length", b" 5")],
    ],
)
@pytest.mark.parametrize("request_", [GET, HEAD])
def test_equal_lengths_are_one(request_: bytes, headers: Any) -> None:
    """Equal numbers in a list, or in several fields, and blanks around them make one Content-Length (RFC 9110 8.6)."""
    wire, response = sent(request_, 200, headers, [b"hello"])
    assert [b"5"] == re.findall(b"(?i)content-length: ([^\r]*)", wire)
    assert (b"5", True) == (received(request_, wire)[1][b"content-length"], response.keep_alive)
    assert b"content-length" not in sent(request_, 204, headers, [b"hello"])[0].lower()


def test_the_message_about_hop_by_hop_headers() -> None:
    """What is refused about a connection says of which kind the header is, and what to do."""
    with pytest.raises(LocalProtocolError, match=r"upgrade: b'h2' is a hop-by-hop header.*leave it out"):
        respond().start(200, [(b"Upgrade", b"h2")])


def test_closing_from_outside() -> None:
    """A server that stops sets keep_alive to False, and a header tells the client."""
    response = respond()
    response.start(200, [])
    response.keep_alive = False
    assert b"\r\nconnection: close\r\n" in response.data(b"", False, DATE)


REFUSED = {
    "CR": (200, [(b"X", b"a\rb")], b""),
    "LF": (200, [(b"X", b"a\nSet-Cookie: b")], b""),
    "CRLF": (200, [(b"X", b"a\r\n")], b""),
    "NUL": (200, [(b"X", b"\0")], b""),
    "empty name": (200, [(b"", b"a")], b""),
    "colon in name": (200, [(b"X:", b"a")], b""),
    "space in name": (200, [(b"X ", b"a")], b""),
    "LF in name": (200, [(b"X\n", b"a")], b""),
    "text": (200, [("X", "a")], b""),
    "text value": (200, [(b"X", "a")], b""),
    "transfer-encoding": (200, [(b"Transfer-Encoding", b"gzip, chunked")], b""),
    "upgrade": (200, [(b"upgrade", b"h2c")], b""),
    "connection": (200, [(b"connection", b"upgrade")], b""),
    "length": (200, [(b"content-length", b"-1")], b""),
    "length text": (200, [(b"content-length", b"five")], b""),
    "length list": (200, [(b"content-length", b"5, 6")], b""),
    "length list of one": (200, [(b"content-length", b"5,")], b""),
    "length of two words": (200, [(b"content-length", b"5 5")], b""),
    "empty length": (200, [(b"content-length", b"")], b""),
    "long length": (200, [(b"content-length", b"1" * 19)], b""),
    "long length in a list": (200, [(b"content-length", b"1, " + b"1" * 19)], b""),
    "two lengths": (200, [(b"content-length", b"5"), (b"Content-Length", b"6")], b""),
    "trailer": (200, [(b"Trailer", b"x")], b""),
    "empty trailer": (200, [(b"Trailer", b"")], b""),
    "te": (200, [(b"TE", b"trailers")], b""),
    "connection list": (200, [(b"Connection", b"Upgrade, Keep-Alive")], b""),
    "connection of another header": (200, [(b"Connection", b"close, X-Foo")], b""),
    "identity": (200, [(b"Transfer-Encoding", b"identity")], b""),
    "100": (100, [], b""),
    "0": (0, [], b""),
    "1000": (1000, [], b""),
    "reason": (200, [], b"OK\r\nX: y"),
    "text for a status": ("200", [], b""),
    "a part of a status": (200.5, [], b""),
    "three": (200, [(b"x", b"y", b"z")], b""),
    "one": (200, [(b"x",)], b""),
    "number for a header": (200, [5], b""),
}


@pytest.mark.parametrize(("status", "headers", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_starts(status: object, headers: Any, reason: bytes) -> None:
    """What cannot or must not be sent is refused, every time, and what was said before stays."""
    response = respond()
    response.start(404, [TYPE])
    for _ in range(2):
        with pytest.raises(LocalProtocolError) as caught:
            response.start(status, headers, reason)
        assert 500 == caught.value.status_hint
    assert response.data(b"x", False, DATE).startswith(b"HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\n")


def test_a_whole_number_for_a_status() -> None:
    """Whatever its type."""
    for status in (404.0, HTTPStatus.NOT_FOUND):
        response = respond()
        response.start(status, [])
        assert 404 == response.status
        assert response.data(b"", False, DATE).startswith(b"HTTP/1.1 404 Not Found\r\n")


def test_starting_again() -> None:
    """Until the first data, the last start counts (WSGI's exc_info); afterwards it is refused."""
    response = respond()
    response.start(200, [(b"content-length", b"5"), (b"connection", b"close"), TYPE])
    response.start(500, [])
    wire = response.data(b"oops!!", True, DATE)
    assert (True, False) == (response.sent_head, response.complete)
    assert wire.startswith(b"HTTP/1.1 500 Internal Server Error\r\ndate:")
    assert b"\r\ntransfer-encoding: chunked\r\n\r\n6\r\noops!!\r\n" in wire
    with pytest.raises(LocalProtocolError, match="already"):
        response.start(200, [])
    assert b"0\r\n\r\n" == response.data(b"", False, DATE)
    assert response.keep_alive


def test_data_out_of_order() -> None:
    """A body before the headers, or after the end, is refused."""
    response = respond()
    with pytest.raises(LocalProtocolError, match="before"):
        response.data(b"", False, DATE)
    response.start(200, [])
    response.data(b"", False, DATE)
    with pytest.raises(LocalProtocolError, match="after"):
        response.data(b"", False, DATE)


@pytest.mark.parametrize(
    ("pieces", "word", "sent_head"),
    [
        ([b"123456"], "longer", False),
        ([b"123"], "shorter", False),
        ([b"123", b"456"], "longer", True),
        ([b"1", b""], "shorter", True),
    ],
)
def test_wrong_lengths(pieces: list[bytes], word: str, sent_head: bool) -> None:
    """A body that is not as long as its Content-Length said is refused, and the connection is not kept."""
    response = respond()
    response.start(200, [(b"content-length", b"5")])
    for piece in pieces[:-1]:
        response.data(piece, True, DATE)
    with pytest.raises(LocalProtocolError, match=word):
        response.data(pieces[-1], False, DATE)
    assert (sent_head, False, False) == (response.sent_head, response.complete, response.keep_alive)


def test_left() -> None:
    """`left` says how much of the Content-Length is still to come; -1 where nothing was promised or no body is sent."""
    response = respond()
    assert -1 == response.left
    response.start(200, [(b"content-length", b"5")])
    assert 5 == response.left
    response.data(b"123", True, DATE)
    assert 2 == response.left
    head = respond(HEAD)
    head.start(200, [(b"content-length", b"5")])
    assert -1 == head.left


def test_error_response() -> None:
    """An error answers with its status and a line of text, and closes; HEAD gets no body."""
    wire = error_response(431, "the head is too long", DATE)
    status, headers, body, reusable = received(GET, wire)
    assert (431, b"the head is too long\n", False) == (status, body, reusable)
    assert b"text/plain; charset=utf-8" == headers[b"content-type"]
    assert wire.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" == error_response(431, "the head is too long", DATE, True)


def test_continue() -> None:
    """The interim response is complete in itself."""
    assert CONTINUE == b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "status", "headers", "announced", "trailed"),
    [
        (GET, 200, [TYPE], b"\r\ntrailer: x-a, x-b\r\n", b"2\r\nab\r\n1\r\nc\r\n0\r\nx-a: 1\r\nX-B: 2\r\n\r\n"),
        (CLOSE, 200, [], b"\r\ntrailer: x-a, x-b\r\n", b"2\r\nab\r\n1\r\nc\r\n0\r\nx-a: 1\r\nX-B: 2\r\n\r\n"),
        (GET, 200, [(b"content-length", b"3")], b"", b"abc"),  # the length ends it
        (OLD, 200, [], b"", b"abc"),
        (HEAD, 200, [], b"", b""),
        (GET, 304, [], b"", b""),
    ],
)
def test_trailers(request_: bytes, status: int, headers: Any, announced: bytes, trailed: bytes) -> None:
    """They follow a body in chunks; where there are no chunks, they are neither sent nor announced."""
    response = respond(request_)
    response.start(status, headers)
    response.announce_trailers([b"x-a", b"x-b"])
    wire = response.data(b"ab", True, DATE) + response.data(b"c", True, DATE)
    assert not response.complete
    wire += response.trailers([(b"x-a", b"1"), (b"X-B", b"2")])
    assert response.complete
    head, _, body = wire.partition(b"\r\n\r\n")
    assert (announced, trailed) == (announced if announced in head else b"missing", body)
    assert bool(announced) == (b"trailer" in head.lower())
    assert (status, trailed and b"abc") == (received(request_, wire)[0], received(request_, wire)[2])


def test_no_trailers_are_announced() -> None:
    """An application need not know their names when its response begins."""
    response = respond()
    response.start(200, [])
    response.announce_trailers([])
    assert b"trailer" not in response.data(b"", True, DATE)
    assert b"0\r\n\r\n" == response.trailers([])
    with pytest.raises(LocalProtocolError, match="has control characters"):
        respond().announce_trailers([b"x\r\nevil: 1"])


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ([(b"content-length", b"1")], "cannot be a trailer"),
        ([(b"x", b"1"), (b"Transfer-Encoding", b"chunked")], "cannot be a trailer"),
        ([(b"Set-Cookie", b"a=b")], "cannot be a trailer"),
        ([(b"x y", b"1")], "is not a header name"),
        ([(b"x", b"1\r\n")], "has control characters"),
    ],
)
def test_refused_trailers(headers: Any, word: str) -> None:
    """What would change how the message is read, and what is not a header."""
    response = respond()
    response.start(200, [])
    response.data(b"a", True, DATE)
    with pytest.raises(LocalProtocolError, match=word):
        response.trailers(headers)
    assert not response.complete


def test_trailers_after_a_short_body() -> None:
    """The Content-Length counts as without trailers."""
    response = respond()
    response.start(200, [(b"content-length", b"3")])
    response.data(b"a", True, DATE)
    with pytest.raises(LocalProtocolError, match="shorter"):
        response.trailers([])


def test_early_hints() -> None:
    """A response before the response, for h11 too."""
    wire = hints_response([(b"link", b"</a.css>; rel=preload"), [b"Link", b"</b.js>; rel=preload"]])
    assert b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nLink: </b.js>; rel=preload\r\n\r\n" == wire
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    client.receive_data(wire)
    event = client.next_event()
    assert isinstance(event, h11.InformationalResponse)
    assert 103 == event.status_code


@pytest.mark.parametrize(
    ("header", "word"),
    [
        ((b"content-length", b"1"), "cannot be an early hint"),
        ((b"Connection", b"close"), "cannot be an early hint"),
        ((b"link", b"\n"), "has control characters"),
        (("link", b""), "is not a pair of bytes"),
    ],
)
def test_refused_hints(header: Any, word: str) -> None:
    """What is about the connection or the body, and what is not a header."""
    with pytest.raises(LocalProtocolError, match=word):
        hints_response([header])


def test_caches_are_bounded() -> None:
    """Headers and reasons that are never the same do not grow the caches beyond their bound; cookies are not kept."""
    response = respond()
    for n in range(3000):
        response.start(200, [(b"x-id", b"%d" % n)], b"%d" % n)
        assert len(response_headers.FIELDS) <= 1024
    assert len(response_module._status_lines) <= 1024
    response_headers.FIELDS.clear()
    response.start(200, [(b"Set-Cookie", b"a=b"), (b"x-long", b"y" * 300), TYPE])
    assert [TYPE] == list(response_headers.FIELDS)


@pytest.mark.parametrize(
    ("request_", "headers", "pieces", "body"),
    [
        (GET, [], [(b"abc", True), (b"", True), (b"de", False)], b"abcde"),
        (GET, [], [(b"abc", True), (b"", False)], b"abc"),
        (GET, [], [(b"abc", False)], b"abc"),
        (GET, [(b"content-length", b"5")], [(b"abc", True), (b"de", False)], b"abcde"),
        (HEAD, [], [(b"abc", False)], b""),
        (HEAD, [(b"content-length", b"5")], [(b"abc", True), (b"de", False)], b""),
        (OLD, [], [(b"abc", True), (b"de", False)], b"abcde"),
        (CLOSE, [], [(b"abc", False)], b"abc"),
    ],
)
def test_pieces_that_are_not_in_memory(
    request_: bytes, headers: list[tuple[bytes, bytes]], pieces: list[tuple[bytes, bool]], body: bytes
) -> None:
    """Their sender puts them between two texts; a single one has a length, though the application gave none."""
    response = respond(request_)
    response.set_length(3)  # not started: nothing happens
    response.start(200, headers)
    if len(pieces) == 1:
        response.set_length(len(pieces[0][0]))
        response.set_length(99)  # it has one
    wire = response.data(b"", True, DATE)
    response.set_length(99)  # it is sent
    for piece, more in pieces:
        before, after = response.surround(len(piece), more)
        wire += before + (b"" if response.bodyless else piece) + after
    assert response.complete
    status, found, content, _ = received(request_, wire)
    assert (200, body) == (status, content)
    if len(pieces) == 1:
        assert b"3" == found[b"content-length"]


def test_pieces_that_do_not_fit() -> None:
    """More or fewer bytes than the Content-Length are an error, and the connection cannot be used again."""
    for count, more, problem in ((6, True, "longer"), (4, False, "shorter")):
        response = respond()
        response.start(200, [(b"content-length", b"5")])
        response.data(b"", True, DATE)
        with pytest.raises(LocalProtocolError, match=f"the body is {problem} than its content-length"):
            response.surround(count, more)
        assert not response.keep_alive


def test_headers_of_wsgi() -> None:
    """They are encoded once while they repeat; cookies are not kept; what is no pair of texts raises."""
    headers = [("X", "é"), ("Set-Cookie", "a=b")]
    first = encoded_headers(headers)
    assert [(b"X", b"\xe9"), (b"Set-Cookie", b"a=b")] == first
    again = encoded_headers(headers)
    assert again[0] is first[0]
    assert again[1] is not first[1]
    assert first == encoded_headers([*map(list, headers)])
    for wrong in (("X", 1), ("X",), ("X", "\u20ac"), None):
        with pytest.raises((AttributeError, TypeError, ValueError)):
            encoded_headers([wrong])  # type: ignore[list-item]
    for n in range(3000):
        encoded_headers([("x-id", str(n))])
        assert len(response_headers._pairs) <= 1024
