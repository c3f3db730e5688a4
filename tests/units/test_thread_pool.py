"""The thread pool: what a job sees, who gets which thread, and what is left of a job wherever it was cancelled."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

import outcome
import pytest
import trio

from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._testing.clock_hold import hold_clock
from trio_uwsgi._units.calls import Calls
from trio_uwsgi._units.journal import LoggingJournal
from trio_uwsgi._units.member import Member
from trio_uwsgi._units.pool_thread import PoolThread
from trio_uwsgi._units.stuck import location
from trio_uwsgi._units.thread_pool import Job, ThreadPool, ThreadStatistics, pools_of_this_run
from trio_uwsgi._units.trio_threads import TaskLink
from trio_uwsgi._units.unit import UNIT, Unit
from trio_uwsgi.errors import ThreadAbandoned, ThreadCancelled

if TYPE_CHECKING:
    from trio.testing import MockClock

# Real seconds after which a test that hangs fails instead; nothing below takes that long.
PATIENCE = 10


class Gate:
    """Where a thread waits until the test lets it go on, deaf to Trio: `entered` tells that it got there."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def wait(self) -> str:
        self.entered.set()
        assert self.opened.wait(PATIENCE)
        return "through"

    async def reached(self) -> None:
        assert await trio.to_thread.run_sync(self.entered.wait, PATIENCE)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


@pytest.fixture
def member() -> Member:
    return Member("worker", 1, Registry(), LoggingJournal(), lambda: 0.0)


@pytest.fixture
async def unit(member: Member) -> Unit:
    return Unit(member, "request", "GET /slow", trio.CancelScope(), 0)


@pytest.fixture
async def pool(nursery: trio.Nursery) -> AsyncIterator[ThreadPool]:
    """Two threads, and a mock clock that stands still while they run if the test asks for one."""
    pool = ThreadPool(2, "worker1", grace=0.05)
    await nursery.start(pool.serve)
    with hold_clock():
        yield pool
    nursery.cancel_scope.cancel()


class Results(list[object]):
    """A `done` for each job, and a way to wait for them: what they returned, or the type of what they raised."""

    def __init__(self) -> None:
        self._arrived = trio.Condition()
        self._send, self._receive = trio.open_memory_channel[None](1000)

    def done(self, result: outcome.Outcome[object]) -> None:
        self.append(type(result.error) if isinstance(result, outcome.Error) else result.unwrap())
        self._send.send_nowait(None)

    async def wait(self, count: int) -> list[object]:
        with trio.fail_after(PATIENCE):
            for _ in range(count):
                await self._receive.receive()
        return self


async def no_longer_stuck(pool: ThreadPool) -> None:
    """Return when the abandoned threads have come home."""
    with trio.fail_after(PATIENCE):
        while pool.stuck:
            await trio.lowlevel.checkpoint()


async def test_run_returns_and_raises_what_the_function_does(
    pool: ThreadPool, unit: Unit, autojump_clock: MockClock
) -> None:
    """What a function in a thread returns or raises arrives in the task that waits for it."""
    assert await pool.run(divmod, 7, 2, unit=unit) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await pool.run(divmod, 7, 0, unit=unit)


async def test_user_code_runs_in_its_own_copy_of_the_context(
    pool: ThreadPool, unit: Unit, autojump_clock: MockClock
) -> None:
    """The thread sees the caller's context variables and its own unit; what it sets is not seen by anybody else."""
    colour: ContextVar[str] = ContextVar("colour")
    colour.set("red")

    def look() -> tuple[str, Unit]:
        before = colour.get()
        colour.set("green")
        return before, UNIT.get()

    assert await pool.run(look, unit=unit) == ("red", unit)
    assert await pool.run(look, unit=unit) == ("red", unit)
    assert colour.get() == "red"
    assert UNIT.get(None) is None


