"""The folder in shared memory with the caches of one runtime's processes.

The master creates and removes it; member processes get its path. Each process keeps a shared lock on it, which the
kernel releases when the process ends in any way. So a folder without a lock belongs to a runtime of which no process is
left, and the next runtime that starts removes it.
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
    """A folder that this process has opened and locked.

    Args:
        path: its path.
    Raises:
        BootError: it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Identifies one run of a runtime; a cache's file of another run must be prepared again.
        self.run = hashlib.blake2b(path.name.encode(), digest_size=16).digest()
        try:
            self._lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_SH)
        except OSError as error:
            raise BootError(f"the shared caches of this runtime cannot be opened: {path}: {error.strerror}") from error

    @classmethod
    def make(cls, memory: Path | None = None) -> SharedFolder:
        """Create a folder, in shared memory if the system has it, and remove folders that are left over.

        Raises:
            BootError: it cannot be created.
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
                    f"no folder for shared caches can be created in {memory}: {error.strerror}; "
                    f"make it writable and large enough, or run members as tasks, without --processes"
                ) from None
            # Another starting runtime may take it for a leftover and remove it, until it is locked here.
            try:
                folder = cls(Path(path))
            except BootError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    continue
                raise
            if folder.exists:
                return folder
            folder.close()

    @property
    def exists(self) -> bool:
        """Does the path still lead to this folder?"""
        try:
            return os.path.samestat(os.fstat(self._lock), os.stat(self.path))
        except FileNotFoundError:
            return False

    def file(self, name: str, kind: str) -> Path:
        """The path of a cache's file of that kind. The cache's name is escaped, as it may have any characters."""
        digest = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
        return self.path / f"{urllib.parse.quote(name, safe='')[:80]}-{digest}.{kind}"

    def close(self) -> None:
        """Release the lock; this process has closed its files in the folder."""
        os.close(self._lock)

    def remove(self) -> None:
        """Remove the folder at the end of the runtime. Files that are still open in a process stay usable there."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.close()


def _remove_if_unused(path: Path) -> None:
    with contextlib.suppress(OSError):  # it is another user's, in use, or being removed by another process
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)
