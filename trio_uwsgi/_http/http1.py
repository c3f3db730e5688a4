"""HTTP/1.1 requests: bytes in, `Request` values out. Pure. The way back is in `response.py`.

Theory. llhttp is the grammar of a head (`heads.py`). It gets heads only, never a body: the end of a head is found
here, by its empty line, and the end of a body is computed here, from headers that were accepted. So three things are
exact that llhttp does not tell: the number of bytes of a head (limits), the start of the next request, and the body of
a request that asks for an upgrade. (llhttp stops there without reading it; taking its bytes for the next request would
be smuggling.)

`feed` never raises, whatever the client sends: `error` says what was wrong. The result does not depend on how the input
is cut.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final

from trio_uwsgi._http.bodies import BODY, DONE, START, BodyParser
from trio_uwsgi._http.chunked import ChunkedBody
from trio_uwsgi._http.heads import Head, HeadReader, read_plain
from trio_uwsgi._http.request import Headers, Request, split_host
from trio_uwsgi._http.response import CONTINUE, Response, error_response
from trio_uwsgi.errors import RemoteProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._http.limits import Limits

__all__ = ["CONTINUE", "RequestParser", "Response", "error_response"]

_END: Final = b"\r\n\r\n"
_CR: Final = 13  # numbers, because looking for a number in bytes takes a tenth of the time
_LF: Final = 10
_SLASH: Final = ord("/")
_HASH: Final = ord("#")
# RFC 9110 2.5: a higher minor version is treated as the highest that is known.
_VERSIONS: Final = {b"HTTP/1.%d\r\n" % minor: "1.1" if minor else "1.0" for minor in range(10)}
_HIGHER: Final = re.compile(rb"[^\r\n]* HTTP/[2-9]\.[0-9]\r\n")
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?]+)([^?]*)(.*)", re.DOTALL)
# Value of Connection -> what it asks for. Clients choose it, so the cache is bounded.
_CACHED: Final = 1024
_connections: Final[dict[bytes, tuple[bool | None, bool]]] = {}

# States of this parser, in addition to those of `bodies.py`.
_PARTIAL: Final = 3
_BLANK: Final = 4


def _connection(value: bytes) -> tuple[bool | None, bool]:
    """What a Connection header asks for: to keep the connection (None: it does not say), and to upgrade it."""
    known = _connections.get(value)
    if known is None:
        tokens = {token.strip() for token in value.lower().split(b",")}
        keep = False if b"close" in tokens else True if b"keep-alive" in tokens else None
        known = keep, b"upgrade" in tokens
        if len(_connections) < _CACHED:
            _connections[value] = known
    return known


class RequestParser(BodyParser):
    """Reads the requests of one connection.

    `error` is set instead of raising; its `status_hint` is the status to answer with. Nothing is read after it.
    Requests returned before it stay valid; the newest one stays incomplete if the error was in its body.

    Args:
        limits: what one request may take.
    """

    __slots__ = (
        "_limits",
        "_max",
        "_partial",
        "_reader",
        "_skipped",
        "error",
    )

    response_type: ClassVar[type[Response]] = Response  # of the requests it reads

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._max = limits.max_header_size
        self._reader = HeadReader()
        self._state = START
        self._partial = bytearray()  # the beginning of a head; never longer than max_header_size
        self._skipped = 0  # bytes of empty lines between requests
        self._request: Request | None = None  # whose body is being read
        self._body: ChunkedBody | None = None
        self._left = 0  # bytes missing of a body that is not chunked
        self.error: RemoteProtocolError | None = None

    def refusal(self, status: int, message: str, date: bytes, method: str) -> bytes:
        """The response to a request, or to input that is not one, that no application answers."""
        return error_response(status, message, date, method == "HEAD")

    @property
    def method(self) -> str:
        """The method of the newest head, "" until it is known: an error response to a HEAD has no body."""
        return self._reader.method

    @property
    def idle(self) -> bool:
        """Is it between two requests, without a byte of the next head? (Empty lines do not belong to a head.)"""
        return self._state in (START, _BLANK, DONE) and self.error is None

    @property
    def in_head(self) -> bool:
        """Has a head begun and not ended?"""
        return self._state == _PARTIAL

    def feed(self, data: bytes) -> list[Request]:
        """Parse input of the client.

        Args:
            data: bytes in the order of arrival, in pieces of any size.
        Returns:
            The requests whose head ended in `data`, in order. Bytes of a body go to the newest request's `chunks`;
            every request but the newest is complete. Input after a request that asked to close is ignored.
        """
        requests: list[Request] = []
        position = 0
        size = len(data)
        try:
            while position < size:
                state = self._state
                if state == START and data[position] != _CR:
                    head = read_plain(data, position, self._max, self._limits.max_headers) or self._read(data, position)
                    if head is None:
                        self._state = _PARTIAL
                    else:
                        position = head[0]
                        requests.append(self._request_of(head))
                elif state == _PARTIAL:
                    position = self._read_partial(data, position, requests)
                elif state == BODY:
                    position = self._read_body(data, position)
                elif state == DONE:
                    break
                else:
                    position = self._skip_empty_line(data, position)
        except RemoteProtocolError as error:
            self.error = error
            self._state = DONE
            self._partial.clear()
        return requests

    def _skip_empty_line(self, data: bytes, position: int) -> int:
        """Skip one byte of an empty line before a head: old clients send one after a body."""
        self._skipped += 1
        self._reader.method = ""
        if self._skipped > self._max:
            raise RemoteProtocolError("there are too many empty lines between requests")
        if self._state == START:
            self._state = _BLANK
        elif data[position] == _LF:
            self._state = START
        else:
            raise RemoteProtocolError("a request starts with a CR")
        return position + 1

    def _read_partial(self, data: bytes, position: int, requests: list[Request]) -> int:
        """Read a head that is not whole in one piece of input, or is too long."""
        partial = self._partial
        seen = len(partial)
        partial += data[position : position + self._max - seen]
        end = partial.find(_END, max(0, seen - 3)) + 4
        if end < 4:
            self._reader.read_part(partial, seen)
            if len(data) - position > self._max - seen:
                raise self._too_long()
            return len(data)
        del partial[end:]
        self._reader.read_part(partial, seen)
        head = bytes(partial)
        partial.clear()
        position += end - seen
        requests.append(self._request_of(self._checked(head, position)))
        return position

    def _too_long(self) -> RemoteProtocolError:
        if b"\r\n" in self._partial:
            return RemoteProtocolError(f"the head is longer than {self._max} bytes", 431)
        return RemoteProtocolError(f"the request line is longer than {self._max} bytes", 414)

    def _read(self, data: bytes, start: int) -> Head | None:
        """Read a head of the input. None: it is not whole, or too long."""
        end = data.find(_END, start) + 4
        if not 4 <= end <= start + self._max:
            return None
        head = data[start:end]
        self._reader.read(head)
        return self._checked(head, end)

    def _checked(self, head: bytes, end: int) -> Head:
        """What llhttp has found in a head that it has accepted, and that ends there in the input."""
        reader = self._reader
        found = reader.found
        target = found.target
        headers = found.headers
        most = self._limits.max_headers
        start = len(reader.method) + len(target) + 2
        # Where llhttp tolerates more than one space, or another protocol's name, this is not a version.
        version = _VERSIONS.get(head[start : start + 10])
        if version is None or not found.ended:
            if _HIGHER.match(head):
                raise RemoteProtocolError("the HTTP version is not supported", 505)
            raise RemoteProtocolError("the request line is malformed")
        if len(headers) > most:
            raise RemoteProtocolError(f"there are more than {most} headers", 431)
        if found.repeated:
            raise RemoteProtocolError(f"the header {found.repeated.decode()} is repeated")
        fields = found.fields
        found.clear()
        return end, reader.method, target, version, headers, fields

    def _request_of(self, head: Head) -> Request:
        """Make the request of a head: what its headers mean."""
        _, method, target, version, headers, fields = head
        reader = self._reader
        reader.method = method
        if target[0] == _SLASH and _HASH not in target:
            request = Request(method, target, version, headers)
        else:
            request = _other_form(method, target, version, headers, fields)
        host = fields.get(b"host")
        if host is None:
            if version == "1.1":
                raise RemoteProtocolError("the Host header is missing")
        elif split_host(host) is None:
            raise RemoteProtocolError("the Host header is malformed")
        if len(fields) > 1 or host is None:
            self._frame(request, fields)
        self._skipped = 0
        if request.complete:
            self._state = START if request.keep_alive else DONE
        else:
            self._state = BODY
            self._request = request
            reader.spent = True  # if llhttp has read this head, it expects the body now, and does not get it
        return request

    def _frame(self, request: Request, fields: dict[bytes, bytes]) -> None:
        """Decide from the headers where the body ends, and whether a request may follow."""
        limits = self._limits
        connection = fields.get(b"connection")
        if connection is not None:
            keep, upgrade = _connection(connection)
            if keep is not None:
                request.keep_alive = keep
            if upgrade:
                request.upgrade = fields.get(b"upgrade", b"").lower()
        length = fields.get(b"content-length")
        coding = fields.get(b"transfer-encoding")
        if coding is not None:
            if request.http_version == "1.0":
                raise RemoteProtocolError("HTTP/1.0 has no Transfer-Encoding")
            if coding.lower() != b"chunked":
                raise RemoteProtocolError("the only Transfer-Encoding supported is chunked", 501 if coding else 400)
            request.chunked = True
            request.complete = False
            self._body = ChunkedBody(limits.max_body, limits.max_header_size, limits.max_headers)
        elif length is not None:
            request.content_length = self._left = int(length)
            request.complete = not self._left
            if limits.max_body and self._left > limits.max_body:
                raise RemoteProtocolError(f"the body is larger than {limits.max_body} bytes", 413)
        expect = fields.get(b"expect")
        if expect is not None and request.http_version == "1.1":
            if expect.lower() != b"100-continue":
                raise RemoteProtocolError("the only Expect supported is 100-continue", 417)
            request.expect_continue = not request.complete


def _other_form(method: str, target: bytes, version: str, headers: Headers, fields: dict[bytes, bytes]) -> Request:
    """The request of a target that is not a plain path: the form for proxies, or `*`."""
    if _HASH in target:
        raise RemoteProtocolError("the target has a fragment")
    if target == b"*" and method == "OPTIONS":
        request = Request(method, b"", version, headers)  # RFC 9112 3.3: it has neither path nor query
        request.target = target
        return request
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise RemoteProtocolError("the target is malformed")
    # RFC 9112 3.2.2: the target's host replaces that of the Host header, which 1.1 requires all the same.
    host = match[1]
    if b"@" in host:
        raise RemoteProtocolError("the target has a user before its host (user@host), which http does not allow")
    if b"host" in fields:
        headers[:] = [(name, host if name == b"host" else value) for name, value in headers]
        fields[b"host"] = host
    elif version == "1.0":
        headers.append((b"host", host))
        fields[b"host"] = host
    request = Request(method, (match[2] or b"/") + match[3], version, headers)
    request.target = target
    return request
