"""Shared areas, as members of all kinds use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.paths.placements import Placement, first_placement
from trio_uwsgi import Config, Registry, uwsgi
from trio_uwsgi.errors import NotServing, SharedAreaError
from trio_uwsgi.testing import Notes, open_runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio.testing import MockClock


@first_placement
async def test_all_members_see_one_memory(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Two workers and a mule add to one number, in tasks and in threads; each reads what all of them wrote."""
    seen: Notes[object] = Notes()

    @uwsgi_registry.signal_handler(1, target="workers")
    async def add(signum: int) -> None:
        for _ in range(100):
            uwsgi.sharedarea_inc64(1, 8)
            await trio.lowlevel.checkpoint()

    @uwsgi_registry.signal_handler(2, target="mules")
    def add_in_a_thread(signum: int) -> None:
        for _ in range(100):
            uwsgi.sharedarea_inc32(1, 0, 2)
            uwsgi.sharedarea_dec32(1, 0)
            uwsgi.sharedarea_dec64(1, 8, -1)
        uwsgi.sharedarea_write(0, 3, b"text")
        uwsgi.sharedarea_write8(1, 16, 200)
        uwsgi.sharedarea_write16(1, 18, -2)
        uwsgi.sharedarea_write32(1, 20, 3)
        uwsgi.sharedarea_write64(1, 24, 4)

    @uwsgi_registry.signal_handler(3, target="worker2")
    async def look(signum: int) -> None:
        seen.append(uwsgi.sharedarea_read(0, 0))
        seen.append([uwsgi.sharedarea_read8(1, 16), uwsgi.sharedarea_read16(1, 18), uwsgi.sharedarea_read32(1, 20)])
        seen.append([uwsgi.sharedarea_read64(1, 24), uwsgi.sharedarea_read32(1, 0), uwsgi.sharedarea_read64(1, 8)])
        seen.append(len(uwsgi.sharedarea_memoryview(0)))

    config = Config(workers=2, mules=1, sharedarea=[7, 32], placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        runtime.signal(1)
        runtime.signal(2)
        await trio.sleep(5)
        runtime.signal(3)
        await trio.sleep(1)
        assert [b"\0\0\0text", [-56, -2, 3], [4, 100, 300], 7] == seen


@first_placement
async def test_waiting_for_a_change(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """A program wakes at the instant of each change, whoever makes it, and misses none; others do not wake it."""
    seen: Notes[tuple[int, int]] = Notes()

    @uwsgi_registry.mule(1)
    async def watch() -> None:
        changes = None
        while True:
            changes = await uwsgi.sharedarea_wait(0, changes)
            seen.append((changes, uwsgi.sharedarea_read64(0, 0)))
            await trio.sleep(5)

    @uwsgi_registry.signal_handler(1, target="worker1")
    async def change(signum: int) -> None:
        uwsgi.sharedarea_inc64(0, 0)
        uwsgi.sharedarea_inc64(1, 0)

    @uwsgi_registry.signal_handler(2, target="worker1")
    def change_in_a_thread(signum: int) -> None:
        uwsgi.sharedarea_memoryview(0)[0] = 9
        uwsgi.sharedarea_update(0)

    @uwsgi_registry.signal_handler(3, target="worker1")
    async def give_up(signum: int) -> None:
        with trio.move_on_after(2) as scope:
            await uwsgi.sharedarea_wait(1)
        assert scope.cancelled_caught

    config = Config(workers=1, mules=1, sharedarea=[8, 8], placement=placement)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        for signum, pause in ((1, 1), (1, 1), (1, 10), (2, 10), (3, 5), (1, 5)):
            await trio.sleep(1)
            runtime.signal(signum)
            await trio.sleep(pause)
        assert [(1, 1), (3, 3), (4, 9), (5, 10)] == seen


@first_placement
@pytest.mark.parametrize("threads", [2, None])
async def test_wsgi(placement: Placement, threads: int | None, autojump_clock: MockClock) -> None:
    """A WSGI application counts its requests, in threads and inline."""

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterator[bytes]:
        uwsgi.sharedarea_inc64(0, 0)
        start_response("200 OK", [])
        return iter([b"%d" % uwsgi.sharedarea_read64(0, 0)])

    async with open_runtime(app, Config(sharedarea=[8], threads=threads, placement=placement)) as runtime:
        assert ["1", "2", "3"] == [(await runtime.client.get("/")).text for _ in range(3)]


async def test_areas_that_do_not_exist(autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """The error says which there are, and how to have more; outside of members there are none."""
    errors: list[str] = []

    @uwsgi_registry.signal_handler(1)
    async def handle(signum: int) -> None:
        for number in (1, -1, "0", True):
            with pytest.raises(SharedAreaError) as caught:
                uwsgi.sharedarea_read(number, 0)  # type: ignore[arg-type]
            errors.append(str(caught.value))
        with pytest.raises(SharedAreaError):
            await uwsgi.sharedarea_wait(7)

    for sizes, there in (
        ([], "none"),
        ([1], "area 0 only"),
    ):
        async with open_runtime(None, Config(sharedarea=sizes), registry=uwsgi_registry) as runtime:
            runtime.signal(1)
            await trio.sleep(1)
        assert f"there is no shared area 1: this runtime has {there}; set Config(sharedarea=[BYTES, ...])" in errors[0]
        assert 4 == len(errors)
        errors.clear()
    with pytest.raises(NotServing):
        uwsgi.sharedarea_read(0, 0)
