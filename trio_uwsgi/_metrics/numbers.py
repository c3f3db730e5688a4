"""The numbers of all metrics, in the memory of this process or in a file in shared memory, and the lock for changes.

A number is 8 bytes, aligned, and written at once: whoever reads it needs no lock, and who is killed while changing it
leaves the old number or the new one. `_system/process_locks.py` has the lock.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from trio_uwsgi._system.process_locks import lock_process, unlock_process

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
                lock_process(self._fd)
            try:
                number = self._numbers[place] = change(self._numbers[place])
            finally:
                if self._fd is not None:
                    unlock_process(self._fd)
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
