"""Lives on one seat, one after the other, whatever a placement says of their ends."""

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

Body = Callable[["House"], Awaitable[Ending]]


class House:
    """A master with one mule, whose lives are written by the test: each gets the frames that the master sends."""

    def __init__(self, *lives: Body, spare: bool = False, idle: float = math.inf) -> None:
        self.dispatcher = Dispatcher(Headcount(0, 1, min_mules=0 if spare else 1), 10, 10)
        self.schedule = Schedule(None)
        ticker = Ticker(self.schedule, WallClock(lambda: 0.0))
        self.master = Master(Registry(), self.dispatcher, ticker, LoggingJournal())
        (self.slot,) = self.dispatcher.slots()
        self.supervisor = Supervisor(self.slot, self.master, self._live, idle, 30)
        self.lives = list(lives)
        self.began: list[float] = []
        self.frames: list[Frame] = []
        self.told = trio.Event()

    async def _live(self, instance: MemberInstance) -> Ending:
        self.began.append(trio.current_time())
        self.told = trio.Event()
        _, to_member = direct_links(self.frames.append, self._obey)
        self.instance = instance
        self.master.attach(instance, to_member)
        try:
            return await self.lives.pop(0)(self)
        finally:
            self.master.detach(instance)

    def _obey(self, frame: Frame) -> None:
        self.frames.append(frame)
        if isinstance(frame, Stop):
            self.told.set()

    def timers(self) -> list[int]:
        """The signals of all timers that are armed."""
        return [timer.signum for timer in self.schedule.timers]

    def say(self, *frames: Frame) -> None:
        """The member says something to the master."""
        for frame in frames:
            self.master.obey(self.instance, frame)


async def obedient(house: House) -> Ending:
    """Serves until it is told to stop."""
    house.say(Ready())
    await house.told.wait()
    return Stopped()


async def mortal(house: House) -> Ending:
    """Dies young."""
    house.say(Ready())
    await trio.sleep(0.5)
    return Died("an accident")


