"""RFC 9110 and 9112 as tables of requests, over a real socket, in every mode: the response, the request as the
application gets it, and whether the next request on the connection is served or the connection ends.

A row is `name: (request, status, what the application returns)`. Each request is followed by another one, `TAIL`, in
the same write: if the connection stays open, it is answered, and no byte of the first was taken for it; otherwise not
one more byte arrives. Every response is parsed strictly, and no row causes an error in the server's log. Where the RFCs
leave a status open, all valid ones are listed.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.interop.peers import APPS, TIMEOUT, Program, free_port

pytestmark = pytest.mark.real

MODES = {
    "asgi-tasks": ["asgi"],
    "asgi-processes": ["asgi", "--processes", "2"],
    "wsgi-tasks": ["wsgi"],
    "wsgi-threads": ["wsgi", "--threads", "4"],
    "wsgi-processes": ["wsgi", "--processes", "2"],
    "wsgi-processes-threads": ["wsgi", "--processes", "2", "--threads", "2"],
}
H = b"Host: h\r\n"
GET = b"GET / HTTP/1.1\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
TAIL = b"GET /tail HTTP/1.1\r\nHost: tail\r\n\r\n"
MAX_BODY = 100_000
SOON = 5.0  # seconds in which a connection ends that is to end

Status = int | tuple[int, ...]
Row = tuple[bytes, int, str]

# ----- answered by the application; the connection survives

SERVED: dict[str, Row] = {
    # Methods: RFC 9110 9.1, 16.1.1; any token may be one, and its registry grows.
    **{
        f"method {name}": (name.encode() + b" / HTTP/1.1\r\n" + H + b"\r\n", 200, f"{name} / h 0")
        for name in (
            *("GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "ACL", "BASELINE-CONTROL", "BIND"),
            *("CHECKIN", "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL"),
            *("MKREDIRECTREF", "MKWORKSPACE", "MOVE", "ORDERPATCH", "PROPFIND", "PROPPATCH", "QUERY", "REBIND"),
            *("REPORT", "SEARCH", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE", "UPDATEREDIRECTREF"),
            *("VERSION-CONTROL", "BAN", "PURGE", "M-SEARCH", "DESCRIBE", "get", "FOO", "X'Y!#", "CONNECTED"),
        )
    },
    # Targets: RFC 9112 3.2, RFC 3986.
    "path": (b"GET /a/b.c HTTP/1.1\r\n" + H + b"\r\n", 200, "GET /a/b.c h 0"),
    "percent-encoded": (b"GET /a%20b%2Fc%C3%A4 HTTP/1.1\r\n" + H + b"\r\n", 200, "GET /a b/cä h 0"),
    "no percent-encoding": (b"GET /100%zz% HTTP/1.1\r\n" + H + b"\r\n", 200, "GET /100%zz% h 0"),
    "query with question marks": (b"GET /a?b=/?c HTTP/1.1\r\n" + H + b"\r\n", 200, "GET /a h 0"),
    "sub-delims": (b"GET /a;b=c,d!$&'()*+:@~ HTTP/1.1\r\n" + H + b"\r\n", 200, "GET /a;b=c,d!$&'()*+:@~ h 0"),
    "two slashes": (b"GET //x/p HTTP/1.1\r\n" + H + b"\r\n", 200, "GET //x/p h 0"),
    "dots": (b"GET /../a/./b HTTP/1.1\r\n" + H + b"\r\n", 200, "GET /../a/./b h 0"),
    "absolute": (b"GET http://o:81/p?q HTTP/1.1\r\n" + H + b"\r\n", 200, "GET /p o:81 0"),
    "absolute, capitals": (b"GET HTTP://o/p HTTP/1.1\r\n" + H + b"\r\n", 200, "GET /p o 0"),
    "absolute, no path": (b"GET http://o HTTP/1.1\r\n" + H + b"\r\n", 200, "GET / o 0"),
    "absolute, query only": (b"GET http://o?q HTTP/1.1\r\n" + H + b"\r\n", 200, "GET / o 0"),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n", 200, "OPTIONS  h 0"),
    # Versions: RFC 9110 2.5, RFC 9112 2.3.
    "1.0, kept": (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", 200, "GET / ? 0"),
    **{f"1.{n}": (b"GET / HTTP/1.%d\r\n" % n + H + b"\r\n", 200, "GET / h 0") for n in range(1, 10)},
    "empty line before": (b"\r\n" + GET + H + b"\r\n", 200, "GET / h 0"),
    # Host: RFC 9110 7.2, RFC 3986 3.2.2 and 3.2.3.
    **{
        f"host {host!r}": (GET + b"Host: " + host.encode() + b"\r\n\r\n", 200, f"GET / {host} 0")
        for host in (
            *("h:80", "h:", "h:000080", "h:100000", "H.EXAMPLE", "1.2.3.4", "[::1]", "[::1]:80", "[v1.a:b]", "a_b-c~"),
            *("", "a%20b", "a!$&'()*+,;=b", "xn--bcher-kva.example."),
        )
    },
    # Fields: RFC 9110 5.5, RFC 9112 5.
    "no white space": (GET + b"Host:h\r\nX:y\r\n\r\n", 200, "GET / h 0"),
    "white space around a value": (GET + b"Host: \t h \t\r\n\r\n", 200, "GET / h 0"),
    "empty value": (GET + H + b"X:\r\nY: \r\n\r\n", 200, "GET / h 0"),
    "obs-text": (GET + H + b"X: \x80\xff\r\n\r\n", 200, "GET / h 0"),
    "every tchar in a name": (GET + H + b"!#$%&'*+-.^_`|~09azAZ: x\r\n\r\n", 200, "GET / h 0"),
    # Connection: RFC 9110 7.6.1, 7.8, 10.1.1.
    "upgrade that the server does not offer": (
        GET + H + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        200,
        "GET / h 0",
    ),
    "upgrade of a POST": (
        *(POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello", 200, "POST /p h 5"),
    ),
    "connection: other": (GET + H + b"Connection: te, x-foo\r\n\r\n", 200, "GET / h 0"),
    "expectation that is met": (POST + b"Expect: 100-Continue\r\nContent-Length: 2\r\n\r\nab", 200, "POST /p h 2"),
    # Content-Length: RFC 9110 8.6.
    "length": (POST + b"Content-Length: 5\r\n\r\nhello", 200, "POST /p h 5"),
    "length of 0": (POST + b"Content-Length: 0\r\n\r\n", 200, "POST /p h 0"),
    "length with zeros": (POST + b"Content-Length: 0005\r\n\r\nhello", 200, "POST /p h 5"),
    "body of a GET": (GET + H + b"Content-Length: %d\r\n\r\n" % len(TAIL) + TAIL, 200, f"GET / h {len(TAIL)}"),
    # Chunks: RFC 9112 7.1.
    "chunks": (CHUNKED + b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n", 200, "POST /p h 5"),
    "no chunk": (CHUNKED + b"0\r\n\r\n", 200, "POST /p h 0"),
    "hexadecimal": (CHUNKED + b"a\r\n0123456789\r\n0B\r\n0123456789a\r\n000\r\n\r\n", 200, "POST /p h 21"),
    "coding in capitals": (POST + b"Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 200, "POST /p h 1"),
    "chunk that looks like an end": (CHUNKED + b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", 200, "POST /p h 5"),
    "trailers": (CHUNKED + b"1\r\na\r\n0\r\nX: y\r\nContent-Length: 9\r\nHost: evil\r\n\r\n", 200, "POST /p h 1"),
    **{
        f"extension {extension!r}": (
            *(
                CHUNKED + b"2" + extension.encode() + b"\r\nab\r\n0" + extension.encode() + b"\r\n\r\n",
                200,
                "POST /p h 2",
            ),
        )
        for extension in (";a", ";a=b", ';a="b"', ';a="\\"; x"', ";a=b;c", '; a=b; c="d;e=f"', ";a = b")
    },
}

# ----- answered by the application; the connection ends

LAST: dict[str, Row] = {
    "1.0": (b"GET / HTTP/1.0\r\n\r\n", 200, "GET / ? 0"),
    "1.0 with a host": (b"GET / HTTP/1.0\r\n" + H + b"\r\n", 200, "GET / h 0"),
    "1.0, absolute": (b"GET http://o/p HTTP/1.0\r\n\r\n", 200, "GET /p o 0"),
    "1.0, an expectation": (
        *(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na", 200, "POST / ? 1"),
    ),
    "close": (GET + H + b"Connection: close\r\n\r\n", 200, "GET / h 0"),
    "Close in a list": (GET + H + b"Connection: te, Close\r\n\r\n", 200, "GET / h 0"),
    "close and keep-alive": (GET + H + b"Connection: keep-alive\r\nConnection: close\r\n\r\n", 200, "GET / h 0"),
    "1.2, close": (b"GET / HTTP/1.2\r\n" + H + b"Connection: close\r\n\r\n", 200, "GET / h 0"),
}

# ----- refused by the server, which ends the connection: the start of the next request is unknown

VERSIONS: dict[bytes, Status] = {
    **dict.fromkeys((b"HTTP/2.0", b"HTTP/3.0", b"HTTP/9.9"), 505),
    **dict.fromkeys((b"HTTP/0.9", b"HTTP/0.0", b"HTTP/2", b"HTTP/1"), (400, 505)),
    **dict.fromkeys((b"HTTP/1.", b"HTTP/.1", b"HTTP/11", b"HTTP/1.10", b"HTTP/01.1", b"HTTP/1.1x"), (400, 505)),
    **dict.fromkeys((b"http/1.1", b"Http/1.1", b"HTTP 1.1", b"HTTP/ 1.1", b"HTTP/1,1", b"HTTP/1.a"), 400),
    **dict.fromkeys((b"HTTPS/1.1", b"RTSP/1.0", b"ICE/1.0", b"XTTP/1.1", b"HTTP/1.1 ", b"HTTP/+1.1"), 400),
}
CODINGS: dict[bytes, Status] = {
    **dict.fromkeys((b"gzip, chunked", b"gzip", b"deflate, gzip", b"xchunked", b"chunkedx"), (400, 501)),
    **dict.fromkeys((b"", b"chunked, gzip", b"chunked, chunked", b"chunked,", b",chunked"), (400, 501)),
    **dict.fromkeys((b"identity", b"chunked;a=b", b'"chunked"', b"chunked chunked", b"chunked, identity"), (400, 501)),
    **dict.fromkeys((b"\x0bchunked", b"chunked\x00", b"\x0cchunked"), 400),
}
REFUSED: dict[str, tuple[bytes, Status]] = {
    # Methods that are no tokens.
    **{
        f"method {name!r}": (name + b" / HTTP/1.1\r\n" + H + b"\r\n", 400)
        for name in (
            b"",
            b"FOO,BAR",
            b"G?T",
            b"G(T)",
            b"G/T",
            b"G\x01T",
            b"\x7f",
            b"G\x80T",
            b'"GET"',
            b"GET:",
            b"G\tT",
        )
    },
    # CONNECT is for proxies, in each form.
    **{
        f"CONNECT {target!r}": (b"CONNECT " + target + b" HTTP/1.1\r\n" + H + b"\r\n", (400, 405, 501))
        for target in (b"a:80", b"a", b"/", b"/x?y", b"http://a/", b"*", b"a:80/x")
    },
    # Targets.
    **{
        f"target {target!r}": (b"GET " + target + b" HTTP/1.1\r\n" + H + b"\r\n", 400)
        for target in (
            *(b"", b"*", b"a", b"?x", b"#", b"/a#b", b"/a b", b"/\x01", b"/\x7f", b"/\x80", b"\\a", b"/a\tb"),
            *(b"ftp://h/", b"http:/h/p", b"http:///p", b"http://", b"http://u@h/", b"http://u:p@h/", b"http://h h/"),
            *(b"http://h/a#b", b"h:80", b"/\x00"),
        )
    },
    "asterisk of a POST": (b"POST * HTTP/1.1\r\n" + H + b"\r\n", 400),
    "long target": (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n" + H + b"\r\n", 414),
    # Versions, and what stands in their place.
    **{f"version {text!r}": (b"GET / " + text + b"\r\n" + H + b"\r\n", status) for text, status in VERSIONS.items()},
    "no version": (b"GET /\r\n" + H + b"\r\n", 400),
    "two spaces": (b"GET  / HTTP/1.1\r\n" + H + b"\r\n", 400),
    "two spaces behind": (b"GET /  HTTP/1.1\r\n" + H + b"\r\n", 400),
    "space before": (b" " + GET + H + b"\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40, 400),
    "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    # Host.
    "no host": (GET + b"\r\n", 400),
    "two hosts": (GET + H + b"Host: other\r\n\r\n", 400),
    "two equal hosts": (GET + H + H + b"\r\n", 400),
    "two hosts on 1.0": (b"GET / HTTP/1.0\r\n" + H + H + b"\r\n", 400),
    "absolute without a host": (b"GET http://o/ HTTP/1.1\r\n\r\n", 400),
    **{
        f"host {host!r}": (GET + b"Host: " + host + b"\r\n\r\n", 400)
        for host in (
            *(
                b"u@h",
                b"h/p",
                b"h?q",
                b"h#f",
                b"h h",
                b"h:80a",
                b"h:-1",
                b"h:80:80",
                b"::1",
                b"[::1",
                b"[::1]x",
                b"[x]",
            ),
            *(b"h\\", b'"h"', b"<h>", b"h\x80", b"http://h", b"h, h/", b"[]", b"[v.a]"),
        )
    },
    # Fields.
    "folded": (GET + H + b"X: a\r\n b\r\n\r\n", 400),
    "folded with a tab": (GET + H + b"X: a\r\n\tb\r\n\r\n", 400),
    "first line with a space": (GET + b" X: a\r\n" + H + b"\r\n", 400),
    "space before a colon": (GET + b"Host : h\r\n\r\n", 400),
    "tab before a colon": (GET + b"Host\t: h\r\n\r\n", 400),
    "no colon": (GET + H + b"X\r\n\r\n", 400),
    "no name": (GET + H + b": x\r\n\r\n", 400),
    **{
        f"name with {byte!r}": (GET + H + b"X" + byte + b": x\r\n\r\n", 400)
        for byte in (b"(", b"/", b"@", b"\x01", b"\x80")
    },
    **{
        f"value with {byte!r}": (GET + H + b"X: a" + byte + b"b\r\n\r\n", 400)
        for byte in (b"\x00", b"\x01", b"\x7f", b"\r")
    },
    "bare LF": (b"GET / HTTP/1.1\nHost: h\n\n", 400),
    "bare LF behind a field": (GET + b"Host: h\n\r\n", 400),
    "bare LF at the end": (GET + b"Host: h\r\n\n", 400),
    "many fields": (GET + H + b"X: y\r\n" * 101 + b"\r\n", 431),
    "long field": (GET + H + b"X: " + b"y" * 40_000 + b"\r\n\r\n", 431),
    # Content-Length.
    **{
        f"length {value!r}": (POST + b"Content-Length: " + value + b"\r\n\r\nhello", 400)
        for value in (
            *(b"", b"+5", b"-5", b"5 5", b"5,6", b"5;", b"0x5", b"5a", b"a", b"5.0", b"1e1", b'"5"', b"\xb25", b"_5"),
            *(b"5_0", b"-0", b"\x0b5", b"5\x0c"),
        )
    },
    "length beyond 64 bits": (POST + b"Content-Length: 18446744073709551621\r\n\r\nhello", (400, 413)),
    "length beyond the limit": (POST + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1), 413),
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    "two lengths, the first is right": (POST + b"Content-Length: 5\r\nContent-Length: 05\r\n\r\nhello", 400),
    # Transfer-Encoding.
    "length and chunks": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunks and length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "chunks and a bad length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n0\r\n\r\n", 400),
    "chunks on 1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    **{
        f"coding {text!r}": (POST + b"Transfer-Encoding: " + text + b"\r\n\r\n0\r\n\r\n", status)
        for text, status in CODINGS.items()
    },
    "two codings": (POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    "two codings, chunked first": (
        *(POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", (400, 501)),
    ),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400, 501)),
    # Chunks.
    **{
        f"chunk {line!r}": (CHUNKED + line + b"hello\r\n0\r\n\r\n", 400)
        for line in (
            *(
                b"\r\n",
                b"g\r\n",
                b"+5\r\n",
                b"-5\r\n",
                b"0x5\r\n",
                b" 5\r\n",
                b"5 \r\n",
                b"5\t\r\n",
                b"5\n",
                b"5\r",
                b"5\rx\n",
            ),
            *(b"5;\r\n", b"5;=\r\n", b"5;a=\r\n", b'5;a="b\r\n', b"5;a b\r\n", b"5;a=b;\r\n", b"5;\x01\r\n", b"5;a\n"),
            *(
                b"5,\r\n",
                b"5 ;a=b\r\n",
                b"5;a=b c\r\n",
                b"5_0\r\n",
                b"\xd9\xa5\r\n",
                b"00000000000000005\r\n",
                b"5;;a\r\n",
            ),
        )
    },
    "chunk without its end": (CHUNKED + b"5\r\nhello0\r\n\r\n", 400),
    "chunk that ends with LF": (CHUNKED + b"5\r\nhello\n0\r\n\r\n", 400),
    "chunk that ends with CR": (CHUNKED + b"5\r\nhello\r0\r\n\r\n", 400),
    "chunk beyond the limit": (CHUNKED + b"ffffffffffffffff\r\nhello", 413),
    "trailer without a colon": (CHUNKED + b"0\r\nX\r\n\r\n", 400),
    "trailer that is folded": (CHUNKED + b"0\r\nX: a\r\n b\r\n\r\n", 400),
    "trailer with LF": (CHUNKED + b"0\r\nX: a\n\r\n", 400),
    "end with LF": (CHUNKED + b"0\n\n", 400),
    # Expect: RFC 9110 10.1.1.
    "unknown expectation": (POST + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\nab", 417),
}

# ----- the same as HEAD: what is refused has no body either (RFC 9110 9.3.2, RFC 9112 6.3)

HEADS: dict[str, tuple[bytes, Status]] = {
    "no host": (b"HEAD / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"HEAD / HTTP/1.1\r\n" + H + H + b"\r\n", 400),
    "bad host": (b"HEAD / HTTP/1.1\r\nHost: h/\r\n\r\n", 400),
    "bad field": (b"HEAD / HTTP/1.1\r\n" + H + b"X\r\n\r\n", 400),
    "fragment": (b"HEAD /a#b HTTP/1.1\r\n" + H + b"\r\n", 400),
    "bad target": (b"HEAD a HTTP/1.1\r\n" + H + b"\r\n", 400),
    "two lengths": (b"HEAD / HTTP/1.1\r\n" + H + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "large body": (b"HEAD / HTTP/1.1\r\n" + H + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1), 413),
    "long target": (b"HEAD /" + b"a" * 40_000 + b" HTTP/1.1\r\n" + H + b"\r\n", 414),
    "expectation": (b"HEAD / HTTP/1.1\r\n" + H + b"Expect: x\r\n\r\n", 417),
    "long field": (b"HEAD / HTTP/1.1\r\n" + H + b"X: " + b"y" * 40_000 + b"\r\n\r\n", 431),
    "many fields": (b"HEAD / HTTP/1.1\r\n" + H + b"X: y\r\n" * 101 + b"\r\n", 431),
    "coding": (b"HEAD / HTTP/1.1\r\n" + H + b"Transfer-Encoding: gzip\r\n\r\n", (400, 501)),
    "version": (b"HEAD / HTTP/2.0\r\n" + H + b"\r\n", 505),
    "chunk": (b"HEAD / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", 400),
}

# ----- bodies that end before their time: the client has closed its side, and waits

CUT: dict[str, bytes] = {
    "a part of the length": POST + b"Content-Length: 10\r\n\r\nhello",
    "nothing of the length": POST + b"Content-Length: 10\r\n\r\n",
    "in a chunk": CHUNKED + b"a\r\nhello",
    "in a chunk's size": CHUNKED + b"5\r\nhello\r\n1",
    "before the last chunk": CHUNKED + b"5\r\nhello\r\n",
    "before the last line": CHUNKED + b"5\r\nhello\r\n0\r\n",
    "large": POST + b"Content-Length: %d\r\n\r\n" % MAX_BODY + b"a" * (MAX_BODY - 1),
}


class Answer(NamedTuple):
    """One response, strictly read."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._sock.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *args: object) -> None:
        self._file.close()
        self._sock.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self._sock.sendall(data)

    def half_close(self) -> None:
        """Send no more."""
        self._sock.shutdown(socket.SHUT_WR)

    def answer(self, head_only: bool = False) -> Answer:
        """The next final response; one of the class 100 is skipped."""
        while True:
            line = self._file.readline()
            match = re.fullmatch(rb"HTTP/1\.1 ([1-9][0-9]{2}) [\x20-\x7e]*\r\n", line)
            assert match, line
            headers: dict[str, str] = {}
            while (line := self._file.readline()) != b"\r\n":
                field = re.fullmatch(
                    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?\r\n", line
                )
                assert field, line
                assert headers.setdefault(field[1].decode().lower(), (field[2] or b"").decode()) is not None
            if match[1] != b"100":
                break
        body = b"" if head_only else self._file.read(int(headers["content-length"]))
        return Answer(int(match[1]), headers, body)

    def rest(self) -> bytes:
        """Everything up to the end of the connection, which comes at once."""
        self._sock.settimeout(SOON)
        return self._file.read()


