"""Chunked bodies, read whole, byte by byte and cut at random."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from trio_uwsgi._http.chunked import ChunkedBody
from trio_uwsgi._http.limits import Limits
from trio_uwsgi.errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[..., Any]  # the Outcome of conftest.py, which tests cannot import

pytestmark = pytest.mark.pure

HEAD = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
TAIL = b"GET /tail HTTP/1.1\r\nHost: tail\r\n\r\n"

BAD = {
    "no size": b"\r\n",
    "no digits": b"xyz\r\n",
    "prefix": b"0x3\r\nabc\r\n",
    "sign": b"+3\r\nabc\r\n",
    "negative": b"-3\r\nabc\r\n",
    "space before": b" 3\r\nabc\r\n",
    "space after": b"3 \r\nabc\r\n",
    "tab after": b"3\t\r\nabc\r\n",
    "space before the extension": b"3 ;a\r\nabc\r\n",
    "underscore": b"0_3\r\nabc\r\n",
    "17 digits": b"00000000000000003\r\nabc\r\n",
    "bare LF": b"3\nabc\r\n",
    "bare CR": b"3\rabc\r\n",
    "CR in the extension": b"3;a\rb\r\nabc\r\n",
    "NUL in the extension": b"3;\0\r\nabc\r\n",
    "empty extension": b"3;\r\nabc\r\n",
    "blank extension": b"3; \r\nabc\r\n",
    "extension without a name": b"3;=\r\nabc\r\n",
    "value without a name": b"3;=a\r\nabc\r\n",
    "name without its value": b"3;a=\r\nabc\r\n",
    "name with a space": b"3;a b\r\nabc\r\n",
    "name with a colon": b"3;a:b\r\nabc\r\n",
    "quoted name": b'3;"a"\r\nabc\r\n',
    "value with a slash": b"3;a=b/c\r\nabc\r\n",
    "value without its end": b'3;a="b\r\nabc\r\n',
    "value with an escaped end": b'3;a="b\\"\r\nabc\r\n',
    "something behind a value": b'3;a="b"c\r\nabc\r\n',
    "two values": b"3;a=b=c\r\nabc\r\n",
    "two semicolons": b"3;;a\r\nabc\r\n",
    "semicolon at the end": b"3;a;\r\nabc\r\n",
    "space at the end": b"3;a \r\nabc\r\n",
    "non-ascii name": b"3;\xe9\r\nabc\r\n",
    "DEL in a quoted value": b'3;a="\x7f"\r\nabc\r\n',
    "bad extension of the last chunk": b"3\r\nabc\r\n0;\r\n\r\n",
    "longer than its size": b"3\r\nabcd\r\n0\r\n\r\n",
    "bare LF after the data": b"3\r\nabc\n0\r\n\r\n",
    "bare CR after the data": b"3\r\nabc\r0\r\n\r\n",
    "trailer without a colon": b"0\r\nabc\r\n\r\n",
    "trailer with a space before the colon": b"0\r\nX : y\r\n\r\n",
    "folded trailer": b"0\r\nX: y\r\n z\r\n\r\n",
    "trailer with a bare LF": b"0\r\nX: y\n\r\n",
    "bare LF at the end": b"0\r\n\n",
    "request instead of the end": b"0\r\n" + TAIL,
}


@pytest.mark.parametrize(
    "extension",
    [
        *(b";a", b";a=b", b";a;b;c=d", b"; a", b";\ta = b", b";a=b ;c", b"; a ; b = c\t;d", b";a=1"),
        *(b';a=""', b';a="b"', b';a="b c;d=e/\xe9"', b';a="b\\"c"', b';a="\\\\"', b';a = "b";c', b";!#$%&'*+-.^_`|~=~"),
    ],
)
def test_extensions(read: Read, extension: bytes) -> None:
    """What the grammar of extensions has is read and dropped, on any chunk."""
    body = b"3%b\r\nabc\r\n0%b\r\n\r\n" % (extension, extension)
    assert [b"abc", b""] == read(HEAD + body + TAIL).bodies


def test_a_long_extension_is_judged_at_once() -> None:
    """A line of nothing but names and blanks that fails at its end takes time in proportion to its length."""
    for line in (
        b"3" + b"; a \t = b" * 6000 + b" x\r\n",
        b"3;a" + b" " * 60_000 + b"x\r\n",
        b'3;a="' + b"\\a" * 30_000,
    ):
        chunks: list[bytes] = []
        body = ChunkedBody(0, 65_536, 5)
        with pytest.raises(RemoteProtocolError):
            body.feed(line + b"\r\n", 0, chunks)


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_malformed_bodies(read: Read, body: bytes) -> None:
    """A chunked body that is not exactly one is an error, and its request stays incomplete."""
    result = read(HEAD + body)
    assert (400, False, 1) == (result.status, result.requests[0].complete, len(result.requests))


def test_body_limit(read: Read) -> None:
    """A chunk that would pass the limit is refused at its size line; just the limit passes."""
    chunk = b"3e8\r\n" + b"x" * 1000 + b"\r\n"
    assert [10_000, 0] == [len(body) for body in read(HEAD + chunk * 10 + b"0\r\n\r\n" + TAIL).bodies]
    result = read(HEAD + chunk * 9 + b"3E9\r\n")
    assert (413, [9000]) == (result.status, [len(body) for body in result.bodies])
    assert 413 == read(HEAD + b"ffffffffffffffff\r\n").status


def test_extension_limit(read: Read) -> None:
    """Extensions are paid for with body bytes: long ones on tiny chunks add up, those of large chunks do not."""
    limits = Limits(max_header_size=200, max_headers=5, max_body=0)
    signed = b"100;chunk-signature=" + b"f" * 64 + b"\r\n" + b"x" * 256 + b"\r\n"
    assert [25_600] == [len(body) for body in read(HEAD + signed * 100 + b"0\r\n\r\n", limits).bodies]
    assert 431 == read(HEAD + (b"1;" + b"e" * 40 + b"\r\nx\r\n") * 100, limits).status
    assert 431 == read(HEAD + b"1;" + b"e" * 300, limits).status
    both = b"1;" + b"e" * 150 + b"\r\nx\r\n0\r\nX: " + b"y" * 150 + b"\r\n\r\n"
    assert (None, [b"x"]) == (read(HEAD + both, limits).status, read(HEAD + both, limits).bodies)
    assert 431 == read(HEAD + b"1;" + b"e" * 300 + b"\r\nx\r\n0\r\n\r\n", limits).status


def test_tiny_chunks(read: Read) -> None:
    """Chunks of one byte without extensions cost nothing of the limit."""
    limits = Limits(max_header_size=100, max_headers=5, max_body=0)
    assert [b"x" * 200] == read(HEAD + b"1\r\nx\r\n" * 200 + b"0\r\n\r\n", limits).bodies


def test_trailer_limits(read: Read) -> None:
    """Trailers are bounded in size and in number, also when they never end."""
    assert read(HEAD + b"0\r\n" + b"X: y\r\n" * 20 + b"\r\n").status is None
    assert 431 == read(HEAD + b"0\r\n" + b"X: y\r\n" * 21 + b"\r\n").status
    assert 431 == read(HEAD + b"0\r\nX: " + b"y" * 3000).status
    assert 431 == read(HEAD + b"0\r\n" + (b"X: " + b"y" * 1000 + b"\r\n") * 3).status


def test_pieces_are_given_as_they_come() -> None:
    """Body bytes are handed on before their chunk is complete, and the position says what was used."""
    body = ChunkedBody(0, 100, 5)
    chunks: list[bytes] = []
    assert 5 == body.feed(b"4\r\nab", 0, chunks)
    assert ([b"ab"], False) == (chunks, body.complete)
    assert 9 == body.feed(b"cd\r\n0\r\n\r\nGET", 0, chunks)
    assert ([b"ab", b"cd"], True) == (chunks, body.complete)
