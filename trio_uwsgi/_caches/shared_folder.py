"""The folder in shared memory where the processes of one runtime have their caches.

The runtime's first process makes it and removes it; the others are told its path. Each keeps a shared lock on it, which
the kernel takes back when the process is gone, however it went. So a folder that nobody has locked belongs to a runtime
of which nothing is left, and the next one that starts removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import urllib.parse
from pathlib import Path

from trio_uwsgi.errors import BootError

__all__ = ["SharedFolder"]

_MEMORY = Path("/dev/shm")
_PREFIX = "trio_uwsgi-"


class SharedFolder:
    """A folder that this process has joined.

    Args:
        path: where it is.
    Raises:
        BootError: there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Of one run of a runtime: what is in a file of another run was not made ready for these processes.
        self.run = hashlib.blake2b(path.name.encode(), digest_size=16).digest()
        try:
            self._lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_SH)
        except OSError as error:
            raise BootError(f"the shared caches of this runtime are not there: {path}: {error.strerror}") from error

    @classmethod
    def make(cls, memory: Path | None = None) -> SharedFolder:
        """Make one, in shared memory where the system has it, and remove those of which nothing is left.

        Raises:
            BootError: the system has no room for it, or lets nobody write there.
        """
        if memory is None:
            memory = _MEMORY if _MEMORY.is_dir() else Path(tempfile.gettempdir())
        for left in memory.glob(f"{_PREFIX}*"):
            _remove_if_unused(left)
        while True:
            try:
                path = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=memory)
            except OSError as error:
                raise BootError(
                    f"no folder can be made in {memory}, where processes share what they have: {error.strerror}; "
                    f"make it writable, with room, or let members be tasks, without --processes"
                ) from None
            folder = cls(Path(path))
            if folder.exists:  # else another one that started took it for left, before it was locked
                return folder
            folder.close()

    @property
    def exists(self) -> bool:
        """Is it still in its place?"""
        try:
            return os.path.samestat(os.fstat(self._lock), os.stat(self.path))
        except FileNotFoundError:
            return False

    def file(self, name: str, kind: str) -> Path:
        """Where a cache has its file of that kind. Caches may be called what files may not."""
        digest = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
        return self.path / f"{urllib.parse.quote(name, safe='')[:80]}-{digest}.{kind}"

    def close(self) -> None:
        """This process has no file of it open any more."""
        os.close(self._lock)

    def remove(self) -> None:
        """The runtime has ended. Processes that are late keep what they have open."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.close()


def _remove_if_unused(path: Path) -> None:
    with contextlib.suppress(OSError):  # it is another user's, in use, or being removed by another one
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)
