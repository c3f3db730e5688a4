"""A WebSocket client over any Trio stream, for tests: wsproto, and one task that reads."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial

import trio
from wsproto import ConnectionType, WSConnection, events
from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

__all__ = ["WebSocketClient", "WebSocketClosed", "WebSocketDenied", "open_websocket"]

# Messages that wait for the test; then the client reads no more, and does not answer pings.
_WAITING = 1000


class WebSocketClosed(Exception):
    """The WebSocket is closed. `code` and `reason` are the server's; 1006 if the connection ended without them."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the WebSocket is closed: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class WebSocketDenied(Exception):
    """The application did not accept the WebSocket; `status`, `headers` and `body` are its response."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        super().__init__(f"the WebSocket was denied with status {status}")
        self.status = status
        self.headers = headers
        self.body = body


class WebSocketClient:
    """An open WebSocket of a test. Pings are answered by themselves.

    `subprotocol` is what the application has chosen, `headers` those of its answer.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._sending = trio.Lock()
        self._arriving, self._arrived = trio.open_memory_channel[str | bytes](_WAITING)
        self._end: WebSocketClosed | None = None
        self.subprotocol: str | None = None
        self.headers: list[tuple[bytes, bytes]] = []

    async def send(self, data: str | bytes) -> None:
        """Send a message.

        Raises:
            WebSocketClosed: it is closed.
        Checkpoint: always.
        """
        await self._send(events.TextMessage(data) if isinstance(data, str) else events.BytesMessage(data))

    async def receive(self) -> str | bytes:
        """Wait for the next message.

        Raises:
            WebSocketClosed: it is closed, and all messages have been received.
        Checkpoint: always.
        """
        try:
            return await self._arrived.receive()
        except trio.EndOfChannel:
            assert self._end is not None
            raise self._end from None

    async def close(self, code: int = 1000, reason: str = "") -> WebSocketClosed:
        """Close it, if it is open, and wait for the server's answer, which is returned.

        Checkpoint: always.
        """
        if self._end is None:
            with contextlib.suppress(WebSocketClosed):
                await self._send(events.CloseConnection(code, reason))
        while True:
            try:
                await self.receive()
            except WebSocketClosed as end:
                return end

    async def _send(self, event: events.Event) -> None:
        async with self._sending:
            try:
                data = self._protocol.send(event)
            except LocalProtocolError:
                raise self._end or WebSocketClosed(1006, "") from None
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.send_all(data)

    async def _read(self, data: bytes) -> None:
        """Handle what the server sends until it closes; `data` came with its answer to the handshake."""
        end = WebSocketClosed(1006, "")
        with self._arriving:
            text: list[str | bytes] = []
            while True:
                for event in self._events(data):
                    if isinstance(event, events.Message):
                        text.append(event.data)
                        if event.message_finished:
                            await self._arriving.send(type(event.data)().join(text))
                            text = []
                    elif isinstance(event, events.Ping):
                        with contextlib.suppress(WebSocketClosed):
                            await self._send(event.response())
                    elif isinstance(event, events.CloseConnection):
                        end = WebSocketClosed(int(event.code), event.reason or "")
                        with contextlib.suppress(LocalProtocolError, WebSocketClosed):
                            await self._send(event.response())
                try:
                    data = bytes(await self._stream.receive_some(65536))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    data = b""
                if not data:
                    self._end = end
                    return

    def _events(self, data: bytes) -> Iterable[events.Event]:
        if data:
            self._protocol.receive_data(data)
        return self._protocol.events()

    async def _shake_hands(self, request: events.Request) -> None:
        await self._stream.send_all(self._protocol.send(request))
        status, headers, body = 0, list[tuple[bytes, bytes]](), b""
        while True:
            data = bytes(await self._stream.receive_some(65536))
            if not data:
                raise WebSocketDenied(status, headers, body)
            try:
                self._protocol.receive_data(data)
            except RemoteProtocolError as error:
                raise WebSocketDenied(getattr(error.event_hint, "status_code", 400), [], b"") from error
            for event in self._protocol.events():
                if isinstance(event, events.AcceptConnection):
                    self.subprotocol, self.headers = event.subprotocol, list(event.extra_headers)
                    return
                if isinstance(event, events.RejectConnection):
                    status, headers = event.status_code, list(event.headers)
                    if not event.has_body:
                        raise WebSocketDenied(status, headers, body)
                elif isinstance(event, events.RejectData):
                    body += event.data
                    if event.body_finished:
                        raise WebSocketDenied(status, headers, body)


@contextlib.asynccontextmanager
async def open_websocket(
    connect: Callable[[], trio.abc.Stream],
    target: str,
    *,
    host: str,
    subprotocols: Iterable[str],
    headers: Iterable[tuple[bytes, bytes]],
    deflate: bool,
) -> AsyncIterator[WebSocketClient]:
    """Open a WebSocket while the body runs, and close it then."""
    stream = connect()
    client = WebSocketClient(stream)
    extensions = [PerMessageDeflate()] if deflate else []
    try:
        await client._shake_hands(
            events.Request(
                host=host,
                target=target,
                subprotocols=list(subprotocols),
                extra_headers=list(headers),
                extensions=extensions,
            )
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(client._read, b""))
            yield client
            await client.close()
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)
