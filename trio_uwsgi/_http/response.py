"""HTTP/1.1 responses: status, headers and pieces of body in, bytes out. Pure.

What the application says about its body is checked against what it sends: a client that believes a wrong length takes
the rest for the next response. How the body is framed (a length, chunks, or the end of the connection) is decided when
the first piece is known.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from trio_uwsgi._http.response_headers import (
    DIGITS,
    FIELDS,
    NOT_IN_TRAILERS,
    NOTED,
    TEXT,
    check_field,
    checked_field,
    own_members,
)
from trio_uwsgi.errors import LocalProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._http.request import Request

__all__ = ["CONTINUE", "Response", "error_response", "hints_response", "upgrade_response"]

_SERVER: Final = b"server: trio-uwsgi\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

# Applications use few status lines, but clients may make them echo others: the cache is bounded.
_CACHED: Final = 1024
_status_lines: Final[dict[tuple[int, bytes], bytes]] = {}
_usual_lines: Final[dict[int, bytes]] = {}  # those with the usual reason
# The value of Date, and the lines that the server adds to most heads: they are the same for a second.
_own_lines = (b"", b"")


def _length(value: bytes, before: int) -> tuple[bytes, int]:
    """The line and the number of an unusual Content-Length; no line if it repeats the number `before` (-1: none).

    RFC 9110 8.6: a list of equal numbers, in one field or in several, is that number.
    """
    numbers = {before} - {-1}
    for text in value.split(b","):
        digits = text.strip(b" \t")
        if not digits.isdigit() or len(digits) > DIGITS:
            raise LocalProtocolError(f"content-length {value!r} is not a number of bytes")
        numbers.add(int(digits))
    if len(numbers) > 1:
        raise LocalProtocolError(
            f"content-length {value!r} is ambiguous: {' and '.join(map(str, sorted(numbers)))} bytes"
        )
    (number,) = numbers
    return b"" if before >= 0 else b"content-length: %d\r\n" % number, number


def _whole(status: object) -> int:
    """The number of an unusual status."""
    if isinstance(status, float) and status.is_integer():
        return int(status)
    raise LocalProtocolError(f"the status {status!r} is not a number from 200 to 999")


def _status_line(status: int, reason: bytes) -> bytes:
    if not 200 <= status <= 999:
        raise LocalProtocolError(f"{status} is not a final status; give one from 200 to 999")
    phrase = reason
    if not reason:
        with contextlib.suppress(ValueError):  # not every status has a name
            phrase = HTTPStatus(status).phrase.encode()
    if TEXT.fullmatch(phrase) is None:
        raise LocalProtocolError(f"the reason {reason!r} has control characters")
    line = b"HTTP/1.1 %d %b\r\n" % (status, phrase)
    if not reason:
        _usual_lines[status] = line
    elif len(_status_lines) < _CACHED:
        _status_lines[status, reason] = line
    return line


@mypyc_attr(allow_interpreted_subclasses=True)
class Response:
    """The bytes of the response to one request.

    `keep_alive` says, once the response is complete, whether the connection stays open. Set it to False before the
    first `data` to close the connection after this response; it never becomes True again.

    `bodyless` says that no body is sent, even if the application gives one.

    `left` is how many bytes of body the application's Content-Length still allows, -1 if it gave none or if no body is
    sent. A WSGI driver stops iterating when it reaches 0 (PEP 3333).

    Args:
        request: the request that is answered.
    """

    __slots__ = (
        "_chunked",
        "_closes",
        "_dated",
        "_framed",
        "_head",
        "_head_only",
        "_one_zero",
        "_served",
        "bodyless",
        "complete",
        "keep_alive",
        "left",
        "sent_head",
        "started",
        "status",
    )

    def __init__(self, request: Request) -> None:
        self.keep_alive = request.keep_alive
        self.started = False  # `start` was called
        self.bodyless = False
        self.sent_head = False  # `data` has returned the head: no other response is possible
        self.complete = False
        self.status = 0
        self.left = -1
        self._head_only = request.method == "HEAD"
        self._one_zero = request.http_version == "1.0"
        self._chunked = False

    def start(self, status: object, headers: Iterable[Sequence[object]], reason: bytes = b"") -> None:
        """Set status and headers. Nothing is sent; may be called again until the first `data`.

        Args:
            status: 200 to 999.
            headers: names and values. Date and Server replace ours. Of the hop-by-hop headers, `Connection: close` is
                obeyed; `keep-alive`, `Transfer-Encoding: chunked`, Keep-Alive and Proxy-Connection are left out.
            reason: the reason phrase; by default the usual one.
        Raises:
            LocalProtocolError: a name or value cannot be sent, or it is another hop-by-hop header. The head of an
                earlier call stays.
        """
        if self.sent_head:
            raise LocalProtocolError("the headers have been sent already")
        number = status if isinstance(status, int) else _whole(status)
        line = _status_lines.get((number, reason)) if reason else _usual_lines.get(number)
        lines = [line or _status_line(number, reason)]
        length = -1
        dated = served = closes = False
        for header in headers:
            field = FIELDS.get(header) if type(header) is tuple else None
            line, noted, value, count = field or checked_field(header)
            if not noted:
                pass
            elif noted == b"content-length":
                if length < 0 <= count:
                    length = count
                else:
                    line, length = _length(value, length)
                if number == 204 or not line:  # RFC 9110 8.6: not even a zero
                    continue
            elif noted == b"date":
                dated = True
            elif noted == b"server":
                served = True
            else:
                closes |= b"close" in own_members(noted, value)
                continue
            lines.append(line)
        bodyless = number in (204, 304)
        self.bodyless = self._head_only or bodyless
        self._framed = bodyless or length >= 0
        self.left = -1 if self.bodyless else length
        self._head = b"".join(lines)
        self._dated = dated
        self._served = served
        self._closes = closes
        self.status = number
        self.started = True

    def data(self, piece: bytes, more: bool, date: bytes) -> bytes:
        """Add a piece of body, and get the bytes to send now; those of the first call have the head.

        Args:
            piece: bytes of the body; may be empty. Not sent in answer to HEAD, nor with 204 and 304.
            more: whether other pieces follow. A first piece that is the last one gets a Content-Length.
            date: the value of the Date header.
        Raises:
            LocalProtocolError: not started, complete, or more or fewer bytes than the Content-Length. If
                `sent_head` is set, the connection must be aborted: the client has to notice.
        """
        if self.complete or not self.started:
            problem = "after the response was complete" if self.complete else "before the status and the headers"
            raise LocalProtocolError(f"a piece of the body was sent {problem}")
        if self.left >= 0:
            left = self.left - len(piece)
            if left < 0 or (left and not more):
                raise self._misfit(left)
            self.left = left
        parts = [] if self.sent_head else self._first(len(piece), more, date)
        self.sent_head = True
        self.complete = not more
        if self.bodyless:
            pass
        elif not self._chunked:
            parts.append(piece)
        else:
            if piece:  # an empty chunk would end the body
                parts += (b"%x\r\n" % len(piece), piece, b"\r\n")
            if not more:
                parts.append(b"0\r\n\r\n")
        return b"".join(parts)

    def announce_trailers(self, names: Sequence[bytes]) -> None:
        """After `start`: the body will be ended by `trailers`; these names of theirs are known.

        Where the body is not chunked, the trailers cannot be sent, and so they are not announced.

        Raises:
            LocalProtocolError: a name cannot be sent.
        """
        for name in names:
            check_field((b"trailer", name))
        if names and not (self._framed or self._head_only or self._one_zero):
            self._head += b"trailer: %b\r\n" % b", ".join(names)

    def trailers(self, headers: Iterable[Sequence[object]]) -> bytes:
        """End the body, after pieces with `more`, and get the bytes to send. Not chunked: the trailers are left out.

        Raises:
            LocalProtocolError: a name or value cannot be sent, or the body is shorter than its Content-Length.
        """
        lines = []
        for header in headers:
            name, value = check_field(header)
            if name.lower() in NOT_IN_TRAILERS:
                raise LocalProtocolError(f"{name!r} cannot be a trailer: it says how to read the message")
            lines.append(b"%b: %b\r\n" % (name, value))
        end = self.data(b"", False, b"")
        return end[:-2] + b"".join(lines) + b"\r\n" if self._chunked else end

    def set_length(self, length: int) -> None:
        """Say how long the body is, if the head is not sent and the application has not said it."""
        if self.started and not self.sent_head and not self._framed:
            self._head += b"content-length: %d\r\n" % length
            self._framed = True
            self.left = -1 if self.bodyless else length

    def surround(self, count: int, more: bool) -> tuple[bytes, bytes]:
        """Add a piece of body that is not in memory, after the head; get what is sent before and after it.

        Args:
            count: its bytes.
            more: whether other pieces follow.
        Raises:
            LocalProtocolError: more or fewer bytes than the Content-Length.
        """
        if self.left >= 0:
            left = self.left - count
            if left < 0 or (left and not more):
                raise self._misfit(left)
            self.left = left
        self.complete = not more
        if not self._chunked or self.bodyless:
            return b"", b""
        end = b"" if more else b"0\r\n\r\n"
        return (b"%x\r\n" % count, b"\r\n" + end) if count else (b"", end)

    def _misfit(self, left: int) -> LocalProtocolError:
        self.keep_alive = False
        return LocalProtocolError(f"the body is {'longer' if left < 0 else 'shorter'} than its content-length")

    def _first(self, size: int, more: bool, date: bytes) -> list[bytes]:
        """The head, in parts, now that it is known how the body is framed: `size` is that of its first piece."""
        framing = b""
        if self._framed:
            pass
        elif not more:
            # An application that sends nothing in answer to HEAD has not said how long the body would be.
            if size or not self._head_only:
                framing = b"content-length: %d\r\n" % size
        elif self._head_only:
            pass
        elif self._one_zero:
            self.keep_alive = False  # the end of the connection is the end of the body
        else:
            self._chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        if self._closes:
            self.keep_alive = False
        if not self.keep_alive:
            framing += b"connection: close\r\n"
        elif self._one_zero:
            framing += b"connection: keep-alive\r\n"
        if self._dated or self._served:
            own = (b"" if self._dated else b"date: %b\r\n" % date) + (b"" if self._served else _SERVER)
        else:
            own = _lines_of(date)
        return [self._head, own, framing, b"\r\n"]


def _lines_of(date: bytes) -> bytes:
    """The lines of Date and Server."""
    global _own_lines
    known, lines = _own_lines
    if known != date:
        lines = b"date: %b\r\n%b" % (date, _SERVER)
        _own_lines = date, lines
    return lines


def hints_response(headers: Iterable[Sequence[object]]) -> bytes:
    """Make a 103 response, which another response follows.

    Raises:
        LocalProtocolError: a name or value cannot be sent, or it is about the connection or the body.
    """
    lines = []
    for header in headers:
        name, value = check_field(header)
        if name.lower() in NOTED:
            raise LocalProtocolError(f"{name!r} cannot be an early hint; most are b'link'")
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"HTTP/1.1 103 Early Hints\r\n%b\r\n" % b"".join(lines)


def upgrade_response(headers: Iterable[Sequence[object]]) -> bytes:
    """Make the head of a 101 response; what follows it is not HTTP.

    Raises:
        LocalProtocolError: a name or value cannot be sent.
    """
    lines = [b"%b: %b\r\n" % check_field(header) for header in headers]
    return b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n" % b"".join(lines)


def error_response(status: int, message: str, date: bytes, head_only: bool = False) -> bytes:
    """Make the whole response to a request that no application answers; the connection closes after it.

    Args:
        status: 400 to 599.
        message: one line for the body, as plain text.
        date: the value of the Date header.
        head_only: leave the body out, for HEAD.
    """
    body = f"{message}\n".encode()
    line = _usual_lines.get(status) or _status_line(status, b"")
    head = b"%b%bcontent-type: text/plain; charset=utf-8\r\n" % (line, _lines_of(date))
    head += b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return head if head_only else head + body
