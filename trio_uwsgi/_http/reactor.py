"""Accepts and serves all socket clients of one worker in one task: the fast path.

Theory. A task per connection pays Trio's bookkeeping for every wait. Here one task per worker owns an epoll set with
all sockets in it, and waits for the set itself (an epoll descriptor is readable when one of its sockets is). So Trio is
entered once per batch of events, however many clients the batch serves. A batch:

    wait_readable(epoll) -> poll -> for each client: recv -> `Session.received` -> codec -> driver.begin
    -> accept a few -> back to Trio, where the begun requests run, and their responses go straight to `send`

A batch is bounded in count and time, so timers and other tasks of the worker wait for one batch at most. Nothing here
waits for a client: output that the socket does not take stays in its session (`socket_session.py`) until the socket is
writable, and a client is not read while its session is `paused`. epoll is level-triggered, so the next batch finds what
this one did not handle.

Where there is no epoll, `connection.py` serves sockets with the same sessions.
"""

from __future__ import annotations

import contextlib
import logging
import select
import time
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._http.accepting import ACCEPT_PAUSE, LOST_CLIENT, OUT_OF_FILES, above_standard_streams, peer_of
from trio_uwsgi._http.connection import serve_listeners
from trio_uwsgi._http.socket_session import IN, SocketSession
from trio_uwsgi._http.tls_session import TlsSession
from trio_uwsgi._system.close_on_fork import close_in_forked_children

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trio_uwsgi._http.listeners import Listener
    from trio_uwsgi._http.service import HttpService

logger = logging.getLogger("trio_uwsgi")

# One batch: at most this many events, and none begun after this many seconds. 2 ms is some 150 small requests, and
# short compared with the 50 ms within which a timer has to fire. Events are fetched in small groups: an event that was
# fetched and not served would be at the end of the kernel's queue the next time, one that was not fetched at its front.
BATCH = 256
BATCH_SECONDS = 0.002
EVENTS = 32
# Connections accepted per listener and batch: few, so that other workers at the listener get some of a burst.
ACCEPTS = 16
# Connections accepted when a graceful stop begins: the kernel's queue is not longer.
LAST_ACCEPTS = 4096


