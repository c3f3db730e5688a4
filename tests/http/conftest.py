"""Reading bytes with the parser in every way they may be cut."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.services import open_http as open_http
from trio_uwsgi._http.http1 import RequestParser
from trio_uwsgi._http.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from trio_uwsgi._http.request import Request

LIMITS = Limits(max_header_size=2000, max_headers=20, max_body=10_000)


class Seen(NamedTuple):
    """What an application could learn from one request."""

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    complete: bool
    framing: tuple[bool, int | None, bool, bool, bytes]


class Outcome(NamedTuple):
    """What came of a stream of bytes: requests, then perhaps an error."""

    requests: tuple[Seen, ...]
    status: int | None
    message: str

    @property
    def bodies(self) -> list[bytes]:
        return [request.body for request in self.requests]


def seen(request: Request) -> Seen:
    """Freeze a request, taking its body."""
    framing = (
        request.keep_alive,
        request.content_length,
        request.chunked,
        request.expect_continue,
        request.upgrade,
    )
    body = request.take_body()
    return Seen(request.method, request.target, tuple(request.headers), body, request.complete, framing)


def outcome(pieces: Iterable[bytes], limits: Limits) -> Outcome:
    """Feed `pieces` to one parser; nothing may raise, and what it holds is bounded."""
    parser = RequestParser(limits)
    requests: list[Request] = []
    for piece in pieces:
        requests += parser.feed(piece)
        assert len(parser._partial) <= limits.max_header_size
        assert parser.in_head == bool(parser._partial)
    assert all(request.complete for request in requests[:-1])
    assert all(request.buffered == sum(map(len, request.chunks)) for request in requests)
    error = parser.error
    if error is not None:
        assert not parser.idle
        return Outcome(tuple(map(seen, requests)), error.status_hint, str(error))
    return Outcome(tuple(map(seen, requests)), None, "")


def cuts(data: bytes, rng: random.Random) -> Iterator[list[bytes]]:
    """Give `data` whole, byte by byte, and cut at random places."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for count in (1, 2, 5):
        places = sorted(rng.randint(0, len(data)) for _ in range(count))
        yield [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def read_all_ways(data: bytes, limits: Limits = LIMITS) -> Outcome:
    """Read `data` in every way it may be cut; the result must always be the same."""
    rng = random.Random(data)
    ways = [outcome(pieces, limits) for pieces in cuts(data, rng)]
    for other in ways[1:]:
        assert ways[0] == other
    return ways[0]


@pytest.fixture
def read() -> Callable[..., Outcome]:
    """Read bytes in every way they may be cut, and give the one result."""
    return read_all_ways
