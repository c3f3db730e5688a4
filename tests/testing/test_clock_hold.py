"""The mock clock stands still while threads run, and moves while they wait for it."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

import greenback
import pytest
import trio

from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._testing.clock_hold import hold_clock
from trio_uwsgi._units.journal import LoggingJournal
from trio_uwsgi._units.member import Member
from trio_uwsgi._units.thread_pool import ThreadPool
from trio_uwsgi._units.unit import Unit

if TYPE_CHECKING:
    from trio.testing import MockClock

# Real seconds for which a thread below is busy without doing anything: long enough for a free clock to jump thousands
# of times.
BUSY = 0.05


def busy() -> float:
    """Keep a thread busy for a moment, and say how long it took."""
    begun = time.perf_counter()
    threading.Event().wait(BUSY)
    return time.perf_counter() - begun


@pytest.fixture
async def unit() -> Unit:
    member = Member("worker", 1, Registry(), LoggingJournal(), lambda: 0.0)
    return Unit(member, "request", "GET /", trio.CancelScope(), 0)


@pytest.fixture
async def pool(nursery: trio.Nursery) -> ThreadPool:
    pool = ThreadPool(2, "worker1")
    await nursery.start(pool.serve)
    return pool


async def test_a_free_clock_jumps_while_a_thread_is_busy(
    pool: ThreadPool, unit: Unit, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """Without the hold a deadline around a busy thread fires: this is what the hold is for."""
    with trio.move_on_after(30) as scope:
        await pool.run(busy, unit=unit)
    assert scope.cancel_called
    assert trio.current_time() >= 30.0
    nursery.cancel_scope.cancel()


async def test_time_stands_still_while_a_thread_is_busy(
    pool: ThreadPool, unit: Unit, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """A thread that works for some real time takes no virtual time, and a deadline around it does not fire."""
    with hold_clock():
        with trio.fail_after(30):
            assert await pool.run(busy, unit=unit) >= BUSY / 2
        assert trio.current_time() == 0.0
        await trio.sleep(10)
        assert trio.current_time() == 10.0
    nursery.cancel_scope.cancel()


async def test_time_moves_while_a_thread_waits_for_it(
    pool: ThreadPool, unit: Unit, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """A thread that sleeps 10 s through `from_thread` between real work takes exactly 10 virtual seconds."""

    def work() -> None:
        busy()
        trio.from_thread.run(trio.sleep, 10)
        busy()

    with hold_clock():
        await pool.run(work, unit=unit)
        assert trio.current_time() == 10.0
    nursery.cancel_scope.cancel()


async def test_one_busy_thread_holds_the_clock_for_those_that_wait(
    pool: ThreadPool, unit: Unit, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """While one thread sleeps on the clock and another is busy, time stands still until the busy one is done."""
    order: list[tuple[str, float]] = []

    async def work(name: str, *parts: bool) -> None:
        for sleeps in parts:
            if sleeps:
                await pool.run(trio.from_thread.run, trio.sleep, 1, unit=unit)
            else:
                await pool.run(busy, unit=unit)
            order.append((name, trio.current_time()))

    with hold_clock():
        async with trio.open_nursery() as both:
            both.start_soon(work, "busy", False, False, True)
            both.start_soon(work, "sleepy", True)
        assert order[:2] == [("busy", 0.0), ("busy", 0.0)]
        assert sorted(order[2:]) == [("busy", 1.0), ("sleepy", 1.0)]
    nursery.cancel_scope.cancel()


async def test_a_queued_job_does_not_hold_the_clock(
    unit: Unit, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """While every thread waits for the clock, jobs that wait for a thread do not stop it."""
    pool = ThreadPool(1, "worker1")
    await nursery.start(pool.serve)
    with hold_clock():
        async with trio.open_nursery() as in_line:
            for _ in range(3):
                in_line.start_soon(lambda: pool.run(trio.from_thread.run, trio.sleep, 10, unit=unit))
        assert trio.current_time() == 30.0
    nursery.cancel_scope.cancel()


async def test_an_applications_own_threads_hold_the_clock(autojump_clock: MockClock) -> None:
    """`trio.to_thread.run_sync` of the application counts too, and its waits in `from_thread` do not."""
    with hold_clock():
        with trio.fail_after(1):
            await trio.to_thread.run_sync(busy)
            await trio.to_thread.run_sync(busy, abandon_on_cancel=True)
        assert trio.current_time() == 0.0
        await trio.to_thread.run_sync(trio.from_thread.run, trio.sleep, 5)
        assert trio.current_time() == 5.0


async def test_a_thread_below_greenback_holds_the_clock(autojump_clock: MockClock) -> None:
    """A thread that synchronous code waits for through greenback counts too."""

    def view() -> None:
        greenback.await_(trio.to_thread.run_sync(busy))

    async def task() -> None:
        await greenback.ensure_portal()
        view()

    with hold_clock(), trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(greenback.with_portal_run_sync, view)
            nursery.start_soon(task)
        assert trio.current_time() == 0.0


async def test_a_thread_below_a_thread_holds_the_clock(
    pool: ThreadPool, unit: Unit, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """What a pool's thread asked for may itself wait for a thread, and time stands still meanwhile."""

    def work() -> None:
        trio.from_thread.run(trio.to_thread.run_sync, busy)

    with hold_clock(), trio.fail_after(1):
        await pool.run(work, unit=unit)
        assert trio.current_time() == 0.0
    nursery.cancel_scope.cancel()


