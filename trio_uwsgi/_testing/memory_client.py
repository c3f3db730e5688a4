"""An httpx transport whose connections are memory streams.

Used by `testing.py` only. httpcore speaks HTTP over them, so a test's requests and responses are parsed from real bytes
on both sides.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any

import httpcore
import httpx
import trio

__all__ = ["MemoryTransport"]

# Opens a connection: its stream, and a function that says whether the server has closed its end.
Connect = Callable[[], tuple[trio.abc.Stream, Callable[[], bool]]]


class _MemoryStream(httpcore.AsyncNetworkStream):
    """A stream of Trio's for httpcore. Timeouts are ignored, because the client is made without any."""

    def __init__(self, stream: trio.abc.Stream, closed: Callable[[], bool]) -> None:
        self._stream = stream
        self._closed = closed

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            await self._stream.send_all(buffer)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> bool | None:
        # httpcore asks an idle connection whether it is readable before it uses it again: if so, the server has closed
        # it.
        return self._closed() if info == "is_readable" else None


class _MemoryBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,  # httpcore's type, which it does not export
    ) -> httpcore.AsyncNetworkStream:
        await trio.lowlevel.checkpoint()
        return _MemoryStream(*self._connect())


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: AsyncIterable[bytes]) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._stream:
                yield piece
        except (httpcore.ProtocolError, httpcore.NetworkError) as error:
            raise _translated(error) from error

    async def aclose(self) -> None:
        await self._stream.aclose()  # type: ignore[attr-defined]  # httpcore's streams have it


class MemoryTransport(httpx.AsyncBaseTransport):
    """Sends httpx requests over streams that `connect` makes, keeping connections alive as a real client does."""

    def __init__(self, connect: Connect) -> None:
        self._pool = httpcore.AsyncConnectionPool(network_backend=_MemoryBackend(connect))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        url = request.url
        try:
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        except (httpcore.ProtocolError, httpcore.NetworkError) as error:
            raise _translated(error) from error
        assert isinstance(response.stream, AsyncIterable)
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response.stream),
            extensions=dict(response.extensions),
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


def _translated(error: Exception) -> httpx.TransportError:
    """httpx's exception of the same name."""
    return {
        httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
        httpcore.LocalProtocolError: httpx.LocalProtocolError,
        httpcore.ReadError: httpx.ReadError,
        httpcore.WriteError: httpx.WriteError,
    }.get(type(error), httpx.TransportError)(str(error))