async def test_from_thread_works_in_user_code(pool: ThreadPool, unit: Unit, autojump_clock: MockClock) -> None:
    """A thread of the pool can call into Trio without a token, and gets the answer."""

    async def double(number: int) -> int:
        await trio.lowlevel.checkpoint()
        return 2 * number

    assert await pool.run(lambda: trio.from_thread.run(double, 21), unit=unit) == 42
    assert await pool.run(lambda: trio.from_thread.run_sync(sorted, "ba"), unit=unit) == ["a", "b"]


async def test_threads_are_started_on_demand_and_the_lowest_idle_one_is_taken(
    pool: ThreadPool, unit: Unit, autojump_clock: MockClock
) -> None:
    """One job after another uses one thread; two at once use two; then the first is preferred again."""

    def name() -> str:
        return threading.current_thread().name

    assert [await pool.run(name, unit=unit) for _ in range(3)] == ["worker1-1"] * 3
    assert pool.statistics().threads == 1
    both = threading.Barrier(2, timeout=PATIENCE)
    results = Results()
    for _ in range(2):
        pool.submit(lambda: (name(), both.wait(60))[0], unit=unit, done=results.done)
    assert sorted(map(str, await results.wait(2))) == ["worker1-1", "worker1-2"]
    assert [await pool.run(name, unit=unit) for _ in range(3)] == ["worker1-1"] * 3


async def test_jobs_start_in_the_order_they_were_submitted(nursery: trio.Nursery, unit: Unit, gate: Gate) -> None:
    """With every thread busy, jobs wait in a line, and `done` is told in that order too."""
    pool = ThreadPool(1, "worker1")
    await nursery.start(pool.serve)
    results, started = Results(), list[int]()
    pool.submit(gate.wait, unit=unit, done=results.done)
    for number in range(100):
        pool.submit(started.append, number, unit=unit, done=results.done)
    await gate.reached()
    assert pool.statistics() == ThreadStatistics(size=1, threads=1, busy=1, waiting=100, stuck=0)
    assert repr(pool) == "<ThreadPool worker1: 1 of 1 threads busy, 100 waiting, 0 stuck>"
    gate.opened.set()
    assert await results.wait(101) == ["through"] + [None] * 100
    assert started == list(range(100))
    nursery.cancel_scope.cancel()


async def test_done_may_submit_the_next_job(pool: ThreadPool, unit: Unit, autojump_clock: MockClock) -> None:
    """A `done` that submits again gets its turn, and never runs before `submit` has returned."""
    results = Results()
    left = 50

    def again(result: outcome.Outcome[int]) -> None:
        nonlocal left
        left -= 1
        if left:
            pool.submit(int, unit=unit, done=again)
        else:
            results.done(result)

    pool.submit(int, unit=unit, done=again)
    assert left == 50
    assert await results.wait(1) == [0]


async def test_a_wait_in_from_thread_is_cancelled_at_its_virtual_deadline(
    pool: ThreadPool, unit: Unit, autojump_clock: MockClock
) -> None:
    """A limit around a thread that sleeps an hour fires in time: it gets `Cancelled`, cleans up, and is used again."""
    seen: list[str] = []

    def wait() -> None:
        try:
            trio.from_thread.run(trio.sleep, 3600)
        except trio.Cancelled:
            seen.append("cancelled")
            raise
        finally:
            seen.append("cleaned up")

    with trio.move_on_after(30) as scope:
        await pool.run(wait, unit=unit)
    assert trio.current_time() == 30.0
    assert scope.cancelled_caught
    assert seen == ["cancelled", "cleaned up"]
    assert pool.stuck == 0
    assert await pool.run(lambda: trio.from_thread.run_sync(int), unit=unit) == 0


async def test_only_the_cancelled_job_is_cancelled(pool: ThreadPool, unit: Unit, autojump_clock: MockClock) -> None:
    """A wait in another thread of the pool, and the next wait in the same thread, do not notice."""
    results = Results()
    event = trio.Event()
    entered = trio.open_memory_channel[None](2)

    async def wait() -> None:
        entered[0].send_nowait(None)
        await event.wait()

    first = pool.submit(trio.from_thread.run, wait, unit=unit, done=results.done)
    pool.submit(trio.from_thread.run, wait, unit=unit, done=results.done)
    await entered[1].receive()
    await entered[1].receive()
    pool.cancel(first)
    pool.cancel(first)
    assert await results.wait(1) == [ThreadCancelled]
    pool.submit(trio.from_thread.run, wait, unit=unit, done=results.done)
    await entered[1].receive()
    event.set()
    assert await results.wait(2) == [ThreadCancelled, None, None]


