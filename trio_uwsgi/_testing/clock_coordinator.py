"""The clock coordinator: moves one virtual time for the test's process and for the processes of its members.

Used by `trio_uwsgi.testing`. Trio's mock clock jumps to the next deadline when its own run is idle. With members in
other processes that is too early: the test may wait for something that another process is doing. So the mock clock is
held (`clock_hold.py`), and the coordinator, a task of the test's run, moves it once all processes are idle. It finds
that out as follows:

    1. It waits until this run is idle: no task can take a step, no thread runs code, and no process is being started
       or ending.
    2. It asks the clock agent in every member's process (`clock_agent.py`) for a report. The agent answers when its
       own run is idle, with the number of steps that its tasks have taken so far and with its earliest deadline.
    3. It asks again. If no task in any process has taken a step since the previous reports, all are idle. Otherwise
       it goes back to step 1.

Why this is enough: what one process sends (over sockets and pipes, or by inotify) is readable in the other at once,
and an agent that answers has read everything that was readable. If no task took a step between two reports, then there
was a moment in between at which all processes were idle and no message was on its way. From such a moment on nothing
can happen until time passes.

The coordinator then moves the time to the earliest deadline of all processes and writes it into memory that they share
(`virtual_clock.py`). The next request for a report wakes their loops.

A process that was killed counts as ending until it has been reaped, so no time passes between its death and the
moment at which the runtime notices it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import trio
import trio.testing

from trio_uwsgi._testing.clock_agent import NOTIFY_WHEN_ACTIVE, REPORT_WHEN_IDLE
from trio_uwsgi._testing.virtual_clock import SharedTime

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_uwsgi._testing.clock_hold import ClockHold
    from trio_uwsgi._testing.process_table import ProcessTable, TrackedProcess

__all__ = ["ClockCoordinator", "coordinate_clock"]


class ClockCoordinator(trio.abc.Instrument):
    """The coordinator of one run of Trio. `now` is the time that the other processes see."""

    def __init__(self, clock: MockClock, hold: ClockHold) -> None:
        self._clock = clock
        self._hold = hold
        self.now = SharedTime()
        self.now.set(clock.current_time())
        self.process_tables: list[ProcessTable] = []
        self._uncounted_tasks: set[trio.lowlevel.Task] = set()
        self._steps = 0  # of all other tasks
        self._activity = trio.Event()
        self._run_lock = trio.Lock()
        self._idle_waiters: list[trio.Event] = []

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task not in self._uncounted_tasks:
            self._steps += 1
            self.now.set(self._clock.current_time())  # the test may have moved it
            self._activity.set()

    def check_again(self) -> None:
        """Note that something has happened, so that the coordinator checks again whether all are idle."""
        self._activity.set()

    @contextlib.contextmanager
    def uncounted(self) -> Iterator[None]:
        """Do not count the steps that the current task takes during the block."""
        task = trio.lowlevel.current_task()
        self._uncounted_tasks.add(task)
        try:
            yield
        finally:
            self._uncounted_tasks.discard(task)

    async def wait_until_idle(self) -> None:
        """Wait until nothing more happens at this instant, in any process."""
        event = trio.Event()
        self._idle_waiters.append(event)
        await event.wait()

    async def run(self) -> None:
        """Move the time, until cancelled. If several tasks call this, one of them does it and the others wait."""
        with self.uncounted():
            async with self._run_lock:
                while True:
                    await self._wait_until_all_idle()
                    for process_table in self.process_tables:
                        process_table.on_idle()
                    if self._idle_waiters:
                        waiters, self._idle_waiters = self._idle_waiters, []
                        for event in waiters:
                            event.set()
                    elif not self._advance():
                        await self._wait_for_activity()

    async def _wait_until_all_idle(self) -> None:
        before: object = None
        while True:
            self._activity = trio.Event()
            await trio.testing.wait_all_tasks_blocked()
            if self._hold.busy() or any(process_table.changing for process_table in self.process_tables):
                await self._activity.wait()
                before = None
                continue
            steps = await self._collect_reports()
            if steps is not None and steps == before:
                return
            before = steps

    def _connected(self) -> list[TrackedProcess]:
        return [
            process
            for process_table in self.process_tables
            for process in process_table.processes.values()
            if process.channel is not None
        ]

    async def _collect_reports(self) -> list[int] | None:
        """Ask every process for a report. Gives the number of steps of each; None if one has ended meanwhile."""
        steps = [self._steps]
        processes = self._connected()
        for process in processes:
            process.reported = trio.Event()
            process.send(REPORT_WHEN_IDLE)
        for process in processes:
            await process.reported.wait()
            if process.channel is None:
                return None
            steps.append(process.steps)
        return steps

    def _advance(self) -> bool:
        """Move the time to the earliest deadline. False if there is none, or the test moves the clock by hand."""
        now = self._clock.current_time()
        own = now + trio.lowlevel.current_statistics().seconds_to_next_deadline
        due = min([own, *(process.due for process in self._connected())])
        if due == math.inf or not self._hold.autojumps:
            return False
        while (ahead := due - self._clock.current_time()) > 0:  # again, if it was rounded down
            self._clock.jump(ahead)
        self.now.set(self._clock.current_time())
        return True

    async def _wait_for_activity(self) -> None:
        """Wait until a task in any process is woken from outside, by a real socket for example."""
        self._activity = trio.Event()
        for process in self._connected():
            process.send(NOTIFY_WHEN_ACTIVE)
        await self._activity.wait()


_COORDINATOR: trio.lowlevel.RunVar[tuple[ClockCoordinator | None, int]] = trio.lowlevel.RunVar(
    "trio_uwsgi_clock_coordinator"
)


@contextlib.contextmanager
def coordinate_clock(hold: ClockHold | None) -> Iterator[ClockCoordinator | None]:
    """Give the run's coordinator, which controls the clock during the block; None on a clock that is not held.

    Several blocks may share it at once. Each has to have a task in `ClockCoordinator.run`.
    """
    if hold is None:
        yield None
        return
    coordinator, users = _COORDINATOR.get((None, 0))
    if coordinator is None:
        clock = trio.lowlevel.current_clock()
        coordinator = ClockCoordinator(clock, hold)  # type: ignore[arg-type]  # a clock that is held, and no member's
        hold.coordinated(True)
        trio.lowlevel.add_instrument(coordinator)
    _COORDINATOR.set((coordinator, users + 1))
    try:
        yield coordinator
    finally:
        users = _COORDINATOR.get()[1]
        _COORDINATOR.set((coordinator, users - 1) if users > 1 else (None, 0))
        if users == 1:
            trio.lowlevel.remove_instrument(coordinator)
            hold.coordinated(False)
            coordinator.now.close()
