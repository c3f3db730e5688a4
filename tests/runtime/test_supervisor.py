"""The instances in one slot, one after the other, whatever their placement says of their ends."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
import trio

from trio_uwsgi._link.frames import (
    AddTimer,
    Begun,
    Deliver,
    Drain,
    Drained,
    Ended,
    Frame,
    Ready,
    Register,
    ShutdownRequest,
    Stop,
    TakeOver,
)
from trio_uwsgi._link.link import direct_links
from trio_uwsgi._runtime.dispatcher import Dispatcher
from trio_uwsgi._runtime.master import Master
from trio_uwsgi._runtime.placement import Died, Ending, Stopped
from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._runtime.slots import SlotState
from trio_uwsgi._runtime.supervisor import Supervisor
from trio_uwsgi._signals.schedule import Schedule
from trio_uwsgi._signals.targets import Headcount
from trio_uwsgi._signals.ticker import Ticker, WallClock
from trio_uwsgi._signals.timer import Every
from trio_uwsgi._signals.timer_specs import rule_values
from trio_uwsgi._units.journal import LoggingJournal

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_uwsgi._runtime.member_instance import MemberInstance

Body = Callable[["Setting"], Awaitable[Ending]]


class Setting:
    """A master with one mule, whose instances are written by the test: each gets the frames that the master sends."""

    def __init__(self, *bodies: Body, spare: bool = False, idle: float = math.inf) -> None:
        self.dispatcher = Dispatcher(Headcount(0, 1, min_mules=0 if spare else 1), 10, 10)
        self.schedule = Schedule(None)
        ticker = Ticker(self.schedule, WallClock(lambda: 0.0))
        self.master = Master(Registry(), self.dispatcher, ticker, LoggingJournal())
        (self.slot,) = self.dispatcher.slots()
        self.supervisor = Supervisor(self.slot, self.master, self._run_instance, idle, 30)
        self.bodies = list(bodies)
        self.began: list[float] = []
        self.frames: list[Frame] = []
        self.stopping = trio.Event()

    async def _run_instance(self, instance: MemberInstance) -> Ending:
        self.began.append(trio.current_time())
        self.stopping = trio.Event()
        _, to_member = direct_links(self.frames.append, self._obey)
        self.instance = instance
        self.master.attach(instance, to_member)
        try:
            return await self.bodies.pop(0)(self)
        finally:
            self.master.detach(instance)

    def _obey(self, frame: Frame) -> None:
        self.frames.append(frame)
        if isinstance(frame, Stop):
            self.stopping.set()

    def timers(self) -> list[int]:
        """The signals of all timers that are armed."""
        return [timer.signum for timer in self.schedule.timers]

    def say(self, *frames: Frame) -> None:
        """The member says something to the master."""
        for frame in frames:
            self.master.obey(self.instance, frame)


async def stoppable(setting: Setting) -> Ending:
    """Serves until it is asked to stop."""
    setting.say(Ready())
    await setting.stopping.wait()
    return Stopped()


async def short_lived(setting: Setting) -> Ending:
    """Dies soon after its start."""
    setting.say(Ready())
    await trio.sleep(0.5)
    return Died("an accident")


async def test_a_stop_before_it_is_ready_is_sent_later(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A member that is still starting is sent what waits, and then `Stop`."""

    async def slow(setting: Setting) -> Ending:
        await trio.sleep(5)
        setting.say(Ready())
        await setting.stopping.wait()
        setting.say(Begun(1), Ended(1))
        return Stopped()

    setting = Setting(slow)
    nursery.start_soon(setting.supervisor.run)
    await trio.sleep(1)
    setting.master.post(b"x", 1, "test")
    setting.supervisor.stop()
    await trio.sleep(3)
    assert [] == setting.frames
    await trio.sleep(3)
    assert [Deliver(1, None, b"x"), Stop(mercy=26)] == setting.frames
    assert SlotState.ENDED is setting.slot.state


