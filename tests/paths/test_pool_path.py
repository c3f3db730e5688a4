"""Pools of mules: they grow with the work that waits, shrink when there is none, and lose nothing meanwhile."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio

from tests.paths.placements import Placement, all_placements
from trio_uwsgi import Config, Mules, Registry, uwsgi
from trio_uwsgi.errors import MessageQueueFull, MuleError, RegistrationError
from trio_uwsgi.testing import Notes, RuntimeUnderTest, open_runtime

if TYPE_CHECKING:
    from trio.testing import MockClock


def present(runtime: RuntimeUnderTest) -> list[str]:
    """The mules that run."""
    return [m.name for m in runtime.statistics().members if m.name.startswith("mule") and m.state != "vacant"]


def pool(placement: Placement, least: int = 1, most: int = 4, idle: float = 60, queue: int = 10_000) -> Config:
    return Config(mules=Mules(min=least, max=most, idle=idle), placement=placement, message_queue=queue)


@all_placements
async def test_a_pool_grows_with_its_backlog_and_shrinks_when_idle(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Slow messages fill it to its max; when all are handled it is at its min again; each is handled once."""
    got: Notes[int] = Notes()
    begun: Notes[tuple[int, int]] = Notes()

    @uwsgi_registry.mule_message_handler
    async def slow(message: bytes) -> None:
        begun.append((uwsgi.mule_id(), int(message)))
        await trio.sleep(3)
        got.append(int(message))

    async with open_runtime(None, pool(placement), registry=uwsgi_registry) as runtime:
        assert ["mule1"] == present(runtime)
        for n in range(40):
            runtime.mule_msg(b"%d" % n)
            await trio.sleep(0.5)
        assert ["mule1", "mule2", "mule3", "mule4"] == present(runtime)
        await trio.sleep(60)
        assert ["mule1", "mule2", "mule3", "mule4"] == present(runtime)
        await trio.sleep(15)
        assert ["mule1"] == present(runtime)
        assert ["vacant"] * 3 == [m.state for m in runtime.statistics().members[2:]]
        assert 40 == sum(m.done for m in runtime.statistics().members)
    assert list(range(40)) == sorted(got)
    order: dict[int, list[int]] = {}
    for mule, number in begun:
        order.setdefault(mule, []).append(number)
    assert [1, 2, 3, 4] == sorted(order)
    assert all(sorted(numbers) == numbers for numbers in order.values())


