"""A session on a socket of the reactor whose bytes are encrypted.

It is a `SocketSession` that reads through a `TlsCodec`, and writes through `SealedSocket`. The handshake is a part of
reading, so it waits for nothing and holds up nobody; its time limit is that of the first request's head.

The connection is closed in stages as any other (`lingering.py`): first TLS, then the socket's sending side; what comes
then is discarded undecrypted.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from trio_uwsgi._http.access_line import peer_name
from trio_uwsgi._http.limits import HIGH_WATER
from trio_uwsgi._http.nonblocking import DONTWAIT
from trio_uwsgi._http.open_file import write_loaded
from trio_uwsgi._http.phases import CLOSED
from trio_uwsgi._http.proxy_header import ProxyPreface
from trio_uwsgi._http.socket_session import OUT, SocketSession
from trio_uwsgi._http.tls_codec import TlsCodec, TlsFailed
from trio_uwsgi._http.tls_facts import facts_of

if TYPE_CHECKING:
    import socket

    from _typeshed import ReadableBuffer as Buffer

    from trio_uwsgi._http.certificates import ServerTls
    from trio_uwsgi._http.open_file import OpenFile
    from trio_uwsgi._http.peer import Peer
    from trio_uwsgi._http.reactor import Reactor

__all__ = ["TlsSession"]

logger = logging.getLogger("trio_uwsgi")

# Bytes that are read at once, and encrypted: so many are encrypted, and not sent, if the client does not read.
CHUNK = 65536
# Bytes that may be left, with what TLS itself answers to a client that does not read, and asks for renegotiations.
MOST_LEFT = 4 * CHUNK


class SealedSocket:
    """Encrypts and sends. `left` are encrypted bytes that the socket has not taken."""

    __slots__ = ("_ahead", "_codec", "_send", "left")

    def __init__(self, sock: socket.socket, codec: TlsCodec) -> None:
        self._send = sock.send
        self._codec = codec
        self._ahead = 0  # bytes at the start of the next `send` that are in `left`
        self.left: bytes | memoryview = b""

    def send(self, data: Buffer, flags: int = DONTWAIT, /) -> int:
        """As `socket.send`; 0 instead of a BlockingIOError. What it has not taken has to be sent next.

        Raises:
            OSError: the connection is broken.
        """
        if self.left and not self.flush():
            return 0
        sent, self._ahead = self._ahead, 0
        view = memoryview(data)
        while sent < len(view):
            chunk = view[sent : sent + CHUNK]
            self.left = self._codec.seal(chunk)
            if not self.flush():
                self._ahead = len(chunk)
                break
            sent += len(chunk)
        return sent

    def flush(self) -> bool:
        """Send what is left, and what TLS itself has to say; False: the socket does not take all of it."""
        if self._codec.waiting:
            self.left = bytes(self.left) + self._codec.take()
        while self.left:
            try:
                sent = self._send(self.left, DONTWAIT)
            except BlockingIOError:
                return False
            self.left = b"" if sent == len(self.left) else memoryview(self.left)[sent:]
        return True

    def finish(self) -> None:
        """Tell the client that nothing more is sent, if that can be done at once."""
        with contextlib.suppress(OSError):
            if self.flush():
                self.left = self._codec.finish()
                self.flush()


class TlsSession(SocketSession):
    """A session whose transport is TLS over a socket in the reactor's epoll set."""

    file_part = HIGH_WATER

    __slots__ = ("_codec", "_raw", "_sealed")

    def __init__(self, reactor: Reactor, sock: socket.socket, peer: Peer, tls: ServerTls) -> None:
        super().__init__(reactor, sock, peer)
        self._codec = TlsCodec(tls)
        self._sealed = SealedSocket(sock, self._codec)
        self._send = self._sealed.send
        self._raw = False  # input is not decrypted any more

    def readable(self) -> None:
        try:
            data = self._recv(CHUNK, DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            self.received_eof()
            self.rearm()
        elif self._raw or isinstance(self.parser, ProxyPreface):
            self.received(data)
        else:
            self._received_first(data)

    def _received_first(self, data: bytes) -> None:
        codec = self._codec
        try:
            plain = codec.feed(data)
        except TlsFailed as failure:
            self._fail(failure)
            return
        if codec.waiting:
            try:
                self._sealed.flush()
            except OSError:
                self.close()
                return
            if len(self._sealed.left) > MOST_LEFT:
                self.close(reset=True)
                return
            self._rearm_if_registered()
        if codec.established and self.peer.tls is None:
            self.peer = self.peer._replace(tls=facts_of(codec.handshake()))
            if self._timer is self.service.linger:  # the service drains: its first request is on its way
                self._watch(self.service.linger)
        if plain:
            self.received(plain)
        if codec.ended and not self.eof and self.phase is not CLOSED:
            self.received_eof()
            self._rearm_if_registered()

    def _fail(self, failure: TlsFailed) -> None:
        """The client cannot be understood: say so, and close."""
        self._raw = True
        if self._codec.established:
            logger.info("%s: TLS failed: %s", peer_name(self.peer), failure)
            with contextlib.suppress(OSError):
                self._sealed.flush()  # the alert
            self.close(reset=True)
            return
        self._send = self._socket.send
        self.handshake_failed(failure, self._codec.take())

    def ready(self, events: int) -> None:
        if events & OUT and not self.pending and self.phase is not CLOSED:
            try:
                self._sealed.flush()
            except OSError:
                self.close()
                return
            self.rearm()
        super().ready(events)

    def write_file(self, file: OpenFile, offset: int, count: int) -> None:
        write_loaded(self, file, offset, count)  # never os.sendfile, which would send it as it is

    def _rearm_if_registered(self) -> None:
        if self._mask >= 0:
            self.rearm()

    def _wanted(self) -> int:
        return super()._wanted() | (OUT if self._sealed.left else 0)

    def _shut(self) -> bool:
        if not self._raw:
            self._raw = True
            self._sealed.finish()
        return super()._shut()

    def _close(self, reset: bool) -> None:
        if not (reset or self._raw or self._sealed.left):
            self._sealed.finish()
        super()._close(reset)
