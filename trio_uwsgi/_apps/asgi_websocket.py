"""A WebSocket of an ASGI application: the scope `websocket` over HTTP/1.1.

The handshake is an ordinary request. Once the application has accepted it, input goes through `_http/websocket.py`
as it arrives: pings are answered and a close is completed at once, whatever the application does meanwhile. Messages
wait for `receive`, up to `HIGH_WATER` bytes; then the client is not read.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import trio

from trio_uwsgi._apps.asgi_exchange import AsgiExchange, Message, as_bytes
from trio_uwsgi._http.deflate import MessageExtension, negotiate
from trio_uwsgi._http.limits import HIGH_WATER
from trio_uwsgi._http.response import upgrade_response
from trio_uwsgi._http.websocket import Closed, Event, Ping, Pong, WebSocket
from trio_uwsgi._http.websocket import Message as WebSocketMessage
from trio_uwsgi._http.websocket_handshake import Offer, Refused, accept_headers, read_offer
from trio_uwsgi.errors import LocalProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._apps.asgi import AsgiDriver
    from trio_uwsgi._http.request import Request
    from trio_uwsgi._http.session import Session

# Close codes of RFC 6455 and of its registry.
NORMAL, GOING_AWAY, NO_STATUS, ABNORMAL, INTERNAL_ERROR, RESTART = 1000, 1001, 1005, 1006, 1011, 1012
# What an application may close with: a code that may be sent, or one of its own.
_SENDABLE = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, *range(3000, 5000)))

_HANDSHAKE = "websocket.accept, websocket.close or websocket.http.response.start"


class WebSocketExchange(AsgiExchange):
    """The exchange of a WebSocket: `raw` says that it was accepted, `over` that it is closed."""

    __slots__ = ("_closed", "_connected", "_end", "_messages", "_offer", "_unread", "_websocket", "awaits_end")

    refusable = True

    def __init__(self, session: Session, request: Request) -> None:
        super().__init__(session, request)
        self._offer: Offer | Refused = read_offer(request)
        self._websocket: WebSocket
        self._messages: deque[WebSocketMessage] = deque()
        self._unread = 0  # bytes in `_messages`
        self._connected = False  # `websocket.connect` was received
        self._closed = False  # by the application
        self._end = Closed(ABNORMAL, "")  # why it is closed, for the application
        self.awaits_end = False

    @property
    def gone(self) -> bool:
        """As of an exchange. What the client sent before it closed its side is read first."""
        return self.over or self.session.eof

    def asgi_scope(self, state: dict[str, object]) -> dict[str, object]:
        """The scope of the application."""
        scope = super().asgi_scope(state)
        tls = self.session.peer.tls
        extensions: dict[str, object] = {"websocket.http.response": {}}
        if tls is not None:
            extensions["tls"] = dict(tls.extension)
        subprotocols = [] if isinstance(self._offer, Refused) else self._offer.subprotocols
        scope |= {
            "type": "websocket",
            "scheme": "wss" if scope["scheme"] == "https" else "ws",
            "subprotocols": subprotocols,
            "extensions": extensions,
        }
        del scope["method"]
        return scope

    def refuse(self) -> bool:
        """Answer a handshake that no application can accept. True: it was refused."""
        offer = self._offer
        if not isinstance(offer, Refused):
            return False
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        if offer.status == 426:
            headers += [(b"sec-websocket-version", b"13")]
        self.response.keep_alive = False
        self.start(offer.status, headers)
        self.complete(f"{offer.reason}\n".encode())
        return True

    # ----- the application

    async def receive(self) -> Message:
        """`websocket.connect`, then each `websocket.receive`, then `websocket.disconnect` for ever.

        As for other requests, what is available is returned even under a cancelled scope of the application.
        """
        if not self._connected:
            self._connected = True
            await self._checkpoint()
            return {"type": "websocket.connect"}
        while not (self._messages or self.gone):
            await self.session.wait_arrival()
        await self._checkpoint()
        if self._messages:
            data, size = self._messages.popleft()
            self._unread -= size
            if self._unread <= HIGH_WATER and not self.over:
                self.session.read_beyond_request()
            text, binary = (data, None) if isinstance(data, str) else (None, data)
            return {"type": "websocket.receive", "text": text, "bytes": binary}
        self.set_notified()
        self.drop()  # if the client has closed its side without a close frame
        return {"type": "websocket.disconnect", "code": self._end.code, "reason": self._end.reason}

    def set_notified(self) -> None:
        self.notified = True

    async def send(self, message: Message) -> None:
        """Accept or deny the handshake; then send messages, and close. Waits only if the client is slow to read.

        A close after the client's, or after the server's, does nothing.

        Raises:
            ClientDisconnected: it is closed.
            LocalProtocolError: the message is not allowed here.
        """
        kind = message["type"]
        if self.raw and self.session.eof:
            self.drop()
        if self.over and self.raw and kind == "websocket.close" and not self._closed:
            self._closed = True
            await trio.lowlevel.checkpoint()
        elif self.over:
            self.deliver(b"", True)  # raises the fitting error
        elif self.raw:
            await self._send(kind, message)
        elif kind == "websocket.accept" and not self.response.started:
            self._accept(message.get("subprotocol"), message.get("headers", ()))
            await trio.lowlevel.checkpoint()
        elif kind == "websocket.close" and not self.response.started:
            self.start(403, ())
            self.complete(b"")
        elif kind.startswith("websocket.http.response."):
            await super().send({**message, "type": kind.removeprefix("websocket.")})
        else:
            raise LocalProtocolError(f"the application sent {kind!r}; a handshake takes {_HANDSHAKE}")

    def _accept(self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> None:
        session, offer = self.session, self._offer
        assert isinstance(offer, Offer)
        if session.queue or not session.parser.idle:
            self.cut(400, "the client sent more before its WebSocket was accepted")
            return
        options = session.service.options.websocket
        deflate = negotiate(offer.extensions) if options.deflate else None
        answer = accept_headers(offer, subprotocol, deflate.answer if deflate else b"", headers)
        head = upgrade_response(answer)
        self._websocket = WebSocket(MessageExtension(options.max_message, deflate))
        self.status, self.headers = 101, answer
        self.raw = self.head_sent = self.response.sent_head = True
        self.response.keep_alive = False
        # The time limit is for the handshake. What follows may last for days; `set_user_harakiri` limits parts of it.
        session.service.harakiri.discard(self)
        self.option_deadline = math.inf
        session.write(head)
        session.read_beyond_request()
        self._driver.pings.add(self, session.service.clock())
        if session.service.websockets_end:
            self.drain()

    async def _send(self, kind: str, message: Message) -> None:
        if kind == "websocket.send":
            text = message.get("text")
            data = self._websocket.message(text if text is not None else as_bytes(message.get("bytes")))
            self.sent += len(data)
            self.session.write(data)
            if self.session.pending > HIGH_WATER:
                await self.wait_for_space()
            else:  # it was sent, even if the client closes now
                await trio.lowlevel.checkpoint()
        elif kind == "websocket.close":
            code = message.get("code", NORMAL)
            if code not in _SENDABLE:
                raise LocalProtocolError(
                    f"{code} is not a code to close a WebSocket with; write 1000, or 4000 for example"
                )
            self._closed = True
            self._close(code, message.get("reason") or "")
            await trio.lowlevel.checkpoint()
        else:
            raise LocalProtocolError(
                f"the application sent {kind!r}; a WebSocket that was accepted takes websocket.send and websocket.close"
            )

    async def _checkpoint(self) -> None:
        if self.cancelled or self.runner.is_ended():
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()

    # ----- the client

    def received_raw(self, data: bytes) -> bool:
        """Handle what the client sent. True: read no more of it for now."""
        for event in self._websocket.feed(data):
            self._handle(event)
            if self.over:
                return False
        return self._unread > HIGH_WATER

    def _handle(self, event: Event) -> None:
        if isinstance(event, WebSocketMessage):
            self._messages.append(event)
            self._unread += event.size
        elif isinstance(event, Ping):
            if self.session.pending <= HIGH_WATER:  # a client that does not read gets no more answers
                self.session.write(self._websocket.pong(event.payload))
        elif isinstance(event, Pong):
            self._driver.pongs.discard(self)
        elif event.failure:
            self._end = Closed(int(event.code), event.reason)
            self._finish(self._websocket.close(event.code, event.reason), awaits_end=True)
        else:
            self._end = Closed(int(event.code), event.reason)
            self._finish(self._websocket.close(event.code), awaits_end=False)

    def ping(self) -> None:
        """It is time to ask whether the client is still there."""
        if not self.over:
            driver, now = self._driver, self.session.service.clock()
            driver.pings.add(self, now)
            if self not in driver.pongs.since:
                driver.pongs.add(self, now)
            self.session.write(self._websocket.ping(b""))

    def pong_timed_out(self) -> None:
        """The client has not answered a ping: it is gone, or reads nothing."""
        if not self.over:
            self.over = self.lost = True
            self._leave_tables()
            self.session.close(reset=True)

    # ----- the end

    def _close(self, code: int, reason: str = "") -> None:
        """Send a close frame; the application gets this code, too."""
        self._end = Closed(code, reason)
        self._finish(self._websocket.close(code, reason), awaits_end=True)

    def _finish(self, data: bytes, *, awaits_end: bool) -> None:
        """Send the last frame. `awaits_end`: the client has to answer it, and closes then."""
        self.awaits_end = awaits_end
        self.over = self.lost = True
        self._leave_tables()
        self.session.finish(self, data)

    def _leave_tables(self) -> None:
        self._driver.pings.discard(self)
        self._driver.pongs.discard(self)

    def end(self) -> None:
        self._leave_tables()
        super().end()

    def drain(self) -> None:
        """The worker stops, or is replaced: tell both sides, when it is time for that."""
        if self.session.service.websockets_end and self.raw and not self.over:
            self._close(RESTART if self.session.service.others_serve else GOING_AWAY)

    def end_raw(self) -> None:
        """The application returned without closing it."""
        self._close(NORMAL)

    def cut(self, status: int, reason: str) -> None:
        """Abort: as an answer to the handshake, or else with a close frame."""
        if self.raw and not self.over:
            self._close(INTERNAL_ERROR, "time limit" if status == 504 else "")
        else:
            super().cut(status, reason)

    @property
    def _driver(self) -> AsgiDriver:
        driver: Any = self.driver  # whose exchanges these are
        return driver  # type: ignore[no-any-return]
