"""A WebSocket of an ASGI application: the scope `websocket` over HTTP/1.1. `open_websocket.py` has what follows the
handshake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from trio_uwsgi._apps.asgi_exchange import AsgiExchange, Message, as_bytes
from trio_uwsgi._apps.open_websocket import ABNORMAL, NORMAL, OpenWebSocket, UpgradedExchange
from trio_uwsgi._http.websocket import Closed
from trio_uwsgi._http.websocket_handshake import Offer, Refused, read_offer
from trio_uwsgi.errors import LocalProtocolError

if TYPE_CHECKING:
    from trio_uwsgi._apps.asgi import AsgiDriver
    from trio_uwsgi._http.request import Request
    from trio_uwsgi._http.session import Session

# What an application may close with: a code that may be sent, or one of its own.
_SENDABLE = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, *range(3000, 5000)))

_HANDSHAKE = "websocket.accept, websocket.close or websocket.http.response.start"


class WebSocketExchange(UpgradedExchange, AsgiExchange):
    """The exchange of a WebSocket."""

    def __init__(self, session: Session, request: Request) -> None:
        super().__init__(session, request)
        self.refusable = True
        self._offer: Offer | Refused = read_offer(request)
        self._connected = False  # `websocket.connect` was received
        self._closed = False  # by the application

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
        websocket = self.websocket
        while not (self.gone if websocket is None else websocket.readable):
            await self.session.wait_arrival()
            websocket = self.websocket
        await self._checkpoint()
        if websocket is not None and (data := websocket.take()) is not None:
            text, binary = (data, None) if isinstance(data, str) else (None, data)
            return {"type": "websocket.receive", "text": text, "bytes": binary}
        self.set_notified()
        self.drop()  # if the client has closed its side without a close frame
        end = Closed(ABNORMAL, "") if websocket is None else websocket.closing
        return {"type": "websocket.disconnect", "code": end.code, "reason": end.reason}

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
        elif self.websocket is not None:
            await self._send(self.websocket, kind, message)
        elif kind == "websocket.accept" and not self.response.started:
            assert isinstance(self._offer, Offer)
            pings = self._driver.pings
            self.open_websocket(self._offer, pings, message.get("subprotocol"), message.get("headers", ()))
            await trio.lowlevel.checkpoint()
        elif kind == "websocket.close" and not self.response.started:
            self.start(403, ())
            self.complete(b"")
        elif kind.startswith("websocket.http.response."):
            await super().send({**message, "type": kind.removeprefix("websocket.")})
        else:
            raise LocalProtocolError(f"the application sent {kind!r}; a handshake takes {_HANDSHAKE}")

    async def _send(self, websocket: OpenWebSocket, kind: str, message: Message) -> None:
        if kind == "websocket.send":
            text = message.get("text")
            await websocket.send(text if text is not None else as_bytes(message.get("bytes")))
        elif kind == "websocket.close":
            code = message.get("code", NORMAL)
            if code not in _SENDABLE:
                raise LocalProtocolError(
                    f"{code} is not a code to close a WebSocket with; write 1000, or 4000 for example"
                )
            self._closed = True
            websocket.close(code, message.get("reason") or "")
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

    @property
    def _driver(self) -> AsgiDriver:
        driver: Any = self.driver  # whose exchanges these are
        return driver  # type: ignore[no-any-return]
