"""A mock clock that stands still while threads run.

Used by `trio_uwsgi.testing`. Trio's autojump clock looks at tasks only: while every task waits it jumps to the next
deadline, also when one of them waits for a thread that is about to answer, so deadlines around synchronous code fire at
once. Held, the clock does not jump while a thread runs user code, and does while that code itself waits in
`trio.from_thread.run`. Abandoned threads do not hold it: nobody waits for them. Nothing here touches a real clock, or
how fast a `MockClock` with a rate runs.

Where several processes share one time, somebody else moves it (`clock_coordinator.py`), and asks here whether it may.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import trio
import trio.testing
from trio.testing import MockClock

from trio_uwsgi._testing.virtual_clock import FollowingClock
from trio_uwsgi._units.thread_pool import pools_of_this_run
from trio_uwsgi._units.trio_threads import thread_calls


class ClockHold(trio.abc.Instrument):
    """Keeps a clock's `autojump_threshold` infinite while the run's threads are busy.

    Those of the runtime's pools, and those of any `trio.to_thread.run_sync` (`anyio.to_thread` is one). Whoever gives
    work to a thread, or takes its result, does so in a task; so a look after each task's step comes before the clock
    can jump.
    """

    def __init__(self, clock: MockClock | FollowingClock) -> None:
        self._clock = clock
        self._normal = clock.autojump_threshold
        self._coordinated = False
        self._waiting: dict[trio.lowlevel.Task, list[bool]] = {}  # tasks inside of `to_thread.run_sync`

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if _all_idle():  # the usual case, and this is called for every step of every task
            self._waiting.clear()
            self.let_go()
            return
        calls = thread_calls(task)
        if calls:
            self._waiting[task] = calls
        else:
            self._waiting.pop(task, None)
        self.look()

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self._waiting.pop(task, None)

    def look(self) -> None:
        """Hold the clock or let it go, as the threads are now."""
        if self.busy():
            self._hold()
        else:
            self.let_go()

    def let_go(self) -> None:
        """Give the clock its own threshold back, unless somebody else moves it."""
        if self._coordinated:
            self._hold()
        elif self._clock.autojump_threshold != self._normal and self._clock.autojump_threshold == math.inf:
            self._clock.autojump_threshold = self._normal

    def _hold(self) -> None:
        threshold = self._clock.autojump_threshold
        if threshold != math.inf:
            self._normal, self._clock.autojump_threshold = threshold, math.inf

    def coordinated(self, coordinated: bool) -> None:
        """Let the clock stand still in any case, because somebody else moves it; or not any more."""
        self._coordinated = coordinated
        self.look()

    @property
    def jumps(self) -> bool:
        """Does the clock jump when nothing else happens, by whoever moves it?"""
        return self._normal != math.inf

    def busy(self) -> bool:
        """Does a thread run code, as far as was seen after the last task's step?"""
        pool_threads: set[trio.lowlevel.Task] = set()
        for pool in pools_of_this_run():
            if any(pool.threads_running_code()):
                return True
            pool_threads.update(pool.tasks())
        # A carrier's first call is the life of its thread; what its user code calls in turn comes after.
        return any(any(calls[1:] if task in pool_threads else calls) for task, calls in self._waiting.items())


def _all_idle() -> bool:
    """Is every thread that Trio knows of one of ours, without a job?"""
    idle = 0
    for pool in pools_of_this_run():
        if pool.busy:
            return False
        idle += pool.idle
    return trio.testing.active_thread_count() == idle


_HOLD: trio.lowlevel.RunVar[tuple[ClockHold | None, int]] = trio.lowlevel.RunVar("trio_uwsgi_clock_hold")


@contextlib.contextmanager
def hold_clock() -> Iterator[ClockHold | None]:
    """Let the run's `MockClock` stand still while threads are busy, for as long as the block runs.

    May be used several times at once in one run; has no effect on any other clock, and gives None then. Code in a
    thread that waits, other than through `trio.from_thread`, for something that needs virtual time to pass waits for
    ever, for its own waiting stops the clock.
    """
    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, MockClock | FollowingClock):
        yield None
        return
    hold, users = _HOLD.get((None, 0))
    if hold is None:
        hold = ClockHold(clock)
        trio.lowlevel.add_instrument(hold)
        hold.look()
    _HOLD.set((hold, users + 1))
    try:
        yield hold
    finally:
        users = _HOLD.get()[1]
        _HOLD.set((hold, users - 1) if users > 1 else (None, 0))
        if users == 1:
            trio.lowlevel.remove_instrument(hold)
            hold.let_go()