async def test_a_thread_that_does_not_listen_is_abandoned(
    pool: ThreadPool, unit: Unit, gate: Gate, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """Its task goes on soon, its place is taken by another thread, and it is counted until its code ends."""
    with caplog.at_level(logging.WARNING, "trio_uwsgi"), trio.fail_after(PATIENCE):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: pool.run(gate.wait, unit=unit))
                await gate.reached()
                scope.cancel()
        assert pool.statistics() == ThreadStatistics(size=2, threads=0, busy=0, waiting=0, stuck=1)
        both = threading.Barrier(2, timeout=PATIENCE)
        results = Results()
        for _ in range(2):
            pool.submit(both.wait, unit=unit, done=results.done)
        assert sorted(map(str, await results.wait(2))) == ["0", "1"]
        gate.opened.set()
        await no_longer_stuck(pool)
    assert [record.getMessage().partition(" at ")[0] for record in caplog.records[:1]] == [
        "worker1: request GET /slow was cancelled but its thread is still running"
    ]
    assert f"{__file__}:" in caplog.records[0].getMessage()
    assert "the abandoned thread of request GET /slow ended" in caplog.records[1].getMessage()


async def test_the_jobs_in_line_get_a_new_thread_when_theirs_is_abandoned(
    nursery: trio.Nursery, unit: Unit, gate: Gate
) -> None:
    """A stuck thread does not hold up those that waited behind it; once it ends it takes no other job."""
    pool = ThreadPool(1, "worker1")
    await nursery.start(pool.serve)
    results = Results()
    stuck = pool.submit(gate.wait, unit=unit, done=results.done)
    pool.submit(threading.get_ident, unit=unit, done=results.done)
    await gate.reached()
    pool.cancel(stuck)
    first, second = await results.wait(2)
    assert first is ThreadAbandoned
    gate.opened.set()
    await no_longer_stuck(pool)
    assert await pool.run(threading.get_ident, unit=unit) == second
    nursery.cancel_scope.cancel()


async def test_a_job_that_was_not_started_never_is(nursery: trio.Nursery, unit: Unit, gate: Gate) -> None:
    """Cancelled in the line, or on its way to a thread that was idle or not yet started, a job is dropped."""
    pool = ThreadPool(1, "worker1")
    await nursery.start(pool.serve)
    results, ran = Results(), list[int]()
    pool.cancel(pool.submit(ran.append, 1, unit=unit, done=results.done))
    assert await results.wait(1) == [ThreadCancelled]
    pool.submit(gate.wait, unit=unit, done=results.done)
    in_line = pool.submit(ran.append, 2, unit=unit, done=results.done)
    await gate.reached()
    pool.cancel(in_line)
    assert await results.wait(1) == [ThreadCancelled, ThreadCancelled]
    gate.opened.set()
    await results.wait(1)
    assert ran == []
    assert pool.stuck == 0
    nursery.cancel_scope.cancel()


async def test_a_cancel_that_comes_too_late_changes_nothing(
    pool: ThreadPool, unit: Unit, autojump_clock: MockClock
) -> None:
    """A job that was over, told or not yet told, keeps its result, and its thread works on."""
    results = Results()
    over = threading.Event()
    await pool.run(int, unit=unit)  # its thread has started
    job = pool.submit(over.set, unit=unit, done=results.done)
    assert over.wait(PATIENCE) is True  # without letting Trio run
    while not job.ended:
        pass
    pool.cancel(job)
    assert await results.wait(1) == [None]
    pool.cancel(job)
    assert await pool.run(int, unit=unit) == 0
    assert results == [None]
    assert pool.statistics() == ThreadStatistics(size=2, threads=1, busy=0, waiting=0, stuck=0)


