"""One request of an ASGI application: its scope, `receive` and `send`. WebSockets are in `asgi_websocket.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any

import trio
from mypy_extensions import mypyc_attr

from trio_uwsgi._apps.app_files import send_file_message
from trio_uwsgi._apps.runner_exchange import RunnerExchange
from trio_uwsgi._http.early_hints import encode_hints, takes_hints, write_hints
from trio_uwsgi._http.request import FILES
from trio_uwsgi.errors import ClientDisconnected, LocalProtocolError

__all__ = ["AsgiApp", "AsgiExchange", "Message", "Receive", "Send", "as_bytes"]

# The types of the ASGI specification: messages and scopes are dicts whose keys depend on their type.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


@mypyc_attr(allow_interpreted_subclasses=True)
class AsgiExchange(RunnerExchange):
    """An exchange with the application's `receive` and `send`."""

    __slots__ = ("_trailers",)

    refusable = False  # True: `refuse` is asked before the application

    _trailers: list[Sequence[bytes]] | None  # if `trailing`: what was sent of them; None before the end of the body

    def asgi_scope(self, state: dict[str, object]) -> dict[str, object]:
        """The scope of the application, with a copy of the lifespan's state."""
        scope: dict[str, Any] = self.request.asgi_scope(self.session.peer, state)
        if self.session.service.early_hints and takes_hints(self):
            scope["extensions"]["http.response.early_hint"] = {}
        return scope

    @property
    def told(self) -> bool:
        """Is it time for the application to end a response that would not end by itself?

        One with a Content-Length ends by itself, and one that has not begun may be short.
        """
        return self.session.service.streams_end and self.response.sent_head and self.response.left < 0

    def drain(self) -> None:
        self.session._arrived()  # `receive` looks

    def refuse(self) -> bool:
        """Answer a request that no application can. True: it was refused."""
        return False

    async def receive(self) -> Message:
        """The next `http.request`; then `http.disconnect`, once the client disconnected or has the whole response, or
        the application is told to end a stream.

        A message that is available is returned even under a cancelled scope, as applications use one to check whether
        the client is still connected. But a cancellation of the whole request is delivered: otherwise an application
        that receives in a loop could not be cancelled.
        """
        if not (self.body_read or self.over):
            try:
                body = await self.receive_body() if not self.request.complete else self.request.take_body()
            except ClientDisconnected:
                self.body_read = True
                return {"type": "http.disconnect"}
            more = not self.request.complete
            self.body_read = not more
            return {"type": "http.request", "body": body, "more_body": more}
        while not (self.gone or self.told):
            await self.session.wait_arrival()
        self.set_notified()
        if self.cancelled or self.runner.is_ended():
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send `http.response.start` or `http.response.body`, or what the extensions in the scope allow. Waits only if
        the client is slow to read.

        Raises:
            ClientDisconnected: the client disconnected (ASGI 2.4).
            LocalProtocolError: the message is not allowed here.
        """
        kind = message["type"]
        if self.over:
            self.deliver(b"", False)  # raises the fitting error
        elif kind == "http.response.body":
            piece = message.get("body", b"")
            if type(piece) is not bytes:
                piece = as_bytes(piece)
            if message.get("more_body"):
                await self.send_piece(piece)
            elif self.trailing:
                await self._end_body(piece)
            else:
                self.complete(piece)
        elif kind == "http.response.start":
            if self.response.started:
                raise LocalProtocolError("the application sent http.response.start twice")
            if message.get("trailers"):
                self._start_with_trailers(message["status"], message.get("headers", ()))
            else:
                self.start(message["status"], message.get("headers", ()))
        elif kind == "http.response.trailers" and self.trailing:
            self._send_trailers(message)
        elif kind == "http.response.early_hint":
            write_hints(self, encode_hints(self, [(b"link", link) for link in message["links"]]))
            await self.wait_for_space()
        elif kind in FILES:
            await self._send_file(message)
        else:
            raise LocalProtocolError(
                f"the application sent {kind!r}; an http request takes http.response.start, then http.response.body"
            )

    async def _send_file(self, message: Message) -> None:
        """Send a file, or a part of one; trailers may follow the last."""
        if not self.trailing:
            await send_file_message(self, message, False)
            return
        if self._trailers is not None:
            raise LocalProtocolError(f"the application sent {message['type']} after the end of the body")
        if await send_file_message(self, message, True):
            self._trailers = []

    # ----- trailers: the body is complete, and the response is not

    def _start_with_trailers(self, status: object, headers: Iterable[Sequence[bytes]]) -> None:
        headers = list(headers)
        names = [value for name, value in headers if name.lower() == b"trailer"]
        self.start(status, [header for header in headers if header[0].lower() != b"trailer"])
        self.response.announce_trailers(names)
        self.trailing = True
        self._trailers = None

    async def _end_body(self, piece: bytes) -> None:
        """Send the last piece, and expect the trailers."""
        if self._trailers is not None:
            raise LocalProtocolError("the application sent http.response.body after the last one; trailers follow that")
        await self.send_piece(piece)
        self._trailers = []

    def _send_trailers(self, message: Message) -> None:
        if self._trailers is None:
            raise LocalProtocolError("the application sent http.response.trailers before the last http.response.body")
        self._trailers += message.get("headers", ())
        if not message.get("more_trailers"):
            self.deliver(self.response.trailers(self._trailers), False)

    # ----- the end of a stream

    def leave_unanswered(self) -> None:
        """End an exchange whose application has returned because it was told that its client is gone.

        If that was to end a stream, its client is there. An event stream is complete at any time; the rest of another
        body would be missing without a sign, so the client sees that the connection is cut.
        """
        if self.gone or not self._is_event_stream():
            super().leave_unanswered()
        else:
            self.complete(b"")

    def _is_event_stream(self) -> bool:
        return self.response.sent_head and any(
            name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream")
            for name, value in self.headers
        )


def as_bytes(piece: object) -> bytes:
    if isinstance(piece, bytes | bytearray | memoryview):  # a subclass of bytes, too
        return bytes(piece)
    raise LocalProtocolError(f"the application sent a body of type {type(piece).__name__}; it must be bytes")
