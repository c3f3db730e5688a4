"""The order of timers and crons, and the policies for late and overlapping ticks. Times are plain numbers here."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_uwsgi._signals.schedule import QUEUE_LIMIT, Again, Cron, Every, Rule, Schedule, Timer
from trio_uwsgi.config.cron import CronSpec, CrontabSpec
from trio_uwsgi.errors import RegistrationError

pytestmark = pytest.mark.pure

EACH_MINUTE = Cron(CronSpec(-1, -1, -1, -1, -1))
# A wall clock that reads 2026-11-22 06:15:00 UTC when Trio's reads 0.
WALL = datetime(2026, 11, 22, 6, 15, tzinfo=UTC).timestamp()


class Story:
    """A schedule, its clocks, and a member that runs each tick for no time at all unless told otherwise."""

    def __init__(self, *timers: Timer) -> None:
        self.schedule = Schedule(UTC)
        self.now = 0.0
        self.put = 0.0  # by how much the wall clock was set
        for timer in timers:
            self.add(timer)

    @property
    def wall(self) -> float:
        return WALL + self.now + self.put

    def add(self, timer: Timer) -> None:
        self.schedule.add(timer, self.now, self.wall)

    def pop(self, now: float) -> list[int]:
        """The signals that are raised at `now`; nobody runs them yet."""
        self.now = now
        return [timer.signum for timer in self.schedule.pop_due(now, self.wall)]

    def run(self, now: float) -> list[int]:
        """The signals that are raised at `now` and run at once, with those that were held for them."""
        self.now = now
        ran = []
        for timer in self.schedule.pop_due(now, self.wall):
            again = True
            while again:
                ran.append(timer.signum)
                self.schedule.begun(timer)
                again = self.schedule.ended(timer)
        return ran

    def until(self, end: float) -> list[tuple[float, int]]:
        """What runs, and when, if whoever sleeps wakes exactly on time, until `end` inclusive."""
        log = []
        while (wake := self.schedule.next_wake(self.now, self.wall)) <= end - self.now:
            log += [(self.now, signum) for signum in self.run(self.now + wake)]
        return log


# ----- rules


@pytest.mark.parametrize("make", [Every, Again])
@pytest.mark.parametrize("seconds", [0, -1, 0.0009, math.inf, math.nan, True, "1", None])
def test_impossible_intervals_are_refused(make: type[Every | Again], seconds: float) -> None:
    """An interval is a finite number of at least a millisecond; uWSGI takes any and never fires, or never stops."""
    with pytest.raises(RegistrationError) as caught:
        make(seconds)
    assert f"a timer cannot have an interval of {seconds!r} s; give a finite number, 0.001 s or more" == str(
        caught.value
    )


@pytest.mark.parametrize("iterations", [-1, 1.0, True, None])
def test_impossible_iterations_are_refused(iterations: int) -> None:
    """The number of iterations is 0 or a whole number above it."""
    with pytest.raises(RegistrationError, match="give a whole number above 0, or 0 for no end"):
        Again(1, iterations)


def test_unknown_policy_is_refused() -> None:
    """A policy for late ticks that does not exist is named, with those that do."""
    with pytest.raises(RegistrationError, match="cannot be treated as 'drop'; give late='skip' or late='queue'"):
        Timer(1, Every(1), late="drop")


def test_timer_says_what_it_is() -> None:
    """A timer's repr gives its signal, rule, next time and counts."""
    timer = Timer(17, Every(5))
    assert "<Timer signal=17 Every(seconds=5) due=None raised=0 skipped=0>" == repr(timer)
    story = Story(timer)
    assert "<Timer signal=17 Every(seconds=5) due=5.0 raised=0 skipped=0>" == repr(timer)
    story.schedule.cancel(timer)
    assert "<Timer signal=17 Every(seconds=5) cancelled raised=0 skipped=0>" == repr(timer)


# ----- due times


def test_first_tick_comes_after_one_interval() -> None:
    """Nothing is due when a timer is armed, and then exactly one interval later."""
    story = Story(Timer(1, Every(2.5)))
    assert 2.5 == story.schedule.next_wake(0.0, WALL)
    assert [] == story.pop(2.4999)
    assert [1] == story.pop(2.5)