class Server(Program):
    """trio_uwsgi with the echo application and all default options."""

    def __init__(self, app: str, options: list[str], folder: Path) -> None:
        self.port = free_port()
        address = f"127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "trio_uwsgi", f"{APPS / 'echo.py'}:{app}", "--http", address]
        super().__init__([*command, "--max-body", str(MAX_BODY), *options], folder, [address])


@pytest.fixture(scope="module", params=MODES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server in one of the modes; at its end it stops well, and its log has no error."""
    app, *options = MODES[request.param]
    server = Server(app, options, tmp_path_factory.mktemp(request.param))
    try:
        yield server
        assert 0 == server.stop(), server.log.read_text()
        assert [] == re.findall(".*(?:Traceback|ERROR).*", server.log.read_text())
    finally:
        server.kill()


def statuses(status: Status) -> tuple[int, ...]:
    """The valid statuses: several, if an RFC leaves it open."""
    return status if isinstance(status, tuple) else (status,)


def test_what_is_served(server: Server) -> None:
    """Each request gets to the application as it was meant, and the one behind it is served on the same connection."""
    wrong = {}
    for name, (request, status, said) in SERVED.items():
        with Client(server.port) as client:
            client.send(request + TAIL)
            got: list[object] = []
            for _ in range(2):
                answer = client.answer()
                got += [answer.status, answer.body.decode()]
                if answer.headers.get("connection") == "close":
                    break
        if got != [status, said, 200, "GET /tail tail 0"]:
            wrong[name] = got
    assert {} == wrong


def test_what_is_served_last(server: Server) -> None:
    """The connection ends after the response: at once, and without a byte about the request that came too late."""
    wrong = {}
    for name, (request, status, said) in LAST.items():
        with Client(server.port) as client:
            client.send(request + TAIL)
            answer = client.answer()
            got = answer.status, answer.body.decode(), answer.headers.get("connection"), client.rest()
        if got != (status, said, "close", b""):
            wrong[name] = got
    assert {} == wrong


def test_what_is_refused(server: Server) -> None:
    """The answer says why, and is the last one: what follows is not taken for a request."""
    wrong: dict[str, object] = {}
    for name, (request, status) in REFUSED.items():
        with Client(server.port) as client:
            client.send(request + TAIL)
            try:
                answer = client.answer()
                rest = client.rest() if answer.status in statuses(status) else b""
            except (AssertionError, OSError) as error:
                wrong[name] = repr(error)[:200]
                continue
        if answer.status not in statuses(status) or answer.headers.get("connection") != "close" or rest:
            wrong[name] = answer.status, answer.body, answer.headers.get("connection"), rest[:100]
    assert {} == wrong


def test_a_head(server: Server) -> None:
    """HEAD is answered as GET is, without its body, and the connection survives."""
    with Client(server.port) as client:
        client.send(b"HEAD / HTTP/1.1\r\n" + H + b"\r\n" + TAIL)
        answer = client.answer(head_only=True)
        assert (200, str(len("HEAD / h 0"))) == (answer.status, answer.headers["content-length"])
        assert b"GET /tail tail 0" == client.answer().body


def test_heads_that_are_refused(server: Server) -> None:
    """A HEAD that is refused has no body: the connection ends with the answer's head."""
    wrong: dict[str, object] = {}
    for name, (request, status) in HEADS.items():
        with Client(server.port) as client:
            client.send(request)
            answer = client.answer(head_only=True)
            rest = client.rest()
        if answer.status not in statuses(status) or rest:
            wrong[name] = answer.status, rest
    assert {} == wrong


def test_bodies_that_are_cut(server: Server) -> None:
    """A client that shuts its side in the middle of its body, and waits, gets a 400."""
    wrong: dict[str, object] = {}
    for name, request in CUT.items():
        with Client(server.port) as client:
            client.send(request)
            client.half_close()
            try:
                answer, rest = client.answer(), client.rest()
            except (AssertionError, OSError) as error:
                wrong[name] = repr(error)[:200]
                continue
        if (answer.status, rest) != (400, b""):
            wrong[name] = answer.status, answer.body, rest
    assert {} == wrong


def test_a_client_that_closes_its_side_early(server: Server) -> None:
    """What is whole is answered, also when its client has nothing more to send."""
    for request, said in ((GET + H + b"\r\n", b"GET / h 0"), (CHUNKED + b"1\r\na\r\n0\r\n\r\n", b"POST /p h 1")):
        with Client(server.port) as client:
            client.send(request)
            client.half_close()
            assert (said, b"") == (client.answer().body, client.rest())


def test_interim_answers(server: Server) -> None:
    """A client that expects 100 gets it before it has sent its body, and then its answer."""
    with Client(server.port) as client:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == client._file.read(25)
        client.send(b"hello" + TAIL)
        assert [b"POST /p h 5", b"GET /tail tail 0"] == [client.answer().body, client.answer().body]


@pytest.mark.parametrize("size", [1, 7])
def test_however_it_is_cut(server: Server, size: int) -> None:
    """The answers are the same when requests come in small pieces."""
    requests = [SERVED["chunks"], SERVED["absolute"], SERVED["length"], SERVED["1.2"], LAST["Close in a list"]]
    stream = b"".join(request for request, _, _ in requests)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    # What is behind the last request comes with its end: later, the connection may be closed, and reset by it.
    pieces[-1] += TAIL
    with Client(server.port) as client:
        for piece in pieces:
            client.send(piece)
        assert [said for _, _, said in requests] == [client.answer().body.decode() for _ in requests]
        assert b"" == client.rest()
