"""The base of a session: the hooks for its bytes, and the events and deadlines of waiting for them.

A session (`session.py`) decides what its transport does: write, read or not, shut, close. A transport is a subclass of
`Session`, because one object per connection saves a call for everything that happens on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import trio
from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from trio_uwsgi._http.deadlines import Deadlines
    from trio_uwsgi._http.open_file import OpenFile
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._http.service import HttpService
    from trio_uwsgi._units.unit import Unit


@mypyc_attr(allow_interpreted_subclasses=True)
class Transport:
    """The bytes of one client. `pending` counts those that were written and are not sent yet."""

    # Bytes of a file that `write_file` takes at once.
    file_part: ClassVar[int]

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
        self._timer: Deadlines[Any] | None = None  # the one table that has this entry; Any: it holds sessions

    # --- what an application waits for --------------------------------------------------------------------------------

    async def wait_arrival(self) -> None:
        """Wait for any input, for the client's end, or for the end of the exchange."""
        if self._arrival is None:
            self._arrival = trio.Event()
        await self._arrival.wait()

    def read_beyond_request(self) -> None:
        """Read what the client sends after its request, for the application."""
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
        """Move this connection to a table of deadlines, and out of the one that it was in."""
        if self._timer is not None:
            self._timer.since.pop(self, None)  # the table has removed us already if our time was up
        self._timer = timer
        if timer is not None:
            timer.add(self, self.service.now())

    @property
    def descriptor(self) -> int:
        """The connection's file descriptor, -1 where it has none."""
        return -1

    def lend(self, unit: Unit) -> int:
        """The same for the code of a unit. Until the unit ends, no other connection or file gets this number."""
        return self.descriptor

    # --- what a subclass does -----------------------------------------------------------------------------------------

    def _stop_reading(self) -> None:
        if not self.paused:
            self.paused = True
            self._reading_changed()

    def _start_reading(self) -> None:
        if self.paused:
            self.paused = False
            self._reading_changed()

    def _received_first(self, data: bytes) -> None:
        """Take what follows the header of a load balancer (PROXY protocol): of TLS, if the connection has it."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Send `data`, or keep it in `pending` and call `flushed` later. A broken connection is closed, not raised."""
        raise NotImplementedError

    def write_file(self, file: OpenFile, offset: int, count: int) -> None:
        """As `write`, for a part of a file that is in memory (`OpenFile.load`), at most `file_part` bytes. Counts them
        as sent by the exchange. The connection is closed if the file has fewer.
        """
        raise NotImplementedError

    def _reading_changed(self) -> None:
        """Start or stop reading, as `paused` says."""
        raise NotImplementedError

    def _shut(self) -> bool:
        """Shut the sending side; False if the transport cannot do that."""
        raise NotImplementedError

    def _unsent(self) -> int:
        """Bytes that the other side has not received, and would lose if input arrived after a close."""
        return 0

    def _close(self, reset: bool) -> None:
        """Close at once and discard what is pending."""
        raise NotImplementedError
