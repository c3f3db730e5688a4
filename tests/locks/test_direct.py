"""User locks that members of other processes take by themselves, and the moments at which the master takes over."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_uwsgi._link.frames import Forget, Frame, Granted, Lock, Unlock
from trio_uwsgi._link.scoreboard import Scoreboard
from trio_uwsgi._locks.remote import LockKeeper, RemoteLocks
from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._system.byte_locks import ByteLocks, open_byte_locks
from trio_uwsgi._units.journal import LoggingJournal
from trio_uwsgi._units.member import Member
from trio_uwsgi._units.unit import Unit

NAMES = "abc"


def kernel(scoreboard: Scoreboard) -> ByteLocks:
    """Locks of the kernel, as each process has its own."""
    locks = open_byte_locks(scoreboard.descriptor, scoreboard.locks)
    assert locks is not None
    return locks


class House:
    """A master and its members, whose frames arrive one by one, in the order of each direction of each member."""

    def __init__(self, scoreboard: Scoreboard) -> None:
        self.scoreboard = scoreboard
        rows = {name: row for row, name in enumerate(NAMES)}
        self.master_kernel = kernel(scoreboard)
        self.keeper = LockKeeper(scoreboard, self.master_kernel, rows)
        self.keeper.send = self.to_member
        self.kernels = {name: kernel(scoreboard) for name in NAMES}
        self.locks = {
            name: RemoteLocks(1, scoreboard, self.sender(name), self.kernels[name], rows[name]) for name in NAMES
        }
        self.waiting: dict[tuple[str, str], list[Callable[[], None]]] = {}
        self.said: list[tuple[str, Frame]] = []

    def sender(self, name: str) -> Callable[[Frame], None]:
        def send(frame: Frame) -> None:
            assert isinstance(frame, Lock | Unlock | Forget)
            self.said.append((name, frame))
            self.waiting.setdefault((name, "up"), []).append(lambda: self.keeper.obey(name, frame))

        return send

    def to_member(self, name: str, frame: Frame) -> None:
        assert isinstance(frame, Granted)
        self.said.append((name, frame))
        self.waiting.setdefault((name, "down"), []).append(lambda: self.locks[name].granted(frame.number, frame.ident))

    def deliver_one(self, rng: random.Random) -> None:
        """One frame arrives, if there is any."""
        ways = [way for way in self.waiting.values() if way]
        if ways:
            rng.choice(ways).pop(0)()

    async def settle(self) -> None:
        """All arrives, and what follows from it."""
        await wait_all_tasks_blocked()
        while any(self.waiting.values()):
            self.deliver_one(random.Random(0))
            await wait_all_tasks_blocked()

    def close(self) -> None:
        for each in (self.master_kernel, *self.kernels.values()):
            each.close()


@pytest.fixture
def house() -> Iterator[House]:
    """A house with locks 0 and 1."""
    scoreboard = Scoreboard.make(3, 2)
    house = House(scoreboard)
    yield house
    house.close()
    scoreboard.close()


class User:
    """A task that locks, holds the lock until it is told, and unlocks."""

    def __init__(self, house: House, name: str, number: int = 0) -> None:
        self.locks, self.number = house.locks[name], number
        member = Member("worker", 1, Registry(), LoggingJournal(), lambda: 0.0)
        self.unit = Unit(member, "request", name, trio.CancelScope(), 0)
        self.has, self.done = trio.Event(), trio.Event()
        self.scope = trio.CancelScope()

    async def run(self) -> None:
        with self.scope:
            if not self.locks.take(self.number, self.unit):
                await self.locks.wait(self.number, self.unit)
            self.has.set()
            await self.done.wait()
            self.locks.release(self.number, self.unit)
        self.unit.end()


async def start(house: House, nursery: trio.Nursery, *names: str) -> list[User]:
    """Tasks of these members ask, one after the other, and all that is said arrives."""
    users = [User(house, name) for name in names]
    for user in users:
        nursery.start_soon(user.run)
        await house.settle()
    return users


async def test_a_free_lock_needs_no_master(house: House, nursery: trio.Nursery) -> None:
    """Members take it in turns, nothing is said, and all see who holds it."""
    for name in "abca":
        (user,) = await start(house, nursery, name)
        assert user.has.is_set()
        assert [True] * 3 == [locks.is_locked(0) for locks in house.locks.values()]
        assert name == house.keeper.holder(0)
        user.done.set()
        await house.settle()
    assert ([], False, None) == (house.said, house.locks["b"].is_locked(0), house.keeper.holder(0))


async def test_who_finds_it_held_asks_the_master(house: House, nursery: trio.Nursery) -> None:
    """Others wait in one line, also tasks of the holder's member; at its end the lock needs no master again."""
    users = await start(house, nursery, "a", "b", "a", "c", "b")
    for at, user in enumerate(users):
        assert [True] * (at + 1) + [False] * (4 - at) == [each.has.is_set() for each in users]
        assert "abacb"[at] == house.keeper.holder(0)
        user.done.set()
        await house.settle()
    assert ("a", Unlock(0, 0)) == house.said[4]
    house.said.clear()
    (again,) = await start(house, nursery, "c")
    assert (True, []) == (again.has.is_set(), house.said)
    again.done.set()