def test_nothing_armed_is_never_due() -> None:
    """An empty schedule sleeps for ever."""
    story = Story()
    assert math.inf == story.schedule.next_wake(0.0, WALL)
    assert [] == story.pop(1e9)


def test_what_is_overdue_wakes_at_once() -> None:
    """The time to sleep is never negative."""
    story = Story(Timer(1, Every(1)))
    assert 0.0 == story.schedule.next_wake(100.0, WALL + 100)


def test_every_keeps_its_phase() -> None:
    """A tick that is raised late does not move those behind it."""
    timer = Timer(1, Every(10))
    story = Story(timer)
    assert [1] == story.run(13.7)
    assert 20.0 == timer.due
    assert [(20.0, 1), (30.0, 1)] == story.until(35)


def test_every_does_not_drift() -> None:
    """After a million late ticks of 0.1 s the phase is what multiplication gives, not what adding up gives."""
    timer = Timer(1, Every(0.1))
    story = Story(timer)
    assert [1] == story.run(99_999.95)
    assert 1_000_000 * 0.1 == timer.due


def test_no_tick_is_lost_to_rounding() -> None:
    """Just before its 5th tick a timer of 0.7 s has 4 behind it, although the quotient of the times is 5 already."""
    now = math.nextafter(5 * 0.7, 0)
    assert 5 == now / 0.7
    timer = Timer(1, Every(0.7))
    story = Story(timer)
    assert [1] == story.run(now)
    assert (3, 3.5) == (timer.skipped, timer.due)


def test_again_counts_from_the_time_it_fired() -> None:
    """A timer of the other kind moves with its lateness, as uWSGI's rb_timer does."""
    timer = Timer(1, Again(10))
    story = Story(timer)
    assert [1] == story.run(13.5)
    assert 23.5 == timer.due


def test_again_ends_after_its_iterations() -> None:
    """Three iterations are three ticks; then it is no longer among the timers."""
    timer = Timer(1, Again(2, 3))
    story = Story(timer)
    assert [(2.0, 1), (4.0, 1), (6.0, 1)] == story.until(100)
    assert (None, 0, False) == (timer.due, len(story.schedule), timer.cancelled)


def test_skipped_iterations_do_not_count() -> None:
    """An iteration that was skipped because the one before still ran comes later."""
    timer = Timer(1, Again(2, 2))
    story = Story(timer)
    assert [1] == story.pop(2)
    assert [] == story.pop(4)
    story.schedule.begun(timer)
    assert not story.schedule.ended(timer)
    assert [(6.0, 1)] == story.until(100)
    assert (2, 1) == (timer.raised, timer.skipped)


def test_order_is_due_time_then_registration() -> None:
    """Ticks that were due earlier come first, whichever clock they live on; equal ones in order of registration."""
    story = Story(
        Timer(1, Every(60)), Timer(2, EACH_MINUTE), Timer(3, Every(59)), Timer(4, Again(60)), Timer(5, EACH_MINUTE)
    )
    assert [3, 1, 2, 4, 5] == story.pop(60)


def test_due_times_on_both_clocks_are_equal_within_their_rounding() -> None:
    """A timer and a cron for the same instant keep their order of registration, although POSIX time is coarser."""
    for start in (0.1, 0.3, 17.7, 59.9):
        story = Story()
        story.now = start
        story.add(Timer(1, EACH_MINUTE))
        story.add(Timer(2, Every(60 - start)))
        assert [1, 2] == story.pop(60.1)


def test_timers_are_listed_in_order_of_registration() -> None:
    """The schedule has a length and lists what has ticks to come."""
    timers = [Timer(1, Every(3)), Timer(2, EACH_MINUTE), Timer(3, Again(1, 1))]
    story = Story(*timers)
    assert timers == list(story.schedule.timers)
    story.until(2)
    assert timers[:2] == list(story.schedule.timers)
    assert 2 == len(story.schedule)


# ----- late and overlapping ticks


