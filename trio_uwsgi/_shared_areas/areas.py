"""The shared areas of a runtime, in one process.

A read or a change holds a lock for a few microseconds: one of this process's threads, and with other processes one of
the kernel, which it releases if the process dies. Nothing is awaited while the lock is held.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

import trio

from trio_uwsgi._shared_areas.rules import Area, memory_size
from trio_uwsgi._system.process_locks import lock_process, unlock_process
from trio_uwsgi.errors import SharedAreaError

__all__ = ["SharedAreas"]


class SharedAreas:
    """All shared areas.

    `announce` is called with the number of an area that has changed while a task waits for it, on Trio's thread. By
    default it wakes the tasks of this process.

    Args:
        sizes: of the areas, in bytes.
        memory: of each area, shared with other processes; None if all members are in this one.
        descriptor: of the shared memory, for the lock.
    """

    def __init__(
        self, sizes: Sequence[int], memory: Sequence[memoryview] | None = None, descriptor: int | None = None
    ) -> None:
        if memory is None:
            memory = [memoryview(bytearray(memory_size(size))) for size in sizes]
        self._areas = [Area(number, *pair) for number, pair in enumerate(zip(memory, sizes, strict=True))]
        self._descriptor = descriptor
        self._thread_lock = threading.Lock()
        self._lots = [trio.lowlevel.ParkingLot() for _ in sizes]
        self.announce: Callable[[int], None] = self.changed

    def area(self, number: int) -> Area:
        """The area of this number.

        Raises:
            SharedAreaError: there is none.
        """
        if type(number) is not int or not 0 <= number < len(self._areas):
            count = len(self._areas)
            which = f"areas 0 to {count - 1}" if count > 1 else "area 0 only" if count else "none"
            raise SharedAreaError(
                f"there is no shared area {number!r}: this runtime has {which}; set Config(sharedarea=[BYTES, ...]), "
                f"on the command line --sharedarea PAGES"
            )
        return self._areas[number]

    @contextlib.contextmanager
    def locked(self, number: int) -> Iterator[Area]:
        """Keep all others from changing any area during the body."""
        area = self.area(number)
        with self._thread_lock:
            if self._descriptor is None:
                yield area
                return
            lock_process(self._descriptor)
            try:
                yield area
            finally:
                unlock_process(self._descriptor)

    async def wait(self, number: int, seen: int | None) -> int:
        """Wait until there were other than `seen` changes, None for those so far; returns how many there were.

        Checkpoint: always.
        """
        if seen is None:
            seen = self.area(number).changes
        await trio.lowlevel.checkpoint()
        while True:
            with self.locked(number) as area:
                if area.changes != seen:
                    return area.changes
                area.wait_for_change()
            await self._lots[number].park()

    def changed(self, number: int) -> None:
        """Wake the tasks of this process that wait for a change of an area."""
        self._lots[number].unpark_all()
