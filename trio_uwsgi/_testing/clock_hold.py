"""The clock hold: makes a mock clock stand still while threads run.

Used by `trio_uwsgi.testing`. Trio's autojump clock looks at tasks only: as soon as all tasks wait, it jumps to the next
deadline. It does so even if one of them waits for a thread that is about to answer, so deadlines around synchronous
code would fire at once. A held clock does not jump while a thread runs user code; it does while that code itself waits
in `trio.from_thread.run`. Abandoned threads do not hold the clock, because no task waits for them. A real clock is left
alone, and so is the speed of a `MockClock` with a rate.

Where several processes share one time, the clock coordinator (`clock_coordinator.py`) moves it, after it has asked the
clock hold whether a thread is busy.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import trio
import trio.testing
from trio.testing import MockClock

from trio_uwsgi._testing.virtual_clock import SharedClock
from trio_uwsgi._units.thread_pool import pools_of_this_run
from trio_uwsgi._units.trio_threads import thread_calls


class ClockHold(trio.abc.Instrument):
    """Keeps a clock's `autojump_threshold` infinite while the run's threads are busy.

    These are the threads of the runtime's pools and those of any `trio.to_thread.run_sync` (`anyio.to_thread` uses
    it). Work is given to a thread, and its result is taken, by a task; so a check after each task's step comes before
    the clock can jump.
    """

    def __init__(self, clock: MockClock | SharedClock) -> None:
        self._clock = clock
        self._normal = clock.autojump_threshold
        self._coordinated = False
        self._waiting_tasks: dict[trio.lowlevel.Task, list[bool]] = {}  # tasks inside of `to_thread.run_sync`

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if _all_idle():  # the usual case, and this is called for every step of every task
            self._waiting_tasks.clear()
            self.release()
            return
        calls = thread_calls(task)
        if calls:
            self._waiting_tasks[task] = calls
        else:
            self._waiting_tasks.pop(task, None)
        self.update()

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self._waiting_tasks.pop(task, None)

    def update(self) -> None:
        """Hold the clock if a thread is busy, and release it otherwise."""
        if self.busy():
            self._hold()
        else:
            self.release()

    def release(self) -> None:
        """Give the clock its own threshold back, unless a coordinator moves it."""
        if self._coordinated:
            self._hold()
        elif self._clock.autojump_threshold != self._normal and self._clock.autojump_threshold == math.inf:
            self._clock.autojump_threshold = self._normal

    def _hold(self) -> None:
        threshold = self._clock.autojump_threshold
        if threshold != math.inf:
            self._normal, self._clock.autojump_threshold = threshold, math.inf

    def coordinated(self, coordinated: bool) -> None:
        """Say whether a coordinator moves the clock. While one does, the clock never jumps by itself."""
        self._coordinated = coordinated
        self.update()

    @property
    def autojumps(self) -> bool:
        """Is the time to jump when nothing else happens, by itself or by the coordinator?"""
        return self._normal != math.inf

    def busy(self) -> bool:
        """Did a thread run code, as of the last check?"""
        pool_threads: set[trio.lowlevel.Task] = set()
        for pool in pools_of_this_run():
            if any(pool.threads_running_code()):
                return True
            pool_threads.update(pool.tasks())
        # The first call of a pool thread's task is the thread itself, which runs until the pool ends. Calls of
        # `to_thread.run_sync` by the user code in it come after.
        return any(any(calls[1:] if task in pool_threads else calls) for task, calls in self._waiting_tasks.items())


def _all_idle() -> bool:
    """Is every thread that Trio knows of an idle thread of a pool?"""
    idle = 0
    for pool in pools_of_this_run():
        if pool.busy:
            return False
        idle += pool.idle
    return trio.testing.active_thread_count() == idle


_HOLD: trio.lowlevel.RunVar[tuple[ClockHold | None, int]] = trio.lowlevel.RunVar("trio_uwsgi_clock_hold")


@contextlib.contextmanager
def hold_clock() -> Iterator[ClockHold | None]:
    """Make the run's `MockClock` stand still while threads are busy, for as long as the block runs.

    Several blocks may overlap in one run. On any other clock the block has no effect, and gives None. A thread that
    waits for virtual time to pass has to wait through `trio.from_thread`: otherwise it counts as busy, the clock
    stands still, and it waits for ever.
    """
    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, MockClock | SharedClock):
        yield None
        return
    hold, users = _HOLD.get((None, 0))
    if hold is None:
        hold = ClockHold(clock)
        trio.lowlevel.add_instrument(hold)
        hold.update()
    _HOLD.set((hold, users + 1))
    try:
        yield hold
    finally:
        users = _HOLD.get()[1]
        _HOLD.set((hold, users - 1) if users > 1 else (None, 0))
        if users == 1:
            trio.lowlevel.remove_instrument(hold)
            hold.release()