async def test_a_result_in_spite_of_the_cancel_is_returned(
    pool: ThreadPool, unit: Unit, autojump_clock: MockClock
) -> None:
    """Code that catches the cancellation of its wait, and returns within the grace time, has returned."""

    def stubborn() -> str:
        try:
            trio.from_thread.run(trio.sleep, 3600)
        except trio.Cancelled:
            return "anyway"
        raise AssertionError

    with trio.move_on_after(30):
        assert await pool.run(stubborn, unit=unit) == "anyway"


async def test_code_that_unwinds_longer_than_the_grace_time_is_abandoned(
    pool: ThreadPool, unit: Unit, gate: Gate, autojump_clock: MockClock
) -> None:
    """Cancelled in `from_thread`, a thread has `grace` real seconds for its clean-up; then nobody waits for it."""

    def slow_clean_up() -> None:
        try:
            trio.from_thread.run(trio.sleep, 3600)
        finally:
            gate.wait()

    with trio.move_on_after(30) as scope:
        await pool.run(slow_clean_up, unit=unit)
    assert scope.cancelled_caught
    assert pool.stuck == 1
    gate.opened.set()
    await no_longer_stuck(pool)


@pytest.mark.parametrize("grouped", [False, True])
async def test_an_error_of_the_clean_up_is_what_the_job_raised(
    pool: ThreadPool, unit: Unit, grouped: bool, autojump_clock: MockClock
) -> None:
    """`Cancelled` stays in its thread; an error of the clean-up comes out, alone or as what is left of a group."""

    def fail() -> None:
        try:
            trio.from_thread.run(trio.sleep, 3600)
        except trio.Cancelled as cancelled:
            if grouped:
                raise BaseExceptionGroup("both", [cancelled, KeyError("lost")]) from None
            raise KeyError("lost") from None

    with trio.move_on_after(30), pytest.RaisesGroup(KeyError, allow_unwrapped=True) as caught:
        await pool.run(fail, unit=unit)
    assert isinstance(caught.value, ExceptionGroup) == grouped


async def test_a_cancellation_from_elsewhere_is_an_error_of_the_job(
    pool: ThreadPool, unit: Unit, autojump_clock: MockClock
) -> None:
    """`Cancelled` of some other scope, kept and raised in a thread, does not reach a task it does not belong to."""
    kept: list[BaseException] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            kept.append(cancelled)
            raise

    def raise_it() -> None:
        raise kept[0]

    with pytest.raises(ThreadCancelled, match=r"request GET /slow was cancelled in its thread at .*test_thread_pool"):
        await pool.run(raise_it, unit=unit)


