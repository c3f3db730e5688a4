"""The WebSockets of Starlette's `TestClient`, and of FastAPI's, over a socket; `over_socket.py` puts them in place.

What a test sends and receives are ASGI messages, as with the original: here each is a frame. Headers are those of the
test client, but for what the handshake of RFC 6455 needs. The code of a close that comes instead of an accept is not on
the wire, where it is a response with status 403; so it is what the application has sent.
"""

from __future__ import annotations

import base64
import http.client
import importlib
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, Self

from wsproto import ConnectionType, events
from wsproto.connection import Connection

testclient: Any = importlib.import_module("starlette.testclient")

Headers = list[tuple[str, str]]


class Call(Protocol):
    """The call of the application that serves the WebSocket."""

    sent: Headers
    closed: dict[str, Any] | None  # the message of a close that came instead of an accept

    def wait(self) -> None:
        """Wait until the application has returned, and raise what it raised."""


class Session(testclient.WebSocketTestSession):  # type: ignore[misc]
    """As `WebSocketTestSession`.

    Args:
        request: what the test client would have sent.
        connect: makes a connection to the server; from then on the call belongs to it.
        compare: takes the headers that the application sent and those that arrived; gives those of the application.
    """

    def __init__(
        self,
        request: Any,
        connect: Callable[[], tuple[socket.socket, Call]],
        compare: Callable[[Headers, Headers], Headers],
    ) -> None:
        self._request = request
        self._connect = connect
        self._compare = compare
        self._frames = Connection(ConnectionType.CLIENT)
        self._messages: deque[dict[str, Any]] = deque()
        self._parts: list[Any] = []  # of a message that has not arrived whole
        self._open = False

    def __enter__(self) -> Self:
        self._socket, self._call = self._connect()
        try:
            self._shake_hands()
        except BaseException:
            self._socket.close()
            raise
        return self

    def _shake_hands(self) -> None:
        given = [(name, value) for name, value in self._request.headers.raw if name.lower() != b"sec-websocket-key"]
        given += [(b"Upgrade", b"websocket"), (b"Sec-WebSocket-Key", base64.b64encode(os.urandom(16)))]
        head = b"".join(b"%s: %s\r\n" % field for field in given)
        self._socket.sendall(b"GET %s HTTP/1.1\r\n%s\r\n" % (self._request.url.raw_path, head))
        response = http.client.HTTPResponse(self._socket, method="GET")
        response.begin()
        if response.status != 101:
            body = response.read()
            self._call.wait()
            if self._call.closed is not None:
                assert (403, b"") == (response.status, body)
                self._raise_on_close(self._call.closed)
            headers = self._compare(self._call.sent, response.getheaders())
            raise testclient.WebSocketDenialResponse(status_code=response.status, headers=headers, content=body)
        self._response = response  # whose stream may have read frames with the head; it is closed with the response
        self._open = True
        self.accepted_subprotocol = response.getheader("Sec-WebSocket-Protocol")
        headers = self._compare(self._call.sent, response.getheaders())
        self.extra_headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]

    def __exit__(self, *args: object) -> None:
        try:
            if self._open:
                self.close()
            while self._read():
                pass
        finally:
            self._response.close()
            self._socket.close()
            self._call.wait()

    def send(self, message: dict[str, Any]) -> None:
        """Send what the application is to receive."""
        if message["type"] == "websocket.disconnect":
            self._open = False
            self._send(events.CloseConnection(message["code"], message.get("reason")))
        else:
            assert message["type"] == "websocket.receive", f"no client can send {message}"
            text = message.get("text")
            self._send(events.TextMessage(text) if text is not None else events.BytesMessage(message["bytes"]))

    def _send(self, event: events.Event) -> None:
        self._socket.sendall(self._frames.send(event))

    def receive(self) -> dict[str, Any]:
        """Wait for what the application sends."""
        while not self._messages:
            if not self._read():
                self._call.wait()
                raise AssertionError("the application sent nothing more")
        return self._messages.popleft()

    def _read(self) -> bool:
        """Read once. False: there is nothing more."""
        data = self._response.fp.read1(65536)
        if data:
            self._frames.receive_data(data)
            for event in self._frames.events():
                self._handle(event)
        return bool(data)

    def _handle(self, event: events.Event) -> None:
        if isinstance(event, events.Message):
            self._parts.append(event.data)
            if event.message_finished:
                kind = "text" if isinstance(event, events.TextMessage) else "bytes"
                whole = type(self._parts[0])().join(self._parts)
                self._parts.clear()
                self._messages.append({"type": "websocket.send", kind: whole})
        elif isinstance(event, events.CloseConnection):
            self._messages.append({"type": "websocket.close", "code": int(event.code), "reason": event.reason or ""})
            if self._open:
                self._open = False
                self._send(event.response())
