"""The numbers of all metrics, in the memory of this process or in a file in shared memory, and the lock for changes.

A number is 8 bytes, aligned, and written at once: whoever reads it needs no lock, and who is killed while changing it
leaves the old number or the new one. The lock of the file belongs to its process, and the kernel releases it when that
ends in any way. It is held for microseconds.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["Numbers"]


class Numbers:
    """One number for each metric. Any thread may call.

    Args:
        initial: their first values.
        path: of the file; None: only this process uses them. Each process opens the file once, as long as it is open a
            second one would release the lock.
        joins: the file exists, with its values; otherwise this process makes it.
    Raises:
        OSError: there is no room for the file, or it does not exist.
    """

    def __init__(self, initial: Sequence[int], path: Path | None, joins: bool = False) -> None:
        self._mutex = threading.Lock()
        self._fd: int | None = None
        self._map: mmap.mmap | None = None
        size = 8 * len(initial)
        if path is None:
            self._numbers = memoryview(bytearray(size)).cast("q")
        else:
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (0 if joins else os.O_CREAT), 0o600)
            try:
                # Allocate all of it: a write to memory that the system does not have would kill the process.
                os.posix_fallocate(self._fd, 0, size)
                self._map = mmap.mmap(self._fd, size)
            except BaseException:
                os.close(self._fd)
                raise
            self._numbers = memoryview(self._map).cast("q")
        if not joins:
            for place, number in enumerate(initial):
                self._numbers[place] = number

    def get(self, place: int) -> int:
        """One number."""
        return self._numbers[place]

    def change(self, place: int, change: Callable[[int], int]) -> int:
        """Replace a number by what `change` makes of it, and return that. If it raises, the number stays."""
        with self._mutex:
            if self._fd is not None:
                _lock(self._fd)
            try:
                number = self._numbers[place] = change(self._numbers[place])
            finally:
                if self._fd is not None:
                    fcntl.lockf(self._fd, fcntl.LOCK_UN)
        return number

    def close(self) -> None:
        """Release the shared memory in this process. The numbers stay as they are now, and belong to this process."""
        with self._mutex:
            if self._map is None or self._fd is None:
                return
            shared, self._numbers = self._numbers, memoryview(bytearray(self._numbers)).cast("q")
            shared.release()
            self._map.close()
            os.close(self._fd)
            self._map = self._fd = None


def _lock(descriptor: int) -> None:
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX)
            return
        except OSError as error:
            # The kernel takes all threads of a process for one. It sees a deadlock if this process has some other lock
            # that a thread of the holder waits for; but the thread that has this lock goes on, and releases it.
            if error.errno != errno.EDEADLK:
                raise