async def test_a_harakiri_says_at_which_line_the_thread_was(
    pool: ThreadPool, member: Member, gate: Gate, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The log of a thread's harakiri names the line of the user's code, whether it waited in Trio or elsewhere."""
    member.threads = pool
    calls = Calls(member, 30)

    def wait_in_trio(_signum: int) -> None:
        trio.from_thread.run(trio.sleep, 3600)

    def wait_elsewhere(_signum: int) -> None:
        gate.wait()

    with caplog.at_level(logging.ERROR, "trio_uwsgi"):
        await calls.run("signal", "17", wait_in_trio, 17)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(calls.run, "signal", "18", wait_elsewhere, 18)
            await gate.reached()
            autojump_clock.jump(30)
    assert calls.harakiris == 2
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [line.partition(", stuck")[0] for line in lines] == [
        "harakiri on worker1: signal 17 was cancelled after 30.00 s",
        "harakiri on worker1: signal 18 was cancelled after 30.00 s",
    ]
    assert "(trio.from_thread.run(trio.sleep, 3600))" in lines[0]
    assert "(assert self.opened.wait(PATIENCE))" in lines[1]


async def test_the_cancellation_of_a_waiting_task_tells_where_its_thread_was(
    pool: ThreadPool, unit: Unit, autojump_clock: MockClock
) -> None:
    """The `Cancelled` that `run` raises has a `ThreadCancelled` as its context, from which `location` reads."""
    seen: list[BaseException] = []
    with trio.move_on_after(30):
        try:
            await pool.run(lambda: trio.from_thread.run(trio.sleep_forever), unit=unit)
        except trio.Cancelled as cancelled:
            seen.append(cancelled)
            raise
    context = seen[0].__context__
    assert isinstance(context, ThreadCancelled)
    assert location(seen[0]) == context.where
    assert context.where.startswith(__file__)


async def test_run_in_a_cancelled_scope_starts_nothing(pool: ThreadPool, unit: Unit, autojump_clock: MockClock) -> None:
    """A task that is cancelled before it asks for a thread gets none."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await pool.run(int, unit=unit)
    assert scope.cancelled_caught
    assert pool.statistics().threads == 0


async def test_a_pool_that_is_not_served_takes_no_jobs(unit: Unit) -> None:
    """Before `serve` and after it, `submit` is refused."""
    pool = ThreadPool(1, "mule1")
    with pytest.raises(trio.ClosedResourceError, match="mule1"):
        pool.submit(int, unit=unit, done=Results().done)
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.serve)
        assert pools_of_this_run() == [pool]
        nursery.cancel_scope.cancel()
    assert pools_of_this_run() == []
    with pytest.raises(trio.ClosedResourceError, match="mule1"):
        pool.submit(int, unit=unit, done=Results().done)


async def test_stopping_ends_idle_threads_and_drops_what_waits(unit: Unit, gate: Gate) -> None:
    """After `serve` idle threads are out, jobs in line were dropped, a deaf thread is counted; all were told."""
    pool = ThreadPool(2, "mule7")
    results = Results()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(pool.serve)
            both = threading.Barrier(2, timeout=PATIENCE)
            for _ in range(2):
                pool.submit(both.wait, unit=unit, done=lambda _result: None)
            pool.submit(gate.wait, unit=unit, done=results.done)
            await gate.reached()
            pool.submit(trio.from_thread.run, trio.sleep_forever, unit=unit, done=results.done)
            pool.submit(int, unit=unit, done=results.done)
            nursery.cancel_scope.cancel()
        assert sorted(map(repr, await results.wait(3))) == sorted(
            map(repr, [ThreadAbandoned, ThreadCancelled, ThreadCancelled])
        )
        assert pool.statistics() == ThreadStatistics(size=2, threads=0, busy=0, waiting=0, stuck=1)
        gate.opened.set()
        await no_longer_stuck(pool)


async def test_a_thread_left_behind_by_a_stop_cannot_ask_trio_any_more(unit: Unit, gate: Gate) -> None:
    """Its `from_thread` calls raise `RunFinishedError`, although the run goes on, and do the run no harm."""
    pool = ThreadPool(1, "mule1")
    raised: list[BaseException] = []

    def ask_later() -> None:
        gate.wait()
        for _ in range(3):
            try:
                trio.from_thread.run(trio.sleep, 0)
            except trio.RunFinishedError as error:
                raised.append(error)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(pool.serve)
            pool.submit(ask_later, unit=unit, done=lambda _result: None)
            await gate.reached()
            nursery.cancel_scope.cancel()
        gate.opened.set()
        await no_longer_stuck(pool)
    assert len(raised) == 3


async def test_a_thread_that_was_abandoned_before_the_stop_does_not_hold_it_up(unit: Unit, gate: Gate) -> None:
    """The task that went on waiting for it is let go when the pool stops."""
    pool = ThreadPool(1, "mule1")
    results = Results()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(pool.serve)
            job = pool.submit(gate.wait, unit=unit, done=results.done)
            await gate.reached()
            pool.cancel(job)
            assert await results.wait(1) == [ThreadAbandoned]
            assert len(pool.tasks()) == 1
            nursery.cancel_scope.cancel()
        assert pool.tasks() == []
        assert pool.stuck == 1


