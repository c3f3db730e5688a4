"""Timers and crons, from `add_timer` to the handler, on mock time."""

from __future__ import annotations

import datetime
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
import trio
import trio.lowlevel

from tests.paths.placements import Placement, all_placements, first_placement, task_placements
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi._units.unit import UNIT
from trio_uwsgi.errors import RegistrationError
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock


@all_placements
async def test_timers_of_the_configuration(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """They raise their signal at intervals, from the start on; one without a handler is counted."""

    @uwsgi_registry.signal_handler(17)
    async def tick(signum: int) -> None: ...

    config = Config(placement=placement, timer=["17 2", "18 3"])
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        await trio.sleep(6.5)
        assert [2, 4, 6] == runtime.log.times("signal 17")
        assert 2 == runtime.statistics().signals.unregistered


@pytest.mark.parametrize("placement", ["task", "memory"])
async def test_timers_added_by_a_handler_keep_their_phase(
    placement: str, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """`add_timer` ticks at multiples, `add_rb_timer` `iterations` times; handles have the next time, and cancel."""
    handles: Notes[uwsgi.TimerHandle] = Notes()

    @uwsgi_registry.signal_handler(1)
    async def add(signum: int) -> None:
        handles.append(uwsgi.add_timer(2, 0.7))
        handles.append(uwsgi.add_ms_timer(3, 2500))
        handles.append(uwsgi.add_rb_timer(4, 2, 3))

    @uwsgi_registry.signal_handler(2)
    @uwsgi_registry.signal_handler(3)
    @uwsgi_registry.signal_handler(4)
    async def tick(signum: int) -> None: ...

    config = Config(placement="memory" if placement == "memory" else "task")
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        began = trio.current_time()
        runtime.signal(1)
        await trio.sleep(5.1)
        assert [2, 3, 4] == [handle.signum for handle in handles]
        assert [round(0.7 * n, 6) for n in range(1, 8)] == runtime.log.times("signal 2")
        assert [2.5, 5.0] == runtime.log.times("signal 3")
        assert [2.0, 4.0] == runtime.log.times("signal 4")
        dues = [handle.due for handle in handles]
        assert [pytest.approx(began + due) for due in (5.6, 7.5, 6)] == dues
        handles[0].cancel()
        handles[0].cancel()
        assert handles[0].due is None
        assert "cancelled" in repr(handles[0])
        await trio.sleep(10)
        assert 7 == runtime.log.count("signal 2")
        assert 6 == runtime.log.count("signal 3")
        assert 3 == runtime.log.count("signal 4")
        assert handles[2].due is None


@all_placements
async def test_declared_timers_start_with_the_runtime(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is declared at import counts from the runtime's start, and anew in the next runtime; a cancelled one never
    starts.
    """
    monkeypatch.setattr(uwsgi, "registry", uwsgi_registry)

    @uwsgi.timer(10)
    async def every(signum: int) -> None: ...

    @uwsgi.rbtimer(10, iterations=2)
    async def twice(signum: int) -> None: ...

    @uwsgi.cron("*/5 * * * *")
    @uwsgi.signal_handler
    async def cron(signum: int) -> None: ...

    assert not hasattr(every, "no")
    handle = uwsgi.add_timer(1, 1)
    assert handle.due is None
    handle.cancel()
    await trio.sleep(3)
    for _ in range(2):
        async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry) as runtime:
            await trio.sleep(601)
            log = runtime.log
            assert 60 == log.count(f"signal {every.signum}")
            assert [10.0, 20.0] == log.times(f"signal {twice.signum}")
            assert [300.0, 600.0] == log.times(f"signal {cron.signum}")
            assert 0 == log.count("signal 1")


async def test_a_declared_timer_can_be_cancelled_while_it_runs(
    autojump_clock: MockClock, uwsgi_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handle of a declaration reaches the timer of the runtime that serves it."""
    monkeypatch.setattr(uwsgi, "registry", uwsgi_registry)
    handle = uwsgi.add_timer(1, 10)

    @uwsgi.signal_handler(1)
    async def third_is_enough(signum: int) -> None:
        if trio.current_time() - began > 25:
            handle.cancel()

    began = trio.current_time()
    async with open_runtime(registry=uwsgi_registry) as runtime:
        assert pytest.approx(began + 10) == handle.due
        await trio.sleep(100)
        assert 3 == runtime.log.count("signal 1")
        assert handle.due is None


@pytest.mark.parametrize(
    ("late", "overlap", "expected"),
    [
        (
            "skip",
            False,
            [1, 4, 7, 10],
        ),  # the ticks at 2 and 3 find the run of 1 unfinished; the one at 4 comes as it ends
        ("queue", False, [1, 3.5, 6, 8.5]),
        ("skip", True, [1, 2, 3.5, 4.5, 6, 7, 8.5, 9.5]),
        ("queue", True, [1, 2, 3.5, 4.5, 6, 7, 8.5, 9.5]),
    ],
)
@all_placements
async def test_late_ticks_follow_the_policy(
    placement: Placement,
    late: str,
    overlap: bool,
    expected: list[float],
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
) -> None:
    """With runs of 2.5 s, ticks each second and two workers: which ticks run, and when."""

    @uwsgi_registry.timer(1, late=late, overlap=overlap)
    async def slow(signum: int) -> None:
        await trio.sleep(2.5)

    async with open_runtime(None, Config(workers=2, placement=placement), registry=uwsgi_registry) as runtime:
        await trio.sleep(10.2)
        assert expected == runtime.log.times(f"signal {slow.signum}")


@all_placements
async def test_cron_takes_five_numbers_in_the_configured_zone(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """`add_cron` runs at local time; the time of day moves with Trio's clock from where the test says."""

    @uwsgi_registry.cron(30, 6, -1, -1, 1)
    async def monday_morning(signum: int) -> None: ...

    begin = datetime.datetime(2026, 11, 23, 5, 0, tzinfo=datetime.UTC)  # a Monday, 06:00 in Rome
    config = Config(timezone="Europe/Rome", placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry, begin=begin) as runtime:
        await trio.sleep(8 * 86400)
        name = f"signal {monday_morning.signum}"
        assert [1800.0, 1800.0 + 7 * 86400] == runtime.log.times(name)


async def test_a_full_queue_costs_a_tick_and_not_the_timer(autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """When the member's queue is full, the tick is lost and counted as refused; the next one finds room."""
    release = trio.Event()

    @uwsgi_registry.signal_handler(1)
    async def block(signum: int) -> None:
        await release.wait()

    uwsgi_registry.timer(10)(tick := _note)
    async with open_runtime(None, Config(signal_queue=1), registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        runtime.signal(1)
        await trio.sleep(25)
        assert 2 == runtime.statistics().signals.refused
        release.set()
        await trio.sleep(10)
        assert [30.0] == runtime.log.times(f"signal {tick.signum}")  # type: ignore[attr-defined]


async def _note(signum: int) -> None: ...


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), True])
def test_impossible_intervals_are_refused(seconds: float) -> None:
    """An interval that can never tick is an error where it is written."""
    with pytest.raises(RegistrationError, match="interval"):
        Registry().timer(seconds)


@first_placement
async def test_ten_thousand_timers_at_one_instant(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Timers that are due together are all raised, in the order of their declaration."""
    order: Notes[int] = Notes()

    async def note(signum: int) -> None:
        order.append(signum)

    for n in range(250):
        uwsgi_registry.register_signal(n, "", note)
    expected = [n % 250 for n in range(10_000)]

    @uwsgi_registry.signal_handler(255)
    async def add(signum: int) -> None:
        for n in expected:
            uwsgi.add_rb_timer(n, 5, 1)

    async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry) as runtime:
        runtime.signal(255)
        await trio.sleep(6)
        assert expected == order


@all_placements
async def test_a_run_that_ends_as_the_next_tick_is_due_does_not_make_it_late(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Runs as long as their interval skip nothing, every time: what wakes at one instant is not left to luck."""

    @uwsgi_registry.timer(1)
    async def full_time(signum: int) -> None:
        await trio.sleep(1)

    async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry) as runtime:
        await trio.sleep(100)
        assert 100 == runtime.log.count(f"signal {full_time.signum}")


@task_placements("what a member declares does not leave its process")
async def test_decorators_work_while_serving(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A timer that a handler declares with a decorator ticks from then on, and from the start of the next runtime."""

    @uwsgi_registry.signal_handler(1)
    async def declare(signum: int) -> None:
        uwsgi.timer(10)(_note)

    async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry) as runtime:
        await trio.sleep(5)
        runtime.signal(1)
        await trio.sleep(26)
        assert [15.0, 25.0] == runtime.log.times("signal 255")
    async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry) as runtime:
        await trio.sleep(26)
        assert [10.0, 20.0] == runtime.log.times("signal 255")


@all_placements
async def test_decorators_work_in_threads_while_serving(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A `def` handler may declare signals, timers and crons of its runtime."""
    ran: Notes[str] = Notes()

    @uwsgi_registry.signal_handler(1)
    def declare(signum: int) -> None:
        @uwsgi.timer(20)
        @uwsgi.rbtimer(25, iterations=1)
        @uwsgi.cron("* * * * *")
        @uwsgi.signal_handler(2)
        async def added(signum: int) -> None:
            ran.append(f"{signum} at {trio.current_time() - began:.0f}")

        uwsgi.register_signal(3, "", added)

    began = trio.current_time()
    async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
        runtime.signal(2)
        runtime.signal(3)
        await trio.sleep(60)
    assert ["2 at 1", "3 at 1", "253 at 20", "254 at 25", "253 at 40", "255 at 60", "253 at 60"] == ran


async def test_a_registry_of_ones_own_takes_timers(autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """What the module's functions do for the default registry, a registry does for itself."""

    @uwsgi_registry.signal_handler(1)
    @uwsgi_registry.signal_handler(2)
    @uwsgi_registry.signal_handler(3)
    async def note(signum: int) -> None: ...

    every = uwsgi_registry.add_timer(1, 10)
    uwsgi_registry.add_rb_timer(2, 10, 2)
    uwsgi_registry.add_cron(3, "* * * * *")
    with pytest.raises(RegistrationError, match="0 to 255"):
        uwsgi_registry.add_timer(256, 10)
    async with open_runtime(registry=uwsgi_registry) as runtime:
        await trio.sleep(65)
        assert [10.0, 20.0, 30.0, 40.0, 50.0, 60.0] == runtime.log.times("signal 1")
        assert [10.0, 20.0] == runtime.log.times("signal 2")
        assert [60.0] == runtime.log.times("signal 3")
        uwsgi_registry.cancel(every)
        assert uwsgi_registry.due(every) is None
        await trio.sleep(65)
        assert 6 == runtime.log.count("signal 1")


@pytest.mark.parametrize("micro", [0, 678_901, 999_999])
@all_placements
async def test_a_cron_never_runs_before_its_minute(
    placement: Placement, micro: int, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """However the test reads the time of day: through the runtime, or by Trio's clock, from before its start or in its
    body; also if something else wakes the timers at odd moments.
    """
    begin = datetime.datetime(2024, 1, 1, 3, 4, 5, micro, tzinfo=datetime.UTC)
    read: Notes[tuple[float, float]] = Notes()

    @uwsgi_registry.cron(-1, -1, -1, -1, -1)
    async def each_minute(signum: int) -> None:
        read.append((trio.current_time(), UNIT.get().member.wall_now()))

    @uwsgi_registry.signal_handler(2)
    async def nothing(signum: int) -> None: ...

    @uwsgi_registry.signal_handler(3)
    async def add(signum: int) -> None:
        uwsgi.add_timer(2, 7.1)

    await trio.sleep(12.3)
    before = trio.current_time()
    async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry, begin=begin) as runtime:
        body = trio.current_time()
        runtime.signal(3)
        await trio.sleep(3600)
    assert 60 == len(read)
    for number, (now, wall) in enumerate(read, 1):
        due = begin.replace(second=0, microsecond=0) + datetime.timedelta(minutes=number)
        assert due.timestamp() <= wall < due.timestamp() + 1e-6
        assert due == datetime.datetime.fromtimestamp(wall, datetime.UTC)
        assert due == begin + datetime.timedelta(seconds=now - body)
        assert due == begin + datetime.timedelta(seconds=now - before)
        assert Fraction(due.timestamp()) <= Fraction(begin.timestamp()) + Fraction(now) - Fraction(before)
