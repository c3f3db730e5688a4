"""Heads that `plain_heads.c` reads where it is compiled: the requests are what llhttp and `http1.py` make of them.

A head that arrives in two pieces is always read by llhttp, so each head is read whole and cut. The tests of
`test_http1.py` and `test_fuzz.py` do that with all that they read, too.
"""

from __future__ import annotations

import random
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_uwsgi._http.heads import read_plain
from trio_uwsgi._http.http1 import RequestParser
from trio_uwsgi._http.limits import Limits

if TYPE_CHECKING:
    from trio_uwsgi._http.request import Request

pytestmark = pytest.mark.pure

LIMITS = Limits(max_header_size=2000, max_headers=20, max_body=1000)
PARTS = ("method", "target", "http_version", "headers", "path", "raw_path", "query")
FRAMING = ("keep_alive", "content_length", "chunked", "expect_continue", "upgrade", "complete")
HEAD = b"GET /a?b HTTP/1.1\r\nHost: h\r\nX-Name: value\r\n\r\n"
BROWSER = (
    b"POST /shop/item?id=7&lang=de HTTP/1.1\r\nHost: shop.example:8080\r\n"
    b"Connection: keep-alive\r\nContent-Length: 4\r\n"
    b'sec-ch-ua: "Chromium";v="140", "Not=A?Brand";v="24"\r\nAccept: text/html,*/*;q=0.8\r\nCookie: a=b; c="d\xe9"\r\n'
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept-Language:\tde-DE, de \r\n\r\n"
)


def result(*pieces: bytes) -> tuple[list[list[object]], str, int, str, bool]:
    """All that a parser says of the input in these pieces."""
    parser = RequestParser(LIMITS)
    requests: list[Request] = [request for piece in pieces for request in parser.feed(piece)]
    seen = [[getattr(request, name) for name in PARTS + FRAMING] for request in requests]
    error = parser.error
    return seen, parser.method, error.status_hint if error else 0, str(error or ""), parser.idle


def same(head: bytes) -> None:
    """Read the head whole, then cut, and after another one; what is made of it must be the same."""
    assert result(head) == result(head[:3], head[3:])
    before = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    assert result(before + head) == result(before, head[:3], head[3:])


def test_whether_they_are_read_in_c() -> None:
    """Where it is compiled, plain heads are read by it; elsewhere no head is."""
    compiled = find_spec("trio_uwsgi._http.plain_heads") is not None
    for head in (HEAD, BROWSER, b"DELETE / HTTP/1.0\r\n\r\n"):
        found = read_plain(b"x" + head + b"rest", 1, 2000, 20)
        assert compiled == (found is not None)
        if found is not None:
            assert len(head) + 1 == found[0]


@pytest.mark.parametrize(
    "head",
    [
        b"PROPFIND / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.2\r\nHost: h\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX-Empty:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX A: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX-A : 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1234567890123456789\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 20 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 2000 + b"\r\n\r\n",
        *(HEAD[:end] for end in range(len(HEAD))),
    ],
)
def test_what_is_not_plain(head: bytes) -> None:
    """These are left to llhttp, in every build, and so is what has not arrived wholly."""
    assert read_plain(head, 0, 2000, 20) is None
    same(head)


def test_every_byte_in_every_place() -> None:
    """Whatever stands in place of a byte of the head, or before one."""
    for place in range(len(HEAD)):
        for byte in range(256):
            same(HEAD[:place] + bytes([byte]) + HEAD[place + 1 :])
            if byte < 128:
                same(HEAD[:place] + bytes([byte]) + HEAD[place:])


def test_names_that_share_a_place() -> None:
    """Many names, long ones and short ones, in any case: each is lower-cased."""
    rng = random.Random(3)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_!~"
    for _ in range(3000):
        names = ["".join(rng.choices(letters, k=rng.choice((1, 2, 3, 8, 30, 64, 65, 90)))) for _ in range(5)]
        same(b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(b"%b: v\r\n" % name.encode() for name in names) + b"\r\n")


lines = st.sampled_from(
    [
        *(b"Host: h", b"hOST: [::1]:80", b"Connection: close", b"connection: Keep-Alive, x", b"Connection: upgrade"),
        *(
            b"Content-Length: 3",
            b"Content-Length: 0003",
            b"content-length: 0",
            b"Content-Length: 2000",
            b"Content-Length: 1 ",
        ),
        *(b"Cookie: a=b", b"X: \xff\t\xfe", b"X:v", b"X-Long-Name-Of-A-Header: value", b"Accept: */*", b"Upgrade: x"),
        *(b"Host: user@h", b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"X:", b"X\x00: y", b": y", b"X"),
    ]
)
first_lines = st.builds(
    b"%b %b HTTP/%b".__mod__,
    st.tuples(
        st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"get", b"GETS", b"TRACE"]),
        st.sampled_from(
            [b"/", b"/a/%20b?c=%2F&d", b"//h/", b"/?", b"/??", b"/a#b", b"*", b"a", b"/\x80", b"/a b", b"http://x/"]
        ),
        st.sampled_from([b"1.1", b"1.1", b"1.0", b"1.9", b"2.0", b"1.", b"11"]),
    ),
)


@given(first_lines, st.lists(lines, max_size=8), st.binary(max_size=8))
def test_made_heads(first: bytes, headers: list[bytes], rest: bytes) -> None:
    """Heads of lines that fit together, and of others."""
    same(b"\r\n".join([first, *headers, b"", b""]) + rest)
