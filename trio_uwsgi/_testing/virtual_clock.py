"""One virtual time for several processes.

The process that moves the time (`clock_coordinator.py`) writes it into memory that those which were forked from it
have, too. Their Trio runs on a clock that shows it and never moves it.
"""

from __future__ import annotations

import mmap

import trio

__all__ = ["FollowingClock", "SharedNow"]

# What Trio's own mock clock answers to `deadline_to_sleep_time`: somebody wakes the loop when time has moved.
_FOR_EVER = 999999999


class SharedNow:
    """A time in memory that this process shares with all that are forked from it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._numbers = memoryview(self._memory).cast("d")

    def get(self) -> float:
        """The time."""
        return self._numbers[0]

    def set(self, now: float) -> None:
        """For one process only, the one that moves time."""
        self._numbers[0] = now

    def close(self) -> None:
        """Let go of the memory. Other processes keep it."""
        self._numbers.release()
        self._memory.close()


class FollowingClock(trio.abc.Clock):
    """Shows the time of another process. Whoever moves that has to wake the loop that runs on this clock.

    `autojump_threshold` is for `clock_hold.py`, as a mock clock's: infinite while threads are busy.
    """

    def __init__(self, now: SharedNow) -> None:
        self._now = now
        self.autojump_threshold = 0.0

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return self._now.get()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return 0 if deadline <= self._now.get() else _FOR_EVER
