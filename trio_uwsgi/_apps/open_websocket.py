"""A WebSocket over HTTP/1.1 once the application has accepted its handshake: the same for ASGI and WSGI.

The handshake is an ordinary request. After it, input goes through `_http/websocket.py` as it arrives: pings are
answered and a close is completed at once, whatever the application does meanwhile. Messages wait for the application,
up to `HIGH_WATER` bytes; then the client is not read.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._http.access_record import note_head
from trio_uwsgi._http.deadlines import Deadlines
from trio_uwsgi._http.deflate import MessageExtension, negotiate
from trio_uwsgi._http.exchange import Exchange
from trio_uwsgi._http.limits import HIGH_WATER
from trio_uwsgi._http.response import upgrade_response
from trio_uwsgi._http.websocket import Closed, Event, Message, Ping, Pong, WebSocket
from trio_uwsgi._http.websocket_handshake import Offer, accept_headers

if TYPE_CHECKING:
    from trio_uwsgi._http.request import Request
    from trio_uwsgi._http.session import Session
    from trio_uwsgi.config.connections import WebSocketOptions

__all__ = ["ABNORMAL", "NORMAL", "OpenWebSocket", "UpgradedExchange", "WebSocketPings"]

# Close codes of RFC 6455 and of its registry.
NORMAL, GOING_AWAY, ABNORMAL, INTERNAL_ERROR, RESTART = 1000, 1001, 1006, 1011, 1012


class WebSocketPings:
    """The WebSockets of a driver by when they are asked whether their client is still there (`due`), and those that
    have not been answered (`unanswered`).
    """

    def __init__(self, options: WebSocketOptions) -> None:
        self.due = Deadlines(options.ping_interval or math.inf, OpenWebSocket.ping)
        self.unanswered = Deadlines(options.ping_timeout or math.inf, OpenWebSocket.pong_timed_out)

    async def serve(self) -> None:
        """Send pings, and close connections that do not answer them, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.due.serve, name="pings of WebSockets")
            nursery.start_soon(self.unanswered.serve, name="pongs of WebSockets")


