"""The ticker sleeps and raises; a member's timers tell their due times without being kept."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_uwsgi._link.frames import AddTimer, CancelTimer, Frame
from trio_uwsgi._link.link import direct_links
from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._signals.schedule import Schedule
from trio_uwsgi._signals.ticker import MemberTimers, Ticker, WallClock, time_of_day
from trio_uwsgi._signals.timer import Again, Cron, Every, Rule, Timer
from trio_uwsgi._units.journal import LoggingJournal
from trio_uwsgi._units.member import Member
from trio_uwsgi.config.cron import CronSpec, CrontabSpec

EPOCH = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC).timestamp()


class Wall:
    """A time of day that goes with Trio's clock, and can be set."""

    def __init__(self) -> None:
        self.offset = EPOCH - trio.current_time()

    def now(self) -> float:
        return trio.current_time() + self.offset


class Ticks:
    """A ticker, and what it raised: (seconds since the start, signal)."""

    def __init__(self, nursery: trio.Nursery, steady: bool = True) -> None:
        self.wall = Wall()
        self.ticker = Ticker(Schedule(UTC), WallClock(self.wall.now, steady))
        self.ticker.raise_tick = self._tick
        self.raised: list[tuple[float, int]] = []
        self.run_at_once = True
        self._start = trio.current_time()
        nursery.start_soon(self.ticker.run)

    def _tick(self, timer: Timer) -> None:
        self.raised.append((round(trio.current_time() - self._start, 6), timer.signum))
        if self.run_at_once:
            self.ticker.begun(timer)
            self.ticker.ended(timer, began=True)

    def add(self, signum: int, rule: Rule, late: str = "skip") -> Timer:
        timer = Timer(signum, rule, late=late)
        self.ticker.add(timer)
        return timer


@pytest.fixture
async def ticks(nursery: trio.Nursery) -> Ticks:
    return Ticks(nursery)


# ----- the ticker


async def test_ticks_come_when_they_are_due(ticks: Ticks, autojump_clock: MockClock) -> None:
    """Timers tick at multiples of their interval, an rb_timer as often as it was told, a cron at its minutes."""
    ticks.add(1, Every(2))
    ticks.add(2, Again(1.5, 2))
    ticks.add(3, Cron(CronSpec(-1, -1, -1, -1, -1)))
    await trio.sleep(5)
    assert [(1.5, 2), (2.0, 1), (3.0, 2), (4.0, 1)] == ticks.raised
    await trio.sleep(86)
    assert [(30.0, 3), (90.0, 3)] == [tick for tick in ticks.raised if tick[1] == 3]
    assert 2 == len(ticks.ticker)


async def test_ties_are_in_the_order_they_were_added(ticks: Ticks, autojump_clock: MockClock) -> None:
    """Timers due at one instant are raised in the order of registration, each time."""
    for signum in (7, 3, 9, 1):
        ticks.add(signum, Every(10))
    ticks.add(5, Cron(CrontabSpec("* * * * *")))
    await trio.sleep(30.5)
    assert [(30.0, 7), (30.0, 3), (30.0, 9), (30.0, 1), (30.0, 5)] == ticks.raised[-5:]


async def test_timer_added_later_wakes_the_ticker(ticks: Ticks, autojump_clock: MockClock) -> None:
    """A ticker that sleeps long, or for ever, notices a timer that is due earlier."""
    await wait_all_tasks_blocked()
    ticks.add(1, Every(1000))
    await trio.sleep(10)
    ticks.add(2, Again(1, 1))
    await trio.sleep(10)
    assert [(11.0, 2)] == ticks.raised


async def test_cancelled_timer_ticks_no_more(ticks: Ticks, autojump_clock: MockClock) -> None:
    """After `cancel` a timer raises nothing, and cancelling again does nothing."""
    timer = ticks.add(1, Every(1))
    await trio.sleep(2.5)
    ticks.ticker.cancel(timer)
    ticks.ticker.cancel(timer)
    await trio.sleep(10)
    assert [(1.0, 1), (2.0, 1)] == ticks.raised
    assert 0 == len(ticks.ticker)


