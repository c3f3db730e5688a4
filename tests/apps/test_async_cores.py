"""Waits of async cores, without the runtime around them."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections.abc import Iterator

import pytest
import trio

from tests.api.cancelling import cancel_everywhere
from trio_uwsgi._apps.async_cores import FOREVER, Wait, current_waits, registered_waits, until_ready

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends of a connection."""
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def waiting() -> int:
    """How many descriptors Trio watches; its own wake-up socket is one."""
    statistics = trio.lowlevel.current_statistics().io_statistics
    return int(statistics.tasks_waiting_read) + int(statistics.tasks_waiting_write)


def test_a_wait_is_an_empty_bytes_object() -> None:
    """So a generator can yield it through what only knows bytes."""
    wait = current_waits().register(-1, False, 1)
    assert (b"", True, False) == (wait, isinstance(wait, bytes), bool(wait))
    assert b"ab" == b"".join([b"a", wait, b"b"])


async def test_registering_tells_trio_nothing(pair: Pair) -> None:
    """A wait that is never committed has no effect; one that was registered before Trio ran belongs to no task."""
    before = waiting()
    for _ in range(3):
        current_waits().register(pair[0].fileno(), False, FOREVER)
    assert before == waiting()
    assert 3 == len(current_waits().registered)


async def test_each_wait_has_its_own_timeout(autojump_clock: trio.testing.MockClock, pair: Pair) -> None:
    """The earliest of them ends the commit, whichever was registered first, and reckons from the commit."""
    waits = current_waits()
    for timeout in (7, 2.5, 4):
        waits.register(pair[0].fileno(), False, timeout)
    await trio.sleep(10)
    assert -1 == await waits.commit()
    assert 12.5 == trio.current_time()


async def test_one_descriptor_in_both_directions(autojump_clock: trio.testing.MockClock, pair: Pair) -> None:
    """Reading and writing are two waits; the same one twice is one."""
    waits = current_waits()
    left = pair[0].fileno()
    for writing in (False, False, True):
        waits.register(left, writing, 5)
    assert left == await waits.commit()
    assert 0 == trio.current_time()
    waits.register(left, False, 5)
    waits.register(left, False, 3)
    assert -1 == await waits.commit()
    assert 3 == trio.current_time()


@pytest.mark.parametrize("count", [1, 2])
async def test_a_cancelled_commit_leaves_no_registration(
    autojump_clock: trio.testing.MockClock, pair: Pair, count: int
) -> None:
    """At any of its checkpoints: Trio watches nothing more than before, and the waits are forgotten."""
    waits = current_waits()
    before = waiting()

    async def commit() -> None:
        for end in pair[:count]:
            waits.register(end.fileno(), False, 1)
        await waits.commit()

    tries = 0
    async for _ in cancel_everywhere(commit):
        assert (before, []) == (waiting(), waits.registered)
        tries += 1
    assert tries > 1


async def test_awaiting_one_leaves_the_others_registered(autojump_clock: trio.testing.MockClock) -> None:
    """They can be committed later, once."""
    waits = current_waits()
    first, second = waits.register(-1, False, 1), waits.register(-1, False, 2)
    await second
    assert 1 == len(waits.registered)
    assert first is waits.registered[0]
    assert 2 == trio.current_time()
    await first
    assert 3 == trio.current_time()
    with pytest.raises(RuntimeError, match="committed before"):
        await first


async def test_a_wait_is_its_tasks_own(autojump_clock: trio.testing.MockClock) -> None:
    """A child task commits its own waits, and may not await another's."""
    mine = current_waits().register(-1, False, 100)
    seen: list[int] = []

    async def child() -> None:
        assert registered_waits() is None
        with pytest.raises(RuntimeError, match="another task"):
            await mine
        current_waits().register(-1, False, 1)
        await current_waits().commit()
        seen.append(round(trio.current_time()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)
        nursery.start_soon(child)
    assert [1, 1] == seen
    assert 1 == len(current_waits().registered)


async def test_what_a_thread_asks_of_trio_finds_the_threads_waits() -> None:
    """But a task that it starts there has its own, and so has another thread."""
    before = current_waits()
    found: list[bool] = []

    async def child() -> None:
        found.append(registered_waits() is None)

    async def in_trio(known: object) -> None:
        found.append(current_waits() is known)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        await trio.to_thread.run_sync(lambda: found.append(registered_waits() is None))

    def in_thread() -> None:
        known = current_waits()
        found.append(known is not before)
        trio.from_thread.run(in_trio, known)
        trio.from_thread.run(in_trio, known)

    await trio.to_thread.run_sync(in_thread)
    assert [True] * 7 == found


async def test_the_first_failure_ends_the_commit(autojump_clock: trio.testing.MockClock, pair: Pair) -> None:
    """It is raised alone, not in a group, also where several descriptors fail, and the other waits end."""
    left, right = (end.fileno() for end in pair)
    before = waiting()

    async def holder(fd: int) -> None:
        with contextlib.suppress(trio.ClosedResourceError):
            await until_ready(fd, False)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(holder, left)
        nursery.start_soon(holder, right)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match=f"another task waits for descriptor ({left}|{right}) already"):
            await _commit(left, right)
        assert before + 2 == waiting()
        assert -1 == current_waits().ready
        nursery.cancel_scope.cancel()


async def _commit(*fds: int) -> None:
    for fd in fds:
        current_waits().register(fd, False, 50)
    await current_waits().commit()


async def test_closing_wakes_the_waiting_task(autojump_clock: trio.testing.MockClock, pair: Pair) -> None:
    """One descriptor of several was closed: the error names it."""
    left, right = (end.fileno() for end in pair)

    async def commit() -> None:
        with pytest.raises(trio.ClosedResourceError, match=f"descriptor {right} was closed"):
            await _commit(left, right)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(commit)
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.notify_closing(right)


async def test_a_descriptor_that_was_closed_before_the_commit(pair: Pair) -> None:
    """It is an error that names it."""
    fd = pair[0].detach()
    current_waits().register(fd, False, 1)
    os.close(fd)
    with pytest.raises(OSError, match=f"descriptor {fd} cannot be waited for") as caught:
        await current_waits().commit()
    assert errno.EBADF == caught.value.errno


def test_files_and_such_devices_are_refused_at_once() -> None:
    """Everything else that epoll takes can be waited for."""
    with open(os.devnull) as null, select.epoll() as epoll:
        with pytest.raises(OSError, match="always ready"):
            current_waits().register(null.fileno(), False, 1)
        assert isinstance(current_waits().register(epoll.fileno(), False, 1), Wait)
    ends = os.pipe()
    try:
        assert isinstance(current_waits().register(ends[0], False, 1), Wait)
    finally:
        for fd in ends:
            os.close(fd)


@pytest.mark.parametrize("timeout", [-1, float("nan"), -0.001])
def test_times_that_are_none(timeout: float) -> None:
    """A wait has 0 or more seconds."""
    with pytest.raises(ValueError, match="0 or more seconds"):
        current_waits().register(-1, False, timeout)


def test_where_there_is_no_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are known by their kind."""
    monkeypatch.delattr(select, "epoll")
    with open(os.devnull) as null, open(__file__) as file:
        assert isinstance(current_waits().register(null.fileno(), False, 1), Wait)
        with pytest.raises(OSError, match="always ready"):
            current_waits().register(file.fileno(), False, 1)