def test_late_every_is_raised_once() -> None:
    """Missed periods are skipped and counted, and only one tick is raised."""
    timer = Timer(1, Every(1))
    story = Story(timer)
    assert [1] == story.run(5.5)
    assert (1, 4, 6.0) == (timer.raised, timer.skipped, timer.due)


def test_late_every_is_made_up_for() -> None:
    """With `queue` all missed periods run, one after the other."""
    timer = Timer(1, Every(1), late="queue")
    story = Story(timer)
    assert [1] == story.pop(5.5)
    assert (4, 1, 0) == (timer.held, timer.raised, timer.skipped)
    for held in (3, 2, 1, 0):
        story.schedule.begun(timer)
        assert story.schedule.ended(timer)
        assert held == timer.held
    story.schedule.begun(timer)
    assert not story.schedule.ended(timer)
    assert (5, 0, 6.0) == (timer.raised, timer.skipped, timer.due)


def test_made_up_ticks_of_two_timers_are_mixed() -> None:
    """With overlap all missed periods are raised at once, in the order in which they were due."""
    story = Story(Timer(1, Every(2), late="queue", overlap=True), Timer(2, Every(3), late="queue", overlap=True))
    assert [1, 2, 1, 1, 2] == story.pop(6)


@pytest.mark.parametrize("overlap", [False, True])
def test_making_up_is_bounded(overlap: bool) -> None:
    """No timer makes up for more than the limit; what is beyond it is skipped, at no cost."""
    timer = Timer(1, Every(0.01), late="queue", overlap=overlap)
    story = Story(timer)
    assert (QUEUE_LIMIT if overlap else 1) == len(story.pop(1_000_000.005))
    assert 100_000_000 - QUEUE_LIMIT == timer.skipped
    assert [] == story.pop(1_000_000.005)


def test_held_ticks_are_bounded() -> None:
    """A run that never ends costs no more than the limit of held ticks."""
    timer = Timer(1, Again(1), late="queue")
    story = Story(timer)
    raised = [story.pop(second) for second in range(1, QUEUE_LIMIT + 10)]
    assert [1] == raised[0]
    assert not any(raised[1:])
    assert (QUEUE_LIMIT, 8) == (timer.held, timer.skipped)


def test_skip_without_overlap() -> None:
    """While a tick waits or runs, further ones are skipped; when it has ended the next one is raised on time."""
    timer = Timer(1, Every(1))
    story = Story(timer)
    assert [1] == story.pop(1)
    assert [] == story.pop(2)
    story.schedule.begun(timer)
    assert [] == story.pop(3)
    assert not story.schedule.ended(timer)
    assert [1] == story.pop(4)
    assert (2, 2) == (timer.raised, timer.skipped)


def test_skip_with_overlap() -> None:
    """Runs may overlap, but no more than one tick waits to begin."""
    timer = Timer(1, Every(1), overlap=True)
    story = Story(timer)
    assert [1] == story.pop(1)
    assert [] == story.pop(2)
    story.schedule.begun(timer)
    assert [1] == story.pop(3)
    assert (1, 1, 1) == (timer.running, timer.waiting, timer.skipped)


def test_queue_with_overlap() -> None:
    """Every tick is raised when it is due, whatever became of the others: what uWSGI does."""
    timer = Timer(1, Every(1), late="queue", overlap=True)
    story = Story(timer)
    assert [[1], [1], [1]] == [story.pop(second) for second in (1, 2, 3)]
    assert (3, 0, 0) == (timer.waiting, timer.held, timer.skipped)


def test_queue_without_overlap() -> None:
    """A tick that is due while another runs is held, and raised when that one has ended."""
    timer = Timer(1, Every(1), late="queue")
    story = Story(timer)
    assert [1] == story.pop(1)
    story.schedule.begun(timer)
    assert [] == story.pop(2)
    assert story.schedule.ended(timer)
    assert (0, 1, 2) == (timer.held, timer.waiting, timer.raised)


