"""The stats server: sends a snapshot of the statistics to whoever connects, and closes the connection.

It runs in the master, also while members start and end. It reads no request: HTTP clients get the same snapshot with a
head. Clients that do not take it in time are dropped, and only a few are served at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

import trio

from trio_uwsgi._http.accepting import ACCEPT_PAUSE, LOST_CLIENT, OUT_OF_FILES

if TYPE_CHECKING:
    from trio_uwsgi._http.listeners import Listener

__all__ = ["serve_stats"]

logger = logging.getLogger("trio_uwsgi")

CLIENTS = 16  # at once; others wait in the kernel's queue
SECONDS = 10.0  # for one client, from its connection to its end
# uWSGI also allows scripts of all sites to read it, so a browser on this machine would give it away.
HTTP_HEAD = b"HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n"


async def serve_stats(listeners: Sequence[Listener], take: Callable[[], bytes], *, http: bool) -> NoReturn:
    """Serve until cancelled.

    Args:
        listeners: listening sockets; the caller closes them.
        take: makes a snapshot.
        http: send the head of an HTTP response first.
    """
    room = trio.Semaphore(CLIENTS)
    async with trio.open_nursery() as nursery:

        async def serve(sock: trio.socket.SocketType) -> None:
            try:
                await _send(trio.SocketStream(sock), HTTP_HEAD * http + take())
            finally:
                room.release()

        async def accept(listener: Listener) -> None:
            listening = trio.socket.from_stdlib_socket(listener.socket)
            while True:
                await room.acquire()
                try:
                    sock, _ = await listening.accept()
                except OSError as error:
                    room.release()
                    if error.errno in OUT_OF_FILES:
                        what = "%s: cannot accept connections: %s; retrying in %g s"
                        logger.error(what, listener.address, error, ACCEPT_PAUSE)
                        await trio.sleep(ACCEPT_PAUSE)
                    elif error.errno not in LOST_CLIENT:
                        raise
                else:
                    nursery.start_soon(serve, sock)

        for listener in listeners:
            nursery.start_soon(accept, listener)
    raise AssertionError("the loops that accept end only by a cancellation")


async def _send(stream: trio.SocketStream, data: bytes) -> None:
    async with stream:
        with trio.move_on_after(SECONDS):
            try:
                await stream.send_all(data)
                await stream.send_eof()
                # Unread bytes, as of an HTTP request, would make the kernel reset the connection, and what was sent
                # could be lost.
                while await stream.receive_some(4096):
                    pass
            except trio.BrokenResourceError:
                return
