"""The order of timers and crons, and what happens to late and overlapping ticks. Pure.

Theory. Timers use Trio's clock and crons the wall clock, so there are two heaps. A timer has exactly one entry in one
of them while ticks are to come. A *tick* is one due time. It is raised, held (raised later, when the run before it has
ended) or skipped; that is decided when it is taken from its heap. A raised tick is *waiting* until its run begins and
*running* until it ends; the master calls `begun` and `ended`.

Invariant: `ended` is called exactly once for every raised tick, whether its run returned, failed, was refused by a full
queue, or was lost with its worker. Otherwise a timer that must not overlap would wait for ever.

Not here: when a cron matches (`config/cron.py`), the sleep until the next due time (`ticker.py`), and running handlers.
"""

from __future__ import annotations

import heapq
import math
import sys
from operator import itemgetter
from typing import TYPE_CHECKING

from trio_uwsgi._signals.timer import Again, Cron, Every, Rule, Timer
from trio_uwsgi.config.cron import next_fire
from trio_uwsgi.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from trio_uwsgi.config.cron import Spec

__all__ = ["QUEUE_LIMIT", "Again", "Cron", "Every", "Rule", "Schedule", "Timer"]

# The most late ticks of one timer that are queued: the default size of a member's signal queue. uWSGI has no such
# limit: it fills the socket to the target (some 275 ticks) and drops the rest.
QUEUE_LIMIT = 10_000

# The most missed minutes of one late cron that are counted as skipped: those of a day. Each costs a calendar search,
# and after a week of suspension the exact number is not worth the time.
CRON_COUNT_LIMIT = 1_440

# If the wall clock is set back by up to 3 h, crons wait until it has caught up, so that none fires twice for a minute.
# If it is set back further, it was wrong before, and crons follow it at once. The number is Vixie cron's.
CLOCK_CORRECTION = 3 * 3600.0


class _Heap:
    """Timers by due time, ties by registration. Cancelled ones are removed when first or in the majority."""

    __slots__ = ("_cancelled", "_entries")

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Timer]] = []  # no two have the same order: timers are never compared
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._entries) - self._cancelled

    def push(self, due: float, timer: Timer) -> None:
        timer.due = due
        heapq.heappush(self._entries, (due, timer.order, timer))

    def first_due(self) -> float:
        """When the first one is due, `inf` if there is none."""
        while self._entries and self._entries[0][2].cancelled:
            heapq.heappop(self._entries)
            self._cancelled -= 1
        return self._entries[0][0] if self._entries else math.inf

    def first(self) -> tuple[float, int, Timer]:
        """The timer of `first_due`, with its due time and its order. It stays until `replace` or `remove`."""
        return self._entries[0]

    def replace(self, due: float, timer: Timer) -> None:
        """Arm the first one again; costs half of a removal and a push."""
        timer.due = due
        heapq.heapreplace(self._entries, (due, timer.order, timer))

    def remove(self) -> None:
        """Remove the first one: it has no more ticks."""
        heapq.heappop(self._entries)[2].due = None

    def note_cancelled(self) -> None:
        self._cancelled += 1
        if self._cancelled > len(self):
            self._entries = [entry for entry in self._entries if not entry[2].cancelled]
            heapq.heapify(self._entries)
            self._cancelled = 0


