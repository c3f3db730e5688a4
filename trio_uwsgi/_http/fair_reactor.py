"""A reactor that shares its listeners with those of other processes, and takes its part of their clients.

The rule is `fair_share.py`; the numbers are on the board, written at once. A listener that is left to others for a
moment is taken out of the epoll set, which would otherwise wake us for it again and again; the wait for the set then
has a deadline. At that one connection is taken, if one is still there, and the listener is back in the set. Requests of
the clients that are here are served meanwhile.

Workers that are tasks of one process accept in one reactor each, too, but only one of them can run: nothing of this is
theirs.
"""

from __future__ import annotations

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


class FairReactor(Reactor):
    """The epoll set of a worker that is a process among others."""

    __slots__ = ("_due", "_left", "_share")

    def __init__(self, service: HttpService, listeners: Sequence[Listener], share: Share) -> None:
        super().__init__(service, listeners)
        self.sessions = CountedSessions(share)
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
