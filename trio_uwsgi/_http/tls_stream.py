"""A server's TLS on any Trio stream, for `connection.py`: where there is no epoll, and in tests.

`trio.SSLStream` can end neither direction alone, so a last response would be lost if its client still sends.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._http.tls_codec import TlsCodec, TlsFailed

if TYPE_CHECKING:
    from trio_uwsgi._http.certificates import ServerTls
    from trio_uwsgi._http.tls_facts import Handshake

__all__ = ["TlsStream"]


class TlsStream(trio.abc.HalfCloseableStream):
    """TLS on a stream, on the server's side. One task may read while another one writes.

    `transport` is the stream below, and `first` is what was received of it before the handshake. Its `send_eof` ends
    TLS, and then the transport's sending side if it has one.
    """

    def __init__(self, transport: trio.abc.Stream, tls: ServerTls) -> None:
        self.transport = transport
        self.first = b""
        self._codec = TlsCodec(tls)
        self._sending = trio.Lock()  # records are sent in the order in which they were made
        self._early = b""  # what came with the end of the handshake
        self._raw = False  # input is not decrypted any more
        self._cut = False  # a record may have been sent in part

    async def do_handshake(self) -> Handshake | None:
        """Wait for the end of the handshake, and return what it agreed on; None if the client disconnected.

        Raises:
            TlsFailed: it failed; the alert has been sent. After that bytes are sent and received unencrypted.
        """
        while not self._codec.established:
            data, self.first = self.first, b""
            data = data or bytes(await self.transport.receive_some(65536))
            if not data:
                return None
            try:
                self._early += self._codec.feed(data)
            except TlsFailed:
                self._raw = True
                await self._send_waiting()
                raise
            await self._send_waiting()
        return self._codec.handshake()

    async def _send_waiting(self) -> None:
        if self._codec.waiting:
            async with self._sending:
                await self.transport.send_all(self._codec.take())

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What the client sent, b"" at its end.

        Raises:
            trio.BrokenResourceError: the connection or its encryption is broken.
        """
        if self._early:
            early, self._early = self._early, b""
            await trio.lowlevel.checkpoint()
            return early
        while True:
            if self._codec.ended and not self._raw:
                await trio.lowlevel.checkpoint()
                return b""
            data = bytes(await self.transport.receive_some(65536))
            if not data or self._raw:
                return data
            try:
                plain = self._codec.feed(data)
            except TlsFailed as error:
                await self._send_waiting()
                raise trio.BrokenResourceError(str(error)) from error
            await self._send_waiting()
            if plain:
                return plain

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it.

        Raises:
            trio.BrokenResourceError: the connection or its encryption is broken.
        """
        async with self._sending:
            if data and not self._raw:
                try:
                    data = self._codec.seal(memoryview(data))
                except ssl.SSLError as error:  # what the client sent has broken it, while this waited to be sent
                    raise trio.BrokenResourceError(str(error)) from error
            self._cut = True
            await self.transport.send_all(data)
            self._cut = False

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the transport has room."""
        await self.transport.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Say that nothing more is sent. What comes then is not decrypted."""
        async with self._sending:
            if not self._raw:
                self._raw = True
                if last := self._codec.finish():
                    await self.transport.send_all(last)
            if isinstance(self.transport, trio.abc.HalfCloseableStream):
                await self.transport.send_eof()

    async def aclose(self) -> None:
        """Close both directions. A socket's client is told that this is the end, if that can be done at once."""
        if not (self._raw or self._cut) and isinstance(self.transport, trio.SocketStream):
            with contextlib.suppress(OSError):
                os.write(self.transport.socket.fileno(), self._codec.finish())
        await self.transport.aclose()