class Schedule:
    """All armed timers and crons of a runtime, for the one task that sleeps and raises what is due.

    Times are arguments: `now` is Trio's clock and `wall_now` POSIX time, both in seconds.

    Args:
        zone: the time zone of crons; None is the system's.
    """

    __slots__ = ("_clock", "_fires", "_fires_after", "_orders", "_timers", "_wall", "_wall_latest", "_zone")

    def __init__(self, zone: tzinfo | None) -> None:
        self._zone = zone
        self._orders = 0
        self._timers: dict[int, Timer] = {}  # by order; those in a heap that are not cancelled, and no others
        self._clock = _Heap()
        self._wall = _Heap()
        self._wall_latest = -math.inf
        # Results of next_fire for one second: many crons may have the same spec, and each result costs some 20 us.
        self._fires: dict[Spec, float] = {}
        self._fires_after = 0

    def __len__(self) -> int:
        """How many timers have ticks to come."""
        return len(self._timers)

    @property
    def timers(self) -> Iterator[Timer]:
        """The timers that have ticks to come, in order of registration."""
        return iter(self._timers.values())

    @property
    def has_wall_timers(self) -> bool:
        """Is there a cron? Then the ticker must also notice when the wall clock is set."""
        return len(self._wall) > 0

    def add(self, timer: Timer, now: float, wall_now: float) -> None:
        """Arm a timer: its first tick comes after one interval, for a cron in the next minute that matches.

        Resets its counters. Ignores a cancelled timer, because a handle may be cancelled before its runtime starts.

        Raises:
            RegistrationError: it is armed already.
        """
        if timer.cancelled:
            return
        if self._timers.get(timer.order) is timer:
            raise RegistrationError(
                f"this timer of signal {timer.signum} is armed already; make another one of its rule"
            )
        self._check_wall_clock(wall_now)
        self._orders += 1
        timer.arm(self._orders, now)
        self._timers[timer.order] = timer
        if isinstance(timer.rule, Cron):
            self._wall.push(self._next_fire(timer.rule.spec, wall_now), timer)
        else:
            self._clock.push(now + timer.rule.seconds, timer)

    def cancel(self, timer: Timer) -> None:
        """Cancel all ticks to come, held ones included; raised ones still run. May be called again."""
        timer.cancelled = True
        timer.due = None
        timer.held = 0
        if self._timers.get(timer.order) is timer:
            del self._timers[timer.order]
            (self._wall if isinstance(timer.rule, Cron) else self._clock).note_cancelled()

    def next_wake(self, now: float, wall_now: float) -> float:
        """Seconds until something is due: 0 if it is already, `inf` if nothing is armed."""
        self._check_wall_clock(wall_now)
        return max(0.0, min(self._clock.first_due() - now, self._wall.first_due() - wall_now))

    def pop_due(self, now: float, wall_now: float, limit: int = sys.maxsize) -> list[Timer]:
        """Take the ticks that are due by now, and arm their timers for the next ones.

        Args:
            limit: take no more timers from either clock once there are this many ticks; the others stay due.
        Returns:
            The timers whose signal is to be raised, in order of due time, within a microsecond in order of
            registration. A timer is listed several times if late ticks are queued and its runs may overlap.
        """
        self._check_wall_clock(wall_now)
        ticks: list[tuple[int, int, Timer]] = []
        for heap, time in ((self._clock, now), (self._wall, wall_now)):
            while heap.first_due() <= time and len(ticks) < limit:
                first, order, timer = heap.first()
                offered, following = self._take(timer, first, time)
                # Sorted by lateness, because due times of two clocks are not comparable; in whole microseconds, because
                # POSIX time in a float has steps of 0.24 us.
                ticks += [(round((due - time) * 1e6), order, timer) for due in offered if _offer(timer)]
                if _finished(timer):
                    heap.remove()
                    del self._timers[order]
                else:
                    heap.replace(following, timer)
        ticks.sort(key=itemgetter(0, 1))
        return [timer for _, _, timer in ticks]

    def begun(self, timer: Timer) -> None:
        """The run of a raised tick has begun. A tick that several members run begins with the first of them."""
        if timer.waiting:
            timer.waiting -= 1
            timer.running += 1

    def ended(self, timer: Timer, *, began: bool = True) -> bool:
        """The run of a raised tick has ended, or will not take place.

        A tick that several members run ends with the last of them. Must be called once for every raised tick: see the
        invariant in the module's docstring.

        Args:
            timer: the tick's timer.
            began: False if the tick was refused, or lost before `begun` was called for it.
        Returns:
            True if a held tick of this timer is to be raised now, once; it is counted as raised already. After a tick
            that never began it is False, because the next one would be refused as well: held ticks wait for the timer's
            next tick, and are skipped if there is none.
        """
        if began and timer.running:
            timer.running -= 1
        elif timer.waiting:
            timer.waiting -= 1
        if timer.waiting or timer.running or not timer.held:
            return False
        if began:
            timer.held -= 1
            timer.raised += 1
            timer.waiting += 1
        elif timer.due is None:
            timer.skipped += timer.held
            timer.held = 0
        return began

    def _take(self, timer: Timer, first: float, time: float) -> tuple[list[float], float]:
        """Due times from `first` until `time` that are to be offered (others are skipped), and the first one after."""
        rule = timer.rule
        if isinstance(rule, Every):
            return _take_phase(timer, rule.seconds, time)
        if isinstance(rule, Again):
            return [first], time + rule.seconds
        return self._take_minutes(timer, rule.spec, first, time)

    def _take_minutes(self, timer: Timer, spec: Spec, first: float, wall_now: float) -> tuple[list[float], float]:
        limit = QUEUE_LIMIT if timer.late == "queue" else CRON_COUNT_LIMIT
        dues = [first]
        due = self._next_fire(spec, first)
        while due <= wall_now and len(dues) < limit:
            dues.append(due)
            due = self._next_fire(spec, due)
        if due <= wall_now:
            due = self._next_fire(spec, wall_now)
        if timer.late == "queue":
            return dues, due
        timer.skipped += len(dues) - 1
        return dues[:1], due

    def _next_fire(self, spec: Spec, after: float) -> float:
        second = math.floor(after)
        if second != self._fires_after:
            self._fires_after = second
            self._fires.clear()
        due = self._fires.get(spec)
        if due is None:
            due = self._fires[spec] = next_fire(spec, second, self._zone)
        return due

    def _check_wall_clock(self, wall_now: float) -> None:
        """Arm all crons again if the wall clock was far ahead and has been set back."""
        if wall_now >= self._wall_latest - CLOCK_CORRECTION:
            self._wall_latest = max(self._wall_latest, wall_now)
            return
        self._wall_latest = wall_now
        self._wall = _Heap()
        for timer in self._timers.values():
            if isinstance(timer.rule, Cron):
                self._wall.push(self._next_fire(timer.rule.spec, wall_now), timer)


def _offer(timer: Timer) -> bool:
    """Decide about one tick: True to raise it; otherwise it is held or skipped."""
    queue = timer.late == "queue"
    in_the_way = (0 if queue else timer.waiting) if timer.overlap else timer.waiting + timer.running
    if not in_the_way:
        timer.raised += 1
        timer.waiting += 1
        return True
    if queue and timer.held < QUEUE_LIMIT:
        timer.held += 1
    else:
        timer.skipped += 1
    return False


def _finished(timer: Timer) -> bool:
    rule = timer.rule
    return isinstance(rule, Again) and 0 < rule.iterations <= timer.raised + timer.held


def _take_phase(timer: Timer, seconds: float, now: float) -> tuple[list[float], float]:
    start, first = timer.start, timer.ticks + 1
    # With rounding errors the quotient is the number of the last due tick or of the one after it.
    following = max(first, math.floor((now - start) / seconds))
    while start + following * seconds <= now:
        following += 1
    count = following - first
    offered = min(count, QUEUE_LIMIT) if timer.late == "queue" else 1
    timer.skipped += count - offered
    timer.ticks = following - 1
    return [start + tick * seconds for tick in range(first, first + offered)], start + following * seconds
