"""WebSocket (RFC 6455) after the handshake: bytes in, events out, and messages as bytes. Pure.

wsproto parses and writes the frames. `deflate.py` bounds messages while they arrive, and compresses them;
`websocket_handshake.py` is what comes before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from wsproto.frame_protocol import CloseReason, Frame, FrameProtocol, Opcode, ParseFailed

if TYPE_CHECKING:
    from trio_uwsgi._http.deflate import MessageExtension

__all__ = ["Closed", "Event", "Message", "Ping", "Pong", "WebSocket"]


class Message(NamedTuple):
    """A whole message of the client, and how many bytes it had."""

    data: str | bytes
    size: int


class Ping(NamedTuple):
    """The client asks for a `Pong` with the same payload."""

    payload: bytes


class Pong(NamedTuple):
    """The answer to a ping."""

    payload: bytes


class Closed(NamedTuple):
    """The last event: the client has sent a close frame or, with `failure`, something that is not allowed.

    `code` is what the application gets, and what is sent back; 1005 stands for none.
    """

    code: int
    reason: str
    failure: bool = False


Event: TypeAlias = Message | Ping | Pong | Closed


class WebSocket:
    """The frames of one connection, on the side of the server.

    `feed` never raises, whatever the client sends: a mistake is a `Closed`. Nothing is read after that.

    Args:
        extension: bounds and compresses messages.
    """

    __slots__ = ("_extension", "_parts", "_protocol", "_size", "closed")

    def __init__(self, extension: MessageExtension) -> None:
        self._extension = extension
        self._protocol = FrameProtocol(client=False, extensions=[extension])
        self._parts: list[str | bytes] = []  # of the message that arrives
        self.closed = False  # the client has sent its last frame

    def feed(self, data: bytes) -> list[Event]:
        """Parse input of the client, in pieces of any size."""
        events: list[Event] = []
        if self.closed:
            return events
        self._protocol.receive_bytes(data)
        try:
            for frame in self._protocol.received_frames():
                event = self._event(frame)
                if event is not None:
                    events.append(event)
        except ParseFailed as error:
            self.closed = True
            events.append(Closed(error.code, self._problem(error), failure=True))
        return events

    def _problem(self, error: ParseFailed) -> str:
        """What is wrong, in words that do not depend on how the input was cut, as those of Python's decoder do."""
        if isinstance(error.__context__, UnicodeDecodeError):
            return "the text is not valid UTF-8"
        return self._extension.problem or str(error)

    def _event(self, frame: Frame) -> Event | None:
        payload = frame.payload
        if isinstance(payload, tuple):
            self.closed = True
            return Closed(*payload)
        if frame.opcode is Opcode.PING:
            assert isinstance(payload, bytes)
            return Ping(payload)
        if frame.opcode is Opcode.PONG:
            assert isinstance(payload, bytes)
            return Pong(payload)
        self._parts.append(payload)
        if not frame.message_finished:
            return None
        parts, self._parts = self._parts, []
        whole = parts[0] if len(parts) == 1 else type(payload)().join(parts)  # type: ignore[arg-type]  # all are alike
        return Message(whole, self._extension.size)

    def message(self, data: str | bytes) -> bytes:
        """The bytes of a message."""
        return bytes(self._protocol.send_data(data))

    def ping(self, payload: bytes) -> bytes:
        """The bytes of a ping."""
        return bytes(self._protocol.ping(payload))

    def pong(self, payload: bytes) -> bytes:
        """The bytes of a pong."""
        return bytes(self._protocol.pong(payload))

    def close(self, code: int, reason: str = "") -> bytes:
        """The bytes of a close frame. The reason is cut to the 123 bytes that fit; 1005 sends neither."""
        if code == CloseReason.NO_STATUS_RCVD:
            return bytes(self._protocol.close())
        return bytes(self._protocol.close(code, reason or None))