async def test_a_request_that_crosses_a_release(house: House, nursery: trio.Nursery) -> None:
    """The lock was released before the master hears of who asks, and is granted. Later tasks do not overtake."""
    (first,) = await start(house, nursery, "a")
    second, third = User(house, "b"), User(house, "b")
    nursery.start_soon(second.run)
    await wait_all_tasks_blocked()
    first.done.set()
    await wait_all_tasks_blocked()
    nursery.start_soon(third.run)
    await wait_all_tasks_blocked()
    assert [("b", Lock(0, 1)), ("b", Lock(0, 2))] == house.said
    await house.settle()
    assert [True, False] == [second.has.is_set(), third.has.is_set()]
    second.done.set()
    await house.settle()
    assert third.has.is_set()
    third.done.set()


async def test_a_cancelled_wait_gives_it_back(house: House, nursery: trio.Nursery) -> None:
    """If nobody waits any more behind who has taken the lock by itself, it is as if nobody had asked."""
    first, gone = await start(house, nursery, "a", "b")
    gone.scope.cancel()
    await house.settle()
    house.said.clear()
    first.done.set()
    await house.settle()
    assert ([], True) == (house.said, house.scoreboard.is_direct(0))
    (again,) = await start(house, nursery, "b")
    assert again.has.is_set()
    again.done.set()


@pytest.mark.parametrize("waits", [False, True])
async def test_a_member_that_dies_holds_nothing(house: House, nursery: trio.Nursery, waits: bool) -> None:
    """Neither what it has taken by itself, nor what it was granted: who waits gets it, or it is free."""
    dead, *others = await start(house, nursery, *("ab" if waits else "a"))
    house.kernels["a"].close()
    house.keeper.forget_member("a")
    await house.settle()
    assert [True] * len(others) == [user.has.is_set() for user in others]
    assert waits == house.scoreboard.is_locked(0)
    for user in others:
        user.done.set()
    await house.settle()
    assert not house.scoreboard.is_locked(0)
    assert house.kernels["c"].take(0)
    dead.scope.cancel()
    house.locks["a"]._held.clear()


async def test_a_forked_child_unlocks_nothing(house: House, nursery: trio.Nursery) -> None:
    """Code that unlocks also runs in the child, as its stack is the same: its parent holds the lock as before."""
    (parent,) = await start(house, nursery, "a")
    house.kernels["a"].close_copies()
    parent.done.set()
    await house.settle()
    assert ([], "a") == (house.said, house.keeper.holder(0))


async def test_a_lock_that_outlives_its_process(house: House, nursery: trio.Nursery) -> None:
    """A child that C code has forked has the descriptor for a moment longer: the master looks again."""
    dead, waits = await start(house, nursery, "a", "b")
    house.keeper.forget_member("a")
    await house.settle()
    assert not waits.has.is_set()
    house.kernels["a"].close()
    house.keeper.look()
    await house.settle()
    assert waits.has.is_set()
    waits.done.set()
    dead.scope.cancel()
    house.locks["a"]._held.clear()


@pytest.mark.parametrize("seed", range(60))
async def test_any_order(house: House, nursery: trio.Nursery, seed: int) -> None:
    """Tasks of all members, cancelled waits, and frames that take their time: one holds the lock, and all get it."""
    rng = random.Random(seed)
    running: list[User] = []
    gone = 0
    for _ in range(120):
        what = rng.randrange(6)
        if what <= 1 and len(running) < 8:
            user = User(house, rng.choice(NAMES), rng.randrange(2))
            running.append(user)
            nursery.start_soon(user.run)
        elif what == 2 and running:
            user = rng.choice(running)
            if user.has.is_set():
                user.done.set()
                running.remove(user)
        elif what == 3 and running and rng.random() < 0.3:
            user = rng.choice(running)
            if not user.has.is_set():
                user.scope.cancel()
                running.remove(user)
                gone += 1
        else:
            house.deliver_one(rng)
        await wait_all_tasks_blocked()
        for number in (0, 1):
            assert len([user for user in running if user.number == number and user.has.is_set()]) <= 1
    while running:
        await house.settle()
        holders = [user for user in running if user.has.is_set()]
        assert holders
        for user in holders:
            user.done.set()
            running.remove(user)
    await house.settle()
    for number in (0, 1):
        assert (False, True) == (house.scoreboard.is_locked(number), house.scoreboard.is_direct(number))
        assert house.kernels["a"].take(number)