@pytest.mark.parametrize("late", ["skip", "queue"])
def test_refused_tick_does_not_block_its_timer(late: str) -> None:
    """A tick that a full queue refused is over, and the next one is raised."""
    timer = Timer(1, Every(1), late=late)
    story = Story(timer)
    assert [1] == story.pop(1)
    assert not story.schedule.ended(timer, began=False)
    assert [1] == story.pop(2)


def test_refused_tick_lets_no_held_one_go() -> None:
    """What refused one tick would refuse the next: held ticks wait for the timer's next tick, and keep their turn."""
    timer = Timer(1, Every(1), late="queue")
    story = Story(timer)
    assert [1] == story.pop(3)
    assert not story.schedule.ended(timer, began=False)
    assert 2 == timer.held
    assert [1] == story.pop(4)
    story.schedule.begun(timer)
    assert story.schedule.ended(timer)
    assert 1 == timer.held


def test_refused_last_tick_takes_the_held_ones_with_it() -> None:
    """If no tick is to come, held ones have nothing to wait for: they are counted as skipped."""
    timer = Timer(1, Again(1, 3), late="queue")
    story = Story(timer)
    assert [[1], [], []] == [story.pop(second) for second in (1, 2, 3)]
    assert (None, 2) == (timer.due, timer.held)
    assert not story.schedule.ended(timer, began=False)
    assert (0, 2) == (timer.held, timer.skipped)


def test_held_iterations_run_after_the_last_tick() -> None:
    """The iterations of a timer count when they are held, and run although nothing more is due."""
    timer = Timer(1, Again(1, 3), late="queue")
    story = Story(timer)
    assert [[1], [], [], []] == [story.pop(second) for second in (1, 2, 3, 4)]
    ends = []
    for _ in range(3):
        story.schedule.begun(timer)
        ends.append(story.schedule.ended(timer))
    assert [True, True, False] == ends
    assert (3, 0) == (timer.raised, timer.skipped)


def test_lost_tick_beside_a_running_one() -> None:
    """A tick that is lost before it begins is told from one that runs."""
    timer = Timer(1, Every(1), overlap=True)
    story = Story(timer)
    story.pop(1)
    story.schedule.begun(timer)
    story.pop(2)
    story.schedule.ended(timer, began=False)
    assert (0, 1) == (timer.waiting, timer.running)


def test_an_end_too_many_does_no_harm() -> None:
    """Counts never go below nothing: without a tick they are ignored, and an end alone ends a waiting tick."""
    timer = Timer(1, Every(1))
    story = Story(timer)
    story.schedule.begun(timer)
    assert not story.schedule.ended(timer)
    story.pop(1)
    assert not story.schedule.ended(timer)
    assert (0, 0) == (timer.waiting, timer.running)


# ----- cancelling and arming again


@pytest.mark.parametrize("rule", [Every(1), Again(1), EACH_MINUTE])
def test_cancelled_timer_has_no_ticks(rule: Rule) -> None:
    """A cancelled timer is gone at once, and may be cancelled again."""
    timer, other = Timer(1, rule), Timer(2, Every(100))
    story = Story(timer, other)
    for _ in range(2):
        story.schedule.cancel(timer)
    assert (True, None) == (timer.cancelled, timer.due)
    assert [other] == list(story.schedule.timers)
    assert 100.0 == story.schedule.next_wake(0.0, WALL)
    assert [2] == story.pop(100)


def test_cancelling_drops_held_ticks() -> None:
    """What was raised ends as usual; what was held is not raised any more."""
    timer = Timer(1, Every(1), late="queue")
    story = Story(timer)
    story.pop(3)
    story.schedule.begun(timer)
    story.schedule.cancel(timer)
    assert not story.schedule.ended(timer)
    assert (0, 0, 0) == (timer.held, timer.waiting, timer.running)


def test_cancelling_a_finished_timer() -> None:
    """A handle whose timer has ended by itself may still be cancelled."""
    timer = Timer(1, Again(1, 1))
    story = Story(timer)
    story.until(1)
    story.schedule.cancel(timer)
    assert (True, 0) == (timer.cancelled, len(story.schedule))


def test_cancelled_before_it_is_armed() -> None:
    """A handle that is cancelled before its runtime starts is never armed."""
    timer = Timer(1, Every(1))
    Story().schedule.cancel(timer)
    assert [] == Story(timer).pop(10)


