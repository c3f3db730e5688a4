"""Serves one client on any `trio.abc.Stream`: memory streams of tests, TLS, sockets where there is no epoll.

Sessions, codec and drivers are those of `reactor.py`; here one task reads and one writes. Only Trio's clock is used, so
it works with a mock clock.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._http.accepting import ACCEPT_PAUSE, LOST_CLIENT, OUT_OF_FILES, peer_of
from trio_uwsgi._http.limits import HIGH_WATER
from trio_uwsgi._http.nonblocking import unsent
from trio_uwsgi._http.open_file import write_loaded
from trio_uwsgi._http.phases import CLOSED
from trio_uwsgi._http.proxy_header import ProxyPreface
from trio_uwsgi._http.session import Session
from trio_uwsgi._http.tls_codec import TlsFailed
from trio_uwsgi._http.tls_facts import facts_of
from trio_uwsgi._http.tls_stream import TlsStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_uwsgi._http.listeners import Listener
    from trio_uwsgi._http.open_file import OpenFile
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._http.service import HttpService

logger = logging.getLogger("trio_uwsgi")


class StreamSession(Session):
    """A session whose transport is a stream and two tasks."""

    file_part = HIGH_WATER

    __slots__ = ("_changed", "_output", "_written", "scope", "stream")

    def __init__(self, service: HttpService, stream: trio.abc.Stream, peer: Peer) -> None:
        self.stream = stream
        self._output: deque[bytes] = deque()
        self._written = trio.Event()
        self._changed = trio.Event()
        self.scope = trio.CancelScope()  # around both tasks: cancelled when the session closes
        super().__init__(service, peer)

    async def read(self) -> None:
        """Read until the session closes. The tasks' scope ends it."""
        if isinstance(self.stream, TlsStream):
            await self._secure(self.stream)
        while not self.eof:
            if self.paused:
                await self._changed.wait()
                continue
            try:
                data = await self.stream.receive_some(65536)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.close()
                break
            if data:
                self.received(bytes(data))
            else:
                self.received_eof()
        await trio.sleep_forever()

    async def _secure(self, stream: TlsStream) -> None:
        """Wait for the end of the handshake, and of a load balancer's header before it. Their time limit is that of the
        first request's head.
        """
        try:
            while isinstance(self.parser, ProxyPreface) and not self.eof:
                if data := await stream.transport.receive_some(65536):
                    self.received(bytes(data))
                else:
                    self.received_eof()
            handshake = await stream.do_handshake()
        except TlsFailed as failure:
            self.handshake_failed(failure, b"")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.close()
        else:
            if handshake is None:
                self.received_eof()
            else:
                self.peer = self.peer._replace(tls=facts_of(handshake))

    async def flush(self) -> None:
        """Write what is pending, piece by piece, until the session closes."""
        while True:
            if not self._output:
                await self._written.wait()
                continue
            piece = self._output.popleft()
            try:
                # In parts, so that the progress of a slow client shows, and a stall is noticed.
                for start in range(0, len(piece), HIGH_WATER):
                    part = piece[start : start + HIGH_WATER]
                    await self.stream.send_all(part)
                    self.pending -= len(part)
                    if self.pending:
                        self.progressed()
                if not piece:
                    await self._end_sending()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.close()
                return
            if not self._output:
                self._written = trio.Event()
                if piece:
                    self.flushed()

    async def _end_sending(self) -> None:
        assert isinstance(self.stream, trio.abc.HalfCloseableStream)
        await self.stream.send_eof()

    def _received_first(self, data: bytes) -> None:
        if isinstance(self.stream, TlsStream):
            self.stream.first = data
        else:
            self.received(data)

    def write(self, data: bytes) -> None:
        if self.phase is not CLOSED and data:
            self._output.append(data)
            self.pending += len(data)
            self._written.set()
            self.retime()

    def write_file(self, file: OpenFile, offset: int, count: int) -> None:
        write_loaded(self, file, offset, count)

    def _reading_changed(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _shut(self) -> bool:
        if not isinstance(self.stream, trio.abc.HalfCloseableStream):
            return False
        self._output.append(b"")  # stands for the end: no other piece is empty
        self._written.set()
        return True

    def _unsent(self) -> int:
        stream = self.stream.transport if isinstance(self.stream, TlsStream) else self.stream
        if self.peer.client is None or not isinstance(stream, trio.SocketStream):
            return 0
        return unsent(stream.socket.fileno())

    def _close(self, reset: bool) -> None:
        self.scope.cancel()


async def serve_stream(service: HttpService, stream: trio.abc.Stream, peer: Peer) -> None:
    """Serve one client until it disconnects, breaks the protocol, or has its last response after `service.drain()`.

    Args:
        service: what the worker's connections share; its `serve` must be running.
        stream: the client. Closed at the end, whatever happens.
        peer: the facts of the connection, as the application sees them.

    Checkpoint: always.
    Cancellation: the stream is closed at once; to a running request its client is gone.
    """
    await _serve(StreamSession(service, stream, peer))


async def _serve(session: StreamSession) -> None:
    try:
        with session.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.flush)
                await session.read()
    finally:
        session.close()
        await trio.aclose_forcefully(session.stream)


async def serve_listeners(service: HttpService, listeners: Sequence[Listener]) -> None:
    """Accept clients and serve each in a task of its own, until `service.drain()` was called and the last connection
    ended.

    Args:
        service: what the worker's connections share; its `serve` must be running.
        listeners: listening sockets; the caller closes them.

    Checkpoint: always.
    Cancellation: all connections are closed at once.
    """
    async with trio.open_nursery() as connections:
        acceptor = _TaskAcceptor()
        service.acceptors.append(acceptor)
        while not service.draining:
            acceptor.round = trio.CancelScope()
            with acceptor.round:
                if service.paused:
                    await trio.sleep_forever()
                async with trio.open_nursery() as nursery:
                    for listener in listeners:
                        nursery.start_soon(_accept, service, listener, connections)
        service.acceptors.remove(acceptor)


class _TaskAcceptor:
    """Cancels the tasks that accept: at once, as the sockets may be closed when `drain` returns."""

    round: trio.CancelScope

    def stop_accepting(self) -> None:
        self.round.cancel()

    def pause_accepting(self, paused: bool) -> None:
        self.round.cancel()


async def _accept(service: HttpService, listener: Listener, connections: trio.Nursery) -> None:
    listening = trio.socket.from_stdlib_socket(listener.socket)
    while True:
        try:
            sock, address = await listening.accept()
        except OSError as error:
            if error.errno in OUT_OF_FILES:
                logger.error(
                    "%s: cannot accept connections: %s; retrying in %g s", listener.address, error, ACCEPT_PAUSE
                )
                await trio.sleep(ACCEPT_PAUSE)
            elif error.errno not in LOST_CLIENT:
                raise
        else:
            stream: trio.abc.Stream = trio.SocketStream(sock)
            if listener.tls is not None:
                stream = TlsStream(stream, listener.tls)
            # It counts from here on: at the limit of connections this loop is cancelled before it accepts another.
            session = StreamSession(service, stream, peer_of(sock, address, listener))
            connections.start_soon(_serve, session)
