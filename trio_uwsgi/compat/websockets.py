"""WebSockets of the module `uwsgi`: the code of a request talks to its client until one of them closes.

Each call waits as others do, in a thread of the pool or inline. What goes wrong is an OSError that begins with uWSGI's
text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from trio_uwsgi._apps.wsgi_websocket import WsgiWebSocketExchange
from trio_uwsgi.compat.answers import Data, as_data
from trio_uwsgi.compat.calling import current_exchange
from trio_uwsgi.errors import ClientDisconnected, LocalProtocolError
from trio_uwsgi.uwsgi._waiting import wait_as

__all__ = [
    "websocket_handshake",
    "websocket_recv",
    "websocket_recv_nb",
    "websocket_send",
    "websocket_send_binary",
]

_HANDSHAKE = "unable to complete websocket handshake"
_RECEIVE = "unable to receive websocket message"
_SEND = "unable to send websocket message"
_BINARY = "unable to send websocket binary message"


def websocket_handshake(key: str | bytes = "", origin: str | bytes = "", proto: str | bytes = "", /) -> None:
    """Accept the WebSocket that this request asks for; an OSError if it asks for none.

    uWSGI: without a protocol, the first one that the client offers is chosen; there the answer names all. A key that is
        not the request's is refused. The time limit of requests (harakiri) is for the handshake only.
    """
    call = "websocket_handshake"
    name, host, subprotocol = (as_data(call, given).decode("latin-1") for given in (key, origin, proto))
    with _failing(call, _HANDSHAKE) as exchange:
        wait_as(f"uwsgi.{call}()", exchange.handshake, name, host, subprotocol)


def websocket_recv() -> bytes:
    """Wait for the next message; an OSError once the WebSocket is closed.

    uWSGI: the error says why it is closed. An application that lets the error pass is not a failure.
    """
    with _failing("websocket_recv", _RECEIVE) as exchange:
        return _as_bytes(wait_as("uwsgi.websocket_recv()", exchange.receive_message, True))


def websocket_recv_nb() -> bytes:
    """Return the next message, or b"" if there is none yet; an OSError once the WebSocket is closed.

    `wait_fd_read(connection_fd())` and `suspend` wait until there is one.
    """
    with _failing("websocket_recv_nb", _RECEIVE) as exchange:
        return _as_bytes(wait_as("uwsgi.websocket_recv_nb()", exchange.receive_message, False))


def websocket_send(message: Data) -> None:
    """Send a message as text; an OSError once the WebSocket is closed.

    uWSGI: bytes that are not UTF-8 raise UnicodeDecodeError; there they are sent, and the client closes.
    """
    text = message if isinstance(message, str) else as_data("websocket_send", message).decode()
    with _failing("websocket_send", _SEND) as exchange:
        wait_as("uwsgi.websocket_send()", exchange.send_message, text)


def websocket_send_binary(message: Data) -> None:
    """Send a message as bytes; an OSError once the WebSocket is closed."""
    data = as_data("websocket_send_binary", message)
    with _failing("websocket_send_binary", _BINARY) as exchange:
        wait_as("uwsgi.websocket_send_binary()", exchange.send_message, data)


@contextlib.contextmanager
def _failing(call: str, text: str) -> Iterator[WsgiWebSocketExchange]:
    """The exchange of this request; errors become uWSGI's."""
    exchange = current_exchange(call)
    if not isinstance(exchange, WsgiWebSocketExchange):
        raise OSError(f"{text}: this request asks for no WebSocket (HTTP/1.1 with Upgrade: websocket)")
    try:
        yield exchange
    except (ClientDisconnected, LocalProtocolError) as error:
        raise OSError(f"{text}: {error}") from error


def _as_bytes(message: str | bytes | None) -> bytes:
    return message.encode() if isinstance(message, str) else message or b""