def test_armed_twice_is_refused() -> None:
    """One timer is one entry."""
    timer = Timer(7, Every(1))
    story = Story(timer)
    with pytest.raises(
        RegistrationError, match="this timer of signal 7 is armed already; make another one of its rule"
    ):
        story.add(timer)


def test_served_again() -> None:
    """A timer whose schedule is gone can be armed in the next one and starts from nothing."""
    timer = Timer(7, Every(1))
    Story(timer).pop(5.5)
    story = Story(timer)
    assert (0, 0, 0, 1.0) == (timer.raised, timer.skipped, timer.waiting, timer.due)
    assert [(1.0, 7), (2.0, 7)] == story.until(2.5)


def test_cancelled_entries_do_not_pile_up() -> None:
    """Arming and cancelling for ever keeps the heap as small as what is armed."""
    story = Story(Timer(0, Every(1e6)))
    for _ in range(1000):
        timer = Timer(1, Every(10))
        story.add(timer)
        story.schedule.cancel(timer)
    assert len(story.schedule._clock._entries) <= 3
    assert 1e6 == story.schedule.next_wake(0.0, WALL)


def test_cancelled_heads_are_passed_over() -> None:
    """Cancelled timers in front of others neither wake anybody nor are raised."""
    timers = [Timer(n, Every(n)) for n in range(1, 10)]
    story = Story(*timers)
    for timer in timers[:4]:
        story.schedule.cancel(timer)
    assert 5.0 == story.schedule.next_wake(0.0, WALL)
    assert [5, 6] == story.pop(6)


# ----- crons and the wall clock


def test_cron_fires_at_second_0() -> None:
    """A cron fires once for each matching minute, first in the one after its registration, and never early."""
    story = Story()
    story.now = 20.5
    story.add(Timer(1, Cron(CronSpec(-2, -1, -1, -1, -1))))
    assert [(60.0, 1), (180.0, 1), (300.0, 1)] == story.until(400)


def test_crons_are_known() -> None:
    """The schedule says whether the wall clock matters to it."""
    timer = Timer(1, EACH_MINUTE)
    story = Story(Timer(2, Every(1)))
    assert not story.schedule.has_wall_timers
    story.add(timer)
    assert story.schedule.has_wall_timers
    story.schedule.cancel(timer)
    assert not story.schedule.has_wall_timers


def test_cron_due_is_posix_time() -> None:
    """The next time of a cron is on the wall clock, in its zone."""
    timer = Timer(1, Cron(CrontabSpec("0 3 * * MON")))
    Schedule(ZoneInfo("Europe/Rome")).add(timer, 0.0, WALL)
    assert timer.due is not None
    assert datetime(2026, 11, 23, 2, tzinfo=UTC) == datetime.fromtimestamp(timer.due, UTC)


@pytest.mark.parametrize(("hours", "skipped"), [(0.5, 29), (1000, 1439)])
def test_wall_clock_put_forward(hours: float, skipped: int) -> None:
    """A cron fires once for the whole jump, and then in the next minute; at most a day of missed ones is counted."""
    timer = Timer(1, EACH_MINUTE)
    story = Story(timer)
    story.put = hours * 3600
    assert [1] == story.run(10)
    assert (1, skipped) == (timer.raised, timer.skipped)
    assert [(60.0, 1)] == story.until(100)


def test_wall_clock_put_forward_is_made_up_for() -> None:
    """With `queue`, a cron runs for each minute that the jump left out."""
    timer = Timer(1, EACH_MINUTE, late="queue")
    story = Story(timer)
    story.put = 1800
    assert [1] * 30 == story.run(10)


def test_wall_clock_put_back() -> None:
    """No minute fires twice: a cron waits until the clock is where it was."""
    timer = Timer(1, EACH_MINUTE)
    story = Story(timer)
    assert [(60.0, 1)] == story.until(110)
    story.put = -3600
    assert [(3720.0, 1), (3780.0, 1)] == story.until(3800)
    assert 0 == timer.skipped


