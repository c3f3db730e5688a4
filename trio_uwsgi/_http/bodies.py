"""Reads the body of a request for both parsers: of a length, or in chunks. Pure.

`http1.py` and `uwsgi_requests.py` read heads and packets, and decide where a body begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from trio_uwsgi._http.chunked import ChunkedBody
    from trio_uwsgi._http.request import Request

__all__ = ["BODY", "DONE", "START", "BodyParser"]

# States of every parser; each adds its own.
START: Final = 0
BODY: Final = 1
DONE: Final = 2


@mypyc_attr(allow_interpreted_subclasses=True)
class BodyParser:
    """The part of a parser that reads a body."""

    __slots__ = ("_body", "_left", "_request", "_state")

    held = b""  # input that was not parsed yet; `feed(b"")` continues with it

    _body: ChunkedBody | None  # None: it has a length
    _left: int  # bytes missing of a body that has one
    _request: Request | None  # whose body is being read
    _state: int

    def _read_body(self, data: bytes, position: int) -> int:
        request = self._request
        assert request is not None, "the state says that a body is being read"
        body = self._body
        if body is None:
            piece = data[position : position + self._left]
            request.chunks.append(piece)
            request.buffered += len(piece)
            position += len(piece)
            self._left -= len(piece)
            if self._left:
                return position
        else:
            chunks: list[bytes] = []
            try:
                position = body.feed(data, position, chunks)
            finally:
                request.chunks += chunks
                request.buffered += sum(map(len, chunks))
            if not body.complete:
                return position
            self._body = None
        request.complete = True
        self._request = None
        self._state = START if request.keep_alive else DONE
        return position
