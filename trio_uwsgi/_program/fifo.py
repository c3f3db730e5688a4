"""The fifo in the file system from which commands are read."""

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
        """Wait for letters, and return those that have been written.

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
    """Create a fifo that only one user may use, instead of an existing one; it is removed at the end of the block.

    Args:
        path: its file.
        owner: the user and the group that may use it, if not the current ones; only for root.
    Raises:
        ListenError: it cannot be created there.
    """
    path = os.path.abspath(path)  # the application may change the current directory later
    try:
        _remove_older(path)
        os.mkfifo(path, 0o600)
        # Also for writing: with a writer that stays, a read never returns the end of the file.
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileExistsError:
        raise ListenError(path, "the file exists and is not a fifo", "remove it, or use another path") from None
    except OSError as error:
        raise ListenError(path, f"cannot create a fifo there ({error.strerror})", "use another path") from error
    made = os.fstat(descriptor)
    # Another user who may write to the directory could replace it by another file, to get the ownership of that.
    if not stat.S_ISFIFO(made.st_mode) or made.st_nlink != 1 or made.st_uid != os.geteuid():
        os.close(descriptor)
        raise ListenError(path, "another user has replaced the fifo", "use a directory that only you can write to")
    try:
        if owner is not None:
            # Without the right for this, the switch to that user fails too, with an error.
            with contextlib.suppress(PermissionError):
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
