"""Many socket clients at once: the fast path.

Theory. A task per connection pays Trio's bookkeeping for every wait. Here one task per worker owns an epoll set with
all sockets in it, and waits for the set itself (an epoll descriptor is readable when one of its sockets is). So Trio is
entered once per batch of events, however many clients are served by it. The story of a batch:

    wait_readable(epoll) -> poll -> for each client: recv -> `Session.received` -> codec -> driver.begin
    -> accept a few -> back to Trio, where the begun requests run, and their responses go straight to `send`

A batch is bounded in count and time, so timers and other tasks of the worker wait for one batch at most. Nothing here
waits for a client: output that the socket does not take stays in its session until the socket is writable, and a client
is not read while its session is `paused`. epoll is level-triggered, so what a batch leaves is found by the next one.

Where there is no epoll, `connection.py` serves sockets with the same sessions.
"""

from __future__ import annotations

import contextlib
import logging
import math
import select
import socket
import struct
import time
from collections import deque
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._http.connection import ACCEPT_PAUSE, LOST_CLIENT, OUT_OF_FILES, peer_of, serve_listeners
from trio_uwsgi._http.session import CLOSED, IDLE, Session
from trio_uwsgi._http.transport import unsent
from trio_uwsgi._system.close_on_fork import close_in_forked_children

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trio_uwsgi._http.listeners import Listener
    from trio_uwsgi._http.request import Peer
    from trio_uwsgi._http.service import HttpService

logger = logging.getLogger("trio_uwsgi")

# One batch: at most this many events, and none begun after this many seconds. 2 ms is some 150 small requests, and
# short beside the 50 ms in which a timer is promised to fire. Events are asked for by the dozen: those that were given
# and not served would be behind the same others again the next time, while those not asked for come first.
BATCH = 256
BATCH_SECONDS = 0.002
EVENTS = 32
# Connections accepted per listener and batch: few, so that others who share the listener get some of a burst.
ACCEPTS = 16
# And when a graceful stop begins: as long a queue as the kernel keeps.
LAST_ACCEPTS = 4096
RECEIVE = 65536
# Output smaller than this is copied together when it must wait, so that a stream of crumbs does not become a queue of
# objects.
CRUMB = 4096

IN = getattr(select, "EPOLLIN", 0)
OUT = getattr(select, "EPOLLOUT", 0)
RDHUP = getattr(select, "EPOLLRDHUP", 0)
DEAD = getattr(select, "EPOLLERR", 0) | getattr(select, "EPOLLHUP", 0)
# The sockets stay in blocking mode, which saves a system call for each; so no call may lack this.
DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0) | getattr(socket, "MSG_NOSIGNAL", 0)