class Reactor:
    """The epoll set of one worker: its listeners and the sockets of its clients."""

    __slots__ = ("__weakref__", "_fresh", "_listeners", "_nursery", "epoll", "service", "sessions")

    def __init__(self, service: HttpService, listeners: Sequence[Listener]) -> None:
        self.service = service
        self.sessions: dict[int, SocketSession] = {}
        self.epoll = select.epoll()
        self._listeners = {listener.socket.fileno(): listener for listener in listeners}
        self._fresh: list[SocketSession] = []  # accepted, and not registered yet
        self._nursery: trio.Nursery
        close_in_forked_children(self)

    def close_copies(self) -> None:
        """See `_system/close_on_fork.py`. The epoll set belongs to the parent."""
        self.epoll.close()
        for session in self.sessions.values():
            session._socket.close()

    async def serve(self) -> None:
        """Serve until the service was drained, or until cancelled."""
        try:
            self.pause_accepting(self.service.paused)
            self.service.acceptors.append(self)
            async with trio.open_nursery() as self._nursery:
                if self.service.draining:
                    self.stop_accepting()
                self._nursery.start_soon(self._serve_batches)
                await self.service.wait_drained()
                self._nursery.cancel_scope.cancel()
        finally:
            self.service.acceptors.remove(self)
            for session in list(self.sessions.values()):
                session.close()
            self.epoll.close()

    async def _serve_batches(self) -> None:
        descriptor = self.epoll.fileno()
        while True:
            if self._fresh:
                await self._settle_fresh()
            await trio.lowlevel.wait_readable(descriptor)
            self._serve_batch()

    async def _settle_fresh(self) -> None:
        """Let the first requests of new connections be answered. One that closes after that never enters the set."""
        # Trio runs the tasks of a turn in any order, so only after the second turn all others have run.
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        self._register_fresh()

    def _serve_batch(self) -> None:
        poll = self.epoll.poll
        find = self.sessions.get
        now = time.perf_counter
        end = now() + BATCH_SECONDS
        accepting: set[int] = set()
        for _ in range(BATCH // EVENTS):
            events = poll(0, EVENTS)
            for fd, event in events:
                session = find(fd)
                if session is None:
                    # Accepting comes last: a descriptor that was closed in this batch must not be used again in it.
                    accepting.add(fd)
                elif event == IN:
                    session.readable()
                else:
                    session.ready(event)
            if len(events) < EVENTS or now() > end:
                break
        if accepting:
            self._accept_from(accepting)

    # --- accepting ----------------------------------------------------------------------------------------------------

    def _accept_from(self, waiting: Iterable[int]) -> None:
        """Accept at these descriptors; some may not be listeners, but sessions that were closed meanwhile."""
        for fd in waiting:
            if fd in self._listeners:
                self._accept(self._listeners[fd], ACCEPTS)

    def _accept(self, listener: Listener, count: int) -> bool:
        """Accept up to `count` connections, as many as the service may have. False: no more are waiting."""
        for _ in range(count):
            if self.service.full:
                return False
            try:
                sock, address = listener.accept()
                sock = above_standard_streams(sock)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in OUT_OF_FILES:
                    self._pause_accepting(listener, error)
                    return False
                if error.errno not in LOST_CLIENT:
                    raise
            else:
                peer = peer_of(sock, address, listener)
                tls = listener.tls
                session = SocketSession(self, sock, peer) if tls is None else TlsSession(self, sock, peer, tls)
                self._fresh.append(session)
                session.readable()
        return True

    def _register_fresh(self) -> None:
        fresh, self._fresh = self._fresh, []
        for session in fresh:
            session.rearm()

    def _pause_accepting(self, listener: Listener, error: OSError) -> None:
        logger.error("%s: cannot accept connections: %s; retrying in %g s", listener.address, error, ACCEPT_PAUSE)
        self._unwatch(listener)
        self._nursery.start_soon(self._resume_accepting, listener)

    async def _resume_accepting(self, listener: Listener) -> None:
        await trio.sleep(ACCEPT_PAUSE)
        if not self.service.draining and not self.service.paused:
            self._watch(listener)

    def _watch(self, listener: Listener) -> None:
        if self.service.paused:  # another listener has just accepted the last connection that may be open
            return
        with contextlib.suppress(FileExistsError):  # it is in the set already
            self.epoll.register(listener.socket.fileno(), IN)

    def _unwatch(self, listener: Listener) -> None:
        with contextlib.suppress(FileNotFoundError):  # it is not in the set
            self.epoll.unregister(listener.socket.fileno())

    def pause_accepting(self, paused: bool) -> None:
        """See `Acceptor`."""
        for listener in self._listeners.values():
            (self._unwatch if paused else self._watch)(listener)

    def stop_accepting(self) -> None:
        """Accept the connections that are waiting, so that requests sent before the stop are not lost; then stop."""
        for listener in self._listeners.values():
            # Where we do not accept now, and other workers serve, they accept these.
            if not (self.service.others_serve and (self.service.paused or self.service.occupied)):
                self._accept(listener, LAST_ACCEPTS)
            self._unwatch(listener)
        self._listeners.clear()
        self._register_fresh()


async def serve_sockets(
    service: HttpService,
    listeners: Sequence[Listener],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the clients of all listeners until `service.drain()` was called and the last connection ended.

    Args:
        service: what the worker's connections share; its `serve` must be running.
        listeners: listening sockets, non-blocking; the caller closes them afterwards.

    Checkpoint: always.
    Cancellation: all connections are closed at once; to running requests their client is gone.
    """
    task_status.started()
    if hasattr(select, "epoll"):
        await Reactor(service, listeners).serve()
    else:
        await serve_listeners(service, listeners)
