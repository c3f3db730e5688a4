"""User locks over processes: members that ask, and the master that has the table, connected by plain calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_uwsgi._link.frames import Forget, Frame, Granted, Lock, Unlock
from trio_uwsgi._link.scoreboard import Scoreboard
from trio_uwsgi._locks.remote import LockKeeper, RemoteLocks
from trio_uwsgi._runtime.registry import Registry
from trio_uwsgi._units.journal import LoggingJournal
from trio_uwsgi._units.member import Member
from trio_uwsgi._units.unit import Unit
from trio_uwsgi.errors import LockError, NotServing


class House:
    """A master with members `a` and `b`. `hold` keeps what is said on its way until `deliver`."""

    def __init__(self, scoreboard: Scoreboard) -> None:
        self.scoreboard = scoreboard
        self.keeper = LockKeeper(scoreboard)
        self.keeper.send = self._to_member
        self.locks = {name: self._member(name) for name in "ab"}
        self.said: list[tuple[str, Frame]] = []
        self.held: list[Callable[[], None]] = []
        self.hold = False

    def _member(self, name: str) -> RemoteLocks:
        return RemoteLocks(2, self.scoreboard, lambda frame: self._to_master(name, frame))

    def _to_member(self, name: str, frame: Frame) -> None:
        assert isinstance(frame, Granted)
        self._carry(name, frame, lambda: self.locks[name].granted(frame.number, frame.ident))

    def _to_master(self, name: str, frame: Frame) -> None:
        self._carry(name, frame, lambda: self._obey(name, frame))

    def _obey(self, name: str, frame: Frame) -> None:
        assert isinstance(frame, Lock | Unlock | Forget)
        kinds = {Lock: self.keeper.lock, Unlock: self.keeper.unlock, Forget: self.keeper.forget}
        kinds[type(frame)](name, frame.number, frame.ident)

    def _carry(self, name: str, frame: Frame, arrive: Callable[[], None]) -> None:
        self.said.append((name, frame))
        self.held.append(arrive)
        if not self.hold:
            self.deliver()

    def deliver(self) -> None:
        """What is on its way arrives, and what is said because of that, too. In a task: a grant wakes who waits."""
        while self.held:
            self.held.pop(0)()


@pytest.fixture
def house() -> Iterator[House]:
    """A house whose frames arrive when the test says so, with locks 0 to 2."""
    scoreboard = Scoreboard.make(0, 3)
    house = House(scoreboard)
    house.hold = True
    yield house
    scoreboard.close()


def unit(name: str) -> Unit:
    """A unit of work of worker 1."""
    member = Member("worker", 1, Registry(), LoggingJournal(), lambda: 0.0)
    return Unit(member, "request", name, trio.CancelScope(), 0)


class User:
    """A task of a member that locks, says so, and unlocks when the test says so; then it ends its unit."""

    def __init__(self, house: House, name: str, number: int = 0) -> None:
        self.locks = house.locks[name]
        self.number = number
        self.unit = unit(name)
        self.has = trio.Event()
        self.done = trio.Event()
        self.scope = trio.CancelScope()

    async def run(self) -> None:
        with self.scope:
            assert not self.locks.take(self.number, self.unit)
            await self.locks.wait(self.number, self.unit)
            self.has.set()
            await self.done.wait()
            self.locks.release(self.number, self.unit)


async def start(house: House, nursery: trio.Nursery, *users: User) -> None:
    """They ask, one after the other, and what they say arrives."""
    for user in users:
        nursery.start_soon(user.run)
        await wait_all_tasks_blocked()
    house.deliver()
    await wait_all_tasks_blocked()


async def settle(house: House) -> None:
    """Everything that is said arrives, and everybody has done what follows from it."""
    for _ in range(3):
        await wait_all_tasks_blocked()
        house.deliver()
    await wait_all_tasks_blocked()


async def test_locks_are_handed_over_in_order(house: House, nursery: trio.Nursery) -> None:
    """Tasks of two members hold the lock in the order in which the master heard of them; all see whether it is held."""
    users = [User(house, name) for name in "abba"]
    other = User(house, "b", 2)
    await start(house, nursery, *users, other)
    assert other.has.is_set()
    for at, user in enumerate(users):
        assert [True] * (at + 1) + [False] * (3 - at) == [user.has.is_set() for user in users]
        assert [(True, False, True)] * 2 == [
            tuple(locks.is_locked(number) for number in (0, 1, 2)) for locks in house.locks.values()
        ]
        user.done.set()
        await settle(house)
    assert not house.scoreboard.is_locked(0)
    other.done.set()


async def test_a_member_that_ends_holds_nothing(house: House, nursery: trio.Nursery) -> None:
    """Its locks go to who waits, or are free; what it waited for is not given to it; of others nothing changes."""
    dead, waits, following, alone = User(house, "a"), User(house, "a"), User(house, "b"), User(house, "a", 1)
    others = User(house, "b", 2)
    await start(house, nursery, dead, waits, following, alone, others)
    waits_too = User(house, "a", 2)
    await start(house, nursery, waits_too)
    house.keeper.forget_member("a")
    await settle(house)
    assert [True, False] == [following.has.is_set(), waits.has.is_set()]
    assert [True, False, True] == [house.scoreboard.is_locked(number) for number in (0, 1, 2)]
    for user in (following, others):
        user.done.set()
    await settle(house)
    assert [False] * 3 == [house.scoreboard.is_locked(number) for number in (0, 1, 2)]
    nursery.cancel_scope.cancel()


async def test_a_cancelled_wait_leaves_nothing(house: House, nursery: trio.Nursery) -> None:
    """Who waits no more gives up the place in the line."""
    first, gone, third = User(house, "a"), User(house, "b"), User(house, "b")
    await start(house, nursery, first, gone, third)
    gone.scope.cancel()
    await settle(house)
    first.done.set()
    await settle(house)
    assert [False, True] == [gone.has.is_set(), third.has.is_set()]
    third.done.set()


async def test_a_grant_that_crosses_a_cancellation(house: House, nursery: trio.Nursery) -> None:
    """It is for nobody: the member unlocks, and the next one has the lock."""
    first, gone, third = User(house, "a"), User(house, "b"), User(house, "a")
    await start(house, nursery, first, gone, third)
    first.done.set()
    await wait_all_tasks_blocked()
    gone.scope.cancel()  # its Forget is on its way behind the Unlock
    await wait_all_tasks_blocked()
    assert [("a", Unlock(0, 1)), ("b", Forget(0, 1))] == house.said[-2:]
    await settle(house)
    assert [("b", Granted(0, 1)), ("b", Unlock(0, 1)), ("a", Granted(0, 2))] == house.said[-3:]
    assert third.has.is_set()
    third.done.set()
    await settle(house)
    assert not house.scoreboard.is_locked(0)


async def test_only_the_holder_unlocks(house: House, nursery: trio.Nursery) -> None:
    """The master ignores an Unlock of who does not hold the lock, and a Forget of who does not wait."""
    holder = User(house, "a")
    await start(house, nursery, holder)
    house.keeper.unlock("b", 0, 1)
    house.keeper.unlock("a", 0, 2)
    house.keeper.forget("a", 0, 1)
    house.keeper.unlock("a", 1, 1)
    assert house.scoreboard.is_locked(0)
    holder.done.set()


async def test_misuse_is_an_error(house: House, nursery: trio.Nursery) -> None:
    """Locking twice, unlocking what nobody, another task or another member holds, and locks that do not exist."""
    theirs = User(house, "b", 1)
    neighbour = User(house, "a", 2)
    await start(house, nursery, theirs, neighbour)
    mine, locks = unit("mine"), house.locks["a"]

    async def hold() -> None:
        assert not locks.take(0, mine)
        await locks.wait(0, mine)
        with pytest.raises(LockError, match="holds user lock 0 already"):
            locks.take(0, mine)
        with pytest.raises(LockError, match="user lock 1 cannot be unlocked: another member holds it"):
            locks.release(1, mine)
        with pytest.raises(LockError, match="lock 2 cannot be unlocked: request a of worker1 holds it, and only the"):
            locks.release(2, mine)
        locks.release(0, mine)

    nursery.start_soon(hold)
    await settle(house)
    with pytest.raises(LockError, match="user lock 0 cannot be unlocked: it is not locked"):
        locks.release(0, mine)
    for number in (3, -1):
        with pytest.raises(LockError, match=f"there is no user lock {number}: this runtime has locks 0 to 2"):
            locks.is_locked(number)
    theirs.done.set()
    neighbour.done.set()


async def test_a_unit_that_ends_holds_nothing(
    house: House, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    """Its lock is let go of, with a line in the log; its tasks that wait are woken with an error; others are not."""
    left = User(house, "a")
    following = User(house, "b")
    neighbour = User(house, "a", 1)
    await start(house, nursery, left, following, neighbour)
    errors: list[str] = []

    async def waits() -> None:
        left.locks.take(1, left.unit)
        with pytest.raises(NotServing) as caught:
            await left.locks.wait(1, left.unit)
        errors.append(str(caught.value))

    nursery.start_soon(waits)
    await settle(house)
    left.unit.end()
    await settle(house)
    assert ["request a of worker1 ended without unlocking user lock 0; it is unlocked now"] == caplog.messages
    assert 1 == len(errors)
    assert "by a task that outlived its request or handler" in errors[0]
    assert [True, True] == [following.has.is_set(), neighbour.has.is_set()]
    left.scope.cancel()
    for user in (following, neighbour):
        user.done.set()


def test_an_import_has_locks_while_it_is_attended(house: House) -> None:
    """It is granted them over its own line; at its end they go on to members."""
    house.hold = False
    granted: list[Frame] = []
    with house.keeper.serving_import("import 1", granted.append):
        house.keeper.obey("import 1", Lock(0, 5))
        house.keeper.lock("a", 0, 1)
        assert [Granted(0, 5)] == granted
        assert ("import 1", []) == (house.keeper.holder(0), house.said)
        house.hold = True
    assert "a" == house.keeper.holder(0)
    assert [("a", Granted(0, 1))] == house.said