@all_placements
async def test_little_work_needs_one_mule(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Messages that do not overlap all go to the first mule: a pool does not take turns."""
    got: Notes[int] = Notes()

    @uwsgi_registry.mule_message_handler
    async def handle(message: bytes) -> None:
        got.append(uwsgi.mule_id())
        await trio.sleep(1)

    async with open_runtime(None, pool(placement, least=2), registry=uwsgi_registry) as runtime:
        for _ in range(5):
            runtime.mule_msg(b"x")
            await trio.sleep(2)
        assert ["mule1", "mule2"] == present(runtime)
    assert [1] * 5 == got


@all_placements
async def test_a_burst_is_shared_among_all(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Messages of one instant activate every slot, and mules that are not ready yet get as many as the others."""
    got: Notes[int] = Notes()

    @uwsgi_registry.mule_message_handler
    async def handle(message: bytes) -> None:
        got.append(uwsgi.mule_id())
        await trio.sleep(1)

    async with open_runtime(None, pool(placement), registry=uwsgi_registry) as runtime:
        for _ in range(12):
            runtime.mule_msg(b"x")
        await trio.sleep(10)
    assert [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4] == sorted(got)


@all_placements
async def test_work_for_a_vacant_mule_starts_it(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A message or a signal to its number starts it; `mules` reaches those that run, and `mule` any."""
    ran: Notes[tuple[int, object]] = Notes()

    @uwsgi_registry.mule_message_handler
    async def handle(message: bytes) -> None:
        ran.append((uwsgi.mule_id(), message))

    @uwsgi_registry.signal_handler(1, target="mule3")
    @uwsgi_registry.signal_handler(2, target="mules")
    @uwsgi_registry.signal_handler(3, target="mule")
    async def handler(signum: int) -> None:
        ran.append((uwsgi.mule_id(), signum))
        await trio.sleep(0.5)

    async with open_runtime(None, pool(placement, idle=10), registry=uwsgi_registry) as runtime:
        runtime.mule_msg(b"x", 4)
        await trio.sleep(1)
        assert ["mule1", "mule4"] == present(runtime)
        runtime.signal(1)
        await trio.sleep(1)
        assert [(4, b"x"), (3, 1)] == ran
        runtime.signal(2)
        await trio.sleep(1)
        assert [(1, 2), (3, 2), (4, 2)] == sorted(ran[2:], key=str)
        await trio.sleep(20)
        assert ["mule1"] == present(runtime)
        runtime.signal(3)
        runtime.signal(3)
        await trio.sleep(1)
        assert [(1, 3), (2, 3)] == sorted(ran[5:], key=str)
        with pytest.raises(MuleError, match="mule 5 does not exist; use 1 to 4"):
            runtime.mule_msg(b"x", 5)


@all_placements
async def test_work_that_comes_as_a_mule_stops_is_not_lost(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """Messages are sent at every moment around the one in which the mule stops, which takes a while; all are handled,
    by the next instance.
    """
    got: Notes[bytes] = Notes()
    sent = 0

    @uwsgi_registry.mule_message_handler
    async def handle(message: bytes) -> None:
        got.append(message)

    async with open_runtime(None, pool(placement, idle=10, least=0, most=1), registry=uwsgi_registry) as runtime:
        for steps in range(12):
            runtime.mule_msg(b"work")
            await trio.sleep(1)
            with trio.move_on_after(9):
                await trio.sleep_forever()
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            runtime.mule_msg(b"late")
            sent += 2
            await trio.sleep(30)
            assert sent == len(got)
            assert [] == present(runtime)


@all_placements
async def test_a_pool_with_a_min_of_0(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """With a min of 0 no mule runs until there is work, and `serve` starts all the same."""
    got: Notes[tuple[int, bytes]] = Notes()

    @uwsgi_registry.mule_message_handler
    async def handle(message: bytes) -> None:
        got.append((uwsgi.mule_id(), message))

    async with open_runtime(None, pool(placement, least=0, most=2), registry=uwsgi_registry) as runtime:
        assert [] == present(runtime)
        with pytest.raises(LookupError, match="no member 'mule1' is running"):
            runtime.kill("mule1")
        runtime.mule_msg(b"x")
        await trio.sleep(1)
        assert ["mule1"] == present(runtime)
    assert [(1, b"x")] == got


@all_placements
async def test_spare_mules_have_no_program(
    placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry
) -> None:
    """A spare mule cannot have a program; the error says which mules can."""

    @uwsgi_registry.mule(2)
    async def program() -> None:
        await trio.sleep_forever()

    with pytest.raises(
        RegistrationError, match=r"mule that does not always run; set Config\(mules=Mules\(min=2, \.\.\.\)\)"
    ):
        async with open_runtime(None, pool(placement), registry=uwsgi_registry):
            raise AssertionError("it must not start")
    async with open_runtime(None, pool(placement, least=2), registry=uwsgi_registry) as runtime:
        await trio.sleep(300)
        assert [0.0] == runtime.log.times("program started", "mule2")


@all_placements
async def test_a_full_pool_refuses(placement: Placement, autojump_clock: MockClock, uwsgi_registry: Registry) -> None:
    """A message is refused only when all slots are active and full."""
    got: Notes[bytes] = Notes()

    @uwsgi_registry.mule_message_handler
    async def slow(message: bytes) -> None:
        await trio.sleep(5)
        got.append(message)

    config = pool(placement, most=2, queue=2)
    async with open_runtime(None, config, registry=uwsgi_registry) as runtime:
        for n in range(4):
            runtime.mule_msg(b"%d" % n)
        with pytest.raises(MessageQueueFull, match="mule1 has 2 messages waiting"):
            runtime.mule_msg(b"4")
        await trio.sleep(1)
        assert (4, 1) == (runtime.statistics().messages.queued, runtime.statistics().messages.refused)
    assert 4 == len(got)


@all_placements
@pytest.mark.parametrize("after", [0, 0.5, 9.999999, 10, 10.000001])
@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_an_end_at_any_time_leaves_nothing(
    placement: Placement,
    after: float,
    how: str,
    autojump_clock: MockClock,
    uwsgi_registry: Registry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A graceful stop handles everything that was accepted, also in mules that are just starting; a cancellation
    reports it.
    """
    got: Notes[bytes] = Notes()

    @uwsgi_registry.mule_message_handler
    async def handle(message: bytes) -> None:
        await trio.sleep(1)
        got.append(message)

    with trio.CancelScope() as scope, caplog.at_level(logging.WARNING):
        async with open_runtime(None, pool(placement, idle=9), registry=uwsgi_registry) as runtime:
            for n in range(3):
                runtime.mule_msg(b"%d" % n)
            await trio.sleep(after)
            for n in range(4):
                runtime.mule_msg(b"%d" % n)
            if how == "cancel":
                scope.cancel()
    handled = 7 if how == "stop" else 3 if after > 1 else 0
    assert handled == len(got)
    states = {m.state for m in runtime.statistics().members}
    assert {"ended"} == states
    if how == "stop":
        assert [] == caplog.messages
    messages = runtime.statistics().messages
    assert 7 == messages.queued == messages.delivered + messages.undelivered