async def test_a_stop_waits_for_async_code_that_shields_itself_but_not_for_the_thread_after_it(
    unit: Unit, gate: Gate
) -> None:
    """As anywhere in Trio a shield delays the stop; what the thread does after it does not."""
    pool = ThreadPool(1, "mule1", grace=0)
    shielded, go_on = trio.Event(), trio.Event()

    async def commit() -> str:
        with trio.CancelScope(shield=True):
            shielded.set()
            await go_on.wait()
            await trio.lowlevel.checkpoint()
        return "committed"

    def work() -> None:
        assert trio.from_thread.run(commit) == "committed"
        gate.wait()

    async def release_when_abandoned() -> None:
        while not pool.stuck:
            await trio.lowlevel.checkpoint()
        go_on.set()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as others, trio.open_nursery() as nursery:
            await nursery.start(pool.serve)
            pool.submit(work, unit=unit, done=lambda _result: None)
            await shielded.wait()
            others.start_soon(release_when_abandoned)
            nursery.cancel_scope.cancel()
        assert pool.stuck == 1
        await gate.reached()


async def test_a_stop_does_not_wait_for_what_a_thread_asked_of_a_system_task(unit: Unit) -> None:
    """A `from_thread` call with a token is no business of the pool's: it goes on, its thread is left behind."""
    pool = ThreadPool(1, "mule1", grace=0)
    token = trio.lowlevel.current_trio_token()
    entered, go_on = trio.Event(), trio.Event()

    async def wait() -> None:
        entered.set()
        await go_on.wait()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(pool.serve)
            pool.submit(lambda: trio.from_thread.run(wait, trio_token=token), unit=unit, done=lambda _result: None)
            await entered.wait()
            nursery.cancel_scope.cancel()
        assert pool.stuck == 1
        go_on.set()
        await no_longer_stuck(pool)


async def test_code_that_asks_whether_it_is_cancelled_ends(
    pool: ThreadPool, unit: Unit, autojump_clock: MockClock
) -> None:
    """A loop with `check_cancelled` in it is not abandoned."""
    entered = threading.Event()

    def loop() -> None:
        while True:
            entered.set()
            trio.from_thread.check_cancelled()
            threading.Event().wait(0.001)

    with trio.fail_after(PATIENCE), trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: pool.run(loop, unit=unit))
            await trio.to_thread.run_sync(entered.wait, PATIENCE)
            scope.cancel()
    assert scope.cancelled_caught
    assert pool.stuck == 0
    assert await pool.run(int, unit=unit) == 0


async def test_a_carrier_is_not_stopped_for_a_job_that_is_over(unit: Unit) -> None:
    """Its thread may have gone on to another job, and neither that nor the thread is to notice."""
    pool_thread, job = PoolThread(1, "worker1-1"), Job(int, (), unit, lambda _result: None)
    job.ended = True
    assert pool_thread.stop(job) is False
    assert pool_thread.exiting is False
    assert pool_thread.scope.cancel_called is False


def test_a_thread_that_trio_did_not_start_has_no_tie() -> None:
    """Where Trio keeps nothing about the thread, `found` is False instead of an error."""
    assert TaskLink().found is False


