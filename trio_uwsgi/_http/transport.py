"""The way a session's bytes go: hooks, and the events and deadlines that waiting for bytes takes.

A session decides (`session.py`) and its transport obeys: write, read or do not read, shut, close. Transports are
subclasses of `Session`, because a connection that is one object saves a hop for everything that happens on it.
"""

from __future__ import annotations

import fcntl
import sys
import termios
from typing import TYPE_CHECKING, Any

import trio

from trio_uwsgi.errors import CannotWait

if TYPE_CHECKING:
    from trio_uwsgi._http.deadlines import Deadlines
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._http.service import HttpService


def unsent(descriptor: int) -> int:
    """Bytes that a TCP socket has sent and the other side has not acknowledged; 1 where the system does not say."""
    answer = bytearray(4)  # bytes would take three times as long
    try:
        fcntl.ioctl(descriptor, termios.TIOCOUTQ, answer)
    except OSError:
        return 1
    return int.from_bytes(answer, sys.byteorder)


class Transport:
    """One client's bytes. `pending` counts those that were written and not taken by the client's side yet."""

    __slots__ = ("_arrival", "_space", "_timer", "eof", "hangup", "paused", "peer", "pending", "service")

    def __init__(self, service: HttpService, peer: Peer) -> None:
        self.service = service
        self.peer = peer
        self.pending = 0
        self.paused = False  # the client is not read
        self.eof = False  # the client sent its last byte, and we read it
        self.hangup = False  # the client sent its last byte, and we may not have read it yet
        self._arrival: trio.Event | None = None
        self._space: trio.Event | None = None
        self._timer: Deadlines[Any] | None = None  # the one table we are in; Any: it holds sessions, which are below

    # --- what an application waits for --------------------------------------------------------------------------------

    async def wait_arrival(self) -> None:
        """Wait for any input, for the client's end, or for the end of the exchange."""
        if self._arrival is None:
            self._arrival = trio.Event()
        await self._arrival.wait()

    def read_beyond_request(self) -> None:
        """The application takes what the client sends behind its request, too."""
        self._start_reading()

    async def wait_for_space(self) -> None:
        """Wait until output was sent, or the connection ended."""
        if self._space is None:
            self._space = trio.Event()
        await self._space.wait()

    def _arrived(self) -> None:
        if self._arrival is not None:
            self._arrival.set()
            self._arrival = None

    def _space_freed(self) -> None:
        if self._space is not None:
            self._space.set()
            self._space = None

    def _watch(self, timer: Deadlines[Any] | None) -> None:
        """Be in this table of deadlines from now on, and in no other."""
        if self._timer is not None:
            self._timer.since.pop(self, None)  # it may have let go of us, when our time was up
        self._timer = timer
        if timer is not None:
            timer.add(self, self.service.clock())

    @property
    def descriptor(self) -> int:
        """The connection's file descriptor, -1 where it has none."""
        return -1

    def block(self, writing: bool, seconds: float) -> bool:
        """Let this thread, and all tasks, wait until bytes were sent or received, or the other side is gone. False: the
        time was up first.

        Raises:
            CannotWait: only sockets can be waited for like that.
        """
        raise CannotWait("a connection that is no socket", "install greenback, or set threads=1 or more")

    # --- what a subclass does -----------------------------------------------------------------------------------------

    def _stop_reading(self) -> None:
        if not self.paused:
            self.paused = True
            self._reading_changed()

    def _start_reading(self) -> None:
        if self.paused:
            self.paused = False
            self._reading_changed()

    def write(self, data: bytes) -> None:
        """Send `data`, or keep it in `pending` and call `flushed` later. A broken connection is closed, not raised."""
        raise NotImplementedError

    def _reading_changed(self) -> None:
        """Obey `paused`."""
        raise NotImplementedError

    def _shut(self) -> bool:
        """Shut the sending side; False where the transport cannot do that."""
        raise NotImplementedError

    def _unsent(self) -> int:
        """Bytes that the other side's kernel does not have, and that late input would destroy if we had closed."""
        return 0

    def _close(self, reset: bool) -> None:
        """Close at once, throwing away what is pending."""
        raise NotImplementedError
