"""The chunked transfer coding of request bodies. Pure.

llhttp could read it, but it does not tell where in its input a body ended, nor how much of the input was not body. Both
are needed here: the next pipelined head starts at the first, and the limits count the second. Trailers are checked and
dropped: merged into the headers, they would let a client set headers that a proxy in front has not checked.
"""

from __future__ import annotations

import re
from typing import Final

from trio_uwsgi.errors import RemoteProtocolError

__all__ = ["ChunkedBody"]

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_EXTENSION: Final = rb";[\t ]*%b(?:[\t ]*=[\t ]*(?:%b|%b))?" % (_TOKEN, _TOKEN, _QUOTED)
# No white space around the size, and no sign: servers that disagree about those let requests be smuggled.
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:%b(?:[\t ]*%b)*)?\r\n" % (_EXTENSION, _EXTENSION))
_TRAILER: Final = re.compile(rb"%b:[\t\x20-\x7e\x80-\xff]*\r\n" % _TOKEN)

# A size line of this many bytes is normal. Longer ones (extensions) count against body bytes, see `_take_size`.
_FREE: Final = 16

_SIZE: Final = 0
_DATA: Final = 1
_CRLF: Final = 2
_TRAILERS: Final = 3


class ChunkedBody:
    """Reads one chunked body. Its result does not depend on how the input is cut.

    Args:
        max_body: bytes of body at most; 0 means no limit.
        max_overhead: bytes of trailers at most, and of chunk extensions beyond the bytes of body.
        max_trailers: number of trailer lines at most.
    """

    __slots__ = (
        "_left",
        "_line",
        "_max_body",
        "_max_overhead",
        "_overhead",
        "_state",
        "_total",
        "_trailers",
        "complete",
    )

    def __init__(self, max_body: int, max_overhead: int, max_trailers: int) -> None:
        self._max_body = max_body
        self._max_overhead = max_overhead
        self._trailers = max_trailers  # how many more are allowed
        self._state = _SIZE
        self._line = b""  # the beginning of a line whose end has not arrived
        self._left = 0  # bytes missing of the current chunk
        self._total = 0  # bytes of body announced so far
        self._overhead = 0
        self.complete = False

    def feed(self, data: bytes, position: int, chunks: list[bytes]) -> int:
        """Read `data` from `position` on; append the pieces of body to `chunks`.

        Returns:
            The position after the last byte used: the end of `data`, or of the body (then `complete` is set).
        Raises:
            RemoteProtocolError: the input is not chunked coding (400), the body is too large (413), or its extensions
                or trailers are (431). No more of the body can be read; pieces appended before are right.
        """
        size = len(data)
        while position < size and not self.complete:
            if self._state == _DATA:
                piece = data[position : position + self._left]
                chunks.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = _CRLF
                continue
            end = data.find(b"\n", position) + 1
            line = self._line + data[position : end or size]
            if self._state == _CRLF:
                if not b"\r\n".startswith(line):
                    raise RemoteProtocolError("a chunk does not end with CRLF")
            elif self._overhead + len(line) > self._max_overhead + _FREE:
                raise RemoteProtocolError(f"chunk extensions or trailers exceed {self._max_overhead} bytes", 431)
            if not end:
                self._line = line
                return size
            self._line = b""
            position = end
            self._take_line(line)
        return position

    def _take_line(self, line: bytes) -> None:
        if self._state == _CRLF:
            self._state = _SIZE
        elif self._state == _SIZE:
            self._take_size(line)
        elif line == b"\r\n":
            self.complete = True
        else:
            if _TRAILER.fullmatch(line) is None:
                raise RemoteProtocolError("a trailer is malformed")
            if not self._trailers:
                raise RemoteProtocolError("there are too many trailers", 431)
            self._trailers -= 1
            self._overhead += len(line)

    def _take_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise RemoteProtocolError("a chunk size is malformed")
        size = int(match[1], 16)
        if not size:
            self._state = _TRAILERS
            self._overhead = 0
            return
        self._total += size
        if self._max_body and self._total > self._max_body:
            raise RemoteProtocolError(f"the body is larger than {self._max_body} bytes", 413)
        # Long extensions on tiny chunks would cost work for little body. Signed uploads have 80 bytes per 64 KiB.
        self._overhead = max(0, self._overhead + len(line) - _FREE - size)
        self._left = size
        self._state = _DATA
