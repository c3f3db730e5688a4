"""A reactor that shares its listeners with other worker processes, and accepts its share of their connections.

The rule is `fair_share.py`; the numbers are in the scoreboard, written at once (`accept_share.py`). While accepting is
delayed, the listener is out of the epoll set, which would otherwise wake the worker for it all the time, and the wait
for the set has a deadline. At the deadline one connection is accepted, if it still waits, and the listener is back in
the set. Requests of open connections are served meanwhile.

A worker that runs one request at a time accepts nobody while that request waits, be it for seconds or, with a
WebSocket, for hours: a client that it accepted would wait for it, too, even if its peers were free. The listener is out
of the set until the request has ended; then one client is accepted, if one still waits, also where the next request of
an open connection has begun already. Clients of the uwsgi protocol may be other nodes, or we ourselves, whom a worker
answers meanwhile; so if none of its peers accepts one for a while, it does.

Workers that are tasks of one process do not use this: only one of them runs at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._http.accept_share import CountedSessions
from trio_uwsgi._http.reactor import ACCEPTS, Reactor

if TYPE_CHECKING:
    from trio_uwsgi._http.accept_share import Share
    from trio_uwsgi._http.listeners import Listener
    from trio_uwsgi._http.service import HttpService

__all__ = ["FairReactor", "serve_fairly"]


# Seconds that a client of the uwsgi protocol waits until an occupied worker accepts it.
PATIENCE = 1.0


class FairReactor(Reactor):
    """The epoll set of one of several worker processes."""

    __slots__ = ("_delayed", "_due", "_share")

    def __init__(self, service: HttpService, listeners: Sequence[Listener], share: Share) -> None:
        super().__init__(service, listeners)
        self.sessions = CountedSessions(share)
        self._share = share
        self._delayed: list[Listener] = []  # listeners that are out of the set until `_due`
        self._due = 0.0

    async def serve(self) -> None:
        try:
            await super().serve()
        finally:
            self._share.set_accepting(False)

    async def _serve_batches(self) -> None:
        descriptor = self.epoll.fileno()
        while True:
            if self._fresh:
                await self._settle_fresh()
            if self._delayed:
                with trio.CancelScope(deadline=self._due):
                    await trio.lowlevel.wait_readable(descriptor)
                if trio.current_time() >= self._due:
                    self._accept_delayed()
            else:
                await trio.lowlevel.wait_readable(descriptor)
            self._serve_batch()

    def _accept_from(self, waiting: Iterable[int]) -> None:
        for fd in waiting:
            if fd in self._listeners:
                self._accept_fairly(self._listeners[fd])

    def _accept_fairly(self, listener: Listener) -> None:
        if self.service.occupied:
            self._unwatch(listener)
            self._nursery.start_soon(self._accept_when_free, listener)
            return
        if seconds := self._share.accept_delay():
            if not self._delayed:
                self._due = trio.current_time() + seconds
            self._delayed.append(listener)
            self._unwatch(listener)
            return
        for _ in range(ACCEPTS):
            # Above our share, the rest waits for the next batch: by then a peer may have accepted it.
            if not self._accept(listener, 1) or self._share.accept_delay():
                return

    async def _accept_when_free(self, listener: Listener) -> None:
        occupant = self.service.one_at_a_time
        assert occupant is not None
        with trio.move_on_after(PATIENCE if listener.protocol == "uwsgi" else math.inf):
            await occupant.until_free()
        if not self.service.draining and not self.service.paused:
            self._watch(listener)
            self._accept(listener, 1)

    def _accept_delayed(self) -> None:
        """Accept one connection, however many we have: the peers may be busier than their numbers say."""
        delayed, self._delayed = self._delayed, []
        for listener in delayed:
            self._watch(listener)
            if not self.service.occupied:
                self._accept(listener, 1)

    def _pause_accepting(self, listener: Listener, error: OSError) -> None:
        self._share.set_accepting(False)
        super()._pause_accepting(listener, error)

    async def _resume_accepting(self, listener: Listener) -> None:
        await super()._resume_accepting(listener)
        self._share.set_accepting(not self.service.draining and not self.service.paused)

    def pause_accepting(self, paused: bool) -> None:
        self._delayed.clear()
        super().pause_accepting(paused)
        self._share.set_accepting(not paused)

    def stop_accepting(self) -> None:
        self._delayed.clear()
        super().stop_accepting()
        self._share.set_accepting(False)


async def serve_fairly(
    share: Share,
    service: HttpService,
    listeners: Sequence[Listener],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """`serve_sockets` for one of several worker processes. Members are processes only where there is epoll."""
    task_status.started()
    await FairReactor(service, listeners, share).serve()
