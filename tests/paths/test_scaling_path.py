"""Adding and removing workers, and pausing, while the runtime serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.paths.placements import Placement, all_placements
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi._runtime.scaling import MOST_ADDED
from trio_uwsgi.errors import NotServing
from trio_uwsgi.testing import Notes, RuntimeUnderTest, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock


def names(runtime: RuntimeUnderTest) -> list[str]:
    """The workers of the runtime."""
    return [member.name for member in runtime.statistics().members if member.name.startswith("worker")]


@all_placements
async def test_workers_are_added_and_removed(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """An added worker takes its share; the last worker stops when it has run what it was given, and its number is free
    again.
    """
    ran: Notes[tuple[int, int]] = Notes()

    @uwsgi_registry.signal_handler(1, target="workers")
    async def everywhere(signum: int) -> None:
        ran.append((signum, uwsgi.worker_id()))

    @uwsgi_registry.signal_handler(2, target="worker")
    async def slow(signum: int) -> None:
        await trio.sleep(5)
        ran.append((signum, uwsgi.worker_id()))

    caplog.set_level("INFO")
    async with open_runtime(None, Config(placement=placement), registry=uwsgi_registry) as runtime:
        runtime.runtime.add_worker()
        await trio.sleep(1)
        runtime.signal(1)
        await trio.sleep(1)
        assert [(1, 1), (1, 2)] == sorted(ran)
        for _ in range(4):
            runtime.signal(2)
        runtime.runtime.remove_worker()
        await trio.sleep(1)
        assert ["worker1"] == names(runtime)
        runtime.runtime.add_worker()  # worker2 has not left
        await trio.sleep(1)
        assert ["worker1", "worker3"] == names(runtime)
        ran.clear()
        await trio.sleep(20)
        assert [(2, 1), (2, 1), (2, 2), (2, 2)] == sorted(ran)
        runtime.runtime.add_worker()
        await trio.sleep(1)
        assert ["worker1", "worker2", "worker3"] == names(runtime)
        assert "ready" == runtime.statistics().members[1].state
    assert "removing worker2 (workers: 1)" in caplog.text


@all_placements
async def test_the_bounds(placement: Placement, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """The only worker is not removed, and there is a maximum; the log says so."""
    async with open_runtime(None, Config(placement=placement)) as runtime:
        runtime.runtime.remove_worker()
        await trio.sleep(1)
        assert ["worker1"] == names(runtime)
        assert "worker1 is not removed: it is the only worker" in caplog.text
        for _ in range(MOST_ADDED + 1):
            runtime.runtime.add_worker()
        await trio.sleep(1)
        assert 1 + MOST_ADDED == len(names(runtime))
        assert "cannot add a worker: at most 17 can run" in caplog.text
        runtime.stop()
        for call in (runtime.runtime.add_worker, runtime.runtime.remove_worker):
            with pytest.raises(NotServing, match="the runtime is stopping"):
                call()


@all_placements
async def test_a_removed_worker_that_does_not_end(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """What it runs is cancelled after the mercy, and the others keep serving."""

    @uwsgi_registry.signal_handler(1, target="worker2")
    async def endless(signum: int) -> None:
        await trio.sleep_forever()

    config = Config(workers=2, mercy=10, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
        runtime.runtime.remove_worker()
        await trio.sleep(9.9)
        assert "was cancelled" not in caplog.text
        await trio.sleep(0.2)
        assert "the mercy of 10 s is over: cancelled what worker2 still ran" in caplog.text
        assert 404 == (await runtime.client.get("/")).status_code


@all_placements
async def test_a_removed_worker_that_dies(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """It is not restarted, and its number is free."""

    @uwsgi_registry.signal_handler(1, target="worker2")
    async def long(signum: int) -> None:
        await trio.sleep(100)

    config = Config(workers=2, mercy=1000, placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry, allow_failures=True) as runtime:
        runtime.signal(1)
        await trio.sleep(1)
        runtime.runtime.remove_worker()
        await trio.sleep(1)
        runtime.kill("worker2")
        await trio.sleep(1)
        assert ["worker1"] == names(runtime)
        runtime.runtime.add_worker()
        await trio.sleep(1)
        assert ["worker1", "worker2"] == names(runtime)


@all_placements
async def test_pausing_is_known(placement: Placement, autojump_clock: MockClock) -> None:
    """`paused` says whether it pauses; pausing twice is the same as once. (tests/real has sockets.)"""
    async with open_runtime(None, Config(workers=2, mules=1, placement=placement)) as runtime:
        for _ in range(2):
            runtime.runtime.pause()
            assert runtime.runtime.paused
        for _ in range(2):
            runtime.runtime.resume()
            assert not runtime.runtime.paused
