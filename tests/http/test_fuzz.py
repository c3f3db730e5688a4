"""Thousands of damaged requests: nothing raises, nothing hangs, nothing grows, and cutting changes nothing."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from trio_uwsgi._http.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[..., Any]  # the Outcome of conftest.py, which tests cannot import

pytestmark = pytest.mark.pure

LIMITS = Limits(max_header_size=600, max_headers=12, max_body=300)
SEEDS = [
    b"GET /a?b=c HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h:80\r\nContent-Length: 11\r\n\r\nhello world",
    b"PUT /x%20y HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;a=b\r\nhello\r\n06\r\n world\r\n0\r\nX: y\r\n\r\n",
    b"GET http://other/p HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST /u HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    b"OPTIONS * HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nz",
    b"\r\nGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    b"LABEL /l HTTP/1.3\r\nHost: h\r\nContent-Length: 2\r\n\r\nab",
    b'DESCRIBE /l HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;a="b"\r\nab\r\n0\r\n\r\n',
]
SPLINTERS = [
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", b"\0", b"\xff", b";", b",", b"%", b"#", b"//"),
    *(b"0", b"-", b"+", b"_", b"HTTP/2.0", b"HTTP/1.0", b"X: " + b"y" * 700),
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Host: x\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: x\r\n",
    b"Expect: 100-continue\r\n",
]


def damaged(rng: random.Random) -> bytes:
    """A few pipelined requests with one to four wounds."""
    data = bytearray(b"".join(rng.choices(SEEDS, k=rng.randint(1, 3))))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            data[at:at] = rng.choice(SPLINTERS)
        elif kind == 1:
            del data[at : at + rng.randint(1, 8)]
        elif kind == 2:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 3:
            data[at : at + 2] = rng.choice(SPLINTERS)
        else:
            data[at:at] = data[at : at + rng.randint(1, 40)]
    return bytes(data)


@pytest.mark.parametrize("seed", range(20))
def test_damaged_requests(read: Read, seed: int) -> None:
    """2,000 damaged streams: each gives requests or an error, the same however it is cut, and nothing too large."""
    rng = random.Random(seed)
    statuses = set()
    for _ in range(100):
        result = read(damaged(rng), LIMITS)
        statuses.add(result.status)
        for request in result.requests:
            assert len(request.body) <= LIMITS.max_body
            assert len(request.headers) <= LIMITS.max_headers
    assert {None, 400} <= statuses
    assert statuses <= {None, 400, 413, 414, 417, 431, 501, 505}


def test_random_bytes(read: Read) -> None:
    """Noise is refused, or waits for more."""
    rng = random.Random(7)
    for _ in range(200):
        assert () == read(rng.randbytes(rng.randint(1, 200)), LIMITS).requests
