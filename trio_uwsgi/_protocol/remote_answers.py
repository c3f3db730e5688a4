"""Answers to calls over the uwsgi protocol, as values and bytes. Pure. Calls are in `remote_calls.py`.

A server encodes answers (`encode_answer`), a client reads them with an `AnswerReader`.
"""

from __future__ import annotations

from dataclasses import dataclass

from trio_uwsgi._protocol.packet import (
    CACHE,
    HEADER_SIZE,
    HELLO,
    MAX_BODY,
    PING,
    RESPONSE,
    RPC,
    decode_header,
    decode_vars,
    encode_packet,
    encode_vars,
)
from trio_uwsgi._protocol.remote_calls import (
    MAX_VARS,
    OLD_GET,
    OLD_STREAM,
    VARS,
    CacheCall,
    Call,
    HelloCall,
    OldCacheCall,
    PingCall,
    RpcCall,
    SignalCall,
    SpoolCall,
    decode_size,
)
from trio_uwsgi.errors import RemoteProtocolError

__all__ = [
    "Answer",
    "AnswerReader",
    "CacheAnswer",
    "Failure",
    "HelloAnswer",
    "PingAnswer",
    "RpcAnswer",
    "SignalAnswer",
    "encode_answer",
]

LARGE = 5  # modifier2 of an answer to RPC whose result follows the packet
MAX_REASON = 4096  # bytes; longer reasons are cut