class SocketSession(Session):
    """A session whose transport is a socket in the reactor's epoll set."""

    __slots__ = ("_fd", "_mask", "_output", "_reactor", "_recv", "_send", "_socket")

    def __init__(self, reactor: Reactor, sock: socket.socket, peer: Peer) -> None:
        self._reactor = reactor
        self._socket = sock
        self._fd = sock.fileno()
        self._recv = sock.recv
        self._send = sock.send
        self._mask = -1  # events we are registered for; -1: not registered
        self._output: deque[memoryview | bytearray] = deque()
        reactor.sessions[self._fd] = self
        super().__init__(reactor.service, peer)

    # --- called by the reactor ----------------------------------------------------------------------------------------

    def readable(self) -> None:
        """Read once. What is left makes the next batch."""
        try:
            data = self._recv(RECEIVE, DONTWAIT)
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

    def ready(self, events: int) -> None:
        """Anything but plain input happened."""
        if events & OUT and self.pending:
            self._writable()
        if self.phase is CLOSED:
            pass
        elif events & IN:
            self.readable()
        elif events & DEAD:
            self.close()  # in both directions: nobody is left to answer
        elif events & RDHUP:
            self.hung_up()
            self.rearm()

    def rearm(self) -> None:
        """Have the epoll set watch for what we can take, and for nothing that would only wake us again and again."""
        if self.phase is CLOSED:
            return
        mask = IN
        if self.eof or self.paused:
            mask = 0 if self.hangup else RDHUP
        if self.pending:
            mask |= OUT
        if mask != self._mask:
            if self._mask < 0:
                self._reactor.epoll.register(self._fd, mask)
            else:
                self._reactor.epoll.modify(self._fd, mask)
            self._mask = mask

    def _writable(self) -> None:
        output = self._output
        before = self.pending
        try:
            while output:
                piece = output[0]
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
        return -1 if self.phase is CLOSED else self._fd

    def block(self, writing: bool, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT if writing else select.POLLIN)
        if not poll.poll(None if math.isinf(seconds) else max(0, seconds) * 1000):
            return False
        if writing:
            self._writable()
        else:
            self.readable()
        return True

    # --- called by the session ----------------------------------------------------------------------------------------

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

    def _keep(self, data: memoryview) -> None:
        size = len(data)
        self.pending += size
        output = self._output
        if size >= CRUMB:
            output.append(data)
        elif output and isinstance(output[-1], bytearray) and len(output[-1]) < CRUMB:
            output[-1] += data
        else:
            output.append(bytearray(data))

    def drain(self) -> None:
        if self.phase is IDLE:
            self.readable()  # a request that has arrived but was not read yet is not lost
        super().drain()

    def _reading_changed(self) -> None:
        if self._mask >= 0:
            self.rearm()

    def _unsent(self) -> int:
        # A unix socket has no way between: what was sent is there.
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
            # Closing would do, unless a forked child has the descriptor too: then a closed socket would wake us for
            # ever.
            self._reactor.epoll.unregister(self._fd)
        if reset:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


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
        """See `close_on_fork.py`. What the set watches, it watches for the parent."""
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
                # Most first requests are answered in this pass; a connection that ends with it never enters the set.
                await trio.lowlevel.checkpoint()
                self._register_fresh()
            await trio.lowlevel.wait_readable(descriptor)
            self._serve_batch()

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
                    # Accepting comes last: a descriptor that was closed in this batch must not come back in it.
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
        """Somebody waits at these listeners, or at what is closed by now."""
        for fd in waiting:
            if fd in self._listeners:
                self._accept(self._listeners[fd], ACCEPTS)

    def _accept(self, listener: Listener, count: int) -> bool:
        """Accept up to so many. False: there are no more for now."""
        for _ in range(count):
            try:
                sock, address = listener.socket.accept()
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in OUT_OF_FILES:
                    self._pause_accepting(listener, error)
                    return False
                if error.errno not in LOST_CLIENT:
                    raise
            else:
                if sock.gettimeout() is not None:  # the application has set a default one, and recv() would wait
                    sock.setblocking(True)
                session = SocketSession(self, sock, peer_of(sock, address, listener))
                self._fresh.append(session)
                session.readable()
        return True

    def _register_fresh(self) -> None:
        fresh, self._fresh = self._fresh, []
        for session in fresh:
            session.rearm()

    def _pause_accepting(self, listener: Listener, error: OSError) -> None:
        logger.error("%s: cannot accept: %s; trying again in %g s", listener.address, error, ACCEPT_PAUSE)
        self._unwatch(listener)
        self._nursery.start_soon(self._resume_accepting, listener)

    async def _resume_accepting(self, listener: Listener) -> None:
        await trio.sleep(ACCEPT_PAUSE)
        if not self.service.draining and not self.service.paused:
            self._watch(listener)

    def _watch(self, listener: Listener) -> None:
        with contextlib.suppress(FileExistsError):  # it is in the set already
            self.epoll.register(listener.socket.fileno(), IN)

    def _unwatch(self, listener: Listener) -> None:
        with contextlib.suppress(FileNotFoundError):  # it is out of it for some other reason
            self.epoll.unregister(listener.socket.fileno())

    def pause_accepting(self, paused: bool) -> None:
        """See `Acceptor`."""
        for listener in self._listeners.values():
            (self._unwatch if paused else self._watch)(listener)

    def stop_accepting(self) -> None:
        """Accept who is waiting already, so that no request is lost that was sent before the stop, and then nobody."""
        for listener in self._listeners.values():
            if not (self.service.paused and self.service.patient):  # then others accept them when they may
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
    """Serve the clients of all listeners until `service.drain()` was called and the last one ended.

    Args:
        service: what the worker's connections share; its `serve` must be running.
        listeners: listening sockets, non-blocking; they stay the caller's, who closes them after this.

    Checkpoint: always.
    Cancellation: all connections are closed at once; running requests are told that their client is gone.
    """
    task_status.started()
    if hasattr(select, "epoll"):
        await Reactor(service, listeners).serve()
    else:
        await serve_listeners(service, listeners)
