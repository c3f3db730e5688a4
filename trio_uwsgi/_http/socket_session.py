"""A session whose transport is a socket in the epoll set of a reactor (`reactor.py`)."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import struct
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from mypy_extensions import mypyc_attr

from trio_uwsgi._http.access_line import peer_name
from trio_uwsgi._http.limits import RECEIVE, RECEIVE_BODY, RECEIVE_CHUNKS
from trio_uwsgi._http.nonblocking import DONTWAIT, calls_of, unsent
from trio_uwsgi._http.open_file import PART, FilePart
from trio_uwsgi._http.phases import CLOSED, IDLE
from trio_uwsgi._http.session import Session

if TYPE_CHECKING:
    from trio_uwsgi._http.open_file import OpenFile
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._http.reactor import Reactor
    from trio_uwsgi._http.request import Request
    from trio_uwsgi._units.unit import Unit

__all__ = ["IN", "OUT", "SocketSession"]

# Output smaller than this is joined when it has to wait, so that many small pieces do not become a queue of objects.
SMALL: Final = 4096

IN: Final = getattr(select, "EPOLLIN", 0)
OUT: Final = getattr(select, "EPOLLOUT", 0)
RDHUP: Final = getattr(select, "EPOLLRDHUP", 0)
DEAD: Final = getattr(select, "EPOLLERR", 0) | getattr(select, "EPOLLHUP", 0)

# What an epoll set says of a descriptor that was closed behind our back: there is none, or it is another file.
NOT_OURS: Final = frozenset((errno.EBADF, errno.ENOENT, errno.EEXIST, errno.EPERM))

logger = logging.getLogger("trio_uwsgi")


@mypyc_attr(allow_interpreted_subclasses=True)
class SocketSession(Session):
    """A session whose transport is a socket in the reactor's epoll set.

    Code of the application can close any descriptor, and the system gives the number to the next file. So a session
    that finds its descriptor closed, or taken by another session, ends, and does not touch the number again.
    """

    file_part: ClassVar[int] = PART

    __slots__ = ("_borrowers", "_fd", "_mask", "_output", "_reactor", "_recv", "_send", "_socket")

    def __init__(self, reactor: Reactor, sock: socket.socket, peer: Peer) -> None:
        self._reactor = reactor
        self._socket = sock
        self._fd = sock.fileno()
        calls = calls_of(sock)
        self._recv = calls.recv
        self._send = calls.send
        self._borrowers: set[Unit] | None = None  # whose code has the descriptor
        self._mask = -1  # events that the epoll set watches for; -1: not registered
        self._output: deque[memoryview | bytearray | FilePart] = deque()
        robbed = reactor.sessions.get(self._fd)
        if robbed is not None:
            robbed.lose_descriptor()
        reactor.sessions[self._fd] = self
        super().__init__(reactor.service, peer)

    # --- called by the reactor ----------------------------------------------------------------------------------------

    def readable(self) -> None:
        """Read once; the rest is for the next batch."""
        try:
            data = self._recv(RECEIVE if self.request is None else self._expected(self.request), DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if data:
            self.received(data)
        else:
            self.received_eof()
            self.rearm()

    def _expected(self, request: Request) -> int:
        """How many bytes to read of a client whose request is running."""
        length = request.content_length
        if not request.complete:
            return RECEIVE_CHUNKS if length is None else max(RECEIVE, min(length, RECEIVE_BODY))
        return RECEIVE_CHUNKS if self.exchange is not None and self.exchange.raw else RECEIVE

    def ready(self, events: int) -> None:
        """Handle any event that is not input alone."""
        if events & OUT and self.pending:
            self._writable()
        if self.phase is CLOSED:
            pass
        elif events & IN:
            self.readable()
        elif events & DEAD:
            self.close()  # closed in both directions: no response can arrive
        elif events & RDHUP:
            self.hung_up()
            self.rearm()

    def rearm(self) -> None:
        """Watch for the events that can be handled now, and no others: epoll would report those all the time."""
        if self.phase is CLOSED:
            return
        mask = self._wanted()
        if mask != self._mask:
            try:
                if self._mask < 0:
                    self._reactor.epoll.register(self._fd, mask)
                else:
                    self._reactor.epoll.modify(self._fd, mask)
            except OSError as error:
                if error.errno not in NOT_OURS:
                    raise
                self.close()
                return
            self._mask = mask

    def _wanted(self) -> int:
        mask = IN
        if self.eof or self.paused:
            mask = 0 if self.hangup else RDHUP
        return mask | OUT if self.pending else mask

    def _writable(self) -> None:
        output = self._output
        before = self.pending
        try:
            while output:
                piece = output[0]
                if isinstance(piece, FilePart):
                    if self._send_part(piece):
                        output.popleft()
                        continue
                    break
                sent = self._send(piece, DONTWAIT)
                self.pending -= sent
                if sent < len(piece):
                    output[0] = memoryview(piece)[sent:]
                    break
                output.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if not self.pending:
            self.rearm()
            self.flushed()
        elif self.pending < before:
            self.progressed()

    @property
    def descriptor(self) -> int:
        return -1 if self.phase is CLOSED and not self._borrowers else self._fd

    def lend(self, unit: Unit) -> int:
        if self.descriptor != -1:
            if self._borrowers is None:
                self._borrowers = set()
            if unit not in self._borrowers:
                unit.at_end(partial(self._give_back, unit))
                self._borrowers.add(unit)
        return self.descriptor

    def _give_back(self, unit: Unit) -> None:
        assert self._borrowers is not None
        self._borrowers.discard(unit)
        if self.phase is CLOSED and not self._borrowers:
            self._close_socket()

    # --- called by the session ----------------------------------------------------------------------------------------

    def _received_first(self, data: bytes) -> None:
        self.received(data)

    def write(self, data: bytes) -> None:
        if self.pending:
            self._keep(memoryview(data))
            return
        if self.phase is CLOSED:
            return
        try:
            sent = self._send(data, DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        if sent != len(data):
            self._keep(memoryview(data)[sent:])
            self.rearm()
            self.retime()

    def write_file(self, file: OpenFile, offset: int, count: int) -> None:
        if self.phase is CLOSED:
            return
        if self._socket.gettimeout() is None:  # sendfile() has no flag that says not to wait
            with contextlib.suppress(OSError):  # as below
                self._socket.setblocking(False)
        idle = not self.pending
        self._output.append(FilePart(file, offset, count))
        self.pending += count
        if idle:
            self._writable()
        if self.pending:
            self.rearm()
            self.retime()

    def _send_part(self, part: FilePart) -> bool:
        """Send what the socket takes of a part of a file. True: that was all of it."""
        sent = os.sendfile(self._fd, part.file.descriptor, part.offset, part.count)
        if not sent:
            raise part.truncated()
        self.pending -= sent
        part.offset += sent
        part.count -= sent
        if self.exchange is not None:
            self.exchange.sent += sent
        return not part.count

    def _keep(self, data: memoryview) -> None:
        size = len(data)
        self.pending += size
        output = self._output
        if size >= SMALL:
            output.append(data)
        elif output and isinstance(output[-1], bytearray) and len(output[-1]) < SMALL:
            output[-1] += data
        else:
            output.append(bytearray(data))

    def drain(self) -> None:
        if self.phase is IDLE:
            self.readable()  # a request that has arrived and was not read yet must not be lost
        super().drain()

    def _reading_changed(self) -> None:
        if self._mask >= 0:
            self.rearm()

    def _unsent(self) -> int:
        # A unix socket has no network in between: sent means received.
        return 0 if self.peer.client is None else unsent(self._fd)

    def _shut(self) -> bool:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            return True
        return False

    def _close(self, reset: bool) -> None:
        self._output.clear()
        del self._reactor.sessions[self._fd]
        if self._mask >= 0:
            # Closing is not enough if a forked child has the descriptor too: epoll would report the closed socket
            # for ever.
            try:
                self._reactor.epoll.unregister(self._fd)
            except OSError as error:
                if error.errno not in NOT_OURS:
                    raise
                self._detach()
        if reset:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self._borrowers:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        else:
            self._close_socket()

    def lose_descriptor(self) -> None:
        """The number stands for another connection now, because the application has closed the descriptor."""
        self._detach()
        self._mask = -1
        self.close()

    def _close_socket(self) -> None:
        try:
            self._socket.close()
        except OSError:
            self._detach()

    def _detach(self) -> None:
        """The descriptor is no longer ours: forget it."""
        logger.warning(
            "the application has closed descriptor %d, which was the connection of %s", self._fd, peer_name(self.peer)
        )
        self._socket.detach()