def test_wall_clock_that_was_wrong() -> None:
    """A clock that is put back by a year was wrong: crons follow it at once, and other timers do not notice."""
    timer, cancelled = Timer(1, EACH_MINUTE), Timer(3, EACH_MINUTE)
    story = Story(timer, Timer(2, Every(70)), cancelled)
    story.schedule.cancel(cancelled)
    assert [(60.0, 1)] == story.until(65)
    story.put = -365 * 86400
    assert [(70.0, 2), (120.0, 1), (140.0, 2), (180.0, 1)] == story.until(200)
    assert story.schedule.has_wall_timers


# ----- properties


@given(
    seconds=st.floats(0.001, 1000),
    start=st.floats(0, 1e6),
    steps=st.lists(st.floats(0, 5000), min_size=1, max_size=30),
)
@settings(derandomize=True, max_examples=200, deadline=None)
def test_every_tick_is_raised_or_skipped(seconds: float, start: float, steps: list[float]) -> None:
    """However late it is looked at, each period until now is raised or skipped once, and none too early."""
    timer = Timer(1, Every(seconds))
    story = Story()
    story.now = start
    story.add(timer)
    for now in itertools.accumulate(steps, initial=start):
        ran = story.run(now)
        assert len(ran) <= 1
        assert timer.due is not None
        count = timer.raised + timer.skipped
        assert start + (count + 1) * seconds == timer.due
        assert timer.due > now
        assert count == 0 or start + count * seconds <= now


@given(
    late=st.sampled_from(["skip", "queue"]),
    overlap=st.booleans(),
    acts=st.lists(st.sampled_from(["tick", "begin", "end", "lose"]), max_size=60),
)
@settings(derandomize=True, max_examples=300, deadline=None)
def test_no_tick_gets_lost(late: str, overlap: bool, acts: list[str]) -> None:
    """Whatever a member does, each tick is raised, held or skipped, and an idle timer raises its next tick."""
    timer = Timer(1, Every(1), late=late, overlap=overlap)
    story = Story(timer)
    ticks = 0
    raised = ended = 0
    for act in acts:
        if act == "tick":
            ticks += 1
            raised += len(story.pop(ticks))
        elif act == "begin":
            story.schedule.begun(timer)
        elif (act == "end" and timer.running) or (act == "lose" and timer.waiting):
            ended += 1
            raised += story.schedule.ended(timer, began=act == "end")
        assert raised == timer.raised
        assert ticks == timer.raised + timer.held + timer.skipped
        assert raised - ended == timer.waiting + timer.running
        assert overlap or timer.waiting + timer.running <= 1
    while timer.waiting or timer.running:
        story.schedule.begun(timer)
        story.schedule.ended(timer)
    assert [1] == story.pop(ticks + 1)


def lines_run(func: Callable[[], object]) -> int:
    """How many lines of Python this call runs."""
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:  # Any: itself
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        func()
    finally:
        sys.settrace(before)
    return count


def work_of_a_crowd(size: int) -> list[float]:
    """How many lines it takes for each timer or cron of a crowd to arm it, to raise it, and to cancel it."""
    timers = [Timer(n % 256, EACH_MINUTE if n % 2 else Every(60)) for n in range(size)]
    schedule = Schedule(ZoneInfo("Europe/Rome"))
    raised: list[Timer] = []

    def arm() -> None:
        for timer in timers:
            schedule.add(timer, 0.0, WALL)

    def cancel() -> None:
        for timer in timers:
            schedule.cancel(timer)

    work = [lines_run(arm)]
    work.append(lines_run(lambda: raised.extend(schedule.pop_due(60.0, WALL + 60))))
    work.append(lines_run(cancel))
    assert timers == raised
    assert 0 == len(schedule)
    return [lines / size for lines in work]


def test_a_crowd_of_timers() -> None:
    """Crowds are cheap: the work for a timer hardly depends on how many others there are, where looking through all of
    them for each would make it grow 16 times here.
    """
    few, many = work_of_a_crowd(100), work_of_a_crowd(1600)
    assert all(most < 1.5 * least for least, most in zip(few, many, strict=True)), (few, many)
