"""Moves one virtual time for this process and for those of its members.

Used by `trio_uwsgi.testing`. Trio's mock clock jumps when its own run has nothing to do; but what this run waits for
may be under way in another process. So the clock is held, and a task here, the conductor, moves it, when the whole tree
of processes has come to rest:

    this run is idle, no thread of it runs code, and no process is being started or about to be gone
    a round: every member's process is asked, and answers once it is idle too (`clock_agent.py`)
    another round: nobody, here or there, has taken a step since the one before

What somebody sends is readable in another process at once (sockets, pipes and inotify do not travel), and whoever
answers has read what was there. So if nobody took a step from one answer to the next, there was a moment in between at
which all were idle and nothing was on its way; and from such a moment on only time can make anything happen. It jumps
to the earliest deadline of all, is written to memory that all of them see (`_testing/virtual_clock.py`), and the next
round wakes them.

A process that was killed counts as busy until it has been reaped, so time does not pass between a death and its notice.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import trio
import trio.testing

from trio_uwsgi._testing.clock_agent import ASK, TELL
from trio_uwsgi._testing.virtual_clock import SharedNow

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_uwsgi._testing.clock_hold import ClockHold
    from trio_uwsgi._testing.process_table import AgentChannel, ProcessTable

__all__ = ["ClockCoordinator", "coordinate_clock"]


class ClockCoordinator(trio.abc.Instrument):
    """The conductor of one run of Trio. `now` is the time for the other processes."""

    def __init__(self, clock: MockClock, hold: ClockHold) -> None:
        self._clock = clock
        self._hold = hold
        self.now = SharedNow()
        self.now.set(clock.current_time())
        self.process_tables: list[ProcessTable] = []
        self._aside: set[trio.lowlevel.Task] = set()
        self._steps = 0  # of all others
        self._stirred = trio.Event()
        self._baton = trio.Lock()
        self._settlers: list[trio.Event] = []

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task not in self._aside:
            self._steps += 1
            self.now.set(self._clock.current_time())  # the test may have moved it
            self._stirred.set()

    def wake(self) -> None:
        """Something has happened: look again."""
        self._stirred.set()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """What this task does during the block is no activity."""
        task = trio.lowlevel.current_task()
        self._aside.add(task)
        try:
            yield
        finally:
            self._aside.discard(task)

    async def settled(self) -> None:
        """Wait until nothing happens any more at this instant, in any process."""
        event = trio.Event()
        self._settlers.append(event)
        await event.wait()

    async def run(self) -> None:
        """Move time, until cancelled. Of several tasks in here one does."""
        with self.aside():
            async with self._baton:
                while True:
                    await self._come_to_rest()
                    for process_table in self.process_tables:
                        process_table.on_rest()
                    if self._settlers:
                        settlers, self._settlers = self._settlers, []
                        for event in settlers:
                            event.set()
                    elif not self._jump():
                        await self._wait_for_others()

    async def _come_to_rest(self) -> None:
        before: object = None
        while True:
            self._stirred = trio.Event()
            await trio.testing.wait_all_tasks_blocked()
            if self._hold.busy() or any(process_table.busy for process_table in self.process_tables):
                await self._stirred.wait()
                before = None
                continue
            steps = await self._round()
            if steps is not None and steps == before:
                return
            before = steps

    def _agents(self) -> list[AgentChannel]:
        return [
            agent
            for process_table in self.process_tables
            for agent in process_table.agents.values()
            if agent.channel is not None
        ]

    async def _round(self) -> list[int] | None:
        """Ask everybody. How many steps each has taken up to now; None if somebody has gone."""
        steps = [self._steps]
        agents = self._agents()
        for agent in agents:
            agent.heard = trio.Event()
            agent.say(ASK)
        for agent in agents:
            await agent.heard.wait()
            if agent.channel is None:
                return None
            steps.append(agent.steps)
        return steps

    def _jump(self) -> bool:
        """Move on to what is due first, if anything is, and if the clock may."""
        now = self._clock.current_time()
        own = now + trio.lowlevel.current_statistics().seconds_to_next_deadline
        due = min([own, *(agent.due for agent in self._agents())])
        if due == math.inf or not self._hold.jumps:
            return False
        while (ahead := due - self._clock.current_time()) > 0:  # again, if it was rounded down
            self._clock.jump(ahead)
        self.now.set(self._clock.current_time())
        return True

    async def _wait_for_others(self) -> None:
        """Nothing will happen by itself. A task that is woken from outside, here or there, goes on."""
        self._stirred = trio.Event()
        for agent in self._agents():
            agent.say(TELL)
        await self._stirred.wait()


_COORDINATOR: trio.lowlevel.RunVar[tuple[ClockCoordinator | None, int]] = trio.lowlevel.RunVar("trio_uwsgi_conductor")


@contextlib.contextmanager
def coordinate_clock(hold: ClockHold | None) -> Iterator[ClockCoordinator | None]:
    """The run's conductor, in whose hands the clock is during the block; None on a clock that is not held.

    Several may use it at once. Each has to have a task in `ClockCoordinator.run`.
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
