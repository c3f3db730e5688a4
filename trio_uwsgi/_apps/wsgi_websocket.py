"""A WebSocket of a WSGI application, which `uwsgi.websocket_handshake` and its companions use.

The application's code runs in the thread of its request, or inline, until its WebSocket ends; it returns an empty body
then. What follows the handshake is in `open_websocket.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

import trio

from trio_uwsgi._apps.open_websocket import OpenWebSocket, UpgradedExchange
from trio_uwsgi._apps.wsgi_exchange import WsgiExchange
from trio_uwsgi._apps.wsgi_inline_exchange import InlineExchange
from trio_uwsgi._http.websocket_handshake import Refused, is_handshake, read_offer
from trio_uwsgi.errors import LocalProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._apps.wsgi_inline import InlineDriver
    from trio_uwsgi._apps.wsgi_threads import WsgiDriver
    from trio_uwsgi._http.request import Request
    from trio_uwsgi._http.session import Session

__all__ = ["WsgiWebSocketExchange", "inline_exchange", "threads_exchange"]


class WsgiWebSocketExchange(UpgradedExchange, WsgiExchange):
    """The exchange of a request that asks for a WebSocket; the application may answer it as any other."""

    async def handshake(self, key: str, origin: str, subprotocol: str) -> None:
        """Accept the WebSocket.

        Args:
            key: the client's, or "".
            origin: for the header `Sec-WebSocket-Origin` of the answer, if it is not "".
            subprotocol: one that the client offers; "" for its first one, if it offers any.
        Raises:
            ClientDisconnected: the client is gone, or did not wait for the answer.
            LocalProtocolError: the request is no valid handshake, it has another key, the client does not offer the
                subprotocol, or the response has begun.
        Checkpoint: always.
        """
        await trio.lowlevel.checkpoint()
        offer = read_offer(self.request)
        if isinstance(offer, Refused):
            raise LocalProtocolError(offer.reason)
        if key and key.encode("latin-1", "replace") != offer.key:
            raise LocalProtocolError(f"{key!r} is not the key of this request; leave it out")
        if self.raw or self.response.started:
            raise LocalProtocolError("the response of this request has begun")
        chosen = subprotocol or (offer.subprotocols[0] if offer.subprotocols else None)
        headers = [(b"sec-websocket-origin", origin.encode("latin-1"))] if origin else []
        if not self.over:
            self.open_websocket(offer, cast("WsgiDriver | InlineDriver", self.driver).pings, chosen, headers)
        if self.websocket is None:
            self.deliver(b"", True)  # raises the fitting error

    async def receive_message(self, wait: bool) -> str | bytes | None:
        """The next message. None: there is none yet, if `wait` is False.

        Raises:
            ClientDisconnected: the WebSocket is closed.
            LocalProtocolError: there was no handshake.
        Checkpoint: always.
        """
        websocket = self._opened()
        await trio.lowlevel.checkpoint()
        while wait and not websocket.readable:
            await self.session.wait_arrival()
        message = websocket.take()
        if message is None and self.gone:
            self.drop()  # if the client has closed its side without a close frame
            code, reason, _ = websocket.closing
            raise self.disconnected(f"the WebSocket is closed: {code} {reason}".rstrip())
        return message

    async def send_message(self, message: str | bytes) -> None:
        """Send a message, and wait while the client has too much unread.

        Raises:
            ClientDisconnected: the WebSocket is closed.
            LocalProtocolError: there was no handshake.
        Checkpoint: always.
        """
        websocket = self._opened()
        if self.session.eof:
            self.drop()
        if self.over:
            code, reason, _ = websocket.closing
            raise self.disconnected(f"the WebSocket is closed: {code} {reason}".rstrip())
        await websocket.send(message)

    def _opened(self) -> OpenWebSocket:
        if self.websocket is None:
            raise LocalProtocolError("this request has no WebSocket yet: call uwsgi.websocket_handshake() first")
        return self.websocket

    # ----- the rest of an exchange

    @property
    def gone(self) -> bool:
        """As of an exchange. What the client sent before it closed its side is read first."""
        return super().gone if self.websocket is None else self.over or self.session.eof

    def set_notified(self) -> None:
        """Once the application has heard that its WebSocket is closed, its errors tell that and nothing else."""
        super().set_notified()
        self.notified |= self.websocket is not None

    def start(self, status: object, headers: Iterable[Sequence[bytes]], reason: bytes = b"") -> None:
        """As of an exchange. Frameworks respond to a WebSocket too, when it has ended; nothing is sent then."""
        if self.websocket is None:
            super().start(status, headers, reason)

    def encode(self, piece: bytes, more: bool) -> bytes:
        """As of an exchange.

        Raises:
            LocalProtocolError: a WebSocket has no body.
        """
        if self.websocket is not None and piece:
            raise LocalProtocolError(
                "the application returned a body after its WebSocket; return an empty one, and send messages before"
            )
        return super().encode(piece, more)

    def deliver(self, data: bytes, more: bool) -> None:
        """As of an exchange; the end of the application closes its WebSocket."""
        if self.websocket is None or self.over or more:
            super().deliver(data, more)
        else:
            self.end_raw()

    async def receive_raw(self, size: int) -> bytes:
        """As of an exchange.

        Raises:
            LocalProtocolError: this is a WebSocket.
        """
        if self.websocket is not None:
            raise LocalProtocolError("a WebSocket has messages: receive them with uwsgi.websocket_recv()")
        return await super().receive_raw(size)

    async def until_ready(self, writing: bool) -> None:
        """As of an exchange: ready once there is a message, or it is closed."""
        websocket = self.websocket
        if writing or websocket is None:
            await super().until_ready(writing)
            return
        await trio.lowlevel.checkpoint()
        while not websocket.readable:
            await self.session.wait_arrival()


class InlineWebSocketExchange(WsgiWebSocketExchange, InlineExchange):
    """The same on Trio's own thread."""


def threads_exchange(session: Session, request: Request) -> WsgiExchange:
    """Make the exchange of a request whose application runs in a thread."""
    if request.upgrade == b"websocket" and is_handshake(request):
        return WsgiWebSocketExchange(session, request)
    return WsgiExchange(session, request)


def inline_exchange(session: Session, request: Request) -> InlineExchange:
    """Make the exchange of a request whose application runs on Trio's own thread."""
    if request.upgrade == b"websocket" and is_handshake(request):
        return InlineWebSocketExchange(session, request)
    return InlineExchange(session, request)
