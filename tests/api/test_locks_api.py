"""User locks as applications use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.api.cancelling import cancel_everywhere
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi.errors import LockError, NotServing
from trio_uwsgi.testing import open_runtime

if TYPE_CHECKING:
    from tests.api.conftest import InMule


async def test_locks_go_to_those_who_wait_in_order(in_mule: InMule, autojump_clock: trio.testing.MockClock) -> None:
    """Ten tasks get the lock in the order in which they asked, one at a time."""
    order = []

    async def hold(number: int) -> None:
        async with uwsgi.locked(1):
            order.append(number)
            await trio.sleep(1)
            assert uwsgi.is_locked(1)
            assert not uwsgi.is_locked()

    async def program() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(hold, number)
                await trio.sleep(0.01)
        assert not uwsgi.is_locked(1)

    await in_mule(program, locks=1)
    assert list(range(10)) == order


async def test_misuse_is_an_error(in_mule: InMule, autojump_clock: trio.testing.MockClock) -> None:
    """Locking twice, unlocking what is not held or is another's, and locks that do not exist."""

    async def stranger() -> None:
        with pytest.raises(LockError, match=r"program .*of mule1 holds it"):
            uwsgi.unlock()

    async def program() -> None:
        await uwsgi.lock()
        with pytest.raises(LockError, match="holds user lock 0 already"):
            await uwsgi.lock()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stranger)
        assert uwsgi.is_locked()
        uwsgi.unlock()
        with pytest.raises(LockError, match="it is not locked"):
            uwsgi.unlock()
        for number in (1, -1, True):
            with pytest.raises(LockError, match="lock 0 only"):
                await uwsgi.lock(number)

    await in_mule(program)


async def test_a_unit_that_ends_releases_its_locks(
    uwsgi_registry: Registry, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that returns, and one that harakiri ends, hold nothing afterwards; the next one gets the lock."""
    got = []

    @uwsgi_registry.signal_handler(1, target="worker1")
    async def forget(signum: int) -> None:
        await uwsgi.lock()

    @uwsgi_registry.signal_handler(2, target="worker1")
    async def stuck(signum: int) -> None:
        await uwsgi.lock()
        await trio.sleep_forever()

    @uwsgi_registry.signal_handler(3, target="worker2")
    async def wait(signum: int) -> None:
        await uwsgi.lock()
        got.append(trio.current_time())

    async with open_runtime(None, Config(workers=2, harakiri=5), registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        runtime.signal(2)
        await trio.sleep(1)
        began = trio.current_time()
        runtime.signal(3)
        await trio.sleep(10)
    assert [4] == [round(time - began) for time in got]
    assert 3 == caplog.text.count("ended without unlocking user lock 0")
    assert "signal 2 of worker1 ended" in caplog.text


async def test_threads_lock_as_tasks_do(uwsgi_registry: Registry, autojump_clock: trio.testing.MockClock) -> None:
    """The thread of a `def` handler locks, is seen as the holder, and unlocks."""
    seen = []

    @uwsgi_registry.signal_handler(1)
    def handler(signum: int) -> None:
        trio.from_thread.run(uwsgi.lock, 0)
        seen.append(uwsgi.is_locked())
        uwsgi.unlock()
        seen.append(uwsgi.is_locked())

    async with open_runtime(registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
    assert [True, False] == seen


async def test_a_cancelled_lock_is_not_held(in_mule: InMule, autojump_clock: trio.testing.MockClock) -> None:
    """Wherever `lock` is cancelled, the lock is free when its holder has released it, and no task waits."""

    async def hold(task_status: trio.TaskStatus[None]) -> None:
        async with uwsgi.locked():
            task_status.started()
            await trio.sleep(5)

    async def program() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(hold)
            async for _ in cancel_everywhere(uwsgi.lock):
                pass
            uwsgi.unlock()
            assert not uwsgi.is_locked()

    await in_mule(program)


async def test_outside_of_a_runtime() -> None:
    """The error says where locks work."""
    with pytest.raises(NotServing, match="use locks in a request, a handler or a mule's program"):
        await uwsgi.lock()


async def test_a_thread_that_may_be_abandoned_gets_no_lock(
    in_mule: InMule, autojump_clock: trio.testing.MockClock
) -> None:
    """Each of its calls is made by another task, so it could not unlock: it is refused at once."""

    def thread() -> None:
        with pytest.raises(LockError, match="start it with abandon_on_cancel=False"):
            trio.from_thread.run(uwsgi.lock)
        assert not uwsgi.is_locked()

    async def program() -> None:
        await trio.to_thread.run_sync(thread, abandon_on_cancel=True)

    await in_mule(program)
