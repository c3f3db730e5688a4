"""One request of an ASGI application: its scope, `receive` and `send`. WebSockets are in `asgi_websocket.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import trio

from trio_uwsgi._apps.app_files import send_message
from trio_uwsgi._apps.runners import RunnerExchange
from trio_uwsgi.errors import ClientDisconnected, LocalProtocolError

__all__ = ["AsgiApp", "AsgiExchange", "Message", "Receive", "Send", "as_bytes"]

# The types of the ASGI specification: messages and scopes are dicts whose keys depend on their type.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


EXTENSIONS: dict[str, dict[str, object]] = {"http.response.pathsend": {}, "http.response.zerocopysend": {}}


class AsgiExchange(RunnerExchange):
    """An exchange with the application's `receive` and `send`."""

    __slots__ = ()

    def asgi_scope(self, state: dict[str, object]) -> dict[str, object]:
        """The scope of the application, with a copy of the lifespan's state."""
        scope = self.request.asgi_scope(self.session.peer, state)
        scope["extensions"] = EXTENSIONS.copy()
        return scope

    def refuse(self) -> bool:
        """Answer a request that no application can. True: it was refused."""
        return False

    async def receive(self) -> Message:
        """The next `http.request`, then `http.disconnect` once the client disconnected or has the whole response.

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
        while not self.gone:
            await self.session.wait_arrival()
        self.set_notified()
        if self.cancelled or self.runner.is_ended():
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send `http.response.start` or `http.response.body`. Waits only if the client is slow to read.

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
            else:
                self.complete(piece)
        elif kind == "http.response.start":
            if self.response.started:
                raise LocalProtocolError("the application sent http.response.start twice")
            self.start(message["status"], message.get("headers", ()))
        elif kind in EXTENSIONS:
            await send_message(self, message)
        else:
            raise LocalProtocolError(
                f"the application sent {kind!r}; an http request takes http.response.start, then http.response.body"
            )


def as_bytes(piece: object) -> bytes:
    if isinstance(piece, bytes | bytearray | memoryview):  # a subclass of bytes, too
        return bytes(piece)
    raise LocalProtocolError(f"the application sent a body of type {type(piece).__name__}; it must be bytes")
