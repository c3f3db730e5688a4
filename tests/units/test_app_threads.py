"""Threads of the application: which member has them, what their calls see, and how calls and threads end."""

from __future__ import annotations

import contextvars
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any

import pytest
import trio

from trio_uwsgi import uwsgi
from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._units.app_threads import _SERVING, AppThread, AppThreads, app_thread, is_trios_thread
from trio_uwsgi._units.journal import LoggingJournal
from trio_uwsgi._units.member import Member
from trio_uwsgi._units.unit import UNIT, Unit
from trio_uwsgi.errors import NotServing

PATIENCE = 30


def new_member(kind: str, number: int) -> Member:
    return Member(kind, number, Registry(), LoggingJournal(), lambda: 0.0)


class Foreign:
    """A thread that Trio did not start."""

    def __init__(self, func: Callable[..., object], *args: object) -> None:
        self.result: object = None

        def work() -> None:
            try:
                self.result = func(*args)
            except Exception as error:
                self.result = error

        self.thread = threading.Thread(target=work, name="visitor", daemon=True)
        self.thread.start()

    async def done(self) -> Any:
        """What the function returned or raised, once the thread has ended."""
        await trio.to_thread.run_sync(self.thread.join, PATIENCE)
        assert not self.thread.is_alive()
        return self.result


def here() -> Any:
    """The calling thread as a unit, where a member runs."""
    thread = app_thread()
    assert thread is not None
    return thread


@pytest.fixture
async def threads(nursery: trio.Nursery) -> AsyncIterator[AppThreads]:
    """The threads of worker 1, which runs."""
    threads = AppThreads(new_member("worker", 1))
    await nursery.start(threads.serve)
    yield threads
    nursery.cancel_scope.cancel()


VAR: ContextVar[str] = ContextVar("VAR", default="-")


async def test_a_call_has_the_threads_unit_and_context(threads: AppThreads) -> None:
    """Calls of one thread run in one task, as one unit, in a copy of the thread's context."""

    async def look() -> tuple[object, ...]:
        await trio.lowlevel.checkpoint()
        seen = (UNIT.get(), trio.lowlevel.current_task(), VAR.get())
        VAR.set("changed")
        return seen

    def work() -> list[tuple[object, ...]]:
        VAR.set("mine")
        return [here().run("sync.wait(f)", look), here().run("sync.wait(f)", look), (here(), VAR.get())]

    first, second, thread = await Foreign(work).done()
    assert first == second == (thread[0], first[1], "mine")
    assert "mine" == thread[1]
    assert ("thread visitor", "worker1") == (thread[0].what, thread[0].member.name)


async def test_errors_reach_the_thread(threads: AppThreads) -> None:
    """What a call raises is raised in the thread, which can make other calls afterwards."""

    async def fail() -> None:
        raise KeyError("k")

    def work() -> object:
        with pytest.raises(KeyError):
            here().run("sync.wait(f)", fail)
        return here().run("sync.wait(f)", trio.sleep, 0)

    assert (await Foreign(work).done()) is None


async def test_a_wait_ends_with_the_member(nursery: trio.Nursery) -> None:
    """The call is cancelled, and the thread gets an error that says why; later calls get one too."""
    threads = AppThreads(new_member("worker", 1))
    scope = trio.CancelScope()
    ended: list[str] = []
    started = trio.Event()

    async def serve(task_status: trio.TaskStatus[None]) -> None:
        with scope:
            await threads.serve(task_status=task_status)

    async def linger() -> None:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.append("call")

    def work() -> str:
        thread = here()
        thread.at_end(lambda: ended.append("unit"))
        with pytest.raises(NotServing) as info:
            thread.run("sync.wait(f)", linger)
        with pytest.raises(NotServing):
            thread.run("sync.wait(f)", linger)
        return str(info.value)

    await nursery.start(serve)
    visitor = Foreign(work)
    await started.wait()
    scope.cancel()
    assert (await visitor.done()) == (
        "sync.wait(f) was called by thread visitor of worker1, which has stopped; "
        "let the thread end when uwsgi.stopping() is true"
    )
    assert ["call", "unit"] == ended


@pytest.mark.parametrize("calls", [0, 1])
async def test_the_unit_ends_with_its_thread(threads: AppThreads, calls: int) -> None:
    """What it holds is released when the thread ends, also if it has made no call that waits."""
    released = trio.Event()

    def work() -> None:
        here().at_end(released.set)
        for _ in range(calls):
            here().run("sync.wait(f)", trio.sleep, 0)

    await Foreign(work).done()
    with trio.fail_after(PATIENCE):
        await released.wait()


