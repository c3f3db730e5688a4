"""User locks of a runtime: tasks that hold them, and tasks that wait for them.

A holder is a task *in* a unit of work. Two tasks of one unit exclude each other, as two requests do; a task that runs
many requests is a different holder for each. When a unit ends, the locks of its tasks are released.

The rules are in `rules.py`; here tasks wait, and are woken when they hold the lock. If members are processes, the
master has the table, see `remote.py`.
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

__all__ = [
    "AreaLock",
    "Holder",
    "LockClaims",
    "Locks",
    "UserLocks",
    "check_holder",
    "lock_name",
    "unit_ended_error",
    "warn_not_unlocked",
]

logger = logging.getLogger("trio_uwsgi")

Holder: TypeAlias = "tuple[Unit, Task]"


class AreaLock(int):
    """The number of the lock that belongs to a shared area: below 0, where the numbers of user locks begin."""

    def __new__(cls, area: int) -> AreaLock:
        return super().__new__(cls, -1 - area)


def lock_name(number: int) -> str:
    """What errors and the log call a lock."""
    return f"user lock {number}" if number >= 0 else f"the lock of shared area {-1 - number}"


class Locks(Protocol):
    """The user locks of a runtime, numbers 0 to a highest one, and the locks of shared areas. Not for threads."""

    def take(self, number: int, unit: Unit) -> bool:
        """Acquire the lock (True), or queue for it (False); then `wait` must follow at once.

        Raises:
            LockError: there is no such lock, this task holds it already, or it is a system task.
            NotServing: the unit has ended.
        """

    async def wait(self, number: int, unit: Unit) -> None:
        """Wait until this task holds the lock. A cancelled wait leaves the queue.

        Raises:
            NotServing: the unit ended meanwhile.
        """

    def release(self, number: int, unit: Unit) -> None:
        """Release the lock: the task that has waited longest holds it now.

        Raises:
            LockError: there is no such lock, or this task does not hold it.
        """

    def is_locked(self, number: int) -> bool:
        """Does any task hold it?

        Raises:
            LockError: there is no such lock.
        """


class LockClaims:
    """Checks which tasks may acquire and release a lock, and notices the end of units that have acquired one.

    Args:
        highest: the highest number of a lock.
        ended: called with a unit that has acquired a lock, when it ends.
    """

    def __init__(self, highest: int, ended: Callable[[Unit], None]) -> None:
        self._highest = highest
        self._ended = ended
        # The task of each unit that has acquired a lock last; the unit will call `_unit_ended`.
        self._tasks: dict[Unit, Task] = {}

    def check_number(self, number: int) -> None:
        """Check that there is such a lock. Who makes an `AreaLock` has checked that.

        Raises:
            LockError: there is not.
        """
        if type(number) is AreaLock:
            return
        if type(number) is not int or not 0 <= number <= self._highest:
            which = f"locks 0 to {self._highest}" if self._highest else "lock 0 only"
            raise LockError(
                f"there is no user lock {number!r}: this runtime has {which}; "
                f"set Config(locks=...), on the command line --locks N, for more"
            )

    def taker(self, number: int, unit: Unit, holder: Holder | None) -> Holder:
        """The current task as a holder of this lock; `holder` is the present one.

        Raises:
            LockError, NotServing: the current task cannot acquire the lock.
        """
        task = current_task()
        if self._tasks.get(unit) is not task:
            self._check_task(number, unit, task)
        me = (unit, task)
        if holder is not None and holder == me:
            raise LockError(
                f"this task holds {lock_name(number)} already and would deadlock; unlock it first, or lock it in one "
                f"place only"
            )
        return me

    def _check_task(self, number: int, unit: Unit, task: Task) -> None:
        """Check a task that has not acquired a lock, or not as the last one of its unit."""
        if is_system_task(task):
            raise LockError(
                f"{lock_name(number)} cannot be held by a thread that may be abandoned; lock it in the task that "
                f"starts the thread, or start it with abandon_on_cancel=False"
            )
        if unit not in self._tasks:
            unit.at_end(partial(self._unit_ended, unit))
        self._tasks[unit] = task

    def _unit_ended(self, unit: Unit) -> None:
        del self._tasks[unit]
        self._ended(unit)


class UserLocks:
    """The locks if all members are tasks of this process."""

    def __init__(self, highest: int) -> None:
        self._claims = LockClaims(highest, self._ended)
        self._table: LockTable[Holder] = LockTable()

    def take(self, number: int, unit: Unit) -> bool:
        me = self._claims.taker(number, unit, self._holder(number))
        return self._table.take(number, me)

    async def wait(self, number: int, unit: Unit) -> None:
        me = (unit, current_task())

        def abort(_: RaiseCancelT) -> Abort:
            # A task that has got the lock was rescheduled in the same step, so it cannot be cancelled here any more.
            self._table.forget(number, me)
            return Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def release(self, number: int, unit: Unit) -> None:
        holder = self._holder(number)
        if holder is None:
            raise LockError(f"{lock_name(number)} cannot be unlocked: it is not locked")
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
        """A unit has ended. Its tasks that still run stop waiting for locks, and their locks are released."""
        for number, waiter in self._table.waiters():
            if waiter[0] is unit:
                self._table.forget(number, waiter)
                trio.lowlevel.reschedule(waiter[1], outcome.Error(unit_ended_error(number)))
        for number, holder in self._table.held():
            if holder[0] is unit:
                warn_not_unlocked(number, holder)
                self._hand_over(number)


def check_holder(number: int, holder: Holder, unit: Unit) -> None:
    """Raise LockError unless this task, in this unit, holds the lock."""
    if holder != (unit, current_task()):
        raise LockError(
            f"{lock_name(number)} cannot be unlocked: {_name(holder)} holds it, and only the task that locked it may "
            f"unlock it"
        )


def _name(holder: Holder) -> str:
    """The holder of a lock, for logs and errors."""
    unit = holder[0]
    return f"{unit.what} of {unit.member.name}"


def unit_ended_error(number: int) -> NotServing:
    """The error of a task that waits for a lock when its unit ends."""
    remedy = "wait for the lock before that returns"
    call = f"uwsgi.lock({number})" if number >= 0 else f"a call for {lock_name(number)}"
    return NotServing(call, remedy, "by a task that outlived its request or handler")


def warn_not_unlocked(number: int, holder: Holder) -> None:
    """Log that a unit ended without unlocking."""
    logger.warning("%s ended without unlocking %s; it is unlocked now", _name(holder), lock_name(number))
