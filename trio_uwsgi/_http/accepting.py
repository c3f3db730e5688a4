"""What `reactor.py` and `connection.py` share when they accept: the errors to expect, and the facts of a connection."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from typing import TYPE_CHECKING, Any

from trio_uwsgi._http.peer import Peer
from trio_uwsgi._system.standard_streams import STDERR, have_standard_descriptors

if TYPE_CHECKING:
    import trio

    from trio_uwsgi._http.listeners import Listener

    AnySocket = socket.socket | trio.socket.SocketType

__all__ = ["ACCEPT_PAUSE", "LOST_CLIENT", "OUT_OF_FILES", "above_standard_streams", "peer_of", "server_of"]

logger = logging.getLogger("trio_uwsgi")

# Without a free file descriptor the client stays in the kernel's queue and the listener stays readable: without a pause
# the loop would spin.
OUT_OF_FILES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
ACCEPT_PAUSE = 0.5
# The client disconnected before it was accepted: there is nothing to do.
LOST_CLIENT = frozenset((errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EINTR))


def above_standard_streams(sock: socket.socket) -> socket.socket:
    """The socket with a descriptor above 2. Where the application has closed a standard stream, its number is that of
    the next connection, whose client would get what is written there: the log.
    """
    number = sock.fileno()
    if number > STDERR:
        return sock
    with sock:
        moved = socket.socket(fileno=fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, STDERR + 1))
    have_standard_descriptors()
    logger.warning("the application has closed descriptor %d, a standard stream; it is %s now", number, os.devnull)
    return moved


def peer_of(sock: AnySocket, address: object, listener: Listener) -> Peer:
    """The facts of an accepted connection."""
    return Peer(
        _plain(address) if isinstance(address, tuple) and listener.family != socket.AF_UNIX else None,
        listener.server or server_of(sock),
        "http" if listener.tls is None else "https",
        listener.protocol,
        listener.name,
    )


def server_of(sock: AnySocket) -> tuple[str, int | None]:
    """The server's address of a connection: host and port, or the path of a unix socket and None."""
    name = sock.getsockname()
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        return _plain(name)
    return name if isinstance(name, str) else "@" + name[1:].decode("utf-8", "replace"), None


def _plain(name: tuple[Any, ...]) -> tuple[str, int]:
    """Host and port; IPv4 addresses in their own form, even if a socket for both families accepted them."""
    return name[0].removeprefix("::ffff:") if "." in name[0] else name[0], name[1]
