"""Lives on one seat, one after the other, whatever a placement says of their ends."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
import trio

from trio_uwsgi._core.registry import Registry
from trio_uwsgi._core.roster import Roster
from trio_uwsgi._core.schedule import Schedule
from trio_uwsgi._core.seats import SeatState
from trio_uwsgi._core.targets import Headcount
from trio_uwsgi._runtime.master import Master
from trio_uwsgi._runtime.placement import Died, Ending, Stopped
from trio_uwsgi._runtime.supervisor import Supervisor
from trio_uwsgi._tasks.journal import LoggingJournal
from trio_uwsgi._tasks.link import direct_links
from trio_uwsgi._tasks.sources import Ticker, WallClock
from trio_uwsgi._wire.frames import Begun, Deliver, Ended, Frame, Leave, Ready, Stop

if TYPE_CHECKING:
    from trio.testing import MockClock

Body = Callable[["House"], Awaitable[Ending]]


class House:
    """A master with one mule, whose lives are written by the test: each gets the frames that the master sends."""

    def __init__(self, *lives: Body, spare: bool = False, idle: float = math.inf) -> None:
        self.roster = Roster(Headcount(0, 1, min_mules=0 if spare else 1), 10, 10)
        ticker = Ticker(Schedule(None), WallClock(lambda: 0.0))
        self.master = Master(Registry(), self.roster, ticker, LoggingJournal())
        (self.seat,) = self.roster.seats()
        self.supervisor = Supervisor(self.seat, self.master, self._live, idle)
        self.lives = list(lives)
        self.began: list[float] = []
        self.frames: list[Frame] = []
        self.told = trio.Event()

    async def _live(self) -> Ending:
        self.began.append(trio.current_time())
        self.told = trio.Event()
        _, to_member = direct_links(self.frames.append, self._obey)
        self.master.attach(self.seat, to_member)
        try:
            return await self.lives.pop(0)(self)
        finally:
            self.master.detach(self.seat)

    def _obey(self, frame: Frame) -> None:
        self.frames.append(frame)
        if isinstance(frame, Stop):
            self.told.set()

    def say(self, *frames: Frame) -> None:
        """The member says something to the master."""
        for frame in frames:
            self.master.obey(self.seat, frame)


async def obedient(house: House) -> Ending:
    """Serves until it is told to stop."""
    house.say(Ready())
    await house.told.wait()
    return Stopped()


async def mortal(house: House) -> Ending:
    """Dies after ten seconds."""
    house.say(Ready())
    await trio.sleep(10)
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
    assert SeatState.ENDED is house.seat.state


async def test_one_that_dies_is_followed(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Until the supervisor is told to stop, also while it waits."""
    house = House(mortal, mortal, obedient)
    async with trio.open_nursery() as lives:
        lives.start_soon(house.supervisor.run)
        await trio.sleep(22)
        house.supervisor.stop()
        assert SeatState.RESTING is house.seat.state
    assert ([0, 11], 22) == (house.began, trio.current_time())
    assert (2, SeatState.ENDED) == (house.seat.deaths, house.seat.state)


async def test_a_stop_that_comes_first(autojump_clock: MockClock) -> None:
    """When nothing waits there is no life at all; on a vacant seat neither."""
    for house in (House(), House(spare=True)):
        house.supervisor.stop()
        await house.supervisor.run()
        assert ([], SeatState.ENDED) == (house.began, house.seat.state)


async def test_a_member_that_asks_to_leave(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """It is told to stop if nothing is on its seat; what comes while it leaves is for the next one."""

    async def slow_to_leave(house: House) -> Ending:
        house.say(Ready(), Leave())
        assert not house.told.is_set()
        house.say(Begun(1), Ended(1), Leave())
        assert house.told.is_set()
        await trio.sleep(5)
        return Stopped()

    house = House(slow_to_leave, obedient, spare=True)
    nursery.start_soon(house.supervisor.run)
    await trio.sleep(1)
    assert ([], SeatState.VACANT) == (house.began, house.seat.state)
    house.master.post(b"1", 0, "test")
    await trio.sleep(2)
    assert ([1], SeatState.VACANT) == (house.began, house.seat.state)
    house.master.post(b"2", 0, "test")
    assert SeatState.STARTING is house.seat.state
    await trio.sleep(10)
    assert [1, 6] == house.began
    assert [Deliver(1, None, b"1"), Stop(), Deliver(2, None, b"2")] == house.frames
    house.say(Begun(2), Ended(2))
    house.supervisor.stop()


async def test_what_comes_while_a_member_leaves_outlives_a_stop(autojump_clock: MockClock) -> None:
    """It was accepted, so there is one more life for it, which is then told to stop."""

    async def leaves(house: House) -> Ending:
        house.say(Ready(), Begun(1), Ended(1), Leave())
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
    assert ([], SeatState.ENDED) == (house.lives, house.seat.state)
    assert 0 == house.master.message_statistics().undelivered


async def test_a_member_that_stays_may_not_leave(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """Who asks to leave a seat that is not to be vacant gets no answer."""
    house = House(obedient)
    nursery.start_soon(house.supervisor.run)
    await trio.sleep(1)
    house.say(Leave())
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
        left.append(trio.current_time())
        return Stopped()

    left: list[float] = []
    house = House(busy, spare=True, idle=10)
    nursery.start_soon(house.supervisor.run)
    house.master.post(b"1", 1, "test")
    for seconds in (26, 14):
        await trio.sleep(seconds)
        house.master.post(b"x", 1, "test")
    await trio.sleep(100)
    assert [25 + 9 + 3 + 9 + 1 + 10] == left
    assert SeatState.VACANT is house.seat.state
    house.supervisor.stop()


async def test_a_bug_is_no_death(autojump_clock: MockClock) -> None:
    """What a placement raises goes on, and nobody follows."""

    async def bug(house: House) -> Ending:
        raise ZeroDivisionError

    house = House(bug, obedient)
    with pytest.raises(ZeroDivisionError):
        await house.supervisor.run()
    assert ([0], SeatState.ENDED) == (house.began, house.seat.state)