async def test_a_member_that_dies_is_restarted(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Until the supervisor is asked to stop, also during the pause."""
    setting = Setting(short_lived, short_lived, stoppable)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(setting.supervisor.run)
        await trio.sleep(3)
        setting.supervisor.stop()
        assert SlotState.BACKING_OFF is setting.slot.state
    assert ([0, 1.5], 3) == (setting.began, trio.current_time())
    assert (2, SlotState.ENDED) == (setting.slot.deaths, setting.slot.state)


async def test_a_death_at_work_is_restarted_at_once(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """After a run of a second there is no pause, and the next short run counts as the first."""

    async def worker(setting: Setting) -> Ending:
        setting.say(Ready())
        await trio.sleep(1)
        return Died("its work")

    setting = Setting(short_lived, short_lived, worker, worker, short_lived, stoppable)
    nursery.start_soon(setting.supervisor.run)
    await trio.sleep(10)
    assert [0, 1.5, 4, 5, 6, 7.5] == setting.began
    setting.supervisor.stop()


async def test_a_stop_that_comes_first(autojump_clock: MockClock) -> None:
    """When nothing waits no instance is started; in a vacant slot neither."""
    for setting in (Setting(), Setting(spare=True)):
        setting.supervisor.stop()
        await setting.supervisor.run()
        assert ([], SlotState.ENDED) == (setting.began, setting.slot.state)


async def test_a_member_that_asks_to_stop(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """It is stopped if nothing is in its slot; what comes while it stops is for the next instance."""

    async def slow_to_stop(setting: Setting) -> Ending:
        setting.say(Ready(), ShutdownRequest())
        assert not setting.stopping.is_set()
        setting.say(Begun(1), Ended(1), ShutdownRequest())
        assert setting.stopping.is_set()
        await trio.sleep(5)
        return Stopped()

    setting = Setting(slow_to_stop, stoppable, spare=True)
    nursery.start_soon(setting.supervisor.run)
    await trio.sleep(1)
    assert ([], SlotState.VACANT) == (setting.began, setting.slot.state)
    setting.master.post(b"1", 0, "test")
    await trio.sleep(2)
    assert ([1], SlotState.VACANT) == (setting.began, setting.slot.state)
    setting.master.post(b"2", 0, "test")
    assert SlotState.STARTING is setting.slot.state
    await trio.sleep(10)
    assert [1, 6] == setting.began
    assert [Deliver(1, None, b"1"), Stop(), Deliver(2, None, b"2")] == setting.frames
    setting.say(Begun(2), Ended(2))
    setting.supervisor.stop()


async def test_what_comes_while_a_member_stops_outlives_a_stop(autojump_clock: MockClock) -> None:
    """It was accepted, so one more instance runs it, and is then stopped."""

    async def stops(setting: Setting) -> Ending:
        setting.say(Ready(), Begun(1), Ended(1), ShutdownRequest())
        setting.master.post(b"2", 0, "test")
        setting.supervisor.stop()
        return Stopped()

    async def does_it(setting: Setting) -> Ending:
        setting.say(Ready(), Begun(2), Ended(2))
        await setting.stopping.wait()
        return Stopped()

    setting = Setting(stops, does_it, spare=True)
    setting.master.post(b"1", 0, "test")
    with trio.fail_after(1):
        await setting.supervisor.run()
    assert ([], SlotState.ENDED) == (setting.bodies, setting.slot.state)
    assert 0 == setting.master.message_statistics().undelivered


async def test_a_slot_that_is_not_spare_is_not_released(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A member that asks to stop there gets no answer."""
    setting = Setting(stoppable)
    nursery.start_soon(setting.supervisor.run)
    await trio.sleep(1)
    setting.say(ShutdownRequest())
    assert [] == setting.frames
    setting.supervisor.stop()
    assert [Stop(mercy=30)] == setting.frames


async def test_idle_time_begins_anew_with_each_end(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A member is stopped `idle` seconds after the last thing it did, and never while it does something."""

    async def busy(setting: Setting) -> Ending:
        setting.say(Ready())
        for ticket, seconds in ((1, 25), (2, 3)):
            setting.say(Begun(ticket))
            await trio.sleep(seconds)
            setting.say(Ended(ticket))
            await trio.sleep(9)
        setting.say(Begun(3))
        await trio.sleep(1)
        setting.say(Ended(3))
        await setting.stopping.wait()
        stopped.append(trio.current_time())
        return Stopped()

    stopped: list[float] = []
    setting = Setting(busy, spare=True, idle=10)
    nursery.start_soon(setting.supervisor.run)
    setting.master.post(b"1", 1, "test")
    for seconds in (26, 14):
        await trio.sleep(seconds)
        setting.master.post(b"x", 1, "test")
    await trio.sleep(100)
    assert [25 + 9 + 3 + 9 + 1 + 10] == stopped
    assert SlotState.VACANT is setting.slot.state
    setting.supervisor.stop()


async def test_a_bug_is_no_death(autojump_clock: MockClock) -> None:
    """What a placement raises passes, and no instance is started."""

    async def bug(setting: Setting) -> Ending:
        raise ZeroDivisionError

    setting = Setting(bug, stoppable)
    with pytest.RaisesGroup(ZeroDivisionError):
        await setting.supervisor.run()
    assert ([0], SlotState.ENDED) == (setting.began, setting.slot.state)


# ----- replacement


class Replacing(Setting):
    """A setting with several instances at once, by number in the order of their start."""

    def __init__(self, *bodies: Body) -> None:
        super().__init__(*bodies)
        self.instances: list[MemberInstance] = []
        self.said: list[list[Frame]] = []
        self.delay = 0.0  # seconds from the end of an instance until its placement returns

    async def _run_instance(self, instance: MemberInstance) -> Ending:
        said: list[Frame] = []
        self.instances.append(instance)
        self.said.append(said)
        _, to_member = direct_links(said.append, said.append)
        self.master.attach(instance, to_member)
        try:
            return await self.bodies.pop(0)(self)
        finally:
            self.master.detach(instance)
            await trio.sleep(self.delay)

    def says(self, member_task: int, *frames: Frame) -> None:
        """A member says something to the master."""
        for frame in frames:
            self.master.obey(self.instances[member_task], frame)

    async def until_sent(self, member_task: int, frame: Frame) -> None:
        """Wait until a member is sent a frame."""
        while frame not in self.said[member_task]:  # noqa: ASYNC110  # it listens to a list
            await trio.sleep(0.1)


def member_task(number: int, work: float = 0) -> Body:
    """Serves until it is sent `Stop` or `Drain`; then it works for some seconds."""

    async def body(setting: Setting) -> Ending:
        assert isinstance(setting, Replacing)
        setting.says(number, Ready())
        while not {Drain(), Stop()} & set(setting.said[number]):  # noqa: ASYNC110  # it listens to a list
            await trio.sleep(0.1)
        if Drain() in setting.said[number]:
            setting.says(number, Drained())
        await trio.sleep(work)
        return Stopped()

    return body


async def test_a_member_is_replaced(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """What waits is sent to the replacement once, what runs ends where it is, and no death is counted."""
    setting = Replacing(member_task(0, 5), member_task(1))
    nursery.start_soon(setting.supervisor.run)
    await trio.sleep(1)
    setting.master.post(b"1", 1, "test")
    setting.master.post(b"2", 1, "test")
    setting.says(0, Begun(1))
    assert await setting.supervisor.prepare(setting._run_instance)
    assert [Deliver(1, None, b"1"), Deliver(2, None, b"2")] == setting.said[0]
    setting.supervisor.drain()
    setting.master.post(b"3", 1, "test")
    assert [] == setting.said[1]
    await trio.sleep(1)
    assert [TakeOver(), Deliver(2, None, b"2"), Deliver(3, None, b"3")] == setting.said[1]
    assert ["mule1", "mule1'"] == [instance.name for instance in setting.instances]
    setting.says(0, Ended(1))
    setting.says(1, Begun(2), Ended(2), Begun(3), Ended(3))
    await setting.supervisor.wait_drained()
    assert (0, SlotState.READY, 0) == (setting.slot.deaths, setting.slot.state, setting.slot.load)
    setting.supervisor.stop()


async def test_a_replacement_that_does_not_start(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """The holder keeps the slot, and is sent nothing."""

    async def failure(setting: Setting) -> Ending:
        await trio.sleep(1)
        return Died("it cannot start")

    setting = Replacing(member_task(0), failure)
    nursery.start_soon(setting.supervisor.run)
    await trio.sleep(1)
    assert not await setting.supervisor.prepare(setting._run_instance)
    setting.supervisor.drain()
    assert ([], SlotState.READY, 0) == (setting.said[0], setting.slot.state, setting.slot.deaths)
    setting.supervisor.stop()


async def test_a_drained_instance_has_the_mercy(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Then it is cancelled; what it ran is redelivered. A second replacement starts only after that."""
    setting = Replacing(member_task(0, 1000), member_task(1), member_task(2))
    nursery.start_soon(setting.supervisor.run)
    await trio.sleep(1)
    setting.master.post(b"1", 1, "test")
    setting.says(0, Begun(1))
    for number in (1, 2):
        assert await setting.supervisor.prepare(setting._run_instance)
        setting.supervisor.drain()
        assert [1, 31][number - 1] == round(trio.current_time())
    await trio.sleep(1)
    assert ["mule1", "mule1'", "mule1"] == [instance.name for instance in setting.instances]
    assert [TakeOver(), Deliver(1, None, b"1", redelivered=True)] == setting.said[2]
    setting.says(2, Begun(1), Ended(1))
    setting.supervisor.stop()


async def test_a_death_instead_of_draining(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """The prepared replacement takes over at once all the same."""

    async def dies(setting: Setting) -> Ending:
        assert isinstance(setting, Replacing)
        setting.says(0, Ready())
        await setting.until_sent(0, Drain())
        return Died("an accident")

    setting = Replacing(dies, member_task(1))
    nursery.start_soon(setting.supervisor.run)
    await trio.sleep(1)
    assert await setting.supervisor.prepare(setting._run_instance)
    setting.master.post(b"1", 1, "test")
    setting.supervisor.drain()
    await trio.sleep(0.5)
    assert [TakeOver(), Deliver(1, None, b"1")] == setting.said[1]
    assert (1, SlotState.READY) == (setting.slot.deaths, setting.slot.state)
    setting.says(1, Begun(1), Ended(1))
    setting.supervisor.stop()


async def test_a_death_in_the_instant_of_draining(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A holder whose death the supervisor has not noticed yet is sent nothing, and replaced."""

    async def dies(setting: Setting) -> Ending:
        assert isinstance(setting, Replacing)
        setting.says(0, Ready())
        await trio.sleep(2)
        return Died("an accident")

    setting = Replacing(dies, member_task(1))
    setting.delay = 1.0
    nursery.start_soon(setting.supervisor.run)
    await trio.sleep(1)
    assert await setting.supervisor.prepare(setting._run_instance)
    await trio.sleep(1.5)
    assert setting.supervisor.drain()
    await trio.sleep(1)
    assert ([], [TakeOver()]) == (setting.said[0], setting.said[1])
    assert (1, SlotState.READY) == (setting.slot.deaths, setting.slot.state)
    setting.supervisor.stop()


async def test_a_death_beside_a_prepared_replacement(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """The restarted instance has another name than the replacement, which takes over in the end."""

    async def dies(setting: Setting) -> Ending:
        assert isinstance(setting, Replacing)
        setting.says(1, Ready())
        await trio.sleep(4)
        return Died("an accident")

    async def hangs(setting: Setting) -> Ending:
        await trio.sleep(1000)
        raise AssertionError

    setting = Replacing(member_task(0), dies, member_task(2), hangs, member_task(4))
    nursery.start_soon(setting.supervisor.run)
    await trio.sleep(1)
    for pause in (1, 4):
        assert await setting.supervisor.prepare(setting._run_instance)
        await trio.sleep(pause)
        assert setting.supervisor.drain()
        await trio.sleep(1)
    assert ["mule1", "mule1'", "mule1", "mule1'"] == [instance.name for instance in setting.instances]
    assert ([TakeOver()], SlotState.READY) == (setting.said[2], setting.slot.state)
    assert await setting.supervisor.prepare(setting._run_instance)
    assert setting.supervisor.drain()
    await trio.sleep(1)
    assert ([TakeOver()], SlotState.READY, 1) == (setting.said[4], setting.slot.state, setting.slot.deaths)
    setting.supervisor.stop()


async def test_a_restart_that_has_no_replacement(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Without a holder no replacement is prepared; an instance that starts meanwhile is not drained."""

    async def dies(setting: Setting) -> Ending:
        return Died("an accident")

    setting = Replacing(dies, member_task(1))
    nursery.start_soon(setting.supervisor.run)
    await trio.sleep(0.5)
    assert await setting.supervisor.prepare(setting._run_instance)
    assert setting.supervisor.drain()
    await trio.sleep(1)
    assert SlotState.READY is setting.slot.state
    assert not setting.supervisor.drain()
    setting.supervisor.stop()


async def test_a_stop_while_a_replacement_starts(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """The replacement is cancelled, and none is prepared afterwards."""

    async def slow(setting: Setting) -> Ending:
        await trio.sleep(100)
        raise AssertionError

    setting = Replacing(member_task(0), slow)
    nursery.start_soon(setting.supervisor.run)
    await trio.sleep(1)
    async with trio.open_nursery() as inner:

        async def prepare() -> None:
            assert not await setting.supervisor.prepare(setting._run_instance)

        inner.start_soon(prepare)
        await trio.sleep(1)
        setting.supervisor.stop()
    assert not await setting.supervisor.prepare(setting._run_instance)
    assert ([Stop(mercy=30)], 2) == (setting.said[0], round(trio.current_time()))


async def test_one_that_never_served_is_not_waited_for(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """It is cancelled, which does not count as a death, and the replacement takes over."""

    async def hangs(setting: Setting) -> Ending:
        await trio.sleep(1000)
        raise AssertionError

    setting = Replacing(hangs, member_task(1))
    nursery.start_soon(setting.supervisor.run)
    await trio.sleep(1)
    assert await setting.supervisor.prepare(setting._run_instance)
    setting.supervisor.drain()
    await trio.sleep(1)
    assert ([TakeOver()], SlotState.READY, 0) == (setting.said[1], setting.slot.state, setting.slot.deaths)
    setting.supervisor.stop()


async def test_what_a_replacement_declares_counts_later(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Its timers are armed when it takes over; those of the former holder until newer code is adopted."""
    setting = Replacing(member_task(0), member_task(1))
    nursery.start_soon(setting.supervisor.run)
    await trio.sleep(1)
    every = rule_values(Every(10))
    setting.says(0, AddTimer(1, 5, every, "skip", False), Register(5, "mule1"))
    assert await setting.supervisor.prepare(setting._run_instance)
    setting.says(1, AddTimer(1, 6, every, "skip", False), Register(6, "mule1"))
    new = Registry()
    new.add_timer(7, 10)
    assert ([5], {5}) == (setting.timers(), set(setting.master.declared.registry.signals))
    setting.master.adopt(new, Headcount(0, 1))
    setting.says(0, AddTimer(2, 8, every, "skip", False))
    setting.supervisor.drain()
    await trio.sleep(1)
    assert ([7, 6], {6}) == (setting.timers(), set(setting.master.declared.registry.signals))
    setting.supervisor.stop()
