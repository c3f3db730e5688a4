"""The end of a connection whose last response is on its way: closing in stages (RFC 9112 9.6).

Closing a socket with unread input, or before late input, resets the connection, and the reset destroys what the client
has not read of its last response. So the sending side is shut, and what the client sends is thrown away until it closes
or has had its time. That also lets those come to an end who read nothing before they have sent it all: nginx makes a
502 of an upload that breaks off, and a client library an error without a status.

Where nothing can go wrong there is no such stage: when the whole request was read, and its response has been received.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_uwsgi._http.transport import Transport

if TYPE_CHECKING:
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._http.service import HttpService

# How long may a client be silent after the last response, neither sending nor reading; how long may it take to send and
# to read; and how much may it send? nginx has 5 s, 30 s, and no limit.
LINGER_SECONDS = 2.0
LINGER_LIMIT = 30.0
LINGER_BYTES = 1 << 28


class Lingering(Transport):
    """A transport that can be closed in stages."""

    __slots__ = ("_discarded", "_early", "_last", "_unsent_before")

    def __init__(self, service: HttpService, peer: Peer) -> None:
        super().__init__(service, peer)
        self._early = False  # there was input that nobody wanted when the end began
        self._discarded = 0  # bytes thrown away in the current phase
        self._last = 0.0  # when lingering ends in any case
        self._unsent_before = 0  # bytes that the client had not received when we looked last

    def _flushed_last(self) -> None:
        """All output was given to the kernel, and no other will come: close, or shut and linger."""
        if not self.eof:
            self._unsent_before = self._unsent()
            if (self._early or self._unsent_before) and self._shut():
                self._last = self.service.clock() + LINGER_LIMIT
                self._watch(self.service.linger)
                self._start_reading()
                return
        self.close()

    def _discard(self, count: int) -> None:
        """The client sent so many bytes after its last request, or of a body that nobody wants."""
        self._discarded += count
        lingers = self._timer is self.service.linger
        if self._discarded > LINGER_BYTES or (lingers and self.service.clock() > self._last):
            self.close()
        elif lingers and not self.service.draining:
            self._watch(self.service.linger)

    def linger_timed_out(self) -> None:
        """The client sent nothing for a while: wait on as long as it reads."""
        unsent = self._unsent()
        if 0 < unsent < self._unsent_before and self.service.clock() < self._last:
            self._unsent_before = unsent
            self._watch(self.service.linger)
        else:
            self.close()

    def close(self, *, reset: bool = False) -> None:
        """Close the transport now; `reset` makes sure that the client does not take a cut response for a whole one."""
        raise NotImplementedError
