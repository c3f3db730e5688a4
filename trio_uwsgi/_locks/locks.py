"""User locks of a runtime: tasks that hold them, and tasks that wait.

A holder is a task *in* a unit of work. Two tasks of one unit exclude each other, as two requests do; and the task that
runs request after request is another holder each time. A unit that ends lets go of what its tasks hold.

The rules are in `_locks/rules.py`; here tasks are parked, and woken when the lock has become theirs. Where members are
processes the master has the table, see `remote.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, current_task

from trio_uwsgi._locks.rules import LockTable
from trio_uwsgi._units.trio_threads import is_system_task
from trio_uwsgi.errors import LockError, NotServing

if TYPE_CHECKING:
    from trio_uwsgi._units.unit import Unit

__all__ = ["Holder", "LockClaims", "Locks", "UserLocks", "check_holder", "unit_ended_error", "warn_not_unlocked"]

logger = logging.getLogger("trio_uwsgi")

Holder: TypeAlias = "tuple[Unit, Task]"


class Locks(Protocol):
    """The locks 0 to some highest of a runtime. Not for threads."""

    def take(self, number: int, unit: Unit) -> bool:
        """Hold the lock, or be in line for it: then False, and `wait` must follow at once.

        Raises:
            LockError: there is no such lock, this task holds it, or it ends before it could unlock it.
            NotServing: the unit has ended.
        """

    async def wait(self, number: int, unit: Unit) -> None:
        """Wait until the lock has become this task's. A cancelled wait leaves nothing.

        Raises:
            NotServing: the unit ended meanwhile.
        """

    def release(self, number: int, unit: Unit) -> None:
        """Let go of the lock: the one that waited longest holds it now.

        Raises:
            LockError: there is no such lock, or this task does not hold it.
        """

    def is_locked(self, number: int) -> bool:
        """Does anybody hold it?

        Raises:
            LockError: there is no such lock.
        """


class LockClaims:
    """What a task must be to hold a lock, and to let go of it; and the units that have locked something.

    Args:
        highest: number of a lock.
        ended: called with a unit that has locked something, when it is over.
    """

    def __init__(self, highest: int, ended: Callable[[Unit], None]) -> None:
        self._highest = highest
        self._ended = ended
        self._units: set[Unit] = set()  # that will tell us when they end

    def check_number(self, number: int) -> None:
        """Is there such a lock?

        Raises:
            LockError: no.
        """
        if type(number) is not int or not 0 <= number <= self._highest:
            which = f"locks 0 to {self._highest}" if self._highest else "lock 0 only"
            raise LockError(
                f"there is no user lock {number!r}: this runtime has {which}; "
                f"set Config(locks=...), on the command line --locks N, for more"
            )

    def taker(self, number: int, unit: Unit, holder: Holder | None) -> Holder:
        """Who wants a lock that `holder` has.

        Raises:
            LockError, NotServing: it cannot be had by the task that runs.
        """
        me = (unit, current_task())
        if is_system_task(me[1]):
            raise LockError(
                f"user lock {number} cannot be held by a thread that may be left behind; lock it in the task that "
                f"starts the thread, or start it with abandon_on_cancel=False"
            )
        if holder is not None and holder == me:
            raise LockError(
                f"user lock {number} is held by this task already, which would wait for itself for ever; unlock it "
                f"first, or lock it in one place only"
            )
        if unit not in self._units:
            unit.at_end(partial(self._unit_ended, unit))
            self._units.add(unit)
        return me

    def _unit_ended(self, unit: Unit) -> None:
        self._units.remove(unit)
        self._ended(unit)


class UserLocks:
    """The locks where all members are tasks of this process."""

    def __init__(self, highest: int) -> None:
        self._claims = LockClaims(highest, self._ended)
        self._table: LockTable[Holder] = LockTable()

    def take(self, number: int, unit: Unit) -> bool:
        me = self._claims.taker(number, unit, self._holder(number))
        return self._table.take(number, me)

    async def wait(self, number: int, unit: Unit) -> None:
        me = (unit, current_task())

        def abort(_: RaiseCancelT) -> Abort:
            # Whoever was handed the lock has been woken in the same step, and is not cancelled here any more.
            self._table.forget(number, me)
            return Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def release(self, number: int, unit: Unit) -> None:
        holder = self._holder(number)
        if holder is None:
            raise LockError(f"user lock {number} cannot be unlocked: nobody holds it")
        check_holder(number, holder, unit)
        self._hand_over(number)

    def is_locked(self, number: int) -> bool:
        return self._holder(number) is not None

    def _holder(self, number: int) -> Holder | None:
        self._claims.check_number(number)
        return self._table.holder(number)

    def _hand_over(self, number: int) -> None:
        following = self._table.hand_over(number)
        if following is not None:
            trio.lowlevel.reschedule(following[1])

    def _ended(self, unit: Unit) -> None:
        """A unit is over. Tasks that it left behind wait for nothing any more, and hold nothing."""
        for number, waiter in self._table.waiters():
            if waiter[0] is unit:
                self._table.forget(number, waiter)
                trio.lowlevel.reschedule(waiter[1], outcome.Error(unit_ended_error(number)))
        for number, holder in self._table.held():
            if holder[0] is unit:
                warn_not_unlocked(number, holder)
                self._hand_over(number)


def check_holder(number: int, holder: Holder, unit: Unit) -> None:
    """Raise LockError unless it is this task, in this unit, that holds the lock."""
    if holder != (unit, current_task()):
        raise LockError(
            f"user lock {number} cannot be unlocked: {_name(holder)} holds it, and only the task that locked it can"
        )


def _name(holder: Holder) -> str:
    """Who holds a lock, in words."""
    unit = holder[0]
    return f"{unit.what} of {unit.member.name}"


def unit_ended_error(number: int) -> NotServing:
    """What a task gets that waits for a lock after its unit."""
    return NotServing(f"uwsgi.lock({number})", "its request or handler has ended; wait for the lock in it")


def warn_not_unlocked(number: int, holder: Holder) -> None:
    """A unit ended without having unlocked."""
    logger.warning("%s ended and held user lock %d, which is unlocked now", _name(holder), number)
