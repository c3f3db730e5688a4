"""A fifo in the file system, from which orders are read. Floor 2."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

import trio

from trio_uwsgi.errors import ListenError

__all__ = ["Fifo", "open_fifo"]

_READ_SIZE = 512


class Fifo:
    """An open fifo."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def read(self) -> str:
        """What was written into it, some letters at a time.

        Checkpoint: always. A cancel loses nothing.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                data = os.read(self._descriptor, _READ_SIZE)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._descriptor)
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return data.decode("latin-1")


@contextlib.contextmanager
def open_fifo(path: str, owner: tuple[int, int] | None = None) -> Iterator[Fifo]:
    """Make a fifo that only one user may use, in place of an older one; it is removed at the end of the block.

    Args:
        path: its file.
        owner: the user and the group that may use it, where it is not this one; only for root.
    Raises:
        ListenError: it cannot be made there.
    """
    path = os.path.abspath(path)  # the application may change the directory later
    try:
        if stat.S_ISFIFO(os.lstat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        raise ListenError(path, "there is a file which is not a fifo", "remove it, or use another path") from None
    except OSError as error:
        raise ListenError(path, f"a fifo cannot be made there ({error.strerror})", "use another path") from error
    # For writing, too: then there always is a writer, and reading never comes to an end.
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    made = os.fstat(descriptor)
    try:
        if owner is not None:
            os.fchown(descriptor, *owner)
        yield Fifo(descriptor)
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            now = os.lstat(path)
            if (now.st_dev, now.st_ino) == (made.st_dev, made.st_ino):
                os.unlink(path)