async def test_held_tick_is_raised_when_the_run_ends(ticks: Ticks, autojump_clock: MockClock) -> None:
    """Late ticks of a queueing timer are held while a run is under way, and raised one by one as the runs end."""
    ticks.run_at_once = False
    timer = ticks.add(1, Every(1), late="queue")
    await trio.sleep(1.5)
    ticks.ticker.begun(timer)
    await trio.sleep(2)  # two more are due, and held
    assert [(1.0, 1)] == ticks.raised
    ticks.ticker.ended(timer, began=True)
    assert [(1.0, 1), (3.5, 1)] == ticks.raised
    ticks.ticker.begun(timer)
    ticks.ticker.ended(timer, began=True)
    ticks.ticker.begun(timer)
    ticks.ticker.ended(timer, began=True)
    assert [(1.0, 1), (3.5, 1), (3.5, 1)] == ticks.raised


async def test_late_tick_is_skipped(ticks: Ticks, autojump_clock: MockClock) -> None:
    """Late ticks of an ordinary timer are dropped and counted; the phase is kept."""
    ticks.run_at_once = False
    timer = ticks.add(1, Every(1))
    await trio.sleep(3.5)
    ticks.ticker.begun(timer)
    ticks.ticker.ended(timer, began=True)
    await trio.sleep(1)
    assert [(1.0, 1), (4.0, 1)] == ticks.raised
    assert (2, 2) == (timer.raised, timer.skipped)


async def test_refused_tick_does_not_stop_the_timer(ticks: Ticks, autojump_clock: MockClock) -> None:
    """A tick that reached nobody is over at once, and the next one comes in its time."""
    ticks.run_at_once = False
    timer = ticks.add(1, Every(1))
    await trio.sleep(1.5)
    ticks.ticker.ended(timer, began=False)
    await trio.sleep(1)
    assert [(1.0, 1), (2.0, 1)] == ticks.raised


