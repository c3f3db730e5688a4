"""An open file whose bytes are sent: which of them are in memory, and threads that fetch the others.

`os.sendfile` and `read` wait for the disk if the bytes are not in the page cache, and everything else in the process
would wait with them. So before a part of a file is sent, the system is asked whether its first and its last byte are
there (`RWF_NOWAIT`); if one is not, a thread reads the part. At most `READERS` threads of a process do that at once.
Where the system cannot say (not Linux, some file systems, tmpfs of older kernels) the thread reads always. What remains
is that the middle of a part was dropped from memory since: then at most `PART` bytes are waited for.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import trio

if TYPE_CHECKING:
    from trio_uwsgi._http.session import Session

__all__ = ["PART", "FilePart", "OpenFile", "in_reader", "write_loaded"]

logger = logging.getLogger("trio_uwsgi")

# Bytes of a file that are given to a connection at once: few enough that others need not wait for them, and more than
# a socket takes. Copying them takes some 100 us.
PART = 524_288
READERS = 4

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
_READERS: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("trio_uwsgi_file_readers")


async def in_reader(func: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call a function that waits for a disk in one of the threads for that.

    Checkpoint: always.
    Cancellation: the thread continues, and counts as one of the readers until it ends.
    """
    try:
        limiter = _READERS.get()
    except LookupError:
        limiter = trio.CapacityLimiter(READERS)
        _READERS.set(limiter)
    return await trio.to_thread.run_sync(func, *args, limiter=limiter, abandon_on_cancel=True)


class OpenFile:
    """A regular file, open for reading. It is closed when nothing refers to it any more: neither the request, nor the
    output of a connection, nor a thread that reads it.

    Args:
        descriptor: of the file; this object owns it.
    Raises:
        OSError: it is no regular file. The descriptor is closed.
    """

    __slots__ = ("descriptor", "is_folder", "mtime_ns", "size")

    def __init__(self, descriptor: int, *, folders: bool = False) -> None:
        self.descriptor = descriptor
        status = os.fstat(descriptor)
        self.is_folder = stat.S_ISDIR(status.st_mode)
        if not stat.S_ISREG(status.st_mode) and not (folders and self.is_folder):
            raise OSError(errno.EINVAL, "is not a regular file")  # `__del__` closes it
        self.size = status.st_size
        self.mtime_ns = status.st_mtime_ns

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.close(self.descriptor)

    def read_now(self, offset: int, count: int) -> bytes | None:
        """These bytes, if all of them are in memory."""
        if not _NOWAIT:
            return None
        data = bytearray(count)
        try:
            if os.preadv(self.descriptor, [data], offset, _NOWAIT) == count:
                return bytes(data)
        except OSError:  # they are not, or the file system cannot say
            pass
        return None

    async def read(self, offset: int, count: int) -> bytes:
        """These bytes; fewer at the end of the file.

        Checkpoint: only if they are not in memory.
        Raises:
            OSError: the file cannot be read.
        """
        data = self.read_now(offset, count)
        return data if data is not None else await in_reader(_read, self, offset, count)

    async def load(self, offset: int, count: int) -> None:
        """Have these bytes, at most `PART`, in memory.

        Checkpoint: only if they are not.
        Raises:
            OSError: the file cannot be read.
        """
        if self._is_loaded(offset) and self._is_loaded(offset + count - 1):
            return
        await in_reader(_load, self, offset, count)

    def _is_loaded(self, position: int) -> bool:
        if not _NOWAIT:
            return False
        try:
            os.preadv(self.descriptor, [bytearray(1)], position, _NOWAIT)
        except OSError:
            return False
        return True


def _read(file: OpenFile, offset: int, count: int) -> bytes:
    pieces: list[bytes] = []
    while count and (piece := os.pread(file.descriptor, count, offset)):
        pieces.append(piece)
        offset += len(piece)
        count -= len(piece)
    return b"".join(pieces)


def _load(file: OpenFile, offset: int, count: int) -> None:
    """Read without keeping: the page cache has the bytes then."""
    buffer = bytearray(65536)
    end = offset + count
    while offset < end:
        read = os.preadv(file.descriptor, [buffer], offset)
        if not read:
            return
        offset += read


class FilePart:
    """A part of a file that waits to be sent. `offset` and `count` change with what was sent."""

    __slots__ = ("count", "file", "offset")

    def __init__(self, file: OpenFile, offset: int, count: int) -> None:
        self.file = file
        self.offset = offset
        self.count = count

    def __len__(self) -> int:
        return self.count

    def truncated(self) -> OSError:
        """Log that the file has become shorter than its response says; the error ends the connection."""
        logger.error(
            "a file was truncated to %d bytes or less while it was sent; its connection is closed", self.offset
        )
        return OSError(errno.EIO, "the file was truncated")


def write_loaded(session: Session, file: OpenFile, offset: int, count: int) -> None:
    """The `write_file` of a transport that needs the bytes: to encrypt them, or for a stream."""
    try:
        data = os.pread(file.descriptor, count, offset)
        if len(data) < count:
            raise FilePart(file, offset + len(data), count).truncated()
    except OSError:
        session.close(reset=True)
        return
    if session.exchange is not None:
        session.exchange.sent += count
    session.write(data)
