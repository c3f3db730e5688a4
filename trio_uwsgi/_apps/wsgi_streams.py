"""The parts of a WSGI environ that are not the request: streams, and keys that are the same for all requests."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from trio_uwsgi._apps.wsgi_exchange import WsgiExchange

__all__ = ["BodyReader", "ErrorStream", "FileWrapper", "base_environ"]

logger = logging.getLogger("trio_uwsgi")


class Readable(Protocol):
    """What `wsgi.file_wrapper` wraps."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, `b""` at the end."""


class FileWrapper:
    """`wsgi.file_wrapper`: the blocks of a file as an iterable that closes it."""

    def __init__(self, filelike: Readable, block_size: int = 65536) -> None:
        self.filelike = filelike
        self.block_size = block_size

    def __iter__(self) -> Iterator[bytes]:
        while block := self.filelike.read(self.block_size):
            yield block

    def close(self) -> None:
        """Close the file, if it can be closed."""
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()


# Bytes that `wsgi.input` buffers.
_BUFFER = 65536
# Bytes that the code of an application waits for at once, when it has asked for so many.
_AT_ONCE = 1 << 20


class BodyReader(io.BufferedReader):
    """`wsgi.input` of a large body, or of one that is still being received.

    A thread of the application that reads it waits in Trio for the bytes that have not arrived. Each wait is a switch
    of threads, so one that has asked for many bytes is not woken for a few.
    """

    def __init__(self, exchange: WsgiExchange) -> None:
        self._stream = _BodyStream(exchange)
        super().__init__(self._stream, _BUFFER)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and 0 <= size <= _BUFFER:
            return super().read(size)
        self._stream.fills = True
        try:
            return super().read(size)
        finally:
            self._stream.fills = False


class _BodyStream(io.RawIOBase):
    """The same without a buffer."""

    def __init__(self, exchange: WsgiExchange) -> None:
        self._exchange = exchange
        self._rest = memoryview(b"")
        self.fills = False  # the reader waits for all that it asks for

    def readable(self) -> bool:
        return True

    def readall(self) -> bytes:
        parts = [bytes(self._rest)]
        self._rest = memoryview(b"")
        while part := self._next(_AT_ONCE):
            parts.append(part)
        return b"".join(parts)

    def _next(self, wanted: int) -> bytes | None:
        if self._exchange.request.complete:
            return self._exchange.request.take_piece()
        if self._exchange.over and self._exchange.lost:
            raise self._exchange.disconnected("the connection ended before the request's body was received")
        if self._exchange.peeking:
            return None
        self._exchange.waiting = True
        try:
            return self._exchange.next_body(wanted)
        finally:
            self._exchange.waiting = False

    def readinto(self, buffer: Any, /) -> int | None:  # typeshed's WriteableBuffer is not importable at run time
        target = memoryview(buffer).cast("B")
        if not self._rest:
            # More than a buffer is where the reader wants it; the last part of it comes by the buffer.
            following = self._next(min(len(target), _AT_ONCE) if self.fills and len(target) > _BUFFER else 1)
            if following is None:
                return None
            self._rest = memoryview(following)
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class ErrorStream(io.TextIOBase):
    """`wsgi.errors`: the current standard error; the log if there is none, or writing to it fails.

    An application writes to it to report an error, so this never raises.
    """

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        if not self._write(text) and text.strip():
            logger.error("wsgi.errors: %s", text.rstrip())
        return len(text)

    def flush(self) -> None:
        self._write("")

    def close(self) -> None:
        self.flush()  # later requests use the same stream

    def fileno(self) -> int:
        return super().fileno() if sys.stderr is None else sys.stderr.fileno()

    def _write(self, text: str) -> bool:
        stream = sys.stderr
        try:
            if text:
                stream.write(text)
            else:
                stream.flush()
        except (AttributeError, OSError, ValueError):  # it is None; it is broken or full; it was closed
            return False
        return True


def base_environ(*, multithread: bool, multiprocess: bool) -> dict[str, object]:
    """The keys that the environs of all requests have in common."""
    return {
        "wsgi.version": (1, 0),
        "wsgi.errors": ErrorStream(),
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,  # reading to the end is safe, whatever the body's framing
    }