async def test_which_member_a_thread_belongs_to(nursery: trio.Nursery) -> None:
    """That of its context; else the first worker, else the first member; none in a process that was forked."""

    def name() -> str:
        thread = app_thread()
        return "none" if thread is None else thread.member.name

    def inside(unit: Unit) -> str:
        UNIT.set(unit)
        assert name() == here().run("sync.wait(f)", answer_name)
        return name()

    async def answer_name() -> str:
        return UNIT.get().member.name

    assert "none" == await Foreign(name).done()
    members = [new_member(*which) for which in (("mule", 1), ("mule", 2), ("worker", 2), ("worker", 1))]
    for member, expected in zip(members, ["mule1", "mule1", "worker2", "worker1"], strict=True):
        await nursery.start(AppThreads(member).serve)
        assert expected == await Foreign(name).done()
    unit = Unit(members[1], "request", "GET /", trio.CancelScope(), 0)
    assert "mule2" == await Foreign(contextvars.Context().run, inside, unit).done()
    stopped = Unit(new_member("worker", 9), "request", "GET /", trio.CancelScope(), 0)
    assert isinstance(await Foreign(contextvars.Context().run, inside, stopped).done(), AssertionError)
    for threads in _SERVING:
        threads.process = os.getpid() + 1
    assert "none" == await Foreign(name).done()
    nursery.cancel_scope.cancel()


async def test_a_thread_keeps_its_member(nursery: trio.Nursery) -> None:
    """A worker with a lower number that starts later does not get the threads of another, which may hold locks."""
    began, went_on = threading.Event(), threading.Event()

    def work() -> list[str]:
        first = here().member.name
        began.set()
        assert went_on.wait(PATIENCE)
        return [first, here().member.name]

    await nursery.start(AppThreads(new_member("worker", 2)).serve)
    visitor = Foreign(work)
    assert await trio.to_thread.run_sync(began.wait, PATIENCE)
    await nursery.start(AppThreads(new_member("worker", 1)).serve)
    went_on.set()
    assert ["worker2", "worker2"] == await visitor.done()
    nursery.cancel_scope.cancel()


async def test_a_time_limit_is_refused(threads: AppThreads) -> None:
    """A thread is no request: nothing could end it."""

    def work() -> str:
        with pytest.raises(NotServing) as info:
            here().run("sync.wait(f)", limit)
        return str(info.value)

    async def limit() -> None:
        UNIT.get().limit(5)

    expected = "a time limit was called for thread visitor; limit a request, a handler or a mule's program"
    assert expected == await Foreign(work).done()


async def test_threads_of_trio_are_told_apart(threads: AppThreads) -> None:
    """Also when they are cancelled: that is raised where they wait."""
    assert [True, False] == [await trio.to_thread.run_sync(is_trios_thread), await Foreign(is_trios_thread).done()]
    cancelled = threading.Event()

    def work() -> bool:
        assert cancelled.wait(PATIENCE)
        return is_trios_thread()

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_set_after_cancel, scope, cancelled)
            assert await trio.to_thread.run_sync(work)


async def _set_after_cancel(scope: trio.CancelScope, cancelled: threading.Event) -> None:
    scope.cancel()
    cancelled.set()


def test_an_interrupt_cancels_the_call() -> None:
    """Ctrl-C in the thread, here Python's main thread, ends its wait and what it waits for."""
    threads = AppThreads(new_member("worker", 1))
    serving, ended = threading.Event(), threading.Event()
    scope = trio.CancelScope()

    async def serve(task_status: trio.TaskStatus[None]) -> None:
        with scope:
            await threads.serve(task_status=task_status)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            serving.set()

    async def interrupted() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await trio.sleep_forever()
        finally:
            ended.set()

    runner = threading.Thread(target=trio.run, args=(main,), daemon=True)
    runner.start()
    assert serving.wait(PATIENCE)
    with pytest.raises(KeyboardInterrupt):
        here().run("sync.wait(f)", interrupted)
    assert ended.wait(PATIENCE)
    threads.token.run_sync_soon(scope.cancel)
    runner.join(PATIENCE)
    with pytest.raises(trio.RunFinishedError):
        threads.token.run_sync_soon(scope.cancel)
    with pytest.raises(NotServing, match="which has stopped"):
        AppThread(threads).run("sync.wait(f)", trio.sleep, 0)


async def test_stopping_outlives_the_member(nursery: trio.Nursery) -> None:
    """A loop that asks `stopping` ends, also if its member has ended in the meantime; elsewhere it is False."""
    threads = AppThreads(new_member("worker", 1))
    scope = trio.CancelScope()
    began, ended = threading.Event(), threading.Event()

    async def serve(task_status: trio.TaskStatus[None]) -> None:
        with scope:
            await threads.serve(task_status=task_status)
        ended.set()

    def work() -> bool:
        assert here()
        began.set()
        assert ended.wait(PATIENCE)
        return uwsgi.stopping()

    assert not await Foreign(uwsgi.stopping).done()
    await nursery.start(serve)
    visitor = Foreign(work)
    assert await trio.to_thread.run_sync(began.wait, PATIENCE)
    scope.cancel()
    assert await visitor.done()
