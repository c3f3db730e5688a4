"""Requests over the uwsgi protocol: bytes in, requests for a session out. Pure.

A front server sends a packet of CGI vars, then the body: `UwsgiRequest`, see `uwsgi_http.py`. Other nodes send packets
that are calls: `PacketRequest`; `_protocol/remote_calls.py` decodes them. A connection ends after one of either, unless
it began with a hello. `UwsgiParser` reads both, with the interface of `http1.RequestParser`.

`feed` never raises, whatever the client sends: `error` says what was wrong. The result does not depend on how the input
is cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_uwsgi._http.bodies import BODY, DONE, START, BodyParser
from trio_uwsgi._http.chunked import ChunkedBody
from trio_uwsgi._http.request import Request
from trio_uwsgi._http.response import error_response
from trio_uwsgi._http.uwsgi_http import HTTP_STYLE, RpcRequest, UwsgiRequest, UwsgiResponse, without_script_name
from trio_uwsgi._protocol.packet import (
    CACHE,
    HEADER_SIZE,
    HELLO,
    MANAGED,
    PING,
    RPC,
    SIGNAL,
    SPOOL,
    WSGI,
    decode_header,
    decode_vars,
)
from trio_uwsgi._protocol.remote_answers import Failure
from trio_uwsgi._protocol.remote_calls import VARS, Call, decode_call, decode_size, value_size
from trio_uwsgi.errors import RemoteProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._http.limits import Limits

__all__ = ["PacketRequest", "RpcRequest", "UwsgiParser", "UwsgiRequest", "UwsgiResponse"]

# Vars that are not headers. A front server sends a few dozen; Apache adds its own environment.
OTHER_VARS = 128

# Packets parsed at once. A packet of 4 bytes becomes a request of 400, so one piece of input could become megabytes;
# our own clients wait for an answer before they send the next call.
EARLY = 64


class PacketRequest(Request):
    """A packet that is a call, or is of an unknown kind, which its handler refuses.

    Data after a packet (the value that a cache stores) is like the body of a request.

    Args:
        modifier1: of the packet.
        modifier2: of the packet.
        packet: its body.
    """

    __slots__ = ("modifier2", "packet")

    def __init__(self, modifier1: int, modifier2: int, packet: bytes) -> None:
        # A log shows it as "UWSGI 173/0".
        super().__init__("UWSGI", b"%d/%d" % (modifier1, modifier2), "1.0", [])
        self.modifier1 = modifier1
        self.modifier2 = modifier2
        self.packet = packet

    def call(self, body: bytes = b"") -> Call:
        """Decode the call.

        Args:
            body: all data after the packet, once it is complete.
        Raises:
            RemoteProtocolError: it cannot be read, or these modifiers are not supported.
        """
        return decode_call(self.modifier1, self.modifier2, self.packet, body)


class UwsgiParser(BodyParser):
    """Reads the requests of one connection, of which there is one, or many after a hello.

    `error` is set instead of raising; `refusal` makes the answer to it. Nothing is read after it.

    Buffers one packet at most, until it is whole. Bytes of a body are in its request, as with HTTP: code that collects
    them must check `content_length` first, because `max_body` may be no limit.

    Args:
        limits: what one request may take. `max_header_size` limits the packet of vars, and `max_headers` the vars that
            are headers.
    """

    __slots__ = (
        "_http",
        "_limits",
        "_modifiers",
        "_partial",
        "_size",
        "error",
        "greeted",
        "held",
        "method",
    )

    response_type = UwsgiResponse  # of the requests it reads

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._state = START
        self._partial = bytearray()  # the beginning of a packet
        self._size = HEADER_SIZE  # bytes of that packet, as far as known
        self._modifiers = 0, 0  # of that packet
        self._http = False  # the newest packet gets an HTTP response
        self._request: Request | None = None  # whose body is being read
        self._body: ChunkedBody | None = None
        self._left = 0  # bytes missing of a body that is not chunked
        self.error: RemoteProtocolError | None = None
        self.held = b""  # input after `EARLY` packets
        self.method = ""  # of the newest request, once it is known
        self.greeted = False  # the client is trio_uwsgi: many packets per connection, and failures have reasons

    @property
    def idle(self) -> bool:
        """Is it between two requests, without a byte of the next packet?"""
        return self._state != BODY and not self._partial and not self.held and self.error is None

    @property
    def in_head(self) -> bool:
        """Has a packet begun and not ended?"""
        return bool(self._partial)

    def refusal(self, status: int, message: str, date: bytes, method: str) -> bytes:
        """The answer to the newest packet, or to input that is not one, that no application answers."""
        if self.greeted:
            return Failure(kind="refused" if status < 500 else "failed", reason=message).encode()
        return error_response(status, message, date, method == "HEAD") if self._http else b""

    def feed(self, data: bytes) -> list[Request]:
        """Parse input of the client.

        Args:
            data: bytes in the order of arrival, in pieces of any size.
        Returns:
            The requests whose packet ended in `data`, in order, `EARLY` at most: the rest is `held`, and is parsed by
            feeding `b""` when these were answered. Bytes of a body go to the newest request's `chunks`; every request
            but the newest is complete. Input after the only request is ignored.
        """
        requests: list[Request] = []
        position = 0
        if self.held:
            data = self.held + data
            self.held = b""
        size = len(data)
        try:
            while position < size and self._state != DONE:
                if self._state == START:
                    if len(requests) == EARLY:
                        self.held = data[position:]
                        break
                    position = self._read_packet(data, position, requests)
                else:
                    position = self._read_body(data, position)
        except RemoteProtocolError as error:
            self.error = error
            self._state = DONE
            self._partial.clear()
        return requests

    def _read_packet(self, data: bytes, position: int, requests: list[Request]) -> int:
        """Read as much of a packet as has arrived."""
        partial = self._partial
        if not partial and len(data) - position >= HEADER_SIZE:
            self._announced(*decode_header(data, position))
            end = position + self._size
            if end <= len(data):  # it is whole in one piece of input, as usual
                requests.append(self._finish(data[position + HEADER_SIZE : end]))
                return end
            self._size = HEADER_SIZE
        while len(partial) < self._size:
            piece = data[position : position + self._size - len(partial)]
            if not piece:
                return position
            partial += piece
            position += len(piece)
            if len(partial) == HEADER_SIZE:
                self._announced(*decode_header(partial))
        packet = bytes(memoryview(partial)[HEADER_SIZE:])
        partial.clear()
        requests.append(self._finish(packet))
        return position

    def _finish(self, packet: bytes) -> Request:
        """Make the request of a packet that is whole."""
        modifier1, modifier2 = self._modifiers
        request = self._http_request(modifier1, packet) if self._http else self._call(modifier1, modifier2, packet)
        self._size = HEADER_SIZE
        if not request.complete:
            self._request = request
            self._state = BODY
        elif not request.keep_alive:
            self._state = DONE
        return request

    def _announced(self, modifier1: int, size: int, modifier2: int) -> None:
        """Handle a packet's header: refuse the packet here if possible, before it takes memory."""
        self._http = modifier1 in (WSGI, MANAGED) or (modifier1 == RPC and modifier2 == HTTP_STYLE)
        if self.greeted and not _is_framed(modifier1, modifier2):
            raise RemoteProtocolError(
                f"no answer to modifier1 {modifier1} with modifier2 {modifier2} says where it ends"
            )
        if self._http and size > self._limits.max_header_size:
            raise RemoteProtocolError(f"the packet of vars is larger than {self._limits.max_header_size} bytes", 431)
        self._size = HEADER_SIZE + size
        self._modifiers = modifier1, modifier2

    def _http_request(self, modifier1: int, packet: bytes) -> UwsgiRequest:
        limits = self._limits
        if not packet:
            raise RemoteProtocolError("the request is empty")
        pairs = decode_vars(packet, limits.max_headers + OTHER_VARS)
        if modifier1 == MANAGED:
            pairs = without_script_name(pairs)
        request = RpcRequest(pairs) if modifier1 == RPC else UwsgiRequest(pairs)
        self.method = request.method
        if len(pairs) > limits.max_headers and len(request.headers) > limits.max_headers:
            raise RemoteProtocolError(f"there are more than {limits.max_headers} headers", 431)
        get = request.vars.get
        length = get(b"CONTENT_LENGTH")
        if length:
            # nginx decodes chunks and sends a length, even if it forwards the client's Transfer-Encoding as a header.
            self._expect(request, decode_size("CONTENT_LENGTH", length))
        elif get(b"HTTP_TRANSFER_ENCODING", b"").lower() == b"chunked":
            request.chunked = True
            request.complete = False
            self._body = ChunkedBody(limits.max_body, limits.max_header_size, limits.max_headers)
        return request

    def _call(self, modifier1: int, modifier2: int, packet: bytes) -> PacketRequest:
        request = PacketRequest(modifier1, modifier2, packet)
        if modifier1 == HELLO and modifier2 == 1:
            self.greeted = True
        request.keep_alive = self.greeted
        if modifier1 == CACHE and modifier2 == VARS:
            self._expect(request, value_size(packet))
        return request

    def _expect(self, request: Request, size: int) -> None:
        """`size` bytes of body follow."""
        if self._limits.max_body and size > self._limits.max_body:
            raise RemoteProtocolError(f"the body is larger than {self._limits.max_body} bytes", 413)
        request.content_length = self._left = size
        request.complete = not size


def _is_framed(modifier1: int, modifier2: int) -> bool:
    """Does the answer to such a packet have a length, so that another can follow?"""
    return modifier1 in (PING, SIGNAL, SPOOL) or (modifier1, modifier2) in ((RPC, 0), (CACHE, VARS), (HELLO, 1))