@dataclass(frozen=True, slots=True, kw_only=True)
class HelloAnswer:
    """This node is trio_uwsgi: more calls may follow."""

    def encode(self) -> bytes:
        """The packet."""
        return encode_packet(HELLO, 1, b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class PingAnswer:
    """This node is reachable; `warning` is the message that a uWSGI node was configured to add, usually none."""

    warning: bytes = b""

    def encode(self) -> bytes:
        """The packet."""
        return encode_packet(PING, 1, self.warning)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalAnswer:
    """Whether the signal or the job was accepted; it is refused if the queue is full."""

    accepted: bool

    def encode(self) -> bytes:
        """The packet."""
        return encode_packet(RESPONSE, self.accepted, b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcAnswer:
    """The result of the function."""

    result: bytes

    def encode(self) -> bytes:
        """The packet, followed by the result if that is too long for it."""
        if len(self.result) <= MAX_BODY:
            return encode_packet(RPC, 0, self.result)
        length = encode_vars([(b"CONTENT_LENGTH", b"%d" % len(self.result))])
        return encode_packet(RPC, LARGE, length) + self.result


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheAnswer:
    """The command was executed.

    Args:
        value: for `get` the value; for arithmetic and `num` the new number as decimal text; for `keys` an array of the
            keys (`decode_array` reads it). None for the others.
        expires: for `get`, when the item expires, in seconds since the epoch; 0 is never.
    """

    value: bytes | None = None
    expires: int = 0

    def encode(self) -> bytes:
        """The packet, followed by the value."""
        pairs = [(b"status", b"ok")]
        if self.value is not None:
            pairs.append((b"size", b"%d" % len(self.value)))
        if self.expires:
            pairs.append((b"expires", b"%d" % self.expires))
        return encode_packet(CACHE, VARS, encode_vars(pairs)) + (self.value or b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The call failed or was refused.

    Args:
        kind: a word for code: `not-found`, `failed`, `refused`, `full`, `exists`, `too-large`, or another.
        reason: a sentence for people.
    """

    kind: str
    reason: str

    def encode(self) -> bytes:
        """The packet, for a connection that began with a hello."""
        reason = self.reason.encode("utf-8", "replace")[:MAX_REASON]
        return encode_packet(HELLO, 0, encode_vars([(b"kind", self.kind.encode()), (b"reason", reason)]))


Answer = RpcAnswer | SignalAnswer | CacheAnswer | PingAnswer | HelloAnswer | Failure


def encode_answer(call: Call, answer: Answer, *, greeted: bool) -> bytes:
    """The bytes that answer a call; `b""` if the answer is to close the connection.

    Args:
        call: the call that is answered.
        answer: of the call's kind, or a failure.
        greeted: the connection began with a hello.
    uWSGI: the same bytes, except that its answers to old cache commands have a pointer of its memory for a header.
    """
    if isinstance(call, OldCacheCall):
        return _encode_old(call.form, answer)
    if isinstance(answer, Failure) and not greeted:
        return SignalAnswer(accepted=False).encode() if isinstance(call, SignalCall | SpoolCall) else b""
    if isinstance(call, RpcCall) and isinstance(answer, RpcAnswer) and not greeted:
        # To uWSGI an empty result is the same as none: it sends nothing for both.
        return answer.result if call.style == 1 or not answer.result else answer.encode()
    return answer.encode()


def _encode_old(form: int, answer: Answer) -> bytes:
    """The answer to an old cache command. The old protocol does not distinguish missing and too long values."""
    value = answer.value if isinstance(answer, CacheAnswer) else None
    if form == OLD_STREAM:
        return encode_packet(CACHE, value is not None, b"") + (value or b"")
    if form != OLD_GET or value is None or len(value) > MAX_BODY:
        return b""
    return encode_packet(CACHE, OLD_GET, value)


# Which answers fit which call: modifier1, and modifier2 unless it is the answer.
_FITTING: dict[type[Call], tuple[int, tuple[int, ...] | None]] = {
    CacheCall: (CACHE, (VARS,)),
    HelloCall: (HELLO, (1,)),
    PingCall: (PING, None),
    RpcCall: (RPC, (0, LARGE)),
    SignalCall: (RESPONSE, None),
    SpoolCall: (RESPONSE, None),
}


class AnswerReader:
    """Reads the answer to one call. Buffers at most one packet, the largest result, and the data of one read.

    `rest` is the data after the answer, which only a connection that began with a hello may have.

    Args:
        call: the call; not an `OldCacheCall`.
        max_result: bytes of the largest result or value to accept.
    """

    __slots__ = ("_answer", "_bare", "_buffer", "_call", "_end", "_max", "_start", "rest")

    def __init__(self, call: Call, max_result: int) -> None:
        self._call = call
        self._max = max_result
        self._bare = isinstance(call, RpcCall) and call.style == 1
        self._buffer = bytearray()
        self._answer: Answer | None = None  # of the packet; its value follows
        self._start = self._end = 0  # position of that value in the buffer
        self.rest = b""

    def feed(self, data: bytes) -> Answer | None:
        """Parse input of the server.

        Returns:
            The answer once it is whole; do not feed more after it.
        Raises:
            RemoteProtocolError: this is not an answer to the call, or is larger than `max_result`. The connection is
                unusable then.
        """
        buffer = self._buffer
        buffer += data
        if self._bare:
            self._check_size(len(buffer))
            return None
        if self._answer is None:
            self._answer = self._read_packet()
            if self._answer is None:
                return None
        end = self._end
        if len(buffer) < end:
            return None
        answer = self._answer
        if end > self._start:
            value = bytes(memoryview(buffer)[self._start : end])
            if isinstance(answer, CacheAnswer):
                answer = CacheAnswer(value=value, expires=answer.expires)
            else:
                answer = RpcAnswer(result=value)
        self.rest = bytes(memoryview(buffer)[end:])
        return answer

    def feed_eof(self) -> Answer | None:
        """The server closed the connection.

        Returns:
            The answer, if the end completes it; None if there was not one byte, which is how uWSGI reports any failure.
        Raises:
            RemoteProtocolError: the answer is cut off.
        """
        seen = len(self._buffer)
        if not seen:
            return None
        if self._bare:
            return RpcAnswer(result=bytes(self._buffer))
        raise RemoteProtocolError(f"the connection ended after {seen} bytes of the answer, which is incomplete")

    def _check_size(self, size: int) -> None:
        if size > self._max:
            raise RemoteProtocolError(f"the answer is larger than {self._max} bytes")

    def _read_packet(self) -> Answer | None:
        """Read the packet, if it is whole, and find the value after it."""
        buffer = self._buffer
        if len(buffer) < HEADER_SIZE:
            return None
        modifier1, size, modifier2 = decode_header(buffer)
        fitting1, fitting2 = _FITTING[type(self._call)]
        failed = modifier1 == HELLO and modifier2 == 0
        if not failed and (modifier1 != fitting1 or (fitting2 is not None and modifier2 not in fitting2)):
            call = type(self._call).__name__
            raise RemoteProtocolError(
                f"the modifiers {modifier1} and {modifier2} are not those of an answer to a {call}"
            )
        self._start = self._end = end = HEADER_SIZE + size
        if len(buffer) < end:
            return None
        packet = bytes(memoryview(buffer)[HEADER_SIZE:end])
        if failed:
            found = dict(decode_vars(packet, MAX_VARS))
            kind, reason = found.get(b"kind", b""), found.get(b"reason", b"")
            return Failure(kind=kind.decode("utf-8", "replace"), reason=reason.decode("utf-8", "replace"))
        if modifier1 == RPC:
            return self._read_result(modifier2, packet)
        if modifier1 == CACHE:
            return self._read_status(packet)
        if modifier1 == RESPONSE:
            return SignalAnswer(accepted=modifier2 == 1)
        return PingAnswer(warning=packet) if modifier1 == PING else HelloAnswer()

    def _read_result(self, modifier2: int, packet: bytes) -> RpcAnswer:
        if modifier2 == 0:
            self._check_size(len(packet))
            return RpcAnswer(result=packet)
        found = dict(decode_vars(packet, MAX_VARS))
        size = decode_size("the size of a result", found.get(b"CONTENT_LENGTH", b""))
        self._check_size(size)
        self._end += size
        return RpcAnswer(result=b"")

    def _read_status(self, packet: bytes) -> CacheAnswer | Failure:
        found = dict(decode_vars(packet, MAX_VARS))
        status = found.get(b"status", b"").decode("latin-1")
        if status != "ok":
            return Failure(kind=status, reason=f"the cache answered {status!r}")
        if b"size" not in found:
            return CacheAnswer()
        size = decode_size("the size of a value", found[b"size"])
        self._check_size(size)
        self._end += size
        return CacheAnswer(value=b"", expires=decode_size("an expiry", found.get(b"expires") or b"0"))
