"""A fifo in the file system, from which orders are read."""

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
        _remove_older(path)
        os.mkfifo(path, 0o600)
        # For writing, too: then there always is a writer, and reading never comes to an end.
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileExistsError:
        raise ListenError(path, "there is a file which is not a fifo", "remove it, or use another path") from None
    except OSError as error:
        raise ListenError(path, f"a fifo cannot be made there ({error.strerror})", "use another path") from error
    made = os.fstat(descriptor)
    # Somebody who may write to the directory could put another file in its place, to have that given away.
    if not stat.S_ISFIFO(made.st_mode) or made.st_nlink != 1 or made.st_uid != os.geteuid():
        os.close(descriptor)
        raise ListenError(path, "somebody else has put a file there", "use a directory that is yours alone")
    try:
        if owner is not None:
            with contextlib.suppress(
                PermissionError
            ):  # who cannot give it away cannot become that user, and is told so
                os.fchown(descriptor, *owner)
        yield Fifo(descriptor)
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            if os.path.samestat(os.lstat(path), made):
                os.unlink(path)


def _remove_older(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISFIFO(os.lstat(path).st_mode):
            os.unlink(path)
