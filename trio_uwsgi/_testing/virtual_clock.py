"""One virtual time for several processes.

The clock coordinator (`clock_coordinator.py`) runs in the test's process, moves the time, and writes it into shared
memory. The processes that are forked from the test inherit that memory. Trio runs there on a clock that reads the time
from it and never moves it.
"""

from __future__ import annotations

import mmap

import trio

__all__ = ["SharedClock", "SharedTime"]

# The number that Trio's own mock clock returns from `deadline_to_sleep_time`: the loop sleeps until it is woken.
_FOR_EVER = 999999999


class SharedTime:
    """A time in memory that this process shares with all processes that are forked from it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._numbers = memoryview(self._memory).cast("d")

    def get(self) -> float:
        """Return the time."""
        return self._numbers[0]

    def set(self, now: float) -> None:
        """Set the time. Only the process that moves the time may call this."""
        self._numbers[0] = now

    def close(self) -> None:
        """Release the memory in this process. Other processes keep it."""
        self._numbers.release()
        self._memory.close()


class SharedClock(trio.abc.Clock):
    """Shows the time that another process sets. That process also has to wake the loop that runs on this clock.

    `clock_hold.py` sets `autojump_threshold` to infinity while threads are busy, as it does with a mock clock's.
    """

    def __init__(self, now: SharedTime) -> None:
        self._now = now
        self.autojump_threshold = 0.0

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return self._now.get()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return 0 if deadline <= self._now.get() else _FOR_EVER
