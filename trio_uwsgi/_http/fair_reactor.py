"""A reactor that shares its listeners with those of other processes, and takes its part of their clients.

The rule is `fair_share.py`; the numbers are on the board, written at once. A listener that is left to others for a
moment is taken out of the epoll set, which would otherwise wake us for it again and again; the wait for the set then
has a deadline. At that one connection is taken, if one is still there, and the listener is back in the set. Requests of
the clients that are here are served meanwhile.

Workers that are tasks of one process accept in one reactor each, too, but only one of them can run: nothing of this is
theirs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._http.fair_share import STALE, patience
from trio_uwsgi._http.reactor import ACCEPTS, Reactor, SocketSession

if TYPE_CHECKING:
    from trio_uwsgi._http.listeners import Listener
    from trio_uwsgi._http.service import HttpService
    from trio_uwsgi._link.scoreboard import Row

__all__ = ["FairReactor", "Share", "serve_fairly"]


# Seconds between two looks for workers that have come.
LOOK = 0.05


class Share:
    """One worker's part in accepting.

    Args:
        mine: its row.
        others: those of the other workers.
    """

    __slots__ = ("_looked", "_mine", "_others", "_present")

    def __init__(self, mine: Row, others: Sequence[Row]) -> None:
        self._mine = mine
        self._others = others
        self._present: list[Row] = []  # those of `_others` where somebody was at the last look
        self._looked = -math.inf

    def patience(self) -> float:
        """Seconds to leave a new connection to others; 0 is to take it now."""
        now = time.monotonic()
        if now - self._looked > LOOK:  # most rows are for workers that may be added, and this is asked for each client
            self._looked = now
            self._present = [row for row in self._others if row.get("heartbeat")]
        since = now - STALE
        others = [row.get("open") for row in self._present if row.get("accepting") and row.get("heartbeat") > since]
        return patience(self._mine.get("open"), others)

    def has(self, connections: int) -> None:
        """This many are open now."""
        self._mine.set("open", connections)

    def accepts(self, accepting: bool) -> None:
        """Others may leave connections to this worker, or not any more."""
        self._mine.set("accepting", accepting)


class _Counted(dict[int, SocketSession]):
    """A reactor's sessions, whose number all workers know."""

    __slots__ = ("_share",)

    def __init__(self, share: Share) -> None:
        super().__init__()
        self._share = share

    def __setitem__(self, fd: int, session: SocketSession) -> None:
        super().__setitem__(fd, session)
        self._share.has(len(self))

    def __delitem__(self, fd: int) -> None:
        super().__delitem__(fd)
        self._share.has(len(self))


class FairReactor(Reactor):
    """The epoll set of a worker that is a process among others."""

    __slots__ = ("_due", "_left", "_share")

    def __init__(self, service: HttpService, listeners: Sequence[Listener], share: Share) -> None:
        super().__init__(service, listeners)
        self.sessions = _Counted(share)
        self._share = share
        self._left: list[Listener] = []  # to others, until `_due`; they are not in the set
        self._due = 0.0

    async def serve(self) -> None:
        try:
            await super().serve()
        finally:
            self._share.accepts(False)

    async def _serve_batches(self) -> None:
        descriptor = self.epoll.fileno()
        while True:
            if self._fresh:
                await trio.lowlevel.checkpoint()
                self._register_fresh()
            if self._left:
                with trio.CancelScope(deadline=self._due):
                    await trio.lowlevel.wait_readable(descriptor)
                if trio.current_time() >= self._due:
                    self._take_what_is_left()
            else:
                await trio.lowlevel.wait_readable(descriptor)
            self._serve_batch()

    def _accept_from(self, waiting: Iterable[int]) -> None:
        for fd in waiting:
            if fd in self._listeners:
                self._accept_fairly(self._listeners[fd])

    def _accept_fairly(self, listener: Listener) -> None:
        if seconds := self._share.patience():
            if not self._left:
                self._due = trio.current_time() + seconds
            self._left.append(listener)
            self._unwatch(listener)
            return
        for _ in range(ACCEPTS):
            # Above our part, what is there makes another batch: by then it may be gone.
            if not self._accept(listener, 1) or self._share.patience():
                return

    def _take_what_is_left(self) -> None:
        """One connection, however many we have: the others may not be as able as they look."""
        left, self._left = self._left, []
        for listener in left:
            self._watch(listener)
            self._accept(listener, 1)

    def _pause_accepting(self, listener: Listener, error: OSError) -> None:
        self._share.accepts(False)
        super()._pause_accepting(listener, error)

    async def _resume_accepting(self, listener: Listener) -> None:
        await super()._resume_accepting(listener)
        self._share.accepts(not self.service.draining and not self.service.paused)

    def pause_accepting(self, paused: bool) -> None:
        self._left.clear()
        super().pause_accepting(paused)
        self._share.accepts(not paused)

    def stop_accepting(self) -> None:
        self._left.clear()
        super().stop_accepting()
        self._share.accepts(False)


async def serve_fairly(
    share: Share,
    service: HttpService,
    listeners: Sequence[Listener],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """`serve_sockets` for a worker process among others. Members are processes only where there is epoll."""
    task_status.started()
    await FairReactor(service, listeners, share).serve()