async def test_an_idle_pool_and_an_abandoned_thread_do_not_hold_the_clock(
    pool: ThreadPool, unit: Unit, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """No task waits for an abandoned thread: time passes although it is busy."""
    entered, opened = threading.Event(), threading.Event()

    def stuck() -> None:
        entered.set()
        opened.wait(10)

    with hold_clock():
        await pool.run(int, unit=unit)
        await trio.sleep(1)
        async with trio.open_nursery() as waiting:
            waiting.start_soon(lambda: pool.run(stuck, unit=unit))
            await trio.to_thread.run_sync(entered.wait, 10)
            waiting.cancel_scope.cancel()
        assert pool.stuck == 1
        await trio.sleep(1)
        assert trio.current_time() == 2.0
    opened.set()
    nursery.cancel_scope.cancel()


async def test_the_clocks_own_threshold_comes_back(autojump_clock: MockClock) -> None:
    """Each hold may end in any order; the last one gives back the threshold, also one that was set meanwhile."""
    autojump_clock.autojump_threshold = 0.001
    first, second = hold_clock(), hold_clock()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with trio.fail_after(1):
        await trio.to_thread.run_sync(busy)
        assert trio.current_time() == 0.0

        def free() -> float:
            held = autojump_clock.autojump_threshold
            autojump_clock.autojump_threshold = 0.002
            return held

        assert await trio.to_thread.run_sync(trio.from_thread.run_sync, free) == math.inf
    await trio.lowlevel.checkpoint()
    assert autojump_clock.autojump_threshold == 0.002
    second.__exit__(None, None, None)
    assert autojump_clock.autojump_threshold == 0.002


async def test_a_hold_that_ends_while_a_thread_is_busy_releases_the_clock(
    pool: ThreadPool, unit: Unit, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """Leaving the block restores the threshold at once; entering it looks at the threads at once."""
    opened = threading.Event()
    done = trio.Event()
    with hold_clock():
        pool.submit(opened.wait, 10, unit=unit, done=lambda _result: done.set())
        await trio.lowlevel.checkpoint()
        assert autojump_clock.autojump_threshold == math.inf
    assert autojump_clock.autojump_threshold == 0
    with hold_clock():
        assert autojump_clock.autojump_threshold == math.inf
        opened.set()
        await done.wait()
    assert trio.current_time() == 0.0
    nursery.cancel_scope.cancel()


async def test_a_clock_without_autojump_stays_as_it_is(mock_clock: MockClock) -> None:
    """A mock clock that is moved by hand is not made to jump."""
    with hold_clock():
        await trio.to_thread.run_sync(int)
        assert mock_clock.autojump_threshold == math.inf
    assert mock_clock.autojump_threshold == math.inf


async def test_any_other_clock_is_left_alone() -> None:
    """On the real clock the block does nothing."""
    with hold_clock():
        begun = trio.current_time()
        await trio.to_thread.run_sync(busy)
        assert trio.current_time() - begun >= BUSY / 2
