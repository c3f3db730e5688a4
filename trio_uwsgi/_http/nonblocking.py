"""The calls for a socket that do not wait: those of `socket_calls.c` where that is compiled."""

from __future__ import annotations

import fcntl
import socket
import sys
import termios
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["DONTWAIT", "Calls", "calls_of", "unsent"]

# The sockets stay in blocking mode, which saves a system call for each. So every call needs this flag.
DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0) | getattr(socket, "MSG_NOSIGNAL", 0)


class Calls(Protocol):
    """Two methods of a socket. They must not be called once it was closed."""

    def recv(self, size: int, flags: int, /) -> bytes:
        """As `socket.recv`."""

    def send(self, data: ReadableBuffer, flags: int, /) -> int:
        """As `socket.send`."""


def _unsent(fd: int) -> int:
    answer = bytearray(4)  # with bytes it would take three times as long
    fcntl.ioctl(fd, termios.TIOCOUTQ, answer)
    return int.from_bytes(answer, sys.byteorder)


try:
    from trio_uwsgi._http.socket_calls import SocketCalls, count_unsent
except ImportError:
    count_unsent = _unsent

    def calls_of(sock: socket.socket) -> Calls:
        """The calls of a socket."""
        return sock
else:

    def calls_of(sock: socket.socket) -> Calls:
        """The calls of a socket."""
        return SocketCalls(sock.fileno())


def unsent(fd: int) -> int:
    """Bytes that a TCP socket has sent and the other side has not acknowledged; 1 where the system does not say."""
    try:
        return count_unsent(fd)
    except OSError:
        return 1