async def test_a_stop_before_it_is_ready_is_told_later(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A member that still starts is given what waits before it is told to stop."""

    async def slow(house: House) -> Ending:
        await trio.sleep(5)
        house.say(Ready())
        await house.told.wait()
        house.say(Begun(1), Ended(1))
        return Stopped()

    house = House(slow)
    nursery.start_soon(house.supervisor.run)
    await trio.sleep(1)
    house.master.post(b"x", 1, "test")
    house.supervisor.stop()
    await trio.sleep(3)
    assert [] == house.frames
    await trio.sleep(3)
    assert [Deliver(1, None, b"x"), Stop()] == house.frames
    assert SlotState.ENDED is house.slot.state


async def test_one_that_dies_is_followed(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Until the supervisor is told to stop, also while it waits."""
    house = House(mortal, mortal, obedient)
    async with trio.open_nursery() as lives:
        lives.start_soon(house.supervisor.run)
        await trio.sleep(3)
        house.supervisor.stop()
        assert SlotState.BACKING_OFF is house.slot.state
    assert ([0, 1.5], 3) == (house.began, trio.current_time())
    assert (2, SlotState.ENDED) == (house.slot.deaths, house.slot.state)


async def test_one_that_dies_at_its_work_is_followed_at_once(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Whoever lived for a second had started: there is no pause, and the next short life is the first again."""

    async def worker(house: House) -> Ending:
        house.say(Ready())
        await trio.sleep(1)
        return Died("its work")

    house = House(mortal, mortal, worker, worker, mortal, obedient)
    nursery.start_soon(house.supervisor.run)
    await trio.sleep(10)
    assert [0, 1.5, 4, 5, 6, 7.5] == house.began
    house.supervisor.stop()


async def test_a_stop_that_comes_first(autojump_clock: MockClock) -> None:
    """When nothing waits there is no life at all; on a vacant seat neither."""
    for house in (House(), House(spare=True)):
        house.supervisor.stop()
        await house.supervisor.run()
        assert ([], SlotState.ENDED) == (house.began, house.slot.state)


async def test_a_member_that_asks_to_leave(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """It is told to stop if nothing is on its seat; what comes while it leaves is for the next one."""

    async def slow_to_leave(house: House) -> Ending:
        house.say(Ready(), ShutdownRequest())
        assert not house.told.is_set()
        house.say(Begun(1), Ended(1), ShutdownRequest())
        assert house.told.is_set()
        await trio.sleep(5)
        return Stopped()

    house = House(slow_to_leave, obedient, spare=True)
    nursery.start_soon(house.supervisor.run)
    await trio.sleep(1)
    assert ([], SlotState.VACANT) == (house.began, house.slot.state)
    house.master.post(b"1", 0, "test")
    await trio.sleep(2)
    assert ([1], SlotState.VACANT) == (house.began, house.slot.state)
    house.master.post(b"2", 0, "test")
    assert SlotState.STARTING is house.slot.state
    await trio.sleep(10)
    assert [1, 6] == house.began
    assert [Deliver(1, None, b"1"), Stop(), Deliver(2, None, b"2")] == house.frames
    house.say(Begun(2), Ended(2))
    house.supervisor.stop()


async def test_what_comes_while_a_member_leaves_outlives_a_stop(autojump_clock: MockClock) -> None:
    """It was accepted, so there is one more life for it, which is then told to stop."""

    async def leaves(house: House) -> Ending:
        house.say(Ready(), Begun(1), Ended(1), ShutdownRequest())
        house.master.post(b"2", 0, "test")
        house.supervisor.stop()
        return Stopped()

    async def does_it(house: House) -> Ending:
        house.say(Ready(), Begun(2), Ended(2))
        await house.told.wait()
        return Stopped()

    house = House(leaves, does_it, spare=True)
    house.master.post(b"1", 0, "test")
    with trio.fail_after(1):
        await house.supervisor.run()
    assert ([], SlotState.ENDED) == (house.lives, house.slot.state)
    assert 0 == house.master.message_statistics().undelivered


async def test_a_member_that_stays_may_not_leave(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Who asks to leave a seat that is not to be vacant gets no answer."""
    house = House(obedient)
    nursery.start_soon(house.supervisor.run)
    await trio.sleep(1)
    house.say(ShutdownRequest())
    assert [] == house.frames
    house.supervisor.stop()
    assert [Stop()] == house.frames


async def test_idle_time_begins_anew_with_each_end(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """A member is let go so many seconds after the last thing it did, and never while it does something."""

    async def busy(house: House) -> Ending:
        house.say(Ready())
        for ticket, seconds in ((1, 25), (2, 3)):
            house.say(Begun(ticket))
            await trio.sleep(seconds)
            house.say(Ended(ticket))
            await trio.sleep(9)
        house.say(Begun(3))
        await trio.sleep(1)
        house.say(Ended(3))
        await house.told.wait()
        stopped.append(trio.current_time())
        return Stopped()

    stopped: list[float] = []
    house = House(busy, spare=True, idle=10)
    nursery.start_soon(house.supervisor.run)
    house.master.post(b"1", 1, "test")
    for seconds in (26, 14):
        await trio.sleep(seconds)
        house.master.post(b"x", 1, "test")
    await trio.sleep(100)
    assert [25 + 9 + 3 + 9 + 1 + 10] == stopped
    assert SlotState.VACANT is house.slot.state
    house.supervisor.stop()


async def test_a_bug_is_no_death(autojump_clock: MockClock) -> None:
    """What a placement raises goes on, and nobody follows."""

    async def bug(house: House) -> Ending:
        raise ZeroDivisionError

    house = House(bug, obedient)
    with pytest.RaisesGroup(ZeroDivisionError):
        await house.supervisor.run()
    assert ([0], SlotState.ENDED) == (house.began, house.slot.state)


# ----- one member follows another one


class Line(House):
    """A house with two lives at once: `say` is of the first one, `agent` of the one that follows."""

    def __init__(self, *lives: Body) -> None:
        super().__init__(*lives)
        self.instances: list[MemberInstance] = []
        self.said: list[list[Frame]] = []
        self.burial = 0.0  # seconds from the end of a life until the supervisor hears of it

    async def _live(self, instance: MemberInstance) -> Ending:
        said: list[Frame] = []
        self.instances.append(instance)
        self.said.append(said)
        _, to_member = direct_links(said.append, said.append)
        self.master.attach(instance, to_member)
        try:
            return await self.lives.pop(0)(self)
        finally:
            self.master.detach(instance)
            await trio.sleep(self.burial)

    def says(self, member_task: int, *frames: Frame) -> None:
        """A member says something to the master."""
        for frame in frames:
            self.master.obey(self.instances[member_task], frame)

    async def until_told(self, member_task: int, frame: Frame) -> None:
        """Wait until a member is told something."""
        while frame not in self.said[member_task]:  # noqa: ASYNC110  # it listens to a list
            await trio.sleep(0.1)


def member_task(number: int, work: float = 0) -> Body:
    """Serves until it is told to stop, or to hand over; then it works for some seconds."""

    async def body(house: House) -> Ending:
        assert isinstance(house, Line)
        house.says(number, Ready())
        while not {Drain(), Stop()} & set(house.said[number]):  # noqa: ASYNC110  # it listens to a list
            await trio.sleep(0.1)
        if Drain() in house.said[number]:
            house.says(number, Drained())
        await trio.sleep(work)
        return Stopped()

    return body


async def test_a_member_follows_another_one(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """What waits is given to it once, what runs ends where it is, and nobody has died."""
    house = Line(member_task(0, 5), member_task(1))
    nursery.start_soon(house.supervisor.run)
    await trio.sleep(1)
    house.master.post(b"1", 1, "test")
    house.master.post(b"2", 1, "test")
    house.says(0, Begun(1))
    assert await house.supervisor.prepare(house._live)
    assert [Deliver(1, None, b"1"), Deliver(2, None, b"2")] == house.said[0]
    house.supervisor.drain()
    house.master.post(b"3", 1, "test")
    assert [] == house.said[1]
    await trio.sleep(1)
    assert [TakeOver(), Deliver(2, None, b"2"), Deliver(3, None, b"3")] == house.said[1]
    assert ["mule1", "mule1'"] == [instance.name for instance in house.instances]
    house.says(0, Ended(1))
    house.says(1, Begun(2), Ended(2), Begun(3), Ended(3))
    await house.supervisor.wait_drained()
    assert (0, SlotState.READY, 0) == (house.slot.deaths, house.slot.state, house.slot.load)
    house.supervisor.stop()


async def test_a_follower_that_does_not_start(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """The member that is there stays, and is told nothing."""

    async def failure(house: House) -> Ending:
        await trio.sleep(1)
        return Died("it cannot start")

    house = Line(member_task(0), failure)
    nursery.start_soon(house.supervisor.run)
    await trio.sleep(1)
    assert not await house.supervisor.prepare(house._live)
    house.supervisor.drain()
    assert ([], SlotState.READY, 0) == (house.said[0], house.slot.state, house.slot.deaths)
    house.supervisor.stop()


async def test_one_that_leaves_has_the_mercy(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Then it is cancelled; a signal that it ran is lost, a message comes again. Another follows only after it."""
    house = Line(member_task(0, 1000), member_task(1), member_task(2))
    nursery.start_soon(house.supervisor.run)
    await trio.sleep(1)
    house.master.post(b"1", 1, "test")
    house.says(0, Begun(1))
    for number in (1, 2):
        assert await house.supervisor.prepare(house._live)
        house.supervisor.drain()
        assert [1, 31][number - 1] == round(trio.current_time())
    await trio.sleep(1)
    assert ["mule1", "mule1'", "mule1"] == [instance.name for instance in house.instances]
    assert [TakeOver(), Deliver(1, None, b"1", redelivered=True)] == house.said[2]
    house.says(2, Begun(1), Ended(1))
    house.supervisor.stop()


async def test_a_death_while_another_one_comes(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Who dies instead of giving way is followed all the same, at once, by the one that was prepared."""

    async def dies(house: House) -> Ending:
        assert isinstance(house, Line)
        house.says(0, Ready())
        await house.until_told(0, Drain())
        return Died("an accident")

    house = Line(dies, member_task(1))
    nursery.start_soon(house.supervisor.run)
    await trio.sleep(1)
    assert await house.supervisor.prepare(house._live)
    house.master.post(b"1", 1, "test")
    house.supervisor.drain()
    await trio.sleep(0.5)
    assert [TakeOver(), Deliver(1, None, b"1")] == house.said[1]
    assert (1, SlotState.READY) == (house.slot.deaths, house.slot.state)
    house.says(1, Begun(1), Ended(1))
    house.supervisor.stop()


async def test_a_death_in_the_instant_of_handing_over(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Who has died, which the supervisor has not heard of yet, is told nothing, and followed."""

    async def dies(house: House) -> Ending:
        assert isinstance(house, Line)
        house.says(0, Ready())
        await trio.sleep(2)
        return Died("an accident")

    house = Line(dies, member_task(1))
    house.burial = 1.0
    nursery.start_soon(house.supervisor.run)
    await trio.sleep(1)
    assert await house.supervisor.prepare(house._live)
    await trio.sleep(1.5)
    assert house.supervisor.drain()
    await trio.sleep(1)
    assert ([], [TakeOver()]) == (house.said[0], house.said[1])
    assert (1, SlotState.READY) == (house.slot.deaths, house.slot.state)
    house.supervisor.stop()


async def test_a_death_beside_one_that_is_prepared(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Whoever comes next has another name than that, which has the seat in the end, whichever name is whose."""

    async def dies(house: House) -> Ending:
        assert isinstance(house, Line)
        house.says(1, Ready())
        await trio.sleep(4)
        return Died("an accident")

    async def hangs(house: House) -> Ending:
        await trio.sleep(1000)
        raise AssertionError

    house = Line(member_task(0), dies, member_task(2), hangs, member_task(4))
    nursery.start_soon(house.supervisor.run)
    await trio.sleep(1)
    for pause in (1, 4):
        assert await house.supervisor.prepare(house._live)
        await trio.sleep(pause)
        assert house.supervisor.drain()
        await trio.sleep(1)
    assert ["mule1", "mule1'", "mule1", "mule1'"] == [instance.name for instance in house.instances]
    assert ([TakeOver()], SlotState.READY) == (house.said[2], house.slot.state)
    assert await house.supervisor.prepare(house._live)
    assert house.supervisor.drain()
    await trio.sleep(1)
    assert ([TakeOver()], SlotState.READY, 1) == (house.said[4], house.slot.state, house.slot.deaths)
    house.supervisor.stop()


async def test_one_that_came_unprepared(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Nobody is prepared where nobody is; who comes meanwhile is not followed, which is said."""

    async def dies(house: House) -> Ending:
        return Died("an accident")

    house = Line(dies, member_task(1))
    nursery.start_soon(house.supervisor.run)
    await trio.sleep(0.5)
    assert await house.supervisor.prepare(house._live)
    assert house.supervisor.drain()
    await trio.sleep(1)
    assert SlotState.READY is house.slot.state
    assert not house.supervisor.drain()
    house.supervisor.stop()


async def test_a_stop_while_another_one_comes(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Who starts is not needed any more; nobody is asked to follow afterwards."""

    async def slow(house: House) -> Ending:
        await trio.sleep(100)
        raise AssertionError

    house = Line(member_task(0), slow)
    nursery.start_soon(house.supervisor.run)
    await trio.sleep(1)
    async with trio.open_nursery() as inner:

        async def prepare() -> None:
            assert not await house.supervisor.prepare(house._live)

        inner.start_soon(prepare)
        await trio.sleep(1)
        house.supervisor.stop()
    assert not await house.supervisor.prepare(house._live)
    assert ([Stop()], 2) == (house.said[0], round(trio.current_time()))


async def test_one_that_never_served_is_not_waited_for(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """It is ended, which is no death, and who was prepared has the seat."""

    async def hangs(house: House) -> Ending:
        await trio.sleep(1000)
        raise AssertionError

    house = Line(hangs, member_task(1))
    nursery.start_soon(house.supervisor.run)
    await trio.sleep(1)
    assert await house.supervisor.prepare(house._live)
    house.supervisor.drain()
    await trio.sleep(1)
    assert ([TakeOver()], SlotState.READY, 0) == (house.said[1], house.slot.state, house.slot.deaths)
    house.supervisor.stop()


async def test_what_a_follower_declares_counts_later(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Its timers begin when it has the seat; those of who gave way count until other code counts."""
    house = Line(member_task(0), member_task(1))
    nursery.start_soon(house.supervisor.run)
    await trio.sleep(1)
    every = rule_values(Every(10))
    house.says(0, AddTimer(1, 5, every, "skip", False), Register(5, "mule1"))
    assert await house.supervisor.prepare(house._live)
    house.says(1, AddTimer(1, 6, every, "skip", False), Register(6, "mule1"))
    new = Registry()
    new.add_timer(7, 10)
    assert ([5], {5}) == (house.timers(), set(house.master.declared.registry.signals))
    house.master.adopt(new, Headcount(0, 1))
    house.says(0, AddTimer(2, 8, every, "skip", False))
    house.supervisor.drain()
    await trio.sleep(1)
    assert ([7, 6], {6}) == (house.timers(), set(house.master.declared.registry.signals))
    house.supervisor.stop()
