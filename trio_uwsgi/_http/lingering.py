"""Closes a connection in stages after its last response, so that the response arrives (RFC 9112 9.6).

If a socket is closed with unread input, or gets input later, the kernel resets the connection, and the client loses
what it has not read of the last response. So the sending side is shut first, and input is discarded until the client
closes or its time is up. This also serves clients that send their whole request before they read: nginx turns a broken
upload into a 502, and a client library into an error without a status.

The connection is closed at once if the whole request was read and the response has been received.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from trio_uwsgi._http.transport import Transport

if TYPE_CHECKING:
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._http.service import HttpService

# After the last response: seconds without a byte sent or read by the client; seconds in all; bytes that it may send.
# nginx has 5 s, 30 s, and no limit.
LINGER_SECONDS: Final = 2.0
LINGER_LIMIT: Final = 30.0
LINGER_BYTES: Final = 1 << 28


@mypyc_attr(allow_interpreted_subclasses=True)
class Lingering(Transport):
    """A transport that can be closed in stages."""

    __slots__ = ("_discarded", "_early", "_last", "_unsent_before")

    def __init__(self, service: HttpService, peer: Peer) -> None:
        super().__init__(service, peer)
        self._early = False  # there was unread input when the end began
        self._discarded = 0  # bytes discarded in the current phase
        self._last = 0.0  # when lingering ends in any case
        self._unsent_before = 0  # bytes that the client had not received at the last check

    def _flushed_last(self) -> None:
        """The kernel has all output, and there will be no more: close, or shut and linger."""
        if not self.eof:
            self._unsent_before = self._unsent()
            if (self._early or self._unsent_before) and self._shut():
                self._last = self.service.now() + LINGER_LIMIT
                self._watch(self.service.linger)
                self._start_reading()
                return
        self.close()

    def _discard(self, count: int) -> None:
        """Count bytes that the client sent after its last request, or of a body that is not read."""
        self._discarded += count
        lingers = self._timer is self.service.linger
        if self._discarded > LINGER_BYTES or (lingers and self.service.now() > self._last):
            self.close()
        elif lingers and not self.service.draining:
            self._watch(self.service.linger)

    def linger_timed_out(self) -> None:
        """The client sent nothing for `LINGER_SECONDS`: wait longer only if it has read something."""
        unsent = self._unsent()
        if 0 < unsent < self._unsent_before and self.service.now() < self._last:
            self._unsent_before = unsent
            self._watch(self.service.linger)
        else:
            self.close()

    def close(self, *, reset: bool = False) -> None:
        """Close the transport now; `reset` lets the client see that its response was cut."""
        raise NotImplementedError
