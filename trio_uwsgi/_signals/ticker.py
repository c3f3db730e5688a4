"""The task that raises the signals of timers and crons when they are due.

It sleeps until the earliest due time of the schedule, raises the due signals in the schedule's order, and sleeps again;
100,000 timers need only this task. The rules are in `schedule.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Awaitable, Callable
from datetime import tzinfo
from typing import TYPE_CHECKING

import trio

from trio_uwsgi._link.frames import AddTimer, CancelTimer
from trio_uwsgi._signals.timer import Again, Cron, Timer
from trio_uwsgi._signals.timer_specs import rule_values
from trio_uwsgi.config.cron import next_fire

if TYPE_CHECKING:
    from trio_uwsgi._signals.schedule import Schedule
    from trio_uwsgi._units.member import Member

__all__ = ["MemberTimers", "Ticker", "WallClock", "time_of_day"]

# Seconds between two checks of the wall clock while crons wait: the clock may be set while the task sleeps, and Trio's
# clock stops while the machine is suspended. uWSGI checks every second.
_RECHECK = 60.0

# Ticks raised before other tasks get their turn: a few milliseconds, even if 100,000 timers are due at once.
_BATCH = 500


@dataclasses.dataclass(frozen=True, slots=True)
class WallClock:
    """The time of day, in POSIX seconds. `steady`: it always moves together with Trio's clock, as in tests.

    `let_others_run` lets other tasks that wake at the same instant run first, so that it is deterministic whether a run
    has ended when the next tick is due.
    """

    now: Callable[[], float]
    steady: bool = False
    let_others_run: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint


def time_of_day(begin: float, elapsed: float) -> float:
    """The time of day `elapsed` seconds after `begin`, rounded down, so that it is never ahead of Trio's clock.

    POSIX time in a float has steps of 0.24 us. If the sum were rounded up, a sleep until a given minute could end too
    early. Subtraction of nearby numbers is exact.
    """
    now = begin + elapsed
    return now if now - begin <= elapsed else math.nextafter(now, -math.inf)


class Ticker:
    """The timers of a runtime. The master sets `raise_tick`; it is called for each due tick and must not raise."""

    def __init__(self, schedule: Schedule, wall: WallClock) -> None:
        self._schedule = schedule
        self._wall = wall
        self._changed = trio.Event()
        self._under_way = 0  # raised ticks that have not ended
        self.raise_tick: Callable[[Timer], None]

    def __len__(self) -> int:
        return len(self._schedule)

    def add(self, timer: Timer) -> None:
        """Arm a timer; its first tick comes after one interval, or at the next matching minute."""
        self._schedule.add(timer, trio.current_time(), self._wall.now())
        self._changed.set()

    def cancel(self, timer: Timer) -> None:
        """Cancel a timer. Its ticks that are waiting already still run."""
        self._schedule.cancel(timer)

    def begun(self, timer: Timer) -> None:
        """A run of the timer's signal has begun."""
        self._schedule.begun(timer)

    def ended(self, timer: Timer, began: bool) -> None:
        """A tick's run has ended, or never began. Raises a tick that was held until then."""
        self._under_way -= 1
        if self._schedule.ended(timer, began=began):
            self._raise(timer)

    async def run(self) -> None:
        """Raise due ticks until cancelled. A cancellation loses no tick that was due before it."""
        while True:
            for timer in self._schedule.pop_due(trio.current_time(), self._wall.now(), _BATCH):
                self._raise(timer)
            wait = self._schedule.next_wake(trio.current_time(), self._wall.now())
            if not self._wall.steady and self._schedule.has_wall_timers:
                wait = min(wait, _RECHECK)
            with trio.move_on_after(wait):
                await self._changed.wait()
            self._changed = trio.Event()
            if self._under_way:
                await self._wall.let_others_run()

    def _raise(self, timer: Timer) -> None:
        self._under_way += 1
        self.raise_tick(timer)


class MemberTimers:
    """The timers that a member added while it ran. The master keeps and raises them; the member calculates their due
    times itself, so that a handle need not ask the master. Late ticks are not taken into account.
    """

    def __init__(self, member: Member, zone: tzinfo | None, wall: WallClock) -> None:
        self._member = member
        self._zone = zone
        self._wall = wall
        self._added = 0

    def add(self, timer: Timer) -> None:
        """Have the master arm a timer."""
        self._added += 1
        timer.arm(self._added, trio.current_time())
        self._member.link.send(AddTimer(timer.order, timer.signum, rule_values(timer.rule), timer.late, timer.overlap))

    def cancel(self, timer: Timer) -> None:
        """Have the master cancel a timer. May be called again."""
        if not timer.cancelled:
            timer.cancelled = True
            self._member.link.send(CancelTimer(timer.order))

    def due(self, timer: Timer) -> float | None:
        """The next due time of a timer; see `Timer.due`."""
        if timer.cancelled:
            return None
        if isinstance(timer.rule, Cron):
            return next_fire(timer.rule.spec, self._wall.now(), self._zone)
        seconds = timer.rule.seconds
        now = trio.current_time()
        tick = max(1, math.floor((now - timer.start) / seconds))
        while (
            timer.start + tick * seconds <= now
        ):  # the same comparison as the schedule's: the quotient alone is off by one at times
            tick += 1
        if isinstance(timer.rule, Again) and 0 < timer.rule.iterations < tick:
            return None
        return timer.start + tick * seconds
