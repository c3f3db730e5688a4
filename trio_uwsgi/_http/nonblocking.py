"""The calls that read and write a socket without waiting: those of `socket_calls.c` where that is compiled."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["DONTWAIT", "Calls", "calls_of"]

# The sockets stay in blocking mode, which saves a system call for each. So every call needs this flag.
DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0) | getattr(socket, "MSG_NOSIGNAL", 0)


class Calls(Protocol):
    """Two methods of a socket. They must not be called once it was closed."""

    def recv(self, size: int, flags: int, /) -> bytes:
        """As `socket.recv`."""

    def send(self, data: ReadableBuffer, flags: int, /) -> int:
        """As `socket.send`."""


try:
    from trio_uwsgi._http.socket_calls import SocketCalls
except ImportError:

    def calls_of(sock: socket.socket) -> Calls:
        """The calls of a socket."""
        return sock
else:

    def calls_of(sock: socket.socket) -> Calls:
        """The calls of a socket."""
        return SocketCalls(sock.fileno())