class OpenWebSocket:
    """The messages, pings and closes of one exchange, on Trio's thread.

    Args:
        exchange: whose handshake was accepted.
        codec: reads and writes its frames.
        pings: of its driver.
    """

    __slots__ = ("_codec", "_exchange", "_messages", "_pings", "_unread", "closing")

    def __init__(self, exchange: UpgradedExchange, codec: WebSocket, pings: WebSocketPings) -> None:
        self._exchange = exchange
        self._codec = codec
        self._pings = pings
        self._messages: deque[Message] = deque()
        self._unread = 0  # bytes in `_messages`
        self.closing = Closed(ABNORMAL, "")  # why it is closed, for the application
        pings.due.add(self, exchange.session.service.clock())

    # ----- the application

    @property
    def readable(self) -> bool:
        """Is there a message, or the end?"""
        return bool(self._messages) or self._exchange.gone

    def take(self) -> str | bytes | None:
        """The next message; None if there is none."""
        if not self._messages:
            return None
        data, size = self._messages.popleft()
        self._unread -= size
        if self._unread <= HIGH_WATER and not self._exchange.over:
            self._exchange.session.read_beyond_request()
        return data

    async def send(self, message: str | bytes) -> None:
        """Send a message. Waits only if the client is slow to read; always a checkpoint.

        Raises:
            ClientDisconnected: it was closed during the wait.
        """
        exchange = self._exchange
        data = self._codec.message(message)
        exchange.sent += len(data)
        exchange.session.write(data)
        if exchange.session.pending > HIGH_WATER:
            await exchange.wait_for_space()
        else:  # it was sent, even if the client closes now
            await trio.lowlevel.checkpoint()

    # ----- the client

    def received(self, data: bytes) -> bool:
        """Handle what the client sent. True: read no more of it for now."""
        for event in self._codec.feed(data):
            self._handle(event)
            if self._exchange.over:
                return False
        return self._unread > HIGH_WATER

    def _handle(self, event: Event) -> None:
        session = self._exchange.session
        if isinstance(event, Message):
            self._messages.append(event)
            self._unread += event.size
        elif isinstance(event, Ping):
            if session.pending <= HIGH_WATER:  # a client that does not read gets no more answers
                session.write(self._codec.pong(event.payload))
        elif isinstance(event, Pong):
            self._pings.unanswered.discard(self)
        elif event.failure:
            self.closing = Closed(int(event.code), event.reason)
            self._finish(self._codec.close(event.code, event.reason), awaits_end=True)
        else:
            self.closing = Closed(int(event.code), event.reason)
            self._finish(self._codec.close(event.code), awaits_end=False)

    def ping(self) -> None:
        """It is time to ask whether the client is still there."""
        exchange, pings = self._exchange, self._pings
        if not exchange.over:
            now = exchange.session.service.clock()
            pings.due.add(self, now)
            if self not in pings.unanswered.since:
                pings.unanswered.add(self, now)
            exchange.session.write(self._codec.ping(b""))

    def pong_timed_out(self) -> None:
        """The client has not answered a ping: it is gone, or reads nothing."""
        exchange = self._exchange
        if not exchange.over:
            exchange.over = exchange.lost = True
            self.leave_tables()
            exchange.session.close(reset=True)

    # ----- the end

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame; the application gets this code, too."""
        self.closing = Closed(code, reason)
        self._finish(self._codec.close(code, reason), awaits_end=True)

    def _finish(self, data: bytes, *, awaits_end: bool) -> None:
        """Send the last frame. `awaits_end`: the client has to answer it, and closes then."""
        exchange = self._exchange
        exchange.awaits_end = awaits_end
        exchange.over = exchange.lost = True
        self.leave_tables()
        exchange.session.finish(exchange, data)

    def leave_tables(self) -> None:
        """No more pings: it is over."""
        self._pings.due.discard(self)
        self._pings.unanswered.discard(self)


class UpgradedExchange(Exchange):
    """The part that the exchanges of WebSockets have in common, for ASGI and for WSGI.

    `raw` says that the handshake was accepted, `over` that the WebSocket is closed.
    """

    websocket: OpenWebSocket | None  # once the handshake was accepted

    def __init__(self, session: Session, request: Request) -> None:
        super().__init__(session, request)
        self.websocket = None
        self.awaits_end = False

    def open_websocket(
        self, offer: Offer, pings: WebSocketPings, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Accept the handshake; or refuse it with 400, if the client did not wait for that.

        Raises:
            LocalProtocolError: as `accept_headers`.
        """
        session = self.session
        if session.queue or not session.parser.idle:
            self.cut(400, "the client sent more before its WebSocket was accepted")
            return
        options = session.service.options.websocket
        deflate = negotiate(offer.extensions) if options.deflate else None
        answer = accept_headers(offer, subprotocol, deflate.answer if deflate else b"", headers)
        head = upgrade_response(answer)
        self.websocket = OpenWebSocket(self, WebSocket(MessageExtension(options.max_message, deflate)), pings)
        self.status, self.headers = 101, answer
        self.raw = self.head_sent = self.response.sent_head = True
        self.response.keep_alive = False
        # The time limit is for the handshake. What follows may last for days; `set_user_harakiri` limits parts of it.
        session.service.harakiri.discard(self)
        self.option_deadline = math.inf
        if session.service.measures_heads:
            note_head(self.request, head)
        session.write(head)
        session.read_beyond_request()
        if session.service.websockets_end:
            self.drain()

    def received_raw(self, data: bytes) -> bool:
        """Handle what the client sent. True: read no more of it for now."""
        return super().received_raw(data) if self.websocket is None else self.websocket.received(data)

    def end(self) -> None:
        if self.websocket is not None:
            self.websocket.leave_tables()
        super().end()

    def drain(self) -> None:
        """The worker stops, or is replaced: tell both sides, when it is time for that."""
        service = self.session.service
        if self.websocket is None:
            super().drain()
        elif service.websockets_end and not self.over:
            self.websocket.close(RESTART if service.others_serve else GOING_AWAY)

    def end_raw(self) -> None:
        """The application returned without closing it."""
        if self.websocket is None:
            super().end_raw()
        else:
            self.websocket.close(NORMAL)

    def cut(self, status: int, reason: str) -> None:
        """Abort: as an answer to the handshake, or else with a close frame."""
        if self.websocket is not None and not self.over:
            self.websocket.close(INTERNAL_ERROR, "time limit" if status == 504 else "")
        else:
            super().cut(status, reason)