async def test_without_the_private_name_a_stop_waits_for_the_thread(
    unit: Unit, gate: Gate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a Trio that keeps its state elsewhere the job is told all the same, and the stop says what it waits for."""

    class Missing(TaskLink):
        def __init__(self) -> None:
            self.found = False

    monkeypatch.setattr("trio_uwsgi._units.pool_thread.TaskLink", Missing)
    pool = ThreadPool(1, "mule1")
    results = Results()

    async def open_when_abandoned() -> None:
        assert await results.wait(1) == [ThreadAbandoned]
        assert pool.tasks() != []
        gate.opened.set()

    with caplog.at_level(logging.WARNING, "trio_uwsgi"), trio.fail_after(PATIENCE):
        async with trio.open_nursery() as others, trio.open_nursery() as nursery:
            await nursery.start(pool.serve)
            pool.submit(gate.wait, unit=unit, done=results.done)
            await gate.reached()
            others.start_soon(open_when_abandoned)
            nursery.cancel_scope.cancel()
    assert [1] == [1 for record in caplog.records if "a thread cannot be abandoned" in record.getMessage()]


def test_a_run_ends_while_an_abandoned_thread_goes_on(member: Member, gate: Gate) -> None:
    """`trio.run` returns; the thread is a daemon, and what it reports after the end of the run is ignored."""
    ended = threading.Event()
    daemon: list[bool] = []

    def outlive() -> None:
        daemon.append(threading.current_thread().daemon)
        gate.wait()
        with pytest.raises(trio.RunFinishedError):
            trio.from_thread.run_sync(int)
        ended.set()

    async def main() -> None:
        unit = Unit(member, "request", "GET /", trio.CancelScope(), 0)
        pool = ThreadPool(1, "worker1")
        async with trio.open_nursery() as nursery:
            await nursery.start(pool.serve)
            pool.submit(outlive, unit=unit, done=lambda _result: None)
            await gate.reached()
            nursery.cancel_scope.cancel()

    trio.run(main)
    gate.opened.set()
    assert ended.wait(PATIENCE) is True
    assert daemon == [True]


@pytest.mark.parametrize("seed", range(3))
async def test_done_is_called_exactly_once_whatever_is_cancelled_when(
    unit: Unit, seed: int, autojump_clock: MockClock
) -> None:
    """600 jobs of all kinds, half of them cancelled at random moments: each `done` is called once; no thread stays."""
    rng = random.Random(seed)
    pool = ThreadPool(4, "worker1", grace=0.01)
    told: dict[int, int] = {}
    opened = threading.Event()

    async def step() -> None:
        await trio.lowlevel.checkpoint()

    kinds: list[Callable[[], object]] = [
        int,
        lambda: sum(range(rng.randrange(3000))),
        lambda: [trio.from_thread.run(step) for _ in range(3)],
        lambda: [trio.from_thread.run_sync(int) for _ in range(3)],
        lambda: trio.from_thread.run(trio.sleep, 0.001),
        lambda: opened.wait(0.002),
    ]

    all_told = trio.Event()

    def count(number: int) -> Callable[[outcome.Outcome[object]], None]:
        def done(_result: outcome.Outcome[object]) -> None:
            told[number] = told.get(number, 0) + 1
            if len(told) == 600:
                all_told.set()

        return done

    with hold_clock():
        async with trio.open_nursery() as nursery:
            await nursery.start(pool.serve)
            jobs = []
            for number in range(600):
                jobs.append(pool.submit(rng.choice(kinds), unit=unit, done=count(number)))
                if rng.random() < 0.3:
                    await trio.lowlevel.checkpoint()
                if rng.random() < 0.5:
                    pool.cancel(rng.choice(jobs[-10:]))
            if seed:  # otherwise stop in the middle
                await all_told.wait()
            nursery.cancel_scope.cancel()
        await all_told.wait()
        await no_longer_stuck(pool)
    assert set(told.values()) == {1}
    assert pool.statistics() == ThreadStatistics(size=4, threads=0, busy=0, waiting=0, stuck=0)


async def test_a_job_that_may_not_wait(pool: ThreadPool, unit: Unit, gate: Gate) -> None:
    """It gets a thread beyond the pool's size, which does what waits, too, and then ends."""
    waited = trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(partial(pool.run, gate.wait, unit=unit))
        await gate.reached()
        await trio.testing.wait_all_tasks_blocked()
        pool.submit(list, unit=unit, done=lambda _: waited.set())
        assert "through" == await pool.run(str, "through", unit=unit, at_once=True)
        with trio.fail_after(PATIENCE):
            await waited.wait()
        gate.opened.set()
    with trio.fail_after(PATIENCE):
        while pool.statistics().threads > pool.size:  # noqa: ASYNC110 - nothing tells of the end of a thread
            await trio.sleep(0.001)
