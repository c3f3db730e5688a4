"""User locks of a runtime: tasks that hold them, and tasks that wait. Floor 2.

A holder is a task *in* a unit of work. Two tasks of one unit exclude each other, as two requests do; and the task that
runs request after request is another holder each time. A unit that ends lets go of what its tasks hold.

The rules are in `_core/locks.py`; here tasks are parked, and woken when the lock has become theirs.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import outcome
import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, current_task

from trio_uwsgi._core.locks import LockTable
from trio_uwsgi._tasks.trio_threads import is_stand_in
from trio_uwsgi.errors import LockError, NotServing

if TYPE_CHECKING:
    from trio_uwsgi._tasks.unit import Unit

__all__ = ["UserLocks"]

logger = logging.getLogger("trio_uwsgi")

Holder: TypeAlias = "tuple[Unit, Task]"


class UserLocks:
    """The locks 0 to `highest` of a runtime. Not for threads."""

    def __init__(self, highest: int) -> None:
        self._highest = highest
        self._table: LockTable[Holder] = LockTable()
        self._units: set[Unit] = set()  # that have locked something, and will tell us when they end

    def take(self, number: int, unit: Unit) -> bool:
        """Hold the lock, or be in line for it: then False, and `wait` must follow at once.

        Raises:
            LockError: there is no such lock, this task holds it, or it ends before it could unlock it.
            NotServing: the unit has ended.
        """
        me = (unit, current_task())
        if is_stand_in(me[1]):
            raise LockError(
                f"user lock {number} cannot be held by a thread that may be left behind; lock it in the task that "
                f"starts the thread, or start it with abandon_on_cancel=False"
            )
        holder = self._holder(number)
        if holder is not None and holder == me:
            raise LockError(
                f"user lock {number} is held by this task already, which would wait for itself for ever; unlock it "
                f"first, or lock it in one place only"
            )
        if unit not in self._units:
            unit.at_end(partial(self._ended, unit))
            self._units.add(unit)
        return self._table.take(number, me)

    async def wait(self, number: int, unit: Unit) -> None:
        """Wait until the lock has become this task's. A cancelled wait leaves nothing.

        Raises:
            NotServing: the unit ended meanwhile.
        """
        me = (unit, current_task())

        def abort(_: RaiseCancelT) -> Abort:
            # Whoever was handed the lock has been woken in the same step, and is not cancelled here any more.
            self._table.forget(number, me)
            return Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def release(self, number: int, unit: Unit) -> None:
        """Let go of the lock: the one that waited longest holds it now.

        Raises:
            LockError: there is no such lock, or this task does not hold it.
        """
        holder = self._holder(number)
        if holder is None:
            raise LockError(f"user lock {number} cannot be unlocked: nobody holds it")
        if holder != (unit, current_task()):
            raise LockError(
                f"user lock {number} cannot be unlocked: {_name(holder)} holds it, and only the task that locked it can"
            )
        self._hand_over(number)

    def is_locked(self, number: int) -> bool:
        """Does anybody hold it?

        Raises:
            LockError: there is no such lock.
        """
        return self._holder(number) is not None

    def _holder(self, number: int) -> Holder | None:
        if type(number) is not int or not 0 <= number <= self._highest:
            which = f"locks 0 to {self._highest}" if self._highest else "lock 0 only"
            raise LockError(
                f"there is no user lock {number!r}: this runtime has {which}; set Config(locks=...) for more"
            )
        return self._table.holder(number)

    def _hand_over(self, number: int) -> None:
        following = self._table.hand_over(number)
        if following is not None:
            trio.lowlevel.reschedule(following[1])

    def _ended(self, unit: Unit) -> None:
        """A unit is over. Tasks that it left behind wait for nothing any more, and hold nothing."""
        self._units.remove(unit)
        for number, waiter in self._table.waiters():
            if waiter[0] is unit:
                self._table.forget(number, waiter)
                gone = NotServing(f"uwsgi.lock({number})", "its request or handler has ended; wait for the lock in it")
                trio.lowlevel.reschedule(waiter[1], outcome.Error(gone))
        for number, holder in self._table.held():
            if holder[0] is unit:
                logger.warning("%s ended and held user lock %d, which is unlocked now", _name(holder), number)
                self._hand_over(number)


def _name(holder: Holder) -> str:
    unit = holder[0]
    return f"{unit.what} of {unit.member.name}"