async def test_ticks_of_a_blocked_loop_come_late_but_in_order(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    """When time has jumped over many due times, the ticks are raised at once, in the order they were due."""
    ticks = Ticks(nursery)
    ticks.add(1, Every(10))
    ticks.add(2, Again(4, 1))
    ticks.add(3, Again(9, 1))
    await wait_all_tasks_blocked()
    mock_clock.jump(35)
    await wait_all_tasks_blocked()
    assert [2, 3, 1] == [signum for _, signum in sorted(ticks.raised, key=lambda tick: tick[0])]
    assert [35.0] * 3 == [time for time, _ in ticks.raised]


async def test_a_steady_clock_is_not_rechecked(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A year of a yearly cron costs no wake-ups where the wall clock goes with Trio's."""
    looks = 0

    def now() -> float:
        nonlocal looks
        looks += 1
        return EPOCH + trio.current_time()

    ticker = Ticker(Schedule(UTC), WallClock(now, steady=True))
    ticker.raise_tick = lambda timer: None
    ticker.add(Timer(1, Cron(CronSpec(0, 0, 1, 1, -1))))
    nursery.start_soon(ticker.run)
    await trio.sleep(30 * 86400)
    assert looks < 10


async def test_wall_clock_that_is_set_is_noticed(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Where the time of day can be set, a cron is at most a minute late to notice."""
    ticks = Ticks(nursery, steady=False)
    ticks.add(1, Cron(CronSpec(0, 18, -1, -1, -1)))
    await trio.sleep(100)
    ticks.wall.offset += 6 * 3600  # it is 18:02 now
    await trio.sleep(61)
    assert [1] == [signum for _, signum in ticks.raised]
    assert 100 < ticks.raised[0][0] <= 160


async def test_timers_alone_need_no_recheck(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Without a cron nobody looks at the time of day."""
    ticks = Ticks(nursery, steady=False)
    ticks.add(1, Every(1000))
    await trio.sleep(2500)
    assert [(1000.0, 1), (2000.0, 1)] == ticks.raised


async def test_cancelled_ticker_loses_no_tick(autojump_clock: MockClock) -> None:
    """A ticker that was cancelled and runs again raises what became due meanwhile."""
    async with trio.open_nursery() as first:
        ticks = Ticks(first)
        ticks.add(1, Again(5, 1))
        await trio.sleep(3)
        first.cancel_scope.cancel()
    await trio.sleep(10)
    assert [] == ticks.raised
    async with trio.open_nursery() as second:
        second.start_soon(ticks.ticker.run)
        await trio.sleep(1)
        second.cancel_scope.cancel()
    assert [(13.0, 1)] == ticks.raised


async def test_many_timers_are_one_task(ticks: Ticks, autojump_clock: MockClock) -> None:
    """10,000 timers tick in their order, from the one task of the ticker."""
    for n in range(10_000):
        ticks.add(n % 256, Again(1 + n / 1000, 1))
    tasks = trio.lowlevel.current_statistics().tasks_living
    await trio.sleep(100)
    assert tasks == trio.lowlevel.current_statistics().tasks_living
    assert [n % 256 for n in range(10_000)] == [signum for _, signum in ticks.raised]


# ----- a member's timers


class Added:
    """A member's timers, and the frames they sent to the master."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.wall = Wall()
        member = Member("worker", 1, Registry(), LoggingJournal(), self.wall.now)
        member.link, _ = direct_links(self.frames.append, self.frames.append)
        self.timers = MemberTimers(member, ZoneInfo("Europe/Rome"), WallClock(self.wall.now, steady=True))

    def add(self, rule: Rule) -> Timer:
        timer = Timer(17, rule)
        self.timers.add(timer)
        return timer


async def test_member_lets_the_master_arm_and_cancel() -> None:
    """Each timer is sent with a number of its own; a cancel names that number, once."""
    added = Added()
    first = added.add(Every(5))
    added.timers.add(Timer(18, Again(1, 2), late="queue", overlap=True))
    added.timers.cancel(first)
    added.timers.cancel(first)
    added.add(Cron(CrontabSpec("0 3 * * *")))
    assert [
        AddTimer(1, 17, ["every", 5], "skip", False),
        AddTimer(2, 18, ["again", 1, 2], "queue", True),
        CancelTimer(1),
        AddTimer(3, 17, ["cron", "0 3 * * *"], "skip", False),
    ] == added.frames
    assert added.timers.due(first) is None


@pytest.mark.parametrize(
    ("rule", "dues"),
    [
        (Every(10), {0: 10, 9.5: 10, 10: 20, 25: 30, 1000: 1010}),
        (Every(0.1), {0: 0.1, 0.05: 0.1, 100.05: 100.1}),
        (Again(10), {0: 10, 10: 20, 1000: 1010}),
        (Again(10, 2), {0: 10, 9.5: 10, 10: 20, 19.5: 20, 20: None, 1000: None}),
    ],
)
async def test_member_knows_when_a_timer_is_due(
    rule: Rule, dues: dict[float, float | None], mock_clock: MockClock
) -> None:
    """A handle's next time follows from its rule and its start; an rb_timer that is done has none."""
    mock_clock.jump(1_000)
    added = Added()
    timer = added.add(rule)
    passed = 0.0
    for at, due in dues.items():
        mock_clock.jump(at - passed)
        passed = at
        got = added.timers.due(timer)
        assert due == (None if got is None else pytest.approx(got - 1_000))


async def test_member_agrees_with_the_ticker(ticks: Ticks, autojump_clock: MockClock) -> None:
    """What a member reckons is when the tick comes, over many intervals that are no round numbers."""
    added = Added()
    timer = added.add(Every(0.7))
    ticks.add(17, Every(0.7))
    reckoned = []
    for _ in range(200):
        due = added.timers.due(timer)
        assert due is not None
        reckoned.append(round(due, 6))
        await trio.sleep_until(due)
        await wait_all_tasks_blocked()
    assert reckoned == [round(time, 6) for time, _ in ticks.raised]


async def test_member_knows_when_a_cron_is_due(mock_clock: MockClock) -> None:
    """A cron's next time is on the wall clock, in the runtime's zone."""
    added = Added()
    timer = added.add(Cron(CronSpec(0, 3, -1, -1, -1)))
    assert datetime(2026, 11, 23, 2, 0, tzinfo=UTC).timestamp() == added.timers.due(timer)
    mock_clock.jump(86400)
    assert datetime(2026, 11, 24, 2, 0, tzinfo=UTC).timestamp() == added.timers.due(timer)


async def test_member_keeps_no_timer(mock_clock: MockClock) -> None:
    """A member that adds timers for ever does not grow by them."""
    added = Added()
    live: Callable[[], int] = lambda: sum(isinstance(thing, Timer) for thing in gc.get_objects())  # noqa: E731
    gc.collect()
    before = live()
    for _ in range(100):
        added.add(Again(1, 1))
    gc.collect()
    assert before == live()


def test_the_time_of_day_is_never_read_too_late() -> None:
    """The sum is rounded down, and by one step of a float at most."""
    begin = 1_704_078_245.678901
    for number in range(10_000):
        elapsed = number * 0.0123456789
        exact = Fraction(begin) + Fraction(elapsed)
        now = time_of_day(begin, elapsed)
        assert Fraction(now) <= exact < Fraction(math.nextafter(now, math.inf))
    assert begin == time_of_day(begin, 0)
